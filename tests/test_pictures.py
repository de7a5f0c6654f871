"""Picture bytes: what is served is kept, copies are right to look at, settings travel inside."""

import base64
import contextlib
import json
import os
import re
import struct
import tracemalloc
import unicodedata
import warnings
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from imagen_widget import ImageRequest, Provenance, _picture, errors
from imagen_widget._result import settings_from
from imagen_widget.errors import ImagenError, InvalidRequest, QueueError
from tests.pictures import (
    HEIGHT,
    PICTURES,
    SVG,
    WIDTH,
    bomb,
    chunk,
    encoded,
    noise,
    opened,
    png_with,
    webp_bomb,
)

inspect, preview, encode = _picture.inspect, _picture.preview, _picture.encode

# ---------------------------------------------------------------------------- what the bytes say


@pytest.mark.parametrize("name", PICTURES)
def test_each_kind_gives_its_type_and_size(name: str) -> None:
    facts = inspect(PICTURES[name])

    assert facts == _picture.PictureFacts(f"image/{name.partition(',')[0]}", WIDTH, HEIGHT)


@pytest.mark.parametrize("tail", [b"\n", bytes(100), b"<script>alert(1)</script>"])
@pytest.mark.parametrize("name", PICTURES)
def test_bytes_behind_the_end_are_no_fault(name: str, tail: bytes) -> None:
    assert inspect(PICTURES[name] + tail).problem == ""
    assert preview(PICTURES[name] + tail).width == WIDTH


@pytest.mark.parametrize("name", [name for name in PICTURES if name != "bmp"])
def test_a_picture_cut_short_anywhere_is_told_and_keeps_its_type(name: str) -> None:
    data = PICTURES[name]

    for length in range(30, len(data) - 2):
        facts = inspect(data[:length])
        assert facts.problem in {"cut short", "damaged"}, length
        assert facts.media_type == inspect(data).media_type


@pytest.mark.parametrize("place", [20, 30, 60, -20])
def test_a_changed_byte_inside_a_png_is_told(place: int) -> None:
    data = bytearray(PICTURES["png"])
    data[place] ^= 0x40

    assert inspect(bytes(data)).problem == "damaged"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "an empty answer"),
        (b"<!DOCTYPE html><html><svg>", "a web page"),
        (b"  <html><img src=x>", "a web page"),
        (b'{"detail": "gone"}', "JSON"),
    ],
)
def test_an_answer_that_is_not_a_picture_is_called_what_it_is(data: bytes, problem: str) -> None:
    assert inspect(data) == _picture.PictureFacts("application/octet-stream", problem=problem)


@pytest.mark.parametrize("data", [b"RIFF\0\0\0\0WAVE", b"%PDF-1.7", b"\xff\x0a jxl", b"BM, text"])
def test_bytes_of_another_kind_are_what_nobody_here_can_read(data: bytes) -> None:
    assert inspect(data).media_type == "application/octet-stream"
    with pytest.raises(QueueError, match="cannot be read"):
        preview(data)


@pytest.mark.parametrize("data", [SVG, b"\xef\xbb\xbf  <svg>", b"<!DOCTYPE svg>\n<svg/>"])
def test_an_svg_is_known_and_never_decoded(data: bytes) -> None:
    assert inspect(data) == _picture.PictureFacts("image/svg+xml")
    with pytest.raises(QueueError, match="SVG"):
        preview(data)


UNMEASURED = {"image/heic", "image/tiff", "image/svg+xml"}  # no browser shows the first two


@settings(max_examples=300)
@given(st.sampled_from(sorted(PICTURES)), st.data())
def test_mangled_bytes_are_told_or_shown_and_nothing_else(name: str, data: st.DataObject) -> None:
    mangled = bytearray(PICTURES[name])
    for _ in range(data.draw(st.integers(1, 8))):
        mangled[data.draw(st.integers(0, len(mangled) - 1))] = data.draw(st.integers(0, 255))

    facts = inspect(bytes(mangled))

    is_measured = facts.width > 0 and facts.height > 0
    assert facts.problem or is_measured or facts.media_type in UNMEASURED
    if facts.width * facts.height < 10**6:
        with contextlib.suppress(ImagenError):
            preview(bytes(mangled))


@pytest.mark.parametrize("data", [bomb(12_000, 12_000), webp_bomb()], ids=["png", "webp"])
def test_a_bomb_of_pixels_is_not_opened(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Image, "open")  # no decoder may see it

    with pytest.raises(QueueError, match="over 89 million"):
        preview(data)

    assert len(data) < 300_000
    assert inspect(data).problem == ""  # kept all the same


