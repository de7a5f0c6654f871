"""What a finished series is looked at, chosen from and taken away with: all through `sweep`."""

import base64
import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from imagen_widget import Row, Series, Studio, batch, sweep
from imagen_widget._series import board, drive, parts, picker, views
from imagen_widget.errors import InvalidRequest
from tests.conftest import a_disk_of
from tests.fakequeue import FakeQueue, Reply

pytestmark = pytest.mark.slow  # they paint a series first

VOID = {"img", "input", "meta", "hr", "br", "path", "rect"}
REFUSED = "[demo:reject]"


class Reader(HTMLParser):
    """Checks that tags are closed in order, and collects what stands in the markup."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(markup)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [
            found
            for name, found in self.tags
            if name == tag and all(found.get(k) == v for k, v in attributes.items())
        ]


@pytest.fixture(scope="module")
def fauna(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """Run a series of sixteen rows, of which two are refused."""
    home = tmp_path_factory.mktemp("fauna")
    studio = Studio("demo", home=home, demo_seconds=0.01)
    series = studio.sweep(
        "a {animal} in {style}",
        animal=["red fox", "owl"],
        style=["oil", "ink, two-tone", f"$5 & <b> {REFUSED}", "油画"],
        seed=[1, 2],
        where=lambda c: c["animal"] == "owl" or c["seed"] == 1 or REFUSED not in c["style"],
        name="fauna: 1",
    )
    return series.run(quiet=True)


@pytest.fixture
def chosen(fauna: Series) -> Callable[[], Series]:
    """Return a function that opens the series again, with the journal's ratings."""
    return lambda: Series.reopen(fauna._session, fauna.name)


def html(value: Any) -> str:
    markup: str = value._repr_mimebundle_()["text/html"]
    return markup


def many(fauna: Series, count: int) -> list[Row]:
    done = [row for row in fauna.rows if row.generation]
    return [
        replace(
            done[number % len(done)],
            key=f"row {number}",
            axes={"word": f"w{number // 20}", "style": f"s{number // 4 % 5}", "seed": number % 4},
        )
        for number in range(count)
    ]


def grid(rows: list[Row], **axes: Any) -> views.Grid:
    return views.Grid(parts.Layout(rows, **axes), "many", parts.Tiles())


# ------------------------------------------------------------------------------------------- grid


def test_a_grid_has_headings_by_axes_and_stacks_what_they_do_not_tell_apart(fauna: Series) -> None:
    page = Reader(html(fauna.grid()))

    assert len(page.all("th", scope="row")) == 2
    assert len(page.all("th", scope="col")) == 4
    assert len(page.all("img")) == sum(row.state == "done" for row in fauna.rows)
    assert "seed 1" in page.text
    assert "seed 2" in page.text
    assert "not rated" not in page.text


def test_a_row_without_a_picture_keeps_its_place_with_its_reason(fauna: Series) -> None:
    page = Reader(html(fauna.grid()))

    assert page.text.count("Refused · not billed") == 3
    assert "content" in page.text
    assert "3 refused" in page.text


def test_foreign_text_is_text_and_no_formula(fauna: Series) -> None:
    markup = html(fauna.grid())

    assert "$5 &amp; &lt;b&gt;" in markup
    assert 'class="ims ims-grid mathjax_ignore tex2jax_ignore"' in markup
    assert "<script" not in markup


def test_facets_and_pages_are_radio_buttons_whose_first_is_chosen(fauna: Series) -> None:
    page = Reader(html(grid(many(fauna, 1_000), row="word", col="style", facet="seed")))

    groups: dict[str | None, list[bool]] = {}
    for radio in page.all("input", type="radio"):
        groups.setdefault(radio["name"], []).append("checked" in radio)
        assert page.all("label", **{"for": str(radio["id"])})
        assert radio["data-lm-suppress-shortcuts"] == "true"
    assert len(groups) == 1 + 4  # the facets, and the pages of each
    assert all(chosen == [True] + [False] * (len(chosen) - 1) for chosen in groups.values())


@pytest.mark.parametrize("count", [1, 12, 100, 1_000])
def test_a_grid_stays_below_two_megabytes(fauna: Series, count: int) -> None:
    bundle = grid(many(fauna, count))._repr_mimebundle_()

    assert sum(map(len, bundle.values())) <= 2_000_000
    sizes = [len(data) for data in re.findall(r"base64,([^\"]+)", bundle["text/html"])]
    assert len(sizes) == count
    assert Image.open(io.BytesIO(base64.b64decode(bundle["image/jpeg"]))).format == "JPEG"


