"""Sends the rows of one series and fetches what is out, on the loop thread.

At most once: a row is claimed in the journal, with its price reserved, before it is sent. Rows of
dead processes are taken over; those that may have been sent without an answer are not sent again.
"""

import math
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

import anyio
from anyio import to_thread

from imagen_widget._journal import IllegalStep, Record, State
from imagen_widget._result import Generation
from imagen_widget._runs import LEASE_SECONDS, Run, Session
from imagen_widget._series.parts import Tiles
from imagen_widget.errors import (
    BudgetExceeded,
    ContentRejected,
    CredentialsError,
    GenerationFailed,
    ImagenError,
    JournalError,
    QueueTimeout,
    SeriesStopped,
    SubmitUncertain,
)

STATES = ("waiting", "sent", "done", "failed", "refused", "unknown")
WITHOUT_PICTURE = STATES[3:]
MIN_ENDED_FOR_SHARE = 10
MIN_DONE_FOR_RATE = 5

_LOOK_SECONDS = 2.0
_TAKE_OVER_SECONDS = 10.0
_MAX_RECENT = 12  # generations that a view shows
_ONE_ROW_ONLY = (ContentRejected, GenerationFailed, QueueTimeout, SubmitUncertain)


@dataclass(slots=True)
class Tally:
    """How far a series is.

    Attributes:
        counts: Rows by state.
        spent: US dollars spent or reserved for rows that were sent.
        planned: US dollars for all rows; None if a price is unknown.
        recent: The newest pictures' generations.
        errors: Rows' keys by what went wrong.
        done_here: How many rows this run has done.
        started: When this run began, in seconds of the clock; 0 before.
        ended: When it ended.
        kept: How many rows were done before it began.
        in_flight: How many rows may be out at once.
        limit: US dollars at which the series pauses.
        stopping: Whether no more rows are sent.
        axes: How many values each axis has.
    """

    counts: Counter[str] = field(default_factory=Counter)
    spent: Decimal = Decimal(0)
    planned: Decimal | None = Decimal(0)
    recent: deque[Generation] = field(default_factory=lambda: deque(maxlen=_MAX_RECENT))
    errors: dict[str, list[str]] = field(default_factory=dict)
    done_here: int = 0
    started: float = 0.0
    ended: float | None = None
    kept: int = 0
    in_flight: int = 0
    limit: Decimal | None = None
    stopping: bool = False
    axes: dict[str, int] = field(default_factory=dict)

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
        """Whether a run of this process is under way."""
        return bool(self.started) and self.ended is None

    @property
    def total(self) -> int:
        """How many rows there are."""
        return sum(self.counts.values())

    def left_seconds(self, now: float) -> float | None:
        """Return the seconds that the rest will take; None until five rows are done."""
        rate = self.rate(now)
        left = self.counts["waiting"] + self.counts["sent"]
        return left / rate if rate else None

    def rate(self, now: float) -> float | None:
        """Return rows a second; None until five rows are done."""
        if self.done_here < MIN_DONE_FOR_RATE or now <= self.started:
            return None
        return self.done_here / (now - self.started)


@dataclass(frozen=True, slots=True)
class Part:
    """What one worker does of a run that several share.

    Attributes:
        run: The run; when the journal has it as halted, no more rows are claimed.
        max_in_flight: How many rows may be out at once.
        max_rows: How many rows to claim at most.
        fetch: The ids of rows that dead processes have sent, to be fetched.
    """

    run: str
    max_in_flight: int
    max_rows: int
    fetch: tuple[str, ...] = ()


