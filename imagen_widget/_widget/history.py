"""The History page: earlier generations as cards, what narrows them, what is done with several."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any

import ipywidgets as w

from imagen_widget._html import escape, tag
from imagen_widget._models import dollars, short_name
from imagen_widget._result import age, cost_text
from imagen_widget._settings import ACCOUNTS
from imagen_widget._widget.controller import Controller
from imagen_widget._widget.controls import Kit, assign, css, on_change
from imagen_widget._widget.gallery import again_words
from imagen_widget._widget.state import DAYS, Entry, Past, State, Tab
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
            "model": ("Model", []),
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
        kit.bind(self._filters["model"], options=_models)
        for name, control in self._filters.items():
            on_change(control, partial(_look, controller, name))
            kit.bind(control, value=attrgetter(f"past.look.{name}"))
        self._grid = kit.box(classes=("entries",))
        older = kit.button(
            "", "quiet", "older", does=controller.older, shown=attrgetter("past.more")
        )
        kit.bind(
            older,
            disabled=attrgetter("past.loading"),
            description=lambda state: "Loading …" if state.past.loading else "Show more",
        )
        chosen, deleted = attrgetter("past.chosen"), attrgetter("past.deleted")
        packed = kit.button("", "quiet", "main", icon="file-archive-o", does=save, shown=chosen)
        kit.bind(packed, description=lambda state: f"Save {len(state.past.chosen)} as zip")
        delete = kit.button("Delete", "quiet", icon="trash", does=controller.delete, shown=chosen)
        undo = kit.button("Undo", "quiet", icon="undo", does=controller.undo, shown=deleted)
        clear = kit.button(
            "", "quiet", icon="times", tooltip="Close this bar", does=controller.untick
        )
        parts = (kit.text(bar, "stretch"), packed, delete, undo, clear)
        settings = act("Settings from a picture", "upload", arg="settings", icon="upload")
        rows = (
            kit.text(spent, "spent"),
            kit.box(*self._filters.values(), classes=("row", "filters")),
            kit.text(summary, "summary"),
            self._grid,
            older,
            kit.html(settings, "upload"),
            kit.box(*parts, classes=("bar-below",), shown=bar),
        )
        classes = ("page", "history")
        self.box = kit.box(*rows, classes=classes, shown=lambda state: state.tab is Tab.HISTORY)

    def render(self, state: State, before: State | None) -> None:
        if before is None or state.past != before.past:
            self._render_entries(state.past, Past() if before is None else before.past)

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


def _models(state: State) -> list[tuple[str, str]]:
    names = dict.fromkeys((*state.past.models, state.past.look.model))
    return [("all models", ""), *((short_name(name), name) for name in names if name)]


def summary(state: State) -> str:
    past = state.past
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


def bar(state: State) -> str:
    past = state.past
    if not past.chosen and not past.deleted:
        return ""
    if past.deleted:
        return f"<b>{len(past.deleted)} deleted</b> · in the trash, the bill stays"
    pictures = plural(sum(len(entry.generation) for entry in past.chosen), "picture")
    size = sum(entry.size for entry in past.chosen) / 1e6
    rest = f"{pictures}, {size:.1f} MB · deleted pictures go to the trash, the bill stays"
    return f"<b>{len(past.chosen)} selected</b> · {rest}"


def spent(state: State) -> str:
    if state.is_free:
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
