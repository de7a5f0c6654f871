"""The widget in each front end: type, choose, generate, see, cancel, err, retry, save."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.widget_page import MEAN_COLOUR, open_widget

if TYPE_CHECKING:
    from tests.browser.jupyter_server import JupyterServer

pytestmark = pytest.mark.browser

FOCUSED = """() => {
    const node = document.activeElement;
    if (!node?.closest(".imagen")) return "";
    return node.innerText || node.ariaLabel || node.title || node.tagName;
}"""
MOST_COLOUR_DIFFERENCE = 12  # of 255: the picture on the page is a small WebP copy


def kept_pictures(server: JupyterServer) -> set[str]:
    """Return the paths of all pictures that the server's kernels have kept."""
    folder = server.home / "imagen" / "images"
    return {str(path) for path in folder.rglob("sha256-*") if ".part" not in path.name}


def test_the_colours_on_the_page_are_those_of_the_picture_on_disk(
    page: Page, server: JupyterServer
) -> None:
    widget = open_widget(page, server, "colours.ipynb")
    before = kept_pictures(server)
    widget.button("16:9").click()

    widget.make_and_wait("a red fox in the colours of this test")

    (path,) = kept_pictures(server) - before
    with Image.open(path) as kept:
        assert kept.width > kept.height
        true = kept.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    shown = widget.cards.locator("img").first.evaluate(MEAN_COLOUR)
    assert isinstance(true, tuple)
    assert all(abs(a - b) <= MOST_COLOUR_DIFFERENCE for a, b in zip(true, shown, strict=True)), (
        true,
        shown,
    )
    expect(widget.status).to_contain_text("1 image · ")
    expect(widget.cards.locator(".imagen-open img")).to_have_attribute(
        "alt", "a red fox in the colours of this test"
    )


def test_a_double_click_is_one_job(page: Page, server: JupyterServer) -> None:
    widget = open_widget(page, server, "double.ipynb")
    before = kept_pictures(server)
    widget.prompt.fill(f"a double fox in {server.front_end}")

    widget.generate.dblclick()

    expect(widget.cards).to_have_count(1)
    expect(widget.root.locator(".imagen-job")).to_have_count(1)
    assert len(kept_pictures(server) - before) == 1


def test_a_cancelled_job_says_so_and_shows_no_picture(page: Page, server: JupyterServer) -> None:
    widget = open_widget(page, server, "cancel.ipynb")
    widget.make("a slow fox [demo:slow=60]")
    expect(widget.status).to_contain_text(re.compile(r"\d s · demo"))

    widget.button("Cancel").click()

    expect(widget.status).to_have_text("Cancelled, not billed.")
    expect(widget.cards).to_have_count(0)
    expect(widget.button("Cancel")).to_be_disabled()


def test_an_error_says_what_to_do_and_retry_starts_again(page: Page, server: JupyterServer) -> None:
    widget = open_widget(page, server, "error.ipynb")
    widget.make("a lost fox [demo:fail] [demo:slow=2]")
    expect(widget.trouble).to_contain_text("run it again")
    expect(widget.status).to_contain_text("Failed after")

    widget.button("Retry").click()

    expect(widget.trouble).to_be_hidden()
    expect(widget.status).to_contain_text(" s · demo")
    expect(widget.trouble).to_be_visible()
    expect(widget.cards).to_have_count(0)


def test_the_form_follows_the_model(page: Page, server: JupyterServer) -> None:
    widget = open_widget(page, server, "model.ipynb")
    model = widget.root.get_by_role("combobox", name="Model")

    model.select_option("Imagen 4 Fast")
    expect(widget.button("2K")).to_be_hidden()
    model.select_option("Nano Banana 2")

    expect(widget.button("4K")).to_be_visible()
    expect(widget.button("21:9")).to_be_visible()


def test_save_downloads_the_original_file(page: Page, server: JupyterServer) -> None:
    widget = open_widget(page, server, "save.ipynb")
    before = kept_pictures(server)
    widget.make_and_wait("a fox to keep")
    (path,) = kept_pictures(server) - before

    with page.expect_download() as download:
        widget.button("Save").click()

    saved = download.value.path()
    with Image.open(saved) as copy, Image.open(path) as kept:
        assert copy.tobytes() == kept.tobytes()
        assert "a fox to keep" in str(copy.info)
    expect(widget.root.get_by_text(download.value.suggested_filename)).to_be_visible()


def test_a_picture_opens_large_and_escape_closes_it(page: Page, server: JupyterServer) -> None:
    widget = open_widget(page, server, "large.ipynb", "num_images=2")
    widget.make_and_wait("a large fox", pictures=2)
    first, second = (widget.root.get_by_role("dialog", name=f"Image {n} of 2") for n in (1, 2))

    widget.cards.first.get_by_role("button", name="Open large").click()
    expect(first).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(second).to_be_visible()
    expect(first).to_be_hidden()
    page.keyboard.press("Escape")

    expect(second).to_be_hidden()


def test_the_settings_can_be_copied_as_code(page: Page, server: JupyterServer) -> None:
    widget = open_widget(page, server, "code.ipynb", "aspect_ratio='3:4'")
    widget.make_and_wait("a fox as code")

    widget.button("Copy as code").click()

    dialog = widget.root.get_by_role("dialog", name="These settings as code")
    expect(dialog.get_by_text("%imagen a fox as code --ar 3:4")).to_be_visible()
    expect(dialog.get_by_text("generate('a fox as code', aspect_ratio='3:4')")).to_be_visible()


def test_all_of_it_works_by_keyboard_alone(page: Page, server: JupyterServer) -> None:
    widget = open_widget(page, server, "keyboard.ipynb")
    widget.prompt.focus()
    page.keyboard.type("a fox by keyboard")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("on two lines")

    page.keyboard.press("ControlOrMeta+Enter")

    expect(widget.cards).to_have_count(1)
    assert widget.prompt.input_value() == "a fox by keyboard\non two lines"
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED).strip())
    for stop in ("16:9", "Images", "2K", "Advanced", "Generate", "Save"):
        assert stop in reached, (stop, reached)
