"""`make bench`: measure everything in one run, in turns, print the tables, and keep them.

Nothing here passes or fails: a busy machine is not a defect. A reader judges by the ratios, and
by how busy the machine was.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from tests.bench import clicks, local, series, teams
from tests.bench.lines import HEAD, Line
from tests.bench.trial import BENCH_PYTHON, Trial, run_trial
from tests.bench.workloads import Goal, Workload, delay, quantile, smoke, workloads

RESULTS = Path(__file__).with_name("RESULTS.md")
KEPT = re.compile(r"(<!-- measured -->\n).*?(<!-- end -->)", re.DOTALL)
PARTS = ("local", "series", "teams", "clicks")
WORK_HEAD = """\
| who | known, ms, p50 / p95 | on disk, ms | requests | CPU ms | connections | MB | s | errors |
|---|--:|--:|--:|--:|--:|--:|--:|--:|"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="half a minute: only see it run")
    parser.add_argument("--without", action="append", default=[], help="leave a contender out")
    parser.add_argument("--only", default="", help="only works, or parts, with this in their name")
    parser.add_argument("--trials", type=int, default=3, help="at most so many of each work")
    options = parser.parse_args(arguments)
    with_rivals = "fal-client" not in options.without
    if with_rivals and not BENCH_PYTHON.exists():
        sys.exit("fal-client is not installed beside us. Run it by `make bench`.")
    lines = [_machine()]
    print(lines[0])
    found: list[Line] = []
    for workload in smoke() if options.smoke else workloads():
        if options.only in workload.work.name:
            trials = min(workload.trials, options.trials)
            table, measured = measure(workload, trials=trials, without=options.without)
            lines += table
            found += measured
    if options.only in PARTS[0]:
        found += local.measured(smoke=options.smoke)
    if options.only in PARTS[1]:
        found += series.measured(smoke=options.smoke, with_rivals=with_rivals)
    if options.only in PARTS[2]:
        found += teams.measured(smoke=options.smoke)
    if options.only in PARTS[3]:
        found += clicks.measured(smoke=options.smoke)
    goals = [HEAD, *map(str, found)]
    print("\n".join(goals))
    if not (options.smoke or options.only or options.without):
        keep([*goals, "", *lines])


def measure(
    workload: Workload, *, trials: int, without: Iterable[str]
) -> tuple[list[str], list[Line]]:
    """Run a workload's trials in turns; return what each contender came to, and its goals."""
    names = [name for name in workload.contenders if name not in set(without)]
    made: dict[str, list[Trial]] = {name: [] for name in names}
    for _ in range(trials):
        for name in names:
            made[name].append(run_trial(name, workload.work))
    table = [f"\n{workload.work.name}, {trials} trial{'s' * (trials > 1)}\n", WORK_HEAD]
    table += [work_line(name, made[name]) for name in names]
    print("\n".join(table), flush=True)
    goals = [goal for goal in workload.goals if {goal.ours, goal.rival or goal.ours} <= set(names)]
    return table, [goal_line(goal, made) for goal in goals]


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
        f"{mean(trial.took for trial in trials):.1f}",
        f"{len(errors)} {errors[0] if errors else ''}".strip(),
    )
    return f"| {' | '.join(cells)} |"


def goal_line(goal: Goal, trials: dict[str, list[Trial]]) -> Line:
    """Return the line of one goal: a figure for each trial, and beside it the rival's."""
    ours = [goal.figure([trial]) for trial in trials[goal.ours]]
    theirs = [goal.figure([trial]) for trial in trials[goal.rival]] if goal.rival else []
    return Line(goal.what, ours, goal.unit, goal.limit, goal.rival, theirs)


def keep(lines: Sequence[str]) -> None:
    """Write what was measured into RESULTS.md, between its marks."""
    text = RESULTS.read_text("utf-8")
    RESULTS.write_text(
        KEPT.sub(lambda m: f"{m[1]}\n{chr(10).join(lines).strip()}\n\n{m[2]}", text), "utf-8"
    )


def mean(values: Iterable[float]) -> float:
    """Return the mean."""
    found = list(values)
    return sum(found) / len(found)


def _machine() -> str:
    load = " ".join(f"{number:.1f}" for number in os.getloadavg())
    return (
        f"{datetime.now().astimezone():%Y-%m-%d}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, {platform.system()}, load at the start {load}"
    )


if __name__ == "__main__":
    main()
