"""A request is checked before anything is sent; what it holds is exactly what goes out."""

import contextlib
import copy
import io
import json
import pickle
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from PIL import Image

from imagen_widget import Field, ImageRequest, Model, PictureLimits
from imagen_widget._request import as_code
from imagen_widget.errors import InvalidRequest
from tests.schemas import described

FREE = "somebody/unheard-of"
ADDRESS = "https://example.com/fox.png"
SECRET = "sk-" + "0" * 40


def png(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return file.getvalue()


# ------------------------------------------------------------------------------ what is sent


def test_only_what_was_given_is_sent() -> None:
    assert ImageRequest.create("a fox").arguments() == {"prompt": "a fox"}
    assert ImageRequest.create("a fox", seed=None, num_images=2).arguments() == {
        "prompt": "a fox",
        "num_images": 2,
    }


def test_nothing_given_and_the_default_given_are_two_requests() -> None:
    plain = ImageRequest.create("a fox", model="nano-banana-2")
    square = ImageRequest.create("a fox", model="nano-banana-2", aspect_ratio="1:1")
    auto = ImageRequest.create("a fox", model="nano-banana-2", aspect_ratio="auto")

    assert len({plain.fingerprint, square.fingerprint, auto.fingerprint}) == 3
    assert plain.fingerprint.startswith("sha256:")


def test_equal_requests_are_one_however_they_were_written() -> None:
    one = ImageRequest.create("a fox", seed=7, num_images=2, aspect_ratio="16:9")
    other = ImageRequest.create(
        "a fox", aspect_ratio=" 16:9", num_images="2", seed=np.int64(7), model="IMAGEN4"
    )

    assert one == other
    assert hash(one) == hash(other)
    assert one.fingerprint == other.fingerprint
    assert one != ImageRequest.create("a fox ", seed=7, num_images=2, aspect_ratio="16:9")
    assert one != replace(one, model="fal-ai/imagen4/preview/fast")


@pytest.mark.parametrize(
    "prompt", [" a  fox ", "$5 {a|b} 'x' \"y\" #", "狐\n\tFüchslein", "x" * 200_000]
)
def test_a_prompt_is_sent_as_typed(prompt: str) -> None:
    request = ImageRequest.create(prompt)

    assert request.arguments()["prompt"] == request.prompt == prompt


def test_the_parameters_can_be_read_as_attributes() -> None:
    request = ImageRequest.create("a fox", model="flux-dev", aspect_ratio="16:9", guidance_scale=5)

    assert (request.prompt, request.count, request.seed) == ("a fox", 1, None)
    assert (request.image_size, request.guidance_scale) == ("landscape_16_9", 5)
    assert (request.aspect_ratio, request.num_images, request.resolution) == (None, None, None)
    assert request.notes == ("aspect_ratio goes out as image_size landscape_16_9",)
    with pytest.raises(AttributeError, match="no field 'style'"):
        request.style  # noqa: B018


def test_prompt_count_and_seed_are_found_by_their_roles() -> None:
    properties = {"text_prompt": {"type": "string"}, "num_samples": {"type": "integer"}}
    model = described(properties, ["text_prompt"])
    request = ImageRequest.create("a fox", known=model, num_images=3)
    again = ImageRequest.from_json(request.to_json())

    assert request.arguments() == {"text_prompt": "a fox", "num_samples": 3}
    for each in (request, again):
        assert (each.prompt, each.count, each.seed, each.num_images) == ("a fox", 3, None, 3)
    assert next(iter(request.arguments())) == "text_prompt"


def test_a_field_whose_name_is_taken_goes_by_extra() -> None:
    properties = {"image_url": {"type": "string"}, "model": {"enum": ["x2", "x4"]}}
    known = described(properties, ["image_url"], model_id="o/esrgan")
    request = ImageRequest.create(known=known, image=ADDRESS, extra={"model": "X4"})

    assert request.model == "o/esrgan"
    assert request.arguments() == {"image_url": ADDRESS, "model": "x4"}
    assert request.prompt is None
    assert ImageRequest.from_json(request.to_json()) == request


def test_a_model_outside_the_catalogue_takes_what_it_takes() -> None:
    request = ImageRequest.create(
        "a fox", model=FREE, num_images="2", guidance=7.5, loras=[{"path": "x"}]
    )

    assert request.arguments() == {
        "prompt": "a fox",
        "num_images": 2,
        "guidance": 7.5,
        "loras": [{"path": "x"}],
    }
    assert request.count == 2


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"n": 50, "num_images": 2}, 50),
        ({"num_images": 1, "num_samples": 9}, 9),
        ({"n": "1e1"}, 10),
    ],
)
def test_of_several_counts_the_most_is_what_a_cap_counts(
    fields: dict[str, Any], count: int
) -> None:
    request = ImageRequest.create("a fox", model=FREE, extra=fields)

    assert request.arguments() == {"prompt": "a fox", **fields}
    assert request.count == count


