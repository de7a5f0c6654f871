"""What every test is given: a home of its own, no keys from outside, no silent skip in CI."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

# No deadline: machines that are shared pause, and a slow example is no wrong one.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")

# A run in the background of a script inherits "ignore interrupts", and so would every process that
# a test starts: those about Ctrl+C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

OURS = ("IMAGEN_", "FAL_")
# A skip counts as a failure here; read once, because tests run without our variables.
STRICT = os.environ.get("IMAGEN_STRICT") == "1" or os.environ.get("CI", "").lower() == "true"
SLOW_MARKERS = ("kernel", "install", "browser")  # in this order, after everything else


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that keeps its reason; an expected failure is no skip."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"Nothing may skip here, but: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test skip where skips are failures."""
    report = yield
    if STRICT:
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let no module skip where skips are failures."""
    report = yield
    if STRICT:
        _fail_if_skipped(report)
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run quick tests first and browsers last: Playwright keeps a loop running in this thread."""

    def slowness(item: pytest.Item) -> int:
        names = {marker.name for marker in item.iter_markers()}
        return max((i for i, name in enumerate(SLOW_MARKERS, 1) if name in names), default=0)

    items.sort(key=slowness)


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give the test an empty home and an environment without our settings or anyone's keys."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))  # what HOME is called on Windows
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
    monkeypatch.setenv("IMAGEN_HOME", str(tmp_path / "imagen"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio only: it is the loop that kernels have."""
    return "asyncio"
