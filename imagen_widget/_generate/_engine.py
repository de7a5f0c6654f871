"""Engine: the client, journal and store that all jobs with the same settings share.

It lives on the loop thread. The journal and the store block on the disk, so they run in worker
threads; journal calls one after the other, as SQLite would make them wait anyway.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, TypeVar

import anyio

from imagen_widget import _bridge
from imagen_widget._client import ImagenClient
from imagen_widget._generate._price import estimate
from imagen_widget._generate._recorder import Recorder
from imagen_widget._journal import Journal
from imagen_widget._store import Store
from imagen_widget.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from imagen_widget._request import ImageRequest
    from imagen_widget._settings import Settings

T = TypeVar("T")

_MOST_DOWNLOADS = 8
_MOST_SUBMITS = 20

_engines: dict[tuple[object, ...], Engine] = {}
_session: dict[Path, list[str]] = {}

log = logging.getLogger("imagen_widget")


class Engine:
    """What jobs with the same provider, key and home share.

    Attributes:
        client: The provider's client.
        journal: The journal of the home folder; call it through `record`.
        record: Runs a method of the journal in a worker thread.
        store: The pictures of the home folder.
        submits: How many submits may be under way at once.
        downloads: How many pictures may be under way at once.
    """

    def __init__(
        self,
        client: ImagenClient,
        journal: Journal,
        store: Store,
    ) -> None:
        self.client = client
        self.journal = journal
        self.store = store
        self.submits = anyio.CapacityLimiter(_MOST_SUBMITS)
        self.downloads = anyio.CapacityLimiter(_MOST_DOWNLOADS)
        self._recorder = Recorder(journal)
        self.record = self._recorder.record

    async def intend(self, request: ImageRequest, settings: Settings) -> str:
        """Write a job down before it is sent, and return its id.

        Raises:
            BudgetExceeded: The day's spend would pass the cap.
            JournalError: It cannot be written down: then nothing may be sent.
        """
        job_id = await self.record(
            self.journal.intend,
            request,
            provider=settings.provider.name,
            base_url=settings.base_url,
            price=estimate(request, settings),
            cap=settings.max_spend,
        )
        _session.setdefault(settings.home, []).append(job_id)
        return job_id

    async def note_down(
        self, function: Callable[..., object], /, *args: object, **kwargs: object
    ) -> None:
        """Record what came of a job, whatever goes on around it.

        A cancellation waits for it. What the journal has to say against it is only logged: whoever
        notes something down here is about to tell something more important.
        """
        with anyio.CancelScope(shield=True):
            try:
                await self.record(function, *args, **kwargs)
            except JournalError as error:
                log.warning("%s", error)

    async def close(self) -> None:
        """Close the client's connections and the journal's file."""
        await self.client.aclose()
        await self._recorder.close()


def engine_for(settings: Settings) -> Engine:
    """Return the engine for these settings; call it on the loop thread only."""
    key = (
        os.getpid(),
        settings.provider.name,
        settings.base_url,
        settings.key,
        settings.home,
        settings.demo_seconds,
        settings.poll_seconds,
    )
    if key not in _engines:
        _bridge.on_close(_close_all)
        _engines[key] = Engine(
            ImagenClient(settings=settings), Journal(settings.home), Store(settings.home)
        )
    return _engines[key]


def session_jobs(home: Path) -> list[str]:
    """Return the ids of the jobs that this process wrote down in a home folder, oldest first."""
    return list(_session.get(home, ()))


async def _close_all() -> None:
    for key in [
        key for key in _engines if key[0] == os.getpid()
    ]:  # not a forked process's parent's
        await _engines.pop(key).close()
