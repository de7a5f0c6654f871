"""GeneratedImage and Generation: pictures on disk with what is known of them.

The bytes stay in the file and are read when asked for, so that a thousand results cost no memory.
Both display themselves: small copies that survive in the saved notebook, never the original.
"""

import contextlib
import hashlib
import re
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from imagen_widget import _html, _picture
from imagen_widget._inputs import Input, PictureSource, from_file, local
from imagen_widget._models import Catalogue, Model, dollars, short_name
from imagen_widget._picture import SUFFIXES, SVG, Preview, Provenance
from imagen_widget._request import ImageRequest
from imagen_widget.errors import ImagenError, InvalidRequest, QueueError, invalid, one_line, plural

if TYPE_CHECKING:  # Pillow takes 50 ms to import
    from PIL.Image import Image as PILImage

_MAX_ALT_CHARACTERS = 300
_KEPT = re.compile(r".*/(..)/sha256-\1[0-9a-f]{62}\.\w+", re.DOTALL)  # as the store calls its files
_PICTURE_SUFFIXES = {*SUFFIXES.values(), ".jpeg", ".tiff"}
_KINDS: dict[str, tuple[type, ...]] = {  # of what a saved picture tells
    **dict.fromkeys(("model", "request_id", "provider", "created", "id"), (str,)),
    "prompt": (str, type(None)),
    "parameters": (dict,),
    "inputs": (list,),
    "index": (int,),
    "seed": (int, type(None)),
}
_naming = threading.Lock()  # of copies: two threads may come to the same name
_CONVERTED = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