def test_nine_thousand_pixels_a_side_have_a_preview() -> None:
    found = preview(bomb(9000, 9000), side=64)

    assert (found.width, found.height) == (64, 64)


# --------------------------------------------------------------------------- right to look at


def brightness(data: bytes) -> float:
    shown = opened(data).convert("L").resize((1, 1), Image.Resampling.BOX)
    return float(shown.getpixel((0, 0)))  # type: ignore[arg-type]  # one channel


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_a_preview_is_small_and_keeps_its_shape(name: str) -> None:
    found = preview(encoded(noise(1600, 900), name))

    assert len(found.data) <= _picture.PREVIEW_BYTES
    assert found.media_type == "image/webp"
    assert found.width / found.height == pytest.approx(16 / 9, rel=0.02)
    assert inspect(found.data).width == found.width <= 1024


def test_noise_that_does_not_compress_is_made_smaller_until_it_fits() -> None:
    found = preview(encoded(noise(1024, 1024)), max_bytes=20_000)

    assert len(found.data) <= 20_000
    assert found.width < 1024


def test_a_depth_map_of_sixteen_bits_is_not_white() -> None:
    deep = Image.linear_gradient("L").convert("I").point(lambda v: v * 257).convert("I;16")
    data = encoded(deep)

    assert brightness(preview(data).data) == pytest.approx(127, abs=3)
    assert brightness(encode(data, "image/jpeg")) == pytest.approx(127, abs=3)
    assert opened(encode(data, "image/png")).mode == "I;16"  # nothing is lost


def test_what_is_transparent_stays_so_or_becomes_white() -> None:
    data = encoded(Image.new("RGBA", (64, 64), (255, 0, 0, 0)))

    assert opened(preview(data).data).convert("RGBA").getchannel("A").getextrema() == (0, 0)
    assert opened(encode(data, "image/webp")).convert("RGBA").getchannel("A").getextrema()[1] == 0
    assert brightness(encode(data, "image/jpeg")) == 255


@pytest.mark.parametrize("options", [{"transparency": 0}, {"transparency": b"\0" * 256}])
def test_a_transparent_palette_is_white_in_a_jpeg(options: dict[str, Any]) -> None:
    data = encoded(Image.new("P", (16, 16), 0), **options)

    assert brightness(encode(data, "image/jpeg")) == 255


