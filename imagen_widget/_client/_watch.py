"""Watch: follows one job to its end, by event stream where there is one, else by polling.

A stream that falls silent, ends early or is no stream costs nothing: polling takes over where it
left off. A gateway may proxy only the result; then the result is polled, and if it stays unknown,
it is looked for once under the app `auto`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from imagen_widget._client._collect import ResultQuestion
from imagen_widget._client._lanes import Full
from imagen_widget._protocol import (
    Hiccup,
    NoRoute,
    read_status,
    status_call,
    stream_call,
)
from imagen_widget._protocol._events import Done, Running, read_event
from imagen_widget._protocol._sse import EventDecoder
from imagen_widget._protocol._ticket import Outcome, Ticket
from imagen_widget._protocol._wire import Lost, NotSent, read_json
from imagen_widget.errors import QueueTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from imagen_widget._client._http import Http
    from imagen_widget._protocol._events import WireEvent
    from imagen_widget._protocol._pacing import PollSchedule, RetryBudget

SILENCE_SECONDS = 20.0

_CALL_SECONDS = 30.0
_LEAVE_SECONDS = 0.25


class Watch:
    """One job being followed.

    Attributes:
        outcome: The result, where it came along while polling; else None.
    """

    def __init__(
        self,
        http: Http,
        ticket: Ticket,
        on_event: Callable[[WireEvent], None],
        *,
        budget: RetryBudget,
        schedule: PollSchedule,
        timeout: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        chance: Callable[[], float],
        crowd: Callable[[], int] = lambda: 1,
    ) -> None:
        self.outcome: Outcome | None = None
        self._http, self._ticket, self._on_event = http, ticket, on_event
        self._budget, self._schedule, self._timeout = budget, schedule, timeout
        self._clock, self._sleep, self._chance = clock, sleep, chance
        self._crowd = crowd
        self._end = clock() + timeout
        self._ran_since: float | None = None
        self._streams = False
        self._last: WireEvent | None = None
        self._lines = 0
        self._with_logs = True
        self._by_result = False
        self._question = ResultQuestion(http, ticket)
        self._hiccups = 0

    async def run(self, *, streams: bool) -> Done:
        """Return the job's end; report each change on the way.

        Raises:
            QueueTimeout: The deadline passed.
            ImagenError: The key is refused, or the job is over with an error.
        """
        self._streams = streams
        while (finished := await self._look()) is None:
            pass
        self._on_event(finished)
        return finished

    async def _look(self) -> Done | None:
        """Return the job's end, or None after a while in which it did not come."""
        if self._streams and (finished := await self._read_stream()) is not None:
            return finished
        asked = self._clock()
        event = await self._ask()
        if isinstance(event, Done):
            return event
        await self._wait_after(event, took=self._clock() - asked)
        return None

    # ------------------------------------------------------------------------------ the stream

    async def _read_stream(self) -> Done | None:
        """Return the end that the stream reported, or None where polling has to go on."""
        try:
            async with self._http.stream(
                stream_call(self._ticket), seconds=min(_CALL_SECONDS, self._left())
            ) as chunks:
                self._streams = False  # tried once: where it ends early, polls go on
                return await self._read_events(chunks)
        except Full:  # until there is room, polls do
            return None
        except (NotSent, Lost, ValueError):
            self._streams = False
            return None

    async def _read_events(self, chunks: AsyncIterator[bytes]) -> Done | None:
        decoder = EventDecoder()
        finished: Done | None = None
        while True:
            patience = _LEAVE_SECONDS if finished else min(SILENCE_SECONDS, self._left())
            try:
                with anyio.fail_after(patience):
                    chunk = await anext(chunks)
            except (StopAsyncIteration, TimeoutError):
                # Read to its end, a stream leaves its connection to the next job.
                return finished
            for data in decoder.feed(chunk):
                body = read_json(self._http.without_key(data))
                event = read_event(body) if isinstance(body, dict) else None
                if isinstance(event, Done):
                    finished = event
                elif event is not None:
                    self._report(event, whole=False)

    # -------------------------------------------------------------------------------- the polls

    async def _ask(self) -> WireEvent | NoRoute | Hiccup:
        seconds = min(_CALL_SECONDS, self._left())
        try:
            if self._by_result:
                return await self._ask_result(seconds)
            call = status_call(self._ticket, logs=self._with_logs)
            event = read_status(await self._http.call(call, seconds=seconds), self._ticket)
        except Lost as error:
            self._with_logs = self._with_logs and "larger" not in str(error)
            return Hiccup(str(error))
        except NotSent as error:
            return Hiccup(str(error))
        if isinstance(event, NoRoute):
            self._by_result = True
            return await self._ask()
        return event

    async def _ask_result(self, seconds: float) -> WireEvent | NoRoute | Hiccup:
        found = await self._question.ask(seconds)
        if isinstance(found, Outcome):
            self.outcome = found
            return Done()
        return found

    async def _wait_after(self, event: WireEvent | NoRoute | Hiccup, *, took: float) -> None:
        match event:
            case Hiccup() | NoRoute():
                seconds = self._budget.delay(self._hiccups, chance=self._chance())
                seconds = max(seconds, self._schedule.shortest)
                self._hiccups += 1
            case _:
                self._hiccups = 0
                self._budget.succeeded()
                self._report(event, whole=True)
                since = self._ran_since
                ran = None if since is None else self._clock() - since
                seconds = self._schedule.next_seconds(
                    ran, chance=self._chance(), crowd=self._crowd()
                )
                seconds = max(seconds, took)  # whoever answers slowly is asked less often
        await self._sleep(min(seconds, max(self._end - self._clock(), 0.0)))
        self._left()

    # ------------------------------------------------------------------------------- small parts

    def _report(self, event: WireEvent, *, whole: bool) -> None:
        if isinstance(event, Running):
            if self._ran_since is None:
                self._ran_since = self._clock()
            fresh = event.count - self._lines if whole else event.count
            self._lines += max(fresh, 0)
            event = Running(event.logs[-fresh:] if fresh > 0 else (), max(fresh, 0))
        if isinstance(event, Running):
            repeated = isinstance(self._last, Running) and not event.logs
        else:
            repeated = event == self._last
        if repeated:
            return
        self._last = event
        self._on_event(event)

    def _left(self) -> float:
        left = self._end - self._clock()
        if left <= 0:
            raise QueueTimeout(
                f"The job is still running at {self._ticket.provider} after {self._timeout:.0f} s "
                f"(request id {self._ticket.request_id}).",
                remedy="It goes on there and may be billed; fetch it later with %imagen_resume.",
                ticket=self._ticket,
            )
        return left
