"""The settings of a saved picture: what is written into its file or beside it, and read back.

Nothing here does I/O. A picture from somewhere else is untrusted: it gives settings of the right
types, or none.
"""

import json
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from imagen_widget._picture import Texts, read_settings, write_texts

GENERATOR = "imagen_widget"
MAX_STEM_BYTES = 100  # with a number, a suffix and .json below 120: encrypted folders take 143
MAX_STEM_CHARACTERS = 60

_SHORT_ID = 8
_OF_THE_FILE = {"seed", "num_images", "output_format"}  # said elsewhere, or not of one picture

T = TypeVar("T")
R = TypeVar("R", covariant=True)


@dataclass(frozen=True)
class Provenance(Generic[R]):
    """Where a picture came from; a text is "" if unknown, the seed None."""

    request: R
    request_id: str  # the provider's id of the job
    provider: str
    created: datetime  # in local time
    index: int = 0  # its place among the job's pictures
    seed: int | None = None
    id: str = ""  # the journal's id of the job


@dataclass(frozen=True)
class FoundRequest:
    """A request as a file tells it, not checked by any model."""

    prompt: str | None
    model: str
    fields: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[dict[str, Any], ...] = ()


def embed(
    data: bytes, provenance: Provenance[Any], *, size: str, model_name: str
) -> tuple[bytes, bool]:
    """Return the picture with its settings written into it, and True if they all are.

    PNG gets text chunks, JPEG and WebP get EXIF and XMP; no pixel changes. Other formats and files
    that their maker signed come back as they are.
    """
    texts = Texts(_lines(provenance, size, model_name), to_json(provenance))
    return write_texts(data, texts)


def read(data: bytes) -> Provenance[FoundRequest] | None:
    """Return the settings that a picture carries; None if it has none of ours."""
    return from_json(read_settings(data))


def file_stem(provenance: Provenance[Any]) -> str:
    """Return a readable file name without suffix: words of the prompt, the job's id, the place.

    It holds letters, digits and hyphens only and ends in a number, so that no system takes it for
    a path, a hidden file or a device.
    """
    short_id = "".join(c for c in provenance.request_id if c.isascii() and c.isalnum())[:_SHORT_ID]
    tail = "-".join(part for part in (short_id, str(provenance.index + 1)) if part)
    words = _slug(provenance.request.prompt or "", max_bytes=MAX_STEM_BYTES - len(tail) - 1)
    return f"{words or 'image'}-{tail}"


def _slug(text: str, *, max_bytes: int) -> str:
    """Return the first words that fit, in lower case; part of one if that is too long."""
    lowered = unicodedata.normalize("NFC", text[: 10 * MAX_STEM_CHARACTERS].lower())
    # Letters, digits and their marks may stand in a file name.
    kept = (c if unicodedata.category(c)[0] in "LM" or c.isdecimal() else " " for c in lowered)
    slug = ""
    for word in "".join(kept).split():
        longer = f"{slug}-{word}".lstrip("-")
        if len(longer) > MAX_STEM_CHARACTERS or len(longer.encode()) > max_bytes:
            slug = slug or longer
            break
        slug = longer
    return slug[:MAX_STEM_CHARACTERS].encode()[:max_bytes].decode(errors="ignore")


# ------------------------------------------------------------------------------------- writing


def to_json(provenance: Provenance[Any], **more: str) -> str:
    """Return the settings as ASCII JSON, which no text field and no character set can break."""
    request = provenance.request
    return json.dumps(
        {
            "generator": GENERATOR,
            "prompt": request.prompt,
            "model": request.model,
            "parameters": _parameters(request),
            "inputs": [picture.to_dict() for picture in request.inputs],
            "request_id": provenance.request_id,
            "provider": provenance.provider,
            "created": provenance.created.isoformat(),
            "index": provenance.index,
            "seed": provenance.seed,
            "id": provenance.id,
            **more,
        }
    )


def _parameters(request: Any) -> dict[str, Any]:
    """Return what was sent without the prompt, whatever the model calls it."""
    arguments: dict[str, Any] = request.arguments()
    prompts = [name for name, value in arguments.items() if value == request.prompt]
    name = "prompt" if "prompt" in prompts else next(iter(prompts), "")
    return {key: value for key, value in arguments.items() if key != name}


def _lines(provenance: Provenance[Any], size: str, model_name: str) -> str:
    """Return the settings as AUTOMATIC1111 writes them: the prompt, then a line of pairs."""
    request = provenance.request
    seed = provenance.seed if provenance.seed is not None else request.seed
    pairs: dict[str, object] = {} if seed is None else {"Seed": seed}
    pairs |= {"Size": size, "Model": model_name}
    pairs |= {
        name.replace("_", " ").capitalize(): value
        for name, value in _parameters(request).items()
        if name not in _OF_THE_FILE and isinstance(value, str | int | float)
    }
    pairs["Version"] = GENERATOR
    line = ", ".join(f"{name}: {_quoted(str(value))}" for name, value in pairs.items())
    shown = (c for c in request.prompt or "" if c == "\n" or unicodedata.category(c) != "Cc")
    return f"{''.join(shown).strip()}\n{line}"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value


# ------------------------------------------------------------------------------------- reading


def from_json(text: str, **more: str) -> Provenance[FoundRequest] | None:
    """Return the settings that `to_json` wrote, with `more` in them; None if they are not so.

    Files of version 0.1 have no inputs and no id.
    """
    try:
        found = json.loads(text)
        if found["generator"] != GENERATOR or any(found[k] != v for k, v in more.items()):
            return None
        prompt, seed = found["prompt"], found["seed"]
        fields = _is(dict, found["parameters"])
        return Provenance(
            request=FoundRequest(
                prompt=None if prompt is None else _is(str, prompt),
                model=_is(str, found["model"]),
                fields={name: v for name, v in fields.items() if name not in {"prompt", "model"}},
                inputs=tuple(_is(dict, picture) for picture in _is(list, found.get("inputs", []))),
            ),
            request_id=_is(str, found["request_id"]),
            provider=_is(str, found["provider"]),
            created=datetime.fromisoformat(_is(str, found["created"])).astimezone(),
            index=max(0, _is(int, found["index"])),
            seed=None if seed is None else _is(int, seed),
            id=_is(str, found.get("id", "")),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _is(kind: type[T], value: object) -> T:
    """Return a value of JSON that is of this kind; true and false are no numbers."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(type(value).__name__)
    return value
