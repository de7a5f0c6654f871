"""Pictures made ready to show: small copies of files, encoded away from the loop thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagen_widget import _picture
from imagen_widget._panel._state import Card, HistoryEntry, Pictures
from imagen_widget.errors import ImagenError

if TYPE_CHECKING:
    from imagen_widget._picture import Preview
    from imagen_widget._result import GeneratedImage, Generation

SMALL_SIDE_PIXELS = 480
SMALL_BYTES = 30_000


def pictures(generation: Generation, *, earlier: bool = False) -> Pictures:
    """Return a generation with the copies that its cards show."""
    return Pictures(generation, tuple(_card(image) for image in generation), earlier=earlier)


def entry(generation: Generation) -> HistoryEntry:
    """Return a generation with a small copy of its first picture, None where the file is gone."""
    first = next(iter(generation), None)
    return HistoryEntry(generation, _small(_large(first)) if first is not None else None)


def _card(image: GeneratedImage) -> Card:
    large = _large(image)
    return Card(image, _small(large), large)


def _large(image: GeneratedImage) -> Preview | None:
    try:
        return image.preview
    except ImagenError:
        return None


def _small(large: Preview | None) -> Preview | None:
    if large is None:
        return None
    return _picture.preview(large.data, side=SMALL_SIDE_PIXELS, most_bytes=SMALL_BYTES)
