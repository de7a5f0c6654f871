"""A canvas for soft, anti-aliased shapes, in Pillow alone.

Positions are pixels; scenes take their measures from `w`, `h` and `u`, the shorter side, so that
one composition serves every shape and resolution.
"""

import itertools
import math
import random
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

_OVERSAMPLE = 3
_LARGE_PIXELS = 3_000_000  # from here on two samples a pixel side are enough
_SOFT_PIXELS = 2.0  # a mask that is blurred by more needs no oversampling
_GRAIN_TILE_PIXELS = 512
_MAX_RAMP_STEPS = 96  # the rest of a gradient is interpolated
_EDGE_OF_RADIAL = 179  # Pillow's radial gradient reaches 255 in its corners only
_CURVE_STEPS = 10
_BOLD = 0.035  # the stroke around letters, in their heights
_EVEN = 1.2  # mixed in this power, steps look even and bright colours do not meet in a dark one

Colour = tuple[int, int, int]
Point = tuple[float, float]
Outline = Sequence[Point]
Box = tuple[int, int, int, int]
Edges = tuple[float, float, float, float]


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
    """Return the part of a gradient over `edges` that lies in `box`."""
    axis = 0 if fill.across else 1
    start, length = edges[axis], max(edges[axis + 2] - edges[axis], 1e-6)
    pixels = box[axis + 2] - box[axis]
    steps = min(pixels, _MAX_RAMP_STEPS)
    places = (box[axis] + (step + 0.5) * pixels / steps for step in range(steps))
    shades = bytes(part for place in places for part in fill.at((place - start) / length))
    line = Image.frombytes("RGB", (steps, 1) if fill.across else (1, steps), shades)
    return line.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BILINEAR)
