"""The widget in each front end: type, choose, generate, see, edit, compare, cancel, err, save."""

import base64
import io
import re
import zipfile
from collections.abc import Callable

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.browser.jupyter_server import JupyterServer
from tests.browser.notebook_page import open_notebook, run_all
from tests.browser.widget_page import GIVE_FILE, MEAN_COLOUR, WidgetPage, kept_pictures

pytestmark = pytest.mark.browser

Form = Callable[..., WidgetPage]

FOCUSED = """() => {
    const node = document.activeElement;
    if (!node?.closest(".imagen")) return "";
    return node.innerText || node.ariaLabel || node.title || node.placeholder || node.tagName;
}"""
EDIT_AND_CHOOSE = """(root) => {
    const edit = root.querySelector("[data-do=edit]");
    edit.focus();
    edit.click();
    root.querySelector(".imagen-pick").click();
}"""
# A click, and what the user goes on to before the kernel has answered
PAINT_AND_TYPE = """(root) => {
    const paint = root.querySelector("[data-do=mask]");
    paint.focus();
    paint.click();
    root.querySelector(".imagen-f-prompt textarea").focus();
}"""
COMPARE_AND_TYPE = """(root) => {
    const second = [...root.querySelectorAll("[data-do=compare]")].at(-1);
    second.focus();
    second.click();
    root.querySelector(".imagen-f-prompt textarea").focus();
}"""
DROP_AND_GENERATE = f"""(node, given) => {{
    ({GIVE_FILE})(node, given);
    node.closest(".imagen").querySelector(".imagen-generate").click();
}}"""
CLICK = "(node) => node.click()"
KERNEL_RUNS = """(code) =>
    jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code }).done"""
SLOW_PROMPT = "import time; widget.prompt.observe(lambda _: time.sleep(1), 'value')"
KERNEL_ANSWERS = """() =>
    jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestKernelInfo()"""
MAX_COLOUR_DIFFERENCE = 12  # of 255: the picture on the page is a small WebP copy
MASKED = "model='fal-ai/gpt-image-1.5/edit'"
CELLS = "() => jupyterapp.shell.currentWidget.content.widgets.map((cell) => cell.model.type)"


def png(colour: str = "teal", size: tuple[int, int] = (80, 60)) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", size, colour).save(sink, "PNG")
    return sink.getvalue()


# ------------------------------------------------------------------------------ from text


def test_the_colours_on_the_page_are_those_of_the_picture_on_disk(
    form: Form, server: JupyterServer
) -> None:
    widget = form()
    before = kept_pictures(server)
    widget.button("16:9").click()

    widget.make_and_wait("a red fox in the colours of this test")

    (path,) = kept_pictures(server) - before
    with Image.open(path) as kept:
        assert kept.width > kept.height
        true = kept.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    shown = widget.cards.locator("img").first.evaluate(MEAN_COLOUR)
    assert isinstance(true, tuple)
    assert all(abs(a - b) <= MAX_COLOUR_DIFFERENCE for a, b in zip(true, shown, strict=True)), (
        true,
        shown,
    )
    expect(widget.status).to_contain_text("1 image · ")
    expect(widget.cards.locator(".imagen-open img")).to_have_attribute(
        "alt", "a red fox in the colours of this test"
    )


def test_a_double_click_is_one_job(form: Form, server: JupyterServer) -> None:
    widget = form()
    before = kept_pictures(server)
    widget.prompt.fill(f"a double fox in {server.front_end}")

    widget.generate.dblclick()

    expect(widget.cards).to_have_count(1)
    expect(widget.root.locator(".imagen-job")).to_have_count(1)
    assert len(kept_pictures(server) - before) == 1


@pytest.mark.parametrize("keys", [["Control", "Enter"], ["Enter"]])
def test_keys_that_are_held_are_one_job(lab_form: Form, keys: list[str]) -> None:
    widget = lab_form("prompt='a slow fox [demo:slow=60]'")
    (widget.generate if keys == ["Enter"] else widget.prompt).focus()

    for key in keys:
        widget.page.keyboard.down(key)
    expect(widget.button("Cancel").first).to_be_enabled()
    expect(widget.generate).to_be_enabled()
    widget.page.keyboard.down("Enter")
    for key in keys:
        widget.page.keyboard.up(key)

    widget.make_and_wait("an owl")
    expect(widget.root.locator(".imagen-job")).to_have_count(2)


