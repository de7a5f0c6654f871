"""A meadow of poppies, daisies and cornflowers."""

import math

from imagen_widget._demo._canvas import Canvas, Gradient
from imagen_widget._demo._colour import Colour, mix, rgb
from imagen_widget._demo._outline import Outline, curve, ellipse
from imagen_widget._demo._palette import Palette

from ._nature import birds, clouds, ground, ridge, sky, sun

_POPPIES = (rgb("#e2402f"), rgb("#ef6a3c"), rgb("#d72f4e"), rgb("#f48a5a"))
_BLUES = (rgb("#4d63c9"), rgb("#7a6fd6"), rgb("#5a8fe0"))
_WHITE, _YOLK, _HEART = rgb("#fffaf0"), rgb("#f6bd3a"), rgb("#2b1b2e")
_LEAF = rgb("#4f8a4c")


def paint(canvas: Canvas, palette: Palette) -> None:
    """Paint flowers from the far blur to the near stems."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    sky(canvas, palette, horizon=h * 0.56)
    sun(canvas, palette, w * rng.uniform(0.25, 0.75), h * 0.26, u * 0.075)
    clouds(canvas, palette, top=h * 0.08, bottom=h * 0.36, count=5)
    green = mix(_LEAF, palette.near, 0.25)
    for layer in range(3):
        line = ridge(canvas, base=h * (0.52 + 0.05 * layer), height=h * 0.08, waves=0.8)
        colour = mix(green, palette.sky[-1], 0.62 - 0.2 * layer)
        canvas.shape(ground(canvas, line), fill=Gradient((colour, mix(colour, green, 0.6))))
    birds(
        canvas,
        w * 0.3,
        h * 0.2,
        size=u * 0.016,
        count=4,
        colour=mix(palette.near, palette.far, 0.4),
    )
    _carpet(canvas, palette, green)
    _grass(canvas, mix(green, palette.near, 0.45))
    count = round(11 * w / u) + 2
    for number in range(count):
        near = (number + 0.5) / count
        x = w * ((number * 0.618 + rng.uniform(-0.03, 0.03)) % 1.0)
        tall = u * (0.16 + 0.22 * near) * rng.uniform(0.8, 1.2)
        _flower(
            canvas,
            x,
            h * 1.02,
            tall + (h - u) * 0.08,
            u * (0.032 + 0.034 * near),
            stem=mix(green, palette.near, 0.3),
        )


def _carpet(canvas: Canvas, palette: Palette, green: Colour) -> None:
    """Dots of colour that grow larger and rarer towards us."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    for row in range(7):
        near = row / 6
        haze = 0.4 * (1 - near)
        y = h * (0.6 + 0.3 * near)
        by_colour: dict[Colour, list[Outline]] = {}
        for _ in range(round((150 - 95 * near) * w / u)):
            colour = mix(rng.choice((*_POPPIES, *_POPPIES, *_BLUES, _WHITE)), palette.sky[-1], haze)
            size = u * (0.0028 + 0.011 * near) * rng.uniform(0.6, 1.2)
            spot = ellipse(rng.random() * w, y + rng.gauss(0, 0.022) * h, size, size * 0.75)
            by_colour.setdefault(colour, []).append(spot)
        for colour, spots in by_colour.items():
            canvas.shape(
                *spots, fill=colour, alpha=0.9, blur=u * 0.0016 * (1 + 2 * abs(near - 0.6))
            )
        canvas.veil(y, y + h * 0.14, colour=mix(green, palette.near, 0.3 * near), alpha=0.3)


def _grass(canvas: Canvas, colour: Colour) -> None:
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    for depth in range(2):
        blades = []
        for _ in range(round(110 * w / u)):
            x, tall = rng.random() * w, u * rng.uniform(0.06, 0.2) * (1.15 - 0.4 * depth)
            lean, half = rng.gauss(0, 0.3) * tall, u * 0.003
            blades.append(
                [
                    *curve(
                        [
                            (x - half, h),
                            (x + lean * 0.3 - half, h - tall * 0.6),
                            (x + lean, h - tall),
                        ]
                    ),
                    *curve(
                        [
                            (x + lean, h - tall),
                            (x + lean * 0.3 + half, h - tall * 0.6),
                            (x + half, h),
                        ]
                    ),
                ]
            )
        shade = mix(colour, _LEAF, 0.5 - 0.4 * depth)
        canvas.shape(*blades, fill=Gradient((mix(shade, _YOLK, 0.25), shade)))


