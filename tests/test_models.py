"""What is known of a model: its fields, the check by them, the price, and where it is from."""

import copy
import json
import pickle
import random
import re
import statistics
import subprocess
import sys
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from imagen_widget import Studio
from imagen_widget._models import Catalogue, Field, Model, Models, read_schema, short_name
from imagen_widget.errors import InvalidRequest
from tests.schemas import described, document, document_of, random_document
from tests.tools import bundle_models

Json = dict[str, Any]
CATALOGUE = Catalogue(None)
BUNDLED = CATALOGUE.search()
ADDRESS = "https://example.com/fox.png"

# The rows of the table that the bundled data were made from.
_TABLE = """
fal-ai/nano-banana fal-ai/nano-banana/edit fal-ai/nano-banana-2 fal-ai/nano-banana-2/edit
fal-ai/nano-banana-pro fal-ai/nano-banana-pro/edit fal-ai/flux/dev fal-ai/flux-pro/kontext
fal-ai/flux-pro/kontext/max/multi fal-ai/flux-2 fal-ai/flux-2/edit fal-ai/flux-2-pro
fal-ai/qwen-image fal-ai/qwen-image-edit-2511 fal-ai/bytedance/seedream/v4/text-to-image
fal-ai/bytedance/seedream/v4/edit fal-ai/bytedance/seedream/v4.5/text-to-image
fal-ai/bytedance/seedream/v4.5/edit fal-ai/ideogram/v3 fal-ai/ideogram/v3/edit
fal-ai/recraft/v3/text-to-image fal-ai/stable-diffusion-v35-large
fal-ai/gpt-image-1/text-to-image fal-ai/gpt-image-1.5 fal-ai/gpt-image-1.5/edit
openai/gpt-image-2 openai/gpt-image-2/edit xai/grok-imagine-image
gpt-image-1 gpt-image-1.5 gpt-image-2
"""
LIVING = _TABLE.split()


def known(name: str) -> Model:
    model = CATALOGUE.known(CATALOGUE.resolve(name, "fal"))
    assert model is not None
    return model


each_model = pytest.mark.parametrize("model", BUNDLED, ids=lambda model: model.id)

# ----------------------------------------------------------------------------------- bundled


def test_the_bundled_file_is_what_the_script_makes_of_its_facts() -> None:
    assert bundle_models.FILE.read_text("utf-8") == bundle_models.bundle()


def test_the_living_models_are_bundled_and_imagen_is_there_and_marked_as_ended() -> None:
    status = {model.id: model.status for model in BUNDLED}

    assert [status.get(name) for name in LIVING] == ["active"] * len(LIVING)
    assert [m.alias for m in BUNDLED if m.status == "retired"] == [
        "imagen4",
        "imagen4-fast",
        "imagen4-ultra",
    ]


@each_model
def test_a_bundled_model_is_sound(model: Model) -> None:
    names = [field.name for field in model.fields]
    roles = [field.role for field in model.fields if field.role]

    assert model.source == "bundled"
    assert re.fullmatch(r"2026-\d\d-\d\d", model.as_of)
    assert model.price is not None
    assert model.price.text.startswith("$")
    assert len(names) == len(set(names))
    assert len(roles) == len(set(roles))
    assert "prompt" in roles
    assert hash(model) == hash(model)
    for field in model.fields:
        assert field.title
        assert field.help
        if field.default is not None:
            assert field.check(field.default) == field.default
    if model.edits_with:
        editor = CATALOGUE.known(model.edits_with)
        assert editor is not None
        assert editor.role("picture") is not None


@each_model
def test_a_retired_model_names_a_living_one_that_the_account_serves(model: Model) -> None:
    if model.status == "active":
        assert not model.successor
        return
    assert model.note
    for account in ("fal", "kkiai", "openai"):
        name = model.successor_at(account)
        successor = CATALOGUE.known(CATALOGUE.resolve(name, account))
        assert successor is not None
        assert successor.status == "active"
        assert account in successor.providers


def test_kkiai_is_offered_what_it_documents_and_fal_the_newer_one() -> None:
    imagen = known("imagen4")

    assert imagen.successor_at("kkiai") == "nano-banana"
    assert imagen.successor_at("fal") == imagen.successor == "nano-banana-2"


@pytest.mark.parametrize("account", ["fal", "kkiai", "openai", "demo"])
def test_no_two_models_of_an_account_share_a_name(account: str) -> None:
    served = [model for model in BUNDLED if account in model.providers]
    names = [name for model in served for name in {model.alias, model.id}]

    assert len(names) == len(set(names))


@pytest.mark.slow
def test_importing_reads_no_data_and_the_first_use_does() -> None:
    code = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: event == 'open' and opened.append(str(args[0])))\n"
        "from imagen_widget._models import Catalogue\n"
        "assert not [n for n in opened if n.endswith('bundled.json')], opened\n"
        "Catalogue(None).search('fox')\n"
        "assert [n for n in opened if n.endswith('bundled.json')]\n"
        "heavy = {'httpx', 'PIL', 'IPython', 'ipywidgets', 'numpy', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# -------------------------------------------------------------------------------- the reader


@each_model
def test_the_reader_finds_in_a_document_what_the_model_has(model: Model) -> None:
    found = read_schema(json.dumps(document_of(model)).encode(), model.id)

    assert found.source == "fetched"
    assert [f.name for f in found.fields] == [f.name for f in model.fields]
    for ours, theirs in zip(model.fields, found.fields, strict=True):
        assert theirs.required == ours.required
        assert theirs.help == ours.help
        assert theirs.default == ours.default
        if ours.text_size:
            continue  # a pattern is not understood, and so is a text
        assert (theirs.kind, theirs.allowed) == (ours.kind, ours.allowed), ours.name
        assert (theirs.low, theirs.high, theirs.max_items) == (ours.low, ours.high, ours.max_items)
        assert theirs.custom_size == ours.custom_size
        assert theirs.hidden == ours.hidden
    if "ideogram" not in model.id:  # whose first pictures are for style, which no schema says
        roles = {f.name: f.role for f in model.fields if not f.text_size}
        assert {f.name: f.role for f in found.fields if f.name in roles} == roles


