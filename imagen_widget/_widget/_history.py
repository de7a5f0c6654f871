"""HistoryView: earlier generations from disk, searched by prompt."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from imagen_widget._widget import _html as markup
from imagen_widget._widget._parts import assign, classed, close, on_change, rendering, show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imagen_widget._panel import PanelController
    from imagen_widget._panel._state import HistoryEntry, PanelState
    from imagen_widget._widget._parts import Kit


class HistoryView:
    """The History page.

    Attributes:
        box: What holds it.
    """

    def __init__(self, kit: Kit, controller: PanelController) -> None:
        self._kit = kit
        self._controller = controller
        self._entries: dict[str, w.Box] = {}
        self._search = classed(
            w.Text(
                description="Search",
                placeholder="words of the prompt, then Enter",
                continuous_update=False,
            ),
            "f",
            "f-search",
        )
        on_change(self._search, controller.past.search)
        self._said = kit.html("", "stretch")
        self._grid = kit.box(classes=("entries",))
        self._older = classed(w.Button(description="Show older ones"), "quiet")
        self._older.on_click(lambda _: controller.past.older())
        self._upload = classed(
            w.FileUpload(description="Settings from a picture", accept=".png,.jpg,.jpeg,.webp"),
            "quiet",
            "upload",
        )
        on_change(self._upload, self._read)
        self.box = classed(
            w.Box([self._search, self._said, self._grid, self._older, self._upload]),
            "page",
            "history",
        )

    def render(self, state: PanelState, before: PanelState | None) -> None:
        """Show the history of a state."""
        page = state.history
        if before is not None and page == before.history:
            return
        assign(self._search, value=page.search)
        assign(self._said, value=markup.history_summary(state))
        show(self._older, when=page.more)
        wanted = {entry.generation.request_id: entry for entry in page.entries}
        for request_id, entry in wanted.items():
            if request_id not in self._entries:
                self._entries[request_id] = self._entry(request_id, entry)
        assign(self._grid, children=tuple(self._entries[request_id] for request_id in wanted))
        for request_id in self._entries.keys() - wanted.keys():
            close(self._entries.pop(request_id), keep=self._kit.shared)

    def _read(self, files: Sequence[Mapping[str, Any]]) -> None:
        if not files:
            return
        with rendering():  # emptied at once, so that the bytes do not stay in the widget's state
            self._upload.value = ()
        self._controller.reuse_from(bytes(files[0]["content"]))

    def _entry(self, request_id: str, entry: HistoryEntry) -> w.Box:
        request = entry.generation.request
        use = self._kit.button(
            "Use settings",
            "save",
            icon="sliders",
            tooltip="Use these settings",
            does=partial(self._controller.reuse, request),
        )
        open_ = self._kit.button(
            "",
            "use",
            icon="expand",
            tooltip="Show these pictures again",
            does=partial(self._controller.past.show, request_id),
        )
        text = self._kit.html(markup.history_entry(entry), "figure")
        return self._kit.box(text, use, open_, classes=("card", "entry"))
