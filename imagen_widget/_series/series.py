"""Series: many requests as one thing: planned, paid once, resumed, looked at, chosen from.

Rows are rows of the journal, so that any process with the same journal can watch and continue.
"""

import asyncio
import contextlib
import functools
import itertools
import operator
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import anyio
from anyio import to_thread

from imagen_widget import _display, _html, _loop
from imagen_widget._journal import Draft, Filter, Record, State
from imagen_widget._request import ImageRequest
from imagen_widget._result import GeneratedImage, Generation, cost_text
from imagen_widget._runs import Session
from imagen_widget._series import drive, export, workers
from imagen_widget._series.board import Board
from imagen_widget._series.drive import STATES, WITHOUT_PICTURE, Drive, Tally, Task, runs_here
from imagen_widget._series.parts import (
    TILE,
    Layout,
    Row,
    Tiles,
    axes_beside,
    file_path,
    whole,
)
from imagen_widget._series.picker import Pick
from imagen_widget._series.views import Compared, Grid, is_named, write_sheet
from imagen_widget._settings import Settings, check_key, load_settings, read_dollars
from imagen_widget.errors import InvalidRequest, JournalError, invalid, one_line, plural, shown

UPDATE_SECONDS = 0.25

_NAME = re.compile(r"[^\W_][\w .:-]{0,99}")
_RICH = _display.NotebookSurface | _display.OutputSurface
_PLACE = operator.attrgetter("home", "journal", "store", "base_url", "account.name")


@dataclass(frozen=True, slots=True)
class Plan:
    """What running a series would do now.

    Attributes:
        name: The series.
        rows: How many rows there are.
        answered: How many are over, and not sent again.
        price: US dollars for those to send; None if a price is unknown.
        note: What looks like a mistake in the template; "" if nothing does.
        lost: How many of those answered have no pictures, by state: `failed`, `refused`, `unknown`.
        under_way: How many are sent, and not over.
    """

    name: str
    rows: int
    answered: int
    price: Decimal | None
    free: bool = False
    note: str = ""
    lost: Mapping[str, int] = field(default_factory=dict, hash=False)
    under_way: int = 0

    @property
    def to_send(self) -> int:
        """How many rows would be sent."""
        return self.rows - self.answered - self.under_way

    def __str__(self) -> str:
        said, done = [plural(self.rows, "row")], self.answered - sum(self.lost.values())
        if done:
            said.append(f"{done:,} answered from history")
        if any(self.lost.values()):
            lost = " and ".join(f"{count:,} {state}" for state, count in self.lost.items() if count)
            said.append(f"{lost}, not sent again")
        if self.under_way:
            said.append(f"{self.under_way:,} under way")
        said += [f"{self.to_send:,} to send", cost_text(self.price, free=self.free)]
        note = self.note and f" · {self.note}"
        return _html.encodable(f"{self.name}: {', '.join(said)}{note}")

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return _display.StatusLine(str(self))._repr_mimebundle_()


