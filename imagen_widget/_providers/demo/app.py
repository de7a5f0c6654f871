"""The demo queue: fal's wire, answered from what a request id holds.

A request id holds all that its job needs. So nothing runs in the background, every look computes
the state of its moment, and a job outlives the process that accepted it. In memory are only input
pictures, cancellations and refused inputs.
"""

import base64
import hashlib
import io
import json
import random
import re
import secrets
import struct
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import anyio
from anyio import to_thread
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import models, painter
from .canvas import Canvas
from .models import Json

_MAX_JOBS, _MAX_COUNT = 10_000, 10
_MAX_INPUT_BYTES = 96 * 1024 * 1024
_MAX_DRAWING = 2  # at a time: a picture of 4K takes some 200 MB
_PICTURE = re.compile(r"\w*(image_urls?|mask_url)")  # the names of fields that take pictures
_COUNTS = ("num_images", "num_samples", "number_of_images", "max_images", "n")
_BALANCE = "User is locked. Reason: Exhausted balance. Top up your balance first."
_RETIRED = "This endpoint is no longer supported. Please use fal-ai/nano-banana-2."
_REJECTED = {  # accepted, but not by the model; the status does not say so
    "reject": ("content_policy_violation", "The prompt was flagged by a content checker."),
    "silent": ("no_media_generated", "No media was generated. Try to rephrase the prompt."),
}
_LOST = "Failed to download the file: the demo has no network, and keeps no pictures for long."
_UNEQUAL = "The mask must have the size of the picture."
# A job with one request in front takes exactly the given seconds: 2 x 0.15 + 0.7.
_STEP_SHARE, _RUN_SHARE = 0.15, 0.7
_MAX_ID_CHARACTERS, _MAX_ORDER_BYTES = 128, 4096
_NUMBERS = struct.Struct(">HBdIqBHH?")
_DIGEST_BYTES = 6  # of an input's digest
_COMMAND = re.compile(r"\s*\[(demo:[a-z]+(?:=\d+(?:\.\d+)?)?)\]")
_COMMANDS = "queue=3 slow=20 few=1 filtered reject silent fail stubborn inline balance retired"
_DEFAULTS = {name: amount for name, _, amount in (c.partition("=") for c in _COMMANDS.split())}
_FAILED = "Runner disconnected while processing the request", "runner_disconnected"
_CANCELLED = "Request was cancelled by the client", "client_cancelled"
# What ids are compressed against.
_USUAL = ('{"sheets": 5, "shadows": true, "colours": {"": "#', '", "jpeg", {}]', '", "png", {}]')
_LIKELY = " ".join([*painter.EFFECTS, *painter.CALLS, *models.SERVED, *_USUAL]).encode()


# -- jobs ---------------------------------------------------------------------------------------


class Order(NamedTuple):
    """What a job makes; `key` with the seed is the source of all chance."""

    submitted: float  # seconds since 1970, as all moments here
    key: int  # a checksum of the prompt
    seed: int
    number: int  # of pictures
    width: int
    height: int
    masked: bool  # whether the last input is a mask
    inputs: list[str]  # digests of the pictures that were given
    endpoint: str
    words: str  # of the prompt only what the demo knows
    format: str
    options: Json  # fields of the model that the painter reads


def read_prompt(prompt: str) -> tuple[int, str]:
    """Return a checksum of a prompt, and those of its words and commands that the demo knows."""
    plain = _COMMAND.sub("", prompt).strip()
    words = [
        painter.known_words(plain, (*painter.EFFECTS, *painter.CALLS)),
        *_COMMAND.findall(prompt),
    ]
    return zlib.crc32(plain.encode(errors="replace")), " ".join(filter(None, words))


def make_id(order: Order) -> str:
    """Return an id that holds an order; one that means nothing if the order is too long."""
    *numbers, inputs, endpoint, words, encoding, options = order
    text = json.dumps([endpoint, words, encoding, options], ensure_ascii=False)
    packer = zlib.compressobj(9, zdict=_LIKELY)
    try:
        data = _NUMBERS.pack(secrets.randbits(16), len(inputs), *numbers)
    except struct.error:  # a seed of more than 64 bits
        return secrets.token_hex(16)
    data += bytes.fromhex("".join(inputs)) + text.encode()
    name = base64.urlsafe_b64encode(packer.compress(data) + packer.flush()).decode().rstrip("=")
    return name if len(name) <= _MAX_ID_CHARACTERS else secrets.token_hex(16)


