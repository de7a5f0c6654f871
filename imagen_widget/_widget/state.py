"""State: everything that the widget shows, as frozen values whose methods return the next state.

Pure: no ipywidgets, no I/O, no clock. Whatever the order of calls: one press of Generate is one
job; what arrives for a job that has ended changes nothing; elapsed time never runs backwards; a
job is done when its pictures are there; the number of jobs in sight has a bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from imagen_widget._journal import Record
from imagen_widget._models import Model, dollars
from imagen_widget._picture import Preview
from imagen_widget._request import ImageRequest
from imagen_widget._result import Generation
from imagen_widget._runs import Phase, Progress
from imagen_widget._settings import ACCOUNTS, Account, Budget, Prices
from imagen_widget._widget.form import Form

DOUBLE_PRESS_SECONDS = 0.3
PROGRESS_SECONDS = 0.2  # at least between mere seconds: two messages each stay below ten
MAX_ACTIVE = 8
MAX_ENDED = 6
NOT_SENT = "Not sent"
TOO_LATE = "Too late to cancel: the picture is here"
DAYS = {"any time": 0, "today": 1, "last 7 days": 7, "last 30 days": 30}


@dataclass(frozen=True, slots=True)
class Trouble:
    happened: str  # one sentence
    remedy: str = ""  # another; may be empty
    # The request to send again; None if that could be paid twice, or would not help
    again: ImageRequest | None = None
    field: str = ""  # the field that it speaks of; it goes when that is changed
    refused: bool = False  # whether the status speaks of it: Generate was pressed, nothing was sent
    # A model that is gone, by id, and the alias of the one to use instead
    gone: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Pictures:
    """A job that ended well."""

    generation: Generation
    small: tuple[Preview | None, ...]  # copies of its pictures for the grid; None if unreadable
    earlier: bool = False  # whether it was not made here but found in history


Ending = Pictures | Trouble | None  # None: given up; the status says what that means for the bill


@dataclass(frozen=True, slots=True)
class JobState:
    number: int  # counts up from 1 in each widget
    request: ImageRequest
    typical_seconds: float = 10.0  # how long the model takes as a rule
    phase: Phase = Phase.PREPARING
    ahead: int | None = None  # how many jobs are before it in the queue; None if unknown
    elapsed: float = 0.0  # seconds
    status: str = "Preparing"  # the one-line status text
    cancelling: bool = False  # whether Cancel was pressed
    active: bool = True  # whether it has not ended
    ending: Ending = None

    @property
    def submitting(self) -> bool:
        """Whether it may still be on its way out, so that another press could be a double one."""
        on_its_way = self.phase in {Phase.PREPARING, Phase.SUBMITTING}
        return self.active and (on_its_way or self.elapsed < DOUBLE_PRESS_SECONDS)


@dataclass(frozen=True, slots=True)
class Entry:
    generation: Generation
    thumbnail: str = ""  # markup
    rating: int = 0
    size: int = 0  # bytes of its pictures


@dataclass(frozen=True, slots=True)
class Look:
    """What History is asked for; each part that is set narrows it."""

    text: str = ""
    model: str = ""
    provider: str = ""
    days: str = "any time"
    rating: int = 0
    sort: str = "newest"

    @property
    def since(self) -> datetime | None:
        """The moment from which on, in local time; None for any."""
        days = DAYS[self.days]
        first = datetime.now().astimezone().date() - timedelta(days=days - 1)
        return datetime.combine(first, time()).astimezone() if days else None

    def chips(self) -> dict[str, str]:
        stars = f"{self.rating} stars or more" if self.rating > 1 else "rated"
        words = {
            "text": f"“{self.text}”" if self.text else "",
            "model": self.model,
            "provider": self.provider,
            "days": self.days if DAYS[self.days] else "",
            "rating": stars if self.rating else "",
        }
        return {name: text for name, text in words.items() if text}


@dataclass(frozen=True, slots=True)
class Past:
    look: Look = field(default_factory=Look)  # what is asked for
    entries: Mapping[str, Entry] = field(default_factory=dict)  # what was found so far, by id
    cursor: Record | None = None  # the record after which the next page begins; None at the end
    matched: int = 0  # how many match in all
    total: int = 0  # how many there are in all
    loading: bool = False  # whether an answer is awaited
    loaded: bool = False  # whether there has been an answer
    models: tuple[str, ...] = ()  # the models to choose from
    selected: frozenset[str] = frozenset()  # the ids of those that are ticked
    deleted: tuple[str, ...] = ()  # the ids of those that were just deleted, for the undo

    def found(
        self, look: Look, entries: list[Entry], *, after: Record | None = None, **facts: Any
    ) -> "Past":
        """Return the page with an answer; one to an earlier question changes nothing.

        `after` is the cursor of the page before; the facts are the next cursor and the counts.
        """
        if look != self.look or (after is not None and after is not self.cursor):
            return self
        shown = {} if after is None else dict(self.entries)
        shown |= {entry.generation.id: entry for entry in entries}
        selected = self.selected.intersection(shown)
        facts |= {"entries": shown, "selected": selected, "loading": False, "loaded": True}
        return replace(self, **facts)

    def changed(self, entry_id: str, **changes: Any) -> "Past":
        if entry_id not in self.entries:
            return self
        after = replace(self.entries[entry_id], **changes)
        return replace(self, entries={**self.entries, entry_id: after})

    def ticked(self, entry_id: str) -> "Past":
        return replace(self, selected=self.selected ^ {entry_id}, deleted=())

    def without(self, entry_id: str) -> "Past":
        """Return the page once one is deleted; an undo may come between it and the next one."""
        return replace(self, deleted=(*self.deleted, entry_id))

    @property
    def chosen(self) -> list[Entry]:
        return [entry for entry_id, entry in self.entries.items() if entry_id in self.selected]


class Tab(StrEnum):
    CREATE = "create"
    HISTORY = "history"


@dataclass(frozen=True, slots=True)
class State:
    form: Form  # what the controls hold
    account: Account = ACCOUNTS["demo"]  # where jobs go
    has_key: bool = True  # whether there is a key for it, or none is needed
    budget: Budget = ()  # the caps
    prices: Prices = field(default_factory=Prices)  # what pictures cost you, as far as you said it
    # US dollars spent: this `day` or `month`, by `all` or by this `user`
    spent: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)
    models: tuple[Model, ...] = ()  # what the chooser lists
    jobs: tuple[JobState, ...] = ()  # newest first; a bounded number
    made: tuple[Generation, ...] = ()  # all that was made here, newest first
    last_number: int = 0  # the number of the newest job
    trouble: Trouble | None = None  # what the error box says; None if nothing
    note: str = ""  # what was changed in the form without being asked; empty if nothing
    tab: Tab = Tab.CREATE  # which page is open
    picking: bool = False  # whether it was opened to pick an input picture
    past: Past = field(default_factory=Past)  # the History page
    pending: int = 0  # how many jobs of earlier kernels wait to be fetched
    resuming: bool = False  # whether they are being fetched
    # The first of two pictures to compare: generation id and index
    marked: tuple[str, int] | None = None
    active: int = 0  # the input picture that was clicked last, from 0

    def job(self, number: int) -> JobState | None:
        return next((job for job in self.jobs if job.number == number), None)

    @property
    def running(self) -> tuple[JobState, ...]:
        return tuple(job for job in self.jobs if job.active)

    @property
    def rows(self) -> tuple[JobState, ...]:
        """The jobs that have something to show: they run, or they brought pictures."""
        return tuple(job for job in self.jobs if job.active or isinstance(job.ending, Pictures))

    @property
    def latest(self) -> Generation | None:
        return next(iter(self.made), None)

    @property
    def headline(self) -> JobState | None:
        """The job that the status line speaks of: the newest that runs, else the newest."""
        return next(iter(self.running), next(iter(self.jobs), None))

    @property
    def cancellable(self) -> JobState | None:
        """The job that the main Cancel button means: the newest, also when it is pressed twice."""
        newest = next(iter(self.running), None)
        return None if newest is None or newest.cancelling else newest

    @property
    def status(self) -> str:
        if self.trouble is not None and self.trouble.refused:
            return NOT_SENT
        return self.headline.status if self.headline is not None else "Ready"

    @property
    def submitting(self) -> bool:
        return any(job.submitting for job in self.jobs)

    @property
    def can_generate(self) -> bool:
        """Whether Generate is enabled: not while a job is on its way out, nor with a bad value."""
        return not self.form.blocked and not self.submitting

    def spent_in(self, period: str, scope: str = "all") -> Decimal:
        return self.spent.get((period, scope), Decimal(0))

    def warning(self, price: Decimal | None) -> str:
        """Return what would stop the next job, said before the click; empty if nothing would."""
        if self.account.free:
            return ""
        if not self.has_key:
            name = next(iter(self.account.key_variables), "a key")
            return f"No key yet: set {name}, or run imagen_widget.login()."
        if self.budget and price is None:
            return "A cap is set and the price is unknown: set IMAGEN_PRICE, or nothing is sent."
        for limit in self.budget:
            left = limit.amount - self.spent_in(limit.period, limit.scope)
            if (price or 0) > left:
                rest = dollars(max(Decimal(0), left))
                cap = f"{dollars(limit.amount)} a {limit.period}"
                return f"This would pass your cap of {cap}: {rest} is left."
        return ""

    @property
    def notice(self) -> str:
        """What the form does without being asked, and what of it is not sent."""
        return " ".join(filter(None, (self.note, self.form.kept_aside)))

    @property
    def announcement(self) -> str:
        """What a screen reader is told: phases and endings, not each tenth of a second.

        Trouble is left out: the error box is an alert, which is read by itself.
        """
        headline = self.headline
        if headline is None:
            return self.notice
        if not headline.active:
            return headline.status
        is_behind = headline.ahead and headline.phase is Phase.QUEUED
        place = f", {headline.ahead} ahead" if is_behind else ""
        return f"{headline.phase.capitalize()}{place}"

    @property
    def ringed(self) -> int:
        """Which input picture is ringed, from 0."""
        return max(0, min(self.active, len(self.form.pictures) - 1))

    def generation(self, generation_id: str) -> Generation | None:
        shown = [job.ending.generation for job in self.jobs if isinstance(job.ending, Pictures)]
        known = (*shown, *self.made, *(e.generation for e in self.past.entries.values()))
        return next((g for g in known if g.id == generation_id), None)

    def pressed(self, request: ImageRequest, *, deliberate: bool = False) -> "State":
        """Return the state after Generate or Retry; unchanged if the press is a double one.

        A deliberate one comes from a program, which does not press twice by mistake.
        """
        if not deliberate and self.submitting:
            return self
        if len(self.running) >= MAX_ACTIVE:
            full = Trouble(f"{MAX_ACTIVE} jobs are running.", "Wait for one, or cancel one.")
            return replace(self, trouble=full)
        seconds = self.form.model.typical_seconds
        started = self._with(JobState(self.last_number + 1, request, seconds))
        return replace(started, trouble=None, note="", tab=Tab.CREATE)

    def progressed(self, number: int, progress: Progress, status: str) -> "State":
        """Return the state after a job said how far it is.

        Mere seconds are not taken more often than they can be shown. Its last word is left to
        `ended`, which comes when the pictures can be shown.
        """
        job = self.job(number)
        if job is None or not job.active or progress.phase.over:
            return self
        phase, elapsed = progress.phase, progress.elapsed
        if elapsed < job.elapsed + (PROGRESS_SECONDS if phase is job.phase else 0):
            return self
        ahead = progress.position
        return self._with(replace(job, phase=phase, elapsed=elapsed, ahead=ahead, status=status))

    def cancelling(self, number: int) -> "State":
        job = self.job(number)
        if job is None or not job.active:
            return self
        return self._with(replace(job, cancelling=True))

    def ended(self, number: int, ending: Ending, status: str) -> "State":
        """Return the state after a job ended; `status` is its last status text."""
        job = self.job(number)
        if job is None or not job.active:
            return self
        if isinstance(ending, Pictures) and job.cancelling:
            status = f"{TOO_LATE} · {status}"
        after = self._with(replace(job, active=False, ending=ending, status=status))
        if isinstance(ending, Pictures):
            return replace(after, made=(ending.generation, *self.made))
        return replace(after, trouble=ending) if isinstance(ending, Trouble) else after

    def arrived(self, pictures: Pictures) -> "State":
        """Return the state after pictures came without a press of Generate."""
        made, after = pictures.generation, replace(self, tab=Tab.CREATE)
        shown = (j.ending.generation.id for j in self.jobs if isinstance(j.ending, Pictures))
        if made.id in shown:
            return after
        job = JobState(self.last_number + 1, made.request, status=made.summary)
        after = after._with(replace(job, active=False, ending=pictures))
        return after if pictures.earlier else replace(after, made=(made, *self.made))

    def _with(self, job: JobState) -> "State":
        """Put a job in its place; a new one has those that brought nothing, and the oldest, go."""
        there = self.rows if job.number > self.last_number else self.jobs
        by_number = {each.number: each for each in (*there, job)}
        ended = sorted(n for n, each in by_number.items() if not each.active)
        dropped = ended[:-MAX_ENDED]
        kept = tuple(by_number[n] for n in sorted(by_number, reverse=True) if n not in dropped)
        return replace(self, jobs=kept, last_number=max(self.last_number, job.number))
