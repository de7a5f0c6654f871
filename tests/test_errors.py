"""Errors are one line with a remedy, and one tree that can be caught at any height."""

from __future__ import annotations

import concurrent.futures
import pickle

import pytest
from hypothesis import given, strategies as st
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from imagen_widget import Ticket, errors
from imagen_widget.errors import ImagenError, InvalidRequest, one_line

TICKET = Ticket("kkiai", "https://gateway.test", "fal-ai/imagen4/preview", "req-1")
CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", CLASSES)
def test_each_error_says_what_happened_and_what_to_do(kind: type[ImagenError]) -> None:
    error = kind("it broke", remedy="Mend it.")

    assert str(error) == "it broke. Mend it."
    assert (error.message, error.remedy) == ("it broke.", "Mend it.")
    assert isinstance(error, ImagenError)


@pytest.mark.parametrize("kind", CLASSES)
def test_each_error_survives_a_pickle(kind: type[ImagenError]) -> None:
    error = kind("it broke", remedy="Mend it.", ticket=TICKET)

    again = pickle.loads(pickle.dumps(error))

    assert (type(again), str(again), again.request_id) == (kind, str(error), "req-1")


def test_errors_are_also_what_python_calls_them() -> None:
    assert issubclass(errors.InvalidRequest, ValueError)
    assert issubclass(errors.QueueTimeout, TimeoutError)
    assert issubclass(errors.JobCancelled, concurrent.futures.CancelledError)
    assert issubclass(errors.SubmitUncertain, errors.QueueError)


def test_what_may_be_billed_says_so() -> None:
    billed = {kind for kind in CLASSES if kind.billed}

    assert billed == {errors.SubmitUncertain, errors.QueueTimeout, errors.ResultExpired}


@pytest.mark.parametrize("end", [".", "!", "?", ":", "…", "\u3002", "\uff01", "\uff1f"])
def test_a_sentence_that_has_an_end_gets_no_other(end: str) -> None:
    assert ImagenError(f"so it is{end}").message == f"so it is{end}"


@given(st.text())
def test_any_text_becomes_one_short_printable_line(text: str) -> None:
    line = one_line(text, limit=50)

    assert line.isprintable()
    assert len(line) <= 50
    assert line == line.strip()


def test_a_long_text_is_clipped_visibly() -> None:
    assert one_line("x" * 100, limit=10) == "xxxxxxxxx…"
    assert len(str(ImagenError("y" * 10_000, remedy="z" * 10_000))) < 1300


def test_an_invalid_request_names_its_field() -> None:
    assert InvalidRequest("seed: no", field="seed").field == "seed"
    assert InvalidRequest("no").field is None


class Shell:
    """An IPython shell that runs cells, one after the other."""

    def __init__(self) -> None:
        config = Config()
        config.HistoryManager.enabled = False  # its database is never closed
        self._shell = InteractiveShell(config=config)  # type: ignore[no-untyped-call]  # IPython's

    def magic(self, name: str, line: str = "") -> None:
        self._shell.run_line_magic(name, line)

    def run(self, *cells: str) -> None:
        for cell in cells:
            self._shell.run_cell(cell)  # type: ignore[no-untyped-call]  # IPython's


@pytest.mark.parametrize("mode", ["Plain", "Context", "Verbose", "Minimal"])
def test_ipython_shows_one_line_in_every_mode(
    mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell()
    shell.magic("xmode", mode)
    capsys.readouterr()

    shell.run(
        "from imagen_widget.errors import ContentRejected",
        "raise ContentRejected('Refused.', remedy='Say it another way.')",
    )

    shown = capsys.readouterr()
    assert (shown.out + shown.err).strip() == "ContentRejected: Refused. Say it another way."


def test_the_whole_trace_is_there_for_who_asks(capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell()
    shell.run(
        "from imagen_widget.errors import QueueError",
        "def deep():\n    raise LookupError('the cause')",
        "try: deep()\nexcept LookupError as e: raise QueueError('Lost.') from e",
    )
    capsys.readouterr()

    shell.magic("tb")

    shown = capsys.readouterr()
    assert "in deep" in shown.out + shown.err
    assert "QueueError: Lost." in shown.out + shown.err


def test_whos_lists_a_series_although_pandas_has_one_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shell = Shell()
    shell.run("from imagen_widget import sweep", "s = sweep('a {animal}', animal=['fox', 'owl'])")
    capsys.readouterr()

    shell.magic("whos")

    assert "Shape: (2,)" in capsys.readouterr().out
