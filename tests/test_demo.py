"""The demo queue answers as the wire format says, over its own transport and over a socket."""

from __future__ import annotations

import base64
import io
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from PIL import Image
from starlette.responses import JSONResponse, Response

from imagen_widget._demo import (
    Behaviour,
    DemoServer,
    EarlyResult,
    Outcome,
    RecordedRequest,
    Refusal,
    StatusRoute,
    create_app,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.applications import Starlette

pytestmark = pytest.mark.anyio

PREVIEW = "/fal-ai/imagen4/preview"
HOME = "/fal-ai/imagen4"
FOX = {"prompt": "a red fox", "aspect_ratio": "16:9", "num_images": 2, "seed": 7}
START_SECONDS = 20.0  # a server's line within this time, or it did not start


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Server:
    """The app, its clock and a client that talks to it."""

    def __init__(self, app: Starlette, clock: Clock, client: httpx.AsyncClient) -> None:
        self.demo = cast("DemoServer", app.state.demo)
        self.clock = clock
        self.client = client

    async def submit(self, body: object = None, *, to: str = PREVIEW) -> dict[str, Any]:
        answer = await self.client.post(to, json=FOX if body is None else body)
        assert answer.status_code == 200, answer.text
        return cast("dict[str, Any]", answer.json())

    async def get(self, ticket: dict[str, Any], tail: str = "") -> httpx.Response:
        return await self.client.get(f"{HOME}/requests/{ticket['request_id']}{tail}")

    async def cancel(self, ticket: dict[str, Any]) -> httpx.Response:
        return await self.client.put(f"{HOME}/requests/{ticket['request_id']}/cancel")


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Server]]:
    clients = []

    def start(**options: Any) -> Server:  # noqa: ANN401 - create_app checks them
        clock = Clock()
        app = create_app(clock=clock, sleep=clock.sleep, **options)
        transport = httpx.ASGITransport(app)
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://demo.test"))
        return Server(app, clock, clients[-1])

    yield start
    for client in clients:
        await client.aclose()


def events_of(stream: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]


# -- submit ------------------------------------------------------------------------------------


async def test_a_ticket_has_every_documented_field(serve: Callable[..., Server]) -> None:
    server = serve()

    ticket = await server.submit()

    home = f"https://queue.fal.run/fal-ai/imagen4/requests/{ticket['request_id']}"
    assert ticket == {
        "status": "IN_QUEUE",
        "request_id": ticket["request_id"],
        "response_url": home,
        "status_url": f"{home}/status",
        "cancel_url": f"{home}/cancel",
        "logs": None,
        "metrics": {},
        "queue_position": 1,
    }


async def test_a_body_that_is_no_json_is_refused_at_once(serve: Callable[..., Server]) -> None:
    server = serve()

    answer = await server.client.post(PREVIEW, content=b'{"prompt":')

    assert answer.status_code == 422
    assert server.demo.queue.accepted == 0


async def test_a_body_that_is_no_object_is_refused_at_once(serve: Callable[..., Server]) -> None:
    server = serve()

    answer = await server.client.post(PREVIEW, json=["a red fox"])

    assert answer.json()["detail"][0]["type"] == "dict_type"
    assert server.demo.queue.accepted == 0


async def test_a_queue_longer_than_the_caller_bears_refuses(serve: Callable[..., Server]) -> None:
    server = serve(slots=1)
    for _ in range(3):
        await server.submit()

    answer = await server.client.post(f"{PREVIEW}?fal_max_queue_length=2", json=FOX)

    assert answer.status_code == 429
    assert server.demo.queue.accepted == 3


# -- status ------------------------------------------------------------------------------------


async def test_the_position_counts_down_then_work_begins(serve: Callable[..., Server]) -> None:
    server = serve(seconds=10, behaviour=Behaviour(ahead=2))
    ticket = await server.submit()

    seen = []
    for _ in range(5):
        body = (await server.get(ticket, "/status")).json()
        seen.append((body["status"], body.get("queue_position")))
        server.clock.now += 1.5

    assert ticket["queue_position"] == 2
    assert seen == [
        ("IN_QUEUE", 2),
        ("IN_QUEUE", 1),
        ("IN_QUEUE", 0),
        ("IN_PROGRESS", None),
        ("IN_PROGRESS", None),
    ]


