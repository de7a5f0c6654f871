"""The live view of a picker: it passes keys on and shows what `Pick` makes of them.

The markup comes from there; pictures go as bytes in messages, each once, so that nothing large is
in the widget's saved state.
"""

from importlib.resources import files
from typing import Any

import anywidget

from imagen_widget._series import Pick, style


class PickerView(anywidget.AnyWidget):
    _esm = files(__package__).joinpath("picker.js").read_text(encoding="utf-8")
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
