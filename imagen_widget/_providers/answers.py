"""Calls, tickets and answers as values: the pictures in an answer, and the error that it means.

Nothing here does I/O, and reading never raises: what cannot be read is None, and what can be read
is read, however it is written. An empty text counts as absent, a relative address belongs to the
base, and bare base64 becomes a `data:` address. An answer of no usual shape is searched for what
surely is a picture, before it counts as not understood.

Of failures, fal's `detail` may be a string, a list of objects or an object; gateways of the one-api
family have shapes of their own, and wrap the answers of the service behind them as text. `input`
echoes the caller's prompt: it is never read, and `hidden` leaves the prompt out of what is said.
"""

import contextlib
import enum
import html
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import cached_property
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import urljoin

from imagen_widget import _picture, errors
from imagen_widget._html import data_uri
from imagen_widget._models import Catalogue, as_number, short_name
from imagen_widget._request import ImageRequest
from imagen_widget._settings import YES_OR_NO, Account
from imagen_widget.errors import ImagenError, QueueError, SubmitUncertain, one_line, word

MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_RESULT_BYTES = 64 * 1024 * 1024  # four 2K pictures as data: addresses
MAX_PICTURES = 1000  # of one answer: more are not asked for

_MAX_PARTS = 500_000
_MAX_PARTS_OF_LARGE = 20_000
_MAX_WARNING_BYTES = 4096
_MAX_JSON_STARTS = 8
_MAX_LINES = 100  # of an event stream, looked at from its end
_LINE_START = re.compile(r"^\s*[{\[]", re.MULTILINE)
_JSON_START = re.compile(r"[{\[]")
_PRINTED = b"\xef\xbb\xbf \t\r\n\v\f"  # a byte order mark, and spaces
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # in no text, whatever its encoding
_UTF16_STARTS = (b"\xff\xfe", b"\xfe\xff", b"<\x00", b"\x00<")

# The first bytes of pictures in base64: PNG, JPEG (which looks like a path), WebP, GIF, SVG, AVIF.
_BASE64_HEAD = re.compile(r"\s*(iVBORw0KGgo|/9j/|UklGR|R0lGOD|PHN2Zy|PD94bW|AAAA[IH]GZ0eXBhdmlm)")

_LISTS = ("images", "image")
WRAPPERS = ("response", "result", "results", "data", "output", "outputs", "payload", "detail")
_ADDRESSES = ("url", "image_url", "uri", "image", "src")
_ENCODED = ("b64_json", "base64", "b64", "image_base64")
_TICKET_NAMES = frozenset({"requestid", "taskid", "jobid", "statusurl", "responseurl", "status"})
_DEPTH = 3
_SEARCH_DEPTH = 10
_MAX_TEXT = 20_000
_MAX_KIND = 60  # characters of a media type
_MAX_SECONDS = 10**6  # a job of more is a mistake of the server's
_MIN_BASE64 = 256
_MIN_PICTURE_BYTES = 32  # no format needs less
_BLANK_INSIDE = re.compile(r"\w \w")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}\s*")
# Plain names, as `plainly_named` makes them.
_TOLD = frozenset({"description", "revisedprompt", "prompt"})
_FLAG = re.compile(r"(is|has)?nsfw(concepts?|content)?(detected)?")  # blacked out, then
_OWN_FLAG = re.compile(rf"{_FLAG.pattern}|(is)?(filtered|flagged|blocked)")
_LINKED = re.compile(  # in a text, as chat models answer
    r"!\[[^\]]{0,1000}\]\(([^\s)]{1,2000})\)"
    r"|\b(https?://[^\s()<>\"']{1,2000}?\.(?:png|jpe?g|webp|gif|avif)(?:\?[^\s()<>\"']{0,2000})?)"
)
_PICTURE_PATH = re.compile(r"[^?#]+\.(png|jpe?g|webp|gif|avif|svg|bmp|tiff?)(?:[?#]|$)", re.I)
_PICTURE_NAME = re.compile(
    "image|img|picture|photo|url|uri|src|link|href|sample|output|result|response|(?<!meta)data"
    "|file|path|content|source"
)
# What is asked for or watched, and other pictures of the same: never what was made.
OTHERS = re.compile(
    r"inputs?|requests?|arguments|args|param(eter)?s|logs?|.*prompt|mask|error|video|audio|avatar|docs"
    r"|thumb.*|preview.*|.*(status|cancel|response|queue|callback|webhook|reference)ur[li]s?"
)
BESIDE_A_JOB = re.compile(  # what may stand beside the id of a job that is not over
    rf"{OTHERS.pattern}|.*(logo|icon|banner|placeholder|loading|example|cover).*"
    r"|ads?|model|provider|user|poll(ing)?url"
)
_RELATIVE = re.compile(r"(\.?/)[^\s/][^\s]*|[\w][\w./-]*\.(png|jpe?g|webp|gif|avif|svg)(\?\S*)?")

_ADDRESS = re.compile(rf"\s*((https?://|data:)\S+\s*$|{_BASE64_HEAD.pattern})", re.IGNORECASE)

