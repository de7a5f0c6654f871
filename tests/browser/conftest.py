"""Browsers and servers for tests: started once, ended by pid, photographed when a test fails."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.jupyter_server import FrontEnd, JupyterServer, running_server
from tests.browser.notebook_page import screenshot
from tests.browser.widget_page import WidgetPage, open_widget

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A container has no user namespaces for the sandbox, no GPU and no way out.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WINDOW = {"width": 1280, "height": 1700}  # tall: what overflows Lab's scroller is cut off pictures
EXPECT_MS = 30_000.0
DEMO_SECONDS = "0.2"

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test failed, so that its page is photographed."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


def find_chromium() -> str | None:
    """Return the path of the system's Chromium, or None."""
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium once for all tests; skip if it is missing."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium on this machine; `make chromium` says how to get one")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Open an empty page with cookies of its own; a failed test leaves a screenshot of it."""
    context = browser.new_context(viewport={"width": WINDOW["width"], "height": WINDOW["height"]})
    context.set_default_timeout(EXPECT_MS)
    page = context.new_page()
    yield page
    if request.node.stash.get(FAILED, False):
        screenshot(page, f"failed-{request.node.name}")
    context.close()


@pytest.fixture(scope="package")
def pages(browser: Browser) -> Iterator[Callable[[JupyterServer], Page]]:
    """Return a function that gives the page of a server, which many tests share in turn."""
    shared: dict[str, Page] = {}

    def get(server: JupyterServer) -> Page:
        if server.url not in shared:
            window = {"width": WINDOW["width"], "height": WINDOW["height"]}
            context = browser.new_context(viewport=window)  # type: ignore[arg-type]
            context.set_default_timeout(EXPECT_MS)
            context.grant_permissions(["clipboard-read", "clipboard-write"])
            shared[server.url] = context.new_page()
        return shared[server.url]

    yield get
    for page in shared.values():
        page.context.close()


@pytest.fixture
def form(
    pages: Callable[[JupyterServer], Page],
    server: JupyterServer,
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., WidgetPage]]:
    """Return a function that shows a new widget in each front end; a failure is photographed."""
    page = pages(server)
    yield lambda arguments="": open_widget(page, server, arguments)
    if request.node.stash.get(FAILED, False):
        screenshot(page, f"failed-{request.node.name}")
        page.goto("about:blank")  # whatever is wrong with it, the next test gets another


@pytest.fixture
def lab_form(
    pages: Callable[[JupyterServer], Page], lab: JupyterServer, request: pytest.FixtureRequest
) -> Iterator[Callable[..., WidgetPage]]:
    """Return the same for JupyterLab alone."""
    page = pages(lab)
    yield lambda arguments="": open_widget(page, lab, arguments)
    if request.node.stash.get(FAILED, False):
        screenshot(page, f"failed-{request.node.name}")
        page.goto("about:blank")


@pytest.fixture(scope="package")
def serve(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[FrontEnd], JupyterServer]]:
    """Return a function that gives the server of a front end, started at its first use."""
    with contextlib.ExitStack() as servers:
        running: dict[FrontEnd, JupyterServer] = {}

        def get(front_end: FrontEnd) -> JupyterServer:
            if front_end not in running:
                folder: Path = tmp_path_factory.mktemp(front_end)
                settings = {"IMAGEN_DEMO_SECONDS": DEMO_SECONDS}
                server = running_server(front_end, folder, settings=settings)
                running[front_end] = servers.enter_context(server)
            return running[front_end]

        yield get


@pytest.fixture(scope="package")
def lab(serve: Callable[[FrontEnd], JupyterServer]) -> JupyterServer:
    """Serve JupyterLab."""
    return serve("lab")


@pytest.fixture(scope="package")
def notebook7(serve: Callable[[FrontEnd], JupyterServer]) -> JupyterServer:
    """Serve Notebook 7."""
    return serve("notebook")


@pytest.fixture(scope="package")
def voila(serve: Callable[[FrontEnd], JupyterServer]) -> JupyterServer:
    """Serve Voila."""
    return serve("voila")


@pytest.fixture(params=["lab", "notebook", "voila"])
def server(
    serve: Callable[[FrontEnd], JupyterServer], request: pytest.FixtureRequest
) -> JupyterServer:
    """Serve each front end in turn: the test runs once with each."""
    return serve(request.param)
