"""The journal comes before money: no POST without its row, and none where no row can be written."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagen_widget import ImageRequest, _bridge, generate, start
from imagen_widget.errors import JournalError
from tests.billing import Fault, Provider
from tests.chaos.counts import POSTS, show
from tests.chaos.server import Server, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

AT_ONCE = 50
FULL_DISK_BYTES = 8 * 1024


class Auditor(Provider):
    """A provider that reads the client's journal, file and all, when the first byte arrives."""

    def __init__(self, home: Path) -> None:
        super().__init__(polls=0)
        self.written_down: set[str] = set()
        self.found = 0
        self._file = home / "journal.sqlite3"

    def first_byte(self) -> None:
        uri = f"file:{self._file}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as db:
            rows = db.execute("SELECT prompt FROM jobs WHERE state = 'submitting'").fetchall()
        self.written_down = {prompt for (prompt,) in rows}

    def handle(self, method: str, path: str, body: bytes = b"") -> Fault:
        if method == "POST":
            self.found += any(f'"{prompt}"'.encode() in body for prompt in self.written_down)
        return super().handle(method, path, body)


@pytest.fixture
def auditor() -> Auditor:
    return Auditor(Path(os.environ["IMAGEN_HOME"]))


@pytest.fixture(autouse=True)
def server(auditor: Auditor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(auditor, at_first_byte=auditor.first_byte) as server:
        monkeypatch.setenv("IMAGEN_PROVIDER", "kkiai")
        monkeypatch.setenv("IMAGEN_API_KEY", "made-up")
        monkeypatch.setenv("IMAGEN_BASE_URL", server.url)
        monkeypatch.setenv("IMAGEN_POLL_SECONDS", "0.02")
        yield server
        _bridge.close()


def test_the_row_is_on_disk_when_the_first_byte_of_its_post_arrives(
    auditor: Auditor, capsys: pytest.CaptureFixture[str]
) -> None:
    for first in range(0, POSTS, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, POSTS))
        for job in [start(ImageRequest.create(f"fox {number}")) for number in numbers]:
            job.result(120)

    show(capsys, f"journal before money: {auditor.found} of {auditor.posts} rows were on disk")
    assert (auditor.found, auditor.posts) == (POSTS, POSTS)


def no_file(home: Path) -> None:
    (home / "journal.sqlite3").mkdir(parents=True)


def no_folder(home: Path) -> None:
    home.touch()


def no_database(home: Path) -> None:
    home.mkdir()
    (home / "journal.sqlite3").write_bytes(b"something else altogether " * 100)


def newer_database(home: Path) -> None:
    home.mkdir()
    with closing(sqlite3.connect(home / "journal.sqlite3")) as db:
        db.execute("PRAGMA user_version = 99")


def no_table(home: Path) -> None:
    generate("a first fox")
    _bridge.close()
    with closing(sqlite3.connect(home / "journal.sqlite3")) as db:
        db.execute("DROP TABLE images")
        db.execute("DROP TABLE jobs")


@pytest.mark.parametrize("spoil", [no_file, no_folder, no_database, newer_database, no_table])
def test_without_a_journal_nothing_is_sent(auditor: Auditor, spoil: Callable[[Path], None]) -> None:
    spoil(Path(os.environ["IMAGEN_HOME"]))
    before = auditor.posts

    with pytest.raises(JournalError):
        generate("a red fox")

    assert auditor.posts == before


def test_a_journal_that_another_program_keeps_locked_sends_nothing(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_widget._journal import _file as _journal_file

    generate("a first fox")
    _bridge.close()
    monkeypatch.setattr(_journal_file, "BUSY_SECONDS", 0.2)
    home = Path(os.environ["IMAGEN_HOME"])
    with closing(sqlite3.connect(home / "journal.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        with pytest.raises(JournalError, match="locked"):
            generate("a red fox")

    assert auditor.posts == 1


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


def test_on_a_full_disk_nothing_is_sent(auditor: Auditor) -> None:
    assert hasattr(resource, "RLIMIT_FSIZE")

    done = subprocess.run(
        [sys.executable, "-c", ON_A_FULL_DISK],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "Nothing was sent" in done.stdout, done.stderr
    assert auditor.posts == 0
