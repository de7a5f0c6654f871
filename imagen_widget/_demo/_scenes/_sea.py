"""The sea under a low sun or moon, with a boat or a lighthouse."""

from imagen_widget._demo._canvas import Canvas, Gradient
from imagen_widget._demo._colour import mix, rgb
from imagen_widget._demo._outline import Frame, curve, rectangle
from imagen_widget._demo._palette import Palette

from ._nature import birds, clouds, ground, ridge, sky, sun

_WHITE, _RED = rgb("#fbf6ec"), rgb("#c8443a")


def paint(canvas: Canvas, palette: Palette) -> None:
    """Paint open water with a sailing boat."""
    horizon, x = _water(canvas, palette)
    side = -1 if x > canvas.w / 2 else 1
    _boat(canvas, palette, canvas.w * (0.5 + 0.17 * side), horizon + canvas.h * 0.1)
    _swell(canvas, palette, horizon)


def lighthouse(canvas: Canvas, palette: Palette) -> None:
    """Paint a lighthouse on a headland."""
    w, h, u = canvas.w, canvas.h, canvas.u
    horizon, x = _water(canvas, palette)
    _swell(canvas, palette, horizon)
    side = -1 if x > w / 2 else 1
    foot = w * (0.5 + 0.3 * side)
    edge = [
        (foot - side * u * 0.48, h * 1.02),
        (foot - side * u * 0.36, h * 0.86),
        (foot - side * u * 0.24, h * 0.82),
        (foot - side * u * 0.15, h * 0.735),
        (foot, h * 0.72),
        (foot + side * u * 0.2, h * 0.715),
        (foot + side * u * 0.45, h * 0.7),
        (foot + side * w * 0.8, h * 0.66),
    ]
    rock = [*curve(edge), (foot + side * w * 0.8, h * 1.1)]
    canvas.shape(rock, fill=Gradient((mix(palette.near, palette.far, 0.35), palette.near)))
    _tower(canvas, palette, foot, h * 0.726, u * 0.4)


