"""The settings inside an exported picture: written as text fields, and read back.

Nothing here does I/O. A picture from somewhere else is untrusted: it gives valid settings or none.
"""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from imagen_widget._catalog import find_model, short_name
from imagen_widget._picture import inspect
from imagen_widget._provenance import _metadata
from imagen_widget._provenance._exif import MalformedError
from imagen_widget._provenance._metadata import Texts
from imagen_widget._request import ImageRequest
from imagen_widget.errors import InvalidRequest, QueueError

GENERATOR = "imagen_widget"
LONGEST_STEM = 60  # characters; at four bytes each that fits every file system
NEVER = datetime.fromtimestamp(0, tz=UTC)  # the time of a picture that does not tell its own

_T = TypeVar("_T")

_SHORT_ID = 8
_OF_THE_FILE = {"seed", "num_images", "output_format"}  # said elsewhere, or not of one picture
_SETTINGS_LINE = re.compile(r"(?:^|, )(?:Steps|Seed|Size|Model): ")
_SEED = re.compile(r"(?:^|, )Seed: (\d{1,20})(?=,|$)", re.ASCII)
_MODEL = re.compile(r"(?:^|, )Model: ([^,]{1,200})")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a picture came from.

    Attributes:
        request: The request that made it.
        request_id: The provider's id of the job; "" where a foreign picture does not tell.
        provider: `kkiai`, `fal` or `demo`; "" where a foreign picture does not tell.
        created: When it was made, in local time; `NEVER` where a foreign picture does not tell.
        index: Its place among the job's pictures, from 0.
        seed: The seed, where it is known.
    """

    request: ImageRequest
    request_id: str
    provider: str
    created: datetime
    index: int = 0
    seed: int | None = None


def embed(data: bytes, media_type: str, provenance: Provenance) -> bytes:
    """Return the picture's bytes with the settings written into them, its pixels untouched.

    PNG gets text chunks, JPEG and WebP get EXIF and XMP. A file whose build is not understood is
    returned as it is: a picture is worth more than a note about it.
    """
    try:
        facts = inspect(data)
        lines = _lines(provenance, size=f"{facts.width}x{facts.height}")
        return _metadata.write(data, media_type, Texts(lines, _json(provenance)))
    except (QueueError, MalformedError):
        return data


def read(data: bytes) -> Provenance | None:
    """Return the settings that a picture carries, ours or AUTOMATIC1111's, or None."""
    texts = _metadata.read(data)
    return _from_json(texts.settings) or _from_lines(texts.parameters)


def file_stem(provenance: Provenance) -> str:
    """Return a readable file name without suffix: words of the prompt, the job's id, the place.

    It holds letters, digits and hyphens only and ends in a number, so that no system takes it for
    a path, a hidden file or a device.
    """
    short_id = "".join(c for c in provenance.request_id if c.isascii() and c.isalnum())[:_SHORT_ID]
    tail = "-".join(part for part in (short_id, str(provenance.index + 1)) if part)
    return f"{_slug(provenance.request.prompt, longest=LONGEST_STEM - len(tail) - 1)}-{tail}"


def _slug(text: str, *, longest: int) -> str:
    """Return the first words that fit, in lower case; half of one where even that is too long."""
    lowered = unicodedata.normalize("NFC", text[: 10 * longest].lower())
    words = "".join(c if _names(c) else " " for c in lowered).split()
    slug = ""
    for word in words:
        if slug and len(slug) + 1 + len(word) > longest:
            break
        slug = f"{slug}-{word}".lstrip("-")
    return slug[:longest] or "image"


def _names(character: str) -> bool:
    """Tell whether a character may stand in a file name: letters, digits and their marks."""
    return unicodedata.category(character)[0] in "LM" or character.isdecimal()


# ------------------------------------------------------------------------------------- writing


def _json(provenance: Provenance) -> str:
    """Return the settings as ASCII JSON, which no text field and no character set can break."""
    return json.dumps(
        {
            "generator": GENERATOR,
            "prompt": provenance.request.prompt,
            "model": provenance.request.model,
            "parameters": provenance.request.parameters(),
            "request_id": provenance.request_id,
            "provider": provenance.provider,
            "created": provenance.created.isoformat(),
            "index": provenance.index,
            "seed": provenance.seed,
        }
    )


def _lines(provenance: Provenance, *, size: str) -> str:
    """Return the settings as AUTOMATIC1111 writes them: the prompt, then a line of pairs."""
    request = provenance.request
    seed = provenance.seed if provenance.seed is not None else request.seed
    pairs: dict[str, object] = {} if seed is None else {"Seed": seed}
    pairs |= {"Size": size, "Model": short_name(request.model)}
    pairs |= {
        name.replace("_", " ").capitalize(): value
        for name, value in request.parameters().items()
        if name not in _OF_THE_FILE and isinstance(value, str | int | float)
    }
    pairs["Version"] = GENERATOR
    line = ", ".join(f"{name}: {_quoted(str(value))}" for name, value in pairs.items())
    return f"{_printable(request.prompt)}\n{line}"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value


def _printable(prompt: str) -> str:
    kept = (c for c in prompt if c == "\n" or unicodedata.category(c) != "Cc")
    return "".join(kept).strip()


# ------------------------------------------------------------------------------------- reading


def _from_json(text: str) -> Provenance | None:
    try:
        found = json.loads(text)
        if found["generator"] != GENERATOR:
            return None
        return Provenance(
            request=_request(
                _is(str, found["prompt"]), _is(str, found["model"]), _is(dict, found["parameters"])
            ),
            request_id=_is(str, found["request_id"]),
            provider=_is(str, found["provider"]),
            created=datetime.fromisoformat(_is(str, found["created"])).astimezone(),
            index=max(0, _is(int, found["index"])),
            seed=None if found["seed"] is None else _is(int, found["seed"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _from_lines(text: str) -> Provenance | None:
    """Return what AUTOMATIC1111's lines tell: the prompt, and with luck a model and a seed."""
    *lines, last = text.strip().split("\n")
    if not _SETTINGS_LINE.search(last):
        lines, last = [*lines, last], ""
    negative = next((i for i, s in enumerate(lines) if s.startswith("Negative prompt:")), None)
    seed, model = _SEED.search(last), _MODEL.search(last)
    number = int(seed[1]) if seed else None
    endpoint = model[1] if model and find_model(model[1]) else None
    with contextlib.suppress(InvalidRequest):
        request = _request("\n".join(lines[:negative]).strip(), endpoint, {"seed": number})
        return Provenance(request, request_id="", provider="", created=NEVER, seed=number)
    return None


def _request(prompt: str, model: str | None, parameters: dict[str, Any]) -> ImageRequest:
    """Return a checked request; without parameters where the model no longer takes them."""
    given = {name: v for name, v in parameters.items() if name not in {"prompt", "model"}}
    try:
        return ImageRequest.create(prompt, model=model, **given)
    except InvalidRequest:
        return ImageRequest.create(prompt, model=model)


def _is(kind: type[_T], value: object) -> _T:
    """Return a value of JSON that is of this kind; true and false are no numbers."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(type(value).__name__)
    return value
