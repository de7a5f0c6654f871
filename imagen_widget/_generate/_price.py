"""What a request is expected to cost, by your own price or the list price."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from imagen_widget._catalog import find_model

if TYPE_CHECKING:
    from imagen_widget._request import ImageRequest
    from imagen_widget._settings import Settings


def estimate(request: ImageRequest, settings: Settings) -> Decimal | None:
    """Return what a request is expected to cost in US dollars, or None where unknown.

    The demo is free. A price of your own (IMAGEN_PRICE) stands for each picture as it is; the
    catalogue's list price follows the resolution.
    """
    if settings.provider.name == "demo":
        return Decimal(0)
    if settings.price is not None:
        return settings.price * request.count
    model = find_model(request.model)
    if model is None or model.price is None:
        return None
    factor = dict(model.resolution_factor).get(request.resolution or "", Decimal(1))
    return model.price * factor * request.count
