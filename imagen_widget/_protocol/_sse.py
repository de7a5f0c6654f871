"""The event stream of a queue, decoded: bytes in, the data of whole events out.

Nothing here does I/O. Only `data:` lines matter to a queue; comments are keep-alives.
The format is the HTML standard's server-sent events.
"""

from __future__ import annotations

_MOST_EVENT_BYTES = 4 * 1024 * 1024


class EventDecoder:
    """Collects bytes and returns the data of the events that they complete."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take in bytes and return the data of each event that is now whole, in order.

        Raises:
            ValueError: An event grew past 4 MiB.
        """
        self._rest += chunk
        events = []
        if b"\n" in chunk:  # else a line without end would be copied again and again
            *lines, self._rest = self._rest.split(b"\n")
            whole = (self._line(bytes(line).removesuffix(b"\r")) for line in lines)
            events = [event for event in whole if event is not None]
        if self._size + len(self._rest) > _MOST_EVENT_BYTES:
            message = "an event of the stream is too large"
            raise ValueError(message)
        return events

    def _line(self, line: bytes) -> bytes | None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._size += len(line)
        elif not line and self._data:
            event = b"\n".join(self._data)
            self._data, self._size = [], 0
            return event
        return None
