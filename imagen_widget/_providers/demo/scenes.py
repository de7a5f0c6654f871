"""The scenes that the demo can paint: each takes a canvas and the light of the day."""

import math
from typing import NamedTuple

from PIL import Image, ImageFilter, ImageOps

from . import things
from .canvas import Canvas, Colour, Frame, Outline, colours, curve, down, ellipse, mix, rgb, rounded

_RIDGE_STEPS = 220
_WINDOWS = colours("ffd98a ffc46b fff0c4 ffb066")
_TILES = colours("f7dd8f f3d27c fae6a6 f1cb70")
_SPECKS = colours("c2342f 27457e d99a2b 2f7d7a 787874 fafaf6")
_CHROME = colours("fdfdfb 8d949b e9edf0 5b636d cfd5da f6f6f2 6c747c")
_SUN, _SHADE, _WHITE = rgb("fff1c2"), rgb("c4a47c"), (255, 255, 255)
_ROOFS = (  # x and height of a roof's points, in widths of the tower
    ((0.2, 0), (0.2, 0.2), (0.46, 0.2), (0.5, 1.1), (0.54, 0.2), (0.8, 0.2), (0.8, 0)),
    ((0.15, 0), (0.15, 0.18), (0.3, 0.18), (0.3, 0.36), (0.7, 0.36), (0.7, 0.18), (0.85, 0)),
    ((0, 0), (1, 0.5), (1, 0)),
    ((0.58, 0), (0.55, 0.08), (0.55, 0.28), (0.85, 0.28), (0.85, 0.08), (0.82, 0)),
    ((0, 0), (0.5, 0.55), (1, 0)),
    ((0.488, 0), (0.488, 0.5), (0.512, 0.5), (0.512, 0)),
)


class Light(NamedTuple):
    """Colours that go together; the sky runs from the zenith to the horizon."""

    sky: tuple[Colour, ...]
    sun: Colour
    far: Colour
    near: Colour
    accent: Colour
    snow: tuple[Colour, Colour]  # or any pale ground, in the light and in the shade
    night: bool = False


# -- what outdoor scenes share -----------------------------------------------------------------


def _sky(canvas: Canvas, light: Light, horizon: float, x: float, y: float, radius: float) -> None:
    """Paint a sky with the sun, or by night the moon and stars, and long clouds lit from below."""
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
    """Scatter stars, a few of them bright."""
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
    """Return a fir tree that stands on a ridge."""
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
    """Draw a loose flock in flight."""
    u, rng = canvas.u, canvas.rng
    for wing in (u * rng.uniform(0.009, 0.018) for _ in range(5)):
        at = Frame(x + u * rng.uniform(-0.09, 0.09), y + u * rng.uniform(-0.04, 0.04), wing, wing)
        things.draw(canvas, "bird", at, ink=colour)


def snowfall(canvas: Canvas) -> None:
    """Let it snow: many small flakes far away, a few soft ones near."""
    rng = canvas.rng
    for _ in range(round(200 * max(canvas.w, canvas.h) / canvas.u)):
        x, y, near = rng.random() * canvas.w, rng.random() * canvas.h, rng.random() ** 5
        size = canvas.u * (0.0014 + 0.0085 * near)
        canvas.shape(_WHITE, ellipse(x, y, size), alpha=0.85 - 0.45 * near, blur=size * near)


# -- scenes ------------------------------------------------------------------------------------


