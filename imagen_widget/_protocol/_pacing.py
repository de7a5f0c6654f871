"""When to ask again: Retry-After, backoff, the retry budget, and the polling schedule.

Nothing here does I/O or reads a clock; times are given and seconds are returned.
"""

from __future__ import annotations

import email.utils
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST_RETRY_AFTER_SECONDS = 120.0
LONGEST_POLL_SECONDS = 2.0

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 8.0
_QUEUE_POLL_SECONDS = 1.0  # the position should look alive
_REQUEST_PRICE_SECONDS = 0.0035  # of delay, that one status request is worth
_PRIOR_SPREAD = 0.35  # sigma of the logarithm of a service time, before anything was observed
_LEAST_SPREAD = 0.08
_STRANGE_BEFORE, _STRANGE_AFTER = 0.5, 0.03  # jobs that take some other time, by what is known
_STRANGE_SPREAD = 1.0  # sigma of the logarithm of theirs
_ENOUGH_OBSERVATIONS = 5
_FEW_JOBS = 25  # so many at once may each be asked for as if it were alone
_PANELS = 8  # of the integral
_HALVINGS = 8  # a wait is found to 1/256 of the longest


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return how many seconds the server asks to wait, at most 120, or None if it does not say.

    Args:
        headers: Names in lower case; seconds, milliseconds and HTTP dates are understood.
        now: Unix seconds, for dates.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        seconds = _number(text, unit) if text else None
        if seconds is None and text and unit == 1.0:
            seconds = _date(text, now)
        if seconds is not None:
            return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)
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
    """Return the seconds before retry number `attempt` (from 0), by full jitter.

    Args:
        attempt: How many retries there were.
        chance: A random number from 0 to 1.
    """
    ceiling = min(_FIRST_BACKOFF_SECONDS * 2.0 ** min(attempt, 10), _LONGEST_BACKOFF_SECONDS)
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
            return _LONGEST_BACKOFF_SECONDS * (1.0 + chance)
        self._tokens -= self._cost
        return backoff(attempt, chance=chance)

    def succeeded(self) -> None:
        """Give a little back after an answer that was no trouble."""
        self._tokens = min(self._tokens + 1.0, self._most)


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """How long to wait before the next status request, by what is known of a model.

    The service time is taken as lognormal, but for a few jobs of which only the order of magnitude
    is known: a job that is late is then asked for ever less often instead of ever more. Each wait
    is as long as it takes until the delay that is to be expected is worth a request: rarely while
    the job cannot be ready, often when it is likely.

    Attributes:
        median: Seconds in which half of the jobs are done.
        spread: Sigma of the logarithm of the service time.
        shortest: Seconds; the floor of metered gateways.
        strange: The part of the jobs, from 0 to 1, that follow no such rule.
    """

    median: float
    spread: float = _PRIOR_SPREAD
    shortest: float = 0.1
    strange: float = _STRANGE_BEFORE

    @classmethod
    def learn(cls, observed: Sequence[float], *, prior: float, shortest: float) -> PollSchedule:
        """Return the schedule for a model with these observed service times in seconds."""
        logs = sorted(math.log(seconds) for seconds in observed if seconds > 0.0)
        if len(logs) < _ENOUGH_OBSERVATIONS:
            return cls(max(prior, 0.01), shortest=shortest)
        low, middle, high = (logs[round(part * (len(logs) - 1))] for part in (0.16, 0.5, 0.84))
        spread = max((high - low) / 2, _LEAST_SPREAD)  # what a few outliers cannot move
        return cls(math.exp(middle), spread, shortest, _STRANGE_AFTER)

    def next_seconds(self, running: float | None, *, chance: float, crowd: int = 1) -> float:
        """Return the seconds to wait before the next status request.

        Args:
            running: Seconds since the job was first seen to run; None while it waits in the queue.
            chance: A random number from 0 to 1; spreads many jobs by 10 % to either side.
            crowd: How many jobs are watched at once; their requests together stay bearable, since
                each is asked for less often the more there are.
        """
        longest = min(self.median / 2, LONGEST_POLL_SECONDS)
        if running is None:
            ideal = min(longest, _QUEUE_POLL_SECONDS)
        else:
            ideal = self._worth_a_request(
                running, longest, price=_REQUEST_PRICE_SECONDS * max(1.0, crowd / _FEW_JOBS)
            )
        return max(ideal, self.shortest) * (0.9 + 0.2 * chance)

    def _worth_a_request(self, start: float, longest: float, *, price: float) -> float:
        """Return the wait after which the expected delay equals the price of a request."""
        if self._expected_delay(start, longest) <= price:
            return longest
        low, high = 0.0, longest
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._expected_delay(start, middle) < price:
                low = middle
            else:
                high = middle
        return high

    def _expected_delay(self, start: float, wait: float) -> float:
        """Return how long, on average, a job is ready unseen when nobody asks for `wait` seconds.

        That is the integral of the probability to be ready by then, by Simpson's rule.
        """
        alive = self._survival(start)
        if alive <= 0.0:
            return 0.0
        step = wait / _PANELS
        total = 0.0
        for index in range(1, _PANELS + 1):
            weight = 1 if index == _PANELS else 4 if index % 2 else 2
            total += weight * (1.0 - self._survival(start + index * step) / alive)
        return total * step / 3

    def _survival(self, seconds: float) -> float:
        """Return the probability that a job takes longer."""
        if seconds <= 0.0:
            return 1.0
        distance = (math.log(seconds) - math.log(self.median)) / math.sqrt(2)
        usual = math.erfc(distance / self.spread)
        return (
            (1 - self.strange) * usual + self.strange * math.erfc(distance / _STRANGE_SPREAD)
        ) / 2
