"""The verbs of the journal, each one transaction: jobs in the order of time, series, lists.

The order is what makes it safe to die at any point: a job is written down with its price reserved
before it is sent, each step is stored before the next one is taken, and what a dead process left
is settled by `recover` or taken over by its lease. A row of a series is sent at most once: only the
process that claimed it may submit it, and only one can claim it.

What is read costs what it returns, not what there is: counts come from sums that are kept up, pages
from an index and a cursor, words from a full-text index where the database has one.
"""

import contextlib
import functools
import json
import os
import platform
import re
import secrets
import threading
import unicodedata
import uuid
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import anyio
from anyio import to_thread

from imagen_widget._journal import tables, transitions as steps
from imagen_widget._journal.tables import AMOUNT, Account, Cap, Raced, Transaction
from imagen_widget._journal.transitions import Event, IllegalStep, Record, State
from imagen_widget._request import ImageRequest
from imagen_widget._settings import Limit

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J", bound="Journal")

MAX_LEASE_SECONDS = 3600.0  # one that ends later was written under another clock
NOTHING_SENT = "Nothing was sent."

_MAX_TOGETHER = 100  # calls in one transaction
_INHERITED: list[object] = []  # of a fork's parent; kept, because collecting one would close it
_WITH_PICTURES = {State.DONE, State.FAILED}
_HELD_BY_NOBODY = {State.WAITING, State.UNKNOWN, *steps.ENDS}
_ENDINGS = {steps.Failed, steps.Cancelled, steps.Expired}
_UNDER_WAY = (  # and more states
    "SELECT * FROM jobs WHERE fingerprint = ? AND provider = ? AND base_url = ? AND deleted = 0"
    " AND state IN ('intent', 'submitting', 'submitted', 'completed'"
)
_FETCHABLE = "(ticket IS NOT NULL OR urls <> '[]')"
_DAY_SECONDS = 86400
_SHORTEST_INDEXED = 3  # characters: the full-text index is one of parts of three
_PLANNED = "series = ? AND series <> '' AND planned = 1"
_LEFT = (  # what can only be settled
    "state IN ('intent', 'submitting') OR (state = 'completed' AND ticket IS NULL AND urls = '[]')"
)
_GROUPS = {name: name for name in ("day", "model", "provider", "series")} | {"user": "who"}
# By sort: the order, the condition for what comes after a record, and that record's values.
_SORTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "newest": ("{seq} DESC", "{seq} < ?", ("seq",)),
    "oldest": ("{seq}", "{seq} > ?", ("seq",)),
    "rating": ("rating DESC, {seq} DESC", "(rating, {seq}) < (?, ?)", ("rating", "seq")),
    "plan": ("ordinal, {seq}", "(ordinal, {seq}) > (?, ?)", ("ordinal", "seq")),
}
# Of several rows with the same request, those that come last here keep their place first.
_RANKS = (
    *(State.FAILED, State.CANCELLED, State.EXPIRED, State.WAITING, State.UNKNOWN, State.INTENT),
    *(State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.DONE),
)
_place_of = itemgetter("row_key", "ordinal", "axes_text")
_offer_of = itemgetter("base_url", "price")


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
    waiting: bool = False  # planned, to be claimed later, with nothing reserved
    id: uuid.UUID = field(default_factory=uuid.uuid4)  # made here: twice written is once


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which jobs are meant, and in which order; what is not given does not matter."""

    text: str = ""  # words or parts of words of the prompt, letter case aside; of what was sent
    model: str | None = None
    provider: str | None = None
    since: datetime | None = None  # written down at this moment or later
    rating: int | None = None  # stars, at least
    states: Collection[State] | None = None
    series: str | None = None  # rows of this series' plan
    user: str | None = None
    deleted: bool | None = False  # True: only what is in the trash; None: that too
    has_pictures: bool = False  # done, with pictures that the provider did not withhold
    sort: Literal["newest", "oldest", "rating", "plan"] = "newest"


EVERYTHING = Filter()


# ------------------------------------------------------------------------------ making verbs

_Method = Callable[Concatenate[J, Transaction, P], T]
_Verb = Callable[Concatenate[J, P], T]


def _verb(*, write: bool, after: str = "") -> Callable[[_Method[J, P, T]], _Verb[J, P, T]]:
    def verb_of(method: _Method[J, P, T]) -> _Verb[J, P, T]:
        @functools.wraps(method)
        def verb(self: J, /, *args: P.args, **kwargs: P.kwargs) -> T:
            if self._pid != os.getpid():  # a fork: the connection is the parent's
                _INHERITED.append(self._opened)
                self._begin_process()
            if self._group.tx is not None:
                return method(self, self._group.tx, *args, **kwargs)
            said = NOTHING_SENT if steps.Submitting in map(type, args) else after
            body = functools.partial(method, self)
            return self._transact(body, *args, write=write, after=said, **kwargs)

        return verb

    return verb_of


# Each makes a verb of a method that works in the transaction it is given.
reads = _verb(write=False)
writes = _verb(write=True)
prepares = _verb(write=True, after=NOTHING_SENT)  # what has to be there before anything is sent


class _Group(threading.local):
    """The calls that this thread makes together."""

    tx: Transaction | None = None
    again: bool = False  # whether they run once more, each alone


class _UndoneError(Exception):
    """One of several calls failed, and nothing of any is stored."""


class Journal(ABC):
    """The jobs of one home or team, shared by all processes that use it.

    Nothing is opened or made before the first call; every verb may be called from any thread. All
    raise `JournalError` if the database cannot be used, and `IllegalStep` for an event that is not
    possible or a job that does not exist.
    """

    lease_seconds: float  # how long a job is held from each step on, if nobody renews that
    is_shared: bool  # whether processes on other machines can use the journal
    clock: Callable[[], float] | None = None  # in Unix seconds; None: the server's

    owner: str  # the name under which this object holds jobs; another one after a fork
    _pid: int
    _opened: Any  # the connection, or a pool of them; None before the first verb
    _lock: threading.RLock
    _group: _Group

    def _begin_process(self) -> None:
        """Note which process this is, before the first verb and after a fork."""
        self._pid, self._opened = os.getpid(), None
        self._lock, self._group = threading.RLock(), _Group()
        place = f"{platform.node()}:{self._pid}:{_start_of(self._pid)}"
        self.owner = f"{place}:{secrets.token_hex(4)}"

    @abstractmethod
    def _transact(
        self, body: Callable[..., T], *args: Any, write: bool, after: str, **kwargs: Any
    ) -> T:
        """Run `body(tx, *args, **kwargs)` in one transaction, perhaps more than once.

        `after` is what the user should know if that fails.
        """

    def _is_passing(self, error: Exception) -> bool:
        """Return True if the same may succeed in a moment: the transaction runs again."""
        return isinstance(error, Raced)

    def close(self) -> None:
        """Close what is open; a later call opens it again."""
        if self._pid == os.getpid():
            self._close()

    def __del__(self, getpid: Callable[[], int] = os.getpid) -> None:  # `os` may be gone by then
        # From Python 3.13 on, sqlite3 complains of connections that are just dropped.
        if getattr(self, "_pid", None) == getpid():
            self._close()

    def _close(self) -> None:
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def together(self, *calls: Callable[[], Any]) -> list[Any]:
        """Run calls of this journal's verbs as one transaction, with one write to the disk.

        For each call it returns what that returned, or the exception that it raised. If there is
        one, nothing of the others is stored by then, and each runs once more, alone.
        """
        try:
            return self._together(*calls)
        except _UndoneError:
            self._group.again = True
            outcomes = [_outcome(call) for call in calls]
            self._group.again = False
            return outcomes

    @writes
    def _together(self, tx: Transaction, *calls: Callable[[], Any]) -> list[Any]:
        self._group.tx = tx
        try:
            results = [call() for call in calls]
            tx.flush()
        except Exception as error:
            if self._is_passing(error):
                raise
            raise _UndoneError from error
        finally:
            self._group.tx = None
        tx.waits = True
        return results

    # ------------------------------------------------------------------ jobs, in order of time

    @prepares
    def intend(
        self,
        tx: Transaction,
        *drafts: Draft,
        budget: Sequence[Limit] = (),
        user: str = "",
        alone: bool = False,
    ) -> list[str]:
        """Write jobs down before they are sent, reserve their prices, and return their ids.

        With `alone` it writes nothing, and returns none, while a job of the same request is under
        way. It raises `BudgetExceeded` if a limit would be passed, or a price is unknown under one.
        """
        rows = self._rows(tx, drafts, user=user)
        ids = list(map(itemgetter("id"), rows))
        if tx.again and tx.all_in("SELECT id FROM jobs WHERE id IN", ids):
            return ids
        for row in rows if alone else ():
            same = row["fingerprint"], row["provider"], row["base_url"]
            if not tx.is_first(row["fingerprint"]) or tx.all(f"{_UNDER_WAY})", *same):
                return []
        caps: list[Cap] = []
        if budget:
            caps = tables.caps_of(budget, tables.day_of(tx.now), user=user)
            prices = [row["price"] for row in rows]
            tables.fitting(tx, [None if None in prices else sum(prices)], caps)
        moves: Counter[Account] = Counter()
        for row in rows:
            if row["price"]:
                moves[tables.account_of(row)] += row["price"]
        tx.run(tables.INSERT_JOB, *map(tables.job_row, rows))
        if moves:
            tables.book(tx, moves, caps)
        return ids

    @reads
    def check_budget(
        self, tx: Transaction, price: Decimal | None, budget: Sequence[Limit], user: str
    ) -> None:
        """Raise `BudgetExceeded` if `intend` would do so for one job of this price."""
        caps = tables.caps_of(budget, tables.day_of(tx.now), user=user)
        tables.fitting(tx, [None if price is None else tables.to_micros(price)], caps)

    @writes
    def apply(self, tx: Transaction, job_id: str, *events: Event) -> Record:
        """Store what events make of a job, in one write, and hold on to it if it is ours.

        Until the submit is over, and to end a job without pictures, only the journal object that
        wrote it down, claimed it or took it over may do so: after a long pause the job can be
        another process's. Of an unknown one any process may learn, or be told, what became of it.
        """
        row = self._row(tx, job_id, tx.lock)
        [before] = self._records(tx, [row])
        kinds = set(map(type, events))
        is_theirs = before.state in {State.INTENT, State.SUBMITTING} or (
            before.state is not State.UNKNOWN and not _ENDINGS.isdisjoint(kinds)
        )
        if is_theirs and row["owner"] != self.owner:
            submits = steps.Submitting in kinds
            raise IllegalStep(
                "The job belongs to another process by now.",
                remedy="Nothing was sent; send the request again." if submits else "",
            )
        if tx.again and before.state is steps.TRANSITIONS[type(events[-1])][1]:
            return before  # the earlier attempt was written, only its answer was lost
        after = functools.reduce(steps.apply, events, before)
        # A ticket brings the result again: if the server dies before this is on its disk, the
        # job is submitted as it was. The step to come waits, and then both are there.
        tx.waits = after.state is not State.COMPLETED or after.ticket is None
        return self._store(tx, row, before, after)

    def forget(self, job_id: str, *, billed: bool = True) -> None:
        """Settle an unknown job by the user's word; its price is free again if not billed."""
        self.apply(job_id, steps.Forgotten(billed))

    @writes
    def rate(self, tx: Transaction, job_id: str, stars: int) -> None:
        """Give a job's pictures 0 to 5 stars, or -1 for rejected."""
        if stars not in range(-1, 6):
            raise ValueError(f"{stars} is not a rating from -1 to 5")
        self._row(tx, job_id)
        tx.run("UPDATE jobs SET rating = ? WHERE id = ?", (int(stars), job_id))

    @writes
    def delete(self, tx: Transaction, job_id: str) -> None:
        """Put a job that is over into the trash; its bill stays."""
        state = self._row(tx, job_id, tx.lock)["state"]
        if state not in steps.ENDS:
            raise IllegalStep(
                f"The job is {state}: only one that is over can be deleted.",
                remedy="Wait for it, or settle it first.",
            )
        tx.run("UPDATE jobs SET deleted = 1 WHERE id = ?", (job_id,))

    @writes
    def undelete(self, tx: Transaction, job_id: str) -> None:
        """Take a job out of the trash."""
        self._row(tx, job_id)
        tx.run("UPDATE jobs SET deleted = 0 WHERE id = ?", (job_id,))

    # ------------------------------------------------------------------ what a job is

    @reads
    def get(self, tx: Transaction, job_id: str) -> Record:
        """Return one job; raises IllegalStep if none has that id."""
        return self._records(tx, [self._row(tx, job_id)])[0]

    @reads
    def find(self, tx: Transaction, fingerprint: str, provider: str) -> Record | None:
        """Return the newest job with pictures of just this request at this provider, or None."""
        rows = tx.all(
            "SELECT * FROM jobs WHERE fingerprint = ? AND provider = ? AND state = 'done'"
            " AND deleted = 0 AND pictures > 0 ORDER BY seq DESC LIMIT 1",
            *(fingerprint, provider),
        )
        return next(iter(self._records(tx, rows)), None)

    @reads
    def find_pending(
        self, tx: Transaction, fingerprint: str, provider: str, base_url: str
    ) -> list[Record]:
        """Return the jobs of just this request that are under way, oldest first, then unknown."""
        asked = f"{_UNDER_WAY}, 'unknown') ORDER BY state = 'unknown', seq"
        return self._records(tx, tx.all(asked, fingerprint, provider, base_url))

    @reads
    def uses(self, tx: Transaction, digest: str) -> int:
        """Return how many jobs made a picture or were given it, those in the trash left out."""
        made = "FROM images JOIN jobs ON jobs.id = images.job WHERE digest = ?"
        given = f"FROM jobs WHERE seq > (SELECT MIN(seq) {made}) AND request_text LIKE ?"
        found = " + ".join(f"(SELECT COUNT(*) {rows} AND deleted = 0)" for rows in (made, given))
        return int(tx.all(f"SELECT {found} AS n", digest, digest, f"%{digest}%")[0]["n"])

    @reads
    def service_times(self, tx: Transaction, model: str, provider: str) -> list[float]:
        """Return how many seconds the latest done jobs of a model took, newest first."""
        rows = tx.all(
            "SELECT seconds FROM jobs WHERE model = ? AND state = 'done' AND deleted = 0"
            " AND provider = ? AND seconds IS NOT NULL ORDER BY seq DESC LIMIT 200",
            *(model, provider),
        )
        return list(map(itemgetter("seconds"), rows))

    # ------------------------------------------------------------------ who works on a job

    @writes
    def lease(self, tx: Transaction, job_id: str) -> bool:
        """Take over a job that is not over and that nobody works on, not even another thread."""
        row = self._row(tx, job_id, tx.lock)
        if row["state"] in {State.WAITING, *steps.ENDS} or not self._free(tx, [row]):
            return False
        held = (self.owner, tx.now + self.lease_seconds, job_id)
        tx.run("UPDATE jobs SET owner = ?, lease_until = ? WHERE id = ?", held)
        return True

    @writes
    def renew(self, tx: Transaction, *job_ids: str) -> int:
        """Hold on to jobs from now on, and return how many of them are still ours."""
        return tx.count(
            "UPDATE jobs SET lease_until = ? WHERE owner = ? AND lease_until > 0"
            f" AND id IN {tables.marks(job_ids)}",
            (tx.now + self.lease_seconds, self.owner, *job_ids),
        )

    @writes
    def release(self, tx: Transaction, job_id: str) -> None:
        """Let go of a job, so that any process can take it at once."""
        tx.run("UPDATE jobs SET lease_until = 0 WHERE id = ? AND owner = ?", (job_id, self.owner))

    def recover(self) -> list[Record]:
        """Settle what dead processes left between two steps, and return the jobs now unknown.

        An intent was never sent: a row of a series waits again, a single job has failed, free. A
        submit may be out: unknown. An answer without a ticket or an address is lost: failed,
        perhaps billed.
        """
        return self._settle() if self._left() else []  # a look first: it needs no lock

    @reads
    def _left(self, tx: Transaction) -> bool:
        return bool(self._free(tx, tx.all(f"SELECT owner, lease_until FROM jobs WHERE {_LEFT}")))

    @writes
    def _settle(self, tx: Transaction) -> list[Record]:
        rows = self._free(tx, tx.all(f"SELECT * FROM jobs WHERE {_LEFT}{tx.skip}"))
        settled = [
            self._store(tx, row, before, steps.apply(before, _verdict(before)))
            for row, before in zip(rows, self._records(tx, rows), strict=True)
        ]
        return [record for record in settled if record.state is State.UNKNOWN]

    # ------------------------------------------------------------------ series

    @prepares
    def save_series(self, tx: Transaction, name: str, spec: Mapping[str, Any]) -> None:
        """Keep what a series is made from, in place of what was kept before."""
        tx.run(
            "INSERT INTO series (name, spec, created_at) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET spec = excluded.spec",
            (name, json.dumps(spec), tx.now),
        )

    @reads
    def series(self, tx: Transaction, name: str) -> dict[str, Any] | None:
        """Return what was saved for a series, or None."""
        rows = tx.all("SELECT spec FROM series WHERE name = ?", name)
        return json.loads(rows[0]["spec"]) if rows else None

    @reads
    def all_series(self, tx: Transaction) -> list[str]:
        """Return the names of all series, newest first."""
        return [r["name"] for r in tx.all("SELECT name FROM series ORDER BY created_at DESC, name")]

    @prepares
    def plan(
        self, tx: Transaction, series: str, drafts: Iterable[Draft], *, user: str = ""
    ) -> None:
        """Make these the rows of a series, and reserve nothing.

        A row keeps its job, and is not paid again, if its request has not changed: the one of the
        same key, else another one that has lost its row. All others wait to be claimed. A row that
        left the plan is deleted if it waits; else its job and its pictures stay.
        """
        wanted = [replace(draft, series=series, waiting=True) for draft in drafts]
        if len({draft.key for draft in wanted}) < len(wanted):
            raise ValueError("two rows of a series have the same key")
        tx.run(  # two processes that plan the same series do so one after the other
            "INSERT INTO series (name, spec, created_at) VALUES (?, '{}', ?)"
            " ON CONFLICT (name) DO UPDATE SET name = excluded.name",
            (series, tx.now),
        )
        asked = [(draft.key, draft.request.fingerprint, draft.provider) for draft in wanted]
        found, rest = _match(asked, _rows_of(tx, series))
        new, moved, offers = [], [], []
        for values, row in zip(self._rows(tx, wanted, user=user), found, strict=True):
            if row is None:
                new.append(tables.job_row(values))
                continue
            place, offer = _place_of(values), _offer_of(values)
            if not row["planned"] or place != _place_of(row):
                moved.append((*place, row["id"]))
            if offer != _offer_of(row):
                offers.append((*offer, row["id"]))
        tx.run(tables.INSERT_JOB, *new)
        tx.run(
            "UPDATE jobs SET row_key = ?, ordinal = ?, axes_text = ?, planned = 1 WHERE id = ?",
            *moved,
        )
        tx.run(
            "UPDATE jobs SET base_url = ?, price = ? WHERE id = ? AND state = 'waiting'", *offers
        )
        gone = [(row["id"],) for row in rest]
        tx.run("DELETE FROM jobs WHERE id = ? AND state = 'waiting'", *gone)
        tx.run("UPDATE jobs SET planned = 0 WHERE id = ? AND planned = 1", *gone)

    @prepares
    def claim(
        self,
        tx: Transaction,
        *,
        series: str,
        count: int,
        budget: Sequence[Limit] = (),
        series_cap: Decimal | None = None,
        user: str = "",
        run: str = "",
        provider: str | None = None,
    ) -> list[Record]:
        """Take up to `count` waiting rows to be sent by this process, and reserve their prices.

        They are intents now, in the order of the plan: fewer where the budget ends, and none where
        no row waits, at this provider if one is named, or the run was halted. It raises
        `BudgetExceeded` if not even one row fits, or its price is unknown under a limit.
        """
        stop = "SELECT 1 FROM series WHERE name = ? AND halted LIKE ?"
        if run and tx.all(stop, series, f"%{run}%"):
            return []
        rows = tx.all(
            f"SELECT id, price, provider, model FROM jobs WHERE {_PLANNED} AND state = 'waiting'"
            f" AND provider = COALESCE(?, provider) ORDER BY ordinal LIMIT {int(count)}{tx.skip}",
            *(series, provider),
        )
        day = tables.day_of(tx.now)
        caps = tables.caps_of(budget, day, user=user, series=series, most=series_cap)
        rows = rows[: tables.fitting(tx, [row["price"] for row in rows], caps)]
        moves: Counter[Account] = Counter()
        for row in rows:
            if row["price"]:
                moves[day, row["provider"], row["model"], user, series] += row["price"]
        until = tx.now + self.lease_seconds
        kept = (State.INTENT.value, tx.now, day, user, self.owner, until)
        tx.run(
            f"UPDATE jobs SET seq = {tx.next_seq}, state = ?, created_at = ?, day = ?, who = ?,"
            " owner = ?, lease_until = ? WHERE id = ?",
            *((*kept, row["id"]) for row in rows),
        )
        tables.book(tx, moves, caps)
        claimed = tx.all_in("SELECT * FROM jobs WHERE id IN", [row["id"] for row in rows])
        return sorted(map(tables.record_of, claimed), key=attrgetter("ordinal"))

    @writes
    def halt(self, tx: Transaction, series: str, run: str) -> None:
        """Have `claim` give no more rows to a run, in whichever processes it works."""
        tx.run("UPDATE series SET halted = halted || ? WHERE name = ?", (f"{run} ", series))

    @reads
    def kept_keys(
        self, tx: Transaction, series: str, rows: Sequence[tuple[str, str]], *, provider: str
    ) -> dict[str, str]:
        """Return the `Record.status`, by key, of those rows (key, fingerprint) that it was sent."""
        asked = [(key, fingerprint, provider) for key, fingerprint in rows]
        found, _ = _match(asked, _rows_of(tx, series))
        keys = {row["id"]: key for (key, _), row in zip(rows, found, strict=True) if row}
        records = self._records(tx, tx.all_in("SELECT * FROM jobs WHERE id IN", [*keys]))
        return {keys[r.id]: r.status for r in records if not r.is_unsent}

    @prepares
    def retry(self, tx: Transaction, series: str) -> int:
        """Let rows wait again that failed before the provider took them, and return how many.

        Those that were refused for what they ask are left: they would be refused again.
        """
        rows = tx.all(
            f"SELECT * FROM jobs WHERE {_PLANNED} AND state IN ('failed', 'cancelled'){tx.lock}",
            series,
        )
        count = 0
        for row, record in zip(rows, self._records(tx, rows), strict=True):
            if record.is_unsent:
                self._store(tx, row, record, steps.apply(record, steps.Returned()))
                count += 1
        return count

    @reads
    def states(self, tx: Transaction, series: str) -> dict[str, int]:
        """Return how many rows of a series' plan have each `Record.status`."""
        counts: dict[str, int] = defaultdict(int)
        for row in tx.all(
            "SELECT state, CASE WHEN state = 'failed' THEN trouble ELSE '' END AS trouble,"
            " state = 'failed' AND request_id IS NULL AS refused, COUNT(*) AS n FROM jobs"
            f" WHERE {_PLANNED} GROUP BY 1, 2, 3",
            series,
        ):
            state, accepted = State(row["state"]), not row["refused"]
            counts[steps.status(state, row["trouble"], accepted=accepted)] += row["n"]
        return dict(counts)

    @reads
    def spent_on(self, tx: Transaction, series: str) -> Decimal:
        """Return US dollars spent or reserved for the rows of a series' plan."""
        spent = f"SELECT CAST(SUM({AMOUNT}) AS BIGINT) AS n FROM jobs WHERE {_PLANNED}"
        return tables.to_dollars(tx.all(spent, series)[0]["n"] or 0)

    @reads
    def spent_for(self, tx: Transaction, job_ids: Sequence[str]) -> Decimal:
        """Return US dollars spent or reserved for these jobs."""
        sums = tx.all_in(
            f"SELECT CAST(SUM({AMOUNT}) AS BIGINT) AS n FROM jobs WHERE id IN", job_ids
        )
        return tables.to_dollars(sum(row["n"] or 0 for row in sums))

    # ------------------------------------------------------------------ lists and sums

    @reads
    def query(
        self,
        tx: Transaction,
        wanted: Filter = EVERYTHING,
        *,
        limit: int | None = None,
        before: Record | None = None,
    ) -> list[Record]:
        """Return the jobs that a filter accepts, in its order; those after `before`, if given."""
        source, conditions, values, seq = _clauses(tx, wanted)
        order, after, names = _SORTS[wanted.sort]
        if before is not None:
            conditions.append(after.format(seq=seq))
            values += [getattr(before, name) for name in names]
        where = f"{' AND '.join(conditions)} ORDER BY {order.format(seq=seq)}"
        limited = "" if limit is None else f" LIMIT {int(limit)}"
        rows = tx.all(f"SELECT jobs.* FROM {source} WHERE {where}{limited}", *values)
        return self._records(tx, rows)

    @reads
    def count(self, tx: Transaction, wanted: Filter = EVERYTHING) -> int:
        """Return how many jobs a filter accepts."""
        source, conditions, values, _ = _clauses(tx, wanted)
        counted, where = "COUNT(*)", " AND ".join(conditions)
        parts = {name: getattr(wanted, name) for name in ("states", "deleted", "has_pictures")}
        if tx.has_tally and replace(wanted, sort="newest") == Filter(**parts):
            source, counted = "tally", "COALESCE(SUM(n), 0)"
        return int(tx.all(f"SELECT {counted} AS n FROM {source} WHERE {where}", *values)[0]["n"])

    @reads
    def models(self, tx: Transaction) -> list[str]:
        """Return the models that there are finished jobs of."""
        done = "state = 'done' AND deleted = 0"  # all of it is in the index on models
        rows = tx.all(f"SELECT DISTINCT model FROM jobs WHERE {done} ORDER BY model")
        return [row["model"] for row in rows]

    @reads
    def pending(self, tx: Transaction, *, series: str | None = None) -> list[Record]:
        """Return paid jobs whose pictures no process is fetching, oldest first: those expire."""
        rows = tx.all(
            "SELECT * FROM jobs WHERE state IN ('submitted', 'completed') AND deleted = 0"
            f" AND {_FETCHABLE}{'' if series is None else ' AND series = ?'} ORDER BY seq",
            *([] if series is None else [series]),
        )
        return self._records(tx, self._free(tx, rows))

    def unknown(self) -> list[Record]:
        """Return the jobs that may have been accepted and billed, oldest first."""
        return self.query(Filter(states={State.UNKNOWN}, sort="oldest"))

    def spend(self, since: date | None = None) -> Decimal:
        """Return US dollars spent or reserved since a local calendar day, a moment, or ever."""
        return sum(self.spend_by("day", since).values(), Decimal(0))

    @reads
    def spend_by(self, tx: Transaction, what: str, since: date | None = None) -> dict[str, Decimal]:
        """Return the same for each `day`, `model`, `provider`, `series` or `user`."""
        micros: dict[str, int] = defaultdict(int)
        names = f"SELECT {_GROUPS[what]} AS name, CAST(SUM"
        rows: list[Any] = []
        if isinstance(since, datetime):
            moment, since = since, since.astimezone().date()
            if datetime.combine(since, time()).astimezone() != moment:
                since += timedelta(days=2)  # the days around the moment are summed job by job
                begin = moment.timestamp()
                rows = tx.all(
                    f"{names}({AMOUNT}) AS BIGINT) AS n FROM jobs"
                    " WHERE created_at >= ? AND created_at < ? AND day < ? GROUP BY 1",
                    *(begin, begin + 4 * _DAY_SECONDS, since.isoformat()),
                )
        day = "" if since is None else since.isoformat()
        rows += tx.all(
            f"{names}(micros) AS BIGINT) AS n FROM spending WHERE day >= ? GROUP BY 1", day
        )
        for row in rows:
            micros[row["name"]] += row["n"]
        ordered = sorted(micros.items(), key=lambda item: (what != "day" and -item[1], item[0]))
        return {name: tables.to_dollars(n) for name, n in ordered if n}

    # ------------------------------------------------------------------ inside

    def _row(self, tx: Transaction, job_id: str, lock: str = "") -> Any:
        rows = tx.all(f"SELECT * FROM jobs WHERE id = ?{lock}", job_id)
        if not rows:
            raise IllegalStep(
                f"The journal has no job {job_id[:40]}.",
                remedy="%imagen_resume lists those that are open.",
            )
        return rows[0]

    def _records(self, tx: Transaction, rows: Sequence[Any]) -> list[Record]:
        images: dict[str, list[Any]] = {}
        for row in rows:
            if row["state"] in _WITH_PICTURES:
                images[row["id"]] = []
        if images:
            found = tx.all_in("SELECT * FROM images WHERE job IN", list(images), "ORDER BY place")
            for image in found:
                images[image["job"]].append(image)
        records = []
        for row in rows:
            records.append(tables.record_of(row, images.get(row["id"])))
        return records

    def _free(self, tx: Transaction, rows: Sequence[Any]) -> list[Any]:
        """Return those of the rows that nobody works on.

        A lease that ends later than any can was written under another clock.
        """
        now, gone = tx.now, functools.cache(is_dead)
        return [
            row
            for row in rows
            if not 0 < row["lease_until"] - now <= MAX_LEASE_SECONDS
            or gone(row["owner"], shared=self.is_shared)
        ]

    def _rows(self, tx: Transaction, drafts: Sequence[Draft], *, user: str) -> list[dict[str, Any]]:
        rows = []
        day, until = tables.day_of(tx.now), tx.now + self.lease_seconds
        blank = {**tables.BLANK, "created_at": tx.now, "day": day, "who": user, "owner": self.owner}
        for draft in drafts:
            request = draft.request
            axes = json.dumps(dict(draft.axes), default=str, ensure_ascii=False)
            values: dict[str, Any] = {
                **blank,
                "id": str(draft.id),
                "state": (State.WAITING if draft.waiting else State.INTENT).value,
                "provider": draft.provider,
                "base_url": draft.base_url,
                "model": request.model,
                "request_text": tables.storable(request.to_json()),
                "fingerprint": request.fingerprint,
                "words": tables.storable((request.prompt or "").casefold()),
                "price": None if draft.price is None else tables.to_micros(draft.price),
                "series": draft.series,
                "row_key": tables.storable(draft.key),
                "ordinal": draft.ordinal,
                "axes_text": tables.storable(axes),
                "lease_until": 0.0 if draft.waiting else until,
            }
            rows.append(values)
        return rows

    def _store(self, tx: Transaction, row: Any, before: Record, after: Record) -> Record:
        """Store a record in place of an earlier one, and book what has changed of its amount."""
        lease_until = row["lease_until"]
        if after.state in _HELD_BY_NOBODY:
            lease_until = 0.0  # of an unknown job the next call is told, in this process too
        elif row["owner"] == self.owner:
            lease_until = tx.now + self.lease_seconds
        values = {**tables.values_of(after, before), "lease_until": lease_until}
        columns = " = ?, ".join(values)
        tx.run(f"UPDATE jobs SET {columns} = ? WHERE id = ?", (*values.values(), after.id))
        if after.images != before.images:
            tx.run("DELETE FROM images WHERE job = ?", (after.id,))
            rows = []
            for image in after.images:
                *facts, filtered = tables.image_facts(image)
                rows.append((after.id, *map(tables.storable, facts), int(filtered)))
            tx.run(tables.INSERT_IMAGE, *rows)
        moved = tables.to_micros(after.amount) - tables.to_micros(before.amount)
        if moved:
            tables.book(tx, {tables.account_of(row): moved})
        return after


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - handed to the one who asked
        return error


