"""Pictures as input: every kind is read, made ready, and placed; what cannot be sent is refused."""

import base64
import io
import os
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from imagen_widget import (
    Field,
    GeneratedImage,
    Generation,
    ImageRequest,
    Input,
    Model,
    Provenance,
)
from imagen_widget._inputs import INPUT_BYTES, mask_as_alpha, place_inputs, read_input
from imagen_widget._models import PictureLimits
from imagen_widget._store import Store
from imagen_widget.errors import InvalidRequest
from tests.pictures import PICTURES, SVG, bomb, encoded, noise, opened, photo, small

ONE = Field("image_url", "picture", role="picture")
MANY = Field("image_urls", "pictures", role="picture", max_items=3)
FACE = Field("face_url", "picture")
MASK = Field("mask_url", "picture", role="mask")
EDIT = Model("acme/edit", alias="edit", fields=(ONE,), source="bundled")
COMBINE = Model("acme/combine", alias="combine", fields=(MANY,), source="bundled")
FILL = Model("acme/fill", alias="fill", fields=(ONE, MASK), source="bundled")
STYLE = Model("acme/style", alias="style", fields=(ONE, MANY), source="bundled")
TEXT = Model("acme/text", alias="text", edits_with="acme/edit", source="bundled")
UNKNOWN = Model("acme/unknown")
HTTPS = "https://v3.fal.media/files/fox.png?x=1"


def placed(model: Model, *given: Any, **more: Any) -> tuple[dict[str, Any], tuple[Input, ...]]:
    return place_inputs(model, *given, **more)


def generated(folder: Path, count: int = 2) -> Generation:
    folder.mkdir(exist_ok=True)
    images = []
    request = ImageRequest.create("a red fox in snow")
    for index in range(count):
        path = folder / f"sha256-{index}.png"
        path.write_bytes(encoded(Image.new("RGB", (20, 10 + index), "red")))
        origin = Provenance(request, "rid", "fal", datetime.now(UTC), index, None, "job-7")
        images.append(GeneratedImage(path, "image/png", 20, 10 + index, None, origin))
    return Generation(tuple(images), request, "rid", "fal", 1.0, 0.1, datetime.now(UTC), id="job-7")


class NamedInBytes:
    """A path as the functions of `os` take it, and `Path` does not."""

    def __fspath__(self) -> bytes:
        return b"fox.png"


def closed() -> Image.Image:
    picture = Image.open(io.BytesIO(PICTURES["png"]))
    picture.close()
    return picture


# --------------------------------------------------------------------------- what may be given


PACKED = base64.b64encode(PICTURES["png"]).decode()
VALUES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text path": (str, "fox.png"),
    "path": (Path, "fox.png"),
    "bytes": (Path.read_bytes, "bytes"),
    "bytearray": (lambda path: bytearray(path.read_bytes()), "bytes"),
    "data address": (lambda path: f"data:image/png;base64,{PACKED}", "data address"),
    "Pillow picture": (lambda path: opened(path.read_bytes()).copy(), "Pillow image"),
    "picture": (lambda path: generated(path.parent)[1], 'picture 2 of "a red fox in snow"'),
    "generation": (lambda path: generated(path.parent), 'picture 1 of "a red fox in snow"'),
    "input": (read_input, "fox.png"),
}


@pytest.mark.parametrize("kind", VALUES)
def test_every_kind_of_value_is_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "fox.png").write_bytes(PICTURES["png"])
    value, origin = VALUES[kind]

    fields, (found,) = placed(EDIT, value(tmp_path / "fox.png"))

    assert fields == {"image_url": found.digest}
    assert found.digest.startswith("sha256:")
    assert found.origin == origin
    assert opened(found.data()).size == (found.width, found.height)
    assert (found.media_type, found.size, found.note) == ("image/png", len(found.data()), "")
    if kind not in {"picture", "generation"}:
        assert opened(found.data()).tobytes() == opened(PICTURES["png"]).tobytes()


def test_a_long_prompt_is_cut_where_it_names_a_picture(tmp_path: Path) -> None:
    made = generated(tmp_path)
    origin = replace(made[0].provenance, request=replace(made.request, prompt="fox " * 20))

    (given,) = replace(made[0], provenance=origin).sources()

    assert given.origin == f'picture 1 of "{"fox " * 9}fox…"'


