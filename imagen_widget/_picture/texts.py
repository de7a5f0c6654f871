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
_PARAMETERS, _SETTINGS = b"parameters", b"imagen_widget"
_PNG_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_PNG_XMP, _PNG_MANIFEST = b"XML:com.adobe.xmp", b"caBX"

_APP0, _APP1, _APP11 = 0xE0, 0xE1, 0xEB
_XMP_START = b"http://ns.adobe.com/xap/1.0/\x00"
_APP1_STARTS = (header.EXIF_START, _XMP_START)
_MAX_SEGMENT_BYTES = 0xFFFF - 2

_WEBP_EXIF, _WEBP_XMP, _WEBP_ALPHA = 0x08, 0x04, 0x10

_EXIF_IFD, _USER_COMMENT, _INTEROPERABILITY = 0x8769, 0x9286, 0xA005
_UTF16_COMMENT = b"UNICODE\x00"

_XMP_OURS = re.compile(
    rb'<rdf:Description rdf:about="" xmlns:imagen="urn:imagen-widget:1">'
    rb"<imagen:settings>([^<]*)</imagen:settings></rdf:Description>"
)
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
        if write is None or is_signed(data):
            return data, False
        written = b"".join(write(data, _lines(provenance, size, model_name), settings))
    except (header.MalformedError, IndexError, struct.error):
        return data, False
    return written, _settings_in(written) == settings


def read_settings(data: bytes) -> dict[str, Any] | None:
    """Return the settings that a picture carries; None if it has none of ours."""
    return from_json(_settings_in(data))


def is_signed(data: bytes) -> bool:
    """Return True if the file carries a C2PA manifest, which a change of any byte would break."""
    match header.sniff(data):
        case "image/png":
            manifest = any(kind == _PNG_MANIFEST for kind, _, _ in header.png_chunks(data))
        case "image/jpeg":
            boxes = [
                data[a + 4 : b] for marker, a, b in header.jpeg_segments(data) if marker == _APP11
            ]
            manifest = any(box.startswith(b"JP") and b"jumb" in box[:32] for box in boxes)
        case "image/webp":
            manifest = any(kind == b"C2PA" for kind, _, _ in header.riff_chunks(data))
        case _:
            return False
    return manifest or _XMP_REMOTE_MANIFEST in _exif_and_xmp(data)[1]


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
        if header.sniff(data) == "image/png":
            return _png_note(data, _SETTINGS)
        _, xmp = _exif_and_xmp(data)
    except (header.MalformedError, IndexError, struct.error):
        return ""
    found = _XMP_OURS.search(xmp) if len(xmp) <= _MAX_TEXT_BYTES else None
    return html.unescape(found[1].decode("utf-8", "replace")) if found else ""


