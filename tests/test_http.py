"""The network: who gets the key, what is read, how long anything may take, and from which hosts."""

from __future__ import annotations

import gc
import gzip
import logging
import ssl
import time
import weakref
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
from hypothesis import given, strategies as st

from imagen_widget import ImagenClient, ImageRequest, errors
from imagen_widget._providers import Answer, Call, answers, http
from imagen_widget._settings import Secret
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
MB = 1024 * 1024


def _http(
    handler: Callable[[httpx.Request], httpx.Response], *, base: str = BASE, key: str | None = KEY
) -> http.Http:
    return http.Http(
        base,
        scheme="Bearer",
        key=None if key is None else Secret(key),
        transport=httpx.MockTransport(lambda request: _unread(handler(request))),
    )


def _unread(found: httpx.Response) -> httpx.Response:
    """Give an answer back the body that httpx reads ahead without a network."""
    stream = httpx.ByteStream(found.content) if found.is_stream_consumed else found.stream
    return httpx.Response(found.status_code, headers=found.headers, stream=stream)


def _direct(base: str) -> http.Http:
    return http.Http(base, scheme="Bearer", key=Secret(KEY))


# --------------------------------------------------------------------------------------- the key


async def test_each_call_is_signed_and_each_picture_is_not() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={}, headers={"set-cookie": "sid=1; Domain=fal.media"})

    net = _http(handler)
    await net.call(SUBMIT, seconds=5)
    await net.call(STATUS, seconds=5)
    await net.fetch(PICTURE, seconds=5)
    await net.fetch(PICTURE, seconds=5)
    await net.close()

    assert [r.headers.get("authorization") for r in seen] == [f"Bearer {KEY}"] * 2 + [None] * 2
    assert not any("cookie" in request.headers for request in seen)
    assert {request.headers["accept-encoding"] for request in seen} == {"identity"}
    assert KEY not in "".join(str(value) for value in vars(net).values())


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

    with pytest.raises(errors.InvalidRequest, match="nothing was sent"):
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
        net = _direct(gateway.url)
        await net.call(Call("GET", f"{gateway.url}/a/b"), seconds=5)
        await net.close()

    assert (len(gateway.requests), len(proxy.requests)) == (1, 0)


async def test_a_submit_that_a_proxy_holds_up_until_the_deadline_was_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        await hold(writer)

    async with Server(answering) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        net = _direct(BASE)
        with pytest.raises(answers.NotSent, match="no connection within 1 s"):
            await net.call(SUBMIT, seconds=1)
        await net.close()

    assert [request.method for request in proxy.requests] == ["CONNECT"]


async def test_what_a_server_echoes_of_the_key_is_blanked_out() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        echo = request.headers["authorization"]
        return httpx.Response(401, json={"detail": f"bad: {echo}"}, headers={"x-echo": echo})

    found = await _http(handler).call(STATUS, seconds=5)

    assert found.json == {"detail": "bad: Bearer ***"}
    assert found.headers["x-echo"] == "Bearer ***"


async def test_logs_of_every_level_lack_a_key_that_a_server_echoes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answering(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, b"{}", x_echo=request.headers["authorization"]))

    caplog.set_level(logging.DEBUG)
    async with Server(answering) as server:
        net = _direct(server.url)
        await net.call(Call("GET", f"{server.url}/a/b"), seconds=5)
        await net.close()

    assert "x-echo" in caplog.text
    assert KEY not in caplog.text


# ---------------------------------------------------------------------------------- the outcomes


@pytest.mark.parametrize(
    ("error", "outcome", "words"),
    [
        (httpx.ConnectError("[Errno -2] no such name"), answers.NotSent, "no such name"),
        (httpx.ConnectTimeout(""), answers.NotSent, "no connection within"),
        (httpx.PoolTimeout(""), answers.NotSent, "PoolTimeout"),
        (httpx.UnsupportedProtocol("x"), answers.NotSent, "UnsupportedProtocol"),
        (httpx.ReadTimeout(""), answers.Lost, "no answer within"),
        (httpx.WriteTimeout(""), answers.Lost, "could not be sent"),
        (httpx.ReadError(""), answers.Lost, "broke"),
        (httpx.WriteError(""), answers.Lost, "broke"),
        (httpx.RemoteProtocolError(""), answers.Lost, "closed in the middle"),
        (httpx.ProxyError("407"), answers.NotSent, "proxy refused"),
        (httpx.DecodingError(""), answers.Lost, "DecodingError"),
        (ssl.SSLError(1, "[SSL: BAD_RECORD_MAC]"), answers.Lost, "broke"),
        (TimeoutError(), answers.Lost, "within 5 s"),
    ],
)
@pytest.mark.parametrize("call", [SUBMIT, STATUS, None], ids=["submit", "status", "picture"])
async def test_each_trouble_is_not_sent_or_lost(
    error: Exception, outcome: type[Exception], words: str, call: Call | None
) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    net = _http(handler)
    with pytest.raises(outcome, match=words):
        await (net.fetch(PICTURE, seconds=5) if call is None else net.call(call, seconds=5))


