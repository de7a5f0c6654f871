"""HTTP for the providers: the only module that imports httpx.

A client for each purpose, one rule. Submits use no kept connection, since a balancer that closes
one makes a paid POST fail ambiguously. Polls share a small pool. Streams spread over many, since
each holds a connection for as long as its job takes. Pictures and schemas go without key, cookies
and content coding. The key is added to a single request after its origin was checked, never to a
client: httpx sends what a client carries to any absolute address that it is given. Nothing follows
a redirect by itself.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeVar

import anyio
import httpx
from anyio import to_thread

from imagen_widget._providers.answers import (
    MAX_ANSWER_BYTES,
    MAX_PICTURE_BYTES,
    Answer,
    Call,
    Lost,
    NotSent,
    too_large,
    unpack,
)
from imagen_widget._providers.lanes import Lanes
from imagen_widget._providers.peers import PeerRule, is_same_site, join
from imagen_widget._settings import Secret, check_network_environment, mask_logs
from imagen_widget.errors import InvalidRequest, QueueError

T = TypeVar("T")

_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
_MAX_POLLS = 20
_MAX_DOWNLOADS = 16
_MAX_STREAMS = 1000
_LANE_WIDTH = 4  # measured in lanes.py
_MAX_HOPS = 3
_MAX_PART_BYTES = 64 * 1024  # of a broken answer, to look for the job's id in
_LARGE_BODY_BYTES = 256 * 1024  # what is larger is unpacked and parsed beside the loop
_LOOPBACK = ("all://localhost", "all://127.0.0.1", "all://[::1]")
_AGENT = "imagen_widget"
_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")

_TROUBLES = (
    NotSent,
    Lost,
    httpx.HTTPError,
    httpx.StreamError,
    httpx.InvalidURL,
    TimeoutError,
    UnicodeError,  # hosts that are not a host name
)
_WORDS = {
    "ConnectTimeout": "no connection within the time limit",
    "ReadTimeout": "no answer within the time limit",
    "WriteTimeout": "the request could not be sent in time",
    "RemoteProtocolError": "the connection was closed in the middle",
    "ReadError": "the connection broke",
    "WriteError": "the connection broke",
    "ConnectError": "no connection",
    "ProxyError": "the proxy refused",
}


class _Progress:
    """How far one call came: whether it was sent, and what came back."""

    def __init__(self) -> None:
        self.sent = True
        self.response: httpx.Response | None = None
        self.body = bytearray()

    async def trace(self, name: str, info: dict[str, Any]) -> None:
        """Note that the request is being sent; httpcore calls this at each of its steps."""
        if name.endswith("send_request_headers.started"):
            method = getattr(info.get("request"), "method", b"")
            self.sent = self.sent or method != b"CONNECT"  # which only speaks to the proxy


class Http:
    """Makes calls to one origin, and fetches pictures from where they may come from.

    Args:
        base_url: The configured base; only addresses below it get the key.
        scheme: The word before the key; may be empty.
        key: The key, or None.
        transport: Stands in for the network, for the demo and for tests.
        peers: From where pictures may come; public hosts by default.
    """

    def __init__(
        self,
        base_url: str,
        *,
        scheme: str,
        key: Secret | None,
        transport: httpx.AsyncBaseTransport | None = None,
        peers: PeerRule | None = None,
    ) -> None:
        self._base = httpx.URL(base_url)
        self._scheme, self._key = scheme, key
        self._peers = peers or PeerRule(base_url, checks=transport is None)
        self._is_network = transport is None
        make = _client_maker(transport)
        kept = partial(make, kept=_LANE_WIDTH)
        self._submits = Lanes(partial(make, kept=0), width=_MAX_STREAMS, max_calls=_MAX_STREAMS)
        self._polls = Lanes(kept, width=_LANE_WIDTH, max_calls=_MAX_POLLS)
        self._media = Lanes(kept, width=_LANE_WIDTH, max_calls=_MAX_DOWNLOADS)
        self._streams = Lanes(kept, width=_LANE_WIDTH, max_calls=_max_streams())
        if key is not None:
            mask_logs(key, _LOGGERS)

    async def close(self) -> None:
        """Close all connections."""
        for lanes in (self._submits, self._polls, self._media, self._streams):
            for client in lanes.clients:
                await client.aclose()

    # ----------------------------------------------------------------------- calls with the key

    async def call(
        self,
        call: Call,
        *,
        seconds: float,
        max_bytes: int = MAX_ANSWER_BYTES,
        silence_seconds: float = _SILENCE_SECONDS,
    ) -> Answer:
        """Make a call with the key and return the whole answer.

        Args:
            call: What to ask.
            seconds: The deadline for everything together, also against a server that drips.
            max_bytes: The largest body that is read.
            silence_seconds: How long the server may say nothing.

        Raises:
            NotSent: No connection was made.
            Lost: The connection broke, the deadline passed, or the body is too large.
            InvalidRequest: The call is not for the configured address; nothing was sent.
        """
        progress = _Progress()
        lanes = self._submits if call.method == "POST" else self._polls
        try:
            with anyio.fail_after(seconds):
                async with lanes.turn() as client:
                    await self._exchange(client, call, progress, max_bytes, silence_seconds)
                finish = partial(self._finish, progress, max_bytes)
                return await _beside_the_loop(len(progress.body), finish)
        except _TROUBLES as error:
            failed = _named(error, seconds, sent=progress.sent)
        if isinstance(failed, Lost) and progress.response is not None:
            failed.part = self._answer(progress.response, bytes(progress.body[:_MAX_PART_BYTES]))
        del progress  # as httpx's errors, it holds the request, and that the key
        raise failed

    @asynccontextmanager
    async def stream(self, call: Call, *, seconds: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an event stream with the key and give its chunks, if it begins within `seconds`.

        Raises:
            Full: There are as many streams as there may be.
            NotSent: No connection was made.
            Lost: The connection broke, or the answer is not an event stream.
            InvalidRequest: The call is not for the configured address; nothing was sent.
        """
        try:
            with self._streams.lend() as client:
                with anyio.fail_after(seconds):
                    request = self._signed(client, call, _SILENCE_SECONDS)
                    response = await client.send(request, stream=True)
                try:
                    kind = response.headers.get("content-type", "")
                    if response.status_code != 200 or "text/event-stream" not in kind:
                        raise Lost(f"not an event stream (HTTP {response.status_code})")
                    yield response.aiter_raw()
                finally:
                    await response.aclose()
        except _TROUBLES as error:
            raise _named(error, seconds) from None

    def without_key(self, data: bytes) -> bytes:
        """Blank out the key if a server echoes it, so that no error or log can carry it on."""
        return data if self._key is None else self._key.blank_out(data)

    async def _exchange(
        self,
        client: httpx.AsyncClient,
        call: Call,
        progress: _Progress,
        max_bytes: int,
        silence_seconds: float,
    ) -> None:
        request = self._signed(client, call, silence_seconds)
        if self._is_network and call.method == "POST":  # others may be sent as often as needed
            progress.sent = False
            request.extensions["trace"] = progress.trace
        progress.response = response = await client.send(request, stream=True)
        try:
            await _read(response, progress.body, max_bytes)
        finally:
            await response.aclose()

    def _finish(self, progress: _Progress, max_bytes: int) -> Answer:
        assert progress.response is not None
        answer = self._answer(progress.response, bytes(progress.body), max_bytes=max_bytes)
        if len(answer.body) > _LARGE_BODY_BYTES:
            _ = answer.json  # kept for those who ask on the loop
        return answer

    def _answer(self, response: httpx.Response, body: bytes, *, max_bytes: int = 0) -> Answer:
        """Return the answer without the key; `max_bytes` if it is whole, and so can be unpacked."""
        names = [name.lower() for name in response.headers]
        values = self.without_key("\n".join(response.headers.values()).encode()).decode()
        headers = dict(zip(names, values.split("\n"), strict=False))
        coding = headers.get("content-encoding", "")
        body = unpack(body, coding, max_bytes=max_bytes) if max_bytes else body
        return Answer(response.status_code, headers, self.without_key(body))

    def _signed(
        self, client: httpx.AsyncClient, call: Call, silence_seconds: float
    ) -> httpx.Request:
        """Return the request with the key, after a look at where httpx would really send it."""
        headers = {"accept": call.accept, **dict(call.headers)}
        if call.body is not None:
            headers["content-type"] = call.content_type
        request = client.build_request(
            call.method,
            call.url,
            content=call.body,
            headers=headers,
            timeout=httpx.Timeout(silence_seconds, connect=_CONNECT_SECONDS, pool=None),
        )
        below = request.url.raw_path.startswith(self._base.raw_path.rstrip(b"/") + b"/")
        if _origin(request.url) != _origin(self._base) or not below or request.url.userinfo:
            raise InvalidRequest(
                "ticket: the job is not of this client's address; nothing was sent.",
                remedy="Make the client with the provider and base_url of the ticket.",
                field="ticket",
            )
        if self._key is not None:
            request.headers["authorization"] = f"{self._scheme} {self._key.reveal()}".lstrip()
        return request

    # -------------------------------------------------------------------- reading without the key

    async def fetch(
        self, url: str, *, seconds: float, max_bytes: int = MAX_PICTURE_BYTES
    ) -> Answer:
        """Fetch a picture without key, cookies or content coding; redirects are checked hop by hop.

        Raises:
            QueueError: The address is not allowed: not https, or not a public host.
            NotSent: No connection was made.
            Lost: The connection broke, the deadline passed, or the body is too large.
        """
        return await self._keyless(url, "image/*", seconds, max_bytes)

    async def read(self, url: str, *, seconds: float, max_bytes: int) -> Answer:
        """Read a public document without key and cookies; redirects stay on the same site.

        It raises what `fetch` does.
        """
        return await self._keyless(url, "application/json", seconds, max_bytes)

    async def _keyless(self, start: str, accept: str, seconds: float, max_bytes: int) -> Answer:
        url, is_picture = start, accept == "image/*"
        try:
            with anyio.fail_after(seconds):
                async with self._media.turn() as client:
                    for _ in range(_MAX_HOPS + 1):
                        if is_picture:
                            await self._peers.check_address(url)
                        elif not is_same_site(start, url):
                            raise QueueError("The document's address leads to another site.")
                        request = client.build_request("GET", url, headers={"accept": accept})
                        response = await client.send(request, stream=True)
                        if is_picture:
                            await self._check_peer(response, url)
                        answer = await _whole(response, max_bytes)
                        target = answer.headers.get("location")
                        if not (300 <= answer.status < 400 and target):
                            return answer
                        url = join(url, target)
            raise QueueError(
                "The address leads from one address to the next without end.",
                remedy="Fetch it again with %imagen_resume; the job itself is not lost.",
            )
        except _TROUBLES as error:
            failed = _named(error, seconds)
        raise failed

    async def _check_peer(self, response: httpx.Response, url: str) -> None:
        """Check the address that the connection really has before the body is read."""
        stream = response.extensions.get("network_stream")
        try:
            self._peers.check_connected(
                None if stream is None else stream.get_extra_info("server_addr"), url
            )
        except QueueError:
            await response.aclose()
            raise


