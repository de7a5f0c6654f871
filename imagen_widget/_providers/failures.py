"""HTTP answers that mean failure, as one line of the error tree with its remedy.

Nothing here does I/O, and reading an answer never raises. fal's `detail` may be a string, a list of
objects or an object; gateways of the one-api family have shapes of their own, and wrap the answers
of the service behind them as text. `input` echoes the caller's prompt: it is never read.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagen_widget._models import Catalogue, as_number, short_name
from imagen_widget._providers.answers import Answer, read_json, says_no
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
    SubmitUncertain,
    one_line,
)

if TYPE_CHECKING:
    from imagen_widget._providers.provider import Ticket

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
_MONEY = ("balance", "quota", "top up", "top_up", "额度", "余额", "locked", "billing")
_NO_MONEY = (
    *("额度", "余额", "欠费"),
    *("insufficient balance", "insufficient quota", "insufficient credit"),
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
    kind, body = word(answer.headers.get("x-fal-error-type")), answer.mapping
    if body is not None:
        found = trouble_in(body, kind=kind)
        return found or Trouble(field_names(body), word(body.get("error_type")))
    if answer.is_page:
        return Trouble("a web page instead of an answer", kind)
    if isinstance(answer.json, list | int | float):
        return Trouble("JSON that is not an object", kind)
    return Trouble(one_line(answer.body[:_MAX_TEXT].decode("utf-8", "replace"), limit=120), kind)


def trouble_in(body: dict[str, Any], *, kind: str = "", depth: int = 2) -> Trouble | None:
    """Return what a JSON object says of a failure; None if it says nothing."""
    code = word(body.get("code"))
    kind = word(body.get("error_type")) or kind or ("" if code in _FINE_CODES else code)
    named = {name.lower(): value for name, value in body.items()}
    found = (_read(named.get(name), kind, depth) for name in _TEXTS)
    return next((trouble for trouble in found if trouble is not None), None)


def reports_failure(body: dict[str, Any]) -> bool:
    """Return True if an object says that the request failed, whatever its HTTP status."""
    named = {name.lower(): value for name, value in body.items()}
    if says_no(named.get("success")) or says_no(named.get("ok")):
        return True
    errors = {str(named.get(name)).strip().lower() for name in ("error", "errors")}
    if errors - _NO_ERROR:
        return True
    status = named.get("status")
    if isinstance(status, int) and 400 <= status <= 599:
        return True
    codes = (named[name] for name in _CODES if name in named)
    code = next((c for c in codes if isinstance(c, int | str) and not isinstance(c, bool)), None)
    return code not in _FINE_CODES and not named.get("data")


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
        code = word(value.get("code")) or word(value.get("error")) or word(value.get("type"))
        texts = (value.get(name) for name in ("message", "msg", "localized_message"))
        text = next((text for text in texts if isinstance(text, str) and text.strip()), code)
        found = _read_text(text, code or kind, depth)
        return Trouble(found.text, found.kind, found.field or word(value.get("param")))
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
    """Read one entry of fal's list, in the words of pydantic."""
    place, context = item.get("loc"), item.get("ctx")
    names = [part for part in place if isinstance(part, str)] if isinstance(place, list) else []
    names = [name for name in names if name != "body"]
    expected = context.get("expected") if isinstance(context, dict) else None
    if isinstance(expected, list):
        expected = ", ".join(str(word) for word in expected[:40] if isinstance(word, str | int))
    return Trouble(
        text=word(item.get("msg") or item.get("message"), limit=_MAX_TEXT),
        kind=word(item.get("type")) or kind,
        field=word(names[-1]) if names else "",
        expected=word(expected, limit=200),
    )


def word(value: object, *, limit: int = 60) -> str:
    """Return a text as one line, and "" for anything else."""
    return one_line(value, limit=limit) if isinstance(value, str) else ""


# -------------------------------------------------------------------------- the error that it means


def failure(
    answer: Answer,
    *,
    model: str,
    account: Account,
    ticket: "Ticket | None" = None,
    otherwise: int = 400,
) -> ImagenError:
    """Return the error that a failing answer means, with the remedy and whether it may be billed.

    Without a ticket no job exists yet, and nothing is billed. A failure that came with 200 has the
    status that it names itself, or `otherwise`.
    """
    status = (own_status(answer) or otherwise) if answer.ok else answer.status
    error = _meaning(answer, status, model, account, ticket)
    if ticket is None or answer.headers.get("x-fal-billable-units", "").strip() in {"0", "0.0"}:
        error.billed = False
    return error


def own_status(answer: Answer) -> int | None:
    """Return the HTTP status of a failure that an answer names inside; None if it names none."""
    body = answer.mapping or {}
    error = body.get("error")
    inner = error if isinstance(error, dict) else {}
    codes = (body.get("status_code"), body.get("code"), inner.get("code"), inner.get("status"))
    numbers = (as_number(code) for code in (*codes, body.get("status")))
    return next((n for n in numbers if isinstance(n, int) and 400 <= n <= 599), None)


