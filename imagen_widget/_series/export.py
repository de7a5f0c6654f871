"""A series taken away: pictures with what is known of them, in the formats that others read.

Nothing is overwritten but what an earlier export of the series wrote: each folder has a list of
that. One picture is in memory at a time, of parquet a group of them.
"""

import contextlib
import importlib.util
import io
import json
import operator
import re
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from imagen_widget._html import escape, tag
from imagen_widget._picture import SUFFIXES
from imagen_widget._result import GeneratedImage, whole_file
from imagen_widget._series.parts import Row, axes_beside, cannot_write, card, head, stars
from imagen_widget.errors import InvalidRequest, invalid, one_line, plural

Where = str | Callable[[Row], object] | None

SHARD_BYTES = 1_000_000_000
GROUP_ROWS = 10  # of parquet, which are in memory together
LIST_NAME = ".imagen-export.json"  # hidden: libraries that read the folder leave it alone

_FILE_NAME = re.compile(r"file_name(s?)$")  # libraries take such a column for one of pictures
_OURS = re.compile(r"(pictures/)?\w[\w.-]*")  # a list from elsewhere may name other files
_CONDITION = re.compile(r"\s*rating\s*(>=|<=|==|!=|>|<)\s*([0-5])\s*")
_COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq}
_COMPARE |= {">": operator.gt, "<": operator.lt, "!=": operator.ne}
_NO_PICTURES = {"image/svg+xml", "application/octet-stream"}  # no library decodes these


def write(
    rows: Iterable[Row], folder: Path, format: str, name: str, *, where: Where = None
) -> Path:
    """Write the rows that have pictures, and return the path; the arguments of `Series.export`."""
    if str(format) not in _WRITERS:
        raise invalid("format", f"{str(format)[:40]!r} is not known", f"Use {', '.join(_WRITERS)}.")
    if format == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise InvalidRequest(
            "Writing parquet needs pyarrow.",
            remedy="pip install pyarrow, or choose another format.",
            field="format",
        )
    items = _items(rows, _condition(where), any_type=format in {"zip", "html"})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _Target(folder, f"{format} {name}") as target:
            return folder / _WRITERS[format](items, target, safe_name(name) or "series")
    except OSError as error:
        raise cannot_write(error, folder) from None


def safe_name(text: str) -> str:
    """Return a text as a file name that every system takes: letters, digits, `-` and `_`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", plain)[:60].strip("-")


def _condition(where: Where) -> Callable[[Row], object]:
    if where is None:
        return lambda _: True
    if callable(where):
        return where
    found = _CONDITION.fullmatch(str(where))
    if found is None:
        what = f"{one_line(str(where), limit=60)!r} is not a condition"
        remedy = 'Write "rating>=3", or a function like lambda row: row.axes["style"] == "oil".'
        raise invalid("where", what, remedy)
    compare, limit = _COMPARE[found[1]], int(found[2])
    return lambda row: compare(max(row.rating, 0), limit)


@dataclass(slots=True)
class _Item:
    """One picture to write: its file name, the picture, and what is known of it."""

    name: str
    image: GeneratedImage
    facts: dict[str, Any]


def _items(rows: Iterable[Row], keep: Callable[[Row], object], *, any_type: bool) -> list[_Item]:
    items = []
    for number, row in enumerate(rows, 1):
        if row.generation is None or not keep(row):
            continue
        words = safe_name(row.request.prompt or row.key)[:40].strip("-")
        for place, image in enumerate(row.generation, 1):
            if any_type or image.media_type not in _NO_PICTURES:
                stem = "-".join(filter(None, (f"{number:05d}", str(place), words)))
                name = stem + SUFFIXES[image.media_type]
                items.append(_Item(name, image, _facts(row, image)))
    if not items:
        others = "" if any_type else "; drawings (SVG) go into zip and html only"
        raise InvalidRequest(
            "No picture is left to export.",
            remedy=f"Loosen where=, or run the series first{others}.",
        )
    kinds = _kinds(items)
    for item in items:
        given = item.facts
        item.facts = {n: kind(given[n]) if given.get(n) is not None else None for n, kind in kinds}
    return items


def _kinds(items: list[_Item]) -> list[tuple[str, type]]:
    """Return the columns with the one type that all their values have or get."""
    found: dict[str, set[type]] = {}
    for item in items:
        for column, value in item.facts.items():
            is_huge = isinstance(value, int) and value.bit_length() > 63
            found.setdefault(column, set()).add(str if is_huge else type(value))
    kinds = []
    for column, types in found.items():
        types -= {type(None)}
        numbers = float if types == {int, float} else str
        kinds.append((column, types.pop() if len(types) == 1 else numbers))
    return kinds


def _facts(row: Row, image: GeneratedImage) -> dict[str, Any]:
    """Return what is known of a picture, with its row's axes."""
    made = row.generation
    assert made is not None
    facts: dict[str, Any] = {
        "prompt": row.request.prompt or "",
        "key": row.key,
        "model": row.request.model,
        "provider": made.provider,
        "seed": image.provenance.seed,
        "rating": max(row.rating, 0),
        "cost": made.cost,
        "width": image.width,
        "height": image.height,
        "created": made.created.isoformat(timespec="seconds"),
        "id": made.id,
    }
    axes = axes_beside({**facts, "image": None}, row.axes)
    return facts | {_FILE_NAME.sub(r"filename\1", name): value for name, value in axes.items()}


