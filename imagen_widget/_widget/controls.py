"""Controls: for each field of a model the stock control that fits its kind.

The value of a control is what is in force. Setting it to None leaves the field to the model's
default; whether a field is given or left is in the state, and shown by a CSS class.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import ipywidgets as w
import traitlets

from imagen_widget._html import escape, tag
from imagen_widget._models import Field
from imagen_widget._widget.form import Form, shape_of
from imagen_widget._widget.parts import Kit, assign, css, is_rendering, mark, on_change, rendering
from imagen_widget.errors import InvalidRequest

MAX_SEGMENTS = 7
MAX_SHAPES = 16
MAX_LETTERS = 46
MAX_SLIDER_STEPS = 1000
PLACEHOLDER = "A lighthouse at dusk, soft fog, long exposure…"
CUSTOM = "custom"
LEFT = ""  # in a list, since ipywidgets shows None as no choice at all
_ICON_SIDE_PIXELS = 15

Give = Callable[[str, object], None]


class Leavable:
    """A control whose value can be set to None, to what it shows already, and as Python has it."""

    given: Callable[[object], None] | None = None

    def __setattr__(self, name: str, value: object) -> None:
        if name != "value" or self.given is None or is_rendering():
            super().__setattr__(name, value)
            return
        is_text = isinstance(self, w.Text | w.Textarea)
        if value is not None and (isinstance(value, str) or not is_text):
            before = self.value
            super().__setattr__(name, value)
            if self.value != before:
                return  # observed as a change
        self.given(value)

    value: Any


class Segments(Leavable, w.ToggleButtons):  # type: ignore[misc]  # ipywidgets has no types
    """A choice among few."""


class Choice(Leavable, w.Dropdown):  # type: ignore[misc]  # as above
    """A choice among many."""


class Whole(Leavable, w.IntSlider):  # type: ignore[misc]  # as above
    """A whole number between two others."""


class Number(Leavable, w.FloatSlider):  # type: ignore[misc]  # as above
    """A number between two others."""


class Switch(Leavable, w.Checkbox):  # type: ignore[misc]  # as above
    """On or off."""


class Line(Leavable, w.Text):  # type: ignore[misc]  # as above
    """A text, or a number without bounds; empty if it is left to the model."""


class Lines(Leavable, w.Textarea):  # type: ignore[misc]  # as above
    """A text of several lines; empty if it is left to the model."""


class Size(Leavable, w.Box):  # type: ignore[misc]  # as above
    """A size: one of the presets, or a width and a height.

    Attributes:
        value: A preset, or an object with `width` and `height`.
    """

    value = traitlets.Any(None, allow_none=True)

    def __init__(self, field: Field, **looks: Any) -> None:
        options = [*((shape_label(a), a) for a in field.allowed), (CUSTOM, CUSTOM)]
        kind = Segments if _fits_segments(options) else Choice
        self.preset = kind(options=options, description=field.title, value=None, **looks)
        looks = {"layout": looks.get("layout") or w.Layout(), "_dom_classes": css("f", "side")}
        pixels = {"min": 1, "max": 14142, **looks}
        self.width = w.BoundedIntText(1024, description="Width", **pixels)
        self.height = w.BoundedIntText(1024, description="Height", **pixels)
        sides = w.Box([self.width, self.height], _dom_classes=css("sides"))
        super().__init__([self.preset, sides])
        self.known = (*field.allowed, CUSTOM)
        self.observe(self._shown, "value")
        for part in (self.preset, self.width, self.height):
            on_change(part, lambda _: self._picked())

    def _picked(self) -> None:
        sides = {"width": self.width.value, "height": self.height.value}
        self.set_trait("value", sides if self.preset.value == CUSTOM else self.preset.value)

    def _shown(self, change: Mapping[str, Any]) -> None:
        value = change["new"]
        with rendering():
            if isinstance(value, Mapping):
                assign(self.width, value=int(value["width"]))
                assign(self.height, value=int(value["height"]))
            custom = value is not None and value not in self.known
            assign(self.preset, value=CUSTOM if custom else value)
        mark(self, "custom", when=self.preset.value == CUSTOM)


class PictureStrip(w.Box):  # type: ignore[misc]  # as above
    """The input pictures: thumbnails, a place to drop more, and the mask.

    Attributes:
        value: The pictures; takes whatever `image=` and `images=` of `generate` take.
    """

    value = traitlets.Any(())

    def __setattr__(self, name: str, value: object) -> None:
        if name == "value" and not is_rendering():
            self._set_pictures(value)
        else:
            super().__setattr__(name, value)

    def __init__(self, kit: Kit, set_pictures: Callable[[object], None]) -> None:
        self._set_pictures = set_pictures
        self.markup = kit.html("", "strip-markup")
        self.mask = kit.html("", "mask")
        super().__init__([self.markup, self.mask], _dom_classes=css("strip"))


class Controls(Mapping[str, w.DOMWidget]):
    """The controls of the model in the form, by field name.

    Args:
        kit: What makes the pieces.
        give: Takes what a control holds now.
        set_pictures: Takes input pictures.
    """

    def __init__(self, kit: Kit, give: Give, set_pictures: Callable[[object], None]) -> None:
        self._kit, self._give = kit, give
        self.prompt = w.Textarea(
            # Sent on leaving the field, as one message ahead of the click on Generate: with one
            # message a key a busy kernel would be behind, and an old prompt be paid.
            description="Prompt",
            placeholder=PLACEHOLDER,
            continuous_update=False,
            _dom_classes=css("f", "f-prompt"),
        )
        on_change(self.prompt, partial(give, "prompt"))
        self.strip = PictureStrip(kit, set_pictures)
        self._form: Form | None = None
        self._controls: dict[str, w.DOMWidget] = {}
        self._boxes: dict[str, w.Box] = {}
        self._fields: dict[str, Field] = {}
        self._problems: dict[str, w.HTML] = {}
        self._named: dict[str, w.DOMWidget] = {}

    def __getitem__(self, name: str) -> w.DOMWidget:
        """Return the control of a field of the model."""
        return self._named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def named(self, name: str) -> w.DOMWidget:
        """Return the control of a common name, whatever the model calls its field.

        A model that has none gets a hidden one: what is set there is translated or refused.
        """
        form = self._form
        assert form is not None
        role = {"num_images": "count", "seed": "seed"}.get(name, "")
        field = form.model.role(role) if role else None  # type: ignore[arg-type]
        found = self._named.get(field.name if field is not None else name)
        if found is None:
            hidden = Field(name, "text", name.replace("_", " "))
            found = self._controls[name] = self._named[name] = self._make(hidden)
            found.layout = w.Layout(display="none")
        return found

    def close(self) -> None:
        """Free the controls that are not in the form."""
        for control in self._controls.values():
            self._kit.free(control)

    def bindings(self) -> dict[str, tuple[w.Widget, str]]:
        """Return the stock controls by id, each with the trait that the browser sets."""
        found: dict[str, tuple[w.Widget, str]] = {}
        for control in (self.prompt, *self._controls.values()):
            sized = isinstance(control, Size)
            for part in (control.preset, control.width, control.height) if sized else (control,):
                trait = "index" if isinstance(part, Segments | Choice) else "value"
                found[part.model_id] = (part, trait)
        return found

    def build(self, form: Form) -> tuple[list[w.Widget], list[w.Widget]]:
        """Make the controls of a form's model; return those in sight and those that fold away.

        Controls of fields that are the same as before stay as they are.
        """
        old, boxes, self._form = self._controls, self._boxes, form
        self._controls, self._boxes, self._named = {}, {}, {}
        rows = [[self._placed(f, old, boxes) for f in part] for part in (form.main, form.advanced)]
        prompt, picture = form.model.role("prompt"), form.picture_field
        self._named |= {"prompt" if prompt is None else prompt.name: self.prompt}
        self._named |= {} if picture is None else {picture.name: self.strip}
        for name, control in old.items():
            if self._controls.get(name) is not control:
                self._kit.free(boxes.get(name, control))
        return rows[0], rows[1]

    def render(self, form: Form, before: Form | None) -> None:
        """Show the values of a form, as far as they changed."""
        assign(self.prompt, value=form.prompt)
        self.strip.set_trait("value", form.pictures)
        for name, control in self._controls.items():
            field = self._fields[name]
            problem = form.problems.get(name)
            given = name in form.given
            value = form.given.get(name, field.default)
            if problem is not None:
                show_text(control, problem.text)
            elif before is None or before.given != form.given or before.problems != form.problems:
                show_value(control, field, value, given=given)
            mark(control, "given", when=given or problem is not None)
            mark(control, "left", when=not given and problem is None)
            if name in self._boxes and (said := self._problems.get(name)) is not None:
                line = "" if problem is None else tag("span", escape(problem.why), role="alert")
                assign(said, value=line)
                mark(control, "wrong", when=problem is not None)

    def _placed(
        self, field: Field, old: dict[str, w.DOMWidget], boxes: dict[str, w.Box]
    ) -> w.DOMWidget:
        """Return the control of a field, in a box if something stands beside it."""
        name, kit = field.name, self._kit
        control = old.get(name)
        kept = control is not None and self._fields.get(name) == field
        control = control if kept else self._make(field)
        self._fields[name], self._controls[name], self._named[name] = field, control, control
        if kept and name in boxes:
            self._boxes[name] = boxes[name]
        elif field.role == "seed":
            roll = partial(self._give, "roll", 0)
            dice = kit.button("", "dice", icon="random", tooltip="Random seed", does=roll)
            self._boxes[name] = kit.box(control, dice, classes=("seed",))
        elif isinstance(control, Line | Lines):
            self._problems[name] = kit.html("", "problem")
            kind = "wide" if isinstance(control, Lines) else "short"
            beside = (control, self._problems[name])
            self._boxes[name] = kit.box(*beside, classes=("with-problem", kind))
        return self._boxes.get(name, control)

    def _make(self, field: Field) -> w.DOMWidget:
        control = make_control(field, layout=self._kit.layout)
        control._dom_classes = (
            *control._dom_classes,
            *css("f", f"f-{field.name.replace('_', '-')}", f"n-{field.name}", f"k-{field.kind}"),
        )
        give = partial(self._give, field.name)
        on_change(control, give)
        control.given = give
        self._fields[field.name] = field
        return control


def make_control(field: Field, **looks: Any) -> w.DOMWidget:
    """Return the control that fits a field, not yet holding anything."""
    named = {"description": field.title or field.name.replace("_", " "), **looks}
    title = {"tooltip": field.help} if field.help else {}
    match field.kind:
        case "size" if field.custom_size or field.text_size:
            return Size(field, **looks)
        case "choice" | "size":
            return _choice(field, named)
        case "switch" if isinstance(field.default, bool):
            return Switch(field.default, indent=False, **named, **title)
        case "switch":
            options = [("the model's choice", LEFT), ("on", True), ("off", False)]
            return Choice(options=options, value=LEFT, **named)
        case "whole" | "number" if _fits_slider(field):
            kind = Whole if field.kind == "whole" else Number
            ends = {"min": field.low, "max": field.high, "step": field.step or _step(field)}
            return kind(field.default, continuous_update=False, **ends, **named, **title)
        case "json" | "words" | "pictures":
            form = "as JSON" if field.kind == "json" else "one a line"
            hint = field.help.split(". ")[0] or form
            return Lines(placeholder=hint, rows=2, continuous_update=False, **named, **title)
    hint = {"seed": "random"}.get(field.role) or _left_words(field)
    return Line(placeholder=hint, continuous_update=False, **named, **title)


def show_value(control: w.DOMWidget, field: Field, value: Any, *, given: bool) -> None:
    """Let a control show what is in force."""
    if isinstance(control, Line | Lines):
        show_text(control, _as_text(field, value) if given else "")
    elif isinstance(control, Segments | Choice):
        known = [option[-1] if isinstance(option, tuple) else option for option in control.options]
        value = value if value in known else None
        assign(control, value=LEFT if value is None and LEFT in known else value)
    else:
        assign(control, value=value)


def show_text(control: w.DOMWidget, text: str) -> None:
    """Let a control show a text, which may not be a value."""
    if isinstance(control, Line | Lines):
        assign(control, value=text)


def take(control: w.Widget, trait: str, value: object) -> None:
    """Set a control to what the browser shows, unless it cannot hold that."""
    try:
        control.set_trait(trait, value)
    except (traitlets.TraitError, InvalidRequest):
        return


def ratio_icons(form: Form) -> str:
    """Return the rules that draw the shapes of a form's choices, each with the same area."""
    from urllib.parse import quote

    words = {str(word) for field in form.fields for word in field.allowed}
    rules = []
    for word in sorted(words):
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


