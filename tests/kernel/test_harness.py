"""The kernel harness sees what a front end would see, in each ipykernel of the matrix."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.kernel.harness import Kernel, KernelDiedError, KernelTimeoutError

if TYPE_CHECKING:
    from tests.kernel.conftest import StartKernel

pytestmark = pytest.mark.kernel

BUTTON = """
import threading, ipywidgets
button, label = ipywidgets.Button(), ipywidgets.Label()
def clicked(_):
    label.value = threading.current_thread().name
button.on_click(clicked)
print(button.model_id)
"""


def test_the_kernel_runs_the_ipykernel_it_is_named_after(kernel: Kernel, ipykernel: str) -> None:
    version = kernel.run("import ipykernel; print(ipykernel.__version__)").text.strip()

    assert ipykernel in {version, "latest"}
    assert tuple(map(int, version.split(".")[:2])) >= (6, 31)


def test_a_cell_returns_its_value_and_its_text(kernel: Kernel) -> None:
    outcome = kernel.run("print('one'); print('two'); 1 + 1")

    assert (outcome.status, outcome.value, outcome.error) == ("ok", "2", None)
    assert outcome.text == "one\ntwo\n2\n"


def test_an_exception_is_an_error_with_its_words(kernel: Kernel) -> None:
    outcome = kernel.run("raise ValueError('no such fox')")

    assert outcome.status == "error"
    assert outcome.error is not None
    assert (outcome.error.name, outcome.error.value) == ("ValueError", "no such fox")


def test_cells_that_are_queued_run_in_order(kernel: Kernel) -> None:
    outcomes = kernel.queue(["x = [1]", "x.append(2)", "x.append(3)", "x"])

    assert [outcome.status for outcome in outcomes] == ["ok"] * 4
    assert outcomes[-1].value == "[1, 2, 3]"


def test_cells_queued_behind_an_error_are_aborted(kernel: Kernel) -> None:
    outcomes = kernel.queue(["1", "1 / 0", "3", "4"])

    assert [outcome.status for outcome in outcomes] == ["ok", "error", "aborted", "aborted"]


def test_an_interrupt_ends_a_sleeping_cell(kernel: Kernel) -> None:
    cell = kernel.start("import time; print('asleep', flush=True); time.sleep(600)")
    kernel.wait_for_text(cell, "asleep")

    kernel.interrupt()
    outcome = kernel.finish(cell)

    assert outcome.error is not None
    assert outcome.error.name == "KeyboardInterrupt"
    assert kernel.run("1 + 1").value == "2"


def test_an_updated_display_holds_its_last_state_and_lists_the_others(kernel: Kernel) -> None:
    outcome = kernel.run("h = display('a', display_id=True); h.update('b'); h.update('c')")

    assert [data["text/plain"] for data in outcome.updates] == ["'b'", "'c'"]
    assert outcome.data("text/plain") == ["'c'"]


def test_a_display_of_an_earlier_cell_is_updated_there(kernel: Kernel) -> None:
    first = kernel.start("h = display('before', display_id=True)")
    kernel.finish(first)

    later = kernel.run("h.update('after')")

    assert kernel.outcome(first).data("text/plain") == ["'after'"]
    assert later.outputs == ()


def test_a_cleared_output_is_gone(kernel: Kernel) -> None:
    outcome = kernel.run(
        "from IPython.display import clear_output\n"
        "print('old'); clear_output(wait=True); print('new')"
    )

    assert outcome.text == "new\n"


def test_a_click_outside_any_subshell_runs_on_the_main_thread(kernel: Kernel) -> None:
    model_id = kernel.run(BUTTON).text.strip()

    kernel.click(model_id)

    assert kernel.run("label.value").value == "'MainThread'"


def test_a_click_runs_where_its_ipykernel_runs_clicks(kernel: Kernel, ipykernel: str) -> None:
    """JupyterLab sends clicks on a subshell: the matrix is worth its time by this difference."""
    model_id = kernel.run(BUTTON).text.strip()

    kernel.click(model_id, subshell=kernel.open_subshell())
    thread = str(kernel.run("label.value").value)

    assert ("subshell" in thread) == (ipykernel == "7.1.0")


def test_a_cell_that_does_not_end_in_time_is_reported(kernel: Kernel) -> None:
    begun = time.monotonic()

    with pytest.raises(KernelTimeoutError, match="running"):
        kernel.run("import time; time.sleep(600)", seconds=0.5)

    assert time.monotonic() - begun < 30


def test_a_kernel_that_dies_is_reported(kernel: Kernel) -> None:
    with pytest.raises(KernelDiedError):
        kernel.run("import os; os._exit(1)")


def test_a_kernel_that_was_killed_leaves_its_files_to_the_next(start_kernel: StartKernel) -> None:
    first = start_kernel()
    first.run("import os, pathlib; home = pathlib.Path(os.environ['IMAGEN_HOME']); home.mkdir()")
    first.run("(home / 'kept').touch()")
    first.kill()

    second = start_kernel()
    listed = second.run("import os; os.listdir(os.environ['IMAGEN_HOME'])")

    assert listed.value == "['kept']"


def test_no_key_of_ours_reaches_the_kernel(
    monkeypatch: pytest.MonkeyPatch, start_kernel: StartKernel
) -> None:
    monkeypatch.setenv("FAL_KEY", "made-up")

    kernel = start_kernel()

    assert kernel.run("import os; os.environ.get('FAL_KEY', 'none')").value == "'none'"
