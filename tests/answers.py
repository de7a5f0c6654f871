"""Answers as providers give them, for tests of what reads them."""

from __future__ import annotations

import json
from typing import Any

from imagen_widget._protocol._ticket import Ticket, make_ticket
from imagen_widget._protocol._wire import Answer
from imagen_widget._request import ImageRequest

FAL = "https://queue.fal.run"
GATEWAY = "https://www.kkiai.com"
IMAGEN = "fal-ai/imagen4/preview"
ID = "7b1e6d0e-3d9c-4c0f-9a63-0d7a7f3c2d11"
FOX = ImageRequest.create("a red fox in fresh snow")
PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head></html>"

# As fal sends it: also through gateways, which pass the addresses on as they are.
TICKET: dict[str, Any] = {
    "status": "IN_QUEUE",
    "request_id": ID,
    "response_url": f"{FAL}/fal-ai/imagen4/requests/{ID}",
    "status_url": f"{FAL}/fal-ai/imagen4/requests/{ID}/status",
    "cancel_url": f"{FAL}/fal-ai/imagen4/requests/{ID}/cancel",
    "logs": None,
    "metrics": {},
    "queue_position": 0,
}
RESULT: dict[str, Any] = {
    "images": [
        {
            "url": "https://v3b.fal.media/files/b/lion/one.png",
            "content_type": "image/png",
            "file_name": "one.png",
            "file_size": 1483912,
            "width": 1408,
            "height": 768,
        }
    ],
    "seed": 1234567,
    "description": "",
}


def answer(status: int, body: object = b"", **headers: str) -> Answer:
    """Return an answer; what is no bytes becomes JSON, and `_` in header names a hyphen."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): v for name, v in headers.items()}, raw)


def ticket(provider: str = "kkiai", **other: Any) -> Ticket:  # noqa: ANN401 - any field
    """Return the ticket of a job at the gateway, or at fal."""
    base_url = GATEWAY if provider == "kkiai" else FAL
    fields = {"provider": provider, "base_url": base_url, **other}
    return make_ticket(IMAGEN, ID, **fields)
