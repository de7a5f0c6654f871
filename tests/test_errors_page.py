"""The page of errors says word for word what users see; each of its rows is made to happen here."""

from __future__ import annotations

import getpass
import re
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import httpx
import pytest

from imagen_widget import errors, start
from imagen_widget._client import ImagenClient
from imagen_widget._generate._progress import Submitted
from imagen_widget._journal import Journal
from imagen_widget._request import ImageRequest
from imagen_widget._settings import load_settings
from imagen_widget._settings._keys import login
from imagen_widget.errors import ImagenError
from tests.answers import FOX, GATEWAY, ID, RESULT, TICKET, ticket
from tests.clock import Clock
from tests.provider import Provider, reply_json, reply_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from imagen_widget._protocol._ticket import Outcome

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[1] / ".github" / "docs" / "errors.md"
ROW = re.compile(
    r"^\| (?P<what>[^|]+) \| `(?P<seen>[^|]+)` \| (?P<billed>[^|]+) \| (?P<remedy>[^|]+) \|$"
)

LOCKED = reply_json(403, {"detail": "User is locked. Reason: Exhausted balance."})
DONE = reply_json(200, {"status": "COMPLETED"})
UNKNOWN = reply_json(404, {"status": "NOT_FOUND"})
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
NO_CHANNEL = {
    "message": "当前分组 default 下对于模型 imagen4 无可用渠道",
    "code": "model_not_found",
}
BAD_TOKEN = {"message": "无效的令牌", "type": "new_api_error", "param": "", "code": ""}


# ----------------------------------------------------------------------------- making it happen


def _client(**routes: Any) -> ImagenClient:  # noqa: ANN401 - replies
    clock = Clock()
    return ImagenClient(
        "kkiai",
        api_key="made-up",
        transport=Provider(clock, **routes).transport,
        clock=clock,
        sleep=clock.sleep,
        chance=lambda: 0.5,
    )


async def _submit(reply: object) -> object:
    return await _client(submit=reply).submit(FOX)


async def _watch(reply: object) -> None:
    await _client(status=reply).watch(ticket())


async def _result(reply: object) -> Outcome:
    return await _client(result=reply, auto=reply).result(ticket())


async def _fetch(url: str, reply: object = None) -> bytes:
    return await _client(media=reply).fetch(url)


async def _load(**given: Any) -> object:  # noqa: ANN401 - any setting
    return load_settings(folder=Path("/nowhere"), **given)


async def _ask_nobody() -> object:
    def deaf(_: str) -> str:
        raise EOFError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(getpass, "getpass", deaf)
        login()
    return None


async def _intend(home: Path, *, cap: str | None) -> object:
    journal = Journal(home)
    return journal.intend(
        FOX,
        provider="kkiai",
        base_url=GATEWAY,
        price=Decimal("0.04"),
        cap=None if cap is None else Decimal(cap),
    )


async def _spend_too_much(home: Path) -> object:
    return await _intend(home, cap="0.01")


async def _write_nowhere(home: Path) -> object:
    home.write_text("a file where the folder should be")  # noqa: ASYNC240 - one line of a test
    return await _intend(home, cap=None)


async def _cancel() -> object:
    sent = threading.Event()

    def note(event: object) -> None:
        if isinstance(event, Submitted):
            sent.set()

    slow = ImageRequest.create("a fox [demo:slow]")
    job = start(slow, settings=load_settings(provider="demo"), on_event=note)
    await anyio.to_thread.run_sync(sent.wait)
    await anyio.to_thread.run_sync(job.cancel)
    return await job


