"""Every change of a job's state, as one pure function: `apply(record, event)`.

The bill comes first: a job is written down before it is sent, and its price counts until it is sure
that nothing is billed. Nothing here does I/O or reads a clock.
"""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Any

from imagen_widget._request import ImageRequest
from imagen_widget.errors import JournalError, one_line

__all__ = ["Claimed", "Event", "IllegalStep", "Kept", "KeptImage", "Record", "Returned", "State"]
__all__ += ["Cancelled", "Completed", "Expired", "Failed", "Forgotten"]
__all__ += ["Submitted", "Submitting", "Uncertain", "apply"]

FREE = Decimal(0)


class State(StrEnum):
    """The state of a job."""

    WAITING = "waiting"  # planned as a row of a series; nothing is reserved
    INTENT = "intent"  # written down with its price reserved, not sent
    SUBMITTING = "submitting"  # the POST may be on its way
    SUBMITTED = "submitted"  # the provider gave a ticket
    UNKNOWN = "unknown"  # the POST may have been accepted; only an answer or the user settles it
    COMPLETED = "completed"  # the provider has answered with the result
    DONE = "done"  # the pictures are in the store
    FAILED = "failed"
    CANCELLED = "cancelled"  # only if the provider confirmed it, or nothing was sent
    EXPIRED = "expired"  # the provider no longer has the result


ENDS = frozenset({State.DONE, State.FAILED, State.CANCELLED, State.EXPIRED})


class IllegalStep(JournalError, ValueError):
    """An event that is not possible in the job's state, or no such job; nothing was changed."""


@dataclass(frozen=True, slots=True)
class KeptImage:
    """One picture of a job that is kept in the store."""

    index: int  # its place among the job's pictures, from 0
    digest: str  # `sha256:` and 64 hex digits: its name in the store
    media_type: str  # as found in the bytes
    width: int  # pixels; 0 if the bytes cannot be read
    height: int
    size: int  # bytes
    url: str | None = None  # the provider's address of it, which may have expired
    filtered: bool = False  # withheld by the provider, and served blacked out


# Errors of the request itself: the same row would be refused again.
_OWN_FAULT = ("ContentRejected", "InvalidRequest", "ModelRetired")


@dataclass(frozen=True)
class Record:
    """One job as the journal has it; what needs parsing is parsed when it is asked for."""

    id: str  # ours; made before anything is sent
    seq: int  # the order in which jobs were sent; of a waiting row, the order of planning
    state: State
    provider: str
    base_url: str
    model: str  # the endpoint id
    request_text: str = field(repr=False)  # JSON
    fingerprint: str  # equal for requests that send exactly the same
    request_id: str | None = None  # the provider's
    ticket: str | None = field(default=None, repr=False)  # JSON
    price: Decimal | None = None  # US dollars to reserve; None if unknown
    cost: Decimal | None = None  # US dollars that it came to; None while that is open
    cost_source: str | None = None  # `billed`, `yours` or `list`
    created_at: float = 0.0  # when it was written down to be sent, in Unix seconds
    seconds: float | None = None  # the service time
    elapsed: float | None = None  # from the call to the pictures on disk, in seconds
    error: str | None = None  # why it failed or is unknown, in one line
    trouble: str = ""  # the name of that error's class
    seed: int | None = None  # as the provider reported it
    description: str = ""  # the provider's words with the pictures
    revised_prompt: str | None = field(default=None, repr=False)
    urls: tuple[str, ...] = ()  # the pictures' addresses that can be fetched; from `completed` on
    images: tuple[KeptImage, ...] = ()  # of a job that is done
    filtered: int = 0  # how many of the pictures asked for the provider withheld
    units: Decimal | None = None  # billed units, as the provider reported them
    rating: int = 0  # the user's stars, 0 to 5
    user: str = ""  # the name under which it was sent
    series: str = ""  # the series that it is a row of
    key: str = ""  # its key there
    ordinal: int = 0  # its place there, from 0
    axes_text: str = field(default="{}", repr=False)  # JSON
    planned: bool = True  # whether it is in the series' present plan
    deleted: bool = False  # by the user; its bill stays

    @cached_property
    def request(self) -> ImageRequest:
        """What is asked; raises JournalError if the row is damaged."""
        try:
            return ImageRequest.from_json(self.request_text)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise damaged(self.id, error) from None

    @cached_property
    def axes(self) -> dict[str, Any]:
        """Its values of the series' axes."""
        axes: dict[str, Any] = json.loads(self.axes_text)
        return axes

    @property
    def created(self) -> datetime:
        """When it was written down to be sent, in local time."""
        return datetime.fromtimestamp(self.created_at, tz=UTC).astimezone()

    @property
    def amount(self) -> Decimal:
        """US dollars that count as spent or reserved."""
        if self.state is State.WAITING:
            return FREE
        amount = self.price if self.cost is None else self.cost
        return FREE if amount is None else amount

    @property
    def status(self) -> str:
        """Its state in the words of a series: waiting, sent, done, failed, refused, unknown.

        Refused is what the provider did not take, or would not draw.
        """
        return status(self.state, self.trouble, accepted=self.request_id is not None)

    @property
    def was_accepted(self) -> bool:
        """Whether the provider may have taken it, now or earlier."""
        return bool(self.request_id or self.ticket or self.images or self.cost != FREE)

    @property
    def is_unsent(self) -> bool:
        """Whether it waits, or failed before it was taken for another reason than what it asks."""
        if self.state not in {State.FAILED, State.CANCELLED}:
            return self.state is State.WAITING
        return not (self.was_accepted or self.trouble in _OWN_FAULT)


