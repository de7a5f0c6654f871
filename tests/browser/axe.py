"""axe-core in the page: what it finds wrong with the widget for people who cannot see or point."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.sync_api import Page

VERSION = "4.14.1"
FOLDER = Path(__file__).parents[2] / "build" / "axe"
FETCH_SECONDS = 120.0

# JupyterLab's body has no height, so axe would take all text for hidden and skip its colours.
# A dialog is in the top layer, where nothing cuts it off; axe does not know that. Colours that fade
# from one theme to the other are none of either.
SHOW_BODY = """
html, body { height: 100% !important; overflow: visible !important; }
:has(dialog[open]) { overflow: visible !important; }
* { transition: none !important; }
"""
# The stylesheet and the mark of a theme, without the splash that Lab shows when it changes one
CHANGE_THEME = """async (theme) => {
    let sheet = document.getElementById("dark");
    if (!sheet) {
        sheet = document.createElement("link");
        const address = "/lab/api/themes/@jupyterlab/theme-dark-extension/index.css";
        Object.assign(sheet, { id: "dark", rel: "stylesheet", href: address });
        const loaded = new Promise((done, failed) => {
            Object.assign(sheet, { onload: done, onerror: failed });
        });
        document.body.append(sheet); // behind that of the light one
        await loaded;
    }
    sheet.media = theme === "dark" ? "all" : "not all"; // at once: an enabled one is loaded again
    document.body.dataset.jpThemeLight = String(theme === "light");
}"""
RUN = """async (selector) => {
    const found = await axe.run(selector, { resultTypes: ["violations", "incomplete"] });
    const told = (rules) => rules.map((r) => [r.id, r.impact, r.nodes.map((n) => n.html)]);
    return {
        violations: told(found.violations),
        incomplete: told(found.incomplete),
        contrast: found.passes.filter((p) => p.id === "color-contrast").length,
    };
}"""


def script() -> Path:
    """Return axe's script, fetched once by npm; skip where there is no npm."""
    path = FOLDER / f"axe-{VERSION}.min.js"
    if not path.exists():
        if shutil.which("npm") is None:
            pytest.skip("no npm on this machine to fetch axe-core with")
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["npm", "pack", "--silent", f"axe-core@{VERSION}"],
            cwd=FOLDER,
            check=True,
            timeout=FETCH_SECONDS,
            stdout=subprocess.DEVNULL,
        )
        with tarfile.open(FOLDER / f"axe-core-{VERSION}.tgz") as package:
            member = package.extractfile("package/axe.min.js")
            assert member is not None
            path.write_bytes(member.read())
    return path


def violations(
    page: Page, selector: str, *, themes: Sequence[str | None] = (None,), unsure: bool = False
) -> list[Any]:
    """Return what axe objects to within an element: rule, impact, markup.

    It looks in each of the `themes`, None being the one that the page has. With `unsure` it also
    says what it could not judge.
    """
    if not page.evaluate("() => Boolean(window.axe)"):
        page.add_style_tag(content=SHOW_BODY)
        page.add_script_tag(path=script())
    found: list[Any] = []
    for theme in themes:
        if theme is not None:
            page.evaluate(CHANGE_THEME, theme)
        told = page.evaluate(RUN, selector)
        assert told["contrast"], "axe compared no colours: its green would be false"
        found += [*told["violations"], *(told["incomplete"] if unsure else ())]
    return found
