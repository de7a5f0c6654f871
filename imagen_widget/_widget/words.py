"""What the form says, as markup: status parts, money, models, input pictures.

Clicks on markup go to the kernel by the script layer, as `data-do` says. Foreign text enters
through `_html.escape` and `_html.tag` only.
"""

from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from typing import Any

from imagen_widget._html import escape, image, tag
from imagen_widget._inputs import Input
from imagen_widget._models import Model, dollars
from imagen_widget._picture import Preview, preview
from imagen_widget._result import cost_text
from imagen_widget._runs import Phase
from imagen_widget._widget.state import NOT_SENT, Pictures, State, Trouble
from imagen_widget.errors import ImagenError, one_line, plural

TAGS = ("edit", "mask", "up to 4K", "transparent", "under $0.05")
_MAX_THUMBNAILS = 64
_thumbnails: dict[str, str] = {}  # markup of input pictures by digest
excerpt = partial(one_line, limit=140)


def act(words: str, do: str, *inside: str, icon: str = "", **more: object) -> str:
    picture = tag("i", class_=f"fa fa-{icon}", aria_hidden="true") if icon else ""
    said = tag("span", escape(words)) if icon and words else escape(words)
    data = {f"data_{name}": more.pop(name) for name in ("id_", "index", "arg") if name in more}
    look = {"type_": "button", "class_": "imagen-link", "data_do": do, **data, **more}
    return tag("button", picture, said, *inside, **look)


def fee(cost: Decimal | None) -> str:
    """Return what a click costs, as it stands on its button; nothing if it is free."""
    return "" if cost == 0 else tag("span", f"· {cost_text(cost)}", class_="imagen-fee")


def picture(shown: Preview, alt: str) -> str:
    size = {"width": shown.width, "height": shown.height}
    return image(shown.data, shown.media_type, alt=alt, **size)


def chip(state: State) -> str:
    account, running = state.account, len(state.running)
    doing, look = f"{running} running" if running else "ready", ""
    if account.free:
        more = tag("span", "no account, no cost", class_="imagen-chip-more")
        words, look = f"<strong>DEMO</strong> {more} <span>{doing}</span>", " imagen-chip-demo"
    elif state.has_key:
        words = f"{escape(account.name)} · {doing}"
    else:
        words, look = f"{escape(account.name)} · no key", " imagen-chip-off"
    return tag("span", words, class_=f"imagen-chip{look}")


def price(state: State, amount: Decimal | None) -> str:
    """Return what pressing Generate now is expected to cost, and what was spent."""
    form, parts = state.form, [plural(state.form.count, "picture")]
    if form.pictures and form.max_pictures:
        parts[0] += f", {plural(len(form.pictures), 'input')}"
    if state.account.free:
        parts.append("<b>free</b>")
    else:
        cost = "price unknown" if amount is None else f"≈ {dollars(amount)}"
        parts += [f"<b>{cost}</b>", ", ".join(_spent(state))]
    stop = form.blocked or state.warning(amount)
    words = tag("span", " · ".join(parts), class_="imagen-price-text")
    return words + (tag("span", escape(stop), class_="imagen-stop") if stop else "")


def _spent(state: State) -> Iterator[str]:
    caps = {f"{cap.scope} {cap.period}": f" of {dollars(cap.amount)}" for cap in state.budget}
    for scope, whose in (("all", ""), ("user", "yours ")):
        for period, when in (("day", "today"), ("month", "this month")):
            cap = caps.get(f"{scope} {period}", "")
            if scope == "all" or cap:
                yield f"{whose}{when} {dollars(state.spent_in(period, scope))}{cap}"


def trouble(state: State) -> str:
    if (shown := state.trouble) is None:
        return ""
    happened = tag("strong", escape(shown.happened))
    remedy = tag("div", escape(shown.remedy)) if shown.remedy else ""
    return tag("div", happened, remedy, class_="imagen-trouble-text", role="alert")


