"""HTTP for the providers: the only module that imports httpx.

Clients for each purpose, one rule. Submits use no kept connection, since a balancer that closes one
makes a paid POST fail ambiguously. Pictures and schemas go without key, cookies and content coding.
The key is added to a single request after its origin was checked, never to a client: httpx sends
what a client carries to any absolute address that it is given. Nothing follows a redirect by
itself.
"""

import ipaddress
import os
import socket
import ssl
import urllib.request
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import anyio
import httpx
from anyio import to_thread

from imagen_widget import _picture
from imagen_widget._providers.answers import MAX_ANSWER_BYTES, Answer, Call, Lost, NotSent
from imagen_widget._settings import LOOPBACK, Secret, mask_logs
from imagen_widget.errors import InvalidRequest, QueueError, invalid

_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
_MAX_STREAMS = 1000
with suppress(ImportError):  # on Windows, which has no such limit
    import resource

    _max_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _max_files != resource.RLIM_INFINITY:  # a quarter is left to all others
        _MAX_STREAMS = min(_MAX_STREAMS, _max_files * 3 // 4)
_MAX_CALLS = {"submits": 20, "polls": 20, "streams": _MAX_STREAMS, "media": 16}  # at a time
_MAX_HOPS = 3
_MAX_PICTURE_BYTES = 64 * 1024 * 1024
_MAX_DOCUMENT_BYTES = 1024 * 1024
_MAX_PART_BYTES = 64 * 1024  # of a broken answer, to look for the job's id in
_LARGE_BODY_BYTES = 256 * 1024  # what is larger is unpacked and parsed beside the loop
_UNPACKED_AT_ONCE_BYTES = 4096  # at the worst, a thousand times as much comes of it
_GZIP = b"\x1f\x8b"
_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")
_WRAPPING = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
_NOT_PUBLIC = "leads to a machine that is not public"

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
_NO_ADDRESS = (httpx.InvalidURL, UnicodeError)  # here, or where a redirect leads
# Of TLS and of time limits some are OSErrors, as they come from below httpx.
_TROUBLES = (NotSent, Lost, httpx.HTTPError, httpx.StreamError, OSError, *_NO_ADDRESS)
_PROXIES = {"all_proxy", "https_proxy", "http_proxy"}
_TLS_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
_WORDS = {  # httpx's own texts are often empty
    "ConnectTimeout": "no connection within the time limit",
    "ReadTimeout": "no answer within the time limit",
    "WriteTimeout": "the request could not be sent in time",
    "RemoteProtocolError": "the connection was closed in the middle",
    "ReadError": "the connection broke",
    "WriteError": "the connection broke",
    "SSLError": "the connection broke",
    "ConnectError": "no connection",
    "ProxyError": "the proxy refused",
}


class Http:
    """Makes calls below one address with its key, and fetches from others without.

    `media_hosts` is `public`, `private` for any host, or the names of the only hosts that pictures
    may come from. A `transport`, or an ASGI application, stands in for the network.
    """

    def __init__(
        self,
        base_url: str,
        *,
        scheme: str,
        key: Secret | None,
        transport: Any = None,
        media_hosts: str | tuple[str, ...] = "public",
    ) -> None:
        self._base = httpx.URL(base_url)
        self._scheme, self._key = scheme, key
        self._is_network = transport is None
        self.answers = 0  # to calls, so far
        if callable(transport) and not isinstance(transport, httpx.AsyncBaseTransport):
            transport = httpx.ASGITransport(app=transport, raise_app_exceptions=False)
        self._peers = PeerRule(base_url, hosts=media_hosts, checks=self._is_network)
        self._new_client = partial(
            httpx.AsyncClient,
            transport=transport,
            verify=_trusted() if self._is_network else True,
            follow_redirects=False,
            # What goes to this machine in cleartext must not pass through a proxy elsewhere.
            mounts=dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]")),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"user-agent": "imagen_widget", "accept-encoding": "identity"},
            timeout=httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS, pool=None),
        )
        self._clients: list[httpx.AsyncClient] = []
        self._idle: defaultdict[str, list[httpx.AsyncClient]] = defaultdict(list)
        free = map(partial(anyio.Semaphore, fast_acquire=True), _MAX_CALLS.values())
        self._free = dict(zip(_MAX_CALLS, free, strict=True))
        if key is not None:
            mask_logs(key, _LOGGERS)

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()

    @asynccontextmanager
    async def _lend(self, kind: str) -> AsyncIterator[httpx.AsyncClient]:
        """Lend a client to one call as soon as there may be one more of its kind.

        A client has one call at a time, since its pool looks at all connections and waiting
        requests at each step: a thousand in one pool cost a million looks. The last that was given
        back is lent first, so that connections are used again; tests/bench/RESULTS.md measures it.
        """
        idle = self._idle[kind]
        async with self._free[kind]:
            if not idle:
                kept = 0 if kind == "submits" else 1
                limits = httpx.Limits(max_keepalive_connections=kept, keepalive_expiry=30.0)
                idle.append(self._new_client(limits=limits))
                self._clients += idle
            client = idle.pop()
            try:
                yield client
            finally:
                idle.append(client)

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

        `seconds` is the deadline for everything together, also against a server that drips;
        `silence_seconds` is how long it may say nothing. It raises NotSent, Lost, or InvalidRequest
        if the call is not for the configured address.
        """
        is_submit = call.method == "POST"  # others may be sent as often as needed
        exchange = _Exchange(max_bytes, self._key, traced=is_submit and self._is_network)
        try:
            with anyio.fail_after(seconds):
                async with self._lend("submits" if is_submit else "polls") as client:
                    answer = await exchange.run(client, self._signed(client, call, silence_seconds))
                    self.answers += 1
                    return answer
        except _TROUBLES as error:
            failed = _named(error, seconds, sent=exchange.sent)
        if isinstance(failed, Lost) and exchange.response is not None:
            exchange.body = exchange.body[:_MAX_PART_BYTES]
            failed.part = exchange.answer(whole=False)
        del exchange  # as httpx's errors, it holds the request, and that the key
        raise failed

    @asynccontextmanager
    async def stream(self, call: Call, *, seconds: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an event stream with the key and give its chunks, if it begins within `seconds`.

        It raises what `call` does, and Lost if there are as many streams as there may be.
        """
        try:
            if self._free["streams"].value == 0:
                raise Lost("the limit of open event streams is reached")
            async with self._lend("streams") as client:
                with anyio.fail_after(seconds):
                    request = self._signed(client, call, _SILENCE_SECONDS)
                    response = await client.send(request, stream=True)
                try:
                    kind = response.headers.get("content-type", "")
                    if response.status_code != 200 or "text/event-stream" not in kind:
                        raise Lost(f"not an event stream (HTTP {response.status_code})")
                    is_read = response.is_stream_consumed
                    yield response.aiter_bytes() if is_read else response.aiter_raw()
                finally:
                    await response.aclose()
        except _TROUBLES as error:
            raise _named(error, seconds) from None

    def without_key(self, data: bytes) -> bytes:
        """Blank out the key if a server echoes it, so that no error or log can carry it on."""
        return data if self._key is None else self._key.blank_out(data)

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
        url, base = request.url, self._base
        same = (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)
        below = url.raw_path.startswith(base.raw_path.rstrip(b"/") + b"/")
        if not same or not below or url.userinfo:
            what = "the job was not submitted at this client's address; nothing was sent"
            raise invalid("ticket", what, "Make the client with its provider and base_url.")
        if self._key is not None:
            request.headers["authorization"] = f"{self._scheme} {self._key.reveal()}".lstrip()
        return request

    # -------------------------------------------------------------------- reading without the key

    async def fetch(self, url: str, *, seconds: float, document: bool = False) -> Answer:
        """Fetch a picture without key, cookies or content coding; redirects are checked hop by hop.

        A `document` is smaller, and redirects stay on its site. It raises what `call` does, and
        QueueError if the address is not allowed.
        """
        start, accept = url, "application/json" if document else "image/*"
        max_bytes = _MAX_DOCUMENT_BYTES if document else _MAX_PICTURE_BYTES
        try:
            with anyio.fail_after(seconds):
                async with self._lend("media") as client:
                    for _ in range(_MAX_HOPS + 1):
                        exchange = _Exchange(max_bytes, is_picture=not document)
                        if document and not is_same_site(start, url):
                            raise QueueError("The document's address leads to another site.")
                        if not document and not await self._peers.check_address(url):
                            exchange.check = partial(self._peers.check_connected, url=url)
                        request = client.build_request("GET", url, headers={"accept": accept})
                        answer = await exchange.run(client, request)
                        target = answer.headers.get("location")
                        if not (300 <= answer.status < 400 and target):
                            return answer
                        url = join(url, target)
            raise QueueError(
                "The address redirects too often.",
                remedy="Fetch it again with %imagen_resume; the job itself is not lost.",
            )
        except _TROUBLES as error:
            failed = _named(error, seconds)
        raise failed


