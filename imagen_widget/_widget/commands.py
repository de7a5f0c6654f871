"""PastCommands: what the History page does, and the fetching of what an earlier kernel left."""

import time
from dataclasses import asdict, replace
from datetime import date
from typing import Any

from imagen_widget._journal import Filter, Record
from imagen_widget._result import Generation
from imagen_widget._widget.core import Core, shown
from imagen_widget._widget.state import PAGE_ENTRIES, Entry, Look, Tab

THUMBNAIL_SECONDS = 0.1  # a page is shown after this, though some thumbnails are not made yet
_EVER = date(2000, 1, 1)


class PastCommands(Core):
    """The commands that look into history, on a worker thread."""

    _given_up: frozenset[str] = frozenset()  # jobs that could not be fetched, and were said

    def open_tab(self, tab: Tab) -> None:
        """Open a page of the widget; History is read from disk when first opened."""
        self._set(tab=tab)
        if tab is Tab.HISTORY and not self.state.past.loaded:
            self.look()

    def look(self, **changes: Any) -> None:
        """Ask History again, with some of the filters changed."""
        look = replace(self.state.past.look, **changes)
        self._pump.change(lambda s: replace(s, past=s.past.asked(look)))
        self._do(lambda: self._look(look))

    def unfilter(self, name: str) -> None:
        """Take one of History's filters away, or all of them."""
        if name == "all":
            self.look(**{n: v for n, v in asdict(Look()).items() if n != "sort"})
        elif name in asdict(Look()):
            self.look(**{name: getattr(Look(), name)})

    def older(self) -> None:
        """Show more of what was found."""
        past = self.state.past
        if past.more and not past.loading:
            self._set_past(loading=True)
            self._do(lambda: self._look(past.look, after=past.cursor))

    def rate(self, generation_id: str, stars: int) -> None:
        """Give a generation 0 to 5 stars."""

        def give(generation: Generation) -> None:
            self.studio.history.rate(generation, stars)
            self._pump.change(
                lambda s: replace(s, past=s.past.changed(generation_id, rating=stars))
            )

        self._with_generation(generation_id, give)

    def tick(self, generation_id: str | None) -> None:
        """Choose an entry for the action bar, or let it go; None lets all go."""
        if generation_id is None:
            none: frozenset[str] = frozenset()
            self._set_past(selected=none, deleted=(), said="")
        else:
            self._pump.change(lambda s: replace(s, past=s.past.ticked(generation_id)))

    def delete(self) -> None:
        """Move the ticked generations to the trash; the bill stays."""

        def remove() -> None:
            history, past = self.studio.history, self.state.past
            chosen = [e.generation for e in past.entries if e.id in past.selected]
            for generation in chosen:
                history.delete(generation)
            ids = tuple(generation.id for generation in chosen)
            self._pump.change(lambda s: replace(s, past=s.past.without(ids)))

        self._do(remove)

    def undo(self) -> None:
        """Bring back what was just deleted."""

        def bring_back() -> None:
            for generation_id in self.state.past.deleted:
                self.studio.history.undelete(generation_id)
            self._set_past(deleted=())
            self.look()

        self._do(bring_back)

    def show(self, generation_id: str) -> None:
        """Show a generation's pictures on the Create page, wherever it is."""

        def bring(generation: Generation) -> None:
            self._pump.change(lambda s: s.arrived(shown(generation, earlier=True)))
            self._pump.show_again()

        self._with_generation(generation_id, bring)

    def resume(self) -> None:
        """Fetch what an earlier kernel left at the provider."""
        if not self.state.resuming:
            self._set(resuming=True)
            self._do(self._resume)

    def _look(self, look: Look, *, after: object = None) -> None:
        history, until = self.studio.history, time.monotonic() + THUMBNAIL_SECONDS
        wanted = Filter(
            text=look.text,
            model=look.model or None,
            provider=look.provider or None,
            since=look.since,
            rating=look.rating or None,
            sort=look.sort,  # type: ignore[arg-type]  # one of SORTS
            has_pictures=True,
        )
        before = after if isinstance(after, Record) else None
        records = history.page(wanted, limit=PAGE_ENTRIES + 1, before=before)
        page, more = records[:PAGE_ENTRIES], len(records) > PAGE_ENTRIES
        entries = []
        for record in page:
            generation = history.recall(record)
            if generation is not None:
                drawn = time.monotonic() < until  # the rest comes when it is ready
                thumbnail = history.thumbnail(generation) if drawn else ""
                size = sum(kept.size for kept in record.images)
                entries.append(Entry(generation, thumbnail, record.rating, size))
        cursor = page[-1] if page else None
        counts: dict[str, Any] = {}
        if after is None:
            counts = {"matched": history.count(wanted), "total": len(history)}
            counts["models"] = tuple(sorted(history.spend_by("model", _EVER)))
        answer = {"cursor": cursor, "more": more, "after": after, **counts}
        self._pump.change(lambda s: replace(s, past=s.past.found(look, tuple(entries), **answer)))
        for entry in entries:
            if not entry.thumbnail:
                self._show_thumbnail(entry.id, history.thumbnail(entry.generation))

    def _show_thumbnail(self, entry_id: str, markup: str) -> None:
        self._pump.change_soon(
            lambda s: replace(s, past=s.past.changed(entry_id, thumbnail=markup))
        )

    def add_newest(self, generation: Generation) -> None:
        """Put what was just made on the page, if History was opened before."""
        past = self.state.past
        if past.loaded and (past.look.chips() or past.look.sort != "newest"):
            self.look()
        elif past.loaded:
            entry = Entry(generation, self.studio.history.thumbnail(generation))
            self._pump.change(lambda s: replace(s, past=s.past.with_newest(entry)))

    def _resume(self) -> None:
        outcomes = self.studio.history.resume_all()
        for outcome in outcomes:
            if outcome.generation is not None:
                pictures = shown(outcome.generation)
                self._pump.change(lambda s, pictures=pictures: s.arrived(pictures))  # type: ignore[misc]
        failed = [outcome for outcome in outcomes if outcome.error is not None]
        # What cannot be fetched now is said once; another form, or the magic, can try again.
        self._given_up |= {outcome.record.id for outcome in failed}
        trouble = self._trouble_of(failed[0].error) if failed else None  # type: ignore[arg-type]
        self._set(pending=0, resuming=False, trouble=trouble)
        self._pump.show_again()

    def count(self) -> None:
        """Find out what was spent, and how many jobs wait to be fetched."""
        history = self.studio.history
        spending = history.spending()
        self._set(today=spending.today, month=spending.month)
        waiting = {record.id for record in history.pending()} - self._given_up
        self._set(pending=len(waiting))
