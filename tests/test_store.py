"""The store: whole files only, under their own hash, private; at an address shared and verified."""

import errno
import hashlib
import logging
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import fsspec
import pytest
from PIL import Image

from imagen_widget._store import (
    STALE_PART_SECONDS,
    Kept,
    Store,
    make_folder,
    open_store,
    sync_folder,
    trouble,
)
from imagen_widget.errors import JournalError
from tests.conftest import a_disk_of
from tests.pictures import PICTURES, SVG, encoded, noise, opened


def picture(kind: str = "PNG", colour: str = "red") -> bytes:
    return encoded(Image.new("RGB", (40, 30), colour), kind)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "imagen"


@pytest.fixture
def store(home: Path) -> Store:
    return open_store(home)


def files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


# ------------------------------------------------------------------------------------ in a folder


@pytest.mark.parametrize(
    ("data", "media_type", "suffix", "size"),
    [
        (picture("PNG"), "image/png", ".png", (40, 30)),
        (picture("JPEG"), "image/jpeg", ".jpg", (40, 30)),
        (picture("WEBP"), "image/webp", ".webp", (40, 30)),
        (PICTURES["gif"], "image/gif", ".gif", (33, 17)),
        (PICTURES["avif"], "image/avif", ".avif", (33, 17)),
        (PICTURES["png"] + b"\n", "image/png", ".png", (33, 17)),
        (SVG, "image/svg+xml", ".svg", (0, 0)),
        (b"what nobody here can read", "application/octet-stream", ".bin", (0, 0)),
        (PICTURES["png"][:-9], "image/png", ".png", (33, 17)),
    ],
)
def test_bytes_are_kept_untouched_under_their_hash(
    store: Store, home: Path, data: bytes, media_type: str, suffix: str, size: tuple[int, int]
) -> None:
    digits = hashlib.sha256(data).hexdigest()

    kept = store.keep(data)

    path = home / "images" / digits[:2] / f"sha256-{digits}{suffix}"
    assert kept == Kept(f"sha256:{digits}", path, media_type, *size, len(data), kept.problem)
    assert path.read_bytes() == data
    assert store.path(kept.digest) == path
    assert store.verify(kept.digest)


def test_what_is_wrong_with_the_bytes_is_told(store: Store) -> None:
    damaged = PICTURES["png"].replace(b"IDAT", b"idat")

    problems = [store.keep(d).problem for d in (PICTURES["png"], PICTURES["png"][:-9], damaged)]

    assert problems == ["", "cut short", "damaged"]


def test_a_home_of_version_0_1_is_read(home: Path) -> None:
    data = picture()
    digits = hashlib.sha256(data).hexdigest()
    old = home / "images" / digits[:2] / f"sha256-{digits}.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(data)

    assert open_store(home).path(f"sha256:{digits}") == old
    assert open_store(home).keep(data).path == old


def test_making_a_store_touches_no_disk(store: Store, home: Path) -> None:
    assert store.path("sha256:" + "0" * 64) is None
    assert store.thumbnail("sha256:" + "0" * 64) is None
    store.sweep_parts()
    assert not home.exists()


def test_the_same_bytes_are_one_file(store: Store, home: Path) -> None:
    first = store.keep(picture())
    second = store.keep(picture())
    other = store.keep(picture(colour="blue"))

    assert first == second
    assert sorted(files(home)) == sorted([first.path, other.path])


def test_another_folder_holds_the_pictures_and_the_home_the_rest(
    home: Path, tmp_path: Path
) -> None:
    for address in (str(tmp_path / "shared"), f"file://{tmp_path}/shared"):
        shared = open_store(home, address)
        kept = shared.keep(picture())
        assert kept.path.is_relative_to(tmp_path / "shared")
    assert shared.thumbnail(kept.digest)
    shared.trash(kept.digest)
    assert {path.relative_to(home).parts[0] for path in files(home)} == {"trash"}
    assert files(tmp_path / "shared") == []


