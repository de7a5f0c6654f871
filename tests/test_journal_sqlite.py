"""The journal's file: private, durable, brought forward, and clear where it cannot be used."""

import contextlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from imagen_widget import ImageRequest, errors
from tests import jobs
from tests.jobs import (
    HOST,
    NOON,
    PATHS,
    TICKET,
    Clock,
    dead_pid,
    draft,
    ids,
    in_a_child,
    intend,
    job_in,
    journal,
)

DATA = Path(__file__).parent / "data"
State = journal.State


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "imagen"


@pytest.fixture
def file(home: Path) -> Path:
    return home / "journal.sqlite3"


@pytest.fixture
def open_journal(home: Path) -> Iterator[Callable[..., journal.Journal]]:
    with contextlib.ExitStack() as stack:

        def make(*, home: Path = home, owner: str = "") -> journal.Journal:
            opened = jobs.open_journal(home, clock=Clock(), owner=owner)
            return stack.enter_context(contextlib.closing(opened))

        yield make


@pytest.fixture
def verbs(open_journal: Callable[..., journal.Journal]) -> journal.Journal:
    return open_journal()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_files_are_private_under_any_umask(home: Path, umask: int) -> None:
    nested = home / "deep" / "down"
    before = os.umask(umask)
    try:
        with contextlib.closing(journal.open_journal(nested)) as verbs:
            intend(verbs)

            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in nested.iterdir()}
    finally:
        os.umask(before)

    assert modes == {
        "journal.sqlite3": 0o600,
        "journal.sqlite3-wal": 0o600,
        "journal.sqlite3-shm": 0o600,
    }
    assert {stat.S_IMODE(p.stat().st_mode) for p in (nested, nested.parent, home)} == {0o700}


def test_a_folder_that_the_user_made_keeps_its_mode(home: Path, verbs: journal.Journal) -> None:
    home.mkdir()
    home.chmod(0o755)

    intend(verbs)

    assert stat.S_IMODE(home.stat().st_mode) == 0o755


