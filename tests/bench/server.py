"""A fal-compatible queue on a loopback socket that writes down when each job became ready.

It shares no code with the package or its demo, and needs no package: what it costs is the same for
all who are measured, and little. Run as a process of its own; its first line of output is its port,
and it ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import struct
import sys
import time
import uuid
import zlib
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus

PING_SECONDS = 10.0

_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HOST = re.compile(rb"\r\nhost: *(\S+)", re.IGNORECASE)
_JOB = re.compile(r"/requests/([0-9a-f]+)(/status|/status/stream)?$", re.ASCII)
_SECONDS = re.compile(r"([0-9.]+) s$")


@dataclass
class Job:
    """One job: when it is ready, who waits for that, and what was asked about it."""

    id: str
    app: str
    prompt: str
    seconds: float
    asked: Counter[str] = field(default_factory=Counter)
    ready: float | None = None  # by time.monotonic(), which all processes of a machine share
    listeners: list[Connection] = field(default_factory=list)


class Queue:
    """All jobs, and how many connections there were."""

    def __init__(self, picture: bytes) -> None:
        self.jobs: dict[str, Job] = {}
        self.connections = 0
        self._head, self._tail = picture[:-12], picture[-12:]

    def submit(self, path: str, prompt: str) -> Job:
        """Take a job; its prompt ends with how long it takes, like `5.0 s`."""
        found = _SECONDS.search(prompt)
        app = "/".join(path.split("/")[:3])
        job = Job(uuid.uuid4().hex, app, prompt, float(found[1]) if found else 0.0)
        job.asked["submit"] += 1
        self.jobs[job.id] = job
        asyncio.get_running_loop().call_later(job.seconds, self._finish, job)
        return job

    def picture(self, name: str) -> bytes:
        """Return a whole PNG that is another for each name."""
        return self._head + png_chunk(b"tEXt", b"Job\x00" + name.encode()) + self._tail

    def facts(self) -> dict[str, object]:
        """Return what was seen so far."""
        jobs = {
            job.id: {"prompt": job.prompt, "ready": job.ready, "asked": job.asked}
            for job in self.jobs.values()
        }
        return {"jobs": jobs, "connections": self.connections}

    def _finish(self, job: Job) -> None:
        job.ready = time.monotonic()
        for listener in job.listeners:
            listener.send_event(job)


class Connection(asyncio.Protocol):
    """One client's connection: requests come one after the other."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._waiting = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._queue.connections += 1

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._waiting += data
        while (end := self._waiting.find(b"\r\n\r\n")) >= 0:
            head, rest = self._waiting[: end + 2], self._waiting[end + 4 :]
            length = _LENGTH.search(head)
            size = int(length[1]) if length else 0
            if len(rest) < size:
                return
            self._waiting = rest[size:]
            self._answer(head, rest[:size])

    def send_event(self, job: Job) -> None:
        """Send the job's status into an open stream; the last one ends it."""
        event = b"data: " + json.dumps(status(job)).encode() + b"\n\n"
        ended = b"0\r\n\r\n" if job.ready is not None else b""
        self._transport.write(b"%x\r\n%b\r\n%b" % (len(event), event, ended))

    def _answer(self, head: bytes, body: bytes) -> None:
        request, host = _REQUEST.match(head), _HOST.search(head)
        assert request is not None
        assert host is not None
        method, target = request[1].decode(), request[2].decode()
        path = target.partition("?")[0]
        found = _JOB.search(path)
        if method == "POST":
            job = self._queue.submit(path, json.loads(body)["prompt"])
            self._send(200, {**addresses(job, host[1].decode()), **status(job)})
        elif path.startswith("/media/"):
            self._send_bytes(200, b"image/png", self._queue.picture(path[7:]))
        elif found is None:
            self._send(200, self._queue.facts())
        else:
            self._answer_about(self._queue.jobs[found[1]], found[2] or "", host[1].decode())

    def _answer_about(self, job: Job, route: str, host: str) -> None:
        job.asked[route.rpartition("/")[2] or "result"] += 1
        if route == "/status/stream":
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )
            self.send_event(job)
            if job.ready is None:
                job.listeners.append(self)
                self._ping(job)
        elif route == "/status":
            self._send(202 if job.ready is None else 200, status(job))
        elif job.ready is None:
            self._send(400, {"detail": "Request is still in progress"})
        else:
            picture = {"url": f"http://{host}/media/{job.id}.png", "content_type": "image/png"}
            self._send(200, {"images": [picture], "seed": 1, "description": ""})

    def _ping(self, job: Job) -> None:
        def ping() -> None:
            if job.ready is None and not self._transport.is_closing():
                self._transport.write(b"8\r\n: ping\n\n\r\n")
                self._ping(job)

        asyncio.get_running_loop().call_later(PING_SECONDS, ping)

    def _send(self, code: int, body: dict[str, object]) -> None:
        self._send_bytes(code, b"application/json", json.dumps(body).encode())

    def _send_bytes(self, code: int, kind: bytes, body: bytes) -> None:
        phrase = HTTPStatus(code).phrase.encode()
        self._transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
            % (code, phrase, kind, len(body))
            + body
        )


def status(job: Job) -> dict[str, object]:
    """Return the status object as fal words it."""
    if job.ready is None:
        return {"status": "IN_PROGRESS", "request_id": job.id, "logs": [], "metrics": {}}
    metrics = {"inference_time": job.seconds}
    return {"status": "COMPLETED", "request_id": job.id, "logs": [], "metrics": metrics}


def addresses(job: Job, host: str) -> dict[str, object]:
    """Return the addresses of a job, as its ticket has them."""
    base = f"http://{host}{job.app}/requests/{job.id}"
    return {
        "status_url": f"{base}/status",
        "response_url": base,
        "cancel_url": f"{base}/cancel",
        "queue_position": 0,
    }


def png(size: int) -> bytes:
    """Return a grey PNG of about `size` bytes that looks like noise."""
    width = 1024
    height = max(size // (width + 1), 1)
    rows = b"".join(b"\x00" + os.urandom(width) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows, 0))
        + png_chunk(b"IEND", b"")
    )


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


async def serve(picture_bytes: int) -> None:
    """Answer until the input ends."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    queue = Queue(png(picture_bytes))
    server = await loop.create_server(lambda: Connection(queue), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how the port is told
    await loop.connect_read_pipe(lambda: _UntilClosed(over), sys.stdin)
    await over.wait()


class _UntilClosed(asyncio.Protocol):
    def __init__(self, over: asyncio.Event) -> None:
        self._over = over

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._over.set()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
