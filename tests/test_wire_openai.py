"""OpenAI's image routes, pictures as input, and providers that other packages bring."""

from __future__ import annotations

import base64
import functools
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from PIL import Image

from imagen_widget import Capabilities, Done, ImagenClient, ImageRequest, Model, errors
from tests.clock import Clock
from tests.documents import install_example
from tests.fakequeue import GATEWAY, Break, FakeQueue, Reply, page, picture
from tests.pictures import HEIGHT, PICTURES, SVG, WIDTH, encoded, noise, opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagen_widget import Finished

pytestmark = pytest.mark.anyio

MODEL = "gpt-image-1.5"
FOX = ImageRequest.create("a red fox", model=MODEL)
EDIT = "fal-ai/nano-banana/edit"
SIDEWAYS = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


class Desk:
    """A client for OpenAI's routes, and what answers it."""

    def __init__(self, name: str = "openai", *, base_url: str = GATEWAY) -> None:
        self.clock = Clock()
        self.queue = FakeQueue(clock=self.clock)
        self.client = ImagenClient(
            name,
            base_url=base_url,
            api_key="sk-made-up",
            transport=self.queue.transport(),
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    async def make(self, request: ImageRequest = FOX, **options: Any) -> Finished:
        ticket = await self.client.submit(request, **options)
        assert ticket.finished is not None
        return await self.client.result(ticket)

    @property
    def body(self) -> dict[str, Any]:
        """The last body that was sent."""
        return self.queue.requests[-1].arguments


def png(size: tuple[int, int] = (64, 64), colour: str = "red") -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", size, colour).save(sink, "PNG")
    return sink.getvalue()


# ------------------------------------------------------------------------------------ from text


@pytest.mark.parametrize("base_url", [GATEWAY, f"{GATEWAY}/v1"])
@pytest.mark.parametrize("name", ["openai", "kkiai"])
async def test_a_model_without_a_slash_is_asked_once_and_answers_with_the_picture(
    name: str, base_url: str
) -> None:
    desk = Desk(name, base_url=base_url)
    seen: list[object] = []

    ticket = await desk.client.submit(FOX)
    await desk.client.watch(ticket, seen.append)
    finished = await desk.client.result(ticket)

    assert desk.queue.log == ["POST generations"]
    assert desk.queue.requests[0].headers["authorization"] == "Bearer sk-made-up"
    assert desk.body == {"model": MODEL, "prompt": "a red fox"}
    assert [type(event) for event in seen] == [Done]
    assert (await desk.client.fetch(finished.urls[0])).startswith(b"\x89PNG")
    assert finished.revised_prompt == "a red fox, revised"
    assert not await desk.client.cancel(ticket)
    assert not desk.client.provider.for_model(MODEL).can.cancels


async def test_the_gateway_takes_fals_models_through_its_queue() -> None:
    desk = Desk("kkiai")

    await desk.client.submit(ImageRequest.create("a red fox", model="fal-ai/nano-banana"))

    assert desk.queue.log == ["POST submit"]
    assert desk.client.provider.for_model("fal-ai/nano-banana").can.cancels


@pytest.mark.parametrize(
    ("model", "given", "sent"),
    [
        ("gpt-image-9", {"num_images": 2, "aspect_ratio": "3:2"}, {"n": 2, "size": "1536x1024"}),
        ("gpt-image-9", {"num_images": 2, "aspect_ratio": "9:16"}, {"n": 2, "size": "1024x1536"}),
        ("gpt-image-9", {"aspect_ratio": "1:1", "size": "auto"}, {"size": "auto"}),
        ("gpt-image-9", {"aspect_ratio": "2.35:1"}, {"size": "1536x1024"}),
        ("gpt-image-9", {"aspect_ratio": "auto"}, {"size": "auto"}),
        ("gpt-image-9", {"response_format": "url", "stream": True}, {}),
        ("dall-e-3", {"aspect_ratio": "16:9", "response_format": "url"}, None),
        ("seedream", {"aspect_ratio": "16:9", "num_images": 1}, {"aspect_ratio": "16:9", "n": 1}),
    ],
)
async def test_a_request_goes_out_in_openais_names(
    model: str, given: dict[str, Any], sent: dict[str, Any] | None
) -> None:
    desk = Desk()
    request = ImageRequest.create("a fox", known=Model(model), **given)

    await desk.make(request)

    wanted = sent if sent is not None else {"size": "1792x1024", "response_format": "url"}
    assert desk.body == {"model": model, "prompt": "a fox", **wanted}


@pytest.mark.parametrize(
    ("body", "url"),
    [
        ({"data": [{"url": "https://cdn.test/a.png", "b64_json": ""}]}, "https://cdn.test/a.png"),
        ({"data": [{"url": "", "b64_json": "iVBORw0KGgo="}]}, "data:image/png;base64,iVBORw0KGgo="),
        ({"images": [{"url": "https://cdn.test/a.png"}]}, "https://cdn.test/a.png"),
        ({"data": [{"b64_json": "/9j/4AAQ"}]}, "data:image/jpeg;base64,/9j/4AAQ"),
    ],
)
async def test_relays_answer_with_addresses_or_with_bytes(body: object, url: str) -> None:
    desk = Desk()
    desk.queue.always("generations", Reply(200, body))

    assert (await desk.make()).urls == (url,)


@pytest.mark.parametrize(
    "fault",
    [
        Break.LOST_ANSWER,
        Break.SILENCE,
        Break.CUT_SHORT,
        Reply(500, {"error": {"message": "x"}}, accepts=True),
        Reply(502, {"error": {"message": "moderation"}}, accepts=True),
        Reply(200, b"", accepts=True),
        Reply(200, {"created": 1}, accepts=True),
        Reply(200, {"data": [{"weird": 1}]}, accepts=True),
        page(),
    ],
    ids=repr,
)
async def test_an_answer_that_is_lost_or_broken_is_uncertain_and_never_asked_again(
    fault: Reply | Break,
) -> None:
    desk = Desk()
    desk.queue.script("generations", fault)

    with pytest.raises(errors.SubmitUncertain, match="may exist and be billed") as caught:
        await desk.make()

    assert (desk.queue.posts, caught.value.billed, caught.value.ticket) == (1, True, None)


@pytest.mark.parametrize(
    ("answer", "kind", "words", "billed"),
    [
        (
            Reply(400, {"error": {"code": "moderation_blocked", "message": "flagged"}}),
            errors.ContentRejected,
            "flagged",
            False,
        ),
        (
            Reply(400, {"error": {"code": "billing_hard_limit_reached", "message": "limit"}}),
            errors.CredentialsError,
            "Top up at OpenAI",
            False,
        ),
        (
            Reply(400, {"error": {"param": "size", "message": "bad size"}}),
            errors.InvalidRequest,
            "size: gpt-image-1.5 refused",
            False,
        ),
        (Reply(401, {"error": {"message": "x"}}), errors.CredentialsError, "OPENAI_API_KEY", False),
        (Reply(404, {"error": {"message": "x"}}), errors.ModelRetired, "not served", False),
        (Reply(200, {"error": {"message": "no channel"}}), errors.ImagenError, "no chann", False),
        (Reply(200, {"data": []}), errors.ContentRejected, "filtered", True),
    ],
)
async def test_a_refusal_says_why_and_whether_it_is_billed(
    answer: Reply, kind: type[errors.ImagenError], words: str, billed: bool
) -> None:
    desk = Desk()
    desk.queue.always("generations", answer)

    with pytest.raises(kind, match=words) as caught:
        await desk.make()

    assert not isinstance(caught.value, errors.SubmitUncertain)
    assert (caught.value.billed, desk.queue.posts) == (billed, 1)


async def test_a_rate_limit_ends_with_the_deadline() -> None:
    desk = Desk()
    error = {"error": {"code": "rate_limit_exceeded", "message": "5 images per minute"}}
    desk.queue.script("generations", Reply(429, error, {"retry-after": "2"}))
    assert (await desk.make()).urls
    desk.queue.always("generations", Reply(429, error, {"retry-after": "60"}))

    with pytest.raises(errors.QueueError, match="5 images per minute") as caught:
        await desk.make(timeout=10)

    assert (desk.clock.naps, caught.value.billed) == ([2.0], False)


# ---------------------------------------------------------------------------------- from pictures


async def test_pictures_go_as_parts_and_a_mask_as_transparency() -> None:
    desk = Desk()
    half = Image.new("L", (64, 64))
    half.paste(255, (0, 0, 32, 64))
    request = ImageRequest.create(
        "make it snow", model=MODEL, images=[png(), png(colour="blue")], mask=half, num_images=2
    )

    await desk.make(request)

    assert desk.queue.log == ["POST edits"]
    assert desk.body == {"model": MODEL, "prompt": "make it snow", "n": "2"}
    parts = [part for part in desk.queue.requests[-1].parts if part.media_type]
    assert [part.name for part in parts] == ["image[]", "image[]", "mask"]
    assert {part.media_type for part in parts} == {"image/png"}
    alpha = Image.open(io.BytesIO(parts[2].data)).getchannel("A")
    assert alpha.getpixel((5, 5)) == 0  # white, which is to change
    assert alpha.getpixel((60, 5)) == 255


async def test_an_https_address_is_fetched_for_a_part_without_the_key() -> None:
    desk = Desk()
    url = "https://media.test/files/in.png"

    await desk.make(ImageRequest.create("snow", model=MODEL, image=url))

    assert desk.queue.log == ["GET media", "POST edits"]
    assert "authorization" not in desk.queue.requests[0].headers
    assert desk.queue.inputs[0].data == picture("/files/in.png")


@pytest.mark.parametrize(
    ("serve", "size"),
    [
        (lambda: encoded(Image.new("RGB", (60, 20)), "JPEG", exif=SIDEWAYS), (20, 60)),
        (lambda: PICTURES["gif, animated"], (WIDTH, HEIGHT)),
        (lambda: encoded(noise(2200, 2100), compress_level=1), None),
    ],
    ids=["on its side", "of another format", "too large"],
)
async def test_what_an_address_gives_goes_out_as_a_file_would(
    serve: Callable[[], bytes], size: tuple[int, int] | None
) -> None:
    desk = Desk()
    desk.queue.picture = serve()

    await desk.make(ImageRequest.create("x", model=MODEL, image="https://media.test/files/in.png"))

    (sent,) = desk.queue.inputs
    assert sent.media_type in {"image/png", "image/jpeg"}
    assert size in {None, opened(sent.data).size}
    assert len(sent.data) < 3 * 1024**2


@pytest.mark.parametrize("name", ["image", "mask"])
@pytest.mark.parametrize("served", [SVG, PICTURES["png"][:-20], bytes(range(200)) * 9])
async def test_what_an_address_gives_is_refused_if_it_is_not_a_picture(
    name: str, served: bytes
) -> None:
    desk = Desk()
    desk.queue.picture = served
    given: dict[str, Any] = {"image": png(), name: "https://media.test/files/in.png"}

    with pytest.raises(errors.InvalidRequest, match=f"{name}: this is not a picture"):
        await desk.make(ImageRequest.create("x", model=MODEL, **given))

    assert desk.queue.posts == 0


async def test_an_address_that_gives_no_picture_is_refused_with_nothing_sent() -> None:
    desk = Desk()
    desk.queue.always("media", Reply(403, b""))
    given = ["https://media.test/files/in.png", picture("/files/other.png")]

    with pytest.raises(errors.InvalidRequest, match=r"^image: .*HTTP 403\. Nothing was sent"):
        await desk.make(ImageRequest.create("make it snow", model=MODEL, images=given))

    assert desk.queue.posts == 0


async def test_a_relay_that_calls_pictures_image_is_asked_again_once() -> None:
    desk = Desk()
    desk.queue.edit_field = "image"

    await desk.make(ImageRequest.create("snow", model=MODEL, image=png()))

    names = [[p.name for p in r.parts if p.media_type] for r in desk.queue.requests]
    assert names == [["image[]"], ["image"]]
    assert len(desk.queue.jobs) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Reply(400, {"error": {"message": "bad size", "param": "size"}}),
        Reply(500, {"error": {"message": "image[]"}}, accepts=True),
        Reply(422, {"error": {"message": "prompt is too long"}}),
    ],
)
async def test_an_edit_is_asked_again_only_after_a_refusal_of_the_name(answer: Reply) -> None:
    desk = Desk()
    desk.queue.always("edits", answer)

    with pytest.raises(errors.ImagenError):
        await desk.make(ImageRequest.create("snow", model=MODEL, image=png()))

    assert desk.queue.posts == 1


