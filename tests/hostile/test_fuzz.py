"""Mutated answers: only our own errors come out of the client, each of them one line.

IMAGEN_FUZZ_COUNT says how many answers; 100,000 take a few minutes.
"""

from __future__ import annotations

import base64
import json
import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given, settings, strategies as st

from imagen_widget import Finished, ImagenClient, ImageRequest, Model, Ticket
from imagen_widget.errors import ImagenError
from tests.clock import Clock
from tests.fakequeue import picture
from tests.hostile import mutants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hypothesis.strategies import SearchStrategy

pytestmark = pytest.mark.anyio

COUNT = int(os.environ.get("IMAGEN_FUZZ_COUNT", "5000"))
SEED = int(os.environ.get("IMAGEN_FUZZ_SEED", "20261123"))
SECONDS = 20.0
PROMPT = "a prompt that no error may repeat"
REQUESTS = [ImageRequest.create(PROMPT), ImageRequest.create(PROMPT, known=Model("gpt-image-1"))]


def client_of(reply: Callable[[httpx.Request], httpx.Response], name: str) -> ImagenClient:
    """Return a client, in a time of its own, that gets these answers."""
    clock = Clock()
    return ImagenClient(
        name,
        base_url="https://gateway.test",
        api_key="made-up",
        transport=httpx.MockTransport(reply),
        clock=clock,
        now=clock,
        sleep=clock.sleep,
    )


async def use(client: ImagenClient, request: ImageRequest) -> Iterator[object]:
    """Do all that a client can do with one job; return what came, and what was raised."""
    found: list[object] = []

    async def attempt(work: object) -> object:
        try:
            found.append(await work)  # type: ignore[misc]  # one of the client's calls
        except ImagenError as error:
            found.append(error)
        return found[-1]

    ticket = await attempt(client.submit(request, timeout=SECONDS))
    if not isinstance(ticket, Ticket):
        ticket = Ticket.from_json(_ticket())
    await attempt(client.watch(ticket, found.append, timeout=SECONDS))
    await attempt(client.request_cancel(ticket))
    finished = await attempt(client.result(ticket, timeout=SECONDS))
    for url in finished.urls[:2] if isinstance(finished, Finished) else ():
        await attempt(client.fetch(url, timeout=SECONDS))
    found.append(await client.provider.describe(request.model))
    found.append(await client.provider.search("x"))
    return iter(found)


def _ticket() -> str:
    path = f"/fal-ai/imagen4/requests/{mutants.ID}"
    paths = {"status_path": f"{path}/status", "response_path": path, "cancel_path": f"{path}/x"}
    names = {"provider": "kkiai", "base_url": "https://gateway.test", "endpoint": "fal-ai/imagen4"}
    return json.dumps({**names, "request_id": mutants.ID, **paths})


def check(result: object) -> None:
    """Check what holds of everything that comes out."""
    if isinstance(result, ImagenError):
        line = str(result)
        assert line
        assert line.isprintable()
        assert len(line) <= 1300
        assert PROMPT not in line
        assert "made-up" not in line
    if isinstance(result, Ticket):
        assert Ticket.from_json(result.to_json()) == result
        assert not any(".." in value.split("/") for _, value in result.extra)
    if isinstance(result, Finished):
        assert 0 < len(result.urls) <= 64
        assert all(url.startswith(("http", "data:", "DATA:")) for url in result.urls)


@pytest.mark.slow
async def test_mutated_answers_raise_nothing_but_our_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chance = random.Random(SEED)
    kinds: Counter[str] = Counter()
    answers = 0

    def reply(_: httpx.Request) -> httpx.Response:
        nonlocal answers
        answers += 1
        return mutants.answer(chance)

    clients = [client_of(reply, name) for name in ("kkiai", "fal", "openai")]
    while answers < COUNT:
        client = chance.choice(clients)
        for result in await use(client, chance.choice(REQUESTS)):
            check(result)
            kinds[type(result).__name__] += 1

    with capsys.disabled():
        seen = ", ".join(f"{name} {count}" for name, count in sorted(kinds.items()))
        print(f"\nFuzz: {answers} mutated answers; came out: {seen}")
    wanted = {"Ticket", "Queued", "Running", "Done", "Finished", "CancelAnswer", "QueueTimeout"}
    wanted |= {"CredentialsError", "ContentRejected", "ModelRetired", "SubmitUncertain"}
    assert wanted <= set(kinds)  # else the mutants are too dull to prove anything


JSON: SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(mutants.KEYS), inner)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=max(100, COUNT // 50), deadline=None)
@given(
    st.sampled_from(mutants.STATUSES),
    st.dictionaries(st.sampled_from(sorted(mutants.HEADERS)), st.text(max_size=30), max_size=3),
    JSON | st.text() | st.binary(),
    st.sampled_from(REQUESTS),
)
async def test_answers_of_any_shape_raise_nothing_but_our_errors(
    status: int, headers: dict[str, str], body: object, request: ImageRequest
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    client = client_of(lambda _: mutants.response(status, headers, raw), "kkiai")

    for result in await use(client, request):
        check(result)


@settings(max_examples=max(100, COUNT // 50), deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"data: {", b"}\n\n", b"\n", b"\r\n"])))
async def test_any_stream_is_followed_or_left(chunks: list[bytes]) -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/stream"):
            headers = {"content-type": "text/event-stream"}
            return mutants.response(200, headers, b"".join(chunks))
        return mutants.response(200, {}, b'{"status": "COMPLETED"}')

    done = await client_of(reply, "fal").watch(Ticket.from_json(_ticket()), timeout=SECONDS)

    assert done.trouble is None or isinstance(done.trouble, str)


async def test_mutated_addresses_and_pictures_are_fetched_or_refused() -> None:
    chance = random.Random(SEED)
    pictures = [picture("a.png"), picture("a.jpeg"), picture("a.webp")]
    bases = ["https://v3.fal.media/one.png", "data:image/png;base64,"]
    came = 0

    def reply(_: httpx.Request) -> httpx.Response:
        headers = {"location": chance.choice(mutants.HEADERS["location"])}
        data = mutants.mangle(chance.choice(pictures), chance)
        return mutants.response(chance.choice([200, 200, 200, 302, 404, 503]), headers, data)

    client = client_of(reply, "kkiai")
    for _ in range(COUNT // 5):
        url = chance.choice(bases) + base64.b64encode(chance.choice(pictures)).decode()
        if chance.random() < 0.5:
            url = mutants.mangle(url.encode(), chance).decode("utf-8", "surrogateescape")
        try:
            came += bool(await client.fetch(url))
        except ImagenError as error:
            check(error)

    assert came
