"""Models and providers are data, and the data is sound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_widget._catalog import (
    DEFAULT_MODEL,
    MODELS,
    PROVIDERS,
    Choice,
    Model,
    Provider,
    Whole,
    app_path,
    find_model,
    find_provider,
    resolve_endpoint,
    short_name,
)
from imagen_widget.errors import InvalidRequest


def test_the_default_is_what_this_product_is_for() -> None:
    assert DEFAULT_MODEL == "fal-ai/imagen4/preview"
    assert find_model(DEFAULT_MODEL) is not None


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.alias)
def test_each_model_has_sound_parameters(model: Model) -> None:
    names = [parameter.name for parameter in model.parameters]

    assert len(names) == len(set(names))
    for parameter in model.parameters:
        match parameter:
            case Choice(allowed=allowed, default=default):
                assert default in allowed
            case Whole(low=low, high=high, default=default):
                assert default is None or low <= default <= high


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.alias)
def test_a_model_that_ends_names_one_that_goes_on(model: Model) -> None:
    if model.status == "active":
        assert not model.successor
        return
    successor = find_model(model.successor)

    assert model.note
    assert successor is not None
    assert successor.status == "active"


def test_no_two_models_share_a_name() -> None:
    names = [name for model in MODELS for name in (model.alias, model.endpoint)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.alias)
def test_a_model_is_found_by_both_its_names_however_written(model: Model) -> None:
    assert find_model(f" {model.alias.upper()} ") == model
    assert find_model(f"/{model.endpoint}/") == model
    assert resolve_endpoint(model.alias) == model.endpoint
    assert short_name(model.endpoint) == model.alias


@pytest.mark.parametrize("name", ["somebody/model", "fal-ai/flux/dev", "comfy/me/app", "a.b/c_d-e"])
def test_any_endpoint_passes(name: str) -> None:
    assert resolve_endpoint(name) == name
    assert short_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
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
        "a/b/requests/c",
        "ä/b",
        "a/" + "b" * 300,
        "a/b/c/d/e/f/g/h/i",
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(InvalidRequest, match="imagen4-fast") as caught:
        resolve_endpoint(name)

    assert caught.value.field == "model"


def test_a_typing_mistake_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(InvalidRequest, match="Did you mean 'nano-banana-pro'"):
        resolve_endpoint("nano-bananapro")


@given(st.text(max_size=60))
def test_an_endpoint_never_leaves_its_place_in_an_address(name: str) -> None:
    try:
        endpoint = resolve_endpoint(name)
    except InvalidRequest:
        return

    assert ".." not in endpoint.split("/")
    assert not set(endpoint) & set("\\?#@:% \n")


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_a_provider_is_found_by_its_name(provider: Provider) -> None:
    assert find_provider(f" {provider.name.upper()} ") == provider
    assert provider.base_url.startswith("https://")


def test_each_provider_has_a_key_of_its_own() -> None:
    keys = [provider.key_variable for provider in PROVIDERS if provider.key_variable]

    assert sorted(keys) == ["FAL_KEY", "IMAGEN_API_KEY"]
    assert [find_provider(name).scheme for name in ("kkiai", "fal")] == ["Bearer", "Key"]


def test_an_unknown_provider_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InvalidRequest, match="kkiai, fal, demo"):
        find_provider("replicate")


@pytest.mark.parametrize(
    ("endpoint", "app"),
    [
        ("fal-ai/imagen4/preview/fast", "fal-ai/imagen4"),
        ("owner/app", "owner/app"),
        ("workflows/me/app/route", "workflows/me/app"),
        ("comfy/me/app", "comfy/me/app"),
    ],
)
def test_requests_belong_to_the_app(endpoint: str, app: str) -> None:
    assert app_path(endpoint) == app
