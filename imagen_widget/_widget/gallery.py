"""The gallery: a row for each job with its pictures as cards, and the markup of both.

Clicks on markup go to the kernel by the script layer, as `data-do` says. Foreign text enters
through `_html.escape` and `_html.tag` only.
"""

from typing import Any

from imagen_widget._html import data_uri, escape, tag
from imagen_widget._picture import Preview
from imagen_widget._request import ImageRequest, as_magic, as_python
from imagen_widget._result import GeneratedImage, age
from imagen_widget._widget.form import request_shape
from imagen_widget._widget.parts import Kit, assign, mark
from imagen_widget._widget.state import Card, JobState, Pictures, State

MAX_ALT_LETTERS = 1_000
MAX_EXCERPT_LETTERS = 140
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
    """The rows, newest first.

    Attributes:
        box: What holds them.
    """

    def __init__(self, kit: Kit, *, token: str) -> None:
        self._kit, self._token = kit, token
        self._empty = kit.html(EMPTY, "stretch")
        self._earlier = kit.html("", "earlier")
        self._rows: dict[int, _Row] = {}
        self.box = kit.box(self._empty, classes=("jobs",))

    def render(self, state: State, before: State | None) -> None:
        """Show the jobs of a state."""
        same = before is not None and state.marked == before.marked
        if before is not None and same and state.jobs == before.jobs:
            return
        rows = state.rows
        for job in rows:
            if job.number not in self._rows:
                self._rows[job.number] = _Row(self._kit, job, token=self._token)
            self._rows[job.number].render(job, state)
        boxes = tuple(self._rows[job.number].box for job in rows) or (self._empty,)
        shown = sum(isinstance(j.ending, Pictures) and not j.ending.earlier for j in rows)
        hidden = len(state.made) - shown
        jobs = "1 earlier job" if hidden == 1 else f"{hidden} earlier jobs"
        assign(self._earlier, value=f"The pictures of {jobs} are in History." if hidden > 0 else "")
        assign(self.box, children=(*boxes, self._earlier) if hidden > 0 else boxes)
        for number in self._rows.keys() - {job.number for job in rows}:
            self._kit.free(self._rows.pop(number).box)

    def resend(self) -> None:
        """Send the pictures of the newest row once more."""
        self.box.send_state("children")
        if self._rows:
            self._rows[max(self._rows)].resend()

    def close(self) -> None:
        """Free what is not shown now and so hangs on no box."""
        for part in (self._empty, self._earlier):
            self._kit.free(part)


class _Row:
    """One job: a head that is shown among several, then placeholders or cards."""

    def __init__(self, kit: Kit, job: JobState, *, token: str) -> None:
        self._kit, self._token = kit, token
        self._drawn: tuple[object, ...] = ()
        self._head = kit.html("", "job-head")
        waiting = kit.html(skeletons(job.request), "skeletons")
        count = min(job.request.count, 4)
        self._grid = kit.box(waiting, classes=("grid", f"grid-{count}"))
        self.box = kit.box(self._head, self._grid, classes=("job",))

    def render(self, job: JobState, state: State) -> None:
        """Show a job; the status line and the main Cancel are not repeated in its head."""
        assign(self._head, value=job_head(job, state))
        mark(self.box, "job-active", when=job.active)
        key = (job.ending, state.marked)
        if isinstance(job.ending, Pictures) and key != self._drawn:
            self._drawn = key
            cards = [
                card(job, index, each, token=self._token, marked=state.marked)
                for index, each in enumerate(job.ending.cards)
            ]
            self._fill(cards)

    def resend(self) -> None:
        """Send the cards once more."""
        self._grid.send_state("children")
        for each in self._grid.children:
            each.send_state("value")

    def _fill(self, cards: list[str]) -> None:
        old = self._grid.children
        if len(old) == len(cards) and "imagen-card" in old[0]._dom_classes:
            for each, markup in zip(old, cards, strict=True):
                assign(each, value=markup)
            return
        assign(self._grid, children=tuple(self._kit.html(c, "card") for c in cards))
        for each in old:
            self._kit.free(each)


