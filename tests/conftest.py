"""What every test is given: a home of its own, no keys from outside, no silent skip in CI."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.fakequeue import FakeQueue
from tests.postgres import postgres as postgres

# No deadline: machines that are shared pause, and an example that is slow is not wrong.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")

# A run in the background of a script inherits "ignore interrupts", and so would every process that
# a test starts: those about Ctrl+C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An optional part of jsonschema that nothing here uses: its grammars take 1.6 s in each process.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

# Where compiled files are not kept, each of a thousand processes compiles everything again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A file system in memory, where there is one: journals wait for the disk at each commit.
MEMORY = Path("/dev/shm")
MIN_MEMORY_BYTES = 4 * 1024**3
FOREIGN = ("IMAGEN_", "FAL_", "OPENAI_", "XDG_", "JPY_", "JUPYTERHUB_", "AWS_", "ALL_PROXY")
# A skip counts as a failure here; read once, because tests run without our variables.
STRICT = os.environ.get("IMAGEN_STRICT") == "1" or os.environ.get("CI", "").lower() == "true"
MAX_ID = 60  # letters
PATIENT_SECONDS = 60.0  # for what a busy machine may do late, and no test waits for
# What one process starts or builds, and runs all tests of: a front end and a browser, a wheel.
GROUPS = {
    "packaging": re.compile("test_packaging.py"),
    "binder, voila": re.compile(r"test_binder\.py|_voila|\[voila"),
    "notebook": re.compile(r"tests/browser/.*(_notebook7|\[notebook)"),
    "lab": re.compile("tests/browser/"),
}
WAITING_MARKERS = ("browser", "install", "kernel", "chaos", "slow")


def _has_memory() -> bool:
    """Return True if the files of all tests have space in memory, and programs run from there."""
    if not os.access(MEMORY, os.W_OK):
        return False
    about = os.statvfs(MEMORY)
    is_large = about.f_bavail * about.f_frsize >= MIN_MEMORY_BYTES
    return is_large and not about.f_flag & os.ST_NOEXEC


if _has_memory():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that keeps its reason; an expected failure is not a skip."""
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


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a test after the first letters of a text; some have megabytes."""
    is_long = isinstance(val, str | bytes) and len(val) > MAX_ID
    return repr(val)[:MAX_ID] if is_long else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return two processes more than there are cores: much of what tests do is to wait."""
    return (os.cpu_count() or 1) + 2


