"""Whatever went wrong after the ticket, the journal keeps the job, and a resume fetches it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest

from imagen_widget import History, errors, generate
from imagen_widget._client import _collect
from imagen_widget._protocol import _pacing
from tests.answers import ID, RESULT, TICKET
from tests.hostile.server import Received, Server, response
from tests.test_header import PICTURES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

PAGE = response(502, b"<!doctype html>Bad gateway", kind="text/html")
LOCKED = response(403, b'{"detail": "User is locked. Reason: Exhausted balance."}')
RUNNING = response(202, b'{"status": "IN_PROGRESS"}')
SVG = response(200, b"<svg/>", kind="image/png")

# What is ill, the answer that it gives, and the error that the user sees.
ILL = {
    "a locked account": ("status", LOCKED, errors.CredentialsError),
    "a status that never answers well": ("status", PAGE, errors.QueueTimeout),
    "a job that runs for ever": ("status", RUNNING, errors.QueueTimeout),
    "a refused key at the result": ("result", response(401, b"{}"), errors.CredentialsError),
    "a web page for a result": (
        "result",
        response(200, b"<html>", kind="text/html"),
        errors.QueueError,
    ),
    "a result that makes no sense": ("result", response(200, b'{"hello": 1}'), errors.QueueError),
    "a redirect": ("status", response(307, b"", location="http://a.example"), errors.QueueError),
    "a picture that is forbidden": ("media", response(403, b""), errors.QueueError),
    "a picture that is none": ("media", SVG, errors.QueueError),
    "a picture cut short": ("media", response(200, PICTURES["png"][:-9]), errors.QueueError),
}


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retries follow at once: the loop thread's time is real here."""
    for name in ("_FIRST_BACKOFF_SECONDS", "_LONGEST_BACKOFF_SECONDS"):
        monkeypatch.setattr(_pacing, name, 0.01)
    monkeypatch.setattr(_collect, "_FIRST_FETCH_WAIT_SECONDS", 0.01)


class Provider:
    """A gateway with one ill route, until it is healed."""

    def __init__(self, ill: str, answer: bytes) -> None:
        self.ill, self.answer, self.url = ill, answer, ""

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        route = self._route(request)
        writer.write(self.answer if route == self.ill else self._healthy(route))

    def _route(self, request: Received) -> str:
        if request.method == "POST":
            return "submit"
        if "/requests/" not in request.target:
            return "media"
        return "status" if "/status" in request.target else "result"

    def _healthy(self, route: str) -> bytes:
        if route == "media":
            return response(200, PICTURES["png"], kind="image/png")
        done = {"status": "COMPLETED"}
        pictures = RESULT | {"images": [{"url": f"{self.url}/one.png"}]}
        body = {"submit": TICKET, "status": done, "result": pictures}[route]
        return response(200, json.dumps(body).encode())


async def _in_thread(function: Callable[[], object]) -> object:
    return await anyio.to_thread.run_sync(function)


@pytest.mark.parametrize("what", ILL)
async def test_a_job_that_could_not_be_fetched_is_fetched_later(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    route, answer, kind = ILL[what]
    provider = Provider(route, answer)
    async with Server(provider) as server:
        provider.url = server.url
        for name, value in {
            "IMAGEN_PROVIDER": "kkiai",
            "IMAGEN_API_KEY": "made-up",
            "IMAGEN_BASE_URL": server.url,
            "IMAGEN_TIMEOUT": "1",
            "IMAGEN_POLL_SECONDS": "0.05",
        }.items():
            monkeypatch.setenv(name, value)

        with pytest.raises(kind) as caught:
            await _in_thread(lambda: generate("a red fox"))
        history = History()
        pending = [row.request_id for row in history.pending()]
        provider.ill = ""
        fetched = await _in_thread(history.resume)

    assert caught.value.request_id == ID
    assert pending == [ID]
    assert isinstance(fetched, list)
    assert [generation.request_id for generation in fetched] == [ID]
    assert fetched[0][0].data == PICTURES["png"]
    assert history.pending() == []
    assert [request.method for request in server.requests].count("POST") == 1
