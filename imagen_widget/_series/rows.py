"""From axes or a table to the rows of a series: each a key, its axes and a checked request."""

import csv
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from imagen_widget._inputs import PictureSource
from imagen_widget._request import ImageRequest
from imagen_widget._series.template import (
    MAX_ROWS,
    Where,
    as_text,
    combinations,
    fill,
    names_in,
    select,
)
from imagen_widget.errors import InvalidRequest

_NAME = re.compile(r"[^\W_][\w .:-]{0,99}")


class Maker(Protocol):
    """Makes checked requests, as a studio does."""

    def request(self, prompt: str | None, **fields: Any) -> ImageRequest:
        """Return a checked request."""

    def model(self, name: str | None = None) -> Any:
        """Return what is known of a model."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One row of a plan.

    Attributes:
        key: Identifies the row in its series.
        axes: The values that make it differ from the others, as JSON can hold them.
        request: What is asked.
    """

    key: str
    axes: dict[str, Any]
    request: ImageRequest


def sweep_rows(
    maker: Maker,
    template: str,
    rows: Iterable[Mapping[str, object]] | None,
    *,
    axes: Mapping[str, Iterable[object]],
    where: Where,
    sample: int | None,
) -> list[Planned]:
    """Return a row for each combination of the axes, or for each of the given dicts.

    Raises:
        InvalidRequest: An axis is not used, or a combination is not a valid request.
    """
    if not isinstance(template, str):
        raise InvalidRequest(
            f"template: it is a {type(template).__name__}, not text.", remedy="Give a prompt."
        )
    if rows is None:
        found = combinations(axes, where=where, sample=sample)
    elif axes:
        raise InvalidRequest(
            "rows and axes cannot be given together.",
            remedy="Put the values of the axes into the rows.",
        )
    else:
        found = select(map(_mapping, rows), where=where, sample=sample)
    if not found:
        raise InvalidRequest("No combination is left.", remedy="Loosen where=, or add rows.")
    used = names_in(template, {name for row in found for name in row})
    return _planned(maker, found, template, used)


def batch_rows(
    maker: Maker, table: Any, prompt: Any, *, key: str | None, fields: Mapping[str, object]
) -> list[Planned]:
    """Return a row for each row of a table.

    Raises:
        InvalidRequest: A column is missing, a value is empty, or a key stands twice.
    """
    if not isinstance(prompt, str):
        what = f"prompt: it is a {type(prompt).__name__}, not a text."
        raise InvalidRequest(what, remedy="Give a str with columns in braces.", field="prompt")
    found = table_rows(table)
    if not found:
        raise InvalidRequest("The table has no rows.", remedy="Give at least one row.")
    columns = set().union(*found)
    if key is not None and key not in columns:
        raise _no_column("key", columns)  # unnamed: who mistakes it for that of the account
    texts = [prompt, *(value for value in fields.values() if isinstance(value, str))]
    used = set().union(*(names_in(text, columns) for text in texts))
    for missing in set(re.findall(r"\{([^\W\d]\w*)\}", prompt)) - columns:
        raise _no_column(missing, columns)
    if not used:
        raise InvalidRequest(
            "The prompt names no column, so all rows would ask for the same.",
            remedy=f"Put a column in braces: {', '.join(sorted(map(str, columns))[:8])}.",
        )
    planned = _planned(maker, found, prompt, used, fields)
    if key is None:
        return planned
    named = [as_text(row.get(key), key) for row in found]
    twice = [name for name, count in Counter(named).items() if count > 1]
    if twice:
        raise InvalidRequest(
            f"{key}: {twice[0][:40]!r} stands more than once, so it identifies no row.",
            remedy="Name another column with key=, or none.",
            field="key",
        )
    return [Planned(n, p.axes, p.request) for n, p in zip(named, planned, strict=True)]


