"""The widgets that have a script of their own: the form's layer, and the live view of a picker."""

from importlib.resources import files
from typing import Any

import anywidget
import traitlets

from imagen_widget._series import Pick, style

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
    as_of = traitlets.Unicode("").tag(sync=True)
    token = traitlets.Unicode("").tag(sync=True)


class PickerView(anywidget.AnyWidget):
    """The live view of a picker: it passes keys on and shows what `Pick` makes of them.

    The markup comes from there; pictures go as bytes in messages, each once, so that nothing large
    is in the widget's saved state.
    """

    _esm = _FOLDER.joinpath("picker.js").read_text("utf-8")
    _css = style("board", "compare", "pick")

    def __init__(self, pick: Pick) -> None:
        super().__init__()
        self._pick = pick
        self._sent: set[str] = set()
        self.on_msg(self._on_message)
        pick.listen(self._draw)

    def bundle(self) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {"application/vnd.jupyter.widget-view+json": view}

    def _on_message(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        match content:
            case {"press": "look"}:
                self._sent.clear()
                self._draw()
            case {"press": "leave"}:
                self._pick.left()
            case {"press": str(key)}:
                self._pick.press(key)

    def _draw(self) -> None:
        """Send the markup and its pictures; then those that the next keys will need."""
        pick = self._pick
        if pick.is_over:
            pick.left()
            self.close()
            return
        self.send({"html": pick.html(), "said": pick.said})
        for name in pick.names():
            if name not in self._sent:
                self._sent.add(name)
                self.send({"picture": name}, [pick.picture(name)])
