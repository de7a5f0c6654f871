"""Form: what the controls of a model hold, as a frozen value whose methods return the next one.

Pure: no ipywidgets, no I/O. A field that is not in `given` is left to the model's default, and is
not sent.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from imagen_widget._inputs import Input
from imagen_widget._models import Field, Model, size_pixels, typed_json
from imagen_widget._request import USUAL_ROLES, ImageRequest
from imagen_widget._settings import refuse_reserved
from imagen_widget.errors import InvalidRequest, invalid

MAX_PICTURES = 16  # where the model names no bound
OTHER_FIELDS = "other_fields"
_COMMON = (
    Field("aspect_ratio", "text", "Aspect ratio", help="like 16:9"),
    Field("num_images", "whole", "Images", role="count", low=1),
    Field("seed", "whole", "Seed", role="seed"),
    Field("output_format", "text", "Format", help="png, jpeg or webp"),
    Field(OTHER_FIELDS, "json", "Other fields", help="an object, as JSON"),
)
_PROMPT = Field("prompt", "text", role="prompt")
UNKNOWN = Model(
    "",
    fields=(
        _PROMPT,
        Field("image_urls", "pictures", role="picture"),
        *(replace(common, important=True) for common in _COMMON),
    ),
)
_ASIDE = "kept aside and not sent."
_SAME_SHAPE = 0.03  # by this share the ratios of two shapes may differ
_RATIO = re.compile(r"(\d{1,5}(?:\.\d)?)[:/_](\d{1,5}(?:\.\d)?)", re.ASCII)
_PICTURES = ("picture", "pictures")


@dataclass(frozen=True, slots=True)
class Problem:
    field: Field
    text: str
    error: InvalidRequest

    @property
    def why(self) -> str:
        """What is wrong, as it stands beside the control: without the field's name."""
        return str(self.error).removeprefix(f"{self.field.name}: ")


