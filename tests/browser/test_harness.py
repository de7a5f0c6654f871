"""The browser harness drives each front end: notebooks open, cells run, widgets are clicked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser.notebook_page import (
    interrupt,
    open_notebook,
    run_all,
    run_cell,
    save_notebook,
    screenshot,
    start_cell,
)

if TYPE_CHECKING:
    from tests.browser.jupyter_server import JupyterServer

pytestmark = pytest.mark.browser

BUTTON = """
import ipywidgets
button = ipywidgets.Button(description="Count the foxes")
answer = ipywidgets.HTML("no fox yet")
def clicked(_):
    answer.value = "one fox"
button.on_click(clicked)
ipywidgets.VBox([button, answer]).add_class("harness")
"""


def test_a_button_is_clicked_and_answers(page: Page, server: JupyterServer) -> None:
    server.write_notebook("button.ipynb", [BUTTON])
    open_notebook(page, server, "button.ipynb")
    if server.front_end != "voila":  # Voila has run the cells when the page is there
        run_all(page)
    widget = page.locator(".harness")

    widget.get_by_role("button", name="Count the foxes").click()

    expect(widget.get_by_text("one fox")).to_be_visible()
    assert screenshot(page, f"harness-{server.front_end}").stat().st_size > 5_000


@pytest.mark.parametrize("front_end", ["lab", "notebook7"])
def test_single_cells_run_in_the_order_that_is_asked(
    page: Page, front_end: str, request: pytest.FixtureRequest
) -> None:
    server: JupyterServer = request.getfixturevalue(front_end)
    server.write_notebook("order.ipynb", ["x = 'first'", "x = 'second'", "print(x)"])
    open_notebook(page, server, "order.ipynb")

    for index in (1, 0, 2):
        run_cell(page, index)

    expect(page.locator(".jp-OutputArea-output")).to_have_text("first\n")


def test_an_interrupt_ends_a_sleeping_cell_and_the_saved_file_says_so(
    page: Page, lab: JupyterServer
) -> None:
    lab.write_notebook("sleep.ipynb", ["print('asleep'); import time; time.sleep(600)"])
    open_notebook(page, lab, "sleep.ipynb")
    start_cell(page, 0)
    expect(page.get_by_text("asleep", exact=True)).to_be_visible()

    interrupt(page)
    expect(page.get_by_text("KeyboardInterrupt").first).to_be_visible()
    save_notebook(page)

    saved = nbformat.read(lab.root / "sleep.ipynb", as_version=4)
    assert saved.cells[0].outputs[-1].ename == "KeyboardInterrupt"
