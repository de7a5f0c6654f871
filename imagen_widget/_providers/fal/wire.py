"""fal's queue as pure functions: requests become calls, answers become ticket, events and result.

Nothing here does I/O. The rules, from fal's queue reference and from gateways seen in public code:

* Requests belong to the app `owner/alias`, not to the route that was submitted to.
* A ticket's addresses are only ever used as paths on the configured base: gateways answer with
  fal's own host, and a key must never follow it there.
* COMPLETED means finished, not succeeded: the result decides.
* Trouble on the status route says nothing about the job; a stored error on the result route does.
* A status answer of 404, 405 or a web page means that the route is not proxied.
* A pending result is 200 with a status word, or 400 "still in progress".
"""

import re
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from imagen_widget._providers import answers
from imagen_widget._providers.answers import Answer, Call, Done, Finished, Queued, Running, Ticket
from imagen_widget._settings import Account
from imagen_widget.errors import ImagenError, one_line

REQUEST_ID = re.compile(r"(?!\.+(?:/|$))[A-Za-z0-9_.:+=~@-]{1,300}", re.ASCII)

_WAITING = frozenset(
    {"IN_QUEUE", "QUEUED", "PENDING", "SUBMITTED", "NOT_START", "WAITING", "CREATED", "SCHEDULED"}
)
_WORKING = frozenset({"IN_PROGRESS", "PROCESSING", "RUNNING", "GENERATING", "STARTED", "STARTING"})
_PENDING = _WAITING | _WORKING
_FINISHED = frozenset(
    {"COMPLETED", "COMPLETE", "SUCCESS", "SUCCEEDED", "SUCCEED", "OK", "DONE", "FINISHED", "READY"}
    | {"成功", "完成", "已完成"}
)
_CANCELLED = frozenset({"CANCELLED", "CANCELED"})
_FAILED = _CANCELLED | frozenset(
    {"FAILED", "FAILURE", "FAIL", "ERROR", "TIMEOUT", "REJECTED", "ABORTED", "失败"}
)

# What a request is called may also repeat its input, so that no picture is looked for there.
_holders = partial(answers.holders, wrappers=(*answers.WRAPPERS, "job", "task", "body"))
_IDS = (
    *("request_id", "requestId", "task_id", "taskId", "job_id", "jobId", "prediction_id"),
    *("generation_id", "generationId", "uuid"),
)
_STATES = ("status", "task_status", "taskStatus", "job_status", "state", "phase", "Status")
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_REQUEST_PATH = re.compile(
    rf"(?:/{_SEGMENT}){{2,8}}/requests/({REQUEST_ID.pattern})((?:/[a-z]+)?)", re.ASCII
)
_ID_IN_ADDRESS = re.compile(r"/requests/([^/?#]*)")
_IN_TEXT = re.compile(rb'"(?:request_id|task_id)"\s*:\s*"([^"\\]{1,300})"')
_LIKE_AN_ID = re.compile(r"(?=.*\d)[\w.:+=~@-]{3,}", re.ASCII)
_QUEUED_CODES = frozenset({"1", "21", "22"})  # midjourney-proxy's: taken, there, queued
_QUERY = re.compile(r"[\w=&.%~+-]{0,200}", re.ASCII)
_MAX_ADDRESS = 2000
_MAX_LOG_LINES = 200
_MAX_COUNT = 10**6  # a queue or an inference of more is a mistake of the server's
_MAX_EVENT_BYTES = 4 * 1024 * 1024
_STILL = re.compile(
    r"still in progress|in[ _]progress|not (?:yet )?(?:completed|ready|finished)|in[ _]queue",
    re.IGNORECASE,
)
_ENVELOPE = frozenset({"code", "success", "msg", "message"})
_TAKEN = re.compile(
    r"\b(success(ful(ly)?)?|succeeded|accepted|queued|submitted|ok)\b|成功|已提交|排队",
    re.IGNORECASE,
)
_NOT_TAKEN = re.compile(r"\b(not|no|fail\w*|error|reject\w*|denied|invalid)\b|未|不|失败", re.I)
_NO_JOB = re.compile(
    r"\b(request|task|job|id)s?\b.{0,60}(not[ _-]?(found|exist)|n[o']t exist|unknown|is invalid)"
    r"|(no such|not[ _-]?found|unknown).{0,20}\b(request|task|job|id)\b"
    r"|(task|request|job)_(not_exist|not_found)\w*|(任务|请求).{0,20}(不存在|未找到)",
    re.IGNORECASE,
)
_AGAIN = frozenset({408, 425, 429})