def _meaning(
    answer: Answer, status: int, model: str, account: Account, ticket: "Ticket | None"
) -> ImagenError:
    trouble, title, is_page = read_trouble(answer), account.title, answer.is_page
    kind = trouble.kind
    if kind in _CANCELLED or status == 499:
        return cancelled(ticket)
    if kind in _REFUSED_CONTENT:
        again = "; running the same again sometimes works" if kind == "no_media_generated" else ""
        return ContentRejected(
            f"The content checker refused: {trouble.text or kind}",
            remedy=f"Rephrase the prompt{again}.",
            ticket=ticket,
            billed=True,
        )
    gone = status == 410 or (status == 404 and not is_page)
    if (gone and ticket is None) or kind in RETIRED:  # of a job it may be the result
        return retired(model, trouble.text, account, ticket)
    if trouble.is_of_service and ticket is not None:
        return service_failed(trouble, ticket)
    says, text = f": {trouble.text}" if trouble.text else ".", trouble.text.lower()
    named = kind.lower() if status == 400 else f"{kind.lower()} {text}"
    money = any(word in named for word in _MONEY) or any(words in text for words in _NO_MONEY)
    if status in {401, 402, 403} or (money and status in {400, 429}):
        return _credentials(says, account, ticket, money=money and status != 401)
    if status in {400, 413, 422} and not is_page:
        return _invalid(trouble, model, status, ticket)
    if status >= 500 and not is_page:
        return service_failed(trouble, ticket, status=status)
    if status == 429:
        what = f"{title} is asked too often{says}"
        before = "Wait a minute and run it again; nothing was accepted."
        after = "Wait a minute, then fetch it with %imagen_resume."
    elif 300 <= status < 400:
        what = f"{title} wants to send the request elsewhere (HTTP {status}); that is not done."
        before = after = "Set IMAGEN_BASE_URL to the gateway's final address."
    else:
        what = f"{title} answered HTTP {status}{says}"
        before = "Check IMAGEN_BASE_URL and the model; nothing was accepted."
        after = "Fetch the job later with %imagen_resume; nothing is paid again."
    return QueueError(what, remedy=before if ticket is None else after, ticket=ticket)


def _credentials(
    says: str, account: Account, ticket: "Ticket | None", *, money: bool
) -> CredentialsError:
    title, variable = account.title, next(iter(account.key_variables), "the key")
    what = f"{title} refused the key{says}"
    remedy = f"Check {variable}: it must be a key of {title} that may use this model."
    if money:
        what = f"The balance at {title} is spent or the account is locked{says}"
        remedy = f"Top up at {title}."
    again = "" if ticket is None else " Then fetch the job with %imagen_resume."
    return CredentialsError(what, remedy=remedy + again, ticket=ticket)


def _invalid(trouble: Trouble, model: str, status: int, ticket: "Ticket | None") -> ImagenError:
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


def cancelled(ticket: "Ticket | None") -> CancelledAtProvider:
    return CancelledAtProvider("The job was cancelled at the provider.", ticket=ticket)


def service_failed(
    trouble: Trouble, ticket: "Ticket | None", *, status: int = 0
) -> GenerationFailed:
    kind = trouble.kind or (f"HTTP {status}" if status else "")
    says = trouble.text or "no reason was given"
    return GenerationFailed(
        f"The job failed at the provider{f' ({kind})' if kind else ''}: {says}",
        remedy="Failures of the service are not billed; run it again.",
        ticket=ticket,
    )


def retired(
    model: str, says: str, account: Account, ticket: "Ticket | None" = None
) -> ModelRetired:
    """Return the error for a model that is gone, which names the successor served here."""
    catalogue, default = Catalogue(None), account.default_model
    known = [found for name in (model, default) if (found := catalogue.known(name)) is not None]
    served = [name for found in known if (name := found.successor_at(account.name))]
    successor = next(iter(served), short_name(default))
    use = f"Use {successor} instead: -m {successor} (model={successor!r})."
    if successor == short_name(model):
        use = "%imagen_models shows others; IMAGEN_MODEL sets the default."
    what = f"{model} is not served here{f': {says}' if says else '.'}"
    return ModelRetired(what, remedy=use, ticket=ticket)


def unreachable(base_url: str, reason: str) -> QueueError:
    return QueueError(
        f"{base_url} cannot be reached: {reason}",
        remedy="Nothing was sent. Check the network, HTTPS_PROXY and IMAGEN_BASE_URL.",
    )


def uncertain(account: Account, reason: str, ticket: "Ticket | None" = None) -> SubmitUncertain:
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


def all_filtered(ticket: "Ticket | None", *, billed: bool) -> ContentRejected:
    return ContentRejected(
        "The job finished without a picture: all of them were filtered by the provider.",
        remedy="Rephrase the prompt; running the same again sometimes works.",
        ticket=ticket,
        billed=billed,
    )
