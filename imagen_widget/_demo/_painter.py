"""Draws the demo's pictures."""

import io

from PIL import Image


def paint(prompt: str, *, seed: int, index: int, size: tuple[int, int], encoding: str) -> bytes:
    """Draw."""
    out = io.BytesIO()
    Image.new("RGB", size, (seed % 256, index, len(prompt) % 256)).save(out, encoding.upper())
    return out.getvalue()
