"""`{{expression}}` in a prompt: found, and replaced by its value.

Nothing else in a prompt means anything: `$5`, `{a|b}` and single braces stay as they are. A
literal `{{` is written `{{'{{'}}`. An expression that fails is an error, never sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import TypeAlias

from imagen_widget.errors import InvalidRequest

Evaluate: TypeAlias = Callable[[CodeType], object]

_MOST_CLOSINGS_TRIED = 16
_REMEDY = "Nothing was sent. A literal {{ is written {{'{{'}}."


@dataclass(frozen=True, slots=True)
class _Template:
    """One `{{expression}}`: where it stands, and its compiled expression."""

    start: int
    end: int
    code: CodeType


def expand(text: str, evaluate: Evaluate) -> str:
    """Return the text with each template replaced by its value as text.

    Raises:
        InvalidRequest: A `{{` is never closed, what it holds is no Python expression, or the
            expression fails.
    """
    parts, position = [], 0
    for template in _find(text):
        parts += [text[position : template.start], _value(template, evaluate)]
        position = template.end
    return "".join([*parts, text[position:]])


def mask(text: str) -> str:
    """Return a text of the same length whose templates hold no blank, quote or dash."""
    parts, position = [], 0
    for template in _find(text):
        parts += [text[position : template.start], "x" * (template.end - template.start)]
        position = template.end
    return "".join([*parts, text[position:]])


def _find(text: str) -> Iterator[_Template]:
    position = 0
    while (start := text.find("{{", position)) >= 0:
        template = _read(text, start)
        yield template
        position = template.end


def _read(text: str, start: int) -> _Template:
    """Read one template; the first `}}` after which the expression is whole is its end."""
    close = text.find("}}", start + 2)
    trouble = "what it holds is no Python expression" if close >= 0 else "it is never closed"
    for _ in range(_MOST_CLOSINGS_TRIED):
        if close < 0:
            break
        code = _compiled(text[start + 2 : close].strip())
        if code is not None:
            return _Template(start, close + 2, code)
        close = text.find("}}", close + 1)
    raise InvalidRequest(f"{{{{…}}}}: {trouble}.", remedy=_REMEDY, field="prompt")


def _compiled(source: str) -> CodeType | None:
    if not source:
        return None
    try:
        # In parentheses it may go over several lines, and end in a comment, as in an f-string.
        return compile(f"({source}\n)", "<{{…}}>", "eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _value(template: _Template, evaluate: Evaluate) -> str:
    try:
        return str(evaluate(template.code))
    except Exception as error:
        raise InvalidRequest(
            f"{{{{…}}}}: {type(error).__name__}: {error}.", remedy=_REMEDY, field="prompt"
        ) from error
