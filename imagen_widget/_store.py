"""The pictures, each under the hash of its bytes: in a folder, or at an fsspec address.

A file appears under its name only when it is whole: `.part`, fsync, rename. The bytes are exactly
those that the provider served. Small copies are made once, in `thumbnails/` of the home; what is
deleted goes to its `trash/`. Only its owner can read what is made in a home, and a group what is
made in a folder of the group's; modes are set after the making, because a umask can take bits away
but never adds the right ones.

What is at an address (`s3://bucket/prefix`) is written once and read back; what comes from there
counts only if its bytes have the digest that names it. Credentials are found as fsspec finds them
and are in no message.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, cast

from imagen_widget._picture import SUFFIXES, Preview, digest_of, inspect, preview
from imagen_widget.errors import JournalError, QueueError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FOLDER_MODE = 0o700
FILE_MODE = 0o600
STALE_PART_SECONDS = 3600.0  # no write takes that long: its process is dead
THUMBNAIL_SIDE_PIXELS = 384
THUMBNAIL_BYTES = 20_000

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_RETRY = "The paid picture is not lost: %imagen_resume fetches it again."
_FULL = ("the disk is full", "Free some space and try again.")
_FORBIDDEN = ("writing is not permitted", "Set IMAGEN_HOME to a writable folder.")
_REASONS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _FORBIDDEN),
    errno.EROFS: ("the disk is read-only", "Set IMAGEN_HOME to a writable folder."),
}
_MARKER = "imagen-widget.txt"
_TROUBLES = {  # what the name of an error means; its text may hold an address or a key
    "FileNotFoundError": "there is no such bucket or folder",
    "NoCredentialsError": "no credentials were found",
    "PartialCredentialsError": "the credentials are not complete",
    "PermissionError": "access is denied",
    "ClientError": "the service refused",
    "EndpointConnectionError": "the service cannot be reached",
    "ConnectTimeoutError": "the service cannot be reached",
    "ConnectionError": "the service cannot be reached",
}

log = logging.getLogger("imagen_widget")


def open_store(home: Path, address: str | None = None) -> "Store":
    """Return the store of a home: its own folder, or what IMAGEN_STORE says; no disk is touched."""
    if not address:
        return Store(home)
    if "://" not in address or address.startswith("file://"):
        return Store(home, folder=Path(address.removeprefix("file://")))
    return RemoteStore(home, address)


@dataclass(frozen=True, slots=True)
class Kept:
    """One kept picture."""

    digest: str  # `sha256:` and 64 hex digits
    path: Path  # where the bytes are
    media_type: str  # as found in the bytes
    width: int  # pixels; 0 if unknown
    height: int
    size: int  # bytes
    problem: str = ""  # why it cannot be shown, like `cut short` or `damaged`


class Store:
    """The pictures of one home; nothing is made before the first one is kept.

    They are in `folder`, by default `images/` of the private home. All but `thumbnail` and `verify`
    raise JournalError if a file or folder cannot be used.
    """

    def __init__(self, home: Path, *, folder: Path | None = None) -> None:
        self._home = home.expanduser().absolute()
        self._folder = self._home / "images" if folder is None else folder.expanduser().absolute()

    def ready(self) -> None:
        """Make sure that pictures can be kept, before anything is paid for."""
        try:
            make_folder(self._folder)
            if not os.access(self._folder, os.W_OK):
                raise PermissionError(errno.EACCES, "Permission denied")
        except OSError as error:
            doing = "Pictures cannot be kept"
            raise trouble(error, self._folder, doing=doing, after="Nothing was sent.") from None

    def keep(self, data: bytes) -> Kept:
        """Put a picture on disk and return what is known of it; the same bytes are kept once.

        Bytes that nothing here can read are kept too: they are paid for.
        """
        digest, facts = digest_of(data), inspect(data)
        target = self._folder / names_of(digest)[SUFFIXES[facts.media_type]]
        try:
            if not (target.exists() and _holds(target, digest)):
                make_folder(self._folder)
                _write(target, data, stat.S_IMODE(self._folder.stat().st_mode))
        except OSError as error:
            doing = "The picture cannot be kept"
            raise trouble(error, target.parent, doing=doing, after=_RETRY) from None
        return Kept(
            digest, target, facts.media_type, facts.width, facts.height, len(data), facts.problem
        )

    def path(self, digest: str) -> Path | None:
        """Return where the picture of this digest is; None if it is not kept."""
        for name in names_of(digest).values():
            path = Path(f"{self._folder}/{name}")  # twice as quick as joining: a search has many
            try:
                if path.is_file():
                    return path
            except OSError:  # it is there, and must not be paid for again
                raise JournalError(
                    f"A kept picture cannot be read: its folder belongs to another user ({path}).",
                    remedy=f"Let all of the group read and write what is in {self._folder}.",
                ) from None
        return None

    def verify(self, digest: str) -> bool:
        """Return True if the picture of this digest is there with its bytes unchanged."""
        path = self.path(digest)
        return path is not None and _holds(path, digest)

    def thumbnail(self, digest: str) -> Preview | None:
        """Return a copy of at most 384 pixels, made once; None if it cannot be made."""
        name = names_of(digest).get(".webp")
        if name is None:
            return None
        small = self._home / "thumbnails" / name
        with contextlib.suppress(OSError):
            data = small.read_bytes()
            facts = inspect(data)
            return Preview(data, facts.media_type, facts.width, facts.height)
        try:
            path = self.path(digest)
            if path is None:
                return None
            made = preview(path.read_bytes(), side=THUMBNAIL_SIDE_PIXELS, max_bytes=THUMBNAIL_BYTES)
        except (QueueError, JournalError, OSError):
            return None
        with contextlib.suppress(OSError, JournalError):  # a full disk costs time, not pictures
            _write(small, made.data)
        return made

    def trash(self, digest: str) -> None:
        """Move a picture, if it is kept, to `trash/` in the home."""
        path = self.path(digest)
        if path is not None:
            _move(path, self._home / "trash" / path.name)
            (self._home / "thumbnails" / names_of(digest)[".webp"]).unlink(missing_ok=True)

    def restore(self, digest: str) -> None:
        """Move a picture back from `trash/`."""
        for name in names_of(digest).values():
            path = self._home / "trash" / Path(name).name
            if path.is_file():
                _move(path, self._folder / name, stat.S_IMODE(self._folder.stat().st_mode))

    def sweep_parts(self) -> None:
        """Delete the unfinished files that dead processes left."""
        for folder in (self._folder, self._home / "thumbnails"):
            for part in folder.glob("??/*.part-*"):
                with contextlib.suppress(OSError):  # another process may be sweeping too
                    if time.time() - part.stat().st_mtime > STALE_PART_SECONDS:
                        part.unlink()


class RemoteStore(Store):
    """The pictures of a group; the home's folder holds copies of what was made or looked at."""

    def __init__(self, home: Path, address: str) -> None:
        super().__init__(home)
        self._address = address
        self._written = False
        self._shown = re.sub(r"//[^/@]*@", "//", address.partition("?")[0])

    def ready(self) -> None:
        """Make sure that pictures can be kept here and there, before anything is paid for."""
        super().ready()
        if not self._written:
            text = b"Pictures of imagen_widget, each under the SHA-256 of its bytes.\n"
            self._call("write to", self._put, _MARKER, text)
            self._written = True

    def keep(self, data: bytes) -> Kept:
        kept = super().keep(data)
        try:
            self._upload(names_of(kept.digest)[kept.path.suffix], data)
        except JournalError as error:
            kept_here = "The picture is in IMAGEN_HOME; %imagen_resume tries the store again."
            raise JournalError(error.message, remedy=f"{error.remedy} {kept_here}") from None
        return kept

    def path(self, digest: str) -> Path | None:
        """Return where the picture's copy in the home is, fetched if need be; None if missing."""
        local = super().path(digest)
        if local is not None:
            return local
        data = self._download(digest)
        return None if data is None else super().keep(data).path

    def verify(self, digest: str) -> bool:
        return self._download(digest) is not None

    def trash(self, digest: str) -> None:
        """Move a picture to `trash/` in the home, away from the address."""
        path = self.path(digest)
        super().trash(digest)
        if path is not None:
            files, root = self._files
            self._call("delete from", files.rm_file, f"{root}/{names_of(digest)[path.suffix]}")

    def restore(self, digest: str) -> None:
        super().restore(digest)
        path = super().path(digest)
        if path is not None:
            self._upload(names_of(digest)[path.suffix], path.read_bytes())

    # ------------------------------------------------------------------------- the other side

    @cached_property
    def _files(self) -> tuple[Any, str]:
        try:
            import fsspec

            files, root = fsspec.url_to_fs(self._address)
        except ImportError:
            scheme = self._address.partition("://")[0]
            raise JournalError(
                f"IMAGEN_STORE ({self._shown}): a package for {scheme}:// is missing.",
                remedy="pip install fsspec; for s3:// also s3fs, for gs:// gcsfs.",
            ) from None
        return files, str(root).rstrip("/")

    def _upload(self, name: str, data: bytes) -> None:
        if self._call("read from", self._get, name) == data:
            return
        self._call("write to", self._put, name, data)
        if self._call("read from", self._get, name) != data:
            raise JournalError(
                f"IMAGEN_STORE ({self._shown}) returned bytes other than those written.",
                remedy="Check that it has space and keeps what it is given.",
            )

    def _download(self, digest: str) -> bytes | None:
        """Return the shared picture's bytes; None if it is missing, or not what its name says."""
        for name in names_of(digest).values():
            data = self._call("read from", self._get, name)
            if data is not None and digest_of(data) == digest:
                return data
            if data is not None:
                size = len(data)
                log.warning("IMAGEN_STORE (%s): %s is damaged (%d bytes).", self._shown, name, size)
        return None

    def _put(self, name: str, data: bytes) -> None:
        files, root = self._files
        try:
            files.pipe_file(f"{root}/{name}", data)
        except FileNotFoundError:  # no folder: object stores need none, and no bucket is made
            if not files.exists(root):
                raise
            files.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
            files.pipe_file(f"{root}/{name}", data)

    def _get(self, name: str) -> bytes | None:
        files, root = self._files
        try:
            return cast("bytes", files.cat_file(f"{root}/{name}"))
        except FileNotFoundError:
            return None

    def _call(self, doing: str, function: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return function(*args)
        except JournalError:
            raise
        except Exception as error:  # noqa: BLE001 - each file system has errors of its own
            kinds = [kind.__name__ for kind in type(error).__mro__]
            said = next((_TROUBLES[kind] for kind in kinds if kind in _TROUBLES), kinds[0])
            raise JournalError(
                f"Cannot {doing} IMAGEN_STORE ({self._shown}): {said}.",
                remedy="Check the address and its credentials.",
            ) from None


# -------------------------------------------------------------------------------------- files


def names_of(digest: str) -> dict[str, str]:
    """Return the names that a picture's file can have, by suffix, in a folder by its first digits.

    What is not a digest has none: it could be a path out of the folder.
    """
    found = _DIGEST.fullmatch(digest)
    if found is None:
        return {}
    digits, names = found[1], {}
    for suffix in SUFFIXES.values():
        names[suffix] = f"{digits[:2]}/sha256-{digits}{suffix}"
    return names


def make_folder(path: Path, mode: int = FOLDER_MODE) -> None:
    """Make a folder, with its missing parents; one that exists is left as its owner made it."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        if path.is_dir():
            return  # another process was quicker
        raise
    path.chmod(mode)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on disk, if the system can do that."""
    if os.name == "nt":
        return  # a folder cannot be opened there; NTFS journals the names itself
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return  # somebody else's folder, to be entered but not listed
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # network file systems that cannot
            raise
    finally:
        os.close(descriptor)


def trouble(error: OSError, path: Path, *, doing: str, after: str = "") -> JournalError:
    """Return the one line that says what the file system refused and what to do about it.

    `doing` is what cannot be done, like `The journal cannot be opened`, and `after` what the user
    should know besides, like `Nothing was sent.`
    """
    said = (error.strerror or type(error).__name__).lower()
    unknown = (said, "Set IMAGEN_HOME to a folder on a disk that works.")
    what, remedy = _REASONS.get(error.errno or 0, unknown)
    return JournalError(f"{doing}: {what} ({path}).", remedy=f"{after} {remedy}".strip())


def _write(target: Path, data: bytes, mode: int = FOLDER_MODE) -> None:
    make_folder(target.parent, mode)
    part = target.with_name(f"{target.name}.part-{secrets.token_hex(8)}")
    try:
        with open(part, "xb", opener=partial(os.open, mode=FILE_MODE)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        if size != len(data):
            raise JournalError(
                f"The disk took {size} of {len(data)} bytes ({target.parent}).",
                remedy=f"{_RETRY} Set IMAGEN_HOME to a folder on a disk that works.",
            )
        part.chmod(mode & 0o666)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(target.parent)


def _move(path: Path, target: Path, mode: int = FOLDER_MODE) -> None:
    try:
        make_folder(target.parent, mode)
        try:
            path.replace(target)
        except OSError:  # the store may be on another disk than the home
            _write(target, path.read_bytes(), mode)
            path.unlink()
    except OSError as error:
        raise trouble(error, path, doing="The picture cannot be moved") from None


def _holds(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest
    except OSError:
        return False
