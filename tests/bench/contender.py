"""What all that are measured have in common: how they are told what to do, and how they report.

It needs no package, so that it runs in any environment.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

ENDPOINT = "fal-ai/imagen4/preview"
WARM_UP_PROMPT = "warm-up 0.05 s"


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        base_url: Where the queue is.
        seconds: How long each job takes.
        together: Whether all jobs start at once, else one after the other.
        save: Whether the pictures are to end up on disk.
        known: Service times of earlier jobs, for a client that learns from them.
        folder: Where files may be written.
    """

    base_url: str
    seconds: list[float]
    together: bool
    save: bool
    known: list[float]
    folder: Path


@dataclass
class Report:
    """What came of it.

    Attributes:
        known: For each job, the moment at which its result was in the client's hands.
        saved: For each job, the moment at which its picture was on disk.
        errors: What went wrong, by its first line.
        took: Seconds from the first job's start to the last one's end.
        cpu_seconds: Processor time of the client's process, without start and warm-up.
        peak_bytes: The most memory that the process had.
    """

    known: dict[str, float] = field(default_factory=dict)
    saved: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    took: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0


OneJob = Callable[[str, Report], Awaitable[None]]


async def take_part(plan: Plan, one_job: OneJob) -> None:
    """Warm up, do the jobs, and print the report as JSON."""
    await one_job(WARM_UP_PROMPT, Report())
    report = Report()

    async def guarded(prompt: str) -> None:
        try:
            await one_job(prompt, report)
        except Exception as error:  # an error is a finding here
            report.errors.append(f"{type(error).__name__}: {error}"[:200])

    prompts = [f"job {number} {seconds} s" for number, seconds in enumerate(plan.seconds)]
    began, before = time.monotonic(), time.process_time()
    if plan.together:
        async with asyncio.TaskGroup() as group:
            for prompt in prompts:
                group.create_task(guarded(prompt))
    else:
        for prompt in prompts:
            await guarded(prompt)
    report.cpu_seconds = time.process_time() - before
    report.took = time.monotonic() - began
    report.peak_bytes = peak_bytes()
    print(json.dumps(asdict(report)))


def peak_bytes() -> int:
    """Return the most memory that this process had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes() -> int:
    """Return how much memory this process has now; the most that it had if nobody says."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_bytes()
    return pages * resource.getpagesize()


def read_plan() -> Plan:
    """Return the plan that stands on the input."""
    fields = json.load(sys.stdin)
    return Plan(**{**fields, "folder": Path(fields["folder"])})