def _exif_and_xmp(data: bytes) -> tuple[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    match header.sniff(data):
        case "image/png":
            return b"", _png_note(data, _PNG_XMP).encode()
        case "image/jpeg":
            for marker, at, end in header.jpeg_segments(data):
                start = next((s for s in _APP1_STARTS if data.startswith(s, at + 4)), b"")
                if marker == _APP1 and start:
                    found.setdefault(start, data[at + 4 : end])
            xmp = found.get(_XMP_START, b"").removeprefix(_XMP_START)
            return found.get(header.EXIF_START, b""), xmp
        case "image/webp":
            found = {kind: data[start:end] for kind, start, end in header.riff_chunks(data)}
    return found.get(b"EXIF", b""), found.get(b"XMP ", b"")


def _png_with(data: bytes, lines: str, settings: str) -> Iterator[bytes]:
    ours = {_PARAMETERS, _SETTINGS, _PNG_XMP}
    xmp = _xmp_with(_exif_and_xmp(data)[1], "").decode("utf-8", "replace")
    end = len(header.PNG_START)
    yield header.PNG_START
    for kind, start, end in header.png_chunks(data):
        if kind in _PNG_TEXTS and _keyword(data, start) in ours:
            continue
        yield data[start - 8 : end + 4]
        if kind == b"IHDR":
            yield _itxt(_PARAMETERS, lines)
            yield _itxt(_SETTINGS, settings)
            yield _itxt(_PNG_XMP, xmp)
    yield data[end + 4 :]


def _itxt(keyword: bytes, text: str) -> bytes:
    plain_and_no_language = b"\x00\x00\x00\x00\x00"
    body = keyword + plain_and_no_language + text.encode("utf-8", "replace")
    checksum = zlib.crc32(body, zlib.crc32(b"iTXt"))
    return struct.pack(">I4s", len(body), b"iTXt") + body + struct.pack(">I", checksum)


def _png_note(data: bytes, keyword: bytes) -> str:
    for kind, start, end in header.png_chunks(data):
        fits = keyword == _PNG_XMP or end - start <= _MAX_TEXT_BYTES
        if fits and kind == b"iTXt" and _keyword(data, start) == keyword:
            _, _, rest = data[start:end].partition(b"\x00")
            text = rest[2:].split(b"\x00", 2)[2]
            return (_unpacked(text) if rest[0] else text).decode("utf-8", "replace")
    return ""


def _keyword(data: bytes, start: int) -> bytes:
    return data[start : start + 80].partition(b"\x00")[0]


def _unpacked(packed: bytes) -> bytes:
    """Return the unpacked bytes; nothing if they pass the bound."""
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(packed, _MAX_TEXT_BYTES)
    except zlib.error:
        return b""
    return b"" if unpacker.unconsumed_tail else plain


def _jpeg_with(data: bytes, lines: str, settings: str) -> Iterator[bytes]:
    exif, xmp = _exif_and_xmp(data)
    ours = [
        [_with_comment(exif, lines), exif],
        [_XMP_START + _xmp_with(xmp, text) for text in (settings, "")] + [_XMP_START + xmp],
    ]
    kept = [next(p for p in [*new, b""] if len(p) <= _MAX_SEGMENT_BYTES) for new in ours]
    blocks = [struct.pack(">BBH", 0xFF, _APP1, len(p) + 2) + p for p in kept if p]
    yield data[:2]
    for marker, start, end in header.jpeg_segments(data):
        if marker != _APP0:  # JFIF's own header stays first
            yield from blocks
            blocks = []
        if marker == header.JPEG_SCAN:
            yield data[start:]
        elif not (marker == _APP1 and data.startswith(_APP1_STARTS, start + 4)):
            yield data[start:end]


def _webp_with(data: bytes, lines: str, settings: str) -> Iterator[bytes]:
    chunks = [(kind, data[start:end]) for kind, start, end in header.riff_chunks(data)]
    old = dict(chunks)
    vp8x = old.get(b"VP8X") or _vp8x(data)
    vp8x = bytes([vp8x[0] | _WEBP_EXIF | _WEBP_XMP]) + vp8x[1:]
    exif = _with_comment(old.get(b"EXIF", b""), lines).removeprefix(header.EXIF_START)
    xmp = _xmp_with(old.get(b"XMP ", b""), settings)
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
    packet = _XMP_OURS.sub(b"", old) or _XMP_EMPTY
    before, end, after = packet.rpartition(_XMP_END)
    ours = "" if _XMP_SOURCE in packet else _MADE_BY_A_MODEL
    if settings:
        ours += (
            '<rdf:Description rdf:about="" xmlns:imagen="urn:imagen-widget:1"><imagen:settings>'
            f"{html.escape(settings, quote=False)}</imagen:settings></rdf:Description>"
        )
    return before + ours.encode() + end + after if end else packet


def _with_comment(old: bytes, text: str) -> bytes:
    """Return an EXIF block with the text as its comment; of a broken one nothing else stays."""
    # Readers take UTF-16 with the higher byte first, whatever the byte order around it.
    comment = _UTF16_COMMENT + text.encode("utf-16-be", "replace")
    if len(old) <= _MAX_SEGMENT_BYTES:  # its entries may each claim all of it
        with suppress(Exception):  # Pillow raises all sorts of errors on hostile bytes
            return _exif_of(old, comment)
    return _exif_of(b"", comment)


def _exif_of(old: bytes, comment: bytes) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif.load(old)
    inner = dict(exif.get_ifd(_EXIF_IFD))
    inner.pop(_INTEROPERABILITY, None)  # a pointer into the old block
    exif[_EXIF_IFD] = {**inner, _USER_COMMENT: comment}
    return exif.tobytes()
