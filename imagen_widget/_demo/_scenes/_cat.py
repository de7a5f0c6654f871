"""A cat on a window sill that looks out."""

from imagen_widget._demo._canvas import Canvas, Fill, Gradient, turned
from imagen_widget._demo._colour import Colour, mix, rgb
from imagen_widget._demo._outline import Frame, Outline, curve, ellipse, rectangle, rounded
from imagen_widget._demo._palette import Palette

from . import _city, _hills

_FURS = (rgb("#2b2733"), rgb("#c9732f"), rgb("#5d5a66"), rgb("#3a2c2a"))
_WALL = rgb("#5b4a5e")
_WOOD = rgb("#f3ece0")
_POT, _LEAF = rgb("#c9603f"), rgb("#4f8f5b")


def paint(canvas: Canvas, palette: Palette) -> None:
    """Paint the view, then the room before it."""
    w, h, u, rng = canvas.w, canvas.h, canvas.u, canvas.rng
    view = rng.choice((_city.paint, _hills.paint))
    view(canvas, palette)
    sill = h * 0.8
    wall = mix(_WALL, palette.near, 0.45)
    _window(canvas, palette, sill, wall)
    _plant(canvas, w * 0.5 + u * 0.3, sill + u * 0.012, u * 0.2, palette)
    fur = rng.choice(_FURS)
    _cat(
        canvas,
        w * 0.5 - u * 0.1,
        sill + u * 0.02,
        u * 0.46,
        fur=mix(fur, palette.near, 0.25),
        rim=palette.light,
    )


def _window(canvas: Canvas, palette: Palette, sill: float, wall: Colour) -> None:
    w, h, u = canvas.w, canvas.h, canvas.u
    half = min(w * 0.44, u * 0.72)
    left, right, top = w * 0.5 - half, w * 0.5 + half, h * 0.06
    for box in (
        rectangle(0, 0, left, h),
        rectangle(right, 0, w, h),
        rectangle(0, 0, w, top),
        rectangle(0, sill, w, h),
    ):
        canvas.shape(box, fill=wall)
    canvas.glow(w / 2, h * 0.4, u * 1.1, colour=palette.sky[-1], alpha=0.16)
    lit = mix(_WOOD, palette.sky[-1], 0.25)
    dark = mix(lit, palette.near, 0.45)
    _sash(canvas, (left, top, right, sill), wood=(lit, dark))
    for edge, side in ((left, 1), (right, -1)):
        _curtain(canvas, palette, edge, side=side, top=top, sill=sill)
    shelf = (left - u * 0.06, sill - u * 0.012, right + u * 0.06, sill + u * 0.055)
    canvas.shape(rounded(*shelf, radius=u * 0.01), fill=Gradient((lit, mix(lit, dark, 0.4), dark)))
    under = rectangle(left - u * 0.03, sill + u * 0.055, right + u * 0.03, sill + u * 0.1)
    canvas.shape(under, fill=mix(wall, (0, 0, 0), 0.4), alpha=0.5, blur=u * 0.015)


def _sash(
    canvas: Canvas, opening: tuple[float, float, float, float], *, wood: tuple[Colour, Colour]
) -> None:
    """The wooden frame of the panes."""
    left, top, right, bottom = opening
    bar = canvas.u * 0.022
    middle, cross = (left + right) / 2, top + (bottom - top) * 0.36
    upright, level = Gradient(wood, across=True), Gradient(wood)
    canvas.shape(rectangle(left, top, left + bar * 1.4, bottom), fill=upright)
    canvas.shape(rectangle(right - bar * 1.4, top, right, bottom), fill=upright)
    canvas.shape(rectangle(left, top, right, top + bar * 1.4), fill=level)
    canvas.shape(rectangle(middle - bar / 2, top, middle + bar / 2, bottom), fill=upright)
    canvas.shape(rectangle(left, cross, right, cross + bar), fill=level)


def _curtain(
    canvas: Canvas, palette: Palette, x: float, *, side: int, top: float, sill: float
) -> None:
    u = canvas.u
    cloth = mix(palette.accent, _WOOD, 0.35)
    for fold in range(4):
        inner = [(x + side * u * (-0.08 + 0.05 * fold), top - u * 0.03)]
        edge = curve(
            [
                (x + side * u * (-0.03 + 0.05 * fold), top - u * 0.03),
                (x + side * u * (-0.04 + 0.042 * fold), top + (sill - top) * 0.45),
                (x + side * u * (-0.06 + 0.02 * fold), top + (sill - top) * 0.66),
                (x + side * u * (-0.05 + 0.034 * fold), sill + u * 0.08),
            ]
        )
        strip = [
            *inner,
            *edge,
            (x - side * u * 0.1, sill + u * 0.08),
            (x - side * u * 0.1, top - u * 0.03),
        ]
        shade = mix(cloth, palette.near, 0.15 + 0.1 * (3 - fold))
        canvas.shape(
            strip,
            fill=Gradient((mix(shade, palette.near, 0.2), shade), across=True),
            alpha=0.97 - 0.07 * fold,
        )


