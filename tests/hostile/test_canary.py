"""A key reaches its gateway and nothing else: no file, message, log, traceback or stranger.

A notebook in a real kernel does all that a user can do, with every log at DEBUG, against a gateway
that echoes the key wherever it can. Then everything that was written or sent is searched.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from traitlets.config import Config

from tests.fakequeue import FakeQueue, Received, Reply
from tests.hostile.canary import KEY, files_below, forms, leaks
from tests.hostile.canary_cells import cells
from tests.kernel.harness import QUICK, sockets

pytestmark = pytest.mark.kernel

ON_PURPOSE = (".env", "typed.txt")  # where the user put the key
CELL_SECONDS = 60
# Where the key comes from, and in which of IPython's modes tracebacks are looked at then.
MODES = {
    "environment": ("Plain", "Context", "Verbose", "Minimal"),
    ".env": ("Verbose",),
    "login": ("Verbose",),
}
MIN_BYTES = 300_000


class Recording(NotebookClient):
    """Runs a notebook and keeps every message of the kernel."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.messages: list[bytes] = []

    def process_message(self, msg: dict[str, Any], *args: Any) -> Any:
        """Keep a message, with its buffers, before it is dealt with."""
        self.messages.append(json.dumps(msg["content"], default=str).encode())
        self.messages += [bytes(buffer) for buffer in msg.get("buffers", ())]
        return super().process_message(msg, *args)


class EchoingGateway(FakeQueue):
    """A gateway that says the key wherever a gateway can say anything."""

    def __init__(self) -> None:
        super().__init__()
        self._names = (f"job-{number}" for number in itertools.count(1))
        self._next = ""
        self.ids = iter(lambda: self._next, None)
        for route in ("submit", "status", "result", "cancel"):
            self.always(route, getattr(self, f"_echo_{route}"))

    def _echo_submit(self, request: Received) -> Reply:
        echo = self._said(request)
        if request.arguments["prompt"] == "refuse me":
            return self._reply(request, 401, {"error": {"message": f"bad token {echo}"}})
        self._next = next(self._names)
        body = {"status": "IN_QUEUE", "request_id": self._next, "echo": echo}
        return self._reply(request, 200, body, accepts=True)

    def _echo_status(self, request: Received) -> Reply:
        echo, job = self._said(request), self.jobs[request.path.split("/")[-2]]
        if job.asked["status"] == 1:
            line = {"message": f"worker has {echo}", "level": echo, "timestamp": echo}
            return self._reply(request, 202, {"status": "IN_PROGRESS", "logs": [line]})
        broken = {"error": f"failed for {echo}", "error_type": echo}
        more = broken if job.wish == "break me" else {}
        return self._reply(request, 200, {"status": "COMPLETED", **more})

    def _echo_result(self, request: Received) -> Reply:
        echo, name = self._said(request), request.path.split("/")[-1]
        if self.jobs[name].wish == "break me":
            error = {"detail": f"failed for {echo}", "error_type": "internal_error"}
            return self._reply(request, 500, error)
        pictures = [{"url": f"{self.media_base}/files/{name}/0.png"}]
        told = {"images": pictures, "description": f"made for {echo}", "seed": 5}
        return self._reply(request, 200, told)

    def _echo_cancel(self, request: Received) -> Reply:
        return self._reply(request, 200, {"status": self._said(request)})

    @staticmethod
    def _said(request: Received) -> str:
        return request.headers.get("authorization", "nobody")

    def _reply(
        self, request: Received, status: int, body: dict[str, Any], *, accepts: bool = False
    ) -> Reply:
        echo = self._said(request)
        return Reply(status, body, {"x-echo": echo, "set-cookie": echo}, accepts=accepts)


