"""Things that stand in the demo's scenes, written down as text and drawn at any size.

A thing is a list of shapes in measures of its own, with y upwards. A shape is a line: a fill
(names or `#rrggbb`; several joined with `/` run downwards, with `>` to the right), options and an
outline: `poly`, `curve`, `loop` (a closed curve) or `oval` (centre, radii) with points `x,y`.
Options: `alpha=`, `blur=`, `line=` (draw the outline this wide), `as=` (name the outline), `in=`
(paint only inside a named one), `both` (mirrored too), `text=` and `height=` (letters about the
first point, no wider than to the second). Indented lines continue a line.
"""

import math
import re

from .canvas import (
    Canvas,
    Colour,
    Frame,
    Gradient,
    Outline,
    Point,
    colours,
    curve,
    down,
    ellipse,
    mix,
    rgb,
)

_GORES = 10
_CLOTHS = (
    *colours("d8432f fbe3b5 f2a541 27567b f6e7c8 d8432f"),  # three a balloon
    *colours("3a8f88 fdf0d0 f0b23c 8a4c8f fde2d4 f08a5c"),
)
_THINGS = """
== fox
shadow alpha=.6 blur=.03 oval 0.1,0 0.5,0.06
#f08a45/#d9622b/#a8431d as=tail loop 0.1,0.03 0.26,-0.012 0.42,0.03 0.53,0.15 0.55,0.31
  0.485,0.47 0.43,0.36 0.385,0.26 0.29,0.19 0.16,0.17
#a8431d alpha=.5 blur=.025 in=tail poly 0.05,-0.1 0.3,0.05 0.46,0.16 0.6,0.4 0.8,0.1 0.5,-0.2
#fff6ea/#e3cfc4 in=tail poly 0.36,0.37 0.42,0.33 0.45,0.37 0.5,0.31 0.53,0.345 0.6,0.29 0.7,0.6
  0.4,0.6
#a8431d/#d9622b/#d9622b/#a8431d as=body loop 0,0.62 -0.11,0.56 -0.155,0.42 -0.21,0.24 -0.225,0.1
  -0.17,0.008 0,0 0.17,0.008 0.225,0.1 0.21,0.24 0.155,0.42 0.11,0.56
#f08a45/#d9622b in=body both loop 0.1,0.02 0.095,0.14 0.15,0.25 0.205,0.22 0.222,0.1 0.17,0.012
#5a2e22/#33211f both loop 0.08,0 0.085,0.038 0.14,0.052 0.19,0.03 0.185,-0.004 0.13,-0.012
#d9622b/#f08a45/#d9622b as=leg both loop 0.005,0.36 0.008,0.15 0.004,0.02 0.02,-0.018 0.065,-0.02
  0.088,0.005 0.076,0.06 0.088,0.2 0.11,0.36
#4e2a21/#33211f in=leg both poly -0.2,0.135 -0.1,0.16 -0.05,0.13 0,0.16 0.05,0.13 0.1,0.16
  0.2,0.135 0.2,-0.1 -0.2,-0.1
#e3cfc4/#fff6ea/#fff6ea poly 0,0.62 -0.115,0.56 -0.128,0.5 -0.098,0.47 -0.108,0.405 -0.07,0.395
  -0.068,0.33 -0.03,0.34 0,0.262 0.03,0.34 0.068,0.33 0.07,0.395 0.108,0.405 0.098,0.47 0.128,0.5
  0.115,0.56
#a8431d alpha=.5 blur=.02 in=body poly -0.2,0.66 0.2,0.66 0.14,0.53 0,0.475 -0.14,0.53
#d9622b as=ear both loop 0.03,0.8 0.075,0.9 0.142,0.985 0.158,0.985 0.178,0.9 0.185,0.8 0.17,0.72
#33211f in=ear both poly 0.05,1.05 0.1,0.925 0.15,0.91 0.2,0.93 0.2,1.05
#33211f/#fedcc3 both loop 0.075,0.81 0.11,0.885 0.146,0.925 0.158,0.87 0.155,0.78
#f08a45/#e57638/#d9622b as=face loop 0,0.853 0.09,0.838 0.165,0.775 0.2,0.7 0.252,0.638
  0.185,0.607 0.11,0.558 0.045,0.512 0,0.502 -0.045,0.512 -0.11,0.558 -0.185,0.607 -0.252,0.638
  -0.2,0.7 -0.165,0.775 -0.09,0.838
#fff6ea/#fff6ea/#e3cfc4 in=face both loop 0.3,0.65 0.2,0.668 0.13,0.678 0.075,0.65 0.042,0.59
  0.012,0.548 -0.02,0.53 -0.01,0.46 0.15,0.5
#33211f both oval 0.088,0.704 0.0215,0.027
#ffffff oval 0.082,0.714 0.0075,0.0075
#ffffff oval -0.094,0.714 0.0075,0.0075
#fff6ea alpha=.75 both oval 0.082,0.752 0.018,0.009
#33211f loop -0.036,0.562 0,0.572 0.036,0.562 0.02,0.536 0,0.524 -0.02,0.536
#ffffff alpha=.6 oval -0.008,0.559 0.01,0.004
== bird
ink alpha=.85 both curve 0,0 0.5,0.42 1,0.28 curve 1,0.28 0.45,0.26 0,-0.12
== boat
hull alpha=.25 blur=.04 poly -0.3,-0.05 0.32,-0.05 0.2,-0.5 0.02,-0.85 -0.2,-0.4
sail>warm curve 0.03,1.02 0.25,0.6 0.4,0.14 poly 0.03,0.12
shade>sail curve -0.02,0.94 -0.22,0.5 -0.34,0.16 poly -0.02,0.13
hull line=.018 poly 0.005,1.06 0.005,0.05
hull poly -0.42,0.09 0.48,0.09 curve 0.46,0.06 0.36,-0.06 0.2,-0.08
  curve -0.28,-0.08 -0.36,-0.03 -0.42,0.09
stripe poly -0.4,0.055 0.46,0.055 0.45,0.03 -0.39,0.03
== lighthouse
#fff3c8 alpha=.2 blur=.02 poly 0,0.9 9,2.34 9,1.08
#fff3c8 alpha=.2 blur=.02 poly 0,0.9 -9,2.34 -9,1.08
dim>#fbf6ec>shade as=tower poly -0.12,0 -0.075,0.82 0.075,0.82 0.12,0
lit>#c8443a>deep in=tower poly -0.12,0.12 -0.12,0.26 0.12,0.26 0.12,0.12
lit>#c8443a>deep in=tower poly -0.12,0.4 -0.12,0.54 0.12,0.54 0.12,0.4
lit>#c8443a>deep in=tower poly -0.12,0.68 -0.12,0.82 0.12,0.82 0.12,0.68
dark poly -0.12,0.82 0.12,0.82 0.12,0.85 -0.12,0.85
#ffe9a8 poly -0.06,0.85 0.06,0.85 0.06,0.95 -0.06,0.95
deep curve -0.08,0.95 0,1.06 0.08,0.95
dark poly -0.025,0 -0.025,0.09 0.025,0.09 0.025,0
#fbf6ec/shade poly 0.14,0.2 0.46,0.2 0.46,-0.03 0.14,-0.03
deep poly 0.1,0.19 0.3,0.34 0.5,0.19
#ffd98a poly 0.2,0.06 0.2,0.13 0.26,0.13 0.26,0.06
#ffd98a poly 0.34,0.06 0.34,0.13 0.4,0.13 0.4,0.06
== flour
#5d4a38 alpha=.5 blur=.02 oval 0.35,0.005 1.5,0.045
#6b543d alpha=.4 blur=.025 poly 0.2,0 2.4,-0.02 2,0.05 0.9,0.12
#fbf1dc>#fbf1dc>#efdfc1>#e6d0ab>#c4a47c as=paper loop -0.96,0.004 -1,0.1 -0.985,0.5 -1,0.84
  -0.93,0.9 -0.94,0.985 -0.5,0.998 0,0.992 0.5,1 0.94,0.985 0.93,0.9 1,0.84 0.99,0.5 1,0.1
  0.96,0.004 0.5,-0.008 0,-0.004 -0.5,-0.008
#27457e>#27457e>#2b3457 alpha=.93 in=paper poly -1.1,0.795 1.1,0.791 1.1,0.826 -1.1,0.83
#c2342f>#c2342f>#882b27 alpha=.93 in=paper poly -1.1,0.775 1.1,0.771 1.1,0.781 -1.1,0.785
#c2342f>#c2342f>#882b27 alpha=.93 in=paper poly -1.1,0.045 1.1,0.041 1.1,0.131 -1.1,0.135
#27457e>#27457e>#2b3457 alpha=.93 in=paper poly -1.1,0.15 1.1,0.146 1.1,0.154 -1.1,0.158
#27457e height=.075 text=ALL-PURPOSE poly -0.02,0.715 1.7,0
#c2342f height=.155 text=FLOUR poly -0.02,0.61 1.74,0
#27457e height=.026 text=ENRICHED_·_UNBLEACHED poly -0.02,0.19 1.6,0
#fbf1dc height=.036 text=NET_WT_5_LBS_(80_OZ)_2.27kg poly -0.02,0.088 1.74,0
#2f4c82 alpha=.93 oval -0.02,0.37 0.468,0.145
#fbf1dc oval -0.02,0.37 0.426,0.132
#f2d9b0 oval -0.02,0.37 0.4,0.124
#8c6a45 alpha=.2 blur=.012 in=paper poly 0.62,0 0.68,0.5 0.62,1 1.2,1 1.2,0
#8c6a45 alpha=.45 blur=.006 in=paper poly -1,0.905 1,0.9 1,0.885 -1,0.893
#ffffff alpha=.5 blur=.006 in=paper poly -1,0.93 1,0.926 1,0.908 -1,0.912
== folds
#c2342f poly -0.117,0.335 0.077,0.335 0.064,0.318 -0.104,0.318
ink alpha=.3 blur=.004 line=.0055 curve -0.98,0.86 -0.7,0.72 -0.74,0.6
ink alpha=.3 blur=.004 line=.0055 curve 0.98,0.84 0.72,0.7 0.76,0.52
ink alpha=.3 blur=.004 line=.0055 curve -0.97,0.3 -0.8,0.2 -0.86,0.05
ink alpha=.3 blur=.004 line=.0055 curve 0.9,0.26 0.78,0.14 0.84,0.02
== tin
#c4a47c alpha=.5 blur=.04 oval 0.4,-0.043 1.35,0.072
#2f7d7a>#7cc2b5>#4a9c94>#1f5654 blur=.022 curve 1,1 1,0 0.6,-0.043 0,-0.058 -0.6,-0.043 -1,0 -1,1
#e5d2b5>#fbf1dc>#c4a47c blur=.022 poly -1,0.66 1,0.66 1,0.34 -1,0.34
#fdfdfb>#8d949b>#e9edf0>#5b636d>#cfd5da blur=.022 poly -1.02,1.13 1.02,1.13 1.05,1.11 1.05,0.98
  1.02,0.96 -1.02,0.96 -1.05,0.98 -1.05,1.11
#8d949b blur=.022 oval 0,1.17 0.2,0.05
== sugar
#c2342f height=.14 text=SUGAR poly 0,0.5 1.5,0
== tea
#c2342f height=.14 text=TEA poly 0,0.5 1.5,0
== bowl
#b98150 blur=.022 line=.05 poly -0.2,0.3 0.75,1.05
#b98150 blur=.022 oval 0.82,1.1 0.2,0.12
#c4a47c alpha=.55 blur=.044 oval 0.2,-0.01 0.9,0.06
#f2a184>#e4775a>#9c4a40 as=side blur=.022 curve -1,0.5 -0.82,0.2 -0.4,0 0.4,0 0.82,0.2 1,0.5
#b4574a blur=.022 oval 0,0.5 1,0.075
#fbf1dc blur=.022 oval 0,0.487 0.9,0.05
#fbf1dc alpha=.85 blur=.01 in=side poly -1,0.36 1,0.36 1,0.33 -1,0.33
== basket
#ffffff alpha=.3 blur=.1 poly -0.62,0.1 -0.55,0.6 -0.3,0.75 -0.25,0.3 -0.45,-0.05
rope line=.018 both poly 0.19,-1.28 0.15,-1.64
#8f6f52>#6b4327>#4a2c22 poly -0.15,-1.64 0.15,-1.64 0.126,-1.88 -0.126,-1.88
rope poly -0.162,-1.62 0.162,-1.62 0.162,-1.685 -0.162,-1.685
"""
_SHAPES = {
    name: [line.split() for line in lines]
    for name, *lines in map(str.splitlines, re.sub(r"\n +", " ", _THINGS).split("== "))
}


