"""The magic's line: the prompt is what was typed, and options are only where they may stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imagen_widget._magic._line import Parsed, parse_cell, parse_line
from imagen_widget._magic._options import HISTORY, IMAGEN, allowed_values, build_parser
from imagen_widget._request import ImageRequest
from imagen_widget.errors import InvalidRequest

if TYPE_CHECKING:
    from types import CodeType

NAMES: dict[str, Any] = {"style": "oil paint", "count": 3, "facts": {"sky": {"hue": "red"}}}


def evaluate(code: CodeType) -> object:
    return eval(code, dict(NAMES))  # noqa: S307 - what the magic does with what a user typed


def line(text: str) -> Parsed:
    return parse_line(text, evaluate=evaluate)


def cell(options: str, body: str) -> Parsed:
    return parse_cell(options, body, evaluate=evaluate)


def given_options(parsed: Parsed) -> dict[str, Any]:
    return {name: value for name, value in vars(parsed.values).items() if value}


def refusal(text: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        line(text)
    return str(caught.value)


UNTOUCHED = [
    "a fox for $5 and $HOME",
    "{a|b} or {0} or {",
    "the artist's studio",
    'a 6" wide fox',
    '"unclosed',
    "'tis winter",
    "#hashtag, 50% off # no comment",
    "well-known, --inside--words, e-mail",
    "rock -- roll",
    "two  blanks\tand a tab",
    "-5 degrees",
    "minus -5",
    "a dash - between",
    "a -",
    "🦊 Füchse im Schnee, 雪の狐, ثعلب",
    '"STOP" and "GO"',
    "'a' or 'b'",
    "a pre -ish thing",
    "a fox --ar 16:9 in the snow",
    "a back\\slash and a \\",
    "a }} b { b",
    "50% {fox} %imagen",
    "x = y; z",
    "<b>bold</b> & co",
    "what does it say?",
    '"quoted" first',
    'last "quoted"',
    'the sign says "--ar 16:9"',
    'press "-q"',
]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_the_prompt_is_what_was_typed(text: str) -> None:
    parsed = line(text)

    assert parsed.prompt == text
    assert given_options(parsed) == {}


@pytest.mark.parametrize(
    "text", [*UNTOUCHED, "--ar 16:9", "-n 2 --fresh", "--bogus", "  a  ", "\n\na\n"]
)
def test_a_cells_body_is_never_read_for_options(text: str) -> None:
    parsed = cell("-n 2", text + "\n")

    assert parsed.prompt == text
    assert given_options(parsed) == {"num_images": "2"}


def looks_like_an_option(word: str) -> bool:
    return word.startswith("-")


@settings(deadline=None)
@given(st.text())
def test_any_line_without_options_is_sent_as_typed(text: str) -> None:
    """The law of the magic; what it excludes is what the documentation names."""
    typed = text.strip()
    words = typed.split()
    assume(words and "{{" not in typed and not typed.endswith(";"))
    assume(not any(looks_like_an_option(word) for word in (words[0], *words[-2:])))
    assume(typed[0] not in "\"'" or typed[-1] not in "\"'")

    parsed = line(text)

    assert parsed.prompt == typed
    assert given_options(parsed) == {}


def prompt_or_refusal(text: str) -> tuple[str | None, str]:
    try:
        return line(text).prompt, ""
    except InvalidRequest as error:
        return None, str(error)


@settings(deadline=None)
@given(st.text(alphabet="ab-nq \"'=;{}\\é🦊\t"))
def test_a_line_is_read_or_refused_in_one_line_and_never_cut_inside(text: str) -> None:
    prompt, refused = prompt_or_refusal(text)

    assert "\n" not in refused
    assert prompt is None or "{{" in text or prompt in text


@settings(deadline=None)
@given(st.text(min_size=1))
def test_any_text_arrives_to_the_letter_behind_a_bare_double_dash(text: str) -> None:
    assume(text.strip() and "{{" not in text)

    assert line(f"-n 2 -- {text}").prompt == text
    assert cell("-n 2 --", f"{text}\n").prompt == text


@settings(deadline=None)
@given(st.text(min_size=1))
def test_any_cell_without_outer_quotes_is_sent_as_typed(text: str) -> None:
    typed = text.strip()
    assume("{{" not in text and not typed.endswith(";"))
    assume(not typed or typed[0] not in "\"'" or typed[-1] not in "\"'")

    assert cell("", f"{text}\n").prompt == text


@pytest.mark.parametrize(
    ("text", "prompt", "options"),
    [
        ("a fox --ar 16:9 -n 2", "a fox", {"aspect_ratio": "16:9", "num_images": "2"}),
        ("--ar 16:9 -n 2 a fox", "a fox", {"aspect_ratio": "16:9", "num_images": "2"}),
        ("-n 2 a fox --ar 16:9", "a fox", {"aspect_ratio": "16:9", "num_images": "2"}),
        ("--aspect-ratio=16:9 a fox", "a fox", {"aspect_ratio": "16:9"}),
        ("a fox --aspect_ratio 16:9", "a fox", {"aspect_ratio": "16:9"}),
        ("a fox --num_images=2", "a fox", {"num_images": "2"}),
        ("a fox -n2 -s42", "a fox", {"num_images": "2", "seed": "42"}),
        ("a fox -n=2", "a fox", {"num_images": "2"}),
        ("a fox --seed -1", "a fox", {"seed": "-1"}),
        ("a fox -m fal-ai/nano-banana", "a fox", {"model": "fal-ai/nano-banana"}),
        (
            "a fox --resolution 2K --format webp",
            "a fox",
            {"resolution": "2K", "output_format": "webp"},
        ),
        ("a fox -o it -d out -q", "a fox", {"out": "it", "save_dir": "out", "quiet": True}),
        ("a fox --fresh --no-wait", "a fox", {"fresh": True, "no_wait": True}),
        ("a fox --no_wait --dry_run", "a fox", {"no_wait": True, "dry_run": True}),
        ("a fox --timeout 30", "a fox", {"timeout": "30"}),
        ("-d 'my foxes' a fox", "a fox", {"save_dir": "my foxes"}),
        ('a fox --save-dir="my foxes"', "a fox", {"save_dir": "my foxes"}),
        ('a fox --save-dir ""', "a fox", {}),
        ("a fox -n 1 -n 2", "a fox", {"num_images": "2"}),
        ("-n 2", None, {"num_images": "2"}),
        ("", None, {}),
        ('"a fox --ar 16:9"', "a fox --ar 16:9", {}),
        ('"--bogus fox" -n 2', "--bogus fox", {"num_images": "2"}),
        ("-- --bogus -n 2", "--bogus -n 2", {}),
        ("-n 2 -- 'a fox';", "'a fox';", {"num_images": "2"}),
        ("a --ar 1:1 b -n 2", "a --ar 1:1 b", {"num_images": "2"}),
    ],
)
def test_options_stand_before_or_after_the_prompt(
    text: str, prompt: str | None, options: dict[str, Any]
) -> None:
    parsed = line(text)

    assert parsed.prompt == prompt
    assert given_options(parsed) == options


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("'a fox'", "a fox"),
        ('"a fox"', "a fox"),
        ('"  a fox  "', "  a fox  "),
        ("'the artist's studio'", "the artist's studio"),
        ('"she said "hi" to me"', 'she said "hi" to me'),
        ("''a fox''", "''a fox''"),
        ('"it\'s"', "it's"),
        ("'\"a fox\"'", '"a fox"'),
    ],
)
def test_one_pair_of_outer_quotes_is_stripped(text: str, prompt: str) -> None:
    assert line(text).prompt == prompt
    assert cell("", f"{text}\n").prompt == prompt


@pytest.mark.parametrize(
    ("text", "prompt", "silent"),
    [
        ("a fox;", "a fox", True),
        ("a fox ; ", "a fox", True),
        ("a fox;;", "a fox;", True),
        ("'a fox';", "a fox", True),
        ("'a fox;'", "a fox;", False),
        ("a; b", "a; b", False),
    ],
)
def test_a_trailing_semicolon_hides_the_output(text: str, prompt: str, silent: bool) -> None:  # noqa: FBT001 - a column of the table
    assert (line(text).prompt, line(text).silent) == (prompt, silent)
    assert (cell("", text).prompt, cell("", text).silent) == (prompt, silent)


def test_a_semicolon_behind_the_options_hides_the_output_too() -> None:
    assert line("a fox -n 2;").values.num_images == "2"
    assert line("a fox -n 2;").silent
    assert cell("-n 2;", "a fox\n").silent


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("a fox in {{style}}", "a fox in oil paint"),
        ("{{ style.upper() }} fox", "OIL PAINT fox"),
        ("{{count}} foxes, {{ count + 1 }} trees", "3 foxes, 4 trees"),
        ("{{facts['sky']['hue']}} sky", "red sky"),
        ("{{ {'a': {'b': 1}}['a']['b'] }} fox", "1 fox"),
        ("{{'{{'}} braces }}", "{{ braces }}"),
        ("{{ style + ' --ar 1:1' }}", "oil paint --ar 1:1"),
        ("{{ ' -q' }}", " -q"),
        ("{{ '{{style}}' }}", "{{style}}"),
        ("{{ [count * i for i in (1, 2)] }}", "[3, 6]"),
        ("{{ style  # the look }} x", "oil paint x"),
    ],
)
def test_only_double_braces_expand(text: str, expanded: str) -> None:
    assert line(text).prompt == expanded
    assert cell("", text).prompt == expanded


def test_double_braces_expand_in_the_values_of_options() -> None:
    parsed = line("a fox -n {{ count - 1 }} --save-dir='{{style}} box'")

    assert given_options(parsed) == {"num_images": "2", "save_dir": "oil paint box"}


def test_a_template_goes_over_several_lines_of_a_cell() -> None:
    assert cell("", "a {{ style\n  + '!' }}\nfox").prompt == "a oil paint!\nfox"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{nowhere}} fox", "NameError: name 'nowhere' is not defined"),
        ("a fox -n {{nowhere}}", "NameError: name 'nowhere' is not defined"),
        ("{{1 / 0}}", "ZeroDivisionError: division by zero"),
        ("{{facts['sea']}}", "KeyError: 'sea'"),
        ("{{style", "it is never closed"),
        ("{{}}", "no Python expression"),
        ("{{a b}}", "no Python expression"),
        ("{{import os}}", "no Python expression"),
    ],
)
def test_a_template_that_fails_is_refused(text: str, why: str) -> None:
    assert why in refusal(text)
    assert "Nothing was sent" in refusal(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a fox --arr 16:9", "no option --arr. Did you mean --ar?"),
        ("a fox --aspectratio 16:9", "no option --aspectratio. Did you mean --aspect-ratio?"),
        ("--modle imagen4 a fox", "no option --modle. Did you mean --model?"),
        ("a fox -model imagen4", "no option -model. Did you mean --model?"),
        ("a fox --num 2", "no option --num. Did you mean --num-images?"),
        ("a fox --out_put x", "no option --out_put. Did you mean --out?"),
        ("a fox --steps=30", "no option --steps. Did you mean"),
        ("a fox --bogus", "no option --bogus. Did you mean"),
        ("a fox --bogus -n 2", "no option --bogus. Did you mean"),
        ("a fox -z", "no option -z. Did you mean"),
        ("a fox -x9", "no option -x9. Did you mean"),
        ("-ish fox", "no option -ish. Did you mean"),
        ("a fox -n", "-n needs a value, like -n COUNT"),
        ("-o --fresh a fox", "-o needs a value, like -o NAME"),
        ("a fox --seed=", "--seed needs a value"),
        ("a fox --fresh=1", "--fresh takes no value"),
        ("a fox --fresh now", "--fresh stands inside the prompt"),
        ("a --ar=1:1 b", "--ar stands inside the prompt"),
    ],
)
def test_what_looks_like_an_option_at_an_end_has_to_be_one(text: str, said: str) -> None:
    assert said in refusal(text)
    assert "Nothing was sent" in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "a fox --api-key sk-made-up-1",
        "--api-key=sk-made-up-1 a fox",
        "a fox --api_key sk-made-up-1 in snow",
        "--APIKEY sk-made-up-1",
        "a fox --key sk-made-up-1",
        "a fox --token=sk-made-up-1",
    ],
)
def test_a_key_on_the_line_is_refused_without_echo(text: str) -> None:
    said = refusal(text)

    assert "sk-made-up-1" not in said
    assert "fox" not in said
    assert "history clear" in said
    assert "login()" in said
    assert "IMAGEN_API_KEY" in said


def test_a_prompt_in_quotes_may_be_about_an_api_key() -> None:
    assert (
        line('"a poster that says --api-key on it"').prompt == "a poster that says --api-key on it"
    )


def test_the_first_line_of_a_cell_takes_options_only() -> None:
    with pytest.raises(InvalidRequest, match="first line takes options only"):
        cell("-n 2 a fox", "in snow\n")


def test_a_mistyped_option_on_a_cells_first_line_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"no option --arr\. Did you mean --ar\?"):
        cell("--arr 16:9", "a fox\n")


def test_another_magic_has_options_of_its_own() -> None:
    parsed = parse_line("red fox -n 5", evaluate=evaluate, grammar=HISTORY)

    assert parsed.prompt == "red fox"
    assert parsed.values.limit == "5"


def test_the_help_names_every_option_and_every_model() -> None:
    text = build_parser().format_help()

    assert all(name in text for name in IMAGEN.names)
    assert all(alias in text for alias in allowed_values("model"))


def test_the_values_of_an_option_are_those_of_the_model() -> None:
    assert allowed_values("resolution", model="imagen4") == ["1K", "2K"]
    assert allowed_values("resolution", model="imagen4-fast") == []
    assert allowed_values("resolution") == ["1K", "2K", "4K"]
    assert allowed_values("num_images") == ["1", "2", "3", "4"]
    assert allowed_values("seed") == []


@pytest.mark.parametrize("prompt", UNTOUCHED)
def test_a_request_survives_the_way_through_a_cell(prompt: str) -> None:
    request = ImageRequest.create(prompt, aspect_ratio="16:9", num_images=2)

    parsed = cell("--ar 16:9 -n 2 --", f"{prompt}\n")

    assert ImageRequest.create(parsed.prompt or "", **given_options(parsed)) == request