# Words of answers that mean failure.
_MAX_SAID = 300
_MIN_PROMPT = 2  # characters, below which a word is its own
_MIN_ECHO = 12  # characters in a row that are in the prompt too
_MIN_ECHO_CJK = 5
_FIRST_CJK = "\u2e80"
_REFUSED_CONTENT = frozenset(
    {"content_policy_violation", "content_policy", "content_filter", "moderation_blocked"}
    | {"no_media_generated", "safety_violations"}
)
RETIRED = frozenset({"EndpointDeprecated", "model_not_found", "endpoint_deprecated"})
_CANCELLED = frozenset({"client_cancelled", "client_disconnected", "request_cancelled"})
_SERVICE = re.compile(
    r"internal_(server_)?error|(generation|request|startup)_timeout"
    r"|downstream_service_(error|unavailable)|runner_(connection_(timeout|refused|error)"
    r"|scheduling_failure|disconnected|incomplete_response|server_error)"
)
_MONEY = ("balance", "quota", "top up", "top_up", "额度", "余额", "locked", "billing")
_NO_MONEY = (
    *("额度", "余额", "欠费"),
    *("insufficient balance", "insufficient quota", "insufficient credit"),
)
_NO_ERROR = frozenset(
    {"", "success", "succeeded", "ok", "none", "null", "0", "200", "false", "{}", "[]"}
)
# Names without capitals and underscores.
_TEXTS = (
    *("detail", "error", "message", "errormessage", "errormsg", "errmsg"),
    *("description", "msg", "errors", "reason", "failreason", "failmsg"),
)
_AMBIGUOUS = frozenset({408, 409, 499, *range(500, 600)})  # to a submit: perhaps accepted
_CODES = ("code", "statuscode", "errorcode", "errcode", "errno")
_FINE_CODES = frozenset({0, 200, 201, 202, "0", "200", "success", "SUCCESS", "ok", "OK", "", None})


@dataclass(frozen=True, slots=True)
class Call:
    """A request to make: method, absolute address, body, and headers besides the usual ones."""

    method: str
    url: str
    body: bytes | None = None
    accept: str = "application/json"
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Answer:
    """What came back, whole: HTTP status, headers with names in lower case, and the body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @cached_property
    def value(self) -> Any:
        """What the body holds: its JSON value, also behind warnings or as a text, or else its text.

        None for a web page, unless it is JSON behind warnings that a script wrote as HTML, and for
        what has too many parts to be held: each costs many times its bytes.
        """
        large = len(self.body) > MAX_ANSWER_BYTES  # so are pictures in it, which have no commas
        if self.body.count(b",") > (_MAX_PARTS_OF_LARGE if large else _MAX_PARTS):
            return None
        value = read_json(self.body)
        if isinstance(value, str) and isinstance(inner := read_json(value), dict | list):
            return inner  # some write it twice
        if value is not None or self._begins_as_page:
            return value
        text = self.body.decode(json.detect_encoding(self.body), "replace")
        value = _json_behind_text(text, to_the_end=self.is_page)
        return text if value is None and not self.is_page else value

    @property
    def json(self) -> Any:
        """The body's JSON value; None without JSON."""
        return read_json(self.body) if isinstance(self.value, str) else self.value

    @property
    def mapping(self) -> dict[str, Any] | None:
        """The body's JSON object; None if it is anything else."""
        return self.value if isinstance(self.value, dict) else None

    @property
    def is_page(self) -> bool:
        """Whether this is a web page: what gateways answer on routes that they do not serve."""
        return "html" in self.headers.get("content-type", "").lower() or self._begins_as_page

    @property
    def _begins_as_page(self) -> bool:
        return _picture.header.is_page(self.body)


class NotSent(Exception):
    """The request surely never reached the server: it may be sent again."""


class Lost(Exception):
    """The request may have reached the server, but no whole answer came back."""

    part: Answer | None = None  # what came of it, if at least its headers did


@dataclass(frozen=True, slots=True)
class Served:
    """One picture that was made: an https address, or a `data:` address that holds it."""

    url: str
    filtered: bool = False  # the provider flagged it, and so blacked it out
    media_type: str = ""  # as the provider calls it; may be empty or wrong

    def __repr__(self) -> str:
        url = self.url if len(self.url) <= 200 else f"{self.url[:40]}…"
        return f"Served({url!r}, filtered={self.filtered}, media_type={self.media_type!r})"


@dataclass(frozen=True, slots=True)
class Finished:
    """What a finished job brought.

    Attributes:
        pictures: The pictures, in the provider's order.
        seed: The seed that was used; None if unknown.
        description: What the model says about the pictures.
        revised_prompt: The prompt as the provider rewrote it, or as it repeats it.
        units: What was billed, in the provider's units; None if unknown.
        seconds: How long the provider worked; None if unknown.
        request_id: The provider's id of the job; a made one if it has none.
        unclear: Whether something in the place of a picture could not be read.
    """

    pictures: tuple[Served, ...]
    seed: int | None = None
    description: str = ""
    revised_prompt: str = ""
    units: Decimal | None = None
    seconds: float | None = None
    request_id: str = ""
    unclear: bool = False

    @property
    def urls(self) -> tuple[str, ...]:
        """The pictures' addresses."""
        return tuple(map(attrgetter("url"), self.pictures))


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that the model's worker logged; `level` and `timestamp` may be empty."""

    message: str
    level: str = ""
    timestamp: str = ""