def read_id(request_id: str) -> Order | None:
    """Return the order that an id holds; None if it holds nothing."""
    try:
        packed = base64.urlsafe_b64decode(request_id + "=" * (-len(request_id) % 4))
        data = zlib.decompressobj(zdict=_LIKELY).decompress(packed, _MAX_ORDER_BYTES)
        _, count, *numbers = _NUMBERS.unpack_from(data)
        places = range(_NUMBERS.size, _NUMBERS.size + count * _DIGEST_BYTES, _DIGEST_BYTES)
        inputs = [data[place : place + _DIGEST_BYTES].hex() for place in places]
        return Order._make((*numbers, inputs, *json.loads(data[places.stop :])))
    except (zlib.error, struct.error, ValueError, TypeError):
        return None


class Job:
    """One accepted request."""

    def __init__(self, name: str, order: Order, faults: list[Json], *, seconds: float) -> None:
        self.request_id, self.order = name, order
        self.faults = faults  # of its input: it runs all the same, and its result says why
        self.app = "/".join(order.endpoint.split("/")[:2])
        commands = [w[5:].partition("=") for w in order.words.split() if w.startswith("demo:")]
        self.told = {name: amount or _DEFAULTS.get(name, "") for name, _, amount in commands}
        self.count = max(0, order.number - int(float(self.told.get("few", 0))))
        self.ahead = int(float(self.told.get("queue", 1)))
        seconds = float(self.told.get("slow", seconds))
        self._step, run = seconds * _STEP_SHARE, seconds * _RUN_SHARE
        self._started = order.submitted + self._step * (self.ahead + 1)
        self.ended = self._started + run
        self.trouble = _FAILED if "fail" in self.told and not faults else None
        said = [f"Unknown: [demo:{name}]" for name in self.told if name not in _DEFAULTS]
        said.append(f"Generating {order.number} image{'s' if order.number > 1 else ''}")
        self._log = [(self._started, text) for text in said]
        for n in range(1, order.number + 1):
            said_at = self._started + run * n / (order.number + 1)
            self._log.append((said_at, f"Image {n} of {order.number}"))

    def cancel(self, now: float) -> bool:
        """Cancel it, unless it is stubborn; return False if it has ended."""
        if now >= self.ended:
            return False
        if "stubborn" not in self.told:
            self.ended, self.trouble = now, _CANCELLED
        return True

    def status(self, now: float) -> Json:
        """Return what the status says, without addresses and log."""
        if now >= self.ended:
            worked = None if self.trouble else round(self.ended - self._started, 3)
            error = dict(zip(("error", "error_type"), self.trouble or (), strict=False))
            return {"status": "COMPLETED", "metrics": {"inference_time": worked}, **error}
        if now >= self._started:
            return {"status": "IN_PROGRESS", "metrics": {}}
        gone = int((now - self.order.submitted) / (self._step or 1))
        return {"status": "IN_QUEUE", "metrics": {}, "queue_position": max(0, self.ahead - gone)}

    def logs(self, now: float) -> list[Json]:
        """Return what it has logged so far."""
        until, form = min(now, self.ended), "%Y-%m-%dT%H:%M:%S.%fZ"
        said = [(datetime.fromtimestamp(at, UTC), text) for at, text in self._log if at <= until]
        return [{"message": s, "level": "INFO", "timestamp": at.strftime(form)} for at, s in said]


# -- routes -------------------------------------------------------------------------------------


