"""The one table of settings, and what the value of each may be.

Environment variables, keyword arguments, traits, completion and the docs page are made from the
table: a new setting is one row here and one field of `Settings`. A value that cannot be understood
is an error that names its setting, never the default in silence: a cap that cannot be read must
not become no cap.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from imagen_widget._settings.accounts import ACCOUNTS, is_loopback
from imagen_widget.errors import InvalidRequest, shown

MAX_SECONDS = 366 * 86_400.0  # longer waits overflow the timers of some systems
MAX_DOLLARS = 10**9

Period = Literal["day", "month"]
Scope = Literal["all", "user"]

_AMOUNT = re.compile(r"\$?\s*(\d+(?:\.\d+)?|\.\d+)", re.ASCII)
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_WORDS |= {"0": False, "false": False, "no": False, "off": False}
_CAPS = "Give US dollars with a point, like 2.50, 2.50/day or 40/month."
_PRICES = "Give US dollars a picture, like 0.05, or by model: imagen4=0.05, fal-ai/flux/dev=0.03."
_HOSTS = "Use public, private, or host names with commas, like cdn.example, 10.0.0.7."


@dataclass(frozen=True)
class Limit:
    """A cap in US dollars a local calendar day or month, for all users together or for each."""

    amount: Decimal
    period: Period
    scope: Scope = "all"


Budget = tuple[Limit, ...]


@dataclass(frozen=True)
class Prices:
    """What a picture costs you in US dollars: by model, and for every other model."""

    default: Decimal | None = None
    by_model: tuple[tuple[str, Decimal], ...] = ()

    def for_model(self, model_id: str, alias: str = "") -> Decimal | None:
        """Return the price set for a model under its id or its alias; None if there is none."""
        named = dict(self.by_model)
        return named.get(model_id, named.get(alias, self.default))


def _unfit(label: str, value: object, what: str, remedy: str) -> InvalidRequest:
    """Return the error for a value; `label` is the variable, with its file if it is from one."""
    name = label.partition(" ")[0].removeprefix("IMAGEN_").lower()
    text = shown(_text(value)[:40])
    return InvalidRequest(f"{label}: {text} {what}.", remedy=remedy, field=name)


def _text(value: object) -> str:
    """Return the text of a value; its type if it has none."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - an integer of too many digits, or a str of somebody else's
        return f"a value of type {type(value).__name__}"


def check_timeout(value: object) -> float:
    """Return a timeout given in Python: a finite number of seconds above 0.

    Raises:
        InvalidRequest: It is anything else; a text or a bool too.
    """
    if isinstance(value, str):
        raise _unfit("timeout", value, "is not a number of seconds", "Give a number, like 300.")
    return read_seconds("timeout", value)


def read_seconds(label: str, value: object, *, zero: bool = False) -> float:
    """Return a number of seconds above 0, or 0 if `zero` allows it."""
    number = isinstance(value, str | Real | Decimal) and _text(value) not in {"True", "False"}
    try:
        seconds = float(cast("float", value)) if number else float("nan")
    except (ValueError, OverflowError, TypeError):
        seconds = float("nan")
    if not (0 < seconds < float("inf") or (zero and seconds == 0)):
        raise _unfit(label, value, "is not a number of seconds", "Give seconds, like 300.")
    return min(seconds, MAX_SECONDS)


def read_switch(label: str, value: object) -> bool:
    """Return what 1, 0, true, false, yes, no, on or off means."""
    word = _WORDS.get(_text(value).strip().lower())
    if word is None:
        raise _unfit(label, value, "is neither yes nor no", "Use 1 or 0.")
    return word


def read_dollars(label: str, value: object, remedy: str = _CAPS) -> Decimal:
    """Return an amount of US dollars, 0 or more."""
    match = _AMOUNT.fullmatch(_plain(value))
    amount = Decimal(match[1]) if match else Decimal("NaN")
    if not amount.is_finite() or amount >= MAX_DOLLARS:
        raise _unfit(label, value, "is not an amount", remedy)
    return amount


