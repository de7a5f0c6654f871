"""The widget's state: its invariants over all sequences of changes, and the form it holds."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from imagen_widget import (
    Account,
    Field,
    GeneratedImage,
    Generation,
    ImageRequest,
    Input,
    Model,
    Phase,
    Progress,
    Provenance,
    Studio,
)
from imagen_widget._widget.form import Form, shape_of
from imagen_widget._widget.state import (
    DOUBLE_PRESS_SECONDS,
    MAX_ACTIVE,
    MAX_ENDED,
    TOO_LATE,
    Entry,
    Look,
    Pictures,
    State,
    Tab,
    Trouble,
)
from imagen_widget.errors import InvalidRequest

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PROMPT = Field("prompt", "text", "Prompt", role="prompt", required=True)
COUNT = Field("num_images", "whole", "Images", role="count", low=1, high=4, default=1)
SEED = Field("seed", "whole", "Seed", role="seed")
RATIO = Field(
    "aspect_ratio", "choice", "Aspect ratio", allowed=("1:1", "16:9", "9:16"), default="1:1"
)
SIZE = Field(
    "image_size", "size", "Size", role="size", custom_size=True, default="landscape_4_3",
    allowed=("square_hd", "portrait_16_9", "landscape_4_3", "landscape_16_9"),
)  # fmt: skip
PICTURES = Field("image_urls", "pictures", "Pictures", role="picture", required=True, max_items=2)
MASK = Field("mask_url", "picture", "Mask", role="mask")
LORAS = Field("loras", "json", "LoRAs")
GUIDANCE = Field("guidance_scale", "number", "Guidance", low=0, high=20, default=2.5)
SHAPES = Model(
    "x/shapes", title="Shapes", source="bundled", fields=(PROMPT, RATIO, COUNT, SEED, GUIDANCE)
)
SIZES = Model(
    "x/sizes", title="Sizes", source="bundled", fields=(PROMPT, SIZE, GUIDANCE, LORAS, SEED, COUNT)
)
EDITS = Model("x/edits", title="Edits", source="bundled", fields=(PICTURES, PROMPT, MASK, COUNT))
UPSCALE = Model("x/up", title="Up", source="bundled", fields=(replace(PICTURES, kind="picture"),))
UNKNOWN = Model("someone/new", title="someone/new")
FOX = ImageRequest.create("a red fox", model=SHAPES.id, known=SHAPES, seed=7, aspect_ratio="16:9")
FAL = Account("fal", "fal", "https://queue.fal.run", "Key", ("FAL_KEY",), "x/shapes")


def generation(name: str = "g1", request: ImageRequest = FOX) -> Generation:
    origin = Provenance(request=request, request_id="r", provider="demo", created=NOW)
    image = GeneratedImage(Path("gone.png"), "image/png", 8, 8, None, origin)
    return Generation(
        images=(image,), request=request, request_id="r", provider="demo", seconds=1.5,
        cost=0.0, created=NOW, id=name,
    )  # fmt: skip


def pictures(name: str = "g1", *, earlier: bool = False) -> Pictures:
    made = generation(name)
    return Pictures(made, (None,) * len(made), earlier=earlier)


def progress(phase: Phase = Phase.RUNNING, elapsed: float = 1.0) -> Progress:
    return Progress(phase, "demo", SHAPES.id, Decimal(0), elapsed=elapsed)


def fresh(prompt: str = "a red fox", **given: Any) -> State:
    return State(Form(SHAPES, prompt, given=given))


def running(state: State, number: int = 1) -> State:
    return state.progressed(number, progress(), "Drawing")


# ------------------------------------------------------------- invariants, over all sequences

numbers = st.integers(0, 12)
texts = st.sampled_from(["", "a fox", "$5 and $6", "<img src=x onerror=alert(1)>"])
names = st.sampled_from(["g1", "g2", "g3"])
endings = st.one_of(
    st.builds(pictures, names),
    st.none(),
    st.builds(Trouble, texts, texts, st.sampled_from([None, FOX])),
)
entries = st.lists(st.builds(Entry, st.builds(generation, names), texts), max_size=20)
looks = st.builds(Look, texts)


def does(method: str, *strategies: Any, **named: Any) -> Any:
    """Return a strategy of calls of one method: its name, and what is called."""
    return st.tuples(st.just(method), st.tuples(*strategies), st.fixed_dictionaries(named))


calls = st.one_of(
    does("pressed", st.just(FOX), deliberate=st.booleans()),
    does(
        "progressed", numbers, st.builds(progress, st.sampled_from(Phase), st.floats(0, 100)), texts
    ),
    does("cancelling", numbers),
    does("ended", numbers, endings, texts),
    does("arrived", st.builds(pictures, names, earlier=st.booleans())),
)


@settings(max_examples=300)
@given(st.lists(calls, max_size=40))
def test_the_invariants_hold_for_every_sequence_of_changes(happened: list[Any]) -> None:
    state = fresh()
    for method, arguments, named in happened:
        before, state = state, getattr(state, method)(*arguments, **named)
        check_one_press_is_one_job(before, method, state)
        check_what_has_ended_stays_as_it_ended(before, state)
        check_time_runs_forward(before, state)
        check_bounds(state)


def check_one_press_is_one_job(before: State, method: str, state: State) -> None:
    started = [job for job in state.jobs if before.job(job.number) is None and job.active]
    assert len(started) <= (1 if method == "pressed" else 0)
    assert state.can_generate == (not any(job.submitting for job in state.jobs))


def check_what_has_ended_stays_as_it_ended(before: State, state: State) -> None:
    for job in state.jobs:
        old = before.job(job.number)
        if old is None:
            continue
        if not old.active:
            assert job == old
        if isinstance(job.ending, Pictures) and old.active and old.cancelling:
            assert job.status.startswith(TOO_LATE)


def check_time_runs_forward(before: State, state: State) -> None:
    for job in state.jobs:
        old = before.job(job.number)
        assert old is None or job.elapsed >= old.elapsed


def check_bounds(state: State) -> None:
    assert len(state.running) <= MAX_ACTIVE
    assert len(state.jobs) - len(state.running) <= MAX_ENDED
    assert [job.number for job in state.jobs] == sorted({j.number for j in state.jobs})[::-1]
    assert isinstance(state.status, str)
    assert isinstance(state.announcement, str)


# --------------------------------------------------------------------------------- the jobs


def test_a_second_press_while_the_first_is_on_its_way_out_changes_nothing() -> None:
    once = fresh().pressed(FOX)

    assert once.pressed(FOX) == once


def test_a_double_press_is_one_job_even_when_the_first_was_sent_in_between() -> None:
    sent = fresh().pressed(FOX).progressed(1, progress(Phase.QUEUED, 0.1), "In the queue")
    later = sent.progressed(1, progress(Phase.QUEUED, DOUBLE_PRESS_SECONDS + 0.2), "In the queue")

    assert not sent.can_generate
    assert sent.pressed(FOX) == sent
    assert later.can_generate
    assert later.pressed(FOX).last_number == 2


def test_a_program_may_ask_again_at_once() -> None:
    assert fresh().pressed(FOX).pressed(FOX, deliberate=True).last_number == 2


def test_a_cancelled_job_never_shows_its_picture() -> None:
    said = "Cancelled, not billed."
    state = fresh().pressed(FOX).cancelling(1).ended(1, None, said)

    late = state.ended(1, pictures(), "1 image")

    assert late.latest is None
    assert late.status == said


def test_a_cancel_that_comes_too_late_says_so_with_the_picture() -> None:
    state = fresh().pressed(FOX).cancelling(1).ended(1, pictures(), "1 image · 1.5 s")

    assert state.latest == generation()
    assert state.status == f"{TOO_LATE} · 1 image · 1.5 s"


def test_done_is_said_when_the_pictures_are_there_and_not_before() -> None:
    state = running(fresh().pressed(FOX))

    early = state.progressed(1, progress(Phase.DONE, 2.0), "1 image · 2.0 s")

    assert early.status == "Drawing"
    assert early.ended(1, pictures(), "1 image · 2.0 s").status == "1 image · 2.0 s"


def test_the_next_press_clears_the_trouble_and_the_row_that_brought_nothing() -> None:
    failed = fresh().pressed(FOX).ended(1, Trouble("It failed.", again=FOX), "Failed")

    again = failed.pressed(FOX)

    assert failed.trouble is not None
    assert failed.rows == ()
    assert again.trouble is None
    assert [job.number for job in again.jobs] == [2]


def test_all_that_was_made_is_remembered_though_few_rows_are_in_sight() -> None:
    state = fresh()
    for number in range(1, 31):
        state = state.pressed(FOX).ended(number, pictures(f"g{number}"), "1 image")

    assert len(state.rows) == MAX_ENDED
    assert len(state.made) == 30
    assert state.generation("g1") is not None


def test_a_picture_from_history_is_shown_once_and_is_not_a_new_value() -> None:
    state = replace(fresh(), tab=Tab.HISTORY).arrived(pictures(earlier=True))

    again = state.arrived(pictures(earlier=True))

    assert again.tab is Tab.CREATE
    assert len(again.rows) == 1
    assert again.latest is None


# ------------------------------------------------------------------------- before the click


def account(**changes: Any) -> State:
    return replace(fresh(), account=FAL, **changes)


def test_a_missing_key_is_said_before_the_click() -> None:
    assert "FAL_KEY" in account(has_key=False).warning(Decimal("0.04"))


def test_a_cap_that_would_be_passed_is_said_before_the_click(tmp_path: Path) -> None:
    cap = Studio("demo", home=tmp_path, max_spend="0.10/day, 10/month").settings.budget

    price = Decimal("0.04")

    def spent(amount: str) -> State:
        return account(budget=cap, spent={("day", "all"): Decimal(amount)})

    assert spent("0.06").warning(price) == ""
    assert "$0.03 is left" in spent("0.07").warning(price)
    assert "IMAGEN_PRICE" in account(budget=cap).warning(None)


# ---------------------------------------------------------------------------------- the form


def test_only_what_is_given_is_sent() -> None:
    form = Form(SHAPES, "a fox")

    assert form.arguments() == {"model": SHAPES.id, "extra": {}}
    assert form.with_value("seed", "7").sent["seed"] == 7
    assert "seed" not in form.with_value("seed", "7").with_value("seed", "").sent


def test_a_default_that_was_given_is_sent_and_none_leaves_it_to_the_model() -> None:
    form = Form(SHAPES, "a fox").with_value("aspect_ratio", "1:1")

    assert form.sent["aspect_ratio"] == "1:1"
    assert "aspect_ratio" not in form.with_value("aspect_ratio", None).sent


def test_required_and_important_fields_are_in_sight_and_the_rest_folds_away() -> None:
    form = Form(replace(SIZES, fields=(*SIZES.fields, replace(LORAS, name="must", required=True))))

    assert [f.name for f in form.main] == ["must", "image_size", "seed", "num_images"]
    assert [f.name for f in form.advanced] == ["guidance_scale", "loras"]


def test_json_that_does_not_parse_says_where_and_blocks_the_button() -> None:
    text = '[{"path": "harbour-style.safetensors", "scale": 0.8]'

    form = Form(SIZES, "a fox").with_value("loras", text)

    why = "this does not parse: line 1, column 52: expecting ',' delimiter."
    assert form.problems["loras"].why == f"{why} Correct the JSON."
    assert form.blocked == "Correct LoRAs first"
    assert not State(form).can_generate
    assert form.with_value("loras", '[{"path": "x"}]').given == {"loras": [{"path": "x"}]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1, column 2"),
        ("[1,\n2,\n", "line 3"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_every_text_that_is_not_json_says_what_is_wrong(text: str, words: str) -> None:
    assert words in Form(SIZES).with_value("loras", text).problems["loras"].why


def test_a_number_outside_its_range_is_named_and_kept_as_typed() -> None:
    form = Form(SHAPES, "a fox").with_value("seed", "many")

    assert form.problems["seed"].text == "many"
    assert form.problems["seed"].why == "'many' is not allowed. Use a whole number."
    with pytest.raises(InvalidRequest, match="seed"):
        form.arguments()


def test_switching_keeps_what_the_new_model_also_takes() -> None:
    form = Form(SHAPES, "a fox").with_value("num_images", 3).with_value("guidance_scale", 4.5)

    other, note = form.with_model(SIZES)

    assert other.given == {"num_images": 3, "guidance_scale": 4.5}
    assert other.prompt == "a fox"
    assert note == ""


def test_a_shape_goes_over_to_the_nearest_size_and_back() -> None:
    form = Form(SHAPES, "a fox").with_value("aspect_ratio", "16:9")

    sized, note = form.with_model(SIZES)
    back, _ = sized.with_model(SHAPES)

    assert sized.given == {"image_size": "landscape_16_9"}
    assert note == ""
    assert back.given == {"aspect_ratio": "16:9"}


def test_a_shape_that_is_lost_is_said() -> None:
    form = Form(SIZES, "a fox").with_value("image_size", {"width": 2100, "height": 900})

    other, note = form.with_model(SHAPES)

    assert other.given == {}
    assert note == "Shapes does not take 2100 x 900: the shape is left to the model."


def test_a_common_name_is_translated_and_an_unknown_one_refused() -> None:
    form = Form(SIZES, "a fox").with_value("aspect_ratio", "9:16")

    assert form.given == {"image_size": "portrait_16_9"}
    with pytest.raises(InvalidRequest, match="colour"):
        form.with_value("colour", "red")


def test_a_request_goes_through_the_form_unchanged() -> None:
    form, lost = Form.of(FOX, SHAPES)

    assert form.prompt == "a red fox"
    assert form.given == {"aspect_ratio": "16:9", "seed": 7}
    assert lost == []


def test_a_model_without_a_prompt_hides_it() -> None:
    assert not Form(UPSCALE).takes_prompt
    assert Form(SHAPES).takes_prompt
    assert Form(UNKNOWN).takes_prompt


def test_pictures_go_in_by_role_and_a_mask_goes_with_its_picture() -> None:
    fox, owl = Input(digest="sha256:f", width=8, height=8), Input(digest="sha256:0")
    mask = Input(digest="sha256:m")
    form = replace(Form(EDITS, "snow").with_pictures([fox, owl]), mask=mask)

    assert form.arguments()["images"] == (fox, owl)
    assert form.arguments()["mask"] == mask
    assert form.with_pictures([fox]).arguments()["image"] == fox
    assert form.with_pictures([owl, fox]).mask is None
    assert form.with_pictures([owl, fox]).with_pictures([fox]).mask == mask
    assert replace(Form(EDITS), mask=mask).with_pictures([owl, fox]).mask == mask
    moved = form.with_model(SHAPES)[0]
    assert "images" not in moved.arguments()
    assert moved.kept_aside == "Shapes takes no pictures; yours are kept aside and not sent."
    unmasked = replace(EDITS, title="Plain", fields=(PICTURES, PROMPT))
    assert form.with_model(unmasked)[0].kept_aside.startswith("Plain takes no mask; yours is kept")


def test_an_unknown_model_takes_the_common_fields_and_any_other_as_json() -> None:
    form = Form(UNKNOWN, "a fox").with_value("num_images", "2")

    other = form.with_value("other_fields", '{"turbo": true}')

    assert other.arguments() == {"model": UNKNOWN.id, "extra": {"num_images": 2, "turbo": True}}


@pytest.mark.parametrize("text", ["[1]", "3", '"turbo"', "null"])
def test_other_fields_that_are_not_an_object_block_the_button(text: str) -> None:
    form = Form(UNKNOWN, "a fox").with_value("other_fields", text)

    assert "this is not an object" in form.problems["other_fields"].why


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("16:9", (16, 9)),
        ("19.5:9", (19.5, 9)),
        ("1024x1536", (1024, 1536)),
        ("portrait_16_9", (9, 16)),
        ("landscape_4_3", (4, 3)),
        ("square_hd", (1, 1)),
        ({"width": 640, "height": 480}, (640, 480)),
        ("auto", None),
        ("2K", None),
        ("a fox at 4:3", None),
    ],
)
def test_a_shape_is_read_from_every_spelling(
    value: object, shape: tuple[float, float] | None
) -> None:
    found = shape_of(value)

    assert (found is None) == (shape is None)
    if found is not None and shape is not None:
        assert found[0] / found[1] == pytest.approx(shape[0] / shape[1])


# ------------------------------------------------------------------------------- the history


def found(state: State, look: Look, *names: str, **more: Any) -> State:
    page = [Entry(generation(name)) for name in names]
    past = state.past.found(look, page, cursor=object(), **more)
    return replace(state, past=past)


def test_the_answer_to_an_earlier_question_is_ignored() -> None:
    state = fresh()
    late, look = Look("fox"), Look("fox in snow")
    state = replace(state, past=replace(state.past, look=look))

    assert not found(state, late, "g1").past.entries
    assert len(found(state, look, "g1").past.entries) == 1


def test_further_pages_are_added_and_a_page_that_comes_twice_is_not() -> None:
    state = fresh()
    first = found(state, Look(), "g1", "g2")
    cursor = first.past.cursor

    second = found(first, Look(), "g3", after=cursor)

    assert list(second.past.entries) == ["g1", "g2", "g3"]
    assert found(second, Look(), "g3", after=cursor) == second


def test_what_narrows_the_history_is_said_and_can_be_taken_away() -> None:
    look = Look(text="fox", days="last 7 days", rating=3)

    assert look.chips() == {"text": "“fox”", "days": "last 7 days", "rating": "3 stars or more"}
    assert look.since is not None
