"""Collecting what a finished job brought: the result's addresses, then the pictures' bytes.

Both may be asked for as often as the deadline allows: nothing is paid again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagen_widget import _picture
from imagen_widget._failures import Trouble, expired, service_failed
from imagen_widget._http import MOST_RESULT_BYTES, Http, Lost, NotSent
from imagen_widget._protocol import (
    Hiccup,
    NoRoute,
    Queued,
    Running,
    auto_app,
    read_result,
    result_call,
)
from imagen_widget._ticket import Outcome, Ticket
from imagen_widget._wire import read_data_uri
from imagen_widget.errors import QueueError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from imagen_widget._pacing import RetryBudget

RESULT_SECONDS = 120.0
MEDIA_SECONDS = 120.0
MOST_NOT_FOUND = 4

_CALL_SECONDS = 30.0
_MOST_FETCHES = 4
_FIRST_FETCH_WAIT_SECONDS = 0.3
_TRANSIENT = frozenset({404, 408, 425, 429, *range(500, 600)})  # 404: not there yet


class ResultReader:
    """Reads the result of one finished job.

    Args:
        http: Makes the calls.
        ticket: The job.
        said: What the status said went wrong, or None; raised where the result says nothing.
        budget: Paces retries.
        clock: Seconds that only go forward.
        sleep: Waits for seconds.
        chance: A random number from 0 to 1.
    """

    def __init__(
        self,
        http: Http,
        ticket: Ticket,
        *,
        said: str | None,
        budget: RetryBudget,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        chance: Callable[[], float],
    ) -> None:
        self._http, self._ticket, self._said, self._budget = http, ticket, said, budget
        self._clock, self._sleep, self._chance = clock, sleep, chance
        self._misses = 0
        self._app: str | None = None
        self._reason = "no answer"

    async def read(self) -> Outcome:
        """Return the outcome.

        Raises:
            QueueError: The result cannot be had; the error has the ticket.
            ImagenError: The job is over without a picture.
        """
        end, attempt = self._clock() + RESULT_SECONDS, 0
        while (outcome := self._take(await self._ask())) is None:
            told_enough = self._said is not None and attempt >= 1
            if told_enough or self._clock() >= end:
                raise self._given_up()
            await self._sleep(self._budget.delay(attempt, chance=self._chance()))
            attempt += 1
        self._budget.succeeded()
        return outcome

    async def _ask(self) -> Outcome | Queued | Running | NoRoute | Hiccup:
        call = result_call(self._ticket, app=self._app)
        try:
            answer = await self._http.call(
                call, seconds=_CALL_SECONDS, most_bytes=MOST_RESULT_BYTES
            )
        except (NotSent, Lost) as error:
            return Hiccup(str(error))
        return read_result(answer, self._ticket)

    def _take(self, found: Outcome | Queued | Running | NoRoute | Hiccup) -> Outcome | None:
        match found:
            case Outcome():
                return found
            case NoRoute():
                self._reason = "it knows no such request"
                self._misses += 1
                if self._misses >= MOST_NOT_FOUND:
                    self._misses, self._app = 0, next_app(self._ticket, tried=self._app)
            case Queued() | Running():
                self._reason = "it says that the job still runs"
            case Hiccup(reason=reason):
                self._reason = reason
        return None

    def _given_up(self) -> QueueError | Exception:
        if self._said is not None:
            return service_failed(Trouble(self._said), self._ticket)
        return QueueError(
            f"The result could not be fetched from {self._ticket.provider}: {self._reason}",
            remedy="Fetch it later with %imagen_resume; nothing is paid again.",
            ticket=self._ticket,
        )


def next_app(ticket: Ticket, *, tried: str | None) -> str:
    """Return the app to look under when the ticket's own keeps answering 404.

    Raises:
        ResultExpired: There is none left.
    """
    if tried is not None or ticket.provider != "kkiai":
        raise expired(ticket)
    return auto_app(ticket)


async def fetch_picture(
    http: Http, url: str, *, sleep: Callable[[float], Awaitable[None]]
) -> bytes:
    """Fetch a picture without any key, and check that it is a whole picture.

    Raises:
        QueueError: The address is not allowed, does not answer, or gives no picture.
    """
    if url[:5].lower() == "data:":
        data = read_data_uri(url)
        _picture.inspect(data)
        return data
    attempt = 0
    while True:
        try:
            return await _fetch_once(http, url)
        except _AgainError as again:
            attempt += 1
            if attempt == _MOST_FETCHES:
                raise again.error from None
        await sleep(_FIRST_FETCH_WAIT_SECONDS * 3.0 ** (attempt - 1))


class _AgainError(Exception):
    """A failure that may pass; `error` is what to raise when it does not."""

    def __init__(self, error: QueueError) -> None:
        super().__init__()
        self.error = error


async def _fetch_once(http: Http, url: str) -> bytes:
    try:
        answer = await http.fetch(url, seconds=MEDIA_SECONDS)
    except (NotSent, Lost) as error:
        raise _AgainError(_not_fetched(str(error))) from None
    if not answer.ok:
        failed = _not_fetched(f"HTTP {answer.status}")
        raise _AgainError(failed) if answer.status in _TRANSIENT else failed
    try:
        _picture.inspect(answer.body)
    except QueueError as error:
        raise _AgainError(error) from None
    return answer.body


def _not_fetched(reason: str) -> QueueError:
    return QueueError(
        f"The finished picture could not be fetched: {reason}",
        remedy="Fetch it again with %imagen_resume; nothing is paid again.",
    )
