"""Copying a journal into another one, and checking one.

A copy adds what is missing and changes nothing that is there: it can be stopped and repeated.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from imagen_widget._journal import tables
from imagen_widget._journal.journal import Filter, Journal, reads, writes
from imagen_widget._journal.tables import AMOUNT, BUDGETS, Account, Transaction
from imagen_widget._models import dollars
from imagen_widget.errors import JournalError, plural

Job = tuple[dict[str, Any], list[dict[str, Any]]]  # a row with those of its pictures

_SERIES_COLUMNS = ("name", "spec", "created_at")


@dataclass
class Copied:
    """What came of a copy."""

    jobs: int = 0  # that were added
    known: int = 0  # that were there before, and are the same
    differing: tuple[str, ...] = ()  # ids of those that are not the same: left as they are
    series: int = 0  # that were added
    amount: Decimal = Decimal(0)  # what all of them come to in the target, in US dollars

    def __str__(self) -> str:
        text = f"{self.jobs} jobs and {self.series} series copied, {self.known} were there before."
        if self.differing:
            shown = ", ".join(self.differing[:5])
            text += f" {len(self.differing)} differ there, and were left as they are: {shown}."
        return f"{text} Together they come to {dollars(self.amount)}."


def copy_journal(source: Journal, target: Journal) -> Copied:
    """Copy all jobs and series of a journal into another one, and compare what has arrived.

    It raises `JournalError` if jobs of the source are under way, one of the two cannot be
    used, or something has not arrived as it was.
    """
    busy, series = _at_work(source)
    if busy:
        raise JournalError(
            f"The journal has {plural(busy, 'job')} under way.",
            remedy="Stop the notebooks that use it, then copy again.",
        )
    copied = Copied(series=_add_series(target, series))
    for batch in _batches(source):
        added, differing, micros = _add_jobs(target, batch)
        copied.jobs += added
        copied.known += len(batch) - added - len(differing)
        copied.differing += differing
        copied.amount += tables.to_dollars(micros)
    total = copied.jobs + copied.known + len(copied.differing)
    counted, spent = source.count(Filter(deleted=None)), source.spend()
    if counted != total or (spent != copied.amount and not copied.differing):
        raise JournalError(
            f"The journal has {counted} jobs of {dollars(spent)}, and {total} of"
            f" {dollars(copied.amount)} were copied.",
            remedy="If it was in use meanwhile, copy again; otherwise run `journal check`.",
        )
    return copied


def check_journal(journal: Journal) -> list[str]:
    """Return one line for each thing that is not as it should be; a sound journal has none."""
    problems = _faults(journal)
    for batch in _batches(journal):
        for row, _ in batch.values():
            try:
                record = tables.record_of(row)
                if record.request.fingerprint != record.fingerprint:
                    problems.append(f"job {record.id}: its request does not match its fingerprint")
            except JournalError as error:
                problems.append(error.message)
    return problems


@reads
def _at_work(journal: Journal, tx: Transaction) -> tuple[int, list[tuple[object, ...]]]:
    ends = "('waiting', 'done', 'failed', 'cancelled', 'expired')"
    rows = tx.all(f"SELECT owner, lease_until FROM jobs WHERE state NOT IN {ends}")
    found = tx.all("SELECT * FROM series")
    series = [tuple(row[name] for name in _SERIES_COLUMNS) for row in found]
    return len(rows) - len(journal._free(tx, rows)), series


@writes
def _add_series(journal: Journal, tx: Transaction, series: list[tuple[object, ...]]) -> int:
    statement = tables.insert("series", _SERIES_COLUMNS)
    return tx.count(f"{statement} ON CONFLICT (name) DO NOTHING", *series)


def _batches(journal: Journal) -> Iterator[dict[str, Job]]:
    seq = -1
    while batch := reads(_jobs)(journal, "seq > ?", seq):
        yield batch
        seq = max(row["seq"] for row, _ in batch.values())


def _jobs(_: Journal, tx: Transaction, condition: str, *values: object) -> dict[str, Job]:
    """Return some jobs by their ids, oldest first; nobody works on a copy."""
    columns = f"SELECT jobs.*, {AMOUNT} AS amount FROM jobs"
    found = f"{columns} WHERE {condition} ORDER BY seq LIMIT {tables.MAX_VALUES}"
    rows = [{**row, "owner": "", "lease_until": 0.0} for row in tx.all(found, *values)]
    images = defaultdict(list)
    ids = [row["id"] for row in rows]
    for image in tx.all_in("SELECT * FROM images WHERE job IN", ids, "ORDER BY place"):
        images[image["job"]].append(image)
    return {row["id"]: (row, images[row["id"]]) for row in rows}


@writes
def _add_jobs(
    journal: Journal, tx: Transaction, batch: dict[str, Job]
) -> tuple[int, tuple[str, ...], int]:
    """Add the missing jobs; return how many, which ones differ, and what all come to there."""
    these = functools.partial(_jobs, journal, tx, f"id IN {tables.marks(list(batch))}", *batch)
    known = these()
    missing = [job for job_id, job in batch.items() if job_id not in known]
    moves: Counter[Account] = Counter()
    for row, images in missing:
        tx.run(tables.INSERT_JOB, tables.job_row(row))
        tx.run(tables.INSERT_IMAGE, *map(tables.image_row, images))
        if row["amount"]:
            moves[tables.account_of(row)] += row["amount"]
    tables.book(tx, moves)
    arrived, differing = these(), []
    for job_id, (row, images) in batch.items():
        there, images_there = arrived[job_id]
        if ({**there, "seq": 0}, images_there) != ({**row, "seq": 0}, images):
            differing.append(job_id)
    if lost := {*differing} - {*known}:
        raise JournalError(
            f"{len(lost)} jobs did not arrive as they were, {min(lost)} among them.",
            remedy="Nothing of this part was copied.",
        )
    return len(missing), tuple(differing), sum(row["amount"] for row, _ in arrived.values())


@reads
def _faults(journal: Journal, tx: Transaction) -> list[str]:
    problems = tx.faults()
    account = ", ".join(tables.ACCOUNT_COLUMNS)
    amounts = f"SELECT {account}, {AMOUNT} AS micros FROM jobs"
    for table, key, rows in (("spending", account, amounts), ("budgets", "period, scope", BUDGETS)):
        for row in tx.all(
            f"SELECT {key}, CAST(SUM(micros) AS BIGINT) AS n FROM ({rows}"
            f" UNION ALL SELECT {key}, -micros FROM {table}) AS sides"
            f" GROUP BY {key} HAVING SUM(micros) <> 0 ORDER BY {key}"
        ):
            *where, off = row.values()
            what = f"{table} ({', '.join(filter(None, where))})"
            problems.append(f"the sum in {what} is off by {tables.to_dollars(off)} dollars")
    return problems