def test_a_file_that_pillow_has_open_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "fox.png").write_bytes(PICTURES["png"])

    with Image.open(tmp_path / "fox.png") as picture:
        assert read_input(picture).origin == "fox.png"


def test_a_picture_of_ours_tells_where_it_is_from(tmp_path: Path) -> None:
    both = generated(tmp_path)

    found = read_input(both[1])

    assert (found.source_id, found.source_index) == ("job-7", 1)
    assert found.data() == both[1].data  # the bytes as they are: addresses expire


def test_a_path_from_home_and_one_beside_the_notebook_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fox.png").write_bytes(PICTURES["png"])
    (Path.home() / "owl.png").write_bytes(PICTURES["png"])

    assert read_input("fox.png") == read_input("~/owl.png")


def test_an_https_address_goes_out_as_it_is() -> None:
    fields, (found,) = placed(EDIT, f" {HTTPS} ")

    assert fields == {"image_url": HTTPS}
    assert (found.url, found.digest, found.origin) == (HTTPS, "", HTTPS.partition("?")[0])
    assert placed(EDIT, HTTPS.replace("https", "HTTPS"))[0] == {"image_url": HTTPS}
    assert found.kept_in(Store(Path("/nowhere"))) == found


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:80"])
def test_cleartext_is_for_this_machine_only(host: str) -> None:
    address = f"http://{host}/fox.png"

    assert read_input(address, base_url="http://127.0.0.1:9000").url == address
    with pytest.raises(InvalidRequest, match="http:// address is not encrypted"):
        read_input(address, base_url="https://queue.fal.run")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("http://example.com/fox.png", "http:// address is not encrypted"),
        ("https://me:secret@example.com/fox.png", "holds a name or password"),
        ("https:///fox.png", "the address is not valid"),
        ("https://example.com/a fox.png", "the address is not valid"),
        ("fxo.png", "there is no file 'fxo.png'"),
        ("~nobody-here/fox.png", "there is no file '~nobody-here"),
        ("a red fox in fresh snow " * 40, "cannot be read .File name too long"),
        ("data:image/png;base64,???", "the data: address is not valid"),
        (b"", "the picture is empty"),
        (b"<html>", "not a picture that can be sent .a web page."),
        (SVG, "an SVG drawing"),
        (PICTURES["png"][:-20], "cut short"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "pillow-heif"),
        (bomb(12_000, 12_000), "over 89 million"),
        (PICTURES["png"].replace(b"IDAT", b"idat"), "damaged"),
        (7, "int is not a picture"),
        ([b"a", b"b"], r"list is not a picture.*as images=\["),
        ("", "the picture is empty"),
        ("\0", "there is no file"),
        ("file:///tmp/fox.png", "there is no file 'file:///tmp"),
        (NamedInBytes(), "there is no file"),
        (Path("/dev/null"), "is a device"),
        (Image.new("RGB", (0, 5)), "The picture cannot be read"),
        (closed(), "The picture cannot be read"),
        (Image.open(io.BytesIO(PICTURES["png"][:60])), "The picture cannot be read"),
        (Image.new("La", (5, 5)), "The picture cannot be read"),
    ],
)
def test_what_is_not_a_picture_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, words: str
) -> None:
    (tmp_path / "fox.png").write_bytes(PICTURES["png"])
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InvalidRequest, match=f"image: .*{words}") as told:
        placed(EDIT, value)

    assert told.value.field == "image"
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 400


def test_a_folder_and_a_file_that_may_not_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Is a directory"):
        placed(EDIT, tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(InvalidRequest, match=r"empty\.png' is empty"):
        placed(EDIT, tmp_path / "empty.png")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidRequest, match="is a device"):
        placed(EDIT, tmp_path / "pipe")
    with (tmp_path / "film.png").open("wb") as large:
        large.truncate(400_000_000)
    with pytest.raises(InvalidRequest, match="has 400 MB"):
        placed(EDIT, tmp_path / "film.png")
    hidden = tmp_path / "fox.png"
    hidden.write_bytes(PICTURES["png"])
    hidden.chmod(0)
    if os.geteuid():
        with pytest.raises(InvalidRequest, match="Permission denied"):
            placed(EDIT, hidden)


