"""%imagen: reads a line or cell, calls the use case, shows the result.

What a line means is decided in `_magic_line`, how a job is shown in `_display`. A failure is
raised, so that Run All stops.
"""

from __future__ import annotations

import inspect
import keyword
import logging
from itertools import islice
from typing import TYPE_CHECKING, Any

from IPython.core.magic import (
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from traitlets import TraitError
from traitlets.config import Config

from imagen_widget._display import SilentSurface, formatter_of, is_rich, surface_of
from imagen_widget._generate import Job, estimate, start
from imagen_widget._history import History
from imagen_widget._magic import _options as options
from imagen_widget._magic._complete import make_matcher
from imagen_widget._magic._config import ConfiguredMagics
from imagen_widget._magic._line import Parsed, parse_cell, parse_line
from imagen_widget._magic._run import Call, Run
from imagen_widget._magic._shell import KeepsQuestionMark, ShownOnce, is_last_expression
from imagen_widget._magic._tables import (
    DryRun,
    Table,
    history_table,
    models_table,
    resume_table,
    spend_table,
)
from imagen_widget._result import Generation
from imagen_widget.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal
    from types import CodeType

    from IPython.core.interactiveshell import InteractiveShell

    from imagen_widget._catalog import Model
    from imagen_widget._request import ImageRequest
    from imagen_widget._settings import Settings

_DEFAULT_ROWS = 10

log = logging.getLogger("imagen_widget")


@magics_class
class ImagenMagics(ConfiguredMagics):
    """The magics of one shell, and what they add to it."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, **settings: Any) -> None:  # noqa: ANN401 - traitlets'
        super().__init__(shell, **settings)
        self._once = ShownOnce(shell, Generation, Job, DryRun)
        self._matcher = make_matcher()

    # ---------------------------------------------------------------------------- the magics

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def imagen(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> object:
        """Make pictures from text.

            %imagen a red fox in fresh snow --ar 16:9 -n 2
            fox = %imagen a red fox

            %%imagen -n 4 --out foxes
            a red fox in fresh snow,
            soft morning light, {{style}}

        The result is a list of pictures: fox[0], fox.paths, fox.save("folder"). Alone, %imagen
        opens a form. The same request again is answered from history at no cost, unless --fresh.

        Options stand before or after the prompt, in a cell on the first line only. The prompt is
        sent as typed; one pair of quotes around it is taken off, and {{expression}} is replaced
        by its value (a literal {{ is written {{'{{'}}). What follows a bare -- is sent to the
        letter. A ; at the end hides the output.

        Defaults: %config ImagenMagics, else IMAGEN_… in the environment or a .env file, else
        [tool.imagen-widget] in a pyproject.toml beside or above the notebook.
        """
        if cell is None and not line.strip():
            return self._open_form()
        evaluate = self._evaluator(local_ns)
        if cell is None:
            parsed = parse_line(line, evaluate=evaluate)
        else:
            parsed = parse_cell(line, cell, evaluate=evaluate)
        return self._carry_out(parsed)

    imagen.__doc__ = (
        f"{inspect.cleandoc(imagen.__doc__ or '')}\n\n{options.build_parser().format_help()}"
    )

    @no_var_expand
    @needs_local_scope
    @line_magic
    def imagen_history(
        self, line: str, local_ns: Mapping[str, Any] | None = None
    ) -> Table[Generation]:
        """List what was generated, newest first, with small pictures; words filter by prompt.

        %imagen_history fox -n 20
        """
        parsed = self._parse(line, options.HISTORY, local_ns)
        settings = self.settings(parsed.values, need_key=False)
        history = History(settings.home)
        found = list(islice(history.search(parsed.prompt or ""), _count(parsed.values.limit)))
        return history_table(found, total=len(history))

    @no_var_expand
    @needs_local_scope
    @line_magic
    def imagen_models(self, line: str, local_ns: Mapping[str, Any] | None = None) -> Table[Model]:
        """List the models: what each takes and costs, whether it lives on, and its successor."""
        self._parse(line, options.MODELS_LIST, local_ns)
        return models_table()

    @no_var_expand
    @needs_local_scope
    @line_magic
    def imagen_spend(
        self, line: str, local_ns: Mapping[str, Any] | None = None
    ) -> Table[tuple[str, Decimal]]:
        """Sum what was spent or is reserved: today, this month, and by model."""
        parsed = self._parse(line, options.SPEND, local_ns)
        settings = self.settings(parsed.values, need_key=False)
        return spend_table(History(settings.home).spending(), cap=settings.max_spend)

    @no_var_expand
    @needs_local_scope
    @line_magic
    def imagen_resume(
        self, line: str, local_ns: Mapping[str, Any] | None = None
    ) -> Table[Generation]:
        """Fetch and show what was paid for and not fetched; list what nobody can fetch.

        %imagen_resume --forget ID strikes a job of unknown fate from the list.
        """
        parsed = self._parse(line, options.RESUME, local_ns)
        history = History(self.settings(parsed.values, need_key=False).home)
        if parsed.values.forget:
            history.forget(parsed.values.forget)
        resumed = history.resume_all()
        for outcome in resumed:
            if outcome.generation is not None:
                surface_of(self.shell).final(outcome.generation)
        return resume_table(resumed, history.unknown())

    # ---------------------------------------------------------------------------- a call

    def _carry_out(self, parsed: Parsed) -> Generation | Job | DryRun:
        """Do what a line asks for; what can be refused is refused before anything is sent."""
        values = parsed.values
        settings = self.settings(values, need_key=not values.dry_run)
        request = self.request(parsed.prompt or "", values, settings)
        quiet = parsed.silent or self.is_quiet(values)
        surface = SilentSurface() if quiet else surface_of(self.shell, hooked=is_last_expression())
        call = Call(self.shell, self._once, surface, _variable(values.out))
        if values.dry_run:
            return call.hand_over(self._dry_run(request, settings), surface.final)
        folder = self.folder(values)
        job = start(request, settings=settings, reuse=settings.reuse)
        run = Run(job, call, folder, provenance=settings.provenance)
        return run.leave() if values.no_wait else run.wait()

    def _dry_run(self, request: ImageRequest, settings: Settings) -> DryRun:
        address = f"{settings.base_url}/{request.model}"
        return DryRun(request, settings.provider.name, address, estimate(request, settings))

    # --------------------------------------------------------------------------------- helpers

    def _open_form(self) -> object:
        """Show the widget, and return it."""
        if not is_rich(self.shell):
            raise InvalidRequest(
                "%imagen: the form needs a notebook.",
                remedy="In a terminal write a prompt: %imagen a red fox --ar 16:9",
            )
        from imagen_widget._widget import ImagenWidget

        widget = ImagenWidget()
        if not is_last_expression():  # else the displayhook shows it
            formatter_of(self.shell).ipython_display_formatter(widget)
        return widget

    def _parse(
        self, line: str, grammar: options.Grammar, local_ns: Mapping[str, Any] | None
    ) -> Parsed:
        return parse_line(line, evaluate=self._evaluator(local_ns), grammar=grammar)

    def _evaluator(self, local_ns: Mapping[str, Any] | None) -> Callable[[CodeType], object]:
        """Return what evaluates an expression: in the caller's names, then the user's."""
        names = {**self.shell.user_ns, **(local_ns or {})}  # one scope, so that closures work
        return lambda code: eval(code, names)  # noqa: S307 - the user's own code, in their own cell

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


def load(shell: InteractiveShell) -> None:
    """Register the magics with a shell; again is as good as once."""
    unload(shell)
    try:
        magics = ImagenMagics(shell)
    except TraitError:
        magics = _without_refused(shell)
    magics.install()


def unload(shell: InteractiveShell) -> None:
    """Take the magics out of a shell, if they are there."""
    magics = shell.magics_manager.registry.get(ImagenMagics.__name__)
    if isinstance(magics, ImagenMagics):
        magics.uninstall()


def _without_refused(shell: InteractiveShell) -> ImagenMagics:
    """Return magics that keep what they can of IPython's configuration, and say what they cannot.

    `%config` leaves a value in the shell's configuration even where it was refused.
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
            "--out: that is no name of a variable.",
            remedy="Use letters, digits and _, like --out foxes. Nothing was sent.",
            field="out",
        )
    return name


def _count(text: str | None) -> int:
    if text is None:
        return _DEFAULT_ROWS
    if not (text.isascii() and text.isdigit() and int(text)):
        raise InvalidRequest(
            f"--limit: {text[:40]!r} is no number of rows.",
            remedy="Give a whole number, like -n 20.",
            field="limit",
        )
    return int(text)
