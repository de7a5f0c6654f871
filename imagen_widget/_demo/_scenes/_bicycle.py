"""A bicycle that leans on a wall."""

import math
from dataclasses import dataclass

from imagen_widget._demo._canvas import Canvas, turned
from imagen_widget._demo._colour import Colour, mix, rgb
from imagen_widget._demo._outline import Frame, Outline, curve, ellipse, rectangle
from imagen_widget._demo._palette import Palette

_PLASTER, _STONE = rgb("#f4efe6"), rgb("#b9ada0")
_TYRE, _STEEL, _LEATHER = rgb("#26252b"), rgb("#8b929b"), rgb("#7a4a2c")
_LEAF = rgb("#5f8a54")


def paint(canvas: Canvas, palette: Palette) -> None:
    """Paint wall, pavement, the shadow of a tree, and the bicycle."""
    w, h, u = canvas.w, canvas.h, canvas.u
    floor = h * 0.5 + u * 0.27
    wall = mix(_PLASTER, palette.sky[-1], 0.3)
    canvas.backdrop(
        mix(wall, palette.light, 0.4), wall, mix(wall, palette.snow[1], 0.35), bottom=floor
    )
    canvas.glow(w * 0.2, 0, u * 1.4, colour=palette.light, alpha=0.6)
    shade = mix(palette.snow[1], palette.near, 0.25)
    _leaf_shadows(canvas, shade)
    stone = mix(_STONE, palette.sky[-1], 0.3)
    canvas.backdrop(mix(stone, palette.light, 0.3), stone, mix(stone, palette.near, 0.3), top=floor)
    canvas.shape(
        rectangle(0, floor - u * 0.012, w, floor + u * 0.004), fill=mix(stone, palette.near, 0.3)
    )
    for joint in range(math.ceil(w / u * 5) + 2):
        x = u * 0.2 * joint
        line = [(x, floor + u * 0.004), (w / 2 + (x - w / 2) * 1.8, h)]
        canvas.stroke(line, width=u * 0.003, fill=mix(stone, palette.near, 0.4), alpha=0.5)
    x, y, size = w * 0.5, floor + u * 0.085, u * 0.2
    canvas.ellipse(
        x, y + size * 0.02, size * 2.3, size * 0.1, fill=shade, alpha=0.7, blur=u * 0.012
    )
    shadow = _Pen(
        canvas=canvas,
        at=Frame(x + u * 0.035, y - u * 0.025, size, size),
        frame=shade,
        tyre=shade,
        steel=shade,
        seat=shade,
        alpha=0.4,
        blur=u * 0.006,
    )
    _bicycle(shadow)
    at = Frame(x, y, size, size)
    pen = _Pen(canvas=canvas, at=at, frame=palette.accent, tyre=_TYRE, steel=_STEEL, seat=_LEATHER)
    _bicycle(pen)
    _basket(canvas, x + size * 1.06, y - size * 2.12, size)


def _leaf_shadows(canvas: Canvas, shade: Colour) -> None:
    """Let a branch that is out of the picture throw its shadow."""
    rng, u = canvas.rng, canvas.u
    leaves: list[Outline] = []
    for branch in range(5):
        bx, by = canvas.w - u * 0.1 * branch, -u * 0.05
        for step in range(26):
            t = step / 26
            x = bx - t * u * 0.7 + rng.gauss(0, 0.03) * u
            y = by + t * u * (0.25 + 0.1 * branch) + rng.gauss(0, 0.03) * u
            leaves.append(ellipse(x, y, u * 0.03, u * 0.012, turn=rng.uniform(0, 180)))
    canvas.shape(*leaves, fill=shade, alpha=0.34, blur=u * 0.007)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pen:
    """Draws tubes in a bicycle's own measures, where a wheel's radius counts as 1."""

    canvas: Canvas
    at: Frame
    frame: Colour
    tyre: Colour
    steel: Colour
    seat: Colour
    alpha: float = 1.0
    blur: float = 0.0

    def tube(self, points: Outline, *, width: float, colour: Colour) -> None:
        wide = width * self.at.wide
        self.canvas.stroke(points, width=wide, fill=colour, alpha=self.alpha, blur=self.blur)

    def ring(self, px: float, py: float, radius: float, *, width: float, colour: Colour) -> None:
        x, y = self.at.point(px, py)
        circle = ellipse(x, y, radius * self.at.wide)
        self.tube([*circle, circle[0]], width=width, colour=colour)

    def disc(self, px: float, py: float, radius: float, *, colour: Colour) -> None:
        x, y = self.at.point(px, py)
        wide = radius * self.at.wide
        self.canvas.ellipse(x, y, wide, fill=colour, alpha=self.alpha, blur=self.blur)


