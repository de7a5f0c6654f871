"""ImagenClient over a transport: a submit is never paid twice, and what is paid is fetched."""

from __future__ import annotations

import base64
import email.utils
import gzip
import itertools
import json
import math
import time
from typing import Any

import anyio
import httpx
import pytest

from imagen_widget import (
    CancelAnswer,
    Done,
    Finished,
    ImagenClient,
    ImageRequest,
    Queued,
    Running,
    Served,
    Ticket,
    errors,
)
from tests.clock import Clock
from tests.fakequeue import (
    GATEWAY,
    TOOK_SECONDS,
    Break,
    FakeQueue,
    Received,
    Reply,
    events,
    page,
    picture,
)

pytestmark = pytest.mark.anyio

MODEL = "fal-ai/imagen4/preview"
FOX = ImageRequest.create("a red fox")
ACCEPTED = {"status": "IN_QUEUE"}
TRACED = {"x-fal-request-id": "made by the provider"}
STILL = Reply(400, {"detail": "Request is still in progress"})
UNKNOWN = Reply(404, {"status": "NOT_FOUND"})
RUNNING = Reply(202, {"status": "IN_PROGRESS", "logs": None})
COMPLETED = Reply(200, {"status": "COMPLETED"})
ELSEWHERE = Reply(302, b"", {"location": "https://elsewhere.test/login"})
URL = "https://media.test/files/x/0.png"
ONE = {"images": [{"url": URL}]}


class Desk:
    """A client and the queue that it asks, in a time of their own."""

    def __init__(self, name: str = "kkiai", *, polls: float = 1, **options: Any) -> None:
        self.clock = Clock()
        self.queue = FakeQueue(polls=polls, clock=self.clock)
        self.client = ImagenClient(
            name,
            base_url=GATEWAY,
            api_key="sk-made-up",
            transport=self.queue.transport(),
            clock=self.clock,
            now=self.clock,
            sleep=self.clock.sleep,
            chance=lambda: 0.5,
            **options,
        )
        self.events: list[object] = []

    async def submit(self, request: ImageRequest = FOX, **options: Any) -> Ticket:
        return await self.client.submit(request, **options)

    async def watch(self, **options: Any) -> list[object]:
        """Submit, and return what the watch reports."""
        self.ticket = await self.submit()
        self.done = await self.client.watch(self.ticket, self.events.append, **options)
        return self.events

    async def result(self, **options: Any) -> Finished:
        """Submit, watch and return the result."""
        await self.watch(**options)
        return await self.client.result(self.ticket, self.done, **options)

    async def fetch(self, *answers: Reply | Break | None, **options: Any) -> bytes:
        self.queue.script("media", *answers)
        return await self.client.fetch(URL, **options)


# ----------------------------------------------------------------------------- the rule of submits

SURELY_NOT_SENT = [Break.REFUSED, Break.NO_TIME, Break.TLS]
REFUSED: list[tuple[Reply, type[errors.ImagenError], str]] = [
    (Reply(400, {"detail": "no"}), errors.InvalidRequest, "no"),
    (Reply(401, {"detail": "no"}), errors.CredentialsError, "IMAGEN_API_KEY"),
    (Reply(402, {"detail": "Payment required"}), errors.CredentialsError, "Top up at kkiai"),
    (Reply(403, {"detail": "Exhausted balance"}), errors.CredentialsError, "Top up at kkiai"),
    (Reply(404, {"detail": "no"}), errors.ModelRetired, "-m "),
    (page(404), errors.QueueError, "IMAGEN_BASE_URL"),
    (Reply(405, {"detail": "no"}), errors.QueueError, "HTTP 405"),
    (Reply(410, {"detail": "no"}), errors.ModelRetired, "-m "),
    (Reply(413, {"detail": "no"}), errors.InvalidRequest, "no"),
    (Reply(307, b"", {"location": "https://evil.test/"}), errors.QueueError, "redirects"),
    (Reply(503, {"error": {"code": "model_not_found", "message": "x"}}), errors.ModelRetired, "x"),
    (Reply(200, {"success": False, "message": "内容审核未通过"}), errors.ImagenError, "内容审核"),
    (Reply(200, {"code": 1001, "msg": "busy today"}), errors.ImagenError, "busy today"),
    (Reply(200, {"code": 401, "message": "bad token"}), errors.CredentialsError, "bad token"),
    (Reply(200, {"status": "FAILED", "error": "no"}), errors.GenerationFailed, "no"),
    (
        Reply(200, {"request_id": "abc", "status": "FAILED", "error": "no"}),
        errors.GenerationFailed,
        "no",
    ),
    (Reply(200, {"images": []}), errors.ContentRejected, "filtered"),
    (
        Reply(422, {"detail": [{"type": "content_policy_violation", "msg": "flagged"}]}),
        errors.ContentRejected,
        "flagged",
    ),
]
NOBODY_KNOWS = [
    Break.LOST_REQUEST,
    Break.LOST_ANSWER,
    Break.SILENCE,
    Break.CUT_SHORT,
    *(Reply(status, {"detail": "?"}, accepts=True) for status in (408, 409, 499, 500, 502, 504)),
    *(Reply(status, "<html>nginx</html>", accepts=True) for status in (500, 502, 503)),
    Reply(200, b"", accepts=True),
    page(),
    Reply(200, {"status": "IN_QUEUE"}, accepts=True),
    Reply(200, {"request_id": "../../etc"}, accepts=True),
    Reply(200, {"request_id": ".."}, accepts=True),
    Reply(200, {"code": 0, "msg": "success", "data": {}}, accepts=True),
    Reply(201, ["odd"], accepts=True),
]


@pytest.mark.parametrize("fault", SURELY_NOT_SENT)
async def test_a_submit_that_surely_never_left_is_sent_again(fault: Break) -> None:
    desk = Desk()
    desk.queue.script("submit", fault, fault)

    ticket = await desk.submit()

    assert ticket.request_id == "req-1"
    assert (desk.queue.posts, desk.queue.paid[FOX.prompt or ""]) == (3, 1)


@pytest.mark.parametrize("fault", SURELY_NOT_SENT)
async def test_after_three_tries_without_a_connection_nothing_is_billed(fault: Break) -> None:
    desk = Desk()
    desk.queue.always("submit", fault)

    with pytest.raises(errors.QueueError, match="Nothing was sent") as caught:
        await desk.submit()

    assert (desk.queue.posts, caught.value.billed) == (3, False)


@pytest.mark.parametrize(("answer", "kind", "words"), REFUSED)
async def test_a_refused_submit_is_final_says_why_and_is_not_billed(
    answer: Reply, kind: type[errors.ImagenError], words: str
) -> None:
    desk = Desk()
    desk.queue.script("submit", answer)

    with pytest.raises(kind, match=words) as caught:
        await desk.submit()

    assert not isinstance(caught.value, errors.SubmitUncertain)
    assert (desk.queue.posts, caught.value.billed, len(desk.queue.jobs)) == (1, False, 0)


