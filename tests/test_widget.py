"""The widget by its attributes: controls follow the model, clicks become jobs, pictures stay."""

import asyncio
import io
import json
import re
import shutil
import statistics
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import comm
import ipywidgets
import pytest
import trio
from comm.base_comm import BaseComm

from imagen_widget import (
    Generation,
    History,
    ImagenWidget,
    ImageRequest,
    Phase,
    Studio,
    generate,
    models,
)
from imagen_widget.errors import (
    BudgetExceeded,
    CredentialsError,
    GenerationFailed,
    ImagenError,
    InvalidRequest,
    JobCancelled,
    JournalError,
    ModelRetired,
    QueueError,
    SubmitUncertain,
)
from tests.hostile import HOSTILE
from tests.jobs import intend
from tests.schemas import described, document
from tests.widget_bench import Bench, count_widgets, generation, png, tree

KEY = "00000000-0000-0000-0000-000000000000:" + "0" * 32
NANO, FLUX, EDIT = "fal-ai/nano-banana-2", "fal-ai/flux/dev", "fal-ai/nano-banana-2/edit"
SWITCH_SECONDS = 0.1
PRESSES = 5


class Wire(BaseComm):
    """What goes to the browser, in order; `sent` is shared by all of a test's widgets."""

    sent: list[tuple[str, dict[str, Any], list[bytes]]]

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **_: Any
    ) -> None:
        del metadata
        self.sent.append((msg_type, data or {}, buffers or []))


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any], list[bytes]]]:
    """Record what the widgets of this test send."""
    Wire.sent = []
    monkeypatch.setattr(comm, "create_comm", Wire)
    return Wire.sent


def to_script(wire: list[tuple[str, dict[str, Any], list[bytes]]], kind: str) -> list[Any]:
    """Return what was sent to the script layer, with its bytes."""
    custom = [(d["content"], b) for _, d, b in wire if d.get("method") == "custom"]
    return [(content, buffers) for content, buffers in custom if content["kind"] == kind]


@pytest.fixture
def open_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(**defaults: Any) -> Bench:
        benches.append(Bench(tmp_path, **defaults))
        return benches[-1]

    yield make
    for bench in benches:
        bench.widget.close()


