"""The demo's jobs: what they make, and how far they are at any moment.

A request id holds all that its job needs. So nothing runs in the background, every look computes
the state of its moment, and a job outlives the process that accepted it.
"""

import base64
import json
import re
import secrets
import struct
import zlib
from datetime import UTC, datetime
from typing import NamedTuple

from .edits import EFFECTS
from .models import SERVED, Json
from .painter import CALLS, known_words

# A job with one request in front takes exactly the given seconds: 2 x 0.15 + 0.7.
_STEP_SHARE, _RUN_SHARE = 0.15, 0.7
_MAX_ID_CHARACTERS, _MAX_ORDER_BYTES = 128, 4096
_NUMBERS = struct.Struct(">HBdIqBHH?")
INPUT_BYTES = 6  # of an input's digest
_COMMAND = re.compile(r"\s*\[(demo:[a-z]+(?:=\d+(?:\.\d+)?)?)\]")
_COMMANDS = "queue=3 slow=20 few=1 filtered reject silent fail stubborn inline balance retired"
_DEFAULTS = {name: amount for name, _, amount in (c.partition("=") for c in _COMMANDS.split())}
_FAILED = "Runner disconnected while processing the request", "runner_disconnected"
_CANCELLED = "Request was cancelled by the client", "client_cancelled"
# What ids are compressed against.
_USUAL = ('{"sheets": 5, "shadows": true, "colours": {"": "#', '", "jpeg", {}]', '", "png", {}]')
_LIKELY = " ".join([*EFFECTS, *CALLS, *SERVED, *_USUAL]).encode()


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
    words = [known_words(plain, (*EFFECTS, *CALLS)), *_COMMAND.findall(prompt)]
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
        places = range(_NUMBERS.size, _NUMBERS.size + count * INPUT_BYTES, INPUT_BYTES)
        inputs = [data[place : place + INPUT_BYTES].hex() for place in places]
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
