"""One request on its way from intent to pictures on disk, told in the order of time.

The bill comes first: the journal has the job before the POST and the ticket before the first poll,
and the pictures are on disk before they are shown. A failure after the ticket leaves the job
resumable; only what the provider said of it closes it.
"""

import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from operator import attrgetter

import anyio
from anyio import to_thread

from imagen_widget import _journal as journal
from imagen_widget._providers import (
    CancelAnswer,
    Done,
    Finished,
    Queued,
    Running,
    Served,
    Ticket,
)
from imagen_widget._request import ImageRequest
from imagen_widget._result import Generation, age
from imagen_widget._runs.session import LEASE_SECONDS, Session
from imagen_widget.errors import (
    CancelledAtProvider,
    ContentRejected,
    CredentialsError,
    ImagenError,
    JobCancelled,
    JournalError,
    QueueError,
    QueueTimeout,
    ResultExpired,
    SubmitUncertain,
)

NOT_BILLED = "Cancelled, not billed."
TOO_LATE = "Too late to cancel: the pictures are here, and paid for."

_LEAVE_SECONDS = 4.0
_SETTLE_SECONDS = 3.0
_FETCH_SECONDS = 60.0
_SUBMIT_MARGIN_SECONDS = 60.0  # a POST that is out is waited for past the deadline


