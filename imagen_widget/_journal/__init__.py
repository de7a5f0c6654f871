"""The journal of paid jobs: each step is stored before the next one is taken.

Events change a job's state, verbs store them; the same verbs work on a SQLite file of the home and
on a PostgreSQL database that a team shares.
"""

import time
from collections.abc import Callable
from pathlib import Path

from imagen_widget._journal import transitions
from imagen_widget._journal.core import Draft, Recorder
from imagen_widget._journal.many import Filter, Journal, check_journal, copy_journal
from imagen_widget._journal.transitions import *  # noqa: F403 - by its __all__
from imagen_widget.errors import InvalidRequest

__all__ = ["Draft", "Filter", "Journal", "Recorder", "check_journal", "copy_journal"]
__all__ += ["open_journal"]
__all__ += transitions.__all__


def open_journal(
    home: Path,
    address: str | None = None,
    *,
    clock: Callable[[], float] | None = None,
    owner: str | None = None,
) -> Journal:
    """Return the journal of a home, or the one at the `postgresql://` address of IMAGEN_JOURNAL.

    Tests may give a clock, in Unix seconds, and the name under which it holds jobs.
    """
    if not address:
        from imagen_widget._journal.sqlite import SqliteJournal

        return SqliteJournal(home, clock=clock or time.time, owner=owner)
    if address.partition("://")[0] not in {"postgresql", "postgres"}:
        raise InvalidRequest(
            "IMAGEN_JOURNAL is not the address of a PostgreSQL database.",
            remedy="Write it as postgresql://user:password@host/database, or unset it.",
            field="journal",
        )
    try:
        from imagen_widget._journal.postgres import PostgresJournal
    except ImportError:
        raise InvalidRequest(
            "IMAGEN_JOURNAL names a PostgreSQL database, and psycopg is not installed.",
            remedy="pip install 'psycopg[binary,pool]', or unset IMAGEN_JOURNAL.",
            field="journal",
        ) from None

    return PostgresJournal(address, clock=clock, owner=owner)
