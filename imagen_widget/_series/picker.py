"""Choosing from a series by keyboard; each key is written to the journal at once.

A live view passes keys on and shows `Pick.html`; the ranked result stands in the saved notebook.
"""

import io
import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from imagen_widget._display import StatusLine, is_rich, running_shell, surface_of
from imagen_widget._html import attributes, escape, in_ascii, tag
from imagen_widget._series import parts
from imagen_widget._series.parts import OWN_KEYS, REJECTED, TILE, Layout, Row, Tiles, whole
from imagen_widget._series.views import Grid, facts, stage
from imagen_widget.errors import ImagenError, one_line, plural

if TYPE_CHECKING:  # it imports this module
    from imagen_widget._series.series import Series

LARGE = (1024, 110_000)  # pixels and bytes of the picture that is looked at
FILM = 11  # pictures in the strip below it
MAX_DISTANCE_BITS = 3  # of 64: more are two pictures, not one made twice

_KEYS = {
    "<kbd>←</kbd> <kbd>→</kbd>": "back, next",
    "<kbd>1–5</kbd>": "stars, then next",
    "<kbd>0</kbd>": "no stars",
    "<kbd>X</kbd>": "reject, then next",
    "<kbd>C</kbd>": "compare with the best so far",
    "<kbd>Z</kbd>": "undo",
    "<kbd>Esc</kbd>": "leave the keys to the notebook",
}


