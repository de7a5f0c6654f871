"""Providers, built in and of other packages; httpx is imported when one connects."""

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