class Series:
    """A planned series of requests; `sweep` and `batch` make one, and send nothing.

    Attributes:
        name: Its name; a series with the same name is continued.
        in_force: Returns the settings whose caps, prices and key count when it runs; None for
            those of the studio that made it.
    """

    in_force: Callable[[], Settings] | None = None

    def __init__(
        self,
        session: Session,
        name: str,
        spec: dict[str, Any],
        planned: list[Row] | None = None,
        note: str = "",
    ) -> None:
        self.name, self._spec, self._note = name, spec, note
        self._session, self._journal = session, session.journal
        self._planned = planned  # None: opened again, the journal has the rows
        self._drive: Drive | None = None
        self._listeners: list[Callable[[Any], object]] = []
        self._tiles = Tiles(session.store)
        self._shown_in: int | None = None

    @staticmethod
    def open(name: str) -> "Series":
        """Return a series that was begun before, in this or another notebook.

        Raises:
            InvalidRequest: No series has that name.
        """
        series = Series.reopen(Session(load_settings()), name)
        series.in_force = load_settings
        return series

    @classmethod
    def reopen(cls, session: Session, name: str) -> "Series":
        """Return a series that the session's journal has; it shows a run that is under way."""
        name = check_name(name)
        spec = session.journal.series(name)
        if spec is None:
            known = ", ".join(session.journal.all_series()[:8])
            remedy = f"Use one of {known}." if known else "There is none yet: sweep makes one."
            raise InvalidRequest(f"There is no series {name!r}.", remedy=remedy, field="name")
        return cls(session, name, spec)

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
        return (row.request for row in self._planned or self._records())

    @property
    def plan(self) -> Plan:
        """What running it would do now: rows, how many history answers, and the price.

        Rows that this series has paid are not paid again. What else is in the history answers none:
        equal rows are separate pictures.
        """
        self._renew()
        self._journal.recover()  # what a dead process had claimed and not sent waits again
        account = self._session.settings.account
        if self._planned is None:
            records = self._records()
            kept = Counter(record.status for record in records if not record.is_unsent)
            asks = [record.request for record in records if record.is_unsent]
        else:
            asked = [(row.key, row.request.fingerprint) for row in self._planned]
            states = self._journal.kept_keys(self.name, asked, provider=account.name)
            kept = Counter(states.values())
            asks = [row.request for row in self._planned if row.key not in states]
        prices = list(map(self._session.price, asks))
        return Plan(
            self.name,
            kept.total() + len(asks),
            kept.total() - kept["sent"],
            None if None in prices else sum(filter(None, prices), Decimal(0)),
            account.free,
            self._note,
            {state: kept[state] for state in WITHOUT_PICTURE},
            kept["sent"],
        )

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

        An interrupt stops sending; jobs under way are still fetched in the background, and the next
        `run` waits for them too.

        Args:
            max_spend: US dollars for the whole series; it pauses before that is passed.
            max_in_flight: How many rows may be out at once.
            errors: `row` to go on, `raise` to stop at the first, a number of rows, or a share
                (below 1) of the rows that are finished, once ten are.
            on: A Dask `Client` or a `concurrent.futures.Executor` whose workers send the rows.
            quiet: Whether to show nothing.

        Returns:
            The series itself.

        Raises:
            BudgetExceeded: `max_spend` or IMAGEN_MAX_SPEND would be passed; jobs under way have
                been fetched, and `resume()` goes on.
            SeriesStopped: More rows failed than allowed.
            InvalidRequest: An argument is not valid; nothing was sent.
        """
        surface = _display.surface_of_call(quiet=quiet)
        with _loop.interruptible(), self._stopped_by_interrupt():
            run = self._started(self._begin(max_spend, max_in_flight, errors, on))
            view = self._watch(run, surface, blocks=True)
            try:
                _loop.wait(run.future)
            finally:  # after an interrupt when what was sent is fetched, where that can be shown
                if run.future.done() or not surface.outlives_call:
                    view.end(self._board(run))
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
        with self._stopped_by_interrupt():
            run = self._started(self._begin(max_spend, max_in_flight, errors, on))
            self._watch(run, _display.surface_of_call(quiet=quiet))
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
        surface = _display.surface_of_call(quiet=quiet)
        begin = functools.partial(self._begin, max_spend, max_in_flight, errors, on)
        begun = _loop.spawn(to_thread.run_sync, begin)
        try:
            run = self._started(await _loop.wait_async(begun))  # by nobody who gave up meanwhile
            self._watch(run, surface)
            await _loop.wait_async(run.future)
        except Exception:
            raise
        except BaseException:  # cancelled, in the words of the caller's async library
            self.cancel(everywhere=False)
            raise
        return self

    @contextlib.contextmanager
    def _stopped_by_interrupt(self) -> Iterator[None]:
        """Stop sending when the user interrupts, as early as that may be."""
        try:
            yield
        except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:
            interrupt.add_note(self.cancel(everywhere=False))
            raise

    def cancel(self, *, everywhere: bool = True) -> str:
        """Stop sending and return a line that says what that means; from any thread.

        Args:
            everywhere: Whether runs of other notebooks stop too: they look before each row.
        """
        for run in runs_here(self._session, self.name):
            _loop.call_soon(run.stop)
        spec = self._journal.series(self.name) if everywhere else None
        if spec is not None:
            self._journal.save_series(self.name, {**spec, "stopped": secrets.token_hex(4)})
        out = self.status_counts["sent"]
        what = f" {plural(out, 'job')} under way {'is' if out == 1 else 'are'} still fetched"
        return "No more rows are sent." + (f"{what}, and paid for." if out else "")

    def _renew(self) -> None:
        """Take over the settings in force, unless they are for another provider or journal."""
        before = self._session.settings
        now = before if self.in_force is None else self.in_force()
        if now != before and _PLACE(now) == _PLACE(before):
            self._session = Session(now)
            self._journal = self._session.journal

    def _begin(self, max_spend: object, max_in_flight: object, errors: Any, on: Any) -> Drive:
        """Write the plan down, in one transaction, and return what sends it."""
        self._renew()
        errors, cap = _check_errors(errors), _check_amount(max_spend)
        at_once = whole("max_in_flight", max_in_flight, 1000)
        if on is None:
            check_key(self._session.settings)
        else:
            workers.check_engine(on, self._session.settings)
        self._journal.retry(self.name)  # what failed before the provider took it: a wrong key
        if self._planned is not None:
            self._write_plan(self._planned)
        elif self._has_moved():
            self._write_plan(self._records())
        task = Task(self.name, at_once, cap, errors)
        given = self._session, task, Tally.of(self._records())
        run = Drive(*given) if on is None else workers.Coordinator(on, *given)
        run.listeners = self._listeners
        return run

    def _started(self, run: Drive) -> Drive:
        run.start()
        self._drive = run
        return run

    def _has_moved(self) -> bool:
        """Return True if rows that wait were planned at other prices, or at another address.

        Those planned for another provider, whose prices are not ours, are refused.
        """
        session = self._session
        unsent = self._journal.query(Filter(series=self.name, states={State.WAITING}, sort="plan"))
        here, base_url = session.settings.account.name, session.settings.base_url
        other = next((r.provider for r in unsent if r.provider != here), None)
        if other is not None:
            raise InvalidRequest(
                f"The series {self.name!r} was planned for {other}, and this is {here}.",
                remedy="Run its cell again to plan it here, or set IMAGEN_PROVIDER."
                " Nothing was sent.",
            )
        return any(r.base_url != base_url or r.price != session.price(r.request) for r in unsent)

    def _write_plan(self, planned: Sequence[Row | Record]) -> None:
        if self._journal.series(self.name) is None:  # what another process may have noted stays
            self._journal.save_series(self.name, self._spec)
        session = self._session
        drafts = (
            Draft(
                request=row.request,
                provider=getattr(row, "provider", session.settings.account.name),
                base_url=session.settings.base_url,
                price=session.price(row.request),
                key=row.key,
                ordinal=ordinal,
                axes=row.axes,
            )
            for ordinal, row in enumerate(planned)
        )
        self._journal.plan(self.name, drafts, user=session.settings.user)

    # ---------------------------------------------------------------------------------- watching

    @property
    def _running(self) -> Drive | None:
        """The run that is under way in this process, of any object; our own one first."""
        runs = runs_here(self._session, self.name)
        return self._drive if self._drive in runs else runs[-1] if runs else None

    @property
    def status_counts(self) -> dict[str, int]:
        """How many rows are in each state."""
        run = self._running
        if run is not None:
            counts = run.tally.counts
        elif self._planned is None:
            counts = Counter(self._journal.states(self.name))
        else:  # perhaps not written down yet, or another plan has replaced it
            counts = Counter(record.status for record in self._records())
            counts["waiting"] += len(self._planned) - counts.total()
        return {state: counts[state] for state in STATES}

    @property
    def status(self) -> str:
        """One line: counts by state, what was spent of what is planned, rate, time left."""
        return self._board().line

    def listen(self, listener: Callable[[Any], object]) -> None:
        """Have a function called on the loop thread at each change, of later runs too."""
        self._listeners.append(listener)
        run = self._running
        if run is not None and run.listeners is not self._listeners:
            run.listeners.append(listener)

    def __await__(self) -> Generator[object, None, None]:
        run = self._running or self._drive
        if run is None:
            raise InvalidRequest("The series is not running.", remedy="Call start() first.")
        return _loop.wait_async(run.future).__await__()

    def __repr__(self) -> str:
        return _html.in_ascii(f"<Series {self.name}: {self.status.replace(' ·', ',')}>")

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return self._board()._repr_mimebundle_()

    def _ipython_display_(self) -> None:
        """Show a run that is under way live; nothing more in a cell that does so already."""
        shell = _display.running_shell()
        if shell is not None and self._shown_in == shell.execution_count:
            return
        run, surface = self._running, _display.surface_of_call(quiet=False)
        if run is None or not isinstance(surface, _RICH):
            raise NotImplementedError  # IPython then shows the bundle
        self._watch(run, surface)

    def _watch(
        self, run: Drive, surface: _display.Surface, *, blocks: bool = False
    ) -> _display.JobView:
        """Return the live view of a run, which has begun; `blocks`: while the cell waits for it."""
        shell = _display.running_shell()
        is_rich = isinstance(surface, _RICH)
        if is_rich and shell is not None:
            self._shown_in = shell.execution_count
        render = functools.partial(self._board, run, blocks=blocks)
        view = _display.JobView(self, surface, interval=UPDATE_SECONDS, render=render)
        run.future.add_done_callback(lambda _: view.end(self._board(run)))
        view.begin()
        has_clicks = not blocks and getattr(shell, "kernel", None) is not None
        if has_clicks and isinstance(surface, _display.NotebookSurface):
            with contextlib.suppress(Exception):  # a front end without it costs no paid picture
                from imagen_widget._series.live import show_stop  # the widget library is slow

                show_stop(_display.surface_of(shell), self.cancel, run.future)
        _loop.spawn(_tick, run, self._tiles if is_rich else None)
        return view

    def _board(self, run: Drive | None = None, *, blocks: bool = False) -> Board:
        session, now, run = self._session, time.monotonic(), run or self._running or self._drive
        tally = self._tally_from_journal() if run is None else run.tally
        if run is not None and run.future.done():
            tally.ended = tally.ended or now  # a run that broke down has no end of its own
            with contextlib.suppress(JournalError):  # the run's own error tells it
                tally.counts = Counter(self.status_counts)  # others may have gone on with it
                tally.spent = Tally.of(self._records()).spent
        account, budget = session.settings.account, session.settings.budget
        return Board(
            self.name,
            tally,
            free=account.free,
            now=now,
            tiles=self._tiles,
            provider=account.name,
            cap=budget[0] if budget else None,
            blocks=blocks,
            note=self._note,
            is_table=self._spec.get("kind") == "batch",
        )

    def _tally_from_journal(self) -> Tally:
        """Return how far the series is where no run of this process knows it."""
        self._journal.recover()  # what a dead process left is not on its way
        tally = Tally.of(self._records())
        new = len(self) - tally.total  # not written down yet
        if new:
            tally.counts["waiting"] += new
            price = self.plan.price
            tally.planned = None if price is None else tally.spent + price
        tally.recent = drive.newest(self._session, self.name)
        if tally.counts["sent"]:
            tally.elsewhere = len(self._journal.pending(series=self.name)) < tally.counts["sent"]
        tally.besides = drive.spent_in_period(self._session) - tally.spent
        return tally

    # ---------------------------------------------------------------------------------- looking

    @property
    def rows(self) -> list[Row]:
        """The rows in the order of the plan, as they are now; those deleted are left out."""
        rows = {row.key: row for row in self._planned or ()}
        for record in self._records():
            if record.deleted:
                rows.pop(record.key, None)
            else:
                rows[record.key] = self._row(record)
        return list(rows.values())

    @property
    def errors(self) -> list[Row]:
        """The rows that failed, were refused, or have an unknown outcome."""
        return [row for row in self.rows if row.state in WITHOUT_PICTURE]

    @property
    def generations(self) -> list[Generation]:
        """What the rows that are done brought, in the order of the plan."""
        return [row.generation for row in self.rows if row.generation is not None]

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame: a row each, with the axes as columns."""
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise InvalidRequest(
                "A DataFrame needs pandas.", remedy="pip install pandas, or read the series' rows."
            ) from None
        return pd.DataFrame(map(_flat, self.rows))

    def _records(self) -> list[Record]:
        """Return the rows that the journal has; of a plan that is changed those that it keeps."""
        records = self._journal.query(Filter(series=self.name, deleted=None, sort="plan"))
        if self._planned is None:
            return records
        provider = self._session.settings.account.name
        kept = {(row.key, row.request.fingerprint, provider) for row in self._planned}
        return [r for r in records if (r.key, r.fingerprint, r.provider) in kept]

    def _row(self, record: Record) -> Row:
        state = record.status
        generation = self._session.recall(record) if state == "done" else None
        is_gone = state == "done" and generation is None
        return Row(
            key=record.key,
            axes=record.axes,
            request=record.request,
            state=state,
            error="A file of it is gone from the store." if is_gone else record.error,
            rating=record.rating,
            generation=generation,
            billed=record.cost != 0 and state != "waiting",
        )

    def grid(
        self, *, row: str | None = None, col: str | None = None, facet: str | None = None
    ) -> Grid:
        """Return a table of the pictures with headings; it stays complete in the saved notebook.

        Args:
            row: The axis down the side; the first one by default.
            col: The axis along the top; the second one by default.
            facet: An axis with a grid of its own for each value.

        Raises:
            InvalidRequest: The series has no such axis, or one is named twice.
        """
        layout = Layout(self.rows, row=row, col=col, facet=facet)
        return Grid(layout, self.name, self._tiles)

    def compare(self, a: Any, b: Any) -> Compared:
        """Return two pictures with a slider between them; zoom and pan are linked.

        Args:
            a: A key, a row, a position, a generation, or one of its pictures.
            b: Another.
        """
        return Compared(self.find(a), self.find(b), self._tiles)

    def find(self, what: Any) -> Row:
        """Return the row that a key, a position, partial axes or a generation names.

        Raises:
            InvalidRequest: No row is named so, or it is not done.
        """
        rows = dict(enumerate(self.rows))
        if isinstance(what, SupportsIndex) and not isinstance(what, bool):
            place = operator.index(what)
            found = rows.get(place if place >= 0 else len(rows) + place)
        else:
            found = next((row for row in rows.values() if is_named(row, what)), None)
        if found is None:
            raise InvalidRequest(
                f"There is no row {one_line(repr(what), limit=60)}.",
                remedy="Give a position, a key, a dict of axes, a row of .rows, or a generation.",
            )
        if not found.generation:
            raise InvalidRequest(
                f"The row {found.label!r} has no picture: it is {found.state}.",
                remedy=found.error or "Choose one that is done.",
            )
        if isinstance(what, GeneratedImage):  # one of several
            return replace(found, generation=replace(found.generation, images=(what,)))
        return found

    def sheet(self, path: str | Path | None = None) -> list[Path]:
        """Write the pictures as a contact sheet with captions, and return the files' paths.

        Args:
            path: A `.png`, paged as `x-1.png`, `x-2.png`, …, or a `.pdf` of several pages; the
                series' name as a `.pdf` if None.

        Raises:
            InvalidRequest: It cannot be written there, or the suffix is another one.
        """
        target = file_path("path", path or f"{export.safe_name(self.name) or 'series'}.pdf")
        return write_sheet(self.rows, target, self.name, self._tiles)

    def pick(self, best: int = 1, by: str | None = None) -> Pick:
        """Return a picker by keyboard: 1 to 5 stars, 0 none, X reject, arrows, C compare.

        Args:
            best: How many to choose from each group.
            by: The axis whose values are the groups; one group if None.

        Raises:
            InvalidRequest: `best` is not a number from 1, or `by` is not an axis.
        """
        return Pick(self, best, by, self._tiles)

    def rate(self, row: Any, stars: int) -> None:
        """Give a row's generation 0 to 5 stars, or -1 to reject it; written at once.

        Args:
            row: A row, or what `compare` takes for one; a row without a picture is left alone.
            stars: 0 to 5, or -1.

        Raises:
            InvalidRequest: It is another number, or there is no such row.
        """
        if isinstance(stars, bool) or stars not in range(-1, 6):
            remedy = "Use 0 to 5, or -1 to reject it."
            raise invalid("rating", f"{str(stars)[:40]} is not allowed", remedy)
        found = row if isinstance(row, Row) else self.find(row)
        if found.generation is not None:
            self._journal.rate(found.generation.id, int(stars))

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

        Raises:
            InvalidRequest: An argument is not valid, nothing is left to write, the folder cannot be
                written, or a file of that name is not one of an earlier export.
        """
        target = file_path("folder", folder)
        return export.write(self.rows, target, format, self.name, where=where)


def check_name(name: object) -> str:
    """Return a series' name, unless it has signs that do not go into file names."""
    if not _NAME.fullmatch(str(name)):
        what = f"{str(name)[:40]!r} is not a name for a series"
        raise invalid("name", what, "Use up to 100 letters, digits, blanks, _ . : and -.")
    return str(name)


