"""Controls: for each field of a model the stock control that fits its kind.

The value of a control is what is in force. Setting it to None leaves the field to the model's
default; whether a field is given or left is in the state, and shown by a CSS class. Controls are
named by classes, assigned when changed, and freed whole.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple
from urllib.parse import quote

import ipywidgets as w
import traitlets
from ipywidgets.widgets.widget_string import HTMLStyle

from imagen_widget._html import escape, tag
from imagen_widget._models import Field, Model, size_pixels
from imagen_widget._widget import words
from imagen_widget._widget.controller import Controller
from imagen_widget._widget.form import Form, shape_of
from imagen_widget._widget.state import State
from imagen_widget.errors import InvalidRequest

MAX_SEGMENTS = 7
MAX_SHAPES = 16
MAX_LETTERS = 46
MAX_SLIDER_STEPS = 1000
CUSTOM = "custom"
PROMPT_HINT = "A lighthouse at dusk, soft fog, long exposure…"
EDIT_HINT = "Say what to change, such as: make it night"
LEFT = ""  # in a list, since ipywidgets shows None as no choice at all
_LEFT_OPTION = ("the model's choice", LEFT)
_ICON_SIDE_PIXELS = 15
_RENDERING: ContextVar[bool] = ContextVar("imagen_widget_rendering", default=False)

Drawn = Callable[[State], Any]


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
                widget.set_trait(name, value)


def tree(widget: w.Widget) -> Iterator[w.Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from tree(child)


def css(*names: str) -> tuple[str, ...]:
    """Return CSS classes, for the constructor of a control: there they cost no message."""
    return tuple(f"imagen-{name}" for name in names)


def on_change(widget: w.Widget, action: Callable[[Any], None]) -> None:
    """Call `action` with each value that the user sets."""

    def changed(change: dict[str, Any]) -> None:
        if not _RENDERING.get():
            action(change["new"])

    widget.observe(changed, "value")


def when(changed: Drawn, drawn: Drawn) -> Drawn:
    """Return the same as `drawn`, which is asked again when what `changed` gives is another."""
    seen: object = None
    found: object = None

    def latest(state: State) -> object:
        nonlocal seen, found
        if seen != (now := changed(state)):
            seen, found = now, drawn(state)
        return found

    return latest


class Kit:
    """Makes controls that share one layout and one style object of each kind.

    Each layout and each style is a message of its own to the browser; sharing them makes a
    gallery of four cards cost a handful of messages instead of fifty.
    """

    def __init__(self) -> None:
        self.layout = w.Layout()
        self._button_style = w.ButtonStyle()
        self._html_style = HTMLStyle()
        self._shared = (self.layout, self._button_style, self._html_style)
        self._bound: dict[w.Widget, dict[str, Drawn]] = {}
        self._gone: list[w.Widget] = []
        self._drawn: State | None = None

    def bind(self, widget: w.Widget, *, shown: Drawn | None = None, **traits: Drawn) -> w.Widget:
        """Have traits of a widget follow the state; `shown` is whether it is in sight.

        The layout of what is shown and hidden must be its own.
        """
        if shown is not None:
            self.bind(widget.layout, display=lambda state: None if shown(state) else "none")
        if traits:
            self._bound.setdefault(widget, {}).update(traits)
            if self._drawn is not None:
                with rendering():
                    self._draw(widget, self._drawn)
        return widget

    def draw(self, state: State) -> None:
        self._drawn = state
        with rendering():
            for widget in [*self._bound]:
                self._draw(widget, state)
        while self._gone:
            self.free(self._gone.pop())

    def _draw(self, widget: w.Widget, state: State) -> None:
        traits = self._bound.get(widget, {})
        assign(widget, **{name: drawn(state) for name, drawn in traits.items()})

    def each(
        self, keys: Callable[[State], Iterable[Any]], make: Callable[[Any, State], w.Widget]
    ) -> Callable[[State], tuple[w.Widget, ...]]:
        """Return what gives a widget for each key, made as it comes and freed once it is gone."""
        held: dict[Any, w.Widget] = {}

        def widgets(state: State) -> tuple[w.Widget, ...]:
            wanted = dict.fromkeys(keys(state))
            for key in held.keys() - wanted.keys():
                self.drop(held.pop(key))
            for key in wanted:
                if key not in held:
                    held[key] = make(key, state)
            return tuple(held[key] for key in wanted)

        return widgets

    def drop(self, widget: w.Widget) -> None:
        """Let a widget follow no longer, and free it once nothing shows it."""
        self._gone.append(widget)
        for part in tree(widget):
            self._bound.pop(part, None)

    def html(self, value: str = "", *classes: str) -> w.HTML:
        """Return a piece of markup, in which foreign text is escaped already."""
        looks = {"layout": self.layout, "style": self._html_style}
        return w.HTML(value, _dom_classes=css(*classes), **looks)

    def text(self, drawn: Drawn, *classes: str) -> w.HTML:
        first = "" if self._drawn is None else drawn(self._drawn)  # spares a message
        return self.bind(self.html(first, *classes), value=drawn)

    def button(
        self,
        text: str,
        *classes: str,
        does: Callable[[], object],
        shown: Drawn | None = None,
        **more: str,
    ) -> w.Button:
        layout = w.Layout() if shown else self.layout
        looks = {"layout": layout, "style": self._button_style, "_dom_classes": css(*classes)}
        made = w.Button(description=text, **looks, **more)
        made.on_click(lambda _: does())
        return self.bind(made, shown=shown)

    def box(
        self, *children: w.Widget, classes: tuple[str, ...], shown: Drawn | None = None
    ) -> w.Box:
        layout = w.Layout() if shown else self.layout
        made = w.Box(children, layout=layout, _dom_classes=css(*classes))
        return self.bind(made, shown=shown)

    def free(self, widget: w.Widget) -> None:
        for one in [*tree(widget)]:
            for part in (getattr(one, "layout", None), getattr(one, "style", None), one):
                if isinstance(part, w.Widget) and part not in self._shared:
                    self._bound.pop(part, None)
                    part.unobserve_all()
                    part.close()

    def close(self) -> None:
        for part in self._shared:
            part.close()


class Leavable:
    """A control whose value can be set to None, to what it shows already, and as Python has it.

    What is typed is kept though it is wrong; of other controls `check` refuses a wrong value, which
    they would change to another one.
    """

    given: Callable[[object], None] | None = None
    check: Callable[[object], Any]
    value: Any

    def __setattr__(self, name: str, value: object) -> None:
        if name != "value" or self.given is None or _RENDERING.get():
            super().__setattr__(name, value)
            return
        before = self.value
        if value is not None and not isinstance(self, Line | Lines | Size):
            value = self.check(value)
        if value is not None and (isinstance(value, str) or not isinstance(self, Line | Lines)):
            super().__setattr__(name, value)
        if self.value == before:  # else it was observed as a change
            self.given(value)


# The stock controls: a choice among few and among many, a whole and another number between two
# ends, on or off, and a text of one line and of several, which is empty if left to the model.
_STOCK = (w.ToggleButtons, w.Dropdown, w.IntSlider, w.FloatSlider, w.Checkbox, w.Text, w.Textarea)
_leavable: Any = [type(stock.__name__, (Leavable, stock), {}) for stock in _STOCK]
Segments, Choice, Whole, Number, Switch, Line, Lines = _leavable


class Size(Leavable, w.Box):  # type: ignore[misc]  # ipywidgets has no types
    """A size: one of the presets, or an object with `width` and `height`."""

    value = traitlets.Any(None, allow_none=True)

    def __init__(self, field: Field, layout: w.Layout) -> None:
        options = [*((shape_label(a), a) for a in field.allowed), (CUSTOM, CUSTOM)]
        kind = Segments if _fits_segments(options) else Choice
        named = {"description": field.title, "tooltip": field.help, "layout": layout}
        self.preset = kind(options=options, value=None, **named)
        pixels = {"min": 1, "max": 999_999, "layout": layout, "tooltip": ""}
        look = {**pixels, "_dom_classes": css("f", "side")}
        self.width = w.BoundedIntText(1024, description="Width", **look)
        self.height = w.BoundedIntText(1024, description="Height", **look)
        self.sides = w.Box([self.width, self.height], _dom_classes=css("sides"))
        super().__init__([self.preset, self.sides])
        self.known = (*field.allowed, CUSTOM)
        self.observe(self._shown, "value")
        for part in (self.preset, self.width, self.height):
            on_change(part, lambda _: self._picked())

    def _picked(self) -> None:
        sides = {"width": self.width.value, "height": self.height.value}
        self.set_trait("value", sides if self.preset.value == CUSTOM else self.preset.value)

    def _shown(self, change: Mapping[str, Any]) -> None:
        value = change["new"]
        custom = value is not None and value not in self.known
        with rendering():
            if custom and (pixels := size_pixels(value)) is not None:
                assign(self.width, value=pixels[0])
                assign(self.height, value=pixels[1])
            assign(self.preset, value=CUSTOM if custom else value)
        is_custom = self.preset.value == CUSTOM
        assign(self.sides, _dom_classes=css("sides", CUSTOM) if is_custom else css("sides"))


class PictureStrip(w.Box):  # type: ignore[misc]  # as above
    """The input pictures and the mask; takes whatever `image=` and `images=` of `generate` take."""

    value = traitlets.Any(())

    def __init__(self, kit: Kit, set_pictures: Callable[[object], None]) -> None:
        self._set_pictures = set_pictures
        parts = [kit.text(words.strip, "strip-markup"), kit.text(words.painter, "mask")]
        super().__init__(parts, _dom_classes=css("strip"))

    def __setattr__(self, name: str, value: object) -> None:
        if name == "value" and not _RENDERING.get():
            self._set_pictures(value)
        else:
            super().__setattr__(name, value)


class Placed(NamedTuple):
    field: Field
    control: w.DOMWidget
    place: w.DOMWidget  # the control, or the box in which it stands


class Controls(Mapping[str, w.DOMWidget]):
    def __init__(self, kit: Kit, controller: Controller) -> None:
        self._kit, self._controller = kit, controller
        self.prompt = w.Textarea(
            # Sent on leaving the field, as one message ahead of the click on Generate: with one
            # message a key a busy kernel would be behind, and an old prompt be paid.
            description="Prompt",
            tooltip="",
            continuous_update=False,
            _dom_classes=css("f", "f-prompt"),
        )
        on_change(self.prompt, partial(controller.set_field, "prompt"))
        kit.bind(self.prompt, value=attrgetter("form.prompt"), placeholder=_prompt_hint)
        strip = PictureStrip(kit, controller.set_pictures)
        self.strip = kit.bind(strip, value=attrgetter("form.pictures"))
        self.main = kit.box(classes=("row",))
        tip, look = "The model's other fields", css("fold")  # opened by the style sheet
        self.fold = w.ToggleButton(
            description="Advanced", icon="chevron-right", tooltip=tip, _dom_classes=look
        )
        kit.bind(self.fold, shown=attrgetter("form.advanced"))
        self.advanced = kit.box(classes=("row", "advanced"))
        self._model: Model | None = None
        self._placed: dict[str, Placed] = {}
        self._named: dict[str, w.DOMWidget] = {}  # those and the prompt and the pictures
        kit.bind(self.main, children=self._main_places)
        kit.bind(self.advanced, children=lambda state: self._places(state.form.advanced))

    def __repr__(self) -> str:
        return f"<fields: {', '.join(self)}>"

    def __getitem__(self, name: str) -> w.DOMWidget:
        return self._named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def named(self, name: str) -> w.DOMWidget:
        """Return the control of a common name, whatever the model calls its field.

        A model that has none gets a hidden one: what is set there is translated or refused.
        """
        role = {"num_images": "count", "seed": "seed"}.get(name, name)
        fields = () if self._model is None else self._model.fields
        found = self._named.get(next((f.name for f in fields if f.role == role), name))
        if found is None:
            hidden = Field(name, "text", name.replace("_", " "))
            found = self._named[name] = self._make(hidden)
            found.layout = w.Layout(display="none")
            self._placed[name] = Placed(hidden, found, found)
            self.main.children = (*self.main.children, found)
        return found

    def take(self, seen: Mapping[Any, object]) -> None:
        """Take the values that the browser shows, by the ids of the stock controls."""
        for part in self.stock():
            if part.model_id in seen:
                trait = "index" if isinstance(part, Segments | Choice) else "value"
                with suppress(traitlets.TraitError, InvalidRequest):
                    part.set_trait(trait, seen[part.model_id])

    def stock(self) -> Iterator[w.DOMWidget]:
        for control in (self.prompt, *(placed.control for placed in self._placed.values())):
            sized = isinstance(control, Size)
            yield from (control.preset, control.width, control.height) if sized else (control,)

    def _main_places(self, state: State) -> tuple[w.DOMWidget, ...]:
        form = state.form
        if form.model != self._model:
            self._build(form)
        known = {field.name for field in form.fields}
        hidden = (p.field for name, p in self._placed.items() if name not in known)
        return self._places((*form.main, *hidden))

    def _places(self, fields: Iterable[Field]) -> tuple[w.DOMWidget, ...]:
        return tuple(self._placed[field.name].place for field in fields)

    def _build(self, form: Form) -> None:
        """Make the controls of a form's model; those of the same fields as before stay."""
        old, self._placed, self._model = self._placed, {}, form.model
        for field in form.fields:
            kept = old.get(field.name)
            same = kept is not None and kept.field == field
            self._placed[field.name] = kept if same else self._place(field)  # type: ignore[assignment]
        self._named = {name: placed.control for name, placed in self._placed.items()}
        prompt, picture = form.offered.role("prompt"), form.offered.role("picture")
        self._named["prompt" if prompt is None else prompt.name] = self.prompt
        if picture is not None:
            self._named[picture.name] = self.strip
        for name, placed in old.items():
            if self._placed.get(name) is not placed:
                self._kit.drop(placed.place)

    def _place(self, field: Field) -> Placed:
        control, kit = self._make(field), self._kit
        if not isinstance(control, Line | Lines):
            return Placed(field, control, control)

        def problem(state: State) -> str:
            wrong = state.form.problems.get(field.name)
            return "" if wrong is None else tag("span", escape(wrong.why), role="alert")

        said = kit.text(problem, "problem")
        if field.role == "seed":
            roll = partial(self._controller.roll_seed, field.name)
            dice = kit.button("", "dice", icon="random", tooltip="Random seed", does=roll)
            return Placed(field, control, kit.box(control, dice, said, classes=("seed",)))
        classes = ("with-problem", "wide" if isinstance(control, Lines) else "short")
        return Placed(field, control, kit.box(control, said, classes=classes))

    def _make(self, field: Field) -> w.DOMWidget:
        control = make_control(field, self._kit.layout)
        looks = f"f f-{field.name.replace('_', '-')} n-{field.name} k-{field.kind}".split()
        own = (*control._dom_classes, *css(*looks))

        def classes(state: State) -> tuple[str, ...]:
            wrong, given = field.name in state.form.problems, field.name in state.form.given
            kinds = ("given", "wrong") if wrong else ("given",) if given else ("left",)
            return (*own, *css(*kinds))

        give = partial(self._controller.set_field, field.name)
        on_change(control, give)
        control.given, control.check = give, field.check
        value = partial(shown_value, control, field)
        return self._kit.bind(control, _dom_classes=classes, value=value)


