"""Makes hostile answers out of honest ones, the same from the same seed.

Bytes are flipped, cut, doubled and spliced; values of JSON are replaced by values that programs
trip over.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    import random

ID = "7b1e6d0e-3d9c-4c0f-9a63-0d7a7f3c2d11"
PATH = f"https://queue.fal.run/fal-ai/imagen4/requests/{ID}"
PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head></html>"
TICKET: dict[str, Any] = {
    "status": "IN_QUEUE",
    "request_id": ID,
    "response_url": PATH,
    "status_url": f"{PATH}/status",
    "cancel_url": f"{PATH}/cancel",
    "logs": None,
    "metrics": {},
    "queue_position": 0,
}
RESULT: dict[str, Any] = {
    "images": [{"url": "https://v3b.fal.media/one.png", "content_type": "image/png"}],
    "has_nsfw_concepts": [False],
    "seed": 1234567,
    "description": "",
}
HONEST: list[dict[str, Any]] = [
    TICKET,
    RESULT,
    {"status": "COMPLETED", "logs": [], "response": RESULT},
    {
        "status": "IN_PROGRESS",
        "logs": [{"message": "a", "timestamp": "b", "level": "INFO"}],
        "metrics": {},
    },
    {"status": "COMPLETED", "metrics": {"inference_time": 7.4}, "error": "x", "error_type": "y"},
    {"status": "FAILED", "error": {"message": "无效的令牌", "type": "new_api_error", "code": ""}},
    {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "t", "ctx": {"expected": ["a"]}}]},
    {"detail": {"error": "EndpointDeprecated", "message": "gone"}},
    {"detail": "Request is still in progress"},
    {"code": 401, "message": "bad", "data": None},
    {"error": {"message": '422: {"detail":[{"msg":"no","input":{"prompt":"p"}}]}', "code": 5}},
    {"status": "CANCELLATION_REQUESTED"},
    {"status": "NOT_FOUND"},
    {"success": True},
    {"code": 0, "msg": "success", "data": {"task_id": 12345, "status": "success"}},
    {"created": 1, "data": [{"url": "", "b64_json": "iVBORw0KGgo=", "revised_prompt": "p"}]},
    {"success": False, "message": "no"},
]
STATUSES = [100, 200, 200, 200, 202, 204, 206, 301, 307, 400, 401, 403, 404, 405, 408, 409, 410]
STATUSES += [413, 418, 422, 425, 429, 451, 499, 500, 502, 503, 504, 599, 600, 0]
HEADERS = {
    "content-type": ["application/json", "text/html", "text/event-stream", "", "\xff"],
    "x-fal-request-id": [ID, "../..", "", "x" * 500],
    "x-fal-error-type": ["runner_disconnected", "content_policy_violation", "client_cancelled", ""],
    "x-fal-billable-units": ["0", "1", "-", "NaN"],
    "retry-after": ["0", "-1", "1e400", "soon", "Mon, 01 Jan 0001 00:00:00 GMT"],
    "location": ["https://evil.example", "\x00", "//["],
    "content-encoding": ["gzip", "deflate", "br", "identity", "", "\x00", "gzip, gzip"],
}
NASTY: list[Any] = [
    None, True, False, 0, -1, 10**18, 10**400, 1e308, float("inf"), float("nan"),
    "", " ", "\x00", "\ud800", "\u202e", "\x1b[2J", "x" * 3000, "../../etc/passwd", "{",
    "IN_QUEUE", "COMPLETED", "FAILED", "still in progress", "data:image/png;base64,AAAA",
    "http://127.0.0.1:1/x", "https://[", "file:///etc/passwd", "javascript:alert(1)", ID,
    [], {}, [[]], [{}], [None], {"url": None}, {"images": [{"url": 5}]}, [[[[[[]]]]]],
    {"message": {"message": {"message": 1}}}, ["x"] * 500, {"": {"": ""}},
]  # fmt: skip
KEYS = ["status", "images", "image", "url", "request_id", "detail", "error", "logs", "metrics"]
KEYS += ["message", "code", "seed", "description", "response", "output", "queue_position", ""]


def answer(chance: random.Random) -> httpx.Response:
    """Return one hostile answer."""
    names = chance.sample(sorted(HEADERS), chance.randint(0, 3))
    headers = {name: chance.choice(HEADERS[name]) for name in names}
    return response(chance.choice(STATUSES), headers, body(chance))


def response(status: int, headers: dict[str, str], content: bytes) -> httpx.Response:
    """Return an answer as a transport gives it."""
    raw = [(name.encode(), value.encode("utf-8", "replace")) for name, value in headers.items()]
    return httpx.Response(status, headers=raw, stream=httpx.ByteStream(content))


def body(chance: random.Random) -> bytes:
    """Return one hostile body."""
    kind = chance.random()
    if kind < 0.02:
        return PAGE
    text = json.dumps(value(chance), ensure_ascii=chance.random() < 0.5)
    raw = text.encode("utf-8", "surrogatepass")
    return raw if kind < 0.7 else mangle(raw, chance)


def value(chance: random.Random) -> Any:
    """Return an honest object with some of its values replaced."""
    found: Any = copy.deepcopy(chance.choice(HONEST))
    for _ in range(chance.randint(0, 4)):
        found = _replace(found, chance)
    return found


def mangle(data: bytes, chance: random.Random) -> bytes:
    """Return bytes that are changed in a few places."""
    mangled = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(mangled) + 1)
        length = chance.choice([1, 1, 2, 4, 8, 40])
        match chance.randrange(5):
            case 0:
                mangled[place : place + length] = b""
            case 1:
                mangled[place:place] = mangled[place : place + length] * chance.randint(1, 3)
            case 2:
                mangled[place : place + length] = chance.randbytes(length)
            case 3 if place < len(mangled):
                mangled[place] ^= 1 << chance.randrange(8)
            case _:
                del mangled[max(place, 1) :]
    return bytes(mangled)


def _replace(node: Any, chance: random.Random) -> Any:
    """Replace one value somewhere below a node, or the node itself."""
    if chance.random() < 0.2 or not isinstance(node, dict | list) or not node:
        return copy.deepcopy(chance.choice(NASTY))
    if isinstance(node, list):
        place = chance.randrange(len(node))
        node[place] = _replace(node[place], chance)
        return node
    if chance.random() < 0.2:
        node[chance.choice(KEYS)] = copy.deepcopy(chance.choice(NASTY))
        return node
    name = chance.choice(list(node))
    node[name] = _replace(node[name], chance)
    return node
