"""The benchmark runs: its works are done by all who need no environment of their own."""

from __future__ import annotations

import re

import pytest

from tests.bench import __main__ as bench
from tests.bench.lines import Line
from tests.bench.trial import Work, run_trial
from tests.bench.workloads import workloads

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["raw", "ours", "ours, client only", "ours, polling"])
def test_each_contender_brings_every_result_of_its_work(name: str) -> None:
    work = Work("3 short jobs", (0.2, 0.3, 0.4), picture_bytes=1000, known=(0.3,) * 10)

    trial = run_trial(name, work)

    assert trial.errors == []
    assert len(trial.delays) == 3
    assert min(trial.delays) > 0
    assert trial.requests >= 3


def test_the_table_puts_each_goal_beside_its_rival(capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(["--smoke", "--without", "fal-client", "--only", "5 jobs"])

    printed = capsys.readouterr().out
    assert re.search(
        r"^\| 5 jobs of 0.5 s: p50 \| [\d.]+ ms \|  \| raw [\d.]+ ms \| <= 25 times, is ",
        printed,
        re.MULTILINE,
    )


def test_a_line_says_whether_its_goal_is_reached() -> None:
    assert "not reached" in str(Line("a", [0.2, 0.3, 0.1], ("ms", 1e3), 0.1))
    assert "not reached" not in str(Line("a", [2.0], ("", 1), 0.5, "b", [8.0]))


def test_every_goal_compares_contenders_that_take_part() -> None:
    for workload in workloads():
        for goal in workload.goals:
            assert {goal.ours, goal.rival or goal.ours} <= set(workload.contenders)
