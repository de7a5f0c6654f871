"""How the rows of a series lie in a table: which axis goes down, which along the top, what is left.

Pure. Axes whose values hardly repeat (a title, a key) head no table.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from imagen_widget._models import short_name
from imagen_widget._request import ImageRequest
from imagen_widget._result import Generation
from imagen_widget._series.parts import axes_text
from imagen_widget.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a series.

    Attributes:
        key: Identifies it in its series.
        axes: The values that make it differ from the others.
        request: What is asked.
        state: `waiting`, `sent`, `done`, `failed`, `refused` or `unknown`.
        error: What went wrong, in one line; None if nothing did.
        rating: Its stars, 0 to 5; -1 if it was rejected.
        generation: What it brought; None as long as it is not done.
        billed: Whether the provider may charge for it.
    """

    key: str
    axes: dict[str, Any] = field(hash=False)
    request: ImageRequest
    state: str
    error: str | None
    rating: int
    generation: Generation | None
    billed: bool = False


Table = Mapping[tuple[str, str], list[Row]]


@dataclass(frozen=True, slots=True)
class Layout:
    """The rows with the axes that head their table.

    Attributes:
        rows: In the order of the plan.
        values: Each axis with its values, in the order in which they come.
        row: The axis down the side, or None.
        col: The axis along the top, or None.
        facet: The axis with a table of its own for each value, or None.
    """

    rows: list[Row]
    values: dict[str, list[str]]
    row: str | None
    col: str | None
    facet: str | None

    @classmethod
    def of(
        cls,
        rows: Iterable[Row],
        *,
        row: str | None = None,
        col: str | None = None,
        facet: str | None = None,
    ) -> "Layout":
        """Return the layout; axes that are not given are the first ones whose values repeat.

        Raises:
            InvalidRequest: There is no such axis, or one is named twice.
        """
        every = list(rows)
        names = dict.fromkeys(name for shown in every for name in shown.axes)
        values = {n: list(dict.fromkeys(_value(shown, n) for shown in every)) for n in names}
        given = [name for name in (row, col, facet) if name is not None]
        for number, name in enumerate(given):
            if name not in values or name in given[:number]:
                why = "named twice" if name in values else "not an axis of the series"
                raise InvalidRequest(
                    f"{name}: it is {why}.",
                    remedy=f"The axes are: {', '.join(values) or 'none'}.",
                    field=name,
                )
        free = [n for n in values if n not in given and 1 < len(values[n]) <= len(every) / 2]
        row = row or (free.pop(0) if free else None)
        col = col or (free.pop(0) if free else None)
        return cls(every, values, row, col, facet)

    @property
    def row_values(self) -> list[str]:
        """The headings down the side; one that is empty if no axis goes there."""
        return self.values[self.row] if self.row else [""]

    @property
    def col_values(self) -> list[str]:
        """The headings along the top; one that is empty if no axis goes there."""
        return self.values[self.col] if self.col else [""]

    @property
    def is_flow(self) -> bool:
        """Whether no axis heads a table, so that pictures just follow each other."""
        return self.row is None and self.col is None

    def rest(self, shown: Row) -> str:
        """Return what the headings do not say of a row: its values of the other axes that vary."""
        same = (name for name, found in self.values.items() if len(found) < 2)
        return axes_text(shown.axes, self.row, self.col, self.facet, *same)

    def of_facet(self, value: str) -> list[Row]:
        """Return the rows of one value of the facet."""
        return [shown for shown in self.rows if _value(shown, self.facet) == value]

    def table(self, rows: Iterable[Row]) -> Table:
        """Return rows by their headings; several may have the same."""
        cells: dict[tuple[str, str], list[Row]] = {}
        for shown in rows:
            place = (_value(shown, self.row), _value(shown, self.col))
            cells.setdefault(place, []).append(shown)
        return cells

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Iterate over a table for each combination of the other axes, with its title."""
        parts: dict[str, list[Row]] = {}
        for shown in self.rows:
            parts.setdefault(self.rest(shown), []).append(shown)
        if any(len(part) == 1 for part in parts.values()):  # as with titles: they say nothing
            parts = {"": self.rows}
        return ((title, self.table(part)) for title, part in parts.items())

    @staticmethod
    def heading(axis: str | None, value: str) -> str:
        """Return a value as it stands over a column or before a row."""
        return short_name(value) if axis == "model" else value


def pictures(shown: Row) -> int:
    """Return how many pictures a row has."""
    return len(shown.generation) if shown.generation is not None else 0


def _value(shown: Row, axis: str | None) -> str:
    return str(shown.axes.get(axis, "")) if axis else ""
