"""The journal's SQLite file: opened late, private, durable, brought up to the newest schema.

A commit has reached the disk when it returns. Callers hold a lock: one transaction at a time.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from imagen_widget._home import FILE_MODE, create_file, make_folder, sync_folder, trouble
from imagen_widget.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BUSY_SECONDS = 10.0

# Forward only: a version is the number of entries applied. Never edit an entry, add one.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY,    -- the order of writing, whatever the clock did
            id TEXT NOT NULL UNIQUE,
            state TEXT NOT NULL,
            provider TEXT NOT NULL,
            base_url TEXT NOT NULL,
            endpoint TEXT NOT NULL,
            prompt TEXT NOT NULL,       -- for searching; the request has it too
            request TEXT NOT NULL,      -- JSON
            fingerprint TEXT NOT NULL,
            request_id TEXT,
            ticket TEXT,                -- JSON
            price INTEGER,              -- millionths of a US dollar
            cost INTEGER,               -- millionths of a US dollar
            created REAL NOT NULL,      -- Unix seconds
            seconds REAL,
            error TEXT,
            seed TEXT,                  -- text, because some providers' seeds pass 64 bits
            description TEXT NOT NULL DEFAULT '',
            urls TEXT NOT NULL DEFAULT '[]',
            owner TEXT NOT NULL,
            lease_until REAL NOT NULL   -- Unix seconds; 0 = free
        )
        """,
        """
        CREATE TABLE images (
            job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            digest TEXT NOT NULL,
            media_type TEXT NOT NULL,
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            size INTEGER NOT NULL,
            url TEXT,
            PRIMARY KEY (job, position)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX jobs_by_day ON jobs (created)",
        "CREATE INDEX jobs_by_meaning ON jobs (fingerprint, provider, state)",
        "CREATE INDEX jobs_by_state ON jobs (state, endpoint, provider)",
    ),
)

# WAL shares memory between processes, which these cannot do between machines.
_NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs\d?|cifs|smb\w*|afs|9p|ceph|lustre|gpfs|beegfs\w*|glusterfs|fuse\.(?!portal).*"
)
_TURNS_TO_WAIT = 20


class JournalFile:
    """One connection to the file at `path`, which is made with its first transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._group: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def group(self) -> Iterator[None]:
        """Run the block's transactions as one, with one write to the disk.

        One that fails is undone alone; when the block ends well, all the others are on disk, and
        when it does not, none is.

        Raises:
            OSError: As `transaction`.
            sqlite3.Error: As `transaction`.
            JournalError: As `transaction`.
        """
        with self.transaction("IMMEDIATE") as connection:
            self._group = connection
            try:
                yield
            finally:
                self._group = None

    @contextlib.contextmanager
    def transaction(self, kind: Literal["IMMEDIATE", "DEFERRED"]) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction: all of it, or nothing when it raises.

        Raises:
            OSError: The file cannot be made or opened.
            sqlite3.Error: It cannot be read or written.
            JournalError: A newer version of the package has written it.
        """
        if self._group is not None:
            with _part_of(self._group) as connection:
                yield connection
            return
        connection = self._opened()
        connection.execute(f"BEGIN {kind}")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to tell
                connection.rollback()
            raise

    def close(self) -> None:
        """Close the connection; the next transaction opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        self.close()  # from Python 3.13 on, sqlite3 complains of connections that are just dropped

    def abandon(self) -> None:
        """Forget a connection inherited through a fork: using or closing it harms the parent's."""
        if self._connection is not None:
            _INHERITED.append(self._connection)
            self._connection = self._group = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity != _identity(self.path):
            self.close()  # the file was moved away: rows must not go to where nobody finds them
        if self._connection is None:
            self._connection = _connect(self.path)
            self._identity = _identity(self.path)
        if self._connection.in_transaction:
            self._connection.rollback()  # left by an interrupt at the worst moment
        return self._connection


