"""The settings of a saved picture, in text fields of its file or beside it, and read back.

A picture from somewhere else is untrusted: it gives settings of the right types, or none. Of PNG,
JPEG and WebP only the container is taken apart; whatever else it holds stays. What is malformed has
no text, and nothing is unpacked beyond a bound. Besides the texts each file gets IPTC's mark for
pictures made by a trained model, unless it says itself of what source it is.
"""

import html
import json
import re
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from imagen_widget._picture import header

GENERATOR = "imagen_widget"
MAX_STEM_BYTES = 100  # with a number, a suffix and .json below 120: encrypted folders take 143
MAX_STEM_CHARACTERS = 60

_SHORT_ID = 8
_OF_THE_FILE = {"seed", "num_images", "output_format"}  # said elsewhere, or not of one picture
_MAX_TEXT_BYTES = 2_000_000
_PARAMETERS, _SETTINGS, _PNG_XMP = "parameters", "imagen_widget", "XML:com.adobe.xmp"
_PNG_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}

_APP0, _APP1 = 0xE0, 0xE1
_APP1_STARTS = (header.EXIF_START, header.XMP_START)
_MAX_SEGMENT_BYTES = 0xFFFF - 2

_WEBP_EXIF, _WEBP_XMP, _WEBP_ALPHA = 0x08, 0x04, 0x10

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_EXIF_EMPTY = b"MM\x00*" + bytes(4)
_EXIF_LONG, _EXIF_UNDEFINED = 4, 7  # types of an entry
_UTF16_COMMENT = b"UNICODE\x00"

_MALFORMED = (header.MalformedError, IndexError, struct.error, zlib.error)

_XMP_OURS = (  # around the settings
    '<rdf:Description rdf:about="" xmlns:imagen="urn:imagen-widget:1"><imagen:settings>',
    "</imagen:settings></rdf:Description>",
)
_XMP_SETTINGS = re.compile("([^<]*)".join(_XMP_OURS).encode())
_XMP_END = b"</rdf:RDF>"
_XMP_SOURCE = b"DigitalSourceType"
_XMP_REMOTE_MANIFEST = b"dcterms:provenance"  # the manifest is on a server, the hash is of the file
_XMP_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="w"?>'
).encode()
_MADE_BY_A_MODEL = (
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/'
    'trainedAlgorithmicMedia"/>'
)

R = TypeVar("R", covariant=True)


@dataclass(frozen=True)
class Provenance(Generic[R]):
    """Where a picture came from; a text is "" if unknown, the seed None."""

    request: R
    request_id: str  # the provider's id of the job
    provider: str
    created: datetime  # in local time
    index: int = 0  # its place among the job's pictures
    seed: int | None = None
    id: str = ""  # the journal's id of the job


def embed(
    data: bytes, provenance: Provenance[Any], *, size: str, model_name: str
) -> tuple[bytes, bool]:
    """Return the picture with its settings written into it, and True if they all are.

    PNG gets text chunks, JPEG and WebP get EXIF and XMP, in place of any earlier ones; no pixel
    changes. A file that its maker signed, one of another format, and one that is not understood
    come back as they are. In a JPEG a text that is too long for a segment of 64 KB is left out.
    """
    writers = {"image/png": _png_with, "image/jpeg": _jpeg_with, "image/webp": _webp_with}
    write, settings = writers.get(header.sniff(data)), to_json(provenance)
    try:
        old = header.blocks(data)
        if write is None or "c2pa" in old or _XMP_REMOTE_MANIFEST in _xmp_of(old):
            return data, False
        written = b"".join(write(data, old, _lines(provenance, size, model_name), settings))
    except _MALFORMED:
        return data, False
    return written, _settings_in(written) == settings


def read_settings(data: bytes) -> dict[str, Any] | None:
    """Return the settings that a picture carries; None if it has none of ours."""
    return from_json(_settings_in(data))


def file_stem(provenance: Provenance[Any]) -> str:
    """Return a readable file name without suffix: words of the prompt, the job's id, the place.

    It holds letters, digits and hyphens only and ends in a number, so that no system takes it for
    a path, a hidden file or a device.
    """
    short_id = "".join(c for c in provenance.request_id if c.isascii() and c.isalnum())[:_SHORT_ID]
    tail = "-".join(part for part in (short_id, str(provenance.index + 1)) if part)
    words = _slug(provenance.request.prompt or "", max_bytes=MAX_STEM_BYTES - len(tail) - 1)
    return f"{words or 'image'}-{tail}"


