"""The lock file pins everything that the tests need, by version alone."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / ".ci" / "requirements.lock"
PINNED = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.!+]+")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _pins() -> dict[str, str]:
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines)
    return {canonicalize_name(name): version for name, version in pairs}


def _wanted() -> list[str]:
    groups = PROJECT["dependency-groups"].values()
    grouped = [entry for group in groups for entry in group if isinstance(entry, str)]
    extras = [
        entry for extra in PROJECT["project"]["optional-dependencies"].values() for entry in extra
    ]
    return sorted({*PROJECT["project"]["dependencies"], *extras, *grouped})


def test_each_line_is_a_name_and_a_version() -> None:
    """No registry, no path, no address: they are the business of whoever installs."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if not PINNED.fullmatch(line)] == []
    assert len(lines) == len(_pins())


@pytest.mark.parametrize("entry", _wanted())
def test_each_dependency_is_pinned_to_a_version_that_is_allowed(entry: str) -> None:
    """`make lock` writes the file anew."""
    requirement = Requirement(entry)

    version = _pins().get(canonicalize_name(requirement.name))

    assert version is not None
    assert requirement.specifier.contains(version, prereleases=True)


def test_each_dependency_of_the_package_says_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text.partition("\ndependencies = [\n")[2].partition("\n]")[0]

    assert len(block.splitlines()) == len(PROJECT["project"]["dependencies"])
    assert all(re.search(r'",\s+# \w', line) for line in block.splitlines())
