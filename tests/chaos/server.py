"""The counting provider behind a real socket, whose lines really break.

Written on bare asyncio streams: no framework stands between a fault and the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

from tests.billing import Break, Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.billing import Reply

START_SECONDS = 10.0
SILENCE_SECONDS = 0.2
ACCEPTING = frozenset({Break.LOST_ANSWER, Break.SILENCE, Break.CUT_SHORT})


class Server:
    """Serves a provider on a free port of this machine.

    Args:
        provider: What answers; called from this server's thread.
        at_first_byte: Called when the first byte of a POST or PUT arrives, before it is read on.
    """

    def __init__(
        self, provider: Provider, *, at_first_byte: Callable[[], None] = lambda: None
    ) -> None:
        self.provider = provider
        self.url = ""
        self._at_first_byte = at_first_byte
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        """Serve until `stop`; a thread's work."""
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    def wait_until_ready(self) -> None:
        """Wait until the port is known."""
        assert self._ready.wait(START_SECONDS), "the server did not start"

    def stop(self) -> None:
        """End the serving, from any thread."""
        self._loop.call_soon_threadsafe(self._ending.set)

    async def _serve(self) -> None:
        self._ending = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.provider.base_url = self.url
        self._ready.set()
        await self._ending.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one_request(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the server is ending
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; tell whether the connection can take another."""
        first = await reader.readexactly(1)
        if first == b"P":
            self._at_first_byte()
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, _ = head.split(" ", 2)
        lines = dict(line.split(": ", 1) for line in head.lower().splitlines()[1:] if line)
        body = await reader.readexactly(int(lines.get("content-length", "0")))
        reply = self.provider.handle(method, path, body)
        if isinstance(reply, Break):
            await _break(writer, reply)
            return False
        writer.write(_bytes(reply))
        await writer.drain()
        return lines.get("connection") != "close"


def _bytes(reply: Reply) -> bytes:
    body = reply.content
    lines = [
        f"HTTP/1.1 {reply.status} Whatever",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _break(writer: asyncio.StreamWriter, how: Break) -> None:
    if how is Break.SILENCE:
        await asyncio.sleep(SILENCE_SECONDS)
    if how is Break.CUT_SHORT:
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n{"request_id": "re')
        await writer.drain()
    else:
        linger = struct.pack("ii", 1, 0)  # close with a reset, as a crashed machine does
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()


@contextlib.contextmanager
def serving(
    provider: Provider, *, at_first_byte: Callable[[], None] = lambda: None
) -> Iterator[Server]:
    """Serve a provider in a thread of this process, and end it in any case."""
    server = Server(provider, at_first_byte=at_first_byte)
    thread = threading.Thread(target=server.run, name="provider", daemon=True)
    thread.start()
    server.wait_until_ready()
    try:
        yield server
    finally:
        server.stop()
        thread.join(START_SECONDS)