def _slug(text: str, *, max_bytes: int) -> str:
    """Return the first words that fit, in lower case; part of one if that is too long."""
    lowered = unicodedata.normalize("NFC", text[: 10 * MAX_STEM_CHARACTERS].lower())
    # Letters, digits and their marks may stand in a file name.
    kept = (c if unicodedata.category(c)[0] in "LM" or c.isdecimal() else " " for c in lowered)
    slug = ""
    for word in "".join(kept).split():
        longer = f"{slug}-{word}".lstrip("-")
        if len(longer) > MAX_STEM_CHARACTERS or len(longer.encode()) > max_bytes:
            slug = slug or longer
            break
        slug = longer
    return slug[:MAX_STEM_CHARACTERS].encode()[:max_bytes].decode(errors="ignore")


# ------------------------------------------------------------------------------ the settings


def to_json(provenance: Provenance[Any], **more: str) -> str:
    """Return the settings as ASCII JSON, which no text field and no character set can break."""
    request = provenance.request
    return json.dumps(
        {
            "generator": GENERATOR,
            "prompt": request.prompt,
            "model": request.model,
            "parameters": _parameters(request),
            "inputs": [picture.to_dict() for picture in request.inputs],
            "request_id": provenance.request_id,
            "provider": provenance.provider,
            "created": provenance.created.isoformat(),
            "index": provenance.index,
            "seed": provenance.seed,
            "id": provenance.id,
            **more,
        }
    )


def _parameters(request: Any) -> dict[str, Any]:
    """Return what was sent without the prompt, whatever the model calls it."""
    arguments: dict[str, Any] = request.arguments()
    prompts = [name for name, value in arguments.items() if value == request.prompt]
    name = "prompt" if "prompt" in prompts else next(iter(prompts), "")
    return {key: value for key, value in arguments.items() if key != name}


def _lines(provenance: Provenance[Any], size: str, model_name: str) -> str:
    """Return the settings as AUTOMATIC1111 writes them: the prompt, then a line of pairs."""
    request = provenance.request
    seed = provenance.seed if provenance.seed is not None else request.seed
    pairs: dict[str, object] = {} if seed is None else {"Seed": seed}
    pairs |= {"Size": size, "Model": model_name}
    pairs |= {
        name.replace("_", " ").capitalize(): value
        for name, value in _parameters(request).items()
        if name not in _OF_THE_FILE and isinstance(value, str | int | float)
    }
    pairs["Version"] = GENERATOR
    line = ", ".join(f"{name}: {_quoted(str(value))}" for name, value in pairs.items())
    shown = (c for c in request.prompt or "" if c == "\n" or unicodedata.category(c) != "Cc")
    return f"{''.join(shown).strip()}\n{line}"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value


