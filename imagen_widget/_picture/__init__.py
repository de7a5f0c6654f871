"""What picture bytes are, and copies of them: previews, contact sheets, other formats.

Nothing here does I/O. The bytes decide, never a header or a file name that a server sent. Copies
are right to look at: upright, eight bits deep, in sRGB or with their own colour profile. What
cannot be decoded is a QueueError.
"""

import base64
import importlib.util
import io
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_to_bytes

from imagen_widget._picture import header
from imagen_widget._picture.header import SVG, UNREADABLE, PictureFacts, digest_of, inspect, sniff
from imagen_widget._picture.texts import (
    Provenance,
    embed,
    file_stem,
    from_json,
    read_settings,
    to_json,
)
from imagen_widget.errors import ImagenError, QueueError, invalid

if TYPE_CHECKING:  # Pillow takes 50 ms to import
    from PIL.Image import Image as PILImage

__all__ = ["SVG", "UNREADABLE", "PictureFacts", "Provenance"]  # of the imported
__all__ += ["digest_of", "embed", "file_stem", "from_json", "header", "inspect"]
__all__ += ["read_settings", "sniff", "to_json"]

MAX_PIXELS = 89_000_000  # to decode: 350 MB as RGBA; Pillow itself warns from 89.4 million on
PREVIEW_BYTES = 70_000  # with the sheet's share below 150 kB a picture in the notebook, as base64
PREVIEW_SIDE_PIXELS = 1024
SHEET_BYTES = 38_000  # for each picture on it
SHEET_SIDE_PIXELS = 1400
SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/avif": ".avif",
    SVG: ".svg",
    "image/bmp": ".bmp",
    "image/tiff": ".tif",
    "image/heic": ".heic",
    UNREADABLE: ".bin",
}

