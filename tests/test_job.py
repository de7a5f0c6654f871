"""Calls and handles: usable from any thread, loop and process; cancelled once, never harmed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import inspect
import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from imagen_widget import (
    Done,
    Fetching,
    Generation,
    History,
    ImageRequest,
    Job,
    Phase,
    Progress,
    Queued,
    Running,
    Submitted,
    Submitting,
    agenerate,
    errors,
    generate,
    start,
)
from tests import books
from tests.fakequeue import Break, FakeQueue, Reply

pytestmark = pytest.mark.usefixtures("quick")

WAIT_SECONDS = 60.0
PROCESS_SECONDS = 60.0


def submitted(queue: FakeQueue, **options: Any) -> Job:
    """Start a job that does not end, and wait until it is at the provider."""
    queue.polls = math.inf
    job = start("a red fox", **options)
    queue.wait_for("status")
    return job


def script(code: str, *, check: bool = True) -> str:
    """Run a script in a process of its own and return what it printed; it may not warn."""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code],
        capture_output=True,
        text=True,
        check=check,
        timeout=PROCESS_SECONDS,
    )
    assert "Traceback" not in ended.stderr
    return ended.stdout.strip()


# ------------------------------------------------------------------------------------------- calls


def test_a_call_gives_pictures_that_are_kept(queue: FakeQueue) -> None:
    generation = generate("a red fox", num_images=2, aspect_ratio="16:9")

    assert isinstance(generation, Generation)
    assert [path.exists() for path in generation.paths] == [True, True]
    assert (generation.request.prompt, generation.request.aspect_ratio) == ("a red fox", "16:9")
    assert [kept.request_id for kept in History()] == [generation.request_id]


def test_without_any_key_the_demo_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_DEMO_SECONDS", "0")

    generation = generate("a red fox")

    assert (generation.provider, generation.cost) == ("demo", 0)


ODD_MODELS: tuple[Any, ...] = (5, 0, False, [], {}, "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "  "},
        {"prompt": None},
        {"prompt": 5},
        {"prompt": "a fox", "num_images": 5},
        {"prompt": "a fox", "aspect_ratio": "2:1"},
        {"prompt": "a fox", "colour": "red"},
        {"prompt": "a fox", "model": "imagen 9"},
        *({"prompt": "a fox", "model": model} for model in ODD_MODELS),
    ],
    ids=str,
)
def test_what_the_model_does_not_take_is_refused_before_anything_is_sent(
    queue: FakeQueue, wrong: Any
) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        generate(**wrong)

    assert "\n" not in str(caught.value)
    assert (queue.log, books.rows()) == ([], [])


@pytest.mark.parametrize("name", ["api_key", "key", "token", "home", "base_url", "provider"])
def test_a_setting_is_not_a_field_and_its_value_is_written_nowhere(
    queue: FakeQueue, name: str
) -> None:
    given: Any = {name: "sk-canary-0123456789"}
    for call in (generate, start, lambda *a, **k: asyncio.run(agenerate(*a, **k))):
        with pytest.raises(errors.InvalidRequest, match=name) as caught:
            call("a fox", model="fal-ai/flux/dev", **given)
        assert "canary" not in str(caught.value)
    with pytest.raises(errors.InvalidRequest, match=name):
        generate("a fox", model="fal-ai/flux/dev", extra=given)

    assert (queue.log, books.rows()) == ([], [])


def test_a_count_that_comes_as_text_goes_out_as_a_number(queue: FakeQueue) -> None:
    generation = generate("a fox", model="fal-ai/flux/dev", num_images="2")  # type: ignore[arg-type]

    [job] = queue.jobs.values()
    assert job.arguments == {"prompt": "a fox", "num_images": 2}
    assert (len(generation), "2 images" in generation.summary) == (2, True)


def test_many_threads_have_their_own_pictures(queue: FakeQueue) -> None:
    prompts = [f"fox {number}" for number in range(16)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        made = list(threads.map(generate, prompts))

    assert [generation.request.prompt for generation in made] == prompts
    assert (queue.posts, queue.duplicates) == (16, 0)


@pytest.mark.slow
def test_a_blocking_call_inside_a_running_loop_gives_pictures(queue: FakeQueue) -> None:
    """In a process of its own: from there on that process's asyncio can be nested."""
    printed = script(
        "import asyncio\n"
        "from imagen_widget import generate\n"
        "async def main():\n"
        "    print(len(generate('a red fox', num_images=2)))\n"
        "asyncio.run(main())"
    )

    assert printed == "2"


