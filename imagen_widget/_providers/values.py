"""What providers hand out: capabilities, tickets, events and results, as plain values."""

import enum
import json
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Self


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do."""

    free: bool = False  # nothing is ever billed
    cancels: bool = True
    streams: bool = False  # it reports progress by an event stream
    resumes: bool = True  # a job can be fetched later, by its ticket
    takes_data_addresses: bool = True  # pictures may be sent inside the request


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that the model's worker logged; `level` and `timestamp` may be empty."""

    message: str
    level: str = ""
    timestamp: str = ""


@dataclass(frozen=True, slots=True)
class Queued:
    """The job waits; `position` jobs are ahead of it, None if unknown."""

    position: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """The job runs; `logs` are the last of its `count` new log lines."""

    logs: tuple[LogLine, ...] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class Served:
    """One picture that was made: an https address, or a `data:` address that holds it."""

    url: str
    filtered: bool = False  # the provider flagged it, and so blacked it out
    media_type: str = ""  # as the provider calls it; may be empty or wrong

    def __repr__(self) -> str:
        url = self.url if len(self.url) <= 200 else f"{self.url[:40]}…"
        return f"Served({url!r}, filtered={self.filtered}, media_type={self.media_type!r})"


@dataclass(frozen=True, slots=True)
class Finished:
    """What a finished job brought.

    Attributes:
        pictures: The pictures, in the provider's order.
        seed: The seed that was used; None if unknown.
        description: What the model says about the pictures.
        revised_prompt: The prompt as the provider rewrote it, or as it repeats it.
        units: What was billed, in the provider's units; None if unknown.
        seconds: How long the provider worked; None if unknown.
        request_id: The provider's id of the job; a made one if it has none.
    """

    pictures: tuple[Served, ...]
    seed: int | None = None
    description: str = ""
    revised_prompt: str = ""
    units: Decimal | None = None
    seconds: float | None = None
    request_id: str = ""

    @property
    def urls(self) -> tuple[str, ...]:
        """The pictures' addresses."""
        return tuple(served.url for served in self.pictures)


@dataclass(frozen=True, slots=True)
class Done:
    """The job has ended, well or not; the last event of `watch`.

    Attributes:
        seconds: How long the provider worked; None if unknown.
        trouble: What the status said went wrong, else None; the result decides.
        finished: The result, if it came along; else None.
    """

    seconds: float | None = None
    trouble: str | None = None
    finished: Finished | None = None


WireEvent = Queued | Running | Done


@dataclass(frozen=True, slots=True)
class Ticket:
    """The claim to a job: with it the job can be watched, fetched and cancelled.

    Attributes:
        provider: The provider's name.
        base_url: The address where it was submitted.
        endpoint: The model that was asked.
        request_id: The provider's id of the job.
        created: When it was submitted, in Unix seconds; 0 if unknown.
        extra: What its provider alone understands, as names and values.
        finished: The result, if the submit was answered with it; else None.
    """

    provider: str
    base_url: str
    endpoint: str
    request_id: str
    created: float = 0.0
    extra: tuple[tuple[str, str], ...] = ()
    finished: Finished | None = None

    def to_json(self) -> str:
        """Return the ticket as JSON text, for the journal."""
        fields = asdict(self)
        fields.update(fields.pop("extra"))
        if self.finished is not None and self.finished.units is not None:
            fields["finished"]["units"] = str(self.finished.units)
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str, *, created: float = 0.0) -> Self:
        """Return the ticket that `to_json` wrote; `created` if the text, as 0.1's, does not say."""
        fields = json.loads(text)
        early = fields.pop("outcome", None)
        if early is not None:  # version 0.1
            early["pictures"] = [{"url": url} for url in early.pop("urls")]
        early = fields.pop("finished", None) or early
        if early is not None:
            early["pictures"] = tuple(Served(**served) for served in early["pictures"])
            units = early.pop("units", None)
            early = Finished(**early, units=None if units is None else Decimal(units))
        names = ("provider", "base_url", "endpoint", "request_id")
        known = {name: fields.pop(name) for name in names}
        created = fields.pop("created", 0.0) or created
        return cls(**known, created=created, extra=tuple(fields.items()), finished=early)

    def get(self, name: str) -> str:
        """Return a value of `extra`, or ""."""
        return dict(self.extra).get(name, "")


class CancelAnswer(enum.Enum):
    """What the provider said to a cancellation."""

    CONFIRMED = "confirmed"
    REQUESTED = "requested"
    TOO_LATE = "too late"
    UNKNOWN = "unknown"
