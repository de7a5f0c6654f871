"""The status of one demo job as server-sent events."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from . import _wire
from ._models import Json
from ._queue import DemoQueue, Finished, Job, LogLine, log_of

PING_SECONDS = 2.0
# A cancellation or a newcomer can move the next change nearer than it was foreseen.
_LONGEST_PAUSE_SECONDS = 0.25
_SHORTEST_PAUSE_SECONDS = 0.001


async def events(
    queue: DemoQueue,
    job: Job,
    *,
    sleep: Callable[[float], Awaitable[None]],
    show: Callable[[Sequence[LogLine]], list[Json] | None],
) -> AsyncIterator[str]:
    """Tell each change of a job as it happens, log lines once, and end when the job ends."""
    told_lines, told, quiet_seconds = 0, None, 0.0
    while True:
        state = queue.look(job)
        if state != told:
            new = log_of(state)[told_lines:]
            body = json.dumps(_wire.status(job, state, logs=show(new)), separators=(",", ":"))
            yield f"data: {body}\n\n"
            told_lines, told, quiet_seconds = len(log_of(state)), state, 0.0
        if isinstance(state, Finished):
            return
        if quiet_seconds >= PING_SECONDS:
            yield ": ping\n\n"
            quiet_seconds = 0.0
        pause = min(queue.seconds_to_change(job), _LONGEST_PAUSE_SECONDS)
        pause = max(pause, _SHORTEST_PAUSE_SECONDS)
        await sleep(pause)
        quiet_seconds += pause
