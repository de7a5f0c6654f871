"""The one step that costs money: a job written down is sent once, and its ticket is kept.

Whatever comes of it is in the journal before anything else happens: a ticket, a refusal, or that
nobody knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from imagen_widget._generate._progress import Submitting
from imagen_widget.errors import ImagenError, JournalError, SubmitUncertain

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagen_widget._generate._engine import Engine
    from imagen_widget._generate._progress import Event
    from imagen_widget._protocol._ticket import Ticket
    from imagen_widget._request import ImageRequest


async def submit_once(
    engine: Engine,
    request: ImageRequest,
    job_id: str,
    *,
    scope: anyio.CancelScope,
    lease_seconds: float,
    report: Callable[[Event], None],
    step: Callable[[str], None],
) -> Ticket | None:
    """Send a job that the journal has as an intent, and return its ticket.

    Args:
        engine: Whose client sends, and whose journal keeps.
        request: What is asked.
        job_id: The journal's id of the job.
        scope: Cancelled by whoever gives the job up; a POST that is out is waited for even so.
        lease_seconds: How long the job is ours alone, from the ticket on.
        report: Called with `Submitting` when the request goes out next.
        step: Called with the name of each point at which a crash must lose nothing.

    Returns:
        The ticket, or None where the job was given up before it was accepted.

    Raises:
        SubmitUncertain: It may have been accepted; the journal has it as unknown.
        ImagenError: It was refused or never arrived; the journal has it as failed.
    """
    ticket = None
    try:
        with scope:
            async with engine.submits:
                await engine.record(engine.journal.submitting, job_id)
                report(Submitting())
                step("submitting")
                ticket = await engine.client.submit(request)
    except SubmitUncertain as error:
        await _keep_uncertain(engine, job_id, error, lease_seconds)
        raise
    except ImagenError as error:
        await engine.note_down(engine.journal.refuse, job_id, str(error))
        raise
    except anyio.get_cancelled_exc_class():  # the loop is ending; a POST that was out is answered
        await engine.note_down(engine.journal.cancelled, job_id)
        raise
    except BaseException as error:
        await engine.note_down(engine.journal.unknown, job_id, type(error).__name__)
        raise
    if ticket is None:
        await engine.note_down(engine.journal.cancelled, job_id)
        return None
    step("answered")
    await _promise(engine, job_id, ticket, lease_seconds)
    step("promised")
    return ticket


async def _promise(engine: Engine, job_id: str, ticket: Ticket, lease_seconds: float) -> None:
    """Keep the ticket: from here on the job can be taken up by anybody."""
    journal = engine.journal
    with anyio.CancelScope(shield=True):
        try:
            await engine.record(
                journal.promise,
                job_id,
                ticket.to_json(),
                ticket.request_id,
                seconds=lease_seconds,
            )
        except JournalError as error:
            raise JournalError(
                f"The provider accepted the job (request id {ticket.request_id}), and it may be "
                f"billed; but it could not be written down: {error.message}",
                remedy=error.remedy,
                ticket=ticket,
            ) from None


async def _keep_uncertain(
    engine: Engine, job_id: str, error: SubmitUncertain, lease_seconds: float
) -> None:
    if error.ticket is None:
        await engine.note_down(engine.journal.unknown, job_id, str(error))
        return
    await _promise(engine, job_id, error.ticket, lease_seconds)  # the failure named the job
    await engine.note_down(engine.journal.release, job_id)
