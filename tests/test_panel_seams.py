"""The panel's other threads: what they run belongs to the cell or the click that asked for it."""

from __future__ import annotations

from contextvars import ContextVar
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from imagen_widget._panel import _seams as seams

if TYPE_CHECKING:
    from collections.abc import Callable

cell: ContextVar[str] = ContextVar("cell")


def _later(action: Callable[[], None]) -> None:
    seams.later(0.0, action)


def _later_from_the_background(action: Callable[[], None]) -> None:
    seams.background(lambda: _later(action))


@pytest.mark.parametrize("run", [_later, seams.background, _later_from_the_background])
def test_work_on_another_thread_has_the_context_of_who_asked(
    run: Callable[[Callable[[], None]], None],
) -> None:
    """In ipykernel 7.0 a widget's message without the context of its cell is an error."""
    seen: SimpleQueue[str | None] = SimpleQueue()
    token = cell.set("the third")

    run(lambda: seen.put(cell.get(None)))

    assert seen.get(timeout=10) == "the third"
    cell.reset(token)