def test_a_picture_whose_file_is_gone_is_told(tmp_path: Path) -> None:
    both = generated(tmp_path)
    both[0].path.unlink()

    with pytest.raises(InvalidRequest, match="there is no file"):
        placed(EDIT, both[0])


# --------------------------------------------------------------------------- into which field


def test_pictures_go_into_the_field_that_the_model_has_for_them(tmp_path: Path) -> None:
    both, other = generated(tmp_path), PICTURES["jpeg"]
    keys = [read_input(value).digest for value in (both[0], both[1], other)]

    assert placed(EDIT, both)[0] == {"image_url": keys[0]}
    assert placed(EDIT, None, [both[1]])[0] == {"image_url": keys[1]}
    assert placed(COMBINE, both)[0] == {"image_urls": keys[:1]}
    assert placed(COMBINE, None, both)[0] == {"image_urls": keys[:2]}
    assert placed(COMBINE, None, [*both, other])[0] == {"image_urls": keys}
    assert placed(COMBINE, None, (path for path in both.paths))[0] == {"image_urls": keys[:2]}
    assert placed(COMBINE, None, [both])[0] == {"image_urls": keys[:2]}
    assert placed(COMBINE, other, both)[0] == {"image_urls": [keys[2], *keys[:2]]}
    assert placed(STYLE, other, both)[0] == {"image_url": keys[2], "image_urls": keys[:2]}
    assert placed(EDIT, None, None, fields={"image_url": other, "x": 1})[0] == {
        "image_url": keys[2]
    }
    assert placed(COMBINE, None, [HTTPS, other])[0] == {"image_urls": [HTTPS, keys[2]]}
    assert placed(EDIT) == ({}, ())


def test_a_model_of_which_nothing_is_known_gets_the_usual_names() -> None:
    key = read_input(PICTURES["png"]).digest

    fields, inputs = placed(UNKNOWN, PICTURES["png"], None, PICTURES["png"])
    assert fields == {"image_url": key, "mask_url": inputs[1].digest}
    assert inputs[0].note == "the picture goes out as image_url"
    assert placed(UNKNOWN, None, [PICTURES["png"], HTTPS])[0] == {"image_urls": [key, HTTPS]}
    own = {"control": PICTURES["png"], "refs": [PICTURES["png"]], "style": "oil", "n": 3}
    assert placed(UNKNOWN, fields=own)[0] == {"control": key, "refs": [key]}


@pytest.mark.filterwarnings("default")  # as notebooks have it
def test_a_picture_with_too_many_pixels_is_refused_and_no_warning_is_shown(
    recwarn: pytest.WarningsRecorder,
) -> None:
    with pytest.raises(InvalidRequest, match=r"over 89 million. Give .* at most 89 megapixels"):
        read_input(bomb(12_000, 9_000))

    assert len(recwarn) == 0