@pytest.mark.parametrize("media_type", ["image/png", "image/webp", "image/jpeg"])
def test_printing_colours_become_screen_colours(media_type: str) -> None:
    data = encoded(Image.new("RGB", (16, 16), "red").convert("CMYK"), "JPEG")

    copy = opened(encode(data, media_type))

    assert copy.mode == "RGB"
    red, green, _ = copy.getpixel((8, 8))  # type: ignore[misc]  # three channels
    assert red > 200 > 60 > green


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_a_picture_that_lies_on_its_side_is_turned_upright_in_every_copy(name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.new("RGB", (40, 20), "white")
    lying.paste("black", (0, 0, 20, 20))  # upright: black above
    data = encoded(lying, name, exif=exif)

    facts = inspect(data)

    assert (facts.width, facts.height, facts.turned) == (20, 40, True)
    for copy in (preview(data).data, encode(data, "image/png"), encode(data, "image/jpeg")):
        upright = opened(copy).convert("L")
        assert upright.size == (20, 40)
        assert upright.getpixel((10, 5)) < 60 < 200 < upright.getpixel((10, 35))  # type: ignore[operator]
        assert opened(copy).getexif().get(0x0112, 1) == 1


def wide_gamut() -> bytes:
    """Return a profile in which the same numbers mean other colours: red and green exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at_red, at_green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[at_red : at_red + 4], profile[at_green : at_green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile).replace(b"sRGB", b"wide").replace("sRGB".encode("utf-16-be"), b"\0w" * 4)


def test_a_colour_profile_is_converted_in_previews_and_kept_in_copies() -> None:
    profile = wide_gamut()  # made once: it holds the second at which it was made
    data = encoded(Image.new("RGB", (32, 32), (200, 30, 30)), icc_profile=profile)

    red, green, _ = opened(preview(data).data).getpixel((16, 16))  # type: ignore[misc]

    assert green > 150 > 100 > red  # as a viewer that reads the profile shows it
    for media_type in ("image/png", "image/jpeg", "image/webp"):
        assert opened(encode(data, media_type)).info["icc_profile"] == profile
    broken = encoded(Image.new("RGB", (32, 32), (200, 30, 30)), icc_profile=b"no profile")
    assert opened(preview(broken).data).getpixel((16, 16))[0] > 150  # type: ignore[index]


@pytest.mark.parametrize("keyword", ["text", "packed text", "profile"])
def test_a_png_with_megabytes_of_notes_is_shown(keyword: str) -> None:
    info = PngImagePlugin.PngInfo()
    options: dict[str, Any] = {"pnginfo": info}
    match keyword:
        case "text":
            info.add_text("workflow", "a" * 1_500_000)
        case "packed text":
            info.add_text("workflow", "a" * 1_500_000, zip=True)
        case _:
            options = {"icc_profile": os.urandom(1_500_000)}
    data = encoded(Image.new("RGB", (32, 32), "red"), **options)

    assert inspect(data).problem == ""
    assert preview(data).width == 32
    assert opened(encode(data, "image/jpeg")).size == (32, 32)


def test_a_png_whose_note_has_a_wrong_checksum_is_shown() -> None:
    whole = png_with((b"tEXt", b"workflow\x00fox"), data=encoded(Image.new("RGB", (32, 32), "red")))
    data = whole.replace(b"fox", b"hen")

    assert inspect(data).problem == ""
    assert preview(data).width == 32
    assert opened(encode(data, "image/jpeg")).size == (32, 32)


@pytest.mark.parametrize("name", ["gif", "avif", "bmp", "webp, animated"])
@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_every_kind_is_copied_into_the_common_ones(name: str, media_type: str) -> None:
    facts = inspect(encode(PICTURES[name], media_type))

    assert (facts.media_type, facts.width, facts.height) == (media_type, WIDTH, HEIGHT)


def test_what_cannot_be_decoded_cannot_be_encoded() -> None:
    rotten = struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0)
    data = _png(chunk(b"IHDR", rotten), chunk(b"IDAT", b"rotten"), chunk(b"IEND", b""))

    for work in (preview, lambda d: encode(d, "image/png")):
        with pytest.raises(QueueError, match="cannot be read"):
            work(data)


def test_a_webp_and_a_jpeg_hold_only_so_many_pixels_a_side() -> None:
    with pytest.raises(InvalidRequest, match="16383"):
        encode(encoded(Image.new("L", (17_000, 4))), "image/webp")
    with pytest.raises(InvalidRequest, match="65500"):
        encode(encoded(Image.new("L", (4, 65_501))), "image/jpeg")
    assert encode(encoded(Image.new("L", (65_500, 4))), "image/jpeg")


def test_a_sheet_shows_all_pictures_on_white() -> None:
    pictures = [
        preview(encoded(Image.new("RGBA", (900, 600), c))) for c in ("red", "#0000", "blue")
    ]

    sheet = base64.b64decode(_picture.contact_sheet(pictures)["image/jpeg"])

    assert len(sheet) <= 3 * 40_000
    with opened(sheet) as shown:
        assert shown.format == "JPEG"
        places = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
        found = [shown.getpixel((int(shown.width * x), int(shown.height * y))) for x, y in places]
    names = [
        ("red", (250, 0, 0)),
        ("white", (255,) * 3),
        ("blue", (0, 0, 250)),
        ("white", (255,) * 3),
    ]
    for seen, (name, meant) in zip(found, names, strict=True):
        assert all(abs(a - b) < 12 for a, b in zip(seen, meant, strict=True)), name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "address",
    [
        "data:image/png;base64,{plain}",
        "data:image/png;base64,\n{lines}",
        " data:IMAGE/PNG;name=fox.png;base64,{bare}",
        "data:;base64,{url_safe}",
        "data:image/png,{percent}",
    ],
)
def test_data_addresses_are_read_as_people_write_them(address: str) -> None:
    import urllib.parse

    data = PICTURES["png"]
    plain = base64.b64encode(data).decode()
    text = address.format(
        plain=plain,
        lines="\r\n".join(plain[i : i + 76] for i in range(0, len(plain), 76)),
        bare=plain.rstrip("="),
        url_safe=base64.urlsafe_b64encode(data).decode(),
        percent=urllib.parse.quote(data),
    )

    assert _picture.from_data_address(text) == data


@pytest.mark.parametrize("text", ["", "data:", "data:image/png;base64,", "data:x;base64,!!", "fox"])
def test_what_is_not_a_data_address_is_not_read(text: str) -> None:
    assert _picture.from_data_address(text) is None


# ------------------------------------------------------------------------- settings: round trips

FOX = Provenance(
    request=ImageRequest.create(
        "a red fox,\nsoft light <lora:x> & 'snow' — 狐 🦊", aspect_ratio="16:9", num_images=2
    ),
    request_id="764cabcf-b745-4b3e-ae38-1200304cf45b",
    provider="fal",
    created=datetime(2026, 11, 23, 12, 30, tzinfo=UTC),
    index=1,
    seed=42,
    id="job-7",
)
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "png": ("PNG", "image/png", {}),
    "jpeg": ("JPEG", "image/jpeg", {}),
    "webp": ("WEBP", "image/webp", {}),
    "webp-lossless": ("WEBP", "image/webp", {"lossless": True}),
    "webp-odd": ("WEBP", "image/webp", {"quality": 1}),
}


def asked(prompt: str, **fields: Any) -> Provenance[ImageRequest]:
    return replace(FOX, request=ImageRequest.create(prompt, **fields))


def made(kind: str, *, mode: str = "RGB", size: tuple[int, int] = (40, 30), **more: Any) -> bytes:
    name, _, options = KINDS[kind]
    picture = Image.linear_gradient("L").resize(size).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.radial_gradient("L").resize(size))
    return encoded(picture, name, **{**options, **more})


def embed(data: bytes, kind: str, origin: Provenance[Any] = FOX) -> bytes:
    size = "{}x{}".format(*opened(data).size)
    return _picture.embed(data, origin, size=size, model_name="imagen4")[0]


def settings_in(data: bytes) -> dict[str, Any]:
    found = _picture.read_settings(data)
    assert found is not None
    return found


def same(found: dict[str, Any], meant: Provenance[ImageRequest]) -> bool:
    return bool(found == json.loads(_picture.to_json(meant)))


def pixels(data: bytes) -> tuple[str, tuple[int, int], bytes]:
    picture = opened(data)
    return picture.mode, picture.size, picture.tobytes()


def lines_of(data: bytes) -> str:
    """Return the lines as another program reads them."""
    picture = opened(data)
    if "parameters" in picture.info:
        return str(picture.info["parameters"])
    comment = picture.getexif().get_ifd(0x8769)[0x9286]
    assert comment.startswith(b"UNICODE\x00")
    return str(comment[8:].decode("utf-16-be"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("kind", KINDS)
def test_settings_come_back_and_no_pixel_changes(kind: str, mode: str) -> None:
    data = made(kind, mode="RGB" if kind == "jpeg" else mode)

    marked = embed(data, kind)

    assert marked != data
    assert same(settings_in(marked), FOX)
    assert pixels(marked) == pixels(data)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (257, 16), (1408, 768)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_size_written_is_the_picture_s(kind: str, size: tuple[int, int]) -> None:
    """A WebP file without a header of its own is given one, which states the size once more."""
    marked = embed(made(kind, size=size), kind)

    assert opened(marked).size == size
    assert f"Size: {size[0]}x{size[1]}," in lines_of(marked)


@pytest.mark.parametrize("kind", KINDS)
def test_marking_twice_keeps_only_the_newest_settings(kind: str) -> None:
    other = replace(asked("a blue hen"), seed=None)

    marked = embed(embed(made(kind), kind), kind, other)

    assert same(settings_in(marked), other)
    assert marked.count(b"urn:imagen-widget") + marked.count(b"imagen_widget\x00") == 1
    assert marked.count(b"DigitalSourceType") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_without_settings_has_none(kind: str) -> None:
    assert _picture.read_settings(made(kind)) is None


@given(
    prompt=st.text(min_size=1).map("fox {}".format),  # a prompt has to have something visible
    seed=st.none() | st.integers(0, 2**80),
    kind=st.sampled_from(sorted(KINDS)),
)
def test_any_prompt_comes_back_exactly(prompt: str, seed: int | None, kind: str) -> None:
    origin = replace(asked(prompt), seed=seed)

    assert same(settings_in(embed(made(kind, size=(4, 4)), kind, origin)), origin)


def test_fields_of_a_model_that_is_not_known_come_back() -> None:
    origin = asked("x", model="acme/painter", style={"name": "oil", "size": [1, 2]})

    assert same(settings_in(embed(made("png"), "png", origin)), origin)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_says_that_a_model_made_it_in_the_words_of_iptc(kind: str) -> None:
    marked = embed(made(kind), kind)

    xmp = opened(marked).info["XML:com.adobe.xmp" if kind == "png" else "xmp"]
    packet = xmp if isinstance(xmp, str) else xmp.decode()
    assert (
        'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/' in packet
    )
    assert 'digitalsourcetype/trainedAlgorithmicMedia"' in packet
    assert packet.startswith("<?xpacket")


# --------------------------------------------------------------------------- signed pictures


def signed(kind: str) -> bytes:
    """Return a picture with a C2PA manifest in it, as far as a container shows one."""
    data, box = made(kind, size=(9, 9)), b"\0\0\0\x30jumb\0\0\0\x28jumdc2pa" + bytes(28)
    match KINDS[kind][1]:
        case "image/png":
            return png_with((b"caBX", box), data=data)
        case "image/jpeg":
            payload = b"JP\0\x01\0\0\0\x01" + box
            return data[:2] + b"\xff\xeb" + struct.pack(">H", len(payload) + 2) + payload + data[2:]
        case _:
            body = data[8:] + b"C2PA" + struct.pack("<I", len(box)) + box
            return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_into_a_file_that_its_maker_signed(kind: str) -> None:
    data = signed(kind)

    assert _picture.embed(data, FOX, size="9x9", model_name="x") == (data, False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_manifest_that_is_kept_on_a_server_counts_too(kind: str) -> None:
    packet = b'<x:xmpmeta><rdf:RDF><rdf:Description dcterms:provenance="https://x"/></rdf:RDF>'
    if kind == "png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        data = made(kind, pnginfo=info)
    else:
        data = made(kind, xmp=packet)

    assert _picture.embed(data, FOX, size="40x30", model_name="x") == (data, False)


@pytest.mark.parametrize("name", ["gif", "avif", "bmp"])
def test_formats_that_hold_no_settings_are_left_as_they_are(name: str) -> None:
    data = PICTURES[name]

    assert _picture.embed(data, FOX, size="1x1", model_name="x") == (data, False)


# ------------------------------------------------------------------------- what other readers see

LINES = (
    "a red fox,\nsoft light <lora:x> & 'snow' — 狐 🦊\n"
    'Seed: 42, Size: 40x30, Model: imagen4, Aspect ratio: "16:9", Version: imagen_widget'
)


@pytest.mark.parametrize("kind", KINDS)
def test_other_programs_read_the_lines(kind: str) -> None:
    assert lines_of(embed(made(kind), kind)) == LINES


def test_the_last_line_has_enough_pairs_for_readers_that_count_them() -> None:
    """AUTOMATIC1111 takes a line for settings only if it finds three pairs."""
    last = lines_of(embed(made("png"), "png", replace(asked("x"), seed=None))).split("\n")[-1]

    assert len(re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)) >= 3


def test_a_seed_that_was_asked_for_is_written_when_the_provider_told_none() -> None:
    origin = replace(asked("x", seed=7), seed=None)

    assert "\nSeed: 7, " in lines_of(embed(made("png"), "png", origin))


def test_control_characters_of_a_prompt_stay_out_of_the_lines() -> None:
    odd = asked("a\x00b\x1b[31mc\td")

    marked = embed(made("png"), "png", odd)

    assert lines_of(marked).startswith("ab[31mcd\n")
    assert same(settings_in(marked), odd)


# ---------------------------------------------------------------------------- what was there stays


def test_other_text_of_a_png_stays() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "somebody")
    info.add_itxt("parameters", "an older prompt")
    info.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta><rdf:RDF><a:b/></rdf:RDF></x:xmpmeta>")

    picture = opened(embed(made("png", pnginfo=info), "png"))

    assert isinstance(picture, PngImagePlugin.PngImageFile)
    assert picture.text["Author"] == "somebody"
    assert picture.text["parameters"] == LINES
    assert "<a:b/>" in picture.text["XML:com.adobe.xmp"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_behind_a_picture_s_end_stays(kind: str) -> None:
    assert embed(made(kind) + b"trailer", kind).endswith(b"trailer")


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_other_exif_fields_stay(kind: str, endian: str) -> None:
    exif = Image.Exif()
    exif.endian = endian
    exif[0x0112] = 6  # turned by a quarter
    exif[0x0131] = "a camera"
    older = b"ASCII\x00\x00\x00an older comment"
    exif[0x8769] = {0x9286: older, 0xA002: 40, 0x9003: "2026", 0xA005: {1: "R98"}}

    marked = embed(made(kind, exif=exif), kind)

    found = opened(marked).getexif()
    assert (found[0x0112], found[0x0131]) == (6, "a camera")
    inner = found.get_ifd(0x8769)
    assert (inner[0xA002], inner[0x9003], found.get_ifd(0xA005)) == (40, "2026", {1: "R98"})
    assert same(settings_in(marked), FOX)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_broken_inner_table_takes_neither_the_turn_nor_the_thumbnail(order: str) -> None:
    """A copy without its orientation lies on its side in every viewer."""
    start = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    turned = struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
    lost = struct.pack(order + "HHII", 0x8769, 4, 1, 900_000)
    small = struct.pack(order + "HHHIII", 1, 0x0201, 4, 1, 56, 0)
    exif = start + struct.pack(order + "H", 2) + turned + lost + struct.pack(order + "I", 38)
    data = made("jpeg", exif=b"Exif\0\0" + exif + small)

    marked = embed(data, "jpeg")

    block = opened(marked).info["exif"][6:]
    (at,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, at)
    assert opened(marked).getexif()[0x0112] == 6
    assert struct.unpack_from(order + "I", block, at + 2 + 12 * count) == (38,)
    assert (inspect(marked).width, inspect(marked).turned) == (inspect(data).width, True)
    assert same(settings_in(marked), FOX)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_a_table_that_is_cut_short_still_says_how_the_picture_is_turned(kind: str) -> None:
    """So do viewers read it, and previews and inputs are made by it."""
    turned = struct.pack(">HHIHH", 0x0112, 3, 1, 8, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 3) + turned + b"\x01\x10\x00"
    data = made(kind, exif=exif)

    with warnings.catch_warnings(action="ignore"):  # Pillow's own
        marked = embed(data, kind)
        assert opened(marked).getexif()[0x0112] == 8

    for each in (data, marked):
        assert (inspect(each).turned, inspect(each).width) == (True, inspect(data).width)
    assert same(settings_in(marked), FOX)


def test_the_jfif_header_stays_first_in_a_jpeg() -> None:
    marked = embed(made("jpeg"), "jpeg")

    assert [marked[2:4], marked[20:22]] == [b"\xff\xe0", b"\xff\xe1"]


@pytest.mark.parametrize(("mode", "flags"), [("RGB", 0x0C), ("RGBA", 0x1C)])
def test_the_header_given_to_a_plain_webp_tells_of_exif_xmp_and_alpha(
    mode: str, flags: int
) -> None:
    data = made("webp-lossless", mode=mode)
    assert data[12:16] == b"VP8L"  # no header of its own

    marked = embed(data, "webp-lossless")

    assert (marked[12:16], marked[20]) == (b"VP8X", flags)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_other_xmp_fields_stay_and_a_source_that_is_told_is_not_told_twice(kind: str) -> None:
    label = b'<rdf:Description Iptc4xmpExt:DigitalSourceType="algorithmicMedia"/>'
    packet = b"<x:xmpmeta><rdf:RDF>" + label + b"</rdf:RDF></x:xmpmeta>"

    marked = embed(made(kind, xmp=packet), kind)

    assert label in opened(marked).info["xmp"]
    assert marked.count(b"DigitalSourceType") == 1
    assert same(settings_in(marked), FOX)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_xmp_of_another_structure_is_left_as_it_is(kind: str) -> None:
    marked = embed(made(kind, xmp=b"<odd/>"), kind)

    assert opened(marked).info["xmp"] == b"<odd/>"
    assert lines_of(marked) == LINES  # and the rest goes beside the file


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_a_broken_exif_block_is_replaced(kind: str) -> None:
    assert same(settings_in(embed(made(kind, exif=b"Exif\0\0MM\x00*\xff\xff"), kind)), FOX)


def test_icc_profile_and_resolution_of_a_jpeg_stay() -> None:
    data = made("jpeg", icc_profile=b"a profile" * 20_000, dpi=(72, 72), comment=b"hello")

    picture = opened(embed(data, "jpeg"))

    assert picture.info["icc_profile"] == b"a profile" * 20_000
    assert (picture.info["dpi"], picture.info["comment"]) == ((72, 72), b"hello")


def test_an_animated_webp_keeps_its_frames() -> None:
    marked = embed(PICTURES["webp, animated"], "webp")

    assert getattr(opened(marked), "n_frames", 0) == 2
    assert same(settings_in(marked), FOX)


def test_a_prompt_too_long_for_a_jpeg_leaves_a_good_jpeg_that_says_so() -> None:
    data = made("jpeg")
    long = asked("fox " * 30_000)

    marked, inside = _picture.embed(data, long, size="40x30", model_name="x")

    assert not inside
    assert pixels(marked) == pixels(data)
    assert b"trainedAlgorithmicMedia" in marked


def test_a_prompt_too_long_for_one_jpeg_segment_still_goes_into_the_other() -> None:
    """Two bytes a letter in EXIF, one in XMP."""
    long = asked("fox " * 12_000)

    assert same(settings_in(embed(made("jpeg"), "jpeg", long)), long)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xd9"])
def test_what_is_not_a_picture_is_returned_as_it_is(data: bytes) -> None:
    assert _picture.embed(data, FOX, size="", model_name="") == (data, False)


# ------------------------------------------------------------------------ pictures from elsewhere


def with_json(text: str | None = None, /, **changes: object) -> bytes:
    """Return a PNG with our JSON, some of it changed; `...` takes a key out."""
    fields = json.loads(_picture.to_json(FOX))
    fields = {k: v for k, v in {**fields, **changes}.items() if v is not ...}
    body = b"imagen_widget\x00\x00\x00\x00\x00" + (text or json.dumps(fields)).encode()
    return png_with((b"iTXt", body))


def test_unchanged_json_is_read_and_so_is_that_of_version_0_1() -> None:
    assert same(settings_in(with_json()), FOX)
    assert settings_from(with_json(inputs=..., id=...)) == replace(FOX, id="")


@pytest.mark.parametrize(
    "changes",
    [
        {"generator": "somebody else"},
        {"generator": ...},
        {"prompt": ...},
        {"prompt": ["a"]},
        {"model": 7},
        {"parameters": []},
        {"inputs": {}},
        {"inputs": ["x"]},
        {"request_id": None},
        {"provider": {}},
        {"created": "yesterday"},
        {"created": 5},
        {"created": "0001-01-01T00:00:00+14:00"},
        {"index": True},
        {"index": "1"},
        {"seed": "x"},
        {"seed": 1.5},
        {"id": 3},
    ],
)
def test_json_that_lies_is_not_settings(changes: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidRequest, match="carries no settings"):
        settings_from(with_json(**changes))


def test_parameters_cannot_replace_prompt_or_model() -> None:
    told = {"prompt": "another", "model": "acme/dear", "aspect_ratio": "16:9"}

    found = settings_from(with_json(parameters=told)).request

    assert (found.prompt, found.model) == (FOX.request.prompt, FOX.request.model)
    assert found.aspect_ratio == "16:9"


@pytest.mark.parametrize(
    "text",
    ["{", "null", "[]", "7", '"x"', "[" * 100_000, '{"a":' * 50_000, "9" * 100_000, "\x00"],
)
def test_json_of_another_shape_is_not_settings(text: str) -> None:
    assert _picture.read_settings(with_json(text)) is None


@pytest.mark.slow
@pytest.mark.parametrize("keyword", [b"XML:com.adobe.xmp", b"imagen_widget"])
def test_a_bomb_in_a_text_chunk_is_not_unpacked(keyword: bytes) -> None:
    """500 MB of one letter in 500 KB."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"a" * 10**6) for _ in range(500)) + packer.flush()
    data = png_with((b"iTXt", keyword + b"\x00\x01\x00\x00\x00" + packed))

    tracemalloc.start()
    try:
        found = _picture.read_settings(data)
        _picture.embed(data, FOX, size="1x1", model_name="x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found is None
    assert peak < 10_000_000


def test_an_exif_table_that_points_everywhere_is_read_in_bounded_memory() -> None:
    """Each entry claims the whole block; together they would be gigabytes."""
    entries = b"".join(
        struct.pack(">HHII", tag, 7, 900_000, 8) for tag in range(65_000) if tag != 0x8769
    )
    tiff = b"MM\x00*" + struct.pack(">IH", 8, len(entries) // 12) + entries + bytes(300_000)
    base = made("webp", exif=b"Exif\x00\x00MM\x00*" + bytes(9))
    block = struct.pack("<4sI", b"EXIF", len(tiff)) + tiff + bytes(len(tiff) % 2)
    body = base[8 : base.index(b"EXIF")] + block
    data = struct.pack("<4sI", b"RIFF", len(body)) + body

    tracemalloc.start()
    try:
        found, facts = _picture.read_settings(data), inspect(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (found, facts.width) == (None, 40)
    assert peak < 30_000_000


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_settings_beside_exif_entries_that_claim_all_of_it_take_little_memory(kind: str) -> None:
    """Five thousand entries, each with 64 kB of numbers; Pillow 11 makes two gigabytes of them."""
    entries = b"".join(struct.pack(">HHII", tag, 3, 32_000, 8) for tag in range(5400))
    tiff = b"MM\x00*" + struct.pack(">IH", 8, 5400) + entries + bytes(600)
    data = made("jpeg")
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + data[2:]
    if kind == "webp":
        data = made("webp", exif=b"Exif\0\0" + tiff)

    tracemalloc.start()
    try:
        marked, _ = _picture.embed(data, FOX, size="40x30", model_name="x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert same(settings_in(marked), FOX)
    assert peak < 10_000_000


@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)))
def test_mangled_pictures_give_settings_or_none_and_nothing_else(
    data: st.DataObject, kind: str
) -> None:
    marked = bytearray(embed(made(kind, size=(4, 4)), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        marked[data.draw(st.integers(0, len(marked) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(marked[: data.draw(st.integers(0, len(marked)))])

    assert isinstance(_picture.read_settings(cut), dict | None)
    assert isinstance(_picture.read_settings(bytes(marked)), dict | None)
    for mangled in (bytes(marked), cut):
        found, _ = _picture.embed(mangled, FOX, size="4x4", model_name="x")
        assert isinstance(found, bytes)


def test_a_chunk_of_settings_without_its_separators_is_left_aside() -> None:
    keyword = b"imagen_widget\x00"
    data = png_with((b"iTXt", keyword + b"\x00\x00\x01\x00{}"))

    assert _picture.read_settings(data) is None
    assert same(settings_in(_picture.embed(data, FOX, size="4x4", model_name="x")[0]), FOX)


@given(tiff=st.binary(max_size=200))
def test_random_exif_gives_a_size_and_settings_or_none(tiff: bytes) -> None:
    segment = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\x00\x00" + tiff
    data = made("jpeg", size=(4, 4))
    data = data[:2] + segment + data[2:]

    assert isinstance(_picture.read_settings(data), dict | None)
    assert inspect(data).width == 4


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
        ("x" * 100, "x" * 60 + "-764cabcf-2"),
        ("one two " + "y" * 60, "one-two-764cabcf-2"),
        ("a\u202egnp.exe", "a-gnp-exe-764cabcf-2"),
        ("fu\u0308r", "für-764cabcf-2"),
    ],
)
def test_a_file_name_has_the_first_words_of_the_prompt(prompt: str, stem: str) -> None:
    assert _picture.file_stem(asked(prompt)) == stem


@pytest.mark.parametrize(
    "prompt", ["雪の中を走る赤い狐" * 20, "จิ้งจอกแดงในหิมะ" * 20, "лиса " * 60, "🦊狐" * 80]
)
def test_a_name_fits_an_encrypted_folder_in_every_script(prompt: str) -> None:
    stem = _picture.file_stem(asked(prompt))

    assert 40 <= len(f"{stem}-10000.webp.json".encode()) <= 120


@pytest.mark.parametrize("request_id", ["../../../x", "", "a/b", "\x00", "..", "\uff41\uff42"])
def test_an_id_from_a_server_cannot_shape_a_path(request_id: str) -> None:
    assert re.fullmatch(r"[\w-]+", _picture.file_stem(replace(FOX, request_id=request_id)))


@given(
    prompt=st.text(min_size=1).filter(lambda text: any(c.isprintable() and c != " " for c in text)),
    request_id=st.text(max_size=200),
    index=st.integers(0, 10_000),
)
def test_every_file_name_is_safe_everywhere(prompt: str, request_id: str, index: int) -> None:
    stem = _picture.file_stem(replace(asked(prompt), request_id=request_id, index=index))

    assert len(stem.encode()) <= 100
    assert {unicodedata.category(c)[0] for c in stem} <= {"L", "M", "N", "P"}
    assert not set(stem) & set('/\\:*?"<>|.\x00')
    assert stem.endswith(f"-{index + 1}")  # no device of Windows is called so
    assert not stem.startswith("-")


def _png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
