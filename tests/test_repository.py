"""The repository holds what is meant for everybody: no machine's paths, no mirrors, no keys."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.documents import ROOT, project_files

if TYPE_CHECKING:
    from pathlib import Path

VISIBLE = {
    "LICENSE",
    "Makefile",
    "README.md",
    "binder",
    "imagen_widget",
    "notebooks",
    "pyproject.toml",
    "tests",
}
# One letter of each stands in brackets, so that this file does not find itself.
FOREIGN = {
    "a folder of one machine": r"/wor[k]/|/roo[t]/|/tmp/pla[n]|/opt/pyp[i]",
    "a package index": r"pypi\.or[g]|pythonhoste[d]|anaconda\.or[g]|npmj[s]\.|index-ur[l]",
    "a key of the gateway": r"\bsk-[A-Za-z0-9]{40,}",
    "a key of fal": r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[0-9a-f]{32}",
}
SAMPLES = {  # the star keeps this file from being found
    "a folder of one machine": "cd /*root/",
    "a package index": "https://pypi*.org/simple",
    "a key of the gateway": "sk-*" + 40 * "a",
    "a key of fal": "01234567-89ab-cdef-0123-456789abcdef*:" + 32 * "0",
}
LARGEST_BYTES = 450_000
ENCODED = re.compile(r"[A-Za-z0-9+/=\\n]{200,}")  # a picture in a notebook may hold any letters
CODE = {".css", ".ipynb", ".mjs", ".py", ".typed"}
TEXT = {"", ".lock", ".md", ".toml", ".txt", ".yaml", ".yml"}
BINARY = {".png", ".webp"}

files = project_files()


def _read(path: Path) -> str:
    return ENCODED.sub("", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("what", FOREIGN)
def test_no_file_names_what_belongs_elsewhere(what: str) -> None:
    pattern = re.compile(FOREIGN[what])
    texts = {path: _read(path) for path in files if path.suffix not in BINARY}

    found = {str(p.relative_to(ROOT)): m[0] for p, t in texts.items() if (m := pattern.search(t))}

    assert not found


def test_the_patterns_find_what_they_are_for() -> None:
    """Else a clean answer would mean nothing."""
    assert FOREIGN.keys() == SAMPLES.keys()
    for what, sample in SAMPLES.items():
        assert re.search(FOREIGN[what], sample.replace("*", "")), what


def test_the_visible_root_stays_short() -> None:
    top = {path.relative_to(ROOT).parts[0] for path in files}

    assert {name for name in top if not name.startswith(".")} == VISIBLE


def test_every_file_is_text_or_a_picture_and_small() -> None:
    kinds = {path.suffix for path in files}

    assert kinds <= CODE | TEXT | BINARY
    assert [str(path) for path in files if path.stat().st_size > LARGEST_BYTES] == []


def test_every_python_file_says_its_job_first() -> None:
    python = [path for path in files if path.suffix == ".py"]

    silent = [str(p.relative_to(ROOT)) for p in python if not _read(p).startswith('"""')]

    assert len(python) > 50
    assert not silent


def test_the_workflows_run_what_make_has() -> None:
    listed = subprocess.run(
        ["make", "--dry-run", "--print-data-base", "--question"],  # noqa: S607 - make is where PATH says
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    targets = set(re.findall(r"^([a-z]+):", listed, re.MULTILINE))

    workflows = "".join(path.read_text("utf-8") for path in (ROOT / ".github").rglob("*.yml"))
    called = re.findall(r"run: (.+)", workflows)

    wanted = {"lint", "unit", "lowest", "newest", "kernel", "package", "bench SMOKE=1"}
    assert {".ci/run", *(f"make {target}" for target in wanted)} == set(called)
    assert {command.split()[1] for command in called if "make" in command} <= targets
