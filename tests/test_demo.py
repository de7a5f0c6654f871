"""The demo queue answers as fal's wire format says, draws, edits, and outlives its process."""

import base64
import io
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageStat

from imagen_widget._providers.demo.app import create_app

pytestmark = pytest.mark.anyio

PREVIEW = "fal-ai/imagen4/preview"
KONTEXT = "fal-ai/flux-pro/kontext"
LONG_PROMPT = (
    "Capture an intimate close-up bathed in warm, soft, late-afternoon sunlight filtering into a "
    "quintessential 1960s kitchen. The focal point is a charmingly designed vintage package of "
    "all-purpose flour in classic red and blue, a pastel yellow backsplash just out of focus. "
) * 6
FOX = {"prompt": "a red fox", "aspect_ratio": "16:9", "num_images": 2, "seed": 7}
SMALL = {"width": 256, "height": 256}
SCENES = [
    "a red fox in fresh snow",
    "a vintage package of flour in a 1960s kitchen",
    "hot-air balloons",
    "a lighthouse",
    "a boat at sea",
    "a misty forest",
    "mountains at dusk",
]
EFFECTS = [
    "make it snow",
    "at night",
    "in autumn",
    "sepia",
    "make it bigger",
    "black and white",
    "as a watercolour",
    "put it in a frame",
    "brighter",
    "darker",
    "blurred",
    "add a balloon",
    "at sunset",
    "in fog",
    "下雪的夜晚",
    "whatever you like",
]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """One demo application and a client that talks to it."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.clock = Clock()
        app = create_app(seconds=seconds, clock=self.clock)
        transport = httpx.ASGITransport(app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://demo.test")

    async def submit(self, body: object, model: str = PREVIEW) -> Any:
        answer = await self.client.post(f"/{model}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def get(self, ticket: Any, tail: str = "") -> httpx.Response:
        return await self.client.get(httpx.URL(ticket["response_url"]).path + tail)

    async def cancel(self, ticket: Any) -> httpx.Response:
        return await self.client.put(httpx.URL(ticket["cancel_url"]).path)

    async def result(self, body: object, model: str = PREVIEW) -> httpx.Response:
        return await self.get(await self.submit(body, model))

    async def draw(self, body: object, model: str = PREVIEW) -> list[Image.Image]:
        answer = (await self.result(body, model)).json()
        entries = answer["images"] if "images" in answer else [answer["image"]]
        return [await self.open(entry) for entry in entries]

    async def open(self, entry: Any) -> Image.Image:
        """Fetch a picture and check that it is what its entry says."""
        answer = await self.client.get(entry["url"])
        picture = Image.open(io.BytesIO(answer.content))
        kind = f"image/{(picture.format or '').lower()}"
        assert answer.headers["content-type"] == entry["content_type"] == kind
        assert picture.size == (entry["width"], entry["height"])
        return picture.convert("RGB")


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(**options: float) -> Server:
        servers.append(Server(**options))
        return servers[-1]

    yield start
    for server in servers:
        await server.client.aclose()


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve()


def address(picture: Image.Image) -> str:
    """Return a picture as a `data:` address."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def photo(size: tuple[int, int] = (240, 160), colour: str = "#7fa8d0") -> Image.Image:
    """Return a sky with a hill in it."""
    picture = Image.new("RGB", size, colour)
    pen = ImageDraw.Draw(picture)
    pen.ellipse((size[0] // 5, size[1] // 2, size[0] * 4 // 5, size[1] * 2), fill="#3f6b35")
    return picture


def difference(first: Image.Image, second: Image.Image) -> float:
    """Return how far two pictures are apart on average, in steps of 255."""
    return sum(ImageStat.Stat(ImageChops.difference(first, second)).mean) / 3


# -- the queue ---------------------------------------------------------------------------------


async def test_a_ticket_has_every_documented_field(serve: Callable[..., Server]) -> None:
    ticket = await serve(seconds=4).submit(FOX)

    url = f"https://queue.fal.run/fal-ai/imagen4/requests/{ticket['request_id']}"
    assert ticket == {
        "status": "IN_QUEUE",
        "request_id": ticket["request_id"],
        "response_url": url,
        "status_url": f"{url}/status",
        "cancel_url": f"{url}/cancel",
        "logs": None,
        "metrics": {},
        "queue_position": 1,
    }


@pytest.mark.parametrize("body", [b'{"prompt":', b'["fox"]', b"\xff", b'{"a": NaN}'])
async def test_a_body_that_is_not_an_object_is_refused_at_once(server: Server, body: bytes) -> None:
    answer = await server.client.post(f"/{PREVIEW}", content=body)

    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "dict_type")


async def test_the_position_counts_down_and_then_work_begins(serve: Callable[..., Server]) -> None:
    server = serve(seconds=10)
    ticket = await server.submit({"prompt": "a fox [demo:queue=2]"})
    seen = [("IN_QUEUE", ticket["queue_position"])]

    for _ in range(4):
        body = (await server.get(ticket, "/status")).json()
        seen.append((body["status"], body.get("queue_position")))
        server.clock.now += 1.5001

    assert [position for _, position in seen] == [2, 2, 1, 0, None]
    assert seen[-1][0] == "IN_PROGRESS"


async def test_a_job_takes_the_seconds_that_were_set(serve: Callable[..., Server]) -> None:
    server = serve(seconds=10)
    ticket = await server.submit(FOX)

    early = await server.get(ticket)
    server.clock.now += 9.99
    before = await server.get(ticket, "/status")
    server.clock.now += 0.02
    after = await server.get(ticket, "/status")

    assert (early.status_code, early.json()) == (400, {"detail": "Request is still in progress"})
    assert (before.status_code, before.json()["status"]) == (202, "IN_PROGRESS")
    assert (after.status_code, after.json()["status"]) == (200, "COMPLETED")
    assert after.json()["metrics"] == {"inference_time": 7.0}


async def test_logs_come_only_to_those_who_ask(serve: Callable[..., Server]) -> None:
    server = serve(seconds=10)
    ticket = await server.submit(FOX)
    server.clock.now += 100

    without = (await server.get(ticket, "/status")).json()
    with_logs = (await server.get(ticket, "/status?logs=1")).json()["logs"]

    assert without["logs"] is None
    assert [line["message"] for line in with_logs] == [
        "Generating 2 images",
        "Image 1 of 2",
        "Image 2 of 2",
    ]
    assert re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{6}Z", with_logs[0]["timestamp"])


@pytest.mark.parametrize(
    "name", ["none", "a" * 128, "ePk-_w", "0d1bd3a2-6c9b-4c6f-8f0e-1b8c2d6e7f00"]
)
async def test_an_unknown_job_is_not_found_at_once(server: Server, name: str) -> None:
    path = f"/fal-ai/imagen4/requests/{name}"

    answers = [await server.client.get(path + tail) for tail in ("", "/status")]
    answers.append(await server.client.put(f"{path}/cancel"))

    assert {(answer.status_code, answer.text) for answer in answers} == {
        (404, '{"status":"NOT_FOUND"}')
    }


async def test_a_job_is_found_under_its_own_app_only(server: Server) -> None:
    ticket = await server.submit(FOX)
    name = ticket["request_id"]

    other = await server.client.get(f"/fal-ai/nano-banana/requests/{name}")
    longer = await server.client.get(f"/{PREVIEW}/requests/{name}")

    assert (other.status_code, longer.status_code) == (404, 405)


@pytest.mark.parametrize("after_seconds", [0.0, 5.0])
async def test_a_cancelled_job_has_no_result(
    serve: Callable[..., Server], after_seconds: float
) -> None:
    server = serve(seconds=10)
    ticket = await server.submit(FOX)
    server.clock.now += after_seconds

    answer = await server.cancel(ticket)
    status = await server.get(ticket, "/status")
    result = await server.get(ticket)
    again = await server.cancel(ticket)

    assert (answer.status_code, answer.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    assert status.json()["error_type"] == "client_cancelled"
    assert (result.status_code, result.headers["x-fal-error-type"]) == (499, "client_cancelled")
    assert (again.status_code, again.json()) == (400, {"status": "ALREADY_COMPLETED"})


# -- pictures ----------------------------------------------------------------------------------


async def test_a_result_lists_the_pictures_and_the_seed(server: Server) -> None:
    ticket = await server.submit(FOX)

    answer = await server.get(ticket)

    assert answer.headers["x-fal-billable-units"] == "2"
    assert answer.json() == {
        "images": [
            {
                "url": f"http://demo.test/files/{ticket['request_id']}/{number}.png",
                "content_type": "image/png",
                "file_name": f"{number}.png",
                "file_size": None,
                "width": 1408,
                "height": 768,
            }
            for number in range(2)
        ],
        "seed": 7,
        "description": "",
    }


@pytest.mark.parametrize(
    ("model", "fields", "size", "kind"),
    [
        (PREVIEW, {}, (1024, 1024), "png"),
        (PREVIEW, {"aspect_ratio": "4:3", "resolution": "2K"}, (2560, 1792), "png"),
        (f"{PREVIEW}/fast", {"aspect_ratio": "9:16"}, (768, 1408), "png"),
        (f"{PREVIEW}/ultra", {"output_format": "webp"}, (1024, 1024), "webp"),
        ("fal-ai/nano-banana", {"aspect_ratio": "4:5"}, (928, 1152), "png"),
        ("fal-ai/nano-banana-pro", {"resolution": "2K"}, (2048, 2048), "png"),
        ("fal-ai/nano-banana-2", {"aspect_ratio": "1:8", "resolution": "0.5K"}, (176, 1456), "png"),
        ("fal-ai/flux/dev", {}, (1024, 768), "jpeg"),
        ("fal-ai/flux/dev", {"image_size": "portrait_16_9"}, (576, 1024), "jpeg"),
        ("fal-ai/flux/dev", {"image_size": {"width": 640, "height": 480}}, (640, 480), "jpeg"),
        ("fal-ai/ideogram/v3", {"rendering_speed": "TURBO", "style": "DESIGN"}, (1024,) * 2, "png"),
        ("demo/paper-cut", {"sheets": 3, "image_size": "square"}, (512, 512), "png"),
        ("somebody/new/v2", {"aspect_ratio": "3:2"}, (1248, 832), "png"),
        ("somebody/new/v2", {"image_size": "1024x1536", "n": 2}, (1024, 1536), "png"),
    ],
)
async def test_each_model_has_its_fields_and_sizes(
    server: Server, model: str, fields: dict[str, Any], size: tuple[int, int], kind: str
) -> None:
    images = (await server.result({"prompt": "a red fox"} | fields, model)).json()["images"]

    assert [(image["width"], image["height"]) for image in images] == [size] * fields.get("n", 1)
    assert images[0]["content_type"] == f"image/{kind}"


async def test_a_size_beyond_all_models_is_made_smaller(server: Server) -> None:
    body = {"prompt": "a fox", "image_size": {"width": 14142, "height": 7071}}

    image = (await server.result(body, "fal-ai/flux/dev")).json()["images"][0]

    assert image["width"] * image["height"] < 17_000_001
    assert image["width"] / image["height"] == pytest.approx(2, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("prompt", SCENES)
async def test_every_scene_fits_every_shape(server: Server, prompt: str) -> None:
    for width, height in [(256, 256), (352, 192), (192, 352), (724, 88), (88, 724)]:
        body = {"prompt": prompt, "image_size": {"width": width, "height": height}}

        (picture,) = await server.draw(body, "fal-ai/flux/dev")

        assert min(ImageStat.Stat(picture).stddev) > 10  # a picture, not a plain area


async def test_the_seed_alone_decides_what_a_prompt_gives(server: Server) -> None:
    async def draw(**changed: object) -> list[Image.Image]:
        body = {"prompt": "mountains", "image_size": SMALL, "num_images": 2, "seed": 5}
        return await server.draw(body | changed, "fal-ai/flux/dev")

    first, again, other = await draw(), await draw(), await draw(seed=6)

    assert [difference(a, b) for a, b in zip(first, again, strict=True)] == [0, 0]
    pictures = [*first, *other, *await draw(prompt="mountains and more")]
    assert min(difference(a, b) for a, b in itertools.combinations(pictures, 2)) > 3


async def test_a_seed_is_made_up_if_none_was_sent(server: Server) -> None:
    seeds = [(await server.result({"prompt": "a fox"})).json()["seed"] for _ in range(2)]

    assert seeds[0] != seeds[1]


async def test_a_larger_picture_is_the_same_picture(server: Server) -> None:
    body = {"prompt": "a red fox in fresh snow", "seed": 3}
    sizes = [{"width": side, "height": side} for side in (256, 768)]
    pictures = [
        (await server.draw(body | {"image_size": size}, "fal-ai/flux/dev"))[0] for size in sizes
    ]

    assert difference(pictures[0], pictures[1].resize((256, 256), Image.Resampling.BOX)) < 6


@pytest.mark.parametrize("prompt", [*SCENES, "edit"])
async def test_every_picture_says_that_it_is_a_demo(server: Server, prompt: str) -> None:
    """The chip brings its own ground, so its white letters stand out everywhere."""
    body: dict[str, Any] = {"prompt": prompt, "seed": 1}
    if prompt == "edit":
        body["image_url"] = address(Image.new("RGB", (512, 512), "white"))
        (picture,) = await server.draw(body, KONTEXT)
    else:
        (picture,) = await server.draw(body | {"image_size": "square"}, "fal-ai/flux/dev")

    darkest, lightest = ImageStat.Stat(picture.convert("L").crop((452, 482, 496, 496))).extrema[0]
    assert lightest - darkest > 100


@pytest.mark.parametrize("name", ["2.png", "0.webp", "-1.png", "0", "00.png"])
async def test_only_the_files_of_a_job_are_served(server: Server, name: str) -> None:
    ticket = await server.submit(FOX)

    answer = await server.client.get(f"/files/{ticket['request_id']}/{name}")

    assert answer.status_code == 404


@pytest.mark.slow
async def test_drawing_does_not_keep_others_waiting(server: Server) -> None:
    body = {"prompt": "a forest", "aspect_ratio": "16:9", "resolution": "2K"}
    large = (await server.result(body, "fal-ai/nano-banana-2")).json()["images"][0]
    ticket = await server.submit(FOX)
    order = []

    async def ask() -> None:
        await server.get(ticket, "/status")
        order.append("status")

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        picture = await server.client.get(large["url"])
        order.append("picture")

    assert order == ["status", "picture"]
    assert picture.status_code == 200


# -- what the models take ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        (KONTEXT, "image_url", "https://x.test/1.png"),
        (KONTEXT, "image_url", "data:image/png;base64,AAAA"),
        ("fal-ai/nano-banana/edit", "image_urls", [5]),
    ],
)
async def test_a_bad_picture_gets_a_ticket_and_its_refusal_from_the_result(
    server: Server, model: str, field: str, value: object
) -> None:
    ticket = await server.submit({"prompt": "a red fox", field: value}, model)

    status = await server.get(ticket, "/status")
    result = await server.get(ticket)

    assert status.json()["status"] == "COMPLETED"
    assert (result.status_code, result.headers["x-fal-billable-units"]) == (422, "0")
    assert [(f["loc"], f["type"]) for f in result.json()["detail"]] == [
        (["body", field], "file_download_error")
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["width", "height"]), inner)
    ),
    max_leaves=4,
)
NAMES = re.findall(
    r"\w+",
    "prompt seed num_images n image_size aspect_ratio resolution scale sheets shadows colours "
    "image_url image_urls mask_url output_format model",
)
MODELS = st.sampled_from([PREVIEW, "fal-ai/flux/dev", "demo/paper-cut", "fal-ai/esrgan", "x/y/z"])


