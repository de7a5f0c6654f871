"""How a job ends otherwise than with pictures: what is asked of the provider, what is written down.

Only what the provider said of a job closes it. Whatever else went wrong, it is let go of, so that
it can be taken up again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from imagen_widget._client import CancelAnswer
from imagen_widget._protocol._failures import CancelledAtProvider, ResultExpired
from imagen_widget.errors import (
    CredentialsError,
    ImagenError,
    JobCancelled,
    JournalError,
    QueueError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagen_widget._generate._engine import Engine
    from imagen_widget._protocol._ticket import Ticket

_LEAVE_SECONDS = 4.0


async def settle(engine: Engine, job_id: str, error: ImagenError) -> None:
    """Write down what an error means for the job: over, or still to be had."""
    journal, note_down = engine.journal, engine.note_down
    match error:
        case JobCancelled():  # written down where it was raised
            return
        case CancelledAtProvider():
            await note_down(journal.cancelled, job_id)
        case ResultExpired():
            await note_down(journal.expired, job_id)
        case QueueError() | CredentialsError() | JournalError():
            await note_down(journal.release, job_id)
        case _:
            await note_down(journal.failed, job_id, str(error), billed=error.billed)


async def ask_cancel(
    engine: Engine, job_id: str, ticket: Ticket, *, step: Callable[[str], None]
) -> CancelAnswer:
    """Ask the provider to cancel, whatever goes on around it, and return what it said."""
    with anyio.CancelScope(shield=True):
        answer = await engine.client.request_cancel(ticket)
        step("cancel asked")
        if answer is CancelAnswer.CONFIRMED:
            await engine.note_down(engine.journal.cancelled, job_id)
    return answer


async def leave(
    engine: Engine,
    job_id: str,
    ticket: Ticket,
    *,
    cancels: bool,
    step: Callable[[str], None],
) -> None:
    """Let go of a job as the loop ends; a cancellation that was asked for still goes out."""
    with anyio.move_on_after(_LEAVE_SECONDS, shield=True):
        if cancels:
            await ask_cancel(engine, job_id, ticket, step=step)
    await engine.note_down(engine.journal.release, job_id)


def unconfirmed(what: str, ticket: Ticket) -> str:
    """Return the line for a cancellation of which nobody knows whether it came in time."""
    return (
        f"{what}; the job (request id {ticket.request_id}) may still finish and be billed. "
        "Fetch it with %imagen_resume."
    )