def test_a_journal_that_others_could_read_is_made_private(
    file: Path, verbs: journal.Journal
) -> None:
    intend(verbs)
    verbs.close()
    file.chmod(0o644)

    intend(verbs)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_commits_are_durable_and_writers_do_not_block_readers(verbs: journal.Journal) -> None:
    intend(verbs)
    names = ("synchronous", "fullfsync", "journal_mode", "foreign_keys")
    settings = verbs._transact(
        lambda tx: {name: tx.all(f"PRAGMA {name}")[0][name] for name in names},
        write=False,
        after="",
    )

    assert settings == dict(zip(names, (2, 1, "wal", 1), strict=True))


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_disk_gets_a_rollback_journal(
    home: Path, verbs: journal.Journal, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    job_id = intend(verbs)
    verbs.close()
    above = str(home.parent).replace(" ", "\\040")
    mounts = f"/dev/sda / ext4 rw 0 0\nbroken line\n\nserver:/x {above} {kind} rw 0 0\n"
    table = home.parent / "mounts"
    table.write_text(mounts)
    monkeypatch.setattr("imagen_widget._journal.sqlite._MOUNTS", table)

    assert verbs.get(job_id).state is State.INTENT
    assert [path.name for path in home.iterdir()] == ["journal.sqlite3"]


def test_the_nearest_mount_says_whether_a_path_is_on_a_network(
    home: Path, verbs: journal.Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = f"server:/x / nfs rw 0 0\n/dev/sda {home.parent} ext4 rw 0 0\nx / fuse.portal rw 0 0\n"
    table = home.parent / "mounts"
    table.write_text(mounts)
    monkeypatch.setattr("imagen_widget._journal.sqlite._MOUNTS", table)

    intend(verbs)

    assert (home / "journal.sqlite3-wal").exists()


def test_a_newer_schema_is_left_alone_and_the_error_says_to_upgrade(
    file: Path, verbs: journal.Journal
) -> None:
    intend(verbs)
    verbs.close()
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")

    with pytest.raises(errors.JournalError, match=r"schema 99.*Upgrade imagen-widget"):
        intend(verbs)


def test_a_journal_that_was_moved_away_is_made_again(
    file: Path, verbs: journal.Journal, tmp_path: Path
) -> None:
    """A row in a file that nobody finds again would be a lost job."""
    intend(verbs)
    for path in list(file.parent.iterdir()):
        path.rename(tmp_path / path.name)

    job_id = intend(verbs)

    assert file.exists()
    assert ids(verbs.query()) == [job_id]


def test_a_closed_journal_opens_again(verbs: journal.Journal) -> None:
    job_id = intend(verbs)

    verbs.close()

    assert verbs.get(job_id).id == job_id


def test_an_interrupt_inside_a_transaction_leaves_nothing_and_breaks_nothing(home: Path) -> None:
    times = iter([NOON] * 99)

    def clock() -> float:
        for now in times:
            return now
        raise KeyboardInterrupt

    with contextlib.closing(jobs.open_journal(home, clock=clock)) as verbs:
        job_id = intend(verbs)
        times = iter([])

        with pytest.raises(KeyboardInterrupt):
            verbs.apply(job_id, journal.Submitting())

        times = iter([NOON] * 9)
        assert verbs.get(job_id).state is State.INTENT
        verbs.apply(job_id, journal.Submitting())
        assert verbs.get(job_id).state is State.SUBMITTING


def test_a_transaction_that_an_interrupt_left_open_is_undone(verbs: journal.Journal) -> None:
    job_id = intend(verbs)
    vars(verbs)["_opened"].execute("BEGIN IMMEDIATE")
    vars(verbs)["_opened"].execute("DELETE FROM jobs")

    verbs.apply(job_id, journal.Submitting())

    assert verbs.get(job_id).state is State.SUBMITTING


def test_threads_share_one_journal(verbs: journal.Journal) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                job_in(verbs, State.DONE)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert failures == []
    assert verbs.count(journal.Filter(states={State.DONE})) == 20
    assert journal.check_journal(verbs) == []


@pytest.mark.slow
def test_a_forked_process_writes_with_a_connection_a_lock_and_a_name_of_its_own(
    verbs: journal.Journal,
) -> None:
    mine = intend(verbs)

    def child() -> None:
        signal.alarm(60)  # a lock that came along locked would hang here
        theirs = job_in(verbs, State.SUBMITTED)
        assert not verbs.lease(theirs)
        with pytest.raises(journal.IllegalStep):
            verbs.apply(mine, journal.Submitting())

    file: Any = verbs
    with file._lock:  # as if another thread were at work during the fork
        assert in_a_child(child) == (0, "")

    assert verbs.get(mine).state is State.INTENT
    assert [record.state for record in verbs.pending()] == [State.SUBMITTED]
    verbs.apply(mine, journal.Submitting())


def test_check_finds_what_somebody_changed(file: Path, verbs: journal.Journal) -> None:
    job_id = job_in(verbs, State.DONE)
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE jobs SET price = 1, cost = 2, words = 'x', request_text = '{'")
        db.execute("UPDATE tally SET n = 7")
        db.execute("UPDATE budgets SET micros = 1")

    problems = "\n".join(journal.check_journal(verbs))

    for words in (
        "counts",
        "index of words",
        "spending (2026-11-23, fal, ",
        "budgets (2026-11-23) is off",
        f"row {job_id} cannot be read",
    ):
        assert words in problems
    with pytest.raises(errors.JournalError, match=f"row {job_id} cannot be read"):
        _ = verbs.get(job_id).request


# ------------------------------------------------------------------------------- dead processes


@pytest.mark.slow
def test_the_jobs_of_a_dead_process_are_free_at_once(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal]
) -> None:
    dead = open_journal(owner=f"{HOST}:{dead_pid()}::x")
    left = {state: job_in(dead, state) for state in PATHS}

    assert ids(verbs.pending()) == [left[State.SUBMITTED], left[State.COMPLETED]]
    assert verbs.lease(left[State.SUBMITTED])
    assert ids(verbs.recover()) == [left[State.SUBMITTING]]


def test_a_number_that_was_given_to_a_later_process_counts_as_dead(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal]
) -> None:
    dead = open_journal(owner=f"{HOST}:{os.getpid()}:00000000-1:x")

    assert verbs.lease(job_in(dead, State.SUBMITTED))


@pytest.mark.slow
def test_a_killed_process_that_nobody_waited_for_counts_as_dead(
    home: Path, verbs: journal.Journal
) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.jobs import *;"
        f"verbs = open_journal(Path({str(home)!r}), clock=Clock());"
        "print(job_in(verbs, journal.State.SUBMITTED), flush=True); sys.stdin.read()"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with worker:
        assert worker.stdout is not None
        job_id = worker.stdout.readline().strip()
        assert not verbs.lease(job_id)
        worker.kill()
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
        assert verbs.lease(job_id)


@pytest.mark.parametrize(
    "owner", ["elsewhere:1:x:y", "", "nonsense", f"{HOST}:x:y:z", f"{HOST}:{2**70}::x"]
)
def test_a_name_that_cannot_be_judged_counts_as_alive(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], owner: str
) -> None:
    assert not verbs.lease(job_in(open_journal(owner=owner), State.SUBMITTED))


# --------------------------------------------------------------------------- from version 0.1


