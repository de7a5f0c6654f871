"""The journal of version 0.1 in today's tables; nothing is lost: what is damaged stays as it is."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from imagen_widget._journal.core import is_dead
from imagen_widget._journal.tables import (
    AMOUNT,
    BUDGETS,
    JOB_COLUMNS,
    day_of,
    folded,
    insert,
    storable,
)
from imagen_widget._request import ImageRequest
from imagen_widget.errors import JournalError

_MAX_OLD_LEASE_SECONDS = 3600


def migrate(connection: sqlite3.Connection, tables: Iterable[str], *, now: float) -> None:
    """Make the tables and bring the rows into them, in the caller's transaction.

    Raises:
        JournalError: A kernel with the older version is at work.
    """
    _check_idle(connection, now)
    for statement in (
        "DROP INDEX jobs_by_day",
        "DROP INDEX jobs_by_meaning",
        "DROP INDEX jobs_by_state",
        "ALTER TABLE jobs RENAME TO old_jobs",
        "ALTER TABLE images RENAME TO old_images",
        *tables,
    ):
        connection.execute(statement)
    connection.executemany(insert("jobs", ("seq", *JOB_COLUMNS)), _rows(connection))
    for statement in (
        "INSERT INTO images SELECT job, position, digest, media_type, width, height, size,"
        " CASE WHEN url LIKE 'data:%' THEN NULL ELSE url END, 0 FROM old_images",
        "UPDATE jobs SET pictures = (SELECT COUNT(*) FROM images WHERE job = jobs.id)"
        " WHERE state IN ('done', 'downloaded')",
        f"INSERT INTO spending SELECT day, provider, model, who, series, SUM({AMOUNT}) AS n"
        " FROM jobs GROUP BY 1, 2, 3, 4, 5 HAVING n <> 0",
        f"INSERT INTO budgets SELECT period, scope, SUM(micros) FROM ({BUDGETS}) GROUP BY 1, 2",
        "DROP TABLE old_images",
        "DROP TABLE old_jobs",
    ):
        connection.execute(statement)


def _check_idle(connection: sqlite3.Connection, now: float) -> None:
    """Refuse while a kernel with the old version is at work: it could not store what it gets."""
    for row in connection.execute(
        "SELECT owner, lease_until FROM jobs WHERE state IN"
        " ('intent', 'submitting', 'submitted', 'completed', 'downloaded')"
    ):
        left = row["lease_until"] - now
        if 0 < left <= _MAX_OLD_LEASE_SECONDS and not is_dead(row["owner"], shared=False):
            host, pid, *_ = f"{row['owner']}:".split(":")
            raise JournalError(
                f"A notebook with an older imagen_widget is at work (process {pid} on {host}).",
                remedy="Nothing was sent; let it finish or restart its kernel, then try again.",
            )


def _rows(connection: sqlite3.Connection) -> Iterator[list[object]]:
    for row in connection.execute("SELECT * FROM old_jobs ORDER BY seq"):
        values = _values(row)
        yield [values["seq"], *(values[name] for name in JOB_COLUMNS)]


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