def test_a_bad_value_that_is_mended_goes_out_by_the_keys(lab_form: Form) -> None:
    widget = lab_form("prompt='a fox'")
    seed = widget.root.get_by_role("textbox", name="Seed")
    seed.fill("twelve")
    widget.page.keyboard.press("Control+Enter")
    expect(widget.generate).to_be_disabled()

    seed.fill("12")
    widget.page.keyboard.press("Control+Enter")

    expect(widget.status).to_contain_text("1 image")
    expect(widget.status).to_contain_text("seed 12")


def test_a_cancelled_job_says_so_and_shows_no_picture(form: Form) -> None:
    widget = form()
    widget.make("a slow fox [demo:slow=60]")
    expect(widget.status).to_contain_text(re.compile(r"\d s · demo"))

    widget.button("Cancel").click()

    expect(widget.status).to_have_text("Cancelled, not billed.")
    expect(widget.cards).to_have_count(0)
    expect(widget.button("Cancel")).to_be_disabled()


def test_a_double_click_on_cancel_cancels_one_job(lab_form: Form) -> None:
    widget = lab_form()
    for number, name in enumerate(("a fox", "an owl"), 1):
        widget.make(f"{name} [demo:slow=60]")
        expect(widget.root.locator(".imagen-job")).to_have_count(number)
        expect(widget.generate).to_be_enabled()

    keep_waiting(widget)
    widget.button("Cancel").first.dblclick()
    expect(widget.root.locator(".imagen-job")).to_have_count(1)

    widget.button("Cancel").click()
    expect(widget.status).to_have_text("Cancelled, not billed.")


def test_a_model_is_that_of_the_next_click_though_the_kernel_is_behind(lab_form: Form) -> None:
    widget = lab_form("model='nano-banana-2'")

    keep_waiting(widget)
    widget.choose("flux dev")
    widget.generate.click()

    expect(widget.status).to_contain_text("flux-dev")
    expect(widget.cards).to_have_count(1)


def keep_waiting(widget: WidgetPage) -> None:
    """Type a prompt that the kernel needs a while for, so that the clicks that follow queue."""
    widget.page.evaluate(KERNEL_RUNS, SLOW_PROMPT)
    widget.prompt.fill("a patient fox")


def test_an_error_is_said_once_and_retry_starts_again(form: Form) -> None:
    widget = form()
    widget.make("a lost fox [demo:fail] [demo:slow=2]")
    expect(widget.trouble).to_contain_text("run it again")
    expect(widget.status).to_contain_text("Failed after")
    said = widget.trouble.locator("strong").inner_text()
    assert widget.root.inner_text().count(said) == 1

    widget.button("Retry").click()

    expect(widget.trouble).to_be_hidden()
    expect(widget.status).to_contain_text(" s · demo")
    expect(widget.trouble).to_be_visible()
    expect(widget.cards).to_have_count(0)


def test_the_form_follows_the_model_and_any_endpoint_can_be_typed(form: Form) -> None:
    widget = form()
    expect(widget.button("2K")).to_be_visible()

    widget.choose("flux dev")
    expect(widget.button("2K")).to_be_hidden()
    width = widget.root.get_by_role("spinbutton", name="Width")
    expect(width).to_be_hidden()
    widget.button("custom").click()
    expect(width).to_be_visible()
    widget.choose("nano banana 2")
    expect(widget.button("4K")).to_be_visible()
    expect(widget.button("21:9")).to_be_visible()
    widget.choose("someone/some-new-model")

    expect(widget.root.locator(".imagen-pick")).to_contain_text("someone/some-new-model")
    expect(widget.root.get_by_role("textbox", name="Other fields")).to_be_visible()


