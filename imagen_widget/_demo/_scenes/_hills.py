"""Layered hills in haze, with a low sun."""

from imagen_widget._demo._canvas import Canvas, Gradient
from imagen_widget._demo._colour import mix
from imagen_widget._demo._palette import Palette

from ._nature import birds, clouds, ground, pines, ridge, sky, sun

_LAYERS = 6
_WOODS_FROM, _MIST_UNTIL = 0.5, 0.75  # of the way from the farthest ridge to the nearest


def paint(canvas: Canvas, palette: Palette) -> None:
    """Paint ridge behind ridge, each a little darker than the one behind it."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    horizon = h * 0.62
    sky(canvas, palette, horizon=h * 0.72)
    x, y = w * rng.uniform(0.3, 0.7), h * rng.uniform(0.26, 0.36)
    sun(canvas, palette, x, y, u * 0.075)
    clouds(canvas, palette, top=h * 0.1, bottom=h * 0.4, count=4)
    for layer in range(_LAYERS):
        depth = layer / (_LAYERS - 1)
        line = ridge(
            canvas,
            base=horizon - h * 0.06 + (h - horizon) * 0.9 * depth**1.15,
            height=h * (0.26 - 0.1 * depth),
            waves=0.7 + 0.25 * layer,
            rough=0.42 - 0.1 * depth,
        )
        colour = mix(palette.far, palette.near, depth**0.9)
        haze = mix(colour, palette.sky[-1], 0.5 * (1 - depth) + 0.08)
        if depth > _WOODS_FROM:
            tall = u * (0.03 + 0.09 * (depth - _WOODS_FROM) ** 1.4 * 2)
            pines(canvas, line, colour=colour, height=tall, gap=0.42 + 0.4 * rng.random())
        canvas.shape(ground(canvas, line), fill=Gradient((colour, mix(colour, haze, 0.75))))
        if depth < _MIST_UNTIL:
            top = min(point[1] for point in line)
            canvas.veil(top + h * 0.06, top + h * 0.34, colour=palette.sky[-1], alpha=0.22)
    birds(
        canvas,
        w * (0.25 if x > w / 2 else 0.75),
        h * 0.24,
        size=u * 0.018,
        count=6,
        colour=mix(palette.near, palette.far, 0.3),
    )
