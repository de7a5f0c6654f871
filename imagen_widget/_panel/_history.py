"""PastController: the commands that look into history, on a worker thread."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from imagen_widget._panel._events import (
    PAGE_ENTRIES,
    Arrived,
    HistoryRead,
    PendingCounted,
    Resuming,
    Searched,
)
from imagen_widget._panel._pictures import entry, pictures
from imagen_widget._panel._trouble import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagen_widget._panel._pump import Pump
    from imagen_widget._panel._seams import Archive, Background


class PastController:
    """Finds, shows and fetches what was made before."""

    def __init__(
        self, pump: Pump, *, archive: Callable[[], Archive], background: Background
    ) -> None:
        self._pump = pump
        self._archive = archive
        self._background = background

    def search(self, text: str) -> None:
        """Look for prompts that contain `text`; "" finds all."""
        self._look(Searched(text))

    def refresh(self) -> None:
        """Look again, where anybody has looked."""
        asked = self._pump.state.history
        if asked.loaded:
            self._look(Searched(asked.search, asked.limit))

    def older(self) -> None:
        """Show more of what was found."""
        asked = self._pump.state.history
        self._look(Searched(asked.search, asked.limit + PAGE_ENTRIES))

    def show(self, request_id: str) -> None:
        """Show a generation that was found as if it had just been made."""
        self._do(partial(self._show, request_id))

    def resume(self) -> None:
        """Fetch what was paid for in an earlier kernel."""
        if not self._pump.state.resuming:
            self._pump.tell(Resuming())
            self._do(self._resume)

    def count_pending(self) -> None:
        """Find out how many paid jobs wait to be fetched."""
        self._do(self._count)

    def _look(self, event: Searched) -> None:
        _, after = self._pump.tell(event)
        self._do(partial(self._read, after.history.search, after.history.limit))

    def _read(self, search: str, limit: int) -> None:
        with closing(self._archive()) as archive:
            found = list(islice(archive.search(search), limit + 1))
        ready = {old.generation.request_id: old for old in self._pump.state.history.entries}
        entries = tuple(ready.get(g.request_id) or entry(g) for g in found[:limit])
        self._pump.tell(HistoryRead(search, limit, entries, more=len(found) > limit))

    def _show(self, request_id: str) -> None:
        for found in self._pump.state.history.entries:
            if found.generation.request_id == request_id:
                self._pump.tell(Arrived(pictures(found.generation, earlier=True)))
                self._pump.show_again()
                return

    def _resume(self) -> None:
        with closing(self._archive()) as archive:
            for generation in archive.resume():
                self._pump.tell(Arrived(pictures(generation)))
        self._count()
        self._pump.show_again()

    def _count(self) -> None:
        with closing(self._archive()) as archive:
            count = len(list(archive.pending()))
        self._pump.tell(PendingCounted(count))

    def _do(self, action: Callable[[], None]) -> None:
        self._background(partial(guarded, self._pump, action))
