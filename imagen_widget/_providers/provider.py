"""Provider: the interface to one way of making pictures, and what all of them share.

A submit is the one call that costs money: it is sent once, and again only if it surely never
arrived or was refused for now. Everything else may be asked as often as the deadline allows.
"""

import email.utils
import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar, Self

import anyio
from anyio import lowlevel, to_thread

from imagen_widget import _picture, _settings, errors
from imagen_widget._html import data_uri
from imagen_widget._inputs import Input
from imagen_widget._models import Model
from imagen_widget._providers import answers
from imagen_widget._providers.answers import Answer, CancelAnswer, Done, Finished, Ticket, WireEvent
from imagen_widget._request import ImageRequest
from imagen_widget._settings import Settings

if TYPE_CHECKING:  # httpx is heavy, and a provider is often made without being used
    from imagen_widget._providers.http import Http

ENTRY_POINTS = "imagen_widget.providers"
MAX_RETRY_AFTER_SECONDS = 120.0

_BUILT_IN = {
    "kkiai": "openai:Gateway",
    "fal": "fal:Fal",
    "demo": "demo:Demo",
    "openai": "openai:OpenAI",
}
_MAX_SUBMITS = 20  # at a time
_MAX_DOWNLOADS = 16
_MAX_CONNECTS = 3
_MAX_REFUSALS = 5
_FETCH_WAITS_SECONDS = (0.0, 0.3, 0.9, 2.7)
_FIRST_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 8.0
_MAX_TOKENS = 60.0
_RETRY_TOKENS = 5.0
_TRANSIENT = frozenset({404, 408, 425, 429, *range(500, 600)})  # 404: not there yet
_MAX_PLACED = 32 * 1024 * 1024  # characters of encoded pictures that are kept


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do."""

    free: bool = False  # nothing is ever billed
    cancels: bool = True
    streams: bool = False  # it reports progress by an event stream
    resumes: bool = True  # a job can be fetched later, by its ticket
    takes_data_addresses: bool = True  # pictures may be sent inside the request


@dataclass
class RetryBudget:
    """A shared allowance, so that many jobs do not storm a service that is already sick.

    A retry takes from it, and each answer without trouble gives one of `tokens` back. An empty
    budget slows retries down to the longest backoff instead of ending jobs that are paid for.
    """

    chance: Callable[[], float]  # a random number from 0 to 1
    tokens: float = _MAX_TOKENS

    def delay(self, attempt: int) -> float:
        """Take retry number `attempt`, from 0, and return the seconds to wait before it."""
        self.tokens = min(self.tokens, _MAX_TOKENS)
        if self.tokens < _RETRY_TOKENS:
            return _MAX_BACKOFF_SECONDS * (1.0 + self.chance())
        self.tokens -= _RETRY_TOKENS
        ceiling = min(_FIRST_BACKOFF_SECONDS * 2.0 ** min(attempt, 10), _MAX_BACKOFF_SECONDS)
        return ceiling * (0.25 + 0.75 * self.chance())


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return how many seconds the server asks to wait, at most 120; None if it does not say.

    Seconds, milliseconds and, by `now` in Unix seconds, HTTP dates are understood.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        try:
            seconds = float(text) / unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(text).timestamp() - now
            except (TypeError, ValueError, OverflowError, IndexError):
                continue
        if not math.isnan(seconds):
            return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
    return None


class Provider(ABC):
    """One way of making pictures, made from the settings of one account.

    A provider of yours sets `account` and `can` and implements `submit`; if it has a queue, also
    `watch`, `result` and `cancel`. Calls with the key, fetching the pictures and encoding the
    inputs are here.

    Args:
        settings: The account, address and key.
        transport: An `httpx.AsyncBaseTransport` in place of the network.
        clock: Seconds that only go forward.
        sleep: Waits for seconds.
        chance: A random number from 0 to 1, for jitter.
        now: Unix seconds.
    """

    account: ClassVar[_settings.Account]
    can: ClassVar[Capabilities] = Capabilities()
    max_submit_seconds: ClassVar[float] = math.inf  # for one attempt
    max_silence_seconds: ClassVar[float] = math.inf  # of the server, before it answers a submit

    def __init__(
        self,
        settings: Settings,
        *,
        transport: Any = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        chance: Callable[[], float] = random.random,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self.transport = settings, transport
        self.clock, self.sleep, self.chance, self.now = clock, sleep, chance, now
        self.budget = RetryBudget(chance)
        self.submits = anyio.CapacityLimiter(_MAX_SUBMITS)  # taken by those who call `submit`
        self.downloads = anyio.CapacityLimiter(_MAX_DOWNLOADS)
        self._placed: dict[str, str] = {}  # by digest, the last used at the end
        self._encoding = anyio.Lock()

    # ------------------------------------------------------------------------------ the interface

    def for_model(self, model_id: str) -> "Provider":
        """Return the provider that serves this model for the same account."""
        return self

    @abstractmethod
    async def submit(self, request: ImageRequest, *, seconds: float) -> Ticket | Finished:
        """Send the request once and return its ticket, or at once what it brought.

        A cancellation that arrives while the request is under way waits for the answer, so that the
        ticket of a job that exists is never lost.

        Args:
            request: What is asked, with the bytes of its input pictures.
            seconds: The deadline for everything, also for waiting until the provider accepts it.

        Raises:
            SubmitUncertain: The request may have been accepted and billed.
            ImagenError: It was refused, or never arrived; nothing is billed.
        """

    async def watch(
        self,
        ticket: Ticket,
        *,
        seconds: float,
        service_times: Sequence[float] = (),
        expired: bool = False,
    ) -> AsyncGenerator[WireEvent, None]:
        """Yield each change of the job until it has ended; the last event is `Done`.

        Args:
            ticket: The job.
            seconds: How long to wait at the most.
            service_times: Seconds that earlier jobs of this model took.
            expired: Whether it is known that the provider no longer has jobs of that age; a job
                that it does not know is then given up at once.

        Raises:
            QueueTimeout: The job goes on at the provider; the error has the ticket.
            ResultExpired: The provider no longer has the job.
            ImagenError: The key is refused, or the job is over with an error.
        """
        yield Done(finished=await self.result(ticket, seconds=seconds))

    async def result(self, ticket: Ticket, done: Done | None = None, *, seconds: float) -> Finished:
        """Return what a finished job brought; `done` is how its `watch` ended.

        Raises:
            QueueError: The network or the service failed; the error has the ticket.
            ImagenError: The job is over without a picture.
        """
        if finished := (done or Done()).finished or ticket.finished:
            return finished
        raise errors.QueueError(
            f"{self.settings.account.title} cannot be asked again for a job.",
            remedy="Look at your usage there; then run it again.",
            ticket=ticket,
        )

    async def cancel(self, ticket: Ticket) -> CancelAnswer:
        """Ask to cancel the job and return what the provider said."""
        return CancelAnswer.UNKNOWN

    async def describe(self, model_id: str) -> bytes | None:
        """Return the OpenAPI document of a model, read without key in 2 s; None without one.

        It never raises: a job never fails for want of a schema.
        """
        return None

    async def search(self, query: str) -> list[Model] | None:
        """Return the models that the provider's public search finds, None without an answer.

        It sends no key.
        """
        return None

    @cached_property
    def http(self) -> "Http":
        """Calls to the account's address, with its key."""
        from imagen_widget._providers.http import Http

        return Http(
            self.settings.base_url,
            scheme=self.settings.account.scheme,
            key=self.settings.key,
            transport=self.transport,
            media_hosts=self.settings.media_hosts,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        if "http" in self.__dict__:
            await self.http.close()

    # ----------------------------------------------------------- the one call that costs money

    async def post(
        self,
        path: str,
        body: Any,
        *,
        model: str,
        seconds: float,
        content_type: str = "application/json",
        named: Callable[[Answer], Ticket | None] = lambda _: None,
    ) -> Answer:
        """Send a paid request below the account's address once and return its 2xx answer.

        `body` is bytes, or else sent as JSON. `named` returns the ticket that an answer names
        although it failed or broke off, so that the job can be fetched all the same. It raises what
        `submit` does.
        """
        if not isinstance(body, bytes):
            body = await to_thread.run_sync(answers.write_json, body)
        account = self.settings.account
        call = answers.Call("POST", self.settings.base_url + path, body, content_type=content_type)
        try:
            answer = await self._send(call, seconds)
        except answers.Lost as error:
            ticket = None if error.part is None else named(error.part)
            raise answers.uncertain(account, str(error), ticket) from None
        if answer.ok:
            return answer
        raise answers.refusal(answer, model=model, account=account, ticket=named(answer))

    async def _send(self, call: answers.Call, seconds: float) -> Answer:
        """Send a paid request once, and again only if it surely never arrived or for a 429."""
        end, connects, refusals = self.clock() + seconds, 0, 0
        while True:
            await lowlevel.checkpoint()  # before the POST it is not too late to cancel
            left = min(end - self.clock(), self.max_submit_seconds)
            try:
                if left <= 0:
                    raise answers.NotSent("no time was left for it")
                with anyio.CancelScope(shield=True):
                    answer = await self.http.call(
                        call,
                        seconds=left,
                        max_bytes=answers.MAX_RESULT_BYTES,  # some answer with the pictures
                        silence_seconds=min(self.max_silence_seconds, left),
                    )
            except answers.NotSent as error:
                connects += 1
                wait = self.budget.delay(connects)
                if connects >= _MAX_CONNECTS or self.clock() + wait >= end:
                    raise answers.unreachable(self.settings.base_url, str(error)) from None
            else:
                if answer.status != 429 or "x-fal-request-id" in answer.headers:
                    return answer
                refusal = answers.failure(answer, model="", account=self.settings.account)
                if type(refusal) is not errors.QueueError:  # but a spent balance, or the like
                    return answer
                refusals += 1
                wait = retry_after(answer.headers, now=self.now()) or 2.0**refusals
                if refusals >= _MAX_REFUSALS or self.clock() + wait >= end:
                    return answer
            await self.sleep(wait)

    def finished(self, answer: Answer, *, model: str) -> Finished:
        """Return the pictures of an answer that came at once, in any of the usual shapes.

        It raises what `submit` does: SubmitUncertain if no picture is understood.
        """
        account, base_url = self.settings.account, self.settings.base_url
        found = answers.find_pictures(answer.value, base_url)
        if found is None or not found.pictures:
            if answers.reports_failure(answer.mapping or {}):
                raise answers.refusal(answer, model=model, account=account)
            elsewhere = answers.search_pictures(answer, base_url)
            if elsewhere is None and found is not None and not found.unclear:
                raise answers.all_filtered(None, billed=True)
            found = elsewhere
        if found is None:
            said = answers.read_trouble(answer).said or "an empty answer"
            raise answers.uncertain(account, f"no picture in it: {said}")
        return answers.billed(found, answer)

    # -------------------------------------------------------------------------------- the pictures

    async def fetch(self, url: str, *, seconds: float, what: str = "The finished picture") -> bytes:
        """Fetch a picture's bytes as they are served, without any key.

        `what` names the picture in the error.

        Raises:
            QueueError: The address is not allowed, does not answer in time, or gives no picture.
        """
        if url[:5].lower() == "data:":
            reading = partial(_picture.from_data_address, url, flaws=True)
            inside = await to_thread.run_sync(reading)
            if inside is None:
                raise errors.QueueError(
                    "The picture inside the answer cannot be read.",
                    remedy="Fetch it again with %imagen_resume; the job itself is not lost.",
                )
            return inside
        end, before, asked = self.clock() + seconds, b"", 0.0
        reason = f"no whole picture within {round(seconds, 1):g} s"
        for wait in _FETCH_WAITS_SECONDS:
            left = end - self.clock()
            if wait >= left:
                break
            if wait:
                await self.sleep(min(max(wait, asked), 0.9 * left))
            try:
                answer = await self.http.fetch(url, seconds=max(end - self.clock(), 0.0))
            except (answers.NotSent, answers.Lost) as error:
                reason = str(error)
                continue
            if not answer.ok:
                reason = f"HTTP {answer.status}"
                if answer.status in _TRANSIENT:
                    asked = retry_after(answer.headers, now=self.now()) or 0.0
                    continue
                break
            body, odd = answers.read_picture(answer)
            if not odd or (body == before and odd.startswith("cut")):
                return body  # what comes so twice is served so
            reason, before = f"it is {odd}", body
        raise errors.QueueError(
            f"{what} could not be fetched: {reason}",
            remedy="Fetch it again with %imagen_resume; nothing is paid again.",
        )

    async def place(self, picture: Input) -> str:
        """Return what goes out for an input picture: its https address, or a `data:` address.

        Each picture is encoded once; the last few are kept.
        """
        if picture.url:
            return picture.url
        async with self._encoding:
            address = self._placed.pop(picture.digest, None) or await self.encode(picture)
            self._placed[picture.digest] = address
            while len(self._placed) > 1 and sum(map(len, self._placed.values())) > _MAX_PLACED:
                del self._placed[next(iter(self._placed))]
        return address

    async def encode(self, picture: Input) -> str:
        """Return the `data:` address of an input picture, if the provider takes such."""
        if not self.can.takes_data_addresses:
            what = f"{self.settings.account.title} takes pictures by their https address only"
            raise errors.invalid("image", what, "Nothing was sent; give an address in its place.")
        data = await to_thread.run_sync(picture.data)
        return await to_thread.run_sync(data_uri, data, picture.media_type)

    async def body(self, request: ImageRequest) -> bytes:
        """Return the request as JSON, with each input picture as it goes out."""
        if not request.inputs:
            return answers.write_json(request.arguments())
        placed = {p.digest: await self.place(p) for p in request.inputs if p.digest}
        return await to_thread.run_sync(answers.write_json, _replaced(request.arguments(), placed))


@asynccontextmanager
async def turn(
    limiter: anyio.CapacityLimiter, seconds: float, *, late: Callable[[], Exception]
) -> AsyncIterator[None]:
    """Wait for a turn in the block, for so many seconds at most; then `late` makes the error."""
    try:
        with anyio.fail_after(seconds):
            await limiter.acquire()
    except TimeoutError:
        raise late() from None
    try:
        yield
    finally:
        limiter.release()


def _replaced(value: Any, placed: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return placed.get(value, value)
    if isinstance(value, list):
        return [_replaced(item, placed) for item in value]
    if isinstance(value, dict):
        return {name: _replaced(item, placed) for name, item in value.items()}
    return value


def make_provider(settings: Settings, **options: Any) -> Provider:
    """Return the provider of the settings' account; `options` are those of `Provider`."""
    name = settings.account.name
    if name in _BUILT_IN:
        points = [metadata.EntryPoint(name, f"imagen_widget._providers.{_BUILT_IN[name]}", "")]
    else:
        points = list(metadata.entry_points(group=ENTRY_POINTS, name=name))
    for point in points:
        found = point.load()
        if isinstance(found, type) and issubclass(found, Provider):
            return found(settings, **options)
    raise errors.InvalidRequest(
        f"IMAGEN_PROVIDER: {name[:40]!r} is not a provider that can be used.",
        remedy=f"Use one of {', '.join(_BUILT_IN)}, or install the package that brings it.",
        field="provider",
    )


# ------------------------------------------------------------------------------ one by hand


class ImagenClient:
    """An async client for one provider that writes nothing down; use it as a context manager.

        async with ImagenClient("demo") as client:
            ticket = await client.submit(ImageRequest.create("a red fox"))
            await client.watch(ticket, print)
            finished = await client.result(ticket)
            pictures = [await client.fetch(url) for url in finished.urls]

    Args:
        provider: `kkiai`, `fal`, `openai`, `demo` or an installed one; as the settings say if None.
        base_url: Another address with the same routes; https, or http to this machine.
        api_key: The key for that address and no other.
        transport: An `httpx.AsyncBaseTransport` in place of the network, for tests.
        settings: Settings that were loaded before, in place of the first three.
        options: A clock and the like, as `Provider` takes them.

    Attributes:
        settings: The settings in force.
        provider: What does the work.

    Raises:
        CredentialsError: The provider needs a key and none was found.
        InvalidRequest: A setting has a value that it cannot have.
    """

    def __init__(
        self,
        provider: str | None = None,
        *,
        base_url: str | None = None,
        api_key: str | _settings.Secret | None = None,
        transport: Any = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        if isinstance(api_key, str):  # at once: tracebacks that show variables must not have it
            api_key = _settings.usable_key(api_key, "api_key")
        if settings is None:
            settings = _settings.load_settings(
                provider=provider, base_url=base_url, api_key=api_key
            )
            _settings.check_key(settings)
        self.settings = settings
        self.provider: Provider = make_provider(self.settings, transport=transport, **options)
        self._requests: dict[str, ImageRequest] = {}  # by the id of a job sent here

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self.provider.aclose()

    async def submit(self, request: ImageRequest, *, timeout: float | None = None) -> Ticket:
        """Send the request once and return its ticket, which may hold the result already.

        Raises:
            SubmitUncertain: The request may have been accepted and billed.
            ImagenError: It was refused, or never arrived; nothing is billed.
        """
        remedy = "Make it with ImageRequest.create(...)."
        errors.check_type("request", request, ImageRequest, "an ImageRequest", remedy)
        provider, seconds = self.provider, self._seconds(timeout)
        end, base_url = provider.clock() + seconds, self.settings.base_url
        late = partial(answers.unreachable, base_url, "other requests took all the time")
        try:
            async with turn(provider.submits, seconds, late=late):
                with answers.hiding(request):
                    answer = await provider.submit(request, seconds=end - provider.clock())
        except errors.SubmitUncertain as error:
            if error.request_id is not None:
                self._requests[error.request_id] = request
            raise
        self._requests[answer.request_id] = request
        if isinstance(answer, Ticket):
            return answer
        name, now, request_id = self.settings.account.name, time.time(), answer.request_id
        return Ticket(name, base_url, request.model, request_id, created=now, finished=answer)

    async def watch(
        self,
        ticket: Ticket,
        on_event: Callable[[WireEvent], None] | None = None,
        *,
        timeout: float | None = None,
        service_times: Sequence[float] = (),
        expired: bool = False,
    ) -> Done:
        """Return how the job ended, well or not; report each change on the way.

        `on_event` is called with `Queued`, `Running` (only new log lines) and `Done`; the others
        are as for `Provider.watch`, with the settings' own `timeout` if None.

        Raises:
            QueueTimeout: The job goes on at the provider; the error has the ticket.
            ImagenError: The key is refused, or the job is over with an error.
        """
        watch = self.provider.watch(
            ticket, seconds=self._seconds(timeout), service_times=service_times, expired=expired
        )
        with self._hiding(ticket):
            async with aclosing(watch) as events:
                async for event in events:
                    if on_event is not None:
                        on_event(event)
                    if isinstance(event, Done):
                        return event
        raise errors.QueueError("The provider stopped reporting before the end.", ticket=ticket)

    async def result(
        self, ticket: Ticket, done: Done | None = None, *, timeout: float | None = None
    ) -> Finished:
        """Return what a finished job brought; `done` is what its `watch` returned.

        Raises:
            ImagenError: It brought no picture; a QueueError if one may still come.
        """
        with self._hiding(ticket):
            return await self.provider.result(ticket, done, seconds=self._seconds(timeout))

    async def fetch(self, url: str, *, timeout: float | None = None) -> bytes:
        """Fetch a picture's bytes as they are served, without any key.

        Raises:
            QueueError: The address is not allowed, does not answer, or gives no picture.
        """
        errors.check_type("url", url, str, "an address", "Give one of Finished.urls.")
        return await self.provider.fetch(url, seconds=self._seconds(timeout))

    async def cancel(self, ticket: Ticket) -> bool:
        """Ask to cancel the job; True only if the provider confirmed it."""
        return await self.request_cancel(ticket) is CancelAnswer.CONFIRMED

    async def request_cancel(self, ticket: Ticket) -> CancelAnswer:
        """Ask to cancel the job and return what the provider said."""
        with self._hiding(ticket):
            if ticket.finished is not None:
                return CancelAnswer.TOO_LATE
            return await self.provider.cancel(ticket)

    def _hiding(self, ticket: Ticket) -> AbstractContextManager[None]:
        errors.check_type("ticket", ticket, Ticket, "a Ticket", "Give what submit() returned.")
        return answers.hiding(self._requests.get(ticket.request_id))

    def _seconds(self, timeout: float | None) -> float:
        return self.settings.timeout if timeout is None else _settings.check_timeout(timeout)
