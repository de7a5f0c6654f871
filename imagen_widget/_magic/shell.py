"""What the magic needs of IPython's insides: each value shown once, each prompt passed on whole.

Everything is bound to one shell, so that several in one process do not meet.
"""

import dis
import sys
import tokenize
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from IPython.core.inputtransformer2 import EscapedCommand, HelpEnd

_RUNS_MAGIC = {"run_line_magic", "run_cell_magic"}
_TAKES_TEXT = {"imagen", "imagen_history"}


class KeepsQuestionMark(HelpEnd):
    """Passes `%imagen what is this?` on as a prompt; IPython takes it for a question about `this`.

    `%imagen?` goes on asking for help.
    """

    priority = HelpEnd.priority - 1  # of two in one place, the lower number goes first

    def transform(self, lines: list[str]) -> list[str]:
        """Return the lines with the command as a call."""
        command = EscapedCommand((self.q_line + 1, self.q_col))  # type: ignore[no-untyped-call]  # IPython's
        transformed: list[str] = command.transform(lines)  # type: ignore[no-untyped-call]  # idem
        return transformed

    @classmethod
    def find(cls, tokens_by_line: list[list[tokenize.TokenInfo]]) -> "KeepsQuestionMark | None":
        """Return the first such line of a cell, or None."""
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
        """Undo `install`."""
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
        for frame in _stack():
            if frame.f_code.co_name == "__call__" and frame.f_locals.get("self") is sys.displayhook:
                caller = frame.f_back
                return caller is not None and any(
                    caller.f_code is code for code in self._statements
                )
        return False


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
