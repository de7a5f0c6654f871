"""Calls and answers: what goes over the wire and what came back, as values.

Nothing here does I/O. Reading never raises: what cannot be read is None, and what can be read is
read, however it is packed or written.
"""

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

from imagen_widget import _picture
from imagen_widget.errors import QueueError

MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_RESULT_BYTES = 64 * 1024 * 1024  # four 2K pictures as data: addresses
MAX_PICTURE_BYTES = 64 * 1024 * 1024

_MAX_PARTS = 500_000
_MAX_PARTS_OF_LARGE = 20_000
_UNPACKED_AT_ONCE_BYTES = 4096  # at the worst, a thousand times as much comes of it
_MAX_WARNING_BYTES = 4096
_MAX_JSON_STARTS = 8
_LINE_START = re.compile(r"^\s*[{\[]", re.MULTILINE)
_JSON_START = re.compile(r"[{\[]")
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_SPACES = b" \t\r\n\v\f"
_PRINTED = b"\xef\xbb\xbf" + _SPACES  # a byte order mark too
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")

# The first bytes of pictures in base64; a jpeg's look like a path.
_BASE64_HEADS = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "UklGR": "image/webp",
    "R0lGOD": "image/gif",
    "PHN2Zy": "image/svg+xml",
    "PD94bW": "image/svg+xml",
    "AAAAIGZ0eXBhdmlm": "image/avif",
    "AAAAHGZ0eXBhdmlm": "image/avif",
}

# How pictures begin, and what a whole one has somewhere; more may follow that.
_ENDS = {b"\x89PNG\r\n\x1a\n": b"IEND", b"\xff\xd8\xff": b"\xff\xd9", b"GIF8": b""}


@dataclass(frozen=True, slots=True)
class Call:
    """A request to make: method, absolute address, body, and headers besides the usual ones."""

    method: str
    url: str
    body: bytes | None = None
    accept: str = "application/json"
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Answer:
    """What came back, whole: HTTP status, headers with names in lower case, and the body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @cached_property
    def json(self) -> Any:
        """The body's JSON value, also behind lines of warnings; None without JSON.

        What has too many parts to be held is not read: each costs many times its bytes.
        """
        if self._has_too_many_parts:
            return None
        value = read_json(self.body)
        return _json_behind_text(self.body) if value is None and not self.is_page else value

    @cached_property
    def _has_too_many_parts(self) -> bool:
        large = len(self.body) > MAX_ANSWER_BYTES  # so are pictures in it, which have no commas
        return self.body.count(b",") > (_MAX_PARTS_OF_LARGE if large else _MAX_PARTS)

    @property
    def mapping(self) -> dict[str, Any] | None:
        """The body's JSON object; None if it is anything else."""
        return self.json if isinstance(self.json, dict) else None

    @property
    def value(self) -> Any:
        """What the body holds: its JSON value, or else its text; None for a web page."""
        if self.json is not None or self.is_page or self._has_too_many_parts:
            return self.json
        return self.body.decode("utf-8", "replace")

    @property
    def is_page(self) -> bool:
        """Whether this is a web page: what gateways answer on routes that they do not serve."""
        head = self.body[:300].lstrip().lower()
        html = "html" in self.headers.get("content-type", "").lower()
        return html or head.startswith((b"<!doctype html", b"<html"))


class NotSent(Exception):
    """The request surely never reached the server: it may be sent again."""


class Lost(Exception):
    """The request may have reached the server, but no whole answer came back.

    Attributes:
        part: What came of the answer, if at least its headers did.
    """

    part: Answer | None = None


# ---------------------------------------------------------------------------------------- packing


def unpack(body: bytes, coding: str, *, max_bytes: int) -> bytes:
    """Unpack what a server compressed although it was asked not to.

    A coding that is not known, and one that the bytes do not have, leave the body as it is: servers
    name storage formats and character sets there.

    Raises:
        Lost: The compression is broken, cut short, or unpacks to more than `max_bytes`.
    """
    names = [name.strip().lower() for name in coding.split(",")]
    for name in (*reversed(names), "gzip"):  # which some forget to name
        if name in _PACKED and _looks_packed(body, name):
            body = _unpack_once(body, max_bytes=max_bytes)
        elif name == "deflate" and body and sniff(body) is None and body[:1] not in b"{[<":
            with suppress(Lost):  # some leave out its header
                body = _unpack_once(body, max_bytes=max_bytes, bare=True)
    return body


def _looks_packed(body: bytes, name: str) -> bool:
    if name == "deflate":
        return len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return body.startswith(b"\x1f\x8b")


def _unpack_once(body: bytes, *, max_bytes: int, bare: bool = False) -> bytes:
    unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
    pieces, size, view = [], 0, memoryview(body)
    for start in range(0, len(body), _UNPACKED_AT_ONCE_BYTES):
        try:
            pieces.append(unpacker.decompress(view[start : start + _UNPACKED_AT_ONCE_BYTES]))
        except zlib.error:
            raise Lost("the answer's compression is broken") from None
        size += len(pieces[-1])
        if size > max_bytes:
            pieces.clear()  # at once: a traceback may hold them for a while
            raise Lost(too_large(max_bytes))
        if unpacker.eof:
            return b"".join(pieces)
    raise Lost("the answer was cut short")


