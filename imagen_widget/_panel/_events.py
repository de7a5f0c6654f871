"""What can happen to the panel: one frozen value for each kind of event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

    from imagen_widget._generate import Progress
    from imagen_widget._panel._state import Ending, HistoryEntry, Pictures, Tab, Trouble
    from imagen_widget._request import ImageRequest

PAGE_ENTRIES = 12


@dataclass(frozen=True, slots=True)
class FieldSet:
    """A control was changed."""

    name: str
    value: object


@dataclass(frozen=True, slots=True)
class Reused:
    """The settings of an earlier request were asked for."""

    request: ImageRequest


@dataclass(frozen=True, slots=True)
class Priced:
    """The price of the form is known anew."""

    price: Decimal | None


@dataclass(frozen=True, slots=True)
class Connected:
    """The settings were read: this is where jobs go."""

    provider: str


@dataclass(frozen=True, slots=True)
class Pressed:
    """Generate was pressed, at this many seconds of the panel's clock.

    With `again`, Retry was pressed: that request is meant, not the form.
    """

    at: float
    again: ImageRequest | None = None


@dataclass(frozen=True, slots=True)
class Progressed:
    """A job has a new snapshot and a new status text."""

    number: int
    progress: Progress
    status: str


@dataclass(frozen=True, slots=True)
class CancelPressed:
    """Cancel was pressed for a job."""

    number: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A job ended; `status` is its last status text."""

    number: int
    ending: Ending
    status: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """Pictures came without a press of Generate: fetched for an earlier kernel, or shown again."""

    pictures: Pictures


@dataclass(frozen=True, slots=True)
class Saved:
    """A picture was saved, in words that say where."""

    number: int
    index: int
    where: str


@dataclass(frozen=True, slots=True)
class Troubled:
    """Something outside a job went wrong."""

    trouble: Trouble


@dataclass(frozen=True, slots=True)
class TabOpened:
    """A page of the panel was opened."""

    tab: Tab


@dataclass(frozen=True, slots=True)
class Searched:
    """History was asked for prompts that contain `text`, or for older entries."""

    text: str
    limit: int = PAGE_ENTRIES


@dataclass(frozen=True, slots=True)
class HistoryRead:
    """History answered a search; `limit` and `search` say which."""

    search: str
    limit: int
    entries: tuple[HistoryEntry, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class PendingCounted:
    """The journal was asked how many paid jobs wait to be fetched."""

    count: int


@dataclass(frozen=True, slots=True)
class Resuming:
    """The fetching of those began."""


@dataclass(frozen=True, slots=True)
class Enhanced:
    """The browser's script layer reported."""


Event = (
    FieldSet
    | Reused
    | Priced
    | Connected
    | Pressed
    | Progressed
    | CancelPressed
    | Ended
    | Arrived
    | Saved
    | Troubled
    | TabOpened
    | Searched
    | HistoryRead
    | PendingCounted
    | Resuming
    | Enhanced
)