@dataclass(frozen=True, slots=True)
class Queued:
    """The job waits; `position` jobs are ahead of it, None if unknown."""

    position: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """The job runs; `logs` are the last of its `count` new log lines."""

    logs: tuple[LogLine, ...] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The job has ended, well or not; the last event of `watch`.

    Attributes:
        seconds: How long the provider worked; None if unknown.
        trouble: What the status said went wrong, else None; the result decides.
        finished: The result, if it came along; else None.
    """

    seconds: float | None = None
    trouble: str | None = None
    finished: Finished | None = None


WireEvent = Queued | Running | Done


class Unclear(NamedTuple):
    """An answer that says nothing sure about the job.

    Its kind is `missing` if no job is known at this address, `page` if a web page, a redirect or
    nothing at all is there, and `word` for a status word that is not known: the job may run, or be
    done.
    """

    reason: str  # what it says instead
    kind: Literal["", "missing", "page", "word"] = ""
    error: ImagenError | None = None  # what it means if nothing else says more
    lasting: bool = False  # the same is to be expected again
    headers: Mapping[str, str] = {}  # those that may say when to ask again


@dataclass(frozen=True, slots=True)
class Ticket:
    """The claim to a job: with it the job can be watched, fetched and cancelled.

    Attributes:
        provider: The provider's name.
        base_url: The address where it was submitted.
        endpoint: The model that was asked.
        request_id: The provider's id of the job.
        created: When it was submitted, in Unix seconds; 0 if unknown.
        extra: What its provider alone understands, as names and values.
        finished: The result, if the submit was answered with it; else None.
    """

    provider: str
    base_url: str
    endpoint: str
    request_id: str
    created: float = 0.0
    extra: tuple[tuple[str, str], ...] = ()
    finished: Finished | None = None

    def to_json(self) -> str:
        """Return the ticket as JSON text, for the journal."""
        fields = asdict(self)
        fields.update(fields.pop("extra"))
        return json.dumps(fields, default=str)  # units are decimal

    @classmethod
    def from_json(cls, text: str, *, created: float = 0.0) -> Self:
        """Return the ticket that `to_json` wrote; `created` if the text, as 0.1's, does not say."""
        fields = json.loads(text)
        early = fields.pop("outcome", None)
        if early is not None:  # version 0.1
            early["pictures"] = [{"url": url} for url in early.pop("urls")]
        early = fields.pop("finished", None) or early
        if early is not None:
            early["pictures"] = tuple(Served(**served) for served in early["pictures"])
            units = early.pop("units", None)
            early = Finished(**early, units=None if units is None else Decimal(units))
        names = ("provider", "base_url", "endpoint", "request_id")
        known = {name: fields.pop(name) for name in names}
        created = fields.pop("created", 0.0) or created
        return cls(**known, created=created, extra=tuple(fields.items()), finished=early)

    def get(self, name: str) -> str:
        """Return a value of `extra`, or ""."""
        return dict(self.extra).get(name, "")


class CancelAnswer(enum.Enum):
    """What the provider said to a cancellation."""

    CONFIRMED = "confirmed"
    REQUESTED = "requested"
    TOO_LATE = "too late"
    UNKNOWN = "unknown"


# ------------------------------------------------------------------------------------------- JSON


def read_json(text: bytes | str) -> Any:
    """Return the JSON value; None if the text is not JSON that can be held."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # also bad UTF-8, and integers of too many digits
        return None


def _json_behind_text(text: str, *, to_the_end: bool) -> Any:
    """Return the first JSON object or list behind a few lines of text, such as PHP's warnings.

    Of several, as event streams have them, it is the last with whole pictures. `to_the_end` if
    nothing may follow it.
    """
    decoder = json.JSONDecoder()
    end = min(len(text), _MAX_WARNING_BYTES)
    for pattern in (_LINE_START, _JSON_START):  # warnings hold brackets inside their lines
        starts = pattern.finditer(text, 0, end)
        for _, start in zip(range(_MAX_JSON_STARTS), starts, strict=False):
            try:
                value, stop = decoder.raw_decode(text, start.end() - 1)
            except (ValueError, RecursionError):
                continue
            if not (to_the_end and text[stop:].strip()):
                lines = text[stop:].splitlines()[-_MAX_LINES:]
                later = (read_json(line.removeprefix("data:")) for line in reversed(lines))
                return next(filter(_is_whole, later), value)
    return None


def _is_whole(event: Any) -> bool:
    """Return True if an event of a stream brings pictures, and no earlier stages of them."""
    is_stage = isinstance(event, dict) and "partial" in str(event.get("type"))
    return not is_stage and next(_search(event, ""), None) is not None


def write_json(value: object) -> bytes:
    """Return compact UTF-8 JSON, the form in which every body is sent."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# --------------------------------------------------------------------- the pictures in an answer


def holders(
    value: Any, depth: int = _DEPTH, *, wrappers: Sequence[str] = WRAPPERS
) -> list[dict[str, Any]]:
    """Return an object and what is wrapped in it in the usual ways, the outermost first."""
    if not isinstance(value, dict):
        return []
    found, named = [value], plainly_named(value)
    for name in wrappers if depth else ():
        inner = named.get(name)
        if isinstance(inner, str) and inner[:1] == "{" and len(inner) < _MAX_TEXT:
            inner = read_json(inner)
        if isinstance(inner, list) and name != "detail":  # which lists what is wrong
            inner = next((item for item in inner if isinstance(item, dict)), None)
        found += holders(inner, depth - 1, wrappers=wrappers)
    return found