HAPPENINGS: dict[str, Callable[[Path], Awaitable[object]]] = {
    "There is no key": lambda _: _load(provider="kkiai", environ={}),
    "`login()` where nobody can be asked": lambda _: _ask_nobody(),
    "The key is refused": lambda _: _submit(reply_json(401, {"error": BAD_TOKEN})),
    "The balance is spent": lambda _: _submit(LOCKED),
    "The balance is spent while a job runs": lambda _: _watch(LOCKED),
    "A setting means nothing": lambda _: _load(max_spend="much"),
    "A gateway in cleartext": lambda _: _load(base_url="http://relay.example", api_key="made-up"),
    "A value that the model does not take": lambda _: _create(aspect_ratio="2:1"),
    "A field that the model does not have": lambda _: _create(steps=30),
    "An empty prompt": lambda _: _create_empty(),
    "The model refuses a field": lambda _: _result(reply_json(422, {"detail": [RATIO]})),
    "The model is gone": lambda _: _submit(reply_json(410, {"detail": GONE})),
    "The gateway has no way to the model": lambda _: _submit(
        reply_json(503, {"error": NO_CHANNEL})
    ),
    "The content checker refuses": lambda _: _result(reply_json(422, {"detail": [FLAGGED]})),
    "All pictures are filtered": lambda _: _result(reply_json(200, {"images": []})),
    "The service fails while drawing": lambda _: _result(
        reply_json(503, {"detail": "Runner disconnected", "error_type": "runner_disconnected"})
    ),
    "Too many requests": lambda _: _submit(reply_json(429, {"detail": "Slow down"})),
    "The address cannot be reached": lambda _: _submit(httpx.ConnectError("Connection refused")),
    "`IMAGEN_BASE_URL` is no gateway": lambda _: _submit(reply_page(404)),
    "The gateway sends the request elsewhere": lambda _: _submit(
        httpx.Response(308, headers={"location": "https://elsewhere.example"})
    ),
    "The answer to the request is lost": lambda _: _submit(httpx.ReadTimeout("")),
    "The request is accepted without a ticket": lambda _: _submit(reply_page(200)),
    "The job takes longer than the timeout": lambda _: _watch(
        reply_json(202, TICKET | {"status": "IN_PROGRESS"})
    ),
    "The result does not come": lambda _: _result(reply_json(503, {"detail": "Overloaded"})),
    "The provider does not know the job": lambda _: _result(UNKNOWN),
    "The gateway has a web page for a result": lambda _: _result(reply_page()),
    "A result that makes no sense": lambda _: _result(reply_json(200, {"hello": "world"})),
    "A picture cannot be fetched": lambda _: _fetch(RESULT["images"][0]["url"], UNKNOWN),
    "A picture is none": lambda _: _fetch(RESULT["images"][0]["url"], reply_page()),
    "A picture's address leads inside": lambda _: _fetch("https://169.254.169.254/one.png"),
    "You cancel in time": lambda _: _cancel(),
    "The spend cap is reached": _spend_too_much,
    "The journal cannot be written": _write_nowhere,
}


async def _create(**given: Any) -> object:  # noqa: ANN401 - notebooks pass anything
    return ImageRequest.create("a fox", **given)


async def _create_empty() -> object:
    return ImageRequest.create(" ")


async def _error(what: str, folder: Path) -> ImagenError:
    with pytest.raises(ImagenError) as caught:
        await HAPPENINGS[what](folder / "home-of-the-page")
    return caught.value


def _row(what: str, error: ImagenError, folder: Path) -> str:
    """Return the table's row for an error; places and ids that change are cut out."""

    def told(text: str) -> str:
        text = text.replace(str(folder / "home-of-the-page"), "…/imagen_widget")
        text = re.sub(r"\(request id [\w-]+\)", "(request id …)", text).replace(ID, "…")
        return text.replace("|", "\\|")

    name = type(error).__name__
    seen, remedy = told(error.message), told(error.remedy) or "Nothing."
    return f"| {what} | `{name}: {seen}` | {_billed(error)} | {remedy} |"


def _billed(error: ImagenError) -> str:
    if error.billed:
        return "perhaps"
    kept = "%imagen_resume" in error.remedy or "id is kept" in error.remedy
    return "the job, once" if kept else "no"


@pytest.mark.parametrize("what", HAPPENINGS)
async def test_each_row_says_what_is_seen_and_what_to_do(what: str, tmp_path: Path) -> None:
    error = await _error(what, tmp_path)

    rows = PAGE.read_text(encoding="utf-8").splitlines()

    assert _row(what, error, tmp_path) in rows


def test_the_page_has_no_other_rows() -> None:
    found = (ROW.match(line) for line in PAGE.read_text(encoding="utf-8").splitlines())

    assert [row["what"] for row in found if row] == list(HAPPENINGS)


def test_every_public_error_has_a_row() -> None:
    text = PAGE.read_text(encoding="utf-8")

    abstract = {"ImagenError"}
    assert [n for n in errors.__all__ if f"`{n}: " not in text and n not in abstract] == []


async def _print_rows() -> None:
    """Print the table anew, for whoever changes a line."""
    for what in HAPPENINGS:
        folder = Path(sys.argv[1]) / str(len(what))
        folder.mkdir(parents=True, exist_ok=True)
        sys.stdout.write(_row(what, await _error(what, folder), folder) + "\n")


if __name__ == "__main__":
    anyio.run(_print_rows)
