"""The display seam: one output per job, updated in place, ended once."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from imagen_widget._display import (
    RESEND_SECONDS,
    SHORTEST_UPDATE_SECONDS,
    JobView,
    NotebookSurface,
    SilentSurface,
    StatusLine,
    TerminalSurface,
    formatter_of,
    is_rich,
    surface_of,
)
from imagen_widget._provenance import Provenance
from imagen_widget._request import ImageRequest
from imagen_widget._result import GeneratedImage, Generation
from imagen_widget.errors import GenerationFailed
from tests.magic_stage import new_shell, outputs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.seconds

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        self.waiting.append((seconds, function))


class SmallJob:
    """As much of a job as a view needs; `outcome` is what awaiting it comes to."""

    def __init__(self, outcome: object = None) -> None:
        self.status = "In the queue · 0.0 s"
        self.listeners: list[Callable[[Any], None]] = []
        self._outcome = outcome

    def listen(self, listener: Callable[[Any], None]) -> None:
        self.listeners.append(listener)

    def change(self, status: str) -> None:
        self.status = status
        for listener in self.listeners:
            listener(None)

    def __await__(self) -> Generator[object, None, object]:
        yield from ()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class TerminalScreen(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


class Notes:
    """A surface that notes what it is told, and tells a thread when the end has come."""

    outlives_call = True
    shows_values = True

    def __init__(self) -> None:
        self.told: list[object] = []
        self.ended = threading.Event()

    def status(self, text: str) -> None:
        self.told.append(text)

    def final(self, value: object) -> None:
        self.told.append(value)
        self.ended.set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notebook() -> InteractiveShell:
    return new_shell()


@pytest.fixture
def terminal() -> InteractiveShell:
    shell = new_shell()
    formatter_of(shell).active_types = ["text/plain"]
    return shell


@pytest.fixture
def generation(tmp_path: Path) -> Generation:
    path = tmp_path / "fox.png"
    Image.new("RGB", (64, 32), "orange").save(path)
    request = ImageRequest.create("a fox")
    origin = Provenance(request, "id-1", "demo", datetime.now(UTC))
    image = GeneratedImage(path, "image/png", 64, 32, None, origin)
    return Generation((image,), request, "id-1", "demo", 1.5, 0.0, origin.created)


def view_of(job: SmallJob, shell: InteractiveShell, clock: Clock) -> JobView:
    return JobView(job, NotebookSurface(shell, later=clock.later), clock=clock)


def texts(shell: InteractiveShell) -> list[str]:
    return [output["data"]["text/plain"] for output in outputs_of(shell)]


# -------------------------------------------------------------------------------- in a notebook


def test_one_output_is_made_and_then_only_updated(notebook: InteractiveShell, clock: Clock) -> None:
    job = SmallJob()
    view = view_of(job, notebook, clock)

    view.begin()
    clock.seconds += 1
    job.change("Drawing · 1.0 s")
    view.end(StatusLine("Done"))

    outputs = outputs_of(notebook)
    assert [output["update"] for output in outputs] == [False, True, True]
    assert len({output["transient"]["display_id"] for output in outputs}) == 1
    assert texts(notebook) == ["In the queue · 0.0 s", "Drawing · 1.0 s", "Done"]


def test_updates_come_ten_times_a_second_at_most(notebook: InteractiveShell, clock: Clock) -> None:
    job = SmallJob()
    view_of(job, notebook, clock).begin()

    for number in range(1, 1001):
        clock.seconds = 100 + number / 1000
        job.change(f"Drawing · {number} ms")

    assert len(texts(notebook)) <= 1 + 1 / SHORTEST_UPDATE_SECONDS
    assert len(texts(notebook)) >= 9


def test_the_end_is_shown_however_soon_it_comes(notebook: InteractiveShell, clock: Clock) -> None:
    view = view_of(SmallJob(), notebook, clock)

    view.begin()
    view.end(StatusLine("Done"))

    assert texts(notebook)[-1] == "Done"


def test_the_end_is_sent_once_more_later(notebook: InteractiveShell, clock: Clock) -> None:
    view = view_of(SmallJob(), notebook, clock)
    view.begin()
    view.end(StatusLine("Done"))

    [(seconds, again)] = clock.waiting
    again()

    assert seconds == RESEND_SECONDS
    assert texts(notebook)[-2:] == ["Done", "Done"]
    assert outputs_of(notebook)[-1]["update"]
    assert len(clock.waiting) == 1


def test_what_was_never_a_status_needs_no_second_sending(
    notebook: InteractiveShell, clock: Clock
) -> None:
    NotebookSurface(notebook, later=clock.later).final(StatusLine("Done"))

    assert clock.waiting == []
    assert [output["update"] for output in outputs_of(notebook)] == [False]


def test_nothing_is_shown_after_the_end(notebook: InteractiveShell, clock: Clock) -> None:
    job = SmallJob()
    view = view_of(job, notebook, clock)
    view.begin()
    view.end(StatusLine("Cancelled"))

    clock.seconds += 10
    job.change("Drawing · 10.0 s")
    view.end(StatusLine("Done"))

    assert texts(notebook)[-1] == "Cancelled"


def test_a_late_update_of_another_thread_never_follows_the_end(
    notebook: InteractiveShell, clock: Clock
) -> None:
    job = SmallJob()
    view = view_of(job, notebook, clock)
    view.begin()

    def tick() -> None:
        for _ in range(300):
            clock.seconds += 1
            job.change("Drawing")

    threads = [threading.Thread(target=tick) for _ in range(4)]
    for thread in threads:
        thread.start()
    view.end(StatusLine("Done"))
    for thread in threads:
        thread.join()

    assert texts(notebook)[-1] == "Done"


def test_the_result_stands_in_place_of_the_status(
    notebook: InteractiveShell, clock: Clock, generation: Generation
) -> None:
    view = view_of(SmallJob(), notebook, clock)

    view.begin()
    view.end(generation)

    last = outputs_of(notebook)[-1]
    assert "data:image/webp;base64," in last["data"]["text/html"]
    assert last["update"]


def test_foreign_words_in_a_status_are_no_markup(notebook: InteractiveShell, clock: Clock) -> None:
    job = SmallJob()
    job.status = "<img src=x onerror=alert(1)> $5 and $6"

    view_of(job, notebook, clock).begin()

    assert "<img" not in outputs_of(notebook)[0]["data"]["text/html"]
    assert "&lt;img" in outputs_of(notebook)[0]["data"]["text/html"]


# -------------------------------------------------------------------------------- in a terminal


def test_a_terminal_is_told_from_a_notebook_by_what_it_shows(
    notebook: InteractiveShell, terminal: InteractiveShell
) -> None:
    assert is_rich(notebook)
    assert not is_rich(terminal)
    assert isinstance(surface_of(notebook), NotebookSurface)
    assert isinstance(surface_of(terminal), TerminalSurface)


def test_a_terminals_status_is_one_line_that_is_rewritten_and_erased(
    terminal: InteractiveShell, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = TerminalScreen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", "20")
    job = SmallJob()
    view = JobView(job, TerminalSurface(terminal, shows_values=True), clock=clock)

    view.begin()
    clock.seconds += 1
    job.change("Drawing · 1.0 s · and much more than fits")
    view.end(StatusLine("Done"))

    assert screen.getvalue() == (
        "\r\x1b[2KIn the queue · 0.0 \r\x1b[2KDrawing · 1.0 s · a\r\x1b[2K"
    )
    assert texts(terminal) == ["Done"]


def test_where_output_is_no_terminal_only_the_end_is_printed(
    terminal: InteractiveShell, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    view = JobView(SmallJob(), TerminalSurface(terminal, shows_values=True), clock=clock)

    view.begin()
    view.end(StatusLine("Done"))

    assert capsys.readouterr().out == ""
    assert texts(terminal) == ["Done"]


def test_a_terminal_names_the_files_and_draws_the_pictures_where_it_can(
    terminal: InteractiveShell, generation: Generation
) -> None:
    formatter_of(terminal).active_types = ["text/plain", "image/png"]

    surface_of(terminal).final(generation)

    picture, text = (output["data"] for output in outputs_of(terminal))
    assert picture["image/png"].startswith(b"\x89PNG")
    assert str(generation.paths[0]) in text["text/plain"]


def test_what_the_displayhook_prints_is_not_printed_before_it(
    terminal: InteractiveShell, generation: Generation
) -> None:
    surface = surface_of(terminal, hooked=True)

    surface.final(generation)
    surface.final(StatusLine("Cancelled"))

    assert texts(terminal) == ["Cancelled"]
    assert not surface.shows_values


# ------------------------------------------------------------------------------------- unwatched


def test_nothing_is_shown_where_nothing_should_be(capsys: pytest.CaptureFixture[str]) -> None:
    view = JobView(SmallJob(), SilentSurface())

    view.begin()
    view.end(StatusLine("Done"))

    assert capsys.readouterr().out == ""


def test_a_job_that_nobody_waits_for_ends_in_its_output() -> None:
    notes, order = Notes(), list[object]()

    JobView(SmallJob("the result"), notes).follow(order.append)

    assert notes.ended.wait(timeout=30)
    assert order == ["the result"]
    assert notes.told == ["the result"]


def test_a_failure_that_nobody_waits_for_is_said_in_its_output() -> None:
    notes = Notes()

    JobView(SmallJob(GenerationFailed("The machine was lost.")), notes).follow()

    assert notes.ended.wait(timeout=30)
    assert str(notes.told[-1]) == "GenerationFailed: The machine was lost."


def test_a_result_that_cannot_be_saved_says_so_in_its_output() -> None:
    def fail(_: object) -> None:
        raise GenerationFailed("The copies cannot be saved.")

    notes = Notes()

    JobView(SmallJob("the result"), notes).follow(fail)

    assert notes.ended.wait(timeout=30)
    assert "cannot be saved" in str(notes.told[-1])
