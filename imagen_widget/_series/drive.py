"""Sends the rows of one series and fetches the jobs under way, on the loop thread.

At most once: a row is claimed in the journal, with its price reserved, before it is sent. Rows of
dead processes are taken over; those that may have been sent without an answer are not sent again.
"""

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import anyio
from anyio import to_thread

from imagen_widget import _loop, errors
from imagen_widget._journal import Filter, IllegalStep, Record, State
from imagen_widget._result import Generation
from imagen_widget._runs import Run, Session

VERSION: str = sys.modules["imagen_widget"].__version__  # imports go down the layers only
STATES = ("waiting", "sent", "done", "failed", "refused", "unknown")
WITHOUT_PICTURE = STATES[3:]
TOLD = (*STATES[2:], "sent", "waiting")  # in the order in which people are told
MIN_ENDED_FOR_SHARE = 10

_LOOK_SECONDS = 2.0
_TAKE_OVER_SECONDS = 10.0
_MAX_RECENT = 14  # generations that a view shows
_ONE_ROW_ONLY = (
    errors.ContentRejected,
    errors.GenerationFailed,
    errors.QueueTimeout,
    errors.SubmitUncertain,
)


@dataclass(slots=True)
class Tally:
    """How far a series is; amounts in US dollars, times in seconds of `time.monotonic`."""

    counts: Counter[str] = field(default_factory=Counter)  # rows by state
    spent: Decimal = Decimal(0)  # or reserved for rows that were sent
    planned: Decimal | None = Decimal(0)  # for all rows; None if a price is unknown
    recent: deque[Generation] = field(default_factory=lambda: deque(maxlen=_MAX_RECENT))
    errors: dict[str, list[str]] = field(default_factory=dict)  # keys of rows by what went wrong
    axes: dict[str, int] = field(default_factory=dict)  # how many values each has
    done_here: int = 0  # rows that this run has done
    kept: int = 0  # rows that were done before it began
    started: float = 0.0
    ended: float | None = None
    in_flight: int = 8  # how many rows may be out at once
    limit: Decimal | None = None  # at which the series pauses
    stopping: bool = False  # no more rows are sent
    elsewhere: bool = False  # another process works on it
    besides: Decimal | None = None  # spent in the period of the cap on other things

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Tally":
        """Return how far the rows are that the journal has."""
        tally, values = cls(), dict[str, set[str]]()
        for record in records:
            state = record.status
            tally.counts[state] += 1
            tally.spent += record.amount
            if tally.planned is not None:
                tally.planned = None if record.price is None else tally.planned + record.price
            if state in WITHOUT_PICTURE:
                tally.errors.setdefault(record.error or state, []).append(record.key)
            for name, value in record.axes.items():
                values.setdefault(name, set()).add(str(value))
        tally.axes = {name: len(found) for name, found in values.items() if len(found) > 1}
        return tally

    @property
    def is_running(self) -> bool:
        return bool(self.started) and self.ended is None

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def without_picture(self) -> int:
        return sum(self.counts[state] for state in WITHOUT_PICTURE)


def newest(session: Session, name: str) -> deque[Generation]:
    """Return what the last rows brought, oldest first, as many as a view shows."""
    done = Filter(series=name, states={State.DONE}, sort="newest")
    records = session.journal.query(done, limit=_MAX_RECENT)
    return deque(filter(None, map(session.recall, reversed(records))), maxlen=_MAX_RECENT)


def spent_in_period(session: Session) -> Decimal:
    """Return US dollars spent or reserved in the period of the first cap; this month without one.

    Of a cap for each user it is what this one has spent.
    """
    settings, today = session.settings, datetime.now().astimezone().date()
    limit = next(iter(settings.budget), None)
    since = today if limit and limit.period == "day" else today.replace(day=1)
    if limit and limit.scope == "user":
        return session.journal.spend_by("user", since).get(settings.user, Decimal(0))
    return session.journal.spend(since)


@dataclass(frozen=True, slots=True)
class Task:
    """What a run does of a series, here or in a worker; it holds no key and no request."""

    series: str
    max_in_flight: int
    max_spend: Decimal | None
    errors: str | float
    run: str = ""  # that several workers share; no more rows are claimed when it is halted
    max_rows: int = sys.maxsize
    left: tuple[str, ...] = ()  # the ids of rows that others gave up, and that are still out
    before: tuple[int, int] | None = None  # rows done, and without picture, when the run began
    place: dict[str, Any] = field(default_factory=dict, repr=False)  # may hold a password
    limits: dict[str, Any] = field(default_factory=dict)
    version: str = VERSION


