"""Whatever a job, a prompt or a file is called, nothing is written outside its two folders."""

import json
import os
import random
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imagen_widget import GeneratedImage, ImageRequest, Provenance
from imagen_widget._store import Store
from tests.pictures import HEIGHT, PICTURES, WIDTH

COUNT = 10_000
PARTS = [
    "..", ".", "/", "\\", "//", "~", "~root", "$HOME", "%2e%2e", "\x00", "\n", "\r",
    ":", "*", "?", "|", "<", ">", '"', "'", "`", ";", "&", " ", "\t", "\u202e",
    "\u2024\u2024", "\uff0f", "\ufeff", "\x7f", "CON", "NUL", "COM1", "aux", ".bashrc",
    ".ssh/authorized_keys", "etc/passwd", "C:", "-rf", "--", "x", "é", "狐", "🦊", "a",
    "fox", "tmp", "file://", "sha256:", "images", ".part-", "\U0001f3ff",
]  # fmt: skip
WRITING = {"open", "os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.rmdir"}
WRITING |= {"os.chmod", "os.truncate", "shutil.move", "sqlite3.connect"}


class Watch:
    """Writes down each place that Python is about to write to."""

    def __init__(self) -> None:
        self.on = False
        self.places: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or event not in WRITING:
            return
        if event == "open":
            place, mode, flags = arguments
            arguments = (place,)
            reading = mode is not None and not set(mode) & set("wax+")
            if reading or (mode is None and not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return
        places = [place for place in arguments[:2] if isinstance(place, str | bytes | os.PathLike)]
        self.places += [os.path.realpath(os.fsdecode(place)) for place in places]


def _name(chance: random.Random) -> str:
    return "".join(chance.choice(PARTS) for _ in range(chance.randint(1, 6)))


def _picture(name: str, path: Path) -> GeneratedImage:
    request = ImageRequest(model=name, body=json.dumps({"prompt": name}), prompt=name)
    made = datetime(2026, 11, 23, tzinfo=UTC)
    return GeneratedImage(
        path=path,
        media_type="image/png",
        width=WIDTH,
        height=HEIGHT,
        url=name,
        provenance=Provenance(request, request_id=name, provider=name, created=made),
    )


@pytest.mark.slow
def test_ten_thousand_hostile_names_stay_in_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(20261123)
    watch, store, folder = Watch(), Store(tmp_path / "home"), tmp_path / "saved"
    folder.mkdir()
    kept = store.keep(PICTURES["png"])
    saved = set()

    watch.on = True
    for _ in range(COUNT):
        name = _name(chance)
        saved.add(_picture(name, kept.path).save(folder, provenance=False))
        assert store.path(name) is None
        assert store.path(f"sha256:{name}") is None
    watch.on = False

    homes = (str(tmp_path / "home"), str(folder))
    outside = [place for place in watch.places if not place.startswith(homes)]
    with capsys.disabled():
        print(f"\nNames: {COUNT} hostile ones, {len(watch.places)} writes, {len(outside)} outside")
    assert outside == []
    assert len(watch.places) >= COUNT / 10
    assert {path.parent for path in saved} == {folder}
    assert {path.name for path in tmp_path.iterdir()} <= {"home", "saved"}


def test_names_on_disk_hold_nothing_that_a_system_reads_twice(tmp_path: Path) -> None:
    chance = random.Random(7)
    kept = Store(tmp_path / "home").keep(PICTURES["png"])
    folder = tmp_path / "saved"
    folder.mkdir()

    for _ in range(1000):
        name = _picture(_name(chance), kept.path).save(folder, provenance=False).name
        assert name.endswith(".png")
        assert len(name.encode()) <= 120
        assert not name.startswith((".", "-", "~"))
        assert not set(name) & set('/\\:*?"<>|\x00\n\r\t')