class _Target:
    """A folder in which an export writes; knows which files it wrote there before."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key, self._list = folder, key, folder / LIST_NAME
        known: Any = None
        with contextlib.suppress(OSError, ValueError, RecursionError):
            known = json.loads(self._list.read_text(encoding="utf-8"))
        self._known = known if isinstance(known, dict) else {}
        names = self._known.get(key)
        texts = map(str, names if isinstance(names, list) else ())
        self._before, self._written = set(filter(_OURS.fullmatch, texts)), list[str]()

    def __enter__(self) -> "_Target":
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        """Delete what is not written any more, unless it failed, and note what is there."""
        stale = self._before.difference(self._written)
        for name in () if failed else stale:
            (self._folder / name).unlink(missing_ok=True)
        self._known[self._key] = [*self._written, *(stale if failed else ())]
        self._before.add(LIST_NAME)
        self.put(LIST_NAME, json.dumps(self._known, indent=1).encode())

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file to write; it appears under its name only when it is whole."""
        path = self._folder / name
        if path.exists() and name not in self._before:
            raise InvalidRequest(
                f"{path} exists, and no export of this series wrote it.",
                remedy="Choose another folder, or move the file away.",
                field="folder",
            )
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as part, part.open("wb") as file:
            yield file
        self._written.append(name)

    def put(self, name: str, data: bytes) -> None:
        with self.open(name) as file:
            file.write(data)


# ------------------------------------------------------------------------------------- the formats


def _imagefolder(items: list[_Item], target: _Target, _: str) -> str:
    _put(items, target.put)
    target.put("metadata.jsonl", _table(items))
    return ""


def _html(items: list[_Item], target: _Target, stem: str) -> str:
    _put(items, target.put, folder="pictures/")
    target.put("index.html", _page(stem, items, folder="pictures/"))
    return "index.html"


def _zip(items: list[_Item], target: _Target, stem: str) -> str:
    with target.open(f"{stem}.zip") as file, zipfile.ZipFile(file, "w") as archive:
        _put(items, archive.writestr)
        archive.writestr("metadata.jsonl", _table(items))
        archive.writestr("index.html", _page(stem, items))
    return f"{stem}.zip"


def _put(items: list[_Item], put: Callable[[str, bytes], None], *, folder: str = "") -> None:
    for item in items:
        put(f"{folder}{item.name}", item.image.marked())


def _table(items: list[_Item]) -> bytes:
    lines = (json.dumps({"file_name": i.name, **i.facts}, ensure_ascii=False) for i in items)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _webdataset(items: list[_Item], target: _Target, stem: str) -> str:
    number, size = 0, SHARD_BYTES
    with contextlib.ExitStack() as shard:
        for item in items:
            if size >= SHARD_BYTES:
                shard.close()
                file = shard.enter_context(target.open(f"{stem}-{number:06d}.tar"))
                tar = shard.enter_context(
                    tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)
                )
                number, size = number + 1, 0
            key, _, suffix = item.name.rpartition(".")
            parts = {
                suffix: item.image.marked(),
                "json": json.dumps(item.facts).encode(),
                "txt": item.facts["prompt"].encode("utf-8", "replace"),
            }
            for kind, data in parts.items():
                info = tarfile.TarInfo(f"{key}.{kind}")
                info.size = len(data)
                size += len(data)
                tar.addfile(info, io.BytesIO(data))
    return f"{stem}-000000.tar"


def _parquet(items: list[_Item], target: _Target, stem: str) -> str:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    names = {int: "int64", float: "float64", bool: "bool"}
    columns = {column: names.get(kind, "string") for column, kind in _kinds(items)}
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    fields = [pa.field("image", image)]
    fields += [pa.field(column, pa.type_for_alias(name)) for column, name in columns.items()]
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    features |= {column: {"dtype": name, "_type": "Value"} for column, name in columns.items()}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema(fields, metadata=about)
    with target.open(f"{stem}.parquet") as file, parquet.ParquetWriter(file, schema) as writer:
        for at in range(0, len(items), GROUP_ROWS):
            rows = [
                {"image": {"bytes": item.image.marked(), "path": item.name}, **item.facts}
                for item in items[at : at + GROUP_ROWS]
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return f"{stem}.parquet"


_WRITERS: dict[str, Callable[[list[_Item], _Target, str], str]] = {
    "imagefolder": _imagefolder,
    "parquet": _parquet,
    "webdataset": _webdataset,
    "zip": _zip,
    "html": _html,
}


def _figure(item: _Item, folder: str) -> str:
    address, prompt = quote(f"{folder}{item.name}"), one_line(item.facts["prompt"], limit=200)
    seed = "" if item.facts["seed"] is None else f"seed {item.facts['seed']}"
    image = f'<img src="{address}" alt="{escape(prompt or "picture")}" loading="lazy">'
    rating = stars(item.facts["rating"]) if item.facts["rating"] else ""
    words = f"<figcaption><span>{escape(prompt)}</span> <span>{seed}</span> {rating}</figcaption>"
    return f'<figure><a href="{address}">{image}</a>{words}</figure>'


def _page(title: str, items: list[_Item], *, folder: str = "") -> bytes:
    flow = tag("div", *(_figure(item, folder) for item in items), class_="ims-flow")
    top = head(title, plural(len(items), "picture"))
    body = card("grid", top, flow, style="--tile:240px")
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    start = f'<!doctype html><html lang="en"><head>{meta}<title>{escape(title)}</title></head>'
    return f"{start}<body>{body}</body></html>".encode("utf-8", "replace")
