"""What the views of a series share: rows and how they lie in a table, markup, small pictures.

Foreign text becomes markup through `_html.escape` only. No view needs a script or a kernel, so that
a saved notebook shows what it showed when it was run.
"""

import contextlib
import functools
import json
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from imagen_widget import _picture
from imagen_widget._html import NO_FORMULAS, escape, in_ascii, tag
from imagen_widget._inputs import local
from imagen_widget._models import Field, short_name
from imagen_widget._picture import Preview
from imagen_widget._request import ImageRequest
from imagen_widget._result import GeneratedImage, Generation
from imagen_widget._store import THUMBNAIL_SIDE_PIXELS, Store
from imagen_widget.errors import ImagenError, InvalidRequest, invalid, one_line, shown

MAX_KEPT_BYTES = 16_000_000
TILE = (112, 2_300)  # pixels and bytes of a tile in the live view: its card stays below 60 kB
REJECTED = -1  # the rating of a row that was looked at and not wanted

# On everything that can have the focus, else JupyterLab takes its keys: X would cut the cell.
OWN_KEYS = 'data-lm-suppress-shortcuts="true"'

_SAME = {"key", "prompt", "model", "seed"}  # columns that may be named as what they are used for
MARK = '<i class="ims-mark" aria-hidden="true">!</i>'
_ICONS = {
    "series": '<path d="m12 3 9 5-9 5-9-5z"/><path d="m3 13 9 5 9-5"/>',
    "compare": '<rect x="3" y="5" width="18" height="14" rx="2"/><path d="M12 2v20"/>',
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a series.

    Attributes:
        key: Identifies it in its series.
        axes: The values that make it differ from the others.
        request: What is asked.
        state: `waiting`, `sent`, `done`, `failed`, `refused` or `unknown`.
        error: What went wrong, in one line; None if nothing did.
        rating: Its stars, 0 to 5; -1 if it was rejected.
        generation: What it brought; None as long as it is not done.
        billed: Whether the provider may charge for it.
    """

    key: str
    axes: dict[str, Any] = field(hash=False)
    request: ImageRequest
    state: str = "waiting"
    error: str | None = None
    rating: int = 0
    generation: Generation | None = None
    billed: bool = False

    def __repr__(self) -> str:
        why = f", {one_line(self.error, limit=120)}" if self.error else ""
        return in_ascii(f"<Row {self.label}: {self.state}{why}>")

    @property
    def images(self) -> tuple[GeneratedImage, ...]:
        """Its pictures; none as long as it is not done."""
        return () if self.generation is None else self.generation.images

    @property
    def label(self) -> str:
        """Its key for people."""
        return key_text(self.key, self.axes)


Table = dict[str, dict[str, list[Row]]]  # by the headings at the side, then by those along the top


class Layout:
    """The rows with the axes that head their table: `row` down the side, `col` along the top.

    Axes whose values hardly repeat (a title, a key) head no table.

    Attributes:
        values: The values of each axis, in the order in which they come.
        tables: The rows by their places, as `place` returns them.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        *,
        row: str | None = None,
        col: str | None = None,
        facet: str | None = None,
        fill: bool = True,
    ) -> None:
        """Lay them out; with `fill`, axes not given are the first ones whose values repeat."""
        self.rows = every = list(rows)
        names = dict.fromkeys(name for each in every for name in each.axes)
        values = {n: list(dict.fromkeys(_value(each, n) for each in every)) for n in names}
        row, col, facet = (None if name is None else str(name) for name in (row, col, facet))
        given = [name for name in (row, col, facet) if name is not None]
        for number, name in enumerate(given):
            if name not in values or name in given[:number]:
                why = "named twice" if name in values else "not an axis of the series"
                raise invalid(name, f"it is {why}", f"The axes are: {', '.join(values) or 'none'}.")
        free = [n for n in values if n not in given and 1 < len(values[n]) <= len(every) / 2]
        self.row = row or (free.pop(0) if free and fill else None)
        self.col = col or (free.pop(0) if free and fill else None)
        self.facet, self.values = facet, values
        self.tables: dict[str, Table] = {}
        for each in every:
            page, side, top = self.place(each)
            cells = self.tables.setdefault(page, {}).setdefault(side, {})
            cells.setdefault(top, []).append(each)

    def place(self, of: Row) -> tuple[str, str, str]:
        return _value(of, self.facet), _value(of, self.row), _value(of, self.col)

    def rest(self, of: Row) -> str:
        """Return what the headings do not say of a row: its values of the other axes that vary."""
        same = (name for name, found in self.values.items() if len(found) < 2)
        return axes_text(of.axes, self.row, self.col, self.facet, *same)


def _value(of: Row, axis: str | None) -> str:
    return str(of.axes.get(axis, "")) if axis else ""


# ---------------------------------------------------------------------------------- words and marks


def heading(axis: str | None, value: Any) -> Any:
    """Return a value as it stands over a column or before a row."""
    return short_name(value) if axis == "model" else value


def axes_text(axes: dict[str, Any], *without: str | None) -> str:
    said = []
    for name, value in axes.items():
        if name not in without:
            text = heading(name, value)
            said.append(one_line(text, limit=60) if isinstance(text, str) else f"{name} {text}")
    return ", ".join(said)


