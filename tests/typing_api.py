"""How the public names are typed: mypy reads this file, nothing runs it."""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import assert_type

from PIL.Image import Image

from imagen_widget import (
    Account,
    CancelAnswer,
    Capabilities,
    Done,
    Fetching,
    Field,
    Finished,
    GeneratedImage,
    Generation,
    History,
    ImagenClient,
    ImagenWidget,
    ImageRequest,
    Input,
    Job,
    Model,
    Models,
    Phase,
    Plan,
    Price,
    Progress,
    Provider,
    Queued,
    Record,
    Resumed,
    Row,
    Running,
    Series,
    Served,
    Settings,
    Spending,
    State,
    Studio,
    Submitted,
    Submitting,
    Ticket,
    agenerate,
    batch,
    errors,
    generate,
    login,
    models,
    start,
    sweep,
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
    assert_type(fox.cost_source, str | None)
    assert_type(fox.seconds, float)
    assert_type(fox.reused, bool)
    assert_type(fox.id, str)
    assert_type(fox.filtered, int)
    assert_type(fox.inputs, tuple[Input, ...])
    assert_type(fox.created, datetime)
    assert_type(fox.request, ImageRequest)
    assert_type(fox.save("folder"), list[Path])
    for image in fox:
        assert_type(image, GeneratedImage)
        assert_type(image.data, bytes)
        assert_type(image.save(Path("fox.png")), Path)
        assert_type(image.to_pil(), Image)
        assert_type((image.width, image.height), tuple[int, int])
    generate("make it snow", image=fox[0])
    generate("make it snow", images=[fox[0], Path("other.png")], mask=b"")
    generate(ImageRequest.create("a red fox"))


async def awaited() -> None:
    assert_type(await agenerate("a red fox"), Generation)
    job = start(ImageRequest.create("a red fox"))
    assert_type(job, Job)
    assert_type(start("a red fox", seed=1), Job)
    assert_type(await job, Generation)
    assert_type(job.result(timeout=1.0), Generation)
    assert_type(job.cancel(), str)
    assert_type(job.progress, Progress)
    assert_type(job.progress.phase, Phase)
    assert_type(job.price, decimal.Decimal | None)
    async with ImagenClient("demo") as client:
        assert_type(client, ImagenClient)
        ticket = await client.submit(ImageRequest.create("a red fox"))
        assert_type(ticket, Ticket)
        assert_type(await client.watch(ticket), Done)
        finished = await client.result(ticket)
        assert_type(finished, Finished)
        assert_type(finished.pictures, tuple[Served, ...])
        assert_type(await client.fetch("https://host.example/a.png"), bytes)
        assert_type(await client.cancel(ticket), bool)
        assert_type(await client.request_cancel(ticket), CancelAnswer)


def on_event(event: Submitting | Submitted | Queued | Running | Done | Fetching) -> None:
    """Receive what `on_event` is given, all of it by public names."""
    match event:
        case Submitted(ticket=ticket):
            assert_type(ticket, Ticket)
        case Queued(position=position):
            assert_type(position, int | None)
        case Running(logs=logs):
            assert_type(logs[0].message, str)
        case Fetching(count=count):
            assert_type(count, int)
        case _:
            pass


def told() -> None:
    generate("a red fox", on_event=on_event)


def on_disk() -> None:
    history = History()
    assert_type(history.resume(), list[Generation])
    assert_type(history.resume_all(), list[Resumed])
    assert_type(history.pending(), list[Record])
    assert_type(history.pending()[0].state, State)
    assert_type(history.find(ImageRequest.create("a red fox")), Generation | None)
    assert_type(history.spend(), float)
    assert_type(history.spending(), Spending)
    assert_type(history.verify(), list[str])
    assert_type(next(iter(history)), Generation)
    assert_type(next(history.search("fox", rating=3, limit=2)), Generation)


def known() -> None:
    found = models("flux")
    assert_type(found, Models)
    assert_type(found[0], Model)
    assert_type(found[0].fields, tuple[Field, ...])
    assert_type(found[0].field("seed"), Field | None)
    assert_type(found[0].price, Price | None)


def many() -> None:
    series = sweep("a {animal}", animal=["fox", "owl"], seed=range(2))
    assert_type(series, Series)
    assert_type(batch([{"name": "lamp"}], "a {name}", key="name"), Series)
    assert_type(series.plan, Plan)
    assert_type(series.run(max_spend=2, max_in_flight=4), Series)
    assert_type(series.rows, list[Row])
    assert_type(series.rows[0].generation, Generation | None)
    assert_type(next(iter(series)), ImageRequest)
    assert_type(Series.open("autumn"), Series)


def explicit() -> None:
    studio = Studio("demo", home="pictures", max_spend="2.50/day")
    assert_type(studio.settings, Settings)
    assert_type(studio.settings.account, Account)
    assert_type(studio.generate("a red fox"), Generation)
    assert_type(studio.start("a red fox"), Job)
    assert_type(studio.history, History)
    assert_type(studio.models(), Models)


class Mine(Provider):
    """A provider by the public names alone."""

    account = Account("mine", "Mine", "https://mine.example", "Bearer", ("MINE_KEY",), "m")
    can = Capabilities(cancels=False)

    async def submit(self, request: ImageRequest, *, seconds: float) -> Ticket | Finished:
        answer = await self.post("/draw", await self.body(request), model="m", seconds=seconds)
        return self.finished(answer, model=request.model)


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
    except errors.SeriesStopped as error:
        assert_type(error.request_id, str | None)


def mistakes(widget: ImagenWidget) -> None:
    """Each line is a mistake that a type checker has to find: an unused ignore is an error."""
    generate(1)  # type: ignore[arg-type]  # a prompt is text
    generate("a fox", "imagen4")  # type: ignore[call-arg]  # only the prompt has a place
    generate("a fox", num_images="2")  # type: ignore[arg-type]  # a whole number
    start(5)  # type: ignore[arg-type]  # neither a request nor a prompt
    widget.value = None
