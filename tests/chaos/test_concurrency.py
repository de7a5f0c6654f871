"""The journal under many processes and sudden death; each test prints its figure.

IMAGEN_CHAOS_COUNT sets the operations of each process, and half as many kills: 200 for the
promised figures; without it the counts suit CI.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from imagen_widget._journal import Journal, State
from tests.chaos.journal_worker import CAP

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PROCESSES = 8
COUNT = int(os.environ.get("IMAGEN_CHAOS_COUNT", "30"))  # read before the tests lose IMAGEN_*
KILLS = max(1, COUNT // 2)
WORST_WAIT_SECONDS = 10.0  # what SQLite waits before it gives up
STATES = [State.INTENT, State.SUBMITTING, State.SUBMITTED]


@contextlib.contextmanager
def workers(role: str, home: Path, *, processes: int, count: int) -> Iterator[list[Any]]:
    """Run processes that all begin at once; end them by their ids, whatever happens."""
    command = [sys.executable, "-m", "tests.chaos.journal_worker", role, str(home), str(count)]
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(processes):
            worker = subprocess.Popen(
                command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            stack.callback(worker.communicate)
            stack.callback(worker.kill)
            started.append(worker)
        for worker in started:
            assert worker.stdout is not None
            assert json.loads(worker.stdout.readline()) == {"ready": True}
        for worker in started:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        yield started


def reports(role: str, home: Path) -> list[dict[str, Any]]:
    """Return what each of the processes reported at its end."""
    with workers(role, home, processes=PROCESSES, count=COUNT) as started:
        answers = [worker.communicate()[0] for worker in started]
        assert [worker.returncode for worker in started] == [0] * PROCESSES
    return [json.loads(answer) for answer in answers]


def show(capsys: pytest.CaptureFixture[str], figure: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{figure}\n")


def test_no_transaction_fails_on_a_lock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = reports("transactions", tmp_path)

    errors = [error for report in found for error in report["errors"]]
    worst = max(report["worst"] for report in found)
    show(
        capsys,
        f"journal: {PROCESSES} processes x {COUNT} transactions: {len(errors)} lock errors,"
        f" worst wait {worst:.2f} s",
    )
    assert errors == []
    assert worst < WORST_WAIT_SECONDS
    with contextlib.closing(Journal(tmp_path)) as journal:
        assert len(journal.rows()) == PROCESSES * ((COUNT + 1) // 2)


def test_no_acknowledged_row_is_lost_to_a_kill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(7)  # noqa: S311 - nothing secret
    acknowledged: dict[str, State] = {}
    for _ in range(KILLS):
        with workers("acknowledge", tmp_path, processes=1, count=10**6) as [worker]:
            lines = [worker.stdout.readline() for _ in range(chance.randint(1, 40))]
            os.kill(worker.pid, signal.SIGKILL)
            lines += worker.communicate()[0].splitlines(keepends=True)
        for line in lines:
            if line.endswith("\n"):  # the last one may be torn, so nothing was acknowledged
                fact = json.loads(line)
                acknowledged[fact["job"]] = State(fact["state"])

    with contextlib.closing(Journal(tmp_path)) as journal:
        rows = {row.id: row.state for row in journal.rows()}
        lost = [j for j, s in acknowledged.items() if j not in rows or is_behind(rows[j], s)]
        unsettled = len([s for s in rows.values() if s in {State.INTENT, State.SUBMITTING}])
        unknown = journal.recover()
        left = {row.state for row in journal.rows()}
        resumable = len(journal.pending())
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as db:
        integrity = db.execute("PRAGMA integrity_check").fetchone()[0]
    show(
        capsys,
        f"journal: {KILLS} SIGKILLs: {len(lost)} of {len(acknowledged)} acknowledged rows lost,"
        f" integrity {integrity}; recovered {unsettled}, of them {len(unknown)} unknown",
    )
    assert lost == []
    assert integrity == "ok"
    assert len(acknowledged) >= KILLS
    assert unsettled <= KILLS
    assert left <= {State.SUBMITTED, State.UNKNOWN, State.FAILED}
    assert resumable == len([s for s in rows.values() if s is State.SUBMITTED])


def is_behind(state: State, acknowledged: State) -> bool:
    return STATES.index(state) < STATES.index(acknowledged)


def test_no_mix_of_processes_passes_the_cap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = reports("spend", tmp_path)

    total = {name: sum(report[name] for report in found) for name in found[0]}
    with contextlib.closing(Journal(tmp_path)) as journal:
        spent = journal.spend()
    show(
        capsys,
        f"cap: {PROCESSES} processes x {COUNT} operations: {total['breaches']} breaches"
        f" ({total['accepted']} accepted, {total['refused']} refused, ${spent} of ${CAP} reserved)",
    )
    assert total["breaches"] == 0
    assert spent <= CAP
    assert total["refused"] > 0  # else the cap was never put to the test
