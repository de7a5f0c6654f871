"""%imagen and its companions: a line or cell becomes a call, and the outcome is shown once.

What a line means is decided in `line` by its table of options. A failure is raised, so that Run
All stops. The settings are traits of the magics too, made from the table of settings. Precedence,
everywhere: an option on the line, then a trait that was set, then the environment, a `.env` file,
`[tool.imagen-widget]` in a pyproject.toml beside or above the notebook, the default.
"""

import functools
import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from IPython.core import magic
from traitlets import HasTraits, TraitError, TraitType
from traitlets.config import Config

from imagen_widget import _loop
from imagen_widget._display import JobView, is_rich, surface_of
from imagen_widget._magic import tables
from imagen_widget._magic.line import GRAMMARS, object_of
from imagen_widget._magic.run import Ask
from imagen_widget._magic.shell import (
    KeepsQuestionMark,
    ShownOnce,
    is_last_expression,
    make_matcher,
    whole_lines,
)
from imagen_widget._magic.tables import Table
from imagen_widget._models import Catalogue, Model, Models
from imagen_widget._result import Generation
from imagen_widget._runs import Job
from imagen_widget._series import Plan, Series, make_batch, make_sweep
from imagen_widget._settings import ACCOUNTS, SETTINGS, Found, Setting, Settings, load_settings
from imagen_widget._studio import Studio, default_studio
from imagen_widget.errors import ImagenError, InvalidRequest

_DEFAULT_ROWS = 10

log = logging.getLogger("imagen_widget")


# -------------------------------------------------------------------------------- settings, lines


class SettingTrait(TraitType[Any, Any]):
    """One setting; None means: as set elsewhere, or the default."""

    def __init__(self, setting: Setting) -> None:
        self.unset = str(setting.unset or setting.default).replace("`", "")
        example = f"{setting.variable}={setting.example}"
        text = f"{setting.help}, as in {example}; default: {self.unset}"
        text = text.replace("`", "").replace(", see below", "")
        super().__init__(None, allow_none=True, help=text)
        self.setting = setting
        self.tag(config=True)

    def validate(self, _owner: HasTraits, value: Any) -> Any:
        label = f"ImagenMagics.{self.setting.name}"
        try:
            read = self.setting.kind.read(Found(value, "argument", label), self.setting.name)
            if self.setting.name == "model":
                Catalogue(None).resolve(value)
        except InvalidRequest as error:
            said = str(error).removeprefix(f"{label}: ").removeprefix("model: ")
            raise TraitError(f"{label}: {said}") from None
        return read if isinstance(read, Path) else value  # a folder stays where it is at `%cd`


# The address of the journal may hold a password, and %config shows traits.
_TRAITS = {s.name: SettingTrait(s) for s in SETTINGS if s.name != "journal"}


# ------------------------------------------------------------------------------------ the magics


def _magic(method: Callable[[Any, Ask], object]) -> Callable[..., object]:
    """Return a method as the magic of its name: its line is read, its help complete."""
    grammar = GRAMMARS[method.__name__]
    kind = {"%imagen": magic.line_cell_magic, "%%imagen_sweep": magic.cell_magic}

    @functools.wraps(method)
    def call(self: Any, line: str, cell: str | None = None, local_ns: Any = None) -> object:
        with _loop.interruptible():
            return method(self, Ask(self, grammar, line, local_ns, cell))

    about = inspect.cleandoc(method.__doc__ or "")
    call.__doc__ = f"{about}\n\nOptions:\n{grammar.help()}\n"
    marked: Any = magic.no_var_expand(magic.needs_local_scope(call))
    made: Callable[..., object] = kind.get(grammar.magic, magic.line_magic)(marked)
    return made