@dataclass(frozen=True)
class GeneratedImage(PictureSource):
    """One picture: its file, its facts, and where it came from.

    Attributes:
        path: Where the original bytes are kept.
        media_type: As found in the bytes: `image/png`, `image/jpeg`, `image/svg+xml`, …
        width: Pixels; 0 if unknown.
        height: Pixels; 0 if unknown.
        url: The provider's public address of it, which may have expired; or None.
        provenance: The request, the job's ids, the provider, the time, and the place in the job.
        tells: Whether copies may carry that; False with IMAGEN_PROVENANCE=0.
    """

    path: Path
    media_type: str
    width: int
    height: int
    url: str | None
    provenance: Provenance[ImageRequest]
    tells: bool = field(default=True, compare=False)

    @property
    def data(self) -> bytes:
        """The bytes as the provider served them.

        Raises:
            QueueError: The file is gone.
        """
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise QueueError(
                f"The picture's file cannot be read ({error.strerror}): {self.path}",
                remedy="If it was moved, put it back; the address in its .url may still serve it.",
            ) from None

    @cached_property
    def preview(self) -> Preview:
        """A WebP copy of at most 1024 pixels and 70 kB, encoded once."""
        return _picture.preview(self.data)

    @property
    def alt(self) -> str:
        """What to read aloud in place of the picture: the prompt, or its beginning."""
        return one_line(self.provenance.request.prompt or "", limit=_MAX_ALT_CHARACTERS)

    @property
    def file_name(self) -> str:
        """A readable name for copies: words of the prompt, the job's id, the place in the job."""
        return f"{_picture.file_stem(self.provenance)}{SUFFIXES[self.media_type]}"

    def save(self, path: str | Path, *, provenance: bool = True) -> Path:
        """Write a copy to a file, or under a readable name into a folder, and return its path.

        The prompt and settings are written into the copy (PNG text, or EXIF and XMP), with IPTC's
        mark for pictures made by a model; `provenance=False` or IMAGEN_PROVENANCE=0 leaves them
        out, since a prompt is private. A picture that its maker signed (C2PA), and a format that
        holds no settings, is copied as it is, and the settings go beside it: `fox.json` for
        `fox.png`.

        Args:
            path: A folder that exists, a name without suffix (a folder to make), or a file name
                ending in .png, .jpg, .jpeg, .webp or the served format's own suffix. Another
                format than that is encoded again, without the maker's signature.
            provenance: Whether the copy carries the settings, if IMAGEN_PROVENANCE allows it.

        Raises:
            InvalidRequest: The picture cannot be written there, or not in the format that the
                suffix names.
        """
        with _saving(path) as given:
            in_folder = given.is_dir() or not given.suffix or str(path).endswith("/")
            target = first = given / self.file_name if in_folder else given
            suffix = target.suffix.lower()
            suffix = {".jpeg": ".jpg", ".tiff": ".tif"}.get(suffix, suffix)
            served = suffix == SUFFIXES[self.media_type]
            data = self.data if served else self._encoded_for(suffix, typed=target.suffix)
            data, inside = self._marked(data, provenance)
            target.parent.mkdir(parents=True, exist_ok=True)
            number = 1
            with _naming:  # the file that has the name may be another's
                while in_folder and target.exists() and target.read_bytes() != data:
                    number += 1
                    target = first.with_stem(f"{first.stem}-{number}")
                real = target.resolve()  # what a link leads to
                if _KEPT.fullmatch(real.as_posix()) and real.exists():
                    what = "that is a kept original, which nothing may change"
                    raise invalid("path", what, "Give another name for the copy.")
                with whole_file(real) as part:
                    part.write_bytes(data)
            if not inside:
                self._write_beside(target, data)
            return target

    def marked(self, *, provenance: bool = True) -> bytes:
        """Return the bytes as `save` writes them, in the format that was served."""
        return self._marked(self.data, provenance)[0]

    def to_pil(self) -> "PILImage":
        """Return the decoded picture as a Pillow image, upright."""
        return _picture.open_picture(self.data)

    def sources(self) -> tuple[Input, ...]:
        """Return this picture as one that can be given as input."""
        origin = self.provenance
        words = one_line(origin.request.prompt or short_name(origin.request.model), limit=40)
        name = f'picture {origin.index + 1} of "{words}"'
        place = {"source_id": origin.id, "source_index": origin.index}
        return (from_file(self.path, "image", origin=name, **place),)

    def _marked(self, data: bytes, provenance: bool) -> tuple[bytes, bool]:
        """Return a copy with the settings in it, and True if nothing needs to go beside it."""
        if not (provenance and self.tells):
            return data, True
        size = f"{self.width}x{self.height}"
        name = short_name(self.provenance.request.model)
        return _picture.embed(data, self.provenance, size=size, model_name=name)

    def _write_beside(self, path: Path, data: bytes) -> None:
        """Write the settings beside a copy that cannot hold them; another's file stays."""
        own = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}
        for beside in _beside(path):
            known = _picture.from_json(_text(beside)) or {"file": ""}
            if not beside.exists() or known.get("file", path.name) == path.name:
                with whole_file(beside) as part:
                    part.write_text(_picture.to_json(self.provenance, **own), "utf-8")
                return

    def _encoded_for(self, suffix: str, *, typed: str) -> bytes:
        if self.media_type == SVG:
            remedy = "End the name in .svg; browsers and drawing programs open it."
            raise invalid("path", "an SVG drawing is not converted to pixels", remedy)
        wanted = _CONVERTED.get(suffix)
        if wanted is None:
            *others, last = dict.fromkeys((*_CONVERTED, SUFFIXES[self.media_type]))
            remedy = f"End the name in {', '.join(others)} or {last}."
            raise invalid("path", f"{typed!r} is not a picture format", remedy)
        return _picture.encode(self.data, wanted)

    def __repr__(self) -> str:
        return f"<GeneratedImage {self._size()} {self.media_type} {self.path.name}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {
            "text/plain": f"{self!r}\n{self.path}",
            "text/html": _html.figures([(_figure(self), "")], caption=self._size()),
            **_picture.contact_sheet([small_copy(self)]),
        }

    def _size(self) -> str:
        return f"{self.width}x{self.height}" if self.width else "of unknown size"


