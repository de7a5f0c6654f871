"""`make shape`: the numbers of the package's shape beside their goals; exits 1 if one is missed.

`python -m tests.shape [ROOT]` measures another checkout, such as an older one.

What is counted:
- executed: code objects of the package that run between the call of `generate("a fox")` and its
  return, on the demo at zero seconds in a fresh process: on all threads, without the demo's own
  modules. Functions, methods, lambdas, class bodies and comprehensions count (Python 3.12 runs most
  comprehensions within their function); module bodies do not, but in the line that says so. Files
  are those that these belong to.
- import lines: all lines of import statements, among lines that are not blank, no comment and no
  docstring; and, as the milder figure, among all lines that are not blank.
- private imports: import statements in tests that name a module or name of the package with `_`.
- contracts and exceptions: lines of [tool.importlinter] and entries of ruff's per-file-ignores.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROVIDERS = frozenset({"kkiai", "fal", "openai", "demo"})
CATALOGUE = frozenset({"MODELS", "BUNDLED", "CATALOGUE", "bundled", "find_bundled", "find_model"})
RUN_SECONDS = 120
INDENT = "    "

EXECUTED = """
import json, os, sys, threading
package = os.path.join(sys.argv[1], "imagen_widget") + os.sep
sys.path.insert(0, sys.argv[1])
seen = set()

def note(frame, event, _):
    if event == "call" and frame.f_code.co_filename.startswith(package):
        seen.add(frame.f_code)

from imagen_widget import generate
threading.setprofile(note)
sys.setprofile(note)
generate("a fox")
sys.setprofile(None)
own = [code for code in seen if not {"demo", "_demo"} & set(code.co_filename.split(os.sep))]
print(json.dumps([[os.path.relpath(c.co_filename, package), c.co_qualname] for c in own]))
"""


@dataclass(frozen=True)
class Number:
    """One line of the table; a goal of None means that the line only explains another."""

    what: str
    before: str
    now: float
    goal: float | None = None
    unit: str = ""
    names: tuple[str, ...] = ()

    @property
    def missed(self) -> bool:
        """Return True if the goal is not reached."""
        return self.goal is not None and self.now > self.goal

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"<= {self.goal:,.0f}{self.unit}"
        now = f"{self.now:.1f}%" if self.unit else f"{self.now:,.0f}"
        return f"{self.what:58} {self.before:>8} {now:>8} {goal:>9} {'MISSED' * self.missed}"


def main(root: Path) -> int:
    """Print all numbers; return how many goals are missed, as an exit code."""
    numbers = [*_executed(root), *_lines(root), *_knowing(root), *_tests(root), *_exceptions(root)]
    print(f"{'':58} {'1st ed.':>8} {'now':>8} {'goal':>9}")
    for number in numbers:
        print(number)
        if number.missed and number.names:
            text = ", ".join(number.names)
            print(textwrap.fill(text, 100, initial_indent=INDENT, subsequent_indent=INDENT))
    missed = sum(number.missed for number in numbers)
    print(f"\n{missed} goals missed" if missed else "\nall goals reached")
    return bool(missed)


def _executed(root: Path) -> Iterator[Number]:
    with tempfile.TemporaryDirectory() as home:
        ours = {"HOME": home, "IMAGEN_HOME": home, "IMAGEN_PROVIDER": "demo"}
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}}
        done = subprocess.run(
            [sys.executable, "-c", EXECUTED, str(root)],
            cwd=home,
            env={**kept, **ours, "IMAGEN_DEMO_SECONDS": "0"},
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_SECONDS,
        )
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        yield Number('generate("a fox"): files executed (it FAILED)', "39", float("inf"), 22)
        return
    codes = [tuple(code) for code in json.loads(done.stdout)]
    functions = [(file, name) for file, name in codes if name != "<module>"]
    files = sorted({file for file, _ in functions})
    named = [name for _, name in functions if not name.endswith(">")]
    yield Number('generate("a fox"): files executed', "39", len(files), 22, names=tuple(files))
    yield Number("  its functions", "280", len(functions), 180)
    yield Number("  of them with a name of their own", "", len(named))
    yield Number("  with module bodies", "", len(codes))


def _python(root: Path, folder: str = "imagen_widget") -> dict[str, ast.Module]:
    paths = sorted((root / folder).rglob("*.py"))
    return {str(path.relative_to(root)): ast.parse(path.read_text("utf-8")) for path in paths}


def _lines(root: Path) -> Iterator[Number]:
    imports = filled = code = 0
    for name, tree in _python(root).items():
        lines = (root / name).read_text("utf-8").splitlines()
        words: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports += _end(node) - node.lineno + 1
            if isinstance(node, ast.Expr) and _is_text(node):
                words |= set(range(node.lineno, _end(node) + 1))
        filled += sum(bool(line.strip()) for line in lines)
        code += sum(
            bool(line.strip()) and number not in words and not line.strip().startswith("#")
            for number, line in enumerate(lines, 1)
        )
    yield Number("import lines among lines of code", "10.3%", 100 * imports / code, 7, "%")
    yield Number("  among all lines that are not blank", "8.8%", 100 * imports / filled, None, "%")
    files = [path for path in (root / "imagen_widget").rglob("*") if path.is_file()]
    texts = [path for path in files if "__pycache__" not in path.parts]
    total = sum(len(path.read_bytes().splitlines()) for path in texts)
    yield Number("lines of the package, all its files", "18,044", total, 15_000)
    long = [
        f"{name}:{node.lineno} {node.name} ({_end(node) - node.lineno + 1})"
        for name, tree in _python(root).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _body_lines(node) > 60
    ]
    yield Number(
        "functions of more than 60 lines, without docstring", "0", len(long), 0, "", (*long,)
    )


def _end(node: ast.expr | ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _is_text(node: ast.stmt) -> bool:
    """Return True if a statement is a docstring, or another text that stands alone."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    docstring = _end(first) - first.lineno + 1 if _is_text(first) else 0
    return _end(node) - node.lineno + 1 - docstring


