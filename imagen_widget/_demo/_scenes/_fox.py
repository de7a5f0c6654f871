"""A fox that sits and looks at you."""

from imagen_widget._demo._canvas import Canvas, Gradient
from imagen_widget._demo._colour import Colour, mix, rgb
from imagen_widget._demo._outline import Frame, curve, ellipse

_FUR, _FUR_LIT, _FUR_SHADE = rgb("#d9622b"), rgb("#f08a45"), rgb("#a8431d")
_CREAM, _CREAM_SHADE = rgb("#fff6ea"), rgb("#e3cfc4")
_DARK = rgb("#33211f")


def fox(canvas: Canvas, x: float, y: float, size: float, *, flip: bool, shadow: Colour) -> None:
    """Draw a fox whose feet stand at a place; `size` is its height."""
    side = -1 if flip else 1

    at = Frame(x, y, side * size, size)
    fall = ellipse(x + side * size * 0.1, y, size * 0.5, size * 0.06)
    canvas.shape(fall, fill=shadow, alpha=0.6, blur=size * 0.03)
    _tail(canvas, at, size)
    _body(canvas, at, size)
    _head(canvas, at, size)


def _tail(canvas: Canvas, at: Frame, size: float) -> None:
    tail = curve(
        at(
            "0.1,0.03 0.26,-0.012 0.42,0.03 0.53,0.15 0.55,0.31 0.485,0.47 0.43,0.36 "
            "0.385,0.26 0.29,0.19 0.16,0.17"
        ),
        closed=True,
    )
    canvas.shape(tail, fill=Gradient((_FUR_LIT, _FUR, _FUR_SHADE)))
    low = at("0.05,-0.1 0.3,0.05 0.46,0.16 0.6,0.4 0.8,0.1 0.5,-0.2")
    canvas.shape(low, fill=_FUR_SHADE, alpha=0.5, blur=size * 0.025, clip=tail)
    tip = at("0.36,0.37 0.42,0.33 0.45,0.37 0.5,0.31 0.53,0.345 0.6,0.29 0.7,0.6 0.4,0.6")
    canvas.shape(tip, fill=Gradient((_CREAM, _CREAM_SHADE)), clip=tail)


def _body(canvas: Canvas, at: Frame, size: float) -> None:
    body = curve(
        at(
            "0,0.62 -0.11,0.56 -0.155,0.42 -0.21,0.24 -0.225,0.1 -0.17,0.008 0,0 "
            "0.17,0.008 0.225,0.1 0.21,0.24 0.155,0.42 0.11,0.56"
        ),
        closed=True,
    )
    canvas.shape(body, fill=Gradient((_FUR_SHADE, _FUR, _FUR, _FUR_SHADE)))
    for side in (-1, 1):
        haunch = curve(
            at("0.1,0.02 0.095,0.14 0.15,0.25 0.205,0.22 0.222,0.1 0.17,0.012", side=side),
            closed=True,
        )
        canvas.shape(haunch, fill=Gradient((_FUR_LIT, _FUR)), clip=body)
        foot = curve(
            at("0.08,0 0.085,0.038 0.14,0.052 0.19,0.03 0.185,-0.004 0.13,-0.012", side=side),
            closed=True,
        )
        canvas.shape(foot, fill=Gradient((mix(_DARK, _FUR_SHADE, 0.35), _DARK)))
    _legs(canvas, at)
    bib = at(
        "0,0.62 -0.115,0.56 -0.128,0.5 -0.098,0.47 -0.108,0.405 -0.07,0.395 "
        "-0.068,0.33 -0.03,0.34 0,0.262 0.03,0.34 0.068,0.33 0.07,0.395 "
        "0.108,0.405 0.098,0.47 0.128,0.5 0.115,0.56"
    )
    canvas.shape(bib, fill=Gradient((_CREAM_SHADE, _CREAM, _CREAM)))
    under = at("-0.2,0.66 0.2,0.66 0.14,0.53 0,0.475 -0.14,0.53")
    canvas.shape(under, fill=_FUR_SHADE, alpha=0.5, blur=size * 0.02, clip=body)


