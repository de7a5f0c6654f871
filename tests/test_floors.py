"""The floors hold: imports go down only, and each outside library has one door."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]


def test_every_import_contract_is_kept() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_no_room_imports_the_public_namespace() -> None:
    """It is the roof: a room that needs it would close a circle."""
    graph = grimp.build_graph("imagen_widget", cache_dir=None)

    importers = graph.find_modules_that_directly_import("imagen_widget")

    assert importers <= {"imagen_widget.__main__"}
