"""The handle's laws: usable from any thread, cancelled once, never harmed by who looks on."""

from __future__ import annotations

import concurrent.futures
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from imagen_widget import ImageRequest, Job, _bridge, errors, start
from imagen_widget._generate._progress import (
    NOT_BILLED,
    TOO_LATE,
    Fetching,
    Phase,
    Submitted,
    Submitting,
)
from imagen_widget._protocol._events import Done, Queued, Running
from imagen_widget._settings import load_settings
from tests.billing import Break, Provider, Reply
from tests.chaos.server import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imagen_widget._generate._progress import Event, Progress
    from imagen_widget._settings import Settings

FOX = ImageRequest.create("a red fox")
PATIENCE_SECONDS = 30.0


@pytest.fixture
def provider() -> Provider:
    return Provider(polls=0)


@pytest.fixture
def settings(provider: Provider, tmp_path: Path) -> Iterator[Settings]:
    with serving(provider) as server:
        yield load_settings(
            provider="kkiai",
            api_key="made-up",
            base_url=server.url,
            home=tmp_path / "imagen",
            poll_seconds=0.02,
            environ={},
        )
        _bridge.close()


class Moment:
    """Tells when a job has come to an event."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._came = threading.Event()
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, self._kind):
            self._came.set()

    def wait(self) -> None:
        assert self._came.wait(PATIENCE_SECONDS), self.events


def started_until(kind: type, settings: Settings, request: ImageRequest = FOX) -> Job:
    """Start a job and wait until it has come to an event."""
    moment = Moment(kind)
    job = start(request, settings=settings, on_event=moment)
    moment.wait()
    return job


# -------------------------------------------------------------------------------------- waiting


def test_a_job_is_waited_for_from_any_thread(settings: Settings) -> None:
    job = start(FOX, settings=settings)

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: job.result(PATIENCE_SECONDS), range(4)))

    assert {result.request_id for result in results} == {"req-1"}
    assert job.done()


def test_a_wait_that_times_out_leaves_the_job_alone(provider: Provider, settings: Settings) -> None:
    provider.polls = float("inf")
    job = started_until(Submitted, settings)

    with pytest.raises(TimeoutError):
        job.result(0.01)
    provider.finish()

    assert job.result(PATIENCE_SECONDS).request_id == "req-1"


def test_a_job_can_be_awaited_on_any_loop(settings: Settings) -> None:
    import asyncio

    async def wait() -> str:
        return (await start(FOX, settings=settings)).request_id

    assert asyncio.run(wait()) == "req-1"


def test_who_gives_up_awaiting_does_not_cancel_the_job(
    provider: Provider, settings: Settings
) -> None:
    import asyncio

    provider.polls = float("inf")
    job = started_until(Submitted, settings)

    async def give_up() -> None:
        await asyncio.wait_for(job, 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    provider.finish()

    assert job.result(PATIENCE_SECONDS).request_id == "req-1"
    assert provider.cancellations == 0


def test_the_result_can_be_read_where_the_end_is_told(settings: Settings) -> None:
    told: list[str] = []
    over = threading.Event()

    def read(job: Job) -> None:
        told.append(job.result().request_id)
        over.set()

    start(FOX, settings=settings).add_done_callback(read)

    assert over.wait(PATIENCE_SECONDS)
    assert told == ["req-1"]


def test_the_next_job_can_be_started_where_the_end_is_told(settings: Settings) -> None:
    others: concurrent.futures.Future[Job] = concurrent.futures.Future()
    start(FOX, settings=settings).add_done_callback(
        lambda job: others.set_result(start(job.request, settings=settings))
    )

    other = others.result(PATIENCE_SECONDS)

    assert other.result(PATIENCE_SECONDS).request_id == "req-2"


def test_a_failure_comes_alone_and_not_in_a_group(provider: Provider, settings: Settings) -> None:
    provider.submits.append(Reply(422, {"detail": "no"}))
    job = start(FOX, settings=settings)
    job.listen(lambda _: None)

    with pytest.raises(errors.InvalidRequest):
        job.result(PATIENCE_SECONDS)

    assert job.progress.phase is Phase.FAILED
    assert "refused the request: no" in job.status


# ------------------------------------------------------------------------------------ looking on


def test_each_event_is_told_in_its_order(provider: Provider, settings: Settings) -> None:
    provider.polls = 2
    moment = Moment(Fetching)
    start(FOX, settings=settings, on_event=moment).result(PATIENCE_SECONDS)

    kinds = [type(event) for event in moment.events]
    assert kinds == [Submitting, Submitted, Running, Done, Fetching]
    assert Queued not in kinds  # this provider has no queue


def test_a_listener_sees_the_present_each_change_and_the_end(
    provider: Provider, settings: Settings
) -> None:
    provider.polls = float("inf")
    seen: list[Progress] = []
    job = started_until(Submitted, settings)
    job.listen(seen.append)
    _bridge.run(_nothing)
    present = seen[0]
    provider.finish()
    job.result(PATIENCE_SECONDS)

    assert present.request_id == "req-1"
    assert seen[-1].phase is Phase.DONE
    assert [progress.elapsed for progress in seen] == sorted(p.elapsed for p in seen)


async def _nothing() -> None:
    return None


def test_a_listener_is_called_as_time_goes_by(provider: Provider, settings: Settings) -> None:
    provider.polls = float("inf")
    job = started_until(Running, settings)
    three = threading.Semaphore(0)
    job.listen(lambda _: three.release())

    for _ in range(3):  # the present, and two ticks
        assert three.acquire(timeout=PATIENCE_SECONDS)

    assert job.cancel().startswith("Cancelled")


def test_a_listener_that_comes_late_sees_how_it_ended(settings: Settings) -> None:
    job = start(FOX, settings=settings)
    job.result(PATIENCE_SECONDS)
    seen: list[Progress] = []

    job.listen(seen.append)
    _bridge.run(_nothing)

    assert [progress.phase for progress in seen] == [Phase.DONE]


def test_listeners_may_come_from_many_threads(provider: Provider, settings: Settings) -> None:
    provider.polls = float("inf")
    job = started_until(Submitted, settings)
    called: set[int] = set()

    def listener(number: int) -> Callable[[Progress], None]:
        return lambda _: called.add(number)

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: job.listen(listener(number)), range(64)))
    _bridge.run(_nothing)
    provider.finish()
    job.result(PATIENCE_SECONDS)

    assert called == set(range(64))


def test_what_a_callback_does_wrong_costs_no_picture(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    job = start(FOX, settings=settings, on_event=fail)
    job.listen(fail)
    job.add_done_callback(fail)
    with caplog.at_level(logging.ERROR):
        generation = job.result(PATIENCE_SECONDS)

    assert generation[0].path.exists()
    assert "ZeroDivisionError" in caplog.text


def test_the_status_line_ends_with_what_came_of_it(settings: Settings) -> None:
    job = start(FOX, settings=settings)
    job.result(PATIENCE_SECONDS)

    assert job.status.startswith("1 image")
    assert "$0.04" in job.status


def test_jobs_are_numbered(settings: Settings) -> None:
    first, second = start(FOX, settings=settings), start(FOX, settings=settings)

    assert second.number == first.number + 1


# ------------------------------------------------------------------------------------ cancelling


def test_a_cancelled_job_says_so_with_its_id(provider: Provider, settings: Settings) -> None:
    provider.polls = float("inf")
    job = started_until(Submitted, settings)

    outcome = job.cancel()

    assert outcome == "Cancelled, not billed (request id req-1)."
    assert provider.cancellations == 1
    assert (job.status, job.progress.phase) == (NOT_BILLED, Phase.CANCELLED)
    with pytest.raises(errors.JobCancelled):
        job.result()
    with pytest.raises(concurrent.futures.CancelledError):
        job.result()


def test_cancelling_twice_is_one_put(provider: Provider, settings: Settings) -> None:
    provider.polls = float("inf")
    job = started_until(Submitted, settings)

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        outcomes = set(threads.map(lambda _: job.cancel(), range(4)))

    assert outcomes == {"Cancelled, not billed (request id req-1)."}
    assert provider.cancellations == 1


def test_a_job_cancelled_as_it_is_started_sends_nothing_or_takes_it_back(
    provider: Provider, settings: Settings
) -> None:
    provider.polls = float("inf")
    outcomes = [start(FOX, settings=settings).cancel() for _ in range(10)]

    assert all("not billed" in outcome for outcome in outcomes)
    assert not provider.paid.total()


def test_cancelling_what_is_done_says_that_it_is_too_late(
    provider: Provider, settings: Settings
) -> None:
    job = start(FOX, settings=settings)
    job.result(PATIENCE_SECONDS)

    assert job.cancel() == f"{TOO_LATE.removesuffix('.')} (request id req-1)."
    assert provider.cancellations == 0


def test_cancelling_what_has_failed_says_why(provider: Provider, settings: Settings) -> None:
    provider.submits.append(Break.LOST_ANSWER)
    job = start(FOX, settings=settings)
    with pytest.raises(errors.SubmitUncertain):
        job.result(PATIENCE_SECONDS)

    assert "may exist and be billed" in job.cancel()


def test_a_cancel_that_is_too_late_gives_the_pictures(
    provider: Provider, settings: Settings
) -> None:
    provider.polls = float("inf")
    job = started_until(Submitted, settings)
    provider.cancels = Reply(400, {"status": "ALREADY_COMPLETED"})
    provider.obeys = False
    provider.finish()

    job.cancel()

    assert job.result(PATIENCE_SECONDS)[0].path.exists()


def test_closing_the_bridge_leaves_the_job_to_be_taken_up(
    provider: Provider, settings: Settings
) -> None:
    from imagen_widget import History

    provider.polls = float("inf")
    job = started_until(Submitted, settings)

    _bridge.close()

    assert job.done()
    assert "imagen_resume" in job.status
    assert [row.request_id for row in History(settings.home).pending()] == ["req-1"]
    assert "imagen_resume" in job.cancel()


# ------------------------------------------------------------------------------------- interrupts

INTERRUPTED = """
import os, signal, sys, threading
from imagen_widget import generate
from imagen_widget._generate._progress import {event}
signal.signal(signal.SIGINT, signal.default_int_handler)
def on_event(event):
    if isinstance(event, {event}):
        os.kill(os.getpid(), signal.SIGINT)
{interrupt_again}
try:
    generate("a red fox", on_event=on_event)