class Unclear(NamedTuple):
    """An answer that says nothing sure about the job.

    Its kind is `missing` if nothing is known at this address, `page` if a web page is there, and
    `word` for a status word that is not known: the job may run, or be done.
    """

    reason: str  # what it says instead
    kind: Literal["", "missing", "page", "word"] = ""
    error: ImagenError | None = None  # what it means if nothing else says more
    lasting: bool = False  # the same is to be expected again


_MISSING = Unclear("it knows no such request", "missing")
_PAGE = Unclear("a web page is in its place", "page")


# -------------------------------------------------------------------------------------- the calls


def status_call(ticket: Ticket, *, logs: bool = True, stream: bool = False) -> Call:
    path, _, query = ticket.get("status_path").partition("?")
    query = "&".join(filter(None, (query, "logs=1" if logs else "")))
    url = f"{ticket.base_url}{path}{'/stream' if stream else ''}"
    accept = "text/event-stream" if stream else "application/json"
    return Call("GET", f"{url}?{query}" if query else url, accept=accept)


def result_call(ticket: Ticket, *, auto: bool = False) -> Call:
    """Return the call for the result; under the app `auto` some gateways find any request."""
    app = f"/{ticket.endpoint.partition('/')[0]}/auto"
    path = f"{app}/requests/{ticket.request_id}" if auto else ticket.get("response_path")
    return Call("GET", ticket.base_url + path)


def cancel_call(ticket: Ticket) -> Call:
    return Call("PUT", ticket.base_url + ticket.get("cancel_path"))


# ------------------------------------------------------------------------------------- the ticket


def read_submit(answer: Answer, draft: Ticket, account: Account) -> Ticket | Finished:
    """Return the ticket that a 2xx answer to a submit completes, or the pictures in it.

    Raises:
        SubmitUncertain: It holds no readable ticket: a job may exist and be billed.
        ImagenError: The answer reports an error.
    """
    listed = answer.value if isinstance(answer.value, list) else []
    body = answer.mapping or next((item for item in listed if isinstance(item, dict)), {})
    found, word = answers.find_pictures(answer.value, draft.base_url), status_word(body)
    request_id = _request_id(body, answer)
    if found is not None and found.pictures:
        return answers.billed(found, answer, request_id)
    if request_id and answers.truth(body.get("success")) is not False and word not in _FAILED:
        return _ticket(draft, request_id, ChainMap(*_holders(body)))
    elsewhere = answers.search_pictures(answer, draft.base_url)
    if _brought_none(found, body) and elsewhere is None and word not in _PENDING:
        raise answers.all_filtered(None, billed=False)
    says = answers.read_trouble(answer)
    taken = _TAKEN.search(says.text) and not _NOT_TAKEN.search(says.text)
    if (answers.reports_failure(body) or word in _FAILED) and not taken:
        status = 500 if word in _FAILED else 400
        raise answers.failure(answer, model=draft.endpoint, account=account, otherwise=status)
    if elsewhere is not None:
        return answers.billed(elsewhere, answer)
    raise answers.uncertain(account, f"no ticket in it: {says.said or 'an empty answer'}")


def read_broken_submit(answer: Answer, draft: Ticket) -> Ticket | None:
    """Return the ticket that an answer names although it failed or broke off; None without one."""
    inside = _IN_TEXT.search(answer.body) if answer.ok else None
    named = "" if inside is None else inside[1].decode("ascii", "replace")
    names = (answer.headers.get("x-fal-request-id", ""), named)
    found = next((name for name in names if REQUEST_ID.fullmatch(name)), None)
    return None if found is None else _ticket(draft, found, {})


def _ticket(draft: Ticket, request_id: str, addresses: Mapping[str, Any]) -> Ticket:
    """Return the ticket for a request id; addresses that are missing or odd are built."""
    parts = draft.endpoint.split("/")
    app = "/".join(parts[: 3 if parts[0] in {"workflows", "comfy"} else 2])
    extra = []
    for name, suffix in (("status", "/status"), ("response", ""), ("cancel", "/cancel")):
        given = rebase(addresses.get(f"{name}_url"), draft.base_url, request_id, suffix)
        extra.append((f"{name}_path", given or f"/{app}/requests/{request_id}{suffix}"))
    return replace(draft, request_id=request_id, extra=tuple(extra))


