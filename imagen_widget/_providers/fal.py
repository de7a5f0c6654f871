"""fal's queue over HTTP; gateways and the demo are the same with other capabilities.

First come the wire's rules as pure functions, from fal's reference and from gateways seen in public
code: requests become calls, answers become ticket, events and result.

* Requests belong to the app `owner/alias`, not to the route that was submitted to.
* A ticket's addresses are only ever used as paths on the configured base: gateways answer with
  fal's own host, and a key must never follow it there.
* COMPLETED means finished, not succeeded: the result decides.
* Trouble on the status route says nothing about the job; a stored error on the result route does.
* A status answer of 404, 405 or a web page means that the route is not proxied.
* A pending result is 200 with a status word, or 400 "still in progress".

A job is followed by its event stream if there is one, else by polling. A stream that breaks off,
falls silent or only pings costs nothing: polling goes on where it left off. Where the status says
nothing of use, the result is asked; now and then also where a job is pending for long, since some
gateways keep an old status. A job that nobody knows in its first hour may still turn up, also
behind a web page or a redirect: it is asked for until the deadline, and stays resumable.
"""

import json
import re
from collections import ChainMap
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import anyio
from anyio import to_thread

from imagen_widget import errors
from imagen_widget._inputs import Input
from imagen_widget._models import Catalogue, Model
from imagen_widget._providers import answers
from imagen_widget._providers.answers import Answer, Done, Finished, Running, Ticket, Unclear
from imagen_widget._providers.provider import Capabilities, Provider, retry_after
from imagen_widget._request import ImageRequest
from imagen_widget._settings import FAL, Account, Secret
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
    {"FAILED", "FAILURE", "FAIL", "ERROR", "TIMEOUT", "REJECTED", "REFUSED", "ABORTED", "失败"}
    | {"EXPIRED", "KILLED", "TERMINATED", "REQUEST_MODERATED", "CONTENT_MODERATED"}
)

# What a request is called may also repeat its input, so that no picture is looked for there.
_WRAPPERS = (*answers.WRAPPERS, "job", "jobs", "task", "tasks", "requests", "body")
_holders = partial(answers.holders, wrappers=_WRAPPERS)
_IDS = ("requestid", "taskid", "jobid", "predictionid", "generationid")
_STATES = ("status", "taskstatus", "jobstatus", "state", "phase")  # as `plainly_named` has them
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_REQUEST_PATH = re.compile(
    rf"(?:/{_SEGMENT}){{2,8}}/requests/({REQUEST_ID.pattern})((?:/[a-z]+)?)", re.ASCII
)
_ID_IN_ADDRESS = re.compile(r"/requests/([^/?#]*)")
_IN_TEXT = re.compile(  # the part of an answer that came
    r'"(?:request|task)_?id"\s*:\s*"([^"\\]{1,300})"|/requests\\?/([^"\\/?]{1,300})["\\/?]', re.I
)
_LIKE_AN_ID = re.compile(r"(?=.*\d)[\w.:+=~@-]{3,}", re.ASCII)
_QUEUED = frozenset({"response_url", "status_url", "queue_position"})
_QUEUED_CODES = frozenset({"1", "21", "22"})  # midjourney-proxy's: taken, there, queued
_QUERY = re.compile(r"[\w=&.%~+-]{0,200}", re.ASCII)
_MAX_ADDRESS = 2000
_MAX_LOG_LINES = 200
_MAX_COUNT = 10**6  # a queue or an inference of more is a mistake of the server's
_MAX_EVENT_BYTES = 4 * 1024 * 1024
_STILL = re.compile(
    r"in[ _](the )?(progress|queue)|not (yet )?(complete|ready|finish|done)"
    r"|\b(is|still|being|currently) (pending|process(ing|ed)|running|queued|generating)"
    r"|处理中|排队|生成中|进行中|未完成",
    re.IGNORECASE,
)
_REFUSED = re.compile(  # what says so is over, whatever else it says
    r"refus|reject|denied|declined|policy|violat|moderat|nsfw|safety|sensitive|not allowed"
    r"|balance|payment|违规|敏感|余额|失败",
    re.IGNORECASE,
)
_NOT_OF_THE_JOB = frozenset({401, 402, 403, 429, 499, *range(500, 600)})
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
_NOT_NOW = frozenset({408, 409, 423, 425, 429})
_ENDINGS = frozenset({400, 413, 422, 499})