def app_transport(app: Any) -> httpx.AsyncBaseTransport:
    """Return a transport that calls an ASGI application in this process."""
    return httpx.ASGITransport(app=app, raise_app_exceptions=False)


# ------------------------------------------------------------------------------------ small parts


def _client_maker(
    transport: httpx.AsyncBaseTransport | None,
) -> Callable[..., httpx.AsyncClient]:
    """Return what makes clients that differ in how many connections they keep.

    Raises:
        ImagenError: The environment names a proxy or a certificate file that cannot be used.
    """
    tls: ssl.SSLContext | bool = True
    if transport is None:
        check_network_environment()
        tls = httpx.create_ssl_context()  # made once: it is slow

    def make(*, kept: int) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=transport,
            verify=tls,
            follow_redirects=False,
            # What goes to this machine in cleartext must not pass through a proxy elsewhere.
            mounts=dict.fromkeys(_LOOPBACK),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"user-agent": _AGENT, "accept-encoding": "identity"},
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=kept, keepalive_expiry=30.0
            ),
            timeout=httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS, pool=None),
        )

    return make


def _max_streams() -> int:
    """Return how many streams may be open: a quarter of the open files is left to all others."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return _MAX_STREAMS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_STREAMS if soft == resource.RLIM_INFINITY else min(_MAX_STREAMS, soft * 3 // 4)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _named(error: Exception, seconds: float, *, sent: bool = True) -> NotSent | Lost:
    """Turn httpx's many exceptions into the two that matter, without their requests."""
    match error:
        case NotSent() | Lost():
            return type(error)(*error.args)
        case TimeoutError():
            what = "whole answer" if sent else "connection"
            return (Lost if sent else NotSent)(f"no {what} within {seconds:.3g} s")
        case (
            httpx.ConnectError()
            | httpx.ConnectTimeout()
            | httpx.PoolTimeout()
            | httpx.ProxyError()
            | httpx.UnsupportedProtocol()
            | httpx.LocalProtocolError()
            | httpx.InvalidURL()
            | UnicodeError()
        ):
            return NotSent(_reason(error))
        case _:
            return Lost(_reason(error))


