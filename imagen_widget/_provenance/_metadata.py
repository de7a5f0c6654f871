"""Text fields inside PNG, JPEG and WebP files, written and read without touching a pixel.

Only the container is taken apart; whatever else it holds stays. Foreign bytes are never trusted:
what is malformed has no text, and nothing is unpacked beyond a bound.
"""

from __future__ import annotations

import html
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagen_widget._provenance._exif import (
    EXIF_START,
    MOST_TEXT_BYTES,
    MalformedError,
    comment_of,
    with_comment,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARAMETERS, _SETTINGS = b"parameters", b"imagen_widget"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}

_APP0, _APP1, _SOS, _EOI = 0xE0, 0xE1, 0xDA, 0xD9
_XMP_START = b"http://ns.adobe.com/xap/1.0/\x00"
_LONGEST_SEGMENT_BYTES = 0xFFFF - 2

_WEBP_EXIF, _WEBP_XMP, _WEBP_ALPHA = 0x08, 0x04, 0x10

_XMP_OURS = re.compile(
    rb'<rdf:Description rdf:about="" xmlns:imagen="urn:imagen-widget:1">'
    rb"<imagen:settings>([^<]*)</imagen:settings></rdf:Description>"
)
_XMP_END = b"</rdf:RDF>"
_XMP_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="w"?>'
).encode()


@dataclass(frozen=True, slots=True)
class Texts:
    """What a picture says of itself: the lines other programs read, and our own JSON; or ""."""

    parameters: str = ""
    settings: str = ""


def write(data: bytes, media_type: str, texts: Texts) -> bytes:
    """Return the file with these texts in place of any earlier ones.

    In a JPEG a text that is too long for a segment of 64 KB is left out.

    Raises:
        MalformedError: The file is not built as its format says.
    """
    try:
        match media_type:
            case "image/png":
                return b"".join(_png_with(data, texts))
            case "image/jpeg":
                return b"".join(_jpeg_with(data, texts))
            case _:
                return _webp_with(data, texts)
    except (IndexError, struct.error) as error:
        raise MalformedError(str(error)) from None


def read(data: bytes) -> Texts:
    """Return the texts that a picture holds, empty where there are none or nothing fits."""
    try:
        if data.startswith(_PNG_START):
            return _png_texts(data)
        if data.startswith(b"\xff\xd8"):
            segments, _ = _jpeg_segments(data)
            return _exif_and_xmp(_first(segments, EXIF_START), _first(segments, _XMP_START))
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            chunks = dict(_riff_chunks(data))
            return _exif_and_xmp(chunks.get(b"EXIF"), chunks.get(b"XMP "))
    except (MalformedError, IndexError, struct.error):
        pass
    return Texts()


# ----------------------------------------------------------------------------------------- PNG


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's kind, and where its body begins and ends."""
    offset, kind = len(_PNG_START), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, offset)
        end = offset + 8 + length
        if end + 4 > len(data):
            raise MalformedError("a PNG chunk is cut short")
        yield kind, offset + 8, end
        offset = end + 4


def _png_with(data: bytes, texts: Texts) -> Iterator[bytes]:
    yield _PNG_START
    for kind, start, end in _png_chunks(data):
        if kind in _PNG_TEXTS and _keyword(data[start:end]) in {_PARAMETERS, _SETTINGS}:
            continue
        yield data[start - 8 : end + 4]
        if kind == b"IHDR":
            yield _itxt(_PARAMETERS, texts.parameters)
            yield _itxt(_SETTINGS, texts.settings)


def _itxt(keyword: bytes, text: str) -> bytes:
    not_compressed, no_language, no_translation = b"\x00\x00", b"\x00", b"\x00"
    body = (
        keyword
        + b"\x00"
        + not_compressed
        + no_language
        + no_translation
        + text.encode("utf-8", "replace")
    )
    checksum = zlib.crc32(body, zlib.crc32(b"iTXt"))
    return struct.pack(">I4s", len(body), b"iTXt") + body + struct.pack(">I", checksum)


def _png_texts(data: bytes) -> Texts:
    found: dict[bytes, str] = {}
    for kind, start, end in _png_chunks(data):
        if kind in _PNG_TEXTS and end - start <= MOST_TEXT_BYTES:
            body = data[start:end]
            if (keyword := _keyword(body)) in {_PARAMETERS, _SETTINGS} - found.keys():
                found[keyword] = _png_text(kind, body)
    return Texts(found.get(_PARAMETERS, ""), found.get(_SETTINGS, ""))


def _keyword(body: bytes) -> bytes:
    return body[:80].partition(b"\x00")[0]


def _png_text(kind: bytes, body: bytes) -> str:
    _, _, rest = body.partition(b"\x00")
    if kind == b"tEXt":
        return rest.decode("latin-1")
    if kind == b"zTXt":
        return _unpacked(rest[1:]).decode("latin-1")
    text = rest[2:].split(b"\x00", 2)[2]
    return (_unpacked(text) if rest[0] else text).decode("utf-8", "replace")


def _unpacked(packed: bytes) -> bytes:
    """Return the unpacked bytes, or nothing where they pass the bound."""
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(packed, MOST_TEXT_BYTES)
    except zlib.error:
        return b""
    return b"" if unpacker.unconsumed_tail else plain


