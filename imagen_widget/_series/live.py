"""What of a series needs a kernel: the button that stops it, and the live view of a picker.

Imported when one of them is displayed: the widget libraries are slow, and all else works without.
"""

import concurrent.futures
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import anywidget
import ipywidgets

from imagen_widget._display import StatusLine, Surface
from imagen_widget._series.parts import style
from imagen_widget._series.picker import Pick


def show_stop(
    place: Surface, cancel: Callable[[], object], run: concurrent.futures.Future[None]
) -> None:
    """Show a button that calls `cancel` once, until the run ends."""
    about = "Send no more rows; what is paid for is still fetched"
    button = ipywidgets.Button(description="Stop", icon="stop", tooltip=about)

    def stop(_: object) -> None:
        button.disabled, button.description = True, "Stopping"
        cancel()

    def remove(_: object) -> None:
        button.close()
        place.final(StatusLine(""))

    button.on_click(stop)
    place.status(button)
    run.add_done_callback(remove)


class PickerView(anywidget.AnyWidget):
    """Passes keys on to a picker and shows what it makes of them.

    Pictures go as bytes in messages, each once, so that nothing large is in the saved state.
    """

    _esm = files(__package__).joinpath("picker.js").read_text("utf-8")
    _css = style("theme", "base", "board", "compare", "pick")

    def __init__(self, pick: Pick) -> None:
        super().__init__()
        self._pick = pick
        self._sent: set[str] = set()
        self._is_new = True
        self.on_msg(self._on_message)

    def __repr__(self) -> str:
        return repr(self._pick)

    def _on_message(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        match content:
            case {"press": "look"}:
                self._sent.clear()
            case {"press": str(key)}:
                self._pick.press(key)
        if self._pick.is_over:
            self.close()
        else:
            self._draw()

    def _draw(self) -> None:
        """Send the markup and its pictures; then those that the next keys will need."""
        pick = self._pick
        self.send({"html": pick.html(), "said": pick.said, "isNew": self._is_new})
        self._is_new = False
        for name in pick.names():
            if name not in self._sent:
                self._sent.add(name)
                self.send({"picture": name}, [pick.picture(name)])