def hills(canvas: Canvas, light: Light) -> None:
    """Paint ridge behind ridge, each a little darker than the one behind it."""
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
    """Paint the hills, then balloons, the farthest first."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    hills(canvas, light)
    first = rng.randrange(4)
    side, places = rng.choice((-1, 1)), ((-0.4, 0.2, 0.06), (0.3, 0.14, 0.085))
    for kind, (dx, dy, size) in enumerate((*places, (-0.27, 0.45, 0.115), (0.13, 0.36, 0.24))):
        x = w * (0.5 + side * dx) + u * rng.uniform(-0.02, 0.02)
        at = Frame(x, h * dy, u * size, u * size)
        things.balloon(canvas, at, (kind + first) % 4, dark=light.near, haze=0.4 - size / 0.6)


def fox(canvas: Canvas, light: Light) -> None:
    """Paint a winter evening at the edge of the woods, with a fox that looks at you."""
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
    things.draw(canvas, "fox", at, shadow=mix(shade, light.near, 0.3))
    for dx, wide in ((-0.2, 0.09), (-0.03, 0.12), (0.15, 0.1), (0.3, 0.08)):
        heap = ellipse(x + dx * size, y + size * 0.026, wide * size, size * 0.018)
        canvas.shape(lit, heap, alpha=0.9, blur=size * 0.012)
    snowfall(canvas)


def sea(canvas: Canvas, light: Light) -> None:
    """Paint open water with a sailing boat."""
    side, size = _water(canvas, light), canvas.u * 0.2
    at = Frame(canvas.w * (0.5 + 0.17 * side), canvas.h * 0.66, size, size)
    sail, stripe = mix(rgb("fbf6ec"), light.sky[-1], 0.2), light.accent
    dyes = {"sail": sail, "warm": mix(sail, stripe, 0.35), "shade": mix(sail, light.far, 0.45)}
    things.draw(canvas, "boat", at, hull=mix(light.near, stripe, 0.12), stripe=stripe, **dyes)


def lighthouse(canvas: Canvas, light: Light) -> None:
    """Paint a lighthouse on a headland."""
    w, h, u, near, sky = canvas.w, canvas.h, canvas.u, light.near, light.sky[-2]
    side = _water(canvas, light)
    x = w * (0.5 + 0.3 * side)
    rough = ((-0.48, 1.02), (-0.36, 0.86), (-0.24, 0.82), (-0.15, 0.735), (0, 0.72), (0.2, 0.715))
    coast = [(x + side * u * px, h * py) for px, py in (*rough, (0.45, 0.7), (w / u, 0.66))]
    canvas.shape(down(mix(near, light.far, 0.35), near), [*curve(coast), (x + side * w, h * 1.1)])
    white, red = rgb("fbf6ec"), rgb("c8443a")
    dyes = {"dim": mix(white, sky, 0.3), "shade": mix(white, near, 0.45), "lit": mix(red, sky, 0.2)}
    dyes |= {"deep": mix(red, near, 0.5), "dark": mix(near, rgb("14141e"), 0.4)}
    things.draw(canvas, "lighthouse", Frame(x, h * 0.726, u * 0.4, u * 0.4), **dyes)
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
    """Paint rows of firs in the mist, with light falling through it."""
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


def city(canvas: Canvas, light: Light) -> None:
    """Paint three rows of towers, the nearer with their windows lit, mirrored in a river."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    shore, dark, rows = round(h * 0.76), mix(light.near, rgb("070b1f"), 0.35), (0.68, 0.36, 0.0)
    _sky(canvas, light, shore, w * rng.uniform(0.25, 0.75), h * rng.uniform(0.2, 0.34), u * 0.08)
    for row, share in enumerate(rows):
        body, x = mix(dark, light.sky[-2], share), -u * rng.uniform(0.0, 0.1)
        fill = down(body, mix(body, light.sky[-1], 0.12 if row == 2 else 0.3))
        while x < w:
            wide = u * rng.uniform(0.075, 0.15) * (1 + 0.07 * row)
            tall = h * rng.uniform(0.16, 0.4) * (1.25, 1.05, 0.72)[row]
            tall *= 1.15 - abs(x / w - 0.5) * 0.66
            roof = Frame(x, shore - tall, wide, wide).points(*rng.choice(_ROOFS))
            canvas.shape(fill, _box(x, shore - tall, x + wide, shore), roof)
            if row:
                _windows(canvas, x, shore - tall, wide, shore, dim=row == 1)
            x += wide * rng.uniform(0.95, 1.25)
        canvas.veil(light.sky[-1], shore - h * 0.2, shore + h * 0.12, alpha=0.12 + share / 2)
    depth = h - shore
    source = canvas.image.crop((0, max(0, shore - round(depth * 1.9)), w, shore))
    mirror = ImageOps.flip(source).resize((w, depth)).filter(ImageFilter.GaussianBlur(u * 0.004))
    tint = Image.new("RGB", mirror.size, mix(light.near, light.sky[0], 0.4))
    canvas.image.paste(Image.blend(mirror, tint, 0.34), (0, shore))
    canvas.shape(mix(light.near, (0, 0, 0), 0.3), _box(0, shore - u * 0.006, w, shore))
    for _ in range(round(130 * w / u)):  # the water breaks the reflection
        near, x, long = rng.random(), rng.random() * w, u * rng.uniform(0.4, 1.3)
        ripple = ellipse(x, shore + depth * near, long * (0.015 + 0.07 * near), u * 0.002)
        canvas.shape(rng.choice((light.sky[-1], light.near)), ripple, alpha=0.2)


def _box(left: float, top: float, right: float, bottom: float) -> Outline:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _windows(canvas: Canvas, x: float, top: float, wide: float, low: float, *, dim: bool) -> None:
    rng, lit = canvas.rng, (0.3 if dim else 0.5)
    columns = max(3, round(wide / canvas.u * (42 if dim else 34)))
    cell = wide / (columns + 0.8)
    panes: dict[Colour, list[Outline]] = {}
    for y in (
        top + cell * (0.9 + 1.35 * level) for level in range(int((low - top) / cell / 1.35 - 1))
    ):
        for left in (x + cell * (column + 0.62) for column in range(columns)):
            if rng.random() < lit * (0.5 + 0.5 * rng.random()):
                pane = _box(left, y, left + cell * 0.52, y + cell * 0.72)
                panes.setdefault(rng.choice(_WINDOWS), []).append(pane)
    for colour, outlines in panes.items():
        canvas.shape(colour, *outlines, alpha=0.5 if dim else 0.9)


def kitchen(canvas: Canvas, light: Light) -> None:
    """Paint a sunlit kitchen of the 1960s: in focus only the bag of flour on its counter."""
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
    things.draw(canvas, "bowl", at)
    for name, dx, dy, high in (("sugar", 0.36, 0.01, 0.3), ("tea", 0.62, -0.01, 0.25)):
        at = Frame(w * 0.5 + u * dx, counter + u * dy, u * high * 0.36, u * high)
        things.draw(canvas, "tin", at)
        things.draw(canvas, name, at)
    _counter(canvas, counter)
    things.flour(canvas, w * 0.5, counter + u * 0.07, u * 0.62)
    for left in (-0.5, -0.1):  # the late sun through a window
        top, bottom = w * 0.5 + u * (left - 0.5), w * 0.5 + u * (left + 0.42)
        beam = [(top, 0), (top + u * 0.32, 0), (bottom + u * 0.32, h), (bottom, h)]
        canvas.shape(_SUN, beam, alpha=0.2, blur=u * 0.03)
    canvas.glow(rgb("ffe3a0"), 0, 0, u * 1.3, alpha=0.55)
    canvas.glow(rgb("5a2f1c"), w, h, u * 0.9, alpha=0.35)


def _counter(canvas: Canvas, counter: float) -> None:
    """Paint a speckled counter with an edge of chrome."""
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
