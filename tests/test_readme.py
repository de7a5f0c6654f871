"""What people read is true: each command and snippet works, each link leads somewhere."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from imagen_widget import _catalog
from imagen_widget._generate import estimate
from imagen_widget._request import ImageRequest
from imagen_widget._settings import load_settings
from tests.documents import (
    PAGES,
    README,
    ROOT,
    Fence,
    anchors,
    commands,
    copy_project,
    fences,
    links,
    table,
)
from tests.notebooks import execute

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALL_SECONDS = 280
SERVED_SECONDS = 60
IN_CELLS = {"python", "ipython"}
READ = {"toml"}  # checked against what reads it
SHOWN_ONLY = {"text"}  # drawings
# What goes on until somebody stops it: how it is kept off the screen, and the word that it is up.
SERVES = {
    "make demo": ("LAB_FLAGS='--no-browser --allow-root --port=0'", "is running at"),
    ".venv/bin/jupyter lab notebooks/01_quickstart.ipynb": (
        "--no-browser --allow-root --port=0",
        "is running at",
    ),
    ".venv/bin/voila notebooks/04_studio.ipynb": ("--no-browser --port=0", "is running at"),
    "python -m imagen_widget --port 8800": ("--port 0", "Demo queue at"),
}
TO_SAY_ONLY = re.compile(
    r"make (?!demo)\w+"
)  # make says what it would do: it is what runs this test

ids = [str(page.relative_to(ROOT)) for page in PAGES]
with_cells = [page for page in PAGES if any(f.language in IN_CELLS for f in fences(page))]


def _shell_fences(page: Path) -> list[Fence]:
    return [fence for fence in fences(page) if fence.language == "sh"]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_block_of_code_is_of_a_kind_that_is_run(page: Path) -> None:
    kinds = {fence.language for fence in fences(page)}

    assert kinds <= IN_CELLS | READ | SHOWN_ONLY | {"sh"}


@pytest.mark.kernel
@pytest.mark.parametrize("page", with_cells, ids=[p.name for p in with_cells])
def test_the_cells_of_a_page_run_in_order(page: Path, tmp_path: Path) -> None:
    """In a real kernel, on the demo provider, which is what answers without a key."""
    cells = [fence for fence in fences(page) if fence.language in IN_CELLS]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(fence.text) for fence in cells]
    )

    done = execute(notebook, tmp_path, demo_seconds="0")

    assert all(cell.execution_count for cell in done.cells)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_to_something(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_first_screen_has_the_two_commands() -> None:
    first = _shell_fences(README)[0]

    assert commands(first) == ["make demo", "make test"]
    assert first.line < 20


def test_the_prices_are_those_of_the_catalogue() -> None:
    rows = table(README, "model")
    settings = load_settings(provider="fal", api_key="made-up")

    def price(model: _catalog.Model, resolution: str) -> str:
        sizes = model.parameter("resolution")
        if resolution != "1K" and (
            not isinstance(sizes, _catalog.Choice) or resolution not in sizes.allowed
        ):
            return ""
        given = None if resolution == "1K" else resolution
        request = ImageRequest.create("a fox", model=model.alias, resolution=given)
        cost = estimate(request, settings)
        assert cost is not None
        return (
            f"${max(cost.quantize(Decimal('0.01')), cost.normalize(), key=lambda d: len(str(d)))}"
        )

    assert rows == [
        [m.title, m.alias, *(price(m, resolution) for resolution in ("1K", "2K", "4K"))]
        for m in _catalog.MODELS
    ]


def test_the_providers_are_those_of_the_catalogue_in_the_order_of_choice() -> None:
    rows = table(README, "provider")

    assert [(name, key) for name, _, key in rows] == [
        (p.name, p.key_variable or "none") for p in _catalog.PROVIDERS
    ]
    assert all(
        p.base_url in place
        for p, (_, place, _) in zip(_catalog.PROVIDERS[:2], rows[:2], strict=True)
    )


def test_the_rooms_are_drawn_on_the_floors_that_the_linter_checks() -> None:
    drawing = next(f.text for f in fences(README) if f.language == "text" and "_magic" in f.text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers")
    floor = {room: i for i, layer in enumerate(layers) for room in re.findall(r"\w+", layer)}

    rooms = re.findall(r"(?<!\S)(_[a-z]+|errors)(?!\S)", drawing)

    assert len(rooms) > 10
    assert [floor[room] for room in rooms] == sorted(floor[room] for room in rooms)


@pytest.mark.install
def test_the_commands_for_make_work_in_a_fresh_clone(tmp_path: Path) -> None:
    clone = copy_project(tmp_path / "clone")

    _run_commands(_shell_fences(README)[:1], clone)
    ran = _bash("make demo HEADLESS=1", clone, seconds=INSTALL_SECONDS)

    pictures = re.findall(r"^/.*\.png$", ran, re.MULTILINE)
    assert pictures
    assert all(Path(picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert (clone / "build" / "01_quickstart.ipynb").is_file()


@pytest.mark.install
def test_the_other_commands_work_in_a_fresh_clone(tmp_path: Path) -> None:
    clone = copy_project(tmp_path / "clone")

    _run_commands(_shell_fences(README)[1:], clone)


@pytest.mark.parametrize("page", PAGES[1:], ids=ids[1:])
def test_the_commands_of_the_other_pages_work(page: Path, tmp_path: Path) -> None:
    _run_commands(_shell_fences(page), tmp_path)


def _run_commands(blocks: list[Fence], folder: Path) -> None:
    """Run the commands of a page's blocks one after the other, in a folder."""
    for command in (line for block in blocks for line in commands(block)):
        if TO_SAY_ONLY.fullmatch(command):
            _bash(f"{command} --dry-run", ROOT)
        elif command in SERVES:
            more, sign = SERVES[command]
            _serve(f"exec {command} {more}", folder, sign)
        else:
            _bash(command, folder, seconds=INSTALL_SECONDS)


def _environment(folder: Path) -> dict[str, str]:
    """Return what somebody has who stands in a clone, or who has installed the package."""
    is_clone = (folder / "Makefile").exists() and folder != ROOT
    home = Path(sys.base_prefix if is_clone else sys.prefix)
    ours = ("JUPYTER", "MAKE", "MFLAGS", "PYTEST", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PATH": os.pathsep.join([str(home / "bin"), os.environ["PATH"]])}


def _bash(command: str, folder: Path, *, seconds: float = 60) -> str:
    ended = subprocess.run(
        ["bash", "-euc", command],  # noqa: S607 - bash is where PATH says
        cwd=folder,
        env=_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout[-3000:]}"
    return ended.stdout


def _serve(command: str, folder: Path, sign: str) -> None:
    """Start a command that goes on, wait until it says that it is up, and end it."""
    with _running(command, folder) as process:
        assert process.stdout is not None
        late = threading.Timer(INSTALL_SECONDS, os.killpg, (process.pid, signal.SIGKILL))
        late.start()
        seen = []
        for line in process.stdout:
            seen.append(line)
            if sign in line:
                break
        late.cancel()
        assert sign in "".join(seen), f"{shlex.quote(command)}\n{''.join(seen)[-3000:]}"


@contextlib.contextmanager
def _running(command: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        ["bash", "-euc", command],  # noqa: S607 - bash is where PATH says
        cwd=folder,
        env=_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(SERVED_SECONDS)
        assert process.stdout is not None
        process.stdout.close()
