"""What needs no server: loading the extension, showing a picture, writing the journal.

Each comparison is made in turns, so that what else the machine does hits both sides.
"""

from __future__ import annotations

import io
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from imagen_widget import ImageRequest
from imagen_widget._journal import ImageRow, Journal, State
from imagen_widget._picture import PREVIEW_SIDE_PIXELS, preview

if TYPE_CHECKING:
    from collections.abc import Callable

_KERNEL = """\
import time
import ipykernel.kernelapp, ipykernel.ipkernel
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(history_manager=None)
start = time.perf_counter()
{}
print(time.perf_counter() - start)
"""
_FLOOR = "import ipywidgets, httpx, IPython"
_LOADED = "shell.run_line_magic('load_ext', 'imagen_widget')"
_IMPORTED = "import imagen_widget"
_STATES = (
    State.INTENT,
    State.SUBMITTING,
    State.SUBMITTED,
    State.COMPLETED,
    State.DOWNLOADED,
    State.DONE,
)


@dataclass(frozen=True)
class Comparison:
    """Seconds of ours and of the floor it is held against."""

    what: str
    ours: list[float]
    floor: list[float]
    most: float

    @property
    def ratio(self) -> float:
        """The median of the turns' own ratios."""
        return statistics.median(a / b for a, b in zip(self.ours, self.floor, strict=True))


def compare_all(*, turns: int) -> list[Comparison]:
    """Return all comparisons."""
    return [
        loading(turns=turns),
        importing(turns=turns),
        showing(turns=turns),
        journalling(turns=turns),
    ]


def loading(*, turns: int) -> Comparison:
    """Compare `%load_ext` in a fresh kernel with the imports that such a widget cannot do without.

    Only the statement itself is timed: what a kernel has already is nobody's cost.
    """
    what = "%load_ext in a fresh kernel / import ipywidgets, httpx, IPython"
    return _in_turns(what, lambda: _python(_LOADED), lambda: _python(_FLOOR), 1.05, turns)


def importing(*, turns: int) -> Comparison:
    """Compare `import imagen_widget` in a fresh kernel with the same imports."""
    what = "import imagen_widget / the same imports"
    return _in_turns(what, lambda: _python(_IMPORTED), lambda: _python(_FLOOR), 0.1, turns)


def showing(*, turns: int) -> Comparison:
    """Compare our preview with Pillow's decoding, shrinking and WebP at the same size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "2k.png"
        _picture_of_2k().save(path)

        def ours() -> float:
            start = time.perf_counter()
            preview(path.read_bytes())
            return time.perf_counter() - start

        def floor() -> float:
            start = time.perf_counter()
            with Image.open(path) as source:
                small = source.convert("RGB")
            small.thumbnail((PREVIEW_SIDE_PIXELS, PREVIEW_SIDE_PIXELS))
            small.save(io.BytesIO(), "WEBP", quality=80, method=2)
            return time.perf_counter() - start

        return _in_turns("preview of a 2K PNG / Pillow's own work", ours, floor, 1.3, turns)


def journalling(*, turns: int) -> Comparison:
    """Compare one job's journal writes with as many bare commits as it has states."""
    jobs = 50
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        bare = _bare_database(Path(folder) / "bare.sqlite3")
        _one_job(journal, 0)  # opens the file

        def ours() -> float:
            start = time.perf_counter()
            for number in range(jobs):
                _one_job(journal, number)
            return time.perf_counter() - start

        def floor() -> float:
            start = time.perf_counter()
            for number in range(jobs * len(_STATES)):
                bare.execute("BEGIN IMMEDIATE")
                bare.execute("INSERT INTO rows VALUES (?)", (f"{number} {'x' * 300}",))
                bare.execute("COMMIT")
            return time.perf_counter() - start

        found = _in_turns("one job's journal / bare commits", ours, floor, 1.5, turns)
        bare.close()
        journal.close()
        return found


def _one_job(journal: Journal, number: int) -> None:
    request = ImageRequest.create(f"a fox, number {number}")
    job = journal.intend(
        request,
        provider="fal",
        base_url="https://queue.fal.run",
        price=Decimal("0.04"),
        cap=Decimal(10**6),
    )
    journal.submitting(job)
    journal.promise(job, json.dumps({"request_id": "r" * 36}), "r" * 36)
    journal.completed(job, seconds=5.0, seed=1, description="", urls=["https://a.example/b.png"])
    image = ImageRow(0, f"sha256:{number:064x}", "image/png", 1024, 1024, 10**6, None)
    journal.downloaded(job, [image])
    journal.done(job, Decimal("0.04"))


def _bare_database(path: Path) -> sqlite3.Connection:
    bare = sqlite3.connect(path, isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute("CREATE TABLE rows (text TEXT)")
    return bare


def _picture_of_2k() -> Image.Image:
    """Return a picture with soft shapes and some grain, about as hard to pack as a photo."""
    noise = Image.effect_noise((2048, 2048), 12).convert("L")
    slope = Image.linear_gradient("L").resize((2048, 2048))
    disc = Image.radial_gradient("L").resize((2048, 2048))
    return Image.merge("RGB", (Image.blend(slope, noise, 0.2), Image.blend(disc, noise, 0.2), disc))


def _python(statement: str) -> float:
    """Return the seconds that a statement takes in a process that has what a kernel has."""
    command = [sys.executable, "-c", _KERNEL.format(statement)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _in_turns(
    what: str, ours: Callable[[], float], floor: Callable[[], float], most: float, turns: int
) -> Comparison:
    ours()
    floor()  # both once before it counts: caches are warm then
    pairs = [(ours(), floor()) for _ in range(turns)]
    return Comparison(what, [a for a, _ in pairs], [b for _, b in pairs], most)