@pytest.fixture
def old_home(home: Path) -> Path:
    """Give a home that version 0.1 made: three jobs done, one failed, one unknown, one pending."""
    shutil.copytree(DATA / "home-0.1", home)
    return home


def test_a_home_of_version_0_1_opens_without_loss(
    old_home: Path, file: Path, verbs: journal.Journal
) -> None:
    with contextlib.closing(sqlite3.connect(file)) as db:
        before = db.execute("SELECT id, price, cost, ticket FROM jobs ORDER BY seq").fetchall()

    records = verbs.query(journal.Filter(sort="oldest"))

    assert [record.id for record in records] == [row[0] for row in before]
    assert [record.state for record in records] == [
        *([State.DONE] * 3 + [State.FAILED, State.UNKNOWN, State.SUBMITTED]),
    ]
    assert [record.request.prompt for record in records] == [
        *("a red fox in fresh snow", "two owls, oil on canvas 🦉", "a kept model of mine"),
        *("a failed one", "an unknown one", "a pending one"),
    ]
    assert [record.ticket for record in records] == [row[3] for row in before]
    assert json.loads(records[-1].ticket or "")["request_id"] == "req-4"
    assert [len(record.images) for record in records] == [1, 2, 1, 0, 0, 0]
    for image in (image for record in records for image in record.images):
        name = f"{image.digest.replace(':', '-')}.*"
        [path] = (old_home / "images" / image.digest[7:9]).glob(name)
        assert path.stat().st_size == image.size
    assert verbs.spend() == sum(record.amount for record in records) == Decimal("0.24")
    assert verbs.count(journal.Filter(has_pictures=True)) == 3
    assert ids(verbs.query(journal.Filter(text="FOX snow"))) == [records[0].id]
    assert ids(verbs.pending()) == [records[-1].id]
    assert ids(verbs.unknown()) == [records[-2].id]
    same = ImageRequest.create(
        "a red fox in fresh snow", aspect_ratio="1:1", output_format="webp", seed=7
    )
    found = verbs.find(same.fingerprint, "demo")
    assert found is not None
    assert found.id == records[0].id
    assert journal.check_journal(verbs) == []


def test_a_job_of_version_0_1_whose_pictures_were_kept_is_done(
    old_home: Path, file: Path, verbs: journal.Journal
) -> None:
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        kept = "UPDATE jobs SET state = 'downloaded', cost = NULL, price = 40000 WHERE seq = 2"
        db.execute(kept)

    [record] = verbs.query(journal.Filter(text="two owls"))

    assert (record.state, record.cost) == (State.DONE, Decimal("0.04"))
    assert len(record.images) == 2
    assert verbs.count(journal.Filter(has_pictures=True)) == 3
    assert journal.check_journal(verbs) == []


def test_pictures_in_addresses_leave_the_journal_once_they_are_in_the_store(
    old_home: Path, file: Path, verbs: journal.Journal
) -> None:
    data = "data:image/png;base64," + "A" * 100_000
    outcome = json.dumps({"request_id": "direct", "outcome": {"urls": [data], "seed": 7}})
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE jobs SET ticket = ? WHERE state IN ('done', 'submitted')", (outcome,))
        db.execute("UPDATE jobs SET urls = ? WHERE state = 'done'", (json.dumps([data]),))
        db.execute("UPDATE images SET url = ?", (data,))

    *done, pending = verbs.query(
        journal.Filter(states={State.DONE, State.SUBMITTED}, sort="oldest")
    )

    for record in done:
        assert (record.urls, record.ticket) == ((), None)
        assert {image.url for image in record.images} == {None}
    assert pending.ticket == outcome  # nowhere else are its bytes
    verbs.close()


def test_a_damaged_row_of_version_0_1_is_kept_as_it_is(
    old_home: Path, file: Path, verbs: journal.Journal
) -> None:
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE jobs SET request = '{' WHERE state = 'failed'")

    assert verbs.count() == 6
    [record] = verbs.query(journal.Filter(states={State.FAILED}))
    assert record.request_text == "{"


def test_a_home_is_not_brought_forward_while_an_older_kernel_works_on_it(
    old_home: Path, file: Path, verbs: journal.Journal
) -> None:
    """It would not be able to write its ticket down."""
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE jobs SET lease_until = ? WHERE state = 'submitted'", (NOON + 60,))
        db.execute("UPDATE jobs SET owner = 'elsewhere:7:x:y' WHERE state = 'submitted'")

    with pytest.raises(errors.JournalError, match=r"process 7 on elsewhere.*Nothing was sent"):
        intend(verbs)

    with contextlib.closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["day_of", "INDEXES"], ids=["at the first row", "at the end"])
