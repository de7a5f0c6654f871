"""Failing answers become the right error, with its remedy, and say whether it may be billed."""

from __future__ import annotations

from typing import Any

import pytest

from imagen_widget._protocol._failures import (
    CancelledAtProvider,
    ResultExpired,
    expired,
    failure,
    not_proxied,
    retired,
    service_failed,
)
from imagen_widget._protocol._trouble import Trouble
from imagen_widget.errors import (
    ContentRejected,
    CredentialsError,
    GenerationFailed,
    ImagenError,
    InvalidRequest,
    ModelRetired,
    QueueError,
)
from tests.answers import ID, IMAGEN, PAGE, answer, ticket

POLICY = {
    "detail": [{"loc": ["body", "prompt"], "msg": "Flagged.", "type": "content_policy_violation"}]
}
NO_MEDIA = {"detail": [{"loc": ["body"], "msg": "Nothing came.", "type": "no_media_generated"}]}
RATIO = {
    "detail": [
        {
            "loc": ["body", "aspect_ratio"],
            "msg": "Input should be one of them",
            "type": "literal_error",
            "ctx": {"expected": "'1:1', '16:9'"},
            "input": "2:1",
        }
    ]
}
LOCKED = {"detail": "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai."}
GONE = {"detail": {"error": "EndpointDeprecated", "message": "No longer supported."}}
NO_CHANNEL = {
    "error": {"message": "无可用渠道", "type": "one_api_error", "code": "model_not_found"}
}
BAD_TOKEN = {"error": {"message": "无效的令牌", "type": "new_api_error", "code": ""}}
NO_QUOTA = {"error": {"message": "该令牌额度已用尽", "code": "insufficient_user_quota"}}
MODERATED = {
    "error": {"message": "内容审核未通过", "code": "moderation_blocked"},
    "status_code": 400,
}

# What came, whether a job exists already, the error, and a word that its line must have.
ERRORS: list[tuple[int, Any, bool, type[ImagenError], str]] = [
    (401, {"detail": "invalid key credentials"}, False, CredentialsError, "IMAGEN_API_KEY"),
    (401, BAD_TOKEN, False, CredentialsError, "无效的令牌"),
    (402, {"detail": "pay first"}, False, CredentialsError, "pay first"),
    (403, LOCKED, False, CredentialsError, "Top up"),
    (403, LOCKED, True, CredentialsError, "%imagen_resume"),
    (403, NO_QUOTA, False, CredentialsError, "balance"),
    (403, {"detail": "no scope"}, False, CredentialsError, "refused the key"),
    (429, NO_QUOTA, False, CredentialsError, "Top up"),
    (429, {"detail": "slow down"}, False, QueueError, "nothing was accepted"),
    (429, {"detail": "slow down"}, True, QueueError, "%imagen_resume"),
    (404, {"detail": "Path /previeww not found"}, False, ModelRetired, "nano-banana-2"),
    (404, PAGE, False, QueueError, "IMAGEN_BASE_URL"),
    (410, GONE, False, ModelRetired, "No longer supported."),
    (410, b"", False, ModelRetired, "nano-banana-2"),
    (503, NO_CHANNEL, False, ModelRetired, "无可用渠道"),
    (400, MODERATED, False, ContentRejected, "内容审核未通过"),
    (422, POLICY, True, ContentRejected, "Flagged."),
    (422, NO_MEDIA, True, ContentRejected, "running the same again"),
    (422, RATIO, True, InvalidRequest, "allowed: '1:1', '16:9'"),
    (400, {"detail": "bad body"}, False, InvalidRequest, "bad body"),
    (413, {"detail": "too large"}, False, InvalidRequest, "too large"),
    (400, PAGE, True, QueueError, "%imagen_resume"),
    (499, b"", True, CancelledAtProvider, "cancelled"),
    (
        200,
        {"detail": "x", "error_type": "client_cancelled"},
        True,
        CancelledAtProvider,
        "cancelled",
    ),
    (
        503,
        {"detail": "down", "error_type": "runner_disconnected"},
        True,
        GenerationFailed,
        "not billed",
    ),
    (500, {"detail": "oops"}, True, GenerationFailed, "HTTP 500"),
    (500, b"", True, GenerationFailed, "no reason was given"),
    (502, PAGE, True, QueueError, "%imagen_resume"),
    (302, b"", False, QueueError, "final address"),
    (307, b"", True, QueueError, "final address"),
    (418, {"detail": "teapot"}, True, QueueError, "%imagen_resume"),
    (418, {"detail": "teapot"}, False, QueueError, "nothing was accepted"),
]


def _failure(status: int, body: object, *, job: bool, **headers: str) -> ImagenError:
    found = answer(status, body, **headers)
    return failure(found, endpoint=IMAGEN, provider="kkiai", ticket=ticket() if job else None)


@pytest.mark.parametrize(("status", "body", "job", "kind", "word"), ERRORS)
def test_each_answer_becomes_its_error(
    status: int, body: object, *, job: bool, kind: type[ImagenError], word: str
) -> None:
    error = _failure(status, body, job=job)

    assert type(error) is kind
    assert word in str(error)
    assert error.remedy.endswith(".") or kind is CancelledAtProvider
    assert error.request_id == (ID if job else None)


@pytest.mark.parametrize("body", [POLICY, NO_MEDIA])
def test_a_refusal_after_the_work_may_be_billed_unless_its_units_are_zero(body: object) -> None:
    assert _failure(422, body, job=True).billed
    assert not _failure(422, body, job=True, x_fal_billable_units="0").billed


def test_an_invalid_field_is_named() -> None:
    error = _failure(422, RATIO, job=True)

    assert isinstance(error, InvalidRequest)
    assert error.field == "aspect_ratio"
    assert isinstance(error, ValueError)


def test_a_retired_model_names_the_successor_that_the_catalogue_has() -> None:
    assert "Use nano-banana-pro instead" in str(retired("fal-ai/imagen4/preview/ultra", ""))
    assert "Use nano-banana-2 instead" in str(retired("somebody/unheard-of", ""))


def test_the_key_of_the_other_provider_is_never_asked_for() -> None:
    error = failure(answer(401), endpoint=IMAGEN, provider="fal")

    assert "FAL_KEY" in str(error)
    assert "IMAGEN_API_KEY" not in str(error)


def test_a_job_that_is_unknown_may_have_been_billed() -> None:
    error = expired(ticket())

    assert isinstance(error, ResultExpired)
    assert (error.billed, error.request_id) == (True, ID)


def test_a_job_behind_a_web_page_is_not_lost() -> None:
    error = not_proxied(ticket())

    assert not isinstance(error, ResultExpired)
    assert "IMAGEN_BASE_URL" in str(error)
    assert ID in str(error)


def test_a_failure_of_the_service_is_not_billed() -> None:
    assert not service_failed(Trouble("broken"), ticket()).billed