def multipart(
    fields: Mapping[str, Any], files: list[tuple[str, tuple[str, bytes, str]]]
) -> tuple[bytes, str]:
    """Return a form as a body, and its content type; a file is its name, bytes and type."""
    request = httpx.Request("POST", "http://form", data=fields, files=files)
    return request.read(), request.headers["content-type"]


@dataclass(repr=False)
class _Exchange:
    """One request on its way: whether it was sent, and what came back so far.

    `sent` is None once it is not known; if it is `traced`, the connection says so. `check` gets the
    connected address before the body is read.
    """

    max_bytes: int
    key: Secret | None = None
    traced: bool = False
    sent: bool | None = False
    is_picture: bool = False
    check: Callable[[object], None] | None = None
    response: httpx.Response | None = None
    body: bytes = b""

    async def run(self, client: httpx.AsyncClient, request: httpx.Request) -> Answer:
        """Send the request and return the answer, which is unpacked in a thread if it is large."""
        if self.traced:
            request.extensions["trace"] = self._trace
        else:
            self.sent = None
        self.response = response = await client.send(request, stream=True)
        chunks = response.aiter_raw()  # decoders hand over 67 MB at a time
        if response.is_stream_consumed:  # a transport has read it, and unpacked it too
            response.headers.pop("content-encoding", None)
            chunks = response.aiter_bytes()
        pieces: list[bytes] = []
        size = 0
        try:
            if self.check is not None:
                stream = response.extensions.get("network_stream")
                self.check(None if stream is None else stream.get_extra_info("server_addr"))
            async for piece in chunks:
                pieces.append(piece)
                size += len(piece)
                if size > self.max_bytes:
                    raise Lost(_too_large(self.max_bytes))
        except BaseException:
            while size > _MAX_PART_BYTES and len(pieces) > 1:
                size -= len(pieces.pop())  # at once: a traceback may hold them for a while
            raise
        finally:
            self.body = b"".join(pieces)  # copied once
            await response.aclose()
        del pieces
        if len(self.body) <= _LARGE_BODY_BYTES or (self.is_picture and self.body[:2] != _GZIP):
            return self.answer()
        return await to_thread.run_sync(self.answer)

    async def _trace(self, name: str, info: dict[str, Any]) -> None:  # called at each step
        if name.endswith("send_request_headers.started"):
            method = getattr(info.get("request"), "method", b"")
            self.sent = self.sent or method != b"CONNECT"  # which only speaks to the proxy

    def answer(self, *, whole: bool = True) -> Answer:
        """Return what came back; what is not whole cannot be unpacked."""
        assert self.response is not None
        headers = dict(self.response.headers.items())  # names in lower case
        body, coding = self.body, headers.get("content-encoding", "")
        if whole and (coding or body.startswith(_GZIP)):  # although it was asked not to
            body = unpack(body, coding, max_bytes=self.max_bytes)
        if self.key is not None:
            values = self.key.blank_out("\n".join(headers.values()).encode()).decode().split("\n")
            headers, body = dict(zip(headers, values, strict=False)), self.key.blank_out(body)
        answer = Answer(self.response.status_code, headers, body)
        if not self.is_picture and len(body) > _LARGE_BODY_BYTES:
            _ = answer.value  # kept for those who ask on the loop
        return answer


