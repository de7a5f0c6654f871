"""ImageRequest: a prompt with its parameters, checked against the catalogue.

Nothing here does I/O. Only what was given is kept, because only what was given is sent.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from imagen_widget._catalog import (
    DEFAULT_MODEL,
    Choice,
    Model,
    Parameter,
    Whole,
    find_model,
    resolve_endpoint,
)
from imagen_widget.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMED_PARAMETERS = (
    "aspect_ratio",
    "num_images",
    "resolution",
    "output_format",
    "seed",
    "safety_tolerance",
)
_LONGEST_BODY_BYTES = 1_000_000
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_WHOLE = re.compile(r"[+-]?\d{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A checked request for pictures; build it with `ImageRequest.create`.

    Attributes:
        prompt: What the pictures show, exactly as typed.
        model: The endpoint id.
        aspect_ratio: Width to height, like `16:9`; None where the model's default is meant.
        num_images: How many pictures, or None.
        resolution: `1K`, `2K` …, or None.
        output_format: `png`, `jpeg` or `webp`, or None.
        seed: A whole number, or None for a random one.
        safety_tolerance: `1` (strict) to `6`, or None.
        extra: Fields passed through to a model outside the catalogue.
    """

    prompt: str
    model: str = DEFAULT_MODEL
    aspect_ratio: str | None = None
    num_images: int | None = None
    resolution: str | None = None
    output_format: str | None = None
    seed: int | None = None
    safety_tolerance: str | None = None
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    @classmethod
    def create(cls, prompt: str, *, model: str | None = None, **parameters: object) -> ImageRequest:
        """Check a prompt and its parameters; parameters that are None count as not given.

        Args:
            prompt: What the pictures should show; not empty.
            model: An alias (`imagen4`, `nano-banana-2`, …) or an endpoint id like `owner/name`.
            parameters: The fields of this class; for a model outside the catalogue any others,
                which are passed on as they are.

        Raises:
            InvalidRequest: The prompt is empty, the model takes no such field, or the value is
                none of those allowed; the message names the field and what is allowed.
        """
        # Notebooks are not type-checked: a prompt may be anything.
        text = prompt if isinstance(prompt, str) else ""  # type: ignore[redundant-expr]  # see above
        if not text.strip():
            raise InvalidRequest(
                "prompt: it is empty.", remedy="Say what the picture should show.", field="prompt"
            )
        if _LONE_SURROGATE.search(prompt):
            raise InvalidRequest(
                "prompt: it holds half of a character (a lone surrogate), which cannot be sent.",
                remedy="Type or paste the text again.",
                field="prompt",
            )
        endpoint = resolve_endpoint(model if model is not None else DEFAULT_MODEL)
        given = {name: value for name, value in parameters.items() if value is not None}
        known = find_model(endpoint)
        checked = _check_known(known, given) if known else _check_unknown(endpoint, given)
        named = {name: checked.pop(name) for name in NAMED_PARAMETERS if name in checked}
        return cls(prompt=prompt, model=endpoint, extra=MappingProxyType(checked), **named)

    @property
    def count(self) -> int:
        """How many pictures are asked for."""
        return self.num_images or 1

    @property
    def catalogued(self) -> Model | None:
        """The catalogue's entry for the model, or None."""
        return find_model(self.model)

    def arguments(self) -> dict[str, Any]:
        """Return the JSON object to send: the prompt first, then what was given."""
        body: dict[str, Any] = {"prompt": self.prompt}
        body.update(self.parameters())
        return body

    def parameters(self) -> dict[str, Any]:
        """Return what was given besides prompt and model, in the order of the wire."""
        named = ((name, getattr(self, name)) for name in NAMED_PARAMETERS)
        given = {name: value for name, value in named if value is not None}
        given.update(self.extra)
        return given

    @property
    def fingerprint(self) -> str:
        """A hash that is equal for requests which mean the same.

        Defaults count as not given, and blanks around the prompt as none.
        """
        parameters = self.parameters()
        model = self.catalogued
        if model is not None:
            defaults = {p.name: p.default for p in model.parameters}
            parameters = {n: v for n, v in parameters.items() if defaults.get(n) != v}
        meaning = {"model": self.model, "prompt": self.prompt.strip(), "parameters": parameters}
        text = json.dumps(meaning, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> str:
        """Return the request as JSON text, for the journal."""
        return json.dumps({"model": self.model, **self.arguments()}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ImageRequest:
        """Return the request that `to_json` wrote; values are trusted, since they were checked."""
        fields = json.loads(text)
        extra = {
            name: fields.pop(name)
            for name in list(fields)
            if name not in {"prompt", "model", *NAMED_PARAMETERS}
        }
        return cls(**fields, extra=MappingProxyType(extra))


def _check_known(model: Model, given: dict[str, object]) -> dict[str, Any]:
    taken = [p.name for p in model.parameters]
    for name in given:
        if name not in taken:
            raise InvalidRequest(
                f"{name}: {model.alias} takes no such field.",
                remedy=f"It takes {', '.join(['prompt', *taken])}.",
                field=name,
            )
    return {p.name: _check(p, given[p.name]) for p in model.parameters if p.name in given}


def _check(parameter: Parameter, value: object) -> str | int:
    match parameter:
        case Choice(name=name, allowed=allowed):
            text = str(value).strip()
            found = next((a for a in allowed if a.lower() == text.lower()), None)
            if found is None:
                raise _refused(name, value, f"one of {', '.join(allowed)}")
            return found
        case Whole(name=name, low=low, high=high):
            number = _whole(value)
            if number is None or not low <= number <= high:
                raise _refused(name, value, f"a whole number from {low} to {high}")
            return number


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value.strip()) else None
    try:
        return value.__index__()  # type: ignore[attr-defined,no-any-return]  # numpy ints too
    except (AttributeError, TypeError):
        return None


def _refused(name: str, value: object, allowed: str) -> InvalidRequest:
    return InvalidRequest(
        f"{name}: {_shown(value)} is not allowed.", remedy=f"Use {allowed}.", field=name
    )


def _shown(value: object) -> str:
    return repr(value[:40]) if isinstance(value, str) else repr(value)[:40]


def _check_unknown(endpoint: str, given: dict[str, object]) -> dict[str, Any]:
    for name, value in given.items():
        if not name.isidentifier():
            raise _refused(name[:40], value, "field names of letters, digits and _")
        try:
            size = len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
        except (TypeError, ValueError, RecursionError):
            raise _refused(name, type(value).__name__, "a value that JSON can hold") from None
        if size > _LONGEST_BODY_BYTES:
            raise _refused(name, f"{size} bytes", f"at most {_LONGEST_BODY_BYTES} bytes")
    count = given.get("num_images")
    if count is not None and (_whole(count) or 0) < 1:
        raise _refused("num_images", count, f"a whole number from 1 for {endpoint}")
    return dict(given)
