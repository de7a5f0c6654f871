"""The widget on a page, as a test sees it: its parts by their roles and names."""

import base64
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.jupyter_server import JupyterServer
from tests.browser.notebook_page import open_notebook, run_all

expect.set_options(timeout=30_000)  # a machine with much to do must fail no test

CELL = "from imagen_widget import ImagenWidget\nwidget = ImagenWidget({})\nwidget"
FORM = "form.ipynb"
RUN_SOURCE = """async (source) => {
    const notebook = jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = 0;
    notebook.activeCell.model.sharedModel.setSource(source);
    await jupyterapp.commands.execute('notebook:run-cell');
}"""
MEAN_COLOUR = """(image) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}"""
GIVE_FILE = """(node, [type, name, data]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const files = new DataTransfer();
    const type_ = name.endsWith(".txt") ? "text/plain" : "image/png";
    files.items.add(new File([bytes], name, { type: type_ }));
    const options = { bubbles: true, cancelable: true };
    return !node.dispatchEvent(
        type === "paste"
            ? new ClipboardEvent(type, { ...options, clipboardData: files })
            : new DragEvent(type, { ...options, dataTransfer: files }),
    );
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
        return self.root.locator(".imagen-trouble").get_by_role("alert")

    @property
    def cards(self) -> Locator:
        return self.root.locator(".imagen-create .imagen-card")

    @property
    def entries(self) -> Locator:
        return self.root.locator(".imagen-entry")

    @property
    def inputs(self) -> Locator:
        return self.root.locator(".imagen-in")

    @property
    def chooser(self) -> Locator:
        return self.root.get_by_role("combobox", name="Search models")

    @property
    def dialog(self) -> Locator:
        return self.root.locator("dialog.imagen-view")

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def choose(self, words: str) -> None:
        """Choose a model by the keyboard: open the list, type, Enter."""
        self.root.locator(".imagen-pick").click()
        self.chooser.fill(words)
        self.page.keyboard.press("Enter")
        expect(self.chooser).to_be_hidden()

    def make(self, prompt: str) -> None:
        """Type a prompt and press Generate."""
        self.prompt.fill(prompt)
        self.generate.click()

    def make_and_wait(self, prompt: str, *, pictures: int = 1) -> None:
        """Type a prompt, press Generate, and wait for the pictures."""
        before = self.cards.count()
        self.make(prompt)
        expect(self.cards).to_have_count(before + pictures)

    def give_file(self, how: str, data: bytes, name: str = "fox.png") -> bool:
        """Drop or paste a file onto the prompt; return False if it is left to the browser."""
        arguments = [how, name, base64.b64encode(data).decode()]
        return bool(self.prompt.evaluate(GIVE_FILE, arguments))

    def paint(self, *points: tuple[float, float]) -> None:
        """Paint over the mask's canvas along points, as parts of its width and height."""
        box = self.root.locator(".imagen-canvas canvas").bounding_box()
        assert box is not None
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=4)
        self.page.mouse.up()


def open_widget(page: Page, server: JupyterServer, arguments: str = "") -> WidgetPage:
    """Show a new widget: in the notebook that the page has open, or in one that is opened now."""
    source = CELL.format(arguments)
    is_open = page.url.startswith(server.url) and FORM in page.url
    if server.front_end == "voila" or not is_open:
        server.write_notebook(FORM, [source])
        open_notebook(page, server, FORM)
    if server.front_end != "voila":  # Voila has run the cells when the page is there
        page.evaluate(RUN_SOURCE, source)
    return find_widget(page)


def open_cells(page: Page, server: JupyterServer, name: str, cells: Sequence[str]) -> WidgetPage:
    """Open a notebook of its own whose first cell shows a widget, and run it."""
    server.write_notebook(name, cells)
    open_notebook(page, server, name)
    if server.front_end != "voila":
        run_all(page)
    return find_widget(page)


def find_widget(page: Page) -> WidgetPage:
    """Wait for the page's widget, and for its script layer."""
    root = page.locator(".imagen.imagen-live:not(.jupyter-widgets-disconnected)")
    expect(root).to_be_visible()
    return WidgetPage(page, root)


def kept_pictures(server: JupyterServer) -> set[Path]:
    """Return the paths of all pictures that the server's kernels have kept."""
    folder = server.home / "imagen" / "images"
    return {path for path in folder.rglob("sha256-*") if ".part" not in path.name}
