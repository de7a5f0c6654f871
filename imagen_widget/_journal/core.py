"""The writing verbs of the journal, the same for both databases; each is one transaction.

The order is what makes it safe to die at any point: a job is written down with its price reserved
before it is sent, each step is stored before the next one is taken, and what a dead process left
is settled by `recover` or taken over by its lease. A row of a series is sent at most once: only the
process that claimed it may submit it, and only one can claim it.
"""

import functools
import json
import os
import uuid
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from imagen_widget._journal import sql, transitions as steps
from imagen_widget._journal.money import Account, book, caps_of, day_of, fitting, unpriced
from imagen_widget._journal.owner import new_owner
from imagen_widget._journal.reading import NOTHING_SENT, Reader, prepares, reads, writes
from imagen_widget._journal.sql import Raced, Transaction, marks, record_of, to_micros, values_of
from imagen_widget._journal.transitions import Event, IllegalStep, Record, State, Submitting
from imagen_widget._request import ImageRequest
from imagen_widget._settings import Limit

_MAX_RATING = 5
# Errors of the request itself: the same row would be refused again.
_OWN_FAULT = ("ContentRejected", "InvalidRequest", "ModelRetired")
# Of several rows with the same request, those that come last here keep their place first.
_RANKS = (
    *(State.FAILED, State.CANCELLED, State.EXPIRED, State.WAITING, State.UNKNOWN, State.INTENT),
    *(State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.DOWNLOADED, State.DONE),
)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A job to be written down."""

    request: ImageRequest
    provider: str
    base_url: str
    price: Decimal | None  # US dollars for the whole job; 0 if it is free, None if unknown
    series: str = ""
    key: str = ""
    ordinal: int = 0
    axes: Mapping[str, object] = field(default_factory=dict)  # as text if JSON cannot hold it
    waiting: bool = False  # to be claimed later, with nothing reserved
    id: str = field(default_factory=lambda: str(uuid.uuid4()))  # made here: twice written is once


@dataclass(frozen=True)
class PlanCounts:
    """How many rows of a series planning has kept, added and dropped."""

    kept: int  # their request has not changed: they keep their job
    added: int  # new, or with another request: they wait
    dropped: int  # they waited, and are no longer in the plan
    left_out: int  # they were sent, and are no longer in the plan; their pictures stay


class Journal(Reader):
    """The jobs of one home or team, shared by all processes that use it.

    Nothing is opened or made before the first call; every verb may be called from any thread. All
    raise `JournalError` if the database cannot be used, and `IllegalStep` for an event that is not
    possible or a job that does not exist.
    """

    lease_seconds: float  # how long a job is held from each step on, if nobody renews that
    submit_lease_seconds: float  # the same while it is submitted, which may wait for a 429

    def __init__(self, *, owner: str | None = None) -> None:
        self._owner, self._owner_pid = owner, os.getpid()

    @abstractmethod
    def close(self) -> None:
        """Close what is open; a later call opens it again."""

    def together(self, *calls: Callable[[], Any]) -> list[Any]:
        """Run calls of this journal's verbs as one transaction, with one write to the disk.

        Returns:
            For each call what it returned, or the exception for which it alone was undone.

        Raises:
            JournalError: The transaction failed: nothing of all this was written.
        """
        return self._transact(lambda _: [_outcome(call) for call in calls], write=True, after="")

    # ------------------------------------------------------------------ jobs, in order of time

    @prepares
    def intend(
        self, tx: Transaction, *drafts: Draft, budget: Sequence[Limit] = (), user: str = ""
    ) -> list[str]:
        """Write jobs down before they are sent, reserve their prices, and return their ids.

        Raises:
            BudgetExceeded: A limit would be passed, or a price is unknown under one.
        """
        ids = [draft.id for draft in drafts]
        if tx.again and tx.all_in("SELECT id FROM jobs WHERE id IN", ids):
            return ids
        day = day_of(tx.now).isoformat()
        caps = caps_of(budget, day, user=user)
        moves: Counter[Account] = Counter()
        for draft in drafts:
            if draft.price is None and caps and not draft.waiting:
                raise unpriced(caps)
            account = Account(day, draft.provider, draft.request.model, user, draft.series)
            moves[account] += 0 if draft.waiting else to_micros(draft.price) or 0
        self._insert(tx, drafts, user=user)
        book(tx, moves, caps)
        return ids

    def apply(self, job_id: str, *events: Event, lease_seconds: float | None = None) -> Record:
        """Store what events make of a job, in one write, and hold on to it if it is ours.

        Until the submit is over, only the journal object that wrote a job down, claimed it or took
        it over may do so: after a long pause the job can be another process's.
        """
        submits = any(isinstance(event, Submitting) for event in events)

        def body(tx: Transaction) -> Record:
            row = self._row(tx, job_id, tx.lock)
            [before] = self._records(tx, [row])
            if before.state in {State.INTENT, State.SUBMITTING} and row["owner"] != self.owner:
                raise IllegalStep(
                    "The job was written down by another process.",
                    remedy="Nothing was sent; send the request again." if submits else "",
                )
            if tx.again and before.state is steps.TRANSITIONS[type(events[-1])][1]:
                return before  # the earlier attempt was written, only its answer was lost
            after = functools.reduce(steps.apply, events, before)
            return self._store(tx, row, before, after, lease_seconds)

        return self._transact(body, write=True, after=NOTHING_SENT if submits else "")

    def forget(self, job_id: str, *, billed: bool = True) -> None:
        """Settle an unknown job by the user's word; its price is free again if not billed."""
        self.apply(job_id, steps.Forgotten(billed))

    @writes
    def rate(self, tx: Transaction, job_id: str, stars: int) -> None:
        """Give a job's pictures 0 to 5 stars, or -1 for rejected."""
        if stars not in range(-1, _MAX_RATING + 1):
            raise ValueError(f"{stars} is not a rating from -1 to {_MAX_RATING}")
        self._row(tx, job_id)
        tx.run("UPDATE jobs SET rating = ? WHERE id = ?", int(stars), job_id)

    @writes
    def delete(self, tx: Transaction, job_id: str) -> None:
        """Put a job that is over into the trash; its bill stays."""
        state = self._row(tx, job_id, tx.lock)["state"]
        if state not in steps.ENDS:
            raise IllegalStep(
                f"The job is {state}: only one that is over can be deleted.",
                remedy="Wait for it, or settle it first.",
            )
        tx.run("UPDATE jobs SET deleted = 1 WHERE id = ?", job_id)

    @writes
    def undelete(self, tx: Transaction, job_id: str) -> None:
        """Take a job out of the trash."""
        self._row(tx, job_id)
        tx.run("UPDATE jobs SET deleted = 0 WHERE id = ?", job_id)

    # ------------------------------------------------------------------ who works on a job

    @property
    def owner(self) -> str:
        """The name under which this object holds jobs; another one after a fork."""
        if self._owner is None or self._owner_pid != os.getpid():
            self._owner, self._owner_pid = new_owner(), os.getpid()
        return self._owner

    @writes
    def lease(self, tx: Transaction, job_id: str, seconds: float | None = None) -> bool:
        """Take over a job that is not over and that nobody works on, not even another thread."""
        row = self._row(tx, job_id, tx.lock)
        if row["state"] in {State.WAITING, *steps.ENDS} or not self._free(tx, [row]):
            return False
        tx.run(
            "UPDATE jobs SET owner = ?, lease_until = ? WHERE id = ?",
            *(self.owner, self._until(tx, seconds), job_id),
        )
        return True

    @writes
    def renew(self, tx: Transaction, *job_ids: str, seconds: float | None = None) -> int:
        """Hold on to jobs from now on, and return how many of them are still ours."""
        return int(
            tx.run(
                "UPDATE jobs SET lease_until = ? WHERE owner = ? AND lease_until > 0"
                f" AND id IN {marks(job_ids)}",
                *(self._until(tx, seconds), self.owner, *job_ids),
            ).rowcount
        )

    @writes
    def release(self, tx: Transaction, job_id: str) -> None:
        """Let go of a job, so that any process can take it at once."""
        tx.run("UPDATE jobs SET lease_until = 0 WHERE id = ? AND owner = ?", job_id, self.owner)

    def recover(self) -> list[Record]:
        """Settle what dead processes left between two steps, and return the jobs now unknown.

        An intent was never sent: a row of a series waits again, a single job has failed, free. A
        submit may be out: unknown. Downloaded pictures are whole: done, at the reserved price. An
        answer without a ticket or an address is lost: failed, perhaps billed.
        """
        return self._settle() if self._abandoned() else []  # a look first: it needs no lock

    @reads
    def _abandoned(self, tx: Transaction) -> bool:
        return bool(self._left(tx, "owner, lease_until"))

    @writes
    def _settle(self, tx: Transaction) -> list[Record]:
        rows = self._left(tx, "*", tx.skip)
        settled = [
            self._store(tx, row, before, steps.apply(before, _verdict(before)))
            for row, before in zip(rows, self._records(tx, rows), strict=True)
        ]
        return [record for record in settled if record.state is State.UNKNOWN]

    def _left(self, tx: Transaction, columns: str, lock: str = "") -> list[Any]:
        rows = tx.all(
            f"SELECT {columns} FROM jobs WHERE state IN ('intent', 'submitting', 'downloaded')"
            f" OR (state = 'completed' AND ticket IS NULL AND urls = '[]'){lock}"
        )
        return self._free(tx, rows)

    # ------------------------------------------------------------------ series

    @prepares
    def save_series(self, tx: Transaction, name: str, spec: Mapping[str, Any]) -> None:
        """Keep what a series is made from, in place of what was kept before."""
        tx.run(
            "INSERT INTO series (name, spec, created_at) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET spec = excluded.spec",
            *(name, json.dumps(spec), tx.now),
        )

    @prepares
    def plan(
        self, tx: Transaction, series: str, drafts: Iterable[Draft], *, user: str = ""
    ) -> PlanCounts:
        """Make these the rows of a series, and reserve nothing.

        A row keeps its job, and is not paid again, if its request has not changed: the one of the
        same key, else another one that has lost its row. All others wait to be claimed.

        Raises:
            ValueError: Two rows have one key.
        """
        wanted = [replace(draft, series=series, waiting=True) for draft in drafts]
        if len({draft.key for draft in wanted}) < len(wanted):
            raise ValueError("two rows of a series have the same key")
        tx.run(  # two processes that plan the same series do so one after the other
            "INSERT INTO series (name, spec, created_at) VALUES (?, '{}', ?)"
            " ON CONFLICT (name) DO UPDATE SET name = excluded.name",
            *(series, tx.now),
        )
        asked = [(draft.key, draft.request.fingerprint, draft.provider) for draft in wanted]
        found, rest = _match(asked, _rows_of(tx, series))
        pairs = [(draft, row) for draft, row in zip(wanted, found, strict=True) if row is not None]
        self._insert(
            tx, [d for d, row in zip(wanted, found, strict=True) if row is None], user=user
        )
        tx.many(
            "UPDATE jobs SET row_key = ?, ordinal = ?, axes_text = ?, planned = 1 WHERE id = ?",
            [(*_place(draft), row["id"]) for draft, row in pairs if _moved(draft, row)],
        )
        offers = [(d.base_url, to_micros(d.price), row) for d, row in pairs]
        tx.many(
            "UPDATE jobs SET base_url = ?, price = ? WHERE id = ? AND state = 'waiting'",
            [(*new, row["id"]) for *new, row in offers if new != [row["base_url"], row["price"]]],
        )
        waiting = [(row["id"],) for row in rest if row["state"] == State.WAITING]
        dropped = tx.many("DELETE FROM jobs WHERE id = ? AND state = 'waiting'", waiting)
        gone = [row for row in rest if row["planned"]]  # one may have been claimed meanwhile
        tx.many("UPDATE jobs SET planned = 0 WHERE id = ?", [(row["id"],) for row in gone])
        left_out = sum(row["state"] != State.WAITING for row in gone)
        return PlanCounts(len(pairs), len(wanted) - len(pairs), dropped, left_out)

    @prepares
    def claim(
        self,
        tx: Transaction,
        *,
        series: str,
        count: int,
        budget: Sequence[Limit] = (),
        series_cap: Decimal | None = None,
        keys: Sequence[str] | None = None,
        user: str = "",
        run: str = "",
    ) -> list[Record]:
        """Take up to `count` waiting rows to be sent by this process, and reserve their prices.

        Returns:
            The rows, now intents, in the order of the plan: fewer where the budget ends, and
            nothing where no row waits or the run was halted.

        Raises:
            BudgetExceeded: Not even one row fits, or its price is unknown under a limit.
        """
        stop = "SELECT 1 FROM series WHERE name = ? AND halted LIKE ?"
        if run and tx.all(stop, series, f"%{run}%"):
            return []
        chosen = "" if keys is None else f" AND row_key IN {marks(keys)}"
        rows = tx.all(
            "SELECT id, price, provider, model FROM jobs WHERE series = ? AND series <> ''"
            f" AND planned = 1 AND state = 'waiting'{chosen}"
            f" ORDER BY ordinal LIMIT {int(count)}{tx.skip}",
            *(series, *(keys or ())),
        )
        day, now = day_of(tx.now).isoformat(), tx.now
        caps = caps_of(budget, day, user=user, series=series, most=series_cap)
        rows = rows[: fitting(tx, [row["price"] for row in rows], caps)]
        moves: Counter[Account] = Counter()
        for row in rows:
            account = Account(day, row["provider"], row["model"], user, series)
            moves[account] += row["price"] or 0
        kept = (State.INTENT, now, day, user, self.owner, self._until(tx))
        tx.many(
            f"UPDATE jobs SET seq = {tx.next_seq}, state = ?, created_at = ?, day = ?, who = ?,"
            " owner = ?, lease_until = ? WHERE id = ?",
            [(*kept, row["id"]) for row in rows],
        )
        book(tx, moves, caps)
        claimed = tx.all_in("SELECT * FROM jobs WHERE id IN", [row["id"] for row in rows])
        return sorted(map(record_of, claimed), key=lambda record: record.ordinal)

    @writes
    def halt(self, tx: Transaction, series: str, run: str) -> None:
        """Have `claim` give no more rows to a run, in whichever processes it works."""
        tx.run("UPDATE series SET halted = halted || ? WHERE name = ?", f"{run} ", series)

    @reads
    def kept_keys(
        self,
        tx: Transaction,
        series: str,
        rows: Sequence[tuple[str, str]],
        *,
        provider: str | None = None,
    ) -> set[str]:
        """Return the keys of the rows that were sent before, so that `plan` would keep their job.

        Args:
            series: The series' name.
            rows: Key and fingerprint of each row.
            provider: Where they would go, or None for any.
        """
        asked = [(key, fingerprint, provider) for key, fingerprint in rows]
        found, _ = _match(asked, _rows_of(tx, series))
        pairs = zip(rows, found, strict=True)
        return {key for (key, _), row in pairs if row and row["state"] != State.WAITING}

    @prepares
    def retry(self, tx: Transaction, series: str) -> int:
        """Let rows wait again that failed before the provider took them, and return how many.

        Those that were refused for what they ask are left: they would be refused again.
        """
        rows = tx.all(
            "SELECT * FROM jobs WHERE series = ? AND series <> '' AND planned = 1"
            f" AND state IN ('failed', 'cancelled'){tx.lock}",
            series,
        )
        again = [
            (row, record)
            for row, record in zip(rows, self._records(tx, rows), strict=True)
            if not record.was_accepted and record.trouble not in _OWN_FAULT
        ]
        for row, record in again:
            self._store(tx, row, record, steps.apply(record, steps.Returned()))
        return len(again)

    # ------------------------------------------------------------------ inside

    def _insert(self, tx: Transaction, drafts: Sequence[Draft], *, user: str) -> None:
        now, until, rows = tx.now, self._until(tx), []
        blank = values_of(Record("", 0, State.INTENT, "", "", "", "", "", created_at=now))
        blank |= {"who": user, "day": day_of(now).isoformat(), "owner": self.owner}
        for draft in drafts:
            request = draft.request
            values = {
                **blank,
                "id": draft.id,
                "state": (State.WAITING if draft.waiting else State.INTENT).value,
                "provider": draft.provider,
                "base_url": draft.base_url,
                "model": request.model,
                "request_text": sql.storable(request.to_json()),
                "fingerprint": request.fingerprint,
                "words": sql.folded(request.prompt),
                "price": to_micros(draft.price),
                "series": draft.series,
                "lease_until": 0.0 if draft.waiting else until,
            }
            values["row_key"], values["ordinal"], values["axes_text"] = _place(draft)
            rows.append([values[name] for name in sql.JOB_COLUMNS])
        tx.many(sql.insert("jobs", sql.JOB_COLUMNS), rows)

    def _store(
        self,
        tx: Transaction,
        row: Any,
        before: Record,
        after: Record,
        lease_seconds: float | None = None,
    ) -> Record:
        """Store a record in place of an earlier one, and book what has changed of its amount."""
        old = values_of(before)
        values = {name: new for name, new in values_of(after).items() if new != old[name]}
        values["lease_until"] = self._lease_after(tx, row, after, lease_seconds)
        settings = ", ".join(f"{name} = ?" for name in values)
        tx.run(f"UPDATE jobs SET {settings} WHERE id = ?", *values.values(), after.id)
        if after.images != before.images:
            tx.run("DELETE FROM images WHERE job = ?", after.id)
            tx.many(sql.insert("images", sql.IMAGE_COLUMNS), sql.image_values(after))
        moved = (to_micros(after.amount) or 0) - (to_micros(before.amount) or 0)
        account = Account(row["day"], after.provider, after.model, after.user, after.series)
        book(tx, {account: moved})
        return after

    def _lease_after(
        self, tx: Transaction, row: Any, after: Record, seconds: float | None
    ) -> float:
        """Return until when a job is held after a step: if it is ours, as long as before or longer.

        Only when the submit is over, the reason for a long lease is gone.
        """
        if after.is_over or after.state in {State.WAITING, State.UNKNOWN}:
            return 0.0  # of an unknown job the next call of the same is told, in this process too
        if row["owner"] != self.owner:
            return float(row["lease_until"])
        if seconds is None and after.state is State.SUBMITTING:
            seconds = self.submit_lease_seconds
        if after.state is State.SUBMITTED:
            return self._until(tx, seconds)
        held = min(float(row["lease_until"]), self._until(tx, self.max_lease_seconds))
        return max(held, self._until(tx, seconds))

    def _until(self, tx: Transaction, seconds: float | None = None) -> float:
        wanted = self.lease_seconds if seconds is None else seconds
        return tx.now + min(wanted, self.max_lease_seconds)


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Raced:
        raise
    except Exception as error:  # noqa: BLE001 - handed to the one who asked
        return error


