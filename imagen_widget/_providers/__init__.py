"""Providers: the interface (provider.py), the values it hands out, and those that are built in.

A provider makes pictures of requests: fal and its gateways by fal's queue, OpenAI and its relays by
its image routes, the demo in this process; others come by the entry point group
`imagen_widget.providers`. httpx is imported when the first connection is made.
"""

from imagen_widget._providers.answers import Answer, Call, Finished, Served
from imagen_widget._providers.provider import (
    ENTRY_POINTS,
    CancelAnswer,
    Capabilities,
    Done,
    ImagenClient,
    LogLine,
    Provider,
    Queued,
    Running,
    Ticket,
    WireEvent,
    make_provider,
)

__all__ = ["ENTRY_POINTS", "ImagenClient", "Provider", "make_provider"]
__all__ += ["Answer", "Call", "CancelAnswer", "Capabilities", "Done", "Finished", "LogLine"]
__all__ += ["Queued", "Running", "Served", "Ticket", "WireEvent"]