@dataclass(frozen=True, slots=True)
class Submitting:
    """The request is about to be sent; the journal has it."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The provider accepted the job, and the journal has its ticket."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Fetching:
    """The job has finished, and its pictures are being fetched."""

    count: int


Event = Submitting | Submitted | Queued | Running | Done | Fetching


class Run:
    """One job, driven on the loop thread; `report` is called with each event.

    `timeout` is seconds for everything from `started` on, as `time.monotonic` tells it.
    """

    def __init__(
        self,
        session: Session,
        request: ImageRequest,
        *,
        report: Callable[[Event], None],
        timeout: float,
        started: float | None = None,
    ) -> None:
        self.id = ""  # the journal's, once it is written down
        self.note = ""  # how a cancellation ended, in one line
        self._session, self._request, self._report = session, request, report
        self._timeout = timeout
        self._started = time.monotonic() if started is None else started
        self._deadline = self._started + timeout
        self._ran_since: float | None = None
        self._ticket: Ticket | None = None
        self._scope: anyio.CancelScope | None = None
        self._cancel_wanted = False
        self._resumed = self._past_cancel = self._expired = False

    def cancel(self) -> None:
        """Give the job up; on the loop thread. What comes of it is in `note`."""
        self._cancel_wanted = True
        if self._scope is not None and not self._past_cancel:
            self._scope.cancel()

    # --------------------------------------------------------------- three ways to begin

    async def run(self, *, reuse: bool = False) -> Generation:
        """Return the pictures: from history if that is allowed and has them, else paid for."""
        if reuse and (known := await self._from_history()) is not None:
            return known
        session = self._session
        await to_thread.run_sync(session.store.ready)
        ids = await session.record(
            session.journal.intend,
            session.draft(self._request),
            budget=session.settings.budget,
            user=session.settings.user,
        )
        return await self.send(ids[0])

    async def send(self, job_id: str) -> Generation:
        """Send a job that this process has in the journal as an intent."""
        self.id = job_id
        self._session.sent.add(job_id)
        with self._session.holding(job_id):
            answer = await self._submit()
            if isinstance(answer, Finished):
                return await self._finish_at_once(answer)
            self._report(Submitted(answer))
            return await self._finish(answer)

    async def resume(self, record: journal.Record, *, expired: bool = False) -> Generation:
        """Return the pictures of a job that was submitted before, leased to this process.

        `expired` is evidence that the provider no longer has it.
        """
        self.id, self._resumed, self._expired = record.id, True, expired
        with self._session.holding(record.id):
            if record.ticket is None:  # answered directly; the addresses are all there is
                served = tuple(Served(url) for url in record.urls)
                return await self._finish_at_once(Finished(served, seed=record.seed))
            ticket = Ticket.from_json(record.ticket, created=record.created.timestamp())
            self._report(Submitted(ticket))
            return await self._finish(ticket)

    # --------------------------------------------------------------- history answers

    async def _from_history(self) -> Generation | None:
        """Return kept pictures of an equal request, or those of a paid job that is still out.

        A demo picture never answers a real request, nor the reverse. If an earlier submit of it may
        have been accepted, it raises SubmitUncertain: the user decides.
        """
        session, settings = self._session, self._session.settings
        verbs, place = session.journal, settings.account.name
        fingerprint = self._request.fingerprint
        record = await session.record(verbs.find, fingerprint, place)
        if record is None:
            await session.record(verbs.recover)
            record = await session.record(verbs.find, fingerprint, place)
        if record is not None:
            known = await to_thread.run_sync(session.recall, record)
            if known is not None:
                return known.as_reused()
        for record in await session.record(
            verbs.find_pending, fingerprint, place, settings.base_url
        ):
            if record.state is journal.State.UNKNOWN:
                raise SubmitUncertain(
                    f"The same request went out {age(record.created)} without a clear answer: a "
                    "job may exist and be billed. It is not sent again by itself.",
                    remedy=f"Look at your usage at {settings.account.title}; --fresh (reuse=False) "
                    "sends it again.",
                )
            if not await session.record(verbs.lease, record.id, LEASE_SECONDS):
                continue
            try:
                return await self.resume(record)
            except (ResultExpired, JobCancelled):
                if self._cancel_wanted:
                    raise
            self.id = self.note = ""  # it is gone, and must leave no trace on the one to come
            self._ticket = self._ran_since = None
            self._resumed = self._past_cancel = False
        return None

    # --------------------------------------------------------------- the one step that costs money

    async def _submit(self) -> Ticket | Finished:
        """Send the request once; what came of it is in the journal when this returns or raises."""
        session, verbs = self._session, self._session.journal
        answer = None
        try:
            with self._new_scope():
                request = self._request
                if request.inputs:  # else a thread has nothing to do
                    request = await to_thread.run_sync(session.with_bytes, request)
                async with session.submits:
                    lease = self._left() + _SUBMIT_MARGIN_SECONDS
                    await session.record(
                        verbs.apply, self.id, journal.Submitting(), lease_seconds=lease
                    )
                    self._report(Submitting())
                    answer = await session.provider.submit(request, seconds=self._left())
        except SubmitUncertain as error:
            await self._note(journal.Uncertain(str(error)))
            if error.ticket is not None:  # the failure named the job
                await self._keep_ticket(error.ticket)
                await self._release()
            raise
        except ImagenError as error:
            if error.billed:  # answered at once, and nothing came of it
                await self._fail(error)
            else:
                await self._note(journal.Refused(str(error), type(error).__name__))
            raise
        except anyio.get_cancelled_exc_class():  # the loop is ending; a POST that was out is over
            await self._note(journal.Cancelled())
            raise
        except BaseException as error:
            await self._note(journal.Uncertain(type(error).__name__))
            raise
        if answer is None:
            await self._note(journal.Cancelled())
            raise self._cancelled("Cancelled before anything was sent; not billed.")
        if isinstance(answer, Ticket):
            await self._keep_ticket(answer)
        return answer

    async def _keep_ticket(self, ticket: Ticket) -> None:
        """Write the ticket down: from here on any process can fetch the pictures."""
        self._ticket = ticket
        with anyio.CancelScope(shield=True):
            try:
                await self._apply(journal.Submitted(ticket.to_json(), ticket.request_id))
            except JournalError as error:
                raise JournalError(
                    f"The provider accepted the job (request id {ticket.request_id}), and it may "
                    f"be billed; but it could not be written down: {error.message}",
                    remedy=error.remedy,
                    ticket=ticket,
                    billed=True,
                ) from None

    # --------------------------------------------------------------- waiting for it

    async def _finish(self, ticket: Ticket) -> Generation:
        """Watch, collect and keep; on failure, write down whether the job is resumable."""
        self._ticket = ticket
        try:
            done = await self._watched(ticket)
            if done is None:
                return await self._after_cancel(ticket)
            return await self._collected(ticket, done)
        except journal.IllegalStep:
            record = await self._session.record(self._session.journal.get, self.id)
            if not record.images:
                raise
            return self._generation(record)  # another process was quicker: they are the same
        except ImagenError as error:
            await self._settle(error)
            if isinstance(error, CancelledAtProvider):
                raise self._cancelled(
                    "The job was cancelled at the provider; not billed."
                ) from None
            raise
        except BaseException:  # the loop is ending: the next process may fetch it
            with anyio.move_on_after(_LEAVE_SECONDS, shield=True):
                if self._cancel_wanted and not self._past_cancel:
                    await self._ask_cancel(ticket)
            await self._release()
            raise

    async def _watched(self, ticket: Ticket) -> Done | None:
        """Return the job's end; None if it was cancelled here."""
        session = self._session
        times: list[float] = []
        if not session.provider.can.streams:
            with suppress(JournalError):  # they only say when to ask
                times = await session.record(
                    session.journal.service_times, ticket.endpoint, ticket.provider
                )
        done = None
        with self._new_scope():
            events = session.provider.watch(
                ticket, seconds=self._left(), service_times=times, expired=self._expired
            )
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Running) and self._ran_since is None:
                        self._ran_since = time.monotonic()
                    if isinstance(event, Done):
                        done = event
                    self._report(event)
        return done

    # --------------------------------------------------------------- fetching what was paid for

    async def _collected(self, ticket: Ticket, done: Done) -> Generation:
        self._past_cancel = True  # from here on the job is paid for: a cancellation is too late
        finished = await self._session.provider.result(ticket, done, seconds=self._left())
        if finished.seconds is None:
            finished = replace(finished, seconds=done.seconds)
        return await self._keep(finished, ticket)

    async def _finish_at_once(self, finished: Finished) -> Generation:
        """Keep the pictures of an answer that came without a queue and without a ticket."""
        try:
            generation = await self._keep(finished, None)
        except ImagenError as error:
            lost = not any(url.startswith("http") for url in finished.urls)
            if isinstance(error, QueueError | JournalError) and lost:
                error.billed = True
                await self._fail(error)
            else:
                await self._settle(error)
            raise
        if self._cancel_wanted:
            self.note = TOO_LATE
        return generation

    async def _keep(self, finished: Finished, ticket: Ticket | None) -> Generation:
        self._past_cancel = True
        flagged = sum(served.filtered for served in finished.pictures)
        missing = max(self._request.count - len(finished.pictures), 0)
        seconds = finished.seconds  # how long the provider worked: as told, else as seen
        if seconds is None and not self._resumed:
            since = self._started if self._ran_since is None else self._ran_since
            seconds = time.monotonic() - since
        completed = journal.Completed(
            request_id=finished.request_id or None,
            seconds=seconds,
            seed=finished.seed,
            description=finished.description,
            revised_prompt=finished.revised_prompt,
            urls=tuple(url for url in finished.urls if url.startswith("http")),
            units=finished.units,
            filtered=flagged + missing,
        )
        try:
            await self._apply(completed)
            self._report(Fetching(len(finished.pictures)))
            kept = await self._download(finished.pictures)
        except ImagenError as error:
            error.ticket = error.ticket or ticket
            raise
        if flagged == len(kept):
            raise ContentRejected(
                f"The provider withheld every picture ({len(kept) or 'none'} came).",
                remedy="Change the prompt; the provider may have billed the attempt.",
                ticket=ticket,
                billed=True,
            )
        closed = journal.Closed(*self._cost(finished), time.monotonic() - self._started)
        kept_all = (completed, journal.Kept(tuple(kept)), closed)  # the first may have been lost
        return self._generation(await self._apply(*kept_all))

    async def _download(self, pictures: tuple[Served, ...]) -> list[journal.KeptImage]:
        """Fetch and keep all pictures, side by side; one that fails takes no other with it."""
        session = self._session
        rows: list[journal.KeptImage] = []
        failures: list[Exception] = []

        async def fetch(index: int, served: Served) -> None:
            try:
                async with session.downloads:
                    for _ in range(2):  # once more if there is a problem: it may have been cut
                        data = await session.provider.fetch(served.url, seconds=self._left())
                        kept = await to_thread.run_sync(session.store.keep, data)
                        if not kept.problem:
                            break
            except Exception as error:  # noqa: BLE001 - raised below, without a group around it
                failures.append(error)
                return
            rows.append(
                journal.KeptImage(
                    index=index,
                    digest=kept.digest,
                    media_type=kept.media_type,
                    width=kept.width,
                    height=kept.height,
                    size=kept.size,
                    url=served.url if served.url.startswith("http") else None,
                    filtered=served.filtered,
                )
            )

        async with anyio.create_task_group() as group:
            for index, served in enumerate(pictures):
                group.start_soon(fetch, index, served)
        if failures:
            raise next((f for f in failures if isinstance(f, ImagenError)), failures[0])
        return sorted(rows, key=attrgetter("index"))

    def _cost(self, finished: Finished) -> tuple[Decimal | None, str | None]:
        session, request = self._session, self._request
        if session.settings.account.free:
            return Decimal(0), None
        known = session.known(request.model)
        yours = session.settings.price.for_model(known.id, known.alias) is not None
        billed_unit = known.price.unit_price if known.price and not yours else None
        if billed_unit and finished.units is not None:
            return billed_unit * finished.units, "billed"
        expected = session.price(request)
        if expected is None:
            return None, None
        share = Decimal(min(len(finished.pictures), request.count)) / request.count
        return expected * share, "yours" if yours else "list"

    def _generation(self, record: journal.Record) -> Generation:
        generation = self._session.recall(record)
        if generation is None:
            raise QueueError(
                "The pictures vanished from the disk as soon as they were kept.",
                remedy="Check the folder of IMAGEN_HOME.",
            )
        return generation

    # --------------------------------------------------------------- how else a job ends

    async def _after_cancel(self, ticket: Ticket) -> Generation:
        match await self._ask_cancel(ticket):
            case CancelAnswer.CONFIRMED:
                raise self._cancelled(NOT_BILLED)
            case CancelAnswer.TOO_LATE:
                return await self._settled(ticket, seconds=self._timeout)
            case CancelAnswer.REQUESTED:
                return await self._settled(ticket, seconds=_SETTLE_SECONDS)
            case CancelAnswer.UNKNOWN:
                raise await self._unconfirmed("Cancelling was not confirmed", ticket)

    async def _ask_cancel(self, ticket: Ticket) -> CancelAnswer:
        with anyio.CancelScope(shield=True):
            answer = await self._session.provider.cancel(ticket)
            if answer is CancelAnswer.CONFIRMED:
                await self._note(journal.Cancelled())
        return answer

    async def _settled(self, ticket: Ticket, *, seconds: float) -> Generation:
        """Return the pictures of a job that finished in spite of the cancellation."""
        self._deadline = time.monotonic() + seconds
        self._past_cancel = True  # the provider was asked: another cancellation changes nothing
        try:
            done = await self._watched(ticket)
            self._deadline += _FETCH_SECONDS
            generation = await self._collected(ticket, done or Done())
        except QueueTimeout:
            raise await self._unconfirmed("Cancel requested", ticket) from None
        except CancelledAtProvider:
            await self._note(journal.Cancelled())
            raise self._cancelled(NOT_BILLED) from None
        self.note = TOO_LATE
        return generation

    async def _unconfirmed(self, what: str, ticket: Ticket) -> JobCancelled:
        """Let go of a job of which nobody knows whether it was cancelled in time."""
        await self._release()
        note = f"{what}; the job (request id {ticket.request_id}) may still finish and be billed."
        return self._cancelled(note, billed=True)

    def _cancelled(self, note: str, *, billed: bool = False) -> JobCancelled:
        remedy = "Fetch it with %imagen_resume." if billed else ""
        error = JobCancelled(note, remedy=remedy, ticket=self._ticket, billed=billed)
        self.note = str(error)
        return error

    async def _settle(self, error: ImagenError) -> None:
        """Write down what an error means for the job: over, or resumable."""
        match error:
            case JobCancelled():  # written down where it was raised
                return
            case CancelledAtProvider():
                await self._note(journal.Cancelled())
            case ResultExpired():
                await self._note(journal.Expired())
            case QueueError() | CredentialsError() | JournalError():
                error.billed = True  # it is paid for, once: its price stays reserved
                await self._release()
            case _:
                await self._fail(error)

    # --------------------------------------------------------------- small parts

    async def _apply(self, *events: journal.Event) -> journal.Record:
        apply = self._session.journal.apply
        return await self._session.record(apply, self.id, *events, lease_seconds=LEASE_SECONDS)

    async def _note(self, event: journal.Event) -> None:
        await self._session.note(self._session.journal.apply, self.id, event)

    async def _fail(self, error: ImagenError) -> None:
        kind = type(error).__name__
        await self._note(journal.Failed(str(error), billed=error.billed, trouble=kind))

    async def _release(self) -> None:
        await self._session.note(self._session.journal.release, self.id)

    def _new_scope(self) -> anyio.CancelScope:
        """Return a scope that `cancel` ends; it is ended already if that was called before."""
        self._scope = anyio.CancelScope()
        if self._cancel_wanted and not self._past_cancel:
            self._scope.cancel()
        return self._scope

    def _left(self) -> float:
        """Return the seconds until the deadline; raises QueueTimeout if it has passed."""
        left = self._deadline - time.monotonic()
        if left > 0:
            return left
        if self._ticket is None:
            raise QueueError(
                f"The request was not sent within {self._timeout:.0f} s; nothing is billed.",
                remedy="Run it again, with a longer --timeout (timeout=) if the machine is busy.",
            )
        raise QueueTimeout(
            f"The job is not finished after {self._timeout:.0f} s "
            f"(request id {self._ticket.request_id}).",
            remedy="It goes on at the provider and may be billed; fetch it with %imagen_resume.",
            ticket=self._ticket,
        )