def test_the_chooser_is_searched_and_narrowed(form: Form) -> None:
    widget = form()
    widget.root.locator(".imagen-pick").click()
    options = widget.root.get_by_role("option")
    everything = options.count()

    widget.button("mask").click()
    assert 0 < options.count() < everything
    expect(widget.chooser).to_be_focused()
    widget.page.keyboard.type("gpt 1.5")
    expect(options.first).to_contain_text("GPT Image 1.5")
    foot = widget.root.locator(".imagen-pick-foot")
    expect(foot).to_contain_text("Enter choose")
    widget.chooser.fill("gpt imgae")  # letters in the wrong order
    expect(options.first).to_contain_text("GPT Image")
    expect(foot).to_contain_text("Did you mean one of these?")
    widget.chooser.fill("(nothing")
    expect(options).to_have_count(0)
    expect(foot).to_contain_text("None like that")
    widget.page.keyboard.press("Escape")

    expect(widget.chooser).to_be_hidden()
    assert widget.page.evaluate(FOCUSED).startswith("Imagen 4")
    widget.button("16:9").click()
    expect(widget.button("Aspect ratio: leave it to the model")).to_be_visible()
    expect(widget.trouble).to_be_hidden()  # what was searched for is no model


def test_json_that_does_not_parse_greys_generate_and_says_where(lab_form: Form) -> None:
    widget = lab_form("model='qwen-image', prompt='a fox'")
    widget.button("Advanced").click()

    text = widget.root.get_by_role("textbox", name="LoRAs")
    text.fill('[{"path":"x"]')
    widget.page.keyboard.press("Tab")

    expect(widget.root.get_by_text("line 1, column 13")).to_be_visible()
    expect(widget.generate).to_be_disabled()
    expect(widget.root.locator(".imagen-stop")).to_contain_text("first")
    text.fill('[{"path":"x"}]')

    expect(widget.generate).to_be_enabled()  # at a pause, so that the next click is heard
    expect(text).to_have_value('[{"path":"x"}]')


def test_a_field_is_given_and_left_to_the_model_again(form: Form) -> None:
    widget = form()
    expect(widget.button("1:1")).to_have_attribute("title", "the model's default")
    widget.button("16:9").click()
    expect(widget.button("1:1")).to_have_attribute("title", "")
    leave = widget.button("Aspect ratio: leave it to the model")

    leave.click()

    expect(leave).to_be_hidden()
    expect(widget.button("1:1")).to_have_attribute("aria-pressed", "true")


# -------------------------------------------------------------------------------- pictures


def test_save_downloads_the_original_file(form: Form, server: JupyterServer) -> None:
    widget = form()
    before = kept_pictures(server)
    widget.make_and_wait("a fox to keep")
    (path,) = kept_pictures(server) - before

    with widget.page.expect_download() as download:
        widget.button("Save").click()

    with Image.open(download.value.path()) as copy, Image.open(path) as kept:
        assert copy.tobytes() == kept.tobytes()
        assert "a fox to keep" in str(copy.info)


def test_a_picture_opens_large_as_the_original_with_arrows_zoom_and_escape(form: Form) -> None:
    widget = form("num_images=2, resolution='2K'")
    widget.make_and_wait("a large fox", pictures=2)
    picture = widget.dialog.get_by_role("img")

    widget.cards.first.get_by_role("button", name="Open large").click()
    expect(widget.dialog).to_contain_text("a large fox")
    widget.page.wait_for_function(
        "document.querySelector('dialog.imagen-view img').naturalWidth > 1500"
    )
    expect(widget.button("Previous")).to_be_disabled()
    widget.page.keyboard.press("ArrowRight")
    expect(widget.button("Next")).to_be_disabled()
    before = picture.bounding_box()
    widget.page.keyboard.press("+")
    after = picture.bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] > before["width"]
    widget.dialog.get_by_role("button", name="Copy").click()
    expect(widget.dialog.get_by_role("button", name="Copied")).to_be_visible()
    copied = "navigator.clipboard.read().then(([item]) => item.types.join())"
    assert widget.page.evaluate(copied) == "image/png"
    expect(widget.dialog.get_by_role("button", name="Copy", exact=True)).to_be_visible()
    widget.page.keyboard.press("Escape")

    expect(widget.dialog).to_be_hidden()


