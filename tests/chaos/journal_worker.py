"""One process that works on a shared journal: `python -m tests.chaos.journal_worker ROLE HOME N`.

It says "ready", waits for a line on stdin so that all start at once, and reports lines of JSON.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from imagen_widget._journal import Journal
from imagen_widget._request import ImageRequest
from imagen_widget.errors import BudgetExceeded, JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

CAP = Decimal("1.00")
DEAREST = Decimal("0.07")
NEVER_REACHED = Decimal(1_000_000)
REQUEST = ImageRequest.create("a red fox")


def say(**facts: object) -> None:
    """Report to the test, at once."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def intend(journal: Journal, *, price: Decimal, cap: Decimal | None = None) -> str:
    """Write one job down."""
    return journal.intend(
        REQUEST, provider="fal", base_url="https://queue.test", price=price, cap=cap
    )


def write_and_read(journal: Journal, count: int) -> None:
    """Make `count` transactions, half of them writes; report those that failed, and the slowest."""
    errors: list[str] = []
    worst = 0.0
    for number in range(count):
        began = time.monotonic()
        try:
            if number % 2:
                journal.rows(limit=5)
            else:
                intend(journal, price=DEAREST, cap=NEVER_REACHED)  # reads first, then writes
        except JournalError as error:
            errors.append(str(error))
        worst = max(worst, time.monotonic() - began)
    say(errors=errors, worst=worst)


def acknowledge(journal: Journal, count: int) -> None:
    """Take `count` jobs as far as a ticket, naming each state only once its method has returned."""
    for _ in range(count):
        job_id = intend(journal, price=DEAREST)
        say(job=job_id, state="intent")
        journal.submitting(job_id)
        say(job=job_id, state="submitting")
        journal.promise(job_id, '{"request_id": "r"}', "r")
        say(job=job_id, state="submitted")


def spend(journal: Journal, count: int) -> None:
    """Make `count` random operations under the cap; report how often more than it was spent."""
    chance = random.Random()  # noqa: S311 - nothing secret
    jobs: list[str] = []
    facts = {"breaches": 0, "accepted": 0, "refused": 0}
    for _ in range(count):
        if jobs and chance.random() < 0.2:  # enough to keep the cap in motion
            journal.cancelled(jobs.pop(chance.randrange(len(jobs))))
        else:
            price = Decimal(chance.randint(1, 7)) / 100
            with contextlib.suppress(BudgetExceeded):
                jobs.append(intend(journal, price=price, cap=CAP))
                facts["accepted"] += 1
                facts["refused"] -= 1
            facts["refused"] += 1
        facts["breaches"] += journal.spend() > CAP
    say(**facts)


ROLES: dict[str, Callable[[Journal, int], None]] = {
    "transactions": write_and_read,
    "acknowledge": acknowledge,
    "spend": spend,
}


def main(role: str, home: str, count: str) -> None:
    """Play a role."""
    with contextlib.closing(Journal(Path(home))) as journal:
        say(ready=True)
        sys.stdin.readline()
        ROLES[role](journal, int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
