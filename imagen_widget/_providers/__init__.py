"""Providers, built in and of other packages; httpx is imported when one connects."""

# isort: off
from imagen_widget._providers.answers import Answer, Call, CancelAnswer, Done, Finished, LogLine
from imagen_widget._providers.answers import Queued, Running, Served, Ticket, WireEvent
from imagen_widget._providers.answers import hidden
from imagen_widget._providers.provider import ENTRY_POINTS, Capabilities, ImagenClient, Provider
from imagen_widget._providers.provider import make_provider, turn
# isort: on

__all__ = ["ENTRY_POINTS", "ImagenClient", "Provider", "make_provider"]
__all__ += ["Answer", "Call", "CancelAnswer", "Capabilities", "Done", "Finished", "LogLine"]
__all__ += ["Queued", "Running", "Served", "Ticket", "WireEvent", "hidden", "turn"]
