"""What stays: pictures in the saved notebook, history over kernels, a live status meanwhile."""

import json
import re

import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Page, expect

from tests.browser.jupyter_server import JupyterServer
from tests.browser.notebook_page import (
    open_notebook,
    run_all,
    run_cell,
    save_notebook,
    start_cell,
)
from tests.browser.widget_page import CELL, WidgetPage, find_widget, open_cells

pytestmark = pytest.mark.browser

MAX_BYTES_A_PICTURE = 150_000
MAX_KEPT_BYTES = 2_100_000
PAUSE_MS = 1_000.0
RESTART = "() => jupyterapp.shell.currentWidget.sessionContext.restartKernel()"
SHUT_DOWN = "() => jupyterapp.shell.currentWidget.sessionContext.shutdown()"
THIRTY = """
import asyncio
numbers = iter(range(30))
for _ in range(5):  # six at a time, as many as the form shows
    prompts = [f"fox number {next(numbers)}" for _ in range(6)]
    given = {"num_images": 4, "image_size": "square"}
    await asyncio.gather(*(widget.generate(prompt=prompt, **given) for prompt in prompts))
"""
# A second is twenty by the kernel's clock
FAST = """
import time
began, clock = time.monotonic(), time.monotonic
time.monotonic = lambda: began + 20 * (clock() - began)
"""
# The browser's own notifications, granted by the test, and a note of those that were made
HIDE = """() => {
    Object.defineProperty(document, "hidden", { get: () => true, configurable: true });
    window.told = [];
    window.Notification = class extends Notification {
        constructor(...given) {
            super(...given);
            window.told.push(this);
        }
    };
}"""
IN_OUTPUT = """
%load_ext imagen_widget
import ipywidgets
out = ipywidgets.Output()
out
"""
INTO_OUTPUT = """
with out:
    print("printed before")
    %imagen --no-wait a fox among words [demo:slow=3]
    print("printed after")
"""
WAIT_IN_OUTPUT = """
from imagen_widget import generate
with out:
    print("printed before")
    made = generate("a fox that takes a while [demo:slow=3]")
    print("printed after")
"""
MOVING = """(root) => root.getAnimations({ subtree: true })
    .filter((one) => one.playState === "running").length"""


def open_widget(page: Page, server: JupyterServer, name: str, arguments: str = "") -> WidgetPage:
    return open_cells(page, server, name, [CELL.format(arguments)])


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
    assert saved.stat().st_size - before <= 4 * MAX_BYTES_A_PICTURE
    exported, _ = HTMLExporter().from_filename(str(saved))  # type: ignore[no-untyped-call]
    assert exported.count('alt="four large foxes"') == 4
    assert "widgets" not in json.loads(saved.read_text())["metadata"]


@pytest.mark.timeout(600)
def test_thirty_jobs_in_notebook7_leave_all_pictures_in_it_and_the_form_out_of_any_box(
    page: Page, notebook7: JupyterServer
) -> None:
    widget = open_cells(
        page, notebook7, "thirty.ipynb", [CELL.format("model='flux-dev', demo_seconds=0"), THIRTY]
    )
    expect(widget.root.get_by_text("of 24 earlier jobs are in History")).to_be_visible()
    box = widget.root.evaluate("""(root) => {
        const area = root.closest(".jp-Cell-outputArea");
        return [area.clientHeight, area.scrollHeight, root.offsetHeight];
    }""")
    assert box[0] >= box[2]  # the form is seen whole
    assert abs(box[0] - box[1]) <= 2

    save_notebook(page)
    page.evaluate(SHUT_DOWN)
    saved = notebook7.root / "thirty.ipynb"
    assert saved.stat().st_size <= MAX_KEPT_BYTES
    open_notebook(page, notebook7, "thirty.ipynb")

    expect(page.locator(".imagen-kept img")).to_have_count(120)
    expect(page.get_by_role("img", name="fox number 0").first).to_be_visible()


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