def draw(canvas: Canvas, thing: str, at: Frame, **named: Colour) -> None:
    """Draw a thing with the colours that its shapes name."""
    outlines: dict[tuple[str | None, int], Outline] = {}
    for fill, *words in _SHAPES[thing]:
        told = dict(word.split("=") for word in words if "=" in word)
        path = " ".join(word for word in words if "=" not in word and word != "both")
        parts = re.split("[/>]", fill)
        shades = tuple(named[part] if part in named else rgb(part) for part in parts)
        paint = shades[0] if len(shades) == 1 else Gradient(shades, across=">" in fill)
        alpha, blur = float(told.get("alpha", 1)), float(told.get("blur", 0)) * at.high
        for side in (1, -1) if "both" in words else (1,):
            outline = _outline(path, at._replace(wide=at.wide * side))
            outlines[told.get("as"), side] = outline
            inside = told.get("in")
            clip = outlines.get((inside, side), outlines.get((inside, 1))) if inside else None
            if "text" in told:
                letters, height = told["text"].replace("_", " "), float(told["height"]) * at.high
                canvas.text(shades[0], outline[0], letters, height, wide=outline[1][0] - at.x)
            elif "line" in told:
                width = float(told["line"]) * at.high
                canvas.stroke(paint, outline, width, alpha=alpha, blur=blur, clip=clip)
            else:
                canvas.shape(paint, outline, alpha=alpha, blur=blur, clip=clip)