# ---------------------------------------------------------------------------------------- JPEG


def _jpeg_segments(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Return marker and payload of each segment before the picture, and where that begins."""
    segments: list[tuple[int, bytes]] = []
    offset = 2
    while True:
        if data[offset] != 0xFF:  # noqa: PLR2004 - every JPEG marker begins with it
            raise MalformedError("a JPEG marker is missing")
        while data[offset + 1] == 0xFF:  # noqa: PLR2004 - fill bytes are allowed before a marker
            offset += 1
        marker = data[offset + 1]
        if marker == _SOS:
            return segments, offset
        (length,) = struct.unpack_from(">H", data, offset + 2)
        end = offset + 2 + length
        if marker == _EOI or length < 2 or end > len(data):  # noqa: PLR2004 - it counts itself
            raise MalformedError("a JPEG segment is cut short")
        segments.append((marker, data[offset + 4 : end]))
        offset = end


def _jpeg_with(data: bytes, texts: Texts) -> Iterator[bytes]:
    segments, picture = _jpeg_segments(data)
    exif, xmp = _first(segments, EXIF_START), _first(segments, _XMP_START)
    ours = [
        (with_comment(exif, texts.parameters), exif),
        (_XMP_START + _xmp_with((xmp or b"").removeprefix(_XMP_START), texts.settings), xmp),
    ]
    others = [(m, p) for m, p in segments if m != _APP1 or p not in {exif, xmp}]
    leading = next((i for i, (m, _) in enumerate(others) if m != _APP0), len(others))
    yield data[:2]
    for marker, payload in others[:leading]:
        yield _jpeg_segment(marker, payload)
    for new, old in ours:
        kept = new if len(new) <= _LONGEST_SEGMENT_BYTES else old
        yield b"" if kept is None else _jpeg_segment(_APP1, kept)
    for marker, payload in others[leading:]:
        yield _jpeg_segment(marker, payload)
    yield data[picture:]


def _jpeg_segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def _first(segments: list[tuple[int, bytes]], start: bytes) -> bytes | None:
    return next((p for m, p in segments if m == _APP1 and p.startswith(start)), None)


# ---------------------------------------------------------------------------------------- WebP


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    (size,) = struct.unpack_from("<I", data, 4)
    offset, end = 12, min(len(data), size + 8)
    while offset + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        if len(body) < length:
            raise MalformedError("a WebP chunk is cut short")
        yield kind, body
        offset += 8 + length + length % 2


def _webp_with(data: bytes, texts: Texts) -> bytes:
    chunks = list(_riff_chunks(data))
    old = dict(chunks)
    header = old.get(b"VP8X") or _vp8x(*chunks[0])
    header = bytes([header[0] | _WEBP_EXIF | _WEBP_XMP]) + header[1:]
    exif = with_comment(old.get(b"EXIF"), texts.parameters).removeprefix(EXIF_START)
    xmp = _xmp_with(old.get(b"XMP ", b""), texts.settings)
    others = [(k, b) for k, b in chunks if k not in {b"VP8X", b"EXIF", b"XMP "}]
    body = b"WEBP" + b"".join(
        struct.pack("<4sI", kind, len(payload)) + payload + b"\x00" * (len(payload) % 2)
        for kind, payload in [(b"VP8X", header), *others, (b"EXIF", exif), (b"XMP ", xmp)]
    )
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def _vp8x(kind: bytes, body: bytes) -> bytes:
    """Return the header that a plain WebP file lacks: flags, then the size less one."""
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", body, 1)
        width, height, flags = bits & 0x3FFF, bits >> 14 & 0x3FFF, bits >> 28 & 1 and _WEBP_ALPHA
    elif kind == b"VP8 ":
        wide, high = struct.unpack_from("<HH", body, 6)
        width, height, flags = (wide & 0x3FFF) - 1, (high & 0x3FFF) - 1, 0
    else:
        raise MalformedError("a WebP file begins with no picture")
    return struct.pack("<IHBHB", flags, width, 0, height, 0)  # 14 bits of 24 suffice for both


# ----------------------------------------------------------------------------------------- XMP


def _xmp_with(old: bytes, settings: str) -> bytes:
    """Return an XMP packet with our settings; one that cannot be added to is left as it is."""
    packet = _XMP_OURS.sub(b"", old) or _XMP_EMPTY
    before, end, after = packet.rpartition(_XMP_END)
    ours = (
        '<rdf:Description rdf:about="" xmlns:imagen="urn:imagen-widget:1"><imagen:settings>'
        f"{html.escape(settings, quote=False)}</imagen:settings></rdf:Description>"
    )
    return before + ours.encode() + end + after if end else packet


def _settings(xmp: bytes) -> str:
    found = _XMP_OURS.search(xmp) if len(xmp) <= MOST_TEXT_BYTES else None
    return html.unescape(found[1].decode("utf-8", "replace")) if found else ""


def _exif_and_xmp(exif: bytes | None, xmp: bytes | None) -> Texts:
    return Texts(comment_of(exif or b""), _settings(xmp or b""))
