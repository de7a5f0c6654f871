"""The journal in a SQLite file of the home: opened late, private, durable, on this machine only.

A commit has reached the disk when it returns. Writes begin with BEGIN IMMEDIATE: processes queue
instead of failing. Threads share one connection, one transaction at a time.
"""

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from imagen_widget._journal import tables
from imagen_widget._journal.journal import MAX_LEASE_SECONDS, Journal, is_dead
from imagen_widget._journal.tables import AMOUNT, BUDGETS, SCHEMA, Transaction
from imagen_widget._request import ImageRequest
from imagen_widget._store import FILE_MODE, make_folder, sync_folder, trouble
from imagen_widget.errors import InvalidRequest, JournalError

T = TypeVar("T")

FILE_NAME = "journal.sqlite3"
BUSY_SECONDS = 10.0

_MAX_WAITS = 20
_VERSION = "PRAGMA user_version"  # of the schema
_MOUNTS = Path("/proc/self/mounts")
# WAL shares memory between processes, which these cannot do between machines.
_NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs\d?|cifs|smb\w*|afs|9p|ceph|lustre|gpfs|beegfs\w*|glusterfs|fuse\.(?!portal).*"
)
_name_of = itemgetter(0)  # of a column


def open_journal(home: Path, address: str | None = None) -> Journal:
    """Return the journal of a home, or the one at the `postgresql://` address of IMAGEN_JOURNAL."""
    if not address:
        return SqliteJournal(home)
    if address.partition("://")[0] not in {"postgresql", "postgres"}:
        raise InvalidRequest(
            "IMAGEN_JOURNAL is not the address of a PostgreSQL database.",
            remedy="Write it as postgresql://user:password@host/database, or unset it.",
            field="journal",
        )
    try:
        from imagen_widget._journal.postgres import PostgresJournal
    except ImportError:
        raise InvalidRequest(
            "IMAGEN_JOURNAL names a PostgreSQL database, and psycopg is not installed.",
            remedy="pip install 'psycopg[binary,pool]', or unset IMAGEN_JOURNAL.",
            field="journal",
        ) from None
    return PostgresJournal(address)


@dataclass(eq=False)
class SqliteTransaction(Transaction):
    """An open transaction of the file."""

    connection: sqlite3.Connection
    now: float
    has_prompts: bool
    next_seq = "(SELECT MAX(seq) + 1 FROM jobs)"
    by = " INDEXED BY {}"
    has_tally = True

    def run(self, statement: str, *rows: Sequence[Any]) -> None:
        self.connection.executemany(statement, rows)

    def count(self, statement: str, *rows: Sequence[Any]) -> int:
        return self.connection.executemany(statement, rows).rowcount if rows else 0

    def all(self, statement: str, *values: Any) -> list[Any]:
        cursor, rows = self.connection.execute(statement, values), []
        names = list(map(_name_of, cursor.description or ()))
        for row in cursor:  # as dicts, of which pages are read twice as fast as of sqlite3.Row
            rows.append(dict(zip(names, row, strict=True)))
        return rows

    def flush(self) -> None:
        """Nothing waits."""

    def faults(self) -> list[str]:
        found = [row["quick_check"] for row in self.all("PRAGMA quick_check")]
        problems = [] if found == ["ok"] else found
        counted = "SELECT state, deleted, pictures > 0, COUNT(*) FROM jobs GROUP BY 1, 2, 3"
        if self.all(f"{counted} EXCEPT SELECT * FROM tally"):
            problems.append("the counts by state do not match the rows")
        if self.has_prompts:
            try:
                self.all("INSERT INTO prompts (prompts, rank) VALUES ('integrity-check', 1)")
            except sqlite3.DatabaseError:
                problems.append("the index of words does not match the rows")
        return problems


