"""Field: one input of a model, and the check that turns a notebook's value into what is sent.

A refusal names the field, the value and what is allowed. The value of a text is never repeated:
it may be a prompt.
"""

import difflib
import json
import math
import operator
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from imagen_widget._settings import YES_OR_NO
from imagen_widget.errors import InvalidRequest, a_type, invalid, shown

Kind = Literal[
    "text", "choice", "whole", "number", "switch", "size", "picture", "pictures", "words", "json"
]
Role = Literal["", "prompt", "count", "seed", "size", "picture", "mask"]

PRESET_SIZES = {  # fal's names for square sizes, as width and height in pixels
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "auto_1K": (1024, 1024),
    "auto_2K": (2048, 2048),
    "auto_3K": (3072, 3072),
    "auto_4K": (4096, 4096),
}

A_PICTURE = "a file, bytes, a Pillow image, an https address or a generated picture"

_MAX_SHOWN = 20
_MAX_EXACT_FLOAT = 2**53
_MAX_INTEGER = 10**300  # no server takes one of more digits, and Python does not write it
_NUMBER = re.compile(r"[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})(e[+-]?\d{1,3})?", re.ASCII | re.I)
_SIZE = re.compile(r"(\d{1,5})\s*[x×*]\s*(\d{1,5})", re.ASCII | re.I)
_ORIENTED = re.compile(r"(portrait|landscape)_([1-9]\d?)_([1-9]\d?)")
_ADDRESS = re.compile(r"https://\S+|sha256:[0-9a-f]{64}|http://(localhost|127\.|\[::1\])\S*")
_SAME_WORD = {"jpg": "jpeg", "jpeg": "jpg"}


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What a model asks of a picture that it is given; None if it says nothing."""

    min_width: int | None = None
    max_width: int | None = None
    min_height: int | None = None
    max_height: int | None = None
    min_area: int | None = None
    max_area: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One input of a model.

    Attributes:
        name: The name on the wire.
        kind: What sort of value it takes.
        title: The name that people read.
        help: What it does, in the model's words.
        required: Whether a request without it is refused.
        default: What the server assumes if nothing is given; it is never sent by itself.
        allowed: The values of a choice, the preset sizes of a size, the words of a list.
        low: The smallest number, included unless `above_low`.
        high: The largest number, included unless `below_high`.
        role: What the rest of the program may know about it.
        step: The distance between two numbers; a whole number is a multiple of it.
        important: Whether forms show it although it is optional.
        hidden: Whether forms leave it out.
        max_items: How many pictures or words it takes at most.
        custom_size: Whether a size may be an object of width and height.
        text_size: Whether a size may be a text like `1280x720`.
        limits: What a picture must be like.
        above_low: Whether a number must be greater than `low`.
        below_high: Whether a number must be less than `high`.
        min_length: How many characters a text has at least.
        max_length: How many characters a text has at most.
    """

    name: str
    kind: Kind
    title: str = ""
    help: str = ""
    required: bool = False
    default: Any = field(default=None, hash=False)
    allowed: tuple[str | int | float, ...] = ()
    low: float | None = None
    high: float | None = None
    role: Role = ""
    step: float | None = None
    important: bool = False
    hidden: bool = False
    max_items: int | None = None
    custom_size: bool = False
    text_size: bool = False
    limits: PictureLimits | None = None
    above_low: bool = False
    below_high: bool = False
    min_length: int | None = None
    max_length: int | None = None

    def check(self, value: object, *, strict: bool = True) -> Any:
        """Return the value as JSON has it, in the model's own spelling.

        With `strict=False` a value that the field excludes is returned as it is.

        Raises:
            InvalidRequest: The field excludes the value, or JSON cannot hold it.
        """
        try:
            return self._read(value)
        except InvalidRequest:
            if strict:
                raise
        number = as_number(value) if self.kind in {"whole", "number"} else None
        return as_json(self.name, value if number is None else number)

    def takes(self) -> str:
        """Return what the field takes, as a phrase: "one of 1:1, 16:9"."""
        match self.kind:
            case "choice":
                return f"one of {_listed(self.allowed)}"
            case "whole":
                steps = f", a multiple of {self.step:g}" if self.step else ""
                return f"a whole number{self._range()}{steps}"
            case "number":
                return f"a number{self._range()}"
            case "switch":
                return "True or False"
            case "size":
                custom = self.custom_size or self.text_size
                parts = [f"one of {_listed(self.allowed)}"] if self.allowed else []
                return " or ".join([*parts, *(["a size like 1280x720"] if custom else [])])
            case "picture":
                return "a picture"
            case "pictures":
                return f"up to {self.max_items} pictures" if self.max_items else "pictures"
            case "words":
                words = f"a list of {_listed(self.allowed) if self.allowed else 'strings'}"
                return f"{words}, at most {self.max_items}" if self.max_items else words
            case "json":
                return "a JSON value"
            case _:
                return "text" + self._length()

    def _range(self) -> str:
        """Return which numbers it takes, as the end of a phrase: " from 1 to 4"."""
        low, high = (None if n is None else f"{n}" for n in (self.low, self.high))
        if low and high and not (self.above_low or self.below_high):
            return f" from {low} to {high}"
        ends = [f"{'above' if self.above_low else 'from'} {low}"] if low else []
        ends += [f"{'below' if self.below_high else 'up to'} {high}"] if high else []
        return f" {' and '.join(ends)}" if ends else ""

    def _length(self) -> str:
        """Return how long a text may be, as the end of a phrase: " of at most 300 characters"."""
        low, high = self.min_length or 0, self.max_length
        ends = f"{low} to {high}" if low else f"at most {high}"
        if high is None:
            ends = f"at least {low}" if low else ""
        return f" of {ends} character{'s' * ((high or low) > 1)}" if ends else ""

    def _read(self, value: object) -> Any:
        match self.kind:
            case "text":
                return self._text(value)
            case "choice":
                return self._choice(value)
            case "whole" | "number":
                number = as_number(value)
                is_whole = isinstance(number, int) and number % (self.step or 1) == 0
                if (
                    number is None
                    or (self.kind == "whole" and not is_whole)
                    or (self.low is not None and number < self.low)
                    or (self.high is not None and number > self.high)
                    or (self.above_low and number == self.low)
                    or (self.below_high and number == self.high)
                ):
                    raise self._refused(value)
                return number
            case "switch":
                found = bool(value) if is_bool(value) else YES_OR_NO.get(_words(value).lower())
                if found is None:
                    raise self._refused(value)
                return found
            case "size":
                return self._size(value)
            case "picture":
                return self._address(value)
            case "pictures" | "words":
                return self._items(value)
            case _:
                if isinstance(value, str) and value.strip()[:1] in ("{", "["):
                    value = self._loaded(value)
                return as_json(self.name, value)

    def _loaded(self, text: str) -> Any:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            why = f"line {error.lineno}, column {error.colno}: {error.msg.lower()}"
        except (ValueError, RecursionError):
            why = "it is nested too deeply, or a number in it has too many digits"
        raise invalid(self.name, f"this does not parse: {why}", "Correct the JSON.")

    def _text(self, value: object) -> str:
        if not isinstance(value, str):
            raise invalid(self.name, f"it is {a_type(value)}, not text", "Give a str.")
        text = str.__str__(value)
        if not (self.min_length or 0) <= len(text) <= (self.max_length or len(text)):
            what = f"text of length {len(text)} is not allowed"
            raise invalid(self.name, what, f"Use text{self._length()}.")
        return text

    def _choice(self, value: object) -> str | int | float:
        if (found := self._named(value)) is None:
            raise self._refused(value)
        return found

    def _named(self, value: object) -> str | int | float | None:
        """Return the allowed value that is meant: to the letter, in other letters, as a number."""
        text, number = _words(value), as_number(value)
        lowered = text.lower()
        words = {lowered, _SAME_WORD.get(lowered)}
        fitting = [
            each
            for each in self.allowed
            if str(each).lower() in words or (number is not None and as_number(each) == number)
        ]
        return min(fitting, key=lambda a: (str(a) != text, str(a).lower() != lowered), default=None)

    def _size(self, value: object) -> Any:
        if (preset := self._named(value)) is not None:
            return preset
        width, height = size_pixels(value) or (0, 0)
        text = f"{width}x{height}"
        if width and height and (self.text_size or text in self.allowed):
            return text
        if width and height and self.custom_size:
            return {"width": width, "height": height}
        raise self._refused(value)

    def _address(self, value: object) -> str:
        text = value.strip() if isinstance(value, str) else ""
        if not _ADDRESS.fullmatch(text):
            what = f"{a_type(value)} that is not an https address was given"
            raise invalid(self.name, what, f"Give {A_PICTURE}.")
        return text

    def _items(self, value: object) -> list[Any]:
        if isinstance(value, str):
            parsed = _parsed(value)
            value = [value] if parsed is None else parsed
        is_flat = getattr(value, "ndim", 1) == 1  # numpy's and pandas' have dimensions
        if not is_flat or not isinstance(value, Collection) or isinstance(value, Mapping | bytes):
            raise self._refused(value)
        items = list(value)
        if self.max_items is not None and len(items) > self.max_items:
            remedy = f"It takes at most {self.max_items}."
            raise invalid(self.name, f"{len(items)} are too many", remedy)
        if self.kind == "pictures":
            return [self._address(item) for item in items]
        if self.allowed:
            return [self._choice(item) for item in items]
        return [self._text(item) for item in items]

    def _refused(self, value: object) -> InvalidRequest:
        words = {str(word).lower(): word for word in self.allowed}
        near = difflib.get_close_matches(_words(value).lower()[:60], words, n=1)
        hint = f"Did you mean {words[near[0]]}? " if near and len(words) > _MAX_SHOWN else ""
        return refused(self.name, value, f"{hint}Use {self.takes()}.")


