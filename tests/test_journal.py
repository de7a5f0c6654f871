"""What both journals do, in a SQLite file and in PostgreSQL: the steps, the money, the search."""

import contextlib
import itertools
import json
import time
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest

from imagen_widget import ImageRequest, errors
from tests import jobs
from tests.jobs import (
    BASE_URL,
    EVENTS,
    FOX,
    NOON,
    PATHS,
    PICTURE,
    TICKET,
    Clock,
    draft,
    ids,
    intend,
    job_in,
    journal,
    walk,
)
from tests.postgres import PostgresServer

OVER = {journal.State.DONE, journal.State.FAILED, journal.State.CANCELLED, journal.State.EXPIRED}
DAY = 86400
Form = Literal["NFC", "NFD"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def open_journal(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> Iterator[Callable[..., journal.Journal]]:
    """Give what opens one and the same journal, as another process would each time."""
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    address = None if server is None else server.make_database()
    with contextlib.ExitStack() as stack:

        def make(*, clock: Clock | None = clock, owner: str = "") -> journal.Journal:
            opened = jobs.open_journal(tmp_path / "imagen", address, clock=clock, owner=owner)
            return stack.enter_context(contextlib.closing(opened))

        yield make


@pytest.fixture
def verbs(open_journal: Callable[..., journal.Journal]) -> Iterator[journal.Journal]:
    """Give a journal, and check at the end that its sums are those of its rows."""
    opened = open_journal()
    yield opened
    assert journal.check_journal(opened) == []


def limits(amount: str, *, period: str = "day", scope: str = "all") -> tuple[Any, ...]:
    return (SimpleNamespace(amount=Decimal(amount), period=period, scope=scope),)


def rows(prefix: str, count: int, **how: Any) -> list[journal.Draft]:
    """Return the drafts of a series, each with a request of its own."""
    return [
        draft(f"{prefix} {number}", key=str(number), ordinal=number, **how)
        for number in range(count)
    ]


def plan(verbs: journal.Journal, drafts: list[journal.Draft]) -> tuple[int, ...]:
    """Plan the series `autumn`; return how many rows were added, kept, deleted and left out."""
    every = journal.Filter(deleted=None)
    before = {job.id: job.planned for job in verbs.query(every) if job.series == "autumn"}
    verbs.plan("autumn", drafts)
    after = {job.id: job.planned for job in verbs.query(every) if job.series == "autumn"}
    planned = {job for job, is_planned in after.items() if is_planned}
    left_out = [job for job in after if before.get(job) and job not in planned]
    return (
        *(len(planned - {*before}), len(planned & {*before})),
        *(len({*before} - {*after}), len(left_out)),
    )


# --------------------------------------------------------------------------------- the steps


def test_making_a_journal_touches_no_disk(tmp_path: Path) -> None:
    journal.open_journal(tmp_path / "imagen").close()

    assert not (tmp_path / "imagen").exists()


def test_a_finished_job_reads_back_as_it_was_written(verbs: journal.Journal) -> None:
    request = ImageRequest.create("ein Fuchs 🦊\nim Schnee", aspect_ratio="16:9", num_images=2)

    job_id = intend(verbs, request, user="ann")
    for event in [
        journal.Submitting(),
        journal.Submitted(TICKET, "re.q:1+="),
        journal.Completed(
            7.5, 42, "a fox", "a small fox", ("https://x.test/0.png",), Decimal(2), 1
        ),
        journal.Kept((PICTURE,), Decimal("0.08"), "billed"),
    ]:
        written = verbs.apply(job_id, event)
    record = verbs.get(job_id)

    assert record == written
    assert (record.state, record.status) == (journal.State.DONE, "done")
    assert (record.request, record.fingerprint) == (request, request.fingerprint)
    assert (record.provider, record.base_url, record.user) == ("fal", BASE_URL, "ann")
    assert record.model == "fal-ai/imagen4/preview"
    assert (record.ticket, record.request_id) == (TICKET, "re.q:1+=")
    assert (record.price, record.cost, record.cost_source) == (
        *(Decimal("0.04"), Decimal("0.08"), "billed"),
    )
    assert (record.seconds, record.seed, record.description) == (7.5, 42, "a fox")
    assert (record.revised_prompt, record.units, record.filtered) == ("a small fox", Decimal(2), 1)
    assert (record.urls, record.images) == (("https://x.test/0.png",), (PICTURE,))
    assert (record.error, record.rating, record.deleted) == (None, 0, False)
    assert record.created == datetime.fromtimestamp(NOON, tz=UTC)
    assert record.created.tzinfo is not None


@pytest.mark.parametrize("state", PATHS)
def test_only_the_transitions_of_the_table_are_made(
    verbs: journal.Journal, state: journal.State
) -> None:
    for end, event in EVENTS.items():
        job_id = job_in(verbs, state)
        before = verbs.get(job_id)
        try:
            pure: journal.State | None = journal.apply(before, event).state
        except journal.IllegalStep:
            pure = None
        if pure is not None:
            assert verbs.apply(job_id, event).state is pure is end
        else:
            with pytest.raises(journal.IllegalStep, match=f"is {state} and cannot become {end}"):
                verbs.apply(job_id, event)
        assert verbs.get(job_id).state is (pure or state)


def following(state: journal.State) -> set[journal.State]:
    record = journal.Record("x", 1, state, "fal", "", "", "{}", "", request_id="r")
    found = set()
    for event in (*EVENTS.values(), journal.Claimed(), journal.Returned()):
        with contextlib.suppress(journal.IllegalStep):
            found.add(journal.apply(record, event).state)
    return found


@pytest.mark.parametrize(
    ("event", "states"),
    [
        (journal.Claimed(), "waiting"),
        (journal.Returned(), "intent"),  # else it was accepted
        (journal.Submitting(), "intent"),
        (journal.Submitted(TICKET, "req-1"), "submitting unknown"),
        (journal.Uncertain("lost"), "submitting"),
        (journal.Completed(), "submitting unknown submitted completed"),
        (journal.Kept(()), "completed"),
        (journal.Failed("no", billed=False), "intent submitting unknown submitted completed"),
        (journal.Cancelled(), "intent submitting submitted"),  # unknown: it may be billed
        (journal.Expired(), "submitted completed"),
        (journal.Forgotten(), "unknown"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_event_is_possible_in_these_states_only(event: journal.Event, states: str) -> None:
    possible = set()
    for state in journal.State:
        record = journal.Record("x", 1, state, "fal", "", "", "{}", "", request_id="r")
        with contextlib.suppress(journal.IllegalStep):
            journal.apply(record, event)
            possible.add(state.value)

    assert possible == {*states.split()}


def test_every_state_leads_to_an_end_and_no_end_leads_on() -> None:
    assert {state for state in journal.State if not following(state)} == OVER
    reaching = set(OVER)
    for _ in journal.State:
        reaching |= {state for state in journal.State if following(state) & reaching}
    assert reaching == set(journal.State)


def test_events_that_come_together_are_one_step(verbs: journal.Journal) -> None:
    job_id = job_in(verbs, journal.State.SUBMITTED)

    record = verbs.apply(job_id, *[EVENTS[s] for s in PATHS[journal.State.DONE][2:]])

    assert record == verbs.get(job_id)
    assert record.state is journal.State.DONE
    with pytest.raises(journal.IllegalStep):
        verbs.apply(intend(verbs), EVENTS[journal.State.SUBMITTING], EVENTS[journal.State.DONE])
    assert verbs.count(journal.Filter(states={journal.State.INTENT})) == 1


def test_an_illegal_step_is_a_value_error_and_one_of_ours() -> None:
    assert issubclass(journal.IllegalStep, ValueError)
    assert issubclass(journal.IllegalStep, errors.JournalError)


def test_a_job_that_does_not_exist_is_said_to_be_missing(verbs: journal.Journal) -> None:
    with pytest.raises(journal.IllegalStep, match="has no job nowhere"):
        verbs.get("nowhere")


def test_only_the_journal_that_wrote_a_job_may_submit_it(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal]
) -> None:
    job_id = intend(verbs)

    with pytest.raises(journal.IllegalStep, match=r"another process.*Nothing was sent"):
        open_journal().apply(job_id, journal.Submitting())

    assert verbs.get(job_id).state is journal.State.INTENT


@pytest.mark.parametrize("late", [journal.State.SUBMITTED, journal.State.COMPLETED])
def test_an_answer_counts_even_after_the_job_was_thought_lost(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], late: journal.State
) -> None:
    job_id = job_in(verbs, journal.State.UNKNOWN)

    record = open_journal().apply(job_id, EVENTS[late])

    assert (record.state, record.error, record.trouble) == (late, None, "")


def test_new_addresses_replace_old_ones_when_a_result_is_asked_again(
    verbs: journal.Journal,
) -> None:
    job_id = job_in(verbs, journal.State.COMPLETED)

    verbs.apply(job_id, journal.Completed(seconds=8.0, urls=("https://y.test/1",)))

    assert verbs.get(job_id).urls == ("https://y.test/1",)


def test_what_a_server_says_never_breaks_the_journal(verbs: journal.Journal) -> None:
    """Its JSON can hold halves of characters, NULs, and seeds of more than 64 bits."""
    job_id = job_in(verbs, journal.State.SUBMITTED)

    verbs.apply(
        job_id,
        journal.Completed(1.0, 2**70, "a\ud800b\0c", urls=("https://x.test/\udfff",)),
        journal.Failed("bad \ud800\n<b>thing</b>", billed=False),
    )

    record = verbs.get(job_id)
    assert (record.seed, record.description) == (2**70, "a?b\ufffdc")
    assert record.error == "bad <b>thing</b>"


def test_no_row_says_what_class_of_error_it_was_unless_it_is_told(verbs: journal.Journal) -> None:
    refused = intend(verbs)
    verbs.apply(refused, journal.Failed("No.", billed=False, trouble="ContentRejected"))
    failed = job_in(verbs, journal.State.SUBMITTED)
    verbs.apply(failed, journal.Failed("No.", billed=True, trouble="GenerationFailed"))
    drawn = job_in(verbs, journal.State.SUBMITTED)
    verbs.apply(drawn, journal.Failed("No.", billed=True, trouble="ContentRejected"))

    found = [verbs.get(job_id) for job_id in (refused, failed, drawn)]
    assert [record.status for record in found] == ["refused", "failed", "refused"]
    assert [record.trouble for record in found][1:] == ["GenerationFailed", "ContentRejected"]


# ------------------------------------------------------------------------------------ money


def test_a_job_that_fits_the_cap_exactly_is_accepted(verbs: journal.Journal) -> None:
    intend(verbs, price="0.06", budget=limits("0.10"))

    job_id = intend(verbs, price="0.04", budget=limits("0.10"))

    assert verbs.get(job_id).price == Decimal("0.04")


def test_a_job_over_the_cap_is_refused_with_all_three_amounts(verbs: journal.Journal) -> None:
    intend(verbs, price="0.08", budget=limits("0.10"))

    with pytest.raises(errors.BudgetExceeded) as refused:
        intend(verbs, price="0.04", budget=limits("0.10"))

    assert str(refused.value) == (
        "The request costs $0.04; with $0.08 spent or reserved today it would pass the cap of"
        " $0.10 a day. Nothing was sent; raise IMAGEN_MAX_SPEND, or go on tomorrow."
    )
    assert verbs.count() == 1


def test_of_a_cap_below_one_request_it_is_said_that_only_a_higher_one_helps(
    verbs: journal.Journal,
) -> None:
    with pytest.raises(errors.BudgetExceeded) as refused:
        intend(verbs, price="0.08", budget=limits("0.03"))

    assert refused.value.remedy == (
        "Nothing was sent; one such request costs more than the cap: raise IMAGEN_MAX_SPEND."
    )


def test_a_month_has_a_cap_of_its_own(verbs: journal.Journal, clock: Clock) -> None:
    both = limits("1") + limits("1.50", period="month")
    intend(verbs, price="1", budget=both)
    clock.now += DAY

    with pytest.raises(errors.BudgetExceeded, match=r"this month.*\$1.50 a month.*next month"):
        intend(verbs, price="0.60", budget=both)

    intend(verbs, price="0.50", budget=both)
    clock.now += 8 * DAY  # December
    intend(verbs, price="1", budget=both)


def test_each_user_has_a_cap_of_their_own_besides_that_of_all(verbs: journal.Journal) -> None:
    both = limits("3") + limits("1", scope="user")
    intend(verbs, price="1", budget=both, user="ann")

    with pytest.raises(errors.BudgetExceeded, match=r"your cap of \$1.00 a day.*_SPEND_USER"):
        intend(verbs, price="0.01", budget=both, user="ann")
    intend(verbs, price="1", budget=both, user="bob")
    intend(verbs, price="1", budget=both, user="eve")
    with pytest.raises(errors.BudgetExceeded, match=r"pass the cap of \$3.00 a day"):
        intend(verbs, price="0.01", budget=both, user="kim")

    assert verbs.spend_by("user") == {"ann": 1, "bob": 1, "eve": 1}


def test_many_jobs_are_written_and_reserved_together_or_not_at_all(verbs: journal.Journal) -> None:
    with pytest.raises(errors.BudgetExceeded):
        verbs.intend(*rows("fox", 26), budget=limits("1"))
    assert verbs.count() == 0

    assert len(verbs.intend(*rows("fox", 25), budget=limits("1"))) == 25
    assert verbs.spend() == 1


def test_an_unknown_price_under_a_cap_is_refused_and_says_how_to_give_one(
    verbs: journal.Journal,
) -> None:
    with pytest.raises(errors.BudgetExceeded, match=r"IMAGEN_PRICE=0\.04"):
        intend(verbs, price=None, budget=limits("5"))

    assert verbs.count() == 0


def test_an_unknown_price_without_a_cap_is_accepted(verbs: journal.Journal) -> None:
    assert verbs.get(intend(verbs, price=None)).price is None


def test_what_is_free_is_accepted_even_when_the_cap_is_used_up(verbs: journal.Journal) -> None:
    intend(verbs, price="1", budget=limits("1"))

    assert verbs.get(intend(verbs, price="0", budget=limits("0.50"))).price == 0


@pytest.mark.parametrize(
    ("state", "counted"),
    [
        *((state, "0.04") for state in PATHS if state is not journal.State.CANCELLED),
        (journal.State.CANCELLED, "0"),
    ],
)
def test_what_may_be_billed_counts_and_what_is_surely_free_does_not(
    verbs: journal.Journal, state: journal.State, counted: str
) -> None:
    job_in(verbs, state)

    assert verbs.spend() == Decimal(counted)


def test_a_refused_submit_gives_its_reserve_back(verbs: journal.Journal) -> None:
    job_id = job_in(verbs, journal.State.SUBMITTING, price="0.10", budget=limits("0.10"))

    verbs.apply(job_id, journal.Failed("The provider refused it.", billed=False))

    assert verbs.get(job_id).cost == 0
    intend(verbs, price="0.10", budget=limits("0.10"))


def test_the_cost_counts_instead_of_the_reserve_once_it_is_known(verbs: journal.Journal) -> None:
    verbs.apply(job_in(verbs, journal.State.COMPLETED), journal.Kept((), Decimal("0.015")))

    assert verbs.spend() == Decimal("0.015")
    intend(verbs, price="0.085", budget=limits("0.10"))


def test_the_reserve_becomes_the_cost_if_nothing_better_is_known(verbs: journal.Journal) -> None:
    job_id = job_in(verbs, journal.State.COMPLETED)

    assert verbs.apply(job_id, journal.Kept(())).cost == Decimal("0.04")


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def change(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield change
    monkeypatch.undo()
    time.tzset()


def test_the_cap_begins_again_at_local_midnight(
    verbs: journal.Journal, clock: Clock, zone: Callable[[str], None]
) -> None:
    zone("Pacific/Auckland")  # 13 hours ahead: noon UTC is 1 in the morning
    clock.now = NOON - 2 * 3600  # 23:00, the day before
    intend(verbs, price="1", budget=limits("1"))
    clock.now = NOON - 0.5 * 3600  # 00:30
    intend(verbs, price="1", budget=limits("1"))
    clock.now = NOON + 10 * 3600  # 23:00, the same day

    with pytest.raises(errors.BudgetExceeded):
        intend(verbs, price="0.01", budget=limits("1"))


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-07-01"])
def test_the_spend_and_the_cap_count_the_same_day_when_clocks_are_changed(
    verbs: journal.Journal, clock: Clock, zone: Callable[[str], None], day: str
) -> None:
    zone("Europe/Berlin")
    midnight = datetime.combine(date.fromisoformat(day), datetime.min.time()).replace(
        tzinfo=ZoneInfo("Europe/Berlin")
    )
    clock.now = midnight.timestamp() - 60
    intend(verbs, price="4")
    clock.now = midnight.timestamp() + 60
    intend(verbs, price="0.5", budget=limits("1"))
    clock.now = (midnight + timedelta(days=1)).timestamp() - 60
    intend(verbs, price="0.25", budget=limits("1"))

    assert verbs.spend(date.fromisoformat(day)) == Decimal("0.75")
    assert verbs.spend(midnight) == Decimal("0.75")
    assert verbs.spend_by("day")[day] == Decimal("0.75")
    with pytest.raises(errors.BudgetExceeded, match=r"\$0.75 spent or reserved today"):
        intend(verbs, price="0.5", budget=limits("1"))


def test_spend_sums_since_a_moment_and_in_groups(verbs: journal.Journal, clock: Clock) -> None:
    fast = ImageRequest.create("a hen", model="imagen4-fast")
    intend(verbs, price="1")
    clock.now += 60
    since = datetime.fromtimestamp(clock.now, tz=UTC)
    intend(verbs, price="0.1")
    intend(verbs, price="0.2", provider="kkiai")
    clock.now += 3 * DAY
    intend(verbs, fast, price="0.02", user="ann")

    assert verbs.spend() == Decimal("1.32")
    assert verbs.spend(since) == Decimal("0.32")
    assert verbs.spend_by("model", since) == {
        "fal-ai/imagen4/preview": Decimal("0.3"),
        "fal-ai/imagen4/preview/fast": Decimal("0.02"),
    }
    assert list(verbs.spend_by("provider")) == ["fal", "kkiai"]
    assert verbs.models() == []  # none of them is done
    assert verbs.spend_by("user") == {"": Decimal("1.3"), "ann": Decimal("0.02")}
    assert verbs.spend_by("day") == {"2026-11-23": Decimal("1.3"), "2026-11-26": Decimal("0.02")}
    assert verbs.spend(since + timedelta(seconds=1)) == Decimal("0.02")
    assert verbs.spend(since + timedelta(days=9)) == 0


def test_many_small_amounts_sum_exactly(verbs: journal.Journal) -> None:
    for _ in range(50):
        verbs.intend(draft(price="0.000001"), draft(price="0.039"), draft(price="0.0000001"))

    assert verbs.spend() == Decimal("1.950100")  # fractions of a millionth are rounded up


@pytest.mark.parametrize("amount", ["-0.01", "NaN", "Infinity"])
def test_what_is_not_an_amount_of_money_is_never_written(
    verbs: journal.Journal, amount: str
) -> None:
    with pytest.raises(ValueError, match="not an amount of money"):
        intend(verbs, price=amount)

    assert verbs.count() == 0


def test_no_error_echoes_the_prompt(verbs: journal.Journal) -> None:
    with pytest.raises(errors.BudgetExceeded) as refused:
        intend(verbs, "my secret prompt", price="2", budget=limits("1"))

    assert "secret" not in str(refused.value)


# --------------------------------------------------------------------------- who works on it


def test_a_job_with_a_live_lease_is_taken_by_nobody_else(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal]
) -> None:
    job_id = job_in(verbs, journal.State.SUBMITTED)
    other = open_journal()

    assert not other.lease(job_id)
    assert not verbs.lease(job_id)  # another thread of the same process asks like this
    assert other.pending() == []


def test_a_lease_that_ran_out_can_be_taken_once(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], clock: Clock
) -> None:
    job_id = job_in(verbs, journal.State.SUBMITTED)
    second, third = open_journal(), open_journal()
    clock.now += verbs.lease_seconds + 1

    assert ids(second.pending()) == [job_id]
    assert second.lease(job_id)
    assert not third.lease(job_id)
    assert verbs.renew(job_id) == 0


@pytest.mark.parametrize("state", sorted(OVER))
def test_a_job_that_is_over_is_taken_by_nobody(
    verbs: journal.Journal,
    open_journal: Callable[..., journal.Journal],
    clock: Clock,
    state: journal.State,
) -> None:
    """Another process may have finished it since it was listed as pending."""
    job_id = job_in(verbs, state)
    clock.now += verbs.lease_seconds + 1

    assert not open_journal().lease(job_id)


def test_a_released_job_can_be_taken_at_once(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal]
) -> None:
    job_id = job_in(verbs, journal.State.SUBMITTED)
    other = open_journal()

    other.release(job_id)  # not its own: no effect
    assert not other.lease(job_id)
    verbs.release(job_id)
    assert verbs.renew(job_id) == 0
    assert other.lease(job_id)


def test_jobs_are_held_for_as_long_as_somebody_renews_them(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], clock: Clock
) -> None:
    jobs = [job_in(verbs, journal.State.SUBMITTED) for _ in range(3)]
    other = open_journal()
    for _ in range(100):  # more than an hour
        clock.now += verbs.lease_seconds - 1
        assert verbs.renew(*jobs) == 3
        assert other.pending() == []

    verbs.release(jobs[0])
    assert verbs.renew(*jobs) == 2
    clock.now += verbs.lease_seconds + 1
    assert ids(other.pending()) == jobs