def _flower(canvas: Canvas, x: float, y: float, tall: float, size: float, *, stem: Colour) -> None:
    rng = canvas.rng
    lean = rng.uniform(-0.18, 0.18) * tall
    head = (x + lean, y - tall)
    line = curve([(x, y), (x + lean * 0.25, y - tall * 0.55), head])
    canvas.stroke(line, width=size * 0.13, fill=stem)
    for side in (-1, 1):
        lx, ly = x + lean * 0.12, y - tall * rng.uniform(0.2, 0.45)
        tip = (lx + side * size * 1.2, ly - size * 0.9)
        leaf = [
            *curve([(lx, ly), (lx + side * size * 0.35, ly - size * 0.75), tip]),
            *curve([tip, (lx + side * size * 0.8, ly - size * 0.3), (lx, ly)]),
        ]
        canvas.shape(leaf, fill=Gradient((mix(stem, _YOLK, 0.3), stem)))
    kind = rng.random()
    if kind < 0.5:  # noqa: PLR2004 - every second flower
        _poppy(canvas, *head, size, colour=rng.choice(_POPPIES))
    elif kind < 0.78:  # noqa: PLR2004 - about every fourth
        _daisy(canvas, *head, size * 0.95, petals=15, colour=_WHITE, heart=_YOLK)
    else:
        _daisy(canvas, *head, size * 0.8, petals=11, colour=rng.choice(_BLUES), heart=_HEART)


def _poppy(canvas: Canvas, x: float, y: float, size: float, *, colour: Colour) -> None:
    light, dark = mix(colour, _WHITE, 0.22), mix(colour, _HEART, 0.35)
    for dx, dy, rx, ry, fill in (
        (0, -0.42, 0.82, 0.62, Gradient((colour, dark))),
        (-0.5, -0.05, 0.66, 0.66, Gradient((light, colour, dark), across=True)),
        (0.5, -0.05, 0.66, 0.66, Gradient((dark, colour, light), across=True)),
        (0, 0.28, 0.86, 0.56, Gradient((dark, colour, light))),
    ):
        canvas.ellipse(x + dx * size, y + dy * size, rx * size, ry * size, fill=fill)
    canvas.ellipse(
        x, y - size * 0.02, size * 0.3, size * 0.25, fill=_HEART, alpha=0.9, blur=size * 0.03
    )
    canvas.ellipse(x, y - size * 0.04, size * 0.13, size * 0.11, fill=mix(_LEAF, _YOLK, 0.3))
    dots = [
        ellipse(
            x + size * 0.24 * math.cos(a), y - size * 0.03 + size * 0.2 * math.sin(a), size * 0.025
        )
        for a in (step * math.tau / 11 for step in range(11))
    ]
    canvas.shape(*dots, fill=_YOLK)


def _daisy(
    canvas: Canvas, x: float, y: float, size: float, *, petals: int, colour: Colour, heart: Colour
) -> None:
    shade = mix(colour, _HEART, 0.18)
    for layer, fill in ((1.0, shade), (0.94, colour)):
        turn = 0.0 if layer == 1 else 0.5
        outlines = [
            ellipse(
                x + size * 0.6 * layer * math.cos(a),
                y + size * 0.5 * layer * math.sin(a),
                size * 0.42,
                size * 0.15,
                turn=math.degrees(a),
            )
            for a in ((step + turn) * math.tau / petals for step in range(petals))
        ]
        canvas.shape(*outlines, fill=fill)
    canvas.ellipse(
        x,
        y,
        size * 0.3,
        size * 0.26,
        fill=Gradient((mix(heart, _WHITE, 0.25), heart, mix(heart, _HEART, 0.35))),
    )
