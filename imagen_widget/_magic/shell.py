"""What the magics need of IPython: values shown once, prompts passed on whole, Tab completion.

Everything is bound to one shell, so that several in one process do not meet. A prompt is not
Python: on such a line IPython's own suggestions are kept away, except where an expression is being
typed. Nothing is asked over the network.
"""

import dis
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FrameType
from typing import Any, NoReturn

from IPython.core.completer import SimpleCompletion, context_matcher
from IPython.core.inputtransformer2 import EscapedCommand, HelpEnd

from imagen_widget._magic.line import GRAMMARS, Grammar, Option, Text, model_named
from imagen_widget._models import Model
from imagen_widget._request import quoted
from imagen_widget._studio import Studio
from imagen_widget.errors import ImagenError

_RUNS_MAGIC = {"run_line_magic", "run_cell_magic"}
_TAKES_TEXT = {"imagen", "imagen_history"}


def whole_lines(lines: list[str]) -> list[str]:
    """Join what IPython cut inside a line: at U+2028, a form feed, and other signs in a prompt."""
    text = "".join(lines)
    return list(io.StringIO(text, newline="")) if "%imagen" in text else lines


class KeepsQuestionMark(HelpEnd):
    """Passes `%imagen what is this?` on as a prompt; IPython takes it for a question about `this`.

    `%imagen?` goes on asking for help.
    """

    priority = HelpEnd.priority - 1  # of two in one place, the lower number goes first

    def transform(self, lines: list[str]) -> list[str]:
        command = EscapedCommand((self.q_line + 1, self.q_col))  # type: ignore[no-untyped-call]  # IPython's
        transformed: list[str] = command.transform(lines)  # type: ignore[no-untyped-call]  # idem
        return transformed

    @classmethod
    def find(cls, tokens_by_line: list[list[tokenize.TokenInfo]]) -> "KeepsQuestionMark | None":
        for line in tokens_by_line:
            words = [t for t in line if t.type not in {tokenize.INDENT, tokenize.DEDENT}]
            texts = [t.string for t in words]
            if "%" not in texts or texts[-2:-1] != ["?"]:  # the last token is the line's end
                continue
            start = texts.index("%")
            name, following = (*texts[start + 1 : start + 3], "", "")[:2]
            at_start = start == 0 or texts[start - 1] == "="
            if at_start and name in _TAKES_TEXT and following not in {"", "?"}:
                return cls(words[0].start, words[start].start)
        return None


class ShownOnce:
    """Keeps the displayhook from showing a value again in the statement that made it.

    The magic's own output has shown the value already, or the user asked to hide it. The value
    still becomes `_` and `Out[n]`, and any later statement shows it as ever.
    """

    def __init__(self, shell: Any, *types: type) -> None:
        self._formatter = shell.display_formatter.ipython_display_formatter
        self._types = types
        self._shown: object = None
        self._statements: tuple[CodeType, ...] = ()

    def install(self) -> None:
        """Have values of these types pass through here before they are shown."""
        for kind in self._types:
            self._formatter.for_type(kind, self._show)

    def uninstall(self) -> None:
        for kind in self._types:
            self._formatter.pop(kind, None)
        self._shown, self._statements = None, ()

    def note(self, value: object) -> None:
        """Remember that the statements which now run need not show this value."""
        self._shown = value
        self._statements = tuple(frame.f_code for frame in _stack())

    def _show(self, value: object) -> None:
        if value is self._shown and self._is_hooked():
            return
        display = getattr(type(value), "_ipython_display_", None)
        if display is None:
            raise NotImplementedError  # IPython then goes on as if this were not here
        display(value)

    def _is_hooked(self) -> bool:
        """Return True if the displayhook asks, in a statement that is noted; display() may."""
        calls = (frame for frame in _stack() if frame.f_code.co_name == "__call__")
        hooks = (f.f_back for f in calls if f.f_locals.get("self") is sys.displayhook)
        caller = next(hooks, None)
        return caller is not None and caller.f_code in self._statements


def is_last_expression() -> bool:
    """Return True if the statement that called the magic hands its value to the displayhook.

    A terminal then prints it behind `Out[n]:`, and printing it before would be twice.
    """
    for frame in _stack():
        if frame.f_code.co_name in _RUNS_MAGIC and frame.f_back is not None:
            code = frame.f_back.f_code
            return any(
                "PRINT_EXPR" in step.opname or step.argrepr == "INTRINSIC_PRINT"
                for step in dis.get_instructions(code)
            )
    return False


def _stack() -> Iterator[FrameType]:
    frame: Any = sys._getframe(1)  # nothing else knows which statement is running
    while frame is not None:
        yield frame
        frame = frame.f_back


