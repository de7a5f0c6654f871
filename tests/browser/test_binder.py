"""Binder's two links work: the right image would be built, and its notebooks run in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from importlib.metadata import files
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.jupyter_server import TOKEN, running_server
from tests.browser.notebook_page import (
    HAS_NOTEBOOK,
    OPEN_MS,
    READY,
    RUN_MS,
    run_all,
    save_notebook,
    screenshot,
)
from tests.documents import README, ROOT, copy_project
from tests.notebooks import texts
from tests.programs import run_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.browser.jupyter_server import JupyterServer

pytestmark = pytest.mark.install

BINDER = ROOT / "binder"
INSTALL_SECONDS = 280
# What repo2docker puts into every image, as far as it has to do with us.
BASE = (
    "httpx",
    "ipykernel",
    "ipython",
    "ipywidgets",
    "jupyter_server",
    "jupyterlab",
    "jupyterlab_widgets",
    "nest-asyncio",
    "notebook",
    "traitlets",
)


def _python_version() -> str:
    return (BINDER / "runtime.txt").read_text("utf-8").strip().removeprefix("python-")


def _frozen_base() -> dict[str, str]:
    """Return the versions that repo2docker has frozen for our Python."""
    name = f"environment.py-{_python_version()}-linux-64.lock"
    lock = next(f for f in files("jupyter-repo2docker") or () if f.name == name).read_text("utf-8")
    found = {name: re.search(rf"/{name}-(\d[\w.]*)-", lock) for name in BASE}
    return {name: match[1] for name, match in found.items() if match}


def _python() -> str:
    """Return Binder's Python where this machine has it, else the one that runs this."""
    name = f"python{_python_version()}"
    if shutil.which(name):
        asked = subprocess.run(
            [name, "-c", "import sys; print(sys.executable)"],
            env=os.environ | {"PYENV_VERSION": _python_version()},  # which pyenv has to be told
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode == 0:
            return asked.stdout.strip()
    return sys.executable


_run = partial(run_program, seconds=INSTALL_SECONDS)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build what Binder would, without Docker: the frozen base, our requirements, postBuild.

    Returns:
        The folder of the environment, and that of the repository.
    """
    folder = tmp_path_factory.mktemp("binder")
    repository, prefix = folder / "repository", folder / "prefix"
    _build(copy_project(repository), prefix)
    return prefix, repository


def _build(repository: Path, prefix: Path) -> None:
    folder = prefix.parent
    _run([_python(), "-m", "venv", "--without-pip", prefix], folder)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        prefix / "bin" / "python",
        "install",
        "-q",
        "--no-compile",
    ]
    _run([*pip, *(f"{name}=={version}" for name, version in _frozen_base().items())], folder)
    _run([*pip, "--requirement", "binder/requirements.txt"], repository)
    path = os.pathsep.join([str(prefix / "bin"), os.environ["PATH"]])
    home = folder / "home"  # what is trusted is noted there
    home.mkdir()
    _run(
        [repository / "binder" / "postBuild"],
        repository,
        NB_PYTHON_PREFIX=str(prefix),
        PATH=path,
        HOME=str(home),
    )


@pytest.fixture(scope="module")
def binder(
    image: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JupyterServer]:
    """Serve the repository as Binder does: by binder/start, on the frozen JupyterLab."""
    prefix, repository = image
    settings = {
        "IMAGEN_PROVIDER": "",  # binder/start has to say it
        "IMAGEN_DEMO_SECONDS": "0.2",
        "PATH": os.pathsep.join([str(prefix / "bin"), os.environ["PATH"]]),
    }
    folder = tmp_path_factory.mktemp("served")
    with running_server(
        "lab",
        folder,
        settings=settings,
        root=repository,
        programs=prefix / "bin",
        launcher=[str(repository / "binder" / "start")],
    ) as server:
        yield server


def _links() -> tuple[str, str]:
    quickstart, studio = re.findall(r"urlpath=(\S+?)`", README.read_text("utf-8"))
    return quickstart, studio


def test_repo2docker_would_build_our_files_on_our_python() -> None:
    program = Path(sys.executable).with_name("jupyter-repo2docker")

    told = _run([program, "--no-build", "--debug", "."], ROOT)

    assert f"python={_python_version()}" in told
    assert '-r "binder/requirements.txt"' in told
    assert "RUN ./binder/postBuild" in told
    assert 'R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in told


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_what_binder_runs_is_executable_and_committed_so(name: str) -> None:
    listed = _run(["git", "ls-files", "--stage", f"binder/{name}"], ROOT)

    assert os.access(BINDER / name, os.X_OK)
    assert listed.startswith("100755")


def test_start_selects_the_demo_and_becomes_what_it_is_given() -> None:
    printed = _run([BINDER / "start", "printenv", "IMAGEN_PROVIDER"], ROOT)

    assert printed == "demo\n"


def test_our_requirements_leave_the_frozen_base_alone(image: tuple[Path, Path]) -> None:
    """What is there already need not be fetched again: the image is built quickly."""
    prefix, _ = image

    listed = _run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            prefix / "bin" / "python",
            "list",
            "--format=json",
        ],
        prefix,
    )

    versions = {p["name"].lower().replace("_", "-"): p["version"] for p in json.loads(listed)}
    base = _frozen_base()
    assert base.keys() == set(BASE)
    assert {n: versions[n.replace("_", "-")] for n in base} == base


@pytest.mark.browser
def test_the_first_link_opens_the_quickstart_and_all_its_cells_run(
    page: Page, binder: JupyterServer
) -> None:
    quickstart, _ = _links()
    page.goto(f"{binder.url}/{quickstart}?token={TOKEN}&reset", timeout=OPEN_MS)
    page.wait_for_function(HAS_NOTEBOOK, timeout=OPEN_MS)
    page.evaluate(READY)

    run_all(page)
    save_notebook(page)

    screenshot(page, "binder-quickstart")
    saved = nbformat.read(binder.root / quickstart.removeprefix("lab/tree/"), as_version=4)
    shown = "".join(texts([cell.get("outputs", []) for cell in saved.cells]))
    assert all(cell.execution_count for cell in saved.cells if cell.cell_type == "code")
    assert str(binder.home / "imagen") in shown  # these are not the committed outputs
    assert shown.count("<img") >= 3
    assert "Traceback" not in shown
    pictures = page.get_by_alt_text("a snowy night").filter(visible=True)
    expect(pictures.first).to_be_in_viewport()  # where the cells have scrolled to


@pytest.mark.browser
def test_the_second_link_opens_the_app_on_the_demo(page: Page, binder: JupyterServer) -> None:
    _, studio = _links()
    page.goto(f"{binder.url}/{studio}?token={TOKEN}", timeout=OPEN_MS)
    form = page.locator(".imagen")
    expect(form.get_by_role("button", name="Generate")).to_be_enabled(timeout=RUN_MS)

    form.get_by_role("button", name="Generate").click()

    expect(form.get_by_role("img", name="a red fox in fresh snow").first).to_be_visible()
    expect(form.get_by_text("DEMO", exact=True).first).to_be_visible()
    screenshot(page, "binder-studio")
