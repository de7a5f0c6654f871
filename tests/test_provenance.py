"""Settings written into a picture come back, its pixels do not change, and lies do no harm."""

from __future__ import annotations

import io
import json
import re
import struct
import tracemalloc
import unicodedata
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin

from imagen_widget._provenance import (
    LONGEST_STEM,
    NEVER,
    Provenance,
    _metadata,
    embed,
    file_stem,
    read,
)
from imagen_widget._provenance._exif import EXIF_START
from imagen_widget._provenance._metadata import Texts
from imagen_widget._request import ImageRequest

FOX = Provenance(
    request=ImageRequest.create(
        "a red fox,\nsoft light <lora:x> & 'snow' — 狐 🦊", aspect_ratio="16:9", num_images=2
    ),
    request_id="764cabcf-b745-4b3e-ae38-1200304cf45b",
    provider="fal",
    created=datetime(2026, 11, 23, 12, 30, tzinfo=UTC),
    index=1,
    seed=42,
)
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "png": ("PNG", "image/png", {}),
    "jpeg": ("JPEG", "image/jpeg", {}),
    "webp": ("WEBP", "image/webp", {}),
    "webp-lossless": ("WEBP", "image/webp", {"lossless": True}),
    "webp-odd": ("WEBP", "image/webp", {"quality": 1}),
}


def encoded(
    kind: str,
    *,
    mode: str = "RGB",
    size: tuple[int, int] = (40, 30),
    **more: Any,  # noqa: ANN401 - options of Pillow
) -> bytes:
    name, _, options = KINDS[kind]
    picture = Image.linear_gradient("L").resize(size).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.radial_gradient("L").resize(size))
    sink = io.BytesIO()
    picture.save(sink, name, **{**options, **more})
    return sink.getvalue()


def pixels(data: bytes) -> tuple[str, tuple[int, int], bytes]:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.mode, picture.size, picture.tobytes()


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


# ----------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("kind", KINDS)
def test_settings_come_back_and_no_pixel_changes(kind: str, mode: str) -> None:
    data = encoded(kind, mode="RGB" if kind == "jpeg" else mode)

    marked = embed(data, KINDS[kind][1], FOX)

    assert marked != data
    assert read(marked) == FOX
    assert pixels(marked) == pixels(data)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (257, 16), (1408, 768)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_size_written_is_the_picture_s(kind: str, size: tuple[int, int]) -> None:
    """A WebP file without a header of its own is given one, which states the size once more."""
    marked = embed(encoded(kind, size=size), KINDS[kind][1], FOX)

    assert opened(marked).size == size
    assert f"Size: {size[0]}x{size[1]}," in _metadata.read(marked).parameters


@pytest.mark.parametrize("kind", KINDS)
def test_marking_twice_keeps_only_the_newest_settings(kind: str) -> None:
    media_type = KINDS[kind][1]
    other = replace(FOX, request=ImageRequest.create("a blue hen"), seed=None)

    marked = embed(embed(encoded(kind), media_type, FOX), media_type, other)

    assert read(marked) == other
    assert marked.count(b"urn:imagen-widget") + marked.count(b"imagen_widget\x00") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_without_settings_has_none(kind: str) -> None:
    assert read(encoded(kind)) is None


@settings(deadline=None)  # shared machines pause
@given(
    prompt=st.text(min_size=1).filter(str.strip),
    seed=st.none() | st.integers(0, 2**80),
    kind=st.sampled_from(sorted(KINDS)),
)
def test_any_prompt_comes_back_exactly(prompt: str, seed: int | None, kind: str) -> None:
    origin = replace(FOX, request=ImageRequest.create(prompt), seed=seed)

    assert read(embed(encoded(kind, size=(4, 4)), KINDS[kind][1], origin)) == origin


def test_fields_of_a_model_outside_the_catalogue_come_back() -> None:
    request = ImageRequest.create("x", model="acme/painter", style={"name": "oil", "size": [1, 2]})

    marked = embed(encoded("png"), "image/png", replace(FOX, request=request))

    found = read(marked)
    assert found is not None
    assert found.request == request


# ------------------------------------------------------------------------- what other readers see

LINES = (
    "a red fox,\nsoft light <lora:x> & 'snow' — 狐 🦊\n"
    'Seed: 42, Size: 40x30, Model: imagen4, Aspect ratio: "16:9", Version: imagen_widget'
)