@pytest.mark.slow
@settings(max_examples=200)
@given(model=MODELS, body=st.dictionaries(st.sampled_from(NAMES), JSON))
def test_whatever_is_sent_is_answered(model: str, body: dict[str, Any]) -> None:
    async def run() -> list[int]:
        server = Server()
        ticket = (await server.client.post(f"/{model}", content=json.dumps(body))).json()
        status = await server.get(ticket, "/status?logs=1")
        answer = await server.get(ticket)
        if answer.status_code == 200 and {"colours", "sheets"} & body.keys():
            made = answer.json()
            url = made["image"]["url"] if "image" in made else made["images"][0]["url"]
            answer = await server.client.get(url)
        return [status.status_code, answer.status_code]

    assert anyio.run(run) in [[200, 200], [200, 422]]


# -- commands in a prompt ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "count"),
    [
        ("", 200, 2),
        ("[demo:few]", 200, 1),
        ("[demo:few=3]", 200, 0),
        ("[demo:reject]", 422, None),
        ("[demo:fail]", 503, None),
    ],
)
async def test_a_command_in_the_prompt_controls_its_job(
    serve: Callable[..., Server], command: str, code: int, count: int | None
) -> None:
    server = serve(seconds=10)
    ticket = await server.submit(FOX | {"prompt": f"a red fox {command}"})
    server.clock.now += 11

    status = (await server.get(ticket, "/status")).json()
    result = await server.get(ticket)

    assert result.status_code == code
    assert count is None or len(result.json()["images"]) == count
    assert ("error" in status) == (code == 503)


