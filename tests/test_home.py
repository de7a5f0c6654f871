"""The home folder's laws: private, durable, and plain words where the system refuses."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from imagen_widget._home import create_file, make_folder, sync_folder, trouble


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full (/x). Kept. Free some space"),
        (errno.EDQUOT, "the disk is full (/x). Kept. Free some space"),
        (errno.EROFS, "the disk is read-only (/x). Kept. Set IMAGEN_HOME"),
        (errno.EACCES, "writing is not permitted (/x). Kept. Set IMAGEN_HOME"),
        (errno.EIO, "input/output error (/x). Kept. Set IMAGEN_HOME"),
    ],
)
def test_each_refusal_of_the_system_has_its_words_and_remedy(code: int, words: str) -> None:
    told = trouble(
        OSError(code, os.strerror(code)), Path("/x"), doing="It cannot be done", after="Kept."
    )

    assert str(told).startswith(f"It cannot be done: {words}")


def test_a_folder_and_its_missing_parents_are_private(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")

    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b")}
    assert modes == {0o700}


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").touch()

    with pytest.raises(OSError, match="exists"):
        make_folder(tmp_path / "a")


def test_a_file_is_never_created_over_another(tmp_path: Path) -> None:
    os.close(create_file(tmp_path / "a"))

    with pytest.raises(FileExistsError):
        create_file(tmp_path / "a")


def test_a_missing_folder_cannot_be_synced(tmp_path: Path) -> None:
    sync_folder(tmp_path)

    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")
