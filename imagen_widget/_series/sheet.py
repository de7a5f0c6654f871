"""A contact sheet of a series as PNG pages or one PDF: headings by axes, any number of cells.

One page is in memory at a time, and what cannot be shown has its place with the reason on it.
"""

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagen_widget import _picture
from imagen_widget._result import GeneratedImage
from imagen_widget._series.parts import (
    Layout,
    Row,
    Tiles,
    cannot_write,
    heading,
    key_text,
    reason,
)
from imagen_widget.errors import InvalidRequest, one_line

if TYPE_CHECKING:  # Pillow takes 50 ms to import
    from PIL.Image import Image as PILImage

PAGE = (1754, 1240)  # A4 at 150 dots an inch, landscape
DPI = 150
MARGIN = 60
GAP = 14
MIN_TILE, MIN_HIGH_TILE, MAX_TILE = 130, 220, 300
MAX_FLOW_COLUMNS = 8
HEAD_WIDTH, HEAD_HEIGHT = 150, 34

_INK, _MUTED, _BAD = "#14131c", "#5a5870", "#b3261e"
_FONTS = ("NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc", "Arial Unicode.ttf", "DejaVuSans")

Cell = tuple[GeneratedImage | None, str]  # a picture with its caption, or why there is none


@dataclass(frozen=True, slots=True)
class _Line:
    """What stands across a page: a title, headings of columns, or cells with their heading."""

    texts: tuple[str, ...] = ()
    cells: tuple[Cell | None, ...] = ()
    is_title: bool = False


def sheet(rows: Iterable[Row], path: Path, *, title: str, tiles: Tiles | None = None) -> list[Path]:
    """Write the contact sheet and return the paths of its files.

    Args:
        rows: What stands on it.
        path: A `.pdf`, or a `.png`, which becomes `x-1.png`, `x-2.png`, … if it takes more pages.
        title: Stands at the top of each page.
        tiles: Makes the small copies.

    Raises:
        InvalidRequest: It cannot be written there, or the suffix is another one.
    """
    kind = path.suffix.lower()
    if kind not in {".png", ".pdf"}:
        raise InvalidRequest(
            f"path: a sheet is not written as {kind or 'a folder'}.",
            remedy="End the name in .png or .pdf.",
            field="path",
        )
    painter = _Painter(rows, title, tiles or Tiles())
    part, paths = path.with_name(f"{path.name}.part"), [path]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".png":
            if painter.count > 1:
                numbers = range(1, painter.count + 1)
                paths = [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in numbers]
            for target, page in zip(paths, painter.pages(), strict=True):
                page.save(target, "PNG", dpi=(DPI, DPI), compress_level=3)
            return paths
        for number, page in enumerate(painter.pages()):
            page.save(part, "PDF", resolution=DPI, append=number > 0, title=title)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise cannot_write(error, path) from None
    return paths


def first_page(rows: Iterable[Row], *, title: str, tiles: Tiles, max_bytes: int) -> bytes:
    """Return the first page as a JPEG, which PDF and LaTeX made of a notebook show."""
    page = next(_Painter(rows, title, tiles).pages())
    return _picture.fit(page, max_bytes, lambda shown, q: _picture.saved(shown, "image/jpeg", q))[0]


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
        self._pages = list(self._paged(self._lines(layout)))
        self.count = len(self._pages)

    def pages(self) -> Iterator["PILImage"]:
        """Iterate over the drawn pages."""
        return (self._draw(lines, number) for number, lines in enumerate(self._pages, 1))

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
