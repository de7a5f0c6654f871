"""A canvas for soft, anti-aliased shapes, in Pillow alone.

Places are pixels; scenes take their measures from `w`, `h` and `u`, the shorter side, so that
one composition serves every shape and resolution.
"""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from ._colour import Colour, along, mix
from ._outline import Outline, ellipse, stroke

_OVERSAMPLE = 3
_LARGE_PIXELS = 3_000_000  # from here on two samples a pixel side are enough
_GRAIN_TILE_PIXELS = 512
_EDGE_OF_RADIAL = 179  # Pillow's radial gradient reaches 255 in its corners only


@dataclass(frozen=True, slots=True)
class Gradient:
    """A fill that runs through colours, down or across the shape."""

    colours: tuple[Colour, ...]
    across: bool = False


Fill = Colour | Gradient


def turned(colour: Colour, *, lit: Colour, dark: Colour) -> Gradient:
    """A fill that makes a shape look round, with the light on its left."""
    return Gradient((mix(colour, lit, 0.35), colour, mix(colour, dark, 0.5)), across=True)


class Canvas:
    """A picture in the making."""

    def __init__(self, size: tuple[int, int], *, rng: random.Random) -> None:
        """Take a black canvas; `rng` is the only source of chance."""
        self.image = Image.new("RGB", size)
        self.w, self.h = size
        self.u = min(size)
        self.rng = rng
        self._samples = _OVERSAMPLE if self.w * self.h < _LARGE_PIXELS else 2

    def shape(
        self,
        *outlines: Outline,
        fill: Fill,
        alpha: float = 1.0,
        blur: float = 0.0,
        clip: Outline | None = None,
    ) -> None:
        """Fill outlines; `blur` in pixels, `clip` an outline beyond which nothing is painted."""
        box = self._box(outlines, margin=3 * blur)
        if box is None:
            return
        mask = self._mask(box, outlines)
        if blur:
            mask = mask.filter(ImageFilter.GaussianBlur(blur))
        if clip is not None:
            mask = ImageChops.multiply(mask, self._mask(box, [clip]))
        self._pour(box, mask, fill=fill, alpha=alpha, extent=_extent(outlines))

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float | None = None,
        *,
        fill: Fill,
        turn: float = 0.0,
        alpha: float = 1.0,
        blur: float = 0.0,
        clip: Outline | None = None,
    ) -> None:
        """Fill an ellipse, turned by so many degrees."""
        outline = ellipse(x, y, rx, ry, turn=turn)
        self.shape(outline, fill=fill, alpha=alpha, blur=blur, clip=clip)

    def stroke(
        self, points: Outline, *, width: float, fill: Fill, alpha: float = 1.0, blur: float = 0.0
    ) -> None:
        """Draw a line with round ends; `width` in pixels."""
        self.shape(*stroke(points, width=width), fill=fill, alpha=alpha, blur=blur)

    def glow(self, x: float, y: float, radius: float, *, colour: Colour, alpha: float) -> None:
        """Shed light that fades with the square of the distance."""
        box = self._box([ellipse(x, y, radius)], margin=0)
        if box is None:
            return
        side = max(2, round(2 * radius))
        falloff = [
            round(255 * alpha * max(0.0, 1 - step / _EDGE_OF_RADIAL) ** 2) for step in range(256)
        ]
        light = Image.radial_gradient("L").resize((side, side), Image.Resampling.BICUBIC)
        corner = round(x - radius), round(y - radius)
        part = (box[0] - corner[0], box[1] - corner[1], box[2] - corner[0], box[3] - corner[1])
        # Light first, then crop: what a crop adds outside is 0, which is no light.
        self.image.paste(colour, box, light.point(falloff).crop(part))

    def veil(self, top: float, bottom: float, *, colour: Colour, alpha: float) -> None:
        """Lay mist over a band; it is densest in the middle and fades to both edges."""
        first, last = max(0, round(top)), min(self.h, round(bottom))
        if last <= first:
            return
        column = Image.new("L", (1, last - first))
        middle, half = (top + bottom) / 2, (bottom - top) / 2
        column.putdata(
            [
                round(255 * alpha * max(0.0, math.cos((y - middle) / half * math.pi / 2)) ** 2)
                for y in range(first, last)
            ]
        )
        box = (0, first, self.w, last)
        self.image.paste(colour, box, column.resize((self.w, last - first)))

    def backdrop(self, *colours: Colour, top: float = 0, bottom: float | None = None) -> None:
        """Fill the whole width with a gradient from top to bottom, in pixels."""
        end = self.h if bottom is None else bottom
        corners = [(0, top), (self.w, top), (self.w, end), (0, end)]
        self.shape(corners, fill=Gradient(colours))

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        height: float,
        colour: Colour,
        bold: float = 0.0,
        alpha: float = 1.0,
        fit: float | None = None,
    ) -> None:
        """Write one line about a centre; `height` and `fit`, the longest allowed, in pixels."""
        samples = self._samples
        font = ImageFont.load_default(height * samples)
        weight = round(bold * height * samples)
        left, top, right, bottom = font.getbbox(words, stroke_width=weight, anchor="mm")
        if fit is not None and right - left > fit * samples:
            height *= fit * samples / (right - left)
            self.text(x, y, words, height=height, colour=colour, bold=bold, alpha=alpha)
            return
        half_w = math.ceil((right - left) / 2 / samples) + 2
        half_h = math.ceil(max(-top, bottom) / samples) + 2
        mask = Image.new("L", (2 * half_w * samples, 2 * half_h * samples))
        centre = (half_w * samples, half_h * samples)
        pen = ImageDraw.Draw(mask)
        pen.text(centre, words, fill=255, font=font, anchor="mm", stroke_width=weight)
        small = mask.reduce(samples).point([round(step * alpha) for step in range(256)])
        self.image.paste(colour, (round(x) - half_w, round(y) - half_h), small)

    def grain(self, strength: float) -> None:
        """Roughen every pixel by a few steps: it looks like paper and hides banding."""
        side = _GRAIN_TILE_PIXELS
        levels = [128 + round((step - 127.5) / 127.5 * strength) for step in range(256)]
        tile = Image.frombytes("L", (side, side), self.rng.randbytes(side * side)).point(levels)
        noise = Image.new("L", self.image.size)
        for left in range(0, self.w, side):
            for top in range(0, self.h, side):
                noise.paste(tile, (left, top))
        coloured = Image.merge("RGB", (noise, noise, noise))
        self.image = ImageChops.add(self.image, coloured, scale=1, offset=-128)

    def _box(
        self, outlines: Iterable[Outline], *, margin: float
    ) -> tuple[int, int, int, int] | None:
        left, top, right, bottom = _extent(outlines)
        box = (
            max(0, math.floor(left - margin)),
            max(0, math.floor(top - margin)),
            min(self.w, math.ceil(right + margin) + 1),
            min(self.h, math.ceil(bottom + margin) + 1),
        )
        return box if box[0] < box[2] and box[1] < box[3] else None

    def _mask(self, box: tuple[int, int, int, int], outlines: Iterable[Outline]) -> Image.Image:
        left, top, right, bottom = box
        samples = self._samples
        mask = Image.new("L", ((right - left) * samples, (bottom - top) * samples))
        pen = ImageDraw.Draw(mask)
        for outline in outlines:
            pen.polygon([((x - left) * samples, (y - top) * samples) for x, y in outline], fill=255)
        return mask.reduce(samples)

    def _pour(
        self,
        box: tuple[int, int, int, int],
        mask: Image.Image,
        *,
        fill: Fill,
        alpha: float,
        extent: tuple[float, float, float, float],
    ) -> None:
        if alpha < 1:
            mask = mask.point([round(step * alpha) for step in range(256)])
        if isinstance(fill, Gradient):
            self.image.paste(_ramp(box, fill, extent), box, mask)
        else:
            self.image.paste(fill, box, mask)


def _extent(outlines: Iterable[Outline]) -> tuple[float, float, float, float]:
    xs = [x for outline in outlines for x, _ in outline]
    ys = [y for outline in outlines for _, y in outline]
    return min(xs), min(ys), max(xs), max(ys)


def _ramp(
    box: tuple[int, int, int, int], fill: Gradient, extent: tuple[float, float, float, float]
) -> Image.Image:
    """The part of a gradient over `extent` that lies in `box`."""
    axis = 0 if fill.across else 1
    start, length = extent[axis], max(extent[axis + 2] - extent[axis], 1e-6)
    places = range(box[axis], box[axis + 2])
    line = Image.new("RGB", (len(places), 1) if fill.across else (1, len(places)))
    line.putdata([along(fill.colours, (place + 0.5 - start) / length) for place in places])
    return line.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.NEAREST)