def test_a_process_that_is_killed_while_it_brings_a_home_forward_changes_nothing(
    old_home: Path, file: Path, verbs: journal.Journal, moment: str
) -> None:
    def die() -> None:
        from unittest import mock

        kill = mock.MagicMock(side_effect=lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        kill.__iter__.side_effect = kill
        with mock.patch(f"imagen_widget._journal.tables.{moment}", kill):
            verbs.count()

    assert in_a_child(die) == (-signal.SIGKILL, "")
    with contextlib.closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT COUNT(*), SUM(price) FROM jobs").fetchone() == (6, 280000)
    assert verbs.count() == 6


def test_without_a_full_text_index_words_are_found_all_the_same(
    verbs: journal.Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = "CREATE VIRTUAL TABLE temp.probe USING fts5(x, tokenize='missing')"
    monkeypatch.setattr("imagen_widget._journal.sqlite._PROBE", probe)
    job_id = intend(verbs, "A Red Fox")

    assert ids(verbs.query(journal.Filter(text="fox ED"))) == [job_id]
    assert verbs.count(journal.Filter(text="hen")) == 0
    assert journal.check_journal(verbs) == []


# ------------------------------------------------------------------------------ when it cannot


@pytest.fixture
def reachable() -> Iterator[Path]:
    """Give a folder that any user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


NOBODY = 65534


@pytest.mark.slow
def test_a_read_only_journal_says_so_and_sends_nothing(
    reachable: Path, open_journal: Callable[..., journal.Journal]
) -> None:
    verbs = open_journal(home=reachable)
    intend(verbs)
    verbs.close()
    file = reachable / "journal.sqlite3"
    file.chmod(0o444)
    reachable.chmod(0o555)

    assert in_a_child(lambda: intend(verbs), user=NOBODY) == (
        1,
        f"The journal cannot be used: it is read-only ({file})."
        " Nothing was sent. Set IMAGEN_HOME to a writable folder.",
    )


@pytest.mark.slow
def test_a_folder_that_may_not_be_written_says_so_and_sends_nothing(
    reachable: Path, open_journal: Callable[..., journal.Journal]
) -> None:
    reachable.chmod(0o555)
    verbs = open_journal(home=reachable / "imagen")

    code, text = in_a_child(lambda: intend(verbs), user=NOBODY)

    assert code == 1
    assert text.startswith("The journal cannot be used: writing is not permitted")
    assert "Nothing was sent. Set IMAGEN_HOME" in text


@pytest.mark.slow
def test_a_disk_that_takes_no_more_bytes_stops_before_anything_is_sent(
    verbs: journal.Journal,
) -> None:
    intend(verbs)

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        intend(verbs)

    code, text = in_a_child(full)

    assert code == 1, text
    assert text.startswith("The journal cannot be used: ")
    assert "Nothing was sent." in text
    assert verbs.count() == 1


def test_a_full_disk_is_called_full(verbs: journal.Journal) -> None:
    verbs._transact(lambda tx: tx.all("PRAGMA max_page_count = 1"), write=False, after="")

    with pytest.raises(errors.JournalError, match=r"the disk is full.*Nothing was sent"):
        verbs.intend(*[draft("x" * 1000) for _ in range(500)])

    assert verbs.count() == 0


@pytest.fixture
def locked(verbs: journal.Journal, file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give a job's id, while another program has the file locked."""
    monkeypatch.setattr("imagen_widget._journal.sqlite.BUSY_SECONDS", 0.01)
    job_id = job_in(verbs, State.SUBMITTING)
    verbs.close()
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield job_id


def test_a_locked_journal_says_so(verbs: journal.Journal, locked: str) -> None:
    with pytest.raises(errors.JournalError, match=r"locked.*Nothing was sent.*try again"):
        intend(verbs)


def test_after_a_submit_no_error_claims_that_nothing_was_sent(
    verbs: journal.Journal, locked: str
) -> None:
    with pytest.raises(errors.JournalError, match="locked") as told:
        verbs.apply(locked, journal.Submitted(TICKET, "req-1"))
    assert "Nothing was sent" not in str(told.value)

    with pytest.raises(errors.JournalError, match="Nothing was sent"):
        verbs.apply(locked, journal.Submitting())


def test_a_file_that_is_not_a_database_says_so(
    home: Path, file: Path, verbs: journal.Journal
) -> None:
    home.mkdir()
    file.write_bytes(b"this is a text file, not a database. " * 100)

    with pytest.raises(errors.JournalError, match=r"damaged or not an SQLite.*Nothing was sent"):
        intend(verbs)


def test_a_home_that_is_a_file_says_so(home: Path, verbs: journal.Journal) -> None:
    home.touch()

    with pytest.raises(errors.JournalError, match=r"cannot be used.*IMAGEN_HOME"):
        intend(verbs)
