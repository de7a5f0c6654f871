"""What the widget offers to copy means the same request again."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagen_widget._magic._line import Parsed, parse_cell, parse_line
from imagen_widget._request import ImageRequest
from imagen_widget._snippets import as_magic, as_python

requests = st.builds(
    ImageRequest.create,
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1, max_size=60
    ).filter(lambda text: text.strip()),
    model=st.sampled_from([None, "imagen4-ultra", "nano-banana-2"]),
    aspect_ratio=st.sampled_from([None, "1:1", "16:9"]),
    num_images=st.sampled_from([None, 1, 4]),
    resolution=st.sampled_from([None, "2K"]),
    output_format=st.sampled_from([None, "webp"]),
    seed=st.none() | st.integers(0, 2**31 - 1),
)


def evaluate(code: object) -> object:
    return eval(code)  # type: ignore[arg-type]  # noqa: S307 - only what the snippet itself wrote


def read_magic(snippet: str) -> Parsed:
    """Read a snippet as IPython hands it to the magic."""
    first, _, rest = snippet.partition("\n")
    if first.startswith("%%imagen"):
        return parse_cell(first.removeprefix("%%imagen").strip(), f"{rest}\n", evaluate=evaluate)
    return parse_line(first.removeprefix("%imagen").strip(), evaluate=evaluate)


def with_prompt(prompt: str) -> ImageRequest:
    return ImageRequest.create(prompt, num_images=4)


@given(requests)
@example(with_prompt("a fox -n 2"))
@example(with_prompt("--fresh paint"))
@example(with_prompt("the sign says {{open}} {{{"))
@example(with_prompt("two lines\nof text"))
@example(with_prompt("  blanks around  "))
@example(with_prompt('"quoted"'))
@example(with_prompt("ends in a semicolon;"))
@example(with_prompt("what is this?"))
@example(with_prompt("-- dashes"))
@example(with_prompt("\n starts on the next line\n"))
def test_the_magic_reads_the_snippet_back_as_the_same_request(request: ImageRequest) -> None:
    parsed = read_magic(as_magic(request))

    assert parsed.prompt == request.prompt
    assert not parsed.silent
    names = ("model", "aspect_ratio", "num_images", "resolution", "output_format", "seed")
    again = ImageRequest.create(
        parsed.prompt, **{name: getattr(parsed.values, name) for name in names}
    )
    assert again.fingerprint == request.fingerprint


@given(requests)
def test_python_reads_the_snippet_back_as_the_same_request(request: ImageRequest) -> None:
    again = eval(as_python(request), {"generate": ImageRequest.create})  # noqa: S307 - ours

    assert again.fingerprint == request.fingerprint


@pytest.mark.parametrize(
    ("prompt", "snippet"),
    [
        ("a red fox", "%imagen a red fox -n 4"),
        ("a red fox,\nin snow", "%%imagen -n 4 --\na red fox,\nin snow"),
    ],
)
def test_a_plain_prompt_is_a_line_and_a_longer_one_a_cell(prompt: str, snippet: str) -> None:
    assert as_magic(with_prompt(prompt)) == snippet