def test_two_cards_are_compared_with_a_slider(form: Form) -> None:
    widget = form("num_images=2")
    widget.make_and_wait("a fox beside a fox", pictures=2)

    for card in (widget.cards.first, widget.cards.last):
        card.get_by_role("button", name="Compare").click()

    expect(widget.dialog).to_contain_text("The same: model, prompt")
    expect(widget.dialog.get_by_role("img")).to_have_count(2)
    slider = widget.dialog.get_by_role("slider", name="From A to B")
    slider.fill("20")
    assert "20%" in str(widget.dialog.locator(".imagen-stage").get_attribute("style"))
    widget.page.keyboard.press("Escape")


def test_the_settings_can_be_copied_as_code(form: Form) -> None:
    widget = form("aspect_ratio='3:4', model='nano-banana-2'")
    widget.make_and_wait("a fox as code")

    widget.button("Copy as code").click()

    dialog = widget.root.get_by_role("dialog", name="These settings as code")
    magic = re.compile(r"%imagen a fox as code -m nano-banana-2 --ar 3:4 -s \d+")
    expect(dialog.get_by_text(magic)).to_be_visible()
    python = "generate('a fox as code', model='nano-banana-2', aspect_ratio='3:4', seed="
    expect(dialog.get_by_text(python)).to_be_visible()
    widget.page.keyboard.press("Escape")


def test_same_again_keeps_the_seed_and_vary_makes_four(form: Form) -> None:
    widget = form("model='nano-banana-2'")
    widget.make_and_wait("a fox to repeat")
    seed = re.search(r"seed (\d+)", widget.status.inner_text())
    assert seed is not None

    widget.button("Same again").click()
    expect(widget.cards).to_have_count(2)
    expect(widget.status).to_contain_text(f"seed {seed[1]}")
    widget.button("Vary").first.click()

    expect(widget.cards).to_have_count(6)


# ------------------------------------------------------------------------------ pictures in


def test_pictures_are_uploaded_dropped_and_pasted_ordered_and_removed(form: Form) -> None:
    widget = form("model='nano-banana-2-edit'")

    with widget.page.expect_file_chooser() as chooser:
        widget.button("Drop, paste or choose").click()
    file: FilePayload = {"name": "red.png", "mimeType": "image/png", "buffer": png("red")}
    chooser.value.set_files([file])
    expect(widget.inputs).to_have_count(1)
    widget.give_file("drop", png("blue"), "blue.png")
    expect(widget.inputs).to_have_count(2)
    widget.give_file("paste", png("lime"), "lime.png")
    expect(widget.inputs).to_have_count(3)

    widget.inputs.last.click()
    widget.button("Move left").click()
    expect(widget.inputs.nth(1)).to_have_attribute("aria-label", "Picture 2: lime.png")
    widget.inputs.first.drag_to(widget.inputs.last)
    expect(widget.inputs.last).to_have_attribute("aria-label", "Picture 3: red.png")
    widget.button("Remove").click()

    expect(widget.inputs).to_have_count(2)


def test_a_card_is_edited_twice_and_says_where_it_came_from(form: Form) -> None:
    widget = form("model='nano-banana-2'")
    widget.make_and_wait("a fox to edit")

    widget.button("Edit").click()
    expect(widget.inputs).to_have_count(1)
    expect(widget.root.locator(".imagen-pick")).to_contain_text("Edit")
    widget.make_and_wait("make it night")
    widget.cards.first.get_by_role("button", name="Edit", exact=True).click()
    expect(widget.prompt).to_have_value("")
    widget.make_and_wait("make it snow")

    origin = widget.cards.first.get_by_role("button", name='of "make it night"')
    expect(origin).to_be_visible()
    origin.click()
    expect(widget.root.locator(".imagen-job")).to_have_count(3)


def test_a_mask_is_painted_erased_and_sent(form: Form) -> None:
    widget = form(MASKED)
    widget.give_file("drop", png("teal", (640, 480)))
    expect(widget.inputs).to_have_count(1)

    widget.button("Paint a mask").click()
    painted = widget.root.locator(".imagen-mask-editor [role=status]")
    expect(painted).to_have_text("0 % painted")
    widget.paint((0.1, 0.2), (0.9, 0.2))
    expect(painted).not_to_have_text("0 % painted")
    more = painted.inner_text()
    widget.page.keyboard.press("e")
    expect(widget.button("Eraser")).to_have_attribute("aria-pressed", "true")
    widget.paint((0.6, 0.2), (0.9, 0.2))
    expect(painted).not_to_have_text(more)
    widget.page.keyboard.press("ControlOrMeta+z")
    expect(painted).to_have_text(more)
    widget.button("Brush").click()
    size = widget.root.get_by_role("slider", name="Brush size")
    thin = int(size.input_value())
    widget.page.keyboard.press("]")
    assert int(size.input_value()) > thin
    widget.button("Done").click()

    expect(widget.inputs.first.get_by_text("mask", exact=True)).to_be_visible()
    widget.make_and_wait("a lake in the sky")
    widget.button("Change the mask").click()
    expect(painted).to_have_text(more)
    widget.button("Remove mask").click()
    expect(widget.inputs.first.get_by_text("mask", exact=True)).to_be_hidden()


