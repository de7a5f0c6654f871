"""Proxies and certificates of the environment, checked before an HTTP client is made of them.

httpx would raise errors of its own that name no variable.
"""

import ipaddress
import os
import ssl
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from imagen_widget.errors import InvalidRequest

_PROXIES = ("all_proxy", "https_proxy", "http_proxy")


def check_network_environment(environ: Mapping[str, str] | None = None) -> None:
    """Refuse proxies and certificates of the environment with which no HTTP client can be made.

    Raises:
        InvalidRequest: One of the variables cannot be used; the message names it.
    """
    environ = os.environ if environ is None else environ
    names = {name.lower(): name for name in sorted(environ, key=str.islower)}  # lower case wins
    values = {lower: environ[name] for lower, name in names.items() if environ[name].strip()}
    exempt = [entry.strip() for entry in values.get("no_proxy", "").split(",") if entry.strip()]
    problems = {"no_proxy": next(filter(None, map(_exemption_problem, exempt)), "")}
    for name in () if "*" in exempt else _PROXIES:
        problems[name] = _proxy_problem(values[name]) if name in values else ""
    for name in ("ssl_cert_file", "sslkeylogfile"):
        problems[name] = _file_problem(name, values[name]) if name in values else ""
    for name, problem in problems.items():
        if problem:
            raise InvalidRequest(f"{names[name]}: {problem}.", remedy="Correct it or unset it.")


def is_address(host: str) -> bool:
    """Return True if a text is an IP address."""
    try:
        return ipaddress.ip_address(host) is not None
    except ValueError:
        return False


def _proxy_problem(address: str) -> str:
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        usable = bool(parts.hostname) and parts.port != 0
        usable = usable and address.isprintable() and " " not in address
    except ValueError:
        usable = False
    if not usable:
        return "that is not the address of a proxy"
    if parts.scheme not in {"http", "https", "socks5", "socks5h"}:
        return "only http, https and socks5 proxies can be used"
    if parts.scheme.startswith("socks") and not find_spec("socksio"):
        return "a SOCKS proxy needs the package socksio (pip install 'httpx[socks]')"
    return ""


def _exemption_problem(entry: str) -> str:
    bare = entry.rpartition("://")[2]
    try:
        usable = bare.isascii() and ("[" not in bare or "://" in entry)
        usable = usable and urlsplit(f"//{bare}").port != 0
    except ValueError:
        usable = False
    if usable or is_address(entry):
        return ""
    return f"{entry[:40]!r} cannot be read; IPv6 addresses stand there without brackets, like ::1"


def _file_problem(name: str, place: str) -> str:
    try:
        if name == "ssl_cert_file":
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(place)
        else:
            Path(place).open("ab").close()
    except OSError as error:  # ssl's own errors are these too
        return f"that file cannot be used ({(error.strerror or 'no certificate in it').lower()})"
    return ""