def _bicycle(pen: _Pen) -> None:
    at = pen.at
    for hub in (-1.28, 1.28):
        _wheel(pen, hub)
    for path in (
        "-1.28,1 -0.22,0.92",  # from the rear hub to the crank
        "-1.28,1 -0.5,1.8",
        "-0.22,0.92 -0.56,2",  # from the crank up to the saddle
        "-0.5,1.8 0.8,2.02",
        "-0.22,0.92 0.9,1.72",
    ):
        pen.tube(at(path), width=0.062, colour=pen.frame)
    pen.tube(at("0.8,2.02 0.9,1.72"), width=0.085, colour=pen.frame)
    pen.tube(curve(at("0.9,1.72 1.02,1.4 1.28,1")), width=0.06, colour=pen.frame)
    pen.tube(at("-0.56,2 -0.6,2.16"), width=0.04, colour=pen.steel)
    saddle = curve(at("-0.86,2.24 -0.66,2.23 -0.44,2.2 -0.3,2.19"))
    pen.tube(saddle, width=0.1, colour=pen.seat)
    pen.tube(at("0.8,2.02 0.75,2.24"), width=0.045, colour=pen.steel)
    bar = curve(at("0.95,2.28 0.75,2.3 0.52,2.3 0.36,2.2"))
    pen.tube(bar, width=0.04, colour=pen.steel)
    pen.tube(at("0.46,2.27 0.33,2.17"), width=0.075, colour=pen.seat)
    pen.disc(-0.22, 0.92, 0.17, colour=pen.steel)
    pen.disc(-0.22, 0.92, 0.1, colour=pen.frame)
    pen.tube(at("-0.22,0.92 -0.05,0.58"), width=0.045, colour=pen.steel)
    pen.tube(at("-0.15,0.56 0.06,0.56"), width=0.06, colour=pen.tyre)


def _wheel(pen: _Pen, hub: float) -> None:
    for turn in (step * math.tau / 20 for step in range(20)):
        end = (hub + 0.9 * math.cos(turn), 1 + 0.9 * math.sin(turn))
        pen.tube(pen.at.points((hub, 1), end), width=0.012, colour=pen.steel)
    pen.ring(hub, 1, 0.95, width=0.075, colour=pen.tyre)
    pen.ring(hub, 1, 0.88, width=0.03, colour=pen.steel)
    pen.disc(hub, 1, 0.07, colour=pen.steel)
    start = 80 if hub < 0 else 20
    turns = [math.radians(start + step * 1.6) for step in range(61)]
    arc = [(hub + 1.06 * math.cos(turn), 1 + 1.06 * math.sin(turn)) for turn in turns]
    pen.tube(pen.at.points(*arc), width=0.045, colour=pen.frame)


def _basket(canvas: Canvas, x: float, y: float, size: float) -> None:
    """A wicker basket full of flowers on the handlebar."""
    at = Frame(x, y, size, size)
    _bouquet(canvas, at)
    wicker, pale, dark = rgb("#b9874f"), rgb("#fff0d2"), rgb("#462814")
    body = at("-0.36,0 0.36,0 0.28,-0.46 -0.28,-0.46")
    canvas.shape(body, fill=turned(wicker, lit=pale, dark=dark))
    for row in range(5):
        level = -0.05 - 0.09 * row
        twig = at.points((-0.35, level), (0.35, level))
        canvas.stroke(twig, width=size * 0.022, fill=rgb("#8a5f33"), alpha=0.5)
    canvas.stroke(at("-0.37,0 0.37,0"), width=size * 0.06, fill=mix(wicker, dark, 0.25))


def _bouquet(canvas: Canvas, at: Frame) -> None:
    rng, size = canvas.rng, at.wide
    for _ in range(26):
        x, y = at.point(rng.gauss(0, 0.2), rng.uniform(-0.05, 0.29))
        canvas.ellipse(x, y, size * 0.09, size * 0.04, turn=rng.uniform(0, 180), fill=_LEAF)
    for _ in range(15):
        x, y = at.point(rng.uniform(-0.34, 0.34), rng.uniform(0.02, 0.36))
        colour = rng.choice((rgb("#f6d25c"), rgb("#f08a8a"), rgb("#fff6ea"), rgb("#b58ad6")))
        reach = size * 0.045
        petals = [
            ellipse(x + reach * math.cos(turn), y + reach * math.sin(turn), size * 0.04)
            for turn in (step * math.tau / 5 for step in range(5))
        ]
        canvas.shape(*petals, fill=colour)
        canvas.ellipse(x, y, size * 0.025, fill=rgb("#e09a2d"))
