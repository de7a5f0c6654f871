"""A finished job's pictures, fetched side by side and put on disk.

One that fails takes no other with it: what was fetched stays, and the rest can be fetched later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from imagen_widget._journal._rows import ImageRow
from imagen_widget.errors import ImagenError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from imagen_widget._generate._engine import Engine


async def download(
    engine: Engine, urls: Sequence[str], *, step: Callable[[str], None]
) -> list[ImageRow]:
    """Fetch and keep all pictures, and return their facts in the given order.

    Args:
        engine: Whose client fetches, and whose store keeps.
        urls: The pictures' addresses.
        step: Called with the name of each point at which a crash must lose nothing.

    Raises:
        ImagenError: One could not be fetched or kept: the first one's reason.
    """
    rows: dict[int, ImageRow] = {}
    failures: list[Exception] = []

    async def fetch(index: int, url: str) -> None:
        try:
            rows[index] = await _fetch(engine, index, url, step)
        except Exception as error:  # noqa: BLE001 - raised below, without a group around it
            failures.append(error)

    async with anyio.create_task_group() as group:
        for index, url in enumerate(urls):
            group.start_soon(fetch, index, url)
    if failures:
        raise next((f for f in failures if isinstance(f, ImagenError)), failures[0])
    return [rows[index] for index in sorted(rows)]


async def _fetch(engine: Engine, index: int, url: str, step: Callable[[str], None]) -> ImageRow:
    async with engine.downloads:
        data = await engine.client.fetch(url)
        step("fetched")
        kept = await to_thread.run_sync(engine.store.keep, data)
    step("kept")
    return ImageRow(
        index, kept.digest, kept.media_type, kept.width, kept.height, kept.size, public_url(url)
    )


def public_url(url: str) -> str | None:
    """Return an address that can be asked again, or None for one that is the picture itself."""
    return url if url.startswith(("http:", "https:")) else None