def pending(state: State) -> str:
    jobs = plural(state.pending, "job" if state.account.free else "paid job")
    cost = "" if state.account.free else ", at no further cost"
    return tag("span", f"{jobs} of an earlier kernel can still be fetched{cost}.")


def marks(state: State) -> list[str]:
    """Return the CSS classes of the status line."""
    ending = state.headline.ending if state.headline is not None else None
    found = {
        "busy": state.running,
        "done": isinstance(ending, Pictures) and state.trouble is None,
        "failed": isinstance(ending, Trouble) or state.status == NOT_SENT,
    }
    return [name for name, is_so in found.items() if is_so]


def progress_bar(state: State) -> str:
    """Return the bar of a running job; it fills by the model's typical time, in the browser."""
    job = state.headline
    if job is None or not job.active:
        return ""
    kind = "running" if job.phase is Phase.RUNNING else "waiting"
    fill = tag("i", style=f"--imagen-typical:{job.typical_seconds:g}s")
    look = {"class_": f"imagen-bar imagen-bar-{kind}", "role": "progressbar"}
    return tag("div", fill, aria_label="Generating", **look)


def strip(state: State) -> str:
    form, ringed = state.form, state.ringed
    allowed, there = form.max_pictures, len(form.pictures)
    if not allowed:
        return ""
    field = form.model.role("picture")
    title = "Input picture" if allowed == 1 else "Input pictures"
    counted = f"{there} of up to {allowed}" if allowed > 1 else "one"
    counted += "" if field is None or field.required else ", optional"
    counted = f"({counted})" + (" · drag to change the order" if there > 1 else "")
    head = tag("div", f"<b>{title}</b> ", tag("span", counted))
    masked = tag("span", "mask", class_="imagen-masked")
    thumbs = [
        tag(
            "button",
            _thumbnail(each),
            tag("span", str(index + 1), class_="imagen-number"),
            masked if (form.mask and not index) or each.key in form.masks else "",
            type_="button",
            class_="imagen-in imagen-ringed" if index == ringed else "imagen-in",
            aria_pressed=str(index == ringed).lower(),
            aria_label=f"Picture {index + 1}: {excerpt(each.origin) or 'no name'}",
            draggable="true",
            data_do="ring",
            data_index=index,
        )
        for index, each in enumerate(form.pictures)
    ]
    place = ""
    if there < allowed or allowed == 1:
        look = {"icon": "picture-o", "class_": "imagen-drop"}
        drop = act("Drop, paste or choose", "upload", arg="picture", **look)
        history = act("pick from History", "history")
        kinds = tag("small", "PNG, JPEG or WebP, from disk · Edit on any card, or ", history)
        place = tag("div", drop, kinds, class_="imagen-drop-place")
    row = tag("div", *thumbs, place, class_="imagen-thumbs")
    return head + row + (_chosen(state) if there else "")


def painter(state: State) -> str:
    """Return where the script layer opens the painter; another first picture closes it."""
    first = next(iter(state.form.pictures), None)
    return "" if first is None else f"<!-- {escape(first.digest)} -->"


def _chosen(state: State) -> str:
    form, index = state.form, state.ringed
    given = form.pictures[index]
    size = f"{given.width} x {given.height}" if given.width else ""
    facts = (f"{index + 1}: {excerpt(given.origin) or 'a picture'}", size, given.note)
    acts = [tag("span", escape(" · ".join(filter(None, facts))))]
    if given.source_id:
        acts.append(act("Show its card", "show", id_=given.source_id, icon="history"))
    if form.takes_mask and form.pictures[0].digest:
        mask = "Change the mask" if form.mask else "Paint a mask"
        acts.append(act(mask, "mask", icon="paint-brush"))
    if index:
        acts.append(act("Move left", "move", index=index, arg=index - 1))
    if index < len(form.pictures) - 1:
        acts.append(act("Move right", "move", index=index, arg=index + 1))
    acts.append(act("Remove", "remove", index=index, arg=given.key, icon="times"))
    return tag("div", *acts, class_="imagen-chosen")


