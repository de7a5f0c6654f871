"""ImagenWidget: the form, the status and the pictures as one ipywidget.

It is a view: it draws a `PanelState` and passes clicks to the `PanelController`; what they mean is
decided there. Only stock controls, besides an optional script layer.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import ipywidgets as w
import traitlets

from imagen_widget._catalog import MODELS, Choice
from imagen_widget._html import escape
from imagen_widget._panel import PanelController
from imagen_widget._panel._state import Pictures, Tab, Trouble
from imagen_widget._widget import _html as markup
from imagen_widget._widget import _live as live
from imagen_widget._widget._defaults import opening_form, settings_reader
from imagen_widget._widget._form import FormView, take
from imagen_widget._widget._history import HistoryView
from imagen_widget._widget._jobs import JobActions, JobsView
from imagen_widget._widget._kept import KeptOutput
from imagen_widget._widget._parts import (
    Kit,
    assign,
    classed,
    close,
    mark,
    on_change,
    rendering,
    show,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from imagen_widget._panel._state import PanelState

_ICON_SIDE_PIXELS = 14


class ImagenWidget(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A form that makes pictures.

    Args:
        controller: Decides what the controls mean; by default one that works with the settings.
        defaults: What the form holds at first (`prompt`, `model`, `aspect_ratio`, `num_images`,
            `resolution`, `output_format`, `seed`, `safety_tolerance`), and settings for this
            widget (`provider`, `home`, `price`, …).

    Attributes:
        value: The last `Generation`, None before the first; observable.
        prompt: The text area; `.value` is what is typed.
        model: The dropdown; `.value` is an endpoint id, and takes an alias too.
        aspect_ratio: The shapes.
        num_images: How many.
        resolution: `1K`, `2K` …
        output_format: The file format.
        seed: A whole number as text, "" for a random one.
        safety_tolerance: `1` (strict) to `6`.
        generate_button: Starts a job.
        cancel_button: Cancels the newest running job.
        status: `.value` is the text shown.

    Raises:
        InvalidRequest: A default is not allowed; the message names it.
    """

    value = traitlets.Any(None, allow_none=True, help="The last Generation")
    _open = False

    def __init__(self, *, controller: PanelController | None = None, **defaults: Any) -> None:  # noqa: ANN401 - checked by the form
        if controller is None:
            settings = settings_reader(defaults)
            controller = PanelController(opening_form(defaults, settings), settings=settings)
        super().__init__()
        self._open = True
        self._controller = controller
        self._token = f"imagen-{uuid4().hex[:10]}"
        self._kept = KeptOutput(self._token)
        self._drawn: PanelState | None = None
        self._build()
        controller.listen(self._render, self._resend)
        self._render(controller.state)
        controller.open()

    def close(self) -> None:
        """Free everything that the widget made; running jobs go on and land in history."""
        if self._open:
            self._open = False
            self._controller.close()
            self.unobserve_all()
            for page in (self._create, self._history.box):
                close(page, keep=self._kit.shared)
            self._jobs.close()
            close(self, keep=self._kit.shared)
            self._kit.close()
            return
        super().close()

    def load_settings(self, picture: str | Path | bytes) -> None:
        """Fill the form with the settings that a saved picture carries.

        Raises:
            InvalidRequest: The file cannot be read, or carries no settings.
        """
        from imagen_widget._history import History

        self._controller.reuse(History.settings_from(picture).request)

    # ----------------------------------------------------------------------------- construction

    def _build(self) -> None:
        controller, kit = self._controller, Kit()
        self._kit = kit
        self._form = FormView(kit, controller, enhanced=live.is_available())
        for name, control in self._form.controls.items():
            setattr(self, name, control)
        self.generate_button = kit.button(
            "Generate", "generate", icon="magic", does=controller.generate
        )
        self.cancel_button = kit.button("Cancel", "cancel", icon="stop", does=controller.cancel)
        self._price = kit.html("", "price")
        self.status = kit.html("", "status")
        self._bar = kit.html("", "bar-box")
        actions = JobActions(controller.cancel, self._save, controller.use_settings)
        self._jobs = JobsView(kit, actions, token=self._token)
        self._history = HistoryView(kit, controller)
        self._create = self._create_page()
        self._layer = live.make_layer(self._form.bindings(), self._on_layer)
        style = kit.html(f"<style>{_style_sheet()}{self._kept.hiding_css}</style>", "sheet")
        parts = (style, self._header(), self._create, self._history.box)
        self.children = parts if self._layer is None else (*parts, self._layer)
        self.add_class("imagen")

    def _header(self) -> w.Box:
        self._chip = self._kit.html("", "chip-box")
        self._tabs = classed(
            w.ToggleButtons(
                options=(("Create", Tab.CREATE), ("History", Tab.HISTORY)), description="View"
            ),
            "tabs",
        )
        on_change(self._tabs, self._controller.open_tab)
        brand = self._kit.html(markup.HEADER, "brand-box")
        return self._kit.box(brand, self._chip, self._tabs, classes=("header",))

    def _create_page(self) -> w.Box:
        kit, past = self._kit, self._controller.past
        self._pending_text = kit.html("", "stretch")
        self._fetch = kit.button("Fetch", "quiet", icon="download", does=past.resume)
        self._pending = classed(w.Box([self._pending_text, self._fetch]), "pending")
        self._trouble_text = kit.html("", "stretch")
        self._retry = classed(w.Button(description="Retry", icon="repeat"), "quiet")
        self._retry.on_click(lambda _: self._controller.retry())
        self._trouble = classed(w.Box([self._trouble_text, self._retry]), "trouble")
        buttons = (self.generate_button, self.cancel_button, self._price)
        return classed(
            w.Box(
                [
                    self._pending,
                    *self._form.rows,
                    kit.box(*buttons, classes=("actions",)),
                    self.status,
                    self._bar,
                    self._trouble,
                    self._jobs.box,
                ]
            ),
            "page",
            "create",
        )

    # ---------------------------------------------------------------------------------- drawing

    def _render(self, state: PanelState) -> None:
        """Draw a state; only what differs from the one drawn before is sent."""
        before, self._drawn = self._drawn, state
        with rendering():
            self._form.render(state, before)
            self._render_status(state)
            self._jobs.render(state, before)
            self._history.render(state, before)
            assign(self._tabs, value=state.tab)
        show(self._create, when=state.tab is Tab.CREATE)
        show(self._history.box, when=state.tab is Tab.HISTORY)
        if state.latest is not self.value:
            self.value = state.latest
        self._kept.render(state, before)

    def _render_status(self, state: PanelState) -> None:
        headline = state.headline
        ending = headline.ending if headline is not None else None
        assign(self._chip, value=markup.chip(state))
        assign(self._price, value=markup.price(state))
        assign(self.generate_button, disabled=not state.can_generate)
        assign(self.cancel_button, disabled=state.cancellable is None)
        assign(self.status, value=escape(state.status))
        mark(self.status, "busy", when=bool(state.active))
        mark(self.status, "done", when=isinstance(ending, Pictures))
        mark(self.status, "failed", when=isinstance(ending, Trouble))
        assign(self._bar, value=markup.progress_bar(headline))
        assign(self._trouble_text, value=markup.trouble(state.trouble))
        show(self._trouble, when=state.trouble is not None)
        show(self._retry, when=state.trouble is not None and state.trouble.again is not None)
        assign(self._pending_text, value=markup.pending(state.pending))
        assign(self._fetch, disabled=state.resuming)
        show(self._pending, when=state.pending > 0)
        if self._layer is not None:
            assign(self._layer, announcement=state.announcement)

    def _resend(self) -> None:
        """Send the outcome once more, for a front end that dropped it among too many messages."""
        self.status.send_state("value")
        self._bar.send_state("value")
        self.generate_button.send_state("disabled")
        self.cancel_button.send_state("disabled")
        self._jobs.resend()
        self._kept.resend()

    # --------------------------------------------------------------------------------- clicks

    def _save(self, number: int, index: int) -> None:
        """Hand a picture to the browser where the script layer runs, else save it to a file."""
        if self._layer is None or not self._controller.state.enhanced:
            self._controller.save(number, index)
            return
        export = self._controller.export(number, index)
        if export is not None:
            live.download(self._layer, export)

    def _on_layer(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"kind": "ready"}:
                self._controller.enhance()
            case {"kind": "generate", "values": {**seen}}:
                for name, (control, trait) in self._form.bindings().items():
                    if name in seen:
                        take(control, trait, seen[name])
                self._controller.generate()

    # -------------------------------------------------------------------------------- display

    def __repr__(self) -> str:
        return f"<ImagenWidget: {self.status.value}>" if self._open else "<ImagenWidget: closed>"

    def _repr_mimebundle_(self, **options: object) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options) or {}
        return {**bundle, "text/plain": repr(self), "text/html": markup.NO_KERNEL}

    def _ipython_display_(self) -> None:
        self._kept.display(self._repr_mimebundle_())


@cache
def _style_sheet() -> str:
    sheet = files("imagen_widget._widget").joinpath("_style.css").read_text("utf-8")
    return sheet + "".join(_ratio_icon(ratio) for ratio in sorted(_ratios()))


def _ratios() -> set[str]:
    offered = (model.parameter("aspect_ratio") for model in MODELS)
    return {ratio for choice in offered if isinstance(choice, Choice) for ratio in choice.allowed}


def _ratio_icon(ratio: str) -> str:
    """Return the rule that draws the shape of a ratio, each with the same area."""
    width, height = map(int, ratio.split(":"))
    scale = _ICON_SIDE_PIXELS / (width * height) ** 0.5
    size = f"--w:{width * scale:.0f}px;--h:{height * scale:.0f}px"
    return f'.imagen [data-value="{quote(ratio, safe="")}"]{{{size}}}'
