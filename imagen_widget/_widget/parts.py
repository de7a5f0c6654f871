"""Stock controls as the widget uses them: named by classes, assigned when changed, freed whole."""

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from typing import Any

import anywidget
import ipywidgets as w
import traitlets
from ipywidgets.widgets.widget_string import HTMLStyle

_RENDERING: ContextVar[bool] = ContextVar("imagen_widget_rendering", default=False)


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


def is_rendering() -> bool:
    """Return True while a state is drawn."""
    return _RENDERING.get()


def assign(widget: w.Widget, **values: object) -> None:
    """Set the traits whose value differs, as one message."""
    changed = {name: value for name, value in values.items() if getattr(widget, name) != value}
    if changed:
        with widget.hold_sync():
            for name, value in changed.items():
                widget.set_trait(name, value)


def show(widget: w.DOMWidget, *, when: bool) -> None:
    """Show a control, or take it out of the layout; its layout must be its own."""
    assign(widget.layout, display=None if when else "none")


def mark(widget: w.DOMWidget, name: str, *, when: bool) -> None:
    """Give a control a CSS class, or take it away."""
    if when:
        widget.add_class(f"imagen-{name}")
    else:
        widget.remove_class(f"imagen-{name}")


def css(*names: str) -> tuple[str, ...]:
    """Return CSS classes, for the constructor of a control: there they cost no message."""
    return tuple(f"imagen-{name}" for name in names)


def on_change(widget: w.Widget, action: Callable[[Any], None]) -> None:
    """Call `action` with each value that the user sets."""

    def changed(change: dict[str, Any]) -> None:
        if not _RENDERING.get():
            action(change["new"])

    widget.observe(changed, "value")


class Kit:
    """Makes controls that share one layout and one style object of each kind.

    Each layout and each style is a message of its own to the browser; sharing them makes a
    gallery of four cards cost a handful of messages instead of fifty.
    """

    def __init__(self) -> None:
        self.layout = w.Layout()
        self.button_style = w.ButtonStyle()
        self.html_style = HTMLStyle()
        self.shared: tuple[w.Widget, ...] = (self.layout, self.button_style, self.html_style)

    def html(self, value: str = "", *classes: str) -> w.HTML:
        """Return a piece of markup, in which foreign text is escaped already."""
        looks = {"layout": self.layout, "style": self.html_style}
        return w.HTML(value, _dom_classes=css(*classes), **looks)

    def button(
        self, text: str, *classes: str, does: Callable[[], None], icon: str = "", tooltip: str = ""
    ) -> w.Button:
        """Return a button that calls `does`."""
        looks = {"layout": self.layout, "style": self.button_style, "tooltip": tooltip or None}
        made = w.Button(description=text, icon=icon, _dom_classes=css(*classes), **looks)
        made.on_click(lambda _: does())
        return made

    def box(self, *children: w.Widget, classes: tuple[str, ...]) -> w.Box:
        """Return a box whose look is in the style sheet."""
        return w.Box(children, layout=self.layout, _dom_classes=css(*classes))

    def free(self, widget: w.Widget) -> None:
        """Close a widget and all it is made of, besides what is shared."""
        close(widget, keep=self.shared)


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


class Layer(anywidget.AnyWidget):
    """The script layer: shortcuts, names for screen readers, pictures in and large."""

    _esm = ""
    form = traitlets.Dict().tag(sync=True)
    announcement = traitlets.Unicode("").tag(sync=True)
    models: Any = traitlets.List().tag(sync=True)
    tags: Any = traitlets.List().tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)
    as_of = traitlets.Unicode("").tag(sync=True)
    token = traitlets.Unicode("").tag(sync=True)


Layer._esm = files("imagen_widget._widget").joinpath("script.js").read_text("utf-8")


@cache
def style_sheet() -> str:
    """Return the look of the widget."""
    return files("imagen_widget._widget").joinpath("style.css").read_text("utf-8")
