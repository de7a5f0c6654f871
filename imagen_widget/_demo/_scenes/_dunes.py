"""Desert dunes, each with a bright and a shaded side."""

import math

from imagen_widget._demo._canvas import Canvas, Gradient
from imagen_widget._demo._colour import Colour, mix, rgb
from imagen_widget._demo._outline import Point, curve
from imagen_widget._demo._palette import Palette

from ._nature import birds, clouds, ground, ridge, sky, sun

_SAND, _SAND_SHADE = rgb("#f6bd78"), rgb("#94503f")
_LAYERS = 6
_SLOPE_STEPS = 24


def paint(canvas: Canvas, palette: Palette) -> None:
    """Paint dune behind dune under a wide sky."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    sky(canvas, palette, horizon=h * 0.6)
    sun_left = rng.choice((True, False))
    x = w * ((0.3 if sun_left else 0.7) + rng.uniform(-0.05, 0.05))
    sun(canvas, palette, x, h * rng.uniform(0.24, 0.32), u * 0.085)
    clouds(canvas, palette, top=h * 0.08, bottom=h * 0.36, count=3)
    mesa = [
        (px, max(py, h * 0.5))
        for px, py in ridge(canvas, base=h * 0.58, height=h * 0.14, waves=0.8)
    ]
    canvas.shape(ground(canvas, mesa), fill=mix(palette.far, palette.sky[-1], 0.45))
    canvas.veil(h * 0.48, h * 0.66, colour=palette.sky[-1], alpha=0.6)
    lit = mix(_SAND, palette.snow[0], 0.4)
    lit = mix(lit, palette.near, 0.5) if palette.night else lit
    shade = mix(_SAND_SHADE, palette.near, 0.42)
    for layer in range(_LAYERS):
        near = layer / (_LAYERS - 1)
        haze = 0.5 * (1 - near)
        colours = mix(lit, palette.sky[-1], haze), mix(shade, palette.sky[-1], haze)
        _dunes(canvas, near, lit=colours[0], shade=colours[1], side=1 if sun_left else -1)
        base = h * (0.6 + 0.34 * near)
        canvas.veil(base, base + h * 0.16, colour=palette.sky[-1], alpha=0.22 * (1 - near))
    birds(
        canvas, w - x, h * 0.2, size=u * 0.018, count=4, colour=mix(palette.near, palette.far, 0.4)
    )


def _dunes(canvas: Canvas, near: float, *, lit: Colour, shade: Colour, side: int) -> None:
    """One row of dunes; the wind and the light come from the same side."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    base, tall = h * (0.59 + 0.38 * near**1.25), h * (0.05 + 0.09 * near)
    length = u * (0.55 + 0.65 * near)
    x = -length * rng.uniform(0.2, 1.0)
    line: list[Point] = []
    slips: list[tuple[Point, Point, list[Point]]] = []
    while x < w + length:
        wide, high = length * rng.uniform(0.8, 1.3), tall * rng.uniform(0.55, 1.2)
        top = (x + wide * 0.64, base - high)
        rise = [
            (x + wide * 0.64 * t, base - high * math.sin(t * math.pi / 2) ** 1.5) for t in _steps()
        ]
        slip = [(top[0] + wide * 0.36 * t, base - high * (1 - t) ** 1.6) for t in _steps()]
        line += [*rise, *slip]
        slips.append((top, slip[-1], slip))
        x += wide
    if side < 0:
        line = [(w - px, py) for px, py in reversed(line)]
    canvas.shape(
        [*line, (line[-1][0], h), (line[0][0], h)], fill=Gradient((lit, mix(lit, shade, 0.35)))
    )
    for (px, py), (vx, vy), slip in slips:
        deep = tall * rng.uniform(2.2, 3.0)
        run = vx - px
        spine = curve(
            [
                (px, py),
                (px - run * 0.12, py + deep * 0.25),
                (px + run * 0.2, py + deep * 0.55),
                (px - run * 0.25, py + deep),
            ]
        )
        foot = curve([(px - run * 0.25, py + deep), (px + run * 0.45, vy + deep * 0.3), (vx, vy)])
        face = [*spine, *foot, *reversed(slip)]
        if side < 0:
            face = [(w - fx, fy) for fx, fy in face]
        canvas.shape(face, fill=Gradient((shade, mix(shade, lit, 0.55))), alpha=0.88)


def _steps() -> list[float]:
    return [step / _SLOPE_STEPS for step in range(_SLOPE_STEPS + 1)]