def too_large(max_bytes: int) -> str:
    """Say that an answer has more bytes than are read."""
    return f"the answer is larger than {max_bytes // 1024 // 1024} MB"


# ------------------------------------------------------------------------------------------- JSON


def read_json(text: bytes | str) -> Any:
    """Return the JSON value; None if the text is not JSON that can be held."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # also bad UTF-8, and integers of too many digits
        return None


def _json_behind_text(body: bytes) -> Any:
    """Return the first JSON object or list behind a few lines of text, such as PHP's warnings."""
    text = body.decode("utf-8", "replace")
    decoder = json.JSONDecoder()
    end = min(len(text), _MAX_WARNING_BYTES)
    for pattern in (_LINE_START, _JSON_START):  # warnings hold brackets inside their lines
        starts = pattern.finditer(text, 0, end)
        for _, start in zip(range(_MAX_JSON_STARTS), starts, strict=False):
            try:
                return decoder.raw_decode(text, start.end() - 1)[0]
            except (ValueError, RecursionError):
                continue
    return None


def write_json(value: object) -> bytes:
    """Return compact UTF-8 JSON, the form in which every body is sent."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# ------------------------------------------------------------------------------- pictures in text


def data_address(data: bytes, media_type: str) -> str:
    """Return the `data:` address that holds these bytes."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def base64_media_type(text: str) -> str | None:
    """Return the media type of a picture written as bare base64; None if it is something else."""
    head = text[:40].lstrip()
    return next((kind for start, kind in _BASE64_HEADS.items() if head.startswith(start)), None)


def read_data_address(url: str, *, max_bytes: int = MAX_PICTURE_BYTES) -> bytes:
    """Return the bytes of a `data:` address.

    Line ends, missing padding and the url-safe alphabet are read as they are meant.

    Raises:
        QueueError: It is malformed or larger than `max_bytes`.
    """
    head, comma, payload = url.partition(",")
    if not comma or len(payload) > max_bytes * 3 // 2 + 4:
        raise QueueError(
            "The picture inside the answer is malformed or too large.",
            remedy="Generate without sync_mode, so that pictures come as addresses.",
        )
    try:
        data = unquote_to_bytes(payload) if "%" in payload else payload.encode()
        if "base64" not in head.lower():
            return data
        data = data.translate(_URL_SAFE, _SPACES).rpartition(b",")[2].rstrip(b"=")
        data = _NOT_BASE64.sub(b"", data)  # rather a flaw in the picture than no picture
        data = data[: len(data) - (len(data) % 4 == 1)]
        found = base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
        if not found:
            raise ValueError
        return found
    except (binascii.Error, ValueError):
        raise QueueError(
            "The picture inside the answer is not valid base64.",
            remedy="Fetch it again with %imagen_resume; the job itself is not lost.",
        ) from None


def sniff(data: bytes) -> str | None:
    """Return the media type of a picture by its first bytes; None if they are of no picture."""
    kind = _picture.sniff(data)
    return None if kind == _picture.UNREADABLE else kind


def picture_bytes(body: bytes) -> bytes:
    """Return the picture in what was served: not what a script printed before it, nor base64."""
    if sniff(body) is not None:
        return body
    bare = body.lstrip(_PRINTED)
    head = bare[:40].decode("ascii", "replace")
    with suppress(QueueError):
        if head[:5].lower() == "data:":
            return read_data_address(bare.decode("ascii", "replace"))
        if (kind := base64_media_type(head)) is not None:
            return read_data_address(f"data:{kind};base64,{bare.decode('ascii', 'replace')}")
    return body if sniff(bare) is None else bare


def picture_type(data: bytes) -> str:
    """Return the media type of a picture by its first bytes; PNG if unknown."""
    return sniff(data) or "image/png"


def odd_picture(answer: Answer) -> str:
    """Return why an answer can hardly be a whole picture, or "" if it may be one.

    The bytes decide, not the headers; what is not known here may well be a picture.
    """
    body = answer.body
    for head, end in _ENDS.items():
        if body.startswith(head):
            return "" if body.rfind(end) >= 0 else f"cut short ({len(body)} bytes)"
    if body.startswith(b"RIFF"):
        whole = len(body) >= 8 + int.from_bytes(body[4:8], "little")
        return "" if whole else f"cut short ({len(body)} bytes)"
    if not body:
        return "an empty answer"
    if answer.is_page:
        return "a web page"
    if sniff(body) is not None:
        return ""
    if answer.json is not None:
        return "JSON"
    return "a text" if _is_text(body) else ""


def _is_text(body: bytes) -> bool:
    """Return True for a text of a few lines, such as an error that came with 200."""
    if len(body) > _MAX_WARNING_BYTES:
        return False
    text = body.decode("utf-8", "replace")
    return "\ufffd" not in text and all(c.isprintable() or c in "\r\n\t\ufeff" for c in text)
