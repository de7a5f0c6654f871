"""The journal in a SQLite file of the home: opened late, private, durable, on this machine only.

A commit has reached the disk when it returns. Writes begin with BEGIN IMMEDIATE: processes queue
instead of failing. Threads share one connection, one transaction at a time.
"""

import contextlib
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from imagen_widget._journal.core import Journal
from imagen_widget._journal.migrate import migrate, newer
from imagen_widget._journal.owner import is_dead
from imagen_widget._journal.sql import SCHEMA, Transaction
from imagen_widget._store import FILE_MODE, create_file, make_folder, sync_folder, trouble
from imagen_widget.errors import JournalError

T = TypeVar("T")

FILE_NAME = "journal.sqlite3"
BUSY_SECONDS = 10.0

# WAL shares memory between processes, which these cannot do between machines.
_NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs\d?|cifs|smb\w*|afs|9p|ceph|lustre|gpfs|beegfs\w*|glusterfs|fuse\.(?!portal).*"
)
_MAX_WAITS = 20
_INHERITED: list[sqlite3.Connection] = []  # kept, because collecting one would close it


class SqliteTransaction(Transaction):
    """An open transaction of the file."""

    next_seq = "(SELECT MAX(seq) + 1 FROM jobs)"
    has_tally = True

    def __init__(
        self, connection: sqlite3.Connection, clock: Callable[[], float], *, has_prompts: bool
    ) -> None:
        self.connection = connection
        self.has_prompts = has_prompts
        self._clock = clock

    @property
    def now(self) -> float:
        return self._clock()

    def run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self.connection.execute(statement, values)

    def many(self, statement: str, rows: Sequence[Any]) -> int:
        return self.connection.executemany(statement, rows).rowcount if rows else 0

    def by(self, index: str) -> str:
        return f" INDEXED BY {index}"

    def faults(self) -> list[str]:
        found = [row["quick_check"] for row in self.run("PRAGMA quick_check")]
        problems = [] if found == ["ok"] else found
        counted = "SELECT state, deleted, pictures > 0, COUNT(*) FROM jobs GROUP BY 1, 2, 3"
        if self.run(f"{counted} EXCEPT SELECT * FROM tally").fetchall():
            problems.append("the counts by state are not those of the rows")
        if self.has_prompts:
            try:
                self.run("INSERT INTO prompts (prompts, rank) VALUES ('integrity-check', 1)")
            except sqlite3.DatabaseError:
                problems.append("the index of words is not that of the rows")
        return problems


class SqliteJournal(Journal):
    """The journal of one home folder, which is made with the first transaction."""

    lease_seconds = 300.0  # long: a dead process on the same host is noticed at once anyway
    submit_lease_seconds = 900.0  # a submit may be told five times to wait two minutes
    max_lease_seconds = 3600.0

    def __init__(
        self, home: Path, *, clock: Callable[[], float] = time.time, owner: str | None = None
    ) -> None:
        super().__init__(owner=owner)
        self.path = home.expanduser().absolute() / FILE_NAME
        self._clock = clock
        self._lock = threading.RLock()  # `together` holds it around calls that take it too
        self._pid = os.getpid()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._has_prompts = False
        self._group: SqliteTransaction | None = None

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._locked():
            self._close()

    def __del__(self, getpid: Callable[[], int] = os.getpid) -> None:  # `os` may be gone by then
        # From Python 3.13 on, sqlite3 complains of connections that are just dropped.
        if getattr(self, "_pid", None) == getpid():
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _is_dead(self, owner: str) -> bool:
        return is_dead(owner)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if os.getpid() != self._pid:  # a fork: the parent's connection and lock are not ours
            self._pid = os.getpid()
            self._lock = threading.RLock()
            if self._connection is not None:
                _INHERITED.append(self._connection)  # using or closing it harms the parent's
            self._connection = self._group = None
        with self._lock:
            yield

    def _transact(self, body: Callable[[Transaction], T], *, write: bool, after: str) -> T:
        with self._locked():
            try:
                if self._group is not None:
                    with _savepoint(self._group.connection):
                        return body(self._group)
                with self._transaction("IMMEDIATE" if write else "DEFERRED") as tx:
                    return body(tx)
            except (sqlite3.Error, OSError) as error:
                raise explain(error, self.path, after=after) from None

    @contextlib.contextmanager
    def _transaction(self, kind: str) -> Iterator[Transaction]:
        connection = self._opened()
        connection.execute(f"BEGIN {kind}")
        self._group = SqliteTransaction(connection, self._clock, has_prompts=self._has_prompts)
        try:
            yield self._group
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to tell
                connection.rollback()
            raise
        finally:
            self._group = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity != _identity(self.path):
            self._close()  # the file was moved away: rows must not go to where nobody finds them
        if self._connection is None:
            self._connection = _connect(self.path, self._clock)
            self._identity = _identity(self.path)
            self._has_prompts = _has_table(self._connection, "prompts")
        if self._connection.in_transaction:
            self._connection.rollback()  # left by an interrupt at the worst moment
        return self._connection


