"""A picture's digest, type, pixel size and wholeness, found in its bytes without a decoder.

Nothing here does I/O, and `sniff` and `inspect` never raise. Decoders trust what a header claims
and take memory for it; this does not. Bytes behind a picture's end are no fault: servers append
newlines and trailers. The walks through PNG, JPEG and WebP raise `MalformedError` for what
is not built as its format says, and the errors of `struct` and of an index for what is cut short.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

UNREADABLE = "application/octet-stream"  # kept, but nothing here can say what it is
SVG = "image/svg+xml"
PNG_START = b"\x89PNG\r\n\x1a\n"
EXIF_START = b"Exif\x00\x00"
JPEG_SCAN = 0xDA

_APP1, _APP11 = 0xE1, 0xEB
XMP_START = b"http://ns.adobe.com/xap/1.0/\x00"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those three are tables
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_JPEG_END = 0xD9
_WEBP_IMAGES = frozenset({b"VP8 ", b"VP8L", b"ANMF"})
_BLOCKS = {b"eXIf": "exif", b"EXIF": "exif", b"XMP ": "xmp", b"caBX": "c2pa", b"C2PA": "c2pa"}
_TEXTS = {b"imagen_widget", b"XML:com.adobe.xmp"}
_EXIF_ORDERS = {b"II*\x00": "<", b"MM\x00*": ">"}
_ORIENTATION = 0x0112
_SIDEWAYS = range(5, 9)  # orientations that swap width and height
_MAX_AVIF_HEADER_BYTES = 65_536
_MAX_SVG_HEADER_BYTES = 16_384  # licences stand there
_STARTS = {
    PNG_START: "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"II*\x00": "image/tiff",
    b"MM\x00*": "image/tiff",
}
_BRANDS = {
    "image/avif": {b"avif", b"avis"},
    "image/heic": {b"heic", b"heix", b"hevc", b"mif1", b"msf1"},
}


class MalformedError(ValueError):
    """Bytes are not built as their format says; the text tells how."""


@dataclass(slots=True)
class PictureFacts:
    """What a picture's bytes say of it."""

    media_type: str  # by the first bytes; `UNREADABLE` if they are of no known type
    width: int = 0  # pixels, as it is shown; 0 if unknown
    height: int = 0
    problem: str = ""  # why it cannot be shown, like `a web page`; empty if it can
    turned: bool = False  # whether it is shown otherwise than its pixels lie


def digest_of(data: bytes) -> str:
    """Return `sha256:` and the 64 hex digits by which bytes are known."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def sniff(data: bytes) -> str:
    """Return the media type by the first bytes."""
    for start, media_type in _STARTS.items():
        if data.startswith(start):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        brands = {data[at : at + 4] for at in (8, *range(16, min(data[3], 64), 4))}
        return next((name for name, known in _BRANDS.items() if brands & known), UNREADABLE)
    if data[:2] == b"BM" and data[6:10] == bytes(4):
        return "image/bmp"
    head = data[:_MAX_SVG_HEADER_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith((b"\xff\xfe<\x00", b"\xfe\xff\x00<")):
        head = head.replace(b"\x00", b"")[2:]
    markup = head.startswith(b"<") and not is_page(head)
    return SVG if markup and b"<svg" in head else UNREADABLE


def is_page(data: bytes) -> bool:
    """Return True for a web page."""
    return data[:300].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def inspect(data: bytes, *, checksums: bool = True) -> PictureFacts:
    """Return what the bytes say; `checksums` also finds changed bytes inside a PNG."""
    facts, turn = PictureFacts(sniff(data)), 1
    try:
        match facts.media_type:
            case "image/png":
                _read_png(data, facts, checksums=checksums)
            case "image/jpeg":
                _read_jpeg(data, facts)
            case "image/webp":
                _read_webp(data, facts)
            case "image/gif":
                facts.width, facts.height = struct.unpack_from("<HH", data, 6)
                if data.find(b"\x00;", 13) < 0:  # the last block's length, and the end
                    raise MalformedError("cut short")
            case "image/avif":
                _read_avif(data, facts)
            case "image/bmp":
                facts.width, facts.height = map(abs, struct.unpack_from("<ii", data, 18))
            case "application/octet-stream":
                facts.problem = _guess(data)
            case _:  # no need to know more: it is shown as a line, or decoded in full
                return facts
        if not (facts.problem or (facts.width and facts.height)):
            raise MalformedError("damaged")
        exif = blocks(data).get("exif")
        turn = _orientation(exif) if exif else 1
    except MalformedError as error:
        facts.problem = str(error)
    except (struct.error, IndexError):
        facts.problem = "cut short"
    facts.turned = 1 < turn <= max(_SIDEWAYS)  # others mean nothing, as 0 of some cameras
    if turn in _SIDEWAYS:
        facts.width, facts.height = facts.height, facts.width
    return facts


def _guess(data: bytes) -> str:
    head = data[:300].lstrip()
    if not head:
        return "an empty answer"
    if is_page(data):
        return "a web page"
    return "JSON" if head.startswith((b"{", b"[")) else "of an unknown type"


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's kind, and where its body begins and ends; up to IEND."""
    position, kind = len(PNG_START), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        start, end = position + 8, position + 8 + length
        if end + 4 > len(data):
            raise MalformedError("cut short")
        yield kind, start, end
        position = end + 4


