"""The tests' one provider: fal's queue protocol and OpenAI's image routes, with a log and a bill.

What is accepted is billed, whether or not its answer arrives: that count is what no client may
raise twice for one wish. It imports nothing of the package, so that agreement is evidence.

    queue = FakeQueue(polls=2)                            # IN_PROGRESS twice, then COMPLETED
    queue.script("submit", Break.LOST_ANSWER)             # the next submit, then as usual again
    queue.always("status", Reply(401, {"detail": "no"}))  # until queue.heal()
    ImagenClient(transport=queue.transport())             # front 1: an httpx transport
    with queue.serve() as base_url: ...                   # front 2: a socket on 127.0.0.1
    with queue_process("--faults", "0.25") as other: ...  # the same as a process: other.url

Routes: submit, status, stream, result, cancel, media, schema, generations, edits, facts, other.
"""

from tests.fakequeue.fronts import QueueProcess, queue_process
from tests.fakequeue.pictures import large_png, picture
from tests.fakequeue.queue import (
    GATEWAY,
    TOOK_SECONDS,
    Answered,
    FakeQueue,
    Job,
    seconds_in_prompt,
)
from tests.fakequeue.wire import (
    FAULTS,
    Answer,
    Break,
    Given,
    Received,
    Reply,
    Scripted,
    events,
    openapi,
    page,
)

__all__ = [
    "FAULTS",
    "GATEWAY",
    "TOOK_SECONDS",
    "Answer",
    "Answered",
    "Break",
    "FakeQueue",
    "Given",
    "Job",
    "QueueProcess",
    "Received",
    "Reply",
    "Scripted",
    "events",
    "large_png",
    "openapi",
    "page",
    "picture",
    "queue_process",
    "seconds_in_prompt",
]