async def test_a_job_takes_the_seconds_that_it_was_told(serve: Callable[..., Server]) -> None:
    server = serve(seconds=10)
    ticket = await server.submit()

    server.clock.now += 9.99
    before = await server.get(ticket, "/status")
    server.clock.now += 0.02
    after = await server.get(ticket, "/status")

    assert (before.status_code, before.json()["status"]) == (202, "IN_PROGRESS")
    assert (after.status_code, after.json()["status"]) == (200, "COMPLETED")
    assert after.json()["metrics"] == {"inference_time": 7.0}


async def test_no_seconds_finish_a_job_at_once(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0)
    ticket = await server.submit()

    answer = await server.get(ticket)

    assert ticket["status"] == "IN_QUEUE"
    assert len(answer.json()["images"]) == 2


async def test_logs_come_only_to_those_who_ask(serve: Callable[..., Server]) -> None:
    server = serve(seconds=10)
    ticket = await server.submit()
    server.clock.now += 3.0

    without = (await server.get(ticket, "/status")).json()
    with_logs = (await server.get(ticket, "/status?logs=1")).json()

    assert without["logs"] is None
    assert [entry["message"] for entry in with_logs["logs"]] == ["Generating 2 image(s)"]
    assert re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{6}Z", with_logs["logs"][0]["timestamp"])


async def test_polling_returns_the_whole_log_each_time(serve: Callable[..., Server]) -> None:
    server = serve(seconds=10)
    ticket = await server.submit()
    server.clock.now += 100

    first = (await server.get(ticket, "/status?logs=true")).json()["logs"]
    second = (await server.get(ticket, "/status?logs=1")).json()["logs"]

    assert first == second
    assert [entry["message"] for entry in first] == [
        "Generating 2 image(s)",
        "Image 1 of 2",
        "Image 2 of 2",
    ]


async def test_jobs_beyond_the_slots_wait_their_turn(serve: Callable[..., Server]) -> None:
    server = serve(seconds=10, slots=1, behaviour=Behaviour(ahead=0))
    tickets = [await server.submit() for _ in range(3)]
    server.clock.now += 2.0

    waiting = [(await server.get(ticket, "/status")).json() for ticket in tickets]
    server.clock.now += 7.0
    later = [(await server.get(ticket, "/status")).json() for ticket in tickets]

    assert [ticket["queue_position"] for ticket in tickets] == [0, 1, 2]
    assert [body.get("queue_position") for body in waiting] == [None, 0, 1]
    assert [body["status"] for body in later] == ["COMPLETED", "IN_PROGRESS", "IN_QUEUE"]


async def test_a_job_nobody_watched_started_when_it_could(serve: Callable[..., Server]) -> None:
    """A late look finds what would have been found by looking all the time."""
    server = serve(seconds=10, slots=1, behaviour=Behaviour(ahead=0))
    tickets = [await server.submit() for _ in range(2)]

    server.clock.now += 15.51
    second = await server.get(tickets[1], "/status")

    assert second.json()["status"] == "COMPLETED"


async def test_an_unknown_job_is_not_found(serve: Callable[..., Server]) -> None:
    server = serve()

    answers = [await server.get({"request_id": "none"}, tail) for tail in ("", "/status")]

    assert {(answer.status_code, answer.text) for answer in answers} == {
        (404, '{"status":"NOT_FOUND"}')
    }


async def test_a_job_is_not_found_under_another_app(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0)
    ticket = await server.submit()

    answer = await server.client.get(f"/fal-ai/nano-banana/requests/{ticket['request_id']}")

    assert answer.status_code == 404


async def test_the_sub_path_is_no_part_of_a_jobs_address(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0)
    ticket = await server.submit()

    answer = await server.client.get(f"{PREVIEW}/requests/{ticket['request_id']}")

    assert answer.status_code == 405


# -- stream ------------------------------------------------------------------------------------


