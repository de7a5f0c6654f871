"""The options of the magics: one table for parsing, for help and for completion.

Nothing here does I/O or knows IPython.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from imagen_widget._catalog import MODELS, Choice, Model, find_model
from imagen_widget.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHORT_LIST = 10  # whole numbers of a longer range are not listed one by one


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a magic.

    Attributes:
        names: How it may be written, short name first.
        field: What its value is called in `Values`.
        help: What it does, in a few words.
        metavar: What stands for its value in the help; "" for an option without a value.
        whole: Whether the value is a whole number, so that `-n4` may be written as one word.
    """

    names: tuple[str, ...]
    field: str
    help: str
    metavar: str = ""
    whole: bool = False

    @property
    def takes_value(self) -> bool:
        """Whether a value follows the name."""
        return bool(self.metavar)


@dataclass(frozen=True, slots=True)
class Grammar:
    """The options that one magic takes, with the name of the magic."""

    magic: str
    options: tuple[Option, ...]

    def find(self, name: str) -> Option | None:
        """Return the option written as `name`; `_` may stand for `-` inside a long name."""
        spelled = "--" + name[2:].replace("_", "-") if name.startswith("--") else name
        return next((o for o in self.options if spelled in o.names), None)

    @property
    def names(self) -> list[str]:
        """Every way to write an option, in the order of the table."""
        return [name for option in self.options for name in option.names]


class Values(argparse.Namespace):
    """What the options of one call say; None or False where an option was not given."""

    model: str | None = None
    aspect_ratio: str | None = None
    num_images: str | None = None
    resolution: str | None = None
    output_format: str | None = None
    seed: str | None = None
    out: str | None = None
    save_dir: str | None = None
    timeout: str | None = None
    limit: str | None = None
    forget: str | None = None
    fresh: bool = False
    no_wait: bool = False
    dry_run: bool = False
    quiet: bool = False


IMAGEN = Grammar(
    "%imagen",
    (
        Option(("-m", "--model"), "model", "alias or endpoint id of the model", "MODEL"),
        Option(("--ar", "--aspect-ratio"), "aspect_ratio", "width to height", "RATIO"),
        Option(("-n", "--num-images"), "num_images", "how many images", "COUNT", whole=True),
        Option(("--resolution",), "resolution", "size of the images", "SIZE"),
        Option(("--format",), "output_format", "file format of the images", "FORMAT"),
        Option(("-s", "--seed"), "seed", "number that starts the randomness", "SEED", whole=True),
        Option(("-o", "--out"), "out", "put the result (or the job) into this variable", "NAME"),
        Option(("-d", "--save-dir"), "save_dir", "also save the images in this folder", "DIR"),
        Option(("--fresh",), "fresh", "do not answer from history: generate and pay anew"),
        Option(("--no-wait",), "no_wait", "return a job at once; the output goes on updating"),
        Option(("--timeout",), "timeout", "wait no longer than this", "SECONDS"),
        Option(("--dry-run",), "dry_run", "show the request and its price, send nothing"),
        Option(("-q", "--quiet"), "quiet", "show nothing, only return the result"),
    ),
)
HISTORY = Grammar(
    "%imagen_history",
    (Option(("-n", "--limit"), "limit", "how many to list", "COUNT", whole=True),),
)
MODELS_LIST = Grammar("%imagen_models", ())
RESUME = Grammar(
    "%imagen_resume",
    (Option(("--forget",), "forget", "strike a job of unknown fate from the list", "ID"),),
)
SPEND = Grammar("%imagen_spend", ())
GRAMMARS = {g.magic.removeprefix("%"): g for g in (IMAGEN, HISTORY, MODELS_LIST, RESUME, SPEND)}


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises what a notebook shows as one line."""

    def error(self, message: str) -> NoReturn:
        raise InvalidRequest(
            f"{self.prog}: {message}.", remedy=f"See {self.prog}? for its options."
        )


def build_parser(grammar: Grammar = IMAGEN) -> argparse.ArgumentParser:
    """Return the argparse parser of a magic's options: it reads them and writes the help."""
    parser = _Parser(
        prog=grammar.magic,
        usage=argparse.SUPPRESS,
        add_help=False,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=88),
    )
    for option in grammar.options:
        text = ": ".join(filter(None, (option.help, ", ".join(allowed_values(option.field)))))
        if option.takes_value:
            parser.add_argument(*option.names, dest=option.field, metavar=option.metavar, help=text)
        else:
            parser.add_argument(*option.names, dest=option.field, action="store_true", help=text)
    return parser


def read_values(grammar: Grammar, given: Iterator[tuple[Option, str]]) -> Values:
    """Return the values of options that were found on a line; the last one of a kind counts."""
    words = [f"{o.names[-1]}={value}" if o.takes_value else o.names[-1] for o, value in given]
    return build_parser(grammar).parse_args(words, namespace=Values())


def allowed_values(field: str, *, model: str | None = None) -> list[str]:
    """Return the values that a field may have: for one model, or for any of the catalogue.

    Fields whose values are not a short list have none.
    """
    if field == "model":
        return [m.alias for m in MODELS]
    known = find_model(model) if model else None
    return list(dict.fromkeys(v for m in ([known] if known else MODELS) for v in _words(m, field)))


def _words(model: Model, field: str) -> Iterator[str]:
    parameter = model.parameter(field)
    if isinstance(parameter, Choice):
        yield from parameter.allowed
    elif parameter is not None and parameter.high - parameter.low < _SHORT_LIST:
        yield from map(str, range(parameter.low, parameter.high + 1))
