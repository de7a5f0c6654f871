"""Who works on a job: names for processes, and whether the process behind a name is surely gone.

A name that cannot be judged (another host, Windows) counts as alive; its lease then runs out.
"""

from __future__ import annotations

import os
import platform
import secrets
from pathlib import Path

_NO_TOKEN = ""
_START_TIME_FIELD = 19  # field 22 of /proc/PID/stat, counted after the name in brackets
_STATE_FIELD = 0


def new_owner() -> str:
    """Return a name for one journal of this process: `host:pid:start:random`."""
    pid = os.getpid()
    return f"{platform.node()}:{pid}:{_start_token(pid)}:{secrets.token_hex(4)}"


def is_dead(owner: str) -> bool:
    """Tell whether the process that took this name is surely gone."""
    if os.name == "nt":
        return False  # os.kill with 0 is no question there but a Ctrl-C
    host, _, rest = owner.partition(":")
    pid_text, _, rest = rest.partition(":")
    start, _, _ = rest.partition(":")
    if host != platform.node() or not pid_text.isdecimal():
        return False
    try:
        os.kill(int(pid_text), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False  # it belongs to somebody else, or the name is none of ours
    return _is_another(int(pid_text), start)


def _is_another(pid: int, start: str) -> bool:
    """Tell whether the number now belongs to a corpse or to a later process."""
    if start == _NO_TOKEN:
        return False
    now = _start_token(pid)
    return now not in {start, _NO_TOKEN}


def _start_token(pid: int) -> str:
    """Return what tells a process from others of its number, or "" where there is no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        return _NO_TOKEN
    fields = stat.rpartition(")")[2].split()
    if fields[_STATE_FIELD] in {"Z", "X"}:
        return "dead"  # killed, and not yet waited for by its parent
    return f"{boot[:8]}-{fields[_START_TIME_FIELD]}"
