"""HTTP answers that mean failure, as one line of the error tree with its remedy.

Nothing here does I/O, and reading an answer never raises. fal's `detail` may be a string, a list of
objects or an object; gateways of the one-api family have shapes of their own, and wrap the answers
of the service behind them as text. `input` echoes the caller's prompt: it is never read.
"""

from dataclasses import dataclass
from typing import Any

from imagen_widget._models import Catalogue, as_number, short_name
from imagen_widget._providers.answers import Answer, read_json
from imagen_widget._providers.values import Ticket
from imagen_widget._settings import Account
from imagen_widget.errors import (
    CancelledAtProvider,
    ContentRejected,
    CredentialsError,
    GenerationFailed,
    ImagenError,
    InvalidRequest,
    ModelRetired,
    QueueError,
    ResultExpired,
    SubmitUncertain,
    one_line,
)

_MAX_TEXT = 300
_REFUSED_CONTENT = frozenset(
    {"content_policy_violation", "content_policy", "content_filter", "moderation_blocked"}
    | {"no_media_generated", "safety_violations"}
)
RETIRED = frozenset({"EndpointDeprecated", "model_not_found", "endpoint_deprecated"})
_CANCELLED = frozenset({"client_cancelled", "client_disconnected", "request_cancelled"})
_SERVICE = frozenset(
    {"internal_server_error", "internal_error", "generation_timeout", "request_timeout"}
    | {"startup_timeout", "downstream_service_error", "downstream_service_unavailable"}
    | {"runner_scheduling_failure", "runner_connection_timeout", "runner_disconnected"}
    | {"runner_connection_refused", "runner_connection_error", "runner_incomplete_response"}
    | {"runner_server_error"}
)
_MONEY_WORDS = ("balance", "quota", "top up", "top_up", "额度", "余额", "locked", "billing")
_NO_MONEY = (
    "额度",
    "余额",
    "欠费",
    "insufficient balance",
    "insufficient quota",
    "insufficient credit",
)
_NO_ERROR = frozenset(
    {"", "success", "succeeded", "ok", "none", "null", "0", "200", "false", "{}", "[]"}
)
_TEXTS = (
    *("detail", "error", "message", "error_message", "errormessage", "error_msg", "errmsg"),
    *("description", "msg", "errors", "reason", "fail_reason", "failreason"),
)
_CODES = ("code", "status_code", "statuscode", "error_code", "errorcode", "errcode", "errno")
_FINE_CODES = frozenset({0, 200, 201, 202, "0", "200", "success", "SUCCESS", "ok", "OK", "", None})