@magic.magics_class
class ImagenMagics(magic.Magics):
    """The magics of one shell, and what they add to it."""

    vars().update(_TRAITS)
    shell: Any

    def __init__(self, shell: Any, **settings: Any) -> None:
        super().__init__(shell, **settings)
        self.refused: dict[str, str] = {}  # what IPython's configuration cannot be, by trait
        self.once = ShownOnce(shell, Generation, Job, Series, Plan, Table, Model, Models)
        self._matcher = make_matcher(shell, self.studio)

    def settings(self) -> Settings:
        """Return the settings in force; a missing key is an error only when something is sent."""
        given = {name: value for name in _TRAITS if (value := getattr(self, name)) is not None}
        wrong = _TRAITS.keys() & self.refused.keys() - given.keys()
        for name in sorted(wrong):  # a cap that means nothing is not no cap
            remedy = f"%config ImagenMagics.{name} = … sets another value."
            raise InvalidRequest(self.refused[name], remedy=remedy, field=name)
        found = load_settings(**given)
        own = {n: replace(found.found[n], label=f"ImagenMagics.{n}") for n in given}
        return replace(found, found={**found.found, **own})

    def studio(self) -> Studio:
        return default_studio(self.settings())

    @classmethod
    def class_get_trait_help(cls, trait: Any, inst: Any = None, helptext: str | None = None) -> str:
        """Return the help of a trait, with what is in force and the place where it was found."""
        text: str = super().class_get_trait_help(trait, inst, helptext)
        if isinstance(inst, cls):
            with suppress(ImagenError):
                settings, name = inst.settings(), trait.setting.name
                found, source = settings.found.get(name), settings.sources[name]
                account, model = settings.account.name, settings.default_model
                chosen = {"provider": account, "model": model, "home": settings.home}
                value = found.value if found else chosen.get(name, trait.unset)
                if found and name == "store" and {"@", "?"} & {*str(value)}:
                    value = "not shown, since it may hold a password"
                text = text.rpartition("\n")[0]  # without the trait's own, which may be None
                text += f"\n    Current: {value}\n    Found in: {source}"
        return text

    # ---------------------------------------------------------------------------- pictures

    @_magic
    def imagen(self, ask: Ask) -> object:
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
        by its value (a literal {{ is written {{'{{'}}). What follows a bare -- is sent exactly as
        typed. A ; at the end hides the output.

        Every field of the chosen model is an option too, like --guidance-scale 3.5 or --turbo,
        --no-turbo: %imagen_models NAME lists them, and Tab completes them.

        Defaults: %config ImagenMagics, else IMAGEN_… in the environment or a .env file, else
        [tool.imagen-widget] in a pyproject.toml beside or above the notebook.
        """
        if ask.is_bare:
            return self._open_form()
        request, values = ask.request(ask.prompt), ask.values
        if values.get("dry_run"):
            return ask.hand_over(tables.dry_run(request, ask.studio))
        ask.make_folder()
        reuse = ask.settings.reuse and not values.get("fresh")
        job = ask.studio.start(request, reuse=reuse, timeout=values.get("timeout"))
        return ask.leave(job) if values.get("no_wait") else ask.wait(job)

    # ---------------------------------------------------------------------------- series

    @_magic
    def imagen_sweep(self, ask: Ask) -> Series:
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
        not paid again. More than 20 rows, or an unknown price, need --max-spend or --yes.
        """
        name, session = ask.values.get("name"), ask.studio.session
        return ask.run(make_sweep(session, ask, ask.template, None, axes=ask.axes, name=name))

    @_magic
    def imagen_batch(self, ask: Ask) -> Series:
        """Make a picture for each row of a table: a dataframe, a list of dicts, or a CSV file.

            %imagen_batch products -p "a studio photo of {name}, {colour}" --key sku

        Values of options may name columns too, like -i {photo}.
        """
        prompt = ask.values.get("prompt")
        if not ask.prompt or prompt is None:
            raise InvalidRequest(
                "%imagen_batch: it needs a table and a prompt.",
                remedy='Write it like %imagen_batch products -p "a photo of {name}".',
                field="prompt" if ask.prompt else "table",
            )
        table = object_of(
            ask.prompt, ask.evaluate, "table", wanted="a CSV file, or a dataframe's name"
        )
        fields = {name: value for name, value in ask.given.items() if name != "extra"}
        fields |= ask.given["extra"]
        names = {"key": ask.values.get("key"), "name": ask.values.get("name")}
        series = make_batch(ask.studio.session, ask, table, prompt, **names, fields=fields)
        return ask.run(series)

    @_magic
    def imagen_series(self, ask: Ask) -> Series | Table[Series]:
        """Show one series or all of them; continue one, or stop it.

        %imagen_series autumn --resume
        """
        asked = {"resume", "cancel"} & ask.values.keys()
        if len(asked) > (1 if ask.prompt else 0):
            what = "%imagen_series: --resume or --cancel needs the name of one series."
            raise InvalidRequest(what, remedy="Write it like %imagen_series autumn --resume.")
        if not ask.prompt:
            found = map(ask.studio.series, ask.studio.all_series())
            return ask.shown(tables.series_table(found))
        series = ask.studio.series(ask.prompt)
        if ask.values.get("cancel"):
            ask.say(series.cancel())
        return ask.run(series) if ask.values.get("resume") else ask.shown(series)

    # ---------------------------------------------------------------------------- lists

    @_magic
    def imagen_history(self, ask: Ask) -> Table[Generation]:
        """List what was generated, newest first, with small pictures; words filter by prompt.

        %imagen_history fox -n 20
        """
        history, values = ask.studio.history, ask.values
        found = history.search(
            ask.prompt or "",
            model=values.get("model"),
            rating=values.get("stars"),
            limit=values.get("limit", _DEFAULT_ROWS),
        )
        return ask.shown(tables.history_table(history, list(found)))

    @_magic
    def imagen_models(self, ask: Ask) -> Model | Models:
        """List the models and what a picture costs with the present settings; words filter.

        %imagen_models NAME, an alias or an endpoint id, shows what that model takes.
        """
        query, studio = ask.prompt or "", ask.studio
        if ask.values.get("refresh"):
            if not query:
                what = "%imagen_models: --refresh needs the name of a model."
                raise InvalidRequest(what, remedy="Write it like %imagen_models NAME --refresh.")
            model, said = studio.refresh(query), "No schema was read; nothing has changed."
            if model.source == "fetched":
                said = f"Its schema is kept in {studio.session.models.file(model.id)}. To undo it, "
                said += "delete that and restart the kernel."
            ask.say(said)
            return ask.shown(model)
        found = studio.models(query, live=bool(ask.values.get("live")))
        name = studio.settings.account.name
        with suppress(InvalidRequest):  # then it is not a name
            if query and ((named := studio.known(query)) in found or not found):
                return ask.shown(named.at(name))
        if name not in ACCOUNTS and not ask.is_quiet:
            ask.say(
                f"These models are fal's, at fal's list prices. {name} may serve others, at "
                "other prices; IMAGEN_PRICE says what you pay."
            )
        return ask.shown(found)

    @_magic
    def imagen_spend(self, ask: Ask) -> Table[tuple[str, Decimal]]:
        """Sum what was spent or is reserved: today, this month, by model or --by, and by day."""
        by = ask.values.get("by", "model")
        return ask.shown(tables.spend_table(ask.studio.history, ask.settings, by))

    @_magic
    def imagen_resume(self, ask: Ask) -> Table[Generation]:
        """Fetch and show what was paid for and not fetched; list what nobody can fetch."""
        history = ask.studio.history
        if "forget" in ask.values:
            history.forget(ask.values["forget"])
        fetching = tables.Fetching(history)
        view = JobView(cast("Any", fetching), ask.surface)  # nobody awaits it
        if fetching.records:
            view.begin()
        try:
            fetching.run()
        except BaseException:
            view.end(fetching.table())
            raise
        table = ask.hand_over(fetching.table(), view.end)
        for generation in table if len(table) <= tables.MAX_IN_FULL and not ask.is_quiet else ():
            surface_of(self.shell).final(generation)
        return table

    # --------------------------------------------------------------------------------- helpers

    def _open_form(self) -> object:
        if not is_rich(self.shell):
            remedy = "In a terminal write a prompt: %imagen a red fox --ar 16:9"
            raise InvalidRequest("%imagen: the form needs a notebook.", remedy=remedy)
        from imagen_widget._widget import ImagenWidget

        own = any(value is not None for value in self.trait_values(config=True).values())
        widget = self.studio().widget() if own else ImagenWidget()  # which follows the settings
        if not is_last_expression():  # else the displayhook shows it
            self.shell.display_formatter.ipython_display_formatter(widget)
        return widget

    # ------------------------------------------------------------------------------ the shell

    def install(self) -> None:
        self.shell.register_magics(self)
        self.shell.Completer.custom_matchers.append(self._matcher)
        manager = self.shell.input_transformer_manager
        manager.line_transforms.insert(0, whole_lines)
        manager.token_transformers.append(KeepsQuestionMark)
        self.once.install()

    def uninstall(self) -> None:
        manager = self.shell.magics_manager
        for kind, ours in self.magics.items():
            for name in ours:
                if getattr(manager.magics[kind].get(name), "__self__", None) is self:
                    del manager.magics[kind][name]
        manager.registry.pop(type(self).__name__, None)
        _drop(self.shell.configurables, self)
        _drop(self.shell.Completer.custom_matchers, self._matcher)
        _drop(self.shell.input_transformer_manager.line_transforms, whole_lines)
        _drop(self.shell.input_transformer_manager.token_transformers, KeepsQuestionMark)
        self.once.uninstall()


def load(shell: Any) -> None:
    """Register the magics with a shell; again is as good as once.

    What IPython's configuration has for them may be refused: it is said here, and again by each
    line of theirs until `%config` sets another value.
    """
    unload(shell)
    magics = ImagenMagics(shell, config=Config())
    for name, value in shell.config.get(ImagenMagics.__name__, {}).items():
        try:
            if name not in _TRAITS:
                raise TraitError(f"ImagenMagics.{name} is not a setting.")
            setattr(magics, name, value)
        except TraitError as error:
            log.warning("Left out of IPython's configuration: %s", error)
            magics.refused[name] = str(error)
    magics.install()


def unload(shell: Any) -> None:
    """Take the magics out of a shell, if they are there."""
    magics = shell.magics_manager.registry.get(ImagenMagics.__name__)
    if isinstance(magics, ImagenMagics):
        magics.uninstall()


def _drop(things: list[Any], thing: object) -> None:
    if thing in things:
        things.remove(thing)
