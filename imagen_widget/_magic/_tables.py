"""The lists that the magics show: history, models, money, and what can still be fetched.

Each is HTML in a notebook and aligned text in a terminal. Nothing here does I/O besides reading
the pictures that it shows small.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from imagen_widget import _html, _picture
from imagen_widget._catalog import (
    MODELS,
    PRICES_AS_OF,
    PRICES_SOURCE,
    Choice,
    Model,
    Parameter,
    short_name,
)
from imagen_widget._generate import price_text
from imagen_widget._result import age, cost_text
from imagen_widget.errors import ImagenError, one_line

if TYPE_CHECKING:
    from decimal import Decimal

    from imagen_widget._history import Resumed, Spending
    from imagen_widget._journal._rows import JobRow
    from imagen_widget._request import ImageRequest
    from imagen_widget._result import Generation

T = TypeVar("T")

THUMBNAIL_PIXELS = 240
THUMBNAIL_BYTES = 10_000
_LONGEST_PROMPT = 160
_TABLE_STYLE = (
    "border-collapse:collapse;font-family:var(--jp-ui-font-family,system-ui,sans-serif);"
    "font-size:13px"
)
_CELL_STYLE = "text-align:left;vertical-align:top;padding:4px 12px 4px 0;max-width:36em"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, and markup in its place where HTML is shown."""

    text: str
    html: str = ""


