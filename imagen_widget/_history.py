"""History: everything that was ever generated with this home, and the way back to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from imagen_widget import _bridge
from imagen_widget._generate._recall import as_reused, recall
from imagen_widget._journal import Journal
from imagen_widget._journal._rows import JobRow, State
from imagen_widget._protocol._ticket import Ticket
from imagen_widget._provenance import read
from imagen_widget._settings import home_folder, load_settings
from imagen_widget._store import Store
from imagen_widget.errors import CredentialsError, ImagenError, InvalidRequest, QueueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imagen_widget._provenance import Provenance
    from imagen_widget._request import ImageRequest
    from imagen_widget._result import Generation
    from imagen_widget._settings import Settings

_MOST_AT_ONCE = 4
_RESUME_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Resumed:
    """What came of one pending job: its pictures, or why there are none yet."""

    row: JobRow
    generation: Generation | None = None
    error: ImagenError | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """US dollars spent or reserved: by this process, today, this month, by model this month."""

    session: Decimal
    today: Decimal
    month: Decimal
    by_model: dict[str, Decimal]


class History:
    """The generations of one home folder, newest first; shared by all notebooks that use it.

    Args:
        home: The folder; IMAGEN_HOME or the user's data folder by default.
    """

    def __init__(self, home: str | Path | None = None) -> None:
        self._home = home_folder(home)
        self._journal = Journal(self._home)
        self._store = Store(self._home)

    def __iter__(self) -> Iterator[Generation]:
        """Iterate over the generations whose pictures are kept, newest first."""
        return self.search("")

    def search(self, text: str) -> Iterator[Generation]:
        """Iterate over the generations whose prompt has all the words, newest first."""
        for row in self._journal.rows(state=State.DONE, contains=text or None):
            generation = recall(row, self._store)
            if generation is not None:
                yield generation

    def __len__(self) -> int:
        """Return how many jobs are done."""
        return len(self._journal.rows(state=State.DONE))

    def find(self, request: ImageRequest, *, provider: str | None = None) -> Generation | None:
        """Return the newest generation of a request that means the same, or None.

        A demo picture never answers a real request, nor the other way round.
        """
        name = provider or load_settings(need_key=False).provider.name
        row = self._journal.find(request.fingerprint, provider=name)
        known = recall(row, self._store) if row is not None else None
        return as_reused(known) if known is not None else None

    @staticmethod
    def settings_from(picture: str | Path | bytes) -> Provenance:
        """Return what a saved picture says of itself: its request, job, provider, date and seed.

        `generate` with the prompt and parameters of its `.request` asks for the same again.

        Args:
            picture: A PNG, JPEG or WebP file, or its bytes.

        Raises:
            InvalidRequest: The file cannot be read, or carries no settings.
        """
        try:
            data = (
                picture if isinstance(picture, bytes) else Path(picture).expanduser().read_bytes()
            )
        except OSError as error:
            raise InvalidRequest(
                f"The picture cannot be read: {error.strerror}",
                remedy="Give the path of a PNG, JPEG or WebP file.",
                field="picture",
            ) from None
        found = read(data)
        if found is None:
            raise InvalidRequest(
                "The picture carries no settings.",
                remedy="Copies saved by imagen_widget do, and those of AUTOMATIC1111; originals in "
                "IMAGEN_HOME, edited pictures and those sent by a messenger do not.",
                field="picture",
            )
        return found

    def pending(self) -> list[JobRow]:
        """Return the jobs that were submitted and not fetched, and that nobody is fetching."""
        self._journal.recover()
        return self._journal.pending()

    def unknown(self) -> list[JobRow]:
        """Return the jobs of which nobody knows whether the provider took them."""
        self._journal.recover()
        return self._journal.unknown()

    def forget(self, job_id: str, *, billed: bool = True) -> None:
        """Settle an unknown job by your word; `billed=False` gives its price back to the cap."""
        self._journal.forget(job_id, billed=billed)

    def resume(self) -> list[Generation]:
        """Fetch what was submitted and not fetched, oldest first; nothing is sent for money.

        Raises:
            ImagenError: Nothing could be fetched; the first reason.
        """
        outcomes = self.resume_all()
        fetched = [outcome.generation for outcome in outcomes if outcome.generation is not None]
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        if errors and not fetched:
            raise errors[0]
        return fetched

    def resume_all(self) -> list[Resumed]:
        """Fetch what is pending, oldest first, and return what came of each job."""
        self._store.sweep_parts()
        rows = self.pending()
        return _bridge.run(_resume_rows, rows, self._home) if rows else []

    def spend(self, since: datetime | None = None) -> float:
        """Return US dollars spent or reserved since a moment, today by default."""
        return float(self._journal.spend(since or _midnight()))

    def spending(self) -> Spending:
        """Return what was spent by this process, today, this month, and by model this month."""
        month = _midnight().replace(day=1)
        return Spending(
            session=self.session_spend(),
            today=self._journal.spend(_midnight()),
            month=self._journal.spend(month),
            by_model=self._journal.spend(month, by_model=True),
        )

    def session_spend(self) -> Decimal:
        """Return US dollars that this process's own jobs cost, or have reserved."""
        from imagen_widget._generate._engine import (
            session_jobs,  # here: whoever only looks needs no httpx
        )

        rows = [self._journal.get(job_id) for job_id in session_jobs(self._home)]
        amounts = [row.price if row.cost is None else row.cost for row in rows]
        return sum((amount for amount in amounts if amount is not None), Decimal(0))

    def verify(self) -> list[str]:
        """Hash every kept picture again, and return one line for each that is lost or changed."""
        problems = []
        for row in self._journal.rows(state=State.DONE):
            for image in row.images:
                if self._store.path(image.digest) is None:
                    problems.append(f"{row.request_id}: picture {image.index + 1} is gone")
                elif not self._store.verify(image.digest):
                    problems.append(f"{row.request_id}: picture {image.index + 1} has changed")
        return problems

    def close(self) -> None:
        """Close the journal's file; a later call opens it again."""
        self._journal.close()