def test_the_reader_loses_no_required_field_of_400_made_up_documents() -> None:
    dice = random.Random(20261126)
    for number in range(400):
        made, required = random_document(dice, f"made-up/model-{number}")
        model = read_schema(made, f"made-up/model-{number}")

        assert {f.name for f in model.fields if f.required} == required
        assert isinstance(json.dumps([f.default for f in model.fields]), str)
        for field in model.fields:
            assert field.takes()


def test_a_flux_document_is_read_by_its_path_with_its_hints() -> None:
    properties: dict[str, Any] = {
        "prompt": {"type": "string"},
        "image_size": {
            "anyOf": [
                {"$ref": "#/components/schemas/ImageSize"},
                {"enum": ["square_hd", "landscape_16_9"], "type": "string"},
            ],
            "default": "square_hd",
            "title": "Image Size",
        },
        "steps": {"type": "integer", "exclusiveMinimum": 0, "maximum": 50},
        "n": {"$ref": "#/components/schemas/Count", "default": 2, "title": "Beside the reference"},
        "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "strength": {"type": "number", "ui": {"important": True}},
        "debug": {"type": "boolean", "ui": {"hidden": True}},
        "photo": {"type": "string", "max_file_size": 1000, "x-fal": {"min_width": 64}},
        "control": {"anyOf": [{"type": "string", "_fal_ui_field": "image"}, {"type": "null"}]},
        "loras": {"type": "array", "items": {"$ref": "#/components/schemas/Lora"}},
    }
    made = document("owner/app", properties, ["prompt"])
    made["components"]["schemas"]["Count"] = {"type": "integer", "minimum": 1, "title": "Count"}
    made["paths"]["/owner"] = {"post": {"requestBody": {"content": {"application/json": {}}}}}

    model = read_schema(made, "owner/app")
    kinds = {f.name: f.kind for f in model.fields}

    assert list(kinds) == list(properties)
    assert kinds == {
        "prompt": "text",
        "image_size": "size",
        "steps": "whole",
        "n": "whole",
        "seed": "whole",
        "strength": "number",
        "debug": "switch",
        "photo": "picture",
        "control": "picture",
        "loras": "json",
    }
    field = {f.name: f for f in model.fields}
    assert (field["steps"].low, field["steps"].high) == (1, 50)
    assert (field["n"].title, field["n"].default, field["n"].low) == ("Beside the reference", 2, 1)
    assert field["image_size"].custom_size
    assert field["photo"].limits is not None
    assert (field["photo"].limits.max_bytes, field["photo"].limits.min_width) == (1000, 64)
    assert {f.role: f.name for f in model.fields if f.role} == {
        "prompt": "prompt",
        "size": "image_size",
        "count": "n",
        "seed": "seed",
    }
    assert [f.name for f in model.main_fields()] == ["prompt", "image_size", "n", "strength"]
    assert "debug" not in repr(model._repr_mimebundle_())


def test_a_page_of_fals_model_search_is_read_too() -> None:
    record = {
        "endpoint_id": "owner/app",
        "openapi": document("owner/app", {"image_url": {"type": "string"}}, ["image_url"]),
    }
    model = read_schema({"models": [{"endpoint_id": "other/app"}, record]}, "owner/app")

    assert model.source == "fetched"
    assert model.role("picture") == model.fields[0]
    assert model.role("prompt") is None


_WORDS = """
paths post requestBody content schema properties required enum anyOf allOf $ref type items default
x-fal-order-properties ui x-fal prompt image_url
"""
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(_WORDS.split()) | st.text(max_size=6),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@given(json_values | st.binary(max_size=80) | st.text(max_size=80))
@settings(max_examples=300)
def test_nothing_makes_the_reader_raise(value: Any) -> None:
    found = read_schema(value, "owner/app")
    around = document("owner/app", {"prompt": value, "odd": {"anyOf": [value, value]}}, ["prompt"])
    nested = read_schema(around, "owner/app")

    assert found.id == "owner/app"
    assert [f.name for f in nested.fields] == ["prompt", "odd"]


@pytest.mark.parametrize("schema", [{"$ref": "#/components/schemas/Gone"}, {"default": 1}, {}])
def test_a_common_number_without_a_type_is_a_number_all_the_same(schema: Json) -> None:
    model = described({"num_images": schema, "seed": schema}, [])

    checked = model.check({"num_images": "2", "seed": np.int64(7)})

    assert checked.arguments == {"num_images": 2, "seed": 7}
    assert (checked.count, checked.seed) == (2, 7)