def test_each_step_holds_on_to_the_job(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], clock: Clock
) -> None:
    job_id = job_in(verbs, journal.State.SUBMITTED)
    clock.now += verbs.lease_seconds - 1
    verbs.apply(job_id, EVENTS[journal.State.COMPLETED])
    clock.now += verbs.lease_seconds - 1
    assert open_journal().pending() == []


def test_a_clock_set_back_by_a_day_locks_no_job_up(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], clock: Clock
) -> None:
    job_id = job_in(verbs, journal.State.SUBMITTED)
    clock.now -= DAY

    assert open_journal().lease(job_id)


def test_recovery_settles_what_nobody_works_on(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], clock: Clock
) -> None:
    left = {state: job_in(verbs, state) for state in PATHS}
    answered = job_in(verbs, journal.State.SUBMITTING)
    verbs.apply(answered, journal.Completed())  # answered at once, by bytes that are gone
    other = open_journal()
    assert other.recover() == []  # all of them are held
    clock.now += verbs.lease_seconds + 1

    lost = other.recover()

    assert ids(lost) == [left[journal.State.SUBMITTING]]
    after = {state: verbs.get(job_id) for state, job_id in left.items()}
    assert after[journal.State.INTENT].state is journal.State.FAILED
    assert after[journal.State.INTENT].cost == 0
    assert after[journal.State.SUBMITTING].state is journal.State.UNKNOWN
    untouched = set(PATHS) - {journal.State.INTENT, journal.State.SUBMITTING}
    assert {state: after[state].state for state in untouched} == {s: s for s in untouched}
    assert verbs.get(answered).state is journal.State.FAILED
    assert verbs.get(answered).amount == Decimal("0.04")
    assert other.recover() == []


