"""The limit: asyncio streams, hand-written HTTP, one connection a job, the status by event stream.

It checks nothing and recovers from nothing: no client that does could be quicker.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import urlsplit

from tests.bench.contender import ENDPOINT, Plan, Report, read_plan, take_part


async def ask(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    method: str,
    path: str,
    body: bytes = b"",
) -> bytes:
    """Send a request on a connection and return the answer's body."""
    reader, writer = streams
    head = f"{method} {path} HTTP/1.1\r\nhost: {writer.get_extra_info('peername')[0]}:"
    head += f"{writer.get_extra_info('peername')[1]}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"content-length: " in answer:
        return await reader.readexactly(int(answer.partition(b"content-length: ")[2].split()[0]))
    chunks = b""
    while size := int(await reader.readline(), 16):
        chunks += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return chunks


async def main(plan: Plan) -> None:
    """Take part."""
    parts = urlsplit(plan.base_url)

    async def one_job(prompt: str, report: Report) -> None:
        streams = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            body = json.dumps({"prompt": prompt}).encode()
            ticket = json.loads(await ask(streams, "POST", f"/{ENDPOINT}", body))
            path = urlsplit(ticket["response_url"]).path
            events = await ask(streams, "GET", f"{path}/status/stream")
            assert b"COMPLETED" in events
            result: dict[str, Any] = json.loads(await ask(streams, "GET", path))
            report.known[ticket["request_id"]] = time.monotonic()
            if plan.save:
                data = await ask(streams, "GET", urlsplit(result["images"][0]["url"]).path)
                (plan.folder / f"{ticket['request_id']}.png").write_bytes(data)
                report.saved[ticket["request_id"]] = time.monotonic()
        finally:
            streams[1].close()

    await take_part(plan, one_job)


if __name__ == "__main__":
    asyncio.run(main(read_plan()))
