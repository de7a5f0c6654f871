"""What was given as a picture: a path, bytes, a Pillow image, an address, or a picture of ours.

Everything that cannot be one is refused here in one line, before anything is written down.
"""

import contextlib
import hashlib
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import ip_address
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from imagen_widget import _picture
from imagen_widget.errors import InvalidRequest

if TYPE_CHECKING:  # Pillow takes 50 ms to import
    from PIL.Image import Image as PILImage

_MAX_FILE_BYTES = 300_000_000
_MAX_ADDRESS_CHARACTERS = 2048  # what fal's runners take
_FRESH_SECONDS = 2.0  # a file that is still being written may change under the same time stamp
_TIFF_MODES = {"1", "L", "RGB", "RGBA", "CMYK", "I", "I;16", "F"}
_WHAT = "Give a file, bytes, a PIL image, an https address or a generated picture."
_GIVE_THE_FILE = "Download the picture and give the file."


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
    note: str = field(default="", compare=False)  # to what it was made smaller, in words
    path: Path | None = field(default=None, compare=False, repr=False)  # once it is kept
    in_memory: bytes | None = field(default=None, compare=False, repr=False)  # until it is kept

    @property
    def key(self) -> str:
        """What stands for it in a request: its digest or its address."""
        return self.digest or self.url

    @property
    def has_bytes(self) -> bool:
        """Whether its bytes are at hand."""
        return self.path is not None or self.in_memory is not None

    def data(self) -> bytes:
        """Return the bytes that go out.

        Raises:
            InvalidRequest: They are not at hand any more.
        """
        if self.in_memory is not None:
            return self.in_memory
        with contextlib.suppress(OSError):
            if self.path is not None:
                return self.path.read_bytes()
        what = f"the input picture {self.digest[:19]}… is not kept here any more"
        raise refused("image", what, "Give the picture itself again: image=….")

    def kept_in(self, store: Any) -> "Input":
        """Return the same input with its bytes in a `Store`, and none of them in memory.

        Raises:
            InvalidRequest: The bytes are neither at hand nor in the store.
            JournalError: They cannot be kept.
        """
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
        """Return its pictures."""
        raise NotImplementedError


def given(value: object, label: str, base_url: str = "") -> tuple[Input, ...]:
    """Return the pictures that a value stands for, as they are; several only for a `Generation`.

    Raises:
        InvalidRequest: It stands for none.
    """
    if isinstance(value, PictureSource):
        return value.sources()
    if isinstance(value, Input):
        return (value,)
    if isinstance(value, bytes | bytearray | memoryview):
        return (_from_bytes(bytes(value), label, "bytes"),)
    if isinstance(value, str):
        return (_from_text(value, label, base_url),)
    if isinstance(value, PathLike):
        return (from_file(Path(value), label),)
    if isinstance(value, Mapping) and "content" in value:  # what ipywidgets' FileUpload holds
        return (_from_bytes(bytes(value["content"]), label, str(value.get("name", ""))),)
    if hasattr(value, "getbands"):
        return (_from_pillow(cast("PILImage", value), label),)
    several = f" Several go in by {label}s=[…]." if isinstance(value, list | tuple) else ""
    raise refused(label, f"{type(value).__name__} is not a picture", _WHAT + several)


def refused(label: str, what: str, remedy: str) -> InvalidRequest:
    """Return the error for what was given by the name `label`."""
    return InvalidRequest(f"{label}: {what}", remedy=remedy, field=label)


def from_file(path: Path, label: str, **known: Any) -> Input:
    """Return the picture in a file; it is read again only if the file has changed.

    Raises:
        InvalidRequest: There is no such file, or it cannot be read.
    """
    path = path.expanduser()
    try:
        stat = path.stat()
        if not path.is_dir() and stat.st_size <= _MAX_FILE_BYTES:
            is_fresh = time.time() - stat.st_mtime < _FRESH_SECONDS
            digest_of = _file_digest.__wrapped__ if is_fresh else _file_digest
            digest = digest_of(path.absolute(), stat.st_mtime_ns, stat.st_size, stat.st_ino)
            found = Input(digest, size=stat.st_size, origin=path.name, path=path.absolute())
            return replace(found, **known)
    except (OSError, ValueError) as error:
        raise _no_file(path, label, error) from None
    if path.is_dir():
        raise refused(label, f"{path.name} is a folder", "Name files in it: images=[…].")
    raise refused(label, f"{path.name} has {stat.st_size // 10**6} MB", "Make it smaller.")


@lru_cache(maxsize=10_000)
def _file_digest(path: Path, _time: int, _size: int, _inode: int) -> str:
    return digest_of(path.read_bytes())


def digest_of(data: bytes) -> str:
    """Return `sha256:` and the 64 hex digits by which bytes are known."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _no_file(path: Path, label: str, error: Exception) -> InvalidRequest:
    shown = repr(str(path)[:60])
    if isinstance(error, PermissionError):
        return refused(label, f"the file {shown} may not be read", "Change its permissions.")
    names: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        names = [entry.name for entry in path.parent.iterdir()]
    near = get_close_matches(path.name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}? " if near else ""
    return refused(label, f"there is no file {shown}", hint + _WHAT)


def _from_bytes(data: bytes, label: str, origin: str) -> Input:
    if not data:
        raise refused(label, "the picture is empty", _WHAT)
    return Input(digest_of(data), size=len(data), origin=origin, in_memory=data)


def _from_pillow(picture: "PILImage", label: str) -> Input:
    name = Path(str(getattr(picture, "filename", "") or "PIL image")).name
    shown = _picture.upright(picture)
    if shown.mode not in _TIFF_MODES or (shown.has_transparency_data and shown.mode != "RGBA"):
        shown = shown.convert("RGBA" if shown.has_transparency_data else "RGB")
    sink = io.BytesIO()
    shown.save(sink, "TIFF")  # as fast as a copy, and any depth
    return _from_bytes(sink.getvalue(), label, name)


def _from_text(text: str, label: str, base_url: str) -> Input:
    text = text.strip()
    scheme = text[:8].lower()
    if scheme.startswith(("https://", "http://")):
        _check_address(text, label, base_url)
        return Input(url=text, origin=text.partition("?")[0])
    if scheme.startswith("data:"):
        data = _picture.from_data_address(text)
        if data is None:
            raise refused(label, "the data: address is not valid", _WHAT)
        return _from_bytes(data, label, "data address")
    if text.startswith("sha256:") and len(text) == 71:
        return Input(text)
    return from_file(Path(text), label)


def _check_address(url: str, label: str, base_url: str) -> None:
    try:
        parts = urlsplit(url)
        host = "" if len(url.split()) != 1 else parts.hostname or ""
    except ValueError:
        host = ""
    if not host:
        raise refused(label, "the address is not valid", "Give one like https://host/fox.png.")
    if parts.username or parts.password:
        what = "the address holds a name or password, which would be sent and written down"
        raise refused(label, what, _GIVE_THE_FILE)
    if len(url) > _MAX_ADDRESS_CHARACTERS:
        what = f"the address has more than {_MAX_ADDRESS_CHARACTERS} characters"
        raise refused(label, what, _GIVE_THE_FILE)
    if parts.scheme == "http" and not (_is_loopback(url) and _is_loopback(base_url)):
        what = "an http:// address is not encrypted, and is not sent"
        raise refused(label, what, f"Use its https:// address. {_GIVE_THE_FILE}")


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
