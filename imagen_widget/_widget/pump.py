"""Pump: the widget's state on its way to the view, from whatever thread it changes."""

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from imagen_widget import _loop
from imagen_widget._widget.state import State

RENDER_SECONDS = 0.25  # between renders of mere progress, so that two messages each stay below ten
RESEND_SECONDS = 1.0  # a front end that dropped the final state is sent it once more

log = logging.getLogger("imagen_widget")

Change = Callable[[State], State]


class Timer:
    now = staticmethod(time.monotonic)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` after a while, on the package's loop thread."""
        _loop.call_later(seconds, action)

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

    def listen(self, render: Callable[[State], None], resend: Callable[[], None]) -> None:
        """Show each new state by `render`, and the final state of a job once more by `resend`."""
        self._render, self._resend = render, resend

    def change(self, change: Change, *, soon: bool = False) -> tuple[State, State]:
        """Change the state and show it; return the states before and after.

        Now, or soon: then together with the next changes, if one was shown a moment ago.
        """
        with self._lock:
            before = self.state
            if not self.closed:
                self.state = change(before)
            changed = before, self.state
            wait = self._rendered_at + RENDER_SECONDS - self._timer.now()
            if soon and wait > 0:
                if not self._flush_due:
                    self._flush_due = True
                    self._timer.later(wait, self._flush)
                return changed
        self._show()
        return changed

    def show_again(self) -> None:
        """Let the state that is shown now be sent once more in a while."""
        self._timer.later(RESEND_SECONDS, lambda: self._call(self._resend))

    def close(self) -> None:
        with self._lock:
            self.closed = True
            self._render = self._resend = None

    def _flush(self) -> None:
        with self._lock:
            self._flush_due = False
        self._show()

    def _show(self) -> None:
        while self._claims():
            try:
                self._call(self._render, self._shown)
            finally:  # an interrupt may come in here
                with self._lock:
                    self._rendering = False

    def _claims(self) -> bool:
        """Claim the rendering of a state that is not shown yet, if there is one to claim."""
        with self._lock:
            if self._rendering or self._render is None or self._shown is self.state:
                return False
            self._rendering, self._shown = True, self.state
            self._rendered_at = self._timer.now()
            return True

    def _call(self, view: Callable[..., None] | None, *values: object) -> None:
        """Call the view; what it raises has no cell to go to, so it goes to the log."""
        try:
            if view is not None:
                view(*values)
        except Exception:
            log.exception("The widget could not be drawn; the jobs go on.")
