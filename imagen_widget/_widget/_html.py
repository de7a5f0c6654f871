"""The markup of the widget, as strings; foreign text enters through `_html.escape` only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagen_widget._html import data_uri, escape, tag
from imagen_widget._panel._state import Pictures, Trouble
from imagen_widget._result import age, cost_text
from imagen_widget._snippets import as_magic, as_python

if TYPE_CHECKING:
    from imagen_widget._panel._state import Card, HistoryEntry, JobState, PanelState
    from imagen_widget._picture import Preview
    from imagen_widget._request import ImageRequest

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
NO_KERNEL = (
    '<div style="font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;'
    'padding:10px 14px;border:1px solid rgba(128,128,128,.4);border-radius:8px">'
    "<strong>Imagen</strong> · This form needs a running kernel: run the cell again to use it. "
    "Pictures made with it stand below.</div>"
)
_COPY = '<button type="button" class="imagen-copy" data-imagen-copy>Copy</button>'
_LONGEST_ALT = 1_000
_LONGEST_EXCERPT = 140


def chip(state: PanelState) -> str:
    """Return the chip that says where jobs go and whether any run."""
    if not state.provider:
        return tag("span", "not ready", class_="imagen-chip imagen-chip-off")
    running = len(state.active)
    doing = f"{running} running" if running else "ready"
    if state.provider == "demo":
        more = tag("span", "no account, no cost", class_="imagen-chip-more")
        text = f"<strong>DEMO</strong> {more} <span>{doing}</span>"
        return tag("span", text, class_="imagen-chip imagen-chip-demo")
    return tag("span", f"{escape(state.provider)} · {doing}", class_="imagen-chip")


def price(state: PanelState) -> str:
    """Return the price of pressing Generate, in words."""
    if not state.provider:
        return ""
    count = state.form.num_images if state.form.takes("num_images") else 1
    pictures = "1 image" if count == 1 else f"{count} images"
    cost = cost_text(state.price, provider=state.provider)
    about = "≈ " if cost.startswith("$") else ""
    return tag("span", f"{pictures} · <b>{about}{escape(cost)}</b>", class_="imagen-price-text")


def about_model(state: PanelState) -> str:
    """Return what there is to say about the model: its id, its end, its successor."""
    model = state.form.catalogued
    said = [tag("code", escape(state.form.model))]
    if model is not None and model.note:
        said.append(escape(model.note))
    if model is not None and model.successor:
        said.append(f"Successor: {escape(model.successor)}.")
    return tag("div", " ".join(said), class_="imagen-hint")


def trouble(shown: Trouble | None) -> str:
    """Return the inside of the error box."""
    if shown is None:
        return ""
    happened = tag("strong", escape(shown.happened))
    remedy = tag("div", escape(shown.remedy)) if shown.remedy else ""
    return tag("div", happened, remedy, class_="imagen-trouble-text", role="alert")


def pending(count: int) -> str:
    """Return the line about paid jobs of an earlier kernel."""
    if not count:
        return ""
    jobs = "1 paid job" if count == 1 else f"{count} paid jobs"
    return tag("span", f"{jobs} can still be fetched, at no further cost.")


def progress_bar(job: JobState | None) -> str:
    """Return the bar of a running job; it fills by the model's typical time, in the browser."""
    if job is None or not job.active:
        return ""
    model = job.request.catalogued
    seconds = model.typical_seconds if model else 10.0
    kind = "running" if job.phase == "running" else "waiting"
    fill = tag("i", style=f"--imagen-typical:{seconds:g}s")
    return tag(
        "div",
        fill,
        class_=f"imagen-bar imagen-bar-{kind}",
        role="progressbar",
        aria_label="Generating",
    )


def skeletons(request: ImageRequest) -> str:
    """Return one placeholder for each picture that was asked for, in its shape."""
    shape = (request.aspect_ratio or "1:1").replace(":", " / ")
    one = tag("div", class_="imagen-skeleton", style=f"aspect-ratio:{escape(shape)}")
    return one * request.count


def job_line(job: JobState) -> str:
    """Return the head of a job's row: its prompt and how it is doing."""
    doing = job.status
    if isinstance(job.ending, Pictures) and job.ending.earlier:
        doing = f"From history, {age(job.ending.generation.created)}"
    if isinstance(job.ending, Trouble):
        doing = job.ending.happened
    prompt = tag("strong", escape(_excerpt(job.request.prompt)))
    return tag("div", prompt, tag("span", escape(doing)), class_="imagen-job-line")


