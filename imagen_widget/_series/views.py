"""The pictures of a series to look at: a grid with headings, two side by side, a contact sheet.

Grids and pairs are static HTML that works without a kernel and without a script. A grid holds at
most 2 MB: the more pictures, the smaller their copies; what does not fit is said. The line between
two pictures is moved by CSS alone: the place of a range input's thumb is the timeline of an
animation; browsers that cannot do this get an edge to drag. Of a sheet one page is in memory at a
time, and what cannot be shown has its place with the reason on it.
"""

import base64
import contextlib
import functools
import itertools
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagen_widget import _picture
from imagen_widget._html import attributes, data_uri, escape, image, tag
from imagen_widget._models import short_name
from imagen_widget._result import GeneratedImage, Generation, cost_text
from imagen_widget._series.parts import (
    OWN_KEYS,
    Layout,
    Row,
    Table,
    Tiles,
    axes_text,
    cannot_write,
    card,
    head,
    heading,
    key_text,
    plural,
    reason,
    refused,
    side_for,
    stars,
)
from imagen_widget.errors import InvalidRequest, one_line

if TYPE_CHECKING:  # Pillow takes 50 ms to import
    from PIL.Image import Image as PILImage

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

PAGE = (1754, 1240)  # A4 at 150 dots an inch, landscape
DPI = 150
MARGIN = 60
GAP = 14
MIN_TILE, MIN_HIGH_TILE, MAX_TILE = 130, 220, 300
MAX_FLOW_COLUMNS = 8
HEAD_WIDTH, HEAD_HEIGHT = 150, 34

_INK, _MUTED, _BAD = "#14131c", "#5a5870", "#b3261e"
_FONTS = ("NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc", "Arial Unicode.ttf", "DejaVuSans")

