"""The public namespace is what it says: complete, documented, typed, and light to import."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pydoc
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import imagen_widget
from imagen_widget import errors

NAMES = [name for name in imagen_widget.__all__ if name != "__version__"]
PAGE = Path(__file__).parents[1] / ".github" / "docs" / "errors.md"
# Another test may have loaded what is looked for: a fresh interpreter has not.
PUBLIC = "import imagen_widget; print(*sorted(n for n in dir(imagen_widget) if n[0] != '_'))"
INERT = """
import builtins, os, socket, sys, threading
import asyncio
before = [asyncio.run, asyncio.get_event_loop, asyncio.Task, asyncio.BaseEventLoop.run_forever]
done = []
def audit(event, args):
    if event.startswith(("socket.", "subprocess.", "sqlite3.")):
        done.append(event)
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
        done.append((event, args[0]))
sys.dont_write_bytecode = True
sys.addaudithook(audit)
import imagen_widget
for name in imagen_widget.__all__:
    getattr(imagen_widget, name)
after = [asyncio.run, asyncio.get_event_loop, asyncio.Task, asyncio.BaseEventLoop.run_forever]
print(done, threading.active_count(), before == after)
"""
NO_PUBLIC_NAME = {"Session"}  # what the parts of a studio share; Studio is its public side


def _fresh(code: str, folder: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return ended.stdout.strip()


def _functions() -> Iterator[tuple[str, Any]]:
    """Yield every public function, method and property, with its dotted name."""
    for name in NAMES:
        value = getattr(imagen_widget, name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value):
            for member, inner in vars(value).items():
                function = getattr(inner, "__func__", inner)  # of a classmethod
                if not member.startswith("_") and (
                    inspect.isfunction(function) or isinstance(function, property)
                ):
                    yield f"{name}.{member}", function


FUNCTIONS = dict(_functions())


# ------------------------------------------------------------------------------------- the names


@pytest.mark.slow
def test_the_namespace_shows_exactly_what_is_public(tmp_path: Path) -> None:
    assert _fresh(PUBLIC, tmp_path).split() == sorted(NAMES)


def test_every_public_name_can_be_had() -> None:
    for name in imagen_widget.__all__:
        assert getattr(imagen_widget, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    """The names stand twice in the module: for mypy, and for those that are imported late."""
    tree = ast.parse(Path(imagen_widget.__file__).read_text("utf-8"))
    seen = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("imagen_widget.")
        for alias in node.names
    }

    assert {*NAMES} - {"errors"} <= seen


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="no attribute 'draw'"):
        imagen_widget.draw  # noqa: B018 - looking it up is what is tested


def test_every_error_is_public_and_in_the_tree_of_the_docstring() -> None:
    classes = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    ours = {name for name in classes if issubclass(getattr(errors, name), errors.ImagenError)}

    assert ours == set(errors.__all__)
    assert ours <= set(re.findall(r"^ +(\w+) ", errors.__doc__ or "", re.MULTILINE))


def test_every_error_that_the_page_names_can_be_imported() -> None:
    text = PAGE.read_text(encoding="utf-8")
    named = {*re.findall(r"`(\w+): ", text), *re.findall(r"errors\.(\w+)", text)}

    assert named
    assert named <= set(errors.__all__)


# ------------------------------------------------------------------- what public functions hand out


def _named_types(annotation: Any) -> Iterator[type]:
    """Yield the classes that an annotation names, inside of unions and containers too."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        yield annotation
    for inner in typing.get_args(annotation):
        for part in inner if isinstance(inner, list) else [inner]:
            yield from _named_types(part)


def _annotations(function: Any) -> dict[str, Any]:
    """Return a function's annotations as types, by the names that its own module sees."""
    inner = inspect.unwrap(getattr(function, "fget", function))
    module = sys.modules[inner.__module__]
    return typing.get_type_hints(inner, globalns={**_for_checkers(module), **vars(module)})


@functools.cache
def _for_checkers(module: ModuleType) -> dict[str, Any]:
    """Return what a module imports for type checkers only."""
    found: dict[str, Any] = {}
    for block in ast.walk(ast.parse(Path(module.__file__ or "").read_text("utf-8"))):
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for node in block.body:
                assert isinstance(node, ast.ImportFrom)
                source = importlib.import_module(node.module or "")
                found |= {a.asname or a.name: getattr(source, a.name) for a in node.names}
    return found


def _fields(value: Any) -> dict[str, Any]:
    return typing.get_type_hints(value) if hasattr(value, "__dataclass_fields__") else {}


def _handed_out() -> Iterator[tuple[str, type]]:
    """Yield where a public function, property or field names a type of ours, and that type."""
    for name, function in FUNCTIONS.items():
        for annotation in _annotations(function).values():
            yield from ((name, kind) for kind in _named_types(annotation))
    for name in NAMES:
        for field, annotation in _fields(getattr(imagen_widget, name)).items():
            if not field.startswith("_"):
                yield from ((f"{name}.{field}", kind) for kind in _named_types(annotation))


def test_every_type_that_is_handed_out_can_be_imported() -> None:
    public = {getattr(imagen_widget, name) for name in NAMES if name != "errors"}
    public |= {getattr(errors, name) for name in errors.__all__}

    private = {
        f"{where}: {kind.__module__}.{kind.__qualname__}"
        for where, kind in _handed_out()
        if kind.__module__.startswith("imagen_widget")
        and kind not in public
        and kind.__name__ not in NO_PUBLIC_NAME
    }

    assert private == set()


# ------------------------------------------------------------------------------------- the words


def test_help_begins_with_a_page_that_names_everything_a_user_begins_with() -> None:
    page = pydoc.plain(pydoc.render_doc(imagen_widget))
    described = page.partition("PACKAGE CONTENTS")[0]

    begun_with = [name for name in NAMES if inspect.isfunction(getattr(imagen_widget, name))]
    for name in [*begun_with, "Studio", "Series", "ImagenWidget", "ImagenClient", "History"]:
        assert re.search(rf"^ +(\w+, )*{name}\b", described, re.MULTILINE), name


@pytest.mark.parametrize("name", NAMES)
def test_each_public_thing_has_words_of_its_own(name: str) -> None:
    value = getattr(imagen_widget, name)

    assert value.__doc__
    assert value.__doc__ != getattr(type(value), "__doc__", None)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_says_what_it_does(name: str) -> None:
    assert FUNCTIONS[name].__doc__, name


@pytest.mark.parametrize(
    "name", [n for n in NAMES if inspect.isfunction(getattr(imagen_widget, n))]
)
def test_each_call_describes_every_argument(name: str) -> None:
    """`agenerate` and `start` refer to `generate`, whose arguments they have."""
    like = "generate" if name in {"agenerate", "start"} else name
    called = getattr(imagen_widget, like)

    described = inspect.getdoc(called) or ""

    for parameter in inspect.signature(called).parameters:
        assert re.search(rf"^ +{parameter}: ", described, re.MULTILINE), parameter


# ------------------------------------------------------------------------------------- the import


@pytest.mark.slow
def test_the_import_of_everything_is_inert(tmp_path: Path) -> None:
    """No socket, no file, no thread, no patch: the home and the folder stay empty."""
    folder = tmp_path / "folder"
    folder.mkdir()

    assert _fresh(INERT, folder) == "[] 1 True"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_version_is_that_of_the_project() -> None:
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")

    assert f'version = "{imagen_widget.__version__}"' in project
