"""The client's laws: a submit is sent again only where that cannot pay twice."""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from imagen_widget._client import CancelAnswer, ImagenClient
from imagen_widget._protocol._events import Done, Running
from imagen_widget._protocol._ticket import Outcome
from imagen_widget._request import ImageRequest
from imagen_widget._settings import load_settings
from imagen_widget.errors import (
    CredentialsError,
    ImagenError,
    InvalidRequest,
    JobCancelled,
    ModelRetired,
    QueueError,
    QueueTimeout,
    SubmitUncertain,
)
from tests.billing import BASE_URL, Break, Clock, Fault, Provider, Reply, picture

if TYPE_CHECKING:
    from pathlib import Path

    from imagen_widget._settings import Settings

pytestmark = pytest.mark.anyio

FOX = ImageRequest.create("a red fox")
ACCEPTED: Fault | None = None
TRACED = {"x-fal-request-id": "made by the provider"}


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        provider="kkiai", api_key="made-up", base_url=BASE_URL, home=tmp_path, environ={}
    )


@pytest.fixture
def client(provider: Provider, clock: Clock, settings: Settings) -> ImagenClient:
    return ImagenClient(
        settings=settings,
        transport=provider.transport(),
        clock=clock,
        sleep=clock.sleep,
        chance=lambda: 0.5,
    )


# ------------------------------------------------------------------------------ the rule of submits

SURELY_NOT_SENT = [Break.REFUSED, Break.NO_TIME, Break.TLS]
REFUSED = {
    400: InvalidRequest,
    401: CredentialsError,
    402: CredentialsError,
    403: CredentialsError,
    404: ModelRetired,
    405: QueueError,
    410: ModelRetired,
    413: InvalidRequest,
    415: QueueError,
    422: InvalidRequest,
    302: QueueError,
    307: QueueError,
}
NOBODY_KNOWS = [
    Break.LOST_REQUEST,
    Break.LOST_ANSWER,
    Break.SILENCE,
    Break.CUT_SHORT,
    *(Reply(status, {"detail": "?"}, accepts=True) for status in (408, 409, 500, 502, 503, 504)),
    Reply(502, b"<html>nginx</html>", accepts=True),
    Reply(200, b"", accepts=True),
    Reply(200, b"<!doctype html><title>Welcome</title>", accepts=True),
    Reply(200, b'{"status": "IN_QUEUE", "requ', accepts=True),
    Reply(200, {"status": "IN_QUEUE"}, accepts=True),
    Reply(200, {"request_id": "../../etc"}, accepts=True),
    Reply(201, ["no object"], accepts=True),
]


@pytest.mark.parametrize("fault", SURELY_NOT_SENT)
async def test_a_submit_that_surely_never_left_is_sent_again(
    client: ImagenClient, provider: Provider, fault: Break
) -> None:
    provider.submits.extend([fault, fault])

    ticket = await client.submit(FOX)

    assert ticket.request_id == "req-1"
    assert (provider.posts, provider.paid[FOX.prompt]) == (3, 1)


@pytest.mark.parametrize("fault", SURELY_NOT_SENT)
async def test_after_three_tries_without_a_connection_nothing_is_billed(
    client: ImagenClient, provider: Provider, fault: Break
) -> None:
    provider.submits.extend([fault] * 9)

    with pytest.raises(QueueError, match="Nothing was sent") as caught:
        await client.submit(FOX)

    assert provider.posts == 3
    assert not caught.value.billed


@pytest.mark.parametrize(("status", "kind"), REFUSED.items())
async def test_a_refused_submit_is_final_and_not_billed(
    client: ImagenClient, provider: Provider, status: int, kind: type[ImagenError]
) -> None:
    provider.submits.append(Reply(status, {"detail": "no"}, {"location": "https://evil.test/"}))

    with pytest.raises(kind) as caught:
        await client.submit(FOX)

    assert (provider.posts, caught.value.billed, len(provider.jobs)) == (1, False, 0)


@pytest.mark.parametrize("fault", NOBODY_KNOWS)
async def test_a_submit_of_which_nobody_knows_is_never_sent_again(
    client: ImagenClient, provider: Provider, fault: Fault
) -> None:
    provider.submits.append(fault)

    with pytest.raises(SubmitUncertain, match="may exist and be billed") as caught:
        await client.submit(FOX)

    assert provider.posts == 1
    assert caught.value.billed
    assert caught.value.ticket is None


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
async def test_a_failing_answer_that_names_the_job_gives_its_ticket(
    client: ImagenClient, provider: Provider, status: int
) -> None:
    provider.submits.append(Reply(status, {"detail": "?"}, TRACED, accepts=True))

    with pytest.raises(SubmitUncertain, match="imagen_resume") as caught:
        await client.submit(FOX)

    assert caught.value.request_id == "req-1"
    assert provider.posts == 1


