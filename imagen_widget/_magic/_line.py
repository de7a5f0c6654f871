"""Splits a magic's line or cell into the prompt, exactly as typed, and its options.

Options are a run of words at the start or at the end of a line. The middle is the prompt, cut out
of the raw text: never split into words, never joined again. Nothing here does I/O.

What looks like an option (`-x`, `--word`) and stands first, last, or last but one has to be one:
a mistyped option is an error, not a prompt that costs money. A prompt that needs such a word
goes in quotes, or after a bare `--`, behind which everything is the prompt to the letter.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from imagen_widget._magic._expand import Evaluate, expand, mask
from imagen_widget._magic._options import IMAGEN, Grammar, Option, Values, read_values
from imagen_widget.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BLANKS = re.compile(r"\s*")
_WORD = re.compile(r"\S+")
_NAME = re.compile(r"(--?[A-Za-z][\w-]*)(?:(=)|(?=\s|\Z))")
_DASHES = re.compile(r"--(?=\s|\Z)")
_QUOTED = re.compile(r"""(["'])(.*?)\1(?=\s|\Z)""", re.DOTALL)
_KEY_WORDS = {"api-key", "apikey", "key", "token", "secret", "fal-key", "imagen-api-key"}
_SURELY_KEY_WORDS = {"api-key", "apikey", "fal-key", "imagen-api-key"}


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a line or a cell asks for.

    Attributes:
        prompt: The prompt with its templates filled in; None where there is none.
        values: The options' values.
        silent: Whether a trailing `;` asks to hide the output.
    """

    prompt: str | None
    values: Values
    silent: bool = False


def parse_line(text: str, *, evaluate: Evaluate, grammar: Grammar = IMAGEN) -> Parsed:
    """Read what follows `%imagen` on its line.

    Raises:
        InvalidRequest: A word at either end is no option, an option lacks its value, or a
            template fails.
    """
    shown, silent = _without_semicolon(text)
    scan = _Scan(shown, grammar)
    leading, start, verbatim = scan.leading()
    if verbatim:
        typed = text[start:]
        return Parsed(
            expand(typed, evaluate) if typed.strip() else None,
            _values(grammar, leading, shown, evaluate),
        )
    trailing, stop = scan.trailing(start)
    typed = shown[start:stop].strip()
    scan.check_ends(start, stop)
    return Parsed(
        expand(_unquoted(typed), evaluate) if typed else None,
        _values(grammar, [*leading, *trailing], shown, evaluate),
        silent,
    )


def parse_cell(line: str, body: str, *, evaluate: Evaluate, grammar: Grammar = IMAGEN) -> Parsed:
    """Read a `%%imagen` cell: options on its first line, below it the prompt and nothing else.

    Raises:
        InvalidRequest: The first line holds something else than options, or a template fails.
    """
    line, silent = _without_semicolon(line)
    typed = body.removesuffix("\n")  # IPython ends every cell in one
    scan = _Scan(line, grammar)
    options, end, verbatim = scan.leading()
    if line[end:].strip():
        raise InvalidRequest(
            f"%{grammar.magic}: its first line takes options only.",
            remedy="Write the prompt in the lines below. Nothing was sent.",
            field="prompt",
        )
    values = _values(grammar, options, line, evaluate)
    if not verbatim:
        typed, silent_body = _without_semicolon(typed)
        typed, silent = _unquoted(typed), silent or silent_body
    return Parsed(expand(typed, evaluate), values, silent)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One word that looks like an option: what it says, or what is wrong with it."""

    name: str
    option: Option | None
    value: tuple[int, int]
    end: int
    fault: str = ""


class _Scan:
    """Finds options in a line; positions are those of the raw text."""

    def __init__(self, text: str, grammar: Grammar) -> None:
        self._text = mask(text)
        self._grammar = grammar

    def leading(self) -> tuple[list[_Reading], int, bool]:
        """Return the options at the start, where the prompt starts, and whether `--` ended them."""
        found: list[_Reading] = []
        position = self._skip_blanks(0)
        while (reading := self._read(position)) is not None:
            if reading.fault:
                self._refuse(reading)
            found.append(reading)
            position = self._skip_blanks(reading.end)
        dashes = _DASHES.match(self._text, position)
        if dashes is None:
            return found, position, False
        return found, dashes.end() + len(" "), True

    def trailing(self, start: int) -> tuple[list[_Reading], int]:
        """Return the longest run of options that reaches the end, and where it begins."""
        chains: dict[int, _Reading | None] = {len(self._text): None}
        words = [m.start() for m in _WORD.finditer(self._text, start) if m[0].startswith("-")]
        for position in reversed(words):
            reading = self._read(position)
            if reading and not reading.fault and self._skip_blanks(reading.end) in chains:
                chains[position] = reading
        stop = position = min(chains)
        run: list[_Reading] = []
        while (link := chains[position]) is not None:
            run.append(link)
            position = self._skip_blanks(link.end)
        return run, stop

    def check_ends(self, start: int, stop: int) -> None:
        """Refuse a prompt whose last words look like an option, and a key on the line."""
        words = [m.start() for m in _WORD.finditer(self._text[:stop], start)]
        last, last_but_one = words[-1:], words[-2:-1]
        for position in last:
            reading = self._read(position)
            if reading is not None:
                self._refuse(reading)
        if last_but_one and not self._text[:stop].rstrip().endswith(("'", '"')):
            reading = self._read(last_but_one[0])
            if reading is not None and self._is_meant(reading.name):
                self._refuse(reading)
        if _is_quoted(self._text[start:stop].strip()):
            return
        for position in words:
            reading = self._read(position)
            if reading is not None and _bare(reading.name) in _SURELY_KEY_WORDS:
                self._refuse(reading)

    def _is_meant(self, name: str) -> bool:
        """Tell whether a word with another behind it is an option, not a suffix like `-ish`."""
        return (
            name.startswith("--") or len(name) == len("-x") or bool(self._grammar.find(f"-{name}"))
        )

    def _read(self, position: int) -> _Reading | None:
        """Read the option at a position, or None where the word does not look like one."""
        match = _NAME.match(self._text, position)
        if match is None:
            return None
        name, assigned = match[1], bool(match[2])
        option = self._grammar.find(name)
        if option is None and name[2:].isdecimal() and not assigned:
            option = self._grammar.find(name[:2])
            if option is not None and option.whole:
                return _Reading(name[:2], option, (position + 2, match.end()), match.end())
            option = None
        if option is None:
            return _Reading(name, None, (0, 0), match.end(), "unknown")
        value = self._value(match.end(), assigned=assigned)
        if not option.takes_value:
            fault = "takes no value" if assigned else ""
            return _Reading(name, option, (0, 0), match.end(), fault)
        if value is None:
            return _Reading(name, option, (0, 0), match.end(), "needs a value")
        return _Reading(name, option, value.span, value.end)

    def _value(self, position: int, *, assigned: bool) -> _Value | None:
        start = position if assigned else self._skip_blanks(position)
        quoted = _QUOTED.match(self._text, start)
        if quoted is not None:
            return _Value(quoted.span(2), quoted.end())
        word = _WORD.match(self._text, start)
        if word is None or word[0].endswith(("'", '"')):
            return None
        if not assigned and (_NAME.match(self._text, start) or _DASHES.match(self._text, start)):
            return None
        return _Value(word.span(), word.end())

    def _skip_blanks(self, position: int) -> int:
        match = _BLANKS.match(self._text, position)
        return match.end() if match else position

    def _refuse(self, reading: _Reading) -> NoReturn:
        """Raise the one line about a faulty option; it never shows what was given to it."""
        magic, name = self._grammar.magic, reading.name
        if _bare(name) in _KEY_WORDS:
            raise InvalidRequest(
                f"{magic}: keys are not taken here, and this one may now be stored in the "
                "notebook and in IPython's history. Nothing was sent.",
                remedy="Delete it from the cell, delete the history with `ipython history clear` "
                "in a terminal, ask the provider for a new key, and give that one to "
                "imagen_widget.login() or the environment (IMAGEN_API_KEY, FAL_KEY).",
                field="api_key",
            )
        raise InvalidRequest(
            f"{magic}: {self._what_is_wrong(reading)}",
            remedy=f"{magic}? lists the options; a prompt with such a word goes in quotes or "
            "after --. Nothing was sent.",
        )

    def _what_is_wrong(self, reading: _Reading) -> str:
        name, option = reading.name[:40], reading.option
        match reading.fault, option:
            case "needs a value", Option(metavar=metavar):
                return f"{name} needs a value, like {name} {metavar}."
            case "takes no value", _:
                return f"{name} takes no value."
            case _, None:
                return f"there is no option {name}.{self._nearest(name)}"
            case _:
                return f"{name} stands inside the prompt; options go before or after it."

    def _nearest(self, name: str) -> str:
        names = self._grammar.names
        if not names:
            return " It takes none."
        bare = _bare(name)
        begun = [n for n in names if len(bare) > 1 and _bare(n).startswith(bare)]
        near = begun or difflib.get_close_matches(f"--{bare}", names, n=1, cutoff=0)
        return f" Did you mean {near[0]}?"


@dataclass(frozen=True, slots=True)
class _Value:
    """Where a value stands, without its quotes, and where the text goes on."""

    span: tuple[int, int]
    end: int


def _bare(name: str) -> str:
    return name.lstrip("-").replace("_", "-").lower()


def _values(grammar: Grammar, found: Iterable[_Reading], text: str, evaluate: Evaluate) -> Values:
    def pairs() -> Iterator[tuple[Option, str]]:
        for reading in found:
            if reading.option is not None:
                yield reading.option, expand(text[slice(*reading.value)], evaluate)

    return read_values(grammar, pairs())


def _without_semicolon(text: str) -> tuple[str, bool]:
    stripped = text.rstrip()
    if not stripped.endswith(";"):
        return text, False
    return stripped[:-1].rstrip(), True


def _unquoted(text: str) -> str:
    """Return the text without its one pair of outer quotes; blanks inside them stay."""
    typed = text.strip()
    return typed[1:-1] if _is_quoted(mask(typed)) else text


def _is_quoted(text: str) -> bool:
    """Tell whether the quotes at both ends are a pair: `"a" and "b"` is not one."""
    quote = text[:1]
    if len(text) < len("''") or quote not in {"'", '"'} or text[-1] != quote:
        return False
    depth = 1
    for position in range(1, len(text) - 1):
        if text[position] != quote:
            continue
        before, after = text[position - 1], text[position + 1]
        if (before.isspace() or before in "([{") and not after.isspace():
            depth += 1
        elif not before.isspace() and not (after.isalnum() or after == "_"):
            depth -= 1
        if depth == 0:
            return False
    return True
