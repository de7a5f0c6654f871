"""A picture's type, pixel size and wholeness, read from its bytes without a decoder.

Nothing here does I/O. Decoders trust what a header claims and take memory for it; this does not.
Sources: the PNG and JPEG standards, and the WebP container specification.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those three are tables
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_VP8_START = b"\x9d\x01\x2a"
_VP8L_START = 0x2F
_WEBP_IMAGES = frozenset({b"VP8 ", b"VP8L", b"ANMF"})


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What was read from a picture's header: media type, and width and height in pixels."""

    media_type: str
    width: int
    height: int


class BrokenPictureError(Exception):
    """A part of the picture is not as its kind demands."""


class CutShortError(BrokenPictureError):
    """The picture's end is missing."""


def sniff(data: bytes) -> str | None:
    """Return the media type by the first bytes, or None where it is no PNG, JPEG or WebP."""
    if data.startswith(_PNG):
        return "image/png"
    if data.startswith(_JPEG):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def read_facts(data: bytes, media_type: str) -> PictureFacts:
    """Return the facts of a picture whose parts are all there.

    Raises:
        CutShortError: The end is missing.
        BrokenPictureError: A part is broken.
    """
    try:
        match media_type:
            case "image/png":
                size = _read_png(data)
            case "image/jpeg":
                size = _read_jpeg(data)
            case _:
                size = _read_webp(data)
    except (struct.error, IndexError):
        raise CutShortError from None
    if not all(size):
        raise BrokenPictureError
    return PictureFacts(media_type, *size)


def _read_png(data: bytes) -> tuple[int, int]:
    names: list[bytes] = []
    view, position = memoryview(data), len(_PNG)
    while not names or names[-1] != b"IEND":
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        (sum_,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(view[position + 4 : end - 4]) != sum_:
            raise BrokenPictureError
        names.append(data[position + 4 : position + 8])
        position = end
    if names[0] != b"IHDR" or b"IDAT" not in names or data[position:].strip(b"\0"):
        raise BrokenPictureError
    width, height = struct.unpack_from(">II", data, len(_PNG) + 8)
    return width, height


def _read_jpeg(data: bytes) -> tuple[int, int]:
    size = (0, 0)
    position = 2
    while True:
        if data[position] != 0xFF:  # noqa: PLR2004 - each segment begins so
            raise BrokenPictureError
        marker = data[position + 1]
        position += 1
        if marker == 0xFF:  # noqa: PLR2004 - fill bytes
            continue
        position += 1
        if marker in _JPEG_ALONE:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            size = width, height
        if marker == _JPEG_SCAN:
            break
        position += length
    if not data.rstrip(b"\0").endswith(_JPEG_END):
        raise CutShortError
    return size


def _read_webp(data: bytes) -> tuple[int, int]:
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < length + 8:
        raise CutShortError
    names = []
    for name, end in _webp_chunks(data, length + 8):
        if end > length + 8:
            raise BrokenPictureError
        names.append(name)
    if not _WEBP_IMAGES.intersection(names) or data[length + 8 :].strip(b"\0"):
        raise BrokenPictureError
    return _webp_size(data, names[0])


def _webp_chunks(data: bytes, whole: int) -> Iterator[tuple[bytes, int]]:
    """Yield the name and the end of each chunk; a chunk of odd length is padded."""
    position = 12
    while position < whole:
        (length,) = struct.unpack_from("<I", data, position + 4)
        position += 8 + length
        yield data[position - length - 8 : position - length - 4], position
        position += length % 2


def _webp_size(data: bytes, kind: bytes) -> tuple[int, int]:
    match kind:
        case b"VP8X":
            width = int.from_bytes(data[24:27], "little") + 1
            return width, int.from_bytes(data[27:30], "little") + 1
        case b"VP8L" if data[20] == _VP8L_START:
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 " if data[23:26] == _VP8_START:
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case _:
            raise BrokenPictureError
