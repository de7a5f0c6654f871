"""Where a job is shown: one output per job, updated in place, ended once."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

import imagen_widget
from imagen_widget import Generation
from imagen_widget._display import (
    MIN_UPDATE_SECONDS,
    JobView,
    StatusLine,
    Surface,
    is_rich,
    surface_of,
    using_shell,
)
from imagen_widget.errors import GenerationFailed
from tests.magic_stage import new_shell


class Clock:
    """Time that passes when a test says so."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


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


class Screen(io.TextIOWrapper):
    """A stream that is a terminal, of one encoding."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="")

    def isatty(self) -> bool:
        return True

    def written(self) -> str:
        self.flush()
        data = self.buffer.getvalue()  # type: ignore[attr-defined]  # a BytesIO
        return str(data.decode(self.encoding))


class Notes(Surface):
    """A surface that notes what it is told, and tells a thread when the end has come."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.ended = threading.Event()

    def status(self, value: object) -> None:
        self.told.append(value)

    def final(self, value: object) -> None:
        self.told.append(value)
        self.ended.set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notebook() -> Any:
    return new_shell()


@pytest.fixture
def terminal() -> Any:
    shell = new_shell()
    shell.display_formatter.active_types = ["text/plain"]
    return shell


@pytest.fixture
def generation(demo: None) -> Generation:
    return imagen_widget.generate("a fox", quiet=True)


def view_of(job: SmallJob, shell: Any, clock: Clock) -> JobView:
    return JobView(job, surface_of(shell), clock=clock)


def texts(shell: Any) -> list[str]:
    return [output["data"]["text/plain"] for output in list(shell.display_pub.outputs)]


# -------------------------------------------------------------------------------- in a notebook


def test_one_output_is_made_and_then_only_updated(notebook: Any, clock: Clock) -> None:
    job = SmallJob()
    view = view_of(job, notebook, clock)

    view.begin()
    clock.seconds += 1
    job.change("Drawing · 1.0 s")
    view.end(StatusLine("Done"))

    outputs = notebook.display_pub.outputs[:3]
    assert [output["update"] for output in outputs] == [False, True, True]
    assert len({output["transient"]["display_id"] for output in outputs}) == 1
    assert texts(notebook)[:3] == ["In the queue · 0.0 s", "Drawing · 1.0 s", "Done"]


def test_updates_come_ten_times_a_second_at_most(notebook: Any, clock: Clock) -> None:
    job = SmallJob()
    view_of(job, notebook, clock).begin()

    for number in range(1, 1001):
        clock.seconds = 100 + number / 1000
        job.change(f"Drawing · {number} ms")

    assert 9 <= len(texts(notebook)) <= 1 + 1 / MIN_UPDATE_SECONDS


def test_the_end_is_shown_however_soon_it_comes_and_once_more_later(
    notebook: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_widget._display.RESEND_SECONDS", 0.0)
    again, published = threading.Event(), notebook.display_pub.publish

    def publish(*args: Any, **kwargs: Any) -> None:
        published(*args, **kwargs)
        if texts(notebook).count("Done") == 2:
            again.set()

    notebook.display_pub.publish = publish
    view = view_of(SmallJob(), notebook, clock)

    view.begin()
    view.end(StatusLine("Done"))

    assert again.wait(timeout=30)
    assert texts(notebook)[1:] == ["Done", "Done"]
    assert notebook.display_pub.outputs[-1]["update"]


def test_what_was_never_a_status_is_sent_once(notebook: Any) -> None:
    surface_of(notebook).final(StatusLine("Done"))

    assert [output["update"] for output in notebook.display_pub.outputs] == [False]


def test_nothing_is_shown_after_the_end(notebook: Any, clock: Clock) -> None:
    job = SmallJob()
    view = view_of(job, notebook, clock)
    view.begin()
    view.end(StatusLine("Cancelled"))

    clock.seconds += 10
    job.change("Drawing · 10.0 s")
    view.end(StatusLine("Done"))

    assert texts(notebook)[-1] == "Cancelled"


def test_a_late_update_of_another_thread_never_follows_the_end(notebook: Any, clock: Clock) -> None:
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
    notebook: Any, clock: Clock, generation: Generation
) -> None:
    view = view_of(SmallJob(), notebook, clock)

    view.begin()
    view.end(generation)

    last = notebook.display_pub.outputs[1]
    assert "data:image/webp;base64," in last["data"]["text/html"]
    assert last["update"]