@pytest.mark.slow
async def test_twenty_requests_go_out_at_a_time_and_others_wait_until_their_deadline() -> None:
    queue = FakeQueue()
    queue.silence_seconds = 2.0
    queue.always("submit", Break.SILENCE)
    ends: list[type[BaseException]] = []

    async def submit(client: ImagenClient, timeout: float) -> None:
        with pytest.raises(errors.QueueError) as caught:
            await client.submit(FOX, timeout=timeout)
        ends.append(caught.type)

    with queue.serve() as url:
        client = ImagenClient("kkiai", base_url=url, api_key="sk-made-up")
        async with client, anyio.create_task_group() as group:
            for number in range(25):
                group.start_soon(submit, client, 10.0 if number < 20 else 0.5)

    assert ends == [errors.QueueError] * 5 + [errors.SubmitUncertain] * 20
    assert queue.posts == 20


@pytest.mark.parametrize("fault", NOBODY_KNOWS)
async def test_a_submit_of_which_nobody_knows_is_never_sent_again(fault: Reply | Break) -> None:
    desk = Desk()
    desk.queue.script("submit", fault)

    with pytest.raises(errors.SubmitUncertain, match="may exist and be billed") as caught:
        await desk.submit()

    assert (desk.queue.posts, caught.value.billed, caught.value.ticket) == (1, True, None)


async def test_a_submit_that_a_transport_does_not_answer_in_time_may_have_arrived() -> None:
    posts = 0

    async def silent(_: httpx.Request) -> httpx.Response:
        nonlocal posts
        posts += 1
        await anyio.sleep_forever()
        raise AssertionError

    client = ImagenClient(
        "kkiai",
        base_url=GATEWAY,
        api_key="sk-made-up",
        transport=httpx.MockTransport(silent),
        clock=lambda: 0.0,  # a pause of the machine before the POST would be all of the time
    )

    with pytest.raises(errors.SubmitUncertain, match="no whole answer within 0"):
        await client.submit(FOX, timeout=0.1)

    assert posts == 1


@pytest.mark.parametrize("target", ["https://xn--a/", "javascript:1"])
@pytest.mark.parametrize("network", [False, True])
async def test_a_submit_that_is_redirected_to_what_is_no_address_is_never_sent_again(
    target: str, network: bool
) -> None:
    queue = FakeQueue()
    queue.always("submit", Reply(303, b"", {"location": target}, accepts=True))

    with queue.serve() as url:
        base, transport = (url, None) if network else (GATEWAY, queue.transport())
        client = ImagenClient("kkiai", base_url=base, api_key="sk-made-up", transport=transport)
        async with client:
            with pytest.raises(errors.SubmitUncertain, match="where it redirects"):
                await client.submit(FOX)

    assert queue.posts == 1


@pytest.mark.parametrize(
    ("name", "model", "seconds", "silence"),
    [("kkiai", MODEL, 120, 60), ("fal", MODEL, 120, 60), ("openai", "gpt-image-1.5", 200, 200)],
)
async def test_a_server_may_draw_before_it_answers_but_no_longer_than_its_kind_may(
    name: str, model: str, seconds: float, silence: float
) -> None:
    given: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        given.append(anyio.current_effective_deadline() - anyio.current_time())
        given.append(request.extensions["timeout"]["read"])
        return httpx.Response(500)

    client = ImagenClient(name, api_key="sk-made-up", transport=httpx.MockTransport(answer))
    with pytest.raises(errors.SubmitUncertain):
        await client.submit(ImageRequest.create("a red fox", model=model), timeout=200)

    assert given == [pytest.approx(seconds, abs=20), pytest.approx(silence, abs=20)]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
async def test_a_failing_answer_that_names_the_job_gives_its_ticket(status: int) -> None:
    desk = Desk()
    desk.queue.script("submit", Reply(status, {"detail": "?"}, TRACED, accepts=True))

    with pytest.raises(errors.SubmitUncertain, match="imagen_resume") as caught:
        await desk.submit()

    assert (caught.value.request_id, desk.queue.posts) == ("req-1", 1)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ('{"request_id": "trace", "data": {"request_id": "abc", "queue_pos', "abc"),
        ('{"taskId": "abc", "resp', "abc"),
        ('{"status_url": "https:\\/\\/x.test\\/a\\/b\\/requests\\/abc\\/sta', "abc"),
        ('{"request_id": "abc", "response_url": "https://x.test/a/b/requests/ab', "abc"),
        ('{"request_id": "a/b", "x', None),
        ('{"request_id": "ab', None),
    ],
)
async def test_an_answer_that_breaks_off_behind_the_jobs_id_gives_its_ticket(
    part: str, name: str | None
) -> None:
    queue = FakeQueue()
    head = f"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{part}"
    queue.script("submit", Reply(200, raw=head.encode(), accepts=True))

    with queue.serve() as url:
        async with ImagenClient("kkiai", base_url=url, api_key="sk-made-up") as client:
            with pytest.raises(errors.SubmitUncertain) as caught:
                await client.submit(FOX)

    assert (caught.value.request_id, queue.posts) == (name, 1)


TICKETS = [
    ("", {"location": "/fal-ai/imagen4/requests/abc"}, "abc"),
    ({"code": 0, "msg": "success", "data": {"request_id": "abc"}}, {}, "abc"),
    ({"code": 200, "data": {"task_id": 12345}}, {}, "12345"),
    ({"code": 0, "msg": "ok", "data": "abc"}, {}, "abc"),
    ({"request_id": 987654321}, {}, "987654321"),
    ({"request_id": "a.b:c+d=e"}, {}, "a.b:c+d=e"),
    ({"id": "abc", "status": "IN_QUEUE"}, {}, "abc"),
    ({"response_url": "https://queue.fal.run/fal-ai/imagen4/requests/abc"}, {}, "abc"),
    (ACCEPTED, {"x-fal-request-id": "abc"}, "abc"),
    ({"request_id": "abc", "images": []}, {}, "abc"),
    (json.dumps(json.dumps({"request_id": "abc"})), {}, "abc"),  # written twice
]


@pytest.mark.parametrize(("body", "headers", "name"), TICKETS)
async def test_a_job_is_known_by_its_id_however_the_answer_is_wrapped(
    body: object, headers: dict[str, str], name: str
) -> None:
    desk = Desk()
    desk.queue.ids = iter([name])
    desk.queue.script("submit", Reply(200, body, headers, accepts=True))
    if "x-fal-request-id" in headers:  # which the queue would write over with an id of its own
        desk.queue.script("submit", None)

    finished = await desk.result()

    assert (desk.ticket.request_id, len(finished.urls)) == (name, 1)


# ------------------------------------------------------------------------------ 429 and Retry-After

LATER: list[tuple[dict[str, str], float]] = [
    ({}, 2),
    ({"retry-after": "7"}, 7),
    ({"retry-after-ms": "1500"}, 1.5),
    ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    ({"retry-after": "1e400"}, 120),
    ({"retry-after": "nan"}, 2),
    ({"retry-after": "soon"}, 2),
    ({"retry-after": "-5"}, 2),
    ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 2),
]


@pytest.mark.parametrize(("headers", "seconds"), LATER)
async def test_a_rate_limit_is_waited_for_as_long_as_it_asks(
    headers: dict[str, str], seconds: float
) -> None:
    desk = Desk()
    desk.client.provider.now = time.time
    desk.queue.script("submit", Reply(429, {"detail": "slow down"}, headers))

    await desk.submit()

    assert (desk.clock.naps, desk.queue.posts, len(desk.queue.jobs)) == ([seconds], 2, 1)