class _Groups(LoadScopeScheduling):  # type: ignore[misc]  # it is untyped
    """Gives tests to processes as each is free; what takes long to start, one process has."""

    def _split_scope(self, nodeid: str) -> str:
        return next((name for name, tests in GROUPS.items() if tests.search(nodeid)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Groups:
    """Return the scheduler; `--dist loadgroup` of xdist 3.8 knows no group under pytest 9.2."""
    return _Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests: those with long waits first, so that quick ones use the time of both cores.

    Processes take one test after another in this order, and all of them end together.
    """

    def waits(item: pytest.Item) -> int:
        names = {marker.name for marker in item.iter_markers()}
        return next(
            (i for i, name in enumerate(WAITING_MARKERS) if name in names), len(WAITING_MARKERS)
        )

    items.sort(key=waits)


def pytest_collection_finish() -> None:
    """Keep modules and tests out of garbage collections: each would look at all of them."""
    gc.collect()
    gc.freeze()


def _close() -> None:
    """Close the default studio and the loop thread, if the test made any; forget settings files."""
    settings_module = sys.modules.get("imagen_widget._settings")
    if settings_module is not None:
        settings_module.forget_settings()
    studio = sys.modules.get("imagen_widget._studio")
    if studio is not None:
        vars(studio)["_defaults"].clear()
    loop = sys.modules.get("imagen_widget._loop")
    if loop is not None:
        loop.close()


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Give the test an empty home, where it runs, and an environment without settings or keys.

    The repository's own pyproject.toml would be read for each test: a third of their time.
    """
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))  # what HOME is called on Windows
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
    monkeypatch.setenv("IMAGEN_HOME", str(tmp_path / "imagen"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.chdir(home)
    _close()  # also the folder of the package's import, which the first test of a process has
    yield
    _close()


@pytest.fixture
def end_loop() -> Callable[[], None]:
    """Return what ends the package's loop thread, as the end of a process does."""
    return _close


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeQueue]:
    """Serve a fake queue, and set it as the account of the process; jobs are done at once."""
    queue = FakeQueue()
    with queue.serve() as base_url:
        monkeypatch.setenv("IMAGEN_PROVIDER", "kkiai")
        monkeypatch.setenv("IMAGEN_API_KEY", "made-up")
        monkeypatch.setenv("IMAGEN_BASE_URL", base_url)
        monkeypatch.setenv("IMAGEN_POLL_SECONDS", "0.02")
        monkeypatch.setenv("IMAGEN_SCHEMAS", "off")
        monkeypatch.setattr("imagen_widget._providers.fal._DESCRIBE_SECONDS", PATIENT_SECONDS)
        monkeypatch.setattr("imagen_widget._runs.job.CANCEL_WAIT_SECONDS", PATIENT_SECONDS)
        yield queue
        _close()


@contextlib.contextmanager
def a_disk_of(size: int) -> Iterator[None]:
    """Let no file become longer than so many bytes."""
    import resource  # Windows has none

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retries, polls and the end of a cancellation take little: the time is real here."""
    fal = "imagen_widget._providers.fal.Fal.usual_seconds"
    monkeypatch.setattr(fal, lambda *_: 0.1)
    monkeypatch.setattr("imagen_widget._providers.provider._FIRST_BACKOFF_SECONDS", 0.02)
    waits = "imagen_widget._providers.provider._FETCH_WAITS_SECONDS"
    monkeypatch.setattr(waits, (0.0, 0.02, 0.06, 0.18))
    monkeypatch.setattr("imagen_widget._runs.run._SETTLE_SECONDS", 0.5)


class Expire(Protocol):
    """Ends the time of jobs of PATIENT_SECONDS at an answer of the queue, or a while after it."""

    def __call__(self, route: str, count: int = 1, *, left: float = 0.0) -> None: ...


@pytest.fixture
def expire(queue: FakeQueue, monkeypatch: pytest.MonkeyPatch) -> Expire:
    """Return what ends the time of jobs; until then it does not pass at all.

    A real deadline of a second may be over before the job is sent, on a machine that pauses.
    """
    began = time.monotonic()
    ahead, passes_from = 0.0, math.inf

    def clock() -> float:
        return began + ahead + max(time.monotonic() - passes_from, 0.0)

    def expire(route: str, count: int = 1, *, left: float = 0.0) -> None:
        def pass_time(_: object) -> None:
            nonlocal ahead, passes_from
            if queue.count(route) >= count:
                ahead += PATIENT_SECONDS - left
                passes_from = min(passes_from, time.monotonic())

        queue.after[route] = pass_time

    from imagen_widget import Provider

    monkeypatch.setattr("imagen_widget._runs.run.time", SimpleNamespace(monotonic=clock))
    monkeypatch.setitem(Provider.__init__.__kwdefaults__ or {}, "clock", clock)
    return expire


class LeaveBehind(Protocol):
    """Leaves jobs that are paid and not fetched, as a kernel that was restarted does."""

    def __call__(self, *prompts: str, **options: Any) -> None: ...


@pytest.fixture
def leave_behind(queue: FakeQueue, end_loop: Callable[[], None]) -> LeaveBehind:
    """Return what leaves paid jobs behind; the queue has finished them then."""
    from imagen_widget import start

    def leave(*prompts: str, **options: Any) -> None:
        queue.polls = math.inf
        for prompt in prompts:
            posts = queue.posts
            start(prompt, **options)
            queue.wait_for("submit", posts + 1)
        end_loop()  # it waits for the answer to a POST
        queue.finish()

    return leave


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Select the demo, at once."""
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")
    monkeypatch.setenv("IMAGEN_DEMO_SECONDS", "0")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio only: it is the loop that kernels have."""
    return "asyncio"
