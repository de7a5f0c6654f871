"""The pictures in an answer, in every shape that fal, its gateways and OpenAI's relays use.

Nothing here does I/O, and nothing here raises. An empty text counts as absent, a relative address
belongs to the base, and bare base64 becomes a `data:` address. An answer of another shape is
searched for what surely is a picture, before it counts as not understood.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urljoin, urlsplit

from imagen_widget._providers.answers import (
    Answer,
    base64_media_type,
    data_address,
    read_json,
    sniff,
)
from imagen_widget._providers.values import Finished, Served
from imagen_widget.errors import one_line

MAX_PICTURES = 1000  # of one answer: more are not asked for

_LISTS = ("images", "image")
_WRAPPERS = ("response", "result", "results", "data", "output", "outputs", "payload", "detail")
_ADDRESSES = ("url", "image_url", "uri", "image", "src")
_ENCODED = ("b64_json", "base64", "b64", "image_base64")
_TICKET_NAMES = frozenset({"request_id", "task_id", "status_url", "response_url", "status"})
_DEPTH = 3
_MAX_TEXT = 20_000
_MAX_SECONDS = 10**6  # a job of more is a mistake of the server's
_MIN_BASE64 = 256
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}\s*")
_FLAG = re.compile(r"(is_|has_)?nsfw(_concepts?|_content)?(_detected)?")  # blacked out, then
_SEARCH_DEPTH = 10
_LINKED = re.compile(  # in a text, as chat models answer
    r"!\[[^\]]{0,1000}\]\(([^\s)]{1,2000})\)"
    r"|\b(https?://[^\s()<>\"']{1,2000}?\.(?:png|jpe?g|webp|gif|avif)(?:\?[^\s()<>\"']{0,2000})?)"
)
_PICTURE_PATH = re.compile(r"\.(png|jpe?g|webp|gif|avif|svg|bmp|tiff?)$", re.IGNORECASE)
_PICTURE_WORDS = (
    *("image", "img", "picture", "photo", "url", "uri", "src", "link", "href"),
    *("sample", "output", "result", "file", "path", "content", "source"),
)
# What is asked for or watched, and other pictures of the same: never what was made.
_OTHERS = re.compile(
    r"inputs?|requests?|arguments|args|param(eter)?s|logs?|prompt|mask|error|video|audio|avatar|docs"
    r"|thumb.*|preview.*|.*(status|cancel|response|queue|callback|webhook|reference)ur[li]s?"
)
_RELATIVE = re.compile(r"(\.?/)[^\s/][^\s]*|[\w][\w./-]*\.(png|jpe?g|webp|gif|avif|svg)(\?\S*)?")


@dataclass(frozen=True, slots=True)
class Found:
    """The pictures in an answer; `odd` if something is in their place that is not understood.

    `around` are the objects that may say more, the innermost first: seed, prompt, description.
    """

    pictures: tuple[Served, ...]
    odd: bool = False
    around: tuple[Mapping[str, Any], ...] = ()


def find_pictures(value: Any, base_url: str) -> Found | None:
    """Return the pictures in an answer's JSON value or text; None if it has no place for any."""
    if isinstance(value, str):
        return _entries([value], base_url, ()) if _is_address(value) else None
    return _find(value, base_url, (), depth=_DEPTH)


def search_pictures(answer: Answer, base_url: str) -> Found | None:
    """Return the pictures in an answer of no usual shape; None if nothing surely is one.

    It may be the picture itself, hold it under any name at any depth, or as JSON or Markdown inside
    a text. What was asked for, such as an input picture that is repeated, does not count.
    """
    kind = None if answer.is_page else sniff(answer.body)
    if kind is not None:
        return Found((Served(data_address(answer.body, kind)),))
    pictures = tuple(_search(answer.value, base_url))
    return Found(pictures[:MAX_PICTURES], around=(answer.mapping or {},)) if pictures else None


def made_id() -> str:
    """Return an id for a job that its provider gave none: each has its own."""
    return f"{uuid.uuid4().hex}-direct"


