"""When to ask again: Retry-After, backoff, the retry budget, and the polling schedule.

Nothing here does I/O or reads a clock; times are given and seconds are returned.
"""

from __future__ import annotations

import email.utils
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST_RETRY_AFTER_SECONDS = 120.0
LONGEST_POLL_SECONDS = 2.0

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 8.0
_QUEUE_POLL_SECONDS = 1.0  # the position should look alive
_REQUEST_PRICE = 0.01  # seconds of delay that one status request is worth
_PRIOR_SPREAD = 0.35  # sigma of the logarithm of a service time, before anything was observed
_LEAST_SPREAD = 0.08
_ENOUGH_OBSERVATIONS = 5


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

    The service time is taken as lognormal. With hazard h, waiting sqrt(2k / h) balances the price
    k of a request against the expected delay: rarely while the job cannot be ready, often when it
    is likely.

    Attributes:
        median: Seconds in which half of the jobs are done.
        spread: Sigma of the logarithm of the service time.
        shortest: Seconds; the floor of metered gateways.
    """

    median: float
    spread: float = _PRIOR_SPREAD
    shortest: float = 0.1

    @classmethod
    def learn(cls, observed: Sequence[float], *, prior: float, shortest: float) -> PollSchedule:
        """Return the schedule for a model with these observed service times in seconds."""
        logs = [math.log(seconds) for seconds in observed if seconds > 0.0]
        if len(logs) < _ENOUGH_OBSERVATIONS:
            return cls(max(prior, 0.01), _PRIOR_SPREAD, shortest)
        spread = max(statistics.pstdev(logs), _LEAST_SPREAD)
        return cls(math.exp(statistics.median(logs)), spread, shortest)

    def next_seconds(self, running: float | None, *, chance: float) -> float:
        """Return the seconds to wait before the next status request.

        Args:
            running: Seconds since the job was first seen to run; None while it waits in the queue.
            chance: A random number from 0 to 1; spreads many jobs by 10 % to either side.
        """
        longest = min(self.median / 4, LONGEST_POLL_SECONDS)
        if running is None:
            ideal = min(longest, _QUEUE_POLL_SECONDS)
        else:
            hazard = self._hazard(max(running, 1e-3))
            ideal = math.sqrt(2 * _REQUEST_PRICE / hazard) if hazard > 0 else longest
        return max(min(ideal, longest), self.shortest) * (0.9 + 0.2 * chance)

    def _hazard(self, seconds: float) -> float:
        z = (math.log(seconds) - math.log(self.median)) / self.spread
        survival = 0.5 * math.erfc(z / math.sqrt(2))
        if survival < 1e-12:  # noqa: PLR2004 - far in the tail: like z / (sigma t), its asymptote
            return z / (self.spread * seconds)
        density = math.exp(-z * z / 2) / (seconds * self.spread * math.sqrt(2 * math.pi))
        return density / survival
