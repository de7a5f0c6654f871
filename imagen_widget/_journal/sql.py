"""What the two back ends share: an open transaction, the tables, and rows as values.

Statements are written once, with `?` for values; a back end translates what its database spells
otherwise. Nothing here begins or ends a transaction.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from decimal import ROUND_CEILING, Decimal
from typing import Any, ClassVar

from imagen_widget._journal.transitions import KeptImage, Record, State, damaged

SCHEMA = 2  # the version of the tables below; 1 is what imagen_widget 0.1 wrote
MAX_VALUES = 500  # in one statement

_MICROS = 1_000_000  # money is kept in whole millionths of a dollar: no sum ever drifts


class Raced(Exception):
    """What was read has changed meanwhile, or the connection broke: the transaction runs again."""


class Transaction(ABC):
    """An open transaction of one back end; rows give their values by column name."""

    again = False  # whether an earlier attempt at the same may have been committed
    lock: ClassVar[str] = ""  # ends a SELECT whose rows stay locked
    skip: ClassVar[str] = ""  # the same, leaving out rows that another transaction has locked
    next_seq: ClassVar[str]  # an expression for the next number in the order of sending
    has_prompts = False  # whether the table `prompts` indexes the words that were sent
    has_tally = False  # whether the table `tally` counts jobs by state

    @property
    @abstractmethod
    def now(self) -> float:
        """The journal's time in Unix seconds."""

    @abstractmethod
    def run(self, statement: str, *values: object) -> Any:
        """Run one statement and return its cursor."""

    @abstractmethod
    def many(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        """Run a statement once for each row of values; return how many rows it changed in all."""

    def by(self, index: str) -> str:
        """Return what makes a SELECT use an index, where the database does not see it by itself."""
        return ""

    def faults(self) -> list[str]:
        """Return one line for each fault that the database itself can find."""
        return []

    def all(self, statement: str, *values: object) -> list[Any]:
        """Return the rows of a SELECT."""
        rows: list[Any] = self.run(statement, *values).fetchall()
        return rows

    def all_in(self, statement: str, chosen: Sequence[object], *values: object) -> list[Any]:
        """Return the rows of a SELECT that ends in `IN`, for the chosen values."""
        parts = [chosen[i : i + MAX_VALUES] for i in range(0, len(chosen), MAX_VALUES)]
        return [row for p in parts for row in self.all(f"{statement} {marks(p)}", *values, *p)]


def marks(values: Sequence[object]) -> str:
    """Return the list of marks that stands for values in a statement."""
    return f"({', '.join('?' * len(values)) or 'NULL'})"


# ------------------------------------------------------------------------------------- tables

# {id}: a whole number that counts up by itself; {whole}, {real}: 64 bits; {end}: how a table ends
_TABLES = """
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


def tables(**spelling: str) -> list[str]:
    """Return the statements that make the tables, as a database spells them."""
    return _TABLES.format(**spelling).split(";")


# ------------------------------------------------------------------------------------- values

Convert = Callable[[Any], Any]


def to_micros(amount: Decimal | None) -> int | None:
    """Return whole millionths of a dollar, rounded up: a reserve never comes out too small.

    Raises:
        ValueError: It is not an amount of money.
    """
    if amount is None:
        return None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{amount} is not an amount of money")
    return int((amount * _MICROS).to_integral_value(ROUND_CEILING))


def to_dollars(micros: int) -> Decimal:
    """Return US dollars."""
    return Decimal(micros) / _MICROS


def storable(text: str) -> str:
    """Return text that any database takes: a server's JSON can hold NULs and half characters."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def folded(prompt: str | None) -> str:
    """Return a prompt as it is searched, letter case aside."""
    return storable((prompt or "").casefold())


def _same(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value


_COLUMN_OF = {"user": "who", "key": "row_key"}  # words of SQL
_CONVERTED: dict[str, tuple[Convert, Convert]] = {  # to what is stored, and back; None stays None
    "state": (str, State),
    "price": (to_micros, to_dollars),
    "cost": (to_micros, to_dollars),
    "seed": (str, int),
    "urls": (json.dumps, lambda text: () if text == "[]" else tuple(json.loads(text))),
    "units": (str, Decimal),
    "planned": (int, bool),
    "deleted": (int, bool),
}
_FIELDS = [
    (f.name, _COLUMN_OF.get(f.name, f.name), *_CONVERTED.get(f.name, (_same, None)))
    for f in fields(Record)
    if f.name != "images"
]
JOB_COLUMNS = [
    *(column for _, column, *_ in _FIELDS if column != "seq"),
    *("pictures", "words", "day", "owner", "lease_until"),
]
IMAGE_COLUMNS = [
    *("job", "place", "digest", "media_type", "width", "height", "size", "url", "filtered")
]


def insert(table: str, columns: Sequence[str]) -> str:
    """Return the INSERT for one row."""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {marks(columns)}"


def values_of(record: Record) -> dict[str, Any]:
    """Return what a table row holds of a record, but for its number, words, day and owner."""
    values: dict[str, Any] = {"pictures": sum(not image.filtered for image in record.images)}
    for name, column, store, _ in _FIELDS:
        value = getattr(record, name)
        values[column] = None if value is None else store(value)
    del values["seq"]
    return values


def image_values(record: Record) -> list[list[object]]:
    """Return the rows of a record's pictures."""
    names = [f.name for f in fields(KeptImage)]
    return [
        [record.id, *(int(v) if isinstance(v, bool) else _same(v) for v in values)]
        for values in ([getattr(image, name) for name in names] for image in record.images)
    ]


def record_of(row: Mapping[str, Any], images: Iterable[Mapping[str, Any]] = ()) -> Record:
    """Return the value of a table row, and of its pictures' rows.

    Raises:
        JournalError: The row is damaged.
    """
    record = object.__new__(Record)  # its own __init__ takes three times as long: pages have many
    values = vars(record)
    try:
        for name, column, _, read in _FIELDS:
            value = row[column]
            values[name] = value if read is None or value is None else read(value)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise damaged(row["id"], error) from None
    values["images"] = tuple(_image_of(image) for image in images)
    return record


def _image_of(row: Mapping[str, Any]) -> KeptImage:
    values = [row[column] for column in IMAGE_COLUMNS[1:]]
    values[-1] = bool(values[-1])
    return KeptImage(*values)
