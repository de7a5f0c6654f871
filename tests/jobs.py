"""Jobs for tests of the journal: written down, and walked to any state."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from imagen_widget._journal import ImageRow, Journal, State
from imagen_widget._request import ImageRequest
from imagen_widget.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
FOX = ImageRequest.create("a red fox")
PICTURE = ImageRow(0, "sha256:" + "ab" * 32, "image/png", 640, 480, 1234, "https://x.test/0.png")
TICKET = '{"request_id": "req-1"}'
HOST = platform.node()


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def intend(
    journal: Journal,
    request: ImageRequest = FOX,
    *,
    provider: str = "fal",
    price: str | None = "0.04",
    cap: str | None = None,
) -> str:
    return journal.intend(
        request,
        provider=provider,
        base_url="https://queue.test",
        price=None if price is None else Decimal(price),
        cap=None if cap is None else Decimal(cap),
    )


STEPPERS: dict[State, Callable[[Journal, str], None]] = {
    State.SUBMITTING: Journal.submitting,
    State.SUBMITTED: lambda journal, job: journal.promise(job, TICKET, "req-1"),
    State.UNKNOWN: lambda journal, job: journal.unknown(job, "The answer was lost."),
    State.COMPLETED: lambda journal, job: journal.completed(
        job, seconds=7.5, seed=42, description="a fox", urls=["https://x.test/0.png"]
    ),
    State.DOWNLOADED: lambda journal, job: journal.downloaded(job, [PICTURE]),
    State.DONE: lambda journal, job: journal.done(job, Decimal("0.04")),
    State.FAILED: lambda journal, job: journal.failed(job, "It broke.", billed=True),
    State.CANCELLED: Journal.cancelled,
    State.EXPIRED: Journal.expired,
}


def take(journal: Journal, job_id: str, state: State) -> None:
    """Call the method that takes a job to a state."""
    STEPPERS[state](journal, job_id)


PATHS = {
    State.INTENT: [],
    State.SUBMITTING: [State.SUBMITTING],
    State.UNKNOWN: [State.SUBMITTING, State.UNKNOWN],
    State.SUBMITTED: [State.SUBMITTING, State.SUBMITTED],
    State.COMPLETED: [State.SUBMITTING, State.SUBMITTED, State.COMPLETED],
    State.DOWNLOADED: [State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.DOWNLOADED],
    State.DONE: [
        *(State.SUBMITTING, State.SUBMITTED, State.COMPLETED),
        *(State.DOWNLOADED, State.DONE),
    ],
    State.FAILED: [State.SUBMITTING, State.FAILED],
    State.CANCELLED: [State.CANCELLED],
    State.EXPIRED: [State.SUBMITTING, State.SUBMITTED, State.EXPIRED],
}


def job_in(journal: Journal, state: State, request: ImageRequest = FOX, **how: str) -> str:
    """Write a job and walk it to a state."""
    job_id = intend(journal, request, **how)
    for step in PATHS[state]:
        take(journal, job_id, step)
    return job_id


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=60)
    return ended.pid


def in_a_child(work: Callable[[], None], *, user: int | None = None) -> tuple[int, str]:
    """Run `work` in a forked process, as another user if asked; return exit code and error text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 5
        try:
            if user is not None and os.geteuid() == 0:
                os.setuid(user)
            work()
            code = 0
        except JournalError as error:
            os.write(writer, str(error).encode())
            code = 1
        except BaseException as error:  # noqa: BLE001 - told to the parent, which asserts on it
            os.write(writer, repr(error).encode())
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:  # noqa: PTH123 - a descriptor, not a path
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), text
