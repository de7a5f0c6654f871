"""Series: many requests as one thing: planned, paid once, resumed, looked at, chosen from.

Rows are rows of the journal, so that any process with the same journal can watch and continue.
"""

import asyncio
import concurrent.futures
import functools
import itertools
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio
from anyio import to_thread

from imagen_widget import _loop
from imagen_widget._display import (
    JobView,
    NotebookSurface,
    OutputSurface,
    StatusLine,
    running_shell,
    surface_of_call,
)
from imagen_widget._journal import Draft, Filter, Record, State
from imagen_widget._request import ImageRequest
from imagen_widget._result import Generation, cost_text
from imagen_widget._runs import Session
from imagen_widget._series import workers
from imagen_widget._series.board import Board
from imagen_widget._series.drive import STATES, Drive, Tally, check_errors
from imagen_widget._series.layout import Row
from imagen_widget._series.parts import Tiles
from imagen_widget._series.rows import Maker, Planned, batch_rows, check_name, name_for, sweep_rows
from imagen_widget._series.template import Where, names_in
from imagen_widget._settings import check_key, load_settings
from imagen_widget.errors import InvalidRequest, shown

if TYPE_CHECKING:  # most series are run without a look at them
    from imagen_widget._series.compare import Compared
    from imagen_widget._series.picker import Pick
    from imagen_widget._series.views import Grid

