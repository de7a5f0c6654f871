"""The form's style sheet, and its script layer."""

from importlib.resources import files
from typing import Any

import anywidget
import traitlets

_FOLDER = files(__package__)
STYLE = _FOLDER.joinpath("style.css").read_text("utf-8")


class Layer(anywidget.AnyWidget):
    """The form's script layer: shortcuts, names for screen readers, pictures in and large."""

    _esm = _FOLDER.joinpath("script.js").read_text("utf-8")
    form = traitlets.Dict().tag(sync=True)
    announcement = traitlets.Unicode("").tag(sync=True)
    models: Any = traitlets.List().tag(sync=True)
    tags: Any = traitlets.List().tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)
    total = traitlets.Unicode("").tag(sync=True)
    token = traitlets.Unicode("").tag(sync=True)
