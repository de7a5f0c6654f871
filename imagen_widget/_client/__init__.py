"""ImagenClient: drives the queue protocol over HTTP.

Submit is the one call that costs money: it is sent again only when it surely never arrived, or
when it was refused with 429. Everything else may be asked as often as the deadline allows.
"""

from __future__ import annotations

import enum
import random
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from imagen_widget._catalog import find_model
from imagen_widget._client._collect import ResultReader, fetch_picture
from imagen_widget._client._http import MOST_RESULT_BYTES, Http, app_transport
from imagen_widget._client._watch import Watch
from imagen_widget._protocol import cancel_call, read_cancel, read_ticket, submit_call
from imagen_widget._protocol._events import Done
from imagen_widget._protocol._failures import failure
from imagen_widget._protocol._pacing import PollSchedule, RetryBudget, retry_after
from imagen_widget._protocol._ticket import REQUEST_ID, Outcome, Ticket, make_ticket
from imagen_widget._protocol._trouble import read_trouble
from imagen_widget._protocol._wire import Answer, Lost, NotSent
from imagen_widget._settings import Secret, Settings, load_settings
from imagen_widget._settings._keys import usable_key
from imagen_widget.errors import CredentialsError, ModelRetired, QueueError, SubmitUncertain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType
    from typing import Self

    from imagen_widget._protocol._events import WireEvent
    from imagen_widget._request import ImageRequest

SUBMIT_SECONDS = 60.0
CANCEL_SECONDS = 5.0

_MOST_SUBMITS = 20
_MOST_CONNECTS = 3
_MOST_REFUSALS = 5
_MOST_CANCELS = 3
_TOO_MANY = 429
_AMBIGUOUS = frozenset({408, 409, *range(500, 600)})


class CancelAnswer(enum.Enum):
    """What the provider said to a cancellation."""

    CONFIRMED = "confirmed"
    REQUESTED = "requested"
    TOO_LATE = "too late"
    UNKNOWN = "unknown"


