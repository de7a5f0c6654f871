"""A process may die at any moment: nothing paid is lost, paid twice, or seen half-written."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from imagen_widget import History, errors, generate, sweep
from tests import books
from tests.chaos.counts import CRASHES, SERIES_KILLS, SERIES_ROWS, show
from tests.chaos.crash_worker import CANCELLING, PICTURE, POINTS
from tests.fakequeue import FakeQueue

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600), pytest.mark.usefixtures("quick")]

ROOT = Path(__file__).parents[2]
WORK_SECONDS = 60
IN_FLIGHT = 5  # rows of a series
FIRST_BYTE = "the provider has the first byte"
SEEN = {  # by the provider: the route, and whether before or after it has decided its answer
    "the provider has the request": ("submit", "before"),
    "the provider has accepted": ("submit", "after"),
    "the provider is asked for the status": ("status", "before"),
    "the provider has told the status": ("status", "after"),
    "the provider is asked for the result": ("result", "before"),
    "the provider has told the result": ("result", "after"),
    "the provider is asked for a picture": ("media", "before"),
    "the provider has sent a picture": ("media", "after"),
    CANCELLING: ("cancel", "after"),
}
WITHOUT_TICKET = {  # the POST may be out, and no answer is on disk
    *("after Submitting", "before Submitted", "while Submitted"),
    *(FIRST_BYTE, "the provider has the request", "the provider has accepted"),
}


class Victim:
    """A process that is killed at a moment that the provider sees."""

    def __init__(self, queue: FakeQueue) -> None:
        self._queue = queue
        self._process: subprocess.Popen[bytes] | None = None

    def kill(self, *_: object) -> None:
        """Kill it once; it is dead when this returns."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(WORK_SECONDS)

    @contextmanager
    def at(self, point: str) -> Iterator[None]:
        """Kill it at a point, if that is one that the provider sees."""
        if point == FIRST_BYTE:
            self._queue.first_byte = self.kill
        elif point in SEEN:
            route, when = SEEN[point]
            getattr(self._queue, when)[route] = self.kill
        yield
        self._queue.first_byte = lambda: None
        self._queue.before.clear()
        self._queue.after.clear()

    def run(self, module: str, *arguments: str) -> int:
        """Run a module until it ends or is killed, and return how it ended."""
        command = [sys.executable, "-m", module, *arguments]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            self._process = process
            try:
                ended = process.wait(WORK_SECONDS)
            finally:
                self._process = None
                process.kill()
        with urllib.request.urlopen(f"{os.environ['IMAGEN_BASE_URL']}/facts"):
            return ended  # the queue has dealt with what the dead one had asked


@pytest.fixture
def victim(queue: FakeQueue) -> Victim:
    return Victim(queue)


def whole_pictures() -> int:
    """Count the visible pictures, each of which must be what its name says."""
    folder = books.home() / "images"
    files = [path for path in folder.rglob("sha256-*") if ".part-" not in path.name]
    for path in files:
        assert path.stem == f"sha256-{sha256(path.read_bytes()).hexdigest()}"
    return len(files)


