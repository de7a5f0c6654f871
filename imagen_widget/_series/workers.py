"""Rows sent by the workers of a Dask client or of any `concurrent.futures.Executor`.

An engine may run a task again whatever its settings say, so a task is only an offer of help: it
claims rows in the shared journal, where each can be claimed once. Tasks carry the addresses of the
journal and the store; requests and keys stay where they are.
"""

import concurrent.futures
import functools
import itertools
import os
import secrets
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from weakref import WeakSet

from anyio import to_thread

from imagen_widget import _loop
from imagen_widget._journal import Filter, Record, State
from imagen_widget._runs import Session
from imagen_widget._series.drive import WITHOUT_PICTURE, Drive, Part, Tally
from imagen_widget._settings import Settings, load_settings
from imagen_widget.errors import ImagenError, InvalidRequest

MIN_ROWS_A_TASK = 20
MAX_ERRORS = 1000  # that are listed with their rows

_LOOK_SECONDS = 0.5
_USUAL_WORKERS = 4  # of an engine that does not say how many it has
_MAX_LOST_TASKS = 3  # while no row was done: the workers cannot work
_ENDED_BADLY = frozenset({State.FAILED, State.CANCELLED, State.EXPIRED, State.UNKNOWN})
_VERSION: str = sys.modules["imagen_widget"].__version__  # imports go down the layers only


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is told; it holds no key and no request."""

    series: str
    part: Part
    place: dict[str, Any] = field(repr=False)  # settings; the journal's may hold a password
    limits: dict[str, Any]
    max_spend: Decimal | None
    errors: str
    version: str = _VERSION


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker did: the ids of rows that it has given up, and why it stopped early."""

    left: tuple[str, ...] = ()
    stopped: ImagenError | None = None


# ------------------------------------------------------------------------- in a worker's process

_proven: WeakSet[Session] = WeakSet()  # those with which a row was done: their key is right


def work(task: Task) -> Report:
    """Claim rows, send them and fetch their pictures; in the worker's process."""
    try:
        if task.version != _VERSION:
            raise ImagenError(
                f"A worker has imagen-widget {_VERSION}, and this is {task.version}.",
                remedy="Install the same version there. Nothing was sent by it.",
            )
        found = load_settings(**task.place)  # the worker's own, under the limits of the series
        budget = tuple(dict.fromkeys((*task.limits["budget"], *found.budget)))
        settings = replace(found, **{**task.limits, "budget": budget})
        return _loop.run(_work, task, _session(os.getpid(), settings))
    except ImagenError as error:
        return Report(stopped=error)


@functools.lru_cache(maxsize=8)
def _session(_pid: int, settings: Settings) -> Session:
    """Return what the tasks of this process share: connections, and the journal that renews."""
    return Session(settings)


async def _work(task: Task, session: Session) -> Report:
    drive = Drive(
        session,
        task.series,
        Tally(),
        max_in_flight=task.part.max_in_flight,
        max_spend=task.max_spend,
        errors=task.errors,
        part=task.part,
        alone=session not in _proven,
    )
    stopped = None
    try:
        await drive.run()
    except ImagenError as error:
        stopped = error
    if drive.tally.done_here:
        _proven.add(session)
    return Report(tuple(drive.left), stopped)


# ------------------------------------------------------------------------- in the user's process


def check_engine(engine: Any, settings: Settings) -> None:
    """Refuse what cannot work before anything is written down.

    Raises:
        InvalidRequest: The journal or the store is not shared with workers, or it is not an engine.
    """
    if not settings.journal or not settings.store:
        missing = "IMAGEN_JOURNAL" if not settings.journal else "IMAGEN_STORE"
        raise InvalidRequest(
            f"on=: workers need a journal and a store that they can reach; {missing} is not set.",
            remedy="Set IMAGEN_JOURNAL=postgresql://… and IMAGEN_STORE=…, or run without on=.",
            field="on",
        )
    waits = _is_dask(engine) and engine.asynchronous
    if waits or not callable(getattr(engine, "submit", None)):
        what = "an asynchronous " if waits else "not a "
        raise InvalidRequest(
            f"on=: {what}{type(engine).__name__}{' cannot be used' if waits else ''}.",
            remedy="Give a Dask Client that is not asynchronous, or a concurrent.futures.Executor.",
            field="on",
        )


def _is_dask(engine: Any) -> bool:
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(engine, distributed.Client)


@dataclass
class _ThisProcess:
    """The engine that fetches the jobs under way where the other one has broken."""

    session: Session

    def submit(self, _: object, task: Task) -> concurrent.futures.Future[Report]:
        return _loop.spawn(_work, task, self.session)


