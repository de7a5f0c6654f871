"""Changes pictures by the words of a prompt: in Pillow alone, but visibly and plausibly."""

import math
from collections.abc import Callable, Mapping, Sequence

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from . import scenes, things
from .canvas import Box, Canvas, Colour, Frame, colours, ellipse, mix
from .painter import TINTS, find_light, said

Effect = Callable[[Canvas, Box], None]

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def collage(pictures: Sequence[Image.Image], size: tuple[int, int]) -> Image.Image:
    """Return a picture of this size with all pictures side by side."""
    whole = Image.new("RGB", size, "white")
    edges = [round(size[0] * number / len(pictures)) for number in range(len(pictures) + 1)]
    for left, right, picture in zip(edges, edges[1:], pictures, strict=False):
        part = ImageOps.fit(picture.convert("RGBA"), (right - left, size[1]))
        whole.paste(part, (left, 0), part)
    return whole


def edit(canvas: Canvas, words: str, key: str, *, index: int, mask: Image.Image | None) -> None:
    """Change the picture by words; with a mask only where it is white."""
    before, box = canvas.image, (0, 0, canvas.w, canvas.h)
    if mask is not None:
        mask = mask.convert("L").resize(before.size)
        box = mask.getbbox() or box
    tint = (said(words, TINTS) or [find_light(words, key, index).accent])[0]
    graded = _toned(0.45, mix(tint, _BLACK, 0.8), tint, mix(tint, _WHITE, 0.85))
    for effect in said(words, EFFECTS) or [graded]:
        effect(canvas, box)
    _enhanced(ImageEnhance.Brightness, canvas.rng.uniform(0.93, 1.07))(canvas, box)
    if mask is not None:
        soft = mask.filter(ImageFilter.GaussianBlur(canvas.u * 0.004))
        canvas.image = Image.composite(canvas.image, before, soft)


def _toned(amount: float, dark: Colour, middle: Colour, light: Colour) -> Effect:
    """Return an effect that pulls dark, middle and light towards three colours."""

    def effect(canvas: Canvas, _: Box) -> None:
        toned = ImageOps.colorize(canvas.image.convert("L"), dark, light, middle)
        canvas.image = Image.blend(canvas.image, toned, amount)

    return effect


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance], factor: float) -> Effect:
    def effect(canvas: Canvas, _: Box) -> None:
        canvas.image = kind(canvas.image).enhance(factor)

    return effect


def _bigger(canvas: Canvas, box: Box) -> None:
    wide, high = box[2] - box[0], box[3] - box[1]
    near = (box[0] + wide * 0.13, box[1] + high * 0.13, box[2] - wide * 0.13, box[3] - high * 0.13)
    canvas.image.paste(canvas.image.resize((wide, high), Image.Resampling.LANCZOS, near), box)


def _balloon(canvas: Canvas, box: Box) -> None:
    left, top, right, bottom = box
    share, x = (1.0, 0.5) if (right, bottom) != canvas.image.size else (0.5, 0.27)
    side = min(right - left, bottom - top) * share
    at = Frame(left + (right - left) * x, top + side * 0.35, side * 0.27, side * 0.27)
    things.balloon(canvas, at, canvas.rng.randrange(4), dark=(40, 40, 70))


def _night(canvas: Canvas, box: Box) -> None:
    # Stars stand where it was bright and high up: in the sky, and not on what is in front of it.
    fading = Image.linear_gradient("L").point([max(0, 255 - 2 * step) for step in range(256)])
    sky = ImageChops.multiply(canvas.image.convert("L"), fading.resize(canvas.image.size))
    _toned(0.88, *colours("01030c 16244f 8296cc"))(canvas, box)
    plain = canvas.image.copy()
    scenes.stars(canvas, canvas.h * 0.55)
    canvas.image = Image.composite(canvas.image, plain, ImageChops.add(sky, sky))