async def test_a_rate_limit_until_a_moment_is_waited_for_until_then() -> None:
    desk = Desk()
    moment = email.utils.formatdate(desk.clock.now + 60, usegmt=True)
    desk.queue.script("submit", Reply(429, {"detail": "slow down"}, {"retry-after": moment}))

    await desk.submit()

    assert desk.clock.naps == [pytest.approx(60, abs=1)]


async def test_a_rate_limit_is_asked_five_times_at_most() -> None:
    desk = Desk()
    desk.queue.always("submit", Reply(429, {"detail": "slow down"}, {"retry-after": "3"}))

    with pytest.raises(errors.QueueError, match="too often") as caught:
        await desk.submit()

    assert (desk.queue.posts, desk.clock.naps) == (5, [3, 3, 3, 3])
    assert not caught.value.billed


async def test_a_rate_limit_beyond_the_deadline_is_a_refusal_within_it() -> None:
    desk = Desk()
    desk.queue.always("submit", Reply(429, {"detail": "slow"}, {"retry-after": "86400"}))

    with pytest.raises(errors.QueueError, match="nothing was accepted") as caught:
        await desk.submit(timeout=5)

    assert (type(caught.value), caught.value.billed) == (errors.QueueError, False)
    assert desk.clock.now <= 1005


async def test_a_host_that_is_not_reached_is_given_up_by_the_deadline() -> None:
    desk = Desk()
    desk.queue.always("submit", Break.REFUSED)

    with pytest.raises(errors.QueueError, match="cannot be reached"):
        await desk.submit(timeout=0.5)

    assert (desk.queue.posts, desk.clock.now) == (1, 1000.0)


async def test_an_empty_balance_that_comes_as_a_rate_limit_is_not_asked_again() -> None:
    desk = Desk()
    desk.queue.script("submit", Reply(429, {"error": {"message": "insufficient quota balance"}}))

    with pytest.raises(errors.CredentialsError, match="balance"):
        await desk.submit()

    assert desk.queue.posts == 1


# ----------------------------------------------------------------------------------- cancellation


async def test_a_submit_that_is_cancelled_first_sends_nothing() -> None:
    desk = Desk()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await desk.submit()

    assert (scope.cancelled_caught, desk.queue.posts) == (True, 0)


async def test_a_submit_that_is_cancelled_under_way_still_gives_its_ticket() -> None:
    desk, tickets = Desk(), []
    with anyio.CancelScope() as scope:
        desk.queue.before["submit"] = lambda _: scope.cancel()
        tickets.append(await desk.submit())

    assert [ticket.request_id for ticket in tickets] == ["req-1"]


async def test_a_wait_for_a_rate_limit_can_be_cancelled() -> None:
    desk = Desk()
    desk.queue.script("submit", Reply(429, {"detail": "slow down"}))
    with anyio.CancelScope() as scope:
        desk.queue.before["submit"] = lambda _: scope.cancel()
        await desk.submit()

    assert (scope.cancelled_caught, len(desk.queue.jobs)) == (True, 0)


CANCEL_ANSWERS = [
    (Reply(202, {"status": "CANCELLATION_REQUESTED"}), CancelAnswer.REQUESTED, 1),
    (Reply(200, {"status": "OK"}), CancelAnswer.CONFIRMED, 1),
    (Reply(200, {"success": True}), CancelAnswer.CONFIRMED, 1),
    (Reply(200, {"success": False}), CancelAnswer.REQUESTED, 1),
    (Reply(400, {"status": "ALREADY_COMPLETED"}), CancelAnswer.TOO_LATE, 1),
    (UNKNOWN, CancelAnswer.UNKNOWN, 1),
    (Reply(403, {"status": "OK"}), CancelAnswer.UNKNOWN, 1),
    (page(405), CancelAnswer.UNKNOWN, 1),
    (page(200), CancelAnswer.UNKNOWN, 1),
    (Reply(401, {"detail": "no"}), CancelAnswer.UNKNOWN, 1),
    (Reply(503, {}), CancelAnswer.UNKNOWN, 3),
    (Reply(429, {}), CancelAnswer.UNKNOWN, 3),
    (Break.LOST_ANSWER, CancelAnswer.UNKNOWN, 3),
]


@pytest.mark.parametrize(("reply", "answer", "times"), CANCEL_ANSWERS)
async def test_a_cancellation_says_what_the_provider_said(
    reply: Reply | Break, answer: CancelAnswer, times: int
) -> None:
    desk = Desk()
    ticket = await desk.submit()
    desk.queue.always("cancel", reply)

    assert await desk.client.request_cancel(ticket) is answer
    assert desk.queue.count("cancel") == times
    assert await desk.client.cancel(ticket) is (answer is CancelAnswer.CONFIRMED)


# -------------------------------------------------------------------------------------- the polls


async def test_a_job_is_watched_collected_and_fetched() -> None:
    desk = Desk(polls=2)
    desk.queue.queued, desk.queue.units = 1, "2.5"
    request = ImageRequest.create("a red fox", num_images=2)

    ticket = await desk.submit(request)
    done = await desk.client.watch(ticket, desk.events.append)
    finished = await desk.client.result(ticket, done)
    pictures = [await desk.client.fetch(url) for url in finished.urls]

    assert [type(event) for event in desk.events] == [Queued, Running, Done]
    assert pictures == [picture(f"/files/req-1/{number}.png") for number in range(2)]
    assert (finished.seed, str(finished.units), done.seconds) == (7, "2.5", TOOK_SECONDS)


async def test_the_key_goes_to_the_gateway_and_not_to_the_pictures() -> None:
    desk = Desk()
    await desk.client.fetch((await desk.result()).urls[0])

    keys = {(r.route, r.headers.get("authorization")) for r in desk.queue.requests}

    assert ("media", None) in keys
    assert {key for route, key in keys if route != "media"} == {"Bearer sk-made-up"}


async def test_only_new_log_lines_are_reported() -> None:
    desk = Desk()
    lines = [{"message": f"step {number}"} for number in range(3)]
    polls = [Reply(202, {"status": "IN_PROGRESS", "logs": lines[:n]}) for n in (1, 1, 3)]
    desk.queue.script("status", *polls, COMPLETED)

    found = await desk.watch()

    told = [line.message for event in found if isinstance(event, Running) for line in event.logs]
    assert told == ["step 0", "step 1", "step 2"]


async def test_a_status_without_logs_is_asked_for_where_they_grow_too_large() -> None:
    desk = Desk(polls=0)
    desk.queue.script("status", Reply(202, {"status": "IN_PROGRESS", "x": "y" * 9_000_000}))

    await desk.watch()

    asked = [r.query for r in desk.queue.requests if r.route == "status"]
    assert asked == [{"logs": "1"}]  # then the result was asked, and it was there


HICCUPS = [
    Break.SILENCE,
    Break.REFUSED,
    Break.CUT_SHORT,
    Reply(500, {"detail": "oops"}),
    Reply(503, {"detail": "x"}, {"x-fal-error-type": "runner_disconnected"}),
    page(502),
    Reply(429, {"detail": "slow"}, {"retry-after": "1"}),
    Reply(408, {}),
    Reply(200, b'{"status": "IN_PROG'),
    Reply(200, b'"COMPLETED"'),
    Reply(204, b""),
    Reply(200, {"error": {"message": "status is not supported"}}),
    Reply(200, {"status": "CONFUSED"}),
]