class _Shown:
    """Data that displays itself; IPython writes a text of its own for a SimpleNamespace."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._repr_mimebundle_ = lambda **_: data


class Pick:
    """Chooses from a series' pictures, group by group.

    Attributes:
        position: Which of the candidates is looked at, from 0.
        folded: Candidates that look like an earlier one of their group, by that one's number.
        note: What the last key did, if that is worth a word.
        is_over: Whether the user has finished.
    """

    def __init__(self, series: "Series", best: Any, by: str | None, tiles: Tiles) -> None:
        self._series, self._by, self._tiles = series, by, tiles
        self._best = whole("best", best)
        self._layout = Layout(series.rows, row=by, fill=False)
        groups = self._layout.tables.get("", {}).values()
        self._rows = [row for group in groups for row in group[""] if row.generation]
        self._open: set[int] = set()
        self._undo: list[tuple[int, int]] = []
        self._comparing = False
        self._kept: Any = None  # where the result is shown
        self.position = next((n for n, row in enumerate(self._rows) if not row.rating), 0)
        self.folded: dict[int, int] = {}
        self.note, self.is_over = "", False

    def _group_of(self, row: Row) -> str:
        return self._layout.place(row)[1]

    # ----------------------------------------------------------------------------- what is chosen

    @property
    def best(self) -> list[Row]:
        """The best rows of each group, most stars first; none of those without stars."""
        best: dict[str, list[Row]] = {self._group_of(row): [] for row in self._rows}
        for row in self.kept:
            best[self._group_of(row)].append(row)
        return [row for rows in best.values() for row in rows[: self._best]]

    @property
    def kept(self) -> list[Row]:
        """The rows with stars, most stars first."""
        return sorted((r for r in self._rows if r.rating > 0), key=lambda row: -row.rating)

    @property
    def rejected(self) -> list[Row]:
        """The rows that were rejected."""
        return [row for row in self._rows if row.rating == REJECTED]

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {word}" for word, count in self._counts().items())
        return in_ascii(f"<Pick {self._series.name}: {counts}>")

    def _counts(self) -> dict[str, int]:
        rated, rejected = len(self.kept), len(self.rejected)
        return {"rated": rated, "rejected": rejected, "to go": len(self._rows) - rated - rejected}

    # ---------------------------------------------------------------------------------- the keys

    def press(self, key: str) -> None:
        """Do what a key means: `1` to `5`, `0`, `x`, `c`, `z`, `left`, `right`, `alike`.

        `go 12` looks at a candidate by its number from 0, `5 12` rates that one; `leave` and `end`
        bring what is saved with the notebook up to date. Others do nothing.
        """
        self.note = ""
        name, _, number = key.lower().partition(" ")
        if number.isdigit() and self._rows:
            self.position = min(int(number), len(self._rows) - 1)
        match name:
            case "leave" | "end":
                self.is_over = name == "end"
                self._show_result()
            case _ if not self._rows:
                return
            case "0" | "1" | "2" | "3" | "4" | "5" | "x":
                self._undo.append((self.position, self._rows[self.position].rating))
                self._rate(REJECTED if name == "x" else int(name))
                if name != "0" and not self.note:
                    self._move(1)
            case "z" if self._undo:
                self.position, stars = self._undo.pop()
                self._rate(stars)
            case "left" | "right":
                self._move(1 if name == "right" else -1)
            case "c":
                self._compare()
            case "alike":
                self._open ^= {self.position}

    def _rate(self, stars: int) -> None:
        row = self._rows[self.position]
        try:
            self._series.rate(row, stars)
            self._rows[self.position] = replace(row, rating=stars)
        except ImagenError as error:
            self.note = f"Not written down: {error.message}"

    def _compare(self) -> None:
        rival = self._rival()
        if rival is None:
            self.note = "Nothing to compare with yet: give another one stars first."
            return
        self._comparing = not self._comparing
        if self._comparing:
            best = self._rows[rival]
            self.note = f"B: {best.label} ★{best.rating} · C closes"

    def _move(self, step: int) -> None:
        self._comparing = False
        found = next(self._shown(step), None)
        if found is None:
            self.note = "That was the last one." if step > 0 else "This is the first one."
        else:
            self.position = found

    def _shown(self, step: int) -> Iterator[int]:
        """Iterate over the candidates after or before the current one that are not folded."""
        for index in range(self.position + step, len(self._rows) if step > 0 else -1, step):
            front = self.folded.get(index)
            if front is None or front in self._open or self._rows[index].rating:
                yield index

    def _rival(self) -> int | None:
        """Return the best other one of the group so far; None if no other has stars."""
        others = [n for n in self._group() if self._rows[n].rating > 0 and n != self.position]
        return max(others, key=lambda n: self._rows[n].rating, default=None)

    def _group(self) -> list[int]:
        name = self._group_of(self._rows[self.position])
        return [n for n, row in enumerate(self._rows) if self._group_of(row) == name]

    # ---------------------------------------------------------------------------- its pictures

    def fold(self) -> None:
        """Find the candidates that look like an earlier one of their group."""
        seen: dict[str, list[tuple[int, int]]] = {}
        for index, row in enumerate(self._rows):
            found = self._tiles.make(row.images[0], *TILE)
            if found is None or self.is_over:
                continue
            bits, group = difference_hash(found.data), seen.setdefault(self._group_of(row), [])
            same = (n for n, other in group if (bits ^ other).bit_count() <= MAX_DISTANCE_BITS)
            front = next(same, None)
            if front is None:
                group.append((index, bits))
            else:
                self.folded[index] = front

    def picture(self, name: str) -> bytes:
        """Return the picture that the markup names: `s12-0` is small, `l12-0` large."""
        index, _, number = name[1:].partition("-")
        image = self._rows[int(index)].images[int(number)]
        found = self._tiles.make(image, *(LARGE if name[0] == "l" else TILE))
        return b"" if found is None else found.data

    def names(self) -> list[str]:
        """Return the pictures that the markup names, then those that it will name next."""
        if not self._rows:
            return []
        film, rival = self.window(), self._rival()
        here = film.index(self.position)
        large = [self.position, *([] if rival is None else [rival]), *film[here + 1 : here + 3]]
        named = [f"l{i}-{n}" for i in large for n in range(len(self._rows[i].images))]
        return [named[0], *(f"s{i}-0" for i in film), *named[1:]]

    def window(self) -> list[int]:
        """Return the candidates of the strip, with the current one in its middle."""
        after = list(itertools.islice(self._shown(1), FILM - 1))
        left = max(FILM // 2, FILM - 1 - len(after))
        before = list(itertools.islice(self._shown(-1), left))
        return [*reversed(before), self.position, *after][:FILM]

    # ------------------------------------------------------------------------------ displayed

    def _ipython_display_(self) -> None:
        shell = running_shell()
        if shell is None or not is_rich(shell):
            raise NotImplementedError  # IPython then shows the text
        from imagen_widget._series.live import PickerView  # slow to import, and not needed above

        if self._kept is None:
            threading.Thread(target=self.fold, daemon=True).start()
        surface_of(shell).status(PickerView(self))
        self._kept = surface_of(shell)
        self._show_result()

    def _show_result(self) -> None:
        """Keep the result under the live view; the style sheet lets one of the two be seen."""
        if self._kept is None:
            return
        bundle = self._repr_mimebundle_()
        look = tag("style", parts.style("result"))
        html = tag("div", look, bundle["text/html"], class_="ims-result")
        self._kept.status(_Shown({**bundle, "text/html": html}))

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        kept = self.kept
        if not kept:
            said = "nothing is chosen yet. Choose in a notebook, or by .rate()."
            return StatusLine(f"{self._series.name}: {said}")._repr_mimebundle_()
        layout = Layout(kept, row=self._by, fill=False)
        title = f"{self._series.name}, chosen"
        grid = Grid(layout, title, self._tiles, best=self._best)._repr_mimebundle_()
        lines = (f"{row.rating} stars: {row.label}" for row in self.best)
        return {**grid, "text/plain": "\n".join([repr(self), *lines])}

    @property
    def said(self) -> str:
        """What a screen reader says after a key."""
        stars = self._rows[self.position].rating if self._rows else 0
        now = "rejected" if stars == REJECTED else plural(stars, "star")
        return f"{self.position + 1} of {len(self._rows)}, {now}. {self.note}"

    def html(self) -> str:
        """Return the live view as it is now; its pictures are named, not in it."""
        if not self._rows:
            return parts.head(self._series.name, "No row has a picture yet.")
        counts = self._counts()
        numbers = "".join(f"<span><b>{n:,}</b> {word}</span>" for word, n in counts.items())
        what = "the best one" if self._best == 1 else f"the best {self._best}"
        of_each = f" of each {self._by}" if self._by else ""
        shares = dict(zip(("done", "refused", "rest"), counts.values(), strict=True))
        done = f'<div class="ims-counts">{numbers}{_button("end", "✓ Finish")}</div>'
        return (
            parts.head(self._series.name, f"Pick {what}{of_each}", done)
            + f'<div class="ims-way"><b>{self.position + 1:,} of {len(self._rows):,}</b>'
            + parts.bar(shares, aria_hidden="true")
            + f"<span>{escape(self.note or 'all saved as you go')}</span></div>"
            + f'<div class="ims-two">{self._seat()}<div class="ims-said">{self._said()}</div></div>'
            + f'<div class="ims-film">{self._film()}</div>'
        )

    def _seat(self) -> str:
        """Return the place of the picture that is looked at, or of two that are compared."""
        images, rival = self._rows[self.position].images, self._rival()
        if self._comparing and rival is not None:
            shape = images[0].width / (images[0].height or 1) or 1.0
            view = stage(_img(f"l{self.position}-0", "This one"), _img(f"l{rival}-0", "The best"))
            return f'<div class="ims-seat ims-compare" style="--shape:{shape:.4f}">{view}</div>'
        alt = one_line(images[0].alt, limit=120) or "picture"
        drawn = "".join(_img(f"l{self.position}-{n}", alt) for n in range(len(images)))
        columns = f"grid-template-columns:repeat({min(2, len(images))},minmax(0,1fr))"
        ways = _button("left", "‹", aria_label="Back") + _button("right", "›", aria_label="Next")
        return f'<div class="ims-seat" style="{columns}">{drawn}{ways}</div>'

    def _said(self) -> str:
        """Return what is known of the candidate, and the keys as buttons."""
        row, group = self._rows[self.position], self._group()
        stars, where = row.rating, f"{self._by}: {self._group_of(row)} · " if self._by else ""
        place = f"{escape(where)}{group.index(self.position) + 1} of {len(group)}"
        rated = "".join(
            _button(
                str(n),
                f'<i class="ims-stars" aria-hidden="true" style="--n:{int(n <= stars)}"></i>{n}',
                aria_label=plural(n, "star"),
                class_=f"ims-star{' ims-on' if n <= stars else ''}",
                aria_pressed=str(n == stars).lower(),
            )
            for n in range(1, 6)
        )
        others = _button("x", "✕ Reject", aria_pressed=str(stars == REJECTED).lower())
        others += _button("c", "Compare", aria_pressed=str(self._comparing).lower())
        alike = list(self.folded.values()).count(self.position)  # a thread finds more of them
        if alike:
            way = "hide" if self.position in self._open else "show"
            others += _button("alike", f"{plural(alike, 'picture')} like this one: {way}")
        apart = {self._by, "model", "seed"}
        known = {n: one_line(str(v), limit=90) for n, v in row.axes.items() if n not in apart}
        known = {escape(name): escape(text) for name, text in (known | facts(row)).items()}
        return (
            f'<span class="ims-muted">{place}</span>'
            f'<div class="ims-what">{escape(one_line(row.request.prompt or row.key, limit=300))}'
            f"</div>{_pairs(known)}<b>Your rating{': rejected' if stars == REJECTED else ''}</b>"
            f'<div class="ims-keys">{rated}</div><b></b><div class="ims-keys">{others}</div>'
            f'<div class="ims-how"><b>Keys</b>{_pairs(_KEYS)}</div>'
        )

    def _film(self) -> str:
        """Return the strip of small pictures; a line stands before a new group."""
        film, before = "", None
        for index in self.window():
            stars, group = self._rows[index].rating, self._group_of(self._rows[index])
            mark = "✕" if stars == REJECTED else f"★ {stars}" if stars else ""
            first = "ims-first" if before not in {None, group} else ""
            before = group
            film += _button(
                f"go {index}",
                f"{_img(f's{index}-0', '')}{tag('span', mark) if mark else ''}{index + 1}",
                class_=f"{first}{' ims-no' if stars == REJECTED else ''}",
                aria_current="true" if index == self.position else None,
            )
        return film


def difference_hash(data: bytes) -> int:
    """Return 64 bits: whether each of 8 x 8 places is darker than the one at its right."""
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("WEBP",)) as picture:
        small = picture.convert("L").resize((9, 8), Image.Resampling.BOX).tobytes()
    bits = (small[9 * y + x] < small[9 * y + x + 1] for y in range(8) for x in range(8))
    return sum(bit << place for place, bit in enumerate(bits))


def _button(press: str, markup: str, **values: object) -> str:
    named = attributes(data_press=press, **values)
    return f'<button type="button" {OWN_KEYS}{named}>{markup}</button>'


def _img(name: str, alt: str) -> str:
    return f'<img data-pic="{name}" alt="{escape(alt)}">'


def _pairs(markup: dict[str, str]) -> str:
    cells = (f"<span>{name}</span><span>{text}</span>" for name, text in markup.items())
    return f'<div class="ims-dl">{"".join(cells)}</div>'
