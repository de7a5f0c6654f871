"""The light of a scene: sets of colours that go together, and the words that call for them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ._colour import Colour, rgb


@dataclass(frozen=True, slots=True)
class Palette:
    """One light. The sky runs from the zenith to the horizon."""

    sky: tuple[Colour, ...]
    light: Colour
    far: Colour
    near: Colour
    accent: Colour
    snow: tuple[Colour, Colour]
    """Snow, or any pale ground, in the light and in the shade."""
    night: bool = False


def _palette(sky: str, others: str, *, night: bool = False) -> Palette:
    light, far, near, accent, lit, shade = (rgb(f"#{word}") for word in others.split())
    return Palette(
        tuple(rgb(f"#{word}") for word in sky.split()),
        light,
        far,
        near,
        accent,
        (lit, shade),
        night=night,
    )


PALETTES: Mapping[str, Palette] = {
    "dusk": _palette(
        "2b2c5e 6f4a86 d9748a f7a77c ffd9a3", "fff3d6 b8788f 2a1c3f ff8a5c ffe6dc a98fc0"
    ),
    "gold": _palette("e8825a f6a868 fcd08d fff0c7", "fffbe6 dc9a68 5b2d33 c8553d fff3dc d9a58c"),
    "day": _palette("2f7fd0 74b6ec bfe2f7 f1f8f5", "fffdf0 8fbcd9 173f63 ffb347 ffffff b9d3ea"),
    "teal": _palette("0f5a6e 3d9b9b 9cd3b4 eaf3cf", "fffbe2 77b5a6 0c3843 f4b860 f7fff8 9cc9c6"),
    "rose": _palette("6a6bb0 b289c4 f0a9b8 ffdcc9", "fff6e6 b793b8 3d2c58 e4674e fff1ee bfaed6"),
    "night": _palette(
        "060a23 122050 2f4685 6a7db5", "fbf3d4 33487f 070b1f ffcf70 c9d6f2 5b74ad", night=True
    ),
    "aurora": _palette(
        "04121f 0a2f44 14615f 6fb98f", "eafff0 1d5a60 04141c a6f0c6 cfeee6 4c8c93", night=True
    ),
    "winter": _palette("86add0 b7d2e6 dfeaf0 fdf1e2", "fffaf0 b3c9db 46617d d9622b ffffff b4cbe2"),
    "violet": _palette("2a1a55 5d3a97 a86cc9 f3b9d8", "fff0f7 8a63b3 22123f ffb86b f7e9ff a98fd0"),
    "green": _palette("2c7d69 6fba8f bfdfa4 f6f3c9", "fffce0 86b98c 153d2e f08a4b f8fff0 a9cfb4"),
    "ember": _palette(
        "3a1029 8f2740 e2583f fb9c4a ffd98a", "fff0cc a8433f 240a1d ffd166 ffe3cf b5758a"
    ),
    "paper": _palette("b9b4a7 d3cec1 e6e2d6 f4f1e8", "ffffff b3aea2 33312d 8c4a3c fbf9f4 bdb8ac"),
}

_ACCENTS: Mapping[str, Colour] = {
    "red crimson scarlet 红": rgb("#cf3630"),
    "orange 橙": rgb("#ee7f2d"),
    "yellow golden gold 黄 金": rgb("#eeb42f"),
    "green emerald mint 绿": rgb("#3f8f5f"),
    "teal turquoise cyan aqua 青": rgb("#2a9d96"),
    "blue azure navy indigo 蓝": rgb("#2f66ad"),
    "purple violet lavender 紫": rgb("#8152b8"),
    "pink magenta 粉": rgb("#e56b98"),
    "black 黑": rgb("#2a2a31"),
}

_DAYS = ("dusk", "day", "teal", "rose", "gold", "green", "violet", "ember")

_MOODS: Mapping[str, tuple[str, ...]] = {
    "dusk sunset evening twilight afternoon 黄昏 夕": ("dusk", "ember", "rose", "gold"),
    "dawn sunrise morning 早晨 清晨": ("rose", "gold", "winter", "teal"),
    "night midnight moon moonlight star starry neon dark 夜 月 星": ("night", "aurora", "violet"),
    "noon day sunny summer midday 夏": ("day", "teal", "green", "gold"),
    "snow winter ice frost arctic snowy cold 雪 冬": ("winter", "rose", "dusk", "night"),
    "fog mist misty foggy haze rain 雾 雨": ("teal", "winter", "green", "paper"),
    "autumn fall october 秋": ("gold", "ember", "dusk"),
    "spring 春": ("rose", "green", "day"),
    "aurora northern 极光": ("aurora",),
    "red crimson scarlet fire 红": ("ember", "dusk"),
    "orange amber warm golden gold yellow 黄 橙 金": ("gold", "ember", "dusk"),
    "green emerald olive mint 绿": ("green", "teal", "aurora"),
    "blue azure navy indigo 蓝": ("day", "night", "winter"),
    "teal turquoise cyan aqua 青": ("teal", "aurora"),
    "purple violet lavender magenta 紫": ("violet", "rose", "dusk"),
    "pink rose pastel 粉": ("rose", "violet"),
    "white grey gray black monochrome minimal sketch ink 黑 白": ("paper", "winter", "night"),
}


def choose(prompt: str, *, words: frozenset[str], seed: int, index: int) -> Palette:
    """The light of one picture; the pictures of one job take turns."""
    wanted = list(_DAYS)
    for call, names in _MOODS.items():
        if any(is_said(word, prompt=prompt, words=words) for word in call.split()):
            wanted = list(names)
            break
    accents = [
        colour
        for call, colour in _ACCENTS.items()
        if any(is_said(word, prompt=prompt, words=words) for word in call.split())
    ]
    random.Random(f"{prompt}|{seed}|light").shuffle(wanted)  # noqa: S311 - chance for looks
    palette = PALETTES[wanted[index % len(wanted)]]
    return replace(palette, accent=accents[0]) if accents else palette


def is_said(word: str, *, prompt: str, words: frozenset[str]) -> bool:
    """Whether a prompt has a word; Chinese has no blanks between its words."""
    return word in words if word.isascii() else word in prompt
