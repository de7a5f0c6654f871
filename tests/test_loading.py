"""What `import imagen_widget` and `%load_ext imagen_widget` leave for later."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

LOADED = """\
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.instance().run_line_magic('load_ext', 'imagen_widget')"""
PURE = """\
import imagen_widget
imagen_widget.ImageRequest, imagen_widget.Model, imagen_widget.Provider, imagen_widget.History"""
FOR_PICTURES = {"httpx", "nest_asyncio2", "PIL", "starlette"}
FOR_VIEWS = {"anywidget", "ipywidgets"}
FOR_TEAMS = {"distributed", "fsspec", "narwhals", "pandas", "polars", "psycopg", "pyarrow"}
FOR_IMPORT = {"anyio", "asyncio", "decimal", "IPython", "platformdirs", "sqlite3"}


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import imagen_widget", FOR_PICTURES | FOR_VIEWS | FOR_TEAMS | FOR_IMPORT),
        (PURE, FOR_PICTURES | FOR_VIEWS | FOR_TEAMS | {"IPython"}),
        (LOADED, FOR_PICTURES | FOR_VIEWS | FOR_TEAMS | {"platformdirs"}),
    ],
    ids=["import", "pure", "load_ext"],
)
def test_loading_leaves_what_is_heavy_to_the_first_picture(statement: str, heavy: set[str]) -> None:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert heavy & set(done.stdout.split()) == set()
