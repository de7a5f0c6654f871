"""When to ask again: what servers ask for, backoff, the shared budget, and the poll schedule."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_widget._protocol._pacing import (
    LONGEST_POLL_SECONDS,
    LONGEST_RETRY_AFTER_SECONDS,
    PollSchedule,
    RetryBudget,
    backoff,
    retry_after,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOON = 1_790_251_200.0  # Thu, 24 Sep 2026 12:00:00 GMT, in Unix seconds
CHANCES = st.floats(0, 1)
SECONDS = st.floats(0.05, 600)


def dice() -> random.Random:
    return random.Random(7)  # noqa: S311 - the same service times in each run


# ------------------------------------------------------------------------------- Retry-After


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Thu, 24 Sep 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Thu, 24 Sep 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "86400"}, LONGEST_RETRY_AFTER_SECONDS),
        ({"retry-after": "inf"}, LONGEST_RETRY_AFTER_SECONDS),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 99 Sep 2026"}, None),
    ],
)
def test_retry_after_is_read_in_each_form_and_bounded(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers, now=NOON) == seconds


@given(st.text(max_size=40))
def test_no_text_of_a_server_breaks_retry_after_or_its_bounds(text: str) -> None:
    seconds = retry_after({"retry-after": text, "retry-after-ms": text}, now=NOON)

    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER_SECONDS


# ----------------------------------------------------------------------------------- backoff


@given(st.integers(0, 10_000), CHANCES)
def test_a_backoff_is_never_nothing_and_never_long(attempt: int, chance: float) -> None:
    assert 0.1 < backoff(attempt, chance=chance) <= 8.0


def test_backoff_doubles_up_to_its_limit() -> None:
    assert [backoff(attempt, chance=1.0) for attempt in range(6)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


def test_chance_spreads_retries_over_most_of_the_time() -> None:
    assert backoff(3, chance=0.0) == pytest.approx(backoff(3, chance=1.0) / 4)


def test_an_empty_budget_slows_every_retry_down() -> None:
    budget = RetryBudget(tokens=10.0, cost=5.0)

    delays = [budget.delay(0, chance=0.0) for _ in range(4)]

    assert delays == [0.125, 0.125, 8.0, 8.0]


def test_successes_fill_the_budget_up_again() -> None:
    budget = RetryBudget(tokens=5.0, cost=5.0)
    budget.delay(0, chance=0.0)

    for _ in range(5):
        budget.succeeded()

    assert budget.delay(0, chance=0.0) == 0.125


def test_a_budget_holds_no_more_than_it_began_with() -> None:
    budget = RetryBudget(tokens=5.0, cost=5.0)

    for _ in range(100):
        budget.succeeded()

    assert [budget.delay(0, chance=0.0) for _ in range(2)] == [0.125, 8.0]


# ------------------------------------------------------------------------------ the schedule


def simulate(
    wait: Callable[[float], float], service: Callable[[], float], *, jobs: int = 600
) -> tuple[float, float]:
    """Return requests a job and mean delay in seconds, where a round trip takes 2 ms."""
    requests, delay = 0, 0.0
    for _ in range(jobs):
        ready, now = service(), 0.001
        requests += 1
        while now < ready:
            now += wait(now) + 0.002
            requests += 1
        delay += now + 0.001 - ready
    return requests / jobs, delay / jobs


@given(
    st.builds(
        PollSchedule,
        st.floats(0.01, 300),
        st.floats(0.08, 2),
        shortest=st.floats(0.02, 5),
        strange=st.floats(0, 1),
    ),
    st.none() | st.floats(0, 1e6),
    CHANCES,
)
def test_a_wait_keeps_its_bounds_whatever_is_known(
    schedule: PollSchedule, running: float | None, chance: float
) -> None:
    seconds = schedule.next_seconds(running, chance=chance)

    assert seconds >= schedule.shortest * 0.9
    assert seconds <= max(LONGEST_POLL_SECONDS, schedule.shortest) * 1.1


def test_the_floor_of_a_metered_gateway_holds_when_the_job_is_most_likely_ready() -> None:
    schedule = PollSchedule.learn([8.0] * 20, prior=8.0, shortest=1.0)

    assert schedule.next_seconds(8.0, chance=0.5) == 1.0


def test_a_job_is_asked_for_rarely_before_it_can_be_ready_and_often_when_it_is_likely() -> None:
    schedule = PollSchedule.learn([4.5, 4.6, 4.7, 4.8, 4.9, 5.0, 5.1], prior=8.0, shortest=0.02)

    early, likely = (schedule.next_seconds(t, chance=0.5) for t in (0.5, 4.8))

    assert early > 1.0
    assert likely < 0.1


def test_a_job_that_is_late_is_asked_for_ever_less_often() -> None:
    schedule = PollSchedule.learn([4.5, 4.6, 4.7, 4.8, 4.9, 5.0, 5.1], prior=8.0, shortest=0.02)

    waits = [schedule.next_seconds(t, chance=0.5) for t in (8, 12, 20, 40, 80)]

    assert all(a < b for a, b in pairwise(waits))
    assert waits[0] > 0.1


def test_a_job_in_the_queue_is_asked_for_about_once_a_second() -> None:
    assert PollSchedule(8.0).next_seconds(None, chance=0.5) == 1.0


def test_each_of_many_jobs_is_asked_for_less_often() -> None:
    schedule = PollSchedule(8.0, shortest=0.02)

    waits = [schedule.next_seconds(8.0, chance=0.5, crowd=crowd) for crowd in (1, 25, 100, 1000)]

    assert waits[0] == waits[1] < waits[2] / 1.5 < waits[3] / 3


def test_chance_spreads_many_jobs_by_a_tenth_to_either_side() -> None:
    schedule = PollSchedule(8.0)

    assert schedule.next_seconds(None, chance=0.0) == pytest.approx(0.9)
    assert schedule.next_seconds(None, chance=1.0) == pytest.approx(1.1)


def test_a_known_model_takes_a_third_of_fal_clients_requests_for_no_more_delay() -> None:
    """fal-client asks each 0.1 s; the service time is Imagen 4 fast's, as reported."""
    chance = dice()
    known = [4.8 * chance.lognormvariate(0, 0.11) for _ in range(60)]
    schedule = PollSchedule.learn(known, prior=8.0, shortest=0.02)

    def service() -> float:
        return 4.8 * chance.lognormvariate(0, 0.11)

    theirs = simulate(lambda _: 0.1, service)
    ours = simulate(lambda t: schedule.next_seconds(t, chance=chance.random()), service)

    assert ours[0] <= theirs[0] / 3
    assert ours[1] <= theirs[1]