MAX_POLL_SECONDS = 2.0

_CANCEL_SECONDS = 5.0
_CALL_SECONDS = 30.0
_MAX_SILENCE_SECONDS = 20.0
_MIN_SILENCE_SECONDS = 1.0
_LEAVE_SECONDS = 0.25  # for a stream to end by itself, so that its connection is kept
_MAX_CANCELS = 3
_AGAIN = frozenset({408, 409, 429, *range(500, 600)})
_MAX_MISSES = 4  # at one address, before another is tried
_MIN_MISSES = 2  # where "not found" is to be expected
_MAX_LASTING = 6  # times in ten seconds that the same comes
_ASK_ANYWAY_SECONDS = 30.0
_ASK_ANYWAY_EACH_SECONDS = 5.0
_ASK_ANYWAY_POLLS = 8  # one in so many, where the status says that the job is pending
_KEPT_SECONDS = 3600.0  # results are readable for an hour
_DESCRIBE_SECONDS = 2.0
_USUAL_SECONDS = 8.0
_QUEUE_POLL_SECONDS = 1.0  # the position should look current
_GROWTH = 0.018  # of the time that a job has run is waited between two polls
_EARLY_SHARE = 10  # one job in so many is quicker than when it is first expected
_OF_THE_REST = 0.75  # of the time until a job is expected is waited at once
_UNKNOWN_SHARE = 0.25  # of a guessed time, before which a job is not expected
_MIN_OBSERVATIONS = 5
_MAX_POLLS_A_SECOND = 400  # of all jobs together: about half of what one loop can do
_MAX_JOBS_AT_SHORTEST = 40  # more are each asked for less often: gateways count requests

_SITE = "https://fal.ai"
_SCHEMAS = "/api/openapi/queue/openapi.json?endpoint_id={endpoint}"
_SEARCH = "https://api.fal.ai/v1/models"
_STORAGE = "https://rest.fal.ai"
_FILES = "https://v3.fal.media"
_MISSING = Unclear("it knows no such request", "missing")
_PAGE = Unclear("a web page", "page")
_REDIRECT = Unclear("a redirect", "page")
_NO_ROUTE = Unclear("HTTP 405", "page")


# -------------------------------------------------------------------------------------- the calls


def status_call(ticket: Ticket, *, logs: bool = True, stream: bool = False) -> answers.Call:
    path, _, query = ticket.get("status_path").partition("?")
    query = "&".join(filter(None, (query, "logs=1" if logs else "")))
    url = f"{ticket.base_url}{path}{'/stream' if stream else ''}"
    accept = "text/event-stream" if stream else "application/json"
    return answers.Call("GET", f"{url}?{query}" if query else url, accept=accept)


# ------------------------------------------------------------------------------------- the ticket


def read_submit(
    answer: Answer, draft: Ticket, account: Account, *, sent: bytes = b""
) -> Ticket | Finished:
    """Return the ticket that a 2xx answer to a submit completes, or the pictures in it.

    Pictures that were `sent` may be repeated in it. It raises what the answer reports, and
    SubmitUncertain if there is no readable ticket in it.
    """
    listed = answer.value if isinstance(answer.value, list) else []
    body = answer.mapping or next((item for item in listed if isinstance(item, dict)), {})
    found, word = answers.find_pictures(answer.value, draft.base_url), status_word(body)
    request_id = _request_id(body, answer)
    if found is not None and found.pictures:
        return answers.billed(found, answer, request_id)
    denied = word in _FAILED or answers.truth(body.get("success")) is False
    is_queued = word in _PENDING or any(not _QUEUED.isdisjoint(each) for each in _holders(body))
    if request_id and is_queued and not denied:
        return _ticket(draft, request_id, body)
    others = answers.BESIDE_A_JOB if request_id else answers.OTHERS
    elsewhere = answers.search_pictures(answer, draft.base_url, others=others)
    urls = () if elsewhere is None else elsewhere.urls
    made = all(answers.is_picture(u) and u.encode("utf-8", "replace") not in sent for u in urls)
    ended = word in _FINISHED or not (word or b"://" in sent or b";base64," in sent)
    if elsewhere is not None and ended and made:
        return answers.billed(elsewhere, answer, request_id)
    refused = _refuses(answer, body, denied=denied, may_exist=bool(request_id))
    if request_id and not refused:
        return _ticket(draft, request_id, body)
    if _brought_none(found, body) and elsewhere is None and word not in _PENDING:
        raise answers.all_filtered(None, billed=False)
    if refused:
        failed = word in _FAILED
        raise answers.refusal(answer, model=draft.endpoint, account=account, failed=failed)
    if elsewhere is not None:
        return answers.billed(elsewhere, answer)
    says = answers.read_trouble(answer).said or "an empty answer"
    ticket = None if answer.is_page else read_broken_submit(answer, draft)
    raise answers.uncertain(account, f"no ticket in it: {says}", ticket)


