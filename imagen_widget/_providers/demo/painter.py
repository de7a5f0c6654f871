"""Draws the demo's pictures: the same words, key, seed and number give the same picture.

The painter never sees a prompt, only the words in it that it knows and a checksum: so a request
id can hold all that a picture needs, however long the prompt is. A picture that is given is changed
by the words that `EFFECTS` lists, in Pillow alone, but visibly and plausibly.
"""

import io
import math
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from . import scenes, things
from .canvas import Box, Canvas, Colour, Frame, colours, ellipse, mix, rgb, rounded
from .scenes import Light

Value = TypeVar("Value")
Effect = Callable[[Canvas, Box], None]

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_GRAIN_STEPS = 2.2
_PNG_EFFORT = 4  # a third of the time of 6 for a tenth more bytes
_QUALITY = 92
_PLURALS = (("s", ""), ("es", ""), ("ies", "y"))

# A name, the sky from zenith to horizon; sun, far, near, accent, pale ground in light and shade.
_LIGHTS = """
dusk   2b2c5e 6f4a86 d9748a f7a77c ffd9a3 ; fff3d6 b8788f 2a1c3f ff8a5c ffe6dc a98fc0
gold   e8825a f6a868 fcd08d fff0c7 ; fffbe6 dc9a68 5b2d33 c8553d fff3dc d9a58c
day    2f7fd0 74b6ec bfe2f7 f1f8f5 ; fffdf0 8fbcd9 173f63 ffb347 ffffff b9d3ea
teal   0f5a6e 3d9b9b 9cd3b4 eaf3cf ; fffbe2 77b5a6 0c3843 f4b860 f7fff8 9cc9c6
rose   6a6bb0 b289c4 f0a9b8 ffdcc9 ; fff6e6 b793b8 3d2c58 e4674e fff1ee bfaed6
night  060a23 122050 2f4685 6a7db5 ; fbf3d4 33487f 070b1f ffcf70 c9d6f2 5b74ad
aurora 04121f 0a2f44 14615f 6fb98f ; eafff0 1d5a60 04141c a6f0c6 cfeee6 4c8c93
winter 86add0 b7d2e6 dfeaf0 fdf1e2 ; fffaf0 b3c9db 46617d d9622b ffffff b4cbe2
violet 2a1a55 5d3a97 a86cc9 f3b9d8 ; fff0f7 8a63b3 22123f ffb86b f7e9ff a98fd0
green  2c7d69 6fba8f bfdfa4 f6f3c9 ; fffce0 86b98c 153d2e f08a4b f8fff0 a9cfb4
ember  3a1029 8f2740 e2583f fb9c4a ffd98a ; fff0cc a8433f 240a1d ffd166 ffe3cf b5758a
paper  b9b4a7 d3cec1 e6e2d6 f4f1e8 ; ffffff b3aea2 33312d 8c4a3c fbf9f4 bdb8ac
"""
_MOODS = {  # the lights that words call for, and the colour
    "dusk sunset evening twilight afternoon 黄昏 夕": "dusk ember rose gold",
    "dawn sunrise morning 早晨 清晨": "rose gold winter teal",
    "night midnight moon moonlight star starry neon dark 夜 月 星": "night aurora violet",
    "noon day sunny summer midday 夏": "day teal green gold",
    "snow winter ice frost arctic snowy cold 雪 冬": "winter rose dusk night",
    "fog mist misty foggy haze rain 雾 雨": "teal winter green paper",
    "autumn fall october 秋": "gold ember dusk",
    "spring 春": "rose green day",
    "aurora northern 极光": "aurora",
    "red crimson scarlet fire 红": "ember dusk #cf3630",
    "orange amber warm 橙": "gold ember dusk #ee7f2d",
    "yellow golden gold 黄 金": "gold ember dusk #eeb42f",
    "green emerald olive mint 绿": "green teal aurora #3f8f5f",
    "blue azure navy indigo 蓝": "day night winter #2f66ad",
    "teal turquoise cyan aqua 青": "teal aurora #2a9d96",
    "purple violet lavender 紫": "violet rose dusk #8152b8",
    "pink magenta pastel 粉": "rose violet #e56b98",
    "white grey gray black minimal sketch ink 黑 白": "paper winter night #2a2a31",
}
_ANY_MOOD = "dusk day teal rose gold green violet ember"
TINTS = {words: rgb(mood[-7:]) for words, mood in _MOODS.items() if "#" in mood}
OPTIONS = ("sheets", "shadows", "colours")  # fields of a model that are read here
_SCENES: Mapping[str, Callable[[Canvas, Light], None]] = {
    "fox 狐": scenes.fox,
    "kitchen flour wheat bread baker bakery package cake food 厨 面粉": scenes.kitchen,
    "balloon 气球": scenes.balloons,
    "lighthouse coast cliff 灯塔": scenes.lighthouse,
    "sea ocean beach island boat ship sailboat sail wave lake river 海 船 湖 河": scenes.sea,
    "water harbour harbor 港": scenes.sea,
    "city town skyline street building skyscraper cyberpunk urban train 城 街": scenes.city,
    "forest tree wood woodland jungle pine deer bear owl 森 林 树": scenes.forest,
    "mountain hill landscape valley view alps 山": scenes.hills,
}
CALLS = (*_SCENES, *_MOODS)
_DRY = (scenes.fox, scenes.kitchen)  # one has snow of its own, and in one it never snows
_ANYWHERE = (scenes.hills, scenes.sea, scenes.city, scenes.forest, scenes.balloons)


