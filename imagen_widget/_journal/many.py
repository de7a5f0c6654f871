"""The verbs over many jobs: series, lists and sums, each in one transaction; copying and checking.

A row of a series is sent at most once: only the process that claimed it may submit it, and only one
can claim it. What is read costs what it returns, not what there is: counts come from sums that are
kept up, pages from an index and a cursor, words from a full-text index where the database has one.
A copy adds what is missing and changes nothing that is there: it can be stopped and repeated.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import Any, Literal

from imagen_widget._journal import tables, transitions as steps
from imagen_widget._journal.core import FETCHABLE, Draft, Jobs, prepares, reads, writes
from imagen_widget._journal.tables import AMOUNT, BUDGETS, Account, Transaction
from imagen_widget._journal.transitions import Record, State
from imagen_widget._models import dollars
from imagen_widget._settings import Limit
from imagen_widget.errors import JournalError

_DAY_SECONDS = 86400
_SHORTEST_INDEXED = 3  # characters: the full-text index is one of parts of three
_PLANNED = "series = ? AND series <> '' AND planned = 1"
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
    *(State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.DOWNLOADED, State.DONE),
)
_place_of = itemgetter("row_key", "ordinal", "axes_text")
_offer_of = itemgetter("base_url", "price")
_SERIES_COLUMNS = ("name", "spec", "created_at")

Job = tuple[dict[str, Any], list[dict[str, Any]]]  # a row with those of its pictures


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


class Journal(Jobs):
    """All verbs of a journal; its databases are `SqliteJournal` and `PostgresJournal`."""

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
    ) -> list[Record]:
        """Take up to `count` waiting rows to be sent by this process, and reserve their prices.

        They are intents now, in the order of the plan: fewer where the budget ends, and none where
        no row waits or the run was halted. It raises `BudgetExceeded` if not even one row fits, or
        its price is unknown under a limit.
        """
        stop = "SELECT 1 FROM series WHERE name = ? AND halted LIKE ?"
        if run and tx.all(stop, series, f"%{run}%"):
            return []
        rows = tx.all(
            f"SELECT id, price, provider, model FROM jobs WHERE {_PLANNED} AND state = 'waiting'"
            f" ORDER BY ordinal LIMIT {int(count)}{tx.skip}",
            series,
        )
        day = tables.day_of(tx.now).isoformat()
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
        return {
            key: steps.status(State(row["state"]), row["trouble"], accepted=bool(row["request_id"]))
            for (key, _), row in zip(rows, found, strict=True)
            if row and row["state"] != State.WAITING
        }

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
            if record.may_be_sent_again:
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
            f" AND {FETCHABLE}{'' if series is None else ' AND series = ?'} ORDER BY seq",
            *([] if series is None else [series]),
        )
        return self._records(tx, self._free(tx, rows))

    def unknown(self) -> list[Record]:
        """Return the jobs that may have been accepted and billed, oldest first."""
        return self.query(Filter(states={State.UNKNOWN}, sort="oldest"))

    def spend(self, since: date | None = None) -> Decimal:
        """Return US dollars spent or reserved since a local calendar day, a moment, or ever."""
        return sum(self._spend(since, "''").values(), Decimal(0))

    def spend_by(self, what: str, since: date | None = None) -> dict[str, Decimal]:
        """Return the same for each `day`, `model`, `provider`, `series` or `user`."""
        sums = self._spend(since, _GROUPS[what]).items()
        ordered = sorted(sums, key=lambda item: (what != "day" and -item[1], item[0]))
        return {name: amount for name, amount in ordered if amount}

    @reads
    def _spend(self, tx: Transaction, since: date | None, group: str) -> dict[str, Decimal]:
        micros: dict[str, int] = defaultdict(int)
        names = f"SELECT {group} AS name, CAST(SUM"
        rows: list[Any] = []
        if isinstance(since, datetime):
            moment, since = since.timestamp(), tables.day_of(since.timestamp())
            if datetime.combine(since, time()).astimezone().timestamp() != moment:
                since += timedelta(days=2)  # the days around the moment are summed job by job
                rows = tx.all(
                    f"{names}({AMOUNT}) AS BIGINT) AS n FROM jobs"
                    " WHERE created_at >= ? AND created_at < ? AND day < ? GROUP BY 1",
                    *(moment, moment + 4 * _DAY_SECONDS, since.isoformat()),
                )
        day = "" if since is None else since.isoformat()
        rows += tx.all(
            f"{names}(micros) AS BIGINT) AS n FROM spending WHERE day >= ? GROUP BY 1", day
        )
        for row in rows:
            micros[row["name"]] += row["n"]
        return {name: tables.to_dollars(n) for name, n in micros.items()}


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
    words = tables.storable(wanted.text.casefold()).split()
    indexed = [word for word in words if tx.has_prompts and len(word) >= _SHORTEST_INDEXED]
    source, seq = "jobs", "jobs.seq"
    conditions = ["1 = 1"]
    values: list[object] = []

    def add(condition: str, *new: object) -> None:
        conditions.append(condition)
        values.extend(new)

    if indexed:
        source, seq = "prompts CROSS JOIN jobs ON jobs.seq = prompts.rowid", "prompts.rowid"
        quoted = ['"' + word.replace('"', '""') + '"' for word in indexed]
        add("prompts MATCH ?", " ".join(quoted))
    elif wanted.rating or wanted.sort == "rating":
        source += tx.by.format("jobs_by_rating")
    for word in words:
        if word not in indexed:
            part = "".join("!" + c if c in "!%_" else c for c in word)
            add("jobs.words LIKE ? ESCAPE '!'", f"%{part}%")
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


# ------------------------------------------------------------------------------- copying, checking


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

    It raises `JournalError` if jobs of the source are being worked on, one of the two cannot be
    used, or something has not arrived as it was.
    """
    busy, series = _at_work(source)
    if busy:
        raise JournalError(
            f"{busy} of the journal's jobs are being worked on.",
            remedy="Stop the notebooks that use it, then copy again.",
        )
    copied = Copied(series=_add_series(target, series))
    for batch in _batches(source):
        added, differing, micros = _add_jobs(target, batch)
        copied.jobs += added
        copied.known += len(batch) - added - len(differing)
        copied.differing += differing
        copied.amount += tables.to_dollars(micros)
    target.analyze()
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
    """Return one line for each thing that is not as it should be; a sound journal has none."""
    problems = _faults(journal)
    for batch in _batches(journal):
        for row, _ in batch.values():
            try:
                record = tables.record_of(row)
                if record.request.fingerprint != record.fingerprint:
                    problems.append(f"job {record.id}: its request is not that of its fingerprint")
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
    while batch := _jobs(journal, "seq > ?", seq):
        yield batch
        seq = max(row["seq"] for row, _ in batch.values())


@reads
def _jobs(journal: Journal, tx: Transaction, condition: str, *values: object) -> dict[str, Job]:
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
    known = _jobs(journal, f"id IN {tables.marks(list(batch))}", *batch)
    missing = [job for job_id, job in batch.items() if job_id not in known]
    moves: Counter[Account] = Counter()
    for row, images in missing:
        tx.run(tables.INSERT_JOB, tables.job_row(row))
        tx.run(tables.INSERT_IMAGE, *map(tables.image_row, images))
        if row["amount"]:
            moves[tables.account_of(row)] += row["amount"]
    tables.book(tx, moves)
    arrived = _jobs(journal, f"id IN {tables.marks(list(batch))}", *batch)
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
