"""The demo's painter: what it understands of a prompt, and the colours it mixes."""

import random

import pytest
from PIL import Image, ImageChops, ImageStat

from imagen_widget._providers.demo import painter


@pytest.mark.parametrize(
    ("prompt", "known"),
    [
        ("FOXES!", "fox"),
        ("berries and balloons", "balloon"),
        ("雪中的狐狸", "狐 雪"),
        ("夜晚的森林", "森 林 夜"),
        ("a sealed foxglove", ""),
        ("", ""),
    ],
)
def test_plurals_capitals_and_chinese_are_understood(prompt: str, known: str) -> None:
    assert painter.known_words(prompt, painter.CALLS) == known


def test_black_and_white_are_not_two_colours() -> None:
    assert painter.known_words("Black & White", ["black", "white", "monochrome"]) == "monochrome"


def test_each_subject_has_a_scene_of_its_own() -> None:
    subjects = {"fox", "kitchen", "balloon", "lighthouse", "sea", "forest", "mountain"}

    calls = [call for call in painter.CALLS if subjects & set(call.split())]
    assert len(calls) == len(subjects)


def test_snow_falls_on_what_the_prompt_names_and_is_not_a_fox() -> None:
    def draw(words: str) -> Image.Image:
        empty = painter.Canvas((256, 256), rng=random.Random(3))
        painter.draw(empty, words, "1|2", 0, {})
        return empty.image

    def change(subject: str) -> float:
        ice, snow = draw(f"{subject} ice"), draw(f"{subject} snow")  # in the same light
        return sum(ImageStat.Stat(ImageChops.difference(ice, snow)).mean)

    assert all(0 < change(subject) < 20 for subject in ("boat sea", "forest owl"))
    assert change("fox") == change("kitchen") == 0


def test_a_word_for_night_makes_it_night() -> None:
    lights = [painter.find_light("boat midnight", str(seed), 0) for seed in range(12)]

    assert all(sum(light.sky[0]) < 200 for light in lights)


def test_the_pictures_of_one_job_have_different_light() -> None:
    lights = [painter.find_light("fox", "1|2", index) for index in range(4)]

    assert len({light.sky for light in lights}) == 4


def test_a_colour_in_the_prompt_becomes_the_accent() -> None:
    red, _, blue = painter.find_light("blue", "1|2", 0).accent

    assert blue > red


@pytest.mark.parametrize("colour", ["#000000", "#ffffff", "#d9622b", "#0f5a6e"])
def test_a_mix_begins_and_ends_at_its_colours(colour: str) -> None:
    own = painter.rgb(colour)

    assert [painter.mix(own, (1, 2, 3), share) for share in (-1, 0, 1, 2)] == [own] * 2 + [
        (1, 2, 3)
    ] * 2
    assert painter.mix(own, own, 0.37) == own


def test_two_bright_colours_do_not_mix_to_a_dark_one() -> None:
    """Halfway between red and green a plain average is a dull olive."""
    red, green, _ = painter.mix((255, 0, 0), (0, 255, 0), 0.5)

    assert min(red, green) > 128


def test_a_curve_runs_through_its_points() -> None:
    points = [(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)]

    assert all(point in painter.curve(points) for point in points)