def hostile_documents() -> dict[str, Any]:
    ring: dict[str, Any] = {"a": {"allOf": [{"$ref": "#/components/schemas/b"}] * 30}}
    ring |= {"b": {"anyOf": [{"$ref": "#/components/schemas/a"}] * 30, "allOf": [ring["a"]] * 30}}
    circular = document("o/a", {"prompt": {"$ref": "#/components/schemas/a"}}, ["prompt"])
    circular["components"]["schemas"] |= ring
    laughs = document("o/a", {"prompt": {"$ref": "#/components/schemas/l9"}}, ["prompt"])
    for i in range(10):
        inner = [{"$ref": f"#/components/schemas/l{i - 1}"}] * 10
        laughs["components"]["schemas"][f"l{i}"] = {"allOf": inner} if i else {"type": "string"}
    many = {f"field_{i}": {"type": "string"} for i in range(20_000)}
    wide = document("o/a", many | {"prompt": {"type": "string"}}, ["prompt"])
    needy = document("o/a", {}, ["prompt", *(f"field_{i}" for i in range(50_000))])
    words = {"enum": [str(i) for i in range(50_000)], "type": "string"}
    long = document("o/a", {"prompt": words, "other": {"description": "x" * 900_000}}, ["prompt"])
    deep: Any = {"type": "string"}
    for _ in range(600):
        deep = {"anyOf": [deep, {"type": "integer"}]}
    return {
        "a ring of references": circular,
        "references that multiply": laughs,
        "twenty thousand fields": wide,
        "fifty thousand words": long,
        "fifty thousand required fields": needy,
        "six hundred levels": document("o/a", {"prompt": deep}, ["prompt"]),
    }


@pytest.mark.parametrize(("name", "hostile"), hostile_documents().items())
def test_a_hostile_document_costs_little_and_keeps_the_prompt(name: str, hostile: Any) -> None:
    began = time.thread_time()
    model = read_schema(hostile, "o/a")

    assert time.thread_time() - began < 2, name
    assert next(f.name for f in model.fields if f.required) == "prompt"
    assert len(model.fields) <= 1_000


@pytest.mark.parametrize(
    "document",
    [b"", b"<html>", b"[" * 100_000, b'{"a":' * 50_000, b"1" * 9000, b" " * (2 << 20), b"\xff", 5],
)
def test_what_is_not_a_document_gives_a_model_of_which_nothing_is_known(document: object) -> None:
    model = read_schema(document, "owner/app")

    assert (model.source, model.fields) == ("none", ())
    assert model.check({"prompt": "a fox", "anything": [1]}).arguments == {
        "prompt": "a fox",
        "anything": [1],
    }


