"""What a series costs: paid twice, lost, planned, resumed, memory, pace and the first picture."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from tests.bench.lines import Line
from tests.bench.trial import BENCH_PYTHON, OWN_TICKETS, run_process
from tests.fakequeue import queue_process

_OURS = [sys.executable, "-m", "tests.bench.contender_series"]
_GATHER = [str(BENCH_PYTHON), "-m", "tests.bench.contender_gather"]
_COUNT, _S, _MB, _SHARE = ("", 1.0), ("s", 1.0), ("MB", 1e-6), ("%", 100.0)


def measured(*, smoke: bool, with_rivals: bool) -> Iterator[Line]:
    """Yield the lines, one after the other."""
    rows, planned = (20, 200) if smoke else (1_000, 10_000)
    yield from _faults(rows, with_rivals=with_rivals)
    found, _ = _run("plan", (), rows=planned, in_flight=8)
    yield Line(f"a series of {planned:,} rows: planned", [found["planned"]], _S, 1.0)
    yield Line("the same: opened again and resumed", [found["resumed"]], _S, 2.0)
    yield Line("the same: memory over the start", [found["grown"]], _MB, 60e6)
    if smoke:
        yield from _pace(5, slots=4, seconds=0.5)
    else:
        yield from _pace(rows, slots=50, seconds=5.0)
    found, _ = _run("pace", (), rows=rows if smoke else planned, in_flight=50)
    yield Line("rows run at once: memory over the start", [found["grown"]], _MB, 60e6)


def _faults(rows: int, *, with_rivals: bool) -> Iterator[Line]:
    """Run rows at a queue of whose submits one in four breaks, ours and by gather."""
    faulty = ("--faults", "0.25", *OWN_TICKETS)
    found, facts = _run("faults", faulty, rows=rows, in_flight=50)
    lost = {job["prompt"] for job in facts["jobs"].values()} - set(found["remembered"])
    theirs: dict[str, Any] = {}
    if with_rivals:
        with queue_process(*faulty) as queue, tempfile.TemporaryDirectory() as folder:
            plan = {"base_url": queue.url, "folder": folder, "rows": rows, "in_flight": 50}
            theirs = {**run_process(_GATHER, plan), **queue.facts()}
    rival = "gather over fal-client" if theirs else ""
    others = ([theirs["duplicates"]], [theirs["lost"]]) if theirs else ((), ())
    at = f"{rows:,} rows, 25 % of the submits break"
    yield Line(f"{at}: paid twice", [facts["duplicates"]], _COUNT, 0, rival, others[0], beside=True)
    yield Line(f"{at}: paid and lost", [len(lost)], _COUNT, 0, rival, others[1], beside=True)
    yield Line("one row added: rows sent again", [found["added"]], _COUNT, 1)


def _pace(rows: int, *, slots: int, seconds: float) -> Iterator[Line]:
    """Run jobs of so many seconds at a queue that runs only so many at once."""
    options = ("--seconds", str(seconds), "--slots", str(slots))
    found, facts = _run("pace", options, rows=rows, in_flight=2 * slots)
    ideal = seconds * (1 + math.ceil((rows - 1) / slots))  # the first row goes alone
    what = f"{rows:,} jobs of {seconds:g} s, {slots} at once"
    yield Line(f"{what}: time over what the queue allows", [found["took"] / ideal - 1], _SHARE,
               1 / 0.95 - 1)  # fmt: skip
    ready = {name: job["ready"] for name, job in facts["jobs"].items()}
    first = min(ready, key=lambda name: ready[name])
    late = sorted(moment - ready[name] for name, moment in found["seen"].items())
    yield Line("the same: ready to shown, the first picture", [found["seen"][first] - ready[first]],
               _S, 0.5)  # fmt: skip
    yield Line("the same: the median of those that the card showed", [late[len(late) // 2]],
               _S, 0.5)  # fmt: skip


def _run(
    part: str, options: tuple[str, ...], *, rows: int, in_flight: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a part in a process of its own; return its report and the queue's facts."""
    with queue_process(*options) as queue, tempfile.TemporaryDirectory() as folder:
        plan = {"base_url": queue.url, "folder": folder, "rows": rows, "in_flight": in_flight}
        return run_process([*_OURS, part], plan), queue.facts()
