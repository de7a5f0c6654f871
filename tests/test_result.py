"""GeneratedImage and Generation: what they hold, show, save, and read back from what was saved."""

import base64
import copy
import io
import json
import pickle
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pypandoc
import pytest
from nbconvert.exporters import HTMLExporter, LatexExporter, MarkdownExporter, SlidesExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from imagen_widget import (
    GeneratedImage,
    Generation,
    ImageRequest,
    Input,
    Provenance,
    Studio,
    generate,
)
from imagen_widget._result import age, cost_text, settings_from
from imagen_widget.errors import InvalidRequest, QueueError
from tests.conftest import a_disk_of
from tests.fakequeue import FakeQueue
from tests.pictures import PICTURES, SVG, encoded, noise, opened, png_with

MADE = datetime(2026, 5, 11, 9, 14, tzinfo=UTC)
PROMPT = 'a fox & <b>"snow"</b>, $5'
SUFFIX = {"image/png": ".png", "image/jpeg": ".jpg", "image/svg+xml": ".svg", "image/gif": ".gif"}


def picture(
    folder: Path,
    data: bytes = b"",
    *,
    index: int = 0,
    colour: str = "orange",
    media_type: str = "image/png",
    prompt: str = PROMPT,
) -> GeneratedImage:
    path = folder / f"sha256-{index}{SUFFIX.get(media_type, '.bin')}"
    path.write_bytes(data or encoded(Image.new("RGB", (1200, 900), colour)))
    request = ImageRequest.create(prompt, num_images=3)
    return GeneratedImage(
        path=path,
        media_type=media_type,
        width=1200,
        height=900,
        url=f"https://v3.fal.media/{index}.png",
        provenance=Provenance(request, "7b1e6d0e", "fal", MADE, index, 42, "job-1"),
    )


def generation(folder: Path, *images: GeneratedImage, **changes: Any) -> Generation:
    shown = images or (picture(folder), picture(folder, index=1, colour="navy"))
    whole = Generation(
        images=shown,
        request=shown[0].provenance.request,
        request_id="7b1e6d0e",
        provider="fal",
        seconds=6.24,
        cost=0.08,
        created=MADE,
        seed=42,
        id="job-1",
    )
    return replace(whole, **changes)


# -------------------------------------------------------------------------------- what they hold


def test_a_generation_is_a_sequence_of_its_pictures(tmp_path: Path) -> None:
    both = generation(tmp_path)

    assert len(both) == 2
    assert [both[0], both[-1]] == list(both)
    assert both[:1] == both.images[:1]
    assert both.paths == [tmp_path / "sha256-0.png", tmp_path / "sha256-1.png"]
    assert both.urls == ["https://v3.fal.media/0.png", "https://v3.fal.media/1.png"]
    assert both.model == "fal-ai/imagen4/preview"
    assert both.request.prompt == PROMPT
    assert (both.inputs, both.filtered, both.revised_prompt, both.cost_source) == (
        (),
        0,
        None,
        None,
    )


def test_values_pickle_hash_and_copy(tmp_path: Path) -> None:
    both = generation(tmp_path)
    both._repr_mimebundle_()  # what is computed on the way must not stand in the way

    for value in (both, both[0], both.request, both[0].provenance):
        for twin in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value), copy.copy(value)):
            assert twin == value
            assert hash(twin) == hash(value)
    assert pickle.loads(pickle.dumps(both))[0].data == both[0].data


def test_the_summary_says_how_many_how_long_and_what_it_cost(tmp_path: Path) -> None:
    assert generation(tmp_path, filtered=1).summary == (
        "2 images · 1 of 3 withheld by the provider's filter · 6.2 s · $0.08 · seed 42"
        " · fal imagen4"
    )
    billed = generation(tmp_path, filtered=3, cost_source="billed", cost=0.1)
    assert "3 of 5 withheld" in billed.summary
    assert "2 images · 1 of 3 missing · 6.2 s" in generation(tmp_path).summary
    assert "$0.10 billed" in billed.summary
    assert " · free · " in generation(tmp_path, cost=0.0).summary
    assert "price unknown" in generation(tmp_path, cost=None).summary


def test_the_summary_says_from_what_it_was_made(tmp_path: Path) -> None:
    both = generation(tmp_path)
    inputs = (Input(digest="sha256:0", origin="fox.png"), Input(digest="sha256:1", origin="b.png"))

    edited = replace(both, request=replace(both.request, inputs=inputs))

    assert edited.inputs == inputs
    assert "from fox.png and 1 more input ·" in edited.summary


