"""The journal's laws: steps, money, leases, privacy, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagen_widget import _journal_file, _journal_lease
from imagen_widget._journal import LEASE_SECONDS, IllegalStep, ImageRow, Journal, State
from imagen_widget._journal_file import JournalFile, explain, is_on_network, migrate
from imagen_widget._journal_rows import STEPS, to_micros
from imagen_widget._request import ImageRequest
from imagen_widget.errors import BudgetExceeded, JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
FOX = ImageRequest.create("a red fox")
PICTURE = ImageRow(0, "sha256:" + "ab" * 32, "image/png", 640, 480, 1234, "https://x.test/0.png")
TICKET = '{"request_id": "req-1"}'
HOST = platform.node()


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


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


def intend(
    journal: Journal,
    request: ImageRequest = FOX,
    *,
    provider: str = "fal",
    price: str | None = "0.04",
    cap: str | None = None,
) -> str:
    return journal.intend(
        request,
        provider=provider,
        base_url="https://queue.test",
        price=None if price is None else Decimal(price),
        cap=None if cap is None else Decimal(cap),
    )


STEPPERS: dict[State, Callable[[Journal, str], None]] = {
    State.SUBMITTING: Journal.submitting,
    State.SUBMITTED: lambda journal, job: journal.promise(job, TICKET, "req-1"),
    State.UNKNOWN: lambda journal, job: journal.unknown(job, "The answer was lost."),
    State.COMPLETED: lambda journal, job: journal.completed(
        job, seconds=7.5, seed=42, description="a fox", urls=["https://x.test/0.png"]
    ),
    State.DOWNLOADED: lambda journal, job: journal.downloaded(job, [PICTURE]),
    State.DONE: lambda journal, job: journal.done(job, Decimal("0.04")),
    State.FAILED: lambda journal, job: journal.failed(job, "It broke.", billed=True),
    State.CANCELLED: Journal.cancelled,
    State.EXPIRED: Journal.expired,
}


def take(journal: Journal, job_id: str, state: State) -> None:
    """Call the method that takes a job to a state."""
    STEPPERS[state](journal, job_id)


PATHS = {
    State.INTENT: [],
    State.SUBMITTING: [State.SUBMITTING],
    State.UNKNOWN: [State.SUBMITTING, State.UNKNOWN],
    State.SUBMITTED: [State.SUBMITTING, State.SUBMITTED],
    State.COMPLETED: [State.SUBMITTING, State.SUBMITTED, State.COMPLETED],
    State.DOWNLOADED: [State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.DOWNLOADED],
    State.DONE: [
        *(State.SUBMITTING, State.SUBMITTED, State.COMPLETED),
        *(State.DOWNLOADED, State.DONE),
    ],
    State.FAILED: [State.SUBMITTING, State.FAILED],
    State.CANCELLED: [State.CANCELLED],
    State.EXPIRED: [State.SUBMITTING, State.SUBMITTED, State.EXPIRED],
}


def job_in(journal: Journal, state: State, request: ImageRequest = FOX, **how: str) -> str:
    """Write a job and walk it to a state."""
    job_id = intend(journal, request, **how)
    for step in PATHS[state]:
        take(journal, job_id, step)
    return job_id


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


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=60)
    return ended.pid


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


def test_a_killed_process_that_nobody_waited_for_counts_as_dead() -> None:
    corpse = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = _journal_lease._start_token(corpse.pid)  # noqa: SLF001 - what its own journal writes
    owner = f"{HOST}:{corpse.pid}:{start}:x"

    with corpse:
        assert not _journal_lease.is_dead(owner)
        corpse.kill()
        os.waitid(os.P_PID, corpse.pid, os.WEXITED | os.WNOWAIT)
        assert _journal_lease.is_dead(owner)


@pytest.mark.parametrize(
    "owner", ["elsewhere:1:x:y", "", "nonsense", f"{HOST}:x:y:z", f"{HOST}:{2**70}::x"]
)
def test_a_name_that_cannot_be_judged_counts_as_alive(owner: str) -> None:
    assert not _journal_lease.is_dead(owner)


def test_this_process_is_alive() -> None:
    assert not _journal_lease.is_dead(_journal_lease.new_owner())


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


# ---------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_files_are_private_under_any_umask(home: Path, umask: int) -> None:
    nested = home / "deep" / "down"
    before = os.umask(umask)
    try:
        with contextlib.closing(Journal(nested)) as journal:
            intend(journal)

            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in nested.iterdir()}
    finally:
        os.umask(before)

    assert modes == {
        "journal.sqlite3": 0o600,
        "journal.sqlite3-wal": 0o600,
        "journal.sqlite3-shm": 0o600,
    }
    assert {stat.S_IMODE(p.stat().st_mode) for p in (nested, nested.parent, home)} == {0o700}


def test_a_folder_that_the_user_made_keeps_its_mode(home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)

    with contextlib.closing(Journal(home)) as journal:
        intend(journal)

    assert stat.S_IMODE(home.stat().st_mode) == 0o755


def test_a_journal_that_others_could_read_is_made_private(home: Path) -> None:
    with contextlib.closing(Journal(home)) as journal:
        intend(journal)
        journal.close()
        journal.path.chmod(0o644)

        intend(journal)

        assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600


def test_commits_are_durable_and_writers_do_not_block_readers(journal: Journal) -> None:
    intend(journal)

    with journal._reading() as db:  # noqa: SLF001 - the settings live in the connection
        settings = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("synchronous", "journal_mode", "foreign_keys")
        }

    assert settings == {"synchronous": 2, "journal_mode": "wal", "foreign_keys": 1}


def test_a_network_disk_gets_a_rollback_journal(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_journal_file, "_mounts", lambda: "server:/x / nfs4 rw 0 0\n")

    with contextlib.closing(Journal(home)) as journal:
        job_id = intend(journal)

        assert [path.name for path in home.iterdir()] == ["journal.sqlite3"]
        assert journal.get(job_id).state is State.INTENT


def test_a_file_in_wal_mode_is_changed_back_on_a_network_disk(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(Journal(home)) as journal:
        job_id = intend(journal)
    monkeypatch.setattr(_journal_file, "_mounts", lambda: "server:/x / nfs rw 0 0\n")

    with contextlib.closing(Journal(home)) as journal:
        assert journal.get(job_id).state is State.INTENT
        assert [path.name for path in home.iterdir()] == ["journal.sqlite3"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/ann/imagen", True),
        ("/home/local/imagen", False),
        ("/tmp/x", False),  # noqa: S108 - no file is made, it is a name in a table
        ("/with space/x", True),
    ],
)
def test_the_nearest_mount_tells_whether_a_path_is_on_a_network(path: str, expected: bool) -> None:  # noqa: FBT001 - one column of a table
    mounts = (
        "overlay / overlay rw 0 0\nsrv:/h /home nfs4 rw 0 0\n/dev/sda /home/local ext4 rw 0 0\n"
        "me@host: /with\\040space fuse.sshfs rw 0 0\nbroken line\n\n"
    )

    assert is_on_network(Path(path), mounts=mounts) is expected


def test_an_older_schema_is_brought_forward_with_its_rows(tmp_path: Path) -> None:
    old = (("CREATE TABLE things (name TEXT)", "INSERT INTO things VALUES ('kept')"),)
    new = (*old, ("ALTER TABLE things ADD COLUMN size INTEGER DEFAULT 7",), ("SELECT 1",))

    with contextlib.closing(sqlite3.connect(tmp_path / "x", isolation_level=None)) as db:
        migrate(db, migrations=old)
        migrate(db, migrations=new)
        migrate(db, migrations=new)

        assert db.execute("SELECT name, size FROM things").fetchall() == [("kept", 7)]
        assert db.execute("PRAGMA user_version").fetchone() == (3,)


def test_a_migration_that_fails_half_way_changes_nothing(tmp_path: Path) -> None:
    broken = (("CREATE TABLE things (name TEXT)",), ("CREATE TABLE more (x)", "no SQL"))

    with contextlib.closing(sqlite3.connect(tmp_path / "x", isolation_level=None)) as db:
        with pytest.raises(sqlite3.OperationalError):
            migrate(db, migrations=broken)

        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        assert db.execute("PRAGMA user_version").fetchone() == (0,)


def test_a_newer_schema_is_left_alone_and_the_error_says_to_upgrade(journal: Journal) -> None:
    intend(journal)
    journal.close()
    with contextlib.closing(sqlite3.connect(journal.path)) as db:
        db.execute("PRAGMA user_version = 99")

    with pytest.raises(JournalError, match=r"schema 99.*Upgrade imagen-widget"):
        intend(journal)


def test_a_journal_that_was_moved_away_is_made_anew(journal: Journal, tmp_path: Path) -> None:
    """A row in a file that nobody finds again would be a lost job."""
    intend(journal)
    for path in list(journal.path.parent.iterdir()):
        path.rename(tmp_path / path.name)

    job_id = intend(journal)

    assert journal.path.exists()
    assert [row.id for row in journal.rows()] == [job_id]


def test_a_closed_journal_opens_again(journal: Journal) -> None:
    job_id = intend(journal)

    journal.close()

    assert journal.get(job_id).id == job_id


def test_an_interrupt_inside_a_transaction_leaves_nothing_and_breaks_nothing(home: Path) -> None:
    times = iter([NOON])

    def clock() -> float:
        for now in times:
            return now
        raise KeyboardInterrupt

    with contextlib.closing(Journal(home, clock=clock)) as journal:
        job_id = intend(journal)

        with pytest.raises(KeyboardInterrupt):
            journal.submitting(job_id)  # the step is written, its lease is not

        assert journal.get(job_id).state is State.INTENT
        times = iter([NOON])
        journal.submitting(job_id)
        assert journal.get(job_id).state is State.SUBMITTING


def test_a_transaction_left_open_by_an_interrupt_is_undone(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "x")
    with file.transaction("IMMEDIATE") as db:
        pass
    db.execute("BEGIN IMMEDIATE")
    db.execute("PRAGMA user_version = 7")

    with file.transaction("DEFERRED") as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 1
    file.close()


def test_threads_share_one_journal(journal: Journal) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                job_in(journal, State.DONE)
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert failures == []
    assert len(journal.rows(state=State.DONE)) == 20


def test_a_forked_process_writes_with_a_connection_a_lock_and_a_name_of_its_own(
    journal: Journal,
) -> None:
    mine = intend(journal)

    def child() -> None:
        signal.alarm(60)  # a lock that came along locked would hang here
        theirs = job_in(journal, State.SUBMITTED)
        assert not journal.lease(theirs)
        assert len(_journal_file._INHERITED) == 1  # noqa: SLF001 - kept, but never used nor closed
        with pytest.raises(IllegalStep):
            journal.submitting(mine)

    with journal._locked():  # noqa: SLF001 - as if another thread were at work during the fork
        assert in_a_child(child) == (0, "")

    assert journal.get(mine).state is State.INTENT
    assert [row.state for row in journal.pending()] == [State.SUBMITTED]
    journal.submitting(mine)


# ------------------------------------------------------------------------------- when it cannot


def in_a_child(work: Callable[[], None], *, user: int | None = None) -> tuple[int, str]:
    """Run `work` in a forked process, as another user if asked; return exit code and error text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 5
        try:
            if user is not None and os.geteuid() == 0:
                os.setuid(user)
            work()
            code = 0
        except JournalError as error:
            os.write(writer, str(error).encode())
            code = 1
        except BaseException as error:  # noqa: BLE001 - told to the parent, which asserts on it
            os.write(writer, repr(error).encode())
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:  # noqa: PTH123 - a descriptor, not a path
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), text


