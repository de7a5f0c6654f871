"""What is read from the journal: each answer costs what it returns, not what there is.

Counts come from sums that are kept up, pages from an index and a cursor, words from a full-text
index where the database has one. What a row holds as JSON is parsed when it is asked for.
"""

import functools
import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from imagen_widget._journal.money import day_of
from imagen_widget._journal.sql import Transaction, folded, marks, record_of, to_dollars
from imagen_widget._journal.transitions import IllegalStep, Record, State, status

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound="Reader")

NOTHING_SENT = "Nothing was sent."
AMOUNT = "CASE WHEN state = 'waiting' THEN 0 ELSE COALESCE(cost, price, 0) END"

_SHORTEST_INDEXED = 3  # characters: the full-text index is one of parts of three
_WITH_PICTURES = frozenset({State.DOWNLOADED, State.DONE, State.FAILED})
_FETCHABLE = "(ticket IS NOT NULL OR urls <> '[]')"
_DAY_SECONDS = 86400
_GROUPS = {
    "day": "day",
    "model": "model",
    "provider": "provider",
    "series": "series",
    "user": "who",
}
# By sort: the order, the condition for what comes after a record, and that record's values.
_SORTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "newest": ("{seq} DESC", "{seq} < ?", ("seq",)),
    "oldest": ("{seq}", "{seq} > ?", ("seq",)),
    "rating": ("rating DESC, {seq} DESC", "(rating, {seq}) < (?, ?)", ("rating", "seq")),
    "plan": ("ordinal, {seq}", "(ordinal, {seq}) > (?, ?)", ("ordinal", "seq")),
}


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which jobs are meant, and in which order; what is not given does not matter."""

    text: str = ""  # words or parts of words of the prompt, letter case aside; of what was sent
    model: str | None = None
    provider: str | None = None
    since: datetime | None = None  # written down at this moment or later
    until: datetime | None = None  # written down before this moment
    rating: int | None = None  # stars, at least
    states: Collection[State] | None = None
    series: str | None = None  # rows of this series' plan
    keys: Collection[str] | None = None  # rows with one of these keys
    user: str | None = None
    deleted: bool | None = False  # True: only what is in the trash; None: that too
    has_pictures: bool = False  # done, with pictures that the provider did not withhold
    sort: Literal["newest", "oldest", "rating", "plan"] = "newest"


EVERYTHING = Filter()


def reads(method: Callable[Concatenate[R, Transaction, P], T]) -> Callable[Concatenate[R, P], T]:
    """Make a verb of a method that reads in the transaction it is given."""
    return _verb(method, write=False, after="")


def writes(method: Callable[Concatenate[R, Transaction, P], T]) -> Callable[Concatenate[R, P], T]:
    """Make a verb of a method that writes in the transaction it is given."""
    return _verb(method, write=True, after="")


def prepares(method: Callable[Concatenate[R, Transaction, P], T]) -> Callable[Concatenate[R, P], T]:
    """Make a verb of a method that writes what has to be there before anything is sent."""
    return _verb(method, write=True, after=NOTHING_SENT)


def _verb(
    method: Callable[Concatenate[R, Transaction, P], T], *, write: bool, after: str
) -> Callable[Concatenate[R, P], T]:
    @functools.wraps(method)
    def verb(self: R, /, *args: P.args, **kwargs: P.kwargs) -> T:
        body = lambda tx: method(self, tx, *args, **kwargs)  # noqa: E731 - a name for a line
        return self._transact(body, write=write, after=after)

    return verb


class Reader(ABC):
    """The reading verbs of a journal."""

    max_lease_seconds: float

    @abstractmethod
    def _transact(self, body: Callable[[Transaction], T], *, write: bool, after: str) -> T:
        """Run `body` in one transaction; `after` is what the user should know if that fails."""

    def _is_dead(self, owner: str) -> bool:
        """Return True if the process of that name is surely gone."""
        return False

    # ---------------------------------------------------------------------------- jobs

    @reads
    def get(self, tx: Transaction, job_id: str) -> Record:
        """Return one job; raises IllegalStep if there is none of that id."""
        return self._records(tx, [self._row(tx, job_id)])[0]

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
        counted = "COUNT(*)"
        parts = {name: getattr(wanted, name) for name in ("states", "deleted", "has_pictures")}
        if tx.has_tally and replace(wanted, sort="newest") == Filter(**parts):
            source, counted = "tally", "COALESCE(SUM(n), 0)"
        where = " AND ".join(conditions)
        return int(tx.all(f"SELECT {counted} AS n FROM {source} WHERE {where}", *values)[0]["n"])

    @reads
    def states(self, tx: Transaction, series: str) -> dict[str, int]:
        """Return how many rows of a series' plan have each `Record.status`."""
        counts: dict[str, int] = defaultdict(int)
        for row in tx.all(
            "SELECT state, CASE WHEN state = 'failed' THEN trouble ELSE '' END AS trouble,"
            " state = 'failed' AND request_id IS NULL AS refused, COUNT(*) AS n FROM jobs"
            " WHERE series = ? AND series <> '' AND planned = 1 GROUP BY 1, 2, 3",
            series,
        ):
            word = status(State(row["state"]), row["trouble"], accepted=not row["refused"])
            counts[word] += row["n"]
        return dict(counts)

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
        """Return the jobs of just this request that may be paid and whose pictures are not here.

        First those that no process is fetching, oldest first, then those that are unknown.
        """
        rows = tx.all(
            "SELECT * FROM jobs WHERE fingerprint = ? AND provider = ?"
            " AND state IN ('submitted', 'completed', 'unknown')"
            f" AND base_url = ? AND deleted = 0 AND (state = 'unknown' OR {_FETCHABLE})",
            *(fingerprint, provider, base_url),
        )
        found = self._records(tx, self._free(tx, rows))
        return sorted(found, key=lambda job: (job.state is State.UNKNOWN, job.seq))

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

    @reads
    def uses(self, tx: Transaction, digest: str) -> int:
        """Return how often a picture is part of a job, those in the trash left out."""
        return int(
            tx.all(
                "SELECT COUNT(*) AS n FROM images JOIN jobs ON jobs.id = images.job"
                " WHERE digest = ? AND deleted = 0",
                digest,
            )[0]["n"]
        )

    @reads
    def service_times(
        self, tx: Transaction, model: str, provider: str, *, limit: int = 200
    ) -> list[float]:
        """Return how many seconds the latest done jobs of a model took, newest first."""
        rows = tx.all(
            "SELECT seconds FROM jobs WHERE model = ? AND state = 'done' AND deleted = 0"
            f" AND provider = ? AND seconds IS NOT NULL ORDER BY seq DESC LIMIT {int(limit)}",
            *(model, provider),
        )
        return [row["seconds"] for row in rows]

    # ---------------------------------------------------------------- money and series

    @overload
    def spend(self, since: date | None = None) -> Decimal: ...
    @overload
    def spend(self, since: date | None = None, *, by: str) -> dict[str, Decimal]: ...
    def spend(
        self, since: date | None = None, *, by: str | None = None
    ) -> Decimal | dict[str, Decimal]:
        """Return US dollars spent or reserved since a day, a moment, or ever.

        Args:
            since: A local calendar day, or a moment.
            by: `day`, `model`, `provider`, `series` or `user`, to return a sum for each.
        """
        groups = self._spend(since, "''" if by is None else _GROUPS[by])
        if by is None:
            return sum(groups.values(), Decimal(0))
        ordered = sorted(groups.items(), key=lambda item: (by != "day" and -item[1], item[0]))
        return {name: amount for name, amount in ordered if amount}

    @reads
    def _spend(self, tx: Transaction, since: date | None, group: str) -> dict[str, Decimal]:
        micros: dict[str, int] = defaultdict(int)
        names = f"SELECT {group} AS name, CAST(SUM"
        rows: list[Any] = []
        if isinstance(since, datetime):
            moment, since = since.timestamp(), day_of(since.timestamp())
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
        return {name: to_dollars(n) for name, n in micros.items()}

    @reads
    def spent_on(self, tx: Transaction, series: str) -> Decimal:
        """Return US dollars spent or reserved for the rows of a series' plan."""
        planned = "WHERE series = ? AND series <> '' AND planned = 1"
        rows = tx.all(f"SELECT CAST(SUM({AMOUNT}) AS BIGINT) AS n FROM jobs {planned}", series)
        return to_dollars(rows[0]["n"] or 0)

    @reads
    def series(self, tx: Transaction, name: str) -> dict[str, Any] | None:
        """Return what was saved for a series, or None."""
        rows = tx.all("SELECT spec FROM series WHERE name = ?", name)
        return json.loads(rows[0]["spec"]) if rows else None

    @reads
    def all_series(self, tx: Transaction) -> list[str]:
        """Return the names of all series, newest first."""
        return [r["name"] for r in tx.all("SELECT name FROM series ORDER BY created_at DESC, name")]

    # -------------------------------------------------------------------------- inside

    def _row(self, tx: Transaction, job_id: str, lock: str = "") -> Any:
        row = tx.run(f"SELECT * FROM jobs WHERE id = ?{lock}", job_id).fetchone()
        if row is None:
            raise IllegalStep(
                f"The journal has no job {job_id[:40]}.",
                remedy="List the jobs with %imagen_history.",
            )
        return row

    def _records(self, tx: Transaction, rows: Sequence[Any]) -> list[Record]:
        images = defaultdict(list)
        kept = [row["id"] for row in rows if row["state"] in _WITH_PICTURES]
        for image in tx.all_in("SELECT * FROM images WHERE job IN", kept):
            images[image["job"]].append(image)
        for found in images.values():
            found.sort(key=lambda image: int(image["place"]))
        return [record_of(row, images.get(row["id"], ())) for row in rows]

    def _free(self, tx: Transaction, rows: Sequence[Any]) -> list[Any]:
        """Return those of the rows that nobody works on.

        A lease that ends later than any can was written under another clock.
        """
        now, dead = tx.now, functools.cache(self._is_dead)
        return [
            row
            for row in rows
            if not 0 < row["lease_until"] - now <= self.max_lease_seconds or dead(row["owner"])
        ]


