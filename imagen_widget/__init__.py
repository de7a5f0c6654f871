"""Pictures from text inside Jupyter: a magic, a widget and a Python call over one paid-job core.

In a notebook:

    %load_ext imagen_widget
    %imagen a red fox in fresh snow --ar 16:9 -n 2

In code:

    from imagen_widget import generate
    fox = generate("a red fox", aspect_ratio="16:9")

To ask for pictures:

    generate        blocks, and returns a Generation; for scripts, cells and threads
    agenerate       the same, awaited
    start           returns a Job at once, which goes on whether or not anybody waits
    ImagenWidget    the same as a form
    ImagenClient    the queue itself: submit, watch, result, fetch, cancel; nothing is kept
    login           asks for a key without showing it

What they take and give:

    ImageRequest    a prompt with its parameters, checked before anything is sent
    Generation      what one request brought: a sequence of pictures that displays itself
    GeneratedImage  one picture: bytes, file, size in pixels, and where it came from
    Job             a generation that is under way
    Ticket          the claim to a job at the provider
    Provenance      the settings that travel inside a saved file
    History         everything that was made, on disk; also fetches what a dead kernel left
    errors          what can go wrong: each is one line that ends with what to do

Without a key the built-in demo answers. IMAGEN_API_KEY is the key of the gateway, FAL_KEY that of
fal; IMAGEN_PROVIDER, IMAGEN_MODEL, IMAGEN_HOME and IMAGEN_MAX_SPEND are the other settings that
matter. Money is US dollars and times are seconds, everywhere.

Jobs are written to a journal before they are sent, pictures to disk before they are shown: a
restarted kernel loses nothing that was paid for, and a cell that is run again pays nothing twice.
Importing this package opens no socket, writes no file, starts no thread and patches nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from imagen_widget import errors

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from imagen_widget._client import ImagenClient
    from imagen_widget._generate import Job, agenerate, generate, start
    from imagen_widget._history import History
    from imagen_widget._protocol._ticket import Ticket
    from imagen_widget._provenance import Provenance
    from imagen_widget._request import ImageRequest
    from imagen_widget._result import GeneratedImage, Generation
    from imagen_widget._settings._keys import login
    from imagen_widget._widget import ImagenWidget

__version__ = "0.1.0"

__all__ = [
    "GeneratedImage",
    "Generation",
    "History",
    "ImageRequest",
    "ImagenClient",
    "ImagenWidget",
    "Job",
    "Provenance",
    "Ticket",
    "__version__",
    "agenerate",
    "errors",
    "generate",
    "login",
    "start",
]

_ROOMS = {
    "GeneratedImage": "_result",
    "Generation": "_result",
    "History": "_history",
    "ImageRequest": "_request",
    "ImagenClient": "_client",
    "ImagenWidget": "_widget",
    "Job": "_generate",
    "Provenance": "_provenance",
    "Ticket": "_protocol._ticket",
    "agenerate": "_generate",
    "generate": "_generate",
    "login": "_settings._keys",
    "start": "_generate",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import a public name when it is first used, so that `import imagen_widget` stays light."""
    if name not in _ROOMS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register %imagen and its companions; called by `%load_ext imagen_widget`."""
    from imagen_widget import _magic

    _magic.load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Remove what `load_ipython_extension` registered."""
    from imagen_widget import _magic

    _magic.unload(shell)
