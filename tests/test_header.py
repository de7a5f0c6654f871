"""Type, size and wholeness are read from the bytes, before any decoder sees them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagen_widget._picture._header import (
    BrokenPictureError,
    CutShortError,
    PictureFacts,
    read_facts,
    sniff,
)

WIDTH, HEIGHT = 33, 17


def picture(name: str, mode: str = "RGB", **options: Any) -> bytes:  # noqa: ANN401 - Pillow's
    sink = io.BytesIO()
    noise = bytes((7 * n * n + n // 3) % 256 for n in range(WIDTH * HEIGHT * len(mode)))
    Image.frombytes(mode, (WIDTH, HEIGHT), noise).save(sink, name, **options)
    return sink.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def animated_webp() -> bytes:
    sink = io.BytesIO()
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    frames[0].save(sink, "WEBP", save_all=True, append_images=frames[1:])
    return sink.getvalue()


PICTURES = {
    "png": picture("PNG"),
    "png, alpha": picture("PNG", "RGBA"),
    "png, grey": picture("PNG", "L"),
    "jpeg": picture("JPEG"),
    "jpeg, progressive": picture("JPEG", progressive=True),
    "jpeg, exif": picture("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    "webp": picture("WEBP"),
    "webp, lossless": picture("WEBP", lossless=True),
    "webp, alpha": picture("WEBP", "RGBA"),
    "webp, extended": picture("WEBP", exif=b"Exif\0\0abc"),
    "webp, animated": animated_webp(),
}


def _read(data: bytes) -> PictureFacts:
    kind = sniff(data)
    assert kind is not None
    return read_facts(data, kind)


@pytest.mark.parametrize("name", PICTURES)
def test_each_kind_gives_its_type_and_size(name: str) -> None:
    kind = f"image/{name.partition(',')[0]}"

    assert _read(PICTURES[name]) == PictureFacts(kind, WIDTH, HEIGHT)


@pytest.mark.parametrize("name", PICTURES)
def test_padding_after_the_end_does_no_harm(name: str) -> None:
    assert _read(PICTURES[name] + bytes(100)).width == WIDTH


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_cut_short_anywhere_is_refused(name: str) -> None:
    data = PICTURES[name]

    for length in range(12, len(data) - 2):  # zeros at the end may be padding
        with pytest.raises(BrokenPictureError):
            _read(data[:length])


@pytest.mark.parametrize("name", ["png", "webp", "webp, extended"])
def test_what_follows_the_end_is_no_part_of_a_picture(name: str) -> None:
    with pytest.raises(BrokenPictureError):
        _read(PICTURES[name] + b"<script>alert(1)</script>")


@pytest.mark.parametrize("place", [20, 30, 60, -20])
def test_a_png_with_a_changed_byte_is_refused(place: int) -> None:
    data = bytearray(PICTURES["png"])
    data[place] ^= 0x40

    with pytest.raises(BrokenPictureError):
        _read(bytes(data))


def test_a_png_without_picture_data_is_refused() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 2, 0, 0, 0))

    with pytest.raises(BrokenPictureError):
        _read(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b""))


def test_a_picture_without_any_pixel_is_refused() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0))

    with pytest.raises(BrokenPictureError):
        _read(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def test_the_missing_end_of_a_jpeg_is_called_by_its_name() -> None:
    with pytest.raises(CutShortError):
        _read(PICTURES["jpeg"][:-2])


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"<svg/>", b"RIFF\0\0\0\0WAVE", b"\x89PNG\n"])
def test_anything_else_has_no_type(data: bytes) -> None:
    assert sniff(data) is None


@settings(max_examples=400)
@given(st.sampled_from(sorted(PICTURES)), st.data())
def test_mangled_bytes_are_broken_or_have_a_size(name: str, data: st.DataObject) -> None:
    mangled = bytearray(PICTURES[name])
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(mangled) - 1))
        mangled[place] = data.draw(st.integers(0, 255))
    kind = name.partition(",")[0]

    try:
        facts = read_facts(bytes(mangled), f"image/{kind}")
    except BrokenPictureError:
        return

    assert facts.width > 0
    assert facts.height > 0