def _clauses(tx: Transaction, wanted: Filter) -> tuple[str, list[str], list[object], str]:
    """Return what a filter comes to: tables, conditions, their values, the column of the order."""
    words = folded(wanted.text).split()
    indexed = [word for word in words if tx.has_prompts and len(word) >= _SHORTEST_INDEXED]
    source, seq = "jobs", "jobs.seq"
    clauses: list[tuple[str, Sequence[object]]] = [("1 = 1", ())]

    def add(condition: str, *values: object) -> None:
        clauses.append((condition, values))

    if indexed:
        source, seq = "prompts CROSS JOIN jobs ON jobs.seq = prompts.rowid", "prompts.rowid"
        quoted = ['"' + word.replace('"', '""') + '"' for word in indexed]
        add("prompts MATCH ?", " ".join(quoted))
    elif wanted.rating or wanted.sort == "rating":
        source = "jobs" + tx.by("jobs_by_rating")
    for word in words:
        if word not in indexed:
            part = "".join("!" + c if c in "!%_" else c for c in word)
            add("jobs.words LIKE ? ESCAPE '!'", f"%{part}%")
    for moment, end, sign in ((wanted.since, "MIN", ">="), (wanted.until, "MAX", "<")):
        if moment is not None:
            at = moment.timestamp()
            ends = f"(SELECT {end}(seq) FROM jobs{tx.by('jobs_by_time')} WHERE created_at {sign} ?)"
            add(f"{seq} {sign[0]}= {ends} AND created_at {sign} ?", at, at)
    same = {"model": wanted.model, "provider": wanted.provider, "who": wanted.user}
    for name, value in {**same, "series": wanted.series}.items():
        if value is not None:
            add(f"{name} = ?", value)
    if wanted.series is not None:
        add("series <> '' AND planned = 1")
    for name, chosen in (("state", wanted.states), ("row_key", wanted.keys)):
        if chosen is not None:
            add(f"{name} IN {marks([*chosen])}", *chosen)
    if wanted.deleted is not None:
        add("deleted > 0" if wanted.deleted else "deleted = 0")
    if wanted.rating:
        add("rating >= ?", wanted.rating)
    if wanted.has_pictures:
        add("state = 'done' AND pictures > 0")
    return source, [text for text, _ in clauses], [v for _, values in clauses for v in values], seq
