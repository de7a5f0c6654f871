"""Jobs for tests of the journal: written down, and walked to any state."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from imagen_widget import ImageRequest, _journal, errors

journal = _journal  # the one place in the tests that imports it

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
FOX = ImageRequest.create("a red fox")
PICTURE = journal.KeptImage(
    0, "sha256:" + "ab" * 32, "image/png", 640, 480, 1234, "https://x.test/0.png"
)
TICKET = '{"request_id": "req-1"}'
HOST = platform.node()
BASE_URL = "https://queue.test"


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def open_journal(
    home: Path,
    address: str | None = None,
    *,
    clock: Callable[[], float] | None = None,
    owner: str = "",
) -> journal.Journal:
    """Return a journal with a clock of the test, and the name under which it holds jobs."""
    opened = journal.open_journal(home, address)
    opened.clock = clock or opened.clock
    opened.owner = owner or opened.owner
    return opened


def draft(
    request: ImageRequest | str = FOX,
    *,
    provider: str = "fal",
    price: str | None = "0.04",
    **row: Any,
) -> journal.Draft:
    """Return a job that is not written down yet."""
    return journal.Draft(
        request=ImageRequest.create(request) if isinstance(request, str) else request,
        provider=provider,
        base_url=BASE_URL,
        price=None if price is None else Decimal(price),
        **row,
    )


def intend(verbs: journal.Journal, request: ImageRequest | str = FOX, **how: Any) -> str:
    """Write one job down."""
    given = {name: how.pop(name) for name in ("budget", "user") if name in how}
    return verbs.intend(draft(request, **how), **given)[0]


EVENTS: dict[journal.State, journal.Event] = {
    journal.State.SUBMITTING: journal.Submitting(),
    journal.State.SUBMITTED: journal.Submitted(TICKET, "req-1"),
    journal.State.UNKNOWN: journal.Uncertain("The answer was lost."),
    journal.State.COMPLETED: journal.Completed(
        seconds=7.5, seed=42, description="a fox", urls=("https://x.test/0.png",)
    ),
    journal.State.DONE: journal.Kept((PICTURE,), Decimal("0.04"), "list"),
    journal.State.FAILED: journal.Failed("It broke.", billed=True),
    journal.State.CANCELLED: journal.Cancelled(),
    journal.State.EXPIRED: journal.Expired(),
}
PATHS: dict[journal.State, list[journal.State]] = {
    journal.State.INTENT: [],
    journal.State.SUBMITTING: [journal.State.SUBMITTING],
    journal.State.UNKNOWN: [journal.State.SUBMITTING, journal.State.UNKNOWN],
    journal.State.SUBMITTED: [journal.State.SUBMITTING, journal.State.SUBMITTED],
    journal.State.COMPLETED: [
        journal.State.SUBMITTING,
        journal.State.SUBMITTED,
        journal.State.COMPLETED,
    ],
    journal.State.DONE: [
        *(journal.State.SUBMITTING, journal.State.SUBMITTED, journal.State.COMPLETED),
        journal.State.DONE,
    ],
    journal.State.FAILED: [journal.State.SUBMITTING, journal.State.FAILED],
    journal.State.CANCELLED: [journal.State.CANCELLED],
    journal.State.EXPIRED: [
        journal.State.SUBMITTING,
        journal.State.SUBMITTED,
        journal.State.EXPIRED,
    ],
}


def walk(verbs: journal.Journal, job_id: str, state: journal.State) -> str:
    """Take an intent to a state, and return its id."""
    for step in PATHS[state]:
        verbs.apply(job_id, EVENTS[step])
    return job_id


def job_in(
    verbs: journal.Journal, state: journal.State, request: ImageRequest | str = FOX, **how: Any
) -> str:
    """Write a job and walk it to a state."""
    return walk(verbs, intend(verbs, request, **how), state)


def ids(records: list[journal.Record]) -> list[str]:
    return [record.id for record in records]


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=60)
    return ended.pid


def in_a_child(work: Callable[[], object], *, user: int | None = None) -> tuple[int, str]:
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
        except errors.JournalError as error:
            os.write(writer, str(error).encode())
            code = 1
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), text
