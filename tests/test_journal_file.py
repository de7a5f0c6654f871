"""The journal's file: private, durable, brought forward, and clear where it cannot be used."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import stat
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagen_widget._journal import IllegalStep, Journal, State
from imagen_widget._journal import _file as _journal_file
from imagen_widget._journal._file import JournalFile, explain, is_on_network, migrate
from imagen_widget._request import ImageRequest
from imagen_widget.errors import BudgetExceeded, JournalError
from tests.jobs import (
    NOON,
    TICKET,
    Clock,
    in_a_child,
    intend,
    job_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "imagen"


@pytest.fixture
def journal(home: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal(home, clock=Clock())) as journal:
        yield journal


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_files_are_private_under_any_umask(home: Path, umask: int) -> None:
    nested = home / "deep" / "down"
    before = os.umask(umask)
    try:
        with contextlib.closing(Journal(nested)) as journal:
            intend(journal)

            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in nested.iterdir()}
    finally:
        os.umask(before)

    assert modes == {
        "journal.sqlite3": 0o600,
        "journal.sqlite3-wal": 0o600,
        "journal.sqlite3-shm": 0o600,
    }
    assert {stat.S_IMODE(p.stat().st_mode) for p in (nested, nested.parent, home)} == {0o700}


def test_a_folder_that_the_user_made_keeps_its_mode(home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)

    with contextlib.closing(Journal(home)) as journal:
        intend(journal)

    assert stat.S_IMODE(home.stat().st_mode) == 0o755


def test_a_journal_that_others_could_read_is_made_private(home: Path) -> None:
    with contextlib.closing(Journal(home)) as journal:
        intend(journal)
        journal.close()
        journal.path.chmod(0o644)

        intend(journal)

        assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600


def test_commits_are_durable_and_writers_do_not_block_readers(journal: Journal) -> None:
    intend(journal)

    with journal._reading() as db:  # noqa: SLF001 - the settings live in the connection
        settings = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("synchronous", "journal_mode", "foreign_keys")
        }

    assert settings == {"synchronous": 2, "journal_mode": "wal", "foreign_keys": 1}


def test_a_network_disk_gets_a_rollback_journal(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_journal_file, "_mounts", lambda: "server:/x / nfs4 rw 0 0\n")

    with contextlib.closing(Journal(home)) as journal:
        job_id = intend(journal)

        assert [path.name for path in home.iterdir()] == ["journal.sqlite3"]
        assert journal.get(job_id).state is State.INTENT


def test_a_file_in_wal_mode_is_changed_back_on_a_network_disk(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(Journal(home)) as journal:
        job_id = intend(journal)
    monkeypatch.setattr(_journal_file, "_mounts", lambda: "server:/x / nfs rw 0 0\n")

    with contextlib.closing(Journal(home)) as journal:
        assert journal.get(job_id).state is State.INTENT
        assert [path.name for path in home.iterdir()] == ["journal.sqlite3"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/ann/imagen", True),
        ("/home/local/imagen", False),
        ("/tmp/x", False),  # noqa: S108 - no file is made, it is a name in a table
        ("/with space/x", True),
    ],
)
def test_the_nearest_mount_tells_whether_a_path_is_on_a_network(path: str, expected: bool) -> None:  # noqa: FBT001 - one column of a table
    mounts = (
        "overlay / overlay rw 0 0\nsrv:/h /home nfs4 rw 0 0\n/dev/sda /home/local ext4 rw 0 0\n"
        "me@host: /with\\040space fuse.sshfs rw 0 0\nbroken line\n\n"
    )

    assert is_on_network(Path(path), mounts=mounts) is expected


def test_an_older_schema_is_brought_forward_with_its_rows(tmp_path: Path) -> None:
    old = (("CREATE TABLE things (name TEXT)", "INSERT INTO things VALUES ('kept')"),)
    new = (*old, ("ALTER TABLE things ADD COLUMN size INTEGER DEFAULT 7",), ("SELECT 1",))

    with contextlib.closing(sqlite3.connect(tmp_path / "x", isolation_level=None)) as db:
        migrate(db, migrations=old)
        migrate(db, migrations=new)
        migrate(db, migrations=new)

        assert db.execute("SELECT name, size FROM things").fetchall() == [("kept", 7)]
        assert db.execute("PRAGMA user_version").fetchone() == (3,)


def test_a_migration_that_fails_half_way_changes_nothing(tmp_path: Path) -> None:
    broken = (("CREATE TABLE things (name TEXT)",), ("CREATE TABLE more (x)", "no SQL"))

    with contextlib.closing(sqlite3.connect(tmp_path / "x", isolation_level=None)) as db:
        with pytest.raises(sqlite3.OperationalError):
            migrate(db, migrations=broken)

        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        assert db.execute("PRAGMA user_version").fetchone() == (0,)


def test_a_newer_schema_is_left_alone_and_the_error_says_to_upgrade(journal: Journal) -> None:
    intend(journal)
    journal.close()
    with contextlib.closing(sqlite3.connect(journal.path)) as db:
        db.execute("PRAGMA user_version = 99")

    with pytest.raises(JournalError, match=r"schema 99.*Upgrade imagen-widget"):
        intend(journal)


def test_a_journal_that_was_moved_away_is_made_anew(journal: Journal, tmp_path: Path) -> None:
    """A row in a file that nobody finds again would be a lost job."""
    intend(journal)
    for path in list(journal.path.parent.iterdir()):
        path.rename(tmp_path / path.name)

    job_id = intend(journal)

    assert journal.path.exists()
    assert [row.id for row in journal.rows()] == [job_id]


def test_a_closed_journal_opens_again(journal: Journal) -> None:
    job_id = intend(journal)

    journal.close()

    assert journal.get(job_id).id == job_id


def test_an_interrupt_inside_a_transaction_leaves_nothing_and_breaks_nothing(home: Path) -> None:
    times = iter([NOON])

    def clock() -> float:
        for now in times:
            return now
        raise KeyboardInterrupt

    with contextlib.closing(Journal(home, clock=clock)) as journal:
        job_id = intend(journal)

        with pytest.raises(KeyboardInterrupt):
            journal.submitting(job_id)  # the step is written, its lease is not

        assert journal.get(job_id).state is State.INTENT
        times = iter([NOON] * 9)
        journal.submitting(job_id)
        assert journal.get(job_id).state is State.SUBMITTING


def test_a_transaction_left_open_by_an_interrupt_is_undone(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "x")
    with file.transaction("IMMEDIATE") as db:
        pass
    db.execute("BEGIN IMMEDIATE")
    db.execute("PRAGMA user_version = 7")

    with file.transaction("DEFERRED") as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 1
    file.close()


def test_threads_share_one_journal(journal: Journal) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                job_in(journal, State.DONE)
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert failures == []
    assert len(journal.rows(state=State.DONE)) == 20


def test_a_forked_process_writes_with_a_connection_a_lock_and_a_name_of_its_own(
    journal: Journal,
) -> None:
    mine = intend(journal)

    def child() -> None:
        signal.alarm(60)  # a lock that came along locked would hang here
        theirs = job_in(journal, State.SUBMITTED)
        assert not journal.lease(theirs)
        assert len(_journal_file._INHERITED) == 1  # noqa: SLF001 - kept, but never used nor closed
        with pytest.raises(IllegalStep):
            journal.submitting(mine)

    with journal._locked():  # noqa: SLF001 - as if another thread were at work during the fork
        assert in_a_child(child) == (0, "")

    assert journal.get(mine).state is State.INTENT
    assert [row.state for row in journal.pending()] == [State.SUBMITTED]
    journal.submitting(mine)


# ------------------------------------------------------------------------------- when it cannot


@pytest.fixture
def reachable() -> Iterator[Path]:
    """Give a folder that any user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