def read_budget(label: str, value: object, scope: Scope = "all") -> Budget:
    """Return the caps of a text like `2.50`, `2.50/day` or `2/day, 40/month`."""
    limits: dict[str, Limit] = {}
    for part in _plain(value).split(","):
        amount, slash, period = part.partition("/")
        period = period.strip().lower() if slash else "day"
        if period not in {"day", "month"}:
            raise _unfit(label, value, "names a period that is not day or month", _CAPS)
        if period in limits:
            raise _unfit(label, value, f"gives two caps a {period}", _CAPS)
        limits[period] = Limit(read_dollars(label, amount), cast("Period", period), scope)
    return tuple(limits.values())


def read_prices(label: str, value: object) -> Prices:
    """Return the prices of a text like `0.05` or `imagen4=0.05, fal-ai/flux/dev=0.03`."""
    prices: dict[str, Decimal] = {}
    if isinstance(value, Mapping):  # a table in pyproject.toml
        parts = [f"{name}={_plain(amount)}" for name, amount in value.items()]
    else:
        parts = _plain(value).split(",")
    for part in parts:
        name, equals, amount = part.rpartition("=")
        name = name.strip()
        if equals and not name:
            raise _unfit(label, value, "gives a price to no model", _PRICES)
        if name in prices:
            raise _unfit(label, value, "gives one model two prices", _PRICES)
        prices[name] = read_dollars(label, amount, _PRICES)
    default = prices.pop("", None)
    return Prices(default, tuple(prices.items()))


def _plain(value: object) -> str:
    """Return the text of a value; 1e-05 is an amount as a number, a typing error as a text."""
    number = isinstance(value, float | Decimal)
    return format(Decimal(_text(value)), "f") if number else _text(value).strip()


def read_text(label: str, value: object) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise _unfit(label, value, "is not a text", "Give it as text.")
    return value.strip()


def read_hosts(label: str, value: object) -> str | tuple[str, ...]:
    """Return `public`, `private`, or the host names of a text with commas."""
    parts = value if isinstance(value, list | tuple) else _text(value).split(",")
    hosts = tuple(_text(part).strip().lower().removeprefix("*.") for part in parts)
    if len(hosts) == 1 and hosts[0] in {"public", "private"}:
        return hosts[0]
    for host in hosts:
        if host in {"public", "private"} or not (_HOST.fullmatch(host) or _is_address(host)):
            raise _unfit(label, host, "is not the name of a host", _HOSTS)
    return hosts


def read_schemas(label: str, value: object) -> str:
    """Return `auto`, `off`, or an address in which {endpoint} stands for the model's id."""
    text = read_text(label, value)
    if text.lower() in {"auto", "off"}:
        return text.lower()
    try:
        parts = urlsplit(text)
        secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
    except ValueError:
        secure = False
    if not secure or "{endpoint}" not in text or not text.isprintable():
        remedy = "Use auto, off, or an https:// address that contains {endpoint}."
        raise _unfit(label, value, "is not where schemas can be read", remedy)
    return text


def read_database(label: str, value: object) -> str:
    """Return the address of a PostgreSQL database; it may hold a password and is never shown."""
    text = read_text(label, value)
    if not text.startswith(("postgresql://", "postgres://")):
        remedy = "Give it like postgresql://user@host/database, or leave it out for a file."
        raise _unfit(label, "***", "is not the address of a database", remedy)
    return text


def read_folder(label: str, value: object, beside: Path | None) -> Path:
    """Return a folder as an absolute path, a relative one seen from `beside`; nothing is made."""
    try:
        if not isinstance(value, str | os.PathLike) or not str(value) or "\0" in str(value):
            raise RuntimeError
        folder = Path(value).expanduser()
        return folder if folder.is_absolute() else (beside or Path.cwd()) / folder
    except (OSError, RuntimeError):  # ~ of an unknown user, or a working folder that was deleted
        remedy = "Give the full path of a folder that can be written."
        raise _unfit(label, value, "is not a folder", remedy) from None


def read_place(label: str, value: object, beside: Path | None) -> str:
    """Return an fsspec address as it is, or a folder as an absolute path."""
    return str(value) if "://" in str(value) else str(read_folder(label, value, beside))


