"""The display seam: one output per job, made while its cell runs and updated in place to the end.

Off the cell's own call nothing is printed or displayed: the output is made first, and what comes
from the loop thread only updates it, at most ten times a second. The server drops what floods it,
the last message included, so the final state is sent once more. Jobs are seen through `Watched`
only: this room lies below the use case.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.to_thread

from imagen_widget import _bridge, _html, _picture
from imagen_widget._result import Generation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from IPython.core.formatters import DisplayFormatter
    from IPython.core.interactiveshell import InteractiveShell

SHORTEST_UPDATE_SECONDS = 0.1
RESEND_SECONDS = 1.0
_ERASE_LINE = "\r\x1b[2K"
_STATUS_STYLE = (
    "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;opacity:.85;"
    "font-variant-numeric:tabular-nums;overflow-wrap:anywhere"
)


class Watched(Protocol):
    """What a view needs of a job."""

    @property
    def status(self) -> str:
        """One line of text about the job as it is now."""

    def listen(self, listener: Callable[[Any], None], /) -> object:
        """Have a function called on the loop thread at each change."""

    def __await__(self) -> Generator[object, None, Any]:
        """Wait for the result."""


@dataclass(frozen=True, slots=True)
class StatusLine:
    """One line of text that displays itself."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        line = _html.tag("div", _html.escape(self.text), style=_STATUS_STYLE)
        return {"text/plain": self.text, "text/html": line}


class Surface(Protocol):
    """Where something is shown: a notebook's output, a terminal's line, or nowhere.

    Attributes:
        outlives_call: Whether it can be updated when the cell's own call is over.
        shows_values: Whether values are shown here, not by the displayhook after the call.
    """

    outlives_call: bool
    shows_values: bool

    def status(self, text: str) -> None:
        """Show the status in place of the one before."""

    def final(self, value: object) -> None:
        """Show what replaces the status for good."""


class NotebookSurface:
    """One output of a cell, known by its display id."""

    outlives_call = True
    shows_values = True

    def __init__(
        self, shell: InteractiveShell, *, later: Callable[[float, Callable[[], None]], None]
    ) -> None:
        self._shell = shell
        self._later = later
        self._display_id = uuid.uuid4().hex
        self._shown = False

    def status(self, text: str) -> None:
        """Show the status in place of the one before."""
        self._publish(*_format(self._shell, StatusLine(text)))

    def final(self, value: object) -> None:
        """Show the value, and once more a little later, should the server have dropped it."""
        replaced = self._shown
        data, metadata = _format(self._shell, value)
        self._publish(data, metadata)
        if replaced:
            self._later(RESEND_SECONDS, lambda: self._publish(data, metadata))

    def _publish(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        # Not IPython.display: that speaks to the process's one shell, and there may be others.
        update, self._shown = self._shown, True
        self._shell.display_pub.publish(
            data, metadata, transient={"display_id": self._display_id}, update=update
        )


class TerminalSurface:
    """The last line of a terminal: rewritten while the job runs, then erased for the result."""

    outlives_call = False

    def __init__(self, shell: InteractiveShell, *, shows_values: bool) -> None:
        self._shell = shell
        self.shows_values = shows_values

    def status(self, text: str) -> None:
        """Rewrite the line, where there is a terminal that can do so."""
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write(_ERASE_LINE + text[:width])
            sys.stdout.flush()

    def final(self, value: object) -> None:
        """Erase the line and print the value; its pictures too where the terminal draws them."""
        if sys.stdout.isatty():
            sys.stdout.write(_ERASE_LINE)
            sys.stdout.flush()
        if isinstance(value, Generation) and "image/png" in _active_types(self._shell):
            for image in value:
                png = _picture.encode(image.preview.data, "image/png")
                self._shell.display_pub.publish({"image/png": png}, {})
        if self.shows_values or isinstance(value, StatusLine):
            data, metadata = _format(self._shell, value)
            self._shell.display_pub.publish({"text/plain": data["text/plain"]}, metadata)


class SilentSurface:
    """Shows nothing, for who asked for that."""

    outlives_call = True
    shows_values = True

    def status(self, text: str) -> None:
        """Show nothing."""

    def final(self, value: object) -> None:
        """Show nothing."""


class JobView:
    """Shows one job: its status while it goes on, then what it came to."""

    def __init__(
        self, job: Watched, surface: Surface, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._job = job
        self._surface = surface
        self._clock = clock
        self._lock = threading.Lock()
        self._next_update = 0.0
        self._ended = False

    def begin(self) -> None:
        """Show the status, and keep it up to date from now on."""
        self._update()
        self._job.listen(self._update)

    def end(self, value: object) -> None:
        """Put the value in place of the status; what comes later is not shown any more."""
        with self._lock:
            if not self._ended:
                self._ended = True
                self._surface.final(value)

    def follow(self, then: Callable[[Any], object] | None = None) -> None:
        """Have the end shown when it comes, though nobody waits; `then` gets the result before."""
        _bridge.spawn(self._follow, then)

    async def _follow(self, then: Callable[[Any], object] | None) -> None:
        try:
            value = await self._job
            if then is not None:
                await anyio.to_thread.run_sync(then, value)
        except Exception as error:  # noqa: BLE001 - off the cell it has nowhere else to go
            value = StatusLine(f"{type(error).__name__}: {error}")
        # In a worker thread: making the small copies of big pictures takes a while.
        await anyio.to_thread.run_sync(self.end, value)

    def _update(self, _progress: object = None) -> None:
        with self._lock:
            now = self._clock()
            if self._ended or now < self._next_update:
                return
            self._next_update = now + SHORTEST_UPDATE_SECONDS
            self._surface.status(self._job.status)


def surface_of(
    shell: InteractiveShell, *, hooked: bool = False
) -> NotebookSurface | TerminalSurface:
    """Return a new place to show something in this shell; call it in the cell's own call.

    Args:
        shell: The shell whose cell is running.
        hooked: Whether the displayhook is going to print the value, as terminals have it.
    """
    if is_rich(shell):
        return NotebookSurface(shell, later=_later)
    return TerminalSurface(shell, shows_values=not hooked)


def formatter_of(shell: InteractiveShell) -> DisplayFormatter:
    """Return what turns a value into data to show."""
    formatter = shell.display_formatter
    assert formatter is not None  # noqa: S101 - it is made with the shell; only its type allows None
    return formatter


def is_rich(shell: InteractiveShell) -> bool:
    """Tell whether the shell's outputs are shown by a front end that knows HTML."""
    return "text/html" in _active_types(shell)


def _format(shell: InteractiveShell, value: object) -> tuple[dict[str, Any], dict[str, Any]]:
    data, metadata = formatter_of(shell).format(value)  # type: ignore[no-untyped-call]  # IPython's
    return data, metadata


def _active_types(shell: InteractiveShell) -> list[str]:
    return list(formatter_of(shell).active_types)


def _later(seconds: float, function: Callable[[], None]) -> None:
    async def wait_and_call() -> None:
        await anyio.sleep(seconds)
        function()

    _bridge.spawn(wait_and_call)
