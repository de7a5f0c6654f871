"""One request on its way from intent to pictures on disk, told in the order of time.

The bill comes first: the journal has the job before the POST and the ticket before the first poll,
and the pictures are on disk before they are shown. A failure after the ticket leaves the job
resumable; only what the provider said of it closes it. What the jobs of a studio share stands at
the end.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

import anyio
from anyio import to_thread

from imagen_widget import _journal as journal, _loop, _providers as providers, errors
from imagen_widget._models import Catalogue, Model, short_name
from imagen_widget._picture import Provenance
from imagen_widget._request import ImageRequest
from imagen_widget._result import GeneratedImage, Generation, age
from imagen_widget._settings import Settings, check_key, load_settings
from imagen_widget._store import open_store

T = TypeVar("T")

NOT_SENT = "Cancelled before anything was sent; not billed."
NOT_BILLED = "Cancelled, not billed."
TOO_LATE = "Too late to cancel: the pictures are here, and paid for."

_HEARTBEAT_SECONDS = 20.0
_LEAVE_SECONDS = 4.0
_LOOK_SECONDS = 0.25
_SETTLE_SECONDS = 3.0
_FETCH_SECONDS = 60.0

log = logging.getLogger("imagen_widget")


@dataclass(frozen=True, slots=True)
class Submitting:
    """The request is about to be sent; the journal has it."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The provider accepted the job, and the journal has its ticket."""

    ticket: providers.Ticket


@dataclass(frozen=True, slots=True)
class Fetching:
    """The job has finished, and its pictures are being fetched."""

    count: int


Event = Submitting | Submitted | providers.WireEvent | Fetching


