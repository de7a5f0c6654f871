"""How a fake queue is reached: over an httpx transport, a socket, or as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import struct
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fakequeue.queue import Answered, FakeQueue
from tests.fakequeue.wire import Break, Json, Received, Reply, events

if TYPE_CHECKING:
    import httpx

START_SECONDS = 60.0

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_TLS_HELLO = b"\x16"


# ------------------------------------------------------------------------------ over a transport


def make_transport(queue: FakeQueue) -> httpx.AsyncBaseTransport:
    """Return an httpx transport that asks a queue."""
    import httpx  # here, because a process that only serves does not need it

    breaks: dict[Break, type[httpx.TransportError]] = {
        Break.REFUSED: httpx.ConnectError,
        Break.NO_TIME: httpx.ConnectTimeout,
        Break.TLS: httpx.ConnectError,
        Break.LOST_REQUEST: httpx.WriteError,
        Break.LOST_ANSWER: httpx.ReadError,
        Break.SILENCE: httpx.ReadTimeout,
        Break.CUT_SHORT: httpx.RemoteProtocolError,
    }

    class Body(httpx.AsyncByteStream):
        def __init__(self, parts: AsyncIterator[bytes]) -> None:
            self._parts = parts

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for part in self._parts:
                yield part

    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            content = await request.aread()
            if queue.latency:
                await queue.sleep(queue.latency)
            headers = {name.lower(): value for name, value in request.headers.items()}
            answer = queue.handle(Received(request.method, str(request.url), headers, content))
            await asyncio.sleep(0)  # as for an answer of the network: a cancellation arrives here
            if isinstance(answer, Break):
                raise breaks[answer](answer.name, request=request)
            reply, parts = _parts(queue, answer)
            return httpx.Response(reply.status, headers=reply.all_headers, stream=Body(parts))

    return Transport()


def _parts(queue: FakeQueue, answer: Reply | AsyncIterator[bytes]) -> _Parts:
    """Return an answer's head, and its body piece by piece."""
    if not isinstance(answer, Reply):
        return events(), answer

    async def again_and_again() -> AsyncIterator[bytes]:
        yield answer.content
        while answer.every:
            await queue.sleep(answer.every)
            yield answer.content

    return answer, again_and_again()


_Parts = tuple[Reply, AsyncIterator[bytes]]


# --------------------------------------------------------------------------------- over a socket


@contextlib.contextmanager
def serve_in_thread(queue: FakeQueue) -> Iterator[str]:
    """Serve a queue in a thread of this process, and give its base address."""
    started = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]] = []

    async def run() -> None:
        over = asyncio.Event()
        async with serving(queue) as url:
            running.append((asyncio.get_running_loop(), over, url))
            started.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="queue", daemon=True)
    thread.start()
    assert started.wait(START_SECONDS), "the queue did not start"
    loop, over, url = running[0]
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(START_SECONDS)


@contextlib.asynccontextmanager
async def serving(queue: FakeQueue) -> AsyncIterator[str]:
    """Serve a queue on the running loop, and give its base address."""
    connections: set[_Connection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(queue, connections), "127.0.0.1", 0, backlog=4096
    )
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for connection in [*connections]:
            connection.abort()
        await asyncio.sleep(0)  # what was aborted is told so before the loop ends


class _Connection(asyncio.Protocol):
    """One client's connection: requests come one after the other."""

    def __init__(self, queue: FakeQueue, connections: set[_Connection]) -> None:
        self._queue, self._connections = queue, connections
        self._waiting = b""
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._queue.connections += 1
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        """End the connection with a reset, as a crashed machine does."""
        linger = struct.pack("ii", 1, 0)
        with contextlib.suppress(OSError):
            own: socket.socket = self._transport.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._waiting and data[:1] == b"P":
            self._queue.first_byte()
        self._waiting += data
        if self._waiting[:1] == _TLS_HELLO:  # hang up, as a server of plain http does
            self.abort()
        while self._task is None and not self._transport.is_closing():
            end = self._waiting.find(b"\r\n\r\n")
            length = _LENGTH.search(self._waiting, 0, end + 2)
            size = int(length[1]) if length else 0
            if end < 0 or len(self._waiting) < end + 4 + size:
                return
            head, body = self._waiting[:end], self._waiting[end + 4 : end + 4 + size]
            self._waiting = self._waiting[end + 4 + size :]
            self._answer(head.decode("latin-1"), body)

    def _answer(self, head: str, body: bytes) -> None:
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        url = f"http://{headers.get('host', '')}{target}"
        answer = self._queue.handle(Received(method, url, headers, body))
        if not isinstance(answer, Reply) or answer.every:
            self._task = asyncio.ensure_future(self._go_on(answer))
            return
        if answer.raw:
            self._transport.write(answer.raw)
        else:
            content = answer.content
            self._transport.write(_head(answer, f"content-length: {len(content)}"))
            self._transport.write(content)
        if answer.raw or headers.get("connection") == "close":
            self._transport.close()

    async def _go_on(self, answer: Answered) -> None:
        """Send what takes its time, and what breaks."""
        if answer is Break.SILENCE:
            await self._queue.silence()
        if answer is Break.CUT_SHORT:
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n{")
            self._transport.close()
        elif isinstance(answer, Break):
            self.abort()
        else:
            reply, parts = _parts(self._queue, answer)
            self._transport.write(_head(reply, "transfer-encoding: chunked"))
            async for part in parts:
                self._transport.write(b"%x\r\n%b\r\n" % (len(part), part))
            self._transport.write(b"0\r\n\r\n")
            self._task = None
            self.data_received(b"")  # what came meanwhile


def _head(reply: Reply, length: str) -> bytes:
    first = f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, 'Unnamed')}"
    lines = [f"{name}: {value}" for name, value in reply.all_headers.items()]
    return "\r\n".join([first, *lines, length, "", ""]).encode("latin-1")


# ------------------------------------------------------------------------------------ as a process


@dataclass(frozen=True)
class QueueProcess:
    """A queue in another process."""

    url: str
    process: subprocess.Popen[str]

    def facts(self) -> Json:
        """Ask what it has counted so far."""
        with urllib.request.urlopen(f"{self.url}/facts", timeout=START_SECONDS) as answer:
            found: Json = json.load(answer)
        return found


@contextlib.contextmanager
def queue_process(*options: str) -> Iterator[QueueProcess]:
    """Run `python -m tests.fakequeue` with these options, and end it in any case."""
    command = [sys.executable, "-m", "tests.fakequeue", *options]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield QueueProcess(json.loads(process.stdout.readline())["url"], process)
        finally:
            process.kill()
