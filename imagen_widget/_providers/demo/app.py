"""The demo queue: fal's wire, answered from what a request id holds.

It is written from the documented wire format and imports nothing of the client, so that when the
two agree it is evidence, not an echo. A request id holds all that its job needs. So nothing runs in
the background, every look computes the state of its moment, and a job outlives the process that
accepted it. In memory are only input pictures, cancellations and refused inputs. Words in brackets
control a single job:

| in the prompt       | what happens                                                    |
|---------------------|-----------------------------------------------------------------|
| `[demo:queue=3]`    | three requests are in front of this one                         |
| `[demo:slow=20]`    | the whole job takes twenty seconds                              |
| `[demo:few]`        | one picture fewer than asked (`[demo:few=2]`: two fewer)        |
| `[demo:reject]`     | the content checker refuses the prompt                          |
| `[demo:fail]`       | the machine is lost while it works                              |
"""

import base64
import hashlib
import io
import json
import math
import random
import re
import secrets
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import anyio
from anyio import to_thread
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import painter

Json = dict[str, Any]

_MAX_JOBS, _MAX_COUNT = 10_000, 10
_MAX_INPUT_BYTES = 96 * 1024 * 1024
_MAX_DRAWING = 2  # at a time: a picture of 4K takes some 200 MB
_PICTURE = re.compile(r"\w*(image_urls?|mask_url)")  # the names of fields that take pictures
_COUNTS = ("num_images", "num_samples", "number_of_images", "max_images", "n")
_REJECTED = "content_policy_violation", "The prompt was flagged by a content checker."
_LOST = "Failed to download the file: the demo has no network, and keeps no pictures for long."
_UNEQUAL = "The mask must have the size of the picture."
# A job with one request in front takes exactly the given seconds: 2 x 0.15 + 0.7.
_STEP_SHARE, _RUN_SHARE = 0.15, 0.7
_MAX_ID_CHARACTERS, _MAX_ORDER_BYTES = 256, 4096
_DIGEST_BYTES = 6  # of an input's digest
_COMMAND = re.compile(r"\s*\[(demo:[a-z]+(?:=\d+(?:\.\d+)?)?)\]")
_USUAL = {"queue": 3, "slow": 20, "few": 1}  # what a command means without a number
_FAILED = "Runner disconnected while processing the request", "runner_disconnected"
_CANCELLED = "Request was cancelled by the client", "client_cancelled"

# -- models -------------------------------------------------------------------------------------

# The demo draws for any endpoint, by the names that fields usually have. Nothing is checked here:
# the client knows most models, and is told of two that it does not know.
_GRID_PIXELS, _BASE_PIXELS = 32, 1024
_MAX_PIXELS = 17_000_000  # as many as the largest of these models returns
_SIZES = """
square_hd=1024x1024 square=512x512 portrait_4_3=768x1024 portrait_16_9=576x1024
landscape_4_3=1024x768 landscape_16_9=1024x576
3:4=896x1280 4:3=1280x896 9:16=768x1408 16:9=1408x768
"""  # the ratios as Imagen has them
_PIXELS = dict(re.findall(r"(\S+)=(\S+)", _SIZES))


def _choice(words: str) -> Json:
    return {"type": "string", "enum": words.split(), "default": words.split()[0]}