def find_pictures(value: Any, base_url: str) -> Finished | None:
    """Return the pictures in an answer's JSON value or text; None if it has no place for any."""
    empty, around = None, holders(value)
    for number, holder in enumerate(around or [{"data": value}], 1):
        for name in (*_LISTS, *WRAPPERS):
            inner: Any = holder.get(name)
            is_list = isinstance(inner, list) and name != "detail"
            is_place = name in _LISTS and (is_list or (isinstance(inner, dict | str) and inner))
            if not (is_place or is_list or (isinstance(inner, str) and _ADDRESS.match(inner))):
                continue
            found = _finished(inner if is_list else [inner], base_url, around[:number])
            if found.pictures:
                return found
            is_place = is_place or (name == "data" and not inner)  # OpenAI's list
            if is_place and (empty is None or found.unclear):
                empty = found
    for number, holder in enumerate(around, 1):
        is_ticket = not _TICKET_NAMES.isdisjoint(plainly_named(holder))
        if not is_ticket and isinstance(_read(holder, base_url), Served):
            return _finished([holder], base_url, around[:number])
    return empty


def search_pictures(
    answer: Answer, base_url: str, *, others: re.Pattern[str] = OTHERS
) -> Finished | None:
    """Return the pictures in an answer of no usual shape; None if nothing surely is one.

    It may be the picture itself, hold it under any name at any depth, or as JSON or Markdown inside
    a text. What was asked for, such as an input picture that is repeated, does not count, as
    nothing does under the names of `others`.
    """
    kind = _picture.sniff(answer.body)
    if kind != _picture.UNREADABLE and not answer.is_page:
        return Finished((Served(data_uri(answer.body, kind)),))
    found = dict.fromkeys(_search(answer.value, base_url, "data", others=others))
    pictures = tuple(found)[:MAX_PICTURES]
    return _finished(pictures, base_url, holders(answer.value)[:1]) if pictures else None


def billed(finished: Finished, answer: Answer, request_id: str = "") -> Finished:
    """Return what an answer brought with its bill and the job's id, which is made without one."""
    units = None
    with contextlib.suppress(InvalidOperation):
        named = Decimal(answer.headers.get("x-fal-billable-units", "").strip())
        if named.is_finite() and 0 <= named < _MAX_SECONDS:
            units = named
    return replace(finished, units=units, request_id=request_id or f"{uuid.uuid4().hex}-direct")


def _finished(entries: Sequence[Any], base_url: str, around: Sequence[dict[str, Any]]) -> Finished:
    """Return the pictures of entries with what the objects around them say, the last one first."""
    groups: list[list[Served]] = []
    unclear = False
    for entry in entries[:MAX_PICTURES]:
        found = _read(entry, base_url)
        group = [found] if isinstance(found, Served) else list(_search(entry, base_url, "image"))
        unclear = unclear or (found == "odd" and not group)
        groups.append(group)
    if not any(groups):
        return Finished((), unclear=unclear)
    flags: Any = []
    seed, texts, seconds = None, {}, {}
    for place, holder in enumerate((*entries[:1], *around)):
        for name, value in plainly_named(holder).items() if isinstance(holder, dict) else ():
            if name == "seed" and type(value) is int and abs(value) < 2**63:
                seed = value
            elif name in _TOLD and isinstance(value, str) and value.strip():
                texts[name] = value[:_MAX_TEXT]
            elif name in {"metrics", "timings"} and (took := inference_seconds(value)) is not None:
                seconds[name] = took
            elif place and _FLAG.fullmatch(name):  # an entry's own flags are its own
                flags = value
    pictures: list[Served] = []
    for number, group in enumerate(groups):
        flagged = flags[number : number + 1] if isinstance(flags, list) else [flags]
        entry = entries[number]
        for name, value in plainly_named(entry).items() if isinstance(entry, dict) else ():
            if _OWN_FLAG.fullmatch(name):
                flagged = [*flagged, value]
        for served in group:
            pictures.append(replace(served, filtered=True in map(truth, flagged)))
    return Finished(
        tuple(pictures),
        seed=seed,
        description=one_line(texts.get("description", "")),
        revised_prompt=texts.get("revisedprompt") or texts.get("prompt", ""),
        seconds=seconds.get("metrics") or seconds.get("timings"),
        unclear=unclear,
    )


def _read(entry: Any, base_url: str, *, encoded: bool = False, depth: int = _DEPTH) -> Served | str:
    """Return the picture that an entry means, "" if it holds none, "odd" if unknown."""
    if entry is None:
        return ""
    if isinstance(entry, Served):
        return entry
    if isinstance(entry, str):
        text = entry.strip()
        if not text or text[:5].lower() == "data:":
            return _inside(text) if text.partition(",")[2].strip() else ""
        text = text.removeprefix("base64,")
        if text[:8].lower().startswith(("https://", "http://")):
            return Served(text)
        is_known = encoded or _BASE64_HEAD.match(text)
        if is_known or (len(text) >= _MIN_BASE64 and _BASE64.fullmatch(text)):
            return _inside(f"data:;base64,{text}")
        if text.startswith("//") or _RELATIVE.fullmatch(text):
            with contextlib.suppress(ValueError):
                return Served(urljoin(f"{base_url}/", text))
        return "odd"
    if not isinstance(entry, dict) or not depth:
        return "odd"
    result: Served | str | None = None
    for name in (*_ADDRESSES, *_ENCODED):
        if name not in entry:
            continue
        found = _read(entry[name], base_url, encoded=name in _ENCODED, depth=depth - 1)
        if isinstance(found, Served):
            kind = entry.get("content_type") or entry.get("mime_type")
            kind = kind[:_MAX_KIND] if isinstance(kind, str) else found.media_type
            return Served(found.url, media_type=kind)
        result = found or result or ""
    return "odd" if result is None else result


