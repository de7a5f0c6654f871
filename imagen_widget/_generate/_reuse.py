"""What the journal can answer in place of a new job: kept pictures, or a paid job still out.

Who runs a cell again wants the same pictures, not a second bill: this is where that is found out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagen_widget._generate._recall import as_reused, recall
from imagen_widget._result import age
from imagen_widget.errors import SubmitUncertain

if TYPE_CHECKING:
    from imagen_widget._generate._engine import Engine
    from imagen_widget._journal._rows import JobRow
    from imagen_widget._request import ImageRequest
    from imagen_widget._result import Generation
    from imagen_widget._settings import Settings


async def find_kept(engine: Engine, request: ImageRequest, settings: Settings) -> Generation | None:
    """Return the kept pictures of a request that means the same, or None.

    A demo picture never answers a real request, nor the other way round. What a dead process had
    on disk, but not yet closed in the journal, counts as well.
    """
    known = await _find(engine, request, settings)
    if known is None:
        await engine.record(engine.journal.recover)
        known = await _find(engine, request, settings)
    return as_reused(known) if known is not None else None


async def _find(engine: Engine, request: ImageRequest, settings: Settings) -> Generation | None:
    row = await engine.record(
        engine.journal.find, request.fingerprint, provider=settings.provider.name
    )
    return recall(row, engine.store) if row is not None else None


async def take_up(
    engine: Engine, request: ImageRequest, settings: Settings, *, lease_seconds: float
) -> JobRow | None:
    """Return a paid job of the same meaning that nobody is fetching, leased to us; or None.

    Raises:
        SubmitUncertain: An earlier submit of it may have been accepted: only the user can know.
    """
    journal = engine.journal

    def same(row: JobRow) -> bool:
        mine = (request.fingerprint, settings.provider.name, settings.base_url)
        return (row.fingerprint, row.provider, row.base_url) == mine

    for row in filter(same, await engine.record(journal.pending)):
        if row.ticket_json is None:
            continue
        leased: bool = await engine.record(journal.lease, row.id, lease_seconds)
        if leased:
            return row
    for row in filter(same, await engine.record(journal.unknown)):
        raise SubmitUncertain(
            f"The same request went out {age(row.created)} without a clear answer: a job may "
            "exist and be billed. It is not sent again by itself.",
            remedy=f"Look at your usage at {settings.provider.title}; --fresh (reuse=False) "
            "sends it anew.",
        )
    return None