def _verdict(left: Record) -> Event:
    match left.state:
        case State.INTENT if left.series:
            return steps.Returned()
        case State.INTENT:
            return steps.Failed("The process ended before anything was sent.", billed=False)
        case State.SUBMITTING:
            why = "The process ended during the submit; a job may exist and be billed."
            return steps.Uncertain(why)
    return steps.Failed("The process ended before the pictures were kept.", billed=True)


def _rows_of(tx: Transaction, series: str) -> list[Any]:
    return tx.all(
        "SELECT id, state, trouble, request_id, fingerprint, provider, base_url, price, row_key,"
        " ordinal, axes_text, planned FROM jobs WHERE series = ? AND series <> ''"
        " ORDER BY ordinal, seq",
        series,
    )


def _match(
    wanted: Sequence[tuple[str, str, str]], rows: Sequence[Any]
) -> tuple[list[Any], list[Any]]:
    """Match wanted rows, as key, fingerprint and provider, with those there are.

    It returns for each the one whose job it keeps, or None; and those that nobody wants.
    """
    # The last one of each list is kept first: one in the plan before one that had left it.
    by_key: dict[object, list[Any]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["planned"]):
        by_key[row["row_key"], row["fingerprint"], row["provider"]].append(row)
    found = [by_key[row].pop() if by_key.get(row) else None for row in wanted]
    left = [row for rest in by_key.values() for row in rest]
    by_request: dict[object, list[Any]] = defaultdict(list)
    for row in sorted(left, key=lambda row: _RANKS.index(row["state"])):
        by_request[row["fingerprint"], row["provider"]].append(row)
    for index, (_, *request) in enumerate(wanted):
        if found[index] is None and (alike := by_request.get(tuple(request))):
            found[index] = alike.pop()
    return found, [row for rest in by_request.values() for row in rest]