def check_base_url(url: str, *, label: str = "IMAGEN_BASE_URL") -> str:
    """Return a base address without its trailing slash.

    Raises:
        InvalidRequest: It is not a plain https address, or carries a user, a query or a fragment;
            http is accepted for this machine only.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        usable_port = parts.port is None or parts.port > 0
    except ValueError:
        parts, usable_port = urlsplit(""), False
    plain = not any(c in url for c in "@?#\\ ") and url.isprintable()
    problem, remedy = "", ""
    if not (parts.hostname and usable_port and plain) or ".." in parts.path.split("/"):
        problem = "that is not the address of a gateway"
        remedy = "Give it like https://host or https://host/prefix."
    elif parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        problem = "a key is only sent over https (http to this machine excepted)"
        remedy = "Write https:// in front."
    if problem:
        raise InvalidRequest(f"{label}: {problem}.", remedy=remedy, field="base_url")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _is_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host) is not None
    except ValueError:
        return False


# ----------------------------------------------------------------------------------- the network


def check_network_environment(environ: Mapping[str, str] | None = None) -> None:
    """Refuse proxies and certificates of the environment with which no HTTP client can be made.

    Raises:
        InvalidRequest: One of the variables cannot be used; the message names it.
    """
    environ = os.environ if environ is None else environ
    found = {name.lower(): name for name in sorted(environ, key=str.islower)}  # lower case wins

    def value_of(name: str) -> str:
        return environ.get(found.get(name, ""), "")

    exempt = [entry.strip() for entry in value_of("no_proxy").split(",") if entry.strip()]
    problems = {} if "*" in exempt else {name: _proxy_problem(value_of(name)) for name in _PROXIES}
    problems["no_proxy"] = next((p for entry in exempt if (p := _exemption_problem(entry))), "")
    for name in ("ssl_cert_file", "sslkeylogfile"):
        problems[name] = _file_problem(name, value_of(name))
    for name, problem in problems.items():
        if problem:
            raise InvalidRequest(f"{found[name]}: {problem}.", remedy="Correct it or unset it.")


_PROXIES = ("all_proxy", "https_proxy", "http_proxy")


def _proxy_problem(address: str) -> str:
    if not address.strip():
        return ""
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
    """Return what keeps httpx from reading an entry of NO_PROXY, or ""."""
    bare = entry.rpartition("://")[2]
    try:
        usable = bare.isascii() and ("[" not in bare or "://" in entry)
        usable = usable and urlsplit(f"//{bare}").port != 0
    except ValueError:
        usable = False
    if usable or _is_address(entry):
        return ""
    return f"{entry[:40]!r} cannot be read; IPv6 addresses stand there without brackets, like ::1"


def _file_problem(name: str, place: str) -> str:
    """Return what keeps TLS from using a file, or ""."""
    if not place.strip():
        return ""
    import ssl

    try:
        if name == "ssl_cert_file":
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(place)
        else:
            Path(place).open("ab").close()
    except OSError as error:  # ssl's own errors are these too
        return f"that file cannot be used ({(error.strerror or 'no certificate in it').lower()})"
    return ""


# -------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        name: The keyword argument, and the magic's trait if `trait`.
        kind: What the value is; `READERS` has a function for each kind.
        example: A value as it stands in a file.
        default: The value if nothing sets it; if that depends, `unset` says in words on what.
        help: What it means, in a few words of Markdown.
        choices: The values that completion offers.
    """

    name: str
    kind: str
    example: str
    default: Any
    help: str
    unset: str = ""
    choices: tuple[str, ...] = ()
    trait: bool = True

    @property
    def variable(self) -> str:
        """The environment variable; pyproject.toml has the name with hyphens."""
        return f"IMAGEN_{self.name.upper()}"


READERS: dict[str, Callable[[str, Any], Any]] = {
    "address": lambda label, value: check_base_url(_text(value), label=label),
    "budget": read_budget,
    "budget of each user": lambda label, value: read_budget(label, value, scope="user"),
    "database": read_database,
    "folder": read_text,
    "hosts": read_hosts,
    "preset": lambda _, value: _text(value),
    "prices": read_prices,
    "schemas": read_schemas,
    "seconds": read_seconds,
    "seconds or 0": lambda label, value: read_seconds(label, value, zero=True),
    "switch": read_switch,
    "text": read_text,
}

_SWITCH = ("0", "1")
_OWN = "the model's own"

