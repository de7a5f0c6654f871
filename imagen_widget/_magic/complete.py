"""Tab completion on the magics' lines: options, their values, and nothing else.

A prompt is not Python: on such a line IPython's own suggestions are kept away, except where an
expression is being typed. Nothing is asked over the network.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from IPython.core.completer import SimpleCompletion, context_matcher

from imagen_widget._magic.line import GRAMMARS, Grammar, Option
from imagen_widget._models import Model
from imagen_widget._studio import Studio
from imagen_widget.errors import ImagenError

_LINE = re.compile(r"\s*(?:[^%'\"#]*=\s*)?%(imagen\w*)\s(.*)", re.DOTALL)
_CELL = re.compile(r"\s*%%(imagen\w*)\s(.*)", re.DOTALL)
_SWEEP = re.compile(r"\s*%%imagen_sweep\b")
_AXIS = re.compile(r"\s*(\w*)(?:\s*=\s*(?:.*\|\|)?\s*([^|]*))?", re.DOTALL)
_LAST_WORD = re.compile(r"\S*\Z")
_MODEL = re.compile(r"(?:\A|\s)(?:-m|--model)[ =]\s*(\S+)(?=\s)")


class Suggestions(NamedTuple):
    """What may stand in place of a fragment; `is_python`: or a name of the notebook."""

    fragment: str
    texts: tuple[str, ...] = ()
    is_python: bool = False


def suggest(lines: list[str], find_studio: Callable[[], Studio]) -> Suggestions | None:
    """Return what fits behind the text of a cell up to the cursor.

    None means that the line is not one of ours, or that a template is being typed there.
    """
    before = lines[-1]
    head = next((line for line in lines if line.strip()), "")
    in_first_line = not "".join(lines[:-1]).strip()
    match = _LINE.match(before) or (_CELL.match(before) if in_first_line else None)
    if before.rfind("{{") > before.rfind("}}"):
        return None
    try:
        if match is not None and match[1] in GRAMMARS:
            return _on_line(GRAMMARS[match[1]], match[2], find_studio())
        if not in_first_line and _SWEEP.match(head) and "---" not in map(str.strip, lines[:-1]):
            return _on_axis(before, f"{head} ", find_studio())
    except ImagenError:  # a setting that cannot be read is said when the cell runs
        return Suggestions("")
    return None


def _on_line(grammar: Grammar, typed: str, studio: Studio) -> Suggestions:
    found = _LAST_WORD.search(typed)
    word = found[0] if found else ""
    if grammar.takes_fields:
        grammar = grammar.with_fields(_model(typed, studio))
    name, assigned, value = word.partition("=")
    words = typed[: len(typed) - len(word)].split()
    if word.startswith("-") and not assigned:
        spelled = "-" * (len(word) - len(word.lstrip("-"))) + word.lstrip("-").replace("_", "-")
        names = (n for n in grammar.names if n.startswith(spelled))
        return Suggestions(word, tuple(sorted(names, key=lambda n: not n.startswith("--"))))
    begun = value if assigned else word
    option = grammar.find(name if assigned else words[-1] if words else "")
    if option is not None and option.metavar:
        texts = _models(studio, begun) if option.field.name == "model" else option.values
        return _fitting(begun, texts, is_python=option.field.kind in {"picture", "pictures"})
    first = {
        "%imagen_series": studio.all_series,
        "%imagen_models": lambda: _models(studio, ""),
    }.get(grammar.magic, tuple)
    return _fitting(word, () if words else first(), is_python=grammar.magic == "%imagen_batch")


def _on_axis(before: str, head: str, studio: Studio) -> Suggestions | None:
    match, model = _AXIS.fullmatch(before), _model(head, studio)
    if match is None:
        return None
    name, value = match.groups()
    if value is None:
        names = ["model", "image", *(f.name for f in model.fields if f.role != "prompt")]
        return _fitting(name, [f"{each} = " for each in names])
    if name == "model":
        return _fitting(value, _models(studio, value))
    field = model.field(name)
    return _fitting(value, Option((), field, is_models=True).values if field else ())


def _fitting(begun: str, texts: Any, *, is_python: bool = False) -> Suggestions:
    """Return the texts that begin so, letter case aside."""
    chosen = tuple(text for text in texts if text.lower().startswith(begun.lower()))
    return Suggestions(begun, chosen, is_python)


def _model(typed: str, studio: Studio) -> Model:
    chosen = _MODEL.search(typed)
    try:
        return studio.known(chosen[1] if chosen else None)
    except ImagenError:
        return Model("")


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
        found = suggest([*lines[:-1], lines[-1][: context.cursor_position]], find_studio)
        if found is None:
            return {"completions": []}
        texts = found.texts
        if found.is_python:
            texts += tuple(n for n in shell.user_ns if n.startswith(found.fragment) and n[0] != "_")
        completions = [SimpleCompletion(text, type="param") for text in texts]
        return {
            "completions": completions or ([] if found.is_python else _Nothing()),
            "matched_fragment": found.fragment,
            "ordered": True,
            "suppress": not found.is_python,
        }

    return imagen_matcher  # type: ignore[no-any-return]  # what the untyped decorator returns