async def test_the_stream_tells_each_change_once_and_ends(serve: Callable[..., Server]) -> None:
    server = serve(seconds=4)
    ticket = await server.submit()

    answer = await server.get(ticket, "/status/stream?logs=1")

    events = events_of(answer.text)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [event["status"] for event in events] == [
        "IN_QUEUE",
        "IN_QUEUE",
        "IN_PROGRESS",
        "IN_PROGRESS",
        "IN_PROGRESS",
        "COMPLETED",
    ]
    assert [event["queue_position"] for event in events[:2]] == [1, 0]


async def test_the_stream_tells_each_log_line_once(serve: Callable[..., Server]) -> None:
    server = serve(seconds=4)
    ticket = await server.submit()

    answer = await server.get(ticket, "/status/stream?logs=1")

    lines = [line for event in events_of(answer.text) for line in event["logs"] or []]
    assert [line["message"] for line in lines] == [
        "Generating 2 image(s)",
        "Image 1 of 2",
        "Image 2 of 2",
    ]


async def test_the_stream_is_punctual(serve: Callable[..., Server]) -> None:
    server = serve(seconds=4)
    ticket = await server.submit()
    begun = server.clock.now

    await server.get(ticket, "/status/stream")

    assert server.clock.now - begun == pytest.approx(4.0, abs=0.01)


async def test_a_quiet_stream_is_kept_alive_by_comments(serve: Callable[..., Server]) -> None:
    server = serve(seconds=60)
    ticket = await server.submit()

    answer = await server.get(ticket, "/status/stream")

    pings = answer.text.splitlines().count(": ping")
    assert 24 <= pings <= 30  # 60 s with five events in between, one comment each 2 s of silence


async def test_the_stream_of_a_finished_job_says_so_and_ends(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0)
    ticket = await server.submit()

    answer = await server.get(ticket, "/status/stream")

    assert [event["status"] for event in events_of(answer.text)] == ["COMPLETED"]


async def test_a_stream_notices_a_cancellation(serve: Callable[..., Server]) -> None:
    server = serve(seconds=60)
    ticket = await server.submit()
    job = server.demo.queue.find(ticket["request_id"])
    assert job is not None

    async def sleep_then_cancel(seconds: float) -> None:
        server.clock.now += seconds
        server.demo.queue.cancel(job)

    server.demo.sleep = sleep_then_cancel
    answer = await server.get(ticket, "/status/stream")

    assert events_of(answer.text)[-1]["error_type"] == "client_cancelled"


# -- result ------------------------------------------------------------------------------------


async def test_a_result_asked_for_too_early_is_400(serve: Callable[..., Server]) -> None:
    server = serve()
    ticket = await server.submit()

    answer = await server.get(ticket)

    assert (answer.status_code, answer.json()) == (400, {"detail": "Request is still in progress"})


async def test_a_result_lists_the_pictures_and_the_seed(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0)
    ticket = await server.submit()

    body = (await server.get(ticket)).json()

    assert body == {
        "images": [
            {
                "url": f"http://demo.test/files/{ticket['request_id']}/{number}.png",
                "content_type": "image/png",
                "file_name": f"{number}.png",
                "file_size": None,
                "width": 1408,
                "height": 768,
            }
            for number in range(2)
        ],
        "seed": 7,
        "description": "",
    }


