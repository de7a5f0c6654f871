"""Many thousand jobs over a real socket leave nothing behind; the figures are printed."""

import logging
import os
from pathlib import Path

import pytest

from imagen_widget import Studio
from tests.fakequeue import queue_process
from tests.footprint import footprint

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

JOBS = int(os.environ.get("IMAGEN_SOAK_JOBS", "20000"))
AT_ONCE = 100
WARM_UP = 1_000  # allocators, executors and caches settle first
MAX_MEGABYTES = 30.0
WAIT_SECONDS = 120.0


def run(studio: Studio, count: int) -> None:
    for first in range(0, count, AT_ONCE):
        jobs = [studio.start(f"fox {first + n} of {count}") for n in range(AT_ONCE)]
        for job in jobs:
            assert len(job.result(WAIT_SECONDS)) == 1


def test_twenty_thousand_jobs_leave_nothing_behind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root.manager, "disable", logging.INFO)  # pytest keeps each record
    with queue_process("--picture-bytes", "10000") as queue:
        studio = Studio(
            "kkiai", base_url=queue.url, api_key="made-up", home=tmp_path, schemas="off"
        )
        run(studio, WARM_UP)
        warm = footprint()
        run(studio, JOBS)
        worked = footprint()

    with capsys.disabled():
        for name, found in {"warm": warm, f"{JOBS:,} jobs later": worked}.items():
            print(f"\n{name}: " + ", ".join(f"{k} {v:g}" for k, v in found.items()), end="")
    assert worked["rss_mb"] - warm["rss_mb"] <= MAX_MEGABYTES
    assert worked["threads"] <= warm["threads"] + 1
    assert worked["files"] <= warm["files"] + AT_ONCE // 10
    assert worked["sockets"] <= warm["sockets"] + AT_ONCE // 10
