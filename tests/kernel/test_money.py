"""In real kernels no paid picture is lost: killed, interrupted, run again, queued behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from imagen_widget._journal import Journal, State
from tests.billing import Provider
from tests.chaos.server import Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.conftest import StartKernel
    from tests.kernel.harness import Kernel

pytestmark = pytest.mark.kernel

END_SECONDS = 20.0


@pytest.fixture
def provider() -> Provider:
    return Provider(polls=0)


@pytest.fixture
def server(provider: Provider) -> Iterator[Server]:
    with serving(provider) as server:
        yield server


@pytest.fixture
def paying(server: Server, start_kernel: StartKernel) -> Kernel:
    """Run a kernel whose pictures cost money, as far as it knows."""
    kernel = start_kernel(**account(server.url))
    kernel.run("%load_ext imagen_widget")
    return kernel


def account(url: str) -> dict[str, str]:
    return {
        "IMAGEN_PROVIDER": "kkiai",
        "IMAGEN_API_KEY": "made-up",
        "IMAGEN_BASE_URL": url,
        "IMAGEN_POLL_SECONDS": "0.05",
    }


def states(folder: Path) -> list[State]:
    """Return what the journal of the test's kernels says of each job."""
    with contextlib.closing(Journal(folder / "imagen")) as journal:
        return [row.state for row in journal.rows()]


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


# ------------------------------------------------------------------------------- killed, run again


def test_a_kernel_killed_while_it_waits_loses_no_picture(
    start_kernel: StartKernel, tmp_path: Path
) -> None:
    with demo_queue(seconds=3) as url:
        first = start_kernel(**account(url))
        first.run("%load_ext imagen_widget")
        cell = first.start("%imagen a red fox -n 2")
        first.wait_until(lambda: states(tmp_path) == [State.SUBMITTED])
        assert first.outcome(cell).status == "running"
        first.kill()

        second = start_kernel(**account(url))
        second.run("%load_ext imagen_widget")
        listed = second.run("%imagen_resume")
        shown = second.run("_[0]")
        again = second.run("%imagen a red fox -n 2")

    assert "a red fox" in listed.text
    assert shown.data("text/html")[0].count("data:image/webp;base64,") == 2
    assert "from history" in again.text
    assert states(tmp_path) == [State.DONE]


def test_running_all_again_after_a_crash_pays_nothing_again(
    provider: Provider, server: Server, start_kernel: StartKernel
) -> None:
    cells = ["%load_ext imagen_widget", "%imagen a red fox", "x = %imagen a blue fox -n 2"]
    provider.polls = float("inf")
    first = start_kernel(**account(server.url))
    first.run(cells[0])
    waiting = first.start(cells[1])
    first.wait_for_text(waiting, "drawing")
    first.kill()
    provider.finish()
    provider.polls = 0

    for _ in range(2):
        kernel = start_kernel(**account(server.url))
        assert [outcome.status for outcome in kernel.queue(cells)] == ["ok"] * 3

    assert provider.posts == 2
    assert provider.duplicates == 0


# ------------------------------------------------------------------------------------- interrupted


@pytest.mark.parametrize(
    "code",
    [
        "%imagen a red fox",
        "generate('a red fox')",
        "import asyncio; await asyncio.sleep(0); generate('a red fox')",
    ],
    ids=["magic", "call", "call in an async cell"],
)
def test_an_interrupt_cancels_remotely_names_the_job_and_gives_the_prompt_back(
    provider: Provider, paying: Kernel, code: str
) -> None:
    provider.polls = float("inf")
    paying.run("from imagen_widget import generate")
    cell = paying.start(code)
    assert provider.submitted.wait(END_SECONDS)

    paying.interrupt()
    outcome = paying.finish(cell, seconds=END_SECONDS)

    assert outcome.error is not None
    assert outcome.error.name == "KeyboardInterrupt"
    assert "req-1" in outcome.text
    assert "not billed" in outcome.text
    assert (provider.posts, provider.cancellations) == (1, 1)
    assert paying.run("1 + 1").value == "2"


def test_two_interrupts_leave_a_kernel_that_works_and_a_job_that_is_known(
    provider: Provider, paying: Kernel
) -> None:
    provider.polls = float("inf")
    provider.obeys = False
    cell = paying.start("%imagen a red fox")
    assert provider.submitted.wait(END_SECONDS)

    paying.interrupt()
    paying.interrupt()
    outcome = paying.finish(cell, seconds=END_SECONDS)

    assert outcome.error is not None
    assert outcome.error.name == "KeyboardInterrupt"
    assert paying.run("1 + 1").value == "2"
    assert provider.posts == 1


# --------------------------------------------------------------------- what goes on while one waits

TICKER = """
import asyncio
ticks = 0
async def tick():
    global ticks
    while True:
        await asyncio.sleep(0.05)
        ticks += 1
ticker = asyncio.create_task(tick())
"""


def test_the_users_own_loop_goes_on_during_a_blocking_call(start_kernel: StartKernel) -> None:
    kernel = start_kernel(IMAGEN_DEMO_SECONDS="1")
    kernel.run("from imagen_widget import generate")
    kernel.run(TICKER)

    outcome = kernel.run("before = ticks; generate('a red fox'); ticks - before")

    assert int(outcome.value or 0) >= 10  # of 20 a second; a busy machine may lose some


@pytest.mark.parametrize("call", ["generate('a red fox')", "%imagen a red fox"])
def test_every_cell_queued_behind_a_blocking_one_runs(start_kernel: StartKernel, call: str) -> None:
    kernel = start_kernel(IMAGEN_DEMO_SECONDS="1")
    kernel.run("%load_ext imagen_widget\nfrom imagen_widget import generate\nran = []")
    kernel.run(TICKER)

    outcomes = kernel.queue([call, *(f"ran.append({number})" for number in range(4)), "ran"])

    assert [outcome.status for outcome in outcomes] == ["ok"] * 6
    assert outcomes[-1].value == "[0, 1, 2, 3]"


def test_a_kernel_that_is_shut_down_while_it_waits_leaves_a_job_to_be_taken_up(
    provider: Provider, paying: Kernel, start_kernel: StartKernel, server: Server
) -> None:
    provider.polls = float("inf")
    paying.run("%imagen a red fox --no-wait")
    assert provider.submitted.wait(END_SECONDS)
    paying.start("exit()")
    provider.finish()
    provider.polls = 0

    other = start_kernel(**account(server.url))
    other.run("%load_ext imagen_widget")
    outcome = other.run("%imagen a red fox")

    assert outcome.status == "ok"
    assert provider.posts == 1


def test_the_tests_use_no_key_from_outside() -> None:
    assert not [name for name in os.environ if name in {"FAL_KEY", "IMAGEN_API_KEY"}]
