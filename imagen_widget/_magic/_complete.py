"""Tab completion on the magics' lines: options, their values, and nothing else.

A prompt is no Python: on such a line IPython's own suggestions are kept away, except inside
`{{…}}`, where they are what is wanted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from IPython.core.completer import SimpleCompletion, context_matcher

from imagen_widget._catalog import MODELS
from imagen_widget._magic._options import GRAMMARS, Grammar, Option, allowed_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.completer import CompletionContext, SimpleMatcherResult

_LINE = re.compile(r"\s*(?:[^%'\"#]*=\s*)?%(imagen\w*)\s(.*)", re.DOTALL)
_CELL = re.compile(r"\s*%%(imagen)\s(.*)", re.DOTALL)
_LAST_WORD = re.compile(r"\S*\Z")
_MODEL = re.compile(r"(?:\A|\s)(?:-m|--model)[ =]\s*(\S+)(?=\s)")


@dataclass(frozen=True, slots=True)
class Suggestions:
    """What may stand in place of the word before the cursor, or of its end.

    Attributes:
        fragment: The text that a suggestion replaces.
        texts: The suggestions, in the order to show them; there may be none.
        kind: What IPython calls them.
    """

    fragment: str
    texts: tuple[str, ...] = ()
    kind: str = "param"


def suggest(before: str, *, in_first_line: bool = True) -> Suggestions | None:
    """Return what fits behind the text before the cursor in its line.

    None means that the line is none of ours, or that Python is being typed there.
    """
    match = _LINE.match(before) or (_CELL.match(before) if in_first_line else None)
    if match is None or match[1] not in GRAMMARS:
        return None
    grammar, typed = GRAMMARS[match[1]], match[2]
    if typed.rfind("{{") > typed.rfind("}}"):
        return None
    return _suggest_in(typed, grammar)


def _suggest_in(typed: str, grammar: Grammar) -> Suggestions:
    found = _LAST_WORD.search(typed)
    word = found[0] if found else ""
    name, assigned, value = word.partition("=")
    if assigned and (option := grammar.find(name)) is not None:
        return _values(option, value, typed)
    if word.startswith("-"):
        spelled = "-" * (len(word) - len(word.lstrip("-"))) + word.lstrip("-").replace("_", "-")
        names = tuple(n for n in grammar.names if n.startswith(spelled))
        return Suggestions(word, tuple(sorted(names, key=lambda n: not n.startswith("--"))))
    words = typed[: len(typed) - len(word)].split()
    option = grammar.find(words[-1]) if words and words[-1].startswith("-") else None
    return _values(option, word, typed) if option is not None else Suggestions(word)


def _values(option: Option, begun: str, typed: str) -> Suggestions:
    chosen = _MODEL.search(typed)
    values = allowed_values(option.field, model=chosen[1] if chosen else None)
    if option.field == "model" and begun:
        values += [model.endpoint for model in MODELS]
    fitting = tuple(v for v in values if v.lower().startswith(begun.lower()))
    return Suggestions(begun, fitting, kind="value")


class _Nothing(tuple[SimpleCompletion, ...]):
    """No completions, though counted as one: IPython silences other matchers for no less."""

    __slots__ = ()

    def __len__(self) -> int:
        return 1


def make_matcher() -> Callable[[CompletionContext], SimpleMatcherResult]:
    """Return a matcher for `Completer.custom_matchers`."""

    @context_matcher(identifier="imagen_widget", priority=1000)  # type: ignore[untyped-decorator]  # IPython's
    def imagen_matcher(context: CompletionContext) -> SimpleMatcherResult:
        lines = context.full_text.split("\n")
        before = lines[context.cursor_line][: context.cursor_position]
        first = not "".join(lines[: context.cursor_line]).strip()
        found = suggest(before, in_first_line=first)
        if found is None:
            return {"completions": []}
        completions = [SimpleCompletion(text, type=found.kind) for text in found.texts]
        return {
            "completions": completions or _Nothing(),
            "matched_fragment": found.fragment,
            "ordered": True,
            "suppress": True,
        }

    return imagen_matcher  # type: ignore[no-any-return]  # what the untyped decorator returns