@pytest.fixture
def reachable() -> Iterator[Path]:
    """Give a folder that any user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


NOBODY = 65534


def attempt(home: Path) -> None:
    intend(Journal(home))


def test_a_read_only_journal_says_so_and_sends_nothing(reachable: Path) -> None:
    with contextlib.closing(Journal(reachable)) as journal:
        intend(journal)
    journal.path.chmod(0o444)
    reachable.chmod(0o555)

    code, text = in_a_child(lambda: attempt(reachable), user=NOBODY)

    assert code == 1
    assert text == (
        f"The journal cannot be used: it is read-only ({journal.path})."
        " Nothing was sent. Set IMAGEN_HOME to a folder that you may write."
    )


def test_a_folder_that_may_not_be_written_says_so_and_sends_nothing(reachable: Path) -> None:
    reachable.chmod(0o555)
    home = reachable / "imagen"

    code, text = in_a_child(lambda: attempt(home), user=NOBODY)

    assert code == 1
    assert text.startswith("The journal cannot be used: writing is not permitted")
    assert "Nothing was sent. Set IMAGEN_HOME" in text


def test_a_disk_that_takes_no_more_bytes_stops_before_anything_is_sent(journal: Journal) -> None:
    intend(journal)

    def with_no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        intend(journal)

    code, text = in_a_child(with_no_room)

    assert code == 1, text
    assert text.startswith("The journal cannot be used: ")
    assert "Nothing was sent." in text
    assert len(journal.rows()) == 1


def test_a_full_disk_is_called_full(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "x")) as db:
        db.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as full:
            db.execute("CREATE TABLE t AS SELECT zeroblob(100000)")

    told = explain(full.value, tmp_path / "x", after="")

    assert "the disk is full" in str(told)


def test_a_locked_journal_says_so(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_journal_file, "BUSY_SECONDS", 0.01)
    intend(journal)
    journal.close()

    with contextlib.closing(sqlite3.connect(journal.path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match=r"locked.*Nothing was sent.*try again"):
            intend(journal)
        holder.execute("COMMIT")

    assert len(journal.rows()) == 1


def test_a_file_that_is_no_database_says_so(home: Path) -> None:
    home.mkdir()
    (home / "journal.sqlite3").write_bytes(b"this is a text file, not a database. " * 100)

    with (
        contextlib.closing(Journal(home)) as journal,
        pytest.raises(JournalError, match=r"damaged or no SQLite database.*Nothing was sent"),
    ):
        intend(journal)


def test_a_home_that_is_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "home.txt").touch()

    with pytest.raises(JournalError, match=r"cannot be used.*IMAGEN_HOME"):
        intend(Journal(tmp_path / "home.txt"))


def test_after_a_submit_no_error_claims_that_nothing_was_sent(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_journal_file, "BUSY_SECONDS", 0.01)
    job_id = job_in(journal, State.SUBMITTING)
    journal.close()

    with contextlib.closing(sqlite3.connect(journal.path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError) as told:
            journal.promise(job_id, TICKET, "req-1")

    assert "Nothing was sent" not in str(told.value)


def test_no_error_echoes_the_prompt(journal: Journal) -> None:
    with pytest.raises(BudgetExceeded) as refused:
        intend(journal, ImageRequest.create("my secret prompt"), price="2", cap="1")

    assert "secret" not in str(refused.value)
