"""The claim to a job, and the addresses where it is honoured.

Nothing here does I/O. A ticket's addresses are only ever used as paths on the configured base:
gateways answer with fal's own host, and a key must never follow it there.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from imagen_widget._catalog import app_path

REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)

_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_REQUEST_PATH = re.compile(
    rf"(?:/{_SEGMENT}){{2,8}}/requests/({REQUEST_ID.pattern})((?:/[a-z]+)?)", re.ASCII
)
_QUERY = re.compile(r"[\w=&.%~+-]{0,200}", re.ASCII)
_LONGEST_ADDRESS = 2000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished job brought: the pictures' addresses, and what was said about them."""

    urls: tuple[str, ...]
    seed: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """The claim to a job: with it the work can be watched, fetched and cancelled.

    Attributes:
        provider: `kkiai`, `fal` or `demo`.
        base_url: The configured base that all paths are on.
        endpoint: The model that was asked.
        request_id: The provider's id.
        status_path: Path (and query) of the status.
        response_path: Path (and query) of the result.
        cancel_path: Path (and query) of the cancellation.
        outcome: The result, where the provider answered the submit with it; else None.
    """

    provider: str
    base_url: str
    endpoint: str
    request_id: str
    status_path: str
    response_path: str
    cancel_path: str
    outcome: Outcome | None = None

    def to_json(self) -> str:
        """Return the ticket as JSON text, for the journal."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Ticket:
        """Return the ticket that `to_json` wrote."""
        fields = json.loads(text)
        early = fields.pop("outcome", None)
        if early is not None:
            early = Outcome(tuple(early["urls"]), early["seed"], early["description"])
        return cls(**fields, outcome=early)


def make_ticket(
    endpoint: str,
    request_id: str,
    *,
    provider: str,
    base_url: str,
    addresses: dict[str, Any] | None = None,
    outcome: Outcome | None = None,
) -> Ticket:
    """Return the ticket for a request id; addresses that are missing or odd are built."""
    given = addresses or {}
    root = f"/{app_path(endpoint)}/requests/{request_id}"

    def path(name: str, suffix: str) -> str:
        return rebase(given.get(name), base_url, request_id, suffix) or root + suffix

    return Ticket(
        provider=provider,
        base_url=base_url,
        endpoint=endpoint,
        request_id=request_id,
        status_path=path("status_url", "/status"),
        response_path=path("response_url", ""),
        cancel_path=path("cancel_url", "/cancel"),
        outcome=outcome,
    )


def rebase(url: object, base_url: str, request_id: str, suffix: str) -> str | None:
    """Return the path of a server's address, to be used on our base, or None where it is odd.

    Only the path counts: host, user, port and scheme are the server's to say and ours to ignore.
    """
    if not isinstance(url, str) or len(url) > _LONGEST_ADDRESS or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    path, prefix = parts.path, urlsplit(base_url).path
    if path.startswith(f"{prefix}/"):  # whole segments: /fal is no prefix of /fal-ai
        path = path.removeprefix(prefix)
    found = _REQUEST_PATH.fullmatch(path)
    if found is None or found[1] != request_id or not _QUERY.fullmatch(parts.query):
        return None
    if any(set(segment) <= {"."} for segment in path.split("/")[1:]):
        return None
    if found[2] not in {suffix, "/response" if suffix == "" else suffix}:
        return None
    return with_query(path, parts.query)


def with_query(url: str, query: str) -> str:
    """Return the address with a query added to what it has."""
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{query}"