def _read_png(data: bytes, facts: PictureFacts, *, checksums: bool) -> None:
    if data[12:16] != b"IHDR":
        raise MalformedError("damaged")
    facts.width, facts.height = struct.unpack_from(">II", data, 16)
    view, pixels = memoryview(data), False
    for kind, start, end in png_chunks(data):
        pixels |= kind == b"IDAT"
        needed, crc = not kind[0] & 0x20, int.from_bytes(view[end : end + 4])  # by decoders
        if checksums and needed and zlib.crc32(view[start - 4 : end]) != crc:
            raise MalformedError("damaged")
    if not pixels:
        raise MalformedError("damaged")


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each segment's marker, and where it begins and ends; the last is the first scan's."""
    position, marker = 2, 0
    while marker != JPEG_SCAN:
        if data[position] != 0xFF or data[position + 1] == _JPEG_END:
            raise MalformedError("damaged")
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        length = 0 if marker in _JPEG_ALONE else struct.unpack_from(">H", data, position + 2)[0]
        end = position + 2 + length
        if end > len(data):
            raise MalformedError("cut short")
        yield marker, position, end
        position = end


def _read_jpeg(data: bytes, facts: PictureFacts) -> None:
    for marker, start, _ in jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            facts.height, facts.width = struct.unpack_from(">HH", data, start + 5)
    if data.find(b"\xff\xd9", start) < 0:  # inside the pixels 0xFF is followed by 0 or a restart
        raise MalformedError("cut short")


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's kind, and where its body begins and ends."""
    end = struct.unpack_from("<I", data, 4)[0] + 8
    if end > len(data):
        raise MalformedError("cut short")
    position = 12
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        start = position + 8
        if start + length > end:
            raise MalformedError("damaged")
        yield kind, start, start + length
        position = start + length + length % 2


def _read_webp(data: bytes, facts: PictureFacts) -> None:
    match data[12:16]:
        case b"VP8X":
            facts.width = int.from_bytes(data[24:27], "little") + 1
            facts.height = int.from_bytes(data[27:30], "little") + 1
        case b"VP8L" if data[20] == 0x2F:
            (bits,) = struct.unpack_from("<I", data, 21)
            facts.width, facts.height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data, 26)
            facts.width, facts.height = width & 0x3FFF, height & 0x3FFF
        case _:
            raise MalformedError("damaged")
    if not _WEBP_IMAGES & {kind for kind, _, _ in riff_chunks(data)}:
        raise MalformedError("damaged")


def _read_avif(data: bytes, facts: PictureFacts) -> None:
    """Take the largest size of the header: a picture made of tiles tells the tiles' too."""
    head = data[:_MAX_AVIF_HEADER_BYTES].split(b"ispe")[1:]
    sizes = [struct.unpack_from(">II", part, 4) for part in head if len(part) >= 12]
    facts.width, facts.height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    position, pixels = 0, False
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        pixels |= kind == b"mdat"
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
        if length < 8 or not kind.isalnum():  # the last box, or what follows it
            break
        position += length
    if position > len(data) or not pixels:
        raise MalformedError("cut short")


def blocks(data: bytes) -> dict[str, bytes]:
    """Return what a picture holds besides its pixels: `exif`, `xmp`, `c2pa`, of each the first.

    Of a PNG these iTXt chunks by keyword, with what stands between that and the text.
    """
    found: dict[str, bytes] = {}
    match sniff(data):
        case "image/png" | "image/webp" as media_type:
            chunks = png_chunks if media_type == "image/png" else riff_chunks
            for kind, start, end in chunks(data):
                keyword = data[start : start + 80].partition(b"\x00")[0]
                if kind == b"iTXt" and keyword in _TEXTS:
                    found.setdefault(keyword.decode(), data[start + len(keyword) + 1 : end])
                elif kind in _BLOCKS:
                    found.setdefault(_BLOCKS[kind], data[start:end].removeprefix(EXIF_START))
        case "image/jpeg":
            for marker, start, end in jpeg_segments(data):
                body = data[start + 4 : end]
                if marker == _APP1 and body.startswith(EXIF_START):
                    found.setdefault("exif", body.removeprefix(EXIF_START))
                elif marker == _APP1 and body.startswith(XMP_START):
                    found.setdefault("xmp", body.removeprefix(XMP_START))
                elif marker == _APP11 and body.startswith(b"JP") and b"jumb" in body[:32]:
                    found.setdefault("c2pa", body)
    return found


def exif_table(exif: bytes, pointer: bytes) -> tuple[str, dict[int, bytes], bytes]:
    """Return the byte order of an EXIF block as `struct` writes it, and one of its tables.

    A table has the 12 bytes of each entry by its tag, as far as it goes if it is cut short; the
    four bytes of `pointer` say where it is, and the four behind it, the last of what is returned,
    where the next one is: a thumbnail's.
    """
    if exif[:4] not in _EXIF_ORDERS:
        raise MalformedError("damaged")
    order = _EXIF_ORDERS[exif[:4]]
    (at,) = struct.unpack(order + "I", pointer)
    (count,) = struct.unpack_from(order + "H", exif, at)
    end = at + 2 + 12 * count
    places = range(at + 2, min(end, len(exif) - 11), 12)
    tags = (struct.unpack_from(order + "H", exif, place)[0] for place in places)
    table = {tag: exif[place : place + 12] for tag, place in zip(tags, places, strict=True)}
    return order, table, exif[end : end + 4]


def _orientation(exif: bytes) -> int:
    """Return how the picture has to be turned, as its EXIF block says; 1 if not at all."""
    try:
        order, table, _ = exif_table(exif, exif[4:8])
        return int(struct.unpack_from(order + "H", table[_ORIENTATION], 8)[0])
    except (KeyError, struct.error, MalformedError):
        return 1
