"""What a series pays: each row at most once, never past a cap, and only what has changed."""

from __future__ import annotations

import asyncio
import functools
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from imagen_widget import History, Series, Studio, batch, errors, start, sweep
from tests import books
from tests.fakequeue import Break, FakeQueue, Received, Reply

pytestmark = pytest.mark.usefixtures("quick")

WAIT_SECONDS = 60.0
ANIMALS = ("fox", "hen", "owl", "elk")


def animals(*names: str, **options: object) -> Series:
    """Return the series of these animals; the same one in each call."""
    return sweep("a {animal}", animal=names or ANIMALS, name="animals", **options)  # type: ignore[arg-type]


def posts_by_prompt(queue: FakeQueue) -> Counter[str]:
    return Counter(r.arguments["prompt"] for r in queue.requests if r.route == "submit")


# ---------------------------------------------------------------------------- at most once


def test_planning_sends_nothing_and_writes_no_job(queue: FakeQueue) -> None:
    series = animals()

    assert (len(series), series.plan.to_send, series.plan.price) == (4, 4, Decimal("0.16"))
    assert (queue.log, books.rows()) == ([], [])


def test_a_forgotten_axis_is_said_before_anything_is_paid(queue: FakeQueue) -> None:
    typed = "a {animal} {lite}, {{animal}} {a|b} {0} {'json': 1}"
    series, whole = sweep(typed, animal=["fox", "hen"], name="typo"), animals()
    note = "{lite} is sent as typed: no axis has that name"

    assert str(series.plan).endswith(f"2 to send, $0.08 · {note}")
    assert series.status.endswith(f" · {note}")
    assert note in series._repr_mimebundle_()["text/html"]
    assert "as typed" not in str(whole.plan) + whole.status
    assert queue.log == []


def test_braces_in_a_value_are_sent_as_they_are(queue: FakeQueue) -> None:
    sweep("a {animal} in {style}", animal=["{style} fox"], style=["oil"]).run(quiet=True)

    assert posts_by_prompt(queue) == {"a {style} fox in oil": 1}


def test_the_name_of_a_series_with_other_axes_is_refused(queue: FakeQueue) -> None:
    animals("fox").run(quiet=True)

    with pytest.raises(errors.InvalidRequest, match=r"exists with other axes \(animal\)"):
        sweep("a {plant}", plant=["fern"], name="animals")
    with pytest.raises(errors.InvalidRequest, match="exists with other axes"):
        batch([{"animal": "hen"}], "a {animal}", name="animals")

    assert (queue.posts, len(Series.open("animals"))) == (1, 1)


def test_more_combinations_than_a_series_may_have_are_not_even_made(queue: FakeQueue) -> None:
    with pytest.raises(errors.InvalidRequest, match="The axes make 160,000 combinations"):
        sweep("a {x} {y}", x=range(400), y=range(400))

    assert queue.log == []


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA, "", " "], ids=repr)
def test_a_row_whose_prompt_would_have_a_gap_is_refused(queue: FakeQueue, missing: object) -> None:
    table = [{"animal": "fox"}, {"animal": missing}]

    with pytest.raises(errors.InvalidRequest, match="animal: a value is missing"):
        batch(table, "a {animal} in snow")

    assert (queue.log, books.rows()) == ([], [])


def test_a_key_that_two_rows_have_is_refused(queue: FakeQueue) -> None:
    table = [{"sku": "x", "animal": "fox"}, {"sku": "x", "animal": "hen"}]

    with pytest.raises(errors.InvalidRequest, match="sku: 'x' appears more than once"):
        batch(table, "a {animal}", key="sku")

    assert (queue.log, books.rows()) == ([], [])


@pytest.mark.parametrize("name", ["api_key", "key", "home", "store", "provider"])
@pytest.mark.parametrize("template", ["a fox", "a fox {api_key}{key}{home}{store}{provider}"])
def test_a_setting_is_not_an_axis_and_its_values_are_kept_nowhere(
    queue: FakeQueue, name: str, template: str
) -> None:
    with pytest.raises(errors.InvalidRequest, match=f"^{name} is a setting") as caught:
        sweep(template, **{name: ["made-up-1", "made-up-2"]})  # type: ignore[arg-type]

    assert "template" not in caught.value.remedy
    assert (queue.log, books.rows()) == ([], [])


def test_one_value_is_not_an_axis_and_the_error_shows_how_to_write_it(queue: FakeQueue) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"Write aspect_ratio=\['16:9'\]\.$"):
        animals(aspect_ratio="16:9")
    with pytest.raises(errors.InvalidRequest, match=r"Write seed=\[5\]\.$"):
        animals(seed=5)
    assert queue.log == []


def test_axes_that_are_not_a_mapping_and_stars_that_are_none_are_refused(demo: None) -> None:
    with pytest.raises(errors.InvalidRequest, match="axes: list is not a mapping"):
        sweep("a {animal}", axes=["animal"])  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidRequest, match=r"^animal: it is given twice"):
        sweep("a {animal}", axes={"animal": ["fox"]}, animal=["owl"])
    row = animals("fox").run(quiet=True).rows[0]
    for stars in (6, -2, 2.5, True, "3", None):
        with pytest.raises(errors.InvalidRequest, match="rating: "):
            animals("fox").rate(row, stars)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sweep("a {x}", 5), "rows: int is not a list"),  # type: ignore[arg-type]
        (lambda: sweep("a fox", prompt=["a hen"]), "prompt: the template is the prompt"),
        (lambda: sweep("a {x}", x=[1], sample=2.5), "sample: 2.5 is not allowed"),  # type: ignore[arg-type]
        (lambda: animals().grid(row=5), "5: it is not an axis"),  # type: ignore[arg-type]
        (lambda: animals().pick(by=[]), r"\[\]: it is not an axis"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_series_or_view_of_one_is_one_line(
    demo: None, make: Callable[[], object], says: str
) -> None:
    with pytest.raises(errors.InvalidRequest, match=says):
        make()


def test_arrays_and_pictures_of_pillow_may_be_the_values_of_a_row(demo: None) -> None:
    table = pd.DataFrame({"x": ["fox"], "v": [np.array([1, 2])]})
    painted = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]

    rows = batch(table, "a {x}").rows
    keys = [
        [row.key for row in sweep("a fox", image=pictures, model=["kontext"]).rows]
        for pictures in (painted, [picture.copy() for picture in painted])
    ]

    assert rows[0].axes == {"x": "fox", "v": "[1 2]"}
    assert keys[0] == keys[1]  # no addresses in memory
    assert len(set(keys[0])) == 2


