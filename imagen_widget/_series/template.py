"""Prompts with places to fill: only braces around a declared name are replaced.

Pure. Everything else stays as typed: `$5`, JSON, code, `{a|b}` and braces around other words.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from imagen_widget._models import plain
from imagen_widget.errors import InvalidRequest

MAX_COMBINATIONS = 1_000_000
MAX_ROWS = 100_000

Where = Callable[[dict[str, Any]], object] | Iterable[Mapping[str, object]] | None


def names_in(template: str, names: Iterable[str]) -> set[str]:
    """Return those of the names that stand in braces in the template."""
    return {name for name in names if f"{{{name}}}" in template}


def fill(template: str, values: Mapping[str, object]) -> str:
    """Return the template with `{name}` replaced by its value, for the given names only.

    What a value holds is not read again, so that a value may contain braces.
    """
    parts: list[str] = []
    rest = template
    while True:
        found = [(rest.find(f"{{{name}}}"), name) for name in values]
        place, name = min(((p, n) for p, n in found if p >= 0), default=(-1, ""))
        if place < 0:
            parts.append(rest)
            return "".join(parts)
        parts += [rest[:place], as_text(values[name], name)]
        rest = rest[place + len(name) + 2 :]


def as_text(value: object, name: str) -> str:
    """Return a value as it stands in a prompt.

    Raises:
        InvalidRequest: It is missing (None, NaN, NaT) or empty, so that the prompt has a hole.
    """
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    text = "" if missing else plain(value) if isinstance(value, str) else str(value)
    if missing or text in {"nan", "NaN", "<NA>", "NaT"} or not text.strip():
        raise InvalidRequest(
            f"{name}: a value is missing, so the prompt would have a hole.",
            remedy="Fill it in, or leave the row out.",
            field=name,
        )
    return text


def combinations(
    axes: Mapping[str, Iterable[object]], *, where: Where = None, sample: int | None = None
) -> list[dict[str, Any]]:
    """Return every combination of the axes, the last axis turning fastest.

    Args:
        axes: An iterable of values each.
        where: A function that returns True to keep a combination, or partial dicts of which one
            must match.
        sample: How many to take at random; the same ones each time.

    Raises:
        InvalidRequest: An axis is empty or not iterable, or there are too many combinations.
    """
    lists = {name: _values(name, values) for name, values in axes.items()}
    total = math.prod(map(len, lists.values()))
    _check_sample(sample)
    if total > MAX_COMBINATIONS and (sample is None or where is not None):
        raise _too_many(total, MAX_COMBINATIONS)
    if where is None and sample is not None and sample < total:
        picked = sorted(random.Random(0).sample(range(total), sample))
        return [_combination(lists, index) for index in picked]
    every = (dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values()))
    return select(every, where=where, sample=sample)


def select(
    rows: Iterable[dict[str, Any]], *, where: Where = None, sample: int | None = None
) -> list[dict[str, Any]]:
    """Return the rows that `where` keeps, or `sample` of them; the same ones each time.

    Raises:
        InvalidRequest: There are too many.
    """
    _check_sample(sample)
    keep = _condition(where)
    kept = [row for row in rows if keep(row)]
    if sample is not None and sample < len(kept):
        picked = sorted(random.Random(0).sample(range(len(kept)), sample))
        kept = [kept[index] for index in picked]
    if len(kept) > MAX_ROWS:
        raise _too_many(len(kept), MAX_ROWS)
    return kept


def _values(name: str, values: object) -> list[Any]:
    try:
        several = iter(() if isinstance(values, str | bytes) else values)  # type: ignore[call-overload]
    except TypeError:  # also numpy's arrays without a dimension
        several = None
    if several is None or isinstance(values, str | bytes):
        raise InvalidRequest(
            f"{name}: an axis needs several values, not one.",
            remedy=f"Give a list, like {name}=[…]; a value for all rows goes into the template.",
            field=name,
        )
    found = list(itertools.islice(several, MAX_COMBINATIONS + 1))
    if not found:
        raise InvalidRequest(
            f"{name}: the axis has no values.", remedy="Give at least one.", field=name
        )
    return found


def _combination(lists: Mapping[str, Sequence[Any]], index: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in reversed(list(lists)):
        index, place = divmod(index, len(lists[name]))
        values[name] = lists[name][place]
    return {name: values[name] for name in lists}


def _condition(where: Where) -> Callable[[dict[str, Any]], object]:
    if where is None:
        return lambda _: True
    if callable(where):
        return where
    partial: Any = [where] if isinstance(where, Mapping) else where
    if not isinstance(partial, Iterable) or not all(isinstance(p, Mapping) for p in partial):
        raise InvalidRequest(
            "where: it is neither a function nor a list of dicts.",
            remedy="Give a function of a row, or dicts of which one must match.",
            field="where",
        )
    partial = list(partial)
    return lambda row: any(all(row.get(n) == v for n, v in part.items()) for part in partial)


def _check_sample(sample: object) -> None:
    if sample is None or (isinstance(sample, int) and not isinstance(sample, bool) and sample > 0):
        return
    what = "sample: it is not a whole number from 1."
    raise InvalidRequest(what, remedy="Say how many rows to take.", field="sample")


def _too_many(count: int, limit: int) -> InvalidRequest:
    return InvalidRequest(
        f"The axes make {count:,} combinations; at most {limit:,} are planned.",
        remedy="Shorten an axis, or take some of them with sample=100. Nothing was sent.",
    )


def parse_axes(lines: Iterator[str]) -> dict[str, list[str]]:
    """Return the axes that a cell of `%%imagen_sweep` lists, one `name = a || b` a line.

    `1..4` stands for the numbers from 1 to 4. Values are separated by `||`, so that they can hold
    commas.

    Raises:
        InvalidRequest: A line is not an axis.
    """
    axes: dict[str, list[str]] = {}
    for line in lines:
        if not line.strip():
            continue
        name, equals, values = (part.strip() for part in line.partition("="))
        if not (equals and name.isidentifier() and values):
            raise InvalidRequest(
                f"{line.strip()[:60]!r} is not an axis.",
                remedy="Write one axis a line, like style = oil || ink, two-tone; then --- and "
                "the prompt.",
            )
        if name in axes:
            raise InvalidRequest(f"{name}: the axis stands twice.", remedy="Join the two lines.")
        axes[name] = _listed(values)
    return axes


def _listed(values: str) -> list[str]:
    start, dots, end = values.partition("..")
    if dots and start.strip().isdigit() and end.strip().isdigit():
        low, high = int(start), int(end)
        if high - low >= MAX_ROWS:
            raise _too_many(high - low + 1, MAX_ROWS)
        step = 1 if low <= high else -1
        return [str(number) for number in range(low, high + step, step)]
    return [value.strip() for value in values.split("||")]