def _inside(address: str) -> Served | str:
    """Return the picture that a `data:` address holds; "odd" if what it holds can be none.

    Bytes of a format that is not known may be one, but not if flaws of their base64 say otherwise.
    """
    data = b""
    for part in (address[:_MAX_WARNING_BYTES], address):  # nearly always the beginning is enough
        data = _picture.from_data_address(part, flaws=True) or b""
        kind = _picture.sniff(data)
        if kind != _picture.UNREADABLE:
            return Served(address.replace("data:;", f"data:{kind};", 1))
    sound = _picture.from_data_address(address) is not None and not _BLANK_INSIDE.search(address)
    is_picture = sound and len(data) >= _MIN_PICTURE_BYTES and not _is_text(data)
    return Served(address.replace("data:;", "data:image/png;", 1)) if is_picture else "odd"


def truth(value: object) -> bool | None:
    """Return what a flag says, however it is written; None if it is something else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return YES_OR_NO.get(str(value).strip().lower())


def _search(
    value: Any,
    base_url: str,
    name: str = "",
    *,
    depth: int = _SEARCH_DEPTH,
    others: re.Pattern[str] = OTHERS,
) -> Iterator[Served]:
    """Yield what surely are pictures in a value, at any depth; `name` is what holds it."""
    if isinstance(value, list) and depth:
        for item in value[: 4 * MAX_PICTURES]:
            yield from _search(item, base_url, name, depth=depth - 1, others=others)
    elif isinstance(value, dict) and depth:
        taken = ""  # of texts side by side, such as url and b64_json, one is the picture
        for key, inner in value.items():
            plain = re.sub(r"[\W\d_]", "", str(key)).lower()
            if others.fullmatch(plain):
                continue
            found = list(_search(inner, base_url, plain, depth=depth - 1, others=others))
            if found and isinstance(inner, str):
                found, taken = (found, plain) if taken in {"", plain} else ([], taken)
            yield from found
    elif isinstance(value, str):
        yield from _search_text(value, base_url, name, depth=depth)


def _search_text(text: str, base_url: str, name: str, *, depth: int) -> Iterator[Served]:
    head = text[:200].strip()
    start = text[:_MAX_TEXT].encode("utf-8", "replace")
    if head[:1] == "<" and _picture.sniff(start) == _picture.SVG:
        yield Served(data_uri(text.encode("utf-8", "replace"), _picture.SVG))
    elif _BASE64_HEAD.match(head) or head[:11].lower() == "data:image/":
        found = _read(text, base_url, encoded=True)
        yield from (found,) if isinstance(found, Served) else ()
    elif re.match(r"https?://(\w|\[[\da-f:.]+\])", head, re.IGNORECASE):
        url = text.strip()
        if not re.search(r"\s", url) and (is_picture(url) or _PICTURE_NAME.search(name)):
            yield Served(url)
    elif head[:1] in {"{", "["} and depth:
        yield from _search(read_json(text), base_url, name, depth=depth - 1)
    else:
        for link in _LINKED.finditer(text[:_MAX_TEXT]):
            url = link[1] or link[2]
            if url.lower().startswith(("https://", "http://")):
                yield Served(url)
            elif url[:11].lower() == "data:image/" and isinstance(found := _inside(url), Served):
                yield found


def is_picture(address: str) -> bool:
    """Return True if an address looks like a picture's, whatever it is called."""
    return address.startswith("data:") or _PICTURE_PATH.match(address) is not None


def inference_seconds(value: Any) -> float | None:
    found = value if isinstance(value, dict) else {}
    seconds: Any = found.get("inference_time", found.get("inference"))
    return float(seconds) if type(seconds) in {int, float} and 0 <= seconds < _MAX_SECONDS else None


# ---------------------------------------------------------------------------- a picture's bytes


def read_picture(answer: Answer) -> tuple[bytes, str]:
    """Return the picture that was served, and why it can hardly be a whole one, or "".

    The bytes decide, not the headers; what is not known here may well be a picture. What a script
    printed before it is left out, and base64 is decoded.
    """
    body, kind = answer.body, _picture.sniff(answer.body)
    if kind == _picture.UNREADABLE:
        bare = body.lstrip(_PRINTED)
        head = bare[:40].decode("ascii", "replace")
        start = "data:;base64," if _BASE64_HEAD.match(head) else ""
        if _picture.sniff(bare) != _picture.UNREADABLE:
            body = bare
        elif start or head[:5].lower() == "data:":
            address = start + bare.decode("ascii", "replace")
            body = _picture.from_data_address(address, flaws=True) or body
        answer, kind = replace(answer, body=body), _picture.sniff(body)
    if kind in {"image/png", "image/jpeg", "image/gif", "image/webp"}:
        problem = _picture.inspect(body, checksums=False).problem
        return body, f"{problem} ({len(body)} bytes)" if problem == "cut short" else ""
    if not body:
        return body, "an empty answer"
    if answer.is_page:
        return body, "a web page"
    if kind != _picture.UNREADABLE:
        return body, ""
    if answer.json is not None:
        return body, "JSON"
    return body, "plain text" if _is_text(body) else ""


