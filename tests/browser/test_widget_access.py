"""The widget for everybody: axe-core finds nothing, hostile texts stay texts, narrow pages hold."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import violations
from tests.browser.jupyter_server import FrontEnd, JupyterServer
from tests.browser.widget_page import CELL, WidgetPage, open_cells, open_widget
from tests.hostile import HOSTILE

pytestmark = pytest.mark.browser

DARK = "&theme=dark"  # for Voila; in the others both themes are looked at in each state
FOX = ".github/images/form-light.webp"

SHOW = """
for text in texts[-6:]:
    await widget.generate(prompt=text)
widget.model.value = texts[0]
widget.prompt.value = "\\n".join(texts)
"""


@pytest.mark.parametrize(
    ("front_end", "query"), [("lab", ""), ("notebook", ""), ("voila", ""), ("voila", DARK)]
)
def test_axe_finds_nothing_in_any_state(
    page: Page, serve: Callable[[FrontEnd], JupyterServer], front_end: FrontEnd, query: str
) -> None:
    server = replace(serve(front_end), query=query)
    themes = (None,) if front_end == "voila" else ("dark", "light")
    objections = partial(violations, page, themes=themes)
    widget = open_widget(page, server, "num_images=2")
    found = {"idle": objections(".imagen")}

    widget.make("a fox in the queue [demo:slow=60]")
    expect(widget.status).to_contain_text(" s · demo")
    found["running"] = objections(".imagen")
    widget.button("Cancel").click()
    expect(widget.status).to_have_text("Cancelled, not billed.")
    widget.make("a lost fox [demo:fail]")
    expect(widget.trouble).to_be_visible()
    found["error"] = objections(".imagen")

    widget.root.locator(".imagen-pick").click()
    found["chooser"] = objections(".imagen")
    page.keyboard.press("Escape")
    widget.choose("qwen image")
    widget.button("Advanced").click()
    widget.root.get_by_role("textbox", name="LoRAs").fill("[{")
    page.keyboard.press("Tab")
    expect(widget.generate).to_be_disabled()
    found["advanced and a bad value"] = objections(".imagen")
    widget.choose("nano banana 2")

    widget.make_and_wait("two foxes", pictures=2)
    found["done"] = objections(".imagen")
    widget.cards.first.get_by_role("button", name="Open large").click()
    found["large"] = objections("dialog.imagen-view", unsure=True)
    page.keyboard.press("Escape")
    widget.button("Copy as code").first.click()
    found["code"] = objections(".imagen")
    page.keyboard.press("Escape")
    for card in (widget.cards.first, widget.cards.last):
        card.get_by_role("button", name="Compare").click()
    expect(widget.dialog).to_be_visible()
    found["compare"] = objections("dialog.imagen-view", unsure=True)
    page.keyboard.press("Escape")

    widget.button("Edit").first.click()
    expect(widget.inputs).to_have_count(1)
    widget.choose("fal-ai/gpt-image-1.5/edit")
    widget.button("Paint a mask").click()
    expect(widget.root.locator(".imagen-mask-editor")).to_be_visible()
    found["mask"] = objections(".imagen")
    widget.button("Done").click()
    expect(widget.root.locator(".imagen-mask-editor")).to_have_count(0)

    widget.button("History").click()
    expect(widget.entries.first).to_be_visible()
    found["history"] = objections(".imagen")
    widget.root.get_by_role("checkbox").first.click()
    expect(widget.button("Save 1 as zip")).to_be_visible()
    found["ticked"] = objections(".imagen")

    assert {state: objections for state, objections in found.items() if objections} == {}


def test_what_is_chosen_shows_in_the_colours_of_the_system(page: Page, lab: JupyterServer) -> None:
    widget = open_widget(page, lab)
    page.emulate_media(forced_colors="active", color_scheme="dark")

    def looks(name: str) -> object:
        return widget.button(name).evaluate("(node) => getComputedStyle(node).borderTopColor")

    assert looks("Create") != looks("History")
    widget.root.locator(".imagen-pick").click()
    colours = "(node) => [getComputedStyle(node).color, getComputedStyle(document.body).color]"
    option = widget.root.locator(".imagen-at")
    text, ordinary = option.evaluate(colours)
    assert text == ordinary  # on the system's background, where ours may not be seen
    expect(option).to_have_css("outline-style", "solid")
    widget.button("edit").click()
    shade = widget.button("edit").evaluate("(node) => getComputedStyle(node).backgroundColor")
    assert "/" not in shade
    page.keyboard.press("Escape")


def test_hostile_texts_are_shown_and_none_of_them_acts(page: Page, server: JupyterServer) -> None:
    foreign: list[str] = []
    page.on("request", lambda r: foreign.append(r.url) if ":9/" in r.url else None)
    widget = open_cells(
        page, server, "hostile.ipynb", [CELL.format(""), f"texts = {HOSTILE!r}", SHOW]
    )
    expect(widget.root.locator(".imagen-job")).to_have_count(6)
    expect(widget.trouble).to_be_visible()

    shown = widget.root.inner_text()
    typed = widget.prompt.input_value()
    page.wait_for_function("() => document.fonts.ready.then(() => true)")

    for text in HOSTILE:
        assert text in typed
    for text in HOSTILE[-6:]:
        printed = "".join(c if c.isprintable() else " " for c in text)  # no marks that turn a text
        assert " ".join(printed.split())[:80] in " ".join(shown.split()), text
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.querySelectorAll('.imagen script, .imagen iframe').length") == 0
    assert foreign == []


@pytest.mark.parametrize("width", [360, 420])
def test_a_narrow_page_of_voila_needs_no_sideways_scrolling(
    page: Page, voila: JupyterServer, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 1600})
    widget = open_widget(page, voila, "num_images=4, model='nano-banana-2-edit'")
    widget.give_file("drop", Path(__file__).parents[2].joinpath(FOX).read_bytes())
    expect(widget.inputs).to_have_count(1)
    widget.make_and_wait("a narrow fox", pictures=4)
    widget.button("Advanced").click()
    found = {"create": overflow(widget)}
    widget.root.locator(".imagen-pick").click()
    found["chooser"] = overflow(widget, ".imagen-picker")
    page.keyboard.press("Escape")
    widget.button("History").click()
    expect(widget.entries.first).to_be_visible()
    found["history"] = overflow(widget)

    assert found == {"create": [], "chooser": [], "history": []}
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_large_view_fits_any_page(page: Page, lab: JupyterServer) -> None:
    widget = open_widget(page, lab, "model='nano-banana-2', resolution='2K', aspect_ratio='16:9'")
    widget.make_and_wait("a wide fox", pictures=1)
    found = {}
    for width in (360, 640, 768, 820, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        widget.root.get_by_role("button", name="Open large").click()
        expect(widget.dialog.get_by_role("button", name="Close")).to_be_in_viewport(ratio=1)
        found[width] = overflow(widget, "dialog.imagen-view")
        page.keyboard.press("Escape")

    assert not any(found.values()), found


def test_nothing_in_a_narrow_form_of_voila_moves_as_a_job_runs(
    page: Page, voila: JupyterServer
) -> None:
    page.set_viewport_size({"width": 400, "height": 1600})
    widget = open_widget(page, voila)
    before = top_of_jobs(widget)

    widget.make("a slow fox [demo:slow=60]")
    expect(widget.status).to_contain_text(" s · demo")
    expect(widget.root.get_by_role("progressbar")).to_be_visible()
    running = top_of_jobs(widget)
    widget.button("Cancel").click()
    expect(widget.status).to_have_text("Cancelled, not billed.")

    assert (running, top_of_jobs(widget)) == (before, before)


def top_of_jobs(widget: WidgetPage) -> int:
    """Return how far below the form's top the pictures begin, in pixels."""
    boxes = (widget.root.bounding_box(), widget.root.locator(".imagen-jobs").bounding_box())
    top, jobs = (box["y"] for box in boxes if box is not None)
    return round(jobs - top)


def test_what_is_refused_is_brought_into_view_in_voila(page: Page, voila: JupyterServer) -> None:
    page.set_viewport_size({"width": 400, "height": 360})
    widget = open_widget(page, voila, "model='kontext', prompt='make it night'")

    widget.generate.click()

    expect(widget.status).to_have_text("Not sent")
    expect(widget.trouble).to_be_in_viewport(ratio=1)


def overflow(widget: WidgetPage, within: str = "") -> list[str]:
    """Return the classes of what reaches beyond the widget, or beyond a part of it."""
    part = widget.root.locator(within) if within else widget.root
    found = part.evaluate("""root => [...root.querySelectorAll("*")]
        .filter((e) => e.checkVisibility() && !e.closest(".imagen-unseen"))
        .filter((e) => root.matches("[popover], dialog") || !e.closest("[popover], dialog"))
        .filter((e) => e.getBoundingClientRect().right > root.getBoundingClientRect().right + 1)
        .map((e) => e.className)""")
    return list(found)
