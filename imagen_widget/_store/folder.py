"""The pictures on disk, each under the hash of its bytes, exactly as the provider served them.

A file appears under its name only when it is whole: `.part`, fsync, rename. Small copies are made
once, in `thumbnails/` of the home; what is deleted goes to its `trash/`.
"""

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imagen_widget._picture import SUFFIXES, Preview, inspect, preview
from imagen_widget._store.files import create_file, make_folder, sync_folder, trouble
from imagen_widget.errors import JournalError, QueueError

STALE_PART_SECONDS = 3600.0  # no write takes that long: its process is dead
THUMBNAIL_SIDE_PIXELS = 384
THUMBNAIL_BYTES = 20_000

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_RETRY = "The paid picture is not lost: %imagen_resume fetches it again."


@dataclass(frozen=True, slots=True)
class Kept:
    """One kept picture.

    Attributes:
        digest: `sha256:` and 64 hex digits.
        path: Where the bytes are.
        media_type: As found in the bytes.
        width: Pixels; 0 if unknown.
        height: Pixels; 0 if unknown.
        size: Bytes.
        problem: Why it cannot be shown, like `cut short` or `damaged`; empty if it can.
    """

    digest: str
    path: Path
    media_type: str
    width: int
    height: int
    size: int
    problem: str = ""


class Store:
    """The pictures of one home; nothing is made before the first one is kept.

    Args:
        home: The private folder.
        folder: Where the pictures are; `images/` of the home by default.
        clock: The time as files have it.
    """

    def __init__(
        self, home: Path, *, folder: Path | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._home = home.expanduser().absolute()
        self._folder = self._home / "images" if folder is None else folder.expanduser().absolute()
        self._clock = clock

    def ready(self) -> None:
        """Make sure that pictures can be kept, before anything is paid for.

        Raises:
            JournalError: They cannot.
        """
        try:
            make_folder(self._folder)
            if not os.access(self._folder, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            doing = "Pictures cannot be kept"
            raise trouble(error, self._folder, doing=doing, after="Nothing was sent.") from None

    def keep(self, data: bytes) -> Kept:
        """Put a picture on disk and return what is known of it; the same bytes are kept once.

        Bytes that nothing here can read are kept too: they are paid for.

        Raises:
            JournalError: They cannot be written.
        """
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        facts = inspect(data)
        target = self._target(digest, SUFFIXES[facts.media_type])
        try:
            if not _holds(target, digest):
                _write(target, data)
        except OSError as error:
            doing = "The picture cannot be kept"
            raise trouble(error, target.parent, doing=doing, after=_RETRY) from None
        return Kept(
            digest, target, facts.media_type, facts.width, facts.height, len(data), facts.problem
        )

    def path(self, digest: str) -> Path | None:
        """Return where the picture of this digest is; None if it is not kept."""
        return next((path for path in self._candidates(digest) if path.is_file()), None)

    def read(self, digest: str) -> bytes:
        """Return the picture's bytes.

        Raises:
            QueueError: It is not kept, or has changed.
        """
        path = self.path(digest)
        with contextlib.suppress(OSError):
            data = b"" if path is None else path.read_bytes()
            if f"sha256:{hashlib.sha256(data).hexdigest()}" == digest:
                return data
        raise QueueError(
            f"The picture {digest[:19]}… is not kept any more, or has changed.",
            remedy="If its file was moved, put it back; History().verify() lists what is missing.",
        )

    def verify(self, digest: str) -> bool:
        """Return True if the picture of this digest is there with its bytes unchanged."""
        path = self.path(digest)
        return path is not None and _holds(path, digest)

    def thumbnail(self, digest: str) -> Preview | None:
        """Return a copy of at most 384 pixels, made once; None if it cannot be made."""
        small = self._thumbnail_path(digest)
        if small is None:
            return None
        with contextlib.suppress(OSError):
            data = small.read_bytes()
            facts = inspect(data)
            return Preview(data, facts.media_type, facts.width, facts.height)
        path = self.path(digest)
        try:
            if path is None:
                return None
            made = preview(path.read_bytes(), side=THUMBNAIL_SIDE_PIXELS, max_bytes=THUMBNAIL_BYTES)
        except (QueueError, OSError):
            return None
        with contextlib.suppress(OSError, JournalError):  # a full disk costs time, not pictures
            _write(small, made.data)
        return made

    def trash(self, digest: str) -> None:
        """Move a picture, if it is kept, to `trash/` in the home.

        Raises:
            JournalError: It cannot be moved.
        """
        path = self.path(digest)
        if path is not None:
            _move(path, self._home / "trash" / path.name)
            small = self._thumbnail_path(digest)
            if small is not None:
                small.unlink(missing_ok=True)

    def restore(self, digest: str) -> None:
        """Move a picture back from `trash/`.

        Raises:
            JournalError: It cannot be moved.
        """
        for target in self._candidates(digest):
            path = self._home / "trash" / target.name
            if path.is_file():
                _move(path, target)

    def sweep_parts(self, older_than_seconds: float = STALE_PART_SECONDS) -> int:
        """Delete the unfinished files that dead processes left; return how many there were."""
        count = 0
        for folder in (self._folder, self._home / "thumbnails"):
            for part in folder.glob("??/*.part-*"):
                with contextlib.suppress(OSError):  # another process may be sweeping too
                    if self._clock() - part.stat().st_mtime > older_than_seconds:
                        part.unlink()
                        count += 1
        return count

    def _candidates(self, digest: str) -> Iterator[Path]:
        if _DIGEST.fullmatch(digest):  # anything else could be a path out of the folder
            for suffix in SUFFIXES.values():
                yield self._target(digest, suffix)

    def _target(self, digest: str, suffix: str) -> Path:
        return self._folder / _name(digest, suffix)

    def _thumbnail_path(self, digest: str) -> Path | None:
        if not _DIGEST.fullmatch(digest):
            return None
        return self._home / "thumbnails" / _name(digest, ".webp")


def _name(digest: str, suffix: str) -> str:
    digits = digest.removeprefix("sha256:")
    return f"{digits[:2]}/sha256-{digits}{suffix}"


def _write(target: Path, data: bytes) -> None:
    make_folder(target.parent)
    part = target.with_name(f"{target.name}.part-{secrets.token_hex(8)}")
    try:
        with os.fdopen(create_file(part), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        if size != len(data):
            raise JournalError(
                f"The disk took {size} of {len(data)} bytes ({target.parent}).",
                remedy=f"{_RETRY} Set IMAGEN_HOME to a folder on a disk that works.",
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(target.parent)


def _move(path: Path, target: Path) -> None:
    try:
        make_folder(target.parent)
        try:
            path.replace(target)
        except OSError:  # the store may be on another disk than the home
            _write(target, path.read_bytes())
            path.unlink()
    except OSError as error:
        raise trouble(error, path, doing="The picture cannot be moved") from None


def _holds(path: Path, digest: str) -> bool:
    """Return True if a file has the bytes of this digest."""
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest
    except OSError:
        return False
