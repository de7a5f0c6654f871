"""The pictures of a series to look at: a grid with headings, facets and pages.

All of it is static HTML that works without a kernel and without a script. A grid holds at most
2 MB: the more pictures, the smaller their copies; what does not fit is said.
"""

import base64
import itertools
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator

from imagen_widget._html import data_uri, escape, tag
from imagen_widget._result import GeneratedImage, cost_text
from imagen_widget._series.layout import Layout, Row, Table, pictures
from imagen_widget._series.parts import (
    OWN_KEYS,
    Tiles,
    axes_text,
    card,
    head,
    key_text,
    plural,
    reason,
    side_for,
    stars,
)
from imagen_widget._series.sheet import first_page
from imagen_widget.errors import one_line

MAX_BYTES = 1_950_000
MAX_PICTURES = 1_300
SHEET_BYTES = 110_000  # of the picture that PDF and LaTeX show, as base64
MAX_TILE_BYTES = 60_000

_MIN_TILE_BYTES = 700
_MARKUP_BYTES = 300  # about, for each picture
_PAGE_PIXELS = 1_100  # wide and high
_LARGE_PIXELS = 256  # copies of this size and more open large
_SMALL_PIXELS = 130
_MAX_NAMED_PAGES, _MAX_PAGE_NAME = 6, 40
_NOT_SHOWN = '<div class="ims-gone">not shown</div>'


def grid(
    rows: Iterable[Row],
    *,
    row: str | None = None,
    col: str | None = None,
    facet: str | None = None,
    title: str = "Series",
    tiles: Tiles | None = None,
) -> "Grid":
    """Return a table of the pictures with headings.

    Raises:
        InvalidRequest: There is no such axis, or one is named twice.
    """
    return Grid(Layout.of(rows, row=row, col=col, facet=facet), title, tiles or Tiles())


