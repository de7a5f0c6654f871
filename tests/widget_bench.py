"""A widget with jobs and time in the test's hands; all else is a real studio on the demo."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import ipywidgets
from PIL import Image

from imagen_widget import (
    GeneratedImage,
    Generation,
    ImagenWidget,
    ImageRequest,
    Phase,
    Progress,
    Provenance,
    Studio,
)

NOW = datetime(2026, 11, 23, 12, 0).astimezone()


def png(width: int = 64, height: int = 48, colour: str = "teal") -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(sink, "PNG")
    return sink.getvalue()


def generation(
    folder: Path, request: ImageRequest, *, name: str = "g1", seed: int | None = 7, count: int = 1
) -> Generation:
    """Return what a job might bring; its pictures are in the folder."""
    origin = Provenance(request, "r", "demo", NOW, seed=seed, id=name)
    images = []
    for index in range(count):
        path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:12]}-{index}.png"
        path.write_bytes(png(colour=f"hsl({40 * index}, 60%, 50%)"))
        facts = (path, "image/png", 64, 48, None, replace(origin, index=index))
        images.append(GeneratedImage(*facts))
    return Generation(
        images=tuple(images), request=request, request_id="r", provider="demo", seconds=1.5,
        cost=0.0, created=NOW, seed=seed, id=name,
    )  # fmt: skip


@dataclass
class Time:
    """Time that stands still until the test lets it pass; the background is here and now."""

    seconds: float = 0.0
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.due.append((self.seconds + seconds, action))

    def background(self, action: Callable[[], None]) -> None:
        action()

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds
        ready = [action for moment, action in self.due if moment <= self.seconds]
        self.due = [(moment, action) for moment, action in self.due if moment > self.seconds]
        for action in ready:
            action()


class FakeJob:
    """A job whose course the test tells; it honours what `Job` offers."""

    def __init__(self, request: ImageRequest) -> None:
        self.request = request
        self.progress = Progress(Phase.PREPARING, "demo", request.model, Decimal(0))
        self.cancels = 0
        self._outcome: Generation | Exception | None = None
        self._listeners: list[Callable[[Progress], None]] = []
        self._callbacks: list[Callable[[FakeJob], None]] = []

    @property
    def status(self) -> str:
        return self.progress.note or f"{self.progress.phase} {self.progress.elapsed:.2f} s"

    def listen(self, listener: Callable[[Progress], None]) -> None:
        self._listeners.append(listener)

    def add_done_callback(self, callback: Callable[["FakeJob"], None]) -> None:
        self._callbacks.append(callback)

    def request_cancel(self) -> None:
        self.cancels += 1

    def result(self, timeout: float | None = None) -> Generation:
        assert timeout == 0
        if isinstance(self._outcome, Generation):
            return self._outcome
        raise self._outcome or TimeoutError

    def goes(self, phase: Phase, elapsed: float, note: str = "") -> None:
        self.progress = replace(self.progress, phase=phase, elapsed=elapsed, note=note)
        for listener in self._listeners:
            listener(self.progress)

    def ends(self, outcome: Generation | Exception) -> None:
        self._outcome = outcome
        note = outcome.summary if isinstance(outcome, Generation) else str(outcome)
        self.goes(Phase.DONE, self.progress.elapsed + 0.1, note)
        for callback in self._callbacks:
            callback(self)


class HandStudio(Studio):
    """A studio whose jobs the test leads."""

    jobs: list[FakeJob]
    failure: Exception | None = None
    on_start: Callable[[], None] | None = None

    def start(self, request: Any = None, **_: Any) -> Any:  # type: ignore[override]
        if self.failure is not None:
            raise self.failure
        if self.on_start is not None:
            self.on_start()
        self.jobs.append(FakeJob(request))
        return self.jobs[-1]


class Bench:
    """A widget, and all that is around it."""

    def __init__(self, folder: Path, *, provider: str = "demo", **defaults: Any) -> None:
        settings = defaults.pop("settings", {})
        self.folder = folder
        self.time = Time()
        self.studio = HandStudio(provider, home=folder / "home", **settings)
        self.studio.jobs = []
        given = {"prompt": "a red fox", **defaults}
        timer: Any = self.time
        self.widget = ImagenWidget(studio=self.studio, timer=timer, **given)

    @property
    def jobs(self) -> list[FakeJob]:
        return self.studio.jobs

    def press(self) -> FakeJob:
        """Press Generate, long after the press before."""
        self.time.pass_by(10)
        self.widget.generate_button.click()
        return self.jobs[-1]

    def make(self, *, name: str = "g1", **more: Any) -> Generation:
        """Press Generate and let the job end well."""
        job = self.press()
        made = generation(self.folder, job.request, name=name, **more)
        job.ends(made)
        return made

    def does(self, act: str, **more: Any) -> None:
        """Do what a click on the pictures does, by way of the script layer."""
        self.says({"kind": "do", "act": act, "index": -1, **more})

    def remove(self, index: int) -> None:
        """Press Remove on an input picture."""
        self.does("remove", index=index, arg=self.widget.fields["image_urls"].value[index].key)

    def says(self, message: Any, *buffers: bytes) -> None:
        """Let the browser's script layer say something."""
        (layer,) = [part for part in self.widget.children if hasattr(part, "announcement")]
        layer._handle_custom_msg(message, list(buffers))

    def upload(
        self, data: bytes, purpose: str = "picture", *, name: str = "fox.png", more: bool = False
    ) -> None:
        """Send a file as the browser does: in parts; `more` if others went before it."""
        half = len(data) // 2
        facts = {"purpose": purpose, "name": name, "key": "1", "parts": 2, "more": more}
        for piece in (data[:half], data[half:]):
            self.says({"kind": "file", **facts}, piece)

    def of_kind(self, css_class: str) -> list[Any]:
        """Return the parts of the widget that have a CSS class."""
        return [p for p in tree(self.widget) if css_class in getattr(p, "_dom_classes", ())]

    def text(self, css_class: str) -> str:
        """Return the markup of the only part with a CSS class."""
        (part,) = self.of_kind(css_class)
        return str(part.value)

    @property
    def trouble(self) -> str:
        """What the error box says; empty if it is not shown."""
        (box,) = self.of_kind("imagen-trouble")
        return "" if box.layout.display == "none" else str(box.children[0].value)


def tree(widget: Any) -> list[Any]:
    """Return a widget and all that is in it."""
    return [widget, *(p for child in getattr(widget, "children", ()) for p in tree(child))]


def count_widgets() -> int:
    return len(ipywidgets.widgets.widget._instances)
