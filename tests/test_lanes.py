"""Lanes keep each client's load small, use clients again, and end at a limit."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count

import anyio
import anyio.lowlevel
import pytest

from imagen_widget._client._lanes import Full, Lanes

pytestmark = pytest.mark.anyio


@pytest.fixture
def lanes() -> Lanes[int]:
    """Lanes of two, at most five calls at a time; clients are numbers, in the order of making."""
    return Lanes(count().__next__, width=2, most=5)


async def test_no_client_is_made_before_it_is_needed(lanes: Lanes[int]) -> None:
    assert lanes.clients == ()


async def test_no_client_has_more_calls_at_a_time_than_its_width(lanes: Lanes[int]) -> None:
    with ExitStack() as calls:
        lent = [calls.enter_context(lanes.lend()) for _ in range(5)]

    assert lent == [0, 0, 1, 1, 2]


async def test_a_client_that_has_room_again_is_used_again(lanes: Lanes[int]) -> None:
    with ExitStack() as calls:
        first = calls.enter_context(ExitStack())
        first.enter_context(lanes.lend())
        calls.enter_context(lanes.lend())
        calls.enter_context(lanes.lend())

        first.close()

        assert calls.enter_context(lanes.lend()) == 0
    assert lanes.clients == (0, 1)


async def test_more_calls_than_there_may_be_are_refused_until_one_ends(lanes: Lanes[int]) -> None:
    with ExitStack() as calls:
        first = calls.enter_context(ExitStack())
        first.enter_context(lanes.lend())
        for _ in range(4):
            calls.enter_context(lanes.lend())

        with pytest.raises(Full):
            calls.enter_context(lanes.lend())
        first.close()

        calls.enter_context(lanes.lend())


async def test_a_call_that_fails_gives_its_place_back(lanes: Lanes[int]) -> None:
    for _ in range(6):
        with pytest.raises(ZeroDivisionError), lanes.lend():
            raise ZeroDivisionError

    assert lanes.clients == (0,)


async def test_a_call_that_may_wait_is_served_when_another_ends(lanes: Lanes[int]) -> None:
    served = []

    async def call() -> None:
        async with lanes.turn() as client:
            served.append(client)

    async with anyio.create_task_group() as group:
        with ExitStack() as calls:
            for _ in range(5):
                calls.enter_context(lanes.lend())
            group.start_soon(call)
            await anyio.lowlevel.checkpoint()
            assert served == []

    assert served == [0]