def _refuses(answer: Answer, body: dict[str, Any], *, denied: bool, may_exist: bool) -> bool:
    """Return True if an answer to a submit says that it was not taken.

    `may_exist` if it names an id, which may be a job's: then a bare code does not say so.
    """
    trouble = answers.trouble_in(body)
    says = "" if trouble is None else trouble.text
    if _TAKEN.search(says) and not _NOT_TAKEN.search(says):
        return False
    is_taken = str(body.get("code")) in _QUEUED_CODES or not says
    if may_exist and (is_taken or (answers.own_status(answer) or 0) >= 500):
        return denied
    return denied or answers.reports_failure(body)


def read_broken_submit(answer: Answer, draft: Ticket) -> Ticket | None:
    """Return the ticket that an answer names although it failed or broke off; None without one."""
    named = _IN_TEXT.findall(answer.body.decode("ascii", "replace")) if answer.ok else []
    names = (answer.headers.get("x-fal-request-id", ""), *map("".join, reversed(named)))
    found = next((name for name in names if REQUEST_ID.fullmatch(name)), None)
    return None if found is None else _ticket(draft, found, {})


def _ticket(draft: Ticket, request_id: str, body: dict[str, Any]) -> Ticket:
    """Return the ticket for a request id; addresses that are missing or odd are built."""
    parts, addresses = draft.endpoint.split("/"), ChainMap(*_holders(body))
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
    found, addressed, plain = list[Any](), list[str](), list[Any]()
    for holder in reversed(_holders(body)):  # envelopes have an id of their own
        named = answers.plainly_named(holder)
        found += map(named.get, _IDS)
        plain += map(named.get, ("uuid", "id"))  # of any kind of thing
        for name in ("responseurl", "statusurl", "cancelurl"):
            addressed += _ID_IN_ADDRESS.findall(str(named.get(name)))
    if addressed and addressed[0] in map(str, found):
        found.insert(0, addressed[0])
    addressed += _ID_IN_ADDRESS.findall(answer.headers.get("location", ""))
    found += [*addressed, *plain, answer.headers.get("x-fal-request-id")]
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
    event = read_event(body, ticket.base_url)
    if isinstance(event, Done) and event.trouble is None and status_word(body) not in _PENDING:
        made = answers.find_pictures(body, ticket.base_url)  # as a few gateways answer
        if made is not None and made.pictures:
            finished = answers.billed(made, answer, ticket.request_id)
            return replace(event, finished=finished)
    return event or Unclear("it has no status", lasting=True)


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
            trouble = errors.word(says, limit=300) or word or "an error"
        return Done(answers.inference_seconds(said.get("metrics")), trouble)
    if word in _WAITING:
        position = said.get("queue_position")
        known = type(position) is int and 0 <= position < _MAX_COUNT
        return answers.Queued(position if known else None)
    if word in _WORKING:
        return _running(said.get("logs"))
    return Unclear(word, "word") if word and word != "NOT_FOUND" else None


def status_word(body: dict[str, Any]) -> str:
    """Return an object's status in upper case, or "".

    Of several, as an envelope has them, what is pending counts first, then what has failed.
    """
    words = []
    for holder in map(answers.plainly_named, _holders(body)):
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
    if answer.status not in _NOT_OF_THE_JOB and _goes_on(trouble):
        return Running()
    if answer.status in {400, 422} and not trouble.field and _NO_JOB.search(trouble.text):
        return _MISSING
    if 300 <= answer.status < 400:
        return _REDIRECT
    reason = trouble.said or f"HTTP {answer.status}"
    # A 5xx may be the job's own end, given back by the queue, and not a gateway's.
    traced = "x-fal-request-id" in answer.headers and "detail" in (answer.mapping or {})
    is_own = traced or "x-fal-error-type" in answer.headers or trouble.is_of_service
    if answer.status in _NOT_NOW or (answer.status >= 500 and not (stored and is_own)):
        return Unclear(reason, headers=answer.headers)
    if answer.is_page and answer.status != 401 and not is_own:
        return _PAGE
    if answer.status in _ENDINGS and not answer.body.strip() and not is_own:
        return Unclear(reason, lasting=True)  # a proxy's: the job's own end would say why
    error = answers.failure(answer, model=ticket.endpoint, account=account, ticket=ticket)
    return Unclear(reason, error=error)