def _named(error: Exception, seconds: float, *, sent: bool | None = None) -> NotSent | Lost:
    """Turn httpx's many exceptions into the two that matter, without their requests."""
    if isinstance(error, NotSent | Lost):
        return type(error)(*error.args)
    if isinstance(error, TimeoutError):
        kind, what = (NotSent, "connection") if sent is False else (Lost, "whole answer")
        return kind(f"no {what} within {round(seconds, 1):g} s")
    name, text = type(error).__name__, str(error).strip()
    reason = _WORDS.get(name, name)
    if text and name in {"ConnectError", "ProxyError"}:
        reason = f"{reason} ({text})"
    if isinstance(error, _NO_ADDRESS):  # httpx reads a redirect's unasked
        reason = "the address, or where it redirects, is not valid"
        return NotSent(reason) if sent is False else Lost(reason)
    return Lost(reason) if sent or not isinstance(error, _NEVER_SENT) else NotSent(reason)


# ---------------------------------------------------------------------------------------- packing


def unpack(body: bytes, coding: str, *, max_bytes: int) -> bytes:
    """Unpack what a server compressed although it was asked not to.

    A coding that is not known, and one that the bytes do not have, leave the body as it is: servers
    name storage formats and character sets there. It raises Lost for what is broken, cut short, or
    larger than `max_bytes`.
    """
    for name in (*reversed(coding.lower().split(",")), "gzip"):  # which some forget to name
        is_deflate = name.strip() == "deflate"
        if is_deflate:
            packed = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
        else:
            packed = name.strip() in {"gzip", "x-gzip"} and body.startswith(_GZIP)
        if packed:
            body = _unpack_once(body, zlib.MAX_WBITS | 32, max_bytes)
        elif is_deflate and body[:1] not in b"{[<" and _picture.sniff(body) == _picture.UNREADABLE:
            with suppress(Lost):  # some leave out its header
                body = _unpack_once(body, -zlib.MAX_WBITS, max_bytes)
    return body


