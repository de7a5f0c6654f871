"""Work: one request on its way from intent to pictures on disk.

The bill comes first: the journal has the job before the POST and the ticket before the first poll,
and pictures are on disk before anybody sees them. A failure after the ticket leaves the job where
it can be taken up again.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from imagen_widget._client import CancelAnswer
from imagen_widget._failures import CancelledAtProvider, ResultExpired
from imagen_widget._journal_rows import ImageRow, State
from imagen_widget._price import estimate
from imagen_widget._progress import NOT_BILLED, TOO_LATE, Fetching, Submitted, Submitting
from imagen_widget._protocol import Done, Running
from imagen_widget._recall import as_reused, recall
from imagen_widget.errors import (
    CredentialsError,
    ImagenError,
    JobCancelled,
    QueueError,
    QueueTimeout,
    SubmitUncertain,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from imagen_widget._engine import Engine
    from imagen_widget._journal_rows import JobRow
    from imagen_widget._progress import Event
    from imagen_widget._request import ImageRequest
    from imagen_widget._result import Generation
    from imagen_widget._settings import Settings
    from imagen_widget._ticket import Outcome, Ticket

_LEASE_MARGIN_SECONDS = 300.0
_SETTLE_SECONDS = 3.0

log = logging.getLogger("imagen_widget")


@dataclass(slots=True)
class Stopwatch:
    """Tells how long the job took, and how long it ran, in seconds."""

    clock: Callable[[], float]
    started: float
    ran_since: float | None = None

    def service(self, told: float | None) -> float:
        """Return the service time: as told, else since it was seen to run."""
        return told if told is not None else self.clock() - (self.ran_since or self.started)


class Work:
    """One job, driven on the loop thread.

    Args:
        request: What is asked.
        settings: Under which settings.
        engine: The shared client, journal and store.
        report: Called with each event.
        timeout: Seconds to wait for the job; the settings' own where None.
        clock: Seconds that only go forward.
        step: Called with the name of each point at which a crash must lose nothing.

    Attributes:
        note: How a cancellation ended, in one line; empty where there was none.
        ticket: The job's ticket, once there is one.
    """

    def __init__(
        self,
        request: ImageRequest,
        settings: Settings,
        engine: Engine,
        *,
        report: Callable[[Event], None],
        timeout: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        step: Callable[[str], None] | None = None,
    ) -> None:
        self.note = ""
        self.ticket: Ticket | None = None
        self._request, self._settings, self._engine = request, settings, engine
        self._report, self._clock = report, clock
        self._timeout = timeout or settings.timeout
        self._step = step or (lambda _: None)
        self._id = ""
        self._scope: anyio.CancelScope | None = None
        self._cancel_wanted = False
        self._watch = Stopwatch(clock, clock())

    def cancel(self) -> None:
        """Give the job up; call it on the loop thread. What comes of it stands in `note`."""
        self._cancel_wanted = True
        if self._scope is not None:
            self._scope.cancel()

    async def run(self, *, reuse: bool) -> Generation:
        """Return the pictures: from history if that is allowed and has them, else paid for anew.

        Raises:
            JobCancelled: It was cancelled; its words say whether in time.
            ImagenError: No picture came of it.
        """
        if reuse and (known := await self._remembered()) is not None:
            return known
        journal = self._engine.journal
        self._step("start")
        self._id = await self._engine.record(
            journal.intend,
            self._request,
            provider=self._settings.provider.name,
            base_url=self._settings.base_url,
            price=estimate(self._request, self._settings),
            cap=self._settings.max_spend,
        )
        self._step("intent")
        try:
            ticket = await self._submit()
        except SubmitUncertain as error:
            await self._keep_uncertain(error)
            raise
        except ImagenError as error:
            await self._engine.record(journal.refuse, self._id, str(error))
            raise
        if ticket is None:
            await self._engine.record(journal.cancelled, self._id)
            raise self._cancelled("Cancelled before anything was sent; not billed.")
        return await self._finish(ticket)

    async def resume(self, row: JobRow, ticket: Ticket) -> Generation:
        """Return the pictures of a job that was submitted before; nothing is sent for money.

        Raises:
            ImagenError: They cannot be had now, or never.
        """
        self._id = row.id
        return await self._finish(ticket)

    # ------------------------------------------------------------------------------- the stages

    async def _remembered(self) -> Generation | None:
        row = await self._engine.record(
            self._engine.journal.find,
            self._request.fingerprint,
            provider=self._settings.provider.name,
        )
        known = recall(row, self._engine.store) if row is not None else None
        return as_reused(known) if known is not None else None

    async def _submit(self) -> Ticket | None:
        """Return the ticket, or None where the job was cancelled before anything was sent."""
        ticket = None
        with anyio.CancelScope() as self._scope:
            if self._cancel_wanted:
                return None
            async with self._engine.submits:
                await self._engine.record(self._engine.journal.submitting, self._id)
                self._report(Submitting())
                self._step("submitting")
                ticket = await self._engine.client.submit(self._request)
        if ticket is None:
            return None
        self.ticket = ticket
        self._step("answered")
        with anyio.CancelScope(shield=True):
            await self._promise(ticket)
        self._step("promised")
        self._report(Submitted(ticket))
        return ticket

    async def _promise(self, ticket: Ticket) -> None:
        await self._engine.record(
            self._engine.journal.promise, self._id, ticket.to_json(), ticket.request_id
        )
        await self._engine.record(
            self._engine.journal.renew, self._id, self._timeout + _LEASE_MARGIN_SECONDS
        )

    async def _keep_uncertain(self, error: SubmitUncertain) -> None:
        with anyio.CancelScope(shield=True):
            if error.ticket is not None:  # the answer failed, but it named the job
                await self._promise(error.ticket)
                await self._engine.record(self._engine.journal.release, self._id)
                return
            await self._engine.record(self._engine.journal.unknown, self._id, str(error))

    async def _finish(self, ticket: Ticket) -> Generation:
        """Watch, collect and keep; on failure, write down whether it can be taken up again."""
        self.ticket = ticket
        try:
            finished = await self._watched(ticket)
            if finished is None:
                return await self._after_cancel(ticket)
            return await self._collect(ticket, finished)
        except ImagenError as error:
            with anyio.CancelScope(shield=True):
                await self._settle(error)
            if isinstance(error, CancelledAtProvider):
                raise self._cancelled(
                    "The job was cancelled at the provider; not billed."
                ) from None
            raise
        except BaseException:  # the loop is ending: whoever comes next may take the job up
            with anyio.CancelScope(shield=True):
                await self._engine.record(self._engine.journal.release, self._id)
            raise

    async def _watched(self, ticket: Ticket) -> Done | None:
        """Return the job's end, or None where it was cancelled here."""
        finished = Done()

        def note(event: Event) -> None:
            nonlocal finished
            if isinstance(event, Done):
                finished = event
            if isinstance(event, Running) and self._watch.ran_since is None:
                self._watch.ran_since = self._clock()
            self._step("watching")
            self._report(event)

        times = await self._engine.record(
            self._engine.journal.service_times, ticket.endpoint, ticket.provider
        )
        with anyio.CancelScope() as self._scope:
            if self._cancel_wanted:
                self._scope.cancel()
            await self._engine.client.watch(
                ticket, note, timeout=self._timeout, service_times=times
            )
        self._step("watched")
        return None if self._scope.cancelled_caught else finished

    async def _collect(self, ticket: Ticket, finished: Done) -> Generation:
        """Fetch and keep the pictures, and write each step down."""
        journal = self._engine.journal
        outcome = await self._engine.client.result(ticket)
        self._step("result")
        await self._engine.record(
            journal.completed,
            self._id,
            seconds=self._watch.service(finished.seconds),
            seed=outcome.seed,
            description=outcome.description,
            urls=outcome.urls,
        )
        self._step("completed")
        self._report(Fetching(len(outcome.urls)))
        images = await self._fetch_all(outcome, ticket)
        await self._engine.record(journal.downloaded, self._id, images)
        self._step("downloaded")
        await self._engine.record(journal.done, self._id, self._cost(len(images)))
        self._step("done")
        return await self._from_journal()

    async def _fetch_all(self, outcome: Outcome, ticket: Ticket) -> list[ImageRow]:
        rows: dict[int, ImageRow] = {}
        errors: list[ImagenError] = []

        async def fetch(index: int, url: str) -> None:
            try:
                async with self._engine.downloads:
                    data = await self._engine.client.fetch(url)
                    self._step("fetched")
                    kept = await to_thread.run_sync(self._engine.store.keep, data)
            except ImagenError as error:
                errors.append(error)
                return
            self._step("kept")
            address = url if url.startswith(("http:", "https:")) else None
            rows[index] = ImageRow(
                index, kept.digest, kept.media_type, kept.width, kept.height, kept.size, address
            )

        async with anyio.create_task_group() as group:
            for index, url in enumerate(outcome.urls):
                group.start_soon(fetch, index, url)
        if errors:
            errors[0].ticket = ticket
            raise errors[0]
        return [rows[index] for index in sorted(rows)]

    async def _from_journal(self) -> Generation:
        row = await self._engine.record(self._engine.journal.get, self._id)
        generation = recall(row, self._engine.store)
        if generation is None:
            raise QueueError(
                "The pictures vanished from the disk as soon as they were kept.",
                remedy="Check the folder of IMAGEN_HOME.",
            )
        return replace(generation, seconds=self._clock() - self._watch.started)

    def _cost(self, arrived: int) -> Decimal | None:
        price = estimate(self._request, self._settings)
        return None if price is None else price * arrived / self._request.count

    # ------------------------------------------------------------------------------- the endings

    async def _after_cancel(self, ticket: Ticket) -> Generation:
        """Ask the provider to cancel, and find out what came of it."""
        with anyio.CancelScope(shield=True):
            answer = await self._engine.client.request_cancel(ticket)
            self._step("cancel asked")
            if answer is CancelAnswer.CONFIRMED:
                await self._engine.record(self._engine.journal.cancelled, self._id)
                raise self._cancelled(NOT_BILLED)
            if answer is not CancelAnswer.UNKNOWN:
                seconds = self._timeout if answer is CancelAnswer.TOO_LATE else _SETTLE_SECONDS
                return await self._settled(ticket, seconds)
            await self._engine.record(self._engine.journal.release, self._id)
        raise self._cancelled(
            f"Cancelling was not confirmed; the job (request id {ticket.request_id}) may finish "
            "and be billed. Fetch it with %imagen_resume."
        )

    async def _settled(self, ticket: Ticket, seconds: float) -> Generation:
        """Return the pictures of a job that finished in spite of the cancellation."""
        try:
            await self._engine.client.watch(ticket, timeout=seconds)
            generation = await self._collect(ticket, Done())
        except QueueTimeout:
            await self._engine.record(self._engine.journal.release, self._id)
            raise self._cancelled(
                f"Cancel requested; the job (request id {ticket.request_id}) may still finish and "
                "be billed. Fetch it with %imagen_resume."
            ) from None
        except CancelledAtProvider:
            await self._engine.record(self._engine.journal.cancelled, self._id)
            raise self._cancelled(NOT_BILLED) from None
        self.note = TOO_LATE
        return generation

    async def _settle(self, error: ImagenError) -> None:
        journal = self._engine.journal
        if isinstance(error, JobCancelled):
            return
        row = await self._engine.record(journal.get, self._id)
        if row.state not in {State.SUBMITTED, State.COMPLETED}:
            return
        if isinstance(error, CancelledAtProvider) and row.state is State.SUBMITTED:
            await self._engine.record(journal.cancelled, self._id)
        elif isinstance(error, ResultExpired):
            await self._engine.record(journal.expired, self._id)
        elif isinstance(error, QueueError | CredentialsError):
            await self._engine.record(journal.release, self._id)
        else:
            await self._engine.record(journal.failed, self._id, str(error), billed=error.billed)

    def _cancelled(self, note: str) -> JobCancelled:
        self.note = note
        return JobCancelled(note, ticket=self.ticket)