async def test_fal_gets_pictures_inside_the_request_each_encoded_once() -> None:
    desk = Desk("kkiai")
    url = "https://media.test/files/in.png"
    given = [png(), png(colour="blue")]
    request = ImageRequest.create("snow", model=EDIT, images=[*given, url])

    await desk.client.submit(request)
    first = desk.body["image_urls"]
    await desk.client.submit(request)

    assert [base64.b64decode(address.partition(",")[2]) for address in first[:2]] == given
    assert desk.body["image_urls"] == first
    assert first[2] == url
    assert await desk.client.provider.place(request.inputs[0]) is (
        await desk.client.provider.place(request.inputs[0])
    )


@pytest.mark.parametrize(
    ("slow", "model", "image", "given"),
    [
        ("encode", EDIT, png(), [40]),
        ("media", MODEL, "https://media.test/files/in.png", [100, 40]),
        ("edits", MODEL, png(), [100, 40]),  # asked again under another name
    ],
)
async def test_each_call_has_what_the_steps_before_it_have_left_of_the_time(
    slow: str, model: str, image: Any, given: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, left = Desk("kkiai"), list[float]()
    desk.queue.edit_field = "image" if slow == "edits" else "image[]"

    def note(route: str) -> None:
        left.append(anyio.current_effective_deadline() - anyio.current_time())
        desk.clock.now += 60 if route == slow else 0

    async def encode(_: object) -> str:
        desk.clock.now += 60
        return "data:image/png;base64,AAAA"

    for route in ("submit", "media", "edits"):
        desk.queue.before[route] = lambda request: note(request.route)
    monkeypatch.setattr(desk.client.provider, "encode", encode)
    await desk.client.submit(ImageRequest.create("snow", model=model, image=image), timeout=100)

    assert left == [pytest.approx(seconds, abs=9) for seconds in given]


async def test_pictures_that_take_all_the_time_are_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk, request = Desk("kkiai"), ImageRequest.create("snow", model=EDIT, image=png())
    monkeypatch.setattr(desk.client.provider, "encode", lambda _: anyio.sleep_forever())

    with (
        anyio.fail_after(30),
        pytest.raises(errors.QueueError, match="the pictures took all the time"),
    ):
        await desk.client.submit(request, timeout=0.1)

    assert desk.queue.posts == 0


class Storage:
    """fal with its storage."""

    def __init__(self, **broken: httpx.Response) -> None:
        self.seen: list[httpx.Request] = []
        self._broken = broken
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        name = request.url.path.rpartition("/")[2]
        body = {
            "token": {"token": "short-lived", "token_type": "Bearer"},
            "upload": {"access_url": "https://v3.fal.media/files/in.png"},
        }.get(name, {"request_id": "r1"})
        found = self._broken.get(name, httpx.Response(200, json=body))
        return httpx.Response(found.status_code, stream=httpx.ByteStream(found.content))


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_picture_is_uploaded_to_fal_only_if_that_is_allowed(
    allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_UPLOAD", str(int(allowed)))
    storage = Storage()
    request = ImageRequest.create("snow", model=EDIT, image=png())
    async with ImagenClient("fal", api_key="made:up", transport=storage.transport) as client:
        await client.submit(request)
        await client.submit(request)

    sent = json.loads(storage.seen[-1].content)["image_urls"]
    if not allowed:
        assert sent[0].startswith("data:image/png;base64,")
        assert len(storage.seen) == 2
        return
    assert sent == ["https://v3.fal.media/files/in.png"]
    token, upload, *posts = storage.seen
    assert (token.url.host, token.headers["authorization"]) == ("rest.fal.ai", "Key made:up")
    assert (upload.url.host, upload.headers["authorization"]) == (
        "v3.fal.media",
        "Bearer short-lived",
    )
    assert upload.headers["x-fal-object-lifecycle"] == '{"expiration_duration_seconds": 3600}'
    assert upload.content == request.inputs[0].data()
    assert len(posts) == 2


@pytest.mark.parametrize(
    "broken",
    [
        {"token": httpx.Response(401, json={})},
        {"token": httpx.Response(200, json={"token": 5})},
        {"upload": httpx.Response(500)},
        {"upload": httpx.Response(200, json={"access_url": "http://x.test/"})},
    ],
)
async def test_where_an_upload_fails_the_picture_goes_inside_the_request(
    broken: dict[str, httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_UPLOAD", "1")
    storage = Storage(**broken)
    async with ImagenClient("fal", api_key="made:up", transport=storage.transport) as client:
        await client.submit(ImageRequest.create("snow", model=EDIT, image=png()))

    assert json.loads(storage.seen[-1].content)["image_urls"][0].startswith("data:image/png")


@pytest.mark.parametrize(
    ("name", "base_url", "host"),
    [
        ("kkiai", None, "www.kkiai.com"),
        ("kkiai", "https://relay.example", "relay.example"),
        ("fal", "https://relay.example", "relay.example"),
    ],
)
async def test_the_key_of_a_gateway_never_goes_to_fals_storage(
    name: str, base_url: str | None, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_UPLOAD", "1")
    storage = Storage()
    async with ImagenClient(
        name, base_url=base_url, api_key="made-up", transport=storage.transport
    ) as client:
        await client.submit(ImageRequest.create("snow", model=EDIT, image=png()))

    assert {request.url.host for request in storage.seen} == {host}


# -------------------------------------------------------------------- providers of other packages


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the package that the page about providers shows."""
    monkeypatch.syspath_prepend(str(install_example(tmp_path / "site")))


@pytest.mark.usefixtures("acme")
async def test_a_package_may_bring_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", "sk-of-acme")
    queue, clock = FakeQueue(), Clock()
    queue.always("submit", Reply(200, {"images": ["https://media.test/files/a.png"]}))
    async with ImagenClient(
        "acme", transport=queue.transport(), clock=clock, sleep=clock.sleep
    ) as client:
        ticket = await client.submit(ImageRequest.create("a fox", model="acme/paint-2"))
        finished = await client.result(ticket)
        data = await client.fetch(finished.urls[0])
        queue.always("submit", Reply(503, {"detail": "?"}))
        with pytest.raises(errors.SubmitUncertain, match="Acme"):
            await client.submit(ImageRequest.create("a fox", model="acme/paint-2"))

    assert data == picture("/files/a.png")
    sent = queue.requests[0]
    assert sent.url == "https://api.acme.example/v2/paint"
    assert sent.headers["authorization"] == "Bearer sk-of-acme"
    assert sent.arguments == {"model": "acme/paint-2", "text": "a fox", "count": 1, "pictures": []}


@pytest.mark.usefixtures("acme")
async def test_a_provider_that_takes_addresses_only_sends_no_picture_inside_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACME_KEY", "sk-of-acme")
    queue = FakeQueue()
    queue.always("submit", Reply(200, {"images": ["https://media.test/files/a.png"]}))
    make = functools.partial(ImageRequest.create, "a fox", model="acme/paint-2")
    async with ImagenClient("acme", transport=queue.transport()) as client:
        no_data = Capabilities(takes_data_addresses=False)
        monkeypatch.setattr(type(client.provider), "can", no_data)
        with pytest.raises(errors.InvalidRequest, match="https address only"):
            await client.submit(make(image=png()))
        sent = queue.posts
        await client.submit(make(image="https://x.test/a.png"))

    assert (sent, queue.posts) == (0, 1)


def test_a_provider_that_no_package_brings_is_named() -> None:
    with pytest.raises(errors.InvalidRequest, match="acme"):
        ImagenClient("acme", api_key="sk-made-up")