def from_json(text: str, **more: str) -> dict[str, Any] | None:
    """Return what `to_json` wrote with `more` in it; None if that is not so."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    wanted = {"generator": GENERATOR, **more}
    is_ours = isinstance(found, dict) and all(found.get(n) == v for n, v in wanted.items())
    return found if is_ours else None


# ------------------------------------------------------------------------------- their place


def _settings_in(data: bytes) -> str:
    try:
        old = header.blocks(data)
        text = _unpacked(old[_SETTINGS]) if _SETTINGS in old else _xmp_of(old)
    except _MALFORMED:
        return ""
    if len(text) > _MAX_TEXT_BYTES:
        return ""
    if _SETTINGS in old:
        return text.decode("utf-8", "replace")
    found = _XMP_SETTINGS.search(text)
    return html.unescape(found[1].decode("utf-8", "replace")) if found else ""


def _xmp_of(old: dict[str, bytes]) -> bytes:
    return _unpacked(old[_PNG_XMP]) if _PNG_XMP in old else old.get("xmp", b"")


def _unpacked(itxt: bytes) -> bytes:
    """Return the text of a PNG chunk from its flags on, unpacked up to a bound."""
    text = itxt[2:].split(b"\x00", 2)[2]
    if not itxt[0]:
        return text
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(text, _MAX_TEXT_BYTES)
    if unpacker.unconsumed_tail:
        raise header.MalformedError("too long a text")
    return text


def _png_with(data: bytes, old: dict[str, bytes], lines: str, settings: str) -> Iterator[bytes]:
    texts = {_PARAMETERS: lines.encode("utf-8", "replace"), _SETTINGS: settings.encode()}
    texts[_PNG_XMP] = _xmp_with(_xmp_of(old), "")
    ours = tuple(keyword.encode() + b"\x00" for keyword in texts)
    end = len(header.PNG_START)
    yield header.PNG_START
    for kind, start, end in header.png_chunks(data):
        if kind in _PNG_TEXTS and data.startswith(ours, start):
            continue
        yield data[start - 8 : end + 4]
        if kind == b"IHDR":
            for keyword, text in texts.items():  # as it is, in no language
                chunk = b"iTXt" + keyword.encode() + bytes(5) + text
                length, checksum = len(chunk) - 4, zlib.crc32(chunk)
                yield struct.pack(">I", length) + chunk + struct.pack(">I", checksum)
    yield data[end + 4 :]


def _jpeg_with(data: bytes, old: dict[str, bytes], lines: str, settings: str) -> Iterator[bytes]:
    exif, xmp = old.get("exif", b""), old.get("xmp", b"")
    ours = {
        header.EXIF_START: (_exif_with(exif, lines), exif, b""),
        header.XMP_START: (_xmp_with(xmp, settings), _xmp_with(xmp, ""), xmp, b""),
    }
    blocks = []
    for mark, bodies in ours.items():
        body = next(b for b in bodies if len(mark) + len(b) <= _MAX_SEGMENT_BYTES)
        if body:
            length = struct.pack(">H", 2 + len(mark) + len(body))
            blocks.append(bytes([0xFF, _APP1]) + length + mark + body)
    yield data[:2]
    for marker, start, end in header.jpeg_segments(data):
        if marker != _APP0:  # JFIF's own header stays first
            yield from blocks
            blocks = []
        if marker == header.JPEG_SCAN:
            yield data[start:]
        elif not (marker == _APP1 and data.startswith(_APP1_STARTS, start + 4)):
            yield data[start:end]


def _webp_with(data: bytes, old: dict[str, bytes], lines: str, settings: str) -> Iterator[bytes]:
    chunks = [(kind, data[start:end]) for kind, start, end in header.riff_chunks(data)]
    vp8x = dict(chunks).get(b"VP8X") or _vp8x(data)
    vp8x = bytes([vp8x[0] | _WEBP_EXIF | _WEBP_XMP]) + vp8x[1:]
    exif, xmp = _exif_with(old.get("exif", b""), lines), _xmp_with(old.get("xmp", b""), settings)
    others = [(k, b) for k, b in chunks if k not in {b"VP8X", b"EXIF", b"XMP "}]
    body = b"WEBP" + b"".join(
        struct.pack("<4sI", kind, len(payload)) + payload + b"\x00" * (len(payload) % 2)
        for kind, payload in [(b"VP8X", vp8x), *others, (b"EXIF", exif), (b"XMP ", xmp)]
    )
    yield struct.pack("<4sI", b"RIFF", len(body)) + body
    yield data[struct.unpack_from("<I", data, 4)[0] + 8 :]


def _vp8x(data: bytes) -> bytes:
    """Return the header that a plain WebP file lacks: flags, then the size less one."""
    facts, is_lossless = header.inspect(data), data[12:16] == b"VP8L"
    if facts.problem:
        raise header.MalformedError(facts.problem)
    flags = _WEBP_ALPHA if is_lossless and data[24] & 0x10 else 0
    # 14 bits of 24 suffice for both.
    return struct.pack("<IHBHB", flags, facts.width - 1, 0, facts.height - 1, 0)


def _xmp_with(old: bytes, settings: str) -> bytes:
    """Return an XMP packet with our settings; one that cannot be added to is left as it is."""
    packet = _XMP_SETTINGS.sub(b"", old) or _XMP_EMPTY
    before, end, after = packet.rpartition(_XMP_END)
    ours = "" if _XMP_SOURCE in packet else _MADE_BY_A_MODEL
    if settings:
        ours += html.escape(settings, quote=False).join(_XMP_OURS)
    return before + ours.encode() + end + after if end else packet


def _exif_with(old: bytes, text: str) -> bytes:
    """Return an EXIF block with the text as its comment; one that is broken is replaced.

    All that was there stays in its place, so that what points to it is right: the two tables are
    written once more behind it. Nothing else is read, since each entry may claim the whole block.
    """
    # Readers take UTF-16 with the higher byte first, whatever the byte order around it.
    comment = _UTF16_COMMENT + text.encode("utf-16-be", "replace")
    inner: dict[int, bytes] = {}
    try:
        order, main, thumbnail = header.exif_table(old, old[4:8])
    except (header.MalformedError, struct.error):
        old, order, main, thumbnail = _EXIF_EMPTY, ">", {}, b""
    with suppress(KeyError, header.MalformedError, struct.error):  # it is missing, or broken
        inner = header.exif_table(old, main[_EXIF_IFD][8:])[1]
    old += bytes(len(old) % 2)
    entry = struct.Struct(order + "HHII")
    inner[_USER_COMMENT] = entry.pack(_USER_COMMENT, _EXIF_UNDEFINED, len(comment), len(old))
    old += comment
    main[_EXIF_IFD] = entry.pack(_EXIF_IFD, _EXIF_LONG, 1, len(old))
    tables = [
        struct.pack(order + "H", len(table))
        + b"".join(table[tag] for tag in sorted(table))
        + following
        for table, following in ((inner, bytes(4)), (main, thumbnail.ljust(4, b"\0")))
    ]
    first = struct.pack(order + "I", len(old) + len(tables[0]))
    return old[:4] + first + old[8:] + b"".join(tables)
