"""What a call starts: one job, a series, or the fetching of what is pending; each shown once.

A large series asks first. What an interrupt came to is said in one line before it goes on up.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio

from imagen_widget import _loop
from imagen_widget._display import (
    JobView,
    SilentSurface,
    StatusLine,
    Surface,
    surface_of,
    using_shell,
)
from imagen_widget._history import History, Resumed
from imagen_widget._magic.shell import ShownOnce
from imagen_widget._magic.tables import Table, resume_table
from imagen_widget._models import short_name
from imagen_widget._result import Generation
from imagen_widget._runs import Job
from imagen_widget._series import Series
from imagen_widget.errors import ImagenError, InvalidRequest

T = TypeVar("T")

MAX_UNASKED_ROWS = 20
_STRAY = "Cancelling was interrupted, and the job may go on; fetch it with %imagen_resume"


@dataclass(frozen=True, slots=True)
class Call:
    """Where the value of one call goes."""

    shell: Any  # whose cell is running
    once: ShownOnce  # keeps the displayhook from showing again what is shown here
    surface: Surface  # where the value is shown
    out: str | None = None  # the user's variable to put it into

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is shown."""
        return isinstance(self.surface, SilentSurface)

    def keep(self, value: object) -> None:
        """Put a value into the user's variable, if one was named."""
        if self.out is not None:
            self.shell.push({self.out: value})

    def hand_over(self, value: T, show: Callable[[T], object] | None = None) -> T:
        """Put a value into the user's variable, show it once, and return it."""
        self.keep(value)
        (show or self.surface.final)(value)
        if self.surface.shows_values:
            self.once.note(value)
        return value

    def say(self, text: str) -> None:
        """Show one more line, whether the call is quiet or not."""
        surface_of(self.shell).final(StatusLine(text))


# --------------------------------------------------------------------------------------- one job


def wait(job: Job, call: Call, save: Callable[[Generation], None]) -> Generation:
    """Block for the pictures; whatever else comes of the job is shown before it goes on up."""
    view = JobView(job, call.surface)
    view.begin()
    try:
        generation = job.result()
    except (KeyboardInterrupt, asyncio.CancelledError):  # the latter: cells that await
        _cancel(job, call, view)
        raise
    except BaseException:
        view.end(StatusLine(_ending(job, "Failed")))
        raise
    call.hand_over(generation, view.end)
    save(generation)
    return generation


def leave(job: Job, call: Call, save: Callable[[Generation], None], *, is_known: bool) -> Job:
    """Let the job go on by itself and return it; its output follows it where it can.

    If history is known to answer, the pictures are shown at once.
    """
    if is_known:
        wait(job, call, save)
        return call.hand_over(job, lambda _: None)
    if not call.surface.outlives_call:  # the terminal's next prompt stands on that line
        call.hand_over(job)
        JobView(job, SilentSurface()).follow(save)
        return job
    view = JobView(job, call.surface)
    view.begin()
    view.follow(save)
    return call.hand_over(job, lambda _: None)


