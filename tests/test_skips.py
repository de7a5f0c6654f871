"""Where everything has to run, as in CI, a test that skips is a test that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SKIPPING = """
import pytest

@pytest.fixture
def missing():
    pytest.skip("no such program")

def test_that_skips_by_itself():
    pytest.skip("not today")

def test_that_skips_by_its_fixture(missing): ...

@pytest.mark.skipif(True, reason="never here")
def test_that_skips_by_its_mark(): ...

@pytest.mark.xfail(reason="a known limit")
def test_that_is_expected_to_fail():
    assert False

def test_that_passes(): ...
"""
SKIPPING_MODULE = "import pytest; pytest.importorskip('no_such_module')"


def _outcomes(folder: Path, *, settings: dict[str, str]) -> str:
    (folder / "test_skipping.py").write_text(SKIPPING)
    (folder / "test_skipping_module.py").write_text(SKIPPING_MODULE)
    environment = {k: v for k, v in os.environ.items() if k not in {"CI", "IMAGEN_STRICT"}}
    pytest_alone = [sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [*pytest_alone, "-p", "tests.conftest", "--continue-on-collection-errors", str(folder)],
        cwd=ROOT,
        env=environment | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ended.stdout


@pytest.mark.parametrize("settings", [{"CI": "true"}, {"IMAGEN_STRICT": "1"}])
def test_each_way_to_skip_is_a_failure_where_nothing_may_skip(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    summary = _outcomes(tmp_path, settings=settings)

    assert "1 failed, 1 passed, 1 xfailed, 3 errors" in summary
    assert "skipped" not in summary.splitlines()[-1]
    assert "Nothing may skip here, but: Skipped: no such program" in summary


def test_a_skip_stays_a_skip_elsewhere(tmp_path: Path) -> None:
    summary = _outcomes(tmp_path, settings={})

    assert "1 passed, 4 skipped, 1 xfailed" in summary