NUMBERS: list[tuple[Json, str, list[object], list[object]]] = [
    (
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "a number above 0 and below 1",
        [0.001, "0.5", 0.999],
        [0, 0.0, 1, "1", -1, 2],
    ),
    (
        {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1},
        "a number above 0 and up to 1",
        [0.5, 1],
        [0, 1.5],
    ),
    (
        {"type": "number", "minimum": 1, "maximum": 2, "exclusiveMaximum": False},
        "a number from 1 to 2",
        [1, 2],
        [0.99, 2.01],
    ),
    ({"type": "number", "minimum": 3, "exclusiveMinimum": 0}, "a number from 3", [3], [2.9]),
    ({"type": "number", "minimum": 3, "exclusiveMinimum": 3}, "a number above 3", [3.1], [3]),
    ({"type": "number", "exclusiveMaximum": 0}, "a number below 0", [-1], [0, 1]),
    (
        {"type": "integer", "exclusiveMinimum": 0, "maximum": 9, "exclusiveMaximum": True},
        "a whole number from 1 to 8",
        [1, 8],
        [0, 9],
    ),
    (
        {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
        "a whole number from 0 to 4294967295",
        [2**32 - 1],
        [2**32],
    ),
    (
        {"type": "integer", "minimum": 64, "multipleOf": 8},
        "a whole number from 64, a multiple of 8",
        [64, "72", 80.0],
        [65, 8, 64.5],
    ),
    ({"type": "number", "exclusiveMinimum": 1, "maximum": 1}, "a number", [0, 1, 2], []),
    ({"type": "number", "exclusiveMinimum": True}, "a number", [0], []),
]


@pytest.mark.parametrize(("schema", "takes", "taken", "refused_"), NUMBERS)
def test_a_number_keeps_the_ends_that_its_schema_leaves_out(
    schema: Json, takes: str, taken: list[object], refused_: list[object]
) -> None:
    model = read_schema(document("o/a", {"cfg": schema, "any": {}}, []), "o/a")
    field = model.field("cfg")
    assert field is not None

    assert field.takes() == takes
    assert takes in repr(model._repr_mimebundle_())
    for value in taken:
        assert model.check({"cfg": value}).arguments == {"cfg": float(str(value))}
    for value in refused_:
        with pytest.raises(InvalidRequest, match=f"^cfg: .*is not allowed. Use {takes}"):
            model.check({"cfg": value})
        assert "cfg" in model.check({"cfg": value}, strict=False).arguments


TEXTS: list[tuple[Json, str, list[object], list[object]]] = [
    (
        {"type": "string", "minLength": 2, "maxLength": 3},
        "text of 2 to 3 characters",
        ["ab", "äöü", "🦊🦊"],
        ["a", "abcd", ""],
    ),
    (
        {"anyOf": [{"type": "string", "maxLength": 1}, {"type": "null"}]},
        "text of at most 1 character",
        ["", "a"],
        ["ab"],
    ),
    ({"type": "string", "minLength": 1}, "text of at least 1 character", ["a"], [""]),
    ({"type": "string", "minLength": 5, "maxLength": 4}, "text", ["", "abcdef"], []),
    ({"type": "string", "minLength": -1, "maxLength": 1e99}, "text", ["", "a"], []),
    ({"type": "string", "minLength": [], "maxLength": True}, "text", ["", "a"], []),
]


@pytest.mark.parametrize(("schema", "takes", "taken", "refused_"), TEXTS)
def test_a_text_is_as_long_as_its_schema_says_and_is_never_repeated(
    schema: Json, takes: str, taken: list[object], refused_: list[object]
) -> None:
    words = {"type": "array", "items": schema}
    model = read_schema(document("o/a", {"code": schema, "codes": words}, []), "o/a")
    field = model.field("code")
    assert field is not None

    assert field.takes() == takes
    for value in taken:
        assert model.check({"code": value}).arguments == {"code": value}
    for value in refused_:
        for name, given_ in (("code", value), ("codes", [value])):
            if name == "codes" and "anyOf" in schema:
                continue  # what is nested is the server's business
            with pytest.raises(InvalidRequest) as caught:
                model.check({name: given_})
            length = len(str(value))
            says = f"{name}: text of length {length} is not allowed. Use {takes}."
            assert str(caught.value) == says


# --------------------------------------------------------------------------- values of fields

WHOLE = Field("n", "whole", low=1, high=4)
SIZE = Field("image_size", "size", allowed=("square_hd", "auto"), custom_size=True)
ACCEPTED: list[tuple[Field, object, object]] = [
    (WHOLE, np.int64(3), 3),
    (WHOLE, 2.0, 2),
    (WHOLE, np.float32(2), 2),
    (WHOLE, Decimal("2.00"), 2),
    (WHOLE, Fraction(4, 2), 2),
    (WHOLE, " 2 ", 2),
    (WHOLE, "2.0", 2),
    (Field("x", "number"), "7.5", 7.5),
    (Field("x", "number"), np.float64(7.5), 7.5),
    (Field("x", "number", high=0.1), np.float32(0.1), 0.1),  # as a column of 32 bits has it
    (Field("x", "number"), 7, 7),
    (Field("s", "switch"), np.bool_(True), True),
    (Field("s", "switch"), "no", False),
    (Field("s", "switch"), 1, True),
    (Field("c", "choice", allowed=("1K", "2K")), "2k", "2K"),
    (Field("c", "choice", allowed=("1", "2")), 2, "2"),
    (Field("c", "choice", allowed=("1", "2")), np.float64(2), "2"),
    (Field("c", "choice", allowed=(1, 2)), "2", 2),
    (Field("c", "choice", allowed=(1.5, 2.0)), 2, 2.0),
    (Field("c", "choice", allowed=("1.0", "2.0")), np.int64(2), "2.0"),
    (Field("c", "choice", allowed=("jpeg", "png")), "jpg", "jpeg"),
    (SIZE, "Square_HD", "square_hd"),
    (SIZE, "640x480", {"width": 640, "height": 480}),
    (SIZE, (640, 480), {"width": 640, "height": 480}),
    (SIZE, {"width": 640.0, "height": np.int64(480)}, {"width": 640, "height": 480}),
    (Field("s", "size", text_size=True), (640, 480), "640x480"),
    (Field("s", "size", allowed=("1024x1024",)), (1024, 1024), "1024x1024"),
    (Field("p", "picture"), ADDRESS, ADDRESS),
    (Field("p", "picture"), f"sha256:{'a' * 64}", f"sha256:{'a' * 64}"),
    (Field("p", "pictures"), ADDRESS, [ADDRESS]),
    (Field("w", "words"), "red", ["red"]),
    (Field("w", "words"), ("red", "blue"), ["red", "blue"]),
    (Field("w", "words"), '["red", "blue"]', ["red", "blue"]),
    (Field("j", "json"), {"a": np.arange(3)[1], "b": (1.0, None)}, {"a": 1, "b": [1.0, None]}),
    (Field("j", "json"), '[{"path": "x"}]', [{"path": "x"}]),
    (Field("t", "text"), " as typed ", " as typed "),
]
REFUSED: list[tuple[Field, object, str]] = [
    (WHOLE, 5, "from 1 to 4"),
    (WHOLE, 0, "from 1 to 4"),
    (WHOLE, 2.5, "from 1 to 4"),
    (WHOLE, True, "from 1 to 4"),
    (WHOLE, np.bool_(True), "from 1 to 4"),
    (WHOLE, "two", "from 1 to 4"),
    (WHOLE, "+-2", "from 1 to 4"),
    (WHOLE, "9" * 5000, "from 1 to 4"),
    (WHOLE, "٣", "from 1 to 4"),
    (WHOLE, float("nan"), "from 1 to 4"),
    (WHOLE, None, "from 1 to 4"),
    (Field("x", "number", low=0), float("inf"), "a number from 0"),
    (Field("x", "number", high=9), 10, "a number up to 9"),
    (Field("s", "switch"), "perhaps", "True or False"),
    (Field("s", "switch"), 2, "True or False"),
    (Field("c", "choice", allowed=("a", "b")), True, "one of a, b"),
    (SIZE, "16:9", "1280x720"),
    (SIZE, (0, 480), "1280x720"),
    (SIZE, {"width": 5}, "1280x720"),
    (Field("s", "size", allowed=("auto",)), (5, 5), "one of auto"),
    (Field("p", "picture"), "http://example.com/x.png", "https"),
    (Field("p", "picture"), Path("x"), "https"),
    (Field("p", "pictures", max_items=1), [ADDRESS] * 2, "at most 1"),
    (Field("w", "words", allowed=("a",)), ["b"], "list of a"),
    (Field("w", "words"), 5, "list of strings"),
    (Field("w", "words"), np.array("a"), "list of strings"),
    (Field("w", "words"), np.array([["a"], ["b"]]), "list of strings"),
    (Field("t", "text"), 5, "not text"),
    (Field("j", "json"), object(), "JSON can hold"),
    (Field("j", "json"), float("nan"), "JSON can hold"),
    (Field("j", "json"), {(1, 2): 3}, "JSON can hold"),
    (Field("j", "json"), '{"a": }', "line 1, column 7"),
]


@pytest.mark.parametrize(("field", "value", "sent"), ACCEPTED)
def test_a_value_goes_out_in_the_models_own_spelling(
    field: Field, value: object, sent: object
) -> None:
    found = field.check(value)

    assert found == sent
    assert type(found) is type(sent)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(("field", "value", "allowed"), REFUSED)
def test_an_excluded_value_names_its_field_and_what_is_allowed(
    field: Field, value: object, allowed: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        field.check(value)

    assert caught.value.field == field.name
    assert str(caught.value).startswith(f"{field.name}: ")
    assert allowed in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_long_choice_names_the_nearest_word_first() -> None:
    style = known("recraft-3").field("style")
    assert style is not None

    with pytest.raises(InvalidRequest, match=r"Did you mean realistic_image/hdr\? .*in all"):
        style.check("realistic_image/hdri")


@pytest.mark.parametrize(("value", "kind"), [(7, "an int"), ([], "a list")])
def test_the_type_of_what_is_not_a_text_has_its_article(value: object, kind: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^prompt: it is {kind}, not text"):
        Field("prompt", "text").check(value)
    with pytest.raises(InvalidRequest, match=f"^model: it is {kind}, not text"):
        Catalogue(None).resolve(value)


def test_a_text_that_is_refused_is_not_repeated() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Field("prompt", "text").check(Path("secret plan"))

    assert str(caught.value) == f"prompt: it is a {type(Path()).__name__}, not text. Give a str."


def test_lax_checks_let_excluded_values_through_but_nothing_that_json_cannot_hold() -> None:
    assert WHOLE.check(9, strict=False) == 9
    assert Field("c", "choice", allowed=("a",)).check("z", strict=False) == "z"
    with pytest.raises(InvalidRequest):
        WHOLE.check(object(), strict=False)


# ------------------------------------------------------------------- the check of a request

TRANSLATED: list[tuple[str, dict[str, object], dict[str, object]]] = [
    ("flux-dev", {"aspect_ratio": "16:9"}, {"image_size": "landscape_16_9"}),
    ("flux-dev", {"aspect_ratio": "1:1"}, {"image_size": "square_hd"}),
    ("flux-dev", {"aspect_ratio": "2:3"}, {"image_size": "portrait_4_3"}),
    ("seedream-4", {"aspect_ratio": "auto"}, {"image_size": "auto"}),
    ("seedream-4", {"resolution": "2k"}, {"image_size": "auto_2K"}),
    ("gpt-image-1.5", {"aspect_ratio": "16:9"}, {"image_size": "1536x1024"}),
    ("grok-image", {"resolution": "2K"}, {"resolution": "2k"}),
    ("nano-banana-2", {"safety_tolerance": 5}, {"safety_tolerance": "5"}),
    ("nano-banana-2", {"resolution": "0.5k"}, {"resolution": "0.5K"}),
    ("flux-2-pro", {"num_images": 1}, {}),
]


@pytest.mark.parametrize(("name", "given_", "sent"), TRANSLATED)
def test_the_common_names_go_to_the_field_that_means_the_same(
    name: str, given_: dict[str, object], sent: dict[str, object]
) -> None:
    checked = known(name).check({"prompt": "a fox", **given_})

    assert checked.arguments == {"prompt": "a fox", **sent}
    assert bool(checked.notes) == (set(sent) != set(given_))
    assert all(name in str(checked.notes) for name in set(given_) - set(sent))


def test_openais_models_take_the_count_as_n_and_a_ratio_as_a_size() -> None:
    model = CATALOGUE.known("gpt-image-2")
    assert model is not None

    checked = model.check({"prompt": "a fox", "num_images": "3", "aspect_ratio": "16:9"})
    assert checked.arguments == {"prompt": "a fox", "size": "2048x1152", "n": 3}
    assert checked.count == 3
    assert model.check({"prompt": "a", "size": (1280, 720)}).arguments["size"] == "1280x720"


@pytest.mark.parametrize(
    ("name", "given_", "says"),
    [
        ("flux-2-pro", {"num_images": 2}, "It takes prompt, image_size"),
        ("recraft-3", {"seed": 5}, "It takes prompt, image_size, style"),
        ("flux-dev", {"resolution": "2K"}, "It takes prompt, image_size"),
        ("flux-dev", {"aspect_ratio": "wide"}, "'wide' is not a ratio. Write it like 16:9."),
        ("flux-dev", {"aspect_ratio": 1.5}, "aspect_ratio: 1.5 is not a ratio."),
        ("recraft-3", {"aspect_ratio": (16, 9)}, "(16, 9) is not a ratio."),
        ("gpt-image-1", {"aspect_ratio": ""}, "aspect_ratio: '' is not a ratio."),
        ("gpt-image-1", {"aspect_ratio": "16:0"}, "'16:0' is not a ratio."),
        ("seedream-4", {"resolution": "8K"}, "'8K' is not allowed. Use one of 2K, 4K."),
        ("flux-dev", {"ar": "wide"}, "Did you mean aspect_ratio?"),
        ("flux-dev", {"asspect_ratio": "1:1"}, "Did you mean aspect_ratio?"),
        ("flux-dev", {"model": "x"}, "model: flux-dev takes no such field. It takes prompt"),
        ("flux-dev", {"guidance": 5}, "Did you mean guidance_scale?"),
        ("nano-banana-2", {"enable_websearch": True}, "Did you mean enable_web_search?"),
        ("nano-banana", {"resolution": "2K"}, "It takes prompt, aspect_ratio"),
        ("nano-banana-2", {"modle": "imagen4"}, "Did you mean model?"),
        ("nano-banana-2", {"n": 2}, "Did you mean num_images?"),
        ("flux-dev", {"ar": "16:9"}, "Did you mean aspect_ratio?"),
        ("flux-2-pro", {"n": 2}, "takes no such field. It takes prompt"),
        ("flux-dev", {"aspect_ratio": "1:1", "image_size": "square"}, "given twice"),
        ("flux-dev", {"num_images": 9}, "from 1 to 4"),
        ("kontext", {}, "image_url: kontext needs it. Give image=…"),
        ("nano-banana-edit", {}, "image_urls: nano-banana-edit needs it. Give images=[…]"),
        ("nano-banana-edit", {"image_urls": []}, "image_urls: nano-banana-edit needs it."),
        ("ideogram-3-edit", {"image_url": ADDRESS}, "mask_url: ideogram-3-edit needs it."),
    ],
)  # fmt: skip
def test_what_a_model_does_not_take_is_refused_with_what_it_takes(
    name: str, given_: dict[str, object], says: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        known(name).check({"prompt": "a fox", **given_})

    assert says in str(caught.value)


def test_nothing_is_guessed_for_a_common_name_that_the_model_has_no_field_for() -> None:
    model = described({"image_urls": {"type": "array", "items": {"type": "string"}}}, [])

    with pytest.raises(InvalidRequest, match=r"no such field\. It takes image_urls"):
        model.check({"num_images": 2})


def test_lax_checks_let_unknown_fields_through() -> None:
    given_ = {"prompt": "a fox", "new_field": [1], "num_images": 9, "seed": 3}
    given_ |= {"aspect_ratio": "wide"}
    checked = known("flux-dev").check(given_, strict=False)

    assert checked.arguments == given_
    assert (checked.count, checked.seed) == (9, 3)


@pytest.mark.parametrize(
    ("name", "given_"), [("flux-dev", {"num_images": 5000}), ("o/new", {"n": "5000"})]
)
def test_no_request_is_for_more_pictures_than_a_cap_counts(
    name: str, given_: dict[str, object]
) -> None:
    model = CATALOGUE.known(CATALOGUE.resolve(name, "fal")) or CATALOGUE.unknown(name)

    with pytest.raises(InvalidRequest, match=r"^num_images: 5000 .* Use at most 1000"):
        model.check({"prompt": "a fox", **given_}, strict=False)


def test_a_schema_whose_default_is_a_million_pictures_is_still_usable() -> None:
    fields = {"num_images": {"type": "integer", "default": 10**6}}

    assert read_schema(document("o/a", fields, []), "o/a").check({}).count == 1000


def test_a_prompt_is_wanted_only_by_models_that_require_one() -> None:
    upscaler = read_schema(
        document("o/up", {"image_url": {"type": "string"}}, ["image_url"]), "o/up"
    )

    assert upscaler.check({"prompt": "", "image_url": ADDRESS}).prompt is None
    with pytest.raises(InvalidRequest, match=r"^prompt: o/up takes no prompt. Leave it out"):
        upscaler.check({"prompt": "a fox", "image_url": ADDRESS})
    for prompt in (None, "", " \n"):
        with pytest.raises(InvalidRequest, match=r"^prompt: it is empty"):
            known("flux-dev").check({"prompt": prompt})


def test_the_prompt_goes_to_the_models_own_prompt_field() -> None:
    model = read_schema(
        document("o/a", {"text_prompt": {"type": "string"}}, ["text_prompt"]), "o/a"
    )

    checked = model.check({"prompt": "a fox"})
    assert (checked.arguments, checked.prompt) == ({"text_prompt": "a fox"}, "a fox")


def test_of_an_unknown_model_the_common_names_are_numbers_and_the_rest_passes_as_given() -> None:
    model = CATALOGUE.unknown("somebody/unheard-of")
    checked = model.check(
        {"prompt": "a fox", "num_images": "2", "seed": np.int64(7), "safety_tolerance": 5, "x": "2"}
    )

    assert checked.arguments == {
        "prompt": "a fox",
        "num_images": 2,
        "seed": 7,
        "safety_tolerance": "5",
        "x": "2",
    }
    assert (checked.count, checked.seed) == (2, 7)
    for bad in ({"num_images": 0}, {"x": object()}, {"not a name": 1}, {}):
        for strict in (True, False):
            with pytest.raises(InvalidRequest):
                model.check({"prompt": "a fox" if bad else "", **bad}, strict=strict)


@each_model
def test_whatever_passes_the_check_passes_the_models_own_schema(model: Model) -> None:
    schema = document_of(model)
    body = {"$ref": "#/components/schemas/ModelInput", "components": schema["components"]}
    validator = jsonschema.Draft202012Validator(body)
    dice = random.Random(model.id)
    for _ in range(20):
        chosen = [f for f in model.fields if f.required or dice.random() < 0.5]
        checked = model.check({f.name: _sample(f, dice) for f in chosen})
        assert not list(validator.iter_errors(checked.arguments))


def _sample(field: Field, dice: random.Random) -> object:
    """Return a value as notebooks have them."""
    high = int(field.high if field.high is not None else 99)
    whole = dice.randint(int(field.low or 0) + 1, max(high, 1))
    match field.kind:
        case "choice":
            return str(dice.choice(field.allowed)).lower()
        case "whole" | "number":
            return dice.choice([whole, str(whole), np.int64(whole), float(whole)])
        case "switch":
            return dice.choice([True, "off"])
        case "size":
            custom = field.custom_size or field.text_size
            return dice.choice([*field.allowed, *(["1280x720", (640, 640)] if custom else [])])
        case "picture" | "pictures":
            return ADDRESS
        case "words":
            return ["0a1b2c3d"]
        case "json":
            return [{"path": "x", "scale": 0.5}]
        case _:
            return "a text"


def test_a_check_takes_well_under_a_millisecond() -> None:
    model = known("nano-banana-2")
    arguments = {"prompt": "a fox", "aspect_ratio": "16:9", "num_images": 2, "resolution": "2K"}
    took = []
    for _ in range(100):
        began = time.thread_time()
        model.check(arguments)
        took.append(time.thread_time() - began)

    assert statistics.median(took) < 0.001


# ----------------------------------------------------------------------------------- prices

PRICES: list[tuple[str, dict[str, object], int, str | None]] = [
    ("imagen4", {}, 4, "0.16"),
    ("nano-banana-2", {}, 1, "0.08"),
    ("nano-banana-2", {"resolution": "0.5K"}, 2, "0.12"),
    ("nano-banana-2", {"resolution": "4K", "enable_web_search": True}, 2, "0.35"),
    ("nano-banana-2", {"thinking_level": "high"}, 1, "0.082"),
    ("nano-banana-pro", {"resolution": "2K"}, 1, "0.15"),
    ("flux-dev", {}, 1, "0.025"),
    ("flux-dev", {"image_size": {"width": 1920, "height": 1080}}, 2, "0.1"),
    ("flux-dev", {"image_size": "square"}, 1, "0.025"),
    ("flux-2-pro", {"image_size": {"width": 2048, "height": 2048}}, 1, "0.075"),
    ("qwen-image-edit", {}, 1, None),
    ("seedream-4", {"max_images": 3}, 2, "0.18"),
    ("ideogram-3", {}, 2, "0.12"),
    ("ideogram-3", {"rendering_speed": "TURBO"}, 1, "0.03"),
    ("recraft-3", {}, 1, "0.04"),
    ("recraft-3", {"style": "vector_illustration/line_art"}, 1, "0.08"),
    ("gpt-image-1.5", {"quality": "low"}, 1, "0.009"),
    ("gpt-image-1.5", {"image_size": "1536x1024"}, 2, "0.398"),
    ("gpt-image-1", {}, 1, "0.25"),
    ("gpt-image-2", {"image_size": {"width": 3840, "height": 2160}}, 1, "0.57"),
    ("grok-image", {"resolution": "2k"}, 1, "0.05"),
]


@pytest.mark.parametrize(("name", "arguments", "count", "dollars"), PRICES)
def test_the_price_follows_the_request(
    name: str, arguments: dict[str, object], count: int, dollars: str | None
) -> None:
    assert known(name).price_of(arguments, count) == (None if dollars is None else Decimal(dollars))


def test_a_size_that_only_the_input_tells_gives_the_price() -> None:
    assert known("qwen-image-edit").price_of({}, pixels=3_000_000) == Decimal("0.09")


def test_a_billed_unit_has_a_price_only_if_the_list_is_by_that_unit() -> None:
    units = {m.alias: m.price.unit_price for m in BUNDLED if m.price is not None}

    assert units["flux-dev"] == Decimal("0.025")
    assert units["nano-banana"] == Decimal("0.039")
    assert [units[name] for name in ("gpt-image-2", "ideogram-3", "flux-2-pro")] == [None] * 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("imagen4", "$0.04 a picture"),
        ("flux-dev", "$0.025 a megapixel"),
        ("ideogram-3", "$0.03 to $0.09 a picture"),
        ("flux-2-pro", "$0.03 for the first megapixel, $0.015 for each further one"),
        ("nano-banana-pro", "$0.15 a picture ($0.30 at 4K, $0.015 more with web search)"),
    ],
)
def test_a_price_says_what_it_is_for(name: str, text: str) -> None:
    assert known(name).price_text == text


# -------------------------------------------------------------------------------- catalogue


@each_model
def test_a_model_is_found_by_both_its_names_however_written(model: Model) -> None:
    account = model.providers[0]

    assert CATALOGUE.resolve(f" {model.alias.upper()} ", account) == model.id
    assert CATALOGUE.resolve(f"/{model.id}/", account) == model.id
    assert CATALOGUE.resolve(short_name(model.id), account) == model.id


@pytest.mark.parametrize("name", ["somebody/model", "fal-ai/flux/new", "comfy/me/app", "a.b/c_d-e"])
def test_any_endpoint_passes(name: str) -> None:
    assert CATALOGUE.resolve(name, "fal") == name
    assert short_name(name) == name
    assert CATALOGUE.known(name) is None


@pytest.mark.parametrize(
    ("name", "account", "model_id"),
    [
        ("gpt-image-1.5", "fal", "fal-ai/gpt-image-1.5"),
        ("gpt-image-1.5", "kkiai", "gpt-image-1.5"),
        ("gpt-image-1.5", "openai", "gpt-image-1.5"),
        ("nano-banana-2", "kkiai", "fal-ai/nano-banana-2"),
        ("dall-e-3", "openai", "dall-e-3"),
        ("grok-3-image", "kkiai", "grok-3-image"),
        ("imagen4", "a-third-party", "fal-ai/imagen4/preview"),
        ("something", "a-third-party", "something"),
    ],
)
def test_a_name_means_what_the_account_serves(name: str, account: str, model_id: str) -> None:
    assert CATALOGUE.resolve(name, account) == model_id


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "model",
            "a/../b",
            "a//b",
            "../a",
            "a/b?c",
            "a/b#c",
            "a/b c",
            "a\\b/c",
            "https://x/y",
        ),
        *("a/b/requests/c", "ä/b", "a/" + "b" * 300, "a/b/c/d/e/f/g/h/i"),
        *(5, 0, False, [], {}, None),
    ],
)
def test_what_is_not_an_endpoint_is_refused_with_the_names_there_are(name: object) -> None:
    with pytest.raises(InvalidRequest, match=r"^model: ") as caught:
        CATALOGUE.resolve(name, "fal")

    assert caught.value.field == "model"
    assert isinstance(name, str) == ("nano-banana-2" in str(caught.value))


