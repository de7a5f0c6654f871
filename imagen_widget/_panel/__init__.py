"""PanelController: the commands of the widget, which any thread may call.

No ipywidgets, no IPython. An exception in a job becomes state: after the cell has returned there
is nowhere else for it to go.
"""

from __future__ import annotations

import concurrent.futures
import secrets
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imagen_widget._panel import _seams as seams
from imagen_widget._panel._events import (
    CancelPressed,
    Connected,
    Ended,
    Enhanced,
    FieldSet,
    Pressed,
    Priced,
    Progressed,
    Reused,
    Saved,
    TabOpened,
    Troubled,
)
from imagen_widget._panel._form import Form
from imagen_widget._panel._history import PastController
from imagen_widget._panel._pictures import pictures
from imagen_widget._panel._pump import Pump
from imagen_widget._panel._state import Cancellation, Ending, PanelState, Pictures, Tab, Trouble
from imagen_widget._panel._trouble import guarded, trouble_of
from imagen_widget._picture import SUFFIXES
from imagen_widget._provenance import embed, file_stem
from imagen_widget.errors import JobCancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagen_widget._generate import Job, Progress
    from imagen_widget._panel._state import Card
    from imagen_widget._request import ImageRequest

LOOP_ENDED = "Stopped before it ended; %imagen_resume fetches what was paid for."
_SEEDS = 2**31


class Export(NamedTuple):
    """A picture as a file to hand out: a readable name, its media type and its bytes."""

    name: str
    media_type: str
    data: bytes


