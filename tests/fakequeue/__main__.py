"""Serve a fake queue; print its address as JSON, and what it counted when the input ends.

`python -m tests.fakequeue --polls 2 --faults 0.25 --port-file F`: each option is an argument or an
attribute of FakeQueue. A port file is whole as soon as it is there; `--seconds prompt` takes each
job's seconds from its prompt.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

from tests.fakequeue.fronts import serving
from tests.fakequeue.queue import FakeQueue, seconds_in_prompt


class _UntilClosed(asyncio.Protocol):
    def __init__(self, over: asyncio.Event) -> None:
        self._over = over

    def connection_lost(self, exc: Exception | None) -> None:
        self._over.set()


async def _serve(queue: FakeQueue, port_file: str) -> None:
    over = asyncio.Event()
    async with serving(queue) as url:
        if port_file:
            part = Path(f"{port_file}.part")
            part.write_text(url, encoding="utf-8")  # noqa: ASYNC240 - nothing else runs yet
            part.replace(port_file)  # noqa: ASYNC240 - as above
        print(json.dumps({"url": url}), flush=True)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: _UntilClosed(over), sys.stdin)
        await over.wait()


def main(options: list[str]) -> None:
    """Serve until the input ends."""
    given: dict[str, Any] = {}
    for name, text in zip(options[::2], options[1::2], strict=True):
        with contextlib.suppress(ValueError):  # anything that is not JSON is text
            text = json.loads(text)
        given[name.removeprefix("--").replace("-", "_")] = text
    port_file = given.pop("port_file", "")
    if given.get("seconds") == "prompt":
        given["seconds"] = seconds_in_prompt
    arguments = inspect.signature(FakeQueue).parameters
    queue = FakeQueue(**{name: value for name, value in given.items() if name in arguments})
    for name in given.keys() - arguments.keys():
        setattr(queue, name, given[name])
    asyncio.run(_serve(queue, port_file))
    print(json.dumps(queue.facts()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
