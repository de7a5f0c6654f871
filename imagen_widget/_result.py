"""GeneratedImage and Generation: pictures on disk with what is known of them.

The bytes stay in the file and are read when asked for, so that a thousand results cost no memory.
Both display themselves: a small copy that survives in the saved notebook, never the original.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from imagen_widget import _html, _picture
from imagen_widget._catalog import short_name
from imagen_widget._provenance import Provenance, embed, file_stem
from imagen_widget.errors import ImagenError, InvalidRequest, QueueError

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    from imagen_widget._picture import Preview
    from imagen_widget._request import ImageRequest

_MOST_NAMES_TRIED = 10_000


@dataclass(frozen=True)
class GeneratedImage:
    """One picture: its file, its facts, and where it came from.

    Attributes:
        path: Where the original bytes are kept.
        media_type: `image/png`, `image/jpeg` or `image/webp`, as found in the bytes.
        width: Pixels.
        height: Pixels.
        url: The provider's public address of it, which may have expired; or None.
        provenance: The request, the job's id, the provider, the time, and the place in the job.
    """

    path: Path
    media_type: str
    width: int
    height: int
    url: str | None
    provenance: Provenance

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
                remedy="If it was moved, put it back; else fetch it again with %imagen_resume.",
            ) from None

    @cached_property
    def preview(self) -> Preview:
        """A WebP copy of at most 1024 pixels and 110 KB, encoded once."""
        return _picture.preview(self.data)

    @property
    def alt(self) -> str:
        """What to read aloud in place of the picture: the prompt."""
        return self.provenance.request.prompt

    def save(self, path: str | Path, *, provenance: bool = True) -> Path:
        """Write a copy to a file, or under a readable name into a folder, and return its path.

        The prompt and settings are written into the copy (PNG text, or EXIF and XMP), so that they
        can be loaded back; `provenance=False` leaves them out, since a prompt is private.

        Args:
            path: A folder that exists, a name without suffix (a folder to make), or a file name
                ending in .png, .jpg, .jpeg or .webp; another format than the served one is encoded
                anew.
            provenance: Whether the copy carries the settings.

        Raises:
            InvalidRequest: The suffix names no picture format that is known here.
        """
        target = Path(path).expanduser()
        if target.is_dir() or not target.suffix:
            target.mkdir(parents=True, exist_ok=True)
            return self._save_into(target, provenance=provenance)
        data, media_type = self._encoded_for(target.suffix.lower())
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(embed(data, media_type, self.provenance) if provenance else data)
        return target

    def to_pil(self) -> PILImage:
        """Return the decoded picture as a Pillow image."""
        from PIL import Image

        picture = Image.open(self.path, formats=("PNG", "JPEG", "WEBP"))
        picture.load()
        return picture

    def _save_into(self, folder: Path, *, provenance: bool) -> Path:
        stem, suffix = file_stem(self.provenance), _picture.SUFFIXES[self.media_type]
        data = embed(self.data, self.media_type, self.provenance) if provenance else self.data
        for number in range(_MOST_NAMES_TRIED):
            target = folder / f"{stem}{f'-{number + 1}' if number else ''}{suffix}"
            if target.exists() and target.read_bytes() == data:
                return target  # the same picture saved again is one file
            with contextlib.suppress(FileExistsError), target.open("xb") as file:
                file.write(data)
                return target
        raise InvalidRequest(
            f"There are {_MOST_NAMES_TRIED} files of this name in the folder.",
            remedy="Save to another folder.",
        )

    def _encoded_for(self, suffix: str) -> tuple[bytes, str]:
        wanted = {**{s: m for m, s in _picture.SUFFIXES.items()}, ".jpeg": "image/jpeg"}.get(suffix)
        if wanted is None:
            raise InvalidRequest(
                f"path: there is no picture format {suffix!r}.",
                remedy="End the name in .png, .jpg or .webp.",
                field="path",
            )
        if wanted == self.media_type:
            return self.data, wanted
        return _picture.encode(self.data, wanted), wanted

    def __repr__(self) -> str:
        return f"<GeneratedImage {self.width}x{self.height} {self.media_type} {self.path.name}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {
            "text/plain": f"{self!r}\n{self.path}",
            "text/html": _html.figures([(_figure(self), "")], caption=_caption(self)),
        }


@dataclass(frozen=True)
class Generation(Sequence[GeneratedImage]):
    """What one request brought: a sequence of pictures that displays itself.

    Attributes:
        images: The pictures, in the provider's order; fewer than asked where some were filtered.
        request: The request, with its parameters as attributes.
        request_id: The provider's id of the job.
        model: The endpoint id that was asked.
        provider: `kkiai`, `fal` or `demo`.
        seconds: From submit to the pictures on disk; 0 when answered from history.
        cost: Estimated US dollars, by the list price or the price you set; 0 when answered from
            history or by the demo; None where the price is unknown.
        reused: Whether history answered, so that nothing was sent and nothing paid.
        created: When the pictures were made, in local time.
        seed: The seed that the provider reported or that was asked for, else None.
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

    @overload
    def __getitem__(self, index: int) -> GeneratedImage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[GeneratedImage]: ...
    def __getitem__(self, index: int | slice) -> GeneratedImage | Sequence[GeneratedImage]:
        """Return one picture, or some of them as a tuple."""
        return self.images[index]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)

    def __iter__(self) -> Iterator[GeneratedImage]:
        """Iterate over the pictures."""
        return iter(self.images)

    @property
    def model(self) -> str:
        """The endpoint id that was asked."""
        return self.request.model

    @property
    def paths(self) -> list[Path]:
        """Where the original files are kept."""
        return [image.path for image in self.images]

    @property
    def urls(self) -> list[str]:
        """The provider's public addresses, where there are any; they expire."""
        return [image.url for image in self.images if image.url]

    def save(self, folder: str | Path, *, provenance: bool = True) -> list[Path]:
        """Write copies of all pictures into a folder, made if missing, and return their paths."""
        target = Path(folder).expanduser()
        target.mkdir(parents=True, exist_ok=True)
        return [image.save(target, provenance=provenance) for image in self.images]

    @property
    def summary(self) -> str:
        """One line: how many pictures, how long, what they cost, the seed."""
        return " · ".join(self._summary_parts())

    def _summary_parts(self) -> Iterator[str]:
        yield f"{len(self)} image{'' if len(self) == 1 else 's'}"
        if len(self) < self.request.count:
            yield f"{self.request.count} were asked for, the rest were filtered by the provider"
        if self.reused:
            yield f"from history, {age(self.created)}, free; --fresh for a new one"
        else:
            yield f"{self.seconds:.1f} s"
            yield cost_text(self.cost, provider=self.provider)
        if self.seed is not None:
            yield f"seed {self.seed}"
        yield f"{self.provider} {short_name(self.model)}"

    def __repr__(self) -> str:
        return f"<Generation: {self.summary}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        lines = [self.summary, *(f"  {path}" for path in self.paths)]
        cells = [(_figure(image), _html.escape(_caption(image))) for image in self.images]
        return {
            "text/plain": "\n".join(lines),
            "text/html": _html.figures(cells, caption=_html.escape(self.summary)),
        }


def age(moment: datetime, *, now: datetime | None = None) -> str:
    """Return how long ago a moment was, in words: `just now`, `5 minutes ago`, `2 days ago`."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count >= 1:
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def cost_text(cost: float | Decimal | None, *, provider: str) -> str:
    """Return a price in words: `$0.04`, `free (demo)` or `price unknown`."""
    if provider == "demo":
        return "free (demo)"
    if cost is None:
        return "price unknown"
    exact = f"{Decimal(str(cost)).normalize():f}"
    return f"${max(exact, f'{Decimal(str(cost)):.2f}', key=len)}"


def _figure(image: GeneratedImage) -> str:
    try:
        small = image.preview
    except ImagenError as error:
        return f"<em>{_html.escape(error)}</em>"
    return _html.image(
        small.data,
        small.media_type,
        alt=image.alt,
        width=small.width,
        height=small.height,
        style="max-width:100%;height:auto;display:block;border-radius:6px",
    )


def _caption(image: GeneratedImage) -> str:
    return f"{image.width} x {image.height}"
