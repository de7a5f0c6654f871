"""Mutated answers: only our own errors come out, and nothing is kept that is no picture.

IMAGEN_FUZZ_COUNT says how many; 100,000 take a few minutes.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import random
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagen_widget._client._collect import fetch_picture
from imagen_widget._client._http import Http
from imagen_widget._picture import inspect, preview
from imagen_widget._protocol import read_cancel, read_result, read_status, read_ticket
from imagen_widget._protocol._events import read_event
from imagen_widget._protocol._failures import failure
from imagen_widget._protocol._pacing import retry_after
from imagen_widget._protocol._sse import EventDecoder
from imagen_widget._protocol._ticket import Outcome, Ticket
from imagen_widget._protocol._trouble import read_trouble
from imagen_widget._protocol._wire import Answer, Lost, unpack
from imagen_widget._settings import home_folder
from imagen_widget._store import Store
from imagen_widget.errors import ImagenError
from tests.answers import FOX, GATEWAY, IMAGEN, ticket
from tests.hostile import mutants
from tests.provider import Provider
from tests.test_header import PICTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

COUNT = int(os.environ.get("IMAGEN_FUZZ_COUNT", "5000"))
SEED = int(os.environ.get("IMAGEN_FUZZ_SEED", "20261123"))
JOB = ticket()


def _read(found: Answer) -> list[object]:
    """Read an answer in every way there is; return what was read and what was raised."""
    ways = (
        lambda: read_ticket(found, FOX, provider="kkiai", base_url=GATEWAY),
        lambda: read_status(found, JOB),
        lambda: read_result(found, JOB),
        lambda: read_event(found.mapping() or {}),
        lambda: read_cancel(found),
        lambda: read_trouble(found),
        lambda: retry_after(found.headers, now=0.0),
        lambda: failure(found, endpoint=IMAGEN, provider="kkiai", ticket=JOB),
        lambda: failure(found, endpoint=IMAGEN, provider="fal"),
    )
    results: list[object] = []
    for way in ways:
        try:
            results.append(way())
        except ImagenError as error:
            results.append(error)
    return results


def _check(result: object) -> None:
    """Check what holds of everything that was read."""
    if isinstance(result, ImagenError):
        line = str(result)
        assert line
        assert line.isprintable()
        assert len(line) <= 1300
        assert FOX.prompt not in line
    if isinstance(result, Ticket):
        assert Ticket.from_json(result.to_json()) == result
        assert ".." not in (result.status_path + result.response_path + result.cancel_path)
    if isinstance(result, Outcome):
        assert 0 < len(result.urls) <= 16


def test_mutated_answers_raise_nothing_but_our_errors(capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    kinds: dict[str, int] = {}

    for _ in range(COUNT):
        for result in _read(mutants.answer(chance)):
            _check(result)
            kinds[type(result).__name__] = kinds.get(type(result).__name__, 0) + 1

    with capsys.disabled():
        seen = ", ".join(f"{name} {count}" for name, count in sorted(kinds.items()))
        print(f"\nFuzz: {COUNT} mutated answers, 9 readers each; came out: {seen}")  # noqa: T201 - the figure that is promised
    wanted = {"Ticket", "Queued", "Running", "Done", "NoRoute", "Hiccup", "Outcome", "NoneType"}
    wanted |= {"CredentialsError", "ContentRejected", "ModelRetired", "SubmitUncertain"}
    assert wanted <= set(kinds)  # else the mutants are too dull to prove anything


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(mutants.KEYS), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=max(200, COUNT // 20), deadline=None)
@given(
    st.sampled_from(mutants.STATUSES),
    st.dictionaries(st.sampled_from(sorted(mutants.HEADERS)), st.text(max_size=30), max_size=3),
    JSON | st.text() | st.binary(),
)
def test_answers_of_any_shape_raise_nothing_but_our_errors(
    status: int, headers: dict[str, str], body: object
) -> None:
    import json

    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    for result in _read(Answer(status, headers, raw)):
        _check(result)


@settings(max_examples=max(200, COUNT // 20), deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"data: {", b"}\n\n", b"\n", b"\r\n"])))
def test_any_stream_is_decoded(chunks: list[bytes]) -> None:
    decoder = EventDecoder()

    events = [event for chunk in chunks for event in decoder.feed(chunk)]

    assert all(isinstance(event, bytes) for event in events)


@settings(max_examples=max(200, COUNT // 20), deadline=None)
@given(st.binary(), st.sampled_from(["gzip", "deflate", "br", "", "GZIP ", "\x00"]))
def test_any_packing_is_unpacked_or_lost(body: bytes, coding: str) -> None:
    try:
        unpacked = unpack(body, coding, most_bytes=1000)
    except Lost:
        return

    assert len(unpacked) <= max(1000, len(body))


def _mutated_pictures(count: int) -> Iterator[bytes]:
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    for _ in range(count):
        data = PICTURES[chance.choice(sorted(PICTURES))]
        yield data if chance.random() < 0.1 else mutants.mangle(data, chance)


def test_only_pictures_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    store, kept, count = Store(home_folder()), 0, COUNT // 2

    for data in _mutated_pictures(count):
        try:
            facts = inspect(data)
        except ImagenError:
            continue
        kept += 1
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            assert picture.size == (facts.width, facts.height)
        with contextlib.suppress(ImagenError):  # whole parts, rotten pixels
            preview(data)
        if kept <= 20:
            assert store.keep(data).path.read_bytes() == data

    with capsys.disabled():
        print(f"\nFuzz: {count} mutated pictures, {kept} still pictures")  # noqa: T201 - the figure that is promised
    assert count * 0.05 < kept < count * 0.9


@pytest.mark.anyio
async def test_mutated_addresses_and_pictures_are_fetched_or_refused() -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    pictures = _mutated_pictures(COUNT)
    bases = ["https://v3.fal.media/one.png", "data:image/png;base64,"]
    came = 0

    def reply(_: httpx.Request) -> httpx.Response:
        import httpx

        location = chance.choice(mutants.HEADERS["location"]).encode("latin-1")
        status = chance.choice([200, 200, 200, 302, 404, 503])
        return httpx.Response(status, headers=[(b"location", location)], content=next(pictures))

    http = Http(GATEWAY, scheme="Key", key=None, transport=Provider(media=reply).transport)
    for _ in range(COUNT // 5):
        url = chance.choice(bases) + base64.b64encode(next(pictures)).decode()
        if chance.random() < 0.5:
            url = mutants.mangle(url.encode(), chance).decode("utf-8", "surrogateescape")
        try:
            data = await fetch_picture(http, url, sleep=lambda _: anyio.lowlevel.checkpoint())
        except ImagenError:
            continue
        inspect(data)
        came += 1

    assert came
