"""A server on loopback that answers what a test wants, byte for byte, and remembers requests."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    Answering = Callable[["Received", asyncio.StreamWriter], Awaitable[None]]


_TLS_HELLO = b"\x16"  # somebody speaks https: hang up, as a server of plain http does


@dataclass(frozen=True)
class Received:
    """A request as it came: all its bytes, and what a server reads from them."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    raw: bytes = field(repr=False)


class Server:
    """A raw HTTP server on a free port of 127.0.0.1; an async context manager.

    Attributes:
        requests: What came, in order, from all connections.
        connections: How many were made.
    """

    def __init__(self, answering: Answering) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self._answering = answering
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while not writer.is_closing():
                    request = await _read(reader)
                    self.requests.append(request)
                    await self._answering(request, writer)
                    await writer.drain()
        finally:
            writer.transport.abort()
            self._tasks.discard(task)


async def _read(reader: asyncio.StreamReader) -> Received:
    head = await reader.readexactly(1)
    if head == _TLS_HELLO:
        raise ConnectionError
    head += await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body, head + body)


def response(
    status: int, body: bytes = b"", *, kind: str = "application/json", **more: str
) -> bytes:
    """Return the bytes of a whole answer; `_` in header names becomes a hyphen."""
    headers = {"content-type": kind, "content-length": str(len(body)), **more}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode() + body


async def hold(writer: asyncio.StreamWriter) -> None:
    """Keep the connection open and silent until the other side gives up."""
    await writer.drain()
    await asyncio.Event().wait()
