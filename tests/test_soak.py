"""Many jobs over a real socket, and a whole day, leave nothing behind; the figures are printed."""

import logging
import os
import selectors
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from imagen_widget import History, ImagenWidget, Provider, Studio
from imagen_widget.errors import BudgetExceeded
from tests.fakequeue import FakeQueue, queue_process
from tests.footprint import footprint

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

JOBS = int(os.environ.get("IMAGEN_SOAK_JOBS", "20000"))
AT_ONCE = 100
WARM_UP = 1_000  # allocators, executors and caches settle first
MAX_MEGABYTES = 30.0
WAIT_SECONDS = 120.0

EACH_SECONDS = 360.0  # a job each six minutes, except at night
NIGHT = range(2, 6)  # hours
PRICE, DAY_CAP, MONTH_CAP = 4, 280, 300  # cents
POLLS, LONG_POLLS = 6, 120  # about as many seconds
LONG_EACH = 50  # one job in so many runs for longer than its lease of 120 s
WARM_UP_JOBS = 20
STEP_SECONDS, IDLE_STEP_SECONDS = 0.5, 20.0


def run(studio: Studio, count: int) -> None:
    for first in range(0, count, AT_ONCE):
        jobs = [studio.start(f"fox {first + n} of {count}") for n in range(AT_ONCE)]
        for job in jobs:
            assert len(job.result(WAIT_SECONDS)) == 1


def told(capsys: pytest.CaptureFixture[str], moments: dict[str, dict[str, float]]) -> None:
    with capsys.disabled():
        for name, found in moments.items():
            print(f"\n{name}: " + ", ".join(f"{k} {v:g}" for k, v in found.items()), end="")


def assert_flat(warm: dict[str, float], worked: dict[str, float]) -> None:
    assert worked["rss_mb"] - warm["rss_mb"] <= MAX_MEGABYTES
    assert worked["threads"] <= warm["threads"] + 1
    assert worked["files"] <= warm["files"] + AT_ONCE // 10
    assert worked["sockets"] <= warm["sockets"] + AT_ONCE // 10


@pytest.fixture(autouse=True)
def _no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root.manager, "disable", logging.INFO)  # pytest keeps each record


def test_twenty_thousand_jobs_leave_nothing_behind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with queue_process("--picture-bytes", "10000") as queue:
        studio = Studio(
            "kkiai", base_url=queue.url, api_key="made-up", home=tmp_path, schemas="off"
        )
        run(studio, WARM_UP)
        warm = footprint()
        run(studio, JOBS)
        worked = footprint()

    told(capsys, {"warm": warm, f"{JOBS:,} jobs later": worked})
    assert_flat(warm, worked)


# ------------------------------------------------------------------------------------------ a day


class Day:
    """The time of this process: it passes as the real one, and faster when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, begin: datetime) -> None:
        self._monotonic, self._ahead = time.monotonic, 0.0
        self._wall = begin.timestamp() - time.monotonic()
        self._turns: Counter[int] = Counter()  # of each thread's event loop
        self._select = selectors.DefaultSelector.select
        monkeypatch.setattr(time, "monotonic", self.monotonic)
        monkeypatch.setattr(time, "time", self.now)
        monkeypatch.setattr(selectors.DefaultSelector, "select", self._looking(self._turns))
        defaults = Provider.__init__.__kwdefaults__ or {}
        monkeypatch.setitem(defaults, "clock", self.monotonic)
        monkeypatch.setitem(defaults, "now", self.now)

    def _looking(self, turns: Counter[int]) -> Callable[..., object]:
        """Let event loops look at the clock often: nothing wakes them when time is made to pass."""

        def select(selector: selectors.DefaultSelector, timeout: float | None = None) -> object:
            turns[threading.get_ident()] += 1
            return self._select(selector, 0.001 if timeout is None else min(timeout, 0.001))

        return select

    def monotonic(self) -> float:
        return self._monotonic() + self._ahead

    def now(self) -> float:
        return self._wall + self.monotonic()

    def passes(self, seconds: float) -> None:
        """Let time pass, and wait until all event loops have done what is due."""
        before = dict(self._turns)
        self._ahead += seconds
        while any(self._turns[thread] < turns + 2 for thread, turns in before.items()):
            time.sleep(0.0005)


def moments_of(day: Day, end: datetime) -> Iterator[datetime]:
    """Yield the moments at which something is asked for; between them nothing is done."""
    while (now := day.now()) < end.timestamp():
        at = datetime.fromtimestamp(now).astimezone()
        if at.hour not in NIGHT:
            yield at
        while day.now() < now + EACH_SECONDS:
            day.passes(IDLE_STEP_SECONDS)


def test_a_day_of_use_leaves_nothing_behind_and_its_sums_are_right(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, began = time.monotonic, time.monotonic()
    begin = datetime(2026, 11, 30, 12).astimezone()  # a day and a month end in it
    day, home, queue = Day(monkeypatch, begin), tmp_path / "imagen", FakeQueue()
    made, refused = Counter[str](), Counter[str]()
    figures: dict[str, dict[str, float]] = {}
    looks = 0
    with queue.serve() as url:
        studio = Studio(
            "kkiai",
            base_url=url,
            api_key="made-up",
            home=home,
            schemas="off",
            price=PRICE / 100,
            max_spend=f"{DAY_CAP / 100}/day, {MONTH_CAP / 100}/month",
        )
        other, widget = History(home=home), ImagenWidget(studio=studio)
        shown = widget.value
        for number, at in enumerate(moments_of(day, begin + timedelta(days=1))):
            date, prompt = f"{at:%Y-%m-%d}", f"fox {number}"
            fits = (made[date] + 1) * PRICE <= DAY_CAP
            queue.polls = POLLS if number % LONG_EACH else LONG_POLLS
            if number % 3 == 1:
                widget.prompt.value = prompt
                widget.generate_button.click()
                while fits and widget.value is shown:
                    day.passes(STEP_SECONDS)
                shown = widget.value
            else:
                job = studio.start(prompt)
                while not job.done():
                    day.passes(STEP_SECONDS)
                    if number % LONG_EACH == 0:  # its lease is renewed: nobody else may fetch it
                        looks += 1
                        assert other.pending() == []
                with nullcontext() if fits else pytest.raises(BudgetExceeded):
                    job.result()
            (made if fits else refused)[date] += 1
            if number == WARM_UP_JOBS:
                figures["warm"] = footprint()
            queue.requests.clear()
        figures["a day later"] = footprint()
        spent = studio.history.spend_by("day", since=begin)
        widget.close()

    told(capsys, figures)
    with capsys.disabled():
        took = real() - began
        print(f"\nmade {dict(made)}, refused {dict(refused)}, {looks} looks, {took:.0f} s", end="")
    assert spent == {date: Decimal(count * PRICE) / 100 for date, count in made.items()}
    assert len(studio.history) == queue.paid.total() == made.total()
    assert queue.duplicates == 0
    assert refused.keys() == made.keys()
    assert looks * STEP_SECONDS > 4 * 120
    assert_flat(*figures.values())