def test_foreign_words_in_a_status_are_not_markup(notebook: Any, clock: Clock) -> None:
    job = SmallJob()
    job.status = "<img src=x onerror=alert(1)> $5 and $6"

    view_of(job, notebook, clock).begin()

    html = notebook.display_pub.outputs[0]["data"]["text/html"]
    assert "<img" not in html
    assert "&lt;img" in html


def test_inside_an_output_widget_its_trait_is_set(
    notebook: Any, clock: Clock, generation: Generation
) -> None:
    import ipywidgets

    notebook.kernel = SimpleNamespace(get_parent=lambda _: {"header": {"msg_id": "now"}})
    other, out = ipywidgets.Output(msg_id="before"), ipywidgets.Output(msg_id="now")
    job = SmallJob()
    view, second = view_of(job, notebook, clock), surface_of(notebook)
    out.msg_id = ""  # the block has ended, the job has not

    view.begin()
    second.final(StatusLine("Another"))
    clock.seconds += 1
    job.change("Drawing")
    drawing = [shown["data"]["text/plain"] for shown in out.outputs]
    view.end(generation)

    assert drawing == ["Drawing", "Another"]
    assert "data:image/webp" in out.outputs[0]["data"]["text/html"]
    assert len(out.outputs) == 2
    assert other.outputs == ()
    assert texts(notebook) == []


@pytest.mark.parametrize("within", [True, False])
def test_what_an_output_widget_captured_meanwhile_stays(
    notebook: Any, monkeypatch: pytest.MonkeyPatch, *, within: bool
) -> None:
    import ipywidgets

    def printed(text: str) -> dict[str, str]:
        return {"output_type": "stream", "name": "stdout", "text": text}

    notebook.kernel = SimpleNamespace(get_parent=lambda _: {"header": {"msg_id": "now"}})
    out, sent = ipywidgets.Output(msg_id="now"), list[object]()
    monkeypatch.setattr(ipywidgets.Output, "send_state", lambda _, key=None: sent.append(key))
    surface = surface_of(notebook)
    surface.status("Preparing")
    surface.status("Drawing")
    assert out.outputs == ()  # the kernel does not know what the block printed
    if within:
        surface.final(StatusLine("Done"))
        assert sent == []  # or what the block printed would be lost
    out.msg_id = ""
    if not within:
        surface.final(StatusLine("Done"))
    # The front end tells what it captured, some before the status, some after it.
    shown = [{"output_type": "display_data", **each} for each in notebook.display_pub.outputs]
    out.outputs = (printed("before"), *shown, printed("after"))
    replaced = threading.Event()
    out.observe(lambda _: replaced.set(), "outputs")
    assert replaced.wait(10)

    before, done, after = out.outputs
    assert (before["text"], after["text"]) == ("before", "after")
    assert done["data"]["text/plain"] == "Done"
    assert set(done["data"]) == {"text/plain", "text/html"}


