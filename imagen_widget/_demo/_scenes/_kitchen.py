"""A sunlit kitchen of the 1960s with a bag of flour on its counter."""

import math

from imagen_widget._demo._canvas import Canvas, Gradient, turned
from imagen_widget._demo._colour import Colour, mix, rgb
from imagen_widget._demo._outline import Frame, Outline, curve, ellipse, rectangle, rounded
from imagen_widget._demo._palette import Palette

from ._bag import bag

_TILES = (rgb("#f7dd8f"), rgb("#f3d27c"), rgb("#fae6a6"), rgb("#f1cb70"))
_GROUT = rgb("#fdf3d3")
_SUN = rgb("#fff1c2")
_PAPER, _PAPER_SHADE, _PAPER_DEEP = rgb("#fbf1dc"), rgb("#e6d0ab"), rgb("#c4a47c")
_RED, _BLUE, _WHEAT = rgb("#c2342f"), rgb("#27457e"), rgb("#d99a2b")
_COUNTER, _COUNTER_DARK = rgb("#e9ebe2"), rgb("#bfc6bd")
_CANISTER = (rgb("#2f7d7a"), rgb("#7cc2b5"), rgb("#4a9c94"), rgb("#1f5654"))
_CHROME = (
    rgb("#fdfdfb"),
    rgb("#8d949b"),
    rgb("#e9edf0"),
    rgb("#5b636d"),
    rgb("#cfd5da"),
    rgb("#f6f6f2"),
    rgb("#6c747c"),
)


def paint(canvas: Canvas, palette: Palette) -> None:
    """Paint wall, counter, things out of focus, and the bag in focus."""
    w, h, u = canvas.w, canvas.h, canvas.u
    counter = h * 0.7
    _wall(canvas, counter)
    _canister(canvas, w * 0.5 + u * 0.36, counter + u * 0.01, u * 0.3, name="SUGAR")
    _canister(canvas, w * 0.5 + u * 0.62, counter - u * 0.01, u * 0.25, name="TEA")
    _bowl(canvas, w * 0.5 - u * 0.43, counter + u * 0.012, u * 0.27, accent=palette.accent)
    _counter(canvas, counter)
    bag(canvas, w * 0.5, counter + u * 0.07, u * 0.62)
    _sunlight(canvas)


def _wall(canvas: Canvas, counter: float) -> None:
    w, u, rng = canvas.w, canvas.u, canvas.rng
    canvas.backdrop(mix(_GROUT, _TILES[3], 0.25), _GROUT, bottom=counter)
    side, gap = u * 0.145, u * 0.0045
    for row in range(math.ceil(counter / side) + 1):
        for column in range(math.ceil(w / side) + 1):
            left, bottom = column * side - side * 0.3, counter - row * side
            tile = rng.choice(_TILES)
            box = rounded(
                left + gap, bottom - side + gap, left + side - gap, bottom - gap, radius=side * 0.06
            )
            canvas.shape(
                box,
                fill=Gradient((mix(tile, _SUN, 0.45), tile, mix(tile, _PAPER_DEEP, 0.18))),
                blur=u * 0.0022,
            )
            shine = rounded(
                left + side * 0.14,
                bottom - side * 0.88,
                left + side * 0.6,
                bottom - side * 0.8,
                radius=side * 0.04,
            )
            canvas.shape(shine, fill=(255, 255, 255), alpha=0.4, blur=u * 0.005)
    canvas.veil(counter - u * 0.2, counter + u * 0.1, colour=_PAPER_DEEP, alpha=0.28)


def _counter(canvas: Canvas, counter: float) -> None:
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    edge = min(h - u * 0.09, counter + (h - counter) * 0.7)
    canvas.backdrop(
        mix(_COUNTER, _SUN, 0.4), _COUNTER, _COUNTER_DARK, top=counter + u * 0.008, bottom=edge
    )
    specks: dict[Colour, list[Outline]] = {}
    for _ in range(round(700 * w / u)):
        depth = rng.random()
        y = counter + u * 0.012 + (edge - counter - u * 0.014) * depth
        size = u * (0.0008 + 0.0017 * depth) * rng.uniform(0.6, 1.5)
        colour = rng.choice((_RED, _BLUE, _WHEAT, _CANISTER[0], (120, 120, 116), (250, 250, 246)))
        specks.setdefault(colour, []).append(ellipse(rng.random() * w, y, size * 1.5, size))
    for colour, outlines in specks.items():
        canvas.shape(*outlines, fill=colour, alpha=0.45)
    canvas.shape(
        rectangle(0, counter, w, counter + u * 0.01), fill=mix(_COUNTER_DARK, _PAPER_DEEP, 0.4)
    )
    canvas.shape(rectangle(0, edge, w, edge + u * 0.045), fill=Gradient(_CHROME))
    for share in (0.2, 0.55, 0.83):
        canvas.glow(w * share, edge + u * 0.02, u * 0.09, colour=(255, 255, 255), alpha=0.75)
    canvas.backdrop(
        mix(_PAPER_DEEP, (60, 44, 40), 0.55),
        mix(_PAPER_DEEP, (50, 36, 34), 0.8),
        top=edge + u * 0.045,
    )