async def test_an_error_that_goes_up_holds_no_request() -> None:
    """Httpx's errors hold the request, and the request holds the key."""
    sent: list[weakref.ref[httpx.Request]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(weakref.ref(request))
        raise httpx.ReadTimeout("", request=request)

    with pytest.raises(answers.Lost) as caught:
        await _http(handler).call(STATUS, seconds=5)

    assert (caught.value.__context__, caught.value.__cause__) == (None, None)
    assert not [entry for entry in caught.traceback if "httpx" in str(entry.path)]
    gc.collect()
    assert [reference() for reference in sent] == [None]


async def test_a_host_that_is_not_a_name_is_not_sent() -> None:
    net = http.Http("https://a..b", scheme="Key", key=Secret(KEY))

    with pytest.raises(answers.NotSent):
        await net.call(Call("GET", "https://a..b/x/y"), seconds=5)
    await net.close()


# ------------------------------------------------------------------------------------ the bodies


async def test_an_answer_larger_than_its_cap_is_lost() -> None:
    net = _http(lambda _: httpx.Response(200, content=bytes(3_000_000)))

    with pytest.raises(answers.Lost, match="larger than 2 MB"):
        await net.call(STATUS, seconds=5, max_bytes=2 * 1024 * 1024)
    assert len((await net.call(STATUS, seconds=5)).body) == 3_000_000


async def test_an_answer_that_comes_packed_is_unpacked_up_to_the_same_cap() -> None:
    headers = {"content-encoding": "gzip"}
    bodies = iter([b'{"a": 1}', bytes(2_000_000)])

    def handler(_: httpx.Request) -> httpx.Response:
        stream = httpx.ByteStream(gzip.compress(next(bodies), mtime=0))
        return httpx.Response(200, headers=headers, stream=stream)

    net = _http(handler)

    assert (await net.call(STATUS, seconds=5)).json == {"a": 1}
    with pytest.raises(answers.Lost, match="larger than 1 MB"):
        await net.call(STATUS, seconds=5, max_bytes=1024 * 1024)


CODINGS = ["", "identity", "aws-chunked", "utf-8", "br", "gzip", "aws-chunked,gzip", "x-gzip"]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("packed", [False, True])
async def test_what_can_be_read_is_read_whatever_its_content_coding_says(
    coding: str, packed: bool
) -> None:
    plain = b'{"a": 1}'
    body = gzip.compress(plain, mtime=0) if packed else plain

    def handler(_: httpx.Request) -> httpx.Response:
        stream = httpx.ByteStream(body)
        return httpx.Response(200, headers={"content-encoding": coding}, stream=stream)

    net = _http(handler)
    called, fetched = await net.call(STATUS, seconds=5), await net.fetch(PICTURE, seconds=5)

    assert called.body == fetched.body == plain


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (gzip.compress(bytes(70 * MB), mtime=0), "larger than 64 MB"),
        (gzip.compress(b"x" * 99, mtime=0)[:-9], "short"),
    ],
)
async def test_a_packed_picture_is_a_whole_one_and_no_bomb(body: bytes, reason: str) -> None:
    headers = {"content-encoding": "gzip"}
    net = _http(lambda _: httpx.Response(200, headers=headers, stream=httpx.ByteStream(body)))

    with pytest.raises(answers.Lost, match=reason):
        await net.fetch(PICTURE, seconds=30)


