"""Which hosts a picture may come from: public ones over https, and the configured host itself.

An address in a server's answer must not become a way to reach machines inside the network. Names
are checked before a connection is made, and the connected address once more before the body is
read, so that a name which changes in between does not help.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import anyio

from imagen_widget._settings import is_loopback
from imagen_widget.errors import QueueError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Resolve = Callable[[str, int], Awaitable[list[str]]]


_WRAPPING = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))


class PeerRule:
    """The rule for one configured base.

    Args:
        base_url: The configured base; its own host and port are allowed for pictures too.
        checks: False where no network is used, so that there is no peer to look at.
        resolve: Host name and port to addresses; the system's resolver by default.
    """

    def __init__(
        self, base_url: str, *, checks: bool = True, resolve: Resolve | None = None
    ) -> None:
        self._own = _place(base_url)
        self._checks = checks
        self._resolve = resolve or _resolve

    async def check_address(self, url: str) -> None:
        """Check an address before anything is sent there.

        Raises:
            QueueError: It is no https address of a public host.
        """
        try:
            scheme, host, port = place = _place(url)
        except ValueError:
            raise _refused("is malformed") from None
        if self._is_own(place):
            return
        if scheme != "https" or not host:
            raise _refused("is no https address")
        if _is_numeric(host) and not is_public(host):
            raise _refused("leads to a machine that is not public")
        if not self._checks or _proxied(host):
            return
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            return  # no such name: the connection says so itself
        if not all(is_public(address) for address in addresses):
            raise _refused("leads to a machine that is not public")

    def check_connected(self, peer: object, url: str) -> None:
        """Check the address that a connection really has.

        Raises:
            QueueError: It is not public.
        """
        place = _place(url)
        if not self._checks or self._is_own(place) or _proxied(place[1]):
            return
        if not (isinstance(peer, tuple) and peer and is_public(str(peer[0]))):
            raise _refused("leads to a machine that is not public")

    def _is_own(self, place: tuple[str, str, int]) -> bool:
        """Tell whether a place is the configured host, or this machine where that one is too."""
        here = is_loopback(self._own[1]) and is_loopback(place[1])
        return place == self._own or (here and place[0] in {"http", "https"})


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet, also as IPv6 wraps it."""
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
    """Return the address that a redirect leads to.

    Raises:
        QueueError: It is none.
    """
    try:
        return urljoin(url, target)
    except ValueError:
        raise _refused("is malformed") from None


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside an address of NAT64 or of the old compatible form."""
    inside = any(ip in network for network in _WRAPPING)
    return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if inside else None


def _is_numeric(host: str) -> bool:
    """Tell whether a host is an IP address, also in the short and hexadecimal old forms."""
    last = host.rpartition(".")[2]
    return ":" in host or last.isdigit() or last.startswith("0x")


def _place(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an address.

    Raises:
        ValueError: It is malformed, or written so that programs may read it differently.
    """
    parts = urlsplit(url)
    if not url.isprintable() or "\\" in url or any(c in parts.netloc for c in "@ %"):
        raise ValueError
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").rstrip("."), port


def _proxied(host: str) -> bool:
    """Tell whether a proxy makes the connection: then the peer seen here is the proxy's."""
    proxies = urllib.request.getproxies()
    return bool(proxies.get("https") or proxies.get("all")) and not urllib.request.proxy_bypass(
        host
    )


async def _resolve(host: str, port: int) -> list[str]:
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _refused(why: str) -> QueueError:
    return QueueError(
        f"The picture's address {why}; it was not fetched.",
        remedy="Ask the provider what it sent; the job's id is kept.",
    )