# ------------------------------------------------------------------------------------- markup


def act(words: str, do: str, *, icon: str = "", **more: object) -> str:
    """Return a button whose click the script layer passes on."""
    picture = tag("i", class_=f"fa fa-{icon}", aria_hidden="true") if icon else ""
    said = tag("span", escape(words)) if icon and words else escape(words)
    more = {"class_": "imagen-link", **more}
    named = {f"data_{n}": v for n, v in more.items() if n in ("id_", "index", "arg")}
    rest = {n: v for n, v in more.items() if n not in ("id_", "index", "arg")}
    return tag("button", picture, said, type_="button", data_do=do, **named, **rest)


def skeletons(request: ImageRequest) -> str:
    """Return one placeholder for each picture that was asked for, in its shape."""
    width, height = request_shape(request)
    shape = f"aspect-ratio:{width:g} / {height:g}"
    return tag("div", class_="imagen-skeleton", style=shape) * request.count


def job_head(job: JobState, state: State) -> str:
    """Return the head of a job's row: its prompt, and how it is doing if nothing else says it."""
    if len(state.rows) < 2:
        return ""
    doing = "" if job is state.headline else job.status
    if isinstance(job.ending, Pictures) and job.ending.earlier:
        doing = f"From History, {age(job.ending.generation.created)}"
    words = tag("strong", escape(excerpt(job.request.prompt or job.request.model)))
    line = tag("div", words, tag("span", escape(doing)), class_="imagen-job-line")
    main = state.cancellable
    if not job.active or job.cancelling or (main is not None and main.number == job.number):
        return line
    return line + act("Cancel", "cancel", index=job.number, class_="imagen-small")


def card(
    job: JobState, index: int, shown: Card, *, token: str, marked: tuple[str, int] | None
) -> str:
    """Return a picture that opens large, with its caption and what can be done with it."""
    assert isinstance(job.ending, Pictures)
    generation = job.ending.generation
    key: dict[str, Any] = {"id_": generation.id, "index": index}
    this_marked = marked == (generation.id, index)
    compare = "Choose another picture" if this_marked else "Compare"
    look: dict[str, Any] = {"class_": "imagen-link imagen-icon"}
    use = {"title": "Use settings", "aria_label": "Use settings", **look}
    pressed = str(this_marked).lower()
    compared = {"title": compare, "aria_label": "Compare", "aria_pressed": pressed, **look}
    acts = (
        act("Edit", "edit", icon="pencil", title="Make this picture the input", **key),
        act("Same again", "again", icon="repeat", title=again_words(generation.seed), **key),
        act("Vary", "vary", icon="th-large", title="Four variations with other seeds", **key),
        act("Save", "save", icon="download", title="Save this picture", **key),
        act("", "use", icon="sliders", **use, **key),
        act("", "compare", icon="columns", **compared, **key),
        code(job, index, token=token),
    )
    said = tag("div", escape(shown.said), class_="imagen-saved") if shown.said else ""
    caption = tag("div", _caption(job, index, shown), class_="imagen-caption")
    opens = opening(shown.small, shown.image, key, generation.seed)
    below = tag("div", *acts, class_="imagen-acts")
    return "".join((opens, caption, _origin(generation), below, said))


def again_words(seed: int | None) -> str:
    """Return what Same again does."""
    if seed is None:
        return "No seed is known: asks for a new picture with the same settings"
    return f"The same settings with seed {seed}"