_UPSCALER = "fal-ai/esrgan"
_SIDE = {"type": "integer", "minimum": 1, "maximum": 14142, "default": 512}
_SIZE = {"type": "object", "properties": {"width": _SIDE, "height": _SIDE}}
_SHEETS = {"type": "integer", "minimum": 2, "maximum": 9, "default": 5, "ui": {"important": True}}
_SCHEMAS: Mapping[str, Json] = {  # the first field is required
    _UPSCALER: {
        "image_url": {"type": "string", "ui": {"field": "image"}},
        "scale": {"type": "number", "minimum": 1, "maximum": 8, "default": 2},
        "model": _choice("RealESRGAN_x4plus RealESRGAN_x2plus RealESRGAN_x4plus_anime_6B"),
        "face": {"type": "boolean", "default": False},
        "output_format": _choice("png jpeg"),
    },
    "demo/paper-cut": {
        "prompt": {"type": "string", "minLength": 1, "ui": {"field": "textarea"}},
        "sheets": _SHEETS,
        "shadows": {"type": "boolean", "default": True},
        "image_size": {
            "anyOf": [_SIZE, _choice(" ".join(list(_PIXELS)[:6]))],
            "default": "square_hd",
        },
        "colours": {"type": "object", "description": 'Such as {"front": "#1d3557"}.'},
        "num_images": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
        "seed": {"type": "integer"},
    },
}
_DEFAULTS: Mapping[str, Json] = {  # of models that the client knows
    "fal-ai/flux/dev": {"image_size": "landscape_4_3", "output_format": "jpeg"},
    "fal-ai/flux-pro/kontext": {"output_format": "jpeg"},
}


def read_size(fields: Json, given: tuple[int, int] | None) -> tuple[int, int]:
    """Return the pixels of the pictures to make; `given` are those of the input."""
    asked = fields.get("image_size") or fields.get("aspect_ratio")
    words = re.fullmatch(r"(\d+\.?\d*)([x:])(\d+\.?\d*)", _PIXELS.get(str(asked), str(asked)))
    width, height = map(float, given or (_BASE_PIXELS, _BASE_PIXELS))
    if isinstance(asked, dict):
        width, height = (_number(asked.get(side), 512) for side in ("width", "height"))
    elif words:
        width, height = (_number(float(part), 1) for part in words.group(1, 3))
        if words[2] == ":":
            grow = _BASE_PIXELS / math.sqrt(width * height) / _GRID_PIXELS
            width, height = (round(side * grow) * _GRID_PIXELS for side in (width, height))
    resolution = re.fullmatch(r"(\d+\.?\d*)k", str(fields.get("resolution")).lower())
    scale = float(resolution[1]) if resolution else _number(fields.get("scale"), 1)
    scale = min(scale, math.sqrt(_MAX_PIXELS / max(1, width * height)))
    return max(16, int(width * scale)), max(16, int(height * scale))


def _number(value: object, default: float) -> float:
    """Return a number that makes sense: nobody checks the input of a model that is not known."""
    return max(0.1, min(value, 20_000.0)) if isinstance(value, int | float) else default


# -- jobs ---------------------------------------------------------------------------------------


def fault(field: str, kind: str, message: str) -> Json:
    """Return why an input is refused: it gets a ticket all the same, and its result says so."""
    return {"loc": ["body", field], "msg": message, "type": kind, "input": None}


# What ids are compressed against.
_FREQUENT = (
    *("fal-ai/imagen4/preview", "fal-ai/nano-banana/edit", "fal-ai/ideogram/v3/edit"),
    *('{"sheets":5,"shadows":true,"colours":{"":"#', '","jpeg",{}]', '","png",{}]'),
    ",1,1024,1024,false,[]",
)
_LIKELY = " ".join([*painter.EFFECTS, *painter.CALLS, *_SCHEMAS, *_DEFAULTS, *_FREQUENT])


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
    known = painter.known_words(plain, (*painter.EFFECTS, *painter.CALLS))
    words = [known, *_COMMAND.findall(prompt)]
    return zlib.crc32(plain.encode(errors="replace")), " ".join(filter(None, words))


def make_id(order: Order) -> str:
    """Return an id that holds an order; one that means nothing if the order is too long."""
    text = json.dumps([secrets.randbits(16), *order], ensure_ascii=False, separators=(",", ":"))
    packer = zlib.compressobj(9, zdict=_LIKELY.encode())
    packed = packer.compress(text.encode()) + packer.flush()
    name = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    return name if len(name) <= _MAX_ID_CHARACTERS else secrets.token_hex(16)


def read_id(request_id: str) -> Order | None:
    try:
        packed = base64.urlsafe_b64decode(request_id + "=" * (-len(request_id) % 4))
        text = zlib.decompressobj(zdict=_LIKELY.encode()).decompress(packed, _MAX_ORDER_BYTES)
        return Order._make(json.loads(text)[1:])
    except (zlib.error, ValueError, TypeError, LookupError):
        return None