def test_no_picture_of_several_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="images: edit takes one picture, and 2 were given"):
        placed(EDIT, None, generated(tmp_path))


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        (TEXT, {"image": PICTURES["png"]}, "image: text takes no pictures. acme/edit edits"),
        (TEXT, {"images": [PICTURES["png"]]}, "images: text takes no pictures"),
        (
            Model("acme/face", fields=(FACE, MASK), source="fetched"),
            {"image": PICTURES["png"]},
            "image: acme/face takes its pictures by their own names. Give face_url=… or mask_url",
        ),
        (EDIT, {"image": PICTURES["png"], "mask": PICTURES["png"]}, "mask: edit takes no mask"),
        (FILL, {"mask": PICTURES["png"]}, "mask: there is no picture for it"),
        (EDIT, {"images": [PICTURES["png"]] * 2}, "images: edit takes one picture, and 2 were"),
        (EDIT, {"fields": {"image_url": []}}, "image_url: no picture was given"),
        (TEXT, {"images": []}, "^images: no picture was given. Give a file, bytes, a Pillow"),
        (COMBINE, {"images": iter(())}, "^images: no picture was given"),
        (
            Model("acme/both", fields=(MANY, MASK), source="bundled"),
            {"mask": PICTURES["png"], "fields": {"image_urls": []}},
            "mask: there is no picture for it",
        ),
        (COMBINE, {"images": [[HTTPS]]}, r"images: list is not a picture.*generated picture\.$"),
        (COMBINE, {"images": io.BytesIO(PICTURES["png"])}, "images: BytesIO is not a picture"),
        (COMBINE, {"images": [HTTPS] * 4}, "images: combine takes at most 3 pictures, and 4 were"),
        (
            EDIT,
            {"image": HTTPS, "fields": {"image_url": HTTPS}},
            "image_url: the picture was given twice",
        ),
    ],
)
def test_what_the_model_does_not_take_is_refused(
    model: Model, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        place_inputs(model, **given)


# ------------------------------------------------------------------- upright, converted, smaller


def test_a_picture_that_will_do_keeps_its_bytes() -> None:
    for name in (
        "png",
        "png, alpha",
        "png, grey",
        "jpeg",
        "jpeg, progressive",
        "webp",
        "webp, alpha",
    ):
        assert read_input(PICTURES[name]).data() == PICTURES[name], name


@pytest.mark.parametrize("turn", [0, 1, 9])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_a_picture_that_says_no_way_to_turn_it_keeps_its_bytes(name: str, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = small(name, exif=exif)

    assert read_input(data).data() == data


def test_a_picture_that_lies_on_its_side_goes_out_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.new("RGB", (40, 20), "white")
    lying.paste("black", (0, 0, 20, 20))

    for value in (encoded(lying, "JPEG", exif=exif), opened(encoded(lying, "JPEG", exif=exif))):
        found = read_input(value)
        upright = opened(found.data()).convert("L")
        assert upright.size == (found.width, found.height) == (20, 40)
        assert upright.getpixel((10, 4)) < 60 < 200 < upright.getpixel((10, 36))  # type: ignore[operator]
        assert opened(found.data()).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PICTURES["gif"], "image/png"),
        (PICTURES["avif"], "image/jpeg"),
        (PICTURES["bmp"], "image/png"),
        (small("TIFF"), "image/png"),
        (PICTURES["webp, animated"], "image/jpeg"),
        (small("JPEG", "CMYK"), "image/jpeg"),
        (encoded(Image.linear_gradient("L").convert("I;16")), "image/png"),
        (encoded(Image.linear_gradient("L").convert("F"), "TIFF"), "image/png"),
    ],
)
def test_what_providers_do_not_read_is_converted(data: bytes, media_type: str) -> None:
    found = read_input(data)

    assert found.media_type == media_type
    with opened(found.data()) as shown:
        assert shown.mode == "RGB"
        assert shown.size == (found.width, found.height) == opened(data).size
        assert getattr(shown, "n_frames", 1) == 1


@pytest.mark.slow
def test_transparency_is_kept_even_where_the_picture_is_made_smaller() -> None:
    clear = photo(2400, 2400, "RGBA")
    clear.putalpha(Image.radial_gradient("L").resize(clear.size))

    for value in (clear, encoded(clear, compress_level=1)):
        found = read_input(value, limits=PictureLimits(max_bytes=400_000))
        assert found.size <= 400_000
        assert opened(found.data()).convert("RGBA").getchannel("A").getextrema() == (0, 255)
        assert found.note.startswith("the picture was made smaller: ")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_a_large_photograph_is_made_small_enough_and_says_to_what(name: str) -> None:
    data = encoded(photo(5000, 4000), name, **({"compress_level": 1} if name == "PNG" else {}))
    assert len(data) > INPUT_BYTES

    found = read_input(data)

    assert found.size <= INPUT_BYTES
    assert found.media_type == "image/jpeg"
    assert found.width / found.height == pytest.approx(5 / 4, rel=0.01)
    assert found.width > 2000
    said = f"the picture was made smaller: {found.width}x{found.height}, {found.size / 1e6:.1f} MB"
    assert found.note == said


@pytest.mark.slow
def test_noise_is_made_small_enough_too() -> None:
    assert read_input(encoded(noise(3000, 3000), compress_level=0)).size <= INPUT_BYTES


LIMITS = {
    "width": PictureLimits(max_width=500),
    "height": PictureLimits(max_height=400),
    "area": PictureLimits(max_area=250_000),
    "bytes": PictureLimits(max_bytes=20_000),
}


@cache
def large_photo(kind: str) -> bytes | Image.Image:
    picture = photo(1000, 800)
    return picture if kind == "Pillow" else encoded(picture, kind)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "Pillow"])
