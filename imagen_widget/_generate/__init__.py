"""The use case: a request becomes pictures; blocking, awaited, or in the background."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from imagen_widget import _bridge
from imagen_widget._generate._job import Job
from imagen_widget._generate._price import estimate
from imagen_widget._generate._progress import Event, Phase, Progress, price_text, status_text
from imagen_widget._request import ImageRequest
from imagen_widget._settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagen_widget._result import Generation
    from imagen_widget._settings import Settings

__all__ = [
    "Event",
    "Job",
    "Phase",
    "Progress",
    "agenerate",
    "estimate",
    "generate",
    "price_text",
    "start",
    "status_text",
]


def start(
    request: ImageRequest,
    *,
    settings: Settings | None = None,
    reuse: bool = False,
    on_event: Callable[[Event], None] | None = None,
    timeout: float | None = None,
) -> Job:
    """Start a job and return its handle at once; from any thread.

    Args:
        request: What to ask for; `ImageRequest.create` makes it.
        settings: Settings that were loaded before; looked up where None.
        reuse: Whether history may answer: the same request as before then costs nothing.
        on_event: Called on another thread with each event, as by `generate`.
        timeout: Seconds to wait for the job; IMAGEN_TIMEOUT or 300 by default.

    Raises:
        CredentialsError: The provider needs a key and there is none.
    """
    return Job(
        request, settings or load_settings(), reuse=reuse, on_event=on_event, timeout=timeout
    )


def generate(
    prompt: str,
    *,
    model: str | None = None,
    aspect_ratio: str | None = None,
    num_images: int | None = None,
    resolution: str | None = None,
    output_format: str | None = None,
    seed: int | None = None,
    reuse: bool = False,
    timeout: float | None = None,
    on_event: Callable[[Event], None] | None = None,
    **extra: object,
) -> Generation:
    """Generate pictures and return them, kept on disk; blocks, in scripts, cells and threads.

    In a notebook the kernel's loop goes on turning meanwhile. An interrupt cancels the job at the
    provider before KeyboardInterrupt goes on up, with the outcome as its note.

    Args:
        prompt: What the pictures should show.
        model: An alias (`imagen4`, `nano-banana-2`, …) or an endpoint id; IMAGEN_MODEL by default.
        aspect_ratio: Width to height: `1:1`, `16:9`, `9:16`, `4:3` or `3:4`; some models take more.
        num_images: 1 to 4.
        resolution: `1K` or `2K`, where the model takes it; about 1024 or 2048 pixels a side.
        output_format: `png`, `jpeg` or `webp`.
        seed: A whole number; the same seed tries to give the same picture.
        reuse: Whether history may answer: the same request as before then costs nothing.
        timeout: Seconds to wait for the job; IMAGEN_TIMEOUT or 300 by default.
        on_event: Called on another thread with `Submitting`, `Submitted`, `Queued`, `Running`,
            `Done` and `Fetching`.
        extra: `safety_tolerance`, and fields that a model outside the catalogue takes.

    Raises:
        InvalidRequest: A value that the model does not take; nothing was sent.
        CredentialsError: No key, a refused key, or an empty balance.
        BudgetExceeded: IMAGEN_MAX_SPEND would be passed; nothing was sent.
        ContentRejected: The content checker refused.
        SubmitUncertain: The request may have been accepted; it is not sent again.
        QueueTimeout: The job goes on at the provider; `History().resume()` fetches it later.
        ImagenError: Anything else that went wrong, in one line.
    """
    settings, request = _prepared(
        prompt,
        model=model,
        aspect_ratio=aspect_ratio,
        num_images=num_images,
        resolution=resolution,
        output_format=output_format,
        seed=seed,
        **extra,
    )
    with _bridge.interruptible():
        job = start(request, settings=settings, reuse=reuse, on_event=on_event, timeout=timeout)
        return job.result_or_cancel()


async def agenerate(
    prompt: str,
    *,
    model: str | None = None,
    aspect_ratio: str | None = None,
    num_images: int | None = None,
    resolution: str | None = None,
    output_format: str | None = None,
    seed: int | None = None,
    reuse: bool = False,
    timeout: float | None = None,  # noqa: ASYNC109 - the job's own deadline, which keeps its id
    on_event: Callable[[Event], None] | None = None,
    **extra: object,
) -> Generation:
    """Generate pictures and return them: `generate`, awaited.

    Cancelling the task that awaits it cancels the job at the provider. Arguments and errors are
    those of `generate`.
    """
    settings, request = _prepared(
        prompt,
        model=model,
        aspect_ratio=aspect_ratio,
        num_images=num_images,
        resolution=resolution,
        output_format=output_format,
        seed=seed,
        **extra,
    )
    job = start(request, settings=settings, reuse=reuse, on_event=on_event, timeout=timeout)
    try:
        return await job
    except asyncio.CancelledError:
        job.request_cancel()
        raise


def _prepared(
    prompt: str, *, model: str | None, **parameters: object
) -> tuple[Settings, ImageRequest]:
    """Return the settings in force, and the checked request for their model or the one given."""
    settings = load_settings()
    return settings, ImageRequest.create(prompt, model=model or settings.model, **parameters)
