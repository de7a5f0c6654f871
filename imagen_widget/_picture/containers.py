"""The parts of PNG, JPEG, WebP and EXIF blocks, found without a decoder.

Foreign bytes are never trusted: what is not built as its format says raises `MalformedError`.
"""

import struct
from collections.abc import Iterator

PNG_START = b"\x89PNG\r\n\x1a\n"
EXIF_START = b"Exif\x00\x00"
JPEG_SCAN = 0xDA

_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_JPEG_END = 0xD9
_ORIENTATION = 0x0112


class MalformedError(ValueError):
    """Bytes are not built as their format says."""


class CutShortError(MalformedError):
    """The end is missing."""


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's kind, and where its body begins and ends; up to IEND."""
    position, kind = len(PNG_START), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise CutShortError("png")
        length, kind = struct.unpack_from(">I4s", data, position)
        start, end = position + 8, position + 8 + length
        if end + 4 > len(data):
            raise CutShortError("png")
        yield kind, start, end
        position = end + 4


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each segment's marker, and where it begins and ends; the last is the first scan's."""
    position, marker = 2, 0
    while marker != JPEG_SCAN:
        if position + 4 > len(data):
            raise CutShortError("jpeg")
        if data[position] != 0xFF or data[position + 1] == _JPEG_END:
            raise MalformedError("jpeg")
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        length = 0 if marker in _JPEG_ALONE else struct.unpack_from(">H", data, position + 2)[0]
        end = position + 2 + length
        if end > len(data):
            raise CutShortError("jpeg")
        yield marker, position, end
        position = end


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's kind, and where its body begins and ends."""
    if len(data) < 12:
        raise CutShortError("webp")
    end = struct.unpack_from("<I", data, 4)[0] + 8
    if end > len(data):
        raise CutShortError("webp")
    position = 12
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        start = position + 8
        if start + length > end:
            raise MalformedError("webp")
        yield kind, start, start + length
        position = start + length + length % 2


def tiff_header(tiff: bytes) -> tuple[str, int]:
    """Return the byte order of an EXIF block, and where its main table begins."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        raise MalformedError("exif")
    return order, struct.unpack_from(order + "I", tiff, 4)[0]


def tiff_table(tiff: bytes, order: str, offset: int) -> tuple[dict[int, bytes], int]:
    """Return a table's entries by tag, 12 bytes each, and where the next table begins."""
    try:
        (count,) = struct.unpack_from(order + "H", tiff, offset)
        end = offset + 2 + 12 * count
        (following,) = struct.unpack_from(order + "I", tiff, end)
    except struct.error:
        raise MalformedError("exif") from None
    entries = (tiff[at : at + 12] for at in range(offset + 2, end, 12))
    return {struct.unpack_from(order + "H", entry)[0]: entry for entry in entries}, following


def orientation(exif: bytes) -> int:
    """Return how the picture has to be turned, as its EXIF block says; 1 if not at all."""
    tiff = exif.removeprefix(EXIF_START)
    try:
        order, at = tiff_header(tiff)
        entry = tiff_table(tiff, order, at)[0].get(_ORIENTATION)
    except MalformedError:
        return 1
    return 1 if entry is None else struct.unpack_from(order + "H", entry, 8)[0]
