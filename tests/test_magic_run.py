"""A call's job: waited for, interrupted, left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
from PIL import Image

from imagen_widget._display import SilentSurface, surface_of
from imagen_widget._generate import Phase, Progress
from imagen_widget._magic._run import Call, Run
from imagen_widget._magic._shell import ShownOnce
from imagen_widget._provenance import Provenance
from imagen_widget._request import ImageRequest
from imagen_widget._result import GeneratedImage, Generation
from imagen_widget.errors import ImagenError, JobCancelled
from tests.magic_stage import new_shell, outputs_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from imagen_widget._generate import Job


class InterruptedJob:
    """A job whose user loses patience; `ends` is what it comes to after all.

    Attributes:
        status: What a status line says.
        progress: Where it was interrupted.
    """

    status = "Drawing · 3.0 s"
    progress = Progress(
        phase=Phase.RUNNING,
        provider="kkiai",
        model="fal-ai/imagen4/preview",
        price=None,
        elapsed=3.0,
        request_id="id-7",
    )

    def __init__(self, answer: str | BaseException, ends: Generation | Exception) -> None:
        self._answer = answer
        self._ends = ends

    def listen(self, listener: Callable[[Any], None]) -> None:
        """Nothing changes any more."""

    def result(self, timeout: float | None = None) -> Generation:
        if timeout is None:
            raise KeyboardInterrupt
        if isinstance(self._ends, Exception):
            raise self._ends
        return self._ends

    def cancel(self) -> str:
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


@pytest.fixture
def shell() -> InteractiveShell:
    return new_shell()


@pytest.fixture
def generation(tmp_path: Path) -> Generation:
    path = tmp_path / "fox.png"
    Image.new("RGB", (64, 32), "orange").save(path)
    request = ImageRequest.create("a fox")
    origin = Provenance(request, "id-7", "kkiai", datetime.now(UTC))
    image = GeneratedImage(path, "image/png", 64, 32, None, origin)
    return Generation((image,), request, "id-7", "kkiai", 1.5, 0.04, origin.created)


def interrupt(
    job: InterruptedJob, shell: InteractiveShell, *, quiet: bool = False
) -> BaseException:
    """Run a job to its interrupt, and return what goes on up."""
    surface = SilentSurface() if quiet else surface_of(shell)
    call = Call(shell, ShownOnce(shell, Generation), surface, out=None)
    run = Run(cast("Job", job), call, None, provenance=True)
    with pytest.raises(KeyboardInterrupt) as caught:
        run.wait()
    return caught.value


def shown(shell: InteractiveShell) -> list[str]:
    """Return the last text of each output."""
    last = {o["transient"]["display_id"]: o["data"]["text/plain"] for o in outputs_of(shell)}
    return list(last.values())


def test_an_interrupt_is_one_line_with_the_outcome_and_the_request_id(
    shell: InteractiveShell,
) -> None:
    job = InterruptedJob("Cancelled, not billed.", JobCancelled("Cancelled, not billed."))

    raised = interrupt(job, shell)

    assert shown(shell) == ["Cancelled, not billed · 3.0 s · kkiai imagen4 · request id id-7"]
    assert raised._render_traceback_() == ["KeyboardInterrupt"]  # type: ignore[attr-defined]  # set for IPython


def test_pictures_that_came_too_late_to_cancel_are_shown(
    shell: InteractiveShell, generation: Generation
) -> None:
    interrupt(InterruptedJob("Too late to cancel: paid.", generation), shell)

    pictures, line = shown(shell)
    assert "1 image" in pictures
    assert line.startswith("Too late to cancel: paid · ")


def test_a_quiet_call_still_says_what_the_interrupt_came_to(shell: InteractiveShell) -> None:
    job = InterruptedJob("Cancelled, not billed.", JobCancelled("Cancelled, not billed."))

    interrupt(job, shell, quiet=True)

    assert shown(shell)[0].startswith("Cancelled, not billed")


def test_a_second_interrupt_says_how_to_fetch_the_job(shell: InteractiveShell) -> None:
    interrupt(InterruptedJob(KeyboardInterrupt(), TimeoutError()), shell)

    assert "may go on; fetch it with %imagen_resume" in shown(shell)[0]
    assert "request id id-7" in shown(shell)[0]


def test_copies_that_cannot_be_saved_lose_no_picture(
    shell: InteractiveShell, generation: Generation, tmp_path: Path
) -> None:
    """They are shown, and in the user's variable, before the error goes on up."""

    class DoneJob(InterruptedJob):
        def result(self, timeout: float | None = None) -> Generation:
            del timeout
            return generation

    call = Call(shell, ShownOnce(shell, Generation), surface_of(shell), out="foxes")
    folder = tmp_path / "fox.png"  # a file stands there

    with pytest.raises(ImagenError, match=r"cannot be saved.*%imagen_history"):
        Run(cast("Job", DoneJob("", generation)), call, folder, provenance=True).wait()

    assert shell.user_ns["foxes"] is generation
    assert "1 image" in shown(shell)[0]
