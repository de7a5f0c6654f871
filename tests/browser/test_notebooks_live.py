"""The notebooks in a real browser, all cells at once, as a reader runs them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser.notebook_page import open_notebook, run_all, save_notebook
from tests.browser.widget_page import find_widget
from tests.notebooks import FOLDER, NAMES, texts

if TYPE_CHECKING:
    from tests.browser.jupyter_server import JupyterServer

pytestmark = pytest.mark.browser

APP = "05_studio.ipynb"


@pytest.mark.parametrize("name", [name for name in NAMES if name != APP])
def test_run_all_runs_each_cell_to_its_end(page: Page, lab: JupyterServer, name: str) -> None:
    """A blocking cell with others queued behind it is what a nested loop can get wrong."""
    shutil.copy(FOLDER / name, lab.root / name)
    open_notebook(page, lab, name)

    run_all(page)
    save_notebook(page)

    saved = nbformat.read(lab.root / name, as_version=4)
    code = [cell for cell in saved.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("<img" in text or len(text) > 100_000 for text in texts(outputs))


def test_generate_in_the_app_of_voila_brings_a_picture(page: Page, voila: JupyterServer) -> None:
    shutil.copy(FOLDER / APP, voila.root / APP)
    open_notebook(page, voila, APP)
    widget = find_widget(page)

    widget.generate.click()

    expect(widget.cards).to_have_count(1)
    expect(widget.cards.get_by_role("img")).to_be_visible()
    expect(page.get_by_text("import ImagenWidget")).to_have_count(0)  # an app, no code
