"""A real Jupyter kernel for tests: it is sent cells as a front end sends them.

No wait is unbounded and none sleeps: each waits for the kernel's next message.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import time
from typing import TYPE_CHECKING

import zmq
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from tests.kernel.outputs import Cell, Json, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from jupyter_client.blocking.client import BlockingKernelClient

WAIT_SECONDS = 60.0  # far more than any cell here takes: a slow machine must fail no test
ALIVE_CHECK_SECONDS = 1.0
LOG_CHARACTERS = 3000
# A cell after which jobs are asked for at once, not when their model is usually done.
QUICK = "from imagen_widget._providers.fal import Fal; Fal.usual_seconds = lambda *_: 0.1"
FOREIGN = ("FAL_", "IMAGEN_", "JUPYTER", "PYTHON", "PYTEST")


class KernelTimeoutError(TimeoutError):
    """What was awaited did not come in time; the message ends with the kernel's own log."""


class KernelDiedError(RuntimeError):
    """The kernel's process ended while something was awaited from it."""


class Kernel:
    """A running kernel; `run` a cell, or `start` it and `finish` it later."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient, log: Path) -> None:
        self._manager = manager
        self._client = client
        self._log = log
        self._cells: dict[str, Cell] = {}
        self._idle: set[str] = set()  # ids of messages that the kernel has dealt with
        self._replies: dict[str, Json] = {}
        self._poller = zmq.Poller()
        for channel in (client.iopub_channel, client.shell_channel):
            self._poller.register(channel.socket, zmq.POLLIN)

    def run(self, code: str, *, seconds: float = WAIT_SECONDS) -> Outcome:
        """Run one cell to its end.

        Raises:
            KernelTimeoutError: It did not end within so many seconds.
            KernelDiedError: The kernel's process ended.
        """
        return self.finish(self.start(code), seconds=seconds)

    def start(self, code: str) -> str:
        """Send a cell without waiting; returns its id."""
        cell: str = self._client.execute(code, allow_stdin=False)
        self._cells[cell] = Cell()
        return cell

    def finish(self, cell: str, *, seconds: float = WAIT_SECONDS) -> Outcome:
        """Wait until a cell that was started has ended."""
        self.wait_until(lambda: self._cells[cell].done, seconds=seconds)
        return self.outcome(cell)

    def queue(self, codes: Sequence[str], *, seconds: float = WAIT_SECONDS) -> list[Outcome]:
        """Send all cells at once, as Run All does, then wait for the last of them.

        Raises:
            KernelTimeoutError: Some never ended; the message says which.
        """
        cells = [self.start(code) for code in codes]
        self.wait_until(lambda: all(self._cells[cell].done for cell in cells), seconds=seconds)
        return [self.outcome(cell) for cell in cells]

    def outcome(self, cell: str) -> Outcome:
        """Return a cell as far as its messages have been read; waits for nothing."""
        return self._cells[cell].outcome()

    def wait_for_text(self, cell: str, text: str, *, seconds: float = WAIT_SECONDS) -> Outcome:
        """Wait until a cell, running or over, shows a text."""
        self.wait_until(lambda: text in self.outcome(cell).text, seconds=seconds)
        return self.outcome(cell)

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = WAIT_SECONDS) -> None:
        """Read messages until the condition holds.

        Raises:
            KernelTimeoutError: It did not within so many seconds.
            KernelDiedError: The kernel's process ended.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise KernelTimeoutError(self._describe(f"nothing after {seconds:g} s"))
            if self._poller.poll(int(1000 * min(left, ALIVE_CHECK_SECONDS))):
                self._read()
            elif not self._manager.is_alive():
                raise KernelDiedError(self._describe("the process ended"))

    def interrupt(self) -> None:
        """Do what Kernel > Interrupt does."""
        self._manager.interrupt_kernel()

    def kill(self) -> None:
        """End the process at once, as a crash would; a manager would interrupt it before."""
        assert self._manager.provisioner is not None
        os.kill(self._manager.provisioner.pid, signal.SIGKILL)  # type: ignore[attr-defined]  # local
        self._manager.shutdown_kernel(now=True)

    def click(self, model_id: str, *, subshell: str | None = None) -> None:
        """Click a widget's button and wait until the kernel has dealt with it."""
        message = {"method": "custom", "content": {"event": "click"}}
        self.send_to_widget(model_id, message, subshell=subshell)

    def set_trait(
        self, model_id: str, *, subshell: str | None = None, **state: str | float | bool
    ) -> None:
        """Change a widget's traits from the browser's side, such as `value` of a text."""
        message = {"method": "update", "state": state, "buffer_paths": []}
        self.send_to_widget(model_id, message, subshell=subshell)

    def send_to_widget(self, model_id: str, data: Json, *, subshell: str | None = None) -> None:
        """Send a widget a message, on a subshell if one is named; wait until it is dealt with."""
        message = self._client.session.msg("comm_msg", {"comm_id": model_id, "data": data})
        message["header"]["subshell_id"] = subshell
        self._client.shell_channel.send(message)
        self.wait_until(lambda: message["header"]["msg_id"] in self._idle)

    def open_subshell(self) -> str | None:
        """Open a subshell, as JupyterLab does for each widget; None where the kernel has none."""
        info = self._client.kernel_info()
        self.wait_until(lambda: info in self._replies)
        if "kernel subshells" not in self._replies[info].get("supported_features", []):
            return None
        request = self._client.session.msg("create_subshell_request", {})
        self._client.control_channel.send(request)
        reply = self._client.get_control_msg(timeout=WAIT_SECONDS)
        return str(reply["content"]["subshell_id"])

    def _read(self) -> None:
        """Take every message that is there."""
        while self._client.iopub_channel.msg_ready():
            self._take_output(self._client.iopub_channel.get_msg(timeout=0))
        while self._client.shell_channel.msg_ready():
            message = self._client.shell_channel.get_msg(timeout=0)
            parent = message["parent_header"].get("msg_id", "")
            self._replies[parent] = message["content"]
            if parent in self._cells:
                self._cells[parent].reply = message["content"]

    def _take_output(self, message: Json) -> None:
        kind, content = message["msg_type"], message["content"]
        parent = message["parent_header"].get("msg_id", "")
        if kind == "status" and content["execution_state"] == "idle":
            self._idle.add(parent)
        if kind == "update_display_data":
            for cell in self._cells.values():
                cell.update(content["transient"]["display_id"], content)
        elif parent in self._cells:
            self._cells[parent].add(kind, content)

    def _describe(self, problem: str) -> str:
        states = [cell.outcome().status for cell in self._cells.values()]
        log = self._log.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS:]
        return f"{problem}; cells: {states}; the kernel's log ends:\n{log}"


