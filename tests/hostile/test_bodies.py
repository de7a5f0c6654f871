"""Whatever a server sends, memory stays bounded and the answer is one line.

Each body is met by a process of its own, so that its growth is its own.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hostile.server import Received, Server, response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Body = Callable[[asyncio.StreamWriter], Awaitable[None]]

pytestmark = [pytest.mark.anyio, pytest.mark.chaos]

MAX_GROWN_MB = 120  # two answers of 8 MiB may be under way, each read, joined and decoded
MB = 1024 * 1024
ROOT = Path(__file__).parents[2]


@functools.cache
def _bomb(megabytes: int = 512) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(MB)
    return b"".join(packer.compress(zeros) for _ in range(megabytes)) + packer.flush()


@functools.cache
def _log_lines(count: int, length: int) -> bytes:
    line = {"message": "x" * length, "timestamp": "2026-05-11T09:14:03Z", "level": "INFO"}
    return json.dumps({"status": "IN_PROGRESS", "logs": [line] * count}).encode()


async def _gzip_bomb(writer: asyncio.StreamWriter) -> None:
    writer.write(response(200, _bomb(), content_encoding="gzip", kind="image/png"))


async def _endless(writer: asyncio.StreamWriter, *, kind: str = "image/png") -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    while True:
        writer.write(chunk)
        await writer.drain()


async def _endless_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-more: " + b"y" * 8000 + b"\r\n")
        await writer.drain()


async def _endless_events(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ")
    while True:
        writer.write(bytes(65536))
        await writer.drain()


async def _tiny_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    chunks = b"1\r\nx\r\n" * 10_000
    while True:
        writer.write(chunks)
        await writer.drain()


async def _hundred_thousand_lines(writer: asyncio.StreamWriter) -> None:
    writer.write(response(202, _log_lines(100_000, 5)))


async def _hundred_thousand_long_lines(writer: asyncio.StreamWriter) -> None:
    writer.write(response(202, _log_lines(100_000, 200)))


async def _deep_json(writer: asyncio.StreamWriter) -> None:
    writer.write(response(200, b'{"a":' * 1_000_000))


async def _huge_data_uri(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\n\r\n{"images": [{"url": "data:image/png;base64,')
    while True:
        writer.write(b"A" * 65536)
        await writer.drain()


async def _stalling(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(60):
        writer.write(b"A" * MB)
        await writer.drain()
    await asyncio.Event().wait()


TOO_LARGE = "larger than 64 MB|no whole"  # a slow machine meets the deadline first
BODIES: dict[str, tuple[str, Body, str]] = {
    "gzip bomb as a picture": ("picture", _gzip_bomb, TOO_LARGE),
    "gzip bomb as a status": ("status", _gzip_bomb, "still running"),
    "gzip bomb as a result": ("result", _gzip_bomb, TOO_LARGE),
    "gzip bomb as a ticket": ("submit", _gzip_bomb, TOO_LARGE),
    "endless picture": ("picture", _endless, TOO_LARGE),
    "endless status": ("status", _endless, "still running"),
    "endless result": ("result", _endless, TOO_LARGE),
    "endless ticket": ("submit", _endless, TOO_LARGE),
    "a result that stalls after 60 MB": ("result", _stalling, "no whole"),
    "endless headers": ("status", _endless_head, "still running"),
    "endless event": ("stream", _endless_events, "still running"),
    "event in chunks of one byte": ("stream", _tiny_chunks, "still running"),
    "100,000 log lines": ("status", _hundred_thousand_lines, "still running"),
    "100,000 long log lines": ("status", _hundred_thousand_long_lines, "still running"),
    "a million brackets": ("result", _deep_json, "not JSON"),
    "endless data: address": ("result", _huge_data_uri, TOO_LARGE),
}
# The deadlines. A submit and a picture are over as soon as a body is too large; others are asked
# for again until then, and a result has to be read once in it on a busy machine.
SECONDS = {"submit": 15.0, "picture": 15.0, "result": 4.0}
WATCHING_SECONDS = 2.5 if "IMAGEN_CHAOS_COUNT" in os.environ else 1.2


async def _met(name: str) -> tuple[float, str, float]:
    """Return by how many MB a process grew, the line it ended with, and the seconds it took."""
    what, body, _ = BODIES[name]

    async def answering(request: Received, writer: asyncio.StreamWriter) -> None:
        if request.method == "PUT":
            writer.write(response(404, b"{}"))
            return
        await body(writer)

    seconds = SECONDS.get(what, WATCHING_SECONDS)
    command = [sys.executable, "-m", "tests.hostile.body_worker"]
    async with Server(answering) as server:
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(*command, server.url, what, str(seconds)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            out, _ = await asyncio.wait_for(process.communicate(), 90)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    found = json.loads(out)
    return found["grown"], found["line"], time.monotonic() - started


@pytest.mark.parametrize("name", BODIES)
async def test_a_hostile_body_costs_little_memory_and_ends_in_one_line(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    grown, line, seconds = await _met(name)

    with capsys.disabled():
        print(f"\n{name:30} +{grown:5.1f} MB {seconds:5.1f} s  {line[:90]}", end="")
    assert grown <= MAX_GROWN_MB
    assert re.search(BODIES[name][2], line)
    assert "\n" not in line
