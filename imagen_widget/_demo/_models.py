"""What the demo's image models accept, and the pixels they return.

Input is checked by the model, not at submit: a bad value still gets a ticket, and the
refusal arrives with the result, in the words of pydantic.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Json = dict[str, object]

_IMAGEN_RATIOS = ("1:1", "16:9", "9:16", "3:4", "4:3")
_BANANA_RATIOS = ("21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16")
_FORMATS = ("png", "jpeg", "webp")
_TOLERANCES = ("1", "2", "3", "4", "5", "6")
_MAX_IMAGES = 4
_GRID_PIXELS = 32
_BASE_PIXELS = 1024

# Google's own figures; 3:4 is really 0.7 and 16:9 really 1.83.
_IMAGEN_1K_PIXELS = {
    "1:1": (1024, 1024),
    "3:4": (896, 1280),
    "4:3": (1280, 896),
    "9:16": (768, 1408),
    "16:9": (1408, 768),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One route of one app; an empty tuple means that the field is not read."""

    ratios: tuple[str, ...]
    resolutions: tuple[str, ...] = ()
    formats: tuple[str, ...] = _FORMATS
    pixels_1k: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What to draw, once the input was found good."""

    prompt: str
    count: int
    seed: int | None
    size: tuple[int, int]
    format: str
    sync_mode: bool


_PREVIEW = Model(ratios=_IMAGEN_RATIOS, resolutions=("1K", "2K"), pixels_1k=_IMAGEN_1K_PIXELS)
_FAST = Model(ratios=_IMAGEN_RATIOS, pixels_1k=_IMAGEN_1K_PIXELS)
_BANANA = Model(ratios=_BANANA_RATIOS, pixels_1k={})
_BANANA_2 = Model(
    ratios=("auto", *_BANANA_RATIOS, "4:1", "1:4", "8:1", "1:8"),
    resolutions=("0.5K", "1K", "2K", "4K"),
    pixels_1k={},
)
_BANANA_PRO = Model(ratios=("auto", *_BANANA_RATIOS), resolutions=("1K", "2K", "4K"), pixels_1k={})

_APPS: Mapping[str, Mapping[str, Model]] = {
    "fal-ai/imagen4": {"preview": _PREVIEW, "preview/fast": _FAST, "preview/ultra": _PREVIEW},
    "fal-ai/nano-banana": {"": _BANANA},
    "fal-ai/nano-banana-2": {"": _BANANA_2},
    "fal-ai/nano-banana-pro": {"": _BANANA_PRO},
}


def find_model(app: str, route: str) -> Model | None:
    """The model behind an app's route; an app that the demo has never heard of draws as well."""
    if app not in _APPS:
        return _BANANA_2
    return _APPS[app].get(route)


def check(model: Model, payload: Json) -> list[Json]:
    """Everything that is wrong with an input, as the entries of a `detail` list."""
    return [
        *_check_prompt(payload),
        *_check_int(payload, "num_images", low=1, high=_MAX_IMAGES),
        *_check_int(payload, "seed"),
        *_check_word(payload, "aspect_ratio", model.ratios),
        *_check_word(payload, "resolution", model.resolutions),
        *_check_word(payload, "output_format", model.formats),
        *_check_word(payload, "safety_tolerance", _TOLERANCES),
        *_check_bool(payload, "sync_mode"),
    ]


def read_order(model: Model, payload: Json) -> Order:
    """Read an input that `check` found nothing wrong with."""
    count, seed = payload.get("num_images"), payload.get("seed")
    resolution = payload.get("resolution") if model.resolutions else None
    return Order(
        prompt=str(payload["prompt"]),
        count=count if isinstance(count, int) else 1,
        seed=seed if isinstance(seed, int) else None,
        size=_pixels(model, str(payload.get("aspect_ratio") or "1:1"), str(resolution or "1K")),
        format=str(payload.get("output_format") or "png"),
        sync_mode=payload.get("sync_mode") is True,
    )


def _pixels(model: Model, ratio: str, resolution: str) -> tuple[int, int]:
    scale = float(resolution.removesuffix("K"))
    width, height = model.pixels_1k.get(ratio) or _pixels_of_ratio(ratio)
    return int(width * scale), int(height * scale)


def _pixels_of_ratio(ratio: str) -> tuple[int, int]:
    """A size of about one megapixel on a grid that image models like."""
    if ratio == "auto":
        return _BASE_PIXELS, _BASE_PIXELS
    across, down = (float(part) for part in ratio.split(":"))
    stretch = math.sqrt(across / down)
    return _on_grid(_BASE_PIXELS * stretch), _on_grid(_BASE_PIXELS / stretch)


def _on_grid(pixels: float) -> int:
    return round(pixels / _GRID_PIXELS) * _GRID_PIXELS


def _fault(field: str, kind: str, message: str, value: object, **ctx: object) -> Json:
    return {
        "loc": ["body", field],
        "msg": message,
        "type": kind,
        "ctx": ctx,
        "input": value,
        "url": f"https://errors.pydantic.dev/2.10/v/{kind}",
    }


def _check_prompt(payload: Json) -> Iterator[Json]:
    if "prompt" not in payload:
        yield _fault("prompt", "missing", "Field required", payload)
        return
    prompt = payload["prompt"]
    if not isinstance(prompt, str):
        yield _fault("prompt", "string_type", "Input should be a valid string", prompt)
    elif not prompt:
        message = "String should have at least 1 character"
        yield _fault("prompt", "string_too_short", message, prompt, min_length=1)


def _check_int(
    payload: Json, field: str, *, low: int | None = None, high: int | None = None
) -> Iterator[Json]:
    value = payload.get(field)
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        yield _fault(field, "int_type", "Input should be a valid integer", value)
    elif low is not None and value < low:
        message = f"Input should be greater than or equal to {low}"
        yield _fault(field, "greater_than_equal", message, value, ge=low)
    elif high is not None and value > high:
        message = f"Input should be less than or equal to {high}"
        yield _fault(field, "less_than_equal", message, value, le=high)


def _check_word(payload: Json, field: str, allowed: tuple[str, ...]) -> Iterator[Json]:
    value = payload.get(field)
    if value is None or not allowed or value in allowed:
        return
    quoted = [f"'{word}'" for word in allowed]
    expected = f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    yield _fault(field, "literal_error", f"Input should be {expected}", value, expected=expected)


def _check_bool(payload: Json, field: str) -> Iterator[Json]:
    value = payload.get(field)
    if value is not None and not isinstance(value, bool):
        yield _fault(field, "bool_type", "Input should be a valid boolean", value)