def _legs(canvas: Canvas, at: Frame) -> None:
    for side in (-1, 1):
        leg = curve(
            at(
                "0.005,0.36 0.008,0.15 0.004,0.02 0.02,-0.018 0.065,-0.02 0.088,0.005 "
                "0.076,0.06 0.088,0.2 0.11,0.36",
                side=side,
            ),
            closed=True,
        )
        canvas.shape(leg, fill=Gradient((_FUR, _FUR_LIT, _FUR)))
        sock = at(
            "-0.2,0.135 -0.1,0.16 -0.05,0.13 0,0.16 0.05,0.13 0.1,0.16 0.2,0.135 0.2,-0.1 -0.2,-0.1"
        )
        canvas.shape(sock, fill=Gradient((mix(_DARK, _FUR_SHADE, 0.25), _DARK)), clip=leg)


def _head(canvas: Canvas, at: Frame, size: float) -> None:
    for side in (-1, 1):
        outer = curve(
            at(
                "0.03,0.8 0.075,0.9 0.142,0.985 0.158,0.985 0.178,0.9 0.185,0.8 0.17,0.72",
                side=side,
            ),
            closed=True,
        )
        canvas.shape(outer, fill=Gradient((_FUR, _FUR)))
        canvas.shape(
            at("0.05,1.05 0.1,0.925 0.15,0.91 0.2,0.93 0.2,1.05", side=side),
            fill=_DARK,
            clip=outer,
        )
        inner = curve(
            at("0.075,0.81 0.11,0.885 0.146,0.925 0.158,0.87 0.155,0.78", side=side),
            closed=True,
        )
        canvas.shape(inner, fill=Gradient((_DARK, mix(_CREAM, _FUR_LIT, 0.25))))
    face = curve(
        at(
            "0,0.853 0.09,0.838 0.165,0.775 0.2,0.7 0.252,0.638 0.185,0.607 "
            "0.11,0.558 0.045,0.512 0,0.502 -0.045,0.512 -0.11,0.558 -0.185,0.607 "
            "-0.252,0.638 -0.2,0.7 -0.165,0.775 -0.09,0.838"
        ),
        closed=True,
    )
    canvas.shape(face, fill=Gradient((_FUR_LIT, mix(_FUR_LIT, _FUR, 0.5), _FUR)))
    for side in (-1, 1):
        cheek = curve(
            at(
                "0.3,0.65 0.2,0.668 0.13,0.678 0.075,0.65 0.042,0.59 0.012,0.548 "
                "-0.02,0.53 -0.01,0.46 0.15,0.5",
                side=side,
            ),
            closed=True,
        )
        canvas.shape(cheek, fill=Gradient((_CREAM, _CREAM, _CREAM_SHADE)), clip=face)
    _face(canvas, at, size)


def _face(canvas: Canvas, at: Frame, size: float) -> None:
    for side in (-1, 1):
        ((ex, ey),) = at("0.088,0.704", side=side)
        canvas.ellipse(ex, ey, size * 0.0215, size * 0.027, fill=_DARK)
        gx, gy = at.point(side * 0.088 - 0.006, 0.714)
        canvas.ellipse(gx, gy, size * 0.0075, fill=(255, 255, 255))
        ((bx, by),) = at("0.082,0.752", side=side)
        canvas.ellipse(bx, by, size * 0.018, size * 0.009, fill=_CREAM, alpha=0.75)
    nose = curve(
        at("-0.036,0.562 0,0.572 0.036,0.562 0.02,0.536 0,0.524 -0.02,0.536"),
        closed=True,
    )
    canvas.shape(nose, fill=_DARK)
    ((gx, gy),) = at("-0.008,0.559")
    canvas.ellipse(gx, gy, size * 0.01, size * 0.004, fill=(255, 255, 255), alpha=0.6)
