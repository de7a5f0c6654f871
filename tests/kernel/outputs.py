"""What a notebook would hold: kernel messages folded into the outputs of their cells.

Nothing here does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]  # a message's content, or one output in nbformat's words
Status = Literal["running", "ok", "error", "aborted"]


@dataclass(frozen=True)
class Failure:
    """The exception that ended a cell."""

    name: str
    value: str
    traceback: str


@dataclass(frozen=True)
class Outcome:
    """A cell as it stood at one moment.

    Attributes:
        status: "running", or how the kernel said it ended; "aborted" cells never ran.
        outputs: What the saved notebook would hold, display updates applied.
        updates: The data of each `update_display_data` for this cell's displays, oldest first.
        error: The exception that ended the cell, or None.
    """

    status: Status
    outputs: tuple[Json, ...]
    updates: tuple[Json, ...]
    error: Failure | None

    @property
    def text(self) -> str:
        """All that a terminal would have shown: streams and plain texts, in order."""
        return "".join(_plain(output) for output in self.outputs)

    @property
    def value(self) -> str | None:
        """The plain text of what the cell's last expression returned, or None."""
        results = [o for o in self.outputs if o["output_type"] == "execute_result"]
        return str(results[-1]["data"]["text/plain"]) if results else None

    def data(self, mime: str) -> list[Any]:
        """Return what the cell holds of one media type, oldest first."""
        return [o["data"][mime] for o in self.outputs if mime in o.get("data", {})]


@dataclass
class Cell:
    """One execute request that was sent, and what came back so far."""

    outputs: list[Json] = field(default_factory=list)
    updates: list[Json] = field(default_factory=list)
    reply: Json | None = None
    idle: bool = False
    _clear_first: bool = False

    @property
    def done(self) -> bool:
        """Return True if both the reply and the end of the outputs have arrived."""
        return self.idle and self.reply is not None

    def outcome(self) -> Outcome:
        """Freeze the cell as it stands now."""
        outputs = tuple({k: v for k, v in o.items() if k != "display_id"} for o in self.outputs)
        status: Status = self.reply["status"] if self.reply and self.idle else "running"
        return Outcome(status, outputs, tuple(self.updates), self._failure())

    def add(self, kind: str, content: Json) -> None:
        """Take one output message of this cell."""
        match kind:
            case "status":
                self.idle = content["execution_state"] == "idle"
            case "clear_output" if content["wait"]:
                self._clear_first = True
            case "clear_output":
                self.outputs.clear()
            case "stream" | "display_data" | "execute_result" | "error":
                if self._clear_first:
                    self.outputs.clear()
                    self._clear_first = False
                self._append(kind, content)

    def update(self, display_id: str, content: Json) -> None:
        """Take an update of a display, if it is one of this cell's."""
        for output in self.outputs:
            if output.get("display_id") == display_id:
                output |= {"data": content["data"], "metadata": content["metadata"]}
                self.updates.append(content["data"])

    def _append(self, kind: str, content: Json) -> None:
        last = self.outputs[-1] if self.outputs else {}
        if kind == "stream" and last.get("name") == content["name"]:
            last["text"] += content["text"]
            return
        output = {"output_type": kind} | {k: v for k, v in content.items() if k != "transient"}
        display_id = content.get("transient", {}).get("display_id")
        self.outputs.append(output | ({"display_id": display_id} if display_id else {}))

    def _failure(self) -> Failure | None:
        for output in self.outputs:
            if output["output_type"] == "error":
                lines = "\n".join(output["traceback"])
                return Failure(output["ename"], output["evalue"], lines)
        return None


def _plain(output: Json) -> str:
    match output["output_type"]:
        case "stream":
            return str(output["text"])
        case "error":
            return "\n".join(output["traceback"]) + "\n"
        case _:
            return str(output["data"].get("text/plain", "")) + "\n"
