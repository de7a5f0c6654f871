"""ImagenWidget: the form, the status and the pictures as one ipywidget.

It is a view: it draws a `State` and passes clicks to the `Controller`; what they mean is decided
there.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import ipywidgets as w
import traitlets

from imagen_widget._html import escape, in_ascii, tag
from imagen_widget._inputs import mask_as_alpha
from imagen_widget._models import COMMON_NAMES
from imagen_widget._picture import preview
from imagen_widget._result import GeneratedImage, Generation, settings_from
from imagen_widget._series import style
from imagen_widget._settings import PRESETS, SETTINGS
from imagen_widget._studio import Studio, default_studio
from imagen_widget._widget import words
from imagen_widget._widget.controller import NO_PROMPT, Controller, Timer, filled
from imagen_widget._widget.controls import (
    Controls,
    Kit,
    assign,
    css,
    on_change,
    ratio_icons,
    tree,
    when,
)
from imagen_widget._widget.form import Form
from imagen_widget._widget.gallery import HEADER, compared, gallery, history
from imagen_widget._widget.kept import NO_KERNEL, KeptOutput
from imagen_widget._widget.state import State, Tab
from imagen_widget.errors import InvalidRequest, invalid

__all__ = ["ImagenWidget"]

_FOLDER = files(__package__)
_STYLE = style("theme") + _FOLDER.joinpath("style.css").read_text("utf-8")
RESTARTED = "The kernel was restarted: run the cell again"
_YIELD_SECONDS = 0.001  # for the thread that sends messages, which waits up to 5 ms otherwise
_MAX_FILE_BYTES = 300_000_000
_PROMPT = ".imagen-f-prompt textarea"


class Layer(anywidget.AnyWidget):
    """The form's script layer: shortcuts, names for screen readers, pictures in and large."""

    _esm = _FOLDER.joinpath("script.js").read_text("utf-8")
    form: Any = traitlets.List().tag(sync=True)
    announcement = traitlets.Unicode("").tag(sync=True)
    chooser = traitlets.Dict().tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)
    token = traitlets.Unicode("").tag(sync=True)


