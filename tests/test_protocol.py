"""The queue's protocol over every wire shape that fal and its gateways are known to use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from imagen_widget._protocol import (
    Hiccup,
    NoRoute,
    auto_app,
    cancel_call,
    read_cancel,
    read_result,
    read_status,
    read_ticket,
    result_call,
    status_call,
    stream_call,
    submit_call,
)
from imagen_widget._protocol._events import Done, LogLine, Queued, Running
from imagen_widget._protocol._failures import CancelledAtProvider
from imagen_widget._protocol._ticket import Outcome, Ticket
from imagen_widget._request import ImageRequest
from imagen_widget.errors import (
    ContentRejected,
    CredentialsError,
    GenerationFailed,
    ImagenError,
    InvalidRequest,
    ModelRetired,
    QueueError,
    SubmitUncertain,
)
from tests.answers import FAL, FOX, GATEWAY, ID, IMAGEN, PAGE, RESULT, TICKET, answer, ticket

if TYPE_CHECKING:
    from imagen_widget._protocol._wire import Answer

PATH = f"/fal-ai/imagen4/requests/{ID}"
URL = RESULT["images"][0]["url"]
PICTURE = Outcome((URL,), 1234567)
STILL = {"detail": "Request is still in progress"}
FLAGGED = {
    "detail": [
        {
            "loc": ["body", "prompt"],
            "msg": "flagged by a content checker.",
            "type": "content_policy_violation",
            "input": {"prompt": FOX.prompt},
        }
    ]
}
LOCKED = {"detail": "User is locked. Reason: Exhausted balance."}
GONE = {"detail": {"error": "EndpointDeprecated", "message": "No longer supported."}}
BAD_TOKEN = {"error": {"message": "无效的令牌", "type": "new_api_error", "param": "", "code": ""}}
NO_QUOTA = {"error": {"message": "该令牌额度已用尽", "code": "insufficient_user_quota"}}
NO_CHANNEL = {
    "error": {"message": "无可用渠道", "type": "one_api_error", "code": "model_not_found"}
}
LINE = {"message": "Generating", "level": "INFO", "timestamp": "2026-05-11T09:14:03Z"}

# ------------------------------------------------------------------------------------- the calls


def test_only_what_was_set_is_sent() -> None:
    request = ImageRequest.create("a fox", aspect_ratio="16:9", num_images=2)

    call = submit_call(request, FAL)

    assert (call.method, call.url) == ("POST", f"{FAL}/{IMAGEN}")
    assert call.body == b'{"prompt":"a fox","aspect_ratio":"16:9","num_images":2}'


def test_every_later_call_goes_to_the_app_on_the_configured_base() -> None:
    job = ticket(base_url="https://relay.example/fal")
    base = f"https://relay.example/fal{PATH}"

    assert status_call(job).url == f"{base}/status?logs=1"
    assert status_call(job, logs=False).url == f"{base}/status"
    assert stream_call(job).url == f"{base}/status/stream?logs=1"
    assert result_call(job).url == base
    assert result_call(job, app="fal-ai/auto").url == (
        f"https://relay.example/fal/fal-ai/auto/requests/{ID}"
    )
    assert (cancel_call(job).method, cancel_call(job).url) == ("PUT", f"{base}/cancel")


def test_a_query_of_the_ticket_is_kept() -> None:
    job = ticket(addresses={"status_url": f"{FAL}{PATH}/status?_subdomain=queue"})

    assert status_call(job).url.endswith("/status?_subdomain=queue&logs=1")
    assert stream_call(job).url.endswith("/status/stream?_subdomain=queue&logs=1")


def test_the_app_of_last_resort_has_the_owner_of_the_model() -> None:
    assert auto_app(ticket()) == "fal-ai/auto"


# ------------------------------------------------------------------------------------ the ticket


def _submit(found: Answer, *, provider: str = "kkiai") -> Ticket:
    base_url = GATEWAY if provider == "kkiai" else FAL
    return read_ticket(found, FOX, provider=provider, base_url=base_url)


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_ticket_is_read_and_put_on_our_base(status: int) -> None:
    job = _submit(answer(status, TICKET))

    assert (job.request_id, job.base_url, job.status_path) == (ID, GATEWAY, f"{PATH}/status")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"status": "IN_QUEUE", "request_id": ID}, {}),
        ({"request_id": ID}, {}),
        ({"status": "IN_QUEUE", "response_url": TICKET["response_url"]}, {}),
        ({"status": "IN_QUEUE", "response_url": f"{FAL}{PATH}/"}, {}),
        ({"status": "IN_QUEUE", "id": ID}, {}),
        ({"status": "IN_QUEUE"}, {"x_fal_request_id": ID}),
        (TICKET | {"images": []}, {}),
        (TICKET | {"images": None, "error": None}, {}),
        (TICKET | {"request_id": "../../etc/passwd"}, {}),
    ],
)
def test_a_ticket_may_lack_all_but_some_id(body: dict[str, Any], headers: dict[str, str]) -> None:
    job = _submit(answer(200, body, **headers))

    assert (job.request_id, job.response_path, job.outcome) == (ID, PATH, None)


def test_pictures_straight_from_the_submit_are_the_outcome() -> None:
    assert _submit(answer(200, RESULT)).outcome == PICTURE
    assert _submit(answer(200, TICKET | {"output": RESULT})).outcome == PICTURE


UNREADABLE = [answer(200), answer(200, PAGE), answer(200, []), answer(200, {}), answer(202, b"ok")]


@pytest.mark.parametrize("found", UNREADABLE)
def test_an_accepted_submit_without_a_ticket_may_be_billed(found: Answer) -> None:
    with pytest.raises(SubmitUncertain, match="a job may exist and be billed") as caught:
        _submit(found)

    assert caught.value.billed


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (answer(401, {"detail": "invalid key credentials"}), CredentialsError, "invalid key"),
        (answer(401, BAD_TOKEN), CredentialsError, "无效的令牌"),
        (answer(200, BAD_TOKEN | {"code": 401}), CredentialsError, "无效的令牌"),
        (answer(200, {"code": 401, "message": "bad token", "data": None}), CredentialsError, "bad"),
        (answer(403, NO_QUOTA), CredentialsError, "该令牌额度已用尽"),
        (answer(403, LOCKED), CredentialsError, "Exhausted balance"),
        (answer(503, NO_CHANNEL), ModelRetired, "无可用渠道"),
        (answer(404, {"detail": "Path /previeww not found"}), ModelRetired, "nano-banana-2"),
        (answer(404, PAGE), QueueError, "IMAGEN_BASE_URL"),
        (answer(410, GONE), ModelRetired, "No longer supported."),
        (answer(422, FLAGGED), ContentRejected, "content checker"),
        (answer(308, b"", location="https://evil.example/"), QueueError, "elsewhere"),
        (answer(429, {"detail": "queue is full"}), QueueError, "nothing was accepted"),
        (answer(200, {"status": "FAILED", "error": "no"}), GenerationFailed, "no"),
        (answer(200, {"images": []}), ContentRejected, "filtered"),
    ],
)
def test_a_refused_submit_says_why(found: Answer, kind: type[ImagenError], words: str) -> None:
    with pytest.raises(kind) as caught:
        _submit(found)

    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert FOX.prompt not in str(caught.value)
    assert caught.value.ticket is None


# ------------------------------------------------------------------------------------ the status

STATUSES: list[tuple[Answer, object]] = [
    (answer(202, TICKET | {"queue_position": 3}), Queued(3)),
    (answer(200, TICKET), Queued(0)),
    (answer(202, {"status": "IN_PROGRESS", "logs": None}), Running()),
    (
        answer(202, {"status": "IN_PROGRESS", "logs": [LINE]}),
        Running((LogLine("Generating", "INFO", "2026-05-11T09:14:03Z"),), 1),
    ),
    (answer(200, {"status": "COMPLETED", "metrics": {"inference_time": 7.4}}), Done(7.4)),
    (
        answer(200, {"status": "COMPLETED", "error": "late", "error_type": "request_timeout"}),
        Done(trouble="late"),
    ),
    (answer(200, {"status": "FAILED", "error": "上游错误"}), Done(trouble="上游错误")),
    (answer(200, RESULT), Done()),
    (answer(404, {"status": "NOT_FOUND"}), NoRoute()),
    (answer(404, PAGE), NoRoute(page=True)),
    (answer(405, {"detail": "Method Not Allowed"}), NoRoute()),
    (answer(200, PAGE), NoRoute(page=True)),
    (answer(200, b"hello", content_type="text/html"), NoRoute(page=True)),
    (answer(200, b'{"status":'), Hiccup("an answer that is no JSON")),
    (answer(200, {"hello": 1}), Hiccup("an answer without a status")),
    (answer(400, STILL), Running()),
    (answer(425, {"error": {"message": "not ready"}}), Running()),
    (answer(408), Hiccup("HTTP 408")),
    (answer(429, {"detail": "slow down"}), Hiccup("slow down")),
    (answer(500, {"detail": "oops"}), Hiccup("oops")),
    (answer(502, PAGE), Hiccup("a web page instead of an answer")),
    (answer(503, {"detail": "x"}, x_fal_request_id=ID, x_fal_error_type="e"), Hiccup("x")),
]


@pytest.mark.parametrize(("found", "meaning"), STATUSES)
def test_each_status_answer_has_one_meaning(found: Answer, meaning: object) -> None:
    assert read_status(found, ticket()) == meaning


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (answer(401, BAD_TOKEN), CredentialsError),
        (answer(403, LOCKED), CredentialsError),
        (answer(410, GONE), ModelRetired),
        (answer(422, FLAGGED), ContentRejected),
        (answer(499, {"detail": "gone", "error_type": "client_cancelled"}), CancelledAtProvider),
        (answer(302, b"", location="https://evil.example/"), QueueError),
    ],
)
def test_a_status_that_cannot_get_better_is_raised_with_the_ticket(
    found: Answer, kind: type[ImagenError]
) -> None:
    with pytest.raises(kind) as caught:
        read_status(found, ticket())

    assert caught.value.request_id == ID
    assert FOX.prompt not in str(caught.value)


# ------------------------------------------------------------------------------------ the result

RESULTS: list[tuple[Answer, object]] = [
    (answer(200, RESULT), PICTURE),
    (answer(200, {"status": "COMPLETED", "logs": [], "response": RESULT}), PICTURE),
    (answer(200, {"data": {"output": RESULT}}), PICTURE),
    (answer(200, {"images": [{"url": URL}], "timings": {}, "prompt": "x"}), Outcome((URL,))),
    (
        answer(200, {"images": [{"url": "data:image/png;base64,AA"}]}),
        Outcome(("data:image/png;base64,AA",)),
    ),
    (answer(200, {"images": [{"url": URL}, {"url": None}]}), Outcome((URL,))),
    (answer(200, TICKET), Queued(0)),
    (answer(200, TICKET | {"status": "IN_PROGRESS", "images": []}), Running()),
    (answer(200, {"status": "PROCESSING"}), Running()),
    (answer(400, STILL), Running()),
    (answer(200, {"status": "COMPLETED"}), Hiccup("finished, but without its pictures")),
    (answer(200, b"not yet"), Hiccup("an answer that is no JSON")),
    (answer(404, {"status": "NOT_FOUND"}), NoRoute()),
    (answer(405), NoRoute()),
    (answer(200, PAGE), NoRoute(page=True)),
    (answer(503, b"upstream"), Hiccup("upstream")),
    (answer(504, PAGE), Hiccup("a web page instead of an answer")),
    (answer(500, {"detail": "no mark of the queue"}), Hiccup("no mark of the queue")),
    (answer(429), Hiccup("HTTP 429")),
]


@pytest.mark.parametrize(("found", "meaning"), RESULTS)
def test_each_result_answer_has_one_meaning(found: Answer, meaning: object) -> None:
    assert read_result(found, ticket()) == meaning


STORED = {"detail": "Runner disconnected", "error_type": "runner_disconnected"}


@pytest.mark.parametrize(
    ("found", "kind", "billed"),
    [
        (answer(422, FLAGGED), ContentRejected, True),
        (answer(422, FLAGGED, x_fal_billable_units="0"), ContentRejected, False),
        (answer(200, {"images": []}), ContentRejected, True),
        (answer(200, {"images": [{"url": None}]}), ContentRejected, True),
        (
            answer(422, {"detail": [{"loc": ["body", "seed"], "msg": "too big"}]}),
            InvalidRequest,
            False,
        ),
        (answer(503, STORED), GenerationFailed, False),
        (
            answer(503, {"detail": "x"}, x_fal_error_type="runner_disconnected"),
            GenerationFailed,
            False,
        ),
        (answer(500, {"detail": "x"}, x_fal_request_id=ID), GenerationFailed, False),
        (answer(200, {"status": "FAILED", "error": "no luck"}), GenerationFailed, False),
        (answer(200, {"status": "COMPLETED", "error": "no luck"}), GenerationFailed, False),
        (answer(200, {"status": "CANCELLED"}), CancelledAtProvider, False),
        (answer(499, STORED | {"error_type": "client_cancelled"}), CancelledAtProvider, False),
        (answer(410, GONE), ModelRetired, False),
        (answer(403, LOCKED), CredentialsError, False),
        (answer(200, {"unheard": "of"}), QueueError, False),
        (answer(406, PAGE), QueueError, False),
    ],
)
def test_a_job_that_ended_without_a_picture_says_so(
    found: Answer,
    kind: type[ImagenError],
    billed: bool,  # noqa: FBT001 - a table
) -> None:
    with pytest.raises(kind) as caught:
        read_result(found, ticket())

    assert (type(caught.value), caught.value.billed) == (kind, billed)
    assert caught.value.request_id == ID
    assert FOX.prompt not in str(caught.value)


def test_completed_without_an_error_then_422_is_a_refusal() -> None:
    """COMPLETED means finished: the result decides."""
    status = read_status(answer(200, {"status": "COMPLETED"}), ticket())

    assert status == Done()
    with pytest.raises(ContentRejected):
        read_result(answer(422, FLAGGED), ticket())


# ------------------------------------------------------------------------------------ the cancel


@pytest.mark.parametrize(
    ("found", "meaning"),
    [
        (answer(200, {"status": "OK"}), True),
        (answer(200, {"success": True}), True),
        (answer(200, {"status": "CANCELLED"}), True),
        (answer(202, {"status": "CANCELLATION_REQUESTED"}), None),
        (answer(200, {"success": "true"}), None),
        (answer(200, PAGE), None),
        (answer(404, {"status": "NOT_FOUND"}), None),
        (answer(405), None),
        (answer(400, {"status": "ALREADY_COMPLETED"}), False),
        (answer(400, {"status": "OK"}), None),
    ],
)
def test_only_a_confirmation_counts_as_cancelled(found: Answer, meaning: object) -> None:
    assert read_cancel(found) is meaning


def test_a_body_is_the_json_that_the_gateway_documents() -> None:
    request = ImageRequest.create("p", aspect_ratio="1:1", num_images=1, resolution="1K")

    body = submit_call(request, GATEWAY).body

    assert body is not None
    assert json.loads(body) == {
        "prompt": "p",
        "aspect_ratio": "1:1",
        "num_images": 1,
        "resolution": "1K",
    }