def test_a_job_that_ends_during_another_block_of_its_output_takes_nothing_from_that(
    notebook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ipywidgets

    monkeypatch.setattr("imagen_widget._display.RESEND_SECONDS", 0.05)
    notebook.kernel = SimpleNamespace(get_parent=lambda _: {"header": {"msg_id": "first"}})
    out, changed = ipywidgets.Output(msg_id="first"), threading.Event()
    surface = surface_of(notebook)
    surface.status("Drawing")
    (shown,) = notebook.display_pub.outputs
    out.msg_id = ""
    out.outputs = ({"output_type": "display_data", **shown},)  # the front end tells it

    out.msg_id = "second"
    out.observe(lambda _: changed.set(), "outputs")
    surface.final(StatusLine("Done"))
    assert not changed.wait(0.3)  # or what the second block printed would be lost
    out.msg_id = ""

    assert changed.wait(10)
    assert [each["data"]["text/plain"] for each in out.outputs] == ["Done"]


def test_no_text_of_an_output_is_typeset_as_a_formula(generation: Generation) -> None:
    found = imagen_widget.models()
    job = imagen_widget.start("a fox for $5 and $6")
    past = imagen_widget.History()
    for value in (StatusLine("$5 and $6"), found, found[0], job, past, job.result(), generation[0]):
        html = value._repr_mimebundle_()["text/html"]
        assert html.startswith("<div")
        assert "mathjax_ignore tex2jax_ignore" in html.split(">")[0]


# -------------------------------------------------------------------------------- in a terminal


def test_a_terminals_status_is_one_line_that_is_rewritten_and_erased(
    terminal: Any, notebook: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", "20")
    job = SmallJob()
    view = view_of(job, terminal, clock)

    view.begin()
    clock.seconds += 1
    job.change("Drawing · 1.0 s · and much more than fits")
    view.end(StatusLine("Done"))

    assert screen.written() == "\r\x1b[2KIn the queue · 0.0 \r\x1b[2KDrawing · 1.0 s · a\r\x1b[2K"
    assert texts(terminal) == ["Done"]
    assert is_rich(notebook)
    assert not is_rich(terminal)


def test_a_terminal_that_knows_few_signs_gets_substitutes(
    terminal: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen("ascii")
    monkeypatch.setattr("sys.stdout", screen)
    job = SmallJob()
    job.status = "Drawing 雪 · 1 s"
    view = view_of(job, terminal, clock)

    view.begin()
    assert screen.written() == "\r\x1b[2KDrawing ? ? 1 s"
    view.end(StatusLine("Done · 2 s"))

    assert texts(terminal) == ["Done ? 2 s"]


@pytest.mark.parametrize("stream", [io.StringIO(), Mock(spec=["write", "flush", "isatty"])])
def test_a_stream_without_an_encoding_gets_the_text_as_it_is(
    terminal: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch, stream: Any
) -> None:
    monkeypatch.setattr("sys.stdout", stream)
    view = view_of(SmallJob(), terminal, clock)

    view.end(StatusLine("Füchse · 2 s"))

    assert texts(terminal) == ["Füchse · 2 s"]


def test_if_the_output_is_not_a_terminal_only_the_end_is_printed(
    terminal: Any, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    view = view_of(SmallJob(), terminal, clock)

    view.begin()
    view.end(StatusLine("Done"))

    assert capsys.readouterr().out == ""
    assert texts(terminal) == ["Done"]


def test_a_terminal_names_the_files_and_draws_the_pictures_if_it_can(
    terminal: Any, generation: Generation
) -> None:
    terminal.display_formatter.active_types = ["text/plain", "image/png"]

    surface_of(terminal).final(generation)

    picture, text = (output["data"] for output in terminal.display_pub.outputs)
    assert picture["image/png"].startswith(b"\x89PNG")
    assert str(generation.paths[0]) in text["text/plain"]


def test_what_the_displayhook_prints_is_not_printed_before_it(
    terminal: Any, generation: Generation
) -> None:
    surface = surface_of(terminal, hooked=True)

    surface.final(generation)
    surface.final(StatusLine("Cancelled"))

    assert texts(terminal) == ["Cancelled"]
    assert not surface.shows_values


# ----------------------------------------------------------------------------- plain calls


@pytest.mark.parametrize("quiet", [False, True])
def test_a_plain_call_shows_its_status_on_a_terminals_stderr_unless_quiet(
    demo: None, monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)

    imagen_widget.generate("a fox", quiet=quiet)

    assert ("Preparing" in screen.written()) is not quiet
    assert quiet or screen.written().endswith("\r\x1b[2K")


def test_a_plain_call_in_a_script_says_nothing(
    demo: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    imagen_widget.generate("a fox")

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("cell", "stays"),
    [
        ("fox = generate('a fox')", True),
        ("generate('a fox');", True),
        ("fox = generate('a fox')\nfox[0]", True),
        ("fox = generate('a fox')\nfox", False),
        ("await agenerate('a fox')", False),
    ],
)
def test_a_plain_calls_line_goes_where_the_cell_shows_the_result_that_repeats_it(
    demo: None, notebook: Any, cell: str, stays: bool
) -> None:
    with using_shell(notebook):
        notebook.run_cell("from imagen_widget import agenerate, generate")
        notebook.run_cell(cell, store_history=True)
        last = texts(notebook)[-1]
        notebook.run_cell("1")

    assert ("1 image" in last) is stays
    assert (last == "") is not stays


# ------------------------------------------------------------------------------------- unwatched


def test_a_quiet_view_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    view = JobView(SmallJob(), Surface())

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
