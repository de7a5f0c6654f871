"""What is spent and reserved: kept up with every change of a job's amount, never summed up again.

`spending` holds a sum for each day, provider, model, user and series: what reports read. `budgets`
holds one for each period and scope: what a limit is checked against, by an UPDATE that does nothing
if the limit would be passed. A day is the local calendar day on which a job was written down, kept
with the job: reports and limits cannot differ on it, whatever the time zone does.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple

from imagen_widget._journal.sql import Raced, Transaction, to_dollars, to_micros
from imagen_widget._models import dollars
from imagen_widget._settings import Limit
from imagen_widget.errors import BudgetExceeded

_NO_LIMIT = 2**62
_SERIES = "series"  # the period of a series' own budget: all of its time
_BOOK = (
    "INSERT INTO spending (day, provider, model, who, series, micros) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (day, provider, model, who, series)"
    " DO UPDATE SET micros = spending.micros + excluded.micros"
)
_RESERVE = (
    "INSERT INTO budgets (period, scope, micros) VALUES (?, ?, ?)"
    " ON CONFLICT (period, scope) DO UPDATE SET micros = budgets.micros + excluded.micros"
    " WHERE budgets.micros + excluded.micros <= ?"
)


class Account(NamedTuple):
    """Where an amount is booked."""

    day: str
    provider: str
    model: str
    user: str
    series: str


@dataclass(frozen=True)
class Cap:
    """A limit of one row of `budgets`, with the words for it."""

    row: tuple[str, str]  # period and scope
    micros: int
    spent: str  # when its sum was spent, as `today`
    text: str  # what would be passed, as `the cap of $2.00 a day`
    remedy: str


def day_of(moment: float) -> date:
    """Return the local calendar day of a moment in Unix seconds."""
    return datetime.fromtimestamp(moment, tz=UTC).astimezone().date()


def caps_of(
    budget: Sequence[Limit], day: str, *, user: str, series: str = "", most: Decimal | None = None
) -> list[Cap]:
    """Return what the limits of a budget, and a series' `max_spend`, mean on a day."""
    caps = []
    for limit in budget:
        monthly, mine = limit.period == "month", limit.scope == "user"
        setting = "IMAGEN_MAX_SPEND_USER" if mine else "IMAGEN_MAX_SPEND"
        amount = f"cap of {dollars(limit.amount)} a {limit.period}"
        caps.append(
            Cap(
                (_month(day) if monthly else day, user if mine else ""),
                to_micros(limit.amount) or 0,
                "this month" if monthly else "today",
                f"your {amount}" if mine else f"the {amount}",
                f"raise {setting}, or go on {'next month' if monthly else 'tomorrow'}.",
            )
        )
    if most is not None:
        words = ("in the series", f"its max_spend of {dollars(most)}", "run it with a higher one.")
        caps.append(Cap((_SERIES, series), to_micros(most) or 0, *words))
    return caps


def book(tx: Transaction, moves: Mapping[Account, int], caps: Sequence[Cap] = ()) -> None:
    """Book amounts under the caps: all of them, or none.

    Raises:
        BudgetExceeded: A cap would be passed.
        Raced: Another process has spent what was left meanwhile.
    """
    rows = budgets_of(moves)
    limits: dict[tuple[str, str], int] = {}
    for cap in caps:
        if rows[cap.row] and _spent(tx, cap) + rows[cap.row] > cap.micros:
            raise _refusal(tx, cap, needed=rows[cap.row])
        limits[cap.row] = min(cap.micros, limits.get(cap.row, _NO_LIMIT))
    reserves = [(*row, rows[row], limits.get(row, _NO_LIMIT)) for row in sorted(rows) if rows[row]]
    if tx.many(_RESERVE, reserves) < len(reserves):
        raise Raced
    tx.many(_BOOK, [(*account, micros) for account, micros in sorted(moves.items()) if micros])


def fitting(tx: Transaction, prices: Sequence[int | None], caps: Sequence[Cap]) -> int:
    """Return how many of the prices, from the first on, fit under all caps now.

    Raises:
        BudgetExceeded: Not even the first one does, or its price is not known.
    """
    left = {cap: cap.micros - _spent(tx, cap) for cap in caps}
    total = 0
    for count, price in enumerate(prices):
        tight = next((cap for cap in caps if price and total + price > left[cap]), None)
        if caps and not count and price is None:
            raise unpriced(caps)
        if tight and not count:
            raise _refusal(tx, tight, needed=price or 0)
        if tight or (caps and price is None):
            return count
        total += price or 0
    return len(prices)


def unpriced(caps: Sequence[Cap]) -> BudgetExceeded:
    """Return the error for a price that is not known, where there is a cap."""
    return BudgetExceeded(
        f"The model's price is not known here, so {caps[0].text} cannot be kept.",
        remedy="Nothing was sent; say what a picture costs in dollars, as IMAGEN_PRICE=0.04.",
    )


def budgets_of(moves: Mapping[Account, int]) -> Counter[tuple[str, str]]:
    """Return what the rows of `budgets` come to, by period and scope."""
    rows: Counter[tuple[str, str]] = Counter()
    for account, micros in moves.items():
        for period in (account.day, _month(account.day)):
            for scope in {"", account.user}:
                rows[period, scope] += micros
        if account.series:
            rows[_SERIES, account.series] += micros
    return rows


def _month(day: str) -> str:
    return day[:7]


def _spent(tx: Transaction, cap: Cap) -> int:
    row = tx.run("SELECT micros FROM budgets WHERE period = ? AND scope = ?", *cap.row).fetchone()
    return int(row["micros"]) if row else 0


def _refusal(tx: Transaction, cap: Cap, *, needed: int) -> BudgetExceeded:
    spent = dollars(to_dollars(_spent(tx, cap)))
    return BudgetExceeded(
        f"The request costs {dollars(to_dollars(needed))}; with {spent} spent or reserved"
        f" {cap.spent} it would pass {cap.text}.",
        remedy=f"Nothing was sent; {cap.remedy}",
    )
