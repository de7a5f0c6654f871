"""Pictures at an fsspec address (`s3://bucket/prefix`), shared by a group, with a copy in the home.

An object is written once and read back; what comes from there counts only if its bytes have the
digest that names it. Credentials are found as fsspec finds them and are in no message.
"""

import logging
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from imagen_widget._inputs import digest_of
from imagen_widget._picture import SUFFIXES
from imagen_widget._store import Kept, Store, name_of, names_of
from imagen_widget.errors import JournalError

P = ParamSpec("P")
T = TypeVar("T")

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
        """Put a picture in the home and at the address."""
        kept = super().keep(data)
        try:
            self._upload(name_of(kept.digest, SUFFIXES[kept.media_type]), data, kept.digest)
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
        """Return True if the shared picture is there with its bytes unchanged."""
        return self._download(digest) is not None

    def trash(self, digest: str) -> None:
        """Move a picture to `trash/` in the home, away from the address."""
        path = self.path(digest)
        super().trash(digest)
        if path is not None:
            self._call("delete from", self._delete, name_of(digest, path.suffix))

    def restore(self, digest: str) -> None:
        """Move a picture back from `trash/`, and to the address."""
        super().restore(digest)
        path = super().path(digest)
        if path is not None:
            self._upload(name_of(digest, path.suffix), path.read_bytes(), digest)

    # ------------------------------------------------------------------------- the other side

    @cached_property
    def _files(self) -> tuple[Any, str]:
        """The file system and the path of the store in it."""
        try:
            import fsspec

            files, root = fsspec.url_to_fs(self._address)
        except ImportError:
            scheme = self._address.partition("://")[0]
            raise JournalError(
                f"IMAGEN_STORE ({self._shown}): a package for {scheme}:// is missing.",
                remedy='pip install "imagen-widget[store]"; for s3:// also s3fs, for gs:// gcsfs.',
            ) from None
        return files, str(root).rstrip("/")

    def _upload(self, name: str, data: bytes, digest: str) -> None:
        if self._call("look into", self._size, name) == len(data):
            return
        self._call("write to", self._put, name, data)
        found = self._call("read from", self._get, name)
        if found is None or digest_of(found) != digest:
            raise JournalError(
                f"IMAGEN_STORE ({self._shown}) gave other bytes back than were written.",
                remedy="Check that it has space and keeps what it is given.",
            )

    def _download(self, digest: str) -> bytes | None:
        """Return the shared picture's bytes; None if it is missing, or not what its name says."""
        for name in names_of(digest):
            data = self._call("read from", self._get, name)
            if data is not None and digest_of(data) != digest:
                size = len(data)
                log.warning("IMAGEN_STORE (%s): %s is damaged (%d bytes).", self._shown, name, size)
                return None
            if data is not None:
                return data
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

    def _size(self, name: str) -> int | None:
        files, root = self._files
        try:
            return int(files.info(f"{root}/{name}")["size"])
        except FileNotFoundError:
            return None

    def _delete(self, name: str) -> None:
        files, root = self._files
        files.rm_file(f"{root}/{name}")

    def _call(self, doing: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except JournalError:
            raise
        except Exception as error:  # noqa: BLE001 - each file system has errors of its own
            kinds = [kind.__name__ for kind in type(error).__mro__]
            said = next((_TROUBLES[kind] for kind in kinds if kind in _TROUBLES), kinds[0])
            raise JournalError(
                f"Cannot {doing} IMAGEN_STORE ({self._shown}): {said}.",
                remedy="Check the address and its credentials.",
            ) from None
