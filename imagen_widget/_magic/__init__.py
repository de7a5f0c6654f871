"""%imagen and its companions: a line or cell becomes a call, and the outcome is shown once.

What a line means is decided in `line` by its table of options. A failure is raised, so that Run
All stops. The settings are traits of the magics too, made from the table of settings. Precedence,
everywhere: an option on the line, then a trait that was set, then the environment, a `.env` file,
`[tool.imagen-widget]` in a pyproject.toml beside or above the notebook, the default.
"""

import functools
import inspect
import keyword
import logging
import re
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from functools import cached_property
from typing import Any, TypeVar, cast

from IPython.core import magic
from traitlets import HasTraits, TraitError, TraitType
from traitlets.config import Config

from imagen_widget._display import JobView, SilentSurface, is_rich, surface_of
from imagen_widget._magic import line as grammars, run, tables
from imagen_widget._magic.complete import make_matcher
from imagen_widget._magic.line import (
    Evaluate,
    Grammar,
    Parsed,
    Text,
    model_named,
    object_of,
    parse_cell,
    parse_line,
)
from imagen_widget._magic.shell import (
    KeepsQuestionMark,
    ShownOnce,
    is_last_expression,
    one_line_interrupt,
)
from imagen_widget._magic.tables import Table
from imagen_widget._models import Catalogue, Model
from imagen_widget._request import ImageRequest
from imagen_widget._result import Generation
from imagen_widget._runs import Job
from imagen_widget._series import Plan, Series, listed, make_sweep
from imagen_widget._settings import (
    SETTINGS,
    Setting,
    Settings,
    load_settings,
)
from imagen_widget._studio import Studio, studio_for
from imagen_widget.errors import ImagenError, InvalidRequest

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_DEFAULT_ROWS = 10
_MAX_IN_FULL = 4  # generations that %imagen_resume shows larger than in its table

log = logging.getLogger("imagen_widget")
_BY_ROLE: dict[str, Any] = {"aspect_ratio": "size", "num_images": "count"}
_RULE = re.compile(r"^\s*---\s*?(\n|\Z)", re.MULTILINE)
_LINE = re.compile(r"^.*\S.*$", re.MULTILINE)
_GIVE = re.compile(r"Give (\w+)=(?:…|\[…\]): .*")  # a picture, as Python has it


# -------------------------------------------------------------------------------- settings, lines


class SettingTrait(TraitType[Any, Any]):
    """One setting; None means: as set elsewhere, or the default."""

    def __init__(self, setting: Setting) -> None:
        default = setting.unset or setting.default
        text = f"{setting.help}; {setting.variable}; default: {default}"
        text = text.replace("`", "").replace(", see below", "")
        super().__init__(None, allow_none=True, help=text)
        self.setting = setting
        self.tag(config=True)

    def validate(self, _owner: HasTraits, value: Any) -> Any:
        """Return the value if the setting can have it."""
        try:
            self.setting.read(f"ImagenMagics.{self.setting.name}", value)
            if self.setting.name == "model":
                Catalogue(None).resolve(value)
        except InvalidRequest as error:
            raise TraitError(str(error)) from None
        return value


# The address of the journal may hold a password, and %config shows traits.
_TRAITS = {s.name: SettingTrait(s) for s in SETTINGS if s.name != "journal"}
_WithTraits: Any = types.new_class(
    "_WithTraits", (magic.Magics,), {}, lambda body: body.update(_TRAITS)
)


