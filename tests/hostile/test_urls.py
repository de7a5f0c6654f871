"""No address that a server names takes the key or the prompt anywhere else.

Each case names a foreign address in the ticket and in the result, and redirects to it as well;
real servers on several ports write down every byte that reaches them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from imagen_widget import ImagenClient, ImageRequest
from imagen_widget.errors import ImagenError
from tests.clock import Clock
from tests.hostile.server import Received, Server, response

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KEY = "made-up-key-5f0c3a"
PROMPT = "a prompt that nobody else may read"
PREFIX = "/fal"
CODES = (301, 302, 303, 307, 308)
ROUTES = ("submit", "status", "response", "cancel", "image")

# How the address of a stranger is written; `own` and `other` are ports.
TRICKS: dict[str, Callable[[int, int], str]] = {
    "host": lambda _, other: f"http://stranger.example:{other}",
    "port": lambda _, other: f"http://127.0.0.1:{other}",
    "scheme": lambda _, other: f"https://127.0.0.1:{other}",
    "userinfo": lambda own, other: f"http://127.0.0.1:{own}@127.0.0.1:{other}",
    "suffix": lambda _, other: f"http://127.0.0.1.stranger.example:{other}",
    "backslash": lambda own, other: f"http://127.0.0.1:{own}\\@127.0.0.1:{other}",
    "case": lambda _, other: f"HTTP://LocalHost:{other}",
    "trailing dot": lambda _, other: f"http://localhost.:{other}",
    "..": lambda own, _: f"http://127.0.0.1:{own}{PREFIX}/../..",
    "slashes": lambda _, other: f"//127.0.0.1:{other}",
}


@pytest.fixture(autouse=True)
def every_name_leads_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve every name to this machine, so that whatever is sent to a stranger is seen."""
    look_up = socket.getaddrinfo

    def resolve(_: object, *args: Any, **kwargs: Any) -> Any:
        return look_up("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


class Gateway:
    """A gateway that turns against its user at one route."""

    def __init__(self) -> None:
        self.code, self.trick, self.route = 302, "host", "status"
        self.count = 0
        self.own = self.other = 0

    async def answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """Answer as a gateway does, but for the route that is turned."""
        route = self._route(request)
        if route == self.route:
            target = self._stranger() + request.target
            writer.write(response(self.code, b"", location=target))
        elif route == "image":
            writer.write(response(200, b"no picture", kind="image/png"))
        else:
            writer.write(response(200, json.dumps(self._body(route)).encode()))

    def _route(self, request: Received) -> str:
        if request.method == "POST":
            return "submit"
        last = request.target.partition("?")[0].rpartition("/")[2]
        named = {"status": "status", "cancel": "cancel", "one.png": "image"}
        return named.get(last, "response")

    def _body(self, route: str) -> dict[str, Any]:
        path = f"/fal-ai/imagen4/requests/case-{self.count}"
        turned = self._stranger()
        if route == "submit":
            honest = f"http://127.0.0.1:{self.own}{PREFIX}"
            base = {name: turned if name == self.route else honest for name in ROUTES}
            return {
                "status": "IN_QUEUE",
                "request_id": f"case-{self.count}",
                "status_url": f"{base['status']}{path}/status",
                "response_url": f"{base['response']}{path}",
                "cancel_url": f"{base['cancel']}{path}/cancel",
            }
        if route == "response":
            return {"images": [{"url": f"{turned}/one.png"}]}
        return {"status": "COMPLETED"}

    def _stranger(self) -> str:
        return TRICKS[self.trick](self.own, self.other)


async def _use(client: ImagenClient) -> None:
    """Do all that a client can do with one job, whatever comes of it."""
    with contextlib.suppress(ImagenError):
        ticket = await client.submit(ImageRequest.create(PROMPT))
        for step in (client.watch, client.cancel):
            with contextlib.suppress(ImagenError):
                await step(ticket)
        outcome = await client.result(ticket)
        for url in outcome.urls:
            await client.fetch(url)


def _betrays(request: Received) -> bool:
    secret = KEY.encode() in request.raw or PROMPT.encode() in request.raw
    return secret or "authorization" in request.headers


async def test_key_and_prompt_stay_at_the_gateway(capsys: pytest.CaptureFixture[str]) -> None:
    gateway, clock = Gateway(), Clock()

    async def stranger(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, b'{"status": "COMPLETED"}'))

    async with Server(gateway.answer) as own, Server(stranger) as other:
        gateway.own, gateway.other = own.port, other.port
        async with ImagenClient(
            "kkiai", base_url=own.url + PREFIX, api_key=KEY, clock=clock, sleep=clock.sleep
        ) as client:
            for case in itertools.product(CODES, TRICKS, ROUTES):
                gateway.code, gateway.trick, gateway.route = case
                gateway.count += 1
                await _use(client)

    outside = [r for r in own.requests if not r.target.startswith(f"{PREFIX}/fal-ai/")]
    elsewhere = [*other.requests, *outside]
    betrayed = [request for request in elsewhere if _betrays(request)]
    honest = len(own.requests) - len(outside)
    with capsys.disabled():
        print(
            f"\nURL matrix: {gateway.count} cases, {honest} requests at the gateway, "
            f"{len(elsewhere)} elsewhere, {len(betrayed)} of these with key or prompt"
        )
    assert betrayed == []
    assert all(_betrays(r) for r in own.requests if r not in outside)
    assert honest > gateway.count
    assert elsewhere  # pictures may be fetched from strangers: so a leak would be seen
    assert {request.method for request in elsewhere} == {"GET"}
    assert {r.target.partition("?")[0].rpartition("/")[2] for r in elsewhere} == {"one.png"}
