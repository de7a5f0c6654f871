"""The queue as pure functions: requests become calls, answers become ticket, events and result.

Nothing here does I/O. The rules, from fal's queue reference and from gateways seen in public code:

* Requests belong to the app `owner/alias`, not to the route that was submitted to.
* COMPLETED means finished, not succeeded: the result decides.
* A status answer of 404, 405 or a web page means that the route is not proxied.
* A pending result is 200 with a status word, or 400 "still in progress".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagen_widget._failures import (
    NOT_FOUND,
    CancelledAtProvider,
    Trouble,
    failure,
    read_trouble,
    service_failed,
)
from imagen_widget._ticket import REQUEST_ID, Outcome, Ticket, make_ticket, with_query
from imagen_widget._wire import Answer, Call, write_json
from imagen_widget.errors import ContentRejected, ImagenError, SubmitUncertain, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imagen_widget._request import ImageRequest

MOST_PICTURES = 16
MOST_LOG_LINES = 200

_WAITING = frozenset({"IN_QUEUE", "QUEUED", "PENDING", "SUBMITTED", "NOT_START"})
_WORKING = frozenset({"IN_PROGRESS", "PROCESSING", "RUNNING"})
_FINISHED = frozenset({"COMPLETED", "SUCCESS", "SUCCEEDED", "OK"})
_FAILED = frozenset({"FAILED", "FAILURE", "ERROR", "CANCELLED", "CANCELED", "TIMEOUT"})
_STILL = re.compile(
    r"still in progress|in[ _]progress|not (?:yet )?(?:completed|ready|finished)|in[ _]queue",
    re.IGNORECASE,
)
_WRAPPERS = ("response", "result", "data", "output", "payload", "detail")
_METHOD_NOT_ALLOWED = 405
_BAD_REQUEST = 400


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


@dataclass(frozen=True, slots=True)
class NoRoute:
    """The gateway does not proxy this route."""


@dataclass(frozen=True, slots=True)
class Hiccup:
    """An answer that says nothing about the job; ask again."""

    reason: str


WireEvent = Queued | Running | Done


# ------------------------------------------------------------------------------------- the calls


def submit_call(request: ImageRequest, base_url: str) -> Call:
    """Return the one call that costs money."""
    return Call("POST", f"{base_url}/{request.model}", write_json(request.arguments()))


def status_call(ticket: Ticket, *, logs: bool = True) -> Call:
    """Return the question how the job is."""
    return Call("GET", with_query(ticket.base_url + ticket.status_path, "logs=1" if logs else ""))


def stream_call(ticket: Ticket) -> Call:
    """Return the call that opens the event stream of the status."""
    path, _, query = ticket.status_path.partition("?")
    url = with_query(f"{ticket.base_url}{path}/stream", query)
    return Call("GET", with_query(url, "logs=1"), accept="text/event-stream")


def result_call(ticket: Ticket, *, app: str | None = None) -> Call:
    """Return the call for the result; `app` stands in for the ticket's own `owner/alias`."""
    path = f"/{app}/requests/{ticket.request_id}" if app else ticket.response_path
    return Call("GET", ticket.base_url + path)


def cancel_call(ticket: Ticket) -> Call:
    """Return the request to cancel."""
    return Call("PUT", ticket.base_url + ticket.cancel_path)


def auto_app(ticket: Ticket) -> str:
    """Return the app under which gateways that know `auto` find any request."""
    return f"{ticket.endpoint.split('/', 1)[0]}/auto"


# ------------------------------------------------------------------------------------ the ticket


def read_ticket(answer: Answer, request: ImageRequest, *, provider: str, base_url: str) -> Ticket:
    """Return the ticket that answers a submit.

    Raises:
        SubmitUncertain: 2xx without a readable ticket: a job may exist and be billed.
        ImagenError: The answer reports an error.
    """
    body = answer.mapping()
    if not answer.ok:
        raise failure(answer, endpoint=request.model, provider=provider)
    if body is None:
        raise _unreadable_ticket(answer, provider)
    outcome = find_outcome(body)
    request_id = _request_id(body, answer)
    if outcome is None and (request_id is None or _status_word(body) in _FAILED):
        trouble = read_trouble(answer)
        if trouble.text and ("error" in body or "code" in body or _status_word(body) in _FAILED):
            raise failure(_as_status(answer, body), endpoint=request.model, provider=provider)
        raise _unreadable_ticket(answer, provider)
    return make_ticket(
        request.model,
        request_id or "direct",
        provider=provider,
        base_url=base_url,
        addresses=body,
        outcome=outcome,
    )


