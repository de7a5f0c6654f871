"""The History page: earlier generations as cards, what narrows them, what is done with several."""

from functools import partial
from typing import Any

import ipywidgets as w

from imagen_widget._html import escape, tag
from imagen_widget._models import dollars, short_name
from imagen_widget._result import age, cost_text
from imagen_widget._settings import ACCOUNTS
from imagen_widget._widget.controller import Controller
from imagen_widget._widget.gallery import act, again_words, excerpt
from imagen_widget._widget.parts import Kit, assign, css, on_change, show
from imagen_widget._widget.state import DAYS, SORTS, Entry, Past, State

_STARS = [("any", 0), ("rated", 1), *((f"{n} or more", n) for n in range(2, 5)), ("5", 5)]
_SORTS = {"newest": "newest first", "oldest": "oldest first", "rating": "best first"}


class PastView:
    """The History page.

    Attributes:
        box: What holds it.
    """

    def __init__(self, kit: Kit, controller: Controller) -> None:
        self._kit = kit
        self._cards: dict[str, w.HTML] = {}
        self._drawn: dict[str, tuple[Entry, bool]] = {}
        self._search = w.Text(
            description="Search",
            placeholder="words of the prompt, then Enter",
            continuous_update=False,
            _dom_classes=css("f", "f-search"),
        )
        self._model = _dropdown("Model", [("all models", "")])
        providers = [("all", ""), *((account.title, name) for name, account in ACCOUNTS.items())]
        self._filters: dict[str, Any] = {
            "text": self._search,
            "model": self._model,
            "provider": _dropdown("Provider", providers),
            "days": _dropdown("Date", list(DAYS)),
            "rating": _dropdown("Stars", _STARS),
            "sort": _dropdown("Sort", [(_SORTS[name], name) for name in SORTS]),
        }
        for name, control in self._filters.items():
            on_change(control, partial(_look, controller, name))
        self._spent = kit.html("", "spent")
        self._said = kit.html("", "summary")
        self._grid = kit.box(classes=("entries",))
        self._older = w.Button(description="Show more", _dom_classes=css("quiet", "older"))
        self._older.on_click(lambda _: controller.older())
        self._bar_text = kit.html("", "stretch")
        self._zip = w.Button(icon="file-archive-o", _dom_classes=css("quiet", "main"))
        self._delete = w.Button(description="Delete", icon="trash", _dom_classes=css("quiet"))
        self._undo = w.Button(description="Undo", icon="undo", _dom_classes=css("quiet"))
        clear = w.Button(icon="times", tooltip="Close this bar", _dom_classes=css("quiet"))
        self._delete.on_click(lambda _: controller.delete())
        self._undo.on_click(lambda _: controller.undo())
        clear.on_click(lambda _: controller.tick(None))
        self.zip = self._zip
        parts = [self._bar_text, self._zip, self._delete, self._undo, clear]
        self._bar = w.Box(parts, _dom_classes=css("bar-below"))
        upload = kit.html(
            act("Settings from a picture", "upload", arg="settings", icon="upload"), "upload"
        )
        filters = kit.box(*self._filters.values(), classes=("row", "filters"))
        rows = [self._spent, filters, self._said, self._grid, self._older, upload, self._bar]
        self.box = w.Box(rows, _dom_classes=css("page", "history"))

    def render(self, state: State, before: State | None) -> None:
        """Show the history of a state."""
        past = state.past
        assign(self._spent, value=spent(state))
        if before is not None and past == before.past:
            return
        names = [("all models", ""), *((short_name(name), name) for name in past.models)]
        if past.look.model and past.look.model not in past.models:
            names.append((short_name(past.look.model), past.look.model))
        assign(self._model, options=names)
        for name, control in self._filters.items():
            assign(control, value=getattr(past.look, name))
        assign(self._said, value=summary(past))
        assign(self._older, description="Loading …" if past.loading else "Show more")
        assign(self._older, disabled=past.loading)
        show(self._older, when=past.more)
        self._render_entries(past)
        self._render_bar(past)

    def _render_entries(self, past: Past) -> None:
        for entry in past.entries:
            key = (entry, entry.id in past.selected)
            if entry.id not in self._cards:
                self._cards[entry.id] = self._kit.html(entry_card(*key), "card", "entry")
            elif self._drawn[entry.id] != key:
                assign(self._cards[entry.id], value=entry_card(*key))
            self._drawn[entry.id] = key
        wanted = {entry.id: self._cards[entry.id] for entry in past.entries}
        assign(self._grid, children=tuple(wanted.values()))
        for gone in self._cards.keys() - wanted.keys():
            self._kit.free(self._cards.pop(gone))
            del self._drawn[gone]

    def _render_bar(self, past: Past) -> None:
        chosen = [entry for entry in past.entries if entry.id in past.selected]
        assign(self._bar_text, value=bar(past, chosen))
        assign(self._zip, description=f"Save {len(chosen)} as zip")
        for control, when in (
            (self._zip, chosen),
            (self._delete, chosen),
            (self._undo, past.deleted),
        ):
            show(control, when=bool(when))
        show(self._bar, when=bool(chosen or past.deleted or past.said))


