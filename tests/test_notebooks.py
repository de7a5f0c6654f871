"""The notebooks run from top to bottom, and what is committed of them is small and static."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.notebooks import FOLDER, LIVE_ONLY, NAMES, execute, read, texts

if TYPE_CHECKING:
    from pathlib import Path

    from nbformat import NotebookNode

LARGEST_BYTES = 400_000
MOST_CELLS = 11
BY_ITSELF = "04_studio.ipynb"  # an app: it shows pictures when somebody presses the button
SHOWN = re.compile(r"data:image/(png|jpeg|webp);base64,")

each_notebook = pytest.mark.parametrize("name", NAMES)


def _pictures(notebook: NotebookNode) -> int:
    """Count the pictures that a reader sees without a kernel."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    drawn = sum(len(SHOWN.findall(text)) for text in texts(outputs))
    return drawn + sum(name.startswith("image/") for name in _media_types(outputs))


def _media_types(outputs: list[NotebookNode]) -> list[str]:
    return [str(name) for output in outputs for name in output.get("data", ())]


def test_the_notebooks_are_numbered_from_one() -> None:
    assert [name[:3] for name in NAMES] == [f"{number:02}_" for number in range(1, 6)]


@pytest.mark.kernel
@each_notebook
def test_a_notebook_runs_from_top_to_bottom_without_a_key(name: str, tmp_path: Path) -> None:
    done = execute(read(name), tmp_path, demo_seconds="0.2")

    assert all(cell.execution_count for cell in done.cells if cell.cell_type == "code")
    assert _pictures(done) or name == BY_ITSELF


@each_notebook
def test_prose_comes_before_code(name: str) -> None:
    kinds = [cell.cell_type for cell in read(name).cells]

    assert kinds[0] == "markdown"
    assert ("code", "code") not in list(pairwise(kinds))[1:]
    assert len(kinds) <= MOST_CELLS


@each_notebook
def test_a_notebook_says_how_to_get_real_pictures(name: str) -> None:
    first = read(name).cells[0].source

    assert "FAL_KEY" in first
    assert "IMAGEN_API_KEY" in first


@each_notebook
def test_only_the_app_leaves_the_provider_open(name: str) -> None:
    """Run All on a machine with a key must not surprise anybody with a bill."""
    selected = "%env IMAGEN_PROVIDER=demo\n" in read(name).cells[1].source

    assert selected == (name != BY_ITSELF)


@each_notebook
def test_what_is_committed_is_small_and_shows_its_pictures(name: str) -> None:
    notebook = read(name)

    assert (FOLDER / name).stat().st_size <= LARGEST_BYTES
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert _pictures(notebook) or name == BY_ITSELF


@each_notebook
def test_no_widget_state_is_committed(name: str) -> None:
    notebook = read(name)

    assert "widgets" not in notebook.metadata
    assert LIVE_ONLY not in (FOLDER / name).read_text("utf-8")


@each_notebook
def test_no_error_and_no_folder_of_a_machine_is_committed(name: str) -> None:
    outputs = [output for cell in read(name).cells for output in cell.get("outputs", ())]

    absolute = [path for text in texts(outputs) for path in _absolute_paths(text)]

    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert not absolute


def _absolute_paths(text: str) -> list[str]:
    without_pictures = re.sub(r"[A-Za-z0-9+/=\n]{1000,}", "", text)
    return re.findall(r"(?<![\w~.:/<])/(?:\w[\w.-]*/)+\w*", without_pictures)
