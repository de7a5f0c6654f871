"""Model: an ordered tuple of fields, the check of a request by them, its price, a readable page.

Only what is given is sent. The six common names go to whatever field of the model means the same,
which is said in a note; if nothing means the same, the name is refused.

An estimated price is never too low on purpose: if the list leaves something to the server
("auto"), the highest price counts, because caps are kept by it. What cannot be known is None,
never 0.
"""

import copy
import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Literal, overload

from imagen_widget._html import NO_FORMULAS, encodable, escape, html_table, tag, text_table
from imagen_widget._models.field import (
    A_PICTURE,
    Field,
    Role,
    as_json,
    as_number,
    refused,
    size_pixels,
)
from imagen_widget._settings import Settings
from imagen_widget.errors import InvalidRequest, invalid, shown

COMMON_NAMES = (
    "aspect_ratio",
    "num_images",
    "resolution",
    "output_format",
    "seed",
    "safety_tolerance",
)
ARGUMENTS = (  # what `generate` itself takes; a model's field of that name goes by `extra`
    *("prompt", "model", "image", "images", "mask", "reuse", "timeout"),
    *("on_event", "strict", "quiet", "extra"),
)
MAX_COUNT = 1000  # pictures of one request
MEGAPIXEL = 1024 * 1024
COUNT_NAMES = ("num_images", "num_samples", "n", "num_results", "number_of_images", "num_outputs")
MAX_FOR_EACH = "max_images"  # beside a count; alone it is the count
FORMAT_NAMES = ("format", "image_format")

