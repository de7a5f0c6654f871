"""Photographs every state of the widget: `python -m tests.browser.screenshots [light|dark ...]`.

JupyterLab at 768, 1280 and 1920 pixels, Voila at 360, light and dark; series and what is said
before the click in JupyterLab at all four. The files are in build/screenshots.
"""

import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.conftest import FLAGS, find_chromium
from tests.browser.jupyter_server import FrontEnd, JupyterServer, running_server
from tests.browser.notebook_page import SHOTS, open_notebook, run_cell
from tests.browser.test_widget_kept import RESTART
from tests.browser.widget_page import WidgetPage, open_widget

Theme = Literal["light", "dark"]

WIDTHS: tuple[tuple[FrontEnd, int], ...] = (
    ("lab", 768),
    ("lab", 1280),
    ("lab", 1920),
    ("voila", 360),
)
MOUNTAINS = "Layered mountains at dusk, soft fog, pale sun, screen print"
LIGHTHOUSE = "A lighthouse at dusk, soft fog, long exposure"
DEMO_SECONDS = "3"
HEIGHT = 2400  # what overflows JupyterLab's scroller would be cut off
SERIES = (
    "from imagen_widget import ImagenWidget, sweep\n"
    "s = sweep('a {animal} in {style}, screen print', animal=['red fox', 'owl', 'bear'], "
    "style=['snow', 'the night [demo:slow=9]', 'autumn', 'fog [demo:fail]'], "
    "seed=range(2), name='fauna')\ns.start(max_in_flight=2)",
    "await s;",
    "s.grid(facet='seed')",
    "s.compare(0, 2)",
    "s.pick(by='animal')",
    "ImagenWidget(provider='fal', home='no-key')",
    "ImagenWidget(provider='fal', home='over', max_spend='0.01', "
    "api_key='00000000-0000-0000-0000-000000000000:' + '0' * 32)",
)
FADE_MS = 400.0  # so that no picture catches a transition half-way