def _prompt_hint(state: State) -> str:
    return EDIT_HINT if state.form.pictures and state.form.max_pictures else PROMPT_HINT


def make_control(field: Field, layout: w.Layout) -> w.DOMWidget:
    title = field.title or field.name.replace("_", " ")
    # Without a tooltip the front end shows "null" as one.
    named: dict[str, Any] = {"description": title, "layout": layout, "tooltip": field.help}
    match field.kind:
        case "size" if field.custom_size or field.text_size:
            return Size(field, layout)
        case "choice" | "size":
            options: list[Any] = [(shape_label(a), a) for a in field.allowed]
            if _fits_segments(options):
                return Segments(options=options, value=None, **named)
            left = [] if field.default in field.allowed else [_LEFT_OPTION]
            return Choice(options=[*left, *options], value=None, **named)
        case "switch" if isinstance(field.default, bool):
            return Switch(field.default, indent=False, **named)
        case "switch":
            return Choice(options=[_LEFT_OPTION, ("on", True), ("off", False)], value=LEFT, **named)
        case "whole" | "number" if (ends := _slider_ends(field)) is not None:
            kind = Whole if field.kind == "whole" else Number
            return kind(field.default, continuous_update=False, **ends, **named)
        case "json" | "words" | "pictures":
            form = "as JSON" if field.kind == "json" else "one per line"
            hint = field.help.split(". ")[0] or form
            return Lines(placeholder=hint, rows=2, continuous_update=False, **named)
    hint = "random" if field.role == "seed" else _left_words(field)
    return Line(placeholder=hint, continuous_update=False, **named)