def refused(name: str, value: object, remedy: str) -> InvalidRequest:
    """Return the error for a value that a field excludes."""
    return invalid(name, f"{shown(value)} is not allowed", remedy)


def as_number(value: object) -> int | float | None:
    """Return the number that a value means; None if it is not a finite number.

    Numbers that are whole are ints: 2.0, "2", numpy's and pandas' own kinds.
    """
    if is_bool(value):
        return None
    try:
        if isinstance(value, str):
            if not _NUMBER.fullmatch(value.strip()):
                return None
            value = int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
        if hasattr(value, "__index__"):
            whole = operator.index(value)
            return whole if abs(whole) < _MAX_INTEGER else None
        if not (isinstance(value, float | Decimal | Fraction) or hasattr(value, "is_integer")):
            return None
        # Of numpy's floats as they are written: 0.1 of 32 bits, not 0.10000000149011612.
        number = float(value if isinstance(value, float | Decimal | Fraction) else str(value))
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < _MAX_EXACT_FLOAT else number


def plain(text: str) -> str:
    """Return a text of Python's own kind: an enum's member has its value, not its name."""
    return str.__str__(text)


def _words(value: object) -> str:
    """Return a value as a word to compare; "" if it has none."""
    try:
        return (plain(value) if isinstance(value, str) else str(value)).strip()
    except Exception:  # noqa: BLE001 - an integer of too many digits, or a str of somebody else's
        return ""


