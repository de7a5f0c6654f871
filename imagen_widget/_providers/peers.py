"""Which hosts a picture may come from: public ones over https, and the configured host itself.

An address in a server's answer must not become a way to reach machines inside the network. Names
are checked before a connection is made, and the connected address once more before the body is
read, so that a name which changes in between does not help. IMAGEN_MEDIA_HOSTS widens or narrows
the rule: `private` for any host, or the names of the only hosts.
"""

import ipaddress
import socket
import urllib.request
from collections.abc import Awaitable, Callable
from urllib.parse import urljoin, urlsplit

import anyio

from imagen_widget.errors import QueueError

Resolve = Callable[[str, int], Awaitable[list[str]]]
Place = tuple[str, str, int]  # scheme, host, port

_WRAPPING = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_NOT_PUBLIC = "leads to a machine that is not public"


class PeerRule:
    """The rule for one configured base, whose own host and port are always allowed.

    Args:
        base_url: The configured base.
        hosts: `public`, `private`, or the names of the hosts that are allowed.
        checks: False if no network is used, so that no peer can be seen.
        resolve: Host name and port to addresses; the system's resolver by default.
    """

    def __init__(
        self,
        base_url: str,
        *,
        hosts: str | tuple[str, ...] = "public",
        checks: bool = True,
        resolve: Resolve | None = None,
    ) -> None:
        self._own = _place(base_url)
        self._private = hosts == "private"
        named = () if isinstance(hosts, str) else hosts
        self._named = tuple(name.lower().lstrip("*").strip(".") for name in named)
        self._checks = checks
        self._resolve = resolve or _resolve

    async def check_address(self, url: str) -> None:
        """Raise QueueError for an address that is not allowed, before anything is sent there."""
        try:
            scheme, host, port = place = _place(url)
        except ValueError:
            raise _refused("is malformed") from None
        if self._is_own(place):
            return
        if not host or scheme not in {"https", "http"}:
            raise _refused("is not an https address")
        if self._named:
            if not self._is_named(host):
                raise self._not_allowed(host, "is not of a host that IMAGEN_MEDIA_HOSTS names")
            return
        public = await self._is_public(host, port)
        if public and scheme == "http":
            raise _refused("is not an https address")
        if not public and not self._private:
            raise self._not_allowed(host, _NOT_PUBLIC)

    def check_connected(self, peer: object, url: str) -> None:
        """Raise QueueError if a connection really has an address that is not allowed."""
        place = _place(url)
        if not self._checks or self._private or self._is_own(place):
            return
        if self._is_named(place[1]) or _proxied(place[1]):
            return
        if not (isinstance(peer, tuple) and peer and is_public(str(peer[0]))):
            raise self._not_allowed(place[1], _NOT_PUBLIC)

    async def _is_public(self, host: str, port: int) -> bool:
        """Return True if a host is public as far as can be seen before a connection is made."""
        if _is_numeric(host) and not is_public(host):
            return False
        if not self._checks or _proxied(host):
            return True
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            return True  # no such name: the connection says so itself
        return all(is_public(address) for address in addresses)

    def _is_named(self, host: str) -> bool:
        return any(host == name or host.endswith(f".{name}") for name in self._named if name)

    def _is_own(self, place: Place) -> bool:
        """Return True for the configured host, and for this machine if that one is on it too."""
        here = self._own[1] in _LOOPBACK and place[1] in _LOOPBACK
        return place == self._own or (here and place[0] in {"http", "https"})

    def _not_allowed(self, host: str, why: str) -> QueueError:
        allows = "private" if not self._named else ",".join((*self._named, host))
        return _refused(
            why,
            f"If you trust {host[:100]}, set IMAGEN_MEDIA_HOSTS={allows[:200]}, then fetch "
            "it with %imagen_resume.",
        )


def is_public(address: str) -> bool:
    """Return True if an IP address is one of the public internet, also as IPv6 wraps it."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or _translated(ip)
        if inner is not None and not inner.is_global:
            return False
    return ip.is_global and not ip.is_multicast


def join(url: str, target: str) -> str:
    """Return the address that a redirect leads to, or raise QueueError if it is malformed."""
    try:
        return urljoin(url, target)
    except ValueError:
        raise _refused("is malformed") from None


def is_same_site(url: str, target: str) -> bool:
    """Return True if a redirect stays on the host, apart from `www.`, and does not leave https."""
    try:
        (old_scheme, old, old_port), (scheme, host, port) = _place(url), _place(target)
    except ValueError:
        return False
    same_host = host.removeprefix("www.") == old.removeprefix("www.")
    return same_host and (
        (scheme, port) == (old_scheme, old_port) or (scheme, old_scheme) == ("https", "http")
    )


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside an address of NAT64 or of the old compatible form."""
    inside = any(ip in network for network in _WRAPPING)
    return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if inside else None


def _is_numeric(host: str) -> bool:
    """Return True if a host is an IP address, also in the short and hexadecimal old forms."""
    last = host.rpartition(".")[2]
    return ":" in host or last.isdigit() or last.startswith("0x")


def _place(url: str) -> Place:
    """Return scheme, host and port; ValueError for what programs may read differently."""
    parts = urlsplit(url)
    if not url.isprintable() or "\\" in url or any(c in parts.netloc for c in "@ %"):
        raise ValueError
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").rstrip("."), port


def _proxied(host: str) -> bool:
    """Return True if a proxy makes the connection: then the peer seen here is the proxy's."""
    proxies = urllib.request.getproxies()
    named = bool(proxies.get("https") or proxies.get("all"))
    return named and not urllib.request.proxy_bypass(host)


async def _resolve(host: str, port: int) -> list[str]:
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _refused(why: str, remedy: str = "") -> QueueError:
    return QueueError(
        f"The picture's address {why}; it was not fetched.",
        remedy=remedy or "Ask the provider what it sent; the job's id is kept.",
    )