async def test_an_accepted_submit_names_the_job_by_its_header_where_the_body_does_not(
    client: ImagenClient, provider: Provider
) -> None:
    provider.submits.append(Reply(200, {"status": "IN_QUEUE"}, {"x-fal-request-id": "abc"}))

    ticket = await client.submit(FOX)

    assert ticket.request_id == "abc"


async def test_a_gateway_without_a_way_to_the_model_took_nothing(
    client: ImagenClient, provider: Provider
) -> None:
    error = {"error": {"code": "model_not_found", "message": "no channel"}}
    provider.submits.append(Reply(503, error))

    with pytest.raises(ModelRetired) as caught:
        await client.submit(FOX)

    assert not caught.value.billed


# ------------------------------------------------------------------------------ 429 and Retry-After


def in_a_minute() -> str:
    return email.utils.formatdate(time.time() + 61, usegmt=True)


LATER: list[tuple[dict[str, str], float]] = [
    ({}, 2),
    ({"retry-after": "7"}, 7),
    ({"retry-after": "0.5"}, 0.5),
    ({"retry-after-ms": "1500"}, 1.5),
    ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    ({"retry-after": "1e400"}, 120),
    ({"retry-after": "86400"}, 120),
    ({"retry-after": "nan"}, 2),
    ({"retry-after": "soon"}, 2),
    ({"retry-after": "-5"}, 2),
    ({"retry-after": "0"}, 2),
    ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 2),
]


@pytest.mark.parametrize(("headers", "seconds"), LATER)
async def test_a_rate_limit_is_waited_for_as_long_as_it_asks(
    client: ImagenClient,
    provider: Provider,
    clock: Clock,
    headers: dict[str, str],
    seconds: float,
) -> None:
    provider.submits.append(Reply(429, {"detail": "slow down"}, headers))

    await client.submit(FOX)

    assert clock.slept == [seconds]
    assert (provider.posts, len(provider.jobs)) == (2, 1)


async def test_a_rate_limit_until_a_moment_is_waited_for_until_then(
    client: ImagenClient, provider: Provider, clock: Clock
) -> None:
    provider.submits.append(Reply(429, {"detail": "slow down"}, {"retry-after": in_a_minute()}))

    await client.submit(FOX)

    assert clock.slept[0] == pytest.approx(60, abs=1.5)


async def test_a_rate_limit_is_asked_five_times_at_most(
    client: ImagenClient, provider: Provider, clock: Clock
) -> None:
    provider.submits.extend([Reply(429, {"detail": "slow down"}, {"retry-after": "3"})] * 9)

    with pytest.raises(QueueError, match="too often") as caught:
        await client.submit(FOX)

    assert (provider.posts, clock.slept) == (5, [3, 3, 3, 3])
    assert not caught.value.billed


async def test_an_empty_balance_that_comes_as_a_rate_limit_is_not_asked_again(
    client: ImagenClient, provider: Provider
) -> None:
    provider.submits.append(Reply(429, {"error": {"message": "insufficient quota balance"}}))

    with pytest.raises(CredentialsError, match="balance"):
        await client.submit(FOX)

    assert provider.posts == 1


# ------------------------------------------------------------------------------------ cancellation


async def test_a_submit_that_is_cancelled_first_sends_nothing(
    client: ImagenClient, provider: Provider
) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await client.submit(FOX)

    assert scope.cancelled_caught
    assert provider.posts == 0


async def test_a_submit_that_is_cancelled_under_way_still_gives_its_ticket(
    client: ImagenClient, provider: Provider
) -> None:
    tickets = []

    with anyio.CancelScope() as scope:
        provider.before_post = scope.cancel
        tickets.append(await client.submit(FOX))

    assert [ticket.request_id for ticket in tickets] == ["req-1"]


async def test_a_wait_for_a_rate_limit_can_be_cancelled(
    client: ImagenClient, provider: Provider
) -> None:
    provider.submits.append(Reply(429, {"detail": "slow down"}))

    with anyio.CancelScope() as scope:
        provider.before_post = scope.cancel
        await client.submit(FOX)

    assert scope.cancelled_caught
    assert (provider.posts, len(provider.jobs)) == (1, 0)


CANCEL_ANSWERS = [
    (Reply(202, {"status": "CANCELLATION_REQUESTED"}), CancelAnswer.REQUESTED),
    (Reply(200, {"status": "OK"}), CancelAnswer.CONFIRMED),
    (Reply(200, {"success": True}), CancelAnswer.CONFIRMED),
    (Reply(200, {"success": False}), CancelAnswer.REQUESTED),
    (Reply(400, {"status": "ALREADY_COMPLETED"}), CancelAnswer.TOO_LATE),
    (Reply(404, {"status": "NOT_FOUND"}), CancelAnswer.UNKNOWN),
    (Reply(405, b"<html>no</html>"), CancelAnswer.UNKNOWN),
    (Reply(401, {"detail": "no"}), CancelAnswer.UNKNOWN),
]


