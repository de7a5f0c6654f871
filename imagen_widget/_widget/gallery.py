"""The gallery: a row for each job with its pictures as cards, and the markup of both."""

from typing import Any

from imagen_widget._html import escape, tag
from imagen_widget._picture import Preview
from imagen_widget._request import ImageRequest, as_code
from imagen_widget._result import GeneratedImage, Generation, age
from imagen_widget._widget.controls import Kit, assign
from imagen_widget._widget.form import request_shape
from imagen_widget._widget.state import JobState, Pictures, State
from imagen_widget._widget.words import act, excerpt, picture, plural

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
    def __init__(self, kit: Kit, *, token: str) -> None:
        self._kit, self._token = kit, token
        self._first = kit.text(lambda state: "" if state.rows else EMPTY, "stretch")
        self._last = kit.text(earlier, "earlier")
        self._rows: dict[int, _Row] = {}
        self.box = kit.box(classes=("jobs",))

    def render(self, state: State, before: State | None) -> None:
        if before is not None and (before.jobs, before.marked) == (state.jobs, state.marked):
            return
        numbers = [job.number for job in state.rows]
        for job in state.rows:
            if job.number not in self._rows:
                self._rows[job.number] = _Row(self._kit, job, token=self._token)
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


class _Row:
    def __init__(self, kit: Kit, job: JobState, *, token: str) -> None:
        self._kit, self._token = kit, token
        self._drawn: object = None
        self._head = kit.html("", "job-head")
        waiting = kit.html(skeletons(job.request), "skeletons")
        self.grid = kit.box(waiting, classes=("grid", f"grid-{min(job.request.count, 4)}"))
        self.box = kit.box(self._head, self.grid, classes=("job",))

    def render(self, job: JobState, state: State) -> None:
        assign(self._head, value=job_head(job, state))
        key = (job.ending, state.marked)
        if not isinstance(job.ending, Pictures) or key == self._drawn:
            return
        shown = [
            card(job, job.ending, index, self._token, state)
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


def card(job: JobState, shown: Pictures, index: int, token: str, state: State) -> str:
    generation = shown.generation
    key: dict[str, Any] = {"id_": generation.id, "index": index}
    is_marked = state.marked == (generation.id, index)
    icon: dict[str, Any] = {"class_": "imagen-link imagen-icon", **key}
    pressed = {"aria_label": "Compare", "aria_pressed": str(is_marked).lower(), **icon}
    compare = "Now choose a second picture to compare." if is_marked else "Compare"
    acts = (
        act("Edit", "edit", icon="pencil", title="Make this picture the input", **key),
        act("Same again", "again", icon="repeat", title=again_words(generation.seed), **key),
        act("Vary", "vary", icon="th-large", title="Four variations with other seeds", **key),
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
    arguments = generation.request.arguments().items()
    masks = [value for name, value in arguments if "mask" in name]
    parts = [
        act(given.origin or "an earlier picture", "go", arg=given.source_id)
        if given.source_id
        else tag("span", "a mask" if given.key in masks else escape(given.origin or "a picture"))
        for given in generation.inputs
    ]
    return tag("div", "from: ", ", ".join(parts), class_="imagen-from") if parts else ""
