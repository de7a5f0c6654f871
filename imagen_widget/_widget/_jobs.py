"""JobsView: a row for each job, with its own Cancel and its pictures as cards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import ipywidgets as w

from imagen_widget._panel._state import Pictures
from imagen_widget._widget import _html as markup
from imagen_widget._widget._parts import assign, classed, close, mark, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagen_widget._panel._state import Card, JobState, PanelState
    from imagen_widget._widget._parts import Kit


@dataclass(frozen=True, slots=True)
class JobActions:
    """What the buttons of a row do: by the job's number, and the picture's index."""

    cancel: Callable[[int], None]
    save: Callable[[int, int], None]
    use: Callable[[int], None]


class JobsView:
    """The rows, newest first.

    Attributes:
        box: What holds them.
    """

    def __init__(self, kit: Kit, actions: JobActions, *, token: str) -> None:
        self._kit = kit
        self._actions = actions
        self._token = token
        self._empty = kit.html(markup.EMPTY, "stretch")
        self._rows: dict[int, _JobRow] = {}
        self.box = kit.box(self._empty, classes=("jobs",))

    def render(self, state: PanelState, before: PanelState | None) -> None:
        """Show the jobs of a state."""
        if before is not None and state.jobs == before.jobs:
            return
        for job in state.jobs:
            if job.number not in self._rows:
                self._rows[job.number] = _JobRow(self._kit, job, self._actions, token=self._token)
            self._rows[job.number].render(job, several=len(state.jobs) > 1)
        rows = tuple(self._rows[job.number].box for job in state.jobs)
        assign(self.box, children=rows or (self._empty,))
        for number in self._rows.keys() - {job.number for job in state.jobs}:
            close(self._rows.pop(number).box, keep=self._kit.shared)

    def resend(self) -> None:
        """Send the pictures of the newest row once more."""
        self.box.send_state("children")
        if self._rows:
            self._rows[max(self._rows)].resend()

    def close(self) -> None:
        """Free what is not shown now and so hangs on no box."""
        close(self._empty, keep=self._kit.shared)


class _JobRow:
    """One job: a head that is shown among several, then placeholders or cards."""

    def __init__(self, kit: Kit, job: JobState, actions: JobActions, *, token: str) -> None:
        self._kit = kit
        self._number = job.number
        self._actions = actions
        self._token = token
        self._drawn: JobState | None = None
        self._line = kit.html("", "stretch")
        self._cancel = classed(
            w.Button(description="Cancel", tooltip="Cancel this job", style=kit.button_style),
            "quiet",
        )
        self._cancel.on_click(lambda _: actions.cancel(job.number))
        self._head = classed(w.Box([self._line, self._cancel]), "job-head")
        self._grid = kit.box(
            kit.html(markup.skeletons(job.request), "skeletons"),
            classes=("grid", f"grid-{min(job.request.count, 4)}"),
        )
        self.box = kit.box(self._head, self._grid, classes=("job",))

    def render(self, job: JobState, *, several: bool) -> None:
        """Show a job; the head only where there is more than one."""
        show(self._head, when=several)
        drawn, self._drawn = self._drawn, job
        if several:
            assign(self._line, value=markup.job_line(job))
        if job is drawn:
            return
        show(self._cancel, when=job.active)
        assign(self._cancel, disabled=job.cancelling or not job.active)
        mark(self.box, "job-active", when=job.active)
        if job.ending is not None and (drawn is None or job.ending is not drawn.ending):
            self._show_ending(job)

    def resend(self) -> None:
        """Send the cards once more."""
        self._grid.send_state("children")
        for card in self._grid.children:
            if isinstance(card, w.Box):
                card.children[0].send_state("value")

    def _show_ending(self, job: JobState) -> None:
        if not isinstance(job.ending, Pictures):
            self._fill(())
        elif len(self._grid.children) == len(job.ending.cards) and self._is_filled():
            for index, (box, card) in enumerate(
                zip(self._grid.children, job.ending.cards, strict=True)
            ):
                assign(box.children[0], value=markup.card(job, index, card, token=self._token))
        else:
            cards = enumerate(job.ending.cards)
            self._fill(tuple(self._card(job, index, card) for index, card in cards))

    def _is_filled(self) -> bool:
        return all(isinstance(child, w.Box) for child in self._grid.children)

    def _fill(self, children: tuple[w.Widget, ...]) -> None:
        old = self._grid.children
        assign(self._grid, children=children)
        for child in old:
            close(child, keep=self._kit.shared)

    def _card(self, job: JobState, index: int, card: Card) -> w.Box:
        save = self._kit.button(
            "Save",
            "save",
            icon="download",
            tooltip="Save this picture",
            does=partial(self._actions.save, self._number, index),
        )
        use = self._kit.button(
            "",
            "use",
            icon="sliders",
            tooltip="Use these settings",
            does=partial(self._actions.use, self._number),
        )
        figure = self._kit.html(markup.card(job, index, card, token=self._token), "figure")
        code = self._kit.html(markup.code(job, index, token=self._token))
        return self._kit.box(figure, save, use, code, classes=("card",))