class Coordinator:
    """Offers tasks to the engine until no row is waiting or out; the journal says how far it is."""

    def __init__(self, engine: Any, drive: Drive) -> None:
        self._engine, self._session, self._drive = engine, drive.session, drive
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._out: dict[Any, Part] = {}  # tasks by their futures
        self._left: set[str] = set()
        self._before: Counter[str] = Counter()
        self._newest: list[str] = []
        self._failures = self._lost = self._done = 0
        self._proven = self._halted = False

    async def run(self) -> None:
        """Return when no row is waiting or out; errors as of `Drive.run`."""
        await self._drive.begin()
        self._before = Counter(self._drive.tally.counts)
        try:
            while await self._step():
                await self._drive.pause(_LOOK_SECONDS)
        finally:
            for future in self._out:
                future.cancel()
        await self._show_newest()
        self._drive.finish()

    async def _step(self) -> bool:
        """Take what has ended, offer what can be done, and return False when all is over."""
        drive, session = self._drive, self._session
        for future in [future for future in self._out if future.done()]:
            await self._collect(future)
        await drive.heed()
        await self._look()
        if drive.stopping and not self._halted:
            await session.record(session.journal.halt, drive.name, self._run)
            self._halted = True
        counts = drive.tally.counts
        await self._offer(0 if drive.stopping else counts["waiting"], await self._abandoned())
        if drive.stopping and not counts["sent"]:  # those that have not begun never need to
            for future in self._out:
                future.cancel()
        waiting = counts["waiting"] and not drive.stopping
        return bool(self._out or waiting or counts["sent"] > len(self._left))

    async def _look(self) -> None:
        """Read from the journal what the workers have done."""
        drive, session, before = self._drive, self._session, self._before
        await drive.look()
        done = drive.tally.counts["done"] - before["done"]
        failures = sum(drive.tally.counts[state] - before[state] for state in WITHOUT_PICTURE)
        if failures != self._failures:
            self._failures = failures
            ended = Filter(series=drive.name, states=_ENDED_BADLY, sort="plan")
            records = await session.record(session.journal.query, ended, limit=MAX_ERRORS)
            drive.tally.errors = Tally.of(records).errors
        is_news, drive.tally.done_here = done > drive.tally.done_here, done
        drive.count(failures, done + failures)
        if is_news and drive.tiles is not None:
            await self._show_newest()

    async def _show_newest(self) -> None:
        session, drive = self._session, self._drive
        done = Filter(series=drive.name, states={State.DONE}, sort="newest")
        records = await session.record(session.journal.query, done, limit=drive.tally.recent.maxlen)
        for record in reversed(records):
            if record.id not in self._newest:
                generation = await to_thread.run_sync(session.recall, record)
                if generation is not None:
                    drive.show(generation)
        self._newest = [record.id for record in records]

    async def _abandoned(self) -> list[Record]:
        """Return rows that dead workers have sent, and that no task was told to fetch."""
        session, verbs = self._session, self._session.journal
        await session.record(verbs.recover)
        told = {row for part in self._out.values() for row in part.fetch} | self._left
        pending = await session.record(verbs.pending, series=self._drive.name)
        return [record for record in pending if record.id not in told]

    async def _offer(self, waiting: int, abandoned: list[Record]) -> None:
        """Give tasks to workers that are free, for so many waiting rows and these to be fetched."""
        drive = self._drive
        free = drive.max_in_flight - sum(part.max_in_flight for part in self._out.values())
        if waiting <= 0 and not abandoned:
            return
        try:
            share = -(-drive.max_in_flight // await self._workers())
        except Exception as error:  # noqa: BLE001 - as in `_submit`
            self._lose(error)
            return
        if not self._proven:
            free, share = 1 - len(self._out), 1  # a wrong key costs one error
        while free > 0 and (waiting > 0 or abandoned):
            size = min(share, free)
            rows = 1 if not self._proven else max(MIN_ROWS_A_TASK, 4 * size)
            fetch, abandoned = abandoned[:rows], abandoned[rows:]
            ids = tuple(record.id for record in fetch)
            await self._submit(Part(self._run, size, rows if waiting > 0 else 0, ids))
            waiting -= size
            free -= size

    async def _workers(self) -> int:
        """Return how many tasks the engine runs at once."""
        if _is_dask(self._engine):
            threads = await to_thread.run_sync(self._engine.nthreads)
            return max(1, int(sum(threads.values())))
        return int(getattr(self._engine, "_max_workers", None) or _USUAL_WORKERS)

    async def _submit(self, part: Part) -> None:
        settings, drive = self._session.settings, self._drive
        place = {name: getattr(settings, name) for name in ("base_url", "journal", "store")}
        place |= {"provider": settings.account.name, "timeout": settings.timeout}
        limits = {name: getattr(settings, name) for name in ("budget", "price", "user")}
        errors = "raise" if drive.errors == "raise" else "row"
        task = Task(drive.name, part, place, limits, drive.max_spend, errors)
        options: dict[str, Any] = {}
        if _is_dask(self._engine):
            key = f"imagen-{drive.name}-{self._run}-{next(self._numbers)}"
            options = {"pure": False, "retries": 0, "key": key}
        submit = functools.partial(self._engine.submit, work, task, **options)
        try:
            self._out[await to_thread.run_sync(submit)] = part
        except Exception as error:  # noqa: BLE001 - engines raise what they like
            self._lose(error)

    async def _collect(self, future: Any) -> None:
        """Take the report of a task; one that died has left its rows to the next one."""
        self._out.pop(future)
        try:
            report: Report = await to_thread.run_sync(future.result)
        except Exception as error:  # noqa: BLE001 - engines raise what they like
            self._lose(error)
        else:
            self._proven = True
            self._left.update(report.left)
            if report.stopped is not None:
                self._drive.end_with(report.stopped)
        if _is_dask(self._engine):
            future.release()  # results that are held are computed again when their worker dies

    def _lose(self, error: Exception) -> None:
        """Note that a task died; give the engine up when it cannot be the worker's death alone."""
        done = self._drive.tally.done_here
        self._lost, self._done = 1 if done > self._done else self._lost + 1, done
        broken = isinstance(error, concurrent.futures.BrokenExecutor)
        if not self._drive.stopping and (broken or self._lost >= _MAX_LOST_TASKS):
            self._drive.end_with(
                ImagenError(
                    f"The workers cannot work ({type(error).__name__}: {error}).",
                    remedy="Install imagen-widget[team,store] and set the key there; resume() goes"
                    " on with the rest.",
                )
            )
            self._engine = _ThisProcess(self._session)