def test_recovery_leaves_what_somebody_works_on_beside_what_nobody_does(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], clock: Clock
) -> None:
    left = intend(verbs)
    clock.now += verbs.lease_seconds + 1
    held = [job_in(verbs, state) for state in (journal.State.INTENT, journal.State.SUBMITTING)]

    open_journal().recover()

    states = [verbs.get(job_id).state.value for job_id in (left, *held)]
    assert states == ["failed", "intent", "submitting"]


def test_a_row_that_may_have_been_sent_is_unknown_when_its_process_is_dead(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], clock: Clock
) -> None:
    verbs.plan("autumn", rows("fox", 1))
    [row] = verbs.claim(series="autumn", count=1)
    verbs.apply(row.id, journal.Submitting())
    clock.now += verbs.lease_seconds + 1
    other = open_journal()

    [lost] = other.recover()

    assert (lost.id, lost.state, lost.amount) == (row.id, journal.State.UNKNOWN, Decimal("0.04"))
    assert other.claim(series="autumn", count=1) == []


def test_a_process_that_wakes_after_its_job_was_recovered_cannot_submit_it(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], clock: Clock
) -> None:
    job_id = intend(verbs)
    clock.now += verbs.lease_seconds + 1
    open_journal().recover()

    with pytest.raises(journal.IllegalStep, match="is failed and cannot become submitting"):
        verbs.apply(job_id, journal.Submitting())


