"""The queue itself: requests in, answers out, and what was accepted in between.

It knows no socket and no transport: `handle` answers one request, and the fronts carry it.
"""

from __future__ import annotations

import asyncio
import base64
import bisect
import contextlib
import heapq
import itertools
import json
import math
import random
import re
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.fakequeue.pictures import large_png, picture
from tests.fakequeue.wire import (
    FAULTS,
    Answer,
    Break,
    Given,
    Json,
    Received,
    Reply,
    Scripted,
    problems_with,
)

if TYPE_CHECKING:
    import httpx

GATEWAY = "https://gateway.test"  # a base address for clients over the transport
MEDIA = "https://media.test"  # where pictures are then: another origin, which gets no key
FAL = "https://queue.fal.run"  # what tickets name, through gateways too
WAIT_SECONDS = 60.0
TOOK_SECONDS = 0.05  # what a job says that is done at once: clients wait as long for the next
WAKE_SECONDS = 0.02  # how soon an open stream notices `finish`, and silence `heal`

POSTED = frozenset({"submit", "generations", "edits"})  # the routes that cost money
_KEYLESS = frozenset({"media", "schema", "facts"})
_COUNTS = ("num_images", "n", "num_samples")
_JOB = re.compile(r"(?P<app>.+)/requests/(?P<id>[^/]+)(?P<route>/status/stream|/status|/cancel)?")
_SECONDS = re.compile(r"([0-9.]+) s$")

Answered = Answer | AsyncIterator[bytes]  # an iterator is an event stream


@dataclass
class Job:
    """One accepted job; `wish` is what it is counted by: its prompt, or else its whole body."""

    request_id: str
    model: str
    arguments: Json
    wish: str
    count: int
    polls_left: float
    queued_left: float
    started: float
    ready: float
    cancelled: bool = False
    forgotten: bool = False
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def extension(self) -> str:
        """The format of its pictures, as names end."""
        asked = str(self.arguments.get("output_format", "png"))
        return "jpeg" if asked == "jpg" else asked


def seconds_in_prompt(arguments: Json) -> float:
    """Return how long a job takes whose prompt ends like "5.0 s"; 0 for others."""
    found = _SECONDS.search(str(arguments.get("prompt", "")))
    return float(found[1]) if found else 0.0