def shown_value(control: w.DOMWidget, field: Field, state: State) -> Any:
    """Return what a control shows: what is given, or what the model does by default."""
    form, name = state.form, field.name
    if isinstance(control, Line | Lines):
        if name not in form.given:
            return form.problems[name].text if name in form.problems else ""
        value = form.given[name]
        is_typed = form.with_value(name, control.value).given.get(name) == value
        return control.value if is_typed else _as_text(field, value)
    value = form.given.get(name, field.default)
    if isinstance(control, Segments | Choice):
        known = [option[-1] if isinstance(option, tuple) else option for option in control.options]
        value = value if value in known else None
        return LEFT if value is None and LEFT in known else value
    return value


def ratio_icons(form: Form) -> str:
    rules = []
    for word in sorted({str(word) for field in form.fields for word in field.allowed}):
        if (shape := shape_of(word)) is not None:
            scale = min(_ICON_SIDE_PIXELS / (shape[0] * shape[1]) ** 0.5, 26 / max(shape))
            width, height = (max(5, round(side * scale)) for side in shape)
            size = f"--w:{width}px;--h:{height}px;--b:1.6px;--m:7px"
            rules.append(f'.imagen [data-value="{quote(shape_label(word), safe="")}"]{{{size}}}')
    return "".join(rules)


