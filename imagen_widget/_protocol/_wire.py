"""Calls and answers: what goes over the wire and what came back, as values.

Nothing here does I/O. An answer's body is bytes until somebody asks for JSON, and asking never
raises: what cannot be read is None.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from imagen_widget.errors import QueueError, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_PICTURE_BYTES = 64 * 1024 * 1024
_UNPACKED_AT_ONCE = 4096  # a thousand times as much comes of it at the worst


@dataclass(frozen=True, slots=True)
class Call:
    """A request to make: method, absolute address, and a JSON body or none."""

    method: str
    url: str
    body: bytes | None = None
    accept: str = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole: HTTP status, headers with names in lower case, and the body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the 2xx class

    def json(self) -> Any:  # noqa: ANN401 - foreign JSON can be anything; readers check
        """Return the body's JSON value, or None where it is not JSON."""
        return read_json(self.body)

    def mapping(self) -> dict[str, Any] | None:
        """Return the body's JSON object, or None where it is anything else."""
        value = self.json()
        return value if isinstance(value, dict) else None

    @property
    def is_page(self) -> bool:
        """Whether this is a web page: what gateways answer on routes that they do not serve."""
        head = self.body[:300].lstrip().lower()
        html = "html" in self.headers.get("content-type", "").lower()
        return html or head.startswith((b"<!doctype", b"<html"))


class NotSent(Exception):  # noqa: N818 - the name says the outcome, which is what counts here
    """The request surely never reached the server: it may be sent again."""


class Lost(Exception):  # noqa: N818 - the name says the outcome, which is what counts here
    """The request may have reached the server, but no whole answer came back."""


def unpack(body: bytes, coding: str, *, most_bytes: int) -> bytes:
    """Unpack what a server compressed although it was asked not to.

    Args:
        body: What came.
        coding: The Content-Encoding; may be empty.
        most_bytes: The largest size that is unpacked.

    Raises:
        Lost: It is packed in another way, broken, cut short, or larger than `most_bytes`.
    """
    name = coding.strip().lower()
    if name in {"", "identity"}:
        return body
    if name not in {"gzip", "x-gzip", "deflate"}:
        message = f"the answer's content coding {one_line(name, limit=20)!r} was not asked for"
        raise Lost(message)
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    unpacked, view = bytearray(), memoryview(body)
    for start in range(0, len(body), _UNPACKED_AT_ONCE):
        try:
            unpacked += unpacker.decompress(view[start : start + _UNPACKED_AT_ONCE])
        except zlib.error:
            message = "the answer's compression is broken"
            raise Lost(message) from None
        if len(unpacked) > most_bytes:
            raise Lost(too_large(most_bytes))
    if not unpacker.eof:
        message = "the answer was cut short"
        raise Lost(message)
    return bytes(unpacked)


def too_large(most_bytes: int) -> str:
    """Say that an answer has more bytes than are read."""
    return f"the answer is larger than {most_bytes // 1024 // 1024} MB"


def read_json(text: bytes | str) -> Any:  # noqa: ANN401 - foreign JSON can be anything
    """Return the JSON value, or None where the text is no JSON that can be held."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # also bad UTF-8, and integers of too many digits
        return None


def write_json(value: object) -> bytes:
    """Return compact UTF-8 JSON, the form in which every body is sent."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def read_data_uri(url: str, *, most_bytes: int = MOST_PICTURE_BYTES) -> bytes:
    """Return the bytes of a `data:` address.

    Raises:
        QueueError: It is malformed or larger than `most_bytes`.
    """
    head, comma, payload = url.partition(",")
    if not comma or len(payload) > most_bytes * 4 // 3 + 4:
        raise QueueError(
            "The picture inside the answer is malformed or too large.",
            remedy="Generate without sync_mode, so that pictures come as addresses.",
        )
    try:
        if head.lower().rstrip().endswith(";base64"):
            return base64.b64decode(unquote_to_bytes(payload), validate=True)
        return unquote_to_bytes(payload)
    except (binascii.Error, ValueError):
        raise QueueError(
            "The picture inside the answer is not valid base64.",
            remedy="Fetch it again with %imagen_resume; the job itself is not lost.",
        ) from None