async def _tick(run: Drive, tiles: Tiles | None) -> None:
    """Have each second shown that passes, and new pictures; makes their small copies."""
    for number in itertools.count():
        is_new = False
        for made in list(run.tally.recent):
            if tiles is not None and tiles.ready(made[0], *TILE) is None:
                is_new |= await to_thread.run_sync(tiles.make, made[0], *TILE) is not None
        if run.future.done():
            return
        if is_new or number % 4 == 0:
            run.changed()
        await anyio.sleep(UPDATE_SECONDS)


def _flat(row: Row) -> dict[str, Any]:
    made = row.generation
    key = {"key": row.key}
    facts = {
        "state": row.state,
        "prompt": row.request.prompt,
        "model": row.request.model,
        "seed": made.seed if made else row.request.seed,
        "cost": made.cost if made else None,
        "rating": row.rating,
        "error": row.error,
        "paths": [str(path) for path in made.paths] if made else [],
    }
    return {**key, **axes_beside({**key, **facts}, row.axes), **facts}


def _check_errors(errors: Any) -> str | float:
    if isinstance(errors, str) and errors in {"row", "raise"}:
        return errors
    is_number = not isinstance(errors, bool) and isinstance(errors, Real)
    if not (is_number and errors >= 0) or (errors >= 1 and errors % 1 != 0):  # or infinite
        remedy = 'Use "row", "raise", a number of rows, or a share below 1.'
        raise invalid("errors", f"{shown(errors)} is not allowed", remedy)
    return float(errors) if errors < 1 else int(errors)


def _check_amount(value: object) -> Decimal | None:
    try:
        return None if value is None else read_dollars(value)
    except (ArithmeticError, ValueError):
        what = f"{shown(value)} is not an amount"
        raise invalid("max_spend", what, "Give US dollars, like 2.50.") from None