def _reason(error: Exception) -> str:
    """Return what went wrong in plain words; httpx's own texts are often empty."""
    name = type(error).__name__
    text = str(error).strip()
    plain = _WORDS.get(name, name)
    return f"{plain} ({text})" if text and name in {"ConnectError", "ProxyError"} else plain


async def _read(response: httpx.Response, body: bytearray, max_bytes: int) -> None:
    """Read the body as sent, counting as it grows: decoders hand over 67 MB at a time."""
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > max_bytes:
            del body[_MAX_PART_BYTES:]  # at once: a traceback may hold it for a while
            raise Lost(too_large(max_bytes))


async def _whole(response: httpx.Response, max_bytes: int) -> Answer:
    raw = bytearray()
    try:
        await _read(response, raw, max_bytes)
    finally:
        await response.aclose()
    headers = {name.lower(): value for name, value in response.headers.items()}
    coding = headers.get("content-encoding", "")
    unpacking = partial(unpack, bytes(raw), coding, max_bytes=max_bytes)
    body = await _beside_the_loop(len(raw) if coding else 0, unpacking)
    return Answer(response.status_code, headers, body)


async def _beside_the_loop(size: int, work: Callable[[], T]) -> T:
    """Do work on so many bytes in a thread if it would hold the loop up."""
    return work() if size <= _LARGE_BODY_BYTES else await to_thread.run_sync(work)
