"""Jupyter servers for browser tests: JupyterLab, Notebook 7, Voila, each in its own home."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal
from urllib.parse import quote

import nbformat
import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FrontEnd = Literal["lab", "notebook", "voila"]

START_SECONDS = 60.0
STOP_SECONDS = 60.0
PAUSE_SECONDS = 0.05
STARTS = 3  # another process may take the free port between finding and using it
READY = "is running at"
FOREIGN = ("FAL_", "IMAGEN_", "JUPYTER", "PYTEST")
TOKEN = "made-up-token"

# Without these a pop-up with news covers the corner of every screenshot.
QUIET_LAB = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}


@dataclass(frozen=True)
class JupyterServer:
    """A running server.

    Attributes:
        front_end: What it serves notebooks with.
        root: Folder whose notebooks it serves.
        home: Home folder of the server and its kernels.
        url: Where it listens, without a slash at the end.
        query: What is added to the address of each notebook.
    """

    front_end: FrontEnd
    root: Path
    home: Path
    url: str
    query: str = ""

    def address(self, notebook: str) -> str:
        """Return the address that opens one notebook of the root folder."""
        path, query = quote(notebook), f"?token={TOKEN}{self.query}"
        match self.front_end:
            case "lab":
                return f"{self.url}/doc/tree/{path}{query}&reset"
            case "notebook":
                return f"{self.url}/notebooks/{path}{query}"
            case "voila":
                return f"{self.url}/voila/render/{path}{query}"

    def write_notebook(self, name: str, cells: Sequence[str]) -> None:
        """Put a notebook of code cells into the root folder."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(notebook, self.root / name)


@contextlib.contextmanager
def running_server(
    front_end: FrontEnd,
    folder: Path,
    *,
    theme: Literal["light", "dark"] = "light",
    settings: Mapping[str, str] | None = None,
    root: Path | None = None,
    programs: Path | None = None,
    launcher: Sequence[str] = (),
) -> Iterator[JupyterServer]:
    """Start a server and end it, with its kernels, in any case.

    Args:
        front_end: Which one to start.
        folder: An empty folder for its home and its notebooks.
        theme: The theme it opens with.
        settings: Environment variables of its kernels.
        root: Folder whose notebooks it serves; by default an empty one.
        programs: Folder of the Jupyter programs; by default those beside this Python.
        launcher: What starts the program, if it is not started by itself.
    """
    home = folder / "home"
    home.mkdir(parents=True)
    if root is None:
        root = folder / "notebooks"
        root.mkdir()
    _write_lab_settings(home, theme)
    environment = _environment(home, settings or {})
    programs = programs or Path(sys.executable).parent
    process, port = _start(
        lambda port: [*launcher, *_command(front_end, port, root, theme, programs)],
        root,
        environment,
    )
    try:
        yield JupyterServer(front_end, root, home, f"http://127.0.0.1:{port}")
    finally:
        process.stop()


class _Process:
    """A server's process; its output is read all the time, else it would block one day."""

    def __init__(self, command: list[str], root: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._settled = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def wait_until_ready(self, port: int) -> bool:
        """Wait until it listens on the port; return False if it ended or took too long.

        A Jupyter server says that it is running before it has bound its port.
        """
        if not self._settled.wait(START_SECONDS) or READY not in self.log:
            return False
        end = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), START_SECONDS).close()
            except ConnectionRefusedError:
                time.sleep(PAUSE_SECONDS)  # no event tells when another process listens
            else:
                return True
        return False

    def stop(self) -> None:
        """Kill it with its kernels: an orderly end takes a second for each of them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            server = psutil.Process(self._process.pid)
            for process in (*server.children(recursive=True), server):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._lines.append(line)
                if READY in line:
                    self._settled.set()
        self._settled.set()


def _start(
    command: Callable[[int], list[str]], root: Path, environment: Mapping[str, str]
) -> tuple[_Process, int]:
    for _ in range(STARTS):
        port = _free_port()
        process = _Process(command(port), root, environment)
        if process.wait_until_ready(port):
            return process, port
        process.stop()
    message = f"the server did not start; its log:\n{process.log}"
    raise RuntimeError(message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(front_end: FrontEnd, port: int, root: Path, theme: str, programs: Path) -> list[str]:
    flags = [f"--port={port}", "--no-browser"]
    if front_end == "voila":
        program, app = "voila", "Voila"
        flags += ["--Voila.ip=127.0.0.1", f"--Voila.token={TOKEN}", f"--theme={theme}", str(root)]
    else:
        program, app = (
            ("jupyter-lab", "LabApp")
            if front_end == "lab"
            else ("jupyter-notebook", "JupyterNotebookApp")
        )
        flags += [
            "--ip=127.0.0.1",
            "--allow-root",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={TOKEN}",
            f"--ServerApp.root_dir={root}",
            f"--{app}.expose_app_in_browser=True",  # window.jupyterapp: how tests run cells
            "--LabApp.extension_manager=readonly",  # no look at a package index
        ]
    return [str(programs / program), *flags]


def _environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {
        **ours,
        "HOME": str(home),
        "TMPDIR": str(home),  # a server that is killed leaves its files there
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "IMAGEN_PROVIDER": "demo",
        "IMAGEN_HOME": str(home / "imagen"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger warns about frozen modules
        **settings,
    }


def _write_lab_settings(home: Path, theme: str) -> None:
    folder = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    folder.mkdir(parents=True)
    themes = {"theme": f"JupyterLab {theme.title()}"}
    for name, content in (("notification", QUIET_LAB), ("themes", themes)):
        path = folder / f"{name}.jupyterlab-settings"
        path.write_text(json.dumps(content), encoding="utf-8")