async def test_a_seed_is_made_up_when_none_was_sent(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0)
    tickets = [await server.submit({"prompt": "a red fox"}) for _ in range(2)]

    seeds = [(await server.get(ticket)).json()["seed"] for ticket in tickets]

    assert all(isinstance(seed, int) for seed in seeds)
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize("encoding", ["png", "jpeg", "webp"])
async def test_a_picture_is_what_its_entry_says(
    serve: Callable[..., Server], encoding: str
) -> None:
    server = serve(seconds=0)
    ticket = await server.submit({**FOX, "output_format": encoding, "aspect_ratio": "3:4"})
    entry = (await server.get(ticket)).json()["images"][0]

    answer = await server.client.get(entry["url"])

    picture = Image.open(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == entry["content_type"] == f"image/{encoding}"
    assert picture.format == encoding.upper()
    assert picture.size == (entry["width"], entry["height"]) == (896, 1280)


@pytest.mark.parametrize(
    ("route", "ratio", "resolution", "size"),
    [
        ("/fal-ai/imagen4/preview", "1:1", "1K", [1024, 1024]),
        ("/fal-ai/imagen4/preview", "4:3", "2K", [2560, 1792]),
        ("/fal-ai/imagen4/preview/ultra", "9:16", "2K", [1536, 2816]),
        ("/fal-ai/imagen4/preview/fast", "9:16", "2K", [768, 1408]),
        ("/fal-ai/nano-banana", "4:5", "4K", [928, 1152]),
        ("/fal-ai/nano-banana-pro", "16:9", "4K", [5504, 3072]),
        ("/fal-ai/nano-banana-2", "1:8", "0.5K", [176, 1456]),
        ("/fal-ai/nano-banana-2", "auto", "1K", [1024, 1024]),
        ("/somebody/new-model/v2", "3:2", "1K", [1248, 832]),
    ],
)
async def test_each_model_has_its_sizes(
    serve: Callable[..., Server], route: str, ratio: str, resolution: str, size: list[int]
) -> None:
    server = serve(seconds=0)
    body = {"prompt": "a red fox", "aspect_ratio": ratio, "resolution": resolution}
    ticket = await server.submit(body, to=route)

    path = httpx.URL(ticket["response_url"]).path
    image = (await server.client.get(path)).json()["images"][0]

    assert [image["width"], image["height"]] == size


async def test_sync_mode_puts_the_picture_into_the_result(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0)
    ticket = await server.submit({**FOX, "sync_mode": True, "num_images": 1})

    url = (await server.get(ticket)).json()["images"][0]["url"]

    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (1408, 768)


@pytest.mark.parametrize("name", ["2.png", "0.webp", "-1.png", "0", "00.png"])
async def test_only_the_jobs_own_files_are_served(serve: Callable[..., Server], name: str) -> None:
    server = serve(seconds=0)
    ticket = await server.submit()

    answer = await server.client.get(f"/files/{ticket['request_id']}/{name}")

    assert answer.status_code == 404


async def test_media_addresses_stand_on_the_base_url(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0, base_url="https://demo.example/fal/")
    ticket = await server.submit()

    url = (await server.get(ticket)).json()["images"][1]["url"]

    assert url == f"https://demo.example/fal/files/{ticket['request_id']}/1.png"


async def test_every_route_can_have_a_prefix(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0, prefix="/fal")
    ticket = await server.submit(to=f"/fal{PREVIEW}")
    result = await server.client.get(f"/fal{HOME}/requests/{ticket['request_id']}")

    url = result.json()["images"][0]["url"]
    picture = await server.client.get(url)

    assert url.startswith("http://demo.test/fal/files/")
    assert picture.status_code == 200


async def test_a_result_is_forgotten_an_hour_later(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0)
    ticket = await server.submit()
    await server.get(ticket)

    server.clock.now += 3601
    await server.submit()
    answer = await server.get(ticket)

    assert answer.status_code == 404


# -- what the model refuses --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("prompt", "", "string_too_short"),
        ("prompt", 5, "string_type"),
        ("aspect_ratio", "2:1", "literal_error"),
        ("num_images", 0, "greater_than_equal"),
        ("num_images", 5, "less_than_equal"),
        ("num_images", "2", "int_type"),
        ("resolution", "4K", "literal_error"),
        ("output_format", "gif", "literal_error"),
        ("safety_tolerance", 4, "literal_error"),
        ("sync_mode", "yes", "bool_type"),
        ("seed", 1.5, "int_type"),
    ],
)
async def test_bad_input_gets_a_ticket_and_its_refusal_from_the_result(
    serve: Callable[..., Server], field: str, value: object, kind: str
) -> None:
    server = serve(seconds=0)
    ticket = await server.submit({**FOX, field: value})

    status = await server.get(ticket, "/status")
    result = await server.get(ticket)

    assert status.json()["status"] == "COMPLETED"
    assert result.status_code == 422
    assert [(f["loc"], f["type"]) for f in result.json()["detail"]] == [(["body", field], kind)]
    assert result.headers["x-fal-billable-units"] == "0"


