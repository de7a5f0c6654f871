"""OpenAPI documents as fal serves them: of a model that we know, and made up at random.

The fake queue serves them, and checks what is sent by them.
"""

import random
from typing import Any

from imagen_widget._models import Field, Model, read_schema

Json = dict[str, Any]

_TYPES = {"whole": "integer", "number": "number", "switch": "boolean"}
_IMAGE_SIZE = {
    "title": "ImageSize",
    "type": "object",
    "properties": {
        side: {"type": "integer", "exclusiveMinimum": 0, "maximum": 14142, "default": 512}
        for side in ("width", "height")
    },
    "x-fal-order-properties": ["width", "height"],
}


def document_of(model: Model) -> Json:
    """Return the document of a model: what its fields say, in fal's words."""
    return document(
        model.id,
        {field.name: _property(field) for field in model.fields},
        [field.name for field in model.fields if field.required],
    )


def described(properties: Json, required: list[str], *, model_id: str = "o/a") -> Model:
    """Return a model as it is read from a document with these properties."""
    return read_schema(document(model_id, properties, required), model_id)


def document(model_id: str, properties: Json, required: list[str]) -> Json:
    """Return a document whose input has these properties, named as misleadingly as fal's."""
    shape = {
        "title": "BaseInput",
        "type": "object",
        "properties": dict(sorted(properties.items())),
        "required": required,
        "x-fal-order-properties": list(properties),
        "additionalProperties": False,
    }
    status = {"type": "object", "properties": {"status": {"type": "string"}}}
    output = {"type": "object", "properties": {"images": {"type": "array"}}}
    schemas = {"QueueStatus": status, "ModelOutput": output, "ModelInput": shape}
    path = f"/{model_id}"
    return {
        "openapi": "3.0.4",
        "info": {"title": f"Queue OpenAPI for {model_id}"},
        "paths": {
            f"{path}/requests/{{request_id}}/status": {"get": {}},
            f"{path}/requests/{{request_id}}/cancel": {"put": {}},
            path: {"post": {"requestBody": {"content": _json("ModelInput")}}},
            f"{path}/requests/{{request_id}}": {"get": {}},
        },
        "components": {"schemas": schemas | {"ImageSize": _IMAGE_SIZE}},
    }


def _json(name: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _property(field: Field) -> Json:
    data: Json = {"title": field.title, "description": f"\n    {field.help}\n"}
    if field.default is not None:
        data["default"] = field.default
    data |= {"minimum": field.low} if field.low is not None else {}
    data |= {"maximum": field.high} if field.high is not None else {}
    data |= {"multipleOf": field.step} if field.step and field.kind == "whole" else {}
    data |= {"maxItems": field.max_items} if field.max_items else {}
    match field.kind:
        case "choice":
            return data | {"type": "string", "enum": list(field.allowed)}
        case "size":
            presets = {"type": "string", "enum": list(field.allowed)}
            if field.text_size:
                presets = {"type": "string", "pattern": r"^(auto|\d+x\d+)$"}
            custom = {"$ref": "#/components/schemas/ImageSize"}
            return data | {"anyOf": [custom, presets] if field.custom_size else [presets]}
        case "whole" if field.role == "seed":
            return data | {"anyOf": [{"type": "integer"}, {"type": "null"}]}
        case "pictures" | "words":
            return data | {"type": "array", "items": {"type": "string"}}
        case "json":
            return data
        case kind:
            return data | {"type": _TYPES.get(kind, "string")}


def random_document(dice: random.Random, model_id: str) -> tuple[Json, set[str]]:
    """Return a made-up document, and the names that its input requires."""
    properties = {_name(dice): _shape(dice, depth=0) for _ in range(dice.randint(1, 25))}
    required = {name for name in properties if dice.random() < 0.3}
    made = document(model_id, properties, sorted(required))
    if dice.random() < 0.3:  # by way of allOf, as some models have it
        base = {"type": "object", "properties": {"base": {"type": "string"}}, "required": ["base"]}
        made["components"]["schemas"]["Base"] = base
        own = made["components"]["schemas"]["ModelInput"]
        joined = {"allOf": [{"$ref": "#/components/schemas/Base"}, own]}
        made["components"]["schemas"]["ModelInput"] = joined
        required.add("base")
    if dice.random() < 0.1:
        del made["paths"]
    return made, required


def _name(dice: random.Random) -> str:
    words = [
        "image",
        "size",
        "num",
        "prompt",
        "seed",
        "mask",
        "url",
        "urls",
        "style",
        "ratio",
        "x1",
    ]
    return "_".join(dice.sample(words, dice.randint(1, 3)))


def _shape(dice: random.Random, *, depth: int) -> Any:
    """Return a property as servers have them, and as they should not."""
    plain: list[Any] = [
        {"type": "string"},
        {"type": "string", "enum": dice.sample("abcdefgh", dice.randint(1, 8))},
        {"type": "integer", "minimum": dice.randint(-5, 5), "maximum": dice.randint(0, 50)},
        {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5, "default": "a text"},
        {"type": ["integer", "null"], "default": None},
        {"type": "boolean", "default": dice.choice([True, None, 3])},
        {"type": "array", "items": {"type": "string"}, "maxItems": dice.choice([3, -1, "four"])},
        {"type": "array", "items": {"$ref": "#/components/schemas/ImageSize"}},
        {"$ref": "#/components/schemas/ImageSize", "default": {"width": 5, "height": 5}},
        {"$ref": dice.choice(["#/components/schemas/Gone", "https://elsewhere", "#", 5])},
        {"enum": dice.choice([[], [None], [1, "1", 1.5], [{"a": 1}], ["x"] * 900, "auto"])},
        {"const": dice.choice(["only", 1, None])},
        {"title": 5, "description": ["not a text"], "type": "string", "ui": "important"},
        {"type": dice.choice(["file", 5, {}, []]), "minimum": "low"},
        {},
        None,
        7,
    ]
    if depth < 3 and dice.random() < 0.4:
        key = dice.choice(["anyOf", "oneOf", "allOf"])
        branches = [_shape(dice, depth=depth + 1) for _ in range(dice.randint(0, 4))]
        return {
            key: [*branches, {"type": "null"}],
            "title": "Any",
            "default": dice.choice([1, "a"]),
        }
    return dice.choice(plain)