def _thumbnail(given: Input) -> str:
    if given.url:
        return tag("span", "https", class_="imagen-address")
    if given.digest not in _thumbnails:
        if len(_thumbnails) >= _MAX_THUMBNAILS:
            _thumbnails.clear()
        try:
            small = preview(given.data(), side=192, max_bytes=12_000)
        except ImagenError:
            return tag("span", "no preview", class_="imagen-address")
        _thumbnails[given.digest] = picture(small, "")
    return _thumbnails[given.digest]


def about_model(state: State) -> str:
    model = state.form.model
    said = [tag("code", escape(model.id))]
    if _has_ended(state, model):
        said.append(escape(model.at(state.account.name).status_text))
    if model.source == "none":
        said.append("Its fields are unknown, so yours are sent unchecked.")
    elif model.as_of:
        source = "fields read" if model.source == "fetched" else "fields as"
        said.append(f"{source} of {escape(model.as_of)}")
    return tag("div", " · ".join(said), class_="imagen-hint")


def successor(state: State, model: Model | None = None) -> str:
    """Return the alias to use in place of a model, by default the form's, that has ended."""
    ended = model or state.form.model
    if state.trouble is not None and state.trouble.gone[0] == ended.id:
        return state.trouble.gone[1]
    return ended.successor_at(state.account.name) if _has_ended(state, ended) else ""


def _has_ended(state: State, model: Model) -> bool:
    """Return True if a model is no longer served; the demo serves all of its own."""
    return model.status != "active" and not state.account.free


def model_row(model: Model, state: State) -> dict[str, Any]:
    amount, unit = ("free", "") if state.account.free else _price_words(model, state)
    tags = [word for word in _tags(model) if not (state.account.free and "$" in word)]
    row: dict[str, Any] = {
        "id": model.id,
        "name": model.title or model.name,
        "tags": tags,
        "text": " ".join([model.id, model.title or model.name, model.alias, *tags]).lower(),
        "price": amount,
        "unit": unit,
        "status": model.status if _has_ended(state, model) else "",
        "note": model.note,
    }
    alias = successor(state, model)
    instead = next((m for m in state.models if alias and alias in (m.alias, m.id)), None)
    if instead is not None:
        row["successor"] = {"id": instead.id, "name": instead.title or instead.name}
    return row


def chooser(state: State) -> dict[str, Any]:
    """Return the models to choose from, what they can be narrowed by, and how many there are."""
    rows = [model_row(model, state) for model in state.models]
    tags = [tag for tag in TAGS if any(tag in row["tags"] for row in rows)]
    said = [f"{len(state.models)} models"]
    dates = [model.as_of for model in state.models if model.source == "bundled" and model.as_of]
    if state.account.free:
        said.append("no cost on the demo")
    elif dates:
        said.append(f"prices of {max(dates)[:7]}")
    return {"models": rows, "tags": tags, "total": " · ".join(said)}


def _price_words(model: Model, state: State) -> tuple[str, str]:
    """Return a model's price and its unit: `from $0.08`, `a picture`."""
    price, yours = model.price, state.prices.for_model(model.id, model.alias)
    if yours is not None:
        return dollars(yours), "a picture"
    if price is None:
        return "", "price unknown" if model.status == "active" else "no longer sold"
    amounts = [price.amount] if price.amount is not None else [n for _, n in price.table]
    varies = price.amount is None or price.factors or price.extras or price.further is not None
    return f"{'from ' if varies else ''}{dollars(min(amounts))}", f"a {price.per}"


def _tags(model: Model) -> list[str]:
    values = {str(word) for field in model.fields for word in field.allowed}
    amount = model.price.amount if model.price is not None else None
    found = (
        model.role("picture") is not None,
        model.role("mask") is not None,
        bool(values & {"4K", "4k", "auto_4K"}),
        "transparent" in values,
        amount is not None and amount < Decimal("0.05"),
    )
    return [tag for tag, is_so in zip(TAGS, found, strict=True) if is_so]
