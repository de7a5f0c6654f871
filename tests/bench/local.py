"""What needs no queue: loading, showing, writing the journal, and looking into a long history.

Comparisons are made in turns, so that what else the machine does hits both sides.
"""

from __future__ import annotations

import io
import itertools
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path

from PIL import Image

from imagen_widget import GeneratedImage, Generation, History, Studio
from tests.bench.lines import Line, alone, in_turns
from tests.books import FILE_NAME
from tests.fakequeue import FakeQueue
from tests.jobs import draft, job_in, journal

SIDE_PIXELS = 1024  # of the copy that a notebook shows
WORDS = ("red", "blue", "fox", "owl", "snow", "oil", "ink", "night", "sea", "moss", "tin", "hen")
CHUNK_ROWS = 5_000
STEPS = 6  # states of a job that are written

_KERNEL = """\
import time
import ipykernel.kernelapp, ipykernel.ipkernel
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(history_manager=None)
start = time.perf_counter()
{}
print(time.perf_counter() - start)
"""
_BARE = "import ipywidgets, httpx, IPython"
_LOADED = "shell.run_line_magic('load_ext', 'imagen_widget')"
_IMPORTED = "import imagen_widget"


def measured(*, smoke: bool) -> Iterator[Line]:
    """Yield the lines, one after the other."""
    turns = 1 if smoke else 9
    yield in_turns(
        "%load_ext in a fresh kernel / import ipywidgets, httpx, IPython",
        lambda: _python(_LOADED),
        lambda: _python(_BARE),
        1.05,
        turns=turns,
    )
    yield in_turns(
        "import imagen_widget / the same imports",
        lambda: _python(_IMPORTED),
        lambda: _python(_BARE),
        0.1,
        turns=turns,
    )
    with tempfile.TemporaryDirectory() as folder:
        yield _showing(Path(folder), turns=turns)
        yield _journalling(Path(folder) / "journal", turns=turns)
        yield _whole_job(Path(folder) / "job", turns=turns)
    yield from _looking(few=200 if smoke else 2_000, many=1_000 if smoke else 200_000, turns=turns)


