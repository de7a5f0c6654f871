"""The official client at a queue whose lines break: `python -m tests.chaos.fal_worker URL N`.

The address of its queue is that of the loopback server; nothing else is changed. It reports how
many submits ended in an exception.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

os.environ["FAL_KEY"] = "made-up:key"

import fal_client
import fal_client.client

AT_ONCE = 20


async def main(url: str, count: int) -> None:
    """Submit `count` requests, each once as far as the caller is concerned."""
    fal_client.client.QUEUE_URL_FORMAT = f"{url}/"
    client = fal_client.AsyncClient()
    turns = asyncio.Semaphore(AT_ONCE)

    async def submit(number: int) -> None:
        async with turns:
            await client.submit("fal-ai/imagen4/preview", {"prompt": f"fox {number}"})

    ended = await asyncio.gather(*map(submit, range(count)), return_exceptions=True)
    failed = sum(isinstance(outcome, BaseException) for outcome in ended)
    sys.stdout.write(json.dumps({"failed": failed}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
