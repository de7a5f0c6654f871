"""One home, one provider that counts its bills, and work between the two, on an injected clock."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from imagen_widget._client import ImagenClient
from imagen_widget._generate._engine import Engine
from imagen_widget._generate._work import Work
from imagen_widget._journal import Journal
from imagen_widget._protocol._ticket import Ticket
from imagen_widget._request import ImageRequest
from imagen_widget._settings import load_settings
from imagen_widget._store import Store
from tests.billing import BASE_URL, Clock, Provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from imagen_widget._generate._progress import Event
    from imagen_widget._journal import JobRow, State
    from imagen_widget._result import Generation
    from imagen_widget._settings import Settings

NOON = 1_790_000_000.0  # Unix seconds
FOX = ImageRequest.create("a red fox")


def noon() -> Clock:
    """Return a clock on the wall."""
    clock = Clock()
    clock.now = NOON
    return clock


@dataclass
class Workshop:
    """Where work is done: `work` makes some, `rows` and `states` say what the journal has.

    Attributes:
        home: The folder of journal and pictures.
        provider: What counts the bills.
        clock: The client's and the work's time.
        wall: The journal's time.
        settings: Under which settings.
        journal: The home's journal.
        engine: What the work shares.
        events: All that was reported.
        steps: The points that the work went through.
        at_step: Called at each of these points.
    """

    home: Path
    provider: Provider
    clock: Clock
    wall: Clock
    settings: Settings
    journal: Journal
    engine: Engine
    events: list[Event] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    at_step: Callable[[str], None] = lambda _: None

    def work(self, request: ImageRequest = FOX, *, timeout: float | None = None) -> Work:
        """Return a piece of work that was not begun."""
        return Work(
            request,
            self.settings,
            self.engine,
            report=self.events.append,
            timeout=timeout,
            clock=self.clock,
            step=self._step,
        )

    async def run(self, request: ImageRequest = FOX, *, reuse: bool = False) -> Generation:
        """Do a piece of work."""
        return await self.work(request).run(reuse=reuse)

    async def resume(self, row: JobRow) -> Generation:
        """Take a job up again, as another process would."""
        assert self.journal.lease(row.id)
        assert row.ticket_json is not None
        return await self.work(row.request).resume(row, Ticket.from_json(row.ticket_json))

    def rows(self) -> list[JobRow]:
        """Return all jobs, oldest first."""
        return self.journal.rows()[::-1]

    def states(self) -> list[State]:
        """Return the states of all jobs, oldest first."""
        return [row.state for row in self.rows()]

    def kept(self) -> int:
        """Count the whole pictures on disk, and fail where one is not whole."""
        files = [path for path in (self.home / "images").rglob("*") if path.is_file()]
        assert not [path for path in files if ".part" in path.name]
        return len(files)

    def with_settings(self, **changes: object) -> Workshop:
        """Return the same workshop under other settings."""
        return replace(self, settings=replace(self.settings, **changes))  # type: ignore[arg-type]  # fields of Settings

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self.at_step(name)


@asynccontextmanager
async def open_workshop(
    home: Path,
    *,
    provider: Provider | None = None,
    make_journal: Callable[..., Journal] = Journal,
    make_engine: Callable[[ImagenClient, Journal, Store], Engine] = Engine,
    wall: Clock | None = None,
    **settings: object,
) -> AsyncIterator[Workshop]:
    """Open a workshop on a home folder; a second one on the same folder is a second process."""
    provider, clock, wall = provider or Provider(), Clock(), wall or noon()
    loaded = load_settings(
        provider="kkiai",
        api_key="made-up",
        base_url=BASE_URL,
        home=home,
        environ={},
        **settings,  # type: ignore[arg-type]  # keywords of load_settings
    )
    client = ImagenClient(
        settings=loaded,
        transport=provider.transport(),
        clock=clock,
        sleep=clock.sleep,
        chance=lambda: 0.5,
    )
    journal = make_journal(home, clock=wall)
    engine = make_engine(client, journal, Store(home))
    try:
        yield Workshop(home, provider, clock, wall, loaded, journal, engine)
    finally:
        await engine.close()
