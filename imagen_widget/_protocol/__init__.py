"""The queue as pure functions: requests become calls, answers become ticket, events and result.

Nothing here does I/O. The rules, from fal's queue reference and from gateways seen in public code:

* Requests belong to the app `owner/alias`, not to the route that was submitted to.
* COMPLETED means finished, not succeeded: the result decides.
* A status answer of 404, 405 or a web page means that the route is not proxied.
* A pending result is 200 with a status word, or 400 "still in progress".
* Trouble on the status route says nothing about the job; a stored error on the result route does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagen_widget._protocol._events import (
    FAILED,
    FINISHED,
    Done,
    Queued,
    Running,
    WireEvent,
    find_outcome,
    read_event,
    status_word,
)
from imagen_widget._protocol._failures import (
    NOT_FOUND,
    SERVICE_KINDS,
    CancelledAtProvider,
    failure,
)
from imagen_widget._protocol._ticket import REQUEST_ID, Outcome, Ticket, make_ticket, with_query
from imagen_widget._protocol._trouble import Trouble, field_names, read_trouble
from imagen_widget._protocol._wire import Answer, Call, write_json
from imagen_widget.errors import ContentRejected, ImagenError, QueueError, SubmitUncertain

if TYPE_CHECKING:
    from imagen_widget._request import ImageRequest

DIRECT = "direct"  # stands for the id where a gateway answers a submit with the pictures

_STILL = re.compile(
    r"still in progress|in[ _]progress|not (?:yet )?(?:completed|ready|finished)|in[ _]queue",
    re.IGNORECASE,
)
_BAD_REQUEST = 400
_METHOD_NOT_ALLOWED = 405
_TOO_EARLY = 425
_AGAIN = frozenset({408, _TOO_EARLY, 429})
_SERVER_ERRORS = range(500, 600)


@dataclass(frozen=True, slots=True)
class NoRoute:
    """The provider knows nothing at this address; `page` where it answered with a web page."""

    page: bool = False


@dataclass(frozen=True, slots=True)
class Hiccup:
    """An answer that says nothing about the job; ask again."""

    reason: str


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
    if not answer.ok:
        raise failure(answer, endpoint=request.model, provider=provider)
    body = answer.mapping()
    if body is None:
        raise _unreadable_ticket(answer, provider)
    outcome = find_outcome(body)
    request_id = _request_id(body, answer)
    if outcome is not None and not outcome.urls:
        if request_id is None:
            raise _all_filtered(None)
        outcome = None  # an empty list beside an id: the pictures are still to come
    if outcome is None and (request_id is None or status_word(body) in FAILED):
        reported = "error" in body or "code" in body or status_word(body) in FAILED
        if reported and read_trouble(answer).text:
            raise failure(_as_status(answer, body), endpoint=request.model, provider=provider)
        raise _unreadable_ticket(answer, provider)
    return make_ticket(
        request.model,
        request_id or DIRECT,
        provider=provider,
        base_url=base_url,
        addresses=body,
        outcome=outcome,
    )


def _request_id(body: dict[str, Any], answer: Answer) -> str | None:
    address = body.get("response_url")
    inside = address.partition("/requests/")[2] if isinstance(address, str) else ""
    candidates = (
        body.get("request_id"),
        re.split(r"[/?#]", inside, maxsplit=1)[0],
        body.get("id"),
        answer.headers.get("x-fal-request-id"),
    )
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
        return NoRoute(page=answer.is_page)
    if answer.ok:
        body = answer.mapping()
        if body is None:
            return NoRoute(page=True) if answer.is_page else Hiccup("an answer that is no JSON")
        return read_event(body) or Hiccup("an answer without a status")
    return _pending_or_raise(answer, ticket, stored=False)


def _pending_or_raise(answer: Answer, ticket: Ticket, *, stored: bool) -> Running | Hiccup:
    """Return that the job goes on, or that the answer says nothing; else raise what it says.

    Args:
        answer: Status 300 or more.
        ticket: The job.
        stored: Whether the route gives back errors that the job ended with: only results do.
    """
    trouble = read_trouble(answer)
    if answer.status in {_BAD_REQUEST, _TOO_EARLY} and _STILL.search(trouble.text):
        return Running()
    failing = answer.status in _SERVER_ERRORS and not (stored and _is_stored(answer, trouble))
    if failing or answer.status in _AGAIN:
        return Hiccup(trouble.text or f"HTTP {answer.status}")
    raise failure(answer, endpoint=ticket.endpoint, provider=ticket.provider, ticket=ticket)


def _is_stored(answer: Answer, trouble: Trouble) -> bool:
    """Tell whether a 5xx is the job's own end, given back by the queue, not a gateway's trouble."""
    if "x-fal-error-type" in answer.headers or trouble.kind in SERVICE_KINDS:
        return True
    return "x-fal-request-id" in answer.headers and "detail" in (answer.mapping() or {})


# ------------------------------------------------------------------------------------ the result


def read_result(answer: Answer, ticket: Ticket) -> Outcome | Queued | Running | NoRoute | Hiccup:
    """Return the outcome, or that the job is still pending.

    Raises:
        ImagenError: The job is over without a picture; with the ticket.
    """
    if answer.status in {NOT_FOUND, _METHOD_NOT_ALLOWED}:
        return NoRoute(page=answer.is_page)
    if not answer.ok:
        return _pending_or_raise(answer, ticket, stored=True)
    body = answer.mapping()
    if body is None:
        return NoRoute(page=True) if answer.is_page else Hiccup("an answer that is no JSON")
    outcome = find_outcome(body)
    if outcome is not None:
        if not outcome.urls:
            raise _all_filtered(ticket)
        return outcome
    event = read_event(body)
    if isinstance(event, Queued | Running):
        return event
    if isinstance(event, Done) and event.trouble is None and status_word(body) in FINISHED:
        return Hiccup("finished, but without its pictures")
    raise _ended(body, answer, ticket)


def _all_filtered(ticket: Ticket | None) -> ContentRejected:
    error = ContentRejected(
        "The job finished without a picture: all of them were filtered by the provider.",
        remedy="Say it another way; running the same again sometimes works.",
        ticket=ticket,
    )
    error.billed = True
    return error


def _ended(body: dict[str, Any], answer: Answer, ticket: Ticket) -> ImagenError:
    word = status_word(body)
    if word in {"CANCELLED", "CANCELED"}:
        return CancelledAtProvider("The job was cancelled at the provider.", ticket=ticket)
    if word or "error" in body:
        answer = _as_status(answer, body)
        provider = ticket.provider
        return failure(answer, endpoint=ticket.endpoint, provider=provider, ticket=ticket)
    return QueueError(
        f"The result at {ticket.provider} is not understood: it is {field_names(body)}.",
        remedy="Fetch it later with %imagen_resume; nothing is paid again.",
        ticket=ticket,
    )


def _as_status(answer: Answer, body: dict[str, Any]) -> Answer:
    """Give an error that came with 200 the status that it names itself, else 500."""
    error = body.get("error")
    inner = error if isinstance(error, dict) else {}
    codes = (body.get("status_code"), body.get("code"), inner.get("code"), inner.get("status"))
    status = next((c for c in codes if isinstance(c, int) and 400 <= c <= 599), None)  # noqa: PLR2004 - HTTP errors
    return Answer(status or 500, answer.headers, answer.body)


# ------------------------------------------------------------------------------------ the cancel


def read_cancel(answer: Answer) -> bool | None:
    """Return True if the cancellation is confirmed, False if it comes too late, None if requested.

    An unknown id and a route that is not proxied count as None: nothing was confirmed.
    """
    body = answer.mapping() or {}
    word = status_word(body)
    if word in {"ALREADY_COMPLETED", "COMPLETED"}:
        return False
    if answer.ok and (word in {"OK", "CANCELLED", "CANCELED"} or body.get("success") is True):
        return True
    return None
