"""Pump: holds the panel's state and brings it to the view, never too often and never out of order.

One lock guards the state. Rendering happens outside of it, by one thread at a time, and always
with the newest state; a thread that finds another one rendering leaves the work to it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from imagen_widget._panel._reduce import reduce

if TYPE_CHECKING:
    from imagen_widget._panel._events import Event
    from imagen_widget._panel._seams import Later
    from imagen_widget._panel._state import PanelState

RENDER_SECONDS = 0.25  # between renders of mere progress, so that two messages each stay below ten
RESEND_SECONDS = 1.0  # a front end that dropped the final state is sent it once more

Render = Callable[["PanelState"], None]
_log = logging.getLogger("imagen_widget")


class Pump:
    """The state, and who is shown it."""

    def __init__(self, state: PanelState, *, clock: Callable[[], float], later: Later) -> None:
        self._state = state
        self._clock = clock
        self._later = later
        self._lock = threading.RLock()
        self._render: Render | None = None
        self._resend: Callable[[], None] | None = None
        self._shown: PanelState | None = None
        self._rendering = False
        self._rendered_at = float("-inf")
        self._flush_due = False
        self._closed = False

    @property
    def state(self) -> PanelState:
        """The newest state."""
        return self._state

    @property
    def closed(self) -> bool:
        """Whether nothing is taken or shown any more."""
        return self._closed

    def listen(self, render: Render, resend: Callable[[], None] | None = None) -> None:
        """Show each new state by `render`, and the final state of a job once more by `resend`."""
        self._render, self._resend = render, resend

    def tell(self, event: Event) -> tuple[PanelState, PanelState]:
        """Take an event and show the outcome now; return the states before and after it."""
        change = self._take(event)
        self._show()
        return change

    def tell_soon(self, event: Event) -> None:
        """Take an event that may be shown together with the next ones."""
        self._take(event)
        with self._lock:
            wait = self._rendered_at + RENDER_SECONDS - self._clock()
            if wait > 0:
                if not self._flush_due:
                    self._flush_due = True
                    self._later(wait, self._flush)
                return
        self._show()

    def show_again(self) -> None:
        """Let the state that is shown now be sent once more in a while."""
        self._later(RESEND_SECONDS, self._send_again)

    def close(self) -> None:
        """Take and show nothing any more, and forget the view."""
        with self._lock:
            self._closed = True
            self._render = self._resend = None

    def _take(self, event: Event) -> tuple[PanelState, PanelState]:
        with self._lock:
            before = self._state
            if not self._closed:
                self._state = reduce(before, event)
            return before, self._state

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
                self._guarded(lambda: render(state))  # noqa: B023 - called before the loop goes on
            finally:
                with self._lock:
                    self._rendering = False

    def _next(self) -> tuple[Render, PanelState] | None:
        """Claim the rendering of a state that is not shown yet, if there is one to claim."""
        with self._lock:
            if self._rendering or self._render is None or self._shown is self._state:
                return None
            self._rendering = True
            self._shown = self._state
            self._rendered_at = self._clock()
            return self._render, self._state

    def _guarded(self, action: Callable[[], None]) -> None:
        """Call the view; what it raises has no cell to go to, so it goes to the log."""
        try:
            action()
        except Exception:  # noqa: BLE001 - logged at once: nobody else would hear of it
            _log.exception("The widget could not be drawn; the jobs go on.")