def _is_text(body: bytes) -> bool:
    """Return True if bytes are a text, in whatever encoding: an error, and never a picture."""
    return body.startswith(_UTF16_STARTS) or not _BINARY.search(body[:_MAX_WARNING_BYTES])


# ---------------------------------------------------------------------- what an answer says of it


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a failing answer says of itself."""

    text: str  # its words, to find out what they mean
    said: str  # the same as errors quote them, without the prompt
    kind: str = ""  # the word for what failed
    field: str = ""  # the field that is wrong
    expected: str = ""  # what is allowed there

    @classmethod
    def of(cls, text: str, kind: str = "", *, limit: int = _MAX_SAID) -> Self:
        """Return what a text says, which is cut to `limit` characters."""
        return cls(one_line(text, limit=limit), _said(text, limit), kind)

    @property
    def is_of_service(self) -> bool:
        """Whether it is a failure of the service, not of the request."""
        return bool(_SERVICE.fullmatch(self.kind))


def read_trouble(answer: Answer) -> Trouble:
    kind, body = word(answer.headers.get("x-fal-error-type")), answer.mapping
    if body is not None:
        found = trouble_in(body, kind=kind)
        return found or Trouble.of(field_names(body), word(body.get("error_type")))
    if answer.is_page:
        return Trouble.of("a web page instead of an answer", kind)
    if isinstance(answer.value, list | int | float):
        return Trouble.of("JSON that is not an object", kind)
    return Trouble.of(answer.body[:_MAX_SAID].decode("utf-8", "replace"), kind, limit=120)


def trouble_in(body: dict[str, Any], *, kind: str = "", depth: int = 2) -> Trouble | None:
    """Return what a JSON object says of a failure, itself or inside; None if it says nothing."""
    found = []
    for holder in holders(body):
        code, named = word(holder.get("code")), plainly_named(holder)
        kind = word(holder.get("error_type")) or kind or ("" if code in _FINE_CODES else code)
        found += [_read_value(named.get(name), kind, depth) for name in _TEXTS]
    told = [*filter(None, found), None]
    return next((said for said in told if said and said.text.lower() not in _NO_ERROR), told[0])


def reports_failure(body: dict[str, Any]) -> bool:
    """Return True if an object says that the request failed, whatever its HTTP status."""
    named = plainly_named(body)
    if truth(named.get("success")) is False or truth(named.get("ok")) is False:
        return True
    said = {str(named.get(name)).strip().lower() for name in ("error", "errors")}
    if said - _NO_ERROR:
        return True
    status = named.get("status")
    if isinstance(status, int) and 400 <= status <= 599:
        return True
    codes = (named[name] for name in _CODES if name in named)
    code = next((c for c in codes if isinstance(c, int | str) and not isinstance(c, bool)), None)
    return code not in _FINE_CODES and not named.get("data")


def plainly_named(body: dict[str, Any]) -> dict[str, Any]:
    """Return an object with its names in small letters and without underscores."""
    named = {}
    for name, value in body.items():
        named[name.lower().replace("_", "")] = value
    return named


def field_names(body: dict[str, Any]) -> str:
    """Name the fields of an object that is not understood; the values could echo the prompt."""
    names = ", ".join(list(body)[:8]) or "nothing"
    return _said(f"an object with {names}", 120)


def _read_value(value: object, kind: str, depth: int) -> Trouble | None:
    if isinstance(value, str) and value.strip():
        return _read_text(value, kind, depth)
    if isinstance(value, list):
        first = next((item for item in value if isinstance(item, dict)), None)
        return _read_detail(first, kind) if first else None
    if isinstance(value, dict):
        code = word(value.get("code")) or word(value.get("error")) or word(value.get("type"))
        texts = (value.get(name) for name in ("message", "msg", "localized_message"))
        text = next((text for text in texts if isinstance(text, str) and text.strip()), code)
        found = _read_text(text, code or kind, depth)
        return replace(found, field=found.field or _said(word(value.get("param")), 60))
    return None


def _read_text(text: str, kind: str, depth: int) -> Trouble:
    """Read a text; gateways put the whole answer of the service behind them into theirs."""
    before, brace, _ = text.partition("{")
    if not brace:
        return Trouble.of(text, kind)
    inner = read_json(text[len(before) : text.rfind("}") + 1])
    if depth and isinstance(inner, dict):
        found = trouble_in(inner, kind=kind, depth=depth - 1)
        if found is not None:
            return found
    echoes = any(name in text for name in ('"input', '"prompt', "'input", "'prompt"))
    return Trouble.of(before if echoes else text, kind)


def _read_detail(item: dict[str, Any], kind: str) -> Trouble:
    """Read one entry of fal's list, in the words of pydantic."""
    place, context = item.get("loc"), item.get("ctx")
    names = [part for part in place if isinstance(part, str)] if isinstance(place, list) else []
    names = [name for name in names if name != "body"]
    expected = context.get("expected") if isinstance(context, dict) else None
    if isinstance(expected, list):
        expected = ", ".join(str(word) for word in expected[:40] if isinstance(word, str | int))
    text = item.get("msg") or item.get("message")
    found = Trouble.of(text if isinstance(text, str) else "", word(item.get("type")) or kind)
    allowed = _said(expected, 200) if isinstance(expected, str) else ""
    return replace(found, field=_said(names[-1], 60) if names else "", expected=allowed)