IN_A_BUSY_LOOP = """
import asyncio
from imagen_widget import generate
async def main():
    loop, ran, over = asyncio.get_running_loop(), [], asyncio.Event()
    def block():
        ran.append(len(generate("a red fox")))
        over.set()
    loop.call_soon(block)
    for number in range(2, 20):
        loop.call_soon(ran.append, number)
    await over.wait()
    print(sorted(ran) == list(range(1, 20)))
asyncio.run(main())
"""


@pytest.mark.slow
def test_a_blocking_call_takes_no_callback_from_the_loop_that_it_turns(queue: FakeQueue) -> None:
    """The loop has counted its callbacks before it was patched, and fails if one is missing."""
    assert script(IN_A_BUSY_LOOP) == "True"


FORKS = """
import multiprocessing
from imagen_widget import generate, History
if __name__ == "__main__":
    first = generate("before the fork")
    with multiprocessing.get_context("{kind}").Pool(2) as pool:
        made = pool.map(generate, ["fox 1", "fox 2", "fox 3"])
    print(*(g.request.prompt for g in made), *(path.exists() for g in made for path in g.paths))
    print(generate("after the fork").request_id != first.request_id, len(History()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_the_processes_of_a_pool_hand_their_pictures_back(queue: FakeQueue) -> None:
    printed = script(FORKS.format(kind="fork"))

    assert printed == "fox 1 fox 2 fox 3 True True True\nTrue 5"
    assert queue.duplicates == 0


def test_values_pickle_copy_and_hash(queue: FakeQueue) -> None:
    generation = generate("a red fox", num_images=2)

    for value in (generation, generation[0], generation.request):
        assert pickle.loads(pickle.dumps(value)) == value
        assert copy.deepcopy(value) == value
        assert hash(copy.copy(value)) == hash(value)
    assert pickle.loads(pickle.dumps(generation))[1].data == generation[1].data


# ----------------------------------------------------------------------------------- awaited calls


def test_an_awaited_call_gives_the_same(queue: FakeQueue) -> None:
    assert len(asyncio.run(agenerate("a red fox", num_images=2))) == 2


def test_a_hundred_awaited_calls_go_side_by_side(queue: FakeQueue) -> None:
    prompts = [f"fox {number}" for number in range(100)]

    async def main() -> list[Generation]:
        return list(await asyncio.gather(*map(agenerate, prompts)))

    made = asyncio.run(main())

    assert [generation.request.prompt for generation in made] == prompts
    assert (queue.posts, queue.duplicates) == (100, 0)


def _call(function: Callable[..., object], *arguments: object) -> None:
    """Call for nothing."""
    function(*arguments)


def test_a_call_can_be_awaited_in_trio(queue: FakeQueue) -> None:
    import trio

    generation = trio.run(agenerate, "a red fox")

    assert generation.request_id == "req-1"
    assert queue.posts == 1


def test_a_trio_task_that_is_cancelled_cancels_its_job(
    queue: FakeQueue, end_loop: Callable[[], None]
) -> None:
    import trio

    queue.polls = math.inf

    async def main() -> None:
        with trio.CancelScope() as scope:
            token = trio.lowlevel.current_trio_token()
            queue.before["status"] = lambda _: token.run_sync_soon(scope.cancel)
            await agenerate("a red fox")

    trio.run(main)
    end_loop()

    assert (queue.count("cancel"), books.states()) == (1, ["cancelled"])


@pytest.mark.parametrize("loop_ends_at_once", [False, True])
def test_a_task_that_is_cancelled_cancels_its_job(
    queue: FakeQueue, end_loop: Callable[[], None], loop_ends_at_once: bool
) -> None:
    queue.polls = math.inf

    async def main() -> None:
        task = asyncio.create_task(agenerate("a red fox"))
        loop = asyncio.get_running_loop()
        queue.before["status"] = lambda _: _call(loop.call_soon_threadsafe, task.cancel)
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    if not loop_ends_at_once:
        queue.wait_for("cancel")
    end_loop()

    assert (queue.count("cancel"), books.states()) == (1, ["cancelled"])


@pytest.mark.parametrize("loop_ends", [True, False])
@pytest.mark.parametrize("route", ["result", "media"])
def test_a_task_cancelled_while_its_pictures_are_fetched_loses_none(
    queue: FakeQueue, end_loop: Callable[[], None], route: str, loop_ends: bool
) -> None:
    queue.silence_seconds = 3600.0
    queue.always(route, Break.SILENCE)

    async def main() -> None:
        task = asyncio.create_task(agenerate("a red fox"))
        loop = asyncio.get_running_loop()
        queue.after[route] = lambda _: _call(loop.call_soon_threadsafe, task.cancel)
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    if loop_ends:
        end_loop()
    queue.heal()
    queue.after.clear()
    fetched = History().resume()

    assert [generation.request_id for generation in fetched] == ["req-1"]
    assert (books.states(), queue.posts, queue.count("cancel")) == (["done"], 1, 0)


def test_the_calls_take_the_same() -> None:
    blocking = inspect.signature(generate)
    for other in (agenerate, start):
        assert inspect.signature(other).parameters == blocking.parameters
    assert inspect.signature(agenerate).return_annotation == blocking.return_annotation


# ------------------------------------------------------------------------------ waiting for a job


def test_a_job_is_waited_for_from_any_thread(queue: FakeQueue) -> None:
    job = start("a red fox")

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: job.result(WAIT_SECONDS), range(4)))

    assert {result.request_id for result in results} == {"req-1"}
    assert job.done()


def test_a_wait_that_times_out_leaves_the_job_alone(queue: FakeQueue) -> None:
    job = submitted(queue)

    with pytest.raises(TimeoutError):
        job.result(0.01)
    queue.finish()

    assert job.result(WAIT_SECONDS).request_id == "req-1"


def test_a_job_can_be_awaited_on_any_loop(queue: FakeQueue) -> None:
    async def wait() -> str:
        return (await start("a red fox")).request_id

    assert asyncio.run(wait()) == "req-1"


def test_a_task_that_gives_up_awaiting_does_not_cancel_the_job(queue: FakeQueue) -> None:
    job = submitted(queue)

    async def give_up() -> None:
        await asyncio.wait_for(job, 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    queue.finish()

    assert job.result(WAIT_SECONDS).request_id == "req-1"
    assert queue.count("cancel") == 0


def test_the_next_job_can_be_started_where_the_end_of_one_is_told(queue: FakeQueue) -> None:
    told: concurrent.futures.Future[tuple[str, Job]] = concurrent.futures.Future()
    job = start("a red fox")
    job.add_done_callback(
        lambda job: told.set_result((job.result().request_id, start(job.request)))
    )

    first, other = told.result(WAIT_SECONDS)

    assert (first, other.result(WAIT_SECONDS).request_id) == ("req-1", "req-2")


def test_a_failure_comes_alone_and_not_in_a_group(queue: FakeQueue) -> None:
    queue.script("submit", Reply(422, {"detail": "no"}))
    job = start("a red fox")
    job.listen(lambda _: None)

    with pytest.raises(errors.InvalidRequest):
        job.result(WAIT_SECONDS)

    assert job.progress.phase is Phase.FAILED
    assert "refused the request: no" in job.status


# ------------------------------------------------------------------------------------ looking on


class Seen:
    """A listener that keeps what it was told; `until` waits for one thing among that."""

    def __init__(self) -> None:
        self.progress: list[Progress] = []
        self._came = threading.Condition()

    def __call__(self, progress: Progress) -> None:
        with self._came:
            self.progress.append(progress)
            self._came.notify_all()

    def until(self, wanted: Callable[[Progress], bool]) -> Progress:
        def found() -> Progress | None:
            return next(filter(wanted, self.progress), None)

        with self._came:
            assert self._came.wait_for(lambda: found() is not None, WAIT_SECONDS), self.progress
        one = found()
        assert one is not None
        return one


def test_a_listener_sees_the_present_each_change_and_the_end(queue: FakeQueue) -> None:
    job, seen = submitted(queue), Seen()
    job.listen(seen)
    present = seen.until(lambda _: True)
    seen.until(lambda progress: progress.phase is Phase.RUNNING)
    queue.finish()
    job.result(WAIT_SECONDS)

    assert present.request_id == "req-1"
    assert seen.progress[-1].phase is Phase.DONE
    elapsed = [progress.elapsed for progress in seen.progress[:-1]]
    assert elapsed == sorted(elapsed)


def test_a_listener_is_called_as_time_goes_by(queue: FakeQueue) -> None:
    job = submitted(queue)
    ticks = threading.Semaphore(0)
    job.listen(lambda _: ticks.release())

    for _ in range(3):  # the present, and two ticks
        assert ticks.acquire(timeout=WAIT_SECONDS)

    assert job.cancel().startswith("Cancelled")


def test_a_listener_that_comes_late_sees_how_it_ended(queue: FakeQueue) -> None:
    job, seen = start("a red fox"), Seen()
    job.result(WAIT_SECONDS)

    job.listen(seen)

    assert seen.until(lambda _: True).phase is Phase.DONE


def test_listeners_may_come_from_many_threads(queue: FakeQueue) -> None:
    job = submitted(queue)
    seen = [Seen() for _ in range(64)]

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(job.listen, seen))
    queue.finish()
    job.result(WAIT_SECONDS)

    assert {listener.until(lambda p: p.phase.over).phase for listener in seen} == {Phase.DONE}


def test_what_a_callback_does_wrong_costs_no_picture(
    queue: FakeQueue, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        job = start("a red fox", on_event=fail)
        job.listen(fail)
        job.add_done_callback(fail)
        generation = job.result(WAIT_SECONDS)

    assert generation[0].path.exists()
    assert "ZeroDivisionError" in caplog.text


def test_a_job_is_numbered_has_the_journals_id_and_shows_itself_as_text(queue: FakeQueue) -> None:
    first, second = start("a <b>red</b> fox"), start("a red fox")
    first.result(WAIT_SECONDS)

    assert second.number == first.number + 1
    assert first.id in {row.id for row in books.rows() if row.request_id}
    assert first.status.startswith("1 image")
    assert "$0.04" in first.status
    assert repr(first) == f"<Job {first.number}: {first.status.replace(' · ', ', ')}>"
    assert repr(first).isascii()
    shown = first._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html"}
    assert first.status in shown["text/plain"]


# -------------------------------------------------------------------------------------- cancelling


def test_a_cancelled_job_says_so_with_its_id(queue: FakeQueue) -> None:
    job = submitted(queue)

    outcome = job.cancel()

    assert outcome == "Cancelled, not billed (request id req-1)."
    assert (job.status, job.progress.phase) == ("Cancelled, not billed.", Phase.CANCELLED)
    with pytest.raises(errors.JobCancelled):
        job.result()
    with pytest.raises(concurrent.futures.CancelledError):
        job.result()


def test_cancelling_from_many_threads_is_one_put(queue: FakeQueue) -> None:
    job = submitted(queue)

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        outcomes = set(threads.map(lambda _: job.cancel(), range(4)))

    assert outcomes == {"Cancelled, not billed (request id req-1)."}
    assert queue.count("cancel") == 1


def test_a_job_cancelled_as_it_is_started_sends_nothing_or_cancels_that(queue: FakeQueue) -> None:
    queue.polls = math.inf

    outcomes = [start("a red fox").cancel() for _ in range(10)]

    assert all("not billed" in outcome for outcome in outcomes)
    assert not queue.paid.total()


def test_cancelling_what_is_done_says_that_it_is_too_late(queue: FakeQueue) -> None:
    job = start("a red fox")
    job.result(WAIT_SECONDS)

    assert job.cancel() == (
        "Too late to cancel: the pictures are here, and paid for (request id req-1)."
    )
    assert queue.count("cancel") == 0


def test_cancelling_what_has_failed_says_why(queue: FakeQueue) -> None:
    queue.script("submit", Break.LOST_ANSWER)
    job = start("a red fox")
    with pytest.raises(errors.SubmitUncertain):
        job.result(WAIT_SECONDS)

    assert "may exist and be billed" in job.cancel()


def test_a_cancel_says_of_a_request_without_an_id_that_it_cannot_be_fetched_later(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_widget._runs.job.CANCEL_WAIT_SECONDS", 0.1)
    queue.silence_seconds = 1.0
    queue.script("generations", Break.SILENCE)
    job = start("a red fox", model="gpt-image-1.5")
    queue.wait_for("generations")

    said = job.cancel()

    assert "cannot be cancelled" in said
    assert "resume" not in said
    with pytest.raises(errors.SubmitUncertain):
        job.result(WAIT_SECONDS)


# -------------------------------------------------------------------------------------- interrupts

INTERRUPTED = """
import os, signal
from imagen_widget import Job, {event}, generate
signal.signal(signal.SIGINT, signal.default_int_handler)
def on_event(event):
    if isinstance(event, {event}):
        os.kill(os.getpid(), signal.SIGINT)
{again}
try:
    generate("a red fox", on_event=on_event)
