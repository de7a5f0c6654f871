"""How far a job is: the events that tell it, the snapshot that views show, the line they print.

Nothing here does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from imagen_widget._catalog import short_name
from imagen_widget._protocol._events import Done, Queued, Running
from imagen_widget._result import cost_text

if TYPE_CHECKING:
    from decimal import Decimal

    from imagen_widget._protocol._ticket import Ticket

NOT_BILLED = "Cancelled, not billed."
TOO_LATE = "Too late to cancel: the pictures are here, and paid for."


@dataclass(frozen=True, slots=True)
class Submitting:
    """The request is about to be sent; the journal has it."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The provider gave a ticket, and the journal has it."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Fetching:
    """The job has finished, and its pictures are being fetched."""

    count: int


Event = Submitting | Submitted | Queued | Running | Done | Fetching


class Phase(StrEnum):
    """Where a job is, as a person would say it."""

    PREPARING = "preparing"
    SUBMITTING = "submitting"
    QUEUED = "queued"
    RUNNING = "running"
    FETCHING = "fetching"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        return self in {Phase.DONE, Phase.FAILED, Phase.CANCELLED}


@dataclass(frozen=True, slots=True)
class Progress:
    """What a view needs to know of a job.

    Attributes:
        phase: Where it is.
        provider: Its provider's name.
        model: Its endpoint id.
        price: US dollars that it is expected to cost, or None where unknown.
        position: How many jobs are ahead in the queue, or None.
        log: The model's last log line; may be empty.
        elapsed: Seconds since it was started.
        request_id: The provider's id, once there is one.
        note: How it ended, in one line; empty until then.
    """

    phase: Phase
    provider: str
    model: str
    price: Decimal | None
    position: int | None = None
    log: str = ""
    elapsed: float = 0.0
    request_id: str | None = None
    note: str = ""


def advance(progress: Progress, event: Event) -> Progress:
    """Return the progress after an event."""
    match event:
        case Submitting():
            return replace(progress, phase=Phase.SUBMITTING)
        case Submitted(ticket=ticket):
            return replace(progress, phase=Phase.QUEUED, request_id=ticket.request_id)
        case Queued(position=position):
            return replace(progress, phase=Phase.QUEUED, position=position)
        case Running(logs=logs):
            log = logs[-1].message if logs else progress.log
            return replace(progress, phase=Phase.RUNNING, position=None, log=log)
        case Done():
            return replace(progress, phase=Phase.FETCHING, position=None)
        case Fetching():
            return replace(progress, phase=Phase.FETCHING, position=None)
        case _:
            assert_never(event)


_WORDS = {
    Phase.PREPARING: "Preparing",
    Phase.SUBMITTING: "Sending the request",
    Phase.QUEUED: "In the queue",
    Phase.RUNNING: "Drawing",
    Phase.FETCHING: "Fetching the pictures",
    Phase.DONE: "Done",
    Phase.FAILED: "Failed",
    Phase.CANCELLED: "Cancelled",
}


def phase_text(progress: Progress) -> str:
    """Return the phase in words, with the queue position or the last log line."""
    words = _WORDS[progress.phase]
    if progress.phase is Phase.RUNNING:
        return progress.log or words
    if progress.phase is Phase.QUEUED and progress.position is not None:
        ahead = f"{progress.position} ahead" if progress.position else "next"
        return f"{words}, {ahead}"
    return words


def status_text(progress: Progress) -> str:
    """Return the one status line: phase, elapsed seconds, provider and model, price."""
    if progress.phase.over:
        return progress.note or phase_text(progress)
    return " · ".join(
        (
            phase_text(progress),
            f"{progress.elapsed:.1f} s",
            f"{progress.provider} {short_name(progress.model)}",
            price_text(progress.price, provider=progress.provider),
        )
    )


def price_text(price: Decimal | None, *, provider: str) -> str:
    """Return an expected price in words: `≈ $0.04`, `free (demo)` or `price unknown`."""
    text = cost_text(price, provider=provider)
    return f"≈ {text}" if text.startswith("$") else text
