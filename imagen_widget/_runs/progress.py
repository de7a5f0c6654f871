"""How far a job is: the events that change it, the snapshot that views show, the line they print.

Nothing here does I/O.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from imagen_widget._models import short_name
from imagen_widget._providers import Done, Queued, Running, Ticket
from imagen_widget._result import cost_text

NOT_BILLED = "Cancelled, not billed."
TOO_LATE = "Too late to cancel: the pictures are here, and paid for."


@dataclass(frozen=True, slots=True)
class Submitting:
    """The request is about to be sent; the journal has it."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The provider accepted the job, and the journal has its ticket."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Fetching:
    """The job has finished, and its pictures are being fetched."""

    count: int


Event = Submitting | Submitted | Queued | Running | Done | Fetching


class Phase(StrEnum):
    """The stage of a job, in the words that a person would use."""

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
        phase: Its stage.
        provider: The provider's name.
        model: The endpoint id.
        price: Expected US dollars; None if unknown.
        free: Whether the provider costs nothing.
        cancellable: Whether the provider can cancel a job.
        position: How many jobs are ahead in the queue; None if unknown.
        log: The model's last log line; may be empty.
        elapsed: Seconds since the job was started.
        request_id: The provider's id, once there is one.
        note: How it ended, in one line; empty until then.
        notes: What was changed about the request before it was sent, one line each.
    """

    phase: Phase
    provider: str
    model: str
    price: Decimal | None
    free: bool = False
    cancellable: bool = True
    position: int | None = None
    log: str = ""
    elapsed: float = 0.0
    request_id: str | None = None
    note: str = ""
    notes: tuple[str, ...] = ()


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
        case _:
            return replace(progress, phase=Phase.FETCHING, position=None)


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
    if progress.phase is Phase.SUBMITTING and not progress.cancellable:
        return "Waiting for the pictures (cannot be cancelled)"
    if progress.phase is Phase.QUEUED and progress.position is not None:
        ahead = f"{progress.position} ahead" if progress.position else "next"
        return f"{words}, {ahead}"
    return words


def status_text(progress: Progress) -> str:
    """Return the one status line: phase, elapsed seconds, provider and model, price, notes."""
    if progress.phase.over:
        return progress.note or phase_text(progress)
    return " · ".join(
        (
            phase_text(progress),
            f"{progress.elapsed:.1f} s",
            f"{progress.provider} {short_name(progress.model)}",
            price_text(progress.price, free=progress.free),
            *progress.notes,
        )
    )


def price_text(price: Decimal | None, *, free: bool) -> str:
    """Return an estimate in words: `about $0.04`, `free` or `price unknown`."""
    words = cost_text(price, free=free)
    return f"about {words}" if words.startswith("$") else words
