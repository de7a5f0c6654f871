"""A stage for the magic: a real shell, and a queue on loopback that notes what is sent."""

from __future__ import annotations

import atexit
import base64
import io
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from PIL import Image
from traitlets.config import Config

if TYPE_CHECKING:
    import pytest

Json = dict[str, Any]

_PROMPT = re.compile(r"Out\[\d+\]: ?")


def _picture() -> str:
    sink = io.BytesIO()
    Image.new("RGB", (16, 16), "orange").save(sink, "PNG")
    return "data:image/png;base64," + base64.b64encode(sink.getvalue()).decode()


class Queue:
    """Answers every request with orange pictures at once; a prompt may ask for a refusal.

    Attributes:
        sent: The bodies of all submits, with the endpoint as `model`, oldest first.
    """

    def __init__(self) -> None:
        self.sent: list[Json] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """End the server and its thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def submit(self, endpoint: str, body: Json) -> Json:
        """Take a job and name its addresses."""
        self.sent.append({"model": endpoint, **body})
        number = len(self.sent)
        app = "/".join(endpoint.split("/")[:2])
        address = f"{self.url}/{app}/requests/{number}"
        return {
            "request_id": str(number),
            "status": "IN_QUEUE",
            "queue_position": 0,
            "status_url": f"{address}/status",
            "response_url": address,
            "cancel_url": f"{address}/cancel",
        }

    def answer(self, path: str) -> tuple[int, Json]:
        """Answer about a job: it is done."""
        number = re.search(r"/requests/(\d+)", path)
        assert number is not None, path
        if path.endswith("/status"):
            return 200, {"status": "COMPLETED", "request_id": number[1]}
        body = self.sent[int(number[1]) - 1]
        if "REFUSE" in body["prompt"]:
            problem = {"type": "content_policy_violation", "msg": "No.", "loc": ["body", "prompt"]}
            return 422, {"detail": [problem]}
        picture = {"url": _picture(), "content_type": "image/png"}
        return 200, {"images": [picture] * body.get("num_images", 1), "seed": 7}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        queue = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self._send(200, queue.submit(self.path.strip("/"), body))

            def do_GET(self) -> None:
                self._send(*queue.answer(self.path.partition("?")[0]))

            def log_message(self, *_: object) -> None:
                """Print nothing."""

            def _send(self, status: int, answer: Json) -> None:
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        return Handler


@dataclass
class Ran:
    """What became of one cell.

    Attributes:
        value: What its last expression returned.
        error: The exception that ended it, or None.
        printed: All that was printed, prompts of the displayhook left out.
        outputs: The data of each of its outputs as they are in the end.
        updates: How often an output was updated.
        sent: The bodies that the queue got.
    """

    value: object
    error: BaseException | None
    printed: str
    outputs: list[Json]
    updates: int
    sent: list[Json]

    @property
    def shown(self) -> list[str]:
        """The text of everything that the cell shows, its outputs first."""
        return [o["text/plain"] for o in self.outputs] + ([self.printed] if self.printed else [])


def new_shell(**traits: object) -> InteractiveShell:
    """Return a shell of its own, without history; traits are those of ImagenMagics."""
    config = Config({"HistoryManager": {"enabled": False}, "ImagenMagics": traits})
    shell = InteractiveShell(config=config)  # type: ignore[no-untyped-call]  # IPython's
    shell.display_pub = CapturingDisplayPublisher(shell=shell)  # type: ignore[no-untyped-call]  # idem
    # Each shell would collect all garbage once at the end of the process: minutes, for hundreds.
    atexit.unregister(shell.atexit_operations)
    return shell


def run_cell(shell: InteractiveShell, cell: str) -> ExecutionResult:
    """Run a cell as a user would."""
    result: ExecutionResult = shell.run_cell(cell, store_history=True)  # type: ignore[no-untyped-call]  # IPython's
    return result


def outputs_of(shell: InteractiveShell) -> list[Json]:
    """Return the messages of displays, oldest first; the list is the shell's own."""
    publisher = shell.display_pub
    assert isinstance(publisher, CapturingDisplayPublisher)
    return publisher.outputs


@dataclass
class Stage:
    """A shell with the extension, on the queue."""

    queue: Queue
    capsys: pytest.CaptureFixture[str]
    shell: InteractiveShell = field(init=False)

    def __post_init__(self) -> None:
        self.shell = new_shell()
        self.run("%load_ext imagen_widget")

    def run(self, cell: str) -> Ran:
        """Run a cell as a user would."""
        before, outputs = len(self.queue.sent), outputs_of(self.shell)
        outputs.clear()
        self.capsys.readouterr()
        result = run_cell(self.shell, cell)
        final: dict[object, Json] = {}
        for output in outputs:
            final[(output["transient"] or {}).get("display_id")] = output["data"]
        return Ran(
            value=result.result,
            error=result.error_in_exec or result.error_before_exec,
            printed=_PROMPT.sub("", "".join(self.capsys.readouterr())).strip(),
            outputs=list(final.values()),
            updates=sum(bool(output["update"]) for output in outputs),
            sent=self.queue.sent[before:],
        )
