"""A request is checked before anything is sent: field, value and what is allowed."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_widget._protocol._wire import write_json
from imagen_widget._request import ImageRequest
from imagen_widget.errors import InvalidRequest

FREE = "somebody/unheard-of"


class Index:
    """A whole number of another library, such as numpy's."""

    def __index__(self) -> int:
        return 3


def test_only_what_was_given_is_sent() -> None:
    assert ImageRequest.create("a fox").arguments() == {"prompt": "a fox"}
    assert ImageRequest.create("a fox", seed=None, num_images=2).arguments() == {
        "prompt": "a fox",
        "num_images": 2,
    }


@pytest.mark.parametrize(
    "prompt", [" a  fox ", "$5 {a|b} 'x' \"y\" #", "狐\n\tFüchslein", "x" * 9000]
)
def test_a_prompt_is_sent_as_typed(prompt: str) -> None:
    assert ImageRequest.create(prompt).arguments()["prompt"] == prompt


@pytest.mark.parametrize("prompt", ["", " \n\t", None, 5])
def test_an_empty_prompt_is_refused(prompt: Any) -> None:  # noqa: ANN401 - notebooks pass anything
    with pytest.raises(InvalidRequest, match=r"^prompt: it is empty") as caught:
        ImageRequest.create(prompt)

    assert caught.value.field == "prompt"


def test_half_a_character_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="lone surrogate"):
        ImageRequest.create("a fox \ud83e")


REFUSED: list[tuple[str, object, str]] = [
    ("aspect_ratio", "2:1", "16:9"),
    ("aspect_ratio", True, "16:9"),
    ("num_images", 0, "1 to 4"),
    ("num_images", 5, "1 to 4"),
    ("num_images", "two", "1 to 4"),
    ("num_images", "+-2", "1 to 4"),
    ("num_images", "9" * 5000, "1 to 4"),
    ("num_images", "٣", "1 to 4"),
    ("num_images", True, "1 to 4"),
    ("num_images", 2.0, "1 to 4"),
    ("resolution", "4K", "1K, 2K"),
    ("output_format", "gif", "png, jpeg, webp"),
    ("seed", -1, "0 to"),
    ("seed", 2**31, "0 to"),
    ("safety_tolerance", 7, "1, 2, 3, 4, 5, 6"),
    ("negative_prompt", "cats", "It takes prompt, aspect_ratio"),
]


@pytest.mark.parametrize(("field", "value", "allowed"), REFUSED)
def test_a_bad_value_names_its_field_and_what_is_allowed(
    field: str,
    value: Any,  # noqa: ANN401 - notebooks pass anything
    allowed: str,
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ImageRequest.create("a fox", **{field: value})

    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert allowed in str(caught.value)
    assert len(str(caught.value)) < 300


def test_values_are_read_as_people_write_them() -> None:
    request = ImageRequest.create(
        "a fox", resolution="2k", num_images=" 2 ", seed=Index(), safety_tolerance=5
    )

    assert (request.resolution, request.num_images, request.seed) == ("2K", 2, 3)
    assert request.safety_tolerance == "5"


def test_a_model_outside_the_catalogue_takes_what_it_takes() -> None:
    request = ImageRequest.create("a fox", model=FREE, guidance=7.5, loras=[{"path": "x"}])

    assert request.arguments() == {"prompt": "a fox", "guidance": 7.5, "loras": [{"path": "x"}]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("x", float("nan")),
        ("x", object()),
        ("x", "\ud800"),
        ("x", "y" * 2_000_000),
        ("not a name", 1),
        ("num_images", 0),
    ],
)
def test_what_json_cannot_hold_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest):
        ImageRequest.create("a fox", model=FREE, **{field: value})


def test_a_value_inside_itself_is_refused() -> None:
    circle: list[object] = []
    circle.append(circle)

    with pytest.raises(InvalidRequest, match="JSON can hold"):
        ImageRequest.create("a fox", model=FREE, circle=circle)


def test_the_fingerprint_is_of_the_meaning() -> None:
    plain = ImageRequest.create("a fox")

    assert ImageRequest.create("a fox", num_images=1, aspect_ratio="1:1").fingerprint == (
        plain.fingerprint
    )
    assert ImageRequest.create("a fox", num_images=2).fingerprint != plain.fingerprint
    assert ImageRequest.create("a  fox").fingerprint != plain.fingerprint
    assert ImageRequest.create("a fox", model="imagen4-fast").fingerprint != plain.fingerprint
    assert plain.fingerprint.startswith("sha256:")


@given(
    prompt=st.text(alphabet=st.characters(exclude_categories=["Cs"])).filter(str.strip),
    count=st.none() | st.integers(1, 4),
    seed=st.none() | st.integers(0, 2**31 - 1),
)
def test_a_request_survives_the_journal(prompt: str, count: int | None, seed: int | None) -> None:
    request = ImageRequest.create(prompt, num_images=count, seed=seed)

    assert ImageRequest.from_json(request.to_json()) == request


def test_extra_fields_survive_the_journal() -> None:
    request = ImageRequest.create("a fox", model=FREE, guidance=7.5, seed=5)

    assert ImageRequest.from_json(request.to_json()) == request


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=10) | st.integers() | st.none()))
def test_whatever_is_passed_is_taken_or_refused_in_our_words(parameters: dict[str, Any]) -> None:
    for name in ("prompt", "model"):
        parameters.pop(name, None)
    for model in (FREE, None):
        with contextlib.suppress(InvalidRequest):
            request = ImageRequest.create("a fox", model=model, **parameters)
            assert json.loads(write_json(request.arguments()))["prompt"] == "a fox"


@pytest.mark.parametrize("prompt", ["a red fox\n", "  a red fox", "\ta red fox \n\n"])
def test_blanks_around_the_prompt_do_not_pay_again(prompt: str) -> None:
    assert ImageRequest.create(prompt).fingerprint == ImageRequest.create("a red fox").fingerprint
