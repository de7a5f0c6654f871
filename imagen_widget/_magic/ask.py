"""What one call asks for: the settings in force, and a line read with the fields of its model.

The settings are traits of the magics too, made from the table of settings. Precedence, everywhere:
an option on the line, then a trait that was set, then the environment, a `.env` file,
`[tool.imagen-widget]` in a pyproject.toml beside or above the notebook, the default.
"""

import contextlib
import re
import types
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

from IPython.core.magic import Magics
from traitlets import HasTraits, TraitError, TraitType

from imagen_widget._magic.line import (
    Evaluate,
    Parsed,
    Text,
    model_named,
    object_of,
    parse_cell,
    parse_line,
)
from imagen_widget._magic.options import Grammar
from imagen_widget._models import Catalogue, Model
from imagen_widget._request import ImageRequest
from imagen_widget._series import parse_axes
from imagen_widget._settings import (
    READERS,
    SETTINGS,
    Setting,
    Settings,
    find_account,
    load_settings,
)
from imagen_widget._studio import Studio, studio_for
from imagen_widget.errors import ImagenError, InvalidRequest

_ALSO: dict[str, Callable[[Any], object]] = {  # what must be more than a text
    "model": Catalogue(None).resolve,
    "provider": find_account,
}
_BY_ROLE: dict[str, Any] = {"aspect_ratio": "size", "num_images": "count"}
_RULE = re.compile(r"^\s*---\s*?(\n|\Z)", re.MULTILINE)
_LINE = re.compile(r"^.*$", re.MULTILINE)


class SettingTrait(TraitType[Any, Any]):
    """One setting; None means: as set elsewhere, or the default."""

    def __init__(self, setting: Setting) -> None:
        choices = f" ({', '.join(setting.choices)})" if setting.choices else ""
        default = setting.unset or setting.default
        text = f"{setting.help}{choices}; {setting.variable}; default: {default}"
        text = text.replace("`", "").replace(", see below", "")
        super().__init__(None, allow_none=True, help=text)
        self.setting = setting
        self.tag(config=True)

    def validate(self, _owner: HasTraits, value: Any) -> Any:
        """Return the value if the setting can have it."""
        try:
            READERS[self.setting.kind](f"ImagenMagics.{self.setting.name}", value)
            if self.setting.name in _ALSO:
                _ALSO[self.setting.name](value)
        except InvalidRequest as error:
            raise TraitError(str(error)) from None
        return value


_TRAITS = {setting.name: SettingTrait(setting) for setting in SETTINGS if setting.trait}
_WithTraits: Any = types.new_class("_WithTraits", (Magics,), {}, lambda body: body.update(_TRAITS))


class ConfiguredMagics(_WithTraits):  # type: ignore[misc]  # its traits are known when it runs
    """Magics with the settings of this package."""

    def settings(self, **given: Any) -> Settings:
        """Return the settings in force; a missing key is an error only when something is sent."""
        chosen = {name: getattr(self, name) for name in _TRAITS}
        chosen |= {name: value for name, value in given.items() if value is not None}
        return load_settings(need_key=False, **chosen)

    def evaluator(self, local_ns: Any) -> Evaluate:
        """Return what evaluates an expression: in the caller's names, then the user's."""
        names = {**self.shell.user_ns, **(local_ns or {})}  # one scope, so that closures work
        return lambda code: eval(code, names)

    def studio(self) -> Studio:
        """Return the studio of the settings in force."""
        return studio_for(self.settings())

    @classmethod
    def class_get_trait_help(
        cls, trait: TraitType[Any, Any], inst: Any = None, helptext: str | None = None
    ) -> str:
        """Return the help of a trait, with the place where its setting was found."""
        text: str = super().class_get_trait_help(trait, inst, helptext)
        if inst is not None and trait.name is not None:
            with contextlib.suppress(ImagenError):
                text += f"\n    Found in: {inst.settings().sources[trait.name]}"
        return text


