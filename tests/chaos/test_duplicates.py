"""No request is paid for twice, whatever the line does; the official client pays some twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from imagen_widget import Studio
from imagen_widget.errors import SubmitUncertain
from tests import books
from tests.chaos.counts import FAL_SUBMITS, SUBMITS, show
from tests.fakequeue import QueueProcess, queue_process

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
BROKEN = 0.25  # of all submits
AT_ONCE = 100
RESULT_SECONDS = 300.0


@dataclass(frozen=True)
class Outcome:
    """What a client's requests came to."""

    requests: int
    failed: int
    facts: dict[str, Any]

    def __str__(self) -> str:
        return (
            f"{self.requests} requests, {self.facts['posts']} POSTs, {self.facts['paid']} paid "
            f"jobs, {self.facts['duplicates']} duplicates, {self.failed} ended in an exception"
        )


def ours(queue: QueueProcess, home: Path) -> Outcome:
    studio = Studio("kkiai", base_url=queue.url, api_key="made-up", home=home, poll_seconds=0.1)
    failed = 0
    for first in range(0, SUBMITS, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, SUBMITS))
        for job in [studio.start(f"fox {number}") for number in numbers]:
            try:
                job.result(RESULT_SECONDS)
            except SubmitUncertain:
                failed += 1
    return Outcome(SUBMITS, failed, queue.facts())


def the_official_clients(queue: QueueProcess) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.fal_worker", queue.url, str(FAL_SUBMITS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    return Outcome(FAL_SUBMITS, json.loads(done.stdout)["failed"], queue.facts())


def test_no_request_is_paid_for_twice_and_no_paid_job_is_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty = ("--faults", str(BROKEN))
    with queue_process(*faulty) as one, queue_process(*faulty) as other:
        outcome = ours(one, tmp_path)
        theirs = the_official_clients(other)

    rows = books.rows(tmp_path)
    states = Counter(row.state for row in rows)
    remembered = {row.prompt for row in rows if row.state in {"done", "unknown"}}
    show(
        capsys,
        f"submits at {BROKEN:.0%} faults\n"
        f"  imagen_widget: {outcome}; in the journal "
        f"{', '.join(f'{count} {state}' for state, count in sorted(states.items()))}\n"
        f"  fal-client:    {theirs}",
    )
    assert outcome.facts["duplicates"] == 0
    assert {job["prompt"] for job in outcome.facts["jobs"].values()} <= remembered
    assert states.total() == SUBMITS
    assert set(states) == {"done", "unknown"}
    assert states["unknown"] == outcome.failed
    assert theirs.facts["duplicates"] > 0  # the faults are real: another client pays twice
