"""What a failing answer says of itself, in every shape that was seen."""

from __future__ import annotations

import json

import pytest

from imagen_widget._protocol._trouble import Trouble, read_trouble
from tests.answers import PAGE, answer

PROMPT = "a very private prompt"
DETAIL = {
    "loc": ["body", "prompt"],
    "msg": "The content could not be processed.",
    "type": "content_policy_violation",
    "url": "https://docs.fal.ai/errors/#content_policy_violation",
    "ctx": {},
    "input": {"prompt": PROMPT},
}
ECHOING = {"detail": [DETAIL]}

SHAPES = {
    "a string": ({"detail": "Request is still in progress"}, "Request is still in progress", ""),
    "a list of objects": (ECHOING, "The content could not be processed.", DETAIL["type"]),
    "an object": (
        {"detail": {"error": "EndpointDeprecated", "message": "No longer supported."}},
        "No longer supported.",
        "EndpointDeprecated",
    ),
    "a platform error": (
        {"detail": "Runner disconnected", "error_type": "runner_disconnected"},
        "Runner disconnected",
        "runner_disconnected",
    ),
    "a refused token of a gateway": (
        {
            "error": {
                "message": "无效的令牌 (request id: 2026)",
                "type": "new_api_error",
                "code": "",
            }
        },
        "无效的令牌 (request id: 2026)",
        "new_api_error",
    ),
    "a spent quota of a gateway": (
        {"error": {"message": "该令牌额度已用尽", "code": "insufficient_user_quota"}},
        "该令牌额度已用尽",
        "insufficient_user_quota",
    ),
    "a gateway's code without words": (
        {"error": {"message": "", "localized_message": "余额不足", "code": "quota"}},
        "余额不足",
        "quota",
    ),
    "a number as code": (
        {"code": 401, "message": "no such token", "data": None},
        "no such token",
        "",
    ),
    "a description": ({"description": "busy", "type": "x", "code": 4}, "busy", ""),
    "a bare message": ({"message": "not today"}, "not today", ""),
    "a null detail beside an error": ({"detail": None, "error": "broken"}, "broken", ""),
    "an empty list": ({"detail": [], "message": "empty"}, "empty", ""),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_gives_its_words_and_its_kind(shape: str) -> None:
    body, text, kind = SHAPES[shape]

    trouble = read_trouble(answer(422, body))

    assert (trouble.text, trouble.kind) == (text, kind)


def test_the_header_names_the_kind_where_the_body_does_not() -> None:
    trouble = read_trouble(answer(503, {"detail": "gone"}, x_fal_error_type="runner_disconnected"))

    assert trouble == Trouble("gone", "runner_disconnected")


def test_the_field_and_what_it_may_be_are_read() -> None:
    detail = {"loc": ["body", "aspect_ratio"], "msg": "wrong", "type": "literal_error"}

    told = read_trouble(answer(422, {"detail": [detail | {"ctx": {"expected": ["1:1", "4:3"]}}]}))

    assert (told.field, told.expected) == ("aspect_ratio", "1:1, 4:3")


@pytest.mark.parametrize(
    "body",
    [
        ECHOING,
        {"error": {"message": json.dumps(ECHOING)}},
        {"error": {"message": f"upstream said: 422 {json.dumps(ECHOING)}"}},
        {"message": json.dumps({"error": json.dumps(ECHOING)})},
        {"message": f"bad answer {json.dumps(ECHOING)[:-4]}"},
        {"unheard_of": {"prompt": PROMPT}, "input": PROMPT},
        {"detail": [PROMPT]},
        {"detail": {"message": {"prompt": PROMPT}}},
        {"detail": [{"msg": {"prompt": PROMPT}, "ctx": {"expected": [{"prompt": PROMPT}]}}]},
    ],
)
def test_no_shape_echoes_the_prompt(body: object) -> None:
    trouble = read_trouble(answer(422, body))

    assert PROMPT not in repr(trouble)
    assert trouble.text or trouble == Trouble("")


def test_an_answer_wrapped_as_text_by_a_gateway_is_unwrapped() -> None:
    body = {"error": {"message": f"status 422: {json.dumps(ECHOING)}", "type": "one_api_error"}}

    trouble = read_trouble(answer(400, body))

    assert trouble.text == "The content could not be processed."
    assert (trouble.kind, trouble.field) == ("content_policy_violation", "prompt")


def test_an_object_without_known_fields_is_named_by_its_fields() -> None:
    assert read_trouble(answer(400, {"a": 1, "b": 2})).text == "an object with a, b"


@pytest.mark.parametrize("headers", [{}, {"content_type": "text/html; charset=utf-8"}])
def test_a_web_page_is_called_one(headers: dict[str, str]) -> None:
    body = PAGE if not headers else b"Service unavailable"

    assert read_trouble(answer(502, body, **headers)).text == "a web page instead of an answer"


def test_plain_text_is_clipped_and_printable() -> None:
    trouble = read_trouble(answer(500, b"\x1b[31mred\x1b[0m\n" + b"x" * 5000))

    assert trouble.text.startswith("[31mred [0m x")
    assert len(trouble.text) == 120
    assert trouble.text.isprintable()