@pytest.mark.parametrize("front_end", ["lab", "notebook7"])
def test_a_restarted_kernel_is_said_in_one_line_and_its_job_can_be_fetched(
    page: Page, front_end: str, request: pytest.FixtureRequest
) -> None:
    server: JupyterServer = request.getfixturevalue(front_end)
    widget = open_widget(page, server, "restarted.ipynb")
    widget.make(f"a fox of a dead kernel in {front_end} [demo:slow=8]")
    expect(widget.status).to_contain_text(re.compile(r"\d s · demo"))
    page.evaluate(RESTART)

    dead = page.locator(".imagen.jupyter-widgets-disconnected")
    expect(dead.get_by_text("The kernel was restarted: run the cell again")).to_be_visible()
    assert dead.evaluate(MOVING) == 0
    icons = "e => getComputedStyle(e, '::before').content === 'none'"
    loose = dead.locator(".jupyter-widgets-disconnected")
    assert all(node.evaluate(icons) for node in loose.all()[:20])
    run_all(page)
    widget = find_widget(page)

    expect(
        widget.root.get_by_text("1 job of an earlier kernel can still be fetched.")
    ).to_be_visible()
    assert "paid" not in widget.root.inner_text()
    widget.button("Fetch").click()
    expect(widget.cards).to_have_count(1)
    expect(widget.button("Fetch")).to_be_hidden()


def test_what_is_typed_reaches_the_kernel_at_a_pause(page: Page, lab: JupyterServer) -> None:
    cells = [CELL.format(""), "print(f'typed: {widget.prompt.value}')"]
    widget = open_cells(page, lab, "typed.ipynb", cells)

    widget.prompt.fill("a fox that nobody clicked")
    page.wait_for_timeout(PAUSE_MS)
    run_cell(page, 1)

    expect(page.get_by_text("typed: a fox that nobody clicked")).to_be_visible()
    expect(widget.prompt).to_have_value("a fox that nobody clicked")


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
    widget.entries.get_by_role("button", name="Show these pictures").click()
    expect(widget.cards).to_have_count(1)
    widget.button("History").click()
    widget.entries.get_by_role("button", name="Use settings").click()

    expect(widget.prompt).to_have_value("a fox of the first kernel")
    expect(widget.button("9:16")).to_have_attribute("aria-pressed", "true")


def test_the_status_goes_on_while_another_cell_sleeps(page: Page, lab: JupyterServer) -> None:
    cells = (CELL.format(""), "import time\nprint('asleep')\ntime.sleep(8)\nprint('awake')")
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
    expect(widget.status).to_have_text("Cancelled, not billed.")


def test_what_is_printed_into_an_output_while_a_job_goes_on_stays(
    page: Page, lab: JupyterServer
) -> None:
    lab.write_notebook("output.ipynb", [IN_OUTPUT, INTO_OUTPUT])
    open_notebook(page, lab, "output.ipynb")
    run_all(page)
    out = page.locator(".jp-Cell-outputArea").first

    expect(out.get_by_role("img", name="a fox among words")).to_be_visible()

    expect(out).to_contain_text("printed before")
    expect(out).to_contain_text("printed after")
    expect(out.get_by_role("img")).to_have_count(1)


def test_what_a_block_printed_stays_when_a_call_takes_a_while(
    page: Page, lab: JupyterServer
) -> None:
    cells = (IN_OUTPUT, WAIT_IN_OUTPUT)
    lab.write_notebook("waits.ipynb", cells)
    open_notebook(page, lab, "waits.ipynb")
    run_cell(page, 0)
    out = page.locator(".jp-Cell-outputArea").first
    start_cell(page, 1)

    expect(out).to_contain_text(re.compile(r"printed before.*\d s · demo", re.DOTALL))
    expect(out).to_contain_text("printed after")
    expect(out.locator(".widget-html")).to_have_count(0)  # the kernel knows what was captured

    words = out.inner_text()
    assert re.search(r"printed before\s+1 image · [^\n]+\s+printed after\s*$", words), words


def test_a_job_of_more_than_twenty_seconds_that_ends_in_a_hidden_tab_is_told(
    page: Page, lab: JupyterServer
) -> None:
    widget = open_cells(page, lab, "patient.ipynb", [CELL.format(""), FAST])
    page.context.grant_permissions(["notifications"])
    page.evaluate(HIDE)

    widget.make("a patient fox [demo:slow=2]")

    page.wait_for_function("document.title.startsWith('✓ 1 image')")
    widget.make("another patient fox [demo:slow=2]")
    page.wait_for_function("window.told.length === 2")
    told = page.evaluate("window.told.map((one) => [one.title, one.body])")
    assert [(title, body[:7]) for title, body in told] == [("Imagen", "1 image")] * 2
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_function("!document.title.startsWith('✓')")