def _snow(canvas: Canvas, box: Box) -> None:
    grey = canvas.image.convert("L")
    _toned(0.4, *colours("2c3d58 a9c0d9 ffffff"))(canvas, box)
    # Snow lies where something dark begins below something bright, and on the ground.
    above = ImageChops.offset(grey, 0, round(canvas.u * 0.012))
    caps = ImageChops.subtract(above, grey, scale=0.35)
    canvas.image.paste(_WHITE, (0, 0), caps.filter(ImageFilter.GaussianBlur(canvas.u * 0.003)))
    canvas.veil(_WHITE, canvas.h * 0.7, canvas.h * 1.35, alpha=0.85)
    scenes.snowfall(canvas)
    scenes.snowfall(canvas)


def _autumn(canvas: Canvas, box: Box) -> None:
    _toned(0.5, *colours("35140a d07a2c ffecc0"))(canvas, box)
    rng, leaves = canvas.rng, colours("c8551b e08a24 a8341c e9b43a")
    for _ in range(64):
        x, y, size = rng.random() * canvas.w, rng.random() * canvas.h, rng.uniform(0.006, 0.016)
        leaf = ellipse(x, y, size * canvas.u, size * canvas.u * 0.45, turn=rng.uniform(0, 180))
        canvas.shape(rng.choice(leaves), leaf, alpha=0.9)


def _blur(canvas: Canvas, _: Box) -> None:
    canvas.image = canvas.image.filter(ImageFilter.GaussianBlur(canvas.u * 0.012))


def _watercolour(canvas: Canvas, _: Box) -> None:
    size, shrunk = canvas.image.size, (math.ceil(canvas.w / 3), math.ceil(canvas.h / 3))
    wash = canvas.image.resize(shrunk).filter(ImageFilter.MedianFilter(5))
    grey = wash.convert("L")
    # Paint dries darker at its edges, and lies unevenly on the paper.
    edges = ImageChops.difference(grey, grey.filter(ImageFilter.BoxBlur(2)))
    dry = edges.point([255 - min(110, 4 * step) for step in range(256)])
    wash = ImageChops.multiply(wash, Image.merge("RGB", (dry, dry, dry))).resize(size)
    paper = Image.new("RGB", size, "#fffaf0")
    canvas.image = ImageEnhance.Color(Image.blend(wash, paper, 0.2)).enhance(1.35)
    canvas.grain(9)


def _framed(canvas: Canvas, _: Box) -> None:
    edge, line = round(canvas.u * 0.07), canvas.u // 200 + 1
    inside = canvas.image.resize((canvas.w - 2 * edge - 2 * line, canvas.h - 2 * edge - 2 * line))
    canvas.image = ImageOps.expand(ImageOps.expand(inside, line, "#3b2a20"), edge, "#f6f1e6")


EFFECTS: Mapping[str, Effect] = {  # applied in this order
    "bigger larger closer zoom 大": _bigger,
    "balloon 气球": _balloon,
    "monochrome greyscale grayscale 黑白": _toned(1.0, *colours("0a0a0a 828282 fafafa")),
    "sepia vintage old 复古": _toned(0.9, *colours("2b1a0c a98258 fff1d0")),
    "sunset dusk evening golden warm warmer 黄昏 暖": _toned(0.6, *colours("3a1230 ea7a48 ffe6b0")),
    "cold colder cool winter ice 冷": _toned(0.45, *colours("0d1f3a 7fa3cc f4faff")),
    "autumn october 秋": _autumn,
    "night midnight moonlight dark 夜": _night,
    "snow snowy 雪": _snow,
    "fog mist foggy misty rain 雾 雨": _toned(0.7, *colours("8d979d c3cbd0 f1f3f4")),
    "bright brighter lighter 亮": _enhanced(ImageEnhance.Brightness, 1.25),
    "darker 暗": _enhanced(ImageEnhance.Brightness, 0.6),
    "vivid colourful colorful 鲜艳": _enhanced(ImageEnhance.Color, 1.8),
    "sharp sharper crisp 清晰": _enhanced(ImageEnhance.Sharpness, 3.0),
    "blur blurred dreamy 模糊": _blur,
    "watercolour watercolor painting 水彩": _watercolour,
    "frame framed border 框": _framed,
}
