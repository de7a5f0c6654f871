"""What picture bytes are: their type, pixel size and wholeness, and a small copy to show.

Nothing here does I/O. The bytes decide, never a header or a file name that a server sent.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from imagen_widget._picture._header import (
    BrokenPictureError,
    CutShortError,
    PictureFacts,
    read_facts,
    sniff,
)
from imagen_widget.errors import QueueError

MOST_PIXELS = 64_000_000
PREVIEW_BYTES = 110_000  # base64 adds a third: below 150 KB an image in the notebook
PREVIEW_SIDE_PIXELS = 1024
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}

_FETCH_AGAIN = "Fetch it again with %imagen_resume; the job itself is not lost."
_FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


@dataclass(frozen=True, slots=True)
class Preview:
    """A small encoded copy: its bytes, media type, and width and height in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int


def inspect(data: bytes) -> PictureFacts:
    """Return the facts of a whole PNG, JPEG or WebP picture.

    Raises:
        QueueError: The bytes are something else (HTML, SVG, …), are cut short, or would unpack to
            more than 64 million pixels.
    """
    media_type = sniff(data)
    if media_type is None:
        raise QueueError(
            f"The picture's address answered with something that is no picture{_guess(data)}.",
            remedy=_FETCH_AGAIN,
        )
    try:
        facts = read_facts(data, media_type)
    except CutShortError:
        raise QueueError(
            f"The picture arrived cut short ({len(data)} bytes of {media_type}).",
            remedy=_FETCH_AGAIN,
        ) from None
    except BrokenPictureError as error:
        raise _unreadable(error) from None
    if facts.width * facts.height > MOST_PIXELS:
        raise QueueError(
            f"The picture claims {facts.width} x {facts.height} pixels, "
            f"over {MOST_PIXELS // 10**6} million.",
            remedy="It was not opened; ask the provider what it sent.",
        )
    if _size(data) != (facts.width, facts.height):  # a second opinion, now that it is safe
        raise _unreadable(BrokenPictureError())
    return facts


def preview(
    data: bytes, *, side: int = PREVIEW_SIDE_PIXELS, most_bytes: int = PREVIEW_BYTES
) -> Preview:
    """Return a WebP copy with its longer side at most `side` pixels and at most `most_bytes`.

    Raises:
        QueueError: The picture cannot be decoded.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=tuple(_FORMATS)) as source:
            source.draft("RGB", (side, side))  # JPEG decodes straight to a smaller size
            mode = "RGBA" if "A" in source.getbands() else "RGB"
            small = source.convert(mode)
    except Exception as error:  # noqa: BLE001 - decoders fail in many ways on hostile bytes
        raise _unreadable(error) from None
    # A gap of 1: whole factors are averaged first, ten times as fast as Lanczos over all of it.
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=1.0)
    for quality in (80, 65, 50, 35, 20):
        encoded = _webp(small, quality)
        if len(encoded) <= most_bytes:
            return Preview(encoded, "image/webp", *small.size)
    return preview(data, side=side * 2 // 3, most_bytes=most_bytes)


def encode(data: bytes, media_type: str) -> bytes:
    """Return the picture encoded anew as `media_type`, at its full size.

    Raises:
        QueueError: The picture cannot be decoded.
    """
    from PIL import Image

    name = next(name for name, kind in _FORMATS.items() if kind == media_type)
    sink = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data), formats=tuple(_FORMATS)) as source:
            picture = source.convert("RGB") if name == "JPEG" else source
            picture.save(sink, name, quality=92)
    except Exception as error:  # noqa: BLE001 - decoders fail in many ways on hostile bytes
        raise _unreadable(error) from None
    return sink.getvalue()


def _webp(picture: object, quality: int) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "WEBP", quality=quality, method=2)  # type: ignore[attr-defined]  # lazy PIL
    return sink.getvalue()


def _guess(data: bytes) -> str:
    head = data[:300].lstrip().lower()
    if not head:
        return " (an empty answer)"
    if head.startswith((b"<!doctype html", b"<html")):
        return " (a page of HTML)"
    if b"<svg" in head:
        return " (SVG, which is not accepted)"
    if head.startswith((b"{", b"[")):
        return " (JSON)"
    return ""


def _size(data: bytes) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=tuple(_FORMATS)) as picture:
            return picture.size
    except Exception as error:  # noqa: BLE001 - decoders fail in many ways on hostile bytes
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> QueueError:
    return QueueError(
        f"The picture cannot be read ({type(error).__name__}).",
        remedy=_FETCH_AGAIN,
    )