def _verdict(left: Record) -> Event:
    """Return what a dead process's job has come to."""
    match left.state:
        case State.INTENT if left.series:
            return steps.Returned()
        case State.INTENT:
            return steps.Refused("The process ended before anything was sent.")
        case State.SUBMITTING:
            why = "The process ended during the submit; a job may exist and be billed."
            return steps.Uncertain(why)
        case State.DOWNLOADED:
            return steps.Closed()
    return steps.Failed("The process ended before the pictures were kept.", billed=True)


def _place(draft: Draft) -> tuple[str, int, str]:
    axes = json.dumps(dict(draft.axes), default=str, ensure_ascii=False)
    return sql.storable(draft.key), draft.ordinal, sql.storable(axes)


def _moved(draft: Draft, row: Any) -> bool:
    return not row["planned"] or _place(draft) != (row["row_key"], row["ordinal"], row["axes_text"])


def _rows_of(tx: Transaction, series: str) -> list[Any]:
    return tx.all(
        "SELECT id, state, fingerprint, provider, base_url, price, row_key, ordinal, axes_text,"
        " planned FROM jobs WHERE series = ? AND series <> '' ORDER BY ordinal, seq",
        series,
    )


def _match(
    wanted: Sequence[tuple[str, str, str | None]], rows: Sequence[Any]
) -> tuple[list[Any], list[Any]]:
    """Match wanted rows, as key, fingerprint and provider or None for any, with those there are.

    Returns:
        For each wanted row the one whose job it keeps, or None; and those that nobody wants.
    """
    any_provider = any(provider is None for _, _, provider in wanted)
    # The last one of each list is kept first: one in the plan before one that had left it.
    by_key: dict[object, list[Any]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["planned"]):
        same = (row["fingerprint"], None if any_provider else row["provider"])
        by_key[row["row_key"], *same].append(row)
    found = [by_key[row].pop() if by_key.get(row) else None for row in wanted]
    left = [row for same in by_key.values() for row in same]
    by_request: dict[object, list[Any]] = defaultdict(list)
    for row in sorted(left, key=lambda row: _RANKS.index(row["state"])):
        by_request[row["fingerprint"], None if any_provider else row["provider"]].append(row)
    for index, (_, *request) in enumerate(wanted):
        if found[index] is None and by_request.get(tuple(request)):
            found[index] = by_request[tuple(request)].pop()
    return found, [row for same in by_request.values() for row in same]
