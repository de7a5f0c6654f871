"""One process at a shared journal: `python -m tests.chaos.journal_worker ROLE HOME ADDRESS N`.

It says "ready", waits for a line on stdin so that all start at once, and reports lines of JSON.
"""

import contextlib
import json
import random
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg

from imagen_widget import errors
from tests.jobs import draft, intend, journal

CAP = Decimal("1.00")
Verbs = journal.Journal


def say(**facts: object) -> None:
    """Report to the test, at once."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def limit(amount: Decimal) -> Any:
    """Return a budget of one day."""
    return [SimpleNamespace(amount=amount, period="day", scope="all")]


def write_and_read(verbs: Verbs, count: int) -> None:
    """Make `count` transactions, half of them writes; report those that failed, and the slowest."""
    problems: list[str] = []
    worst = 0.0
    for number in range(count):
        began = time.monotonic()
        try:
            if number % 2:
                verbs.query(limit=5)
            else:
                intend(verbs, budget=limit(CAP * 10**6))  # reads first, then writes
        except errors.JournalError as error:
            problems.append(str(error))
        worst = max(worst, time.monotonic() - began)
    say(errors=problems, worst=worst)


def acknowledge(verbs: Verbs, count: int) -> None:
    """Take `count` jobs as far as a ticket, naming each state only once its verb has returned."""
    for _ in range(count):
        job_id = intend(verbs)
        say(job=job_id, state="intent")
        verbs.apply(job_id, journal.Submitting())
        say(job=job_id, state="submitting")
        verbs.apply(job_id, journal.Submitted('{"request_id": "r"}', "r"))
        say(job=job_id, state="submitted")


def spend(verbs: Verbs, count: int) -> None:
    """Make `count` random operations under the cap; report how often more than it was spent."""
    chance = random.Random()
    jobs: list[str] = []
    facts = {"breaches": 0, "accepted": 0, "refused": 0}
    for _ in range(count):
        if jobs and chance.random() < 0.2:  # enough to keep the cap in motion
            verbs.apply(jobs.pop(chance.randrange(len(jobs))), journal.Cancelled())
        else:
            try:
                jobs.append(intend(verbs, price=f"0.0{chance.randint(1, 7)}", budget=limit(CAP)))
                facts["accepted"] += 1
            except errors.BudgetExceeded:
                facts["refused"] += 1
        facts["breaches"] += verbs.spend() > CAP
    say(**facts)


def reserve(verbs: Verbs, count: int) -> None:
    """Reserve a cent at a time, until `count` cents are spent by all processes together."""
    granted, began = 0, time.monotonic()
    with contextlib.suppress(errors.BudgetExceeded):
        while True:
            intend(verbs, price="0.01", budget=limit(Decimal(count) / 100))
            granted += 1
    say(granted=granted, seconds=time.monotonic() - began)


def sum_then_insert(address: str, count: int) -> None:
    """Reserve as one does without a guard: look what is spent, then spend."""
    granted = 0
    with psycopg.connect(address, autocommit=True) as connection:
        while True:
            row = connection.execute("SELECT COALESCE(SUM(cents), 0) FROM bare").fetchone()
            if row is None or row[0] + 1 > count:
                break
            connection.execute("INSERT INTO bare VALUES (1)")
            granted += 1
    say(granted=granted)


def claim(verbs: Verbs, count: int) -> None:
    """Plan a series and claim its rows, a few at a time; report their keys."""
    verbs.plan("autumn", [draft("a fox", key=str(n), ordinal=n) for n in range(count)])
    keys: list[str] = []
    while found := verbs.claim(series="autumn", count=5):
        keys += [record.key for record in found]
    say(keys=keys)


ROLES: dict[str, Callable[[Verbs, int], None]] = {
    "transactions": write_and_read,
    "acknowledge": acknowledge,
    "spend": spend,
    "reserve": reserve,
    "claim": claim,
}


def main(role: str, home: str, address: str, count: str) -> None:
    """Play a role, and end without tidying up."""
    verbs = journal.open_journal(Path(home), address or None)
    say(ready=True)
    sys.stdin.readline()
    if role == "sum then insert":
        sum_then_insert(address, int(count))
    else:
        ROLES[role](verbs, int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
