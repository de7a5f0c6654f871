"""A provider that a test writes down: each route's answers in order, the last one for ever."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clock import Clock

    Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Provider:
    """Answers by the end of the path: `submit`, `status`, `stream`, `result`, `cancel`, `media`.

    Attributes:
        seen: The requests, in order.
    """

    def __init__(self, clock: Clock | None = None, **routes: Reply | list[Reply]) -> None:
        self.seen: list[httpx.Request] = []
        self._clock = clock
        self._routes = {
            name: replies if isinstance(replies, list) else [replies]
            for name, replies in routes.items()
        }

    @property
    def transport(self) -> httpx.MockTransport:
        """What to give to a client in place of the network."""
        return httpx.MockTransport(self._answer)

    def count(self, route: str) -> int:
        """Return how often a route was asked."""
        return sum(_route(request) == route for request in self.seen)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if self._clock is not None:
            self._clock.now += 0.01  # no answer takes no time
        replies = self._routes.get(_route(request), [])
        reply = replies.pop(0) if len(replies) > 1 else (replies or [reply_json(404, {})])[0]
        if isinstance(reply, Exception):
            raise reply
        found = reply(request) if callable(reply) else reply
        return httpx.Response(
            found.status_code, headers=found.headers, stream=httpx.ByteStream(found.content)
        )


def _route(request: httpx.Request) -> str:
    path = request.url.path
    if request.method == "POST":
        return "submit"
    if "/requests/" not in path:
        return "media"
    if "/auto/requests/" in path:
        return "auto"
    last = path.rpartition("/")[2]
    return last if last in {"status", "stream", "cancel"} else "result"


def reply_json(status: int, body: Any, **headers: str) -> httpx.Response:  # noqa: ANN401 - any JSON
    """Return a JSON answer; `_` in header names becomes a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=json.dumps(body).encode(), headers=named)


def reply_page(status: int = 200) -> httpx.Response:
    """Return a web page."""
    return httpx.Response(status, html="<!doctype html><title>Welcome</title>")


def reply_events(*bodies: dict[str, Any], rest: bytes = b"") -> httpx.Response:
    """Return an event stream of status objects."""
    events = b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)
    headers = {"content-type": "text/event-stream"}
    return httpx.Response(200, content=events + rest, headers=headers)