class ImagenClient:
    """An async client for one provider; use it as an async context manager.

    ```python
    async with ImagenClient("demo") as client:
        ticket = await client.submit(ImageRequest.create("a red fox"))
        await client.watch(ticket, print)
        outcome = await client.result(ticket)
        pictures = [await client.fetch(url) for url in outcome.urls]
    ```

    Args:
        provider: `kkiai`, `fal` or `demo`; looked up like any setting where None.
        base_url: Another gateway with the same routes; https, or http to this machine.
        api_key: The key for that base and no other.
        transport: An `httpx.AsyncBaseTransport` in place of the network, for tests.
        settings: Settings that were loaded before; the other arguments are then not looked at.
        clock: Seconds that only go forward.
        sleep: Waits for seconds.
        chance: A random number from 0 to 1, for jitter.

    Raises:
        CredentialsError: The provider needs a key and there is none.
        InvalidRequest: A setting has a value that it cannot have.
    """

    def __init__(
        self,
        provider: str | None = None,
        *,
        base_url: str | None = None,
        api_key: str | Secret | None = None,
        transport: Any = None,  # noqa: ANN401 - httpx's type, and httpx is imported in one module
        settings: Settings | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if isinstance(api_key, str):  # at once: tracebacks that show variables must not have it
            api_key = usable_key(api_key, "api_key")
        self.settings = settings or load_settings(
            provider=provider, base_url=base_url, api_key=api_key
        )
        self._clock, self._sleep, self._chance = clock, sleep, chance
        if transport is None and self.settings.provider.name == "demo":
            transport = _demo_transport(self.settings.demo_seconds)
        self._http = Http(
            self.settings.base_url,
            scheme=self.settings.provider.scheme,
            key=self.settings.key,
            transport=transport,
        )
        self._budget = RetryBudget()
        self._watching = 0  # jobs
        self._submits = anyio.Semaphore(_MOST_SUBMITS, fast_acquire=True)
        self._outcomes: dict[str, Outcome] = {}
        self._troubles: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def submit(self, request: ImageRequest) -> Ticket:
        """Send the request once and return its ticket.

        A cancellation that arrives while the request is under way waits for the answer, so that the
        ticket of a job that exists is never lost.

        Raises:
            SubmitUncertain: The request may have been accepted and billed.
            ImagenError: It was refused, or never arrived; nothing is billed.
        """
        connects = refusals = 0
        while True:
            try:
                answer = await self._post(request)
            except NotSent as error:
                connects += 1
                if connects >= _MOST_CONNECTS:
                    raise self._unreachable(str(error)) from None
                await self._pause(connects)
                continue
            except Lost as error:
                raise self._uncertain(str(error)) from None
            refusals += 1
            if not _refused_for_now(answer) or refusals >= _MOST_REFUSALS:
                return self._read_submit(answer, request)
            asked = retry_after(answer.headers, now=time.time())
            await self._sleep(asked or 2.0**refusals)  # "0" must not become a storm

    async def _post(self, request: ImageRequest) -> Answer:
        async with self._submits:
            await anyio.lowlevel.checkpoint_if_cancelled()  # before the POST it is not too late
            with anyio.CancelScope(shield=True):
                answer = await self._http.call(
                    submit_call(request, self.settings.base_url),
                    seconds=SUBMIT_SECONDS,
                    most_bytes=MOST_RESULT_BYTES,  # some gateways answer with the pictures
                )
        return answer

    async def watch(
        self,
        ticket: Ticket,
        on_event: Callable[[WireEvent], None] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - by the injected clock, not anyio's
        service_times: Sequence[float] = (),
    ) -> None:
        """Return when the job has finished, well or not; report each change on the way.

        Args:
            ticket: The job.
            on_event: Called with `Queued`, `Running` (only new log lines) and `Done`.
            timeout: Seconds to wait at the most; the settings' own where None.
            service_times: Seconds that earlier jobs of this model took, to poll when it is likely.

        Raises:
            QueueTimeout: The job goes on at the provider; the error has the ticket.
            ImagenError: The key is refused, or the job is over with an error.
        """
        if ticket.outcome is not None:
            if on_event:
                on_event(Done())
            return
        model = self.settings.provider
        watch = Watch(
            self._http,
            ticket,
            on_event or _ignore,
            budget=self._budget,
            schedule=PollSchedule.learn(
                service_times,
                prior=_prior_seconds(ticket.endpoint, self.settings),
                shortest=self.settings.poll_seconds or model.shortest_poll_seconds,
            ),
            timeout=self.settings.timeout if timeout is None else timeout,
            clock=self._clock,
            sleep=self._sleep,
            chance=self._chance,
            crowd=lambda: self._watching,
        )
        self._watching += 1
        try:
            finished = await watch.run(streams=model.streams)
        finally:
            self._watching -= 1
        if watch.outcome is not None:
            self._outcomes[ticket.request_id] = watch.outcome
        if finished.trouble is not None:
            self._troubles[ticket.request_id] = finished.trouble

    async def result(self, ticket: Ticket) -> Outcome:
        """Return the pictures' addresses of a finished job.

        Raises:
            QueueError: The network or the service failed; the error has the ticket.
            ImagenError: The job is over without a picture.
        """
        known = ticket.outcome or self._outcomes.pop(ticket.request_id, None)
        if known is not None:
            return known
        return await ResultReader(
            self._http,
            ticket,
            said=self._troubles.pop(ticket.request_id, None),
            budget=self._budget,
            clock=self._clock,
            sleep=self._sleep,
            chance=self._chance,
        ).read()

    async def fetch(self, url: str) -> bytes:
        """Fetch a picture's bytes, without any key, and check that they are a whole picture.

        Raises:
            QueueError: The address is not allowed, does not answer, or gives no picture.
        """
        return await fetch_picture(self._http, url, sleep=self._sleep)

    async def cancel(self, ticket: Ticket) -> bool:
        """Ask to cancel the job; True only where the provider confirmed it."""
        return await self.request_cancel(ticket) is CancelAnswer.CONFIRMED

    async def request_cancel(self, ticket: Ticket) -> CancelAnswer:
        """Ask to cancel the job and return what the provider said."""
        for attempt in range(_MOST_CANCELS):
            try:
                answer = await self._http.call(cancel_call(ticket), seconds=CANCEL_SECONDS)
            except (NotSent, Lost):
                answer = Answer(503)
            if answer.status not in _AMBIGUOUS and answer.status != _TOO_MANY:
                break
            await self._pause(attempt)
        else:
            return CancelAnswer.UNKNOWN
        match read_cancel(answer):
            case True:
                return CancelAnswer.CONFIRMED
            case False:
                return CancelAnswer.TOO_LATE
            case None:
                return CancelAnswer.REQUESTED if answer.ok else CancelAnswer.UNKNOWN

    def ticket(self, endpoint: str, request_id: str) -> Ticket:
        """Return the ticket of a job that is known by its id alone.

        Raises:
            ValueError: The id is none.
        """
        if not REQUEST_ID.fullmatch(request_id):
            message = "a request id has letters, digits, - and _ only"
            raise ValueError(message)
        settings = self.settings
        return make_ticket(
            endpoint, request_id, provider=settings.provider.name, base_url=settings.base_url
        )

    async def _pause(self, attempt: int) -> None:
        await self._sleep(self._budget.delay(attempt, chance=self._chance()))

    def _read_submit(self, answer: Answer, request: ImageRequest) -> Ticket:
        provider, base_url = self.settings.provider.name, self.settings.base_url
        named = REQUEST_ID.fullmatch(answer.headers.get("x-fal-request-id", ""))
        if answer.status not in _AMBIGUOUS and not (answer.status == _TOO_MANY and named):
            return read_ticket(answer, request, provider=provider, base_url=base_url)
        trouble = read_trouble(answer)
        error = failure(answer, endpoint=request.model, provider=provider)
        if isinstance(error, ModelRetired | CredentialsError):
            raise error  # no way to the model (503), no money (429): nothing was taken
        ticket = None
        if named:
            ticket = make_ticket(request.model, named[0], provider=provider, base_url=base_url)
        said = f": {trouble.text}" if trouble.text else ""
        raise self._uncertain(f"HTTP {answer.status}{said}", ticket)

    def _unreachable(self, reason: str) -> QueueError:
        return QueueError(
            f"{self.settings.base_url} cannot be reached: {reason}",
            remedy="Nothing was sent. Check the network, HTTPS_PROXY and IMAGEN_BASE_URL.",
        )

    def _uncertain(self, reason: str, ticket: Ticket | None = None) -> SubmitUncertain:
        name = self.settings.provider.title
        return SubmitUncertain(
            f"The request went out to {name}, but no clear answer came back ({reason}): "
            "a job may exist and be billed.",
            remedy="It goes on there: fetch it with %imagen_resume."
            if ticket
            else f"It is not sent again by itself. Look at your usage at {name}; if there is no "
            "job, run it again with --fresh (reuse=False).",
            ticket=ticket,
        )


def _ignore(_: object) -> None:
    return None


def _refused_for_now(answer: Answer) -> bool:
    """Tell whether a submit was refused by a rate limit, so that it may be sent again."""
    if answer.status != _TOO_MANY or "x-fal-request-id" in answer.headers:
        return False
    return isinstance(failure(answer, endpoint="", provider="fal"), QueueError)


def _prior_seconds(endpoint: str, settings: Settings) -> float:
    if settings.provider.name == "demo":
        return settings.demo_seconds
    model = find_model(endpoint)
    return model.typical_seconds if model else 8.0


def _demo_transport(seconds: float) -> Any:  # noqa: ANN401 - httpx's type
    from imagen_widget._demo import create_app

    return app_transport(create_app(seconds=seconds))
