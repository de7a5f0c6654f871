"""Opens the quickstart in JupyterLab on the demo, and says where it is; for `make demo`.

JupyterLab's own messages go to build/jupyter.log: the address is what matters.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_runtime_dir

ROOT = Path(__file__).parents[2]
LOG = ROOT / "build" / "jupyter.log"
START_SECONDS = 60.0
LOOK_SECONDS = 0.05
QUIET = (
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdates",
)


def main(notebook: str, *flags: str) -> int:
    """Serve the repository until interrupted or ended, and return the server's exit status."""
    LOG.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", *QUIET, *flags]
    with LOG.open("w") as log, subprocess.Popen(command, cwd=ROOT, stderr=log) as server:
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        found = _wait_for(server)
        if found is None:
            print(f"JupyterLab did not start:\n{LOG.read_text()[-2000:]}", file=sys.stderr)
            server.kill()
            return 1
        address = f"{found['url']}lab/tree/{notebook}?token={found['token']}"
        print(f"The quickstart is at {address}\nCtrl+C stops it.", flush=True)
        _open(address)
        while True:
            with contextlib.suppress(KeyboardInterrupt):  # the server gets it too, and ends
                return server.wait()


def _wait_for(server: "subprocess.Popen[bytes]") -> dict[str, Any] | None:
    """Return what the server says of itself once it is up; None if it has ended or takes ages."""
    about = Path(jupyter_runtime_dir()) / f"jpserver-{server.pid}.json"
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(about.read_text("utf-8"))
            return found
        time.sleep(LOOK_SECONDS)
    return None


def _open(address: str) -> None:
    """Open the address in a browser with windows, if there is one."""
    with contextlib.suppress(webbrowser.Error):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:  # those run in this terminal
            browser.open(address)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
