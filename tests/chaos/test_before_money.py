"""The journal comes before money: no POST without its row, and none if no row can be written."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from imagen_widget import errors, generate, start
from tests import books
from tests.chaos.counts import POSTS, show
from tests.fakequeue import FakeQueue, Received

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

AT_ONCE = 50
FULL_DISK_BYTES = 8 * 1024


def test_the_row_is_on_disk_when_the_first_byte_of_its_post_arrives(
    queue: FakeQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    written_down: set[str] = set()
    found: list[bool] = []

    def look() -> None:
        written_down.update(row.prompt for row in books.rows() if row.state == "submitting")

    def compare(request: Received) -> None:
        found.append(request.arguments["prompt"] in written_down)

    queue.first_byte, queue.before["submit"] = look, compare
    for first in range(0, POSTS, AT_ONCE):
        for job in [start(f"fox {n}") for n in range(first, min(first + AT_ONCE, POSTS))]:
            job.result(120)

    show(capsys, f"journal before money: {sum(found)} of {queue.posts} rows were on disk")
    assert found == [True] * POSTS


def no_file(home: Path) -> None:
    (home / books.FILE_NAME).mkdir(parents=True)


def no_folder(home: Path) -> None:
    home.touch()


def no_database(home: Path) -> None:
    home.mkdir()
    (home / books.FILE_NAME).write_bytes(b"something else altogether " * 100)


def newer_database(home: Path) -> None:
    home.mkdir()
    with closing(sqlite3.connect(home / books.FILE_NAME)) as db:
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("spoil", [no_file, no_folder, no_database, newer_database])
def test_without_a_journal_nothing_is_sent(queue: FakeQueue, spoil: Callable[[Path], None]) -> None:
    spoil(books.home())

    with pytest.raises(errors.JournalError, match=r"Nothing was sent|newer"):
        generate("a red fox")

    assert queue.posts == 0


def test_a_journal_whose_tables_are_gone_sends_nothing(
    queue: FakeQueue, end_loop: Callable[[], None]
) -> None:
    generate("a first fox")
    end_loop()
    for table in ("images", "jobs"):
        books.write(f"DROP TABLE {table}")

    with pytest.raises(errors.JournalError):
        generate("a red fox")

    assert queue.posts == 1


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep the file locked, as another program may."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_a_journal_that_another_program_keeps_locked_sends_nothing(
    queue: FakeQueue, end_loop: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    generate("a first fox")
    end_loop()
    monkeypatch.setattr("imagen_widget._journal.sqlite.BUSY_SECONDS", 0.2)

    with locked(books.home() / books.FILE_NAME), pytest.raises(errors.JournalError, match="locked"):
        generate("a red fox")

    assert queue.posts == 1


ON_A_FULL_DISK = f"""
import resource, signal
from imagen_widget import generate
from imagen_widget.errors import JournalError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails, as on a disk that is full
resource.setrlimit(resource.RLIMIT_FSIZE, ({FULL_DISK_BYTES}, {FULL_DISK_BYTES}))
try:
    generate("a red fox")
except JournalError as error:
    print(error)
"""


def test_on_a_full_disk_nothing_is_sent(queue: FakeQueue) -> None:
    assert hasattr(resource, "RLIMIT_FSIZE")

    done = subprocess.run(
        [sys.executable, "-c", ON_A_FULL_DISK],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "Nothing was sent" in done.stdout, done.stderr
    assert queue.posts == 0
