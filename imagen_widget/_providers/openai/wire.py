"""OpenAI's image routes as pure functions: a request's arguments become path and body.

Nothing here does I/O. Relays forward a fixed list of fields, so the count is `n` and a ratio a
size; gpt-image refuses `response_format`, which is therefore never sent to it.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from imagen_widget._providers.answers import sniff, write_json

_RATIO = re.compile(r"(\d{1,4})\s*[:x/]\s*(\d{1,4})", re.ASCII)
_SIZES = {
    "gpt-image": ("1024x1024", "1536x1024", "1024x1536"),
    "dall-e-3": ("1024x1024", "1792x1024", "1024x1792"),
    "dall-e-2": ("1024x1024",),
}
_MISSING = re.compile(r"\bimage\b.*\b(required|missing)|\b(required|missing)\b.*\bimage\b", re.I)


class Part(NamedTuple):
    """A picture to send: its role, `image` or `mask`, and its bytes."""

    role: str
    data: bytes


def fields(model: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments in OpenAI's names."""
    found = {"model": model, **arguments}
    if "num_images" in found:
        found.setdefault("n", found.pop("num_images"))
    sizes = next((sizes for prefix, sizes in _SIZES.items() if model.startswith(prefix)), ())
    ratio = _RATIO.fullmatch(str(found.get("aspect_ratio", "")))
    if sizes and ratio:
        del found["aspect_ratio"]
        found.setdefault("size", _nearest(sizes, int(ratio[1]) / max(int(ratio[2]), 1)))
    if model.startswith("gpt-image"):
        found.pop("response_format", None)
    for name in ("stream", "partial_images"):  # one answer is read, and no stream of events
        found.pop(name, None)
    return found


def path(base_url: str, route: str) -> str:
    """Return the path of a route on a base, which may end with `/v1` or not."""
    return f"{'' if base_url.endswith('/v1') else '/v1'}/images/{route}"


def form(
    body: Mapping[str, Any], parts: Sequence[Part], *, name: str = "image[]"
) -> tuple[bytes, str]:
    """Return a multipart body and its content type; the pictures are called `name` in it."""
    boundary = f"imagen-{uuid.uuid4().hex}"
    pieces = []
    for field, value in body.items():
        text = value if isinstance(value, str) else write_json(value).decode()
        pieces.append(_piece(boundary, f'name="{_quoted(field)}"', text.encode()))
    for number, part in enumerate(parts):
        kind = sniff(part.data) or "image/png"
        named = f'name="{name if part.role == "image" else part.role}"'
        file = f'filename="{part.role}-{number}.{kind.rpartition("/")[2]}"'
        head = f"{named}; {file}\r\ncontent-type: {kind}"
        pieces.append(_piece(boundary, head, part.data))
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"


def is_about_name(field: str, message: str) -> bool:
    """Return True if a refusal says that the pictures' name `image[]` is not taken."""
    return field in {"image", "image[]"} or "image[]" in message or bool(_MISSING.search(message))


def _piece(boundary: str, head: str, data: bytes) -> bytes:
    return (
        f"--{boundary}\r\ncontent-disposition: form-data; {head}\r\n\r\n".encode() + data + b"\r\n"
    )


def _quoted(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _nearest(sizes: Sequence[str], ratio: float) -> str:
    def distance(size: str) -> float:
        width, height = map(int, size.split("x"))
        return abs(width / height - ratio)

    return min(sizes, key=distance)
