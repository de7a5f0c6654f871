"""Recorder: calls the journal from the loop; calls that come while it writes go together next.

A commit waits for the disk, so that jobs which write one after the other wait for each other. What
a call returns counts only when it is on disk, as ever: together only means fewer waits.

Measured with 1,000 jobs at once: their 7,007 calls took 674 waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagen_widget._journal import Journal

T = TypeVar("T")

_MOST_TOGETHER = 100


@dataclass(slots=True, eq=False)
class _Entry:
    call: Callable[[], Any]
    begun: bool = False
    value: Any = None
    error: BaseException | None = None


class Recorder:
    """Runs methods of one journal in a worker thread, in the order in which they came."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turn = anyio.Lock(fast_acquire=True)
        self._waiting: list[_Entry] = []

    async def record(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - passed on
        """Run a method of the journal and return what it returns, once that is on disk.

        A cancellation before it has begun prevents it; later it is carried out all the same.
        """
        entry = _Entry(partial(function, *args, **kwargs))
        self._waiting.append(entry)
        try:
            async with self._turn:
                if not entry.begun:
                    await self._write()
        finally:
            if not entry.begun:
                self._waiting.remove(entry)
        if entry.error is not None:
            raise entry.error
        value: T = entry.value
        return value

    async def close(self) -> None:
        """Close the journal's file after what was recorded before."""
        async with self._turn:
            await to_thread.run_sync(self._journal.close)

    async def _write(self) -> None:
        """Run what is waiting, for all who wait."""
        entries, self._waiting = self._waiting[:_MOST_TOGETHER], self._waiting[_MOST_TOGETHER:]
        for entry in entries:
            entry.begun = True
        try:
            with anyio.CancelScope(shield=True):  # the others have not been cancelled
                await to_thread.run_sync(self._run, entries)
        except BaseException as error:
            _tell_all(entries, error)
            raise

    def _run(self, entries: list[_Entry]) -> None:
        if len(entries) == 1:
            _run_one(entries[0])
            return
        try:
            with self._journal.together():
                for entry in entries:
                    _run_one(entry)
        except Exception as error:  # noqa: BLE001 - whatever it is, all who wait are told
            _tell_all(entries, error)


def _tell_all(entries: list[_Entry], error: BaseException) -> None:
    """Let no call count as done; one that failed by itself keeps its own reason."""
    for entry in entries:
        entry.error = entry.error or error


def _run_one(entry: _Entry) -> None:
    try:
        entry.value = entry.call()
    except Exception as error:  # noqa: BLE001 - raised again by whoever waits for it
        entry.error = error
