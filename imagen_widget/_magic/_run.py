"""Runs the job of one call: waits or lets go, shows what comes of it once, and hands it over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from imagen_widget._catalog import short_name
from imagen_widget._display import JobView, SilentSurface, StatusLine, surface_of
from imagen_widget.errors import ImagenError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from imagen_widget._display import Surface
    from imagen_widget._generate import Job
    from imagen_widget._magic._shell import ShownOnce
    from imagen_widget._result import Generation

T = TypeVar("T")

_STRAY = "Cancelling was interrupted, and the job may go on; fetch it with %imagen_resume"


@dataclass(frozen=True, slots=True)
class Call:
    """Where the value of one call goes.

    Attributes:
        shell: The shell whose cell is running.
        once: Keeps the displayhook from showing again what is shown here.
        surface: Where the value is shown.
        out: The user's variable to put it into, or None.
    """

    shell: InteractiveShell
    once: ShownOnce
    surface: Surface
    out: str | None

    def hand_over(self, value: T, show: Callable[[T], None]) -> T:
        """Put a value into the user's variable, show it once, and return it."""
        if self.out is not None:
            self.shell.push({self.out: value})  # type: ignore[no-untyped-call]  # IPython's
        show(value)
        if self.surface.shows_values:
            self.once.note(value)
        return value


class Run:
    """One job that a call has started.

    Args:
        job: The job.
        call: Where its value goes.
        folder: Where copies of the pictures are saved, or None.
        provenance: Whether the copies carry the settings.
    """

    def __init__(self, job: Job, call: Call, folder: Path | None, *, provenance: bool) -> None:
        self._job = job
        self._call = call
        self._folder = folder
        self._provenance = provenance

    def wait(self) -> Generation:
        """Block for the pictures; whatever else comes of the job is shown before it goes on up.

        Raises:
            KeyboardInterrupt: The user interrupted; the job was cancelled at the provider.
            ImagenError: No picture came of it, or the copies cannot be saved.
        """
        view = JobView(self._job, self._call.surface)
        view.begin()
        try:
            generation = self._job.result()
        except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:  # the latter: async cells
            # IPython asks for this: the line about the job says enough, the stack is ours.
            interrupt._render_traceback_ = lambda: ["KeyboardInterrupt"]  # type: ignore[union-attr]
            self._cancel(view)
            raise
        except BaseException:
            view.end(StatusLine(self._ending("Failed")))
            raise
        self._call.hand_over(generation, view.end)
        self._save(generation)
        return generation

    def leave(self) -> Job:
        """Let the job go on by itself and return it; its output follows it where it can."""
        surface = self._call.surface
        if not surface.outlives_call:  # the terminal's next prompt stands on that line
            self._call.hand_over(self._job, surface.final)
            JobView(self._job, SilentSurface()).follow(self._save)
            return self._job
        view = JobView(self._job, surface)
        view.begin()
        view.follow(self._save)
        return self._call.hand_over(self._job, lambda _: None)

    def _cancel(self, view: JobView) -> None:
        """Cancel at the provider, and say in one line what came of it."""
        outcome = _STRAY
        try:
            outcome = self._job.cancel()
        finally:
            line = StatusLine(self._ending(outcome.rstrip(".")))
            pictures = self._pictures()
            view.end(line if pictures is None else pictures)
            if pictures is not None or isinstance(self._call.surface, SilentSurface):
                surface_of(self._call.shell).final(line)

    def _pictures(self) -> Generation | None:
        """Return the pictures if they came in spite of a cancellation."""
        try:
            return self._job.result(timeout=0)
        except (ImagenError, TimeoutError):
            return None

    def _ending(self, outcome: str) -> str:
        """Return how the job ended, in one line with what is needed to find it again."""
        progress = self._job.progress
        where = f"{progress.provider} {short_name(progress.model)}"
        request_id = progress.request_id
        known = [f"request id {request_id}"] if request_id and request_id not in outcome else []
        return " · ".join([outcome, f"{progress.elapsed:.1f} s", where, *known])

    def _save(self, generation: Generation) -> None:
        if self._folder is None:
            return
        try:
            generation.save(self._folder, provenance=self._provenance)
        except OSError as error:
            raise ImagenError(
                f"The copies cannot be saved ({error.strerror}).",
                remedy="The pictures are kept: %imagen_history lists them.",
            ) from None
