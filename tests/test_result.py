"""GeneratedImage and Generation: what they hold, show and save."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from imagen_widget import _provenance
from imagen_widget._provenance import Provenance
from imagen_widget._request import ImageRequest
from imagen_widget._result import GeneratedImage, Generation, age, cost_text
from imagen_widget.errors import InvalidRequest, QueueError

if TYPE_CHECKING:
    from pathlib import Path

MADE = datetime(2026, 5, 11, 9, 14, tzinfo=UTC)
PROMPT = 'a fox & <b>"snow"</b>, $5'


def picture(folder: Path, *, index: int = 0, colour: str = "orange") -> GeneratedImage:
    path = folder / f"sha256-{index}.png"
    Image.effect_noise((1200, 900), 80).convert("RGB").save(path) if colour == "noise" else (
        Image.new("RGB", (1200, 900), colour).save(path)
    )
    request = ImageRequest.create(PROMPT, num_images=3)
    return GeneratedImage(
        path=path,
        media_type="image/png",
        width=1200,
        height=900,
        url=f"https://v3.fal.media/{index}.png",
        provenance=Provenance(request, "7b1e6d0e", "fal", MADE, index, 42),
    )


def generation(folder: Path, **changes: object) -> Generation:
    images = (picture(folder), picture(folder, index=1, colour="navy"))
    whole = Generation(
        images=images,
        request=images[0].provenance.request,
        request_id="7b1e6d0e",
        provider="fal",
        seconds=6.24,
        cost=0.08,
        created=MADE,
        seed=42,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]  # each test names a real field


def test_a_generation_is_a_sequence_of_its_pictures(tmp_path: Path) -> None:
    both = generation(tmp_path)

    assert len(both) == 2
    assert [both[0], both[-1]] == list(both)
    assert both[:1] == both.images[:1]
    assert both.paths == [tmp_path / "sha256-0.png", tmp_path / "sha256-1.png"]
    assert both.urls == ["https://v3.fal.media/0.png", "https://v3.fal.media/1.png"]
    assert both.model == "fal-ai/imagen4/preview"
    assert both.request.prompt == PROMPT


def test_the_summary_says_how_many_how_long_and_what_it_cost(tmp_path: Path) -> None:
    both = generation(tmp_path)

    assert both.summary == (
        "2 images · 3 were asked for, the rest were filtered by the provider"
        " · 6.2 s · $0.08 · seed 42 · fal imagen4"
    )


def test_an_answer_from_history_says_so_and_names_fresh(tmp_path: Path) -> None:
    old = generation(tmp_path, reused=True, created=datetime.now(UTC) - timedelta(days=2, hours=1))

    assert "from history, 2 days ago, free; --fresh for a new one" in old.summary


def test_the_bytes_are_those_on_disk(tmp_path: Path) -> None:
    image = picture(tmp_path)

    assert image.data == image.path.read_bytes()
    assert image.to_pil().size == (1200, 900)


def test_a_missing_file_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    image = picture(tmp_path)
    image.path.unlink()

    with pytest.raises(QueueError, match="cannot be read") as caught:
        _ = image.data

    assert "%imagen_resume" in caught.value.remedy


@pytest.mark.parametrize("colour", ["orange", "noise"])
def test_what_the_notebook_holds_is_a_small_copy(tmp_path: Path, colour: str) -> None:
    image = picture(tmp_path, colour=colour)

    html = image._repr_mimebundle_()["text/html"]

    (held,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', html)
    with Image.open(io.BytesIO(base64.b64decode(held))) as small:
        assert max(small.size) <= 1024
    assert len(html) <= 150_000


def test_the_prompt_stands_in_the_markup_as_text_only(tmp_path: Path) -> None:
    html = generation(tmp_path)._repr_mimebundle_()["text/html"]

    assert 'alt="a fox &amp; &lt;b&gt;&quot;snow&quot;&lt;/b&gt;, $5"' in html
    assert "<b>" not in html


def test_the_text_form_names_the_files(tmp_path: Path) -> None:
    bundle = generation(tmp_path)._repr_mimebundle_()

    assert set(bundle) == {"text/plain", "text/html"}
    assert str(tmp_path / "sha256-1.png") in bundle["text/plain"]
    assert "base64" not in bundle["text/plain"]


def test_a_picture_that_is_gone_leaves_the_others_to_be_shown(tmp_path: Path) -> None:
    both = generation(tmp_path)
    both[0].path.unlink()

    html = both._repr_mimebundle_()["text/html"]

    assert html.count("<img ") == 1
    assert "cannot be read" in html


def test_a_copy_in_a_folder_has_a_readable_name_and_carries_its_settings(tmp_path: Path) -> None:
    image = picture(tmp_path)

    saved = image.save(tmp_path / "exports")

    assert saved.parent == tmp_path / "exports"
    assert saved.name.startswith("a-fox")
    assert "sha256" not in saved.name
    read = _provenance.read(saved.read_bytes())
    assert read is not None
    assert read.request.prompt == PROMPT


def test_a_copy_can_leave_the_settings_out(tmp_path: Path) -> None:
    image = picture(tmp_path)

    saved = image.save(tmp_path / "fox.png", provenance=False)

    assert saved.read_bytes() == image.data
    assert _provenance.read(saved.read_bytes()) is None


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jpg", "JPEG"), (".JPEG", "JPEG"), (".webp", "WEBP"), (".png", "PNG")]
)
def test_the_suffix_chooses_the_format_and_the_settings_come_along(
    tmp_path: Path, suffix: str, kind: str
) -> None:
    saved = picture(tmp_path).save(tmp_path / f"fox{suffix}")

    with Image.open(saved) as copy:
        assert (copy.format, copy.size) == (kind, (1200, 900))
    read = _provenance.read(saved.read_bytes())
    assert read is not None
    assert read.seed == 42


def test_a_suffix_that_is_no_picture_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    image = picture(tmp_path)

    with pytest.raises(InvalidRequest, match=r"no picture format '\.pdf'"):
        image.save(tmp_path / "new" / "fox.pdf")

    assert not (tmp_path / "new").exists()


def test_saving_twice_makes_no_second_file_and_overwrites_no_stranger(tmp_path: Path) -> None:
    image, folder = picture(tmp_path), tmp_path / "exports"
    first = image.save(folder)

    assert image.save(folder) == first
    first.write_bytes(b"somebody's own")
    other = image.save(folder)

    assert other != first
    assert first.read_bytes() == b"somebody's own"


def test_all_pictures_are_saved_under_names_of_their_own(tmp_path: Path) -> None:
    saved = generation(tmp_path).save(tmp_path / "exports")

    assert len({path.name for path in saved}) == 2
    assert all(path.is_file() for path in saved)


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
    ("cost", "provider", "words"),
    [
        (0.04, "fal", "$0.04"),
        (Decimal("0.156"), "fal", "$0.156"),
        (0.1, "kkiai", "$0.10"),
        (2, "fal", "$2.00"),
        (None, "fal", "price unknown"),
        (0, "demo", "free (demo)"),
        (0.0, "fal", "$0.00"),
    ],
)
def test_a_cost_is_said_in_words(cost: float | Decimal | None, provider: str, words: str) -> None:
    assert cost_text(cost, provider=provider) == words
