"""Draws the demo's pictures: the same words, key, seed and number give the same picture.

The painter never sees a prompt, only the words in it that it knows and a checksum: so a request
id can hold all that a picture needs, however long the prompt is. A picture that is given is changed
by the words that `EFFECTS` lists, in Pillow alone, but visibly and plausibly.
"""

import io
import itertools
import math
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Value = TypeVar("Value")
Colour = tuple[int, int, int]
Point = tuple[float, float]
Outline = Sequence[Point]
Box = tuple[int, int, int, int]
Edges = tuple[float, float, float, float]

_OVERSAMPLE = 3
_LARGE_PIXELS = 3_000_000  # from here on two samples a pixel side are enough
_SOFT_PIXELS = 2.0  # a mask that is blurred by more needs no oversampling
_GRAIN_TILE_PIXELS = 512
_MAX_RAMP_STEPS = 96  # the rest of a gradient is interpolated
_EDGE_OF_RADIAL = 179  # Pillow's radial gradient reaches 255 in its corners only
_CURVE_STEPS = 10
_BOLD = 0.035  # the stroke around letters, in their heights
_EVEN = 1.2  # mixed in this power, steps look even and bright colours do not meet in a dark one
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_GRAIN_STEPS = 2.2
_PNG_EFFORT = 4  # a third of the time of 6 for a tenth more bytes
_QUALITY = 92
_PLURALS = (("s", ""), ("es", ""), ("ies", "y"))
_GORES = 10
_RIDGE_STEPS = 220


# -- a canvas for soft, anti-aliased shapes ------------------------------------------------------

# Positions are pixels; scenes take their measures from `w`, `h` and `u`, the shorter side, so that
# one composition serves every shape and resolution.


class Gradient(NamedTuple):
    """A fill that runs through evenly spread colours, down or across the shape."""

    colours: tuple[Colour, ...]
    across: bool = False

    def at(self, share: float) -> Colour:
        place = min(max(share, 0.0), 1.0) * (len(self.colours) - 1)
        left = min(int(place), len(self.colours) - 2)
        return mix(self.colours[left], self.colours[left + 1], place - left)


Fill = Colour | Gradient


def down(*colours: Colour) -> Gradient:
    return Gradient(colours)


def rgb(text: str) -> Colour:
    """Return the colour of `#rrggbb`."""
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def colours(text: str) -> tuple[Colour, ...]:
    return tuple(rgb(word) for word in text.split())


@lru_cache(maxsize=8192)
def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour between two, at 0 the first and at 1 the second."""
    share = min(max(share, 0.0), 1.0)
    ends = zip(first, second, strict=True)
    powers = [a**_EVEN + (b**_EVEN - a**_EVEN) * share for a, b in ends]
    red, green, blue = (round(power ** (1 / _EVEN)) for power in powers)
    return red, green, blue


class Frame(NamedTuple):
    """A drawing's own measures: an origin in pixels, the pixels that count as 1, y upwards."""

    x: float
    y: float
    wide: float  # negative to mirror the drawing
    high: float

    def points(self, *points: Point) -> Outline:
        return [(self.x + x * self.wide, self.y - y * self.high) for x, y in points]


def ellipse(x: float, y: float, rx: float, ry: float | None = None, *, turn: float = 0) -> Outline:
    high = rx if ry is None else ry
    steps = max(24, min(180, round(max(rx, high))))
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    angles = (math.tau * step / steps for step in range(steps))
    ring = [(rx * math.cos(angle), high * math.sin(angle)) for angle in angles]
    return [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in ring]


def rounded(left: float, top: float, right: float, bottom: float, radius: float) -> Outline:
    xs, ys = (left + radius, right - radius), (top + radius, bottom - radius)
    return [(xs[x >= 0] + x, ys[y >= 0] + y) for x, y in ellipse(0, 0, radius)]


def curve(points: Outline, *, closed: bool = False) -> Outline:
    """Return a smooth line through points (Catmull-Rom)."""
    held = [points[-1], *points, *points[:2]] if closed else [points[0], *points, points[-1]]
    line = []
    for first, start, end, last in zip(held, held[1:], held[2:], held[3:], strict=False):
        for t in (step / _CURVE_STEPS for step in range(_CURVE_STEPS)):
            a, b = t * (2 * t - 1 - t * t) / 2, 1 - 2.5 * t * t + 1.5 * t**3
            c, d = 0.5 * t + 2 * t * t - 1.5 * t**3, t * t * (t - 1) / 2
            places = zip(first, start, end, last, strict=True)
            x, y = (a * p + b * q + c * r + d * s for p, q, r, s in places)
            line.append((x, y))
    return line if closed else [*line, points[-1]]