@pytest.mark.parametrize("trouble", HICCUPS, ids=repr)
async def test_trouble_with_the_status_is_not_trouble_of_the_job(trouble: Reply | Break) -> None:
    desk = Desk()
    desk.queue.script("status", RUNNING, trouble, trouble, COMPLETED)
    desk.queue.always("result", STILL)

    found = await desk.watch()

    assert found[-1] == Done()
    assert all(isinstance(event, Running | Done) for event in found)


SILENT_STATUS = [
    *HICCUPS[3:],
    Reply(403, {"detail": "User is locked"}),
    Reply(302, b"", {"location": "https://elsewhere.test/"}),
    Reply(401, {"detail": "no"}),
    Reply(422, {"detail": "no such route"}),
    page(200),
    Reply(405, {}),
    UNKNOWN,
]


@pytest.mark.parametrize("trouble", SILENT_STATUS, ids=repr)
async def test_where_the_status_says_nothing_of_use_the_result_is_asked(trouble: Reply) -> None:
    desk = Desk()
    desk.queue.always("status", trouble)
    desk.queue.script("result", STILL, Reply(200, {"status": "IN_PROGRESS"}), STILL)
    desk.queue.finish()

    finished = await desk.result()

    assert len(finished.urls) == 1
    assert desk.queue.count("result") == 4  # not asked again after it came along
    assert desk.clock.now < 1000 + 60


@pytest.mark.parametrize(
    "body",
    [
        {"status": "succeed"},
        {"data": {"status": "SUCCESS"}},
        {"code": 0, "status": "success", "data": {"status": "finished"}},
        {"state": "done"},
    ],
)
async def test_other_queues_words_for_finished_are_understood(body: object) -> None:
    desk = Desk()
    desk.queue.finish()
    desk.queue.always("status", Reply(200, body))

    assert await desk.watch() == [Done()]


@pytest.mark.parametrize("word", ["IN_PROGRESS", "IN_QUEUE", "processing"])
async def test_a_status_that_stays_behind_does_not_hide_the_result(word: str) -> None:
    desk = Desk()
    desk.queue.finish()
    desk.queue.always("status", Reply(200, {"status": word}))

    finished = await desk.result()

    assert len(finished.urls) == 1
    assert desk.queue.count("result") == 1
    assert 30 <= desk.clock.now - 1000 < 60


@pytest.mark.parametrize("body", [ONE, {"status": "COMPLETED", "result": ONE, "detail": ""}])
@pytest.mark.parametrize("answer", [page(404), UNKNOWN, Reply(401, {"detail": "no"})], ids=repr)
async def test_pictures_in_the_status_are_taken_if_no_result_is_served(
    body: dict[str, object], answer: Reply
) -> None:
    desk = Desk()
    desk.queue.script("status", RUNNING, Reply(200, body))
    desk.queue.always("result", answer)

    assert (await desk.result()).urls == (URL,)
    assert desk.queue.count("result") == 1


async def test_the_result_goes_before_pictures_in_the_status() -> None:
    desk = Desk()
    desk.queue.finish()
    desk.queue.always("status", Reply(200, ONE))

    finished = await desk.result()

    assert len(finished.urls) == 1
    assert URL not in finished.urls


async def test_pictures_of_a_job_that_runs_are_not_its_result() -> None:
    desk = Desk()
    preview = {"status": "IN_PROGRESS", "images": [{"url": "https://media.test/preview.png"}]}
    desk.queue.always("status", Reply(200, preview))
    desk.queue.script("result", STILL, STILL)

    finished = await desk.result()

    assert len(finished.urls) == 1
    assert "preview" not in finished.urls[0]


@pytest.mark.parametrize(("timeout", "said"), [(0.25, "0.2 s"), (2.5, "2.5 s"), (3600, "3600 s")])
async def test_a_deadline_that_has_passed_is_named_in_plain_seconds(
    timeout: float, said: str
) -> None:
    desk = Desk(polls=math.inf)

    with pytest.raises(errors.QueueTimeout, match=f"after {said}"):
        await desk.watch(timeout=timeout)


async def test_a_short_deadline_leaves_time_to_look_behind_a_status_that_stays() -> None:
    desk = Desk()
    desk.queue.finish()
    desk.queue.always("status", Reply(200, {"status": "IN_PROGRESS"}))

    assert len((await desk.result(timeout=20)).urls) == 1


async def test_the_job_is_asked_for_shortly_before_the_deadline_however_long_a_wait_would_be() -> (
    None
):
    desk = Desk()
    asked: list[float] = []
    for route in ("status", "result"):
        desk.queue.before[route] = lambda _: asked.append(1060 - desk.clock.now)
        desk.queue.always(route, Reply(503, {"detail": "?"}))

    with pytest.raises(errors.QueueTimeout):
        await desk.watch(timeout=60)

    assert asked[-1] < 1


@pytest.mark.parametrize("answer", [STILL, UNKNOWN, page(), Reply(422, {"detail": "no"})], ids=repr)
async def test_while_the_status_says_that_a_job_runs_nothing_but_its_result_ends_it(
    answer: Reply,
) -> None:
    desk = Desk()
    desk.queue.always("status", RUNNING)
    desk.queue.always("result", answer)

    with pytest.raises(errors.QueueTimeout, match="still running"):
        await desk.watch(timeout=300)

    assert 8 < desk.queue.count("result") < desk.queue.count("status") / 6
    assert not any("/auto/" in request.path for request in desk.queue.requests)


@pytest.mark.parametrize("trouble", [RUNNING, *HICCUPS, UNKNOWN], ids=repr)
async def test_what_never_ends_ends_with_the_deadline(trouble: Reply | Break) -> None:
    desk = Desk()
    desk.queue.always("status", trouble)
    desk.queue.always("result", UNKNOWN if trouble is UNKNOWN else STILL)

    with pytest.raises(errors.QueueTimeout, match=r"after 30 s \(request id req-1\)") as caught:
        await desk.watch(timeout=30)

    assert desk.clock.now <= 1000 + 30 + 1
    assert (caught.value.ticket, caught.value.billed) == (desk.ticket, True)
    assert "%imagen_resume" in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_poll_is_not_repeated_before_the_answer_says_but_once_before_the_deadline(
    status: int,
) -> None:
    desk = Desk(polls=0)
    later = Reply(status, {"detail": "slow down"}, {"retry-after": "20"})
    asked: list[float] = []
    for route, count in (("status", 1), ("result", 2)):
        desk.queue.before[route] = lambda _: asked.append(desk.clock.now - 1000)
        desk.queue.script(route, *[later] * count)

    assert len((await desk.result(timeout=300)).urls) == 1
    assert asked == [0, 20, 40, 40, 60]  # the status, the result, both, the result

    for route in ("status", "result"):
        desk.queue.always(route, Reply(status, {}, {"retry-after": "86400"}))
    began = desk.clock.now
    with pytest.raises(errors.QueueTimeout):
        await desk.watch(timeout=60)

    assert 59 < asked[-1] + 1000 - began <= 60