class Drive:
    """One run of a series in this process.

    Args:
        session: Where rows are sent, written down and kept.
        name: The series.
        tally: Kept up to date for the view.
        changed: Called after each change of the tally.
        max_in_flight: How many rows may be out at once.
        max_spend: US dollars for the whole series; None for no limit of its own.
        errors: `row` to go on, `raise` to stop at the first, a number, or a share below 1.
        part: What to do of a run that several workers share; None for all of it.
        alone: Whether the first row goes alone, so that a wrong key or model costs one error.

    Attributes:
        tiles: Makes the small copies of new pictures, if there is a view to show them.
        left: The ids of rows that this run has given up, and that are still out.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        tally: Tally,
        *,
        changed: Callable[[], None],
        max_in_flight: int = 8,
        max_spend: Decimal | None = None,
        errors: str | float = "row",
        part: Part | None = None,
        alone: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        tally.limit, tally.in_flight = max_spend, max_in_flight
        self.tiles: Tiles | None = None
        self.left: set[str] = set()
        self._session, self.name, self.tally = session, name, tally
        self.changed, self._clock = changed, clock
        self.max_in_flight, self.max_spend, self.errors = max_in_flight, max_spend, errors
        self._part, self._proven, self._tried = part, not alone, 0
        self._rows_left = sys.maxsize if part is None else part.max_rows
        self._out: set[str] = set()
        self._failures = 0
        self._ended = 0
        self._stop: ImagenError | None = None
        self.stopping = False
        self._wake = anyio.Event()
        self._look_at = 0.0

    def stop(self) -> None:
        """Send no more rows; on the loop thread. What is out is fetched all the same."""
        self.stopping = self.tally.stopping = True
        self._wake.set()

    def end_with(self, error: ImagenError) -> None:
        """Send no more rows, and raise this at the end unless something else was first."""
        self._stop = self._stop or error
        self.stop()

    async def run(self) -> None:
        """Return when no row is waiting or out.

        Raises:
            BudgetExceeded: A cap would be passed; what was out has been fetched.
            SeriesStopped: More rows failed than allowed.
            ImagenError: The first row showed that none can succeed, or `errors="raise"`.
        """
        await self.begin()
        async with anyio.create_task_group() as group:
            try:
                while await self._step(group):
                    pass
            except JournalError as error:
                self.end_with(error)  # rows that are out go on
        with suppress(JournalError):
            await self.look()
        self.finish()

    async def begin(self) -> None:
        """Note what there is before anything is sent.

        Raises:
            JournalError: Pictures could not be kept; nothing was sent.
        """
        self.tally.started = self._clock()
        await to_thread.run_sync(self._session.store.ready)
        await self.look()
        self.tally.kept = self.tally.counts["done"]

    def finish(self) -> None:
        """Show the end, and raise what stopped the series."""
        self.tally.ended = self._clock()
        self.changed()
        if self._stop is not None:
            raise self._stop

    async def pause(self, seconds: float) -> None:
        """Wait for a row to end, for `stop`, or for so long."""
        with anyio.move_on_after(seconds):
            await self._wake.wait()
        self._wake = anyio.Event()

    async def _step(self, group: anyio.abc.TaskGroup) -> bool:
        """Begin what can be begun, wait for a change, and return False when all is over."""
        free, found = self.max_in_flight - len(self._out), list[Record]()
        if free > 0 and (not self._out or self._clock() >= self._look_at):
            self._look_at = self._clock() + _TAKE_OVER_SECONDS
            found = await self._abandoned(free)
            free -= len(found)
        claimed = await self._claim(free if self._proven else min(free, 1 - self._tried))
        self._tried += len(claimed)
        found += claimed
        for record in found:
            self._out.add(record.id)
            group.start_soon(self._row, record)
        if not found:
            if not self._out and not await self._goes_on():
                return False
            await self.pause(_LOOK_SECONDS)
        return True

    async def _goes_on(self) -> bool:
        """Return True if rows of others may still come to this process."""
        await self.look()
        if self.stopping or self._part is not None:
            return False  # what is still out belongs to another process, which goes on
        return self.tally.counts["waiting"] > 0 or self.tally.counts["sent"] > len(self.left)

    async def _claim(self, count: int) -> list[Record]:
        """Return rows that are now ours to send; their prices are reserved."""
        session = self._session
        count = min(count, self._rows_left)
        if count < 1 or self.stopping:
            return []
        try:
            records: list[Record] = await session.record(
                session.journal.claim,
                series=self.name,
                count=count,
                budget=session.settings.budget,
                series_cap=self.max_spend,
                user=session.settings.user,
                run=self._part.run if self._part else "",
            )
        except (BudgetExceeded, JournalError) as error:
            self.end_with(error)
            return []
        self._rows_left -= len(records)
        self._move("waiting", "sent", len(records))
        for record in records:
            self.tally.spent += record.price or 0
        return records

    async def _abandoned(self, count: int) -> list[Record]:
        """Return rows that a dead process had sent, leased to this one."""
        session, verbs = self._session, self._session.journal
        mine = None if self._part is None else set(self._part.fetch)
        if mine is None:
            await session.record(verbs.recover)
        pending = [] if mine == set() else await session.record(verbs.pending, series=self.name)
        found: list[Record] = []
        for record in pending:
            known = record.id in self._out or record.id in self.left
            if len(found) >= count or known or (mine is not None and record.id not in mine):
                continue
            if await session.record(verbs.lease, record.id, LEASE_SECONDS):
                found.append(record)
        return found

    async def _row(self, record: Record) -> None:
        session = self._session
        run = Run(session, record.request, report=_ignore, timeout=session.settings.timeout)
        resumable = record.state in {State.SUBMITTED, State.COMPLETED}
        try:
            generation = await (run.resume(record) if resumable else run.send(record.id))
        except ImagenError as error:
            await self._row_failed(record, error)
        else:
            self._ended += 1
            self._move("sent", "done", 1)
            self.tally.done_here += 1
            self.tally.spent += Decimal(str(generation.cost or 0)) - (record.price or 0)
            self.show(generation)
        finally:
            self._proven = self._proven or not resumable
            self._out.discard(record.id)
            self._wake.set()
            self.changed()

    def show(self, generation: Generation) -> None:
        """Have the view show a new generation."""
        self.tally.recent.append(generation)
        if self.tiles is not None:
            self.tiles.later(generation[0], then=self.changed)

    async def _row_failed(self, record: Record, error: ImagenError) -> None:
        """Count a row as the journal has it now."""
        session, now = self._session, record
        with suppress(JournalError):  # it is about to be told what is wrong with the journal
            now = await session.record(session.journal.get, record.id)
        if now.status == "sent":
            self.left.add(record.id)  # fetched by the next run
        self._move("sent", now.status, 1)
        self.tally.spent += now.amount - record.amount
        said = f"{type(error).__name__}: {error.message}"
        self.tally.errors.setdefault(said, []).append(record.key)
        if self._stops_all(error):
            self.end_with(error)
        self.count(self._failures + 1, self._ended + 1)

    def count(self, failures: int, ended: int) -> None:
        """Take over how many rows have failed and ended in this run; stop if that is too many."""
        self._failures, self._ended = failures, ended
        allowed = self.errors
        if isinstance(allowed, str):
            return
        if 0 < allowed < 1:  # a share
            allowed = allowed * ended if ended >= MIN_ENDED_FOR_SHARE else failures
        if failures > allowed:
            said = next(iter(self.tally.errors), "see series.errors")
            self.end_with(
                SeriesStopped(
                    f"{failures} rows failed, more than allowed; one of them: {said}",
                    remedy="See series.errors; resume() goes on with the rest.",
                )
            )

    def _stops_all(self, error: ImagenError) -> bool:
        """Return True if the error shows that the other rows would fail too."""
        if isinstance(error, IllegalStep):  # another process has taken the row
            return False
        if self.errors == "raise" or isinstance(error, CredentialsError | JournalError):
            return True
        first = not self._proven and not self.tally.counts["done"]
        return first and not isinstance(error, _ONE_ROW_ONLY)

    def _move(self, before: str, after: str, count: int) -> None:
        self.tally.counts[before] -= count
        self.tally.counts[after] += count
        self.changed()

    async def look(self) -> None:
        """Read counts and money from the journal: other processes may work on the series too."""
        session = self._session
        counts = await session.record(session.journal.states, self.name)
        spent = await session.record(session.journal.spent_on, self.name)
        self.tally.counts, self.tally.spent = Counter(counts), spent
        self.changed()


def check_errors(errors: object) -> str | float:
    """Return a valid `errors` argument.

    Raises:
        ValueError: It is not valid; the caller says so in its own words.
    """
    if errors in {"row", "raise"}:
        return str(errors)
    if isinstance(errors, bool) or not isinstance(errors, int | float) or not errors >= 0:
        raise ValueError(errors)
    if math.isinf(errors) or (errors >= 1 and errors != int(errors)):
        raise ValueError(errors)
    return errors


def _ignore(_: object) -> None:
    return None
