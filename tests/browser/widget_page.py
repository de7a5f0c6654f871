"""The widget on a page, as a test sees it: its parts by their roles and names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.notebook_page import open_notebook, run_all

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.jupyter_server import JupyterServer

expect.set_options(timeout=30_000)  # a machine with much to do must fail no test

CELL = "from imagen_widget._widget import ImagenWidget\nwidget = ImagenWidget({})\nwidget"
MEAN_COLOUR = """(image) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}"""


class WidgetPage:
    """A page with one widget, ready for use."""

    def __init__(self, page: Page, root: Locator) -> None:
        self.page = page
        self.root = root

    @property
    def prompt(self) -> Locator:
        return self.root.get_by_role("textbox", name="Prompt", exact=True)

    @property
    def generate(self) -> Locator:
        return self.button("Generate")

    @property
    def status(self) -> Locator:
        return self.root.locator(".imagen-status")

    @property
    def trouble(self) -> Locator:
        return self.root.get_by_role("alert")

    @property
    def cards(self) -> Locator:
        return self.root.locator(".imagen-create .imagen-card")

    @property
    def entries(self) -> Locator:
        return self.root.locator(".imagen-entry")

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def make(self, prompt: str) -> None:
        """Type a prompt and press Generate."""
        self.prompt.fill(prompt)
        self.generate.click()

    def make_and_wait(self, prompt: str, *, pictures: int = 1) -> None:
        """Type a prompt, press Generate, and wait for the pictures."""
        before = self.cards.count()
        self.make(prompt)
        expect(self.cards).to_have_count(before + pictures)


def open_widget(page: Page, server: JupyterServer, name: str, arguments: str = "") -> WidgetPage:
    """Open a notebook that shows a widget, and run it."""
    server.write_notebook(name, [CELL.format(arguments)])
    open_notebook(page, server, name)
    if server.front_end != "voila":  # Voila has run the cells when the page is there
        run_all(page)
    return find_widget(page)


def find_widget(page: Page) -> WidgetPage:
    """Wait for the page's widget, and for its script layer."""
    root = page.locator(".imagen.imagen-live")
    expect(root).to_be_visible()
    return WidgetPage(page, root)
