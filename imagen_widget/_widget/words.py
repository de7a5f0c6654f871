"""What the form says, as markup: status parts, money, models, input pictures.

Foreign text enters through `_html.escape` and `_html.tag` only.
"""

from decimal import Decimal
from typing import Any

from imagen_widget._html import escape, tag
from imagen_widget._inputs import Input
from imagen_widget._models import Model, dollars
from imagen_widget._picture import preview
from imagen_widget._widget.gallery import act, excerpt, picture
from imagen_widget._widget.state import JobState, State, Trouble
from imagen_widget.errors import ImagenError

TAGS = ("edit", "mask", "up to 4K", "transparent", "under $0.05")
_THUMB_SIDE_PIXELS = 192
_THUMB_BYTES = 12_000
_small: dict[str, str] = {}  # markup of input pictures by digest; a bounded number
_MAX_SMALL = 64


def chip(state: State) -> str:
    """Return the chip that says where jobs go and whether any run."""
    account, running = state.account, len(state.running)
    if account is None:
        return tag("span", "not ready", class_="imagen-chip imagen-chip-off")
    doing = f"{running} running" if running else "ready"
    if account.free:
        more = tag("span", "no account, no cost", class_="imagen-chip-more")
        text = f"<strong>DEMO</strong> {more} <span>{doing}</span>"
        return tag("span", text, class_="imagen-chip imagen-chip-demo")
    if not state.has_key:
        words = f"{escape(account.name)} · no key"
        return tag("span", words, class_="imagen-chip imagen-chip-off")
    return tag("span", f"{escape(account.name)} · {doing}", class_="imagen-chip")


def price(state: State) -> str:
    """Return the price of pressing Generate, what was spent, and what would stop it."""
    account = state.account
    if account is None:
        return ""
    count, given = state.form.count, len(state.form.pictures) if state.form.max_pictures else 0
    parts = ["1 image" if count == 1 else f"{count} images"]
    parts[0] += f", {given} picture{'' if given == 1 else 's'} in" if given else ""
    if account.free:
        parts.append("<b>free</b>")
    else:
        cost = "price unknown" if state.price is None else f"≈ {dollars(state.price)}"
        caps = {limit.period: f" of {dollars(limit.amount)}" for limit in state.budget}
        today = f"today {dollars(state.today)}{caps.get('day', '')}"
        month = f"this month {dollars(state.month)}{caps.get('month', '')}"
        parts += [f"<b>{cost}</b>", f"{today}, {month}"]
    stop = state.form.blocked or state.warning
    words = tag("span", " · ".join(parts), class_="imagen-price-text")
    return words + (tag("span", escape(stop), class_="imagen-stop") if stop else "")


def about_model(state: State) -> str:
    """Return what there is to say about the model: its id, its end, where its fields are from."""
    model = state.form.model
    said = [tag("code", escape(model.id))]
    if has_ended(model, state):
        said.append(escape(model.status_text))
    if model.source == "none":
        said.append("What it takes is not known; what is given passes as it is.")
    elif model.as_of:
        source = "fields read" if model.source == "fetched" else "fields as"
        said.append(f"{source} of {escape(model.as_of)}")
    return tag("div", " · ".join(said), class_="imagen-hint")


def successor(state: State) -> str:
    """Return the alias to use in place of a model that has ended; empty if none is needed."""
    model, account = state.form.model, state.account
    if not has_ended(model, state):
        return ""
    return model.successor_at(account.name if account is not None else "")


def has_ended(model: Model, state: State) -> bool:
    """Return True if a model is no longer served; the demo serves all of its own."""
    account = state.account
    return model.status != "active" and not (account is not None and account.free)


def trouble(shown: Trouble | None) -> str:
    """Return the inside of the error box."""
    if shown is None:
        return ""
    happened = tag("strong", escape(shown.happened))
    remedy = tag("div", escape(shown.remedy)) if shown.remedy else ""
    return tag("div", happened, remedy, class_="imagen-trouble-text", role="alert")


def again(shown: Trouble) -> str:
    """Return the words of the button in the error box; empty if there is none."""
    if shown.switch_to:
        return f"Use {shown.switch_to}"
    return "Retry" if shown.again is not None else ""


def pending(state: State) -> str:
    """Return the line about the jobs that an earlier kernel left."""
    count = state.pending
    if not count:
        return ""
    free = state.account is not None and state.account.free
    jobs = f"{count} {'' if free else 'paid '}job{'' if count == 1 else 's'}"
    cost = "" if free else ", at no further cost"
    return tag("span", f"{jobs} of an earlier kernel can still be fetched{cost}.")


def progress_bar(job: JobState | None) -> str:
    """Return the bar of a running job; it fills by the model's typical time, in the browser."""
    if job is None or not job.active:
        return ""
    kind = "running" if job.phase == "running" else "waiting"
    fill = tag("i", style=f"--imagen-typical:{job.typical_seconds:g}s")
    look = {"class_": f"imagen-bar imagen-bar-{kind}", "role": "progressbar"}
    return tag("div", fill, aria_label="Generating", **look)


# ------------------------------------------------------------------------------- input pictures


