"""Rows sent by the workers of a Dask client or of any `concurrent.futures.Executor`.

An engine may run a task again whatever its settings say, so a task is only an offer of help: it
claims rows in the shared journal, where each can be claimed once. Tasks carry the addresses of the
journal and the store; requests and keys stay where they are.
"""

import concurrent.futures
import functools
import os
import secrets
import sys
from dataclasses import replace
from typing import Any

import anyio
from anyio import to_thread

from imagen_widget import _loop
from imagen_widget._journal import Filter, State
from imagen_widget._runs import Session
from imagen_widget._series.drive import VERSION, Drive, Tally, Task, newest
from imagen_widget._settings import Settings, check_key, load_settings
from imagen_widget.errors import ImagenError, a_type, invalid

MIN_ROWS_A_TASK = 20
MAX_ERRORS = 1000  # that are listed with their rows

_LOOK_SECONDS = 0.5
_USUAL_WORKERS = 4  # of an engine that does not say how many it has
_MAX_LOST_TASKS = 3  # while no row was done: the workers cannot work
_ENDED_BADLY = frozenset({State.FAILED, State.CANCELLED, State.EXPIRED, State.UNKNOWN})
Report = tuple[tuple[str, ...], ImagenError | None]  # rows that it gave up, why it stopped early


# ------------------------------------------------------------------------- in a worker's process


def work(task: Task) -> Report:
    """Claim rows, send them and fetch their pictures; in the worker's process."""
    try:
        if task.version != VERSION:
            raise ImagenError(
                f"A worker has imagen-widget {VERSION}, and this is {task.version}.",
                remedy="Install the same version there. It sent nothing.",
            )
        found = load_settings(**task.place)  # the worker's own, under the limits of the series
        check_key(found)
        budget = tuple(dict.fromkeys((*task.limits["budget"], *found.budget)))
        settings = replace(found, **{**task.limits, "budget": budget})
        return _loop.run(_work, task, _session(os.getpid(), settings))
    except ImagenError as error:
        return (), error


@functools.lru_cache(maxsize=8)
def _session(_pid: int, settings: Settings) -> Session:
    """Return what the tasks of this process share: connections, and the journal that renews."""
    return Session(settings)


async def _work(task: Task, session: Session) -> Report:
    run = Drive(session, task, Tally())
    try:
        await run.run()
    except ImagenError as error:
        return tuple(run.left), error
    return tuple(run.left), None


# ------------------------------------------------------------------------- in the user's process


def check_engine(engine: Any, settings: Settings) -> None:
    """Refuse what cannot work before anything is written down."""
    if not settings.journal or not settings.store:
        missing = "IMAGEN_JOURNAL" if not settings.journal else "IMAGEN_STORE"
        what = f"workers need a journal and a store that they can reach; {missing} is not set"
        remedy = "Set IMAGEN_JOURNAL=postgresql://… and IMAGEN_STORE=…, or run without on=."
        raise invalid("on", what, remedy)
    waits = _is_dask(engine) and engine.asynchronous
    if waits or not callable(getattr(engine, "submit", None)):
        what = "it is an asynchronous Client" if waits else f"it is {a_type(engine)}"
        remedy = "Give a Dask Client that is not asynchronous, or a concurrent.futures.Executor."
        raise invalid("on", what, remedy)


def _is_dask(engine: Any) -> bool:
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(engine, distributed.Client)