MAX_IN_FLIGHT = 1000
UPDATE_SECONDS = 0.25
_TICK_SECONDS = 0.5
_STOP_SECONDS = 5.0
_PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What running a series would do now.

    Attributes:
        name: The series.
        rows: How many rows there are.
        answered: How many need not be sent: they are done, out, or of unknown outcome.
        price: US dollars for the rest; None if a price is unknown.
    """

    name: str
    rows: int
    answered: int
    price: Decimal | None
    free: bool = False

    @property
    def to_send(self) -> int:
        """How many rows would be sent."""
        return self.rows - self.answered

    def __str__(self) -> str:
        known = f", {self.answered} answered from history" if self.answered else ""
        rows = f"{self.rows} row{'' if self.rows == 1 else 's'}"
        return f"{self.name}: {rows}{known}, {self.to_send} to send, {self._price_text()}"

    def _price_text(self) -> str:
        return cost_text(self.price, free=self.free)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        bundle: dict[str, Any] = StatusLine(str(self))._repr_mimebundle_()
        return bundle


class Series:
    """A planned series of requests; `sweep` and `batch` make one, and send nothing.

    Attributes:
        name: Its name; a series with the same name is continued.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        planned: list[Planned] | None = None,
        spec: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self._session, self._journal = session, session.journal
        self._planned, self._spec = planned, spec  # None: opened again, the journal has the rows
        self._drive: Drive | None = None
        self._future: concurrent.futures.Future[None] | None = None
        self._tally = Tally()
        self._listeners: list[Callable[[Any], None]] = []
        self._tiles = Tiles(session.store)
        self._shown_in: int | None = None

    @staticmethod
    def open(name: str) -> "Series":
        """Return a series that was begun before, in this or another notebook.

        Raises:
            InvalidRequest: There is none of that name.
        """
        return Series.reopen(Session(load_settings(need_key=False)), name)

    @classmethod
    def reopen(cls, session: Session, name: str) -> "Series":
        """Return a series that the session's journal has."""
        if session.journal.series(check_name(name)) is None:
            known = ", ".join(session.journal.all_series()[:8]) or "none yet"
            raise InvalidRequest(
                f"There is no series {name!r}.", remedy=f"There is: {known}.", field="name"
            )
        return cls(session, name)

    # ---------------------------------------------------------------------------------- the plan

    def __len__(self) -> int:
        """Return the number of rows."""
        if self._planned is not None:
            return len(self._planned)
        return sum(self._journal.states(self.name).values())

    @property
    def shape(self) -> tuple[int]:
        """The number of rows; `%whos` asks for it, because pandas has a Series too."""
        return (len(self),)

    def __iter__(self) -> Iterator[ImageRequest]:
        """Iterate over the requests."""
        if self._planned is not None:
            return (row.request for row in self._planned)
        return (record.request for record in self._records())

    @property
    def plan(self) -> Plan:
        """What running it would do now: rows, how many history answers, and the price."""
        session = self._session
        free = session.settings.account.free
        if self._planned is None:
            unsent = [r.price for r in self._records() if r.status == "waiting" or _fails_again(r)]
            total = len(self)
            return Plan(self.name, total, total - len(unsent), _sum(unsent), free)
        asked = [(row.key, row.request.fingerprint) for row in self._planned]
        kept = self._journal.kept_keys(self.name, asked)
        prices = [session.price(row.request) for row in self._planned if row.key not in kept]
        return Plan(self.name, len(self), len(kept), _sum(prices), free)

    # ---------------------------------------------------------------------------------- running

    def run(
        self,
        *,
        max_spend: float | str | Decimal | None = None,
        max_in_flight: int = 8,
        errors: str | float = "row",
        on: Any = None,
        quiet: bool = False,
    ) -> "Series":
        """Send the rows and wait for the pictures, with a live display; blocks.

        An interrupt stops sending; what is out is fetched in the background.

        Args:
            max_spend: US dollars for the whole series; it pauses before that is passed.
            max_in_flight: How many rows may be out at once.
            errors: `row` to go on, `raise` to stop at the first, a number of rows, or a share
                (below 1) of the rows that have ended, once ten have.
            on: A Dask `Client` or a `concurrent.futures.Executor` whose workers send the rows.
            quiet: Whether to show nothing.

        Returns:
            The series itself.

        Raises:
            BudgetExceeded: `max_spend` or IMAGEN_MAX_SPEND would be passed; what was out has
                been fetched, and `resume()` goes on.
            SeriesStopped: More rows failed than allowed.
            InvalidRequest: An argument is not valid; nothing was sent.
        """
        with _loop.interruptible():
            self._begin(max_spend, max_in_flight, errors, on)
            view = self._view(quiet=quiet)
            view.begin()
            assert self._future is not None
            try:
                _loop.wait(self._future)
            except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:
                self.cancel()
                interrupt.add_note(self.status)
                view.end(StatusLine(self.status))
                raise
            except BaseException:
                view.end(self._board())
                raise
        view.end(self._board())
        return self

    resume = run

    def start(
        self,
        *,
        max_spend: float | str | Decimal | None = None,
        max_in_flight: int = 8,
        errors: str | float = "row",
        on: Any = None,
        quiet: bool = False,
    ) -> "Series":
        """Send the rows in the background, under the same display; arguments as for `run`."""
        self._begin(max_spend, max_in_flight, errors, on)
        view = self._view(quiet=quiet)
        view.begin()
        assert self._future is not None
        self._future.add_done_callback(lambda _: view.end(self._board()))
        return self

    async def arun(
        self,
        *,
        max_spend: float | str | Decimal | None = None,
        max_in_flight: int = 8,
        errors: str | float = "row",
        on: Any = None,
        quiet: bool = True,
    ) -> "Series":
        """Send the rows and wait for the pictures: `run`, awaited."""
        _loop.check_async_library()
        begin = functools.partial(self._begin, max_spend, max_in_flight, errors, on)
        await _loop.wait_async(_loop.spawn(to_thread.run_sync, begin))
        view = self._view(quiet=quiet)
        view.begin()
        assert self._future is not None
        try:
            await _loop.wait_async(self._future)
        except Exception:
            raise
        except BaseException:  # cancelled, in the words of the caller's async library
            self.cancel()
            raise
        finally:
            view.end(self._board())
        return self

    def cancel(self) -> str:
        """Stop sending and return a line that says what that means; from any thread."""
        if self._drive is not None:
            _loop.call_soon(self._drive.stop)
        out = self.status_counts["sent"]
        which = "The row that is" if out == 1 else f"The {out} rows that are"
        rest = f" {which} out will be fetched; they are paid for." if out else ""
        return f"No more rows are sent.{rest}"

    def _begin(self, max_spend: Any, max_in_flight: int, errors: str | float, on: Any) -> None:
        """Write the plan down, in one transaction, and start to send."""
        if self._future is not None and not self._future.done():
            raise InvalidRequest(
                f"The series {self.name} is running.", remedy="Wait for it, or cancel() it."
            )
        try:
            errors = check_errors(errors)
        except ValueError:
            raise InvalidRequest(
                f"errors: {shown(errors)} is not allowed.",
                remedy='Use "row", "raise", a number of rows, or a share below 1.',
                field="errors",
            ) from None
        limit = _whole("max_in_flight", max_in_flight, high=MAX_IN_FLIGHT)
        cap = _amount(max_spend)
        if on is None:
            check_key(self._session.settings)
        else:
            workers.check_engine(on, self._session.settings)
        if self._planned is not None:
            self._journal.save_series(self.name, self._spec or {})
            self._journal.plan(self.name, self._drafts(), user=self._session.settings.user)
        self._journal.retry(self.name)  # what failed before the provider took it: a wrong key
        self._tally = Tally.of(self._records())
        self._drive = Drive(
            self._session,
            self.name,
            self._tally,
            changed=self._notify,
            max_in_flight=limit,
            max_spend=cap,
            errors=errors,
        )
        if on is None:
            self._future = _loop.spawn(self._drive.run)
        else:
            self._future = workers.run_on(on, self._session, self._drive)
        _loop.spawn(self._tick, self._future)

    async def _tick(self, running: "concurrent.futures.Future[None]") -> None:
        """Show the time that passes, and the last change if it came too soon after another."""
        while not running.done():
            await anyio.sleep(_TICK_SECONDS)
            self._notify()

    def _drafts(self) -> list[Draft]:
        return [
            self._session.draft(
                row.request,
                series=self.name,
                key=row.key,
                ordinal=ordinal,
                axes=row.axes,
                waiting=True,
            )
            for ordinal, row in enumerate(self._planned or ())
        ]

    # ---------------------------------------------------------------------------------- looking

    @property
    def status_counts(self) -> dict[str, int]:
        """How many rows are in each state."""
        running = self._future is not None and not self._future.done()
        counts = self._tally.counts if running else self._journal.states(self.name)
        if not counts and self._planned is not None:
            counts = {"waiting": len(self._planned)}
        return {state: counts.get(state, 0) for state in STATES}

    @property
    def status(self) -> str:
        """One line: counts by state, what was spent of what is planned, rate, time left."""
        return self._board().line

    @property
    def rows(self) -> list[Row]:
        """The rows in the order of the plan, as they are now."""
        if self._planned is not None and self._journal.series(self.name) is None:
            return [Row(p.key, p.axes, p.request, "waiting", None, 0, None) for p in self._planned]
        return [self._row(record) for record in self._records()]

    def iter_rows(self) -> Iterator[Row]:
        """Iterate over the rows in the order of the plan; a few hundred are in memory at once."""
        if self._planned is not None and self._journal.series(self.name) is None:
            yield from self.rows
            return
        asked, last = Filter(series=self.name, sort="plan"), None
        while page := self._journal.query(asked, limit=_PAGE_ROWS, before=last):
            yield from map(self._row, page)
            last = page[-1]

    @property
    def errors(self) -> list[Row]:
        """The rows that failed, were refused, or have an unknown outcome."""
        return [row for row in self.rows if row.state in {"failed", "refused", "unknown"}]

    @property
    def generations(self) -> list[Generation]:
        """What the rows that are done brought, in the order of the plan."""
        return [row.generation for row in self.rows if row.generation is not None]

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame: a row each, with the axes as columns."""
        import pandas as pd

        return pd.DataFrame([_flat(row) for row in self.rows])

    def __repr__(self) -> str:
        return f"<Series {self.name}: {self.status}>".encode("ascii", "replace").decode()

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return self._board()._repr_mimebundle_()

    def _ipython_display_(self) -> None:
        """Show nothing more in a cell that has its live view already."""
        if self._shown_in is None or self._shown_in != _cell():
            raise NotImplementedError  # IPython then shows the bundle

    def listen(self, listener: Callable[[Any], None]) -> None:
        """Have a function called on the loop thread at each change."""
        self._listeners.append(listener)

    def __await__(self) -> Generator[object, None, None]:
        if self._future is None:
            raise InvalidRequest("The series is not running.", remedy="Call start() first.")
        return _loop.wait_async(self._future).__await__()

    def _notify(self) -> None:
        for listener in list(self._listeners):
            listener(self._tally)

    def _view(self, *, quiet: bool) -> JobView:
        surface = surface_of_call(quiet=quiet)
        if self._drive is not None and isinstance(surface, NotebookSurface | OutputSurface):
            self._drive.tiles, self._shown_in = self._tiles, _cell()
        return JobView(self, surface, interval=UPDATE_SECONDS, render=self._board)

    def _board(self) -> Board:
        running = self._future is not None and not self._future.done()
        tally, now = self._tally, time.monotonic()
        if running:
            pass
        elif not tally.started:
            tally = self._tally_from_journal()
        else:
            tally.ended = tally.ended or now  # a run that broke down has no end of its own
            tally.counts = Counter(self.status_counts)
        free = self._session.settings.account.free
        return Board(self.name, tally, free=free, now=now, tiles=self._tiles)

    def _tally_from_journal(self) -> Tally:
        """Return how far the series is where no run of this process knows it."""
        records = self._records()
        if not records:
            plan = self.plan
            return Tally(counts=Counter(waiting=plan.rows), planned=plan.price)
        done = (record for record in reversed(records) if record.state is State.DONE)
        tally = Tally.of(records)
        for record in reversed(list(itertools.islice(done, tally.recent.maxlen))):
            generation = self._session.recall(record)
            if generation is not None:
                tally.recent.append(generation)
        return tally

    def _records(self) -> list[Record]:
        return self._journal.query(Filter(series=self.name, sort="plan"))

    def _row(self, record: Record) -> Row:
        state = record.status
        return Row(
            key=record.key,
            axes=record.axes,
            request=record.request,
            state=state,
            error=record.error if state not in {"done", "waiting"} else None,
            rating=record.rating,
            generation=self._session.recall(record) if state == "done" else None,
            billed=record.cost != 0 and state != "waiting",
        )

    # ---------------------------------------------------------------------------------- views

    def grid(
        self, *, row: str | None = None, col: str | None = None, facet: str | None = None
    ) -> "Grid":
        """Return a table of the pictures with headings; it stays complete in the saved notebook.

        Args:
            row: The axis down the side; the first one by default.
            col: The axis along the top; the second one by default.
            facet: An axis with a grid of its own for each value.
        """
        from imagen_widget._series import views

        args = {"row": row, "col": col, "facet": facet}
        return views.grid(self.rows, **args, title=self.name, tiles=self._tiles)

    def compare(self, a: Any, b: Any) -> "Compared":
        """Return two pictures with a slider between them; zoom and pan are linked.

        Args:
            a: A key, a row, a position, or a generation.
            b: Another.
        """
        from imagen_widget._series import compare

        return compare.compare(self.find(a), self.find(b), tiles=self._tiles)

    def find(self, what: Any) -> Row:
        """Return the row that a key, a position, partial axes or a generation names.

        Raises:
            InvalidRequest: There is none, or it is not done.
        """
        from imagen_widget._series import compare

        found: Row = compare.find_row(self.rows, what)
        return found

    def sheet(self, path: str | Path) -> list[Path]:
        """Write the pictures as a contact sheet with headings, and return the files' paths.

        Args:
            path: A `.png`, paged as `x-1.png`, `x-2.png`, …, or a `.pdf` of several pages.
        """
        from imagen_widget._series import sheet

        target = Path(path).expanduser()
        return sheet.sheet(self.iter_rows(), target, title=self.name, tiles=self._tiles)

    def pick(self, best: int = 1, by: str | None = None) -> "Pick":
        """Return a picker by keyboard: 1 to 5 stars, 0 none, X reject, arrows, C compare.

        Args:
            best: How many to choose from each group.
            by: The axis whose values are the groups; one group if None.
        """
        from imagen_widget._series import picker

        return picker.make(self, best=best, by=by, tiles=self._tiles)

    def rate(self, row: Row, stars: int) -> None:
        """Give a row's generation 0 to 5 stars; written to the journal at once."""
        if row.generation is not None:
            self._journal.rate(row.generation.id, stars)

    def export(
        self,
        folder: str | Path,
        format: Literal["imagefolder", "parquet", "webdataset", "zip", "html"] = "imagefolder",
        *,
        where: str | Callable[[Row], object] | None = None,
    ) -> Path:
        """Write the pictures and what is known of them, and return the path of what was written.

        Args:
            folder: Where to; made if missing.
            format: `imagefolder`, `parquet`, `webdataset`, `zip` or `html`.
            where: `rating>=3`, or a function of a row that returns True to keep it.
        """
        from imagen_widget._series import export

        return export.write(_Rows(self), Path(folder).expanduser(), format, self.name, where=where)