def test_a_painted_mask_is_sent_without_done(lab_form: Form) -> None:
    widget = lab_form(f"{MASKED}, prompt='a lake in the sky'")
    widget.give_file("drop", png("teal", (640, 480)))
    widget.button("Paint a mask").click()
    widget.paint((0.1, 0.2), (0.9, 0.2))

    widget.generate.click()

    expect(widget.cards).to_contain_text("from: fox.png + a mask")
    expect(widget.root.locator(".imagen-mask-editor")).to_have_count(0)


def test_a_picture_is_sent_by_the_click_that_follows_its_drop(lab_form: Form) -> None:
    widget = lab_form("model='nano-banana-2-edit', prompt='make it night'")
    dropped = ["drop", "fox.png", base64.b64encode(png()).decode()]

    widget.prompt.evaluate(DROP_AND_GENERATE, dropped)

    expect(widget.cards).to_contain_text("from: fox.png")


def test_the_painter_of_a_mask_goes_with_its_picture(lab_form: Form) -> None:
    widget = lab_form("model='fal-ai/gpt-image-1.5/edit'")
    editor = widget.root.locator(".imagen-mask-editor")
    widget.give_file("drop", png("teal"), "first.png")
    widget.button("Paint a mask").click()
    expect(editor).to_be_visible()

    widget.give_file("drop", png("gold"), "second.png")
    expect(widget.inputs).to_have_count(2)
    expect(editor).to_be_visible()
    widget.inputs.first.click()
    widget.button("Remove").click()

    expect(editor).to_have_count(0)


def test_a_file_dropped_or_pasted_on_a_model_without_pictures_is_taken(form: Form) -> None:
    widget = form()

    assert widget.give_file("dragover", b"")
    assert widget.give_file("drop", b"no picture at all", "notes.txt")
    expect(widget.trouble).to_contain_text("not a picture")
    expect(widget.root.locator(".imagen-pick")).to_contain_text("Imagen 4")
    assert widget.give_file("paste", png(), "teal.png")

    expect(widget.inputs).to_have_count(1)
    expect(widget.root.locator(".imagen-note")).to_contain_text("is the model now")
    expect(widget.trouble).to_be_hidden()


def test_keys_after_a_click_in_the_form_are_not_the_notebooks(lab_form: Form) -> None:
    widget = lab_form(MASKED)
    page, cells = widget.page, widget.page.evaluate(CELLS)
    widget.give_file("drop", png("teal", (640, 480)))
    expect(widget.inputs).to_have_count(1)
    widget.make_and_wait("a fox that keeps its cell")
    widget.button("Paint a mask").click()

    def touch(*places: Locator) -> None:
        for place in places:
            place.click()
            for key in ("x", "m", "b"):  # cut the cell, make it Markdown, add another
                page.keyboard.press(key)
            assert page.evaluate(CELLS) == cells, place

    touch(
        widget.root.locator(".imagen-title"),
        widget.status,
        widget.button("Eraser"),
        widget.root.locator(".imagen-canvas canvas"),
        widget.button("Save"),
        widget.root.locator(".imagen-size"),
        widget.root.locator(".imagen-pick"),
        widget.button("edit"),
        widget.root.locator(".imagen-pick-foot"),
    )
    page.keyboard.press("Escape")
    widget.cards.get_by_role("button", name="Open large").click()
    touch(widget.dialog.locator(".imagen-words"), widget.dialog.locator(".imagen-stage"))
    page.keyboard.press("Escape")
    widget.button("History").click()
    touch(widget.entries.first.locator("small").first, widget.button("Create"))


