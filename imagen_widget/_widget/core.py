"""Core: the widget's state on its way to the view, and what all commands share.

One lock guards the state. An exception in a command becomes state: after the cell has returned
there is nowhere else for it to go.
"""

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from imagen_widget import _loop
from imagen_widget._picture import Preview, preview
from imagen_widget._request import ImageRequest
from imagen_widget._result import GeneratedImage, Generation
from imagen_widget._studio import Studio
from imagen_widget._widget.form import Form
from imagen_widget._widget.state import Card, Pictures, State, Trouble
from imagen_widget.errors import (
    CredentialsError,
    GenerationFailed,
    ImagenError,
    JournalError,
    ModelRetired,
    QueueError,
    SubmitUncertain,
)

RENDER_SECONDS = 0.25  # between renders of mere progress, so that two messages each stay below ten
RESEND_SECONDS = 1.0  # a front end that dropped the final state is sent it once more
SMALL_SIDE_PIXELS = 480
SMALL_BYTES = 30_000
_WORTH_ANOTHER_TRY = (CredentialsError, GenerationFailed, JournalError)

log = logging.getLogger("imagen_widget")

Change = Callable[[State], State]


class Timer:
    """Time and other threads, as the widget uses them."""

    now = staticmethod(time.monotonic)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` after a while, on the package's loop thread."""
        _loop.call_soon(lambda: asyncio.get_running_loop().call_later(seconds, action))

    def background(self, action: Callable[[], None]) -> None:
        """Call `action` on a worker thread: it may decode pictures or wait for the disk.

        With the caller's context, which an executor drops: ipykernel 7.0 keeps there to which cell
        a message belongs, and refuses to send one without it.
        """
        run = partial(contextvars.copy_context().run, action)

        def begin() -> None:
            with suppress(RuntimeError):  # the interpreter is ending
                asyncio.get_running_loop().run_in_executor(None, run)

        _loop.call_soon(begin)


class Pump:
    """Holds the state and brings it to the view, never too often and never out of order.

    One lock guards the state. Rendering happens outside of it, by one thread at a time, and always
    with the newest state; a thread that finds another one rendering leaves the work to it.
    """

    def __init__(self, state: State, timer: Timer) -> None:
        self.state = state
        self.closed = False
        self._timer = timer
        self._lock = threading.RLock()
        self._render: Callable[[State], None] | None = None
        self._resend: Callable[[], None] | None = None
        self._shown: State | None = None
        self._rendering = self._flush_due = False
        self._rendered_at = float("-inf")

    def listen(self, render: Callable[[State], None], resend: Callable[[], None] | None) -> None:
        """Show each new state by `render`, and the final state of a job once more by `resend`."""
        self._render, self._resend = render, resend

    def change(self, change: Change) -> tuple[State, State]:
        """Change the state and show it now; return the states before and after."""
        changed = self._change(change)
        self._show()
        return changed

    def change_soon(self, change: Change) -> None:
        """Change the state; it may be shown together with the next changes."""
        self._change(change)
        with self._lock:
            wait = self._rendered_at + RENDER_SECONDS - self._timer.now()
            if wait > 0:
                if not self._flush_due:
                    self._flush_due = True
                    self._timer.later(wait, self._flush)
                return
        self._show()

    def show_again(self) -> None:
        """Let the state that is shown now be sent once more in a while."""
        self._timer.later(RESEND_SECONDS, self._send_again)

    def close(self) -> None:
        """Take and show nothing any more, and forget the view."""
        with self._lock:
            self.closed = True
            self._render = self._resend = None

    def _change(self, change: Change) -> tuple[State, State]:
        with self._lock:
            before = self.state
            if not self.closed:
                self.state = change(before)
            return before, self.state

    def _flush(self) -> None:
        with self._lock:
            self._flush_due = False
        self._show()

    def _send_again(self) -> None:
        if (resend := self._resend) is not None:
            self._guarded(resend)

    def _show(self) -> None:
        while (work := self._next()) is not None:
            render, state = work
            try:
                self._guarded(partial(render, state))
            finally:
                with self._lock:
                    self._rendering = False

    def _next(self) -> tuple[Callable[[State], None], State] | None:
        """Claim the rendering of a state that is not shown yet, if there is one to claim."""
        with self._lock:
            if self._rendering or self._render is None or self._shown is self.state:
                return None
            self._rendering, self._shown = True, self.state
            self._rendered_at = self._timer.now()
            return self._render, self.state

    def _guarded(self, action: Callable[[], None]) -> None:
        """Call the view; what it raises has no cell to go to, so it goes to the log."""
        try:
            action()
        except Exception:
            log.exception("The widget could not be drawn; the jobs go on.")


class Core:
    """The state, the studio, and how commands run.

    Args:
        find_studio: Returns the studio to work with, each time it is needed.
        form: What the controls hold at first.
        timer: Time and other threads.
    """

    def __init__(
        self, find_studio: Callable[[], Studio], form: Form, *, timer: Timer | None = None
    ) -> None:
        self._find_studio = find_studio
        self._timer = timer or Timer()
        self._pump = Pump(State(form), self._timer)
        self.listen = self._pump.listen

    @property
    def state(self) -> State:
        """The newest state."""
        return self._pump.state

    @property
    def studio(self) -> Studio:
        """The studio of the settings in force."""
        return self._find_studio()

    def _set(self, **changes: Any) -> None:
        self._pump.change(lambda s: replace(s, **changes))

    def _set_past(self, **changes: Any) -> None:
        self._pump.change(lambda s: replace(s, past=replace(s.past, **changes)))

    def _with_generation(self, generation_id: str, action: Callable[[Generation], None]) -> None:
        """Call `action` with a generation, in the background if it has to be looked up."""
        if (known := self.state.generation(generation_id)) is not None:
            self._guarded(lambda: action(known))
        else:
            self._do(lambda: action(self.studio.history.get(generation_id)))

    def _do(self, action: Callable[[], None]) -> None:
        self._timer.background(lambda: self._guarded(action))

    def _guarded(self, action: Callable[[], None]) -> None:
        """Call `action`; what it raises becomes the error box, for it has no cell to go to."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - every error is shown, whatever it is
            self._set(trouble=self._trouble_of(error), resuming=False)
            self._set_past(loading=False)

    def _trouble_of(self, error: BaseException, request: ImageRequest | None = None) -> Trouble:
        """Return what the error box says.

        Retry is offered only where nothing can have been paid for: not when the submit may have
        been accepted, nor when the work can still be fetched.
        """
        if not isinstance(error, ImagenError):
            log.error("Something failed inside imagen_widget.", exc_info=error)
            return Trouble(
                f"Something failed inside imagen_widget ({type(error).__name__}).",
                "The log has the details; what was paid for stays in the history.",
            )
        switch_to = ""
        if isinstance(error, ModelRetired) and request is not None:
            account = self.state.account
            retired = self.studio.known(request.model)
            switch_to = retired.successor_at(account.name if account is not None else "")
        again = request if _costs_nothing_twice(error) else None
        return Trouble(error.message, error.remedy, again, switch_to)


def shown(generation: Generation, *, earlier: bool = False) -> Pictures:
    """Return a generation with the copies that its cards show."""
    return Pictures(generation, tuple(Card(i, _small(i)) for i in generation), earlier=earlier)


def _small(image: GeneratedImage) -> Preview | None:
    try:
        return preview(image.preview.data, side=SMALL_SIDE_PIXELS, max_bytes=SMALL_BYTES)
    except ImagenError:
        return None


def _costs_nothing_twice(error: ImagenError) -> bool:
    match error:
        case SubmitUncertain():
            return False
        case QueueError(ticket=ticket):
            return ticket is None
        case _:
            return isinstance(error, _WORTH_ANOTHER_TRY)
