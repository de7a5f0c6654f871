"""A winter evening at the edge of the woods, with a fox."""

from imagen_widget._demo._canvas import Canvas, Gradient
from imagen_widget._demo._colour import Colour, mix
from imagen_widget._demo._palette import Palette

from ._fox import fox
from ._nature import clouds, ground, height_at, pines, ridge, sky, snowfall, sun


def paint(canvas: Canvas, palette: Palette) -> None:
    """Paint a winter evening with a fox that looks at you."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    lit, shade = palette.snow
    sky(canvas, palette, horizon=h * 0.66)
    left = rng.choice((True, False))
    sun(canvas, palette, w * (0.26 if left else 0.74), h * 0.3, u * 0.07)
    clouds(canvas, palette, top=h * 0.08, bottom=h * 0.36, count=3)
    for layer in range(3):
        line = ridge(
            canvas, base=h * (0.56 + 0.06 * layer), height=h * 0.16, waves=0.8 + 0.3 * layer
        )
        pale = mix(mix(shade, palette.far, 0.45), palette.sky[-1], 0.55 - 0.25 * layer)
        canvas.shape(ground(canvas, line), fill=Gradient((mix(pale, lit, 0.3), pale)))
        wood = mix(palette.near, pale, 0.72 - 0.2 * layer)
        pines(canvas, line, colour=wood, height=u * (0.06 + 0.035 * layer), gap=0.34)
        canvas.veil(
            h * (0.5 + 0.06 * layer), h * (0.72 + 0.05 * layer), colour=palette.sky[-1], alpha=0.4
        )
    drift = ridge(canvas, base=h * 0.78, height=h * 0.09, waves=0.5, rough=0.3)
    pines(canvas, drift, colour=palette.near, height=u * 0.3, gap=0.3, between=(0.0, 0.2))
    pines(canvas, drift, colour=palette.near, height=u * 0.3, gap=0.3, between=(0.82, 1.02))
    canvas.shape(ground(canvas, drift), fill=Gradient((lit, mix(lit, shade, 0.7))))
    front = ridge(canvas, base=h * 0.93, height=h * 0.08, waves=0.4, rough=0.3)
    x, size = w * (0.56 if left else 0.44), u * (0.6 if w > h * 1.2 else 0.56)
    foot = height_at(front, x) + size * 0.05
    canvas.shape(ground(canvas, front), fill=Gradient((lit, shade)))
    _prints(canvas, x, foot, size, colour=mix(shade, palette.near, 0.25))
    fox(canvas, x, foot, size, flip=not left, shadow=mix(shade, palette.near, 0.3))
    for dx, wide in ((-0.2, 0.09), (-0.03, 0.12), (0.15, 0.1), (0.3, 0.08)):
        canvas.ellipse(
            x + dx * size,
            foot + size * 0.026,
            wide * size,
            size * 0.018,
            fill=lit,
            alpha=0.9,
            blur=size * 0.012,
        )
    snowfall(canvas)


def _prints(canvas: Canvas, x: float, y: float, size: float, *, colour: Colour) -> None:
    """Leave a track that comes from far away."""
    for step in range(9):
        far = step / 9
        px = x + size * (0.35 + 0.9 * far**0.8) * (1 if x < canvas.w / 2 else -1)
        py = y - size * (0.16 * far + 0.015 * (step % 2)) + size * 0.07
        canvas.ellipse(
            px,
            py,
            size * 0.02 * (1.15 - far),
            size * 0.008 * (1.15 - far),
            fill=colour,
            alpha=0.5 - 0.25 * far,
            blur=size * 0.002,
        )
