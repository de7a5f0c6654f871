"""What a status or result object says of a job: queued, running, finished, and what it brought.

Nothing here does I/O, and nothing here raises: what cannot be read is None. COMPLETED means
finished, not succeeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagen_widget._protocol._ticket import Outcome
from imagen_widget._protocol._trouble import trouble_in
from imagen_widget.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_PICTURES = 16
MOST_LOG_LINES = 200

WAITING = frozenset({"IN_QUEUE", "QUEUED", "PENDING", "SUBMITTED", "NOT_START"})
WORKING = frozenset({"IN_PROGRESS", "PROCESSING", "RUNNING"})
FINISHED = frozenset({"COMPLETED", "SUCCESS", "SUCCEEDED", "OK"})
FAILED = frozenset({"FAILED", "FAILURE", "ERROR", "CANCELLED", "CANCELED", "TIMEOUT"})

_WRAPPERS = ("response", "result", "data", "output", "payload", "detail")
_LARGEST = 10**6  # a queue or an inference of more is a mistake of the server's


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that the model's worker logged; `level` and `timestamp` may be empty."""

    message: str
    level: str = ""
    timestamp: str = ""


@dataclass(frozen=True, slots=True)
class Queued:
    """The job waits; `position` jobs are ahead of it, None where that is not told."""

    position: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """The job runs.

    Attributes:
        logs: The last of the lines that the answer held; from `watch`, only what is new.
        count: How many lines the answer held in all.
    """

    logs: tuple[LogLine, ...] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The job has finished, well or not.

    Attributes:
        seconds: The inference time, where it is told.
        trouble: What the status said went wrong, else None; the result decides.
    """

    seconds: float | None = None
    trouble: str | None = None


WireEvent = Queued | Running | Done


def read_event(body: dict[str, Any]) -> WireEvent | None:
    """Return the event that a status object means, or None where it has no known status."""
    word = status_word(body)
    if find_outcome(body) is not None or word in FINISHED or word in FAILED:
        return Done(_seconds(body), _said_trouble(body, word))
    if word in WAITING:
        return Queued(_position(body))
    if word in WORKING:
        lines = body.get("logs")
        return Running(_logs(lines), len(lines)) if isinstance(lines, list) else Running()
    return None


def find_outcome(body: dict[str, Any]) -> Outcome | None:
    """Return the outcome in a result object or one of its usual wrappers, or None.

    An object that says that the job still waits or runs has none yet, whatever empty lists it has.
    """
    outcome = _outcome(body, depth=3)
    pending = status_word(body) in WAITING | WORKING
    return None if outcome is not None and pending and not outcome.urls else outcome


def status_word(body: dict[str, Any]) -> str:
    """Return the object's status in upper case, or ""."""
    word = body.get("status", body.get("task_status"))
    return word.strip().upper() if isinstance(word, str) else ""


def _outcome(body: dict[str, Any], *, depth: int) -> Outcome | None:
    pictures = body.get("images")
    if pictures is None and isinstance(body.get("image"), dict | str):
        pictures = [body["image"]]
    if isinstance(pictures, list):
        seed = body.get("seed")
        whole = isinstance(seed, int) and not isinstance(seed, bool) and abs(seed) < 2**63
        text = body.get("description")
        return Outcome(
            urls=tuple(_addresses(pictures)),
            seed=seed if whole else None,
            description=one_line(text) if isinstance(text, str) else "",
        )
    for name in _WRAPPERS if depth else ():
        inner = body.get(name)
        if isinstance(inner, dict) and (found := _outcome(inner, depth=depth - 1)) is not None:
            return found
    return None


def _addresses(pictures: list[Any]) -> Iterator[str]:
    for picture in pictures[:MOST_PICTURES]:
        url = picture.get("url") if isinstance(picture, dict) else picture
        if isinstance(url, str) and url.strip():
            yield url.strip()


def _said_trouble(body: dict[str, Any], word: str) -> str | None:
    kind = body.get("error_type")
    if not (body.get("error") or kind) and word not in FAILED:
        return None
    trouble = trouble_in(body)
    said = trouble.text or trouble.kind if trouble else kind
    return one_line(said, limit=300) if isinstance(said, str) and said else word or "an error"


def _position(body: dict[str, Any]) -> int | None:
    position = body.get("queue_position")
    if not isinstance(position, int) or isinstance(position, bool):
        return None
    return position if 0 <= position < _LARGEST else None


def _seconds(body: dict[str, Any]) -> float | None:
    metrics = body.get("metrics")
    seconds = metrics.get("inference_time") if isinstance(metrics, dict) else None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    return float(seconds) if 0 <= seconds < _LARGEST else None


def _logs(lines: list[Any]) -> tuple[LogLine, ...]:
    return tuple(_log_line(line) for line in lines[-MOST_LOG_LINES:] if isinstance(line, dict))


def _log_line(line: dict[str, Any]) -> LogLine:
    def text(name: str) -> str:
        value = line.get(name)
        return one_line(value, limit=300) if isinstance(value, str) else ""

    return LogLine(text("message"), text("level"), text("timestamp"))
