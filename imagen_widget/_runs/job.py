"""Job: the handle to a paid job, usable from any thread, and the snapshots of its progress.

The job itself goes from intent to pictures on the loop thread (run.py).
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

import anyio

from imagen_widget import _html, _loop
from imagen_widget._display import StatusLine
from imagen_widget._models import short_name
from imagen_widget._providers import Capabilities, Queued, Running
from imagen_widget._request import ImageRequest
from imagen_widget._result import Generation, cost_text
from imagen_widget._runs.run import TOO_LATE, Event, Run, Session, Submitted, Submitting
from imagen_widget.errors import ImagenError, JobCancelled, short_id

TICK_SECONDS = 0.25
CANCEL_WAIT_SECONDS = 5.0

cancelling: set[Future[None]] = set()  # cancellations that are not carried out yet

_numbers = itertools.count(1)

log = logging.getLogger("imagen_widget")


class Phase(StrEnum):
    """The stage of a job, in the words that a person would use."""

    PREPARING = "preparing"
    SUBMITTING = "submitting"
    QUEUED = "queued"
    RUNNING = "running"
    FETCHING = "fetching"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        return self in {Phase.DONE, Phase.FAILED, Phase.CANCELLED}


_WORDS = {
    Phase.PREPARING: "Preparing",
    Phase.SUBMITTING: "Sending the request",
    Phase.QUEUED: "In the queue",
    Phase.RUNNING: "Drawing",
    Phase.FETCHING: "Fetching the pictures",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """What a view needs to know of a job.

    Attributes:
        phase: Its stage.
        provider: The provider's name.
        model: The endpoint id.
        price: Expected US dollars; None if unknown.
        free: Whether the provider costs nothing.
        cancellable: Whether the provider can cancel a job.
        position: How many jobs are ahead in the queue; None if unknown.
        log: The model's last log line; may be empty.
        elapsed: Seconds since the job was started.
        request_id: The provider's id, once there is one.
        note: How it ended, in one line; empty until then.
        notes: What was changed about the request before it was sent, one line each.
    """

    phase: Phase
    provider: str
    model: str
    price: Decimal | None
    free: bool = False
    cancellable: bool = True
    position: int | None = None
    log: str = ""
    elapsed: float = 0.0
    request_id: str | None = None
    note: str = ""
    notes: tuple[str, ...] = ()


def price_text(price: Decimal | None, *, free: bool) -> str:
    """Return an estimate in words: `about $0.04`, `free` or `price unknown`."""
    words = cost_text(price, free=free)
    return f"about {words}" if words.startswith("$") else words


def ending(job: "Job", outcome: str = "") -> str:
    """Return how a job ended, in one line with what is needed to find it again.

    Without an outcome an error tells the rest; what the journal does not have was not sent.
    """
    if not (outcome or job.id):
        return "Not sent"
    end, known = job.progress, short_id(job.progress.request_id or "")
    outcome = outcome or end.phase.capitalize()
    ended = f"{outcome} · {end.elapsed:.1f} s · {end.provider} {short_name(end.model)}"
    return f"{ended} · request id {known}" if known and known not in outcome else ended


class Job:
    """A generation that is under way; `start` makes one.

    Await it in async code, or call `result()`. It goes on even if nobody waits.

    Attributes:
        number: Its number in this process, from 1.
        request: What was asked.
        price: Expected US dollars; None if unknown.
    """

    def __init__(
        self,
        session: Session,
        request: ImageRequest,
        *,
        reuse: bool = False,
        on_event: Callable[[Event], None] | None = None,
        timeout: float | None = None,
    ) -> None:
        self.number = next(_numbers)
        self.request = request
        self.price = session.price(request)
        self._on_event, self._can = on_event, Capabilities()
        self._listeners: list[Callable[[Progress], None]] = []  # touched on the loop thread only
        self._ended: float | None = None
        self._progress = Progress(
            phase=Phase.PREPARING,
            provider=session.settings.account.name,
            model=request.model,
            price=self.price,
            free=session.settings.account.free,
            notes=request.notes,
        )
        self._run = Run(session, request, report=self._report, timeout=timeout)
        self._future: Future[Generation] = Future()
        try:
            _loop.spawn(self._main, session, reuse, future=self._future)
        except KeyboardInterrupt:  # nobody will have this handle: the caller has gone
            self.request_cancel()
            raise

    # ---------------------------------------------------------------------------------- looking

    @property
    def id(self) -> str:
        """The journal's id of the job; empty until it is written down."""
        return self._run.id

    @property
    def progress(self) -> Progress:
        """How far it is now; a snapshot that does not change."""
        end = self._ended if self._ended is not None else time.monotonic()
        return replace(self._progress, elapsed=end - self._run.started)

    @property
    def status(self) -> str:
        """The status line: phase, elapsed seconds, provider and model, price; or how it ended."""
        now = self.progress
        if now.phase.over:
            return now.note or now.phase.capitalize()
        words = _WORDS[now.phase]
        if now.phase is Phase.RUNNING:
            words = now.log or words
        elif now.phase is Phase.PREPARING and self._run.has_waited:
            words = "Waiting for an identical request that is already under way"
        elif now.phase is Phase.SUBMITTING and not now.cancellable:
            words = "Waiting for the pictures (cannot be cancelled)"
        elif now.phase is Phase.QUEUED and now.position is not None:
            words += f", {now.position} ahead" if now.position else ", next"
        price = price_text(now.price, free=now.free)
        place = f"{now.provider} {short_name(now.model)}"
        return " · ".join((words, f"{now.elapsed:.1f} s", place, price, *now.notes))

    def done(self) -> bool:
        """Return True if it is over, well or not."""
        return self._future.done()

    def listen(self, listener: Callable[[Progress], None]) -> None:
        """Call a function on the loop thread: now, at each change, and four times a second."""
        _loop.spawn(self._keep_told, listener)

    def add_done_callback(self, callback: Callable[["Job"], None]) -> None:
        """Have a function called when it is over; at once if it is so already."""
        self._future.add_done_callback(lambda _: callback(self))

    def __repr__(self) -> str:
        status = self.status.replace(" · ", ", ")
        return _html.in_ascii(f"<Job {self.number}: {status}>")

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return StatusLine(f"Job {self.number}: {self.status}")._repr_mimebundle_()

    # ---------------------------------------------------------------------------------- waiting

    def result(self, timeout: float | None = None) -> Generation:
        """Block until it is over, and return the pictures.

        Args:
            timeout: Seconds to wait; the job goes on when they are over.

        Raises:
            JobCancelled: It was cancelled.
            TimeoutError: It is not over yet.
            ImagenError: There is no picture.
        """
        return _loop.wait(self._future, timeout=timeout)

    def result_or_cancel(self) -> Generation:
        """Block for the pictures; an interrupt cancels the job remotely before it is raised."""
        try:
            return _loop.wait(self._future)
        except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:
            try:
                interrupt.add_note(self.cancel())
            except KeyboardInterrupt:  # a second one cuts the waiting short
                interrupt.add_note(self._still_out())
            raise

    def __await__(self) -> Generator[object, None, Generation]:
        return _loop.wait_async(self._future).__await__()

    # -------------------------------------------------------------------------------- cancelling

    def request_cancel(self) -> None:
        """Ask for a cancellation and return at once; from any thread."""
        _loop.call_soon(self._run.cancel)
        asked = _loop.spawn(self._run.let_go)
        cancelling.add(asked)
        asked.add_done_callback(cancelling.discard)

    def cancel(self) -> str:
        """Cancel, wait up to five seconds for the provider's answer, and say what came of it."""
        if not self.done():
            self.request_cancel()
        try:
            self.result(timeout=CANCEL_WAIT_SECONDS)
        except (ImagenError, CancelledError) as error:
            return self._with_id(str(error) or self.progress.note)
        except TimeoutError:
            return self._still_out()
        except Exception as error:  # noqa: BLE001 - the caller is told, and goes on
            return self._with_id(f"{type(error).__name__}: {error}")
        return self._with_id(TOO_LATE)

    def _still_out(self) -> str:
        what = "Cancel requested; the job may still finish and be billed."
        if self._progress.phase is Phase.FETCHING:
            what = "Too late to cancel: the job is finished, and paid for."
        elif not self._can.resumes:  # what is out has no id
            return "The request is out, and may be billed: it cannot be cancelled or fetched later."
        return f"{self._with_id(what)} Fetch it with %imagen_resume."

    def _with_id(self, text: str) -> str:
        request_id = self._progress.request_id
        if not request_id or short_id(request_id) in text:
            return text
        return f"{text.removesuffix('.')} (request id {short_id(request_id)})."

    # ------------------------------------------------------------------------ on the loop thread

    async def _main(self, session: Session, reuse: bool) -> Generation:
        phase: Phase = Phase.FAILED
        seconds: float | None = None
        note = "This process let go of it; if it was sent, fetch it with %imagen_resume."
        try:
            self._can = session.provider.for_model(self.request.model).can
            self._progress = replace(self._progress, cancellable=self._can.cancels)
            generation = await self._run.run(reuse=reuse)
            # One figure everywhere: the generation's.
            phase, seconds = Phase.DONE, None if generation.reused else generation.seconds
            note = f"{self._run.note} {generation.summary}".lstrip()
            return generation
        except Exception as error:  # anything else means that the loop is ending
            phase = Phase.CANCELLED if isinstance(error, JobCancelled) else Phase.FAILED
            note = str(error) or type(error).__name__
            raise
        finally:
            self._ended = time.monotonic() if seconds is None else self._run.started + seconds
            self._progress = replace(self._progress, phase=phase, note=note)
            for listener in self._listeners:
                self._tell(listener)

    def _report(self, event: Event) -> None:
        now = self._progress
        match event:
            case Submitting():
                now = replace(now, phase=Phase.SUBMITTING)
            case Submitted(ticket=ticket):
                now = replace(now, phase=Phase.QUEUED, request_id=ticket.request_id)
            case Queued(position=position):
                now = replace(now, phase=Phase.QUEUED, position=position)
            case Running(logs=logs):
                said = logs[-1].message if logs else now.log
                now = replace(now, phase=Phase.RUNNING, position=None, log=said)
            case _:
                now = replace(now, phase=Phase.FETCHING, position=None)
        self._progress = now
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                # A mistake in a callback must not lose a picture that is paid for.
                log.exception("on_event failed")
        for listener in self._listeners:
            self._tell(listener)

    async def _keep_told(self, listener: Callable[[Progress], None]) -> None:
        self._listeners.append(listener)
        self._tell(listener)
        while self._ended is None:
            await anyio.sleep(TICK_SECONDS)
            self._tell(listener)

    def _tell(self, listener: Callable[[Progress], None]) -> None:
        try:
            listener(self.progress)
        except Exception:
            log.exception("a listener failed")
