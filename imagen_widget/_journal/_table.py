"""The journal's statements, each a function of an open transaction.

Nothing here begins or ends one, knows the time, or knows which process it is in.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from imagen_widget._journal._rows import (
    IllegalStep,
    ImageRow,
    JobRow,
    State,
    check_step,
    read_job,
    storable,
)
from imagen_widget.errors import one_line

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from imagen_widget._request import ImageRequest

_SPENT = "COALESCE(SUM(COALESCE(cost, price, 0)), 0)"


# ------------------------------------------------------------------------------------- writing


def insert(
    db: sqlite3.Connection,
    request: ImageRequest,
    *,
    provider: str,
    base_url: str,
    price: int | None,
    created: float,
    owner: str,
    lease_until: float,
) -> str:
    """Write a new job as an intent and return its id; `price` is in millionths of a dollar."""
    job_id = str(uuid.uuid4())
    db.execute(
        "INSERT INTO jobs (id, state, provider, base_url, endpoint, prompt, request, fingerprint,"
        " price, created, owner, lease_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(job_id, State.INTENT, provider, base_url, request.model),
            *(storable(request.prompt), storable(request.to_json()), request.fingerprint),
            *(price, created, owner, lease_until),
        ),
    )
    return job_id


def step(db: sqlite3.Connection, job_id: str, state: State) -> sqlite3.Row:
    """Take a step that the law allows, and return the job's row as it was before.

    Raises:
        IllegalStep: It does not, or there is no such job.
    """
    before = row_of(db, job_id)
    check_step(State(before["state"]), state)
    db.execute("UPDATE jobs SET state = ? WHERE id = ?", (state, job_id))
    return before


def give_up(
    db: sqlite3.Connection, job_id: str, state: State, *, why: str | None, billed: bool
) -> None:
    """Take a step after which nobody works on the job; it costs nothing unless `billed`."""
    step(db, job_id, state)
    db.execute(
        "UPDATE jobs SET error = ?, lease_until = 0, cost = CASE WHEN ? THEN cost ELSE 0 END"
        " WHERE id = ?",
        (None if why is None else storable(one_line(why)), billed, job_id),
    )


def finish(db: sqlite3.Connection, job_id: str, *, cost: int | None) -> None:
    """Close a job with its cost in millionths of a dollar; None means the reserved price."""
    step(db, job_id, State.DONE)
    db.execute("UPDATE jobs SET cost = COALESCE(?, price) WHERE id = ?", (cost, job_id))


def keep_ticket(db: sqlite3.Connection, job_id: str, *, ticket_json: str, request_id: str) -> None:
    """Store the provider's ticket."""
    db.execute(
        "UPDATE jobs SET ticket = ?, request_id = ?, error = NULL WHERE id = ?",
        (storable(ticket_json), storable(request_id), job_id),
    )


def keep_outcome(
    db: sqlite3.Connection,
    job_id: str,
    *,
    seconds: float | None,
    seed: int | None,
    description: str,
    urls: Sequence[str],
) -> None:
    """Store what the provider told of the finished job."""
    db.execute(
        "UPDATE jobs SET seconds = ?, seed = ?, description = ?, urls = ? WHERE id = ?",
        (
            *(seconds, None if seed is None else str(seed)),
            *(storable(description), json.dumps(list(urls)), job_id),
        ),
    )


def keep_images(db: sqlite3.Connection, job_id: str, images: Sequence[ImageRow]) -> None:
    """Store the facts of the kept pictures."""
    db.executemany(
        "INSERT INTO images (job, position, digest, media_type, width, height, size, url)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(job_id, image.index, image.digest, image.media_type),
                *(image.width, image.height, image.size, storable(image.url)),
            )
            for image in images
        ],
    )


def hold(db: sqlite3.Connection, job_id: str, *, owner: str, until: float) -> None:
    """Give a job to an owner until a moment in Unix seconds."""
    db.execute("UPDATE jobs SET owner = ?, lease_until = ? WHERE id = ?", (owner, until, job_id))


