"""What the demo's models accept, as fal describes and checks it, and the pixels they return.

Input is checked by the model, not at submit: a bad value still gets a ticket, and the refusal
arrives with the result, in the words of pydantic. Fields that a model does not have are ignored.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]

_GRID_PIXELS, _BASE_PIXELS = 32, 1024
_MAX_PIXELS = 17_000_000  # as many as the largest of these models returns
_SIZES = """
square_hd=1024x1024 square=512x512 portrait_4_3=768x1024 portrait_16_9=576x1024
landscape_4_3=1024x768 landscape_16_9=1024x576
3:4=896x1280 4:3=1280x896 9:16=768x1408 16:9=1408x768
"""  # the ratios as Imagen has them
_PIXELS = dict(re.findall(r"(\S+)=(\S+)", _SIZES))
_KINDS = {  # a JSON type, and what pydantic calls it
    "string": (str, "string_type", "string"),
    "integer": (int, "int_type", "integer"),
    "number": (float | int, "float_type", "number"),
    "boolean": (bool, "bool_type", "boolean"),
    "array": (list, "list_type", "list"),
    "object": (dict, "dict_type", "dictionary"),
    "null": (type(None), "none_required", "None"),
}


def _choice(words: str) -> Json:
    return {"type": "string", "enum": words.split()}


def _range(kind: str, low: float, high: float, default: float) -> Json:
    return {"type": kind, "minimum": low, "maximum": high, "default": default}


def _referred(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_SIDE = {"type": "integer", "minimum": 1, "maximum": 14142, "default": 512}
_IMAGE_SIZE: Json = {"type": "object", "properties": {"width": _SIDE, "height": _SIDE}}
_RATIOS = "21:9 16:9 3:2 4:3 5:4 1:1 4:5 3:4 2:3 9:16"
_FIELDS: Mapping[str, Json] = {
    "prompt": {"type": "string", "minLength": 1, "ui": {"field": "textarea"}},
    "negative_prompt": {"type": "string", "ui": {"field": "textarea"}},
    "image_url": {"type": "string", "ui": {"field": "image"}},
    "mask_url": {"type": "string", "ui": {"field": "image"}},
    "image_urls": {"type": "array", "items": {"type": "string", "ui": {"field": "image"}}},
    "aspect_ratio.imagen": _choice("1:1 16:9 9:16 4:3 3:4"),
    "aspect_ratio": _choice(_RATIOS),
    "aspect_ratio.auto": _choice(f"auto {_RATIOS}"),
    "aspect_ratio.wide": _choice(f"auto {_RATIOS} 4:1 1:4 8:1 1:8"),
    "aspect_ratio.kontext": _choice("21:9 16:9 4:3 3:2 1:1 2:3 3:4 9:16 9:21"),
    "image_size": {"anyOf": [_referred("ImageSize"), _choice(" ".join(list(_PIXELS)[:6]))]},
    "resolution.imagen": _choice("1K 2K"),
    "resolution.wide": _choice("0.5K 1K 2K 4K"),
    "resolution.pro": _choice("1K 2K 4K"),
    "num_images": _range("integer", 1, 4, 1),
    "num_images.ideogram": _range("integer", 1, 8, 1),
    "num_inference_steps": _range("integer", 1, 50, 28),
    "guidance_scale": _range("number", 1, 20, 3.5),
    "rendering_speed": _choice("TURBO BALANCED QUALITY"),
    "style": _choice("AUTO GENERAL REALISTIC DESIGN"),
    "output_format": _choice("jpeg png webp"),
    "output_format.flux": _choice("jpeg png"),
    "safety_tolerance": _choice("1 2 3 4 5 6"),
    "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "sync_mode": {"type": "boolean", "default": False},
    "expand_prompt": {"type": "boolean", "default": True},
    "scale": _range("number", 1, 8, 2),
    "model": _choice("RealESRGAN_x4plus RealESRGAN_x2plus RealESRGAN_x4plus_anime_6B"),
    "face": {"type": "boolean", "default": False},
    "sheets": _range("integer", 2, 9, 5) | {"ui": {"important": True}},
    "shadows": {"type": "boolean", "default": True},
    "colours": {"type": "object", "description": 'Such as {"front": "#1d3557"}.'},
}

# An endpoint with its fields: `*` marks one as required, `=` gives its default, and what is after a
# dot tells namesakes apart. `->` names the field of the result that holds the only picture.
_MODELS = """
fal-ai/imagen4/preview: prompt* aspect_ratio.imagen=1:1 resolution.imagen=1K &google
fal-ai/imagen4/preview/fast: prompt* aspect_ratio.imagen=1:1 &google
fal-ai/imagen4/preview/ultra: prompt* aspect_ratio.imagen=1:1 resolution.imagen=1K &google
fal-ai/nano-banana: prompt* aspect_ratio=1:1 &google
fal-ai/nano-banana/edit: prompt* image_urls* aspect_ratio.auto=auto &google
fal-ai/nano-banana-2: prompt* aspect_ratio.wide=auto resolution.wide=1K &google
fal-ai/nano-banana-2/edit: prompt* image_urls* aspect_ratio.wide=auto resolution.wide=1K &google
fal-ai/nano-banana-pro: prompt* aspect_ratio.auto=1:1 resolution.pro=1K &google
fal-ai/flux/dev: prompt* image_size=landscape_4_3 num_inference_steps &flux
fal-ai/flux-pro/kontext: prompt* image_url* aspect_ratio.kontext safety_tolerance=2 &flux
fal-ai/ideogram/v3: prompt* image_size=square_hd style negative_prompt &ideogram
fal-ai/ideogram/v3/edit: prompt* image_url* mask_url* &ideogram
fal-ai/esrgan -> image: image_url* scale model=RealESRGAN_x4plus face output_format.flux=png
demo/paper-cut: prompt* sheets shadows image_size=square_hd colours num_images seed
"""
_GROUPS = {
    "&google": "num_images output_format=png safety_tolerance=4 seed sync_mode",
    "&flux": "guidance_scale num_images output_format.flux=jpeg seed sync_mode",
    "&ideogram": "rendering_speed=BALANCED expand_prompt num_images.ideogram seed sync_mode",
}


class Model(NamedTuple):
    """One endpoint with its fields as JSON schemas; the result holds `images`, or one `image`."""

    fields: Mapping[str, Json]
    required: tuple[str, ...]
    single: bool = False


def _read_models() -> dict[str, Model]:
    models = {}
    for line in re.sub("&[a-z]+", lambda group: _GROUPS[group[0]], _MODELS.strip()).splitlines():
        head, words = line.split(": ")
        endpoint, _, single = head.partition(" -> ")
        fields, required = {}, []
        for word in words.split():
            name, given, default = word.rstrip("*").partition("=")
            known = name.partition(".")[0]
            fields[known] = {"title": known.replace("_", " ").title()} | _FIELDS[name]
            fields[known] |= {"default": default} if given else {}
            required += [known] if word.endswith("*") else []
        models[endpoint] = Model(fields, tuple(required), bool(single))
    return models


SERVED = _read_models()
ANY = Model({}, ())  # the demo draws for a model that it does not know as well


def check(endpoint: str, payload: Json) -> list[Json]:
    """Return everything that is wrong with an input, as the entries of a `detail` list."""
    model = SERVED.get(endpoint, ANY)
    missing = [name for name in model.required if name not in payload]
    faults = [fault([name], "missing", "Field required", payload) for name in missing]
    for name in (name for name in model.fields if name in payload):
        faults += _faults(payload[name], model.fields[name], [name])
    return faults


def _faults(value: object, spec: Json, loc: list[str | int]) -> Iterator[Json]:
    if "anyOf" in spec:
        found = [list(_faults(value, part, loc)) for part in spec["anyOf"]]
        yield from [] if [] in found else found[-1 if isinstance(value, str) else 0]
        return
    spec = _IMAGE_SIZE if "$ref" in spec else spec
    python, kind, noun = _KINDS[spec["type"]]
    if value not in spec.get("enum", [value]):
        *words, last = (f"'{word}'" for word in spec["enum"])
        yield fault(loc, "literal_error", f"Input should be {', '.join(words)} or {last}", value)
    elif not isinstance(value, python) or (isinstance(value, bool) and python is not bool):
        yield fault(loc, kind, f"Input should be a valid {noun}", value)
    elif isinstance(value, str) and len(value) < spec.get("minLength", 0):
        yield fault(loc, "string_too_short", "String should have at least 1 character", value)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _faults(item, spec["items"], [*loc, number])
    elif isinstance(value, dict):
        for name, part in spec.get("properties", {}).items():
            yield from _faults(value.get(name, part["default"]), part, [*loc, name])
    elif isinstance(value, float | int):
        limits = (("minimum", "greater", value.__lt__), ("maximum", "less", value.__gt__))
        for limit, word, is_beyond in limits:
            if limit in spec and is_beyond(spec[limit]) is True:
                message = f"Input should be {word} than or equal to {spec[limit]}"
                yield fault(loc, f"{word}_than_equal", message, value)


def fault(loc: list[str | int], kind: str, message: str, value: object = None) -> Json:
    """Return one entry of a `detail` list."""
    return {"loc": ["body", *loc], "msg": message, "type": kind, "input": value}


def read_fields(endpoint: str, payload: Json) -> Json:
    """Return the fields that a model reads, with its defaults."""
    fields = SERVED.get(endpoint, ANY).fields
    defaults = {name: spec["default"] for name, spec in fields.items() if "default" in spec}
    return defaults | {name: payload[name] for name in payload if name in (fields or payload)}


def read_size(fields: Json, given: tuple[int, int] | None) -> tuple[int, int]:
    """Return the pixels of the pictures to make; `given` are those of the input."""
    asked = fields.get("image_size") or fields.get("aspect_ratio")
    words = re.fullmatch(r"(\d+\.?\d*)([x:])(\d+\.?\d*)", _PIXELS.get(str(asked), str(asked)))
    width, height = map(float, given or (_BASE_PIXELS, _BASE_PIXELS))
    if isinstance(asked, dict):
        width, height = (_number(asked.get(side), 512) for side in ("width", "height"))
    elif words:
        width, height = (_number(float(part), 1) for part in words.group(1, 3))
        if words[2] == ":":
            grow = _BASE_PIXELS / math.sqrt(width * height) / _GRID_PIXELS
            width, height = (round(side * grow) * _GRID_PIXELS for side in (width, height))
    resolution = re.fullmatch(r"(\d+\.?\d*)k", str(fields.get("resolution")).lower())
    scale = float(resolution[1]) if resolution else _number(fields.get("scale"), 1)
    scale = min(scale, math.sqrt(_MAX_PIXELS / max(1, width * height)))
    return max(16, int(width * scale)), max(16, int(height * scale))


def _number(value: object, default: float) -> float:
    """Return a number that makes sense: nobody checks the input of a model that is not known."""
    return max(0.1, min(value, 20_000.0)) if isinstance(value, int | float) else default


def schema(endpoint: str) -> Json:
    """Return the OpenAPI document of a model, in the structure of fal's."""
    model = SERVED[endpoint]

    def described(properties: Mapping[str, Json], required: Sequence[str]) -> Json:
        order = {"x-fal-order-properties": list(properties), "required": list(required)}
        return {"type": "object", "properties": properties, **order}

    def content(name: str) -> Json:
        return {"content": {"application/json": {"schema": _referred(name)}}}

    image = _referred("Image")
    output = {"image": image} if model.single else {"images": {"type": "array", "items": image}}
    result = {"200": {"description": "The pictures.", **content("Output")}}
    takes = "image" if any("image_url" in name for name in model.required) else "text"
    facts = {"endpointId": endpoint, "category": f"{takes}-to-image"}
    schemas = {
        "Input": described(model.fields, model.required),
        "Output": described(output, list(output)),
        "Image": described({"url": {"type": "string"}}, ["url"]),
        "ImageSize": _IMAGE_SIZE,
    }
    return {
        "openapi": "3.0.4",
        "info": {"title": f"Queue OpenAPI for {endpoint}", "version": "1", "x-fal-metadata": facts},
        "components": {"schemas": schemas},
        "paths": {
            f"/{endpoint}": {"post": {"requestBody": content("Input")}},
            f"/{endpoint}/requests/{{request_id}}": {"get": {"responses": result}},
        },
        "servers": [{"url": "https://queue.fal.run"}],
    }
