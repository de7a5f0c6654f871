"""A key reaches its gateway and nothing else: no file, message, log, traceback or stranger.

A notebook in a real kernel does all that a user can do, with every log at DEBUG, against a gateway
that echoes the key wherever it can. Then everything that was written or sent is searched.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from tests.hostile.canary import KEY, files_below, forms, leaks
from tests.hostile.canary_cells import cells
from tests.hostile.server import Received, Server, response
from tests.test_header import PICTURES

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.kernel]

ON_PURPOSE = (".env", "typed.txt")  # where the user put the key
CELL_SECONDS = 60
# Where the key comes from, and in which of IPython's modes tracebacks are looked at then.
MODES = {
    "environment": ("Plain", "Context", "Verbose", "Minimal"),
    ".env": ("Verbose",),
    "login": ("Verbose",),
}
FEWEST_BYTES = 300_000


class Recording(NotebookClient):
    """Runs a notebook and keeps every message of the kernel."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - nbclient's own
        super().__init__(*args, **kwargs)
        self.messages: list[bytes] = []

    def process_message(self, msg: dict[str, Any], *args: Any) -> Any:  # noqa: ANN401 - nbclient's own
        """Keep a message, with its buffers, before it is dealt with."""
        self.messages.append(json.dumps(msg["content"], default=str).encode())
        self.messages += [bytes(buffer) for buffer in msg.get("buffers", ())]
        return super().process_message(msg, *args)


class EchoingGateway:
    """A gateway that says the key wherever a gateway can say anything."""

    def __init__(self) -> None:
        self.prompts: dict[str, str] = {}
        self.asked: dict[str, int] = {}
        self.stranger = ""

    async def answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """Answer, and echo the key in the header and the body."""
        echo = request.headers.get("authorization", "nobody")
        status, body = self._reply(request, echo)
        writer.write(response(status, json.dumps(body).encode(), x_echo=echo, set_cookie=echo))

    def _reply(self, request: Received, echo: str) -> tuple[int, dict[str, Any]]:
        if request.method == "POST":
            return self._submit(json.loads(request.body)["prompt"], echo)
        parts = request.target.partition("?")[0].split("/")
        name = parts[parts.index("requests") + 1]
        self.asked[name] = self.asked.get(name, 0) + 1
        broken = self.prompts.get(name) == "break me"
        if parts[-1] == "status":
            return self._status(name, echo, broken=broken)
        if broken:
            error = {"detail": f"failed for {echo}", "error_type": "internal_error"}
            return 500, error
        pictures = [{"url": f"{self.stranger}/one.png?from={name}"}]
        return 200, {"images": pictures, "description": f"made for {echo}", "seed": 5}

    def _submit(self, prompt: str, echo: str) -> tuple[int, dict[str, Any]]:
        if prompt == "refuse me":
            return 401, {"error": {"message": f"bad token {echo}", "code": echo}}
        name = f"job-{len(self.prompts)}"
        self.prompts[name] = prompt
        return 200, {"status": "IN_QUEUE", "request_id": name, "echo": echo}

    def _status(self, name: str, echo: str, *, broken: bool) -> tuple[int, dict[str, Any]]:
        if self.asked[name] == 1:
            line = {"message": f"worker has {echo}", "level": echo, "timestamp": echo}
            return 202, {"status": "IN_PROGRESS", "logs": [line]}
        failure = {"error": f"failed for {echo}", "error_type": echo} if broken else {}
        return 200, {"status": "COMPLETED", **failure}


async def _run(folder: Path, source: str, gateway_url: str) -> Recording:
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
            for cell in cells(login=source == "login", modes=MODES[source])
        ]
    )
    client = Recording(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        allow_errors=True,
        ipython_hist_file=str(folder / "history.sqlite"),
    )
    with (folder / "kernel.log").open("wb") as log:
        await client.async_execute(
            env={**os.environ, **ours}, cwd=str(work), stdout=log, stderr=log
        )
    return client


def _texts(client: Recording) -> str:
    return "".join(
        "".join(output.get("text", "")) + "".join(output.get("traceback", []))
        for cell in client.nb.cells
        for output in cell.outputs
    )


@pytest.mark.parametrize("source", MODES)
async def test_the_key_reaches_its_gateway_and_nothing_else(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = EchoingGateway()

    async def serve_picture(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, PICTURES["png"], kind="image/png"))

    async with Server(gateway.answer) as own, Server(serve_picture) as stranger:
        gateway.stranger = stranger.url
        client = await _run(tmp_path, source, own.url)

    notebook = tmp_path / "work" / "saved.ipynb"
    nbformat.write(client.nb, notebook)
    html, _ = HTMLExporter().from_notebook_node(client.nb)  # type: ignore[no-untyped-call]  # nbconvert's
    found = files_below(tmp_path, besides=ON_PURPOSE)
    found[tmp_path / "iopub"] = b"\n".join(client.messages)
    found[tmp_path / "html"] = html.encode()
    found[tmp_path / "stranger"] = b"".join(request.raw for request in stranger.requests)
    leaking = {str(path.relative_to(tmp_path)): leaks(data) for path, data in found.items()}
    leaking = {path: kinds for path, kinds in leaking.items() if kinds}
    size = sum(map(len, found.values()))
    with capsys.disabled():
        print(  # noqa: T201 - the figure that is promised
            f"\nCanary ({source}): {len(found)} places, {size} bytes, {len(client.messages)} "
            f"messages of the kernel, {len(stranger.requests)} requests elsewhere: "
            f"{len(leaking)} with the key"
        )
    assert leaking == {}
    _check_that_it_was_all_done(client, own, found, size)


def _check_that_it_was_all_done(
    client: Recording, own: Server, found: dict[Path, bytes], size: int
) -> None:
    """Check that the search saw what it is for; an empty notebook would hold no key either."""
    texts = _texts(client)
    kinds = {path.suffix or path.name for path in found}

    assert [r for r in own.requests if r.headers.get("authorization") == f"Bearer {KEY}"]
    assert {".sqlite", ".png", ".sqlite3", ".ipynb", ".bin", "iopub", "html", "stranger"} <= kinds
    assert "worker has Bearer ***" in texts
    assert "CredentialsError: kkiai refused the key: bad token Bearer ***" in texts
    assert "broken transport" in texts
    assert "receive_response_headers.complete" in texts  # httpcore's DEBUG
    assert "Using selector" in texts or "asyncio" in texts
    assert "Secret('***')" in texts
    assert client.nb.metadata.widgets  # the state of the widgets is saved
    assert size > FEWEST_BYTES


def test_the_search_finds_the_key_in_each_form() -> None:
    assert all(leaks(b"before " + form + b" after") for form in forms())
    assert leaks(b"nothing of the kind") == []
    assert min(len(form) for form in forms()) >= 20