class FakeQueue:
    """Accepts requests, counts them, and finishes each job after some polls or seconds.

    Args:
        polls: How many times a job answers IN_PROGRESS before it is done; `math.inf`: for ever.
        queued: How many times it answers IN_QUEUE before that.
        seconds: In place of polls, how long each job takes by `clock`, or a function that says so
            from the request's arguments.
        slots: How many jobs run at once when they take seconds; None: all.
        clock: The time; if it has a `sleep`, streams and `latency` wait by that.
        latency: Seconds that each answer takes over the transport.
        faults: Share of the submits that meet one of `fault_kinds`, chosen by `seed`.
        picture: A picture to serve in place of the small ones that differ by name.
        picture_bytes: About how large a served PNG is; 0: 8 x 6 pixels of one colour.
        schemas: OpenAPI documents by model, served at /schemas/MODEL; submits to these models are
            checked against them, and refused with 422 and noted in `refusals` if they differ.

    Attributes:
        requests: All requests, oldest first.
        jobs: What was accepted, by request id.
        inputs: The pictures that came with accepted requests.
        before: By route, what is called with a request before it is answered.
        after: By route, what is called when the answer is decided and not yet sent.
        first_byte: Called when the first byte of a POST or PUT arrives on the socket.
        cancels: How a cancellation of a running job is answered; None confirms it.
        obeys: Whether such a cancellation ends the job.
        filtered: By picture, whether it is flagged in `has_nsfw_concepts`; empty: left out.
        units: What `x-fal-billable-units` says of each result; empty: left out.
        key: If set, requests without it get 401, except for pictures and schemas.
        prefix: A path in front of all routes, as some gateways have.
        ticket_base: The origin that tickets name; empty: that of the request.
        media_base: The origin of pictures; empty: that of the request, or MEDIA over a transport.
        edit_field: What /v1/images/edits calls its pictures; others get 400.
        ids: The request ids to give.
    """

    def __init__(
        self,
        *,
        polls: float = 0,
        queued: float = 0,
        seconds: float | Callable[[Json], float] | None = None,
        slots: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        latency: float = 0.0,
        faults: float = 0.0,
        seed: int = 20261123,
        picture: bytes = b"",
        picture_bytes: int = 0,
        schemas: Mapping[str, Json] | None = None,
    ) -> None:
        self.polls, self.queued, self.seconds, self.slots = polls, queued, seconds, slots
        self.clock, self.latency = clock, latency
        self.faults, self.fault_kinds, self._chance = faults, list(FAULTS), random.Random(seed)
        self.picture, self.picture_bytes, self.schemas = picture, picture_bytes, dict(schemas or {})
        self.requests: list[Received] = []
        self.jobs: dict[str, Job] = {}
        self.inputs: list[Given] = []
        self.refusals: list[str] = []
        self.before: dict[str, Callable[[Received], None]] = {}
        self.after: dict[str, Callable[[Received], None]] = {}
        self.first_byte: Callable[[], None] = lambda: None
        self.cancels: Answer | None = None
        self.obeys = True
        self.filtered: tuple[bool, ...] = ()
        self.units = self.key = self.prefix = self.media_base = ""
        self.ticket_base, self.edit_field = FAL, "image[]"
        self.ids: Iterator[str] = (f"req-{number}" for number in itertools.count(1))
        self.silence_seconds = 0.2  # on the socket, before a silent connection is reset
        self.connections = 0
        self._scripts: dict[str, deque[Scripted]] = defaultdict(deque)
        self._always: dict[str, Scripted] = {}
        self._free = [0.0] * (slots or 0)  # when each slot is free, as a heap
        self._starts: list[float] = []  # when jobs start that wait for a slot, in order
        self._healed = 0  # times
        self._came = threading.Condition()

    # -------------------------------------------------------------------------- what a test says

    def script(self, route: str, *answers: Scripted) -> None:
        """Answer the next requests of a route with these, one each; None is the usual answer."""
        self._scripts[route].extend(answers)

    def always(self, route: str, answer: Scripted) -> None:
        """Answer each request of a route with this from now on."""
        self._always[route] = answer

    def heal(self) -> None:
        """Forget all scripts and faults."""
        self._scripts.clear()
        self._always.clear()
        self.faults = 0.0
        self._healed += 1

    def finish(self) -> None:
        """Finish all jobs now, and those to come at once."""
        self.polls = self.queued = 0
        self.seconds = None if self.seconds is None else 0.0
        for job in self.jobs.values():
            job.polls_left = job.queued_left = 0
            job.ready = min(job.ready, self.clock())
            job.started = min(job.started, job.ready)

    def wait_for(self, route: str, count: int = 1, *, seconds: float = WAIT_SECONDS) -> None:
        """Wait, in another thread than the queue's, until a route was asked so often."""
        with self._came:
            assert self._came.wait_for(lambda: self.count(route) >= count, seconds), self.log

    # ----------------------------------------------------------------------------- what it counts

    @property
    def log(self) -> list[str]:
        """Each request as its method and route, such as "POST submit"."""
        return [f"{request.method} {request.route}" for request in self.requests]

    def count(self, *routes: str) -> int:
        """Return how often these routes were asked."""
        return sum(request.route in routes for request in self.requests)

    @property
    def posts(self) -> int:
        """How many requests that cost money arrived."""
        return self.count(*POSTED)

    @property
    def paid(self) -> Counter[str]:
        """How many jobs are billed, by wish; what was cancelled in time is not."""
        return Counter(job.wish for job in self.jobs.values() if not job.cancelled)

    @property
    def duplicates(self) -> int:
        """How many jobs are billed beyond one a wish."""
        return sum(count - 1 for count in self.paid.values())

    def facts(self) -> Json:
        """Return all counts as JSON values; /facts answers with them."""
        now = self.clock()
        jobs = {
            name: {"prompt": j.wish, "asked": j.asked, "ready": j.ready if j.ready <= now else None}
            for name, j in self.jobs.items()
        }
        return {
            "jobs": jobs,
            "connections": self.connections,
            "posts": self.posts,
            "paid": self.paid.total(),
            "duplicates": self.duplicates,
            "routes": Counter(request.route for request in self.requests),
        }

    # --------------------------------------------------------------------------------- answering

    def handle(self, received: Received) -> Answered:
        """Answer one request."""
        route, job = self._routed(received)
        request = replace(received, route=route)
        with self._came:
            self.requests.append(request)
            self._came.notify_all()
        if job is not None:
            job.asked[route] += 1
        if route in self.before:
            self.before[route](request)
        fault = self._scripted(request)
        if route in POSTED:
            answer: Answered = self._post(request, fault)
        else:
            answer = self._usual(request, job) if fault is None else fault
        if route in self.after:
            self.after[route](request)
        return answer

    def _routed(self, request: Received) -> tuple[str, Job | None]:
        path = request.path.removeprefix(self.prefix)
        found = _JOB.fullmatch(path)
        if found is not None and request.method != "POST":
            route = (found["route"] or "/result").rpartition("/")[2]
            return route, self.jobs.get(unquote(found["id"]))
        if path in {"/v1/images/generations", "/v1/images/edits"}:
            return path.rpartition("/")[2], None
        if request.method == "POST":
            return "submit", None
        if path.startswith("/schemas/") or path.endswith("/openapi.json"):
            return "schema", None
        top = path.split("/")[1]
        return {"files": "media", "facts": "facts"}.get(top, "other"), None

    def _scripted(self, request: Received) -> Answer | None:
        script = self._scripts[request.route]
        answer = script.popleft() if script else self._always.get(request.route)
        if not (answer is None or isinstance(answer, Reply | Break)):
            answer = answer(request)
        if answer is not None:
            return answer
        if self.key and request.route not in _KEYLESS:
            scheme, _, key = request.headers.get("authorization", "").partition(" ")
            if scheme not in {"Key", "Bearer"} or key != self.key:
                return Reply(401, {"detail": "invalid key credentials"})
        if request.route in POSTED and self._chance.random() < self.faults:
            return self._chance.choice(self.fault_kinds)
        return None

    def _usual(self, request: Received, job: Job | None) -> Answered:
        if request.route == "media":
            kind = f"image/{request.path.rpartition('.')[2]}"
            return Reply(200, self._picture(request.path), {"content-type": kind})
        if request.route == "schema":
            model = request.query.get("endpoint_id") or request.path.removeprefix("/schemas/")
            document = self.schemas.get(unquote(model))
            return Reply(404, {"detail": "Not Found"}) if document is None else Reply(200, document)
        if request.route == "facts":
            return Reply(200, self.facts())
        if job is None or job.forgotten:
            return Reply(404, {"status": "NOT_FOUND"})
        if request.route == "status":
            status = self._status(job)
            return Reply(200 if status["status"] == "COMPLETED" else 202, status)
        if request.route == "stream":
            return self._stream(job)
        return self._cancel(job) if request.route == "cancel" else self._result(job, request)

    # ------------------------------------------------------------------------------ what is billed

    def _post(self, request: Received, fault: Answer | None) -> Answer:
        if fault is not None and not fault.accepts:
            return fault
        body, direct = request.arguments, request.route != "submit"
        path = request.path.removeprefix(self.prefix)
        model = str(body.get("model", "")) if direct else unquote(path.strip("/"))
        given = [part for part in request.parts if part.media_type] if request.is_multipart else []
        refusal = self._refusal(request, model, body, given)
        if refusal is not None:
            self.refusals.append(f"{model}: {refusal.content.decode()}")
            return refusal
        self.inputs += given or _pictures_in(body)
        job = self._accept(model, body)
        if isinstance(fault, Reply) and "x-fal-request-id" in fault.headers:
            return replace(fault, headers={**fault.headers, "x-fal-request-id": job.request_id})
        if fault is not None:
            return fault
        return self._direct(job, request) if direct else self._ticket(job, request)

    def _refusal(
        self, request: Received, model: str, body: Json, given: list[Given]
    ) -> Reply | None:
        if model in self.schemas:
            found = problems_with(body, self.schemas[model])
            return Reply(422, {"detail": found}) if found else None
        wrong = [part.name for part in given if part.name not in {self.edit_field, "mask"}]
        if model.startswith("gpt-image") and "response_format" in body:
            wrong.append("response_format")
        if wrong and request.route != "submit":
            text = f"Unknown parameter: '{wrong[0]}'."
            return Reply(400, {"error": {"message": text, "param": wrong[0], "code": None}})
        return None

    def _accept(self, model: str, body: Json) -> Job:
        count = next((int(body[name]) for name in _COUNTS if name in body), 1)
        wish = str(body.get("prompt") or json.dumps(body, sort_keys=True))
        started = ready = now = self.clock()
        if self.seconds is not None:
            if self.slots is not None:
                started = max(now, heapq.heappop(self._free))
                self._starts.append(started)
            ready = started + (self.seconds(body) if callable(self.seconds) else self.seconds)
            if self.slots is not None:
                heapq.heappush(self._free, ready)
        name, polls = next(self.ids), (self.polls, self.queued)
        job = Job(name, model, body, wish, count, *polls, started=started, ready=ready)
        self.jobs[name] = job
        return job

    def _ticket(self, job: Job, request: Received) -> Reply:
        app = "/".join(job.model.split("/")[:2])
        root = f"{self.ticket_base or request.origin}/{app}/requests/{job.request_id}"
        body = {
            "status": "IN_QUEUE",
            "request_id": job.request_id,
            "response_url": root,
            "status_url": f"{root}/status",
            "cancel_url": f"{root}/cancel",
            "queue_position": self._ahead(job),
        }
        return Reply(200, body)

    def _direct(self, job: Job, request: Received) -> Reply:
        """Answer as OpenAI's image routes do: with the pictures."""
        data: list[Json] = []
        for number in range(job.count):
            if job.model.startswith("dall-e"):
                picture_of = {"url": self._address(job, number, request), "b64_json": ""}
            else:
                content = self._picture(f"/files/{job.request_id}/{number}.{job.extension}")
                picture_of = {"url": "", "b64_json": base64.b64encode(content).decode()}
            data.append({**picture_of, "revised_prompt": f"{job.wish}, revised"})
        return Reply(200, {"created": 1_790_000_000, "data": data, "usage": {"total_tokens": 9}})

    # ------------------------------------------------------------------------------------ one job

    def _phase(self, job: Job) -> str:
        """Return the word for a job's state; being asked brings it nearer to its end."""
        if job.cancelled:
            return "COMPLETED"
        if self.seconds is not None and self.clock() < job.ready:
            return "IN_QUEUE" if self.clock() < job.started else "IN_PROGRESS"
        if job.queued_left > 0:
            job.queued_left -= 1
            return "IN_QUEUE"
        if job.polls_left > 0:
            job.polls_left -= 1
            return "IN_PROGRESS"
        return "COMPLETED"

    def _is_over(self, job: Job) -> bool:
        waits = self.clock() < job.ready or job.queued_left > 0 or job.polls_left > 0
        return job.cancelled or not waits

    def _ahead(self, job: Job) -> int:
        if not self._starts:
            return int(job.queued_left)
        started = bisect.bisect_right(self._starts, self.clock())
        return max(0, bisect.bisect_left(self._starts, job.started) - started)

    def _status(self, job: Job) -> Json:
        word = self._phase(job)
        body: Json = {"status": word, "request_id": job.request_id, "logs": None, "metrics": {}}
        if word == "IN_QUEUE":
            body["queue_position"] = self._ahead(job)
        elif word == "IN_PROGRESS":
            body["logs"] = [{"message": "drawing", "timestamp": "2026-11-26T12:00:00Z"}]
        elif job.cancelled:
            body["error_type"] = "client_cancelled"
        else:
            took = TOOK_SECONDS if self.seconds is None else job.ready - job.started
            body["metrics"] = {"inference_time": took}
        return body

    async def _stream(self, job: Job) -> AsyncIterator[bytes]:
        sent: Json = {}
        while sent.get("status") != "COMPLETED":
            status = self._status(job)
            if status != sent or self.seconds is None:
                yield b"data: " + json.dumps(status).encode() + b"\n\n"
            sent = status
            if self.seconds is not None and not self._is_over(job):
                until = job.started if self.clock() < job.started else job.ready
                await self.sleep(min(max(until - self.clock(), 0.0), 1.0))
            while math.inf in (job.polls_left, job.queued_left) and not job.cancelled:
                await self.sleep(WAKE_SECONDS)

    def _cancel(self, job: Job) -> Answer:
        if self._is_over(job) and not job.cancelled:
            return self.cancels or Reply(400, {"status": "ALREADY_COMPLETED"})
        job.cancelled = job.cancelled or self.obeys
        return self.cancels or Reply(200, {"status": "OK"})

    def _result(self, job: Job, request: Received) -> Answer:
        if job.cancelled:
            gone = {"detail": "cancelled", "error_type": "client_cancelled"}
            return Reply(499, gone, {"x-fal-error-type": "client_cancelled"})
        if self._phase(job) != "COMPLETED":
            return Reply(400, {"detail": "Request is still in progress"})
        kind, numbers = f"image/{job.extension}", range(job.count)
        pictures = [{"url": self._address(job, n, request), "content_type": kind} for n in numbers]
        body: Json = {"images": pictures, "seed": job.arguments.get("seed", 7), "description": ""}
        if self.filtered:
            body["has_nsfw_concepts"] = list(self.filtered[: job.count])
        return Reply(200, body, {"x-fal-billable-units": self.units} if self.units else {})

    def _address(self, job: Job, number: int, request: Received) -> str:
        local = "127.0.0.1" in request.origin or "localhost" in request.origin
        origin = self.media_base or (request.origin if local else MEDIA)
        return f"{origin}/files/{job.request_id}/{number}.{job.extension}"

    def _picture(self, name: str) -> bytes:
        if self.picture:
            return self.picture
        return large_png(name, self.picture_bytes) if self.picture_bytes else picture(name)

    async def silence(self) -> None:
        """Wait as long as a connection stays silent, on the socket: not after `heal`."""
        end, healed = self.clock() + self.silence_seconds, self._healed
        while (left := end - self.clock()) > 0 and self._healed == healed:
            await self.sleep(min(left, WAKE_SECONDS))

    async def sleep(self, seconds: float) -> None:
        """Wait by the clock that was given, or in real time."""
        await getattr(self.clock, "sleep", asyncio.sleep)(seconds)

    # -------------------------------------------------------------------------------- its fronts

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return an httpx transport that asks this queue."""
        from tests.fakequeue.fronts import make_transport

        return make_transport(self)

    def serve(self) -> contextlib.AbstractContextManager[str]:
        """Serve on a free port of 127.0.0.1, in a thread, and give the base address."""
        from tests.fakequeue.fronts import serve_in_thread

        return serve_in_thread(self)


def _pictures_in(body: Json) -> list[Given]:
    """Return the pictures in a JSON body: data addresses with their bytes, https addresses."""
    found = []
    for name, value in body.items():
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            head, _, data = text.partition(";base64,")
            if text.startswith("data:"):
                kind = head.removeprefix("data:")
                found.append(Given(name, kind, base64.b64decode(data, validate=True)))
            elif text.startswith("https://"):
                found.append(Given(name, "", b"", text))
    return found