def test_pillow_reads_the_lines_from_a_png() -> None:
    picture = opened(embed(encoded("png"), "image/png", FOX))

    assert isinstance(picture, PngImagePlugin.PngImageFile)
    assert picture.text["parameters"] == LINES
    assert json.loads(picture.text["imagen_widget"])["request_id"] == FOX.request_id
    assert picture.info["parameters"] == LINES


@pytest.mark.parametrize("kind", ["jpeg", "webp", "webp-lossless"])
def test_pillow_reads_exif_and_xmp_from_jpeg_and_webp(kind: str) -> None:
    picture = opened(embed(encoded(kind), KINDS[kind][1], FOX))

    comment = picture.getexif().get_ifd(0x8769)[0x9286]
    assert comment == b"UNICODE\x00" + LINES.encode("utf-16-be")
    assert b"<imagen:settings>{" in picture.info["xmp"]


def test_the_last_line_has_enough_pairs_for_readers_that_count_them() -> None:
    """AUTOMATIC1111 takes a line for settings only where it finds three pairs."""
    bare = replace(FOX, request=ImageRequest.create("x"), seed=None)

    marked = embed(encoded("png"), "image/png", bare)

    last = _metadata.read(marked).parameters.split("\n")[-1]
    assert len(re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)) >= 3


def test_a_seed_that_was_asked_for_is_written_when_the_provider_told_none() -> None:
    asked = replace(FOX, request=ImageRequest.create("x", seed=7), seed=None)

    assert "\nSeed: 7, " in _metadata.read(embed(encoded("png"), "image/png", asked)).parameters


def test_control_characters_of_a_prompt_stay_out_of_the_lines() -> None:
    odd = replace(FOX, request=ImageRequest.create("a\x00b\x1b[31mc\td"))

    marked = embed(encoded("png"), "image/png", odd)

    assert _metadata.read(marked).parameters.startswith("ab[31mcd\n")
    assert read(marked) == odd


# ---------------------------------------------------------------------------- what was there stays


def test_other_text_of_a_png_stays() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "somebody")
    info.add_itxt("parameters", "an older prompt")

    marked = embed(encoded("png", pnginfo=info), "image/png", FOX)

    picture = opened(marked)
    assert isinstance(picture, PngImagePlugin.PngImageFile)
    assert picture.text["Author"] == "somebody"
    assert picture.text["parameters"] == LINES


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_other_exif_fields_stay(kind: str, endian: str) -> None:
    exif = Image.Exif()
    exif.endian = endian
    exif[0x0112] = 6  # turned by a quarter
    exif[0x0131] = "a camera"
    exif[0x8769] = {0x9286: b"ASCII\x00\x00\x00an older comment", 0xA002: 40, 0x9003: "2026"}

    marked = embed(encoded(kind, exif=exif), KINDS[kind][1], FOX)

    found = opened(marked).getexif()
    assert (found[0x0112], found[0x0131]) == (6, "a camera")
    inner = found.get_ifd(0x8769)
    assert (inner[0xA002], inner[0x9003]) == (40, "2026")
    assert read(marked) == FOX


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_thumbnail_s_table_stays_and_tags_stay_in_order(order: str) -> None:
    head = b"II*\x00" if order == "<" else b"MM\x00*"
    late_tag = struct.pack(order + "HHII", 0xC4A5, 4, 1, 9)  # sorts after the pointer to come
    thumbnail = struct.pack(order + "HHII", 0x0100, 4, 1, 160)
    old = head + struct.pack(order + "IH", 8, 1) + late_tag + struct.pack(order + "I", 26)
    old += struct.pack(order + "H", 1) + thumbnail + struct.pack(order + "I", 0)

    marked = embed(encoded("jpeg", exif=EXIF_START + old), "image/jpeg", FOX)

    block = opened(marked).info["exif"].removeprefix(EXIF_START)
    (main_at,) = struct.unpack_from(order + "I", block, 4)
    tags = [struct.unpack_from(order + "H", block, main_at + 2 + 12 * i)[0] for i in range(2)]
    assert tags == [0x8769, 0xC4A5]
    assert opened(marked).getexif().get_ifd(ExifTags.IFD.IFD1) == {0x0100: 160}
    assert read(marked) == FOX


def test_the_jfif_header_stays_first_in_a_jpeg() -> None:
    marked = embed(encoded("jpeg"), "image/jpeg", FOX)

    assert [marked[2:4], marked[20:22]] == [b"\xff\xe0", b"\xff\xe1"]