# ------------------------------------------------------------- what no error says: the prompt

# The request of a task, whose prompts are left out of what servers are quoted with.
hidden: ContextVar[ImageRequest | None] = ContextVar("hidden", default=None)


@contextlib.contextmanager
def hiding(request: ImageRequest | None) -> Iterator[None]:
    """Set `hidden` for a block."""
    token = hidden.set(request)
    try:
        yield
    finally:
        hidden.reset(token)


def _said(text: str, limit: int) -> str:
    """Return a server's words as one line, with `…` in place of what repeats the prompts."""
    line, request = one_line(text, limit=4 * limit), hidden.get()
    fields = () if request is None else (("prompt", request.prompt), *request.arguments().items())
    for prompt in {value for name, value in fields if "prompt" in name and isinstance(value, str)}:
        part = prompt[:_MAX_TEXT]
        escaped = (json.dumps(part, ensure_ascii=strict)[1:-1] for strict in (False, True))
        for form in {part, *escaped, html.escape(part)}:
            plain = one_line(form, limit=len(form)).lower()
            line = _without(line, plain) if len(plain) >= _MIN_PROMPT else line
    return one_line(line, limit=limit)


def _without(text: str, prompt: str) -> str:
    """Return a text without the prompt, however its letters are, and without long parts of it."""
    plain = text.lower()
    if len(plain) != len(text):  # as capitals of a few scripts do
        plain = text
    echoes: set[int] = set()
    if len(prompt) < _MIN_ECHO:
        for found in re.finditer(rf"(?<![a-z0-9]){re.escape(prompt)}(?![a-z0-9])", plain):
            echoes.update(range(*found.span()))
    for start in range(len(plain)):
        for size in (_MIN_ECHO, _MIN_ECHO_CJK):
            part = plain[start : start + size]
            enough = len(part) == size and (size == _MIN_ECHO or min(part) >= _FIRST_CJK)
            if enough and part in prompt:
                echoes.update(range(start, start + size))
    kept = ("\n" if place in echoes else letter for place, letter in enumerate(text))
    return re.sub("\n+", "…", "".join(kept))


# -------------------------------------------------------------------------- the error that it means


def failure(
    answer: Answer,
    *,
    model: str,
    account: Account,
    ticket: Ticket | None = None,
    otherwise: int = 400,
) -> ImagenError:
    """Return the error that a failing answer means, with the remedy and whether it may be billed.

    Without a ticket no job exists yet, and nothing is billed. A failure that came with 200 has the
    status that it names itself, or `otherwise`.
    """
    status = (own_status(answer) or otherwise) if answer.ok else answer.status
    error = _meaning(answer, status, model, account, ticket)
    if isinstance(error, QueueError | errors.CredentialsError):  # the job itself may be fine
        error.billed = True
    if ticket is None or answer.headers.get("x-fal-billable-units", "").strip() in {"0", "0.0"}:
        error.billed = False
    return error


def refusal(
    answer: Answer,
    *,
    model: str,
    account: Account,
    ticket: Ticket | None = None,
    failed: bool = False,
) -> ImagenError:
    """Return the error that a failing answer to a submit means: uncertain if a job may exist.

    It may after a 5xx and the like, also as a code inside a 200, and if a `ticket` was named. It
    does not if the 200 denies success, or says that the job has `failed`, nor after a refused key,
    a spent balance or for a retired model.
    """
    error = failure(answer, model=model, account=account, otherwise=500 if failed else 400)
    status: int | None = answer.status
    if answer.ok:
        denied = failed or truth((answer.mapping or {}).get("success")) is False
        status = None if denied else own_status(answer)
    ambiguous = status in _AMBIGUOUS or (status == 429 and ticket is not None)
    if not ambiguous or isinstance(error, errors.ModelRetired | errors.CredentialsError):
        return error
    said = read_trouble(answer).said
    return uncertain(account, f"HTTP {status}{said and f': {said}'}", ticket)


def own_status(answer: Answer) -> int | None:
    """Return the HTTP status of a failure that an answer names inside; None if it names none."""
    body = answer.mapping or {}
    error = body.get("error")
    inner = error if isinstance(error, dict) else {}
    codes = (body.get("status_code"), body.get("code"), inner.get("code"), inner.get("status"))
    numbers = (as_number(code) for code in (*codes, body.get("status")))
    return next((n for n in numbers if isinstance(n, int) and 400 <= n <= 599), None)