@contextlib.contextmanager
def running_kernel(python: Path, folder: Path, settings: Mapping[str, str]) -> Iterator[Kernel]:
    """Start a kernel of one interpreter with a home of its own, and end it in any case.

    Args:
        python: The interpreter, of an environment that has ipykernel.
        folder: Home and working folder of the kernel.
        settings: Environment variables on top of an environment without ours.
    """
    spec = folder / "specs" / "kernels" / "tested"
    spec.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    described = {"argv": argv, "display_name": "tested", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(described), encoding="utf-8")

    log = folder / "kernel.log"
    with log.open("wb") as sink, sockets() as at:
        manager = KernelManager(
            kernel_name="tested",
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(spec.parent)]),
            connection_file=str(folder / "connection.json"),
            **at,
        )
        manager.start_kernel(
            cwd=str(folder), env=_environment(folder, settings), stdout=sink, stderr=sink
        )
        try:
            with _connected(manager) as client:
                yield Kernel(manager, client, log)
        finally:
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()


@contextlib.contextmanager
def sockets() -> Iterator[dict[str, str]]:
    """Give a kernel manager's traits for sockets that have a path, which must be short.

    A free port may be somebody else's by the time that the kernel has started.
    """
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        yield {"transport": "ipc", "ip": f"{folder}/socket"}


@contextlib.contextmanager
def _connected(manager: KernelManager) -> Iterator[BlockingKernelClient]:
    client: BlockingKernelClient = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=WAIT_SECONDS)
        yield client
    finally:
        client.stop_channels()


def _environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    foreign = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    home = {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython")}
    jupyter = {f"JUPYTER_{kind}_DIR": str(folder / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    quiet = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # the debugger warns about frozen modules
    return {**foreign, **home, **jupyter, **quiet, **settings}
