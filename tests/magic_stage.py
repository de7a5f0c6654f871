"""A stage for the magic: a real shell with the extension, on the fake queue."""

from __future__ import annotations

import atexit
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from IPython.core.completer import provisionalcompleter
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

if TYPE_CHECKING:
    import pytest

    from tests.fakequeue import FakeQueue

Json = dict[str, Any]

_PROMPT = re.compile(r"Out\[\d+\]: ?")


@dataclass
class Ran:
    """What became of one cell.

    Attributes:
        value: What its last expression returned.
        error: The exception that ended it, or None.
        printed: All that was printed, prompts of the displayhook left out.
        outputs: The data of each of its outputs as they are in the end.
        updates: How often an output was updated.
        sent: The bodies that the queue got, with the endpoint as `model`.
    """

    value: Any
    error: BaseException | None
    printed: str
    outputs: list[Json]
    updates: int
    sent: list[Json]

    @property
    def shown(self) -> list[str]:
        """The text of everything that the cell shows, its outputs first."""
        return [o["text/plain"] for o in self.outputs] + ([self.printed] if self.printed else [])


def new_shell(**traits: object) -> Any:
    """Return a shell of its own, without history; traits are those of ImagenMagics."""
    config = Config({"HistoryManager": {"enabled": False}, "ImagenMagics": traits})
    shell: Any = InteractiveShell(config=config)  # type: ignore[no-untyped-call]  # IPython's
    shell.display_pub = CapturingDisplayPublisher(shell=shell)  # type: ignore[no-untyped-call]
    # Each shell would collect all garbage once at the end of the process: minutes, for hundreds.
    atexit.unregister(shell.atexit_operations)
    return shell


@dataclass
class Stage:
    """A shell with the extension, on a queue; a terminal if it is not `rich`."""

    queue: FakeQueue
    capsys: pytest.CaptureFixture[str]
    rich: bool = True
    shell: Any = field(init=False)

    def __post_init__(self) -> None:
        self.shell = new_shell()
        if not self.rich:
            self.shell.display_formatter.active_types = ["text/plain"]
        self.run("%load_ext imagen_widget")

    def run(self, cell: str) -> Ran:
        """Run a cell as a user would."""
        before, outputs = len(self.queue.requests), self.shell.display_pub.outputs
        outputs.clear()
        self.capsys.readouterr()
        result = self.shell.run_cell(cell, store_history=True)
        final: dict[object, Json] = {}
        for number, output in enumerate(list(outputs)):
            name = (output["transient"] or {}).get("display_id", number)
            if name in final or not output["update"]:  # else it belongs to an earlier cell
                final[name] = output["data"]
        submits = [r for r in self.queue.requests[before:] if r.route in {"submit", "generations"}]
        return Ran(
            value=result.result,
            error=result.error_in_exec or result.error_before_exec,
            printed=_PROMPT.sub("", "".join(self.capsys.readouterr())).strip(),
            outputs=list(final.values()),
            updates=sum(bool(output["update"]) for output in list(outputs)),
            sent=[{"model": r.path.strip("/"), **r.arguments} for r in submits],
        )

    def line(self, magic: str, line: str) -> Any:
        """Call a line magic as `%magic line` does, and return its value."""
        return self.shell.run_line_magic(magic, line)

    def cell(self, magic: str, line: str, body: str) -> Any:
        """Call a cell magic as `%%magic line` does, and return its value."""
        return self.shell.run_cell_magic(magic, line, body)

    def tab(self, *typed: str) -> list[str]:
        """Press Tab behind the last line of what is typed."""
        text = "\n".join(typed)
        with provisionalcompleter():
            return [c.text for c in self.shell.Completer.completions(text, len(text))]