def said(words: str, table: Mapping[str, Value]) -> list[Value]:
    """Return what a table has for words, in its order; its keys are words that mean the same."""
    spoken = words.split()
    return [value for call, value in table.items() if any(word in spoken for word in call.split())]


def known_words(prompt: str, calls: Iterable[str]) -> str:
    """Return those words of a prompt that stand in calls, in their order.

    English words count as a whole or in the plural, Chinese ones anywhere.
    """
    plain = re.sub("black (and|&) white", "monochrome", prompt.lower())
    words = set(re.findall(r"[a-z]+", plain))
    words |= {w.removesuffix(end) + new for w in words for end, new in _PLURALS if w.endswith(end)}
    known = dict.fromkeys(" ".join(calls).split())
    return " ".join(word for word in known if word in (words if word.isascii() else prompt))


def find_light(words: str, key: str, index: int) -> Light:
    """Return the light of one picture; the pictures of one job take turns."""
    names = (said(words, _MOODS) or [_ANY_MOOD])[0].partition(" #")[0].split()
    random.Random(f"{key}|light").shuffle(names)
    name = names[index % len(names)]
    (line,) = (line for line in _LIGHTS.splitlines() if line.startswith(name))
    sky, others = line.removeprefix(name).split(";")
    sun, far, near, accent, lit, shade = colours(others)
    accent = (said(words, TINTS) or [accent])[0]
    return Light(colours(sky), sun, far, near, accent, (lit, shade), night=name in "night aurora")


def draw(canvas: Canvas, words: str, key: str, index: int, options: Mapping[str, Any]) -> None:
    """Draw the scene that the words name, or one by chance; in snow or behind paper if asked."""
    light = find_light(words, key, index)
    scene = (said(words, _SCENES) or [random.Random(key.partition("|")[0]).choice(_ANYWHERE)])[0]
    scene(canvas, light)
    if scene not in _DRY and not {"snow", "雪"}.isdisjoint(words.split()):
        scenes.snowfall(canvas)
    count = options.get("sheets")
    if isinstance(count, int):
        papers = re.findall("#[0-9a-f]{6}", str(options.get("colours")).lower())
        sheets = tuple(map(rgb, papers)) or (light.sun, light.accent, light.near)
        shadows = bool(options.get("shadows"))
        scenes.cut_paper(canvas, (*sheets, sheets[-1]), count=min(count, 9), shadows=shadows)


def finish(canvas: Canvas, encoding: str) -> bytes:
    """Write DEMO in a corner, so that nobody takes it for a generated picture, and encode it."""
    canvas.grain(_GRAIN_STEPS)
    high, out = canvas.u * 0.034, io.BytesIO()
    right, bottom = canvas.w - canvas.u * 0.03, canvas.h - canvas.u * 0.03
    left, top = right - high * 2.7, bottom - high
    canvas.shape((12, 14, 24), rounded(left, top, right, bottom, high / 2), alpha=0.55)
    middle = ((left + right) / 2, (top + bottom) / 2)
    canvas.text((255, 255, 255), middle, "DEMO", high * 0.58, wide=high * 2)
    canvas.image.save(out, encoding, quality=_QUALITY, compress_level=_PNG_EFFORT, method=2)
    return out.getvalue()


# -- pictures that are given --------------------------------------------------------------------


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
