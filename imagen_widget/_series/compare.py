"""Two pictures compared: a slider between them, or side by side, and what differs.

Without a kernel and without a script: a range input moves the line by CSS alone (its thumb's place
is the timeline of an animation); browsers that cannot do this get an edge to drag.
"""

import base64
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from imagen_widget._html import attributes, escape, image, tag
from imagen_widget._models import short_name
from imagen_widget._picture import contact_sheet
from imagen_widget._result import GeneratedImage, Generation, cost_text
from imagen_widget._series.layout import Row
from imagen_widget._series.parts import OWN_KEYS, Tiles, axes_text, card, head, key_text, stars
from imagen_widget.errors import InvalidRequest, one_line

SIDE_PIXELS = 1_600
MAX_BYTES = 280_000  # of each picture

_MAX_VALUE = 40  # characters


def find_row(rows: Iterable[Row], what: Any) -> Any:
    """Return the row that a key, a position, partial axes, a row or a generation names.

    Raises:
        InvalidRequest: There is none, or it has no picture.
    """
    every = list(rows)
    found = next((shown for number, shown in enumerate(every) if _is(shown, number, what)), None)
    if isinstance(what, int) and -len(every) <= what < 0:
        found = every[what]
    if found is None:
        raise InvalidRequest(
            f"There is no row {one_line(repr(what), limit=60)}.",
            remedy="Give a position, a key, a dict of axes, a row of .rows, or a generation.",
        )
    if not found.generation:
        raise InvalidRequest(
            f"The row {key_text(found.key)!r} has no picture: it is {found.state}.",
            remedy="Choose one that is done.",
        )
    return found


def _is(shown: Row, number: int, what: Any) -> bool:
    match what:
        case bool():
            return False
        case int():
            return number == what
        case str():
            return what in {shown.key, key_text(shown.key)}
        case Mapping():
            return bool(what) and all(shown.axes.get(name) == v for name, v in what.items())
        case Generation():
            return shown.generation is not None and shown.generation.id == what.id
        case GeneratedImage():
            return any(what.path == picture.path for picture in shown.generation or ())
    return getattr(what, "key", None) == shown.key


def compare(a: Row, b: Row, *, tiles: Tiles | None = None) -> "Compared":
    """Return two rows' first pictures with a slider between them."""
    return Compared(a, b, tiles or Tiles())


class Compared:
    """Two pictures that display themselves with a slider between them."""

    def __init__(self, a: Row, b: Row, tiles: Tiles) -> None:
        self._a, self._b, self._tiles = a, b, tiles

    def __repr__(self) -> str:
        return f"<Compared: {key_text(self._a.key)} | {key_text(self._b.key)}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        bundle = {"text/plain": repr(self), "text/html": self._html()}
        pair = [self._tiles.make(_first(row), SIDE_PIXELS, MAX_BYTES) for row in (self._a, self._b)]
        shown = [picture for picture in pair if picture is not None]
        if shown:  # PDF and LaTeX show this
            bundle["image/jpeg"] = base64.b64encode(contact_sheet(shown)).decode()
        return bundle

    def _html(self) -> str:
        first = _first(self._a)
        shape = first.width / first.height if first.width and first.height else 1.0
        view = stage(self._picture(self._a, "A"), self._picture(self._b, "B"))
        facts = tag("div", self._facts(self._a, "A"), self._facts(self._b, "B"), class_="ims-pair")
        return card(
            head("Compare", self._about(), icon="compare"),
            _tools(),
            view,
            facts,
            self._differences(),
            parts=("compare",),
            kind="compare",
            style=f"--shape:{shape:.4f}",
        )

    def _about(self) -> str:
        prompts = {self._a.request.prompt, self._b.request.prompt}
        if len(prompts) == 1:
            return one_line(prompts.pop() or "", limit=120)
        return f"{key_text(self._a.key)} and {key_text(self._b.key)}"

    def _picture(self, row: Row, letter: str) -> str:
        small = self._tiles.make(_first(row), SIDE_PIXELS, MAX_BYTES)
        if small is None:
            return tag("div", "This picture cannot be shown.")
        alt = f"{letter}: {axes_text(row.axes) or _first(row).alt or 'picture'}"
        return image(small.data, small.media_type, alt=alt)

    def _facts(self, row: Row, letter: str) -> str:
        made = row.generation
        assert made is not None
        picture = _first(row)
        facts = [f"seed {made.seed}"] if made.seed is not None else []
        facts.append(f"{picture.width} × {picture.height}")
        facts += [cost_text(made.cost)] if made.cost else []
        words = tag(
            "div",
            tag("b", escape(short_name(made.model))),
            tag("div", escape(" · ".join(facts)), class_="ims-muted"),
        )
        return tag("div", tag("i", letter), words, tag("span", stars(row.rating)))

    def _differences(self) -> str:
        one, other = _asked(self._a), _asked(self._b)
        names = list(dict.fromkeys([*one, *other]))
        parts = {True: ["<b>Different</b>"], False: ["<b>The same</b>"]}
        for name in names:
            values = one.get(name, "not given"), other.get(name, "not given")
            differs = values[0] != values[1]
            shown = " | ".join(values) if differs else values[0]
            text = f"{name} {shown}" if len(shown) <= _MAX_VALUE else name
            parts[differs].append(tag("span", escape(text), class_="ims-tag"))
        return "".join(tag("div", *p, class_="ims-differ") for p in parts.values() if len(p) > 1)