def test_the_late_word_of_an_earlier_owner_changes_nothing_of_a_row_that_another_sends(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], clock: Clock
) -> None:
    verbs.plan("autumn", rows("fox", 1))
    [row] = verbs.claim(series="autumn", count=1)
    clock.now += verbs.lease_seconds + 1
    other = open_journal()
    other.recover()
    other.claim(series="autumn", count=1)
    other.apply(row.id, journal.Submitting())

    endings = (journal.Failed("no", billed=False), journal.Cancelled(), journal.Expired())
    for step in (journal.Submitted(TICKET, "req-1"), EVENTS[journal.State.COMPLETED]):
        for late in (journal.Submitting(), *endings):
            with pytest.raises(journal.IllegalStep, match=r"another process|cannot become"):
                verbs.apply(row.id, late)
        assert other.apply(row.id, step).status == "sent"
    for late in endings:
        with pytest.raises(journal.IllegalStep, match="another process"):
            verbs.apply(row.id, late)
    assert verbs.get(row.id).status == "sent"


def test_pending_lists_the_oldest_first(verbs: journal.Journal) -> None:
    jobs = [
        job_in(verbs, state)
        for state in (journal.State.SUBMITTED, journal.State.COMPLETED, journal.State.SUBMITTED)
    ]
    for job_id in jobs:
        verbs.release(job_id)

    assert ids(verbs.pending()) == jobs
    assert verbs.pending(series="autumn") == []