def create_app(*, seconds: float = 4.0, clock: Callable[[], float] = time.time) -> Starlette:
    """Make a queue whose jobs take so many seconds; `clock` gives seconds since 1970."""
    demo = _Demo(seconds, clock)
    job = "/{owner}/{alias}/requests/{request_id}"
    routes = [
        Route("/api/openapi/queue/openapi.json", demo.schema),
        Route("/files/{request_id}/{name}", demo.media, name="media"),
        Route(f"{job}/status", demo.status),
        Route(f"{job}/cancel", demo.cancel, methods=["PUT"]),
        Route(job, demo.result),
        Route("/{owner}/{endpoint:path}", demo.submit, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={404: _not_found})


async def _not_found(_: Request, __: Exception) -> Response:
    return JSONResponse({"status": "NOT_FOUND"}, 404)


class _Demo:
    """The routes and what they remember."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = seconds, clock
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._inputs: OrderedDict[str, bytes] = OrderedDict()
        self._drawing = anyio.CapacityLimiter(_MAX_DRAWING)
        self._reading = anyio.CapacityLimiter(1)  # as inputs are kept by one thread at a time

    async def schema(self, request: Request) -> Response:
        endpoint = request.query_params.get("endpoint_id")
        if endpoint not in models.SERVED:
            raise HTTPException(404)
        return JSONResponse(models.schema(endpoint))

    async def submit(self, request: Request) -> Response:
        try:
            payload = json.loads(await request.body(), parse_constant=int)  # not NaN
        except ValueError:
            payload = None
        if not isinstance(payload, dict):
            message = "Input should be a valid dictionary"
            return JSONResponse({"detail": [models.fault([], "dict_type", message, payload)]}, 422)
        wanted = "{owner}/{endpoint}".format(**request.path_params), payload
        order, faults = await to_thread.run_sync(self._read, *wanted, limiter=self._reading)
        request_id = secrets.token_hex(16) if faults else make_id(order)
        job = Job(request_id, order, faults, seconds=self._seconds)
        if "balance" in job.told:
            return JSONResponse({"detail": _BALANCE}, 403)
        if "retired" in job.told:
            detail = {"error": "EndpointDeprecated", "message": _RETIRED}
            return JSONResponse({"detail": detail}, 410)
        self._keep(job)
        ticket = {"status": "IN_QUEUE", "queue_position": job.ahead, "logs": None, "metrics": {}}
        return _answer(job, 200, _addresses(job) | ticket)

    async def status(self, request: Request) -> Response:
        job, now = self._find(request), self._clock()
        wanted = request.query_params.get("logs") in ("1", "true")
        body = job.status(now) | {"logs": job.logs(now) if wanted else None}
        return _answer(job, 200 if now >= job.ended else 202, _addresses(job) | body)

    async def result(self, request: Request) -> Response:
        job = self._find(request)
        if self._clock() < job.ended:
            return _answer(job, 400, {"detail": "Request is still in progress"})
        if job.trouble:
            error, kind = job.trouble
            code = 499 if kind == "client_cancelled" else 503
            return _answer(job, code, {"detail": error, "error_type": kind}, error_type=kind)
        reasons = [_REJECTED[told] for told in job.told if told in _REJECTED]
        faults = job.faults or [models.fault(["prompt"], *reason) for reason in reasons]
        if faults:
            return _answer(job, 422, {"detail": faults}, error_type=faults[0]["type"])
        images = [await self._image(request, job, number) for number in range(job.count)]
        body: Json = {"images": images, "seed": job.order.seed, "description": ""}
        if models.SERVED.get(job.order.endpoint, models.ANY).single and images:
            body = {"image": images[0]}
        if "filtered" in job.told:
            body["has_nsfw_concepts"] = [number == 0 for number in range(job.count)]
        return _answer(job, 200, body, units=job.count)

    async def media(self, request: Request) -> Response:
        job = self._job(request.path_params["request_id"])
        names = {f"{number}.{job.order.format}": number for number in range(job.count)}
        if job.faults or request.path_params["name"] not in names:
            raise HTTPException(404)
        data = await self._draw(job, names[request.path_params["name"]])
        return Response(data, media_type=f"image/{job.order.format}")

    async def cancel(self, request: Request) -> Response:
        job = self._find(request)
        if job.cancel(self._clock()):
            return _answer(job, 202, {"status": "CANCELLATION_REQUESTED"})
        return _answer(job, 400, {"status": "ALREADY_COMPLETED"})

    def _find(self, request: Request) -> Job:
        """Return the job that a request is about, if the app in its address is the job's own."""
        job = self._job(request.path_params["request_id"])
        if job.app != "{owner}/{alias}".format(**request.path_params):
            raise HTTPException(404)
        return job

    def _job(self, request_id: str) -> Job:
        """Return a job that is kept, or that its id tells."""
        job = self._jobs.get(request_id)
        if job is None:
            order = read_id(request_id)
            if order is None:
                raise HTTPException(404)
            job = Job(request_id, order, [], seconds=self._seconds)
            self._keep(job)
        if not job.faults and not self._inputs.keys() >= set(job.order.inputs):
            job.faults = [models.fault(["image_url"], "file_download_error", _LOST)]
        return job

    def _keep(self, job: Job) -> None:
        self._jobs[job.request_id] = job
        if len(self._jobs) > _MAX_JOBS:
            self._jobs.popitem(last=False)

    def _read(self, endpoint: str, payload: Json) -> tuple[Order, list[Json]]:
        """Read an input into an order, and find all that is wrong with it."""
        faults = models.check(endpoint, payload)
        given = models.read_fields(endpoint, {} if faults else payload)
        names = [name for name in given if given[name] and _PICTURE.fullmatch(name)]
        digests: list[str] = []
        sizes: list[tuple[int, int]] = []
        for name in sorted(names, key=lambda name: "mask" in name):
            for url in given[name] if isinstance(given[name], list) else [given[name]]:
                try:
                    digest, size = self._keep_input(str(url))
                except (OSError, SyntaxError, ValueError):
                    faults.append(models.fault([name], "file_download_error", _LOST))
                    continue
                if "mask" in name and size not in sizes[:1]:
                    faults.append(models.fault([name], "value_error", _UNEQUAL))
                digests.append(digest)
                sizes.append(size)
        seed, encoding = given.get("seed"), given.get("output_format")
        counts = [given[name] for name in _COUNTS if isinstance(given.get(name), int)]
        key, words = read_prompt(str(given.get("prompt") or ""))
        order = Order(
            self._clock(),
            key,
            seed if isinstance(seed, int) else secrets.randbelow(2**31),
            max(1, min(_MAX_COUNT, *counts)) if counts else 1,
            *models.read_size(given, sizes[0] if sizes else None),
            "mask" in "".join(names),
            digests,
            endpoint,
            f"{words} demo:inline" if given.get("sync_mode") is True else words,
            encoding if encoding in ("jpeg", "webp") else "png",
            {name: given[name] for name in painter.OPTIONS if name in given},
        )
        return order, faults

    def _keep_input(self, url: str) -> tuple[str, tuple[int, int]]:
        """Keep a picture that is given as a `data:` address; return its digest and size."""
        head, _, data = url.partition(";base64,")
        picture = base64.b64decode(data, validate=True) if head.startswith("data:") else b""
        with Image.open(io.BytesIO(picture)) as image:
            image.load()
            size = image.size
        digest = hashlib.blake2s(picture, digest_size=_DIGEST_BYTES).hexdigest()
        self._inputs[digest] = picture
        self._inputs.move_to_end(digest)
        while sum(map(len, self._inputs.values())) > _MAX_INPUT_BYTES:
            self._inputs.popitem(last=False)
        return digest, size

    async def _image(self, request: Request, job: Job, number: int) -> Json:
        """Describe a picture, which is drawn only when its address is asked for."""
        order, name = job.order, f"{number}.{job.order.format}"
        url = str(request.url_for("media", request_id=job.request_id, name=name))
        if "inline" in job.told:
            data = base64.b64encode(await self._draw(job, number)).decode()
            url = f"data:image/{order.format};base64,{data}"
        size = {"width": order.width, "height": order.height, "file_size": None}
        return {"url": url, "content_type": f"image/{order.format}", "file_name": name, **size}

    async def _draw(self, job: Job, number: int) -> bytes:
        inputs = [self._inputs[digest] for digest in job.order.inputs]
        return await to_thread.run_sync(_paint, job, number, inputs, limiter=self._drawing)


def _paint(job: Job, number: int, inputs: list[bytes]) -> bytes:
    """Draw one picture of a job, or change those that were given."""
    order, key = job.order, f"{job.order.key}|{job.order.seed}"
    canvas = Canvas((order.width, order.height), rng=random.Random(f"{key}|{number}"))
    pictures = [Image.open(io.BytesIO(data)) for data in inputs]
    mask = pictures.pop() if order.masked else None
    if number == 0 and "filtered" in job.told:
        return painter.finish(canvas, order.format)  # black, as fal returns what it flags
    if pictures:
        canvas.image = painter.collage(pictures, canvas.image.size)
        if order.key:  # not for models without a prompt
            painter.edit(canvas, order.words, key, index=number, mask=mask)
    else:
        painter.draw(canvas, order.words, key, number, order.options)
    return painter.finish(canvas, order.format)


def _addresses(job: Job) -> Json:
    """Return the addresses as real gateways give them: on fal's own host, without the sub-path."""
    url = f"https://queue.fal.run/{job.app}/requests/{job.request_id}"
    links = {"response_url": url, "status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}
    return {"request_id": job.request_id, **links}


def _answer(job: Job, code: int, body: Json, *, error_type: str = "", units: int = 0) -> Response:
    headers = {"x-fal-request-id": job.request_id, "x-fal-billable-units": str(units)}
    headers |= {"x-fal-error-type": error_type} if error_type else {}
    return JSONResponse(body, code, headers)
