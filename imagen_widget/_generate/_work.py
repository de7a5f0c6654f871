"""Work: one request on its way from intent to pictures on disk.

The bill comes first: the journal has the job before the POST and the ticket before the first poll,
and pictures are on disk before anybody sees them. A failure after the ticket leaves the job where
it can be taken up again; only what the provider said of it can close it.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio

from imagen_widget._client import CancelAnswer
from imagen_widget._generate._download import download, public_url
from imagen_widget._generate._ending import ask_cancel, leave, settle, unconfirmed
from imagen_widget._generate._price import estimate
from imagen_widget._generate._progress import NOT_BILLED, TOO_LATE, Fetching, Submitted
from imagen_widget._generate._recall import recall
from imagen_widget._generate._reuse import find_kept, take_up
from imagen_widget._generate._submission import submit_once
from imagen_widget._journal._rows import IllegalStep
from imagen_widget._protocol._events import Done, Running
from imagen_widget._protocol._failures import CancelledAtProvider, ResultExpired
from imagen_widget._protocol._ticket import Ticket
from imagen_widget.errors import (
    CredentialsError,
    ImagenError,
    JobCancelled,
    JournalError,
    QueueError,
    QueueTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from imagen_widget._generate._engine import Engine
    from imagen_widget._generate._progress import Event
    from imagen_widget._journal._rows import JobRow
    from imagen_widget._request import ImageRequest
    from imagen_widget._result import Generation
    from imagen_widget._settings import Settings

NOTHING_SENT = "Cancelled before anything was sent; not billed."

_LEASE_MARGIN_SECONDS = 300.0
_SETTLE_SECONDS = 3.0


log = logging.getLogger("imagen_widget")


@dataclass(slots=True)
class Stopwatch:
    """Tells how long the job took, and how long it ran, in seconds.

    Attributes:
        clock: Seconds that only go forward.
        started: When this process began with the job.
        ran_since: When it was first seen to run.
        resumed: Whether it was under way before: then what was seen here says nothing.
    """

    clock: Callable[[], float]
    started: float
    ran_since: float | None = None
    resumed: bool = False

    def service(self, told: float | None) -> float | None:
        """Return the service time: as told, else since it was seen to run, else None."""
        if told is not None or self.resumed:
            return told
        return self.clock() - (self.started if self.ran_since is None else self.ran_since)


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
        self._timeout = settings.timeout if timeout is None else timeout
        self._step = step or (lambda _: None)
        self._id = ""
        self._scope: anyio.CancelScope | None = None
        self._cancel_wanted = False
        self._watch = Stopwatch(clock, clock())
        self._lease_seconds = self._timeout + _LEASE_MARGIN_SECONDS

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
        self._step("start")
        self._id = await self._engine.intend(self._request, self._settings)
        self._step("intent")
        return await self._finish(await self._submit())

    async def resume(self, row: JobRow, ticket: Ticket) -> Generation:
        """Return the pictures of a job that was submitted before; nothing is sent for money.

        Raises:
            ImagenError: They cannot be had now, or never.
        """
        self._id = row.id
        self._watch.resumed = True
        self._report(Submitted(ticket))
        return await self._finish(ticket)

    # ------------------------------------------------------------------------------- the stages

    async def _remembered(self) -> Generation | None:
        """Return what history has: kept pictures, or those of a paid job that is still out."""
        known = await find_kept(self._engine, self._request, self._settings)
        if known is not None:
            return known
        row = await take_up(
            self._engine, self._request, self._settings, lease_seconds=self._lease_seconds
        )
        if row is None or row.ticket_json is None:
            return None
        try:
            return await self.resume(row, Ticket.from_json(row.ticket_json))
        except (ResultExpired, JobCancelled):
            if self._cancel_wanted:
                raise
        self._watch = Stopwatch(self._clock, self._clock())  # it came to nothing: begin anew
        return None

    async def _submit(self) -> Ticket:
        ticket = await submit_once(
            self._engine,
            self._request,
            self._id,
            scope=self._new_scope(),
            lease_seconds=self._lease_seconds,
            report=self._report,
            step=self._step,
        )
        if ticket is None:
            raise self._cancelled(NOTHING_SENT)
        self._report(Submitted(ticket))
        return ticket

    async def _finish(self, ticket: Ticket) -> Generation:
        """Watch, collect and keep; on failure, write down whether it can be taken up again."""
        self.ticket = ticket
        try:
            finished = await self._watched(ticket)
            if finished is None:
                return await self._after_cancel(ticket)
            return await self._collect(ticket, finished)
        except IllegalStep:
            if not (await self._engine.record(self._engine.journal.get, self._id)).images:
                raise
            return await self._from_journal()  # another process was quicker: they are the same
        except ImagenError as error:
            await settle(self._engine, self._id, error)
            if isinstance(error, CancelledAtProvider):
                raise self._cancelled(
                    "The job was cancelled at the provider; not billed."
                ) from None
            raise
        except BaseException:  # the loop is ending: whoever comes next may take the job up
            await leave(
                self._engine, self._id, ticket, cancels=self._cancel_wanted, step=self._step
            )
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

        with self._new_scope() as scope:
            try:
                await self._engine.client.watch(
                    ticket,
                    note,
                    timeout=self._timeout,
                    service_times=await self._service_times(ticket),
                )
            except (QueueError, CredentialsError):
                raise
            except ImagenError:
                log.info("The status says that the job is over; its result decides.")
        self._step("watched")
        return None if scope.cancelled_caught else finished

    def _new_scope(self) -> anyio.CancelScope:
        """Return a scope that `cancel` ends; it is ended already where that was called before."""
        self._scope = anyio.CancelScope()
        if self._cancel_wanted:
            self._scope.cancel()
        return self._scope

    async def _service_times(self, ticket: Ticket) -> list[float]:
        if self._settings.provider.streams:
            return []  # a stream tells by itself
        with suppress(JournalError):  # they only tell when to ask: no reason to give up a paid job
            return await self._engine.record(
                self._engine.journal.service_times, ticket.endpoint, ticket.provider
            )
        return []

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
            urls=[url for url in outcome.urls if public_url(url)],
        )
        self._step("completed")
        self._report(Fetching(len(outcome.urls)))
        try:
            images = await download(self._engine, outcome.urls, step=self._step)
        except ImagenError as error:
            error.ticket = ticket
            raise
        await self._engine.record(journal.downloaded, self._id, images)
        self._step("downloaded")
        await self._engine.record(journal.done, self._id, self._cost(len(images)))
        self._step("done")
        return await self._from_journal()

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
        match await ask_cancel(self._engine, self._id, ticket, step=self._step):
            case CancelAnswer.CONFIRMED:
                raise self._cancelled(NOT_BILLED)
            case CancelAnswer.TOO_LATE:
                return await self._settled(ticket, seconds=self._timeout)
            case CancelAnswer.REQUESTED:
                return await self._settled(ticket, seconds=_SETTLE_SECONDS)
            case CancelAnswer.UNKNOWN:
                await self._engine.note_down(self._engine.journal.release, self._id)
                raise self._cancelled(unconfirmed("Cancelling was not confirmed", ticket))

    async def _settled(self, ticket: Ticket, *, seconds: float) -> Generation:
        """Return the pictures of a job that finished in spite of the cancellation."""
        try:
            await self._engine.client.watch(ticket, timeout=seconds)
            generation = await self._collect(ticket, Done())
        except QueueTimeout:
            await self._engine.note_down(self._engine.journal.release, self._id)
            raise self._cancelled(unconfirmed("Cancel requested", ticket)) from None
        except CancelledAtProvider:
            await self._engine.note_down(self._engine.journal.cancelled, self._id)
            raise self._cancelled(NOT_BILLED) from None
        self.note = TOO_LATE
        return generation

    def _cancelled(self, note: str) -> JobCancelled:
        self.note = note
        return JobCancelled(note, ticket=self.ticket)
