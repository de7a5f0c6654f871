"""Takes the README's pictures: `python -m tests.browser.pictures [NAME ...]`."""

import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.conftest import FLAGS, find_chromium
from tests.browser.jupyter_server import running_server
from tests.browser.notebook_page import open_notebook, run_all
from tests.documents import ROOT

FOLDER = ROOT / ".github" / "images"
WINDOW_PIXELS = (1280, 890)
TALL_PIXELS = (1280, 2400)  # for outputs that are photographed whole
SCALE = 1.5  # sharp on dense screens, and still small
QUALITY = 82
GAP_PIXELS = 24
SETTLE_MS = 1000  # until what fades in has done so
PAINT_MS = 60_000

Theme = Literal["light", "dark"]

FORM = (
    "from imagen_widget import ImagenWidget",
    'ImagenWidget(prompt="a red fox in fresh snow", aspect_ratio="16:9", num_images=4)',
)
EDITS = (
    """\
from imagen_widget import ImagenWidget
panel = ImagenWidget(prompt="a lighthouse on a cliff at dusk", aspect_ratio="16:9", seed=3)
tower = await panel.generate()
panel.model.value = "kontext"
night = await panel.generate(prompt="make it night", image=tower[0], seed=1)
snow = await panel.generate(prompt="let it snow", image=night[0], seed=1)""",
    "panel",
)
SWEEP = (
    """\
from imagen_widget import sweep
balloons = sweep(
    "{subject}, {light}, screen print",
    subject=["hot-air balloons over hills", "a sailing boat at sea"],
    light=["golden hour", "at night", "in fog"],
    aspect_ratio=["16:9"],
    name="balloons",
).run(quiet=True)""",
    'balloons.grid(row="subject", col="light")',
    "balloons.compare(0, 1)",
)


def _in_lab(
    browser: Browser,
    cells: Sequence[str],
    shoot: Callable[[Page], bytes],
    *,
    theme: Theme = "light",
    window: tuple[int, int] = TALL_PIXELS,
) -> Image.Image:
    """Run cells in JupyterLab on the demo, and return what `shoot` photographs."""
    width, height = window
    context = browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=SCALE
    )
    page = context.new_page()
    page.set_default_timeout(PAINT_MS)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(
            "lab", Path(folder), theme=theme, settings={"IMAGEN_DEMO_SECONDS": "0.5"}
        ) as server,
    ):
        server.write_notebook("pictures.ipynb", cells)
        open_notebook(page, server, "pictures.ipynb")
        run_all(page)
        shot = Image.open(io.BytesIO(shoot(page)))
        context.close()
    return shot.convert("RGB")


def _still(page: Page) -> None:
    page.mouse.move(1, 1)
    page.wait_for_timeout(SETTLE_MS)


def _form(page: Page) -> bytes:
    form = page.locator(".imagen")
    form.get_by_role("button", name="Generate").click()
    expect(form.locator(".imagen-card img:visible")).to_have_count(4, timeout=PAINT_MS)
    form.scroll_into_view_if_needed()
    _still(page)
    return page.screenshot()


def _edits(page: Page) -> bytes:
    cards = page.locator(".imagen .imagen-card")
    expect(cards).to_have_count(3, timeout=PAINT_MS)
    expect(cards.locator("img").first).to_be_visible()
    _still(page)
    return _side_by_side([card.screenshot() for card in reversed(cards.all())])


def _side_by_side(shots: Sequence[bytes]) -> bytes:
    pictures = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
    width = sum(picture.width for picture in pictures) + GAP_PIXELS * (len(pictures) - 1)
    whole = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + GAP_PIXELS
    data = io.BytesIO()
    whole.save(data, "PNG")
    return data.getvalue()


def _output(selector: str) -> Callable[[Page], bytes]:
    def shoot(page: Page) -> bytes:
        output = page.locator(selector)
        output.locator("img").first.wait_for(state="visible")
        _still(page)
        return output.screenshot()

    return shoot


PICTURES: dict[str, Callable[[Browser], Image.Image]] = {
    "form-light": lambda browser: _in_lab(browser, FORM, _form, window=WINDOW_PIXELS),
    "form-dark": lambda browser: _in_lab(browser, FORM, _form, theme="dark", window=WINDOW_PIXELS),
    "edits": lambda browser: _in_lab(browser, EDITS, _edits),
    "grid": lambda browser: _in_lab(browser, SWEEP, _output(".ims-grid")),
    "compare": lambda browser: _in_lab(browser, SWEEP, _output(".ims-compare")),
}


def main(names: Sequence[str]) -> int:
    """Take the named pictures, or all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        for name in names or PICTURES:
            target = FOLDER / f"{name}.webp"
            PICTURES[name](browser).save(target, quality=QUALITY, method=6)
            print(f"{target.relative_to(ROOT)}: {target.stat().st_size // 1000} kB")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
