"""From a click to what it shows, in JupyterLab: the form's status beside ipywidgets' own echo."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.bench.lines import Line
from tests.browser.conftest import FLAGS, find_chromium
from tests.browser.jupyter_server import running_server
from tests.browser.notebook_page import open_notebook, run_all
from tests.browser.widget_page import CELL, find_widget

QUIET_MS = 1_500.0
ECHO = """
import ipywidgets
echo, said = ipywidgets.Button(description="Echo"), ipywidgets.Label("0")
said.add_class("said")
echo.on_click(lambda _: setattr(said, "value", str(int(said.value) + 1)))
ipywidgets.VBox([echo, said])
"""
# Milliseconds from the click to the first change of the text of a node.
CLICK = """([button, shown]) => new Promise((resolve) => {
    const before = shown.textContent;
    const began = performance.now();
    new MutationObserver((_, observer) => {
        if (shown.textContent === before) return;
        observer.disconnect();
        resolve(performance.now() - began);
    }).observe(shown, { childList: true, characterData: true, subtree: true });
    button.click();
})"""


def measured(*, smoke: bool) -> Iterator[Line]:
    """Yield the line."""
    turns = 1 if smoke else 9
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        with running_server("lab", Path(folder), settings={"IMAGEN_DEMO_SECONDS": "0"}) as lab:
            page = browser.new_page()
            page.set_default_timeout(60_000)
            lab.write_notebook("clicks.ipynb", [CELL.format(""), ECHO])
            open_notebook(page, lab, "clicks.ipynb")
            run_all(page)
            pairs = list(_pairs(page, turns + 1))[1:]  # the first of each warms up
        browser.close()
    ours, theirs = zip(*pairs, strict=True)
    yield Line(
        "JupyterLab: a click to the first status", ours, ("ms", 1e3), 1.5, "a button's echo", theirs
    )
    yield Line("the same, by itself", ours, ("ms", 1e3), 0.15)


def _pairs(page: Page, turns: int) -> Iterator[tuple[float, float]]:
    widget = find_widget(page)
    ours = [widget.generate.element_handle(), widget.status.element_handle()]
    button, label = page.get_by_role("button", name="Echo"), page.locator(".said")
    theirs = [button.element_handle(), label.element_handle()]
    for turn in range(turns):
        prompt = f"a fox, turn {turn}"
        widget.prompt.fill(prompt)
        page.wait_for_timeout(QUIET_MS)  # the text has reached the kernel
        clicked = page.evaluate(CLICK, ours) / 1e3
        expect(widget.cards.first.get_by_role("img", name=prompt)).to_be_visible()
        page.wait_for_timeout(QUIET_MS)
        yield clicked, page.evaluate(CLICK, theirs) / 1e3
