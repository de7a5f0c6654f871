"""The one door to the network: who gets the key, what is read, and how long anything may take."""

from __future__ import annotations

import gc
import gzip
import logging
import time
import weakref
from typing import TYPE_CHECKING

import httpx
import pytest

from imagen_widget._client._http import Http
from imagen_widget._client._peers import PeerRule
from imagen_widget._protocol._wire import Answer, Call, Lost, NotSent
from imagen_widget._settings._keys import Secret
from imagen_widget.errors import InvalidRequest, QueueError
from tests.hostile.server import Received, Server, hold, response

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

KEY = "made-up-key-9b1d"
BASE = "https://gateway.example/fal"
STATUS = Call("GET", f"{BASE}/a/b/requests/1/status")
SUBMIT = Call("POST", f"{BASE}/a/b", b'{"prompt":"a fox"}')
PICTURE = "https://v3.fal.media/one.png"


def _http(
    handler: Callable[[httpx.Request], httpx.Response], *, base: str = BASE, key: str | None = KEY
) -> Http:
    return Http(
        base,
        scheme="Bearer",
        key=None if key is None else Secret(key),
        transport=httpx.MockTransport(lambda request: _unread(handler(request))),
    )


def _unread(found: httpx.Response) -> httpx.Response:
    """Give an answer back the body that httpx reads ahead where there is no network."""
    stream = httpx.ByteStream(found.content) if found.is_stream_consumed else found.stream
    return httpx.Response(found.status_code, headers=found.headers, stream=stream)


def _direct(base: str) -> Http:
    return Http(base, scheme="Bearer", key=Secret(KEY))


# --------------------------------------------------------------------------------------- the key


async def test_each_call_is_signed_and_each_picture_is_not() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={}, headers={"set-cookie": "sid=1; Domain=fal.media"})

    http = _http(handler)
    await http.call(SUBMIT, seconds=5)
    await http.call(STATUS, seconds=5)
    await http.fetch(PICTURE, seconds=5)
    await http.fetch(PICTURE, seconds=5)
    await http.close()

    assert [r.headers.get("authorization") for r in seen] == [f"Bearer {KEY}"] * 2 + [None] * 2
    assert not any("cookie" in request.headers for request in seen)
    assert {request.headers["accept-encoding"] for request in seen} == {"identity"}
    assert KEY not in "".join(str(value) for value in vars(http).values())


async def test_without_a_key_nothing_is_signed() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    await _http(handler, key=None).call(STATUS, seconds=5)

    assert "authorization" not in seen[0].headers


@pytest.mark.parametrize(
    "url",
    [
        "https://queue.fal.run/fal/a/b",
        "http://gateway.example/fal/a/b",
        "https://gateway.example:8443/fal/a/b",
        "https://gateway.example/other/a/b",
        "https://gateway.example/fal",
        "https://gateway.example/falsch/a/b",
        "https://gateway.example/fal/../admin",
        "https://gateway.example/fal/a/../../admin",
        "https://user@gateway.example/fal/a/b",
        "https://gateway.example@evil.example/fal/a/b",
        "https://gateway.example.evil.example/fal/a/b",
        "https://gateway.example./fal/a/b",
    ],
)
async def test_a_call_that_would_leave_the_base_is_never_made(url: str) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        pytest.fail(f"sent to {request.url}")

    with pytest.raises(InvalidRequest, match="nothing was sent"):
        await _http(handler).call(Call("GET", url), seconds=5)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_call_follows_a_redirect(status: int) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, headers={"location": "https://evil.example/"})

    answers = [await _http(handler).call(call, seconds=5) for call in (SUBMIT, STATUS)]

    assert [answer.status for answer in answers] == [status, status]
    assert len(seen) == 2


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
async def test_cleartext_to_this_machine_passes_no_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, b"{}"))

    async with Server(answering) as proxy, Server(answering) as gateway:
        monkeypatch.setenv(variable, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        http = _direct(gateway.url)
        await http.call(Call("GET", f"{gateway.url}/a/b"), seconds=5)
        await http.close()

    assert (len(gateway.requests), len(proxy.requests)) == (1, 0)


async def test_what_a_server_echoes_of_the_key_is_blanked_out() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        echo = request.headers["authorization"]
        return httpx.Response(401, json={"detail": f"bad: {echo}"}, headers={"x-echo": echo})

    found = await _http(handler).call(STATUS, seconds=5)

    assert found.json() == {"detail": "bad: Bearer ***"}
    assert found.headers["x-echo"] == "Bearer ***"


async def test_logs_of_every_level_lack_a_key_that_a_server_echoes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answering(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, b"{}", x_echo=request.headers["authorization"]))

    caplog.set_level(logging.DEBUG)
    async with Server(answering) as server:
        http = _direct(server.url)
        await http.call(Call("GET", f"{server.url}/a/b"), seconds=5)
        await http.close()

    assert "x-echo" in caplog.text
    assert KEY not in caplog.text


