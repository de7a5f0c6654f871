"""An exception as the error box shows it: what happened, what to do, whether Retry helps."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from imagen_widget._panel._events import Troubled
from imagen_widget._panel._state import Trouble
from imagen_widget.errors import (
    CredentialsError,
    GenerationFailed,
    ImagenError,
    JournalError,
    QueueError,
    SubmitUncertain,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagen_widget._panel._pump import Pump
    from imagen_widget._request import ImageRequest

_WORTH_ANOTHER_TRY = (CredentialsError, GenerationFailed, JournalError)
_log = logging.getLogger("imagen_widget")


def trouble_of(error: Exception, request: ImageRequest | None = None) -> Trouble:
    """Return what the error box says.

    Retry is offered only where nothing can have been paid for: not when the submit may have been
    accepted, nor when the work can still be fetched.
    """
    if not isinstance(error, ImagenError):
        _log.error("Something failed inside imagen_widget.", exc_info=error)
        return Trouble(
            f"Something failed inside imagen_widget ({type(error).__name__}).",
            "The log has the details; what was paid for stays in the history.",
        )
    return Trouble(error.message, error.remedy, request if _costs_nothing_twice(error) else None)


def _costs_nothing_twice(error: ImagenError) -> bool:
    match error:
        case SubmitUncertain():
            return False
        case QueueError(ticket=ticket):
            return ticket is None
        case _:
            return isinstance(error, _WORTH_ANOTHER_TRY)


def guarded(pump: Pump, action: Callable[[], None]) -> None:
    """Call `action`; what it raises becomes the error box, for it has no cell to go to."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - every error is shown, whatever it is
        pump.tell(Troubled(trouble_of(error)))
