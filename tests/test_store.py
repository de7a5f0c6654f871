"""The store's laws: whole files only, under their own hash, in a private folder, untouched."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import stat
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from imagen_widget._store import STALE_PART_SECONDS, Kept, Store
from imagen_widget.errors import JournalError, QueueError

if TYPE_CHECKING:
    from pathlib import Path


def picture(kind: str = "PNG", colour: str = "red") -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(sink, kind)
    return sink.getvalue()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "imagen"


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


def files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("kind", "media_type", "suffix"),
    [("PNG", "image/png", ".png"), ("JPEG", "image/jpeg", ".jpg"), ("WEBP", "image/webp", ".webp")],
)
def test_bytes_are_kept_untouched_under_their_hash(
    store: Store, home: Path, kind: str, media_type: str, suffix: str
) -> None:
    data = picture(kind)
    digits = hashlib.sha256(data).hexdigest()

    kept = store.keep(data)

    path = home / "images" / digits[:2] / f"sha256-{digits}{suffix}"
    assert kept == Kept(f"sha256:{digits}", path, media_type, 40, 30, len(data))
    assert path.read_bytes() == data
    assert store.path(kept.digest) == path
    assert store.verify(kept.digest)


def test_making_a_store_touches_no_disk(store: Store, home: Path) -> None:
    assert store.path("sha256:" + "0" * 64) is None
    assert store.sweep_parts() == 0
    assert not home.exists()


def test_the_same_bytes_are_one_file(store: Store, home: Path) -> None:
    first = store.keep(picture())
    second = store.keep(picture())

    assert first == second
    assert files(home) == [first.path]


def test_different_pictures_are_different_files(store: Store, home: Path) -> None:
    store.keep(picture(colour="red"))
    store.keep(picture(colour="blue"))

    assert len(files(home)) == 2


@pytest.mark.parametrize(
    "data", [b"", b"<html>busy</html>", picture()[:-4], picture("JPEG")[:-2], picture("WEBP")[:-1]]
)
def test_what_is_no_whole_picture_is_not_kept(store: Store, home: Path, data: bytes) -> None:
    with pytest.raises(QueueError):
        store.keep(data)

    assert not home.exists()


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_files_and_folders_are_private_under_any_umask(
    store: Store, home: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        path = store.keep(picture()).path
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    folders = (home, home / "images", path.parent)
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_a_file_changed_afterwards_does_not_verify(store: Store) -> None:
    kept = store.keep(picture())

    kept.path.write_bytes(picture(colour="blue"))

    assert store.path(kept.digest) == kept.path
    assert not store.verify(kept.digest)


def test_keeping_a_picture_again_repairs_its_file(store: Store) -> None:
    kept = store.keep(picture())
    kept.path.write_bytes(b"damaged")

    store.keep(picture())

    assert store.verify(kept.digest)


def test_a_missing_file_does_not_verify(store: Store) -> None:
    kept = store.keep(picture())

    kept.path.unlink()

    assert store.path(kept.digest) is None
    assert not store.verify(kept.digest)


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:../../../etc/passwd",
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 64 + "\n",
        "sha256:" + "a" * 64 + "/../x",
        "sha256:" + "٣" * 64,  # digits, but not ASCII ones
        "md5:" + "a" * 64,
    ],
)
def test_a_digest_of_another_form_names_no_file(store: Store, digest: str) -> None:
    store.keep(picture())

    assert store.path(digest) is None
    assert not store.verify(digest)


def test_no_digest_leads_out_of_the_folder(store: Store, home: Path, tmp_path: Path) -> None:
    for folder in ("sha256-..", f"aa/sha256-{'a' * 64}"):
        (home / "images" / folder).mkdir(parents=True)
    (tmp_path / "victim.png").write_bytes(picture())

    for steps in ("../../../victim", "a" * 64 + "/../../../../victim"):
        assert store.path(f"sha256:{steps}") is None


def test_parts_of_dead_writers_are_swept_and_those_of_living_ones_stay(home: Path) -> None:
    now = 2_000_000_000.0
    store = Store(home, clock=lambda: now)
    kept = store.keep(picture())
    stale = kept.path.with_name(kept.path.name + ".part-00")
    fresh = kept.path.with_name(kept.path.name + ".part-01")
    for part, age in ((stale, STALE_PART_SECONDS + 1), (fresh, 10), (kept.path, 10**6)):
        part.touch()
        os.utime(part, (now - age, now - age))

    assert store.sweep_parts() == 1

    assert sorted(files(home)) == sorted([kept.path, fresh])
    assert store.sweep_parts(older_than_seconds=5) == 1


def test_a_disk_that_takes_no_more_bytes_leaves_no_file_and_says_that_nothing_is_lost(
    store: Store, home: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    data = picture()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) // 2, hard))
    try:
        with pytest.raises(JournalError) as told:
            store.keep(data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert files(home) == []
    assert str(told.value).startswith("The picture cannot be kept: the disk is full")
    assert "%imagen_resume" in str(told.value)


def test_a_home_that_is_a_file_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "home.txt").touch()

    with pytest.raises(JournalError, match=r"cannot be kept.*IMAGEN_HOME"):
        Store(tmp_path / "home.txt").keep(picture())


def test_a_disk_that_gives_other_bytes_back_keeps_nothing(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No real disk can be asked to tear a file, so fsync does it here."""

    def tear(descriptor: int) -> None:
        os.truncate(descriptor, 10)

    monkeypatch.setattr("imagen_widget._store.os.fsync", tear)

    with pytest.raises(JournalError, match="other bytes back"):
        store.keep(picture())

    assert files(home) == []
