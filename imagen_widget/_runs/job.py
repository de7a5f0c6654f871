"""Job: the handle to a running generation, usable from any thread.

A job runs on the loop thread; who holds the handle sees immutable snapshots of its progress.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from typing import Any

import anyio

from imagen_widget import _html, _loop
from imagen_widget._request import ImageRequest
from imagen_widget._result import Generation
from imagen_widget._runs.progress import TOO_LATE, Event, Phase, Progress, advance, status_text
from imagen_widget._runs.run import Run
from imagen_widget._runs.session import Session
from imagen_widget.errors import ImagenError, JobCancelled

TICK_SECONDS = 0.25
CANCEL_WAIT_SECONDS = 5.0
LEFT = "This process let go of it; if it was sent, fetch it with %imagen_resume."

_numbers = itertools.count(1)

log = logging.getLogger("imagen_widget")


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
        self._session, self._reuse = session, reuse
        self._timeout = session.settings.timeout if timeout is None else timeout
        self._on_event = on_event
        self._listeners: list[Callable[[Progress], None]] = []  # touched on the loop thread only
        self._started = time.monotonic()
        self._ended: float | None = None
        self._run: Run | None = None
        self._cancel_wanted = False
        self._ticking = False
        self._progress = Progress(
            phase=Phase.PREPARING,
            provider=session.settings.account.name,
            model=request.model,
            price=self.price,
            free=session.settings.account.free,
            notes=request.notes,
        )
        self._future: Future[Generation] = Future()
        try:
            _loop.spawn(self._main, future=self._future)
        except KeyboardInterrupt:  # nobody will have this handle: the caller has gone
            self.request_cancel()
            raise

    # ---------------------------------------------------------------------------------- looking

    @property
    def id(self) -> str:
        """The journal's id of the job; empty until it is written down."""
        return self._run.id if self._run is not None else ""

    @property
    def progress(self) -> Progress:
        """How far it is now; a snapshot that does not change."""
        end = self._ended if self._ended is not None else time.monotonic()
        return replace(self._progress, elapsed=end - self._started)

    @property
    def status(self) -> str:
        """The status line: phase, elapsed seconds, provider and model, price; or how it ended."""
        return status_text(self.progress)

    def done(self) -> bool:
        """Return True if it is over, well or not."""
        return self._future.done()

    def listen(self, listener: Callable[[Progress], None]) -> None:
        """Have a function called on the loop thread: now, at each change, four times a second."""
        _loop.call_soon(self._add_listener, listener)

    def add_done_callback(self, callback: Callable[["Job"], None]) -> None:
        """Have a function called when it is over; at once if it is so already."""
        self._future.add_done_callback(lambda _: callback(self))

    def __repr__(self) -> str:
        return f"<Job {self.number}: {self.status}>".encode("ascii", "replace").decode()

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        line = f"Job {self.number}: {self.status}"
        return {"text/plain": line, "text/html": _html.tag("div", _html.escape(line))}

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
            return self.result()
        except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:
            interrupt.add_note(self._cancel_in_time())
            raise

    def __await__(self) -> Generator[object, None, Generation]:
        return _loop.wait_async(self._future).__await__()

    # -------------------------------------------------------------------------------- cancelling

    def request_cancel(self) -> None:
        """Ask for a cancellation and return at once; from any thread."""
        self._cancel_wanted = True
        _loop.call_soon(self._pass_on_cancel)

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

    def _cancel_in_time(self) -> str:
        """Cancel and say what came of it; a second interrupt cuts the waiting short."""
        try:
            return self.cancel()
        except KeyboardInterrupt:
            return self._still_out()

    def _still_out(self) -> str:
        what = "Cancel requested; the job may still finish and be billed."
        if self._progress.phase is Phase.FETCHING:
            what = "Too late to cancel: the job is finished, and paid for."
        return f"{self._with_id(what)} Fetch it with %imagen_resume."

    def _with_id(self, text: str) -> str:
        """Add the provider's id of the job to a line that does not name it."""
        request_id = self._progress.request_id
        if not request_id or request_id in text:
            return text
        return f"{text.removesuffix('.')} (request id {request_id})."

    # ------------------------------------------------------------------------ on the loop thread

    async def _main(self) -> Generation:
        try:
            session = self._session
            cancellable = session.provider.for_model(self.request.model).can.cancels
            self._progress = replace(self._progress, cancellable=cancellable)
            self._run = Run(
                session,
                self.request,
                report=self._report,
                timeout=self._timeout,
                started=self._started,
            )
            self._pass_on_cancel()
            generation = await self._run.run(reuse=self._reuse)
        except Exception as error:
            self._end(error)
            raise
        except BaseException:  # the loop is ending
            self._end(LEFT)
            raise
        self._end(generation)
        return generation

    def _pass_on_cancel(self) -> None:
        if self._cancel_wanted and self._run is not None:
            self._run.cancel()

    def _report(self, event: Event) -> None:
        self._progress = advance(self._progress, event)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                # A mistake in a callback must not lose a picture that is paid for.
                log.exception("on_event failed")
        self._notify()

    def _end(self, outcome: Generation | Exception | str) -> None:
        self._ended = time.monotonic()
        match outcome:
            case JobCancelled():
                phase, note = Phase.CANCELLED, str(outcome)
            case Exception():
                phase, note = Phase.FAILED, str(outcome) or type(outcome).__name__
            case str():
                phase, note = Phase.FAILED, outcome
            case _:
                late = self._run.note if self._run else ""
                phase, note = Phase.DONE, " ".join(filter(None, (late, outcome.summary)))
                if not outcome.reused:  # one figure everywhere: the generation's
                    self._ended = self._started + outcome.seconds
        self._progress = replace(self._progress, phase=phase, note=note)
        self._notify()

    def _add_listener(self, listener: Callable[[Progress], None]) -> None:
        self._listeners.append(listener)
        self._tell(listener, self.progress)
        if self._ended is None and not self._ticking:
            self._ticking = True
            _loop.spawn(self._tick)

    async def _tick(self) -> None:
        while self._ended is None:
            await anyio.sleep(TICK_SECONDS)
            self._notify()

    def _notify(self) -> None:
        for listener in self._listeners:
            self._tell(listener, self.progress)

    def _tell(self, listener: Callable[[Progress], None], progress: Progress) -> None:
        try:
            listener(progress)
        except Exception:
            log.exception("a listener failed")
