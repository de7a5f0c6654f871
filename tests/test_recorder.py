"""What the loop records is written in order, together where it waits, and all or alone undone."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from imagen_widget._generate._recorder import Recorder
from imagen_widget._journal import IllegalStep, Journal, State
from imagen_widget.errors import JournalError
from tests.jobs import Clock, intend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


class CountingJournal(Journal):
    """A journal that counts how often calls were written together."""

    groups = 0

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        self.groups += 1
        with super().together():
            yield


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[CountingJournal]:
    with contextlib.closing(CountingJournal(tmp_path / "imagen", clock=Clock())) as journal:
        yield journal


@pytest.fixture
def recorder(journal: CountingJournal) -> Recorder:
    return Recorder(journal)


class Gate:
    """Holds up the worker thread, so that what is recorded meanwhile has to wait."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def wait(self) -> None:
        assert self._open.wait(timeout=10)

    def open(self) -> None:
        self._open.set()


async def record_behind_a_gate(recorder: Recorder, *calls: Callable[[], object]) -> list[object]:
    """Record all calls while another one is being written; return values and errors in order."""
    gate = Gate()
    outcomes: list[object] = [None] * len(calls)

    async def record(index: int, call: Callable[[], object]) -> None:
        try:
            outcomes[index] = await recorder.record(call)
        except JournalError as error:
            outcomes[index] = error

    async with anyio.create_task_group() as group:
        group.start_soon(recorder.record, gate.wait)
        await anyio.lowlevel.checkpoint()
        for index, call in enumerate(calls):
            group.start_soon(record, index, call)
            await anyio.lowlevel.checkpoint()
        gate.open()
    return outcomes


async def test_a_call_returns_what_the_journal_returns(
    recorder: Recorder, journal: Journal
) -> None:
    job_id: str = await recorder.record(intend, journal)

    assert (await recorder.record(journal.get, job_id)).state is State.INTENT


async def test_calls_that_wait_are_written_together_in_their_order(
    recorder: Recorder, journal: CountingJournal
) -> None:
    ids = await record_behind_a_gate(recorder, *[lambda: intend(journal)] * 20)

    assert journal.groups == 1
    assert [row.id for row in reversed(journal.rows())] == ids


async def test_a_call_that_fails_is_undone_alone_and_says_why(
    recorder: Recorder, journal: Journal
) -> None:
    def half_a_step() -> None:
        with journal._writing() as db:  # noqa: SLF001 - a write that fails in its middle
            db.execute("DELETE FROM jobs")
            raise IllegalStep("Not so.", remedy="Do it another way.")

    first, failed, last = await record_behind_a_gate(
        recorder, lambda: intend(journal), half_a_step, lambda: intend(journal)
    )

    assert isinstance(failed, IllegalStep)
    assert [row.id for row in reversed(journal.rows())] == [first, last]


async def test_where_the_whole_write_fails_nobody_is_told_that_it_is_done(
    recorder: Recorder, journal: Journal
) -> None:
    def roll_back() -> None:
        with journal._writing() as db:  # noqa: SLF001 - what SQLite does when the disk is full
            db.rollback()

    outcomes = await record_behind_a_gate(
        recorder, lambda: intend(journal), roll_back, lambda: intend(journal)
    )

    assert [type(outcome) for outcome in outcomes] == [JournalError] * 3
    assert journal.rows() == []


async def test_a_call_that_is_cancelled_while_it_waits_never_runs(
    recorder: Recorder, journal: Journal
) -> None:
    gate = Gate()

    async with anyio.create_task_group() as group:
        group.start_soon(recorder.record, gate.wait)
        await anyio.lowlevel.checkpoint()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await recorder.record(intend, journal)
        gate.open()

    assert scope.cancelled_caught
    assert journal.rows() == []


async def test_a_cancelled_call_that_writes_for_others_does_so_to_its_end(
    recorder: Recorder, journal: Journal
) -> None:
    gate = Gate()
    scope = anyio.CancelScope()

    async def first() -> None:
        with scope:
            await recorder.record(gate.wait)

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await anyio.lowlevel.checkpoint()
        group.start_soon(recorder.record, intend, journal)
        await anyio.lowlevel.checkpoint()
        scope.cancel()
        gate.open()

    assert len(journal.rows()) == 1


async def test_closing_waits_for_what_was_recorded_before(
    recorder: Recorder, journal: Journal
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(recorder.record, intend, journal)
        await anyio.lowlevel.checkpoint()
        await recorder.close()

    assert len(journal.rows()) == 1