def _python(statement: str) -> float:
    """Return the seconds that a statement takes in a process that has what a kernel has."""
    command = [sys.executable, "-c", _KERNEL.format(statement)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _timed(function: Callable[[], object]) -> Callable[[], float]:
    """Return a function that returns how many seconds a call takes."""

    def seconds() -> float:
        began = time.perf_counter()
        function()
        return time.perf_counter() - began

    return seconds


def _showing(folder: Path, *, turns: int) -> Line:
    """Compare our preview with Pillow's decoding, shrinking and WebP at the same size."""
    path = folder / "2k.png"
    noise = Image.effect_noise((2048, 2048), 12).convert("L")
    slope = Image.linear_gradient("L").resize((2048, 2048))
    disc = Image.radial_gradient("L").resize((2048, 2048))
    layers = (Image.blend(slope, noise, 0.2), Image.blend(disc, noise, 0.2), disc)
    Image.merge("RGB", layers).save(path)
    studio = Studio("demo", home=folder / "shown", demo_seconds=0)
    made: GeneratedImage = studio.generate("a fox", quiet=True)[0]
    made.path.write_bytes(path.read_bytes())

    def ours() -> None:
        vars(made).pop("preview", None)
        vars(made).pop("data", None)
        assert made.preview.data

    def bare() -> None:
        with Image.open(path) as source:
            small = source.convert("RGB")
        small.thumbnail((SIDE_PIXELS, SIDE_PIXELS))
        small.save(io.BytesIO(), "WEBP", quality=80, method=2)

    what = "preview of a 2K PNG / Pillow's own work"
    return in_turns(what, _timed(ours), _timed(bare), 1.3, turns=turns)


def _journalling(folder: Path, *, turns: int) -> Line:
    """Compare one job's journal writes with as many bare commits as it has states."""
    jobs = 50
    verbs = journal.open_journal(folder)
    numbers = itertools.count()
    verbs.count()
    bare = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"):
        bare.execute(statement)
    bare.execute("CREATE TABLE rows (text TEXT)")

    def ours() -> None:
        for _ in range(jobs):
            job_in(verbs, journal.State.DONE, f"a fox, number {next(numbers)}")

    def commits() -> None:
        for number in range(jobs * STEPS):
            bare.execute("BEGIN IMMEDIATE")
            bare.execute("INSERT INTO rows VALUES (?)", (f"{number} {'x' * 300}",))
            bare.execute("COMMIT")

    with closing(bare), closing(verbs):
        what = "one job's journal / bare commits"
        return in_turns(what, _timed(ours), _timed(commits), 1.5, turns=turns)


def _whole_job(folder: Path, *, turns: int) -> Line:
    """Measure a whole job at a queue that answers at once."""
    with FakeQueue().serve() as url:
        studio = Studio("kkiai", base_url=url, api_key="made-up", home=folder, schemas="off")
        ours = _timed(lambda: studio.generate("a fox", quiet=True))
        return alone("a whole job at a queue that answers at once", ours, 0.15, turns=turns)


# -------------------------------------------------------------------------------- a long history


def _looking(*, few: int, many: int, turns: int) -> Iterator[Line]:
    """Compare what history answers at many jobs with the same at few, and with bare FTS5."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = _home(Path(folder) / "few", few), _home(Path(folder) / "many", many)
        one, other = small.history, large.history

        def counted() -> int:
            return len(other)

        at = f"{many:,} / {few:,} jobs"
        yield in_turns(f"len(History()), {at}", _timed(counted), _timed(lambda: len(one)), 1.5,
                       turns=turns)  # fmt: skip
        yield alone(f"len(History()), {many:,} jobs", _timed(counted), 0.01, turns=turns)
        ten = _timed(lambda: list(other.search(limit=10)))
        yield in_turns(f"its first ten, {at}", ten, _timed(lambda: list(one.search(limit=10))),
                       1.5, turns=turns)  # fmt: skip
        yield alone(f"its first ten, {many:,} jobs", ten, 0.01, turns=turns)
        index = _bare_index(Path(folder) / "many" / FILE_NAME)
        for what, words in (("hit", "fox moss"), ("miss", "zebra")):
            search = _timed(partial(_found, other, words))
            bare = _timed(partial(index, words))
            yield in_turns(f"search of 24 among {many:,}, {what} / bare FTS5", search, bare, 3.0,
                           turns=turns)  # fmt: skip
        yield _pending(Path(folder) / "pending", min(many, 2_500), turns=turns)
        yield _page(Path(folder) / "page", 24 if many < 2_000 else 300, turns=turns)
        yield alone(
            f"spend this month by model, {many:,} jobs",
            _timed(lambda: other.spend_by("model")),
            0.01,
            turns=turns,
        )


def _found(history: History, words: str) -> list[Generation]:
    return list(history.search(words, limit=24))


def _home(folder: Path, count: int) -> Studio:
    """Return a studio whose home has so many generations, all with the same small picture."""
    studio = Studio("demo", home=folder, demo_seconds=0)
    kept = studio.generate("a fox", quiet=True)[0].path
    verbs = journal.open_journal(folder)
    for first in range(0, count - 1, CHUNK_ROWS):
        numbers = range(first, min(first + CHUNK_ROWS, count - 1))
        verbs.intend(*(draft(_prompt(number), provider="demo", price="0.04") for number in numbers))
    verbs.close()
    digest = f"sha256:{kept.stem.partition('-')[2]}"
    with closing(sqlite3.connect(folder / FILE_NAME)) as db, db:
        db.execute(
            "INSERT INTO images (job, place, digest, media_type, width, height, size, filtered)"
            " SELECT id, 0, ?, 'image/png', 8, 6, 100, 0 FROM jobs WHERE state = 'intent'",
            (digest,),
        )
        db.execute(
            "UPDATE jobs SET state = 'done', pictures = 1, cost = price, request_id = id,"
            " seconds = 5, lease_until = 0, created_at = created_at - (? - seq) * 7"
            " WHERE state = 'intent'",
            (count,),
        )
        db.execute("ANALYZE")
    return studio


def _prompt(number: int) -> str:
    chosen = (WORDS[number // len(WORDS) ** place % len(WORDS)] for place in range(4))
    return f"{' '.join(chosen)}, number {number}"


def _bare_index(path: Path) -> Callable[[str], object]:
    """Return FTS5's own search of the same file: the rows found and their pictures, as SQLite's."""
    db = sqlite3.connect(path, isolation_level=None)
    db.row_factory = sqlite3.Row
    found = (
        "SELECT jobs.* FROM prompts CROSS JOIN jobs ON jobs.seq = prompts.rowid"
        " WHERE prompts MATCH ? ORDER BY prompts.rowid DESC LIMIT 24"
    )

    def search(words: str) -> object:
        db.execute("BEGIN")
        rows = db.execute(found, (" ".join(f'"{word}"' for word in words.split()),)).fetchall()
        marks = ", ".join("?" * len(rows))
        ids = [row["id"] for row in rows]
        pictures = db.execute(f"SELECT * FROM images WHERE job IN ({marks})", ids).fetchall()
        db.execute("COMMIT")
        return rows, pictures

    return search


def _pending(folder: Path, count: int, *, turns: int) -> Line:
    """Measure the look-up for reuse while many paid jobs are out."""
    verbs = journal.open_journal(folder)
    ids = verbs.intend(*(draft(_prompt(number), price="0.04") for number in range(count)))
    verbs.together(*(partial(verbs.apply, job, journal.Submitting()) for job in ids))
    verbs.together(*(partial(verbs.apply, job, journal.Submitted("{}", job)) for job in ids))
    wanted = draft("a prompt that nobody has asked for", price=str(Decimal("0.04"))).request

    def look() -> None:
        assert verbs.find(wanted.fingerprint, "fal") is None
        assert verbs.find_pending(wanted.fingerprint, "fal", "https://queue.test") == []

    with closing(verbs):
        return alone(f"look-up for reuse, {count:,} jobs pending", _timed(look), 0.003, turns=turns)


def _page(folder: Path, count: int, *, turns: int) -> Line:
    """Measure a page of twelve of the History tab: records, values and small copies."""
    queue = FakeQueue(picture_bytes=1_500_000)
    with queue.serve() as url:
        studio = Studio("kkiai", base_url=url, api_key="made-up", home=folder, schemas="off")
        for job in [studio.start(f"fox {number}") for number in range(count)]:
            job.result(60)
    history = studio.history

    def page() -> None:
        for record in history.page(limit=13):
            made = history.recall(record)
            assert made is not None
            history.thumbnail(made)

    what = f"History tab: a page of twelve of {count:,}, small copies made"
    return alone(what, _timed(page), 0.2, turns=turns)
