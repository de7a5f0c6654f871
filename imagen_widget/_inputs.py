"""Pictures as input: what was given is read, made ready to go out, and placed in a model's fields.

In a request a picture stands as its digest or its https address; the bytes are in the store. What
may go out as it is keeps its bytes; the rest is turned upright, converted and made small enough,
once a process. White in a mask means change, for every provider. All refusals are raised here in
one line, before anything is written down.
"""

import contextlib
import errno
import io
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from imagen_widget import _picture
from imagen_widget._html import in_ascii
from imagen_widget._models import A_PICTURE, Field, Model, PictureLimits
from imagen_widget._picture import MAX_PIXELS, SVG, digest_of
from imagen_widget._settings import LOOPBACK
from imagen_widget.errors import InvalidRequest, QueueError, invalid

if TYPE_CHECKING:  # Pillow takes 50 ms to import
    from PIL.Image import Image as PILImage

MAX_BODY_BYTES = 3 * 1024 * 1024  # of one request: gateways refuse more
INPUT_BYTES = (MAX_BODY_BYTES - 256 * 1024) * 3 // 4  # all pictures: base64 adds a third

_MAX_FILE_BYTES = 300_000_000
_FRESH_SECONDS = 2.0  # a file that is still being written may change under the same time stamp
_TIFF_MODES = {"1", "L", "RGB", "RGBA", "CMYK", "I", "I;16", "F"}
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]+:/")  # as a Path has it, which keeps one slash
_WHAT = f"Give {A_PICTURE}."
_GIVE_THE_FILE = "Download the picture and give the file."
_MAX_CACHED = 30  # pictures that are ready to go out, each within INPUT_BYTES
_BUDGET_STEP_BYTES = 64 * 1024  # so that other pictures in the request rarely change the bytes
_BYTES_A_PIXEL = 0.3  # of a good JPEG
_QUALITIES = (90, 75)
_SENT_AS_THEY_ARE = {"image/jpeg", "image/webp", "image/png"}
_LOSSLESS = {"image/png", "image/gif", "image/bmp", "image/tiff"}
_PLAIN_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}
_CONVERT_IT = (
    f"Give a PNG, JPEG or WebP of at most {MAX_PIXELS // 10**6} megapixels; GIF, BMP, TIFF and AVIF"
    " are converted."
)
USUAL_FIELDS = (  # of most models, for one of which nothing is known
    Field("image_url", "picture", role="picture"),
    Field("image_urls", "pictures", role="picture"),
    Field("mask_url", "picture", role="mask"),
)

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Input:
    """One picture given as input, as it goes out; equal to another of the same bytes or address."""

    digest: str = ""  # `sha256:` and the hex digits of the bytes; "" for an https address
    url: str = ""  # the https address that goes out as it is; "" for bytes
    media_type: str = field(default="", compare=False)  # of the bytes
    width: int = field(default=0, compare=False)  # pixels; 0 if unknown
    height: int = field(default=0, compare=False)
    size: int = field(default=0, compare=False)  # bytes
    origin: str = field(default="", compare=False)  # a file's name, an address, or whose picture
    source_id: str = field(default="", compare=False)  # the journal's id of that generation
    source_index: int = field(default=0, compare=False)  # its place there, from 0
    original: Size = field(default=(0, 0), compare=False)  # in pixels, before it was made ready
    note: str = field(default="", compare=False)  # to what it was made smaller, in words
    path: Path | None = field(default=None, compare=False)  # once it is kept
    in_memory: bytes | None = field(default=None, compare=False)  # until it is kept

    def __repr__(self) -> str:
        return in_ascii(f"<Input {self.origin}: {self.key}>")

    @property
    def key(self) -> str:
        """What stands for it in a request: its digest or its address."""
        return self.digest or self.url

    def data(self) -> bytes:
        """Return the bytes that go out; raises InvalidRequest if they are not at hand any more."""
        if self.in_memory is not None:
            return self.in_memory
        with contextlib.suppress(OSError):
            if self.path is not None:
                return self.path.read_bytes()
        what = f"the input picture {self.digest[:19]}… is not kept here any more"
        raise invalid("image", what, "Give the picture itself again: image=….")

    def kept_in(self, store: Any) -> "Input":
        """Return the same input with its bytes in a `Store`, and none of them in memory."""
        if self.url:
            return self
        path = store.path(self.digest) or store.keep(self.data()).path
        return replace(self, path=path, in_memory=None)

    def to_dict(self) -> dict[str, Any]:
        """Return what a journal or a file tells of it."""
        names = ("digest", "url", "media_type", "width", "height", "size", "origin")
        return {name: getattr(self, name) for name in (*names, "source_id", "source_index")}


