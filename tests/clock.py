"""Time that passes only when somebody sleeps."""

from __future__ import annotations

import anyio.lowlevel


class Clock:
    """A clock and a sleep that belong together; `naps` are the seconds that were slept."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once, and other tasks run."""
        self.naps.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()
