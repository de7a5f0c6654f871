"""The live view of a series: a bar with counts, money, rate, time left, errors, newest pictures.

It is rendered up to four times a second while the series runs: it encodes no picture itself, and
shows those whose small copies are ready.
"""

from imagen_widget._html import escape, image, tag
from imagen_widget._result import cost_text
from imagen_widget._series.drive import STATES, Tally
from imagen_widget._series.parts import OWN_KEYS, TILE, Tiles, card, head, key_text, plural, reason

MAX_ERRORS = 8
MAX_KEYS = 12
MAX_PICTURES = 14
_BAR_SIGNS = {"kept": "▓", "done": "█", "failed": "✕", "refused": "✕", "unknown": "?", "sent": "▒"}
_BAR_LENGTH = 24
_WORDS = {"kept": "from history", "unknown": "of unknown outcome"}
_STOP = (
    "Interrupt the kernel or call .cancel() to stop: nothing more is sent, what is paid for is "
    "still fetched. Run the cell again to go on."
)


class Board:
    """How a series is doing now, as text and as a card.

    Args:
        name: The series.
        tally: How far it is.
        free: Whether pictures cost nothing here.
        now: The time, on the clock of `tally.started`.
        tiles: The small copies of its pictures; without it none are shown.
    """

    def __init__(
        self, name: str, tally: Tally, *, free: bool, now: float, tiles: Tiles | None = None
    ) -> None:
        self.name, self._tally, self._free, self._now = name, tally, free, now
        self._tiles = tiles

    @property
    def line(self) -> str:
        """One line: counts by state, what was spent of what is planned, rate, time left."""
        parts = [", ".join(f"{count:,} {_WORDS.get(s, s)}" for s, count in self._counts())]
        parts.append(self._money())
        if self._tally.is_running:
            rate = self._tally.rate(self._now)
            parts += [_rate(rate)] if rate else []
            parts.append(self._left())
        return " · ".join(parts)

    def __str__(self) -> str:
        return f"{self._text_bar()} {self.line}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": f"{self.name}: {self}", "text/html": self._html()}

    # -------------------------------------------------------------------------------- in words

    def _counts(self) -> list[tuple[str, int]]:
        """Return how many rows are in each state, those that were done before this run apart."""
        counts = {state: self._tally.counts[state] for state in STATES}
        kept = min(self._tally.kept, counts["done"])
        counts["done"] -= kept
        order = {"kept": kept} | {s: counts[s] for s in ("done", *STATES[3:], "sent", "waiting")}
        shown = [(state, count) for state, count in order.items() if count > 0]
        return shown or [("waiting", 0)]

    def _money(self) -> str:
        tally = self._tally
        if self._free:
            return "free"
        if tally.planned is None:
            return f"{cost_text(tally.spent)} spent, price of the rest unknown"
        return f"{cost_text(tally.spent)} of {cost_text(tally.planned)}"

    def _left(self) -> str:
        seconds = self._tally.left_seconds(self._now)
        return "time left unknown" if seconds is None else f"about {_duration(seconds)} left"

    def _ended(self) -> int:
        counts = self._tally.counts
        return self._tally.total - counts["waiting"] - counts["sent"]

    def _state(self) -> tuple[str, str]:
        """Return what the series is doing, and the colour of its dot."""
        counts, tally = self._tally.counts, self._tally
        if tally.is_running:
            return ("stopping", "--dot:var(--warn)") if tally.stopping else ("running", "")
        if counts["waiting"] or counts["sent"]:
            began = self._ended() or counts["sent"]
            return ("paused" if began else "not begun", "--dot:var(--line)")
        return "ended", "--dot:var(--accent)"

    def _foot(self) -> str:
        counts = self._tally.counts
        if self._tally.is_running:
            return _STOP
        if counts["sent"]:
            return f"{plural(counts['sent'], 'row')} sent and not fetched yet: .resume() fetches."
        if counts["waiting"]:
            return ".run() sends the rows that wait; those that are done are not paid again."
        return "All of them: .grid(). Choose with .pick(), take away with .export(folder)."

    def _text_bar(self) -> str:
        total = max(1, self._tally.total)
        bar = ""
        for state, count in self._counts():
            share = round(count / total * _BAR_LENGTH) or (count > 0)
            bar += _BAR_SIGNS.get(state, "░") * share
        return bar[:_BAR_LENGTH].ljust(_BAR_LENGTH, "░")

    # -------------------------------------------------------------------------------- as a card

    def _html(self) -> str:
        state, dot = self._state()
        where = tag("span", escape(state), class_="ims-chip", style=dot or None)
        return card(
            head(self.name, self._about(), where),
            self._summary(),
            self._bar(),
            self._facts(),
            self._trouble(),
            self._strip(),
            tag("div", tag("span", escape(self._foot())), class_="ims-foot"),
            parts=("board",),
            kind="board",
        )

    def _about(self) -> str:
        axes = " × ".join(plural(count, name) for name, count in self._tally.axes.items())
        return f"Series · {axes}" if axes else "Series"

    def _summary(self) -> str:
        tally = self._tally
        left = tally.total - tally.kept
        parts = [f"<b>{plural(tally.total, 'row')}</b>"]
        if tally.kept:
            parts.append(f"{tally.kept:,} from history, free")
        parts += [f"{left:,} to send"] if self._ended() < tally.total else []
        if self._free:
            parts.append("<b>free</b>")
        elif tally.planned is not None:
            parts.append(f"<b>at most {cost_text(tally.planned)}</b>")
        ended = f"{self._ended():,} of {plural(tally.total, 'row')} have ended"
        return tag(
            "div", tag("span", " · ".join(parts)), " ", tag("span", ended), class_="ims-line"
        )

    def _bar(self) -> str:
        counts = self._counts()
        words = [(state, f"{count:,}", _WORDS.get(state, state)) for state, count in counts]
        name = ", ".join(f"{count} {word}" for _, count, word in words)
        bar = "".join(f'<i class="ims-{s}" style="flex:{count}"></i>' for s, count in counts)
        legend = "".join(
            f'<span role="listitem"><i class="ims-{state}"></i><b>{count}</b> {word} </span>'
            for state, count, word in words
        )
        drawn = tag("div", bar, class_="ims-bar", role="img", aria_label=name)
        return drawn + tag("div", legend, class_="ims-legend", role="list")

    def _facts(self) -> str:
        tally, now = self._tally, self._now
        rate = tally.rate(now)
        spent = "free" if self._free else cost_text(tally.spent)
        planned = "" if self._free or tally.planned is None else f"of {cost_text(tally.planned)}"
        limit = f"the series stops at {cost_text(tally.limit)}" if tally.limit is not None else ""
        facts = [("Spent", spent, planned, limit)]
        if tally.started:
            took = _duration((tally.ended or now) - tally.started, exactly=True)
            at_once = f"{plural(tally.in_flight, 'row')} at a time" if tally.in_flight else ""
            said = ("unknown", "", "until five rows are done")
            if rate:
                number, _, unit = _rate(rate).partition(" ")
                said = (number, unit, at_once)
            facts.append(("Rate", *said))
            left = tally.left_seconds(now)
            if not tally.is_running:
                facts.append(("Time", took, "", "from the first row to the last"))
            elif left is None:
                facts.append(("Time left", "unknown", "", f"running for {took}"))
            else:
                facts.append(("Time left", f"about {_duration(left)}", "", f"running for {took}"))
        cells = (
            f"<div><span>{name} </span><span><b>{escape(big)}</b> {escape(more)}</span>"
            f"<span> {escape(small)}</span></div>"
            for name, big, more, small in facts
        )
        return tag("div", *cells, class_="ims-facts")

    def _trouble(self) -> str:
        errors = self._tally.errors
        if not errors:
            return ""
        rows = sum(map(len, errors.values()))
        first = next(iter(errors))
        said = f"<b>{plural(rows, 'row')} without a picture</b> · {escape(reason(first))}"
        if len(errors) > 1:
            said += f" · and {plural(len(errors) - 1, 'other reason')}"
        listed = "".join(
            f"<div><b>{plural(len(keys), 'row')}</b> · {escape(error)}<br>"
            f'<span class="ims-muted">{escape(_few(keys))}</span></div>'
            for error, keys in list(errors.items())[:MAX_ERRORS]
        )
        mark = '<i class="ims-mark" aria-hidden="true">!</i>'
        summary = f"<summary {OWN_KEYS}>{mark}<span> {said}</span></summary>"
        return tag("details", summary, listed, class_="ims-trouble")

    def _strip(self) -> str:
        tally, tiles = self._tally, self._tiles
        get = None if tiles is None else tiles.ready if tally.is_running else tiles.make
        newest = [image for generation in reversed(tally.recent) for image in generation]
        shown = [(i.alt[:80], get(i, *TILE)) for i in newest[:MAX_PICTURES]] if get else []
        drawn = "".join(
            image(small.data, small.media_type, alt=alt or "picture", title=alt, width=96)
            for alt, small in shown
            if small is not None
        )
        if not drawn and not tally.is_running:
            return ""
        waiting = "<i></i>" * (MAX_PICTURES - drawn.count("<img")) if tally.is_running else ""
        few = f"{drawn.count('<img')} of {tally.counts['done']:,} rows" if drawn else "none yet"
        title = tag(
            "div", tag("b", "Newest pictures"), " ", tag("span", few), class_="ims-line ims-sub"
        )
        return title + tag("div", drawn, waiting, class_="ims-strip")


def _few(keys: list[str]) -> str:
    more = f" and {len(keys) - MAX_KEYS:,} more" if len(keys) > MAX_KEYS else ""
    return " · ".join(key_text(key) for key in keys[:MAX_KEYS]) + more


def _rate(rows_a_second: float) -> str:
    for name, seconds in (("second", 1), ("minute", 60), ("hour", 3600)):
        if rows_a_second * seconds >= 1 or name == "hour":
            number = rows_a_second * seconds
            return f"{number:.1f} rows a {name}" if number < 100 else f"{number:,.0f} rows a {name}"
    return ""


def _duration(seconds: float, *, exactly: bool = False) -> str:
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if exactly else "")
    return f"{whole // 3600} h {whole % 3600 // 60} min"
