"""Small pictures that differ by name, and large ones for measuring."""

from __future__ import annotations

import io
import random
import struct
import zlib
from functools import lru_cache


@lru_cache(maxsize=4096)
def picture(name: str, width: int = 8, height: int = 6) -> bytes:
    """Return a small picture of one colour, another for each name; the name's end says its format.

    Names that end in .jpeg and .webp give these, any other a PNG.
    """
    red, green, blue = zlib.crc32(name.encode()).to_bytes(4, "big")[1:]
    if name.endswith((".jpeg", ".webp")):
        from PIL import Image

        sink = io.BytesIO()
        image = Image.new("RGB", (width, height), (red, green, blue))
        image.save(sink, name.rpartition(".")[2].upper())
        return sink.getvalue()
    rows = (b"\x00" + bytes((red, green, blue)) * width) * height
    return _png(width, height, colours=2, data=zlib.compress(rows))


def large_png(name: str, size: int) -> bytes:
    """Return a grey PNG of about so many bytes that looks like noise, another for each name."""
    whole = _noise(size)
    return whole[:-12] + _chunk(b"tEXt", b"Job\x00" + name.encode()) + whole[-12:]


@lru_cache(maxsize=4)
def _noise(size: int) -> bytes:
    width, chance = 1024, random.Random(size)
    height = max(size // (width + 1), 1)
    rows = b"".join(b"\x00" + chance.randbytes(width) for _ in range(height))
    return _png(width, height, colours=0, data=zlib.compress(rows, 0))


def _png(width: int, height: int, *, colours: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    chunks = _chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
