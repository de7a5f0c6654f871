"""Photographs every state of the widget: `python -m tests.browser.screenshots`.

Light and dark in JupyterLab, and 420 pixels wide in Voila; the files are in build/screenshots.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.conftest import CHROMIUMS, FLAGS
from tests.browser.jupyter_server import running_server
from tests.browser.notebook_page import SHOTS
from tests.browser.widget_page import WidgetPage, open_widget

if TYPE_CHECKING:
    from tests.browser.jupyter_server import FrontEnd, JupyterServer

Theme = Literal["light", "dark"]

SCENES: tuple[tuple[FrontEnd, Theme, int], ...] = (
    ("lab", "light", 1280),
    ("lab", "dark", 1280),
    ("voila", "light", 420),
)
MOUNTAINS = "Layered mountains at dusk, soft fog, pale sun, screen print"
LIGHTHOUSE = "A lighthouse at dusk, soft fog, long exposure"
DEMO_SECONDS = "6"
HEIGHT = 2200  # what overflows JupyterLab's scroller would be cut off
FADE_MS = 400.0  # so that no picture catches a transition half-way


def main() -> None:
    """Photograph all scenes."""
    path = next(filter(None, map(shutil.which, CHROMIUMS)))
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        for front_end, theme, width in SCENES:
            with (
                tempfile.TemporaryDirectory() as folder,
                running_server(
                    front_end,
                    Path(folder),
                    theme=theme,
                    settings={"IMAGEN_DEMO_SECONDS": DEMO_SECONDS},
                ) as server,
            ):
                _photograph(browser, server, theme, width)
        browser.close()


def _photograph(browser: Browser, server: JupyterServer, theme: Theme, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": HEIGHT}, device_scale_factor=1.5)
    widget = open_widget(page, server, "pictures.ipynb", "num_images=4, aspect_ratio='16:9'")
    stem = f"widget-{theme}-{width}"
    _shoot(widget, f"{stem}-1-idle")

    widget.generate.click()
    expect(widget.trouble).to_be_visible()
    _shoot(widget, f"{stem}-2-no-prompt")

    widget.make(MOUNTAINS)
    expect(widget.status).to_contain_text("In the queue")
    _shoot(widget, f"{stem}-3-queue")
    expect(widget.status).to_contain_text("Image ")
    _shoot(widget, f"{stem}-4-running")
    expect(widget.cards).to_have_count(4)
    _shoot(widget, f"{stem}-5-done")

    widget.cards.first.get_by_role("button", name="Open large").click()
    _shoot_page(widget, f"{stem}-6-large")
    page.keyboard.press("Escape")
    widget.button("Copy as code").first.click()
    _shoot_page(widget, f"{stem}-7-code")
    page.keyboard.press("Escape")

    widget.make(LIGHTHOUSE)
    expect(widget.generate).to_be_enabled()
    widget.make(f"{MOUNTAINS}, seen from the sea")
    expect(widget.root.locator(".imagen-job")).to_have_count(3)
    expect(widget.generate).to_be_enabled()
    _shoot(widget, f"{stem}-8-several")
    expect(widget.cards).to_have_count(12)

    widget.button("Advanced").click()
    widget.make(f"{LIGHTHOUSE} [demo:fail]")
    expect(widget.trouble).to_be_visible()
    _shoot(widget, f"{stem}-9-error")

    widget.button("History").click()
    expect(widget.entries).to_have_count(3)
    _shoot(widget, f"{stem}-10-history")
    page.close()


def _shoot(widget: WidgetPage, name: str) -> None:
    widget.page.wait_for_timeout(FADE_MS)
    widget.root.screenshot(path=SHOTS / f"{name}.png")


def _shoot_page(widget: WidgetPage, name: str) -> None:
    widget.page.wait_for_timeout(FADE_MS)
    widget.page.screenshot(path=SHOTS / f"{name}.png")


if __name__ == "__main__":
    main()