@pytest.mark.parametrize("state", ["intent", "submitting", "submitted", "completed"])
def test_no_equal_job_is_written_down_while_one_is_under_way_if_it_shall_be_alone(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], state: str
) -> None:
    other, job_id = open_journal(), job_in(verbs, journal.State(state))

    assert other.intend(draft(), alone=True, budget=limits("0.01")) == []
    assert other.spend() == Decimal("0.04")
    assert len(other.intend(draft("a hen"), alone=True)) == 1
    assert len(other.intend(draft(), alone=False)) == 1
    assert ids(other.find_pending(FOX.fingerprint, "fal", BASE_URL))[0] == job_id


@pytest.mark.parametrize("state", ["done", "failed", "unknown", "cancelled", "expired"])
def test_a_job_that_is_over_or_unknown_is_in_the_way_of_no_other(
    verbs: journal.Journal, state: str
) -> None:
    job_in(verbs, journal.State(state))

    assert len(verbs.intend(draft(), alone=True)) == 1


def test_of_equal_jobs_that_are_to_be_alone_one_is_written_down(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal]
) -> None:
    journals = [verbs, *(open_journal() for _ in range(3))]

    with ThreadPoolExecutor(4) as threads:
        written = list(threads.map(lambda each: each.intend(draft(), alone=True), journals))
    together = verbs.together(*[lambda: verbs.intend(draft("a hen"), alone=True)] * 3)

    assert sorted(map(len, written)) == [0, 0, 0, 1]
    assert sorted(map(len, together)) == [0, 0, 1]


def test_a_request_finds_what_is_paid_for_and_not_fetched(verbs: journal.Journal) -> None:
    unknown = job_in(verbs, journal.State.UNKNOWN)
    verbs.release(unknown)
    pending = [job_in(verbs, journal.State.SUBMITTED), job_in(verbs, journal.State.COMPLETED)]
    others = [job_in(verbs, journal.State.SUBMITTED, "a hen"), job_in(verbs, journal.State.DONE)]
    others.append(job_in(verbs, journal.State.SUBMITTED, provider="kkiai"))
    for job_id in (*pending, *others):
        verbs.release(job_id)

    assert ids(verbs.find_pending(FOX.fingerprint, "fal", BASE_URL)) == [*pending, unknown]
    assert verbs.find_pending(FOX.fingerprint, "fal", "https://other.test") == []


def test_unknown_jobs_are_listed_until_the_user_settles_them(verbs: journal.Journal) -> None:
    first, second = (job_in(verbs, journal.State.UNKNOWN) for _ in range(2))

    assert ids(verbs.unknown()) == [first, second]
    verbs.forget(first)
    verbs.forget(second, billed=False)

    assert verbs.unknown() == []
    assert verbs.spend() == Decimal("0.04")
    with pytest.raises(journal.IllegalStep, match="uncertain"):
        verbs.forget(first)


# ----------------------------------------------------------------------------------- series


def test_a_plan_reserves_nothing_and_its_rows_come_in_its_order(verbs: journal.Journal) -> None:
    assert plan(verbs, rows("fox", 5)) == (5, 0, 0, 0)

    assert verbs.states("autumn") == {"waiting": 5}
    assert verbs.spend() == 0
    records = verbs.query(journal.Filter(series="autumn", sort="plan"))
    assert [record.key for record in records] == list("01234")
    assert (
        verbs.query(journal.Filter(series="autumn", sort="plan"), limit=2, before=records[1])
        == (records[2:4])
    )


def test_a_claimed_row_is_claimed_once_and_only_its_claimant_may_send_it(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal]
) -> None:
    verbs.plan("autumn", rows("fox", 5))
    other = open_journal()

    mine = verbs.claim(series="autumn", count=3, user="ann")
    theirs = other.claim(series="autumn", count=3)

    assert [record.key for record in mine] == ["0", "1", "2"]
    assert [record.key for record in theirs] == ["3", "4"]
    assert mine == [verbs.get(record.id) for record in mine]
    assert (mine[0].state, mine[0].user, mine[0].request.prompt) == (
        journal.State.INTENT,
        "ann",
        "fox 0",
    )
    assert verbs.claim(series="autumn", count=3) == []
    with pytest.raises(journal.IllegalStep, match="another process"):
        other.apply(mine[0].id, journal.Submitting())
    assert verbs.apply(mine[0].id, journal.Submitting()).state is journal.State.SUBMITTING
    assert verbs.spend_by("series") == {"autumn": Decimal("0.2")}


def test_a_claimed_row_counts_for_the_day_and_the_user_of_its_sending(
    verbs: journal.Journal, clock: Clock
) -> None:
    verbs.plan("autumn", rows("fox", 1, price="0.04"), user="bob")
    clock.now += DAY
    day = datetime.fromtimestamp(clock.now, tz=UTC).astimezone().date().isoformat()

    [row] = verbs.claim(series="autumn", count=1, user="ann")

    assert verbs.spend_by("day") == {day: Decimal("0.04")}
    assert verbs.spend_by("user") == {"ann": Decimal("0.04")}
    assert journal.check_journal(verbs) == []
    verbs.apply(row.id, journal.Failed("No.", billed=False))
    assert verbs.spend_by("day") == verbs.spend_by("user") == {}


def test_a_run_that_is_halted_claims_no_more_rows_and_other_runs_go_on(
    verbs: journal.Journal,
) -> None:
    verbs.plan("autumn", rows("fox", 5))
    assert len(verbs.claim(series="autumn", count=1, run="aaaa")) == 1

    verbs.halt("autumn", "aaaa")
    verbs.halt("autumn", "bbbb")

    assert verbs.claim(series="autumn", count=1, run="aaaa") == []
    assert verbs.claim(series="autumn", count=1, run="bbbb") == []
    assert len(verbs.claim(series="autumn", count=1, run="cccc")) == 1
    assert len(verbs.claim(series="autumn", count=1)) == 1
    assert verbs.spent_on("autumn") == Decimal("0.12")
    assert verbs.spent_on("winter") == 0