class Ask:
    """One line or cell of a magic; `models` are those that a cell names besides its first line."""

    def __init__(
        self,
        magics: ConfiguredMagics,
        grammar: Grammar,
        line: str,
        local_ns: Any,
        cell: str | None = None,
        *,
        models: Sequence[str] = (),
    ) -> None:
        self.settings, self.evaluate = magics.settings(), magics.evaluator(local_ns)
        self.studio = studio_for(self.settings)
        self._line = Text(line, self.evaluate)
        self._cell = None if cell is None else Text(cell, self.evaluate)
        named = model_named(self._line)
        parsed = self._read(grammar, [named, *models])
        if parsed.values.get("model") != named:  # that word is in the prompt
            parsed = self._read(grammar, [parsed.values.get("model"), *models])
        self.prompt, self.values, self.fields = parsed.prompt, parsed.values, parsed.fields
        self.is_silent = parsed.silent
        self.is_quiet = bool(parsed.silent or self.values.get("quiet") or self.settings.quiet)

    @cached_property
    def given(self) -> dict[str, Any]:
        """What was given besides the prompt: model, pictures, and the fields as `extra`."""
        extra = {name: self._objects(value, name) for name, value in self.fields.items()}
        given = {"model": self.values.get("model"), "extra": extra}
        pictures = self._objects(self.values.get("image", []), "--image")
        if pictures:
            given |= {"images": pictures} if len(pictures) > 1 else {"image": pictures[0]}
        for value in self._objects(self.values.get("mask", []), "--mask"):
            given["mask"] = value
        return given

    def model(self, name: str | None = None) -> Model:
        """Return what is known of a model, by default of the one that is asked."""
        return self.studio.model(self.values.get("model") if name is None else name)

    def request(self, prompt: str | None, **asked: Any) -> ImageRequest:
        """Return a checked request; a row's own values go before those of the line."""
        given = {**self.given, **asked}
        extra = {name: v for name, v in self.given["extra"].items() if name not in asked}
        given["extra"] = extra | self.presets(self.model(given["model"]), {*extra, *asked})
        return self.studio.request(prompt, **given)

    def presets(self, model: Model, taken: Collection[str]) -> dict[str, Any]:
        """Return the defaults of the settings that a model takes and that nothing else gives."""
        chosen = {}
        for name, value in self.settings.presets.items():
            field = model.field(name) or model.role(_BY_ROLE.get(name, "-"))
            names = {name, "" if field is None else field.name}
            if (field is not None or model.source == "none") and not names & {*taken}:
                chosen[name] = value
        return chosen

    def _objects(self, value: Any, name: str) -> Any:
        """Return what the words of a picture option mean; other values as they are."""
        if not isinstance(value, list):
            return value
        return [object_of(each, self.evaluate, name) for each in value]

    def _read(self, grammar: Grammar, names: Sequence[str | None]) -> Parsed:
        if grammar.takes_fields:
            known = [model for name in names if (model := self._known(name)) is not None]
            grammar = grammar.with_fields(*known)
        if self._cell is None:
            return parse_line(self._line, grammar)
        return parse_cell(self._line, self._cell, grammar)

    def _known(self, name: str | None) -> Model | None:
        try:
            return self.studio.model(name)
        except InvalidRequest:  # said when the request is made
            return None


def read_axes(text: Text) -> tuple[dict[str, list[Any]], str]:
    """Return the axes of a sweep's cell, one a line until `---`, and the prompt below.

    A line that gives one `{{expression}}` has the items of its value.
    """
    rule = _RULE.search(text.masked)
    if rule is None:
        raise InvalidRequest(
            "%%imagen_sweep: the line --- between the axes and the prompt is missing.",
            remedy="Write one axis a line, like style = oil || ink; then --- and the prompt.",
        )
    lines: list[str] = []
    lists: dict[str, list[Any]] = {}
    for match in _LINE.finditer(text.masked, 0, rule.start()):
        name, _, typed = match[0].partition("=")
        start = match.end() - len(typed.lstrip())
        value = text.value(start, start + len(typed.strip()))
        if isinstance(value, Iterable) and not isinstance(value, str):
            lines.append(f"{name}= …")
            lists[name.strip()] = list(value)
        else:
            lines.append(text.cut(*match.span()))
    axes = {**parse_axes(iter(lines)), **lists}
    for name in axes.keys() & {"image", "mask"}:
        axes[name] = [object_of(item, text.evaluate, name) for item in axes[name]]
    return axes, text.cut(rule.end(), len(text.raw.removesuffix("\n")))
