"""What both databases hold: tables, rows as values, and the sums of what is spent.

Statements are written once, with `?` for values; a back end translates what its database spells
otherwise. Nothing here begins or ends a transaction.
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from operator import attrgetter, itemgetter
from typing import Any, ClassVar, NamedTuple

from imagen_widget._journal.transitions import KeptImage, Record, State, damaged
from imagen_widget._models import dollars
from imagen_widget._settings import Limit
from imagen_widget.errors import BudgetExceeded, JournalError

SCHEMA = 2  # the version of the tables below; 1 is what imagen_widget 0.1 wrote
MAX_VALUES = 500  # in one statement

_MICROS = 1_000_000  # money is kept in whole millionths of a dollar: no sum ever drifts
_NO_LIMIT = 2**62
_SERIES = "series"  # the period of a series' own budget: all of its time


class Raced(Exception):
    """What was read has changed meanwhile, or the connection broke: the transaction runs again."""


class Transaction(ABC):
    """An open transaction of one back end; rows give their values by column name."""

    connection: Any
    now: float  # in Unix seconds, the same throughout the transaction
    again: bool = False  # whether an earlier attempt at the same may have been committed
    waits = True  # for the disk at its end; a server's log is in order, so a later one may do that
    lock: ClassVar[str] = ""  # ends a SELECT whose rows stay locked
    skip: ClassVar[str] = ""  # the same, leaving out rows that another transaction has locked
    next_seq: ClassVar[str]  # an expression for the next number in the order of sending
    by: ClassVar[str] = ""  # makes a SELECT use the index {}, if the database has to be told
    has_prompts = False  # whether the table `prompts` indexes the words that were sent
    has_tally = False  # whether the table `tally` counts jobs by state

    @abstractmethod
    def run(self, statement: str, *rows: Sequence[object]) -> None:
        """Run a statement once for each row of values; it may be sent with the next one."""

    @abstractmethod
    def count(self, statement: str, *rows: Sequence[object]) -> int:
        """Do the same at once, and return how many rows it changed in all."""

    @abstractmethod
    def flush(self) -> None:
        """Send what waits, so that it fails now if it fails."""

    @abstractmethod
    def all(self, statement: str, *values: object) -> list[Any]:
        """Return the rows of a SELECT."""

    def is_first(self, name: str) -> bool:
        """Return True unless another transaction is open that has asked for the same name."""
        return True

    def faults(self) -> list[str]:
        """Return one line for each fault that the database itself can find."""
        return []

    def all_in(self, statement: str, chosen: Sequence[object], order: str = "") -> list[Any]:
        """Return the rows of a SELECT that ends in `IN`, for the chosen values."""
        rows = []
        for start in range(0, len(chosen), MAX_VALUES):
            part = chosen[start : start + MAX_VALUES]
            rows += self.all(f"{statement} {marks(part)} {order}", *part)
        return rows


def marks(values: Sequence[object]) -> str:
    """Return the list of marks that stands for values in a statement."""
    return f"({', '.join('?' * len(values)) or 'NULL'})"


def insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {marks(columns)}"


# ------------------------------------------------------------------------------------- tables

# {id}: a whole number that counts up by itself; {whole}, {real}: 64 bits; {end}: how a table ends
TABLES = """
CREATE TABLE jobs (
    seq {id},  -- the order of sending, whatever the clock did
    id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, provider TEXT NOT NULL, base_url TEXT NOT NULL,
    model TEXT NOT NULL, request_text TEXT NOT NULL, fingerprint TEXT NOT NULL,
    words TEXT NOT NULL,  -- the prompt with letter case folded, for searching
    request_id TEXT, ticket TEXT,
    price {whole}, cost {whole}, cost_source TEXT,  -- millionths of a US dollar
    created_at {real} NOT NULL,  -- Unix seconds
    day TEXT NOT NULL,  -- the local calendar day of that, as 2026-11-23
    seconds {real}, elapsed {real}, error TEXT, trouble TEXT NOT NULL,
    seed TEXT,  -- text, because some providers' seeds pass 64 bits
    description TEXT NOT NULL, revised_prompt TEXT, urls TEXT NOT NULL, units TEXT,
    filtered {whole} NOT NULL,
    pictures {whole} NOT NULL,  -- kept and not filtered
    rating {whole} NOT NULL, who TEXT NOT NULL,
    series TEXT NOT NULL, row_key TEXT NOT NULL, ordinal {whole} NOT NULL,
    axes_text TEXT NOT NULL, planned {whole} NOT NULL, deleted {whole} NOT NULL,
    owner TEXT NOT NULL, lease_until {real} NOT NULL  -- Unix seconds, 0 = free
);
CREATE TABLE images (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, place {whole} NOT NULL,
    digest TEXT NOT NULL, media_type TEXT NOT NULL, width {whole} NOT NULL,
    height {whole} NOT NULL, size {whole} NOT NULL, url TEXT, filtered {whole} NOT NULL,
    PRIMARY KEY (job, place)
) {end};
CREATE TABLE series (
    name TEXT PRIMARY KEY, spec TEXT NOT NULL, created_at {real} NOT NULL,
    halted TEXT NOT NULL DEFAULT ''  -- runs that claim no more rows
);
CREATE TABLE spending (
    day TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, who TEXT NOT NULL,
    series TEXT NOT NULL, micros {whole} NOT NULL,
    PRIMARY KEY (day, provider, model, who, series)
) {end};
CREATE TABLE budgets (
    period TEXT NOT NULL,  -- a day, a month, or 'series'
    scope TEXT NOT NULL,  -- a user, a series, or '' for all
    micros {whole} NOT NULL, PRIMARY KEY (period, scope)
) {end}
"""

# Made after the rows that a migration brings: that is quicker than keeping them up with each.
INDEXES = (
    "CREATE INDEX jobs_by_state ON jobs (state, deleted, seq, provider)",
    "CREATE INDEX jobs_by_model ON jobs (model, state, deleted, seq, provider)",
    "CREATE INDEX jobs_by_request ON jobs (fingerprint, provider, state, seq)",
    "CREATE INDEX jobs_by_time ON jobs (created_at, seq)",
    "CREATE INDEX jobs_by_rating ON jobs (rating, seq)",
    "CREATE INDEX jobs_by_series ON jobs (series, planned, state, ordinal) WHERE series <> ''",
    "CREATE INDEX jobs_in_trash ON jobs (deleted, seq) WHERE deleted > 0",
    "CREATE INDEX images_by_digest ON images (digest)",
)


def newer(version: int, otherwise: str) -> JournalError:
    """Return the error for a journal that a newer version of the package has written."""
    return JournalError(
        f"The journal was written by a newer imagen_widget (schema {version}, known here:"
        f" {SCHEMA}).",
        remedy=f"Upgrade imagen-widget, or {otherwise}.",
    )


# --------------------------------------------------------------------------------------- rows


def to_micros(amount: Decimal) -> int:
    """Return whole millionths of a dollar, rounded up: a reserve never comes out too small."""
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{amount} is not an amount of money")
    return int((amount * _MICROS).to_integral_value(ROUND_CEILING))


def to_dollars(micros: int) -> Decimal:
    return Decimal(micros) / _MICROS


def storable(value: Any) -> Any:
    """Return a value whose text any database takes: a server's can hold NULs, half characters."""
    if not isinstance(value, str) or value.isprintable():
        return value  # none of those is printable
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()