class Ask:
    """One line or cell of a magic; `models` are those that a cell names besides its first line."""

    def __init__(
        self,
        magics: "ImagenMagics",
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
        self._note, self.is_silent = parsed.note, parsed.silent
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
        with pictures_by_options():
            request = self.studio.request(prompt, **given)
        return replace(request, notes=(*request.notes, self._note)) if self._note else request

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


@contextmanager
def pictures_by_options() -> Iterator[None]:
    """Have an error that asks for a picture name the option that gives it."""
    try:
        yield
    except InvalidRequest as error:
        asks = _GIVE.fullmatch(error.remedy)
        if asks is None:
            raise
        option = {"image": "-i", "images": "-i"}.get(asks[1], f"--{asks[1].replace('_', '-')}")
        raise InvalidRequest(
            error.message,
            remedy=f"Give {option} PICTURE: a file, https address, or expression like fox[0].",
            field=error.field,
        ) from None


def read_axes(text: Text) -> tuple[dict[str, list[Any]], str]:
    """Return the axes of a sweep's cell, one `name = a || b` a line, and the prompt below `---`.

    A line that gives one `{{expression}}` has the items of its value.
    """
    rule = _RULE.search(text.masked)
    if rule is None:
        raise InvalidRequest(
            "%%imagen_sweep: the line --- between the axes and the prompt is missing.",
            remedy="Write one axis a line, like style = oil || ink; then --- and the prompt.",
        )
    axes: dict[str, list[Any]] = {}
    for match in _LINE.finditer(text.masked, 0, rule.start()):
        name, _, typed = match[0].partition("=")
        start = match.end() - len(typed.lstrip())
        value = text.value(start, start + len(typed.strip()))
        name = text.cut(match.start(), match.start() + len(name)).strip()
        if not (name.isidentifier() and typed.strip()):
            raise InvalidRequest(
                f"{match[0].strip()[:60]!r} is not an axis.",
                remedy="Write one axis a line, like style = oil || ink, two-tone; then --- and "
                "the prompt.",
            )
        if name in axes:
            raise InvalidRequest(f"{name}: the axis stands twice.", remedy="Join the two lines.")
        several = isinstance(value, Iterable) and not isinstance(value, str)
        axes[name] = list(value) if several else listed(str(value))  # type: ignore[call-overload]
    for name in axes.keys() & {"image", "mask"}:
        axes[name] = [object_of(item, text.evaluate, name) for item in axes[name]]
    return axes, text.cut(rule.end(), len(text.raw.removesuffix("\n")))


# ------------------------------------------------------------------------------------ the magics


def _takes(grammar: grammars.Grammar) -> Callable[[F], F]:
    """Return a decorator: the line comes as typed, and the help ends with the options."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(self: Any, line: str, *cell: str, local_ns: Any = None) -> object:
            if line.strip() in {"-h", "--help"}:
                return self.shell.run_line_magic("pinfo", grammar.magic)
            return function(self, line, *cell, local_ns=local_ns)

        about = inspect.cleandoc(function.__doc__ or "")
        call.__doc__ = f"{about}\n\nOptions:\n{grammar.help()}\n"
        taken: Any = magic.no_var_expand(magic.needs_local_scope(call))
        return cast("F", taken)

    return decorate


@magic.magics_class
class ImagenMagics(_WithTraits):  # type: ignore[misc]  # its traits are known when it runs
    """The magics of one shell, and what they add to it."""

    shell: Any

    def __init__(self, shell: Any, **settings: Any) -> None:
        super().__init__(shell, **settings)
        self._once = ShownOnce(shell, Generation, Job, Series, Plan, Table, Model)
        self._matcher = make_matcher(shell, self.studio)

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
            with suppress(ImagenError):
                text += f"\n    Found in: {inst.settings().sources[trait.name]}"
        return text

    # ---------------------------------------------------------------------------- pictures

    @magic.line_cell_magic
    @_takes(grammars.IMAGEN)
    def imagen(self, line: str, cell: str | None = None, local_ns: Any = None) -> object:
        """Make pictures from text, or from text and pictures.

            %imagen a red fox in fresh snow --ar 16:9 -n 2
            fox = %imagen a red fox
            %imagen make it snow -i fox[0]

            %%imagen -n 4 --out foxes
            a red fox in fresh snow,
            soft morning light, {{style}}

        The result is a list of pictures: fox[0], fox.paths, fox.save("folder"). Alone, %imagen
        opens a form. The same request again is answered from history at no cost, unless --fresh.

        Options stand before or after the prompt, in a cell on the first line only. The prompt is
        sent as typed; one pair of quotes around it is taken off, and {{expression}} is replaced
        by its value (a literal {{ is written {{'{{'}}). What follows a bare -- is sent to the
        letter. A ; at the end hides the output.

        Every field of the chosen model is an option too, like --guidance-scale 3.5 or --turbo,
        --no-turbo: %imagen_models NAME lists them, and Tab completes them.

        Defaults: %config ImagenMagics, else IMAGEN_… in the environment or a .env file, else
        [tool.imagen-widget] in a pyproject.toml beside or above the notebook.
        """
        if cell is None and not line.strip():
            return self._open_form()
        ask = Ask(self, grammars.IMAGEN, line, local_ns, cell)
        values, studio = ask.values, ask.studio
        call, request = self._call(ask), ask.request(ask.prompt)
        if values.get("dry_run"):
            return call.hand_over(tables.dry_run(request, studio))
        settings = self.settings(save_dir=values.get("save_dir"))
        save = run.saver(settings.save_dir, provenance=settings.provenance)
        reuse = settings.reuse and not values.get("fresh")
        leaves = bool(values.get("no_wait"))
        known = leaves and reuse and studio.history.find(request) is not None
        with one_line_interrupt():
            job = studio.start(request, reuse=reuse, timeout=values.get("timeout"))
            if leaves:
                return run.leave(job, call, save, is_known=known)
            return run.wait(job, call, save)

    # ---------------------------------------------------------------------------- series

    @magic.cell_magic
    @_takes(grammars.SWEEP)
    def imagen_sweep(self, line: str, cell: str, local_ns: Any = None) -> Series:
        """Make a picture for every combination of some axes.

            %%imagen_sweep --name autumn --max-spend 2
            animal = fox || owl
            style  = oil || ink, two-tone
            seed   = 1..4
            ---
            a {animal} in {style}

        An axis stands in the prompt in braces, or is a field of the model (seed, model, image,
        aspect_ratio, …). Values are separated by ||; 1..4 stands for the numbers, and {{names}}
        for the items of a list of the notebook. A name that exists is continued: what is done is
        not paid again. More than 20 rows, or an unknown price, want --max-spend or --yes.
        """
        axes, template = read_axes(Text(cell, self.evaluator(local_ns)))
        models = [name for name in axes.get("model", ()) if isinstance(name, str)]
        ask = Ask(self, grammars.SWEEP, line, local_ns, "", models=models)
        name, session = ask.values.get("name"), ask.studio.session
        return self._run(make_sweep(session, ask, template, None, axes=axes, name=name), ask)

    @magic.line_magic
    @_takes(grammars.BATCH)
    def imagen_batch(self, line: str, local_ns: Any = None) -> Series:
        """Make a picture for each row of a table: a dataframe, a list of dicts, or a CSV file.

            %imagen_batch products -p "a studio photo of {name}, {colour}" --key sku

        Values of options may name columns too, like -i {photo}.
        """
        ask = Ask(self, grammars.BATCH, line, local_ns)
        prompt = ask.values.get("prompt")
        if not ask.prompt or prompt is None:
            raise InvalidRequest(
                "%imagen_batch: it needs a table and a prompt.",
                remedy='Write it like %imagen_batch products -p "a photo of {name}".',
                field="prompt" if ask.prompt else "table",
            )
        table, given = object_of(ask.prompt, ask.evaluate, "table"), dict(ask.given)
        extra = given.pop("extra")
        fields = {**given, **extra, **ask.presets(ask.model(), extra)}
        names = {"key": ask.values.get("key"), "name": ask.values.get("name")}
        with pictures_by_options():
            series = ask.studio.batch(table, prompt, **names, **fields)
        return self._run(series, ask)

    @magic.line_magic
    @_takes(grammars.SERIES)
    def imagen_series(self, line: str, local_ns: Any = None) -> Series | Table[Series]:
        """Show a series, or all there are; go on with one, or stop it.

        %imagen_series autumn --resume
        """
        ask = Ask(self, grammars.SERIES, line, local_ns)
        if not ask.prompt:
            found = map(ask.studio.series, ask.studio.all_series())
            return self._shown(tables.series_table(found), ask)
        series = ask.studio.series(ask.prompt)
        if ask.values.get("cancel"):
            self._call(ask).say(series.cancel())
        return self._run(series, ask) if ask.values.get("resume") else self._shown(series, ask)

    # ---------------------------------------------------------------------------- lists

    @magic.line_magic
    @_takes(grammars.HISTORY)
    def imagen_history(self, line: str, local_ns: Any = None) -> Table[Generation]:
        """List what was generated, newest first, with small pictures; words filter by prompt.

        %imagen_history fox -n 20
        """
        ask = Ask(self, grammars.HISTORY, line, local_ns)
        history, values = ask.studio.history, ask.values
        found = history.search(
            ask.prompt or "",
            model=values.get("model"),
            rating=values.get("stars"),
            limit=values.get("limit", _DEFAULT_ROWS),
        )
        return self._shown(tables.history_table(history, list(found)), ask)

    @magic.line_magic
    @_takes(grammars.MODEL_LIST)
    def imagen_models(self, line: str, local_ns: Any = None) -> Model | Table[Model]:
        """List the models and what a picture costs with the present settings; words filter.

        %imagen_models NAME, an alias or an endpoint id, shows what that model takes.
        """
        ask = Ask(self, grammars.MODEL_LIST, line, local_ns)
        query, studio = ask.prompt or "", ask.studio
        if query and ask.values.get("refresh"):
            return self._shown(studio.refresh(query), ask)
        found = studio.models(query, live=bool(ask.values.get("live")))
        with suppress(InvalidRequest):  # then it is not a name
            named = studio.known(query) if query else None
            if named is not None and (named in found or not found):
                return self._shown(named, ask)
        return self._shown(tables.models_table(found, ask.settings, query), ask)

    @magic.line_magic
    @_takes(grammars.SPEND)
    def imagen_spend(self, line: str, local_ns: Any = None) -> Table[tuple[str, Decimal]]:
        """Sum what was spent or is reserved: today, this month, by model or else, and by day."""
        ask = Ask(self, grammars.SPEND, line, local_ns)
        if ask.prompt:
            raise InvalidRequest(
                "%imagen_spend: it takes options only.",
                remedy="It shows today and this month; --by user sums up by user.",
            )
        by = ask.values.get("by", "model")
        return self._shown(tables.spend_table(ask.studio.history, ask.settings, by), ask)

    @magic.line_magic
    @_takes(grammars.RESUME)
    def imagen_resume(self, line: str, local_ns: Any = None) -> Table[Generation]:
        """Fetch and show what was paid for and not fetched; list what nobody can fetch."""
        ask = Ask(self, grammars.RESUME, line, local_ns)
        history = ask.studio.history
        if "forget" in ask.values:
            history.forget(ask.values["forget"])
        call, fetching = self._call(ask), run.Fetching(history)
        rich = is_rich(self.shell)
        view = JobView(
            fetching,
            call.surface,
            render=lambda: fetching.table() if rich else fetching.status,
        )
        if fetching.records:
            view.begin()
        try:
            with one_line_interrupt():
                fetching.run()
        except BaseException:
            view.end(fetching.table())
            raise
        table = call.hand_over(fetching.table(), view.end)
        for generation in table if len(table) <= _MAX_IN_FULL and not ask.is_quiet else ():
            surface_of(self.shell).final(generation)
        return table

    # --------------------------------------------------------------------------------- helpers

    def _call(self, ask: Ask) -> run.Call:
        hooked = is_last_expression()
        surface = SilentSurface() if ask.is_quiet else surface_of(self.shell, hooked=hooked)
        return run.Call(self.shell, self._once, surface, _variable(ask.values.get("out")))

    def _run(self, series: Series, ask: Ask) -> Series:
        with one_line_interrupt():
            return run.run_series(series, ask.values, self._call(ask))

    def _shown(self, value: T, ask: Ask) -> T:
        """Return a value for the displayhook to show, unless a `;` asks to hide it."""
        if ask.is_silent:
            self._once.note(value)
        return value

    def _open_form(self) -> object:
        """Show the widget, and return it."""
        if not is_rich(self.shell):
            raise InvalidRequest(
                "%imagen: the form needs a notebook.",
                remedy="In a terminal write a prompt: %imagen a red fox --ar 16:9",
            )
        from imagen_widget._widget import ImagenWidget

        traits = self.trait_values(config=True)
        own = any(value is not None for value in traits.values())  # else it follows the settings
        widget = self.studio().widget() if own else ImagenWidget()
        if not is_last_expression():  # else the displayhook shows it
            self.shell.display_formatter.ipython_display_formatter(widget)
        return widget

    # ------------------------------------------------------------------------------ the shell

    def install(self) -> None:
        """Add everything to the shell."""
        self.shell.register_magics(self)
        self.shell.Completer.custom_matchers.append(self._matcher)
        self.shell.input_transformer_manager.token_transformers.append(KeepsQuestionMark)
        self._once.install()

    def uninstall(self) -> None:
        """Take everything out of the shell again."""
        manager = self.shell.magics_manager
        for kind, ours in self.magics.items():
            for name in ours:
                if getattr(manager.magics[kind].get(name), "__self__", None) is self:
                    del manager.magics[kind][name]
        manager.registry.pop(type(self).__name__, None)
        _drop(self.shell.configurables, self)
        _drop(self.shell.Completer.custom_matchers, self._matcher)
        _drop(self.shell.input_transformer_manager.token_transformers, KeepsQuestionMark)
        self._once.uninstall()


def load(shell: Any) -> None:
    """Register the magics with a shell; again is as good as once."""
    unload(shell)
    try:
        magics = ImagenMagics(shell)
    except TraitError:
        magics = _without_refused(shell)
    magics.install()


def unload(shell: Any) -> None:
    """Take the magics out of a shell, if they are there."""
    magics = shell.magics_manager.registry.get(ImagenMagics.__name__)
    if isinstance(magics, ImagenMagics):
        magics.uninstall()


def _without_refused(shell: Any) -> ImagenMagics:
    """Return magics that keep what they can of IPython's configuration, and say what they cannot.

    `%config` leaves a value in the shell's configuration even if it was refused.
    """
    _drop(shell.configurables, shell.configurables[-1])  # the one that could not be made
    magics = ImagenMagics(shell, config=Config())
    for name, value in shell.config.get(ImagenMagics.__name__, {}).items():
        try:
            setattr(magics, name, value)
        except TraitError as error:
            log.warning("Left out of IPython's configuration: %s", error)
    return magics


def _drop(things: list[Any], thing: object) -> None:
    if thing in things:
        things.remove(thing)


def _variable(name: str | None) -> str | None:
    if name is not None and (not name.isidentifier() or keyword.iskeyword(name)):
        raise InvalidRequest(
            "--out: that is not a name for a variable.",
            remedy="Use letters, digits and _, like --out foxes. Nothing was sent.",
            field="out",
        )
    return name
