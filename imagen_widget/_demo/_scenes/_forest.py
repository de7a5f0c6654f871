"""A forest in the mist, with light falling through it."""

import math

from imagen_widget._demo._canvas import Canvas, Gradient
from imagen_widget._demo._colour import Colour, mix
from imagen_widget._demo._outline import curve
from imagen_widget._demo._palette import Palette

from ._nature import birds, ground, height_at, pine, ridge

_ROWS = 6


def paint(canvas: Canvas, palette: Palette) -> None:
    """Paint rows of firs that lose themselves in the mist."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    pale = mix(palette.sky[-1], palette.light, 0.35)
    canvas.backdrop(palette.sky[-2], pale, mix(pale, palette.far, 0.3))
    x, y = w * rng.uniform(0.35, 0.65), h * 0.27
    canvas.glow(x, y, u * 1.0, colour=palette.light, alpha=0.9)
    canvas.ellipse(x, y, u * 0.06, fill=palette.light, alpha=0.95, blur=u * 0.004)
    for row in range(_ROWS):
        near = row / (_ROWS - 1)
        colour = mix(mix(palette.far, pale, 0.62), palette.near, near**1.25)
        _row(canvas, near, colour=colour, pale=pale)
        if row == 2:  # noqa: PLR2004 - between the far rows and the near ones
            _rays(canvas, palette, x, y)
            birds(canvas, w * 0.7, h * 0.2, size=u * 0.015, count=5, colour=colour)
    _ferns(canvas, colour=mix(palette.near, (0, 0, 0), 0.25))


def _row(canvas: Canvas, near: float, *, colour: Colour, pale: Colour) -> None:
    h, u, rng = canvas.h, canvas.u, canvas.rng
    line = ridge(canvas, base=h * (0.6 + 0.37 * near), height=h * 0.09, waves=0.9, rough=0.4)
    height = u * (0.2 + 0.62 * near**1.3) * (0.8 + 0.2 * h / u)
    # The nearest trees stand aside, so that there is something to look into.
    aisle = 0.0 if near < 0.7 else 0.13 + 0.11 * near  # noqa: PLR2004 - from the near rows on
    trees, x = [], -height * 0.1
    while x < canvas.w + height * 0.1:
        if abs(x / canvas.w - 0.5) >= aisle:
            tall = height * rng.uniform(0.6, 1.12)
            trees.append(pine(x, height_at(line, min(max(x, 0), canvas.w)) + tall * 0.06, tall))
        x += height * rng.uniform(0.16, 0.42)
    fill = Gradient((colour, mix(colour, pale, 0.28 * (1 - near))))
    for tree in trees:
        canvas.shape(tree, fill=fill)
    canvas.shape(ground(canvas, line), fill=Gradient((mix(colour, pale, 0.3 * (1 - near)), colour)))
    canvas.veil(
        h * (0.42 + 0.3 * near),
        h * (0.8 + 0.26 * near),
        colour=pale,
        alpha=0.62 * (1 - near) ** 0.8,
    )


def _rays(canvas: Canvas, palette: Palette, x: float, y: float) -> None:
    rng, reach = canvas.rng, canvas.h * 1.1
    for _ in range(9):
        angle = math.radians(rng.uniform(48, 132))
        half = math.radians(rng.uniform(0.8, 2.4))
        ends = [
            (x + reach * math.cos(a), y + reach * math.sin(a)) for a in (angle - half, angle + half)
        ]
        canvas.shape([(x, y), *ends], fill=palette.light, alpha=0.2, blur=canvas.u * 0.01)


def _ferns(canvas: Canvas, *, colour: Colour) -> None:
    """Let grass grow along the lower edge."""
    rng, u, h = canvas.rng, canvas.u, canvas.h
    blades = []
    for _ in range(round(120 * canvas.w / u)):
        x, tall = rng.random() * canvas.w, u * rng.uniform(0.02, 0.075)
        lean, half = rng.uniform(-0.5, 0.5) * tall, u * 0.0022
        blades.append(
            [
                *curve(
                    [(x - half, h), (x + lean * 0.3 - half, h - tall * 0.6), (x + lean, h - tall)]
                ),
                *curve(
                    [(x + lean, h - tall), (x + lean * 0.3 + half, h - tall * 0.6), (x + half, h)]
                ),
            ]
        )
    canvas.shape(*blades, fill=colour)
