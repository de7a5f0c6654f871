"""Pictures for tests: each format small, large ones on demand, and bytes that lie."""

import io
import struct
import zlib
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 33, 17
PNG_START = b"\x89PNG\r\n\x1a\n"


def encoded(picture: Image.Image, name: str = "PNG", **options: Any) -> bytes:
    """Return a Pillow image as a file; `options` are Pillow's."""
    sink = io.BytesIO()
    picture.save(sink, name, **options)
    return sink.getvalue()


def opened(data: bytes) -> Image.Image:
    """Return the decoded picture."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def small(name: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    """Return a picture of 33 x 17 pixels whose pixels are all different."""
    noise = bytes((7 * n * n + n // 3) % 256 for n in range(WIDTH * HEIGHT * len(mode)))
    return encoded(Image.frombytes(mode, (WIDTH, HEIGHT), noise), name, **options)


def photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Return a picture that compresses like a photograph: soft, with some grain."""
    bands = []
    for turn in range(3):
        soft = Image.linear_gradient("L").rotate(90 * turn).resize((width, height))
        grain = Image.effect_noise((width // 2 or 1, height // 2 or 1), 40).resize((width, height))
        bands.append(Image.blend(soft, grain, 0.2))
    return Image.merge("RGB", bands).convert(mode)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Return a picture that does not compress."""
    return Image.effect_noise((width, height), 90).convert(mode)


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_with(*chunks: tuple[bytes, bytes], data: bytes = b"") -> bytes:
    """Return a PNG with these chunks after its header."""
    data = data or small()
    return data[:33] + b"".join(chunk(*each) for each in chunks) + data[33:]


def bomb(width: int, height: int) -> bytes:
    """Return a small PNG that claims to be large; its rows are all there."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    row = bytes(1 + (width + 7) // 8)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return PNG_START + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def webp_bomb() -> bytes:
    """Return a WebP whose canvas is as large as the format allows."""
    canvas = struct.pack("<I", 0) + (16383).to_bytes(3, "little") * 2
    extended = b"VP8X" + struct.pack("<I", 10) + canvas
    body = b"WEBP" + extended + PICTURES["webp"][12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def animated(name: str) -> bytes:
    """Return a picture of two frames."""
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    return encoded(frames[0], name, save_all=True, append_images=frames[1:])


PICTURES = {
    "png": small(),
    "png, alpha": small("PNG", "RGBA"),
    "png, grey": small("PNG", "L"),
    "jpeg": small("JPEG"),
    "jpeg, progressive": small("JPEG", progressive=True),
    "jpeg, exif": small("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    "webp": small("WEBP"),
    "webp, lossless": small("WEBP", lossless=True),
    "webp, alpha": small("WEBP", "RGBA"),
    "webp, extended": small("WEBP", exif=b"Exif\0\0abc"),
    "webp, animated": animated("WEBP"),
    "gif": small("GIF", "L"),
    "gif, animated": animated("GIF"),
    "avif": small("AVIF"),
    "bmp": small("BMP"),
}
SVG = b'<?xml version="1.0"?><!-- made --><svg xmlns="http://www.w3.org/2000/svg" width="9"/>'
