"""HTTP for the queue: the only module that imports httpx.

A client for each purpose, one rule. Submits use no kept connection, since a balancer that closes
one makes a paid POST fail ambiguously. Polls share a small pool. Streams spread over many, since
each holds a connection for as long as its job takes. Media go without key, cookies and content
coding. The key is added to a single request after its origin was checked, never to a client: httpx
sends what a client carries to any absolute address that it is given. Nothing follows a redirect
by itself.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from imagen_widget._client._lanes import Lanes
from imagen_widget._client._peers import PeerRule, join
from imagen_widget._protocol._wire import (
    MOST_PICTURE_BYTES,
    Answer,
    Call,
    Lost,
    NotSent,
    too_large,
    unpack,
)
from imagen_widget._settings._keys import mask_logs
from imagen_widget.errors import InvalidRequest, QueueError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from imagen_widget._settings._keys import Secret

MOST_ANSWER_BYTES = 8 * 1024 * 1024
MOST_RESULT_BYTES = 64 * 1024 * 1024  # four 2K pictures as data: addresses

_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
_MOST_POLLS = 20
_MOST_DOWNLOADS = 16
_MOST_STREAMS = 1000
_LANE_WIDTH = 4  # measured in _lanes
_MOST_HOPS = 3
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
    UnicodeError,  # hosts that are no host name
)


class Http:
    """Makes calls to one origin, and fetches pictures from anywhere that is public.

    Args:
        base_url: The configured base; only addresses below it get the key.
        scheme: The word before the key.
        key: The key, or None.
        transport: Stands in for the network, for the demo and for tests.
        peers: Which hosts pictures may come from.
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
        self._scheme = scheme
        self._key = key
        self._peers = peers or PeerRule(base_url, checks=transport is None)
        tls = httpx.create_ssl_context() if transport is None else True  # made once: it is slow
        self._submits = _client(transport, tls, kept=0)
        make = partial(_client, transport, tls, kept=_LANE_WIDTH)
        self._polls = Lanes(make, width=_LANE_WIDTH, most=_MOST_POLLS)
        self._media = Lanes(make, width=_LANE_WIDTH, most=_MOST_DOWNLOADS)
        self._streams = Lanes(make, width=_LANE_WIDTH, most=_most_streams())
        if key is not None:
            mask_logs(key, _LOGGERS)

    async def close(self) -> None:
        """Close all connections."""
        await self._submits.aclose()
        for lanes in (self._polls, self._media, self._streams):
            for client in lanes.clients:
                await client.aclose()

    async def call(
        self, call: Call, *, seconds: float, most_bytes: int = MOST_ANSWER_BYTES
    ) -> Answer:
        """Make a call with the key and return the whole answer.

        Args:
            call: What to ask.
            seconds: The deadline for everything together; a dripping server ends it too.
            most_bytes: The largest body that is read.

        Raises:
            NotSent: No connection was made.
            Lost: The connection broke, the deadline passed, or the body is too large.
            InvalidRequest: The call is not for the configured address; nothing was sent.
        """
        try:
            with anyio.fail_after(seconds):
                if call.method == "POST":  # whoever pays waits before the journal says "submitting"
                    return await self._exchange(self._submits, call, most_bytes)
                async with self._polls.turn() as client:
                    return await self._exchange(client, call, most_bytes)
        except _TROUBLES as error:
            failed = _named(error, seconds)
        raise failed  # outside the handler: httpx's error holds the request, and that the key

    @asynccontextmanager
    async def stream(self, call: Call, *, seconds: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an event stream with the key and give its chunks.

        Args:
            call: What to ask.
            seconds: How long to wait for the answer to begin; later, for each chunk.

        Raises:
            Full: There are as many streams as there may be.
            NotSent: No connection was made.
            Lost: The connection broke, fell silent, or the answer is no event stream.
            InvalidRequest: The call is not for the configured address; nothing was sent.
        """
        try:
            with self._streams.lend() as client:
                with anyio.fail_after(seconds):
                    response = await client.send(self._signed(client, call), stream=True)
                try:
                    kind = response.headers.get("content-type", "")
                    if response.status_code != 200 or "text/event-stream" not in kind:  # noqa: PLR2004
                        message = f"no event stream (HTTP {response.status_code})"
                        raise Lost(message)
                    yield response.aiter_raw()
                finally:
                    await response.aclose()
        except _TROUBLES as error:
            raise _named(error, seconds) from None

    async def fetch(
        self, url: str, *, seconds: float, most_bytes: int = MOST_PICTURE_BYTES
    ) -> Answer:
        """Fetch a picture without key, cookies or content coding; redirects are checked hop by hop.

        Raises:
            QueueError: The address is not allowed: no https, or not a public host.
            NotSent: No connection was made.
            Lost: The connection broke, the deadline passed, or the body is too large.
        """
        try:
            async with self._media.turn() as client:
                with anyio.fail_after(seconds):
                    return await self._follow(client, url, most_bytes)
        except _TROUBLES as error:
            failed = _named(error, seconds)
        raise failed

    def without_key(self, data: bytes) -> bytes:
        """Blank out the key where a server echoes it, so that no error or log can carry it on."""
        return data if self._key is None else self._key.blank_out(data)

    async def _exchange(self, client: httpx.AsyncClient, call: Call, most_bytes: int) -> Answer:
        response = await client.send(self._signed(client, call), stream=True)
        try:
            body = await _read(response, most_bytes)
            coding = response.headers.get("content-encoding", "")
            body = unpack(body, coding, most_bytes=most_bytes)
        finally:
            await response.aclose()
        headers = {
            name.lower(): self.without_key(value.encode()).decode()
            for name, value in response.headers.items()
        }
        return Answer(response.status_code, headers, self.without_key(body))

    async def _follow(self, client: httpx.AsyncClient, url: str, most_bytes: int) -> Answer:
        for _ in range(_MOST_HOPS + 1):
            await self._peers.check_address(url)
            answer = await self._fetch_once(client, url, most_bytes)
            target = answer.headers.get("location")
            if not (300 <= answer.status < 400 and target):  # noqa: PLR2004 - the 3xx class
                return answer
            url = join(url, target)
        raise QueueError(
            "The picture's address leads from one address to the next without end.",
            remedy="Fetch it again with %imagen_resume; the job itself is not lost.",
        )

    async def _fetch_once(self, client: httpx.AsyncClient, url: str, most_bytes: int) -> Answer:
        request = client.build_request("GET", url, headers={"accept": "image/*"})
        response = await client.send(request, stream=True)
        try:
            stream = response.extensions.get("network_stream")
            peer = None if stream is None else stream.get_extra_info("server_addr")
            self._peers.check_connected(peer, url)
            if "content-encoding" in response.headers:
                message = "the picture came compressed, which was not asked for"
                raise Lost(message)
            body = await _read(response, most_bytes)
        finally:
            await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, body)

    def _signed(self, client: httpx.AsyncClient, call: Call) -> httpx.Request:
        """Return the request with the key, after a look at where httpx would really send it."""
        headers = {"accept": call.accept}
        if call.body is not None:
            headers["content-type"] = "application/json"
        request = client.build_request(call.method, call.url, content=call.body, headers=headers)
        below = request.url.raw_path.startswith(self._base.raw_path.rstrip(b"/") + b"/")
        if _origin(request.url) != _origin(self._base) or not below or request.url.userinfo:
            raise InvalidRequest(
                "ticket: the job is not of this client's address; nothing was sent.",
                remedy="Make the client with the provider and base_url of the ticket.",
                field="ticket",
            )
        if self._key is not None:
            request.headers["authorization"] = f"{self._scheme} {self._key.reveal()}"
        return request


def app_transport(app: Any) -> httpx.AsyncBaseTransport:  # noqa: ANN401 - any ASGI application
    """Return a transport that calls an ASGI application in this process."""
    return httpx.ASGITransport(app=app, raise_app_exceptions=False)


def _client(
    transport: httpx.AsyncBaseTransport | None,
    tls: ssl.SSLContext | bool,  # noqa: FBT001 - httpx's own type for verify
    *,
    kept: int,
) -> httpx.AsyncClient:
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


def _most_streams() -> int:
    """Return how many streams may be open: a quarter of the open files is left to all others."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return _MOST_STREAMS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_STREAMS if soft == resource.RLIM_INFINITY else min(_MOST_STREAMS, soft * 3 // 4)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _named(error: Exception, seconds: float) -> NotSent | Lost:
    """Turn httpx's many exceptions into the two that matter, without their requests."""
    match error:
        case NotSent() | Lost():
            return type(error)(*error.args)
        case TimeoutError():
            return Lost(f"no whole answer within {seconds:.3g} s")
        case (
            httpx.ConnectError()
            | httpx.ConnectTimeout()
            | httpx.PoolTimeout()
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
    words = {
        "ConnectTimeout": "no connection within the time limit",
        "ReadTimeout": "no answer within the time limit",
        "WriteTimeout": "the request could not be sent in time",
        "RemoteProtocolError": "the connection was closed in the middle",
        "ReadError": "the connection broke",
        "WriteError": "the connection broke",
        "ConnectError": "no connection",
    }
    name = type(error).__name__
    text = str(error).strip()
    plain = words.get(name, name)
    return f"{plain} ({text})" if text and name == "ConnectError" else plain


async def _read(response: httpx.Response, most_bytes: int) -> bytes:
    """Read the body as sent, counting before keeping: decoders hand over 67 MB at a time."""
    chunks = bytearray()
    async for chunk in response.aiter_raw():
        chunks += chunk
        if len(chunks) > most_bytes:
            raise Lost(too_large(most_bytes))
    return bytes(chunks)