class Job:
    def __init__(self, name: str, order: Order, faults: list[Json], *, seconds: float) -> None:
        self.request_id, self.order = name, order
        self.faults = faults  # of its input: it runs all the same, and its result says why
        self.app = "/".join(order.endpoint.split("/")[:2])
        commands = [w[5:].partition("=") for w in order.words.split() if w.startswith("demo:")]
        told = {name: float(amount or _USUAL.get(name, 0)) for name, _, amount in commands}
        self.told, seconds = told, told.get("slow", seconds)
        self.count = max(0, order.number - int(told.get("few", 0)))
        self.ahead = int(told.get("queue", 1))
        self._step, run = seconds * _STEP_SHARE, seconds * _RUN_SHARE
        self._started = order.submitted + self._step * (self.ahead + 1)
        self.ended = self._started + run
        self.trouble = _FAILED if "fail" in self.told and not faults else None
        images = f"{order.number} image{'s' if order.number > 1 else ''}"
        self._log = [(self._started, f"Generating {images}")]
        for n in range(1, order.number + 1):
            said_at = self._started + run * n / (order.number + 1)
            self._log.append((said_at, f"Image {n} of {order.number}"))

    def cancel(self, now: float) -> bool:
        """Cancel it; return False if it has ended."""
        if now >= self.ended:
            return False
        self.ended, self.trouble = now, _CANCELLED
        return True

    def status(self, now: float) -> Json:
        if now >= self.ended:
            worked = None if self.trouble else round(self.ended - self._started, 3)
            error = dict(zip(("error", "error_type"), self.trouble or (), strict=False))
            return {"status": "COMPLETED", "metrics": {"inference_time": worked}, **error}
        if now >= self._started:
            return {"status": "IN_PROGRESS", "metrics": {}}
        gone = int((now - self.order.submitted) / (self._step or 1))
        return {"status": "IN_QUEUE", "metrics": {}, "queue_position": max(0, self.ahead - gone)}

    def logs(self, now: float) -> list[Json]:
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
    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = seconds, clock
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._inputs: OrderedDict[str, bytes] = OrderedDict()
        self._drawing = anyio.CapacityLimiter(_MAX_DRAWING)
        self._reading = anyio.CapacityLimiter(1)  # as inputs are kept by one thread at a time

    async def schema(self, request: Request) -> Response:
        """Answer with what of fal's OpenAPI documents says how a request looks."""
        endpoint = request.query_params.get("endpoint_id", "")
        fields = _SCHEMAS.get(endpoint)
        if fields is None:
            raise HTTPException(404)
        taken = {"properties": fields, "required": list(fields)[:1]}
        taken |= {"type": "object", "x-fal-order-properties": list(fields)}
        media = {"application/json": {"schema": {"$ref": "#/components/schemas/Input"}}}
        document = {
            "openapi": "3.0.4",
            "info": {"title": f"Queue OpenAPI for {endpoint}", "version": "1"},
            "components": {"schemas": {"Input": taken}},
            "paths": {f"/{endpoint}": {"post": {"requestBody": {"content": media}}}},
        }
        return JSONResponse(document)

    async def submit(self, request: Request) -> Response:
        try:
            payload = json.loads(await request.body(), parse_constant=int)  # not NaN
        except ValueError:
            payload = None
        if not isinstance(payload, dict):
            message = "Input should be a valid dictionary"
            detail = {"loc": ["body"], "msg": message, "type": "dict_type", "input": payload}
            return JSONResponse({"detail": [detail]}, 422)
        wanted = "{owner}/{endpoint}".format(**request.path_params), payload
        order, faults = await to_thread.run_sync(self._read, *wanted, limiter=self._reading)
        request_id = secrets.token_hex(16) if faults else make_id(order)
        job = Job(request_id, order, faults, seconds=self._seconds)
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
        refused = [fault("prompt", *_REJECTED)] if "reject" in job.told else []
        if faults := job.faults or refused:  # the status does not say so
            return _answer(job, 422, {"detail": faults}, error_type=faults[0]["type"])
        images = [_image(request, job, number) for number in range(job.count)]
        body: Json = {"images": images, "seed": job.order.seed, "description": ""}
        if job.order.endpoint == _UPSCALER and images:
            body = {"image": images[0]}
        return _answer(job, 200, body, units=job.count)

    async def media(self, request: Request) -> Response:
        job = self._job(request.path_params["request_id"])
        names = {f"{number}.{job.order.format}": number for number in range(job.count)}
        if job.faults or request.path_params["name"] not in names:
            raise HTTPException(404)
        inputs = [self._inputs[digest] for digest in job.order.inputs]
        wanted = job, names[request.path_params["name"]], inputs
        data = await to_thread.run_sync(_paint, *wanted, limiter=self._drawing)
        return Response(data, media_type=f"image/{job.order.format}")

    async def cancel(self, request: Request) -> Response:
        job = self._find(request)
        if job.cancel(self._clock()):
            return _answer(job, 202, {"status": "CANCELLATION_REQUESTED"})
        return _answer(job, 400, {"status": "ALREADY_COMPLETED"})

    def _find(self, request: Request) -> Job:
        job = self._job(request.path_params["request_id"])
        if job.app != "{owner}/{alias}".format(**request.path_params):
            raise HTTPException(404)
        return job

    def _job(self, request_id: str) -> Job:
        job = self._jobs.get(request_id)
        if job is None:
            order = read_id(request_id)
            if order is None:
                raise HTTPException(404)
            job = Job(request_id, order, [], seconds=self._seconds)
            self._keep(job)
        if not job.faults and not self._inputs.keys() >= set(job.order.inputs):
            job.faults = [fault("image_url", "file_download_error", _LOST)]
        return job

    def _keep(self, job: Job) -> None:
        self._jobs[job.request_id] = job
        if len(self._jobs) > _MAX_JOBS:
            self._jobs.popitem(last=False)

    def _read(self, endpoint: str, payload: Json) -> tuple[Order, list[Json]]:
        faults: list[Json] = []
        own = _SCHEMAS.get(endpoint, {}).items()
        defaults = {name: spec["default"] for name, spec in own if "default" in spec}
        given = {**defaults, **_DEFAULTS.get(endpoint, {}), **payload}
        names = [name for name in given if given[name] and _PICTURE.fullmatch(name)]
        digests: list[str] = []
        sizes: list[tuple[int, int]] = []
        for name in sorted(names, key=lambda name: "mask" in name):
            for url in given[name] if isinstance(given[name], list) else [given[name]]:
                try:
                    digest, size = self._keep_input(str(url))
                except (OSError, SyntaxError, ValueError):
                    faults.append(fault(name, "file_download_error", _LOST))
                    continue
                if "mask" in name and size not in sizes[:1]:
                    faults.append(fault(name, "value_error", _UNEQUAL))
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
            *read_size(given, sizes[0] if sizes else None),
            "mask" in "".join(names),
            digests,
            endpoint,
            words,
            encoding if encoding in ("jpeg", "webp") else "png",
            {name: given[name] for name in painter.OPTIONS if name in given},
        )
        return order, faults

    def _keep_input(self, url: str) -> tuple[str, tuple[int, int]]:
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


def _image(request: Request, job: Job, number: int) -> Json:
    order, name = job.order, f"{number}.{job.order.format}"
    url = str(request.url_for("media", request_id=job.request_id, name=name))
    size = {"width": order.width, "height": order.height, "file_size": None}
    return {"url": url, "content_type": f"image/{order.format}", "file_name": name, **size}


def _paint(job: Job, number: int, inputs: list[bytes]) -> bytes:
    order, key = job.order, f"{job.order.key}|{job.order.seed}"
    canvas = painter.Canvas((order.width, order.height), rng=random.Random(f"{key}|{number}"))
    pictures = [Image.open(io.BytesIO(data)) for data in inputs]
    mask = pictures.pop() if order.masked else None
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