async def test_a_locked_account_is_said_and_the_job_is_kept() -> None:
    desk = Desk()
    locked = Reply(403, {"detail": "User is locked. Reason: Exhausted balance."})
    desk.queue.script("status", RUNNING)
    desk.queue.always("status", locked)
    desk.queue.always("result", locked)

    with pytest.raises(errors.CredentialsError, match="Top up at kkiai") as caught:
        await desk.watch()

    assert caught.value.ticket == desk.ticket
    assert "%imagen_resume" in str(caught.value)


async def test_a_metered_gateway_is_not_asked_more_often_than_it_likes() -> None:
    desk = Desk(polls=5)

    await desk.watch(service_times=[0.5] * 9)

    assert min(desk.clock.naps) >= 0.9


async def test_twenty_jobs_do_not_storm_a_sick_service() -> None:
    desk = Desk()
    desk.queue.always("status", Reply(503, {"detail": "overloaded"}))
    desk.queue.always("result", Reply(503, {"detail": "overloaded"}))

    for _ in range(20):
        with pytest.raises(errors.QueueTimeout):
            await desk.watch(timeout=60)

    assert desk.queue.count("status", "result") <= 20 * 60 / 6  # one in six seconds and less a job


# --------------------------------------------------------------- jobs that nobody knows, and `auto`


async def test_a_job_that_is_unknown_in_its_first_seconds_is_asked_for_until_it_turns_up() -> None:
    for name in ("kkiai", "fal"):
        desk = Desk(name, polls=0)
        desk.queue.always("stream", UNKNOWN)
        clock = desk.clock

        def not_yet(_: Received, clock: Clock = clock) -> Reply | None:
            return UNKNOWN if clock.now < 1025 else None

        for route in ("status", "result"):
            desk.queue.always(route, not_yet)

        finished = await desk.result()

        assert len(finished.urls) == 1
        assert 1025 <= desk.clock.now < 1030


@pytest.mark.parametrize("old", [True, False])
async def test_a_job_that_is_unknown_with_proof_is_expired_within_seconds(old: bool) -> None:
    desk = Desk()
    ticket = await desk.submit()
    for route in ("status", "result"):
        desk.queue.always(route, UNKNOWN)
    began = desk.clock.now = desk.clock.now + (3601 if old else 60)

    with pytest.raises(errors.QueueError, match="knows no job req-1") as caught:
        await desk.client.watch(ticket, expired=not old)

    assert (caught.value.ticket, caught.value.billed) == (ticket, True)
    assert desk.clock.now - began < 10


@pytest.mark.parametrize("answer", [page(), page(404), Reply(405, {}), ELSEWHERE], ids=repr)
async def test_an_old_job_is_not_expired_because_its_address_is_not_served(answer: Reply) -> None:
    desk = Desk()
    ticket = await desk.submit()
    for route in ("status", "result"):
        desk.queue.always(route, answer)
    began = desk.clock.now = desk.clock.now + 3601

    with pytest.raises(errors.QueueError, match="where the job's result should be") as caught:
        await desk.client.watch(ticket)

    assert not isinstance(caught.value, errors.ResultExpired)
    assert desk.clock.now - began < 10


async def test_a_result_that_stays_unknown_is_looked_for_under_auto_once() -> None:
    desk = Desk(polls=0)
    for route in ("status", "result"):
        desk.queue.always(route, lambda r: None if "/auto/" in r.path else UNKNOWN)

    await desk.result()

    asked = desk.queue.requests[-1]
    assert asked.path == "/fal-ai/auto/requests/req-1"
    assert asked.headers["authorization"] == "Bearer sk-made-up"


@pytest.mark.parametrize("answer", [UNKNOWN, page(), ELSEWHERE], ids=repr)
async def test_auto_is_tried_once_and_then_the_result_under_its_own_name(answer: Reply) -> None:
    desk = Desk(polls=0)
    desk.queue.always("status", UNKNOWN)
    desk.queue.always(
        "result", lambda r: answer if "/auto/" in r.path or desk.clock.now < 1060 else None
    )

    await desk.result(timeout=300)

    assert sum("/auto/" in request.path for request in desk.queue.requests) == 1
    assert desk.clock.now < 1000 + 80


async def test_fal_itself_is_not_asked_for_auto() -> None:
    desk = Desk("fal")
    for route in ("stream", "status", "result"):
        desk.queue.always(route, UNKNOWN)

    with pytest.raises(errors.QueueTimeout, match="not known at fal yet"):
        await desk.watch(timeout=60)

    assert not any("/auto/" in request.path for request in desk.queue.requests)


@pytest.mark.parametrize("answer", [page(), page(403), ELSEWHERE], ids=repr)
@pytest.mark.parametrize("status", [None, COMPLETED, UNKNOWN, page(), ELSEWHERE], ids=repr)
async def test_a_page_or_a_redirect_in_place_of_the_result_is_waited_out(
    status: Reply | None, answer: Reply
) -> None:
    desk = Desk(polls=0)
    desk.queue.always("status", status)
    desk.queue.always("result", lambda _: answer if desk.clock.now < 1100 else None)

    assert len((await desk.result(timeout=300)).urls) == 1
    assert 1100 <= desk.clock.now < 1120


@pytest.mark.parametrize("status", [page(), COMPLETED, UNKNOWN, ELSEWHERE], ids=repr)
@pytest.mark.parametrize(
    ("answer", "what"), [(page(), "a web page"), (ELSEWHERE, "a redirect")], ids=repr
)
@pytest.mark.parametrize("timeout", [2, 5, 12, 60])
async def test_what_stands_in_place_of_the_result_is_told_at_the_deadline_however_short(
    status: Reply, answer: Reply, what: str, timeout: float
) -> None:
    desk = Desk()
    desk.queue.always("status", status)
    desk.queue.always("result", answer)

    with pytest.raises(errors.QueueError, match=f"{what} where the job's result") as caught:
        await desk.result(timeout=timeout)

    assert (caught.value.ticket, caught.value.billed) == (desk.ticket, True)
    assert "IMAGEN_BASE_URL, then fetch the job with %imagen_resume" in str(caught.value)


# ------------------------------------------------------------------------------------- the stream


async def test_a_stream_is_read_to_its_end_without_a_poll() -> None:
    desk = Desk("fal", polls=2)
    desk.queue.queued = 1

    found = await desk.watch()

    assert [type(event) for event in found] == [Queued, Running, Running, Done]
    assert desk.queue.count("status") == 0
    assert desk.queue.requests[1].headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    "stream",
    [
        UNKNOWN,
        page(),
        Reply(200, ACCEPTED),
        events(ACCEPTED),
        events({"status": "CONFUSED"}, rest=b"data: {broken\n\ndata: 5\n\n"),
        events(rest=b"data: " + b"x" * 5_000_000),
        Reply(503, {"detail": "down"}),
        Break.REFUSED,
        Break.LOST_ANSWER,
    ],
    ids=lambda answer: repr(answer)[:60],
)
async def test_where_the_stream_fails_polling_goes_on(stream: Reply | Break) -> None:
    desk = Desk("fal")
    desk.queue.always("stream", stream)

    assert (await desk.watch())[-1] == Done(TOOK_SECONDS)
    assert desk.queue.count("stream") == 1


