"""The panel: its laws over all sequences of events, and the controller that lives by them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagen_widget._generate import Phase
from imagen_widget._panel import PanelController
from imagen_widget._panel._events import (
    Arrived,
    CancelPressed,
    Connected,
    Ended,
    Enhanced,
    Event,
    FieldSet,
    HistoryRead,
    PendingCounted,
    Pressed,
    Priced,
    Progressed,
    Resuming,
    Reused,
    Saved,
    Searched,
    TabOpened,
    Troubled,
)
from imagen_widget._panel._form import FIELDS, Form
from imagen_widget._panel._pump import RENDER_SECONDS
from imagen_widget._panel._reduce import (
    DOUBLE_PRESS_SECONDS,
    MOST_ACTIVE,
    MOST_ENDED,
    MOST_ENTRIES,
    NO_PROMPT,
    TOO_LATE,
    reduce,
)
from imagen_widget._panel._state import (
    Cancellation,
    HistoryEntry,
    PanelState,
    Pictures,
    Tab,
    Trouble,
)
from imagen_widget._request import ImageRequest
from imagen_widget._settings import Settings, load_settings
from imagen_widget.errors import (
    BudgetExceeded,
    GenerationFailed,
    ImagenError,
    JobCancelled,
    QueueError,
    SubmitUncertain,
)
from tests.panel_bench import FOX, Bench, FakeJob, generation, pictures, png, progress

if TYPE_CHECKING:
    from pathlib import Path

    from imagen_widget._result import Generation


def after(*events: Event, state: PanelState | None = None) -> PanelState:
    state = state or PanelState(form=Form(prompt="a red fox"))
    for event in events:
        state = reduce(state, event)
    return state


def running(number: int = 1) -> Progressed:
    return Progressed(number, progress(), "Drawing")


# ------------------------------------------------------------------ the laws, over all sequences

numbers = st.integers(0, 12)
texts = st.sampled_from(["", "a fox", "$5 and $6", "<img src=x onerror=alert(1)>"])
endings = st.one_of(
    st.builds(pictures),
    st.builds(Cancellation, texts),
    st.builds(Trouble, texts, texts, st.sampled_from([None, FOX])),
)
snapshots = st.builds(progress, st.sampled_from(Phase), st.floats(0, 100))
entries = st.lists(st.builds(HistoryEntry, st.builds(generation), st.none()), max_size=80)
events = st.one_of(
    st.builds(FieldSet, st.sampled_from([*FIELDS, "nonsense"]), texts | st.integers(-2, 9)),
    st.builds(Reused, st.just(FOX)),
    st.builds(Priced, st.none() | st.just(Decimal("0.04"))),
    st.builds(Connected, st.just("demo")),
    st.builds(Pressed, st.floats(0, 100), st.sampled_from([None, FOX])),
    st.builds(Progressed, numbers, snapshots, texts),
    st.builds(CancelPressed, numbers),
    st.builds(Ended, numbers, endings, texts),
    st.builds(Arrived, st.builds(pictures, earlier=st.booleans())),
    st.builds(Saved, numbers, st.integers(-1, 4), texts),
    st.builds(Troubled, st.builds(Trouble, texts)),
    st.builds(TabOpened, st.sampled_from(Tab)),
    st.builds(Searched, texts, st.integers(-5, 200)),
    st.builds(HistoryRead, texts, st.integers(0, 60), entries.map(tuple), st.booleans()),
    st.builds(PendingCounted, st.integers(-1, 3)),
    st.builds(Resuming),
    st.builds(Enhanced),
)


@settings(max_examples=300)
@given(st.lists(events, max_size=40))
def test_the_laws_hold_for_every_sequence_of_events(happened: list[Event]) -> None:
    state = PanelState(form=Form(prompt="a red fox"))
    for event in happened:
        before, state = state, reduce(state, event)
        check_one_press_is_one_job(before, event, state)
        check_what_has_ended_stays_as_it_ended(before, event, state)
        check_time_runs_forward(before, state)
        check_bounds(state)


def check_one_press_is_one_job(before: PanelState, event: Event, state: PanelState) -> None:
    started = [job for job in state.jobs if before.job(job.number) is None and job.active]
    assert len(started) <= (1 if isinstance(event, Pressed) else 0)
    assert sum(job.submitting for job in state.jobs) <= 1 + sum(j.submitting for j in before.jobs)
    assert state.can_generate == (not any(job.submitting for job in state.jobs))
    if started:
        assert before.can_generate


def check_what_has_ended_stays_as_it_ended(
    before: PanelState, event: Event, state: PanelState
) -> None:
    for job in state.jobs:
        old = before.job(job.number)
        if old is None:
            continue
        if old.ending is not None and not isinstance(event, Saved):
            assert job == old
        if isinstance(job.ending, Pictures) and old.active and old.cancelling:
            assert job.ending.too_late
            assert job.status.startswith(TOO_LATE)


def check_time_runs_forward(before: PanelState, state: PanelState) -> None:
    for job in state.jobs:
        old = before.job(job.number)
        assert old is None or job.elapsed >= old.elapsed


def check_bounds(state: PanelState) -> None:
    assert len(state.active) <= MOST_ACTIVE
    assert len(state.jobs) - len(state.active) <= MOST_ENDED
    assert len(state.history.entries) <= MOST_ENTRIES
    assert [job.number for job in state.jobs] == sorted({j.number for j in state.jobs})[::-1]
    assert isinstance(state.status, str)
    assert isinstance(state.announcement, str)


# --------------------------------------------------------------------------------- single laws


def test_a_second_press_while_the_first_is_on_its_way_out_changes_nothing() -> None:
    once = after(Pressed(0))

    assert reduce(once, Pressed(60)) == once


def test_a_double_press_is_one_job_even_when_the_first_was_sent_in_between() -> None:
    once = after(Pressed(0), running())

    assert reduce(once, Pressed(DOUBLE_PRESS_SECONDS / 2)).last_number == 1
    assert reduce(once, Pressed(DOUBLE_PRESS_SECONDS * 2)).last_number == 2


def test_a_cancelled_job_never_shows_its_image() -> None:
    state = after(
        Pressed(0),
        CancelPressed(1),
        Ended(1, Cancellation("Cancelled, not billed."), "Cancelled, not billed."),
        Ended(1, pictures(), "1 image"),
    )

    assert state.latest is None
    assert state.status == "Cancelled, not billed."


def test_a_cancel_that_comes_too_late_says_so_with_the_picture() -> None:
    state = after(Pressed(0), CancelPressed(1), Ended(1, pictures(), "1 image · 1.5 s"))

    assert state.latest == generation()
    assert state.status == f"{TOO_LATE} · 1 image · 1.5 s"


def test_generating_without_a_prompt_says_what_to_do_and_starts_nothing() -> None:
    state = after(Pressed(0), state=PanelState())

    assert state.jobs == ()
    assert state.trouble == NO_PROMPT


def test_the_next_press_clears_the_trouble_and_the_row_that_brought_nothing() -> None:
    trouble = Trouble("The model failed.", "Try again.", FOX)
    failed = after(Pressed(0), Ended(1, trouble, "Failed"))

    again = reduce(failed, Pressed(10))

    assert failed.trouble == trouble
    assert again.trouble is None
    assert [job.number for job in again.jobs] == [2]


def test_retry_sends_the_failed_request_and_not_the_form() -> None:
    state = after(Pressed(0, again=FOX), state=PanelState(form=Form(prompt="something else")))

    assert state.jobs[0].request == FOX


def test_settings_without_a_control_are_named_when_they_are_left_out() -> None:
    request = ImageRequest.create("a fox", model="someone/something", guidance_scale=3)

    state = after(Reused(request))

    assert state.form.model == "someone/something"
    assert state.trouble is not None
    assert "guidance_scale" in state.trouble.happened


def test_the_answer_to_an_earlier_search_is_ignored() -> None:
    entry = HistoryEntry(generation(), None)
    state = after(Searched("fox"), Searched("fox in snow"))

    late = reduce(state, HistoryRead("fox", state.history.limit, (entry,), more=False))

    assert late.history.entries == ()


# -------------------------------------------------------------------------------------- the form


def test_the_form_always_sends_shape_count_and_resolution_and_the_rest_only_when_changed() -> None:
    form = Form(prompt="a red fox")

    assert form.request().arguments() == {
        "prompt": "a red fox",
        "aspect_ratio": "1:1",
        "num_images": 1,
        "resolution": "1K",
    }
    changed = replace(form, seed="7", output_format="webp", safety_tolerance="2").request()
    assert changed.arguments() == {
        "prompt": "a red fox",
        "aspect_ratio": "1:1",
        "num_images": 1,
        "resolution": "1K",
        "output_format": "webp",
        "seed": 7,
        "safety_tolerance": "2",
    }


def test_a_model_without_a_resolution_is_sent_none() -> None:
    form = Form(prompt="a fox", resolution="2K").with_field("model", "imagen4-fast")

    assert "resolution" not in form.request().arguments()


def test_a_value_that_the_next_model_does_not_take_falls_back_to_its_default() -> None:
    form = Form().with_field("model", "nano-banana-2").with_field("aspect_ratio", "21:9")

    assert form.aspect_ratio == "21:9"
    assert form.with_field("model", "imagen4").aspect_ratio == "1:1"


def test_a_model_outside_the_catalogue_is_sent_only_what_was_changed() -> None:
    form = Form(prompt="a fox", num_images=2).with_field("model", "someone/something")

    assert form.request().arguments() == {"prompt": "a fox", "num_images": 2}


def test_settings_go_through_the_form_unchanged() -> None:
    request = ImageRequest.create(
        "a red fox",
        model="nano-banana-pro",
        aspect_ratio="4:5",
        num_images=3,
        resolution="4K",
        output_format="jpeg",
        seed=42,
        safety_tolerance="5",
    )

    assert Form.of(request).request() == request


# ------------------------------------------------------------------------------- the controller


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def made(tmp_path: Path) -> Generation:
    path = tmp_path / "fox.png"
    path.write_bytes(png(64, 48))
    return generation(path)


def test_opening_tells_the_provider_the_price_and_what_waits(bench: Bench) -> None:
    bench.archive.waiting = [generation()]

    bench.controller.open()

    assert bench.state.provider == "demo"
    assert bench.state.price == Decimal("0.04")
    assert bench.state.pending == 1


def test_settings_that_cannot_be_read_are_said_in_the_box() -> None:
    def unreadable(*, need_key: bool = True) -> Settings:
        return load_settings(provider="nobody", need_key=need_key)

    controller = PanelController(Form(), settings=unreadable, background=lambda action: action())

    controller.open()

    assert controller.state.provider == ""
    assert controller.state.trouble is not None
    assert "nobody" in controller.state.trouble.happened


def test_the_price_follows_the_form_before_a_prompt_is_typed(bench: Bench) -> None:
    bench.controller.set_field("prompt", "")

    bench.controller.set_field("num_images", 4)

    assert bench.state.price == Decimal("0.16")


def test_two_clicks_start_one_job(bench: Bench) -> None:
    bench.controller.generate()
    bench.controller.generate()

    assert [job.request.prompt for job in bench.jobs] == ["a red fox"]


def test_further_jobs_run_beside_the_first_and_are_cancelled_one_by_one(bench: Bench) -> None:
    for seconds in (0, 10):
        bench.later.now = seconds
        bench.controller.generate()
        bench.jobs[-1].goes(Phase.RUNNING, 1.0)

    bench.controller.cancel(1)

    assert [job.cancels for job in bench.jobs] == [1, 0]
    assert [job.cancelling for job in bench.state.jobs] == [False, True]


def test_the_main_cancel_means_the_newest_job_that_runs(bench: Bench) -> None:
    for seconds in (0, 10):
        bench.later.now = seconds
        bench.controller.generate()
        bench.jobs[-1].goes(Phase.RUNNING, 1.0)

    bench.controller.cancel()
    bench.controller.cancel()

    assert [job.cancels for job in bench.jobs] == [1, 1]


def test_a_cancel_pressed_while_the_job_is_being_started_reaches_it() -> None:
    jobs: list[FakeJob] = []

    def start_slowly(request: ImageRequest, **_: object) -> FakeJob:
        slow.controller.cancel()
        jobs.append(FakeJob(request))
        return jobs[-1]

    slow = Bench(start=start_slowly)

    slow.controller.generate()

    assert jobs[0].cancels == 1


def test_a_finished_job_shows_its_pictures(bench: Bench, made: Generation) -> None:
    bench.controller.generate()

    bench.jobs[0].ends(made)

    (job,) = bench.state.jobs
    assert isinstance(job.ending, Pictures)
    assert job.ending.cards[0].small is not None
    assert job.ending.cards[0].small.width <= 64
    assert bench.state.latest is made
    assert bench.state.status == made.summary


def test_a_cancelled_job_says_what_the_provider_said(bench: Bench) -> None:
    bench.controller.generate()
    bench.controller.cancel()

    bench.jobs[0].ends(JobCancelled("Cancelled, not billed."))

    assert bench.state.jobs[0].ending == Cancellation("Cancelled, not billed.")
    assert bench.state.trouble is None


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (QueueError("The network failed.", remedy="Try again."), True),
        (GenerationFailed("It failed.", remedy="Try again.", ticket=object()), True),
        (QueueError("It takes too long.", remedy="Fetch it later.", ticket=object()), False),
        (SubmitUncertain("It may have been accepted.", remedy="Look it up."), False),
        (BudgetExceeded("The cap is reached.", remedy="Raise it."), False),
    ],
)
def test_retry_is_offered_only_where_nothing_can_have_been_paid(
    bench: Bench, error: ImagenError, *, retry: bool
) -> None:
    bench.controller.generate()

    bench.jobs[0].ends(error)

    assert bench.state.trouble is not None
    assert bench.state.trouble.happened == error.message
    assert bench.state.trouble.remedy == error.remedy
    assert (bench.state.trouble.again is not None) == retry


def test_a_job_that_can_still_be_fetched_is_offered_after_its_error(bench: Bench) -> None:
    bench.controller.generate()
    bench.archive.waiting = [generation()]

    bench.jobs[0].ends(QueueError("It takes too long.", ticket=object()))

    assert bench.state.pending == 1


def test_retry_starts_the_same_request_again(bench: Bench) -> None:
    bench.controller.generate()
    bench.jobs[0].ends(QueueError("The network failed."))
    bench.controller.set_field("prompt", "something else")

    bench.controller.retry()

    assert bench.jobs[1].request == bench.jobs[0].request


def test_an_error_of_starting_becomes_state() -> None:
    def refuse(_: ImageRequest, **__: object) -> FakeJob:
        raise BudgetExceeded("The cap is reached.", remedy="Raise it.")

    bench = Bench(start=refuse)

    bench.controller.generate()

    assert bench.state.trouble == Trouble("The cap is reached.", "Raise it.")
    assert bench.state.can_generate


def test_an_error_nobody_thought_of_becomes_state_without_its_text(bench: Bench) -> None:
    bench.controller.generate()

    bench.jobs[0].ends(ZeroDivisionError("a red fox"))

    assert bench.state.trouble is not None
    assert "ZeroDivisionError" in bench.state.trouble.happened
    assert "fox" not in bench.state.trouble.happened


def test_progress_is_drawn_at_most_four_times_a_second_and_never_lost(bench: Bench) -> None:
    bench.controller.generate()
    bench.later.pass_by(1)
    bench.drawn.clear()

    for hundredth in range(100):
        bench.jobs[0].goes(Phase.RUNNING, hundredth / 100)
        bench.later.pass_by(0.01)
    bench.later.pass_by(RENDER_SECONDS)

    assert len(bench.drawn) <= 6
    assert bench.drawn[-1].jobs[0].elapsed == 0.99


def test_the_end_is_drawn_at_once_and_sent_once_more(bench: Bench, made: Generation) -> None:
    bench.controller.generate()
    bench.jobs[0].goes(Phase.RUNNING, 1.0)
    bench.drawn.clear()

    bench.jobs[0].ends(made)

    assert bench.drawn[-1].latest is made
    assert bench.resent == 0
    bench.later.pass_by(10)
    assert bench.resent == 1


def test_a_view_that_fails_does_not_stop_the_jobs(
    bench: Bench, made: Generation, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: PanelState) -> None:
        raise RuntimeError("cannot draw")

    bench.controller.listen(fail)
    bench.controller.generate()

    bench.jobs[0].ends(made)

    assert bench.state.latest is made
    assert "could not be drawn" in caplog.text


def test_a_change_made_while_drawing_is_drawn_after_it(bench: Bench) -> None:
    seeds: list[str] = []

    def draw(state: PanelState) -> None:
        seeds.append(state.form.seed)
        if len(seeds) == 1:
            bench.controller.set_field("seed", "2")

    bench.controller.listen(draw)

    bench.controller.set_field("seed", "1")

    assert seeds == ["1", "2"]


def test_a_closed_panel_takes_and_draws_nothing(bench: Bench, made: Generation) -> None:
    bench.controller.generate()
    bench.drawn.clear()

    bench.controller.close()
    bench.jobs[0].ends(made)
    bench.controller.set_field("prompt", "another")

    assert bench.drawn == []
    assert bench.state.form.prompt == "a red fox"


def test_saving_writes_the_picture_and_says_under_which_name(
    bench: Bench, made: Generation, tmp_path: Path
) -> None:
    bench.controller.generate()
    bench.jobs[0].ends(made)

    bench.controller.save(1, 0, folder=tmp_path / "saved")

    (saved,) = (tmp_path / "saved").iterdir()
    assert isinstance(bench.state.jobs[0].ending, Pictures)
    assert saved.name in bench.state.jobs[0].ending.cards[0].saved


def test_saving_a_picture_whose_file_is_gone_says_so(bench: Bench) -> None:
    bench.controller.generate()
    bench.jobs[0].ends(generation())

    bench.controller.save(1, 0)

    assert bench.state.trouble is not None
    assert "cannot be read" in bench.state.trouble.happened


def test_the_history_is_read_when_its_tab_is_first_opened(bench: Bench, made: Generation) -> None:
    bench.archive.kept = [made]

    bench.controller.open_tab(Tab.HISTORY)
    bench.controller.open_tab(Tab.CREATE)
    bench.controller.open_tab(Tab.HISTORY)

    assert [entry.generation for entry in bench.state.history.entries] == [made]
    assert bench.archive.opened == bench.archive.closed == 1


def test_the_history_shows_what_was_just_made(bench: Bench, made: Generation) -> None:
    bench.controller.open_tab(Tab.HISTORY)
    bench.controller.generate()
    bench.archive.kept = [made]

    bench.jobs[0].ends(made)

    assert [entry.generation for entry in bench.state.history.entries] == [made]


def test_a_history_that_cannot_be_read_is_said_in_the_box(bench: Bench) -> None:
    bench.archive.failure = QueueError("The history cannot be read.", remedy="Look at the disk.")

    bench.controller.open_tab(Tab.HISTORY)

    assert bench.state.trouble == Trouble("The history cannot be read.", "Look at the disk.")


def test_showing_an_entry_brings_its_pictures_without_a_new_value(
    bench: Bench, made: Generation
) -> None:
    bench.archive.kept = [made]
    bench.controller.open_tab(Tab.HISTORY)

    bench.controller.past.show(made.request_id)

    assert bench.state.tab is Tab.CREATE
    assert isinstance(bench.state.jobs[0].ending, Pictures)
    assert bench.state.latest is None


def test_what_was_paid_for_earlier_is_fetched_and_shown(bench: Bench, made: Generation) -> None:
    bench.archive.waiting = [made]
    bench.controller.open()

    bench.controller.past.resume()

    assert bench.state.pending == 0
    assert not bench.state.resuming
    assert bench.state.latest is made


def test_a_rolled_seed_is_one_that_every_model_takes(bench: Bench) -> None:
    bench.controller.roll_seed()

    assert bench.state.form.request().seed == int(bench.state.form.seed)