class SqliteJournal(Journal):
    """The journal of one home folder, which is made with the first transaction."""

    lease_seconds = 120.0  # a dead process on the same host is noticed at once anyway
    is_shared = False
    clock: Callable[[], float] = staticmethod(time.time)

    def __init__(self, home: Path) -> None:
        self.path = home.expanduser().absolute() / FILE_NAME
        self._facts: os.stat_result  # of the file that is open
        self._has_prompts = False
        self._begin_process()

    def _transact(
        self, body: Callable[..., T], *args: Any, write: bool, after: str, **kwargs: Any
    ) -> T:
        with self._lock:
            try:
                connection = self._connection()
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN DEFERRED")
                try:
                    tx = SqliteTransaction(connection, self.clock(), self._has_prompts)
                    result = body(tx, *args, **kwargs)
                    connection.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):  # the first error is the one to tell
                        connection.rollback()
                    raise
                return result
            except (sqlite3.Error, OSError) as error:
                raise explain(error, self.path, after=after) from None

    def _connection(self) -> sqlite3.Connection:
        """Return the connection: the one there is, unless its file was moved away.

        Rows must not go to where nobody finds them.
        """
        opened: sqlite3.Connection | None = self._opened
        if opened is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat(self._facts, self.path.stat()):
                    if opened.in_transaction:
                        opened.rollback()  # left by an interrupt at the worst moment
                    return opened
            self._close()
        make_folder(self.path.parent)
        try:
            self.path.touch(FILE_MODE, exist_ok=False)
            self.path.chmod(FILE_MODE)  # whatever the umask is
            sync_folder(self.path.parent)
        except FileExistsError:
            if self.path.stat().st_mode & 0o077:
                with contextlib.suppress(PermissionError):  # somebody else's: SQLite will tell
                    self.path.chmod(FILE_MODE)
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_SECONDS,
            isolation_level=None,  # transactions begin and end where the code says so
            check_same_thread=False,  # button clicks come from any thread; the journal has a lock
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync stops in the drive
            while (version := connection.execute(_VERSION).fetchone()[0]) != SCHEMA:
                if version > SCHEMA:  # which is left as it is
                    raise tables.newer(version, "set IMAGEN_HOME to another folder")
                _make_schema(connection, now=self.clock())
            _choose_mode(connection, self.path)
            known = "SELECT 1 FROM sqlite_master WHERE name = 'prompts'"
            self._has_prompts = connection.execute(known).fetchone() is not None
            self._facts = self.path.stat()
        except BaseException:
            connection.close()
            raise
        self._opened = connection
        return connection


# ---------------------------------------------------------------------------------- the file


def _choose_mode(connection: sqlite3.Connection, path: Path) -> None:
    wanted = "delete" if _is_on_network(path.resolve()) else "wal"
    for _ in range(_MAX_WAITS):
        if connection.execute("PRAGMA journal_mode").fetchone() == (wanted,):
            return
        try:
            connection.execute(f"PRAGMA journal_mode = {wanted}")
        except sqlite3.OperationalError as error:
            if _code(error) not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise
            # The change of mode does not queue behind other processes, a transaction does.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
        else:
            return  # a file system that cannot do it keeps the mode it has, which is safe too


def _is_on_network(path: Path) -> bool:
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False  # not Linux: SQLite's own answer decides
    longest, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue  # device, folder, kind
        folder = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[1]))
        if len(folder.parts) >= longest and path.is_relative_to(folder):
            longest, kind = len(folder.parts), fields[2]
    return _NETWORK_FILE_SYSTEMS.fullmatch(kind) is not None


# -------------------------------------------------------------------------------- the schema