@pytest.mark.parametrize("timeout", [2, 5, 15, 300])
async def test_a_stream_that_only_pings_does_not_keep_the_watch_alive(timeout: float) -> None:
    desk = Desk("fal", polls=0)
    desk.queue.always("stream", events(rest=b": ping\n\n", every=0.5))

    assert (await desk.watch(timeout=timeout))[-1] == Done(TOOK_SECONDS)
    assert desk.clock.now <= 1000 + min(20, timeout / 2)


async def test_a_job_that_outlasts_a_quiet_stream_is_asked_for_now_and_then() -> None:
    desk = Desk("fal", polls=3)
    desk.queue.always("stream", events(rest=b": ping\n\n", every=0.5))

    found = await desk.watch(service_times=[2.0] * 5)

    assert found[-1] == Done(TOOK_SECONDS)
    assert (desk.queue.count("stream"), desk.queue.count("status")) == (1, 4)


async def test_a_key_that_the_stream_echoes_is_not_reported() -> None:
    desk = Desk("fal")
    line = {"status": "IN_PROGRESS", "logs": [{"message": "key sk-made-up accepted"}]}
    desk.queue.always("stream", events(line, {"status": "COMPLETED"}))

    found = await desk.watch()

    assert "sk-made-up" not in repr(found)
    assert "key *** accepted" in repr(found)


# ------------------------------------------------------------------------------------- the result

B64 = base64.b64encode(picture("x")).decode()
SHAPES: list[tuple[object, str]] = [
    (ONE, URL),
    ({"image": {"url": URL}}, URL),
    ({"image": URL}, URL),
    ({"images": [URL]}, URL),
    ({"images": [{"b64_json": B64}]}, f"data:image/png;base64,{B64}"),
    ({"images": [{"url": "", "b64_json": "", "base64": B64}]}, f"data:image/png;base64,{B64}"),
    ({"images": [B64]}, f"data:image/png;base64,{B64}"),
    ([{"image_url": URL}], URL),
    ([URL], URL),
    ({"data": [{"url": URL}]}, URL),
    ({"code": 0, "msg": "success", "data": {"images": [{"uri": URL}]}}, URL),
    ({"data": {"output": [URL]}}, URL),
    ({"output": URL}, URL),
    ({"status": "COMPLETED", "response": ONE}, URL),
    ({"images": [{"url": "/files/x.png"}]}, f"{GATEWAY}/files/x.png"),
    ({"images": [{"url": "//cdn.test/x.png"}]}, "https://cdn.test/x.png"),
    (f"{URL}\n", URL),
    ("<br />\n<b>Warning</b>: x in /srv/api.php\n" + json.dumps(ONE), URL),
]


@pytest.mark.parametrize(("body", "url"), SHAPES)
async def test_pictures_are_found_in_each_shape_that_gateways_use(body: object, url: str) -> None:
    desk = Desk()
    desk.queue.always("result", Reply(200, body))

    assert (await desk.result()).urls == (url,)


@pytest.mark.parametrize(("body", "url"), SHAPES)
async def test_pictures_straight_from_the_submit_are_the_result(body: object, url: str) -> None:
    desk = Desk()
    desk.queue.always("submit", Reply(200, body))

    first, second = await desk.submit(), await desk.submit()
    await desk.client.watch(first, desk.events.append)

    assert (await desk.client.result(first)).urls == (url,)
    assert [type(event) for event in desk.events] == [Done]
    assert desk.queue.log == ["POST submit"] * 2
    assert first.request_id != second.request_id
    assert await desk.client.request_cancel(first) is CancelAnswer.TOO_LATE


async def test_what_the_provider_says_of_its_pictures_is_kept() -> None:
    desk = Desk()
    said = {"description": "a\nfox", "prompt": "a very red fox", "timings": {"inference": 2.5}}
    images = [{"url": URL, "content_type": "image/webp"}, {"url": f"{URL}?2"}]
    flags = {"has_nsfw_concepts": [False, True]}
    desk.queue.always("result", Reply(200, {"images": images, **said, **flags}))

    finished = await desk.result()

    assert finished.pictures == (Served(URL, media_type="image/webp"), Served(f"{URL}?2", True))
    assert (finished.description, finished.revised_prompt) == ("a fox", "a very red fox")
    assert (finished.seconds, finished.request_id) == (2.5, "req-1")


@pytest.mark.parametrize(
    "trouble",
    [
        STILL,
        Reply(200, {"status": "IN_QUEUE"}),
        Reply(200, {"status": "IN_PROGRESS", "images": []}),
        COMPLETED,
        UNKNOWN,
        Reply(503, {"detail": "overloaded"}),
        Reply(429, {}),
        page(502),
        Reply(200, {"code": 503, "msg": "busy"}),
        Reply(200, {"code": 0, "msg": "success", "data": {}}),
        Reply(200, b'{"images": [{"url": "https:'),
        Reply(202, b""),
        Reply(422, b""),
        Break.SILENCE,
        Break.REFUSED,
    ],
    ids=repr,
)
async def test_trouble_on_the_way_to_the_result_passes(trouble: Reply | Break) -> None:
    desk = Desk()
    desk.queue.script("result", trouble, trouble, trouble)

    assert len((await desk.result()).urls) == 1
    assert desk.queue.posts == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (STILL, "still runs"),
        (UNKNOWN, "knows no such request"),
        (Reply(200, {"hello": 1}), "not understood: an object with hello"),
        (Reply(200, {"images": [{"weird": 1}]}), "not understood"),
        (Reply(200, [1, 2]), "not understood"),
        (Reply(200, "busy"), "not JSON"),
        (Break.SILENCE, "no answer within"),
    ],
)
async def test_a_result_that_cannot_be_read_ends_in_time_and_stays_resumable(
    answer: Reply | Break, words: str
) -> None:
    desk = Desk()
    desk.queue.always("result", answer)

    with pytest.raises(errors.QueueError, match=words) as caught:
        await desk.result(timeout=20)

    assert desk.clock.now <= 1000 + 2 * 20 + 1
    assert (caught.value.ticket, caught.value.billed) == (desk.ticket, True)
    assert "%imagen_resume" in str(caught.value)


ENDED: list[tuple[Reply, type[errors.ImagenError], bool]] = [
    (Reply(200, {"images": []}), errors.ContentRejected, True),
    (Reply(200, {"images": [{"url": None, "b64_json": ""}]}), errors.ContentRejected, True),
    (Reply(200, {"data": []}), errors.ContentRejected, True),
    (
        Reply(422, {"detail": [{"type": "content_policy_violation", "msg": "no"}]}),
        errors.ContentRejected,
        True,
    ),
    (
        Reply(
            422,
            {"detail": [{"type": "content_policy_violation", "msg": "no"}]},
            {"x-fal-billable-units": "0"},
        ),
        errors.ContentRejected,
        False,
    ),
    (Reply(422, {"detail": [{"loc": ["body", "seed"], "msg": "x"}]}), errors.InvalidRequest, False),
    (
        Reply(503, {"detail": "x", "error_type": "runner_disconnected"}),
        errors.GenerationFailed,
        False,
    ),
    (Reply(500, {"detail": "x"}, {"x-fal-request-id": "a"}), errors.GenerationFailed, False),
    (Reply(200, {"status": "FAILED", "error": "no luck"}), errors.GenerationFailed, False),
    (Reply(200, {"success": False, "message": "no luck"}), errors.GenerationFailed, False),
    (Reply(200, {"status": "CANCELLED"}), errors.GenerationFailed, False),
    (Reply(200, {"images": []}), errors.ContentRejected, True),
    (Reply(499, {"detail": "x"}), errors.GenerationFailed, False),
    (Reply(410, {"detail": {"error": "EndpointDeprecated"}}), errors.ModelRetired, False),
    (Reply(403, {"detail": "locked"}), errors.CredentialsError, True),  # the pictures may be there
    (page(401), errors.CredentialsError, True),
]


