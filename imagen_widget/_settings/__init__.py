"""Settings: which provider, which key, where files go, what may be spent.

One precedence for everything: explicit argument, environment, `.env` file, `[tool.imagen-widget]`
in a pyproject.toml beside or above the notebook, default. Keys have an order of
their own (`_keys`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from imagen_widget._catalog import DEFAULT_MODEL, Provider, find_provider, resolve_endpoint
from imagen_widget._settings._keys import Secret, find_key, login, no_key, usable_key
from imagen_widget._settings._sources import Lookup
from imagen_widget.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Secret",
    "Settings",
    "check_base_url",
    "home_folder",
    "is_loopback",
    "load_settings",
    "login",
]

DEFAULT_TIMEOUT_SECONDS = 300.0
DEFAULT_DEMO_SECONDS = 4.0

_YES = {"1": True, "true": True, "yes": True, "on": True}
_NO = {"0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a job needs to know besides its request.

    Attributes:
        provider: The way to the queue.
        base_url: Where the queue answers, without a trailing slash; may carry a path.
        key: The key for that host and no other; None for the demo.
        model: The default endpoint id.
        home: Where history and pictures live.
        max_spend: Cap in US dollars a calendar day, or None.
        reuse: Whether the magic may answer from history.
        price: US dollars a picture, in place of the list price; or None.
        timeout: Seconds to wait for a job.
        poll_seconds: Status is never asked for more often than this; None for the provider's own.
        demo_seconds: How long the demo takes for a job.
        provenance: Whether saved copies carry the settings.
    """

    provider: Provider
    base_url: str
    key: Secret | None
    model: str
    home: Path
    max_spend: Decimal | None
    reuse: bool
    price: Decimal | None
    timeout: float
    poll_seconds: float | None
    demo_seconds: float
    provenance: bool


def load_settings(
    *,
    provider: str | None = None,
    base_url: str | None = None,
    api_key: str | Secret | None = None,
    model: str | None = None,
    home: str | Path | None = None,
    max_spend: Decimal | float | str | None = None,
    reuse: bool | str | None = None,
    price: Decimal | float | str | None = None,
    timeout: float | str | None = None,
    poll_seconds: float | str | None = None,
    demo_seconds: float | str | None = None,
    provenance: bool | str | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    need_key: bool = True,
) -> Settings:
    """Return the settings in force now; what is None is looked up.

    The keywords are the fields of `Settings`. Besides these, `environ` stands in for the process's
    environment, `folder` for the current folder, where `.env` and pyproject.toml are looked for,
    and `need_key=False` is for a look at settings only, where a missing key is no error.

    Raises:
        CredentialsError: The provider needs a key and none was found.
        InvalidRequest: A setting has a value that it cannot have; the message names it.
    """
    if isinstance(api_key, str):  # at once: tracebacks that show variables must not have it
        api_key = usable_key(api_key, "api_key")
    look = Lookup(os.environ if environ is None else environ, folder or Path.cwd())
    chosen = _provider(provider or look("IMAGEN_PROVIDER"), look, api_key)
    origin = base_url or (look("IMAGEN_BASE_URL") if chosen.name == "kkiai" else None)
    key = api_key if api_key is not None else find_key(chosen, look)
    if key is None and chosen.key_variable and need_key:
        raise no_key(chosen)
    return Settings(
        provider=chosen,
        base_url=check_base_url(origin or chosen.base_url),
        key=key if chosen.key_variable else None,
        model=resolve_endpoint(model or look("IMAGEN_MODEL") or DEFAULT_MODEL),
        home=home_folder(home, look),
        max_spend=_amount("IMAGEN_MAX_SPEND", _first(max_spend, look("IMAGEN_MAX_SPEND"))),
        reuse=_flag("IMAGEN_REUSE", _first(reuse, look("IMAGEN_REUSE"), default=True)),
        price=_amount("IMAGEN_PRICE", _first(price, look("IMAGEN_PRICE"))),
        timeout=_seconds(
            "IMAGEN_TIMEOUT", _first(timeout, look("IMAGEN_TIMEOUT"), DEFAULT_TIMEOUT_SECONDS)
        ),
        poll_seconds=_optional_seconds(
            "IMAGEN_POLL_SECONDS", _first(poll_seconds, look("IMAGEN_POLL_SECONDS"))
        ),
        demo_seconds=_seconds(
            "IMAGEN_DEMO_SECONDS",
            _first(demo_seconds, look("IMAGEN_DEMO_SECONDS"), DEFAULT_DEMO_SECONDS),
            zero=True,
        ),
        provenance=_flag(
            "IMAGEN_PROVENANCE", _first(provenance, look("IMAGEN_PROVENANCE"), default=True)
        ),
    )


