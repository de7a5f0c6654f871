"""Where a setting is found: the environment, a `.env` file, `[tool.imagen-widget]`, in this order.

The folder of the two files is found once in a kernel and stays, so that `%cd` cannot lose a key or
a cap. A file is read again only when it changes. If it vanishes, its settings stay in force and
`notices` says so. If it cannot be understood, that is an error: a cap could stand in it.
"""

import codecs
import io
import os
import re
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from imagen_widget._settings.table import KEYS, VARIABLES
from imagen_widget.errors import InvalidRequest

TABLE = "imagen-widget"
PREFIX = "IMAGEN_"
NEAR_MISS = 0.8  # of 1: IMAGEN_MAX_SPENT is taken for a typing error, IMAGEN_PROJECT is not

Values = Mapping[str, object]  # by environment variable


@dataclass
class _File:
    """What was read of a file; None if it holds no settings of ours."""

    stamp: tuple[int, int, int]
    values: Values | None
    gone: bool = False


_lock = threading.RLock()
_files: dict[Path, _File] = {}
_notices: list[str] = []
# The package notes the folder of its import as a text; this module may be imported much later.
_imported_in: str = getattr(sys.modules["imagen_widget"], "_imported_in", "")
_start: Path | None = Path(_imported_in) if _imported_in else None
_folder: Path | None = None


def remember_folder() -> None:
    """Remember the working folder of this moment, unless one is remembered already."""
    global _start
    if _start is None:
        with suppress(OSError):  # it was deleted
            _start = Path.cwd()


def settings_folder() -> Path | None:
    """Return the notebook's folder, else the one where this process began; None if deleted."""
    global _folder
    with _lock:
        if _folder is None:
            remember_folder()
            _folder = _notebook_folder() or _start
        return _folder


def forget_files() -> None:
    """Forget folder and files, as if the process began in the folder of the next call."""
    global _start, _folder
    with _lock:
        _start = _folder = None
        _files.clear()
        _notices.clear()


def notices() -> list[str]:
    """Return what there is to say about files that vanished; each line once."""
    with _lock:
        said, _notices[:] = list(_notices), []
        return said


