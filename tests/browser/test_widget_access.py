"""The widget for everybody: axe-core finds nothing, hostile texts stay texts, narrow pages hold."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import violations
from tests.browser.conftest import DEMO_SECONDS
from tests.browser.jupyter_server import JupyterServer, running_server
from tests.browser.notebook_page import open_notebook, run_all
from tests.browser.widget_page import find_widget, open_widget
from tests.hostile import HOSTILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.browser.jupyter_server import FrontEnd

pytestmark = pytest.mark.browser

Theme = Literal["light", "dark"]
NARROW_PIXELS = 360

FEED = """
import imagen_widget._panel._events as events
from imagen_widget._panel._state import Trouble
def feed(text):
    pump = widget._controller._pump
    widget.prompt.value = text
    pump.tell(events.Troubled(Trouble(text, text)))
    pump.tell(events.Connected(text))
    return pump
"""

SHOW = """
from imagen_widget._request import ImageRequest
progress = type("P", (), {"phase": "running", "elapsed": 1.0, "position": None})()
pump = feed("\\n".join(texts))
for text in texts[-8:]:
    pump.tell(events.Pressed(pump.state.last_number * 10.0, again=ImageRequest.create(text)))
    pump.tell(events.Progressed(pump.state.last_number, progress, "\\n".join(texts)))
"""


@pytest.fixture(scope="module")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[FrontEnd], JupyterServer]]:
    """Return a function that gives a front end's server in the dark theme."""
    with contextlib.ExitStack() as servers:
        running: dict[FrontEnd, JupyterServer] = {}

        def get(front_end: FrontEnd) -> JupyterServer:
            if front_end not in running:
                server = running_server(
                    front_end,
                    tmp_path_factory.mktemp(f"dark-{front_end}"),
                    theme="dark",
                    settings={"IMAGEN_DEMO_SECONDS": DEMO_SECONDS},
                )
                running[front_end] = servers.enter_context(server)
            return running[front_end]

        yield get


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("front_end", ["lab", "notebook", "voila"])
def test_axe_finds_nothing_in_any_state(
    page: Page,
    serve: Callable[[FrontEnd], JupyterServer],
    dark: Callable[[FrontEnd], JupyterServer],
    front_end: FrontEnd,
    theme: Theme,
) -> None:
    server = (serve if theme == "light" else dark)(front_end)
    widget = open_widget(page, server, "axe.ipynb", "num_images=2")
    found = {"idle": violations(page, ".imagen")}

    widget.make("a fox in the queue [demo:slow=60]")
    expect(widget.status).to_contain_text(" s · demo")
    found["running"] = violations(page, ".imagen")
    widget.button("Cancel").click()
    expect(widget.status).to_have_text("Cancelled, not billed.")

    widget.make("a lost fox [demo:fail]")
    expect(widget.trouble).to_be_visible()
    found["error"] = violations(page, ".imagen")

    widget.button("Advanced").click()
    widget.make_and_wait("two foxes", pictures=2)
    found["done"] = violations(page, ".imagen")
    widget.cards.first.get_by_role("button", name="Open large").click()
    found["large"] = violations(page, ".imagen")
    page.keyboard.press("Escape")
    widget.button("Copy as code").first.click()
    found["code"] = violations(page, ".imagen")
    page.keyboard.press("Escape")

    widget.button("History").click()
    expect(widget.entries.first).to_be_visible()
    found["history"] = violations(page, ".imagen")

    assert {state: objections for state, objections in found.items() if objections} == {}


def test_hostile_texts_are_shown_and_none_of_them_acts(page: Page, server: JupyterServer) -> None:
    foreign: list[str] = []
    page.on("request", lambda r: foreign.append(r.url) if ":9/" in r.url else None)
    cells = [
        "from imagen_widget._widget import ImagenWidget\nwidget = ImagenWidget()\nwidget",
        FEED,
        f"texts = {HOSTILE!r}",
        SHOW,
    ]
    server.write_notebook("hostile.ipynb", cells)
    open_notebook(page, server, "hostile.ipynb")
    if server.front_end != "voila":
        run_all(page)
    widget = find_widget(page)
    expect(widget.root.locator(".imagen-job")).to_have_count(8)

    shown = widget.root.inner_text()
    typed = widget.prompt.input_value()
    page.wait_for_function("() => document.fonts.ready.then(() => true)")

    for text in HOSTILE:
        assert text in typed
        assert " ".join(text.split()) in " ".join(shown.split()), text
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.querySelectorAll('.imagen script, .imagen iframe').length") == 0
    assert foreign == []


def test_a_page_of_360_pixels_needs_no_sideways_scrolling(page: Page, voila: JupyterServer) -> None:
    page.set_viewport_size({"width": NARROW_PIXELS, "height": 1600})
    widget = open_widget(page, voila, "narrow.ipynb", "num_images=4")
    widget.make_and_wait("a narrow fox", pictures=4)
    widget.button("Advanced").click()

    overflow = widget.root.evaluate("""root => [...root.querySelectorAll("*")]
        .filter((e) => e.checkVisibility() && !e.closest(".imagen-unseen, [popover]"))
        .filter((e) => e.getBoundingClientRect().right > root.getBoundingClientRect().right + 1)
        .map((e) => e.className)""")

    assert overflow == []
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW_PIXELS