_SPELLING = {
    "id": "INTEGER PRIMARY KEY",
    "whole": "INTEGER",
    "real": "REAL",
    "end": "WITHOUT ROWID",
}
_ADD_ONE = (
    "INSERT INTO tally VALUES (new.state, new.deleted, new.pictures > 0, 1)"
    " ON CONFLICT (state, deleted, pictures) DO UPDATE SET n = n + 1;"
)
_TAKE_ONE = (
    "UPDATE tally SET n = n - 1"
    " WHERE (state, deleted, pictures) = (old.state, old.deleted, old.pictures > 0);"
)
_TALLY = (
    "CREATE TABLE tally (state TEXT NOT NULL, deleted INTEGER NOT NULL, pictures INTEGER NOT NULL,"
    " n INTEGER NOT NULL, PRIMARY KEY (state, deleted, pictures)) WITHOUT ROWID",
    "INSERT INTO tally SELECT state, deleted, pictures > 0, COUNT(*) FROM jobs GROUP BY 1, 2, 3",
    f"CREATE TRIGGER tally_new AFTER INSERT ON jobs BEGIN {_ADD_ONE} END",
    f"CREATE TRIGGER tally_gone AFTER DELETE ON jobs BEGIN {_TAKE_ONE} END",
    "CREATE TRIGGER tally_change AFTER UPDATE OF state, deleted, pictures ON jobs"
    f" BEGIN {_TAKE_ONE} {_ADD_ONE} END",
)
# Words are indexed from when a job is sent: planning thousands of rows costs nothing here.
_ADD_WORDS = "INSERT INTO prompts (rowid, words) VALUES (new.seq, new.words);"
_TAKE_WORDS = "INSERT INTO prompts (prompts, rowid, words) VALUES ('delete', old.seq, old.words);"
_PROBE = "CREATE VIRTUAL TABLE temp.probe USING fts5(x, tokenize='trigram')"  # from SQLite 3.34 on
_PROMPTS = (
    "CREATE VIEW sent_words AS SELECT seq, words FROM jobs WHERE state <> 'waiting'",
    "CREATE VIRTUAL TABLE prompts USING fts5(words, content='sent_words', content_rowid='seq',"
    " tokenize='trigram case_sensitive 1')",
    "INSERT INTO prompts (prompts) VALUES ('rebuild')",
    "CREATE TRIGGER prompts_new AFTER INSERT ON jobs WHEN new.state <> 'waiting'"
    f" BEGIN {_ADD_WORDS} END",
    "CREATE TRIGGER prompts_sent AFTER UPDATE OF state ON jobs"
    f" WHEN old.state = 'waiting' AND new.state <> 'waiting' BEGIN {_ADD_WORDS} END",
    "CREATE TRIGGER prompts_returned AFTER UPDATE OF state ON jobs"
    f" WHEN old.state <> 'waiting' AND new.state = 'waiting' BEGIN {_TAKE_WORDS} END",
    "CREATE TRIGGER prompts_gone AFTER DELETE ON jobs WHEN old.state <> 'waiting'"
    f" BEGIN {_TAKE_WORDS} END",
)


def _make_schema(connection: sqlite3.Connection, *, now: float) -> None:
    """Make the tables in an empty file, or from those of version 0.1, in one transaction."""
    made = tables.TABLES.format(**_SPELLING).split(";")
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again: another process may have been quicker.
        (version,) = connection.execute(_VERSION).fetchone()
        if version == 1:
            _migrate(connection, made, now=now)
            made = []
        if version < SCHEMA:
            added = [*tables.INDEXES, *_TALLY, f"PRAGMA user_version = {SCHEMA}"]
            with contextlib.suppress(sqlite3.OperationalError):  # words are looked for row by row
                connection.execute(_PROBE)
                connection.execute("DROP TABLE temp.probe")
                added += _PROMPTS
            for statement in (*made, *added):
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.rollback()
        raise


# ----------------------------------------------------------------------- the file of version 0.1


def _migrate(connection: sqlite3.Connection, made: Iterable[str], *, now: float) -> None:
    """Make the tables and bring version 0.1's rows into them, in the caller's transaction.

    Nothing is lost: what is damaged stays as it is, and is told when it is read.
    """
    _check_idle(connection, now)
    _execute(
        connection,
        *("DROP INDEX jobs_by_day", "DROP INDEX jobs_by_meaning", "DROP INDEX jobs_by_state"),
        "ALTER TABLE jobs RENAME TO old_jobs",
        "ALTER TABLE images RENAME TO old_images",
        *made,
    )
    columns = ("seq", *tables.JOB_COLUMNS)
    connection.executemany(tables.insert("jobs", columns), _rows(connection))
    _execute(
        connection,
        "INSERT INTO images SELECT job, position, digest, media_type, width, height, size,"
        " CASE WHEN url LIKE 'data:%' THEN NULL ELSE url END, 0 FROM old_images",
        "UPDATE jobs SET pictures = (SELECT COUNT(*) FROM images WHERE job = jobs.id)"
        " WHERE state = 'done'",
        f"INSERT INTO spending SELECT day, provider, model, who, series, SUM({AMOUNT}) AS n"
        " FROM jobs GROUP BY 1, 2, 3, 4, 5 HAVING n <> 0",
        f"INSERT INTO budgets SELECT period, scope, SUM(micros) FROM ({BUDGETS}) GROUP BY 1, 2",
        *("DROP TABLE old_images", "DROP TABLE old_jobs"),
    )