def table_rows(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a pandas, polars or pyarrow table, a list of dicts, or a CSV file."""
    if isinstance(table, str | Path):
        return _csv_rows(Path(table).expanduser())
    if isinstance(table, Iterable) and not hasattr(table, "columns"):
        return [_mapping(row) for row in table]
    try:
        import narwhals as nw
    except ModuleNotFoundError:
        raise InvalidRequest(
            "Reading a dataframe needs narwhals.",
            remedy="pip install 'imagen-widget[frames]', or give a list of dicts.",
        ) from None
    try:
        frame = nw.from_native(table, eager_only=True)
    except TypeError:
        raise InvalidRequest(
            f"table: a {type(table).__name__} is not a table.",
            remedy="Give a pandas, polars or pyarrow table, a list of dicts, or a CSV path.",
        ) from None
    return [dict(row) for row in frame.iter_rows(named=True)]


def check_name(name: str) -> str:
    """Return a series' name.

    Raises:
        InvalidRequest: It has signs that do not go into file names.
    """
    if not _NAME.fullmatch(str(name)):
        raise InvalidRequest(
            f"name: {str(name)[:40]!r} is not a name for a series.",
            remedy="Use up to 100 letters, digits, blanks, _ . : and -.",
            field="name",
        )
    return name


def name_for(*parts: object) -> str:
    """Return the same name for the same template and axes, so that a cell run again continues."""
    text = json.dumps(parts, sort_keys=True, default=str)
    words = re.findall(r"\w+", str(parts[0]))[:4]
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:6]
    return "-".join([*(word[:12] for word in words), digest])


def label(value: object) -> Any:
    """Return an axis' value as JSON can hold it: it names the row and heads the grid."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, PictureSource):
        return value.sources()[0].origin
    if hasattr(value, "item"):  # numpy's numbers
        return label(value.item())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()[:12]
    return str(value)[:200]


def _planned(
    maker: Maker,
    rows: list[dict[str, Any]],
    template: str,
    used: set[str],
    fields: Mapping[str, object] | None = None,
) -> list[Planned]:
    """Return the checked rows; without `fields` the values that the template leaves are fields."""
    if len(rows) > MAX_ROWS:
        raise InvalidRequest(
            f"There are {len(rows):,} rows; a series has at most {MAX_ROWS:,}.",
            remedy="Split the table. Nothing was sent.",
        )
    planned, seen = [], Counter[str]()
    for number, row in enumerate(rows, 1):
        texts = {name: row.get(name) for name in used}
        others = {name: value for name, value in row.items() if name not in used}
        asked = others
        if fields is not None:
            asked, others = {n: _filled(value, texts) for n, value in fields.items()}, {}
        try:
            request = maker.request(fill(template, texts) if template else None, **asked)
        except InvalidRequest as error:
            raise _refused(number, error, others, maker) from None
        axes = {str(name): label(value) for name, value in row.items()}
        key = json.dumps(axes, ensure_ascii=False, sort_keys=True)
        seen[key] += 1
        if seen[key] > 1:  # equal rows are separate rows
            key = f"{key} #{seen[key]}"
        planned.append(Planned(key, axes, request))
    return planned


def _refused(
    number: int, error: InvalidRequest, others: Mapping[str, object], maker: Maker
) -> InvalidRequest:
    name = error.field
    if name in others and maker.model(others.get("model")).field(name) is None:  # type: ignore[arg-type]
        return InvalidRequest(
            f"{name}: the axis is neither in the template nor a field. {error.message}",
            remedy=f"Put {{{name}}} into the template, or leave the axis out. {error.remedy}",
            field=name,
        )
    return InvalidRequest(f"Row {number}: {error.message}", remedy=error.remedy, field=name)


def _filled(value: object, texts: Mapping[str, object]) -> object:
    if not isinstance(value, str):
        return value
    alone = next((name for name in texts if value == f"{{{name}}}"), None)
    return texts[alone] if alone is not None else fill(value, texts)


def _mapping(row: object) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise InvalidRequest(
            f"rows: a {type(row).__name__} is not a row.", remedy="Give dicts of values."
        )
    return {str(name): value for name, value in row.items()}


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [dict(row) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        said = getattr(error, "strerror", None) or type(error).__name__
        raise InvalidRequest(
            f"The table cannot be read ({said}): {path}",
            remedy="Give the path of a CSV file in UTF-8.",
        ) from None


def _no_column(name: str, columns: Iterable[object]) -> InvalidRequest:
    return InvalidRequest(
        f"{name}: the table has no such column.",
        remedy=f"It has {', '.join(sorted(map(str, columns))[:12])}.",
        field=name,
    )