def _choice(field: Field, named: dict[str, Any]) -> w.DOMWidget:
    options: list[tuple[str, Any]] = [(shape_label(a), a) for a in field.allowed]
    if _fits_segments(options):
        return Segments(options=options, value=None, **named)
    if field.default not in field.allowed:
        options = [("the model's choice", LEFT), *options]
    return Choice(options=options, value=None, **named)


def _fits_segments(options: list[tuple[str, Any]]) -> bool:
    shapes = [value for _, value in options if shape_of(value) is not None]
    if len(shapes) > 1:
        return len(options) <= MAX_SHAPES
    return len(options) <= MAX_SEGMENTS and sum(len(label) for label, _ in options) <= MAX_LETTERS


def _fits_slider(field: Field) -> bool:
    if field.low is None or field.high is None or field.default is None or field.role == "seed":
        return False
    within = field.low <= field.default <= field.high
    return within and (field.high - field.low) / (field.step or _step(field)) <= MAX_SLIDER_STEPS


def _step(field: Field) -> float:
    if field.kind == "whole":
        return 1
    assert field.low is not None
    assert field.high is not None
    return 0.1 if field.high - field.low > 2 else 0.05


def _left_words(field: Field) -> str:
    if str(field.default or "").strip():
        return f"model's default: {_as_text(field, field.default)}"
    if field.kind == "picture":
        return "a file or an https address"
    return field.help.split(". ")[0] if field.kind == "text" else "left to the model"


def _as_text(field: Field, value: object) -> str:
    import json

    if value is None:
        return ""
    if field.kind in ("words", "pictures") and isinstance(value, list):
        return "\n".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