def test_the_model_s_own_limits_are_kept(name: str, kind: str) -> None:
    limits = LIMITS[name]

    found = read_input(large_photo(kind), limits=limits)

    assert found.width <= (limits.max_width or 1000)
    assert found.height <= (limits.max_height or 800)
    assert found.width * found.height <= (limits.max_area or 800_000)
    assert found.size <= (limits.max_bytes or INPUT_BYTES)


def test_a_picture_that_is_too_small_for_the_model_is_refused() -> None:
    for limits in (PictureLimits(min_width=300), PictureLimits(min_area=10_000)):
        with pytest.raises(InvalidRequest, match="33 x 17 pixels are too few"):
            read_input(PICTURES["png"], limits=limits)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 5, 14])
def test_all_pictures_together_fit_one_request(count: int) -> None:
    model = replace(COMBINE, fields=(replace(MANY, max_items=None),))
    large = [encoded(photo(1600 + 10 * n, 1200), quality=95, name="JPEG") for n in range(count)]
    given = [*large, PICTURES["png"]]

    _, inputs = placed(model, None, given)

    body = sum(len(base64.b64encode(found.data())) for found in inputs)
    assert body <= 3 * 1024 * 1024 - 100_000
    assert inputs[-1].data() == PICTURES["png"]  # a small one stays as it is
    assert [i.note.split(" was ")[0] for i in inputs if i.note] == [
        f"picture {n}" for n, i in enumerate(inputs, 1) if i.note
    ]


# -------------------------------------------------------------------------------------- masks


def masked(size: tuple[int, int], box: tuple[int, int, int, int], mode: str = "L") -> Image.Image:
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask.convert(mode)


def changed(data: bytes) -> tuple[int, int, int, int] | None:
    """Return where a mask is white."""
    return opened(data).convert("L").point(lambda v: 255 * (v > 127)).getbbox()


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "P"])
def test_white_is_what_changes_in_every_kind_of_mask(mode: str) -> None:
    picture, mask = Image.new("RGB", (40, 30)), masked((40, 30), (5, 5, 15, 20), mode)

    fields, (image, found) = placed(FILL, picture, None, encoded(mask))

    assert fields == {"image_url": image.digest, "mask_url": found.digest}
    assert (found.media_type, opened(found.data()).mode) == ("image/png", "L")
    assert changed(found.data()) == (5, 5, 15, 20)


def test_a_transparent_mask_is_strokes_on_nothing_or_a_picture_with_a_hole() -> None:
    box = (5, 5, 15, 20)
    strokes = Image.new("RGBA", (40, 30), (255, 255, 255, 0))
    strokes.paste((255, 255, 255, 255), box)
    hole = photo(40, 30, "RGBA")
    hole.putalpha(ImageChops.invert(masked((40, 30), box)))
    black = Image.new("RGBA", (40, 30), (0, 0, 0, 255))
    black.paste((0, 0, 0, 0), box)

    for mask in (strokes, hole, black):
        assert changed(read_input(mask, mask=True).data()) == box


def test_openai_gets_its_transparency_where_the_mask_is_white() -> None:
    found = opened(mask_as_alpha(encoded(masked((40, 30), (5, 5, 15, 20)))))

    assert found.mode == "RGBA"
    assert found.getchannel("A").point(lambda v: 255 * (v < 128)).getbbox() == (5, 5, 15, 20)
    assert changed(read_input(found, mask=True).data()) == (5, 5, 15, 20)  # and back


@pytest.mark.slow
def test_a_mask_becomes_smaller_with_its_picture() -> None:
    data = encoded(photo(4000, 3000), "JPEG", quality=97)

    _, (image, mask) = placed(FILL, data, None, masked((4000, 3000), (1000, 1000, 2000, 2000)))

    assert image.width < 4000
    assert (mask.width, mask.height) == (image.width, image.height)
    box = changed(mask.data())
    assert box is not None
    assert box[0] / mask.width == pytest.approx(0.25, abs=0.01)
    again = placed(FILL, image, None, mask)[1]  # what was prepared stays what it is
    assert again == (image, mask)


def test_a_mask_of_another_size_or_without_white_is_refused() -> None:
    picture = Image.new("RGB", (40, 30))

    with pytest.raises(
        InvalidRequest, match="mask: it has 30 x 40 pixels, and its picture 40 x 30"
    ):
        placed(FILL, picture, None, masked((30, 40), (0, 0, 9, 9)))
    with pytest.raises(InvalidRequest, match="nothing in it is white"):
        placed(FILL, picture, None, Image.new("L", (40, 30)))
    assert len(placed(FILL, HTTPS, None, masked((30, 40), (0, 0, 9, 9)))[1]) == 2


