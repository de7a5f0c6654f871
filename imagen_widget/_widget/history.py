"""The History page: earlier generations as cards, what narrows them, what is done with several."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import ipywidgets as w

from imagen_widget._html import escape, tag
from imagen_widget._models import dollars, short_name
from imagen_widget._result import age, cost_text
from imagen_widget._settings import ACCOUNTS
from imagen_widget._widget.controller import Controller
from imagen_widget._widget.controls import Kit, assign, css, on_change, show
from imagen_widget._widget.gallery import again_words
from imagen_widget._widget.state import DAYS, Entry, Past, State
from imagen_widget._widget.words import act, excerpt, plural

_STARS = [("any", 0), ("rated", 1), *((f"{n} or more", n) for n in range(2, 5)), ("5", 5)]
_SORTS = [("newest first", "newest"), ("oldest first", "oldest"), ("best first", "rating")]


class PastView:
    def __init__(self, kit: Kit, controller: Controller, save: Callable[[], None]) -> None:
        self._kit = kit
        self._cards: dict[str, w.HTML] = {}
        self._filters = {
            "text": w.Text(
                description="Search",
                tooltip="",
                placeholder="words of the prompt, then Enter",
                continuous_update=False,
                _dom_classes=css("f", "f-search"),
            )
        }
        providers = [("all", ""), *((account.title, name) for name, account in ACCOUNTS.items())]
        lists: dict[str, tuple[str, list[Any]]] = {
            "model": ("Model", [("all models", "")]),
            "provider": ("Provider", providers),
            "days": ("Date", list(DAYS)),
            "rating": ("Stars", _STARS),
            "sort": ("Sort", _SORTS),
        }
        for name, (title, options) in lists.items():
            classes = css("f", "f-filter", f"f-{title.lower()}")
            self._filters[name] = w.Dropdown(
                options=options, description=title, tooltip="", _dom_classes=classes
            )
        for name, control in self._filters.items():
            on_change(control, partial(_look, controller, name))
        self._spent = kit.html("", "spent")
        self._said = kit.html("", "summary")
        self._grid = kit.box(classes=("entries",))
        self._older = kit.button("", "quiet", "older", does=controller.older, hides=True)
        self._bar_text = kit.html("", "stretch")
        self._zip = kit.button("", "quiet", "main", icon="file-archive-o", does=save, hides=True)
        self._delete = kit.button(
            "Delete", "quiet", icon="trash", does=controller.delete, hides=True
        )
        self._undo = kit.button("Undo", "quiet", icon="undo", does=controller.undo, hides=True)
        clear = kit.button(
            "", "quiet", icon="times", tooltip="Close this bar", does=controller.untick
        )
        parts = (self._bar_text, self._zip, self._delete, self._undo, clear)
        self._bar = kit.box(*parts, classes=("bar-below",), hides=True)
        settings = act("Settings from a picture", "upload", arg="settings", icon="upload")
        filters = kit.box(*self._filters.values(), classes=("row", "filters"))
        upload = kit.html(settings, "upload")
        rows = (self._spent, filters, self._said, self._grid, self._older, upload, self._bar)
        self.box = kit.box(*rows, classes=("page", "history"), hides=True)

    def render(self, state: State, before: State | None) -> None:
        past = state.past
        assign(self._spent, value=spent(state))
        if before is not None and past == before.past:
            return
        names = dict.fromkeys((*past.models, past.look.model))
        options = [("all models", ""), *((short_name(name), name) for name in names if name)]
        assign(self._filters["model"], options=options)
        for name, control in self._filters.items():
            assign(control, value=getattr(past.look, name))
        assign(self._said, value=summary(past))
        words = "Loading …" if past.loading else "Show more"
        assign(self._older, description=words, disabled=past.loading)
        show(self._older, when=past.more)
        self._render_entries(past, Past() if before is None else before.past)
        chosen = bool(past.chosen)
        assign(self._bar_text, value=bar(past))
        assign(self._zip, description=f"Save {len(past.chosen)} as zip")
        show(self._zip, when=chosen)
        show(self._delete, when=chosen)
        show(self._undo, when=bool(past.deleted))
        show(self._bar, when=chosen or bool(past.deleted))

    def _render_entries(self, past: Past, before: Past) -> None:
        drawn = {e.id: (e, e.id in before.selected) for e in before.entries}
        for entry in past.entries:
            ticked = entry.id in past.selected
            if entry.id not in self._cards:
                self._cards[entry.id] = self._kit.html(entry_card(entry, ticked), "card", "entry")
            elif drawn.get(entry.id) != (entry, ticked):
                assign(self._cards[entry.id], value=entry_card(entry, ticked))
        wanted = {entry.id: self._cards[entry.id] for entry in past.entries}
        assign(self._grid, children=tuple(wanted.values()))
        for gone in self._cards.keys() - wanted.keys():
            self._kit.free(self._cards.pop(gone))


def _look(controller: Controller, name: str, value: object) -> None:
    controller.look(**{name: value, "only": ""})


def entry_card(entry: Entry, ticked: bool) -> str:
    generation = entry.generation
    key: dict[str, Any] = {"id_": entry.id, "index": 0}
    model, count = short_name(generation.model), len(generation)
    name = excerpt(generation.request.prompt or model)
    picture = entry.thumbnail or tag("div", class_="imagen-skeleton")
    opens = {"class_": "imagen-thumb", "aria_label": f"Show these pictures: {name}", **key}
    checked = {"role": "checkbox", "aria_checked": str(ticked).lower(), "class_": "imagen-tick"}
    above = (
        act("", "show", picture, **opens),
        tag("span", f"{count} pictures", class_="imagen-badge") if count > 1 else "",
        act("", "tick", aria_label=f"Select: {name}", **checked, **key),
    )
    cost = cost_text(generation.cost, free=not generation.cost)
    seed = "no seed" if generation.seed is None else f"seed {generation.seed}"
    stars = (
        act(
            "",
            "rate",
            class_="imagen-star",
            aria_label=plural(n, "star"),
            aria_pressed=str(n <= entry.rating).lower(),
            arg=0 if n == entry.rating else n,
            **key,
        )
        for n in range(1, 6)
    )
    rating = {"role": "group", "aria_label": f"Rating: {entry.rating} of 5"}
    rated = tag("div", *stars, class_="imagen-stars", **rating)
    acts = (
        act("Same again", "again", title=again_words(generation.seed), **key),
        act("Use settings", "use", **key),
        act("Edit", "edit", **key),
    )
    return "".join((
        tag("div", *above, class_="imagen-thumb-box"),
        tag("div", escape(name), class_="imagen-entry-prompt"),
        tag("small", escape(f"{age(generation.created)} · {model} · {cost}")),
        tag("div", rated, tag("small", escape(seed)), class_="imagen-entry-row"),
        tag("div", *acts, class_="imagen-entry-row"),
    ))  # fmt: skip


def summary(past: Past) -> str:
    if past.loading and not past.entries:
        return tag("span", "Reading the history …", class_="imagen-hint imagen-working")
    chips = [
        act(f"{words} ×", "unfilter", arg=n, class_="imagen-filter", aria_label=f"Remove: {words}")
        for n, words in past.look.chips().items()
    ]
    found = plural(past.total, "generation")
    if chips:
        narrowed = f"<b>{past.matched}</b> of {found}"
        found = narrowed if past.entries else f"None of {found} is like that."
        chips.append(act("Clear filters", "unfilter", arg="all"))
    elif not past.entries:
        found = "Nothing here yet: make a picture first."
    return tag("span", found, class_="imagen-hint") + "".join(chips)


def bar(past: Past) -> str:
    if past.deleted:
        return f"<b>{len(past.deleted)} deleted</b> · in the trash, the bill stays"
    pictures = plural(sum(len(entry.generation) for entry in past.chosen), "picture")
    size = sum(entry.size for entry in past.chosen) / 1e6
    rest = f"{pictures}, {size:.1f} MB · deleted pictures go to the trash, the bill stays"
    return f"<b>{len(past.chosen)} selected</b> · {rest}"


def spent(state: State) -> str:
    if state.account is None or state.account.free:
        return ""
    parts = [f"Today <b>{dollars(state.today)}</b>", f"this month <b>{dollars(state.month)}</b>"]
    for limit in state.budget:
        done = state.spent(limit.period)
        left = dollars(max(Decimal(0), limit.amount - done))
        cap = f"of <b>{dollars(limit.amount)}</b> a {limit.period}, <b>{left}</b> left"
        label = f"Spent of the cap a {limit.period}"
        meter = tag("progress", max=limit.amount, value=min(done, limit.amount), aria_label=label)
        parts.append(f"{meter} {cap}")
    return tag("div", *(tag("span", part) for part in parts), class_="imagen-money")
