"""A process that dies at a named point: `python -m tests.chaos.crash_worker POINT PROMPT`.

Dying means SIGKILL: nothing is flushed, closed or cleaned up. At a point that only the provider
sees it does its work to the end, or until somebody else kills it. Settings come from the
environment, as a user's do.
"""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from imagen_widget import Job, Submitted, start
from tests.jobs import journal

STATES = {
    "Submitting": "submitting",
    "Submitted": "submitted",
    "Completed": "completed",
    "Kept": "done",
}
PICTURE = "the picture's file is named"
CANCELLING = "the provider has the cancellation"
POINTS = (
    *("before the intent", "after the intent"),
    *(f"{moment} {event}" for event in STATES for moment in ("before", "while", "after")),
    *(f"before {PICTURE}", f"after {PICTURE}"),
)


def die(*_: object, **__: object) -> NoReturn:
    """End this process as a crash would."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def dying(function: Callable[..., Any], when: str, wanted: Callable[..., bool]) -> Any:
    """Return a function that dies before or after its work if its arguments are the wanted ones."""

    def instead(*args: Any, **kwargs: Any) -> Any:
        if when == "before" and wanted(*args):
            die()
        found = function(*args, **kwargs)
        if when == "after" and wanted(*args):
            die()
        return found

    return instead


class Uncommitted(sqlite3.Connection):
    """A connection whose process dies when a state is written and not yet committed."""

    state = ""
    written = False

    def execute(self, statement: str, values: Any = (), /) -> sqlite3.Cursor:
        if statement == "COMMIT" and self.written:
            die()
        return super().execute(statement, values)

    def executemany(self, statement: str, rows: Any, /) -> sqlite3.Cursor:
        rows = [list(values) for values in rows]
        states = {str(value) for values in rows for value in values}
        self.written |= statement.startswith("UPDATE jobs") and self.state in states
        return super().executemany(statement, rows)


def _name(event: object) -> str:
    return type(event).__name__


def prepare(point: str) -> None:
    """Have this process die at a point of its work."""
    when, _, what = point.partition(" ")
    verbs: Any = journal.Journal
    if what == "the intent":
        verbs.intend = dying(verbs.intend, when, lambda *_: True)
    elif what == PICTURE:
        Path.replace = dying(Path.replace, when, lambda *_: True)  # type: ignore[method-assign]
    elif when == "while":
        Uncommitted.state = STATES[what]
        sqlite3.connect = functools.partial(sqlite3.connect, factory=Uncommitted)  # type: ignore[assignment]
    else:
        verbs.apply = dying(verbs.apply, when, lambda *args: what in map(_name, args[2:]))


def main(point: str, prompt: str) -> None:
    """Do one job."""
    if point in POINTS:
        prepare(point)
    handle: list[Job] = []

    def on_event(event: object) -> None:
        if point == CANCELLING and isinstance(event, Submitted):
            handle[0].request_cancel()

    handle.append(start(prompt, num_images=2, on_event=on_event))
    handle[0].result()


if __name__ == "__main__":
    main(*sys.argv[1:])
