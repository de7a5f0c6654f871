"""From a template with axes or a table to the rows of a series: a key, axes, a checked request.

Only braces around a declared name are replaced. Everything else stays as typed: `$5`, JSON, code,
`{a|b}` and braces around other words.
"""

import csv
import functools
import hashlib
import itertools
import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from imagen_widget._inputs import PictureSource
from imagen_widget._models import plain
from imagen_widget._request import ImageRequest
from imagen_widget._runs import Session
from imagen_widget._series.parts import Row, file_path, whole
from imagen_widget._series.series import Series, check_name
from imagen_widget.errors import InvalidRequest, check_type, invalid, one_line, shown

MAX_COMBINATIONS = 1_000_000
MAX_ROWS = 100_000

_PLACE = re.compile(r"(?<!\{)\{([^\W\d]\w*)\}(?!\})")

_MISSING = {"nan", "NaN", "<NA>", "NaT"}  # as dataframes write it

Where = Callable[[dict[str, Any]], object] | Iterable[Mapping[str, object]] | None


class Maker(Protocol):
    """Makes checked requests, as a studio does."""

    def request(self, prompt: str | None, **fields: Any) -> ImageRequest: ...
    def model(self, name: str | None = None) -> Any: ...


def make_sweep(
    session: Session,
    maker: Maker,
    template: Any,
    rows: Iterable[Mapping[str, object]] | None,
    *,
    axes: Mapping[str, Iterable[object]],
    where: Where = None,
    sample: int | None = None,
    name: str | None = None,
) -> Series:
    """Return a series over every combination of the axes, or over the given dicts."""
    check_type("template", template, str, "text", "Give a prompt.")
    sample = None if sample is None else whole("sample", sample)
    if rows is not None and axes:
        raise InvalidRequest(
            "rows and axes cannot be given together.",
            remedy="Put the values of the axes into the rows.",
        )
    if rows is None:
        found = _combinations(axes, where, sample)
    elif isinstance(rows, Iterable):
        found = _select(map(_mapping, rows), where, sample)
    else:
        raise invalid("rows", f"{type(rows).__name__} is not a list", "Give dicts of values.")
    if not found:
        raise InvalidRequest("No combination is left.", remedy="Loosen where=, or add rows.")
    names = sorted(set().union(*found))
    planned = _planned(maker, found, template, _names_in(template, names))
    chosen = _name_for(template, names) if name is None else name
    spec = {"kind": "sweep", "axes": names}
    return _made(session, chosen, planned, spec, _note_of(template, names))


def make_batch(
    session: Session,
    maker: Maker,
    table: Any,
    prompt: Any,
    *,
    key: str | None = None,
    name: str | None = None,
    fields: Mapping[str, object],
) -> Series:
    """Return a series with a row for each row of a table."""
    check_type("prompt", prompt, str, "text", "Give a str with columns in braces.")
    found = _table_rows(table)
    if not found:
        raise InvalidRequest("The table has no rows.", remedy="Give at least one row.")
    columns = set().union(*found)
    texts = [prompt]
    _with_texts(fields, texts.append)
    used = set().union(*(_names_in(text, columns) for text in texts))
    has = ", ".join(sorted(columns)[:12]) or "none"
    # The key unnamed: who mistakes it for that of the account?
    missing = ["key"] if key is not None and str(key) not in columns else []
    missing += [n for text in texts for n in _PLACE.findall(text) if n not in columns]
    if missing:
        raise invalid(missing[0], "the table has no such column", f"The columns are: {has}.")
    if not used:
        raise InvalidRequest(
            "The prompt names no column, so all rows would ask for the same.",
            remedy=f"Put a column in braces: {has}.",
        )
    planned = _planned(maker, found, prompt, used, fields)
    if key is not None:
        key = str(key)
        named = [_as_text(row.get(key), key) for row in found]
        twice = [name for name, count in Counter(named).items() if count > 1]
        if twice:
            what = f"{twice[0][:40]!r} appears more than once, so it does not identify a row"
            raise invalid(key, what, "Name another column with key=, or none.")
        planned = [replace(row, key=name) for name, row in zip(named, planned, strict=True)]
    names = sorted(_names_in(prompt, columns))
    chosen = _name_for(prompt, names, sorted(fields)) if name is None else name
    return _made(session, chosen, planned, {"kind": "batch", "axes": []})


def _made(
    session: Session, name: str, planned: list[Row], spec: dict[str, Any], note: str = ""
) -> Series:
    name = check_name(name)
    before = session.journal.series(name)
    if before is not None and any(before.get(part) != value for part, value in spec.items()):
        axes = ", ".join(before.get("axes", ())) or "a table"
        raise InvalidRequest(
            f"A series {name!r} exists with other axes ({axes}).",
            remedy="Choose another name=; nothing was sent or changed.",
            field="name",
        )
    return Series(session, name, spec, planned, note)


def _name_for(*parts: object) -> str:
    """Return the same name for the same template and axes, so that a cell run again continues."""
    text = json.dumps(parts, sort_keys=True, default=str)
    words = re.findall(r"\w+", str(parts[0]))[:4]
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:6]
    return "-".join([*(word[:12] for word in words), digest]).lstrip("_-")


