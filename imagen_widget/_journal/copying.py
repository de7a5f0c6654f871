"""Copying a journal into another one, and checking that its sums are those of its rows.

A copy adds what is missing and changes nothing that is there: it can be stopped and repeated.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from imagen_widget._journal import sql
from imagen_widget._journal.core import Journal
from imagen_widget._journal.money import Account, book, budgets_of
from imagen_widget._journal.reading import AMOUNT, Filter, reads, writes
from imagen_widget._journal.sql import Transaction, insert, marks, to_dollars
from imagen_widget._models import dollars
from imagen_widget.errors import JournalError

Job = tuple[dict[str, Any], list[dict[str, Any]]]  # a row with those of its pictures


@dataclass
class Copied:
    """What came of a copy."""

    jobs: int = 0  # that were added
    known: int = 0  # that were there before, and are the same
    differing: tuple[str, ...] = ()  # ids of those that are not the same: left as they are
    series: int = 0  # that were added
    amount: Decimal = Decimal(0)  # what all of them come to in the target, in US dollars

    def __str__(self) -> str:
        text = f"{self.jobs} jobs and {self.series} series copied, {self.known} jobs were there."
        if self.differing:
            shown = ", ".join(self.differing[:5])
            text += f" {len(self.differing)} are other there, and were left as they are: {shown}."
        return f"{text} Together they come to {dollars(self.amount)}."


def copy_journal(source: Journal, target: Journal) -> Copied:
    """Copy all jobs and series of a journal into another one, and compare what has arrived.

    Raises:
        JournalError: Jobs of the source are being worked on, one of the two cannot be used, or
            something has not arrived as it was.
    """
    if busy := _at_work(source):
        raise JournalError(
            f"{busy} of the journal's jobs are being worked on.",
            remedy="Stop the notebooks that use it, then copy again.",
        )
    copied = Copied(series=_add_series(target, _all_series(source)))
    seq = -1
    while batch := _jobs(source, "seq > ?", seq):
        seq = max(row["seq"] for row, _ in batch.values())
        added, differing, micros = _add_jobs(target, batch)
        copied.jobs += added
        copied.known += len(batch) - added - len(differing)
        copied.differing += tuple(differing)
        copied.amount += to_dollars(micros)
    total = copied.jobs + copied.known + len(copied.differing)
    counted, spent = source.count(Filter(deleted=None)), source.spend()
    if counted != total or (spent != copied.amount and not copied.differing):
        raise JournalError(
            f"The journal has {counted} jobs of {dollars(spent)}, and {total} of"
            f" {dollars(copied.amount)} were copied.",
            remedy="If it was used meanwhile, copy again; else see `journal check`.",
        )
    return copied


def check_journal(journal: Journal) -> list[str]:
    """Return one line for each thing that is not as it should be; a sound journal has none.

    Raises:
        JournalError: It cannot be read at all.
    """
    problems, seq = _faults(journal), -1
    while batch := _jobs(journal, "seq > ?", seq):
        seq = max(row["seq"] for row, _ in batch.values())
        for row, _ in batch.values():
            try:
                record = sql.record_of(row)
                if record.request.fingerprint != record.fingerprint:
                    problems.append(f"job {record.id}: its request is not that of its fingerprint")
            except JournalError as error:
                problems.append(error.message)
    return problems


@reads
def _at_work(journal: Journal, tx: Transaction) -> int:
    ends = "('waiting', 'done', 'failed', 'cancelled', 'expired')"
    rows = tx.all(f"SELECT owner, lease_until FROM jobs WHERE state NOT IN {ends}")
    return len(rows) - len(journal._free(tx, rows))


@reads
def _all_series(journal: Journal, tx: Transaction) -> list[tuple[object, ...]]:
    return [(r["name"], r["spec"], r["created_at"]) for r in tx.all("SELECT * FROM series")]


@writes
def _add_series(journal: Journal, tx: Transaction, series: list[tuple[object, ...]]) -> int:
    statement = insert("series", ("name", "spec", "created_at"))
    return tx.many(f"{statement} ON CONFLICT (name) DO NOTHING", series)


@reads
def _jobs(journal: Journal, tx: Transaction, condition: str, *values: object) -> dict[str, Job]:
    """Return some jobs by their ids, oldest first; nobody works on a copy."""
    limit = f"ORDER BY seq LIMIT {sql.MAX_VALUES}"
    rows = tx.all(f"SELECT * FROM jobs WHERE {condition} {limit}", *values)
    images = defaultdict(list)
    for image in tx.all_in("SELECT * FROM images WHERE job IN", [row["id"] for row in rows]):
        images[image["job"]].append(image)
    free = {"owner": "", "lease_until": 0.0}
    return {
        row["id"]: ({**row, **free}, sorted(images[row["id"]], key=lambda image: image["place"]))
        for row in rows
    }


@writes
def _add_jobs(
    journal: Journal, tx: Transaction, batch: dict[str, Job]
) -> tuple[int, list[str], int]:
    """Add the jobs that are missing.

    Returns:
        How many, the ids of those that differ, and what all of them come to there.
    """
    known = _jobs(journal, f"id IN {marks(list(batch))}", *batch)
    missing = [job for job_id, job in batch.items() if job_id not in known]
    for table, columns, rows in (
        ("jobs", sql.JOB_COLUMNS, [row for row, _ in missing]),
        ("images", sql.IMAGE_COLUMNS, [image for _, images in missing for image in images]),
    ):
        tx.many(insert(table, columns), [[row[name] for name in columns] for row in rows])
    moves: Counter[Account] = Counter()
    for row, _ in missing:
        account = Account(*(row[name] for name in ("day", "provider", "model", "who", "series")))
        moves[account] += sql.to_micros(sql.record_of(row).amount) or 0
    book(tx, moves)
    arrived = _jobs(journal, f"id IN {marks(list(batch))}", *batch)
    differing = []
    for job_id, (row, images) in batch.items():
        there, images_there = arrived[job_id]
        if ({**there, "seq": 0}, images_there) != ({**row, "seq": 0}, images):
            differing.append(job_id)
    if lost := {*differing} - {*known}:
        raise JournalError(
            f"{len(lost)} jobs did not arrive as they were, {min(lost)} among them.",
            remedy="Nothing of this part was copied.",
        )
    micros = sum(sql.to_micros(sql.record_of(row).amount) or 0 for row, _ in arrived.values())
    return len(missing), differing, micros


@reads
def _faults(journal: Journal, tx: Transaction) -> list[str]:
    """Return what the database finds, and where the sums are not those of the rows."""
    problems = tx.faults()
    account = "day, provider, model, who, series"
    for row in tx.all(
        f"SELECT {account}, CAST(SUM(n) AS BIGINT) AS n FROM (SELECT {account}, {AMOUNT} AS n"
        f" FROM jobs UNION ALL SELECT {account}, -micros FROM spending) AS sides"
        f" GROUP BY {account} HAVING SUM(n) <> 0"
    ):
        off = to_dollars(row["n"])
        problems.append(
            f"the spending of {row['day']} at {row['provider']} is off by {off} dollars"
        )
    budgets: Counter[tuple[str, str]] = Counter()
    for row in tx.all(
        "SELECT '' AS period, day, who, series, micros AS n FROM spending"
        " UNION ALL SELECT period, '', scope, '', -micros FROM budgets"
    ):
        moves = {Account(row["day"], "", "", row["who"], row["series"]): row["n"]}
        if row["period"]:
            budgets[row["period"], row["who"]] += row["n"]
        else:
            budgets.update(budgets_of(moves))
    for (period, scope), micros in sorted(budgets.items()):
        if micros:
            off = to_dollars(micros)
            problems.append(f"the budget of {period} {scope or 'for all'} is off by {off} dollars")
    return problems
