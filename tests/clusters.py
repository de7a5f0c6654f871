"""A Dask cluster whose workers may be killed."""

import contextlib
from typing import Any

from distributed import LocalCluster


class MortalCluster(LocalCluster):
    """A cluster that can be closed after a worker was killed twice in quick succession.

    Dask is told of the end of a worker that it has forgotten already; the error comes up on close.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]  # it is half typed

    def _update_worker_status(self, op: str, msg: Any) -> None:
        with contextlib.suppress(KeyError):
            super()._update_worker_status(op, msg)  # type: ignore[no-untyped-call]  # as above