def let_go(db: sqlite3.Connection, job_id: str, *, owner: str) -> None:
    """Take a job from its owner, where it is still that one."""
    db.execute("UPDATE jobs SET lease_until = 0 WHERE id = ? AND owner = ?", (job_id, owner))


# ------------------------------------------------------------------------------------- reading


def row_of(db: sqlite3.Connection, job_id: str) -> sqlite3.Row:
    """Return one job's table row.

    Raises:
        IllegalStep: There is none of that id.
    """
    row: sqlite3.Row | None = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise IllegalStep(
            f"The journal has no job {job_id[:40]}.", remedy="List the jobs with %imagen_history."
        )
    return row


def job(db: sqlite3.Connection, job_id: str) -> JobRow:
    """Return one job.

    Raises:
        IllegalStep: There is none of that id.
    """
    return _value(db, row_of(db, job_id))


def jobs(
    db: sqlite3.Connection,
    *,
    state: State | None,
    provider: str | None,
    contains: str | None,
    limit: int | None,
) -> list[JobRow]:
    """Return the jobs that fit, newest first."""
    rows = db.execute(
        "SELECT * FROM jobs WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR provider = ?2)"
        " AND (?3 IS NULL OR holds_words(prompt, ?3)) ORDER BY seq DESC LIMIT ?4",
        (state, provider, storable(contains), -1 if limit is None else limit),
    )
    return [_value(db, row) for row in rows.fetchall()]


def newest_done(db: sqlite3.Connection, fingerprint: str, *, provider: str) -> JobRow | None:
    """Return the newest done job of this meaning that has pictures, or None."""
    row = db.execute(
        "SELECT * FROM jobs WHERE fingerprint = ? AND provider = ? AND state = ?"
        " AND EXISTS (SELECT 1 FROM images WHERE images.job = jobs.id) ORDER BY seq DESC LIMIT 1",
        (fingerprint, provider, State.DONE),
    ).fetchone()
    return None if row is None else _value(db, row)


def rows_in(db: sqlite3.Connection, *states: State) -> list[sqlite3.Row]:
    """Return the table rows of the jobs in these states, oldest first."""
    found = [row for s in states for row in db.execute("SELECT * FROM jobs WHERE state = ?", (s,))]
    return sorted(found, key=lambda row: int(row["seq"]))


def spent(db: sqlite3.Connection, since: float) -> int:
    """Return the millionths of a dollar spent or reserved since a moment in Unix seconds."""
    total: int = db.execute(
        f"SELECT {_SPENT} FROM jobs WHERE created >= ?",  # noqa: S608 - our own constant
        (since,),
    ).fetchone()[0]
    return total


def spent_by_model(db: sqlite3.Connection, since: float) -> dict[str, int]:
    """Return the same by endpoint id, the dearest first."""
    rows = db.execute(
        f"SELECT endpoint, {_SPENT} FROM jobs WHERE created >= ?"  # noqa: S608 - our own constant
        " GROUP BY endpoint ORDER BY 2 DESC, endpoint",
        (since,),
    )
    return dict(rows.fetchall())


def service_times(
    db: sqlite3.Connection, endpoint: str, *, provider: str, limit: int
) -> list[float]:
    """Return how many seconds the latest done jobs of a model took, newest first."""
    rows = db.execute(
        "SELECT seconds FROM jobs WHERE endpoint = ? AND provider = ? AND state = ?"
        " AND seconds IS NOT NULL ORDER BY seq DESC LIMIT ?",
        (endpoint, provider, State.DONE, limit),
    )
    return [row["seconds"] for row in rows]


def _value(db: sqlite3.Connection, row: sqlite3.Row) -> JobRow:
    return read_job(row, _images(db, row["id"]))


def _images(db: sqlite3.Connection, job_id: str) -> Iterator[ImageRow]:
    for row in db.execute("SELECT * FROM images WHERE job = ? ORDER BY position", (job_id,)):
        _, *facts = row
        yield ImageRow(*facts)