@dataclass(frozen=True)
class Generation(Sequence[GeneratedImage], PictureSource):
    """What one request brought: a sequence of pictures that displays itself.

    Attributes:
        images: The pictures, in the provider's order, without those that it withheld.
        request: The request, with its parameters as attributes.
        request_id: The provider's id of the job.
        provider: The provider's name.
        seconds: From submit to the pictures on disk; 0 when answered from history.
        cost: US dollars; 0 when answered from history or by the demo; None if unknown.
        created: When the pictures were made, in local time.
        reused: Whether history answered, so that nothing was sent and nothing paid.
        seed: The seed that the provider reported or that was asked for; None if unknown.
        filtered: How many of those asked for the provider withheld.
        revised_prompt: The prompt as the provider rewrote it; None if it did not.
        cost_source: `billed` (by the answer), `yours` (IMAGEN_PRICE), `list` or None.
        id: The journal's id of the job.
    """

    images: tuple[GeneratedImage, ...]
    request: ImageRequest
    request_id: str
    provider: str
    seconds: float
    cost: float | None
    created: datetime
    reused: bool = False
    seed: int | None = None
    filtered: int = 0
    revised_prompt: str | None = None
    cost_source: str | None = None
    id: str = ""

    @overload
    def __getitem__(self, index: int) -> GeneratedImage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[GeneratedImage]: ...
    def __getitem__(self, index: int | slice) -> GeneratedImage | Sequence[GeneratedImage]:
        return self.images[index]

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[GeneratedImage]:
        return iter(self.images)

    @property
    def model(self) -> str:
        """The endpoint id that was asked."""
        return self.request.model

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The pictures that were given."""
        return self.request.inputs

    @property
    def paths(self) -> list[Path]:
        """Where the original files are kept."""
        return [image.path for image in self.images]

    @property
    def urls(self) -> list[str]:
        """The provider's public addresses, as far as there are any; they expire."""
        return [image.url for image in self.images if image.url]

    def save(self, folder: str | Path, *, provenance: bool = True) -> list[Path]:
        """Write copies of all pictures into a folder, made if missing, and return their paths.

        A single picture can be given the name of a file, as in `GeneratedImage.save`.

        Raises:
            InvalidRequest: They cannot be written there.
        """
        with _saving(folder) as target:
            if target.suffix.lower() in _PICTURE_SUFFIXES and not target.is_dir():
                if len(self) == 1:
                    return [self[0].save(target, provenance=provenance)]
                what = f"save() takes a folder for {len(self)} pictures, not a file's name"
                remedy = f"For one file save one of them, like fox[0].save({target.name!r})."
                raise invalid("folder", what, remedy)
            target.mkdir(parents=True, exist_ok=True)
        return [image.save(target, provenance=provenance) for image in self.images]

    def as_reused(self) -> "Generation":
        """Return it as the answer to a request that was not sent: at once, and free."""
        return replace(self, reused=True, seconds=0.0, cost=0.0, cost_source=None)

    def sources(self) -> tuple[Input, ...]:
        """Return its pictures as ones that can be given as input."""
        return tuple(found for image in self.images for found in image.sources())

    @property
    def summary(self) -> str:
        """One line: how many pictures, how long, what they cost, the seed."""
        request, count = self.request, len(self.images)
        parts = [f"{count} image{'' if count == 1 else 's'}"]
        missing = max(request.count - count - self.filtered, 0)  # what could not be read
        asked = count + self.filtered + missing
        if self.filtered:
            parts.append(f"{self.filtered} of {asked} withheld by the provider's filter")
        if missing:
            parts.append(f"{missing} of {asked} missing")
        if request.inputs:
            first, masks = request.inputs[0].origin or "a picture", int(request.has_mask)
            more = len(request.inputs) - 1 - masks
            others = f" and {plural(more, 'more input')}" if more > 0 else ""
            parts.append(f"from {first}{others}" + " with a mask" * masks)
        if self.reused:
            parts.append(f"from history, {age(self.created)}, free")
        else:
            billed = " billed" if self.cost_source == "billed" else ""
            cost = cost_text(self.cost, free=not self.cost and not billed)
            parts += [f"{self.seconds:.1f} s", cost + billed]
        if self.seed is not None:
            parts.append(f"seed {self.seed}")
        parts.append(f"{self.provider} {short_name(request.model)}")
        if self.reused:
            parts.append("--fresh (reuse=False) for a new one")
        return " · ".join(parts)

    @property
    def caption(self) -> str:
        """One line for a list of generations: the prompt's beginning, the age, the model."""
        words = one_line(self.request.prompt or "", limit=80)
        parts = (words, age(self.created), short_name(self.model))
        return " · ".join(part for part in parts if part)

    def __repr__(self) -> str:
        return _html.in_ascii(f"<Generation: {self.summary.replace(' · ', ', ')}>")

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        cells = [(_figure(image), _html.escape(image._size())) for image in self.images]
        return {
            "text/plain": "\n".join([repr(self), *(f"  {path}" for path in self.paths)]),
            "text/html": _html.figures(cells, caption=_html.escape(self.summary)),
            **_picture.contact_sheet(map(small_copy, self.images)),
        }


