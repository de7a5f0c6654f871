"""The widget draws the state, passes clicks on, escapes foreign text and frees what it made."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import comm
import ipywidgets
import pytest
import traitlets
from comm.base_comm import BaseComm

from imagen_widget._generate import Phase
from imagen_widget._panel._form import FIELDS, Form
from imagen_widget._panel._state import (
    Card,
    HistoryEntry,
    JobState,
    PanelState,
    Pictures,
    Tab,
    Trouble,
)
from imagen_widget._provenance import Provenance, read
from imagen_widget._request import ImageRequest
from imagen_widget._result import GeneratedImage
from imagen_widget._widget import ImagenWidget
from imagen_widget._widget import _html as markup
from imagen_widget._widget import _live as live
from imagen_widget._widget._parts import tree
from imagen_widget.errors import InvalidRequest, QueueError
from tests.hostile import HOSTILE
from tests.panel_bench import FOX, Bench, generation, png

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imagen_widget._result import Generation


class Wire(BaseComm):
    """What goes to the browser, in order; `sent` is shared by all of a test's widgets."""

    sent: list[tuple[str, dict[str, Any], list[bytes]]]

    def publish_msg(
        self,
        msg_type: str,
        data: dict[str, Any] | None = None,
        metadata: object = None,
        buffers: list[bytes] | None = None,
        **_: object,
    ) -> None:
        del metadata
        self.sent.append((msg_type, data or {}, buffers or []))


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any], list[bytes]]]:
    """Record what the widgets of this test send."""
    Wire.sent = []
    monkeypatch.setattr(comm, "create_comm", Wire)
    return Wire.sent


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def widget(bench: Bench) -> Iterator[ImagenWidget]:
    widget = ImagenWidget(controller=bench.controller)
    yield widget
    widget.close()


@pytest.fixture
def made(tmp_path: Path) -> Generation:
    path = tmp_path / "fox.png"
    path.write_bytes(png(64, 48))
    return generation(path)


def without_anywidget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.setattr(live, "_layer_class", live._layer_class.__wrapped__)  # noqa: SLF001 - uncached


def of_kind(widget: ImagenWidget, css_class: str) -> list[Any]:
    return [w for w in tree(widget) if css_class in getattr(w, "_dom_classes", ())]


# -------------------------------------------------------------------------------- construction


def test_importing_the_widget_starts_nothing_and_writes_nothing(tmp_path: Path) -> None:
    code = """
        import asyncio, sys, threading
        run = asyncio.run
        import IPython, ipywidgets  # what these bring along is theirs
        theirs = set(sys.modules)
        import imagen_widget._widget
        assert threading.active_count() == 1
        assert asyncio.run is run
        assert not {"httpx", "nest_asyncio2", "sqlite3", "anywidget"} & (set(sys.modules) - theirs)
    """
    before = set(tmp_path.rglob("*"))

    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=tmp_path)

    assert set(tmp_path.rglob("*")) == before


def test_the_controls_are_attributes_with_the_values_of_the_form(widget: ImagenWidget) -> None:
    values = {name: getattr(widget, name).value for name in FIELDS}

    assert values == {
        "prompt": "a red fox",
        "model": "fal-ai/imagen4/preview",
        "aspect_ratio": "1:1",
        "num_images": 1,
        "resolution": "1K",
        "output_format": "png",
        "seed": "",
        "safety_tolerance": "4",
    }
    assert isinstance(widget.prompt, ipywidgets.Textarea)
    assert widget.status.value == "Ready"
    assert widget.cancel_button.disabled
    assert not widget.generate_button.disabled


def test_defaults_fill_the_form() -> None:
    widget = ImagenWidget(
        prompt="a red fox", model="nano-banana-2", aspect_ratio="21:9", num_images=3, seed=7
    )

    form = widget._controller.state.form  # noqa: SLF001 - what would be sent
    widget.close()

    assert form == Form(
        "a red fox", "fal-ai/nano-banana-2", aspect_ratio="21:9", num_images=3, seed="7"
    )
    assert form.request().seed == 7