def test_pictures_that_do_not_fit_are_counted(fauna: Series) -> None:
    bundle = grid(many(fauna, 3_000))._repr_mimebundle_()

    assert f"{3_000 - views.MAX_PICTURES:,} more pictures do not fit" in bundle["text/html"]
    assert sum(map(len, bundle.values())) <= 2_000_000


def test_a_picture_opens_large_without_a_second_copy_of_it(fauna: Series) -> None:
    page = Reader(html(fauna.grid()))

    sources, buttons = [image["src"] for image in page.all("img")], page.all("button")
    assert len(set(sources)) == len(sources) == len(fauna.generations)
    assert len(buttons) == 2 * len(sources)  # to open and to close
    for button in buttons:
        assert page.all("div", id=str(button["popovertarget"]), role="group")


def test_rows_of_a_table_without_common_values_follow_each_other(fauna: Series) -> None:
    rows = [replace(row, axes={"title": f"product {n}"}) for n, row in enumerate(fauna.rows)]

    page = Reader(html(grid(rows)))

    assert not page.all("table")
    assert "product 0" in page.text


def test_axes_with_names_of_a_letter_are_named_as_they_are(fauna: Series) -> None:
    axes = [{"a": f"x{n % 2}", "b": f"y{n % 4 // 2}"} for n in range(8)]
    rows = [replace(row, axes=each) for row, each in zip(fauna.rows, axes, strict=False)]

    assert "Grid · 2 a × 2 b" in Reader(html(grid(rows))).text
    assert "Grid · 2 animals × 4 styles" in Reader(html(fauna.grid())).text


def test_an_axis_that_does_not_exist_is_named_in_one_line(fauna: Series) -> None:
    with pytest.raises(InvalidRequest, match=r"colour: it is not an axis.*animal, style, seed"):
        fauna.grid(row="colour")
    with pytest.raises(InvalidRequest, match="animal: it is named twice"):
        fauna.grid(row="animal", col="animal")


# ----------------------------------------------------------------------------------------- compare


def test_two_pictures_are_compared_with_what_differs(fauna: Series) -> None:
    page = Reader(html(fauna.compare(0, {"animal": "owl", "style": "oil", "seed": 1})))

    assert len(page.all("img")) == 2
    assert page.all("input", type="range")[0]["aria-label"]
    assert "A: red fox, oil, seed 1 · B: owl, oil, seed 1" in page.text
    assert "animal red fox | owl" in page.text
    assert "seed 1" in page.text.partition("The same")[2]


@pytest.mark.parametrize("what", ["key", "row", "generation", "picture", "number", "negative"])
def test_a_row_is_found_by_what_names_it(fauna: Series, what: str) -> None:
    row = fauna.rows[-1]
    assert row.generation is not None
    given = {
        "key": row.key,
        "row": row,
        "generation": row.generation,
        "picture": row.generation[0],
        "number": len(fauna) - 1,
        "negative": -1,
    }[what]

    assert fauna.find(given).key == row.key


def test_a_row_that_is_not_there_or_not_done_is_said_in_one_line(fauna: Series) -> None:
    refused = next(row for row in fauna.rows if row.state == "refused")

    with pytest.raises(InvalidRequest, match="There is no row 'unicorn'"):
        fauna.compare("unicorn", 0)
    with pytest.raises(InvalidRequest, match="has no picture: it is refused"):
        fauna.compare(refused.key, 0)


def test_the_pictures_of_one_row_are_compared_with_each_other(tmp_path: Path) -> None:
    studio = Studio("demo", home=tmp_path, demo_seconds=0.01)
    [made] = studio.sweep("a fox", seed=[1], num_images=[2]).run(quiet=True).generations

    pair = Reader(html(studio.series(studio.all_series()[0]).compare(made[0], made[1]))).all("img")

    assert len({picture["src"] for picture in pair}) == 2


