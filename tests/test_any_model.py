"""Any model, from each interface: what is sent is what the model's own schema asks for.

The interfaces are `generate`, `%imagen` in a real shell, and the form. The fake queue checks each
body against the document that it serves; what arrived is compared with what was given.
"""

import asyncio
import base64
import os
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from PIL import Image
from traitlets import TraitError

from imagen_widget import History, ImagenWidget, generate, models, start
from imagen_widget._models import Catalogue, Field
from imagen_widget.errors import ImagenError, InvalidRequest
from tests.fakequeue import Break, FakeQueue, Reply, Scripted, openapi, page
from tests.interfaces import INTERFACES, Interfaces, Json, quiet_timer
from tests.magic_stage import new_shell
from tests.pictures import encoded, opened, small
from tests.schemas import document_of

BUNDLED = {model.id: model for model in Catalogue(None).search("", account="fal")}
ADDRESS = "https://pictures.test/fox.png"
BUNDLED_BY_ALIAS = {model.alias: model.id for model in BUNDLED.values()}
NEW = "acme/paint/v7"  # nobody bundled it
PICTURE = {"type": "string", "ui": {"field": "image"}}
NEW_FIELDS: Json = {
    "prompt": {"type": "string"},
    "brush": {"type": "string", "enum": ["wet", "dry"], "default": "dry"},
    "wetness": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
    "number_of_images": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
    "canvas": {"type": "array", "items": {"type": "integer"}},
    "varnish": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
}
NEW_VALUES: Json = {
    "brush": "wet", "wetness": 0.25, "number_of_images": 2, "canvas": [4, 3], "varnish": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def shell() -> Any:
    shell = new_shell()
    shell.run_cell("%load_ext imagen_widget")
    return shell


@pytest.fixture
def interfaces(queue: FakeQueue, shell: Any) -> Interfaces:
    queue.picture = small()
    queue.schemas = {model.id: document_of(model) for model in BUNDLED.values()}
    return Interfaces(queue, shell)


@pytest.fixture
def fetching(interfaces: Interfaces, monkeypatch: pytest.MonkeyPatch) -> FakeQueue:
    """Let schemas be read from the queue, which knows one of a model that nobody bundled."""
    monkeypatch.setenv("IMAGEN_SCHEMAS", os.environ["IMAGEN_BASE_URL"] + "/schemas/{endpoint}")
    interfaces.queue.schemas[NEW] = openapi(NEW, NEW_FIELDS)
    return interfaces.queue


def value_for(field: Field) -> Any:
    """Return a value that the field takes, and that is not its default."""
    match field.kind:
        case "choice":
            return next(word for word in field.allowed[::-1] if word != field.default)
        case "size":
            return {"width": 1280, "height": 960} if field.custom_size else field.allowed[-1]
        case "whole":
            return {"seed": 12345, "count": 2}.get(field.role, int(field.high or 7))
        case "number":
            return (field.low or 0) + 0.5 if field.low != field.default else field.high
        case "switch":
            return not field.default
        case "words":
            return ["0a1b2c3d", "f0e1d2c3"]
        case "pictures":
            return [ADDRESS, ADDRESS + "?2"]
        case "json":
            return [{"weight": 0.5, "path": "https://models.test/a"}]
        case _:
            return 'a "text" of its own, ä; #1'


# ------------------------------------------------------------------- full requests to every model


@pytest.mark.parametrize("model_id", BUNDLED)
def test_a_full_request_of_every_field_is_taken_from_each_interface(
    interfaces: Interfaces, model_id: str
) -> None:
    model = BUNDLED[model_id]
    given = {
        field.name: value_for(field)
        for field in model.fields
        if field.role not in ("prompt", "picture", "mask") and not field.hidden
    }
    needed = {f.name: f for f in model.fields if f.role in ("picture", "mask") and f.required}
    pictures = {"mask" if f.role == "mask" else "image": small() for f in needed.values()}

    for interface in INTERFACES:
        body = interfaces.send(interface, model_id, f"a red fox by {interface}", given, pictures)
        arrived = {name: value for name, value in body.items() if name not in needed}
        assert arrived == {"prompt": f"a red fox by {interface}", **given}
        assert body.keys() >= needed.keys()
    assert interfaces.queue.refusals == []
    assert len(BUNDLED) >= 30  # the table of models, and more


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_model_that_nobody_bundled_works_from_its_fetched_schema(
    interfaces: Interfaces, fetching: FakeQueue, interface: str
) -> None:
    body = interfaces.send(interface, NEW, "a red fox", NEW_VALUES, {})

    assert body == {"prompt": "a red fox", **NEW_VALUES}
    assert (fetching.refusals, fetching.count("schema")) == ([], 1)
    with pytest.raises((InvalidRequest, TraitError), match=r"'moist' is not allowed|not found"):
        interfaces.send(interface, NEW, "a red fox", {"brush": "moist"}, {})
    assert fetching.posts == 1


def test_the_form_of_a_fetched_model_starts_with_a_click(fetching: FakeQueue) -> None:
    panel = ImagenWidget(prompt="a red fox", timer=quiet_timer())
    panel.model.value = NEW
    assert set(panel.fields) == set(NEW_FIELDS)
    assert set(panel.fields["brush"].options) == {("wet", "wet"), ("dry", "dry")}
    panel.fields["wetness"].value = 0.75
    panel.generate_button.click()
    fetching.wait_for("result")
    panel.close()
    assert [job.arguments for job in fetching.jobs.values()] == [
        {"prompt": "a red fox", "wetness": 0.75}
    ]


LIMITED: Json = {
    "prompt": {"type": "string", "maxLength": 30},
    "cfg": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": 0.5},
    "scale": {"type": "number", "exclusiveMinimum": 0},
    "code": {"type": "string", "minLength": 2, "maxLength": 3},
}
OUTSIDE = [
    ({"scale": 0}, "scale: 0 is not allowed. Use a number above 0."),
    ({"code": "abcd"}, "code: text of length 4 is not allowed. Use text of 2 to 3 characters."),
    ({"code": "a"}, "code: text of length 1 is not allowed. Use text of 2 to 3 characters."),
]


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize(("given", "says"), OUTSIDE)
def test_ends_that_a_schema_leaves_out_and_lengths_are_kept_from_each_interface(
    interfaces: Interfaces, fetching: FakeQueue, interface: str, given: Json, says: str
) -> None:
    fetching.schemas[NEW] = openapi(NEW, LIMITED)

    with pytest.raises(InvalidRequest) as caught:
        interfaces.send(interface, NEW, "a red fox", given, {})
    assert str(caught.value).replace("'0'", "0") == says
    with pytest.raises(InvalidRequest, match=r"^prompt: text of length 31 is not allowed"):
        interfaces.send(interface, NEW, "x" * 31, {}, {})
    assert fetching.posts == 0
    fine = {"scale": 0.001, "code": "ab"}
    sent = interfaces.send(interface, NEW, "a red fox", fine, {})
    assert sent == {"prompt": "a red fox", **fine}


def test_a_slider_of_the_form_ends_within_what_the_model_takes(fetching: FakeQueue) -> None:
    fetching.schemas[NEW] = openapi(NEW, LIMITED)
    panel = ImagenWidget(prompt="a red fox", timer=quiet_timer())
    panel.model.value = NEW
    slider = panel.fields["cfg"]

    assert (slider.min, slider.value, slider.max) == (0.05, 0.5, 0.95)
    slider.value = slider.max
    panel.generate_button.click()
    fetching.wait_for("result")
    panel.close()
    assert [job.arguments["cfg"] for job in fetching.jobs.values()] == [0.95]


def test_a_common_name_finds_its_field_beside_required_ones_with_limits(
    fetching: FakeQueue,
) -> None:
    fields = {
        **LIMITED,
        "turbo": {"type": "boolean"},
        "steps": {"type": "integer"},
        "num_samples": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
    }
    fetching.schemas[NEW] = openapi(NEW, fields, ("prompt", *LIMITED, "turbo", "steps"))
    panel = ImagenWidget(prompt="a red fox", timer=quiet_timer())
    panel.model.value = NEW

    panel.num_images.value = 3

    assert panel.fields["num_samples"].value == 3
    panel.close()


ODD: Json = {
    "prompt": {"type": "string"},
    "turbo": {"type": "boolean"},
    "no_background": {"type": "boolean"},
    "level": {"anyOf": [{"type": "integer"}, {"type": "string", "enum": ["auto", "5"]}]},
    "codes": {"type": "array", "items": {"type": "string"}},
    "weights": {"type": "object"},
    "speed": {"type": "string", "enum": ["fast", "Fast", "None"]},
    "wait": {"type": "boolean"},
    "tiled": {"type": "boolean", "enum": [True, False]},
    "self": {"type": "string"},
    "cls": {"type": "string"},
}


def typed(interfaces: Interfaces, options: str, *, model: str = NEW) -> Json:
    """Return what `%imagen` would send of a model's fields, beside the prompt."""
    ran = interfaces.shell.run_cell(f"%imagen --dry-run -m {model} {options} a fox")
    ran.raise_error()
    body: Json = ran.result[0].arguments()
    assert body.pop("prompt") == "a fox"
    return body


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ("--turbo", {"turbo": True}),
        ("--no-turbo", {"turbo": False}),
        ("--turbo {{1 > 2}}", {"turbo": False}),
        ("--turbo {{2 > 1}} --no-background={{False}}", {"turbo": True, "no_background": False}),
        ("--no_turbo", {"turbo": False}),
        ("--no-background", {"no_background": True}),
        ("--no_background", {"no_background": True}),
        ("--no-background false", {"no_background": False}),
        ("--no_no_background", {"no_background": False}),
        ("--wait", {"wait": True}),
        ("--wait false", {"wait": False}),
        ("--no-tiled", {"tiled": False}),
        ("--level 5", {"level": 5}),
        ("--level -5", {"level": -5}),
        ("--level auto", {"level": "auto"}),
        ("--codes []", {"codes": []}),
        ('--codes \'["a", "b"]\'', {"codes": ["a", "b"]}),
        ("--codes a", {"codes": ["a"]}),
        ("--weights '{\"a\": 1}'", {"weights": {"a": 1}}),
        ("--weights {{{'a': [1, 'it']}}}", {"weights": {"a": [1, "it"]}}),
        ("--codes {{['a', 'b']}}", {"codes": ["a", "b"]}),
        ("--codes={{[]}}", {"codes": []}),
        ("--level {{2 + 3}}", {"level": 5}),
        ("--speed Fast", {"speed": "Fast"}),
        ("--speed fast", {"speed": "fast"}),
        ("--speed none", {"speed": "None"}),
        ("--self=x --cls=y", {"self": "x", "cls": "y"}),
    ],
)
def test_what_is_typed_for_an_odd_field_is_what_python_sends(
    interfaces: Interfaces, fetching: FakeQueue, options: str, given: Json
) -> None:
    fetching.schemas[NEW] = openapi(NEW, ODD)

    sent = typed(interfaces, options)

    assert sent == given
    assert [type(value) for value in sent.values()] == [type(value) for value in given.values()]
    generate("a fox", model=NEW, quiet=True, **given)
    assert [job.arguments for job in fetching.jobs.values()] == [{"prompt": "a fox", **given}]
    assert fetching.refusals == []