def listed(values: str) -> list[str]:
    """Return the values of an axis as `%%imagen_sweep` takes them: `a || b`, or numbers: `1..4`."""
    start, dots, end = (part.strip() for part in values.partition(".."))
    if not (dots and start.isdecimal() and end.isdecimal()):
        return [value.strip() for value in values.split("||")]
    low, high = int(start), int(end)
    if abs(high - low) >= MAX_ROWS:
        raise _too_many(abs(high - low) + 1, MAX_ROWS)
    step = 1 if low <= high else -1
    return [str(number) for number in range(low, high + step, step)]


# ---------------------------------------------------------------------------- values to choose from


def _combinations(
    axes: Mapping[str, Iterable[object]], where: Where, sample: int | None
) -> list[dict[str, Any]]:
    """Return every combination of the axes, the last axis turning fastest."""
    lists = {str(name): _values(str(name), values) for name, values in axes.items()}
    total = math.prod(map(len, lists.values()))
    if where is None and sample is not None:  # of any number of combinations
        return [_combination(lists, index) for index in _sampled(total, sample)]
    limit = MAX_ROWS if where is None else MAX_COMBINATIONS
    if total > limit:
        raise _too_many(total, limit)
    return _select((_combination(lists, index) for index in range(total)), where, sample)


def _select(
    rows: Iterable[dict[str, Any]], where: Where, sample: int | None
) -> list[dict[str, Any]]:
    """Return the rows that `where` keeps, or `sample` of them; the same ones each time."""
    keep = _condition(where)
    kept = [row for row in rows if keep({**row})]
    if sample is not None:
        kept = [kept[index] for index in _sampled(len(kept), sample)]
    return kept


def _sampled(total: int, sample: int) -> list[int]:
    return sorted(random.Random(0).sample(range(total), min(sample, total)))


def _combination(lists: dict[str, list[Any]], index: int) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(lists)
    for name in reversed(lists):
        index, place = divmod(index, len(lists[name]))
        values[name] = lists[name][place]
    return values


def _values(name: str, values: object) -> list[Any]:
    try:
        given: Any = None if isinstance(values, str | bytes) else values
        found = list(itertools.islice(given, MAX_COMBINATIONS + 1))
        if isinstance(values, set | frozenset):  # whose order is another one in each process
            found.sort(key=repr)
    except TypeError:  # also numpy's arrays without a dimension
        what = "an axis is a list of values"
        raise invalid(name, what, f"Write {name}=[{shown(values)}].") from None
    if not found:
        raise invalid(name, "the axis has no values", "Give at least one.")
    return found


def _condition(where: Where) -> Callable[[dict[str, Any]], object]:
    if where is None:
        return lambda _: True
    if callable(where):
        return where
    partial: Any = [where] if isinstance(where, Mapping) else where
    partial = list(partial) if isinstance(partial, Iterable) else [None]
    if not all(isinstance(each, Mapping) for each in partial):
        remedy = "Give a function of a row, or dicts of which one must match."
        raise invalid("where", "it is neither a function nor a list of dicts", remedy)
    return lambda row: any(all(row.get(n) == v for n, v in each.items()) for each in partial)


def _too_many(count: int, limit: int) -> InvalidRequest:
    return InvalidRequest(
        f"The axes make {count:,} combinations; at most {limit:,} are planned.",
        remedy="Shorten an axis, or take some of them with sample=100. Nothing was sent.",
    )


def _mapping(row: object) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise invalid("rows", f"{type(row).__name__} is not a row", "Give dicts of values.")
    return {str(name): value for name, value in row.items()}


