"""What goes over the wire: requests as they came, answers as a test writes them, broken lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from enum import Enum, auto
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


class Break(Enum):
    """A line that breaks, by when it does."""

    REFUSED = auto()  # no connection is made
    NO_TIME = auto()  # no connection within the limit
    TLS = auto()  # the certificate is another's
    LOST_REQUEST = auto()  # while the request is sent; not accepted
    LOST_ANSWER = auto()  # after the request was accepted
    SILENCE = auto()  # accepted, and no answer within the limit
    CUT_SHORT = auto()  # accepted, and the answer ends in the middle

    @property
    def accepts(self) -> bool:
        """Return True if a submit that ends so was accepted."""
        return self in {Break.LOST_ANSWER, Break.SILENCE, Break.CUT_SHORT}


@dataclass(frozen=True)
class Reply:
    """An HTTP answer.

    Attributes:
        status: Its status.
        body: Bytes and text as they are, None as nothing, anything else as JSON.
        headers: Headers besides the ones that follow from the body.
        accepts: Whether a submit answered so was accepted, and is billed, all the same.
        every: Send the body again every so many seconds, without an end; 0: once.
        raw: Bytes to put on the socket in place of all that; then the connection is closed.
    """

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    accepts: bool = False
    every: float = 0.0
    raw: bytes = b""

    def __repr__(self) -> str:
        return f"Reply({self.status}, {repr(self.body)[:40]})"  # tests are named after it

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, str):
            return self.body.encode()
        return b"" if self.body is None else json.dumps(self.body).encode()

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers with a media type."""
        kind = "application/json"
        if isinstance(self.body, bytes | str):
            kind = "text/plain" if isinstance(self.body, str) else "application/octet-stream"
        return {"content-type": kind, **{name.lower(): v for name, v in self.headers.items()}}


@dataclass(frozen=True)
class Given:
    """A picture that came as input: the bytes of a data address or a part, or an https address."""

    name: str
    media_type: str
    data: bytes = field(repr=False)
    url: str = ""


@dataclass(frozen=True)
class Received:
    """A request as it came; header names are in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    route: str = ""

    @property
    def path(self) -> str:
        """The address without origin and query."""
        return urlsplit(self.url).path

    @property
    def origin(self) -> str:
        """Scheme and host of the address."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def query(self) -> dict[str, str]:
        """The query's values, the first of each name."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.url).query).items()}

    @property
    def is_multipart(self) -> bool:
        """Return True if the body has parts, as a form with files has."""
        return self.headers.get("content-type", "").startswith("multipart/")

    @property
    def arguments(self) -> Json:
        """The JSON body, or the texts of a multipart one."""
        if self.is_multipart:
            return {part.name: part.data.decode() for part in self.parts if not part.media_type}
        found: Json = json.loads(self.body)
        return found

    @cached_property
    def parts(self) -> list[Given]:
        """The parts of a multipart body; those without a file name have no media type here."""
        head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
        found = []
        for part in BytesParser().parsebytes(head + self.body).walk():
            name = part.get_param("name", header="content-disposition")
            if name is not None:
                kind = part.get_content_type() if part.get_filename() is not None else ""
                content = part.get_payload(decode=True)
                assert isinstance(content, bytes)
                found.append(Given(str(name), kind, content))
        return found


Answer = Reply | Break
Scripted = Answer | Callable[[Received], Answer | None] | None  # None: as usual

_HTML = {"content-type": "text/html; charset=utf-8"}
FAULTS: tuple[Answer, ...] = (
    Break.LOST_REQUEST,
    Break.LOST_ANSWER,
    Break.SILENCE,
    Break.CUT_SHORT,
    Reply(503, "<html>nginx</html>", _HTML),
    Reply(502, "<html>nginx</html>", _HTML, accepts=True),
    Reply(500, {"detail": "internal"}, accepts=True),
    Reply(429, {"detail": "slow down"}, {"retry-after-ms": "20"}),
)


def page(status: int = 200) -> Reply:
    """Return a web page, as a wrong address answers."""
    return Reply(status, "<!doctype html><title>Welcome</title>", _HTML)


def events(*bodies: Json, rest: bytes = b"", every: float = 0.0) -> Reply:
    """Return an event stream of status objects; `rest` is put behind them as it is."""
    content = b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)
    return Reply(200, content + rest, {"content-type": "text/event-stream"}, every=every)


def openapi(model: str, properties: Json, required: tuple[str, ...] = ("prompt",)) -> Json:
    """Return an OpenAPI document as fal serves it, for a model with these fields and no others."""
    shape = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "x-fal-order-properties": list(properties),
        "additionalProperties": False,
    }
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Input"}}}
    return {
        "openapi": "3.0.4",
        "info": {"title": model, "x-fal-metadata": {"endpointId": model}},
        "paths": {f"/{model}": {"post": {"requestBody": {"required": True, "content": content}}}},
        "components": {"schemas": {"Input": shape}},
    }


def problems_with(arguments: Json, document: Json) -> list[Json]:
    """Return what an OpenAPI document has against a body, as pydantic words it."""
    from jsonschema import Draft202012Validator

    post = next(path["post"] for path in document["paths"].values() if "post" in path)
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    validator = Draft202012Validator({**schema, "components": document.get("components", {})})
    return [
        {"loc": ["body", *error.path], "msg": error.message[:300], "type": "value_error"}
        for error in validator.iter_errors(arguments)
    ]