# ---------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("prompt", ["", " \n\t", None])
def test_an_empty_prompt_is_refused(prompt: str | None) -> None:
    with pytest.raises(InvalidRequest, match=r"^prompt: it is empty") as caught:
        ImageRequest.create(prompt)

    assert caught.value.field == "prompt"


@pytest.mark.parametrize("prompt", [5, Path("secret"), b"secret", ["secret"]])
@pytest.mark.parametrize("model", [None, FREE])
def test_a_prompt_that_is_not_a_text_is_told_as_that(prompt: Any, model: str | None) -> None:
    with pytest.raises(InvalidRequest, match=r"^prompt: it is an? \w+, not text") as caught:
        ImageRequest.create(prompt, model=model)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("model", [0, False, [], {}, 5, b"imagen4"])
def test_a_model_that_is_not_a_text_is_refused(model: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^model: it is an? \w+, not text"):
        ImageRequest.create("a fox", model=model)


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "API_KEY", "key", "token", "authorization"),
        *("provider", "base_url", "home", "journal", "store"),
    ],
)
@pytest.mark.parametrize("model", [None, FREE])
def test_a_settings_name_is_refused_and_its_value_is_nowhere(name: str, model: str | None) -> None:
    for given_ in ({name: SECRET}, {"extra": {name: SECRET}}):
        if name == "base_url" and "extra" not in given_:
            continue  # `create` itself takes it: where the request goes
        with pytest.raises(InvalidRequest) as caught:
            ImageRequest.create("a fox", model=model, **given_)

        assert SECRET not in str(caught.value)
        assert name in str(caught.value)


def test_half_a_character_is_refused_wherever_it_is() -> None:
    with pytest.raises(InvalidRequest, match=r"^prompt: .* lone surrogate"):
        ImageRequest.create("a fox \ud83e")
    with pytest.raises(InvalidRequest, match=r"^x: .* lone surrogate"):
        ImageRequest.create("a fox", model=FREE, x=[{"deep": "\ud800"}])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("x", float("nan")),
        ("x", object()),
        ("x", "y" * 2_000_000),
        ("not a name", 1),
        ("num_images", 0),
        ("num_images", "two"),
        ("seed", 1.5),
    ],
)
def test_what_cannot_be_sent_is_refused_for_any_model(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ImageRequest.create("a fox", model=FREE, **{field: value})  # type: ignore[arg-type]

    assert caught.value.field in {field, field[:40]}


def test_a_value_inside_itself_is_refused() -> None:
    circle: list[object] = []
    circle.append(circle)

    with pytest.raises(InvalidRequest, match="JSON can hold"):
        ImageRequest.create("a fox", model=FREE, circle=circle)


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=10) | st.integers() | st.none()))
def test_whatever_is_passed_is_taken_or_refused_in_our_words(parameters: dict[str, Any]) -> None:
    for name in ("prompt", "model", "known", "base_url"):
        parameters.pop(name, None)
    for model in (FREE, None, "flux-dev"):
        for strict in (True, False):
            with contextlib.suppress(InvalidRequest):
                request = ImageRequest.create("a fox", model=model, strict=strict, extra=parameters)
                assert json.loads(request.body)["prompt"] == "a fox"


def test_lax_requests_pass_what_the_model_excludes() -> None:
    request = ImageRequest.create("a fox", num_images=9, brand_new="x", strict=False)

    assert request.arguments() == {"prompt": "a fox", "num_images": 9, "brand_new": "x"}
    with pytest.raises(InvalidRequest, match="not a mapping"):
        ImageRequest.create("a fox", extra="brand_new")  # type: ignore[arg-type]


