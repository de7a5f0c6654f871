"""Processes that work on one journal at the same time, wherever it is."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.jobs import journal

ROOT = Path(__file__).parents[2]


class Place:
    """Where a journal is, for this process and for others."""

    def __init__(self, kind: str, home: Path, address: str) -> None:
        self.kind, self.home, self.address = kind, home, address

    def open(self) -> contextlib.closing[journal.Journal]:
        return contextlib.closing(journal.open_journal(self.home, self.address or None))

    @contextlib.contextmanager
    def workers(self, role: str, *, processes: int, count: int) -> Iterator[list[Any]]:
        """Run processes that all begin at once; end them by their ids, whatever happens."""
        command = [sys.executable, "-m", "tests.chaos.journal_worker", role]
        command += [str(self.home), self.address, str(count)]
        pipe = subprocess.PIPE
        with contextlib.ExitStack() as stack:
            started = []
            for _ in range(processes):
                worker = subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe)
                stack.callback(worker.communicate)
                stack.callback(worker.kill)
                started.append(worker)
            for worker in started:
                assert worker.stdout is not None
                assert json.loads(worker.stdout.readline()) == {"ready": True}
            for worker in started:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            yield started

    def reports(self, role: str, *, processes: int, count: int) -> list[Any]:
        """Return what each of the processes reported at its end."""
        with self.workers(role, processes=processes, count=count) as started:
            answers = [worker.communicate()[0] for worker in started]
            assert [worker.returncode for worker in started] == [0] * processes
        return [json.loads(answer) for answer in answers]
