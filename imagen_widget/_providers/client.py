"""ImagenClient: a provider by hand. Nothing is written down; `generate` and `Studio` do that."""

import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Self

from imagen_widget._providers.answers import Finished
from imagen_widget._providers.provider import (
    CancelAnswer,
    Done,
    Provider,
    Ticket,
    WireEvent,
    make_provider,
)
from imagen_widget._request import ImageRequest
from imagen_widget._settings import Secret, Settings, check_timeout, load_settings, usable_key
from imagen_widget.errors import QueueError


class ImagenClient:
    """An async client for one provider; use it as an async context manager.

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
        api_key: str | Secret | None = None,
        transport: Any = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        if isinstance(api_key, str):  # at once: tracebacks that show variables must not have it
            api_key = usable_key(api_key, "api_key")
        self.settings = settings or load_settings(
            provider=provider, base_url=base_url, api_key=api_key
        )
        self.provider: Provider = make_provider(self.settings, transport=transport, **options)

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
        answer = await self.provider.submit(request, seconds=self._seconds(timeout))
        if isinstance(answer, Ticket):
            return answer
        name, base_url = self.settings.account.name, self.settings.base_url
        now, request_id = time.time(), answer.request_id
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
        async with aclosing(watch) as events:
            async for event in events:
                if on_event is not None:
                    on_event(event)
                if isinstance(event, Done):
                    return event
        raise QueueError("The provider stopped reporting before the end.", ticket=ticket)

    async def result(
        self, ticket: Ticket, done: Done | None = None, *, timeout: float | None = None
    ) -> Finished:
        """Return what a finished job brought; `done` is what its `watch` returned.

        Raises:
            ImagenError: It brought no picture; a QueueError if one may still come.
        """
        return await self.provider.result(ticket, done, seconds=self._seconds(timeout))

    async def fetch(self, url: str, *, timeout: float | None = None) -> bytes:
        """Fetch a picture's bytes as they are served, without any key.

        Raises:
            QueueError: The address is not allowed, does not answer, or gives no picture.
        """
        return await self.provider.fetch(url, seconds=self._seconds(timeout))

    async def cancel(self, ticket: Ticket) -> bool:
        """Ask to cancel the job; True only if the provider confirmed it."""
        return await self.request_cancel(ticket) is CancelAnswer.CONFIRMED

    async def request_cancel(self, ticket: Ticket) -> CancelAnswer:
        """Ask to cancel the job and return what the provider said."""
        if ticket.finished is not None:
            return CancelAnswer.TOO_LATE
        return await self.provider.cancel(ticket)

    def _seconds(self, timeout: float | None) -> float:
        return self.settings.timeout if timeout is None else check_timeout(timeout)