# ---------------------------------------------------------------------------------- history


def test_an_entry_is_brought_into_view_and_two_are_compared(form: Form) -> None:
    widget = form("model='nano-banana-2'")
    for name in ("a fox that was first", "an owl that was second"):
        widget.make_and_wait(name)
    widget.button("History").click()
    first = "a fox that was first"

    for name in (first, "an owl that was second"):
        widget.root.get_by_role("checkbox", name=f"Select: {name}").click()
    widget.root.locator(".imagen-bar-below").get_by_role("button", name="Compare").click()
    expect(widget.dialog).to_contain_text("Different: prompt")
    widget.page.keyboard.press("Escape")
    widget.button(f"Show these pictures: {first}").click()

    card = widget.button(f"Open large: {first}")
    expect(card).to_be_focused()
    expect(card).to_be_in_viewport()


def test_the_history_is_searched_starred_saved_deleted_and_brought_back(form: Form) -> None:
    widget = form("num_images=2")
    name = "an unmistakable fox"
    widget.make_and_wait(name, pictures=2)
    widget.button("History").click()
    search = widget.root.get_by_role("textbox", name="Search")
    search.fill(name)
    search.press("Enter")
    expect(widget.entries).to_have_count(1)

    widget.button("4 stars").click()
    expect(widget.root.get_by_role("group", name="Rating: 4 of 5")).to_be_visible()
    widget.root.get_by_role("checkbox", name=f"Select: {name}").click()
    with widget.page.expect_download() as download:
        widget.button("Save 1 as zip").click()
    assert len(zipfile.ZipFile(download.value.path()).namelist()) == 2
    widget.button("Delete").click()
    expect(widget.entries).to_have_count(0)
    expect(widget.root.get_by_text("the bill stays")).to_be_visible()
    widget.button("Undo").click()
    expect(widget.entries).to_have_count(1)
    widget.root.get_by_role("checkbox", name=f"Select: {name}").click()
    widget.button("Delete").click()
    expect(widget.entries).to_have_count(0)  # the line with the chip is drawn again until then
    widget.root.get_by_role("button", name="Remove:").click()

    expect(widget.root.get_by_role("button", name="Remove:")).to_have_count(0)


def test_history_and_the_large_view_work_by_keys_alone(lab_form: Form) -> None:
    widget = lab_form("model='nano-banana-2', num_images=2")
    page, keyboard = widget.page, widget.page.keyboard
    words = "a fox that nobody clicked"
    widget.prompt.focus()
    keyboard.type(words)
    keyboard.press("ControlOrMeta+Enter")
    expect(widget.cards).to_have_count(2)

    tab_to(page, "Open large")
    keyboard.press("Enter")
    expect(widget.dialog).to_contain_text(words)
    keyboard.press("ArrowRight")
    expect(widget.button("Next")).to_be_disabled()
    tab_to(page, "Save")
    with page.expect_download():
        keyboard.press("Enter")
    keyboard.press("Escape")
    expect(widget.dialog).to_be_hidden()

    tab_to(page, "History", back=True)
    keyboard.press("Enter")
    tab_to(page, "words, then Enter")
    keyboard.type(words)
    keyboard.press("Enter")
    expect(widget.entries).to_have_count(1)
    tab_to(page, f"Select: {words}")
    keyboard.press("Space")
    tab_to(page, "Delete")
    keyboard.press("Enter")
    expect(widget.entries).to_have_count(0)
    tab_to(page, "Undo")
    keyboard.press("Enter")

    expect(widget.entries).to_have_count(1)


def test_what_was_pressed_keeps_the_focus_though_it_is_drawn_again(lab_form: Form) -> None:
    widget = lab_form("model='nano-banana-2', num_images=2, prompt='a fox in focus'")
    sizes = widget.root.locator(".imagen-f-resolution")

    def press(button: Locator, changed: str) -> None:
        button.focus()
        widget.page.keyboard.press("Enter")
        expect(button).to_have_attribute("aria-pressed", changed)
        expect(button).to_be_focused()

    press(sizes.get_by_role("button", name="2K"), "true")
    widget.generate.focus()
    widget.page.keyboard.press("Enter")
    expect(widget.cards).to_have_count(2)
    expect(widget.generate).to_be_focused()
    compare = widget.cards.last.get_by_role("button", name="Compare")
    press(compare, "true")
    press(compare, "false")
    widget.button("History").click()
    press(widget.entries.first.get_by_role("button", name="3 stars"), "true")


