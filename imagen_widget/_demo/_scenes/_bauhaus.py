"""Plain shapes on paper, in the manner of a poster of the 1920s."""

from imagen_widget._demo._canvas import Canvas
from imagen_widget._demo._colour import Colour, mix, rgb
from imagen_widget._demo._outline import Outline, ellipse, rectangle
from imagen_widget._demo._palette import Palette

_PAPER = rgb("#f3ead8")
_CELLS = 4
_SETS = (
    ("d8432f", "f0b23c", "27567b", "1f2430", "e9d8bd"),
    ("e8654a", "f6c453", "3a8f88", "20435c", "f2dcc4"),
    ("c93f5b", "f3a65a", "4c4f9c", "262349", "f0d9d0"),
    ("2f6f62", "e6b655", "c9573c", "173a3b", "e5dcc2"),
)


def paint(canvas: Canvas, palette: Palette) -> None:
    """Fill a grid with quarter circles, arches, stripes and dots."""
    rng = canvas.rng
    colours = [rgb(f"#{word}") for word in rng.choice(_SETS)]
    colours[0] = mix(colours[0], palette.accent, 0.35)
    canvas.backdrop(_PAPER, mix(_PAPER, palette.sky[-1], 0.25))
    margin = canvas.u * 0.06
    side = (canvas.u - 2 * margin) / _CELLS
    across, down = (max(1, int((edge - 2 * margin) / side + 0.01)) for edge in (canvas.w, canvas.h))
    left, top = (canvas.w - across * side) / 2, (canvas.h - down * side) / 2
    before: Colour = _PAPER
    for row in range(down):
        for column in range(across):
            x, y = left + column * side, top + row * side
            back = rng.choice([colour for colour in (*colours, _PAPER) if colour != before])
            front = rng.choice([colour for colour in (*colours, _PAPER) if colour != back])
            third = rng.choice([colour for colour in colours if colour not in (back, front)])
            _tile(canvas, (x, y, side), back=back, front=front, third=third)
            before = back
    frame = canvas.u * 0.004
    for column in range(across + 1):
        x = left + column * side
        canvas.shape(
            rectangle(x - frame, top - frame, x + frame, top + down * side + frame), fill=_PAPER
        )
    for row in range(down + 1):
        y = top + row * side
        canvas.shape(
            rectangle(left - frame, y - frame, left + across * side + frame, y + frame), fill=_PAPER
        )


def _tile(
    canvas: Canvas,
    place: tuple[float, float, float],
    *,
    back: Colour,
    front: Colour,
    third: Colour,
) -> None:
    x, y, side = place
    box = rectangle(x, y, x + side, y + side)
    canvas.shape(box, fill=back)
    tile = canvas.rng.choice((_quarter, _half, _stripes, _dots, _rings, _leaf, _stairs))
    for number, outline in enumerate(tile(canvas, x, y, side)):
        canvas.shape(outline, fill=third if number % 2 else front, clip=box)


def _corner(canvas: Canvas, x: float, y: float, side: float) -> tuple[float, float]:
    return x + side * canvas.rng.randrange(2), y + side * canvas.rng.randrange(2)


def _quarter(canvas: Canvas, x: float, y: float, side: float) -> list[Outline]:
    cx, cy = _corner(canvas, x, y, side)
    return [ellipse(cx, cy, side), ellipse(cx, cy, side * 0.5)]


def _half(canvas: Canvas, x: float, y: float, side: float) -> list[Outline]:
    cx, cy = canvas.rng.choice(
        ((x, y + side / 2), (x + side, y + side / 2), (x + side / 2, y), (x + side / 2, y + side))
    )
    return [ellipse(cx, cy, side / 2), ellipse(x + side / 2, y + side / 2, side * 0.12)]


def _stripes(canvas: Canvas, x: float, y: float, side: float) -> list[Outline]:
    bars = range(0, 8, 2)
    if canvas.rng.choice((True, False)):
        return [
            rectangle(x, y + side * bar / 8, x + side, y + side * (bar + 1) / 8) for bar in bars
        ]
    return [rectangle(x + side * bar / 8, y, x + side * (bar + 1) / 8, y + side) for bar in bars]


def _dots(canvas: Canvas, x: float, y: float, side: float) -> list[Outline]:
    count = canvas.rng.choice((2, 3, 4))
    step = side / count
    return [
        ellipse(x + step * (column + 0.5), y + step * (row + 0.5), step * 0.3)
        for row in range(count)
        for column in range(count)
    ]


def _rings(_: Canvas, x: float, y: float, side: float) -> list[Outline]:
    return [ellipse(x + side / 2, y + side / 2, side * share) for share in (0.42, 0.28, 0.14)]


def _leaf(canvas: Canvas, x: float, y: float, side: float) -> list[Outline]:
    flip = canvas.rng.choice((True, False))
    first, second = ((x, y), (x + side, y + side)) if flip else ((x + side, y), (x, y + side))
    arc = [p for p in ellipse(*first, side) if x <= p[0] <= x + side and y <= p[1] <= y + side]
    other = [p for p in ellipse(*second, side) if x <= p[0] <= x + side and y <= p[1] <= y + side]
    return [
        [*sorted(arc), *sorted(other, reverse=True)],
        ellipse(x + side / 2, y + side / 2, side * 0.13),
    ]


def _stairs(canvas: Canvas, x: float, y: float, side: float) -> list[Outline]:
    cx, cy = _corner(canvas, x, y, side)
    right, down = (1 if cx == x else -1), (1 if cy == y else -1)
    return [
        [(cx, cy), (cx + right * side * share, cy), (cx, cy + down * side * share)]
        for share in (1.0, 0.5)
    ]