def strip(state: State) -> str:
    """Return the input pictures, what can be done with the ringed one, and where more go."""
    form = state.form
    if not form.max_pictures:
        return ""
    most, there = form.max_pictures, len(form.pictures)
    counted = f"{there} of up to {most}" if most > 1 else "one"
    order = " · drag to change the order" if there > 1 else ""
    optional = "" if form.picture_field is None or form.picture_field.required else ", optional"
    head = tag("div", "<b>Pictures in</b> ", tag("span", f"{counted}{optional}{order}"))
    thumbs = [
        tag(
            "button",
            thumbnail(each),
            tag("span", str(index + 1), class_="imagen-number"),
            tag("span", "mask", class_="imagen-masked") if form.mask and not index else "",
            type_="button",
            class_="imagen-in imagen-ringed" if index == state.active else "imagen-in",
            aria_pressed=str(index == state.active).lower(),
            aria_label=f"Picture {index + 1}: {excerpt(each.origin) or 'no name'}",
            draggable="true",
            data_do="ring",
            data_index=index,
        )
        for index, each in enumerate(form.pictures)
    ]
    drop = act(
        "Drop, paste or choose", "upload", arg="picture", icon="picture-o", class_="imagen-drop"
    )
    look = act("from History", "history")
    kinds = tag("small", "PNG, JPEG or WebP, from disk · Edit on any card · ", look)
    place = tag("div", drop, kinds, class_="imagen-drop-place") if there < most or most == 1 else ""
    row = tag("div", *thumbs, place, class_="imagen-thumbs")
    return head + row + (_chosen(state) if there else "")


def thumbnail(given: Input) -> str:
    """Return an input picture as a small image."""
    key = given.digest or given.url
    if key not in _small:
        if len(_small) >= _MAX_SMALL:
            _small.clear()
        _small[key] = _thumbnail(given)
    return _small[key]


def _thumbnail(given: Input) -> str:
    if given.url:
        return tag("span", "https", class_="imagen-address")
    try:
        small = preview(given.data(), side=_THUMB_SIDE_PIXELS, max_bytes=_THUMB_BYTES)
    except ImagenError:
        return tag("span", "no preview", class_="imagen-address")
    return picture(small, "")


def _chosen(state: State) -> str:
    """Return what can be done with the ringed picture."""
    form, index = state.form, min(state.active, len(state.form.pictures) - 1)
    given = form.pictures[index]
    size = f" · {given.width} x {given.height}" if given.width else ""
    words = f"{index + 1}: {excerpt(given.origin) or 'a picture'}{size}"
    note = f" · {given.note}" if given.note else ""
    acts = []
    if form.takes_mask and given.digest:
        acts.append(
            act("Change the mask" if form.mask else "Paint a mask", "mask", icon="paint-brush")
        )
    if index:
        acts.append(act("Move left", "move", index=index, arg=index - 1))
    if index < len(form.pictures) - 1:
        acts.append(act("Move right", "move", index=index, arg=index + 1))
    acts.append(act("Remove", "remove", index=index, icon="times"))
    return tag("div", tag("span", escape(words + note)), *acts, class_="imagen-chosen")


# ---------------------------------------------------------------------------- the list of models


def model_row(model: Model, state: State) -> dict[str, Any]:
    """Return what the chooser shows of a model."""
    amount, unit = price_words(model)
    row: dict[str, Any] = {
        "id": model.id,
        "alias": model.alias,
        "name": model.title or model.name,
        "tags": tags_of(model),
        "price": amount,
        "unit": unit,
        "status": model.status if has_ended(model, state) else "",
        "note": model.note,
    }
    account = state.account.name if state.account is not None else ""
    alias = model.successor_at(account) if has_ended(model, state) else ""
    instead = next((m for m in state.models if alias and alias in (m.alias, m.id)), None)
    if instead is not None:
        row["successor"] = {"id": instead.id, "name": instead.title or instead.name}
    return row


def price_words(model: Model) -> tuple[str, str]:
    """Return a model's price and its unit: `from $0.08`, `a picture`."""
    price = model.price
    if price is None:
        return "", "price unknown" if model.status == "active" else "no longer sold"
    amounts = [price.amount] if price.amount is not None else [n for _, n in price.table]
    least = dollars(min(amounts))
    varies = price.amount is None or price.factors or price.extras or price.further is not None
    return (f"from {least}" if varies else least), f"a {price.per}"


def tags_of(model: Model) -> list[str]:
    """Return what a model can do, in words to look for."""
    values = {str(word) for field in model.fields for word in field.allowed}
    found = {
        "edit": model.role("picture") is not None or bool(model.edits_with),
        "mask": model.role("mask") is not None,
        "up to 4K": bool(values & {"4K", "4k", "auto_4K"}),
        "transparent": "transparent" in values,
        "under $0.05": _is_cheap(model),
    }
    return [tag for tag, is_so in found.items() if is_so]


def prices_as_of(state: State) -> str:
    """Return the month that the newest list prices are from."""
    dates = [model.as_of for model in state.models if model.source == "bundled" and model.as_of]
    return f"prices of {max(dates)[:7]}" if dates else ""


def _is_cheap(model: Model) -> bool:
    amount = model.price.amount if model.price is not None else None
    return amount is not None and amount < Decimal("0.05")
