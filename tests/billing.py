"""A provider for tests that counts what it would bill: the same one behind a transport or a socket.

A submit is answered by the next entry of `submits`, and then by acceptance. What is accepted is
paid, whether or not the answer arrives: that count is what no client may raise twice for one wish.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import threading
import zlib
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import httpx
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

Json = dict[str, Any]

BASE_URL = "https://gateway.test"
PATH = re.compile(r"/fal-ai/[a-z0-9-]+/requests/(?P<id>[\w-]+)(?P<route>/status|/cancel)?")


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; `accepts` tells whether a submit answered so was taken all the same."""

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    accepts: bool = False

    @property
    def content(self) -> bytes:
        """The body's bytes: bytes as they are, anything else as JSON."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Break(Enum):
    """A line that breaks, by when it does."""

    REFUSED = auto()  # no connection is made
    NO_TIME = auto()  # no connection within the limit
    TLS = auto()  # the certificate is another's
    LOST_REQUEST = auto()  # while the request is sent; not taken
    LOST_ANSWER = auto()  # after the request was taken
    SILENCE = auto()  # taken, and no answer within the limit
    CUT_SHORT = auto()  # taken, and the answer ends in the middle


Fault = Reply | Break

_BREAKS: dict[Break, tuple[type[httpx.TransportError], bool]] = {
    Break.REFUSED: (httpx.ConnectError, False),
    Break.NO_TIME: (httpx.ConnectTimeout, False),
    Break.TLS: (httpx.ConnectError, False),
    Break.LOST_REQUEST: (httpx.WriteError, False),
    Break.LOST_ANSWER: (httpx.ReadError, True),
    Break.SILENCE: (httpx.ReadTimeout, True),
    Break.CUT_SHORT: (httpx.RemoteProtocolError, True),
}


@dataclass
class Job:
    """One paid job."""

    request_id: str
    prompt: str
    count: int
    polls_left: int
    cancelled: bool = False
    forgotten: bool = False


class Provider:
    """Takes requests, counts them, and finishes each job after some polls.

    Attributes:
        submits: How the next submits fare.
        polls: How many status answers a job takes to finish; `math.inf` never finishes it.
        cancels: The answer to a cancellation; None confirms it while the job is not finished.
        obeys: Whether a cancellation that is not refused ends the job.
        statuses: How the next status requests fare.
        results: How the next result requests fare.
        media: How the next picture requests fare.
        log: Each request as `METHOD route`, where route is submit, status, result, cancel or media.
        before_post: Called when a submit arrives, before anything else.
        submitted: Set when a job is first asked about: then its ticket was read.
        cancelled: Set when a cancellation arrives.
    """

    def __init__(self, *, base_url: str = BASE_URL, polls: float = 1) -> None:
        self.base_url = base_url
        self.polls = polls
        self.submits: deque[Fault | None] = deque()
        self.statuses: deque[Fault | None] = deque()
        self.results: deque[Fault | None] = deque()
        self.media: deque[Fault | None] = deque()
        self.cancels: Fault | None = None
        self.obeys = True
        self.log: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.jobs: dict[str, Job] = {}
        self.before_post: Callable[[], None] = lambda: None
        self.submitted = threading.Event()
        self.cancelled = threading.Event()
        self._numbers = itertools.count(1)

    @property
    def posts(self) -> int:
        """How many submits arrived."""
        return self.log.count("POST submit")

    @property
    def cancellations(self) -> int:
        """How many cancellations arrived."""
        return self.log.count("PUT cancel")

    @property
    def paid(self) -> Counter[str]:
        """How many jobs are paid for, by prompt; what was cancelled in time is not."""
        return Counter(job.prompt for job in self.jobs.values() if not job.cancelled)

    @property
    def duplicates(self) -> int:
        """How many jobs are paid for beyond one a prompt."""
        return sum(count - 1 for count in self.paid.values())

    def handle(self, method: str, path: str, body: bytes = b"") -> Fault:
        """Answer one request."""
        found = PATH.fullmatch(path.partition("?")[0])
        if method == "POST":
            self.log.append("POST submit")
            self.before_post()
            return self._submit(json.loads(body))
        if path.startswith("/files/"):
            self.log.append("GET media")
            return self._next(self.media) or Reply(body=picture(path))
        if found is None:
            return Reply(404, {"detail": "Not Found"})
        job = self.jobs.get(found["id"])
        route = (found["route"] or "/result")[1:]
        self.submitted.set()
        self.log.append(f"{method} {route}")
        fault = self._next({"status": self.statuses, "result": self.results}.get(route, deque()))
        if fault is not None:
            return fault
        if job is None or job.forgotten:
            return Reply(404, {"status": "NOT_FOUND"})
        return {"status": self._status, "cancel": self._cancel, "result": self._result}[route](job)

    def transport(self) -> httpx.MockTransport:
        """Return an httpx transport that asks this provider."""

        async def answer(request: httpx.Request) -> httpx.Response:
            self.headers.append(request.headers)
            reply = self.handle(request.method, request.url.raw_path.decode(), request.content)
            if isinstance(reply, Break):
                raise _BREAKS[reply][0](reply.name)
            headers = {"content-type": "application/json", **reply.headers}
            return httpx.Response(reply.status, stream=_Body(reply.content), headers=headers)

        return httpx.MockTransport(answer)

    def finish(self) -> None:
        """Let all jobs be finished."""
        for job in self.jobs.values():
            job.polls_left = 0

    def _submit(self, body: Json) -> Fault:
        fault = self._next(self.submits)
        if isinstance(fault, Break) and not _BREAKS[fault][1]:
            return fault
        if isinstance(fault, Reply) and not fault.accepts:
            return fault
        job = Job(f"req-{next(self._numbers)}", body["prompt"], body.get("num_images", 1), 0)
        job.polls_left = self.polls  # type: ignore[assignment]  # infinity never runs out
        self.jobs[job.request_id] = job
        if isinstance(fault, Reply) and "x-fal-request-id" in fault.headers:
            return Reply(fault.status, fault.body, {"x-fal-request-id": job.request_id})
        root = f"https://queue.fal.run/fal-ai/imagen4/requests/{job.request_id}"
        return fault or Reply(
            body={
                "status": "IN_QUEUE",
                "request_id": job.request_id,
                "response_url": root,
                "status_url": f"{root}/status",
                "cancel_url": f"{root}/cancel",
            }
        )

    def _status(self, job: Job) -> Fault:
        if job.cancelled:
            return Reply(200, {"status": "COMPLETED", "error_type": "client_cancelled"})
        if job.polls_left > 0:
            job.polls_left -= 1
            return Reply(202, {"status": "IN_PROGRESS", "logs": [{"message": "drawing"}]})
        return Reply(200, {"status": "COMPLETED", "metrics": {"inference_time": 2.5}})

    def _cancel(self, job: Job) -> Fault:
        self.cancelled.set()
        if job.polls_left <= 0 and not job.cancelled:
            return self.cancels or Reply(400, {"status": "ALREADY_COMPLETED"})
        job.cancelled = job.cancelled or self.obeys
        return self.cancels or Reply(200, {"status": "OK"})

    def _result(self, job: Job) -> Fault:
        if job.cancelled:
            gone = {"detail": "cancelled", "error_type": "client_cancelled"}
            return Reply(499, gone, {"x-fal-error-type": "client_cancelled"})
        if job.polls_left > 0:
            return Reply(400, {"detail": "Request is still in progress"})
        media = self.base_url.replace("gateway", "media")
        urls = [f"{media}/files/{job.request_id}/{number}.png" for number in range(job.count)]
        return Reply(body={"images": [{"url": url} for url in urls], "seed": 7})

    def _next(self, faults: deque[Fault | None]) -> Fault | None:
        return faults.popleft() if faults else None


class _Body(httpx.AsyncByteStream):
    """A body that is read as one from a socket is."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


def picture(name: str) -> bytes:
    """Return a small PNG that is another for each name."""
    colour = zlib.crc32(name.encode()) & 0xFFFFFF
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (colour >> 16, colour >> 8 & 255, colour & 255)).save(file, "PNG")
    return file.getvalue()


class Clock:
    """A clock that moves only when somebody sleeps by it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Be later at once, and let other tasks have their turn."""
        self.slept.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()
