"""Reads a model's fields from its OpenAPI document.

The document is hostile input: depth, size and numbers are bounded, references may run in circles,
and nothing in it makes this module raise. What is not understood becomes a `json` field, so that
no required field is lost.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from imagen_widget._models.field import Field, Kind, PictureLimits, Role, as_number, size_pixels
from imagen_widget._models.model import COUNT_NAMES, MAX_FOR_EACH, Model
from imagen_widget.errors import InvalidRequest, word

MAX_DOCUMENT_BYTES = 1 << 20

_MAX_DEPTH = 12
_MAX_KEYS = 200_000
_MAX_NAME = 100
_MAX_OPTIONAL = 200
_MAX_REQUIRED = 1_000
_MAX_BRANCHES = 30
_MAX_WORDS = 400
_MAX_TEXT = 1_000
_MAX_DEFAULT = 4_000
_MAX_LENGTH = 10**9
_SCALARS: dict[object, Kind] = {"string": "text", "integer": "whole", "number": "number"}
_SCALARS["boolean"] = "switch"
_USUAL_KINDS: dict[str, Kind] = {"prompt": "text", "num_images": "whole", "seed": "whole"}
_PICTURE_NAME = re.compile(r"(^|.*_)(image|images|mask|photo)(_(data_)?(url|uri|base64)s?)?")
_MAIN_PICTURES = (
    *("image_url", "image_urls", "image", "images", "image_data_url", "base_image_url"),
    *("input_image_url", "input_image_urls", "input_image", "input_images"),
)
_PICTURES = {"picture", "pictures"}

_ORDER = "x-fal-order-properties"

Schema = Mapping[str, Any]
Words = tuple[str | int | float, ...]


def read_schema(document: object, model_id: str) -> Model:
    """Return the model that a document describes; one without fields if it describes none.

    The document is an OpenAPI document as bytes, text or JSON values, or a record of fal's model
    search that holds one. It never raises.
    """
    fields: list[Field] = []
    with suppress(Exception):  # hostile input: a schema is never a reason to fail
        if isinstance(document, bytes | str):
            document = json.loads(document) if len(document) <= MAX_DOCUMENT_BYTES else None
        record = _object(document)
        for each in map(_object, _list(record.get("models"))):  # a page of fal's search
            if each.get("endpoint_id") == model_id:
                record = each
        spec = _object(record.get("openapi")) or record
        fields = _with_roles(list(_Document(spec).fields(model_id)))
    source: Literal["fetched", "none"] = "fetched" if fields else "none"
    return Model(model_id, title=model_id, fields=tuple(fields), source=source)


class _Document:
    """A document with a limit to how much of it is looked at: references can multiply."""

    def __init__(self, spec: Schema) -> None:
        self._spec = spec
        self._keys_left = _MAX_KEYS

    def fields(self, model_id: str) -> Iterator[Field]:
        """Yield the fields in the document's order; required ones are never left out."""
        body = self._input(model_id)
        properties = _object(body.get("properties"))
        required = dict.fromkeys(_names(body.get("required"))[:_MAX_REQUIRED])
        ordered = dict.fromkeys((*_names(body.get(_ORDER)), *_names([*properties]), *required))
        optional_left = _MAX_OPTIONAL
        for name in ordered:
            if name not in required:
                optional_left -= 1
                if optional_left < 0 or name not in properties:
                    continue
            yield self._field(name, properties.get(name), required=name in required)

    def _input(self, model_id: str) -> Schema:
        """Return the schema of the request's body: by its path, else by the looks of it."""
        paths = _object(self._spec.get("paths"))
        others = sorted((p for p in paths if "requests" not in p), key=len)
        for path in [f"/{model_id}", *others[:_MAX_BRANCHES]]:
            post = _object(_object(paths.get(path)).get("post"))
            content = _object(self._resolved(post.get("requestBody")).get("content"))
            for media in (content.get("application/json"), *content.values()):
                body = self._resolved(_object(media).get("schema"))
                if body.get("properties") or body.get("required"):
                    return body
        schemas = _object(_object(self._spec.get("components")).get("schemas"))
        inputs = [schema for name, schema in schemas.items() if str(name).endswith("Input")]
        return self._resolved(inputs[0] if inputs else self._spec)

    def _resolved(self, schema: object, depth: int = 0) -> dict[str, Any]:
        """Return a schema with its references and `allOf` merged in; keys beside them win."""
        found = dict(_object(schema))
        self._keys_left -= 1 + len(found) + len(_object(found.get("properties")))
        if depth > _MAX_DEPTH or self._keys_left < 0:
            return {}
        parts: list[object] = []
        if isinstance(reference := found.pop("$ref", None), str):
            parts.append(self._target(reference))
        parts += _list(found.pop("allOf", None))[:_MAX_BRANCHES]
        merged: dict[str, Any] = {}
        for part in [*(self._resolved(part, depth + 1) for part in parts), found]:
            for key, value in part.items():
                merged[key], before = value, merged.get(key)
                if key == "properties":
                    merged[key] = {**_object(before), **_object(value)}
                elif key in {"required", _ORDER}:
                    merged[key] = [*_list(before), *_list(value)]
        return merged

    def _target(self, reference: str) -> object:
        """Return what `#/a/b` points to in this document; nothing else is followed."""
        found: object = self._spec
        for part in reference.split("/")[1:_MAX_DEPTH]:
            found = _object(found).get(part.replace("~1", "/").replace("~0", "~"))
        return found if reference.startswith("#/") else None

    def _with_items(self, schema: object) -> dict[str, Any]:
        found = self._resolved(schema)
        return {**found, "items": self._resolved(found["items"])} if "items" in found else found

    def _branches(self, schema: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return a schema without null, and what it is any of; one branch alone is merged in."""
        merged = self._with_items(schema)
        branches: list[dict[str, Any]] = []
        for part in _any_of(merged):
            branch = self._with_items(part)
            branches += [self._with_items(p) for p in _any_of(branch)] or [branch]
        branches = [b for b in branches if b.get("type") != "null"]
        for key in ("anyOf", "oneOf"):
            merged.pop(key, None)
        if len(branches) == 1:
            merged, branches = {**branches[0], **merged}, []
        kinds = [kind for kind in _list(merged.get("type")) if kind != "null"]
        if len(kinds) == 1:
            merged["type"] = kinds[0]
        elif kinds:
            branches += [{**merged, "type": kind} for kind in kinds[:_MAX_BRANCHES]]
        return merged, branches

    def _field(self, name: str, schema: object, *, required: bool) -> Field:
        try:
            return _understood(name, *self._branches(schema), required=required)
        except (TypeError, ValueError, AttributeError, OverflowError, RecursionError):
            return Field(name, "json", _title(name, {}), required=required)


def _understood(
    name: str, merged: Schema, branches: list[dict[str, Any]], *, required: bool
) -> Field:
    kind, allowed = _kind(name, merged, branches)
    items = _object(merged.get("items"))
    ui = {**_ui(items), **_ui(merged)}
    if kind in {"text", "words"} and (ui.get("field") == "image" or _is_picture(name, merged)):
        kind, allowed = ("picture" if kind == "text" else "pictures"), ()
    if kind == "json" and not merged.get("type") and not branches:
        kind = _USUAL_KINDS.get(name, kind)  # a dangling reference, or no type at all
    numbers = kind in {"whole", "number"}
    texts = {"text": merged, "words": items}.get(kind, {})
    most = as_number(merged.get("maxItems"))
    made = Field(
        name,
        kind,
        title=_title(name, merged),
        help=word(merged.get("description"), limit=_MAX_TEXT),
        required=required,
        allowed=allowed,
        **(_bounds(merged, whole=kind == "whole") if numbers else {}),
        **_lengths(texts),
        step=_number(merged.get("multipleOf")) if numbers else None,
        important=ui.get("important") is True,
        hidden=not required
        and (name == "sync_mode" or True in (ui.get("hidden"), ui.get("frozen"))),
        max_items=most if isinstance(most, int) and 0 < most < 10_000 else None,
        custom_size=kind == "size"
        and any("width" in _object(part.get("properties")) for part in (merged, *branches)),
        limits=_limits({**items, **merged}) if kind in _PICTURES else None,
    )
    return replace(made, default=_default(made, merged.get("default")))


def _kind(name: str, merged: Schema, branches: list[dict[str, Any]]) -> tuple[Kind, Words]:
    if not branches:
        return _single(name, merged)
    found = [_single(name, branch) for branch in branches]
    kinds = {kind for kind, _ in found}
    words = tuple(dict.fromkeys(word for _, allowed in found for word in allowed))
    if kinds <= {"size", "choice"} and "size" in kinds:
        return "size", words
    if kinds == {"choice"} and len(words) <= _MAX_WORDS:
        return "choice", words
    if kinds <= {"whole", "number"}:
        return "number" if "number" in kinds else "whole", ()
    if kinds <= {"text", "choice"}:
        return "text", ()
    if kinds == {"text", "words"} and not words:
        return "words", ()
    if kinds <= {"text", "json"} and "text" in kinds and _is_picture(name, merged):
        return "text", ()  # an address or an object around one
    return "json", ()


def _single(name: str, schema: Schema) -> tuple[Kind, Words]:
    if "enum" in schema or "const" in schema:
        values = [v for v in (_list(schema.get("enum")) or [schema.get("const")]) if v is not None]
        if values and all(isinstance(v, bool) for v in values):
            return "switch", ()
        if not _are_words(values):
            return ("text" if all(isinstance(v, str) for v in values) else "json"), ()
        return "choice", tuple(values)
    match schema.get("type"):
        case "string" | "integer" | "number" | "boolean" as scalar:
            return _SCALARS[scalar], ()
        case "array":
            items = _object(schema.get("items"))
            words = _list(items.get("enum"))
            if _are_words(words):
                return "words", tuple(words)
            return ("words" if items.get("type") == "string" else "json"), ()
        case _:
            sides = _object(schema.get("properties"))
            return ("size" if "size" in name and {"width", "height"} <= set(sides) else "json"), ()


def _are_words(values: list[Any]) -> bool:
    return 0 < len(values) <= _MAX_WORDS and all(
        (isinstance(v, str) and len(v) <= 200)
        or (not isinstance(v, str) and _number(v) is not None)
        for v in values
    )


def _is_picture(name: str, schema: Schema) -> bool:
    return _PICTURE_NAME.fullmatch(name) is not None and "enum" not in schema


def _bounds(schema: Schema, *, whole: bool) -> dict[str, Any]:
    """Return the ends of a number's range; exclusive ones move a whole number by one.

    An exclusive end is a number of its own, or in OpenAPI 3.0 a mark beside the other one.
    """
    found: dict[str, Any] = {}
    ends = (("low", "above_low", "Minimum", 1), ("high", "below_high", "Maximum", -1))
    for name, mark, limit, sign in ends:
        end, beyond = _number(schema.get(limit.lower())), schema.get(f"exclusive{limit}")
        strict = end if beyond is True else _number(beyond)
        is_open = strict is not None and (end is None or sign * strict >= sign * end)
        end = strict if is_open else end
        if whole and end is not None:
            end = sign * (math.floor(sign * end) + 1 if is_open else math.ceil(sign * end))
            is_open = False
        found |= {name: end, mark: is_open}
    low, high, is_open = found["low"], found["high"], found["above_low"] or found["below_high"]
    if low is not None and high is not None and (low > high or (low == high and is_open)):
        return {}  # no number at all
    return found


def _lengths(schema: Schema) -> dict[str, Any]:
    """Return how long a text may be; nothing if no text can be so."""
    found = {}
    for name, limit in (("min_length", "minLength"), ("max_length", "maxLength")):
        length = as_number(schema.get(limit))
        if isinstance(length, int) and 0 < length < _MAX_LENGTH:
            found[name] = length
    return {} if found.get("min_length", 0) > found.get("max_length", _MAX_LENGTH) else found


def _limits(schema: Schema) -> PictureLimits | None:
    asked = {**_object(schema.get("x-fal")), **schema}
    asked["max_bytes"] = asked.get("max_file_size")
    numbers = {name: as_number(asked.get(name)) for name in PictureLimits.__slots__}
    sound = {n: int(v) for n, v in numbers.items() if v is not None and 0 < v < 10**12}
    return PictureLimits(**sound) if sound else None


def _with_roles(fields: list[Field]) -> list[Field]:
    roles: dict[str, Role] = {}

    def give(role: Role, kinds: set[str], *names: str) -> None:
        """Give a role to the first of these names that a field of such a kind has."""
        there = {f.name for f in fields if f.kind in kinds} - {*roles}
        name = next((name for name in names if name in there), None)
        if name is not None:
            roles[name] = role

    texts = [f.name for f in fields if f.kind == "text" and f.required and "prompt" in f.name]
    give("prompt", {"text"}, "prompt", "text_prompt", *texts, "text")
    give("count", {"whole", "choice"}, *COUNT_NAMES, MAX_FOR_EACH)
    give("seed", {"whole", "number", "json"}, "seed")
    give("size", {"size", "choice"}, *[f.name for f in fields if _is_size(f)])
    pictures = [f for f in fields if f.kind in _PICTURES]
    give("mask", _PICTURES, *[f.name for f in pictures if "mask" in f.name])
    others = [f for f in pictures if "mask" not in f.name]
    needed = [f.name for f in others if f.required] or [f.name for f in others if len(others) == 1]
    give("picture", _PICTURES, *_MAIN_PICTURES, *needed)
    return [replace(f, role=roles[f.name]) if f.name in roles else f for f in fields]


def _is_size(field: Field) -> bool:
    sizes = [a for a in field.allowed if str(a) != "auto"]
    are_sizes = bool(sizes) and all(map(size_pixels, sizes))
    return field.kind == "size" or (field.kind == "choice" and are_sizes)


def _default(field: Field, value: object) -> Any:
    """Return a default as the field has it; None if the field excludes it, or it is too large."""
    try:
        found = None if value is None else field.check(value)
        return found if len(json.dumps(found)) <= _MAX_DEFAULT else None
    except InvalidRequest:
        return None


def _any_of(schema: Schema) -> list[Any]:
    return [*_list(schema.get("anyOf")), *_list(schema.get("oneOf"))][:_MAX_BRANCHES]


def _names(values: object) -> list[str]:
    names = (n for n in _list(values) if isinstance(n, str))
    return [n for n in names if n and n.isprintable() and len(n) <= _MAX_NAME]


def _ui(schema: Schema) -> dict[str, Any]:
    older = {"field": schema["_fal_ui_field"]} if "_fal_ui_field" in schema else {}
    return {**older, **_object(schema.get("ui"))}


def _title(name: str, schema: Schema) -> str:
    return word(schema.get("title"), limit=80) or name.replace("_", " ").strip().capitalize()


def _number(value: object) -> float | None:
    return None if isinstance(value, str) else as_number(value)


def _object(value: object) -> Schema:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
