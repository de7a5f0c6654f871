"""Stock controls as the widget uses them: named by classes, assigned when changed, freed whole."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import ipywidgets as w
from ipywidgets.widgets.widget_string import HTMLStyle

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

_RENDERING: ContextVar[bool] = ContextVar("imagen_widget_rendering", default=False)
_Control = TypeVar("_Control", bound=w.DOMWidget)


@contextmanager
def rendering() -> Iterator[None]:
    """Mark what happens to controls within as drawn by us, not changed by the user.

    A context variable, since at the same moment a user's change may arrive on another thread.
    """
    token = _RENDERING.set(True)
    try:
        yield
    finally:
        _RENDERING.reset(token)


def assign(widget: w.Widget, **values: object) -> None:
    """Set the traits whose value differs, as one message."""
    changed = {name: value for name, value in values.items() if getattr(widget, name) != value}
    if changed:
        with widget.hold_sync():
            for name, value in changed.items():
                setattr(widget, name, value)


def show(widget: w.DOMWidget, *, when: bool) -> None:
    """Show a control, or take it out of the layout; its layout must be its own."""
    assign(widget.layout, display=None if when else "none")


def mark(widget: w.DOMWidget, name: str, *, when: bool) -> None:
    """Give a control a CSS class, or take it away."""
    if when:
        widget.add_class(f"imagen-{name}")
    else:
        widget.remove_class(f"imagen-{name}")


def classed(widget: _Control, *classes: str) -> _Control:
    """Give a control its CSS classes, prefixed with `imagen-`, and return it."""
    for name in classes:
        widget.add_class(f"imagen-{name}")
    return widget


def on_change(widget: w.Widget, action: Callable[[Any], None]) -> None:
    """Call `action` with each value that the user sets."""

    def changed(change: dict[str, Any]) -> None:
        if not _RENDERING.get():
            action(change["new"])

    widget.observe(changed, "value")


class Kit:
    """Makes controls that share one layout and one style object of each kind.

    Each layout and each style is a message of its own to the browser; sharing them makes a
    gallery of four cards cost sixteen messages instead of fifty.
    """

    def __init__(self) -> None:
        self.layout = w.Layout()
        self.button_style = w.ButtonStyle()
        self.html_style = HTMLStyle()
        self.shared: tuple[w.Widget, ...] = (self.layout, self.button_style, self.html_style)

    def html(self, value: str = "", *classes: str) -> w.HTML:
        """Return a piece of markup, in which foreign text is escaped already."""
        return classed(w.HTML(value, layout=self.layout, style=self.html_style), *classes)

    def button(
        self, text: str, *classes: str, does: Callable[[], None], icon: str = "", tooltip: str = ""
    ) -> w.Button:
        """Return a button that calls `does`."""
        made = w.Button(
            description=text,
            icon=icon,
            tooltip=tooltip or None,
            layout=self.layout,
            style=self.button_style,
        )
        made.on_click(lambda _: does())
        return classed(made, *classes)

    def box(self, *children: w.Widget, classes: tuple[str, ...]) -> w.Box:
        """Return a box whose look is in the style sheet."""
        return classed(w.Box(children, layout=self.layout), *classes)

    def close(self) -> None:
        """Free what was shared."""
        for part in self.shared:
            part.close()


def tree(widget: w.Widget) -> Iterator[w.Widget]:
    """Iterate over a widget and all it is made of: children, layouts, styles."""
    for child in getattr(widget, "children", ()):
        yield from tree(child)
    for name in ("layout", "style"):
        part = getattr(widget, name, None)
        if isinstance(part, w.Widget):
            yield part
    yield widget


def close(widget: w.Widget, *, keep: Container[w.Widget] = ()) -> None:
    """Close a widget and all it is made of, for closing only itself leaks the rest."""
    for part in list(tree(widget)):
        if part not in keep:
            part.unobserve_all()
            part.close()