except KeyboardInterrupt as interrupt:
    print(*interrupt.__notes__)
"""
AGAIN = """
cancel = Job.request_cancel
def request_cancel(self):
    os.kill(os.getpid(), signal.SIGINT)
    cancel(self)
Job.request_cancel = request_cancel
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "words"),
    [
        ("Submitting", "not billed"),
        ("Submitted", "Cancelled, not billed (request id req-1)."),
        ("Running", "Cancelled, not billed (request id req-1)."),
    ],
)
def test_an_interrupt_cancels_at_the_provider_and_says_what_came_of_it(
    queue: FakeQueue, event: str, words: str
) -> None:
    assert hasattr(signal, "SIGINT")
    queue.polls = math.inf

    said = script(INTERRUPTED.format(event=event, again=""))

    assert words in said
    assert queue.posts <= 1
    assert queue.paid.total() == 0


@pytest.mark.slow
def test_a_second_interrupt_gives_the_prompt_back_at_once(queue: FakeQueue) -> None:
    queue.polls = math.inf

    said = script(INTERRUPTED.format(event="Running", again=AGAIN))

    assert "req-1" in said
    assert "imagen_resume" in said


@pytest.mark.slow
def test_a_script_that_ends_while_a_job_runs_leaves_it_to_be_fetched(queue: FakeQueue) -> None:
    queue.polls = math.inf

    script(
        "import threading\n"
        "from imagen_widget import Running, start\n"
        "runs = threading.Event()\n"
        "start('a red fox', on_event=lambda e: isinstance(e, Running) and runs.set())\n"
        "runs.wait(30)"
    )
    queue.finish()

    assert [generation.request_id for generation in History().resume()] == ["req-1"]
    assert (queue.posts, queue.count("cancel")) == (1, 0)