def axes_beside(facts: Mapping[str, Any], axes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the axes as columns beside the facts of a row: `axis_cost` if there is a `cost`.

    An axis that says the same as the fact of its name is left out.
    """
    named = {}
    for name, value in axes.items():
        if name not in facts:
            named[name] = value
        elif name not in _SAME or str(heading(name, value)) != str(heading(name, facts[name])):
            named[f"axis_{name}"] = value
    return named


def key_text(key: str, axes: dict[str, Any] | None = None) -> str:
    """Return a row's key for people; one that is made of axes as their values, in their order."""
    text, _, number = key.partition(" #")
    try:
        known = json.loads(text)
    except ValueError:
        known = None
    said = axes_text(axes or known) if isinstance(known, dict) else text
    return one_line(f"{said} #{number}" if number else said, limit=80)


def reason(error: str | None) -> str:
    """Return why a row failed, without the name of the error's class."""
    return re.sub(r"^\w+: ", "", error or "no reason is known")


def stars(rating: int) -> str:
    """Return a rating as stars; words if there are none."""
    if rating <= 0:
        return "rejected" if rating == REJECTED else "not rated"
    text = "★" * rating + "☆" * (5 - rating)
    name = f"{rating} of 5 stars"
    return tag("span", text, class_="ims-stars", role="img", aria_label=name, style=f"--n:{rating}")


@functools.cache
def style(*parts: str) -> str:
    """Return the style sheet of some parts of `style.css`, without comments and line ends."""
    text = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    named = dict(re.findall(r"/\* @(\w+) \*/(.*?)(?=/\* @|\Z)", text, re.DOTALL))
    chosen = "".join(named[part] for part in parts)
    return re.sub(r"\s*([{};,])\s+", r"\1", re.sub(r"/\*.*?\*/", "", chosen)).strip()


def card(part: str, *children: str, class_: str = "", **values: object) -> str:
    """Return the frame of a view with its part of the style sheet."""
    names = f"ims ims-{part} {NO_FORMULAS}{class_}"
    return tag(
        "div", f"<style>{style('theme', 'base', part)}</style>", *children, class_=names, **values
    )


def head(title: str, about: str, *more: str, icon: str = "series") -> str:
    drawn = (
        f'<svg viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor" '
        f'stroke-width="1.8" stroke-linejoin="round">{_ICONS[icon]}</svg>'
    )
    logo = tag("span", drawn, class_="ims-logo", aria_hidden="true")
    words = (
        f'<div><div class="ims-title">{escape(title)}</div>'
        f'<div class="ims-about">{escape(about)}</div></div>'
    )
    return tag("div", logo, words, *more, class_="ims-head")


def bar(counts: Mapping[str, int], **values: object) -> str:
    """Return a bar of segments, one for each state, as wide as its count."""
    parts = (f'<i class="ims-{state}" style="flex:{n}"></i>' for state, n in counts.items())
    return tag("div", *parts, class_="ims-bar", **values)


def foot(*texts: str) -> str:
    return tag("div", *(tag("span", escape(text)) for text in texts), class_="ims-foot")


def whole(field: str, value: Any, most: int | None = None) -> int:
    """Return a whole number from 1; other values are refused."""
    return int(Field(field, "whole", low=1, high=most).check(value))


def file_path(field: str, value: Any) -> Path:
    """Return the path that a user gave; other values are refused."""
    with contextlib.suppress(TypeError, ValueError, RuntimeError):  # a NUL, ~ of an unknown user
        path = local(value)
        if "\0" not in str(path):
            return path
    raise invalid(field, f"{shown(value)} is not a path of this machine", "Give a str or a Path.")


def cannot_write(error: OSError, path: object) -> InvalidRequest:
    return InvalidRequest(
        f"It cannot be written ({error.strerror or type(error).__name__}): {path}",
        remedy="Choose another folder; the pictures themselves are kept.",
        field="folder",
    )


# ----------------------------------------------------------------------------------- small pictures


class Tiles:
    """Small copies of pictures, each made once for its size; from any thread.

    The store has some already, and keeps those that are made.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._made: dict[tuple[str, int, int], Preview | None] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def ready(self, image: GeneratedImage, side: int, max_bytes: int) -> Preview | None:
        return self._made.get((image.path.name, side, max_bytes))

    def make(self, image: GeneratedImage, side: int, max_bytes: int) -> Preview | None:
        """Return a copy of at most so many pixels and bytes; None if it cannot be shown."""
        key = (image.path.name, side, max_bytes)
        if key in self._made:
            return self._made.get(key)
        made, picture = None, self.picture(image, side)
        if picture is not None:
            # A very small tile is better coarse than smaller still.
            qualities = (78 if max_bytes >= 3_000 else 60, 18)
            data, small = _picture.fit(picture, max_bytes, "image/webp", qualities=qualities)
            made = Preview(data, "image/webp", *small.size)
        with self._lock:
            if key not in self._made:
                self._made[key] = made
                self._bytes += len(made.data) if made else 0
            while self._bytes > MAX_KEPT_BYTES:
                oldest = self._made.pop(next(iter(self._made)))
                self._bytes -= len(oldest.data) if oldest else 0
        return made

    def picture(self, image: GeneratedImage, side: int) -> Any:
        """Return the decoded picture, at most `side` pixels; None if it cannot be decoded."""
        digest = image.path.stem.replace("sha256-", "sha256:")
        try:
            kept = self._store and side <= THUMBNAIL_SIDE_PIXELS and self._store.thumbnail(digest)
            opened = _picture.open_picture(kept.data if kept else image.data, side=side)
            return _picture.for_screen(_picture.resized(opened, side))
        except (ImagenError, OSError):
            return None
