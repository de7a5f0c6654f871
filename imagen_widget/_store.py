"""The pictures on disk, each under the hash of its bytes, exactly as the provider served them.

A file appears under its name only when it is whole: `.part`, fsync, read back, rename.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagen_widget._home import create_file, make_folder, sync_folder, trouble
from imagen_widget._picture import SUFFIXES, inspect
from imagen_widget.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STALE_PART_SECONDS = 3600.0  # no write takes that long: whoever began it is dead

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_RETRY = "The paid picture is not lost: %imagen_resume fetches it again."


@dataclass(frozen=True, slots=True)
class Kept:
    """One kept picture.

    Attributes:
        digest: `sha256:` and 64 hex digits.
        path: Where the bytes are.
        media_type: As found in the bytes.
        width: Pixels.
        height: Pixels.
        size: Bytes.
    """

    digest: str
    path: Path
    media_type: str
    width: int
    height: int
    size: int


class Store:
    """The pictures of one home folder; nothing is made before the first picture is kept."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = home.expanduser().absolute() / "images"
        self._clock = clock

    def keep(self, data: bytes) -> Kept:
        """Put a picture on disk and return what is known of it; the same bytes are kept once.

        Raises:
            QueueError: The bytes are no whole picture.
            JournalError: They cannot be written.
        """
        facts = inspect(data)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        target = self._target(digest, SUFFIXES[facts.media_type])
        try:
            if not _holds(target, digest):
                _write(target, data, digest)
        except OSError as error:
            doing = "The picture cannot be kept"
            raise trouble(error, target.parent, doing=doing, after=_RETRY) from None
        return Kept(digest, target, facts.media_type, facts.width, facts.height, len(data))

    def path(self, digest: str) -> Path | None:
        """Return where the picture of this digest is, or None where it is not kept."""
        return next((path for path in self._candidates(digest) if path.is_file()), None)

    def verify(self, digest: str) -> bool:
        """Tell whether the picture of this digest is there with its bytes unchanged."""
        path = self.path(digest)
        return path is not None and _holds(path, digest)

    def sweep_parts(self, older_than_seconds: float = STALE_PART_SECONDS) -> int:
        """Delete the unfinished files that dead processes left; return how many there were."""
        count = 0
        for part in self._folder.glob("??/*.part-*"):
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
        digits = digest.removeprefix("sha256:")
        return self._folder / digits[:2] / f"sha256-{digits}{suffix}"


def _write(target: Path, data: bytes, digest: str) -> None:
    make_folder(target.parent)
    part = target.with_name(f"{target.name}.part-{secrets.token_hex(8)}")
    try:
        with open(create_file(part), "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not _holds(part, digest):
            raise JournalError(
                f"The disk gave other bytes back than were written ({target.parent}).",
                remedy=f"{_RETRY} Set IMAGEN_HOME to a folder on a disk that works.",
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(target.parent)


def _holds(path: Path, digest: str) -> bool:
    """Tell whether a file has the bytes of this digest."""
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest
    except OSError:
        return False
