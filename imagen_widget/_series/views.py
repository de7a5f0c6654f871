"""The pictures of a series to look at: a grid with headings and pages, and two side by side.

All of it is static HTML that works without a kernel and without a script. A grid holds at most
2 MB: the more pictures, the smaller their copies; what does not fit is said. The line between two
pictures is moved by CSS alone: the place of a range input's thumb is the timeline of an animation;
browsers that cannot do this get an edge to drag.
"""

import base64
import itertools
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from imagen_widget._html import attributes, data_uri, escape, image, tag
from imagen_widget._models import short_name
from imagen_widget._picture import contact_sheet
from imagen_widget._result import GeneratedImage, Generation, cost_text
from imagen_widget._series.parts import (
    OWN_KEYS,
    Layout,
    Row,
    Table,
    Tiles,
    axes_text,
    card,
    head,
    heading,
    key_text,
    plural,
    reason,
    side_for,
    stars,
)
from imagen_widget._series.sheet import first_page
from imagen_widget.errors import InvalidRequest, one_line

MAX_BYTES = 1_950_000
MAX_PICTURES = 1_300
_SHEET_BYTES = 110_000  # of the picture that PDF and LaTeX show, as base64
_MAX_TILE_BYTES = 60_000
_MIN_TILE_BYTES = 700
_MARKUP_BYTES = 300  # about, for each picture
_PAGE_PIXELS = 1_100  # wide and high
_LARGE_PIXELS = 256  # copies of this size and more open large
_SMALL_PIXELS = 130
_MAX_NAMED_PAGES, _MAX_PAGE_NAME = 6, 40
_COMPARED = (1_600, 280_000)  # pixels and bytes of each picture that is compared
_MAX_VALUE = 40  # characters of a value that is compared