@pytest.mark.parametrize("given", [{"num_images": 2}, {"imagee": "fox.png"}])
def test_a_model_that_takes_no_pictures_is_not_said_to(fetching: FakeQueue, given: Json) -> None:
    fetching.schemas[NEW] = openapi(NEW, ODD)

    with pytest.raises(InvalidRequest, match="takes no such field") as caught:
        generate("a fox", model=NEW, **given)
    assert "Did you mean" not in str(caught.value)


def test_the_form_draws_a_field_whose_name_has_blanks(fetching: FakeQueue) -> None:
    fetching.schemas[NEW] = openapi(NEW, {**ODD, "a b": {"type": "string"}})
    panel = ImagenWidget(prompt="a fox", timer=quiet_timer())
    panel.model.value = NEW

    classes = panel.fields["a b"]._dom_classes
    panel.fields["a b"].value = "x"
    asyncio.run(panel.generate())
    panel.close()
    assert not [name for name in classes if len(name.split()) != 1]
    assert [job.arguments for job in fetching.jobs.values()] == [{"prompt": "a fox", "a b": "x"}]


def test_lists_and_objects_can_be_typed_for_a_model_that_nobody_knows(
    interfaces: Interfaces,
) -> None:
    sent = typed(interfaces, """--loras='[{"path": "x"}]' --look='so [so' --steps=3""", model=NEW)
    cell = f"%%imagen_sweep --dry-run -m {NEW}\nsteps = 3 || 4\nself = true || so so\n---\na fox"
    rows = interfaces.shell.run_cell(cell).result

    assert sent == {"loras": [{"path": "x"}], "look": "so [so", "steps": 3}
    given = [{"steps": steps, "self": each} for steps in (3, 4) for each in (True, "so so")]
    assert [row.arguments() for row in rows] == [{"prompt": "a fox", **each} for each in given]