Cell = tuple[GeneratedImage | None, str]  # a picture with its caption, or why it is missing


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
            page = next(_Painter(self._layout.rows, self._title, self._tiles).pages)
            jpeg = _picture.fit(page, _SHEET_BYTES * 3 // 4, _as_jpeg)[0]
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
        if row.rating:
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
        said = f"{mark} <b>{row.state.capitalize()} · {billed}</b> <span>{why}</span>"
    return f'<div class="ims-gone">{said}</div>'


# --------------------------------------------------------------------------------- two of them


def find_row(rows: list[Row], what: Any) -> Row:
    """Return the row that a key, a position, partial axes, a row or a generation names.

    Raises:
        InvalidRequest: Nothing is named so, or it has no picture.
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
        pair = [self._tiles.make(row.images[0], *_COMPARED) for row in (self._a, self._b)]
        shown = [picture for picture in pair if picture is not None]
        if shown:  # PDF and LaTeX show this
            bundle["image/jpeg"] = base64.b64encode(_picture.contact_sheet(shown)).decode()
        return bundle

    def _html(self) -> str:
        first = self._a.images[0]
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
        small = self._tiles.make(row.images[0], *_COMPARED)
        if small is None:
            return tag("div", "This picture cannot be shown.")
        alt = f"{letter}: {axes_text(row.axes) or row.images[0].alt or 'picture'}"
        return image(small.data, small.media_type, alt=alt)

    def _facts(self, row: Row, letter: str) -> str:
        made, picture = row.generation, row.images[0]
        assert made is not None
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


def _asked(row: Row) -> dict[str, str]:
    """Return everything that can make a difference, as text."""
    made = row.generation
    asked: dict[str, object] = {"model": short_name(row.request.model), **row.request.arguments()}
    if made is not None and made.seed is not None:
        asked["seed"] = made.seed
    asked |= {name: value for name, value in row.axes.items() if name not in asked}
    return {name: one_line(str(value), limit=500) for name, value in asked.items()}


# ----------------------------------------------------------------------------------- on paper


@dataclass(frozen=True, slots=True)
class _Line:
    """What stands across a page: a title, headings of columns, or cells with their heading."""

    texts: tuple[str, ...] = ()
    cells: tuple[Cell | None, ...] = ()
    is_title: bool = False


def write_sheet(rows: Iterable[Row], path: Path, title: str, tiles: Tiles) -> list[Path]:
    """Write the contact sheet and return the paths of its files; arguments as of `Series.sheet`."""
    kind = path.suffix.lower()
    if kind not in {".png", ".pdf"}:
        raise refused(
            "path",
            f"a sheet is not written as {kind or 'a folder'}",
            "End the name in .png or .pdf.",
        )
    painter = _Painter(rows, title, tiles)
    part, paths = path.with_name(f"{path.name}.part"), [path]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".png":
            if painter.count > 1:
                numbers = range(1, painter.count + 1)
                paths = [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in numbers]
            for target, page in zip(paths, painter.pages, strict=True):
                page.save(target, "PNG", dpi=(DPI, DPI), compress_level=3)
            return paths
        for number, page in enumerate(painter.pages):
            page.save(part, "PDF", resolution=DPI, append=number > 0, title=title)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise cannot_write(error, path) from None
    return paths


class _Painter:
    """Lays a sheet out, then draws it page by page."""

    def __init__(self, rows: Iterable[Row], title: str, tiles: Tiles) -> None:
        self._title, self._tiles = title, tiles
        layout = Layout.of(rows)
        self._is_flow = layout.is_flow
        self._head = HEAD_WIDTH if layout.row else 0
        across = PAGE[0] - 2 * MARGIN - self._head
        wanted = MAX_FLOW_COLUMNS if layout.is_flow else len(layout.col_values)
        self._columns = min(wanted, across // (MIN_TILE + GAP))
        high = PAGE[1] - 2 * MARGIN - 3 * HEAD_HEIGHT  # a whole table on a page if it can be
        fitting = max(MIN_HIGH_TILE, high // len(layout.row_values) - GAP)
        self._tile = min(MAX_TILE, across // self._columns - GAP, fitting)
        pages = list(self._paged(self._lines(layout)))
        self.count = len(pages)
        self.pages = (self._draw(lines, number) for number, lines in enumerate(pages, 1))

    def _lines(self, layout: Layout) -> Iterator[_Line]:
        """Iterate over everything on the sheet, from the top of the first page to the end."""
        if layout.is_flow:
            cells = [cell for row in layout.rows for cell in _cells(row)]
            for start in range(0, len(cells), self._columns):
                yield _Line(cells=tuple(cells[start : start + self._columns]))
            return
        for title, table in layout.tables():
            for start in range(0, len(layout.col_values), self._columns):
                band = layout.col_values[start : start + self._columns]
                yield _Line((title,), is_title=True)
                yield _Line(tuple(heading(layout.col, value) for value in band))
                for value in layout.row_values:
                    stacks = [
                        [x for r in table.get((value, c), ()) for x in _cells(r)] for c in band
                    ]
                    for depth in range(max(map(len, stacks))):
                        head = heading(layout.row, value) if depth == 0 else ""
                        line = (stack[depth] if depth < len(stack) else None for stack in stacks)
                        yield _Line((head,), tuple(line))

    def _paged(self, lines: Iterable[_Line]) -> Iterator[list[_Line]]:
        """Iterate over the pages' lines; headings are said again at the top of a page."""
        page: list[_Line] = []
        above: list[_Line] = []
        left = limit = PAGE[1] - 2 * MARGIN - HEAD_HEIGHT
        for line in lines:
            above = [line] if line.is_title else above if line.cells else [*above[:1], line]
            needs = self._height(line) + (0 if line.cells else 2 * HEAD_HEIGHT + self._tile)
            if page and needs > left:
                yield page
                page = [heading for heading in above if heading is not line]
                left = limit - sum(map(self._height, page))
            page.append(line)
            left -= self._height(line)
        yield page

    def _height(self, line: _Line) -> int:
        if line.cells:
            return self._tile + GAP + self._is_flow * HEAD_HEIGHT
        return HEAD_HEIGHT if any(line.texts) else 0

    def _draw(self, lines: list[_Line], number: int) -> "PILImage":
        from PIL import Image, ImageDraw

        page = Image.new("RGB", PAGE, "white")
        draw = ImageDraw.Draw(page)
        _write(draw, MARGIN, MARGIN - 28, self._title, size=22, width=PAGE[0] - 400)
        place = f"page {number} of {self.count}"
        _write(draw, PAGE[0] - MARGIN - 150, MARGIN - 24, place, size=16, colour=_MUTED)
        top = MARGIN + HEAD_HEIGHT // 2
        for line in lines:
            for column, cell in enumerate(line.cells):
                if cell is not None:
                    self._draw_cell(page, draw, cell, self._left(column), top)
            if line.is_title:
                _write(draw, MARGIN, top + 6, line.texts[0], size=20, width=PAGE[0] - 2 * MARGIN)
            elif line.cells:
                head = "".join(line.texts)
                _write(draw, MARGIN, top + 8, head, width=self._head - GAP, lines=5)
            else:
                for column, text in enumerate(line.texts):
                    _write(draw, self._left(column), top + 8, text, width=self._tile)
            top += self._height(line)
        return page if self.count > 1 else page.crop((0, 0, PAGE[0], min(PAGE[1], top + MARGIN)))

    def _draw_cell(self, page: "PILImage", draw: Any, cell: Cell, left: int, top: int) -> None:
        image, text = cell
        picture = self._tiles.picture(image, self._tile) if image is not None else None
        if picture is not None:
            page.paste(_picture.on_white(picture), (left, top))
            if self._is_flow:
                _write(draw, left, top + self._tile + 4, text, size=14, width=self._tile)
            return
        box = (left, top, left + self._tile, top + self._tile)
        draw.rectangle(box, outline="#cdcad9", fill="#f7f6fa")
        said, colour = (text, _BAD) if image is None else (f"{text}: cannot be shown", _MUTED)
        width = self._tile - 20
        _write(draw, left + 10, top + 10, said, size=15, width=width, lines=6, colour=colour)

    def _left(self, column: int) -> int:
        return MARGIN + self._head + column * (self._tile + GAP)


def _as_jpeg(page: "PILImage", quality: int) -> bytes:
    return _picture.saved(page, "image/jpeg", quality)


def _cells(row: Row) -> list[Cell]:
    if row.generation:
        return [(picture, key_text(row.key)) for picture in row.generation]
    why = f": {reason(row.error)}" if row.error else ""
    return [(None, one_line(f"{row.state}{why}", limit=110))]


def _write(
    draw: Any,
    left: int,
    top: int,
    text: str,
    *,
    size: int = 17,
    width: int = 400,
    lines: int = 1,
    colour: str = _INK,
) -> None:
    """Write a text in at most so many lines of a width; what does not fit ends in an ellipsis."""
    font, rest = _font(size, text.isascii()), one_line(text, limit=300)
    for number in range(lines if rest else 0):
        fits = len(rest)
        while fits > 1 and font.getlength(rest[:fits]) > width:
            fits -= 1 + fits // 20
        if fits < len(rest) and number < lines - 1:
            fits = max(rest.rfind(" ", 1, fits + 1), 0) or fits
        cut = number == lines - 1 and fits < len(rest)
        shown = f"{rest[: max(1, fits - 1)].rstrip()}…" if cut else rest[:fits]
        draw.text((left, top + number * round(size * 1.3)), shown, colour, font=font)
        rest = rest[fits:].lstrip()


@functools.cache
def _font(size: int, is_ascii: bool) -> Any:
    from PIL import ImageFont

    for name in () if is_ascii else _FONTS:  # Pillow's own font has Latin letters only
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
