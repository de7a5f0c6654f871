"""What is uploaded is whole: it builds, describes itself, and works where the source is not."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from functools import partial
from pathlib import Path

import pytest

from tests.documents import ROOT, copy_project
from tests.programs import run_program

pytestmark = pytest.mark.install

COMMAND_SECONDS = 240
PACKAGE = ROOT / "imagen_widget"
ROOT_OF_SDIST = {"LICENSE", "Makefile", "PKG-INFO", "README.md", "pyproject.toml"}
FOLDERS_OF_SDIST = {"binder", "imagen_widget", "notebooks", "tests"}

USE = """
import pathlib, sys
import imagen_widget
from imagen_widget import ImagenWidget, History, generate, models, sweep

assert "site-packages" in imagen_widget.__file__, imagen_widget.__file__
fox = generate("a red fox", num_images=2)
assert [image.to_pil().size for image in fox] == [(fox[0].width, fox[0].height)] * 2
assert len(History()) == 1
assert ImagenWidget(prompt="a red fox").generate_button.description == "Generate"
series = sweep("a {animal}", animal=["fox", "owl"])
assert [row.state for row in series.run(quiet=True).rows] == ["done", "done"]
assert '<img' in series.grid()._repr_mimebundle_()['text/html']
assert models("flux")[0].price is not None
"""
USE_THE_MAGIC = (
    "%load_ext imagen_widget",
    "fox = %imagen a red fox --fresh --ar 16:9 --quiet",
    "assert fox[0].width == 1408",
    "print('magic works')",
)


_run = partial(run_program, seconds=COMMAND_SECONDS)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both files, the wheel from the sdist, as `make package` does."""
    clone = copy_project(tmp_path_factory.mktemp("source"))
    _run([sys.executable, "-m", "build", "--outdir", "dist"], clone)
    return clone / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """Return the wheel's file."""
    return next(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the bare wheel into an environment of its own; returns its Python."""
    folder = tmp_path_factory.mktemp("installed")
    _run([sys.executable, "-m", "venv", "--without-pip", "venv"], folder)
    python = folder / "venv" / "bin" / "python"
    _run([sys.executable, "-m", "pip", "--python", python, "install", "-q", wheel], folder)
    return python


def test_the_checkers_find_nothing(dist: Path, wheel: Path) -> None:
    beside = Path(sys.executable).parent

    _run([beside / "twine", "check", "--strict", *dist.iterdir()], dist)
    _run([beside / "check-wheel-contents", wheel], dist)
    _run([beside / "validate-pyproject", ROOT / "pyproject.toml"], dist)


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}

    ours = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == ours
    assert {"imagen_widget/py.typed"} <= packed


def test_the_wheel_describes_itself(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/METADATA"))
        told = Parser().parsestr(archive.read(name).decode())

    assert told["License-Expression"] == "BSD-3-Clause"
    assert told["Requires-Python"] == ">=3.11"
    assert told["Description-Content-Type"] == "text/markdown"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert told.get_all("Provides-Extra") == sorted(extras["optional-dependencies"])
    assert "Typing :: Typed" in told.get_all("Classifier", [])
    assert "%load_ext imagen_widget" in told.get_payload()  # a text whose links work there


def test_the_sdist_has_what_is_needed_to_test_it(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    visible = {name.partition("/")[0] for name in names if not name.startswith(".")}
    assert visible == ROOT_OF_SDIST | FOLDERS_OF_SDIST


def test_python_calls_work_where_the_source_is_not(installed: Path, tmp_path: Path) -> None:
    _run([installed, "-I", "-c", USE], tmp_path, IMAGEN_DEMO_SECONDS="0")


def test_the_magic_works_where_the_source_is_not(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "magic.ipy").write_text("\n".join(USE_THE_MAGIC))

    printed = _run(
        [installed, "-I", "-m", "IPython", "--no-banner", "magic.ipy"],
        tmp_path,
        IMAGEN_DEMO_SECONDS="0",
    )

    assert "magic works" in printed


def test_the_demo_command_names_its_extra_where_it_is_missing(
    installed: Path, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [installed, "-I", "-m", "imagen_widget", "--port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )

    assert ended.returncode == 1
    assert "pip install uvicorn" in ended.stderr
