"""Builds the site into build/site: pages, API reference and notebooks; warnings are errors.

`python -m tests.tools.docs`. The sources are those that people read on GitHub. They are copied into
one folder with their links rewritten, so that each link works in both places. The notebooks are
shown with the outputs that `make notebooks` kept, and nothing is fetched.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import imagen_widget
from tests.documents import README, ROOT

DOCS = ROOT / ".github" / "docs"
SOURCES, SITE = ROOT / "build" / "site-sources", ROOT / "build" / "site"
PAGES = ("models", "pictures", "series", "teams", "settings", "errors", "providers", "how")
MORE = {"CHANGELOG.md": "changes", "CONTRIBUTING.md": "contributing", "SECURITY.md": "security"}

_LINK = re.compile(r"(?P<before>\]\(|(?:src|srcset|href)=\")(?P<to>[^)\s\"]+)")
_CODE = re.compile(r"```.*?^```$", re.MULTILINE | re.DOTALL)
_USES = (  # the reference in the order in which a reader meets the names
    ("Asking for pictures", "generate agenerate start sweep batch models login Studio"),
    ("The form and the client", "ImagenWidget ImagenClient"),
    ("Requests and results", "ImageRequest Generation GeneratedImage Input Provenance"),
    ("Jobs and their events", "Job Progress Phase Submitting Submitted Fetching LogLine"),
    ("Series", "Series Plan Row Grid Compared Pick"),
    ("Models", "Models Model Field PictureLimits Price Checked"),
    ("History", "History Filter Record State KeptImage Resumed Spending"),
    ("Settings", "Settings Secret Limit Prices"),
    (
        "Providers",
        "Provider Account Capabilities Ticket Queued Running Done Finished Served CancelAnswer"
        " Call Answer",
    ),
)


def places() -> dict[Path, str]:
    """Return where each source file goes on the site."""
    files = {README: "index.md", ROOT / "LICENSE": "LICENSE.txt"}
    files |= {DOCS / f"{name}.md": f"{name}.md" for name in PAGES}
    files |= {DOCS.parent / name: f"{to}.md" for name, to in MORE.items()}
    files |= {ROOT / "tests/bench/RESULTS.md": "measurements.md"}
    for folder in (DOCS.parent / "images", ROOT / "notebooks"):
        files |= {
            path: f"{folder.name}/{path.name}"
            for path in folder.iterdir()
            if path.suffix in {".webp", ".ipynb"}
        }
    return files


def assemble() -> None:
    """Write the sources of the site, and the page that lists the public names."""
    shutil.rmtree(SOURCES, ignore_errors=True)
    files = places()
    for path, to in files.items():
        target = SOURCES / to
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in {".md", ".ipynb"}:
            text = rewritten(path.read_text("utf-8"), path, files)
            target.write_text(text + (contents() if path == README else ""), encoding="utf-8")
        else:
            shutil.copy(path, target)
    (SOURCES / "reference.rst").write_text(reference(), encoding="utf-8")


def rewritten(text: str, path: Path, files: Mapping[Path, str]) -> str:
    """Return a page with its links to files turned into links to their places on the site."""
    here = Path(files[path]).parent

    def turned(match: re.Match[str]) -> str:
        to, hash_sign, anchor = match["to"].partition("#")
        if not to or ":" in to:
            return match[0]
        target = (path.parent / unquote(to)).resolve()
        if target not in files:
            raise SystemExit(f"{path.relative_to(ROOT)}: {to} is not a page of the site")
        place = os.path.relpath(files[target], here)
        return f"{match['before']}{place}{hash_sign}{anchor}"

    if path.suffix == ".ipynb":  # its pictures are data, and its links lead to its neighbours
        return text
    parts, end = [], 0
    for code in [*_CODE.finditer(text), None]:
        parts.append(_LINK.sub(turned, text[end : code.start() if code else None]))
        parts.append(code[0] if code else "")
        end = code.end() if code else end
    return "".join(parts)


def contents() -> str:
    """Return the site's tables of contents, which stand on its first page."""
    notebooks = [f"notebooks/{path.stem}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    lists = {
        "Pages": [*PAGES, "reference"],
        "Notebooks": notebooks,
        "Project": [*MORE.values(), "measurements"],
    }
    lines = []
    for caption, names in lists.items():
        lines += ["", ":::{toctree}", ":hidden:", f":caption: {caption}", "", *names, ":::"]
    return "\n".join([*lines, ""])


def reference() -> str:
    """Return the page that has the docstrings of all public names."""
    lines = [*_heading("Reference", "="), "Everything that can be imported from ``imagen_widget``."]
    listed = {"__version__", "errors", *" ".join(names for _, names in _USES).split()}
    others = " ".join(sorted(set(imagen_widget.__all__) - listed))
    for title, names in (*_USES, *([("More", others)] if others else [])):
        lines += _heading(title, "-")
        for name in names.split():
            kind = "autoclass" if isinstance(getattr(imagen_widget, name), type) else "autofunction"
            lines += [f".. {kind}:: imagen_widget.{name}", ""]
    lines += _heading("Errors", "-")
    for name in ["ImagenError", *sorted(set(imagen_widget.errors.__all__) - {"ImagenError"})]:
        lines += [f".. autoexception:: imagen_widget.errors.{name}", ""]
    return "\n".join(lines)


def _heading(title: str, line: str) -> list[str]:
    return ["", title, line * len(title), ""]


class _Page(HTMLParser):
    """Collects what a page links to, and the names that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = {"", "top"}
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in {"href", "src", "srcset"} and value:
                self.links.append(value)
            elif name in {"id", "name"} and value:
                self.names.add(value)


def broken_links(site: Path) -> Iterator[str]:
    """Yield each link between the pages of the site that leads nowhere."""
    pages = {path: _Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            named = pages[target].names if target in pages else {"", unquote(parts.fragment)}
            if not target.exists() or unquote(parts.fragment) not in named:
                yield f"{path.relative_to(site)}: {link}"


def main() -> int:
    """Build the site and check its links; return the exit status."""
    from sphinx.cmd.build import build_main

    assemble()
    shutil.rmtree(SITE, ignore_errors=True)
    cache = ROOT / "build" / "site-cache"
    options = ("-b", "html", "-q", "-W", "--keep-going", "-E", "-c", str(DOCS), "-d", str(cache))
    status = build_main([*options, str(SOURCES), str(SITE)])
    shutil.copytree(SOURCES / "images", SITE / "images")  # which HTML in the pages shows
    broken = sorted(set(broken_links(SITE))) if status == 0 else []
    for link in broken:
        print(f"A link leads nowhere: {link}", file=sys.stderr)
    if status == 0 and not broken:
        print(f"{SITE.relative_to(ROOT)}/index.html: {len(list(SITE.rglob('*.html')))} pages")
    return status or bool(broken)


if __name__ == "__main__":
    sys.exit(main())
