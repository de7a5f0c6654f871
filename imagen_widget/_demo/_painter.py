"""Draws the demo's pictures: the same prompt, seed and number give the same picture."""

import io
import random

from PIL import Image

from . import _palette, _scenes
from ._canvas import Canvas
from ._outline import rounded

_GRAIN_STEPS = 2.2
_PNG_EFFORT = 4  # a third of the time of 6 for a tenth more bytes
_JPEG_QUALITY = 92
_WEBP_QUALITY = 90


def paint(prompt: str, *, seed: int, index: int, size: tuple[int, int], encoding: str) -> bytes:
    """Draw one picture and encode it as png, jpeg or webp."""
    return _encode(draw(prompt, seed=seed, index=index, size=size), encoding)


def draw(prompt: str, *, seed: int, index: int, size: tuple[int, int]) -> Image.Image:
    """Draw one picture; its composition does not depend on the resolution."""
    words = _scenes.words_of(prompt)
    palette = _palette.choose(prompt, words=words, seed=seed, index=index)
    rng = random.Random(f"{prompt}|{seed}|{index}")  # noqa: S311 - chance for looks
    canvas = Canvas(size, rng=rng)
    _scenes.choose(prompt, words=words)(canvas, palette)
    canvas.grain(_GRAIN_STEPS)
    _mark(canvas)
    return canvas.image


def _mark(canvas: Canvas) -> None:
    """Say DEMO in a corner, so that nobody takes the picture for a generated one."""
    high = canvas.u * 0.034
    wide, gap = high * 2.7, canvas.u * 0.03
    right, bottom = canvas.w - gap, canvas.h - gap
    chip = rounded(right - wide, bottom - high, right, bottom, radius=high / 2)
    canvas.shape(chip, fill=(12, 14, 24), alpha=0.55)
    canvas.text(
        right - wide / 2,
        bottom - high / 2,
        "DEMO",
        height=high * 0.58,
        colour=(255, 255, 255),
        bold=0.02,
        alpha=0.95,
    )


def _encode(image: Image.Image, encoding: str) -> bytes:
    out = io.BytesIO()
    match encoding:
        case "png":
            image.save(out, "PNG", compress_level=_PNG_EFFORT)
        case "jpeg":
            image.save(out, "JPEG", quality=_JPEG_QUALITY)
        case "webp":
            image.save(out, "WEBP", quality=_WEBP_QUALITY, method=2)
        case _:
            raise ValueError(f"The painter knows png, jpeg and webp, not {encoding!r}")
    return out.getvalue()
