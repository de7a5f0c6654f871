"""One line or cell of a magic: what it asks for, and what it starts, shown once.

A large series asks first. What an interrupt came to is said in one line before it goes on up.
"""

import asyncio
import contextlib
import keyword
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from imagen_widget import _display
from imagen_widget._inputs import local
from imagen_widget._magic.line import Evaluate, Grammar, Parsed, Text, model_named, object_of, parse
from imagen_widget._magic.shell import is_last_expression
from imagen_widget._models import ARGUMENTS, Model, typed_json
from imagen_widget._request import ImageRequest
from imagen_widget._result import Generation
from imagen_widget._runs import Job, ending
from imagen_widget._series import Series, listed
from imagen_widget._settings import Settings, notices
from imagen_widget._studio import default_studio
from imagen_widget.errors import ImagenError, InvalidRequest, invalid

T = TypeVar("T")

log = logging.getLogger("imagen_widget")

MAX_UNASKED_ROWS = 20
_WITHOUT_WORDS = {"%imagen_spend", "%imagen_resume"}
_STRAY = "Cancelling was interrupted, and the job may go on; fetch it with %imagen_resume"
_BY_ROLE: dict[str, Any] = {"aspect_ratio": "size", "num_images": "count"}
_AXES = "Write one axis per line, like style = oil || ink; then --- and the prompt."
_GIVE = re.compile(r"Give (\w+)=(?:…|\[…\]): .*")  # a picture, as Python has it


