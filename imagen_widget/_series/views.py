"""The pictures of a series to look at: a grid with headings, two side by side, a contact sheet.

Grids and pairs are static HTML that works without a kernel and without a script. A grid holds at
most 2 MB: the more pictures, the smaller their copies; what does not fit is said. The line between
two pictures is moved by CSS alone: the place of a range input's thumb is the timeline of an
animation; browsers that cannot do this get an edge to drag. Of a sheet one page is in memory at a
time, and what cannot be shown has its place with the reason on it.
"""

import base64
import functools
import itertools
import secrets
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagen_widget import _picture
from imagen_widget._html import attributes, data_uri, escape, image, in_ascii, tag
from imagen_widget._models import short_name
from imagen_widget._picture import Preview
from imagen_widget._result import (
    GeneratedImage,
    Generation,
    asked,
    cost_text,
    differences,
    whole_file,
)
from imagen_widget._series import parts
from imagen_widget._series.parts import MARK, OWN_KEYS, Layout, Row, Table, Tiles
from imagen_widget.errors import invalid, one_line, plural

if TYPE_CHECKING:  # Pillow takes 50 ms to import
    from PIL.Image import Image as PILImage

MAX_BYTES = 1_950_000
MAX_PICTURES = 1_300
_SHEET_BYTES = 110_000  # of the picture that PDF and LaTeX show, as base64
_MAX_TILE_BYTES = 60_000
_MIN_TILE_BYTES = 700
_MARKUP_BYTES = 300  # about, for each picture
_PAGE_PIXELS, _MAX_WIDTH = 1_100, 260  # of a page both ways, of a picture on it
_LARGE_PIXELS = 256  # copies of this size and more open large
_SMALL_PIXELS = 130
_COMPARED = (1_600, 280_000)  # pixels and bytes of each picture that is compared
_MAX_VALUE = 40  # characters of a value that is compared

PAGE = (1754, 1240)  # A4 at 150 dots an inch, landscape
DPI = 150
MARGIN = 60
GAP = 14
MAX_COLUMNS = 8
MAX_TILE = 300
CAPTION_HEIGHT = 44

_FONTS = ("NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc", "Arial Unicode.ttf", "DejaVuSans")