def opening(
    small: Preview | None, image: GeneratedImage, key: dict[str, object], seed: int | None
) -> str:
    """Return a picture as the button that opens it large."""
    if small is None:
        return tag("div", "There is no preview of this picture.", class_="imagen-gone")
    facts = f"{excerpt(image.alt)} · {image.width} x {image.height}"
    return tag(
        "button",
        picture(small, image.alt),
        type_="button",
        class_="imagen-open",
        aria_label=f"Open large: {excerpt(image.alt)}",
        data_do="large",
        data_facts=facts if seed is None else f"{facts} · seed {seed}",
        data_seed=seed,
        data_width=image.width,
        data_height=image.height,
        data_id=key["id_"],
        data_index=key["index"],
    )


def picture(shown: Preview, alt: str) -> str:
    """Return an image that carries its own bytes."""
    short = alt if len(alt) <= MAX_ALT_LETTERS else f"{alt[: MAX_ALT_LETTERS - 1]}…"
    source = data_uri(shown.data, shown.media_type)
    size = f'width="{shown.width}" height="{shown.height}"'
    return f'<img src="{source}" alt="{escape(short)}" {size}>'


def code(job: JobState, index: int, *, token: str) -> str:
    """Return a button that shows the settings as code to copy, in a box on top."""
    place = f"{token}-{job.number}-{index}-code"
    assert isinstance(job.ending, Pictures)
    seed, job_id = job.ending.generation.seed, job.ending.generation.id
    shown = tag("span", "&lt;/&gt;", aria_hidden="true")
    named = {"title": "Copy as code", "aria_label": "Copy as code", "popovertarget": place}
    opens = tag("button", shown, type_="button", class_="imagen-link imagen-code-open", **named)
    forms = (
        ("As %imagen", as_magic(job.request, seed=seed, job_id=job_id)),
        ("As Python", as_python(job.request, seed=seed, job_id=job_id)),
    )
    copy = act("Copy", "copy", class_="imagen-copy")
    parts = "".join(
        tag("div", tag("span", name), copy, class_="imagen-code-head")
        + tag("pre", escape(text), tabindex=0, role="region", aria_label=name)
        for name, text in forms
    )
    box = {"popover": "auto", "id_": place, "class_": "imagen-code", "role": "dialog"}
    return opens + tag("div", parts, aria_label="These settings as code", **box)


def excerpt(text: str) -> str:
    """Return a text on one line, cut if it is long."""
    line = " ".join(text.split())
    if len(line) <= MAX_EXCERPT_LETTERS:
        return line
    return f"{line[: MAX_EXCERPT_LETTERS - 1].rstrip()}…"


def differences(a: GeneratedImage, b: GeneratedImage) -> str:
    """Return what is different and what is the same in two pictures' settings, in one line."""
    sides = []
    for image in (a, b):
        request = image.provenance.request
        sides.append({"model": request.model, **request.arguments(), "seed": image.provenance.seed})
    names = [name for name in {**sides[0], **sides[1]} if any(s.get(name) for s in sides)]
    same = [name for name in names if sides[0].get(name) == sides[1].get(name)]
    parts = {"Different": [name for name in names if name not in same], "The same": same}
    words = [
        f"{head}: {', '.join(p.replace('_', ' ') for p in ps)}" for head, ps in parts.items() if ps
    ]
    return "A and B · " + " · ".join(words)


def _caption(job: JobState, index: int, shown: Card) -> str:
    image, count = shown.image, job.request.count
    seed = image.provenance.seed
    first = f"{index + 1} of {count}" if count > 1 or seed is None else f"seed {seed}"
    size = f"{image.width} x {image.height}"
    return tag("span", escape(first)) + tag("span", escape(size), class_="imagen-size")


def _origin(generation: object) -> str:
    """Return from which pictures this one was made."""
    parts = []
    for given in getattr(generation, "inputs", ()):
        if given.source_id:
            parts.append(act(given.origin or "an earlier picture", "go", arg=given.source_id))
        else:
            parts.append(tag("span", escape(given.origin or "a picture")))
    return tag("div", "from: ", ", ".join(parts), class_="imagen-from") if parts else ""
