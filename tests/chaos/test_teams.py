"""Workers and servers that die while a series runs: nothing lost, nothing paid twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from imagen_widget import Studio
from tests.chaos.counts import POSTS, show
from tests.clusters import MortalCluster
from tests.fakequeue import FakeQueue
from tests.jobs import journal
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

WORKERS = 4
KILLS = max(2, POSTS // 50)
BARE_ROWS = min(POSTS, 40)
ROW_SECONDS = 0.5
WAIT_SECONDS = 300.0


@pytest.fixture
def address(
    postgres: PostgresServer, queue: FakeQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Give the journal of a team whose pictures are in a folder; each job takes its time."""
    address = postgres.make_database()
    monkeypatch.setenv("IMAGEN_JOURNAL", address)
    monkeypatch.setenv("IMAGEN_STORE", str(tmp_path / "shared"))
    queue.seconds = ROW_SECONDS
    return address


@pytest.fixture
def cluster() -> Iterator[MortalCluster]:
    """Run a cluster of processes with the test's environment."""
    options = {"dashboard_address": ":0", "silence_logs": 50}
    with MortalCluster(n_workers=WORKERS, threads_per_worker=1, **options) as cluster:
        yield cluster


def kill_workers(
    client: Client, queue: FakeQueue, *, kills: int, is_over: Callable[[], bool]
) -> int:
    """Kill workers of a whole cluster, one after some requests each time; return how many."""
    chance = random.Random(7)
    for number in range(kills):
        cluster: Any = client.cluster
        cluster.scale(WORKERS)  # a nanny that fails to start its worker again gives up
        client.wait_for_workers(2, timeout=WAIT_SECONDS)
        wanted = queue.posts + chance.randint(1, 2 * POSTS // KILLS // 3)
        while queue.posts < wanted:
            if is_over():
                return number
            time.sleep(0.01)
        os.kill(chance.choice([*client.run(os.getpid, on_error="ignore").values()]), signal.SIGKILL)
    return kills


def problems_of(address: str) -> list[str]:
    verbs = journal.open_journal(Path(), address)
    try:
        return journal.check_journal(verbs)
    finally:
        verbs.close()


def pay(url: str, number: int) -> str:
    """Ask for a picture as fal-client's documentation says; in a worker."""
    os.environ["FAL_KEY"] = "made-up:key"
    import fal_client
    import fal_client.client

    fal_client.client.QUEUE_URL_FORMAT = f"{url}/"
    handle = fal_client.SyncClient().submit("fal-ai/imagen4/preview", {"prompt": f"bare {number}"})
    handle.get()
    return handle.request_id


def test_no_row_is_paid_twice_while_dask_workers_are_killed(
    address: str, queue: FakeQueue, cluster: MortalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(cluster) as client:
        series = Studio().sweep("fox {n}", n=range(POSTS), name="chaos")
        with ThreadPoolExecutor(1) as thread:
            run = thread.submit(series.run, on=client, max_in_flight=16, quiet=True)
            kills = kill_workers(client, queue, kills=KILLS, is_over=run.done)
            last = time.monotonic()
            run.result()
        took = time.monotonic() - last
        counts, twice = series.status_counts, queue.duplicates

        queue.ticket_base = ""  # its tickets name itself: fal-client asks there
        urls = [Studio().settings.base_url] * BARE_ROWS
        futures = client.map(pay, urls, range(BARE_ROWS), pure=False, retries=0)
        is_over = lambda: all(future.done() for future in futures)  # noqa: E731 - a name for a line
        bare_kills = kill_workers(client, queue, kills=2, is_over=is_over)
        for future in futures:
            future.exception(timeout=WAIT_SECONDS)
        bare = queue.duplicates - twice
    show(
        capsys,
        f"Dask, {POSTS} rows, {kills} workers SIGKILLed: {twice} paid twice, {counts['done']} done,"
        f" {counts['unknown']} unknown, all over {took:.1f} s after the last kill; client.map with"
        f" fal-client, {BARE_ROWS} rows, {bare_kills} SIGKILLed: {bare} paid twice",
    )
    assert twice == 0
    assert counts["done"] + counts["unknown"] == POSTS
    assert problems_of(address) == []
    assert counts["unknown"] <= 16 * kills
    assert bare > 0


def test_nothing_is_lost_or_sent_twice_while_the_database_restarts(
    address: str, queue: FakeQueue, postgres: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    series = Studio().sweep("fox {n}", n=range(POSTS), name="chaos")
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(series.run, max_in_flight=16, quiet=True)
        for number in range(1, KILLS + 1):
            queue.wait_for("submit", number * POSTS // (2 * KILLS), seconds=WAIT_SECONDS)
            postgres.stop()
            postgres.start()
        run.result()

    counts = series.status_counts
    show(
        capsys,
        f"PostgreSQL restarted {KILLS} times under {POSTS} rows: {queue.duplicates} paid twice,"
        f" {counts['done']} done, {counts['unknown']} unknown",
    )
    assert queue.duplicates == 0
    assert counts["done"] == POSTS
    assert problems_of(address) == []