def _look(controller: Controller, name: str, value: object) -> None:
    controller.look(**{name: value})


def entry_card(entry: Entry, ticked: bool) -> str:
    """Return an earlier generation as a card."""
    generation = entry.generation
    key: dict[str, Any] = {"id_": entry.id, "index": 0}
    count = len(generation)
    words = generation.request.prompt or short_name(generation.model)
    name = excerpt(words)
    badge = tag("span", f"{count} images", class_="imagen-badge") if count > 1 else ""
    tick = act(
        "",
        "tick",
        role="checkbox",
        aria_checked=str(ticked).lower(),
        class_="imagen-tick",
        aria_label=f"Select: {name}",
        **key,
    )
    opens = tag(
        "button",
        entry.thumbnail or tag("div", class_="imagen-skeleton"),
        type_="button",
        class_="imagen-thumb",
        data_do="show",
        data_id=entry.id,
        aria_label=f"Show these pictures: {name}",
    )
    cost = cost_text(generation.cost, free=not generation.cost)
    facts = f"{age(generation.created)} · {short_name(generation.model)} · {cost}"
    seed = "no seed" if generation.seed is None else f"seed {generation.seed}"
    stars = "".join(
        act(
            "",
            "rate",
            class_="imagen-star",
            aria_label=f"{n} star{'s' * (n > 1)}",
            aria_pressed=str(n <= entry.rating).lower(),
            arg=0 if n == entry.rating else n,
            **key,
        )
        for n in range(1, 6)
    )
    rated = tag(
        "div", stars, role="group", aria_label=f"Rating: {entry.rating} of 5", class_="imagen-stars"
    )
    return "".join((
        tag("div", opens, badge, tick, class_="imagen-thumb-box"),
        tag("div", escape(name), class_="imagen-entry-prompt"),
        tag("small", escape(facts)),
        tag("div", rated, tag("small", escape(seed)), class_="imagen-entry-row"),
        tag(
            "div",
            act("Same again", "again", title=again_words(generation.seed), **key),
            act("Use settings", "use", **key),
            act("Edit", "edit", **key),
            class_="imagen-entry-row",
        ),
    ))  # fmt: skip


def summary(past: Past) -> str:
    """Return the line over the cards: how many, what narrows them, or why there are none."""
    if past.loading and not past.entries:
        return tag("span", "Reading the history …", class_="imagen-hint imagen-working")
    chips = "".join(
        act(
            f"{words} ×",
            "unfilter",
            arg=name,
            class_="imagen-filter",
            aria_label=f"Remove: {words}",
        )
        for name, words in past.look.chips().items()
    )
    clear = act("Clear filters", "unfilter", arg="all") if chips else ""
    if not past.entries and not chips:
        return tag("span", "Nothing here yet: make a picture first.", class_="imagen-hint")
    total = f"{past.total} generation{'' if past.total == 1 else 's'}"
    if not past.entries:
        found = f"None of {total} is like that."
    else:
        found = f"<b>{past.matched}</b> of {total}" if chips else total
    return tag("span", found, class_="imagen-hint") + chips + clear


def bar(past: Past, chosen: list[Entry]) -> str:
    """Return what the bar below says of those that are ticked, or were just deleted."""
    if past.deleted:
        gone = len(past.deleted)
        return f"<b>{gone} deleted</b> · in the trash, the bill stays"
    if not chosen:
        return escape(past.said)
    pictures = sum(len(entry.generation) for entry in chosen)
    size = sum(entry.size for entry in chosen) / 1e6
    facts = f"{pictures} picture{'' if pictures == 1 else 's'}, {size:.1f} MB"
    rest = past.said or "deleted pictures go to the trash, the bill stays"
    return f"<b>{len(chosen)} selected</b> · {facts} · {escape(rest)}"


def spent(state: State) -> str:
    """Return the line about money: today, this month, of the cap."""
    if state.account is None or state.account.free:
        return ""
    parts = [f"Today <b>{dollars(state.today)}</b>", f"this month <b>{dollars(state.month)}</b>"]
    for limit in state.budget:
        done = state.today if limit.period == "day" else state.month
        left = dollars(max(done * 0, limit.amount - done))
        cap = f"of <b>{dollars(limit.amount)}</b> a {limit.period}, <b>{left}</b> left"
        label = f"Spent of the cap a {limit.period}"
        meter = tag("progress", max=limit.amount, value=min(done, limit.amount), aria_label=label)
        parts.append(f"{meter} {cap}")
    return tag("div", *(tag("span", part) for part in parts), class_="imagen-money")


def _dropdown(title: str, options: list[Any]) -> w.Dropdown:
    name = f"f-{title.lower()}"
    return w.Dropdown(options=options, description=title, _dom_classes=css("f", "f-filter", name))
