"""PanelState: everything that the widget shows, as frozen values.

No ipywidgets, no IPython, no I/O. What changes a state is in `_panel_reduce`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from imagen_widget._panel._form import Form

if TYPE_CHECKING:
    from decimal import Decimal

    from imagen_widget._generate import Progress
    from imagen_widget._picture import Preview
    from imagen_widget._request import ImageRequest
    from imagen_widget._result import GeneratedImage, Generation

SUBMITTING_PHASES = frozenset({"preparing", "submitting"})


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong: what happened, what to do, and the request to send again where it helps."""

    happened: str
    remedy: str = ""
    again: ImageRequest | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """One picture to show: a small copy for the grid, a larger one to open, where it was saved."""

    image: GeneratedImage
    small: Preview | None
    large: Preview | None
    saved: str = ""


@dataclass(frozen=True, slots=True)
class Pictures:
    """A job that ended well.

    Attributes:
        generation: What it brought.
        cards: Its pictures, ready to show.
        too_late: Whether a cancel came after the picture was made.
        earlier: Whether it was not made here but fetched from history.
    """

    generation: Generation
    cards: tuple[Card, ...]
    too_late: bool = False
    earlier: bool = False


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A job that was given up, and what that means for the bill, in one sentence."""

    said: str


Ending = Pictures | Cancellation | Trouble


@dataclass(frozen=True, slots=True)
class JobState:
    """One press of Generate.

    Attributes:
        number: Counts up from 1 in each panel.
        request: What was asked.
        progress: The last snapshot; None until the job has said anything.
        status: The one-line status text.
        cancelling: Whether Cancel was pressed.
        ending: How it ended; None while it runs.
    """

    number: int
    request: ImageRequest
    progress: Progress | None = None
    status: str = "Preparing"
    cancelling: bool = False
    ending: Ending | None = None

    @property
    def active(self) -> bool:
        """Whether it still runs."""
        return self.ending is None

    @property
    def phase(self) -> str:
        """The phase by name."""
        return str(self.progress.phase) if self.progress is not None else "preparing"

    @property
    def submitting(self) -> bool:
        """Whether it may still be on its way out, so that another press could be a double one."""
        return self.active and self.phase in SUBMITTING_PHASES

    @property
    def elapsed(self) -> float:
        """Seconds since it started, by the last snapshot."""
        return self.progress.elapsed if self.progress is not None else 0.0


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An earlier generation with a small copy of its first picture."""

    generation: Generation
    small: Preview | None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """The History tab.

    Attributes:
        search: What the prompts must contain.
        limit: How many entries are asked for.
        entries: Newest first.
        more: Whether there are older ones.
        loading: Whether an answer is awaited.
        loaded: Whether there has been an answer.
    """

    search: str = ""
    limit: int = 0
    entries: tuple[HistoryEntry, ...] = ()
    more: bool = False
    loading: bool = False
    loaded: bool = False


class Tab(StrEnum):
    """Which page of the panel is open."""

    CREATE = "create"
    HISTORY = "history"


@dataclass(frozen=True, slots=True)
class PanelState:
    """Everything that the widget shows.

    Attributes:
        form: What the controls hold.
        provider: `kkiai`, `fal` or `demo`; "" where the settings cannot be read.
        price: Estimated US dollars for pressing Generate now; None where unknown.
        jobs: Newest first; a bounded number.
        last_number: The number of the newest job.
        clicked_at: When Generate was last accepted, in seconds of the panel's clock.
        trouble: What the error box says, or None.
        tab: Which page is open.
        history: The History tab.
        pending: How many paid jobs of earlier kernels wait to be fetched.
        resuming: Whether they are being fetched.
        latest: The newest generation of this panel.
        enhanced: Whether the browser's optional script layer has reported.
    """

    form: Form = field(default_factory=Form)
    provider: str = ""
    price: Decimal | None = None
    jobs: tuple[JobState, ...] = ()
    last_number: int = 0
    clicked_at: float = float("-inf")
    trouble: Trouble | None = None
    tab: Tab = Tab.CREATE
    history: HistoryPage = field(default_factory=HistoryPage)
    pending: int = 0
    resuming: bool = False
    latest: Generation | None = None
    enhanced: bool = False

    def job(self, number: int) -> JobState | None:
        """Return the job with this number, or None."""
        return next((job for job in self.jobs if job.number == number), None)

    @property
    def active(self) -> tuple[JobState, ...]:
        """The jobs that run, newest first."""
        return tuple(job for job in self.jobs if job.active)

    @property
    def can_generate(self) -> bool:
        """Whether Generate is enabled: never while a job is on its way out."""
        return not any(job.submitting for job in self.jobs)

    @property
    def cancellable(self) -> JobState | None:
        """The job that the main Cancel button means: the newest that runs."""
        return next((job for job in self.active if not job.cancelling), None)

    @property
    def headline(self) -> JobState | None:
        """The job that the status line speaks of: the newest that runs, else the newest."""
        return next(iter(self.active), next(iter(self.jobs), None))

    @property
    def status(self) -> str:
        """The status line."""
        headline = self.headline
        return headline.status if headline is not None else "Ready"

    @property
    def announcement(self) -> str:
        """What a screen reader is told: phases and endings, not each tenth of a second.

        Trouble is left out: the error box is an alert, which is read by itself.
        """
        headline = self.headline
        if headline is None:
            return ""
        if not headline.active:
            return headline.status
        ahead = headline.progress.position if headline.progress is not None else None
        place = f", {ahead} ahead" if ahead and headline.phase == "queued" else ""
        return f"{headline.phase.capitalize()}{place}"
