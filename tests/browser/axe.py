"""axe-core in the page: what it finds wrong with the widget for people who cannot see or point."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

VERSION = "4.14.1"
FOLDER = Path(__file__).parents[2] / "build" / "axe"
FETCH_SECONDS = 120.0

# JupyterLab's body has no height, so axe would take all text for hidden and skip its colours.
# A dialog is in the top layer, where nothing cuts it off; axe does not know that.
SHOW_BODY = """
html, body { height: 100% !important; overflow: visible !important; }
:has(dialog[open]) { overflow: visible !important; }
"""
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


def violations(page: Page, selector: str, *, unsure: bool = False) -> list[Any]:
    """Return what axe objects to within an element: rule, impact, markup.

    With `unsure` also what it could not judge.
    """
    if not page.evaluate("() => Boolean(window.axe)"):
        page.add_style_tag(content=SHOW_BODY)
        page.add_script_tag(path=script())
    found = page.evaluate(RUN, selector)
    assert found["contrast"], "axe compared no colours: its green would be false"
    return [*found["violations"], *(found["incomplete"] if unsure else ())]
