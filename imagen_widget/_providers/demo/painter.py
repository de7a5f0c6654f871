"""Draws the demo's pictures: the same words, key, seed and number give the same picture.

The painter never sees a prompt, only the words in it that it knows and a checksum: so a request
id can hold all that a picture needs, however long the prompt is.
"""

import io
import random
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from . import scenes
from .canvas import Canvas, colours, rgb, rounded
from .scenes import Light

Value = TypeVar("Value")

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
    "fox snow winter 狐 雪": scenes.snow,
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
    """Draw the scene that the words name, or one by chance, if asked for behind cut paper."""
    light = find_light(words, key, index)
    scene = said(words, _SCENES) or [random.Random(key.partition("|")[0]).choice(_ANYWHERE)]
    scene[0](canvas, light)
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