SETTINGS = (
    Setting(
        *("provider", "text", "fal", None, "which account answers, see below"),
        unset="the first whose key is found, else `demo`",
        choices=tuple(ACCOUNTS),
    ),
    Setting(
        *("base_url", "address", "https://gateway.example/fal", None),
        "another host with the same routes; `http://` to this machine only",
        unset="the provider's own",
    ),
    Setting(
        *("model", "text", "nano-banana", None, "an alias of `%imagen_models`, or an endpoint id"),
        unset="the provider's, see below",
    ),
    Setting(
        *("home", "folder", "/data/pictures", None, "where history and pictures are kept"),
        unset="your user data folder",
    ),
    Setting(
        *("journal", "database", "postgresql://team@db.example/imagen", None),
        "a PostgreSQL database that a team shares",
        unset="a file in the home",
        trait=False,  # its address may hold a password, and %config shows traits
    ),
    Setting(
        *("store", "folder", "s3://bucket/pictures", None),
        "another folder for the pictures, or an fsspec address",
        unset="`images` in the home",
    ),
    Setting(
        *("max_spend", "budget", "2.50/day, 40/month", ()),
        "cap in US dollars a calendar day (`2.50` too) or month, for all users of the journal",
        unset="no cap",
    ),
    Setting(
        *("max_spend_user", "budget of each user", "1/day", ()),
        "the same for each user of a shared journal",
        unset="no cap",
    ),
    Setting(
        *("price", "prices", "imagen4=0.05, fal-ai/flux/dev=0.03", Prices()),
        "US dollars that a picture costs you: one amount, or by model",
        unset="the list price",
    ),
    Setting(
        *("reuse", "switch", "0", True, "whether the magic may answer from history"),
        choices=_SWITCH,
    ),
    Setting("timeout", "seconds", "600", 300.0, "seconds for a job, sending and waiting included"),
    Setting(
        *("poll_seconds", "seconds", "2", None, "the status is never asked for more often"),
        unset="`1` on gateways, `0.1` on fal",
    ),
    Setting(
        *("schemas", "schemas", "off", "auto"),
        "where unknown models' fields are read: `auto`, `off`, or an address with `{endpoint}`",
        choices=("auto", "off"),
    ),
    Setting(
        *("media_hosts", "hosts", "cdn.example, 10.0.0.7", "public"),
        "where pictures may be fetched from: `public`, `private`, or host names",
        choices=("public", "private"),
    ),
    Setting(
        *("upload", "switch", "1", False, "put input pictures at a public address of the provider"),
        choices=_SWITCH,
    ),
    Setting(
        *("provenance", "switch", "0", True, "whether saved copies carry prompt and settings"),
        choices=_SWITCH,
    ),
    Setting("demo_seconds", "seconds or 0", "0", 4.0, "how long a job takes on the demo"),
    Setting("aspect_ratio", "preset", "16:9", None, "default of the magic", _OWN),
    Setting("num_images", "preset", "2", None, "default of the magic", _OWN),
    Setting("resolution", "preset", "2K", None, "default of the magic", _OWN),
    Setting("output_format", "preset", "jpeg", None, "default of the magic", _OWN),
    Setting("save_dir", "folder", "pictures", None, "the magic also saves copies there", "none"),
    Setting(
        *("quiet", "switch", "1", False, "the magic shows nothing and only returns its result"),
        choices=_SWITCH,
    ),
)

_KEY_VARIABLES = (names for account in ACCOUNTS.values() for names in account.key_variables)
KEYS = frozenset(name for names in _KEY_VARIABLES for name in names.split(":"))
VARIABLES = KEYS | {setting.variable for setting in SETTINGS}


def settings_page() -> str:
    """Return the tables of .github/docs/settings.md; a test compares."""
    rows = ["| setting | example | default | meaning |", "|---|---|---|---|"]
    for setting in SETTINGS:
        value = setting.default
        written = str(int(value)) if isinstance(value, bool | float) else value
        default = setting.unset or f"`{written}`"
        rows.append(f"| `{setting.variable}` | `{setting.example}` | {default} | {setting.help} |")
    rows += ["", "| provider | key | sent to | default model |", "|---|---|---|---|"]
    for account in ACCOUNTS.values():
        keys = ", or ".join(f"`{names}`" for names in account.key_variables).replace(":", "` and `")
        host = urlsplit(account.base_url).hostname if keys else "nowhere"
        model = f"`{account.default_model}`"
        rows.append(f"| `{account.name}` | {keys or 'none'} | {host} | {model} |")
    return "\n".join(rows) + "\n"