def test_rows_are_claimed_for_as_long_as_every_budget_lasts(verbs: journal.Journal) -> None:
    verbs.plan("autumn", rows("fox", 9, price="0.10"))
    intend(verbs, price="0.50")

    assert len(verbs.claim(series="autumn", count=9, budget=limits("0.75"))) == 2
    with pytest.raises(errors.BudgetExceeded, match=r"\$0.70 spent or reserved today"):
        verbs.claim(series="autumn", count=9, budget=limits("0.75"))
    assert len(verbs.claim(series="autumn", count=9, series_cap=Decimal("0.35"))) == 1
    with pytest.raises(errors.BudgetExceeded, match=r"in the series.*max_spend of \$0.35"):
        verbs.claim(series="autumn", count=9, series_cap=Decimal("0.35"))
    assert verbs.states("autumn") == {"sent": 3, "waiting": 6}
    assert verbs.spend() == Decimal("0.8")


def test_a_row_of_unknown_price_is_not_claimed_under_a_budget(verbs: journal.Journal) -> None:
    verbs.plan("autumn", [*rows("fox", 1), draft("owl", price=None, key="owl", ordinal=1)])

    assert len(verbs.claim(series="autumn", count=9, budget=limits("9"))) == 1
    with pytest.raises(errors.BudgetExceeded, match="IMAGEN_PRICE"):
        verbs.claim(series="autumn", count=9, budget=limits("9"))
    assert len(verbs.claim(series="autumn", count=9)) == 1


def test_a_row_that_was_never_sent_waits_again_when_its_process_is_dead(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], clock: Clock
) -> None:
    verbs.plan("autumn", rows("fox", 2))
    verbs.claim(series="autumn", count=2)
    clock.now += verbs.lease_seconds + 1
    other = open_journal()

    assert other.recover() == []
    assert other.states("autumn") == {"waiting": 2}
    assert other.spend() == 0
    assert len(other.claim(series="autumn", count=9)) == 2


def test_a_table_that_grows_keeps_what_is_paid(verbs: journal.Journal) -> None:
    verbs.plan("autumn", rows("fox", 3))
    for record in verbs.claim(series="autumn", count=2):
        walk(verbs, record.id, journal.State.DONE)

    assert plan(verbs, rows("fox", 4)) == (1, 3, 0, 0)

    assert verbs.states("autumn") == {"done": 2, "waiting": 2}
    asked = [(row.key, row.request.fingerprint) for row in rows("fox", 4)]
    assert verbs.kept_keys("autumn", asked, provider="fal") == {"0": "done", "1": "done"}
    assert verbs.kept_keys("autumn", asked, provider="kkiai") == {}


def test_rows_whose_request_has_changed_wait_and_those_that_left_the_plan_are_kept(
    verbs: journal.Journal,
) -> None:
    verbs.plan("autumn", rows("fox", 3))
    done, _ = (r.id for r in verbs.claim(series="autumn", count=2))
    walk(verbs, done, journal.State.DONE)

    assert plan(verbs, rows("owl", 3)) == (3, 0, 1, 2)

    assert verbs.states("autumn") == {"waiting": 3}
    assert verbs.get(done).planned is False
    assert verbs.spend_by("series") == {"autumn": Decimal("0.08")}
    assert plan(verbs, rows("fox", 1)) == (0, 1, 3, 0)  # what was paid comes back into the plan
    assert verbs.states("autumn") == {"done": 1}


def test_a_row_keeps_its_job_when_its_key_moves(verbs: journal.Journal) -> None:
    verbs.plan("autumn", rows("fox", 3))
    [first] = verbs.claim(series="autumn", count=1)
    walk(verbs, first.id, journal.State.DONE)
    moved = [draft(f"fox {n}", key=f"new {n}", ordinal=9 - n, axes={"n": n}) for n in range(3)]

    assert plan(verbs, moved) == (0, 3, 0, 0)
    record = verbs.get(first.id)
    assert (record.key, record.ordinal, record.axes) == ("new 0", 9, {"n": 0})


@pytest.mark.parametrize("paid", [0, 1])
def test_of_equal_rows_whose_keys_move_the_paid_one_is_kept(
    verbs: journal.Journal, paid: int
) -> None:
    verbs.plan("autumn", [draft("a fox", key=str(n), ordinal=n) for n in range(2)])
    claimed = verbs.claim(series="autumn", count=2)
    walk(verbs, claimed[paid].id, journal.State.DONE)
    verbs.apply(claimed[1 - paid].id, journal.Failed("Wrong key.", billed=False))

    assert plan(verbs, [draft("a fox", key="moved")]) == (0, 1, 0, 1)
    assert verbs.states("autumn") == {"done": 1}


def test_equal_rows_are_separate_rows(verbs: journal.Journal) -> None:
    def equal(count: int) -> list[journal.Draft]:
        return [draft("a fox", key=str(n), ordinal=n) for n in range(count)]

    verbs.plan("autumn", equal(2))
    for record in verbs.claim(series="autumn", count=2):
        walk(verbs, record.id, journal.State.DONE)

    assert plan(verbs, equal(5)) == (3, 2, 0, 0)
    assert plan(verbs, equal(1)) == (0, 1, 3, 1)
    assert verbs.states("autumn") == {"done": 1}
    with pytest.raises(ValueError, match="same key"):
        verbs.plan("autumn", [draft("a", key="1"), draft("b", key="1")])


def test_a_waiting_row_takes_the_price_of_its_last_plan(verbs: journal.Journal) -> None:
    verbs.plan("autumn", rows("fox", 1, price=None))
    verbs.plan("autumn", rows("fox", 1, price="0.30"))

    assert verbs.claim(series="autumn", count=1)[0].price == Decimal("0.30")


def test_a_row_that_was_claimed_keeps_its_price_and_address_in_a_new_plan(
    verbs: journal.Journal,
) -> None:
    verbs.plan("autumn", rows("fox", 1, price="0.04"))
    claimed = verbs.claim(series="autumn", count=1)[0]
    verbs.plan("autumn", [replace(row, base_url="https://x.test") for row in rows("fox", 1)])
    verbs.plan("autumn", rows("fox", 1, price="0.30"))

    row = verbs.get(claimed.id)

    assert (row.price, row.base_url) == (Decimal("0.04"), BASE_URL)
    assert verbs.spend() == Decimal("0.04")