# --------------------------------------------------------------------------------- the status line


@pytest.mark.parametrize(
    ("answers", "phase"),
    [
        (["IN_QUEUE 2"], "In the queue, 2 ahead"),
        (["IN_QUEUE 0"], "In the queue, next"),
        (["IN_PROGRESS"], "Drawing"),
        (["IN_PROGRESS Image 1 of 2"], "Image 1 of 2"),
    ],
)
def test_the_status_line_has_phase_time_provider_model_and_price(
    queue: FakeQueue, answers: list[str], phase: str
) -> None:
    for text in answers:
        word, _, more = text.partition(" ")
        body: dict[str, object] = {"status": word}
        if more.isdigit():
            body["queue_position"] = int(more)
        elif more:
            body["logs"] = [{"message": more}]
        queue.always("status", Reply(202, body))
    job, seen = start("a red fox", num_images=2), Seen()
    job.listen(seen)

    seen.until(lambda progress: _line(progress).startswith(phase))
    line = job.status.split(" · ")
    queue.heal()
    job.result(WAIT_SECONDS)

    assert line[0] == phase
    assert line[1].endswith(" s")
    assert line[2:] == ["kkiai imagen4", "about $0.08"]


def _line(progress: Progress) -> str:
    """Return the phase in the words of the status line."""
    words = {Phase.QUEUED: "In the queue", Phase.RUNNING: progress.log or "Drawing"}
    line = words.get(progress.phase, progress.phase.value)
    if progress.position is None or progress.phase is not Phase.QUEUED:
        return line
    return f"{line}, {f'{progress.position} ahead' if progress.position else 'next'}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "about $0.04"),
        ({"IMAGEN_PRICE": "0.5"}, "about $0.50"),
        ({"IMAGEN_PRICE": "0.0035"}, "about $0.0035"),
        ({"IMAGEN_PROVIDER": "demo"}, "demo imagen4 · free"),
    ],
)
def test_an_expected_price_is_named_in_words(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], words: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    assert words in start("a red fox").status


