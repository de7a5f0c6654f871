"""The demo's painter: the same picture for the same wish, in every shape and encoding."""

from __future__ import annotations

import io
import itertools
import random

import pytest
from PIL import Image, ImageChops, ImageStat

from imagen_widget._demo import _palette, _scenes
from imagen_widget._demo._canvas import Canvas
from imagen_widget._demo._colour import along, mix, rgb
from imagen_widget._demo._outline import Frame, curve, ellipse
from imagen_widget._demo._painter import draw, paint

SMALL = (256, 256)
SUBJECTS = [
    "a red fox in fresh snow",
    "a vintage package of flour in a 1960s kitchen",
    "a cat",
    "a red bicycle",
    "balloons",
    "saturn",
    "a lighthouse",
    "a boat at sea",
    "a city at night",
    "desert dunes",
    "a misty forest",
    "poppies",
    "geometric poster",
    "mountains at dusk",
]
SIZES = [(256, 256), (352, 192), (192, 352), (724, 88), (88, 724)]


def difference(first: Image.Image, second: Image.Image) -> float:
    """How far two pictures are apart, in steps of 255, on average."""
    return float(sum(ImageStat.Stat(ImageChops.difference(first, second)).mean) / 3)


@pytest.mark.parametrize("prompt", SUBJECTS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_scene_fits_every_shape(prompt: str, size: tuple[int, int]) -> None:
    picture = draw(prompt, seed=1, index=0, size=size)

    assert (picture.size, picture.mode) == (size, "RGB")
    assert min(ImageStat.Stat(picture).stddev) > 10  # a picture, not a plain area


def test_each_subject_has_a_scene_of_its_own() -> None:
    scenes = {_scenes.choose(p, words=_scenes.words_of(p)) for p in SUBJECTS}

    assert len(scenes) == len(SUBJECTS)


def test_the_same_wish_gives_the_same_bytes() -> None:
    pictures = {paint("a fox", seed=5, index=1, size=SMALL, encoding="png") for _ in range(2)}

    assert len(pictures) == 1


@pytest.mark.parametrize("changed", [{"seed": 6}, {"index": 2}], ids=str)
def test_another_seed_or_number_gives_another_picture(changed: dict[str, int]) -> None:
    wish = {"seed": 5, "index": 1}

    first = draw("mountains", **wish, size=SMALL)
    second = draw("mountains", **wish | changed, size=SMALL)

    assert difference(first, second) > 5


def test_the_pictures_of_one_job_have_different_light() -> None:
    pictures = [draw("a red fox in snow", seed=5, index=n, size=SMALL) for n in range(4)]

    pairs = itertools.combinations(pictures, 2)
    assert min(difference(first, second) for first, second in pairs) > 5


@pytest.mark.parametrize("prompt", ["a red fox in fresh snow", "kitchen", "a city at night"])
def test_a_larger_picture_is_the_same_picture(prompt: str) -> None:
    small = draw(prompt, seed=5, index=0, size=(256, 256))
    large = draw(prompt, seed=5, index=0, size=(768, 768))

    assert difference(small, large.resize((256, 256), Image.Resampling.BOX)) < 4


@pytest.mark.parametrize("encoding", ["png", "jpeg", "webp"])
def test_each_encoding_is_what_it_says(encoding: str) -> None:
    data = paint("a fox", seed=5, index=0, size=SMALL, encoding=encoding)

    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.size) == (encoding.upper(), SMALL)


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="gif"):
        paint("a fox", seed=5, index=0, size=SMALL, encoding="gif")


def test_a_picture_of_1k_stays_light() -> None:
    data = paint(SUBJECTS[1], seed=1, index=0, size=(1024, 1024), encoding="png")

    assert len(data) < 1_500_000