@pytest.mark.parametrize(("reply", "answer"), CANCEL_ANSWERS)
async def test_a_cancellation_says_what_the_provider_said(
    client: ImagenClient, provider: Provider, reply: Reply, answer: CancelAnswer
) -> None:
    ticket = await client.submit(FOX)
    provider.cancels = reply

    assert await client.request_cancel(ticket) is answer
    assert await client.cancel(ticket) is (answer is CancelAnswer.CONFIRMED)
    assert provider.cancellations == 2


@pytest.mark.parametrize("fault", [Reply(503, {}), Reply(429, {}), Break.LOST_ANSWER])
async def test_a_cancellation_without_an_answer_is_asked_three_times_and_then_unknown(
    client: ImagenClient, provider: Provider, fault: Fault
) -> None:
    ticket = await client.submit(FOX)
    provider.cancels = fault

    assert await client.request_cancel(ticket) is CancelAnswer.UNKNOWN
    assert provider.cancellations == 3


# --------------------------------------------------------------------------- watch, result, fetch


async def test_a_job_is_watched_collected_and_fetched(
    client: ImagenClient, provider: Provider
) -> None:
    provider.polls = 2
    seen: list[object] = []
    request = ImageRequest.create("a red fox", num_images=2)

    ticket = await client.submit(request)
    await client.watch(ticket, seen.append)
    outcome = await client.result(ticket)
    pictures = [await client.fetch(url) for url in outcome.urls]

    assert [type(event) for event in seen] == [Running, Done]
    assert pictures == [picture(f"/files/req-1/{number}.png") for number in range(2)]
    assert outcome.seed == 7


async def test_a_job_that_goes_on_past_the_deadline_keeps_its_ticket(
    client: ImagenClient, provider: Provider, clock: Clock
) -> None:
    provider.polls = float("inf")
    ticket = await client.submit(FOX)
    began = clock()

    with pytest.raises(QueueTimeout, match="req-1") as caught:
        await client.watch(ticket, timeout=30)

    assert caught.value.ticket == ticket
    assert clock() - began == pytest.approx(30, abs=0.1)


async def test_a_result_that_came_with_the_ticket_is_not_asked_for(
    client: ImagenClient, provider: Provider
) -> None:
    inline = {"images": [{"url": "https://media.test/files/x/0.png"}]}
    provider.submits.append(Reply(200, inline))
    seen: list[object] = []

    ticket = await client.submit(FOX)
    await client.watch(ticket, seen.append)
    outcome = await client.result(ticket)

    assert outcome == Outcome(("https://media.test/files/x/0.png",))
    assert provider.log == ["POST submit"]
    assert seen == [Done()]


async def test_the_key_goes_to_the_gateway_and_not_to_the_pictures(
    client: ImagenClient, provider: Provider
) -> None:
    ticket = await client.submit(FOX)
    await client.watch(ticket)
    await client.fetch((await client.result(ticket)).urls[0])

    keys = {
        (route.partition(" ")[2], headers.get("authorization"))
        for route, headers in zip(provider.log, provider.headers, strict=True)
    }

    assert ("media", None) in keys
    assert {key for route, key in keys if route != "media"} == {"Bearer made-up"}


async def test_a_ticket_is_made_from_an_id_alone(client: ImagenClient) -> None:
    known = await client.submit(FOX)

    rebuilt = client.ticket(FOX.model, "req-1")

    assert rebuilt == known
    assert await client.request_cancel(rebuilt) is CancelAnswer.CONFIRMED


@pytest.mark.parametrize("text", ["", "../x", "a/b", "a b", "x" * 200])
async def test_no_ticket_is_made_from_what_is_no_id(client: ImagenClient, text: str) -> None:
    with pytest.raises(ValueError, match="request id"):
        client.ticket(FOX.model, text)


async def test_a_client_for_the_demo_needs_no_key_and_no_network(tmp_path: Path) -> None:
    settings = load_settings(provider="demo", demo_seconds=0, home=tmp_path, environ={})

    async with ImagenClient(settings=settings) as client:
        ticket = await client.submit(FOX)
        await client.watch(ticket)
        data = await client.fetch((await client.result(ticket)).urls[0])

    assert data.startswith(b"\x89PNG")


@pytest.mark.parametrize("provider_name", ["kkiai", "fal"])
def test_a_client_without_its_key_says_which_one(
    provider_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_API_KEY" if provider_name == "fal" else "FAL_KEY", "the-other-one")

    with pytest.raises(CredentialsError, match="KEY"):
        ImagenClient(provider_name)


def test_a_cancelled_job_is_a_cancellation_to_the_standard_library_too() -> None:
    import concurrent.futures

    assert issubclass(JobCancelled, concurrent.futures.CancelledError)
