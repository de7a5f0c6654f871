"""The live view of a series: a bar with counts, money, rate, time left, errors, newest pictures.

It is rendered up to four times a second while the series runs: it encodes no picture itself, and
shows those whose small copies are ready.
"""

from dataclasses import KW_ONLY, dataclass, field

from imagen_widget._html import escape, image, tag
from imagen_widget._result import cost_text
from imagen_widget._series import parts
from imagen_widget._series.drive import TOLD, Tally
from imagen_widget._series.parts import MARK, OWN_KEYS, TILE, Tiles
from imagen_widget._settings import Limit
from imagen_widget.errors import plural

MIN_DONE = 5  # rows before a rate is told, in rows a minute
MAX_ERRORS = 8
MAX_KEYS = 12
MAX_PICTURES = 14
_BAR_SIGNS = {"kept": "▓", "done": "█", "failed": "✕", "refused": "✕", "unknown": "?", "sent": "▒"}
_BAR_LENGTH = 24
_WORDS = {"kept": "from history", "unknown": "of unknown outcome"}
_STOPPED = "nothing more is sent, what is paid for is still fetched."
_AGAIN = "Run the cell again to go on."


@dataclass
class Board:
    """How a series is doing at the moment `now`, as text and as a card.

    `blocks`: the cell waits for it, so that clicks would wait too. `is_table`: its rows are those
    of a table, not combinations of axes.
    """

    name: str
    tally: Tally
    _: KW_ONLY
    free: bool
    now: float
    tiles: Tiles = field(default_factory=Tiles)
    provider: str = ""
    cap: Limit | None = None
    blocks: bool = False
    note: str = ""
    is_table: bool = False

    def __post_init__(self) -> None:
        tally = self.tally
        seconds, is_known = (tally.ended or self.now) - tally.started, tally.done_here >= MIN_DONE
        self.rate = 60 * tally.done_here / seconds if is_known and seconds > 0 else None
        self.kept = min(tally.kept, tally.counts["done"])
        counts = {"kept": self.kept} | {state: tally.counts[state] for state in TOLD}
        counts["done"] -= self.kept
        self.counts = {s: n for s, n in counts.items() if n > 0} or {"waiting": 0}

    @property
    def line(self) -> str:
        """One line: counts by state, what was spent of what is planned, rate, time left."""
        tally = self.tally
        said = [", ".join(f"{count:,} {_WORDS.get(s, s)}" for s, count in self.counts.items())]
        if self.free:
            said.append("free")
        elif tally.planned is None:
            said.append(f"{cost_text(tally.spent)} spent, price of the rest unknown")
        else:
            said.append(f"{cost_text(tally.spent)} of {cost_text(tally.planned)}")
        if tally.is_running and tally.stopping:
            said.append("stopping")
        elif tally.is_running and self.rate:
            said += [f"{self.rate:,.1f} rows a minute", f"{self._left(self.rate)} left"]
        elif tally.is_running:
            said.append("time left unknown")
        return " · ".join([*said, self.note] if self.note else said)

    def __repr__(self) -> str:
        bar = ""
        for state, count in self.counts.items():
            share = round(count / max(1, self.tally.total) * _BAR_LENGTH) or (count > 0)
            bar += _BAR_SIGNS.get(state, "░") * share
        return f"{bar[:_BAR_LENGTH].ljust(_BAR_LENGTH, '░')} {self.line}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": f"{self.name}: {self}", "text/html": self._html()}

    def _left(self, rate: float) -> str:
        waiting = 0 if self.tally.stopping else self.tally.counts["waiting"]
        return f"about {_duration(60 * (waiting + self.tally.counts['sent']) / rate)}"

    # -------------------------------------------------------------------------------- as a card

    def _html(self) -> str:
        state, dot, how = self._state()
        where = escape(f"{self.provider} · {state}" if self.provider else state)
        chip = tag("span", where, class_="ims-chip", style=f"--dot:var(--{dot})")
        return parts.card(
            "board",
            parts.head(self.name, "Series", chip),
            self._summary(),
            self._bar(),
            self._facts(),
            self._trouble(),
            self._strip(),
            parts.foot(how),
        )

    def _state(self) -> tuple[str, str, str]:  # what it does, its colour, what can be done
        tally = self.tally
        waiting, sent = tally.counts["waiting"], tally.counts["sent"]
        if tally.is_running and tally.stopping:
            out = f"{sent:,} that {'was sent is' if sent == 1 else 'were sent are'}"
            return "stopping", "warn", f"Stopped; {out} being fetched. {_AGAIN}"
        if tally.is_running:
            how = "Interrupt the kernel to stop" if self.blocks else "Stop or .cancel()"
            return "running", "good", f"{how}: {_STOPPED} {_AGAIN}"
        if tally.elsewhere:
            how = "Another process works on it: .run() joins in and shows it, .cancel() stops it."
            return "running elsewhere", "good", how
        if sent:
            how = f"{plural(sent, 'row')} sent and not fetched yet: .resume() fetches."
            return "paused", "line", how
        if waiting:
            how = ".run() sends the rows that wait; those that are done are not paid again."
            return "paused" if waiting < tally.total else "not started", "line", how
        how = "All of them: .grid(). Choose with .pick(), save copies with .export(folder)."
        return "finished", "accent", how

    def _summary(self) -> str:
        tally = self.tally
        of_table = " of a table" if self.is_table else ""
        facts = [f"<b>{plural(tally.total, 'row')}{of_table}</b>"]
        if self.kept:
            facts.append(f"{self.kept:,} from history{'' if self.free else ', free'}")
        to_send = tally.total - self.kept if tally.is_running else tally.counts["waiting"]
        if to_send:
            facts.append(f"{to_send:,} to send")
        if self.free:
            facts.append("<b>free</b>")
        elif tally.planned is not None:
            facts.append(f"<b>at most {cost_text(tally.planned)}</b>")
        axes = " × ".join(
            tag("span", escape(plural(count, name)), class_="ims-tag")
            for name, count in tally.axes.items()
            if not self.is_table
        )
        note = tag("div", escape(self.note), class_="ims-line") if self.note else ""
        said = tag("span", " · ".join(facts))
        return tag("div", said, " ", tag("span", axes), class_="ims-line") + note

    def _bar(self) -> str:
        words = [(state, f"{n:,}", _WORDS.get(state, state)) for state, n in self.counts.items()]
        name = ", ".join(f"{count} {word}" for _, count, word in words)
        legend = "".join(
            f'<span role="listitem"><i class="ims-{state}"></i><b>{count}</b> {word} </span>'
            for state, count, word in words
        )
        done = f"{self.tally.counts['done']:,} of {self.tally.total:,} done"
        return (
            parts.bar(self.counts, role="img", aria_label=name)
            + f'<div class="ims-line"><div class="ims-legend" role="list">{legend}</div>'
            + f" <span>{done}</span></div>"
        )

    def _facts(self) -> str:
        tally = self.tally
        is_open = self.free or tally.planned is None
        planned = "" if is_open else f"of {cost_text(tally.planned)} planned"
        limit = "" if tally.limit is None else f"the series stops at {cost_text(tally.limit)}"
        facts = [("Spent", cost_text(tally.spent, free=self.free), planned, limit)]
        if tally.started:
            took = _duration((tally.ended or self.now) - tally.started, exactly=True)
            if self.rate:
                at_once = f"{plural(tally.in_flight, 'row')} at a time"
                facts.append(("Rate", f"{self.rate:,.1f}", "rows a minute", at_once))
            elif tally.is_running:
                facts.append(("Rate", "unknown", "", "until five rows are done"))
            if tally.is_running:
                left = self._left(self.rate) if self.rate else "unknown"
                facts.append(("Time left", left, "", f"running for {took}"))
            else:
                facts.append(("Time", took, "", "from the first row to the last"))
        facts += self._period()
        cells = (
            f"<div><span>{name} </span><span><b>{escape(big)}</b> {escape(more)}</span>"
            f"<span> {escape(small)}</span></div>"
            for name, big, more, small in facts
        )
        return tag("div", *cells, class_="ims-facts")

    def _period(self) -> list[tuple[str, str, str, str]]:
        """Return what was spent in the period of the cap, and what it leaves."""
        if self.free or self.tally.besides is None:
            return []
        spent, cap = self.tally.besides + self.tally.spent, self.cap
        name = "Today" if cap is not None and cap.period == "day" else "This month"
        if cap is None:
            return [(name, cost_text(spent), "", "no cap is set")]
        left = cost_text(max(cap.amount - spent, cap.amount * 0))
        whose = "your cap" if cap.scope == "user" else "the cap"
        return [(name, cost_text(spent), f"of {cost_text(cap.amount)}", f"{whose} leaves {left}")]

    def _trouble(self) -> str:
        errors = self.tally.errors
        if not errors:
            return ""
        rows = sum(map(len, errors.values()))
        first = escape(parts.reason(next(iter(errors))))
        said = f"<b>{plural(rows, 'row')} without a picture</b> · {first}"
        if len(errors) > 1:
            said += f" · and {plural(len(errors) - 1, 'other reason')}"
        listed = ""
        for error, keys in list(errors.items())[:MAX_ERRORS]:
            few = " · ".join(map(parts.key_text, keys[:MAX_KEYS]))
            few += f" and {len(keys) - MAX_KEYS:,} more" if len(keys) > MAX_KEYS else ""
            listed += (
                f"<div><b>{plural(len(keys), 'row')}</b> · {escape(error)}<br>"
                f'<span class="ims-muted">{escape(few)}</span></div>'
            )
        summary = f"<summary {OWN_KEYS}>{MARK}<span> {said}</span></summary>"
        return tag("details", summary, listed, class_="ims-trouble")

    def _strip(self) -> str:
        tally, tiles = self.tally, self.tiles
        get = tiles.ready if tally.is_running else tiles.make
        newest = [(image, g.id) for g in reversed(tally.recent) for image in g][:MAX_PICTURES]
        shown = [(i.alt[:80], get(i, *TILE), row) for i, row in newest]
        drawn = [
            image(small.data, small.media_type, alt=alt or "picture", title=alt, width=96)
            for alt, small, _ in shown
            if small is not None
        ]
        if not drawn and not tally.is_running:
            return ""
        places = min(MAX_PICTURES, tally.total) if tally.is_running else 0
        waiting = "<i></i>" * (places - len(drawn))
        rows = len({row for _, small, row in shown if small is not None})
        few = f"{rows} of {plural(tally.total, 'row')}" if rows else "none yet"
        title = f'<div class="ims-line"><b>Newest pictures</b> <span>{few}</span></div>'
        return title + tag("div", *drawn, waiting, class_="ims-strip")


def _duration(seconds: float, *, exactly: bool = False) -> str:
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if exactly else "")
    return f"{whole // 3600} h {whole % 3600 // 60} min"