@pytest.mark.parametrize(("answer", "kind", "billed"), ENDED)
async def test_a_job_that_ended_without_a_picture_says_so(
    answer: Reply, kind: type[errors.ImagenError], billed: bool
) -> None:
    desk = Desk()
    desk.queue.always("result", answer)

    with pytest.raises(kind) as caught:
        await desk.result()

    assert (caught.value.billed, caught.value.ticket) == (billed, desk.ticket)
    assert (FOX.prompt or "") not in str(caught.value)


async def test_what_is_not_a_request_a_ticket_or_an_address_is_refused() -> None:
    client: Any = Desk().client
    for ask in (client.watch, client.result, client.cancel, client.request_cancel):
        with pytest.raises(errors.InvalidRequest, match=r"ticket: .*what submit\(\) returned"):
            await ask("req-1")
    with pytest.raises(errors.InvalidRequest, match=r"request: .*ImageRequest\.create"):
        await client.submit("a red fox")
    with pytest.raises(errors.InvalidRequest, match=r"url: .*, not an address"):
        await client.fetch(None)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"status": "COMPLETED", "error": "no luck", "error_type": "internal_error"}, "no luck"),
        ({"status": "CANCELLED"}, "cancelled at the provider"),
    ],
)
async def test_what_the_status_said_counts_where_the_result_says_nothing(
    status: object, words: str
) -> None:
    desk = Desk()
    desk.queue.always("status", Reply(200, status))
    desk.queue.script("result", None)

    assert len((await desk.result()).urls) == 1  # the result decides
    desk.queue.always("result", Reply(500, {}))
    with pytest.raises(errors.GenerationFailed, match=words):
        await desk.result()


# ----------------------------------------------------------------------------------- the pictures

PNG = picture("one.png")
JPEG = picture("one.jpeg")


async def test_a_picture_comes_as_it_was_served() -> None:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    for data in (
        PNG,
        JPEG,
        PNG + b"\n a trailer",
        svg,
        b"\x00\x00\x00\x1cftypavif",
        b"un\x00heard",
    ):
        assert await Desk().fetch(Reply(200, data, {"content-type": "image/png"})) == data


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(404, {}),
        Reply(503, {}),
        Reply(429, {}),
        Break.LOST_ANSWER,
        Break.REFUSED,
        Reply(200, PNG[:-20]),
        Reply(200, JPEG[:2] + b"\xff\xe1\x00\x06\xff\xd9ab" + JPEG[2:-9]),  # with a thumbnail's end
        Reply(200, {"error": "not yet"}),
        Reply(200, "Internal error"),
        Reply(200, b""),
        page(),
    ],
    ids=lambda answer: repr(answer)[:60],
)
async def test_a_picture_that_is_not_there_yet_is_asked_for_again(trouble: Reply | Break) -> None:
    desk = Desk()
    other = Reply(502, {}) if isinstance(trouble, Reply) and trouble.status == 200 else trouble

    assert await desk.fetch(trouble, other, Reply(200, PNG)) == PNG
    assert desk.clock.naps == [0.3, pytest.approx(0.9)]


async def test_a_picture_is_not_asked_for_again_before_its_host_says() -> None:
    desk = Desk()
    later = Reply(503, {}, {"retry-after": "9"})

    assert await desk.fetch(later, later, Reply(200, PNG)) == PNG
    assert desk.clock.naps == [9, 9]
    later = Reply(429, {}, {"retry-after": "86400"})
    assert await desk.fetch(later, Reply(200, PNG), timeout=10) == PNG
    assert desk.clock.naps == [9, 9, 9]


async def test_a_picture_that_comes_cut_short_twice_is_served_so() -> None:
    desk = Desk()
    cut = Reply(200, JPEG[:-2])

    assert await desk.fetch(cut, cut) == JPEG[:-2]


@pytest.mark.parametrize(
    ("trouble", "times", "words"),
    [
        (Reply(403, {}), 1, "HTTP 403"),
        (Reply(302, {}), 1, "HTTP 302"),
        (Reply(404, {}), 4, "HTTP 404"),
        (Break.LOST_ANSWER, 4, "broke"),
        (page(), 4, "a web page"),
        (Reply(200, {"a": 1}), 4, "JSON"),
    ],
)
async def test_a_picture_that_cannot_be_had_says_why(
    trouble: Reply | Break, times: int, words: str
) -> None:
    desk = Desk()
    desk.queue.always("media", trouble)

    with pytest.raises(errors.QueueError, match=words) as caught:
        await desk.fetch()

    assert desk.queue.count("media") == times
    assert "%imagen_resume" in str(caught.value)


async def test_all_attempts_at_a_picture_together_have_one_deadline() -> None:
    desk, left = Desk(), list[float]()
    desk.queue.always("media", Reply(404, {}))
    desk.queue.before["media"] = lambda _: left.append(
        anyio.current_effective_deadline() - anyio.current_time()
    )

    with pytest.raises(errors.QueueError, match="HTTP 404"):
        await desk.fetch(timeout=100)

    waits = itertools.accumulate(desk.clock.naps, initial=0.0)
    assert desk.clock.naps == [0.3, 0.9, 2.7]
    assert left == [pytest.approx(100 - waited, abs=2) for waited in waits]


async def test_a_picture_is_not_asked_for_again_beyond_the_deadline() -> None:
    desk = Desk()
    desk.queue.always("media", Reply(404, {}))

    with pytest.raises(errors.QueueError, match="HTTP 404"):
        await desk.fetch(timeout=1)

    assert (desk.queue.count("media"), desk.clock.now <= 1001) == (2, True)


INSIDE = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{INSIDE}",
        f"DATA:image/png;BASE64,{INSIDE.rstrip('=')}",
        "data:image/png;base64," + "\r\n".join(INSIDE[i : i + 20] for i in range(0, 200, 20)),
        f"data:image/png;base64,{INSIDE.replace('+', '-').replace('/', '_')}",
        f"data:image/png;base64,{INSIDE.replace('=', '%3D')}",
    ],
)
async def test_a_picture_inside_the_answer_needs_no_network(url: str) -> None:
    desk = Desk()

    assert await desk.client.fetch(url) == PNG
    assert desk.queue.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64",
        "data:image/png;base64,####",
        "data:image/png;base64,ä",
        "http://v3.fal.media/one.png",
        "https://169.254.169.254/one.png",
        "file:///etc/passwd",
    ],
)
async def test_an_address_that_is_not_allowed_is_never_asked(url: str) -> None:
    desk = Desk()

    with pytest.raises(errors.QueueError):
        await desk.client.fetch(url)

    assert desk.queue.requests == []


