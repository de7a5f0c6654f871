"""Job: the handle to a running generation, usable from any thread.

A job runs on the loop thread; whoever holds the handle sees immutable snapshots of its progress.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from imagen_widget import _bridge
from imagen_widget._price import estimate
from imagen_widget._progress import TOO_LATE, Phase, Progress, advance, status_text
from imagen_widget.errors import ImagenError, JobCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Future

    from imagen_widget._progress import Event
    from imagen_widget._request import ImageRequest
    from imagen_widget._result import Generation
    from imagen_widget._settings import Settings
    from imagen_widget._work import Work

TICK_SECONDS = 0.25
CANCEL_WAIT_SECONDS = 5.0

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
        self._listeners: tuple[Callable[[Progress], None], ...] = ()
        self._started = time.monotonic()
        self._ended: float | None = None
        self._work: Work | None = None
        self._cancel_wanted = False
        self._ticking = False
        self._group: anyio.abc.TaskGroup | None = None
        self._progress = Progress(
            phase=Phase.PREPARING,
            provider=settings.provider.name,
            model=request.model,
            price=estimate(request, settings),
        )
        self._future: Future[Generation] = _bridge.spawn(self._main)

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
        """Have a function called on the loop thread at each change, and four times a second."""
        self._listeners = (*self._listeners, listener)
        _bridge.call_soon(self._start_ticking)

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
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(self.cancel())
            raise

    def __await__(self) -> Generator[object, None, Generation]:
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()

    # -------------------------------------------------------------------------------- cancelling

    def request_cancel(self) -> None:
        """Ask for a cancellation and return at once; from any thread."""
        self._cancel_wanted = True
        _bridge.call_soon(self._pass_on_cancel)

    def cancel(self) -> str:
        """Cancel, wait up to five seconds for the provider's answer, and say what came of it."""
        if self.done():
            return TOO_LATE if self._future.exception() is None else self.progress.note
        self.request_cancel()
        try:
            self.result(timeout=CANCEL_WAIT_SECONDS)
        except JobCancelled as cancelled:
            return str(cancelled)
        except ImagenError as error:
            return str(error)
        except TimeoutError:
            request_id = self._progress.request_id
            where = f" (request id {request_id})" if request_id else ""
            return (
                f"Cancel requested; the job{where} may still finish and be billed. "
                "Fetch it with %imagen_resume."
            )
        return TOO_LATE

    # ------------------------------------------------------------------------ on the loop thread

    async def _main(self) -> Generation:
        """Run the work; ticks and listeners live and end with it."""
        from imagen_widget._engine import engine_for  # here: the first picture pays for httpx
        from imagen_widget._work import Work

        error: ImagenError | Exception | None = None
        generation = None
        async with anyio.create_task_group() as self._group:
            if self._listeners:
                self._start_ticking()
            try:
                self._work = Work(
                    self.request,
                    self._settings,
                    engine_for(self._settings),
                    report=self._report,
                    timeout=self._timeout,
                )
                self._pass_on_cancel()
                generation = await self._work.run(reuse=self._reuse)
            except Exception as failed:  # noqa: BLE001 - raised again below, without a group around it
                error = failed
            self._group.cancel_scope.cancel()
        self._group = None
        self._end(generation, error)
        if error is not None:
            raise error
        assert generation is not None  # noqa: S101 - one of the two is there
        return generation

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

    def _end(self, generation: Generation | None, error: Exception | None) -> None:
        self._ended = time.monotonic()
        match error:
            case None if generation is not None:
                note = self._work.note if self._work else ""
                phase, note = Phase.DONE, " ".join(filter(None, (note, generation.summary)))
            case JobCancelled():
                phase, note = Phase.CANCELLED, str(error)
            case _:
                phase, note = Phase.FAILED, str(error)
        self._progress = replace(self._progress, phase=phase, note=note)
        self._notify()

    def _start_ticking(self) -> None:
        if self._group is not None and not self._ticking:
            self._ticking = True
            self._group.start_soon(self._tick)

    async def _tick(self) -> None:
        while True:
            self._notify()
            await anyio.sleep(TICK_SECONDS)

    def _notify(self) -> None:
        progress = self.progress
        for listener in self._listeners:
            try:
                listener(progress)
            except Exception:
                log.exception("a listener failed")
