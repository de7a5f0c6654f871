"""A panel's controller with everything around it in the test's hands: jobs, history, time."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from imagen_widget._generate import Phase, Progress
from imagen_widget._panel import PanelController
from imagen_widget._panel._form import Form
from imagen_widget._panel._state import Card, PanelState, Pictures
from imagen_widget._provenance import Provenance
from imagen_widget._request import ImageRequest
from imagen_widget._result import GeneratedImage, Generation
from imagen_widget._settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imagen_widget._panel._seams import Archive
    from imagen_widget.errors import ImagenError

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FOX = ImageRequest.create("a red fox", aspect_ratio="16:9", num_images=2)


def generation(path: Path = Path("gone.png"), *, request: ImageRequest = FOX) -> Generation:
    provenance = Provenance(request, "req-1", "demo", NOW)
    image = GeneratedImage(path, "image/png", 8, 8, None, provenance)
    return Generation((image,), request, "req-1", "demo", 1.5, 0.0, NOW)


def pictures(*, earlier: bool = False) -> Pictures:
    made = generation()
    return Pictures(made, tuple(Card(image, None, None) for image in made), earlier=earlier)


def progress(phase: Phase = Phase.RUNNING, elapsed: float = 1.0) -> Progress:
    return Progress(phase, "demo", FOX.model, Decimal(0), elapsed=elapsed)


def png(width: int, height: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(sink, "PNG")
    return sink.getvalue()


@dataclass
class Later:
    """Time that stands still until the test lets it pass."""

    now: float = 0.0
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __call__(self, seconds: float, action: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, action))

    def clock(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        ready = [action for moment, action in self.due if moment <= self.now]
        self.due = [(moment, action) for moment, action in self.due if moment > self.now]
        for action in ready:
            action()


class FakeJob:
    """A job whose course the test tells; it honours what `Job` promises."""

    def __init__(self, request: ImageRequest) -> None:
        self.request = request
        self.progress = progress(Phase.PREPARING, 0.0)
        self.cancels = 0
        self._outcome: Generation | Exception | None = None
        self._listeners: list[Callable[[Progress], None]] = []
        self._callbacks: list[Callable[[FakeJob], None]] = []

    @property
    def status(self) -> str:
        return self.progress.note or f"{self.progress.phase} {self.progress.elapsed:.2f} s"

    def listen(self, listener: Callable[[Progress], None]) -> None:
        self._listeners.append(listener)

    def add_done_callback(self, callback: Callable[[FakeJob], None]) -> None:
        self._callbacks.append(callback)

    def request_cancel(self) -> None:
        self.cancels += 1

    def result(self, timeout: float | None = None) -> Generation:
        assert timeout == 0
        if isinstance(self._outcome, Generation):
            return self._outcome
        raise self._outcome or TimeoutError

    def goes(self, phase: Phase, elapsed: float) -> None:
        self.progress = progress(phase, elapsed)
        self.goes_on()

    def goes_on(self) -> None:
        for listener in self._listeners:
            listener(self.progress)

    def ends(self, outcome: Generation | Exception) -> None:
        self._outcome = outcome
        note = outcome.summary if isinstance(outcome, Generation) else str(outcome)
        self.progress = replace(self.progress, phase=Phase.DONE, note=note)
        for callback in self._callbacks:
            callback(self)


class FakeArchive:
    """A history of made-up generations."""

    def __init__(self, kept: list[Generation], waiting: list[Generation]) -> None:
        self.kept, self.waiting = kept, waiting
        self.opened = self.closed = 0
        self.failure: ImagenError | None = None

    def search(self, text: str) -> Iterator[Generation]:
        if self.failure is not None:
            raise self.failure
        return (made for made in self.kept if text in made.request.prompt)

    def pending(self) -> list[Generation]:
        return list(self.waiting)

    def resume(self) -> list[Generation]:
        fetched, self.waiting = self.waiting, []
        return fetched

    def close(self) -> None:
        self.closed += 1


class Bench:
    """A controller with everything around it in the test's hands."""

    def __init__(
        self, form: Form | None = None, *, start: Callable[..., Any] | None = None
    ) -> None:
        self.jobs: list[FakeJob] = []
        self.later = Later()
        self.archive = FakeArchive([], [])
        self.drawn: list[PanelState] = []
        self.resent = 0
        self.controller = PanelController(
            form or Form(prompt="a red fox"),
            settings=self._settings,
            start=start or self._start,  # type: ignore[arg-type]  # FakeJob stands in for Job
            estimate=lambda request, _: Decimal("0.04") * request.count,
            history=self._open,
            clock=self.later.clock,
            later=self.later,
            background=lambda action: action(),
        )
        self.controller.listen(self.drawn.append, self._resend)

    @property
    def state(self) -> PanelState:
        return self.controller.state

    def _settings(self, *, need_key: bool = True) -> Settings:
        return load_settings(provider="demo", need_key=need_key)

    def _start(self, request: ImageRequest, *, settings: Settings, reuse: bool) -> FakeJob:
        assert settings.provider.name == "demo"
        assert not reuse
        self.jobs.append(FakeJob(request))
        return self.jobs[-1]

    def _open(self, _: Settings) -> Archive:
        self.archive.opened += 1
        return self.archive

    def _resend(self) -> None:
        self.resent += 1
