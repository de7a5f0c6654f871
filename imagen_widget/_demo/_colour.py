"""Colours and how to mix them without mud."""

from functools import lru_cache

from PIL import ImageColor

Colour = tuple[int, int, int]


def rgb(text: str) -> Colour:
    """The colour of a `#rrggbb` word."""
    red, green, blue, *_ = ImageColor.getrgb(text)
    return red, green, blue


@lru_cache(maxsize=4096)
def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour so far on the way from one to another, 0 to 1, as the eye sees the way.

    Mixed in Oklab: the steps look even, and bright colours do not meet in a dark one.
    """
    if share <= 0 or share >= 1:
        return first if share <= 0 else second
    start, end = _to_oklab(first), _to_oklab(second)
    return _from_oklab(*(a + (b - a) * share for a, b in zip(start, end, strict=True)))


def along(stops: tuple[Colour, ...], share: float) -> Colour:
    """The colour at a place, 0 to 1, of a gradient with evenly spread stops."""
    place = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    left = min(int(place), len(stops) - 2)
    return mix(stops[left], stops[left + 1], place - left)


def _to_oklab(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = (_to_linear(part / 255) for part in colour)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def _from_oklab(light: float, green_red: float, blue_yellow: float) -> Colour:
    long = (light + 0.3963377774 * green_red + 0.2158037573 * blue_yellow) ** 3
    medium = (light - 0.1055613458 * green_red - 0.0638541728 * blue_yellow) ** 3
    short = (light - 0.0894841775 * green_red - 1.2914855480 * blue_yellow) ** 3
    return (
        _to_byte(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _to_byte(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _to_byte(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def _to_linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4  # noqa: PLR2004 - the sRGB curve


def _to_byte(linear: float) -> int:
    part = min(max(linear, 0.0), 1.0)
    curved = part * 12.92 if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055  # noqa: PLR2004 - the sRGB curve
    return round(curved * 255)