def _meaning(
    answer: Answer, status: int, model: str, account: Account, ticket: Ticket | None
) -> ImagenError:
    trouble, title, is_page = read_trouble(answer), account.title, answer.is_page
    kind = trouble.kind
    if kind in _CANCELLED or status == 499:
        return cancelled(ticket)
    if kind in _REFUSED_CONTENT:
        again = "; running the same again sometimes works" if kind == "no_media_generated" else ""
        return errors.ContentRejected(
            f"The content checker refused: {trouble.said or kind}",
            remedy=f"Rephrase the prompt{again}.",
            ticket=ticket,
            billed=True,
        )
    gone = status == 410 or (status == 404 and not is_page)
    if (gone and ticket is None) or kind in RETIRED:  # of a job it may be the result
        return retired(model, trouble.said, account, ticket)
    if trouble.is_of_service and ticket is not None:
        return service_failed(trouble, ticket)
    says, text = f": {trouble.said}" if trouble.said else ".", trouble.text.lower()
    named = kind.lower() if status == 400 else f"{kind.lower()} {text}"
    spent = any(words in text for words in _NO_MONEY)
    money = spent or status == 402 or any(word in named for word in _MONEY)
    if status in {401, 402, 403} or (money and status in {400, 429}) or (spent and status >= 500):
        return _credentials(says, account, ticket, money=money and status != 401)
    if status in {400, 413, 422} and not is_page:
        where, why = f"{trouble.field}: ", trouble.said or f"HTTP {status}"
        if trouble.expected and trouble.expected not in why:
            why = f"{why} (allowed: {trouble.expected})"
        return errors.InvalidRequest(
            f"{where if trouble.field else ''}{model} refused the request: {why}",
            remedy="Change the request; %imagen_models shows what each model takes.",
            field=trouble.field or None,
            ticket=ticket,
        )
    if status >= 500 and not is_page:
        return service_failed(trouble, ticket, status=answer.status)
    if status == 429:
        what = f"{title} has been asked too often{says}"
        before = "Wait a minute and run it again; nothing was accepted."
        after = "Wait a minute, then fetch it with %imagen_resume."
    elif 300 <= status < 400:
        what = f"{title} redirects the request (HTTP {status}); redirects are not followed."
        before = after = "Set IMAGEN_BASE_URL to the gateway's final address."
    else:
        what = f"{title} answered HTTP {status}{says}"
        before = "Check IMAGEN_BASE_URL and the model; nothing was accepted."
        after = "Fetch the job later with %imagen_resume; nothing is paid again."
    return QueueError(what, remedy=before if ticket is None else after, ticket=ticket)


def _credentials(
    says: str, account: Account, ticket: Ticket | None, *, money: bool
) -> errors.CredentialsError:
    title, variable = account.title, next(iter(account.key_variables), "the key")
    what = f"{title} refused the key{says}"
    remedy = f"Check {variable}: it must be a key of {title} that may use this model."
    if money:
        what = f"The balance at {title} is spent or the account is locked{says}"
        remedy = f"Top up at {title}."
    again = "" if ticket is None else " Then fetch the job with %imagen_resume."
    return errors.CredentialsError(what, remedy=remedy + again, ticket=ticket)


def cancelled(ticket: Ticket | None) -> errors.CancelledAtProvider:
    return errors.CancelledAtProvider("The job was cancelled at the provider.", ticket=ticket)


def service_failed(
    trouble: Trouble, ticket: Ticket | None, *, status: int = 0
) -> errors.GenerationFailed:
    kind = _said(trouble.kind, 60) or (f"HTTP {status}" if status >= 400 else "")
    says = trouble.said or "no reason was given"
    return errors.GenerationFailed(
        f"The job failed at the provider{f' ({kind})' if kind else ''}: {says}",
        remedy="Failures of the service are not billed; run it again.",
        ticket=ticket,
    )


def retired(
    model: str, says: str, account: Account, ticket: Ticket | None = None
) -> errors.ModelRetired:
    """Return the error for a model that is gone, which names the successor served here."""
    catalogue, default = Catalogue(None), account.default_model
    known = [found for name in (model, default) if (found := catalogue.known(name)) is not None]
    served = [name for found in known if (name := found.successor_at(account.name))]
    successor = next(iter(served), short_name(default))
    use = f"Use {successor} instead: -m {successor} (model={successor!r})."
    if successor == short_name(model):
        successor = ""
        use = "%imagen_models shows others; IMAGEN_MODEL sets the default."
    what = f"{model} is not served here{f': {says}' if says else '.'}"
    error = errors.ModelRetired(what, remedy=use, ticket=ticket)
    error.successor = successor
    return error


def unreachable(base_url: str, reason: str) -> QueueError:
    return QueueError(
        f"{base_url} cannot be reached: {reason}",
        remedy="Nothing was sent. Check the network, HTTPS_PROXY and IMAGEN_BASE_URL.",
    )


def uncertain(account: Account, reason: str, ticket: Ticket | None = None) -> SubmitUncertain:
    title = account.title
    return SubmitUncertain(
        f"The request went out to {title}, but no clear answer came back ({reason}): "
        "a job may exist and be billed.",
        remedy="It goes on there: fetch it with %imagen_resume."
        if ticket is not None
        else f"It is not sent again automatically. Look at your usage at {title}; if it lists no "
        "job, run it again with --fresh (reuse=False).",
        ticket=ticket,
    )


def all_filtered(ticket: Ticket | None, *, billed: bool) -> errors.ContentRejected:
    return errors.ContentRejected(
        "The job finished without a picture: all of them were filtered by the provider.",
        remedy="Rephrase the prompt; running the same again sometimes works.",
        ticket=ticket,
        billed=billed,
    )
