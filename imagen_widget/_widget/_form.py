"""FormView: the controls of the form, shown as far as the chosen model takes them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from imagen_widget._catalog import MODELS, Choice, find_model, resolve_endpoint
from imagen_widget._panel._form import FIELDS
from imagen_widget._widget import _html as markup
from imagen_widget._widget._parts import assign, classed, on_change, show
from imagen_widget.errors import InvalidRequest

if TYPE_CHECKING:
    from imagen_widget._panel import PanelController
    from imagen_widget._panel._form import Form
    from imagen_widget._panel._state import PanelState
    from imagen_widget._widget._parts import Kit

PLACEHOLDER = "A lighthouse at dusk, soft fog, long exposure…"
ADVANCED = ("output_format", "safety_tolerance")
_SELECTIONS = (w.Dropdown, w.ToggleButtons, w.SelectionSlider)


class FormView:
    """Builds the controls, tells the controller what the user sets, shows what the state holds.

    Attributes:
        controls: The controls by the field that they hold.
        advanced_fold: The button that folds the rarer ones away.
    """

    def __init__(self, kit: Kit, controller: PanelController, *, enhanced: bool) -> None:
        form = controller.state.form
        self._roll = kit.button(
            "", "dice", icon="random", tooltip="Random seed", does=controller.roll_seed
        )
        self.controls: dict[str, w.DOMWidget] = {
            "prompt": _prompt(form),
            "model": _model(form),
            "aspect_ratio": _segments("Aspect ratio", form, "aspect_ratio"),
            "num_images": _count(form, enhanced=enhanced),
            "resolution": _segments("Resolution", form, "resolution"),
            "seed": _seed(form),
            "output_format": _segments("Format", form, "output_format"),
            "safety_tolerance": _safety(form, enhanced=enhanced),
        }
        for name, control in self.controls.items():
            classed(control, "f", f"f-{name.replace('_', '-')}")
            on_change(control, partial(controller.set_field, name))
        self.advanced_fold = classed(
            w.ToggleButton(description="Advanced", icon="chevron-right"), "fold"
        )
        self._about = kit.html("", "about")
        self._seed_box = classed(w.Box([self.controls["seed"], self._roll]), "seed")
        rarer = [self.controls[name] for name in ADVANCED]
        self._advanced = classed(w.Box([*rarer, self._about]), "row", "advanced")
        main = [self.controls[n] for n in ("model", "aspect_ratio", "num_images", "resolution")]
        self.rows: tuple[w.DOMWidget, ...] = (
            self.controls["prompt"],
            kit.box(*main, self._seed_box, classes=("row",)),
            self.advanced_fold,
            self._advanced,
        )
        self.advanced_fold.observe(lambda _: self._fold(), "value")
        self._fold()

    def bindings(self) -> dict[str, tuple[w.Widget, str]]:
        """Return the controls by field, each with the trait that the browser sets."""
        return {
            name: (control, "index" if isinstance(control, _SELECTIONS) else "value")
            for name, control in self.controls.items()
        }

    def render(self, state: PanelState, before: PanelState | None) -> None:
        """Show the form of a state, as far as it changed."""
        form = state.form
        held = before.form if before is not None else None
        if held is None or form.model != held.model:
            self._show_model(state)
        for name in FIELDS:
            if held is None or getattr(form, name) != getattr(held, name):
                assign(self.controls[name], value=getattr(form, name))

    def _show_model(self, state: PanelState) -> None:
        form = state.form
        assign(self.controls["model"], options=_model_options(form.model))
        for name, control in self.controls.items():
            if name in {"prompt", "model"}:
                continue
            parameter = form.takes(name)
            show(self._seed_box if name == "seed" else control, when=parameter is not None)
            if isinstance(parameter, Choice) and tuple(control.options) != parameter.allowed:
                control.options = parameter.allowed
                control.value = getattr(form, name)
        assign(self._about, value=markup.about_model(state))

    def _fold(self) -> None:
        opened = self.advanced_fold.value
        assign(self.advanced_fold, icon="chevron-down" if opened else "chevron-right")
        show(self._advanced, when=opened)


def take(control: w.Widget, trait: str, value: Any) -> None:  # noqa: ANN401 - as the browser sent it
    """Set a control to what the browser shows, unless it cannot hold that."""
    import traitlets

    try:
        setattr(control, trait, value)
    except traitlets.TraitError:
        return


def _prompt(form: Form) -> w.Textarea:
    # Sent on leaving the field, as one message ahead of the click on Generate: with one message
    # per key a busy kernel would still be behind when the click arrives, and an old prompt be paid.
    return w.Textarea(
        form.prompt, description="Prompt", placeholder=PLACEHOLDER, continuous_update=False
    )


def _seed(form: Form) -> w.Text:
    return w.Text(form.seed, description="Seed", placeholder="random", continuous_update=False)


def _model(form: Form) -> w.Dropdown:
    return w.Dropdown(
        options=_model_options(form.model),
        value=form.model,
        description="Model",
        equals=_same_model,
    )


def _model_options(chosen: str) -> tuple[tuple[str, str], ...]:
    known = tuple((model.title, model.endpoint) for model in MODELS)
    return known if find_model(chosen) else (*known, (chosen, chosen))


def _same_model(one: str, other: str) -> bool:
    """Tell whether two names mean one model, so that an alias can be assigned too."""
    try:
        return resolve_endpoint(one) == resolve_endpoint(other)
    except InvalidRequest:
        return False


def _segments(title: str, form: Form, name: str) -> w.ToggleButtons:
    value = getattr(form, name)
    parameter = form.takes(name)
    options = parameter.allowed if isinstance(parameter, Choice) else (value,)
    return w.ToggleButtons(options=options, value=value, description=title)


def _count(form: Form, *, enhanced: bool) -> w.DOMWidget:
    """Return a slider where the script layer can name its handle, else segments."""
    if not enhanced:
        return w.ToggleButtons(options=(1, 2, 3, 4), value=form.num_images, description="Images")
    return w.IntSlider(form.num_images, min=1, max=4, description="Images", continuous_update=False)


def _safety(form: Form, *, enhanced: bool) -> w.DOMWidget:
    kind = w.SelectionSlider if enhanced else w.Dropdown
    return kind(
        options=("1", "2", "3", "4", "5", "6"),
        value=form.safety_tolerance,
        description="Safety tolerance",
    )