@pytest.fixture
def bench(open_bench: Callable[..., Bench]) -> Bench:
    return open_bench(model=NANO)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Use the demo, without waiting, in a home of its own."""
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")
    monkeypatch.setenv("IMAGEN_DEMO_SECONDS", "0")
    monkeypatch.setenv("IMAGEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


# -------------------------------------------------------------------------------- construction


@pytest.mark.slow
def test_importing_the_widget_starts_nothing_and_writes_nothing(tmp_path: Path) -> None:
    code = """
        import asyncio, sys, threading
        run = asyncio.run
        import IPython, ipywidgets  # what these bring along is theirs
        theirs = set(sys.modules)
        from imagen_widget import ImagenWidget
        assert threading.active_count() == 1
        assert asyncio.run is run
        assert not {"httpx", "nest_asyncio2", "PIL"} & (set(sys.modules) - theirs)
    """
    before = set(tmp_path.rglob("*"))

    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=tmp_path)

    assert set(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_a_script_that_makes_a_widget_and_ends_is_silent(tmp_path: Path) -> None:
    code = "from imagen_widget import ImagenWidget; w = ImagenWidget(prompt='a fox')"
    environment = {"IMAGEN_PROVIDER": "demo", "IMAGEN_HOME": str(tmp_path), "PATH": ""}

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )

    assert (done.stdout, done.stderr) == ("", "")


def test_the_controls_are_attributes_and_a_mapping_by_field_name(bench: Bench) -> None:
    widget = bench.widget

    assert isinstance(widget.prompt, ipywidgets.Textarea)
    assert widget.prompt.value == "a red fox"
    assert widget.model.value == NANO
    assert widget.fields["aspect_ratio"] is widget.aspect_ratio
    assert {"prompt", "num_images", "resolution", "seed"} <= set(widget.fields)
    assert repr(widget.fields) == f"<fields: {', '.join(widget.fields)}>"
    assert widget.status.value == "Ready"
    assert widget.cancel_button.disabled
    assert not widget.generate_button.disabled


def test_defaults_fill_the_form_and_are_all_that_is_sent(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(model=NANO, aspect_ratio="21:9", num_images=3, seed=7)

    assert bench.press().request.arguments() == {
        "prompt": "a red fox", "aspect_ratio": "21:9", "num_images": 3, "seed": 7,
    }  # fmt: skip
    assert (bench.widget.num_images.value, bench.widget.seed.value) == (3, "7")


@pytest.mark.parametrize(
    ("defaults", "field"),
    [
        ({"aspect_ratio": "7:3"}, "aspect_ratio"),
        ({"colour": "red"}, "colour"),
        ({"prompt": Path("x")}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"extra": 5}, "extra"),
    ],
)
def test_a_default_that_is_not_allowed_is_refused_by_name(
    home: Path, defaults: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        ImagenWidget(**defaults)

    assert refusal.value.field == field
    assert str(refusal.value).count(f"{field}: ") == 1


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"model": "someone/something", "turbo": True}, {"turbo": True}),
        ({"model": "nano-banana", "sync_mode": True}, {"sync_mode": True}),  # without a control
    ],
)
def test_a_field_without_a_control_can_be_given_by_a_program(
    bench: Bench, given: dict[str, Any], sent: dict[str, Any]
) -> None:
    bench.studio.failure = BudgetExceeded("Stop here.")
    with pytest.raises(BudgetExceeded):  # it got as far as the start
        asyncio.run(bench.widget.generate(**given))
    bench.studio.failure = None

    assert bench.press().request.arguments() == {"prompt": "a red fox", **sent}


def test_a_setting_beside_a_studio_that_has_its_own_is_refused(home: Path) -> None:
    with pytest.raises(InvalidRequest, match="max_spend: the studio has its own settings"):
        Studio("demo").widget(max_spend="0.10")


@pytest.mark.parametrize("name", ["prompt", "seed", "model"])
def test_a_control_is_not_replaced_by_a_value(bench: Bench, name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"Set {name}.value"):
        setattr(bench.widget, name, "a fox")

    assert bench.press().request.prompt == "a red fox"


def test_a_setting_is_not_a_field_even_of_a_model_of_which_nothing_is_known(bench: Bench) -> None:
    with pytest.raises(InvalidRequest, match="setting"):
        asyncio.run(bench.widget.generate(model="someone/something", token="sk-secret"))

    assert "sk-secret" not in str([part.get_state() for part in tree(bench.widget)])


@pytest.mark.parametrize("name", ["timeout", "reuse", "strict", "quiet", "on_event"])
def test_an_argument_of_generate_is_not_a_field_of_a_model(bench: Bench, name: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        asyncio.run(bench.widget.generate(model="someone/something", **{name: 5}))

    assert refusal.value.field == name
    assert bench.jobs == []


def test_pictures_can_be_given_by_the_names_of_the_models_fields(
    open_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    (tmp_path / "fox.png").write_bytes(png(64, 48))
    fields = {"image_urls": [tmp_path / "fox.png"], "mask_image_url": png(64, 48, "white")}

    bench = open_bench(model="fal-ai/gpt-image-1.5/edit", **fields)

    assert "fox.png" in bench.text("imagen-strip-markup")
    assert len(bench.press().request.inputs) == 2


def test_the_default_model_is_that_of_the_settings(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MODEL", "nano-banana")

    widget = ImagenWidget()
    model = widget.model.value
    widget.close()

    assert model == "fal-ai/nano-banana"


# -------------------------------------------------------------------------------- any model


def test_every_bundled_model_has_a_control_for_each_of_its_fields(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(provider="fal", settings={"api_key": KEY, "schemas": "off"})
    switches = []
    for model in models():
        before = time.thread_time()  # a busy machine does not count
        bench.widget.model.value = model.id
        switches.append(time.thread_time() - before)
        shown = {f.name for f in model.fields if not f.hidden and f.role != "mask"}
        assert bench.widget.model.value == model.id
        assert shown <= set(bench.widget.fields), model.id
    assert statistics.median(switches) < SWITCH_SECONDS  # one may collect garbage


def test_the_chooser_says_edit_of_the_models_that_take_pictures(bench: Bench) -> None:
    (layer,) = [part for part in bench.widget.children if hasattr(part, "announcement")]

    edits = {row["id"] for row in layer.chooser["models"] if "edit" in row["tags"]}

    assert edits == {m.id for m in bench.studio.models() if m.role("picture") is not None}
    assert FLUX not in edits


@pytest.mark.parametrize(("provider", "free"), [("demo", True), ("fal", False)])
def test_the_chooser_says_free_on_the_demo_and_the_price_elsewhere(
    open_bench: Callable[..., Bench], provider: str, *, free: bool
) -> None:
    settings = {} if free else {"api_key": KEY, "schemas": "off"}
    bench = open_bench(provider=provider, model=NANO, settings=settings)
    (layer,) = [part for part in bench.widget.children if hasattr(part, "announcement")]

    prices = {row["price"] for row in layer.chooser["models"] if row["id"] in (NANO, FLUX, EDIT)}

    assert (prices == {"free"}) == free
    assert any("$" in price for price in prices) != free
    assert ("prices of" in layer.chooser["total"]) != free


def test_the_chooser_says_what_you_pay_as_the_price_line_does(
    open_bench: Callable[..., Bench],
) -> None:
    settings = {"api_key": KEY, "schemas": "off", "price": "0.05, flux-dev=0.03"}
    bench = open_bench(provider="fal", model=NANO, settings=settings)
    (layer,) = [part for part in bench.widget.children if hasattr(part, "announcement")]

    rows = {row["id"]: f"{row['price']} {row['unit']}" for row in layer.chooser["models"]}

    assert "≈ $0.05" in bench.text("imagen-price")
    assert (rows[NANO], rows[FLUX]) == ("$0.05 a picture", "$0.03 a picture")


def test_an_alias_can_be_assigned_and_nonsense_changes_nothing(bench: Bench) -> None:
    bench.widget.model.value = "flux-dev"
    assert bench.widget.model.value == FLUX
    bench.widget.model.value = "FLUX-dev"
    assert bench.widget.model.value == FLUX

    bench.widget.model.value = "no such model!"

    assert bench.widget.model.value == FLUX
    assert "no such model" in bench.trouble
    bench.widget.model.value = "someone/something"
    assert bench.trouble == ""
    bench.widget.model.value = "no such model!"
    assert "no such model" in bench.trouble


def test_a_model_that_nobody_bundled_works_with_the_common_fields_and_json(bench: Bench) -> None:
    bench.widget.model.value = "someone/something"
    assert "sent unchecked" in bench.text("imagen-about")
    bench.widget.num_images.value = "2"
    bench.widget.fields["other_fields"].value = '{"turbo": true}'

    assert bench.press().request.arguments() == {
        "prompt": "a red fox", "num_images": 2, "turbo": True,
    }  # fmt: skip


def test_what_is_given_before_the_fields_of_a_model_are_known_goes_into_them(
    open_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"prompt": {"type": "string"}, "steps": {"type": "integer"}, "n": {"type": "integer"}}
    learned = described(fields, ["prompt"], model_id="o/a")
    monkeypatch.setattr(Studio, "model", lambda *_: learned)

    bench = open_bench(model="o/a", steps=20, stepz=3, num_images=2)

    assert bench.widget.fields["steps"].value == "20"
    assert "does not take stepz" in bench.text("imagen-note")
    sent = bench.press().request.arguments()
    assert sent == {"prompt": "a red fox", "steps": 20, "n": 2}


def test_addresses_given_before_the_fields_of_a_model_are_known_are_pictures_in(
    open_bench: Callable[..., Bench],
) -> None:
    address = "https://example.com/a.png"
    bench = open_bench(model="o/a", settings={"schemas": "off"})
    bench.widget.fields["other_fields"].value = json.dumps({"image_urls": [address]})

    bench.widget.model.value = EDIT

    assert f"1: {address}" in bench.text("imagen-strip-markup")
    assert bench.press().request.arguments()["image_urls"] == [address]
    bench.remove(0)
    assert address not in bench.text("imagen-strip-markup")


def test_switching_the_model_keeps_what_the_new_one_takes_and_says_what_it_does_not(
    bench: Bench,
) -> None:
    bench.widget.aspect_ratio.value = "16:9"
    bench.widget.model.value = FLUX
    assert bench.widget.fields["image_size"].value == "landscape_16_9"

    bench.widget.model.value = NANO
    assert bench.widget.aspect_ratio.value == "16:9"

    bench.widget.aspect_ratio.value = "8:1"
    bench.widget.model.value = "imagen4"
    assert "does not take 8:1" in bench.text("imagen-note")
    assert "aspect_ratio" not in bench.press().request.arguments()


def test_a_common_name_is_translated_where_the_model_calls_it_otherwise(
    bench: Bench,
) -> None:
    bench.widget.model.value = FLUX
    bench.widget.aspect_ratio.value = "9:16"

    assert bench.press().request.arguments()["image_size"] == "portrait_16_9"


@pytest.mark.parametrize("name", ["aspect_ratio", "num_images", "seed", "output_format"])
def test_every_optional_field_can_be_left_to_the_model(bench: Bench, name: str) -> None:
    control = bench.widget.fields[name]
    shown = control.value
    control.value = {"aspect_ratio": "16:9", "num_images": 2, "seed": "7"}.get(name, "jpeg")
    assert name in bench.press().request.arguments()
    bench.jobs[0].ends(QueueError("gone"))

    control.value = None

    assert control.value == shown
    assert name not in bench.press().request.arguments()


def test_what_a_control_shows_already_can_be_given(bench: Bench) -> None:
    bench.widget.num_images.value = 1

    assert bench.press().request.arguments()["num_images"] == 1


def test_a_size_is_a_preset_or_a_width_and_a_height(bench: Bench) -> None:
    bench.widget.model.value = FLUX
    size = bench.widget.fields["image_size"]

    size.preset.value = "square"
    assert bench.press().request.arguments()["image_size"] == "square"
    bench.jobs[0].ends(QueueError("gone"))
    size.preset.value = "custom"
    size.width.value = 640

    assert bench.press().request.arguments()["image_size"] == {"width": 640, "height": 1024}


def test_a_size_is_shown_as_it_is_sent(bench: Bench) -> None:
    bench.widget.model.value = FLUX
    size = bench.widget.fields["image_size"]

    size.value = "20000x480"

    assert (size.preset.value, size.width.value, size.height.value) == ("custom", 20000, 480)
    sent = {"width": 20000, "height": 480}
    assert bench.press().request.arguments()["image_size"] == sent


def test_a_size_that_is_not_one_blocks_the_button(bench: Bench) -> None:
    bench.widget.model.value = FLUX

    bench.widget.fields["image_size"].value = {"width": 640, "height": "much"}

    assert bench.widget.generate_button.disabled


def test_json_that_does_not_parse_greys_generate_and_the_reason_stands_beside_it(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(model="fal-ai/qwen-image")
    loras = bench.widget.fields["loras"]

    loras.value = '[{"path": "x"]'

    assert bench.widget.generate_button.disabled
    assert "first" in bench.text("imagen-price")
    assert any("line 1, column 14" in part.value for part in bench.of_kind("imagen-problem"))
    loras.value = '[{"path": "x"}]'
    assert not bench.widget.generate_button.disabled
    assert bench.press().request.arguments()["loras"] == [{"path": "x"}]


def test_a_seed_that_is_not_a_number_greys_generate_and_the_reason_stands_below_it(
    bench: Bench,
) -> None:
    bench.widget.seed.value = "abc"

    assert bench.widget.generate_button.disabled
    assert "Seed" in bench.text("imagen-price")
    said = [part.value for part in bench.of_kind("imagen-problem") if part.value]
    assert len(said) == 1
    assert "Use a whole number." in said[0]
    bench.widget.seed.value = "7"
    assert not any(part.value for part in bench.of_kind("imagen-problem"))
    assert bench.press().request.seed == 7


def test_a_retired_model_offers_its_successor_by_one_click(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(provider="fal", model="imagen4", settings={"api_key": KEY})
    (switch,) = [p for p in tree(bench.widget) if "instead" in str(getattr(p, "description", ""))]

    switch.click()

    assert bench.widget.model.value == NANO
    assert switch.layout.display == "none"


def test_a_model_that_turns_out_to_be_gone_offers_what_to_use_instead(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(provider="fal", model="someone/something", settings={"api_key": KEY})
    gone = ModelRetired("It is not served here.")
    gone.successor = "nano-banana-2"

    bench.press().ends(gone)
    button(bench, "Use nano-banana-2 instead").click()

    assert bench.widget.model.value == NANO
    assert not any(
        "instead" in str(getattr(part, "description", "")) and part.layout.display != "none"
        for part in tree(bench.widget)
    )


def test_a_model_without_a_prompt_hides_it(bench: Bench) -> None:
    from imagen_widget import Field, Model

    up = Model("x/up", title="Up", source="bundled", fields=(
        Field("image_url", "picture", "Picture", role="picture", required=True),
    ))  # fmt: skip
    known = bench.studio.known
    bench.studio.known = lambda name=None: up if name == "x/up" else known(name)  # type: ignore[method-assign]

    bench.widget.model.value = "x/up"

    assert bench.widget.prompt.layout.display == "none"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("num_images", "many", "num_images: 'many' is not allowed. Use a whole number from 1 to 4"),
        ("num_images", 9, "num_images: 9 is not allowed. Use a whole number from 1 to 4"),
        ("num_images", -1, "num_images: -1 is not allowed. Use a whole number from 1 to 4"),
        ("num_images", 2.7, "num_images: 2.7 is not allowed. Use a whole number from 1 to 4"),
        ("num_images", True, "num_images: True is not allowed. Use a whole number from 1 to 4"),
        ("guidance_scale", 99, "guidance_scale: 99 is not allowed. Use a number from 1 to 20"),
        ("enable_safety_checker", "maybe", "'maybe' is not allowed. Use True or False"),
        ("output_format", "gif", "output_format: 'gif' is not allowed. Use one of jpeg, png"),
    ],
)
def test_a_value_that_a_control_would_change_to_another_is_refused(
    open_bench: Callable[..., Bench], field: str, value: object, says: str
) -> None:
    bench = open_bench(model=FLUX)
    control = bench.widget.fields[field]
    shown = control.value

    with pytest.raises(InvalidRequest) as refusal:
        control.value = value

    assert says in str(refusal.value)
    assert control.value == shown
    assert bench.press().request.arguments() == {"prompt": "a red fox"}


def test_a_value_is_taken_in_every_spelling_that_generate_takes(bench: Bench) -> None:
    widget = bench.widget

    widget.num_images.value = 2.0
    widget.resolution.value = "2k"
    widget.safety_tolerance.value = 5 - 1
    widget.fields["limit_generations"].value = "false"

    assert bench.press().request.arguments() == {
        "prompt": "a red fox",
        "num_images": 2,
        "resolution": "2K",
        "safety_tolerance": "4",
        "limit_generations": False,
    }


# --------------------------------------------------------------------------------------- clicks


def test_a_double_click_is_one_job(bench: Bench) -> None:
    bench.widget.generate_button.click()
    bench.widget.generate_button.click()

    assert [job.request.prompt for job in bench.jobs] == ["a red fox"]
    assert bench.widget.generate_button.disabled
    assert not bench.widget.cancel_button.disabled


def test_a_click_is_answered_by_the_status_before_the_rest_is_drawn(bench: Bench) -> None:
    said, sent, seen = threading.Semaphore(0), threading.Event(), []

    def send() -> None:  # as a kernel's thread does, which needs the interpreter for it
        for _ in range(PRESSES):
            said.acquire()
            sent.set()

    def draw(change: dict[str, Any]) -> None:
        if change["new"]:
            seen.append(sent.is_set())

    before, sender = sys.getswitchinterval(), threading.Thread(target=send, daemon=True)
    bench.widget.generate_button.observe(draw, "disabled")
    sender.start()
    sys.setswitchinterval(10)
    try:
        for _ in range(PRESSES):
            sent.clear()
            bench.widget.status.observe(lambda _: said.release(), "value")
            bench.widget.generate_button.click()
            bench.widget.status.unobserve_all("value")
            bench.jobs[-1].ends(QueueError("Gone."))
            bench.time.pass_by(1)
    finally:
        sys.setswitchinterval(before)

    assert len(seen) == PRESSES
    assert any(seen)  # one may be late on a busy machine


def test_the_value_is_the_last_generation_and_can_be_observed(bench: Bench) -> None:
    seen: list[Generation] = []
    bench.widget.observe(lambda change: seen.append(change["new"]), "value")

    made = bench.make()

    assert bench.widget.value is made
    assert seen == [made]
    assert bench.widget.status.value == made.summary


def test_the_status_says_done_when_the_pictures_are_there_and_not_before(bench: Bench) -> None:
    job = bench.press()
    job.goes(Phase.FETCHING, 1.0)
    bench.time.pass_by(1)

    job.goes(Phase.DONE, 1.2, "1 image · 1.2 s")

    assert bench.widget.status.value == "fetching 1.00 s"
    assert "imagen-busy" in bench.widget.status._dom_classes


def test_seconds_never_run_backwards(bench: Bench) -> None:
    job = bench.press()
    job.goes(Phase.RUNNING, 5.3)
    bench.time.pass_by(1)

    job.goes(Phase.RUNNING, 4.8)

    assert bench.widget.status.value == "running 5.30 s"


def test_without_a_prompt_it_says_what_to_do_goes_to_the_prompt_and_sends_nothing(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], open_bench: Callable[..., Bench]
) -> None:
    bench = open_bench(prompt="", model=NANO)

    bench.widget.generate_button.click()

    assert bench.jobs == []
    assert "Write a prompt first." in bench.trouble
    ((message, _),) = to_script(wire, "focus")
    assert "prompt" in message["to"]
    assert bench.widget.status.value == "Not sent"
    bench.widget.seed.value = "7"
    assert "Write a prompt first." in bench.trouble
    bench.widget.prompt.value = "a red fox"
    assert bench.trouble == ""
    assert bench.widget.status.value == "Ready"


def test_what_is_missing_is_asked_for_in_the_forms_words_until_it_is_there(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], open_bench: Callable[..., Bench]
) -> None:
    bench = open_bench(model="ideogram-3-edit")

    bench.widget.generate_button.click()
    assert "needs a picture.</strong><div>Drop or choose a picture above." in bench.trouble
    assert bench.widget.status.value == "Not sent"
    assert "imagen-failed" in bench.widget.status._dom_classes
    ((message, _),) = to_script(wire, "focus")
    assert "trouble" in message["to"]  # the page brings the box into view
    bench.upload(png(64, 48))
    assert bench.trouble == ""
    assert bench.widget.status.value == "Ready"

    bench.widget.generate_button.click()
    assert "needs a mask.</strong><div>Paint a mask on picture 1." in bench.trouble
    bench.upload(png(64, 48, "white"), purpose="mask")
    assert bench.trouble == ""
    assert len(bench.press().request.inputs) == 2


def test_a_required_field_is_asked_for_by_its_title_until_it_is_there(bench: Bench) -> None:
    fields = {"prompt": {"type": "string"}, "style": {"type": "string", "title": "Style"}}
    schema = json.dumps(document("o/a", fields, ["prompt", "style"])).encode()
    bench.studio.session.models.learn("o/a", schema)
    bench.widget.model.value = "o/a"

    bench.widget.generate_button.click()
    assert " needs Style.</strong><div>Fill it in above." in bench.trouble
    bench.widget.fields["style"].value = "oil"
    assert bench.trouble == ""

    assert bench.press().request.arguments()["style"] == "oil"


def test_a_refusal_beside_a_running_job_leaves_the_status_to_the_job(bench: Bench) -> None:
    job = bench.press()
    job.goes(Phase.RUNNING, 1.0)
    bench.widget.prompt.value = ""
    bench.time.pass_by(10)

    bench.widget.generate_button.click()

    assert "Write a prompt first." in bench.trouble
    assert bench.widget.status.value == "running 1.00 s"
    made = generation(bench.folder, job.request)
    job.ends(made)
    assert bench.widget.status.value == made.summary


def test_an_old_tick_does_not_stand_above_an_error(bench: Bench) -> None:
    bench.make()
    assert "imagen-done" in bench.widget.status._dom_classes
    bench.widget.prompt.value = ""

    bench.time.pass_by(10)
    bench.widget.generate_button.click()

    assert "imagen-done" not in bench.widget.status._dom_classes


def test_further_jobs_run_beside_the_first_and_each_is_cancelled_for_itself(bench: Bench) -> None:
    for _ in range(2):
        bench.press().goes(Phase.RUNNING, 1.0)
    heads = [part.value for part in bench.of_kind("imagen-job-head")]

    assert ["Cancel" in head for head in heads] == [False, True]  # the main one means the newest
    bench.does("cancel", index=1)
    bench.widget.cancel_button.click()

    assert [job.cancels for job in bench.jobs] == [1, 1]


def test_cancel_pressed_twice_leaves_the_other_job_running(bench: Bench) -> None:
    for _ in range(2):
        bench.press().goes(Phase.RUNNING, 1.0)

    for _ in range(2):
        bench.widget.cancel_button.click()

    assert [job.cancels for job in bench.jobs] == [0, 1]
    assert bench.widget.cancel_button.disabled
    heads = [part.value for part in bench.of_kind("imagen-job-head")]
    assert ["Cancel" in head for head in heads] == [False, True]


def test_a_cancel_pressed_while_the_job_is_being_started_reaches_it(bench: Bench) -> None:
    bench.studio.on_start = bench.widget.cancel_button.click

    assert bench.press().cancels == 1


def test_a_cancelled_job_says_what_the_provider_said_and_shows_no_picture(bench: Bench) -> None:
    job = bench.press()
    bench.widget.cancel_button.click()

    job.ends(JobCancelled("Cancelled, not billed."))

    assert bench.widget.status.value == "Cancelled, not billed."
    assert bench.of_kind("imagen-card") == []
    assert bench.widget.value is None


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (QueueError("The network failed.", remedy="Try again."), True),
        (GenerationFailed("It failed.", remedy="Try again.", ticket=object()), True),
        (QueueError("It takes too long.", remedy="Fetch it later.", ticket=object()), False),
        (SubmitUncertain("It may have been accepted.", remedy="Look it up."), False),
        (BudgetExceeded("The cap is reached.", remedy="Raise it."), False),
        (CredentialsError("The key is refused.", remedy="Check it."), True),
        (CredentialsError("The key is refused.", remedy="Check it.", billed=True), False),
        (JournalError("The disk is full.", remedy="Free some."), True),
        (JournalError("Not written down.", remedy="Free some.", billed=True), False),
        (QueueError("No picture came.", remedy="Look it up.", billed=True), False),
    ],
)
def test_an_error_is_said_once_and_retry_offered_only_where_nothing_can_have_been_paid(
    bench: Bench, error: ImagenError, *, retry: bool
) -> None:
    job = bench.press()
    job.ends(error)
    (box,) = bench.of_kind("imagen-trouble")
    text, button = box.children

    assert error.message in text.value
    assert error.remedy in text.value
    assert error.message not in bench.widget.status.value
    unsent = isinstance(error, BudgetExceeded)
    assert bench.widget.status.value.startswith("Not sent" if unsent else "Failed after")
    assert bench.of_kind("imagen-job") == []
    assert (button.layout.display is None) == retry
    if retry:
        bench.widget.prompt.value = "something else"
        bench.time.pass_by(10)
        button.click()
        assert bench.jobs[1].request == job.request
        assert box.layout.display == "none"


def test_an_error_nobody_thought_of_is_shown_without_its_text(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.press().ends(ZeroDivisionError("a red fox"))

    assert "ZeroDivisionError" in bench.trouble
    assert "fox" not in bench.trouble


def test_an_error_of_starting_is_shown_and_generate_works_again(bench: Bench) -> None:
    bench.studio.failure = BudgetExceeded("The cap is reached.", remedy="Raise it.")

    bench.time.pass_by(10)
    bench.widget.generate_button.click()

    assert "The cap is reached." in bench.trouble
    assert bench.widget.status.value == "Not sent"
    assert not bench.widget.generate_button.disabled


def test_a_program_awaits_its_pictures(bench: Bench) -> None:
    async def ask() -> Generation:
        started = asyncio.Event()
        bench.studio.on_start = started.set
        task = asyncio.ensure_future(bench.widget.generate(num_images=2, seed=3))
        await started.wait()
        made = generation(bench.folder, bench.jobs[0].request)
        await asyncio.to_thread(bench.jobs[0].ends, made)
        return await task

    made = asyncio.run(ask())

    assert made is bench.widget.value
    assert made.request.arguments()["num_images"] == 2
    assert bench.widget.seed.value == "3"


def test_a_program_gets_its_pictures_though_the_form_is_closed_meanwhile(bench: Bench) -> None:
    async def ask() -> Generation:
        started = asyncio.Event()
        bench.studio.on_start = started.set
        task = asyncio.ensure_future(bench.widget.generate(prompt="an owl"))
        await started.wait()
        bench.widget.close()
        await asyncio.to_thread(bench.jobs[0].ends, generation(bench.folder, bench.jobs[0].request))
        return await asyncio.wait_for(task, timeout=60)

    assert asyncio.run(ask()).request.prompt == "an owl"


def test_a_program_awaits_its_pictures_in_trio_too(home: Path) -> None:
    widget = ImagenWidget(prompt="a red fox")

    made = trio.run(partial(widget.generate, model="nano-banana", seed=3))
    widget.close()

    assert (made.model, made.seed) == ("fal-ai/nano-banana", 3)


@pytest.mark.parametrize("given", [{"aspect_ratio": "7:3"}, {"num_images": 99}, {"seed": "x"}])
def test_a_program_gets_the_error_that_generate_raises(
    bench: Bench, home: Path, given: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as usual:
        generate("a red fox", model=NANO, quiet=True, **given)

    with pytest.raises(InvalidRequest) as refusal:
        asyncio.run(bench.widget.generate(**given))

    assert str(refusal.value) == str(usual.value)
    assert refusal.value.field == next(iter(given))
    assert bench.trouble == ""


def test_a_form_that_is_closed_before_its_job_is_sent_says_so_to_a_program(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = bench.studio.request

    def closed_meanwhile(*args: Any, **given: Any) -> ImageRequest:
        bench.widget.close()
        return request(*args, **given)

    monkeypatch.setattr(bench.studio, "request", closed_meanwhile)

    with pytest.raises(InvalidRequest, match="closed: nothing was sent"):
        asyncio.run(bench.widget.generate(prompt="a fox"))
    assert bench.jobs == []


def test_a_closed_form_says_so_to_a_program_and_sends_nothing(bench: Bench) -> None:
    bench.widget.close()

    bench.widget.generate_button.click()
    with pytest.raises(InvalidRequest, match="closed"):
        asyncio.run(bench.widget.generate(prompt="an owl"))
    with pytest.raises(InvalidRequest, match="closed"):
        bench.widget.load_settings("fox.png")

    assert bench.jobs == []


def test_a_program_gets_the_error_itself(bench: Bench) -> None:
    with pytest.raises(InvalidRequest, match="colour"):
        asyncio.run(bench.widget.generate(colour="red"))
    bench.studio.failure = BudgetExceeded("The cap is reached.")
    with pytest.raises(BudgetExceeded):
        asyncio.run(bench.widget.generate(seed=3))


def test_the_browser_generates_with_what_it_shows(bench: Bench) -> None:
    ids = {name: control.model_id for name, control in bench.widget.fields.items()}
    values = {ids["prompt"]: "as typed", ids["num_images"]: 2, ids["seed"]: "9", "nobody": 1}

    bench.says({"kind": "generate", "values": values})

    assert bench.jobs[0].request.arguments() == {
        "prompt": "as typed", "num_images": 2, "seed": 9,
    }  # fmt: skip


def test_a_model_that_is_chosen_in_the_browser_is_that_of_the_next_click(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], bench: Bench
) -> None:
    bench.does("choose", arg=EDIT)
    assert bench.widget.model.value == EDIT
    wire.clear()

    bench.does("choose", arg="no such model")

    assert "there is no model" in bench.trouble
    told = [data["state"] for _, data, _ in wire if data.get("state", {}).get("chosen")]
    assert told == [{"chosen": EDIT}]


def test_nonsense_from_the_browser_changes_nothing(bench: Bench) -> None:
    for nonsense in (
        {},
        {"kind": "generate"},
        {"kind": "generate", "values": 3},
        {"kind": 7},
        {"kind": "do", "act": "edit"},
        {"kind": "do", "act": "move", "index": "x", "arg": None},
        {"kind": "do", "act": "__class__"},
        {"kind": "file", "purpose": "x", "key": "1", "parts": "many"},
    ):
        bench.says(nonsense)

    assert bench.jobs == []


# ------------------------------------------------------------------------- before the click


def test_a_missing_key_is_said_before_the_click(
    open_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAL_KEY", raising=False)
    bench = open_bench(provider="fal", model=NANO)

    assert "no key" in bench.text("imagen-chip-box")
    assert "FAL_KEY" in bench.text("imagen-price")


def test_the_price_line_says_price_and_spending_and_warns_of_the_cap(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(provider="fal", model=NANO, settings={"api_key": KEY, "max_spend": "0.10"})

    assert "≈ $0.08" in bench.text("imagen-price")
    assert "today $0.00 of $0.10, this month $0.00" in bench.text("imagen-price")
    assert "cap" not in bench.text("imagen-price")
    bench.widget.num_images.value = 4

    assert "≈ $0.32" in bench.text("imagen-price")
    assert "This would pass your cap of $0.10 a day" in bench.text("imagen-price")


def test_a_cap_of_ones_own_counts_what_one_has_spent_oneself(
    open_bench: Callable[..., Bench],
) -> None:
    settings = {"api_key": KEY, "max_spend_user": "0.20/day", "max_spend": "9/month"}
    bench = open_bench(provider="fal", model=NANO, settings=settings)
    for user in ("somebody else", bench.studio.settings.user):
        intend(bench.studio.session.journal, "a fox", price="0.16", user=user)

    bench.make()

    said = "today $0.32, this month $0.32 of $9.00, yours today $0.16 of $0.20"
    assert said in bench.text("imagen-price")
    assert "This would pass your cap of $0.20 a day: $0.04 is left." in bench.text("imagen-price")


def test_an_error_on_the_page_of_the_history_is_brought_into_view(
    past: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise JournalError("The journal cannot be written.")

    past.does("tick", id=past.made[-1].id)  # type: ignore[attr-defined]
    monkeypatch.setattr(History, "delete", fail)

    button(past, "Delete").click()

    (page,) = past.of_kind("imagen-create")
    assert "cannot be written" in past.trouble
    assert page.layout.display is None


def test_an_error_of_what_was_begun_before_leaves_the_page_of_the_history_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[Callable[[], None]] = []
    monkeypatch.setattr(bench.time, "background", later.append)

    bench.does("edit", id="nobody", index=0)
    bench.widget.children[2].children[2].value = "history"
    later[0]()

    (page,) = bench.of_kind("imagen-history")
    assert bench.trouble
    assert page.layout.display is None


def test_an_unknown_price_under_a_cap_is_said_before_the_click(
    open_bench: Callable[..., Bench],
) -> None:
    settings = {"api_key": KEY, "max_spend": "1", "schemas": "off"}
    bench = open_bench(provider="fal", model="someone/something", settings=settings)

    assert "price unknown" in bench.text("imagen-price")
    assert "IMAGEN_PRICE" in bench.text("imagen-price")


# --------------------------------------------------------------------------------- pictures in


def test_a_picture_is_uploaded_in_parts_shown_and_sent_by_role(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(model=EDIT)

    bench.upload(png(80, 60), name="fox.png")

    (given,) = bench.widget.fields["image_urls"].value
    assert (given.origin, given.width, given.height) == ("fox.png", 80, 60)
    assert "fox.png" in bench.text("imagen-strip-markup")
    assert bench.press().request.inputs == (given,)


def test_files_are_numbered_as_they_come_and_sent_by_a_click_that_follows(
    open_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[Callable[[], None]] = []
    bench = open_bench(model="fal-ai/gpt-image-1.5/edit")
    monkeypatch.setattr(bench.time, "background", later.append)  # busy threads
    bench.upload(png(colour="red"), name="first.png")
    bench.upload(png(colour="blue"), name="second.png")
    bench.upload(png(64, 48, "white"), "mask")

    given = bench.press().request.inputs

    assert [each.origin for each in given] == ["first.png", "second.png", "a painted mask"]


def test_pictures_are_numbered_moved_and_removed(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(model=EDIT, images=[png(colour="red"), png(colour="blue")])
    red, blue = bench.widget.fields["image_urls"].value

    bench.does("move", index=1, arg="0")
    assert bench.widget.fields["image_urls"].value == (blue, red)
    assert 'aria-label="Picture 2' in bench.text("imagen-strip-markup")
    bench.remove(0)

    assert bench.widget.fields["image_urls"].value == (red,)


def test_remove_pressed_twice_before_the_strip_is_drawn_removes_one_picture(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(model=EDIT, images=[png(colour="red"), png(colour="blue")])
    red, blue = bench.widget.fields["image_urls"].value

    for _ in range(2):
        bench.does("remove", index=0, arg=red.key)

    assert bench.widget.fields["image_urls"].value == (blue,)


def test_the_strip_takes_what_generate_takes(
    open_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    bench = open_bench(model=EDIT)
    (tmp_path / "owl.png").write_bytes(png())

    bench.widget.fields["image_urls"].value = [tmp_path / "owl.png", "https://example.com/x.png"]

    assert bench.widget.fields["image_urls"].value[0].origin == "owl.png"
    with pytest.raises(InvalidRequest):
        bench.widget.fields["image_urls"].value = b"no picture"


def test_a_file_that_is_not_a_picture_is_said_and_nothing_is_sent(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(model=EDIT)

    bench.upload(b"GIF89a, almost")

    assert bench.trouble != ""
    assert bench.widget.fields["image_urls"].value == ()


def test_of_several_files_a_bad_one_is_named_though_good_ones_follow(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(model=EDIT)

    bench.upload(b"GIF89a, almost", name="broken.gif")
    bench.upload(png(colour="red"), name="red.png", more=True)

    assert "broken.gif: " in bench.trouble
    assert [given.origin for given in bench.widget.fields["image_urls"].value] == ["red.png"]
    bench.upload(png(colour="blue"), name="blue.png")
    assert bench.trouble == ""


def test_of_several_files_for_one_place_none_is_dropped_without_a_word(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(model="kontext")
    strip = bench.widget.fields["image_url"]

    bench.upload(png(colour="red"), name="red.png")
    bench.upload(png(colour="blue"), name="blue.png", more=True)
    bench.widget.generate_button.click()

    assert [given.origin for given in strip.value] == ["red.png", "blue.png"]
    assert "takes one picture, and 2 were given" in bench.trouble
    assert bench.jobs == []
    bench.upload(png(colour="teal"), name="teal.png")
    assert [given.origin for given in strip.value] == ["teal.png"]


def test_a_file_for_a_model_without_pictures_goes_to_the_one_that_edits(bench: Bench) -> None:
    bench.widget.children[2].children[2].value = "history"
    bench.upload(b"words, not a picture", name="notes.txt")
    assert "not a picture" in bench.trouble
    assert bench.widget.model.value == NANO

    bench.upload(png(80, 60))

    assert bench.trouble == ""
    assert bench.widget.children[2].children[2].value == "create"
    assert bench.widget.model.value == EDIT
    assert [given.origin for given in bench.widget.fields["image_urls"].value] == ["fox.png"]
    assert "is the model now, since it takes pictures" in bench.text("imagen-note")
    assert bench.widget.prompt.value == "a red fox"


def test_a_file_that_no_model_takes_is_said(open_bench: Callable[..., Bench]) -> None:
    alone = next(m for m in models() if not m.edits_with and m.role("picture") is None)
    bench = open_bench(model=alone.id)

    bench.upload(png())

    assert "takes no pictures" in bench.trouble
    assert bench.widget.model.value == alone.id


def test_edit_makes_a_picture_the_input_of_the_models_sibling(bench: Bench) -> None:
    made = bench.make(name="g1")

    bench.does("edit", id="g1", index=0)

    (given,) = bench.widget.fields["image_urls"].value
    assert bench.widget.model.value == EDIT
    assert bench.widget.prompt.value == ""
    assert (given.width, given.height) == (made[0].width, made[0].height)
    assert "a red fox" in given.origin
    assert "is the model now, since it takes pictures" in bench.text("imagen-note")
    assert bench.widget.prompt.placeholder.startswith("Say what to change")


def test_a_picture_that_the_new_model_does_not_take_is_said_to_be_kept_aside(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(model="kontext", image=png())
    assert "<b>Input picture</b> <span>(one" in bench.text("imagen-strip-markup")
    assert "or <button" in bench.text("imagen-strip-markup")
    assert "1 picture, 1 input · " in bench.text("imagen-price")

    bench.widget.model.value = NANO

    kept = "Nano Banana 2 takes no pictures; yours is kept aside and not sent."
    assert bench.text("imagen-note") == kept
    assert bench.press().request.inputs == ()
    assert bench.text("imagen-note") == kept
    bench.jobs[0].ends(QueueError("gone"))
    bench.widget.model.value = EDIT
    assert bench.text("imagen-note") == ""
    assert len(bench.press().request.inputs) == 1


def test_a_painted_mask_goes_out_with_the_picture(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(model="fal-ai/gpt-image-1.5/edit", image=png(64, 48))

    bench.upload(png(64, 48, "white"), purpose="mask")

    assert "mask" in bench.text("imagen-strip-markup")
    request = bench.press().request
    assert [given.origin for given in request.inputs] == ["bytes", "a painted mask"]
    bench.does("unmask")
    assert ">mask<" not in bench.text("imagen-strip-markup")


def test_a_mask_stays_with_its_picture_when_another_becomes_the_first(
    open_bench: Callable[..., Bench],
) -> None:
    pictures = [png(colour="red"), png(colour="blue")]
    bench = open_bench(model="fal-ai/gpt-image-1.5/edit", images=pictures)
    bench.upload(png(64, 48, "white"), "mask")

    bench.does("move", index=0, arg="1")

    kept = "Only picture 1 can have a mask; the other is kept aside and not sent."
    assert bench.text("imagen-note") == kept
    assert bench.text("imagen-strip-markup").count("imagen-masked") == 1
    assert len(bench.make().request.inputs) == 2
    bench.does("move", index=1, arg="0")
    assert bench.text("imagen-note") == ""
    assert len(bench.make().request.inputs) == 3
    bench.remove(0)
    assert "imagen-masked" not in bench.text("imagen-strip-markup")


def test_a_card_calls_a_mask_a_mask(open_bench: Callable[..., Bench]) -> None:
    edit = "fal-ai/gpt-image-1.5/edit"
    bench = open_bench(model=edit, image="https://example.com/x.png", mask=png(64, 48, "white"))

    made = bench.make()

    assert [given.origin for given in made.inputs] == ["https://example.com/x.png", "bytes"]
    assert "<span>a mask</span>" in bench.text("imagen-card")
    assert ">bytes<" not in bench.text("imagen-card")


def test_opening_the_mask_sends_the_picture_to_paint_on(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], open_bench: Callable[..., Bench]
) -> None:
    bench = open_bench(model="fal-ai/gpt-image-1.5/edit", image=png(64, 48))

    bench.does("mask")

    ((message, buffers),) = to_script(wire, "mask")
    assert (message["width"], message["height"]) == (64, 48)
    assert buffers[0][:4] == b"RIFF"


def test_a_mask_is_offered_where_the_bytes_of_the_first_picture_are_here(
    open_bench: Callable[..., Bench],
) -> None:
    given = ["https://example.com/x.png", png()]
    bench = open_bench(model="fal-ai/gpt-image-1.5/edit", images=given)

    bench.does("ring", index=1)
    assert "Paint a mask" not in bench.text("imagen-strip-markup")
    bench.does("move", index=1, arg="0")

    assert "Paint a mask" in bench.text("imagen-strip-markup")


def test_a_picture_that_comes_back_with_its_settings_is_a_picture_of_any_model(
    bench: Bench,
) -> None:
    bench.widget.model.value = "someone/something"
    bench.upload(png())
    bench.make(name="edited")

    bench.does("use", id="edited")
    assert len(bench.widget.fields["image_urls"].value) == 1
    assert bench.widget.fields["other_fields"].value == ""
    bench.remove(0)

    assert bench.press().request.arguments() == {"prompt": "a red fox"}


def test_a_second_picture_comes_back_into_the_field_of_its_own(
    open_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    (tmp_path / "style.png").write_bytes(png(colour="gold"))
    bench = open_bench(
        model="fal-ai/ideogram/v3/edit", image=png(), mask=png(64, 48, "white"),
        image_urls=[tmp_path / "style.png"],
    )  # fmt: skip
    made = bench.make()
    (tmp_path / "style.png").unlink()

    bench.does("again", id=made.id)

    assert bench.trouble == ""
    assert len(bench.jobs) == 2
    assert bench.jobs[1].request.arguments() == {**made.request.arguments(), "seed": 7}


def test_a_picture_of_an_earlier_kernel_is_shown_and_can_be_painted_on(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], open_bench: Callable[..., Bench]
) -> None:
    edit, given = "fal-ai/gpt-image-1.5/edit", png(32, 24, "gold")
    studio = Studio("demo", home=open_bench().studio.settings.home, demo_seconds=0)
    made = studio.generate("snow", model=edit, image=given)
    bench = open_bench()

    bench.does("use", id=made.id)
    bench.does("mask")

    assert "data:image/webp" in bench.text("imagen-strip-markup")
    assert len(to_script(wire, "mask")) == 1


def test_a_mask_without_its_picture_at_hand_says_so(
    open_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    edit = "fal-ai/gpt-image-1.5/edit"
    bench = open_bench(model=edit, image=png(32, 24, "plum"))
    made = bench.make()
    for path in (tmp_path / "home" / "images").rglob("*.png"):
        path.unlink()

    bench.does("use", id=made.id)
    bench.does("mask")

    assert "is not kept here any more" in bench.trouble


# ------------------------------------------------------------------------------------ pictures


def test_a_card_has_the_prompt_as_alternative_text_and_opens_the_original(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], open_bench: Callable[..., Bench]
) -> None:
    bench = open_bench(model=NANO)
    made = bench.make()

    assert 'alt="a red fox"' in bench.text("imagen-card")
    assert "data:image/webp;base64," in bench.text("imagen-card")
    bench.does("original", id="g1", index=0)

    ((message, buffers),) = to_script(wire, "original")
    assert message["type"] == "image/png"
    assert buffers == [made[0].data]


def test_the_original_is_sent_by_its_place_though_another_was_withheld(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], open_bench: Callable[..., Bench]
) -> None:
    bench = open_bench(model=NANO)
    job = bench.press()
    made = generation(bench.folder, job.request, name="g1", count=2)
    job.ends(replace(made, images=made.images[1:]))

    bench.does("original", id="g1", index=0)

    ((message, buffers),) = to_script(wire, "original")
    assert (message["id"], message["index"]) == ("g1", 0)
    assert buffers == [made[1].data]


def test_save_hands_the_picture_with_its_settings_to_the_browser(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], open_bench: Callable[..., Bench]
) -> None:
    bench = open_bench(model=NANO)
    bench.make()

    bench.does("save", id="g1", index=0)

    ((message, buffers),) = to_script(wire, "download")
    assert message["name"].endswith(".png")
    assert History.settings_from(bytes(buffers[0])).request.prompt == "a red fox"


def test_save_leaves_the_settings_out_if_the_setting_says_so(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], open_bench: Callable[..., Bench]
) -> None:
    bench = open_bench(model=NANO, settings={"provenance": False})
    made = bench.make()

    bench.does("save", id="g1", index=0)

    ((_, buffers),) = to_script(wire, "download")
    assert bytes(buffers[0]) == made[0].data


def test_a_picture_whose_file_is_gone_says_so(bench: Bench) -> None:
    made = bench.make()
    made[0].path.unlink()

    bench.does("save", id="g1", index=0)

    assert "cannot be read" in bench.trouble


def test_use_settings_brings_them_back_without_the_seed_and_same_again_sends_with_it(
    bench: Bench,
) -> None:
    bench.widget.aspect_ratio.value = "16:9"
    bench.make(seed=42)
    bench.widget.prompt.value, bench.widget.aspect_ratio.value = "something else", None

    bench.does("use", id="g1")
    assert (bench.widget.prompt.value, bench.widget.aspect_ratio.value) == ("a red fox", "16:9")
    assert bench.widget.seed.value == ""
    bench.time.pass_by(10)
    bench.does("again", id="g1")

    assert bench.jobs[1].request.seed == 42
    assert bench.widget.seed.value == "42"


def test_same_again_without_a_seed_asks_for_a_new_picture_and_says_so(bench: Bench) -> None:
    bench.make(seed=None)
    assert "seed is not known" in bench.text("imagen-card")

    bench.time.pass_by(10)
    bench.does("again", id="g1")

    assert bench.jobs[1].request.seed is None
    assert "seed of this picture is not known" in bench.text("imagen-note")


@pytest.mark.parametrize("act", ["again", "vary"])
def test_a_request_that_the_form_cannot_hold_is_not_sent_as_another_one(
    bench: Bench, act: str
) -> None:
    odd = bench.studio.request("a red fox", model=NANO, strict=False, sparkle=True)
    bench.press().ends(generation(bench.folder, odd, name="odd"))
    bench.time.pass_by(10)

    bench.does(act, id="odd")

    assert len(bench.jobs) == 1
    assert "no control for sparkle" in bench.trouble


def test_vary_asks_for_four_with_other_seeds(bench: Bench) -> None:
    bench.make(seed=42)
    bench.time.pass_by(10)

    bench.does("vary", id="g1")

    assert [job.request.count for job in bench.jobs[1:]] == [4]
    assert bench.jobs[1].request.seed is None


def test_a_bad_value_in_the_form_stops_neither_vary_nor_retry(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(model="fal-ai/qwen-image")
    bench.make()
    bench.press().ends(GenerationFailed("It failed."))
    bench.widget.fields["loras"].value = "["
    assert bench.widget.generate_button.disabled

    button(bench, "Retry").click()
    bench.jobs[-1].ends(GenerationFailed("It failed."))
    bench.does("vary", id="g1")

    assert len(bench.jobs) == 4
    assert bench.jobs[-1].request.count == 4


def test_vary_sends_four_jobs_where_a_job_makes_one_picture(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(model="fal-ai/flux-2-pro")
    bench.make()
    bench.time.pass_by(10)

    bench.does("vary", id="g1")

    assert len(bench.jobs) == 5


def test_vary_asks_for_four_pictures_of_a_model_whose_fields_are_unknown(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(model="o/a", num_images=2, settings={"schemas": "off"})
    bench.make(count=2)
    bench.time.pass_by(10)

    bench.does("vary", id="g1")

    assert [job.request.count for job in bench.jobs[1:]] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "count", [{"type": "integer", "maximum": 3}, {"type": "string", "enum": ["1", "2"]}]
)
def test_vary_sends_as_many_jobs_as_make_four_pictures(bench: Bench, count: dict[str, Any]) -> None:
    fields = {"prompt": {"type": "string"}, "num_images": count}
    schema = json.dumps(document("o/a", fields, ["prompt"])).encode()
    bench.studio.session.models.learn("o/a", schema)
    bench.widget.model.value = "o/a"
    bench.make()
    bench.time.pass_by(10)

    bench.does("vary", id="g1")

    assert [job.request.count for job in bench.jobs[1:]] == [2, 2]


@pytest.mark.parametrize(
    ("model", "again", "vary"),
    [
        (NANO, "$0.08", "$0.32"),
        ("fal-ai/flux-2-pro", "$0.03", "$0.12"),
        ("someone/something", "price unknown", "price unknown"),
    ],
)
def test_what_a_click_costs_stands_on_its_button(
    open_bench: Callable[..., Bench], model: str, again: str, vary: str
) -> None:
    bench = open_bench(provider="fal", model=model, settings={"api_key": KEY, "schemas": "off"})
    bench.make()

    words = re.sub("<[^>]+>", "", bench.text("imagen-card"))
    assert f"Same again· {again}Vary· {vary}Save" in words


def test_a_picture_is_shown_though_the_settings_cannot_be_read_any_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise InvalidRequest("IMAGEN_PRICE: it is not an amount.")

    monkeypatch.setattr(bench.studio, "price", fail)

    bench.make()

    assert len(bench.of_kind("imagen-card")) == 1


def test_nothing_is_said_of_the_price_of_a_click_that_is_free(bench: Bench) -> None:
    bench.make()

    assert "Same againVarySave" in re.sub("<[^>]+>", "", bench.text("imagen-card"))


def test_settings_can_be_copied_as_code_with_the_seed(bench: Bench) -> None:
    bench.widget.aspect_ratio.value = "3:4"
    bench.make(seed=42)

    card = "".join(Reading(bench.text("imagen-card")).words)

    assert "%imagen a red fox -m nano-banana-2 --ar 3:4 -s 42" in card
    line = "generate('a red fox', model='nano-banana-2', aspect_ratio='3:4', seed=42)"
    assert f"from imagen_widget import generate\n{line}" in card


def test_code_that_takes_a_picture_from_history_imports_what_it_needs(bench: Bench) -> None:
    bench.make(name="g1")
    bench.does("edit", id="g1", index=0)
    bench.widget.prompt.value = "make it snow"
    bench.make(name="edited")

    (card,) = [c.value for c in bench.of_kind("imagen-card") if "imagen-from" in c.value]
    code = "".join(Reading(card).words)

    assert "from imagen_widget import History, generate\ngenerate('make it snow'" in code
    assert "from imagen_widget import History\n%imagen make it snow" in code


def test_the_code_of_a_model_that_is_not_bundled_is_the_magic_too(bench: Bench) -> None:
    fields = {"prompt": {"type": "string"}, "steps": {"type": "integer"}}
    schema = json.dumps(document("o/a", fields, ["prompt"])).encode()
    bench.studio.session.models.learn("o/a", schema)
    bench.widget.model.value = "o/a"
    bench.widget.fields["steps"].value = "4"
    bench.make()

    card = "".join(Reading(bench.text("imagen-card")).words)

    assert "%imagen a red fox -m o/a --steps 4" in card


def test_two_cards_are_compared_with_what_is_different_and_what_is_the_same(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], open_bench: Callable[..., Bench]
) -> None:
    bench = open_bench(model=NANO)
    bench.make(name="g1", seed=1)
    bench.make(name="g2", seed=2)

    bench.does("compare", id="g1", index=0)
    waiting = [">Now choose a second" in card.value for card in bench.of_kind("imagen-card")]
    assert sorted(waiting) == [False, True]
    bench.does("compare", id="g2", index=0)
    assert not any("Now choose" in card.value for card in bench.of_kind("imagen-card"))

    ((message, buffers),) = to_script(wire, "compare")
    assert [one["id"] for one in message["pictures"]] == ["g1", "g2"]
    assert message["text"] == "A and B · Different: seed · The same: model, prompt"
    assert len(buffers) == 2


def test_a_long_job_that_ended_is_told_to_the_script_with_its_seconds(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], open_bench: Callable[..., Bench]
) -> None:
    bench = open_bench(model=NANO)
    job = bench.press()
    job.goes(Phase.RUNNING, 24.0)
    job.ends(generation(bench.folder, job.request))

    ((message, _),) = to_script(wire, "ended")
    assert message["seconds"] == 24.0


# -------------------------------------------------------------------------------------- history


def fill(studio: Studio, count: int) -> list[Generation]:
    small = {"width": 256, "height": 256}
    return [
        studio.generate(f"fox number {n}", seed=n, model="flux-dev", image_size=small)
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def filled_home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Generation]]:
    """Return a home with fourteen generations, made once."""
    home = tmp_path_factory.mktemp("filled")
    studio = Studio("demo", home=home, demo_seconds=0)
    return home, fill(studio, 14)


@pytest.fixture
def past(tmp_path: Path, filled_home: tuple[Path, list[Generation]]) -> Iterator[Bench]:
    home, made = filled_home
    shutil.copytree(home, tmp_path / "home", dirs_exist_ok=True)
    bench = Bench(tmp_path, settings={"demo_seconds": 0}, model="imagen4")
    bench.made = made  # type: ignore[attr-defined]
    bench.widget.children[2].children[2].value = "history"
    yield bench
    bench.widget.close()


def shown(bench: Bench) -> list[str]:
    return [part.value for part in bench.of_kind("imagen-entry")]


def test_the_history_shows_what_was_made_elsewhere_once_it_is_opened_again(past: Bench) -> None:
    tabs = past.widget.children[2].children[2]
    tabs.value = "create"
    Studio("demo", home=past.folder / "home", demo_seconds=0).generate("an owl", quiet=True)

    tabs.value = "history"

    assert "an owl" in shown(past)[0]
    assert "15 generations" in past.text("imagen-summary")


def test_the_history_shows_twelve_and_more_on_asking(past: Bench) -> None:
    assert len(shown(past)) == 12
    assert "fox number 13" in shown(past)[0]
    assert "14 generations" in past.text("imagen-summary")
    (older,) = past.of_kind("imagen-older")

    older.click()

    assert len(shown(past)) == 14
    assert older.layout.display == "none"


def test_the_history_is_narrowed_by_filters_that_repeat_as_chips(past: Bench) -> None:
    (search,) = past.of_kind("imagen-f-search")

    search.value = "number 7"

    assert len(shown(past)) == 1
    assert "<b>1</b> of 14 generations" in past.text("imagen-summary")
    past.does("unfilter", arg="text")
    assert len(shown(past)) == 12
    search.value = "a blue whale"
    assert "None of 14 generations matches." in past.text("imagen-summary")


def test_the_history_is_narrowed_to_any_model_that_made_pictures(past: Bench) -> None:
    (chosen,) = past.of_kind("imagen-f-model")[1:]

    assert [value for _, value in chosen.options] == ["", "fal-ai/flux/dev"]


def test_two_ticked_entries_are_compared(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], past: Bench
) -> None:
    compare = button(past, "Compare")
    first, second = past.made[-2:]  # type: ignore[attr-defined]
    past.does("tick", id=first.id)
    assert compare.layout.display == "none"
    past.does("tick", id=second.id)
    assert compare.layout.display is None

    compare.click()

    ((message, buffers),) = to_script(wire, "compare")
    assert {one["id"] for one in message["pictures"]} == {first.id, second.id}
    assert "Different: prompt, seed" in message["text"]
    assert len(buffers) == 2


def test_history_says_how_to_pick_a_picture_while_one_is_picked(past: Bench) -> None:
    assert past.text("imagen-picking") == ""

    past.does("history")
    assert "press Edit" in past.text("imagen-picking")
    past.does("edit", id=past.made[0].id, index=0)  # type: ignore[attr-defined]
    past.widget.children[2].children[2].value = "history"

    assert past.text("imagen-picking") == ""


def test_an_entry_gives_its_settings_back_with_its_seed_or_without(past: Bench) -> None:
    newest = past.made[-1]  # type: ignore[attr-defined]

    past.does("use", id=newest.id)
    assert past.widget.prompt.value == "fox number 13"
    assert past.widget.seed.value == ""
    past.time.pass_by(10)
    past.does("again", id=newest.id)

    assert past.jobs[0].request == newest.request


def test_an_entry_is_shown_again_without_a_new_value(past: Bench) -> None:
    newest = past.made[-1]  # type: ignore[attr-defined]

    past.does("show", id=newest.id)

    assert len(past.of_kind("imagen-job")) == 1
    assert past.widget.value is None


def test_stars_are_given_taken_and_looked_for(past: Bench) -> None:
    newest = past.made[-1]  # type: ignore[attr-defined]

    past.does("rate", id=newest.id, arg="4")

    assert 'aria-label="Rating: 4 of 5"' in shown(past)[0]
    assert past.studio.history.rating(newest) == 4
    (stars,) = past.of_kind("imagen-f-stars")
    stars.value = 4
    assert len(shown(past)) == 1


def test_the_ticked_are_deleted_to_the_trash_and_come_back(past: Bench) -> None:
    for made in past.made[-2:]:  # type: ignore[attr-defined]
        past.does("tick", id=made.id)
    assert "<b>2 selected</b> · 2 pictures" in bar(past)
    assert "the bill stays" in bar(past)

    delete, undo = button(past, "Delete"), button(past, "Undo")
    for _ in range(2):  # a double click is one
        delete.click()
    assert "<b>2 deleted</b>" in bar(past)
    assert len(past.studio.history) == 12
    for _ in range(2):
        undo.click()

    assert len(past.studio.history) == 14
    assert "fox number 13" in shown(past)[0]


def test_what_is_deleted_after_an_undo_came_between_has_an_undo_too(
    past: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = History.delete
    for made in past.made[-2:]:  # type: ignore[attr-defined]
        past.does("tick", id=made.id)

    def undone_meanwhile(*args: Any) -> None:
        button(past, "Undo").click()
        delete(*args)

    monkeypatch.setattr(History, "delete", undone_meanwhile)
    button(past, "Delete").click()

    assert len(past.studio.history) == 13
    assert "<b>1 deleted</b>" in bar(past)
    button(past, "Undo").click()
    assert len(past.studio.history) == 14


def test_the_ticked_are_saved_as_one_zip(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], past: Bench
) -> None:
    for made in past.made[-3:]:  # type: ignore[attr-defined]
        past.does("tick", id=made.id)

    button(past, "Save 3 as zip").click()

    ((message, buffers),) = to_script(wire, "download")
    assert message["name"].endswith(".zip")
    assert len(zipfile.ZipFile(io.BytesIO(bytes(buffers[0]))).namelist()) == 3


def test_a_zip_leaves_the_settings_out_if_the_setting_says_so(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], past: Bench
) -> None:
    past.studio.settings = replace(past.studio.settings, provenance=False)
    past.does("tick", id=past.made[-1].id)  # type: ignore[attr-defined]

    button(past, "Save 1 as zip").click()

    ((_, buffers),) = to_script(wire, "download")
    archive = zipfile.ZipFile(io.BytesIO(bytes(buffers[0])))
    assert b"fox number" not in b"".join(archive.read(name) for name in archive.namelist())


def bar(bench: Bench) -> str:
    (box,) = bench.of_kind("imagen-bar-below")
    return str(box.children[0].value)


def button(bench: Bench, text: str) -> Any:
    (found,) = [p for p in tree(bench.widget) if getattr(p, "description", "") == text]
    return found


def test_where_an_edit_came_from_is_shown_and_a_click_goes_there(past: Bench) -> None:
    newest = past.made[-1]  # type: ignore[attr-defined]
    past.does("edit", id=newest.id, index=0)
    past.widget.prompt.value = "make it snow"
    past.make(name="edited")

    (made,) = [c.value for c in past.of_kind("imagen-card") if "imagen-from" in c.value]
    assert newest.id in made
    past.does("show", id=newest.id)

    assert len(past.of_kind("imagen-job")) == 2


def test_an_input_from_history_leads_to_its_pictures(past: Bench) -> None:
    oldest = past.made[0]  # type: ignore[attr-defined]
    past.does("edit", id=oldest.id, index=0)
    assert f'data-do="show" data-id="{oldest.id}"' in past.text("imagen-strip-markup")

    past.does("show", id=oldest.id)

    assert len(past.of_kind("imagen-job")) == 1


def test_a_saved_picture_gives_its_settings_back(bench: Bench, home: Path) -> None:
    made = generate("a snowy owl", model="imagen4", aspect_ratio="16:9", seed=5)
    saved = made[0].save(home / "copy.png")

    bench.widget.load_settings(saved)
    assert bench.widget.prompt.value == "a snowy owl"
    assert (bench.widget.aspect_ratio.value, bench.widget.seed.value) == ("16:9", "5")
    bench.widget.prompt.value = ""
    bench.upload(saved.read_bytes(), purpose="settings")

    assert bench.widget.prompt.value == "a snowy owl"
    bench.upload(png(), purpose="settings")
    assert "carries no settings" in bench.trouble
    with pytest.raises(InvalidRequest, match="cannot be read"):
        bench.widget.load_settings("missing.png")


# ------------------------------------------------------------------------------------- messages


def test_progress_costs_at_most_ten_messages_a_second(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], open_bench: Callable[..., Bench]
) -> None:
    bench = open_bench(model=NANO)
    job = bench.press()
    job.goes(Phase.RUNNING, 0.0)
    bench.time.pass_by(1)
    wire.clear()

    for hundredth in range(1000):
        job.goes(Phase.RUNNING, hundredth / 100)
        bench.time.pass_by(0.01)
    bench.time.pass_by(1)

    updates = [data for kind, data, _ in wire if kind == "comm_msg"]
    assert 20 <= len(updates) <= 100  # ten seconds
    assert bench.widget.status.value.startswith("running 9.")


def test_the_end_is_sent_once_more(
    wire: list[tuple[str, dict[str, Any], list[bytes]]], open_bench: Callable[..., Bench]
) -> None:
    bench = open_bench(model=NANO)
    made = bench.make()
    wire.clear()

    bench.time.pass_by(10)

    states = [d["state"] for kind, d, _ in wire if kind == "comm_msg" and "state" in d]
    assert {"value": made.summary} in states
    assert any("data:image/webp" in str(state.get("value", "")) for state in states)


def test_a_view_that_fails_does_not_stop_the_jobs(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("cannot draw")

    job = bench.press()
    monkeypatch.setattr(bench.widget.status, "set_trait", fail)
    job.ends(generation(bench.folder, job.request))

    assert "could not be drawn" in caplog.text
    assert bench.widget._controller.state.latest is not None


# ---------------------------------------------------------------------------------------- close


def test_closing_frees_every_widget_layout_and_style(
    tmp_path: Path, filled_home: tuple[Path, list[Generation]]
) -> None:
    shutil.copytree(filled_home[0], tmp_path / "home", dirs_exist_ok=True)
    before = count_widgets()
    bench = Bench(tmp_path, model=NANO)
    for number in range(10):
        bench.make(name=f"g{number}")
    for model in (FLUX, EDIT, "someone/something", "fal-ai/qwen-image"):
        bench.widget.model.value = model
        _ = bench.widget.resolution
    bench.widget.children[2].children[2].value = "history"

    bench.widget.close()
    bench.widget.close()

    assert count_widgets() == before
    assert repr(bench.widget) == "<ImagenWidget: closed>"
    assert bench.widget._repr_mimebundle_() == {"text/plain": "<ImagenWidget: closed>"}


def test_old_rows_are_freed_as_new_ones_come(bench: Bench) -> None:
    counts = []
    for number in range(30):
        bench.make(name=f"g{number}")
        counts.append(count_widgets())

    assert len(set(counts[-10:])) == 1
    assert "The pictures of 24 earlier jobs are in History." in bench.text("imagen-earlier")


# -------------------------------------------------------------------------------------- display


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what is displayed and updated, in order."""
    import IPython.display

    sent: list[Any] = []
    for name in ("display", "update_display"):
        monkeypatch.setattr(IPython.display, name, lambda bundle, **_: sent.append(bundle))
    return sent


