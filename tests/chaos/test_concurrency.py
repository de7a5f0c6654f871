"""Both journals under many processes and sudden death; each test prints its figure.

IMAGEN_CHAOS_COUNT sets the operations of each process, and half as many kills: 200 for the
figures that the README gives; without it the counts suit CI.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.chaos.journal_worker import CAP
from tests.jobs import journal

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

State = journal.State
ROOT = Path(__file__).parents[2]
PROCESSES = 8
COUNT = int(os.environ.get("IMAGEN_CHAOS_COUNT", "30"))  # read before the tests lose IMAGEN_*
KILLS = max(1, COUNT // 2)
WORST_WAIT_SECONDS = 10.0  # what SQLite waits before it gives up
STATES = [State.INTENT, State.SUBMITTING, State.SUBMITTED]


class Place:
    """Where a journal is, for this process and for others."""

    def __init__(self, kind: str, home: Path, address: str) -> None:
        self.kind, self.home, self.address = kind, home, address

    def open(self) -> contextlib.closing[journal.Journal]:
        return contextlib.closing(journal.open_journal(self.home, self.address or None))

    @contextlib.contextmanager
    def workers(self, role: str, *, processes: int, count: int) -> Iterator[list[Any]]:
        """Run processes that all begin at once; end them by their ids, whatever happens."""
        command = [sys.executable, "-m", "tests.chaos.journal_worker", role]
        command += [str(self.home), self.address, str(count)]
        pipe = subprocess.PIPE
        with contextlib.ExitStack() as stack:
            started = []
            for _ in range(processes):
                worker = subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe)
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

    def reports(self, role: str, *, processes: int = PROCESSES, count: int = COUNT) -> list[Any]:
        """Return what each of the processes reported at its end."""
        with self.workers(role, processes=processes, count=count) as started:
            answers = [worker.communicate()[0] for worker in started]
            assert [worker.returncode for worker in started] == [0] * processes
        return [json.loads(answer) for answer in answers]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return Place(request.param, tmp_path, server.make_database() if server else "")


def show(capsys: pytest.CaptureFixture[str], figure: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{figure}\n")


def test_no_transaction_fails_on_a_lock(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    found = place.reports("transactions")

    errors = [error for report in found for error in report["errors"]]
    worst = max(report["worst"] for report in found)
    show(
        capsys,
        f"{place.kind}: {PROCESSES} processes x {COUNT} transactions: {len(errors)} errors,"
        f" worst wait {worst:.2f} s",
    )
    assert errors == []
    assert worst < WORST_WAIT_SECONDS
    with place.open() as verbs:
        assert verbs.count() == PROCESSES * ((COUNT + 1) // 2)


def test_no_acknowledged_row_is_lost_to_a_kill(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(7)
    acknowledged: dict[str, Any] = {}
    for _ in range(KILLS):
        with place.workers("acknowledge", processes=1, count=10**6) as [worker]:
            lines = [worker.stdout.readline() for _ in range(chance.randint(1, 40))]
            os.kill(worker.pid, signal.SIGKILL)
            lines += worker.communicate()[0].splitlines(keepends=True)
        for line in lines:
            if line.endswith("\n"):  # the last one may be torn, so nothing was acknowledged
                fact = json.loads(line)
                acknowledged[fact["job"]] = State(fact["state"])

    with place.open() as verbs:
        rows = {record.id: record.state for record in verbs.query()}
        lost = [j for j, s in acknowledged.items() if j not in rows or is_behind(rows[j], s)]
        problems = journal.check_journal(verbs)
        verbs.recover()
    show(
        capsys,
        f"{place.kind}: {KILLS} SIGKILLs: {len(lost)} of {len(acknowledged)} acknowledged rows"
        f" lost, {len(problems)} faults found by the check",
    )
    assert lost == problems == []
    assert len(acknowledged) >= KILLS


def is_behind(state: Any, acknowledged: Any) -> bool:
    return STATES.index(state) < STATES.index(acknowledged)


def test_no_mix_of_processes_passes_the_cap(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    found = place.reports("spend")

    total = {name: sum(report[name] for report in found) for name in found[0]}
    with place.open() as verbs:
        spent = verbs.spend()
        assert journal.check_journal(verbs) == []
    show(
        capsys,
        f"{place.kind}: {PROCESSES} processes x {COUNT} operations: {total['breaches']} breaches"
        f" ({total['accepted']} accepted, {total['refused']} refused, ${spent} of ${CAP} reserved)",
    )
    assert total["breaches"] == 0
    assert spent <= CAP
    assert total["refused"] > 0  # else the cap was never put to the test


def test_twenty_processes_reserve_exactly_what_the_cap_allows(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    units = COUNT * 5  # 1,000 with IMAGEN_CHAOS_COUNT=200
    found = place.reports("reserve", processes=20, count=units)
    granted = sum(report["granted"] for report in found)
    rate = granted / max(report["seconds"] for report in found)
    bare = ""
    if place.address:
        with psycopg.connect(place.address, autocommit=True) as connection:
            connection.execute("CREATE TABLE bare (cents INTEGER)")
        naive = place.reports("sum then insert", processes=20, count=units)
        bare = f"; sum, then insert: {sum(report['granted'] for report in naive)}"

    show(
        capsys,
        f"{place.kind}: 20 processes, cap {units}: {granted} granted, {rate:.0f} a second{bare}",
    )
    assert granted == units


def test_each_row_of_a_series_is_claimed_once(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = COUNT * 10
    keys = [key for report in place.reports("claim", count=rows) for key in report["keys"]]

    twice = len(keys) - len(set(keys))
    show(capsys, f"{place.kind}: {rows} rows, {PROCESSES} processes: {twice} claimed twice")
    assert sorted(keys, key=int) == [str(number) for number in range(rows)]
