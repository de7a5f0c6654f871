"""How a verb becomes a transaction, for both databases; who holds a job; verbs called in a loop."""

import functools
import os
import platform
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
from anyio import to_thread

from imagen_widget._journal.tables import Raced, Transaction
from imagen_widget._journal.transitions import Submitting

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J", bound="Verbs")

MAX_LEASE_SECONDS = 3600.0  # one that ends later was written under another clock
NOTHING_SENT = "Nothing was sent."

_MAX_TOGETHER = 100  # calls in one transaction
_INHERITED: list[object] = []  # of a fork's parent; kept, because collecting one would close it

_Method = Callable[Concatenate[J, Transaction, P], T]
_Verb = Callable[Concatenate[J, P], T]


def _verb(*, write: bool, after: str = "") -> Callable[[_Method[J, P, T]], _Verb[J, P, T]]:
    def verb_of(method: _Method[J, P, T]) -> _Verb[J, P, T]:
        @functools.wraps(method)
        def verb(self: J, /, *args: P.args, **kwargs: P.kwargs) -> T:
            if self._pid != os.getpid():  # a fork: the connection is the parent's
                _INHERITED.append(self._opened)
                self._begin_process()
            if self._group.tx is not None:
                return method(self, self._group.tx, *args, **kwargs)
            said = NOTHING_SENT if Submitting in map(type, args) else after
            return self._transact(
                lambda tx: method(self, tx, *args, **kwargs), write=write, after=said
            )

        return verb

    return verb_of


# Each makes a verb of a method that works in the transaction it is given.
reads = _verb(write=False)
writes = _verb(write=True)
prepares = _verb(write=True, after=NOTHING_SENT)  # what has to be there before anything is sent


class _Group(threading.local):
    tx: Transaction | None = None  # of the calls that this thread makes together


class _UndoneError(Exception):
    """One of several calls failed, and nothing of any is stored."""


class Verbs(ABC):
    """What a journal of either database is; its verbs are those of `Journal`.

    Nothing is opened or made before the first call; every verb may be called from any thread. All
    raise `JournalError` if the database cannot be used, and `IllegalStep` for an event that is not
    possible or a job that does not exist.
    """

    lease_seconds: float  # how long a job is held from each step on, if nobody renews that
    is_shared: bool  # whether processes on other machines can use the journal

    owner: str  # the name under which this object holds jobs; another one after a fork
    _pid: int
    _opened: Any  # the connection, or a pool of them; None before the first verb
    _lock: threading.RLock
    _group: _Group

    def _begin_process(self, owner: str | None = None) -> None:
        """Note which process this is, before the first verb and after a fork."""
        self._pid, self._opened = os.getpid(), None
        self._lock, self._group = threading.RLock(), _Group()
        name = f"{platform.node()}:{self._pid}:{_start_of(self._pid)}:{secrets.token_hex(4)}"
        self.owner = owner or name

    @abstractmethod
    def _transact(self, body: Callable[[Transaction], T], *, write: bool, after: str) -> T:
        """Run `body` in one transaction; `after` is what the user should know if that fails."""

    def _is_passing(self, error: Exception) -> bool:
        """Return True if the same may succeed in a moment: the transaction runs again."""
        return isinstance(error, Raced)

    def close(self) -> None:
        """Close what is open; a later call opens it again."""
        if self._pid == os.getpid():
            self._close()

    def __del__(self, getpid: Callable[[], int] = os.getpid) -> None:  # `os` may be gone by then
        # From Python 3.13 on, sqlite3 complains of connections that are just dropped.
        if getattr(self, "_pid", None) == getpid():
            self._close()

    def _close(self) -> None:
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def together(self, *calls: Callable[[], Any]) -> list[Any]:
        """Run calls of this journal's verbs as one transaction, with one write to the disk.

        For each call it returns what that returned, or the exception that it raised. If there is
        one, nothing of the others is stored by then, and each runs once more, alone.
        """
        try:
            return self._together(*calls)
        except _UndoneError:
            return [_outcome(call) for call in calls]

    @writes
    def _together(self, tx: Transaction, *calls: Callable[[], Any]) -> list[Any]:
        self._group.tx = tx
        try:
            results = [call() for call in calls]
            tx.flush()
        except Exception as error:
            if self._is_passing(error):
                raise
            raise _UndoneError from error
        finally:
            self._group.tx = None
        tx.waits = True
        return results


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - handed to the one who asked
        return error


# -------------------------------------------------------------- which process is behind a name

# A name is `host:pid:start:random`. One that cannot be judged (another host, Windows) counts as
# alive; its lease then runs out.


def is_dead(owner: str, *, shared: bool) -> bool:
    """Return True if the process of that name is surely gone.

    In a shared journal the name of a host is not enough: machines, and containers, can share one.
    """
    host, pid, start = [*owner.split(":"), "", ""][:3]
    if os.name == "nt" or host != platform.node() or not pid.isdecimal():
        return False  # on Windows os.kill with 0 does not ask, it sends Ctrl-C
    place = "-".join(_start_of(os.getpid()).split("-")[:2])
    if shared and not (place and start.startswith(f"{place}-")):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False  # it belongs to another user, or the name is not ours
    return bool(start) and _start_of(int(pid)) not in {start, ""}


def _start_of(pid: int) -> str:
    """Return what distinguishes a process from others of its number; "" without /proc.

    It is `boot-container-start`, or `dead` for one that its parent has not yet waited for.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        container = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()  # the name in brackets may have blanks
    return "dead" if state in {"Z", "X"} else f"{boot}-{container}-{fields[18]}"


# ---------------------------------------------------------------------- verbs called in a loop


@dataclass(slots=True, eq=False)
class _Entry:
    call: Callable[[], Any]
    begun: bool = False
    outcome: Any = None


class Recorder:
    """Runs verbs of one journal in a worker thread, in the order in which they came.

    A commit waits for the disk: calls that come while one is written go together in the next. What
    a call returns counts only when it is on disk. The 7,007 calls of 1,000 jobs took 674 waits.
    """

    def __init__(self, journal: Verbs) -> None:
        self._journal = journal
        self._turn = anyio.Lock(fast_acquire=True)
        self._waiting: list[_Entry] = []

    async def record(self, verb: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb of the journal and return what it returns, once that is on disk.

        A cancellation before it has begun prevents it; later it is carried out all the same.
        """
        entry = _Entry(functools.partial(verb, *args, **kwargs))
        self._waiting.append(entry)
        try:
            async with self._turn:
                if not entry.begun:
                    await self._write()
        finally:
            if not entry.begun:
                self._waiting.remove(entry)
        if isinstance(entry.outcome, BaseException):
            raise entry.outcome
        value: T = entry.outcome
        return value

    async def close(self) -> None:
        """Close the journal after what was recorded before."""
        async with self._turn:
            await to_thread.run_sync(self._journal.close)

    async def _write(self) -> None:
        entries, self._waiting = self._waiting[:_MAX_TOGETHER], self._waiting[_MAX_TOGETHER:]
        calls = []
        for entry in entries:
            entry.begun = True
            calls.append(entry.call)
        try:
            with anyio.CancelScope(shield=True):  # the others have not been cancelled
                if len(calls) == 1:
                    outcomes = [await to_thread.run_sync(calls[0])]
                else:
                    outcomes = await to_thread.run_sync(self._journal.together, *calls)
        except BaseException as error:  # noqa: BLE001 - all who wait are told, this one too
            outcomes = [error] * len(entries)
        for entry, outcome in zip(entries, outcomes, strict=True):
            entry.outcome = outcome
