"""What the journal knows of a job: the law of its steps, its money, its row as a value.

    intent ──> submitting ──> submitted ──> completed ──> downloaded ──> done
      │          │   │            │  │          │
      │          │   └─> unknown ─┘  │          └──> failed, expired
      │          │          └─> failed
      └──────────┴──> failed, cancelled         (submitted ──> failed, cancelled, expired)

`unknown` means that a POST may have been accepted: only a ticket or the user's word settles it.
Nothing here does I/O.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, overload

from imagen_widget._request import ImageRequest
from imagen_widget._result import cost_text
from imagen_widget.errors import BudgetExceeded, JournalError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from sqlite3 import Row

_AS_STORED = ("id", "provider", "base_url", "endpoint", "fingerprint")
_MICRO = 1_000_000  # money is kept in whole millionths of a dollar: no sum ever drifts


class State(StrEnum):
    """Where a job stands."""

    INTENT = "intent"  # written down, not sent
    SUBMITTING = "submitting"  # the POST may be on its way
    SUBMITTED = "submitted"  # the provider gave a ticket
    UNKNOWN = "unknown"  # the POST may have been accepted; there is no ticket
    COMPLETED = "completed"  # the pictures' addresses are known
    DOWNLOADED = "downloaded"  # the pictures are on disk
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"  # only when the provider confirmed it, or nothing was sent
    EXPIRED = "expired"  # the provider no longer has the result


STEPS: dict[State, frozenset[State]] = {
    State.INTENT: frozenset({State.SUBMITTING, State.FAILED, State.CANCELLED}),
    State.SUBMITTING: frozenset({State.SUBMITTED, State.UNKNOWN, State.FAILED, State.CANCELLED}),
    State.UNKNOWN: frozenset({State.SUBMITTED, State.FAILED}),
    State.SUBMITTED: frozenset({State.COMPLETED, State.FAILED, State.CANCELLED, State.EXPIRED}),
    # Asked again after a crash, the provider may give new addresses: completed follows itself.
    State.COMPLETED: frozenset({State.COMPLETED, State.DOWNLOADED, State.FAILED, State.EXPIRED}),
    State.DOWNLOADED: frozenset({State.DONE}),
    State.DONE: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.EXPIRED: frozenset(),
}


class IllegalStep(JournalError, ValueError):  # noqa: N818 - says what happened, as all our names do
    """A step that the law forbids; nothing was changed."""


def check_step(start: State, end: State) -> None:
    """Raise `IllegalStep` where the law knows no step from `start` to `end`."""
    if end not in STEPS[start]:
        raise IllegalStep(
            f"The journal takes no step from {start} to {end}.",
            remedy="Another process may have settled the job: look with %imagen_history.",
        )


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One kept picture of a job.

    Attributes:
        index: Its place among the job's pictures, from 0.
        digest: `sha256:` and 64 hex digits, the name of its bytes in the store.
        media_type: As found in the bytes.
        width: Pixels.
        height: Pixels.
        size: Bytes.
        url: The provider's address of it, which may have expired; or None.
    """

    index: int
    digest: str
    media_type: str
    width: int
    height: int
    size: int
    url: str | None


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as the journal has it.

    Attributes:
        id: Ours; made before anything is sent.
        state: Where it stands.
        provider: `kkiai`, `fal` or `demo`.
        base_url: Where it was sent.
        endpoint: The model's endpoint id.
        request: What was asked.
        fingerprint: Equal for requests that mean the same.
        request_id: The provider's id, once there is a ticket.
        ticket_json: The ticket, once there is one.
        price: US dollars reserved before the submit, or None where unknown.
        cost: US dollars that it came to, or None as long as that is open.
        created: When it was written down, in local time.
        seconds: The service time, where it is known.
        error: Why it failed or is unknown.
        seed: The seed that the provider reported, or None.
        description: The provider's words with the pictures; may be empty.
        urls: The pictures' addresses, from `completed` on.
        images: The kept pictures, from `downloaded` on.
    """

    id: str
    state: State
    provider: str
    base_url: str
    endpoint: str
    request: ImageRequest
    fingerprint: str
    request_id: str | None
    ticket_json: str | None
    price: Decimal | None
    cost: Decimal | None
    created: datetime
    seconds: float | None
    error: str | None
    seed: int | None
    description: str
    urls: tuple[str, ...]
    images: tuple[ImageRow, ...]


def read_job(row: Row, images: Iterable[ImageRow]) -> JobRow:
    """Return the value of a table row.

    Raises:
        JournalError: The row is none that this package wrote.
    """
    same: dict[str, Any] = {name: row[name] for name in _AS_STORED}
    try:
        return JobRow(
            **same,
            state=State(row["state"]),
            request=ImageRequest.from_json(row["request"]),
            request_id=row["request_id"],
            ticket_json=row["ticket"],
            price=to_dollars(row["price"]),
            cost=to_dollars(row["cost"]),
            created=datetime.fromtimestamp(row["created"], tz=UTC).astimezone(),
            seconds=row["seconds"],
            error=row["error"],
            seed=None if row["seed"] is None else int(row["seed"]),
            description=row["description"],
            urls=tuple(json.loads(row["urls"])),
            images=tuple(images),
        )
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise JournalError(
            f"The journal's row {row['id']} cannot be read ({type(error).__name__}).",
            remedy="Restore journal.sqlite3 from a copy, or move it away to start anew.",
        ) from None


@overload
def to_micros(dollars: Decimal) -> int: ...
@overload
def to_micros(dollars: None) -> None: ...
@overload
def to_micros(dollars: Decimal | None) -> int | None: ...
def to_micros(dollars: Decimal | None) -> int | None:
    """Return whole millionths of a dollar, rounded up: a reserve never comes out too small.

    Raises:
        ValueError: It is no amount of money.
    """
    if dollars is None:
        return None
    if not dollars.is_finite() or dollars < 0:
        raise ValueError(f"{dollars} is no amount of money")
    return int((dollars * _MICRO).to_integral_value(ROUND_CEILING))


@overload
def to_dollars(micros: int) -> Decimal: ...
@overload
def to_dollars(micros: None) -> None: ...
def to_dollars(micros: int | None) -> Decimal | None:
    """Return US dollars."""
    return None if micros is None else Decimal(micros) / _MICRO


def check_cap(price: int | None, *, cap: int, spent: int) -> None:
    """Check that a price fits under the day's cap; all three in millionths of a dollar.

    Raises:
        BudgetExceeded: It does not, or it is not known. What is free always fits.
    """
    limit = cost_text(to_dollars(cap), provider="")
    if price is None:
        raise BudgetExceeded(
            f"The model's price is not known here, so the cap of {limit} a day cannot be kept.",
            remedy="Nothing was sent; say what a picture costs in dollars, as IMAGEN_PRICE=0.04.",
        )
    if price and spent + price > cap:
        needed = cost_text(to_dollars(price), provider="")
        already = cost_text(to_dollars(spent), provider="")
        raise BudgetExceeded(
            f"The request costs {needed}; with {already} spent or reserved today it would pass the"
            f" cap of {limit} a day.",
            remedy="Nothing was sent; raise IMAGEN_MAX_SPEND, or go on tomorrow.",
        )


def storable(text: str | None) -> str | None:
    """Return text that a database takes: a server's JSON can hold halves of characters."""
    return None if text is None else text.encode("utf-8", "replace").decode()
