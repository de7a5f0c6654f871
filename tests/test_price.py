"""The expected price: your own, the list's, or honestly unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from imagen_widget._catalog import MODELS, find_model
from imagen_widget._generate._price import estimate
from imagen_widget._request import ImageRequest
from imagen_widget._settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from imagen_widget._settings import Settings

FOX = ImageRequest.create("a red fox")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(provider="kkiai", api_key="made-up", home=tmp_path, environ={})


def test_the_list_price_counts_each_picture(settings: Settings) -> None:
    four = ImageRequest.create("a red fox", num_images=4)

    one, all_four = estimate(FOX, settings), estimate(four, settings)

    assert one is not None
    assert all_four == 4 * one


def test_the_list_price_follows_the_resolution(settings: Settings) -> None:
    model = next(m for m in MODELS if any(f != 1 for _, f in m.resolution_factor))
    resolution, factor = next((r, f) for r, f in model.resolution_factor if f != 1)
    request = ImageRequest.create("a red fox", model=model.alias, resolution=resolution)

    assert model.price is not None
    assert estimate(request, settings) == model.price * factor


def test_a_price_of_your_own_stands_as_it_is(tmp_path: Path) -> None:
    settings = load_settings(provider="fal", api_key="made-up", price="0.5", home=tmp_path)
    request = ImageRequest.create("a red fox", num_images=2, resolution="2K")

    assert estimate(request, settings) == Decimal("1.0")


def test_the_demo_is_free_whatever_the_price(tmp_path: Path) -> None:
    settings = load_settings(provider="demo", price="0.5", home=tmp_path, environ={})

    assert estimate(FOX, settings) == 0


def test_a_model_outside_the_catalogue_has_no_known_price(settings: Settings) -> None:
    request = ImageRequest.create("a red fox", model="somebody/some-model")

    assert find_model(request.model) is None
    assert estimate(request, settings) is None