def test_a_word_or_json_may_stand_in_the_form_where_a_field_takes_either(
    fetching: FakeQueue,
) -> None:
    fetching.schemas[NEW] = openapi(NEW, ODD)
    panel = ImagenWidget(prompt="a fox", timer=quiet_timer())
    panel.model.value = NEW

    for text, value in (("auto", "auto"), ("5", 5), ('"5"', "5")):
        panel.fields["level"].value = text
        asyncio.run(panel.generate())
        assert list(fetching.jobs.values())[-1].arguments == {"prompt": "a fox", "level": value}
    panel.fields["level"].value = "[1,"
    assert panel.generate_button.disabled
    panel.close()


@pytest.mark.parametrize("text", ['{"a": NaN}', "[1e999]"])
def test_json_that_no_server_reads_is_refused(
    interfaces: Interfaces, fetching: FakeQueue, text: str
) -> None:
    fetching.schemas[NEW] = openapi(NEW, ODD)

    with pytest.raises(InvalidRequest, match=r"^weights: .* Use a value that JSON can hold"):
        generate("a fox", model=NEW, weights=text)
    assert fetching.posts == 0


WRONG_DEFAULTS: Json = {
    "prompt": {"type": "string"},
    "steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": "many"},
    "scale": {"type": "number", "minimum": 0, "maximum": 1, "default": [1]},
    "count": {"type": "integer", "minimum": 1, "maximum": 4, "default": 2.5},
    "size": {"type": "integer", "minimum": 512, "maximum": 2048, "default": 64},
    "brush": {"type": "string", "enum": ["wet", "dry"], "default": "DRY"},
    "turbo": {"type": "boolean", "default": "yes"},
}


