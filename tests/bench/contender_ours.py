"""Ours, whole: a job as `agenerate` runs it, with journal and store, pictures on disk.

A result counts as known only when the journal has it on disk. `client` as argument stands for
`ImagenClient` alone, which does what fal-client does; `polling` for a gateway without streams.
"""

from __future__ import annotations

import asyncio
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING

from imagen_widget import ImagenClient, ImageRequest, start
from imagen_widget._bridge import close
from imagen_widget._generate._progress import Fetching, Submitted
from imagen_widget._journal import Journal
from imagen_widget._settings import load_settings
from tests.bench.contender import ENDPOINT, OneJob, Plan, Report, read_plan, take_part

if TYPE_CHECKING:
    from imagen_widget._generate._progress import Event
    from imagen_widget._settings import Settings

SHORTEST_POLL_SECONDS = 0.02


def whole(settings: Settings) -> OneJob:
    """Return a job as a user runs it."""

    async def one_job(prompt: str, report: Report) -> None:
        request_id = ""

        def note(event: Event) -> None:
            nonlocal request_id
            match event:
                case Submitted(ticket=ticket):
                    request_id = ticket.request_id
                case Fetching():
                    report.known[request_id] = time.monotonic()
                case _:
                    pass

        await start(_request(prompt), settings=settings, on_event=note)
        report.saved[request_id] = time.monotonic()

    return one_job


def client_only(client: ImagenClient, *, known: list[float]) -> OneJob:
    """Return a job through the client alone."""

    async def one_job(prompt: str, report: Report) -> None:
        ticket = await client.submit(_request(prompt))
        await client.watch(ticket, service_times=known)
        await client.result(ticket)
        report.known[ticket.request_id] = time.monotonic()

    return one_job


def remember(plan: Plan, settings: Settings) -> None:
    """Write earlier jobs into the journal, so that the model's service times are known."""
    journal = Journal(settings.home)
    for number, seconds in enumerate(plan.known):
        job = journal.intend(
            _request(f"earlier {number}"),
            provider=settings.provider.name,
            base_url=settings.base_url,
            price=Decimal(0),
            cap=None,
        )
        journal.submitting(job)
        journal.promise(job, "{}", f"earlier-{number}")
        journal.completed(job, seconds=seconds, seed=None, description="", urls=[])
        journal.downloaded(job, [])
        journal.done(job, None)
    journal.close()


def _request(prompt: str) -> ImageRequest:
    return ImageRequest.create(prompt, model=ENDPOINT)


async def main(plan: Plan, *, ways: list[str]) -> None:
    """Take part."""
    polling = "polling" in ways
    settings = load_settings(
        provider="kkiai" if polling else "fal",
        base_url=plan.base_url,
        api_key="made-up:key",
        home=plan.folder,
        poll_seconds=SHORTEST_POLL_SECONDS if polling else None,
    )
    remember(plan, settings)
    if "client" in ways:
        async with ImagenClient(settings=settings) as client:
            await take_part(plan, client_only(client, known=plan.known))
    else:
        await take_part(plan, whole(settings))


if __name__ == "__main__":
    asyncio.run(main(read_plan(), ways=sys.argv[1:]))
    close()