def home_folder(
    home: str | Path | None = None, look: Callable[[str], str | None] | None = None
) -> Path:
    """Return the folder of history and pictures; nothing is made.

    Raises:
        InvalidRequest: IMAGEN_HOME begins with the ~ of an unknown user.
    """
    look = look or Lookup(os.environ, Path.cwd())
    chosen = home or look("IMAGEN_HOME")
    if chosen:
        try:
            return Path(chosen).expanduser().absolute()
        except RuntimeError:  # ~ of a user that there is not
            raise InvalidRequest(
                f"IMAGEN_HOME: {str(chosen)[:80]!r} is no folder.",
                remedy="Give a folder that can be written.",
                field="home",
            ) from None
    import platformdirs

    return Path(platformdirs.user_data_dir("imagen_widget", appauthor=False))


def check_base_url(url: str) -> str:
    """Return a base address without its trailing slash.

    Raises:
        InvalidRequest: It is no plain https address, or carries a user, a query or a fragment;
            http is accepted for this machine only.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        usable_port = parts.port is None or parts.port > 0
    except ValueError:
        parts, usable_port = urlsplit(""), False
    plain = not any(c in url for c in "@?#\\ ") and url.isprintable()
    if not (parts.hostname and usable_port and plain) or ".." in parts.path.split("/"):
        raise InvalidRequest(
            "IMAGEN_BASE_URL: that is no address of a gateway.",
            remedy="Give it like https://host or https://host/prefix.",
            field="base_url",
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise InvalidRequest(
            "IMAGEN_BASE_URL: a key is only sent over https (http to this machine excepted).",
            remedy="Write https:// in front.",
            field="base_url",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address surely means this machine."""
    return host in {"localhost", "127.0.0.1", "::1"}


def _provider(name: str | None, look: Lookup, api_key: Secret | None) -> Provider:
    if name:
        return find_provider(name)
    gateway, fal, demo = (find_provider(n) for n in ("kkiai", "fal", "demo"))
    if api_key is not None or find_key(gateway, look) is not None:
        return gateway
    return fal if find_key(fal, look) is not None else demo


def _first(*values: Any, default: Any = None) -> Any:  # noqa: ANN401 - settings of any type
    return next((v for v in values if v is not None), default)


def _amount(name: str, value: object) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = Decimal(str(value).strip().removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if isinstance(value, bool) or not amount.is_finite() or amount < 0:
        raise InvalidRequest(
            f"{name}: {str(value)[:40]!r} is no amount.",
            remedy="Give US dollars, like 2.50.",
            field=name,
        )
    return amount


def _flag(name: str, value: object) -> bool:
    word = {**_YES, **_NO}.get(str(value).strip().lower())
    if word is None:
        raise InvalidRequest(
            f"{name}: {str(value)[:40]!r} is neither yes nor no.", remedy="Use 1 or 0.", field=name
        )
    return word


def _optional_seconds(name: str, value: object) -> float | None:
    return None if value is None else _seconds(name, value)


def _seconds(name: str, value: object, *, zero: bool = False) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = float("nan")
    if not (0 < seconds < float("inf") or (zero and seconds == 0)):
        raise InvalidRequest(
            f"{name}: {str(value)[:40]!r} is no number of seconds.",
            remedy="Give seconds, like 300.",
            field=name,
        )
    return seconds
