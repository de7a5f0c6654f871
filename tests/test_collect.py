"""What a finished job brought is collected as often as it takes, and never paid for again."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from imagen_widget import errors
from imagen_widget._client import ImagenClient, _collect
from imagen_widget._protocol._failures import CancelledAtProvider, ResultExpired
from tests.answers import ID, RESULT, TICKET, ticket
from tests.clock import Clock
from tests.provider import Provider, reply_json, reply_page
from tests.test_header import PICTURES

if TYPE_CHECKING:
    from imagen_widget._protocol._ticket import Outcome

pytestmark = pytest.mark.anyio

URL = RESULT["images"][0]["url"]
DONE = reply_json(200, RESULT)
STILL = reply_json(400, {"detail": "Request is still in progress"})
UNKNOWN = reply_json(404, {"status": "NOT_FOUND"})
BROKEN = reply_json(
    200, {"status": "COMPLETED", "error": "no luck", "error_type": "internal_error"}
)
PNG = httpx.Response(200, content=PICTURES["png"])


class Collecting:
    """A client that collects in a time of its own."""

    def __init__(self, name: str = "kkiai", **routes: Any) -> None:  # noqa: ANN401 - replies
        self.clock = Clock()
        self.provider = Provider(self.clock, **routes)
        self.client = ImagenClient(
            name,
            api_key="made-up",
            transport=self.provider.transport,
            clock=self.clock,
            sleep=self.clock.sleep,
            chance=lambda: 0.5,
        )

    async def result(self) -> Outcome:
        return await self.client.result(ticket(self.client.settings.provider.name))

    async def fetch(self, url: str = URL) -> bytes:
        return await self.client.fetch(url)


# ------------------------------------------------------------------------------------ the result


@pytest.mark.parametrize(
    "trouble",
    [
        STILL,
        reply_json(200, TICKET),
        reply_json(200, {"status": "COMPLETED"}),
        reply_json(503, {"detail": "overloaded"}),
        reply_json(429, {}),
        reply_page(502),
        httpx.ReadTimeout(""),
        httpx.ConnectError("refused"),
    ],
    ids=repr,
)
async def test_trouble_on_the_way_to_the_result_passes(trouble: Any) -> None:  # noqa: ANN401 - a reply
    job = Collecting(result=[trouble, trouble, trouble, DONE])

    assert (await job.result()).urls == (URL,)
    assert job.provider.count("submit") == 0


async def test_a_result_that_never_comes_ends_with_the_deadline() -> None:
    job = Collecting(result=STILL)

    with pytest.raises(errors.QueueError, match="says that the job still runs") as caught:
        await job.result()

    assert job.clock.now <= 1000 + _collect.RESULT_SECONDS + 1
    assert caught.value.request_id == ID
    assert "%imagen_resume" in str(caught.value)


async def test_an_unknown_result_is_looked_for_under_auto_and_then_given_up() -> None:
    found = Collecting(result=UNKNOWN, auto=DONE)
    lost = Collecting(result=UNKNOWN, auto=UNKNOWN)

    assert (await found.result()).urls == (URL,)
    with pytest.raises(ResultExpired):
        await lost.result()


async def test_a_result_behind_a_web_page_is_not_called_lost() -> None:
    job = Collecting(result=reply_page(), auto=reply_page())

    with pytest.raises(errors.QueueError, match="IMAGEN_BASE_URL") as caught:
        await job.result()

    assert not isinstance(caught.value, ResultExpired)


async def test_what_the_status_said_counts_where_the_result_says_nothing() -> None:
    job = Collecting(status=BROKEN, result=reply_json(500, {}))
    await job.client.watch(ticket())

    with pytest.raises(errors.GenerationFailed, match="no luck"):
        await job.result()


async def test_the_result_decides_against_what_the_status_said() -> None:
    job = Collecting(status=BROKEN, result=DONE)
    await job.client.watch(ticket())

    assert (await job.result()).urls == (URL,)


async def test_a_status_that_says_cancelled_is_a_cancellation() -> None:
    job = Collecting(status=reply_json(200, {"status": "CANCELLED"}), result=reply_json(500, {}))
    await job.client.watch(ticket())

    with pytest.raises(CancelledAtProvider):
        await job.result()


# ---------------------------------------------------------------------------------- the pictures


async def test_a_picture_comes_as_it_was_served() -> None:
    assert await Collecting(media=PNG).fetch() == PICTURES["png"]


@pytest.mark.parametrize(
    "trouble",
    [
        reply_json(404, {}),
        reply_json(503, {}),
        reply_json(429, {}),
        httpx.ReadError(""),
        httpx.ConnectError("refused"),
        httpx.Response(200, content=PICTURES["png"][:-20]),
        httpx.Response(200, html="<!doctype html>busy"),
    ],
    ids=repr,
)
async def test_a_picture_that_is_not_there_yet_is_asked_for_again(trouble: Any) -> None:  # noqa: ANN401 - a reply
    job = Collecting(media=[trouble, trouble, PNG])

    assert await job.fetch() == PICTURES["png"]
    assert job.clock.naps == [0.3, pytest.approx(0.9)]


@pytest.mark.parametrize(
    ("trouble", "times", "words"),
    [
        (reply_json(403, {}), 1, "HTTP 403"),
        (reply_json(302, {}), 1, "HTTP 302"),
        (reply_json(404, {}), 4, "HTTP 404"),
        (httpx.ReadError(""), 4, "broke"),
        (httpx.Response(200, content=b"<svg/>"), 4, "SVG"),
        (httpx.Response(200, content=PICTURES["jpeg"][:-2]), 4, "cut short"),
    ],
)
async def test_a_picture_that_cannot_be_had_says_why(
    trouble: Any,  # noqa: ANN401 - a reply
    times: int,
    words: str,
) -> None:
    job = Collecting(media=trouble)

    with pytest.raises(errors.QueueError, match=words) as caught:
        await job.fetch()

    assert job.provider.count("media") == times
    assert "%imagen_resume" in str(caught.value)


async def test_all_attempts_together_have_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_collect, "MEDIA_SECONDS", 0.2)
    job = Collecting(media=reply_json(404, {}))
    job.client._sleep = anyio.sleep  # noqa: SLF001 - real time, since the deadline is real

    with pytest.raises(errors.QueueError, match="HTTP 404"):
        await job.fetch()

    assert job.provider.count("media") == 1


async def test_a_picture_inside_the_answer_needs_no_network() -> None:
    job = Collecting()
    inside = base64.b64encode(PICTURES["webp"]).decode()

    assert await job.fetch(f"data:image/webp;base64,{inside}") == PICTURES["webp"]
    assert job.provider.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>",
        "data:text/html;base64,PGh0bWw+",
        "data:image/png;base64,AAAA",
        "http://v3.fal.media/one.png",
        "https://169.254.169.254/one.png",
        "file:///etc/passwd",
    ],
)
async def test_an_address_that_is_not_allowed_is_never_asked(url: str) -> None:
    job = Collecting(media=PNG)

    with pytest.raises(errors.QueueError):
        await job.fetch(url)

    assert job.provider.seen == []