def test_at_no_point_does_a_crash_lose_or_double_a_paid_picture(
    queue: FakeQueue, victim: Victim, capsys: pytest.CaptureFixture[str]
) -> None:
    points = (*POINTS, FIRST_BYTE, *SEEN)
    unknown: Counter[str] = Counter()
    for index, point in enumerate(points):
        for number in range(CRASHES):
            prompt = f"{point} {number}"
            queue.polls = math.inf if point == CANCELLING else 0
            with victim.at(point):
                ended = victim.run("tests.chaos.crash_worker", point, prompt)
            assert ended == -signal.SIGKILL, f"it did not die: {point}"
            whole_pictures()
            posts = queue.posts
            queue.finish()

            if (index + number) % 2 == 0:  # the next process begins, and either resumes
                resumed = History().resume_all()
                assert [type(r.error) for r in resumed if r.error] == (
                    [errors.JobCancelled] if point == CANCELLING else []
                )
            assert queue.posts == posts, f"resuming sent something for money: {point}"
            try:
                generate(prompt, num_images=2, reuse=True)  # or just runs the cell again
            except errors.SubmitUncertain:
                unknown[point] += 1

            assert queue.paid[prompt] <= 1, f"paid twice: {point}"
            ends = {row.state for row in books.rows() if row.prompt == prompt} - {"failed"}
            wanted = {"unknown"} if unknown[point] > number else {"done"}
            assert ends - {"cancelled"} == wanted, point

    done = [row.prompt for row in books.rows() if row.state == "done"]
    known = {row.prompt for row in books.rows() if row.state in {"done", "unknown"}}
    lost = [prompt for prompt in queue.paid if prompt not in known]
    show(
        capsys,
        f"SIGKILL at {len(points)} points, {CRASHES} times each: {len(lost)} of "
        f"{queue.paid.total()} paid jobs lost, {queue.duplicates} paid twice, 0 partial pictures "
        f"visible; {unknown.total()} without a ticket are unknown and were not sent again",
    )
    assert lost == []
    assert queue.duplicates == 0
    assert set(unknown) == WITHOUT_TICKET
    assert len(done) == len(set(done))
    assert whole_pictures() == 2 * len(done)
    assert History().verify() == []


def test_what_a_dead_process_left_half_written_is_swept(queue: FakeQueue, victim: Victim) -> None:
    victim.run("tests.chaos.crash_worker", f"before {PICTURE}", "a red fox")
    parts = list((books.home() / "images").rglob("*.part-*"))
    for part in parts:
        os.utime(part, (0, 0))  # an hour has passed

    History().resume()

    assert len(parts) >= 1
    assert not any(part.exists() for part in parts)
    assert books.states() == ["done"]


# ----------------------------------------------------------------------------------- whole series

MOMENTS = (
    *(("submit", "before"), ("submit", "after"), ("status", "before"), ("status", "after")),
    *(("result", "before"), ("result", "after"), ("media", "before"), ("media", "after")),
    *(("submit", "after"), ("result", "before")),
)


def test_a_series_killed_at_many_moments_is_finished_by_another_process_and_no_row_is_paid_twice(
    queue: FakeQueue, victim: Victim, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("tests.chaos.series_worker", str(SERIES_ROWS), str(IN_FLIGHT))
    by_the_dead: set[str] = set()
    for number, (route, when) in enumerate(MOMENTS[:SERIES_KILLS]):
        done = SERIES_ROWS * (number + 1) // (2 * SERIES_KILLS)

        def hook(_: object, done: int = done) -> None:
            if queue.count("media") >= done:
                victim.kill()

        getattr(queue, when)[route] = hook
        assert victim.run(*arguments) == -signal.SIGKILL, (route, when)
        queue.before.clear()
        queue.after.clear()
        by_the_dead |= {row.owner for row in books.rows() if row.state != "waiting"}

    numbers = range(SERIES_ROWS)
    series = sweep("fox {number}", number=numbers, name="chaos").run(
        quiet=True, max_in_flight=IN_FLIGHT
    )

    states = series.status_counts
    rows = books.rows()
    remembered = {row.prompt for row in rows if row.state in {"done", "unknown"}}
    lost = set(queue.paid) - remembered
    show(
        capsys,
        f"a series of {SERIES_ROWS} rows killed {SERIES_KILLS} times: {queue.duplicates} rows paid "
        f"twice, {len(lost)} lost; {states['done']} done, {states['unknown']} unknown",
    )
    assert queue.duplicates == 0
    assert lost == set()
    assert len(rows) == SERIES_ROWS == states["done"] + states["unknown"]
    assert states["unknown"] <= IN_FLIGHT * SERIES_KILLS  # the rows that were out without a ticket
    assert len(by_the_dead) >= SERIES_KILLS
    assert len(series.generations) == states["done"]
    posts = queue.posts
    series.run(quiet=True)
    assert queue.posts == posts