def stage(first: str, second: str) -> str:
    """Return two pictures' markup with the line between them that the range input moves."""
    pair = (
        tag("div", markup, f'<span class="ims-letter" aria-hidden="true">{letter}</span>', class_=c)
        for markup, letter, c in ((first, "A", "ims-top"), (second, "B", "ims-under"))
    )
    split = (
        f'<input type="range" class="ims-split" style="display:none" min="0" max="100" step="1" '
        f'value="50" aria-label="How much of each picture is shown" {OWN_KEYS}>'
    )
    both = tag("div", *pair, split, class_="ims-stage")
    region = f'role="region" aria-label="Both pictures" {OWN_KEYS}'
    return f'<div class="ims-view" tabindex="0" {region}>{both}</div>'


def _tools() -> str:
    """Return the radio buttons and the others; each works by the style sheet alone."""
    group = f"ims{secrets.token_hex(4)}"

    def choice(name: str, text: str, family: str, *, on: bool = False) -> str:
        place, only = f"{group}-{name}", "ims-if-slider" if family == "zoom" else None
        kind = "checkbox" if family == "swap" else "radio"
        values = {"id": place, "class_": f"ims-{name}", "name": f"{group}-{family}", "checked": on}
        label = tag("label", text, for_=place, class_=only)
        return f"<input {OWN_KEYS}{attributes(type=kind, **values)}>{label}"

    return tag(
        "div",
        choice("slider", "Slider", "mode", on=True),
        choice("side", "Side by side", "mode"),
        choice("swap", "Swap", "swap"),
        '<hr class="ims-if-slider">',
        choice("fit", "Fit", "zoom", on=True),
        choice("zoom2", "2 ×", "zoom"),
        choice("zoom4", "4 ×", "zoom"),
        f'<button type="button" class="ims-hold ims-if-slider" {OWN_KEYS}>Hold to see the other'
        "</button>",
        class_="ims-tools",
        role="group",
        aria_label="View",
        style="display:none",  # for viewers that drop the style sheet
    )


def _first(row: Row) -> GeneratedImage:
    assert row.generation is not None
    return row.generation[0]


def _asked(row: Row) -> dict[str, str]:
    """Return everything that can make a difference, as text."""
    made = row.generation
    asked: dict[str, object] = {"model": short_name(row.request.model), **row.request.arguments()}
    if made is not None and made.seed is not None:
        asked["seed"] = made.seed
    asked |= {name: value for name, value in row.axes.items() if name not in asked}
    return {name: one_line(str(value), limit=500) for name, value in asked.items()}