async def test_a_missing_prompt_is_named(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0)
    ticket = await server.submit({})

    result = await server.get(ticket)

    assert result.json()["detail"][0]["type"] == "missing"


async def test_the_refusal_of_a_word_tells_the_words_allowed(
    serve: Callable[..., Server],
) -> None:
    server = serve(seconds=0)
    ticket = await server.submit({**FOX, "aspect_ratio": "2:1"})

    fault = (await server.get(ticket)).json()["detail"][0]

    assert fault["msg"] == "Input should be '1:1', '16:9', '9:16', '3:4' or '4:3'"
    assert fault["input"] == "2:1"


async def test_fields_that_a_model_does_not_know_are_ignored(
    serve: Callable[..., Server],
) -> None:
    server = serve(seconds=0)
    ticket = await server.submit({**FOX, "negative_prompt": "text"})

    assert (await server.get(ticket)).status_code == 200


async def test_a_route_that_the_app_lacks_shows_in_the_result(
    serve: Callable[..., Server],
) -> None:
    server = serve(seconds=0)
    ticket = await server.submit(to="/fal-ai/imagen4/previeww")

    result = await server.get(ticket)

    assert (result.status_code, result.json()) == (404, {"detail": "Path /previeww not found"})


# -- cancel ------------------------------------------------------------------------------------


@pytest.mark.parametrize("after_seconds", [0.0, 5.0])
async def test_a_cancelled_job_has_no_result(
    serve: Callable[..., Server], after_seconds: float
) -> None:
    server = serve(seconds=10)
    ticket = await server.submit()
    server.clock.now += after_seconds

    answer = await server.cancel(ticket)
    status = await server.get(ticket, "/status")
    result = await server.get(ticket)

    assert (answer.status_code, answer.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    assert status.json()["error_type"] == "client_cancelled"
    assert result.status_code == 499
    assert server.demo.queue.paid_jobs == 0


async def test_a_finished_job_cannot_be_cancelled(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0)
    ticket = await server.submit()

    answer = await server.cancel(ticket)

    assert (answer.status_code, answer.json()) == (400, {"status": "ALREADY_COMPLETED"})


async def test_an_unknown_job_cannot_be_cancelled(serve: Callable[..., Server]) -> None:
    server = serve()

    answer = await server.cancel({"request_id": "none"})

    assert answer.status_code == 404


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_a_cancelled_job_gives_its_place_to_the_next(
    serve: Callable[..., Server], cancelled: int
) -> None:
    server = serve(seconds=10, slots=1, behaviour=Behaviour(ahead=0))
    tickets = [await server.submit() for _ in range(3)]
    server.clock.now += 2.0
    await server.get(tickets[0], "/status")

    await server.cancel(tickets[cancelled])
    server.clock.now += 7.1
    last = (await server.get(tickets[2], "/status")).json()

    assert last["status"] == "IN_PROGRESS"


async def test_a_stubborn_job_goes_on(serve: Callable[..., Server]) -> None:
    server = serve(seconds=10, behaviour=Behaviour(stubborn=True))
    ticket = await server.submit()

    answer = await server.cancel(ticket)
    server.clock.now += 10.1
    result = await server.get(ticket)

    assert answer.status_code == 202
    assert result.status_code == 200


# -- keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Key", "Bearer"])
async def test_the_right_key_opens_under_both_schemes(
    serve: Callable[..., Server], scheme: str
) -> None:
    server = serve(require_key="sk-made-up")
    server.client.headers["authorization"] = f"{scheme} sk-made-up"

    ticket = await server.submit()

    assert ticket["status"] == "IN_QUEUE"


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer sk-other"}])
async def test_a_wrong_key_or_none_is_refused_everywhere(
    serve: Callable[..., Server], headers: dict[str, str]
) -> None:
    server = serve(require_key="sk-made-up")
    path = f"{HOME}/requests/none"

    answers = [
        await server.client.post(PREVIEW, json=FOX, headers=headers),
        await server.client.get(f"{path}/status", headers=headers),
        await server.client.get(f"{path}/status/stream", headers=headers),
        await server.client.get(path, headers=headers),
        await server.client.put(f"{path}/cancel", headers=headers),
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert server.demo.queue.accepted == 0


async def test_pictures_need_no_key(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0, require_key="sk-made-up")
    server.client.headers["authorization"] = "Key sk-made-up"
    ticket = await server.submit()
    url = (await server.get(ticket)).json()["images"][0]["url"]
    del server.client.headers["authorization"]

    answer = await server.client.get(url)

    assert answer.status_code == 200


# -- what the server can be told ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "code"),
    [(Refusal.KEY, 401), (Refusal.BALANCE, 403), (Refusal.BUSY, 429), (Refusal.RETIRED, 410)],
)
async def test_a_refused_request_is_no_job(
    serve: Callable[..., Server], refusal: Refusal, code: int
) -> None:
    server = serve(behaviour=Behaviour(refusal=refusal))

    answer = await server.client.post(PREVIEW, json=FOX)

    assert answer.status_code == code
    assert server.demo.queue.accepted == 0


async def test_a_retired_model_answers_with_an_object(serve: Callable[..., Server]) -> None:
    server = serve(behaviour=Behaviour(refusal=Refusal.RETIRED))

    answer = await server.client.post(PREVIEW, json=FOX)

    assert answer.json()["detail"]["error"] == "EndpointDeprecated"


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.REJECTED, "content_policy_violation"),
        (Outcome.SILENT, "no_media_generated"),
    ],
)
async def test_a_model_can_refuse_though_the_status_looks_well(
    serve: Callable[..., Server], outcome: Outcome, kind: str
) -> None:
    server = serve(seconds=0, behaviour=Behaviour(outcome=outcome))
    ticket = await server.submit()

    status = (await server.get(ticket, "/status")).json()
    result = await server.get(ticket)

    assert "error" not in status
    assert result.status_code == 422
    assert result.json()["detail"][0]["type"] == kind
    assert result.json()["detail"][0]["input"] == FOX
    assert server.demo.queue.paid_jobs == 0