def read_finished(answer: Answer, found: Found, request_id: str = "") -> Finished:
    """Return what a finished job brought, with what its answer says besides the pictures."""
    return Finished(
        pictures=found.pictures,
        seed=_first(found, "seed", _seed),
        description=one_line(_first(found, "description", _text) or ""),
        revised_prompt=_first(found, "revised_prompt", _text)
        or _first(found, "prompt", _text)
        or "",
        units=_units(answer.headers.get("x-fal-billable-units", "")),
        seconds=_first(found, "metrics", inference_seconds)
        or _first(found, "timings", inference_seconds),
        request_id=request_id,
    )


# ---------------------------------------------------------------------------- where they may be


def _find(
    value: Any, base_url: str, around: tuple[Mapping[str, Any], ...], *, depth: int
) -> Found | None:
    if isinstance(value, list):
        return _entries(value, base_url, around)
    if not isinstance(value, dict):
        return None
    around = (value, *around)
    for name in _LISTS:
        inner = value.get(name)
        if isinstance(inner, list) or (isinstance(inner, dict | str) and inner):
            return _entries(inner if isinstance(inner, list) else [inner], base_url, around)
    empty = None
    for name in _WRAPPERS if depth else ():
        inner = value.get(name)
        if isinstance(inner, str):
            inner = [inner] if _is_address(inner) else None
        found = _find(inner, base_url, around, depth=depth - 1)
        if found is not None and found.pictures:
            return found
        if isinstance(inner, list) and not inner and name == "data":
            empty = found  # OpenAI's list, without a picture
        elif isinstance(inner, dict):
            empty = empty or found
    is_ticket = not _TICKET_NAMES.isdisjoint(value)
    if not is_ticket and isinstance(_read(value, base_url), Served):
        return _entries([value], base_url, around)
    return empty


def _entries(
    entries: list[Any], base_url: str, around: tuple[Mapping[str, Any], ...]
) -> Found | None:
    """Read a list of pictures, with the flags that stand beside it."""
    read = [_read(entry, base_url) for entry in entries[:MAX_PICTURES]]
    flags: Any = next((a[n] for a in around for n in a if _FLAG.fullmatch(n)), [])
    flags = flags if isinstance(flags, list) else [flags] * len(read)
    groups = [
        list(_search(entry, base_url, "image")) if found == "odd" else [found]
        for found, entry in zip(read, entries, strict=False)
    ]
    pictures = tuple(
        Served(served.url, served.filtered or _is_set(flag), served.media_type)
        for group, flag in zip(groups, [*flags, *[False] * len(read)], strict=False)
        for served in group
        if isinstance(served, Served)
    )
    inner = tuple(entry for entry in entries[:1] if isinstance(entry, dict))
    return Found(pictures, odd=[] in groups, around=(*around, *inner))


def _search(
    value: Any, base_url: str, name: str = "", *, depth: int = _SEARCH_DEPTH
) -> Iterator[Served]:
    """Yield what surely are pictures in a value, at any depth; `name` is what holds it."""
    if isinstance(value, list) and depth:
        for item in value[: 4 * MAX_PICTURES]:
            yield from _search(item, base_url, name, depth=depth - 1)
    elif isinstance(value, dict) and depth:
        taken = ""  # of texts side by side, such as url and b64_json, one is the picture
        for key, inner in value.items():
            plain = re.sub(r"[\W\d_]", "", str(key)).lower()
            if _OTHERS.fullmatch(plain):
                continue
            found = list(_search(inner, base_url, plain, depth=depth - 1))
            if found and isinstance(inner, str):
                found, taken = (found, plain) if taken in {"", plain} else ([], taken)
            yield from found
    elif isinstance(value, str):
        yield from _search_text(value, base_url, name, depth=depth)


def _search_text(text: str, base_url: str, name: str, *, depth: int) -> Iterator[Served]:
    head = text[:200].strip()
    if head[:1] == "<" and sniff(text[:_MAX_TEXT].encode("utf-8", "replace")) == "image/svg+xml":
        yield Served(data_address(text.encode("utf-8", "replace"), "image/svg+xml"))
    elif base64_media_type(head) is not None or head[:11].lower() == "data:image/":
        url = _address(text.strip(), base_url, encoded=True)
        yield from (Served(url),) if url else ()
    elif re.match(r"https?://", head, re.IGNORECASE):
        if not re.search(r"\s", text.strip()) and _may_be_picture(text.strip(), name):
            yield Served(text.strip())
    elif head[:1] in {"{", "["} and depth:
        yield from _search(read_json(text), base_url, name, depth=depth - 1)
    else:
        for link in _LINKED.finditer(text[:_MAX_TEXT]):
            url = link[1] or link[2]
            if url.lower().startswith(("https://", "http://", "data:image/")):
                yield Served(url)


