"""The scenes that the demo can paint, and the words that call for them."""

import re
import zlib
from collections.abc import Callable, Mapping

from imagen_widget._demo._canvas import Canvas
from imagen_widget._demo._palette import Palette, is_said

from . import (
    _balloons,
    _bauhaus,
    _bicycle,
    _cat,
    _city,
    _dunes,
    _flowers,
    _forest,
    _hills,
    _kitchen,
    _sea,
    _snow,
    _space,
)

_PLURALS = (("s", ""), ("es", ""), ("ies", "y"))

Scene = Callable[[Canvas, Palette], None]

_CALLS: Mapping[str, Scene] = {
    "fox snow winter 狐 雪": _snow.paint,
    "kitchen flour wheat bread baker bakery package cooking food 厨 面粉": _kitchen.paint,
    "cat kitten window 猫 窗": _cat.paint,
    "bicycle bike 自行车": _bicycle.paint,
    "balloon 气球": _balloons.paint,
    "planet space galaxy saturn astronaut rocket cosmos nebula universe 星球 宇宙": _space.paint,
    "lighthouse coast cliff 灯塔": _sea.lighthouse,
    "sea ocean beach island boat ship sailboat sail 海 船": _sea.paint,
    "wave lake river water harbour harbor 湖 河": _sea.paint,
    "city town skyline street building skyscraper tokyo york cyberpunk urban 城 街": _city.paint,
    "desert dune sand sahara camel 沙": _dunes.paint,
    "forest tree wood woodland jungle pine deer bear 森 林 树": _forest.paint,
    "flower poppy daisy tulip rose meadow garden field bloom 花": _flowers.paint,
    "abstract geometric bauhaus pattern poster logo icon shape 抽象 几何": _bauhaus.paint,
    "mountain hill landscape valley view alps 山": _hills.paint,
}

_ANYWHERE: tuple[Scene, ...] = (
    _hills.paint,
    _sea.paint,
    _city.paint,
    _dunes.paint,
    _forest.paint,
    _bauhaus.paint,
    _flowers.paint,
    _balloons.paint,
    _space.paint,
)


def words_of(prompt: str) -> frozenset[str]:
    """The words of a prompt in small letters, each also as the singular it may stand for."""
    words = re.findall(r"[a-z]+", prompt.lower())
    singular = {
        word.removesuffix(end) + new
        for word in words
        for end, new in _PLURALS
        if word.endswith(end)
    }
    return frozenset(words) | singular


def choose(prompt: str, *, words: frozenset[str]) -> Scene:
    """The scene for a prompt; one that names nothing we know gets its own by chance."""
    for call, scene in _CALLS.items():
        if any(is_said(word, prompt=prompt, words=words) for word in call.split()):
            return scene
    return _ANYWHERE[zlib.crc32(prompt.encode()) % len(_ANYWHERE)]