def _canister(canvas: Canvas, x: float, y: float, high: float, *, name: str) -> None:
    """A tin with a lid, out of focus."""
    half, soft = high * 0.36, canvas.u * 0.006
    at = Frame(x, y, half, high)
    shadow = ellipse(x + half * 0.4, y + half * 0.12, half * 1.35, half * 0.2)
    canvas.shape(shadow, fill=_PAPER_DEEP, alpha=0.5, blur=soft * 2)
    tin = curve(at("1,1 1,0 0.6,-0.043 0,-0.058 -0.6,-0.043 -1,0 -1,1"))
    canvas.shape(tin, fill=Gradient(_CANISTER, across=True), blur=soft)
    paper = Gradient((mix(_PAPER, _PAPER_DEEP, 0.4), _PAPER, _PAPER_DEEP), across=True)
    canvas.shape(at("-1,0.66 1,0.66 1,0.34 -1,0.34"), fill=paper, blur=soft)
    words = {"height": high * 0.14, "bold": 0.02, "alpha": 0.75, "fit": half * 1.5}
    canvas.text(*at.point(0, 0.5), name, colour=_RED, **words)
    (left, top), (right, bottom) = at("-1.05,1.13 1.05,0.96")
    lid = rounded(left, top, right, bottom, radius=high * 0.03)
    canvas.shape(lid, fill=Gradient(_CHROME[:5], across=True), blur=soft)
    canvas.ellipse(*at.point(0, 1.17), half * 0.2, high * 0.05, fill=_CHROME[1], blur=soft)


def _bowl(canvas: Canvas, x: float, y: float, wide: float, *, accent: Colour) -> None:
    """A mixing bowl with a wooden spoon, out of focus."""
    half, soft = wide / 2, canvas.u * 0.006
    at = Frame(x, y, half, wide)
    wood, dark = rgb("#b98150"), rgb("#3c1e1e")
    canvas.stroke(at("-0.2,0.3 0.75,1.05"), width=wide * 0.05, fill=wood, blur=soft)
    spoon = ellipse(*at.point(0.82, 1.1), wide * 0.085, wide * 0.12, turn=40)
    canvas.shape(spoon, fill=wood, blur=soft)
    shadow = ellipse(*at.point(0.2, -0.01), half * 0.9, wide * 0.06)
    canvas.shape(shadow, fill=_PAPER_DEEP, alpha=0.55, blur=soft * 2)
    glaze = mix(accent, rgb("#e8785a"), 0.5)
    side = curve(at("-1,0.5 -0.82,0.2 -0.4,0 0.4,0 0.82,0.2 1,0.5"))
    canvas.shape(side, fill=turned(glaze, lit=_SUN, dark=dark), blur=soft)
    canvas.ellipse(*at.point(0, 0.5), half, wide * 0.075, fill=mix(glaze, dark, 0.3), blur=soft)
    canvas.ellipse(*at.point(0, 0.487), half * 0.9, wide * 0.05, fill=_PAPER, blur=soft)
    for stripe in ("-1,0.36 1,0.36 1,0.33 -1,0.33", "-1,0.29 1,0.29 1,0.26 -1,0.26"):
        canvas.shape(at(stripe), fill=_PAPER, alpha=0.85, clip=side, blur=soft * 0.4)


def _sunlight(canvas: Canvas) -> None:
    """Let the late sun fall through a window onto everything."""
    w, h, u = canvas.w, canvas.h, canvas.u
    for left, right in ((-0.5, -0.18), (-0.1, 0.22)):
        beam = [
            (w * 0.5 + u * left - u * 0.5, 0),
            (w * 0.5 + u * right - u * 0.5, 0),
            (w * 0.5 + u * right + u * 0.42, h),
            (w * 0.5 + u * left + u * 0.42, h),
        ]
        canvas.shape(beam, fill=_SUN, alpha=0.2, blur=u * 0.03)
    canvas.glow(0, 0, u * 1.3, colour=rgb("#ffe3a0"), alpha=0.55)
    canvas.glow(w, h, u * 0.9, colour=rgb("#5a2f1c"), alpha=0.35)