class Canvas:
    """A picture in the making; `rng` is its only source of chance."""

    def __init__(self, size: tuple[int, int], *, rng: random.Random) -> None:
        self.image = Image.new("RGB", size)
        self.w, self.h = size
        self.u = min(size)
        self.rng = rng
        self._samples = _OVERSAMPLE if self.w * self.h < _LARGE_PIXELS else 2

    def shape(
        self,
        fill: Fill,
        *outlines: Outline,
        alpha: float = 1,
        blur: float = 0,
        clip: Outline | None = None,
    ) -> None:
        """Fill outlines, but nothing outside of `clip`; `blur` in pixels."""
        edges = _extent(outlines)
        box = self._box(edges, margin=3 * blur)
        if box[0] >= box[2] or box[1] >= box[3]:
            return
        mask = self._mask(box, outlines, blur=blur)
        if clip is not None:
            mask = ImageChops.multiply(mask, self._mask(box, [clip]))
        if alpha < 1:
            mask = mask.point([round(step * alpha) for step in range(256)])
        paint = _ramp(box, fill, edges) if isinstance(fill, Gradient) else fill
        self.image.paste(paint, box, mask)

    def stroke(self, fill: Fill, points: Outline, width: float, **style: Any) -> None:
        pieces = [ellipse(x, y, width / 2) for x, y in points]
        for (ax, ay), (bx, by) in itertools.pairwise(points):
            scale = width / 2 / (math.hypot(bx - ax, by - ay) or 1.0)
            dx, dy = (by - ay) * scale, (ax - bx) * scale
            ends = [(ax + dx, ay + dy), (bx + dx, by + dy), (bx - dx, by - dy), (ax - dx, ay - dy)]
            pieces.append(ends)
        self.shape(fill, *pieces, **style)

    def glow(self, colour: Colour, x: float, y: float, radius: float, *, alpha: float) -> None:
        """Shed light that fades with the square of the distance."""
        box = self._box((x - radius, y - radius, x + radius, y + radius), margin=0)
        shares = (max(0.0, 1 - step / _EDGE_OF_RADIAL) for step in range(256))
        light = Image.radial_gradient("L").point([round(255 * alpha * v * v) for v in shares])
        places = zip(box, (x, y, x, y), strict=True)
        edges = [((edge - middle) / radius + 1) * light.width / 2 for edge, middle in places]
        size = (max(0, box[2] - box[0]), max(0, box[3] - box[1]))
        mask = light.transform(size, Image.Transform.EXTENT, edges, Image.Resampling.BICUBIC)
        self.image.paste(colour, (*box[:2], box[0] + size[0], box[1] + size[1]), mask)

    def veil(self, colour: Colour, top: float, bottom: float, *, alpha: float) -> None:
        """Lay mist over a band; it is densest in the middle and fades to both edges."""
        first, last = max(0, round(top)), min(self.h, round(bottom))
        if last <= first:
            return
        turns = ((2 * y - top - bottom) / (bottom - top) for y in range(first, last))
        levels = [round(255 * alpha * max(0.0, math.cos(t * math.pi / 2)) ** 2) for t in turns]
        column = Image.frombytes("L", (1, last - first), bytes(levels))
        self.image.paste(colour, (0, first, self.w, last), column.resize((self.w, last - first)))

    def backdrop(self, *colours: Colour, top: float = 0, bottom: float | None = None) -> None:
        edges = (0.0, top, float(self.w), self.h if bottom is None else bottom)
        box = self._box(edges, margin=0)
        self.image.paste(_ramp(box, down(*colours), edges), box)

    def text(self, colour: Colour, at: Point, words: str, height: float, *, wide: float) -> None:
        """Write a bold line about a centre, at most so many pixels high and wide."""
        height *= min(1.0, wide / ImageFont.load_default(max(1, height)).getlength(words))
        mask = Image.new("L", self.image.size)
        pen, font = ImageDraw.Draw(mask), ImageFont.load_default(max(1, height))
        pen.text(at, words, 255, font, anchor="mm", stroke_width=int(height * _BOLD))
        self.image.paste(colour, mask=mask)

    def grain(self, strength: float) -> None:
        """Roughen every pixel by a few steps: it looks like paper and hides banding."""
        side = _GRAIN_TILE_PIXELS
        levels = [128 + round((step - 127.5) / 127.5 * strength) for step in range(256)]
        tile = Image.frombytes("L", (side, side), self.rng.randbytes(side * side)).point(levels)
        noise = Image.new("L", self.image.size)
        for corner in itertools.product(range(0, self.w, side), range(0, self.h, side)):
            noise.paste(tile, corner)
        coloured = Image.merge("RGB", (noise, noise, noise))
        self.image = ImageChops.add(self.image, coloured, scale=1, offset=-128)

    def _box(self, edges: Edges, *, margin: float) -> Box:
        left, top = (max(0, math.floor(edge - margin)) for edge in edges[:2])
        right, bottom = (math.ceil(edge + margin) + 1 for edge in edges[2:])
        return left, top, min(self.w, right), min(self.h, bottom)

    def _mask(self, box: Box, outlines: Iterable[Outline], *, blur: float = 0) -> Image.Image:
        left, top, right, bottom = box
        size = (right - left, bottom - top)
        samples = 1 if blur > _SOFT_PIXELS else self._samples
        shrink = max(1, int(blur / 4))  # what is very soft may be small as well
        mask = Image.new("L", (-(-size[0] * samples // shrink), -(-size[1] * samples // shrink)))
        across, downwards = mask.width / size[0], mask.height / size[1]
        pen = ImageDraw.Draw(mask)
        for outline in outlines:
            points = [((x - left) * across, (y - top) * downwards) for x, y in outline]
            pen.polygon(points, fill=255)
        mask = mask.reduce(samples) if samples > 1 else mask
        mask = mask.filter(ImageFilter.GaussianBlur(blur / shrink)) if blur else mask
        return mask if mask.size == size else mask.resize(size, Image.Resampling.BICUBIC)


def _extent(outlines: Iterable[Outline]) -> Edges:
    xs, ys = zip(*(point for outline in outlines for point in outline), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _ramp(box: Box, fill: Gradient, edges: Edges) -> Image.Image:
    axis = 0 if fill.across else 1
    start, length = edges[axis], max(edges[axis + 2] - edges[axis], 1e-6)
    pixels = box[axis + 2] - box[axis]
    steps = min(pixels, _MAX_RAMP_STEPS)
    places = (box[axis] + (step + 0.5) * pixels / steps for step in range(steps))
    shades = bytes(part for place in places for part in fill.at((place - start) / length))
    line = Image.frombytes("RGB", (steps, 1) if fill.across else (1, steps), shades)
    return line.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BILINEAR)


# -- things that stand in the scenes ------------------------------------------------------------

_CLOTHS = (
    *colours("d8432f fbe3b5 f2a541 27567b f6e7c8 d8432f"),  # three a balloon
    *colours("3a8f88 fdf0d0 f0b23c 8a4c8f fde2d4 f08a5c"),
)
_TILES = colours("f7dd8f f3d27c fae6a6 f1cb70")
_SPECKS = colours("c2342f 27457e d99a2b 2f7d7a 787874 fafaf6")
_CHROME = colours("fdfdfb 8d949b e9edf0 5b636d cfd5da f6f6f2 6c747c")
_SUN, _SHADE = rgb("fff1c2"), rgb("c4a47c")

# A thing is a list of shapes in measures of its own, with y upwards. A shape is a line: a fill
# (names or `#rrggbb`; several joined with `/` run downwards, with `>` to the right), options and an
# outline: `poly`, `curve`, `loop` (a closed curve) or `oval` (centre, radii) with points `x,y`.
# Options: `alpha=`, `blur=`, `line=` (draw the outline this wide), `as=` (name the outline), `in=`
# (paint only inside a named one), `both` (mirrored too), `text=` and `height=` (letters about the
# first point, no wider than to the second). Indented lines continue a line.
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


def _draw(canvas: Canvas, thing: str, at: Frame, **named: Colour) -> None:
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
    at = Frame(x, y, high * 0.31, high)
    _draw(canvas, "flour", at)
    for lean in (-24, -12, 12, 24, 0):
        _ear_of_wheat(canvas, x - high * 0.006, y - high * 0.27, high * 0.19, lean)
    _draw(canvas, "folds", at, ink=rgb("8c6a45"))
    _draw(canvas, "folds", at._replace(x=x - high * 0.007), ink=(255, 255, 255))


def _ear_of_wheat(canvas: Canvas, x: float, y: float, high: float, lean: float) -> None:
    dx, dy = high * math.sin(math.radians(lean)), -high * math.cos(math.radians(lean))
    canvas.stroke(rgb("b78126"), [(x - dx * 0.12, y - dy * 0.12), (x + dx, y + dy)], high * 0.022)
    for grain in range(13):
        along, side = 0.5 + 0.09 * (grain // 2), (-1) ** grain if grain < 12 else 0
        px, py = x + dx * along - dy * 0.042 * side, y + dy * along + dx * 0.042 * side
        seed = ellipse(px, py, high * 0.058, high * 0.028, turn=lean - 90 + 28 * side)
        canvas.shape(rgb("cd8f27") if grain // 2 % 2 else rgb("d99a2b"), seed)


def balloon(canvas: Canvas, at: Frame, kind: int, *, dark: Colour, haze: float = 0.0) -> None:
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
    _draw(canvas, "basket", at, rope=mix(rgb("6b4327"), dark, 0.5))
    canvas.glow(rgb("ffdf8a"), at.x, at.y + at.high * 1.33, at.high * 0.32, alpha=0.8)


class Light(NamedTuple):
    """Colours that go together; the sky runs from the zenith to the horizon."""

    sky: tuple[Colour, ...]
    sun: Colour
    far: Colour
    near: Colour
    accent: Colour
    snow: tuple[Colour, Colour]  # or any pale ground, in the light and in the shade
    night: bool = False


# -- what outdoor scenes share ------------------------------------------------------------------


def _sky(canvas: Canvas, light: Light, horizon: float, x: float, y: float, radius: float) -> None:
    u, rng = canvas.u, canvas.rng
    canvas.backdrop(*light.sky, bottom=horizon * 1.05)
    if light.night:
        stars(canvas, horizon * 0.9)
    canvas.glow(light.sun, x, y, radius * 12, alpha=0.38)
    canvas.glow(light.sun, x, y, radius * 4.5, alpha=0.6)
    disc, shade = ellipse(x, y, radius), mix(light.sun, light.sky[-1], 0.35)
    canvas.shape(light.sun, disc)
    spots = ((-0.32, -0.2, 0.24), (0.25, 0.3, 0.3), (0.3, -0.38, 0.14)) if light.night else ()
    for dx, dy, size in spots:
        spot = ellipse(x + dx * radius, y + dy * radius, size * radius)
        canvas.shape(shade, spot, alpha=0.5, blur=radius * 0.05, clip=disc)
    for _ in range(5):
        x, y = rng.random() * canvas.w, horizon * rng.uniform(0.12, 0.72)
        long, fade = u * rng.uniform(0.25, 0.6), rng.uniform(0.1, 0.5)
        parts = [(rng.uniform(-0.5, 0.5), rng.uniform(-0.03, 0.03)) for _ in range(5)]
        puffs = [ellipse(x + long * a, y + long * b, long * 0.3, long * 0.035) for a, b in parts]
        colour = mix(light.sun, light.sky[-2], fade)
        canvas.shape(colour, *puffs, alpha=0.32, blur=u * 0.008)


def stars(canvas: Canvas, bottom: float) -> None:
    rng = canvas.rng
    for _ in range(170):
        x, y = rng.random() * canvas.w, rng.random() ** 1.3 * bottom
        size = canvas.u * rng.choice((0.0009, 0.0012, 0.0016, 0.0023))
        canvas.shape((255, 250, 235), ellipse(x, y, size), alpha=rng.uniform(0.35, 0.95))


def _ridge(canvas: Canvas, base: float, tall: float, *, waves: float, rough: float) -> Outline:
    """Return the ground below a line of hills; `waves` hills to each shorter side."""
    rng = canvas.rng
    sines = [(rough**n, waves * 2**n * rng.uniform(0.8, 1.2), 6.3 * rng.random()) for n in range(5)]
    total = sum(share for share, _, _ in sines)
    line = []
    for x in (canvas.w * step / _RIDGE_STEPS for step in range(_RIDGE_STEPS + 1)):
        turns = math.pi * x / canvas.u
        rise = sum(share * math.sin(turns * often + phase) for share, often, phase in sines)
        line.append((x, base - tall * (0.5 + 0.5 * rise / total)))
    return [*line, (canvas.w, canvas.h), (0, canvas.h)]


def _fir(canvas: Canvas, ridge: Outline, x: float, tall: float) -> Outline:
    place = min(max(x / canvas.w, 0.0), 1.0) * _RIDGE_STEPS
    right = [(0.0, 1.0)]
    for tier in range(6):
        wide, top, low = 0.035 * (tier + 1), 1 - tier / 6.6, 1 - (tier + 1.35) / 6.6
        right += [(wide * 0.28, top - 0.03), (wide, low)]
    right += [(0.022, 0.06), (0.022, -0.05)]
    tree = [*right, *((-px, py) for px, py in reversed(right))]
    return Frame(x, ridge[round(place)][1], tall, tall).points(*tree)


def _firs(
    canvas: Canvas, ridge: Outline, colour: Colour, tall: float, start: float = 0, end: float = 1
) -> None:
    """Plant firs along a ridge from `start` to `end`, in widths."""
    x, trees = start * canvas.w, []
    while x < end * canvas.w:
        trees.append(_fir(canvas, ridge, x, tall * canvas.rng.uniform(0.55, 1.15)))
        x += tall * canvas.rng.uniform(0.18, 0.54)
    canvas.shape(colour, *trees)


def _birds(canvas: Canvas, colour: Colour, x: float, y: float) -> None:
    u, rng = canvas.u, canvas.rng
    for wing in (u * rng.uniform(0.009, 0.018) for _ in range(5)):
        at = Frame(x + u * rng.uniform(-0.09, 0.09), y + u * rng.uniform(-0.04, 0.04), wing, wing)
        _draw(canvas, "bird", at, ink=colour)


def snowfall(canvas: Canvas) -> None:
    rng = canvas.rng
    for _ in range(round(200 * max(canvas.w, canvas.h) / canvas.u)):
        x, y, near = rng.random() * canvas.w, rng.random() * canvas.h, rng.random() ** 5
        size = canvas.u * (0.0014 + 0.0085 * near)
        canvas.shape(_WHITE, ellipse(x, y, size), alpha=0.85 - 0.45 * near, blur=size * near)


# -- scenes ------------------------------------------------------------------------------------


def hills(canvas: Canvas, light: Light) -> None:
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    x = w * rng.uniform(0.3, 0.7)
    _sky(canvas, light, h * 0.72, x, h * rng.uniform(0.26, 0.36), u * 0.075)
    for layer in range(6):
        near = layer / 5
        base, tall = h * (0.56 + 0.342 * near**1.15), h * (0.26 - 0.1 * near)
        ridge = _ridge(canvas, base, tall, waves=0.7 + 0.25 * layer, rough=0.42 - 0.1 * near)
        colour = mix(light.far, light.near, near**0.9)
        if near > 0.5:
            _firs(canvas, ridge, colour, u * (0.03 + 0.18 * (near - 0.5) ** 1.4))
        canvas.shape(down(colour, mix(colour, light.sky[-1], 0.43 - 0.38 * near)), ridge)
        if near < 0.75:
            canvas.veil(light.sky[-1], base - tall * 0.75, base + tall * 0.4, alpha=0.22)
    _birds(canvas, mix(light.near, light.far, 0.3), w * (0.25 if x > w / 2 else 0.75), h * 0.24)


def balloons(canvas: Canvas, light: Light) -> None:
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    hills(canvas, light)
    first = rng.randrange(4)
    side, places = rng.choice((-1, 1)), ((-0.4, 0.2, 0.06), (0.3, 0.14, 0.085))
    for kind, (dx, dy, size) in enumerate((*places, (-0.27, 0.45, 0.115), (0.13, 0.36, 0.24))):
        x = w * (0.5 + side * dx) + u * rng.uniform(-0.02, 0.02)
        at = Frame(x, h * dy, u * size, u * size)
        balloon(canvas, at, (kind + first) % 4, dark=light.near, haze=0.4 - size / 0.6)


def fox(canvas: Canvas, light: Light) -> None:
    w, h, u = canvas.w, canvas.h, canvas.u
    side, (lit, shade) = canvas.rng.choice((1, -1)), light.snow
    _sky(canvas, light, h * 0.66, w * (0.5 - 0.24 * side), h * 0.3, u * 0.07)
    for layer in range(3):
        base = h * (0.56 + 0.06 * layer)
        ridge = _ridge(canvas, base, h * 0.16, waves=0.8 + 0.3 * layer, rough=0.5)
        pale = mix(mix(shade, light.far, 0.45), light.sky[-1], 0.55 - 0.25 * layer)
        canvas.shape(down(mix(pale, lit, 0.3), pale), ridge)
        wood = mix(light.near, pale, 0.72 - 0.2 * layer)
        _firs(canvas, ridge, wood, u * (0.06 + 0.035 * layer))
        canvas.veil(light.sky[-1], base - h * 0.06, base + h * 0.15, alpha=0.4)
    drift = _ridge(canvas, h * 0.78, h * 0.09, waves=0.5, rough=0.3)
    _firs(canvas, drift, light.near, u * 0.3, end=0.2)
    _firs(canvas, drift, light.near, u * 0.3, start=0.82, end=1.02)
    canvas.shape(down(lit, mix(lit, shade, 0.7)), drift)
    front = _ridge(canvas, h * 0.93, h * 0.08, waves=0.4, rough=0.3)
    canvas.shape(down(lit, shade), front)
    x, size = w * (0.5 + 0.06 * side), u * (0.6 if w > h * 1.2 else 0.56)
    y = front[round(x / w * _RIDGE_STEPS)][1] + size * 0.05
    at = Frame(x, y, side * size, size)
    _draw(canvas, "fox", at, shadow=mix(shade, light.near, 0.3))
    for dx, wide in ((-0.2, 0.09), (-0.03, 0.12), (0.15, 0.1), (0.3, 0.08)):
        heap = ellipse(x + dx * size, y + size * 0.026, wide * size, size * 0.018)
        canvas.shape(lit, heap, alpha=0.9, blur=size * 0.012)
    snowfall(canvas)


def sea(canvas: Canvas, light: Light) -> None:
    side, size = _water(canvas, light), canvas.u * 0.2
    at = Frame(canvas.w * (0.5 + 0.17 * side), canvas.h * 0.66, size, size)
    sail, stripe = mix(rgb("fbf6ec"), light.sky[-1], 0.2), light.accent
    dyes = {"sail": sail, "warm": mix(sail, stripe, 0.35), "shade": mix(sail, light.far, 0.45)}
    _draw(canvas, "boat", at, hull=mix(light.near, stripe, 0.12), stripe=stripe, **dyes)


def lighthouse(canvas: Canvas, light: Light) -> None:
    w, h, u, near, sky = canvas.w, canvas.h, canvas.u, light.near, light.sky[-2]
    side = _water(canvas, light)
    x = w * (0.5 + 0.3 * side)
    rough = ((-0.48, 1.02), (-0.36, 0.86), (-0.24, 0.82), (-0.15, 0.735), (0, 0.72), (0.2, 0.715))
    coast = [(x + side * u * px, h * py) for px, py in (*rough, (0.45, 0.7), (w / u, 0.66))]
    canvas.shape(down(mix(near, light.far, 0.35), near), [*curve(coast), (x + side * w, h * 1.1)])
    white, red = rgb("fbf6ec"), rgb("c8443a")
    dyes = {"dim": mix(white, sky, 0.3), "shade": mix(white, near, 0.45), "lit": mix(red, sky, 0.2)}
    dyes |= {"deep": mix(red, near, 0.5), "dark": mix(near, rgb("14141e"), 0.4)}
    _draw(canvas, "lighthouse", Frame(x, h * 0.726, u * 0.4, u * 0.4), **dyes)
    canvas.glow(rgb("fff0b8"), x, h * 0.726 - u * 0.36, u * 0.16, alpha=0.85)


def _water(canvas: Canvas, light: Light) -> int:
    """Paint the sea under a low sun or moon; return the side that is free, -1 or 1."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    horizon, radius, side = h * 0.56, u * 0.085, rng.choice((-1, 1))
    x = w * (0.5 - 0.17 * side + rng.uniform(-0.04, 0.04))
    _sky(canvas, light, horizon, x, horizon - radius * (2.6 if light.night else 1.15), radius)
    isle = _ridge(canvas, horizon, h * 0.07, waves=0.45, rough=0.5)
    canvas.shape(mix(light.far, light.sky[-1], 0.62), isle, alpha=0.85)
    deep, bright = mix(light.near, light.sky[0], 0.45), mix(light.sky[-1], light.far, 0.35)
    shades = (bright, mix(bright, deep, 0.55), mix(deep, light.near, 0.25), deep)
    canvas.backdrop(*shades, top=horizon)
    canvas.glow(light.sun, x, horizon, u * 0.5, alpha=0.3)
    for _ in range(190):  # the sun on the water: short strokes, wider and rarer towards us
        near = rng.random() ** 1.6
        px = x + rng.gauss(0, 0.45) * u * (0.06 + 0.16 * near)
        py = horizon + (h - horizon) * near * 0.95 + u * 0.004
        long = u * (0.012 + 0.055 * near) * rng.uniform(0.4, 1.2)
        glint = ellipse(px, py, long, u * (0.0012 + 0.0035 * near))
        canvas.shape(light.sun, glint, alpha=0.75 - 0.45 * near)
    _birds(canvas, mix(light.near, light.far, 0.4), w - x, horizon * 0.42)
    for near in (0.2, 0.4, 0.6, 0.8, 1.0):  # calm waves over the near water
        base = horizon + (h - horizon) * (0.3 + 0.75 * near**1.3)
        wave = _ridge(canvas, base, u * 0.035 * near, waves=2.2 - 0.9 * near, rough=0.35)
        shade = mix(deep, light.near, near * 0.8)
        canvas.shape(down(mix(shade, light.sky[-1], 0.22), shade, shade), wave, alpha=0.42)
    return side


def forest(canvas: Canvas, light: Light) -> None:
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    pale = mix(light.sky[-1], light.sun, 0.35)
    canvas.backdrop(light.sky[-2], pale, mix(pale, light.far, 0.3))
    x, y = w * rng.uniform(0.35, 0.65), h * 0.27
    canvas.glow(light.sun, x, y, u * 1.0, alpha=0.9)
    canvas.shape(light.sun, ellipse(x, y, u * 0.06), alpha=0.95, blur=u * 0.004)
    for row in range(6):
        near = row / 5
        colour = mix(mix(light.far, pale, 0.62), light.near, near**1.25)
        ridge = _ridge(canvas, h * (0.6 + 0.37 * near), h * 0.09, waves=0.9, rough=0.4)
        height = u * (0.2 + 0.62 * near**1.3) * (0.8 + 0.2 * h / u)
        # The nearest trees stand aside, so that there is something to look into.
        aisle = 0.0 if near < 0.7 else 0.13 + 0.11 * near
        px = -height * 0.1
        while px < w + height * 0.1:
            if abs(px / w - 0.5) >= aisle:
                fir = _fir(canvas, ridge, px, height * rng.uniform(0.6, 1.12))
                canvas.shape(down(colour, mix(colour, pale, 0.28 * (1 - near))), fir)
            px += height * rng.uniform(0.16, 0.42)
        canvas.shape(down(mix(colour, pale, 0.3 * (1 - near)), colour), ridge)
        canvas.veil(pale, h * (0.42 + near * 0.3), h * (0.8 + near / 4), alpha=0.64 * (1 - near))
        if row == 2:
            for _ in range(9):
                angle, half = rng.uniform(0.84, 2.3), rng.uniform(0.014, 0.042)
                turns = [(math.cos(turn), math.sin(turn)) for turn in (angle - half, angle + half)]
                ends = [(x + h * 1.1 * cos, y + h * 1.1 * sin) for cos, sin in turns]
                canvas.shape(light.sun, [(x, y), *ends], alpha=0.2, blur=u * 0.01)
            _birds(canvas, colour, w * 0.7, h * 0.2)
    blades = []
    for _ in range(round(120 * w / u)):  # grass along the lower edge
        at = Frame(rng.random() * w, h, u * 0.0044, u * rng.uniform(0.02, 0.075))
        lean = rng.uniform(-6, 6)
        bend = lean * 0.3
        blades.append(at.points((-0.5, 0), (bend, 0.6), (lean, 1), (bend + 1, 0.6), (0.5, 0)))
    canvas.shape(mix(light.near, (0, 0, 0), 0.25), *blades)


def _box(left: float, top: float, right: float, bottom: float) -> Outline:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def kitchen(canvas: Canvas, light: Light) -> None:
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    counter, side = h * 0.7, u * 0.145
    canvas.backdrop(rgb("faeab9"), rgb("fdf3d3"), bottom=counter)
    for row in range(math.ceil(counter / side) + 1):
        for column in range(math.ceil(w / side) + 1):
            at = Frame((column - 0.3) * side, counter - row * side, side, side)
            (left, top), (right, bottom) = at.points((0.03, 0.97), (0.97, 0.03))
            tile = rng.choice(_TILES)
            fill = down(mix(tile, _SUN, 0.45), tile, mix(tile, _SHADE, 0.18))
            canvas.shape(fill, rounded(left, top, right, bottom, side * 0.06), blur=u * 0.0022)
            (left, top), (right, bottom) = at.points((0.14, 0.88), (0.6, 0.8))
            gleam = rounded(left, top, right, bottom, side * 0.04)
            canvas.shape(_WHITE, gleam, alpha=0.4, blur=u * 0.005)
    canvas.veil(_SHADE, counter - u * 0.2, counter + u * 0.1, alpha=0.28)
    at = Frame(w * 0.5 - u * 0.43, counter + u * 0.012, u * 0.135, u * 0.27)
    _draw(canvas, "bowl", at)
    for name, dx, dy, high in (("sugar", 0.36, 0.01, 0.3), ("tea", 0.62, -0.01, 0.25)):
        at = Frame(w * 0.5 + u * dx, counter + u * dy, u * high * 0.36, u * high)
        _draw(canvas, "tin", at)
        _draw(canvas, name, at)
    _counter(canvas, counter)
    flour(canvas, w * 0.5, counter + u * 0.07, u * 0.62)
    for left in (-0.5, -0.1):  # the late sun through a window
        top, bottom = w * 0.5 + u * (left - 0.5), w * 0.5 + u * (left + 0.42)
        beam = [(top, 0), (top + u * 0.32, 0), (bottom + u * 0.32, h), (bottom, h)]
        canvas.shape(_SUN, beam, alpha=0.2, blur=u * 0.03)
    canvas.glow(rgb("ffe3a0"), 0, 0, u * 1.3, alpha=0.55)
    canvas.glow(rgb("5a2f1c"), w, h, u * 0.9, alpha=0.35)


def _counter(canvas: Canvas, counter: float) -> None:
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    edge = min(h - u * 0.09, counter + (h - counter) * 0.7)
    canvas.backdrop(*colours("f3eed3 e9ebe2 bfc6bd"), top=counter + u * 0.008, bottom=edge)
    specks: dict[Colour, list[Outline]] = {}
    for _ in range(round(700 * w / u)):
        x, depth = rng.random() * w, rng.random()
        y = counter + u * 0.012 + (edge - counter - u * 0.014) * depth
        size = u * (0.0008 + 0.0017 * depth) * rng.uniform(0.6, 1.5)
        specks.setdefault(rng.choice(_SPECKS), []).append(ellipse(x, y, size * 1.5, size))
    for colour, outlines in specks.items():
        canvas.shape(colour, *outlines, alpha=0.45)
    canvas.shape(rgb("c1b9a5"), _box(0, counter, w, counter + u * 0.01))
    canvas.backdrop(*_CHROME, top=edge, bottom=edge + u * 0.045)
    for x in (w * 0.2, w * 0.55, w * 0.83):
        canvas.glow(_WHITE, x, edge + u * 0.02, u * 0.09, alpha=0.75)
    canvas.backdrop(rgb("7c6650"), rgb("4a362c"), top=edge + u * 0.045)


def cut_paper(canvas: Canvas, sheets: tuple[Colour, ...], *, count: int, shadows: bool) -> None:
    """Lay sheets of paper over the picture, each with a hole, the nearest with the widest."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    for near in ((number + 1) / count for number in range(count)):
        waves = [(n, rng.uniform(0, 6.3), rng.uniform(0.05, 0.3) / n) for n in (2, 3, 5, 8)]
        hole = []
        for angle in (math.tau * step / 180 for step in range(181)):
            wave = sum(share * math.sin(n * angle + phase) for n, phase, share in waves)
            reach = (0.3 + 0.19 * near) * (1 + 0.35 * wave)
            hole.append((w * (0.5 + reach * math.cos(angle)), h * (0.5 + reach * math.sin(angle))))
        edge = _box(-u, -u, w + u, h + u)
        sheet = [*hole, (w + u, hole[0][1]), *edge[2:], *edge[:2], (w + u, hole[0][1])]
        if shadows:
            moved = [(x + u * 0.008, y + u * 0.014) for x, y in sheet]
            canvas.shape((20, 12, 30), moved, alpha=0.4, blur=u * 0.014)
        canvas.shape(down(*sheets).at(near), sheet)


# -- words, light and the whole picture ---------------------------------------------------------

# A name, the sky from zenith to horizon; sun, far, near, accent, pale ground in light and shade.
_LIGHTS = """
dusk   2b2c5e 6f4a86 d9748a f7a77c ffd9a3 ; fff3d6 b8788f 2a1c3f ff8a5c ffe6dc a98fc0
gold   e8825a f6a868 fcd08d fff0c7 ; fffbe6 dc9a68 5b2d33 c8553d fff3dc d9a58c
day    2f7fd0 74b6ec bfe2f7 f1f8f5 ; fffdf0 8fbcd9 173f63 ffb347 ffffff b9d3ea
teal   0f5a6e 3d9b9b 9cd3b4 eaf3cf ; fffbe2 77b5a6 0c3843 f4b860 f7fff8 9cc9c6
rose   6a6bb0 b289c4 f0a9b8 ffdcc9 ; fff6e6 b793b8 3d2c58 e4674e fff1ee bfaed6
night  060a23 122050 2f4685 6a7db5 ; fbf3d4 33487f 070b1f ffcf70 c9d6f2 5b74ad
aurora 04121f 0a2f44 14615f 6fb98f ; eafff0 1d5a60 04141c a6f0c6 cfeee6 4c8c93
winter 86add0 b7d2e6 dfeaf0 fdf1e2 ; fffaf0 b3c9db 46617d d9622b ffffff b4cbe2
violet 2a1a55 5d3a97 a86cc9 f3b9d8 ; fff0f7 8a63b3 22123f ffb86b f7e9ff a98fd0
green  2c7d69 6fba8f bfdfa4 f6f3c9 ; fffce0 86b98c 153d2e f08a4b f8fff0 a9cfb4
ember  3a1029 8f2740 e2583f fb9c4a ffd98a ; fff0cc a8433f 240a1d ffd166 ffe3cf b5758a
paper  b9b4a7 d3cec1 e6e2d6 f4f1e8 ; ffffff b3aea2 33312d 8c4a3c fbf9f4 bdb8ac
"""
_MOODS = {  # the lights that words call for, and the colour
    "dusk sunset evening twilight afternoon 黄昏 夕": "dusk ember rose gold",
    "dawn sunrise morning 早晨 清晨": "rose gold winter teal",
    "night midnight moon moonlight star starry neon dark 夜 月 星": "night aurora violet",
    "noon day sunny summer midday 夏": "day teal green gold",
    "snow winter ice frost arctic snowy cold 雪 冬": "winter rose dusk night",
    "fog mist misty foggy haze rain 雾 雨": "teal winter green paper",
    "autumn fall october 秋": "gold ember dusk",
    "spring 春": "rose green day",
    "aurora northern 极光": "aurora",
    "red crimson scarlet fire 红": "ember dusk #cf3630",
    "orange amber warm 橙": "gold ember dusk #ee7f2d",
    "yellow golden gold 黄 金": "gold ember dusk #eeb42f",
    "green emerald olive mint 绿": "green teal aurora #3f8f5f",
    "blue azure navy indigo 蓝": "day night winter #2f66ad",
    "teal turquoise cyan aqua 青": "teal aurora #2a9d96",
    "purple violet lavender 紫": "violet rose dusk #8152b8",
    "pink magenta pastel 粉": "rose violet #e56b98",
    "white grey gray black minimal sketch ink 黑 白": "paper winter night #2a2a31",
}
_ANY_MOOD = "dusk day teal rose gold green violet ember"
TINTS = {words: rgb(mood[-7:]) for words, mood in _MOODS.items() if "#" in mood}
OPTIONS = ("sheets", "shadows", "colours")  # fields of a model that are read here
_SCENES: Mapping[str, Callable[[Canvas, Light], None]] = {
    "fox 狐": fox,
    "kitchen flour wheat bread baker bakery package cake food 厨 面粉": kitchen,
    "balloon 气球": balloons,
    "lighthouse coast cliff 灯塔": lighthouse,
    "sea ocean beach island boat ship sailboat sail wave lake river 海 船 湖 河": sea,
    "water harbour harbor 港": sea,
    "forest tree wood woodland jungle pine deer bear owl 森 林 树": forest,
    "mountain hill landscape valley view alps 山": hills,
}
CALLS = (*_SCENES, *_MOODS)
_DRY = (fox, kitchen)  # one has snow of its own, and in one it never snows
_ANYWHERE = (hills, sea, forest, balloons)


def said(words: str, table: Mapping[str, Value]) -> list[Value]:
    """Return what a table has for words, in its order; its keys are words that mean the same."""
    spoken = words.split()
    return [value for call, value in table.items() if any(word in spoken for word in call.split())]


def known_words(prompt: str, calls: Iterable[str]) -> str:
    """Return those words of a prompt that stand in calls, in their order.

    English words count as a whole or in the plural, Chinese ones anywhere.
    """
    plain = re.sub("black (and|&) white", "monochrome", prompt.lower())
    words = set(re.findall(r"[a-z]+", plain))
    words |= {w.removesuffix(end) + new for w in words for end, new in _PLURALS if w.endswith(end)}
    known = dict.fromkeys(" ".join(calls).split())
    return " ".join(word for word in known if word in (words if word.isascii() else prompt))


def find_light(words: str, key: str, index: int) -> Light:
    names = (said(words, _MOODS) or [_ANY_MOOD])[0].partition(" #")[0].split()
    random.Random(f"{key}|light").shuffle(names)
    name = names[index % len(names)]
    (line,) = (line for line in _LIGHTS.splitlines() if line.startswith(name))
    sky, others = line.removeprefix(name).split(";")
    sun, far, near, accent, lit, shade = colours(others)
    accent = (said(words, TINTS) or [accent])[0]
    return Light(colours(sky), sun, far, near, accent, (lit, shade), night=name in "night aurora")


def draw(canvas: Canvas, words: str, key: str, index: int, options: Mapping[str, Any]) -> None:
    light = find_light(words, key, index)
    scene = (said(words, _SCENES) or [random.Random(key.partition("|")[0]).choice(_ANYWHERE)])[0]
    scene(canvas, light)
    if scene not in _DRY and not {"snow", "雪"}.isdisjoint(words.split()):
        snowfall(canvas)
    count = options.get("sheets")
    if isinstance(count, int):
        papers = re.findall("#[0-9a-f]{6}", str(options.get("colours")).lower())
        sheets = tuple(map(rgb, papers)) or (light.sun, light.accent, light.near)
        shadows = bool(options.get("shadows"))
        cut_paper(canvas, (*sheets, sheets[-1]), count=min(count, 9), shadows=shadows)


def finish(canvas: Canvas, encoding: str) -> bytes:
    """Write DEMO in a corner, so that nobody takes it for a generated picture, and encode it."""
    canvas.grain(_GRAIN_STEPS)
    high, out = canvas.u * 0.034, io.BytesIO()
    right, bottom = canvas.w - canvas.u * 0.03, canvas.h - canvas.u * 0.03
    left, top = right - high * 2.7, bottom - high
    canvas.shape((12, 14, 24), rounded(left, top, right, bottom, high / 2), alpha=0.55)
    middle = ((left + right) / 2, (top + bottom) / 2)
    canvas.text((255, 255, 255), middle, "DEMO", high * 0.58, wide=high * 2)
    canvas.image.save(out, encoding, quality=_QUALITY, compress_level=_PNG_EFFORT, method=2)
    return out.getvalue()


# -- pictures that are given --------------------------------------------------------------------

Effect = Callable[[Canvas, Box], None]


def collage(pictures: Sequence[Image.Image], size: tuple[int, int]) -> Image.Image:
    whole = Image.new("RGB", size, "white")
    edges = [round(size[0] * number / len(pictures)) for number in range(len(pictures) + 1)]
    for left, right, picture in zip(edges, edges[1:], pictures, strict=False):
        part = ImageOps.fit(picture.convert("RGBA"), (right - left, size[1]))
        whole.paste(part, (left, 0), part)
    return whole


def edit(canvas: Canvas, words: str, key: str, *, index: int, mask: Image.Image | None) -> None:
    """Change the picture by words; with a mask only where it is white."""
    before, box = canvas.image, (0, 0, canvas.w, canvas.h)
    if mask is not None:
        mask = mask.convert("L").resize(before.size)
        box = mask.getbbox() or box
    tint = (said(words, TINTS) or [find_light(words, key, index).accent])[0]
    graded = _toned(0.45, mix(tint, _BLACK, 0.8), tint, mix(tint, _WHITE, 0.85))
    for effect in said(words, EFFECTS) or [graded]:
        effect(canvas, box)
    if mask is None:
        _lit(canvas.rng.uniform(0.93, 1.07))(canvas, box)
    else:
        soft = mask.filter(ImageFilter.GaussianBlur(canvas.u * 0.004))
        canvas.image = Image.composite(canvas.image, before, soft)


def _toned(amount: float, dark: Colour, middle: Colour, light: Colour) -> Effect:
    """Return an effect that pulls dark, middle and light towards three colours."""

    def effect(canvas: Canvas, _: Box) -> None:
        toned = ImageOps.colorize(canvas.image.convert("L"), dark, light, middle)
        canvas.image = Image.blend(canvas.image, toned, amount)

    return effect


def _lit(factor: float) -> Effect:
    def effect(canvas: Canvas, _: Box) -> None:
        canvas.image = ImageEnhance.Brightness(canvas.image).enhance(factor)

    return effect


def _bigger(canvas: Canvas, box: Box) -> None:
    wide, high = box[2] - box[0], box[3] - box[1]
    near = (box[0] + wide * 0.13, box[1] + high * 0.13, box[2] - wide * 0.13, box[3] - high * 0.13)
    canvas.image.paste(canvas.image.resize((wide, high), Image.Resampling.LANCZOS, near), box)


def _balloon(canvas: Canvas, box: Box) -> None:
    left, top, right, bottom = box
    share, x = (1.0, 0.5) if (right, bottom) != canvas.image.size else (0.5, 0.27)
    side = min(right - left, bottom - top) * share
    at = Frame(left + (right - left) * x, top + side * 0.35, side * 0.27, side * 0.27)
    balloon(canvas, at, canvas.rng.randrange(4), dark=(40, 40, 70))


def _night(canvas: Canvas, box: Box) -> None:
    # Stars stand where it was bright and high up: in the sky, and not on what is in front of it.
    fading = Image.linear_gradient("L").point([max(0, 255 - 2 * step) for step in range(256)])
    sky = ImageChops.multiply(canvas.image.convert("L"), fading.resize(canvas.image.size))
    _toned(0.88, *colours("01030c 16244f 8296cc"))(canvas, box)
    plain = canvas.image.copy()
    stars(canvas, canvas.h * 0.55)
    canvas.image = Image.composite(canvas.image, plain, ImageChops.add(sky, sky))


def _snow(canvas: Canvas, box: Box) -> None:
    grey = canvas.image.convert("L")
    _toned(0.4, *colours("2c3d58 a9c0d9 ffffff"))(canvas, box)
    # Snow lies where something dark begins below something bright, and on the ground.
    above = ImageChops.offset(grey, 0, round(canvas.u * 0.012))
    caps = ImageChops.subtract(above, grey, scale=0.35)
    canvas.image.paste(_WHITE, (0, 0), caps.filter(ImageFilter.GaussianBlur(canvas.u * 0.003)))
    canvas.veil(_WHITE, canvas.h * 0.7, canvas.h * 1.35, alpha=0.85)
    snowfall(canvas)
    snowfall(canvas)


def _watercolour(canvas: Canvas, _: Box) -> None:
    size = canvas.image.size
    soft = canvas.image.reduce(2).filter(ImageFilter.MedianFilter(9)).resize(size)
    canvas.image = Image.blend(soft, Image.new("RGB", size, "#fbf7ee"), 0.28)


def _framed(canvas: Canvas, _: Box) -> None:
    edge, line = round(canvas.u * 0.07), canvas.u // 200 + 1
    inside = canvas.image.resize((canvas.w - 2 * edge - 2 * line, canvas.h - 2 * edge - 2 * line))
    canvas.image = ImageOps.expand(ImageOps.expand(inside, line, "#3b2a20"), edge, "#f6f1e6")


EFFECTS: Mapping[str, Effect] = {  # applied in this order
    "bigger larger closer zoom 大": _bigger,
    "balloon 气球": _balloon,
    "monochrome greyscale grayscale 黑白": _toned(1.0, *colours("0a0a0a 828282 fafafa")),
    "sepia vintage old 复古": _toned(0.9, *colours("2b1a0c a98258 fff1d0")),
    "sunset dusk evening golden warm warmer 黄昏 暖": _toned(0.6, *colours("3a1230 ea7a48 ffe6b0")),
    "cold colder cool winter ice 冷": _toned(0.45, *colours("0d1f3a 7fa3cc f4faff")),
    "autumn october 秋": _toned(0.5, *colours("35140a d07a2c ffecc0")),
    "night midnight moonlight dark 夜": _night,
    "snow snowy 雪": _snow,
    "fog mist foggy misty rain 雾 雨": _toned(0.7, *colours("8d979d c3cbd0 f1f3f4")),
    "watercolour watercolor 水彩": _watercolour,
    "bright brighter lighter 亮": _lit(1.25),
    "darker 暗": _lit(0.6),
    "frame framed border 框": _framed,
}