@pytest.mark.slow
async def test_commands_are_not_painted(server: Server) -> None:
    prompts = ("a red fox", "a red fox [demo:slow=0]")
    pictures = [(await server.draw(FOX | {"prompt": prompt}))[0] for prompt in prompts]

    assert difference(*pictures) == 0


# -- edits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", EFFECTS)
async def test_an_edit_changes_the_picture_visibly_and_keeps_its_size(
    server: Server, prompt: str
) -> None:
    given = photo()
    body = {"prompt": prompt, "image_url": address(given), "seed": 1, "output_format": "png"}

    (edited,) = await server.draw(body, KONTEXT)

    assert edited.size == given.size
    assert 4 < difference(edited, given) < 150


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (40, 3)])
async def test_every_edit_takes_the_smallest_picture(server: Server, size: tuple[int, int]) -> None:
    for prompt in EFFECTS:
        body = {"prompt": prompt, "image_url": address(photo(size))}

        assert await server.draw(body, KONTEXT)


async def test_edits_of_different_words_seeds_and_numbers_differ(server: Server) -> None:
    async def edit(prompt: str, seed: int) -> list[Image.Image]:
        body = {"prompt": prompt, "image_urls": [address(photo())], "seed": seed, "num_images": 2}
        return await server.draw(body, "fal-ai/nano-banana/edit")

    pictures = [*await edit("snow", 1), *await edit("snow", 2), *await edit("at night", 1)]

    assert min(difference(a, b) for a, b in itertools.combinations(pictures, 2)) > 0.5
    assert difference(pictures[0], (await edit("snow", 1))[0]) == 0