_LINE = re.compile(r"\s*(?:[^%'\"#]*=\s*)?%(imagen\w*)\s(.*)", re.DOTALL)
_CELL = re.compile(r"\s*%%(imagen\w*)\s(.*)", re.DOTALL)
_SWEEP = re.compile(r"\s*%%imagen_sweep\b")
_AXIS = re.compile(r"\s*(\w*)(?:\s*=\s*(?:.*\|\|)?\s*([^|]*))?", re.DOTALL)


# What is being typed, what may stand in its place, and True if a name of the notebook may too.
Suggestions = tuple[str, Sequence[str], bool]


def suggest(lines: list[str], find_studio: Callable[[], Studio]) -> Suggestions | None:
    """Return what fits behind the text of a cell up to the cursor.

    None means that the line is not one of ours, or that a template is being typed there.
    """
    *above, before = lines
    head = next((line for line in above if line.strip()), "")
    match = _LINE.match(before) or (None if head else _CELL.match(before))
    if before.rfind("{{") > before.rfind("}}"):
        return None
    if match is not None and match[1] in GRAMMARS:
        return _on_line(GRAMMARS[match[1]], match[2], find_studio())
    axis = _AXIS.fullmatch(before) if _SWEEP.match(head) else None
    if axis is None or "---" in map(str.strip, above):
        return None
    return _on_axis(axis[1], axis[2], _model(head, find_studio()), find_studio())


def _on_line(grammar: Grammar, typed: str, studio: Studio) -> Suggestions:
    *words, word = re.split(r"\s+", typed)
    model = Model("")
    if any(option.is_models for option in grammar.options):
        model = _model(typed, studio)
        grammar = grammar.with_fields(model)
    name, assigned, value = word.partition("=")
    if word.startswith("-") and not assigned:
        is_free = model.source == "none"
        options = [
            o for o in grammar.options if not o.is_models or is_free or model.meant(o.field.name)
        ]
        names = [name for option in options for name in option.names]
        return word, sorted(names, key=lambda n: not n.startswith("--")), False
    option = grammar.find(name if assigned else words[-1] if words else "")
    if option is not None and option.metavar:
        begun = value if assigned else word
        is_model = option.field.name == "model"
        texts = _models(studio, begun) if is_model else [*map(quoted, option.values)]
        return begun, texts, option.field.kind in {"picture", "pictures"}
    if grammar.magic == "%imagen_series" and not any(words):
        return word, studio.all_series(), False
    if grammar.magic == "%imagen_models" and not any(words):
        return word, _models(studio, ""), False
    return word, (), grammar.magic == "%imagen_batch"


def _on_axis(name: str, value: str | None, model: Model, studio: Studio) -> Suggestions:
    if value is None:
        names = ["model", "image", *(f.name for f in model.fields if f.role != "prompt")]
        return name, [f"{each} = " for each in names], False
    if name == "model":
        return value, _models(studio, value), False
    field = model.field(name)
    return value, Option((), field, is_models=True).values if field else (), False


def _model(typed: str, studio: Studio) -> Model:
    try:
        return studio.known(model_named(Text(typed, _not_now)))
    except ImagenError:
        return Model("")


def _not_now(_code: CodeType) -> NoReturn:
    raise RuntimeError("nothing is evaluated for a suggestion")


def _models(studio: Studio, begun: str) -> list[str]:
    models = studio.models()
    aliases = [model.alias for model in models if model.alias]
    return list(dict.fromkeys([*aliases, *(model.id for model in models)] if begun else aliases))


class _Nothing(tuple[SimpleCompletion, ...]):
    """No completions, though counted as one: IPython silences other matchers for no less."""

    __slots__ = ()

    def __len__(self) -> int:
        return 1


def make_matcher(shell: Any, find_studio: Callable[[], Studio]) -> Callable[[Any], Any]:
    """Return a matcher for `Completer.custom_matchers`."""

    @context_matcher(identifier="imagen_widget", priority=1000)  # type: ignore[untyped-decorator]  # IPython's
    def imagen_matcher(context: Any) -> Any:
        lines = context.full_text.split("\n")[: context.cursor_line + 1]
        try:
            found = suggest([*lines[:-1], lines[-1][: context.cursor_position]], find_studio)
        except ImagenError:  # a setting that cannot be read is said when the cell runs
            found = ("", (), False)
        if found is None:
            return {"completions": []}
        begun, texts, is_python = found
        fitting = [text for text in texts if _plain(text).startswith(_plain(begun))]
        if is_python:
            fitting += [n for n in shell.user_ns if n.startswith(begun) and n[0] != "_"]
        completions = [SimpleCompletion(text, type="param") for text in fitting]
        return {
            "completions": completions or ([] if is_python else _Nothing()),
            "matched_fragment": begun,
            "ordered": True,
            "suppress": not is_python,
        }

    return imagen_matcher  # type: ignore[no-any-return]  # what the untyped decorator returns


def _plain(text: str) -> str:
    return text.lower().replace("_", "-").lstrip("\"'")
