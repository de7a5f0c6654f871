"""The private folder of the journal and the pictures: only its owner can read what is made here.

Modes are set after the making, because a umask can take bits away but never adds the right ones.
"""

import errno
import os
from pathlib import Path

from imagen_widget.errors import JournalError

FOLDER_MODE = 0o700
FILE_MODE = 0o600

_BINARY = getattr(os, "O_BINARY", 0)  # Windows translates line ends without it
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM}


def make_folder(path: Path) -> None:
    """Make a folder, with its missing parents; one that exists is left as its owner made it.

    Raises:
        OSError: It cannot be made.
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    try:
        path.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        if path.is_dir():
            return  # another process was quicker
        raise
    path.chmod(FOLDER_MODE)
    sync_folder(path.parent)


def create_file(path: Path) -> int:
    """Create a file that must not exist yet and return its descriptor, open for writing.

    Raises:
        FileExistsError: It exists.
        OSError: It cannot be made.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, FILE_MODE)
    try:
        path.chmod(FILE_MODE)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on disk, if the system can do that.

    Raises:
        OSError: The disk failed.
    """
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

    Args:
        error: What the system said.
        path: The file or folder it was about.
        doing: What cannot be done, like `The journal cannot be opened`.
        after: What the user should know besides, like `Nothing was sent.`
    """
    what, remedy = _reading(error)
    return JournalError(f"{doing}: {what} ({path}).", remedy=f"{after} {remedy}".strip())


def _reading(error: OSError) -> tuple[str, str]:
    if error.errno in _FULL:
        return "the disk is full", "Free some space and try again."
    if error.errno == errno.EROFS:
        return "the disk is read-only", "Set IMAGEN_HOME to a folder that can be written."
    if error.errno in _FORBIDDEN:
        return "writing is not permitted", "Set IMAGEN_HOME to a folder that you may write."
    said = (error.strerror or type(error).__name__).lower()
    return said, "Set IMAGEN_HOME to a folder on a disk that works."