_VISIBLE = re.compile(r"[^\s\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_SHORT = {"n": "num_images", "ar": "aspect_ratio"}  # as people know them from the magic
_MAIN_NAMES = {"aspect_ratio", "resolution", "quality"}
_MAIN_ROLES = {"prompt", "picture", "mask", "size", "count"}
_RATIO = re.compile(r"(\d{1,5}(?:\.\d{1,3})?)\s*[:/x]\s*(\d{1,5}(?:\.\d{1,3})?)", re.ASCII)
_FREE = {  # the fields of a model of which nothing is known
    "prompt": Field("prompt", "text", role="prompt"),
    "num_images": Field("num_images", "whole", low=1, high=MAX_COUNT),
    "seed": Field("seed", "whole"),
}
_FREE_NAME = re.compile(r"[^\W\d][\w.-]{0,99}")


@dataclass(frozen=True, slots=True)
class Checked:
    """A request that passed: what is sent, and what the rest of the program asks of it."""

    arguments: dict[str, Any]
    prompt: str | None
    count: int
    seed: int | None
    notes: tuple[str, ...]
    names: tuple[str, str, str] = ("prompt", "num_images", "seed")  # the fields of these three


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
        unit_price: The price of one unit in the provider's bill; None if its units differ.
    """

    per: Literal["picture", "megapixel"] = "picture"
    amount: Decimal | None = None
    further: Decimal | None = None
    factors: tuple[tuple[str, str, Decimal], ...] = ()
    extras: tuple[tuple[str, str, Decimal], ...] = ()
    by: tuple[str, ...] = ()
    table: tuple[tuple[tuple[str, ...], Decimal], ...] = ()
    unit_price: Decimal | None = None

    def of(self, given: Mapping[str, Any], pixels: int | None) -> Decimal | None:
        """Return what one picture asked for is expected to cost; None if unknown.

        Args:
            given: The values of all fields, the defaults of those that are not sent included.
            pixels: The size of the picture; None if unknown.
        """
        words = {name: _as_word(value) for name, value in given.items()}
        one = self.amount
        if one is None:
            row = [words.get(name, "") for name in self.by]
            fitting = (a for patterns, a in self.table if all(map(fnmatchcase, row, patterns)))
            one = next(fitting, None)
        if one is None or (self.per == "megapixel" and not pixels):
            return None
        if self.per == "megapixel":
            further = one if self.further is None else self.further
            one += further * (math.ceil((pixels or 0) / MEGAPIXEL) - 1)
        for name, pattern, factor in self.factors:
            if fnmatchcase(words.get(name, ""), pattern):
                one *= factor
        for name, pattern, more in self.extras:
            if fnmatchcase(words.get(name, ""), pattern):
                one += more
        return one

    @property
    def text(self) -> str:
        """The price as people read it: "$0.04 a picture"."""
        if self.amount is None:
            amounts = sorted(amount for _, amount in self.table)
            return f"{dollars(amounts[0])} to {dollars(amounts[-1])} a {self.per}"
        if self.further is not None:
            first = f"{dollars(self.amount)} for the first megapixel"
            return f"{first}, {dollars(self.further)} for each further one"
        ways = [f"{dollars(self.amount * n)} at {name.rstrip('*')}" for _, name, n in self.factors]
        more = [f"{dollars(n)} more with {_plain(name, word)}" for name, word, n in self.extras]
        notes = ", ".join([*ways, *more])
        return f"{dollars(self.amount)} a {self.per}" + (f" ({notes})" if notes else "")


@dataclass(frozen=True, slots=True)
class Model:
    """One image model and what it takes.

    Attributes:
        id: The endpoint id on the wire, `owner/name[/route]`, or a name without a slash.
        alias: The short name that people type; "" if missing.
        title: The name that people read.
        provider: The service whose model it is.
        providers: The accounts that are known to serve it.
        fields: What it takes, in the model's own order.
        price: The list price; None if unknown.
        status: `retired` if the maker or the provider has ended it, `deprecated` if that is near.
        note: One line about the status.
        successors: What to use instead: (account, alias), "" for any other account.
        edits_with: The id of the model that edits this one's pictures; "" if missing.
        source: Where the fields are from; `none` means that any field passes.
        as_of: The date at which the fields were read.
        typical_seconds: A guess of the service time until the journal knows better.
        tags: Words to find it by.
    """

    id: str
    alias: str = ""
    title: str = ""
    provider: str = "fal"
    providers: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    price: Price | None = None
    status: Literal["active", "deprecated", "retired"] = "active"
    note: str = ""
    successors: tuple[tuple[str, str], ...] = ()
    edits_with: str = ""
    source: Literal["bundled", "fetched", "none"] = "none"
    as_of: str = ""
    typical_seconds: float = 10.0
    tags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The shortest name that means this model."""
        return self.alias or self.id

    @property
    def successor(self) -> str:
        """The alias of the model to use instead; "" if unknown."""
        return self.successor_at("")

    def successor_at(self, account: str) -> str:
        """Return the alias of the successor that this account's provider serves, or ""."""
        found = dict(self.successors)
        return found.get(account) or found.get("", "")

    def at(self, account: str) -> "Model":
        """Return the model as this account has it: its successor is one that is served there."""
        here = ("", self.successor_at(account))
        return replace(self, successors=(*self.successors, here)) if self.successors else self

    def field(self, name: str) -> Field | None:
        """Return the field of this name; None if the model has none."""
        for field in self.fields:
            if field.name == name:
                return field
        return None

    def role(self, role: Role) -> Field | None:
        """Return the first field with this role; None if the model has none."""
        for field in self.fields:
            if field.role == role:
                return field
        return None

    def price_of(
        self, arguments: Mapping[str, Any], count: int = 1, *, pixels: int | None = None
    ) -> Decimal | None:
        """Return what a request is expected to cost in US dollars; None if unknown.

        Args:
            arguments: What is sent.
            count: How many pictures are asked for.
            pixels: The size of a picture whose size the request leaves open, such as its input's.
        """
        if self.price is None:
            return None
        given = {f.name: f.default for f in self.fields if f.default is not None} | dict(arguments)
        sized = self.role("size")
        size = size_pixels(given.get(sized.name)) if sized else None
        one = self.price.of(given, size[0] * size[1] if size else pixels)
        return None if one is None else one * self.most(arguments, count)

    def most(self, arguments: Mapping[str, Any], count: int) -> int:
        """Return how many pictures may come of a request: some make up to `max_images` for each."""
        each = self.field(MAX_FOR_EACH)
        if each is not None and each.role == "count":
            return count
        return count * _count(arguments.get(MAX_FOR_EACH, each and each.default))

    def main_fields(self) -> tuple[Field, ...]:
        """Return the fields that a form shows at once: required, important, shape and count."""
        return tuple(
            f
            for f in self.fields
            if (f.required or f.important or f.role in _MAIN_ROLES or f.name in _MAIN_NAMES)
            and not f.hidden
        )

    def check(
        self, given: Mapping[str, object], *, strict: bool = True, whole: bool = True
    ) -> Checked:
        """Return what to send for what was given; values that are None count as not given.

        With `strict=False` unknown fields and excluded values pass; with `whole=False` not all
        that is required must be there.

        Raises:
            InvalidRequest: A field is unknown, missing or given twice, or its value is excluded.
        """
        asked = dict[str, object]()
        for name, value in given.items():
            blank = name == "prompt" and isinstance(value, str) and not _VISIBLE.search(value)
            if value is not None and not blank:
                asked[name] = value
        sent: dict[str, Any] = {}
        notes: list[str] = []
        for name, each in asked.items():
            target, value = self.meant(name), each
            if target is None and name == "num_images" and as_number(each) == 1:
                notes.append(f"num_images 1 is not sent: {self.name} makes one picture")
                continue
            if target is not None and target.name != name:
                value = _translated(name, each, target)
            if target is None or value is None:
                sent[name] = self._passed(name, each, strict=strict)
            elif target.name in sent:
                what = f"{self.name} takes one {target.name}, and it was given twice"
                raise invalid(name, what, "Give it once.")
            else:
                is_common = self.source == "none"  # a number is a number, whatever is known
                sent[target.name] = target.check(value, strict=strict or is_common)
                if name not in {target.name, "prompt"}:
                    said = f"{name} goes out as {target.name}"
                    notes.append(f"{said} {value}" if target.role == "size" else said)
        if whole and not sent and self.source == "none":
            raise self._missing(_FREE["prompt"])
        for required in self.fields if whole else ():
            is_empty = required.kind == "pictures" and not sent.get(required.name)
            if required.required and (is_empty or required.name not in sent):
                raise self._missing(required)
        prompt, count, seed = self.role("prompt"), self.role("count"), self.role("seed")
        names = (
            prompt.name if prompt else "prompt",
            count.name if count else "num_images",
            seed.name if seed else "seed",
        )
        text, _, chosen = map(sent.get, names)
        asked_for = list(filter(None, map(sent.get, (names[1], *COUNT_NAMES))))
        # If there are several, nobody knows which of them counts: a cap counts the most.
        number = max(map(_count, asked_for or [count and count.default]))
        if asked_for and number > MAX_COUNT:
            raise refused(names[1], number, f"Use at most {MAX_COUNT}.")
        return Checked(
            arguments=sent,
            prompt=text if isinstance(text, str) else None,
            count=min(number, MAX_COUNT),
            seed=chosen if type(chosen) is int else None,
            notes=tuple(notes),
            names=names,
        )

    def _passed(self, name: str, value: object, *, strict: bool) -> Any:
        """Return a value for which there is no field as it goes out, if it may."""
        is_free = self.source == "none"
        if not is_free and strict:
            raise self._unknown(name, value)
        if is_free and not _FREE_NAME.fullmatch(name):
            raise refused(name[:40], value, "Use field names of letters, digits and _.")
        sent = as_json(name, value)
        if is_free and name in COMMON_NAMES:
            if not isinstance(sent, str | int | float) or isinstance(sent, bool):
                raise refused(name, sent, "Give text.")
            return str(sent)
        return sent

    def meant(self, name: str) -> Field | None:
        """Return the field of this name, or the one that a common name means here."""
        if (own := self.field(name)) is not None or self.source == "none":
            return own or _FREE.get(name)
        match name:
            case "prompt" | "seed":
                return self.role(name)
            case "num_images":
                return self.role("count")
            case "output_format":
                return next((f for n in FORMAT_NAMES if (f := self.field(n))), None)
            case "aspect_ratio" | "resolution" if (size := self.role("size")) is not None:
                known = nearest_size("1:1", size) if name == "aspect_ratio" else _resolutions(size)
                return size if known else None
        return None

    def _unknown(self, name: str, value: object) -> InvalidRequest:
        """Return the error for a field that it does not have, or a value without translation."""
        names = [field.name for field in self.fields if not field.hidden]
        takes = f"It takes {', '.join(names)}."
        if (size := self.meant(name)) is not None:
            if name == "resolution":
                return refused(name, value, f"Use one of {', '.join(_resolutions(size))}.")
            return invalid(name, f"{shown(value)} is not a ratio", "Write it like 16:9.")
        if name == "prompt":
            return invalid(name, f"{self.name} takes no prompt", f"Leave it out. {takes}")
        others = {*names, *ARGUMENTS, *filter(self.meant, COMMON_NAMES)} - {name}
        if self.role("picture") is None:
            others -= {"image", "images", "mask"}
        near = difflib.get_close_matches(name.lower()[:60], sorted(others), n=1)
        if name in COMMON_NAMES or self.meant(_SHORT.get(name, "")):
            near = [_SHORT[name]] if name in _SHORT else []
        hint = f"Did you mean {near[0]}? " if near else ""
        return invalid(name, f"{self.name} takes no such field", f"{hint}{takes}")

    def _missing(self, field: Field) -> InvalidRequest:
        if field.role == "prompt":
            return invalid(field.name, "it is empty", "Say what the picture should show.")
        how = f"Give {field.takes()}."
        if field.kind in {"picture", "pictures"}:
            picture = "images=[…]" if field.kind == "pictures" else "image=…"
            name = {"picture": picture, "mask": "mask=…"}.get(field.role, f"{field.name}=…")
            how = f"Give {name}: {A_PICTURE}."
        return invalid(field.name, f"{self.name} needs it", how)

    # --------------------------------------------------------------------------------- display

    def __repr__(self) -> str:
        known = f"{len(self.fields)} fields" if self.fields else "fields not known"
        return f"<Model {self.name}: {self.id}, {known}, {self.price_text}>"

    @property
    def price_text(self) -> str:
        """The list price as people read it, or that it is unknown."""
        return self.price.text if self.price else "price unknown"

    @property
    def status_text(self) -> str:
        """One line on whether it can still be used, and what to use instead."""
        if self.status == "active":
            return ""
        said = ": ".join(filter(None, (self.status, self.note.rstrip("."))))
        return f"{said}; use {self.successor} instead" if self.successor else said

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        head = f"{self.title or self.name} ({self.name})"
        read = f"as read on {self.as_of}" + (" from its schema" if self.source == "fetched" else "")
        known = {
            "id": self.id,
            "price": self.price_text,
            "status": self.status_text,
            "edits with": self.edits_with,
            "fields": read if self.fields else "not known",
        }
        facts = [f"{name}: {text}" for name, text in known.items() if text]
        main = self.main_fields()
        rows = [
            (
                f.name + ("*" if f.required else ""),
                f.takes(),
                "" if f.default is None else str(f.default),
                re.split(r"(?<=[.!?])\s", f.help.strip(), maxsplit=1)[0],  # the first sentence
            )
            for f in sorted(self.fields, key=lambda f: f not in main)
            if not f.hidden
        ]
        table = ("field", "takes", "default", "what it does"), rows
        text = "\n".join([head, *(f"  {fact}" for fact in facts), "", text_table(*table)])
        parts = [tag("strong", escape(head)), *(tag("div", escape(fact)) for fact in facts)]
        html = tag("div", *parts, html_table(*table), class_=NO_FORMULAS)
        return {"text/plain": text, "text/html": html}


class Models(Sequence[Model]):
    """Models as a sequence that displays as a table; with settings, what a picture costs now."""

    _HEADS = ("model", "id", "a picture", "list price", "pictures in", "status")

    def __init__(
        self,
        models: Iterable[Model],
        *,
        settings: Settings | None = None,
        query: str = "",
        note: str = "",
    ) -> None:
        self._models, self._query, self._note = tuple(models), query, note
        # Their texts and not the settings, which hold the key: models are pickled and copied.
        self._rows = [_row(model, settings) for model in self._models]

    @overload
    def __getitem__(self, index: int) -> Model: ...
    @overload
    def __getitem__(self, index: slice) -> "Models": ...
    def __getitem__(self, index: int | slice) -> "Model | Models":
        if isinstance(index, slice):
            part = copy.copy(self)
            part._models, part._rows = self._models[index], self._rows[index]
            return part
        return self._models[index]

    def __len__(self) -> int:
        return len(self._models)

    def __repr__(self) -> str:
        table = text_table(self._HEADS, self._rows) if self._models else self._no_match
        return encodable(f"{table}\n{self._note}".rstrip())

    @property
    def _no_match(self) -> str:
        return (
            f"No model matches {shown(self._query)}. %imagen_models lists all; any other endpoint "
            "id (owner/name) works too."
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        html = html_table(self._HEADS, self._rows) if self._models else escape(self._no_match)
        note = tag("div", escape(self._note)) if self._note else ""
        return {"text/plain": repr(self), "text/html": tag("div", html, note, class_=NO_FORMULAS)}


def _row(model: Model, settings: Settings | None) -> tuple[str, ...]:
    successor = model.successor_at(settings.account.name if settings else "")
    status = model.status if model.status != "active" else ""
    instead = f"{status}; use {successor}" if status and successor else status
    price = _price_now(model, settings) if settings else ""
    pictures = f"none; {model.edits_with} edits" if model.edits_with else ""
    if (takes := model.role("picture")) is not None:
        pictures = "one" if takes.kind == "picture" else "several"
    return model.name, model.id, price, model.price_text, pictures, instead


def _price_now(model: Model, settings: Settings) -> str:
    if settings.account.free:
        return "free"
    price = settings.price.for_model(model.id, model.alias)
    if price is None and model.price is not None:
        found = ((model.field(name), value) for name, value in settings.presets.items())
        presets = {field.name: field.check(value, strict=False) for field, value in found if field}
        price = model.price_of(presets)
        if price is None:
            return "by its size"
    return "price unknown" if price is None else dollars(price)


def dollars(amount: Decimal) -> str:
    """Return an amount as people read it: two decimals, more only if they say something."""
    text = f"{amount:.6f}".rstrip("0")
    whole, _, decimals = text.partition(".")
    return f"${whole}.{decimals:0<2}"


def _as_word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    pixels = size_pixels(value) if isinstance(value, Mapping) else None
    return f"{pixels[0]}x{pixels[1]}" if pixels else str(value)


def _plain(name: str, word: str) -> str:
    words = name.removeprefix("enable_").replace("_", " ")
    return words if word == "true" else f"{words} {word}"


def _translated(name: str, value: object, field: Field) -> object:
    """Return what a common name's value is in terms of the field; None if that is not known."""
    if name == "aspect_ratio":
        return nearest_size(value, field)
    if name == "resolution":
        preset = f"auto_{value}".lower()
        return next((a for a in field.allowed if str(a).lower() == preset), None)
    return value


def _resolutions(size: Field) -> list[str]:
    """Return the resolutions among the presets of a size: 2K for `auto_2K`."""
    return [str(a).removeprefix("auto_") for a in size.allowed if str(a).startswith("auto_")]


def nearest_size(ratio: object, field: Field) -> str | None:
    """Return the size of the field that is nearest to a ratio like `16:9`; None without a size.

    Of several with the same shape it is the one nearest to a megapixel. A field without presets
    gets about a megapixel, in steps of 16 pixels.
    """
    text = str(ratio).strip().lower()
    if text in field.allowed:
        return text
    match = _RATIO.fullmatch(text)
    if match is None or not (float(match[1]) and float(match[2])):
        return None
    wanted = math.log(float(match[1]) / float(match[2]))

    def distance(size: str) -> tuple[float, float]:
        width, height = size_pixels(size) or (1, 1)
        shape = abs(math.log(width / height) - wanted)
        return round(shape, 3), abs(math.log(width * height / MEGAPIXEL))

    sizes = [s for a in field.allowed if not (s := str(a)).startswith("auto") and size_pixels(s)]
    if not sizes and field.custom_size:
        sides = math.sqrt(MEGAPIXEL * math.exp(wanted)), math.sqrt(MEGAPIXEL / math.exp(wanted))
        return "x".join(str(max(16, round(side / 16) * 16)) for side in sides)
    return min(sizes, key=distance, default=None)


def _count(value: object) -> int:
    if type(value) is int:
        return max(1, value)
    return max(1, math.ceil(as_number(value) or 1))  # it has passed without a check
