"""Both journals under many processes and sudden death; each test prints its figure.

IMAGEN_CHAOS_COUNT sets the operations of each process, and half as many kills: 200 for the
figures that the README gives; without it the counts suit CI.
"""

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.chaos.counts import show
from tests.chaos.journal_worker import CAP
from tests.chaos.places import Place
from tests.jobs import journal

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

State = journal.State
ROOT = Path(__file__).parents[2]
PROCESSES = 8
COUNT = int(os.environ.get("IMAGEN_CHAOS_COUNT", "30"))  # read before the tests lose IMAGEN_*
KILLS = max(1, COUNT // 2)
WORST_WAIT_SECONDS = 10.0  # what SQLite waits before it gives up
STATES = [State.INTENT, State.SUBMITTING, State.SUBMITTED]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return Place(request.param, tmp_path, server.make_database() if server else "")


def test_no_transaction_fails_on_a_lock(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    found = place.reports("transactions", processes=PROCESSES, count=COUNT)

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
            lines += worker.stdout.readlines()  # not communicate(): it forgets what is buffered
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
    found = place.reports("spend", processes=PROCESSES, count=COUNT)

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
    found = place.reports("claim", processes=PROCESSES, count=rows)
    keys = [key for report in found for key in report["keys"]]

    twice = len(keys) - len(set(keys))
    show(capsys, f"{place.kind}: {rows} rows, {PROCESSES} processes: {twice} claimed twice")
    assert sorted(keys, key=int) == [str(number) for number in range(rows)]