def test_a_row_whose_file_is_gone_says_so(tmp_path: Path) -> None:
    studio = Studio("demo", home=tmp_path, demo_seconds=0.01)
    series = studio.sweep("a {animal}", animal=["fox", "owl"]).run(quiet=True)
    series.generations[0].paths[0].unlink()
    row, said = series.rows[0], "A file of it is gone from the store."

    assert (row.state, row.generation, row.error) == ("done", None, said)
    assert said.rstrip(".") in html(series.grid())
    with pytest.raises(InvalidRequest, match=rf"it is done\. {said}$"):
        series.compare(0, 1)


# ------------------------------------------------------------------------------------------- sheet


def test_a_sheet_is_pages_of_png_or_one_pdf(
    fauna: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = views.write_sheet(fauna.rows[:3], tmp_path / "one.png", "fauna", parts.Tiles())
    pages = views.write_sheet(many(fauna, 40), tmp_path / "x.png", "fauna", parts.Tiles())
    (pdf,) = fauna.sheet(tmp_path / "x.pdf")
    monkeypatch.chdir(tmp_path)
    assert fauna.sheet() == [Path("fauna-1.pdf")]

    assert one.name == "one.png"
    assert [page.name for page in pages] == ["x-1.png", "x-2.png"]
    with Image.open(pages[0]) as page:
        assert page.size == views.PAGE
    assert pdf.read_bytes().startswith(b"%PDF")
    assert not list(tmp_path.glob("*.part"))


def test_a_sheet_has_every_cell(fauna: Series, tmp_path: Path) -> None:
    pages = views.write_sheet(many(fauna, 80), tmp_path / "x.png", "fauna", parts.Tiles())

    assert len(pages) == 3  # four lines of eight on each


def test_a_sheet_that_cannot_be_written_is_said_in_one_line(fauna: Series, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")

    with pytest.raises(InvalidRequest, match="cannot be written"):
        fauna.sheet(tmp_path / "file" / "x.png")
    with pytest.raises(InvalidRequest, match=r"End the name in \.png or \.pdf"):
        fauna.sheet(tmp_path / "x.gif")


@pytest.mark.parametrize("name", ["x.pdf", "x.png"])
def test_a_sheet_that_does_not_fit_on_the_disk_leaves_the_earlier_one(
    fauna: Series, tmp_path: Path, name: str
) -> None:
    (before,) = fauna.sheet(tmp_path / "sheets" / name)
    data = before.read_bytes()

    with a_disk_of(100), pytest.raises(InvalidRequest, match="cannot be written"):
        fauna.sheet(before)

    assert list(before.parent.iterdir()) == [before]
    assert before.read_bytes() == data


@pytest.mark.parametrize(
    "path", [5, ["x"], b"x", "~nobody-of-this-name/x", "x\0y", "s3://b/f", Path("s3://b")]
)
def test_what_is_not_a_path_is_one_line(fauna: Series, path: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^path: .* is not a path"):
        fauna.sheet(path)
    with pytest.raises(InvalidRequest, match=r"^folder: .* is not a path"):
        fauna.export(path)


# ------------------------------------------------------------------------------------------- board


def tally(**counts: int) -> drive.Tally:
    made = drive.Tally(planned=Decimal("1.68"), spent=Decimal("0.84"))
    made.counts.update(counts)
    made.started, made.in_flight, made.limit = 100.0, 8, Decimal(2)
    return made


def test_the_board_counts_in_words_and_does_not_guess_before_five_rows() -> None:
    early, later = tally(done=4, sent=8, waiting=36), tally(done=21, sent=8, waiting=11, failed=2)
    early.done_here, later.done_here = 4, 21
    later.counts["done"] += 6
    later.kept = 6

    first = board.Board("animals", early, free=False, now=130.0)
    second = board.Board("animals", later, free=False, now=247.0)

    assert first.line == "4 done, 8 sent, 36 waiting · $0.84 of $1.68 · time left unknown"
    assert second.line == (
        "6 from history, 21 done, 2 failed, 8 sent, 11 waiting · $0.84 of $1.68 · "
        "8.6 rows a minute · about 2 min left"
    )
    page = Reader(html(second))
    assert "the series stops at $2.00" in page.text
    assert "27 of 48 done" in page.text
    assert "6 from history, free" in page.text
    assert "Stop or .cancel(): nothing more is sent" in page.text


def test_the_board_of_a_run_that_stops_or_is_over_says_what_is_still_to_come() -> None:
    stopping, over = tally(done=1, sent=8, waiting=7), tally(done=4)
    stopping.stopping, over.ended = True, 130.0

    first = board.Board("animals", stopping, free=False, now=130.0)
    page = Reader(html(first))
    finished = Reader(html(board.Board("animals", over, free=False, now=200.0)))

    assert first.line == "1 done, 8 sent, 7 waiting · $0.84 of $1.68 · stopping"
    assert "Stopped; 8 that were sent are being fetched. Run the cell again to go on." in page.text
    assert "Rate" not in finished.text
    over.done_here = 30
    rates = {html(board.Board("animals", over, free=False, now=now)) for now in (200.0, 900.0)}
    assert len(rates) == 1


def test_a_free_series_says_so_once_and_a_table_names_no_axes(fauna: Series) -> None:
    made = tally(done=8, waiting=4)
    made.axes, made.kept = {"sku": 6, "title": 6}, 6
    made.recent.extend(fauna.generations[:8])
    for generation in made.recent:
        fauna._tiles.make(generation[0], *parts.TILE)

    shop = board.Board("shop", made, free=True, now=200.0, tiles=fauna._tiles, is_table=True)
    page = Reader(html(shop))

    assert "12 rows of a table · 6 from history · 6 to send · free" in page.text
    assert "6 skus" not in page.text
    assert "Newest pictures 8 of 12 rows" in page.text
    assert len(page.all("img")) + len([n for n in page.tags if n == ("i", {})]) == 12


def test_errors_are_one_line_with_their_rows_behind_it() -> None:
    made = tally(failed=30)
    made.errors = {f"ContentRejected: reason <{n}>": [f'{{"n": {n}}}'] * 30 for n in range(20)}

    page = Reader(html(board.Board("x", made, free=False, now=200.0)))

    assert len(page.all("details")) == 1
    assert "600 rows without a picture · reason <0> · and 19 other reasons" in page.text
    assert "and 18 more" in page.text


def test_the_live_card_is_small_and_encodes_nothing(fauna: Series) -> None:
    made = tally(done=14)
    made.recent.extend(fauna.generations)
    tiles = fauna._tiles
    calls: list[object] = []

    class Watched(type(tiles)):  # type: ignore[misc]
        def make(self, *args: Any) -> Any:
            calls.append(args)
            return super().make(*args)

    watched = Watched(fauna._session.store)
    running = board.Board("fauna", made, free=True, now=200.0, tiles=watched)
    before = Reader(html(running))
    assert not calls
    assert len(before.all("img")) == 0
    made.ended = 210.0
    after = html(running)

    assert len(Reader(after).all("img")) == min(len(fauna.generations), made.recent.maxlen or 0)
    assert len(after) <= 60_000


def test_a_series_shows_its_newest_pictures_after_a_restart(chosen: Callable[[], Series]) -> None:
    page = Reader(html(chosen()))

    assert "3 refused" in page.text
    assert page.all("img")
    assert "3 rows without a picture" in page.text


# ------------------------------------------------------------------------------------------ picker


def test_each_key_is_in_the_journal_at_once(chosen: Callable[[], Series]) -> None:
    series = chosen()
    pick = series.pick(by="animal")
    pick.press("go 0")

    pick.press("5")
    ratings = [row.rating for row in chosen().rows if row.generation]
    assert ratings[0] == 5
    assert pick.position == 1
    pick.press("3")
    pick.press("left")
    pick.press("0")
    assert pick.position == 1
    assert [row.rating for row in chosen().rows if row.generation][1] == 0
    pick.press("z")
    assert [row.rating for row in chosen().rows if row.generation][1] == 3

    assert [row.rating for row in pick.kept] == [5, 3]
    assert [row.key for row in pick.best] == [pick.kept[0].key]
    assert "2</b> rated" in pick.html()
    for key in ("go 0", "0", "right", "0"):
        pick.press(key)


def test_a_key_pressed_again_before_it_is_drawn_rates_the_same_picture(
    chosen: Callable[[], Series],
) -> None:
    pick = chosen().pick()

    pick.press("5 0")
    pick.press("4 0")

    assert [row.rating for row in pick.kept] == [4]
    assert pick.position == 1
    pick.press("0 0")


def test_a_rejected_row_stays_rejected_and_is_not_a_choice(chosen: Callable[[], Series]) -> None:
    pick = chosen().pick()
    pick.press("go 0")
    pick.press("x")

    assert chosen().rows[0].rating == -1
    assert len(pick.rejected) == 1
    assert pick.best == []
    again = chosen().pick()
    assert again.position == 1  # the first one that is not looked at yet
    again.press("go 0")
    again.press("0")


def test_compare_shows_the_best_one_so_far_beside_the_current(chosen: Callable[[], Series]) -> None:
    pick = chosen().pick()
    pick.press("go 0")
    pick.press("c")
    assert "Nothing to compare with yet" in pick.html()

    pick.press("4")
    pick.press("c")

    assert 'type="range"' in pick.html()
    assert 'data-pic="l0-0"' in pick.html()
    assert "B: red fox, oil, seed 1 ★4 · C closes" in pick.html()
    assert "B: red fox, oil, seed 1 ★4" in pick.said
    pick.press("right")
    assert 'type="range"' not in pick.html()
    for key in ("go 0", "0"):
        pick.press(key)


def test_what_the_markup_shows_can_be_had_by_name(chosen: Callable[[], Series]) -> None:
    pick = chosen().pick(by="style")

    page = Reader(pick.html())

    named, buttons = {image["data-pic"] for image in page.all("img")}, page.all("button")
    assert set() < named <= set(pick.names())
    for name in named:
        with Image.open(io.BytesIO(pick.picture(str(name)))) as picture:
            assert max(picture.size) == (1024 if str(name).startswith("l") else 112)
    assert buttons
    assert all(button["data-lm-suppress-shortcuts"] for button in buttons)
    pick.press("go 11")
    assert "a owl in 油画" in pick.html()


def test_the_same_picture_twice_is_folded(fauna: Series, chosen: Callable[[], Series]) -> None:
    series = chosen()
    rows = many(fauna, 26)
    twice = type("Twice", (), {"rows": rows, "name": "twice", "rate": lambda *_: None})()
    pick = picker.Pick(twice, 1, None, series._tiles)

    pick.fold()

    done = sum(row.state == "done" for row in series.rows)
    assert all(pick.folded[n] <= n - done for n in range(done, 26))
    assert max(pick.window()) < done
    pick.press(f"go {done - 1}")
    assert f"go {2 * done - 1}" not in pick.html()
    pick.press("alike")
    assert max(pick.window()) == 2 * done - 1


def test_without_a_notebook_a_picker_is_text_and_its_result_static(
    chosen: Callable[[], Series],
) -> None:
    pick = chosen().pick(by="animal", best=2)
    with pytest.raises(NotImplementedError):
        pick._ipython_display_()
    assert "nothing is chosen yet" in html(pick)
    for key in ("go 0", "5", "4"):
        pick.press(key)

    bundle = pick._repr_mimebundle_()

    assert len(Reader(bundle["text/html"]).all("img")) == 2
    assert "5 stars: red fox" in bundle["text/plain"]
    for key in ("go 0", "0", "right", "0"):
        pick.press(key)


def test_of_equally_good_ones_so_many_are_framed_as_were_to_be_chosen(
    chosen: Callable[[], Series],
) -> None:
    picks = [chosen().pick(by="animal", best=best) for best in (1, 2)]
    for key in ("go 0", "5", "5", "5"):
        for pick in picks:
            pick.press(key)

    assert [html(pick).count('class="ims-best"') for pick in picks] == [1, 2]
    for key in ("go 0", "0", "right", "0", "right", "0"):
        picks[0].press(key)


def test_a_picker_by_an_axis_that_does_not_exist_is_refused(fauna: Series) -> None:
    with pytest.raises(InvalidRequest, match="colour: it is not an axis"):
        fauna.pick(by="colour")
    with pytest.raises(InvalidRequest, match="best: 0 is not allowed"):
        fauna.pick(best=0)


# ------------------------------------------------------------------------------------------ export


def test_an_imagefolder_has_a_line_for_each_picture_beside_it(
    fauna: Series, tmp_path: Path
) -> None:
    folder = fauna.export(tmp_path / "out")

    text = (folder / "metadata.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == len(fauna.generations)
    for line in lines:
        with Image.open(folder / line["file_name"]) as picture:
            assert picture.size == (line["width"], line["height"])
    assert {line["prompt"] for line in lines} >= {"a red fox in oil", "a owl in 油画"}
    assert {line["style"] for line in lines} == {"oil", "ink, two-tone", "油画"}
    assert len({tuple(line) for line in lines}) == 1  # the same columns in each
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+\.png", line["file_name"]) for line in lines)


def test_parquet_holds_the_bytes_as_datasets_wants_them(fauna: Series, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")

    path = fauna.export(tmp_path, "parquet")

    assert path.name == "fauna-1.parquet"
    table = parquet.read_table(path)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert set(features) == set(table.column_names)
    assert features["image"] == {"_type": "Image"}
    assert table.num_rows == len(fauna.generations)
    first = table.slice(0, 1).to_pylist()[0]
    with Image.open(io.BytesIO(first["image"]["bytes"])) as picture:
        assert picture.format == "PNG"
    assert first["prompt"] == "a red fox in oil"
    assert first["seed"] == 1


def test_a_whole_number_too_large_for_a_column_is_exported_as_text(
    demo: None, tmp_path: Path
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    table = [{"animal": "fox", "number": 2**70}, {"animal": "hen", "number": 1}]
    series = batch(table, "a {animal}", name="large").run(quiet=True)

    path = series.export(tmp_path / "taken", "parquet")

    assert pq.read_table(path).column("number").to_pylist() == [str(2**70), "1"]


def test_missing_values_of_a_table_are_exported_as_missing(demo: None, tmp_path: Path) -> None:
    days = pd.to_datetime(["2026-01-01", None])
    table = pd.DataFrame({"animal": ["fox", "hen"], "kilos": [6.5, None], "day": days})
    series = batch(table, "a {animal}").run(quiet=True)

    folder = series.export(tmp_path / "out")

    lines = list(map(json.loads, (folder / "metadata.jsonl").read_text().splitlines()))
    assert [(line["kilos"], line["day"]) for line in lines] == [
        (6.5, "2026-01-01 00:00:00"),
        (None, None),
    ]


def test_columns_that_datasets_would_take_for_pictures_are_named_otherwise(
    demo: None, tmp_path: Path
) -> None:
    table = [{"animal": "fox", "file_name": "a.jpg", "back_file_names": "b.jpg", "image": "c.jpg"}]
    series = batch(table, "a {animal}").run(quiet=True)

    folder = series.export(tmp_path / "out")

    line = json.loads((folder / "metadata.jsonl").read_text())
    assert (folder / line["file_name"]).is_file()
    assert [name for name in line if re.search(r"file_names?$", name)] == ["file_name"]
    given = {"filename": "a.jpg", "back_filenames": "b.jpg", "axis_image": "c.jpg"}
    assert given.items() <= line.items()


def test_parquet_without_its_library_is_refused_and_makes_no_folder(
    fauna: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(InvalidRequest, match="Writing parquet needs pyarrow"):
        fauna.export(tmp_path / "out", "parquet")

    assert not (tmp_path / "out").exists()


def test_webdataset_reads_its_shards_back(
    fauna: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wds = pytest.importorskip("webdataset")
    monkeypatch.setattr("imagen_widget._series.export.SHARD_BYTES", 2_000_000)

    path = fauna.export(tmp_path, "webdataset")

    shards = sorted(tmp_path.glob("fauna-1-*.tar"))
    assert path == shards[0]
    assert path.name == "fauna-1-000000.tar"
    assert len(shards) > 1
    samples: list[Any] = []
    decode = wds.autodecode.Decoder([wds.imagehandler("pil")])
    for shard in shards:  # not wds.WebDataset, which leaves its files open
        with shard.open("rb") as file:
            expanded = wds.tariterators.tar_file_expander([{"url": str(shard), "stream": file}])
            samples += map(decode, wds.tariterators.group_by_keys(expanded))
    assert len(samples) == len(fauna.generations)
    assert samples[0]["json"]["prompt"] == samples[0]["txt"] == "a red fox in oil"
    assert samples[0]["png"].size == (1024, 1024)
    with tarfile.open(path) as tar:
        assert all("/" not in name for name in tar.getnames())


def test_a_zip_has_the_pictures_as_they_are_and_a_page(fauna: Series, tmp_path: Path) -> None:
    path = fauna.export(tmp_path, "zip", where="rating>=0")

    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        page = Reader(archive.read("index.html").decode())
        lines = archive.read("metadata.jsonl").decode().splitlines()
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    names = {info.filename for info in infos}
    assert len(lines) == len(fauna.generations)
    pictures = {json.loads(line)["file_name"] for line in lines}
    assert {image["src"] for image in page.all("img")} == pictures < names


def test_a_page_has_its_pictures_beside_it(fauna: Series, tmp_path: Path) -> None:
    path = fauna.export(tmp_path / "page", "html")

    assert path.name == "index.html"
    images = Reader(path.read_text(encoding="utf-8")).all("img")
    assert len(images) == len(fauna.generations)
    assert all((path.parent / str(image["src"])).is_file() for image in images)


def test_where_keeps_what_is_rated_or_what_a_function_says(
    chosen: Callable[[], Series], tmp_path: Path
) -> None:
    series = chosen()
    row = series.rows[0]
    series.rate(row, 4)

    rated = series.export(tmp_path / "a", where="rating >= 3")
    owls = series.export(tmp_path / "b", where=lambda row: row.axes["animal"] == "owl")

    assert len((rated / "metadata.jsonl").read_text().splitlines()) == 1
    lines = (owls / "metadata.jsonl").read_text().splitlines()
    assert {json.loads(line)["animal"] for line in lines} == {"owl"}
    with pytest.raises(InvalidRequest, match="No picture is left"):
        series.export(tmp_path / "c", where="rating>4")
    with pytest.raises(InvalidRequest, match="is not a condition"):
        series.export(tmp_path / "c", where="__import__('os')")
    assert not (tmp_path / "c").exists()
    series.rate(row, 0)


def test_drawings_go_into_zip_and_html_only(queue: FakeQueue, tmp_path: Path) -> None:
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"/>'
    queue.always("media", Reply(200, drawing, {"content-type": "image/svg+xml"}))
    series = sweep("a {animal}", animal=["fox"]).run(quiet=True)

    with pytest.raises(InvalidRequest, match="SVG"):
        series.export(tmp_path, "imagefolder")

    assert series.export(tmp_path, "zip").is_file()


def test_a_second_export_replaces_what_the_first_one_wrote_and_nothing_else(
    fauna: Series, tmp_path: Path
) -> None:
    fauna.export(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    before = {path.name for path in tmp_path.glob("*.png")}

    fauna.export(tmp_path, where=lambda row: row.axes["animal"] == "owl")

    after = {path.name for path in tmp_path.glob("*.png")}
    assert after < before
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("names", [["../notes.txt", "../../notes.txt", 5, None], 5, {"a": 1}])
@pytest.mark.parametrize("whole", [False, True])
def test_a_list_of_files_from_elsewhere_makes_an_export_delete_nothing(
    fauna: Series, tmp_path: Path, names: Any, whole: bool
) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "out").mkdir()
    known = names if whole else {f"imagefolder {fauna.name}": names}
    (tmp_path / "out" / ".imagen-export.json").write_text(json.dumps(known))

    fauna.export(tmp_path / "out")

    assert (tmp_path / "notes.txt").exists()


def test_a_file_of_the_user_is_not_overwritten(fauna: Series, tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text("mine")

    with pytest.raises(InvalidRequest, match=r"metadata\.jsonl exists, and no export"):
        fauna.export(tmp_path)
    assert (tmp_path / "metadata.jsonl").read_text() == "mine"

    (tmp_path / "metadata.jsonl").unlink()
    fauna.export(tmp_path)  # what the one that failed wrote is replaced
    assert (tmp_path / "metadata.jsonl").read_text() != "mine"


def test_an_export_that_does_not_fit_on_the_disk_can_be_done_again(
    fauna: Series, tmp_path: Path
) -> None:
    folder = fauna.export(tmp_path / "taken")
    before = {path: path.read_bytes() for path in folder.iterdir()}

    with a_disk_of(100), pytest.raises(InvalidRequest, match="cannot be written"):
        fauna.export(folder)

    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    fauna.export(folder)


def test_a_folder_that_cannot_be_written_is_said_in_one_line(fauna: Series, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")

    with pytest.raises(InvalidRequest, match="cannot be written"):
        fauna.export(tmp_path / "file" / "out")
    for format in ("gif", ["zip"]):
        with pytest.raises(InvalidRequest, match=r"format: .* is not known"):
            fauna.export(tmp_path, format)  # type: ignore[arg-type]
    assert (tmp_path / "file").read_text() == "a file"
