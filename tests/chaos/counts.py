"""How often each property is put to the test: enough for `make test`, more by IMAGEN_CHAOS_COUNT.

`make chaos` sets it to 200, for the large figures: 5,000 submits, 50 crashes at each point, 1,000
looks at the journal, ten kills of a series of 300 rows, 5,000 jobs at a gateway that answers oddly.
"""

from __future__ import annotations

import os
import sys

import pytest

_COUNT = int(os.environ.get("IMAGEN_CHAOS_COUNT", "0"))  # read before the tests lose IMAGEN_*

SUBMITS = 25 * _COUNT or 300
FAL_SUBMITS = 2 * _COUNT or 150  # the official client waits longer for each fault
CRASHES = _COUNT // 4 or 1
POSTS = 5 * _COUNT or 100
EXAMPLES = 2 * _COUNT or 30
SERIES_KILLS = _COUNT // 20 or 5
SERIES_ROWS = 3 * _COUNT // 2 or 60
ODD_JOBS = 25 * _COUNT or 300


def show(capsys: pytest.CaptureFixture[str], figure: str) -> None:
    """Print a figure, whatever pytest captures."""
    with capsys.disabled():
        sys.stdout.write(f"\n{figure}\n")
