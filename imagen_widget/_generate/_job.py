"""Job: the handle to a running generation, usable from any thread.

A job runs on the loop thread; whoever holds the handle sees immutable snapshots of its progress.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from imagen_widget import _bridge
from imagen_widget._generate._price import estimate
from imagen_widget._generate._progress import TOO_LATE, Phase, Progress, advance, status_text
from imagen_widget.errors import ImagenError, JobCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from imagen_widget._generate._progress import Event
    from imagen_widget._generate._work import Work
    from imagen_widget._request import ImageRequest
    from imagen_widget._result import Generation
    from imagen_widget._settings import Settings

TICK_SECONDS = 0.25
CANCEL_WAIT_SECONDS = 5.0
LEFT = "This process let go of it; if it was sent, fetch it with %imagen_resume."

_numbers = itertools.count(1)

log = logging.getLogger("imagen_widget")


class Job:
    """A generation that is under way; `start` makes one.

    Await it in async code, or call `result()`. It goes on whether or not anybody waits.

    Attributes:
        number: Its number in this process, from 1.
        request: What was asked.
    """

    def __init__(
        self,
        request: ImageRequest,
        settings: Settings,
        *,
        reuse: bool = False,
        on_event: Callable[[Event], None] | None = None,
        timeout: float | None = None,
    ) -> None:
        self.number = next(_numbers)
        self.request = request
        self._settings, self._reuse, self._timeout = settings, reuse, timeout
        self._on_event = on_event
        self._listeners: list[Callable[[Progress], None]] = []  # touched on the loop thread only
        self._started = time.monotonic()
        self._ended: float | None = None
        self._work: Work | None = None
        self._cancel_wanted = False
        self._ticker: Future[None] | None = None
        self._progress = Progress(
            phase=Phase.PREPARING,
            provider=settings.provider.name,
            model=request.model,
            price=estimate(request, settings),
        )
        self._future: Future[Generation] = Future()
        try:
            _bridge.spawn(self._main, future=self._future)
        except KeyboardInterrupt:  # nobody will have this handle: whoever asked has gone
            self.request_cancel()
            raise

    # ---------------------------------------------------------------------------------- looking

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
        """Tell whether it is over, well or not."""
        return self._future.done()

    def listen(self, listener: Callable[[Progress], None]) -> None:
        """Have a function called on the loop thread: now, at each change, four times a second."""
        _bridge.call_soon(self._add_listener, listener)

    def add_done_callback(self, callback: Callable[[Job], None]) -> None:
        """Have a function called when it is over; at once if it is so already."""
        self._future.add_done_callback(lambda _: callback(self))

    # ---------------------------------------------------------------------------------- waiting

    def result(self, timeout: float | None = None) -> Generation:
        """Block until it is over, and return the pictures.

        Args:
            timeout: Seconds to wait; the job goes on when they are over.

        Raises:
            JobCancelled: It was cancelled.
            TimeoutError: It is not over yet.
            ImagenError: No picture came of it.
        """
        return _bridge.wait(self._future, timeout=timeout)

    def result_or_cancel(self) -> Generation:
        """Block for the pictures; an interrupt cancels the job remotely before it goes on up."""
        try:
            return self.result()
        except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:
            interrupt.add_note(self._cancel_in_time())
            raise

    def __await__(self) -> Generator[object, None, Generation]:
        return _bridge.wait_async(self._future).__await__()

    # -------------------------------------------------------------------------------- cancelling

    def request_cancel(self) -> None:
        """Ask for a cancellation and return at once; from any thread."""
        self._cancel_wanted = True
        _bridge.call_soon(self._pass_on_cancel)

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
        except Exception as error:  # noqa: BLE001 - whoever cancels is told, and goes on
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
        if request_id is None or request_id in text:
            return text
        return f"{text.removesuffix('.')} (request id {request_id})."

    # ------------------------------------------------------------------------ on the loop thread

    async def _main(self) -> Generation:
        try:
            generation = await self._run()
        except Exception as error:
            self._end(error)
            raise
        except BaseException:  # the loop is ending
            self._end(LEFT)
            raise
        self._end(generation)
        return generation

    async def _run(self) -> Generation:
        from imagen_widget._generate._engine import (
            engine_for,  # here: the first picture pays for httpx
        )
        from imagen_widget._generate._work import Work

        self._work = Work(
            self.request,
            self._settings,
            engine_for(self._settings),
            report=self._report,
            timeout=self._timeout,
        )
        self._pass_on_cancel()
        return await self._work.run(reuse=self._reuse)

    def _pass_on_cancel(self) -> None:
        if self._cancel_wanted and self._work is not None:
            self._work.cancel()

    def _report(self, event: Event) -> None:
        self._progress = advance(self._progress, event)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                # A mistake in somebody's callback must not lose a picture that is paid for.
                log.exception("on_event failed")
        self._notify()

    def _end(self, outcome: Generation | Exception | str) -> None:
        self._ended = time.monotonic()
        if self._ticker is not None:
            self._ticker.cancel()
        match outcome:
            case JobCancelled():
                phase, note = Phase.CANCELLED, str(outcome)
            case Exception():
                phase, note = Phase.FAILED, str(outcome) or type(outcome).__name__
            case str():
                phase, note = Phase.FAILED, outcome
            case _:
                late = self._work.note if self._work else ""
                phase, note = Phase.DONE, " ".join(filter(None, (late, outcome.summary)))
        self._progress = replace(self._progress, phase=phase, note=note)
        self._notify()

    def _add_listener(self, listener: Callable[[Progress], None]) -> None:
        self._listeners.append(listener)
        self._tell(listener, self.progress)
        if self._ended is None and self._ticker is None:
            self._ticker = _bridge.spawn(self._tick)

    async def _tick(self) -> None:
        while True:
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