def test_a_kept_picture_and_every_name_on_the_way_to_it_have_reached_the_disk(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, written = os.fsync, dict[int, list[str]]()

    def note(descriptor: int) -> None:
        facts = os.fstat(descriptor)
        names = os.listdir(descriptor) if stat.S_ISDIR(facts.st_mode) else []
        written[facts.st_ino] = names
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    path = store.keep(picture()).path

    assert path.stat().st_ino in written
    while path != home.parent:
        assert path.name in written[path.parent.stat().st_ino]
        path = path.parent


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_files_and_folders_are_private_under_any_umask(
    store: Store, home: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        path = store.keep(picture()).path
        store.thumbnail(digest_of(picture()))
    finally:
        os.umask(before)

    assert {stat.S_IMODE(path.stat().st_mode) for path in files(home)} == {0o600}
    folders = [home, *(folder for folder in home.rglob("*") if folder.is_dir())]
    assert path.parent in folders
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_what_is_kept_in_a_folder_of_a_group_is_the_groups(home: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2770)

    path = Store(home, folder=shared).keep(picture()).path

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o2770
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_picture_in_somebody_elses_folder_is_not_taken_for_missing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store.keep(picture())
    forbidden = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(Path, "is_file", Mock(side_effect=forbidden))

    with pytest.raises(JournalError, match=r"^A kept picture cannot be read"):
        store.path(kept.digest)
    assert store.thumbnail(kept.digest) is None


def test_a_file_changed_afterwards_does_not_verify_and_keeping_it_again_repairs_it(
    store: Store,
) -> None:
    kept = store.keep(picture())
    kept.path.write_bytes(picture(colour="blue"))

    assert store.path(kept.digest) == kept.path
    assert not store.verify(kept.digest)

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
    assert store.thumbnail(digest) is None
    assert not store.verify(digest)
    store.trash(digest)
    store.restore(digest)


def test_no_digest_leads_out_of_the_folder(store: Store, home: Path, tmp_path: Path) -> None:
    for folder in ("sha256-..", f"aa/sha256-{'a' * 64}"):
        (home / "images" / folder).mkdir(parents=True)
    (tmp_path / "victim.png").write_bytes(picture())

    for steps in ("../../../victim", "a" * 64 + "/../../../../victim"):
        assert store.path(f"sha256:{steps}") is None


def test_parts_of_dead_writers_are_swept_and_those_of_living_ones_stay(home: Path) -> None:
    now, store = time.time(), open_store(home)
    kept = store.keep(picture())
    stale = kept.path.with_name(kept.path.name + ".part-00")
    fresh = kept.path.with_name(kept.path.name + ".part-01")
    for part, age in ((stale, STALE_PART_SECONDS + 1), (fresh, 1000), (kept.path, 10**6)):
        part.touch()
        os.utime(part, (now - age, now - age))

    store.sweep_parts()

    assert sorted(files(home)) == sorted([kept.path, fresh])


# ------------------------------------------------------------------------- thumbnails and trash


@pytest.mark.parametrize("size", [(2000, 1500), (9, 9)])
def test_a_thumbnail_is_small_and_made_once(
    store: Store, home: Path, size: tuple[int, int]
) -> None:
    kept = store.keep(encoded(noise(*size), compress_level=1))

    small = store.thumbnail(kept.digest)

    assert small is not None
    assert len(small.data) <= 20_000
    assert max(small.width, small.height) <= 384
    assert opened(small.data).size == (small.width, small.height)
    kept.path.write_bytes(b"")  # it is not needed again
    assert store.thumbnail(kept.digest) == small
    assert {path.parent.parent.name for path in files(home)} == {"images", "thumbnails"}


@pytest.mark.parametrize("data", [SVG, b"what nobody here can read", PICTURES["png"][:-40]])
def test_what_cannot_be_shown_has_no_thumbnail(store: Store, home: Path, data: bytes) -> None:
    kept = store.keep(data)

    assert store.thumbnail(kept.digest) is None
    assert files(home) == [kept.path]


def test_what_is_deleted_goes_to_the_trash_of_the_home_and_comes_back(
    store: Store, home: Path
) -> None:
    kept = store.keep(picture())
    store.thumbnail(kept.digest)

    store.trash(kept.digest)
    assert files(home) == [home / "trash" / kept.path.name]
    assert store.path(kept.digest) is None

    store.restore(kept.digest)
    assert files(home) == [kept.path]
    store.restore(kept.digest)
    store.trash("sha256:" + "0" * 64)


def test_a_trash_on_another_disk_takes_the_bytes_and_gives_them_back(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, rename = store.keep(picture()), Path.replace

    def replace(path: Path, target: Path) -> Path:
        if path.parent != target.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    store.trash(kept.digest)
    assert [path.read_bytes() for path in files(home)] == [picture()]
    assert store.path(kept.digest) is None

    store.restore(kept.digest)
    assert files(home) == [kept.path]
    assert store.verify(kept.digest)


# ------------------------------------------------------------------------------- what goes wrong


def test_a_disk_that_takes_no_more_bytes_leaves_no_file_and_says_that_nothing_is_lost(
    store: Store, home: Path
) -> None:
    data = picture()
    with a_disk_of(len(data) // 2), pytest.raises(JournalError) as told:
        store.keep(data)

    assert files(home) == []
    assert str(told.value).startswith("The picture cannot be kept: the disk is full")
    assert "%imagen_resume" in str(told.value)


def test_a_home_that_is_a_file_says_so_in_one_line_before_anything_is_paid(tmp_path: Path) -> None:
    (tmp_path / "home.txt").touch()
    store = open_store(tmp_path / "home.txt")

    with pytest.raises(JournalError, match=r"cannot be kept.*IMAGEN_HOME"):
        store.keep(picture())
    with pytest.raises(JournalError, match=r"Pictures cannot be kept.*IMAGEN_HOME"):
        store.ready()


def test_a_disk_that_loses_bytes_keeps_nothing(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No real disk can be asked to tear a file, so fsync does it here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.truncate(descriptor, 10))

    with pytest.raises(JournalError, match="took 10 of"):
        store.keep(picture())

    assert files(home) == []


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
    error = OSError(code, os.strerror(code))

    told = trouble(error, Path("/x"), doing="It cannot be done", after="Kept.")

    assert str(told).startswith(f"It cannot be done: {words}")


def test_folders_are_private_and_never_made_over_files(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")

    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b")}
    assert modes == {0o700}
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="exists"):
        make_folder(tmp_path / "file")
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


# ------------------------------------------------------------------------------ at an address

KEY, SECRET = "AKIA-made-up-key", "made-up-secret-of-an-account"


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer  # it takes long, and one process needs it

    server = ThreadedMotoServer(port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def address(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the address of an empty store, and the settings that fsspec finds by itself."""
    if request.param == "memory":
        yield "memory://pictures/of/us"
        fsspec.filesystem("memory").store.clear()
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3_server"))
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # one knows its server for good
    files, _ = fsspec.url_to_fs("s3://pictures")
    files.mkdir("pictures")
    yield "s3://pictures/of/us"
    files.rm("pictures", recursive=True)
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def there(address: str) -> tuple[Any, list[str]]:
    """Return the file system behind an address, and the objects in it."""
    files, root = fsspec.url_to_fs(address)
    files.invalidate_cache()
    return files, sorted(path for path in files.find(root) if "sha256" in path)


def test_a_shared_picture_is_written_once_and_read_by_others(
    address: str, home: Path, tmp_path: Path
) -> None:
    ours, theirs = open_store(home, address), open_store(tmp_path / "other", address)
    ours.ready()

    kept = ours.keep(picture())
    again = theirs.keep(picture("JPEG"))

    assert kept.path.is_relative_to(home)
    _, objects = there(address)
    assert len(objects) == 2
    assert {name.rpartition("/")[2] for name in objects} == {kept.path.name, again.path.name}
    found = theirs.path(kept.digest)
    assert found is not None
    assert found.is_relative_to(tmp_path / "other")
    assert found.read_bytes() == picture()
    assert theirs.verify(kept.digest)
    assert ours.path(again.digest)
    assert theirs.thumbnail(kept.digest)
    theirs.keep(picture())
    assert there(address)[1] == objects


@pytest.mark.parametrize("fault", ["lost", "cut", "other"])
def test_an_object_that_is_lost_or_damaged_is_never_taken_for_the_picture(
    address: str, home: Path, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = open_store(home, address), open_store(tmp_path / "other", address)
    kept = ours.keep(picture())
    remote, (name,) = there(address)
    match fault:
        case "lost":
            remote.rm_file(name)
        case "cut":
            remote.pipe_file(name, picture()[:-9])
        case _:
            remote.pipe_file(name, bytes(len(picture())))

    assert theirs.path(kept.digest) is None
    assert not ours.verify(kept.digest)
    assert ("is damaged" in caplog.text) == (fault != "lost")
    assert ours.path(kept.digest) == kept.path  # our own copy is still good
    ours.keep(picture())  # which repairs it
    assert theirs.verify(kept.digest)


def test_a_deleted_picture_leaves_the_address_and_comes_back(address: str, home: Path) -> None:
    store = open_store(home, address)
    kept = store.keep(picture())

    store.trash(kept.digest)
    assert there(address)[1] == []
    assert store.path(kept.digest) is None
    store.restore(kept.digest)

    assert len(there(address)[1]) == 1
    assert store.verify(kept.digest)


def test_a_store_that_loses_what_it_is_given_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = type(fsspec.filesystem("memory"))
    before = memory.pipe_file
    monkeypatch.setattr(
        memory, "pipe_file", lambda files, path, data, **more: before(files, path, data[:-1])
    )

    with pytest.raises(JournalError, match=r"IMAGEN_STORE .memory://x. returned bytes") as told:
        open_store(home, "memory://x").keep(picture())

    assert "The picture is in IMAGEN_HOME; %imagen_resume" in told.value.remedy
    assert open_store(home).verify(digest_of(picture()))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(f"Access Denied for {KEY}"), "access is denied"),
        (FileNotFoundError("The specified bucket does not exist"), "no such bucket"),
        (OSError(f"signature {SECRET} is wrong"), "OSError"),
        (type("EndpointConnectionError", (Exception,), {})(SECRET), "cannot be reached"),
    ],
)
def test_trouble_with_the_address_is_one_line_without_a_credential(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", fail)
    store = open_store(home, f"memory://{KEY}:{SECRET}@host/x?token={SECRET}")

    for work in (store.ready, lambda: store.keep(picture())):
        with pytest.raises(
            JournalError, match=f"IMAGEN_STORE .memory://host/x.: .*{words}"
        ) as told:
            work()
        assert KEY not in str(told.value)
        assert SECRET not in str(told.value)
        assert "\n" not in str(told.value)


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_told_before_anything_is_paid_and_not_made(
    home: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, s3_server: str
) -> None:
    for name, value in (("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)

    with pytest.raises(JournalError, match=r"IMAGEN_STORE .s3://missing/x.: there is no such"):
        open_store(home, "s3://missing/x").ready()

    assert "missing" not in fsspec.filesystem("s3").ls("")


def test_an_address_of_no_kind_is_told_in_one_line(home: Path) -> None:
    with pytest.raises(JournalError, match=r"IMAGEN_STORE .nosuch://bucket/x."):
        open_store(home, "nosuch://bucket/x").ready()


def test_without_fsspec_the_package_to_install_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)

    with pytest.raises(JournalError, match="pip install fsspec"):
        open_store(home, "s3://bucket").ready()