def _outline(path: str, at: Frame) -> Outline:
    outline: list[Point] = []
    for kind, *pairs in (part.split() for part in re.split(r" (?=[a-z])", path)):
        points = [(float(x), float(y)) for x, y in (pair.split(",") for pair in pairs)]
        pixels = at.points(*points)
        if kind == "oval":
            outline += ellipse(*pixels[0], abs(points[1][0] * at.wide), points[1][1] * at.high)
        else:
            outline += pixels if kind == "poly" else curve(pixels, closed=kind == "loop")
    return outline


def flour(canvas: Canvas, x: float, y: float, high: float) -> None:
    """Draw a paper bag of flour, printed in red and blue; `y` is where it stands."""
    at = Frame(x, y, high * 0.31, high)
    draw(canvas, "flour", at)
    for lean in (-24, -12, 12, 24, 0):
        _ear_of_wheat(canvas, x - high * 0.006, y - high * 0.27, high * 0.19, lean)
    draw(canvas, "folds", at, ink=rgb("8c6a45"))
    draw(canvas, "folds", at._replace(x=x - high * 0.007), ink=(255, 255, 255))


def _ear_of_wheat(canvas: Canvas, x: float, y: float, high: float, lean: float) -> None:
    dx, dy = high * math.sin(math.radians(lean)), -high * math.cos(math.radians(lean))
    canvas.stroke(rgb("b78126"), [(x - dx * 0.12, y - dy * 0.12), (x + dx, y + dy)], high * 0.022)
    for grain in range(13):
        along, side = 0.5 + 0.09 * (grain // 2), (-1) ** grain if grain < 12 else 0
        px, py = x + dx * along - dy * 0.042 * side, y + dy * along + dx * 0.042 * side
        seed = ellipse(px, py, high * 0.058, high * 0.028, turn=lean - 90 + 28 * side)
        canvas.shape(rgb("cd8f27") if grain // 2 % 2 else rgb("d99a2b"), seed)


def balloon(canvas: Canvas, at: Frame, kind: int, *, dark: Colour, haze: float = 0.0) -> None:
    """Draw a hot-air balloon about the middle of its envelope, whose radius counts as 1."""
    cloth = [mix(colour, (220, 225, 235), haze) for colour in _CLOTHS[3 * kind : 3 * kind + 3]]
    profile = ((0, 1), (0.45, 0.9), (0.83, 0.55), (1, 0), (0.86, -0.5), (0.5, -0.95), (0.2, -1.28))

    def panel(*sides: float) -> Outline:
        edges = [curve(at.points(*((x * side, y) for x, y in profile))) for side in sides]
        return [*edges[1], *reversed(edges[0])]

    for gore in range(_GORES):
        left, right = (math.sin(math.pi * (part / _GORES - 0.5)) for part in (gore, gore + 1))
        colour = cloth[gore % 2]
        shades = (mix(colour, (255, 255, 240), 0.25), colour, mix(colour, dark, 0.3))
        canvas.shape(down(*shades), panel(left, right))
    top, low = (curve(at.points((-1.1, y), (0, y - 0.21), (1.1, y))) for y in (0.08, -0.21))
    canvas.shape(cloth[2], [*top, *reversed(low)], alpha=0.95, clip=panel(-1, 1))
    canvas.shape(dark, panel(0.25, 1), alpha=0.28, blur=at.high * 0.12, clip=panel(-1, 1))
    draw(canvas, "basket", at, rope=mix(rgb("6b4327"), dark, 0.5))
    canvas.glow(rgb("ffdf8a"), at.x, at.y + at.high * 1.33, at.high * 0.32, alpha=0.8)
