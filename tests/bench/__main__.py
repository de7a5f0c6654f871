"""`make bench`: measure everything in one run, in turns, and print one table.

Nothing here passes or fails: a busy machine is no defect. Whoever reads it judges the ratios.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from typing import TYPE_CHECKING

from tests.bench.local import Comparison, compare_all
from tests.bench.trial import BENCH_PYTHON, Trial, run_trial
from tests.bench.workloads import Goal, Workload, delay, quantile, smoke, workloads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOCAL_NAME = "local"
WORK_HEAD = """\
| who | known, ms, p50 / p95 | picture saved, ms | requests | CPU ms | connections | MB | errors |
|---|--:|--:|--:|--:|--:|--:|--:|"""
GOAL_HEAD = """
| goal | ours | against | ratio | to reach | |
|---|--:|--:|--:|--:|---|"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a minute that proves that it runs")
    parser.add_argument("--without", action="append", default=[], help="leave a contender out")
    parser.add_argument("--only", default="", help="only works whose name has this in it")
    options = parser.parse_args(arguments)
    if "fal-client" not in options.without and not BENCH_PYTHON.exists():
        sys.exit("fal-client is not installed beside us. Run it by `make bench`.")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}\n")
    goals: list[str] = []
    for workload in smoke() if options.smoke else workloads():
        if options.only in workload.work.name:
            goals.extend(measure(workload, without=options.without))
    if options.only in LOCAL_NAME:
        goals.extend(map(local_line, compare_all(turns=2 if options.smoke else 9)))
    print(GOAL_HEAD)
    print("\n".join(goals))


def measure(workload: Workload, *, without: Iterable[str]) -> list[str]:
    """Run a workload's trials in turns, print what each contender came to, return its goals."""
    names = [name for name in workload.contenders if name not in set(without)]
    trials: dict[str, list[Trial]] = {name: [] for name in names}
    print(f"{workload.work.name}, {workload.trials} trials")
    print(WORK_HEAD)
    for _ in range(workload.trials):
        for name in names:
            trials[name].append(run_trial(name, workload.work))
    for name in names:
        print(work_line(name, trials[name]), flush=True)
    print()
    return [
        goal_line(goal, trials[goal.ours], trials[goal.rival])
        for goal in workload.goals
        if {goal.ours, goal.rival} <= set(names)
    ]


def work_line(name: str, trials: Sequence[Trial]) -> str:
    """Return a contender's line."""
    saved = [moment for trial in trials for moment in trial.saved]
    errors = [error for trial in trials for error in trial.errors]
    cells = (
        name,
        f"{delay(0.5)(trials) * 1e3:,.1f} / {delay(0.95)(trials) * 1e3:,.1f}",
        f"{quantile(saved, 0.5) * 1e3:,.0f} / {quantile(saved, 0.95) * 1e3:,.0f}" if saved else "",
        f"{mean(trial.requests for trial in trials):.1f}",
        f"{mean(trial.cpu_seconds for trial in trials) * 1e3:.1f}",
        f"{mean(trial.connections for trial in trials):.0f}",
        f"{mean(trial.peak_bytes for trial in trials) / 1e6:.0f}",
        f"{len(errors)} {errors[0] if errors else ''}".strip(),
    )
    return f"| {' | '.join(cells)} |"


def goal_line(goal: Goal, ours: Sequence[Trial], rival: Sequence[Trial]) -> str:
    """Return the line of one goal."""
    unit, factor = goal.unit
    a, b = goal.figure(ours), goal.figure(rival)
    against = f"{goal.rival}: {b * factor:,.1f} {unit}"
    return ratio_line(goal.what, f"{a * factor:,.1f} {unit}", against, a / b, goal.most)


def local_line(found: Comparison) -> str:
    """Return the line of a comparison without a server."""
    ours, floor = (quantile(values, 0.5) * 1e3 for values in (found.ours, found.floor))
    return ratio_line(found.what, f"{ours:,.1f} ms", f"{floor:,.1f} ms", found.ratio, found.most)


def ratio_line(what: str, ours: str, against: str, ratio: float, most: float) -> str:
    """Return one line of the last table."""
    reached = "reached" if ratio <= most else "not reached"
    return f"| {what} | {ours} | {against} | {ratio:.3f} | <= {most:.3g} | {reached} |"


def mean(values: Iterable[float]) -> float:
    """Return the mean."""
    found = list(values)
    return sum(found) / len(found)


if __name__ == "__main__":
    main()
