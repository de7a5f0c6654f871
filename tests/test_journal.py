"""The journal's laws: the steps, the money, who works on a job, and what is found again."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from imagen_widget._journal import LEASE_SECONDS, IllegalStep, Journal, State
from imagen_widget._journal._rows import STEPS, to_micros
from imagen_widget._request import ImageRequest
from imagen_widget.errors import BudgetExceeded, JournalError
from tests.jobs import (
    FOX,
    HOST,
    NOON,
    PATHS,
    PICTURE,
    TICKET,
    Clock,
    dead_pid,
    intend,
    job_in,
    take,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "imagen"


@pytest.fixture
def open_journal(home: Path, clock: Clock) -> Iterator[Callable[..., Journal]]:
    with contextlib.ExitStack() as stack:

        def make(owner: str | None = None) -> Journal:
            return stack.enter_context(contextlib.closing(Journal(home, clock=clock, owner=owner)))

        yield make


@pytest.fixture
def journal(open_journal: Callable[..., Journal]) -> Journal:
    return open_journal()


# ------------------------------------------------------------------------------------ the steps


def test_making_a_journal_touches_no_disk(home: Path) -> None:
    Journal(home).close()

    assert not home.exists()


def test_a_finished_job_reads_back_as_it_was_written(journal: Journal) -> None:
    request = ImageRequest.create("ein Fuchs 🦊\nim Schnee", aspect_ratio="16:9", num_images=2)

    row = journal.get(job_in(journal, State.DONE, request))

    assert (row.state, row.request, row.fingerprint) == (
        State.DONE,
        request,
        request.fingerprint,
    )
    assert (row.provider, row.base_url, row.endpoint) == (
        "fal",
        "https://queue.test",
        "fal-ai/imagen4/preview",
    )
    assert (row.ticket_json, row.request_id) == (TICKET, "req-1")
    assert (row.price, row.cost) == (Decimal("0.04"), Decimal("0.04"))
    assert (row.seconds, row.seed, row.description) == (7.5, 42, "a fox")
    assert row.urls == ("https://x.test/0.png",)
    assert row.images == (PICTURE,)
    assert row.error is None
    assert row.created == datetime.fromtimestamp(NOON, tz=UTC)
    assert row.created.tzinfo is not None


@pytest.mark.parametrize("end", [s for s in State if s is not State.INTENT])
@pytest.mark.parametrize("start", State)
def test_only_the_steps_of_the_law_are_taken(journal: Journal, start: State, end: State) -> None:
    job_id = job_in(journal, start)
    before = journal.get(job_id)

    if end in STEPS[start]:
        take(journal, job_id, end)
        assert journal.get(job_id).state is end
    else:
        with pytest.raises(IllegalStep, match=f"no step from {start} to {end}"):
            take(journal, job_id, end)
        assert journal.get(job_id) == before


def test_an_illegal_step_is_a_value_error_and_one_of_ours() -> None:
    assert issubclass(IllegalStep, ValueError)
    assert issubclass(IllegalStep, JournalError)


def test_the_law_leads_every_state_to_an_end() -> None:
    ends = {state for state, following in STEPS.items() if not following}
    reaching = set(ends)
    for _ in State:
        reaching |= {state for state, following in STEPS.items() if following & reaching}

    assert ends == {State.DONE, State.FAILED, State.CANCELLED, State.EXPIRED}
    assert reaching == set(State)


def test_a_job_that_does_not_exist_is_said_to_be_missing(journal: Journal) -> None:
    with pytest.raises(IllegalStep, match="has no job nowhere"):
        journal.get("nowhere")


def test_only_the_journal_that_wrote_a_job_may_submit_it(
    journal: Journal, open_journal: Callable[..., Journal]
) -> None:
    job_id = intend(journal)

    with pytest.raises(IllegalStep, match=r"another process.*Nothing was sent"):
        open_journal().submitting(job_id)

    assert journal.get(job_id).state is State.INTENT


def test_a_ticket_is_taken_even_after_the_job_was_thought_lost(
    journal: Journal, open_journal: Callable[..., Journal]
) -> None:
    job_id = job_in(journal, State.UNKNOWN)

    open_journal().promise(job_id, TICKET, "req-1")

    row = journal.get(job_id)
    assert (row.state, row.error, row.request_id) == (State.SUBMITTED, None, "req-1")


def test_new_addresses_replace_old_ones_when_a_result_is_asked_again(journal: Journal) -> None:
    job_id = job_in(journal, State.COMPLETED)

    journal.completed(job_id, seconds=8.0, seed=None, description="", urls=["https://y.test/1"])

    assert journal.get(job_id).urls == ("https://y.test/1",)


def test_what_a_server_says_never_breaks_the_journal(journal: Journal) -> None:
    """Its JSON can hold halves of characters, NULs, and seeds of more than 64 bits."""
    job_id = job_in(journal, State.SUBMITTED)

    journal.completed(
        job_id, seconds=1.0, seed=2**70, description="a\ud800b\0c", urls=["https://x.test/\udfff"]
    )
    journal.failed(job_id, "bad \ud800\n<b>thing</b>", billed=False)

    row = journal.get(job_id)
    assert row.seed == 2**70
    assert row.description == "a?b\0c"
    assert row.error == "bad <b>thing</b>"


# -------------------------------------------------------------------------------------- money


def test_a_job_that_fits_the_cap_exactly_is_accepted(journal: Journal) -> None:
    intend(journal, price="0.06", cap="0.10")

    job_id = intend(journal, price="0.04", cap="0.10")

    assert journal.get(job_id).price == Decimal("0.04")


def test_a_job_over_the_cap_is_refused_with_all_three_amounts(journal: Journal) -> None:
    intend(journal, price="0.08", cap="0.10")

    with pytest.raises(BudgetExceeded) as refused:
        intend(journal, price="0.04", cap="0.10")

    assert str(refused.value) == (
        "The request costs $0.04; with $0.08 spent or reserved today it would pass the cap of"
        " $0.10 a day. Nothing was sent; raise IMAGEN_MAX_SPEND, or go on tomorrow."
    )
    assert len(journal.rows()) == 1


def test_an_unknown_price_under_a_cap_is_refused_and_says_how_to_give_one(
    journal: Journal,
) -> None:
    with pytest.raises(BudgetExceeded, match=r"IMAGEN_PRICE=0\.04"):
        intend(journal, price=None, cap="5")

    assert journal.rows() == []


def test_an_unknown_price_without_a_cap_is_accepted(journal: Journal) -> None:
    assert journal.get(intend(journal, price=None)).price is None


def test_the_demo_is_free_even_when_the_cap_is_used_up(journal: Journal) -> None:
    intend(journal, price="1", cap="1")

    job_id = intend(journal, provider="demo", price="9", cap="0.50")

    assert journal.get(job_id).price == Decimal(0)


@pytest.mark.parametrize(
    ("state", "counted"),
    [
        (State.INTENT, "0.04"),
        (State.SUBMITTING, "0.04"),
        (State.SUBMITTED, "0.04"),
        (State.UNKNOWN, "0.04"),
        (State.COMPLETED, "0.04"),
        (State.DOWNLOADED, "0.04"),
        (State.DONE, "0.04"),
        (State.FAILED, "0.04"),
        (State.EXPIRED, "0.04"),
        (State.CANCELLED, "0"),
    ],
)
def test_what_may_be_billed_counts_and_what_is_surely_free_does_not(
    journal: Journal, state: State, counted: str
) -> None:
    job_in(journal, state)

    assert journal.spend() == Decimal(counted)


def test_a_refused_submit_gives_its_reserve_back(journal: Journal) -> None:
    job_id = job_in(journal, State.SUBMITTING, price="0.10", cap="0.10")

    journal.refuse(job_id, "The provider refused it.")

    assert journal.get(job_id).cost == 0
    intend(journal, price="0.10", cap="0.10")


def test_the_cost_counts_instead_of_the_reserve_once_it_is_known(journal: Journal) -> None:
    job_id = job_in(journal, State.DOWNLOADED)

    journal.done(job_id, Decimal("0.015"))

    assert journal.spend() == Decimal("0.015")


def test_the_reserve_becomes_the_cost_where_nothing_better_is_known(journal: Journal) -> None:
    job_id = job_in(journal, State.DOWNLOADED)

    journal.done(job_id, None)

    assert journal.get(job_id).cost == Decimal("0.04")


def test_the_cap_begins_anew_at_local_midnight(
    journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")  # 13 hours ahead: noon UTC is 1 in the morning
    time.tzset()
    try:
        clock.now = NOON - 2 * 3600  # 23:00, the day before
        intend(journal, price="1", cap="1")
        clock.now = NOON - 0.5 * 3600  # 00:30
        intend(journal, price="1", cap="1")
        clock.now = NOON + 10 * 3600  # 23:00, the same day

        with pytest.raises(BudgetExceeded):
            intend(journal, price="0.01", cap="1")
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_spend_sums_since_a_moment_and_by_model(journal: Journal, clock: Clock) -> None:
    fast = ImageRequest.create("a hen", model="imagen4-fast")
    intend(journal, price="1")
    clock.now += 60
    since = datetime.fromtimestamp(clock.now, tz=UTC)
    intend(journal, price="0.1")
    intend(journal, price="0.2")
    intend(journal, fast, price="0.02")

    assert journal.spend() == Decimal("1.32")
    assert journal.spend(since) == Decimal("0.32")
    assert journal.spend(since, by_model=True) == {
        "fal-ai/imagen4/preview": Decimal("0.3"),
        "fal-ai/imagen4/preview/fast": Decimal("0.02"),
    }
    assert journal.spend(since + timedelta(seconds=1)) == 0


def test_a_thousand_small_amounts_sum_exactly(journal: Journal) -> None:
    for _ in range(100):
        intend(journal, price="0.000001")
        intend(journal, price="0.039")

    assert journal.spend() == Decimal("3.900100")


@pytest.mark.parametrize("amount", ["-0.01", "NaN", "Infinity"])
def test_what_is_no_amount_of_money_is_never_written(journal: Journal, amount: str) -> None:
    with pytest.raises(ValueError, match="no amount of money"):
        intend(journal, price=amount)

    assert journal.rows() == []


def test_fractions_of_a_millionth_are_rounded_up() -> None:
    assert to_micros(Decimal("0.0000001")) == 1


# ------------------------------------------------------------------------------- who works on it


def test_a_job_with_a_live_lease_is_taken_by_nobody_else(
    journal: Journal, open_journal: Callable[..., Journal]
) -> None:
    job_id = job_in(journal, State.SUBMITTED)
    other = open_journal()

    assert not other.lease(job_id, 60)
    assert not journal.lease(job_id, 60)  # another thread of the same process asks like this
    assert other.pending() == []


def test_a_lease_that_ran_out_can_be_taken_once(
    journal: Journal, open_journal: Callable[..., Journal], clock: Clock
) -> None:
    job_id = job_in(journal, State.SUBMITTED)
    second, third = open_journal(), open_journal()
    clock.now += LEASE_SECONDS + 1

    assert [row.id for row in second.pending()] == [job_id]
    assert second.lease(job_id, 60)
    assert not third.lease(job_id, 60)
    assert not journal.renew(job_id, 60)


@pytest.mark.parametrize("state", [s for s in State if not STEPS[s]])
def test_a_job_that_is_over_is_taken_by_nobody(
    journal: Journal, open_journal: Callable[..., Journal], clock: Clock, state: State
) -> None:
    """Somebody else may have finished it since it was listed as pending."""
    job_id = job_in(journal, state)
    clock.now += LEASE_SECONDS + 1

    assert not open_journal().lease(job_id, 60)


def test_an_unknown_job_is_free_for_whoever_looks_for_it(
    journal: Journal, open_journal: Callable[..., Journal]
) -> None:
    assert open_journal().lease(job_in(journal, State.UNKNOWN), 60)


def test_a_released_job_can_be_taken_at_once(
    journal: Journal, open_journal: Callable[..., Journal]
) -> None:
    job_id = job_in(journal, State.SUBMITTED)
    other = open_journal()

    other.release(job_id)  # not its own: no effect
    assert not other.lease(job_id, 60)
    journal.release(job_id)
    assert other.lease(job_id, 60)


def test_a_renewed_lease_lasts_from_now(
    journal: Journal, open_journal: Callable[..., Journal], clock: Clock
) -> None:
    job_id = job_in(journal, State.SUBMITTED)
    clock.now += LEASE_SECONDS - 1

    assert journal.renew(job_id, 100)
    clock.now += 99
    assert not open_journal().lease(job_id, 60)
    clock.now += 2
    assert open_journal().lease(job_id, 60)


def test_each_step_holds_on_to_the_job(
    journal: Journal, open_journal: Callable[..., Journal], clock: Clock
) -> None:
    job_id = job_in(journal, State.SUBMITTED)
    clock.now += LEASE_SECONDS - 1
    take(journal, job_id, State.COMPLETED)
    clock.now += LEASE_SECONDS - 1

    assert open_journal().pending() == []


def test_no_step_shortens_a_lease(
    journal: Journal, open_journal: Callable[..., Journal], clock: Clock
) -> None:
    job_id = job_in(journal, State.SUBMITTED)
    journal.renew(job_id, 2000)
    take(journal, job_id, State.COMPLETED)
    clock.now += 1999

    assert open_journal().pending() == []


def test_a_submit_that_is_told_to_wait_is_not_thought_lost(
    journal: Journal, open_journal: Callable[..., Journal], clock: Clock
) -> None:
    """Five times two minutes, as often and as long as a 429 is obeyed."""
    job_id = job_in(journal, State.SUBMITTING)
    clock.now += 5 * 120 + 60

    assert open_journal().recover() == []
    take(journal, job_id, State.SUBMITTED)


def test_the_jobs_of_a_dead_process_are_free_at_once(
    open_journal: Callable[..., Journal],
) -> None:
    job_id = job_in(open_journal(f"{HOST}:{dead_pid()}::x"), State.SUBMITTED)

    assert [row.id for row in open_journal().pending()] == [job_id]
    assert open_journal().lease(job_id, 60)


def test_a_number_that_was_given_to_a_later_process_counts_as_dead(
    open_journal: Callable[..., Journal],
) -> None:
    job_id = job_in(open_journal(f"{HOST}:{os.getpid()}:00000000-1:x"), State.SUBMITTED)

    assert open_journal().lease(job_id, 60)


def test_a_clock_set_back_by_a_day_locks_no_job_up(
    journal: Journal, open_journal: Callable[..., Journal], clock: Clock
) -> None:
    job_id = job_in(journal, State.SUBMITTED)
    clock.now -= 86400

    assert open_journal().lease(job_id, 60)


def test_recovery_settles_what_dead_processes_left(open_journal: Callable[..., Journal]) -> None:
    dead = open_journal(f"{HOST}:{dead_pid()}::x")
    left = {state: job_in(dead, state) for state in PATHS}

    lost = open_journal().recover()

    assert [row.id for row in lost] == [left[State.SUBMITTING]]
    after = {state: dead.get(job_id) for state, job_id in left.items()}
    assert after[State.INTENT].state is State.FAILED
    assert after[State.INTENT].cost == 0
    assert after[State.SUBMITTING].state is State.UNKNOWN
    assert after[State.SUBMITTING].price == Decimal("0.04")
    assert after[State.DOWNLOADED].state is State.DONE
    assert after[State.DOWNLOADED].cost == Decimal("0.04")
    untouched = set(PATHS) - {State.INTENT, State.SUBMITTING, State.DOWNLOADED}
    assert {state: after[state].state for state in untouched} == {s: s for s in untouched}


def test_recovery_leaves_living_processes_alone(
    journal: Journal, open_journal: Callable[..., Journal]
) -> None:
    left = {state: job_in(journal, state) for state in PATHS}

    assert open_journal().recover() == []
    assert {journal.get(job_id).state for job_id in left.values()} == set(PATHS)


def test_a_process_that_wakes_after_its_job_was_recovered_cannot_submit_it(
    journal: Journal, open_journal: Callable[..., Journal], clock: Clock
) -> None:
    job_id = intend(journal)
    clock.now += LEASE_SECONDS + 1
    open_journal().recover()

    with pytest.raises(IllegalStep, match="no step from failed to submitting"):
        journal.submitting(job_id)


def test_pending_lists_the_oldest_first(journal: Journal) -> None:
    ids = [job_in(journal, state) for state in (State.SUBMITTED, State.COMPLETED, State.SUBMITTED)]
    for job_id in ids:
        journal.release(job_id)

    assert [row.id for row in journal.pending()] == ids


def test_unknown_jobs_are_listed_until_the_user_settles_them(journal: Journal) -> None:
    first, second = (job_in(journal, State.UNKNOWN) for _ in range(2))

    assert [row.id for row in journal.unknown()] == [first, second]
    journal.forget(first)
    journal.forget(second, billed=False)

    assert journal.unknown() == []
    assert journal.spend() == Decimal("0.04")


def test_only_an_unknown_job_can_be_forgotten(journal: Journal) -> None:
    job_id = job_in(journal, State.SUBMITTED)

    with pytest.raises(IllegalStep, match="uncertain"):
        journal.forget(job_id)

    assert journal.get(job_id).state is State.SUBMITTED


# ------------------------------------------------------------------------------------- reading


def test_rows_come_newest_first_whatever_the_clock_did(journal: Journal, clock: Clock) -> None:
    first = intend(journal)
    clock.now -= 3600
    second = intend(journal)

    assert [row.id for row in journal.rows()] == [second, first]
    assert [row.id for row in journal.rows(limit=1)] == [second]


def test_rows_are_chosen_by_state_and_provider(journal: Journal) -> None:
    demo = job_in(journal, State.DONE, provider="demo")
    real = job_in(journal, State.DONE)
    intend(journal)

    assert [row.id for row in journal.rows(state=State.DONE)] == [real, demo]
    assert [row.id for row in journal.rows(state=State.DONE, provider="demo")] == [demo]


@pytest.mark.parametrize("text", ["fox", "SNOW red", "СНЕГ", "100%", "_", ""])
def test_search_finds_prompts_with_all_words_whatever_their_case(
    journal: Journal, text: str
) -> None:
    wanted = intend(journal, ImageRequest.create("A Red Fox in snow, снег, 100% _"))
    intend(journal, ImageRequest.create("nothing of it"))

    found = [row.id for row in journal.search(text)]

    assert found[-1] == wanted
    assert len(found) == (1 if text else 2)


def test_the_same_request_is_found_again_the_newest_first(journal: Journal) -> None:
    same = ImageRequest.create("a red fox", aspect_ratio="1:1")  # the default, so it means the same
    job_in(journal, State.DONE)
    newest = job_in(journal, State.DONE, same)

    found = journal.find(FOX.fingerprint, provider="fal")

    assert found is not None
    assert (found.id, found.images) == (newest, (PICTURE,))


@pytest.mark.parametrize("state", [s for s in State if s is not State.DONE])
def test_only_a_done_job_answers_a_request(journal: Journal, state: State) -> None:
    job_in(journal, state)

    assert journal.find(FOX.fingerprint, provider="fal") is None


def test_a_demo_picture_never_answers_a_real_request(journal: Journal) -> None:
    job_in(journal, State.DONE, provider="demo")

    assert journal.find(FOX.fingerprint, provider="fal") is None
    assert journal.find(FOX.fingerprint, provider="demo") is not None


def test_service_times_are_the_latest_of_one_model_at_one_provider(journal: Journal) -> None:
    job_in(journal, State.DONE, provider="demo")
    job_in(journal, State.COMPLETED)
    for _ in range(3):
        job_in(journal, State.DONE)

    assert journal.service_times(FOX.model, "fal") == [7.5] * 3
    assert journal.service_times(FOX.model, "fal", 2) == [7.5] * 2
    assert journal.service_times("other/model", "fal") == []


def test_a_row_that_somebody_damaged_is_an_error_of_ours(journal: Journal) -> None:
    job_id = intend(journal)
    with contextlib.closing(sqlite3.connect(journal.path)) as db, db:
        db.execute("UPDATE jobs SET request = '{' ")

    with pytest.raises(JournalError, match=f"row {job_id} cannot be read"):
        journal.rows()