@pytest.mark.parametrize(
    ("hosts", "url", "fetched"),
    [
        ("private", "https://10.0.0.7/files/a.png", True),
        ("private", "http://10.0.0.7/files/a.png", True),
        ("private", "http://media.test/files/a.png", False),
        ("10.0.0.7, cdn.test", "https://10.0.0.7/files/a.png", True),
        ("10.0.0.7, cdn.test", "https://eu.cdn.test/files/a.png", True),
        ("10.0.0.7, cdn.test", "https://media.test/files/a.png", False),
        ("10.0.0.7, cdn.test", "https://evilcdn.test/files/a.png", False),
        ("cdn.test", f"{GATEWAY}/files/a.png", True),
        ("public", "https://10.0.0.7/files/a.png", False),
    ],
)
async def test_imagen_media_hosts_says_from_where_pictures_may_come(
    hosts: str, url: str, fetched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MEDIA_HOSTS", hosts)
    desk = Desk()
    if fetched:
        assert (await desk.client.fetch(url)).startswith(b"\x89PNG")
        return

    with pytest.raises(errors.QueueError, match="not fetched") as caught:
        await desk.client.fetch(url)

    assert url.startswith("http:") or "IMAGEN_MEDIA_HOSTS=" in str(caught.value)
    assert desk.queue.requests == []


# ------------------------------------------------------------------ transports of other people


def answer_whole(request: httpx.Request) -> httpx.Response:
    """Answer as a mock does: with responses that hold their whole body already."""
    path = request.url.path
    if request.method == "PUT":
        return httpx.Response(200, json={"status": "CANCELLED"})
    if request.method == "POST":
        return httpx.Response(200, json={"request_id": "r1", "status": "IN_QUEUE"})
    if path.endswith("/stream"):
        events = b'data: {"status": "IN_PROGRESS"}\n\ndata: {"status": "COMPLETED"}\n\n'
        return httpx.Response(200, content=events, headers={"content-type": "text/event-stream"})
    if "/files/" in path:
        return httpx.Response(200, content=PNG)
    packed = gzip.compress(json.dumps({"status": "COMPLETED", **ONE}).encode())
    return httpx.Response(200, content=packed, headers={"content-encoding": "gzip"})


class Whole(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return answer_whole(request)


@pytest.mark.parametrize("name", ["kkiai", "fal"])
@pytest.mark.parametrize("transport", [httpx.MockTransport(answer_whole), Whole()], ids=type)
async def test_a_transport_that_returns_complete_responses_works_on_every_route(
    name: str, transport: httpx.AsyncBaseTransport
) -> None:
    client = ImagenClient(name, base_url=GATEWAY, api_key="sk-made-up", transport=transport)
    async with client:
        ticket = await client.submit(FOX)
        done = await client.watch(ticket)
        finished = await client.result(ticket, done)

        assert (ticket.request_id, finished.urls) == ("r1", (URL,))
        assert await client.fetch(URL) == PNG
        assert await client.cancel(ticket)


async def test_a_complete_response_is_bounded_too() -> None:
    large = httpx.MockTransport(lambda _: httpx.Response(200, content=b" " * 65 * 1024**2))
    async with ImagenClient("demo", transport=large) as client:
        with pytest.raises(errors.QueueError, match="larger than 64 MB"):
            await client.fetch(URL, timeout=1)


FLAGGED = Reply(422, {"detail": f"'{FOX.prompt}' was flagged"})


@pytest.mark.parametrize("routes", [("submit",), ("status", "result"), ("result",)])
async def test_what_a_client_sent_is_in_none_of_its_errors(routes: tuple[str, ...]) -> None:
    desk = Desk()
    for route in routes:
        desk.queue.always(route, FLAGGED)

    with pytest.raises(errors.InvalidRequest, match="'…' was flagged"):
        await desk.result()


async def test_what_an_uncertain_submit_sent_is_in_none_of_its_errors() -> None:
    desk = Desk()
    desk.queue.script("submit", Reply(502, FLAGGED.body, TRACED, accepts=True))
    desk.queue.always("result", FLAGGED)

    with pytest.raises(errors.SubmitUncertain, match="'…' was flagged") as caught:
        await desk.submit()
    assert caught.value.ticket is not None
    with pytest.raises(errors.InvalidRequest, match="'…' was flagged"):
        await desk.client.result(caught.value.ticket)


# ------------------------------------------------------------------------------------ small parts


async def test_a_live_search_lists_what_makes_pictures() -> None:
    records = [
        {"endpoint_id": "a/new", "metadata": {"display_name": "New", "category": "text-to-image"}},
        {"endpoint_id": "a/edit", "metadata": {"category": "image-to-image"}},
        {"endpoint_id": "a/film", "metadata": {"category": "image-to-video"}},
        {"endpoint_id": "a/trainer", "metadata": {"category": "training", "kind": "training"}},
        {"endpoint_id": "a/bare"},
    ]
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"models": records, "has_more": False})

    client = ImagenClient("fal", api_key="made-up", transport=httpx.MockTransport(answer))
    found = await client.provider.search("new")

    assert [model.id for model in found or ()] == ["a/new", "a/edit", "a/bare"]
    assert [(r.url.host, "authorization" in r.headers) for r in asked] == [("api.fal.ai", False)]


async def test_a_ticket_survives_the_journal() -> None:
    desk = Desk()
    desk.queue.script("submit", None, Reply(200, {**ONE, "seed": 5}, {"x-fal-billable-units": "3"}))
    tickets = [await desk.submit(), await desk.submit()]

    assert [Ticket.from_json(ticket.to_json()) for ticket in tickets] == tickets
    assert tickets[0].created == 1000.0


async def test_a_ticket_of_version_0_1_is_read() -> None:
    desk = Desk(polls=0)
    known = await desk.submit()
    path = "/fal-ai/imagen4/requests/req-1"
    old = (
        f'{{"provider": "kkiai", "base_url": "{GATEWAY}", "endpoint": "{MODEL}", '
        f'"request_id": "req-1", "status_path": "{path}/status", "response_path": "{path}", '
        f'"cancel_path": "{path}/cancel", "outcome": null}}'
    )
    early = old.replace("null}", f'{{"urls": ["{URL}"], "seed": 5, "description": ""}}}}')

    ticket = Ticket.from_json(old, created=1000.0)

    assert ticket == known
    assert len((await desk.client.result(ticket)).urls) == 1
    assert (await desk.client.result(Ticket.from_json(early))).urls == (URL,)


async def test_a_client_for_the_demo_needs_no_key_and_no_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMAGEN_DEMO_SECONDS", "0")
    async with ImagenClient("demo") as client:
        ticket = await client.submit(FOX)
        await client.watch(ticket)
        data = await client.fetch((await client.result(ticket)).urls[0])

    assert data.startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["kkiai", "fal", "openai"])
def test_a_client_without_its_key_says_which_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_API_KEY" if name != "kkiai" else "OPENAI_API_KEY", "sk-the-other")

    with pytest.raises(errors.CredentialsError, match="KEY"):
        ImagenClient(name)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), True, "soon"])
async def test_a_timeout_that_is_not_seconds_is_refused_before_sending(timeout: Any) -> None:
    desk = Desk()

    with pytest.raises(errors.InvalidRequest, match="timeout"):
        await desk.submit(timeout=timeout)

    assert desk.queue.requests == []
