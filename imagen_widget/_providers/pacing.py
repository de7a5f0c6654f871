"""When to ask again: Retry-After, backoff, the retry budget, and the pace of polls.

Nothing here does I/O or reads a clock; times are given and seconds are returned.
"""

import email.utils
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_RETRY_AFTER_SECONDS = 120.0
MAX_POLL_SECONDS = 2.0

_FIRST_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 8.0
_QUEUE_POLL_SECONDS = 1.0  # the position should look current
_GROWTH = 0.015  # of the time that a job has run is waited between two polls
_EARLY_SHARE = 10  # one job in so many is quicker than when it is first expected
_EARLY_MARGIN = 0.9
_UNKNOWN_SHARE = 0.25  # of a guessed time, before which a job is not expected
_MIN_OBSERVATIONS = 5
_MAX_UNSLOWED_JOBS = 25  # so many at once may each be asked for as if it were alone


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return how many seconds the server asks to wait, at most 120; None if it does not say.

    Seconds, milliseconds and, by `now` in Unix seconds, HTTP dates are understood.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        seconds = _number(text, unit) if text else None
        if seconds is None and text and unit == 1.0:
            seconds = _date(text, now)
        if seconds is not None:
            return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
    return None


def _number(text: str, unit: float) -> float | None:
    try:
        seconds = float(text) / unit
    except ValueError:
        return None
    return None if math.isnan(seconds) else seconds


def _date(text: str, now: float) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - now
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def backoff(attempt: int, *, chance: float) -> float:
    """Return the seconds before retry number `attempt` (from 0); `chance` is from 0 to 1."""
    ceiling = min(_FIRST_BACKOFF_SECONDS * 2.0 ** min(attempt, 10), _MAX_BACKOFF_SECONDS)
    return ceiling * (0.25 + 0.75 * chance)


class RetryBudget:
    """A shared allowance, so that many jobs do not storm a service that is already sick.

    A retry takes from it, a success gives back; an empty budget slows retries down to the longest
    backoff instead of ending jobs that are paid for.
    """

    def __init__(self, *, tokens: float = 60.0, cost: float = 5.0) -> None:
        self._most = tokens
        self._tokens = tokens
        self._cost = cost

    def delay(self, attempt: int, *, chance: float) -> float:
        """Take one retry and return the seconds to wait before it."""
        if self._tokens < self._cost:
            return _MAX_BACKOFF_SECONDS * (1.0 + chance)
        self._tokens -= self._cost
        return backoff(attempt, chance=chance)

    def succeeded(self) -> None:
        """Give a little back after an answer without trouble."""
        self._tokens = min(self._tokens + 1.0, self._most)


@dataclass(frozen=True, slots=True)
class PollPace:
    """How long to wait before the next status request, by how long the job has run.

    Before a job can be expected the wait is half of the time until then; after that it is a small
    share of the time that it has run, so that a late job is asked for ever less often.

    Attributes:
        usual: Seconds that half of the jobs take at the most, as known or guessed.
        expected: Seconds before which a job is hardly ever done.
        shortest: Seconds; metered gateways count calls.
    """

    usual: float
    expected: float
    shortest: float

    @classmethod
    def learn(cls, observed: Sequence[float], *, guess: float, shortest: float) -> "PollPace":
        """Return the pace for a model with these observed service times in seconds."""
        times = sorted(seconds for seconds in observed if seconds > 0.0)
        if len(times) < _MIN_OBSERVATIONS:
            return cls(guess, guess * _UNKNOWN_SHARE, shortest)
        early = times[len(times) // _EARLY_SHARE]
        return cls(times[len(times) // 2], early * _EARLY_MARGIN, shortest)

    def next_seconds(self, running: float | None, *, chance: float, jobs: int = 1) -> float:
        """Return the seconds to wait before the next status request.

        Args:
            running: Seconds since the job was first seen to run; None while it is queued.
            chance: A random number from 0 to 1; spreads many jobs by 10 % to either side.
            jobs: How many are watched at once; the more, the less often each is asked for.
        """
        least = self.shortest * max(1.0, jobs / _MAX_UNSLOWED_JOBS)
        if running is None:
            ideal = min(self.usual / 2, _QUEUE_POLL_SECONDS)
        else:
            ideal = max((self.expected - running) / 2, _GROWTH * running)
        return max(min(ideal, MAX_POLL_SECONDS), least) * (0.9 + 0.2 * chance)