def test_a_typing_mistake_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(InvalidRequest, match="Did you mean 'nano-banana-pro'"):
        CATALOGUE.resolve("nano-bananapro", "fal")


def test_an_alias_of_another_service_is_not_taken_for_a_name_of_this_one() -> None:
    with pytest.raises(InvalidRequest, match=r"gpt-image-1\.5"):
        CATALOGUE.resolve("imagen4", "openai")


@given(st.text(max_size=60), st.sampled_from(["fal", "kkiai", "openai", ""]))
def test_an_endpoint_never_leaves_its_place_in_an_address(name: str, account: str) -> None:
    try:
        endpoint = CATALOGUE.resolve(name, account)
    except InvalidRequest:
        return

    assert ".." not in endpoint.split("/")
    assert not set(endpoint) & set("\\?#@% \n")


def test_a_schema_that_was_read_is_kept_and_known_to_the_next_process(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    made = document("owner/app", {"prompt": {"type": "string"}, "n": {"type": "integer"}}, [])
    learned = Catalogue(folder).learn("owner/app", json.dumps(made).encode())
    again = Catalogue(folder).known("owner/app")

    assert learned.source == "fetched"
    assert again == learned
    assert [m.id for m in Catalogue(folder).search("owner")] == ["owner/app"]
    assert not list(folder.glob("*.part"))


def test_a_bundled_model_that_is_read_again_keeps_its_price_and_names(tmp_path: Path) -> None:
    shipped = known("flux-dev")
    made = document_of(shipped)
    made["components"]["schemas"]["ModelInput"]["properties"]["brand_new"] = {"type": "string"}
    Catalogue(tmp_path).learn(shipped.id, json.dumps(made).encode())
    fresh = Catalogue(tmp_path).known(shipped.id)

    assert fresh is not None
    assert fresh.field("brand_new") is not None
    assert (fresh.alias, fresh.source) == ("flux-dev", "fetched")
    assert fresh.as_of >= shipped.as_of
    assert fresh.price_of({}) == Decimal("0.025")


def test_what_pictures_are_for_is_still_known_of_a_model_that_is_read_again() -> None:
    shipped = known("ideogram-3")  # whose pictures are for style, which no schema says
    again = Catalogue(None).learn(shipped.id, json.dumps(document_of(shipped)).encode())

    assert again.source == "fetched"
    assert [f.role for f in again.fields] == [f.role for f in shipped.fields]


def test_a_document_without_fields_is_not_kept(tmp_path: Path) -> None:
    model = Catalogue(tmp_path / "models").learn("owner/app", b"<html>not found</html>")

    assert model.source == "none"
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": "other/app"}', b"\xff" * 9])
def test_a_kept_file_that_cannot_be_read_is_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "owner~app.json").write_bytes(content)

    assert Catalogue(tmp_path).known("owner/app") is None
    assert [m.id for m in Catalogue(tmp_path).search("flux-2-pro")] == ["fal-ai/flux-2-pro"]


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    made = document("owner/app", {"prompt": {"type": "string"}}, [])
    catalogue = Catalogue(blocked)

    assert catalogue.learn("owner/app", json.dumps(made).encode()).source == "fetched"
    assert catalogue.known("owner/app") is not None
    assert catalogue.search("nothing like it") == []