class Coordinator(Drive):
    """Offers tasks to the engine until no row is waiting or out; the journal says how far it is."""

    def __init__(self, engine: Any, session: Session, task: Task, tally: Tally) -> None:
        settings = session.settings
        place = {name: getattr(settings, name) for name in ("base_url", "journal", "store")}
        place |= {"provider": settings.account.name, "timeout": settings.timeout}
        limits = {name: getattr(settings, name) for name in ("budget", "price", "user")}
        run = secrets.token_hex(4)
        super().__init__(session, replace(task, run=run, place=place, limits=limits), tally)
        self._engine = engine  # None once it has broken: what is out is fetched in this process
        self._tasks: dict[Any, Task] = {}  # by their futures
        self._lost = self._done = 0
        self._proven = self._halted = False

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            for future in self._tasks:
                future.cancel()

    async def _step(self, _: anyio.abc.TaskGroup) -> bool:
        """Take what has ended, offer what can be done, and return False when all is over."""
        session, tally = self.session, self.tally
        for future in [future for future in self._tasks if future.done()]:
            await self._collect(future)
        await self._heed()
        await self._look()
        await self._count_ended()
        if tally.stopping and not self._halted:
            await session.record(session.journal.halt, self.name, self.task.run)
            self._halted = True
        waiting = 0 if tally.stopping else await self._waiting()
        await self._offer(waiting)
        if tally.stopping and not tally.counts["sent"]:  # those that have not begun never need to
            for future in self._tasks:
                future.cancel()
        if not (self._tasks or waiting or tally.counts["sent"] > len(self.left)):
            return False
        await self._pause(_LOOK_SECONDS)
        return True

    async def _count_ended(self) -> None:
        """Take over what the workers have done, as the journal has it."""
        session, tally = self.session, self.tally
        done = tally.counts["done"] - tally.kept
        failures = tally.without_picture - self._failed_before
        if failures != self._failures:
            ended = Filter(series=self.name, states=_ENDED_BADLY, sort="plan")
            records = await session.record(session.journal.query, ended, limit=MAX_ERRORS)
            tally.errors = Tally.of(records).errors
        is_news, tally.done_here = done > tally.done_here, done
        self._count(failures, done + failures)
        if is_news:
            tally.recent = await to_thread.run_sync(newest, session, self.name)

    async def _offer(self, waiting: int) -> None:
        """Give tasks to workers that are free: for waiting rows, and for those of dead workers."""
        session, verbs = self.session, self.session.journal
        await session.record(verbs.recover)
        pending = await session.record(verbs.pending, series=self.name)
        abandoned = sum(record.id not in self.left for record in pending)
        if waiting <= 0 and not abandoned:
            return
        free = self.tally.in_flight - sum(task.max_in_flight for task in self._tasks.values())
        try:
            share = -(-self.tally.in_flight // await self._workers())
        except Exception as error:  # noqa: BLE001 - engines raise what they like
            self._lose(error)
            return
        if not self._proven:
            free, share = 1 - len(self._tasks), 1  # a wrong key costs one error
        while free > 0 and (waiting > 0 or abandoned > 0):
            size = min(share, free)
            task = replace(
                self.task,
                max_in_flight=size,
                max_rows=max(MIN_ROWS_A_TASK, 4 * size) if self._proven else 1,
                left=tuple(self.left),
                before=(self.tally.kept, self._failed_before),
            )
            await self._submit(task)
            waiting -= size
            abandoned -= size
            free -= size

    async def _workers(self) -> int:
        if _is_dask(self._engine):
            threads = await to_thread.run_sync(self._engine.nthreads)
            return max(1, int(sum(threads.values())))
        return int(getattr(self._engine, "_max_workers", None) or _USUAL_WORKERS)

    async def _submit(self, task: Task) -> None:
        if self._engine is None:
            self._tasks[_loop.spawn(_work, task, self.session)] = task
            return
        options: dict[str, Any] = {}
        if _is_dask(self._engine):
            key = f"imagen-{self.name}-{secrets.token_hex(8)}"
            options = {"pure": False, "retries": 0, "key": key}
        submit = functools.partial(self._engine.submit, work, task, **options)
        try:
            self._tasks[await to_thread.run_sync(submit)] = task
        except Exception as error:  # noqa: BLE001 - engines raise what they like
            self._lose(error)

    async def _collect(self, future: Any) -> None:
        """Take the report of a task; one that died has left its rows to the next one."""
        self._tasks.pop(future)
        try:
            left, stopped = await to_thread.run_sync(future.result)
        except Exception as error:  # noqa: BLE001 - engines raise what they like
            self._lose(error)
        else:
            self._proven = True
            self.left.update(left)
            if stopped is not None:
                self._end_with(stopped)
        if _is_dask(self._engine):
            future.release()  # results that are held are computed again when their worker dies

    def _lose(self, error: Exception) -> None:
        """Note that a task died; give the engine up when it cannot be the worker's death alone."""
        done = self.tally.done_here
        self._lost, self._done = 1 if done > self._done else self._lost + 1, done
        broken = isinstance(error, concurrent.futures.BrokenExecutor)
        if not self.tally.stopping and (broken or self._lost >= _MAX_LOST_TASKS):
            self._end_with(
                ImagenError(
                    f"The workers fail ({type(error).__name__}: {error}).",
                    remedy="Install imagen-widget[team,store] and set the key there; resume() goes"
                    " on with the rest.",
                )
            )
            self._engine = None
