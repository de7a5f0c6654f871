"""Collecting what a finished job brought: the result's addresses, then the pictures' bytes.

Both may be asked for as often as the deadline allows: nothing is paid again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from imagen_widget import _picture
from imagen_widget._client._http import MOST_RESULT_BYTES, Http
from imagen_widget._protocol import (
    Hiccup,
    NoRoute,
    auto_app,
    read_result,
    result_call,
)
from imagen_widget._protocol._events import Queued, Running
from imagen_widget._protocol._failures import (
    CancelledAtProvider,
    expired,
    not_proxied,
    service_failed,
)
from imagen_widget._protocol._ticket import Outcome, Ticket
from imagen_widget._protocol._trouble import Trouble
from imagen_widget._protocol._wire import Lost, NotSent, read_data_uri
from imagen_widget.errors import ImagenError, QueueError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from imagen_widget._protocol._pacing import RetryBudget

RESULT_SECONDS = 120.0
MEDIA_SECONDS = 120.0
MOST_NOT_FOUND = 4

_CALL_SECONDS = 30.0
_MOST_FETCHES = 4
_FIRST_FETCH_WAIT_SECONDS = 0.3
_TRANSIENT = frozenset({404, 408, 425, 429, *range(500, 600)})  # 404: not there yet


ResultAnswer = Outcome | Queued | Running | NoRoute | Hiccup


class ResultQuestion:
    """Asks for one job's result: at its own address, and where that stays unknown, under `auto`."""

    def __init__(self, http: Http, ticket: Ticket) -> None:
        self._http, self._ticket = http, ticket
        self._app: str | None = None
        self._misses = 0

    async def ask(self, seconds: float) -> ResultAnswer:
        """Ask once, and return what came.

        Raises:
            NotSent: No connection was made.
            Lost: No whole answer came back within `seconds`.
            ResultExpired: The provider says under all addresses that it knows no such job.
            QueueError: All that comes under all addresses is web pages.
            ImagenError: The job is over without a picture.
        """
        call = result_call(self._ticket, app=self._app)
        answer = await self._http.call(call, seconds=seconds, most_bytes=MOST_RESULT_BYTES)
        found = read_result(answer, self._ticket)
        if isinstance(found, NoRoute):
            self._miss(found)
        return found

    def _miss(self, found: NoRoute) -> None:
        self._misses += 1
        if self._misses < MOST_NOT_FOUND:
            return
        if self._app is not None or self._ticket.provider != "kkiai":
            raise not_proxied(self._ticket) if found.page else expired(self._ticket)
        self._misses, self._app = 0, auto_app(self._ticket)


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
        self._question = ResultQuestion(http, ticket)
        self._reason = "no answer"

    async def read(self) -> Outcome:
        """Return the outcome.

        Raises:
            QueueError: The result cannot be had; the error has the ticket.
            ImagenError: The job is over without a picture.
        """
        end, attempt = self._clock() + RESULT_SECONDS, 0
        while (left := end - self._clock()) > 0:
            outcome = self._take(await self._ask(min(_CALL_SECONDS, left)))
            if outcome is not None:
                self._budget.succeeded()
                return outcome
            if self._said is not None and attempt >= 1:
                break  # the status has told enough
            left = max(end - self._clock(), 0.0)
            await self._sleep(min(self._budget.delay(attempt, chance=self._chance()), left))
            attempt += 1
        raise self._given_up()

    async def _ask(self, seconds: float) -> ResultAnswer:
        try:
            return await self._question.ask(seconds)
        except (NotSent, Lost) as error:
            return Hiccup(str(error))

    def _take(self, found: ResultAnswer) -> Outcome | None:
        match found:
            case Outcome():
                return found
            case NoRoute():
                self._reason = "it knows no such request"
            case Queued() | Running():
                self._reason = "it says that the job still runs"
            case Hiccup(reason=reason):
                self._reason = reason
        return None

    def _given_up(self) -> ImagenError:
        if self._said in {"CANCELLED", "CANCELED"}:
            return CancelledAtProvider(
                "The job was cancelled at the provider.", ticket=self._ticket
            )
        if self._said is not None:
            return service_failed(Trouble(self._said), self._ticket)
        return QueueError(
            f"The result could not be fetched from {self._ticket.provider}: {self._reason}",
            remedy="Fetch it later with %imagen_resume; nothing is paid again.",
            ticket=self._ticket,
        )


async def fetch_picture(
    http: Http, url: str, *, sleep: Callable[[float], Awaitable[None]]
) -> bytes:
    """Fetch a picture without any key, and check that it is a whole picture.

    Raises:
        QueueError: The address is not allowed, does not answer in time, or gives no picture.
    """
    if url[:5].lower() == "data:":
        data = read_data_uri(url)
        _picture.inspect(data)
        return data
    failed = _not_fetched(f"no whole picture within {MEDIA_SECONDS:.0f} s")
    with anyio.move_on_after(MEDIA_SECONDS):  # all attempts together
        for attempt in range(_MOST_FETCHES):
            if attempt:
                await sleep(_FIRST_FETCH_WAIT_SECONDS * 3.0 ** (attempt - 1))
            found = await _fetch_once(http, url)
            if isinstance(found, bytes):
                return found
            failed = found
    raise failed


async def _fetch_once(http: Http, url: str) -> bytes | QueueError:
    """Return the picture, or a failure that may pass.

    Raises:
        QueueError: A failure that will not pass.
    """
    try:
        answer = await http.fetch(url, seconds=MEDIA_SECONDS)
    except (NotSent, Lost) as error:
        return _not_fetched(str(error))
    if not answer.ok:
        failed = _not_fetched(f"HTTP {answer.status}")
        if answer.status in _TRANSIENT:
            return failed
        raise failed
    try:
        _picture.inspect(answer.body)
    except QueueError as error:
        return error
    return answer.body


def _not_fetched(reason: str) -> QueueError:
    return QueueError(
        f"The finished picture could not be fetched: {reason}",
        remedy="Fetch it again with %imagen_resume; nothing is paid again.",
    )