class Ask:
    """One line or cell of a magic; that of a sweep has axes, and a template as its prompt."""

    def __init__(
        self, magics: Any, grammar: Grammar, line: str, local_ns: Any, cell: str | None
    ) -> None:
        names = {**magics.shell.user_ns, **(local_ns or {})}  # one scope, so that closures work
        self.evaluate: Evaluate = lambda code: eval(code, names)
        self._in_force = magics.settings
        self.settings: Settings = self._in_force()
        for notice in notices():
            log.warning("%s", notice)
        self.studio, models = default_studio(self.settings), list[str]()
        self._shell, self._once = magics.shell, magics.once
        self._line = Text(line, self.evaluate)
        self._cell = None if cell is None else Text(cell, self.evaluate)
        self.is_bare = cell is None and not line.strip()
        if self._cell is not None and grammar.magic.startswith("%%"):
            self.axes, self.template = read_axes(self._cell)
            self._cell = Text("", self.evaluate)
            models = [name for name in self.axes.get("model", ()) if isinstance(name, str)]
        named = model_named(self._line)
        parsed = self._read(grammar, [named, *models])
        if parsed.values.get("model") != named:  # that word is in the prompt
            parsed = self._read(grammar, [parsed.values.get("model"), *models])
        self.prompt, self.values, self.fields = parsed.prompt, parsed.values, parsed.fields
        if self.prompt and grammar.magic in _WITHOUT_WORDS:
            raise InvalidRequest(
                f"{grammar.magic}: it takes options only.",
                remedy=f"{grammar.magic}? lists them.",
                field="prompt",
            )
        self._is_silent = parsed.silent
        self.is_quiet = bool(parsed.silent or self.values.get("quiet") or self.settings.quiet)
        self._out = self.values.get("out", "_")
        if not self._out.isidentifier() or keyword.iskeyword(self._out):
            raise InvalidRequest(
                "--out: that is not a name for a variable.",
                remedy="Use letters, digits and _, like --out foxes. Nothing was sent.",
                field="out",
            )

    def _read(self, grammar: Grammar, names: Sequence[str | None]) -> Parsed:
        if any(option.is_models for option in grammar.options):
            known = []
            for name in names:
                with contextlib.suppress(InvalidRequest):  # said when the request is made
                    known.append(self.studio.model(name))
            grammar = grammar.with_fields(*known)
        return parse(self._line, self._cell, grammar)

    # ------------------------------------------------------------------------- what it asks for

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

    def request(self, /, prompt: str | None, **asked: Any) -> ImageRequest:
        """Return a checked request; a row's own values go before those of the line, defaults last.

        What is typed where any JSON value may stand is read as JSON, if it is some. An error names
        the setting that is its cause, or the option that gives a picture.
        """
        extra = {**self.given["extra"], **asked}
        given = {**self.given, **{n: extra.pop(n) for n in ARGUMENTS if n in asked}}
        model, settings, causes = self.model(given["model"]), self.settings, dict[str, str]()
        for name, value in extra.items():
            field = model.meant(name)
            if isinstance(value, str) and (field is None or field.kind == "json"):
                extra[name] = typed_json(value)
        for name, value in settings.presets.items():
            field = model.field(name) or model.role(_BY_ROLE.get(name, "-"))
            names = {name} if field is None else {name, field.name}
            if (field or model.source == "none") and not names & extra.keys():
                extra[name] = value
                causes |= dict.fromkeys(names, name)
        try:
            return self.studio.request(prompt, **{**given, "extra": extra})
        except InvalidRequest as error:
            if error.field in causes:
                raise settings.blamed(causes[error.field], error) from None
            asks = _GIVE.fullmatch(error.remedy)
            if asks is None:
                raise
            option = {"image": "-i", "images": "-i"}.get(asks[1], f"--{asks[1].replace('_', '-')}")
            raise InvalidRequest(
                error.message,
                remedy=f"Give {option} PICTURE: a file, https address, or expression like fox[0].",
                field=error.field,
            ) from None

    def _objects(self, value: Any, name: str) -> Any:
        """Return what the words of a picture option mean; other values as they are."""
        if not isinstance(value, list):
            return value
        found: list[object] = []
        for each in value:
            meant = object_of(each, self.evaluate, name)
            found += (meant or [None]) if isinstance(meant, list | tuple) else [meant]
        if any(each is None for each in found):
            remedy = "Give a file, an https address, or an expression like fox[0]."
            raise invalid(name.lstrip("-"), "it is None or empty, and not a picture", remedy)
        return found

    # --------------------------------------------------------------------- where its value goes

    @cached_property
    def surface(self) -> _display.Surface:
        if self.is_quiet:
            return _display.Surface()
        return _display.surface_of(self._shell, hooked=is_last_expression())

    def hand_over(self, value: T, show: Callable[[T], object] | None = None) -> T:
        """Put a value into the user's variable, show it once, and return it."""
        self._keep(value)
        (show or self.surface.final)(value)
        if self.surface.shows_values:
            self._once.note(value)
        return value

    def shown(self, value: T) -> T:
        """Return a value for the displayhook to show, unless a `;` asks to hide it."""
        if self._is_silent:
            self._once.note(value)
        return value

    def say(self, text: str) -> None:
        """Show one more line, whether the call is quiet or not."""
        _display.surface_of(self._shell).final(_display.StatusLine(text))

    def _keep(self, value: object) -> None:
        if "out" in self.values:
            self._shell.push({self._out: value})

    # --------------------------------------------------------------------------------- one job

    def wait(self, job: Job) -> Generation:
        """Block for the pictures; whatever else comes of the job is shown before it goes on up."""
        view = _display.JobView(job, self.surface)
        try:
            view.begin()
            generation = job.result()
        except (KeyboardInterrupt, asyncio.CancelledError):  # the latter: cells that await
            self._cancel(job, view)
            raise
        except BaseException:
            view.end(_display.StatusLine(ending(job)))
            raise
        self.hand_over(generation, view.end)
        copies = self._save(generation)
        if copies and not self.is_quiet:
            more = f" and {len(copies) - 1} more" if copies[1:] else ""
            folder: Any = self.values.get("save_dir") or self._folder
            self.say(f"saved {Path(folder, copies[0].name)}{more}")
        return generation

    def leave(self, job: Job) -> Job:
        """Let the job go on by itself and return it; its output follows it where it can."""
        stays = self.surface.outlives_call  # a terminal's next prompt stands on that line
        view = _display.JobView(job, self.surface if stays else _display.Surface())
        view.begin()
        self.hand_over(job, (lambda _: None) if stays else None)
        view.follow(self._save)
        return job

    @cached_property
    def _folder(self) -> Path | None:
        named = self.values.get("save_dir")
        return local(named).absolute() if named else self.settings.save_dir

    def make_folder(self) -> None:
        """Make the folder that copies of the pictures are saved in, if there is one."""
        try:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError, ValueError) as error:
            given = "save_dir" in self.values
            label = "--save-dir" if given else self.settings.found["save_dir"].label
            raise InvalidRequest(
                f"{label}: the folder cannot be made ({getattr(error, 'strerror', error)}).",
                remedy="Name a writable folder. Nothing was sent.",
                field="save_dir",
            ) from None

    def _save(self, generation: Generation) -> list[Path]:
        return [] if self._folder is None else generation.save(self._folder)

    def _cancel(self, job: Job, view: _display.JobView) -> None:
        """Cancel at the provider, and say in one line what came of it."""
        outcome, pictures = _STRAY, None
        try:
            outcome = job.cancel()
        finally:
            line = ending(job, outcome.rstrip("."))
            with contextlib.suppress(ImagenError, TimeoutError):
                pictures = job.result(timeout=0)  # they came in spite of it
            view.end(_display.StatusLine(line) if pictures is None else pictures)
            if pictures is not None or self.is_quiet:
                self.say(line)

    # ------------------------------------------------------------------------------- a series

    def run(self, series: Series) -> Series:
        """Run a series as the options say, and return it; of a large one the plan comes first."""
        values = self.values
        series.in_force = self._in_force
        self._keep(series)
        plan = series.plan
        large = plan.to_send > MAX_UNASKED_ROWS or plan.price is None
        if values.get("dry_run"):
            line = _display.StatusLine(f"{plan}. Nothing was sent.")
            return self.hand_over(series, lambda _: self.surface.final(line))
        if large and not (values.get("yes") or "max_spend" in values):
            why = "unknown price" if plan.price is None else f"more than {MAX_UNASKED_ROWS} rows"
            text = f"a series of {why} needs --max-spend AMOUNT, or --yes."
            return self.hand_over(series, lambda _: self.say(f"{plan}. Nothing was sent: {text}"))
        run = series.start if values.get("no_wait") else series.run
        with _display.using_shell(self._shell):
            try:
                run(
                    max_spend=values.get("max_spend"),
                    max_in_flight=values.get("in_flight", 8),
                    errors=values.get("errors", "row"),
                    quiet=self.is_quiet,
                )
            except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:
                said = series.cancel(everywhere=False)
                self.say(f"{said} Go on: %imagen_series {series.name} --resume")
                interrupt.__notes__ = []  # that line has it
                raise
        return self.hand_over(series, lambda _: None)


