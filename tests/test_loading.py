"""What `import imagen_widget` and `%load_ext imagen_widget` leave for later."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """\
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.instance().run_line_magic('load_ext', 'imagen_widget')"""


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import imagen_widget", {"asyncio", "anyio", "decimal", "httpx", "IPython", "sqlite3"}),
        (LOADED, {"httpx", "ipywidgets", "nest_asyncio2", "PIL", "platformdirs", "starlette"}),
    ],
)
def test_loading_leaves_what_is_heavy_to_the_first_picture(statement: str, heavy: set[str]) -> None:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not heavy & set(done.stdout.split())
