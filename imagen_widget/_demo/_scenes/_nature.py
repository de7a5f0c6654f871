"""What outdoor scenes share: skies, ridges, trees, weather."""

import math

from imagen_widget._demo._canvas import Canvas, Gradient
from imagen_widget._demo._colour import Colour, mix
from imagen_widget._demo._outline import Outline, Point, curve
from imagen_widget._demo._palette import Palette

_RIDGE_STEPS = 220


def sky(canvas: Canvas, palette: Palette, *, horizon: float) -> None:
    """Fill the sky down to the horizon and a little below; by night with stars."""
    canvas.backdrop(*palette.sky, bottom=horizon * 1.05)
    if palette.night:
        stars(canvas, bottom=horizon * 0.9)


def stars(canvas: Canvas, *, bottom: float, count: int = 170) -> None:
    """Scatter stars, a few of them bright."""
    rng = canvas.rng
    for _ in range(count):
        x, y = rng.random() * canvas.w, rng.random() ** 1.3 * bottom
        size = canvas.u * rng.choice((0.0009, 0.0012, 0.0016, 0.0023))
        canvas.ellipse(x, y, size, fill=(255, 250, 235), alpha=rng.uniform(0.35, 0.95))


def sun(canvas: Canvas, palette: Palette, x: float, y: float, radius: float) -> None:
    """Set the sun, or by night the moon, into its glow."""
    canvas.glow(x, y, radius * 12, colour=palette.light, alpha=0.38)
    canvas.glow(x, y, radius * 4.5, colour=palette.light, alpha=0.6)
    canvas.ellipse(x, y, radius, fill=palette.light)
    if palette.night:
        disc = [(x + radius * math.cos(a / 20), y + radius * math.sin(a / 20)) for a in range(126)]
        shade = mix(palette.light, palette.sky[-1], 0.35)
        for dx, dy, size in ((-0.32, -0.2, 0.24), (0.25, 0.3, 0.3), (0.3, -0.38, 0.14)):
            canvas.ellipse(
                x + dx * radius,
                y + dy * radius,
                size * radius,
                fill=shade,
                alpha=0.5,
                blur=radius * 0.05,
                clip=disc,
            )


def clouds(canvas: Canvas, palette: Palette, *, top: float, bottom: float, count: int) -> None:
    """Draw long soft clouds, lit from below the horizon."""
    rng = canvas.rng
    for _ in range(count):
        x, y = rng.random() * canvas.w, rng.uniform(top, bottom)
        length = canvas.u * rng.uniform(0.25, 0.6)
        colour = mix(palette.light, palette.sky[-2], rng.uniform(0.1, 0.5))
        puffs = [
            [
                (x + length * (part + math.cos(a) * 0.3), y + length * (math.sin(a) * 0.035 + lift))
                for a in (step * math.tau / 24 for step in range(24))
            ]
            for part, lift in ((rng.uniform(-0.5, 0.5), rng.uniform(-0.03, 0.03)) for _ in range(5))
        ]
        canvas.shape(*puffs, fill=colour, alpha=0.32, blur=canvas.u * 0.008)


def ridge(
    canvas: Canvas, *, base: float, height: float, waves: float, rough: float = 0.5
) -> list[Point]:
    """A line of hills from edge to edge; `waves` hills to each shorter side."""
    rng = canvas.rng
    octaves = [
        (rough**power, waves * 2**power * rng.uniform(0.8, 1.2), rng.uniform(0, math.tau))
        for power in range(5)
    ]
    total = sum(share for share, _, _ in octaves)
    line = []
    for step in range(_RIDGE_STEPS + 1):
        x = canvas.w * step / _RIDGE_STEPS
        swing = sum(
            share * math.sin(math.tau * often * x / canvas.u * 0.5 + phase)
            for share, often, phase in octaves
        )
        line.append((x, base - height * (0.5 + 0.5 * swing / total)))
    return line


def ground(canvas: Canvas, line: Outline) -> Outline:
    """Everything below a line."""
    return [*line, (canvas.w, canvas.h), (0, canvas.h)]


def height_at(line: Outline, x: float) -> float:
    """How high a line from edge to edge is at a place."""
    right = next((i for i, point in enumerate(line) if point[0] >= x), len(line) - 1)
    (ax, ay), (bx, by) = line[max(0, right - 1)], line[right]
    return by if bx == ax else ay + (by - ay) * (x - ax) / (bx - ax)


def pine(x: float, y: float, height: float, *, lean: float = 0.0) -> Outline:
    """A fir tree that stands at a place."""
    left: list[Point] = []
    right: list[Point] = []
    tiers = 6
    for tier in range(tiers):
        top = y - height * (1 - tier / (tiers + 0.6))
        low = y - height * (1 - (tier + 1.35) / (tiers + 0.6))
        wide = height * 0.21 * (tier + 1) / tiers
        sway = lean * (y - top)
        left += [(x - wide * 0.28 + sway, top + height * 0.03), (x - wide + sway, low)]
        right += [(x + wide * 0.28 + sway, top + height * 0.03), (x + wide + sway, low)]
    tip = (x + lean * height, y - height)
    trunk = height * 0.022
    return [
        tip,
        *right,
        (x + trunk, y - height * 0.06),
        (x + trunk, y),
        (x - trunk, y),
        (x - trunk, y - height * 0.06),
        *reversed(left),
    ]


def pines(
    canvas: Canvas,
    line: Outline,
    *,
    colour: Colour | Gradient,
    height: float,
    gap: float,
    between: tuple[float, float] = (0, 1),
    blur: float = 0.0,
) -> None:
    """Plant firs along a line; `gap` between them in heights, `between` parts of the width."""
    rng = canvas.rng
    x, trees = between[0] * canvas.w, []
    while x < between[1] * canvas.w:
        tall = height * rng.uniform(0.55, 1.15)
        trees.append(pine(x, height_at(line, x) + tall * 0.05, tall))
        x += height * gap * rng.uniform(0.5, 1.5)
    if trees:
        canvas.shape(*trees, fill=colour, blur=blur)


def birds(canvas: Canvas, x: float, y: float, *, size: float, count: int, colour: Colour) -> None:
    """Let a loose flock fly."""
    rng = canvas.rng
    for _ in range(count):
        bx, by = x + rng.uniform(-5, 5) * size, y + rng.uniform(-2, 2) * size
        wing = size * rng.uniform(0.5, 1.0)
        top = curve([(bx - wing, by - wing * 0.28), (bx - wing * 0.5, by - wing * 0.42), (bx, by)])
        tip = curve([(bx, by), (bx + wing * 0.5, by - wing * 0.42), (bx + wing, by - wing * 0.28)])
        low = curve(
            [
                (bx + wing, by - wing * 0.28),
                (bx + wing * 0.45, by - wing * 0.26),
                (bx, by + wing * 0.12),
                (bx - wing * 0.45, by - wing * 0.26),
                (bx - wing, by - wing * 0.28),
            ]
        )
        canvas.shape([*top, *tip, *low], fill=colour, alpha=0.85)


def snowfall(canvas: Canvas, *, count: int = 200) -> None:
    """Let it snow: many small flakes far away, a few soft ones near."""
    rng = canvas.rng
    ratio = max(canvas.w, canvas.h) / canvas.u
    for _ in range(round(count * ratio)):
        x, y, near = rng.random() * canvas.w, rng.random() * canvas.h, rng.random() ** 5
        size = canvas.u * (0.0014 + 0.0085 * near)
        canvas.ellipse(
            x, y, size, fill=(255, 255, 255), alpha=0.85 - 0.45 * near, blur=size * 0.8 * near
        )
