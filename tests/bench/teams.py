"""What a shared journal costs: a row over SQLite, and reservations against one cap."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from imagen_widget import Studio
from tests.bench.lines import Line
from tests.chaos.places import Place
from tests.fakequeue import FakeQueue
from tests.postgres import PostgresServer

PROCESSES = 20


def measured(*, smoke: bool) -> Iterator[Line]:
    """Yield the lines, on a server that waits for the disk."""
    rows, turns, units = (5, 1, 20) if smoke else (100, 3, 1_000)
    with contextlib.closing(PostgresServer(lasting=True)) as server:
        yield _overhead(server.make_database(), rows=rows, turns=turns)
        yield _reservations(server.make_database(), units=units)


def _overhead(address: str, *, rows: int, turns: int) -> Line:
    """Compare rows that run one after the other with the same rows on SQLite."""
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
        more = [shared(turn) - own(turn) for turn in range(turns)]
    return Line("a row of a series: PostgreSQL over SQLite", more, ("ms", 1e3), 0.005)


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