# ---------------------------------------------------------------------- what an answer says of it


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a failing answer says of itself: its words and kind, the field, and what is allowed."""

    text: str
    kind: str = ""
    field: str = ""
    expected: str = ""

    @property
    def is_of_service(self) -> bool:
        """Whether it is a failure of the service, not of the request."""
        return self.kind in _SERVICE


def read_trouble(answer: Answer) -> Trouble:
    """Return what the answer says, whatever its shape."""
    kind = _word(answer.headers.get("x-fal-error-type"))
    body = answer.mapping
    if body is None:
        return Trouble(_plain_text(answer), kind)
    return trouble_in(body, kind=kind) or Trouble(field_names(body), _word(body.get("error_type")))


def trouble_in(body: dict[str, Any], *, kind: str = "", depth: int = 2) -> Trouble | None:
    """Return what a JSON object says of a failure; None if it says nothing."""
    code = _word(body.get("code"))
    kind = _word(body.get("error_type")) or kind or ("" if code in _FINE_CODES else code)
    named = {name.lower(): value for name, value in body.items()}
    for name in _TEXTS:
        trouble = _read(named.get(name), kind, depth)
        if trouble is not None:
            return trouble
    return None


def reports_failure(body: dict[str, Any]) -> bool:
    """Return True if an object says that the request failed, whatever its HTTP status."""
    named = {name.lower(): value for name, value in body.items()}
    if any(says_no(named.get(name)) for name in ("success", "ok")):
        return True
    errors = (named.get(name) for name in ("error", "errors"))
    if any(e is not None and str(e).strip().lower() not in _NO_ERROR for e in errors):
        return True
    codes = (named[name] for name in _CODES if name in named)
    code = next((c for c in codes if isinstance(c, int | str) and not isinstance(c, bool)), None)
    status = named.get("status")
    if isinstance(status, int) and 400 <= status <= 599:
        return True
    return code not in _FINE_CODES and not named.get("data")


def says_no(value: object) -> bool:
    """Return True for false, 0 and the words for it."""
    return value is False or str(value).strip().lower() in {"false", "0", "no"}


def field_names(body: dict[str, Any]) -> str:
    """Name the fields of an object that is not understood; the values could echo the prompt."""
    names = ", ".join(list(body)[:8]) or "nothing"
    return one_line(f"an object with {names}", limit=120)


def _read(value: object, kind: str, depth: int) -> Trouble | None:
    if isinstance(value, str) and value.strip():
        return _read_text(value, kind, depth)
    if isinstance(value, list):
        first = next((item for item in value if isinstance(item, dict)), None)
        return _read_detail(first, kind) if first else None
    if isinstance(value, dict):
        code = _word(value.get("code")) or _word(value.get("error")) or _word(value.get("type"))
        texts = (value.get(name) for name in ("message", "msg", "localized_message"))
        text = next((text for text in texts if isinstance(text, str) and text.strip()), code)
        found = _read_text(text, code or kind, depth)
        return Trouble(found.text, found.kind, found.field or _word(value.get("param")))
    return None


def _read_text(text: str, kind: str, depth: int) -> Trouble:
    """Read a text; gateways put the whole answer of the service behind them into theirs."""
    before, brace, _ = text.partition("{")
    if not brace:
        return Trouble(one_line(text, limit=_MAX_TEXT), kind)
    inner = read_json(text[len(before) : text.rfind("}") + 1])
    if depth and isinstance(inner, dict):
        found = trouble_in(inner, kind=kind, depth=depth - 1)
        if found is not None:
            return found
    echoes = any(name in text for name in ('"input', '"prompt', "'input", "'prompt"))
    return Trouble(one_line(before if echoes else text, limit=_MAX_TEXT), kind)


def _read_detail(item: dict[str, Any], kind: str) -> Trouble:
    place = item.get("loc")
    names = [part for part in place if isinstance(part, str)] if isinstance(place, list) else []
    names = [name for name in names if name != "body"]
    context = item.get("ctx")
    expected = context.get("expected") if isinstance(context, dict) else None
    if isinstance(expected, list):
        expected = ", ".join(str(word) for word in expected[:40] if isinstance(word, str | int))
    text = item.get("msg") or item.get("message")
    return Trouble(
        text=one_line(text, limit=_MAX_TEXT) if isinstance(text, str) else "",
        kind=_word(item.get("type")) or kind,
        field=one_line(names[-1], limit=60) if names else "",
        expected=one_line(expected, limit=200) if isinstance(expected, str) else "",
    )


def _names_money(text: str) -> bool:
    return any(word in text.lower() for word in _MONEY_WORDS)


def _word(value: object) -> str:
    return one_line(value, limit=60) if isinstance(value, str) else ""


def _plain_text(answer: Answer) -> str:
    if answer.is_page:
        return "a web page instead of an answer"
    if isinstance(answer.json, list | int | float):
        return "JSON that is not an object"
    return one_line(answer.body[:_MAX_TEXT].decode("utf-8", "replace"), limit=120)


# -------------------------------------------------------------------------- the error that it means


def failure(
    answer: Answer, *, model: str, account: Account, ticket: Ticket | None = None
) -> ImagenError:
    """Return the error that a failing answer means, with the remedy and whether it may be billed.

    Without a ticket no job exists yet, and nothing is billed.
    """
    trouble = read_trouble(answer)
    error = _by_kind(answer, trouble, model, account, ticket)
    error = error or _by_status(answer, trouble, model, account, ticket)
    if ticket is None or answer.headers.get("x-fal-billable-units", "").strip() in {"0", "0.0"}:
        error.billed = False
    return error


def as_failing(answer: Answer, *, otherwise: int) -> Answer:
    """Give an error that came with 200 the status that it names itself, or another."""
    return Answer(own_status(answer) or otherwise, answer.headers, answer.body)


def own_status(answer: Answer) -> int | None:
    """Return the HTTP status of a failure that an answer names inside; None if it names none."""
    body = answer.mapping or {}
    error = body.get("error")
    inner = error if isinstance(error, dict) else {}
    codes = (body.get("status_code"), body.get("code"), inner.get("code"), inner.get("status"))
    numbers = (as_number(code) for code in (*codes, body.get("status")))
    return next((n for n in numbers if isinstance(n, int) and 400 <= n <= 599), None)


def _by_kind(
    answer: Answer, trouble: Trouble, model: str, account: Account, ticket: Ticket | None
) -> ImagenError | None:
    if trouble.kind in _CANCELLED or answer.status == 499:
        return CancelledAtProvider("The job was cancelled at the provider.", ticket=ticket)
    if trouble.kind in _REFUSED_CONTENT:
        silent = trouble.kind == "no_media_generated"
        return ContentRejected(
            f"The content checker refused: {trouble.text or trouble.kind}",
            remedy="Say it another way; running the same again sometimes works."
            if silent
            else "Say it another way.",
            ticket=ticket,
            billed=True,
        )
    gone = answer.status == 410 or (answer.status == 404 and not answer.is_page)
    if (gone and ticket is None) or trouble.kind in RETIRED:  # of a job it may be the result
        return retired(model, trouble.text, account, ticket)
    if trouble.kind in _SERVICE and ticket is not None:
        return service_failed(trouble, ticket)
    return None


def _by_status(
    answer: Answer, trouble: Trouble, model: str, account: Account, ticket: Ticket | None
) -> ImagenError:
    says = f": {trouble.text}" if trouble.text else "."
    status, title = answer.status, account.title
    money = _names_money(trouble.kind) or (status != 400 and _names_money(trouble.text))
    money = money or any(words in trouble.text.lower() for words in _NO_MONEY)
    if status in {401, 402, 403} or (money and status in {400, 429}):
        return _credentials(trouble, account, ticket, money=money and status != 401)
    if status == 429:
        return QueueError(
            f"{title} is asked too often{says}",
            remedy="Wait a minute and run it again; nothing was accepted."
            if ticket is None
            else "Wait a minute, then fetch it with %imagen_resume.",
            ticket=ticket,
        )
    if status in {400, 413, 422} and not answer.is_page:
        return _invalid(trouble, model, status, ticket)
    if 300 <= status < 400:
        return QueueError(
            f"{title} wants to send the request elsewhere (HTTP {status}); that is not done.",
            remedy="Set IMAGEN_BASE_URL to the gateway's final address.",
            ticket=ticket,
        )
    if status >= 500 and not answer.is_page:
        return service_failed(trouble, ticket, status=status)
    return QueueError(
        f"{title} answered HTTP {status}{says}",
        remedy="Check IMAGEN_BASE_URL and the model; nothing was accepted."
        if ticket is None
        else "Fetch the job later with %imagen_resume; nothing is paid again.",
        ticket=ticket,
    )


def _credentials(
    trouble: Trouble, account: Account, ticket: Ticket | None, *, money: bool
) -> CredentialsError:
    title, says = account.title, f": {trouble.text}" if trouble.text else "."
    variable = next(iter(account.key_variables), "the key")
    if money:
        what = f"The balance at {title} is spent or the account is locked{says}"
        remedy = f"Top up at {title}."
    else:
        what = f"{title} refused the key{says}"
        remedy = f"Check {variable}: it must be a key of {title} that may use this model."
    again = "" if ticket is None else " Then fetch the job with %imagen_resume."
    return CredentialsError(what, remedy=remedy + again, ticket=ticket)


def _invalid(trouble: Trouble, model: str, status: int, ticket: Ticket | None) -> ImagenError:
    says = trouble.text or f"HTTP {status}"
    if trouble.expected and trouble.expected not in says:
        says = f"{says} (allowed: {trouble.expected})"
    where = f"{trouble.field}: " if trouble.field else ""
    return InvalidRequest(
        f"{where}{model} refused the request: {says}",
        remedy="Change the request; %imagen_models shows what each model takes.",
        field=trouble.field or None,
        ticket=ticket,
    )


def service_failed(trouble: Trouble, ticket: Ticket | None, *, status: int = 0) -> GenerationFailed:
    """Return the error for a job that ended because the service failed; that is not billed."""
    kind = trouble.kind or (f"HTTP {status}" if status else "")
    says = trouble.text or "no reason was given"
    return GenerationFailed(
        f"The job failed at the provider{f' ({kind})' if kind else ''}: {says}",
        remedy="Failures of the service are not billed; run it again.",
        ticket=ticket,
    )


def retired(model: str, says: str, account: Account, ticket: Ticket | None = None) -> ModelRetired:
    """Return the error for a model that is gone, which names the successor served here."""
    catalogue, default = Catalogue(None), account.default_model
    known = [found for name in (model, default) if (found := catalogue.known(name)) is not None]
    served = [name for found in known if (name := found.successor_at(account.name))]
    successor = next(iter(served), short_name(default))
    use = f"Use {successor} instead: -m {successor} (model={successor!r})."
    if successor == short_name(model):
        use = "%imagen_models shows others; IMAGEN_MODEL sets the default."
    return ModelRetired(
        f"{model} is not served here{f': {says}' if says else '.'}",
        remedy=use,
        ticket=ticket,
    )


# ------------------------------------------------------------ errors without an answer of their own


def unreachable(base_url: str, reason: str) -> QueueError:
    """Return the error for a request that never left."""
    return QueueError(
        f"{base_url} cannot be reached: {reason}",
        remedy="Nothing was sent. Check the network, HTTPS_PROXY and IMAGEN_BASE_URL.",
    )


def uncertain(account: Account, reason: str, ticket: Ticket | None = None) -> SubmitUncertain:
    """Return the error for a submit that may have been accepted."""
    title = account.title
    return SubmitUncertain(
        f"The request went out to {title}, but no clear answer came back ({reason}): "
        "a job may exist and be billed.",
        remedy="It goes on there: fetch it with %imagen_resume."
        if ticket is not None
        else f"It is not sent again by itself. Look at your usage at {title}; if it lists no job, "
        "run it again with --fresh (reuse=False).",
        ticket=ticket,
    )


def all_filtered(ticket: Ticket | None, *, billed: bool) -> ContentRejected:
    """Return the error for a job that finished without a picture."""
    return ContentRejected(
        "The job finished without a picture: all of them were filtered by the provider.",
        remedy="Say it another way; running the same again sometimes works.",
        ticket=ticket,
        billed=billed,
    )


def expired(account: Account, ticket: Ticket) -> ResultExpired:
    """Return the error for a job that its provider no longer has."""
    return ResultExpired(
        f"{account.title} knows no job {ticket.request_id}.",
        remedy="Results are kept for about an hour; look at your usage there, then run it again.",
        ticket=ticket,
    )


def not_proxied(account: Account, ticket: Ticket) -> QueueError:
    """Return the error for a gateway that answers the result's route with a web page."""
    return QueueError(
        f"{account.title} answers with a web page where the job's result should be "
        f"(request id {ticket.request_id}).",
        remedy="Check IMAGEN_BASE_URL, then fetch the job with %imagen_resume.",
        ticket=ticket,
    )