def _clauses(tx: Transaction, wanted: Filter) -> tuple[str, list[str], list[object], str]:
    """Return what a filter comes to: tables, conditions, their values, the column of the order."""
    text = tables.storable(wanted.text.casefold())
    # An accented letter may be one character or two, and prompts are kept as they were typed.
    typed = (unicodedata.normalize(form, text).split() for form in ("NFC", "NFD"))
    words = list(map(dict.fromkeys, zip(*typed, strict=True)))
    indexed = [w for w in words if tx.has_prompts and min(map(len, w)) >= _SHORTEST_INDEXED]
    source, seq = "jobs", "jobs.seq"
    conditions = ["1 = 1"]
    values: list[object] = []

    def add(condition: str, *new: object) -> None:
        conditions.append(condition)
        values.extend(new)

    if indexed:
        source, seq = "prompts CROSS JOIN jobs ON jobs.seq = prompts.rowid", "prompts.rowid"
        quoted = [['"' + form.replace('"', '""') + '"' for form in word] for word in indexed]
        add("prompts MATCH ?", " AND ".join(f"({' OR '.join(forms)})" for forms in quoted))
    elif wanted.rating or wanted.sort == "rating":
        source += tx.by.format("jobs_by_rating")
    for word in words:
        if word not in indexed:
            parts = [re.sub("([!%_])", r"!\1", form) for form in word]
            either = " OR ".join(["jobs.words LIKE ? ESCAPE '!'"] * len(parts))
            add(f"({either})", *(f"%{part}%" for part in parts))
    if wanted.since is not None:
        at, by = wanted.since.timestamp(), tx.by.format("jobs_by_time")
        first = f"(SELECT MIN(seq) FROM jobs{by} WHERE created_at >= ?)"
        add(f"{seq} >= {first} AND created_at >= ?", at, at)
    same = {"model": wanted.model, "provider": wanted.provider, "who": wanted.user}
    for name, value in {**same, "series": wanted.series}.items():
        if value is not None:
            add(f"{name} = ?", value)
    if wanted.series is not None:
        add("series <> '' AND planned = 1")
    if wanted.states is not None:
        add(f"state IN {tables.marks([*wanted.states])}", *map(str, wanted.states))
    if wanted.deleted is not None:
        add("deleted > 0" if wanted.deleted else "deleted = 0")
    if wanted.rating:
        add("rating >= ?", wanted.rating)
    if wanted.has_pictures:
        add("state = 'done' AND pictures > 0")
    return source, conditions, values, seq