_COLUMN_OF = {"user": "who", "key": "row_key"}  # words of SQL
# To what is stored, and back; None stays None.
_CONVERTED: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "state": (str, State),
    "price": (to_micros, to_dollars),
    "cost": (to_micros, to_dollars),
    "seed": (str, int),
    "urls": (json.dumps, json.loads),
    "units": (str, Decimal),
    "planned": (int, bool),
    "deleted": (int, bool),
}
_FIELDS = [
    (f.name, _COLUMN_OF.get(f.name, f.name), *_CONVERTED.get(f.name, (storable, None)))
    for f in fields(Record)
    if f.name != "images"
]
_is_filtered = attrgetter("filtered")
_NAMES = [name for name, *_ in _FIELDS]
_READ = [(name, read) for name, _, _, read in _FIELDS if read is not None]
_stored = itemgetter(*(column for _, column, *_ in _FIELDS))
JOB_COLUMNS = [
    *(column for _, column, *_ in _FIELDS if column != "seq"),
    *("pictures", "words", "day", "owner", "lease_until"),
]
_IMAGE_FIELDS = [f.name for f in fields(KeptImage)]
IMAGE_COLUMNS = ["job", "place", *_IMAGE_FIELDS[1:]]
INSERT_JOB, INSERT_IMAGE = insert("jobs", JOB_COLUMNS), insert("images", IMAGE_COLUMNS)
job_row, image_row = itemgetter(*JOB_COLUMNS), itemgetter(*IMAGE_COLUMNS)
image_facts = attrgetter(*_IMAGE_FIELDS)


