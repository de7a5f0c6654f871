"""The demo queue's state: pure data over a clock, moved on only when somebody asks.

Nothing runs in the background. A job starts when it is ready and a slot is free; both
moments follow from what was submitted, so any later look computes them exactly.
"""

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass

from ._behaviour import Behaviour, Outcome
from ._models import Json, Order

# A job with one request in front takes exactly the told seconds: 2 x 0.15 + 0.7.
_STEP_SHARE = 0.15
_RUN_SHARE = 0.7
_KEEP_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a job's log; `at` is a moment of the queue's clock, in seconds."""

    message: str
    at: float
    level: str = "INFO"


@dataclass(frozen=True, slots=True)
class Queued:
    """Waiting, with so many requests in front."""

    position: int


@dataclass(frozen=True, slots=True)
class Running:
    """At work, with what it has said so far."""

    logs: tuple[LogLine, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """Over, well or badly; `seconds` of work, None if there was none."""

    logs: tuple[LogLine, ...]
    seconds: float | None
    error: str | None = None
    error_type: str | None = None


State = Queued | Running | Finished


def log_of(state: State) -> tuple[LogLine, ...]:
    """What a job has said so far."""
    return () if isinstance(state, Queued) else state.logs


@dataclass(kw_only=True, slots=True, eq=False)
class Job:
    """One accepted request. Only the queue writes its moments, all in the clock's seconds."""

    request_id: str
    app: str
    route: str
    payload: Json
    order: Order | None
    """None when the input is bad: the job runs all the same and its result says why."""
    behaviour: Behaviour
    number: int
    submitted: float
    ready: float
    run_seconds: float
    started: float | None = None
    cancelled: float | None = None

    @property
    def turn(self) -> tuple[float, int]:
        """The order in which jobs start."""
        return self.ready, self.number

    @property
    def files(self) -> list[str]:
        """The names of the pictures that it makes."""
        if self.order is None:
            return []
        count = max(0, self.order.count - self.behaviour.withheld)
        return [f"{number}.{self.order.format}" for number in range(count)]

    @property
    def end(self) -> float:
        """When it is over; infinity while that depends on others."""
        if self.cancelled is not None:
            return self.cancelled
        return math.inf if self.started is None else self.started + self.run_seconds


class DemoQueue:
    """Jobs, slots and a clock."""

    def __init__(self, *, clock: Callable[[], float], slots: int, seconds: float) -> None:
        """Make an empty queue in which `slots` jobs can be at work at once."""
        if slots < 1:
            message = f"A queue needs at least one slot, not {slots}."
            raise ValueError(message)
        self._clock = clock
        self._seconds = seconds
        self._jobs: dict[str, Job] = {}
        self._waiting: list[Job] = []
        self._free_at = [-math.inf] * slots
        self.accepted = 0

    @property
    def waiting(self) -> int:
        """How many jobs have not started."""
        self._advance()
        return len(self._waiting)

    @property
    def paid_jobs(self) -> int:
        """How many kept jobs have made, or will make, pictures that are paid for."""
        return sum(
            job.cancelled is None
            and job.order is not None
            and job.behaviour.outcome is Outcome.PICTURES
            for job in self._jobs.values()
        )

    def submit(
        self,
        request_id: str,
        *,
        app: str,
        route: str,
        payload: Json,
        order: Order | None,
        behaviour: Behaviour,
    ) -> Job:
        """Accept a job."""
        now = self._advance()
        self._forget_old(now)
        seconds = self._seconds if behaviour.seconds is None else behaviour.seconds
        job = Job(
            request_id=request_id,
            app=app,
            route=route,
            payload=payload,
            order=order,
            behaviour=behaviour,
            number=self.accepted,
            submitted=now,
            ready=now + seconds * _STEP_SHARE * (behaviour.ahead + 1),
            run_seconds=seconds * _RUN_SHARE,
        )
        self.accepted += 1
        self._jobs[request_id] = job
        insort(self._waiting, job, key=_turn)
        return job

    def find(self, request_id: str) -> Job | None:
        """The job of that id, if it is known and not yet forgotten."""
        return self._jobs.get(request_id)

    def position_at_submit(self, job: Job) -> int:
        """What the ticket says: every ticket is in the queue, however fast the job will be."""
        return job.behaviour.ahead + self._in_front(job)

    def look(self, job: Job) -> State:
        """The job's state at this moment."""
        now = self._advance()
        if now >= job.end:
            return _finished(job)
        if job.started is None:
            return Queued(_strangers(job, now) + self._in_front(job))
        return Running(_logs(job, until=now))

    def cancel(self, job: Job) -> bool:
        """Cancel a job, unless it is stubborn; False if it is over already."""
        now = self._advance()
        if now >= job.end:
            return False
        if job.behaviour.stubborn:
            return True
        if job.started is None:
            del self._waiting[bisect_left(self._waiting, job.turn, key=_turn)]
        else:
            self._free_at[self._free_at.index(job.end)] = now
            heapq.heapify(self._free_at)
        job.cancelled = now
        return True

    def seconds_to_change(self, job: Job) -> float:
        """How long until the job's state can change, if nobody submits or cancels."""
        now = self._advance()
        if job.started is None:
            moments = [*_steps(job), job.ready, self._free_at[0]]
        else:
            moments = [*(line.at for line in _logs(job, until=job.end)), job.end]
        return min((moment - now for moment in moments if moment > now), default=0.0)

    def _advance(self) -> float:
        """Start every job whose moment has come, at that moment; the present time."""
        now = self._clock()
        while self._waiting:
            start = max(self._waiting[0].ready, self._free_at[0])
            if start > now:
                break
            job = self._waiting.pop(0)
            job.started = start
            heapq.heapreplace(self._free_at, job.end)
        return now

    def _in_front(self, job: Job) -> int:
        return bisect_left(self._waiting, job.turn, key=_turn)

    def _forget_old(self, now: float) -> None:
        while self._jobs:
            oldest = next(iter(self._jobs.values()))
            if oldest.end + _KEEP_SECONDS > now:
                return
            del self._jobs[oldest.request_id]


def _turn(job: Job) -> tuple[float, int]:
    return job.turn


def _steps(job: Job) -> list[float]:
    """The moments at which a stranger's request in front goes away."""
    step = (job.ready - job.submitted) / (job.behaviour.ahead + 1)
    return [job.submitted + step * number for number in range(1, job.behaviour.ahead + 1)]


def _strangers(job: Job, now: float) -> int:
    return sum(moment > now for moment in _steps(job))


def _finished(job: Job) -> Finished:
    logs = _logs(job, until=job.end)
    if job.cancelled is not None:
        worked = None if job.started is None else job.cancelled - job.started
        return Finished(logs, worked, "Request was cancelled by the client", "client_cancelled")
    if job.order is not None and job.behaviour.outcome is Outcome.FAILED:
        message = "Runner disconnected while processing the request"
        return Finished(logs, None, message, "runner_disconnected")
    return Finished(logs, job.run_seconds)


def _logs(job: Job, *, until: float) -> tuple[LogLine, ...]:
    if job.started is None:
        return ()
    count = job.order.count if job.order else 0
    lines = [
        LogLine(f"The demo knows no word '{word}'", job.started, "WARN")
        for word in job.behaviour.unknown_words
    ]
    if count:
        lines.append(LogLine(f"Generating {count} image(s)", job.started))
    for number in range(1, count + 1):
        moment = job.started + job.run_seconds * number / (count + 1)
        lines.append(LogLine(f"Image {number} of {count}", moment))
    return tuple(line for line in lines if line.at <= until)