class PictureSource:
    """A value that stands for pictures which are kept here."""

    def sources(self) -> tuple[Input, ...]:
        raise NotImplementedError


def _given(value: object, label: str, base_url: str = "") -> tuple[Input, ...]:
    """Return the pictures that a value stands for, as they are; several only for a `Generation`."""
    if isinstance(value, PictureSource):
        return value.sources()
    if isinstance(value, Input):
        return (value,)
    if isinstance(value, bytes | bytearray | memoryview):
        return (_from_bytes(bytes(value), label, "bytes"),)
    if isinstance(value, str):
        return (_from_text(value, label, base_url),)
    if isinstance(value, PathLike):
        return (from_file(value, label),)
    if hasattr(value, "getbands"):
        return (_from_pillow(cast("PILImage", value), label),)
    several = label == "image" and isinstance(value, list | tuple)
    more = " Pass several as images=[…]." if several else ""
    raise invalid(label, f"{type(value).__name__} is not a picture", _WHAT + more)


def local(path: str | PathLike[str]) -> Path:
    """Return a path of this machine; raises ValueError for an address, which would be a folder."""
    found = Path(path)
    if _ADDRESS.match(str(found)):
        raise ValueError("that is an address")
    return found.expanduser()


def from_file(given: str | PathLike[str], label: str, **known: Any) -> Input:
    """Return the picture in a file; it is read again only if the file has changed."""
    shown = repr(str(given)[-100:])  # its end, where the name is
    try:
        path = local(given).absolute()
        stat = path.stat()
        if stat.st_size > _MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, f"it has {stat.st_size // 10**6} MB")
        if not path.is_file():  # a device or a pipe may have no end
            raise OSError(errno.EISDIR, "Is a directory" if path.is_dir() else "it is a device")
        is_fresh = time.time() - stat.st_mtime < _FRESH_SECONDS
        read = _file_digest.__wrapped__ if is_fresh else _file_digest
        digest = read(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except (FileNotFoundError, ValueError, TypeError, RuntimeError):  # the ~ of an unknown user
        raise invalid(label, f"there is no file {shown}", _WHAT) from None
    except OSError as error:
        what = f"the file {shown} cannot be read ({error.strerror})"
        raise invalid(label, what, _WHAT) from None
    if not stat.st_size:
        raise invalid(label, f"the file {shown} is empty", _WHAT)
    return replace(Input(digest, size=stat.st_size, origin=path.name, path=path), **known)


@lru_cache(maxsize=10_000)
def _file_digest(path: Path, _time: int, _size: int, _inode: int) -> str:
    return digest_of(path.read_bytes())


def _from_bytes(data: bytes, label: str, origin: str) -> Input:
    if not data:
        raise invalid(label, "the picture is empty", _WHAT)
    return Input(digest_of(data), size=len(data), origin=origin, in_memory=data)


def _from_pillow(picture: "PILImage", label: str) -> Input:
    name = Path(str(getattr(picture, "filename", "") or "Pillow image")).name
    sink = io.BytesIO()
    try:
        with _picture.readable():  # it may be closed, cut short, or without a pixel
            shown = _picture.upright(picture)
            clear = shown.has_transparency_data
            if shown.mode not in _TIFF_MODES or (clear and shown.mode != "RGBA"):
                shown = shown.convert("RGBA" if clear else "RGB")
            shown.save(sink, "TIFF")  # as fast as a copy, and any depth
    except QueueError as error:
        raise invalid(label, error.message, _WHAT) from None
    return _from_bytes(sink.getvalue(), label, name)


def _from_text(text: str, label: str, base_url: str) -> Input:
    text = text.strip()
    scheme = text[:8].lower()
    if not text:
        raise invalid(label, "the picture is empty", _WHAT)
    if scheme.startswith(("https://", "http://")):
        url = scheme + text[8:]
        _check_address(url, label, base_url)
        return Input(url=url, origin=url.partition("?")[0])
    if scheme.startswith("data:"):
        data = _picture.from_data_address(text)
        if data is None:
            raise invalid(label, "the data: address is not valid", _WHAT)
        return _from_bytes(data, label, "data address")
    if text.startswith("sha256:") and len(text) == 71:
        return Input(text)
    return from_file(text, label)


def _check_address(url: str, label: str, base_url: str) -> None:
    try:
        parts = urlsplit(url)
        host = "" if len(url.split()) != 1 else parts.hostname or ""
    except ValueError:
        host = ""
    if not host:
        raise invalid(label, "the address is not valid", "Give one like https://host/fox.png.")
    if parts.username or parts.password:
        what = "the address holds a name or password, which would be sent and written down"
        raise invalid(label, what, _GIVE_THE_FILE)
    is_local = host in LOOPBACK and urlsplit(base_url).hostname in LOOPBACK
    if parts.scheme == "http" and not is_local:
        what = "an http:// address is not encrypted, and is not sent"
        raise invalid(label, what, f"Use its https:// address. {_GIVE_THE_FILE}")


# ------------------------------------------------------------------------- ready to go out

_cache: OrderedDict[Hashable, Input] = OrderedDict()
_lock = threading.Lock()  # one at a time: twenty jobs with one picture prepare it once


def _prepare(
    raw: Input,
    label: str,
    limits: PictureLimits | None,
    budget_bytes: int,
    *,
    mask: bool = False,
    size: Size | None = None,
) -> Input:
    """Return a picture as it goes out; `size` is what a mask has to fit.

    Raises `InvalidRequest` if it is not a picture, or not one that the model takes.
    """
    if raw.path is None and raw.in_memory is None:
        return raw
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
                raise invalid(label, error.message, _CONVERT_IT) from None
            except Exception as error:  # noqa: BLE001 - encoders fail in many ways
                what = f"the picture cannot be converted ({type(error).__name__})"
                raise invalid(label, what, _CONVERT_IT) from None
            if len(_cache) > _MAX_CACHED:
                _cache.popitem(last=False)
        _cache.move_to_end(key)
        made = _cache[key]
    return replace(made, origin=raw.origin, source_id=raw.source_id, source_index=raw.source_index)


def mask_as_alpha(data: bytes) -> bytes:
    """Return a mask as OpenAI's routes take it: transparent where it was white."""
    from PIL import Image, ImageChops

    grey = _grey(_picture.open_picture(data))
    layer = Image.new("RGBA", grey.size, "black")
    layer.putalpha(ImageChops.invert(grey))
    return _picture.saved(layer, "image/png")


class _Work:
    def __init__(self, data: bytes, label: str, limits: PictureLimits, budget: int) -> None:
        self._data, self._label, self._limits, self._budget = data, label, limits, budget
        self._facts = _picture.inspect(data, checksums=False)
        problem = "an SVG drawing" if self._facts.media_type == SVG else self._facts.problem
        if problem:
            what = f"this is not a picture that can be sent ({problem})"
            raise invalid(label, what, _CONVERT_IT)

    def picture(self) -> Input:
        size = self._facts.width, self._facts.height
        shown = None if size[0] else _picture.open_picture(self._data)
        size = size if shown is None else shown.size
        self._check_size(size)
        if shown is None and self._is_ready(size):
            return _input(self._data, self._facts.media_type, size, size)
        side = self._side(size)
        shown = shown or _picture.open_picture(self._data, side=side)
        small = _picture.for_screen(_picture.resized(shown, side))
        if small.mode == "RGBA" and small.getchannel("A").getextrema() == (255, 255):
            small = small.convert("RGB")
        data, media_type, small = self._encoded(small)
        return _input(data, media_type, small.size, size)

    def mask(self, size: Size | None) -> Input:
        """Return the mask in grey, of this size, without soft steps if they take too many bytes."""
        grey = _grey(_picture.open_picture(self._data))
        original = grey.size
        if _brightest(grey) < 128:
            what = "nothing in it is white, so nothing would change"
            raise invalid(self._label, what, "Paint white what is to change, the rest black.")
        if size is not None and grey.size != size:
            grey = grey.resize(size)
        data = _picture.saved(grey, "image/png")
        if len(data) > self._budget:
            data = _picture.saved(grey.point(lambda v: 255 * (v >= 128)), "image/png")
        return _input(data, "image/png", grey.size, original)

    def _check_size(self, size: Size) -> None:
        low = (self._limits.min_width or 1, self._limits.min_height or 1)
        area = self._limits.min_area or 1
        if size[0] < low[0] or size[1] < low[1] or size[0] * size[1] < area:
            least = f"{low[0]} x {low[1]}" if max(low) > 1 else f"{area} pixels in all"
            what = f"{size[0]} x {size[1]} pixels are too few for this model"
            raise invalid(self._label, what, f"It takes pictures of at least {least}.")

    def _side(self, size: Size, *, budget: bool = True) -> int:
        """Return the longer side in pixels that the limits and the bytes allow."""
        (width, height), limits = size, self._limits
        area = min(limits.max_area or width * height, width * height)
        if budget:
            area = min(area, int(self._budget / _BYTES_A_PIXEL))
        across = (limits.max_width or width) / width, (limits.max_height or height) / height
        return max(1, int(max(size) * min(1.0, *across, (area / (width * height)) ** 0.5)))

    def _is_ready(self, size: Size) -> bool:
        from PIL import Image

        facts = self._facts
        if (
            facts.media_type not in _SENT_AS_THEY_ARE
            or facts.turned
            or len(self._data) > self._budget
            or size[0] * size[1] > MAX_PIXELS  # Pillow warns of them
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
        if exact and picture.width * picture.height < self._budget:
            data = _picture.saved(picture, "image/png")
            if len(data) <= self._budget:
                return data, "image/png", picture
        media_type = "image/webp" if clear else "image/jpeg"
        data, picture = _picture.fit(picture, self._budget, media_type, qualities=_QUALITIES)
        return data, media_type, picture


def _input(data: bytes, media_type: str, size: Size, original: Size) -> Input:
    bytes_ = f"{len(data) / 1e6:.1f} MB" if len(data) >= 100_000 else f"{len(data) // 1000} kB"
    note = f"made smaller: {size[0]}x{size[1]}, {bytes_}" if size != original else ""
    facts = (media_type, *size, len(data))
    return Input(digest_of(data), "", *facts, original=original, note=note, in_memory=data)


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


# --------------------------------------------------------------------- in a model's fields


@dataclass(slots=True)
class _Group:
    field: Field
    label: str
    inputs: list[Input]


def read_input(
    value: object, *, limits: PictureLimits | None = None, mask: bool = False, base_url: str = ""
) -> Input:
    """Return one picture as it goes out: upright, converted and made smaller if need be.

    `base_url` is where it goes: an http address is allowed if that is this machine. Raises
    `InvalidRequest` if it is not a picture that can be sent.
    """
    label = "mask" if mask else "image"
    raw = _given(value, label, base_url)[0]
    made = _prepare(raw, label, limits, INPUT_BYTES, mask=mask)
    return replace(made, note=made.note and f"the picture was {made.note}")


def place_inputs(
    model: Model,
    image: object = None,
    images: object = None,
    mask: object = None,
    *,
    fields: Mapping[str, object] | None = None,
    base_url: str = "",
    strict: bool = True,
) -> tuple[dict[str, Any], tuple[Input, ...]]:
    """Return the model's picture fields as they are sent, and the inputs that stand in them.

    `fields` holds values by the model's own names, of which those of its picture fields are read.
    With `strict=False` there may be more pictures, of other sizes, than the model's schema says.
    Raises `InvalidRequest` if the model does not take these pictures, or one cannot be sent.
    """
    groups: dict[str, _Group] = {}
    for into, label, values in (*_by_role(model, image, images, mask), *_by_name(model, fields)):
        if into.name in groups:
            what = f"Give either image, images or mask, or {into.name}."
            raise invalid(into.name, "the picture was given twice", what)
        several = label == "images" or (into.kind == "pictures" and label != "image")
        found = [_given(value, label, base_url)[: None if several else 1] for value in values]
        field = into if strict else replace(into, max_items=None, limits=None)
        groups[into.name] = _Group(field, label, [one for each in found for one in each])
        _check_count(model, groups[into.name])
    ordered = sorted(groups.values(), key=lambda group: group.field.role == "mask")  # masks last
    _prepare_all(ordered)
    sent = {}
    for group in ordered:
        keys = [each.key for each in group.inputs]
        sent[group.field.name] = keys if group.field.kind == "pictures" else keys[0]
    inputs = [each for group in ordered for each in group.inputs]
    notes = [i.note and f"picture {place} was {i.note}" for place, i in enumerate(inputs, 1)]
    if inputs and model.source == "none":
        notes[0] += f"{'; ' * bool(notes[0])}the picture goes out as {ordered[0].field.name}"
    return sent, tuple(replace(i, note=note) for i, note in zip(inputs, notes, strict=True))


def _by_role(
    model: Model, image: object, images: object, mask: object
) -> Iterator[tuple[Field, str, list[object]]]:
    """Yield the model's field, the name and the values for what was given by role."""
    several = [value for value in _many(images) if value is not None]
    if images is not None and image is None and not several:  # perhaps no file was found
        raise invalid("images", "no picture was given", _WHAT)
    known = USUAL_FIELDS if model.source == "none" else model.fields
    takers = [f for f in reversed(known) if f.role in {"picture", "mask"}]
    fields = {"mask" if f.role == "mask" else f.kind: f for f in takers}
    one, many = fields.get("picture"), fields.get("pictures")
    if image is not None and several and one is None:
        several, image = [image, *several], None
    if image is not None:
        yield one or many or _takes_none(model, "image"), "image", [image]
    if several:
        yield many or one or _takes_none(model, "images"), "images", several
    if mask is not None:
        yield fields.get("mask") or _takes_none(model, "mask"), "mask", [mask]


def _many(images: object) -> list[object]:
    one = (str, bytes, bytearray, memoryview, Mapping, PictureSource, io.IOBase)
    if isinstance(images, one) or not isinstance(images, Iterable):
        return [images]
    return list(images)


def _by_name(
    model: Model, fields: Mapping[str, object] | None
) -> Iterator[tuple[Field, str, list[object]]]:
    for name, value in (fields or {}).items():
        values = list(value) if isinstance(value, list | tuple) else [value]
        field = model.field(name)
        if field is None and model.source == "none" and values and all(map(_is_picture, values)):
            field = Field(name, "picture" if values == [value] else "pictures")
        if value is not None and field is not None and field.kind in {"picture", "pictures"}:
            yield field, name, values


def _is_picture(value: object) -> bool:
    """Return True for what must be a picture: a data address, or what JSON cannot hold."""
    if isinstance(value, str):
        return value[:11].lower() == "data:image/"
    marks = hasattr(value, "__fspath__") or hasattr(value, "getbands")
    return marks or isinstance(value, bytes | Input | PictureSource)


def _takes_none(model: Model, label: str) -> Field:
    what = "no mask" if label == "mask" else "no pictures"
    remedy = "Choose a model that does: models('edit') lists some."
    named = [f"{f.name}=…" for f in model.fields if f.kind in {"picture", "pictures"}]
    if model.edits_with:
        remedy = f"{model.edits_with} edits pictures."
    elif named and label != "mask":
        what, remedy = "its pictures by their own names", f"Give {' or '.join(named)}."
    raise invalid(label, f"{model.name} takes {what}", remedy)


def _check_count(model: Model, group: _Group) -> None:
    count = len(group.inputs)
    if not count and group.field.kind == "picture":
        raise invalid(group.label, "no picture was given", _WHAT)
    most = 1 if group.field.kind == "picture" else group.field.max_items
    if most is not None and count > most:
        takes = "one picture" if most == 1 else f"at most {most} pictures"
        remedy = "Leave some out, or choose a model that takes more."
        raise invalid(group.label, f"{model.name} takes {takes}, and {count} were given", remedy)


def _prepare_all(groups: list[_Group]) -> None:
    """Make all pictures ready: together within the bytes, the small ones as they are."""
    masks = [group for group in groups if group.field.role == "mask"]
    places = [(g, i) for g in groups if g not in masks for i in range(len(g.inputs))]
    places.sort(key=lambda place: place[0].inputs[place[1]].size)
    left = INPUT_BYTES * 3 // 4 if masks else INPUT_BYTES
    for done, (group, index) in enumerate(places):
        share = left // (len(places) - done)
        made = _prepare(group.inputs[index], group.label, group.field.limits, share)
        group.inputs[index] = made
        left -= made.size
    bases = (g.inputs[0] for g in groups if g.field.role == "picture" and g.inputs)
    base = next(bases, None)
    for group in masks:
        if base is None:
            what = "there is no picture for it"
            raise invalid(group.label, what, "Give image=… with it.")
        size = (base.width, base.height) if base.width else None
        limits, budget = group.field.limits, INPUT_BYTES // 4
        made = _prepare(group.inputs[0], group.label, limits, budget, mask=True, size=size)
        if size and made.width and made.original not in {base.original, size}:
            sizes = (f"{width} x {height}" for width, height in (made.original, base.original))
            what = "it has {} pixels, and its picture {}".format(*sizes)
            raise invalid(group.label, what, "Make the mask as large as the picture.")
        group.inputs[0] = replace(made, note="")