def rebase(url: object, base_url: str, request_id: str, suffix: str) -> str | None:
    """Return the path of a server's address, to be used on our base; None if it is odd.

    Only the path counts: host, user, port and scheme are the server's to say and ours to ignore.
    """
    if not isinstance(url, str) or len(url) > _MAX_ADDRESS or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    path, prefix = parts.path, urlsplit(base_url).path
    if path.startswith(f"{prefix}/"):  # whole segments: /fal does not begin /fal-ai
        path = path.removeprefix(prefix)
    found = _REQUEST_PATH.fullmatch(path)
    if found is None or found[1] != request_id or found[2] not in {suffix, suffix or "/response"}:
        return None
    if not _QUERY.fullmatch(parts.query):
        return None
    return f"{path}?{parts.query}" if parts.query else path


def _request_id(body: dict[str, Any], answer: Answer) -> str:
    """Return the job's id, or "" if the answer names none."""
    holders = _holders(body)
    found: list[Any] = []
    for holder in holders:
        found += map(holder.get, _IDS)
    for holder in holders:
        inside = _ID_IN_ADDRESS.search(str(holder.get("response_url")))
        found.append(inside and inside[1])
    for holder in reversed(holders):
        found.append(holder.get("id"))
    found.append(answer.headers.get("x-fal-request-id"))
    if "code" in body or "success" in body:
        found.append(body.get("data"))
    taken = str(body.get("code")) in _QUEUED_CODES or body.get("success") is True
    told = body.get("result")  # words may stand there too
    if _LIKE_AN_ID.fullmatch(str(told)) and (taken or not answers.reports_failure(body)):
        found.append(told)
    for value in found:
        if type(value) in {str, int} and REQUEST_ID.fullmatch(text := str(value).strip()):
            return text
    return ""


# ------------------------------------------------------------------------------------- the status


def read_status(answer: Answer, ticket: Ticket, account: Account) -> answers.WireEvent | Unclear:
    """Return what a status answer means; it never raises, since only the result decides."""
    if answer.status in {404, 405, 410}:
        return _MISSING
    if not answer.ok:
        return _pending_or_failing(answer, ticket, account, stored=False)
    body = answer.mapping
    if body is None:
        return _PAGE if answer.is_page else Unclear("it is not JSON", lasting=True)
    return read_event(body, ticket.base_url) or Unclear("it has no status", lasting=True)


def read_event(body: Any, base_url: str) -> answers.WireEvent | Unclear | None:
    """Return the event that a status object means; None if it has no status."""
    if not isinstance(body, dict):
        return None
    said, word = ChainMap(*_holders(body)), status_word(body)
    found = answers.find_pictures(body, base_url)
    brought = found is not None and (bool(found.pictures) or not (found.unclear or word))
    if brought or word in _FINISHED or word in _FAILED:
        trouble = None
        if body.get("error") or body.get("error_type") or word in _FAILED:
            failed = answers.trouble_in(body)
            says = failed.said or failed.kind if failed else body.get("error_type")
            trouble = answers.word(says, limit=300) or word or "an error"
        return Done(answers.inference_seconds(said.get("metrics")), trouble)
    if word in _WAITING:
        position = said.get("queue_position")
        known = type(position) is int and 0 <= position < _MAX_COUNT
        return Queued(position if known else None)
    if word in _WORKING:
        return _running(said.get("logs"))
    return Unclear(word, "word") if word and word != "NOT_FOUND" else None


def status_word(body: dict[str, Any]) -> str:
    """Return an object's status in upper case, or "".

    Of several, as an envelope has them, what is pending counts first, then what has failed.
    """
    words = []
    for holder in _holders(body):
        for name in _STATES:
            if name in holder:
                if isinstance(holder[name], str):
                    words.append(re.sub(r"[\s-]+", "_", holder[name].strip().upper()))
                break
    for kind in (_PENDING, _FAILED, _FINISHED):
        for word in words:
            if word in kind:
                return word
    return one_line(words[0], limit=40) if words else ""


def _pending_or_failing(
    answer: Answer, ticket: Ticket, account: Account, *, stored: bool
) -> Running | Unclear:
    """Return that the job goes on, or that the answer says nothing, with what it may mean.

    `stored` if the route gives back errors that the job ended with: only results do.
    """
    trouble = answers.read_trouble(answer)
    if answer.status in {400, 425} and _STILL.search(trouble.text):
        return Running()
    if answer.status in {400, 422} and not trouble.field and _NO_JOB.search(trouble.text):
        return _MISSING
    reason = trouble.said or f"HTTP {answer.status}"
    # A 5xx may be the job's own end, given back by the queue, and not a gateway's.
    traced = "x-fal-request-id" in answer.headers and "detail" in (answer.mapping or {})
    is_own = traced or "x-fal-error-type" in answer.headers or trouble.is_of_service
    if answer.status in _AGAIN or (answer.status >= 500 and not (stored and is_own)):
        return Unclear(reason)
    error = answers.failure(answer, model=ticket.endpoint, account=account, ticket=ticket)
    return Unclear(reason, error=error)