@contextlib.contextmanager
def _part_of(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run the block as a part of a transaction, which is undone alone when it raises."""
    if not connection.in_transaction:  # a full disk, for one, has rolled all of it back
        message = "an earlier part has ended the transaction"
        raise sqlite3.OperationalError(message)
    connection.execute("SAVEPOINT part")
    try:
        yield connection
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK TO part")
            connection.execute("RELEASE part")
        raise
    connection.execute("RELEASE part")


_INHERITED: list[sqlite3.Connection] = []  # kept, because collecting one would close it


def explain(error: sqlite3.Error | OSError, path: Path, *, after: str) -> JournalError:
    """Return the one line that says what is wrong with the journal and what to do about it."""
    if isinstance(error, OSError):
        return trouble(error, path, doing="The journal cannot be used", after=after)
    what, remedy = _reading(error)
    return JournalError(
        f"The journal cannot be used: {what} ({path}).", remedy=f"{after} {remedy}".strip()
    )


def migrate(
    connection: sqlite3.Connection, *, migrations: Sequence[Sequence[str]] = MIGRATIONS
) -> None:
    """Bring the file's schema up to the newest version, in one transaction.

    Raises:
        JournalError: The file's version is newer than the newest known here.
    """
    if not _missing(connection, migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again, because another process may have been quicker:
        for statements in _missing(connection, migrations):
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _missing(
    connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]
) -> Sequence[Sequence[str]]:
    version = _version(connection)
    if version > len(migrations):
        raise JournalError(
            f"The journal was written by a newer imagen_widget (schema {version}, known here:"
            f" {len(migrations)}).",
            remedy="Upgrade imagen-widget, or set IMAGEN_HOME to another folder.",
        )
    return migrations[version:]


def is_on_network(path: Path, *, mounts: str) -> bool:
    """Tell whether a path is on a network file system, by the text of /proc/self/mounts."""
    longest, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:  # noqa: PLR2004 - device, folder, kind
            continue
        folder = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[1]))
        if len(folder.parts) >= longest and path.is_relative_to(folder):
            longest, kind = len(folder.parts), fields[2]
    return _NETWORK_FILE_SYSTEMS.fullmatch(kind) is not None


def _connect(path: Path) -> sqlite3.Connection:
    make_folder(path.parent)
    _make_private(path)
    connection = sqlite3.connect(
        path,
        timeout=BUSY_SECONDS,
        isolation_level=None,  # transactions begin and end where the code says so
        check_same_thread=False,  # button clicks come from any thread; the journal has a lock
    )
    try:
        connection.row_factory = sqlite3.Row
        connection.create_function("holds_words", 2, _holds_words, deterministic=True)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: an ordinary fsync stops in the drive
        _choose_mode(connection, path)
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


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
    if _version(connection) > len(MIGRATIONS):
        return  # a newer package decides how its file is kept
    wanted = "delete" if is_on_network(path.resolve(), mounts=_mounts()) else "wal"
    for _ in range(_TURNS_TO_WAIT):
        if connection.execute("PRAGMA journal_mode").fetchone()[0] == wanted:
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


def _mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # no Linux: SQLite's own answer decides


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _holds_words(text: str, words: str) -> bool:
    folded = text.casefold()
    return all(word in folded for word in words.casefold().split())


def _code(error: sqlite3.Error) -> int:
    extended: int = getattr(error, "sqlite_errorcode", 0)
    return extended & 0xFF


def _reading(error: sqlite3.Error) -> tuple[str, str]:
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return (
                f"another program has kept it locked for {BUSY_SECONDS:.0f} seconds",
                "Close what else has it open, then try again.",
            )
        case sqlite3.SQLITE_FULL:
            return "the disk is full", "Free some space and try again."
        case sqlite3.SQLITE_READONLY:
            return "it is read-only", "Set IMAGEN_HOME to a folder that you may write."
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return (
                "it is damaged or no SQLite database",
                "Restore it from a copy, or move it away to start anew; the pictures stay.",
            )
        case _:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            return f"{error} ({name})", "Set IMAGEN_HOME to a folder on a disk that works."
