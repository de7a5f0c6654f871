"""What a failing answer says of itself, whatever its shape.

Nothing here does I/O, and nothing here raises. fal's `detail` may be a string, a list of objects
or an object; gateways of the one-api family have shapes of their own, and wrap the answers of the
service behind them as text. `input` echoes the caller's prompt: it is never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagen_widget._protocol._wire import read_json
from imagen_widget.errors import one_line

if TYPE_CHECKING:
    from imagen_widget._protocol._wire import Answer

_LONGEST_TEXT = 300


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a failing answer says of itself.

    Attributes:
        text: Its words, as one line; may be empty.
        kind: Its machine-readable type, or "".
        field: The request's field that it names, or "".
        expected: What it says is allowed, or "".
    """

    text: str
    kind: str = ""
    field: str = ""
    expected: str = ""


def read_trouble(answer: Answer) -> Trouble:
    """Return what the answer says, whatever its shape."""
    kind = _word(answer.headers.get("x-fal-error-type"))
    body = answer.mapping()
    if body is None:
        return Trouble(_plain_text(answer), kind)
    return trouble_in(body, kind=kind) or Trouble(field_names(body), _word(body.get("error_type")))


def trouble_in(body: dict[str, Any], *, kind: str = "", depth: int = 2) -> Trouble | None:
    """Return what a JSON object says of a failure, or None where it says nothing.

    Args:
        body: The object.
        kind: The failure's type, where something else than the object told it.
        depth: How many objects may be wrapped in each other, as text or as they are.
    """
    kind = _word(body.get("error_type")) or kind
    for name in ("detail", "error", "message", "description", "msg"):
        trouble = _read(body.get(name), kind, depth)
        if trouble is not None:
            return trouble
    return None


def field_names(body: dict[str, Any]) -> str:
    """Name the fields of an object that is not understood; the values could echo the prompt."""
    names = ", ".join(list(body)[:8]) or "nothing"
    return one_line(f"an object with {names}", limit=120)


def _read(value: object, kind: str, depth: int) -> Trouble | None:
    if isinstance(value, str) and value.strip():
        return _read_text(value, kind, depth)
    if isinstance(value, list):
        first = next((item for item in value if isinstance(item, dict)), None)
        return _read_detail(first, kind) if first else None
    if isinstance(value, dict):
        code = _word(value.get("code")) or _word(value.get("error")) or _word(value.get("type"))
        texts = (value.get(name) for name in ("message", "msg", "localized_message"))
        text = next((text for text in texts if isinstance(text, str) and text.strip()), code)
        return _read_text(text, code or kind, depth)
    return None


def _read_text(text: str, kind: str, depth: int) -> Trouble:
    """Read a text; gateways put the whole answer of the service behind them into theirs."""
    before, brace, _ = text.partition("{")
    if not brace:
        return Trouble(one_line(text, limit=_LONGEST_TEXT), kind)
    inner = read_json(text[len(before) : text.rfind("}") + 1])
    if depth and isinstance(inner, dict):
        found = trouble_in(inner, kind=kind, depth=depth - 1)
        if found is not None:
            return found
    echoes = any(name in text for name in ('"input', '"prompt', "'input", "'prompt"))
    return Trouble(one_line(before if echoes else text, limit=_LONGEST_TEXT), kind)


def _read_detail(item: dict[str, Any], kind: str) -> Trouble:
    place = item.get("loc")
    names = [part for part in place if isinstance(part, str)] if isinstance(place, list) else []
    names = [name for name in names if name != "body"]
    context = item.get("ctx")
    expected = context.get("expected") if isinstance(context, dict) else None
    if isinstance(expected, list):
        expected = ", ".join(str(word) for word in expected[:40] if isinstance(word, str | int))
    text = item.get("msg") or item.get("message")
    return Trouble(
        text=one_line(text, limit=_LONGEST_TEXT) if isinstance(text, str) else "",
        kind=_word(item.get("type")) or kind,
        field=one_line(names[-1], limit=60) if names else "",
        expected=one_line(expected, limit=200) if isinstance(expected, str) else "",
    )


def _word(value: object) -> str:
    return one_line(value, limit=60) if isinstance(value, str) else ""


def _plain_text(answer: Answer) -> str:
    if answer.is_page:
        return "a web page instead of an answer"
    return one_line(answer.body[:_LONGEST_TEXT].decode("utf-8", "replace"), limit=120)
