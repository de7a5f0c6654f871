"""Hot-air balloons over hills."""

import math

from imagen_widget._demo._canvas import Canvas, Gradient, turned
from imagen_widget._demo._colour import Colour, mix, rgb
from imagen_widget._demo._outline import Frame, Outline, curve
from imagen_widget._demo._palette import Palette

from . import _hills

_CLOTHS = (
    ("d8432f", "fbe3b5", "f2a541"),
    ("27567b", "f6e7c8", "d8432f"),
    ("3a8f88", "fdf0d0", "f0b23c"),
    ("8a4c8f", "fde2d4", "f08a5c"),
)
_GORES = 10
_BASKET = rgb("#6b4327")


def paint(canvas: Canvas, palette: Palette) -> None:
    """Paint the hills, then balloons, the farthest first."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    _hills.paint(canvas, palette)
    cloths = list(_CLOTHS)
    rng.shuffle(cloths)
    side = rng.choice((-1, 1))
    for number, (dx, dy, size) in enumerate(
        ((-0.4, 0.2, 0.06), (0.3, 0.14, 0.085), (-0.27, 0.45, 0.115), (0.13, 0.36, 0.24))
    ):
        colours = tuple(
            mix(rgb(f"#{word}"), palette.sky[-1], 0.3 * (0.24 - size) / 0.18)
            for word in cloths[number]
        )
        place = Frame(
            w * (0.5 + side * dx) + u * rng.uniform(-0.02, 0.02), h * dy, u * size, u * size
        )
        _envelope(canvas, place, colours, palette=palette)
        _basket(canvas, place, palette=palette)


def _envelope(canvas: Canvas, at: Frame, colours: tuple[Colour, ...], *, palette: Palette) -> None:
    """The cloth about the frame's origin; its radius counts as 1."""
    whole = [*_seam(at, 1), *reversed(_seam(at, -1))]
    for gore in range(_GORES):
        left, right = (math.sin(math.pi * (part / _GORES - 0.5)) for part in (gore, gore + 1))
        colour = colours[gore % 2]
        shades = (mix(colour, palette.light, 0.25), colour, mix(colour, palette.near, 0.3))
        panel = [*_seam(at, right), *reversed(_seam(at, left))]
        canvas.shape(panel, fill=Gradient(shades))
    band = [*curve(at("-1.1,0.08 0,-0.12 1.1,0.08")), *curve(at("1.1,-0.2 0,-0.42 -1.1,-0.2"))]
    canvas.shape(band, fill=colours[2], alpha=0.95, clip=whole)
    shadow = [*_seam(at, 1), *reversed(_seam(at, 0.25))]
    canvas.shape(shadow, fill=palette.near, alpha=0.28, blur=at.high * 0.12, clip=whole)
    canvas.ellipse(
        *at.point(-0.42, 0.42),
        at.wide * 0.2,
        at.high * 0.42,
        turn=28,
        fill=(255, 255, 255),
        alpha=0.3,
        blur=at.high * 0.1,
        clip=whole,
    )


def _seam(at: Frame, share: float) -> Outline:
    """A seam from crown to mouth; -1 is the left edge and 1 the right one."""
    profile = "0,1 0.45,0.9 0.83,0.55 1,0 0.86,-0.5 0.5,-0.95 0.2,-1.28"
    return curve([(at.x + (px - at.x) * share, py) for px, py in at(profile)])


def _basket(canvas: Canvas, at: Frame, *, palette: Palette) -> None:
    rope = mix(_BASKET, palette.near, 0.5)
    for side in (-1, 1):
        line = at("0.19,-1.28 0.15,-1.64", side=side)
        canvas.stroke(line, width=max(1.0, at.wide * 0.018), fill=rope)
    canvas.glow(*at.point(0, -1.33), at.wide * 0.32, colour=rgb("#ffdf8a"), alpha=0.8)
    wicker = turned(_BASKET, lit=palette.light, dark=palette.near)
    canvas.shape(at("-0.15,-1.64 0.15,-1.64 0.126,-1.88 -0.126,-1.88"), fill=wicker)
    canvas.shape(at("-0.162,-1.62 0.162,-1.62 0.162,-1.685 -0.162,-1.685"), fill=rope)