async def _drip(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 99999\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await anyio.sleep(0.05)


@pytest.mark.parametrize("what", ["status", "submit", "picture"])
async def test_a_drip_ends_with_the_deadline(what: str) -> None:
    async with Server(_drip) as server:
        net = _direct(server.url)
        asked = {
            "status": lambda: net.call(Call("GET", f"{server.url}/a/b"), seconds=1),
            "submit": lambda: net.call(Call("POST", f"{server.url}/a/b", b"{}"), seconds=1),
            "picture": lambda: net.fetch(f"{server.url}/one.png", seconds=1),
        }
        started = time.monotonic()
        with pytest.raises(answers.Lost, match="within 1 s"):
            await asked[what]()
        took = time.monotonic() - started
        await net.close()

    assert took < 10  # it drips for ever


async def test_a_silent_server_ends_with_the_deadline() -> None:
    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        await hold(writer)

    async with Server(answering) as server:
        net = _direct(server.url)
        with pytest.raises(answers.Lost):
            await net.call(Call("GET", f"{server.url}/a/b"), seconds=0.2)
        await net.close()


async def _broken_off(base_url: str) -> answers.Answer:
    """Return what came of an answer that never ends."""
    net = _direct(base_url)
    with pytest.raises(answers.Lost) as caught:
        await net.call(Call("POST", f"{base_url}/a/b", b"{}"), seconds=1)
    await net.close()
    assert caught.value.part is not None
    return caught.value.part


async def test_an_answer_that_breaks_off_tells_what_came_of_it() -> None:
    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nx-fal-request-id: abc\r\ncontent-length: 99\r\n\r\n"
        writer.write(head + b'{"request_id": "abc", ')
        await hold(writer)

    async with Server(answering) as server:
        part = await _broken_off(server.url)
        async with ImagenClient("kkiai", base_url=server.url, api_key="sk-made-up") as client:
            with pytest.raises(errors.SubmitUncertain) as uncertain:
                await client.submit(ImageRequest.create("a fox"), timeout=1)

    assert (part.status, part.headers["x-fal-request-id"]) == (200, "abc")
    assert part.body == b'{"request_id": "abc", '
    assert uncertain.value.request_id == "abc"


async def test_what_a_server_echoes_of_the_key_before_it_breaks_off_is_blanked_out() -> None:
    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\nx-echo: {KEY}\r\ncontent-length: 999\r\n\r\n"
        writer.write(f'{head}{{"echo": "{KEY}"'.encode())
        await hold(writer)

    async with Server(answering) as server:
        part = await _broken_off(server.url)

    assert (part.headers["x-echo"], part.body) == ("***", b'{"echo": "***"')


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("HTTPS_PROXY", "nonsense://x"),
        ("NO_PROXY", "[::1"),
        ("SSL_CERT_FILE", "/not/there.pem"),
    ],
)
async def test_a_network_setting_that_cannot_be_used_is_named(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    async with ImagenClient("kkiai", api_key="sk-made-up") as client:
        with pytest.raises(errors.ImagenError, match=variable):
            await client.submit(ImageRequest.create("a fox"))


# ------------------------------------------------------------------------------- the connections


async def test_each_submit_has_a_connection_of_its_own_and_polls_share_one() -> None:
    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, b"{}"))

    async with Server(answering) as server:
        net = _direct(server.url)
        for _ in range(3):
            await net.call(Call("POST", f"{server.url}/a/b", b"{}"), seconds=5)
        assert server.connections == 3
        for _ in range(3):
            await net.call(Call("GET", f"{server.url}/a/b"), seconds=5)
        assert server.connections == 4
        await net.close()


# ---------------------------------------------------------------------------------- the pictures


def _redirecting(*targets: str) -> tuple[http.Http, list[httpx.Request]]:
    """Return connections to servers that send each request on to the next target."""
    seen: list[httpx.Request] = []
    left = list(targets)

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if not left:
            return httpx.Response(200, content=b"picture")
        return httpx.Response(302, headers={"location": left.pop(0)})

    return _http(handler), seen


async def test_a_picture_may_move_to_another_public_host() -> None:
    net, seen = _redirecting("https://cdn.example/1", "/2", "//third.example/3")

    found = await net.fetch(PICTURE, seconds=5)

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
    net, seen = _redirecting("https://cdn.example/1", target)

    with pytest.raises(errors.QueueError, match="it was not fetched"):
        await net.fetch(PICTURE, seconds=5)
    assert len(seen) == 2


async def test_a_picture_that_moves_for_ever_is_given_up() -> None:
    net, seen = _redirecting(*["https://cdn.example/1"] * 50)

    with pytest.raises(errors.QueueError, match="redirects too often"):
        await net.fetch(PICTURE, seconds=5)
    assert len(seen) == 4


