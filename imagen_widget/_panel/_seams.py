"""What the panel's controller works with by default: the use case, history, time, other threads.

Everything is imported when first used, so that importing the widget starts and opens nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from decimal import Decimal

    from imagen_widget._generate import Job
    from imagen_widget._request import ImageRequest
    from imagen_widget._result import Generation
    from imagen_widget._settings import Settings


class ReadSettings(Protocol):
    """Reads the settings in force now; without `need_key` a missing key is no error."""

    def __call__(self, *, need_key: bool = True) -> Settings:
        """Return the settings."""


class Start(Protocol):
    """Starts a job, and returns at once."""

    def __call__(self, request: ImageRequest, *, settings: Settings, reuse: bool) -> Job:
        """Return the job."""


class Archive(Protocol):
    """The part of `History` that the panel uses."""

    def search(self, text: str) -> Iterable[Generation]:
        """Return the generations whose prompt contains `text`, newest first."""

    def pending(self) -> Iterable[object]:
        """Return the paid jobs that wait to be fetched."""

    def resume(self) -> Iterable[Generation]:
        """Fetch them."""

    def close(self) -> None:
        """Let go of its files."""


Estimate = Callable[["ImageRequest", "Settings"], "Decimal | None"]
OpenArchive = Callable[["Settings"], Archive]
Later = Callable[[float, Callable[[], None]], None]
Background = Callable[[Callable[[], None]], None]


def read_settings(*, need_key: bool = True) -> Settings:
    """Read the settings from where they are kept."""
    from imagen_widget._settings import load_settings

    return load_settings(need_key=need_key)


def start(request: ImageRequest, *, settings: Settings, reuse: bool) -> Job:
    """Start a real job."""
    from imagen_widget._generate import start as start_job

    return start_job(request, settings=settings, reuse=reuse)


def estimate(request: ImageRequest, settings: Settings) -> Decimal | None:
    """Return the price of a request in US dollars."""
    from imagen_widget._generate import estimate as price_of

    return price_of(request, settings)


def open_archive(settings: Settings) -> Archive:
    """Open the history on disk."""
    from imagen_widget._history import History

    return History(settings.home)


def later(seconds: float, action: Callable[[], None]) -> None:
    """Call `action` after a while, on the package's loop thread."""
    from imagen_widget import _bridge

    _bridge.call_soon(_call_later, seconds, action)


def background(action: Callable[[], None]) -> None:
    """Call `action` on a worker thread: it may decode pictures or wait for the disk."""
    from imagen_widget import _bridge

    _bridge.call_soon(_run_in_executor, action)


def _call_later(seconds: float, action: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, action)


def _run_in_executor(action: Callable[[], None]) -> None:
    # With the caller's context, which an executor drops: ipykernel 7.0 keeps there to which cell a
    # message belongs, and refuses to send one without it.
    action = partial(contextvars.copy_context().run, action)
    asyncio.get_running_loop().run_in_executor(None, action)