@pytest.mark.parametrize(
    ("defaults", "field"),
    [({"aspect_ratio": "7:3"}, "aspect_ratio"), ({"colour": "red"}, "colour")],
)
def test_a_default_that_is_not_allowed_is_refused_by_name(
    defaults: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        ImagenWidget(**defaults)

    assert refusal.value.field == field


def test_the_default_model_is_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_MODEL", "someone/something")

    widget = ImagenWidget()
    model = widget.model.value
    widget.close()

    assert model == "someone/something"


def test_an_alias_can_be_assigned_to_the_model(widget: ImagenWidget, bench: Bench) -> None:
    widget.model.value = "imagen4-fast"

    assert bench.state.form.model == "fal-ai/imagen4/preview/fast"


def test_what_the_model_does_not_take_is_not_shown(widget: ImagenWidget) -> None:
    assert widget.resolution.layout.display is None

    widget.model.value = "imagen4-fast"

    assert widget.resolution.layout.display == "none"


def test_a_model_with_more_shapes_offers_them(widget: ImagenWidget) -> None:
    widget.aspect_ratio.value = "9:16"

    widget.model.value = "nano-banana-2"

    assert "21:9" in widget.aspect_ratio.options
    assert widget.aspect_ratio.value == "9:16"


# --------------------------------------------------------------------------------------- clicks


def test_the_form_is_what_is_sent(widget: ImagenWidget, bench: Bench) -> None:
    widget.aspect_ratio.value = "16:9"
    widget.num_images.value = 2

    widget.generate_button.click()

    assert bench.jobs[0].request.arguments() == {**FOX.arguments(), "resolution": "1K"}
    assert widget.generate_button.disabled
    assert not widget.cancel_button.disabled


def test_a_double_click_is_one_job(widget: ImagenWidget, bench: Bench) -> None:
    widget.generate_button.click()
    widget.generate_button.click()

    assert len(bench.jobs) == 1


def test_the_value_is_the_last_generation_and_can_be_observed(
    widget: ImagenWidget, bench: Bench, made: Generation
) -> None:
    seen: list[Generation] = []
    widget.observe(lambda change: seen.append(change["new"]), "value")
    widget.generate_button.click()

    bench.jobs[0].ends(made)

    assert widget.value is made
    assert seen == [made]
    assert widget.status.value == made.summary


def test_a_finished_job_shows_a_card_with_the_prompt_as_alternative_text(
    widget: ImagenWidget, bench: Bench, made: Generation
) -> None:
    widget.generate_button.click()

    bench.jobs[0].ends(made)

    (figure,) = of_kind(widget, "imagen-figure")
    assert 'alt="a red fox"' in figure.value
    assert "data:image/webp;base64," in figure.value


def test_an_error_offers_retry_and_retry_starts_it_again(
    widget: ImagenWidget, bench: Bench
) -> None:
    widget.generate_button.click()
    bench.jobs[0].ends(QueueError("The network failed.", remedy="Look at the cable."))
    (box,) = of_kind(widget, "imagen-trouble")
    text, retry = box.children

    assert box.layout.display is None
    assert "The network failed." in text.value
    assert "Look at the cable." in text.value
    retry.click()

    assert len(bench.jobs) == 2
    assert box.layout.display == "none"


def test_each_of_several_jobs_has_its_own_cancel(widget: ImagenWidget, bench: Bench) -> None:
    for seconds in (0, 10):
        bench.later.now = seconds
        widget.generate_button.click()
        bench.jobs[-1].goes(Phase.RUNNING, 1.0)
    heads = of_kind(widget, "imagen-job-head")

    assert [head.layout.display for head in heads] == [None, None]
    heads[1].children[1].click()

    assert [job.cancels for job in bench.jobs] == [1, 0]


def test_a_card_brings_its_settings_back(
    widget: ImagenWidget, bench: Bench, made: Generation
) -> None:
    widget.generate_button.click()
    bench.jobs[0].ends(made)
    widget.prompt.value = "something else"
    (card,) = of_kind(widget, "imagen-card")

    card.children[2].click()

    assert widget.prompt.value == "a red fox"
    assert widget.aspect_ratio.value == "1:1"


def test_without_the_script_layer_save_writes_beside_the_notebook(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, made: Generation, tmp_path: Path
) -> None:
    without_anywidget(monkeypatch)
    monkeypatch.chdir(tmp_path)
    widget = ImagenWidget(controller=bench.controller)
    widget.generate_button.click()
    bench.jobs[0].ends(made)
    (card,) = of_kind(widget, "imagen-card")

    card.children[1].click()
    said = card.children[0].value
    widget.close()

    (saved,) = set(tmp_path.glob("*.png")) - {tmp_path / "fox.png"}
    assert saved.name in said
    assert read(saved.read_bytes()) is not None


def test_without_the_script_layer_no_slider_is_left_without_a_name(
    monkeypatch: pytest.MonkeyPatch, bench: Bench
) -> None:
    without_anywidget(monkeypatch)
    widget = ImagenWidget(controller=bench.controller)

    kinds = {type(part).__name__ for part in tree(widget)}
    widget.num_images.value = 3
    widget.safety_tolerance.value = "2"
    widget.close()

    assert not kinds & {"IntSlider", "SelectionSlider", "LiveLayer"}
    assert (bench.state.form.num_images, bench.state.form.safety_tolerance) == (3, "2")


def test_with_the_script_layer_save_hands_the_original_to_the_browser(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], bench: Bench, made: Generation
) -> None:
    widget = ImagenWidget(controller=bench.controller)
    widget._on_layer({"kind": "ready"})  # noqa: SLF001 - what the browser sends
    widget.generate_button.click()
    bench.jobs[0].ends(made)
    (card,) = of_kind(widget, "imagen-card")

    card.children[1].click()
    widget.close()

    ((data, buffers),) = [
        (data["content"], buffers) for _, data, buffers in wire if data.get("method") == "custom"
    ]
    assert data["kind"] == "download"
    assert data["name"].endswith(".png")
    provenance = read(bytes(buffers[0]))
    assert provenance is not None
    assert provenance.request.prompt == "a red fox"