class _Rows:
    """The rows of a series, read again each time that they are iterated over."""

    def __init__(self, series: Series) -> None:
        self._series = series

    def __iter__(self) -> Iterator[Row]:
        return self._series.iter_rows()


# ---------------------------------------------------------------------------------- making them


def make_sweep(
    session: Session,
    maker: Maker,
    template: str,
    rows: Iterable[Mapping[str, object]] | None,
    *,
    axes: Mapping[str, Iterable[object]],
    where: Where = None,
    sample: int | None = None,
    name: str | None = None,
) -> Series:
    """Return a series over every combination of the axes, or over rows."""
    planned = sweep_rows(maker, template, rows, axes=axes, where=where, sample=sample)
    names = sorted({axis for row in planned for axis in row.axes})
    chosen = check_name(name) if name is not None else name_for(template, names)
    return _made(session, chosen, planned, {"kind": "sweep", "axes": names})


def make_batch(
    session: Session,
    maker: Maker,
    table: Any,
    prompt: str,
    *,
    key: str | None = None,
    name: str | None = None,
    fields: Mapping[str, object],
) -> Series:
    """Return a series with a row for each row of a table."""
    planned = batch_rows(maker, table, prompt, key=key, fields=fields)
    names = sorted(names_in(prompt, {axis for row in planned for axis in row.axes}))
    chosen = check_name(name) if name is not None else name_for(prompt, names, sorted(fields))
    return _made(session, chosen, planned, {"kind": "batch", "axes": []})


