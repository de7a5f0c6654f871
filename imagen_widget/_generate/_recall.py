"""A journal row and the files it names become a Generation again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imagen_widget._provenance import Provenance
from imagen_widget._result import GeneratedImage, Generation

if TYPE_CHECKING:
    from imagen_widget._journal._rows import JobRow
    from imagen_widget._store import Store


def recall(row: JobRow, store: Store) -> Generation | None:
    """Return what a job brought, or None where one of its pictures is no longer kept."""
    if not row.images:
        return None
    origin = Provenance(
        request=row.request,
        request_id=row.request_id or "",
        provider=row.provider,
        created=row.created,
        seed=row.seed if row.seed is not None else row.request.seed,
    )
    images = []
    for image in row.images:
        path = store.path(image.digest)
        if path is None:
            return None
        images.append(
            GeneratedImage(
                path=path,
                media_type=image.media_type,
                width=image.width,
                height=image.height,
                url=image.url,
                provenance=replace(origin, index=image.index),
            )
        )
    cost = row.cost if row.cost is not None else row.price
    return Generation(
        images=tuple(images),
        request=row.request,
        request_id=origin.request_id,
        provider=row.provider,
        seconds=row.seconds or 0.0,
        cost=None if cost is None else float(cost),
        created=row.created,
        seed=origin.seed,
    )


def as_reused(generation: Generation) -> Generation:
    """Return the generation as the answer to a request that was not sent: at once, and free."""
    return replace(generation, reused=True, seconds=0.0, cost=0.0)