_NEEDED = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"sRGB", b"eXIf"}  # of a PNG
_MAX_SIDE_PIXELS = {"image/webp": 16_383, "image/jpeg": 65_500}
_LARGE_PIXELS = 16_000_000
_COPY_QUALITY = 92
_one_large_at_a_time = threading.Lock()  # so that memory stays bounded, whatever the threads
_NOT_BASE64 = re.compile(rb"(\\[rnt]|[^A-Za-z0-9+/])+")  # line ends may be escaped twice
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_DATA_ADDRESS = re.compile(r"\s*data:[^,]{0,200},", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Preview:
    """A small encoded copy: its bytes, media type, and width and height in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int


def preview(
    data: bytes, *, side: int = PREVIEW_SIDE_PIXELS, max_bytes: int = PREVIEW_BYTES
) -> Preview:
    """Return a WebP copy with its longer side at most `side` pixels and at most `max_bytes`."""
    with readable():
        small = for_screen(resized(open_picture(data, side=side), side))
        encoded, small = fit(small, max_bytes, "image/webp")
    return Preview(encoded, "image/webp", *small.size)


def contact_sheet(copies: Iterable[Preview | None]) -> dict[str, str]:
    """Return as data of an output one JPEG with all pictures, white where they are transparent.

    LaTeX and Word are made from the one JPEG or PNG of an output, so this has each picture.
    """
    from PIL import Image

    pictures = [small for small in copies if small is not None]
    if not pictures:
        return {}
    columns = min(len(pictures), 2 if len(pictures) <= 4 else 3 if len(pictures) <= 9 else 4)
    rows = -(-len(pictures) // columns)
    gap = 12 if len(pictures) > 1 else 0
    width = min(SHEET_SIDE_PIXELS // columns, max(p.width for p in pictures))
    height = min(SHEET_SIDE_PIXELS // columns, max(p.height for p in pictures))
    size = (columns * (width + gap) - gap, rows * (height + gap) - gap)
    sheet = Image.new("RGB", size, "white")
    for place, small in enumerate(pictures):
        with Image.open(io.BytesIO(small.data), formats=("WEBP", "JPEG", "PNG")) as picture:
            tile = on_white(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
        tile.thumbnail((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
        row, column = divmod(place, columns)
        left = column * (width + gap) + (width - tile.width) // 2
        sheet.paste(tile, (left, row * (height + gap) + (height - tile.height) // 2))
    jpeg = fit(sheet, SHEET_BYTES * len(pictures), "image/jpeg")[0]
    return {"image/jpeg": base64.b64encode(jpeg).decode()}


def encode(data: bytes, media_type: str) -> bytes:
    """Return the picture in another format, at its full size, with its colour profile."""
    with readable():
        picture = open_picture(data)
        most = _MAX_SIDE_PIXELS.get(media_type, max(picture.size))
        if max(picture.size) > most:
            what = f"a file of type {media_type} holds at most {most} pixels a side"
            raise invalid("path", what, "Save it as .png.")
        profile = picture.info.get("icc_profile")
        if picture.mode in {"CMYK", "LAB", "YCbCr"}:
            picture, profile = for_screen(picture), None
        elif media_type != "image/png" or not picture.mode.startswith("I;16"):  # which PNG holds
            picture = _eight_bits(picture)
        if media_type == "image/jpeg":
            picture = on_white(picture)
        return saved(picture, media_type, _COPY_QUALITY, icc_profile=profile)


def open_picture(data: bytes, *, side: int | None = None) -> "PILImage":
    """Return the decoded picture, upright; with `side` perhaps smaller, but not below that."""
    facts = inspect(data, checksums=False)
    if facts.media_type in {SVG, UNREADABLE}:
        raise _unreadable(facts.problem or "an SVG drawing")
    pixels = facts.width * facts.height
    if pixels > MAX_PIXELS:
        raise _too_large(facts.width, facts.height)
    name = facts.media_type.removeprefix("image/").upper()
    with readable(), _one_large_at_a_time if pixels > _LARGE_PIXELS else nullcontext():
        try:
            return upright(_opened(data, name, side))
        except (ValueError, OSError):  # Pillow refuses a megabyte of text, or a flaw in it
            if name != "PNG":
                raise
            chunks = (data[a - 8 : b + 4] for k, a, b in header.png_chunks(data) if k in _NEEDED)
            return upright(_opened(b"".join((header.PNG_START, *chunks)), name, side))


def upright(picture: "PILImage") -> "PILImage":
    """Return the picture turned as its EXIF block says; a broken block says nothing."""
    from PIL import ImageOps

    try:
        turned = picture.getexif().get(0x0112, 1) != 1
        return ImageOps.exif_transpose(picture) if turned else picture
    except Exception:  # noqa: BLE001 - hostile bytes
        return picture


def for_screen(picture: "PILImage") -> "PILImage":
    """Return the picture as RGB or RGBA with eight bits a channel, in sRGB."""
    from PIL import ImageCms

    profile = picture.info.get("icc_profile")
    plain = _eight_bits(picture)
    mode = "RGBA" if plain.has_transparency_data else "RGB"
    if profile and plain.mode in {"RGB", "RGBA", "CMYK"} and b"sRGB" not in profile[:1000]:
        with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):  # one of no use
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            plain = ImageCms.profileToProfile(plain, source, target, outputMode=mode) or plain
    plain = plain if plain.mode == mode else plain.convert(mode)
    plain.info.pop("icc_profile", None)
    return plain


def on_white(picture: "PILImage") -> "PILImage":
    """Return the picture without transparency, on white."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture if picture.mode in {"RGB", "L", "CMYK"} else picture.convert("RGB")
    layer = picture.convert("RGBA")
    flat = Image.new("RGB", layer.size, "white")
    flat.paste(layer, mask=layer.getchannel("A"))
    return flat


def resized(picture: "PILImage", side: int) -> "PILImage":
    """Return the picture with its longer side at most `side` pixels."""
    from PIL import Image

    scale = side / max(picture.size)
    if scale >= 1:
        return picture
    plain = picture if picture.mode == "CMYK" else _eight_bits(picture)
    size = (max(1, round(plain.width * scale)), max(1, round(plain.height * scale)))
    # A gap of 1: whole factors are averaged first, ten times as fast as Lanczos over all of it.
    return plain.resize(size, Image.Resampling.LANCZOS, reducing_gap=1.0)


def fit(
    picture: "PILImage", max_bytes: int, media_type: str, *, qualities: Sequence[int] = (80, 60)
) -> tuple[bytes, "PILImage"]:
    """Return the encoded picture and what was encoded.

    If the first quality takes too many bytes, the picture goes down to the last one, and becomes as
    much smaller as it must.
    """
    quality, last = qualities[0], qualities[-1]
    data = saved(picture, media_type, quality)
    while len(data) > max_bytes and max(picture.size) > 16:
        share = max_bytes / len(data)
        if quality != last:
            quality, share = last, share / 0.75  # what the lower quality saves
        if share < 1:
            picture = resized(picture, int(max(picture.size) * 0.97 * max(share, 0.15) ** 0.5))
        data = saved(picture, media_type, quality)
    return data, picture


def saved(
    picture: "PILImage", media_type: str, quality: int = 0, *, icc_profile: bytes | None = None
) -> bytes:
    sink = io.BytesIO()
    picture.info.pop("icc_profile", None)  # PNG would take it from there
    options: dict[str, Any] = {"icc_profile": icc_profile} if icc_profile else {}
    options |= {"quality": quality, "compress_level": 4, "method": 2}  # each format takes its own
    picture.save(sink, media_type.removeprefix("image/"), **options)
    return sink.getvalue()


def _opened(data: bytes, name: str, side: int | None) -> "PILImage":
    from PIL import Image

    if name == "HEIC":
        name = "HEIF"
        if importlib.util.find_spec("pillow_heif") is None:
            raise _unreadable("HEIC, which needs the package pillow-heif")
        importlib.import_module("pillow_heif").register_heif_opener()
    picture: PILImage = Image.open(io.BytesIO(data), formats=(name,))
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_large(*picture.size)
    if side is not None and max(picture.size) > side:
        scale = side / max(picture.size)  # JPEG decodes straight to a smaller size
        picture.draft(None, (int(picture.width * scale), int(picture.height * scale)))
    picture.load()
    return picture


def _eight_bits(picture: "PILImage") -> "PILImage":
    """Return the picture with eight bits a channel and no palette, so that it can be scaled."""
    if picture.mode in {"P", "PA", "1", "LA", "La", "RGBa"}:
        return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    if not picture.mode.startswith(("I", "F")):
        return picture
    deep = picture.convert("F")
    low, high = cast("tuple[float, float]", deep.getextrema())
    if picture.mode.startswith("I;16") or (picture.mode == "I" and low >= 0 and high <= 0xFFFF):
        low, high = 0.0, float(0xFFFF)  # all of sixteen bits, as PNG says
    scale = 255 / (high - low) if high > low else 0.0
    return deep.point(lambda value: value * scale + (0.5 - low * scale)).convert("L")


@contextmanager
def readable() -> Iterator[None]:
    """Tell in one line what decoders and encoders raise, in many ways on hostile bytes."""
    try:
        yield
    except ImagenError:
        raise
    except Exception as error:  # noqa: BLE001 - as said above
        raise _unreadable(type(error).__name__) from None


def _unreadable(trouble: str) -> QueueError:
    return QueueError(
        f"The picture cannot be read ({trouble}).",
        remedy="Its bytes are kept as they came; another program may read them.",
    )


def _too_large(width: int, height: int) -> QueueError:
    return QueueError(
        f"The picture claims {width} x {height} pixels, over {MAX_PIXELS // 10**6} million.",
        remedy="It was not opened; its bytes are kept as they came.",
    )


def from_data_address(text: str, *, flaws: bool = False) -> bytes | None:
    """Return the bytes of a `data:` address; None if it is not one, or holds none.

    Line ends, missing padding and the url-safe alphabet are read as they are meant. With `flaws`
    what is not base64 is passed over: rather a flaw in a picture that is paid for than no picture.
    """
    head = _DATA_ADDRESS.match(text)
    if head is None:
        return None
    try:
        data = unquote_to_bytes(text[head.end() :])
    except UnicodeError:
        return None
    if "base64" in head[0].lower():
        packed = data.rpartition(b",")[2].translate(_URL_SAFE, b" \t\r\n\v\f").rstrip(b"=")
        clean = _NOT_BASE64.sub(b"", packed)
        clean = clean[: len(clean) - (len(clean) % 4 == 1)]
        sound = flaws or clean == packed
        data = base64.b64decode(clean + b"=" * (-len(clean) % 4)) if sound else b""
    return data or None