def is_bool(value: object) -> bool:
    """Return True for Python's and numpy's booleans."""
    return type(value).__name__ in {"bool", "bool_"}


def as_json(name: str, value: object) -> Any:
    """Return a value as JSON can hold it: numpy's numbers become Python's, tuples lists."""
    try:
        return json.loads(json.dumps(value, default=_of_another_library, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        kind = type(value).__name__
        raise refused(name, kind, "Use a value that JSON can hold.") from None


def _of_another_library(value: object) -> Any:
    if is_bool(value):
        return bool(value)
    if isinstance(value, Mapping):
        return dict(value)
    number = as_number(value)
    if number is None:
        raise TypeError("not JSON")
    return number


def size_pixels(value: object) -> tuple[int, int] | None:
    """Return width and height of a preset, `640x480`, a pair or an object; None if unknown."""
    if isinstance(value, str):
        if (text := value.strip()) in PRESET_SIZES:
            return PRESET_SIZES[text]
        if oriented := _ORIENTED.fullmatch(text):
            long, short = sorted((int(oriented[2]), int(oriented[3])), reverse=True)
            pixels = (1024, round(1024 * short / long))
            return pixels if oriented[1] == "landscape" else pixels[::-1]
        match = _SIZE.fullmatch(text)
        sides: Collection[object] = match.groups() if match else _parsed(text) or ()
    elif isinstance(value, Mapping):
        sides = (value.get("width"), value.get("height")) if len(value) == 2 else ()
    else:
        sides = value if isinstance(value, list | tuple) else ()
    if isinstance(sides, Mapping):
        return size_pixels(sides)
    numbers = [as_number(side) for side in sides]
    if len(numbers) != 2 or not all(isinstance(n, int) and 0 <= n < 10**6 for n in numbers):
        return None
    return int(numbers[0] or 0), int(numbers[1] or 0)


def typed_json(text: str) -> Any:
    """Return what a text says as JSON; the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _parsed(text: str) -> Any:
    """Return the list or object that a text holds as JSON; None if it holds neither."""
    found = typed_json(text)
    return found if isinstance(found, list | dict) else None


def _listed(values: tuple[object, ...]) -> str:
    if len(values) <= _MAX_SHOWN:
        return ", ".join(map(str, values))
    return f"{', '.join(map(str, values[: _MAX_SHOWN // 2]))}, … ({len(values)} in all)"
