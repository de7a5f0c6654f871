"""A process that dies at a named point: `… -m tests.chaos.crash_worker URL HOME POINT PROMPT`.

Dying means SIGKILL: nothing is flushed, closed or cleaned up. Without such a point, or at one that
the provider knows ("-"), it does its work to the end.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from imagen_widget import ImageRequest, _bridge, _store
from imagen_widget._generate._engine import engine_for
from imagen_widget._generate._work import Work
from imagen_widget._journal import _table as _journal_table
from imagen_widget._settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = (
    *("start", "intent", "submitting", "answered", "promised", "watching", "watched", "result"),
    *("completed", "fetched", "kept", "downloaded", "done"),
)
CANCELLING = "cancel asked"
INSIDE: dict[str, tuple[object, str]] = {
    "in the ticket's transaction": (_journal_table, "keep_ticket"),
    "picture written, not named": (Path, "replace"),
    "picture named, not synced": (_store, "sync_folder"),
    "in the pictures' transaction": (_journal_table, "keep_images"),
}


def die(*_: object, **__: object) -> NoReturn:
    """End this process as a crash would."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


async def work(url: str, home: Path, point: str, prompt: str) -> None:
    """Do one job, and die at the point."""
    settings = load_settings(
        provider="kkiai",
        api_key="made-up",
        base_url=url,
        home=home,
        poll_seconds=0.02,
        environ={},
    )
    job: Work

    def step(name: str) -> None:
        if name == point:
            die()
        if point == CANCELLING and name == "promised":
            job.cancel()

    job = Work(
        ImageRequest.create(prompt, num_images=2),
        settings,
        engine_for(settings),
        report=lambda _: None,
        step=step,
    )
    await job.run(reuse=False)


def main(url: str, home: str, point: str, prompt: str) -> None:
    """Do one job on the package's own loop thread."""
    if point in INSIDE:
        place, name = INSIDE[point]
        deadly: Callable[..., NoReturn] = die
        setattr(place, name, deadly)
    _bridge.run(work, url, Path(home), point, prompt)


if __name__ == "__main__":
    main(*sys.argv[1:])
