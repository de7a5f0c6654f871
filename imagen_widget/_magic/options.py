"""The options of the magics: one table for reading, checking, help and completion.

An option is a field with the names by which it is written; a model adds one for each of its own.
Nothing here does I/O or knows IPython.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from imagen_widget._models import Field, Kind, Model

_MAX_LISTED = 10  # whole numbers of a longer range are not listed one by one
_NAMES_WIDTH = 33
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
        """The values that can be listed."""
        field = self.field
        if field.kind == "switch":
            return ("true", "false") if self.is_models else ()
        if field.kind == "whole" and field.low is not None and field.high is not None:
            low, high = int(field.low), int(field.high)
            return tuple(map(str, range(low, high + 1))) if high - low < _MAX_LISTED else ()
        return tuple(map(str, field.allowed))


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

    @property
    def takes_fields(self) -> bool:
        """Whether the fields of a model are options too."""
        return any(option.is_models for option in self.options)

    def with_fields(self, *models: Model) -> "Grammar":
        """Return the grammar with an option for each field of these models."""
        options = {option.field.name: option for option in self.options}
        for model in models:
            for option in _options_of(model):
                known = options.get(option.field.name)
                if known is not None and known.is_models:
                    options[option.field.name] = replace(known, field=option.field)
                elif known is None and not set(option.names) & set(self.names):
                    options[option.field.name] = option
        return Grammar(
            self.magic,
            tuple(options.values()),
            ", ".join(model.name for model in models),
            any(model.source == "none" for model in models),
        )

    def help(self) -> str:
        """Return a line for each option."""
        lines = []
        for option in self.options:
            names = ", ".join(option.names) + (f" {option.metavar}" if option.metavar else "")
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


def _flag(names: str, help: str) -> Option:
    key = names.rpartition("--")[2].replace("-", "_")
    return Option(tuple(names.split()), Field(key, "switch", help=help))


def _own(names: str, metavar: str, help: str, kind: Kind = "text", **more: object) -> Option:
    key = names.rpartition("--")[2].replace("-", "_")
    return Option(tuple(names.split()), Field(key, kind, help=help, **more), metavar)  # type: ignore[arg-type]


def _common(name: str, names: str, metavar: str, help: str, kind: Kind = "text") -> Option:
    return Option(tuple(names.split()), Field(name, kind, help=help), metavar, is_models=True)


_MODEL = _own("-m --model", "MODEL", "alias or endpoint id of the model")
_OUT = _own("-o --out", "NAME", "put the result into this variable")
_QUIET = _flag("-q --quiet", "show nothing, only return the result")
_FIELDS = (
    _MODEL,
    _common("aspect_ratio", "--ar --aspect-ratio", "RATIO", "width to height, like 16:9"),
    _common("num_images", "-n --num-images", "COUNT", "how many pictures", "whole"),
    _common("resolution", "--resolution", "SIZE", "1K, 2K or 4K, where the model takes it"),
    _common("output_format", "--format --output-format", "FORMAT", "png, jpeg or webp"),
    _common("seed", "-s --seed", "SEED", "whole number that starts the randomness", "whole"),
    _common("safety_tolerance", "--safety-tolerance", "LEVEL", "1 (strict) to 6"),
    _own("-i --image", "PICTURE", "input: a file, https address, or expression", "picture"),
    _own("--mask", "PICTURE", "picture that is white where to change the input", "picture"),
)
_RUNNING = (
    _own("--max-spend", "AMOUNT", "US dollars for the whole series"),
    _own("--in-flight", "COUNT", "rows that may be out at once", "whole", low=1, high=1000),
    _own(
        *("--errors", "LIMIT", "stop at so many rows or such a share", "number"),
        allowed=("row", "raise"),
    ),
    _flag("--dry-run", "show the plan and its price, send nothing"),
    _flag("--yes", "send it, though it is large or its price is unknown"),
    _flag("--no-wait", "return at once; the output goes on updating"),
    _OUT,
    _QUIET,
)
_NAME = _own("--name", "NAME", "name of the series; one that exists is continued")

IMAGEN = Grammar(
    "%imagen",
    (
        *_FIELDS,
        _OUT,
        _own("-d --save-dir", "DIR", "also save the pictures in this folder"),
        _flag("--fresh", "do not answer from history: generate and pay again"),
        _flag("--no-wait", "return a job at once; the output goes on updating"),
        _own("--timeout", "SECONDS", "wait no longer than this", "number"),
        _flag("--dry-run", "show the request and its price, send nothing"),
        _QUIET,
    ),
)
SWEEP = Grammar("%%imagen_sweep", (_NAME, *_RUNNING, *_FIELDS))
BATCH = Grammar(
    "%imagen_batch",
    (
        _own("-p --prompt", "TEMPLATE", "the prompt; {column} is the row's value"),
        _own("--key", "COLUMN", "column that identifies a row"),
        *SWEEP.options,
    ),
)
SERIES = Grammar(
    "%imagen_series",
    (
        _flag("--resume", "send the rows that wait, fetch those that are out"),
        _flag("--cancel", "send no more rows; what is out is fetched"),
        *_RUNNING,
    ),
)
HISTORY = Grammar(
    "%imagen_history",
    (
        _own("-n --limit", "COUNT", "how many to list", "whole", low=1),
        _MODEL,
        _own("--stars", "COUNT", "with so many stars or more", "whole", low=1, high=5),
    ),
)
MODEL_LIST = Grammar(
    "%imagen_models",
    (
        _flag("--refresh", "read the model's schema again"),
        _flag("--live", "ask fal's public search too"),
    ),
)
RESUME = Grammar(
    "%imagen_resume", (_own("--forget", "ID", "take a job of unknown outcome off the list"),)
)
SPEND = Grammar(
    "%imagen_spend",
    (
        _own(
            *("--by", "WHAT", "what to sum up by", "choice"),
            allowed=("model", "user", "series", "day", "provider"),
        ),
    ),
)
GRAMMARS = {
    grammar.magic.lstrip("%"): grammar
    for grammar in (IMAGEN, SWEEP, BATCH, SERIES, HISTORY, MODEL_LIST, RESUME, SPEND)
}