@pytest.mark.slow
def test_a_mask_of_noise_leaves_the_picture_most_of_the_bytes() -> None:
    picture, mask = encoded(photo(3000, 2000), "JPEG", quality=95), noise(3000, 2000, "L")

    _, inputs = placed(FILL, picture, None, mask)

    assert sum(found.size for found in inputs) <= INPUT_BYTES * 1.1
    assert inputs[0].width > 1000


# ------------------------------------------------------------------------------ once, and kept


def test_twenty_jobs_with_the_same_picture_prepare_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fox.bmp"
    path.write_bytes(encoded(photo(317, 211), "BMP"))
    os.utime(path, (1, 1))
    reads: list[Path] = []
    before = Path.read_bytes

    def counted(file: Path) -> bytes:
        reads.append(file)
        return before(file)

    monkeypatch.setattr(Path, "read_bytes", counted)
    found: list[Input] = []
    threads = [threading.Thread(target=lambda: found.append(read_input(path))) for _ in range(20)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({id(each.in_memory) for each in found}) == 1
    assert len(set(found)) == 1
    read_input(path)
    assert len(reads) <= 21  # the first ones raced for the digest
    path.write_bytes(encoded(photo(100, 100), "BMP"))
    assert read_input(path).width == 100


def test_a_file_that_is_written_again_at_once_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    now = time.time()
    path.write_bytes(encoded(Image.new("L", (8, 8), 1)))
    os.utime(path, (now, now))
    first = read_input(path)
    path.write_bytes(encoded(Image.new("L", (8, 8), 2)))
    os.utime(path, (now, now))

    assert read_input(path) != first


def test_a_kept_input_holds_no_bytes_in_memory(tmp_path: Path) -> None:
    store, found = Store(tmp_path), read_input(PICTURES["gif"])

    kept = found.kept_in(store)

    assert kept == found
    assert hash(kept) == hash(found)
    assert kept.in_memory is None
    assert kept.data() == found.data()
    assert kept.kept_in(store) == kept
    known = Input(**kept.to_dict()).kept_in(store)  # as the journal tells it
    assert known.data() == found.data()
    assert pickle.loads(pickle.dumps(kept)) == kept


def test_an_input_that_is_gone_says_so(tmp_path: Path) -> None:
    lost = Input(digest="sha256:" + "0" * 64, origin="fox.png")

    with pytest.raises(InvalidRequest, match=r"sha256:0000.* is not kept here any more"):
        lost.kept_in(Store(tmp_path))


def test_a_digest_alone_stands_for_a_picture_that_is_kept() -> None:
    digest = "sha256:" + "ab" * 32

    assert placed(EDIT, digest) == ({"image_url": digest}, (Input(digest=digest),))


def test_a_request_holds_digests_and_equal_pictures_make_equal_requests(tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(PICTURES["png"])
    given = {"prompt": "make it snow", "model": "fal-ai/nano-banana/edit"}

    first = ImageRequest.create(**given, image=path)  # type: ignore[arg-type]
    second = ImageRequest.create(**given, images=[PICTURES["png"]])  # type: ignore[arg-type]

    assert first == second
    assert first.fingerprint == second.fingerprint
    assert first.arguments()["image_urls"] == [first.inputs[0].digest]
    assert len(first.to_json()) < 1000


@pytest.mark.slow
def test_thirty_megapixels_take_no_longer_than_pillow_itself(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    photo(6480, 4640).save(path, quality=92)
    ours, theirs = [], []

    for turn in range(3):
        limits = PictureLimits(max_width=2700 + turn)  # another one each time: nothing is kept
        begun = time.process_time()
        found = read_input(path, limits=limits)
        ours.append(time.process_time() - begun)
        begun = time.process_time()
        with Image.open(path) as picture:
            shown = picture.resize((found.width, found.height), Image.Resampling.LANCZOS)
        shown.save(io.BytesIO(), "JPEG", quality=90)
        theirs.append(time.process_time() - begun)

    assert min(ours) <= 1.2 * min(theirs)