def test_a_quick_model_is_seen_soon_before_anything_is_known_of_it() -> None:
    chance = dice()
    schedule = PollSchedule.learn([], prior=8.0, shortest=0.1)

    _, delay = simulate(
        lambda t: schedule.next_seconds(t, chance=chance.random()),
        lambda: chance.lognormvariate(0, 0.2),
    )

    assert delay < 0.4


@given(st.lists(SECONDS, max_size=4), SECONDS)
def test_a_few_observations_do_not_outweigh_the_prior(observed: list[float], prior: float) -> None:
    schedule = PollSchedule.learn(observed, prior=prior, shortest=0.1)

    assert schedule == PollSchedule(prior, shortest=0.1)


def test_what_was_observed_is_learned() -> None:
    chance = dice()

    schedule = PollSchedule.learn(
        [chance.lognormvariate(math.log(20), 0.3) for _ in range(200)], prior=8.0, shortest=0.1
    )

    assert schedule.median == pytest.approx(20, rel=0.1)
    assert schedule.spread == pytest.approx(0.3, rel=0.2)


def test_a_few_outliers_and_nonsense_do_not_change_what_was_learned() -> None:
    usual = [7.6, 7.7, 7.8, 7.9, 8.0, 8.0, 8.1, 8.2, 8.3, 8.4] * 5

    schedule = PollSchedule.learn([*usual, 300.0, 500.0, 0.0, -1.0], prior=1.0, shortest=0.1)

    assert schedule.median == pytest.approx(8.0, rel=0.02)
    assert schedule.spread < 0.1


@given(st.lists(SECONDS, min_size=5, max_size=50), CHANCES, st.floats(0, 1000))
def test_no_history_makes_a_schedule_that_cannot_be_followed(
    observed: list[float], chance: float, running: float
) -> None:
    schedule = PollSchedule.learn(observed, prior=8.0, shortest=0.1)

    assert 0.09 <= schedule.next_seconds(running, chance=chance) <= 2.2
