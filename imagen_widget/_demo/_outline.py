"""Outlines: the shapes that a canvas fills, as points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

Point = tuple[float, float]
Outline = Sequence[Point]

_CURVE_STEPS = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing's own measures: an origin in pixels, the pixels that count as 1, y upwards."""

    x: float
    y: float
    wide: float
    """Negative to mirror the drawing."""
    high: float

    def __call__(self, path: str, *, side: int = 1) -> Outline:
        """The pixels of a path such as "0,0 1,0.5"; side -1 mirrors it within the frame."""
        return self.points(*((side * px, py) for px, py in _read(path)))

    def points(self, *points: Point) -> Outline:
        """The pixels of points that have been computed."""
        return [(self.x + px * self.wide, self.y - py * self.high) for px, py in points]

    def point(self, px: float, py: float) -> Point:
        """The pixel of one point."""
        return self.x + px * self.wide, self.y - py * self.high


@lru_cache(maxsize=256)
def _read(path: str) -> tuple[Point, ...]:
    pairs = (word.split(",") for word in path.split())
    return tuple((float(px), float(py)) for px, py in pairs)


def ellipse(x: float, y: float, rx: float, ry: float | None = None, *, turn: float = 0) -> Outline:
    """The outline of an ellipse, turned by so many degrees."""
    high = rx if ry is None else ry
    steps = max(24, min(180, round(max(rx, high))))
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    ring = [
        (rx * math.cos(math.tau * step / steps), high * math.sin(math.tau * step / steps))
        for step in range(steps)
    ]
    return [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in ring]


def rectangle(left: float, top: float, right: float, bottom: float) -> Outline:
    """The outline of an upright rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def rounded(left: float, top: float, right: float, bottom: float, *, radius: float) -> Outline:
    """The outline of an upright rectangle with round corners."""
    r = min(radius, (right - left) / 2, (bottom - top) / 2)
    corners = [
        (right - r, bottom - r, 0),
        (left + r, bottom - r, 90),
        (left + r, top + r, 180),
        (right - r, top + r, 270),
    ]
    return [
        (x + r * math.cos(math.radians(start + turn)), y + r * math.sin(math.radians(start + turn)))
        for x, y, start in corners
        for turn in range(0, 91, 10)
    ]


def curve(points: Outline, *, closed: bool = False) -> Outline:
    """A smooth line through points (Catmull-Rom)."""
    count = len(points)
    if closed:
        quads = [[points[(i + k) % count] for k in (-1, 0, 1, 2)] for i in range(count)]
    else:
        held = [points[0], *points, points[-1]]
        quads = [list(held[i : i + 4]) for i in range(count - 1)]
    line = [_between(quad, step / _CURVE_STEPS) for quad in quads for step in range(_CURVE_STEPS)]
    return line if closed else [*line, points[-1]]


def _between(quad: Sequence[Point], t: float) -> Point:
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad
    weights = (
        -0.5 * t + t * t - 0.5 * t**3,
        1 - 2.5 * t * t + 1.5 * t**3,
        0.5 * t + 2 * t * t - 1.5 * t**3,
        -0.5 * t * t + 0.5 * t**3,
    )
    return (
        sum(w * v for w, v in zip(weights, (ax, bx, cx, dx), strict=True)),
        sum(w * v for w, v in zip(weights, (ay, by, cy, dy), strict=True)),
    )


def stroke(points: Outline, *, width: float) -> list[Outline]:
    """The outlines of a line with round joints and ends."""
    pieces = [ellipse(x, y, width / 2) for x, y in points]
    for (ax, ay), (bx, by) in pairwise(points):
        length = math.hypot(bx - ax, by - ay) or 1.0
        dx, dy = (by - ay) / length * width / 2, (ax - bx) / length * width / 2
        pieces.append(
            [(ax + dx, ay + dy), (bx + dx, by + dy), (bx - dx, by - dy), (ax - dx, ay - dy)]
        )
    return pieces
