"""The gateway page's own example works end to end, byte for byte, and stays at the gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import httpx
import pytest

from imagen_widget import generate
from imagen_widget._client import ImagenClient
from imagen_widget._protocol._events import Done, Queued
from imagen_widget._request import ImageRequest
from tests.answers import ID, RESULT, TICKET
from tests.clock import Clock
from tests.hostile.server import Received, Server, response
from tests.provider import Provider, reply_json
from tests.test_header import PICTURES

if TYPE_CHECKING:
    import asyncio

    from imagen_widget._protocol._events import WireEvent

pytestmark = pytest.mark.anyio

PROMPT = (
    "Capture an intimate close-up bathed in warm, soft, late-afternoon sunlight filtering into a "
    "quintessential 1960s kitchen. The focal point is a charmingly designed vintage package of "
    "all-purpose flour, resting invitingly on a speckled Formica countertop. The packaging itself "
    "evokes pure nostalgia: perhaps thick, slightly textured paper in a warm cream tone, adorned "
    "with simple, bold typography (a friendly serif or script) in classic red and blue "
    '"ALL-PURPOSE FLOUR", featuring a delightful illustration like a stylized sheaf of wheat or a '
    "cheerful baker character. In smaller bold print at the bottom of the package: "
    '"NET WT 5 LBS (80 OZ) 2.27kg". Focus sharply on the package details \u2013 the slightly soft '
    "edges of the paper bag, the texture of the vintage printing, the inviting "
    '"All-Purpose Flour" text. Subtle hints of the 1960s kitchen frame the shot \u2013 the chrome '
    "edge of the counter gleaming softly, a blurred glimpse of a pastel yellow ceramic tile "
    "backsplash, or the corner of a vintage metal canister set just out of focus. The shallow "
    "depth of field keeps attention locked on the beautifully designed package, creating an "
    "aesthetic rich in warmth, authenticity, and nostalgic appeal."
)
OPTIONS: dict[str, Any] = {"aspect_ratio": "1:1", "num_images": 1, "resolution": "1K"}
BODY = (
    b'{"prompt":"'
    + PROMPT.replace('"', '\\"').encode()
    + b'","aspect_ratio":"1:1","num_images":1,"resolution":"1K"}'
)


async def test_the_example_goes_through_the_client_byte_for_byte() -> None:
    clock = Clock()
    provider = Provider(
        clock,
        submit=reply_json(200, TICKET),
        status=[reply_json(202, TICKET), reply_json(200, {"status": "COMPLETED"})],
        result=reply_json(200, RESULT),
        media=httpx.Response(200, content=PICTURES["png"]),
    )
    events: list[WireEvent] = []

    async with ImagenClient(
        "kkiai", api_key="sk-made-up", transport=provider.transport, clock=clock, sleep=clock.sleep
    ) as client:
        ticket = await client.submit(ImageRequest.create(PROMPT, **OPTIONS))
        await client.watch(ticket, events.append)
        outcome = await client.result(ticket)
        pictures = [await client.fetch(url) for url in outcome.urls]

    submit, *polls, picture = provider.seen
    assert (submit.method, str(submit.url)) == (
        "POST",
        "https://www.kkiai.com/fal-ai/imagen4/preview",
    )
    assert submit.content == BODY
    assert submit.headers["content-type"] == "application/json"
    assert submit.headers["authorization"] == "Bearer sk-made-up"
    root = f"/fal-ai/imagen4/requests/{ID}"
    assert [request.url.path for request in polls] == [f"{root}/status"] * 2 + [root]
    assert {request.url.host for request in [submit, *polls]} == {"www.kkiai.com"}
    assert {request.headers["authorization"] for request in polls} == {"Bearer sk-made-up"}
    assert picture.url.host == "v3b.fal.media"
    assert "authorization" not in picture.headers
    assert not [request for request in provider.seen if request.url.host == "queue.fal.run"]
    assert events == [Queued(0), Done()]
    assert pictures == [PICTURES["png"]]


async def test_the_example_goes_over_a_real_socket_from_generate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answering(request: Received, writer: asyncio.StreamWriter) -> None:
        done = {"images": [{"url": f"{server.url}/one.png"}], "seed": 7, "description": ""}
        last = request.target.partition("?")[0].rpartition("/")[2]
        body = {"preview": TICKET, "status": {"status": "COMPLETED"}}.get(last, done)
        if last == "one.png":
            writer.write(response(200, PICTURES["png"], kind="image/png"))
        else:
            writer.write(response(200, json.dumps(body).encode()))

    async with Server(answering) as server:
        monkeypatch.setenv("IMAGEN_BASE_URL", server.url)
        monkeypatch.setenv("IMAGEN_API_KEY", "sk-made-up")
        made = await anyio.to_thread.run_sync(lambda: generate(PROMPT, **OPTIONS))

    submit = server.requests[0]
    assert (submit.method, submit.target) == ("POST", "/fal-ai/imagen4/preview")
    assert submit.body == BODY
    assert submit.headers["authorization"] == "Bearer sk-made-up"
    assert (made.request.prompt, made.request_id, made.seed) == (PROMPT, ID, 7)
    assert made[0].data == PICTURES["png"]
    signed = [r.target for r in server.requests if "authorization" in r.headers]
    assert server.requests[-1].target == "/one.png"
    assert "/one.png" not in signed
