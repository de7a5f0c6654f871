"""How the public names are typed: mypy reads this file, nothing runs it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import assert_type

from PIL.Image import Image

from imagen_widget import (
    GeneratedImage,
    Generation,
    History,
    ImagenClient,
    ImagenWidget,
    ImageRequest,
    Job,
    Ticket,
    agenerate,
    errors,
    generate,
    login,
    start,
)


def blocking() -> None:
    fox = generate("a red fox", aspect_ratio="16:9", num_images=2, seed=7, guidance_scale=3.5)
    assert_type(fox, Generation)
    assert_type(fox[0], GeneratedImage)
    assert_type(fox[:1], Sequence[GeneratedImage])
    assert_type(len(fox), int)
    assert_type(fox.paths, list[Path])
    assert_type(fox.urls, list[str])
    assert_type(fox.cost, float | None)
    assert_type(fox.seconds, float)
    assert_type(fox.reused, bool)
    assert_type(fox.created, datetime)
    assert_type(fox.request, ImageRequest)
    assert_type(fox.request.aspect_ratio, str | None)
    assert_type(fox.save("folder"), list[Path])
    for image in fox:
        assert_type(image, GeneratedImage)
        assert_type(image.data, bytes)
        assert_type(image.save(Path("fox.png")), Path)
        assert_type(image.to_pil(), Image)
        assert_type((image.width, image.height), tuple[int, int])


async def awaited() -> None:
    assert_type(await agenerate("a red fox"), Generation)
    job = start(ImageRequest.create("a red fox"))
    assert_type(job, Job)
    assert_type(await job, Generation)
    assert_type(job.result(timeout=1.0), Generation)
    assert_type(job.cancel(), str)
    async with ImagenClient("demo") as client:
        assert_type(client, ImagenClient)
        ticket = await client.submit(ImageRequest.create("a red fox"))
        assert_type(ticket, Ticket)
        assert_type(await client.fetch("https://host.example/a.png"), bytes)
        assert_type(await client.cancel(ticket), bool)


def on_disk() -> None:
    history = History()
    assert_type(history.resume(), list[Generation])
    assert_type(history.find(ImageRequest.create("a red fox")), Generation | None)
    assert_type(history.spend(), float)
    assert_type(history.verify(), list[str])
    assert_type(next(iter(history)), Generation)


def refused() -> None:
    try:
        login()
    except errors.InvalidRequest as error:
        assert_type(error.field, str | None)
        assert_type(error.billed, bool)
        as_value_error: ValueError = error
        raise as_value_error from None
    except errors.QueueTimeout as error:
        as_timeout: TimeoutError = error
        raise as_timeout from None


def mistakes(widget: ImagenWidget) -> None:
    """Each line is a mistake that a type checker has to find: an unused ignore is an error."""
    generate(1)  # type: ignore[arg-type]  # a prompt is text
    generate("a fox", "imagen4")  # type: ignore[call-arg]  # only the prompt has a place
    generate("a fox", num_images="2")  # type: ignore[arg-type]  # a whole number
    start("a fox")  # type: ignore[arg-type]  # a request, not a prompt
    widget.value = None