@pytest.mark.parametrize("prompt", ["at night", "a balloon", "something else", "bigger"])
async def test_a_masked_edit_changes_only_what_is_white(server: Server, prompt: str) -> None:
    given, mask = photo((400, 400)), Image.new("L", (400, 400))
    ImageDraw.Draw(mask).rectangle((40, 120, 200, 280), fill=255)
    body = {"prompt": prompt, "image_url": address(given), "mask_url": address(mask), "seed": 1}

    (edited,) = await server.draw(body, "fal-ai/ideogram/v3/edit")

    def change(box: tuple[int, int, int, int]) -> float:
        return difference(edited.crop(box), given.crop(box))

    assert change((60, 140, 180, 260)) > 4
    assert change((220, 300, 360, 360)) < 2  # the grain of every picture


async def test_a_mask_of_another_size_is_refused(server: Server) -> None:
    mask = Image.new("L", (100, 100), 255)
    body = {"prompt": "snow", "image_url": address(photo()), "mask_url": address(mask)}

    detail = (await server.result(body, "fal-ai/ideogram/v3/edit")).json()["detail"]

    assert [fault["loc"] for fault in detail] == [["body", "mask_url"]]


async def test_several_pictures_are_put_side_by_side(server: Server) -> None:
    urls = [address(Image.new("RGB", (200, 200), colour)) for colour in ("#ff0000", "#0000ff")]
    body = {"prompt": "brighter", "image_urls": urls, "aspect_ratio": "16:9", "resolution": "0.5K"}

    (picture,) = await server.draw(body, "fal-ai/nano-banana-2/edit")

    left, right = (
        ImageStat.Stat(picture.crop((x, 40, x + 9, 49))).mean for x in (50, picture.width - 60)
    )
    assert picture.size == (704, 384)
    assert left[0] > 200 > left[2]
    assert right[2] > 200 > right[0]


