"""Programs that tests run to their end."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


def run_program(
    command: Sequence[str | Path], folder: Path, *, seconds: float, **environment: str
) -> str:
    """Run a command in a folder, with these variables besides; return all that it printed.

    Raises:
        AssertionError: It failed; the message is the end of what it printed.
    """
    ended = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert ended.returncode == 0, ended.stdout[-3000:]
    return ended.stdout