def test_the_summary_names_a_mask(tmp_path: Path) -> None:
    (tmp_path / "fox.png").write_bytes(PICTURES["png"])
    white = opened(PICTURES["png"]).convert("L").point(lambda _: 255)
    asked = ImageRequest.create(
        "a hat", model="fal-ai/gpt-image-1.5/edit", image=tmp_path / "fox.png", mask=white
    )

    edited = replace(generation(tmp_path), request=asked)

    assert asked.has_mask
    assert " · from fox.png with a mask · " in edited.summary


def test_an_answer_from_history_says_so_and_names_fresh(tmp_path: Path) -> None:
    made = datetime.now(UTC) - timedelta(days=2, hours=1)

    old = generation(tmp_path, created=made, cost_source="billed").as_reused()

    assert "from history, 2 days ago, free · seed 42" in old.summary
    assert old.summary.endswith(" · --fresh (reuse=False) for a new one")
    assert (old.cost, old.seconds, old.cost_source) == (0, 0, None)
    assert old.caption == f"{PROMPT} · 2 days ago · imagen4"


def test_the_bytes_are_those_on_disk(tmp_path: Path) -> None:
    image = picture(tmp_path)

    assert image.data == image.path.read_bytes()
    assert image.to_pil().size == (1200, 900)


def test_a_missing_file_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    image = picture(tmp_path)
    image.path.unlink()

    with pytest.raises(QueueError, match="cannot be read") as caught:
        _ = image.data

    assert ".url may still serve it" in caught.value.remedy  # what is done is not fetched again


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "latin-1"])
def test_they_print_on_streams_that_know_few_characters(tmp_path: Path, encoding: str) -> None:
    edited = generation(tmp_path)
    inputs = (Input(digest="sha256:0", origin="雪 — 狐.png"),)
    edited = replace(edited, request=replace(edited.request, inputs=inputs))
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)

    print(edited, edited[0], file=stream)

    assert repr(edited).startswith("<Generation: 2 images, 1 of 3 missing, from ")


# -------------------------------------------------------------------------------- what they show


def held(html: str) -> list[bytes]:
    """Return the pictures that a piece of HTML carries."""
    return [base64.b64decode(d) for d in re.findall(r'src="data:image/webp;base64,([^"]+)"', html)]


def size_of(bundle: dict[str, Any]) -> int:
    return sum(len(json.dumps(value)) for value in bundle.values())


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("prompt", ["a fox", "a fox in snow, " * 13_000])
def test_a_notebook_holds_small_copies_only(tmp_path: Path, count: int, prompt: str) -> None:
    data = encoded(noise(1200, 900))
    images = [picture(tmp_path, data, index=index, prompt=prompt) for index in range(count)]

    bundle = generation(tmp_path, *images)._repr_mimebundle_()

    assert size_of(bundle) <= 150_000 * count
    assert size_of(images[0]._repr_mimebundle_()) <= 150_000
    assert len(held(bundle["text/html"])) == count
    assert all(max(opened(d).size) <= 1024 for d in held(bundle["text/html"]))
    assert re.findall(r'alt="([^"]*)"', bundle["text/html"])[0].startswith("a fox")
    assert all(len(alt) <= 300 for alt in re.findall(r'alt="([^"]*)"', bundle["text/html"]))


def test_the_prompt_stands_in_the_markup_as_text_only(tmp_path: Path) -> None:
    html = generation(tmp_path)._repr_mimebundle_()["text/html"]

    assert 'alt="a fox &amp; &lt;b&gt;&quot;snow&quot;&lt;/b&gt;, $5"' in html
    assert "<b>" not in html


def test_the_text_form_names_the_files(tmp_path: Path) -> None:
    bundle = generation(tmp_path)._repr_mimebundle_()

    assert set(bundle) == {"text/plain", "text/html", "image/jpeg"}
    assert str(tmp_path / "sha256-1.png") in bundle["text/plain"]
    assert "base64" not in bundle["text/plain"]