def main(themes: Sequence[str]) -> int:
    """Photograph all scenes."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        for theme in ("light", "dark"):
            for front_end in ("lab", "voila"):
                if themes and theme not in themes:
                    continue
                with (
                    tempfile.TemporaryDirectory() as folder,
                    running_server(
                        front_end,
                        Path(folder),
                        theme=theme,
                        settings={"IMAGEN_DEMO_SECONDS": DEMO_SECONDS},
                    ) as server,
                ):
                    for width in (w for f, w in WIDTHS if f == front_end):
                        _photograph(browser, server, theme, width)
                    if front_end == "lab":
                        _series(browser, server, theme)
        browser.close()
    return 0


def _photograph(browser: Browser, server: JupyterServer, theme: Theme, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": HEIGHT}, device_scale_factor=1.5)
    defaults = "num_images=4, aspect_ratio='16:9', model='nano-banana-2'"
    camera = Camera(open_widget(page, server, defaults), f"widget-{theme}-{width}")
    _make(camera)
    _look(camera)
    _edit(camera)
    _history(camera)
    if server.front_end == "lab":
        camera.widget.button("Create").click()
        camera.widget.make(f"{LIGHTHOUSE} [demo:slow=60]")
        expect(camera.widget.status).to_contain_text(" s · demo")
        page.evaluate(RESTART)
        expect(page.get_by_text("The kernel was restarted")).to_be_visible()
        camera.whole("restarted")
    page.close()


def _series(browser: Browser, server: JupyterServer, theme: Theme) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": HEIGHT}, device_scale_factor=1.5)
    server.write_notebook("series.ipynb", SERIES)
    open_notebook(page, server, "series.ipynb")
    page.evaluate("() => jupyterapp.shell.collapseLeft()")
    run_cell(page, 0)
    outputs = page.locator(".jp-OutputArea")
    for index in range(len(SERIES)):
        if index == 0:
            expect(page.locator(".ims-strip img").first).to_be_visible()
        else:
            run_cell(page, index)
        for width in (w for _, w in WIDTHS):
            page.set_viewport_size({"width": width, "height": HEIGHT})
            outputs.nth(0 if index < 2 else index).scroll_into_view_if_needed()
            page.wait_for_timeout(FADE_MS)
            shown = ("running", "ended", "grid", "compare", "picker", "no-key", "over-the-cap")
            page.screenshot(path=SHOTS / f"series-{theme}-{width}-{index + 1}-{shown[index]}.png")
    page.close()


class Camera:
    """Takes numbered pictures of one widget."""

    def __init__(self, widget: WidgetPage, stem: str) -> None:
        self.widget, self._stem, self._number = widget, stem, 0

    def form(self, name: str) -> None:
        """Photograph the widget."""
        self.widget.page.wait_for_timeout(FADE_MS)
        self.widget.root.screenshot(path=self._path(name))

    def whole(self, name: str) -> None:
        """Photograph the whole page."""
        self.widget.page.wait_for_timeout(FADE_MS)
        self.widget.page.screenshot(path=self._path(name))

    def _path(self, name: str) -> Path:
        self._number += 1
        return SHOTS / f"{self._stem}-{self._number:02}-{name}.png"


def _make(camera: Camera) -> None:
    widget = camera.widget
    camera.form("idle")
    widget.generate.click()
    expect(widget.trouble).to_be_visible()
    camera.form("no-prompt")
    widget.root.locator(".imagen-pick").click()
    camera.whole("chooser")
    widget.page.keyboard.press("Escape")
    widget.make(f"{MOUNTAINS} [demo:queue=2]")
    expect(widget.status).to_contain_text("In the queue")
    camera.form("queue")
    expect(widget.status).to_contain_text(re.compile("Image |Drawing"))
    camera.form("running")
    expect(widget.cards).to_have_count(4)
    camera.form("done")


def _look(camera: Camera) -> None:
    widget, press = camera.widget, camera.widget.page.keyboard.press
    widget.cards.first.get_by_role("button", name="Open large").click()
    camera.whole("large")
    press("Escape")
    widget.button("Copy as code").first.click()
    camera.whole("code")
    press("Escape")
    for card in (widget.cards.first, widget.cards.last):
        card.get_by_role("button", name="Compare").click()
    camera.whole("compare")
    press("Escape")


def _edit(camera: Camera) -> None:
    widget = camera.widget
    widget.cards.first.get_by_role("button", name="Edit", exact=True).click()
    expect(widget.inputs).to_have_count(1)
    camera.form("edit")
    widget.choose("fal-ai/gpt-image-1.5/edit")
    widget.button("Paint a mask").click()
    widget.paint((0.1, 0.2), (0.9, 0.25), (0.3, 0.4))
    camera.form("mask")
    widget.button("Done").click()
    widget.make("make it night")
    expect(widget.root.locator(".imagen-job")).to_have_count(2)
    expect(widget.generate).to_be_enabled()
    widget.make("make it snow")
    expect(widget.root.locator(".imagen-job")).to_have_count(3)
    camera.form("several")
    expect(widget.cards).to_have_count(12)
    widget.choose("qwen image")
    widget.button("Advanced").click()
    widget.root.get_by_role("textbox", name="LoRAs").fill('[{"path": "harbour.safetensors"]')
    widget.page.keyboard.press("Tab")
    camera.form("bad-value")
    widget.root.get_by_role("button", name="LoRAs: leave it").click()
    widget.make(f"{LIGHTHOUSE} [demo:fail]")
    expect(widget.trouble).to_be_visible()
    camera.form("error")


def _history(camera: Camera) -> None:
    widget = camera.widget
    widget.button("History").click()
    expect(widget.entries.first).to_be_visible()
    widget.button("4 stars").first.click()
    camera.form("history")
    widget.root.get_by_role("checkbox").first.click()
    camera.form("ticked")
    widget.button("Delete").click()
    expect(widget.button("Undo")).to_be_visible()
    camera.form("deleted")
    widget.button("Undo").click()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
