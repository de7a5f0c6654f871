"""A paper bag of flour, printed in red and blue."""

import math

from imagen_widget._demo._canvas import Canvas, Gradient
from imagen_widget._demo._colour import Colour, mix, rgb
from imagen_widget._demo._outline import Frame, Outline, curve

_PAPER, _PAPER_SHADE, _PAPER_DEEP = rgb("#fbf1dc"), rgb("#e6d0ab"), rgb("#c4a47c")
_RED, _BLUE, _WHEAT = rgb("#c2342f"), rgb("#27457e"), rgb("#d99a2b")


def bag(canvas: Canvas, x: float, y: float, high: float) -> None:
    """The paper bag; `y` is where it stands."""
    half = high * 0.31

    at = Frame(x, y, half, high)
    canvas.ellipse(
        x + half * 0.35,
        y - high * 0.005,
        half * 1.5,
        high * 0.045,
        fill=rgb("#5d4a38"),
        alpha=0.5,
        blur=high * 0.02,
    )
    canvas.shape(
        at("0.2,0 2.4,-0.02 2,0.05 0.9,0.12"),
        fill=rgb("#6b543d"),
        alpha=0.4,
        blur=high * 0.025,
    )
    paper = curve(
        at(
            "-0.96,0.004 -1,0.1 -0.985,0.5 -1,0.84 -0.93,0.9 -0.94,0.985 -0.5,0.998 "
            "0,0.992 0.5,1 0.94,0.985 0.93,0.9 1,0.84 0.99,0.5 1,0.1 0.96,0.004 "
            "0.5,-0.008 0,-0.004 -0.5,-0.008"
        ),
        closed=True,
    )
    canvas.shape(
        paper,
        fill=Gradient(
            (_PAPER, _PAPER, mix(_PAPER, _PAPER_SHADE, 0.55), _PAPER_SHADE, _PAPER_DEEP),
            across=True,
        ),
    )
    _print(canvas, at, high, paper)
    _creases(canvas, at, high, paper)


def _print(canvas: Canvas, at: Frame, high: float, paper: Outline) -> None:
    """What is printed on the bag."""

    def bar(low: float, up: float, colour: Colour) -> None:
        shades = (colour, colour, mix(colour, (40, 20, 20), 0.35))
        canvas.shape(
            at.points((-1.1, low), (1.1, low - 0.004), (1.1, up - 0.004), (-1.1, up)),
            clip=paper,
            fill=Gradient(shades, across=True),
            alpha=0.93,
        )

    bar(0.795, 0.83, _BLUE)
    bar(0.775, 0.785, _RED)
    bar(0.045, 0.135, _RED)
    bar(0.15, 0.158, _BLUE)

    def line(py: float, words: str, share: float, colour: Colour, bold: float) -> None:
        cx, cy = at.point(-0.02, py)
        canvas.text(
            cx,
            cy,
            words,
            height=high * share,
            colour=colour,
            bold=bold,
            alpha=0.92,
            fit=high * 0.54,
        )

    line(0.715, "ALL-PURPOSE", 0.075, _BLUE, 0.035)
    line(0.61, "FLOUR", 0.155, _RED, 0.045)
    line(0.19, "ENRICHED · UNBLEACHED", 0.026, _BLUE, 0.02)
    line(0.088, "NET WT 5 LBS (80 OZ) 2.27kg", 0.036, _PAPER, 0.025)
    _wheat(canvas, *at.point(-0.02, 0.37), high)


def _wheat(canvas: Canvas, cx: float, cy: float, high: float) -> None:
    """A sheaf of wheat in a ring."""
    canvas.ellipse(cx, cy, high * 0.145, fill=mix(_BLUE, _PAPER, 0.04), alpha=0.93)
    canvas.ellipse(cx, cy, high * 0.132, fill=_PAPER)
    canvas.ellipse(cx, cy, high * 0.124, fill=mix(_WHEAT, _PAPER, 0.72))
    for lean in (-24, -12, 0, 12, 24):
        _ear(canvas, cx, cy + high * 0.1, high * (0.2 - abs(lean) * 0.0012), lean)
    tie = [
        (cx - high * 0.03, cy + high * 0.035),
        (cx + high * 0.03, cy + high * 0.035),
        (cx + high * 0.026, cy + high * 0.052),
        (cx - high * 0.026, cy + high * 0.052),
    ]
    canvas.shape(tie, fill=_RED)


def _ear(canvas: Canvas, x: float, y: float, high: float, lean: float) -> None:
    """One ear of wheat on its stalk."""
    turn = math.radians(lean)
    dx, dy = math.sin(turn), -math.cos(turn)
    canvas.stroke(
        [(x - dx * high * 0.12, y - dy * high * 0.12), (x + dx * high * 0.6, y + dy * high * 0.6)],
        width=high * 0.022,
        fill=mix(_WHEAT, (90, 60, 20), 0.25),
    )
    for grain in range(6):
        along = high * (0.5 + 0.085 * grain)
        for side in (-1, 1):
            off = high * 0.042 * side
            gx, gy = x + dx * along - dy * off, y + dy * along + dx * off
            canvas.ellipse(
                gx,
                gy,
                high * 0.058,
                high * 0.028,
                turn=lean - 90 + side * 28,
                fill=mix(_WHEAT, (120, 70, 10), 0.12 * (grain % 2)),
            )
    tip = high * 1.04
    canvas.ellipse(
        x + dx * tip, y + dy * tip, high * 0.055, high * 0.025, turn=lean - 90, fill=_WHEAT
    )


def _creases(canvas: Canvas, at: Frame, high: float, paper: Outline) -> None:
    """Folds and soft shades that make it paper."""
    soft = high * 0.006
    dark = rgb("#8c6a45")
    canvas.shape(
        at("0.62,0 0.68,0.5 0.62,1 1.2,1 1.2,0"),
        fill=dark,
        alpha=0.2,
        blur=soft * 2,
        clip=paper,
    )
    canvas.shape(
        at("-1,0.905 1,0.9 1,0.885 -1,0.893"),
        fill=dark,
        alpha=0.45,
        blur=soft,
        clip=paper,
    )
    canvas.shape(
        at("-1,0.93 1,0.926 1,0.908 -1,0.912"),
        fill=(255, 255, 255),
        alpha=0.5,
        blur=soft,
        clip=paper,
    )
    for fold in (
        "-0.98,0.86 -0.7,0.72 -0.74,0.6",
        "0.98,0.84 0.72,0.7 0.76,0.52",
        "-0.97,0.3 -0.8,0.2 -0.86,0.05",
        "0.9,0.26 0.78,0.14 0.84,0.02",
    ):
        line = curve(at(fold))
        canvas.stroke(line, width=high * 0.006, fill=dark, alpha=0.22, blur=soft * 0.6)
        lit = [(px - high * 0.007, py) for px, py in line]
        canvas.stroke(lit, width=high * 0.005, fill=(255, 255, 255), alpha=0.45, blur=soft * 0.6)