def _run(folder: Path, source: str, gateway_url: str) -> Recording:
    """Run the notebook in a kernel that finds the key in one place."""
    ours = {
        "HOME": str(folder / "home"),
        "IPYTHONDIR": str(folder / "ipython"),
        "IMAGEN_HOME": str(folder / "imagen"),
        "IMAGEN_PROVIDER": "kkiai",
        "IMAGEN_BASE_URL": gateway_url,
        "IMAGEN_POLL_SECONDS": "0.05",
        "PYTHONASYNCIODEBUG": "1",
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    work = folder / "work"
    work.mkdir()
    match source:
        case "environment":
            ours["IMAGEN_API_KEY"] = KEY
        case ".env":
            (work / ".env").write_text(f"export IMAGEN_API_KEY='{KEY}'\n")
        case _:
            (work / "typed.txt").write_text(KEY)
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(cell)
            for cell in (QUICK, *cells(login=source == "login", modes=MODES[source]))
        ]
    )
    with (folder / "kernel.log").open("wb") as log, sockets() as at:
        client = Recording(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            allow_errors=True,
            ipython_hist_file=str(folder / "history.sqlite"),
            config=Config(KernelManager=at),
        )
        client.execute(env={**os.environ, **ours}, cwd=str(work), stdout=log, stderr=log)
    return client


def _texts(client: Recording) -> str:
    return "".join(
        "".join(output.get("text", "")) + "".join(output.get("traceback", []))
        for cell in client.nb.cells
        for output in cell.outputs
    )


@pytest.mark.parametrize("source", MODES)
def test_the_key_reaches_its_gateway_and_nothing_else(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway, stranger = EchoingGateway(), FakeQueue()
    with gateway.serve() as url, stranger.serve() as gateway.media_base:
        client = _run(tmp_path, source, url)

    notebook = tmp_path / "work" / "saved.ipynb"
    nbformat.write(client.nb, notebook)
    html, _ = HTMLExporter().from_notebook_node(client.nb)  # type: ignore[no-untyped-call]  # nbconvert's
    found = files_below(tmp_path, besides=ON_PURPOSE)
    found[tmp_path / "iopub"] = b"\n".join(client.messages)
    found[tmp_path / "html"] = html.encode()
    found[tmp_path / "stranger"] = repr(
        [(request.url, request.headers, request.body) for request in stranger.requests]
    ).encode()
    leaking = {str(path.relative_to(tmp_path)): leaks(data) for path, data in found.items()}
    leaking = {path: kinds for path, kinds in leaking.items() if kinds}
    size = sum(map(len, found.values()))
    with capsys.disabled():
        print(
            f"\nCanary ({source}): {len(found)} places, {size} bytes, {len(client.messages)} "
            f"messages of the kernel, {len(stranger.requests)} requests elsewhere: "
            f"{len(leaking)} with the key"
        )
    assert leaking == {}
    _check_that_it_was_all_done(client, gateway, found, size)


def _check_that_it_was_all_done(
    client: Recording, gateway: FakeQueue, found: dict[Path, bytes], size: int
) -> None:
    """Check that the search saw what it is for; an empty notebook would hold no key either."""
    texts = _texts(client)
    kinds = {path.suffix or path.name for path in found}

    assert [r for r in gateway.requests if r.headers.get("authorization") == f"Bearer {KEY}"]
    assert {".sqlite", ".png", ".sqlite3", ".ipynb", ".bin", "iopub", "html", "stranger"} <= kinds
    assert "worker has Bearer ***" in texts
    assert "CredentialsError: kkiai refused the key: bad token Bearer ***" in texts
    assert "broken transport" in texts
    assert "InvalidRequest: api_key is a setting" in texts
    assert "InvalidRequest: authorization" in texts
    assert "receive_response_headers.complete" in texts  # httpcore's DEBUG
    assert "Using selector" in texts or "asyncio" in texts
    assert "Secret('***')" in texts
    assert client.nb.metadata.widgets  # the state of the widgets is saved
    assert size > MIN_BYTES


def test_the_search_finds_the_key_in_each_form() -> None:
    assert all(leaks(b"before " + form + b" after") for form in forms())
    assert leaks(b"nothing of the kind") == []
    assert min(len(form) for form in forms()) >= 20
