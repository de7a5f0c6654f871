"""Where a job is shown: one output per job, made while its cell runs and updated to the end.

Off the cell's own call nothing is printed or displayed: the output is made first, and what comes
from the loop thread only updates it, at most ten times a second. The server drops messages that
flood it, the last one included, so the final state is sent once more.
"""

import contextlib
import logging
import os
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from anyio import to_thread

from imagen_widget import _html, _loop, _picture
from imagen_widget._result import Generation

log = logging.getLogger("imagen_widget")

MIN_UPDATE_SECONDS = 0.1
RESEND_SECONDS = 1.0
_ERASE_LINE = "\r\x1b[2K"
_STATUS_STYLE = (
    "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;opacity:.85;"
    "font-variant-numeric:tabular-nums;overflow-wrap:anywhere"
)


class Watched(Protocol):
    """What a view needs of a job or a series; listeners are called on the loop thread."""

    @property
    def status(self) -> str: ...
    def listen(self, listener: Callable[[Any], None], /) -> object: ...
    def __await__(self) -> Generator[object, None, Any]: ...


@dataclass(frozen=True, slots=True)
class StatusLine:
    """One line of text that displays itself."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        look = {"style": _STATUS_STYLE, "class_": _html.NO_FORMULAS}
        line = _html.tag("div", _html.escape(self.text), **look)
        return {"text/plain": self.text, "text/html": line}


class Surface:
    """Where something is shown: a notebook's output, a terminal's line, or as here nowhere.

    Attributes:
        outlives_call: Whether it can be updated when the cell's own call is over.
        shows_values: Whether values are shown here, not by the displayhook after the call.
    """

    outlives_call = True
    shows_values = True

    def status(self, value: object) -> None:
        """Show a line, or another value, in place of the one before."""

    def final(self, value: object) -> None:
        """Show what replaces the status for good."""


class NotebookSurface(Surface):
    """One output of a cell, known by its display id."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._display_id = uuid.uuid4().hex
        self._shown = False
        self._last: tuple[dict[str, Any], dict[str, Any]] = ({}, {})

    def status(self, value: object) -> None:
        self._publish(*_format(self._shell, value))

    def final(self, value: object) -> None:
        """Show the value, and once more a little later, should the server have dropped it."""
        replaced = self._shown
        self._last = _format(self._shell, value)
        self._publish(*self._last)
        if replaced:
            _loop.call_later(RESEND_SECONDS, lambda: self._publish(*self._last))

    def give_way(self) -> None:
        """Take the last line away when the cell ends, if its value is a result that repeats it."""

        def end(cell: Any) -> None:
            self._shell.events.unregister("post_run_cell", end)
            line = self._last[0].get("text/plain")
            if isinstance(cell.result, Generation) and cell.result.summary == line:
                self.final(StatusLine(""))

        self._shell.events.register("post_run_cell", end)

    def _publish(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        # Not IPython.display: that speaks to the process's one shell, and there may be others.
        update, self._shown = self._shown, True
        self._shell.display_pub.publish(
            data, metadata, transient={"display_id": self._display_id}, update=update
        )


_placing = threading.RLock()  # two jobs may be shown in one Output


class OutputSurface(Surface):
    """A place in an `ipywidgets.Output`, which knows no display ids.

    What the block shows is captured by the front end, which tells the kernel between cells only;
    setting the trait before that would drop what the block printed. So the status is a widget that
    is displayed in the block, and so is a value that comes within it. The trait is set for what
    comes later: a value in place of the widget, once the front end has told where that stands.
    """

    def __init__(self, shell: Any, output: Any) -> None:
        self._shell, self._output, self._block = shell, output, output.msg_id
        self._mark = {"imagen_widget": uuid.uuid4().hex}
        self._line: Any = None
        self._instead: tuple[dict[str, Any], ...] | None = None  # of the line, when all is over

    def status(self, value: object) -> None:
        data, metadata = _format(self._shell, value)
        if self._line is not None:
            self._line.value = data["text/html"]
        elif self._captures:
            self._line = sys.modules["ipywidgets"].HTML(data["text/html"])
            view = {**self._line._repr_mimebundle_(), "text/plain": data["text/plain"]}
            self._shell.display_pub.publish(view, self._mark)
            self._output.observe(self._told, "outputs")
        else:
            self._place(_as_output(data, metadata | self._mark))

    def final(self, value: object) -> None:
        data, metadata = _format(self._shell, value)
        if self._captures:
            self._shell.display_pub.publish(data, metadata)
            outputs = [*self._output.outputs, _as_output(data, metadata)]
            with self._output._lock_property(outputs=outputs):  # not sent: the front end has it
                self._output.outputs = tuple(outputs)
            self._instead = ()
            if self._line is not None:
                self._line.value = ""
            return
        self.status(value)
        self._instead = (_as_output(data, metadata),)
        self._told()

    @property
    def _captures(self) -> bool:
        return bool(self._block) and self._output.msg_id == self._block

    def _told(self, _change: object = None) -> None:
        """Give the line up if all is over; a moment later, since more may be told at once.

        Later still while a block is captured, this one or another: what it shows is not told yet.
        """
        if self._instead is not None and self._line is not None:
            _loop.call_later(RESEND_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self._output.msg_id:
            self._told()
        else:
            self._place(*self._instead or ())

    def _place(self, *instead: dict[str, Any]) -> None:
        with _placing:
            outputs: list[dict[str, Any]] = []
            found = False
            for each in self._output.outputs:
                is_ours = self._mark.items() <= each.get("metadata", {}).items()
                outputs += instead if is_ours else (each,)
                found |= is_ours
            if self._line is None and not found:
                outputs += instead
            elif not found:
                return
            self._output.outputs = tuple(outputs)
            if self._line is not None:
                self._output.unobserve(self._told, "outputs")
                self._line.close()


def _as_output(data: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": metadata}


class LineSurface(Surface):
    """The last line of stderr in a script on a terminal; nothing remains of it."""

    outlives_call = False
    shows_values = False
    stream = "stderr"

    def status(self, value: object) -> None:
        stream: TextIO = getattr(sys, self.stream)
        if stream.isatty():
            width = shutil.get_terminal_size().columns - 1
            stream.write(_ERASE_LINE + _html.encodable(str(value)[:width], stream))
            stream.flush()

    def final(self, value: object) -> None:
        self.status("")


class TerminalSurface(LineSurface):
    """The last line of a shell's terminal: rewritten while the job runs, erased for the result."""

    stream = "stdout"

    def __init__(self, shell: Any, *, shows_values: bool) -> None:
        self._shell = shell
        self.shows_values = shows_values

    def final(self, value: object) -> None:
        """Erase the line and print the value; its pictures too where the terminal draws them."""
        super().final(value)
        draws = "image/png" in self._shell.display_formatter.active_types
        if isinstance(value, Generation) and draws:
            for image in value:
                png = _picture.encode(image.preview.data, "image/png")
                self._shell.display_pub.publish({"image/png": png}, {})
        if self.shows_values or isinstance(value, StatusLine):
            data, metadata = _format(self._shell, value)
            text = _html.encodable(data["text/plain"], getattr(sys, self.stream))
            self._shell.display_pub.publish({"text/plain": text}, metadata)


class JobView:
    """Shows one job: its status while it goes on, then what it came to.

    `interval` is in seconds; `render` makes what is shown meanwhile, by default the status line.
    """

    def __init__(
        self,
        job: Watched,
        surface: Surface,
        *,
        interval: float = MIN_UPDATE_SECONDS,
        render: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job, self._surface, self._clock = job, surface, clock
        self._interval, self._render = interval, render or (lambda: job.status)
        self._lock = threading.Lock()
        self._next_update = 0.0
        self._ended = type(surface) is Surface  # nothing is shown, from the beginning

    def begin(self) -> None:
        """Show the status, and keep it up to date from now on."""
        if not self._ended:
            self._update()
            self._job.listen(self._update)

    def end(self, value: object) -> None:
        """Put the value in place of the status; what comes later is not shown any more."""
        with self._lock:
            if not self._ended:
                self._ended = True
                with _harmless():
                    self._surface.final(value)

    def follow(self, then: Callable[[Any], object] | None = None) -> None:
        """Have the end shown when it comes, though nobody waits; `then` gets the result before."""

        async def follow() -> None:
            try:
                value = await self._job
                if then is not None:
                    await to_thread.run_sync(then, value)
            except Exception as error:  # noqa: BLE001 - off the cell it has nowhere else to go
                value = StatusLine(f"{type(error).__name__}: {error}")
            # In a worker thread: making the small copies of big pictures takes a while.
            await to_thread.run_sync(self.end, value)

        _loop.spawn(follow)

    def _update(self, _progress: object = None) -> None:
        with self._lock:
            now = self._clock()
            if self._ended or now < self._next_update:
                return
            self._next_update = now + self._interval
            with _harmless():
                self._surface.status(self._render())


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    """Let what cannot be shown, on a stream that broke or was closed, cost no paid picture."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - streams and front ends raise what they like
        log.warning("This cannot be shown (%s: %s).", type(error).__name__, error)


def surface_of(shell: Any, *, hooked: bool = False) -> Surface:
    """Return a new place to show something in this shell; call it in the cell's own call.

    `hooked`: the displayhook is going to print the value, as terminals have it.
    """
    if not is_rich(shell):
        return TerminalSurface(shell, shows_values=not hooked)
    output = _capturing_output(shell)
    return NotebookSurface(shell) if output is None else OutputSurface(shell, output)


def surface_of_call(*, quiet: bool) -> Surface:
    """Return where a plain call shows its status: the notebook, a terminal's stderr, or nowhere."""
    if quiet:
        return Surface()
    shell = running_shell()
    if shell is not None and is_rich(shell):
        surface = surface_of(shell)
        if isinstance(surface, NotebookSurface):
            surface.give_way()
        return surface
    with contextlib.suppress(ValueError):  # it may be closed
        if sys.stderr is not None and sys.stderr.isatty():
            return LineSurface()
    return Surface()


_shell_in_use: ContextVar[Any] = ContextVar("_shell_in_use", default=None)


@contextlib.contextmanager
def using_shell(shell: Any) -> Iterator[None]:
    """Have plain calls show their status in this shell: there may be others in the process."""
    token = _shell_in_use.set(shell)
    try:
        yield
    finally:
        _shell_in_use.reset(token)


def running_shell() -> Any:
    """Return the IPython shell of this call; None in a script. IPython is not imported.

    None in a fork of a kernel too: it cannot send anything, and prints what it is given instead.
    """
    module = sys.modules.get("IPython")
    shell = _shell_in_use.get() or (module.get_ipython() if module is not None else None)
    session = getattr(getattr(shell, "kernel", None), "session", None)
    return shell if session is None or session.pid == os.getpid() else None


def is_rich(shell: Any) -> bool:
    """Return True if the shell's outputs are shown by a front end that knows HTML."""
    return "text/html" in shell.display_formatter.active_types


def _format(shell: Any, value: object) -> tuple[dict[str, Any], dict[str, Any]]:
    shown = StatusLine(value) if isinstance(value, str) else value
    data, metadata = shell.display_formatter.format(shown)
    return data, metadata


def _capturing_output(shell: Any) -> Any:
    """Return the `ipywidgets.Output` that captures what the cell now shows; None if none does."""
    module = sys.modules.get("ipywidgets.widgets.widget_output")
    kernel = getattr(shell, "kernel", None)
    if module is None or kernel is None:
        return None
    asked = (kernel.get_parent("shell") or {}).get("header", {}).get("msg_id")
    widgets = list(sys.modules["ipywidgets.widgets.widget"]._instances.values())
    outputs = (w for w in widgets if isinstance(w, module.Output))
    return next((output for output in outputs if asked and output.msg_id == asked), None)
