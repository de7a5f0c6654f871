"""The journal of paid jobs: each step is stored before the next one is taken.

Events change a job's state, verbs store them; the same verbs work on a SQLite file of the home and
on a PostgreSQL database that a team shares.
"""

from imagen_widget._journal import transitions
from imagen_widget._journal.journal import Draft, Filter, Journal, Recorder
from imagen_widget._journal.moving import check_journal, copy_journal
from imagen_widget._journal.sqlite import open_journal
from imagen_widget._journal.transitions import *  # noqa: F403 - by its __all__

__all__ = ["Draft", "Filter", "Journal", "Recorder", "check_journal", "copy_journal"]
__all__ += ["open_journal"]
__all__ += transitions.__all__
