"""The gateway page's own example works end to end, byte for byte, and stays at the gateway."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
import pytest

from imagen_widget import Done, ImagenClient, ImageRequest, Queued, Running, generate
from tests.clock import Clock
from tests.fakequeue import FakeQueue, picture

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


ID = "7b1e6d0e-3d9c-4c0f-9a63-0d7a7f3c2d11"


def queue_for(**options: Any) -> FakeQueue:
    """Return a queue whose tickets name fal's own host, as the gateway's do."""
    queue = FakeQueue(polls=1, **options)
    queue.ids = iter([ID])
    return queue


async def test_the_example_goes_through_the_client_byte_for_byte() -> None:
    clock, events = Clock(), list[object]()
    queue = queue_for(clock=clock)
    queue.queued, queue.media_base = 1, "https://v3b.fal.media"

    async with ImagenClient(
        "kkiai", api_key="sk-made-up", transport=queue.transport(), clock=clock, sleep=clock.sleep
    ) as client:
        ticket = await client.submit(ImageRequest.create(PROMPT, **OPTIONS))
        done = await client.watch(ticket, events.append)
        finished = await client.result(ticket, done)
        pictures = [await client.fetch(url) for url in finished.urls]

    submit, *polls, media = queue.requests
    assert submit.url == "https://www.kkiai.com/fal-ai/imagen4/preview"
    assert submit.body == BODY
    assert submit.headers["content-type"] == "application/json"
    root = f"/fal-ai/imagen4/requests/{ID}"
    assert [request.path for request in polls] == [f"{root}/status"] * 3 + [root]
    assert {request.origin for request in [submit, *polls]} == {"https://www.kkiai.com"}
    assert {r.headers["authorization"] for r in [submit, *polls]} == {"Bearer sk-made-up"}
    assert media.origin == "https://v3b.fal.media"
    assert "authorization" not in media.headers
    assert [type(event) for event in events] == [Queued, Running, Done]
    assert pictures == [picture(f"/files/{ID}/0.png")]


@pytest.mark.slow
async def test_the_example_goes_over_a_real_socket_from_generate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = queue_for()
    with queue.serve() as base_url:
        monkeypatch.setenv("IMAGEN_BASE_URL", base_url)
        monkeypatch.setenv("IMAGEN_API_KEY", "sk-made-up")
        made = await anyio.to_thread.run_sync(lambda: generate(PROMPT, **OPTIONS))

    submit, media = queue.requests[0], queue.requests[-1]
    assert (submit.method, submit.path, submit.body) == ("POST", "/fal-ai/imagen4/preview", BODY)
    assert (made.request.prompt, made.request_id, made.seed) == (PROMPT, ID, 7)
    assert made[0].data == picture(media.path)
    assert [r.route for r in queue.requests if "authorization" not in r.headers] == ["media"]
