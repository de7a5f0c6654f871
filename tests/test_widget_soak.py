"""Two hundred generations through one widget leave nothing behind; the figures are printed."""

import contextlib
import ctypes
import gc
import logging
import os
import threading
from pathlib import Path

import pytest

from imagen_widget import ImagenWidget
from tests.footprint import footprint
from tests.widget_bench import count_widgets

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

GENERATIONS = int(os.environ.get("IMAGEN_SOAK_COUNT", "200"))
LOOKS = 10
WARM_UP = 20  # allocators, executors and caches settle first
MAX_MEGABYTES = 20.0
WAIT_SECONDS = 60.0


def figures() -> dict[str, float]:
    return {**footprint(), "widgets": count_widgets()}


def settled(widget: ImagenWidget) -> dict[str, float]:
    """Return the figures with the least memory of ten looks: previews are made meanwhile."""
    looks = []
    for _ in range(LOOKS):
        generate(widget, 1)
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # what glibc keeps for itself
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        looks.append(figures())
    return {**looks[-1], "rss_mb": min(look["rss_mb"] for look in looks)}


def generate(widget: ImagenWidget, count: int) -> None:
    for number in range(count):
        ended = threading.Event()

        def over(_: object, ended: threading.Event = ended) -> None:
            ended.set()

        widget.observe(over, "value")
        widget.prompt.value = f"fox number {number}"
        widget.generate_button.click()
        assert ended.wait(WAIT_SECONDS), widget.status.value
        widget.unobserve(over, "value")


def test_two_hundred_generations_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")
    monkeypatch.setenv("IMAGEN_DEMO_SECONDS", "0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.root.manager, "disable", logging.INFO)  # pytest keeps each record
    before = figures()
    widget = ImagenWidget()
    generate(widget, WARM_UP)
    warm = settled(widget)

    generate(widget, GENERATIONS)
    worked = settled(widget)
    widget.close()
    closed = figures()

    moments = {"before": before, "warm": warm, "worked": worked, "closed": closed}
    with capsys.disabled():
        for name, found in moments.items():
            print(f"\n{name:>7}: " + ", ".join(f"{k} {v:g}" for k, v in found.items()), end="")
    assert closed["widgets"] == before["widgets"]
    assert worked["widgets"] == warm["widgets"]
    assert worked["rss_mb"] - warm["rss_mb"] <= MAX_MEGABYTES
    assert worked["threads"] <= warm["threads"] + 1
    assert worked["files"] <= warm["files"]
