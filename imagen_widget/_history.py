"""History: everything that was generated with one home, and the way back to it.

Every answer costs what it returns, not what there is.
"""

import concurrent.futures
import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, get_args

import anyio

from imagen_widget import _html, _loop, _picture, _result
from imagen_widget._journal import Filter, IllegalStep, Record
from imagen_widget._models import Field
from imagen_widget._picture import Preview
from imagen_widget._request import ImageRequest
from imagen_widget._result import Generation
from imagen_widget._runs import Run, Session, Submitted, cancelling
from imagen_widget._settings import load_settings
from imagen_widget.errors import (
    ImagenError,
    InvalidRequest,
    QueueError,
    check_type,
    invalid,
    plural,
    short_id,
    shown,
)

_PAGE_ROWS = 50
_MAX_RESUMED_AT_ONCE = 16
_RESUME_SECONDS = 300.0
_UNKNOWN_SECONDS = 6.0  # for a provider to show that it knows a job
_SLOW_SECONDS = 30.0  # the same for one that has not answered anything in that time
_SAME_TIME_SECONDS = 60.0
_CANCEL_SECONDS = 5.0  # for this process to let go of a job that it gave up just before
_SHOWN = 10
_PICTURES = Filter(has_pictures=True)
_LIMIT = Field("limit", "whole", low=0, high=999_999)
_STARS = Field("rating", "whole", low=0, high=5)

P = ParamSpec("P")
T = TypeVar("T")
By = Literal["model", "user", "series", "day", "provider"]
BY: tuple[By, ...] = get_args(By)


@dataclass(frozen=True, slots=True)
class Resumed:
    """What came of one pending job: its pictures, or why there are none yet."""

    record: Record
    generation: Generation | None = None
    error: ImagenError | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """US dollars spent or reserved: by this process, today, this month, by model this month."""

    session: Decimal
    today: Decimal
    month: Decimal
    by_model: dict[str, Decimal] = field(hash=False)


