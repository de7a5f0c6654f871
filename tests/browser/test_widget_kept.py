"""What stays: pictures in the saved notebook, history over kernels, a live status meanwhile."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Page, expect

from tests.browser.notebook_page import open_notebook, run_all, save_notebook, start_cell
from tests.browser.widget_page import find_widget, open_widget

if TYPE_CHECKING:
    from tests.browser.jupyter_server import JupyterServer

pytestmark = pytest.mark.browser

MOST_BYTES_AN_IMAGE = 150_000
RESTART = "() => jupyterapp.shell.currentWidget.sessionContext.restartKernel()"
SHUT_DOWN = "() => jupyterapp.shell.currentWidget.sessionContext.shutdown()"


@pytest.mark.parametrize("front_end", ["lab", "notebook7"])  # Voila shows no later updates
def test_while_the_widget_lives_its_kept_pictures_are_hidden(
    page: Page, front_end: str, request: pytest.FixtureRequest
) -> None:
    widget = open_widget(page, request.getfixturevalue(front_end), "hidden.ipynb", "num_images=2")

    widget.make_and_wait("a fox kept twice", pictures=2)

    expect(page.locator(".imagen-kept img")).to_have_count(2)
    expect(page.locator(".imagen-kept")).to_be_hidden()


def test_four_2k_pictures_are_in_the_saved_notebook_for_150_kb_each(
    page: Page, lab: JupyterServer
) -> None:
    widget = open_widget(page, lab, "saved.ipynb", "num_images=4, resolution='2K'")
    save_notebook(page)
    before = (lab.root / "saved.ipynb").stat().st_size
    widget.make_and_wait("four large foxes", pictures=4)
    expect(page.locator(".imagen-kept img")).to_have_count(4)

    save_notebook(page)

    saved = lab.root / "saved.ipynb"
    assert saved.stat().st_size - before <= 4 * MOST_BYTES_AN_IMAGE
    exported, _ = HTMLExporter().from_filename(str(saved))  # type: ignore[no-untyped-call]  # nbconvert is untyped
    assert exported.count('alt="four large foxes"') == 4
    assert "widgets" not in json.loads(saved.read_text())["metadata"]


def test_a_notebook_opened_without_its_kernel_shows_the_pictures_and_a_note(
    page: Page, lab: JupyterServer
) -> None:
    widget = open_widget(page, lab, "reopened.ipynb")
    widget.make_and_wait("a fox to find again")
    expect(page.locator(".imagen-kept img")).to_have_count(1)
    save_notebook(page)
    page.evaluate(SHUT_DOWN)

    open_notebook(page, lab, "reopened.ipynb")

    expect(page.get_by_text("This form needs a running kernel")).to_be_visible()
    expect(page.get_by_text("model not found")).to_be_hidden()
    picture = page.get_by_role("img", name="a fox to find again")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 500


def test_the_history_survives_the_kernel_and_brings_settings_back(
    page: Page, lab: JupyterServer
) -> None:
    widget = open_widget(page, lab, "history.ipynb", "aspect_ratio='9:16'")
    widget.make_and_wait("a fox of the first kernel")
    page.evaluate(RESTART)
    run_all(page)
    widget = find_widget(page)

    widget.button("History").click()
    search = widget.root.get_by_role("textbox", name="Search")
    search.fill("first kernel")
    search.press("Enter")
    expect(widget.entries).to_have_count(1)
    widget.button("Use settings").click()

    expect(widget.prompt).to_have_value("a fox of the first kernel")
    expect(widget.button("9:16")).to_have_attribute("aria-pressed", "true")


def test_earlier_pictures_can_be_shown_again(page: Page, lab: JupyterServer) -> None:
    widget = open_widget(page, lab, "again.ipynb")
    widget.make_and_wait("a fox to show again")
    page.evaluate(RESTART)
    run_all(page)
    widget = find_widget(page)
    widget.button("History").click()

    widget.entries.first.get_by_role("button", name="Show these pictures again").click()

    expect(widget.cards).to_have_count(1)


def test_the_status_goes_on_while_another_cell_sleeps(page: Page, lab: JupyterServer) -> None:
    cells = (
        "from imagen_widget._widget import ImagenWidget\nwidget = ImagenWidget()\nwidget",
        "import time\nprint('asleep')\ntime.sleep(8)\nprint('awake')",
    )
    lab.write_notebook("busy.ipynb", cells)
    open_notebook(page, lab, "busy.ipynb")
    start_cell(page, 0)
    widget = find_widget(page)
    widget.make("a fox while a cell sleeps [demo:slow=30]")
    expect(widget.status).to_contain_text(re.compile(r"\d\.\d s · demo"))

    start_cell(page, 1)
    expect(page.get_by_text("asleep", exact=True)).to_be_visible()
    first = widget.status.inner_text()
    expect(widget.status).not_to_have_text(first)
    second = widget.status.inner_text()
    expect(widget.status).not_to_have_text(second)

    expect(page.get_by_text("awake", exact=True)).to_have_count(0)
    widget.button("Cancel").click()
    expect(widget.status).to_have_text("Cancelled, not billed.", timeout=15_000)