def test_a_late_answer_leaves_the_keys_to_what_was_opened_meanwhile(lab_form: Form) -> None:
    widget = lab_form("model='nano-banana-2'")
    widget.make_and_wait("a fox that is edited in a hurry")

    widget.root.evaluate(EDIT_AND_CHOOSE)
    widget.page.evaluate(KERNEL_ANSWERS)

    expect(widget.inputs).to_have_count(1)
    expect(widget.chooser).to_be_focused()
    widget.page.keyboard.press("Escape")
    widget.choose("gpt image 1.5 edit")
    expect(widget.button("Paint a mask")).to_be_visible()
    widget.root.evaluate(PAINT_AND_TYPE)

    expect(widget.root.locator(".imagen-mask-editor")).to_be_visible()
    expect(widget.prompt).to_be_focused()


def test_a_late_comparison_opens_over_nothing_that_is_typed_meanwhile(lab_form: Form) -> None:
    widget = lab_form("num_images=2")
    widget.make_and_wait("a fox to compare in a hurry", pictures=2)
    first = widget.cards.first.get_by_role("button", name="Compare", exact=True)
    first.click()
    expect(first).to_have_attribute("aria-pressed", "true")

    widget.root.evaluate(COMPARE_AND_TYPE)
    expect(first).to_have_attribute("aria-pressed", "false")
    widget.button("16:9").evaluate(CLICK)
    expect(widget.button("Aspect ratio: leave it to the model")).to_be_visible()

    expect(widget.dialog).to_be_hidden()
    expect(widget.prompt).to_be_focused()


def test_of_two_views_of_a_form_the_one_that_was_clicked_answers(
    page: Page, lab: JupyterServer
) -> None:
    source = "from imagen_widget import ImagenWidget\nform = ImagenWidget(num_images=2)\nform"
    lab.write_notebook("two-views.ipynb", [source, "form"])
    open_notebook(page, lab, "two-views.ipynb")
    run_all(page)
    views = page.locator(".imagen.imagen-live")
    expect(views).to_have_count(2)
    widget = WidgetPage(page, views.last)
    widget.make_and_wait("a fox seen twice", pictures=2)

    for card in (widget.cards.first, widget.cards.last):
        card.get_by_role("button", name="Compare").click()

    expect(widget.dialog).to_contain_text("The same: model, prompt")
    page.keyboard.press("Escape")
    expect(page.locator("dialog.imagen-view[open]")).to_have_count(0)


def tab_to(page: Page, name: str, *, back: bool = False) -> None:
    """Press Tab until the focus is on a control of the widget whose name begins like this."""
    reached = []
    for _ in range(80):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        reached.append(page.evaluate(FOCUSED).strip())
        if reached[-1].startswith(name):
            return
    pytest.fail(f"{name!r} is not among {reached}")


def test_an_input_leads_back_to_the_card_it_came_from(lab_form: Form) -> None:
    widget = lab_form("model='nano-banana-2'")
    widget.make_and_wait("a fox of its own card")

    widget.button("Edit").click()
    widget.button("Show its card").click()

    expect(widget.button("Open large: a fox of its own card")).to_be_focused()


def test_all_of_it_works_by_keyboard_alone(form: Form) -> None:
    widget = form("model='nano-banana-2'")
    keyboard = widget.page.keyboard
    widget.prompt.focus()
    keyboard.type("a fox by keyboard")
    keyboard.press("Shift+Enter")
    keyboard.type("on two lines")

    keyboard.press("ControlOrMeta+Enter")

    expect(widget.cards).to_have_count(1)
    assert widget.prompt.input_value() == "a fox by keyboard\non two lines"
    reached = []
    for _ in range(50):
        keyboard.press("Tab")
        reached.append(widget.page.evaluate(FOCUSED).strip())
    for stop in ("16:9", "Images", "2K", "Advanced", "Generate", "Edit", "Vary", "Save"):
        assert stop in reached, (stop, reached)