def _request_id(body: dict[str, Any], answer: Answer) -> str | None:
    candidates = [body.get("request_id"), body.get("id"), answer.headers.get("x-fal-request-id")]
    address = body.get("response_url")
    if isinstance(address, str):
        candidates.insert(1, address.partition("/requests/")[2].partition("/")[0].partition("?")[0])
    return next((c for c in candidates if isinstance(c, str) and REQUEST_ID.fullmatch(c)), None)


def _unreadable_ticket(answer: Answer, provider: str) -> SubmitUncertain:
    what = read_trouble(answer).text or "an empty answer"
    return SubmitUncertain(
        f"{provider} accepted the request but sent no ticket ({what}): "
        "a job may exist and be billed.",
        remedy=f"It is not sent again by itself. Look at your usage at {provider}; if the address "
        "is wrong, set IMAGEN_BASE_URL.",
    )


# ------------------------------------------------------------------------------------ the status


def read_status(answer: Answer, ticket: Ticket) -> WireEvent | NoRoute | Hiccup:
    """Return what a status answer means.

    Raises:
        ImagenError: The job is over, or the key is refused; with the ticket.
    """
    if answer.status in {NOT_FOUND, _METHOD_NOT_ALLOWED}:
        return NoRoute()
    body = answer.mapping()
    if answer.ok:
        if body is None:
            return NoRoute() if _looks_like_page(answer) else Hiccup("an answer that is no JSON")
        return read_event(body) or Hiccup("an answer without a status")
    return _pending_or_raise(answer, ticket)


def read_event(body: dict[str, Any]) -> WireEvent | None:
    """Return the event that a status object means, or None where it has no known status."""
    word = _status_word(body)
    if find_outcome(body) is not None or word in _FINISHED or word in _FAILED:
        return Done(_seconds(body), _said_trouble(body, word))
    if word in _WAITING:
        return Queued(_position(body))
    if word in _WORKING:
        lines = body.get("logs")
        return Running(_logs(lines), len(lines)) if isinstance(lines, list) else Running()
    return None


def _pending_or_raise(answer: Answer, ticket: Ticket) -> Running | Hiccup:
    trouble = read_trouble(answer)
    if answer.status in {_BAD_REQUEST, 425} and _STILL.search(trouble.text):
        return Running()
    final = "x-fal-error-type" in answer.headers or _has_detail(answer)
    transient = answer.status in {408, 425, 429} or (answer.status >= 500 and not final)  # noqa: PLR2004 - 5xx
    if transient:
        return Hiccup(trouble.text or f"HTTP {answer.status}")
    raise failure(answer, endpoint=ticket.endpoint, provider=ticket.provider, ticket=ticket)


def _has_detail(answer: Answer) -> bool:
    body = answer.mapping()
    return body is not None and "detail" in body and "x-fal-request-id" in answer.headers


# ------------------------------------------------------------------------------------ the result


def read_result(answer: Answer, ticket: Ticket) -> Outcome | Queued | Running | NoRoute | Hiccup:
    """Return the outcome, or that the job is still pending.

    Raises:
        ImagenError: The job is over without a picture; with the ticket.
    """
    if answer.status == NOT_FOUND:
        return NoRoute()
    if not answer.ok:
        return _pending_or_raise(answer, ticket)
    body = answer.mapping()
    if body is None:
        return NoRoute() if _looks_like_page(answer) else Hiccup("an answer that is no JSON")
    outcome = find_outcome(body)
    if outcome is not None:
        return _with_pictures(outcome, ticket)
    event = read_event(body)
    if isinstance(event, Queued | Running):
        return event
    if isinstance(event, Done) and event.trouble is None and _status_word(body) in _FINISHED:
        return Hiccup("finished, but without its pictures")
    raise _ended(body, answer, ticket)


def find_outcome(body: dict[str, Any], *, depth: int = 3) -> Outcome | None:
    """Return the outcome in a result object or one of its usual wrappers, or None."""
    pictures = body.get("images")
    if pictures is None and isinstance(body.get("image"), dict | str):
        pictures = [body["image"]]
    if isinstance(pictures, list):
        seed = body.get("seed")
        text = body.get("description")
        return Outcome(
            urls=tuple(_addresses(pictures)),
            seed=seed if isinstance(seed, int) and abs(seed) < 2**63 else None,
            description=one_line(text) if isinstance(text, str) else "",
        )
    for name in _WRAPPERS if depth else ():
        inner = body.get(name)
        if isinstance(inner, dict) and (found := find_outcome(inner, depth=depth - 1)) is not None:
            return found
    return None