async def _resume_rows(rows: list[JobRow], home: Path) -> list[Resumed]:
    outcomes: dict[str, Resumed] = {}
    turns = anyio.CapacityLimiter(_MOST_AT_ONCE)

    async def resume(row: JobRow) -> None:
        async with turns:
            try:
                generation = await _resume_row(row, home)
            except ImagenError as error:
                outcomes[row.id] = Resumed(row, error=error)
                return
            except Exception as error:  # noqa: BLE001 - one odd row must not stop the others
                outcomes[row.id] = Resumed(row, error=_odd(row, error))
                return
        outcomes[row.id] = Resumed(row, generation)

    async with anyio.create_task_group() as group:
        for row in rows:
            group.start_soon(resume, row)
    return [outcomes[row.id] for row in rows]


async def _resume_row(row: JobRow, home: Path) -> Generation | None:
    """Return a job's pictures, or None where somebody else is fetching them."""
    from imagen_widget._generate._engine import (
        engine_for,  # here: whoever only looks needs no httpx
    )
    from imagen_widget._generate._work import Work

    settings = _settings_of(row, home)
    engine = engine_for(settings)
    leased: bool = await engine.record(engine.journal.lease, row.id, _RESUME_SECONDS * 2)
    row = await engine.record(engine.journal.get, row.id)
    if not leased:
        return recall(row, engine.store)  # somebody is fetching it, or was quicker
    work = Work(row.request, settings, engine, report=lambda _: None, timeout=_RESUME_SECONDS)
    return await work.resume(row, Ticket.from_json(row.ticket_json or ""))


def _odd(row: JobRow, error: Exception) -> QueueError:
    return QueueError(
        f"The job {row.request_id} could not be taken up ({type(error).__name__}: {error}).",
        remedy="It stays where it is; upgrade imagen-widget, then resume again.",
    )


def _settings_of(row: JobRow, home: Path) -> Settings:
    """Return settings that reach the place where the job was submitted, and no other."""
    settings = load_settings(provider=row.provider, home=home)
    if settings.base_url != row.base_url:
        raise CredentialsError(
            f"The job {row.request_id} was submitted to {row.base_url}, and the key now set is "
            f"for {settings.base_url}.",
            remedy=f"Set IMAGEN_BASE_URL={row.base_url} and its key, then resume again.",
        )
    return settings


def _midnight() -> datetime:
    now = datetime.now().astimezone()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if midnight <= now else midnight - timedelta(days=1)
