"""Splits a magic's line or cell into the prompt, exactly as typed, and its options.

The options are one table for reading, checking, help and completion: an option is a field with the
names by which it is written, and a model adds one for each field of its own.

Options are a run of words at the start or at the end of a line. The middle is the prompt, cut out
of the raw text: never split into words, never joined again. In it only `{{expression}}` means
anything: `$5`, `{a|b}` and single braces stay as they are, a literal `{{` is written `{{'{{'}}`.

What looks like an option (`-x`, `--word`) and stands first, last, or last but one has to be one:
a mistyped option is an error, not a prompt that costs money. A prompt that needs such a word
goes in quotes, or after a bare `--`: all that follows is the prompt, exactly as typed.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn

from imagen_widget._history import BY
from imagen_widget._models import Field, Kind, Model
from imagen_widget._settings import RESERVED, SETTINGS
from imagen_widget.errors import InvalidRequest

Evaluate = Callable[[CodeType], object]

_MAX_CLOSINGS_TRIED = 16
_CLOSING = re.compile(r"(?=\}\})")
_COLUMN = re.compile(r"\{\w+\}")  # of a table: filled in for each row
_REMEDY = "Nothing was sent. A literal {{ is written {{'{{'}}."
_WORD = re.compile(r"\S+")
_FIRST_MARK, _LAST_MARK = 0x100000, 0x10FFFD  # Unicode leaves these characters to programs
_MARKS = f"{chr(_FIRST_MARK)}-{chr(_LAST_MARK)}"
_MARK = re.compile(f"[{_MARKS}]")
_OPTION = re.compile(rf"(--?[A-Za-z{_MARKS}][\w{_MARKS}-]*)(?:(=)|(?=\s|\Z))")
_DASHES = re.compile(r"--(?=\s|\Z)")
_LONG = "‐-―−⸺⸻﹘﹣－➖"  # what editors and input methods make of hyphens
_LONG_DASH = re.compile(rf"([-{_LONG}]*[{_LONG}][-{_LONG}]*)([A-Za-z][\w-]*)(?=[\s=:]|\Z)")
_JOINED = re.compile(r"(--[A-Za-z][A-Za-z_-]*|-[A-Za-z])(?:[^\sA-Za-z=]|\w+[.\[]\w)")
_QUOTED = re.compile(r"""(["'])(.*?)\1(?=\s|\Z)""", re.DOTALL)
_INNER_QUOTE = re.compile(r"""(?<=[\s(\[{])(?P<opens>["'])(?=\S)|(?<=\S)["'](?!\w)""")
_SWITCH = re.compile(r"(?:true|false)(?=\s|\Z)", re.IGNORECASE)
_SURELY_KEY = re.compile(r"(.*-)?api-?key|fal-key")
_KEY = re.compile(rf"{_SURELY_KEY.pattern}|key|token|secret|authorization")
_RESERVED = {name.replace("_", "-") for name in RESERVED}
_SETTINGS = {setting.name.replace("_", "-"): setting for setting in SETTINGS}
_NEAR = 0.7  # how like an option a word is that was meant to be one
_SLIP = 0.8  # the same where nobody knows the model's fields
_MAX_LISTED = 10  # whole numbers of a longer range are not listed one by one
_NAMES_WIDTH = 33
_LIMITS = ("row", "raise")
_GIVEN_OTHERWISE = {"prompt", "picture", "mask"}  # the roles that are not options by a field's name


@dataclass(frozen=True, slots=True)
class Option:
    """A field with its names: the short one first; of a switch `--x`, `--no-x`.

    `is_models` says whether the value goes to the model. A flag of the magic's own has no metavar,
    and takes no value.
    """

    names: tuple[str, ...]
    field: Field
    metavar: str = ""
    is_models: bool = False

    @property
    def values(self) -> tuple[str, ...]:
        field = self.field
        if field.kind == "switch":
            return ("true", "false") if self.is_models else ()
        if field.kind == "whole" and field.low is not None and field.high is not None:
            low, high = int(field.low), int(field.high)
            return tuple(map(str, range(low, high + 1))) if high - low < _MAX_LISTED else ()
        return tuple(map(str, field.allowed))

    def negates(self, name: str) -> bool:
        """Return True for the name that turns a switch off, though fields begin with `no_` too."""
        return self.field.kind == "switch" and _bare(name) == f"no-{_bare(self.field.name)}"


@dataclass(frozen=True, slots=True)
class Grammar:
    """The options that one magic takes; `is_open` if nothing is known of the model's fields."""

    magic: str
    options: tuple[Option, ...]
    model: str = ""
    is_open: bool = False

    def find(self, name: str) -> Option | None:
        """Return the option written as `name`; `_` may stand for `-` inside a long name."""
        spelled = "--" + name[2:].replace("_", "-") if name.startswith("--") else name
        return next((o for o in self.options if spelled in o.names), None)

    @property
    def names(self) -> list[str]:
        """Every way to write an option, in the order of the table."""
        return [name for option in self.options for name in option.names]

    def with_fields(self, *models: Model) -> "Grammar":
        """Return the grammar with an option for each field of these models."""
        options = {option.field.name: option for option in self.options}
        for option in (option for model in models for option in _options_of(model)):
            known = options.get(option.field.name)
            if known is not None and known.is_models:
                options[option.field.name] = replace(known, field=option.field)
            elif known is None and (free := [n for n in option.names if n not in self.names]):
                options[option.field.name] = replace(option, names=tuple(free))
        names = ", ".join(model.name for model in models)
        is_open = any(model.source == "none" for model in models)
        return Grammar(self.magic, tuple(options.values()), names, is_open)

    def help(self) -> str:
        lines = []
        for option in self.options:
            names = f"{', '.join(option.names)} {option.metavar}".rstrip()
            values = f": {', '.join(option.values)}" if option.values else ""
            lines.append(f"  {names:<{_NAMES_WIDTH}}  {option.field.help}{values}")
        return "\n".join(lines)


def _options_of(model: Model) -> Iterator[Option]:
    """Yield an option for each field; the count also by the common name."""
    for field in model.fields:
        if field.role == "count":
            yield Option((), replace(field, name="num_images"))
        if field.role not in _GIVEN_OTHERWISE and not field.name.endswith(("api_key", "apikey")):
            name = f"--{field.name.replace('_', '-')}"
            names = (name, f"--no-{name[2:]}") if field.kind == "switch" else (name,)
            yield Option(names, field, field.kind.upper(), is_models=True)


# ------------------------------------------------------------------------------------- the table


def _option(
    written: str, help: str, kind: Kind = "text", *, is_models: bool = False, **more: Any
) -> Option:
    """Return an option written like `-o --out NAME`; a flag if nothing follows its names."""
    names = tuple(word for word in written.split() if word.startswith("-"))
    metavar = written.rpartition(names[-1])[2].strip()
    key = names[-1].lstrip("-").replace("-", "_")
    field = Field(key, kind if metavar else "switch", help=help, **more)
    return Option(names, field, metavar, is_models)


_common = partial(_option, is_models=True)
_MODEL = _option("-m --model MODEL", "alias or endpoint id of the model")
_FIELDS = (
    _MODEL,
    _common("--ar --aspect-ratio RATIO", "width to height, like 16:9"),
    _common("-n --num-images COUNT", "how many pictures", "whole"),
    _common("--resolution SIZE", "1K, 2K or 4K, where the model takes it"),
    _common("--format --output-format FORMAT", "png, jpeg or webp"),
    _common("-s --seed SEED", "whole number; the same one tries to repeat a picture", "whole"),
    _common("--safety-tolerance LEVEL", "1 (strict) to 6"),
    _option("-i --image PICTURE", "input: a file, https address, or expression", "picture"),
    _option("--mask PICTURE", "picture that is white where the input is to change", "picture"),
)
_EACH = (
    _option("--dry-run", "show what would be sent and its price, and send nothing"),
    _option("--no-wait", "return at once; the output goes on updating"),
    _option("-o --out NAME", "put the result into this variable"),
    _option("-q --quiet", "show nothing and only return the result"),
)
_RUNNING = (
    _option("--max-spend AMOUNT", "US dollars for the whole series"),
    _option("--in-flight COUNT", "jobs under way at once", "whole", low=1, high=1000),
    _option(
        "--errors LIMIT",
        "failed rows to allow, like 5 or a share like 0.1; any or none",
        "number",
        allowed=_LIMITS,
    ),
    _option("--yes", "send it even if it is large or its price is unknown"),
    *_EACH,
)
_SERIES = (
    _option("--name NAME", "name of the series; one that exists is continued"),
    *_RUNNING,
    *_FIELDS,
)
_TABLE = {
    "%imagen": (
        *_FIELDS,
        _option("-d --save-dir DIR", "also save the pictures in this folder"),
        _option("--fresh", "do not answer from history: generate and pay again"),
        _option("--timeout SECONDS", "wait no longer than this", "number"),
        *_EACH,
    ),
    "%%imagen_sweep": _SERIES,
    "%imagen_batch": (
        _option("-p --prompt TEMPLATE", "the prompt; {column} is the row's value"),
        _option("--key COLUMN", "column that identifies a row"),
        *_SERIES,
    ),
    "%imagen_series": (
        _option("--resume", "send the rows that wait, fetch the jobs under way"),
        _option("--cancel", "send no more rows; jobs under way are still fetched"),
        *_RUNNING,
    ),
    "%imagen_history": (
        _option("-n --limit COUNT", "how many to list", "whole", low=1),
        _MODEL,
        _option("--stars COUNT", "with at least this many stars", "whole", low=1, high=5),
    ),
    "%imagen_models": (
        _option("--refresh", "read the model's schema again"),
        _option("--live", "ask fal's public search too"),
    ),
    "%imagen_resume": (_option("--forget ID", "take a job of unknown outcome off the list"),),
    "%imagen_spend": (_option("--by WHAT", "what to group by", "choice", allowed=BY),),
}
GRAMMARS = {name.lstrip("%"): Grammar(name, options) for name, options in _TABLE.items()}


# ------------------------------------------------------------------------------------ the text


class Text:
    """What a user typed, with the templates in it; each is evaluated once, when it is needed.

    In `masked` one character that the text does not have stands for each template: a template is
    a letter of a word, and its blanks, quotes and dashes mean nothing.
    """

    def __init__(self, raw: str, evaluate: Evaluate) -> None:
        self.evaluate = evaluate
        self._codes: dict[str, CodeType] = {}
        self._values: dict[str, object] = {}
        unused = (c for c in map(chr, range(_FIRST_MARK, _LAST_MARK)) if c not in raw)
        self.masked, opening, rest = raw.partition("{{")
        while opening:
            mark = next(unused)
            self._codes[mark], rest = _template(rest)
            before, opening, rest = rest.partition("{{")
            self.masked += mark + before

    def fill(self, part: str) -> str:
        """Return a part of the masked text with each template replaced by its value as text."""
        return _MARK.sub(
            lambda m: _of_user(str, self.value(m[0])) if m[0] in self._codes else m[0], part
        )

    def value(self, part: str) -> object:
        """Return the value of a part that is one template and nothing else; else its text."""
        if part not in self._codes:
            return self.fill(part)
        if part not in self._values:
            self._values[part] = _of_user(self.evaluate, self._codes[part])
        return self._values[part]


def _of_user(function: Callable[[Any], Any], argument: object) -> Any:
    """Call what runs code of the user's; what that raises becomes one line."""
    try:
        return function(argument)
    except Exception as error:
        said = f"{{{{…}}}}: {type(error).__name__}: {error}."
        raise InvalidRequest(said, remedy=_REMEDY, field="prompt") from error


def _template(text: str) -> tuple[CodeType, str]:
    """Return the code of a template, up to the first `}}` that fits, and the text behind it."""
    ends = [m.start() for m in islice(_CLOSING.finditer(text), _MAX_CLOSINGS_TRIED)]
    for end in ends:
        code = compiled(text[:end].strip())
        if code is not None:
            return code, text[end + 2 :]
    trouble = "what it holds is not a Python expression" if ends else "it is never closed"
    raise InvalidRequest(f"{{{{…}}}}: {trouble}.", remedy=_REMEDY, field="prompt")


def compiled(source: str) -> CodeType | None:
    """Return the code of an expression; None if it is not one."""
    try:
        # In parentheses it may go over several lines, and end in a comment, as in an f-string.
        return compile(f"({source}\n)", "<{{…}}>", "eval") if source else None
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def object_of(
    value: object,
    evaluate: Evaluate,
    option: str,
    *,
    wanted: str = "a file, an https address, or an expression like fox[0]",
) -> object:
    """Return what a value means: a file, an https address, or an expression of the notebook."""
    if not isinstance(value, str) or "://" in value or _COLUMN.fullmatch(value):
        return value
    with suppress(OSError, ValueError, RuntimeError):  # too long, a NUL, ~ of an unknown user
        if Path(value).expanduser().is_file():
            return Path(value).expanduser()
    code, said = compiled(value.strip()), "nor is it an expression"
    if code is not None:
        try:
            return evaluate(code)
        except Exception as error:  # noqa: BLE001 - the user's own code
            said = f"and as an expression it fails: {str(error) or type(error).__name__}"
    raise InvalidRequest(
        f"{option}: there is no file {value[:60]!r}, {said}.",
        remedy=f"Give {wanted}. Nothing was sent.",
        field=option.lstrip("-"),
    )


# ---------------------------------------------------------------------------------------- the line


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a line or a cell asks for."""

    prompt: str | None  # with its templates filled in
    values: dict[str, Any]  # of the magic's own options; a picture option has a list
    fields: dict[str, Any]  # of the model
    silent: bool  # whether a trailing `;` asks to hide the output


def parse(line: Text, cell: Text | None, grammar: Grammar) -> Parsed:
    """Read what follows `%imagen` on its line; the body of a cell is its prompt, nothing else."""
    text, silent = _without_semicolon(line.masked)
    scan = _Scan(line, grammar, text)
    options, start, verbatim = scan.leading()
    if cell is not None:
        if text[start:].strip():
            scan.check_ends(start, len(text))
            raise InvalidRequest(
                f"%%{grammar.magic.lstrip('%')}: its first line takes options only.",
                remedy="Write the prompt in the lines below. Nothing was sent.",
                field="prompt",
            )
        body, hidden = cell.masked.removesuffix("\n"), False  # IPython ends every cell in one
        if not verbatim:
            body, hidden = _without_semicolon(body)
            body = _unquoted(body)
        return scan.parsed(cell.fill(body), options, silent=silent or hidden)
    if verbatim:
        typed = line.masked[start:]
        return scan.parsed(line.fill(typed) if typed.strip() else None, options, silent=False)
    trailing, stop = scan.trailing(start)
    typed = text[start:stop].rstrip()
    scan.check_ends(start, start + len(typed))
    prompt = line.fill(_unquoted(typed)) if typed else None
    return scan.parsed(prompt, [*options, *trailing], silent=silent)


def model_named(line: Text) -> str | None:
    """Return the model that an option on the line seems to name: its fields are options too."""
    scan = _Scan(line, Grammar("", (_MODEL,)), _without_semicolon(line.masked)[0])
    names = [found.value for found in scan.every(0) if found and found.value]
    return None if not names or line.value(names[-1]) is None else line.fill(names[-1])


@dataclass(frozen=True, slots=True)
class _Reading:
    """One word that looks like an option: what it says, or what is wrong with it."""

    name: str
    option: Option | None
    end: int
    value: str | None = None  # masked, without its quotes
    fault: str = ""


class _Scan:
    """Finds options in what is masked of a text."""

    def __init__(self, source: Text, grammar: Grammar, text: str) -> None:
        self._source, self._grammar, self._text = source, grammar, text

    def leading(self) -> tuple[list[_Reading], int, bool]:
        """Return the options at the start, where the prompt starts, and whether `--` ended them."""
        found, position = self._options(0)
        dashes = _DASHES.match(self._text, position)
        return found, dashes.end() + len(" ") if dashes else position, dashes is not None

    def trailing(self, start: int) -> tuple[list[_Reading], int]:
        """Return the longest run of options that reaches the end, and where it begins."""
        for word in _WORD.finditer(self._text, start):
            if word[0].startswith("-"):
                found, end = self._options(word.start())
                if end == len(self._text):
                    return found, word.start()
        return [], len(self._text)

    def _options(self, position: int) -> tuple[list[_Reading], int]:
        """Return the options that stand here without a fault, and where the next word begins."""
        found: list[_Reading] = []
        position = self._skip_blanks(position)
        while (reading := self._read(position)) is not None and not reading.fault:
            found.append(reading)
            position = self._skip_blanks(reading.end)
        return found, position

    def every(self, start: int, stop: int | None = None) -> list[_Reading | None]:
        """Return what each word says as an option; None for one that does not look like one."""
        return [self._read(word.start()) for word in _WORD.finditer(self._text[:stop], start)]

    def check_ends(self, start: int, stop: int) -> None:
        """Refuse a prompt whose first or last words look like an option, and a key on the line."""
        if is_quoted(self._text[start:stop]):
            return
        readings = self.every(start, stop)
        for place, reading in enumerate(reversed(readings), 1):
            if reading is None:
                continue
            # With another word behind it, a suffix like `-ish` is not meant as an option.
            name, double = reading.name, f"-{reading.name}"
            meant = name.startswith("--") or len(name) == len("-x") or self._grammar.find(double)
            at_end = place in {1, len(readings)} or (place == 2 and meant)
            if at_end or _SURELY_KEY.fullmatch(_bare(name)):
                self._refuse(reading)
        words = [m[0] for m in _WORD.finditer(self._text[:stop], start)]
        for found in filter(None, map(_LONG_DASH.match, (*words[:1], *words[-2:]))):
            names = (f"--{found[2]}", f"-{found[2].rstrip('0123456789')}")
            known = next(filter(self._grammar.find, names), None)
            if known is not None:  # an editor has joined its hyphens
                raise InvalidRequest(
                    f"{self._grammar.magic}: {found[0]} begins with a long dash ({found[1]}).",
                    remedy=f"Write {known}; editors join two hyphens to one dash. A prompt with "
                    "such a word goes in quotes. Nothing was sent.",
                )

    def parsed(self, prompt: str | None, found: Iterable[_Reading], *, silent: bool) -> Parsed:
        """Return what the options say; the last one of a kind counts, pictures add up."""
        values: dict[str, Any] = {}
        fields: dict[str, Any] = {}
        for reading in found:
            option = reading.option
            assert option is not None
            into, what = fields if option.is_models else values, option.field
            value: Any = not option.negates(reading.name)
            if reading.value is not None and what.kind in {"picture", "pictures"}:
                value = [*into.get(what.name, ()), self._source.value(reading.value)]
            elif reading.value is not None:
                value = self._source.value(reading.value)
                if value is None:  # as in Python: left to the default
                    continue
                if isinstance(value, list):
                    value = tuple(value)  # a list is one of pictures
                elif what.kind != "json" and not isinstance(value, tuple | dict):
                    value = self._source.fill(reading.value)
                if not option.is_models:  # a number may be a word too, as in --errors raise
                    value = what.check(value, strict=what.kind != "number")
            into[what.name] = value
        return Parsed(prompt, values, fields, silent)

    def _value_at(self, position: int, *, assigned: bool) -> tuple[str | None, int]:
        """Return the value that stands here, without its quotes, and where the text goes on."""
        start = position if assigned else self._skip_blanks(position)
        if quoted := _QUOTED.match(self._text, start):
            return quoted[2], quoted.end()
        word = _WORD.match(self._text, start)
        another = _OPTION.match(self._text, start) or _DASHES.match(self._text, start)
        if word is None or word[0].endswith(("'", '"')) or (another and not assigned):
            return None, position
        return word[0], word.end()

    def _read(self, position: int) -> _Reading | None:
        """Read the option at a position; None if the word does not look like one."""
        match = _OPTION.match(self._text, position)
        if match is None:
            joined = _JOINED.match(self._text, position)
            option = self._grammar.find(joined[1]) if joined else None
            if joined is None or option is None or not option.metavar:
                return None
            fault = f"needs a blank before its value, like {joined[1]} {option.metavar}"
            return _Reading(joined[1], option, joined.end(), fault=fault)
        name, assigned, end = match[1], bool(match[2]), match.end()
        option = self._grammar.find(name)
        if option is None and not assigned and name[2:].isdecimal():
            short = self._grammar.find(name[:2])
            if short is not None and short.field.kind == "whole":
                return _Reading(name[:2], short, end, name[2:])
        if option is None and assigned and self._may_be_field(name):
            option = Option((name,), Field(name[2:].replace("-", "_"), "json"), "VALUE", True)
        if option is None:
            return _Reading(name, None, end, fault="unknown")
        if not option.metavar:
            return _Reading(name, option, end, fault="takes no value" if assigned else "")
        if option.field.kind == "switch" and not assigned:
            at = self._skip_blanks(end)
            is_said = isinstance(self._source.value(self._text[at : at + 1]), bool | None)  # {{…}}
            if option.negates(name) or not (is_said or _SWITCH.match(self._text, at)):
                return _Reading(name, option, end)
        value, end = self._value_at(end, assigned=assigned)
        fault = f"needs a value, like {name[:40]} {option.metavar}" if value is None else ""
        return _Reading(name, option, end, value, fault)

    def _may_be_field(self, name: str) -> bool:
        """Return True if a word may be a field of the model because nothing is known of it.

        `--sede` is a slip; `--images` and `--mode` may be fields beside options of ours.
        """
        bare = _bare(name)
        near = self._near(f"--{bare}", cutoff=_SLIP)
        is_slip = any(not (o[2:].startswith(bare) or bare.startswith(o[2:])) for o in near)
        taken = _KEY.fullmatch(bare) or bare in _RESERVED or is_slip
        return self._grammar.is_open and name.startswith("--") and not taken

    def _near(self, name: str, *, cutoff: float = _NEAR) -> list[str]:
        long = [known for known in self._grammar.names if known.startswith("--")]
        return difflib.get_close_matches(name, long, n=1, cutoff=cutoff)

    def _skip_blanks(self, position: int) -> int:
        return len(self._text) - len(self._text[position:].lstrip())

    def _refuse(self, reading: _Reading) -> NoReturn:
        """Raise the one line about a faulty option; it never shows what was given to it."""
        magic, bare = self._grammar.magic, _bare(reading.name)
        name = _MARK.sub("{{…}}", reading.name[:40])
        fault = reading.fault or "stands inside the prompt; options go before or after it"
        if reading.option is None and _KEY.fullmatch(bare):
            raise InvalidRequest(
                f"{magic}: keys are not taken here, and this one may now be stored in the "
                "notebook and in IPython's history. Nothing was sent.",
                remedy="Delete it from the cell, delete the history with `ipython history clear` "
                "in a terminal, ask the provider for a new key, and give that one to "
                "imagen_widget.login() or the environment (IMAGEN_API_KEY, FAL_KEY).",
                field="api_key",
            )
        is_field, more = reading.option is None and self._may_be_field(name), ""
        setting = None if self._grammar.find(f"--{bare}") or is_field else _SETTINGS.get(bare)
        if setting is not None:
            trait = f" (%config ImagenMagics.{setting.name})" if setting.name != "journal" else ""
            raise InvalidRequest(
                f"{magic}: --{bare} is a setting and not an option. Nothing was sent.",
                remedy=f"Set {setting.variable}{trait}.",
                field=setting.name,
            )
        said = f"{name} {fault}."
        if is_field:
            meant = f"--{name[5:]}=false" if bare.startswith("no-") else f"{name}=VALUE"
            said = f"the fields of {self._grammar.model} are not known; write {meant}."
        elif reading.option is None:
            names = [n for n in self._grammar.names if len(bare) > 1 or n == f"-{bare}"]
            near = [n for n in names if f"-{bare}" in f"-{_bare(n)}"] or self._near(f"--{bare}")
            said = f"{name} is not an option." + (f" Did you mean {near[0]}?" if near else "")
            if self._grammar.model:
                model = self._grammar.model.partition(",")[0]
                more = f"; %imagen_models {model} lists the model's fields"
        if magic == "%imagen":  # the others have no prompt on their line
            more += "; a prompt with such a word goes in quotes or after --"
        raise InvalidRequest(
            f"{magic}: {said}", remedy=f"{magic}? lists the options{more}. Nothing was sent."
        )


def is_quoted(text: str) -> bool:
    """Return True if the quotes at both ends are a pair: `"a" and "b"` is not one."""
    if len(text) < len("''") or text[0] not in "\"'" or text[-1] != text[0]:
        return False
    inner = (m for m in _INNER_QUOTE.finditer(text, 1, len(text) - 1) if m[0] == text[0])
    first = next(inner, None)
    return first is None or first["opens"] is not None


def _bare(name: str) -> str:
    return name.lstrip("-").replace("_", "-").lower()


def _unquoted(text: str) -> str:
    """Return a text without its one pair of outer quotes; blanks inside them stay."""
    inner = text.strip()
    return inner[1:-1] if is_quoted(inner) else text


def _without_semicolon(text: str) -> tuple[str, bool]:
    """Return a text without a `;` at its end, and whether there was one."""
    stripped = text.rstrip()
    if not stripped.endswith(";"):
        return text, False
    return stripped[:-1].rstrip(), True
