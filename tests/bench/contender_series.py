"""Ours, a whole series: planned, run, opened again; `python -m tests.bench.contender_series PART`.

Parts: `faults` runs rows at a queue whose lines break, then the same with one more; `plan` plans
many rows, and opens them again; `pace` runs rows at the queue's own pace. It reports JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from imagen_widget import Series, Studio
from imagen_widget.errors import BudgetExceeded
from tests import books
from tests.bench.contender import ENDPOINT, resident_bytes


def faults(studio: Studio, rows: int, in_flight: int) -> dict[str, Any]:
    """Run rows, then the same with one more; say what is remembered of each."""
    series = _sweep(studio, rows).run(quiet=True, max_in_flight=in_flight)
    counts = series.status_counts
    more = _sweep(studio, rows + 1)
    added = more.plan.to_send
    more.run(quiet=True, max_in_flight=in_flight)
    found = books.rows(studio.settings.home)
    remembered = [row.prompt for row in found if row.state in {"done", "unknown"}]
    return {"counts": counts, "added": added, "remembered": remembered}


def plan(studio: Studio, rows: int, in_flight: int) -> dict[str, Any]:
    """Plan rows, write them down, open them again; nothing can be paid for under this cap."""
    started = resident_bytes()
    began = time.monotonic()
    series = _sweep(studio, rows)
    assert series.plan.to_send == rows
    planned = time.monotonic() - began
    with contextlib.suppress(BudgetExceeded):
        series.run(quiet=True, max_spend=0)
    began = time.monotonic()
    with contextlib.suppress(BudgetExceeded):
        Series.reopen(studio.session, "bench").run(quiet=True, max_spend=0)
    resumed = time.monotonic() - began
    grown = resident_bytes() - started
    return {"planned": planned, "resumed": resumed, "grown": grown, "in_flight": in_flight}


def pace(studio: Studio, rows: int, in_flight: int) -> dict[str, Any]:
    """Run rows; say how long that took, how much memory, and when each picture was to be seen."""
    started = resident_bytes()
    seen: dict[str, float] = {}

    def look(tally: Any) -> None:
        for made in tally.recent:
            seen.setdefault(made.request_id, time.monotonic())

    series = _sweep(studio, rows)
    series.listen(look)
    began = time.monotonic()
    series.run(quiet=True, max_in_flight=in_flight)
    took = time.monotonic() - began
    grown = resident_bytes() - started
    return {"took": took, "seen": seen, "grown": grown, "counts": series.status_counts}


def _sweep(studio: Studio, rows: int) -> Series:
    return studio.sweep("fox {number} 5.0 s", number=range(rows), model=[ENDPOINT], name="bench")


def main(part: str) -> None:
    """Do one part."""
    given = json.load(sys.stdin)
    studio = Studio(
        "fal",
        base_url=given["base_url"],
        api_key="made-up:key",
        home=Path(given["folder"]),
        schemas="off",
    )
    done = {"faults": faults, "plan": plan, "pace": pace}[part]
    print(json.dumps(done(studio, given["rows"], given["in_flight"])))


if __name__ == "__main__":
    main(sys.argv[1])