def _plant(canvas: Canvas, x: float, y: float, size: float, palette: Palette) -> None:
    at = Frame(x, y, size, size)
    leaf = mix(_LEAF, palette.near, 0.25)
    for lean, tall in ((-0.62, 0.85), (0.62, 0.8), (-0.32, 1.15), (0.35, 1.1), (0.02, 1.3)):
        root, tip = at.point(0, 0.6), at.point(lean, 0.5 + tall)
        middle = (lean * 0.35, 0.6 + tall * 0.6)
        left, right = (at.point(middle[0] + side * 0.13, middle[1]) for side in (-1, 1))
        blade = [*curve([root, left, tip]), *curve([tip, right, root])]
        canvas.shape(blade, fill=Gradient((mix(leaf, palette.light, 0.3), leaf)))
        vein = curve([root, at.point(*middle), tip])
        canvas.stroke(vein, width=size * 0.014, fill=mix(leaf, palette.light, 0.4), alpha=0.6)
    shadow = ellipse(x + size * 0.08, y, size * 0.34, size * 0.04)
    canvas.shape(shadow, fill=palette.near, alpha=0.45, blur=size * 0.03)
    clay = turned(mix(_POT, palette.near, 0.15), lit=palette.light, dark=palette.near)
    canvas.shape(at("-0.3,0.56 0.3,0.56 0.22,0 -0.22,0"), fill=clay)
    (left_x, top), (right_x, bottom) = at("-0.34,0.66 0.34,0.52")
    canvas.shape(rounded(left_x, top, right_x, bottom, radius=size * 0.03), fill=clay)


def _cat(canvas: Canvas, x: float, y: float, size: float, *, fur: Colour, rim: Colour) -> None:
    """A cat seen from behind; `y` is where it sits, `size` its height."""
    at = Frame(x, y, size, size)
    lit = mix(fur, rim, 0.3)
    shadow = ellipse(x + size * 0.05, y, size * 0.36, size * 0.035)
    canvas.shape(shadow, fill=mix(fur, (0, 0, 0), 0.5), alpha=0.5, blur=size * 0.02)
    body = curve(
        at(
            "0,0.66 -0.1,0.6 -0.15,0.46 -0.22,0.26 -0.25,0.1 -0.2,0 0,-0.012 0.2,0 "
            "0.25,0.1 0.22,0.26 0.15,0.46 0.1,0.6"
        ),
        closed=True,
    )
    fade = Gradient((mix(fur, lit, 0.25), fur))
    _rimmed(canvas, body, fill=fade, lit=lit, size=size, middle=x)
    tail = curve(at("0.12,0.06 0.3,0.04 0.4,-0.04 0.42,-0.2 0.36,-0.3 0.3,-0.27"))
    canvas.stroke(tail, width=size * 0.085, fill=mix(fur, lit, 0.2))
    for side in (-1, 1):
        path = "0.035,0.84 0.08,0.92 0.145,1 0.165,0.985 0.175,0.86 0.16,0.76"
        ear = curve(at(path, side=side), closed=True)
        _rimmed(canvas, ear, fill=fur, lit=lit, size=size, middle=x + side * size * 0.1)
    head = ellipse(x, y - size * 0.74, size * 0.185, size * 0.155)
    _rimmed(canvas, head, fill=fur, lit=lit, size=size, middle=x)
    for side in (-1, 1):
        for rise in (0.02, -0.01, -0.04):
            ends = ((0.165, 0.7 + rise * 0.4), (0.23, 0.705 + rise), (0.28, 0.69 + rise * 1.6))
            whisker = curve(at.points(*((side * px, py) for px, py in ends)))
            canvas.stroke(whisker, width=size * 0.005, fill=lit, alpha=0.7)


def _rimmed(
    canvas: Canvas, outline: Outline, *, fill: Fill, lit: Colour, size: float, middle: float
) -> None:
    """A shape with the light from outside along its upper edge."""
    canvas.shape(outline, fill=lit)
    inner = [(px + (middle - px) * 0.05, py + size * 0.014) for px, py in outline]
    canvas.shape(inner, fill=fill, blur=size * 0.01, clip=outline)