def _goes_on(trouble: answers.Trouble) -> bool:
    """Return True if what looks like a failure says that the job is not finished yet."""
    refused = trouble.field or _REFUSED.search(f"{trouble.kind} {trouble.text}")
    return not refused and _STILL.search(trouble.text) is not None


def _running(lines: Any) -> Running:
    if not isinstance(lines, list):
        return Running()
    logs, names = [], ("message", "level", "timestamp")
    for line in lines[-_MAX_LOG_LINES:]:
        if isinstance(line, dict):
            texts = [errors.word(line.get(name), limit=300) for name in names]
            logs.append(answers.LogLine(*texts))
    return Running(tuple(logs), len(lines))


def take_events(chunk: bytes, line: bytearray, event: bytearray) -> list[bytes]:
    """Return the data of each server-sent event that a chunk ends; only `data:` lines matter.

    `line` and `event` hold what has not ended yet; past 4 MiB it raises ValueError.
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
) -> Finished | answers.Queued | Running | Unclear:
    """Return what the job brought, or that it is pending; raises if it is over without one."""
    gone = answer.status == 410 and answers.read_trouble(answer).kind not in answers.RETIRED
    if answer.status == 404 or gone:
        return _PAGE if answer.is_page else _MISSING
    if answer.status == 405:
        return _NO_ROUTE
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
    if isinstance(event, answers.Queued | Running):
        return event
    if isinstance(event, Unclear):
        return Running()
    if word in _CANCELLED:
        raise answers.cancelled(ticket)
    if word in _FAILED or answers.reports_failure(body):
        own, says = answers.own_status(answer), answers.read_trouble(answer)
        if word not in _FAILED and _goes_on(says):
            return Running()
        if own in {404, 410} or (word not in _FAILED and _NO_JOB.search(says.text)):
            return _MISSING
        if own is not None and (own >= 500 or own in _NOT_NOW) and word not in _FAILED:
            return Unclear(says.said or f"HTTP {own}", lasting=own == 500)  # else as if outside
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
    is_json = answer.json is not None
    what = answers.field_names(body) if is_json else "an answer that is not JSON"
    return Unclear(f"it is not understood: {what}", lasting=is_json)


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
    is_read = answer.ok and not answer.is_page
    return answers.CancelAnswer.REQUESTED if is_read else answers.CancelAnswer.UNKNOWN


# ------------------------------------------------------------------------------------ the provider


class Fal(Provider):
    can = Capabilities(streams=True)
    max_submit_seconds = 120.0
    max_silence_seconds = 60.0  # some gateways answer with the pictures, and draw meanwhile
    shortest_poll_seconds = 0.1
    knows_auto = False  # whether the result of any request is found under the app `auto`
    watching = 0  # jobs

    def usual_seconds(self, model_id: str) -> float:
        known = Catalogue(None).known(model_id)
        return _USUAL_SECONDS if known is None else known.typical_seconds

    # ---------------------------------------------------------------------------------- submit

    async def submit(self, request: ImageRequest, *, seconds: float) -> Ticket | Finished:
        end, model = self.clock() + seconds, request.model
        account, base_url = self.settings.account, self.settings.base_url
        draft = Ticket(account.name, base_url, model, request_id="", created=self.now())
        try:
            with anyio.fail_after(seconds):  # uploads take their time
                body = await self.body(request)
        except TimeoutError:
            raise answers.unreachable(base_url, "the pictures took all the time") from None
        named = partial(read_broken_submit, draft=draft)
        left = end - self.clock()
        answer = await self.post(f"/{model}", body, model=model, seconds=left, named=named)
        return read_submit(answer, draft, account, sent=body)

    # ------------------------------------------------------------------------- watch and result

    async def watch(
        self,
        ticket: Ticket,
        *,
        seconds: float,
        service_times: Sequence[float] = (),
        expired: bool = False,
    ) -> AsyncGenerator[answers.WireEvent, None]:
        if ticket.finished is not None:
            yield Done(finished=ticket.finished)
            return
        job = _Job(self, ticket, seconds, service_times, expired=expired)
        self.watching += 1
        try:
            while self.clock() < job.end:
                if job.streams:
                    async with aclosing(job.streamed()) as events:
                        async for event in events:
                            yield event
                            if isinstance(event, Done):
                                return
                asked = self.clock()
                found = await job.ask()
                if isinstance(found, Done):
                    yield found
                    return
                if isinstance(found, answers.Queued | Running):
                    self.budget.tokens += 1
                    if (news := job.news(found, whole=True)) is not None:
                        yield news
                await job.pause(found, took=self.clock() - asked)
        finally:
            self.watching -= 1
        if job.missing and job.instead:
            raise job.misplaced(errors.QueueTimeout)
        title = self.settings.account.title
        state = f"not known at {title} yet" if job.missing else f"still running at {title}"
        raise errors.QueueTimeout(
            f"The job is {state} after {round(seconds, 1):g} s "
            f"(request id {errors.short_id(ticket.request_id)}).",
            remedy="It goes on there and may be billed; fetch it later with %imagen_resume.",
            ticket=ticket,
        )

    async def result(self, ticket: Ticket, done: Done | None = None, *, seconds: float) -> Finished:
        done = done or Done()
        if known := done.finished or ticket.finished:
            return known
        job, said = _Job(self, ticket, seconds), done.trouble
        reason, attempt, lasting = "no answer", 0, 0
        while self.clock() < job.end:
            found = await job.ask_result()
            if isinstance(found, Done) and found.finished is not None:
                self.budget.tokens += 1
                return found.finished
            reason = "it says that the job still runs"
            if isinstance(found, Unclear):
                reason, lasting = found.reason, lasting + found.lasting
            if (said is not None and attempt >= 1) or lasting >= _MAX_LASTING:
                break  # the status has said enough, or the same comes each time
            await job.rest(self.budget.delay(attempt), found)
            attempt += 1
        if said in _CANCELLED:
            raise answers.cancelled(ticket)
        if said is not None:
            raise answers.service_failed(answers.Trouble.of(said), ticket)
        if job.instead:
            raise job.misplaced()
        raise errors.QueueError(
            f"The result could not be fetched from {self.settings.account.title}: {reason}",
            remedy="Fetch it later with %imagen_resume; nothing is paid again.",
            ticket=ticket,
            billed=True,
        )

    async def cancel(self, ticket: Ticket) -> answers.CancelAnswer:
        call = answers.Call("PUT", ticket.base_url + ticket.get("cancel_path"))
        for attempt in range(_MAX_CANCELS):
            try:
                answer = await self.http.call(call, seconds=_CANCEL_SECONDS)
            except (answers.NotSent, answers.Lost):
                answer = Answer(503)
            if answer.status not in _AGAIN:
                return read_cancel(answer)
            await self.sleep(self.budget.delay(attempt))
        return answers.CancelAnswer.UNKNOWN

    # ------------------------------------------------------------------------------- the models

    async def describe(self, model_id: str) -> bytes | None:
        address = self.settings.schemas
        if address == "off" or "/" not in model_id:
            return None
        if address == "auto":  # the demo's application has its own
            address = (self.settings.base_url if self.can.free else _SITE) + _SCHEMAS
        answer = await self._read(address.replace("{endpoint}", quote(model_id, safe="/")))
        return None if answer is None or answer.mapping is None else answer.body

    async def search(self, query: str) -> list[Model] | None:
        answer = await self._read(f"{_SEARCH}?{urlencode({'q': query, 'limit': 50})}")
        if answer is None:
            return None
        found = (answer.mapping or {}).get("models")
        listed = map(_listed, found if isinstance(found, list) else [])
        return [model for model in listed if model is not None]

    async def _read(self, url: str) -> Answer | None:
        try:
            answer = await self.http.fetch(url, seconds=_DESCRIBE_SECONDS, document=True)
        except (answers.NotSent, answers.Lost, ImagenError):
            return None
        return answer if answer.ok else None

    async def encode(self, picture: Input) -> str:
        settings = self.settings
        if settings.upload and settings.account == FAL and settings.base_url == FAL.base_url:
            with suppress(answers.NotSent, answers.Lost, ImagenError):
                return await self._upload(picture)
        return await super().encode(picture)

    async def _upload(self, picture: Input) -> str:
        """Put an input picture into fal's storage, for an hour, and return its address.

        The address is public for anyone who has it. The key goes to fal's own storage and nowhere
        else; the picture goes with a token that storage gives out.
        """
        call = answers.Call("POST", f"{_STORAGE}/storage/auth/token?storage_type=fal-cdn-v3", b"{}")
        account = self.settings.account
        granted = await self._ask_storage(_STORAGE, account.scheme, self.settings.key, call)
        token, kind = granted.get("token"), granted.get("token_type")
        if not isinstance(token, str) or not token.isprintable():
            raise answers.Lost("the storage gave no token")
        call = answers.Call(
            "POST",
            f"{_FILES}/files/upload",
            await to_thread.run_sync(picture.data),
            content_type=picture.media_type,
            headers=(
                ("x-fal-file-name", f"input.{picture.media_type.rpartition('/')[2]}"),
                ("x-fal-object-lifecycle", json.dumps({"expiration_duration_seconds": 3600})),
            ),
        )
        scheme = kind if isinstance(kind, str) and kind.isalpha() else "Bearer"
        stored = await self._ask_storage(_FILES, scheme, Secret(token), call)
        found = stored.get("access_url")
        if not isinstance(found, str) or not found.startswith("https://"):
            raise answers.Lost("the storage gave no address")
        return found

    async def _ask_storage(
        self, base_url: str, scheme: str, key: Secret | None, call: answers.Call
    ) -> dict[str, Any]:
        from imagen_widget._providers.http import Http

        http = Http(base_url, scheme=scheme, key=key, transport=self.transport)
        try:
            answer = await http.call(call, seconds=_CALL_SECONDS)
        finally:
            await http.close()
        return (answer.mapping or {}) if answer.ok else {}


# ---------------------------------------------------------------------------------------- one job


def expected_seconds(observed: Sequence[float], guess: float) -> tuple[float, float]:
    """Return the service time of a model before which hardly any job is done, and its usual one.

    They come from the `observed` times, all in seconds, or from a guess if there are too few.
    """
    times = sorted(seconds for seconds in observed if seconds > 0.0)
    if len(times) < _MIN_OBSERVATIONS:
        return guess * _UNKNOWN_SHARE, guess
    return times[len(times) // _EARLY_SHARE], times[len(times) // 2]


def poll_seconds(
    running: float | None,
    expected: tuple[float, float],
    *,
    shortest: float,
    chance: float,
    jobs: int = 1,
) -> float:
    """Return the seconds to wait before the next status request.

    Before a job can be expected the wait is most of the time until then; after that it is a small
    share of the time that it has run, so that a late job is asked for ever less often. So is each
    of many `jobs`. `running` is None while the job is queued.
    """
    earliest, usual = expected
    if running is None:
        ideal = min(usual / 2, _QUEUE_POLL_SECONDS)
    else:
        ideal = max((earliest - running) * _OF_THE_REST, _GROWTH * running)
    each = max(shortest / _MAX_JOBS_AT_SHORTEST, 1 / _MAX_POLLS_A_SECOND)
    return max(min(ideal, MAX_POLL_SECONDS), shortest, jobs * each) * (0.9 + 0.2 * chance)


class _Job:
    """One job that is watched or fetched: what was seen of it, and the questions about it."""

    def __init__(
        self,
        queue: Fal,
        ticket: Ticket,
        seconds: float,
        service_times: Sequence[float] = (),
        *,
        expired: bool = False,
    ) -> None:
        self._began = queue.clock()
        self.end = self._began + seconds
        self.streams, self.missing = queue.can.streams, False
        self.instead = ""  # of the result: a web page, or the like
        self._queue, self._ticket, self._service_times = queue, ticket, service_times
        self._account = queue.settings.account
        self._shortest = queue.settings.poll_seconds or queue.shortest_poll_seconds
        self._age = queue.now() - ticket.created if ticket.created > 0 else 0.0  # when it began
        self._forgotten = expired or self._age > _KEPT_SECONDS  # proof that "not found" is final
        self._ran_since: float | None = None
        self._last: answers.WireEvent | None = None
        self._lines = self._hiccups = self._misses = self._pending_polls = 0
        self._with_logs, self._by_result, self._result_next = True, False, False
        self._ask_anyway_at = 0.0
        half = max(seconds / 2, _ASK_ANYWAY_EACH_SECONDS)
        self._ask_anyway_from = self._began + min(_ASK_ANYWAY_SECONDS - self._age, half)
        self._path = ticket.get("response_path")
        self._auto_path = ""
        if queue.knows_auto:
            owner = ticket.endpoint.partition("/")[0]
            self._auto_path = f"/{owner}/auto/requests/{ticket.request_id}"

    @cached_property
    def _expected(self) -> tuple[float, float]:
        guess = self._queue.usual_seconds(self._ticket.endpoint)
        return expected_seconds(self._service_times, guess)

    async def streamed(self) -> AsyncGenerator[answers.WireEvent, None]:
        """Yield what the event stream says; it is tried once, and polls go on where it ends."""
        clock, call = self._queue.clock, status_call(self._ticket, stream=True)
        silence = min(max(2 * self._expected[1], _MIN_SILENCE_SECONDS), _MAX_SILENCE_SECONDS)
        line, unended = bytearray(), bytearray()
        done: Done | None = None
        try:
            left = self.end - clock()
            async with self._queue.http.stream(call, seconds=min(silence, left / 2)) as chunks:
                self.streams, heard = False, clock()
                while (left := self.end - clock()) > 0:
                    silence = min(silence, left / 2)  # which leaves time to poll
                    try:
                        with anyio.fail_after(_LEAVE_SECONDS if done else silence):
                            chunk = await anext(chunks)
                    except (StopAsyncIteration, TimeoutError):
                        break
                    for text in take_events(chunk, line, unended):
                        body = answers.read_json(self._queue.http.without_key(text))
                        event = read_event(body, self._ticket.base_url)
                        if isinstance(event, Done):
                            done = event
                        elif (news := self.news(event, whole=False)) is not None:
                            heard = clock()
                            yield news
                    if done is None and clock() - heard >= silence:  # keep-alives are no news
                        heard, found = clock(), await self.ask()
                        if isinstance(found, Done):
                            done = found
                            break
                if done is not None:  # read to its end, it leaves its connection to the next job
                    yield done
        except (answers.NotSent, answers.Lost, ValueError):
            self.streams = False

    # -------------------------------------------------------------------------------- the polls

    async def ask(self) -> answers.WireEvent | Unclear:
        if self._by_result or self._result_next:
            self._result_next = False
            return await self.ask_result()
        call = status_call(self._ticket, logs=self._with_logs)
        seconds = min(_CALL_SECONDS, self.end - self._queue.clock())
        try:
            answer = await self._queue.http.call(call, seconds=seconds)
        except (answers.NotSent, answers.Lost) as error:
            self._with_logs = self._with_logs and "larger" not in str(error)
            self._result_next = True
            return Unclear(str(error))
        found = read_status(answer, self._ticket, self._account)
        if not isinstance(found, Unclear):
            is_due = isinstance(found, Done) and found.finished is not None
            if not isinstance(found, Done):
                self._pending_polls += 1
                is_due = self._pending_polls % _ASK_ANYWAY_POLLS == 0
                is_due = is_due and self._queue.clock() >= self._ask_anyway_from
            if is_due:
                with suppress(ImagenError):  # nothing but the pictures counts against the status
                    asked = await self.ask_result(counts=False)
                    return asked if isinstance(asked, Done) else found
            return found
        if found.kind == "word":  # now and then the result is asked
            now, first = self._queue.clock(), min(self._expected[1], _ASK_ANYWAY_SECONDS)
            if now < max(self._ask_anyway_at, self._began + first):
                return Running()
            self._ask_anyway_at = now + _ASK_ANYWAY_EACH_SECONDS
            asked = await self.ask_result()
            return Running() if isinstance(asked, Unclear) else asked
        if found.kind:  # nothing is known there
            asked = await self.ask_result()
            self._by_result = isinstance(asked, answers.Queued | Running)
            return asked
        self._result_next = True  # the status says nothing of use
        if found.error is None and not found.lasting:
            return found
        return await self.ask_result()  # not even a refused key there says anything of the job

    async def ask_result(self, *, counts: bool = True) -> answers.WireEvent | Unclear:
        """Ask for the result once; errors that are raised here are the job's end.

        `counts` is whether it says something of the job if nothing is found there.
        """
        call = answers.Call("GET", self._ticket.base_url + self._path)
        seconds = min(_CALL_SECONDS, self.end - self._queue.clock())
        size = answers.MAX_RESULT_BYTES
        try:
            answer = await self._queue.http.call(call, seconds=seconds, max_bytes=size)
        except (answers.NotSent, answers.Lost) as error:
            return Unclear(str(error))
        found = read_result(answer, self._ticket, self._account)
        if isinstance(found, Finished):
            return Done(found.seconds, finished=found)
        if isinstance(found, Unclear) and found.kind:
            if counts:
                self._miss(found)
        else:
            self.instead = ""
        return found

    def _miss(self, found: Unclear) -> None:
        """Count that the result was not found, and look under another name in the end."""
        own = self._ticket.get("response_path")
        if self._path == own:
            self._misses += 1
            self.instead = found.reason if found.kind == "page" else ""
            if self._misses < (_MIN_MISSES if self._forgotten else _MAX_MISSES):
                return
            if self._auto_path:  # once
                self._path, self._auto_path = self._auto_path, ""
                return
        title, request_id = self._account.title, errors.short_id(self._ticket.request_id)
        if self._forgotten:
            if self.instead:
                raise self.misplaced()
            raise errors.ResultExpired(
                f"{title} knows no job {request_id}.",
                remedy="Results are kept for about an hour; look at your usage there, "
                "then run it again.",
                ticket=self._ticket,
            )
        self._path = own  # it may still turn up under its own name

    def misplaced(self, kind: type[errors.QueueError] = errors.QueueError) -> errors.QueueError:
        return kind(
            f"{self._account.title} answers with {self.instead} where the job's result should be "
            f"(request id {errors.short_id(self._ticket.request_id)}).",
            remedy="Check IMAGEN_BASE_URL, then fetch the job with %imagen_resume.",
            ticket=self._ticket,
            billed=True,
        )

    async def pause(self, found: answers.WireEvent | Unclear, *, took: float) -> None:
        queue, chance = self._queue, self._queue.chance()
        self.missing = isinstance(found, Unclear) and bool(found.kind)
        if isinstance(found, Unclear) and not self.missing:
            seconds = max(queue.budget.delay(self._hiccups), self._shortest)
            self._hiccups += 1
        else:
            self._hiccups = 0
            running = None if self._ran_since is None else queue.clock() - self._ran_since
            shortest = max(self._shortest, took)  # who answers slowly is asked less often
            seconds = poll_seconds(
                running, self._expected, shortest=shortest, chance=chance, jobs=queue.watching
            )
        await self.rest(seconds, found)

    async def rest(self, seconds: float, found: answers.WireEvent | Unclear) -> None:
        """Wait, for longer if the answer asks for it, but not beyond the deadline.

        Shortly before that there is time to ask once more.
        """
        if isinstance(found, Unclear):
            seconds = max(seconds, retry_after(found.headers, now=self._queue.now()) or 0.0)
        left = max(self.end - self._queue.clock(), 0.0)
        await self._queue.sleep(min(seconds, 0.9 * left if left > 1.0 else left))

    # ------------------------------------------------------------------------------ small parts

    def news(self, event: object, *, whole: bool) -> answers.WireEvent | None:
        """Return the event if it says something new; `whole` if it repeats all log lines."""
        if not isinstance(event, answers.Queued | Running):
            return None
        if isinstance(event, Running):
            if self._ran_since is None:
                self._ran_since = self._queue.clock()
            fresh = max(event.count - self._lines if whole else event.count, 0)
            self._lines += fresh
            event = Running(event.logs[-fresh:] if fresh else (), fresh)
            repeated = isinstance(self._last, Running) and not event.logs
        else:
            repeated = event == self._last
        self._last = event
        return None if repeated else event


def _listed(record: Any) -> Model | None:
    record = record if isinstance(record, dict) else {}
    model_id, data = record.get("endpoint_id"), record.get("metadata")
    if not isinstance(model_id, str) or not 0 < len(model_id) <= 200:
        return None
    catalogue, data = Catalogue(None), data if isinstance(data, dict) else {}
    if not str(data.get("category") or "to-image").endswith("to-image"):
        return None  # it makes videos, or trains others
    title, ended = data.get("display_name"), data.get("status") == "deprecated"
    return catalogue.known(model_id) or replace(
        catalogue.unknown(model_id),
        title=title[:100] if isinstance(title, str) and title else model_id,
        provider="fal",
        status="deprecated" if ended else "active",
    )
