"""One trial: a fresh queue, a fresh process that is measured, and what both of them say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.contender import WARM_UP_PROMPT
from tests.fakequeue import queue_process

ROOT = Path(__file__).resolve().parents[2]
BENCH_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
MAX_TRIAL_SECONDS = 400.0
OWN_TICKETS = ("--ticket-base", "")  # fal-client follows the addresses of its tickets

CONTENDERS = {
    "fal-client": [str(BENCH_PYTHON), "-m", "tests.bench.contender_fal"],
    "raw": [sys.executable, "-m", "tests.bench.contender_raw"],
    "ours": [sys.executable, "-m", "tests.bench.contender_ours"],
    "ours, client only": [sys.executable, "-m", "tests.bench.contender_ours", "client"],
    "ours, polling": [sys.executable, "-m", "tests.bench.contender_ours", "polling"],
}


@dataclass(frozen=True)
class Work:
    """What is to be done in a trial.

    Attributes:
        name: What the table calls it.
        seconds: How long each job takes.
        together: Whether all jobs start at once, else one after the other.
        picture_bytes: How big a picture is.
        save: Whether pictures are to end up on disk.
        known: Service times of earlier jobs of the model.
    """

    name: str
    seconds: tuple[float, ...]
    together: bool = True
    picture_bytes: int = 10_000
    save: bool = False
    known: tuple[float, ...] = ()


@dataclass(frozen=True)
class Trial:
    """What one trial came to.

    Attributes:
        delays: For each job, seconds from ready on the server to known in the client.
        saved: For each job, seconds from ready on the server to its picture on disk.
        requests: Requests to the queue a job; pictures are not counted.
        polls: Status requests a job.
        connections: Connections in all.
        took: Seconds for all jobs.
        cpu_seconds: The client's processor time a job.
        peak_bytes: The most memory that the client's process had.
        errors: What went wrong; a job that is not known counts.
    """

    delays: list[float]
    saved: list[float]
    requests: float
    polls: float
    connections: int
    took: float
    cpu_seconds: float
    peak_bytes: int
    errors: list[str]


def run_trial(name: str, work: Work) -> Trial:
    """Let a contender do the work, alone on a queue of its own.

    Raises:
        RuntimeError: Its process failed.
    """
    options = ("--seconds", "prompt", "--picture-bytes", str(work.picture_bytes), *OWN_TICKETS)
    with queue_process(*options) as queue, tempfile.TemporaryDirectory() as folder:
        plan = {
            "base_url": queue.url,
            "seconds": work.seconds,
            "together": work.together,
            "save": work.save,
            "known": work.known,
            "folder": folder,
        }
        report = run_process(CONTENDERS[name], plan)
        facts = queue.facts()
    return _judge(work, report, facts)


def run_process(command: Sequence[str], plan: dict[str, Any]) -> dict[str, Any]:
    """Run a process with a plan on its input, and return what it reports as JSON.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.environ.get("PATH", ""), "HOME": plan["folder"]},
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        timeout=MAX_TRIAL_SECONDS,
        check=False,
    )
    if done.returncode:
        message = f"{' '.join(command[1:])} failed:\n{done.stderr[-2000:]}"
        raise RuntimeError(message)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _judge(work: Work, report: dict[str, Any], facts: dict[str, Any]) -> Trial:
    jobs = {name: job for name, job in facts["jobs"].items() if job["prompt"] != WARM_UP_PROMPT}
    asked: Counter[str] = sum((Counter(job["asked"]) for job in jobs.values()), Counter())
    count = len(work.seconds)
    missing = count - len(report["known"])
    return Trial(
        delays=[moment - jobs[name]["ready"] for name, moment in report["known"].items()],
        saved=[moment - jobs[name]["ready"] for name, moment in report["saved"].items()],
        requests=1 + (asked.total() - asked["media"]) / count,  # the submit is not one of a job
        polls=asked["status"] / count,
        connections=facts["connections"],
        took=report["took"],
        cpu_seconds=report["cpu_seconds"] / count,
        peak_bytes=report["peak_bytes"],
        errors=report["errors"] or ["a result is missing"] * missing,
    )
