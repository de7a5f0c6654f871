"""KeptOutput: the widget's pictures as ordinary display data, which the saved notebook keeps.

While the widget is on the page its style sheet hides them, since it shows them itself. Reopened,
on GitHub or exported, they are what is there to see; then their own style sheet puts a note in the
place of the front end's "model not found". The display is made while the cell runs, and afterwards
only updated: that lands from any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imagen_widget._panel._state import Pictures
from imagen_widget._widget._html import NO_KERNEL

if TYPE_CHECKING:
    from imagen_widget._panel._state import PanelState
    from imagen_widget._result import Generation


class KeptOutput:
    """One display under an id of its own, however often the widget is shown."""

    def __init__(self, token: str) -> None:
        self._id = f"{token}-kept"
        self._shown = False
        self._bundle = _bundle(self._id, ())

    @property
    def hiding_css(self) -> str:
        """The rules that hide the display on a page where the widget lives."""
        return f".jp-OutputArea-child:has(.{self._id}),.{self._id}{{display:none!important}}"

    def display(self, widget_bundle: dict[str, Any]) -> None:
        """Show the widget, with its kept pictures after it, in the running cell."""
        from IPython.display import display

        display(widget_bundle, raw=True)  # type: ignore[no-untyped-call]  # IPython has no types
        display(self._bundle, raw=True, display_id=self._id)  # type: ignore[no-untyped-call]  # idem
        self._shown = True

    def render(self, state: PanelState, before: PanelState | None) -> None:
        """Keep the pictures of a state, where they changed."""
        made = _made(state)
        if before is not None and made == _made(before):
            return
        self._bundle = _bundle(self._id, made)
        if self._shown:
            self.resend()

    def resend(self) -> None:
        """Send the pictures again."""
        from IPython.display import update_display

        if self._shown:
            update_display(self._bundle, raw=True, display_id=self._id)  # type: ignore[no-untyped-call]  # IPython has no types


def _made(state: PanelState) -> tuple[Generation, ...]:
    endings = (job.ending for job in state.jobs)
    return tuple(e.generation for e in endings if isinstance(e, Pictures) and not e.earlier)


def _bundle(name: str, made: tuple[Generation, ...]) -> dict[str, str]:
    shown = [generation._repr_mimebundle_() for generation in made]
    pictures = "".join(bundle["text/html"] for bundle in shown)
    note = f'<div class="{name}-note" style="display:none">{NO_KERNEL}</div>'
    return {
        "text/plain": "\n".join(bundle["text/plain"] for bundle in shown),
        "text/html": f"<style>{_reopened_css(name)}</style>"
        f'<div class="imagen-kept {name}" style="display:grid;gap:20px">{note}{pictures}</div>',
    }


def _reopened_css(name: str) -> str:
    """Return rules for an output that follows a view without a widget: hide that, show the note."""
    output = ".jp-OutputArea-child"
    dead = f"{output}:not(:has(.imagen))"
    return (
        f"{dead}:has(+ {output} .{name}){{display:none}}"
        f"{dead} + {output} .{name}-note{{display:block!important}}"
    )