# -------------------------------------------------------------- which process is behind a name

# A name is `host:pid:start:random`. One that cannot be judged (another host, Windows) counts as
# alive; its lease then runs out.


def is_dead(owner: str, *, shared: bool) -> bool:
    """Return True if the process of that name is surely gone.

    In a shared journal the name of a host is not enough: machines, and containers, can share one.
    """
    host, pid, start = [*owner.split(":"), "", ""][:3]
    if os.name == "nt" or host != platform.node() or not pid.isdecimal():
        return False  # on Windows os.kill with 0 does not ask, it sends Ctrl-C
    place = "-".join(_start_of(os.getpid()).split("-")[:2])
    if shared and not (place and start.startswith(f"{place}-")):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False  # it belongs to another user, or the name is not ours
    return bool(start) and _start_of(int(pid)) not in {start, ""}


def _start_of(pid: int) -> str:
    """Return what distinguishes a process from others of its number; "" without /proc.

    It is `boot-container-start`, or `dead` for one that its parent has not yet waited for.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        container = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()  # the name in brackets may have blanks
    return "dead" if state in {"Z", "X"} else f"{boot}-{container}-{fields[18]}"


# ---------------------------------------------------------------------- verbs called in a loop


@dataclass(slots=True, eq=False)
class _Entry:
    call: Callable[[], Any]
    begun: bool = False
    outcome: Any = None


@dataclass(eq=False)
class Recorder:
    """Runs verbs of one journal in a worker thread, in the order in which they came.

    A commit waits for the disk: calls that come while one is written go together in the next. What
    a call returns counts only when it is on disk. The 7,007 calls of 1,000 jobs took 674 waits.
    """

    journal: Journal
    _pid: int = 0
    _turn: anyio.Lock = field(init=False)
    _waiting: list[_Entry] = field(init=False)

    async def record(self, verb: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb of the journal and return what it returns, once that is on disk.

        A cancellation before it has begun prevents it; later it is carried out all the same.
        """
        if self._pid != os.getpid():  # the first call, also after a fork: its parent's wait there
            self._pid, self._waiting = os.getpid(), []
            self._turn = anyio.Lock(fast_acquire=True)
        entry = _Entry(functools.partial(verb, *args, **kwargs))
        self._waiting.append(entry)
        try:
            async with self._turn:
                if not entry.begun:
                    await self._write()
        finally:
            if not entry.begun:
                self._waiting.remove(entry)
        if isinstance(entry.outcome, BaseException):
            raise entry.outcome
        value: T = entry.outcome
        return value

    async def close(self) -> None:
        """Close the journal after what was recorded before."""
        async with self._turn if self._pid == os.getpid() else contextlib.nullcontext():
            await to_thread.run_sync(self.journal.close)

    async def _write(self) -> None:
        entries, self._waiting = self._waiting[:_MAX_TOGETHER], self._waiting[_MAX_TOGETHER:]
        calls = []
        for entry in entries:
            entry.begun = True
            calls.append(entry.call)
        try:
            with anyio.CancelScope(shield=True):  # the others have not been cancelled
                if len(calls) == 1:
                    outcomes = [await to_thread.run_sync(calls[0])]
                else:
                    outcomes = await to_thread.run_sync(self.journal.together, *calls)
        except BaseException as error:  # noqa: BLE001 - all who wait are told, this one too
            outcomes = [error] * len(entries)
        for entry, outcome in zip(entries, outcomes, strict=True):
            entry.outcome = outcome