class ImagenWidget(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A form that makes pictures.

    Args:
        studio: The account and home to work with; by default those of the settings in force.
        defaults: What the form holds at first (`prompt`, `model`, `image`, `aspect_ratio` and any
            other field of the model), or settings for this widget (`provider`, `home`, …).

    Attributes:
        value: The last `Generation`; None before the first. Observable.
        prompt: The text area; `.value` is what is typed.
        model: The chooser; `.value` is an endpoint id, and takes an alias or any endpoint id.
        fields: The controls of the model by field name. The six common names are attributes too.
            The value of a control is what is in force; set to None it is left to the model.
        generate_button: Starts a job.
        cancel_button: Cancels the newest running job.
        status: `.value` is the text shown.

    Raises:
        InvalidRequest: A default is not allowed; the message names it.
    """

    value = traitlets.Any(None, allow_none=True, help="The last Generation")
    _open = False

    def __init__(
        self, *, studio: Studio | None = None, timer: Timer | None = None, **defaults: Any
    ) -> None:
        names = {s.name for s in SETTINGS} - PRESETS - {"model"} | {"api_key"}
        chosen = {name: defaults.pop(name) for name in list(defaults) if name in names}
        if chosen and studio is not None:
            raise invalid(min(chosen), "the studio has its own settings", "Give it to Studio(…).")
        if chosen:
            studio = Studio(**chosen)
        find: Callable[[], Studio] = default_studio if studio is None else lambda: studio
        first = find()
        opening = filled(Form(first.known(defaults.pop("model", None))), first, defaults)
        super().__init__()
        self._controller = Controller(find, opening, timer=timer)
        self._token = f"imagen-{uuid4().hex[:10]}"
        self._kept = KeptOutput(self._token)
        self._drawn = self._controller.state
        self._files: dict[str, list[bytes]] = {}
        self._build()
        self._open = True
        self._controller.open(self._render, self._resend)

    def __getattr__(self, name: str) -> Any:
        """Return the control of one of the six common names, whatever the model calls it."""
        if name not in COMMON_NAMES or not self._open:
            raise AttributeError(name)
        return self.fields.named(name)

    def __setattr__(self, name: str, value: object) -> None:
        if self._open and name in (*COMMON_NAMES, "prompt", "model"):
            raise invalid(name, "this is a control, which has a value", f"Set {name}.value.")
        super().__setattr__(name, value)

    async def generate(self, **changes: Any) -> Generation:
        """Put values into the form, where they stay, start a job, and return its pictures.

        Raises:
            ImagenError: As the function `generate` raises it; or the widget is closed.
        """
        self._check_open()
        return await self._controller.generated(changes)

    def close(self) -> None:
        """Free everything that the widget made; running jobs go on and land in history."""
        if not self._open:
            super().close()
            return
        self._open = False
        self._controller.close()
        self.unobserve_all()
        self._kit.free(self)
        self._kit.close()
        self.__dict__.pop("_repr_mimebundle_", None)  # ipywidgets puts None there

    def load_settings(self, picture: str | Path | bytes) -> None:
        """Fill the form with the settings that a saved picture carries.

        Raises:
            InvalidRequest: The file cannot be read or carries no settings, or the widget is closed.
        """
        self._check_open()
        found = settings_from(picture)
        self._controller.reuse(found.request, seed=found.seed)

    def _check_open(self) -> None:
        if not self._open:
            raise InvalidRequest("The form is closed.", remedy="Make a new one: ImagenWidget().")

    # ----------------------------------------------------------------------------- construction

    def _build(self) -> None:
        controller, kit = self._controller, Kit()
        self._kit = kit
        # What answers a click is bound first, so that it is drawn first.
        self.generate_button = kit.button("Generate", "generate", icon="magic", does=self._press)
        kit.bind(self.generate_button, disabled=lambda state: not state.can_generate)
        self.cancel_button = kit.button("Cancel", "cancel", icon="stop", does=controller.cancel)
        kit.bind(self.cancel_button, disabled=lambda state: state.cancellable is None)
        self.status = kit.text(lambda state: escape(state.status), "status")
        kit.bind(self.status, _dom_classes=lambda state: css("status", *words.marks(state)))
        self.fields = Controls(kit, controller)
        self.prompt = self.fields.prompt
        self.model = w.Combobox(
            description="Model",
            tooltip="",
            continuous_update=False,
            _dom_classes=css("f", "f-model"),
        )
        on_change(self.model, controller.choose_model)
        kit.bind(self.model, options=lambda state: tuple(model.id for model in state.models))
        kit.bind(self.model, value=attrgetter("form.model.id"))
        self._jobs = gallery(kit, controller, self._token)
        past = history(
            kit,
            controller,
            save=lambda: controller.run(self._save_ticked),
            compare=lambda: controller.run(self._compare_ticked),
        )
        self._layer = Layer(token=self._token)
        self._layer.on_msg(self._on_message)
        kit.bind(
            self._layer,
            form=lambda _: [part.model_id for part in self.fields.stock()],
            chooser=when(attrgetter("models", "account", "prices"), words.chooser),
            chosen=attrgetter("form.model.id"),
            announcement=attrgetter("announcement"),
        )
        sheet = kit.text(when(attrgetter("form.model"), self._style), "sheet")
        tabs = w.ToggleButtons(
            options=(("Create", Tab.CREATE), ("History", Tab.HISTORY)),
            description="View",
            _dom_classes=css("tabs"),
        )
        on_change(tabs, controller.open_tab)
        kit.bind(tabs, value=attrgetter("tab"))
        brand, chip = kit.html(HEADER, "brand-box"), kit.text(words.chip, "chip-box")
        header = kit.box(brand, chip, tabs, classes=("header",))
        restarted = kit.html(tag("div", RESTARTED, role="status"), "restarted")
        pages = (self._create_page(), past)
        self.children = (sheet, restarted, header, *pages, self._layer)
        self.add_class("imagen")

    def _create_page(self) -> w.Box:
        kit, controller = self._kit, self._controller
        fetch = kit.button("Fetch", "quiet", icon="download", does=controller.resume)
        kit.bind(fetch, disabled=attrgetter("resuming"))
        pending = (kit.text(words.pending, "stretch"), fetch)
        retry = kit.button(
            "Retry",
            "quiet",
            icon="repeat",
            does=controller.retry,
            shown=lambda state: state.trouble is not None and state.trouble.again is not None,
        )
        trouble = (kit.text(words.trouble, "stretch"), retry)
        switch = kit.button(
            "",
            "quiet",
            icon="arrow-right",
            does=lambda: controller.choose_model(words.successor(controller.state)),
            shown=words.successor,
        )
        kit.bind(switch, description=lambda state: f"Use {words.successor(state)} instead")
        self._bar = kit.text(words.progress_bar, "bar-box")
        price = kit.text(lambda state: words.price(state, controller.price(state.form)), "price")
        rows = [
            kit.box(*pending, classes=("pending",), shown=attrgetter("pending")),
            kit.bind(self.fields.strip, shown=attrgetter("form.max_pictures")),
            kit.bind(self.prompt, shown=attrgetter("form.takes_prompt")),
            kit.box(self.model, switch, classes=("model-row",)),
            kit.text(lambda state: escape(state.notice), "note"),
            self.fields.main,
            self.fields.fold,
            self.fields.advanced,
            kit.text(words.about_model, "about"),
            kit.box(self.generate_button, self.cancel_button, price, classes=("actions",)),
            self.status,
            self._bar,
            kit.box(*trouble, classes=("trouble",), shown=attrgetter("trouble")),
            self._jobs,
        ]
        classes = ("page", "create")
        return kit.box(*rows, classes=classes, shown=lambda state: state.tab is Tab.CREATE)

    # ---------------------------------------------------------------------------------- drawing

    def _render(self, state: State) -> None:
        """Draw a state; only what differs from the one drawn before is sent."""
        before, self._drawn = self._drawn, state
        if state.last_number != before.last_number:
            assign(self.status, value=escape(state.status))  # a click is answered by it first
            time.sleep(_YIELD_SECONDS)
        self._kit.draw(state)
        for job in before.running:
            now = state.job(job.number)
            if now is not None and not now.active:
                self._tell("ended", text=now.status, seconds=now.elapsed)
        try:
            if state.latest is not self.value:
                self.value = state.latest
        finally:  # an observer may fail
            self._kept.render(state, before)

    def _style(self, state: State) -> str:
        return f"<style>{_STYLE}{ratio_icons(state.form)}{self._kept.hiding_css}</style>"

    def _resend(self) -> None:
        """Send the outcome once more, for a front end that dropped it among too many messages."""
        newest, told = self._jobs.children[1], {"children", "disabled", "value"}
        buttons = self.generate_button, self.cancel_button
        for part in (self.status, self._bar, *buttons, self._jobs, *tree(newest)):
            part.send_state(told.intersection(part.keys))
        self._kept.resend()

    # ----------------------------------------------------------------------------------- clicks

    def _press(self) -> None:
        self._controller.generate()
        if (trouble := self._controller.state.trouble) is not None:
            no_prompt = trouble.happened == NO_PROMPT.happened
            self._tell("focus", to=_PROMPT if no_prompt else ".imagen-trouble")

    def _on_message(self, _: object, message: Any, buffers: Any) -> None:
        """Take what the script layer says; nonsense changes nothing."""
        match message:
            case {"kind": "generate", "values": {**seen}}:
                self.fields.take(seen)
                self._press()
            case {"kind": "file", "purpose": str(), "key": str(key), "parts": int()}:
                self._take_part(key, message, bytes(buffers[0]))
            case {"kind": "do", "act": str(act)} if act in _ACTS:
                try:
                    _ACTS[act](self, message)
                except (IndexError, ValueError, TypeError, KeyError):
                    return

    def _take_part(self, key: str, message: Mapping[str, Any], data: bytes) -> None:
        """Put a file together that comes in parts, since a message has a bound."""
        pieces = self._files.setdefault(key, [])
        pieces.append(data)
        if sum(map(len, pieces)) > _MAX_FILE_BYTES or len(self._files) > 16:
            self._files.clear()
            return
        if len(pieces) < message["parts"]:
            return
        whole, purpose = b"".join(self._files.pop(key)), message["purpose"]
        name, more = str(message.get("name", ""))[:100], bool(message.get("more"))
        means: dict[str, Callable[[bytes], object]] = {
            "picture": partial(self._controller.add_picture, name=name, more=more),
            "mask": self._controller.set_mask,
            "settings": self.load_settings,
        }
        if purpose in means:
            self._controller.at_once(partial(means[purpose], whole))

    def _tell(self, kind: str, *buffers: bytes, **facts: object) -> None:
        self._layer.send({"kind": kind, **facts}, buffers=list(buffers))

    def _save(self, image: GeneratedImage) -> None:
        """Hand a file to the browser; the bytes pass by once and are not kept in the notebook."""
        data = self._controller.saved(image)
        self._tell("download", data, name=image.file_name, type=image.media_type)

    def _save_ticked(self) -> None:
        chosen = self._controller.state.past.chosen
        data = self._controller.zipped(image for entry in chosen for image in entry.generation)
        self._tell("download", data, name="imagen-pictures.zip", type="application/zip")

    def _send_original(self, generation_id: str, index: int) -> None:
        image = self._controller.find(generation_id)[index]
        place = {"id": generation_id, "index": index}
        self._tell("original", image.data, type=image.media_type, **place)

    def _mark(self, generation_id: str, index: int) -> None:
        self._compare(self._controller.mark((generation_id, index)))

    def _compare_ticked(self) -> None:
        self._compare([(entry.generation.id, 0) for entry in self._controller.state.past.chosen])

    def _compare(self, keys: list[tuple[str, int]]) -> None:
        if len(keys) != 2:
            return
        images, pictures = [], []
        for name, index in keys:
            image = self._controller.find(name)[index]
            facts = {"alt": image.alt, "width": image.width, "height": image.height}
            images.append(image)
            pictures.append({"id": name, "index": index, **facts})
        small = [image.preview.data for image in images]
        self._tell("compare", *small, pictures=pictures, text=compared(*images))

    def _choose(self, model_id: str) -> None:
        self._controller.choose_model(model_id)
        self._layer.send_state("chosen")  # what it is, if that was refused

    def _edit(self, image: GeneratedImage) -> None:
        self._controller.edit(image)
        self._tell("focus", to=_PROMPT)

    def _show(self, made: Generation) -> None:
        self._controller.show(made)
        self._tell("focus", to=f".imagen-open[data-id={json.dumps(made.id)}]")

    def _open_mask(self) -> None:
        form = self._controller.state.form
        if not form.pictures or not form.takes_mask:
            return
        first, mask = form.pictures[0], form.mask
        self._controller.ring_picture(0)
        small = preview(first.data(), side=1024).data
        painted = [mask_as_alpha(mask.data())] if mask is not None and mask.digest else []
        size = {"width": first.width, "height": first.height}
        self._tell("mask", small, *painted, title="Mask on picture 1", **size)
        self._tell("focus", to=".imagen-segments button")

    # ---------------------------------------------------------------------------------- display

    def __repr__(self) -> str:
        said = self._controller.state.status if self._open else "closed"
        return in_ascii(f"<ImagenWidget: {said.replace(' · ', ', ')}>")

    def _repr_mimebundle_(self, **options: object) -> dict[str, Any]:
        if not self._open:
            return {"text/plain": repr(self)}
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options) or {}
        return {**bundle, "text/plain": repr(self), "text/html": NO_KERNEL}

    def _ipython_display_(self) -> None:
        self._kept.display(self._repr_mimebundle_(), alone=not self._open)


Act = Callable[[ImagenWidget, Mapping[str, Any]], None]


def _on_image(does: Callable[[ImagenWidget, GeneratedImage], None]) -> Act:
    return lambda self, m: self._controller.on(m["id"], lambda g: does(self, g[int(m["index"])]))


def _on_generation(does: Callable[[Controller, Generation], object]) -> Act:
    return lambda self, m: self._controller.on(m["id"], partial(does, self._controller))


def _on_key(does: Callable[[ImagenWidget, str, int], None]) -> Act:
    return lambda self, m: self._controller.run(lambda: does(self, m["id"], int(m["index"])))


_ACTS: dict[str, Act] = {
    "again": _on_generation(Controller.same_again),
    "cancel": lambda self, m: self._controller.cancel(int(m["index"])),
    "compare": _on_key(ImagenWidget._mark),
    "choose": lambda self, m: self._choose(m["arg"]),
    "edit": _on_image(ImagenWidget._edit),
    "give": lambda self, m: self._controller.set_field(m["arg"], self.fields[m["arg"]].value),
    "history": lambda self, m: self._controller.open_tab(Tab.HISTORY, picking=True),
    "mask": lambda self, m: self._controller.run(self._open_mask),
    "move": lambda self, m: self._controller.move_picture(int(m["index"]), int(m["arg"])),
    "original": _on_key(ImagenWidget._send_original),
    "rate": lambda self, m: self._controller.on(
        m["id"], partial(self._controller.rate, stars=int(m["arg"]))
    ),
    "remove": lambda self, m: self._controller.remove_picture(int(m["index"]), m["arg"]),
    "reset": lambda self, m: self._controller.set_field(m["arg"], None),
    "ring": lambda self, m: self._controller.ring_picture(int(m["index"])),
    "save": _on_image(ImagenWidget._save),
    "show": lambda self, m: self._controller.on(m["id"], self._show),
    "tick": lambda self, m: self._controller.tick(m["id"]),
    "unfilter": lambda self, m: self._controller.unfilter(m["arg"]),
    "unmask": lambda self, m: self._controller.set_mask(None),
    "use": _on_generation(lambda controller, made: controller.reuse(made.request)),
    "vary": _on_generation(Controller.vary),
}