def _addresses(pictures: list[Any]) -> Iterator[str]:
    for picture in pictures[:MOST_PICTURES]:
        url = picture.get("url") if isinstance(picture, dict) else picture
        if isinstance(url, str) and url:
            yield url


def _with_pictures(outcome: Outcome, ticket: Ticket) -> Outcome:
    if outcome.urls:
        return outcome
    error = ContentRejected(
        "The job finished without a picture: all of them were filtered by the provider.",
        remedy="Say it another way; running the same again sometimes works.",
        ticket=ticket,
    )
    error.billed = True
    raise error


def _ended(body: dict[str, Any], answer: Answer, ticket: Ticket) -> ImagenError:
    word = _status_word(body)
    if word in {"CANCELLED", "CANCELED"}:
        return CancelledAtProvider("The job was cancelled at the provider.", ticket=ticket)
    error = failure(
        _as_status(answer, body), endpoint=ticket.endpoint, provider=ticket.provider, ticket=ticket
    )
    if word or "error" in body:
        return error
    clipped = one_line(answer.body[:120].decode("utf-8", "replace"))
    return service_failed(Trouble(f"an answer that is not understood: {clipped}"), ticket)


# ------------------------------------------------------------------------------------ the cancel


def read_cancel(answer: Answer) -> bool | None:
    """Return True if the cancellation is confirmed, False if it comes too late, None if requested.

    An unknown id and a route that is not proxied count as None: nothing was confirmed.
    """
    body = answer.mapping() or {}
    word = _status_word(body)
    if word in {"ALREADY_COMPLETED", "COMPLETED"}:
        return False
    if answer.ok and (word in {"OK", "CANCELLED", "CANCELED"} or body.get("success") is True):
        return True
    return None


# ----------------------------------------------------------------------------------- small parts


def _status_word(body: dict[str, Any]) -> str:
    word = body.get("status", body.get("task_status"))
    return word.strip().upper() if isinstance(word, str) else ""


def _said_trouble(body: dict[str, Any], word: str) -> str | None:
    error = body.get("error") or body.get("error_type")
    if not error and word not in _FAILED:
        return None
    trouble = read_trouble(Answer(200, {}, write_json(_plain(body))))
    return trouble.text or trouble.kind or word


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    names = ("detail", "error", "message", "description", "msg", "error_type")
    return {name: body[name] for name in names if name in body}


def _as_status(answer: Answer, body: dict[str, Any]) -> Answer:
    """Give an error that came with 200 the status that it names itself, else 500."""
    error = body.get("error")
    inner = error if isinstance(error, dict) else {}
    codes = (body.get("status_code"), body.get("code"), inner.get("code"), inner.get("status"))
    status = next((c for c in codes if isinstance(c, int) and 400 <= c <= 599), None)  # noqa: PLR2004 - HTTP errors
    return Answer(status or 500, answer.headers, answer.body)


def _position(body: dict[str, Any]) -> int | None:
    position = body.get("queue_position")
    whole = isinstance(position, int) and not isinstance(position, bool)
    return position if whole and 0 <= position < 10**6 else None  # type: ignore[operator]  # whole


def _seconds(body: dict[str, Any]) -> float | None:
    metrics = body.get("metrics")
    seconds = metrics.get("inference_time") if isinstance(metrics, dict) else None
    usable = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return float(seconds) if usable and 0 <= seconds < 10**6 else None  # type: ignore[operator,arg-type]  # usable


def _logs(lines: list[Any]) -> tuple[LogLine, ...]:
    return tuple(_log_line(line) for line in lines[-MOST_LOG_LINES:] if isinstance(line, dict))


def _log_line(line: dict[str, Any]) -> LogLine:
    def text(name: str) -> str:
        value = line.get(name)
        return one_line(value, limit=300) if isinstance(value, str) else ""

    return LogLine(text("message"), text("level"), text("timestamp"))


def _looks_like_page(answer: Answer) -> bool:
    kind = answer.headers.get("content-type", "")
    return "html" in kind or answer.body[:300].lstrip().lower().startswith((b"<!doctype", b"<html"))
