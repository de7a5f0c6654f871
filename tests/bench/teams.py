"""What a shared journal costs: a row over SQLite, and reservations against one cap."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from imagen_widget import Studio
from tests.bench.lines import Line
from tests.chaos.places import Place
from tests.fakequeue import FakeQueue
from tests.postgres import PostgresServer

PROCESSES = 20
COMMITS = 5  # that a row of a series takes on either database


def measured(*, smoke: bool) -> Iterator[Line]:
    """Yield the lines, on a server that waits for the disk."""
    rows, turns, units = (5, 1, 20) if smoke else (20, 15, 1_000)
    with contextlib.closing(PostgresServer(lasting=True)) as server:
        yield _overhead(server.make_database(), rows=rows, turns=turns)
        yield _reservations(server.make_database(), units=units)


def _overhead(address: str, *, rows: int, turns: int) -> Line:
    """Compare rows that run one after the other with the same rows on SQLite.

    Beside it stands how much more the same number of bare commits takes on the same disk.
    """
    with FakeQueue().serve() as url, tempfile.TemporaryDirectory() as folder:

        def taking(name: str, journal: str | None) -> Callable[[int], float]:
            studio = Studio(
                "kkiai",
                base_url=url,
                api_key="made-up",
                home=Path(folder) / name,
                journal=journal,
                store=f"{folder}/pictures",
                schemas="off",
            )

            def seconds(turn: int) -> float:
                series = studio.sweep("fox {n}", n=range(rows), name=f"turn {turn}")
                began = time.perf_counter()
                series.run(max_in_flight=1, quiet=True)
                return (time.perf_counter() - began) / rows

            seconds(-1)  # the first one makes the tables
            return seconds

        shared, own = taking("shared", address), taking("own", None)
        more, bare = [], []
        with (
            psycopg.connect(address, autocommit=True) as server,
            contextlib.closing(sqlite3.connect(f"{folder}/bare", isolation_level=None)) as file,
        ):
            file.execute("PRAGMA journal_mode = wal")
            for connection in (server, file):
                connection.execute("CREATE TABLE bare (n INTEGER)")
            for turn in range(turns):
                more.append(shared(turn) - own(turn))
                bare.append(_commits(server, rows) - _commits(file, rows))
    what = "a row of a series: PostgreSQL over SQLite"
    return Line(what, more, ("ms", 1e3), 0.005, f"{COMMITS} bare commits", bare, beside=True)


def _commits(connection: Any, rows: int) -> float:
    """Return the seconds of a row's commits, with nothing but one number in each."""
    began = time.perf_counter()
    for _ in range(rows * COMMITS):
        connection.execute("INSERT INTO bare VALUES (1)")
    return (time.perf_counter() - began) / rows


def _reservations(address: str, *, units: int) -> Line:
    """Let processes reserve against one cap until it is reached; return the time of each."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place("postgres", Path(folder), address)
        found = place.reports("reserve", processes=PROCESSES, count=units)
    granted = sum(report["granted"] for report in found)
    assert granted == units
    each = max(report["seconds"] for report in found) / granted
    what = f"{PROCESSES} processes, a cap of {units:,} units, all granted: a reservation"
    return Line(what, [each], ("ms", 1e3), 1 / 200)
