"""A process may die at any moment: nothing paid is lost, paid twice, or seen half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagen_widget import History, _bridge, generate
from imagen_widget._journal import Journal, State
from imagen_widget._picture import inspect
from imagen_widget._store import Store
from imagen_widget.errors import JobCancelled, SubmitUncertain
from tests.billing import Fault, Provider
from tests.chaos.counts import CRASHES, show
from tests.chaos.crash_worker import CANCELLING, INSIDE, STEPS
from tests.chaos.server import Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
WORK_SECONDS = 60
FIRST_BYTE, ACCEPTED = "the provider has the first byte", "the provider has accepted"
POINTS = (*STEPS, CANCELLING, *INSIDE, FIRST_BYTE, ACCEPTED)


class Killer(Provider):
    """A provider that can kill its client at a moment that only a provider sees."""

    point = ""
    victim: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        if self.victim is not None:
            self.victim.kill()
            self.victim.wait(WORK_SECONDS)
            self.victim = None

    def first_byte(self) -> None:
        if self.point == FIRST_BYTE:
            self.kill()

    def handle(self, method: str, path: str, body: bytes = b"") -> Fault:
        reply = super().handle(method, path, body)
        if method == "POST" and self.point == ACCEPTED:
            self.kill()
        return reply


@pytest.fixture
def killer() -> Killer:
    return Killer()


@pytest.fixture
def server(killer: Killer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(killer, at_first_byte=killer.first_byte) as server:
        monkeypatch.setenv("IMAGEN_PROVIDER", "kkiai")
        monkeypatch.setenv("IMAGEN_API_KEY", "made-up")
        monkeypatch.setenv("IMAGEN_BASE_URL", server.url)
        monkeypatch.setenv("IMAGEN_POLL_SECONDS", "0.02")
        monkeypatch.setenv("IMAGEN_TIMEOUT", "30")
        yield server
        _bridge.close()


def crash(killer: Killer, url: str, home: Path, point: str, prompt: str) -> None:
    """Have a process die at a point of its work."""
    killer.point = ""
    killer.polls = float("inf") if point == CANCELLING else 1
    arguments = [url, str(home), "-" if point in {FIRST_BYTE, ACCEPTED} else point, prompt]
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.crash_worker", *arguments], cwd=ROOT
    )
    killer.victim, killer.point = worker, point
    try:
        assert worker.wait(WORK_SECONDS) == -signal.SIGKILL, f"it did not die at: {point}"
    finally:
        killer.victim, killer.point = None, ""
        worker.kill()
        worker.wait(WORK_SECONDS)


def whole_pictures(home: Path) -> int:
    """Count the visible pictures, each of which must be whole and what its name says."""
    store = Store(home)
    files = [path for path in (home / "images").rglob("sha256-*") if ".part-" not in path.name]
    for path in files:
        inspect(path.read_bytes())
        assert store.verify(path.stem.replace("-", ":", 1))
    return len(files)


def test_at_no_point_does_a_crash_lose_or_double_a_paid_picture(
    killer: Killer, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Path(os.environ["IMAGEN_HOME"])
    unknown: Counter[str] = Counter()
    parts = 0
    for point in POINTS:
        for number in range(CRASHES):
            prompt = f"{point} {number}"
            crash(killer, server.url, home, point, prompt)
            whole_pictures(home)
            posts = killer.posts
            killer.finish()
            killer.polls = 1

            if number % 2 == 0:  # the next process begins, and either resumes
                resumed = History().resume_all()
                assert [type(r.error) for r in resumed if r.error] == (
                    [JobCancelled] if point == CANCELLING else []
                )
            assert killer.posts == posts, f"resuming sent something for money: {point}"
            try:
                generate(prompt, num_images=2, reuse=True)  # or just runs the cell again
            except SubmitUncertain:
                unknown[point] += 1

            assert killer.paid[prompt] <= 1, f"paid twice: {point}"
            state = next(r.state for r in Journal(home).rows() if r.request.prompt == prompt)
            assert state is (State.UNKNOWN if unknown[point] > number else State.DONE), point
            parts += Store(home).sweep_parts(older_than_seconds=-1)

    done = {row.request.prompt for row in Journal(home).rows(state=State.DONE)}
    known = done | {row.request.prompt for row in Journal(home).unknown()}
    lost = [prompt for prompt in killer.paid if prompt not in known]
    show(
        capsys,
        f"SIGKILL at {len(POINTS)} points, {CRASHES} times each: {len(lost)} of "
        f"{killer.paid.total()} paid jobs lost, {killer.duplicates} paid twice, 0 partial pictures "
        f"visible; {unknown.total()} without a ticket stand as unknown and were not sent again, "
        f"{parts} .part files swept",
    )
    assert not lost
    assert killer.duplicates == 0
    assert whole_pictures(home) >= 2 * len(done) - len(done)
    assert set(unknown) <= {
        *("submitting", "answered", "in the ticket's transaction"),
        *(FIRST_BYTE, ACCEPTED),
    }
    assert History().verify() == []
