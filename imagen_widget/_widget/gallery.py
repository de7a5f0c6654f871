"""Pictures as cards: the gallery with a row for each job, and the History page with its filters."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any

import ipywidgets as w

from imagen_widget._html import escape, tag
from imagen_widget._models import dollars, short_name
from imagen_widget._picture import Preview
from imagen_widget._request import ImageRequest, as_code
from imagen_widget._result import GeneratedImage, Generation, age, cost_text
from imagen_widget._settings import ACCOUNTS
from imagen_widget._widget.controller import Controller
from imagen_widget._widget.controls import Kit, assign, css, on_change
from imagen_widget._widget.form import request_shape
from imagen_widget._widget.state import DAYS, Entry, JobState, Past, Pictures, State, Tab
from imagen_widget._widget.words import act, excerpt, fee, picture, plural

_ICON = (
    '<svg viewBox="0 0 24 24" width="22" height="22" fill="none" stroke="currentColor" '
    'stroke-width="1.8" stroke-linejoin="round" aria-hidden="true">'
    '<rect x="3" y="4.5" width="18" height="15" rx="2.5"/>'
    '<path d="m4 17 5-5.5 3.6 3.7 2.6-2.4L20 17"/><circle cx="15.6" cy="9" r="1.4"/></svg>'
)
HEADER = (
    f'<div class="imagen-brand"><span class="imagen-logo">{_ICON}</span>'
    '<div><div class="imagen-title">Imagen</div>'
    '<div class="imagen-subtitle">Describe it, pick a shape, get pictures.</div></div></div>'
)
EMPTY = f'<div class="imagen-empty">{_ICON}<span>Your pictures will appear here.</span></div>'


class Gallery:
    def __init__(self, kit: Kit, controller: Controller, *, token: str) -> None:
        self._kit, self._controller, self._token = kit, controller, token
        self._first = kit.text(lambda state: "" if state.rows else EMPTY, "stretch")
        self._last = kit.text(earlier, "earlier")
        self._rows: dict[int, _Row] = {}
        self.box = kit.box(classes=("jobs",))

    def render(self, state: State, before: State | None) -> None:
        if before is not None and _drawn_from(before) == _drawn_from(state):
            return
        numbers = [job.number for job in state.rows]
        for job in state.rows:
            if job.number not in self._rows:
                self._rows[job.number] = _Row(self._kit, self._controller, job, self._token)
            self._rows[job.number].render(job, state)
        rows = [self._rows[number].box for number in numbers]
        assign(self.box, children=(self._first, *rows, self._last))
        for number in self._rows.keys() - set(numbers):
            self._kit.free(self._rows.pop(number).box)

    def resend(self) -> None:
        self.box.send_state("children")
        if self._rows:
            grid = self._rows[max(self._rows)].grid
            grid.send_state("children")
            for card in grid.children:
                card.send_state("value")


def _drawn_from(state: State) -> tuple[object, ...]:
    return state.jobs, state.marked, state.account  # prices are those of the account


class _Row:
    def __init__(self, kit: Kit, controller: Controller, job: JobState, token: str) -> None:
        self._kit, self._controller, self._token = kit, controller, token
        self._drawn: object = None
        self._head = kit.html("", "job-head")
        waiting = kit.html(skeletons(job.request), "skeletons")
        self.grid = kit.box(waiting, classes=("grid", f"grid-{min(job.request.count, 4)}"))
        self.box = kit.box(self._head, self.grid, classes=("job",))

    def render(self, job: JobState, state: State) -> None:
        assign(self._head, value=job_head(job, state))
        key = (job.ending, state.marked, state.account)
        if not isinstance(job.ending, Pictures) or key == self._drawn:
            return
        request, controller = job.ending.generation.request, self._controller
        fees = fee(controller.price_again(request)), fee(controller.price_varied(request))
        shown = [
            card(job, job.ending, index, self._token, state, fees)
            for index in range(len(job.ending.small))
        ]
        if self._drawn is None:
            (waiting,) = self.grid.children
            cards = tuple(self._kit.html(markup, "card") for markup in shown)
            assign(self.grid, children=cards)
            self._kit.free(waiting)
        self._drawn = key
        for each, markup in zip(self.grid.children, shown, strict=True):
            assign(each, value=markup)


def earlier(state: State) -> str:
    """Return how many jobs made pictures here that are out of sight."""
    endings = [job.ending for job in state.rows]
    shown = sum(isinstance(ending, Pictures) and not ending.earlier for ending in endings)
    hidden = plural(len(state.made) - shown, "earlier job")
    return f"The pictures of {hidden} are in History." if len(state.made) > shown else ""


def skeletons(request: ImageRequest) -> str:
    width, height = request_shape(request)
    shape = f"aspect-ratio:{width:g} / {height:g}"
    return tag("div", class_="imagen-skeleton", style=shape) * request.count


def job_head(job: JobState, state: State) -> str:
    if len(state.rows) < 2:
        return ""
    doing = "" if job is state.headline else job.status
    if isinstance(job.ending, Pictures) and job.ending.earlier:
        doing = f"From History, {age(job.ending.generation.created)}"
    words = tag("strong", escape(excerpt(job.request.prompt or job.request.model)))
    line = tag("div", words, tag("span", escape(doing)), class_="imagen-job-line")
    if not job.active or job.cancelling or job is state.cancellable:
        return line
    return line + act("Cancel", "cancel", index=job.number, class_="imagen-small")


def card(
    job: JobState, shown: Pictures, index: int, token: str, state: State, fees: tuple[str, str]
) -> str:
    generation = shown.generation
    key: dict[str, Any] = {"id_": generation.id, "index": index}
    is_marked = state.marked == (generation.id, index)
    icon: dict[str, Any] = {"class_": "imagen-link imagen-icon", **key}
    pressed = {"aria_label": "Compare", "aria_pressed": str(is_marked).lower(), **icon}
    compare = "Now choose a second picture to compare." if is_marked else "Compare"
    again = {"icon": "repeat", "title": again_words(generation.seed), **key}
    vary = {"icon": "th-large", "title": "Four variations with other seeds", **key}
    acts = (
        act("Edit", "edit", icon="pencil", title="Make this picture the input", **key),
        act("Same again", "again", fees[0], **again),
        act("Vary", "vary", fees[1], **vary),
        act("Save", "save", icon="download", title="Save this picture", **key),
        act("", "use", icon="sliders", title="Use settings", aria_label="Use settings", **icon),
        act("", "compare", icon="columns", title=compare, **pressed),
        _code(job.request, generation, f"{token}-{job.number}-{index}-code", state),
    )
    image, seed = generation[index], generation[index].provenance.seed
    many = job.request.count > 1 or seed is None
    first = f"{index + 1} of {job.request.count}" if many else f"seed {seed}"
    size = tag("span", f"{image.width} x {image.height}", class_="imagen-size")
    return "".join((
        _opening(image, shown.small[index], key),
        tag("div", tag("span", first), size, class_="imagen-caption"),
        _origin(generation),
        tag("div", compare, class_="imagen-from") if is_marked else "",
        tag("div", *acts, class_="imagen-acts"),
    ))  # fmt: skip


def again_words(seed: int | None) -> str:
    if seed is None:
        return "No seed is known: asks for a new picture with the same settings"
    return f"The same settings with seed {seed}"


def differences(a: GeneratedImage, b: GeneratedImage) -> str:
    first, second = (
        {"model": told.request.model, **told.request.arguments(), "seed": told.seed}
        for told in (a.provenance, b.provenance)
    )
    names = [name for name in {**first, **second} if first.get(name) or second.get(name)]
    same = [name for name in names if first.get(name) == second.get(name)]
    parts = {"Different": [name for name in names if name not in same], "The same": same}
    words = (f"{head}: {', '.join(found)}" for head, found in parts.items() if found)
    return " · ".join(("A and B", *words)).replace("_", " ")


def _opening(image: GeneratedImage, small: Preview | None, key: dict[str, Any]) -> str:
    if small is None:
        return tag("div", "There is no preview of this picture.", class_="imagen-gone")
    seed = image.provenance.seed
    facts = f"{excerpt(image.alt)} · {image.width} x {image.height}"
    return act(
        "",
        "large",
        picture(small, image.alt),
        class_="imagen-open",
        aria_label=f"Open large: {excerpt(image.alt)}",
        data_facts=facts if seed is None else f"{facts} · seed {seed}",
        data_seed=seed,
        data_width=image.width,
        data_height=image.height,
        **key,
    )


def _code(request: ImageRequest, generation: Generation, place: str, state: State) -> str:
    shown = tag("span", "&lt;/&gt;", aria_hidden="true")
    named = {"title": "Copy as code", "aria_label": "Copy as code", "popovertarget": place}
    opens = tag("button", shown, type_="button", class_="imagen-link imagen-code-open", **named)
    models = (state.form.model, *state.models)
    known = next((model for model in models if model.id == request.model and model.fields), None)
    texts = as_code(request, known=known, seed=generation.seed, job_id=generation.id)
    names = ("As %imagen, after %load_ext imagen_widget", "As Python")
    parts = []
    for name, text in zip(names, texts, strict=True):
        copy = act("Copy", "copy", class_="imagen-copy")
        parts.append(tag("div", tag("span", name), copy, class_="imagen-code-head"))
        shown_code = escape(_with_import(text))
        parts.append(tag("pre", shown_code, tabindex=0, role="region", aria_label=name))
    box = {"popover": "auto", "id_": place, "class_": "imagen-code", "role": "dialog"}
    return opens + tag("div", *parts, aria_label="These settings as code", **box)


def _with_import(code: str) -> str:
    """Return code that also runs in a notebook which holds nothing but the form."""
    call = code.removeprefix("from imagen_widget import History\n")
    if not call.startswith("generate("):
        return code
    names = "generate" if call == code else "History, generate"
    return f"from imagen_widget import {names}\n{call}"


def _origin(generation: Generation) -> str:
    mask = generation.inputs[-1] if generation.request.has_mask else None
    parts = [
        act(given.origin or "an earlier picture", "go", arg=given.source_id)
        if given.source_id
        else tag("span", "a mask" if given is mask else escape(given.origin or "a picture"))
        for given in generation.inputs
    ]
    return tag("div", "from: ", ", ".join(parts), class_="imagen-from") if parts else ""


PICK = tag("span", "To pick a picture, press Edit below it: it becomes the input.", role="status")
_STARS = [("any", 0), ("rated", 1), *((f"{n} or more", n) for n in range(2, 5)), ("5", 5)]
_SORTS = [("newest first", "newest"), ("oldest first", "oldest"), ("best first", "rating")]


class PastView:
    def __init__(
        self,
        kit: Kit,
        controller: Controller,
        *,
        save: Callable[[], None],
        compare: Callable[[], None],
    ) -> None:
        self._kit, self._controller = kit, controller
        self._cards: dict[str, w.HTML] = {}
        self._filters = self._make_filters()
        self._grid = kit.box(classes=("entries",))
        older = kit.button(
            "", "quiet", "older", does=controller.older, shown=attrgetter("past.more")
        )
        kit.bind(
            older,
            disabled=attrgetter("past.loading"),
            description=lambda state: "Loading …" if state.past.loading else "Show more",
        )
        settings = act("Settings from a picture", "upload", arg="settings", icon="upload")
        rows = (
            kit.text(spent, "spent"),
            kit.box(*self._filters.values(), classes=("row", "filters")),
            kit.text(lambda state: PICK if state.picking else "", "picking"),
            kit.text(summary, "summary"),
            self._grid,
            older,
            kit.html(settings, "upload"),
            self._make_bar(save, compare),
        )
        classes = ("page", "history")
        self.box = kit.box(*rows, classes=classes, shown=lambda state: state.tab is Tab.HISTORY)

    def _make_filters(self) -> dict[str, Any]:
        kit, controller = self._kit, self._controller
        filters: dict[str, Any] = {
            "text": w.Text(
                description="Search",
                tooltip="",
                placeholder="words, then Enter",
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
            filters[name] = w.Dropdown(
                options=options, description=title, tooltip="", _dom_classes=classes
            )
        kit.bind(filters["model"], options=_models)
        for name, control in filters.items():
            on_change(control, partial(_look, controller, name))
            kit.bind(control, value=attrgetter(f"past.look.{name}"))
        return filters

    def _make_bar(self, save: Callable[[], None], compare: Callable[[], None]) -> w.Box:
        """Return what is done with the ticked entries; shown while there are any."""
        kit, controller = self._kit, self._controller
        chosen, deleted = attrgetter("past.chosen"), attrgetter("past.deleted")
        packed = kit.button("", "quiet", "main", icon="file-archive-o", does=save, shown=chosen)
        kit.bind(packed, description=lambda state: f"Save {len(state.past.chosen)} as zip")
        two = kit.button(
            "Compare",
            "quiet",
            icon="columns",
            does=compare,
            shown=lambda state: len(state.past.chosen) == 2,
        )
        delete = kit.button("Delete", "quiet", icon="trash", does=controller.delete, shown=chosen)
        undo = kit.button("Undo", "quiet", icon="undo", does=controller.undo, shown=deleted)
        clear = kit.button(
            "", "quiet", icon="times", tooltip="Close this bar", does=controller.untick
        )
        parts = (kit.text(bar, "stretch"), packed, two, delete, undo, clear)
        return kit.box(*parts, classes=("bar-below",), shown=bar)

    def render(self, state: State, before: State | None) -> None:
        if before is None or before.account != state.account:
            self._render_entries(state.past, Past())
        elif state.past != before.past:
            self._render_entries(state.past, before.past)

    def _render_entries(self, past: Past, before: Past) -> None:
        def drawn_card(entry: Entry) -> str:
            cost = self._controller.price_again(entry.generation.request)
            return entry_card(entry, entry.id in past.selected, fee(cost))

        drawn = {e.id: (e, e.id in before.selected) for e in before.entries}
        for entry in past.entries:
            ticked = entry.id in past.selected
            if entry.id not in self._cards:
                self._cards[entry.id] = self._kit.html(drawn_card(entry), "card", "entry")
            elif drawn.get(entry.id) != (entry, ticked):
                assign(self._cards[entry.id], value=drawn_card(entry))
        wanted = {entry.id: self._cards[entry.id] for entry in past.entries}
        assign(self._grid, children=tuple(wanted.values()))
        for gone in self._cards.keys() - wanted.keys():
            self._kit.free(self._cards.pop(gone))


def _look(controller: Controller, name: str, value: object) -> None:
    controller.look(**{name: value, "only": ""})


def entry_card(entry: Entry, ticked: bool, again: str) -> str:
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
        act("Same again", "again", again, title=again_words(generation.seed), **key),
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