except KeyboardInterrupt as interrupt:
    print(*interrupt.__notes__)
"""
AGAIN = """
from imagen_widget._generate import _job
cancel = _job.Job.request_cancel
def request_cancel(self):
    os.kill(os.getpid(), signal.SIGINT)
    cancel(self)
_job.Job.request_cancel = request_cancel
"""


def interrupted(settings: Settings, event: str, *, again: bool = False) -> str:
    code = INTERRUPTED.format(event=event, interrupt_again=AGAIN if again else "")
    environment = {
        **os.environ,
        "IMAGEN_PROVIDER": "kkiai",
        "IMAGEN_API_KEY": "made-up",
        "IMAGEN_BASE_URL": settings.base_url,
        "IMAGEN_HOME": str(settings.home),
        "IMAGEN_POLL_SECONDS": "0.02",
    }
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("event", ["Submitted", "Running"])
def test_an_interrupt_cancels_remotely_and_names_the_job(
    provider: Provider, settings: Settings, event: str
) -> None:
    assert hasattr(signal, "SIGINT")
    provider.polls = float("inf")

    said = interrupted(settings, event)

    assert said == "Cancelled, not billed (request id req-1)."
    assert (provider.posts, provider.cancellations) == (1, 1)


def test_an_interrupt_during_the_post_waits_for_the_ticket_and_takes_it_back(
    provider: Provider, settings: Settings
) -> None:
    provider.polls = float("inf")

    said = interrupted(settings, "Submitting")

    assert "not billed" in said
    assert provider.paid.total() == 0


def test_a_second_interrupt_gives_the_prompt_back_at_once(
    provider: Provider, settings: Settings
) -> None:
    provider.polls = float("inf")

    said = interrupted(settings, "Running", again=True)

    assert "req-1" in said
    assert "imagen_resume" in said