class PanelController:
    """What the controls of the widget do.

    Attributes:
        past: The commands that look into history.
    """

    def __init__(
        self,
        form: Form | None = None,
        *,
        reuse: bool = False,
        settings: seams.ReadSettings = seams.read_settings,
        start: seams.Start = seams.start,
        estimate: seams.Estimate = seams.estimate,
        history: seams.OpenArchive = seams.open_archive,
        clock: Callable[[], float] = time.monotonic,
        later: seams.Later = seams.later,
        background: seams.Background = seams.background,
    ) -> None:
        self._reuse = reuse
        self._settings = settings
        self._start = start
        self._estimate = estimate
        self._clock = clock
        self._background = background
        self._pump = Pump(PanelState(form=form or Form()), clock=clock, later=later)
        self.past = PastController(
            self._pump,
            archive=lambda: history(settings(need_key=False)),
            background=background,
        )
        self._running: dict[int, Job] = {}

    @property
    def state(self) -> PanelState:
        """The newest state."""
        return self._pump.state

    def listen(
        self, render: Callable[[PanelState], None], resend: Callable[[], None] | None = None
    ) -> None:
        """Show each new state by `render`, and the final state of a job once more by `resend`."""
        self._pump.listen(render, resend)

    def open(self) -> None:
        """Find out where jobs go, what the form costs, and what waits to be fetched."""
        try:
            provider = self._settings(need_key=False).provider.name
        except Exception as error:  # noqa: BLE001 - it becomes state
            self._pump.tell(Troubled(trouble_of(error)))
            return
        self._pump.tell(Connected(provider))
        self._reprice()
        self.past.count_pending()

    def close(self) -> None:
        """Forget the view and the jobs; those go on, and their pictures land in history."""
        self._pump.close()
        self._running.clear()

    # ------------------------------------------------------------------------------- the form

    def set_field(self, name: str, value: object) -> None:
        """Take what a control holds now."""
        before, after = self._pump.tell(FieldSet(name, value))
        if before.form != after.form and name not in {"prompt", "seed"}:
            self._reprice()

    def roll_seed(self) -> None:
        """Put a random seed into the form."""
        self.set_field("seed", str(secrets.randbelow(_SEEDS)))

    def use_settings(self, number: int) -> None:
        """Bring the settings of a job back into the form."""
        if (job := self.state.job(number)) is not None:
            self.reuse(job.request)

    def reuse(self, request: ImageRequest) -> None:
        """Bring the settings of a request back into the form."""
        self._pump.tell(Reused(request))
        self._reprice()

    def reuse_from(self, picture: bytes) -> None:
        """Bring the settings that a saved picture carries back into the form."""
        from imagen_widget._history import History

        guarded(self._pump, lambda: self.reuse(History.settings_from(picture).request))

    def _reprice(self) -> None:
        try:
            price = self._estimate(self.state.form.sample(), self._settings(need_key=False))
        except Exception:  # noqa: BLE001 - an unknown price says so; Generate names the reason
            price = None
        self._pump.tell(Priced(price))

    # ------------------------------------------------------------------------------- the jobs

    def generate(self) -> None:
        """Start a job from the form, unless one is on its way out."""
        self._press(Pressed(self._clock()))

    def retry(self) -> None:
        """Send the request of the error box again."""
        trouble = self.state.trouble
        if trouble is not None and trouble.again is not None:
            self._press(Pressed(self._clock(), again=trouble.again))

    def cancel(self, number: int | None = None) -> None:
        """Cancel a job, by default the newest that runs; what it came to is told by its status."""
        meant = self.state.cancellable if number is None else self.state.job(number)
        if meant is None:
            return
        self._pump.tell(CancelPressed(meant.number))
        self._forward_cancel(meant.number)

    def _press(self, press: Pressed) -> None:
        before, after = self._pump.tell(press)
        if after.last_number == before.last_number:
            return
        number = after.last_number
        job_state = after.job(number)
        if job_state is not None:
            self._begin(number, job_state.request)

    def _begin(self, number: int, request: ImageRequest) -> None:
        try:
            settings = self._settings()
            self._pump.tell(Connected(settings.provider.name))
            job = self._start(request, settings=settings, reuse=self._reuse)
            self._running[number] = job
            job.listen(partial(self._progressed, number))
            job.add_done_callback(partial(self._done, number))
        except Exception as error:  # noqa: BLE001 - it becomes state
            self._running.pop(number, None)
            self._end(number, trouble_of(error, request), "Failed")
            return
        self._forward_cancel(number)

    def _forward_cancel(self, number: int) -> None:
        """Pass Cancel on, once the job is there; it may have been pressed while it was started."""
        state, job = self.state.job(number), self._running.get(number)
        if state is not None and state.cancelling and job is not None:
            job.request_cancel()

    def _progressed(self, number: int, progress: Progress) -> None:
        job = self._running.get(number)
        if job is not None:
            self._pump.tell_soon(Progressed(number, progress, job.status))

    def _done(self, number: int, job: Job) -> None:
        self._background(partial(guarded, self._pump, partial(self._collect, number, job)))

    def _collect(self, number: int, job: Job) -> None:
        """Bring a finished job's outcome into the state; decodes pictures, so not on the loop."""
        self._running.pop(number, None)
        if self._pump.closed:
            return
        try:
            generation = job.result(0)
            self._end(number, pictures(generation), generation.summary)
        except JobCancelled as cancelled:
            self._end(number, Cancellation(str(cancelled)), str(cancelled))
        except concurrent.futures.CancelledError:
            self._end(number, Cancellation(LOOP_ENDED), LOOP_ENDED)
        except Exception as error:  # noqa: BLE001 - it becomes state
            self._end(
                number, trouble_of(error, job.request), f"Failed after {job.progress.elapsed:.1f} s"
            )

    def _end(self, number: int, ending: Ending, status: str) -> None:
        self._pump.tell(Ended(number, ending, status))
        self._pump.show_again()
        self.past.refresh()
        if isinstance(ending, Trouble):
            self.past.count_pending()

    # ----------------------------------------------------------------------------- the pictures

    def save(self, number: int, index: int, *, folder: Path | None = None) -> None:
        """Write a picture under a readable name beside the notebook and say where."""
        card = self._card(number, index)
        if card is None:
            return
        try:
            provenance = self._settings(need_key=False).provenance
            path = card.image.save(folder or Path.cwd(), provenance=provenance)
        except Exception as error:  # noqa: BLE001 - it becomes state
            self._pump.tell(Troubled(trouble_of(error)))
            return
        self._pump.tell(Saved(number, index, f"Saved beside the notebook: {path.name}"))

    def export(self, number: int, index: int) -> Export | None:
        """Return a picture as a file to download; None, and an error box, where it is gone."""
        card = self._card(number, index)
        if card is None:
            return None
        image = card.image
        try:
            keep = self._settings(need_key=False).provenance
            data = embed(image.data, image.media_type, image.provenance) if keep else image.data
        except Exception as error:  # noqa: BLE001 - it becomes state
            self._pump.tell(Troubled(trouble_of(error)))
            return None
        name = f"{file_stem(image.provenance)}{SUFFIXES[image.media_type]}"
        self._pump.tell(Saved(number, index, f"Downloaded: {name}"))
        return Export(name, image.media_type, data)

    def _card(self, number: int, index: int) -> Card | None:
        job = self.state.job(number)
        if job is None or not isinstance(job.ending, Pictures):
            return None
        return next(islice(job.ending.cards, index, None), None)

    # -------------------------------------------------------------------------------- the rest

    def open_tab(self, tab: Tab) -> None:
        """Open a page of the panel; History is read from disk when first opened."""
        self._pump.tell(TabOpened(tab))
        if tab is Tab.HISTORY and not self.state.history.loaded:
            self.past.search("")

    def enhance(self) -> None:
        """Note that the browser's script layer runs."""
        self._pump.tell(Enhanced())