@pytest.mark.parametrize("prompt", SUBJECTS)
def test_every_picture_says_that_it_is_a_demo(prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    text = Canvas.text

    def spy(canvas: Canvas, x: float, y: float, words: str, **style: float) -> None:
        written.append((words, x / canvas.w, y / canvas.h))
        text(canvas, x, y, words, **style)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(Canvas, "text", spy)
    draw(prompt, seed=1, index=0, size=SMALL)

    words, across, down = written[-1]
    assert words == "DEMO"
    assert across > 0.8
    assert down > 0.9


def test_the_mark_is_seen_on_light_and_dark() -> None:
    """The chip brings its own ground, so its white letters stand out everywhere."""
    for prompt in ("a red bicycle on a white wall", "a lighthouse at night"):
        picture = draw(prompt, seed=1, index=0, size=(512, 512)).convert("L")
        chip = picture.crop((452, 482, 496, 496))

        darkest, lightest = ImageStat.Stat(chip).extrema[0]
        assert lightest - darkest > 120


def test_a_prompt_that_names_nothing_known_gets_a_scene() -> None:
    prompts = [f"the quality of mercy {number}" for number in range(40)]

    scenes = {_scenes.choose(prompt, words=_scenes.words_of(prompt)) for prompt in prompts}

    assert len(scenes) > 4


@pytest.mark.parametrize(
    ("prompt", "like"),
    [("雪中的狐狸", "fox"), ("poppies", "poppy"), ("FOXES!", "fox"), ("夜晚的城市", "city")],
)
def test_plurals_capitals_and_chinese_are_understood(prompt: str, like: str) -> None:
    scene = _scenes.choose(prompt, words=_scenes.words_of(prompt))

    assert scene is _scenes.choose(like, words=_scenes.words_of(like))


def test_words_are_matched_whole() -> None:
    """A "category" is no cat."""
    scene = _scenes.choose("category", words=_scenes.words_of("category"))

    assert scene is not _scenes.choose("cat", words=_scenes.words_of("cat"))


def test_an_empty_prompt_is_painted_too() -> None:
    """A prompt can be empty once the words for the demo are taken out."""
    assert draw("", seed=0, index=0, size=SMALL).size == SMALL


def test_a_word_for_night_makes_it_night() -> None:
    prompt = "a boat at midnight"

    chosen = [
        _palette.choose(prompt, words=_scenes.words_of(prompt), seed=seed, index=0)
        for seed in range(12)
    ]

    assert all(ImageStat.Stat(Image.new("RGB", (1, 1), p.sky[0])).mean[0] < 60 for p in chosen)


def test_a_colour_in_the_prompt_becomes_the_accent() -> None:
    prompt = "a blue bicycle"

    red, _, blue = _palette.choose(prompt, words=_scenes.words_of(prompt), seed=1, index=0).accent

    assert blue > red


# -- tools -------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["#000000", "#ffffff", "#d9622b", "#0f5a6e"])
def test_a_mix_begins_and_ends_at_its_colours(colour: str) -> None:
    ends = mix(rgb(colour), (1, 2, 3), 0.0), mix((1, 2, 3), rgb(colour), 1.0)

    assert ends == (rgb(colour), rgb(colour))


def test_a_mix_with_itself_changes_nothing() -> None:
    assert mix((217, 98, 43), (217, 98, 43), 0.37) == (217, 98, 43)


def test_two_bright_colours_do_not_mix_to_a_dark_one() -> None:
    """Halfway between red and green a plain average is a dull olive."""
    red, green, _ = mix((255, 0, 0), (0, 255, 0), 0.5)

    assert min(red, green) > 128


def test_a_gradient_stays_within_its_stops() -> None:
    stops = ((0, 0, 0), (100, 100, 100), (255, 255, 255))

    values = [along(stops, place)[0] for place in (-1, 0, 0.25, 0.5, 0.75, 1, 2)]

    assert values == sorted(values)
    assert (values[0], values[3], values[-1]) == (0, 100, 255)


def test_a_curve_runs_through_its_points() -> None:
    points = [(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)]

    line = curve(points)

    assert all(any(place == pytest.approx(point) for place in line) for point in points)


def test_a_frame_has_y_upwards_and_mirrors() -> None:
    frame = Frame(100, 200, 10, 20)

    assert frame("1,0.5", side=-1) == [(90, 190)]


def test_what_lies_outside_the_canvas_is_not_painted(canvas: Canvas) -> None:
    before = canvas.image.copy()

    canvas.shape(ellipse(500, 500, 20), fill=(255, 255, 255), blur=3)
    canvas.glow(-500, -500, 20, colour=(255, 255, 255), alpha=1)
    canvas.veil(300, 400, colour=(255, 255, 255), alpha=1)

    assert difference(before, canvas.image) == 0


def test_a_glow_ends_at_its_radius(canvas: Canvas) -> None:
    canvas.glow(50, 50, 30, colour=(255, 255, 255), alpha=1)

    lit = canvas.image.getbbox()
    assert lit is not None
    assert min(lit[:2]) >= 20
    assert max(lit[2:]) <= 81
    assert ImageStat.Stat(canvas.image.crop((49, 49, 52, 52))).mean[0] > 235


def test_edges_are_smooth(canvas: Canvas) -> None:
    canvas.shape(ellipse(50.3, 50.6, 30), fill=(255, 255, 255))

    levels = {level for _, level in canvas.image.convert("L").getcolors() or ()}
    assert len(levels) > 5


@pytest.fixture
def canvas() -> Canvas:
    """A black canvas of 100 pixels a side."""
    return Canvas((100, 100), rng=random.Random(1))  # noqa: S311 - chance for looks
