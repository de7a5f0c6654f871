"""A series as people write it today: `asyncio.gather` over fal-client, failed rows tried again.

`python -m tests.bench.contender_gather` reports how many rows have no picture in the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

os.environ["FAL_KEY"] = "made-up:key"

import fal_client
import fal_client.client

from tests.bench.contender import ENDPOINT

TRIES = 3


async def main() -> None:
    """Do all rows."""
    given = json.load(sys.stdin)
    fal_client.client.QUEUE_URL_FORMAT = f"{given['base_url']}/"
    client = fal_client.AsyncClient()
    turns = asyncio.Semaphore(given["in_flight"])

    async def row(number: int) -> bool:
        async with turns:
            for _ in range(TRIES):
                try:
                    await client.subscribe(ENDPOINT, {"prompt": f"fox {number}"})
                except Exception:
                    continue
                return True
        return False

    done = await asyncio.gather(*map(row, range(given["rows"])))
    print(json.dumps({"lost": done.count(False)}))


if __name__ == "__main__":
    asyncio.run(main())