def test_a_picture_that_is_gone_leaves_the_others_to_be_shown(tmp_path: Path) -> None:
    both = generation(tmp_path)
    both[0].path.unlink()

    bundle = both._repr_mimebundle_()

    assert bundle["text/html"].count("<img ") == 1
    assert "cannot be read" in bundle["text/html"]
    assert "image/jpeg" in bundle


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (SVG.replace(b"<svg", b"<svg onload='alert(1)'"), "image/svg+xml"),
        (b"whatever this is", "application/octet-stream"),
    ],
)
def test_what_cannot_be_shown_is_a_line_with_its_path(
    tmp_path: Path, data: bytes, media_type: str
) -> None:
    image = picture(tmp_path, data, media_type=media_type)

    bundle = generation(tmp_path, image)._repr_mimebundle_()

    assert set(bundle) == {"text/plain", "text/html"}
    assert f"{media_type}, kept as {image.path}" in bundle["text/html"]
    assert "<svg" not in bundle["text/html"]
    assert "alert" not in bundle["text/html"]
    assert image.save(tmp_path / "copies").read_bytes() == data


def notebook(*values: Any) -> Any:
    outputs = [
        new_output("display_data", data=value._repr_mimebundle_(), metadata={}) for value in values
    ]
    return new_notebook(cells=[new_code_cell("%imagen a fox", outputs=outputs)])


COLOURS = {"red": (250, 0, 0), "blue": (0, 0, 250), "lime": (0, 250, 0)}


def shows(data: bytes, colour: str) -> bool:
    shown = opened(data).convert("RGB")
    near = COLOURS[colour]
    found = shown.resize((60, 60)).getcolors(3600) or []
    alike = (n for n, c in found if all(abs(a - b) < 40 for a, b in zip(c, near, strict=True)))  # type: ignore[arg-type]
    return sum(alike) > 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "exporter", [LatexExporter, MarkdownExporter, HTMLExporter, SlidesExporter]
)
def test_every_picture_is_in_a_converted_notebook(tmp_path: Path, exporter: Any) -> None:
    images = [picture(tmp_path, index=i, colour=c) for i, c in enumerate(COLOURS)]
    saved = notebook(generation(tmp_path, *images), images[0])
    nbformat.validate(saved)

    text, resources = exporter().from_notebook_node(saved)

    if exporter is LatexExporter:  # one picture an output, in a format that TeX reads
        files = resources["outputs"]
        assert text.count("\\adjustimage") == len(files) == 2
        assert all(name.endswith((".jpg", ".jpeg", ".png")) for name in files)
        sheet, single = files.values()
    else:
        shown = held(text)
        assert len(shown) == 4
        sheet, single = b"", shown[3]
        assert all(shows(data, colour) for data, colour in zip(shown, COLOURS, strict=False))
    assert not sheet or all(shows(sheet, colour) for colour in COLOURS)
    assert shows(single, "red")


@pytest.mark.slow
def test_every_output_is_a_picture_in_a_word_file(tmp_path: Path) -> None:
    images = [picture(tmp_path, index=i, colour=c) for i, c in enumerate(COLOURS)]
    source, word = tmp_path / "fox.ipynb", tmp_path / "fox.docx"
    nbformat.write(notebook(generation(tmp_path, *images), images[0]), source)

    pypandoc.convert_file(str(source), "docx", outputfile=str(word))

    with zipfile.ZipFile(word) as parts:
        names = [name for name in parts.namelist() if name.startswith("word/media/")]
        sheet, single = sorted((parts.read(name) for name in names), key=len, reverse=True)
    assert all(shows(sheet, colour) for colour in COLOURS)
    assert shows(single, "red")


# -------------------------------------------------------------------------------- what they save


def read_back(path: Path) -> Provenance[ImageRequest]:
    return settings_from(path)