def read_axes(text: Text) -> tuple[dict[str, list[Any]], str]:
    """Return the axes of a sweep's cell, one `name = a || b` a line, and the prompt below `---`.

    An `{{expression}}` between the `||` stands for the items of its value.
    """
    lines = text.masked.removesuffix("\n").split("\n")
    rule = next((place for place, line in enumerate(lines) if line.strip() == "---"), None)
    if rule is None:
        what = "%%imagen_sweep: the line --- between the axes and the prompt is missing."
        raise InvalidRequest(what, remedy=_AXES)
    axes: dict[str, list[Any]] = {}
    for line in filter(str.strip, lines[:rule]):
        name, _, typed = line.partition("=")
        name = text.fill(name).strip()
        if not (name.isidentifier() and typed.strip()):
            said = name if typed.strip() else text.fill(line).strip()  # without what may be a key
            raise InvalidRequest(f"{said[:60]!r} is not an axis.", remedy=_AXES)
        if name in axes:
            raise InvalidRequest(f"{name}: the axis is given twice.", remedy="Join the two lines.")
        axes[name] = []
        for part in typed.split("||"):
            value: Any = text.value(part.strip())
            one = [value] if isinstance(value, bytes) or not isinstance(value, Iterable) else value
            axes[name] += listed(value) if isinstance(value, str) else one
    for name in axes.keys() & {"image", "mask"}:
        axes[name] = [object_of(item, text.evaluate, name) for item in axes[name]]
    return axes, text.fill("\n".join(lines[rule + 1 :]))
