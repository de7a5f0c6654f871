"""fal-client as its documentation says: `subscribe_async`, the picture's bytes then written.

Its queue's address is turned to the loopback server, without TLS: that spares it work.
"""

from __future__ import annotations

import asyncio
import os
import time

os.environ["FAL_KEY"] = "made-up:key"

import fal_client
import fal_client.client
import httpx

from tests.bench.contender import ENDPOINT, Plan, Report, read_plan, take_part


async def main(plan: Plan) -> None:
    """Take part."""
    fal_client.client.QUEUE_URL_FORMAT = f"{plan.base_url}/"
    client = fal_client.AsyncClient()
    media = httpx.AsyncClient(timeout=120.0)

    async def one_job(prompt: str, report: Report) -> None:
        request_id = ""

        def on_enqueue(given: str) -> None:
            nonlocal request_id
            request_id = given

        result = await client.subscribe(ENDPOINT, {"prompt": prompt}, on_enqueue=on_enqueue)
        report.known[request_id] = time.monotonic()
        if plan.save:
            data = (await media.get(result["images"][0]["url"])).content
            (plan.folder / f"{request_id}.png").write_bytes(data)
            report.saved[request_id] = time.monotonic()

    await take_part(plan, one_job)


if __name__ == "__main__":
    asyncio.run(main(read_plan()))
