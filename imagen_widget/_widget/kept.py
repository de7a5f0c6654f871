"""KeptOutput: the widget's pictures as ordinary display data, which the saved notebook keeps.

While the widget is on the page its style sheet hides them, since it shows them itself. Reopened,
on GitHub or exported, they are what is there to see; then their own style sheet puts a note in the
place of the front end's "model not found". The display is made while the cell runs, and afterwards
only updated: that works from any thread. All of it stays within a bound: the newest job's pictures
are large, earlier ones are tiles, and a line counts those that only History has.
"""

from typing import Any

import IPython.display as screen

from imagen_widget._html import NO_FORMULAS, escape, image, tag
from imagen_widget._picture import Preview, contact_sheet
from imagen_widget._result import Generation, small_copy
from imagen_widget._widget.state import State
from imagen_widget._widget.words import excerpt

MAX_KEPT_BYTES = 2_000_000
MAX_SHEET_BYTES = 600_000  # of the one JPEG, as base64
MAX_SHEET_PICTURES = 24
TILE_SIDE_PIXELS = 256
TILE_BYTES = 8_000
_FONT = "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;"
_NOTE = (
    f'<div style="{_FONT}padding:10px 14px;border:1px solid rgba(128,128,128,.4);'
    'border-radius:8px"><strong>Imagen</strong> · This form needs a running kernel: run the cell '
    "again to use it."
)
NO_KERNEL = f"{_NOTE}</div>"


class KeptOutput:
    """One display under an id of its own, however often the widget is shown."""

    def __init__(self, token: str) -> None:
        self._id = f"{token}-kept"
        self._shown = False
        self._rows: dict[str, tuple[str, list[Preview]]] = {}  # by the generation's id
        self._bundle: dict[str, Any] = self._made(())

    @property
    def hiding_css(self) -> str:
        """The rules that hide the display on a page where the widget lives."""
        return f".jp-OutputArea-child:has(.{self._id}),.{self._id}{{display:none!important}}"

    def display(self, widget_bundle: dict[str, Any], *, alone: bool) -> None:
        screen.display(widget_bundle, raw=True)  # type: ignore[no-untyped-call]
        if not alone:
            screen.display(self._bundle, raw=True, display_id=self._id)  # type: ignore[no-untyped-call]
            self._shown = True

    def render(self, state: State, before: State) -> None:
        if state.made != before.made:
            self._bundle = self._made(state.made)
            self.resend()

    def resend(self) -> None:
        if self._shown:
            screen.update_display(self._bundle, raw=True, display_id=self._id)  # type: ignore[no-untyped-call]

    def _made(self, made: tuple[Generation, ...]) -> dict[str, Any]:
        if not made:
            return {"text/plain": "", "text/html": self._html(NO_KERNEL, "")}
        newest: dict[str, Any] = made[0]._repr_mimebundle_()
        rows, texts, count, hidden = [newest["text/html"]], [newest["text/plain"]], len(made[0]), 0
        left = MAX_KEPT_BYTES - MAX_SHEET_BYTES - len(rows[0])
        shown = list(map(small_copy, made[0]))
        before, self._rows = self._rows, {}
        for generation in made[1:]:
            if left >= 0:
                row, tiles = before.get(generation.id) or _row(generation)
                left -= len(row)
            if left < 0:
                hidden += len(generation)
                continue
            self._rows[generation.id] = row, tiles
            count, shown = count + len(tiles), [*shown, *tiles]
            rows.append(row)
            texts.append(repr(generation))
        if hidden:
            line = f"{count} pictures are kept here, {hidden} earlier ones only in History."
            rows.append(tag("div", line, style=_FONT))
            texts.append(line)
        note = f"{_NOTE} Its pictures stand below.</div>"
        bundle = {"text/plain": "\n".join(texts), "text/html": self._html(note, "".join(rows))}
        return bundle | contact_sheet(shown[:MAX_SHEET_PICTURES])

    def _html(self, note: str, pictures: str) -> str:
        hidden = f'<div class="{self._id}-note" style="display:none">{note}</div>'
        classes = f"imagen-kept {self._id} {NO_FORMULAS}"
        inside = f'<div class="{classes}" style="display:grid;gap:16px">'
        return f"<style>{_reopened_css(self._id)}</style>{inside}{hidden}{pictures}</div>"


def _row(generation: Generation) -> tuple[str, list[Preview]]:
    """Return a generation as tiles: the markup, and the pictures in it."""
    made = (small_copy(each, TILE_SIDE_PIXELS, TILE_BYTES) for each in generation)
    tiles = list(filter(None, made))
    for each in generation:
        vars(each).pop("preview", None)  # it would stay in memory for as long as the form does
    alt = excerpt(generation.request.prompt or generation.model)
    looks = "height:auto;max-width:160px;border-radius:6px"
    shown = [image(t.data, t.media_type, alt=alt, width=t.width, style=looks) for t in tiles]
    row = tag("div", *shown, style="display:flex;flex-wrap:wrap;gap:8px")
    caption = tag("div", escape(f"{alt} · {generation.summary}"), style=f"{_FONT}opacity:.8")
    return tag("div", row, caption), tiles


def _reopened_css(name: str) -> str:
    """Return rules for an output that follows a view without a widget: hide that, show the note."""
    output = ".jp-OutputArea-child"
    dead = f"{output}:not(:has(.imagen))"
    return (
        f"{dead}:has(+ {output} .{name}){{display:none}}"
        f"{dead} + {output} .{name}-note{{display:block!important}}"
    )