def values_of(record: Record, before: Record | None = None) -> dict[str, Any]:
    """Return what a table row holds of a record, but for its words, day and owner.

    After a step, these are only the values that it has changed since `before`.
    """
    values: dict[str, Any] = {}
    new, old = vars(record), {} if before is None else vars(before)
    for name, column, store, _ in _FIELDS:
        value = new[name]
        if name not in old or value != old[name]:
            values[column] = None if value is None else store(value)
    if before is None or record.images != before.images:
        values["pictures"] = len(record.images) - sum(map(_is_filtered, record.images))
    return values


BLANK = values_of(Record("", 0, State.INTENT, "", "", "", "", ""))  # what a new job begins with


def record_of(row: Mapping[str, Any], images: Iterable[Mapping[str, Any]] | None = None) -> Record:
    """Return the value of a table row, and of its pictures' rows."""
    record = object.__new__(Record)  # its own __init__ takes three times as long: pages have many
    values = vars(record)
    values.update(zip(_NAMES, _stored(row), strict=True))
    try:
        for name, read in _READ:
            if values[name] is not None:
                values[name] = read(values[name])
        values["urls"] = tuple(values["urls"])
    except (ValueError, TypeError, ArithmeticError) as error:
        raise damaged(row["id"], error) from None
    kept = []
    for image in images or ():
        _, *facts = image_row(image)
        facts[-1] = bool(facts[-1])  # `filtered`
        kept.append(KeptImage(*facts))
    values["images"] = tuple(kept)
    return record


# -------------------------------------------------------------------------------------- money

# `spending` holds a sum for each day, provider, model, user and series: what reports read.
# `budgets` holds one for each period and scope: what a limit is checked against, by an UPDATE that
# does nothing if the limit would be passed. Both change with each job's amount, and are never
# summed up again. A day is the local calendar day on which a job was written down, kept with the
# job: reports and limits cannot differ on it, whatever the time zone does.

Account = tuple[str, str, str, str, str]  # where an amount is booked: the values of these
ACCOUNT_COLUMNS = ("day", "provider", "model", "who", "series")
account_of: Callable[[Mapping[str, Any]], Account] = itemgetter(*ACCOUNT_COLUMNS)

_BOOK = (
    f"{insert('spending', (*ACCOUNT_COLUMNS, 'micros'))}"
    " ON CONFLICT (day, provider, model, who, series)"
    " DO UPDATE SET micros = spending.micros + excluded.micros"
)
_RESERVE = (
    f"{insert('budgets', ('period', 'scope', 'micros'))}"
    " ON CONFLICT (period, scope) DO UPDATE SET micros = budgets.micros + excluded.micros"
    " WHERE budgets.micros + excluded.micros <= ?"
)


# What the rows of `budgets` come to, by those of `spending`.
BUDGETS = f"""
    SELECT day AS period, '' AS scope, micros FROM spending
    UNION ALL SELECT substr(day, 1, 7), '', micros FROM spending
    UNION ALL SELECT day, who, micros FROM spending WHERE who <> ''
    UNION ALL SELECT substr(day, 1, 7), who, micros FROM spending WHERE who <> ''
    UNION ALL SELECT '{_SERIES}', series, micros FROM spending WHERE series <> ''
"""
AMOUNT = "CASE WHEN state = 'waiting' THEN 0 ELSE COALESCE(cost, price, 0) END"