async def test_a_lost_machine_shows_in_status_and_result(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0, behaviour=Behaviour(outcome=Outcome.FAILED))
    ticket = await server.submit()

    status = (await server.get(ticket, "/status")).json()
    result = await server.get(ticket)

    assert (status["status"], status["error_type"]) == ("COMPLETED", "runner_disconnected")
    assert status["metrics"] == {"inference_time": None}
    assert result.status_code == 503
    assert result.headers["x-fal-error-type"] == "runner_disconnected"


@pytest.mark.parametrize(("withheld", "left"), [(1, 1), (2, 0), (3, 0)])
async def test_pictures_can_be_withheld(
    serve: Callable[..., Server], withheld: int, left: int
) -> None:
    server = serve(seconds=0, behaviour=Behaviour(withheld=withheld))
    ticket = await server.submit()

    result = await server.get(ticket)

    assert (result.status_code, len(result.json()["images"])) == (200, left)


async def test_a_gateway_may_pass_on_the_result_route_alone(
    serve: Callable[..., Server],
) -> None:
    behaviour = Behaviour(status_route=StatusRoute.MISSING, early_result=EarlyResult.STATUS)
    server = serve(behaviour=behaviour)
    ticket = await server.submit()

    refused = [await server.get(ticket, tail) for tail in ("/status", "/status/stream")]
    refused.append(await server.cancel(ticket))
    early = await server.get(ticket)
    server.clock.now += 10
    late = await server.get(ticket)

    assert [answer.status_code for answer in refused] == [404, 404, 404]
    assert (early.status_code, early.json()["status"]) == (200, "IN_QUEUE")
    assert len(late.json()["images"]) == 2


async def test_a_gateway_may_answer_unknown_routes_with_a_page(
    serve: Callable[..., Server],
) -> None:
    server = serve(behaviour=Behaviour(status_route=StatusRoute.PAGE))
    ticket = await server.submit()

    answer = await server.get(ticket, "/status")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


