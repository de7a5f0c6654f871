"""Meets one hostile body in a process of its own, and prints by how much its memory grew.

Arguments: the address of a server, what to ask for, and the deadline in seconds. Prints one JSON
object.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
from pathlib import Path

import anyio
import anyio.lowlevel

from imagen_widget import ImagenClient, ImageRequest, Ticket
from imagen_widget.errors import ImagenError

ENDPOINT = "fal-ai/imagen4/preview"
PEAK = "VmHWM:"
MB = 1024 * 1024


def peak_bytes() -> int:
    """Return the most memory that this process ever held; a parent's does not count."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(PEAK))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def meet(url: str, what: str, seconds: float) -> dict[str, object]:
    """Ask for one thing; return the line that the user would see, and the growth in MB."""
    path = f"/fal-ai/imagen4/requests/{what}"
    extra = ("status_path", f"{path}/status"), ("response_path", path), ("cancel_path", path)
    ticket = Ticket("fal", url, ENDPOINT, what, extra=extra)
    name = "fal" if what == "stream" else "kkiai"
    impatient = (lambda _: anyio.lowlevel.checkpoint()) if what == "picture" else anyio.sleep
    async with ImagenClient(name, base_url=url, api_key="made-up", sleep=impatient) as client:
        await client.request_cancel(ticket)  # everything is imported and warm now
        gc.collect()
        before = peak_bytes()
        try:
            match what:
                case "submit":
                    await client.submit(ImageRequest.create("a fox"), timeout=seconds)
                case "result":
                    await client.result(ticket, timeout=seconds)
                case "picture":
                    await client.fetch(f"{url}/one.png", timeout=seconds)
                case _:
                    await client.watch(ticket, timeout=seconds)
            line = "done"
        except ImagenError as error:
            line = f"{type(error).__name__}: {error}"
    return {"line": line, "grown": (peak_bytes() - before) / MB}


if __name__ == "__main__":
    found = asyncio.run(meet(sys.argv[1], sys.argv[2], float(sys.argv[3])))
    sys.stdout.write(json.dumps(found))