class Cap(NamedTuple):
    """A limit of one row of `budgets`, with the words for it."""

    row: tuple[str, str]  # period and scope
    micros: int
    spent: str  # when its sum was spent, as `today`
    text: str  # what would be passed, as `the cap of $2.00 a day`
    remedy: str
    later: str = ""  # what helps too, unless one request costs more than the cap


def day_of(moment: float) -> str:
    """Return the local calendar day of a moment in Unix seconds, as 2026-11-23."""
    return datetime.fromtimestamp(moment, tz=UTC).astimezone().date().isoformat()


def caps_of(
    budget: Sequence[Limit], day: str, *, user: str, series: str = "", most: Decimal | None = None
) -> list[Cap]:
    """Return what the limits of a budget, and a series' `max_spend`, mean on a day."""
    caps = []
    for limit in budget:
        monthly, mine = limit.period == "month", limit.scope == "user"
        setting = "IMAGEN_MAX_SPEND_USER" if mine else "IMAGEN_MAX_SPEND"
        caps.append(
            Cap(
                (day[:7] if monthly else day, user if mine else ""),
                to_micros(limit.amount),
                "this month" if monthly else "today",
                f"{'your' if mine else 'the'} cap of {dollars(limit.amount)} a {limit.period}",
                f"raise {setting}",
                f", or go on {'next month' if monthly else 'tomorrow'}",
            )
        )
    if most is not None:
        words = ("in the series", f"its max_spend of {dollars(most)}", "run it with a higher one")
        caps.append(Cap((_SERIES, series), to_micros(most), *words))
    return caps


def book(tx: Transaction, moves: Mapping[Account, int], caps: Sequence[Cap] = ()) -> None:
    """Book amounts that are `fitting`, none of them 0: all of them, or none.

    It raises `Raced` if another process has spent meanwhile what was left.
    """
    rows: Counter[tuple[str, str]] = Counter()
    for (day, _, _, user, series), micros in moves.items():
        for period in (day, day[:7]):
            for scope in {"", user}:
                rows[period, scope] += micros
        if series:
            rows[_SERIES, series] += micros
    limits: dict[tuple[str, str], int] = {}
    for cap in caps:
        limits[cap.row] = min(cap.micros, limits.get(cap.row, _NO_LIMIT))
    sums = sorted(rows.items())
    reserves = [(*row, micros, limits.get(row, _NO_LIMIT)) for row, micros in sums]
    if not caps:
        tx.run(_RESERVE, *reserves)
    elif tx.count(_RESERVE, *reserves) < len(reserves):
        raise Raced
    tx.run(_BOOK, *[(*account, micros) for account, micros in sorted(moves.items())])


def fitting(tx: Transaction, prices: Sequence[int | None], caps: Sequence[Cap]) -> int:
    """Return how many of the prices, from the first on, fit under all caps now.

    It raises `BudgetExceeded` if not even the first one does, or its price is not known.
    """
    left, total = {}, 0
    for cap in caps:
        sums = tx.all("SELECT micros FROM budgets WHERE period = ? AND scope = ?", *cap.row)
        left[cap] = cap.micros - (int(sums[0]["micros"]) if sums else 0)
    for count, price in enumerate(prices):
        tight = next((cap for cap in caps if price and total + price > left[cap]), None)
        is_unknown = price is None and bool(caps)
        if count and (tight or is_unknown):
            return count
        if is_unknown:
            raise BudgetExceeded(
                f"The model's price is not known here, so {caps[0].text} cannot be kept.",
                remedy="Nothing was sent; say what a picture costs in dollars, as"
                " IMAGEN_PRICE=0.04.",
            )
        if tight:
            raise _refusal(tight, left=left[tight], needed=price or 0)
        total += price or 0
    return len(prices)


def _refusal(cap: Cap, *, left: int, needed: int) -> BudgetExceeded:
    spent = dollars(to_dollars(cap.micros - left))
    help_ = f"{cap.remedy}{cap.later}"
    if needed > cap.micros:
        help_ = f"one such request costs more than the cap: {cap.remedy}"
    return BudgetExceeded(
        f"The request costs {dollars(to_dollars(needed))}; with {spent} spent or reserved"
        f" {cap.spent} it would pass {cap.text}.",
        remedy=f"Nothing was sent; {help_}.",
    )
