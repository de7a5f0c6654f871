"""How often each promise is put to the test: enough for CI, and more by IMAGEN_CHAOS_COUNT.

IMAGEN_CHAOS_COUNT=200 gives the large figures: 5,000 submits, 50 crashes at each point, 1,000 looks
at the journal.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_COUNT = int(os.environ.get("IMAGEN_CHAOS_COUNT", "0"))  # read before the tests lose IMAGEN_*

SUBMITS = 25 * _COUNT or 500
FAL_SUBMITS = 2 * _COUNT or 200  # the official client waits longer for each fault
CRASHES = _COUNT // 4 or 2
POSTS = 5 * _COUNT or 150
EXAMPLES = 2 * _COUNT or 120


def show(capsys: pytest.CaptureFixture[str], figure: str) -> None:
    """Print a figure, whatever pytest captures."""
    with capsys.disabled():
        sys.stdout.write(f"\n{figure}\n")
