"""A city in the evening, mirrored in a river."""

from PIL import Image, ImageFilter, ImageOps

from imagen_widget._demo._canvas import Canvas, Gradient
from imagen_widget._demo._colour import Colour, mix, rgb
from imagen_widget._demo._outline import Outline, rectangle
from imagen_widget._demo._palette import PALETTES, Palette

from ._nature import clouds, sky, sun

_WINDOWS = (rgb("#ffd98a"), rgb("#ffc46b"), rgb("#fff0c4"), rgb("#ffb066"))


def paint(canvas: Canvas, palette: Palette) -> None:
    """Paint three rows of towers, the nearest with its windows lit."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    shore = h * 0.76
    sky(canvas, palette, horizon=shore)
    sun(canvas, palette, w * rng.uniform(0.25, 0.75), h * rng.uniform(0.2, 0.34), u * 0.08)
    clouds(canvas, palette, top=h * 0.1, bottom=h * 0.45, count=5)
    dark = PALETTES["night"].near
    for row in range(3):
        share = (0.68, 0.36, 0.0)[row]
        body = mix(mix(palette.near, dark, 0.35), palette.sky[-2], share)
        low = mix(body, palette.sky[-1], 0.3 if row < 2 else 0.12)  # noqa: PLR2004 - the front row
        _row(canvas, row, shore, body=body, low=low)
        canvas.veil(
            shore - h * 0.2, shore + h * 0.12, colour=palette.sky[-1], alpha=(0.45, 0.3, 0.12)[row]
        )
    _river(canvas, palette, shore)


def _row(canvas: Canvas, row: int, shore: float, *, body: Colour, low: Colour) -> None:
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    x = -u * rng.uniform(0.0, 0.1)
    while x < w:
        wide = u * rng.uniform(0.075, 0.15) * (1.0, 1.05, 1.15)[row]
        centre = 1 - abs(x / w - 0.5) * 1.1
        tall = h * rng.uniform(0.16, 0.4) * (1.25, 1.05, 0.72)[row] * (0.55 + 0.6 * centre)
        outline, top = _tower(canvas, x, shore, wide, tall)
        canvas.shape(*outline, fill=Gradient((body, low)))
        if row:
            _windows(canvas, x, top, x + wide, shore, lit=0.3 if row == 1 else 0.5, row=row)
        x += wide * rng.uniform((0.85, 1.0, 1.0)[row], (1.25, 1.35, 1.2)[row])


def _tower(
    canvas: Canvas, x: float, shore: float, wide: float, tall: float
) -> tuple[list[Outline], float]:
    """A building of some kind, and where its straight part begins."""
    rng, top, middle = canvas.rng, shore - tall, x + wide / 2
    box = rectangle(x, top, x + wide, shore)
    match rng.choice(("spire", "steps", "slant", "tank", "gable", "mast")):
        case "spire":
            step = rectangle(x + wide * 0.2, top - wide * 0.2, x + wide * 0.8, top)
            foot = top - wide * 0.2
            spire = [(middle - wide * 0.04, foot), (middle, foot - wide * 0.9)]
            return [box, step, [*spire, (middle + wide * 0.04, foot)]], top
        case "steps":
            parts = [(x + wide * s, top - wide * s * 1.2, x + wide * (1 - s)) for s in (0.15, 0.3)]
            return [box, *(rectangle(*part, top) for part in parts)], top
        case "slant":
            return [box, [(x, top), (x + wide, top - wide * 0.5), (x + wide, top)]], top
        case "tank":
            tank = rectangle(x + wide * 0.55, top - wide * 0.28, x + wide * 0.85, top - wide * 0.08)
            legs = [(x + wide * s, top - wide * 0.1, x + wide * (s + 0.03)) for s in (0.58, 0.79)]
            return [box, tank, *(rectangle(*leg, top) for leg in legs)], top
        case "gable":
            return [box, [(x, top), (middle, top - wide * 0.55), (x + wide, top)]], top
        case _:
            mast = (middle - wide * 0.012, top - wide * 0.5, middle + wide * 0.012)
            return [box, rectangle(*mast, top)], top


def _windows(
    canvas: Canvas, left: float, top: float, right: float, bottom: float, *, lit: float, row: int
) -> None:
    rng, wide = canvas.rng, right - left
    columns = max(3, round(wide / canvas.u * (42 if row == 1 else 34)))
    cell = wide / (columns + 0.8)
    by_colour: dict[Colour, list[Outline]] = {}
    y = top + cell * 0.9
    while y < bottom - cell * 1.4:
        for column in range(columns):
            if rng.random() < lit * (0.5 + 0.5 * rng.random()):
                x = left + cell * (column + 0.62)
                pane = rectangle(x, y, x + cell * 0.52, y + cell * 0.72)
                by_colour.setdefault(rng.choice(_WINDOWS), []).append(pane)
        y += cell * 1.35
    for colour, panes in by_colour.items():
        canvas.shape(*panes, fill=colour, alpha=0.5 if row == 1 else 0.9)


def _river(canvas: Canvas, palette: Palette, shore: float) -> None:
    """Mirror the town, softened and darkened, and let the water break it."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    line, depth = round(shore), h - round(shore)
    source = canvas.image.crop((0, max(0, line - round(depth * 1.9)), w, line))
    mirror = ImageOps.flip(source).resize((w, depth), Image.Resampling.BILINEAR)
    mirror = mirror.filter(ImageFilter.GaussianBlur(u * 0.004))
    tint = Image.new("RGB", mirror.size, mix(palette.near, palette.sky[0], 0.4))
    canvas.image.paste(Image.blend(mirror, tint, 0.34), (0, line))
    canvas.shape(
        rectangle(0, line - u * 0.006, w, line + u * 0.004), fill=mix(palette.near, (0, 0, 0), 0.3)
    )
    for _ in range(round(130 * w / u)):
        near = rng.random()
        y = line + depth * near
        length = u * (0.015 + 0.07 * near) * rng.uniform(0.4, 1.3)
        pale = rng.choice((True, False))
        canvas.ellipse(
            rng.random() * w,
            y,
            length,
            u * (0.0008 + 0.0022 * near),
            fill=palette.sky[-1] if pale else palette.near,
            alpha=0.2,
        )