def _unpack_once(body: bytes, wbits: int, max_bytes: int) -> bytes:
    unpacker, unpacked, view = zlib.decompressobj(wbits), bytearray(), memoryview(body)
    for start in range(0, len(body), _UNPACKED_AT_ONCE_BYTES):
        try:
            unpacked += unpacker.decompress(view[start : start + _UNPACKED_AT_ONCE_BYTES])
        except zlib.error:
            raise Lost("the answer's compression is broken") from None
        if len(unpacked) > max_bytes:
            unpacked.clear()  # at once: a traceback may hold them for a while
            raise Lost(_too_large(max_bytes))
        if unpacker.eof:
            return bytes(unpacked)
    raise Lost("the answer was cut short")


def _too_large(max_bytes: int) -> str:
    return f"the answer is larger than {max_bytes // 1024 // 1024} MB"


# -------------------------------------------------------------- which hosts a picture may come from


async def _resolve(host: str, port: int) -> list[str]:
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@dataclass
class PeerRule:
    """Public hosts over https, and the configured host itself, whatever it is.

    An address in a server's answer must not become a way to reach machines inside the network.
    Names are checked before a connection is made, and the connected address once more before the
    body is read, so that a name which changes in between does not help.
    """

    base_url: str  # an address of the configured host
    hosts: str | tuple[str, ...] = "public"  # `private` for any host, or the only hosts
    checks: bool = True  # False if no network is used, so that no peer can be seen
    resolve: Callable[[str, int], Awaitable[list[str]]] = _resolve  # the addresses of a host

    async def check_address(self, url: str) -> bool:
        """Raise QueueError for an address that is not allowed, before anything is sent there.

        Return True if the connected address need not be checked once more.
        """
        own = _place(self.base_url)
        try:
            scheme, host, port = place = _place(url)
        except ValueError:
            raise _refused("is malformed") from None
        here = own[1] in LOOPBACK and host in LOOPBACK  # this machine may name itself
        if place == own or (here and scheme in {"http", "https"}):
            return True
        if not host or scheme not in {"https", "http"}:
            raise _refused("is not an https address")
        if self.hosts and not isinstance(self.hosts, str):
            if any(host == name or host.endswith(f".{name}") for name in self.hosts):
                return True
            raise self._not_allowed(host, "is not on a host that IMAGEN_MEDIA_HOSTS names")
        public = await self._is_public(host, port)
        if public and scheme == "http":
            raise _refused("is not an https address")
        if not public and self.hosts != "private":
            raise self._not_allowed(host, _NOT_PUBLIC)
        return self.hosts == "private" or not self.checks or _proxied(host)

    def check_connected(self, peer: object, url: str) -> None:
        """Raise QueueError if a connection really has an address that is not public."""
        if not (isinstance(peer, tuple) and peer and is_public(str(peer[0]))):
            raise self._not_allowed(_place(url)[1], _NOT_PUBLIC)

    async def _is_public(self, host: str, port: int) -> bool:
        last = host.rpartition(".")[2]
        is_number = ":" in host or last.isdigit() or last.startswith("0x")  # also in old forms
        if is_number and not is_public(host):
            return False
        if not self.checks or _proxied(host):
            return True
        try:
            addresses = await self.resolve(host, port)
        except (OSError, UnicodeError):
            return True  # no such name: the connection says so itself
        return all(is_public(address) for address in addresses)

    def _not_allowed(self, host: str, why: str) -> QueueError:
        hosts = () if isinstance(self.hosts, str) else self.hosts
        allows = ",".join((*hosts, host)) if hosts else "private"
        return _refused(
            why,
            f"If you trust {host[:100]}, set IMAGEN_MEDIA_HOSTS={allows[:200]}, then fetch "
            "it with %imagen_resume.",
        )


