"""`python -m imagen_widget` serves the demo queue on a socket, and says plainly why it cannot."""

import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

pytestmark = pytest.mark.slow

START_SECONDS = 120.0  # a server's line within this time, or it did not start
COMMAND = [sys.executable, "-m", "imagen_widget"]


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve on a free port; the process and the line that it printed."""
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lines: queue.Queue[str] = queue.Queue()
        out = process.stdout
        assert out is not None
        threading.Thread(target=lambda: lines.put(out.readline())).start()
        try:
            yield process, lines.get(timeout=START_SECONDS).strip()
        finally:
            process.kill()


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=START_SECONDS, check=False
    )


def test_a_whole_job_goes_over_the_socket() -> None:
    with serving("--seconds", "0") as (_, line):
        found = re.search(r"IMAGEN_BASE_URL=(http://127\.0\.0\.1:\d+)$", line)
        assert found, line
        with httpx.Client(base_url=found[1]) as client:
            body = {"prompt": "a red fox", "aspect_ratio": "16:9"}
            ticket = client.post("/fal-ai/imagen4/preview", json=body).json()
            path = f"/fal-ai/imagen4/requests/{ticket['request_id']}"
            status = client.get(f"{path}/status").json()
            picture = client.get(client.get(path).json()["images"][0]["url"])

    assert status["status"] == "COMPLETED"
    assert picture.content.startswith(b"\x89PNG")


def test_an_interrupt_ends_the_command_quietly() -> None:
    with serving() as (process, line):
        httpx.get(re.findall(r"http://\S+", line)[0])  # it answers, so it listens to signals too
        process.send_signal(signal.SIGINT)
        process.wait(START_SECONDS)
        assert process.stderr is not None
        errors = process.stderr.read()

    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    "arguments", [["--port", "70000"], ["--port", "x"], ["--seconds", "-1"], ["--seconds", "nan"]]
)
def test_numbers_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    done = run([*COMMAND, *arguments])

    assert done.returncode == 2
    assert arguments[0] in done.stderr.splitlines()[-1]


def test_the_help_shows_that_the_bare_command_serves() -> None:
    usage, rest = run([*COMMAND, "--help"]).stdout.split("\n\n", 1)

    assert usage.splitlines() == [
        "usage: python -m imagen_widget [--host HOST] [--port PORT] [--seconds SECONDS]",
        "       python -m imagen_widget journal {copy,check} [ADDRESS ...]",
    ]
    assert "positional arguments" not in rest


def test_a_port_in_use_is_one_line_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run([*COMMAND, "--port", str(taken.getsockname()[1])])

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "--port 0" in done.stderr


def test_the_pace_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_DEMO_SECONDS", "soon")

    done = run(COMMAND)

    assert done.returncode == 2
    assert "'soon'" in done.stderr


def test_the_command_without_uvicorn_names_the_remedy() -> None:
    script = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from imagen_widget.__main__ import main; sys.exit(main([]))"
    )

    done = run([sys.executable, "-c", script])

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("pip install uvicorn\n")