class Grid:
    """A table of pictures that displays itself; complete in the saved notebook.

    Args:
        layout: The rows and the axes that head the table.
        title: The series' name.
        tiles: Makes the small copies.
    """

    def __init__(self, layout: Layout, title: str, tiles: Tiles) -> None:
        self._layout, self._title, self._tiles = layout, title, tiles
        self._count = sum(map(pictures, layout.rows))
        share = (MAX_BYTES - SHEET_BYTES) // max(1, min(self._count, MAX_PICTURES))
        self._side = side_for(min(MAX_TILE_BYTES, (share - _MARKUP_BYTES) * 3 // 4))
        self._is_large = self._side >= _LARGE_PIXELS
        columns = len(layout.col_values)
        widest = _PAGE_PIXELS // max(4, min(columns, 4 if self._is_large else 8)) - 12
        self._width = max(64, min(self._side, widest, 260))
        parts = [layout.of_facet(v) for v in layout.values[layout.facet]] if layout.facet else []
        cells = (cell for part in parts or [layout.rows] for cell in layout.table(part).values())
        self._deepest = max((sum(max(1, pictures(r)) for r in cell) for cell in cells), default=1)
        self._across = max(1, min(self._deepest, _PAGE_PIXELS // (columns * (self._width + 10))))
        self._id = f"ims{secrets.token_hex(4)}"

    def __repr__(self) -> str:
        layout = self._layout
        done = sum(row.state == "done" for row in layout.rows)
        axes = {"row": layout.row, "col": layout.col, "facet": layout.facet}
        named = "".join(f", {name}={axis}" for name, axis in axes.items() if axis)
        return f"<Grid {self._title}: {done:,} of {plural(len(layout.rows), 'row')} done{named}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        bundle = {"text/plain": repr(self), "text/html": self._html()}
        if self._count:  # PDF and LaTeX show this
            limit = SHEET_BYTES * 3 // 4
            rows, tiles = self._layout.rows, self._tiles
            jpeg = first_page(rows, title=self._title, tiles=tiles, max_bytes=limit)
            bundle["image/jpeg"] = base64.b64encode(jpeg).decode()
        return bundle

    def _html(self) -> str:
        """Return the markup, drawn first without pictures: their size follows from the rest."""
        shown = max(1, min(self._count, MAX_PICTURES))
        left = (MAX_BYTES - SHEET_BYTES - len(self._markup(0).encode())) * 3 // 4
        return self._markup(min(MAX_TILE_BYTES, max(_MIN_TILE_BYTES, left // shown - 2)))

    def _markup(self, max_bytes: int) -> str:
        self._max_bytes, self._numbers, self._left = max_bytes, itertools.count(), MAX_PICTURES
        layout = self._layout
        costs = [row.generation.cost for row in layout.rows if row.generation is not None]
        facts = [plural(len(layout.rows), "row"), plural(self._count, "picture")]
        if any(costs) and None not in costs:
            facts.append(cost_text(round(sum(cost or 0 for cost in costs), 4)))
        named = [name for name in (layout.row, layout.col, layout.facet) if name]
        about = " × ".join(plural(len(layout.values[name]), name) for name in named) or "all rows"
        top = head(
            self._title, f"Grid · {about}", tag("span", " · ".join(facts), class_="ims-muted")
        )
        kind = "grid ims-small" if self._width < _SMALL_PIXELS else "grid"
        sizes = f"--tile:{self._width}px;--across:{self._across}"
        body = self._facets() if layout.facet else self._pages(layout.rows)
        return card(top, body, self._foot(), parts=("grid",), kind=kind, style=sizes)

    def _facets(self) -> str:
        layout, parts = self._layout, []
        assert layout.facet is not None
        for value in layout.values[layout.facet]:
            rows = layout.of_facet(value)
            count = sum(map(pictures, rows))
            name = f"{escape(layout.heading(layout.facet, value))} <small>{count:,}</small>"
            parts.append((name, self._pages(rows)))
        return self._tabs(layout.facet, parts)

    def _pages(self, rows: list[Row]) -> str:
        """Return one table, in pages of what a screen can hold."""
        layout, table = self._layout, self._layout.table(rows)
        high = self._width + 40
        if layout.is_flow:
            size = max(2, _PAGE_PIXELS // high) * max(1, _PAGE_PIXELS // self._width)
            pages = [self._flow(rows[at : at + size]) for at in range(0, len(rows), size)]
            return pages[0] if len(pages) == 1 else self._tabs("page", _numbered(pages))
        used = {value for value, _ in table}
        heads = [value for value in layout.row_values if value in used]
        size = max(1, round(_PAGE_PIXELS / (-(-self._deepest // self._across) * high)))
        groups = [heads[at : at + size] for at in range(0, len(heads), size)]
        pages = [self._table(group, table) for group in groups]
        names = [f"{escape(group[0])} – {escape(group[-1])}" for group in groups]
        if len(pages) == 1:
            return pages[0]
        few = len(names) <= _MAX_NAMED_PAGES and max(map(len, names)) <= _MAX_PAGE_NAME
        named = list(zip(names, pages, strict=True)) if few else _numbered(pages)
        return self._tabs(layout.row or "page", named)

    def _tabs(self, name: str, parts: list[tuple[str, str]]) -> str:
        """Return the parts, of which one is shown, chosen by radio buttons."""
        group, label = f"{self._id}-{next(self._numbers)}", escape(name)
        shown = f'<div class="ims-tabs" role="group" aria-label="{label}"><span>{label} </span>'
        for number, (text, content) in enumerate(parts):
            # Hidden by its style too: a viewer that drops style sheets shows the label as heading.
            place = f"{group}-{number}"
            shown += (
                f'<input type="radio" name="{group}" id="{place}" style="display:none" {OWN_KEYS}'
                f'{"" if number else " checked"}><label for="{place}">{text}</label>'
                f"<section>{content}</section>"
            )
        return f"{shown}</div>"

    def _table(self, heads: list[str], table: Table) -> str:
        layout, lines = self._layout, []
        if layout.col:
            names = (escape(layout.heading(layout.col, value)) for value in layout.col_values)
            titles = "".join(f'<th scope="col">{name}</th>' for name in names)
            lines.append(f"<thead><tr><td></td>{titles}</tr></thead>")
        for value in heads:
            cells = [table.get((value, column), []) for column in layout.col_values]
            best = max((row.rating for cell in cells for row in cell), default=0)
            shown = (f"<td>{self._flow(cell, best=best)}</td>" for cell in cells)
            name = escape(layout.heading(layout.row, value))
            lines.append(f'<tr><th scope="row">{name}</th>{"".join(shown)}</tr>')
        name = escape(" by ".join(axis for axis in (layout.row, layout.col) if axis))
        region = f'tabindex="0" role="region" aria-label="{name}" {OWN_KEYS}'
        return f'<div class="ims-scroll" {region}><table>{"".join(lines)}</table></div>'

    def _flow(self, rows: list[Row], *, best: int = 0) -> str:
        figures = [figure for row in rows for figure in self._figures(row, best=best)]
        return f'<div class="ims-flow">{"".join(figures)}</div>'

    def _figures(self, row: Row, *, best: int) -> Iterator[str]:
        """Iterate over a row's pictures, or over the one place that says why it has none."""
        rest = self._layout.rest(row) or (key_text(row.key) if self._layout.is_flow else "")
        seed = row.generation.seed if row.generation is not None else None
        words = rest or ("" if seed is None else f"seed {seed}")
        caption = f"<span>{escape(words)}</span>" if words else ""
        if not row.generation:
            yield f"<figure>{_gone(row)}<figcaption>{caption}</figcaption></figure>"
            return
        ring = ' class="ims-best"' if 0 < best == row.rating else ""
        if row.rating or self._width >= _SMALL_PIXELS:
            caption = f"{stars(row.rating)} {caption}"
        for picture in row.generation:
            self._left -= 1
            shown = self._picture(row, picture) if self._left >= 0 else _NOT_SHOWN
            yield f"<figure{ring}>{shown}<figcaption>{caption}</figcaption></figure>"

    def _picture(self, row: Row, picture: GeneratedImage) -> str:
        name = escape(axes_text(row.axes)[:90] or one_line(picture.alt, limit=90) or "picture")
        source = "data:image/webp;base64,"
        if self._max_bytes:
            small = self._tiles.make(picture, self._side, self._max_bytes)
            if small is None:
                return f'<div class="ims-gone">cannot be shown: {escape(picture.media_type)}</div>'
            source = data_uri(small.data, small.media_type)
        image = f'<img src="{source}" alt="{name}">'
        if not self._is_large:
            return image
        # The picture itself becomes the large view, so that its bytes stand here once. What is of
        # no use without the style sheet is hidden for viewers that drop it.
        place = f"{self._id}-{next(self._numbers)}"
        shape = picture.width / picture.height if picture.width and picture.height else 1.0
        opens = f'popovertarget="{place}" {OWN_KEYS}'
        return (
            f'<div class="ims-place" style="--shape:{shape:.3f}"><div id="{place}" popover '
            f'class="ims-large" role="group" aria-label="{name}">{image}'
            f'<span style="display:none"><span>{name}</span>'
            f'<button type="button" {opens}>Close</button></span></div><button type="button" '
            f'class="ims-open" style="display:none" {opens} aria-label="Open large: {name}">'
            "</button></div>"
        )

    def _foot(self) -> str:
        rows, parts = self._layout.rows, []
        states = Counter(row.state for row in rows if row.state != "done")
        if states:
            parts.append(", ".join(f"{count:,} {state}" for state, count in states.items()))
        if not self._layout.is_flow and any(row.rating > 0 for row in rows):
            parts.append("framed: best of its row")
        if self._count > MAX_PICTURES:
            rest = self._count - MAX_PICTURES
            parts.append(f"{rest:,} more pictures do not fit: .sheet(path) has all of them")
        if self._is_large:
            parts.append("Click a picture to see it large, Esc closes.")
        return tag("div", *(tag("span", escape(part)) for part in parts), class_="ims-foot")


def _numbered(pages: list[str]) -> list[tuple[str, str]]:
    return [(str(number), page) for number, page in enumerate(pages, 1)]


def _gone(row: Row) -> str:
    """Return what stands in the place of a picture: the row's state and why."""
    said = f"<b>{row.state.capitalize()}</b>"
    if row.state not in {"waiting", "sent"}:
        why = escape(one_line(reason(row.error), limit=120).rstrip("."))
        billed = "may be billed" if row.billed else "not billed"
        mark = '<i class="ims-mark" aria-hidden="true">!</i>'
        said = f"{mark} {said} <span>{why} · {billed}</span>"
    return f'<div class="ims-gone">{said}</div>'
