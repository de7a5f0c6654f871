"""HTTP answers that mean failure, as one line of the error tree with its remedy.

Nothing here does I/O. Sources: fal's error reference, and the public error middleware of the
gateways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from imagen_widget._catalog import MODELS, find_model, find_provider
from imagen_widget._protocol._trouble import Trouble, read_trouble
from imagen_widget.errors import (
    ContentRejected,
    CredentialsError,
    GenerationFailed,
    ImagenError,
    InvalidRequest,
    ModelRetired,
    QueueError,
)

if TYPE_CHECKING:
    from imagen_widget._protocol._wire import Answer

_REFUSED_CONTENT = frozenset(
    {"content_policy_violation", "moderation_blocked", "content_policy", "no_media_generated"}
)
_RETIRED = frozenset({"EndpointDeprecated", "model_not_found", "endpoint_deprecated"})
_CANCELLED = frozenset({"client_cancelled", "client_disconnected", "request_cancelled"})
SERVICE_KINDS: Final = frozenset(
    {
        "internal_server_error",
        "internal_error",
        "generation_timeout",
        "downstream_service_error",
        "downstream_service_unavailable",
        "request_timeout",
        "startup_timeout",
        "runner_scheduling_failure",
        "runner_connection_timeout",
        "runner_disconnected",
        "runner_connection_refused",
        "runner_connection_error",
        "runner_incomplete_response",
        "runner_server_error",
    }
)
_SPENT_WORDS = ("balance", "quota", "top up", "top_up", "额度", "余额", "locked", "billing")

UNAUTHORIZED: Final = 401
PAYMENT: Final = 402
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
GONE: Final = 410
UNPROCESSABLE: Final = 422
TOO_MANY: Final = 429
CLIENT_CLOSED: Final = 499


class CancelledAtProvider(GenerationFailed):
    """The job ended because it was cancelled; it is not billed."""


class ResultExpired(QueueError):  # noqa: N818 - named like the rest of the error tree
    """The provider no longer knows the job, or never did."""

    billed = True


def failure(answer: Answer, *, endpoint: str, provider: str, ticket: Any = None) -> ImagenError:  # noqa: ANN401 - a Ticket lives one floor above
    """Return the error that a failing answer means, with the remedy and whether it may be billed.

    Args:
        answer: Status 300 or more, or a 2xx whose body reports an error.
        endpoint: The model asked for.
        provider: The provider's name, for the key's variable.
        ticket: The job, where one exists already.
    """
    trouble = read_trouble(answer)
    error = _by_kind(answer, trouble, endpoint, ticket) or _by_status(
        answer, trouble, endpoint, provider, ticket
    )
    units = answer.headers.get("x-fal-billable-units", "").strip()
    if units in {"0", "0.0"}:
        error.billed = False
    return error


def _by_kind(answer: Answer, trouble: Trouble, endpoint: str, ticket: object) -> ImagenError | None:
    if trouble.kind in _CANCELLED or answer.status == CLIENT_CLOSED:
        return CancelledAtProvider("The job was cancelled at the provider.", ticket=ticket)
    if trouble.kind in _REFUSED_CONTENT:
        silent = trouble.kind == "no_media_generated"
        error: ImagenError = ContentRejected(
            f"The content checker refused: {trouble.text or trouble.kind}",
            remedy="Say it another way; running the same again sometimes works."
            if silent
            else "Say it another way.",
            ticket=ticket,
        )
        error.billed = True
        return error
    if trouble.kind in _RETIRED or answer.status == GONE:
        return retired(endpoint, trouble.text, ticket=ticket)
    if answer.status == NOT_FOUND and ticket is None and not answer.is_page:
        return retired(endpoint, trouble.text)
    if trouble.kind in SERVICE_KINDS and ticket is not None:
        return service_failed(trouble, ticket)
    return None


def service_failed(trouble: Trouble, ticket: object, *, status: int = 0) -> GenerationFailed:
    """Return the error for a job that ended because the service failed; that is not billed."""
    kind = trouble.kind or (f"HTTP {status}" if status else "")
    says = trouble.text or "no reason was given"
    return GenerationFailed(
        f"The job failed at the provider{f' ({kind})' if kind else ''}: {says}",
        remedy="Failures of the service are not billed; run it again.",
        ticket=ticket,
    )


def _by_status(
    answer: Answer, trouble: Trouble, endpoint: str, provider: str, ticket: object
) -> ImagenError:
    says = f": {trouble.text}" if trouble.text else "."
    status = answer.status
    spent = status == TOO_MANY and _speaks_of_money(trouble)
    if spent or status in {UNAUTHORIZED, PAYMENT, FORBIDDEN}:
        return _credentials(trouble, provider, status, ticket)
    if status == TOO_MANY:
        return QueueError(
            f"{provider} is asked too often{says}",
            remedy="Wait a minute and run it again; nothing was accepted."
            if ticket is None
            else "Wait a minute, then fetch it with %imagen_resume.",
            ticket=ticket,
        )
    if status in {400, 413, UNPROCESSABLE} and not answer.is_page:
        return _invalid(trouble, endpoint, status, ticket)
    if 300 <= status < 400:  # noqa: PLR2004 - the 3xx class
        return QueueError(
            f"{provider} wants to send the request elsewhere (HTTP {status}); that is not done.",
            remedy="Set IMAGEN_BASE_URL to the gateway's final address.",
            ticket=ticket,
        )
    if status >= 500 and not answer.is_page:  # noqa: PLR2004 - the 5xx class
        return service_failed(trouble, ticket, status=status)
    return QueueError(
        f"{provider} answered HTTP {status}{says}",
        remedy="Check IMAGEN_BASE_URL and the model; nothing was accepted."
        if ticket is None
        else "Fetch the job later with %imagen_resume; nothing is paid again.",
        ticket=ticket,
    )


def _credentials(trouble: Trouble, provider: str, status: int, ticket: object) -> CredentialsError:
    variable = find_provider(provider).key_variable or "the key"
    says = f": {trouble.text}" if trouble.text else f" (HTTP {status})."
    again = " Then fetch the job with %imagen_resume." if ticket is not None else ""
    if status != UNAUTHORIZED and _speaks_of_money(trouble):
        return CredentialsError(
            f"The balance at {provider} is spent or the account is locked{says}",
            remedy=f"Top up at {provider}.{again}",
            ticket=ticket,
        )
    return CredentialsError(
        f"{provider} refused the key{says}",
        remedy=f"Check {variable}: it must be a key of {provider} that may use this model.{again}",
        ticket=ticket,
    )


def _speaks_of_money(trouble: Trouble) -> bool:
    lowered = f"{trouble.text} {trouble.kind}".lower()
    return any(word in lowered for word in _SPENT_WORDS)


def _invalid(trouble: Trouble, endpoint: str, status: int, ticket: object) -> ImagenError:
    says = trouble.text or f"HTTP {status}"
    if trouble.expected and trouble.expected not in says:
        says = f"{says} (allowed: {trouble.expected})"
    where = f"{trouble.field}: " if trouble.field else ""
    return InvalidRequest(
        f"{where}{endpoint} refused the request: {says}",
        remedy="Change the request; %imagen_models shows what each model takes.",
        field=trouble.field or None,
        ticket=ticket,
    )


def retired(endpoint: str, says: str, *, ticket: object = None) -> ModelRetired:
    """Return the error for an endpoint that is gone, which names the successor."""
    model = find_model(endpoint)
    successor = model.successor if model and model.successor else "nano-banana-2"
    names = ", ".join(m.alias for m in MODELS if m.status == "active" and m.alias != successor)
    return ModelRetired(
        f"{endpoint} is not served here{f': {says}' if says else '.'}",
        remedy=f"Use {successor} instead (-m {successor}); others: {names}.",
        ticket=ticket,
    )


def expired(ticket: Any) -> ResultExpired:  # noqa: ANN401 - a Ticket lives one floor above
    """Return the error for a job that its provider does not know (any more)."""
    return ResultExpired(
        f"{ticket.provider} knows no job {ticket.request_id}.",
        remedy="Results are kept for about an hour; look at your usage there, then run it again.",
        ticket=ticket,
    )


def not_proxied(ticket: Any) -> QueueError:  # noqa: ANN401 - a Ticket lives one floor above
    """Return the error for a gateway that answers the result's route with a web page."""
    return QueueError(
        f"{ticket.provider} answers with a web page where the job's result should be "
        f"(request id {ticket.request_id}).",
        remedy="Check IMAGEN_BASE_URL, then fetch the job with %imagen_resume.",
        ticket=ticket,
    )
