"""What the loop records is written in order, together where it waits, and all or alone undone."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import anyio
import anyio.lowlevel
import pytest

from imagen_widget.errors import JournalError
from tests import jobs
from tests.jobs import Clock, draft, ids, intend, job_in, journal

pytestmark = pytest.mark.anyio


@pytest.fixture
def verbs(tmp_path: Path) -> Iterator[journal.Journal]:
    opened = jobs.open_journal(tmp_path / "imagen", clock=Clock())
    with contextlib.closing(opened):
        yield opened


@pytest.fixture
def recorder(verbs: journal.Journal) -> journal.Recorder:
    return journal.Recorder(verbs)


class Gate:
    """Holds up the worker thread, so that what is recorded meanwhile has to wait."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def wait(self) -> None:
        assert self._open.wait(timeout=60)

    def open(self) -> None:
        self._open.set()


async def record_behind_a_gate(
    recorder: journal.Recorder, *calls: Callable[[], object]
) -> list[object]:
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
    recorder: journal.Recorder, verbs: journal.Journal
) -> None:
    job_id: str = await recorder.record(intend, verbs)

    assert (await recorder.record(verbs.get, job_id)).state is journal.State.INTENT


async def test_calls_that_wait_are_written_together_in_their_order(
    recorder: journal.Recorder, verbs: journal.Journal
) -> None:
    with mock.patch.object(verbs, "together", wraps=verbs.together) as together:
        written = await record_behind_a_gate(recorder, *[lambda: intend(verbs)] * 20)

    assert together.call_count == 1
    assert ids(verbs.query())[::-1] == written


async def test_a_call_that_fails_is_undone_alone_and_says_why(
    recorder: journal.Recorder, verbs: journal.Journal
) -> None:
    job_id = job_in(verbs, journal.State.SUBMITTED)
    steps = (journal.Completed(), journal.Forgotten())

    first, failed, last = await record_behind_a_gate(
        recorder,
        lambda: intend(verbs),
        lambda: verbs.apply(job_id, *steps),
        lambda: intend(verbs),
    )

    assert isinstance(failed, journal.IllegalStep)
    assert ids(verbs.query())[::-1] == [job_id, first, last]


async def test_if_the_disk_is_full_nobody_is_told_that_it_is_done(
    recorder: journal.Recorder, verbs: journal.Journal
) -> None:
    verbs._transact(lambda tx: tx.all("PRAGMA max_page_count = 1"), write=False, after="")
    jobs = [draft("x" * 1000) for _ in range(100)]

    outcomes = await record_behind_a_gate(recorder, *[lambda: verbs.intend(*jobs)] * 3)

    assert {str(outcome).partition(" (")[0] for outcome in outcomes} == {
        "The journal cannot be used: the disk is full"
    }
    assert verbs.query() == []


async def test_a_call_that_is_cancelled_while_it_waits_never_runs(
    recorder: journal.Recorder, verbs: journal.Journal
) -> None:
    gate = Gate()

    async with anyio.create_task_group() as group:
        group.start_soon(recorder.record, gate.wait)
        await anyio.lowlevel.checkpoint()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await recorder.record(intend, verbs)
        gate.open()

    assert scope.cancelled_caught
    assert await recorder.record(verbs.count) == 0  # the next write leaves it out
    assert verbs.query() == []


async def test_a_cancelled_call_that_writes_for_others_does_so_to_its_end(
    recorder: journal.Recorder, verbs: journal.Journal
) -> None:
    gate = Gate()
    scope = anyio.CancelScope()

    async def first() -> None:
        with scope:
            await recorder.record(gate.wait)

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await anyio.lowlevel.checkpoint()
        group.start_soon(recorder.record, intend, verbs)
        await anyio.lowlevel.checkpoint()
        scope.cancel()
        gate.open()

    assert len(verbs.query()) == 1


async def test_a_call_that_is_cancelled_as_its_turn_comes_takes_no_other_with_it(
    recorder: journal.Recorder, verbs: journal.Journal
) -> None:
    gate, scope = Gate(), anyio.CancelScope()

    async def first() -> None:
        await recorder.record(gate.wait)
        scope.cancel()  # the turn is given on, and not yet taken

    async def second() -> None:
        with scope:
            await recorder.record(intend, verbs)

    async with anyio.create_task_group() as group:
        for call in (first, second, functools.partial(recorder.record, intend, verbs)):
            group.start_soon(call)
            await anyio.lowlevel.checkpoint()
        gate.open()

    assert len(verbs.query()) == 2


async def test_closing_waits_for_what_was_recorded_before(
    recorder: journal.Recorder, verbs: journal.Journal
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(recorder.record, intend, verbs)
        await anyio.lowlevel.checkpoint()
        await recorder.close()

    assert len(verbs.query()) == 1
