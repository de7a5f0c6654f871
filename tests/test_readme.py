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
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from imagen_widget import Account, Models, Studio, models
from tests.documents import (
    PAGES,
    README,
    ROOT,
    Fence,
    anchors,
    commands,
    copy_project,
    fences,
    install_example,
    links,
    table,
)
from tests.notebooks import execute
from tests.tools.docs import broken_links

INSTALL_SECONDS = 280
SERVED_SECONDS = 60
IN_CELLS = {"python", "ipython"}
READ = {"toml"}  # checked against what reads it
SHOWN_ONLY = {"text"}  # drawings
ELSEWHERE = {"sql"}  # run on a server, in tests/test_teams.py
# What goes on until somebody stops it: how it is kept off the screen, and the word that it is up.
SERVES = {
    "make demo": ("LAB_FLAGS='--allow-root --port=0'", "The quickstart is at"),
    ".venv/bin/jupyter lab notebooks/01_quickstart.ipynb": (
        "--no-browser --allow-root --port=0",
        "is running at",
    ),
    ".venv/bin/voila notebooks/05_studio.ipynb": ("--no-browser --port=0", "is running at"),
    "python -m imagen_widget --port 8800": ("--port 0", "Demo queue at"),
}
ONE_PICTURE = 'import imagen_widget; imagen_widget.generate("a fox", quiet=True)'
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

    assert kinds <= IN_CELLS | READ | SHOWN_ONLY | ELSEWHERE | {"sh"}


@pytest.mark.kernel
@pytest.mark.parametrize("page", with_cells, ids=[p.name for p in with_cells])
def test_the_cells_of_a_page_run_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a real kernel, on the demo provider, which is what answers without a key."""
    site = install_example(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    cells = [fence for fence in fences(page) if fence.language in IN_CELLS]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(fence.text) for fence in cells]
    )

    done = execute(notebook, tmp_path, demo_seconds="0")

    assert all(cell.execution_count for cell in done.cells)
    assert not list(filter(_goes_on, tmp_path.rglob("postmaster.pid")))


def _goes_on(noted: Path) -> bool:
    """Return True if a database server is at work; one that was killed leaves its note behind."""
    command = Path("/proc", noted.read_text("utf-8").split()[0], "cmdline")
    return command.exists() and bool(command.read_bytes())  # none if it is dead, and not awaited


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_settings_that_are_shown_as_a_file_are_settings(page: Path) -> None:
    for fence in fences(page):
        if fence.language == "toml":
            shown = tomllib.loads(fence.text).get("tool", {}).get("imagen-widget", {})
            Studio("demo", **{name.replace("-", "_"): value for name, value in shown.items()})


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


def test_every_model_that_a_page_names_with_a_price_has_that_price() -> None:
    """Such as "`imagen4`, $0.04" or a row of a table with both."""
    wrong = []
    for page in PAGES:
        for alias, price in re.findall(r"`([\w.-]+)`(?:,| \|) \$([\d.]+)", page.read_text("utf-8")):
            model = next((m for m in models(alias) if alias in {m.alias, m.id}), None)
            told = "" if model is None or model.price is None else model.price.text
            if not re.search(rf"\${re.escape(price)}0*(?!\d)", told):
                wrong.append(f"{page.name}: {alias} at ${price}, not {told or 'known'}")

    assert wrong == []


def test_the_providers_are_those_of_the_settings_in_the_order_of_choice() -> None:
    rows = table(README, "provider")
    accounts = [Studio(name, api_key=None if name == "demo" else "made-up") for name, *_ in rows]
    found: list[Account] = [studio.settings.account for studio in accounts]

    assert [name for name, *_ in rows] == ["kkiai", "fal", "openai", "demo"]
    for (_, where, key, model), account in zip(rows, found, strict=True):
        assert account.free or account.base_url in where
        assert key == next((n for n in account.key_variables if ":" not in n), "none")
        assert model in {account.default_model, _alias(account.default_model)}


def _alias(model_id: str) -> str:
    found: Models = models(model_id)
    return found[0].alias


def test_the_layers_are_drawn_in_the_order_that_the_linter_checks() -> None:
    drawing = next(f.text for f in fences(README) if f.language == "text" and "_magic" in f.text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers")
    depth = {name: i for i, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}

    lines = [[name for name in line.split() if name in depth] for line in drawing.splitlines()]
    drawn = [sorted(depth[name] for name in line) for line in lines]

    assert {name for line in lines for name in line} == set(depth)
    assert [number for line in drawn for number in line] == sorted(
        number for line in drawn for number in line
    )


@pytest.mark.install
def test_the_site_builds_without_a_warning_and_its_links_lead_somewhere() -> None:
    built = _bash(f"{sys.executable} -m tests.tools.docs", ROOT)

    assert "build/site/index.html" in built


def test_a_link_of_the_site_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a id="x"></a><a href="b.html#y"></a><a href="a.html#x"></a>')
    (tmp_path / "b.html").write_text('<img src="c.png"><a href="https://elsewhere.example"></a>')

    assert sorted(broken_links(tmp_path)) == ["a.html: b.html#y", "b.html: c.png"]


@pytest.mark.install
@pytest.mark.timeout(600)
def test_the_commands_work_in_a_fresh_clone(tmp_path: Path) -> None:
    clone = copy_project(tmp_path / "clone")
    with_make, *without = _shell_fences(README)

    _run_commands([with_make], clone)
    ran = _bash("make demo HEADLESS=1", clone)

    pictures = re.findall(r"^/.*\.(?:png|jpe?g|webp)$", ran, re.MULTILINE)
    assert pictures
    assert all(Path(picture).stat().st_size > 1000 for picture in pictures)
    assert (clone / "build" / "01_quickstart.ipynb").is_file()
    _run_commands(without, clone)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES[1:], ids=ids[1:])
def test_the_commands_of_the_other_pages_work(page: Path, tmp_path: Path) -> None:
    _run_commands(_shell_fences(page), tmp_path)


def _run_commands(blocks: list[Fence], folder: Path) -> None:
    """Run the commands of a page's blocks one after the other, in a folder."""
    for command in (line for block in blocks for line in commands(block)):
        if TO_SAY_ONLY.fullmatch(command):
            _bash(f"{command} --dry-run", ROOT)
        elif command.startswith("python -m imagen_widget journal"):  # a reader of it has one
            _bash(f"python -c '{ONE_PICTURE}'; {command}", folder)
        elif command in SERVES:
            more, sign = SERVES[command]
            _serve(f"exec {command} {more}", folder, sign)
        else:
            _bash(command, folder)


def _environment(folder: Path) -> dict[str, str]:
    """Return what somebody has who stands in a clone, or who has installed the package."""
    is_clone = (folder / "Makefile").exists() and folder != ROOT
    home = Path(sys.base_prefix if is_clone else sys.prefix)
    ours = ("JUPYTER", "MAKE", "MFLAGS", "PYTEST", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    path = os.pathsep.join([str(home / "bin"), os.environ["PATH"]])
    return kept | {"PATH": path, "PIP_NO_COMPILE": "1"}  # what is imported is compiled then


def _bash(command: str, folder: Path) -> str:
    ended = subprocess.run(
        ["bash", "-euc", command],
        cwd=folder,
        env=_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=INSTALL_SECONDS,
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
        ["bash", "-euc", command],
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