def _knowing(root: Path) -> Iterator[Number]:
    modules = _python(root)
    knowing = tuple(name for name, tree in modules.items() if _knows_the_catalogue(tree))
    comparing = tuple(name for name, tree in modules.items() if _compares_providers(tree))
    yield Number("modules that know the catalogue as a global", "14", len(knowing), 1, "", knowing)
    yield Number("modules that compare provider names", "8", len(comparing), 1, "", comparing)
    guarded = tuple(name for name, tree in modules.items() if _guards_anywidget(tree))
    variants = 2 if guarded else 1
    yield Number("ipywidgets variants of one control", "2", variants, 1, "", guarded)


def _knows_the_catalogue(tree: ast.Module) -> bool:
    """Return True if a module has the table of models as a global, or a function that reads it."""
    assigned = (node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign))
    own = any(
        isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "Catalogue"
        for node in assigned
    )
    read = any(isinstance(n, ast.Constant) and n.value == "bundled.json" for n in ast.walk(tree))
    table = any(
        isinstance(target, ast.Name) and target.id == "MODELS"
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    )
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("imagen_widget")
        for alias in node.names
    }
    return own or read or table or bool(imported & CATALOGUE)


def _compares_providers(tree: ast.Module) -> bool:
    """Return True if a module compares something with a provider's name."""
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare | ast.MatchValue)]
    values = (inner for node in compared for inner in ast.walk(node))
    return any(isinstance(n, ast.Constant) and n.value in PROVIDERS for n in values)


def _guards_anywidget(tree: ast.Module) -> bool:
    """Return True if a module goes on where anywidget is missing."""
    tries = [node for node in ast.walk(tree) if isinstance(node, ast.Try)]
    tried = (inner for node in tries for part in node.body for inner in ast.walk(part))
    texts = (ast.unparse(node) for node in tried if isinstance(node, ast.Import | ast.ImportFrom))
    found = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant))
    return any("anywidget" in text for text in texts) or "anywidget" in found


def _tests(root: Path) -> Iterator[Number]:
    private: Counter[str] = Counter()
    ours = 0
    for name, tree in _python(root, "tests").items():
        for node in ast.walk(tree):
            named = list(_names_of_ours(node))
            ours += bool(named)
            private[name] += any(_is_private(path) for path in named)
    names = tuple(f"{name} {count}" for name, count in private.most_common() if count)
    yield Number("private imports in tests", "264", private.total(), 40, "", names)
    yield Number("  of all imports of the package there", "313", ours)


def _names_of_ours(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "imagen_widget":
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Import):
        names = (alias.name for alias in node.names)
        yield from (name for name in names if name.split(".")[0] == "imagen_widget")


def _is_private(path: str) -> bool:
    return any(part.startswith("_") and not part.endswith("__") for part in path.split("."))


def _exceptions(root: Path) -> Iterator[Number]:
    text = (root / "pyproject.toml").read_text("utf-8")
    contracts = text[text.index("[tool.importlinter]") :]
    lines = sum(bool(line.strip()) for line in contracts.splitlines())
    _, _, ignored = text.partition("[tool.ruff.lint.per-file-ignores]\n")
    entries = ignored.partition("\n\n")[0].splitlines() if ignored else []
    assert tomllib.loads(text)["tool"]["importlinter"]
    total = lines + len(entries)
    yield Number("lines of import contracts and lint exceptions", "245", total, 60)


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    sys.exit(main(place.resolve()))
