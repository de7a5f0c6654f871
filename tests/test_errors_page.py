"""The page of errors says word for word what users see: each of its rows is made to happen here.

`make docs` writes its table again from what happens.
"""

from __future__ import annotations

import getpass
import inspect
import math
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from imagen_widget import (
    ImagenClient,
    ImageRequest,
    Studio,
    Submitted,
    errors,
    login,
)
from imagen_widget.errors import CredentialsError, ImagenError, QueueError
from tests.clock import Clock
from tests.fakequeue import GATEWAY, Answer, Break, FakeQueue, Reply, page

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[1] / ".github" / "docs" / "errors.md"
ROW = re.compile(
    r"^\| (?P<what>[^|]+) \| `(?P<seen>[^|]+)` \| (?P<billed>[^|]+) \| (?P<remedy>[^|]+) \|$"
)
HEAD = "| What happened | What you see | Billed? | What to do |\n|---|---|---|---|\n"

FOX = ImageRequest.create("a red fox in fresh snow")
WAIT_SECONDS = 60.0
NOON = 1_790_000_000.0  # Unix seconds
PICTURE = "https://media.test/files/req-1/0.png"
LOCKED = Reply(403, {"detail": "User is locked. Reason: Exhausted balance."})
UNKNOWN = Reply(404, {"status": "NOT_FOUND"})
RATIO = {
    "loc": ["body", "aspect_ratio"],
    "msg": "Input should be one of them",
    "type": "literal_error",
    "ctx": {"expected": "'1:1', '16:9'"},
}
FLAGGED = {
    "loc": ["body", "prompt"],
    "msg": "Flagged by a content checker.",
    "type": "content_policy_violation",
}
GONE = {"error": "EndpointDeprecated", "message": "This endpoint is no longer supported."}
OF_FAL = "12345678-1234-1234-1234-123456789abc:0123456789abcdef"
NO_CHANNEL = {
    "message": "当前分组 default 下对于模型 imagen4 无可用渠道",
    "code": "model_not_found",
}
BAD_TOKEN = {"message": "无效的令牌", "type": "new_api_error", "param": "", "code": ""}
RUNNER = {"detail": "Runner disconnected", "error_type": "runner_disconnected"}

# ----------------------------------------------------------------------------- making it happen


class Desk:
    """A client, and the queue that it asks, whose routes answer as they are told."""

    def __init__(self, *, polls: float = 0, **routes: Answer) -> None:
        clock = Clock()
        self.queue = FakeQueue(polls=polls, clock=clock)
        for route, answer in routes.items():
            self.queue.always(route, answer)
        self.client = ImagenClient(
            "kkiai",
            base_url=GATEWAY,
            api_key="made-up",
            transport=self.queue.transport(),
            clock=clock,
            sleep=clock.sleep,
            chance=lambda: 0.5,
            now=lambda: NOON,
        )


async def _submit(answer: Answer) -> object:
    return await Desk(submit=answer).client.submit(FOX)


async def _result(answer: Answer) -> object:
    """Bring a job to its end, and have its result answered so."""
    client = Desk(status=Reply(404, {}), result=answer).client
    ticket = await client.submit(FOX)
    return await client.result(ticket, await client.watch(ticket))


async def _fetched(answer: Answer) -> object:
    """Have the result answered so when it is asked for after the status."""
    client = Desk(result=answer).client
    ticket = await client.submit(FOX)
    return await client.result(ticket, await client.watch(ticket))


async def _watch(*, polls: float = 0, **routes: Answer) -> object:
    client = Desk(polls=polls, **routes).client
    return await client.watch(await client.submit(FOX))


async def _forgotten() -> object:
    """Ask for a job that was sent long ago."""
    client = Desk(status=UNKNOWN, result=UNKNOWN).client
    ticket = await client.submit(FOX)
    return await client.watch(replace(ticket, created=NOON - 86_400))


async def _fetch(url: str, answer: Answer | None = None) -> object:
    return await (Desk() if answer is None else Desk(media=answer)).client.fetch(url)


async def _asking_the_network(url: str) -> object:
    """Fetch an address without a transport of ours, which would be asked in place of it."""
    async with ImagenClient("kkiai", base_url=GATEWAY, api_key="made-up") as client:
        return await client.fetch(url)


# Calls that block: in a thread, because they would nest the loop of the test.


