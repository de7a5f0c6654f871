"""One job is followed to its end, whatever the provider streams, proxies or breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from imagen_widget import errors
from imagen_widget._client import ImagenClient
from imagen_widget._client._watch import SILENCE_SECONDS
from imagen_widget._protocol._events import Done, Queued, Running, WireEvent
from imagen_widget._protocol._failures import ResultExpired
from tests.answers import ID, RESULT, TICKET, ticket
from tests.clock import Clock
from tests.hostile.server import Received, Server, hold
from tests.provider import Provider, reply_events, reply_json, reply_page

if TYPE_CHECKING:
    import asyncio

pytestmark = pytest.mark.anyio

QUEUED = reply_json(202, TICKET | {"queue_position": 2})
RUNNING = reply_json(202, {"status": "IN_PROGRESS", "logs": None})
DONE = reply_json(200, {"status": "COMPLETED", "metrics": {"inference_time": 7.5}})
STILL = reply_json(400, {"detail": "Request is still in progress"})
UNKNOWN = reply_json(404, {"status": "NOT_FOUND"})
LOCKED = reply_json(403, {"detail": "User is locked. Reason: Exhausted balance."})


def _lines(count: int) -> dict[str, Any]:
    return {"status": "IN_PROGRESS", "logs": [{"message": f"step {n}"} for n in range(count)]}


class Following:
    """A client whose job is followed in a time of its own."""

    def __init__(self, name: str = "kkiai", **routes: Any) -> None:  # noqa: ANN401 - replies
        self.clock = Clock()
        self.provider = Provider(self.clock, **routes)
        self.events: list[WireEvent] = []
        self.client = ImagenClient(
            name,
            api_key="made-up",
            transport=self.provider.transport,
            clock=self.clock,
            sleep=self.clock.sleep,
            chance=lambda: 0.5,
        )
        self.ticket = ticket(name)

    async def watch(self, **options: Any) -> list[WireEvent]:  # noqa: ANN401 - passed on
        await self.client.watch(self.ticket, self.events.append, **options)
        return self.events


# ------------------------------------------------------------------------------------- the polls


async def test_each_change_is_reported_once() -> None:
    job = Following(status=[QUEUED, QUEUED, RUNNING, RUNNING, DONE])

    assert await job.watch() == [Queued(2), Running(), Done(7.5)]


async def test_only_new_log_lines_are_reported() -> None:
    polls = [reply_json(202, _lines(count)) for count in (1, 1, 3)]
    job = Following(status=[*polls, DONE])

    events = await job.watch()

    told = [line.message for e in events if isinstance(e, Running) for line in e.logs]
    assert told == ["step 0", "step 1", "step 2"]


async def test_a_status_without_logs_is_asked_for_where_they_grow_too_large() -> None:
    huge = reply_json(202, _lines(1) | {"padding": "x" * 9_000_000})
    job = Following(status=[huge, DONE])

    await job.watch()

    assert [request.url.query for request in job.provider.seen] == [b"logs=1", b""]


TROUBLES = [
    httpx.ReadTimeout(""),
    httpx.ConnectError("refused"),
    httpx.RemoteProtocolError(""),
    reply_json(500, {"detail": "oops"}),
    reply_json(503, {"detail": "x"}, x_fal_request_id=ID, x_fal_error_type="runner_disconnected"),
    reply_page(502),
    reply_json(429, {"detail": "slow"}, retry_after="1"),
    reply_json(408, {}),
    httpx.Response(200, content=b'{"status": "IN_PROG'),
    httpx.Response(200, content=b'"COMPLETED"'),
    reply_json(200, {"status": "CONFUSED"}),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=repr)
async def test_trouble_with_the_status_is_no_trouble_of_the_job(trouble: Any) -> None:  # noqa: ANN401 - a reply
    job = Following(status=[RUNNING, trouble, trouble, trouble, DONE])

    assert (await job.watch())[-1] == Done(7.5)


@pytest.mark.parametrize("trouble", [RUNNING, QUEUED, *TROUBLES], ids=repr)
async def test_what_never_ends_ends_with_the_deadline(trouble: Any) -> None:  # noqa: ANN401 - a reply
    job = Following(status=[QUEUED, trouble])

    with pytest.raises(errors.QueueTimeout, match=rf"after 30 s \(request id {ID}\)") as caught:
        await job.watch(timeout=30)

    assert job.clock.now <= 1000 + 30 + 1
    assert (caught.value.request_id, caught.value.billed) == (ID, True)
    assert "%imagen_resume" in str(caught.value)


async def test_a_locked_account_is_said_at_once_and_the_job_is_kept() -> None:
    job = Following(status=[RUNNING, LOCKED])

    with pytest.raises(errors.CredentialsError, match="Top up at kkiai") as caught:
        await job.watch()

    assert caught.value.request_id == ID
    assert "%imagen_resume" in str(caught.value)


async def test_a_metered_gateway_is_not_asked_more_often_than_it_likes() -> None:
    job = Following(status=[RUNNING] * 5 + [DONE])

    await job.watch()

    assert min(job.clock.naps) >= 0.9


async def test_twenty_jobs_do_not_storm_a_sick_service() -> None:
    sick = Following(status=reply_json(503, {"detail": "overloaded"}))

    for _ in range(20):
        with pytest.raises(errors.QueueTimeout):
            await sick.watch(timeout=60)

    assert sick.provider.count("status") <= 20 * 60 / 6  # a retry in six seconds and less a job


# ---------------------------------------------------------------------- gateways that proxy little


@pytest.mark.parametrize("answer", [UNKNOWN, reply_json(405, {}), reply_page(200), reply_page(404)])
async def test_a_gateway_that_proxies_only_the_result_is_asked_for_that(
    answer: httpx.Response,
) -> None:
    pending = [STILL, reply_json(200, TICKET), RUNNING]
    job = Following(status=answer, result=[*pending, reply_json(200, RESULT)])

    events = await job.watch()
    outcome = await job.client.result(job.ticket)

    assert events == [Running(), Queued(0), Running(), Done()]
    assert job.provider.count("status") == 1
    assert job.provider.count("result") == 4
    assert outcome.urls == (RESULT["images"][0]["url"],)


async def test_a_result_that_stays_unknown_is_looked_for_under_auto() -> None:
    job = Following(status=UNKNOWN, result=UNKNOWN, auto=[STILL, reply_json(200, RESULT)])

    events = await job.watch()

    assert events[-1] == Done()
    assert job.provider.seen[-1].url.path == f"/fal-ai/auto/requests/{ID}"
    assert job.provider.seen[-1].headers["authorization"] == "Bearer made-up"


@pytest.mark.parametrize(
    ("answer", "kind"), [(UNKNOWN, ResultExpired), (reply_page(), errors.QueueError)]
)
async def test_a_job_that_nobody_knows_is_given_up(
    answer: httpx.Response, kind: type[Exception]
) -> None:
    job = Following(status=answer, result=answer, auto=answer)

    with pytest.raises(kind) as caught:
        await job.watch()

    assert type(caught.value) is kind
    assert job.provider.count("auto") == 4


async def test_fal_itself_knows_no_auto() -> None:
    job = Following("fal", stream=UNKNOWN, status=UNKNOWN, result=UNKNOWN, auto=DONE)

    with pytest.raises(ResultExpired):
        await job.watch()

    assert job.provider.count("auto") == 0


# ------------------------------------------------------------------------------------ the stream


async def test_a_stream_is_read_to_its_end_without_a_poll() -> None:
    said = [TICKET, _lines(1), _lines(1), {"status": "COMPLETED"}]
    job = Following("fal", stream=reply_events(*said, rest=b": bye\n\n"))

    events = await job.watch()

    assert [type(event) for event in events] == [Queued, Running, Running, Done]
    assert job.provider.count("status") == 0
    assert job.provider.seen[0].headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    "stream",
    [
        UNKNOWN,
        reply_page(),
        reply_json(200, TICKET),
        reply_events(TICKET),
        reply_events({"status": "CONFUSED"}, rest=b"data: {broken\n\ndata: 5\n\n"),
        reply_events(rest=b"data: " + b"x" * 5_000_000),
        reply_json(503, {"detail": "down"}),
        httpx.ConnectError("refused"),
        httpx.ReadError(""),
    ],
    ids=repr,
)
async def test_where_the_stream_fails_polling_goes_on(stream: Any) -> None:  # noqa: ANN401 - a reply
    job = Following("fal", stream=stream, status=[RUNNING, DONE])

    assert (await job.watch())[-1] == Done(7.5)
    assert job.provider.count("stream") == 1


async def test_a_key_that_the_stream_echoes_is_not_reported() -> None:
    line = {"status": "IN_PROGRESS", "logs": [{"message": "key made-up accepted"}]}
    job = Following("fal", stream=reply_events(line, {"status": "COMPLETED"}))

    events = await job.watch()

    assert "made-up" not in repr(events)
    assert "key *** accepted" in repr(events)


async def test_a_stream_that_falls_silent_is_left_for_polls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("imagen_widget._client._watch.SILENCE_SECONDS", 0.2)
    assert SILENCE_SECONDS >= 10

    async def answering(request: Received, writer: asyncio.StreamWriter) -> None:
        if "/stream" in request.target:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hi\n\n")
            await hold(writer)
        body = b'{"status":"COMPLETED"}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n" + body)

    async with Server(answering) as server:
        monkeypatch.setattr("imagen_widget._catalog.PROVIDERS", _streaming_gateway())
        client = ImagenClient("kkiai", base_url=server.url, api_key="made-up")
        events: list[WireEvent] = []
        await client.watch(ticket(base_url=server.url), events.append)
        await client.aclose()

    assert events == [Done()]
    assert [request.target.partition("?")[0].rpartition("/")[2] for request in server.requests] == [
        "stream",
        "status",
    ]


def _streaming_gateway() -> tuple[Any, ...]:
    """Return the gateway as the catalogue has it, but with a stream of its status."""
    import dataclasses

    from imagen_widget._catalog import find_provider

    return (dataclasses.replace(find_provider("kkiai"), streams=True),)