def asked(image: GeneratedImage) -> dict[str, object]:
    """Return all that was asked for a picture, and its seed if it is known."""
    told = image.provenance
    seed = {} if told.seed is None else {"seed": told.seed}
    return {"model": short_name(told.request.model), **told.request.arguments(), **seed}


def differences(*asked: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """Return what is different between two requests and what is the same: the values by name."""
    found: dict[str, dict[str, str]] = {"Different": {}, "The same": {}}
    for name in {**asked[0], **asked[1]}:
        values = dict.fromkeys(str(each.get(name, "not given")) for each in asked)
        found["Different" if len(values) > 1 else "The same"][name] = " | ".join(values)
    return {head: values for head, values in found.items() if values}


def age(moment: datetime, *, now: datetime | None = None) -> str:
    """Return how long ago a moment was, in words: `just now`, `5 minutes ago`, `2 days ago`."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count >= 1:
            return f"{plural(count, unit)} ago"
    return "just now"


def cost_text(cost: float | Decimal | None, *, free: bool = False) -> str:
    """Return a price in words: `$0.04`, `free` or `price unknown`."""
    if cost is None:
        return "price unknown"
    if free:
        return "free"
    return dollars(Decimal(str(cost)))


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give the path to write a file to, which has its own name only when it is whole."""
    part = path.with_name(f".{secrets.token_hex(8)}.part")  # short: the name may be the longest
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _saving(path: str | Path) -> Iterator[Path]:
    """Give the path of copies; what the file system refuses becomes one line with a remedy."""
    try:
        yield local(path)
    except ImagenError:
        raise
    except (OSError, RuntimeError, TypeError, ValueError) as error:  # a NUL, ~ of an unknown user
        what = f"cannot be saved as {path} ({getattr(error, 'strerror', None) or error})"
        remedy = "Give the full path of another folder; the picture itself is kept."
        raise invalid("path", f"the picture {what}", remedy) from None


def small_copy(image: GeneratedImage, side: int = 0, max_bytes: int = 0) -> Preview | None:
    """Return a picture's preview, or a smaller copy of that; None if it cannot be made."""
    with contextlib.suppress(ImagenError):
        made = image.preview
        return _picture.preview(made.data, side=side, max_bytes=max_bytes) if side else made
    return None


def _figure(image: GeneratedImage) -> str:
    small = small_copy(image)
    if small is None:
        kept = f"{image.media_type}, kept as" if image.path.exists() else "its file cannot be read:"
        return f"<em>{_html.escape(f'{kept} {image.path}')}</em>"
    return _html.image(
        small.data,
        small.media_type,
        alt=image.alt,
        width=small.width,
        height=small.height,
        style="max-width:100%;height:auto;display:block;border-radius:6px",
    )


def settings_from(picture: str | Path | bytes) -> Provenance[ImageRequest]:
    """Return what a saved picture says of itself: its request, job, provider, date and seed.

    Args:
        picture: A picture file, its bytes, or the file NAME.json beside it.

    Raises:
        InvalidRequest: The file cannot be read, or carries no settings.
    """
    try:
        path = None if isinstance(picture, bytes) else Path(picture).expanduser()
        data = picture if isinstance(picture, bytes) else Path(picture).expanduser().read_bytes()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        what = f"it cannot be read: {getattr(error, 'strerror', None) or error}"
        raise invalid("picture", what, "Give the path of a picture that was saved.") from None
    if path is not None and path.suffix == ".json":
        found = _picture.from_json(_text(path))
    else:
        digest = hashlib.sha256(data).hexdigest()
        beside = () if path is None else map(_text, _beside(path))
        kept = (_picture.from_json(text, sha256=digest) for text in beside)
        found = next(filter(None, kept), None) or _picture.read_settings(data)
    checked = None if found is None else _checked(found)
    if checked is None:
        others = "originals in IMAGEN_HOME, edited pictures and those sent by a messenger"
        remedy = f"Copies saved by imagen_widget do; {others} do not."
        raise invalid("picture", "it carries no settings", remedy)
    return checked


def _checked(told: dict[str, Any]) -> Provenance[ImageRequest] | None:
    """Return what a file tells, if its types are right; with fewer fields if the model changed."""
    told = {"inputs": [], "id": "", **told}  # which files of version 0.1 do not have
    wrong = [name for name, kinds in _KINDS.items() if type(told.get(name, ...)) not in kinds]
    if wrong or not all(isinstance(picture, dict) for picture in told["inputs"]):
        return None
    catalogue, asked = Catalogue(None), dict[str, Any](told["parameters"])
    pictures = {picture.key: picture for picture in map(_input, told["inputs"])}
    for parameters in (asked, {}):
        with contextlib.suppress(InvalidRequest, ValueError, OverflowError):  # of the date
            known = catalogue.model(catalogue.resolve(told["model"]))
            fields = dict(_fields(known, parameters, pictures))
            for field in known.fields:
                if field.name in fields and field.kind in {"picture", "pictures"}:
                    field.check(fields[field.name])  # a digest or an address: no file from here
            request = ImageRequest.create(told["prompt"], extra=fields, known=known)
            inputs = (pictures.get(each.key, each) for each in request.inputs)
            return Provenance(
                request=replace(request, inputs=tuple(inputs)),
                request_id=told["request_id"],
                provider=told["provider"],
                created=datetime.fromisoformat(told["created"]).astimezone(),
                index=max(0, told["index"]),
                seed=told["seed"],
                id=told["id"],
            )
    return None


def _input(told: dict[str, Any]) -> Input:
    """Return an input as a file tells of it: what has the right type, bytes or an address."""
    plain = Input().to_dict().items()
    kept = {name: told[name] for name, v in plain if type(told.get(name)) is type(v)}
    return Input(**{**kept, "url": ""} if kept.get("digest") else kept)


def _fields(
    known: Model, told: dict[str, Any], pictures: dict[str, Input]
) -> Iterator[tuple[str, Any]]:
    """Give what is told besides the prompt; what an unknown model was given as picture is one."""
    for name, value in told.items():
        values = value if isinstance(value, list) else [value]
        if name == "prompt" or not (known.source == "none" or known.field(name)):
            continue
        if known.source == "none" and all(isinstance(v, str) and v in pictures for v in values):
            yield name, [pictures[v] for v in values] if values is value else pictures[value]
        else:
            yield name, value


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_suffix(".json"), path.with_name(f"{path.name}.json")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