class Grid:
    """A table of pictures that displays itself; complete in the saved notebook."""

    def __init__(self, layout: Layout, title: str, tiles: Tiles, *, best: int = 1) -> None:
        """Make the table; of each of its lines the `best` are framed."""
        self._layout, self._title, self._tiles, self._best = layout, title, tiles, best
        self._count = sum(len(row.images) for row in layout.rows)
        self._fitting = max(1, min(self._count, MAX_PICTURES))
        share = (MAX_BYTES - _SHEET_BYTES) // self._fitting - _MARKUP_BYTES
        side = 3.5 * min(_MAX_TILE_BYTES, share * 3 // 4) ** 0.5  # as WebP packs pixels
        self._side = min(1024, max(96, round(side)))
        self._is_large = self._side >= _LARGE_PIXELS
        self._is_flow = layout.row is None and layout.col is None
        self._columns = layout.values[layout.col] if layout.col else [""]
        self._width = min(self._side, _MAX_WIDTH)
        cells = Counter[tuple[str, ...]]()
        for row in layout.rows:
            cells[layout.place(row)] += max(1, len(row.images))
        self._deepest = max(cells.values(), default=1)
        fitting = _PAGE_PIXELS // (len(self._columns) * (self._width + 10))
        self._across = max(1, min(self._deepest, fitting))
        self._id = f"ims{secrets.token_hex(4)}"

    def __repr__(self) -> str:
        rows = self._layout.rows
        done = sum(row.state == "done" for row in rows)
        return in_ascii(f"<Grid {self._title}: {done:,} of {plural(len(rows), 'row')} done>")

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        # Drawn first without pictures: their size follows from the rest.
        left = (MAX_BYTES - _SHEET_BYTES - len(self._markup(0).encode())) * 3 // 4
        tile_bytes = max(_MIN_TILE_BYTES, left // self._fitting - 2)
        html = self._markup(min(_MAX_TILE_BYTES, tile_bytes))
        bundle = {"text/plain": repr(self), "text/html": html}
        if self._count:  # PDF and LaTeX show this
            page = Sheet(self._layout.rows, self._title, self._tiles).page(0)
            jpeg = _picture.fit(page, _SHEET_BYTES * 3 // 4, "image/jpeg")[0]
            bundle["image/jpeg"] = base64.b64encode(jpeg).decode()
        return bundle

    def _markup(self, max_bytes: int) -> str:
        self._max_bytes, self._numbers, self._left = max_bytes, itertools.count(), MAX_PICTURES
        layout = self._layout
        costs = [row.generation.cost for row in layout.rows if row.generation is not None]
        facts = [plural(len(layout.rows), "row"), plural(self._count, "picture")]
        if any(costs) and None not in costs:
            facts.append(cost_text(round(sum(cost or 0 for cost in costs), 4)))
        named = [name for name in (layout.row, layout.col, layout.facet) if name]
        about = " × ".join(plural(len(layout.values[name]), name) for name in named) or "all rows"
        said = tag("span", " · ".join(facts), class_="ims-muted")
        pages = [(self._facet(value), self._pages(table)) for value, table in layout.tables.items()]
        return parts.card(
            "grid",
            parts.head(self._title, f"Grid · {about}", said),
            self._tabs(layout.facet, pages) if layout.facet else "".join(p for _, p in pages),
            self._foot(),
            class_=" ims-small" if self._width < _SMALL_PIXELS else "",
            style=f"--tile:{self._width}px;--across:{self._across}",
        )

    def _facet(self, value: str) -> str:
        layout = self._layout
        count = sum(len(row.images) for row in layout.rows if layout.place(row)[0] == value)
        return f"{escape(parts.heading(layout.facet, value))} <small>{count:,}</small>"

    def _pages(self, table: Table) -> str:
        high = self._width + 40
        if self._is_flow:
            rows = table.get("", {}).get("", [])
            size = max(2, _PAGE_PIXELS // high) * max(1, _PAGE_PIXELS // self._width)
            pages = [self._flow(rows[at : at + size]) for at in range(0, len(rows), size)]
        else:
            lines = list(table.items())
            size = max(1, round(_PAGE_PIXELS / (-(-self._deepest // self._across) * high)))
            pages = [self._table(lines[at : at + size]) for at in range(0, len(lines), size)]
        numbered = [(str(number), page) for number, page in enumerate(pages, 1)]
        return pages[0] if len(pages) == 1 else self._tabs("page", numbered)

    def _tabs(self, name: str, pages: list[tuple[str, str]]) -> str:
        """Return the pages, of which one is shown, chosen by radio buttons."""
        group, label = f"{self._id}-{next(self._numbers)}", escape(name)
        shown = f'<div class="ims-tabs" role="group" aria-label="{label}"><span>{label} </span>'
        for number, (text, content) in enumerate(pages):
            # Hidden by its style too: a viewer that drops style sheets shows the label as heading.
            place = f"{group}-{number}"
            shown += (
                f'<input type="radio" name="{group}" id="{place}" style="display:none" {OWN_KEYS}'
                f'{"" if number else " checked"}><label for="{place}">{text}</label>'
                f"<section>{content}</section>"
            )
        return f"{shown}</div>"

    def _table(self, lines: list[tuple[str, dict[str, list[Row]]]]) -> str:
        layout, markup = self._layout, ""
        if layout.col:
            names = (escape(parts.heading(layout.col, value)) for value in self._columns)
            titles = "".join(f'<th scope="col">{name}</th>' for name in names)
            markup = f"<thead><tr><td></td>{titles}</tr></thead>"
        for value, line in lines:
            rated = (row for cell in line.values() for row in cell if row.rating > 0)
            best = sorted(rated, key=lambda row: -row.rating)[: self._best]
            cells = (self._flow(line.get(column, []), best=best) for column in self._columns)
            name = escape(parts.heading(layout.row, value))
            shown = "".join(f"<td>{cell}</td>" for cell in cells)
            markup += f'<tr><th scope="row">{name}</th>{shown}</tr>'
        name = escape(" by ".join(axis for axis in (layout.row, layout.col) if axis))
        region = f'tabindex="0" role="region" aria-label="{name}" {OWN_KEYS}'
        return f'<div class="ims-scroll" {region}><table>{markup}</table></div>'

    def _flow(self, rows: list[Row], *, best: Sequence[Row] = ()) -> str:
        figures = "".join(self._figures(row, is_best=row in best) for row in rows)
        return f'<div class="ims-flow">{figures}</div>'

    def _figures(self, row: Row, *, is_best: bool) -> str:
        """Return a row's pictures, or the one place that says why it has none."""
        rest = self._layout.rest(row) or (row.label if self._is_flow else "")
        seed = row.generation.seed if row.generation is not None else None
        words = rest or ("" if seed is None else f"seed {seed}")
        caption = f"{parts.stars(row.rating)} " if row.rating else ""
        caption += f"<span>{escape(words)}</span>" if words else ""
        ring = ' class="ims-best"' if is_best else ""
        shown = [self._picture(row, picture) for picture in row.images] or [_gone(row)]
        end = f"<figcaption>{caption}</figcaption></figure>"
        return "".join(f"<figure{ring}>{each}{end}" for each in shown)

    def _picture(self, row: Row, picture: GeneratedImage) -> str:
        self._left -= 1
        if self._left < 0:
            return '<div class="ims-gone">not shown</div>'
        alt = parts.axes_text(row.axes)[:90] or one_line(picture.alt, limit=90)
        name = escape(alt or "picture")
        source = "data:image/webp;base64,"
        if self._max_bytes:
            small = self._tiles.make(picture, self._side, self._max_bytes)
            if small is None:
                return f'<div class="ims-gone">cannot be shown: {escape(picture.media_type)}</div>'
            source = data_uri(small.data, small.media_type)
        shown = f'<img src="{source}" alt="{name}">'
        if not self._is_large:
            return shown
        # The picture itself becomes the large view, so that its bytes stand here once. What is of
        # no use without the style sheet is hidden for viewers that drop it.
        place = f"{self._id}-{next(self._numbers)}"
        shape = picture.width / picture.height if picture.width and picture.height else 1.0
        opens = f'popovertarget="{place}" {OWN_KEYS}'
        return (
            f'<div class="ims-place" style="--shape:{shape:.3f}"><div id="{place}" popover '
            f'class="ims-large" role="group" aria-label="{name}">{shown}'
            f'<span style="display:none"><span>{name}</span>'
            f'<button type="button" {opens}>Close</button></span></div><button type="button" '
            f'class="ims-open" style="display:none" {opens} aria-label="Open large: {name}">'
            "</button></div>"
        )

    def _foot(self) -> str:
        rows, said = self._layout.rows, []
        states = Counter(row.state for row in rows if row.state != "done")
        if states:
            said.append(", ".join(f"{count:,} {state}" for state, count in states.items()))
        if not self._is_flow and any(row.rating > 0 for row in rows):
            said.append("framed: best of its row")
        if self._count > MAX_PICTURES:
            rest = self._count - MAX_PICTURES
            said.append(f"{rest:,} more pictures do not fit: .sheet(path) has all of them")
        if self._is_large:
            said.append("Click a picture to see it large, Esc closes.")
        return parts.foot(*said)


def _gone(row: Row) -> str:
    """Return what stands in the place of a picture: the row's state and why."""
    said = f"<b>{row.state.capitalize()}</b>"
    if row.state not in {"waiting", "sent"}:
        why = escape(one_line(parts.reason(row.error), limit=120).rstrip("."))
        billed = "may be billed" if row.billed else "not billed"
        said = f"{MARK} <b>{row.state.capitalize()} · {billed}</b> <span>{why}</span>"
    return f'<div class="ims-gone">{said}</div>'


# --------------------------------------------------------------------------------- two of them


def is_named(row: Row, what: Any) -> bool:
    """Return True if a key, axes, a picture, a generation or a row names this row."""
    match what:
        case str():
            return what in {row.key, row.label}
        case Mapping():
            return bool(what) and all(row.axes.get(name) == v for name, v in what.items())
        case Generation():
            return row.generation is not None and row.generation.id == what.id
        case GeneratedImage():
            return any(what.path == picture.path for picture in row.images)
    return getattr(what, "key", None) == row.key


class Compared:
    """Two pictures that display themselves with a slider between them."""

    def __init__(self, a: Row, b: Row, tiles: Tiles) -> None:
        self._rows, self._tiles = {"A": a, "B": b}, tiles

    def __repr__(self) -> str:
        return in_ascii(f"<Compared: {' | '.join(row.label for row in self._rows.values())}>")

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        pair = [self._tiles.make(row.images[0], *_COMPARED) for row in self._rows.values()]
        html = parts.card(
            "compare",
            parts.head("Compare", self._about(), icon="compare"),
            _tools(),
            stage(*map(self._picture, self._rows, pair)),
            tag("div", *map(self._facts, self._rows), class_="ims-pair"),
            self._differences(),
            style=f"--shape:{pair[0].width / pair[0].height if pair[0] is not None else 1:.4f}",
        )
        return {"text/plain": repr(self), "text/html": html} | _picture.contact_sheet(pair)

    def _about(self) -> str:
        prompts = {row.request.prompt for row in self._rows.values()}
        if len(prompts) == 1:
            return one_line(prompts.pop() or "", limit=120)
        return " · ".join(f"{letter}: {row.label}" for letter, row in self._rows.items())

    def _picture(self, letter: str, small: Preview | None) -> str:
        if small is None:
            return tag("div", "This picture cannot be shown.")
        row = self._rows[letter]
        alt = f"{letter}: {parts.axes_text(row.axes) or row.images[0].alt or 'picture'}"
        return image(small.data, small.media_type, alt=alt)

    def _facts(self, letter: str) -> str:
        row = self._rows[letter]
        known = facts(row)
        title = escape(known.pop("model"))
        said = " · ".join(f"seed {v}" if name == "seed" else v for name, v in known.items())
        words = tag("div", tag("b", title), f'<div class="ims-muted">{escape(said)}</div>')
        return tag("div", tag("i", letter), words, tag("span", parts.stars(row.rating)))

    def _differences(self) -> str:
        lines = []
        both = ({**row.axes, **asked(row.images[0])} for row in self._rows.values())
        for head, found in differences(*both).items():
            texts = (f"{n} {text}" if len(text) <= _MAX_VALUE else n for n, text in found.items())
            tags = (tag("span", escape(one_line(text)), class_="ims-tag") for text in texts)
            lines.append(tag("div", tag("b", head), *tags, class_="ims-differ"))
        return "".join(lines)


def facts(row: Row) -> dict[str, str]:
    """Return what is known of a row's pictures beside its axes, each in a few words."""
    made, picture = row.generation, row.images[0]
    assert made is not None
    found = {"model": short_name(row.request.model), "size": f"{picture.width} × {picture.height}"}
    found |= {} if made.seed is None else {"seed": str(made.seed)}
    return found | ({"cost": cost_text(made.cost)} if made.cost else {})


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


# ----------------------------------------------------------------------------------- on paper


def write_sheet(rows: Iterable[Row], path: Path, title: str, tiles: Tiles) -> list[Path]:
    """Write the contact sheet and return the paths of its files; arguments as of `Series.sheet`."""
    kind = path.suffix.lower()
    if kind not in {".png", ".pdf"}:
        what = f"a sheet is not written as {kind or 'a folder'}"
        raise invalid("path", what, "End the name in .png or .pdf.")
    sheet, paths = Sheet(rows, title, tiles), [path]
    if kind == ".png" and sheet.pages > 1:
        paths = [path.with_stem(f"{path.stem}-{n}") for n in range(1, sheet.pages + 1)]
    pages = map(sheet.page, range(sheet.pages))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".png":
            for target, page in zip(paths, pages, strict=True):
                with whole_file(target) as part:
                    page.save(part, "PNG", dpi=(DPI, DPI), compress_level=3)
        else:
            with whole_file(path) as part:
                for page in pages:
                    page.save(part, "PDF", resolution=DPI, append=part.exists(), title=title)
    except OSError as error:
        raise parts.cannot_write(error, path) from None
    return paths


class Sheet:
    """A contact sheet in pages, each drawn when it is asked for."""

    def __init__(self, rows: Iterable[Row], title: str, tiles: Tiles) -> None:
        layout = Layout(rows)
        self._title, self._tiles = title, tiles
        self._cells = [(row, image) for row in layout.rows for image in row.images or (None,)]
        columns = max((len(row.images) for row in layout.rows), default=0) or 1
        for values in reversed(layout.values.values()):  # a line ends where an axis does
            if columns * len(values) > MAX_COLUMNS:
                break
            columns *= len(values)
        self._columns = columns * max(1, MAX_COLUMNS // columns)
        self._side = min(MAX_TILE, (PAGE[0] - 2 * MARGIN) // self._columns - GAP)
        self._size = self._columns * ((PAGE[1] - 2 * MARGIN) // (self._side + CAPTION_HEIGHT))
        self.pages = -(-len(self._cells) // self._size) or 1

    def page(self, number: int) -> "PILImage":
        """Draw a page, from 0; a single one is only as high as it needs to be."""
        from PIL import Image, ImageDraw

        side, title, height = self._side, self._title, PAGE[1]
        if self.pages == 1:
            lines = -(-len(self._cells) // self._columns)
            height = 2 * MARGIN + lines * (side + CAPTION_HEIGHT)
        else:
            title += f" · page {number + 1} of {self.pages}"
        page = Image.new("RGB", (PAGE[0], height), "white")
        draw = ImageDraw.Draw(page)
        _write(draw, (MARGIN, MARGIN - 34), title, size=22, width=PAGE[0] - 2 * MARGIN)
        first = number * self._size
        for place, (row, kept) in enumerate(self._cells[first : first + self._size]):
            line, column = divmod(place, self._columns)
            left, top = MARGIN + column * (side + GAP), MARGIN + line * (side + CAPTION_HEIGHT)
            picture = None if kept is None else self._tiles.picture(kept, side)
            if picture is not None:
                page.paste(_picture.on_white(picture), (left, top))
            else:
                box = (left, top, left + side, top + side)
                draw.rectangle(box, outline="#cdcad9", fill="#f7f6fa")
                why = "cannot be shown" if kept is not None else row.state
                why += f": {parts.reason(row.error)}" if row.error else ""
                _write(draw, (left + 10, top + 10), why, width=side - 20, lines=6)
            _write(draw, (left, top + side + 3), row.label, width=side, lines=2)
        return page


def _write(
    draw: Any, place: tuple[int, int], text: str, *, width: int, lines: int = 1, size: int = 14
) -> None:
    """Write a text in at most so many lines of about a width; the rest is an ellipsis."""
    letters = int(width / size * (1.8 if text.isascii() else 1))
    shown = textwrap.wrap(one_line(text, limit=300), letters, max_lines=lines, placeholder=" …")
    draw.multiline_text(place, "\n".join(shown), "#14131c", _font(size, text.isascii()))


@functools.cache
def _font(size: int, is_ascii: bool) -> Any:
    from PIL import ImageFont

    for name in () if is_ascii else _FONTS:  # Pillow's own font has Latin letters only
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