@pytest.mark.parametrize("template", ["_fox_ {x}", "__ {x}", "{x}", "狐狸 {x}", "$5 #{x}!"])
def test_a_series_without_a_name_gets_one_from_any_template(demo: None, template: str) -> None:
    series = sweep(template, x=["u"])

    assert series.run(quiet=True).name == sweep(template, x=["v"]).name
    assert Series.open(series.name).status == "1 done · free"


def test_a_row_is_rated_by_what_names_it(demo: None) -> None:
    series = animals("fox", "hen").run(quiet=True)

    for name, stars in ((0, 5), ("hen", np.int64(3))):
        series.rate(name, stars)  # type: ignore[arg-type]

    assert [row.rating for row in series.rows] == [5, 3]
    with pytest.raises(errors.InvalidRequest, match="There is no row 'owl'"):
        series.rate("owl", 5)


def test_numbers_of_numpy_and_names_that_are_numbers_are_understood(demo: None) -> None:
    series = sweep("a {1}", axes={1: [5, 6, 7]}, sample=np.int64(2), name=5)  # type: ignore[dict-item,arg-type]
    series.run(quiet=True, max_in_flight=np.int64(2), errors=np.int64(2))  # type: ignore[arg-type]

    assert (len(series), Series.open("5").find(np.int64(1)).key) == (2, '{"1": 7}')
    assert series.pick(best=np.int64(1)).best == []  # type: ignore[arg-type]
    heads = re.findall(r'<th scope="row">(\d)', series.grid(row=1)._repr_mimebundle_()["text/html"])  # type: ignore[arg-type]
    assert heads == ["6", "7"]


def test_a_picker_of_a_series_that_has_no_picture_yet_knows_its_axes(demo: None) -> None:
    assert animals().pick(by="animal").best == []


def test_columns_of_a_table_that_are_named_like_facts_of_a_row_stay_columns(demo: None) -> None:
    names = {"key": ["A", "B"], "state": ["Ohio", "Utah"], "cost": [7, 8], "error": [None, "E"]}
    table = pd.DataFrame({**names, "prompt": ["fox", "owl"], "seed": [1, 2], "photo": ["x", "y"]})
    series = batch(table, "{prompt}", key="key", seed="{seed}").run(quiet=True)

    frame = series.to_pandas()

    assert [*frame.columns[:5]] == ["key", "axis_state", "axis_cost", "axis_error", "photo"]
    assert frame["axis_state"].tolist() == ["Ohio", "Utah"]
    assert frame["state"].tolist() == ["done", "done"]
    assert frame["seed"].tolist() == [1, 2]
    assert not {"axis_key", "axis_prompt", "axis_seed"} & {*frame.columns}  # they say the same
    models = sweep("a fox", model=["imagen4", "fal-ai/flux/dev"]).run(quiet=True).to_pandas()
    assert models["model"].tolist() == ["fal-ai/imagen4/preview", "fal-ai/flux/dev"]
    assert "axis_model" not in models.columns  # an alias of the same


def test_numbers_of_32_bits_in_a_table_go_out_as_they_are_written(demo: None) -> None:
    given = np.array([0.7, np.nan], dtype="float32")
    table = pd.DataFrame({"name": ["fox", "owl"], "scale": given, 0: given})

    series = batch(table.head(1), "a {name}, {scale}", key="name", name="singles")

    assert [row.request.prompt for row in series.rows] == ["a fox, 0.7"]
    assert [row.axes["scale"] for row in series.rows] == [0.7]
    with pytest.raises(errors.InvalidRequest, match="scale"):
        batch(table, "a {name}, {scale}", key="name", name="missing")


def test_a_table_without_names_has_numbers_as_columns(demo: None) -> None:
    series = batch(pd.DataFrame([["fox"], ["owl"]]), "a {0}, {{0}}", key=0, name="unnamed")  # type: ignore[arg-type]

    assert [request.prompt for request in series] == ["a fox, {fox}", "a owl, {owl}"]
    assert [row.key for row in series.rows] == ["fox", "owl"]


def test_braces_that_name_no_column_are_refused_unless_they_are_doubled(demo: None) -> None:
    table = [{"x": "fox"}]
    for prompt, fields in (("a {x} {y}", {}), ("a {x}", {"negative_prompt": "no {y}"})):
        with pytest.raises(errors.InvalidRequest, match="y: the table has no such column"):
            batch(table, prompt, **fields)

    assert [request.prompt for request in batch(table, "a {x} {{y}}")] == ["a fox {{y}}"]


def test_columns_may_stand_anywhere_in_a_field(demo: None) -> None:
    table = [{"x": "fox", "a": "https://example.com/1.png", "b": "https://example.com/2.png"}]
    loras = [{"path": "{a}", "scale": 1}, {"path": "{a}?{x}"}]

    [edit] = batch(table, "a {x}", model="nano-banana-edit", images=["{a}", "{b}"])
    [other] = batch(table, "a {x}", model="lab/new", loras=loras, extra={"model": "{x}"})

    assert edit.arguments()["image_urls"] == [table[0]["a"], table[0]["b"]]
    assert other.arguments()["loras"] == [
        {"path": table[0]["a"], "scale": 1},
        {"path": f"{table[0]['a']}?fox"},
    ]
    assert other.arguments()["model"] == "fox"
    with pytest.raises(errors.InvalidRequest, match="c: the table has no such column"):
        batch(table, "a {x}", model="lab/new", loras=[{"path": "{c}"}])


def test_the_values_of_a_set_are_sampled_alike_in_every_process(demo: None) -> None:
    code = "from imagen_widget import sweep; print([r.axes['x'] for r in sweep('{x}', x=set("
    code += "'abcdefgh'), sample=3).rows])"
    seeds = ({"PYTHONHASHSEED": str(seed)} for seed in range(3))

    run = functools.partial(subprocess.check_output, [sys.executable, "-c", code])
    assert len({run(env={**os.environ, **seed}) for seed in seeds}) == 1


