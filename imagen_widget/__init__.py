"""Pictures from any image model inside Jupyter: a magic, a form and a Python call.

In a notebook:

    %load_ext imagen_widget
    %imagen a red fox in fresh snow --ar 16:9 -n 2

In code:

    from imagen_widget import generate
    fox = generate("a red fox", aspect_ratio="16:9")
    snow = generate("make it snow", image=fox[0])

To ask for pictures:

    generate        blocks, and returns a Generation; for scripts, cells and threads
    agenerate       the same, awaited
    start           returns a Job at once, which goes on even if nobody waits
    sweep, batch    plan a Series: every combination of some axes, or the rows of a table
    models          what the models take and cost
    Studio          one account with one home of its own, beside that of the settings
    ImagenWidget    the same as a form
    ImagenClient    the provider itself: submit, watch, result, fetch, cancel; nothing is kept
    login           asks for a key without showing it

What they take and give:

    ImageRequest    a model and its arguments, checked before anything is sent
    Generation      what one request brought: a sequence of pictures that displays itself
    GeneratedImage  one picture: bytes, file, size in pixels, and where it came from
    Job             a generation that is under way; Progress is a snapshot of it
    Series          hundreds of requests as one thing: planned, paid once, resumed, chosen from
    Model, Field    what a model takes, by its own schema
    History         everything that was made, on disk; also fetches what a dead kernel left
    Provenance      the settings that travel inside a saved file
    Provider        the interface that a provider implements, with Ticket, Finished and the rest
    errors          what can go wrong: each is one line that ends with what to do

Without a key the built-in demo answers. IMAGEN_API_KEY is the key of the gateway, FAL_KEY that of
fal, OPENAI_API_KEY that of OpenAI; IMAGEN_PROVIDER, IMAGEN_MODEL, IMAGEN_HOME and IMAGEN_MAX_SPEND
are the other settings that matter. Money is US dollars and times are seconds, everywhere.

Jobs are written to a journal before they are sent, and pictures to disk before they are shown: a
restarted kernel loses nothing that was paid for. A magic or a series that is run again pays nothing
twice; generate() sends its request each time, unless reuse=True.
Importing this package opens no socket, writes no file, starts no thread and patches nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import TYPE_CHECKING, Any

from imagen_widget import errors

if TYPE_CHECKING:  # what `__getattr__` imports, for type checkers
    # fmt: off
    # isort: off
    from imagen_widget._history import History as History, Resumed as Resumed, Spending as Spending
    from imagen_widget._inputs import Input as Input
    from imagen_widget._journal import Filter as Filter, KeptImage as KeptImage, Record as Record
    from imagen_widget._journal import State as State
    from imagen_widget._models import Checked as Checked, Field as Field, Model as Model
    from imagen_widget._models import Models as Models, PictureLimits as PictureLimits
    from imagen_widget._models import Price as Price
    from imagen_widget._picture import Provenance as Provenance
    from imagen_widget._providers import Answer as Answer, Call as Call
    from imagen_widget._providers import CancelAnswer as CancelAnswer, Capabilities as Capabilities
    from imagen_widget._providers import Done as Done, Finished as Finished
    from imagen_widget._providers import ImagenClient as ImagenClient, LogLine as LogLine
    from imagen_widget._providers import Provider as Provider, Queued as Queued, Running as Running
    from imagen_widget._providers import Served as Served, Ticket as Ticket
    from imagen_widget._request import ImageRequest as ImageRequest
    from imagen_widget._result import GeneratedImage as GeneratedImage, Generation as Generation
    from imagen_widget._runs import Fetching as Fetching, Job as Job, Phase as Phase
    from imagen_widget._runs import Progress as Progress, Submitted as Submitted
    from imagen_widget._runs import Submitting as Submitting
    from imagen_widget._series import Compared as Compared, Grid as Grid, Pick as Pick
    from imagen_widget._series import Plan as Plan, Row as Row, Series as Series
    from imagen_widget._settings import Account as Account, Limit as Limit, Prices as Prices
    from imagen_widget._settings import Secret as Secret, Settings as Settings, login as login
    from imagen_widget._studio import Studio as Studio, agenerate as agenerate, batch as batch
    from imagen_widget._studio import generate as generate, models as models, start as start
    from imagen_widget._studio import sweep as sweep
    from imagen_widget._widget import ImagenWidget as ImagenWidget
    # isort: on
    # fmt: on

__version__ = "0.2.0"

_imported_in: str | None = None  # where settings files are looked for if no front end says it
with contextlib.suppress(OSError):  # the folder may be gone
    _imported_in = os.getcwd()  # noqa: PTH109 - pathlib is not loaded yet

_NAMES = {
    "_history": ("History", "Resumed", "Spending"),
    "_inputs": ("Input",),
    "_journal": ("Filter", "KeptImage", "Record", "State"),
    "_models": ("Checked", "Field", "Model", "Models", "PictureLimits", "Price"),
    "_picture": ("Provenance",),
    "_providers": (
        *("Answer", "Call", "CancelAnswer", "Capabilities", "Done", "Finished", "ImagenClient"),
        *("LogLine", "Provider", "Queued", "Running", "Served", "Ticket"),
    ),
    "_request": ("ImageRequest",),
    "_result": ("GeneratedImage", "Generation"),
    "_runs": ("Fetching", "Job", "Phase", "Progress", "Submitted", "Submitting"),
    "_series": ("Compared", "Grid", "Pick", "Plan", "Row", "Series"),
    "_settings": ("Account", "Limit", "Prices", "Secret", "Settings", "login"),
    "_studio": ("Studio", "agenerate", "batch", "generate", "models", "start", "sweep"),
    "_widget": ("ImagenWidget",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", "errors", *_MODULES]  # noqa: PLE0604 - all of them are names


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import imagen_widget` stays light."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """Register %imagen and its companions; called by `%load_ext imagen_widget`."""
    from imagen_widget import _magic

    _magic.load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Remove what `load_ipython_extension` registered, and forget the settings files."""
    from imagen_widget import _magic, _settings

    _magic.unload(shell)
    _settings.forget_settings()
