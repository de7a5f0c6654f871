"""Sick networks and servers: each ends in its one line, in time, with the job's id kept.

Sockets are real; where a wait would be long, the deadline is made short or the clock is injected.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from imagen_widget import CancelAnswer, ImagenClient, ImageRequest, Ticket, errors
from tests.clock import Clock
from tests.fakequeue import GATEWAY, FakeQueue, Reply
from tests.hostile.server import Received, Server, hold, response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

pytestmark = [
    pytest.mark.anyio,
    # A connection that the deadline meets while it is being made is dropped by anyio, not closed.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SECONDS = 0.3  # the deadline of everything here
MARGIN_SECONDS = 10.0  # for a busy machine; without a deadline it would be a minute and more


FOX = ImageRequest.create("a red fox in fresh snow")
ID = "7b1e6d0e-3d9c-4c0f-9a63-0d7a7f3c2d11"
PATH = f"/fal-ai/imagen4/requests/{ID}"


def ticket(base_url: str = GATEWAY) -> Ticket:
    """Return the ticket of a job that a gateway knows."""
    paths = ("status_path", f"{PATH}/status"), ("response_path", PATH), ("cancel_path", f"{PATH}/x")
    return Ticket("kkiai", base_url, FOX.model, ID, extra=paths)


@pytest.fixture(autouse=True)
def dropped_connections_are_collected_here() -> Iterator[None]:
    """Let no connection of one test be complained of in another."""
    yield
    gc.collect()


# -------------------------------------------------------------------------------- the sicknesses


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def _reset(_: Received, writer: asyncio.StreamWriter) -> None:
    linger = struct.pack("ii", 1, 0)  # close at once, which sends a reset
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def _silent(_: Received, writer: asyncio.StreamWriter) -> None:
    await hold(writer)


async def _half(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{")
    await hold(writer)


async def _slow(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.1)


async def _hundred_continues(_: Received, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 10)
        await writer.drain()
        await asyncio.sleep(0.02)


async def _garbage(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x01 this is not HTTP\r\n\r\n")
    writer.close()


async def _hangs_up(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.close()


ILL: dict[str, Callable[[Received, asyncio.StreamWriter], Awaitable[None]]] = {
    "reset": _reset,
    "silent": _silent,
    "half an answer": _half,
    "one byte at a time": _slow,
    "for ever processing": _hundred_continues,
    "garbage": _garbage,
    "hangs up": _hangs_up,
}
UNREACHABLE = ["no such name", "refused"]


@contextlib.asynccontextmanager
async def _place(illness: str) -> AsyncIterator[tuple[str, Server | None]]:
    """Give the address of something that is ill."""
    match illness:
        case "no such name":
            yield "https://gateway.invalid", None
        case "refused":
            yield f"http://127.0.0.1:{_free_port()}", None
        case _:
            async with Server(ILL[illness]) as server:
                yield server.url, server


@pytest.fixture(autouse=True)
def names_fail_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a name that does not exist be unknown without asking the network."""
    look_up = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if str(host).endswith("invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@contextlib.asynccontextmanager
async def _client_of(
    url: str, name: str = "kkiai", **options: Any
) -> AsyncIterator[tuple[ImagenClient, Ticket]]:
    options |= {"base_url": url, "api_key": "made-up", "chance": lambda: 0.0}
    async with ImagenClient(name, **options) as client:
        yield client, ticket(url)


async def _timed(work: Awaitable[object]) -> tuple[BaseException, float]:
    started = time.monotonic()
    with pytest.raises(errors.ImagenError) as caught:
        await work
    return caught.value, time.monotonic() - started


# ------------------------------------------------------------------------------------- the calls


@pytest.mark.parametrize("illness", UNREACHABLE)
async def test_a_submit_that_never_arrives_says_that_nothing_was_sent(illness: str) -> None:
    async with _place(illness) as (url, _), _client_of(url) as (client, _):
        error, seconds = await _timed(client.submit(FOX, timeout=SECONDS))

    assert type(error) is errors.QueueError
    assert "cannot be reached" in str(error)
    assert "Nothing was sent." in str(error)
    assert seconds < SECONDS + MARGIN_SECONDS


async def test_a_submit_whose_connection_is_not_made_in_time_was_not_sent() -> None:
    """What listens here never answers the greeting of TLS."""

    with socket.create_server(("127.0.0.1", 0)) as server:  # the system makes connections, too
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        async with _client_of(url) as (client, _):
            error, seconds = await _timed(client.submit(FOX, timeout=SECONDS))

    assert type(error) is errors.QueueError
    assert "Nothing was sent." in str(error)
    assert seconds < SECONDS + MARGIN_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("illness", ILL)
@pytest.mark.parametrize("name", ["kkiai", "openai"])
async def test_a_submit_without_an_answer_is_uncertain_and_sent_once(
    illness: str, name: str
) -> None:
    stopped = {"clock": lambda: 0.0}  # or a pause of the machine is all the time for the POST
    async with (
        _place(illness) as (url, server),
        _client_of(url, name, **stopped) as (client, _),
    ):
        error, seconds = await _timed(client.submit(FOX, timeout=SECONDS))

    assert type(error) is errors.SubmitUncertain
    assert "a job may exist and be billed" in str(error)
    assert seconds < SECONDS + MARGIN_SECONDS
    assert server is not None
    assert len(server.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize("illness", [*UNREACHABLE, *ILL])
async def test_a_watch_ends_with_its_deadline_and_keeps_the_id(illness: str) -> None:
    async with _place(illness) as (url, _), _client_of(url) as (client, job):
        error, seconds = await _timed(client.watch(job, timeout=SECONDS))

    assert type(error) is errors.QueueTimeout
    assert error.request_id == ID
    assert ID in str(error)
    assert "%imagen_resume" in str(error)
    assert seconds < SECONDS + MARGIN_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("illness", [*UNREACHABLE, *ILL])
async def test_a_result_ends_with_its_deadline_and_keeps_the_id(illness: str) -> None:
    async with _place(illness) as (url, _), _client_of(url) as (client, job):
        error, seconds = await _timed(client.result(job, timeout=SECONDS))

    assert type(error) is errors.QueueError
    assert error.request_id == ID
    assert "nothing is paid again" in str(error)
    assert seconds < SECONDS + MARGIN_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("illness", ["refused", *ILL])
async def test_a_picture_ends_with_its_deadline(illness: str) -> None:
    async with _place(illness) as (url, _):
        base = url if illness != "no such name" else "http://127.0.0.1:9"
        async with _client_of(base) as (client, _):
            error, seconds = await _timed(client.fetch(f"{url}/one.png", timeout=SECONDS))

    assert type(error) is errors.QueueError
    assert "nothing is paid again" in str(error)
    assert seconds < SECONDS + MARGIN_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("illness", [*UNREACHABLE, "reset", "garbage", "hangs up"])
async def test_a_cancellation_that_nobody_answers_is_unknown(illness: str) -> None:
    async with _place(illness) as (url, _), _client_of(url) as (client, job):
        assert await client.request_cancel(job) is CancelAnswer.UNKNOWN
        assert not await client.cancel(job)


# ---------------------------------------------------------------------------------- sick services


async def test_a_locked_account_ends_the_wait_while_the_job_lives_on() -> None:
    """The job is not failed: it is kept for a resume, and a resume finds it."""
    locked = {"detail": "User is locked. Reason: Exhausted balance. Top up your balance."}
    answers = iter([(403, locked), (403, locked), (200, {"status": "COMPLETED"})])

    async def answering(_: Received, writer: asyncio.StreamWriter) -> None:
        status, body = next(answers)
        writer.write(response(status, json.dumps(body).encode()))

    async with Server(answering) as server, _client_of(server.url) as (client, job):
        error, _ = await _timed(client.watch(job))
        await client.watch(job)

    assert type(error) is errors.CredentialsError
    assert error.request_id == ID
    assert "Top up at kkiai. Then fetch the job with %imagen_resume." in str(error)


async def test_in_progress_for_ever_ends_with_the_deadline() -> None:
    clock, queue = Clock(), FakeQueue(polls=float("inf"))
    async with ImagenClient(
        "kkiai",
        base_url=GATEWAY,
        api_key="made-up",
        transport=queue.transport(),
        clock=clock,
        sleep=clock.sleep,
    ) as client:
        job = await client.submit(FOX)
        with pytest.raises(errors.QueueTimeout) as caught:
            await client.watch(job, timeout=300)

    assert 1300 <= clock.now <= 1301
    assert caught.value.ticket == job
    assert queue.count("status") <= 300


async def test_twenty_jobs_do_not_storm_a_sick_server(capsys: pytest.CaptureFixture[str]) -> None:
    """Together they ask little more often than one healthy job; each ends with its own deadline."""
    clock, jobs, seconds = SharedClock(), 20, 60.0
    queue = FakeQueue()
    for route in ("status", "result"):
        queue.always(route, Reply(503, {"detail": "overloaded"}))
    ended: list[errors.QueueTimeout] = []

    async with ImagenClient(
        "kkiai",
        base_url=GATEWAY,
        api_key="made-up",
        transport=queue.transport(),
        clock=clock,
        sleep=clock.sleep,
    ) as client:

        async def follow() -> None:
            with pytest.raises(errors.QueueTimeout) as caught:
                await client.watch(ticket(), timeout=seconds)
            ended.append(caught.value)
            clock.leave()

        async with anyio.create_task_group() as group:
            clock.expect(jobs)
            for _ in range(jobs):
                group.start_soon(follow)

    asked = queue.count("status", "result")
    with capsys.disabled():
        print(
            f"\nStorm: {jobs} jobs on a server that answers 503 for {seconds:.0f} s: "
            f"{asked} requests, {asked / seconds:.1f} a second"
        )
    assert len(ended) == jobs
    assert clock.now <= seconds + 1
    assert asked / seconds <= 4


class SharedClock:
    """Time for several tasks: it passes when all of them sleep, to the first one's waking."""

    def __init__(self) -> None:
        self.now = 0.0
        self._tasks = 0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def __call__(self) -> float:
        return self.now

    def expect(self, tasks: int) -> None:
        self._tasks = tasks

    def leave(self) -> None:
        self._tasks -= 1
        self._wake()

    async def sleep(self, seconds: float) -> None:
        awake = asyncio.Event()
        self._sleepers.append((self.now + seconds, awake))
        self._wake()
        await awake.wait()

    def _wake(self) -> None:
        if self._sleepers and len(self._sleepers) >= self._tasks:
            self._sleepers.sort(key=lambda sleeper: sleeper[0])
            self.now, first = self._sleepers.pop(0)
            first.set()