def card(job: JobState, index: int, shown: Card, *, token: str) -> str:
    """Return a picture that opens large, with its caption."""
    place = f"{token}-{job.number}-{index}"
    title = f"Image {index + 1} of {job.request.count}"
    note = tag("div", escape(shown.saved), class_="imagen-saved") if shown.saved else ""
    return "".join(
        (
            _opening(shown, place),
            tag("div", _caption(job, index, shown), class_="imagen-caption"),
            _lightbox(shown, place, title),
            note,
        )
    )


def code(job: JobState, index: int, *, token: str) -> str:
    """Return a button that shows the settings as code to copy, in a box on top."""
    place = f"{token}-{job.number}-{index}-code"
    opening = tag(
        "button",
        '<span aria-hidden="true">&lt;/&gt;</span>',
        tag("span", "Copy as code", class_="imagen-unseen"),
        type_="button",
        class_="imagen-code-open",
        title="Copy as %imagen or Python",
        popovertarget=place,
    )
    forms = (("As %imagen", as_magic(job.request)), ("As Python", as_python(job.request)))
    parts = "".join(
        tag("div", tag("span", name), _COPY, class_="imagen-code-head")
        + tag("pre", escape(text), tabindex=0, role="region", aria_label=name)
        for name, text in forms
    )
    return opening + tag(
        "div",
        parts,
        popover="auto",
        id_=place,
        class_="imagen-code",
        role="dialog",
        aria_label="These settings as code",
    )


def _opening(shown: Card, place: str) -> str:
    if shown.small is None:
        return tag("div", "The file of this picture is gone.", class_="imagen-gone")
    return tag(
        "button",
        tag("span", "Open large: ", class_="imagen-unseen"),
        _img(shown.small, shown.image.alt),
        type_="button",
        class_="imagen-open",
        popovertarget=f"{place}-large",
    )


def _caption(job: JobState, index: int, shown: Card) -> str:
    image, count = shown.image, job.request.count
    seed = image.provenance.seed
    first = f"{index + 1} of {count}" if count > 1 or seed is None else f"seed {seed}"
    size = f"{image.width} x {image.height}"
    return tag("span", escape(first)) + tag("span", escape(size), class_="imagen-size")


def _lightbox(shown: Card, place: str, title: str) -> str:
    if shown.large is None:
        return ""
    close = tag(
        "button",
        "Close",
        type_="button",
        class_="imagen-close",
        popovertarget=f"{place}-large",
        popovertargetaction="hide",
    )
    words = tag("span", escape(f"{title}: {_excerpt(shown.image.alt)}"))
    bar = tag("div", words, close, class_="imagen-lightbox-bar")
    picture = _img(shown.large, shown.image.alt)
    return tag(
        "div",
        picture,
        bar,
        popover="auto",
        id_=f"{place}-large",
        class_="imagen-lightbox",
        role="dialog",
        aria_label=title,
    )


def history_entry(shown: HistoryEntry) -> str:
    """Return an earlier generation: a small picture, its prompt, when, which model."""
    generation = shown.generation
    count = len(generation)
    picture = (
        _img(shown.small, generation.request.prompt)
        if shown.small is not None
        else tag("div", "The file is gone.", class_="imagen-gone")
    )
    badge = tag("span", f"{count} images", class_="imagen-badge") if count > 1 else ""
    prompt = tag("div", escape(_excerpt(generation.request.prompt)), class_="imagen-entry-prompt")
    cost = cost_text(generation.cost, provider=generation.provider)
    facts = escape(f"{age(generation.created)} · {_short(generation.model)} · {cost}")
    return tag("div", picture, badge, class_="imagen-thumb") + prompt + tag("small", facts)


def history_summary(state: PanelState) -> str:
    """Return the line over the history: what is shown, or why nothing is."""
    page = state.history
    if page.loading and not page.entries:
        return tag("span", "Reading the history…", class_="imagen-hint")
    if page.entries:
        return ""
    text = "No prompt contains that." if page.search else "Nothing here yet: make a picture first."
    return tag("span", text, class_="imagen-hint")


def _short(endpoint: str) -> str:
    from imagen_widget._catalog import short_name

    return short_name(endpoint)


def _img(shown: Preview, alt: str) -> str:
    source = data_uri(shown.data, shown.media_type)
    short = alt if len(alt) <= _LONGEST_ALT else f"{alt[: _LONGEST_ALT - 1]}…"
    return (
        f'<img src="{source}" alt="{escape(short)}" width="{shown.width}" height="{shown.height}">'
    )


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_EXCERPT else f"{line[: _LONGEST_EXCERPT - 1].rstrip()}…"