def test_a_demo_row_is_not_a_real_one(verbs: journal.Journal) -> None:
    verbs.plan("autumn", rows("fox", 1, provider="demo", price="0"))
    walk(verbs, verbs.claim(series="autumn", count=1)[0].id, journal.State.DONE)

    assert plan(verbs, rows("fox", 1)) == (1, 0, 0, 1)


def test_rows_that_the_provider_never_took_can_be_tried_again(verbs: journal.Journal) -> None:
    verbs.plan("autumn", rows("fox", 6))
    key, content, taken, gone, unsure, direct = verbs.claim(series="autumn", count=6)
    verbs.apply(key.id, journal.Failed("Wrong key.", billed=False, trouble="CredentialsError"))
    verbs.apply(content.id, journal.Failed("Not this.", billed=False, trouble="ContentRejected"))
    walk(verbs, taken.id, journal.State.SUBMITTED)
    verbs.apply(taken.id, journal.Failed("It broke.", billed=False))
    verbs.apply(gone.id, journal.Cancelled())
    walk(verbs, unsure.id, journal.State.UNKNOWN)
    verbs.apply(direct.id, journal.Submitting())  # answered at once, and nothing came of it
    verbs.apply(direct.id, journal.Failed("It broke.", billed=True))
    assert verbs.states("autumn") == {"refused": 3, "failed": 2, "unknown": 1}

    assert verbs.retry("autumn") == 2

    assert verbs.states("autumn") == {"waiting": 2, "refused": 2, "failed": 1, "unknown": 1}
    assert [r.key for r in verbs.claim(series="autumn", count=9)] == [key.key, gone.key]


def test_what_a_series_is_made_from_is_kept(verbs: journal.Journal, clock: Clock) -> None:
    verbs.save_series("autumn", {"template": "a {animal}"})
    clock.now += 1
    verbs.save_series("winter", {})
    verbs.save_series("autumn", {"template": "the {animal}"})

    assert verbs.series("autumn") == {"template": "the {animal}"}
    assert verbs.series("spring") is None
    assert verbs.all_series() == ["winter", "autumn"]


# ---------------------------------------------------------------------------------- reading


def test_jobs_come_newest_first_whatever_the_clock_did(
    verbs: journal.Journal, clock: Clock
) -> None:
    jobs = []
    for _ in range(5):
        jobs.append(intend(verbs))
        clock.now -= 3600

    assert ids(verbs.query()) == jobs[::-1]
    assert ids(verbs.query(journal.Filter(sort="oldest"), limit=2)) == jobs[:2]
    pages: list[str] = []
    before = None
    while page := verbs.query(limit=2, before=before):
        pages += ids(page)
        before = page[-1]
    assert pages == jobs[::-1]


def test_a_row_that_was_planned_early_and_sent_late_is_new(verbs: journal.Journal) -> None:
    verbs.plan("autumn", rows("fox", 1))
    single = intend(verbs)
    [claimed] = verbs.claim(series="autumn", count=1)

    assert ids(verbs.query()) == [claimed.id, single]
    assert ids(verbs.query(journal.Filter(text="fox 0"))) == [claimed.id]


def test_jobs_are_chosen_by_what_a_filter_says(verbs: journal.Journal, clock: Clock) -> None:
    demo = job_in(verbs, journal.State.DONE, provider="demo", user="ann")
    clock.now += 60
    hen = job_in(verbs, journal.State.DONE, ImageRequest.create("a hen", model="imagen4-fast"))
    clock.now += 60
    fox = job_in(verbs, journal.State.DONE)
    out = job_in(verbs, journal.State.SUBMITTED)
    verbs.rate(hen, 4)
    verbs.rate(fox, 2)
    middle = datetime.fromtimestamp(NOON + 60, tz=UTC)

    for expected, given in {
        (out, fox, hen, demo): {},
        (fox, hen, demo): {"has_pictures": True},
        (fox, hen): {"states": {journal.State.DONE}, "since": middle},
        (hen,): {"model": "fal-ai/imagen4/preview/fast"},
        (out,): {"states": {journal.State.SUBMITTED, journal.State.UNKNOWN}},
        (hen, fox, out, demo): {"sort": "rating"},
        (hen, fox): {"rating": 1, "sort": "rating"},
        (fox, hen, out)[:2]: {"rating": 2},
    }.items():
        assert tuple(ids(verbs.query(journal.Filter(**given)))) == expected  # type: ignore[arg-type]
        assert verbs.count(journal.Filter(**given)) == len(expected)  # type: ignore[arg-type]
    assert ids(verbs.query(journal.Filter(provider="demo"))) == ids(
        verbs.query(journal.Filter(user="ann"))
    )
    assert verbs.query(journal.Filter(states=set())) == []


def test_deleted_jobs_are_in_the_trash_and_their_bill_stays(verbs: journal.Journal) -> None:
    kept, deleted = job_in(verbs, journal.State.DONE), job_in(verbs, journal.State.DONE)

    verbs.delete(deleted)

    assert ids(verbs.query()) == [kept]
    assert (verbs.count(), verbs.count(journal.Filter(deleted=None))) == (1, 2)
    assert ids(verbs.query(journal.Filter(deleted=True))) == [deleted]
    assert (verbs.uses(PICTURE.digest), verbs.uses("sha256:00")) == (1, 0)
    assert verbs.spend() == Decimal("0.08")
    found = verbs.find(FOX.fingerprint, "fal")
    assert found is not None
    assert found.id == kept
    verbs.undelete(deleted)
    assert verbs.count(journal.Filter(has_pictures=True)) == 2
    with pytest.raises(journal.IllegalStep, match="only one that is over"):
        verbs.delete(job_in(verbs, journal.State.SUBMITTED))


def test_a_rating_is_up_to_5_stars_or_minus_1_for_rejected(verbs: journal.Journal) -> None:
    job_id = job_in(verbs, journal.State.DONE)

    verbs.rate(job_id, 5)
    with pytest.raises(ValueError, match="-1 to 5"):
        verbs.rate(job_id, 6)

    assert verbs.get(job_id).rating == 5


@pytest.mark.parametrize(
    "text", ["fox", "SNOW red", "ox now", "СНЕГ", "100%", "_", '"', "狐狸", "a r", "ß", ""]
)
def test_search_finds_prompts_with_all_words_whatever_their_case(
    verbs: journal.Journal, text: str
) -> None:
    wanted = intend(verbs, 'A Red Fox in snow, снег, 100% _ "so" 一只狐狸 STRASSE')
    intend(verbs, "nothing of it")

    assert ids(verbs.query(journal.Filter(text=text)))[-1] == wanted
    assert verbs.count(journal.Filter(text=text)) == (1 if text else 2)
    assert verbs.count(journal.Filter(text=f"{text} zebra")) == 0
    assert (
        verbs.count(journal.Filter(text=text, since=datetime.fromtimestamp(NOON + 1, tz=UTC))) == 0
    )