class Grid:
    """A table of pictures that displays itself; complete in the saved notebook."""

    def __init__(self, layout: Layout, title: str, tiles: Tiles) -> None:
        self._layout, self._title, self._tiles = layout, title, tiles
        self._count = sum(len(row.images) for row in layout.rows)
        share = (MAX_BYTES - _SHEET_BYTES) // max(1, min(self._count, MAX_PICTURES))
        self._side = side_for(min(_MAX_TILE_BYTES, (share - _MARKUP_BYTES) * 3 // 4))
        self._is_large = self._side >= _LARGE_PIXELS
        columns = len(layout.col_values)
        widest = _PAGE_PIXELS // max(4, min(columns, 4 if self._is_large else 8)) - 12
        self._width = max(64, min(self._side, widest, 260))
        parts = [layout.of_facet(v) for v in layout.values[layout.facet]] if layout.facet else []
        cells = (cell for part in parts or [layout.rows] for cell in layout.table(part).values())
        self._deepest = max((sum(max(1, len(r.images)) for r in cell) for cell in cells), default=1)
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
            limit = _SHEET_BYTES * 3 // 4
            rows, tiles = self._layout.rows, self._tiles
            jpeg = first_page(rows, title=self._title, tiles=tiles, max_bytes=limit)
            bundle["image/jpeg"] = base64.b64encode(jpeg).decode()
        return bundle

    def _html(self) -> str:
        """Return the markup, drawn first without pictures: their size follows from the rest."""
        shown = max(1, min(self._count, MAX_PICTURES))
        left = (MAX_BYTES - _SHEET_BYTES - len(self._markup(0).encode())) * 3 // 4
        return self._markup(min(_MAX_TILE_BYTES, max(_MIN_TILE_BYTES, left // shown - 2)))

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
        return card(top, body, self._foot(), part="grid", kind=kind, style=sizes)

    def _facets(self) -> str:
        layout, parts = self._layout, []
        assert layout.facet is not None
        for value in layout.values[layout.facet]:
            rows = layout.of_facet(value)
            count = sum(len(row.images) for row in rows)
            name = f"{escape(heading(layout.facet, value))} <small>{count:,}</small>"
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
            names = (escape(heading(layout.col, value)) for value in layout.col_values)
            titles = "".join(f'<th scope="col">{name}</th>' for name in names)
            lines.append(f"<thead><tr><td></td>{titles}</tr></thead>")
        for value in heads:
            cells = [table.get((value, column), []) for column in layout.col_values]
            best = max((row.rating for cell in cells for row in cell), default=0)
            shown = (f"<td>{self._flow(cell, best=best)}</td>" for cell in cells)
            name = escape(heading(layout.row, value))
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
            shown = '<div class="ims-gone">not shown</div>'
            if self._left >= 0:
                shown = self._picture(row, picture)
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


# --------------------------------------------------------------------------------- two of them


def find_row(rows: list[Row], what: Any) -> Row:
    """Return the row that a key, a position, partial axes, a row or a generation names.

    Raises:
        InvalidRequest: There is none, or it has no picture.
    """
    found = next((shown for number, shown in enumerate(rows) if _is(shown, number, what)), None)
    if isinstance(what, int) and -len(rows) <= what < 0:
        found = rows[what]
    if found is None:
        raise InvalidRequest(
            f"There is no row {one_line(repr(what), limit=60)}.",
            remedy="Give a position, a key, a dict of axes, a row of .rows, or a generation.",
        )
    if not found.generation:
        raise InvalidRequest(
            f"The row {key_text(found.key)!r} has no picture: it is {found.state}.",
            remedy="Choose one that is done.",
        )
    return found


def _is(shown: Row, number: int, what: Any) -> bool:
    match what:
        case bool():
            return False
        case int():
            return number == what
        case str():
            return what in {shown.key, key_text(shown.key)}
        case Mapping():
            return bool(what) and all(shown.axes.get(name) == v for name, v in what.items())
        case Generation():
            return shown.generation is not None and shown.generation.id == what.id
        case GeneratedImage():
            return any(what.path == picture.path for picture in shown.generation or ())
    return getattr(what, "key", None) == shown.key


class Compared:
    """Two pictures that display themselves with a slider between them."""

    def __init__(self, a: Row, b: Row, tiles: Tiles) -> None:
        self._a, self._b, self._tiles = a, b, tiles

    def __repr__(self) -> str:
        return f"<Compared: {key_text(self._a.key)} | {key_text(self._b.key)}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        bundle = {"text/plain": repr(self), "text/html": self._html()}
        pair = [self._tiles.make(_first(row), *_COMPARED) for row in (self._a, self._b)]
        shown = [picture for picture in pair if picture is not None]
        if shown:  # PDF and LaTeX show this
            bundle["image/jpeg"] = base64.b64encode(contact_sheet(shown)).decode()
        return bundle

    def _html(self) -> str:
        first = _first(self._a)
        shape = first.width / first.height if first.width and first.height else 1.0
        view = stage(self._picture(self._a, "A"), self._picture(self._b, "B"))
        facts = tag("div", self._facts(self._a, "A"), self._facts(self._b, "B"), class_="ims-pair")
        return card(
            head("Compare", self._about(), icon="compare"),
            _tools(),
            view,
            facts,
            self._differences(),
            part="compare",
            kind="compare",
            style=f"--shape:{shape:.4f}",
        )

    def _about(self) -> str:
        prompts = {self._a.request.prompt, self._b.request.prompt}
        if len(prompts) == 1:
            return one_line(prompts.pop() or "", limit=120)
        return f"{key_text(self._a.key)} and {key_text(self._b.key)}"

    def _picture(self, row: Row, letter: str) -> str:
        small = self._tiles.make(_first(row), *_COMPARED)
        if small is None:
            return tag("div", "This picture cannot be shown.")
        alt = f"{letter}: {axes_text(row.axes) or _first(row).alt or 'picture'}"
        return image(small.data, small.media_type, alt=alt)

    def _facts(self, row: Row, letter: str) -> str:
        made = row.generation
        assert made is not None
        picture = _first(row)
        facts = [f"seed {made.seed}"] if made.seed is not None else []
        facts.append(f"{picture.width} × {picture.height}")
        facts += [cost_text(made.cost)] if made.cost else []
        words = tag(
            "div",
            tag("b", escape(short_name(made.model))),
            tag("div", escape(" · ".join(facts)), class_="ims-muted"),
        )
        return tag("div", tag("i", letter), words, tag("span", stars(row.rating)))

    def _differences(self) -> str:
        one, other = _asked(self._a), _asked(self._b)
        names = list(dict.fromkeys([*one, *other]))
        parts = {True: ["<b>Different</b>"], False: ["<b>The same</b>"]}
        for name in names:
            values = one.get(name, "not given"), other.get(name, "not given")
            differs = values[0] != values[1]
            shown = " | ".join(values) if differs else values[0]
            text = f"{name} {shown}" if len(shown) <= _MAX_VALUE else name
            parts[differs].append(tag("span", escape(text), class_="ims-tag"))
        return "".join(tag("div", *p, class_="ims-differ") for p in parts.values() if len(p) > 1)


def stage(first: str, second: str) -> str:
    """Return two pictures' markup with the line between them that the range input moves."""
    pair = (
        tag("div", markup, f'<span class="ims-letter" aria-hidden="true">{letter}</span>', class_=c)
        for markup, letter, c in ((first, "A", "ims-top"), (second, "B", "ims-under"))
    )
    split = (
        f'<input type="range" class="ims-split" style="display:none" min="0" max="100" step="1" '
        f'value="50" aria-label="How much of each picture is shown" {OWN_KEYS}>'
    )
    both = tag("div", *pair, split, class_="ims-stage")
    region = f'role="region" aria-label="Both pictures" {OWN_KEYS}'
    return f'<div class="ims-view" tabindex="0" {region}>{both}</div>'


def _tools() -> str:
    """Return the radio buttons and the others; each works by the style sheet alone."""
    group = f"ims{secrets.token_hex(4)}"

    def choice(name: str, text: str, family: str, *, on: bool = False) -> str:
        place, only = f"{group}-{name}", "ims-if-slider" if family == "zoom" else None
        kind = "checkbox" if family == "swap" else "radio"
        values = {"id": place, "class_": f"ims-{name}", "name": f"{group}-{family}", "checked": on}
        label = tag("label", text, for_=place, class_=only)
        return f"<input {OWN_KEYS}{attributes(type=kind, **values)}>{label}"

    return tag(
        "div",
        choice("slider", "Slider", "mode", on=True),
        choice("side", "Side by side", "mode"),
        choice("swap", "Swap", "swap"),
        '<hr class="ims-if-slider">',
        choice("fit", "Fit", "zoom", on=True),
        choice("zoom2", "2 ×", "zoom"),
        choice("zoom4", "4 ×", "zoom"),
        f'<button type="button" class="ims-hold ims-if-slider" {OWN_KEYS}>Hold to see the other'
        "</button>",
        class_="ims-tools",
        role="group",
        aria_label="View",
        style="display:none",  # for viewers that drop the style sheet
    )


def _first(row: Row) -> GeneratedImage:
    assert row.generation is not None
    return row.generation[0]


def _asked(row: Row) -> dict[str, str]:
    """Return everything that can make a difference, as text."""
    made = row.generation
    asked: dict[str, object] = {"model": short_name(row.request.model), **row.request.arguments()}
    if made is not None and made.seed is not None:
        asked["seed"] = made.seed
    asked |= {name: value for name, value in row.axes.items() if name not in asked}
    return {name: one_line(str(value), limit=500) for name, value in asked.items()}