def test_generating_from_the_script_layer_sends_what_the_browser_shows(
    widget: ImagenWidget, bench: Bench
) -> None:
    seen = {"prompt": "as typed", "aspect_ratio": 1, "num_images": 2, "seed": "9", "model": 99}

    widget._on_layer({"kind": "generate", "values": seen})  # noqa: SLF001 - what the browser sends

    (job,) = bench.jobs
    assert job.request.arguments() == {
        "prompt": "as typed",
        "aspect_ratio": "16:9",
        "num_images": 2,
        "resolution": "1K",
        "seed": 9,
    }


def test_nonsense_from_the_browser_changes_nothing(widget: ImagenWidget, bench: Bench) -> None:
    for nonsense in ({}, {"kind": "generate"}, {"kind": "generate", "values": 3}, {"kind": 7}):
        widget._on_layer(nonsense)  # noqa: SLF001 - what the browser sends

    assert bench.jobs == []


# -------------------------------------------------------------------------------------- history


def test_the_history_page_lists_finds_and_restores(
    widget: ImagenWidget, bench: Bench, made: Generation
) -> None:
    bench.archive.kept = [made]
    bench.controller.open_tab(Tab.HISTORY)
    (entry,) = of_kind(widget, "imagen-entry")
    widget.prompt.value = "something else"

    entry.children[1].click()

    assert "a red fox" in entry.children[0].value
    assert widget.prompt.value == "a red fox"
    assert bench.state.tab is Tab.CREATE


def test_a_search_that_finds_nothing_says_so(widget: ImagenWidget, bench: Bench) -> None:
    bench.controller.open_tab(Tab.HISTORY)

    bench.controller.past.search("a blue whale")

    (page,) = of_kind(widget, "imagen-history")
    assert "No prompt contains that." in page.children[1].value


def saved_copy(folder: Path) -> Path:
    path = folder / "original.png"
    path.write_bytes(png(64, 36))
    request = ImageRequest.create("a snowy owl", aspect_ratio="16:9", num_images=2)
    origin = Provenance(request, "7b1e6d0e", "fal", datetime.now(UTC), 0, 42)
    image = GeneratedImage(path, "image/png", 64, 36, None, origin)
    return image.save(folder / "copy.png")


def test_a_saved_picture_gives_its_settings_back(widget: ImagenWidget, tmp_path: Path) -> None:
    widget.load_settings(saved_copy(tmp_path))

    assert widget.prompt.value == "a snowy owl"
    assert widget.aspect_ratio.value == "16:9"


def test_a_picture_that_is_uploaded_gives_its_settings_and_leaves_no_bytes_behind(
    widget: ImagenWidget, tmp_path: Path
) -> None:
    content = saved_copy(tmp_path).read_bytes()
    (upload,) = of_kind(widget, "imagen-upload")

    upload.value = (
        {
            "name": "owl.png",
            "type": "image/png",
            "size": len(content),
            "content": content,
            "last_modified": datetime.now(UTC),
        },
    )

    assert widget.prompt.value == "a snowy owl"
    assert upload.value == ()


def test_a_picture_without_settings_says_so(widget: ImagenWidget, bench: Bench) -> None:
    bench.controller.reuse_from(png(8, 8))

    trouble = bench.controller.state.trouble
    assert trouble is not None
    assert "carries no settings" in trouble.happened
    with pytest.raises(InvalidRequest, match="cannot be read"):
        widget.load_settings("missing.png")


# ------------------------------------------------------------------------------------- messages