@pytest.mark.parametrize("typed", ["Ein grünes Café, 100% é", "한국어 그림, é"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_an_accent_is_found_however_it_is_written(
    verbs: journal.Journal, typed: str, form: Form, asked: Form
) -> None:
    wanted = intend(verbs, unicodedata.normalize(form, typed))
    intend(verbs, "nothing of it")

    for word in typed.upper().split():
        text = unicodedata.normalize(asked, f"{word} {word[0]}")
        assert ids(verbs.query(journal.Filter(text=text))) == [wanted], word


def test_the_same_request_is_found_again_the_newest_first(verbs: journal.Journal) -> None:
    job_in(verbs, journal.State.DONE)
    newest = job_in(verbs, journal.State.DONE)
    intend(verbs)

    found = verbs.find(FOX.fingerprint, "fal")

    assert found is not None
    assert (found.id, found.images) == (newest, (PICTURE,))
    assert verbs.find(FOX.fingerprint, "demo") is None


@pytest.mark.parametrize("state", [s for s in PATHS if s is not journal.State.DONE])
def test_only_a_done_job_answers_a_request(verbs: journal.Journal, state: journal.State) -> None:
    job_in(verbs, state)

    assert verbs.find(FOX.fingerprint, "fal") is None


def test_a_picture_that_the_provider_withheld_answers_nothing(verbs: journal.Journal) -> None:
    job_id = job_in(verbs, journal.State.COMPLETED)
    black = journal.KeptImage(0, "sha256:00", "image/png", 1, 1, 1, filtered=True)

    verbs.apply(job_id, journal.Kept((black,)))

    assert verbs.get(job_id).images == (black,)
    assert verbs.find(FOX.fingerprint, "fal") is None
    assert verbs.count(journal.Filter(has_pictures=True)) == 0


def test_service_times_are_the_latest_of_one_model_at_one_provider(verbs: journal.Journal) -> None:
    job_in(verbs, journal.State.DONE, provider="demo")
    job_in(verbs, journal.State.COMPLETED)
    for _ in range(3):
        job_in(verbs, journal.State.DONE)

    assert verbs.service_times(FOX.model, "fal") == [7.5] * 3
    assert verbs.service_times("other/model", "fal") == []


# --------------------------------------------------------------------------------- together


def test_calls_that_are_made_together_are_undone_alone(verbs: journal.Journal) -> None:
    job_id = job_in(verbs, journal.State.SUBMITTED)

    bad, first, worse, second, third = verbs.together(
        lambda: verbs.rate(job_id, 99),
        lambda: intend(verbs),
        lambda: verbs.rate(job_id, 99),
        lambda: verbs.apply(job_id, journal.Completed(), journal.Cancelled()),
        lambda: verbs.apply(job_id, journal.Completed()),
    )

    assert verbs.get(first).state is journal.State.INTENT
    assert [type(error) for error in (bad, worse)] == [ValueError] * 2
    assert isinstance(second, journal.IllegalStep)
    assert third == verbs.get(job_id)
    assert verbs.together() == []


# ---------------------------------------------------------------------------- copy and check


@pytest.mark.slow
def test_a_copy_has_everything_and_can_be_repeated(
    verbs: journal.Journal, tmp_path: Path, postgres: PostgresServer, clock: Clock
) -> None:
    for state in PATHS:
        verbs.release(job_in(verbs, state, f"a {state} fox"))
    verbs.plan("autumn", rows("fox", 3))
    verbs.release(verbs.claim(series="autumn", count=1)[0].id)
    verbs.rate(job_in(verbs, journal.State.DONE), 3)
    places = [None, postgres.make_database(), None]
    source = verbs
    for number, address in enumerate(places):
        target = jobs.open_journal(tmp_path / f"copy {number}", address, clock=clock)
        with contextlib.closing(target):
            first = journal.copy_journal(source, target)
            again = journal.copy_journal(source, target)

            assert (first.jobs, first.series) == (len(PATHS) + 4, 1)
            assert (again.jobs, again.known, again.differing) == (0, len(PATHS) + 4, ())
            for wanted in (
                journal.Filter(sort="oldest"),
                journal.Filter(series="autumn", sort="plan"),
            ):
                assert same(target.query(wanted)) == same(source.query(wanted))
            assert target.spend_by("day") == source.spend_by("day")
            assert journal.check_journal(target) == []
            with pytest.raises(errors.BudgetExceeded):
                intend(target, price="0.01", budget=limits(str(target.spend())))


def same(records: list[journal.Record]) -> list[Any]:
    return [{**vars(record), "seq": None} for record in records]


def test_a_copy_leaves_what_is_newer_as_it_is_and_waits_for_work_to_end(
    verbs: journal.Journal, tmp_path: Path, clock: Clock
) -> None:
    job_id = job_in(verbs, journal.State.SUBMITTED)
    with contextlib.closing(jobs.open_journal(tmp_path / "copy", clock=clock)) as target:
        with pytest.raises(errors.JournalError, match="1 job under way"):
            journal.copy_journal(verbs, target)
        verbs.release(job_id)
        journal.copy_journal(verbs, target)
        target.apply(job_id, *[EVENTS[state] for state in PATHS[journal.State.DONE][2:]])

        assert journal.copy_journal(verbs, target).differing == (job_id,)
        assert target.get(job_id).state is journal.State.DONE


def test_any_mix_of_verbs_leaves_sums_that_are_those_of_the_rows(
    verbs: journal.Journal, open_journal: Callable[..., journal.Journal], clock: Clock
) -> None:
    other, numbers = open_journal(), itertools.count()
    for state in [*PATHS, *PATHS]:
        verbs.plan("autumn", rows("fox", next(numbers) % 7 + 1, price="0.13"))
        with contextlib.suppress(errors.BudgetExceeded):
            claimed = other.claim(
                series="autumn", count=2, user="bob", budget=limits("3"), series_cap=Decimal(2)
            )
            for record in claimed:
                walk(other, record.id, state)
        other.delete(job_in(other, journal.State.DONE))
        clock.now += DAY * 0.7
        verbs.retry("autumn")
        verbs.recover()
        assert journal.check_journal(verbs) == []
    assert json.loads(json.dumps(verbs.states("autumn")))