async def test_a_gateway_may_know_results_under_auto_only(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0, behaviour=Behaviour(auto_alias=True))
    ticket = await server.submit()

    alias = await server.get(ticket)
    auto = await server.client.get(f"/fal-ai/auto/requests/{ticket['request_id']}")

    assert (alias.status_code, auto.status_code) == (404, 200)


async def test_a_server_may_not_stream(serve: Callable[..., Server]) -> None:
    server = serve(behaviour=Behaviour(stream=False))
    ticket = await server.submit()

    stream = await server.get(ticket, "/status/stream")
    status = await server.get(ticket, "/status")

    assert (stream.status_code, status.status_code) == (404, 202)


async def test_a_dropped_answer_leaves_a_job_behind(serve: Callable[..., Server]) -> None:
    server = serve(behaviour=Behaviour(drops_answer=True))

    answer = await server.client.post(PREVIEW, json=FOX)

    assert len(answer.content) < int(answer.headers["content-length"])
    assert server.demo.queue.accepted == 1


async def test_a_script_treats_the_first_jobs(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0, script=[Behaviour(outcome=Outcome.REJECTED), Behaviour(withheld=1)])

    tickets = [await server.submit() for _ in range(3)]
    results = [await server.get(ticket) for ticket in tickets]

    assert [len(result.json().get("images", ())) for result in results] == [0, 1, 2]


async def test_an_intercepted_request_is_answered_by_the_test(
    serve: Callable[..., Server],
) -> None:
    def busy_once(_: RecordedRequest) -> Response | None:
        return answers.pop() if answers else None

    answers: list[Response] = [JSONResponse({}, 429)]
    server = serve(intercept=busy_once)

    codes = [(await server.client.post(PREVIEW, json=FOX)).status_code for _ in range(2)]

    assert codes == [429, 200]
    assert server.demo.queue.accepted == 1


async def test_requests_are_recorded_as_they_came(serve: Callable[..., Server]) -> None:
    server = serve(prefix="/fal")

    await server.client.post(
        f"/fal{PREVIEW}?a=1", json=FOX, headers={"authorization": "Bearer sk-made-up"}
    )

    (request,) = server.demo.requests
    assert (request.method, request.path, request.query) == ("POST", f"/fal{PREVIEW}", "a=1")
    assert request.json() == FOX
    assert request.headers["authorization"] == "Bearer sk-made-up"
    assert "sk-made-up" not in repr(request)


# -- what a prompt can say ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "code", "count"),
    [
        ("", 200, 2),
        ("[demo:few]", 200, 1),
        ("[demo:few=2]", 200, 0),
        ("[demo:reject]", 422, None),
        ("[demo:silent]", 422, None),
        ("[demo:fail]", 503, None),
    ],
)
async def test_a_word_in_the_prompt_steers_one_job(
    serve: Callable[..., Server], word: str, code: int, count: int | None
) -> None:
    server = serve(seconds=0)
    ticket = await server.submit({**FOX, "prompt": f"a red fox {word}"})

    result = await server.get(ticket)

    assert result.status_code == code
    assert count is None or len(result.json()["images"]) == count


@pytest.mark.parametrize(("word", "code"), [("balance", 403), ("retired", 410)])
async def test_a_word_in_the_prompt_can_refuse_the_job(
    serve: Callable[..., Server], word: str, code: int
) -> None:
    server = serve()

    answer = await server.client.post(PREVIEW, json={"prompt": f"a red fox [demo:{word}]"})

    assert answer.status_code == code


async def test_a_word_in_the_prompt_sets_the_queue_and_the_pace(
    serve: Callable[..., Server],
) -> None:
    server = serve(seconds=0)
    ticket = await server.submit({"prompt": "[demo:queue=3] [demo:slow=20] a red fox"})
    server.clock.now += 8

    body = (await server.get(ticket, "/status")).json()

    assert ticket["queue_position"] == 3
    assert (body["status"], body["queue_position"]) == ("IN_QUEUE", 1)


async def test_an_unknown_word_is_named_in_the_log(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0)
    ticket = await server.submit({"prompt": "a red fox [demo:rejct]"})

    logs = (await server.get(ticket, "/status?logs=1")).json()["logs"]

    assert logs[0]["message"] == "The demo knows no word 'rejct'"