def status(state: State, trouble: str, *, accepted: bool) -> str:
    """Return a job's state in the words of a series."""
    if state in {State.WAITING, State.DONE, State.UNKNOWN}:
        return state.value
    if state not in ENDS:
        return "sent"
    refused = state is State.FAILED and (not accepted or trouble == "ContentRejected")
    return "refused" if refused else "failed"


def damaged(job_id: str, error: Exception) -> JournalError:
    """Return the error for a row that this package did not write so."""
    return JournalError(
        f"The journal's row {job_id} cannot be read ({type(error).__name__}).",
        remedy="Restore the journal from a copy; `journal check` lists what is damaged.",
    )


# ------------------------------------------------------------------------------------- events


class Event:
    """Something that happened to a job."""


class Claimed(Event):
    """A waiting row will be sent by this process; its price is reserved."""


class Returned(Event):
    """A row that the provider never took waits again; what it reserved is free."""


class Submitting(Event):
    """The POST goes out next."""


@dataclass(frozen=True)
class Submitted(Event):
    """The provider took the job: from here on any process with the journal can fetch it."""

    ticket: str
    request_id: str


@dataclass(frozen=True)
class Uncertain(Event):
    """The POST may have been accepted; it is never sent again automatically."""

    why: str


@dataclass(frozen=True)
class Completed(Event):
    """The provider answered with the result, after a ticket or to the submit itself."""

    seconds: float | None = None
    seed: int | None = None
    description: str = ""
    revised_prompt: str | None = None
    urls: tuple[str, ...] = ()
    units: Decimal | None = None
    filtered: int = 0
    request_id: str | None = None  # if there was no ticket


@dataclass(frozen=True)
class Kept(Event):
    """The pictures are in the store; a cost of None means the reserved price."""

    images: tuple[KeptImage, ...]
    cost: Decimal | None = None
    cost_source: str | None = None
    elapsed: float | None = None


@dataclass(frozen=True)
class Failed(Event):
    """The job ended without pictures; if it may be billed, the reserved price stays."""

    why: str
    billed: bool
    trouble: str = ""  # the error's class


class Cancelled(Event):
    """The provider confirmed the cancellation, or nothing was sent: not billed."""


class Expired(Event):
    """The provider no longer has the result; the reserved price stays."""


@dataclass(frozen=True)
class Forgotten(Event):
    """The user settled an unknown job."""

    billed: bool = True


# -------------------------------------------------------------------------------- transitions

_W, _I, _S, _T, _U, _C, _D, _F, _X, _E = State

# waiting ──> intent ──> submitting ──> submitted ──> completed ──> done
#    ^          │          │   │            │             │
#    └──────────┤          │   └> unknown ──┤             └──> failed
#               └──────────┴──> failed, cancelled, expired
#
# A late answer counts: an unknown job can still become submitted or completed. A provider that is
# asked again after a crash may give new addresses: completed follows itself.
TRANSITIONS: dict[type[Event], tuple[set[State], State]] = {
    # event     from                      to
    Claimed:    ({_W},                    _I),
    Returned:   ({_I, _F, _X},            _W),  # if the provider never took it
    Submitting: ({_I},                    _S),
    Submitted:  ({_S, _U},                _T),
    Uncertain:  ({_S},                    _U),
    Completed:  ({_S, _U, _T, _C},        _C),
    Kept:       ({_C},                    _D),
    Failed:     ({_I, _S, _U, _T, _C},    _F),  # completed: all of it was withheld
    Cancelled:  ({_I, _S, _T},            _X),
    Expired:    ({_T, _C},                _E),
    Forgotten:  ({_U},                    _F),
}  # fmt: skip


def apply(record: Record, event: Event) -> Record:
    """Return the record after an event; raises IllegalStep if that is not possible now."""
    sources, target = TRANSITIONS[type(event)]
    returns = isinstance(event, Returned) and record.state is not State.INTENT
    if record.state not in sources or (returns and record.was_accepted):
        if isinstance(event, Forgotten):
            raise IllegalStep(
                "Only a job whose submit is uncertain can be forgotten.",
                remedy="%imagen_resume lists those that can be.",
            )
        raise IllegalStep(
            f"The job is {record.state} and cannot become {target}.",
            remedy="Another process may have settled it: look with %imagen_history.",
        )
    changes: dict[str, Any] = {}  # Claimed, Submitting
    match event:
        case Returned():
            changes = {"cost": None, "error": None, "trouble": ""}
        case Submitted(ticket, request_id):
            changes = {"ticket": ticket, "request_id": request_id, "error": None, "trouble": ""}
        case Uncertain(why):
            changes = {"error": one_line(why), "trouble": "SubmitUncertain"}
        case Completed():
            told = {**vars(event), "request_id": record.request_id or event.request_id}
            changes = {**told, "error": None, "trouble": ""}
        case Kept():
            changes = {**vars(event), "cost": record.price if event.cost is None else event.cost}
        case Failed(why, billed, trouble):
            cost = record.cost if billed else FREE
            changes = {"error": one_line(why), "trouble": trouble, "cost": cost}
        case Cancelled():
            changes = {"error": None, "trouble": "JobCancelled", "cost": FREE}
        case Expired():
            changes = {"error": "The provider no longer has the result."}
        case Forgotten(billed):
            changes = {"error": "Settled by the user.", "cost": record.cost if billed else FREE}
    return replace(record, state=target, **changes)