@dataclass(frozen=True, slots=True)
class Form:
    model: Model  # says which controls there are
    prompt: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)  # what will be sent, by field name
    # The texts that are not valid, by field name; while there is one nothing is sent
    problems: Mapping[str, Problem] = field(default_factory=dict)
    pictures: tuple[Input, ...] = ()
    mask: Input | None = None  # white where the first picture may change
    masks: Mapping[str, Input] = field(default_factory=dict)  # of the others, by the picture's key

    @property
    def offered(self) -> Model:
        """The model, or in its place the common fields while nothing is known of its own."""
        return self.model if self.model.fields else UNKNOWN

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields that have a control, besides prompt and pictures, in the model's order."""
        shown = (f for f in self.offered.fields if not f.hidden)
        return tuple(f for f in shown if f.role not in ("prompt", "picture", "mask"))

    @property
    def main(self) -> tuple[Field, ...]:
        """The fields that are always in sight: required and important ones first."""
        main = self.offered.main_fields()
        shown = [f for f in self.fields if f in main or f.role == "seed"]
        return tuple(sorted(shown, key=lambda f: not (f.required or f.important)))

    @property
    def advanced(self) -> tuple[Field, ...]:
        main = self.main
        return tuple(f for f in self.fields if f not in main)

    def field(self, name: str) -> Field | None:
        return next((f for f in self.fields if f.name == name), None)

    @property
    def takes_prompt(self) -> bool:
        return self.offered.role("prompt") is not None

    @property
    def max_pictures(self) -> int:
        into = [f for f in self.offered.fields if f.role == "picture"]
        many = (1 if f.kind == "picture" else f.max_items or MAX_PICTURES for f in into)
        return max(many, default=0)

    @property
    def takes_mask(self) -> bool:
        return self.model.role("mask") is not None

    @property
    def kept_aside(self) -> str:
        if self.pictures and not self.max_pictures:
            one = len(self.pictures) == 1
            return f"{self.model.title} takes no pictures; yours {'is' if one else 'are'} {_ASIDE}"
        if (self.mask is not None or self.masks) and not self.takes_mask:
            return f"{self.model.title} takes no mask; yours is {_ASIDE}"
        return f"Only picture 1 can have a mask; the other is {_ASIDE}" if self.masks else ""

    @property
    def count(self) -> int:
        count = self.offered.role("count")
        value = None if count is None else self.given.get(count.name, count.default)
        return value if isinstance(value, int) else 1

    @property
    def blocked(self) -> str:
        return next((f"Correct {wrong.field.title} first" for wrong in self.problems.values()), "")

    @property
    def sent(self) -> dict[str, Any]:
        """What is given of the fields, those included that only the JSON text has."""
        given = dict(self.given)
        other = given.pop(OTHER_FIELDS, {})
        return {**given, **other}

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `Studio.request`, without the prompt; raise a problem."""
        for problem in self.problems.values():
            raise problem.error
        asked: dict[str, Any] = {"model": self.model.id, "extra": self.sent}
        if self.pictures and self.max_pictures:
            one = len(self.pictures) == 1
            asked |= {"image": self.pictures[0]} if one else {"images": self.pictures}
        if self.mask is not None and self.takes_mask:
            asked["mask"] = self.mask
        return asked

    def draft(self) -> ImageRequest:
        """Return the request as far as it is filled in, to ask for its price."""
        pictures = [f.name for f in self.fields if f.kind in _PICTURES]  # their files are not read
        given = {name: value for name, value in self.sent.items() if name not in pictures}
        checked = self.model.check(given, whole=False)
        inputs = self.pictures if self.max_pictures else ()
        body = json.dumps(checked.arguments)
        return ImageRequest(self.model.id, body, count=checked.count, inputs=inputs)

    def with_value(self, name: str, value: object) -> "Form":
        """Return the form with one field set; None or "" leaves it to the model's default.

        A name that the model knows under another one is translated, as `generate` does.
        """
        known = _PROMPT if name == "prompt" else self.offered.field(name)
        if known is not None and known.role == "prompt":
            return replace(self, prompt=_PROMPT.check("" if value is None else value))
        if known is None:
            return self._translated(name, value)
        given = {n: v for n, v in self.given.items() if n != name}
        problems = {n: p for n, p in self.problems.items() if n != name}
        if value is not None and value != "":
            try:
                parsed = _parsed(known, value)
                parsed = parsed if known.kind in _PICTURES else known.check(parsed)
                if name == OTHER_FIELDS and not isinstance(parsed, Mapping):
                    raise invalid(name, "this is not an object", 'Write one, like {"steps": 20}.')
                given[name] = parsed
            except InvalidRequest as error:
                problems[name] = Problem(known, str(value), error)
        return replace(self, given=given, problems=problems)

    def with_model(self, model: Model) -> tuple["Form", str]:
        """Return the form of another model, which keeps what that one also takes.

        The text says if the shape had to be left out, since that changes every picture, or what was
        given of a model before its fields were known.
        """
        form, note = replace(self, model=model, given={}, problems={}), ""
        others = self.given.get(OTHER_FIELDS, {}) if model.fields else {}
        for name, value in (self.sent if model.fields else self.given).items():
            role = old.role if (old := self.field(name)) is not None else ""
            same_role = (f for f in form.fields if role and f.role == role)
            into = form.offered.field(name) or next(same_role, None)
            if into is not None and into.role == "picture" and (given := _addresses(value)):
                form = form.with_pictures([*form.pictures, *given])
                continue
            carried = None if into is None else form.with_value(into.name, value)
            if carried is not None and not carried.problems:
                form = carried
            elif name == "aspect_ratio" or role == "size":
                shaped = form._with_shape(value)
                sides = value.values() if isinstance(value, Mapping) else (value,)
                words = " x ".join(map(str, sides))
                lost = f"{model.title} does not take {words}: the shape is left to the model."
                form, note = (form, lost) if shaped is None else (shaped, note)
            elif name in others:
                note = f"{note} {model.title or model.name} does not take {name}: left out.".strip()
        return form, note

    def with_pictures(self, pictures: Iterable[Input]) -> "Form":
        """Return the form with these pictures; a mask stays with the one that it was made for."""
        kept = tuple(pictures)
        first = next(iter(self.pictures or kept), None)
        before = {**self.masks, first.key: self.mask} if first and self.mask else self.masks
        masks = {p.key: before[p.key] for p in kept if p.key in before}
        mask = masks.pop(kept[0].key, None) if kept else None
        return replace(self, pictures=kept, mask=mask, masks=masks)

    @classmethod
    def of(cls, request: ImageRequest, model: Model) -> tuple["Form", list[str]]:
        """Return the form that would send this request, and the fields that have no control."""
        form = cls(model, request.prompt or "")
        given: dict[str, Any] = {}
        other: dict[str, Any] = {}
        lost: list[str] = []
        for name, value in request.arguments().items():
            its, known = request.named(value), form.offered.field(name)
            role = USUAL_ROLES.get(name, "") if known is None else known.role
            if role == "prompt":
                continue
            if its and role == "mask":
                form = replace(form, mask=its[0])
            elif its and role == "picture":
                form = replace(form, pictures=(*form.pictures, *its))
            elif form.field(name) is not None:
                paths = [str(each.path or each.key) for each in its]
                given[name] = (paths if isinstance(value, list) else paths[0]) if its else value
            elif model.fields or its:
                lost.append(name)
            else:
                other[name] = value
        if other:
            given[OTHER_FIELDS] = other
        return replace(form, given=given), lost

    def _translated(self, name: str, value: object) -> "Form":
        """Set whatever field means the same; what only says how it is by default sets nothing."""
        refuse_reserved({name: value}, taken=())
        form, meant = self, self.model.check({name: value}, whole=False).arguments
        if not self.model.fields:
            return form.with_value(OTHER_FIELDS, {**self.given.get(OTHER_FIELDS, {}), **meant})
        for into, translated in meant.items():
            form = form.with_value(into, translated)
        return form

    def _with_shape(self, value: object) -> "Form | None":
        """Return the form with this shape; None if the model does not have it."""
        shape, into = shape_of(value), self.field("aspect_ratio")
        if shape is None:
            return None
        wanted = shape[0] / shape[1]
        for ratio in () if into is None else into.allowed:
            own = shape_of(ratio)
            if own is not None and math.isclose(own[0] / own[1], wanted, rel_tol=_SAME_SHAPE):
                return self.with_value("aspect_ratio", ratio)
        with suppress(InvalidRequest):
            if into is None:
                return self.with_value("aspect_ratio", f"{shape[0]:g}:{shape[1]:g}")
        return None


def shape_of(value: object) -> tuple[float, float] | None:
    """Return the width and height, or their ratio, that a value names; None for other values."""
    found = _RATIO.fullmatch(str(value).strip())
    sides = size_pixels(value) if found is None else (float(found[1]), float(found[2]))
    return None if sides is None or not all(sides) or str(value).startswith("auto") else sides


def request_shape(request: ImageRequest) -> tuple[float, float]:
    for value in request.arguments().values():
        if isinstance(value, (str, Mapping)) and (shape := shape_of(value)) is not None:
            return shape
    first = next(iter(request.inputs), None)
    return (first.width, first.height) if first is not None and first.width else (1, 1)


def _addresses(value: object) -> list[Input]:
    """Return pictures that are given by their https addresses; none if anything else is given."""
    words = [str(word) for word in (value if isinstance(value, list) else [value])]
    are_all = all(word.startswith("https://") for word in words)
    return [Input(url=word, origin=word) for word in words] if are_all else []


def _parsed(known: Field, value: object) -> object:
    if isinstance(value, str):
        match known.kind:
            case "json":
                return typed_json(value)
            case "words" | "pictures":
                return [word for line in value.splitlines() if (word := line.strip())]
            case "whole" | "number":
                return value.strip()
    return value
