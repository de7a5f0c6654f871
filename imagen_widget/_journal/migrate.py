"""The SQLite schema: made in an empty file, or from what version 0.1 wrote, in one transaction.

A process that is killed in the middle leaves the file as it was. Nothing is lost: what cannot be
understood is kept as it is.
"""

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any

from imagen_widget._journal.money import Account, budgets_of, day_of
from imagen_widget._journal.owner import is_dead
from imagen_widget._journal.sql import (
    INDEXES,
    JOB_COLUMNS,
    SCHEMA,
    folded,
    insert,
    storable,
    tables,
)
from imagen_widget._request import ImageRequest
from imagen_widget.errors import JournalError

_MAX_OLD_LEASE_SECONDS = 3600
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


def migrate(connection: sqlite3.Connection, *, now: float) -> None:
    """Bring a file's schema up to this version's, in one transaction.

    Raises:
        JournalError: Its version is newer, or a kernel with the older version is at work on it.
        sqlite3.Error: The file cannot be written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again, because another process may have been quicker:
        version = int(connection.execute("PRAGMA user_version").fetchone()["user_version"])
        if version > SCHEMA:
            raise newer(version, "set IMAGEN_HOME to another folder")
        if version < SCHEMA:
            _make(connection, from_first=version == 1, now=now)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.rollback()
        raise


def newer(version: int, otherwise: str) -> JournalError:
    """Return the error for a journal that a newer version of the package has written."""
    return JournalError(
        f"The journal was written by a newer imagen_widget (schema {version}, known here:"
        f" {SCHEMA}).",
        remedy=f"Upgrade imagen-widget, or {otherwise}.",
    )


def _make(connection: sqlite3.Connection, *, from_first: bool, now: float) -> None:
    if from_first:
        _check_idle(connection, now)
        for index in ("jobs_by_day", "jobs_by_meaning", "jobs_by_state"):
            connection.execute(f"DROP INDEX {index}")
        connection.execute("ALTER TABLE jobs RENAME TO old_jobs")
        connection.execute("ALTER TABLE images RENAME TO old_images")
    spelling = {"id": "INTEGER PRIMARY KEY", "whole": "INTEGER", "real": "REAL"}
    for statement in tables(**spelling, end="WITHOUT ROWID"):
        connection.execute(statement)
    if from_first:
        _bring(connection)
    words = _PROMPTS if _can_index_words(connection) else ()
    for statement in (*INDEXES, *_TALLY, *words):
        connection.execute(statement)


def _can_index_words(connection: sqlite3.Connection) -> bool:
    """Return False before SQLite 3.34, or without FTS5: words are then looked for row by row."""
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.probe USING fts5(x, tokenize='trigram')")
    except sqlite3.OperationalError:
        return False
    connection.execute("DROP TABLE temp.probe")
    return True


# ------------------------------------------------------------------------- from version 0.1


def _check_idle(connection: sqlite3.Connection, now: float) -> None:
    """Refuse while a kernel with the old version is at work: it could not store what it gets."""
    for row in connection.execute(
        "SELECT owner, lease_until FROM jobs WHERE state IN"
        " ('intent', 'submitting', 'submitted', 'completed', 'downloaded')"
    ):
        if 0 < row["lease_until"] - now <= _MAX_OLD_LEASE_SECONDS and not is_dead(row["owner"]):
            host, pid, *_ = f"{row['owner']}:".split(":")
            raise JournalError(
                f"A notebook with an older imagen_widget is at work (process {pid} on {host}).",
                remedy="Nothing was sent; let it finish or restart its kernel, then try again.",
            )


def _bring(connection: sqlite3.Connection) -> None:
    """Copy the rows of version 0.1, and fill what is new."""
    spent: Counter[Account] = Counter()

    def rows() -> Iterator[list[object]]:
        for row in connection.execute("SELECT * FROM old_jobs ORDER BY seq"):
            values = _values(row)
            micros = values["price"] if values["cost"] is None else values["cost"]
            account = (values["day"], values["provider"], values["model"], "", "")
            spent[Account(*account)] += micros or 0
            yield [values["seq"], *(values[name] for name in JOB_COLUMNS)]

    connection.executemany(insert("jobs", ("seq", *JOB_COLUMNS)), rows())
    connection.execute(
        "INSERT INTO images SELECT job, position, digest, media_type, width, height, size,"
        " CASE WHEN url LIKE 'data:%' THEN NULL ELSE url END, 0 FROM old_images"
    )
    connection.execute(
        "UPDATE jobs SET pictures = (SELECT COUNT(*) FROM images WHERE job = jobs.id)"
        " WHERE state IN ('done', 'downloaded')"
    )
    spending = [(*account, micros) for account, micros in spent.items() if micros]
    connection.executemany("INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?)", spending)
    budgets = [(*row, micros) for row, micros in budgets_of(spent).items() if micros]
    connection.executemany("INSERT INTO budgets VALUES (?, ?, ?)", budgets)
    connection.execute("DROP TABLE old_images")
    connection.execute("DROP TABLE old_jobs")


def _values(old: dict[str, Any]) -> dict[str, Any]:
    """Return an old row's values; what is damaged stays as it is, and is told when it is read."""
    new = {"request_text": old["request"]}
    with contextlib.suppress(Exception):
        request = ImageRequest.from_json(old["request"])
        new = {"request_text": storable(request.to_json()), "fingerprint": request.fingerprint}
    with contextlib.suppress(ValueError):
        new["urls"] = _without_bytes(old["urls"])
        if old["state"] not in {"submitted", "completed"}:  # else its bytes are nowhere else
            new["ticket"] = _ticket_without_bytes(old["ticket"])
    return {
        **dict.fromkeys(("cost_source", "elapsed", "revised_prompt", "units")),
        **dict.fromkeys(("trouble", "who", "series", "row_key"), ""),
        **dict.fromkeys(("filtered", "pictures", "rating", "ordinal", "deleted"), 0),
        **old,
        **new,
        "model": old["endpoint"],
        "words": folded(old["prompt"]),
        "created_at": old["created"],
        "day": day_of(old["created"]).isoformat(),
        "axes_text": "{}",
        "planned": 1,
    }


def _without_bytes(urls: str) -> str:
    if "data:" not in urls:
        return urls
    return json.dumps([url for url in json.loads(urls) if url[:5].lower() != "data:"])


def _ticket_without_bytes(ticket: str | None) -> str | None:
    if ticket is None or "data:" not in ticket:
        return ticket
    fields = json.loads(ticket)
    outcome = fields.get("outcome") or {}
    kept = json.loads(_without_bytes(json.dumps(outcome.get("urls", []))))
    return json.dumps({**fields, "outcome": {**outcome, "urls": kept} if outcome else None})
