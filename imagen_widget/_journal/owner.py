"""Who works on a job: names for processes, and whether the process behind a name is surely gone.

A name that cannot be judged (another host, Windows) counts as alive; its lease then runs out.
"""

import functools
import os
import platform
import secrets
from pathlib import Path

_NO_TOKEN = ""
_GONE = "dead"
_START_TIME_FIELD = 19  # field 22 of /proc/PID/stat, counted after the name in brackets
_STATE_FIELD = 0


def new_owner() -> str:
    """Return a name for one journal of this process: `host:pid:start:random`."""
    pid = os.getpid()
    return f"{platform.node()}:{pid}:{_start_token(pid)}:{secrets.token_hex(4)}"


def is_dead(owner: str) -> bool:
    """Return True if the process that took this name is surely gone."""
    if os.name == "nt":
        return False  # os.kill with 0 does not ask there, it sends Ctrl-C
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
        return False  # it belongs to another user, or the name is not ours
    return _is_another(int(pid_text), start)


def is_visible(owner: str) -> bool:
    """Return True if a process of that name surely runs where this one sees it.

    The name of a host is not enough: machines of a team, and containers, can share one.
    """
    start = owner.split(":")[2] if owner.count(":") >= 2 else ""
    return bool(_place()) and start.startswith(_place())


def _is_another(pid: int, start: str) -> bool:
    """Return True if the number now belongs to a zombie or to a later process."""
    if start == _NO_TOKEN:
        return False
    now = _start_token(pid)
    return now not in {start, _NO_TOKEN}


def _start_token(pid: int) -> str:
    """Return what distinguishes a process from others of its number; "" without /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _NO_TOKEN
    fields = stat.rpartition(")")[2].split()
    if fields[_STATE_FIELD] in {"Z", "X"}:
        return _GONE  # killed, and not yet waited for by its parent
    return f"{_place()}{fields[_START_TIME_FIELD]}" if _place() else _NO_TOKEN


@functools.cache
def _place() -> str:
    """Return what distinguishes the boot and the container that this process sees; or ""."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return f"{boot[:8]}-{Path('/proc/self/ns/pid').stat().st_ino}-"
    except OSError:
        return ""