def test_a_copy_in_a_folder_has_a_readable_name_and_carries_its_settings(tmp_path: Path) -> None:
    image = picture(tmp_path)

    saved = image.save(tmp_path / "exports")

    assert saved.parent == tmp_path / "exports"
    assert saved.name == image.file_name == "a-fox-b-snow-b-5-7b1e6d0e-1.png"
    assert read_back(saved) == image.provenance
    assert image.marked() == saved.read_bytes()
    assert b"trainedAlgorithmicMedia" in saved.read_bytes()
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["environment", "studio"])
def test_no_copy_tells_the_prompt_if_the_setting_says_so(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IMAGEN_PROVENANCE=0 decides wherever a copy is made, and for what was kept before too."""
    demo = partial(Studio, "demo", home=tmp_path / "home", demo_seconds=0)
    before = demo().generate("a fox of mine", quiet=True)
    if by == "environment":
        monkeypatch.setenv("IMAGEN_PROVENANCE", "0")
        studio = demo()
    else:
        monkeypatch.setenv("IMAGEN_PROVENANCE", "1")
        studio = demo(provenance=False)
    made = studio.generate("a fox of mine", seed=1, quiet=True)
    series = studio.sweep("{whose} of mine", whose=["a fox"], name="mine").run(quiet=True)
    (kept,) = studio.history.search(limit=1)
    again = studio.generate("a fox of mine", reuse=True, quiet=True)
    sent = pickle.loads(pickle.dumps(made))
    (row,) = series.rows
    assert row.generation is not None
    for number, each in enumerate((made, kept, again, sent, row.generation)):
        folder = tmp_path / f"copies-{number}"
        each.save(folder, provenance=True)
        each[0].save(folder / "x.jpg")
        each[0].save(folder / "x.webp", provenance=True)
        assert b"of mine" not in b"".join(path.read_bytes() for path in folder.iterdir())
        assert len(list(folder.iterdir())) == 3  # and nothing beside them
        assert each[0].marked() == each[0].data
    exported = series.export(tmp_path / "export")
    (picture_,) = exported.glob("*.png")
    assert b"of mine" not in picture_.read_bytes()
    assert "of mine" in (exported / "metadata.jsonl").read_text()  # a table of prompts, by name
    assert made[0] == replace(made[0], tells=True)
    assert b"of mine" in before[0].save(tmp_path / "before.png").read_bytes()


def test_no_settings_are_written_beside_a_copy_if_the_setting_says_so(tmp_path: Path) -> None:
    drawing = replace(picture(tmp_path, SVG, media_type="image/svg+xml"), tells=False)

    drawing.save(tmp_path / "new" / "fox.svg")

    assert [path.name for path in (tmp_path / "new").iterdir()] == ["fox.svg"]


def test_a_copy_can_leave_the_settings_out(tmp_path: Path) -> None:
    image = picture(tmp_path)

    saved = image.save(tmp_path / "fox.png", provenance=False)

    assert saved.read_bytes() == image.data == image.marked(provenance=False)
    with pytest.raises(InvalidRequest, match="carries no settings"):
        read_back(saved)


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jpg", "JPEG"), (".JPEG", "JPEG"), (".webp", "WEBP"), (".png", "PNG")]
)
def test_the_suffix_chooses_the_format_and_the_settings_come_along(
    tmp_path: Path, suffix: str, kind: str
) -> None:
    saved = picture(tmp_path).save(tmp_path / f"fox{suffix}")

    with Image.open(saved) as copied:
        assert (copied.format, copied.size) == (kind, (1200, 900))
    assert read_back(saved).seed == 42


def test_transparency_is_white_in_a_jpeg(tmp_path: Path) -> None:
    image = picture(tmp_path, encoded(Image.new("RGBA", (1200, 900), (255, 0, 0, 0))))

    saved = image.save(tmp_path / "fox.jpg")

    assert opened(saved.read_bytes()).getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("suffix", "media_type", "words"),
    [
        (".pdf", "image/png", r"'\.pdf' is not a picture format"),
        (".gif", "image/png", r"'\.gif' is not a .* name in \.png, \.jpg or \.webp\.$"),
        (".TIFF", "image/png", r"'\.TIFF' is not a picture format"),
        (".tiff", "image/gif", r"'\.tiff' is not a .* in \.png, \.jpg, \.webp or \.gif\.$"),
        (".gif", "image/svg+xml", r"End the name in \.svg"),
        (".png", "image/svg+xml", "SVG drawing"),
    ],
)
def test_a_format_that_cannot_be_written_is_refused_before_anything_is(
    tmp_path: Path, suffix: str, media_type: str, words: str
) -> None:
    image = picture(tmp_path, SVG if "svg" in media_type else b"", media_type=media_type)

    with pytest.raises(InvalidRequest, match=words):
        image.save(tmp_path / "new" / f"fox{suffix}")

    assert not (tmp_path / "new").exists()


def test_saving_twice_makes_no_second_file_and_overwrites_nothing_else(tmp_path: Path) -> None:
    image, folder = picture(tmp_path), tmp_path / "exports"
    first = image.save(folder)

    assert image.save(folder) == first
    first.write_bytes(b"somebody's own")
    other = image.save(folder)

    assert other != first
    assert first.read_bytes() == b"somebody's own"


def test_copies_of_one_name_that_threads_save_at_once_are_all_there(tmp_path: Path) -> None:
    data = (encoded(Image.new("RGB", (8, 8), (shade, 0, 0))) for shade in range(16))
    made = [picture(tmp_path, each, index=number) for number, each in enumerate(data)]
    same = [replace(each, provenance=made[0].provenance) for each in made]

    for folder in map(str, range(20)):
        with ThreadPoolExecutor(8) as threads:
            saved = list(threads.map(GeneratedImage.save, same, [tmp_path / folder] * 16))
        assert sorted((tmp_path / folder).iterdir()) == sorted(set(saved))
        assert len(set(saved)) == 16


def test_all_pictures_are_saved_under_names_of_their_own(tmp_path: Path) -> None:
    saved = generation(tmp_path).save(tmp_path / "exports")

    assert len({path.name for path in saved}) == 2
    assert all(path.is_file() for path in saved)


def test_the_name_of_a_file_is_one_for_a_single_picture_and_refused_for_several(
    tmp_path: Path,
) -> None:
    file, folder = tmp_path / "fox.JPG", tmp_path / "foxes.png"
    folder.mkdir()

    assert generation(tmp_path, picture(tmp_path)).save(file) == [file]
    assert opened(file.read_bytes()).format == "JPEG"
    assert {path.parent for path in generation(tmp_path).save(folder)} == {folder}
    assert len(generation(tmp_path).save(tmp_path / "v1.5")) == 2
    with pytest.raises(InvalidRequest, match=r"takes a folder.*fox\[0\]\.save\('two\.jpg'\)"):
        generation(tmp_path).save(tmp_path / "two.jpg")
    assert not (tmp_path / "two.jpg").exists()


@pytest.mark.parametrize("where", ["foxes", "fox.png", "."])
def test_in_a_deleted_working_folder_one_line_says_where_to_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    made, here = generation(tmp_path, picture(tmp_path)), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()

    for save in (made.save, made[0].save):
        with pytest.raises(InvalidRequest, match=r"No such file.*full path"):
            save(where)
    assert made.save(tmp_path / "elsewhere")


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    made = generation(tmp_path)
    (tmp_path / "file").touch()

    for save in (made.save, made[0].save):
        with pytest.raises(InvalidRequest, match=r"cannot be saved as .*is kept"):
            save(tmp_path / "file" / "foxes")


@pytest.mark.parametrize("name", ["fox.png", "fox.webp", "foxes"])
def test_a_full_disk_leaves_the_earlier_copy_and_nothing_else(tmp_path: Path, name: str) -> None:
    image, where = picture(tmp_path, encoded(noise(100, 100))), tmp_path / "full" / name
    before = image.save(where)
    data = before.read_bytes()
    other = picture(tmp_path, encoded(noise(101, 101)), index=1)

    with a_disk_of(100), pytest.raises(InvalidRequest, match=r"cannot be saved as .*is kept"):
        other.save(where)

    assert [p for p in where.parent.rglob("*") if p.is_file()] == [before]
    assert before.read_bytes() == data
    assert other.save(where).stem in {"fox", other.file_name.removesuffix(".png")}


# --------------------------------------------------------------------------- settings beside them

SIGNED = png_with((b"caBX", b"\0\0\0\x10jumbc2pa"))


@pytest.mark.parametrize("name", ["fox.png", ""])
def test_a_signed_picture_is_saved_as_it_is_with_its_settings_beside_it(
    tmp_path: Path, name: str
) -> None:
    image = picture(tmp_path, SIGNED)

    saved = image.save(tmp_path / "exports" / name)

    assert saved.read_bytes() == SIGNED
    beside = saved.with_suffix(".json")
    assert sorted(saved.parent.iterdir()) == sorted([saved, beside])
    assert read_back(saved) == read_back(beside) == image.provenance
    assert image.save(tmp_path / "exports" / name) == saved
    assert len(list(saved.parent.iterdir())) == 2


@pytest.mark.parametrize("name", ["gif", "avif"])
def test_formats_without_a_place_for_settings_get_them_beside(tmp_path: Path, name: str) -> None:
    image = picture(tmp_path, PICTURES[name], media_type=f"image/{name}")

    saved = image.save(tmp_path / "exports" / f"fox.{name}")

    assert saved.read_bytes() == PICTURES[name]
    assert read_back(saved).request.prompt == PROMPT


def test_a_prompt_too_long_for_a_jpeg_goes_beside_it(tmp_path: Path) -> None:
    image = picture(tmp_path, prompt="fox " * 30_000)

    assert read_back(image.save(tmp_path / "fox.jpg")).request == image.provenance.request


def test_settings_beside_a_file_count_only_for_that_file(tmp_path: Path) -> None:
    saved = picture(tmp_path, SIGNED).save(tmp_path / "fox.png")

    saved.write_bytes(PICTURES["png"])

    with pytest.raises(InvalidRequest, match="carries no settings"):
        read_back(saved)


def test_copies_of_one_name_and_two_formats_keep_their_settings(tmp_path: Path) -> None:
    one = picture(tmp_path, PICTURES["gif"], media_type="image/gif", prompt="a fox")
    two = picture(tmp_path, SIGNED, index=1, prompt="an owl")
    gif, png = one.save(tmp_path / "x.gif"), two.save(tmp_path / "x.png")

    for _ in range(2):
        assert read_back(gif) == one.provenance
        assert read_back(png) == two.provenance
        assert (one.save(gif), two.save(png)) == (gif, png)
    assert len(list(tmp_path.glob("x.*"))) == 4


def test_a_json_file_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / "fox.json").write_text('{"mine": 1}')

    saved = picture(tmp_path, SIGNED).save(tmp_path / "fox.png")

    assert (tmp_path / "fox.json").read_text() == '{"mine": 1}'
    assert (tmp_path / "fox.png.json").exists()
    assert read_back(saved).seed == 42


def test_no_settings_beside_it_where_they_are_not_wanted(tmp_path: Path) -> None:
    saved = picture(tmp_path, SIGNED).save(tmp_path / "fox.png", provenance=False)

    assert not saved.with_suffix(".json").exists()


# ----------------------------------------------------------------------------- read from a file


def test_settings_of_another_program_are_none() -> None:
    lines = b"a fox\nSteps: 20, Seed: 7, Size: 1x1, Model: v1-5"

    with pytest.raises(InvalidRequest, match="carries no settings"):
        settings_from(png_with((b"tEXt", b"parameters\x00" + lines)))


def test_inputs_come_back_as_digests_with_what_is_known_of_them(tmp_path: Path) -> None:
    digest = "sha256:" + "a" * 64
    request = ImageRequest.create(
        "x", model="fal-ai/nano-banana/edit", extra={"image_urls": [digest]}
    )
    known = Input(digest=digest, width=40, height=30, origin="fox.png", source_id="job-0")
    image = picture(tmp_path)
    image = replace(
        image, provenance=replace(image.provenance, request=replace(request, inputs=(known,)))
    )

    found = read_back(image.save(tmp_path / "edited.png")).request

    assert found == replace(request, inputs=(known,))
    assert found.inputs[0].to_dict() == known.to_dict()


@pytest.mark.parametrize(
    "given",
    [
        {"image": PICTURES["jpeg"]},
        {"images": [PICTURES["jpeg"], "https://example.com/owl.png", PICTURES["png"]]},
        {"image": PICTURES["png"], "mask": Image.new("L", (33, 17), "white")},
        {"pose_map": PICTURES["png"], "extra": {"model": "large", "hash": "sha256:" + "0" * 64}},
    ],
)
def test_what_a_model_of_which_nothing_is_known_was_given_comes_back_and_goes_out_again(
    queue: FakeQueue, tmp_path: Path, given: dict[str, Any]
) -> None:
    made = generate("a fox", model="somebody/some-model", **given)

    found = read_back(made.save(tmp_path / "saved")[0]).request
    again = generate(found)

    first, second = (r.arguments for r in queue.requests if r.route == "submit")
    assert (found, found.inputs) == (made.request, made.inputs)
    assert second == first
    assert again.inputs == made.inputs


def with_json(image: GeneratedImage, **changes: object) -> bytes:
    saved = opened(image.marked())
    fields = {**json.loads(saved.info["imagen_widget"]), **changes}
    return png_with((b"iTXt", b"imagen_widget\x00\x00\x00\x00\x00" + json.dumps(fields).encode()))


@pytest.mark.parametrize(
    "parameters",
    [
        *({"aspect_ratio": "7:1"}, {"unheard_of": 1}, {"num_images": 10**9}, {"api_key": "x"}),
        {"unheard_of": {"a": 1}, "model": "acme/dear"},
    ],
)
def test_fields_that_the_model_does_not_take_are_left_out(
    tmp_path: Path, parameters: object
) -> None:
    found = settings_from(with_json(picture(tmp_path), parameters=parameters))

    assert found.request == ImageRequest.create(PROMPT)


def test_settings_from_elsewhere_name_no_file_of_this_machine(tmp_path: Path) -> None:
    """Sent again, such a request would carry a private picture to the provider."""
    private = tmp_path / "private.png"
    private.write_bytes(png_with())
    told = {"model": "kontext", "parameters": {"image_url": str(private)}}

    with pytest.raises(InvalidRequest, match="carries no settings"):
        settings_from(with_json(picture(tmp_path), **told))


def test_settings_from_elsewhere_put_no_address_in_a_pictures_place(
    queue: FakeQueue, tmp_path: Path
) -> None:
    made = generate("a fox", model="kontext", image=PICTURES["jpeg"])
    told = {**made.inputs[0].to_dict(), "url": "http://example.com/other.png"}

    generate(settings_from(with_json(made[0], inputs=[told])).request)

    first, second = (r.arguments for r in queue.requests if r.route == "submit")
    assert first == second


@pytest.mark.parametrize("changes", [{"prompt": ""}, {"model": "no model"}, {"model": "../../etc"}])
def test_a_request_that_no_model_takes_is_not_settings(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(InvalidRequest, match="carries no settings"):
        settings_from(with_json(picture(tmp_path), **changes))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read: No such file"):
        settings_from(tmp_path / "fox.png")


@pytest.mark.parametrize("odd", [None, 5, "a\0b", "~nobody-here/fox", "a\ud800"])
def test_a_path_that_is_none_is_one_line_for_saving_and_reading(tmp_path: Path, odd: Any) -> None:
    made = generation(tmp_path)

    for call in (made.save, made[0].save, settings_from):
        with pytest.raises(InvalidRequest, match=r"cannot be (saved|read)"):
            call(odd)


def test_an_address_is_not_a_folder_to_make_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = generation(tmp_path)
    monkeypatch.chdir(tmp_path)

    for call in (made.save, made[0].save):
        for address in ("s3://bucket/foxes", "s3://bucket/fox.png", Path("s3://bucket")):
            with pytest.raises(InvalidRequest, match=r"cannot be saved as s3:.*that is an address"):
                call(address)
    assert not Path("s3:").exists()


def test_a_name_may_be_as_long_as_the_disk_takes_it(tmp_path: Path) -> None:
    path = tmp_path / f"{'a' * 251}.png"

    assert picture(tmp_path).save(path) == path
    assert path.is_file()


def test_the_kept_original_is_never_written_over(tmp_path: Path) -> None:
    image, other = picture(tmp_path), picture(tmp_path, index=1, colour="navy")
    digits = "ab" * 32
    kept = tmp_path / digits[:2] / f"sha256-{digits}.png"
    kept.parent.mkdir()
    other = replace(other, path=other.path.rename(kept))
    before, link, hard = other.data, tmp_path / "link.png", tmp_path / "hard.png"
    link.symlink_to(other.path)
    hard.hardlink_to(other.path)

    for saved in (image, other):
        for path in (other.path, link):
            with pytest.raises(InvalidRequest, match="kept original"):
                saved.save(path)
        assert saved.save(hard) == hard

    assert other.data == before


def test_a_slash_at_the_end_means_a_folder(tmp_path: Path) -> None:
    saved = picture(tmp_path).save(f"{tmp_path}/pictures v1.2/")

    assert (saved.parent.name, saved.suffix) == ("pictures v1.2", ".png")


# ------------------------------------------------------------------------------------- in words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "just now"),
        (60, "1 minute ago"),
        (3 * 3600 + 5, "3 hours ago"),
        (86_400, "1 day ago"),
        (40 * 86_400, "40 days ago"),
        (-10, "just now"),
    ],
)
def test_an_age_is_said_in_words(seconds: int, words: str) -> None:
    assert age(MADE, now=MADE + timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("cost", "free", "words"),
    [
        (0.04, False, "$0.04"),
        (Decimal("0.156"), False, "$0.156"),
        (0.1, False, "$0.10"),
        (2, False, "$2.00"),
        (None, False, "price unknown"),
        (0, True, "free"),
        (0.0, False, "$0.00"),
    ],
)
def test_a_cost_is_said_in_words(cost: float | Decimal | None, free: bool, words: str) -> None:
    assert cost_text(cost, free=free) == words