# ---------------------------------------------------------------------------------- the outcomes


@pytest.mark.parametrize(
    ("error", "outcome", "words"),
    [
        (httpx.ConnectError("[Errno -2] no such name"), NotSent, "no such name"),
        (httpx.ConnectTimeout(""), NotSent, "no connection within"),
        (httpx.PoolTimeout(""), NotSent, "PoolTimeout"),
        (httpx.UnsupportedProtocol("x"), NotSent, "UnsupportedProtocol"),
        (httpx.ReadTimeout(""), Lost, "no answer within"),
        (httpx.WriteTimeout(""), Lost, "could not be sent"),
        (httpx.ReadError(""), Lost, "broke"),
        (httpx.WriteError(""), Lost, "broke"),
        (httpx.RemoteProtocolError(""), Lost, "closed in the middle"),
        (httpx.ProxyError(""), Lost, "ProxyError"),
        (httpx.DecodingError(""), Lost, "DecodingError"),
        (TimeoutError(), Lost, "within 5 s"),
    ],
)
@pytest.mark.parametrize("call", [SUBMIT, STATUS, None], ids=["submit", "status", "picture"])
async def test_each_trouble_is_not_sent_or_lost(
    error: Exception, outcome: type[Exception], words: str, call: Call | None
) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    http = _http(handler)
    with pytest.raises(outcome, match=words):
        await (http.fetch(PICTURE, seconds=5) if call is None else http.call(call, seconds=5))


async def test_an_error_that_goes_up_holds_no_request() -> None:
    """Httpx's errors hold the request, and the request holds the key."""
    sent: list[weakref.ref[httpx.Request]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(weakref.ref(request))
        raise httpx.ReadTimeout("", request=request)

    with pytest.raises(Lost) as caught:
        await _http(handler).call(STATUS, seconds=5)

    assert (caught.value.__context__, caught.value.__cause__) == (None, None)
    assert not [entry for entry in caught.traceback if "httpx" in str(entry.path)]
    gc.collect()
    assert [reference() for reference in sent] == [None]


async def test_a_host_that_is_no_name_is_not_sent() -> None:
    http = Http("https://a..b", scheme="Key", key=Secret(KEY))

    with pytest.raises(NotSent):
        await http.call(Call("GET", "https://a..b/x/y"), seconds=5)
    await http.close()


# ------------------------------------------------------------------------------------ the bodies


async def test_an_answer_larger_than_its_cap_is_lost() -> None:
    http = _http(lambda _: httpx.Response(200, content=bytes(3_000_000)))

    with pytest.raises(Lost, match="larger than 2 MB"):
        await http.call(STATUS, seconds=5, most_bytes=2 * 1024 * 1024)
    assert len((await http.call(STATUS, seconds=5)).body) == 3_000_000


async def test_an_answer_that_comes_packed_is_unpacked_up_to_the_same_cap() -> None:
    headers = {"content-encoding": "gzip"}
    bodies = iter([b'{"a": 1}', bytes(2_000_000)])

    def handler(_: httpx.Request) -> httpx.Response:
        stream = httpx.ByteStream(gzip.compress(next(bodies)))
        return httpx.Response(200, headers=headers, stream=stream)

    http = _http(handler)

    assert (await http.call(STATUS, seconds=5)).json() == {"a": 1}
    with pytest.raises(Lost, match="larger than 1 MB"):
        await http.call(STATUS, seconds=5, most_bytes=1024 * 1024)


@pytest.mark.parametrize("coding", ["gzip", "br", "identity"])
async def test_a_picture_with_any_content_coding_is_refused(coding: str) -> None:
    headers = {"content-encoding": coding}
    body = gzip.compress(b"x")

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(body))

    with pytest.raises(Lost, match="compressed"):
        await _http(handler).fetch(PICTURE, seconds=5)


async def _drip(_: Received, writer: asyncio.StreamWriter) -> None:
    import anyio  # here, since nothing else in this file needs it

    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 99999\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await anyio.sleep(0.05)


@pytest.mark.parametrize("what", ["status", "submit", "picture"])
async def test_a_drip_ends_with_the_deadline(what: str) -> None:
    async with Server(_drip) as server:
        http = _direct(server.url)
        asked = {
            "status": lambda: http.call(Call("GET", f"{server.url}/a/b"), seconds=0.3),
            "submit": lambda: http.call(Call("POST", f"{server.url}/a/b", b"{}"), seconds=0.3),
            "picture": lambda: http.fetch(f"{server.url}/one.png", seconds=0.3),
        }
        started = time.monotonic()
        with pytest.raises(Lost, match=r"within 0\.3 s"):
            await asked[what]()
        took = time.monotonic() - started
        await http.close()

    assert took < 1.3