def test_a_price_that_nobody_knows_is_said_to_be_unknown(queue: FakeQueue) -> None:
    job = start("a red fox", model="somebody/some-model")

    assert (job.price, "price unknown" in job.status) == (None, True)


def test_what_was_translated_for_the_model_is_said_in_the_status(queue: FakeQueue) -> None:
    queue.polls = math.inf
    job = start("a red fox", model="fal-ai/flux/dev", aspect_ratio="16:9")

    line = job.status
    job.cancel()

    assert "landscape_16_9" in line
    assert job.request.arguments()["image_size"] == "landscape_16_9"


def test_only_the_last_three_phases_are_an_end() -> None:
    assert [phase for phase in Phase if phase.over] == [Phase.DONE, Phase.FAILED, Phase.CANCELLED]


def test_events_are_reported_with_what_they_carry(queue: FakeQueue) -> None:
    queue.queued, queue.polls = 2, 1
    events: list[object] = []

    generate("a red fox", on_event=events.append)

    by_type = {type(event): event for event in events}
    assert list(by_type) == [Submitting, Submitted, Queued, Running, Done, Fetching]
    assert [event for event in events if isinstance(event, Queued)] == [Queued(1), Queued(0)]
    assert by_type[Fetching] == Fetching(1)
    running, ticket = by_type[Running], by_type[Submitted]
    assert isinstance(running, Running)
    assert [line.message for line in running.logs] == ["drawing"]
    assert isinstance(ticket, Submitted)
    assert ticket.ticket.request_id == "req-1"


def test_a_price_is_part_of_the_handle(queue: FakeQueue) -> None:
    job = start(ImageRequest.create("a red fox", num_images=2))

    assert job.price == Decimal("0.08")
    assert job.request.count == 2