def test_lax_requests_pass_more_and_smaller_pictures_than_the_schema_says() -> None:
    limits = PictureLimits(min_width=300)
    field = Field("image_urls", "pictures", role="picture", max_items=1, limits=limits)
    known = Model("owner/edit", fields=(field,), source="bundled")

    lax = ImageRequest.create(images=[png(), ADDRESS], known=known, strict=False)

    assert lax.arguments() == {"image_urls": [lax.inputs[0].digest, ADDRESS]}
    for images in ([png(), ADDRESS], [png()]):
        with pytest.raises(InvalidRequest):
            ImageRequest.create(images=images, known=known)


# --------------------------------------------------------------------------------- pictures


def test_a_picture_stands_in_the_request_as_its_digest() -> None:
    request = ImageRequest.create("make it snow", model="kontext", image=png())
    digest = request.inputs[0].digest

    assert request.arguments()["image_url"] == digest
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert request.inputs[0].data() == png()
    assert len(request.body) < 200


def test_a_picture_may_be_given_by_the_fields_own_name_or_as_a_data_address() -> None:
    by_role = ImageRequest.create("snow", model="kontext", image=png())
    by_name = ImageRequest.create("snow", model="kontext", image_url=png())
    as_data = ImageRequest.create("snow", model="kontext", image_url=_data_address(png()))
    unknown = ImageRequest.create("snow", model=FREE, image_url=_data_address(png()))
    address = ImageRequest.create("snow", model="kontext", image_url=ADDRESS)

    assert by_role == by_name == as_data
    assert unknown.arguments()["image_url"] == by_role.inputs[0].digest
    assert address.arguments()["image_url"] == ADDRESS
    with pytest.raises(InvalidRequest, match="twice"):
        ImageRequest.create("snow", model="kontext", image=png(), image_url=ADDRESS)


def _data_address(data: bytes) -> str:
    import base64

    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_another_picture_is_another_request() -> None:
    red, blue = (
        ImageRequest.create("snow", model="kontext", image=png(c)).fingerprint
        for c in ("red", "blue")
    )

    assert red != blue


def test_the_journal_keeps_what_is_known_of_the_inputs_but_not_their_bytes() -> None:
    request = ImageRequest.create("snow", model="kontext-multi", images=[png(), ADDRESS])
    again = ImageRequest.from_json(request.to_json())

    assert again == request
    assert again.inputs == request.inputs
    assert (again.inputs[0].width, again.inputs[0].height) == (64, 64)
    assert again.inputs[0].in_memory is None


# --------------------------------------------------------------------------- kept and copied


@given(
    prompt=st.text(alphabet=st.characters(exclude_categories=["Cs"])).map("fox {}".format),
    count=st.none() | st.integers(1, 4),
    seed=st.none() | st.integers(0, 2**31 - 1),
)
def test_a_request_survives_the_journal(prompt: str, count: int | None, seed: int | None) -> None:
    request = ImageRequest.create(prompt, num_images=count, seed=seed)
    again = ImageRequest.from_json(request.to_json())

    assert again == request
    assert (again.prompt, again.count, again.seed) == (prompt, count or 1, seed)


def test_a_request_is_a_value() -> None:
    request = ImageRequest.create("a fox", model=FREE, loras=[{"path": "x"}], seed=5)

    for again in (pickle.loads(pickle.dumps(request)), copy.copy(request), copy.deepcopy(request)):
        assert again == request
        assert (again.seed, again.fingerprint) == (5, request.fingerprint)
    with pytest.raises(AttributeError):
        request.seed = 6  # type: ignore[misc]
    request.arguments()["loras"].append("changed")
    assert request.loras == [{"path": "x"}]


@pytest.mark.parametrize(
    ("line", "fresh"),
    [
        (
            '{"model": "fal-ai/imagen4/preview", "prompt": "a fox", "aspect_ratio": "16:9",'
            ' "num_images": 2, "seed": 7, "safety_tolerance": "5"}',
            {"aspect_ratio": "16:9", "num_images": 2, "seed": 7, "safety_tolerance": 5},
        ),
        (
            f'{{"model": "{FREE}", "prompt": "a fox", "seed": 7, "steps": 4, "version": "x"}}',
            {"model": FREE, "steps": 4, "version": "x", "seed": 7},
        ),
    ],
)
def test_what_version_0_1_wrote_down_is_the_same_request(line: str, fresh: dict[str, Any]) -> None:
    old, new = ImageRequest.from_json(line), ImageRequest.create("a fox", **fresh)

    assert old == new
    assert old.fingerprint == new.fingerprint
    assert (old.prompt, old.count, old.seed) == ("a fox", new.count, 7)


