"""The comment of an EXIF block, written and read without disturbing the block's other fields.

Nothing here does I/O. Foreign bytes are never trusted: what is malformed has no comment.
"""

from __future__ import annotations

import struct

EXIF_START = b"Exif\x00\x00"
MOST_TEXT_BYTES = 2_000_000

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_TIFF_LONG, _TIFF_UNDEFINED = 4, 7
_TIFF_EMPTY = b"MM\x00*" + struct.pack(">IHI", 8, 0, 0)
_UTF16_COMMENT = b"UNICODE\x00"


class MalformedError(ValueError):
    """Bytes are not built as their format says."""


def with_comment(old: bytes | None, text: str) -> bytes:
    """Return an EXIF block with the text as its comment; all else in it stays where it is."""
    # Readers take UTF-16 with the higher byte first, whatever the byte order around it.
    comment = _UTF16_COMMENT + text.encode("utf-16-be", "replace")
    try:
        return EXIF_START + _tiff_with((old or b"").removeprefix(EXIF_START), comment)
    except MalformedError:
        return EXIF_START + _tiff_with(_TIFF_EMPTY, comment)


def comment_of(exif: bytes) -> str:
    """Return the comment of an EXIF block, or "" where there is none or the block is broken."""
    tiff = exif.removeprefix(EXIF_START)
    if len(tiff) > MOST_TEXT_BYTES:
        return ""
    try:
        order, main_at = _tiff_header(tiff)
        entry = _inner_table(tiff, order, _table(tiff, order, main_at)[0]).get(_USER_COMMENT)
    except MalformedError:
        return ""
    if entry is None:
        return ""
    length, offset = struct.unpack_from(order + "II", entry, 4)
    comment = tiff[offset : offset + length]
    if comment.startswith(_UTF16_COMMENT):
        return comment.removeprefix(_UTF16_COMMENT).decode("utf-16-be", "replace")
    return comment.removeprefix(b"ASCII\x00\x00\x00").decode("utf-8", "replace").strip("\x00 ")


def _tiff_with(tiff: bytes, comment: bytes) -> bytes:
    """Append the comment with new tables that point to it: nothing that was there is moved."""
    order, main_at = _tiff_header(tiff)
    main, following = _table(tiff, order, main_at)
    inner = _inner_table(tiff, order, main)
    grown = bytearray(tiff + b"\x00" * (len(tiff) % 2))
    inner[_USER_COMMENT] = struct.pack(
        order + "HHII", _USER_COMMENT, _TIFF_UNDEFINED, len(comment), len(grown)
    )
    grown += comment + b"\x00" * (len(comment) % 2)
    main[_EXIF_IFD] = struct.pack(order + "HHII", _EXIF_IFD, _TIFF_LONG, 1, len(grown))
    grown += _table_bytes(inner, order, 0)
    struct.pack_into(order + "I", grown, 4, len(grown))
    grown += _table_bytes(main, order, following)
    return bytes(grown)


def _tiff_header(tiff: bytes) -> tuple[str, int]:
    """Return the byte order and where the main table begins."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:  # noqa: PLR2004 - the header's length
        raise MalformedError("an EXIF block has no header")
    return order, struct.unpack_from(order + "I", tiff, 4)[0]


def _table(tiff: bytes, order: str, offset: int) -> tuple[dict[int, bytes], int]:
    """Return a table's entries by tag, 12 bytes each, and where the next table begins."""
    try:
        (count,) = struct.unpack_from(order + "H", tiff, offset)
        end = offset + 2 + 12 * count
        (following,) = struct.unpack_from(order + "I", tiff, end)
    except struct.error:
        raise MalformedError("an EXIF table is cut short") from None
    entries = (tiff[at : at + 12] for at in range(offset + 2, end, 12))
    return {struct.unpack_from(order + "H", entry)[0]: entry for entry in entries}, following


def _inner_table(tiff: bytes, order: str, main: dict[int, bytes]) -> dict[int, bytes]:
    if _EXIF_IFD not in main:
        return {}
    return _table(tiff, order, struct.unpack_from(order + "I", main[_EXIF_IFD], 8)[0])[0]


def _table_bytes(entries: dict[int, bytes], order: str, following: int) -> bytes:
    count = struct.pack(order + "H", len(entries))
    in_order = b"".join(entry for _, entry in sorted(entries.items()))
    return count + in_order + struct.pack(order + "I", following)
