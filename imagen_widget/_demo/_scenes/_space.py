"""A ringed planet among stars."""

import math

from imagen_widget._demo._canvas import Canvas, Gradient
from imagen_widget._demo._colour import Colour, mix, rgb
from imagen_widget._demo._outline import Frame, Outline, ellipse
from imagen_widget._demo._palette import PALETTES, Palette

from ._nature import stars

_VOID = rgb("#050716")


def paint(canvas: Canvas, palette: Palette) -> None:
    """Paint nebulae, stars, a planet with rings and its moons."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    tint = palette if not palette.night else PALETTES["violet"]
    canvas.backdrop(_VOID, mix(_VOID, tint.sky[0], 0.35), mix(_VOID, tint.sky[1], 0.25))
    for _ in range(9):
        x, y = w * rng.random(), h * (0.5 + rng.gauss(0, 0.22))
        colour = mix(rng.choice(tint.sky), tint.accent, rng.random() * 0.4)
        canvas.glow(x, y, u * rng.uniform(0.35, 0.8), colour=colour, alpha=rng.uniform(0.12, 0.3))
    stars(canvas, bottom=h, count=round(330 * max(w, h) / u))
    for _ in range(6):
        x, y, size = w * rng.random(), h * rng.random(), u * rng.uniform(0.012, 0.026)
        canvas.glow(x, y, size * 2.2, colour=tint.light, alpha=0.6)
        for turn in (0, 90):
            canvas.ellipse(x, y, size, size * 0.05, turn=turn, fill=(255, 255, 255), alpha=0.9)
    x, y = w * 0.5 + u * rng.uniform(-0.08, 0.08), h * 0.5 + u * rng.uniform(-0.05, 0.05)
    _planet(canvas, x, y, u * 0.23, tint)
    for side, size in ((-1, 0.045), (1, 0.026)):
        angle = rng.uniform(0.5, 0.9)
        _moon(
            canvas,
            x + side * u * 0.4 * math.cos(angle),
            y - side * u * 0.4 * math.sin(angle),
            u * size,
            tint,
        )


def _planet(canvas: Canvas, x: float, y: float, radius: float, palette: Palette) -> None:
    tilt = canvas.rng.uniform(-26, -14)
    canvas.glow(x, y, radius * 2.1, colour=palette.sky[-2], alpha=0.6)
    at = Frame(x, y, radius, radius)
    _rings(canvas, at, palette, tilt=tilt, front=False)
    disc = ellipse(x, y, radius)
    bands = tuple(
        mix(mix(palette.accent, palette.sky[2], share), palette.light, lift)
        for share, lift in (
            (0.5, 0.5),
            (0.1, 0.25),
            (0.7, 0.35),
            (0.3, 0.1),
            (0.9, 0.3),
            (0.2, 0.05),
            (0.6, 0.0),
        )
    )
    canvas.shape(disc, fill=bands[3])
    slope = math.tan(math.radians(tilt))
    count = len(bands) * 2
    for number in range(count):
        top = y - radius * 1.5 + radius * 3 * number / count
        low = top + radius * 3 / count * 1.05
        strip = [
            (x - radius, top - slope * radius),
            (x + radius, top + slope * radius),
            (x + radius, low + slope * radius),
            (x - radius, low - slope * radius),
        ]
        canvas.shape(
            strip, fill=bands[number * 3 % len(bands)], clip=disc, blur=radius * 0.012, alpha=0.9
        )
    _shade(canvas, disc, x, y, radius)
    _rings(canvas, at, palette, tilt=tilt, front=True)


def _shade(canvas: Canvas, disc: Outline, x: float, y: float, radius: float) -> None:
    """Turn one side away from the light."""
    canvas.shape(
        _crescent((x, y, radius * 1.1), (x - radius * 0.5, y - radius * 0.42, radius * 1.12)),
        fill=_VOID,
        alpha=0.82,
        blur=radius * 0.16,
        clip=disc,
    )
    canvas.ellipse(
        x - radius * 0.42,
        y - radius * 0.45,
        radius * 0.4,
        radius * 0.3,
        turn=-40,
        fill=(255, 255, 255),
        alpha=0.2,
        blur=radius * 0.16,
        clip=disc,
    )


def _crescent(disc: tuple[float, float, float], cover: tuple[float, float, float]) -> Outline:
    """What is left of a disc when another covers it, from tip to tip; x, y and radius each."""
    x, y, radius = disc
    hole_x, hole_y, hole = cover
    outer = [p for p in ellipse(x, y, radius) if math.hypot(p[0] - hole_x, p[1] - hole_y) >= hole]
    inner = [p for p in ellipse(hole_x, hole_y, hole) if math.hypot(p[0] - x, p[1] - y) <= radius]
    away = math.atan2(y - hole_y, x - hole_x)

    def around(point: tuple[float, float], cx: float, cy: float) -> float:
        return (math.atan2(point[1] - cy, point[0] - cx) - away + math.pi) % math.tau

    return [
        *sorted(outer, key=lambda p: around(p, x, y)),
        *sorted(inner, key=lambda p: -around(p, hole_x, hole_y)),
    ]


def _rings(canvas: Canvas, at: Frame, palette: Palette, *, tilt: float, front: bool) -> None:
    """Half of the rings: those behind the planet or those before it."""
    turn, span = math.radians(tilt), (0, math.pi) if front else (math.pi, math.tau)
    for number, (inner, outer, alpha) in enumerate(
        ((1.32, 1.45, 0.4), (1.48, 1.72, 0.85), (1.75, 1.82, 0.5), (1.86, 2.0, 0.62))
    ):
        colour: Colour = mix(palette.light, palette.sky[2], 0.2 + 0.16 * number)
        sweep = [span[0] + (span[1] - span[0]) * step / 90 for step in range(91)]
        edge = [
            (size * math.cos(angle), size * 0.27 * math.sin(angle))
            for size, way in ((outer, 1), (inner, -1))
            for angle in sweep[::way]
        ]
        ring = at.points(
            *(
                (a * math.cos(turn) - b * math.sin(turn), -a * math.sin(turn) - b * math.cos(turn))
                for a, b in edge
            )
        )
        canvas.shape(
            ring,
            fill=Gradient((colour, palette.light, mix(colour, _VOID, 0.55)), across=True),
            alpha=alpha,
        )


def _moon(canvas: Canvas, x: float, y: float, radius: float, palette: Palette) -> None:
    colour = mix(palette.snow[0], palette.far, 0.3)
    disc = ellipse(x, y, radius)
    canvas.shape(disc, fill=colour)
    for dx, dy, size in (
        (-0.3, 0.2, 0.22),
        (0.1, -0.4, 0.16),
        (-0.45, -0.25, 0.12),
        (0.2, 0.35, 0.14),
    ):
        canvas.ellipse(
            x + dx * radius, y + dy * radius, size * radius, fill=mix(colour, _VOID, 0.3), clip=disc
        )
    _shade(canvas, disc, x, y, radius)
