"""The journal of paid jobs: each step is stored before the next one is taken.

Events change a job's state, verbs store them; the same verbs work on a SQLite file of the home and
on a PostgreSQL database that a team shares.
"""

import time
from collections.abc import Callable
from pathlib import Path

from imagen_widget._journal import transitions
from imagen_widget._journal.copying import Copied, check_journal, copy_journal
from imagen_widget._journal.core import Draft, Journal, PlanCounts
from imagen_widget._journal.reading import NOTHING_SENT, Filter
from imagen_widget._journal.recorder import Recorder
from imagen_widget._journal.transitions import *  # noqa: F403 - by its __all__
from imagen_widget.errors import InvalidRequest

__all__ = ["NOTHING_SENT", "Copied", "Draft", "Filter", "Journal", "PlanCounts", "Recorder"]
__all__ += ["check_journal", "copy_journal", "is_shared", "open_journal"]
__all__ += transitions.__all__


def open_journal(
    home: Path,
    address: str | None = None,
    *,
    clock: Callable[[], float] | None = None,
    owner: str | None = None,
) -> Journal:
    """Return the journal of a home, or the one at a `postgresql://` address.

    Args:
        home: The home folder.
        address: IMAGEN_JOURNAL, or None for the file in the home.
        clock: Unix seconds; by default this machine's time, or that of the PostgreSQL server.
        owner: The name under which it holds jobs; for tests.
    """
    if is_shared(address):
        from imagen_widget._journal.postgres import PostgresJournal

        return PostgresJournal(address or "", clock=clock, owner=owner)
    from imagen_widget._journal.sqlite import SqliteJournal

    return SqliteJournal(home, clock=clock or time.time, owner=owner)


def is_shared(address: str | None) -> bool:
    """Return True if an address is that of a database which other machines can use.

    Raises:
        InvalidRequest: It is an address of something else.
    """
    if not address:
        return False
    if address.partition("://")[0] in {"postgresql", "postgres"}:
        return True
    raise InvalidRequest(
        "IMAGEN_JOURNAL is not the address of a PostgreSQL database.",
        remedy="Write it as postgresql://user:password@host/database, or unset it.",
        field="journal",
    )