def test_progress_costs_at_most_ten_messages_a_second(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], bench: Bench
) -> None:
    widget = ImagenWidget(controller=bench.controller)
    widget.generate_button.click()
    bench.jobs[0].goes(Phase.RUNNING, 0.0)
    bench.later.pass_by(1)
    wire.clear()

    for hundredth in range(1000):
        bench.jobs[0].goes(Phase.RUNNING, hundredth / 100)
        bench.later.pass_by(0.01)
    widget.close()

    updates = [data for kind, data, _ in wire if kind == "comm_msg"]
    assert 20 <= len(updates) <= 100  # ten seconds


def test_the_end_is_sent_once_more(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], bench: Bench, made: Generation
) -> None:
    widget = ImagenWidget(controller=bench.controller)
    widget.generate_button.click()
    bench.jobs[0].ends(made)
    wire.clear()

    bench.later.pass_by(10)
    widget.close()

    states = [data["state"] for kind, data, _ in wire if kind == "comm_msg"]
    assert {"value": made.summary} in states
    assert any("data:image/webp" in str(state.get("value", "")) for state in states)


# ---------------------------------------------------------------------------------------- close


def test_closing_frees_every_widget_layout_and_style(bench: Bench, made: Generation) -> None:
    registry = ipywidgets.widgets.widget._instances  # noqa: SLF001 - ipywidgets' own count
    before = set(registry)
    widget = ImagenWidget(controller=bench.controller)
    for seconds in range(0, 100, 10):
        bench.later.now = seconds
        widget.generate_button.click()
        bench.jobs[-1].ends(made)
    bench.archive.kept = [made]
    bench.controller.open_tab(Tab.HISTORY)

    widget.close()
    widget.close()

    assert set(registry) == before


def test_old_rows_are_freed_as_new_ones_come(bench: Bench, made: Generation) -> None:
    registry = ipywidgets.widgets.widget._instances  # noqa: SLF001 - ipywidgets' own count
    widget = ImagenWidget(controller=bench.controller)
    counts = []
    for seconds in range(0, 300, 10):
        bench.later.now = seconds
        widget.generate_button.click()
        bench.jobs[-1].ends(made)
        counts.append(len(registry))
    widget.close()

    assert len(set(counts[-10:])) == 1


# -------------------------------------------------------------------------------------- display


def test_without_a_kernel_a_note_stands_in_for_the_form(widget: ImagenWidget) -> None:
    bundle = widget._repr_mimebundle_()

    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "needs a running kernel" in bundle["text/html"]
    assert bundle["text/plain"] == "<ImagenWidget: Ready>"


def test_the_representation_does_not_tell_the_prompt(widget: ImagenWidget) -> None:
    assert "fox" not in repr(widget)


# ------------------------------------------------------------------------------------- escaping


class Reading(HTMLParser):
    """What a browser would make of markup: its elements with attribute names, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.words += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def all_markup(text: str) -> dict[str, str]:
    request = ImageRequest.create(text)
    made = generation(request=request)
    cards = tuple(Card(image, None, None, saved=text) for image in made)
    job = JobState(1, request, status=text, ending=Pictures(made, cards))
    state = PanelState(form=Form(prompt=text, model=text), provider=text, jobs=(job,))
    return {
        "chip": markup.chip(state),
        "about_model": markup.about_model(state),
        "trouble": markup.trouble(Trouble(text, text)),
        "job_line": markup.job_line(job),
        "skeletons": markup.skeletons(request),
        "card": markup.card(job, 0, cards[0], token="token"),
        "code": markup.code(job, 0, token="token"),
        "history_entry": markup.history_entry(HistoryEntry(made, None)),
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_stays_text_in_all_markup(text: str) -> None:
    harmless = all_markup("harmless")

    for place, made in all_markup(text).items():
        reading = Reading(made)
        assert reading.elements == Reading(harmless[place]).elements, place
    shown = "".join(Reading(all_markup(text)["trouble"]).words)
    assert text in shown


@pytest.mark.parametrize("text", HOSTILE)
def test_a_status_of_foreign_text_is_shown_to_the_letter(
    widget: ImagenWidget, bench: Bench, text: str
) -> None:
    widget.generate_button.click()
    bench.jobs[0].progress = replace(bench.jobs[0].progress, note=text)
    bench.later.pass_by(1)
    bench.jobs[0].goes_on()

    reading = Reading(widget.status.value)

    assert reading.elements == []
    assert "".join(reading.words) == text


def test_no_control_of_the_widget_typesets_formulas(widget: ImagenWidget) -> None:
    kinds = {type(part) for part in tree(widget)}

    assert not kinds & {ipywidgets.Label, ipywidgets.HTMLMath}


def test_every_value_trait_holds_its_type(widget: ImagenWidget) -> None:
    with pytest.raises(traitlets.TraitError):
        widget.num_images.value = "many"
