"""Runs the notebooks on the demo provider and keeps what GitHub shows of them.

`python -m tests.notebooks` runs all of them in place; their outputs are small and static, name no
folder of this machine, and hold no widget state.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from tests.kernel.harness import sockets

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))

CELL_SECONDS = 120
SHOWN_HOME = "~/.local/share/imagen_widget"  # where the pictures are for most readers
LIVE_ONLY = "application/vnd.jupyter.widget-view+json"  # names a model that is gone when reopened
FOREIGN = ("FAL_", "IMAGEN_", "JUPYTER", "OPENAI_", "PG", "PYTEST")


def execute(notebook: NotebookNode, folder: Path, *, demo_seconds: str) -> NotebookNode:
    """Run a notebook as a reader would, in a home of its own; return it with its outputs.

    Args:
        notebook: The notebook.
        folder: An empty folder for what it writes: pictures, history, saved copies.
        demo_seconds: How long the demo takes for a job.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    work = folder / "notebooks"
    work.mkdir(parents=True)
    with sockets() as at:
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            startup_timeout=CELL_SECONDS,
            iopub_timeout=CELL_SECONDS,  # outputs that come later would be dropped
            kernel_name="python3",
            store_widget_state=False,
            resources={"metadata": {"path": str(work)}},
            config=Config(KernelManager=at),
        )
        client.execute(env=_environment(folder, demo_seconds))
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of day say nothing to a reader
    return notebook


def read(name: str) -> NotebookNode:
    """Return a notebook of this project as it is on disk."""
    notebook: NotebookNode = nbformat.read(FOLDER / name, as_version=4)
    return notebook


def tidy(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Take out of the outputs what is not for readers: live-only parts and this machine's paths."""
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not _is_live_only(output)]
            for output in cell.outputs:
                output.get("data", {}).pop(LIVE_ONLY, None)
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    home = str(folder / "imagen")
    shown = _replaced(_replaced(notebook, home, SHOWN_HOME), str(folder), "~")
    tidied: NotebookNode = nbformat.from_dict(shown)
    return tidied


def _is_live_only(output: NotebookNode) -> bool:
    """Return True if a reader without a kernel sees nothing of it but a name."""
    return set(output.get("data", ())) == {LIVE_ONLY, "text/plain"}


def texts(value: Any) -> list[str]:
    """Return every text within a notebook, or within a part of one."""
    match value:
        case str():
            return [value]
        case dict():
            return [text for part in value.values() for text in texts(part)]
        case list():
            return [text for part in value for text in texts(part)]
        case _:
            return []


def _replaced(value: Any, old: str, new: str) -> Any:
    match value:
        case str():
            return value.replace(old, new)
        case dict():
            return {name: _replaced(part, old, new) for name, part in value.items()}
        case list():
            return [_replaced(part, old, new) for part in value]
        case _:
            return value


def _environment(folder: Path, demo_seconds: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {
        **ours,
        "HOME": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        "IMAGEN_HOME": str(folder / "imagen"),
        "IMAGEN_DEMO_SECONDS": demo_seconds,
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger warns about frozen modules
    }


def main(names: Sequence[str]) -> int:
    """Run the named notebooks, or all of them, in place."""
    for name in names or NAMES:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            path = FOLDER / Path(name).name
            done = execute(read(path.name), folder, demo_seconds="2")
            nbformat.write(tidy(done, folder), path)
            sys.stdout.write(f"{path.name}: {path.stat().st_size // 1000} kB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