def _made(session: Session, name: str, planned: list[Planned], spec: dict[str, Any]) -> Series:
    before = session.journal.series(name)
    if before is not None and before != spec:
        axes = ", ".join(before.get("axes", ())) or "a table"
        raise InvalidRequest(
            f"A series {name!r} exists with other axes ({axes}).",
            remedy="Choose another name=; nothing was sent or changed.",
            field="name",
        )
    return Series(session, name, planned, spec)


def _cell() -> int | None:
    """Return the number of the cell that runs now."""
    shell = running_shell()
    return None if shell is None else shell.execution_count


def _flat(row: Row) -> dict[str, Any]:
    made = row.generation
    return {
        "key": row.key,
        **row.axes,
        "state": row.state,
        "prompt": row.request.prompt,
        "model": row.request.model,
        "seed": made.seed if made else row.request.seed,
        "cost": made.cost if made else None,
        "rating": row.rating,
        "error": row.error,
        "paths": [str(path) for path in made.paths] if made else [],
    }


def _fails_again(record: Record) -> bool:
    """Return True if a row failed before the provider took it, so that resuming sends it again."""
    return record.status in {"failed", "refused"} and not record.was_accepted


def _sum(prices: list[Decimal | None]) -> Decimal | None:
    if any(price is None for price in prices):
        return None
    return sum((price for price in prices if price is not None), Decimal(0))


def _amount(value: object) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = Decimal(str(value).strip().removeprefix("$"))
    except (InvalidOperation, ValueError):
        amount = Decimal("NaN")
    if isinstance(value, bool) or not amount.is_finite() or amount < 0:
        raise InvalidRequest(
            f"max_spend: {shown(value)} is not an amount.",
            remedy="Give US dollars, like 2.50.",
            field="max_spend",
        )
    return amount


def _whole(name: str, value: object, *, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
        raise InvalidRequest(
            f"{name}: {shown(value)} is not allowed.",
            remedy=f"Use a whole number from 1 to {high}.",
            field=name,
        )
    return value
