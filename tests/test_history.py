"""History: what was made, what it cost, and the way back to what is paid and not yet fetched."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from imagen_widget import (
    Generation,
    History,
    ImageRequest,
    Resumed,
    Studio,
    errors,
    generate,
)
from tests import books
from tests.conftest import LeaveBehind
from tests.fakequeue import Break, FakeQueue, Reply, picture
from tests.jobs import job_in, journal, open_journal

pytestmark = pytest.mark.usefixtures("queue", "quick")

FOX = ImageRequest.create("a red fox")
GONE_SECONDS = 25.0  # one after the other, they would take twice as long
WAIT_SECONDS = 60.0


@pytest.fixture
def history() -> Iterator[History]:
    history = History()
    yield history
    history.close()


def prompts(generations: Iterable[Generation]) -> list[str]:
    return [generation.request.prompt or "" for generation in generations]


# ----------------------------------------------------------------------------------------- looking


def test_looking_makes_no_file(history: History) -> None:
    assert (len(history), list(history), history.pending(), history.spend()) == (0, [], [], 0)
    assert [path.name for path in books.home().rglob("*.png")] == []


def test_the_newest_comes_first_and_all_are_counted(history: History) -> None:
    for prompt in ("one", "two", "three"):
        generate(prompt)

    assert prompts(history) == ["three", "two", "one"]
    assert len(history) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, values in {
            "limit": (-1, 1.5, "all", True, 10**30, math.nan),
            "rating": (-1, 6, "five", 2.5, math.inf),
            "since": ("yesterday", 1.5, True),
            "text": (5, b"fox", ["fox"]),
            "provider": (5, b"fal"),
        }.items()
        for value in values
    ],
)
def test_a_search_for_what_makes_no_sense_is_one_line(name: str, value: object) -> None:
    asked: Any = {name: value}

    with pytest.raises(errors.InvalidRequest, match=f"^{name}: "):
        History().search(**asked)


def test_a_search_takes_numbers_and_dates_of_other_libraries(history: History) -> None:
    generate("one")
    generate("two")
    today = date.today()  # noqa: DTZ011 - the user's own day

    assert prompts(history.search(limit=1.0)) == ["two"]  # type: ignore[arg-type]
    assert prompts(history.search(limit=np.int64(1), rating=np.int64(0))) == ["two"]  # type: ignore[arg-type]
    for since in (
        str(today),
        np.datetime64(today),
        pd.Timestamp(today),
        pd.Timestamp(today, tz="UTC"),
    ):
        assert prompts(history.search(since=since)) == ["two", "one"]  # type: ignore[arg-type]
        assert history.spend(since) > 0  # type: ignore[arg-type]
    assert list(history.search(limit=0)) == []


@pytest.mark.parametrize("zone", [None, UTC])
def test_the_first_and_the_last_moment_mean_ever_and_never(
    history: History, zone: tzinfo | None
) -> None:
    spent = generate("a fox").cost
    first, last = datetime.min.replace(tzinfo=zone), datetime.max.replace(tzinfo=zone)

    for ever, never in ((first, last), (first.date(), last.date()), (str(first), str(last))):
        assert (history.spend(ever), history.spend(never)) == (spent, 0)  # type: ignore[arg-type]
        found = history.search(since=ever), history.search(since=never)  # type: ignore[arg-type]
        assert [len(list(generations)) for generations in found] == [1, 0]


@pytest.mark.parametrize(
    "call",
    [
        lambda history, _: history.find("a red fox"),
        lambda history, _: history.rate("job-1", 3),
        lambda history, made: history.rate(made[0], 3),
        lambda history, made: history.delete(made[0]),
        lambda history, _: history.delete(None),
        lambda history, _: history.spend("a while ago"),
        lambda history, _: history.spend_by("colour"),
    ],
)
def test_what_is_not_a_generation_a_request_or_a_time_is_one_line(
    history: History, call: Callable[[Any, Generation], object]
) -> None:
    with pytest.raises(errors.InvalidRequest):
        call(history, generate("a fox"))


@pytest.mark.slow
def test_iterating_goes_over_many_pages(history: History) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(generate, [f"fox {number}" for number in range(120)]))

    found = prompts(history)

    assert sorted(found) == sorted(f"fox {number}" for number in range(120))
    assert prompts(history.search(limit=60)) == found[:60]
    assert [r.request.prompt for r in history.page(limit=3, before=history.page(limit=2)[-1])] == (
        found[2:5]
    )


def test_threads_that_begin_at_once_share_one_account(queue: FakeQueue) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(16) as threads:
            made = list(threads.map(generate, [f"hen {number}" for number in range(16)]))
    finally:
        sys.setswitchinterval(before)

    assert len(made) == queue.posts == 16


def test_all_words_of_a_search_are_in_the_prompt(history: History) -> None:
    for prompt in ("a red fox", "a red hen", "Ein Fuchs, ROT"):
        generate(prompt)

    assert prompts(history.search("red a")) == ["a red hen", "a red fox"]
    assert prompts(history.search("rot FUCHS")) == ["Ein Fuchs, ROT"]
    assert prompts(history.search("r%d")) == []


def test_a_search_is_narrowed_by_model_provider_time_stars_and_number(history: History) -> None:
    fox = generate("a fox")
    generate("a hen", model="fal-ai/flux/dev")
    Studio("demo", demo_seconds=0).generate("a cat")
    history.rate(fox, 4)
    later = datetime.now().astimezone() + timedelta(hours=1)

    assert prompts(history.search(model="imagen4", provider="kkiai")) == ["a fox"]
    assert prompts(history.search(model="fal-ai/flux/dev")) == ["a hen"]
    assert prompts(history.search(provider="demo")) == ["a cat"]
    assert prompts(history.search(rating=4)) == ["a fox"]
    assert prompts(history.search(since=later)) == []
    assert prompts(history.search(since=datetime.now().astimezone().date(), limit=2)) == [
        "a cat",
        "a hen",
    ]


def test_a_model_known_by_name_to_one_provider_is_found_with_the_settings_of_another(
    history: History,
) -> None:
    generate("a fox")
    books.write("UPDATE jobs SET model = 'my-own-model'")

    assert prompts(history.search(model="my-own-model")) == ["a fox"]


@pytest.mark.parametrize("name", [None, 5, b"x"])
def test_an_id_that_is_not_a_text_is_one_line(history: History, name: Any) -> None:
    for call in (history.get, history.undelete, history.forget):
        with pytest.raises(errors.InvalidRequest, match=r"^id: it is "):
            call(name)


def test_an_equal_request_is_found_and_free(history: History) -> None:
    made = generate("a red fox")

    found = history.find(FOX)

    assert found is not None
    assert (found.reused, found.cost, found.seconds, found.paths) == (True, 0, 0, made.paths)
    assert "from history" in found.summary
    assert history.find(ImageRequest.create("a red hen")) is None
    assert history.find(ImageRequest.create("a red fox", num_images=1)) is None


def test_a_demo_picture_is_not_found_for_a_real_request(history: History) -> None:
    drawn = Studio("demo", demo_seconds=0)
    drawn.generate("a red fox")

    assert history.find(FOX) is None
    assert history.find(FOX, provider="demo") is not None
    assert drawn.history.find(FOX) is not None


def test_a_generation_is_had_by_its_id_and_an_unknown_one_is_told(history: History) -> None:
    made = generate("a red fox")

    assert (history.get(made.id).id, history.get(made.id).paths) == (made.id, made.paths)
    with pytest.raises(errors.InvalidRequest, match="no generation"):
        history.get("nonsense")


def test_a_picture_that_is_gone_or_changed_is_reported(history: History) -> None:
    gone, changed, _ = generate("one"), generate("two"), generate("three")
    gone[0].path.unlink()
    changed[0].path.write_bytes(b"something else")

    problems = history.verify()

    assert problems == ["req-2: picture 1 has changed", "req-1: picture 1 is gone"]
    assert [generation.request_id for generation in history] == ["req-3", "req-2"]


def test_a_history_shows_its_newest_pictures_and_says_how_many_there_are(
    history: History,
) -> None:
    for number in range(12):
        generate(f"fox <b>{number}</b>")

    shown = history._repr_mimebundle_()

    head, newest, *_ = shown["text/plain"].splitlines()
    assert head == "12 generations; the newest 10 below"
    assert newest == "  fox <b>11</b> · just now · imagen4"
    assert shown["text/html"].count("<img") == 10
    assert "<b>11</b>" not in shown["text/html"]
    assert repr(history).startswith("<History: 12 generations in ")


# ---------------------------------------------------------------------------------------- choosing


def test_stars_are_kept_and_anything_else_is_refused(history: History) -> None:
    made = generate("a red fox")

    history.rate(made, 5)

    assert History().rating(made) == 5
    for wrong in (-1, 6, True, 2.5, "five"):
        with pytest.raises(errors.InvalidRequest, match="0 to 5"):
            history.rate(made, wrong)  # type: ignore[arg-type]
    assert history.rating(made) == 5


def test_a_generation_of_another_home_is_not_chosen_from(history: History, tmp_path: Path) -> None:
    made, other = generate("a red fox"), History(tmp_path / "other")

    for call in (other.rating, other.delete, lambda of: other.rate(of, 3)):
        with pytest.raises(errors.InvalidRequest, match="has no job"):
            call(made)


def test_what_is_deleted_goes_to_the_trash_and_its_bill_stays(
    queue: FakeQueue, history: History
) -> None:
    made = generate("a red fox")
    data = made[0].data

    history.delete(made)

    assert (len(history), list(history), history.find(FOX)) == (0, [], None)
    assert history.spend() == pytest.approx(0.04)
    assert [p.read_bytes() for p in (books.home() / "trash").iterdir()] == [data]
    assert not made[0].path.exists()

    history.undelete(made.id)

    assert [generation[0].data for generation in history] == [data]
    assert history.verify() == []


def test_a_picture_that_another_generation_shows_too_is_left_to_it(
    queue: FakeQueue, history: History
) -> None:
    queue.picture = picture("the same for all")
    one, two = generate("one"), generate("two")

    history.delete(one)

    assert two[0].path.exists()
    assert prompts(history) == ["two"]


def test_a_picture_that_another_generation_was_made_from_is_left_to_it(history: History) -> None:
    fox = generate("a fox")
    snow = generate("make it snow", image=fox, model="kontext")

    history.delete(fox)

    assert prompts(history) == ["make it snow"]
    assert snow.inputs[0].data() == fox[0].data
    assert generate(snow.request).inputs == snow.inputs

    history.delete(generate("an owl"))
    assert len(list((books.home() / "trash").iterdir())) == 1


# ---------------------------------------------------------------------------------------- resuming


def test_what_was_paid_and_not_fetched_is_fetched_oldest_first(
    queue: FakeQueue, history: History, leave_behind: LeaveBehind
) -> None:
    leave_behind("one", "two", "three")
    pending = [record.request.prompt for record in history.pending()]

    fetched = history.resume()

    assert pending == ["one", "two", "three"]
    assert prompts(fetched) == pending
    assert [path.exists() for generation in fetched for path in generation.paths] == [True] * 3
    assert queue.posts == 3
    assert (history.pending(), history.resume()) == ([], [])


def test_what_another_process_is_fetching_is_left_to_it(
    queue: FakeQueue, history: History, leave_behind: LeaveBehind
) -> None:
    leave_behind("one", "two")
    queue.jobs["req-1"].polls_left = math.inf
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(Studio().history.resume)
        queue.wait_for("media")  # the other has both: one is fetched, one still waited for

        assert history.resume() == []

        queue.finish()
        assert sorted(prompts(other.result(30))) == ["one", "two"]
    assert (books.states(), queue.count("result")) == (["done", "done"], 2)


def test_what_another_process_fetched_meanwhile_is_not_fetched_again(
    queue: FakeQueue,
    history: History,
    leave_behind: LeaveBehind,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave_behind("one")
    seen_before = history.pending()
    Studio().history.resume()
    monkeypatch.setattr(history, "pending", lambda: seen_before)

    fetched = history.resume()

    assert [generation.request_id for generation in fetched] == ["req-1"]
    assert queue.count("result") == 1


def test_what_another_process_took_meanwhile_is_left_to_it(
    queue: FakeQueue,
    history: History,
    leave_behind: LeaveBehind,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave_behind("one")
    queue.jobs["req-1"].polls_left = math.inf
    seen_before, asked = history.pending(), queue.count("status")
    monkeypatch.setattr(history, "pending", lambda: seen_before)
    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(Studio().history.resume)
        queue.wait_for("status", asked + 1)
        try:
            mine = threads.submit(history.resume).result(WAIT_SECONDS)
        finally:
            queue.finish()
        fetched = other.result(WAIT_SECONDS)

    assert mine == []
    assert [generation.request_id for generation in fetched] == ["req-1"]


def test_one_that_fails_does_not_stop_the_others(
    queue: FakeQueue, history: History, leave_behind: LeaveBehind
) -> None:
    leave_behind("one", "two")
    queue.jobs["req-1"].cancelled = True

    outcomes = history.resume_all()

    assert [outcome.error is None for outcome in outcomes] == [False, True]
    assert books.states() == ["cancelled", "done"]


def test_a_row_that_nothing_here_understands_does_not_stop_the_others(
    queue: FakeQueue, history: History, leave_behind: LeaveBehind
) -> None:
    leave_behind("one", "two")
    books.write("UPDATE jobs SET ticket = '[]' WHERE request_id = 'req-1'")

    odd, fetched = history.resume_all()

    assert str(odd.error).startswith("The job req-1 cannot be resumed (")
    assert fetched.generation is not None
    assert books.states() == ["submitted", "done"]


def test_resuming_gives_back_what_a_dead_process_had_reserved_and_never_sent(
    queue: FakeQueue, history: History
) -> None:
    queue.script("submit", Break.LOST_ANSWER)
    with pytest.raises(errors.SubmitUncertain):
        generate("a fox")
    books.write("UPDATE jobs SET state = 'intent', error = NULL, trouble = ''")

    assert history.resume() == []
    assert (books.states(), history.spend()) == (["failed"], 0)


def test_living_jobs_come_at_once_and_dead_ones_are_told_within_seconds(
    queue: FakeQueue, history: History, leave_behind: LeaveBehind
) -> None:
    """12 jobs, of which the provider no longer knows 8: all of them were sent hours ago."""
    leave_behind(*(f"fox {number}" for number in range(12)))
    books.write("UPDATE jobs SET ticket = json_set(ticket, '$.created', 1000000000.0)")
    for number in range(1, 9):
        queue.jobs[f"req-{number}"].forgotten = True
    told: list[bool] = []
    began = time.monotonic()

    history.resume_all(on=lambda outcome: told.append(outcome.error is None))

    assert time.monotonic() - began < GONE_SECONDS
    assert told[:4] == [True] * 4
    assert told[4:] == [False] * 8
    assert sorted(books.states()) == ["done"] * 4 + ["expired"] * 8


def test_a_job_that_is_not_known_yet_stays_though_an_earlier_one_is_fetched(
    queue: FakeQueue, history: History, leave_behind: LeaveBehind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_widget._history._UNKNOWN_SECONDS", 1.0)
    leave_behind("one", "two")
    queue.jobs["req-2"].forgotten = True

    assert prompts(history.resume()) == ["one"]
    assert books.states() == ["done", "submitted"]
    queue.jobs["req-2"].forgotten = False
    assert prompts(history.resume()) == ["two"]


def test_a_job_that_is_doubted_and_found_gone_is_told_once(
    queue: FakeQueue, history: History, leave_behind: LeaveBehind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_widget._history._UNKNOWN_SECONDS", 1.0)
    leave_behind("one", "two")
    queue.jobs["req-1"].forgotten = True
    told: list[str | None] = []

    history.resume_all(on=lambda outcome: told.append(outcome.record.request_id))

    assert told == ["req-2", "req-1"]
    assert books.states() == ["expired", "done"]


@pytest.mark.parametrize("route", ["status", "result"])
def test_a_job_of_a_provider_that_answers_slowly_is_fetched(
    queue: FakeQueue,
    history: History,
    leave_behind: LeaveBehind,
    monkeypatch: pytest.MonkeyPatch,
    route: str,
) -> None:
    monkeypatch.setattr("imagen_widget._history._UNKNOWN_SECONDS", 0.3)
    leave_behind("one")
    queue.always(route, lambda _: time.sleep(1.3))

    assert prompts(history.resume()) == ["one"]


def test_a_provider_that_does_not_answer_is_told_and_its_jobs_stay(
    queue: FakeQueue, history: History, leave_behind: LeaveBehind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_widget._history._UNKNOWN_SECONDS", 0.2)
    monkeypatch.setattr("imagen_widget._history._SLOW_SECONDS", 0.2)
    leave_behind("one", "two")
    queue.always("status", Break.SILENCE)

    with pytest.raises(errors.QueueError, match="does not answer"):
        history.resume()

    assert books.states() == ["submitted"] * 2


def test_each_job_is_told_as_it_is_fetched(
    queue: FakeQueue, history: History, leave_behind: LeaveBehind
) -> None:
    leave_behind("one", "two")
    queue.jobs["req-1"].polls_left = math.inf
    told: list[Resumed] = []
    came = threading.Event()

    def note(outcome: Resumed) -> None:
        told.append(outcome)
        came.set()

    with ThreadPoolExecutor(1) as threads:
        all_of_them = threads.submit(history.resume_all, on=note)
        assert came.wait(WAIT_SECONDS)
        first = [outcome.record.request.prompt for outcome in told]
        queue.finish()
        found = all_of_them.result(30)

    assert first == ["two"]
    assert [outcome.record.request.prompt for outcome in found] == ["one", "two"]


def test_if_nothing_can_be_fetched_the_reason_is_raised(
    queue: FakeQueue, history: History, leave_behind: LeaveBehind
) -> None:
    leave_behind("one")
    for route in ("status", "result"):
        queue.always(route, Reply(401, {"detail": "no"}))

    with pytest.raises(errors.CredentialsError, match="IMAGEN_API_KEY"):
        history.resume()

    assert [record.request_id for record in history.pending()] == ["req-1"]


def test_a_row_that_cannot_be_read_does_not_stop_the_others(
    queue: FakeQueue, history: History, leave_behind: LeaveBehind
) -> None:
    leave_behind("one", "two")
    books.write(
        "UPDATE jobs SET ticket = ? WHERE request_id = 'req-1'", '{"of": "another version"}'
    )

    outcomes = history.resume_all()

    assert [type(outcome.error).__name__ for outcome in outcomes] == ["QueueError", "NoneType"]
    assert books.states() == ["submitted", "done"]


def test_a_key_for_another_address_is_not_sent_there(
    queue: FakeQueue, leave_behind: LeaveBehind, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind("one")
    asked = len(queue.log)
    other = FakeQueue()
    with other.serve() as url:
        monkeypatch.setenv("IMAGEN_BASE_URL", url)

        with pytest.raises(errors.CredentialsError, match="IMAGEN_BASE_URL"):
            History().resume()

    assert (len(queue.log), other.log) == (asked, [])


def test_a_job_of_another_account_is_fetched_there_with_that_accounts_key(
    queue: FakeQueue, leave_behind: LeaveBehind, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind("one")
    base_url = Studio().settings.base_url
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")
    monkeypatch.delenv("IMAGEN_BASE_URL")
    with pytest.raises(errors.CredentialsError, match="submitted to"):
        History().resume()
    monkeypatch.setenv("IMAGEN_BASE_URL", base_url)
    monkeypatch.setenv("IMAGEN_PROVIDER", "kkiai")

    assert [generation.request_id for generation in History().resume()] == ["req-1"]
    assert {r.headers.get("authorization") for r in queue.requests if r.route == "result"} == {
        "Bearer made-up"
    }


def test_an_uncertain_submit_is_listed_and_never_sent_again(
    queue: FakeQueue, history: History
) -> None:
    queue.script("submit", Break.LOST_ANSWER)
    with pytest.raises(errors.SubmitUncertain):
        generate("a red fox")

    assert history.resume() == []
    assert [record.request.prompt for record in history.unknown()] == ["a red fox"]
    assert queue.posts == 1


@pytest.mark.parametrize(("billed", "left"), [(True, 0.04), (False, 0.0)])
def test_an_uncertain_submit_is_settled_by_the_users_word(
    queue: FakeQueue, history: History, *, billed: bool, left: float
) -> None:
    queue.script("submit", Break.LOST_ANSWER)
    with pytest.raises(errors.SubmitUncertain):
        generate("a red fox")

    history.forget(history.unknown()[0].id, billed=billed)

    assert history.unknown() == []
    assert history.spend() == pytest.approx(left)


def test_resuming_sweeps_what_dead_processes_left_half_written(history: History) -> None:
    made = generate("a red fox")
    part = made[0].path.with_name(made[0].path.name + ".part-0123")
    part.touch()
    os.utime(part, (0, 0))

    history.resume()

    assert not part.exists()
    assert made[0].path.exists()


# ------------------------------------------------------------------------------------------- money


def by_another_process() -> None:
    with contextlib.closing(open_journal(books.home(), clock=time.time)) as verbs:
        job_in(verbs, journal.State.DONE, provider="kkiai")


def test_spending_is_told_by_process_day_month_and_model(history: History) -> None:
    by_another_process()
    generate("a red fox", num_images=2)
    Studio().generate("mine", model="fal-ai/flux/dev")
    flux = history.session_spend() - Decimal("0.08")

    spending = history.spending()

    assert spending.session > Decimal("0.08")
    assert spending.today == spending.month == Decimal("0.12") + flux
    assert spending.by_model == {"fal-ai/imagen4/preview": Decimal("0.12"), "fal-ai/flux/dev": flux}
    assert history.spend() == pytest.approx(float(spending.today))
    assert history.spend(since=datetime.now().astimezone() + timedelta(hours=1)) == 0
    assert history.spend_by("provider") == {"kkiai": spending.month}


def test_the_rows_of_a_series_count_as_spent_by_this_process(queue: FakeQueue) -> None:
    studio = Studio()
    studio.sweep("a {animal}", animal=["fox", "hen", "owl"], name="zoo").run()
    by_another_process()

    assert studio.history.session_spend() == Decimal("0.12")


def test_what_is_refused_or_answered_from_history_costs_nothing(queue: FakeQueue) -> None:
    studio = Studio()
    studio.generate("a red fox")
    studio.generate("a red fox", reuse=True)
    queue.script("submit", Reply(422, {"detail": "no"}))
    with pytest.raises(errors.InvalidRequest):
        studio.generate("a red hen")

    assert studio.history.session_spend() == Decimal("0.04")
    assert studio.history.spend() == pytest.approx(0.04)
