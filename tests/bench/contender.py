"""What all who are measured have in common: how they are told what to do, and how they report.

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
        cpu_seconds: Processor time of the client's process, without start and warm-up.
        peak_bytes: The most memory that the process had.
    """

    known: dict[str, float] = field(default_factory=dict)
    saved: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
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
        except Exception as error:  # noqa: BLE001 - an error is a finding here
            report.errors.append(f"{type(error).__name__}: {error}"[:200])

    prompts = [f"job {number} {seconds} s" for number, seconds in enumerate(plan.seconds)]
    before = time.process_time()
    if plan.together:
        async with asyncio.TaskGroup() as group:
            for prompt in prompts:
                group.create_task(guarded(prompt))
    else:
        for prompt in prompts:
            await guarded(prompt)
    report.cpu_seconds = time.process_time() - before
    unit = 1 if sys.platform == "darwin" else 1024
    report.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps(asdict(report)))  # noqa: T201 - how it is told


def read_plan() -> Plan:
    """Return the plan that stands on the input."""
    fields = json.load(sys.stdin)
    return Plan(**{**fields, "folder": Path(fields["folder"])})
