"""Where a setting is found: the environment, a `.env` file, or a pyproject.toml.

Keys are never taken from pyproject.toml, which people commit.
"""

from __future__ import annotations

import functools
import tomllib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY_NAMES = ("IMAGEN_API_KEY", "FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET")

_TABLE = "imagen-widget"


class Lookup:
    """Finds a setting in the environment, the `.env` file and pyproject.toml, in that order."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder
        self._dotenv: Mapping[str, str | None] | None = None
        self._table: Mapping[str, Any] | None = None

    def __call__(self, name: str) -> str | None:
        """Return the value, or None; an empty value counts as not set."""
        found = (self._environ.get(name) or self.dotenv.get(name) or "").strip()
        if found or name in KEY_NAMES:
            return found or None
        value = self.table.get(name.removeprefix("IMAGEN_").lower().replace("_", "-"))
        return None if value is None else str(value)

    @property
    def dotenv(self) -> Mapping[str, str | None]:
        """The `.env` file beside the notebook, as python-dotenv reads it."""
        if self._dotenv is None:
            path = self._folder / ".env"
            self._dotenv = _read_dotenv(path) if path.is_file() else {}
        return self._dotenv

    @property
    def table(self) -> Mapping[str, Any]:
        """`[tool.imagen-widget]` of the nearest pyproject.toml that has one."""
        if self._table is None:
            self._table = _read_table(self._folder)
        return self._table


def _read_dotenv(path: Path) -> Mapping[str, str | None]:
    import dotenv

    try:
        return dotenv.dotenv_values(path)
    except (OSError, UnicodeDecodeError):
        return {}


def _read_table(folder: Path) -> Mapping[str, Any]:
    for place in (folder, *folder.parents):
        path = place / "pyproject.toml"
        try:
            facts = path.stat()
            table = _table_in(path, facts.st_mtime_ns, facts.st_size)
        except (OSError, ValueError):
            continue  # somebody else's broken file must not stop a notebook
        if table is not None:
            return table
    return {}


@functools.lru_cache(maxsize=16)
def _table_in(path: Path, _modified: int, _size: int) -> Mapping[str, Any] | None:
    """Return a file's own table, if it has one; read again only when the file has changed.

    Settings are looked up for each job, and parsing takes milliseconds.
    """
    tool = tomllib.loads(path.read_text(encoding="utf-8")).get("tool")
    table = tool.get(_TABLE) if isinstance(tool, dict) else None
    if not isinstance(table, dict):
        return None
    return MappingProxyType({name.replace("_", "-"): value for name, value in table.items()})