def _settings(**given: Any) -> object:
    return Studio("kkiai", **given).start("a fox")


def _ask_nobody() -> None:
    def deaf(_: str) -> str:
        raise EOFError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(getpass, "getpass", deaf)
        login()


def _create(prompt: str = "a fox", **given: Any) -> object:
    return ImageRequest.create(prompt, **given)


def _paid(
    home: Path, *, base_url: str = GATEWAY, asked: dict[str, Any] | None = None, **settings: Any
) -> object:
    studio = Studio("kkiai", base_url=base_url, api_key="made-up", home=home, **settings)
    return studio.generate("a red fox in fresh snow", **(asked or {}))


def _behind_nothing(home: Path) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTPS_PROXY", "http://")
        return _paid(home)


def _withheld(home: Path) -> object:
    queue = FakeQueue()
    queue.filtered = (True,)
    with queue.serve() as url:
        return _paid(home, base_url=url, poll_seconds=0.02)


def _spend_it_all(home: Path) -> object:
    with FakeQueue().serve() as url:
        _paid(home, base_url=url, poll_seconds=0.02, max_spend="0.05")
        return _paid(home, base_url=url, max_spend="0.05")


def _write_nowhere(home: Path, what: str) -> object:
    home.mkdir()
    if what == "images":
        (home / what).touch()  # a file where a folder should be
    else:
        (home / what).mkdir()
    return _paid(home)


def _cancel(home: Path) -> object:
    sent = threading.Event()

    def note(event: object) -> None:
        if isinstance(event, Submitted):
            sent.set()

    job = Studio("demo", home=home, demo_seconds=60).start("a fox", on_event=note)
    assert sent.wait(WAIT_SECONDS)
    job.cancel()
    return job.result()


def _cancel_in_vain(home: Path) -> object:
    """Cancel at a gateway that has no way to do so."""
    queue = FakeQueue(polls=math.inf)
    queue.cancels, queue.obeys = Reply(404, {}), False
    with queue.serve() as url:
        job = Studio("kkiai", base_url=url, api_key="made-up", home=home).start("a fox")
        queue.wait_for("submit")
        job.cancel()
        return job.result(WAIT_SECONDS)


def _fail_in_a_row(home: Path) -> object:
    """Run a series of which each row after the first fails, and one may."""
    queue = FakeQueue()
    queue.script("submit", None)
    queue.always("submit", Reply(422, {"detail": "no"}))
    with queue.serve() as url:
        studio = Studio("kkiai", base_url=url, api_key="made-up", home=home, poll_seconds=0.02)
        series = studio.sweep("a {animal}", animal=["fox", "hen", "owl"], name="animals")
        return series.run(errors=1, max_in_flight=1, quiet=True)


