"""One wish is never paid for twice, whatever the line does; the official client does otherwise."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagen_widget import ImageRequest, _bridge
from imagen_widget._generate import start
from imagen_widget._journal import Journal, State
from imagen_widget._settings import load_settings
from imagen_widget.errors import ImagenError
from tests.billing import Break, Fault, Provider, Reply
from tests.chaos.counts import FAL_SUBMITS, SUBMITS, show
from tests.chaos.server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
BROKEN = 0.25  # of all submits
AT_ONCE = 100
FAULTS: tuple[Fault, ...] = (
    Break.LOST_REQUEST,
    Break.LOST_ANSWER,
    Break.SILENCE,
    Break.CUT_SHORT,
    Reply(503, b"<html>nginx</html>"),
    Reply(502, b"<html>nginx</html>", accepts=True),
    Reply(500, {"detail": "internal"}, accepts=True),
    Reply(429, {"detail": "slow down"}, {"retry-after-ms": "20"}),
)


class Moody(Provider):
    """A provider that treats one submit in four badly."""

    def __init__(self) -> None:
        super().__init__()
        self._random = random.Random(20261123)  # noqa: S311 - the same faults in each run

    def handle(self, method: str, path: str, body: bytes = b"") -> Fault:
        if method == "POST" and self._random.random() < BROKEN:
            self.submits.append(self._random.choice(FAULTS))
        return super().handle(method, path, body)


@dataclass(frozen=True)
class Account:
    """What a client's wishes came to."""

    wishes: int
    posts: int
    paid: int
    duplicates: int
    failed: int

    def __str__(self) -> str:
        return (
            f"{self.wishes} wishes, {self.posts} POSTs, {self.paid} paid jobs, "
            f"{self.duplicates} duplicates, {self.failed} ended in an exception"
        )


@pytest.fixture
def stopped_afterwards() -> Iterator[None]:
    yield
    _bridge.close()


def ours(home: Path) -> tuple[Account, Provider]:
    provider = Moody()
    failed = 0
    with serving(provider) as server:
        settings = load_settings(
            provider="kkiai",
            api_key="made-up",
            base_url=server.url,
            home=home,
            poll_seconds=0.1,
            environ={},
        )
        for first in range(0, SUBMITS, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, SUBMITS))
            jobs = [start(ImageRequest.create(f"fox {n}"), settings=settings) for n in numbers]
            for job in jobs:
                try:
                    job.result(300)
                except ImagenError:
                    failed += 1
    paid = provider.paid.total()
    return Account(SUBMITS, provider.posts, paid, provider.duplicates, failed), provider


def the_official_clients() -> Account:
    provider = Moody()
    with serving(provider) as server:
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos.fal_worker", server.url, str(FAL_SUBMITS)],
            cwd=ROOT,
            env={name: v for name, v in os.environ.items() if name != "FAL_KEY"},
            capture_output=True,
            text=True,
            check=True,
            timeout=900,
        )
    failed = json.loads(done.stdout)["failed"]
    paid = provider.paid.total()
    return Account(FAL_SUBMITS, provider.posts, paid, provider.duplicates, failed)


@pytest.mark.usefixtures("stopped_afterwards")
def test_no_wish_is_paid_for_twice_and_no_paid_job_is_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    account, provider = ours(tmp_path)
    theirs = the_official_clients()

    states = Counter(row.state for row in Journal(tmp_path).rows())
    remembered = {
        row.request.prompt
        for row in Journal(tmp_path).rows()
        if row.state in {State.DONE, State.UNKNOWN}
    }
    show(
        capsys,
        f"submits at {BROKEN:.0%} faults\n"
        f"  imagen_widget: {account}; in the journal "
        f"{', '.join(f'{count} {state}' for state, count in sorted(states.items()))}\n"
        f"  fal-client:    {theirs}",
    )
    assert account.duplicates == 0
    assert set(provider.paid) <= remembered
    assert states.total() == SUBMITS
    assert set(states) == {State.DONE, State.UNKNOWN}
    assert states[State.UNKNOWN] == account.failed
    assert theirs.duplicates > 0  # the faults are real: they do double the bill of another client