async def test_a_model_without_a_prompt_makes_the_picture_larger(server: Server) -> None:
    given = photo()
    body = {"image_url": address(given), "scale": 3, "model": "RealESRGAN_x2plus"}

    answer = (await server.result(body, "fal-ai/esrgan")).json()
    picture = await server.open(answer["image"])

    assert picture.size == (720, 480)
    assert difference(picture.resize(given.size), given) < 6


async def test_every_field_of_the_paper_cut_is_seen(server: Server) -> None:
    async def cut(**fields: object) -> Image.Image:
        body = {"prompt": "a fox", "seed": 1, "image_size": SMALL} | fields
        return (await server.draw(body, "demo/paper-cut"))[0]

    plain = await cut()

    for fields in ({"sheets": 9}, {"shadows": False}, {"colours": {"front": "#00ff00"}}):
        assert difference(plain, await cut(**fields)) > 1, fields


# -- after a restart ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "body"),
    [
        (
            PREVIEW,
            {"prompt": LONG_PROMPT, "aspect_ratio": "1:1", "resolution": "1K"},
        ),
        (PREVIEW, {"prompt": "雪中的狐狸 [demo:queue=2]", "num_images": 4, "seed": 2**40}),
        ("fal-ai/flux/dev", {"prompt": "a fox", "image_size": SMALL, "guidance_scale": 2.5}),
        ("demo/paper-cut", {"prompt": "a fox", "sheets": 9, "colours": {"back": "#123456"}}),
        ("somebody/a-model-with-quite-a-long-name/v3/text-to-image", {"prompt": "night"}),
    ],
)
async def test_a_job_outlives_the_process_that_accepted_it(
    serve: Callable[..., Server], model: str, body: dict[str, Any]
) -> None:
    first, second = serve(seconds=10), serve(seconds=10)
    ticket = await first.submit(body, model)

    waiting = (await second.get(ticket, "/status")).json()
    first.clock.now = second.clock.now = first.clock.now + 20
    results = [(await server.get(ticket)).json() for server in (first, second)]
    pictures = [
        (await server.client.get(results[0]["images"][-1]["url"])).content
        for server in (first, second)
    ]

    assert re.fullmatch(r"[A-Za-z0-9_-]{40,256}", ticket["request_id"])
    assert waiting["status"] == "IN_QUEUE"
    assert results[0] == results[1]
    assert pictures[0] == pictures[1]


