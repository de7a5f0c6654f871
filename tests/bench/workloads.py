"""What is measured on the queue: the works, and the goals that they are held against."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench.trial import Trial, Work

SPREAD = 0.35  # sigma of the logarithm of a service time around 8 s
KNOWN_SPREAD = 0.11  # of Imagen 4 fast, as reported: half in 4.8 s, 95 % in 5.7 s
MILLISECONDS = 1e3
MEGABYTES = 1e-6
REAL_PICTURE_BYTES = 1_500_000

Figure = Callable[[Sequence[Trial]], float]


@dataclass(frozen=True)
class Goal:
    """One line of the goals' table.

    Attributes:
        what: What is measured.
        ours: Who is measured.
        figure: From all trials of one contender to the figure.
        unit: What the figure counts, and by how much it is multiplied for reading.
        limit: What to stay below: a figure, or with a rival the ratio to its figure.
        rival: Who it is measured against; "" for a limit of its own.
    """

    what: str
    ours: str
    figure: Figure
    unit: tuple[str, float]
    limit: float
    rival: str = ""


@dataclass(frozen=True)
class Workload:
    """A work, how often it is tried, by whom, and what it is held against."""

    work: Work
    trials: int
    contenders: tuple[str, ...]
    goals: tuple[Goal, ...]


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value below which a part of all values lies; NaN if there are none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else math.nan


def delay(part: float) -> Figure:
    """Return the figure: seconds from ready to known, within which a part of the jobs was."""
    return lambda trials: quantile([d for trial in trials for d in trial.delays], part)


def saved(part: float) -> Figure:
    """Return the figure: seconds from ready to on disk, within which a part of the jobs was."""
    return lambda trials: quantile([d for trial in trials for d in trial.saved], part)


def _mean_delay(trials: Sequence[Trial]) -> float:
    return statistics.fmean(d for trial in trials for d in trial.delays)


def _requests(trials: Sequence[Trial]) -> float:
    return statistics.median(trial.requests for trial in trials)


def _polls(trials: Sequence[Trial]) -> float:
    return statistics.median(trial.polls for trial in trials)


def _cpu(trials: Sequence[Trial]) -> float:
    return statistics.median(trial.cpu_seconds for trial in trials)


def _took(trials: Sequence[Trial]) -> float:
    return statistics.median(trial.took for trial in trials)


def _memory(trials: Sequence[Trial]) -> float:
    return statistics.median(trial.peak_bytes for trial in trials)


_MS, _MB, _S, _COUNT = ("ms", MILLISECONDS), ("MB", MEGABYTES), ("s", 1.0), ("", 1.0)
_FAL, _RAW, _OURS, _POLLING = "fal-client", "raw", "ours", "ours, polling"
_CLIENT = "ours, client only"
_ALL = (_FAL, _RAW, _OURS, _CLIENT)


def _lognormal(count: int, *, median: float, spread: float, seed: int) -> tuple[float, ...]:
    chance = random.Random(seed)  # the same times in each run, for all
    return tuple(round(chance.lognormvariate(math.log(median), spread), 3) for _ in range(count))


def workloads() -> list[Workload]:
    """Return all that `make bench` does on the queue."""
    many = _lognormal(1000, median=8.0, spread=SPREAD, seed=1)
    known = _lognormal(84, median=4.8, spread=KNOWN_SPREAD, seed=2)
    known_many = _lognormal(200, median=8.0, spread=SPREAD, seed=3)
    five = (4.97, 5.0, 5.03)
    return [
        Workload(
            Work("one job of 5 s", five, together=False),
            3,
            _ALL,
            (
                Goal("one 5 s job: ready to known, p50", _OURS, delay(0.5), _MS, 0.15, _FAL),
                Goal("the same: requests a job", _OURS, _requests, _COUNT, 0.1, _FAL),
                Goal("the same: CPU a job", _OURS, _cpu, _MS, 0.2, _FAL),
            ),
        ),
        Workload(
            Work(
                "one job of 5 s with a picture of 1.5 MB",
                five,
                together=False,
                picture_bytes=REAL_PICTURE_BYTES,
                save=True,
            ),
            3,
            (_FAL, _RAW, _OURS),
            (
                Goal("a picture of 1.5 MB: ready to on disk, p50", _OURS, saved(0.5), _MS, 0.012),
                Goal("the same: CPU a job", _OURS, _cpu, _MS, 0.012),
            ),
        ),
        Workload(
            Work("24 jobs, polling, model known", known[:24], known=known[24:]),
            3,
            (_FAL, _POLLING),
            (
                Goal("polling, model known: mean delay", _POLLING, _mean_delay, _MS, 1.0, _FAL),
                Goal("the same: status requests", _POLLING, _polls, _COUNT, 1 / 3, _FAL),
            ),
        ),
        Workload(
            Work("100 jobs at once", many[:100]),
            3,
            _ALL,
            (Goal("100 at once: ready to known, p95", _OURS, delay(0.95), _MS, 0.1, _FAL),),
        ),
        Workload(
            Work(
                "100 jobs at once with pictures of 1.5 MB",
                many[:100],
                picture_bytes=REAL_PICTURE_BYTES,
                save=True,
            ),
            3,
            (_FAL, _RAW, _OURS),
            (Goal("100 pictures of 1.5 MB: ready to on disk, p95", _OURS, saved(0.95), _MS, 0.04),),
        ),
        Workload(
            Work("1,000 jobs at once", many, known=known_many),
            3,
            (*_ALL, _POLLING),
            (
                Goal("1,000 at once: p95", _OURS, delay(0.95), _MS, 0.02, _FAL),
                Goal("the same, beside raw", _OURS, delay(0.95), _MS, 25.0, _RAW),
                Goal("the same, client only, without journal", _CLIENT, delay(0.95), _MS, 0.02),
                Goal("1,000 at once, polling: p95", _POLLING, delay(0.95), _MS, 0.1, _FAL),
            ),
        ),
        Workload(
            Work(
                "1,000 jobs at once with pictures of 1.5 MB",
                many,
                picture_bytes=REAL_PICTURE_BYTES,
                save=True,
            ),
            1,
            (_FAL, _RAW, _OURS),
            (
                Goal(
                    "1,000 pictures of 1.5 MB: ready to on disk, p95", _OURS, saved(0.95), _S, 0.5
                ),
                Goal("the same: the whole run", _OURS, _took, _S, 1.1, _RAW),
                Goal("the same: memory", _OURS, _memory, _MB, 1.0, _FAL),
            ),
        ),
    ]


def smoke() -> list[Workload]:
    """Return what proves in seconds that all of it runs; its figures mean nothing."""
    few = Work("5 jobs of 0.5 s", (0.5,) * 5, picture_bytes=1000, save=True)
    goals = (
        Goal("5 jobs of 0.5 s: p50", _OURS, delay(0.5), _MS, 25.0, _RAW),
        Goal("the same: on disk, p50", _OURS, saved(0.5), _MS, 1.0),
    )
    return [Workload(few, 1, (*_ALL, _POLLING), goals)]