def test_without_a_kernel_a_note_stands_in_for_the_form(bench: Bench) -> None:
    bundle = bench.widget._repr_mimebundle_()

    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "needs a running kernel" in bundle["text/html"]
    assert "below" not in bundle["text/html"]
    assert bundle["text/plain"] == "<ImagenWidget: Ready>"


def test_who_sees_the_pictures_in_the_notebook_finds_them_as_the_value(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    import IPython.display

    values: list[object] = []
    monkeypatch.setattr(IPython.display, "display", lambda *_, **__: None)
    monkeypatch.setattr(
        IPython.display, "update_display", lambda *_, **__: values.append(bench.widget.value)
    )
    bench.widget._ipython_display_()
    values.clear()

    made = bench.make()

    assert values
    assert values[0] is made


def test_an_observer_that_fails_costs_no_picture_in_the_notebook(
    displayed: list[Any], bench: Bench
) -> None:
    def fail(_: object) -> None:
        raise OSError("No space left on the device.")

    bench.widget._ipython_display_()
    bench.widget.observe(fail, "value")

    made = bench.make()

    assert bench.widget.value is made
    assert "data:image/webp" in displayed[-1]["text/html"]


def test_no_prompt_below_the_form_is_typeset_as_a_formula(
    displayed: list[Any], bench: Bench
) -> None:
    bench.widget._ipython_display_()
    bench.widget.prompt.value = "a fox for $5 and an owl for $6"
    bench.make(name="g1")
    bench.make(name="g2")

    html = displayed[-1]["text/html"]

    assert "for $5 and an owl for $6 · " in html
    assert re.search('<div class="imagen-kept [^"]*mathjax_ignore tex2jax_ignore"', html)


def test_thirty_jobs_leave_all_their_pictures_in_the_notebook_within_the_budget(
    bench: Bench, displayed: list[Any]
) -> None:
    bench.widget._ipython_display_()

    for number in range(30):
        bench.make(name=f"g{number}", count=4)

    kept = displayed[-1]
    assert kept["text/html"].count("data:image/") == 120
    assert len(json.dumps(kept)) <= 2_000_000
    assert "only in History" not in kept["text/html"]
    assert "image/jpeg" in kept
    assert "stand below" in kept["text/html"]


def test_what_only_history_has_is_counted(
    bench: Bench, displayed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_widget._widget.kept.MAX_KEPT_BYTES", 610_000)
    bench.widget._ipython_display_()

    for number in range(30):
        bench.make(name=f"g{number}", count=4)

    html = displayed[-1]["text/html"]
    there = html.count("data:image/")
    assert f"{there} pictures are kept here, {120 - there} earlier ones only in History." in html


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


def all_markup(bench: Bench) -> list[str]:
    """Return all markup of a widget, without the pictures' own bytes."""
    found = [p for p in tree(bench.widget) if isinstance(p, ipywidgets.HTML)]
    return [p.value for p in found if "imagen-sheet" not in p._dom_classes]


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_stays_text_in_all_markup(open_bench: Callable[..., Bench], text: str) -> None:
    read = {}
    for words in ("harmless", text):
        bench = open_bench(model=EDIT, prompt=words, image=png())
        bench.upload(png(colour="red"), name=words)
        made = bench.make(name=words)
        bench.does("save", id=made.id, index=0)
        job = bench.press()
        job.goes(Phase.RUNNING, 1.0, words)
        bench.time.pass_by(1)
        job.ends(QueueError(words, remedy=words))
        read[words] = [Reading(markup) for markup in all_markup(bench)]

    assert [r.elements for r in read[text]] == [r.elements for r in read["harmless"]]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_status_of_foreign_text_is_shown_to_the_letter(bench: Bench, text: str) -> None:
    job = bench.press()
    bench.time.pass_by(1)
    job.progress = replace(job.progress, note=text)
    job.goes(Phase.RUNNING, 1.0, text)

    reading = Reading(bench.widget.status.value)

    assert reading.elements == []
    assert "".join(reading.words) == text


def test_no_control_of_the_widget_typesets_formulas(bench: Bench) -> None:
    assert not {type(p) for p in tree(bench.widget)} & {ipywidgets.Label, ipywidgets.HTMLMath}


def test_the_representation_does_not_tell_the_prompt(bench: Bench) -> None:
    assert "fox" not in repr(bench.widget)
    assert ImageRequest.create("a fox").prompt == "a fox"


def test_the_representation_can_be_printed_on_any_stream(bench: Bench) -> None:
    bench.press().goes(Phase.RUNNING, 1.0, "<Drawing> · 雪")

    assert repr(bench.widget) == "<ImagenWidget: <Drawing>, \\u96ea>"
