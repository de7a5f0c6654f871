"""Takes the README's two pictures: `python -m tests.browser.pictures`."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from tests.browser.conftest import CHROMIUMS, FLAGS
from tests.browser.jupyter_server import running_server
from tests.browser.notebook_page import open_notebook, run_all
from tests.documents import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOLDER = ROOT / ".github" / "images"
WINDOW_PIXELS = (1280, 890)
SCALE = 1.5  # sharp on dense screens, and still small
QUALITY = 82
CELLS = (
    "from imagen_widget import ImagenWidget",
    'ImagenWidget(prompt="a red fox in fresh snow", aspect_ratio="16:9", num_images=4)',
)


def take(browser: Browser, theme: Literal["light", "dark"]) -> Path:
    """Make four pictures in the form, and save a picture of it."""
    width, height = WINDOW_PIXELS
    context = browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=SCALE
    )
    page = context.new_page()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(
            "lab", Path(folder), theme=theme, settings={"IMAGEN_DEMO_SECONDS": "1"}
        ) as server,
    ):
        server.write_notebook("fox.ipynb", CELLS)
        open_notebook(page, server, "fox.ipynb")
        run_all(page)
        form = page.locator(".imagen")
        form.get_by_role("button", name="Generate").click()
        expect(form.locator(".imagen-card img:visible")).to_have_count(4, timeout=30_000)
        form.scroll_into_view_if_needed()
        page.mouse.move(width - 1, height - 1)
        page.wait_for_timeout(1000)  # until what fades in has done so
        shot = Image.open(io.BytesIO(page.screenshot()))
        context.close()
    target = FOLDER / f"{theme}.webp"
    shot.convert("RGB").save(target, quality=QUALITY, method=6)
    return target


def main() -> int:
    """Take both pictures."""
    chromium = next(filter(None, map(shutil.which, CHROMIUMS)))
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        for theme in ("light", "dark"):
            path = take(browser, theme)
            sys.stdout.write(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB\n")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
