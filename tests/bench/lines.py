"""Lines of the benchmark's last table: what was measured, against what, and whether it does."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HEAD = """
| goal | ours | min to max | against | to reach | |
|---|--:|--:|--:|--:|---|"""


@dataclass(frozen=True)
class Line:
    """One measurement.

    Attributes:
        what: What is measured.
        ours: The figures of the turns; their median counts.
        unit: What they count, and by how much they are multiplied for reading.
        limit: What to stay below: a figure, or with a rival the ratio to its figure.
        rival: What the other side is called; "" for a limit of its own.
        theirs: Its figures, turn by turn.
        beside: Whether the other side only stands beside it, and the limit is a figure.
    """

    what: str
    ours: Sequence[float]
    unit: tuple[str, float]
    limit: float
    rival: str = ""
    theirs: Sequence[float] = ()
    beside: bool = False

    @property
    def ratio(self) -> float:
        """The median of the turns' own ratios; of all figures if the turns are not pairs."""
        if len(self.ours) == len(self.theirs):
            pairs = zip(self.ours, self.theirs, strict=True)
            return statistics.median(a / b if b else float("inf") for a, b in pairs)
        return statistics.median(self.ours) / statistics.median(self.theirs)

    @property
    def reached(self) -> bool:
        """Whether the goal is reached."""
        compared = self.theirs and not self.beside
        return (self.ratio if compared else statistics.median(self.ours)) <= self.limit

    def __str__(self) -> str:
        ends = f"{self._read(min(self.ours))} to {self._read(max(self.ours))}"
        against, limit = "", f"<= {self._read(self.limit)}"
        if self.theirs:
            against = f"{self.rival} {self._read(statistics.median(self.theirs))}"
        if self.theirs and not self.beside:
            limit = f"<= {self.limit:.3g} times, is {self.ratio:.3g}"
        cells = (
            self.what,
            self._read(statistics.median(self.ours)),
            ends if len(self.ours) > 1 else "",
            against.strip(),
            limit,
            "" if self.reached else "**not reached**",
        )
        return f"| {' | '.join(cells)} |"

    def _read(self, figure: float) -> str:
        unit, factor = self.unit
        value = figure * factor
        return f"{value:,.3g} {unit}".strip() if value < 1000 else f"{value:,.0f} {unit}".strip()


def in_turns(
    what: str,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    limit: float,
    *,
    turns: int,
    unit: tuple[str, float] = ("ms", 1e3),
    rival: str = "",
) -> Line:
    """Measure both sides in turns, so that what else the machine does hits both."""
    ours()
    theirs()  # both once before it counts: caches are warm then
    pairs = [(ours(), theirs()) for _ in range(turns)]
    return Line(what, [a for a, _ in pairs], unit, limit, rival, [b for _, b in pairs])


def alone(
    what: str,
    measured: Callable[[], float],
    limit: float,
    *,
    turns: int,
    unit: tuple[str, float] = ("ms", 1e3),
) -> Line:
    """Measure something that has a limit of its own."""
    measured()
    return Line(what, [measured() for _ in range(turns)], unit, limit)
