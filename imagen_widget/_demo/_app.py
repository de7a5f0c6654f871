"""The demo queue's routes."""

import json
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from . import _gallery, _models, _wire
from ._behaviour import Behaviour, EarlyResult, Refusal, StatusRoute, steer
from ._models import Json, Order
from ._queue import DemoQueue, Finished, Job, LogLine, log_of
from ._stream import events

_KEPT_REQUESTS = 10_000
_LARGEST_SEED = 2**31
_PAGE = "<!doctype html><title>Welcome</title><p>This page is not an API."


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedRequest:
    """One request as it came in."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes

    def json(self) -> object:
        """The body, read as JSON."""
        return json.loads(self.body)


def create_app(
    *,
    seconds: float = 4.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    slots: int = 2,
    behaviour: Behaviour | None = None,
    script: Iterable[Behaviour] = (),
    intercept: Callable[[RecordedRequest], Response | None] | None = None,
    require_key: str | None = None,
    base_url: str | None = None,
    prefix: str = "",
) -> Starlette:
    """Make a queue that nothing but its callers keeps going.

    Args:
        seconds: How long a job takes from submit to end; 0 finishes it at once.
        clock: Tells the time, in seconds.
        sleep: Waits between two looks of the status stream, in seconds.
        slots: How many jobs are at work at once.
        behaviour: How jobs are treated; a healthy queue if not given.
        script: How the first jobs are treated instead, one after the other.
        intercept: Sees each request first; what it returns is the answer.
        require_key: The only key that is accepted, as `Key …` or `Bearer …`; None for any, or none.
        base_url: Where callers find this app; None for the address each caller used.
        prefix: A path in front of every route, such as `/fal`.

    The server is at `app.state.demo`: its `requests`, `queue` and `behaviour` are there to be
    read, and `behaviour` and `script` to be changed.
    """
    server = DemoServer(
        queue=DemoQueue(clock=clock, slots=slots, seconds=seconds),
        sleep=sleep,
        epoch=time.time() - clock(),
        behaviour=behaviour or Behaviour(),
        script=deque(script),
        intercept=intercept,
        require_key=require_key,
        base_url=base_url,
    )
    routes = server.routes()
    app = Starlette(routes=[Mount(prefix, routes=routes)] if prefix else routes)
    app.state.demo = server
    return app


_Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(kw_only=True, eq=False)
class DemoServer:
    """The routes, and what tests want to know about them."""

    queue: DemoQueue
    behaviour: Behaviour
    script: deque[Behaviour]
    sleep: Callable[[float], Awaitable[None]]
    epoch: float
    intercept: Callable[[RecordedRequest], Response | None] | None
    require_key: str | None
    base_url: str | None
    requests: deque[RecordedRequest] = field(default_factory=lambda: deque(maxlen=_KEPT_REQUESTS))
    """The latest requests, media excepted, oldest first."""

    def routes(self) -> list[Route]:
        """All routes, the longer paths first: a submit takes any path."""
        job = "/{owner}/{alias}/requests/{request_id}"
        return [
            Route("/files/{request_id}/{name}", self.media, name="media"),
            self._guarded(f"{job}/status/stream", self.stream, method="GET"),
            self._guarded(f"{job}/status", self.status, method="GET"),
            self._guarded(f"{job}/cancel", self.cancel, method="PUT"),
            self._guarded(job, self.result, method="GET"),
            self._guarded("/{owner}/{alias}", self.submit, method="POST"),
            self._guarded("/{owner}/{alias}/{route:path}", self.submit, method="POST"),
        ]

    def _guarded(self, path: str, endpoint: _Endpoint, *, method: str) -> Route:
        """A route that is recorded and asks for the key."""

        async def guarded(request: Request) -> Response:
            seen = RecordedRequest(
                method=request.method,
                path=request.url.path,
                query=request.url.query,
                headers=dict(request.headers),
                body=await request.body(),
            )
            self.requests.append(seen)
            answer = self.intercept(seen) if self.intercept else None
            return answer or self._refuse(request) or await endpoint(request)

        return Route(path, guarded, methods=[method], name=endpoint.__name__)

    async def submit(self, request: Request) -> Response:
        """Accept a job and hand out its ticket."""
        try:
            payload = await request.json()
        except ValueError:
            return _json(_wire.bad_input([_fault_of_body("json_invalid", "JSON decode error")]))
        if not isinstance(payload, dict):
            kind, message = "dict_type", "Input should be a valid dictionary"
            return _json(_wire.bad_input([_fault_of_body(kind, message)]))
        limit = request.query_params.get("fal_max_queue_length", "")
        if limit.isdecimal() and self.queue.waiting > int(limit):
            return _json(_wire.refusal(Refusal.BUSY))
        behaviour = self.script.popleft() if self.script else self.behaviour
        return self._accept(request, payload, behaviour)

    async def status(self, request: Request) -> Response:
        """Tell how a job is doing."""
        job = self._find(request)
        if self.behaviour.status_route is not StatusRoute.SERVED or job is None:
            return self._without_status()
        state = self.queue.look(job)
        body = _wire.status(job, state, logs=self._log(request, log_of(state)))
        return _answer(body, status=200 if isinstance(state, Finished) else 202, job=job)

    async def stream(self, request: Request) -> Response:
        """Tell how a job is doing, and go on telling until it is over."""
        job = self._find(request)
        if self.behaviour.status_route is not StatusRoute.SERVED or job is None:
            return self._without_status()
        if not self.behaviour.stream:
            return _answer(_wire.NOT_FOUND, status=404)
        return StreamingResponse(
            events(self.queue, job, sleep=self.sleep, show=partial(self._log, request)),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-fal-request-id": job.request_id},
        )

    async def result(self, request: Request) -> Response:
        """Hand out what a job has made, or say why there is nothing."""
        job = self._find(request)
        if job is None:
            return _answer(_wire.NOT_FOUND, status=404)
        state = self.queue.look(job)
        if not isinstance(state, Finished):
            if self.behaviour.early_result is EarlyResult.REFUSED:
                return _answer(_wire.STILL_IN_PROGRESS, status=400, job=job)
            body = _wire.status(job, state, logs=self._log(request, log_of(state)))
            return _answer(body, status=200, job=job)
        return _json(await self._outcome(request, job, state), job=job)

    async def cancel(self, request: Request) -> Response:
        """Cancel a job if it is not too late."""
        if self.behaviour.status_route is not StatusRoute.SERVED:
            return self._without_status()
        job = self._find(request)
        if job is None:
            return _answer(_wire.NOT_FOUND, status=404)
        if self.queue.cancel(job):
            return _answer({"status": "CANCELLATION_REQUESTED"}, status=202, job=job)
        return _answer({"status": "ALREADY_COMPLETED"}, status=400, job=job)

    async def media(self, request: Request) -> Response:
        """Hand out one picture, to anyone who has its address."""
        job = self.queue.find(request.path_params["request_id"])
        name = request.path_params["name"]
        if job is None or job.order is None or name not in job.files:
            return _answer({"detail": "File not found"}, status=404)
        data = await _gallery.picture(job.order, number=job.files.index(name))
        return Response(data, media_type=f"image/{job.order.format}")

    def _refuse(self, request: Request) -> Response | None:
        if self.behaviour.refusal in {Refusal.KEY, Refusal.BALANCE}:
            return _json(_wire.refusal(self.behaviour.refusal))
        given = request.headers.get("authorization")
        if self.require_key is None or given in {
            f"Key {self.require_key}",
            f"Bearer {self.require_key}",
        }:
            return None
        return _json(_wire.refusal(Refusal.KEY))

    def _accept(self, request: Request, payload: Json, behaviour: Behaviour) -> Response:
        app = f"{request.path_params['owner']}/{request.path_params['alias']}"
        route = request.path_params.get("route", "")
        model = _models.find_model(app, route)
        order = None
        if model is not None and not _models.check(model, payload):
            order = _models.read_order(model, payload)
            prompt, behaviour = steer(order.prompt, behaviour)
            seed = uuid.uuid4().int % _LARGEST_SEED if order.seed is None else order.seed
            order = replace(order, prompt=prompt, seed=seed)
        if behaviour.refusal is not None:
            return _json(_wire.refusal(behaviour.refusal))
        job = self.queue.submit(
            str(uuid.uuid4()),
            app=app,
            route=route,
            payload=payload,
            order=order,
            behaviour=behaviour,
        )
        body = _wire.ticket(job, position=self.queue.position_at_submit(job))
        answer = _answer(body, status=200, job=job)
        if behaviour.drops_answer:
            answer.body = answer.body[: len(answer.body) // 2]
        return answer

    def _find(self, request: Request) -> Job | None:
        """The job that a request is about, if the app in its address is the job's own."""
        job = self.queue.find(request.path_params["request_id"])
        owner, alias = request.path_params["owner"], request.path_params["alias"]
        if job is None:
            return None
        home = f"{job.app.partition('/')[0]}/auto" if self.behaviour.auto_alias else job.app
        return job if f"{owner}/{alias}" == home else None

    def _without_status(self) -> Response:
        if self.behaviour.status_route is StatusRoute.PAGE:
            return HTMLResponse(_PAGE)
        return _answer(_wire.NOT_FOUND, status=404)

    def _log(self, request: Request, lines: Sequence[LogLine]) -> list[Json] | None:
        wanted = request.query_params.get("logs", "0") in {"1", "true"}
        return [_wire.log_entry(line, epoch=self.epoch) for line in lines] if wanted else None

    async def _outcome(self, request: Request, job: Job, done: Finished) -> _wire.Answer:
        model = _models.find_model(job.app, job.route)
        if model is None:
            return _wire.no_such_route(job.route)
        if (failure := _wire.failure(job, done)) is not None:
            return failure
        if job.order is None:
            return _wire.bad_input(_models.check(model, job.payload))
        urls = [
            await self._url(request, job, job.order, number=number)
            for number in range(len(job.files))
        ]
        return _wire.pictures(job.order, files=job.files, urls=urls)

    async def _url(self, request: Request, job: Job, order: Order, *, number: int) -> str:
        """The address of a picture, which is painted only when that address is asked for."""
        if order.sync_mode or job.behaviour.data_uris:
            return await _gallery.data_uri(order, number=number)
        name = job.files[number]
        if self.base_url is not None:
            return f"{self.base_url.rstrip('/')}/files/{job.request_id}/{name}"
        return str(request.url_for("media", request_id=job.request_id, name=name))


def _fault_of_body(kind: str, message: str) -> Json:
    return {"loc": ["body"], "msg": message, "type": kind}


def _answer(body: Json, *, status: int, job: Job | None = None) -> Response:
    return _json(_wire.Answer(status, body), job=job)


def _json(answer: _wire.Answer, *, job: Job | None = None) -> Response:
    traced = {"x-fal-request-id": job.request_id} if job else {}
    return JSONResponse(answer.body, status_code=answer.status, headers=answer.headers | traced)