HAPPENINGS: dict[str, Callable[[Path], object]] = {
    "There is no key": lambda _: _settings(),
    "`login()` with nobody to ask": lambda _: _ask_nobody(),
    "The key stands in quotes": lambda _: _settings(api_key="'made-up'"),
    "A key of fal's for another host": lambda _: _settings(api_key=OF_FAL),
    "The key is refused": lambda _: _submit(Reply(401, {"error": BAD_TOKEN})),
    "The balance is spent": lambda _: _submit(LOCKED),
    "The balance is spent while a job runs": lambda _: _watch(status=LOCKED, result=LOCKED),
    "A setting means nothing": lambda _: _settings(max_spend="much"),
    "A setting given as a field": lambda _: _create(api_key="made-up"),
    "A timeout that is not a time": lambda home: _paid(home, asked={"timeout": -1}),
    "A proxy that cannot be used": _behind_nothing,
    "A gateway in cleartext": lambda _: _settings(base_url="http://relay.example", api_key="m"),
    "A value that the model does not take": lambda _: _create(aspect_ratio="2:1"),
    "A field that the model does not have": lambda _: _create(steps=30),
    "An empty prompt": lambda _: _create(" "),
    "The model refuses a field": lambda _: _fetched(Reply(422, {"detail": [RATIO]})),
    "The model is gone": lambda _: _submit(Reply(410, {"detail": GONE})),
    "The gateway has no way to the model": lambda _: _submit(Reply(503, {"error": NO_CHANNEL})),
    "The content checker refuses": lambda _: _fetched(Reply(422, {"detail": [FLAGGED]})),
    "All pictures are filtered": lambda _: _fetched(Reply(200, {"images": []})),
    "All pictures are withheld": _withheld,
    "The service fails while drawing": lambda _: _fetched(Reply(503, RUNNER)),
    "Too many requests": lambda _: _submit(Reply(429, {"detail": "Slow down"})),
    "The address cannot be reached": lambda _: _submit(Break.REFUSED),
    "`IMAGEN_BASE_URL` is not a gateway": lambda _: _submit(page(404)),
    "The gateway redirects the request": lambda _: _submit(
        Reply(308, b"", {"location": "https://elsewhere.example"})
    ),
    "The answer to the request is lost": lambda _: _submit(Break.SILENCE),
    "The request is accepted without a ticket": lambda _: _submit(page(200)),
    "The job takes longer than the timeout": lambda _: _watch(polls=math.inf),
    "The result does not come": lambda _: _fetched(Reply(503, {"detail": "Overloaded"})),
    "The provider does not know the job": lambda _: _forgotten(),
    "The gateway has a web page for a result": lambda _: _result(page()),
    "A result that makes no sense": lambda _: _fetched(Reply(200, {"hello": "world"})),
    "A picture cannot be fetched": lambda _: _fetch(PICTURE, UNKNOWN),
    "What comes is not a picture": lambda _: _fetch(PICTURE, page()),
    "A picture's address leads inside": lambda _: _asking_the_network(
        "https://169.254.169.254/one.png"
    ),
    "You cancel in time": _cancel,
    "You cancel, and nobody confirms it": _cancel_in_vain,
    "The spend cap is reached": _spend_it_all,
    "The price is not known under a cap": lambda home: _paid(
        home, max_spend="1", model="owner/some-model", schemas="off"
    ),
    "Too many rows of a series fail": _fail_in_a_row,
    "The journal cannot be written": lambda home: _write_nowhere(home, "journal.sqlite3"),
    "Pictures cannot be written": lambda home: _write_nowhere(home, "images"),
}


async def error_of(what: str, folder: Path) -> ImagenError:
    """Make something happen, and return the error that a user sees."""

    async def happen() -> None:
        found = await to_thread.run_sync(HAPPENINGS[what], folder / "home-of-the-page")
        if inspect.isawaitable(found):
            await found

    with pytest.raises(ImagenError) as caught:
        await happen()
    return caught.value


def row_of(what: str, error: ImagenError, folder: Path) -> str:
    """Return the table's row for an error; places and ids that change are cut out."""

    def told(text: str) -> str:
        text = text.replace(str(folder / "home-of-the-page"), "…/imagen_widget")
        text = text.replace(GATEWAY, "https://www.kkiai.com").replace("REFUSED", "refused")
        text = re.sub(r"\(request id [\w…-]+\)", "(request id …)", text).replace("req-1", "…")
        return text.replace("|", "\\|")

    name = type(error).__name__
    seen, remedy = told(error.message), told(error.remedy) or "Nothing."
    return f"| {what} | `{name}: {seen}` | {_billed(error)} | {remedy} |"


def _billed(error: ImagenError) -> str:
    kept = "%imagen_resume" in error.remedy or "id is kept" in error.remedy
    if kept and type(error) in {QueueError, CredentialsError}:  # not whether there is a job
        return "the job, once"
    return "perhaps" if error.billed else "no"


async def rows(folder: Path) -> list[str]:
    """Return all rows of the page's table, as they happen now."""
    found = []
    for number, what in enumerate(HAPPENINGS):
        place = folder / str(number)
        place.mkdir()
        found.append(row_of(what, await error_of(what, place), place))
    return found


# ------------------------------------------------------------------------------------------ tests


@pytest.mark.parametrize("what", HAPPENINGS)
async def test_each_row_says_what_is_seen_and_what_to_do(what: str, tmp_path: Path) -> None:
    error = await error_of(what, tmp_path)

    assert row_of(what, error, tmp_path) in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_has_no_other_rows() -> None:
    found = (ROW.match(line) for line in PAGE.read_text(encoding="utf-8").splitlines())

    assert [row["what"] for row in found if row] == list(HAPPENINGS)


def test_every_public_error_has_a_row() -> None:
    text = PAGE.read_text(encoding="utf-8")

    shown_as_others = {"ImagenError", "CancelledAtProvider"}  # the second is shown as JobCancelled
    assert [n for n in errors.__all__ if f"`{n}: " not in text and n not in shown_as_others] == []