async def test_the_words_for_the_demo_are_not_painted(serve: Callable[..., Server]) -> None:
    server = serve(seconds=0)
    bodies = [{"prompt": prompt, "seed": 7} for prompt in ("a red fox", "a red fox [demo:slow=0]")]
    tickets = [await server.submit(body) for body in bodies]
    urls = [(await server.get(ticket)).json()["images"][0]["url"] for ticket in tickets]

    pictures = [(await server.client.get(url)).content for url in urls]

    assert pictures[0] == pictures[1]


# -- the command -------------------------------------------------------------------------------


@pytest.fixture
def command() -> Iterator[str]:
    """`python -m imagen_widget` on a free port; the address that it prints."""
    arguments = [sys.executable, "-m", "imagen_widget", "--port", "0", "--seconds", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield first_line(process)
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def first_line(process: subprocess.Popen[str]) -> str:
    """The first line a process prints; an error if it takes too long."""
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=lambda out: lines.put(out.readline()), args=(process.stdout,)).start()
    return lines.get(timeout=START_SECONDS)


async def test_the_command_serves_a_whole_job_on_a_socket(command: str) -> None:
    found = re.search(r"IMAGEN_BASE_URL=(http://127\.0\.0\.1:\d+)$", command.strip())
    assert found, command
    async with httpx.AsyncClient(base_url=found[1]) as client:
        ticket = (await client.post(PREVIEW, json=FOX)).json()
        path = f"{HOME}/requests/{ticket['request_id']}"

        stream = await client.get(f"{path}/status/stream")
        images = (await client.get(path)).json()["images"]
        picture = await client.get(images[0]["url"])

    assert events_of(stream.text)[-1]["status"] == "COMPLETED"
    assert Image.open(io.BytesIO(picture.content)).size == (1408, 768)


@pytest.mark.parametrize(
    "arguments",
    [["--port", "70000"], ["--port", "x"], ["--seconds", "-1"], ["--seconds", "nan"]],
)
def test_the_command_refuses_numbers_that_make_no_sense(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imagen_widget", *arguments],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )

    assert done.returncode == 2
    assert arguments[0] in done.stderr.splitlines()[-1]


def test_an_interrupt_ends_the_command_quietly() -> None:
    arguments = [sys.executable, "-m", "imagen_widget", "--port", "0"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            address = re.findall(r"http://\S+", first_line(process))[0]
            httpx.get(address)  # it answers, so it is up and listens to signals

            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=START_SECONDS)
        finally:
            process.kill()

    assert (process.returncode, errors) == (0, "")


def test_a_port_in_use_is_one_line_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [sys.executable, "-m", "imagen_widget", "--port", str(taken.getsockname()[1])],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("or --port 0 for any free one\n")


def test_the_pace_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_DEMO_SECONDS", "soon")

    done = subprocess.run(
        [sys.executable, "-m", "imagen_widget"],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )

    assert done.returncode == 2
    assert "'soon' is no time" in done.stderr


def test_the_command_without_uvicorn_names_the_remedy() -> None:
    script = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from imagen_widget.__main__ import main; sys.exit(main([]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Serving the demo queue needs uvicorn: pip install 'imagen-widget[serve]'\n"
    )


def test_a_line_dropped_on_a_socket_breaks_the_answer() -> None:
    """Over a real connection the client sees a broken line, not a short answer."""
    script = (
        "import uvicorn; from imagen_widget._demo import Behaviour, create_app\n"
        "from imagen_widget.__main__ import _listen\n"
        "listener = _listen('127.0.0.1', 0); print(listener.getsockname()[1], flush=True)\n"
        "app = create_app(behaviour=Behaviour(drops_answer=True))\n"
        "uvicorn.Server(uvicorn.Config(app, log_level='critical')).run(sockets=[listener])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        try:
            port = first_line(process).strip()

            with pytest.raises(httpx.RemoteProtocolError):
                httpx.post(f"http://127.0.0.1:{port}{PREVIEW}", json=FOX)
        finally:
            process.terminate()
            process.wait(START_SECONDS)