def test_a_condition_changes_no_row_and_axes_are_a_mapping_of_any_truth(demo: None) -> None:
    kept = sweep("a {x} {y}", x=["fox"], y=[1, 2], where=lambda row: row.pop("x") and row["y"] > 1)

    assert [row.axes for row in kept.rows] == [{"x": "fox", "y": 2}]
    wrong: list[Any] = [pd.Series({"x": ["fox", "hen"]}), []]
    for axes in wrong:
        with pytest.raises(errors.InvalidRequest, match=r"^axes: \w+ is not a mapping"):
            sweep("a {x}", axes=axes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "The table has no rows"),
        ('x,y\n"fox, red,1\nhen,2\n', r"cannot be read \(unexpected end of data\)"),
        ('x,y\n"fox"es,1\n', r"cannot be read \(.*expected after"),
        (f"x\n{'a' * 200_000}\n", r"cannot be read \(field larger"),
    ],
)
def test_a_table_file_that_is_empty_or_cut_is_told_and_not_paid(
    demo: None, tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "table.csv").write_text(text)

    with pytest.raises(errors.InvalidRequest, match=says):
        batch(tmp_path / "table.csv", "a {x}")


def test_a_line_of_a_table_file_with_a_comma_too_many_is_refused(
    demo: None, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("prompt,seed\nfox,1\nhen, on a roof,2\n")

    with pytest.raises(errors.InvalidRequest, match="Row 2 has more cells than there are columns"):
        batch(path, "a {prompt}")


@pytest.mark.parametrize("text", ["", "\ufeff", "\n\n", "x\n", "x"])
def test_a_table_file_without_a_row_is_told_as_that(demo: None, tmp_path: Path, text: str) -> None:
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")

    with pytest.raises(errors.InvalidRequest, match="The table has no rows"):
        batch(tmp_path / "table.csv", "a {x}")


def test_a_table_whose_columns_have_one_name_is_refused(demo: None, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("x,,x,\nfox,1,hen,2\n")

    for table in (path, pd.DataFrame([["fox", "hen"]], columns=["x", "x"])):
        with pytest.raises(errors.InvalidRequest, match=r"^table: .*'x'"):
            batch(table, "a {x}")
    path.write_text("x,,\nfox,1,2\n")
    assert [request.prompt for request in batch(path, "a {x}")] == ["a fox"]
    with pytest.raises(errors.InvalidRequest, match=r"^table: .* is not a path"):
        batch("~nobody-of-this-name/table.csv", "a {x}")


def test_each_row_is_paid_once_however_often_the_series_runs(queue: FakeQueue) -> None:
    first = animals().run(quiet=True)
    animals().run(quiet=True)
    Series.open("animals").resume(quiet=True)

    assert first.status_counts["done"] == 4
    assert posts_by_prompt(queue) == {f"a {name}": 1 for name in ANIMALS}
    assert [row.generation.request.prompt for row in first.rows if row.generation] == [
        f"a {name}" for name in ANIMALS
    ]


def test_every_row_is_on_disk_as_submitting_when_its_post_arrives(queue: FakeQueue) -> None:
    seen: list[str] = []

    def look(request: Received) -> None:
        prompt = request.arguments["prompt"]
        seen.extend(row.state for row in books.rows() if row.prompt == prompt)

    queue.before["submit"] = look
    animals().run(quiet=True)

    assert seen == ["submitting"] * 4


def test_no_row_is_sent_if_its_pictures_cannot_be_kept(queue: FakeQueue) -> None:
    series = animals()
    (books.home() / "images").touch()

    with pytest.raises(errors.JournalError, match="Pictures cannot be kept"):
        series.run(quiet=True)

    assert queue.posts == 0


def test_only_rows_whose_request_has_changed_are_sent_again(queue: FakeQueue) -> None:
    table = [{"name": "lamp", "colour": "red"}, {"name": "chair", "colour": "blue"}]
    batch(table, "a {colour} {name}", key="name", name="shop").run(quiet=True)
    table[1]["colour"] = "green"
    table.append({"name": "table", "colour": "oak"})

    changed = batch(table, "a {colour} {name}", key="name", name="shop")
    plan = changed.plan
    changed.run(quiet=True)

    assert (plan.rows, plan.answered, plan.to_send) == (3, 1, 2)
    assert posts_by_prompt(queue) == dict.fromkeys(
        ["a red lamp", "a blue chair", "a green chair", "a oak table"], 1
    )


def test_a_series_whose_plan_was_changed_tells_of_its_rows_before_it_is_run(
    queue: FakeQueue,
) -> None:
    before = animals("fox", "hen").run(quiet=True)

    grown = animals("fox", "hen", "owl")
    edited = sweep("the {animal}", animal=["fox", "hen"], name="animals")

    assert [row.state for row in grown.rows] == ["done", "done", "waiting"]
    assert grown.status == "2 done, 1 waiting · $0.08 of $0.12"
    assert "<b>3 rows</b> · 1 to send" in grown._repr_mimebundle_()["text/html"]
    assert [row.request.prompt for row in edited.rows] == ["the fox", "the hen"]
    assert edited.status == "2 waiting · $0.00 of $0.08"
    assert before.status == Series.open("animals").status == "2 done · $0.08 of $0.08"


def test_a_series_whose_plan_was_replaced_tells_of_its_own_rows(queue: FakeQueue) -> None:
    before = animals("fox", "hen").run(quiet=True)

    animals("hen", "owl", "elk").run(quiet=True)

    assert [row.state for row in before.rows] == ["waiting", "done"]
    assert before.status == "1 done, 1 waiting · $0.04 of $0.08"
    assert len(before.generations) == before.status_counts["done"] == 1


def test_a_row_that_was_deleted_is_paid_for_and_not_shown(queue: FakeQueue) -> None:
    series = animals("fox", "hen").run(quiet=True)
    History().delete(series.generations[0])

    for each in (series, animals("fox", "hen"), Series.open("animals")):
        assert (len(each), each.status_counts["done"], each.plan.to_send) == (2, 2, 0)
        assert each.status.endswith(" · $0.08 of $0.08")
        assert [row.request.prompt for row in each.rows] == ["a hen"]
    assert queue.posts == 2


def test_equal_rows_are_rows_of_their_own(queue: FakeQueue) -> None:
    series = sweep("a {animal}", animal=["fox", "fox"], name="twins").run(quiet=True)

    assert (len(series), posts_by_prompt(queue)) == (2, {"a fox": 2})


def test_a_row_without_a_clear_answer_is_unknown_and_never_sent_again(queue: FakeQueue) -> None:
    queue.script("submit", None, Break.LOST_ANSWER)
    series = animals().run(quiet=True)

    series.run(quiet=True)
    Series.open("animals").resume(quiet=True)

    assert series.status_counts == {
        **dict.fromkeys(("waiting", "sent", "failed", "refused"), 0),
        "done": 3,
        "unknown": 1,
    }
    for plan in (series.plan, Series.open("animals").plan):
        assert "3 answered from history, 1 unknown, not sent again, 0 to send" in str(plan)
        assert (plan.answered, plan.lost["unknown"], plan.to_send) == (4, 1, 0)
    assert queue.posts == 4
    assert History().spend() == pytest.approx(0.16)


def test_a_row_that_a_dead_process_was_sending_is_not_sent_again(queue: FakeQueue) -> None:
    queue.script("submit", None, Break.LOST_ANSWER)
    animals().run(quiet=True)
    lost = "UPDATE jobs SET state = 'submitting', error = NULL, trouble = ''"
    books.write(f"{lost} WHERE state = 'unknown'")

    series = Studio().series("animals").run(quiet=True)

    assert (series.status_counts["done"], series.status_counts["unknown"]) == (3, 1)
    assert queue.posts == 4


def test_a_row_that_was_refused_for_now_waits_again_and_one_for_its_content_does_not(
    queue: FakeQueue,
) -> None:
    refused = Reply(422, {"detail": [{"type": "content_policy_violation", "msg": "no"}]})
    queue.script("submit", None, refused, Reply(400, {"error": {"message": "overloaded"}}))
    series = animals().run(quiet=True, max_in_flight=1)
    before = series.status_counts
    series.run(quiet=True)

    assert before["refused"] >= 1
    assert posts_by_prompt(queue)["a hen"] == 1
    assert series.status_counts["done"] >= 2


def test_of_rows_that_an_ended_process_had_sent_no_more_are_fetched_than_may_be_out(
    queue: FakeQueue, end_loop: Callable[[], None]
) -> None:
    queue.before["submit"] = lambda _: setattr(queue, "polls", math.inf if queue.jobs else 1)
    animals().start(quiet=True, max_in_flight=3)
    queue.wait_for("submit", 4)
    end_loop()
    asked = len(queue.requests)

    series = Studio().series("animals").start(quiet=True, max_in_flight=1)
    queue.wait_for("status", queue.count("status") + 4)
    seen = {request.path for request in queue.requests[asked:] if request.route == "status"}
    queue.polls = 1
    queue.finish()
    asyncio.run(_end_of(series))

    assert len(seen) == 1
    assert (queue.posts, series.status_counts["done"]) == (4, 4)


def left_out(queue: FakeQueue, end_loop: Callable[[], None]) -> int:
    """Leave rows out as an ended process does; return how often their status was asked for."""
    queue.polls = math.inf
    animals().start(quiet=True)
    queue.wait_for("status")
    end_loop()
    return queue.count("status")


def test_rows_that_are_fetched_are_among_those_that_may_be_out(
    queue: FakeQueue, end_loop: Callable[[], None]
) -> None:
    asked = left_out(queue, end_loop)

    series = Studio().series("animals").start(quiet=True, max_in_flight=1)
    queue.wait_for("status", asked + 4)
    posts = queue.posts
    queue.polls = 1
    queue.finish()
    asyncio.run(_end_of(series))

    assert (posts, queue.posts) == (1, 4)


def test_a_row_that_another_process_takes_at_the_same_moment_is_left_to_it(
    queue: FakeQueue, end_loop: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_widget._series.drive._TAKE_OVER_SECONDS", 0)
    monkeypatch.setattr("imagen_widget._series.drive._LOOK_SECONDS", 0.05)
    queue.polls = math.inf
    animals("fox").start(quiet=True)
    queue.wait_for("status")
    end_loop()
    queue.finish()
    asked: list[int] = []

    async def lease(*_: object) -> bool:
        asked.append(queue.count("status"))
        return len(asked) == 3  # the other one has taken it, and dies later

    monkeypatch.setattr("imagen_widget._runs.run.Session.lease", lease)
    series = Studio().series("animals").run(quiet=True)

    assert asked == [asked[0]] * 3
    assert (queue.posts, series.status_counts["done"]) == (1, 1)


def test_a_row_under_way_whose_lease_ran_out_is_not_fetched_twice_here(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_widget._series.drive._TAKE_OVER_SECONDS", 0)
    monkeypatch.setattr("imagen_widget._series.drive._LOOK_SECONDS", 0.05)
    queue.polls = math.inf
    series = animals("fox").start(quiet=True)
    queue.wait_for("status")
    books.write("UPDATE jobs SET lease_until = 0")  # as after a machine has slept
    queue.wait_for("status", queue.count("status") + 20)
    queue.finish()
    asyncio.run(_end_of(series))

    assert (queue.posts, queue.count("result"), series.status_counts["done"]) == (1, 1, 1)


@pytest.mark.slow
def test_rows_that_a_dead_process_had_sent_are_fetched_and_not_sent(queue: FakeQueue) -> None:
    queue.polls = math.inf
    series = animals().start(quiet=True, max_in_flight=2)
    queue.wait_for("status")
    books.bury()
    posts = queue.posts
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(Studio().series("animals").run, quiet=True)
        queue.wait_for("status", queue.count("status") + 3)
        queue.finish()
        taken = other.result(WAIT_SECONDS)

    asyncio.run(_end_of(series))
    assert posts >= 1
    assert queue.duplicates == 0
    assert taken.status_counts["done"] == 4


def test_rows_that_an_ended_process_had_sent_are_held_by_who_fetches_them(
    queue: FakeQueue, end_loop: Callable[[], None]
) -> None:
    asked = left_out(queue, end_loop)

    series = Studio().series("animals").start(quiet=True)
    queue.wait_for("status", asked + 1)
    held = [row.lease_until > 0 for row in books.rows() if row.state == "submitted"]
    queue.polls = 1
    queue.finish()
    asyncio.run(_end_of(series))

    assert held
    assert all(held)
    assert (queue.posts, series.status_counts["done"]) == (4, 4)


async def _end_of(series: Series) -> None:
    await series


@pytest.mark.parametrize("key", ["made-up", ""])
def test_rows_that_were_sent_to_another_provider_are_fetched_there_or_stay_out(
    queue: FakeQueue, end_loop: Callable[[], None], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    queue.polls = math.inf
    animals("fox").start(quiet=True)
    queue.wait_for("status")
    end_loop()
    books.bury()
    queue.finish()
    monkeypatch.setenv("IMAGEN_API_KEY", key)
    monkeypatch.setenv("IMAGEN_DEMO_SECONDS", "0")
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")

    animals("fox").run(quiet=True)

    assert books.states() == ["done" if key else "submitted", "done"]
    assert queue.posts == 1


@pytest.mark.slow
def test_two_processes_share_the_rows_of_a_series(queue: FakeQueue) -> None:
    numbers = range(20)
    studios = [Studio(), Studio()]

    def run(studio: Studio) -> None:
        studio.sweep("fox {number}", number=numbers, name="shared").run(quiet=True)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(run, studios))

    assert posts_by_prompt(queue) == {f"fox {number}": 1 for number in numbers}
    assert books.states().count("done") == 20


# -------------------------------------------------------------------------------- the caps


def test_the_cap_of_a_series_is_never_passed_and_more_money_goes_on(queue: FakeQueue) -> None:
    series = animals()
    with pytest.raises(errors.BudgetExceeded, match=r"\. Nothing was sent; one such request"):
        series.run(quiet=True, max_spend=0.01)
    counts = "2 done, 2 waiting"
    with pytest.raises(
        errors.BudgetExceeded, match=f"Nothing more was sent: {counts}; run it with a higher one"
    ):
        series.run(quiet=True, max_spend=0.10)
    paused = series.status_counts

    series.run(quiet=True, max_spend=0.16)

    assert (paused["done"], paused["waiting"]) == (2, 2)
    assert series.status_counts["done"] == 4
    assert queue.posts == 4


@pytest.mark.parametrize(
    ("cap", "said"),
    [
        ("10/month", "This month $0.20 of $10.00 the cap leaves $9.80"),
        ("1.00", "Today $0.20 of $1.00 the cap leaves $0.80"),
        (None, "This month $0.20 no cap is set"),
    ],
)
def test_a_series_shows_what_the_cap_leaves(queue: FakeQueue, cap: str | None, said: str) -> None:
    studio = Studio(max_spend=cap)
    studio.generate("a cat", quiet=True)

    ran = studio.sweep("a {animal}", animal=ANIMALS, name="animals").run(quiet=True)

    for series in (ran, Studio(max_spend=cap).series("animals")):
        shown = re.sub(r"<[^>]*>", "", series._repr_mimebundle_()["text/html"])
        assert said in " ".join(shown.split())


def test_the_cap_of_the_day_holds_over_series_and_single_jobs(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.12")
    Studio().generate("a single picture")

    with pytest.raises(errors.BudgetExceeded, match=r"\$0\.12"):
        animals().run(quiet=True)

    assert queue.posts == 3
    assert History().spend() == pytest.approx(0.12)


def test_the_cap_of_a_user_holds_over_their_series_and_no_others_jobs(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND_USER", "0.12")
    monkeypatch.setenv("JUPYTERHUB_USER", "anna")
    Studio().generate("a single picture")
    monkeypatch.setenv("JUPYTERHUB_USER", "ben")

    with pytest.raises(errors.BudgetExceeded, match=r"your cap of \$0\.12"):
        Studio().sweep("a {animal}", animal=ANIMALS, name="animals").run(quiet=True)

    assert queue.posts == 4
    assert History().spend_by("user") == {"anna": Decimal("0.04"), "ben": Decimal("0.12")}


def test_the_caps_are_those_in_force_at_a_run_and_a_studio_keeps_its_own(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.05/day")
    made, own = animals(), Studio().sweep("a {pet}", pet=["cat", "dog"], name="own")
    with pytest.raises(errors.BudgetExceeded, match=r"cap of \$0\.05 a day"):
        made.run(quiet=True)
    opened = Series.open("animals")

    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.13/day")
    with pytest.raises(errors.BudgetExceeded, match=r"cap of \$0\.13 a day"):
        opened.run(quiet=True)
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "5/day")
    made.run(quiet=True)
    after = queue.posts
    with pytest.raises(errors.BudgetExceeded, match=r"cap of \$0\.05 a day"):
        own.run(quiet=True)
    later = sweep("a {pet}", pet=["cat", "dog"], name="later")
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.16/day")
    with pytest.raises(errors.BudgetExceeded, match=r"cap of \$0\.16 a day"):
        later.run(quiet=True)

    assert (after, queue.posts, made.status_counts["done"]) == (4, 4, 4)


def test_a_series_stays_at_the_provider_that_it_was_planned_for(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = animals()
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")

    series.run(quiet=True)

    assert queue.posts == 4


def stopped_on_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a series on the demo until its first row fails: another one waits."""
    with monkeypatch.context() as demo:
        demo.setenv("IMAGEN_PROVIDER", "demo")
        demo.setenv("IMAGEN_DEMO_SECONDS", "0")
        with pytest.raises(errors.ContentRejected):
            animals("[demo:reject]", "hen").run(quiet=True, errors="raise")


def test_rows_that_wait_for_the_demo_are_not_sent_to_another_provider(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_on_the_demo(monkeypatch)
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.05/day")

    with pytest.raises(errors.InvalidRequest, match="planned for demo, and this is kkiai"):
        Series.open("animals").resume(quiet=True)
    refused = queue.posts
    with pytest.raises(errors.BudgetExceeded):
        animals("[demo:reject]", "hen").run(quiet=True)

    assert (refused, queue.posts) == (0, 1)


def test_a_series_that_is_opened_again_reserves_the_prices_in_force(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.BudgetExceeded):
        animals().run(quiet=True, max_spend=0.01)
    monkeypatch.setenv("IMAGEN_PRICE", "0.10")

    series = Series.open("animals")
    planned = series.plan.price
    with pytest.raises(errors.BudgetExceeded):
        series.run(quiet=True, max_spend=0.25)

    assert (planned, queue.posts) == (Decimal("0.40"), 2)


def test_a_series_that_is_opened_again_is_fetched_from_the_address_in_force(
    queue: FakeQueue, end_loop: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.BudgetExceeded):
        animals("fox").run(quiet=True, max_spend=0.01)
    address = os.environ["IMAGEN_BASE_URL"].replace("127.0.0.1", "localhost")
    monkeypatch.setenv("IMAGEN_BASE_URL", address)
    queue.polls = math.inf
    Series.open("animals").start(quiet=True)
    queue.wait_for("status")
    end_loop()
    queue.finish()

    assert len(History().resume()) == 1
    assert queue.posts == 1


def test_a_series_without_its_key_sends_nothing(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGEN_API_KEY")

    with pytest.raises(errors.CredentialsError, match="There is no key for kkiai"):
        animals().run(quiet=True)

    assert queue.log == []


def test_the_price_in_force_is_that_of_the_plan_and_of_the_run(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = animals()
    monkeypatch.setenv("IMAGEN_PRICE", "0.10")

    planned = series.plan.price
    series.run(quiet=True)

    assert planned == Decimal("0.40")
    assert series.status == "4 done · $0.40 of $0.40"


def test_every_object_of_a_series_tells_the_same_sums(queue: FakeQueue) -> None:
    series = animals()
    with pytest.raises(errors.BudgetExceeded):
        series.run(quiet=True, max_spend=0.01)
    with pytest.raises(errors.BudgetExceeded):
        Series.open("animals").run(quiet=True, max_spend=0.05)

    assert series.status == "1 done, 3 waiting · $0.04 of $0.16"
    assert Series.open("animals").status == series.status


def test_a_row_of_unknown_price_under_a_cap_is_not_sent(queue: FakeQueue) -> None:
    series = sweep("a {animal}", animal=ANIMALS, model=["somebody/some-model"], name="unpriced")

    with pytest.raises(errors.BudgetExceeded, match="IMAGEN_PRICE"):
        series.run(quiet=True, max_spend=10)

    assert queue.posts == 0


# ------------------------------------------------------------------------------- when to stop


@pytest.mark.parametrize(
    ("status", "kind", "done"),
    [(401, errors.CredentialsError, 4), (404, errors.ModelRetired, 3)],  # refused for its model
    ids=["key", "model"],
)
def test_the_first_row_goes_alone_so_that_a_wrong_key_or_model_costs_one_error(
    queue: FakeQueue, status: int, kind: type[errors.ImagenError], done: int
) -> None:
    queue.always("submit", Reply(status, {"detail": "no"}))
    series = animals()

    with pytest.raises(kind):
        series.run(quiet=True)
    after = queue.posts
    queue.heal()
    series.run(quiet=True)

    assert after == 1
    assert series.status_counts["done"] == done


def test_a_row_that_an_ended_process_had_sent_does_not_stand_for_the_first_one(
    queue: FakeQueue, end_loop: Callable[[], None]
) -> None:
    queue.polls = math.inf
    animals().start(quiet=True)
    queue.wait_for("status")
    end_loop()
    queue.finish()
    queue.polls, queue.silence_seconds = 1, 1.0
    queue.script("submit", Break.SILENCE)
    sent: list[float] = []
    queue.before["submit"] = lambda _: sent.append(time.monotonic())

    series = Studio().series("animals").run(quiet=True)

    assert (series.status_counts["done"], series.status_counts["unknown"]) == (3, 1)
    first, second, _ = sent
    assert second - first > 0.9  # the first one was out for a second


def test_a_first_row_that_is_refused_for_its_content_stops_no_other(queue: FakeQueue) -> None:
    queue.script("submit", Reply(422, {"detail": [{"type": "content_policy_violation"}]}))

    series = animals().run(quiet=True)

    assert (series.status_counts["refused"], series.status_counts["done"]) == (1, 3)


def test_the_second_row_is_sent_when_the_first_one_has_ended(queue: FakeQueue) -> None:
    out: list[int] = []
    queue.before["submit"] = lambda _: out.append(queue.count("media"))

    animals().run(quiet=True)

    assert out[0] == 0
    assert min(out[1:]) >= 1


@pytest.mark.parametrize(
    ("allowed", "posts"), [("row", 8), ("raise", 2), (0, 2), (2, 4), (0.5, 8)], ids=str
)
def test_so_many_rows_may_fail_and_what_is_paid_is_fetched(
    queue: FakeQueue, allowed: str | float, posts: int
) -> None:
    refused = Reply(422, {"detail": "no"})
    queue.script("submit", None, *[refused] * 7)
    series = sweep("fox {number}", number=range(8), name="failing")
    try:
        series.run(quiet=True, errors=allowed, max_in_flight=1)
        stopped = False
    except (errors.SeriesStopped, errors.InvalidRequest):
        stopped = True

    assert queue.posts == posts
    assert stopped == (posts < 8)
    assert series.status_counts["done"] == 1
    assert len(series.errors) == posts - 1


def test_a_share_is_looked_at_when_the_tenth_row_ends_however_it_ends(queue: FakeQueue) -> None:
    refused = {f"fox {number}": Reply(422, {"detail": "no"}) for number in (1, 3, 11)}
    queue.always("submit", lambda sent: refused.get(sent.arguments["prompt"]))
    series = sweep("fox {number}", number=range(20), name="share")

    with pytest.raises(errors.SeriesStopped, match=r"^2 rows failed"):
        series.run(quiet=True, errors=0.1, max_in_flight=1)

    assert series.status_counts == dict.fromkeys(("sent", "failed", "unknown"), 0) | {
        "waiting": 10,
        "done": 8,
        "refused": 2,
    }


def test_what_stopped_a_run_is_told_and_not_what_failed_in_an_earlier_one(
    queue: FakeQueue,
) -> None:
    said = ["first", "second", "first"]
    queue.script("submit", None, *(Reply(422, {"detail": detail}) for detail in said))

    for detail in said:
        with pytest.raises(errors.SeriesStopped, match=rf"^1 row failed.*: {detail}"):
            animals().run(quiet=True, errors=0, max_in_flight=1)


def test_a_row_that_another_process_takes_before_it_is_sent_stops_no_other(
    queue: FakeQueue,
) -> None:
    queue.before["submit"] = lambda _: books.write(
        "CREATE TRIGGER IF NOT EXISTS taken AFTER UPDATE OF owner ON jobs"
        " WHEN NEW.state = 'intent' AND NEW.request_text LIKE '%a hen%'"
        " BEGIN UPDATE jobs SET owner = 'elsewhere:1:2:3' WHERE id = NEW.id; END"
    )

    series = animals().run(quiet=True, max_in_flight=1)

    assert posts_by_prompt(queue) == {"a fox": 1, "a owl": 1, "a elk": 1}
    assert (series.status_counts["done"], series.status_counts["sent"]) == (3, 1)


def test_a_journal_that_breaks_during_a_run_is_told_by_its_error_alone(
    queue: FakeQueue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = animals("fox")

    def broken(*_: object) -> None:
        raise errors.JournalError("The journal cannot be used.")

    def break_it(_: Received) -> None:
        for verb in ("query", "spent_on"):
            monkeypatch.setattr(series._journal, verb, broken)

    queue.before["submit"] = break_it

    with pytest.raises(errors.JournalError, match="cannot be used"):
        series.run(quiet=True)

    assert [record for record in caplog.records if record.name == "concurrent.futures"] == []
    assert series.status == "1 done · $0.04 of $0.04"


def test_a_cancelled_series_sends_no_more_and_fetches_what_is_out(queue: FakeQueue) -> None:
    queue.polls = math.inf
    series = animals().start(quiet=True)
    queue.wait_for("status")

    said = series.cancel()
    queue.finish()
    asyncio.run(_end_of(series))

    assert said.startswith("No more rows are sent")
    assert (queue.posts, series.status_counts["done"], series.status_counts["waiting"]) == (1, 1, 3)


def test_a_cap_is_told_after_what_a_stopped_run_has_sent_is_fetched(queue: FakeQueue) -> None:
    queue.polls = 30  # so long that the cap is met before the picture is there
    stopped = animals().start(quiet=True)
    queue.wait_for("status")
    stopped.cancel()

    series = animals()
    with pytest.raises(errors.BudgetExceeded, match="Nothing more was sent: 1 done, 3 waiting;"):
        series.run(quiet=True, max_spend=0.04)

    assert queue.posts == 1


@pytest.mark.parametrize("cap", [1e-5, "$0.00001", Decimal("1E-5")])
def test_a_tiny_cap_is_a_cap_however_it_is_written(queue: FakeQueue, cap: object) -> None:
    with pytest.raises(errors.BudgetExceeded):
        animals().run(quiet=True, max_spend=cap)  # type: ignore[arg-type]

    assert queue.posts == 0


def test_a_series_that_is_no_longer_awaited_sends_no_more_and_fetches_what_is_out(
    queue: FakeQueue,
) -> None:
    queue.polls = math.inf
    series = animals()

    async def give_up() -> None:
        task = asyncio.create_task(series.arun())
        await asyncio.to_thread(queue.wait_for, "status")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    queue.finish()
    asyncio.run(_end_of(series))

    assert (queue.posts, series.status_counts["done"], series.status_counts["waiting"]) == (1, 1, 3)


def test_a_series_that_is_given_up_at_once_sends_nothing(queue: FakeQueue) -> None:
    series = animals()

    async def give_up() -> None:
        task = asyncio.create_task(series.arun())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    for _ in range(600):
        if books.states():  # the plan was being written down
            break
        time.sleep(0.05)

    with pytest.raises(errors.InvalidRequest, match="not running"):
        asyncio.run(_end_of(series))
    assert (queue.posts, books.states()) == (0, ["waiting"] * 4)


def test_no_more_rows_are_out_at_once_than_allowed(queue: FakeQueue) -> None:
    open_jobs: list[int] = []

    def look(_: Received) -> None:
        states = books.states()
        open_jobs.append(sum(state in {"submitting", "submitted"} for state in states))

    queue.before["submit"] = look
    sweep("fox {number}", number=range(12), name="twelve").run(quiet=True, max_in_flight=3)

    assert queue.posts == 12
    assert max(open_jobs) <= 3


# --------------------------------------------------------- watched and stopped from elsewhere


def in_another_process(code: str) -> str:
    """Run code in a process with the same home, and return what it prints."""
    start = "from imagen_widget import Series, Studio, sweep\n"
    ran = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, timeout=60, check=True
    )
    return ran.stdout


def test_another_object_shows_awaits_and_stops_the_run_of_this_process(queue: FakeQueue) -> None:
    queue.polls = math.inf
    begun = animals().start(quiet=True)
    queue.wait_for("status")
    other = Studio().series("animals")

    shown = other._repr_mimebundle_()["text/html"]
    said = other.cancel()
    queue.finish()
    asyncio.run(_end_of(other))

    assert "running" in shown
    assert said == "No more rows are sent. 1 job under way is still fetched, and paid for."
    assert (queue.posts, begun.status_counts["done"], other.status_counts["waiting"]) == (1, 1, 3)
    assert Series.open("animals").resume(quiet=True).status_counts["done"] == 4
    assert queue.posts == 4


@pytest.mark.slow
def test_a_run_sends_no_rows_that_another_process_has_planned_for_the_demo_meanwhile(
    queue: FakeQueue,
) -> None:
    planned = (
        "rows = ['[demo:reject]', 'hen']\n"
        "demo = Studio('demo', demo_seconds=0)\n"
        "series = demo.sweep('a {animal}', animal=rows, name='animals')\n"
        "try: series.run(quiet=True, errors='raise')\n"
        "except Exception: print(series.status)\n"
    )
    said: list[str] = []

    def plan(_: Received) -> None:
        del queue.before["submit"]
        said.append(in_another_process(planned))

    queue.before["submit"] = plan
    animals().run(quiet=True)

    assert said == ["1 refused, 1 waiting · free\n"]
    assert queue.posts == 1


@pytest.mark.slow
def test_a_process_shows_and_stops_the_run_of_another_one(queue: FakeQueue) -> None:
    queue.polls = math.inf
    series = sweep("fox {number}", number=range(9), name="nine").start(quiet=True, max_in_flight=1)
    queue.wait_for("status")

    shown = in_another_process("print(Series.open('nine')._repr_mimebundle_()['text/html'])")
    said = in_another_process("print(Series.open('nine').cancel())")
    queue.polls = 3
    queue.finish()
    asyncio.run(_end_of(series))

    assert "running elsewhere" in shown
    assert said.startswith("No more rows are sent. 1 job under way")
    assert (queue.posts, series.status_counts["waiting"]) == (1, 8)
    in_another_process("Series.open('nine').resume(quiet=True)")
    assert (queue.posts, queue.duplicates, series.status_counts["done"]) == (9, 0, 9)


# ------------------------------------------------------- the plan says what a run then pays


def test_rows_that_failed_before_they_were_taken_are_planned_to_be_sent(queue: FakeQueue) -> None:
    series = animals()
    queue.script("submit", None, Reply(422, {"detail": "no"}), Reply(401, {"detail": "key"}))
    with pytest.raises(errors.CredentialsError):
        series.run(quiet=True, max_in_flight=1)
    plans = [series.plan, Series.open("animals").plan]
    posts = queue.posts

    series.run(quiet=True)

    assert plans[0] == plans[1]
    assert {plan.to_send for plan in plans} == {queue.posts - posts}
    assert {plan.price for plan in plans} == {Decimal("0.04") * (queue.posts - posts)}
    assert series.plan.to_send == 0


def test_a_plan_tells_rows_under_way_from_those_that_history_answers(queue: FakeQueue) -> None:
    queue.polls = math.inf
    series = animals().start(quiet=True, max_in_flight=2)
    queue.wait_for("submit")
    queue.finish()
    queue.polls = math.inf
    queue.wait_for("submit", 3)

    plans = [series.plan, animals().plan, Series.open("animals").plan]

    series.cancel()
    queue.finish()
    asyncio.run(_end_of(series))
    assert len(set(map(str, plans))) == 1
    said = "4 rows, 1 answered from history, 2 under way, 1 to send, $0.04"
    assert str(plans[0]) == f"animals: {said}"
    assert (plans[0].answered, plans[0].under_way, plans[0].to_send) == (1, 2, 1)
    assert str(series.plan) == "animals: 4 rows, 3 answered from history, 1 to send, $0.04"
    assert repr(series) == "<Series animals: 3 done, 1 waiting, $0.12 of $0.16>"


def test_a_row_that_was_never_taken_is_planned_under_its_new_key(queue: FakeQueue) -> None:
    table = [{"k": 1, "x": "fox"}, {"k": 2, "x": "hen"}]
    queue.script("submit", Reply(401, {"detail": "key"}))
    with pytest.raises(errors.CredentialsError):
        batch(table, "a {x}", key="k", name="keys").run(quiet=True)
    table[0]["k"] = 3

    renamed = batch(table, "a {x}", key="k", name="keys")
    planned, posts = renamed.plan.to_send, queue.posts
    renamed.run(quiet=True)

    assert planned == queue.posts - posts == 2


def test_a_row_whose_picture_was_gone_is_sent_when_it_is_given_again(
    queue: FakeQueue, tmp_path: Path
) -> None:
    def edits() -> Series:
        picture = Image.new("RGB", (64, 64), "red")
        return sweep("{x}", x=["snow", "rain"], image=[picture], model=["kontext"], name="edits")

    with pytest.raises(errors.BudgetExceeded):
        edits().run(quiet=True, max_spend="0.04")
    given = edits().rows[0].request.inputs[0].digest.replace(":", "-")
    [kept] = Path(os.environ["IMAGEN_HOME"]).rglob(f"{given}.*")
    kept.unlink()

    lost = Series.open("edits").resume(quiet=True)
    [row] = lost.errors
    edits().run(quiet=True)

    assert (row.state, row.billed) == ("refused", False)
    assert "is not kept here any more" in (row.error or "")
    assert ": refused, image: the input picture" in repr(row)
    assert (lost.status_counts["done"], queue.posts) == (2, 2)


def test_pictures_of_the_same_words_are_values_of_their_own(queue: FakeQueue) -> None:
    foxes = animals("fox", "fox").run(quiet=True).generations
    snow = sweep("snow", image=foxes, model=["kontext"], name="snow").run(quiet=True)

    keys = {row.key for row in snow.rows}

    assert len({row.axes["image"] for row in snow.rows}) == len(keys) == 2
    turned = sweep("snow", image=foxes[::-1], model=["kontext"], name="snow")
    assert {row.key for row in turned.rows} == keys
    assert turned.plan.to_send == 0


def test_a_row_that_failed_at_the_provider_is_sent_again_only_as_a_job_of_its_own(
    queue: FakeQueue,
) -> None:
    table = [{"animal": "fox", "s": 7}, {"animal": "hen", "s": 8}]
    series = batch(table, "a {animal}", key="animal", name="failing", seed="{s}")
    queue.script("result", None, Reply(503, {"detail": "no", "error_type": "runner_disconnected"}))

    series.run(quiet=True, max_in_flight=1)
    series.run(quiet=True)
    (row,) = [row for row in series.rows if row.state == "failed"]
    alone = start(row.request).result()

    assert (alone.request, alone.seed) == (row.request, 8)
    assert posts_by_prompt(queue) == {"a fox": 1, "a hen": 2}
    assert series.status_counts["failed"] == 1


def test_a_dataframe_without_pandas_names_the_remedy(
    demo: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(errors.InvalidRequest, match=r"needs pandas\. pip install pandas"):
        animals().to_pandas()


def test_equal_generations_outside_of_the_series_answer_no_row(queue: FakeQueue) -> None:
    Studio().generate("a fox", reuse=True, quiet=True)

    planned = animals().plan.to_send
    animals().run(quiet=True)

    assert (planned, queue.posts) == (4, 5)


@pytest.mark.slow
def test_rows_done_at_another_provider_are_planned_and_paid_again(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as demo:
        demo.setenv("IMAGEN_PROVIDER", "demo")
        demo.setenv("IMAGEN_DEMO_SECONDS", "0")
        animals().run(quiet=True)

    planned = animals().plan.to_send
    animals().run(quiet=True)

    assert (planned, queue.posts) == (4, 4)


def test_what_a_dead_process_had_claimed_and_not_sent_is_planned_again(queue: FakeQueue) -> None:
    series = animals()
    journal = series._journal
    series._write_plan(series._planned or [])
    journal.claim(series="animals", count=2)
    books.bury()

    planned = Series.open("animals").plan.to_send
    animals().run(quiet=True)

    assert (planned, queue.posts) == (4, 4)