def _table_rows(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a pandas, polars or pyarrow table, a list of dicts, or a CSV file."""
    if isinstance(table, str | Path):
        return _csv_rows(file_path("table", table))
    if isinstance(table, Iterable) and not hasattr(table, "columns"):
        return [_mapping(row) for row in table]
    try:
        import narwhals as nw
    except ModuleNotFoundError:
        raise InvalidRequest(
            "Reading a dataframe needs narwhals.",
            remedy="pip install narwhals, or give a list of dicts.",
        ) from None
    try:
        frame = nw.from_native(table, eager_only=True)
        # As they are written: 0.7 of 32 bits, not 0.699999988079071.
        singles = nw.selectors.by_dtype(nw.Float32).cast(nw.String).cast(nw.Float64)
        frame = frame.with_columns(singles)
    except TypeError:
        remedy = "Give a pandas, polars or pyarrow table, a list of dicts, or a CSV path."
        raise invalid("table", f"{type(table).__name__} is not a table", remedy) from None
    except ValueError as error:  # columns of one name
        raise invalid("table", one_line(str(error)), "Rename them.") from None
    return [_mapping(row) for row in frame.iter_rows(named=True)]


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            names, found = reader.fieldnames or (), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        said = getattr(error, "strerror", None) or error
        raise InvalidRequest(
            f"The table cannot be read ({said}): {path}",
            remedy="Give the path of a CSV file in UTF-8.",
        ) from None
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise invalid("table", f"two columns have the name {shown(twice[0])}", "Rename one.")
    for number, row in enumerate(found, 1):
        if None in row:
            raise InvalidRequest(
                f"Row {number} has more cells than there are columns: {path}",
                remedy="Put text with commas in quotes.",
            )
    return found


# -------------------------------------------------------------------------- from values to requests


def _names_in(template: str, names: Iterable[str]) -> set[str]:
    return {name for name in names if f"{{{name}}}" in template}


def _note_of(template: str, names: Iterable[str]) -> str:
    """Return a line on what looks like an axis in the template and is not one, or ""."""
    typed = dict.fromkeys(f"{{{name}}}" for name in _PLACE.findall(template) if name not in names)
    are, it = ("is", "that name") if len(typed) == 1 else ("are", "these names")
    return f"{', '.join(typed)} {are} sent as typed: no axis has {it}" if typed else ""


def _fill(template: str, values: Mapping[str, object]) -> str:
    """Return the template with `{name}` replaced by its value, for the given names only.

    What a value holds is not read again, so that a value may contain braces.
    """
    places = "|".join(re.escape(f"{{{name}}}") for name in values) or r"(?!)"

    def filled(found: re.Match[str]) -> str:
        name = found[0][1:-1]
        return _as_text(values[name], name)

    return re.sub(places, filled, template)


def _as_text(value: object, name: str) -> str:
    """Return a value as it stands in a prompt, unless it is missing or empty."""
    text = "" if value is None else plain(value) if isinstance(value, str) else str(value)
    if text in _MISSING or not text.strip():
        what = "a value is missing, so the prompt would have a gap"
        raise invalid(name, what, "Fill it in, or leave the row out.")
    return text


def _planned(
    maker: Maker,
    rows: list[dict[str, Any]],
    template: str,
    used: set[str],
    fields: Mapping[str, object] | None = None,
) -> list[Row]:
    """Return the checked rows; without `fields` the values that the template leaves are fields."""
    if len(rows) > MAX_ROWS:
        raise InvalidRequest(
            f"There are {len(rows):,} rows; a series has at most {MAX_ROWS:,}.",
            remedy="Split them into several series. Nothing was sent.",
        )
    planned, seen = [], Counter[str]()
    for number, row in enumerate(rows, 1):
        texts = {name: row.get(name) for name in used}
        others = {name: value for name, value in row.items() if name not in used}
        asked = others
        if fields is not None:
            asked, others = _with_texts(fields, functools.partial(_filled, texts)), {}
        try:
            if "prompt" in asked:
                raise invalid("prompt", "the template is the prompt", "Put {prompt} into it.")
            request = maker.request(_fill(template, texts) if template else None, **asked)
        except InvalidRequest as error:
            raise _refused(number, error, others, maker) from None
        axes = {name: _label(value) for name, value in row.items()}
        key = json.dumps(axes, ensure_ascii=False, sort_keys=True)
        seen[key] += 1
        if seen[key] > 1:  # equal rows are separate rows
            key = f"{key} #{seen[key]}"
        planned.append(Row(key, axes, request))
    return planned


def _filled(values: Mapping[str, object], text: str) -> object:
    """Return the text with its columns filled in; the value itself where it is one and no more."""
    alone = text[1:-1]
    return values[alone] if f"{{{alone}}}" == text and alone in values else _fill(text, values)


def _with_texts(value: Any, of: Callable[[str], object]) -> Any:
    """Return a value with what `of` makes of each text in it, in its lists and mappings too."""
    if isinstance(value, Mapping):
        return {name: _with_texts(each, of) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_with_texts(each, of) for each in value])
    return of(value) if isinstance(value, str) else value


def _refused(
    number: int, error: InvalidRequest, others: Mapping[str, object], maker: Maker
) -> InvalidRequest:
    name = error.field or ""
    _, found, why = error.message.partition(f"{name}: ")  # not of a setting
    if found and name in others and maker.model(others.get("model")).meant(name) is None:  # type: ignore[arg-type]
        return InvalidRequest(
            f"{name}: the axis is not in the template, and {why}",
            remedy=f"Put {{{name}}} into the template, or leave the axis out. {error.remedy}",
            field=name,
        )
    return InvalidRequest(f"Row {number}: {error.message}", remedy=error.remedy, field=name)


def _label(value: object) -> Any:
    """Return an axis' value as JSON can hold it: it names the row and heads the grid."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, PictureSource):
        first = value.sources()[0]
        return f"{first.origin} · {first.digest[7:11]}"  # others may be of the same words
    if getattr(value, "ndim", None) == 0:  # numpy's numbers
        return _label(value.item())  # type: ignore[attr-defined]
    if type(value).__module__.startswith("PIL."):
        value = value.tobytes()  # type: ignore[attr-defined]
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()[:12]
    text = str(value)[: None if isinstance(value, Path) else 200]
    return None if text in _MISSING else text