def is_public(address: str) -> bool:
    """Return True if an IP address is one of the public internet, also as IPv6 wraps it."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and any(ip in network for network in _WRAPPING):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None and not inner.is_global:
            return False
    return ip.is_global and not ip.is_multicast


def join(url: str, target: str) -> str:
    """Return the address that a redirect leads to, or raise QueueError if it is malformed."""
    try:
        return urljoin(url, target)
    except ValueError:
        raise _refused("is malformed") from None


def is_same_site(url: str, target: str) -> bool:
    """Return True if a redirect stays on the host, apart from `www.`, and does not leave https."""
    try:
        (old_scheme, old, old_port), (scheme, host, port) = _place(url), _place(target)
    except ValueError:
        return False
    same_host = host.removeprefix("www.") == old.removeprefix("www.")
    return same_host and (
        (scheme, port) == (old_scheme, old_port) or (scheme, old_scheme) == ("https", "http")
    )


def _place(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port; ValueError for what programs may read differently."""
    parts = urlsplit(url)
    if not url.isprintable() or "\\" in url or not set("@ %").isdisjoint(parts.netloc):
        raise ValueError
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").rstrip("."), port


def _proxied(host: str) -> bool:
    """Return True if a proxy makes the connection: then the peer seen here is the proxy's."""
    proxies = urllib.request.getproxies()
    named = bool(proxies.get("https") or proxies.get("all"))
    return named and not urllib.request.proxy_bypass(host)


def _refused(why: str, remedy: str = "") -> QueueError:
    return QueueError(
        f"The picture's address {why}; it was not fetched.",
        remedy=remedy or "Ask the provider what it sent; the job's id is kept.",
    )


def _trusted() -> ssl.SSLContext:
    """Return what certificates are checked by, or raise InvalidRequest if no client can be made."""
    try:
        tls = _certificates(*map(os.environ.get, _TLS_VARIABLES))
        httpx.AsyncClient(verify=tls)
        proxies = urllib.request.getproxies()
        for scheme in proxies.keys() & {"all", "http", "https"}:
            _whole(proxies[scheme])
    except Exception as error:  # httpx's own errors name no variable
        name = _broken_variable()
        if not name:
            raise
        why = "that cannot be used"
        if isinstance(error, ImportError):
            why = "a SOCKS proxy needs the package socksio (pip install 'httpx[socks]')"
        elif name.lower() in _PROXIES:
            why = "that is not the address of an http, https or socks5 proxy"
        raise InvalidRequest(f"{name}: {why}.", remedy="Correct it or unset it.") from None
    return tls


@cache
def _certificates(*_values: str | None) -> ssl.SSLContext:
    """Return what checks certificates, as the variables say; reading them takes 20 ms."""
    return httpx.create_ssl_context()


def _broken_variable() -> str:
    values = {name: value for name, value in os.environ.items() if value.strip()}
    for name, value in values.items():
        try:
            match name.lower():
                case proxy if proxy in _PROXIES:
                    httpx.AsyncClient(proxy=_whole(value), trust_env=False, verify=False)
                case "ssl_cert_file":
                    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
                case "sslkeylogfile":
                    Path(value).open("ab").close()
        except Exception:  # noqa: BLE001 - whatever it is, this is the variable
            return name
    return next((name for name in values if name.lower() == "no_proxy"), "")


def _whole(proxy: str) -> str:
    """Return the address of a proxy with its scheme; one without a host is not valid."""
    address = proxy if "://" in proxy else f"http://{proxy}"
    if not urlsplit(address).hostname:  # httpx takes that too
        raise ValueError("no host")
    return address
