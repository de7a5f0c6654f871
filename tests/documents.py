"""The Markdown pages that people read, taken apart for tests: fences, links, tables.

Nothing here runs anything.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / ".github").rglob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Fence:
    """A block of code in a page."""

    language: str
    text: str
    line: int


def fences(page: Path) -> list[Fence]:
    """Return the blocks of code of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Fence(match[1], match[2], text.count("\n", 0, match.start()) + 1)
        for match in _FENCE.finditer(text)
    ]


def commands(fence: Fence) -> list[str]:
    """Return the lines of a shell block, without comments."""
    lines = (re.sub(r"(^|\s)#.*", "", line).rstrip() for line in fence.text.splitlines())
    return [line for line in lines if line]


def links(page: Path) -> list[str]:
    """Return what a page points to, by Markdown or by HTML."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [match[1] or match[2] for match in _LINK.finditer(text)]


def anchors(page: Path) -> set[str]:
    """Return the names under which a page's headings can be linked to, as GitHub makes them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in _HEADING.findall(text)
    }


def table(page: Path, first_heading: str) -> list[list[str]]:
    """Return the rows of the table whose first column has this heading, without markup of code."""
    rows = [
        [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]
        for line in _table_lines(page.read_text(encoding="utf-8"), first_heading)
    ]
    return rows[2:]


def _table_lines(text: str, first_heading: str) -> Iterator[str]:
    inside = False
    for line in text.splitlines():
        inside = line.startswith(f"| {first_heading} |") or (inside and line.startswith("|"))
        if inside:
            yield line


def project_files() -> list[Path]:
    """Return the project's files as a clone would have them: what git tracks or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def install_example(folder: Path) -> Path:
    """Write the package that the page about providers shows, as pip would install it."""
    page = ROOT / ".github" / "docs" / "providers.md"
    source = next(fence for fence in fences(page) if fence.language == "python")
    info = folder / "acme_imagen-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "acme_imagen.py").write_text(source.text, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-imagen\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[imagen_widget.providers]\nacme = acme_imagen:Acme\n")
    return folder


def copy_project(folder: Path) -> Path:
    """Copy the project into a folder, as a clone would, and return the folder."""
    for path in project_files():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        target.chmod(path.stat().st_mode)
    return folder
