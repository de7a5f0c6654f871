"""A picture made ready to go out: upright, in a format that providers read, small enough.

What may go out as it is keeps its bytes. The rest is decoded once: JPEG straight to a smaller size,
and never to more pixels than the bytes allowed can hold. White in a mask means change, for every
provider.
"""

import io
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING

from imagen_widget import _picture
from imagen_widget._inputs.source import Input, digest_of, refused
from imagen_widget._models import PictureLimits
from imagen_widget._picture import SVG, PictureFacts
from imagen_widget.errors import InvalidRequest, QueueError

if TYPE_CHECKING:  # Pillow takes 50 ms to import
    from PIL.Image import Image as PILImage

MAX_BODY_BYTES = 3 * 1024 * 1024  # of one request: gateways refuse more
INPUT_BYTES = (MAX_BODY_BYTES - 256 * 1024) * 3 // 4  # all pictures: base64 adds a third

_MAX_CACHE_BYTES = 64_000_000
_BUDGET_STEP_BYTES = 64 * 1024  # so that other pictures in the request rarely change the bytes
_BYTES_A_PIXEL = 0.3  # of a good JPEG
_QUALITIES = (90, 75)
_FORMATS = ("image/jpeg", "image/webp", "image/png")  # in the order of preference
_LOSSLESS = {"image/png", "image/gif", "image/bmp", "image/tiff"}
_PLAIN_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}
_CONVERT_IT = "Give a PNG, JPEG or WebP; others are converted if Pillow reads them."

Size = tuple[int, int]

_cache: OrderedDict[Hashable, tuple[Input, Size]] = OrderedDict()
_lock = threading.Lock()  # one at a time: twenty jobs with one picture prepare it once


def prepare(
    raw: Input,
    label: str,
    limits: PictureLimits | None = None,
    budget_bytes: int = INPUT_BYTES,
    *,
    mask: bool = False,
    size: Size | None = None,
) -> tuple[Input, Size]:
    """Return a picture as it goes out, and the size that it had; `size` is what a mask has to fit.

    Raises:
        InvalidRequest: It is not a picture, or not one that the model takes.
    """
    if not raw.has_bytes:
        return raw, (raw.width, raw.height)
    limits = limits or PictureLimits()
    budget = budget_bytes - budget_bytes % min(budget_bytes, _BUDGET_STEP_BYTES)
    budget = min(budget, limits.max_bytes or budget)
    key = (raw.digest, limits, budget, mask, size)
    with _lock:
        if key not in _cache:
            try:
                work = _Work(raw.data(), label, limits, budget)
                _cache[key] = work.mask(size) if mask else work.picture()
            except InvalidRequest:
                raise
            except QueueError as error:
                raise refused(label, error.message, _CONVERT_IT) from None
            except Exception as error:  # noqa: BLE001 - encoders fail in many ways
                what = f"the picture cannot be converted ({type(error).__name__})"
                raise refused(label, what, _CONVERT_IT) from None
            while len(_cache) > 1 and sum(i.size for i, _ in _cache.values()) > _MAX_CACHE_BYTES:
                _cache.popitem(last=False)
        _cache.move_to_end(key)
        made, original = _cache[key]
    return replace(
        made, origin=raw.origin, source_id=raw.source_id, source_index=raw.source_index
    ), original


def mask_as_alpha(data: bytes) -> bytes:
    """Return a mask as OpenAI's routes take it: transparent where it was white."""
    from PIL import Image, ImageChops

    grey = _grey(_picture.open_picture(data))
    layer = Image.new("RGBA", grey.size, "black")
    layer.putalpha(ImageChops.invert(grey))
    return _picture.saved(layer, "image/png", 0)