def saver(folder: Path | None, *, provenance: bool) -> Callable[[Generation], None]:
    """Return what saves copies of pictures in a folder, made if missing, if there is one."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(
            f"--save-dir: the folder cannot be made ({error.strerror}).",
            remedy="Name a folder that you may write. Nothing was sent.",
            field="save_dir",
        ) from None

    def save(generation: Generation) -> None:
        try:
            if folder is not None:
                generation.save(folder, provenance=provenance)
        except OSError as error:
            raise ImagenError(
                f"The copies cannot be saved ({error.strerror}).",
                remedy="The pictures are kept: %imagen_history lists them.",
            ) from None

    return save


def _cancel(job: Job, call: Call, view: JobView) -> None:
    """Cancel at the provider, and say in one line what came of it."""
    outcome, pictures = _STRAY, None
    try:
        outcome = job.cancel()
    finally:
        line = _ending(job, outcome.rstrip("."))
        with contextlib.suppress(ImagenError, TimeoutError):
            pictures = job.result(timeout=0)  # they came in spite of it
        view.end(StatusLine(line) if pictures is None else pictures)
        if pictures is not None or call.is_quiet:
            call.say(line)


def _ending(job: Job, outcome: str) -> str:
    """Return how the job ended, in one line with what is needed to find it again."""
    progress, known = job.progress, job.progress.request_id
    ended = (
        f"{outcome} · {progress.elapsed:.1f} s · {progress.provider} {short_name(progress.model)}"
    )
    return f"{ended} · request id {known}" if known and known not in outcome else ended


# -------------------------------------------------------------------------------------- a series


def run_series(series: Series, values: dict[str, Any], call: Call) -> Series:
    """Run a series as the options say, and return it; of a large one the plan is shown first."""
    call.keep(series)
    _loop.run(_ended, series)
    plan = series.plan
    large = plan.to_send > MAX_UNASKED_ROWS or plan.price is None
    if values.get("dry_run"):
        line = StatusLine(f"{plan}. Nothing was sent.")
        return call.hand_over(series, lambda _: call.surface.final(line))
    if large and not (values.get("yes") or "max_spend" in values):
        why = f"more than {MAX_UNASKED_ROWS} rows" if plan.price is not None else "unknown price"
        text = f"{plan}. Nothing was sent: a series of {why} wants --max-spend AMOUNT, or --yes."
        return call.hand_over(series, lambda _: call.say(text))
    run = series.start if values.get("no_wait") else series.run
    with using_shell(call.shell):
        try:
            run(
                max_spend=values.get("max_spend"),
                max_in_flight=values.get("in_flight", 8),
                errors=values.get("errors", "row"),
                quiet=call.is_quiet,
            )
        except (KeyboardInterrupt, asyncio.CancelledError):
            said = series.cancel(everywhere=False)
            call.say(f"{said} Go on: %imagen_series {series.name} --resume")
            raise
    return call.hand_over(series, lambda _: None)


async def _ended(series: Series) -> None:
    """Wait until a run of it that is still under way has ended; its own output says how."""
    with contextlib.suppress(ImagenError):  # not running, too
        await series


# ------------------------------------------------------------------------------- what is pending


class Fetching:
    """The fetching of what is pending, as a view watches it: each job with its state so far."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.records = history.pending()
        self._outcomes: dict[str, Resumed] = {}
        self._started = time.monotonic()
        self._over = False

    def run(self) -> None:
        """Block until each job is fetched or given up."""
        try:
            if self.records:
                self._history.resume_all(on=lambda o: self._outcomes.update({o.record.id: o}))
        finally:
            self._over = True

    def table(self) -> Table[Generation]:
        """Return what came of the jobs so far, and at the end also what nobody can fetch."""
        history, caption = self._history, "" if self._over else self.status
        lost = history.unknown() if self._over else []
        picture = history.thumbnail if self._over else lambda _: ""
        return resume_table(self.records, self._outcomes, lost, picture, caption)

    @property
    def status(self) -> str:
        """One line: how many are fetched, given up and left."""
        fetched = sum(outcome.generation is not None for outcome in self._outcomes.values())
        failed, left = len(self._outcomes) - fetched, len(self.records) - len(self._outcomes)
        seconds = time.monotonic() - self._started
        return f"{fetched} fetched, {failed} not fetched, {left} to go · {seconds:.0f} s"

    def listen(self, listener: Callable[[Any], None]) -> None:
        """Have a function called on the loop thread four times a second."""
        _loop.spawn(self._tick, listener)

    async def _tick(self, listener: Callable[[Any], None]) -> None:
        while not self._over:
            listener(self)
            await anyio.sleep(0.25)

    def __await__(self) -> Generator[object, None, None]:
        return self._tick(lambda _: None).__await__()
