"""Pictures as cards: the gallery with a row for each job, and the History page with its filters."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any

import ipywidgets as w

from imagen_widget._html import escape, tag
from imagen_widget._models import dollars, short_name
from imagen_widget._picture import Preview
from imagen_widget._request import ImageRequest, as_code
from imagen_widget._result import GeneratedImage, Generation, age, asked, cost_text, differences
from imagen_widget._settings import ACCOUNTS
from imagen_widget._widget.controller import Controller
from imagen_widget._widget.controls import Kit, css, on_change, when
from imagen_widget._widget.form import request_shape
from imagen_widget._widget.state import DAYS, Entry, JobState, Pictures, State, Tab
from imagen_widget._widget.words import act, excerpt, fee, picture
from imagen_widget.errors import plural

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
_WAITING = -1  # in place of a picture's index: what stands there until the pictures come


def gallery(kit: Kit, controller: Controller, token: str) -> w.Box:
    """Return the box of the jobs in sight; each is a line and a grid of its pictures."""
    first = kit.text(lambda state: "" if state.rows else EMPTY, "stretch")
    last = kit.text(earlier, "earlier")
    rows = kit.each(
        lambda state: [job.number for job in state.rows], partial(_row, kit, controller, token)
    )
    box = kit.box(classes=("jobs",))
    return kit.bind(box, children=lambda state: (first, *rows(state), last))


def _row(kit: Kit, controller: Controller, token: str, number: int, state: State) -> w.Box:
    def job(state: State) -> JobState:
        return next(job for job in state.jobs if job.number == number)

    def indices(state: State) -> Iterable[int]:
        ending = job(state).ending
        return range(len(ending.small)) if isinstance(ending, Pictures) else (_WAITING,)

    def cell(index: int, state: State) -> w.HTML:
        ended = job(state)
        if not isinstance(pictures := ended.ending, Pictures):
            return kit.html(skeletons(ended.request), "skeletons")
        generation = pictures.generation

        def marks(state: State) -> object:  # prices are those of the account
            return state.marked == (generation.id, index), state.account

        def markup(state: State) -> str:
            again = fee(controller.price(generation.request))
            vary = fee(controller.price_varied(generation.request))
            return card(ended, pictures, index, token, state, (again, vary))

        return kit.text(when(marks, markup), "card")

    head = kit.text(lambda state: job_head(job(state), state), "job-head")
    grid = kit.box(classes=("grid", f"grid-{min(job(state).request.count, 4)}"))
    kit.bind(grid, children=kit.each(indices, cell))
    return kit.box(head, grid, classes=("job",))


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
        return "The seed is not known: asks for a new picture with the same settings"
    return f"The same settings with seed {seed}"


def compared(*both: GeneratedImage) -> str:
    found = differences(*map(asked, both)).items()
    words = (f"{head}: {', '.join(names)}" for head, names in found)
    return " · ".join(("A and B", *words)).replace("_", " ")


def _opening(image: GeneratedImage, small: Preview | None, key: dict[str, Any]) -> str:
    if small is None:
        return tag("div", "There is no preview of this picture.", class_="imagen-gone")
    seed = image.provenance.seed
    facts = f"{image.width} x {image.height} · {excerpt(image.alt)}"
    return act(
        "",
        "large",
        picture(small, image.alt),
        class_="imagen-open",
        aria_label=f"Open large: {excerpt(image.alt)}",
        data_facts=facts if seed is None else f"seed {seed} · {facts}",
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
        parts.append(tag("pre", escape(text), tabindex=0, role="region", aria_label=name))
    box = {"popover": "auto", "id_": place, "class_": "imagen-code", "role": "dialog"}
    return opens + tag("div", *parts, aria_label="These settings as code", **box)


def _origin(generation: Generation) -> str:
    mask = generation.inputs[-1] if generation.request.has_mask else None
    parts = [
        act(given.origin or "an earlier picture", "show", id_=given.source_id)
        if given.source_id
        else tag("span", "a mask" if given is mask else escape(given.origin or "a picture"))
        for given in generation.inputs
    ]
    return tag("div", "from: ", " + ".join(parts), class_="imagen-from") if parts else ""


PICK = tag("span", "To pick a picture, press Edit below it: it becomes the input.", role="status")
_STARS = [("any", 0), ("rated", 1), *((f"{n} or more", n) for n in range(2, 5)), ("5", 5)]
_SORTS = [("newest first", "newest"), ("oldest first", "oldest"), ("best first", "rating")]


def history(
    kit: Kit, controller: Controller, *, save: Callable[[], None], compare: Callable[[], None]
) -> w.Box:
    """Return the page of earlier generations; `save` and `compare` are for the ticked ones."""

    def entry(entry_id: str, _: State) -> w.HTML:
        def facts(state: State) -> tuple[Entry, bool, object]:  # prices are those of the account
            past = state.past
            return past.entries[entry_id], entry_id in past.selected, state.account

        def markup(state: State) -> str:
            shown, ticked, _ = facts(state)
            return entry_card(shown, ticked, fee(controller.price(shown.generation.request)))

        return kit.text(when(facts, markup), "card", "entry")

    grid = kit.box(classes=("entries",))
    kit.bind(grid, children=kit.each(attrgetter("past.entries"), entry))
    older = kit.button("", "quiet", "older", does=controller.older, shown=attrgetter("past.cursor"))
    kit.bind(
        older,
        disabled=attrgetter("past.loading"),
        description=lambda state: "Loading …" if state.past.loading else "Show more",
    )
    settings = act("Settings from a picture", "upload", arg="settings", icon="upload")
    rows = (
        kit.text(spent, "spent"),
        kit.box(*_filters(kit, controller), classes=("row", "filters")),
        kit.text(lambda state: PICK if state.picking else "", "picking"),
        kit.text(summary, "summary"),
        grid,
        older,
        kit.html(settings, "upload"),
        _bar_below(kit, controller, save, compare),
    )
    classes = ("page", "history")
    return kit.box(*rows, classes=classes, shown=lambda state: state.tab is Tab.HISTORY)


def _filters(kit: Kit, controller: Controller) -> list[w.DOMWidget]:
    def filtering(control: w.DOMWidget, name: str) -> w.DOMWidget:
        on_change(control, lambda value: controller.look(**{name: value}))
        return kit.bind(control, value=attrgetter(f"past.look.{name}"))

    search = w.Text(
        description="Search",
        tooltip="",
        placeholder="words, then Enter",
        continuous_update=False,
        _dom_classes=css("f", "f-search"),
    )
    providers = [("all", ""), *((account.title, name) for name, account in ACCOUNTS.items())]
    lists: dict[str, tuple[str, list[Any]]] = {
        "model": ("Model", []),
        "provider": ("Provider", providers),
        "days": ("Date", list(DAYS)),
        "rating": ("Stars", _STARS),
        "sort": ("Sort", _SORTS),
    }
    controls = [filtering(search, "text")]
    for name, (title, options) in lists.items():
        classes = css("f", "f-filter", f"f-{title.lower()}")
        choice = w.Dropdown(options=options, description=title, tooltip="", _dom_classes=classes)
        if name == "model":
            kit.bind(choice, options=_models)
        controls.append(filtering(choice, name))
    return controls


def _bar_below(
    kit: Kit, controller: Controller, save: Callable[[], None], compare: Callable[[], None]
) -> w.Box:
    """Return what is done with the ticked entries; shown while there are any."""
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
    clear = kit.button("", "quiet", icon="times", tooltip="Close this bar", does=controller.untick)
    parts = (kit.text(bar, "stretch"), packed, two, delete, undo, clear)
    return kit.box(*parts, classes=("bar-below",), shown=bar)


def entry_card(entry: Entry, ticked: bool, again: str) -> str:
    generation = entry.generation
    key: dict[str, Any] = {"id_": generation.id, "index": 0}
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
        found = narrowed if past.entries else f"None of {found} matches."
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
    if state.account.free:
        return ""
    today, month = (dollars(state.spent_in(period)) for period in ("day", "month"))
    parts = [f"Today <b>{today}</b>", f"this month <b>{month}</b>"]
    for limit in state.budget:
        done = state.spent_in(limit.period, limit.scope)
        left = dollars(max(Decimal(0), limit.amount - done))
        each = limit.period + (" for you" if limit.scope == "user" else "")
        cap = f"of <b>{dollars(limit.amount)}</b> a {each}, <b>{left}</b> left"
        label = f"Spent of the cap a {each}"
        meter = tag("progress", max=limit.amount, value=min(done, limit.amount), aria_label=label)
        parts.append(f"{meter} {cap}")
    return tag("div", *(tag("span", part) for part in parts), class_="imagen-money")
