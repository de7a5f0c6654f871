"""The lists that the magics show: history, models, series, money, and what can still be fetched.

Each is static HTML for light and dark notebooks, and aligned text in a terminal.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import anyio

from imagen_widget import _loop
from imagen_widget._history import History, Resumed
from imagen_widget._html import NO_FORMULAS, encodable, escape, html_table, tag, text_table
from imagen_widget._journal import Filter, Record
from imagen_widget._models import short_name
from imagen_widget._request import ImageRequest
from imagen_widget._result import Generation, age, cost_text
from imagen_widget._runs import price_text
from imagen_widget._series import Series
from imagen_widget._settings import DEMO, Settings
from imagen_widget._studio import Studio
from imagen_widget.errors import ImagenError, one_line, plural

T = TypeVar("T")

CHART_DAYS = 30
MAX_IN_FULL = 4  # generations that %imagen_resume shows larger than in its table

_MAX_PROMPT = 160
_THUMBNAIL_PIXELS = 192
_FILTER = "Filter: %imagen_history WORDS -n COUNT."
_LEVELS = " ▁▂▃▄▅▆▇█"
_ROOT = (
    "font:13px/1.45 var(--jp-ui-font-family,system-ui,sans-serif);overflow-x:auto;"
    "color:var(--jp-ui-font-color1,inherit);font-variant-numeric:tabular-nums"
)
_MUTED = "color:var(--jp-ui-font-color2,inherit);font-size:12px"
_CAPTION = f"{_MUTED};margin:8px 0;white-space:pre-wrap"
_BARS = (
    "display:flex;align-items:flex-end;gap:2px;height:64px;max-width:480px;margin-top:12px;"
    "border-bottom:1px solid var(--jp-border-color1,#8888)"
)
_BAR = "flex:1;border-radius:2px 2px 0 0;background:var(--jp-brand-color1,#4f43d6);height:"


class Markup(str):
    """A text for terminals, with the markup that stands in its place where HTML is shown."""

    html: str

    def __new__(cls, text: str, html: str) -> "Markup":
        made = super().__new__(cls, text)
        made.html = html
        return made

    def __reduce__(self) -> tuple[type["Markup"], tuple[str, str]]:
        return Markup, (str(self), self.html)


class Table(list[T]):
    """A list that displays itself as a table with a caption; without rows as the caption alone."""

    def __init__(
        self,
        items: Iterable[T],
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        caption: str,
    ) -> None:
        super().__init__(items)
        self.columns, self.rows, self.caption = columns, rows, caption

    def __repr__(self) -> str:
        table = f"{text_table(self.columns, self.rows)}\n" if self.rows else ""
        return encodable(table + self.caption)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        table = html_table(self.columns, self.rows) if self.rows else ""
        caption = getattr(self.caption, "html", "") or escape(self.caption)
        parts = (table, tag("div", caption, style=_CAPTION))
        html = tag("div", *parts, style=_ROOT, class_=NO_FORMULAS)
        return {"text/plain": repr(self), "text/html": html}


def dry_run(request: ImageRequest, studio: Studio) -> Table[ImageRequest]:
    """Return what would be sent, and what it would cost; nothing was."""
    settings, price = studio.settings, studio.price(request)
    inside = settings.base_url == DEMO.base_url
    place = "(inside this package)" if inside else f"at {settings.base_url}"
    head = f"{settings.account.name} {request.model} {place}"
    body = json.dumps(request.arguments(), indent=2, ensure_ascii=False)
    end = [price_text(price, free=settings.account.free), *request.notes, "nothing was sent"]
    try:
        if settings.budget:
            studio.session.journal.check_budget(price, settings.budget, settings.user)
    except ImagenError as refusal:
        end.append(f"would be refused: {refusal.message}")
    return Table([request], (), (), f"{head}\n{body}\n{' · '.join(end)}")


def history_table(history: History, generations: Sequence[Generation]) -> Table[Generation]:
    """Return a table of generations with a small picture each."""
    rows = [
        (
            str(number),
            Markup("", history.thumbnail(g, width=_THUMBNAIL_PIXELS)),
            _two_lines(g.request.prompt or "", plural(len(g), "picture")),
            short_name(g.model),
            "" if g.seed is None else str(g.seed),
            cost_text(g.cost, free=not g.cost),
            age(g.created),
            "★" * stars + "☆" * (5 - stars) if (stars := history.rating(g)) > 0 else "",
        )
        for number, g in enumerate(generations)
    ]
    count = len(history)
    foot = "Nothing in the history yet; %imagen PROMPT makes the first picture."
    if rows:
        each = 'Each is a Generation: _[0].save("folder").'
        foot = f"{len(rows)} of {count} in the history. {_FILTER} {each}"
    elif count:
        foot = f"Nothing matches; {count} in the history. {_FILTER}"
    columns = ("#$", "", "Prompt", "Model", "Seed$", "Cost$", "When", "Stars")
    return Table(generations, columns, rows, foot)


def series_table(series: Iterable[Series]) -> Table[Series]:
    items = tuple(series)
    rows = [(one.name, f"{len(one):,}", one.status) for one in items]
    caption = "Go on with one: %imagen_series NAME --resume."
    if not rows:
        caption = "No series yet; %%imagen_sweep makes one."
    return Table(items, ("Series", "Rows$", "Status"), rows, caption)


def spend_table(history: History, settings: Settings, by: Any) -> Table[tuple[str, Decimal]]:
    """Return the table of what was spent or is reserved: by period, by one more thing, by day."""
    today = datetime.now().astimezone().date()
    month = today.replace(day=1)
    spending = history.spending()
    items = [("This session", spending.session)]
    rows = [("This session", cost_text(spending.session), "–", "")]
    for name, period, since, spent in (
        ("Today", "day", today, spending.today),
        ("This month", "month", month, spending.month),
    ):
        cap = _caps(history, settings, period, since, spent)
        items.append((name, spent))
        rows.append((name, cost_text(spent), _count(history, since), cap))
    parts = history.spend_by(by)
    for name, spent in parts.items():
        label = short_name(name) if by == "model" else name or f"no {by}"
        count = _count(history, month, **{by: name}) if name and by != "day" else "–"
        items.append((name, spent))
        rows.append((f"· {label}", cost_text(spent), count, ""))
    capped = "" if settings.budget else "No cap is set; IMAGEN_MAX_SPEND=2/day sets one. "
    below = f"Below the periods: this month by {by}. "
    if not parts:
        why = "the demo is free" if settings.account.free else "nothing was spent"
        below = f"Nothing to list by {by} this month: {why}. "
    caption = (
        f"{capped}{below}Amounts are as billed, or by IMAGEN_PRICE or the list price; jobs under "
        "way count in full."
    )
    days = history.spend_by("day", today - timedelta(days=CHART_DAYS - 1))
    if days:
        chart = _chart(days, today)
        caption = Markup(f"{chart}\n{caption}", chart.html + escape(caption))
    return Table(items, ("", "Spent$", "Generations$", "Cap"), rows, caption)


def _count(history: History, since: date, **group: Any) -> str:
    midnight = datetime.combine(since, datetime.min.time()).astimezone()
    return f"{history.count(Filter(has_pictures=True, since=midnight, **group)):,}"


def _caps(history: History, settings: Settings, period: str, since: date, spent: Decimal) -> str:
    parts = []
    for limit in settings.budget:
        if limit.period == period:
            mine = limit.scope == "user"
            used = history.spend_by("user", since).get(settings.user, 0) if mine else spent
            left = cost_text(max(limit.amount - used, Decimal(0)))
            whose = " for you" if mine else ""
            parts.append(f"{cost_text(limit.amount)} a {period}{whose}, {left} left")
    return "; ".join(parts)


def _chart(days: Mapping[str, Decimal], today: date) -> Markup:
    """Return what was spent on each of the last days, as bars."""
    shown = [today - timedelta(days=ago) for ago in reversed(range(CHART_DAYS))]
    amounts = [days.get(day.isoformat(), Decimal()) for day in shown]
    shares = [amount / (max(amounts) or 1) for amount in amounts]
    about = f"the last {CHART_DAYS} days, at most {cost_text(max(amounts))} a day"
    bars = (
        tag("i", title=f"{day}: {cost_text(amount)}", style=f"{_BAR}{share:.0%}")
        for day, amount, share in zip(shown, amounts, shares, strict=True)
    )
    drawn = tag("div", *bars, style=_BARS, role="img", aria_label=f"US dollars a day, {about}")
    signs = "".join(_LEVELS[math.ceil(share * 8)] for share in shares)
    return Markup(f"|{signs}|  {about}", drawn + tag("div", escape(about), style=_MUTED))


class Fetching:
    """The fetching of what is pending, as a view watches it, and the table of what came of it."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.records = history.pending()
        self._outcomes: dict[str, Resumed] = {}
        self._started = time.monotonic()
        self._over = False

    def run(self) -> None:
        def note(outcome: Resumed) -> None:
            self._outcomes[outcome.record.id] = outcome

        try:
            self._history.resume_all(note, records=self.records)
        finally:
            self._over = True

    @property
    def status(self) -> str:
        fetched = sum(outcome.generation is not None for outcome in self._outcomes.values())
        failed, left = len(self._outcomes) - fetched, len(self.records) - len(self._outcomes)
        seconds = time.monotonic() - self._started
        return f"{fetched} fetched, {failed} not fetched, {left} to go · {seconds:.0f} s"

    def listen(self, listener: Callable[[Any], None]) -> None:
        """Have a function called on the loop thread four times a second."""

        async def tick() -> None:
            while not self._over:
                listener(self)
                await anyio.sleep(0.25)

        _loop.spawn(tick)

    def table(self) -> Table[Generation]:
        """Return what came of the jobs, and those that nobody can fetch."""
        fetched, rows = [], []
        done = sum(outcome.generation is not None for outcome in self._outcomes.values())
        for record in self.records:
            outcome = self._outcomes.get(record.id)
            state, details = "interrupted", ""
            if outcome is not None and outcome.generation is not None:
                fetched.append(outcome.generation)
                state, details = "fetched", outcome.generation.summary
                if done > MAX_IN_FULL:
                    details = Markup(details, self._history.thumbnail(outcome.generation))
            elif outcome is not None and outcome.error is not None:
                state, details = "not fetched", str(outcome.error)
            elif outcome is not None:
                state, details = "elsewhere", "Another notebook fetches it; look again in a minute."
            rows.append((_job(record), state, details))
        remedy = (
            "It may have been accepted and billed, and its id is not known. Look it up at the "
            "provider, then: %imagen_resume --forget "
        )
        unknown = self._history.unknown()
        rows += [(_job(record), "unknown", remedy + record.id) for record in unknown]
        count = f"{len(fetched)} fetched." if self.records else "Nothing is waiting to be fetched."
        return Table(fetched, ("Job", "State", "Details"), rows, count)


def _job(record: Record) -> Markup:
    about, prompt = f"{age(record.created)}, {record.provider} {short_name(record.model)}", ""
    with suppress(ImagenError):  # of a damaged row: the others are shown all the same
        prompt = record.request.prompt or ""
    return Markup(f"{one_line(prompt, limit=28)} ({about})", _two_lines(prompt, about).html)


def _two_lines(text: str, about: str) -> Markup:
    line = one_line(text, limit=_MAX_PROMPT)
    return Markup(line, escape(line) + tag("div", escape(about), style=_MUTED))