@pytest.mark.parametrize(("mode", "flags"), [("RGB", 0x0C), ("RGBA", 0x1C)])
def test_the_header_given_to_a_plain_webp_tells_of_exif_xmp_and_alpha(
    mode: str, flags: int
) -> None:
    data = encoded("webp-lossless", mode=mode)
    assert data[12:16] == b"VP8L"  # no header of its own

    marked = embed(data, "image/webp", FOX)

    assert (marked[12:16], marked[20]) == (b"VP8X", flags)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_other_xmp_fields_stay(kind: str) -> None:
    """Providers say there that a picture was made by a machine."""
    label = b'<rdf:Description Iptc4xmpExt:DigitalSourceType="trainedAlgorithmicMedia"/>'
    packet = b"<x:xmpmeta><rdf:RDF>" + label + b"</rdf:RDF></x:xmpmeta>"

    marked = embed(encoded(kind, xmp=packet), KINDS[kind][1], FOX)

    assert label in opened(marked).info["xmp"]
    assert read(marked) == FOX


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_xmp_of_another_build_is_left_as_it_is(kind: str) -> None:
    marked = embed(encoded(kind, xmp=b"<odd/>"), KINDS[kind][1], FOX)

    assert opened(marked).info["xmp"] == b"<odd/>"
    found = read(marked)
    assert found is not None
    assert found.request.prompt == FOX.request.prompt


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_a_broken_exif_block_is_replaced(kind: str) -> None:
    marked = embed(encoded(kind, exif=b"Exif\x00\x00MM\x00*\xff\xff"), KINDS[kind][1], FOX)

    assert read(marked) == FOX


def test_icc_profile_and_resolution_of_a_jpeg_stay() -> None:
    data = encoded("jpeg", icc_profile=b"a profile" * 20_000, dpi=(72, 72), comment=b"hello")

    picture = opened(embed(data, "image/jpeg", FOX))

    assert picture.info["icc_profile"] == b"a profile" * 20_000
    assert (picture.info["dpi"], picture.info["comment"]) == ((72, 72), b"hello")


def test_an_animated_webp_keeps_its_frames() -> None:
    sink = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(sink, "WEBP", save_all=True, append_images=frames[1:])

    marked = embed(sink.getvalue(), "image/webp", FOX)

    assert getattr(opened(marked), "n_frames", 0) == 2
    assert read(marked) == FOX


def test_a_prompt_too_long_for_a_jpeg_segment_leaves_a_good_jpeg() -> None:
    long = replace(FOX, request=ImageRequest.create("fox " * 30_000))
    data = encoded("jpeg")

    marked = embed(data, "image/jpeg", long)

    assert pixels(marked) == pixels(data)
    assert read(marked) is None


def test_a_prompt_too_long_for_one_jpeg_segment_still_goes_into_the_other() -> None:
    """Two bytes a letter in EXIF, one in XMP."""
    long = replace(FOX, request=ImageRequest.create("fox " * 12_000))

    assert read(embed(encoded("jpeg"), "image/jpeg", long)) == long


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xd9"])
def test_what_is_no_picture_is_returned_as_it_is(data: bytes) -> None:
    assert embed(data, "image/png", FOX) == data