class Drive:
    """One run of a series in this process.

    Attributes:
        future: Ends with the run.
        listeners: Called after each change, most often on the loop thread.
        left: The ids of rows that this run has given up, and that are still out.
    """

    def __init__(self, session: Session, task: Task, tally: Tally) -> None:
        tally.in_flight, tally.limit = task.max_in_flight, task.max_spend
        tally.started = time.monotonic()
        self.session, self.task, self.tally, self.name = session, task, tally, task.series
        self.future: Future[None] = Future()
        self.listeners: list[Callable[[Any], object]] = []
        self.left = set(task.left)
        self.place = _place(session, task.series)
        # The first row goes alone, so that a wrong key or model costs one error; that of workers
        # is a task of its own.
        self._proven = bool(task.run) and task.max_rows > 1
        self._rows_left = task.max_rows
        self._out: set[str] = set()
        self._failed_before = self._failures = self._ended = 0
        self._stop: errors.ImagenError | None = None
        self._wake = anyio.Event()
        self._look_at = 0.0
        self._stopped: str | None = None

    def start(self) -> None:
        """Start to run; `runs_here` finds it until it ends."""
        try:
            _under_way.append(self)
            self.future.add_done_callback(lambda _: _under_way.remove(self))
            _loop.spawn(self.run, future=self.future)
        except KeyboardInterrupt:  # nobody has seen it
            self.future.cancel()
            raise

    def changed(self) -> None:
        for listener in list(self.listeners):
            listener(self.tally)

    def stop(self) -> None:
        """Send no more rows; on the loop thread. Jobs under way are still fetched."""
        self.tally.stopping = True
        self._wake.set()
        self.changed()

    def _end_with(self, error: errors.ImagenError) -> None:
        """Send no more rows, and raise this at the end unless something else was first."""
        self._stop = self._stop or error
        self.stop()

    async def run(self) -> None:
        """Return when no row is waiting or out; errors are raised once those out are fetched."""
        await to_thread.run_sync(self.session.store.ready)
        await self._heed()
        await self._look()
        now = self.tally.counts["done"], self.tally.without_picture
        self.tally.kept, self._failed_before = self.task.before or now
        async with anyio.create_task_group() as group:
            try:
                while await self._step(group):
                    pass
            except errors.JournalError as error:
                self._end_with(error)  # rows that are out go on
        here = runs_here(self.session, self.name)
        for run in here[: here.index(self) if self in here else 0]:
            with suppress(Exception):  # what an interrupted one has sent; it says how that ended
                await _loop.wait_async(run.future)
        with suppress(errors.JournalError):
            await self._look()
        self.tally.ended = time.monotonic()
        self.changed()
        if isinstance(self._stop, errors.BudgetExceeded):
            raise self._capped(self._stop)
        if self._stop is not None:
            raise self._stop

    def _capped(self, error: errors.BudgetExceeded) -> errors.BudgetExceeded:
        """Return the error of a cap with what the series has already, for `Nothing was sent`."""
        counts = self.tally.counts
        if counts["waiting"] == self.tally.total:
            return error
        told = ", ".join(f"{counts[state]:,} {state}" for state in TOLD if counts[state])
        _, _, rest = error.remedy.partition(";")
        return errors.BudgetExceeded(error.message, remedy=f"Nothing more was sent: {told};{rest}")

    async def _pause(self, seconds: float) -> None:
        """Wait for a row to end, for `stop`, or for so long."""
        with anyio.move_on_after(seconds):
            await self._wake.wait()
        self._wake = anyio.Event()

    async def _heed(self) -> None:
        """Stop if the series has been cancelled since the run began, perhaps in another process."""
        spec = await self.session.record(self.session.journal.series, self.name) or {}
        before, self._stopped = self._stopped, spec.get("stopped", "")
        if before is not None and self._stopped != before and not self.tally.stopping:
            self.stop()

    async def _step(self, group: anyio.abc.TaskGroup) -> bool:
        """Begin what can be begun, wait for a change, and return False when all is over."""
        if not self.task.run:  # workers are halted by the journal
            await self._heed()
        free, found = self.tally.in_flight - len(self._out), list[Record]()
        if free > 0 and (not self._out or time.monotonic() >= self._look_at):
            found = await self._abandoned(free)
            free -= len(found)
        is_first = self._rows_left == self.task.max_rows
        found += await self._claim(free if self._proven else min(free, int(is_first)))
        for record in found:
            self._out.add(record.id)
            group.start_soon(self._row, record)
        if not self._out and not await self._goes_on():
            return False
        if not found or len(self._out) == self.tally.in_flight:
            await self._pause(_LOOK_SECONDS)
        return True

    async def _goes_on(self) -> bool:
        """Return True if rows of others may still come to this process."""
        await self._look()
        if self.tally.stopping or self.task.run:
            return False  # what is still out belongs to another process, which goes on
        return await self._waiting() > 0 or self.tally.counts["sent"] > len(self.left)

    async def _waiting(self) -> int:
        """Return how many rows wait for this provider: a plan for another may replace ours."""
        session, provider = self.session, self.session.settings.account.name
        ours = Filter(series=self.name, states={State.WAITING}, provider=provider)
        return await session.record(session.journal.count, ours)

    async def _claim(self, count: int) -> list[Record]:
        """Return rows that are now ours to send; their prices are reserved."""
        session, count = self.session, min(count, self._rows_left)
        if count < 1 or self.tally.stopping:
            return []
        try:
            records: list[Record] = await session.record(
                session.journal.claim,
                series=self.name,
                count=count,
                budget=session.settings.budget,
                series_cap=self.tally.limit,
                user=session.settings.user,
                run=self.task.run,
                provider=session.settings.account.name,
            )
        except (errors.BudgetExceeded, errors.JournalError) as error:
            self._end_with(error)
            return []
        self._rows_left -= len(records)
        self.tally.spent += sum(record.price or 0 for record in records)
        if records:
            self._move("waiting", "sent", len(records))
        return records

    async def _abandoned(self, count: int) -> list[Record]:
        """Return rows that a dead process had sent, leased to this one."""
        session, verbs, found = self.session, self.session.journal, list[Record]()
        self._look_at = time.monotonic() + _TAKE_OVER_SECONDS
        await session.record(verbs.recover)
        for record in await session.record(verbs.pending, series=self.name):
            if len(found) == count or record.id in self._out | self.left:
                continue
            try:
                there = session.sibling(record)
            except errors.ImagenError as error:  # no key for where it was sent: it stays out
                self.left.add(record.id)
                self.tally.errors.setdefault(error.message, []).append(record.key)
                continue
            if await there.lease(record.id):
                found.append(record)
        return found

    async def _row(self, record: Record) -> None:
        resumable = record.state in {State.SUBMITTED, State.COMPLETED}
        session = self.session.sibling(record) if resumable else self.session
        run = Run(session, record.request, report=lambda _: None)
        try:
            generation = await (run.resume(record) if resumable else run.send(record.id))
        except errors.ImagenError as error:
            await self._row_failed(record, error)
        else:
            self.tally.done_here += 1
            self.tally.spent += Decimal(str(generation.cost or 0)) - (record.price or 0)
            self.tally.recent.append(generation)
            self._move("sent", "done", 1)
            if not self.task.run:
                self._count(self._failures, self._ended + 1)
        finally:
            self._proven = self._proven or not resumable
            self._out.discard(record.id)
            self._wake.set()

    async def _row_failed(self, record: Record, error: errors.ImagenError) -> None:
        """Count a row as the journal has it now."""
        session, now = self.session, record
        with suppress(errors.JournalError):  # it is about to be told what is wrong with the journal
            now = await session.record(session.journal.get, record.id)
        if now.status == "sent":
            self.left.add(record.id)  # fetched by the next run
        said = f"{type(error).__name__}: {error.message}"
        self.tally.errors[said] = [*self.tally.errors.pop(said, ()), record.key]
        self.tally.spent += now.amount - record.amount
        self._move("sent", now.status, 1)
        if self._stops_all(error):
            self._end_with(error)
        if not self.task.run:
            self._count(self._failures + 1, self._ended + 1)
            return
        with suppress(errors.JournalError):
            await self._look()  # what all workers have done
        failures = self.tally.without_picture - self._failed_before
        self._count(failures, failures + self.tally.counts["done"] - self.tally.kept)
        if self.tally.stopping:  # for the others too, before they claim more
            await session.note(session.journal.halt, self.name, self.task.run)

    def _count(self, failures: int, ended: int) -> None:
        """Take over how many rows have failed and ended in this run; stop if that is too many."""
        self._failures, self._ended = failures, ended
        allowed = self.task.errors
        if isinstance(allowed, str):
            return
        if 0 < allowed < 1:  # a share
            allowed = allowed * ended if ended >= MIN_ENDED_FOR_SHARE else failures
        if failures > allowed:
            said = next(reversed(self.tally.errors), "see series.errors")  # of this run
            what = f"{errors.plural(failures, 'row')} failed, more than allowed"
            remedy = "See series.errors; resume() goes on with the rest."
            self._end_with(errors.SeriesStopped(f"{what}; one of them: {said}", remedy=remedy))

    def _stops_all(self, error: errors.ImagenError) -> bool:
        """Return True if the error shows that the other rows would fail too."""
        if isinstance(error, IllegalStep):  # another process has taken the row
            return False
        if self.task.errors == "raise" or isinstance(
            error, errors.CredentialsError | errors.JournalError
        ):
            return True
        first = not self._proven and not self.tally.counts["done"]
        return first and not isinstance(error, _ONE_ROW_ONLY)

    def _move(self, before: str, after: str, count: int) -> None:
        self.tally.counts[before] -= count
        self.tally.counts[after] += count
        self.changed()

    async def _look(self) -> None:
        """Read counts and money from the journal: other processes may work on the series too."""
        session, tally = self.session, self.tally
        counts = await session.record(session.journal.states, self.name)
        tally.spent = await session.record(session.journal.spent_on, self.name)
        tally.counts = Counter(counts)
        tally.besides = await session.record(spent_in_period, session) - tally.spent
        self.changed()


# ------------------------------------------------------------------------- the runs of this process

_under_way: list[Drive] = []


def _place(session: Session, name: str) -> tuple[object, ...]:
    return os.getpid(), session.settings.home, session.settings.journal, name


def runs_here(session: Session, name: str) -> list[Drive]:
    """Return the runs of a series that are under way in this process, of all its objects."""
    place = _place(session, name)
    return [run for run in list(_under_way) if run.place == place and not run.future.done()]