class History:
    """The generations of one home, newest first; shared by all notebooks that use it.

    Args:
        home: The folder; IMAGEN_HOME or the user's data folder by default.
        session: The journal and store of a studio, in place of `home`.
    """

    def __init__(self, home: str | Path | None = None, *, session: Session | None = None) -> None:
        self._session = session or Session(load_settings(home=home))
        self._journal = self._session.journal
        self._store = self._session.store

    # ---------------------------------------------------------------------------------- looking

    def __iter__(self) -> Iterator[Generation]:
        """Iterate over the generations whose pictures are kept, newest first."""
        return self.search()

    def __len__(self) -> int:
        """Return how many generations there are."""
        return self.count()

    def count(self, wanted: Filter = _PICTURES) -> int:
        """Return how many generations a filter accepts."""
        return self._journal.count(wanted)

    def search(
        self,
        text: str = "",
        *,
        model: str | None = None,
        provider: str | None = None,
        since: datetime | date | None = None,
        rating: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Generation]:
        """Iterate over matching generations, newest first.

        Args:
            text: Words that the prompt contains, letter case aside.
            model: An alias or an endpoint id.
            provider: The provider's name.
            since: A moment or a day; local time if it names no zone.
            rating: The least number of stars.
            limit: How many at most.

        Raises:
            InvalidRequest: An argument is not valid.
        """
        if limit is not None:
            limit = _LIMIT.check(limit)
        if rating is not None:
            rating = _STARS.check(rating)
        for name, word in (("text", text), ("provider", provider or "")):
            check_type(name, word, str, "text")
        try:
            if model is not None:
                model = self._session.models.resolve(model, provider or "")
        except InvalidRequest:
            if model not in self.models():  # a provider's own name, no id that all have
                raise
        wanted = replace(
            _PICTURES,
            text=text,
            model=model,
            provider=provider,
            since=None if since is None else _moment(since),
            rating=rating,
        )
        found = filter(None, map(self.recall, self._records(wanted, limit)))
        return itertools.islice(found, limit)

    def _records(self, wanted: Filter = _PICTURES, expected: int | None = None) -> Iterator[Record]:
        before: Record | None = None
        rows = min(expected or _PAGE_ROWS, _PAGE_ROWS)
        while page := self.page(wanted, limit=rows, before=before):
            yield from page
            before = page[-1]

    def page(
        self, wanted: Filter = _PICTURES, *, limit: int = 12, before: Record | None = None
    ) -> list[Record]:
        """Return one page of records; `before` is the last record of the page before."""
        return self._journal.query(wanted, limit=limit, before=before)

    def models(self) -> list[str]:
        """Return the ids of the models that there are generations of."""
        return self._journal.models()

    def recall(self, record: Record) -> Generation | None:
        """Return what a job brought; None if one of its pictures is no longer kept."""
        return self._session.recall(record)

    def get(self, generation_id: str) -> Generation:
        """Return the generation with this id.

        Raises:
            InvalidRequest: No generation has it, or the pictures are gone.
        """
        check_type("id", generation_id, str, "text")
        with contextlib.suppress(ImagenError):
            found = self.recall(self._journal.get(generation_id))
            if found is not None:
                return found
        raise InvalidRequest(
            f"History has no generation {shown(generation_id)}.",
            remedy="List what there is with %imagen_history.",
            field="id",
        )

    def find(self, request: ImageRequest, *, provider: str | None = None) -> Generation | None:
        """Return the newest generation of an equal request, as a free answer; None if unknown.

        A demo picture never answers a real request, nor the reverse.
        """
        check_type("request", request, ImageRequest, "an ImageRequest")
        name = provider or self._session.settings.account.name
        record = self._journal.find(request.fingerprint, name)
        known = None if record is None else self._session.recall(record)
        return None if known is None else known.as_reused()

    settings_from = staticmethod(_result.settings_from)

    def verify(self) -> list[str]:
        """Hash every kept picture again, and return one line for each that is lost or changed."""
        problems = []
        for record in self._records():
            for kept in record.images:
                name = f"{record.request_id or record.id}: picture {kept.index + 1}"
                if self._store.path(kept.digest) is None:
                    problems.append(f"{name} is gone")
                elif not self._store.verify(kept.digest):
                    problems.append(f"{name} has changed")
        return problems

    def __repr__(self) -> str:
        return _html.encodable(
            f"<History: {plural(len(self), 'generation')} in {self._session.settings.home}>"
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        newest = list(self.search(limit=_SHOWN))
        total = len(self)
        more = f"; the newest {len(newest)} below" if total > len(newest) else ""
        lines = [f"{plural(total, 'generation')}{more}", *(f"  {g.caption}" for g in newest)]
        cells = [(self.thumbnail(g), _html.escape(g.caption)) for g in newest]
        return {
            "text/plain": _html.encodable("\n".join(lines)),
            "text/html": _html.figures(cells, caption=_html.escape(lines[0])),
            **_picture.contact_sheet(map(self._small, newest)),
        }

    def thumbnail(self, generation: Generation, *, width: int = 384) -> str:
        """Return the first picture as a small HTML image; its type if it cannot be drawn."""
        image, small = generation[0], self._small(generation)
        if small is None:
            return f"<em>{image.media_type}, without a preview</em>"
        wide = min(width, small.width)
        # Narrow tables would shrink it to nothing.
        look = {"width": wide, "style": f"border-radius:6px;min-width:{min(wide, 96)}px"}
        return _html.image(small.data, small.media_type, alt=image.alt, **look)

    def _small(self, generation: Generation) -> Preview | None:
        return self._store.thumbnail(generation[0].path.stem.replace("sha256-", "sha256:"))

    # ---------------------------------------------------------------------------------- choosing

    def rate(self, generation: Generation, stars: int) -> None:
        """Give a generation 0 to 5 stars.

        Raises:
            InvalidRequest: The number is not 0 to 5.
        """
        check_type("generation", generation, Generation, "a Generation")
        _told(self._journal.rate, generation.id, _STARS.check(stars))

    def rating(self, generation: Generation) -> int:
        """Return a generation's stars, 0 to 5."""
        check_type("generation", generation, Generation, "a Generation")
        return _told(self._journal.get, generation.id).rating

    def delete(self, generation: Generation) -> None:
        """Move a generation's files to `trash/` in the home and hide it; the bill stays.

        A picture that another generation was made from, or will be, stays where it is.
        """
        check_type("generation", generation, Generation, "a Generation")
        _told(self._journal.delete, generation.id)
        for kept in self._journal.get(generation.id).images:
            if not self._journal.uses(kept.digest):  # no other job needs it
                self._store.trash(kept.digest)

    def undelete(self, generation_id: str) -> None:
        """Bring a deleted generation and its files back."""
        check_type("id", generation_id, str, "text")
        for kept in _told(self._journal.get, generation_id).images:
            self._store.restore(kept.digest)
        self._journal.undelete(generation_id)

    # ---------------------------------------------------------------------------------- fetching

    def pending(self) -> list[Record]:
        """Return the jobs that were submitted and not fetched, and that nobody waits for."""
        concurrent.futures.wait(set(cancelling), _CANCEL_SECONDS)
        self._journal.recover()
        return self._journal.pending()

    def unknown(self) -> list[Record]:
        """Return the jobs of which nobody knows whether the provider accepted them."""
        self._journal.recover()
        return self._journal.unknown()

    def forget(self, job_id: str, *, billed: bool = True) -> None:
        """Settle an unknown job by your word; `billed=False` gives its price back to the cap."""
        check_type("id", job_id, str, "text")
        _told(self._journal.forget, job_id, billed=billed)

    def resume(self) -> list[Generation]:
        """Fetch what was submitted and not fetched, oldest first; nothing is sent for money.

        Raises:
            ImagenError: Nothing could be fetched; the first reason.
        """
        outcomes = self.resume_all()
        fetched = [found for o in outcomes if (found := o.generation) is not None]
        errors = [error for o in outcomes if (error := o.error) is not None]
        if errors and not fetched:
            raise errors[0]
        return fetched

    def resume_all(
        self,
        on: Callable[[Resumed], None] | None = None,
        *,
        records: list[Record] | None = None,
    ) -> list[Resumed]:
        """Fetch what is pending, oldest first, and return what came of each job.

        Args:
            on: Called on the loop thread as each job is fetched or given up.
            records: The jobs, as `pending` returned them.
        """
        self._store.sweep_parts()
        records = self.pending() if records is None else records
        return _loop.run(self._resume_all, records, on) if records else []

    async def _resume_all(
        self, records: list[Record], on: Callable[[Resumed], None] | None
    ) -> list[Resumed]:
        outcomes: dict[str, Resumed] = {}
        turns = anyio.CapacityLimiter(_MAX_RESUMED_AT_ONCE)

        async def resume(record: Record, *, expired: bool = False) -> None:
            async with turns:
                outcomes[record.id] = await self._resumed(record, expired=expired)
            if on is not None and outcomes[record.id].error is not _NOT_KNOWN:
                on(outcomes[record.id])

        async with anyio.create_task_group() as group:
            for record in records:
                group.start_soon(resume, record)
        async with anyio.create_task_group() as group:
            for record in records:
                doubted = outcomes[record.id].error is _NOT_KNOWN
                if doubted and _is_expired(record, outcomes.values()):
                    group.start_soon(functools.partial(resume, expired=True), record)
        found = [outcomes[record.id] for record in records]
        for outcome in found:
            if on is not None and outcome.error is _NOT_KNOWN:  # what others told about it is known
                on(outcome)
        return found

    async def _resumed(self, record: Record, *, expired: bool) -> Resumed:
        """Fetch one job unless another process does; one that fails does not stop the others."""
        try:
            session, fetch = self._session.sibling(record), self._fetched
            http = session.provider.http
            before = http.answers
            found = await fetch(session, record, seconds=_UNKNOWN_SECONDS, expired=expired)
            if found is None and http.answers == before:  # it may be slow
                found = await fetch(session, record, seconds=_SLOW_SECONDS, expired=expired)
            nothing = _NOT_KNOWN if http.answers > before else _NO_ANSWER
            return found or Resumed(record, error=nothing)
        except ImagenError as error:
            return Resumed(record, error=error)
        except Exception as error:  # noqa: BLE001 - one odd row must not stop the others
            name = short_id(record.request_id or record.id)
            odd = QueueError(
                f"The job {name} cannot be resumed ({type(error).__name__}: {error}).",
                remedy="It stays as it is; upgrade imagen-widget, then resume again.",
            )
            return Resumed(record, error=odd)

    async def _fetched(
        self, session: Session, record: Record, *, seconds: float, expired: bool
    ) -> Resumed | None:
        """Fetch one job; None if its provider does not show within so long that it knows it."""
        request = record.request  # it may be damaged: before the lease
        with anyio.move_on_after(seconds) as scope:

            def report(event: object) -> None:
                if not isinstance(event, Submitted):  # the provider knows the job
                    scope.deadline = math.inf

            leased = await session.lease(record.id)
            now = await session.record(session.journal.get, record.id)
            if not leased:
                return Resumed(record, session.recall(now))
            run = Run(session, request, report=report, timeout=_RESUME_SECONDS)
            return Resumed(record, await run.resume(now, expired=expired))
        return None

    # ---------------------------------------------------------------------------------- spending

    def spend(self, since: datetime | date | None = None) -> float:
        """Return US dollars spent or reserved since a moment; today by default."""
        return float(self._journal.spend(_today() if since is None else _moment(since)))

    def spend_by(self, what: By, since: datetime | date | None = None) -> dict[str, Decimal]:
        """Return US dollars since a moment, this month by default, by one of these.

        Args:
            what: `model`, `user`, `series`, `day` or `provider`.
            since: A moment or a day.
        """
        if what not in BY:
            raise invalid("what", f"{shown(what)} is not allowed", f"Use one of {', '.join(BY)}.")
        begin = _today().replace(day=1) if since is None else _moment(since)
        return self._journal.spend_by(what, begin)

    def spending(self) -> Spending:
        """Return what was spent by this process, today, this month, and by model this month."""
        month = _today().replace(day=1)
        return Spending(
            session=self.session_spend(),
            today=self._journal.spend(_today()),
            month=self._journal.spend(month),
            by_model=self._journal.spend_by("model", month),
        )

    def session_spend(self) -> Decimal:
        """Return US dollars that the jobs which this process sent cost or have reserved."""
        return self._journal.spent_for(sorted(self._session.sent))

    def close(self) -> None:
        """Close the journal; a later call opens it again."""
        with contextlib.suppress(ImagenError):
            self._journal.close()


_NOT_KNOWN = QueueError(
    "The provider says nothing of the job yet.",
    remedy="It stays resumable: try again later. After an hour it counts as expired.",
)
_NO_ANSWER = QueueError(
    "The provider does not answer.", remedy="The job stays resumable: try again later."
)


def _is_expired(record: Record, outcomes: Iterable[Resumed]) -> bool:
    """Return True if the provider knows a later job of the same minute, so that one is gone.

    An earlier one proves nothing: a gateway may know a job only half a minute after its submit.
    """
    return any(
        other.generation is not None
        and (other.record.provider, other.record.base_url) == (record.provider, record.base_url)
        and 0 < other.record.created_at - record.created_at < _SAME_TIME_SECONDS
        for other in outcomes
    )


def _told(verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a verb of the journal; what it does not allow is a request that is not valid."""
    try:
        return verb(*args, **kwargs)
    except IllegalStep as error:
        raise InvalidRequest(error.message, remedy=error.remedy, field="id") from None


def _today() -> date:
    return datetime.now().astimezone().date()


def _moment(since: object) -> datetime:
    """Return a moment with its zone, of whatever library; a day begins at local midnight."""
    try:
        moment = datetime.fromisoformat(str(since))
        # Clocks of some systems have no other years; both are leap years.
        return moment.replace(year=min(max(moment.year, 1972), 2996)).astimezone()
    except (ValueError, OverflowError):
        what = f"{shown(since)} is not a moment or a day"
        remedy = "Give a date or datetime, or text like 2026-11-26."
        raise invalid("since", what, remedy) from None