def _water(canvas: Canvas, palette: Palette) -> tuple[float, float]:
    """Paint sky and water; the horizon and the place of the sun."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    horizon = h * 0.56
    sky(canvas, palette, horizon=horizon)
    x = w * (rng.choice((0.33, 0.67)) + rng.uniform(-0.04, 0.04))
    radius = u * 0.085
    sun(canvas, palette, x, horizon - radius * (2.6 if palette.night else 1.15), radius)
    clouds(canvas, palette, top=h * 0.08, bottom=horizon * 0.85, count=7)
    for base, share in ((0.0, 0.62), (0.008, 0.4)):
        line = ridge(canvas, base=horizon + base * h, height=h * 0.07, waves=0.45, rough=0.5)
        isle = [(px, max(py, horizon - h * 0.05) if base else py) for px, py in line]
        near = mix(palette.far, palette.sky[-1], share)
        if not base:
            canvas.shape([*isle, (w, horizon), (0, horizon)], fill=near, alpha=0.85)
    deep = mix(palette.near, palette.sky[0], 0.45)
    bright = mix(palette.sky[-1], palette.far, 0.35)
    canvas.backdrop(
        bright, mix(bright, deep, 0.55), mix(deep, palette.near, 0.25), deep, top=horizon
    )
    _glitter(canvas, palette, x, horizon)
    birds(
        canvas,
        w - x,
        horizon * 0.42,
        size=u * 0.02,
        count=5,
        colour=mix(palette.near, palette.far, 0.4),
    )
    return horizon, x


def _glitter(canvas: Canvas, palette: Palette, x: float, horizon: float) -> None:
    """Break the light on the water: short strokes, wider and rarer towards us."""
    rng, u, depth = canvas.rng, canvas.u, canvas.h - horizon
    canvas.glow(x, horizon, u * 0.5, colour=palette.light, alpha=0.3)
    for _ in range(190):
        near = rng.random() ** 1.6
        y = horizon + depth * near * 0.95 + u * 0.004
        spread = u * (0.06 + 0.16 * near)
        px = x + rng.gauss(0, 0.45) * spread
        length = u * (0.012 + 0.055 * near) * rng.uniform(0.4, 1.2)
        canvas.ellipse(
            px,
            y,
            length,
            u * (0.0012 + 0.0035 * near),
            fill=palette.light,
            alpha=0.75 - 0.45 * near,
        )


def _swell(canvas: Canvas, palette: Palette, horizon: float) -> None:
    """Lay calm waves over the near water."""
    deep = mix(palette.near, palette.sky[0], 0.4)
    for layer in range(5):
        near = (layer + 1) / 5
        base = horizon + (canvas.h - horizon) * (0.3 + 0.75 * near**1.3)
        line = ridge(
            canvas, base=base, height=canvas.u * 0.035 * near, waves=2.2 - 0.9 * near, rough=0.35
        )
        shade = mix(deep, palette.near, near * 0.8)
        canvas.shape(
            ground(canvas, line),
            fill=Gradient((mix(shade, palette.sky[-1], 0.22), shade, shade)),
            alpha=0.42,
        )


def _boat(canvas: Canvas, palette: Palette, x: float, y: float) -> None:
    size = canvas.u * 0.2

    at = Frame(x, y, size, size)
    dark = mix(palette.near, palette.accent, 0.12)
    sail = mix(_WHITE, palette.sky[-1], 0.2)
    canvas.shape(
        at("-0.3,-0.05 0.32,-0.05 0.2,-0.5 0.02,-0.85 -0.2,-0.4"),
        fill=dark,
        alpha=0.25,
        blur=size * 0.04,
    )
    canvas.shape(
        [*curve(at("0.03,1.02 0.25,0.6 0.4,0.14")), *at("0.03,0.12")],
        fill=Gradient((sail, mix(sail, palette.accent, 0.35)), across=True),
    )
    canvas.shape(
        [*curve(at("-0.02,0.94 -0.22,0.5 -0.34,0.16")), *at("-0.02,0.13")],
        fill=Gradient((mix(sail, palette.far, 0.45), sail), across=True),
    )
    canvas.stroke(at("0.005,1.06 0.005,0.05"), width=size * 0.018, fill=dark)
    canvas.shape(
        [
            *at("-0.42,0.09 0.48,0.09"),
            *curve(at("0.46,0.06 0.36,-0.06 0.2,-0.08")),
            *curve(at("-0.28,-0.08 -0.36,-0.03 -0.42,0.09")),
        ],
        fill=dark,
    )
    canvas.shape(at("-0.4,0.055 0.46,0.055 0.45,0.03 -0.39,0.03"), fill=palette.accent)


def _tower(canvas: Canvas, palette: Palette, x: float, y: float, size: float) -> None:
    at = Frame(x, y, size, size)
    lamp = at("0,0.9")[0]
    for side in (-1, 1):
        reach = canvas.w + canvas.h
        ends = [(lamp[0] + side * reach, lamp[1] - reach * rise) for rise in (0.16, 0.02)]
        alpha = 0.3 if palette.night else 0.16
        canvas.shape([lamp, *ends], fill=rgb("#fff3c8"), alpha=alpha, blur=size * 0.02)
    tower = at("-0.12,0 -0.075,0.82 0.075,0.82 0.12,0")
    shaded = (mix(_WHITE, palette.sky[-2], 0.3), _WHITE, mix(_WHITE, palette.near, 0.5))
    canvas.shape(tower, fill=Gradient(shaded, across=True))
    reds = (mix(_RED, palette.light, 0.2), _RED, mix(_RED, palette.near, 0.55))
    for band in (0.12, 0.4, 0.68):
        stripe = at.points((-0.12, band), (-0.12, band + 0.14), (0.12, band + 0.14), (0.12, band))
        canvas.shape(stripe, fill=Gradient(reds, across=True), clip=tower)
    dark = mix(palette.near, (20, 20, 30), 0.4)
    canvas.shape(at("-0.12,0.82 0.12,0.82 0.12,0.85 -0.12,0.85"), fill=dark)
    canvas.shape(at("-0.06,0.85 0.06,0.85 0.06,0.95 -0.06,0.95"), fill=rgb("#ffe9a8"))
    canvas.glow(*lamp, size * 0.4, colour=rgb("#fff0b8"), alpha=0.85)
    canvas.shape(
        [*at("-0.08,0.95"), *curve(at("-0.08,0.95 0,1.06 0.08,0.95"))],
        fill=mix(_RED, dark, 0.3),
    )
    canvas.shape(at("-0.025,0 -0.025,0.09 0.025,0.09 0.025,0"), fill=dark)
    house = rectangle(x + size * 0.14, y - size * 0.2, x + size * 0.46, y + size * 0.03)
    canvas.shape(house, fill=Gradient((_WHITE, mix(_WHITE, palette.near, 0.35))))
    canvas.shape(at("0.1,0.19 0.3,0.34 0.5,0.19"), fill=mix(_RED, dark, 0.35))
    for left in (0.2, 0.34):
        pane = at.points((left, 0.06), (left, 0.13), (left + 0.06, 0.13), (left + 0.06, 0.06))
        canvas.shape(pane, fill=rgb("#ffd98a"))