def test_a_default_that_its_own_schema_excludes_is_no_default_and_the_form_is_drawn(
    fetching: FakeQueue, capfd: pytest.CaptureFixture[str]
) -> None:
    fetching.schemas[NEW] = openapi(NEW, WRONG_DEFAULTS)
    panel = ImagenWidget(prompt="a fox", timer=quiet_timer())
    panel.model.value = NEW
    (model,) = models(NEW)

    defaults = {field.name: field.default for field in model.fields if field.default is not None}
    assert defaults == {"brush": "dry", "turbo": True}
    assert set(panel.fields) == set(WRONG_DEFAULTS)
    panel.fields["steps"].value = 20
    asyncio.run(panel.generate())
    panel.close()
    assert [job.arguments for job in fetching.jobs.values()] == [{"prompt": "a fox", "steps": 20}]
    assert "Traceback" not in capfd.readouterr().err


# ------------------------------------------------------------------------ schema servers that fail


@pytest.mark.slow
def test_a_schema_server_that_hangs_costs_its_time_once(
    interfaces: Interfaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/{{endpoint}}"
        monkeypatch.setenv("IMAGEN_SCHEMAS", address)
        monkeypatch.setattr("imagen_widget._providers.fal._DESCRIBE_SECONDS", 0.5)
        began = time.monotonic()
        generate("a red fox", model=NEW, quiet=True, brush="moist")
        assert time.monotonic() - began < 20  # it hangs for ever
        generate("a red fox", model=NEW, quiet=True, brush="moist")
        server.setblocking(False)
        server.accept()[0].close()
        with pytest.raises(BlockingIOError):
            server.accept()
    assert interfaces.queue.posts == 2


def with_paths(paths: object) -> Reply:
    return Reply(200, {**openapi(NEW, NEW_FIELDS), "paths": paths})


def with_properties(properties: object) -> Reply:
    document = openapi(NEW, NEW_FIELDS)
    document["components"]["schemas"]["Input"]["properties"] = properties
    return Reply(200, document)


LOOP = {"$ref": "#/components/schemas/Input/properties/brush"}
BAD_SERVERS: dict[str, Scripted] = {
    "down": Break.REFUSED,
    "lost": Break.LOST_ANSWER,
    "cut short": Break.CUT_SHORT,
    "an error": Reply(500, {"detail": "internal"}),
    "a page": page(),
    "elsewhere": Reply(302, b"", {"location": "http://169.254.169.254/latest/"}),
    "huge": Reply(200, b'{"openapi": "' + b"x" * 3_000_000 + b'"}'),
    "endless": Reply(200, b" " * 100_000, every=0.001),
    "packed badly": Reply(200, b"no gzip", {"content-encoding": "gzip"}),
    "deep": Reply(200, b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "a number": Reply(200, b"1e999"),
    "not utf-8": Reply(200, b'{"\xff": 1}'),
    "no paths": with_paths([]),
    "another model's": with_paths({"/other/model": {"post": {"requestBody": 7}}}),
    "no properties": with_properties(["prompt"]),
    "a loop": with_properties({**NEW_FIELDS, "brush": LOOP, "wetness": {"allOf": [LOOP] * 9}}),
    "odd names": with_properties({"": {}, "__class__": {}, "a\nb": {}, "x" * 999: {}}),
    "thousands of fields": with_properties({f"field_{n}": {} for n in range(5000)}),
}


@pytest.mark.parametrize("server", BAD_SERVERS)
def test_a_schema_server_that_is_huge_or_hostile_is_asked_once_and_generating_goes_on(
    fetching: FakeQueue, server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    fetching.always("schema", BAD_SERVERS[server])
    del fetching.schemas[NEW]
    for _ in range(2):
        generate("a red fox", model=NEW, quiet=True)
    assert (fetching.posts, fetching.count("schema")) == (2, 1)
    (shown,) = models(NEW)
    assert NEW in f"{shown!r} {models(NEW)!r} {shown._repr_mimebundle_()}"
    panel = ImagenWidget(prompt="a red fox", timer=quiet_timer())
    panel.model.value = NEW
    asyncio.run(panel.generate(seed=None))
    panel.close()
    assert [job.wish for job in fetching.jobs.values()] == ["a red fox"] * 3
    assert "Traceback" not in capfd.readouterr().err


def test_a_schema_that_lies_is_overruled_by_strict_false(fetching: FakeQueue) -> None:
    lie = {"prompt": {"type": "string"}, "brush": {"type": "string", "enum": ["none"]}}
    fetching.always("schema", Reply(200, openapi(NEW, lie, ("prompt", "brush"))))
    with pytest.raises(InvalidRequest, match="brush"):
        generate("a red fox", model=NEW, quiet=True, brush="wet")
    assert fetching.posts == 0
    generate("a red fox", model=NEW, quiet=True, brush="wet", strict=False)
    (job,) = fetching.jobs.values()
    assert job.arguments == {"prompt": "a red fox", "brush": "wet"}


# -------------------------------------------------------------------------------------- pictures in

ENDPOINTS: dict[str, tuple[str, bool, str]] = {  # the fields of picture (whether several) and mask
    "fal-ai/flux-pro/kontext": ("image_url", False, ""),
    "fal-ai/flux-1/dev/image-to-image": ("image_url", False, ""),
    "fal-ai/nano-banana/edit": ("image_urls", True, ""),
    "fal-ai/ideogram/v3/edit": ("image_url", False, "mask_url"),
    "fal-ai/gpt-image-1.5/edit": ("image_urls", True, "mask_image_url"),
    "openai/gpt-image-2/edit": ("image_urls", True, "mask_url"),
    "acme/upscale": ("image", False, ""),
    "acme/restyle": ("reference_image_urls", True, ""),
    "acme/fill": ("input_image_url", False, "mask_image_url"),
    "acme/pose": ("control_image_url", False, ""),
}
UPRIGHT = opened(small())
MASK = Image.new("L", UPRIGHT.size)
MASK.paste(255, (3, 4, 20, 12))
SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6  # as a camera saves it that lies on its side


def kinds_of_input(folder: Path) -> dict[str, Any]:
    """Return the same picture in each form that `image=` takes."""
    path = folder / "fox.png"
    path.write_bytes(encoded(UPRIGHT.transpose(Image.Transpose.ROTATE_90), exif=SIDEWAYS))
    made = generate("a red fox", model="flux-dev", quiet=True)
    return {
        "path": path,
        "bytes": encoded(UPRIGHT, "BMP"),
        "PIL": UPRIGHT.copy(),
        "address": ADDRESS,
        "GeneratedImage": made[0],
        "Generation": made,
    }


def pixels(address: str) -> tuple[str, tuple[int, int], bytes]:
    """Return what a data address shows."""
    head, _, data = address.partition(";base64,")
    assert head.startswith("data:image/"), address[:40]
    picture = opened(base64.b64decode(data, validate=True))
    assert Image.MIME[picture.format or ""] == head.removeprefix("data:")
    return picture.mode, picture.size, picture.tobytes()


def shows(address: str, kind: str) -> bool:
    """Return True if the picture arrived as it was given."""
    whole = ("RGB", UPRIGHT.size, UPRIGHT.tobytes())
    return address == ADDRESS if kind == "address" else pixels(address) == whole


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_kind_of_picture_arrives_in_the_model_s_own_field_from_each_interface(
    interfaces: Interfaces, fetching: FakeQueue, endpoint: str, tmp_path: Path
) -> None:
    field, several, mask_field = ENDPOINTS[endpoint]
    prompt = "" if endpoint == "acme/upscale" else "in snow"
    if endpoint not in BUNDLED:
        own = {"type": "array", "items": PICTURE} if several else PICTURE
        text = {"prompt": {"type": "string"}} if prompt else {}
        mask = {mask_field: PICTURE} if mask_field else {}
        needed = (*text, field)
        fetching.schemas[endpoint] = openapi(endpoint, {**text, field: own, **mask}, needed)
    kinds = kinds_of_input(tmp_path)
    masks = {"mask": MASK} if mask_field else {}
    expected = {field, mask_field, "prompt" if prompt else ""} - {""}

    for interface in INTERFACES:
        for kind, value in kinds.items():
            body = interfaces.send(interface, endpoint, prompt, {}, {"image": value, **masks})
            assert body.keys() == expected, (interface, kind)
            (arrived,) = body[field] if several else [body[field]]
            assert shows(arrived, kind), (interface, kind)
            if mask_field:
                assert pixels(body[mask_field]) == ("L", MASK.size, MASK.tobytes())
        if several:
            images = {"images": list(kinds.values())}
            body = interfaces.send(interface, endpoint, prompt, {}, images)
            found = [shows(a, kind) for a, kind in zip(body[field], kinds, strict=True)]
            assert found == [True] * len(kinds), interface
    assert fetching.refusals == []


def test_twenty_jobs_with_the_same_picture_encode_it_once(interfaces: Interfaces) -> None:
    data = encoded(UPRIGHT.rotate(180), "BMP")  # in no other test: it would be prepared already
    saved = mock.patch.object(Image.Image, "save", autospec=True, side_effect=Image.Image.save)
    coded = mock.patch.object(base64, "b64encode", wraps=base64.b64encode)
    with saved as saves, coded as codings:
        jobs = [start(f"in snow {n}", model="kontext", image=data) for n in range(20)]
        for job in jobs:
            job.result(timeout=30)
    assert (saves.call_count, codings.call_count) == (1, 1)
    sent = [job.arguments["image_url"] for job in interfaces.queue.jobs.values()]
    assert (len(sent), len(set(sent))) == (20, 1)


OTHER = Image.new("L", (5, 5), "white")
REFUSED: dict[str, tuple[str, Callable[[Path], Json], str]] = {
    "no picture": ("kontext", lambda folder: {"image": folder / "notes.txt"}, "not a picture"),
    "no pictures": ("recraft-3", lambda _: {"image": small()}, "takes no pictures"),
    "too many": ("kontext", lambda _: {"images": [small(), UPRIGHT]}, "takes one picture"),
    "other mask": ("ideogram-3-edit", lambda _: {"image": small(), "mask": OTHER}, "as large as"),
    "mask alone": ("gpt-image-2-edit", lambda _: {"mask": MASK}, "no picture for it"),
    "no mask": ("kontext", lambda _: {"image": small(), "mask": MASK}, "takes no mask"),
    "http": ("kontext", lambda _: {"image": "http://pictures.test/fox.png"}, "not encrypted"),
}


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("case", REFUSED)
def test_a_picture_that_cannot_be_sent_is_one_line_and_nothing_is_sent(
    interfaces: Interfaces, interface: str, case: str, tmp_path: Path
) -> None:
    model, given, says = REFUSED[case]
    (tmp_path / "notes.txt").write_text("not a picture at all")
    with pytest.raises(ImagenError) as raised:
        interfaces.send(interface, BUNDLED_BY_ALIAS[model], "in snow", {}, given(tmp_path))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert interfaces.queue.posts == 0
    assert (list(History()), History().pending()) == ([], [])
