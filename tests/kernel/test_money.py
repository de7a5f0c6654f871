"""In real kernels no paid picture is lost: killed, interrupted, run again, queued behind."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import books
from tests.fakequeue import FakeQueue
from tests.kernel.conftest import StartKernel
from tests.kernel.environments import IPYKERNELS, python_with
from tests.kernel.harness import QUICK, Kernel, running_kernel

pytestmark = pytest.mark.kernel

END_SECONDS = 60.0
LOAD = f"""
%load_ext imagen_widget
from imagen_widget import generate, sweep
import asyncio
{QUICK}
"""
TICKER = """
ticks = 0
async def tick():
    global ticks
    while True:
        await asyncio.sleep(0.05)
        ticks += 1
ticker = asyncio.create_task(tick())
"""
CALLS = {
    "magic": "%imagen --fresh a red fox",
    "call": "generate('a red fox')",
    "call in an async cell": "await asyncio.sleep(0); generate('a red fox')",
}

AWAITS = {
    "agenerate": "from imagen_widget import agenerate; await agenerate('a red fox')",
    "job": "from imagen_widget import start; await start('a red fox')",
    "series": "await sweep('a {animal}', animal=['red fox']).arun()",
}


def account(url: str) -> dict[str, str]:
    """Return the settings of an account whose pictures cost money, as far as a kernel knows."""
    return {
        "IMAGEN_PROVIDER": "kkiai",
        "IMAGEN_API_KEY": "made-up",
        "IMAGEN_BASE_URL": url,
        "IMAGEN_POLL_SECONDS": "0.05",
        "IMAGEN_SCHEMAS": "off",
    }


@pytest.fixture
def served() -> Iterator[tuple[FakeQueue, dict[str, str]]]:
    """Serve a queue; returns it with the settings of a kernel that asks it."""
    queue = FakeQueue()
    with queue.serve() as url:
        yield queue, account(url)


# -------------------------------------------------------------------- one kernel for many cases


@pytest.fixture(scope="module", params=list(IPYKERNELS))
def working(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Kernel, FakeQueue, Path]]:
    """Run a kernel of each version for all cases that leave it working; its loop has a task."""
    folder = tmp_path_factory.mktemp("kernel")
    queue = FakeQueue()
    with queue.serve() as url:
        given = {
            **account(url),
            "IMAGEN_HOME": str(folder / "imagen"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }
        with running_kernel(python_with(request.param), folder / "files", given) as kernel:
            kernel.run(LOAD)
            kernel.run(TICKER)
            yield kernel, queue, folder / "imagen"


@pytest.fixture
def kernel(working: tuple[Kernel, FakeQueue, Path]) -> Iterator[Kernel]:
    """Return the kernel; its queue has no job that still runs."""
    yield working[0]
    queue = working[1]
    queue.heal()
    queue.finish()
    queue.obeys = True


@pytest.fixture
def queue(working: tuple[Kernel, FakeQueue, Path]) -> FakeQueue:
    return working[1]


def start_until_out(kernel: Kernel, queue: FakeQueue, code: str) -> str:
    """Start a cell and wait until its job is out; a status may still be another test's job's.

    An interrupt before the cell has begun hits the kernel's own code, and the reply is lost.
    """
    sent = queue.count("submit")
    cell = kernel.start(code)
    queue.wait_for("submit", sent + 1)
    queue.wait_for("status", queue.count("status") + 1)
    return cell


@pytest.mark.parametrize("code", CALLS.values(), ids=CALLS)
def test_an_interrupt_cancels_remotely_names_the_job_and_gives_the_prompt_back(
    kernel: Kernel, queue: FakeQueue, code: str
) -> None:
    queue.polls = math.inf
    posts, cancels = queue.posts, queue.count("cancel")
    cell = start_until_out(kernel, queue, code)

    kernel.interrupt()
    outcome = kernel.finish(cell, seconds=END_SECONDS)

    assert outcome.error is not None
    assert outcome.error.name == "KeyboardInterrupt"
    assert f"req-{len(queue.jobs)}" in outcome.text
    assert "not billed" in outcome.text
    assert (queue.posts - posts, queue.count("cancel") - cancels) == (1, 1)
    assert kernel.run("1 + 1").value == "2"


@pytest.mark.parametrize("code", AWAITS.values(), ids=AWAITS)
def test_an_interrupt_of_an_awaited_call_is_one_line(
    kernel: Kernel, queue: FakeQueue, code: str
) -> None:
    queue.polls = math.inf
    cell = start_until_out(kernel, queue, code)

    kernel.interrupt()
    outcome = kernel.finish(cell, seconds=END_SECONDS)

    assert outcome.error is not None
    assert outcome.error.traceback == "KeyboardInterrupt"
    if "agenerate" in code:  # which shows a status, though nobody waits any more
        kernel.wait_for_text(cell, "Cancelled, not billed")
    assert kernel.run("1 + 1").value == "2"


def test_two_interrupts_leave_a_kernel_that_works_and_a_job_that_is_known(
    kernel: Kernel, queue: FakeQueue, working: tuple[Kernel, FakeQueue, Path]
) -> None:
    queue.polls, queue.obeys = math.inf, False
    posts = queue.posts
    cell = start_until_out(kernel, queue, "%imagen --fresh a red fox")

    kernel.interrupt()
    kernel.interrupt()
    outcome = kernel.finish(cell, seconds=END_SECONDS)

    assert outcome.error is not None
    assert outcome.error.name == "KeyboardInterrupt"
    assert kernel.run("1 + 1").value == "2"
    assert queue.posts - posts == 1
    assert books.rows(working[2])[-1].request_id == f"req-{len(queue.jobs)}"


def test_an_interrupt_stops_a_series_and_what_is_out_is_fetched(
    kernel: Kernel, queue: FakeQueue
) -> None:
    queue.polls = math.inf
    kernel.run("series = sweep('a {animal}', animal=map(str, range(9)), name='animals')")
    cell = start_until_out(kernel, queue, "series.run(max_in_flight=3)")

    kernel.interrupt()
    outcome = kernel.finish(cell, seconds=END_SECONDS)
    posts = queue.posts
    queue.finish()
    fetched = kernel.run("await series; series.status_counts['done']")
    posts_after = queue.posts
    resumed = kernel.run("series.run(quiet=True).status_counts['done']")

    assert outcome.error is not None
    assert outcome.error.name == "KeyboardInterrupt"
    assert posts_after == posts
    assert 1 <= int(fetched.value or 0) < 9
    assert resumed.value == "9"
    assert {queue.paid[f"a {number}"] for number in range(9)} == {1}


def test_the_users_own_loop_goes_on_during_a_blocking_call(
    kernel: Kernel, queue: FakeQueue
) -> None:
    queue.polls = math.inf
    asked = queue.count("status")
    cell = kernel.start("before = ticks; generate('a red fox'); ticks - before")
    queue.wait_for("status", asked + 20)  # each after 0.05 s or more
    queue.finish()

    outcome = kernel.finish(cell)

    assert int(outcome.value or 0) >= 10  # of 20 a second; a busy machine may lose some


@pytest.mark.parametrize("call", ["generate('a red fox')", "%imagen --fresh a red fox"])
def test_every_cell_queued_behind_a_blocking_one_runs(
    kernel: Kernel, queue: FakeQueue, call: str
) -> None:
    queue.polls = 1
    kernel.run("ran = []")

    outcomes = kernel.queue([call, *(f"ran.append({number})" for number in range(4)), "ran"])

    assert [outcome.status for outcome in outcomes] == ["ok"] * 6
    assert outcomes[-1].value == "[0, 1, 2, 3]"


# ------------------------------------------------------------------------------- killed, run again


@contextlib.contextmanager
def demo_queue(*, seconds: float) -> Iterator[str]:
    """Serve the demo queue as its users do, and end it in any case."""
    command = [sys.executable, "-m", "imagen_widget", "--port", "0", "--seconds", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as queue:
        try:
            assert queue.stdout is not None
            yield queue.stdout.readline().rpartition("IMAGEN_BASE_URL=")[2].strip()
        finally:
            queue.terminate()
            queue.wait(END_SECONDS)


def test_a_kernel_killed_while_it_waits_loses_no_picture(
    start_kernel: StartKernel, tmp_path: Path
) -> None:
    home = tmp_path / "imagen"
    with demo_queue(seconds=2) as url:
        first = start_kernel(**account(url))
        first.run(LOAD)
        cell = first.start("%imagen a red fox -n 2")
        first.wait_until(lambda: books.states(home) == ["submitted"])
        assert first.outcome(cell).status == "running"
        first.kill()

        second = start_kernel(**account(url))
        second.run(LOAD)
        listed = second.run("%imagen_resume")
        shown = second.run("_[0]")
        again = second.run("%imagen a red fox -n 2")

    assert "a red fox" in listed.text
    assert shown.data("text/html")[0].count("data:image/webp;base64,") == 2
    assert "from history" in again.text
    assert books.states(home) == ["done"]


def test_running_all_again_after_a_crash_pays_nothing_again(
    served: tuple[FakeQueue, dict[str, str]], start_kernel: StartKernel
) -> None:
    queue, settings = served
    cells = [LOAD, "%imagen a red fox", "x = %imagen a blue fox -n 2"]
    queue.polls = math.inf
    first = start_kernel(**settings)
    first.run(cells[0])
    first.start(cells[1])
    queue.wait_for("status")
    first.kill()
    queue.finish()

    again = start_kernel(**settings)
    for _ in range(2):
        assert [outcome.status for outcome in again.queue(cells)] == ["ok"] * 3

    assert (queue.posts, queue.duplicates) == (2, 0)


def test_a_kernel_that_is_shut_down_while_it_waits_leaves_a_job_to_be_fetched(
    served: tuple[FakeQueue, dict[str, str]], start_kernel: StartKernel
) -> None:
    queue, settings = served
    queue.polls = math.inf
    first = start_kernel(**settings)
    first.run(LOAD)
    first.run("%imagen a red fox --no-wait")
    queue.wait_for("status")
    first.start("exit()")
    queue.finish()

    other = start_kernel(**settings)
    other.run(LOAD)

    assert other.run("%imagen a red fox").status == "ok"
    assert queue.posts == 1