class _Work:
    """The preparation of one picture."""

    def __init__(self, data: bytes, label: str, limits: PictureLimits, budget: int) -> None:
        self._data, self._label, self._limits, self._budget = data, label, limits, budget
        formats = (f if "/" in f else f"image/{f.lower()}" for f in limits.formats or _FORMATS)
        self._formats = {f.replace("/jpg", "/jpeg") for f in formats}
        self._facts = _picture.inspect(data, checksums=False)
        problem = "an SVG drawing" if self._facts.media_type == SVG else self._facts.problem
        if problem:
            raise refused(label, f"this is not a picture that can be sent ({problem})", _CONVERT_IT)

    def picture(self) -> tuple[Input, Size]:
        """Return the picture, as it was if that will do."""
        facts, size = self._facts, (self._facts.width, self._facts.height)
        if size[0]:
            self._check_size(size)
            if self._is_ready(facts):
                return _input(self._data, facts.media_type, size, size)
        shown = _picture.open_picture(self._data, side=self._side(size) if size[0] else None)
        original = size if size[0] else shown.size
        self._check_size(original)
        small = _picture.for_screen(_picture.resized(shown, self._side(original)))
        if small.mode == "RGBA" and small.getchannel("A").getextrema() == (255, 255):
            small = small.convert("RGB")
        data, media_type, small = self._encoded(small)
        return _input(data, media_type, small.size, original)

    def mask(self, size: Size | None) -> tuple[Input, Size]:
        """Return the mask in grey, of this size, without soft steps if they take too many bytes."""
        grey = _grey(_picture.open_picture(self._data))
        original = grey.size
        if _brightest(grey) < 128:
            what = "nothing in it is white, so nothing would change"
            raise refused(self._label, what, "Paint white what is to change, the rest black.")
        if size is not None and grey.size != size:
            grey = grey.resize(size)
        data = _picture.saved(grey, "image/png", 0)
        if len(data) > self._budget:
            data = _picture.saved(grey.point(lambda v: 255 * (v >= 128)), "image/png", 0)
        return _input(data, "image/png", grey.size, original)

    def _check_size(self, size: Size) -> None:
        low = (self._limits.min_width or 1, self._limits.min_height or 1)
        area = self._limits.min_area or 1
        if size[0] < low[0] or size[1] < low[1] or size[0] * size[1] < area:
            least = f"{low[0]} x {low[1]}" if max(low) > 1 else f"{area} pixels in all"
            what = f"{size[0]} x {size[1]} pixels are too few for this model"
            raise refused(self._label, what, f"It takes pictures of at least {least}.")

    def _side(self, size: Size, *, budget: bool = True) -> int:
        """Return the longer side in pixels that the limits and the bytes allow."""
        (width, height), limits = size, self._limits
        area = min(limits.max_area or width * height, width * height)
        if budget:
            area = min(area, int(self._budget / _BYTES_A_PIXEL))
        across = (limits.max_width or width) / width, (limits.max_height or height) / height
        return max(1, int(max(size) * min(1.0, *across, (area / (width * height)) ** 0.5)))

    def _is_ready(self, facts: PictureFacts) -> bool:
        """Return True if the bytes can go out as they are."""
        from PIL import Image

        size = (facts.width, facts.height)
        if (
            facts.media_type not in self._formats
            or facts.turned
            or len(self._data) > self._budget
            or self._side(size, budget=False) < max(size)
            or (facts.media_type == "image/png" and self._data[24] > 8)  # bits a channel
        ):
            return False
        try:
            with Image.open(io.BytesIO(self._data)) as picture:
                moves = facts.media_type != "image/jpeg" and getattr(picture, "n_frames", 1) > 1
                return picture.mode in _PLAIN_MODES and not moves
        except Exception:  # noqa: BLE001 - decoders fail in many ways; another way may do
            return False

    def _encoded(self, picture: "PILImage") -> tuple[bytes, str, "PILImage"]:
        """Return the bytes, their type, and what was encoded: smaller if need be."""
        clear = picture.mode == "RGBA"
        exact = clear or self._facts.media_type in _LOSSLESS
        if exact and "image/png" in self._formats and picture.width * picture.height < self._budget:
            data = _picture.saved(picture, "image/png", 0)
            if len(data) <= self._budget:
                return data, "image/png", picture
        order = ("image/webp", "image/png", "image/jpeg") if clear else _FORMATS
        media_type = next((f for f in order if f in self._formats), "image/png")
        if media_type == "image/jpeg":
            picture = _picture.on_white(picture)
        data, picture = _picture.fit(
            picture,
            self._budget,
            lambda shown, quality: _picture.saved(shown, media_type, quality),
            qualities=_QUALITIES if media_type != "image/png" else (0,),
        )
        return data, media_type, picture


def _input(data: bytes, media_type: str, size: Size, original: Size) -> tuple[Input, Size]:
    bytes_ = f"{len(data) / 1e6:.1f} MB" if len(data) >= 100_000 else f"{len(data) // 1000} kB"
    note = f"made smaller: {size[0]}x{size[1]}, {bytes_}" if size != original else ""
    facts = (media_type, *size, len(data))
    return Input(digest_of(data), "", *facts, note=note, in_memory=data), original


def _grey(picture: "PILImage") -> "PILImage":
    """Return a mask in grey, white where the picture is to change.

    A transparent one is either white strokes on nothing, or the picture itself with a hole where it
    is to change, as OpenAI's are.
    """
    from PIL import Image, ImageChops

    shown = _picture.for_screen(picture)
    if shown.mode != "RGBA":
        return shown.convert("L")
    alpha = shown.getchannel("A")
    flat = Image.new("RGB", shown.size, "black")
    flat.paste(shown, mask=alpha)
    red, green, blue = flat.split()
    coloured = max(_brightest(ImageChops.difference(green, other)) for other in (red, blue))
    grey = flat.convert("L")
    drawn = coloured <= 32 and _brightest(grey) >= 128
    return grey if drawn else ImageChops.invert(alpha)


def _brightest(grey: "PILImage") -> int:
    return int(grey.getextrema()[1])  # type: ignore[arg-type]  # of one channel
