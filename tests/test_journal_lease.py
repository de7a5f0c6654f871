"""A process is called dead only where that is sure."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from imagen_widget._journal import _lease as _journal_lease
from tests.jobs import (
    HOST,
)


def test_a_killed_process_that_nobody_waited_for_counts_as_dead() -> None:
    corpse = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = _journal_lease._start_token(corpse.pid)  # noqa: SLF001 - what its own journal writes
    owner = f"{HOST}:{corpse.pid}:{start}:x"

    with corpse:
        assert not _journal_lease.is_dead(owner)
        corpse.kill()
        os.waitid(os.P_PID, corpse.pid, os.WEXITED | os.WNOWAIT)
        assert _journal_lease.is_dead(owner)


def test_this_process_is_alive() -> None:
    assert not _journal_lease.is_dead(_journal_lease.new_owner())


@pytest.mark.parametrize(
    "owner", ["elsewhere:1:x:y", "", "nonsense", f"{HOST}:x:y:z", f"{HOST}:{2**70}::x"]
)
def test_a_name_that_cannot_be_judged_counts_as_alive(owner: str) -> None:
    assert not _journal_lease.is_dead(owner)
