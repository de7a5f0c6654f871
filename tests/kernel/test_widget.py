"""The widget in real kernels: clicks on any thread, live status, pictures in the cell's output."""

from __future__ import annotations

import pytest

from tests.kernel.conftest import DEMO_SECONDS
from tests.kernel.harness import Kernel

pytestmark = pytest.mark.kernel

OPEN = """
from imagen_widget import ImagenWidget
widget = ImagenWidget(prompt="a red fox", num_images=2)
widget
"""
BUTTON = "print(widget.generate_button.model_id)"
MAX_BYTES_AN_IMAGE = 150_000


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Kernel:
    """Return one kernel for all of these tests: each opens a widget of its own."""
    return shared_kernel


def wait_for_pictures(kernel: Kernel, cell: str, count: int) -> str:
    """Wait until the cell's output holds so many pictures, and return its markup."""

    def shown() -> str:
        return "".join(kernel.outcome(cell).data("text/html"))

    kernel.wait_until(lambda: shown().count("data:image/") >= count)
    return shown()


@pytest.mark.parametrize("on_subshell", [False, True])
def test_a_click_brings_pictures_into_the_output_of_the_widgets_cell(
    kernel: Kernel, *, on_subshell: bool
) -> None:
    subshell = kernel.open_subshell() if on_subshell else None
    cell = kernel.start(OPEN)
    kernel.finish(cell)
    button = kernel.run(BUTTON).text.strip()

    kernel.click(button, subshell=subshell)

    kept = wait_for_pictures(kernel, cell, 2)
    assert len(kept) <= 2 * MAX_BYTES_AN_IMAGE
    assert 'alt="a red fox"' in kept
    assert "[<Generation: 2 images" in kernel.run("print([widget.value])").text


def test_the_cell_holds_the_view_with_a_note_for_readers_without_a_kernel(kernel: Kernel) -> None:
    outcome = kernel.run(OPEN)

    (view,) = [
        o for o in outcome.outputs if "application/vnd.jupyter.widget-view+json" in o["data"]
    ]
    assert "needs a running kernel" in view["data"]["text/html"]
    assert outcome.outputs.index(view) == 0


def test_the_status_goes_on_while_another_cell_blocks(kernel: Kernel) -> None:
    kernel.run(f"%env IMAGEN_DEMO_SECONDS=2\n{OPEN}")
    kernel.click(kernel.run(BUTTON).text.strip())

    outcome = kernel.run("""
        import time
        seen = []
        while widget.value is None and len(seen) < 400:
            time.sleep(0.02)
            seen.append(widget.status.value)
        print(len(set(seen)), seen[-1])
    """)
    kernel.run(f"%env IMAGEN_DEMO_SECONDS={DEMO_SECONDS}")

    different, last = outcome.text.split(maxsplit=1)
    assert int(different) >= 5
    assert last.startswith("2 images")


def test_cells_behind_a_working_widget_all_run(kernel: Kernel) -> None:
    click = "widget.generate_button.click()"

    outcomes = kernel.queue([OPEN, click, "a = 1", "b = a + 1", "print(b)"])

    assert [outcome.status for outcome in outcomes] == ["ok"] * 5
    assert outcomes[-1].text == "2\n"


def test_a_double_click_in_the_kernel_is_one_job(kernel: Kernel) -> None:
    cell = kernel.start(OPEN.replace("a red fox", "a hen that is clicked twice"))
    kernel.finish(cell)

    kernel.run("widget.generate_button.click(); widget.generate_button.click()")
    wait_for_pictures(kernel, cell, 2)

    count = "from imagen_widget import History; len(list(History().search('twice')))"
    assert kernel.run(count).value == "1"