# ----------------------------------------------------------------------------- copy as code

requests = st.builds(
    ImageRequest.create,
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1, max_size=60
    ).filter(lambda text: any(c.isprintable() and not c.isspace() for c in text)),
    model=st.sampled_from(["imagen4-ultra", "nano-banana-2"]),
    aspect_ratio=st.sampled_from([None, "1:1", "16:9"]),
    num_images=st.sampled_from([None, 1, 4]),
    resolution=st.sampled_from([None, "2K"]),
    output_format=st.sampled_from([None, "webp"]),
    safety_tolerance=st.sampled_from([None, 2]),
    seed=st.none() | st.integers(0, 2**31 - 1),
)
_SHORT = {"-m": "model", "-n": "num_images", "-s": "seed", "--ar": "aspect_ratio"}
_SHORT |= {"--format": "output_format"}


def read_magic(snippet: str, prompt: str) -> ImageRequest:
    """Return the request that a snippet means, as the magic reads it."""
    first, _, rest = snippet.partition("\n")
    written = prompt.replace("{{", "{{'{{'}}")
    if first.startswith("%%"):
        assert rest == written
        options = first.removeprefix("%%imagen").removesuffix("--")
    else:
        assert first.startswith(f"%imagen {written}")
        options = first.removeprefix(f"%imagen {written}")
    words = shlex.split(re.sub(r"\{\{(.*?)\}\}(?= |$)", lambda m: shlex.quote(m[0]), options))
    fields: dict[str, Any] = {}
    while words:
        option = words.pop(0)
        if option.startswith("--no-"):
            fields[option[5:].replace("-", "_")] = False
            continue
        is_switch = not words or words[0].startswith("--")
        value = True if is_switch else words.pop(0)
        if isinstance(value, str) and value.startswith("{{"):
            value = eval(value[2:-2])
        fields[_SHORT.get(option, option.lstrip("-").replace("-", "_"))] = value
    return ImageRequest.create(prompt, **fields)


def as_magic(request: ImageRequest, **more: Any) -> str:
    return as_code(request, **more)[0]


def as_python(request: ImageRequest, **more: Any) -> str:
    """Return the call, which follows the line that imports what it needs."""
    imports, call = as_code(request, **more)[1].split("\n", 1)
    names = "History, generate" if "History()" in call else "generate"
    assert imports == f"from imagen_widget import {names}"
    return call


@given(requests)
@example(ImageRequest.create("a fox -n 2", num_images=4))
@example(ImageRequest.create("--fresh paint", num_images=4))
@example(ImageRequest.create("the sign says {{open}} {{{"))
@example(ImageRequest.create("two lines\nof text"))
@example(ImageRequest.create("  blanks around  "))
@example(ImageRequest.create('"quoted"'))
@example(ImageRequest.create("ends in a semicolon;"))
@example(ImageRequest.create("— a dash"))
@example(ImageRequest.create("a", model="flux-dev", image_size=(640, 480), guidance_scale=2.5))
@example(ImageRequest.create("a", model="flux-dev", enable_safety_checker=False))
@example(ImageRequest.create("a", model="qwen-image", loras=[{"path": "x 'y'"}], use_turbo=True))
@example(ImageRequest.create("a", model="qwen-image", negative_prompt='it\'s "bad", -n 2'))
def test_the_snippets_mean_the_same_request_again(request: ImageRequest) -> None:
    python = eval(as_python(request), {"generate": ImageRequest.create})

    assert python == request
    assert read_magic(as_magic(request), request.prompt or "") == request