# ------------------------------------------------------------------------ pictures from elsewhere


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG with these chunks after its header."""
    data = encoded("png")
    made = b"".join(
        struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return data[:33] + made + data[33:]


A1111 = (
    "masterpiece, fox\nin snow\nNegative prompt: blurry, bad\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1234567890123, Size: 512x512, Model: v1-5"
)


@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", b"parameters\x00" + A1111.encode("latin-1")),
        (b"zTXt", b"parameters\x00\x00" + zlib.compress(A1111.encode("latin-1"))),
        (b"iTXt", b"parameters\x00\x00\x00de\x00Parameter\x00" + A1111.encode()),
        (b"iTXt", b"parameters\x00\x01\x00\x00\x00" + zlib.compress(A1111.encode())),
    ],
)
def test_prompt_and_seed_of_another_program_are_read(chunk: tuple[bytes, bytes]) -> None:
    found = read(png_with(chunk))

    assert found is not None
    assert found.request == ImageRequest.create("masterpiece, fox\nin snow")
    assert found.seed == 1234567890123
    assert (found.provider, found.request_id, found.created) == ("", "", NEVER)


@pytest.mark.parametrize(
    ("text", "prompt", "seed"),
    [
        ("just a prompt", "just a prompt", None),
        ("a prompt\nof two lines: yes", "a prompt\nof two lines: yes", None),
        ("fox\nSteps: 1, Seed: 5, Size: 1x1", "fox", 5),
        ("fox\nSteps: 1, Seed: x, Size: 1x1", "fox", None),
        ("fox\nSteps: 1, Variation seed: 5", "fox", None),
        ("fox\r\nSteps: 1, Seed: 5", "fox", 5),
    ],
)
def test_lines_of_many_shapes_are_read(text: str, prompt: str, seed: int | None) -> None:
    found = read(png_with((b"tEXt", b"parameters\x00" + text.encode())))

    assert found is not None
    assert (found.request.prompt, found.seed, found.request.seed) == (prompt, seed, seed)


def test_our_own_lines_suffice_where_a_program_dropped_the_json() -> None:
    marked = embed(encoded("png"), "image/png", replace(FOX, seed=7))
    lines = _metadata.read(marked).parameters.replace("imagen4", "imagen4-ultra")

    found = read(png_with((b"iTXt", b"parameters\x00\x00\x00\x00\x00" + lines.encode())))

    assert found is not None
    assert found.request.prompt == FOX.request.prompt
    assert found.request.model == "fal-ai/imagen4/preview/ultra"
    assert found.request.seed == 7


@pytest.mark.parametrize("text", ["", "\n", "Steps: 20, Seed: 1", "Negative prompt: x\nSeed: 1"])
def test_lines_without_a_prompt_are_no_settings(text: str) -> None:
    assert read(png_with((b"tEXt", b"parameters\x00" + text.encode()))) is None


def with_json(**changes: object) -> bytes:
    """Return a PNG with our JSON, some of it changed; `...` takes a key out."""
    fields = json.loads(_metadata.read(embed(encoded("png"), "image/png", FOX)).settings)
    fields = {k: v for k, v in {**fields, **changes}.items() if v is not ...}
    body = b"imagen_widget\x00\x00\x00\x00\x00" + json.dumps(fields).encode()
    return png_with((b"iTXt", body))


def test_unchanged_json_is_read() -> None:
    assert read(with_json()) == FOX


@pytest.mark.parametrize(
    "changes",
    [
        {"generator": "somebody else"},
        {"generator": ...},
        {"prompt": ...},
        {"prompt": ""},
        {"prompt": ["a"]},
        {"prompt": "\ud800"},
        {"model": 7},
        {"model": "no model"},
        {"model": "../../etc"},
        {"parameters": []},
        {"request_id": None},
        {"provider": {}},
        {"created": "yesterday"},
        {"created": 5},
        {"created": "0001-01-01T00:00:00+14:00"},
        {"index": True},
        {"index": "1"},
        {"seed": "x"},
        {"seed": 1.5},
    ],
)
def test_json_that_lies_is_no_settings(changes: dict[str, object]) -> None:
    assert read(with_json(**changes)) is None


@pytest.mark.parametrize(
    "parameters",
    [{"aspect_ratio": "7:1"}, {"unheard_of": 1}, {"num_images": 10**9}, {"seed": -1}],
)
def test_parameters_that_the_model_does_not_take_are_left_out(parameters: object) -> None:
    found = read(with_json(parameters=parameters))

    assert found is not None
    assert found.request == ImageRequest.create(FOX.request.prompt)


def test_parameters_cannot_replace_prompt_or_model() -> None:
    found = read(with_json(parameters={"prompt": "another", "model": "acme/dear"}))

    assert found is not None
    assert (found.request.prompt, found.request.model) == (FOX.request.prompt, FOX.request.model)


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "7", '"x"', "[" * 100_000, '{"a":' * 50_000, "9" * 100_000, "\x00"],
)
def test_json_of_another_shape_is_no_settings(text: str) -> None:
    body = b"imagen_widget\x00\x00\x00\x00\x00" + text.encode()

    assert read(png_with((b"iTXt", body))) is None


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
@pytest.mark.parametrize("keyword", [b"parameters", b"imagen_widget"])
def test_a_bomb_in_a_text_chunk_is_not_unpacked(kind: bytes, keyword: bytes) -> None:
    """500 MB of one letter in 500 KB."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"a" * 10**6) for _ in range(500)) + packer.flush()
    between = b"\x00\x00" if kind == b"zTXt" else b"\x00\x01\x00\x00\x00"
    data = png_with((kind, keyword + between + packed))

    tracemalloc.start()
    try:
        found = read(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found is None
    assert most < 10_000_000


def test_a_text_beyond_the_bound_is_not_read() -> None:
    assert read(png_with((b"tEXt", b"parameters\x00" + b"a" * 2_000_000))) is None


@pytest.mark.parametrize(
    "text", ["a" * 1_900_000, "Seed: " * 300_000, ", Model: " * 200_000, "\n" * 1_900_000]
)
@pytest.mark.timeout(20)
def test_long_foreign_lines_are_read_in_linear_time(text: str) -> None:
    read(png_with((b"tEXt", b"parameters\x00" + text.encode())))


def test_an_exif_table_that_points_everywhere_is_read_in_bounded_memory() -> None:
    """Each entry claims the whole block; together they would be gigabytes."""
    entries = b"".join(
        struct.pack(">HHII", tag, 7, 900_000, 8) for tag in range(65_000) if tag != 0x8769
    )
    tiff = b"MM\x00*" + struct.pack(">IH", 8, len(entries) // 12) + entries + bytes(300_000)
    base = encoded("webp", exif=b"Exif\x00\x00MM\x00*" + bytes(9))
    start = base.index(b"EXIF")
    chunk = struct.pack("<4sI", b"EXIF", len(tiff)) + tiff + bytes(len(tiff) % 2)
    body = base[8:start] + chunk
    data = struct.pack("<4sI", b"RIFF", len(body)) + body

    tracemalloc.start()
    try:
        found = read(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found is None
    assert most < 30_000_000


@settings(deadline=None)  # shared machines pause
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)))
def test_mangled_pictures_give_settings_or_none_and_nothing_else(
    data: st.DataObject, kind: str
) -> None:
    marked = bytearray(embed(encoded(kind, size=(4, 4)), KINDS[kind][1], FOX))
    for _ in range(data.draw(st.integers(1, 8))):
        marked[data.draw(st.integers(0, len(marked) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(marked[: data.draw(st.integers(0, len(marked)))])

    assert isinstance(read(cut), Provenance | None)
    assert isinstance(read(bytes(marked)), Provenance | None)
    assert isinstance(embed(bytes(marked), KINDS[kind][1], FOX), bytes)


@settings(deadline=None)  # shared machines pause
@given(tiff=st.binary(max_size=200))
def test_random_exif_gives_a_text_or_none(tiff: bytes) -> None:
    size = len(tiff) + 8
    segment = b"\xff\xe1" + struct.pack(">H", size) + b"Exif\x00\x00" + tiff
    data = encoded("jpeg", size=(4, 4))

    assert isinstance(_metadata.read(data[:2] + segment + data[2:]), Texts)


# ------------------------------------------------------------------------------------- file names


@pytest.mark.parametrize(
    ("prompt", "stem"),
    [
        ("A Red Fox!", "a-red-fox-764cabcf-2"),
        ("../../etc/passwd", "etc-passwd-764cabcf-2"),
        ("CON", "con-764cabcf-2"),
        (".bashrc", "bashrc-764cabcf-2"),
        ("?!*", "image-764cabcf-2"),
        ("Füchse im Schnee", "füchse-im-schnee-764cabcf-2"),
        ("雪の中の狐", "雪の中の狐-764cabcf-2"),
        ("x" * 100, "x" * 49 + "-764cabcf-2"),
        ("one two " + "y" * 60, "one-two-764cabcf-2"),
        ("a\u202egnp.exe", "a-gnp-exe-764cabcf-2"),
        ("fu\u0308r", "für-764cabcf-2"),
    ],
)
def test_a_file_name_has_the_first_words_of_the_prompt(prompt: str, stem: str) -> None:
    assert file_stem(replace(FOX, request=ImageRequest.create(prompt))) == stem


@pytest.mark.parametrize("request_id", ["../../../x", "", "a/b", "\x00", "..", "\uff41\uff42"])
def test_an_id_from_a_server_cannot_shape_a_path(request_id: str) -> None:
    stem = file_stem(replace(FOX, request_id=request_id))

    assert re.fullmatch(r"[\w-]+", stem)


@settings(deadline=None)  # shared machines pause
@given(
    prompt=st.text(min_size=1).filter(str.strip),
    request_id=st.text(max_size=200),
    index=st.integers(0, 10_000),
)
def test_every_file_name_is_safe_everywhere(prompt: str, request_id: str, index: int) -> None:
    origin = replace(FOX, request=ImageRequest.create(prompt), request_id=request_id, index=index)

    stem = file_stem(origin)

    assert len(stem) <= LONGEST_STEM
    assert len(stem.encode()) <= 240
    assert {unicodedata.category(c)[0] for c in stem} <= {"L", "M", "N", "P"}
    assert not set(stem) & set('/\\:*?"<>|.\x00')
    assert stem.endswith(f"-{index + 1}")  # no device of Windows is called so
    assert not stem.startswith("-")