def test_models_are_found_by_words_of_any_kind() -> None:
    assert [m.alias for m in CATALOGUE.search("NANO pro")] == [
        "nano-banana-pro",
        "nano-banana-pro-edit",
    ]
    assert "recraft-3" in [m.alias for m in CATALOGUE.search("vector")]
    assert {m.id for m in CATALOGUE.search("gpt", account="openai")} == {
        "gpt-image-1",
        "gpt-image-1.5",
        "gpt-image-2",
    }


# ---------------------------------------------------------------------------------- display


def test_models_display_as_a_table() -> None:
    table = Models(BUNDLED)
    shown = table._repr_mimebundle_()

    assert len(table) == len(BUNDLED)
    assert list(table[:2]) == BUNDLED[:2]
    assert "nano-banana-2" in shown["text/plain"]
    assert "retired; use nano-banana-2\n" in shown["text/plain"]
    assert re.search(r"^flux-dev .* none; fal-ai/flux-pro/kontext edits", repr(table), re.MULTILINE)
    assert shown["text/html"].count("<tr") == len(BUNDLED) + 1
    assert repr(Models([], query="x")).startswith("No model matches 'x'")


def test_found_models_are_copied_and_pickled_without_the_key() -> None:
    found = Studio("kkiai", api_key="a-made-up-key", price="0.07", num_images=2).models("flux")

    for value in (found, found[:2], *found):
        copied = pickle.dumps(value)
        assert b"a-made-up-key" not in copied
        for twin in (pickle.loads(copied), copy.deepcopy(value), copy.copy(value)):
            assert repr(twin) == repr(value)
    assert "$0.07" in repr(found)
    assert len({found, found[:2]}) == 2


def test_a_model_displays_as_a_page_in_which_foreign_text_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    properties = {"prompt": {"type": "string", "description": evil, "default": evil}}
    shown = described(properties, ["prompt"])._repr_mimebundle_()
    page = known("imagen4")._repr_mimebundle_()["text/plain"]

    assert evil in shown["text/plain"]
    assert "<img" not in shown["text/html"]
    assert (
        "status: retired: Google ended Imagen 4 upstream in August 2026; use nano-banana-2" in page
    )
    assert re.search(r"aspect_ratio +one of 1:1, 16:9, 9:16, 4:3, 3:4 +1:1", page)
    assert repr(known("imagen4")).startswith("<Model imagen4: fal-ai/imagen4/preview, 8 fields")