@dataclass(frozen=True)
class Table(Sequence[T], Generic[T]):
    """A list that displays itself as a table.

    Attributes:
        items: What it lists.
        columns: The headings.
        rows: The cells, a row for each line of the table.
        caption: One line below.
    """

    items: tuple[T, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        """Return one of the items, or some."""
        return self.items[index]

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.items)

    def __repr__(self) -> str:
        return "\n".join([*self._lines(), *([self.caption] if self.caption else [])])

    def _lines(self) -> list[str]:
        if not self.rows:
            return []
        texts = [self.columns, *([cell.text for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        return [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in texts
        ]

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        head = "".join(
            _html.tag("th", _html.escape(c), style=_CELL_STYLE, scope="col") for c in self.columns
        )
        body = "".join(_html.tag("tr", *map(_markup, row)) for row in self.rows)
        table = _html.tag(
            "table",
            _html.tag("thead", _html.tag("tr", head)) + _html.tag("tbody", body),
            style=_TABLE_STYLE,
        )
        caption = _html.tag("div", _html.escape(self.caption), style="font-size:13px;opacity:.85")
        return {
            "text/plain": repr(self),
            "text/html": (table if self.rows else "") + (caption if self.caption else ""),
        }


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would be sent, and what it would cost; nothing was.

    Attributes:
        request: The request.
        provider: Its provider's name.
        address: Where it would go.
        price: US dollars that it is expected to cost, or None where unknown.
    """

    request: ImageRequest
    provider: str
    address: str
    price: Decimal | None

    def __repr__(self) -> str:
        body = json.dumps(self.request.arguments(), indent=2, ensure_ascii=False)
        price = price_text(self.price, provider=self.provider)
        return f"POST {self.address}\n{body}\n{price} · nothing was sent"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": _html.tag("pre", _html.escape(self))}


def history_table(generations: Sequence[Generation], *, total: int) -> Table[Generation]:
    """Return a table of generations with a small picture each; `total` is how many there are."""
    rows = tuple(
        (
            Cell("", _thumbnail(g)),
            Cell(age(g.created)),
            Cell(one_line(g.request.prompt, limit=_LONGEST_PROMPT)),
            Cell(_parameters(g)),
            Cell(str(len(g))),
            Cell(cost_text(g.cost, provider=g.provider)),
            _file_cell(g),
        )
        for g in generations
    )
    shown = f"{len(rows)} of {total} in the history" if rows else "Nothing in the history"
    return Table(
        tuple(generations),
        ("", "When", "Prompt", "Settings", "Images", "Cost", "File"),
        rows,
        f"{shown}. Filter: %imagen_history WORDS -n COUNT. Each is a Generation: _[0].save(…).",
    )


def models_table() -> Table[Model]:
    """Return the table of what the catalogue knows."""
    rows = tuple(
        (
            Cell(model.alias),
            Cell(model.endpoint),
            Cell(_price(model)),
            Cell(model.status),
            Cell(model.successor or "-"),
            Cell(", ".join(map(_parameter_text, model.parameters))),
        )
        for model in MODELS
    )
    notes = " ".join(dict.fromkeys(model.note for model in MODELS if model.note))
    return Table(
        MODELS,
        ("Name", "Endpoint", "Price an image", "Status", "Successor", "Takes"),
        rows,
        f"Prices: {PRICES_SOURCE} as of {PRICES_AS_OF}; gateways charge their own. {notes} "
        "Any other owner/name endpoint works too.",
    )


def spend_table(spending: Spending, *, cap: Decimal | None) -> Table[tuple[str, Decimal]]:
    """Return the table of what was spent or is reserved: here, today, this month, by model."""
    items = (
        ("This session", spending.session),
        ("Today", spending.today),
        ("This month", spending.month),
        *((f"  {short_name(model)}", spent) for model, spent in spending.by_model.items()),
    )
    limit = f"The cap is {_dollars(cap)} a day." if cap is not None else "There is no cap a day;"
    remedy = "" if cap is not None else " set IMAGEN_MAX_SPEND to have one."
    return Table(
        items,
        ("", "US dollars"),
        tuple((Cell(name), Cell(_dollars(spent))) for name, spent in items),
        f"{limit}{remedy} Estimated by list price, or IMAGEN_PRICE; running jobs count in full.",
    )


def resume_table(resumed: Sequence[Resumed], unknown: Sequence[JobRow]) -> Table[Generation]:
    """Return the table of what came of the pending jobs, and of those nobody can fetch."""
    fetched = tuple(r.generation for r in resumed if r.generation is not None)
    rows = [(_job(r.row), *_fate(r)) for r in resumed]
    rows += [
        (
            _job(row),
            Cell("unknown"),
            Cell(
                "It may have been accepted and billed; nobody knows its id. Look it up at the "
                f"provider, then: %imagen_resume --forget {row.id}"
            ),
        )
        for row in unknown
    ]
    count = f"{len(fetched)} fetched" if resumed else "Nothing is waiting to be fetched"
    return Table(fetched, ("Job", "State", "What to do"), tuple(rows), f"{count}.")


def _fate(resumed: Resumed) -> tuple[Cell, Cell]:
    if resumed.generation is not None:
        paths = ", ".join(map(str, resumed.generation.paths))
        return Cell("fetched"), Cell(paths, _thumbnail(resumed.generation))
    if resumed.error is not None:
        return Cell("not fetched"), Cell(str(resumed.error))
    return Cell("being fetched"), Cell("Another notebook is at it; look again in a minute.")


def _job(row: JobRow) -> Cell:
    prompt = one_line(row.request.prompt, limit=_LONGEST_PROMPT // 2)
    return Cell(f"{prompt} ({age(row.created)}, {row.provider} {short_name(row.endpoint)})")


def _markup(cell: Cell) -> str:
    return _html.tag("td", cell.html or _html.escape(cell.text), style=_CELL_STYLE)


def _file_cell(generation: Generation) -> Cell:
    if not generation.paths:
        return Cell("")
    path = str(generation.paths[0])
    return Cell(path, _html.tag("div", _html.escape(path), style="overflow-wrap:anywhere"))


def _thumbnail(generation: Generation) -> str:
    try:
        image = generation[0]
        small = _picture.preview(image.data, side=THUMBNAIL_PIXELS, most_bytes=THUMBNAIL_BYTES)
    except (ImagenError, IndexError) as error:
        return _html.tag("em", _html.escape(error))
    return _html.image(
        small.data,
        small.media_type,
        alt=image.alt,
        width=small.width // 2,  # half its pixels: sharp on dense screens
        height=small.height // 2,
        style="display:block;border-radius:4px;max-width:none",  # else the column is 0 wide
    )


def _parameters(generation: Generation) -> str:
    given = generation.request.parameters()
    words = [f"{name.replace('_', ' ')} {value}" for name, value in given.items()]
    return ", ".join([f"{generation.provider} {short_name(generation.model)}", *words])


def _parameter_text(parameter: Parameter) -> str:
    name = parameter.name.replace("_", " ")
    if isinstance(parameter, Choice):
        return f"{name} {'|'.join(parameter.allowed)}"
    return f"{name} {parameter.low}-{parameter.high}"


def _price(model: Model) -> str:
    factors = (f"{size} x{factor.normalize():f}" for size, factor in model.resolution_factor)
    return ", ".join([cost_text(model.price, provider=""), *factors])


def _dollars(amount: Decimal) -> str:
    return cost_text(amount, provider="")