@contextlib.contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block as a part of a transaction, which is undone alone when it raises."""
    if not connection.in_transaction:  # a full disk, for one, has rolled all of it back
        message = "an earlier part has ended the transaction"
        raise sqlite3.OperationalError(message)
    connection.execute("SAVEPOINT part")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK TO part")
            connection.execute("RELEASE part")
        raise
    connection.execute("RELEASE part")


# ---------------------------------------------------------------------------------- the file


def _connect(path: Path, clock: Callable[[], float]) -> sqlite3.Connection:
    make_folder(path.parent)
    _make_private(path)
    connection = sqlite3.connect(
        path,
        timeout=BUSY_SECONDS,
        isolation_level=None,  # transactions begin and end where the code says so
        check_same_thread=False,  # button clicks come from any thread; the journal has a lock
    )
    try:
        connection.row_factory = _as_dict
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: an ordinary fsync stops in the drive
        if _version(connection) > SCHEMA:
            raise newer(_version(connection), "set IMAGEN_HOME to another folder")
        _choose_mode(connection, path)
        if _version(connection) != SCHEMA:
            migrate(connection, now=clock())
    except BaseException:
        connection.close()
        raise
    return connection


def _as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip([column[0] for column in cursor.description], row, strict=True))


def _make_private(path: Path) -> None:
    try:
        os.close(create_file(path))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            with contextlib.suppress(PermissionError):  # somebody else's file: SQLite will tell
                path.chmod(FILE_MODE)
    else:
        sync_folder(path.parent)


def _choose_mode(connection: sqlite3.Connection, path: Path) -> None:
    """Use WAL where the file system allows it, else a rollback journal."""
    wanted = "delete" if is_on_network(path.resolve(), mounts=_mounts()) else "wal"
    for _ in range(_MAX_WAITS):
        if _pragma(connection, "journal_mode") == wanted:
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


def is_on_network(path: Path, *, mounts: str) -> bool:
    """Return True if a path is on a network file system, by the text of /proc/self/mounts."""
    longest, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue  # device, folder, kind
        folder = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[1]))
        if len(folder.parts) >= longest and path.is_relative_to(folder):
            longest, kind = len(folder.parts), fields[2]
    return _NETWORK_FILE_SYSTEMS.fullmatch(kind) is not None


def _mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # not Linux: SQLite's own answer decides


def _version(connection: sqlite3.Connection) -> int:
    return int(_pragma(connection, "user_version"))


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[name]


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    return bool(
        connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


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
    extended: int = getattr(error, "sqlite_errorcode", 0)
    return extended & 0xFF


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
    sqlite3.SQLITE_READONLY: ("it is read-only", "Set IMAGEN_HOME to a folder that you may write."),
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