NOBODY = 65534


def attempt(home: Path) -> None:
    intend(Journal(home))


def test_a_read_only_journal_says_so_and_sends_nothing(reachable: Path) -> None:
    with contextlib.closing(Journal(reachable)) as journal:
        intend(journal)
    journal.path.chmod(0o444)
    reachable.chmod(0o555)

    code, text = in_a_child(lambda: attempt(reachable), user=NOBODY)

    assert code == 1
    assert text == (
        f"The journal cannot be used: it is read-only ({journal.path})."
        " Nothing was sent. Set IMAGEN_HOME to a folder that you may write."
    )


def test_a_folder_that_may_not_be_written_says_so_and_sends_nothing(reachable: Path) -> None:
    reachable.chmod(0o555)
    home = reachable / "imagen"

    code, text = in_a_child(lambda: attempt(home), user=NOBODY)

    assert code == 1
    assert text.startswith("The journal cannot be used: writing is not permitted")
    assert "Nothing was sent. Set IMAGEN_HOME" in text


def test_a_disk_that_takes_no_more_bytes_stops_before_anything_is_sent(journal: Journal) -> None:
    intend(journal)

    def with_no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        intend(journal)

    code, text = in_a_child(with_no_room)

    assert code == 1, text
    assert text.startswith("The journal cannot be used: ")
    assert "Nothing was sent." in text
    assert len(journal.rows()) == 1


def test_a_full_disk_is_called_full(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "x")) as db:
        db.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as full:
            db.execute("CREATE TABLE t AS SELECT zeroblob(100000)")

    told = explain(full.value, tmp_path / "x", after="")

    assert "the disk is full" in str(told)


def test_a_locked_journal_says_so(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_journal_file, "BUSY_SECONDS", 0.01)
    intend(journal)
    journal.close()

    with contextlib.closing(sqlite3.connect(journal.path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match=r"locked.*Nothing was sent.*try again"):
            intend(journal)
        holder.execute("COMMIT")

    assert len(journal.rows()) == 1


def test_a_file_that_is_no_database_says_so(home: Path) -> None:
    home.mkdir()
    (home / "journal.sqlite3").write_bytes(b"this is a text file, not a database. " * 100)

    with (
        contextlib.closing(Journal(home)) as journal,
        pytest.raises(JournalError, match=r"damaged or no SQLite database.*Nothing was sent"),
    ):
        intend(journal)


def test_a_home_that_is_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "home.txt").touch()

    with pytest.raises(JournalError, match=r"cannot be used.*IMAGEN_HOME"):
        intend(Journal(tmp_path / "home.txt"))


def test_after_a_submit_no_error_claims_that_nothing_was_sent(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_journal_file, "BUSY_SECONDS", 0.01)
    job_id = job_in(journal, State.SUBMITTING)
    journal.close()

    with contextlib.closing(sqlite3.connect(journal.path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError) as told:
            journal.promise(job_id, TICKET, "req-1")

    assert "Nothing was sent" not in str(told.value)


def test_no_error_echoes_the_prompt(journal: Journal) -> None:
    with pytest.raises(BudgetExceeded) as refused:
        intend(journal, ImageRequest.create("my secret prompt"), price="2", cap="1")

    assert "secret" not in str(refused.value)