class Run:
    """One job, driven on the loop thread; `report` is called with each event.

    `timeout` is seconds for everything from now on, by default those of the settings.
    """

    def __init__(
        self,
        session: "Session",
        request: ImageRequest,
        *,
        report: Callable[[Event], None],
        timeout: float | None = None,
    ) -> None:
        self.id = ""  # the journal's, once it is written down
        self.note = ""  # how a cancellation ended, in one line
        self.has_waited = False  # for an equal job
        self._session, self._request, self._report = session, request, report
        self.started = time.monotonic()
        self._timeout = session.settings.timeout if timeout is None else timeout
        self._deadline = self.started + self._timeout
        self._ran_since: float | None = None
        self._ticket: providers.Ticket | None = None
        self._scope: anyio.CancelScope | None = None
        self._cancel_wanted, self._cancel_at = False, math.inf
        self._resumed = self._past_cancel = self._expired = False

    def cancel(self) -> None:
        """Give the job up; on the loop thread. What comes of it is in `note`."""
        self._cancel_wanted = True
        if not self._past_cancel:
            self._cancel_at = -math.inf  # also of the steps to come
            if self._scope is not None:
                self._scope.cancel()

    async def let_go(self) -> None:
        """Let others fetch the job if it was given up too late: nobody waits for this run."""
        if self._past_cancel and self._ticket is not None:
            await self._release()

    # --------------------------------------------------------------- three ways to begin

    async def run(self, *, reuse: bool = False) -> Generation:
        """Return the pictures: from history if that is allowed and has them, else paid for."""
        session, settings = self._session, self._session.settings
        draft = journal.Draft(
            request=self._request,
            provider=settings.account.name,
            base_url=settings.base_url,
            price=session.price(self._request),
        )
        ids: list[str] = []
        while not ids:  # none if an equal request was quicker: history will have its pictures
            if reuse and (known := await self._from_history()) is not None:
                return known
            await to_thread.run_sync(session.store.ready)
            ids = await session.record(
                session.journal.intend,
                draft,
                budget=settings.budget,
                user=settings.user,
                alone=reuse,
            )
        return await self.send(ids[0])

    async def send(self, job_id: str) -> Generation:
        """Send a job that this process has in the journal as an intent."""
        self.id = job_id
        self._session.sent.add(job_id)
        providers.hidden.set(self._request)
        with self._session.holding(job_id):
            return await self._finish(await self._submit())

    async def resume(self, record: journal.Record, *, expired: bool = False) -> Generation:
        """Return the pictures of a job that was submitted before, leased to this process.

        `expired` is evidence that the provider no longer has it.
        """
        self.id, self._resumed, self._expired = record.id, True, expired
        providers.hidden.set(self._request)
        with self._session.holding(record.id):
            known = providers.Finished(
                tuple(map(providers.Served, record.urls)),
                seed=record.seed,
                description=record.description,
                revised_prompt=record.revised_prompt or "",
                units=record.units,
                seconds=record.seconds,
            )
            if record.ticket is None:  # answered directly; the addresses are all there is
                return await self._finish(known)
            ticket = providers.Ticket.from_json(record.ticket, created=record.created.timestamp())
            # Which pictures are flagged, and those without an address, only the result tells.
            is_whole = len(record.urls) + record.filtered == self._request.count
            return await self._finish(ticket, known if record.urls and is_whole else None)

    # --------------------------------------------------------------- history answers

    async def _from_history(self) -> Generation | None:
        """Return kept pictures of an equal request, or those of a paid job that is still out.

        If one is under way, here or in another process, it waits for that. A demo picture never
        answers a real request, nor the reverse. If an earlier submit of it may have been accepted,
        it raises SubmitUncertain: the user decides.
        """
        session, settings = self._session, self._session.settings
        verbs, place = session.journal, settings.account.name
        fingerprint, is_over = self._request.fingerprint, False
        while not is_over:
            await session.record(verbs.recover)
            # First these, so that one that ends meanwhile is found among those done.
            sent = await session.record(verbs.find_pending, fingerprint, place, settings.base_url)
            record = await session.record(verbs.find, fingerprint, place)
            if record is not None:
                known = await to_thread.run_sync(session.recall, record)
                if known is not None:
                    return known.as_reused()
            is_over = True
            for record in sent:
                if record.state is journal.State.UNKNOWN and is_over:
                    raise errors.SubmitUncertain(
                        f"The same request went out {age(record.created)} without a clear answer: "
                        "a job may exist and be billed. It is not sent again automatically.",
                        remedy=f"Look at your usage at {settings.account.title}; --fresh "
                        "(reuse=False) sends it again.",
                    )
                if not (record.ticket or record.urls) or not await session.lease(record.id):
                    is_over = False
                    continue
                try:
                    return await self.resume(record)
                except (errors.ResultExpired, errors.JobCancelled):
                    if self._cancel_wanted:
                        raise
                self.id = self.note = ""  # it is gone, and must leave no trace on the one to come
                self._ticket = self._ran_since = None
                self._resumed = self._past_cancel = False
            if not is_over:
                await self._pause()
        return None

    async def _pause(self) -> None:
        """Wait for an equal job to go on, but not beyond the deadline or a cancellation."""
        self.has_waited = True
        with anyio.CancelScope(deadline=self._cancel_at) as self._scope:
            await anyio.sleep(min(self._left(), _LOOK_SECONDS))
            self._left()
            return
        raise self._cancelled(NOT_SENT)

    # --------------------------------------------------------------- the one step that costs money

    async def _submit(self) -> providers.Ticket | providers.Finished:
        """Send the request once; what came of it is in the journal when this returns or raises."""
        session, verbs = self._session, self._session.journal
        answer, asked = None, False
        try:
            with anyio.CancelScope(deadline=self._cancel_at) as self._scope:
                request = self._request
                if request.inputs:
                    request = await to_thread.run_sync(session.with_bytes, request)
                submits = session.provider.submits
                async with providers.turn(submits, self._left(), late=self._late):
                    await session.record(verbs.apply, self.id, journal.Submitting())
                    asked = True
                    self._report(Submitting())
                    answer = await session.provider.submit(request, seconds=self._left())
        except errors.SubmitUncertain as error:
            await self._note(journal.Uncertain(str(error)))
            if error.ticket is not None:  # the failure named the job
                await self._keep_ticket(error.ticket)
                await self._release()
            raise
        except errors.ImagenError as error:
            await self._fail(error, answered=asked)
            raise
        except anyio.get_cancelled_exc_class():  # the loop is ending; a POST that was out is over
            await self._note(journal.Cancelled())
            raise
        except BaseException as error:
            await self._note(journal.Uncertain(type(error).__name__))
            raise
        if answer is None:
            await self._note(journal.Cancelled())
            raise self._cancelled(NOT_SENT)
        if isinstance(answer, providers.Ticket):
            await self._keep_ticket(answer)
        return answer

    async def _keep_ticket(self, ticket: providers.Ticket) -> None:
        """Write the ticket down: from here on any process can fetch the pictures."""
        session, self._ticket = self._session, ticket
        event = journal.Submitted(ticket.to_json(), ticket.request_id)
        with anyio.CancelScope(shield=True):
            try:
                await session.record(session.journal.apply, self.id, event)
            except errors.JournalError as error:
                raise self._unwritten(error) from None

    def _unwritten(self, error: errors.JournalError) -> errors.JournalError:
        """Return the error for a job that exists, but not in the journal."""
        name = "" if self._ticket is None else f" (request id {self._ticket.request_id})"
        return errors.JournalError(
            f"The provider accepted the job{name}, and it may be billed; but it could not be "
            f"written down: {error.message}",
            remedy=error.remedy,
            ticket=self._ticket,
            billed=True,
        )

    # --------------------------------------------------------------- waiting for it

    async def _finish(
        self,
        answer: providers.Ticket | providers.Finished,
        known: providers.Finished | None = None,
    ) -> Generation:
        """Watch, collect and keep; on failure, write down whether the job is resumable.

        `known` is what its result is known to be: addresses of pictures outlast results.
        """
        try:
            if isinstance(answer, providers.Finished):
                generation = await self._keep(answer)
                if self._cancel_wanted:
                    self.note = TOO_LATE
                return generation
            self._ticket = answer
            if known is not None:
                with suppress(errors.QueueError):
                    return await self._keep(known)
            self._report(Submitted(answer))
            done = await self._watched(answer)
            if done is None:
                return await self._after_cancel(answer)
            self._past_cancel = True  # the job is paid for: a cancellation comes too late
            finished = await self._session.provider.result(answer, done, seconds=self._left())
            return await self._keep(finished, worked=done.seconds)
        except journal.IllegalStep as error:
            with suppress(errors.JournalError):
                record = await self._session.record(self._session.journal.get, self.id)
                recalled = self._session.recall(record)
                if recalled is not None:
                    return recalled  # another process was quicker: they are the same
            raise self._unwritten(error) from None
        except errors.ImagenError as error:
            await self._settle(error, answer)
            if isinstance(error, errors.CancelledAtProvider):
                note = "The job was cancelled at the provider; not billed."
                raise self._cancelled(note) from None
            raise
        except BaseException:  # the loop is ending: the next process may fetch it
            with anyio.move_on_after(_LEAVE_SECONDS, shield=True):
                if self._ticket and self._cancel_wanted and not self._past_cancel:
                    await self._ask_cancel(self._ticket)
            await self._release()
            raise

    async def _watched(self, ticket: providers.Ticket) -> providers.Done | None:
        """Return the job's end; None if it was cancelled here."""
        session = self._session
        times: list[float] = []
        if not session.provider.can.streams:
            with suppress(errors.JournalError):  # they only say when to ask
                times = await session.record(
                    session.journal.service_times, ticket.endpoint, ticket.provider
                )
        done = None
        with anyio.CancelScope(deadline=self._cancel_at) as self._scope:
            events = session.provider.watch(
                ticket, seconds=self._left(), service_times=times, expired=self._expired
            )
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, providers.Running) and self._ran_since is None:
                        self._ran_since = time.monotonic()
                    if isinstance(event, providers.Done):
                        done = event
                    self._report(event)
        return done

    # --------------------------------------------------------------- fetching what was paid for

    async def _keep(
        self, finished: providers.Finished, *, worked: float | None = None
    ) -> Generation:
        """Return the pictures: on disk, and the job closed in the journal.

        `worked` is how many seconds the provider's status says it worked; the result goes first,
        and if neither says it, what was seen here counts.
        """
        self._past_cancel = True
        session, verbs = self._session, self._session.journal
        urls: list[str] = []
        flagged = 0
        for served in finished.pictures:
            flagged += served.filtered
            if served.url.startswith("http"):
                urls.append(served.url)
        missing = 0 if finished.unclear else max(self._request.count - len(finished.pictures), 0)
        seconds = worked if finished.seconds is None else finished.seconds
        if seconds is None and not self._resumed:
            since = self.started if self._ran_since is None else self._ran_since
            seconds = time.monotonic() - since
        completed = journal.Completed(
            request_id=finished.request_id or None,
            seconds=seconds,
            seed=finished.seed,
            description=finished.description,
            revised_prompt=finished.revised_prompt,
            urls=tuple(urls),
            units=finished.units,
            filtered=flagged + missing,
        )
        try:
            try:
                await session.record(verbs.apply, self.id, completed)
            except journal.IllegalStep:
                raise
            except errors.JournalError as error:  # it is written once more with the pictures
                log.warning("%s", error)
            if self._cancel_wanted:  # too late: others may fetch them, for nobody waits here
                await self._release()
            self._report(Fetching(len(finished.pictures)))
            kept = await self._download(finished.pictures)
        except errors.ImagenError as error:
            error.ticket = error.ticket or self._ticket
            raise
        if flagged == len(kept):
            raise errors.ContentRejected(
                f"The provider withheld every picture ({len(kept) or 'none'} came).",
                remedy="Rephrase the prompt; the provider may have billed the attempt.",
                ticket=self._ticket,
                billed=True,
            )
        elapsed = time.monotonic() - self.started
        done = journal.Kept(tuple(kept), *self._cost(finished), elapsed)
        # Once more what was completed: that may not have been written.
        record = await session.record(verbs.apply, self.id, completed, done)
        generation = session.recall(record, self._request)
        if generation is None:
            raise errors.QueueError(
                "The pictures vanished from the disk as soon as they were kept.",
                remedy="Check the folder of IMAGEN_HOME.",
            )
        return generation

    async def _download(self, pictures: tuple[providers.Served, ...]) -> list[journal.KeptImage]:
        """Fetch and keep all pictures, side by side; one that fails takes no other with it."""
        session, downloads = self._session, self._session.provider.downloads
        rows: list[journal.KeptImage] = []
        failures: list[Exception] = []

        async def fetch(index: int, served: providers.Served) -> None:
            try:
                async with providers.turn(downloads, self._left(), late=self._late):
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
            raise next((f for f in failures if isinstance(f, errors.ImagenError)), failures[0])
        return sorted(rows, key=attrgetter("index"))

    def _cost(self, finished: providers.Finished) -> tuple[Decimal | None, str | None]:
        session, request = self._session, self._request
        if session.settings.account.free:
            return Decimal(0), None
        known = session.models.model(request.model)
        yours = session.settings.price.for_model(known.id, known.alias) is not None
        billed_unit = known.price.unit_price if known.price and not yours else None
        if billed_unit and finished.units is not None:
            return billed_unit * finished.units, "billed"
        expected = session.price(request)
        if expected is None:
            return None, None
        most = known.most(request.arguments(), request.count)
        made = most if finished.unclear else min(len(finished.pictures), most)
        return expected * made / most, "yours" if yours else "list"

    # --------------------------------------------------------------- how else a job ends

    async def _after_cancel(self, ticket: providers.Ticket) -> Generation:
        """Return the pictures of a job that finished in spite of the cancellation."""
        answer = await self._ask_cancel(ticket)
        if answer is providers.CancelAnswer.CONFIRMED:
            raise self._cancelled(NOT_BILLED)
        if answer is providers.CancelAnswer.UNKNOWN:
            raise await self._unconfirmed("Cancelling was not confirmed", ticket)
        is_late = answer is providers.CancelAnswer.TOO_LATE
        self._deadline = time.monotonic() + (self._timeout if is_late else _SETTLE_SECONDS)
        # The provider was asked: another cancellation changes nothing.
        self._past_cancel, self._cancel_at = True, math.inf
        await self._release()
        try:
            done = await self._watched(ticket) or providers.Done()
            self._deadline += _FETCH_SECONDS
            finished = await self._session.provider.result(ticket, done, seconds=self._left())
            generation = await self._keep(finished, worked=done.seconds)
        except errors.QueueTimeout:
            raise await self._unconfirmed("Cancel requested", ticket) from None
        except errors.CancelledAtProvider:
            await self._note(journal.Cancelled())
            raise self._cancelled(NOT_BILLED) from None
        self.note = TOO_LATE
        return generation

    async def _ask_cancel(self, ticket: providers.Ticket) -> providers.CancelAnswer:
        with anyio.CancelScope(shield=True):
            answer = await self._session.provider.cancel(ticket)
            if answer is providers.CancelAnswer.CONFIRMED:
                await self._note(journal.Cancelled())
        return answer

    async def _unconfirmed(self, what: str, ticket: providers.Ticket) -> errors.JobCancelled:
        """Let go of a job of which nobody knows whether it was cancelled in time."""
        await self._release()
        name = errors.short_id(ticket.request_id)
        note = f"{what}; the job (request id {name}) may still finish and be billed."
        return self._cancelled(note, billed=True)

    def _cancelled(self, note: str, *, billed: bool = False) -> errors.JobCancelled:
        remedy = "Fetch it with %imagen_resume." if billed else ""
        error = errors.JobCancelled(note, remedy=remedy, ticket=self._ticket, billed=billed)
        self.note = str(error)
        return error

    async def _settle(
        self, error: errors.ImagenError, answer: providers.Ticket | providers.Finished
    ) -> None:
        """Write down what an error means for the job: over, or resumable."""
        match error:
            case errors.JobCancelled():  # written down where it was raised
                return
            case errors.CancelledAtProvider():
                await self._note(journal.Cancelled())
            case errors.ResultExpired():
                await self._note(journal.Expired())
            case errors.QueueError() | errors.CredentialsError() | errors.JournalError():
                error.billed = True  # it is paid for, once: its price stays reserved
                urls = answer.urls if isinstance(answer, providers.Finished) else ("http",)
                if any(url.startswith("http") for url in urls):
                    await self._release()
                else:  # the answer's bytes were all there was
                    await self._fail(error)
            case _:
                await self._fail(error)

    # --------------------------------------------------------------- small parts

    async def _note(self, event: journal.Event) -> None:
        await self._session.note(self._session.journal.apply, self.id, event)

    async def _fail(self, error: errors.ImagenError, *, answered: bool = True) -> None:
        kind = type(error).__name__ if answered else ""  # what nobody refused may be sent again
        await self._note(journal.Failed(str(error), billed=error.billed, trouble=kind))

    async def _release(self) -> None:
        await self._session.note(self._session.journal.release, self.id)

    def _left(self) -> float:
        """Return the seconds until the deadline; raises a QueueError if it has passed."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> errors.QueueError:
        if self._ticket is None and not self._past_cancel:
            return errors.QueueError(
                f"The request was not sent within {self._timeout:g} s; nothing is billed.",
                remedy="An identical one was under way; run it again when that has finished."
                if self.has_waited
                else "Run it again, with a longer --timeout (timeout=) if the machine is busy.",
            )
        name = "" if self._ticket is None else errors.short_id(self._ticket.request_id)
        return errors.QueueTimeout(
            f"The job is not finished after {self._timeout:g} s{name and f' (request id {name})'}.",
            remedy="It goes on at the provider and may be billed; fetch it with %imagen_resume.",
            ticket=self._ticket,
        )


# ------------------------------------------------------------------ what the jobs of a studio share


class Session:
    """What jobs with the same settings share; nothing is opened before it is needed.

    The journal and the store block on the disk, so async code calls the journal's verbs through
    `record`, and the store in worker threads. A forked process makes its own connections: those of
    its parent belong to the parent's loop.
    """

    sent: ClassVar[set[str]] = set()  # ids of the jobs that this process sent, with any settings

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.journal = journal.open_journal(settings.home, settings.journal)
        self._recorder = journal.Recorder(self.journal)
        self.record = self._recorder.record  # runs a verb of the journal, on the loop thread
        self.store = open_store(settings.home, settings.store)
        # What the demo's queue says of a model is true of that queue only.
        self.describes_itself = settings.account.free and settings.schemas == "auto"
        own = "demo" if self.describes_itself else ""
        self.models = Catalogue(settings.home / "models" / own)
        self._siblings: dict[str, Session] = {}
        self._active: set[str] = set()
        self._pid = 0  # of the process that has made the provider
        self._beating = 0  # of the process that renews leases

    # ------------------------------------------------------------------------ on the loop thread

    @property
    def provider(self) -> providers.Provider:
        """The provider with its connections, made on first use; on the loop thread only."""
        if self._pid != os.getpid():
            self._pid, self._provider = os.getpid(), providers.make_provider(self.settings)
            _loop.closers[self.aclose] = None
        return self._provider

    async def note(self, verb: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Record what became of a job, even while the loop is being cancelled.

        An error of the journal is only logged: the caller is about to report something worse.
        """
        with anyio.CancelScope(shield=True):
            try:
                await self.record(verb, *args, **kwargs)
            except errors.JournalError as error:
                log.warning("%s", error)

    async def lease(self, job_id: str) -> bool:
        """Return True if the job is this process's to fetch from now on."""
        return await self.record(self.journal.lease, job_id)

    @contextmanager
    def holding(self, job_id: str) -> Iterator[None]:
        """Renew the job's lease until the end of the block."""
        if self._beating != os.getpid():
            self._beating, self._active = os.getpid(), set()  # a fork's parent has its own
            _loop.spawn(self._beat)
        self._active.add(job_id)
        try:
            yield
        finally:
            self._active.discard(job_id)

    async def _beat(self) -> None:
        try:
            while self._active:
                await anyio.sleep(_HEARTBEAT_SECONDS)
                if self._active:
                    await self.note(self.journal.renew, *self._active)
        finally:
            self._beating = 0

    async def describe(self, model_id: str, *, refresh: bool = False) -> Model:
        """Return what is known of a model; its schema is fetched once if nothing is.

        The demo is not asked for bundled models: it knows fewer fields of theirs.
        """
        known = self.models.known(model_id)
        if known is not None:
            stays = self.describes_itself and known.source == "bundled"
            if stays or not refresh:
                return known
        self.models.mark_asked(model_id)
        document = await self.provider.describe(model_id)
        if document is None:
            return self.models.model(model_id)
        return await to_thread.run_sync(self.models.learn, model_id, document)

    async def aclose(self) -> None:
        """Close the provider's connections and the journal, unless jobs are under way."""
        for sibling in self._siblings.values():
            await sibling.aclose()
        if self._active:
            return
        if self._pid == os.getpid():
            self._pid = 0
            await self._provider.aclose()
        await self._recorder.close()

    # ----------------------------------------------------------------------------- on any thread

    def price(self, request: ImageRequest) -> Decimal | None:
        """Return what a request is expected to cost in US dollars; None if unknown.

        A price of your own (IMAGEN_PRICE) counts for each picture that may come, as it is.
        """
        settings = self.settings
        if settings.account.free:
            return Decimal(0)
        known = self.models.model(request.model)
        yours = settings.price.for_model(request.model, short_name(request.model))
        if yours is not None:
            return yours * known.most(request.arguments(), request.count)
        pixels = request.inputs[0].width * request.inputs[0].height if request.inputs else None
        return known.price_of(request.arguments(), request.count, pixels=pixels)

    def with_bytes(self, request: ImageRequest) -> ImageRequest:
        """Return a request that was read from the journal, with its pictures' bytes at hand."""
        inputs = [picture.kept_in(self.store) for picture in request.inputs]
        return replace(request, inputs=tuple(inputs))

    def recall(
        self, record: journal.Record, request: ImageRequest | None = None
    ) -> Generation | None:
        """Return what a job brought; None if one of its pictures is no longer kept.

        The request is read from the record if it is not at hand.
        """
        request = request or record.request
        origin = Provenance(
            request=request,
            request_id=record.request_id or "",
            provider=record.provider,
            created=record.created,
            seed=request.seed if record.seed is None else record.seed,
            id=record.id,
        )
        images = []
        for kept in record.images:
            if kept.filtered:
                continue
            path = self.store.path(kept.digest)
            if path is None:
                return None
            size, place = (kept.width, kept.height), replace(origin, index=kept.index)
            tells = self.settings.provenance
            images.append(GeneratedImage(path, kept.media_type, *size, kept.url, place, tells))
        if not images:
            return None
        cost = record.cost if record.cost is not None else record.price
        is_revised = record.revised_prompt not in {"", request.prompt}  # most repeat it
        return Generation(
            images=tuple(images),
            request=request,
            request_id=origin.request_id,
            provider=record.provider,
            seconds=record.elapsed or record.seconds or 0.0,
            cost=None if cost is None else float(cost),
            cost_source=record.cost_source,
            created=origin.created,
            seed=origin.seed,
            filtered=record.filtered,
            revised_prompt=record.revised_prompt if is_revised else None,
            id=record.id,
        )

    def sibling(self, record: journal.Record) -> "Session":
        """Return a session that reaches the place where a job was submitted, and no other."""
        settings = self.settings
        if (settings.account.name, settings.base_url) == (record.provider, record.base_url):
            return self
        if record.provider not in self._siblings:
            found = load_settings(
                provider=record.provider,
                home=settings.home,
                journal=settings.journal,
                store=settings.store,
            )
            check_key(found)
            self._siblings[record.provider] = Session(found)
        sibling = self._siblings[record.provider]
        if sibling.settings.base_url != record.base_url:
            raise errors.CredentialsError(
                f"The job {errors.short_id(record.request_id or record.id)} was submitted to "
                f"{record.base_url}, and the key now set is for {sibling.settings.base_url}.",
                remedy=f"Set IMAGEN_BASE_URL={record.base_url} and its key, then resume again.",
            )
        return sibling