def _execute(connection: sqlite3.Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


def _check_idle(connection: sqlite3.Connection, now: float) -> None:
    """Refuse while a kernel with version 0.1 is at work: it could not store what it gets."""
    for owner, lease_until in connection.execute(
        "SELECT owner, lease_until FROM jobs WHERE state IN"
        " ('intent', 'submitting', 'submitted', 'completed', 'downloaded')"
    ):
        held = 0 < lease_until - now <= MAX_LEASE_SECONDS
        if held and not is_dead(owner, shared=False):
            host, pid, *_ = f"{owner}:".split(":")
            raise JournalError(
                f"A notebook with an older imagen_widget is at work (process {pid} on {host}).",
                remedy="Nothing was sent; let it finish or restart its kernel, then try again.",
            )


def _rows(connection: sqlite3.Connection) -> Iterator[list[object]]:
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    for row in cursor.execute("SELECT * FROM old_jobs ORDER BY seq"):
        values = _values(dict(row))
        yield [values["seq"], *tables.job_row(values)]


def _values(old: dict[str, Any]) -> dict[str, Any]:
    new = {"request_text": old["request"]}
    with contextlib.suppress(Exception):
        request = ImageRequest.from_json(old["request"])
        text = tables.storable(request.to_json())
        new = {"request_text": text, "fingerprint": request.fingerprint}
    if old["state"] == "downloaded":  # a state of its own then: the pictures are whole
        new |= {"state": "done", "cost": old["price"]}
    if old["state"] not in {"submitted", "completed"}:  # else its bytes are nowhere else
        for name, without_bytes in (("ticket", None), ("urls", "[]")):
            if "data:" in (old[name] or ""):
                new[name] = without_bytes
    return {
        **dict.fromkeys(("cost_source", "elapsed", "revised_prompt", "units")),
        **dict.fromkeys(("trouble", "who", "series", "row_key"), ""),
        **dict.fromkeys(("filtered", "pictures", "rating", "ordinal", "deleted"), 0),
        **old,
        **new,
        "model": old["endpoint"],
        "words": tables.storable((old["prompt"] or "").casefold()),
        "created_at": old["created"],
        "day": tables.day_of(old["created"]),
        "axes_text": "{}",
        "planned": 1,
    }


# ------------------------------------------------------------------------------------ errors


def explain(error: sqlite3.Error | OSError, path: Path, *, after: str) -> JournalError:
    """Return the one line that says what is wrong with the journal and what to do about it."""
    if isinstance(error, OSError):
        return trouble(error, path, doing="The journal cannot be used", after=after)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    unknown = (f"{error} ({name})", "Set IMAGEN_HOME to a folder on a disk that works.")
    what, remedy = _REASONS.get(_code(error), unknown)
    return JournalError(
        f"The journal cannot be used: {what} ({path}).", remedy=f"{after} {remedy}".strip()
    )


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # without what extends it


_LOCKED = (
    f"another program has kept it locked for {BUSY_SECONDS:.0f} seconds",
    "Close what else has it open, then try again.",
)
_DAMAGED = (
    "it is damaged or not an SQLite database",
    "Restore it from a copy, or move it away to begin a new one; the pictures stay.",
)
_REASONS = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_FULL: ("the disk is full", "Free some space and try again."),
    sqlite3.SQLITE_READONLY: (
        "it is read-only",
        "Set IMAGEN_HOME to a writable folder.",
    ),
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
