"""What is measured on the server: the works, and the goals that they are held against."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.trial import Trial, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SPREAD = 0.35  # sigma of the logarithm of a service time around 8 s
KNOWN_SPREAD = 0.11  # of Imagen 4 fast, as reported: half in 4.8 s, 95 % in 5.7 s
MILLISECONDS = 1e3
MEGABYTES = 1e-6


@dataclass(frozen=True)
class Goal:
    """One line of the goals' table.

    Attributes:
        what: What is compared.
        ours: Who is measured.
        rival: Who it is measured against.
        figure: From all trials of one contender to the figure.
        unit: What the figure counts, and by how much it is multiplied for reading.
        most: The ratio to reach.
    """

    what: str
    ours: str
    rival: str
    figure: Callable[[Sequence[Trial]], float]
    unit: tuple[str, float]
    most: float


@dataclass(frozen=True)
class Workload:
    """A work, how often it is tried, by whom, and what it is held against."""

    work: Work
    trials: int
    contenders: tuple[str, ...]
    goals: tuple[Goal, ...]


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value below which a part of all values lies; NaN where there are none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else math.nan


def delay(part: float) -> Callable[[Sequence[Trial]], float]:
    """Return the figure: seconds from ready to known, within which a part of the jobs was."""
    return lambda trials: quantile([d for trial in trials for d in trial.delays], part)


def _mean_delay(trials: Sequence[Trial]) -> float:
    return statistics.fmean(d for trial in trials for d in trial.delays)


def _requests(trials: Sequence[Trial]) -> float:
    return statistics.median(trial.requests for trial in trials)


def _polls(trials: Sequence[Trial]) -> float:
    return statistics.median(trial.polls for trial in trials)


def _cpu(trials: Sequence[Trial]) -> float:
    return statistics.median(trial.cpu_seconds for trial in trials)


def _memory(trials: Sequence[Trial]) -> float:
    return statistics.median(trial.peak_bytes for trial in trials)


_MS, _MB, _COUNT = ("ms", MILLISECONDS), ("MB", MEGABYTES), ("", 1.0)
_FAL, _RAW, _OURS, _POLLING = "fal-client", "raw", "ours", "ours, polling"
_CLIENT = "ours, client only"
_ALL = (_FAL, _RAW, _OURS, _CLIENT)


def _lognormal(count: int, *, median: float, spread: float, seed: int) -> tuple[float, ...]:
    chance = random.Random(seed)  # noqa: S311 - the same times in each run, for all
    return tuple(round(chance.lognormvariate(math.log(median), spread), 3) for _ in range(count))


def workloads() -> list[Workload]:
    """Return all that `make bench` does on the server."""
    many = _lognormal(1000, median=8.0, spread=SPREAD, seed=1)
    known = _lognormal(84, median=4.8, spread=KNOWN_SPREAD, seed=2)
    known_many = _lognormal(200, median=8.0, spread=SPREAD, seed=3)
    return [
        Workload(
            Work("one job of 5 s", (4.97, 5.0, 5.03), together=False),
            2,
            _ALL,
            (
                Goal("one 5 s job: ready to known, p50", _OURS, _FAL, delay(0.5), _MS, 0.15),
                Goal("the same: requests a job", _OURS, _FAL, _requests, _COUNT, 0.1),
                Goal("the same: CPU a job", _OURS, _FAL, _cpu, _MS, 0.2),
            ),
        ),
        Workload(
            Work("24 jobs, polling, model known", known[:24], known=known[24:]),
            3,
            (_FAL, _POLLING),
            (
                Goal("polling, model known: mean delay", _POLLING, _FAL, _mean_delay, _MS, 1.0),
                Goal("the same: status requests", _POLLING, _FAL, _polls, _COUNT, 1 / 3),
            ),
        ),
        Workload(
            Work("100 jobs at once", many[:100]),
            2,
            _ALL,
            (Goal("100 at once: ready to known, p95", _OURS, _FAL, delay(0.95), _MS, 0.1),),
        ),
        Workload(
            Work("1,000 jobs at once", many, known=known_many),
            2,
            (*_ALL, _POLLING),
            (
                Goal("1,000 at once: p95", _OURS, _FAL, delay(0.95), _MS, 0.02),
                Goal("the same, beside raw", _OURS, _RAW, delay(0.95), _MS, 25.0),
                Goal(
                    "the same, client only, without journal", _CLIENT, _RAW, delay(0.95), _MS, 25.0
                ),
                Goal("1,000 at once, polling: p95", _POLLING, _FAL, delay(0.95), _MS, 0.1),
            ),
        ),
        Workload(
            Work("1,000 pictures of 1.5 MB", many, picture_bytes=1_500_000, save=True),
            1,
            (_FAL, _OURS),
            (Goal("1,000 pictures of 1.5 MB: memory", _OURS, _FAL, _memory, _MB, 1.0),),
        ),
    ]


def smoke() -> list[Workload]:
    """Return what proves in seconds that all of it runs; its figures mean nothing."""
    few = Work("5 jobs of 1 s", (1.0,) * 5, picture_bytes=1000, save=True)
    goal = Goal("5 jobs of 1 s: p50", _OURS, _RAW, delay(0.5), _MS, 25.0)
    return [Workload(few, 1, (*_ALL, _POLLING), (goal,))]
