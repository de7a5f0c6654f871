"""Paints pictures when they are asked for, off the event loop."""

import base64
from functools import lru_cache, partial

import anyio.to_thread

from ._models import Order
from ._painter import paint

_KEPT_PICTURES = 8  # a picture of 4K weighs some megabytes

_painted = lru_cache(maxsize=_KEPT_PICTURES)(paint)


async def picture(order: Order, *, number: int) -> bytes:
    """One picture of an order, encoded; the latest ones are kept."""
    task = partial(
        _painted,
        order.prompt,
        seed=order.seed or 0,
        index=number,
        size=order.size,
        encoding=order.format,
    )
    return await anyio.to_thread.run_sync(task)


async def data_uri(order: Order, *, number: int) -> str:
    """One picture of an order, inside its own address."""
    encoded = base64.b64encode(await picture(order, number=number)).decode()
    return f"data:image/{order.format};base64,{encoded}"