def shape_label(word: object) -> str:
    """Return the words for a choice: `9:16` for `portrait_16_9`."""
    name, _, sides = str(word).partition("_")
    if name in ("portrait", "landscape") and sides:
        long, short = sides.split("_", 1)
        return f"{short}:{long}" if name == "portrait" else f"{long}:{short}"
    return {"square_hd": "1:1 HD", "square": "1:1"}.get(str(word), str(word).replace("_", " "))


def _fits_segments(options: list[tuple[str, Any]]) -> bool:
    shapes = [value for _, value in options if shape_of(value) is not None]
    if len(shapes) > 1:
        return len(options) <= MAX_SHAPES
    return len(options) <= MAX_SEGMENTS and sum(len(label) for label, _ in options) <= MAX_LETTERS


def _slider_ends(field: Field) -> dict[str, float] | None:
    """Return the ends and the step of a field's slider; None if it does not fit one."""
    if field.low is None or field.high is None or field.default is None or field.role == "seed":
        return None
    fine = 0.1 if field.high - field.low > 2 else 0.05
    step = field.step or (1 if field.kind == "whole" else fine)
    low, high = field.low + step * field.above_low, field.high - step * field.below_high
    fits = low <= field.default <= high and (high - low) / step <= MAX_SLIDER_STEPS
    return {"min": low, "max": high, "step": step} if fits else None


def _left_words(field: Field) -> str:
    if str(field.default or "").strip():
        return f"model's default: {_as_text(field, field.default)}"
    if field.kind == "picture":
        return "a file or an https address"
    return field.help.split(". ")[0] if field.kind == "text" else "left to the model"


def _as_text(field: Field, value: object) -> str:
    if value is None:
        return ""
    if field.kind in ("words", "pictures") and isinstance(value, list):
        return "\n".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
