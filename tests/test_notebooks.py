"""The notebooks run from top to bottom, and what is committed of them is small and static."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from nbformat import NotebookNode

from tests.notebooks import FOLDER, LIVE_ONLY, NAMES, execute, read, texts

MAX_BYTES = 600_000
MAX_CELLS = 11
MAX_NOTEBOOKS = 8
APP = "05_studio.ipynb"  # it shows pictures when somebody presses the button
LINK = re.compile(r"\]\(([^)]+)\)")
SHOWN = re.compile(r"data:image/(png|jpeg|webp);base64,")

each_notebook = pytest.mark.parametrize("name", NAMES)


def _pictures(notebook: NotebookNode) -> int:
    """Count the pictures that a reader sees without a kernel."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    drawn = sum(len(SHOWN.findall(text)) for text in texts(outputs))
    return drawn + sum(name.startswith("image/") for name in _media_types(outputs))


def _media_types(outputs: list[NotebookNode]) -> list[str]:
    return [str(name) for output in outputs for name in output.get("data", ())]


def test_the_notebooks_are_few_and_numbered_from_one() -> None:
    assert [name[:3] for name in NAMES] == [f"{n:02}_" for n in range(1, len(NAMES) + 1)]
    assert len(NAMES) <= MAX_NOTEBOOKS


@pytest.mark.kernel
@each_notebook
def test_a_notebook_runs_from_top_to_bottom_without_a_key(name: str, tmp_path: Path) -> None:
    done = execute(read(name), tmp_path, demo_seconds="0")

    assert all(cell.execution_count for cell in done.cells if cell.cell_type == "code")
    assert _pictures(done) or name == APP


@each_notebook
def test_prose_comes_before_code(name: str) -> None:
    cells = read(name).cells
    follows = [a.cell_type == b.cell_type == "code" for a, b in pairwise(cells)]

    assert cells[0].cell_type == "markdown"
    assert sum(follows) <= 1
    assert len(cells) <= MAX_CELLS


@each_notebook
def test_a_notebook_ends_with_what_next(name: str) -> None:
    last = read(name).cells[-1]

    assert last.cell_type == "markdown"
    assert last.source.startswith("**What next:** ")
    assert "\n\n" not in last.source


@each_notebook
def test_links_lead_to_notebooks_beside_it(name: str) -> None:
    """So they work in JupyterLab, on Binder and on the site, wherever the server's root is."""
    prose = "".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")

    assert set(LINK.findall(prose)) <= set(NAMES)


@each_notebook
def test_no_notebook_encodes_by_hand_or_waits_in_a_loop(name: str) -> None:
    code = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "code")

    assert "base64" not in code
    assert "while " not in code


@each_notebook
def test_a_notebook_says_how_to_get_real_pictures(name: str) -> None:
    first = read(name).cells[0].source

    assert "FAL_KEY" in first
    assert "IMAGEN_API_KEY" in first


@each_notebook
def test_only_the_app_leaves_the_provider_open(name: str) -> None:
    """Run All on a machine with a key must not come with a bill."""
    selected = "%env IMAGEN_PROVIDER=demo\n" in read(name).cells[1].source

    assert selected == (name != APP)


@each_notebook
def test_what_is_committed_is_small_and_shows_its_pictures(name: str) -> None:
    notebook = read(name)

    assert (FOLDER / name).stat().st_size <= MAX_BYTES
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert _pictures(notebook) or name == APP


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
    without_pictures = re.sub(r"base64,[A-Za-z0-9+/=]+|[A-Za-z0-9+/=\n]{1000,}", "", text)
    return re.findall(r"(?<![\w~.:/<])/(?:\w[\w.-]*/)+\w*", without_pictures)
