"""Price: what a model's pictures cost by the provider's list, from the request alone.

An estimate is never too low on purpose: where the list leaves something to the server ("auto"),
the highest price counts, because caps are kept by it. What cannot be known is None, never 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Literal

from imagen_widget._models.field import Field, as_number, size_pixels

MEGAPIXEL = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Price:
    """A list price in US dollars.

    Attributes:
        per: What `amount` is the price of.
        amount: The price of one; None if it stands in `table`.
        further: The price of each further megapixel, if it differs from the first.
        factors: What a field's value multiplies the price by: (field, pattern, factor).
        extras: What a field's value adds to each picture: (field, pattern, dollars).
        by: The fields whose values find the price in `table`.
        table: Prices by those values, the first row that fits: (patterns, dollars).
        times: Fields whose number multiplies the pictures.
        unit_price: The price of one unit in the provider's bill; None if its units differ.
        defaults: What the fields above are if a request does not give them.
        size: The name of the field that says how large a picture is.
    """

    per: Literal["picture", "megapixel"] = "picture"
    amount: Decimal | None = None
    further: Decimal | None = None
    factors: tuple[tuple[str, str, Decimal], ...] = ()
    extras: tuple[tuple[str, str, Decimal], ...] = ()
    by: tuple[str, ...] = ()
    table: tuple[tuple[tuple[str, ...], Decimal], ...] = ()
    times: tuple[str, ...] = ()
    unit_price: Decimal | None = None
    defaults: tuple[tuple[str, Any], ...] = field(default=(), hash=False)
    size: str = ""

    @classmethod
    def read(cls, data: Mapping[str, Any], fields: Sequence[Field]) -> "Price":
        """Return the price that bundled data describe, for a model with these fields."""
        read: dict[str, Any] = {
            name: tuple((where, pattern, Decimal(n)) for where, pattern, n in data.get(name, ()))
            for name in ("factors", "extras")
        }
        read |= {n: Decimal(data[n]) for n in ("amount", "further", "unit_price") if n in data}
        return cls(
            per=data.get("per", "picture"),
            by=tuple(data.get("by", ())),
            table=tuple((tuple(words), Decimal(n)) for words, n in data.get("table", ())),
            times=tuple(data.get("times", ())),
            defaults=tuple((f.name, f.default) for f in fields if f.default is not None),
            size=next((f.name for f in fields if f.role == "size"), ""),
            **read,
        )

    def of(
        self, arguments: Mapping[str, Any], count: int = 1, *, pixels: int | None = None
    ) -> Decimal | None:
        """Return what a request is expected to cost; None if unknown.

        Args:
            arguments: What is sent.
            count: How many pictures are asked for.
            pixels: The size of a picture whose size the request leaves open, such as its input's.
        """
        given = {**dict(self.defaults), **arguments}
        words = {name: _word(value) for name, value in given.items()}
        one = self._one(words, given, pixels)
        if one is None:
            return None
        for name, pattern, factor in self.factors:
            if fnmatchcase(words.get(name, ""), pattern):
                one *= factor
        for name, pattern, more in self.extras:
            if fnmatchcase(words.get(name, ""), pattern):
                one += more
        for name in self.times:
            count *= max(1, int(as_number(given.get(name)) or 1))
        return one * count

    @property
    def text(self) -> str:
        """The price as people read it: "$0.04 a picture"."""
        if self.amount is None:
            amounts = sorted(amount for _, amount in self.table)
            return f"{dollars(amounts[0])} to {dollars(amounts[-1])} a {self.per}"
        if self.further is not None:
            first = f"{dollars(self.amount)} for the first megapixel"
            return f"{first}, {dollars(self.further)} for each further one"
        ways = [f"{dollars(self.amount * n)} at {name}" for _, name, n in self.factors]
        ways = [way.replace("at vector*", "as vector") for way in ways]
        more = [f"{dollars(n)} more with {_plain(name, word)}" for name, word, n in self.extras]
        notes = ", ".join([*ways, *more])
        return f"{dollars(self.amount)} a {self.per}" + (f" ({notes})" if notes else "")

    def _one(
        self, words: Mapping[str, str], given: Mapping[str, Any], pixels: int | None
    ) -> Decimal | None:
        """Return the price of one picture before factors and extras."""
        amount = self.amount
        if amount is None:
            row = [words.get(name, "") for name in self.by]
            amount = next(
                (a for patterns, a in self.table if all(map(fnmatchcase, row, patterns))), None
            )
        if amount is None or self.per == "picture":
            return amount
        size = size_pixels(given.get(self.size))
        area = size[0] * size[1] if size else pixels
        if not area:
            return None
        megapixels = math.ceil(area / MEGAPIXEL)
        if self.further is None:
            return amount * megapixels
        return amount + self.further * (megapixels - 1)


def dollars(amount: Decimal) -> str:
    """Return an amount as people read it: two decimals, more only if they say something."""
    text = f"{amount:.6f}".rstrip("0")
    whole, _, decimals = text.partition(".")
    return f"${whole}.{decimals:0<2}"


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    pixels = size_pixels(value) if isinstance(value, Mapping) else None
    return f"{pixels[0]}x{pixels[1]}" if pixels else str(value)


def _plain(name: str, word: str) -> str:
    words = name.removeprefix("enable_").replace("_", " ")
    return words if word == "true" else f"{words} {word}"