@pytest.mark.parametrize(
    ("given_", "magic", "python"),
    [
        (
            {"prompt": "a red fox", "num_images": 4},
            "%imagen a red fox -m imagen4 -n 4",
            "generate('a red fox', model='imagen4', num_images=4)",
        ),
        (
            {"prompt": "a red fox,\nin snow", "num_images": 4},
            "%%imagen -m imagen4 -n 4 --\na red fox,\nin snow",
            "generate('a red fox,\\nin snow', model='imagen4', num_images=4)",
        ),
        (
            {"prompt": "a fox", "model": "recraft-3", "style": "vector_illustration/line_art"},
            "%imagen a fox -m recraft-3 --style vector_illustration/line_art",
            "generate('a fox', model='recraft-3', style='vector_illustration/line_art')",
        ),
        (
            {"prompt": "a fox", "model": FREE, "steps": 4},
            "generate('a fox', model='somebody/unheard-of', steps=4)",
            "generate('a fox', model='somebody/unheard-of', steps=4)",
        ),
        (
            {"prompt": "a fox", "num_images": 9, "strict": False},
            "generate('a fox', model='imagen4', num_images=9, strict=False)",
            "generate('a fox', model='imagen4', num_images=9, strict=False)",
        ),
        (
            {"prompt": "a fox", "model": FREE, "extra": {"class": 1, "reuse": 2}},
            "generate('a fox', model='somebody/unheard-of', extra={'class': 1, 'reuse': 2})",
            "generate('a fox', model='somebody/unheard-of', extra={'class': 1, 'reuse': 2})",
        ),
    ],
)
def test_a_snippet_reads_as_somebody_would_write_it(
    given_: dict[str, Any], magic: str, python: str
) -> None:
    request = ImageRequest.create(**given_)

    assert as_magic(request).removeprefix("from imagen_widget import generate\n") == magic
    assert as_python(request) == python


def test_a_picture_appears_in_a_snippet_by_its_place_in_history() -> None:
    made = ImageRequest.create("snow", model="kontext", image=png())

    assert as_python(made, job_id="J9") == (
        "generate('snow', model='kontext', image=History().get('J9').inputs[0])"
    )
    assert as_magic(made, job_id="J9") == (
        "from imagen_widget import History\n"
        "%imagen snow -m kontext -i \"History().get('J9').inputs[0]\""
    )


def test_a_snippet_may_ask_for_the_seed_that_the_server_chose() -> None:
    fox = ImageRequest.create("a fox", model="nano-banana-2")
    seedless = ImageRequest.create("a fox", model="recraft-3")

    assert as_magic(fox, seed=7) == "%imagen a fox -m nano-banana-2 -s 7"
    assert as_python(fox, seed=7) == "generate('a fox', model='nano-banana-2', seed=7)"
    assert as_magic(seedless, seed=7) == "%imagen a fox -m recraft-3"


def test_a_snippet_for_a_model_that_is_not_bundled_follows_what_is_known_of_it() -> None:
    properties = {"prompt": {"type": "string"}, "steps": {"type": "integer"}}
    model = described(properties, ["prompt"])
    request = ImageRequest.create("a fox", known=model, steps=4)
    free = ImageRequest.create("snow", model=FREE, image=png())

    assert as_magic(request) == as_code(request)[1]
    assert as_python(request) == "generate('a fox', model='o/a', steps=4)"
    assert as_magic(request, known=model) == "%imagen a fox -m o/a --steps 4"
    assert "image=History().get('J9').inputs[0]" in as_python(free, job_id="J9")
    assert "-i \"History().get('J9').inputs[0]\"" in as_magic(free, job_id="J9")


@pytest.mark.parametrize("name", ["model", "timeout", "quiet", "out", "ar"])
def test_a_field_that_is_called_like_an_option_is_not_written_as_one(name: str) -> None:
    model = described({"prompt": {"type": "string"}, name: {"type": "string"}}, ["prompt"])
    request = ImageRequest.create("a fox", known=model, extra={name: "5"})

    assert as_magic(request, known=model) == as_code(request, known=model)[1]
    assert "'5'" in as_python(request, known=model)


def test_several_pictures_and_a_mask_are_named_as_they_are_given() -> None:
    request = ImageRequest.create(
        "snow", model="gpt-image-1.5-edit", images=[ADDRESS, f"{ADDRESS}?2"], mask=f"{ADDRESS}?3"
    )
    single = ImageRequest.create("snow", model="gpt-image-1.5-edit", image=ADDRESS)
    mixed = ImageRequest.create("snow", model="gpt-image-1.5-edit", images=[ADDRESS, png()])

    assert f"images=['{ADDRESS}', '{ADDRESS}?2'], mask='{ADDRESS}?3'" in as_python(request)
    assert f"image='{ADDRESS}'" in as_python(single)
    assert "History().get('J9').inputs[1]" in as_python(mixed, job_id="J9")
    assert as_magic(request).endswith(
        f"-i {ADDRESS} -i '{ADDRESS}?2' --mask '{ADDRESS}?3'".replace("'", '"')
    )
