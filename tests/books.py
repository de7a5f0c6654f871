"""What the journal's file says, read beside the package, so that agreement is evidence.

It may be read at any moment, by any thread and process: each look opens the file for itself.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE_NAME = "journal.sqlite3"
BUSY_SECONDS = 30.0
MICROS = 1_000_000


@dataclass(frozen=True)
class Row:
    """One job as the file has it; `price` and `cost` in US dollars, None if open."""

    id: str
    state: str
    prompt: str
    request_id: str
    ticket: str
    price: float | None
    cost: float | None
    trouble: str
    error: str
    owner: str
    lease_until: float
    series: str
    key: str


def home() -> Path:
    """Return the home of the test."""
    return Path(os.environ["IMAGEN_HOME"])


def rows(folder: Path | None = None) -> list[Row]:
    """Return all jobs, in the order of sending; none if there is no file or no table yet."""
    path = (folder or home()) / FILE_NAME
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as db:
        db.row_factory = sqlite3.Row
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchone():
            return []  # the file is there a moment before its tables
        return [_row(row) for row in db.execute("SELECT * FROM jobs ORDER BY seq")]


def _row(row: sqlite3.Row) -> Row:
    price, cost = (None if row[n] is None else row[n] / MICROS for n in ("price", "cost"))
    return Row(
        id=row["id"],
        state=row["state"],
        prompt=json.loads(row["request_text"])["arguments"].get("prompt", ""),
        request_id=row["request_id"] or "",
        ticket=row["ticket"] or "",
        price=price,
        cost=cost,
        trouble=row["trouble"],
        error=row["error"] or "",
        owner=row["owner"],
        lease_until=row["lease_until"],
        series=row["series"],
        key=row["row_key"],
    )


def states(folder: Path | None = None) -> list[str]:
    """Return the states of all jobs, in the order of sending."""
    return [row.state for row in rows(folder)]


def write(statement: str, *values: object, folder: Path | None = None) -> None:
    """Change the file, as no caller of the package can."""
    path = (folder or home()) / FILE_NAME
    with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as db, db:
        db.execute(statement, values)


def fail_at(state: str, folder: Path | None = None) -> None:
    """From now on no job can come to a state, as if the disk were full then."""
    write(
        "CREATE TRIGGER full_disk BEFORE UPDATE OF state ON jobs"
        f" WHEN NEW.state = '{state}' BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
        folder=folder,
    )


def heal(folder: Path | None = None) -> None:
    """Undo `fail_at`."""
    write("DROP TRIGGER full_disk", folder=folder)


def bury(folder: Path | None = None) -> None:
    """Have all jobs belong to a process that has died."""
    write("UPDATE jobs SET owner = ?", dead_owner(), folder=folder)


@cache
def dead_owner() -> str:
    """Return the name under which a process that has died held its jobs."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=60)
    return f"{platform.node()}:{ended.pid}::gone"


def pictures(folder: Path | None = None) -> int:
    """Count the pictures on disk, and fail if one of them is not whole."""
    files = [path for path in ((folder or home()) / "images").rglob("*") if path.is_file()]
    assert not [path for path in files if ".part" in path.name]
    return len(files)