def _notebook_folder() -> Path | None:
    """Return the folder of the notebook if VS Code, papermill or Jupyter names it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:  # a script that a notebook started inherits JPY_SESSION_NAME
        return None
    told = [shell.user_ns.get(name) for name in ("__vsc_ipynb_file__", "PAPERMILL_INPUT_PATH")]
    for name in (*told, os.environ.get("JPY_SESSION_NAME")):
        if isinstance(name, str) and name:
            notebook = (_start or Path("/")) / name
            with suppress(OSError, ValueError):
                if notebook.parent.is_dir() and (Path(name).is_absolute() or notebook.is_file()):
                    return notebook.parent
    return None


class Lookup:
    """Finds settings in an environment and in the files of a folder, in the order above.

    Raises:
        InvalidRequest: A file cannot be read, or something is set that is not a setting.
    """

    def __init__(self, environ: Mapping[str, str], folder: Path | None) -> None:
        self._places: list[tuple[str, Values]] = [("environment", environ)]
        for name in environ:
            if name.upper().startswith(PREFIX) and name not in VARIABLES and _near(name):
                raise _unknown(f"{name}, set in the environment", _near(name))
        if folder is None:
            return
        with _lock:
            path = folder / ".env"
            self._places.append((str(path), _current(path, _parse_dotenv) or {}))
            for place in (folder, *folder.parents):
                path = place / "pyproject.toml"
                if (table := _current(path, _parse_pyproject)) is not None:
                    self._places.append((str(path), table))
                    return

    def __call__(self, variable: str) -> tuple[object, str] | None:
        """Return the value and its source, or None; an empty value counts as not set."""
        for source, values in self._places:
            value = values.get(variable)
            value = value.strip() if isinstance(value, str) else value
            if value is not None and value != "":
                return value, source
        return None


def _parse_dotenv(path: Path, text: str) -> Values | None:
    import dotenv
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text)):
        string, name = binding.original.string, binding.key or ""
        line = binding.original.line + string[: len(string) - len(string.lstrip())].count("\n")
        if binding.error:
            raise _unreadable(path, line, "that is not NAME=value")
        if name.upper().startswith(PREFIX) and name not in VARIABLES:
            raise _unknown(f"{name} in {path}, line {line}", _near(name))
        if name in VARIABLES and binding.value is None:
            raise _unreadable(path, line, f"{name} has no value")
    return dotenv.dotenv_values(stream=io.StringIO(text))


def _parse_pyproject(path: Path, text: str) -> Values | None:
    import tomllib

    try:
        tool = tomllib.loads(text).get("tool")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise _unreadable(path, line, "that is not TOML") from None
    table = tool.get(TABLE) if isinstance(tool, dict) else None
    if table is None:
        tables = list(tool) if isinstance(tool, dict) else []
        for name in get_close_matches(TABLE, tables, 1, NEAR_MISS):
            line = _line_of(name, text)
            raise _unknown(f"[tool.{name}] in {path}, line {line}", f"[tool.{TABLE}]")
        return None
    if not isinstance(table, dict):
        raise _unreadable(path, _line_of(TABLE, text), f"tool.{TABLE} is not a table")
    values: dict[str, object] = {}
    for name, value in table.items():
        line, variable = _line_of(name, text), PREFIX + name.upper().replace("-", "_")
        if {variable, variable.removeprefix(PREFIX)} & KEYS:
            remedy = "Move it to the environment or a .env file; people commit this file."
            raise InvalidRequest(f"{name} in {path}, line {line}, is a key.", remedy=remedy)
        if variable not in VARIABLES:
            near = _near(variable).removeprefix(PREFIX).lower().replace("_", "-")
            raise _unknown(f"{name} in {path}, line {line}", near)
        if variable in values:
            raise _unreadable(path, line, f"{name} is set twice")
        values[variable] = value
    return values


def _near(name: str) -> str:
    """Return the setting that a name was probably meant to be, or ""."""
    bare = {known.removeprefix(PREFIX).replace("_", ""): known for known in VARIABLES}
    wanted = re.sub("[_-]", "", name.upper().removeprefix(PREFIX))
    return "".join(bare[match] for match in get_close_matches(wanted, bare, 1, NEAR_MISS))


def _current(path: Path, parse: Callable[[Path, str], Values | None]) -> Values | None:
    """Return what a file sets now, or what it set before it vanished; None if nothing."""
    known, facts = _files.get(path), None
    with suppress(OSError):
        facts = path.stat()
    gone = facts is None or not stat.S_ISREG(facts.st_mode)  # a folder may be called .env
    if facts is None or gone or (facts.st_size == 0 and known is not None):  # it is being written
        if known is not None and known.values and not known.gone:
            known.gone = True
            ours = [v for v in known.values if v.startswith(PREFIX) or v.endswith("_KEY")]
            names = ", ".join(ours) or "its settings"
            what = "is gone" if gone else "is empty"
            _notices.append(f"{path} {what}; {names} from there stay in force in this kernel.")
        return known.values if known is not None else None
    stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    if known is None or known.stamp != stamp:
        known = _files[path] = _File(stamp, parse(path, _text_of(path)))
    known.gone = False
    return known.values


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, 1, (error.strerror or "error").lower()) from None
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _unreadable(path, line, "a byte is not UTF-8") from None
    text = text.replace("\ufeff", "")  # also in the middle, where files were joined
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise _unreadable(path, line, "a character is NUL; save the file as UTF-8")
    return text


def _line_of(name: str, text: str) -> int:
    """Return the line where a name of our table stands, as far as plain search can say."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if TABLE in line), 0)
    key = re.compile(rf"(.*[.{{,\s])?[\"']?{re.escape(name)}[\"']?\s*[=.\]]")
    return next((i for i, line in enumerate(lines[start:], start) if key.match(line)), start) + 1


def _unknown(what: str, near: str) -> InvalidRequest:
    remedy = f"Did you mean {near}?" if near else "Correct the name or remove it."
    return InvalidRequest(f"{what}, is not a setting.", remedy=remedy)


def _unreadable(path: Path, line: int, why: str) -> InvalidRequest:
    remedy = "Correct it."
    if path.suffix:  # somebody else's pyproject.toml above the notebook
        remedy = f"Correct it, or put a pyproject.toml with [tool.{TABLE}] beside the notebook."
    what = f"{path}, line {line}, cannot be read: {why}"
    return InvalidRequest(f"{what}. A cap or a key in it would be lost.", remedy=remedy)
