"""A series in a real notebook: watched while another cell runs, chosen from by keys, reopened."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import violations
from tests.browser.jupyter_server import JupyterServer
from tests.browser.notebook_page import open_notebook, run_cell, save_notebook, start_cell

pytestmark = pytest.mark.browser

CELLS = (
    "from imagen_widget import sweep\n"
    "s = sweep('a {animal} in {style}', animal=['red fox', 'owl forest'], "
    "style=['snow', 'night', 'autumn'], seed=range(2), name='fauna')\n"
    "s.start(max_in_flight=1)",
    "import time; time.sleep(2)\nprint('slept')\nawait s;",
    "s.grid(facet='seed')",
    "s.compare(0, 6)",
    "p = s.pick(by='animal')\np",
    "print([row.rating for row in s.rows]); print(s.export('out', 'html', where='rating>=3'))",
)
TRUST = """() => {
    for (const cell of jupyterapp.shell.currentWidget.content.model.cells) cell.trusted = true;
}"""
RUN_AND_ADVANCE = """async (index) => {  // Shift+Enter
    jupyterapp.shell.currentWidget.content.activeCellIndex = index;
    await jupyterapp.commands.execute('notebook:run-cell-and-select-next');
}"""
TWICE = """(node, key) => {
    for (let n = 0; n < 2; n++)
        node.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
}"""
SHUT_DOWN = "() => jupyterapp.shell.currentWidget.sessionContext.shutdown()"
SPLIT = "() => getComputedStyle(document.querySelector('.ims-stage')).getPropertyValue('--split')"


def test_a_series_is_watched_chosen_from_by_keys_and_there_when_reopened(
    page: Page, lab: JupyterServer
) -> None:
    lab.write_notebook("series.ipynb", CELLS)
    open_notebook(page, lab, "series.ipynb")
    run_cell(page, 0)
    start_cell(page, 1)
    board = page.locator(".ims-board")
    expect(board).to_contain_text("running")
    expect(page.locator(".ims-strip img").first).to_be_visible()  # while the other cell sleeps
    expect(board).to_contain_text("12 of 12 done")
    expect(board).to_contain_text("finished", use_inner_text=True)
    for index in (2, 3):
        run_cell(page, index)
    page.evaluate(RUN_AND_ADVANCE, 4)

    picker = page.locator(".ims-pick")
    expect(picker).to_be_focused()
    page.keyboard.press("Escape")
    picker.locator(".ims-seat > img").first.click()
    expect(picker).to_be_focused()
    picker.evaluate(TWICE, "5")  # before the kernel has answered: both are for the first picture
    expect(picker.locator(".ims-counts")).to_contain_text("1 rated")
    for key, count in (("3", 2), ("4", 3)):
        page.keyboard.press(key)
        expect(picker.locator(".ims-counts")).to_contain_text(f"{count} rated")
    page.keyboard.press("c")
    expect(picker.get_by_role("slider")).to_be_visible()
    expect(picker).to_contain_text("C closes")
    page.keyboard.press("c")
    found = {}
    for view in (".ims-board", ".ims-grid", ".ims-compare", ".ims-pick"):
        page.locator(view).last.scroll_into_view_if_needed()
        found[view] = violations(page, view)
    assert {view: objections for view, objections in found.items() if objections} == {}

    page.keyboard.press("Escape")
    expect(picker).not_to_be_focused()
    expect(page.locator(".ims-result img")).to_have_count(3)
    expect(page.locator(".ims-result")).to_be_hidden()
    run_cell(page, 5)
    expect(page.get_by_text("[5, 3, 4, 0")).to_be_visible()
    assert len(list((lab.root / "out" / "pictures").iterdir())) == 3
    save_notebook(page)
    page.evaluate(SHUT_DOWN)

    open_notebook(page, lab, "series.ipynb")
    page.evaluate(TRUST)
    expect(page.locator(".ims-result")).to_be_visible()
    expect(page.get_by_text("model not found")).to_be_hidden()
    sections = page.locator(".ims-tabs > section")
    page.locator(".ims-tabs > input").first.focus()
    page.keyboard.press("ArrowRight")
    expect(sections.nth(1)).to_be_visible()
    expect(sections.nth(0)).to_be_hidden()
    page.locator(".ims-compare .ims-split").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(f"() => Math.abs(({SPLIT})() - 0.6) < 0.01")
    cut = re.compile(r"inset\(0px (40|39\.9)")
    expect(page.locator(".ims-compare .ims-top")).to_have_css("clip-path", cut)
    page.get_by_text("Side by side", exact=True).click()
    page.get_by_text("Swap", exact=True).click()
    expect(page.locator(".ims-compare .ims-under")).to_have_css("clip-path", "none")
    page.get_by_role("button", name="Open large").first.click()
    large = page.locator(".ims-large:popover-open")
    expect(large).to_be_visible()
    page.keyboard.press("Escape")
    expect(large).to_have_count(0)


def test_an_untrusted_notebook_shows_all_pictures_with_their_headings(
    page: Page, lab: JupyterServer
) -> None:
    cells = (
        "from imagen_widget import sweep\n"
        "s = sweep('a {animal}', animal=['fox', 'owl', 'fox', 'owl'], seed=range(2), name='two')\n"
        "s.run(quiet=True).grid(facet='seed')",
    )
    lab.write_notebook("untrusted.ipynb", cells)
    open_notebook(page, lab, "untrusted.ipynb")
    run_cell(page, 0)
    save_notebook(page)
    page.evaluate(SHUT_DOWN)
    saved = json.loads((lab.root / "untrusted.ipynb").read_text())
    saved["cells"][0]["source"] = "changed, so that it is not trusted any more"
    (lab.root / "downloaded.ipynb").write_text(json.dumps(saved))

    open_notebook(page, lab, "downloaded.ipynb")

    expect(page.locator(".jp-OutputArea img")).to_have_count(8)
    expect(page.get_by_role("rowheader", name="owl").nth(1)).to_be_visible()
    expect(page.locator(".jp-OutputArea input")).to_have_count(2)
    expect(page.locator(".jp-OutputArea input").first).to_be_hidden()


def test_the_stop_button_stops_a_series_in_the_background(page: Page, lab: JupyterServer) -> None:
    cells = (
        "from imagen_widget import sweep\n"
        "s = sweep('fox {number} [demo:slow=1]', number=range(24), name='many')\n"
        "s.start(max_in_flight=1)",
        "s.resume(max_in_flight=8, quiet=True); print(s.status_counts)",
    )
    lab.write_notebook("stop.ipynb", cells)
    open_notebook(page, lab, "stop.ipynb")
    run_cell(page, 0)
    board, stop = page.locator(".ims-board"), page.get_by_role("button", name="Stop")
    expect(board).to_contain_text("running")
    expect(board.locator("img").first).to_be_visible()
    found = violations(page, ".ims-board")

    stop.click()

    expect(board).to_contain_text("paused")
    expect(stop).to_have_count(0)
    expect(board).to_contain_text("waiting")
    run_cell(page, 1)
    expect(page.get_by_text("{'waiting': 0, 'sent': 0, 'done': 24")).to_be_visible()
    assert not found