def _running(lines: Any) -> Running:
    if not isinstance(lines, list):
        return Running()
    logs, names = [], ("message", "level", "timestamp")
    for line in lines[-_MAX_LOG_LINES:]:
        if isinstance(line, dict):
            texts = [answers.word(line.get(name), limit=300) for name in names]
            logs.append(answers.LogLine(*texts))
    return Running(tuple(logs), len(lines))


def take_events(chunk: bytes, line: bytearray, event: bytearray) -> list[bytes]:
    """Return the data of each server-sent event that a chunk ends; only `data:` lines matter.

    `line` and `event` hold what has not ended yet.

    Raises:
        ValueError: An event grew past 4 MiB.
    """
    line += chunk
    events = []
    if b"\n" in chunk:  # else a line without end would be copied again and again
        *whole, rest = line.split(b"\n")
        line[:] = rest
        for ended in whole:
            text = ended.removesuffix(b"\r")
            if text.startswith(b"data:"):
                event += text[5:].removeprefix(b" ") + b"\n"
            elif not text and event:
                events.append(bytes(event[:-1]))
                event.clear()
    if len(line) + len(event) > _MAX_EVENT_BYTES:
        raise ValueError("an event of the stream is too large")
    return events


# ------------------------------------------------------------------------------------- the result


def read_result(
    answer: Answer, ticket: Ticket, account: Account
) -> Finished | Queued | Running | Unclear:
    """Return what the job brought, or that it is still pending.

    Raises:
        ImagenError: The job is over without a picture; with the ticket.
    """
    gone = answer.status == 410 and answers.read_trouble(answer).kind not in answers.RETIRED
    if answer.status in {404, 405} or gone:
        return _MISSING
    if not answer.ok:
        pending = _pending_or_failing(answer, ticket, account, stored=True)
        if isinstance(pending, Unclear) and pending.error is not None:
            raise pending.error
        return pending
    found = answers.find_pictures(answer.value, ticket.base_url)
    if found is not None and found.pictures:
        return answers.billed(found, answer, ticket.request_id)
    if answer.value is None and answer.is_page:
        return _PAGE
    body = answer.mapping or {}
    event, word = read_event(body, ticket.base_url), status_word(body)
    if isinstance(event, Queued | Running):
        return event
    if isinstance(event, Unclear):
        return Running()
    if word in _CANCELLED:
        raise answers.cancelled(ticket)
    if word in _FAILED or answers.reports_failure(body):
        own, says = answers.own_status(answer), answers.read_trouble(answer)
        if own in {404, 410} or (word not in _FAILED and _NO_JOB.search(says.text)):
            return _MISSING
        if own is not None and (own >= 500 or own in _AGAIN) and word not in _FAILED:
            return Unclear(says.said or f"HTTP {own}", lasting=True)  # as if outside
        raise answers.failure(
            answer, model=ticket.endpoint, account=account, ticket=ticket, otherwise=500
        )
    elsewhere = answers.search_pictures(answer, ticket.base_url)
    if elsewhere is not None:
        return answers.billed(elsewhere, answer, ticket.request_id)
    if _brought_none(found, body):
        raise answers.all_filtered(ticket, billed=True)
    if word in _FINISHED:
        return Unclear("finished, but without its pictures")
    what = "an answer that is not JSON" if answer.json is None else answers.field_names(body)
    return Unclear(f"it is not understood: {what}", lasting=True)


def _brought_none(found: Finished | None, body: dict[str, Any]) -> bool:
    """Return True if an answer lists its pictures, and there are none.

    An envelope's empty `data` is what PHP makes of an empty object: it says nothing.
    """
    if found is None or found.unclear or not body:
        return False
    names = set().union(*_holders(body))
    return "images" in names or _ENVELOPE.isdisjoint(names)


# ------------------------------------------------------------------------------------- the cancel


def read_cancel(answer: Answer) -> answers.CancelAnswer:
    """Return what the answer to a cancellation means.

    An unknown id and a route that is not proxied confirm nothing.
    """
    body = answer.mapping or {}
    word = status_word(body)
    if word in {"ALREADY_COMPLETED", "COMPLETED"}:
        return answers.CancelAnswer.TOO_LATE
    if answer.ok and (word in {"OK", *_CANCELLED} or body.get("success") is True):
        return answers.CancelAnswer.CONFIRMED
    return answers.CancelAnswer.REQUESTED if answer.ok else answers.CancelAnswer.UNKNOWN
