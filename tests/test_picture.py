"""Picture bytes decide: what is kept is whole, small enough to decode, and no web page."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from imagen_widget._picture import MOST_PIXELS, PREVIEW_BYTES, encode, inspect, preview
from imagen_widget.errors import QueueError
from tests.test_header import PICTURES, chunk


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return Image.effect_noise((width, height), 90).convert(mode)


def encoded(picture: Image.Image, name: str) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, name)
    return sink.getvalue()


def bomb(width: int, height: int) -> bytes:
    """Return a small PNG that claims to be large; its rows are all there."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    row = bytes(1 + (width + 7) // 8)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def webp_bomb() -> bytes:
    """Return a WebP whose canvas is as large as the format allows."""
    canvas = struct.pack("<I", 0) + (16383).to_bytes(3, "little") * 2
    extended = b"VP8X" + struct.pack("<I", 10) + canvas
    body = b"WEBP" + extended + PICTURES["webp"][12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("name", PICTURES)
def test_a_whole_picture_has_its_facts(name: str) -> None:
    facts = inspect(PICTURES[name])

    assert facts.media_type == f"image/{name.partition(',')[0]}"
    assert (facts.width, facts.height) == (33, 17)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty answer"),
        (b"<!DOCTYPE html><html>", "a page of HTML"),
        (b"  <html><img src=x>", "a page of HTML"),
        (b'<?xml version="1.0"?><svg xmlns="x"/>', "SVG"),
        (b'{"detail": "gone"}', "JSON"),
        (b"GIF89a", "no picture"),
        (b"%PDF-1.7", "no picture"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(data: bytes, words: str) -> None:
    with pytest.raises(QueueError, match=words) as caught:
        inspect(data)

    assert "%imagen_resume" in str(caught.value)


@pytest.mark.parametrize("name", PICTURES)
def test_half_a_picture_is_refused(name: str) -> None:
    data = PICTURES[name]

    with pytest.raises(QueueError):
        inspect(data[: len(data) // 2])


def test_the_missing_end_is_said() -> None:
    with pytest.raises(QueueError, match="cut short"):
        inspect(PICTURES["png"][:-5])


@pytest.mark.parametrize("data", [bomb(12_000, 12_000), webp_bomb()], ids=["png", "webp"])
def test_a_bomb_of_pixels_is_refused_before_it_is_opened(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Image, "open")  # no decoder may see it

    with pytest.raises(QueueError, match="over 64 million"):
        inspect(data)

    assert len(data) < 300_000


def test_a_picture_of_a_whole_header_and_broken_pixels_shows_one_line() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0))
    rotten = chunk(b"IDAT", b"rotten") + chunk(b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + header + rotten

    with pytest.raises(QueueError, match="cannot be read"):
        preview(data)


def test_the_cap_lets_four_k_pass() -> None:
    assert MOST_PIXELS > 4096 * 4096


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_a_preview_is_small_and_keeps_its_shape(name: str) -> None:
    small = preview(encoded(noise(1600, 900), name))

    assert len(small.data) <= PREVIEW_BYTES
    assert small.media_type == "image/webp"
    assert small.width / small.height == pytest.approx(16 / 9, rel=0.02)
    assert inspect(small.data).width == small.width <= 1024


def test_noise_that_does_not_pack_is_made_smaller_until_it_fits() -> None:
    small = preview(encoded(noise(1024, 1024), "PNG"), most_bytes=20_000)

    assert len(small.data) <= 20_000
    assert small.width < 1024


def test_a_preview_keeps_what_is_transparent() -> None:
    small = preview(encoded(Image.new("RGBA", (64, 64), (255, 0, 0, 0)), "PNG"))

    with Image.open(io.BytesIO(small.data)) as picture:
        assert picture.convert("RGBA").getchannel("A").getextrema() == (0, 0)


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_a_picture_is_encoded_anew_at_its_size(media_type: str) -> None:
    facts = inspect(encode(PICTURES["png, alpha"], media_type))

    assert (facts.media_type, facts.width, facts.height) == (media_type, 33, 17)


def test_what_cannot_be_decoded_cannot_be_encoded() -> None:
    with pytest.raises(QueueError, match="cannot be read"):
        encode(b"nothing", "image/png")
