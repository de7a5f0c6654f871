"""The public namespace is what it says: complete, documented, and light to import."""

from __future__ import annotations

import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import imagen_widget
from imagen_widget import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = [name for name in imagen_widget.__all__ if name != "__version__"]
# What a session before this one has loaded says nothing: a fresh interpreter does.
PUBLIC = "import imagen_widget; print(*sorted(n for n in dir(imagen_widget) if n[0] != '_'))"
HEAVY = ("IPython", "PIL", "anyio", "asyncio", "httpx", "ipywidgets", "sqlite3", "starlette")
WHAT_IS_HEAVY = (
    f"import sys, imagen_widget; print(*(name for name in {HEAVY} if name in sys.modules))"
)
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
    """Give every public function, method and property, with its dotted name."""
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


def test_the_namespace_shows_exactly_what_is_public(tmp_path: Path) -> None:
    shown = _fresh(PUBLIC, tmp_path).split()

    assert shown == sorted(NAMES)


def test_every_public_name_can_be_had() -> None:
    for name in imagen_widget.__all__:
        assert getattr(imagen_widget, name) is not None


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="no attribute 'draw'"):
        imagen_widget.draw  # noqa: B018 - looking it up is what is tested


def test_every_error_is_public_and_in_the_tree_of_the_docstring() -> None:
    classes = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    ours = {name for name in classes if issubclass(getattr(errors, name), errors.ImagenError)}

    assert ours == set(errors.__all__)
    assert ours <= set(re.findall(r"^ +(\w+) ", errors.__doc__ or "", re.MULTILINE))


def test_help_begins_with_a_page_that_names_everything() -> None:
    page = pydoc.plain(pydoc.render_doc(imagen_widget))
    described = page.partition("PACKAGE CONTENTS")[0]

    for name in NAMES:
        assert re.search(rf"^ +{name} ", described, re.MULTILINE), name


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
    """`agenerate` refers to `generate`, whose arguments it has."""
    called = getattr(imagen_widget, "generate" if name == "agenerate" else name)

    described = inspect.getdoc(called) or ""

    for parameter in inspect.signature(called).parameters:
        assert re.search(rf"^ +{parameter}: ", described, re.MULTILINE), parameter


def test_generate_and_agenerate_take_the_same() -> None:
    blocking, awaited = (
        inspect.signature(function).parameters
        for function in (imagen_widget.generate, imagen_widget.agenerate)
    )

    assert blocking == awaited
    assert inspect.iscoroutinefunction(imagen_widget.agenerate)


def test_the_import_loads_nothing_heavy(tmp_path: Path) -> None:
    assert not _fresh(WHAT_IS_HEAVY, tmp_path)


def test_the_import_of_everything_is_inert(tmp_path: Path) -> None:
    """No socket, no file, no thread, no patch: the home and the folder stay empty."""
    folder = tmp_path / "folder"
    folder.mkdir()

    assert _fresh(INERT, folder) == "[] 1 True"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_version_is_that_of_the_project() -> None:
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")

    assert f'version = "{imagen_widget.__version__}"' in project
