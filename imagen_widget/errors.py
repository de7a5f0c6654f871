"""What can go wrong, as one tree of exceptions with one readable line each.

Every message says what happened and ends with the remedy. No error holds headers or a key, and
none echoes the prompt: error texts are stored in notebooks that people share.

    ImagenError                       anything that this package raises on purpose
      CredentialsError                no key, a refused key, or an empty balance
      InvalidRequest (ValueError)     a field that the model does not take, here or by a 422
      ModelRetired                    the endpoint is gone; names its successor
      ContentRejected                 the content checker refused, in its own words
      QueueError                      network or service failed; the job may still be fetched
        SubmitUncertain               the submit may have been accepted; never sent again
        QueueTimeout (TimeoutError)   the deadline passed; the job goes on at the provider
        ResultExpired                 the provider no longer has the job, or never had it
      GenerationFailed                the job ended with an error, in its own words
        CancelledAtProvider           it was cancelled there; not billed
      JobCancelled (CancelledError)   the job was cancelled; says whether in time
      BudgetExceeded                  the spend cap would be passed; nothing was sent
      SeriesStopped                   too many rows failed; jobs under way are still fetched
      JournalError                    the journal cannot be written or read; nothing was sent
"""

import re
import sys
import traceback
from concurrent.futures import CancelledError
from typing import Any

__all__ = ["BudgetExceeded", "CancelledAtProvider", "ContentRejected", "CredentialsError"]
__all__ += ["GenerationFailed", "ImagenError", "InvalidRequest", "JobCancelled", "JournalError"]
__all__ += ["ModelRetired", "QueueError", "QueueTimeout", "ResultExpired", "SeriesStopped"]
__all__ += ["SubmitUncertain"]

_MAX_LINE = 600
_MAX_ID = 40  # a UUID, and what gateways make of one, is shown whole
_ENDS = ".!?:…\u3002\uff01\uff1f"  # the last three end Chinese sentences


def one_line(text: str, *, limit: int = _MAX_LINE) -> str:
    """Return `text` as one printable line of at most `limit` characters.

    Server texts go through here, so that a page of HTML or a terminal escape in an error body
    cannot reach a cell.
    """
    line = text[: 4 * limit]
    if not line.isprintable():
        line = "".join(c if c.isprintable() else " " for c in line)
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def word(value: object, *, limit: int = 60) -> str:
    """Return a text of somebody else's as one line, and "" for anything else."""
    return one_line(value, limit=limit) if isinstance(value, str) else ""


def shown(value: object) -> str:
    """Return the beginning of a value as Python writes it, whatever the value is."""
    try:
        return repr(value[:40]) if isinstance(value, str) else repr(value)[:40]
    except Exception:  # noqa: BLE001 - an integer of too many digits, or a repr of somebody else's
        return f"a value of type {type(value).__name__}"


def short_id(request_id: str) -> str:
    """Return a request id as people read it: the middle of a long one, as the demo's, left out."""
    if len(request_id) <= _MAX_ID:
        return request_id
    return f"{request_id[:8]}…{request_id[-8:]}"


def a_type(value: object) -> str:
    """Return the type of a value with its article: `an int`, `a list`."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def check_type(field: str, value: object, kind: type, wanted: str, remedy: str = "") -> None:
    """Refuse a value of another type than `kind`, which the message calls `wanted`."""
    if not isinstance(value, kind):
        what = f"it is {a_type(value)}, not {wanted}"
        raise invalid(field, what, remedy or f"Give {wanted}.")


def plural(count: int, word: str) -> str:
    """Return a count with its word: `1 row`, `1,200 rows`, `3 cities`; `2 n` as it is."""
    if count != 1 and len(word) > 2 and not word.endswith("s"):
        word = re.sub(r"(?<=[^aeiou])y$", "ie", word) + "s"
    return f"{count:,} {word}"


class ImagenError(Exception):
    """Anything that this package raises on purpose: one line in a notebook, all of it with %tb.

    Attributes:
        message: What happened.
        remedy: What to do about it; may be empty.
        field: The name of the field that is not valid, if one is; else None.
        ticket: The `Ticket` of the job if the pictures can still be fetched, else None.
        request_id: The provider's id of the job; None if unknown.
        billed: Whether the provider may charge for what failed.
    """

    billed: bool = False

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        field: str | None = None,
        ticket: Any = None,
        billed: bool | None = None,
    ) -> None:
        line = one_line(message)
        self.message = f"{line}." if line and line[-1] not in _ENDS else line
        self.remedy, self.field, self.ticket = one_line(remedy), field, ticket
        if billed is not None:
            self.billed = billed
        super().__init__(str(self))  # copies and pickles are made of it, and then get the rest

    def __str__(self) -> str:
        return " ".join(part for part in (self.message, self.remedy) if part)

    @property
    def request_id(self) -> str | None:
        """The provider's id of the job, or None."""
        return getattr(self.ticket, "request_id", None)

    def _render_traceback_(self) -> list[str]:
        """Give IPython one line, and the whole trace to a user who asks with %tb."""
        callers = traceback.walk_stack(sys._getframe())
        if any(frame.f_code.co_qualname == "ExecutionMagics.tb" for frame, _ in callers):
            return traceback.format_exception(self)
        return [f"{type(self).__name__}: {self}"]


class CredentialsError(ImagenError):
    """There is no key, the provider refused it (401, 403), or the balance is spent."""


class InvalidRequest(ImagenError, ValueError):
    """A field or value that the model does not take, refused here or by the provider (422)."""


def invalid(field: str, what: str, remedy: str) -> InvalidRequest:
    """Return the error of a field whose value cannot be used."""
    return InvalidRequest(f"{field[:60]}: {what}", remedy=remedy, field=field)


class ModelRetired(ImagenError):
    """The endpoint answers 404 or 410: it is gone; the message names the successor.

    Attributes:
        successor: The alias of the model to use instead; empty if unknown.
    """

    successor: str = ""


class ContentRejected(ImagenError):
    """The content checker refused the prompt or the picture."""


class QueueError(ImagenError):
    """The network or the service failed; with a `ticket` the work can still be fetched."""


class SubmitUncertain(QueueError):
    """The submit may have been accepted and billed; it is never sent again automatically."""

    billed = True


class QueueTimeout(QueueError, TimeoutError):
    """The deadline passed; the job goes on at the provider and can be fetched later."""

    billed = True


class ResultExpired(QueueError):
    """The provider no longer has the job, or never had it."""

    billed = True


class GenerationFailed(ImagenError):
    """The job finished with an error instead of a picture."""


class CancelledAtProvider(GenerationFailed):
    """The job ended because it was cancelled at the provider; it is not billed."""


class JobCancelled(ImagenError, CancelledError):
    """The job was cancelled; the message says what the provider confirmed."""


class BudgetExceeded(ImagenError):
    """The request would pass the spend cap; nothing was sent."""


class SeriesStopped(ImagenError):
    """More rows of a series failed than allowed; rows that were sent have been fetched."""


class JournalError(ImagenError):
    """The journal of paid jobs cannot be used; without it nothing is sent."""
