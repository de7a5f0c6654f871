"""The use case: one call for pictures; in scripts, threads, coroutines, with or without a loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from imagen_widget import (
    Generation,
    History,
    ImageRequest,
    _bridge,
    agenerate,
    errors,
    generate,
    start,
)
from imagen_widget._generate._progress import Submitted
from tests.billing import Provider
from tests.chaos.server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 30.0


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    provider = Provider(polls=0)
    with serving(provider) as server:
        monkeypatch.setenv("IMAGEN_PROVIDER", "kkiai")
        monkeypatch.setenv("IMAGEN_API_KEY", "made-up")
        monkeypatch.setenv("IMAGEN_BASE_URL", server.url)
        monkeypatch.setenv("IMAGEN_POLL_SECONDS", "0.02")
        yield provider
        _bridge.close()


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("IMAGEN_DEMO_SECONDS", "0")
    yield
    _bridge.close()


@pytest.mark.usefixtures("provider")
def test_a_call_gives_pictures_that_are_kept() -> None:
    generation = generate("a red fox", num_images=2, aspect_ratio="16:9")

    assert isinstance(generation, Generation)
    assert [path.exists() for path in generation.paths] == [True, True]
    assert (generation.request.prompt, generation.request.aspect_ratio) == ("a red fox", "16:9")
    assert [kept.request_id for kept in History()] == [generation.request_id]


@pytest.mark.usefixtures("demo")
def test_without_any_key_the_demo_draws() -> None:
    generation = generate("a red fox")

    assert (generation.provider, generation.cost) == ("demo", 0)


def test_a_call_is_fresh_unless_history_is_asked(provider: Provider) -> None:
    generate("a red fox")
    fresh = generate("a red fox")
    again = generate("a red fox", reuse=True)

    assert provider.posts == 2
    assert (fresh.reused, again.reused) == (False, True)
    assert again.request_id == fresh.request_id


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "  "},
        {"prompt": "a fox", "num_images": 5},
        {"prompt": "a fox", "aspect_ratio": "2:1"},
        {"prompt": "a fox", "colour": "red"},
        {"prompt": "a fox", "model": "imagen-9"},
    ],
)
def test_what_the_model_does_not_take_is_told_before_anything_is_sent(
    provider: Provider, wrong: dict[str, object]
) -> None:
    with pytest.raises(errors.InvalidRequest):
        generate(**wrong)  # type: ignore[arg-type]  # wrong on purpose

    assert provider.log == []
    assert len(History()) == 0


def test_many_threads_have_their_own_pictures(provider: Provider) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: generate(f"fox {n}"), range(16)))

    assert [generation.request.prompt for generation in made] == [f"fox {n}" for n in range(16)]
    assert provider.posts == 16
    assert provider.duplicates == 0


IN_A_RUNNING_LOOP = """
import asyncio
from imagen_widget import generate
async def main():
    print(len(generate("a red fox", num_images=2)))
asyncio.run(main())
"""


@pytest.mark.usefixtures("provider")
def test_a_blocking_call_inside_a_running_loop_gives_pictures() -> None:
    """In a process of its own: from there on that process's asyncio can be nested."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_RUNNING_LOOP],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert (done.stdout.strip(), done.stderr) == ("2", "")


@pytest.mark.usefixtures("provider")
def test_an_awaited_call_gives_the_same() -> None:
    generation = asyncio.run(agenerate("a red fox", num_images=2))

    assert len(generation) == 2


def test_a_hundred_awaited_calls_go_side_by_side(provider: Provider) -> None:
    async def main() -> list[Generation]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(agenerate(f"fox {number}")) for number in range(100)]
        return [task.result() for task in tasks]

    made = asyncio.run(main())

    assert [generation.request.prompt for generation in made] == [f"fox {n}" for n in range(100)]
    assert provider.posts == 100


@pytest.mark.parametrize("ends_at_once", [False, True])
def test_a_task_that_is_cancelled_takes_its_job_back(
    provider: Provider, *, ends_at_once: bool
) -> None:
    provider.polls = float("inf")

    async def main() -> None:
        submitted = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_event(event: object) -> None:
            if isinstance(event, Submitted):
                loop.call_soon_threadsafe(submitted.set)

        task = asyncio.create_task(agenerate("a red fox", on_event=on_event))
        await submitted.wait()
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    if not ends_at_once:
        _until_cancelled(provider)
    _bridge.close()  # what the end of the process does

    assert provider.cancellations == 1
    assert [row.request_id for row in History().pending()] == []


def _until_cancelled(provider: Provider) -> None:
    assert provider.cancelled.wait(PATIENCE_SECONDS)


def test_a_deadline_leaves_the_job_to_be_taken_up(provider: Provider) -> None:
    provider.polls = float("inf")

    with pytest.raises(errors.QueueTimeout, match="imagen_resume"):
        generate("a red fox", timeout=0.3)
    provider.finish()

    assert [generation.request_id for generation in History().resume()] == ["req-1"]
    assert provider.posts == 1


@pytest.mark.usefixtures("provider")
def test_a_job_is_started_under_settings_of_its_own(tmp_path: object) -> None:
    from imagen_widget._settings import load_settings

    settings = load_settings(provider="demo", demo_seconds=0, home=f"{tmp_path}/other")

    generation = start(ImageRequest.create("a red fox"), settings=settings).result(PATIENCE_SECONDS)

    assert generation.provider == "demo"
    assert len(History(settings.home)) == 1


def test_both_calls_take_the_same() -> None:
    blocking, awaited = inspect.signature(generate), inspect.signature(agenerate)

    assert blocking.parameters == awaited.parameters
    assert blocking.return_annotation == awaited.return_annotation


def test_the_cap_of_the_day_counts_what_is_under_way(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.10")

    async def main() -> list[object]:
        calls = [agenerate(f"fox {number}") for number in range(5)]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    outcomes = asyncio.run(main())

    assert provider.posts == 2
    assert sum(isinstance(outcome, errors.BudgetExceeded) for outcome in outcomes) == 3
    assert History().spend() == pytest.approx(0.08)
