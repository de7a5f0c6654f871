"""A notebook in a real browser: opened, run and photographed without relying on focus or keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.jupyter_server import JupyterServer

SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
OPEN_MS = 60_000.0
RUN_MS = 120_000.0

HAS_NOTEBOOK = "() => Boolean(window.jupyterapp?.shell.currentWidget?.sessionContext)"

# A key press may land before the cell has the focus and is lost; a command never is.
READY = """async () => {
    await jupyterapp.restored;
    const panel = jupyterapp.shell.currentWidget;
    await panel.revealed;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
}"""
RUN_ALL = "() => jupyterapp.commands.execute('notebook:run-all-cells')"
RUN_CELL = """async (index) => {
    jupyterapp.shell.currentWidget.content.activeCellIndex = index;
    await jupyterapp.commands.execute('notebook:run-cell');
}"""
SAVE = "() => jupyterapp.commands.execute('docmanager:save')"
INTERRUPT = "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.interrupt()"


def open_notebook(page: Page, server: JupyterServer, name: str) -> None:
    """Open a notebook and wait until it can run: its kernel answers, or Voila has run it."""
    page.goto(server.address(name), wait_until="domcontentloaded", timeout=OPEN_MS)
    if server.front_end == "voila":
        page.wait_for_selector("#rendered_cells", state="visible", timeout=RUN_MS)
        return
    page.wait_for_function(HAS_NOTEBOOK, timeout=OPEN_MS)
    page.evaluate(READY)


def run_all(page: Page) -> None:
    """Run all cells, as Run > Run All Cells does, and wait until they have ended."""
    page.evaluate(RUN_ALL)


def run_cell(page: Page, index: int) -> None:
    """Run one cell, counted from 0, and wait until it has ended."""
    page.evaluate(RUN_CELL, index)


def start_cell(page: Page, index: int) -> None:
    """Run one cell, counted from 0, without waiting for its end."""
    page.evaluate(f"(index) => {{ void ({RUN_CELL})(index); }}", index)


def interrupt(page: Page) -> None:
    """Do what Kernel > Interrupt does."""
    page.evaluate(INTERRUPT)


def save_notebook(page: Page) -> None:
    """Save the notebook to its file."""
    page.evaluate(SAVE)


def screenshot(page: Page, name: str) -> Path:
    """Save what the page shows as build/screenshots/NAME.png."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    path = SHOTS / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}.png"
    page.screenshot(path=path)
    return path
