"""Ours, whole: a job as users run it, with journal and store, pictures on disk.

A result counts as known only when the journal has it on disk, a picture as saved only when the job
is closed. `client` as argument stands for `ImagenClient` alone, which does what fal-client does;
`polling` for a gateway without streams.
"""

from __future__ import annotations

import asyncio
import sys
import time

from imagen_widget import Fetching, ImagenClient, ImageRequest, Studio, Submitted
from tests.bench.contender import ENDPOINT, OneJob, Plan, Report, read_plan, take_part
from tests.jobs import draft, journal

SHORTEST_POLL_SECONDS = 0.02


def whole(studio: Studio) -> OneJob:
    """Return a job as a user runs it."""

    async def one_job(prompt: str, report: Report) -> None:
        request_id = ""

        def note(event: object) -> None:
            nonlocal request_id
            match event:
                case Submitted(ticket=ticket):
                    request_id = ticket.request_id
                case Fetching():
                    report.known[request_id] = time.monotonic()
                case _:
                    pass

        await studio.start(prompt, model=ENDPOINT, on_event=note)
        report.saved[request_id] = time.monotonic()

    return one_job


def client_only(client: ImagenClient, *, known: list[float]) -> OneJob:
    """Return a job through the client alone."""

    async def one_job(prompt: str, report: Report) -> None:
        ticket = await client.submit(ImageRequest.create(prompt, model=ENDPOINT))
        done = await client.watch(ticket, service_times=known)
        await client.result(ticket, done)
        report.known[ticket.request_id] = time.monotonic()

    return one_job


def remember(plan: Plan, studio: Studio) -> None:
    """Write earlier jobs into the journal, so that the model's service times are known."""
    verbs = journal.open_journal(studio.settings.home)
    account = {"provider": studio.settings.account.name, "price": "0"}
    ids = verbs.intend(*(draft(f"earlier {n}", **account) for n in range(len(plan.known))))
    for job, seconds in zip(ids, plan.known, strict=True):
        verbs.apply(job, journal.Submitting())
        verbs.apply(job, journal.Submitted("{}", job))
        verbs.apply(job, journal.Completed(seconds), journal.Kept(()))
    verbs.close()


async def main(plan: Plan, *, ways: list[str]) -> None:
    """Take part."""
    polling = "polling" in ways
    studio = Studio(
        "kkiai" if polling else "fal",
        base_url=plan.base_url,
        api_key="made-up:key",
        home=plan.folder,
        poll_seconds=SHORTEST_POLL_SECONDS if polling else None,
        schemas="off",
    )
    remember(plan, studio)
    if "client" in ways:
        async with ImagenClient(settings=studio.settings) as client:
            await take_part(plan, client_only(client, known=plan.known))
    else:
        await take_part(plan, whole(studio))


if __name__ == "__main__":
    asyncio.run(main(read_plan(), ways=sys.argv[1:]))