def _may_be_picture(url: str, name: str) -> bool:
    try:
        path = urlsplit(url).path
    except ValueError:
        return False
    return bool(_PICTURE_PATH.search(path)) or any(word in name for word in _PICTURE_WORDS)


# ------------------------------------------------------------------------------------ one picture


def _read(entry: Any, base_url: str, *, encoded: bool = False, depth: int = _DEPTH) -> Served | str:
    """Return the picture that an entry means, "" if it holds none, "odd" if unknown."""
    if entry is None:
        return ""
    if isinstance(entry, str):
        text = entry.strip()
        url = _address(text.removeprefix("base64,"), base_url, encoded=encoded)
        empty = not text or text[:5].lower() == "data:"
        return Served(url) if url else "" if empty else "odd"
    if not isinstance(entry, dict) or not depth:
        return "odd"
    named = [name for name in (*_ADDRESSES, *_ENCODED) if name in entry]
    result: Served | str = "" if named else "odd"
    for name in named:
        found = _read(entry[name], base_url, encoded=name in _ENCODED, depth=depth - 1)
        if isinstance(found, Served):
            flagged = any(_FLAG.fullmatch(n) and _is_set(value) for n, value in entry.items())
            kinds = (entry.get(key) for key in ("content_type", "mime_type"))
            kind = next((k for k in kinds if isinstance(k, str)), found.media_type)
            return Served(found.url, flagged or found.filtered, one_line(kind, limit=60))
        result = found or result
    return result


def _is_set(flag: object) -> bool:
    return flag is True or (type(flag) is int and flag == 1) or str(flag).lower() == "true"


def _address(text: str, base_url: str, *, encoded: bool) -> str:
    """Return the absolute address that a text means, or ""."""
    if text[:5].lower() == "data:":
        return text if text.partition(",")[2].strip() else ""
    if text[:8].lower().startswith(("https://", "http://")):
        return text
    kind = base64_media_type(text)
    if encoded or kind or (len(text) >= _MIN_BASE64 and _BASE64.fullmatch(text)):
        return f"data:{kind or 'image/png'};base64,{text}" if text else ""
    if text.startswith("//") or _RELATIVE.fullmatch(text):
        try:
            return urljoin(f"{base_url}/", text)
        except ValueError:
            return ""
    return ""


def _is_address(text: str) -> bool:
    """Return True if a bare text is a picture's address, or the picture as base64."""
    head = text[:200].strip()
    whole = head.lower().startswith(("https://", "http://", "data:")) and not re.search(r"\s", head)
    return whole or base64_media_type(head) is not None


# ----------------------------------------------------------------------------- what is said besides


def _first(found: Found, name: str, read: Any) -> Any:
    """Return the first readable value of a name in the objects around the pictures."""
    values = (read(around.get(name)) for around in found.around)
    return next((value for value in values if value is not None), None)


def _seed(value: Any) -> int | None:
    return value if type(value) is int and abs(value) < 2**63 else None


def _text(value: object) -> str | None:
    return value[:_MAX_TEXT] if isinstance(value, str) and value.strip() else None


def inference_seconds(value: Any) -> float | None:
    """Return the seconds that an object of metrics or timings tells; None if it tells none."""
    found = value if isinstance(value, dict) else {}
    seconds: Any = found.get("inference_time", found.get("inference"))
    return float(seconds) if type(seconds) in {int, float} and 0 <= seconds < _MAX_SECONDS else None


def _units(text: str) -> Decimal | None:
    try:
        units = Decimal(text.strip())
    except InvalidOperation:
        return None
    return units if units.is_finite() and 0 <= units < _MAX_SECONDS else None