async def test_the_picture_of_an_edit_is_said_to_be_gone_after_a_restart(
    serve: Callable[..., Server],
) -> None:
    body = {"prompt": "snow", "image_url": address(photo())}
    ticket = await serve().submit(body, KONTEXT)
    restarted = serve()

    lost = await restarted.get(ticket)
    await restarted.submit(body, KONTEXT)
    found = await restarted.get(await restarted.submit(body, KONTEXT))

    assert (lost.status_code, lost.json()["detail"][0]["type"]) == (422, "file_download_error")
    assert found.status_code == 200


async def test_equal_requests_are_separate_jobs(server: Server) -> None:
    names = {(await server.submit(FOX))["request_id"] for _ in range(20)}

    assert len(names) == 20


async def test_a_job_that_no_id_can_hold_is_kept_in_memory(serve: Callable[..., Server]) -> None:
    body = FOX | {"seed": 7**999}
    first = serve()
    ticket = await first.submit(body)

    answers = [await server.get(ticket) for server in (first, serve())]

    assert [answer.status_code for answer in answers] == [200, 404]


# -- schemas -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["fal-ai/esrgan", "demo/paper-cut"])
async def test_a_model_is_described_in_the_structure_of_fal(server: Server, model: str) -> None:
    query = {"endpoint_id": model}

    answer = await server.client.get("/api/openapi/queue/openapi.json", params=query)

    document = answer.json()
    content = document["paths"][f"/{model}"]["post"]["requestBody"]["content"]
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][name]
    assert list(schema["properties"]) == schema["x-fal-order-properties"]
    assert set(schema["required"]) <= set(schema["properties"])


async def test_an_odd_model_has_a_slider_a_switch_and_a_free_field(server: Server) -> None:
    answer = await server.client.get("/api/openapi/queue/openapi.json?endpoint_id=demo/paper-cut")

    fields = answer.json()["components"]["schemas"]["Input"]["properties"]
    assert (fields["sheets"]["type"], fields["sheets"]["maximum"]) == ("integer", 9)
    assert (fields["shadows"]["type"], fields["shadows"]["default"]) == ("boolean", True)
    assert fields["colours"]["type"] == "object"


async def test_an_unknown_model_is_drawn_for_but_not_described(server: Server) -> None:
    answer = await server.client.get("/api/openapi/queue/openapi.json?endpoint_id=x/y")

    assert answer.status_code == 404
    assert (await server.result({"prompt": "a fox"}, "x/y")).status_code == 200