async def test_a_silent_server_ends_with_the_deadline() -> None:
    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        await hold(writer)

    async with Server(answering) as server:
        http = _direct(server.url)
        with pytest.raises(Lost):
            await http.call(Call("GET", f"{server.url}/a/b"), seconds=0.2)
        await http.close()


# ------------------------------------------------------------------------------- the connections


async def test_each_submit_has_a_connection_of_its_own_and_polls_share_one() -> None:
    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, b"{}"))

    async with Server(answering) as server:
        http = _direct(server.url)
        for _ in range(3):
            await http.call(Call("POST", f"{server.url}/a/b", b"{}"), seconds=5)
        assert server.connections == 3
        for _ in range(3):
            await http.call(Call("GET", f"{server.url}/a/b"), seconds=5)
        assert server.connections == 4
        await http.close()


# ---------------------------------------------------------------------------------- the pictures


def _redirecting(*targets: str) -> tuple[Http, list[httpx.Request]]:
    """Return a door to servers that send each request on to the next target."""
    seen: list[httpx.Request] = []
    left = list(targets)

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if not left:
            return httpx.Response(200, content=b"picture")
        return httpx.Response(302, headers={"location": left.pop(0)})

    return _http(handler), seen


async def test_a_picture_may_move_to_another_public_host() -> None:
    http, seen = _redirecting("https://cdn.example/1", "/2", "//third.example/3")

    found = await http.fetch(PICTURE, seconds=5)

    assert found.body == b"picture"
    assert [str(request.url) for request in seen][1:] == [
        "https://cdn.example/1",
        "https://cdn.example/2",
        "https://third.example/3",
    ]


@pytest.mark.parametrize(
    "target",
    [
        "http://cdn.example/1",
        "https://10.0.0.1/1",
        "https://[",
        "file:///etc/passwd",
        "https://a@b/",
    ],
)
async def test_each_hop_of_a_picture_is_checked(target: str) -> None:
    http, seen = _redirecting("https://cdn.example/1", target)

    with pytest.raises(QueueError, match="it was not fetched"):
        await http.fetch(PICTURE, seconds=5)
    assert len(seen) == 2


async def test_a_picture_that_moves_for_ever_is_given_up() -> None:
    http, seen = _redirecting(*["https://cdn.example/1"] * 50)

    with pytest.raises(QueueError, match="without end"):
        await http.fetch(PICTURE, seconds=5)
    assert len(seen) == 4


async def test_a_redirect_without_a_target_is_an_answer() -> None:
    http = _http(lambda _: httpx.Response(302))

    assert await http.fetch(PICTURE, seconds=5) == Answer(302)


async def test_a_name_that_turns_out_to_be_inside_gives_no_byte() -> None:
    """DNS may say one thing before the connection and another for it."""

    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, b"secret of the inside", kind="image/png"))

    class Rebinding(PeerRule):
        async def check_address(self, url: str) -> None:
            """Pass: the name looked public a moment ago."""

    async with Server(answering) as server:
        peers = Rebinding("https://gateway.example")
        http = Http("https://gateway.example", scheme="Key", key=Secret(KEY), peers=peers)
        with pytest.raises(QueueError, match="not public"):
            await http.fetch(f"{server.url}/one.png", seconds=5)
        await http.close()


# ----------------------------------------------------------------------------------- the streams


async def test_a_stream_gives_its_chunks_and_is_signed() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        headers = {"content-type": "text/event-stream; charset=utf-8"}
        return httpx.Response(200, headers=headers, content=b"data: x\n\n")

    async with _http(handler).stream(STATUS, seconds=5) as chunks:
        assert [chunk async for chunk in chunks] == [b"data: x\n\n"]

    assert seen[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, headers={"content-type": "text/event-stream"}),
        httpx.Response(200, json={}),
        httpx.Response(307, headers={"location": "https://evil.example/"}),
    ],
)
async def test_anything_but_an_event_stream_is_lost(answer: httpx.Response) -> None:
    with pytest.raises(Lost, match="no event stream"):
        async with _http(lambda _: answer).stream(STATUS, seconds=5):
            pytest.fail("no stream was there")


async def test_a_stream_that_breaks_is_lost() -> None:
    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\nda"
        )
        await writer.drain()
        writer.transport.abort()

    async with Server(answering) as server:
        http = _direct(server.url)
        with pytest.raises(Lost):
            await _read_stream(http, f"{server.url}/a/b")
        await http.close()


async def _read_stream(http: Http, url: str) -> list[bytes]:
    async with http.stream(Call("GET", url), seconds=5) as chunks:
        return [chunk async for chunk in chunks]