async def test_a_redirect_without_a_target_is_an_answer() -> None:
    net = _http(lambda _: httpx.Response(302))

    assert await net.fetch(PICTURE, seconds=5) == Answer(302)


async def test_a_name_that_turns_out_to_be_inside_gives_no_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS may say one thing before the connection and another for it."""

    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, b"secret of the inside", kind="image/png"))

    async def looked_public(*_: object) -> None:
        """Pass: the name looked public a moment ago."""

    monkeypatch.setattr(http.PeerRule, "check_address", looked_public)
    async with Server(answering) as server:
        net = http.Http("https://gateway.example", scheme="Key", key=Secret(KEY))
        with pytest.raises(errors.QueueError, match="not public"):
            await net.fetch(f"{server.url}/one.png", seconds=5)
        await net.close()


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
    with pytest.raises(answers.Lost, match="not an event stream"):
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
        net = _direct(server.url)
        with pytest.raises(answers.Lost):
            await _read_stream(net, f"{server.url}/a/b")
        await net.close()


async def test_a_stream_that_does_not_begin_in_time_is_lost() -> None:
    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        await hold(writer)

    async with Server(answering) as server:
        net = _direct(server.url)
        with pytest.raises(answers.Lost, match=r"no whole answer within 0\.2 s"):
            async with net.stream(Call("GET", f"{server.url}/a/b"), seconds=0.2):
                pytest.fail("no stream was there")
        await net.close()


async def test_more_streams_than_there_may_be_are_refused_until_one_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        await hold(writer)

    monkeypatch.setitem(http._MAX_CALLS, "streams", 3)
    async with Server(answering) as server:
        net, call = _direct(server.url), Call("GET", f"{server.url}/a/b")
        async with AsyncExitStack() as streams:
            first = await streams.enter_async_context(AsyncExitStack())
            await first.enter_async_context(net.stream(call, seconds=5))
            for _ in range(2):
                await streams.enter_async_context(net.stream(call, seconds=5))
            with pytest.raises(answers.Lost, match="limit of open"):
                await streams.enter_async_context(net.stream(call, seconds=5))
            await first.aclose()

            await streams.enter_async_context(net.stream(call, seconds=5))
        await net.close()


async def test_calls_that_are_made_together_wait_for_their_turn_and_leave_it_when_they_fail() -> (
    None
):
    now = most = 0

    async def answering(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await anyio.sleep(0.001)
        now -= 1
        if request.url.path.endswith("0"):
            raise httpx.ReadError("")
        return httpx.Response(200, json={})

    transport = httpx.MockTransport(answering)
    net = http.Http(BASE, scheme="Bearer", key=Secret(KEY), transport=transport)
    ended = []

    async def ask(number: int) -> None:
        with suppress(answers.Lost):
            await net.call(Call("GET", f"{BASE}/a/{number}"), seconds=5)
        ended.append(number)

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(ask, number)

    assert (len(ended), most) == (100, 20)


async def _read_stream(net: http.Http, url: str) -> list[bytes]:
    async with net.stream(Call("GET", url), seconds=5) as chunks:
        return [chunk async for chunk in chunks]


# ---------------------------------------------------------------------------- schemas and lists


class Site:
    """Public pages; what is not there answers 404."""

    def __init__(self, **pages: httpx.Response) -> None:
        self.seen: list[httpx.Request] = []
        self._pages = pages
        self.client = ImagenClient(
            "fal", api_key="made-up", transport=httpx.MockTransport(self._answer)
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        name = request.url.path.rpartition("/")[2].removesuffix(".json")
        return _unread(self._pages.get(name, httpx.Response(404)))


async def test_a_schema_is_read_at_fal_without_a_key() -> None:
    site = Site(openapi=httpx.Response(200, json={"openapi": "3.0.4"}))

    found = await site.client.provider.describe("bria/a model")

    assert found == b'{"openapi":"3.0.4"}'
    (request,) = site.seen
    assert str(request.url) == (
        "https://fal.ai/api/openapi/queue/openapi.json?endpoint_id=bria/a%20model"
    )
    assert not {"authorization", "cookie"} & set(request.headers)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, json={}),
        httpx.Response(200, content=b"no json"),
        httpx.Response(200, json=[]),
        httpx.Response(200, content=b'{"x": "' + bytes(1_100_000) + b'"}'),
        httpx.Response(302, headers={"location": "https://evil.example/x.json"}),
        httpx.Response(302, headers={"location": "http://fal.ai/openapi.json"}),
        httpx.Response(302, headers={"location": "/openapi.json"}),
        httpx.Response(302, headers={"location": "https://["}),
    ],
)
async def test_a_schema_that_cannot_be_had_is_not_taken(answer: httpx.Response) -> None:
    site = Site(openapi=answer)

    assert await site.client.provider.describe("bria/a") is None
    assert {request.url.host for request in site.seen} == {"fal.ai"}


async def test_a_schema_may_move_within_its_site() -> None:
    moved = httpx.Response(301, headers={"location": "https://www.fal.ai/moved.json"})
    site = Site(openapi=moved, moved=httpx.Response(200, json={"a": 1}))

    assert await site.client.provider.describe("bria/a") == b'{"a":1}'


@pytest.mark.parametrize(
    ("schemas", "model", "asked"),
    [
        ("off", "bria/a", []),
        ("auto", "gpt-image-1", []),
        ("https://here.example/{endpoint}.json", "bria/a", ["https://here.example/bria/a.json"]),
    ],
)
async def test_imagen_schemas_says_where_schemas_are(
    schemas: str, model: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_SCHEMAS", schemas)
    site = Site(a=httpx.Response(200, json={}))

    await site.client.provider.describe(model)

    assert [str(request.url) for request in site.seen] == asked


@pytest.mark.slow
async def test_a_schema_server_that_drips_costs_two_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Server(_drip) as server:
        monkeypatch.setenv("IMAGEN_SCHEMAS", f"{server.url}/{{endpoint}}")
        async with ImagenClient("kkiai", api_key="sk-made-up") as client:
            started = time.monotonic()
            assert await client.provider.describe("bria/a") is None
            assert time.monotonic() - started < 10  # it drips for ever


async def test_fals_public_list_is_searched_without_a_key() -> None:
    records = [
        {"endpoint_id": "bria/a", "metadata": {"display_name": "Bria A", "status": "deprecated"}},
        {"endpoint_id": "fal-ai/nano-banana-2", "metadata": None},
        {"endpoint_id": 5},
        "odd",
    ]
    site = Site(models=httpx.Response(200, json={"models": records}))

    found = await site.client.provider.search("bria & co") or []

    assert [model.id for model in found] == ["bria/a", "fal-ai/nano-banana-2"]
    assert (found[0].title, found[0].status) == ("Bria A", "deprecated")
    assert found[1].source == "bundled"
    assert site.seen[0].url.params["q"] == "bria & co"
    assert "authorization" not in site.seen[0].headers
    assert await Site(models=httpx.Response(200, json=[])).client.provider.search("x") == []
    assert await Site(models=httpx.Response(503)).client.provider.search("x") is None


# ----------------------------------------------------------------------- from where pictures come

PUBLIC, PRIVATE = "93.184.216.34", "10.0.0.7"
LOOPBACK = "http://127.0.0.1:8800"


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTP_PROXY",
        "http_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


def _rule(base: str = BASE, *addresses: str, checks: bool = True) -> http.PeerRule:
    async def resolve(host: str, port: int) -> list[str]:
        assert host
        assert port
        return list(addresses or [PUBLIC])

    return http.PeerRule(base, checks=checks, resolve=resolve)


@pytest.mark.parametrize(
    "url",
    [
        "https://v3b.fal.media/files/b/lion/one.png",
        "https://v3b.fal.media:8443/one.png?x=y#z",
        "https://xn--bcher-kva.example/a b.png",
        f"https://{PUBLIC}/one.png",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/one.png",
        "https://gateway.example/any/where.png",
        "https://GATEWAY.example:443/one.png",
        "https://gateway.example./one.png",
    ],
)
async def test_a_public_address_may_be_fetched(url: str) -> None:
    await _rule().check_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "one.png",
        "file:///etc/passwd",
        "ftp://v3.fal.media/one.png",
        "http://v3.fal.media/one.png",
        "http://gateway.example/one.png",
        "https:///one.png",
        "https://[",
        "https://[::1",
        "https://host:port/one.png",
        "https://user:word@v3.fal.media/one.png",
        "https://gateway.example@evil.example/one.png",
        "https://gateway.example\\@evil.example/one.png",
        "https://gateway.example\\.evil.example/one.png",
        "https://v3.fal.media/one.png\r\nX-Evil: 1",
        "https://v3.fal\tmedia/one.png",
        "https://v3.fal.media/\ud800.png",
        "https://v3%2efal.media/one.png",
        "https://127.0.0.1/one.png",
        "https://127.1/one.png",
        "https://2130706433/one.png",
        "https://0x7f000001/one.png",
        "https://0x7f.1/one.png",
        "https://0177.0.0.1/one.png",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/one.png",
        "https://100.64.0.1/one.png",
        "https://0.0.0.0/one.png",
        "https://224.0.0.1/one.png",
        "https://255.255.255.255/one.png",
        "https://[::1]/one.png",
        "https://[::]/one.png",
        "https://[fe80::1%25eth0]/one.png",
        "https://[fd00::1]/one.png",
        "https://[::ffff:10.0.0.1]/one.png",
        "https://[::ffff:127.0.0.1]/one.png",
        "https://[::127.0.0.1]/one.png",
        "https://[64:ff9b::10.0.0.1]/one.png",
        "https://[2002:7f00:1::]/one.png",
        "http://127.0.0.1:8800/one.png",
    ],
)
async def test_anything_else_is_refused_before_a_connection(url: str) -> None:
    with pytest.raises(errors.QueueError, match="it was not fetched"):
        await _rule(checks=False).check_address(url)


@pytest.mark.parametrize("addresses", [(PRIVATE,), (PUBLIC, PRIVATE), ("::1",), ("no address",)])
async def test_a_name_that_leads_inside_is_refused(addresses: tuple[str, ...]) -> None:
    with pytest.raises(errors.QueueError, match="not public"):
        await _rule(BASE, *addresses).check_address("https://rebound.example/one.png")


@pytest.mark.parametrize(
    "peer", [(PRIVATE, 443), ("::1", 443, 0, 0), None, (), "10.0.0.1", (None,)]
)
def test_the_connected_address_is_checked_once_more(peer: object) -> None:
    """The name may have changed its mind since it was looked up."""
    with pytest.raises(errors.QueueError, match="not public"):
        _rule().check_connected(peer, "https://rebound.example/one.png")


def test_a_public_connection_passes() -> None:
    _rule().check_connected((PUBLIC, 443), "https://v3.fal.media/one.png")


async def test_only_the_configured_host_may_turn_out_to_be_inside() -> None:
    assert await _rule().check_address("https://gateway.example/one.png") is True
    assert await _rule().check_address("https://v3.fal.media/one.png") is False


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8800/a", "http://localhost:9/a", "https://127.0.0.1:9/a", "http://[::1]/a"],
)
async def test_a_base_on_this_machine_may_name_this_machine(url: str) -> None:
    await _rule(LOOPBACK, PRIVATE).check_address(url)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/a", "https://169.254.169.254/a", "http://evil.example/a"]
)
async def test_a_base_on_this_machine_opens_no_other(url: str) -> None:
    with pytest.raises(errors.QueueError):
        await _rule(LOOPBACK).check_address(url)


@pytest.mark.parametrize(
    "url", ["https://a..b/x", f"https://{'a' * 70}.example/x", "https://ä-.-ö/x"]
)
async def test_a_host_that_is_not_a_name_fails_at_the_connection_only(url: str) -> None:
    await http.PeerRule(BASE).check_address(url)


async def test_where_a_proxy_connects_names_are_left_to_it_but_numbers_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    rule = _rule(BASE, PRIVATE)

    assert await rule.check_address("https://v3.fal.media/one.png") is True  # the peer is the proxy

    with pytest.raises(errors.QueueError, match="not public"):
        await rule.check_address("https://0xa000001/one.png")


@given(st.text())
async def test_any_address_is_judged_in_our_words(url: str) -> None:
    for candidate in (url, f"https://{url}", f"https://v3.fal.media/{url}"):
        try:
            await _rule().check_address(candidate)
        except errors.QueueError:
            continue
        assert candidate.lower().startswith("https://")


@pytest.mark.parametrize(
    "address",
    [
        *("", "here", "1.2.3", "10.0.0.1", "fe80::1%eth0", "::", "2001::1"),
        *("::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::"),
    ],
)
def test_what_is_not_surely_public_is_not(address: str) -> None:
    assert not http.is_public(address)


def test_a_redirect_is_read_against_where_it_came_from() -> None:
    assert http.join("https://a.example/x/y", "../z") == "https://a.example/z"
    assert http.join("https://a.example/x", "//b.example/z") == "https://b.example/z"
    with pytest.raises(errors.QueueError, match="malformed"):
        http.join("https://a.example/x", "https://[")
