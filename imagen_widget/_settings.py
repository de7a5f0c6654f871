"""Settings: which account, which key, where files go, what may be spent.

`SETTINGS` is the one table: environment variables, keyword arguments, traits and the docs page are
made from it. A new setting is one row there and one field of `Settings`.

The first source that names a setting wins: argument, environment, `.env` file,
`[tool.imagen-widget]` in a pyproject.toml beside or above the notebook, default. A value that
cannot be understood is an error that names its setting, never the default in silence: a cap that
cannot be read must not become no cap. A key is sent to its own provider only; after the argument
and what was typed at `login` it is looked for in the environment, `.env`, keyring and Colab.
"""

import codecs
import getpass
import importlib.util
import io
import ipaddress
import json
import logging
import numbers
import os
import re
import stat
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn, cast
from weakref import WeakValueDictionary

from imagen_widget.errors import CredentialsError, InvalidRequest, shown

MAX_SECONDS = 366 * 86_400.0  # longer waits overflow the timers of some systems
MAX_DOLLARS = 10**9

Period = Literal["day", "month"]
Scope = Literal["all", "user"]

_AMOUNT = re.compile(r"\$?\s*(\d+(?:\.\d+)?|\.\d+)", re.ASCII)
_MODEL_NAME = re.compile(r"[\w.:@/-]+")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_WORDS |= {"0": False, "false": False, "no": False, "off": False}
_CAPS = "Give US dollars with a point, like 2.50, 2.50/day or 40/month."
_PRICES = "Give US dollars a picture, like 0.05, or by model: imagen4=0.05, fal-ai/flux/dev=0.03."
_KEYRING_SERVICE = "imagen_widget"
_PLACEHOLDER = re.compile(
    r"<.*>|\[.*\]|\(.*\)|\$?\{.*\}|\$\w+|%\w+%|(\w{2,4}-)?[x*.…-]+|change[-_ ]?me|to[-_ ]?do"
    r"|none|null|nil|undefined|n/a|true|false|0|placeholder|dummy|secret|api[-_ ]?token"
    r"|.*(\.\.\.|\*\*\*).*|.*\b(your|my)[-_ ]?\w*[-_ ]?(key|token|secret).*"
    r"|(put|paste|insert|enter|replace)[-_ ].*(key|token|me|this).*|(\w+_)?(api[-_ ]?)?key",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(r"(export\s+)?[A-Z][A-Z0-9_]*_(KEY|ID|SECRET)\s*=.*", re.DOTALL)
_OF_FAL = re.compile(r"[0-9a-f-]{32,36}:[0-9a-f]{8,}", re.IGNORECASE)
_FAL_HOSTS = re.compile(r"(.*\.)?fal\.(run|ai)", re.IGNORECASE)


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
        """Return the price set for a model under its id or its alias; None if not set."""
        named = dict(self.by_model)
        return named.get(model_id, named.get(alias, self.default))


# ------------------------------------------------------------------------ accounts and keys


@dataclass(frozen=True)
class Account:
    """One way to reach models: a host with its key.

    Attributes:
        name: The value of IMAGEN_PROVIDER.
        title: The name that people read.
        base_url: Where requests go unless another address is set.
        scheme: The word before the key in the Authorization header.
        key_variables: The variables that may hold the key, the first one found counts; `A:B` means
            two variables that hold its halves. Empty if no key is needed.
        default_model: The model that is used if none is chosen.
        free: True if nothing is ever billed.
    """

    name: str
    title: str
    base_url: str
    scheme: str
    key_variables: tuple[str, ...]
    default_model: str
    free: bool = False


_IMAGEN = "fal-ai/imagen4/preview"  # the gateway documents it
_FAL_KEYS = ("FAL_KEY", "FAL_KEY_ID:FAL_KEY_SECRET")
GATEWAY = Account("kkiai", "kkiai", "https://www.kkiai.com", "Bearer", ("IMAGEN_API_KEY",), _IMAGEN)
FAL = Account("fal", "fal", "https://queue.fal.run", "Key", _FAL_KEYS, "fal-ai/nano-banana-2")
OPENAI = Account(
    *("openai", "OpenAI", "https://api.openai.com", "Bearer", ("OPENAI_API_KEY",), "gpt-image-1.5")
)
DEMO = Account("demo", "demo", "https://demo.invalid", "Key", (), _IMAGEN, free=True)
# In the order in which their keys are looked for; the demo needs none, so it is the last.
ACCOUNTS = {account.name: account for account in (GATEWAY, FAL, OPENAI, DEMO)}


def find_account(label: str, name: object) -> Account:
    """Return the account of that name: a built-in one, or one of an installed package's.

    Raises:
        InvalidRequest: There is no such account, or its package cannot be loaded.
    """
    wanted = str(name).strip().lower()
    if wanted in ACCOUNTS:
        return ACCOUNTS[wanted]
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    for entry in entry_points(group="imagen_widget.providers"):
        if entry.name.lower() == wanted:
            try:
                account = entry.load().account
            except Exception as error:
                raise InvalidRequest(
                    f"The provider {wanted} cannot be loaded: {type(error).__name__}: {error}.",
                    remedy="Reinstall the package that brings it.",
                    field="provider",
                ) from error
            if isinstance(account, Account):
                return account
    near = get_close_matches(wanted, ACCOUNTS, 1)
    raise InvalidRequest(
        f"{label}: {shown(str(name)[:40])} is not a provider.",
        remedy=f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(ACCOUNTS)}.",
        field="provider",
    )


class Secret:
    """A key that shows itself nowhere: not in repr, str, format, vars or pickle."""

    __slots__ = ("__reveal", "__weakref__")
    __reveal: Callable[[], str]

    def __init__(self, value: str) -> None:
        # A closure, not an attribute: tracebacks with variables and debuggers show `<function>`.
        self.__reveal = lambda: value

    def reveal(self) -> str:
        """Return the key; called only where the Authorization header is made."""
        return self.__reveal()

    def blank_out(self, data: bytes) -> bytes:
        """Return the bytes with the key, plain or escaped as JSON or in an address, as `***`."""
        text = self.reveal()
        quoted = json.dumps(text)[1:-1]
        for form in {text, quoted, quoted.replace("/", "\\/"), urllib.parse.quote(text, safe="")}:
            data = data.replace(form.encode(), b"***")
        return data

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key cannot be pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())


_in_use: WeakValueDictionary[int, Secret] = WeakValueDictionary()


def _blank_out(record: logging.LogRecord) -> bool:
    """Blank out keys in a log record: httpcore logs what a server echoes in its headers."""
    said = masked = record.getMessage().encode("utf-8", "surrogatepass")
    # The longest first: a key that begins another one would leave the rest of that readable.
    for key in sorted(_in_use.values(), key=lambda key: -len(key.reveal())):
        masked = key.blank_out(masked)
    if masked != said:
        record.msg, record.args = masked.decode("utf-8", "surrogatepass"), ()
    return True


def mask_logs(key: Secret, names: Sequence[str]) -> None:
    """Keep a key out of what these loggers write for as long as the key is in use."""
    _in_use[id(key)] = key
    for name in names:
        logging.getLogger(name).addFilter(_blank_out)


def usable_key(key: object, variable: str, *, place: str = "") -> Secret:
    """Return a key, hidden; `place` is file and line in brackets, if it stands in a file.

    Raises:
        CredentialsError: It is empty, a placeholder, in quotes, or has a character that no key has.
    """
    if isinstance(key, Secret):
        return key
    text = key.strip() if isinstance(key, str) else "\0"
    problem, remedy = "", "Copy the key again, without anything around it."
    if not text:
        problem, remedy = "is empty", f"Set {variable} to your key."
    elif _ASSIGNED.fullmatch(text):
        problem = "holds a whole line of a settings file, its name too"
    elif _PLACEHOLDER.fullmatch(text):
        problem, remedy = "holds a placeholder", f"Set {variable} to your own key."
    elif text[0] in "\"'`" or text[-1] in "\"'`":
        problem = "holds quote marks around the key (a container's env file keeps them)"
    elif text[-1] in ",;" or not all("!" <= c <= "~" for c in text):
        problem = "holds a character that no key has (a blank, a comma, a quote mark, a line end)"
    if problem:
        del key, text  # tracebacks that show variables must not have it
        raise CredentialsError(f"{variable}{place} {problem}; nothing was sent.", remedy=remedy)
    return Secret(text)


def _is_of_fal(key: Secret) -> bool:
    return _OF_FAL.fullmatch(key.reveal()) is not None


def is_loopback(host: str | None) -> bool:
    """Return True if a host name or address surely means this machine."""
    return host in {"localhost", "127.0.0.1", "::1"}


def _check_place(key: Secret, account: Account, base_url: str, *, named: bool) -> None:
    """Refuse to send a key of fal's form anywhere else, whatever the settings say.

    Raises:
        CredentialsError: The address is not fal's; one of this machine is enough if fal is `named`.
    """
    host = urllib.parse.urlsplit(base_url).hostname or ""
    local = named and account is FAL and is_loopback(host)
    if _is_of_fal(key) and not local and not _FAL_HOSTS.fullmatch(host):
        raise CredentialsError(
            f"The key has the form of fal's keys, which are sent to fal only and never to {host}.",
            remedy=f"Set IMAGEN_PROVIDER=fal and FAL_KEY, or use a key for {host}.",
        )


# --------------------------------------------------------------------- what a value may be
# `label` is the variable, with file and line in brackets if the value stands in a file.


def _unfit(label: str, value: object, what: str, remedy: str) -> InvalidRequest:
    name = label.partition(" ")[0].removeprefix("IMAGEN_").lower()
    return InvalidRequest(f"{label}: {shown(_text(value)[:40])} {what}.", remedy=remedy, field=name)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - an integer of too many digits, or a str of somebody else's
        return f"a value of type {type(value).__name__}"


def _plain(value: object) -> str:
    """Return the text of a value; 1e-05 is an amount as a number, a typing error as a text."""
    number = isinstance(value, float | Decimal)
    return format(Decimal(str(value)), "f") if number else _text(value).strip()


def check_timeout(value: object) -> float:
    """Return a timeout given in Python: a finite number of seconds above 0.

    Raises:
        InvalidRequest: It is anything else; a text or a bool, numpy's too.
    """
    if isinstance(value, str):
        raise _unfit("timeout", value, "is not a number of seconds", "Give a number, like 300.")
    return _read_seconds("timeout", value)


def _read_seconds(label: str, value: Any, *, zero: bool = False) -> float:
    is_number = isinstance(value, str | numbers.Real | Decimal) and not isinstance(value, bool)
    try:
        seconds = float(value if is_number else "nan")
    except (ValueError, OverflowError, TypeError):
        seconds = float("nan")
    if not (0 < seconds < float("inf") or (zero and seconds == 0)):
        raise _unfit(label, value, "is not a number of seconds", "Give seconds, like 300.")
    return min(seconds, MAX_SECONDS)


def _read_switch(label: str, value: object) -> bool:
    word = _WORDS.get(str(value).strip().lower())
    if word is None:
        raise _unfit(label, value, "is neither yes nor no", "Use 1 or 0.")
    return word


def _read_dollars(label: str, value: object, remedy: str) -> Decimal:
    match = _AMOUNT.fullmatch(_plain(value))
    if match is None or Decimal(match[1]) >= MAX_DOLLARS:
        raise _unfit(label, value, "is not an amount", remedy)
    return Decimal(match[1])


def _read_budget(label: str, value: object, scope: Scope = "all") -> Budget:
    """Return the caps of a text like `2.50`, `2.50/day` or `2/day, 40/month`."""
    limits: dict[str, Limit] = {}
    for part in _plain(value).split(","):
        amount, slash, period = part.partition("/")
        period = period.strip().lower() if slash else "day"
        if period not in {"day", "month"} or period in limits:
            raise _unfit(label, value, "is not one cap a day or month", _CAPS)
        limits[period] = Limit(_read_dollars(label, amount, _CAPS), cast("Period", period), scope)
    return tuple(limits.values())


def _read_prices(label: str, value: object) -> Prices:
    """Return the prices of a text like `0.05` or `imagen4=0.05, fal-ai/flux/dev=0.03`."""
    prices: dict[str, Decimal] = {}
    if isinstance(value, Mapping):  # a table in pyproject.toml
        parts = [f"{name}={_plain(amount)}" for name, amount in value.items()]
    else:
        parts = _plain(value).split(",")
    for part in parts:
        name, equals, amount = part.rpartition("=")
        name = name.strip()
        if name in prices or (equals and not _MODEL_NAME.fullmatch(name)):
            raise _unfit(label, value, "does not give each model one price", _PRICES)
        prices[name] = _read_dollars(label, amount, _PRICES)
    default = prices.pop("", None)
    return Prices(default, tuple(prices.items()))


def _read_text(label: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _unfit(label, value, "is not a text", "Give it as text.")
    return value.strip()


def _read_preset(_label: str, value: object) -> str:
    return str(value)  # the rest depends on the model


def _read_count(label: str, value: object) -> str:
    number = _plain(value)
    if not (number.isascii() and number.isdecimal() and int(number[:10]) > 0):
        raise _unfit(label, value, "is not a number of pictures", "Give a whole number, like 2.")
    return number


def _read_hosts(label: str, value: object) -> str | tuple[str, ...]:
    """Return `public`, `private`, or the host names of a text with commas."""
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    hosts = tuple(str(part).strip().lower().removeprefix("*.") for part in parts)
    if len(hosts) == 1 and hosts[0] in {"public", "private"}:
        return hosts[0]
    for host in hosts:
        if host in {"public", "private"} or not (_HOST.fullmatch(host) or _is_address(host)):
            remedy = "Use public, private, or host names with commas, like cdn.example, 10.0.0.7."
            raise _unfit(label, host, "is not the name of a host", remedy)
    return hosts


def _is_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host) is not None
    except ValueError:
        return False


def _read_schemas(label: str, value: object) -> str:
    """Return `auto`, `off`, or an address in which {endpoint} stands for the model's id."""
    text = _read_text(label, value)
    if text.lower() in {"auto", "off"}:
        return text.lower()
    try:
        secure = _is_secure(urllib.parse.urlsplit(text))
    except ValueError:
        secure = False
    if not secure or "{endpoint}" not in text or not text.isprintable():
        remedy = "Use auto, off, or an https:// address that contains {endpoint}."
        raise _unfit(label, value, "is not where schemas can be read", remedy)
    return text


def _read_database(label: str, value: object) -> str:
    """Return the address of a PostgreSQL database; it may hold a password and is never shown."""
    text = _read_text(label, value)
    if not text.startswith(("postgresql://", "postgres://")):
        remedy = "Give it like postgresql://user@host/database, or leave it out for a file."
        raise _unfit(label, "***", "is not the address of a database", remedy)
    return text


def _read_folder(label: str, value: Any, beside: Path | None = None) -> Path:
    """Return a folder as an absolute path, a relative one seen from `beside`; nothing is made."""
    try:
        if not str(value) or "\0" in str(value):
            raise RuntimeError
        folder = Path(value).expanduser()
        return folder if folder.is_absolute() else (beside or Path.cwd()) / folder
    except (OSError, RuntimeError, TypeError):  # ~ of an unknown user, a working folder deleted
        remedy = "Give the full path of a folder that can be written."
        raise _unfit(label, value, "is not a folder", remedy) from None


def _read_store(label: str, value: object, beside: Path | None = None) -> str:
    return str(value) if "://" in str(value) else str(_read_folder(label, value, beside))


def _read_address(label: str, value: object) -> str:
    """Return a base address without its trailing slash: https, or http to this machine."""
    url = str(value).strip()
    try:
        parts = urllib.parse.urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0 and ".." not in parts.path.split("/")
    except ValueError:
        parts, usable = urllib.parse.urlsplit(""), False
    if not usable or any(c in url for c in "@?#\\ ") or not url.isprintable():
        problem = "that is not the address of a gateway"
        remedy = "Give it like https://host or https://host/prefix."
    elif not _is_secure(parts):
        problem = "a key is only sent over https (http to this machine excepted)"
        remedy = "Write https:// in front."
    else:
        return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    raise InvalidRequest(f"{label}: {problem}.", remedy=remedy, field="base_url")


def _is_secure(parts: urllib.parse.SplitResult) -> bool:
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))


# ---------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        name: The keyword argument, and the magic's trait.
        read: Returns the value for what stands somewhere, or raises InvalidRequest.
        example: A value as it stands in a file.
        help: What it means, in a few words of Markdown.
        unset: What holds if nothing sets it, in words if `default` does not say it.
        default: The value if nothing sets it.
    """

    name: str
    read: Callable[..., Any]
    example: str
    help: str
    unset: str = ""
    default: Any = None

    @property
    def variable(self) -> str:
        """The environment variable; pyproject.toml has the name with hyphens."""
        return f"IMAGEN_{self.name.upper()}"


SETTINGS = (
    Setting(
        *("provider", find_account, "fal"),
        "which account answers: `kkiai`, `fal`, `openai`, `demo` or an installed one, see below",
        "the first whose key is found, else `demo`",
    ),
    Setting(
        *("base_url", _read_address, "https://gateway.example/fal"),
        "another host with the same routes; `http://` to this machine only",
        "the provider's own",
    ),
    Setting(
        *("model", _read_text, "nano-banana", "an alias of `%imagen_models`, or an endpoint id"),
        "the provider's, see below",
    ),
    Setting(
        *("home", _read_folder, "/data/pictures", "where history and pictures are kept"),
        "your user data folder",
    ),
    Setting(
        *("journal", _read_database, "postgresql://team@db.example/imagen"),
        *("a PostgreSQL database that a team shares", "a file in the home"),
    ),
    Setting(
        *("store", _read_store, "s3://bucket/pictures"),
        *("another folder for the pictures, or an fsspec address", "`images` in the home"),
    ),
    Setting(
        *("max_spend", _read_budget, "2.50/day, 40/month"),
        "cap in US dollars a calendar day (`2.50` too) or month, for all users of the journal",
        *("no cap", ()),
    ),
    Setting(
        *("max_spend_user", partial(_read_budget, scope="user"), "1/day"),
        *("the same for each user of a shared journal", "no cap", ()),
    ),
    Setting(
        *("price", _read_prices, "imagen4=0.05, fal-ai/flux/dev=0.03"),
        "US dollars that a picture costs you: one amount, or by model",
        *("the list price", Prices()),
    ),
    Setting(
        *("reuse", _read_switch, "0", "whether the magic may answer from history"), default=True
    ),
    Setting(
        *("timeout", _read_seconds, "600", "seconds for a job, sending and waiting included"),
        default=300.0,
    ),
    Setting(
        *("poll_seconds", _read_seconds, "2", "shortest time in seconds between two status checks"),
        "`1` on gateways, `0.1` on fal",
    ),
    Setting(
        *("schemas", _read_schemas, "off"),
        "where fields of unknown models are read: `auto`, `off`, or an address with `{endpoint}`",
        default="auto",
    ),
    Setting(
        *("media_hosts", _read_hosts, "cdn.example, 10.0.0.7"),
        "where pictures may be fetched from: `public`, `private`, or host names",
        default="public",
    ),
    Setting(
        *("upload", _read_switch, "1", "put input pictures at a public address of the provider"),
        default=False,
    ),
    Setting(
        *("provenance", _read_switch, "0", "whether saved copies carry prompt and settings"),
        default=True,
    ),
    Setting(
        *("demo_seconds", partial(_read_seconds, zero=True), "0"),
        *("how long a job takes on the demo", "", 4.0),
    ),
    *(
        Setting(name, read, example, f"{what} that the magic asks for", "the model's own")
        for name, read, example, what in (
            ("aspect_ratio", _read_preset, "16:9", "aspect ratio"),
            ("num_images", _read_count, "2", "number of pictures"),
            ("resolution", _read_preset, "2K", "resolution"),
            ("output_format", _read_preset, "jpeg", "file format"),
        )
    ),
    Setting("save_dir", _read_folder, "pictures", "the magic also saves copies there", "none"),
    Setting(
        *("quiet", _read_switch, "1", "the magic shows nothing and only returns its result"),
        default=False,
    ),
)

PRESETS = frozenset({"aspect_ratio", "num_images", "resolution", "output_format"})
_BY_VARIABLE = {setting.variable: setting for setting in SETTINGS}
_NAMES = frozenset(setting.name for setting in SETTINGS)
_KEYS = {n for a in ACCOUNTS.values() for names in a.key_variables for n in names.split(":")}
_VARIABLES = _KEYS | _BY_VARIABLE.keys()


# ----------------------------------------------------------------------- the settings in force


@dataclass(frozen=True)
class Settings:
    """Everything that a studio needs to know, found and checked; two are equal if they act alike.

    What is not listed here is as `SETTINGS` has it.

    Attributes:
        account: The provider's account.
        base_url: Where it answers, without a trailing slash; may carry a path.
        key: The key for that host and no other; None if missing or not needed.
        model: The model that was set, as it was written; see `default_model`.
        budget: The caps.
        user: Who works here, as a label.
        sources: Where each setting was found: `argument`, `environment`, a file, or `default`.
        labels: Its variable, with file and line if it was found in a file.
        written: What stands there, of those that were found.
    """

    account: Account
    base_url: str
    key: Secret | None
    model: str | None
    home: Path
    journal: str | None = field(repr=False)  # may hold a password
    store: str | None
    budget: Budget
    price: Prices
    reuse: bool
    timeout: float
    poll_seconds: float | None
    demo_seconds: float
    provenance: bool
    schemas: str
    media_hosts: str | tuple[str, ...]
    upload: bool
    user: str
    quiet: bool = field(compare=False)
    save_dir: Path | None = field(compare=False)
    sources: Mapping[str, str] = field(compare=False, repr=False)
    labels: Mapping[str, str] = field(compare=False, repr=False)
    written: Mapping[str, object] = field(compare=False, repr=False)

    @property
    def default_model(self) -> str:
        """The model of a call that names none: what was set, else the account's."""
        return self.model or self.account.default_model

    def blamed(self, name: str, error: InvalidRequest) -> InvalidRequest:
        """Return an error about a field as one about the setting that its value is from."""
        before, found, after = error.message.partition(f"{error.field}: ")
        message = f"{self.labels[name]}: {after if found else before}"
        return InvalidRequest(message, remedy=error.remedy, field=error.field)

    @property
    def presets(self) -> dict[str, str]:
        """The defaults of the magic, by field."""
        return {name: str(value) for name, value in self.written.items() if name in PRESETS}


def load_settings(
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    need_key: bool = True,
    **given: Any,
) -> Settings:
    """Return the settings in force now; what is not given, or None, is looked up.

    Args:
        environ: Stands in for the process's environment.
        folder: Stands in for the notebook's folder, where `.env` and pyproject.toml are looked for.
        need_key: False if a missing key is not an error.
        given: Settings by the names in `SETTINGS`, and `api_key`.

    Raises:
        CredentialsError: The provider needs a key and none was found, or it is not a usable one.
        InvalidRequest: A setting has a value that is not valid, or a file cannot be read.
    """
    key = None  # hidden at once: tracebacks that show variables must not have it
    if given.get("api_key") is not None:
        key = usable_key(given.pop("api_key"), "api_key")
    given.pop("api_key", None)
    if unknown := given.keys() - _NAMES:
        raise TypeError(f"{min(unknown)!r} is not the name of a setting")
    environ = os.environ if environ is None else environ
    look = Lookup(environ, folder or _settings_folder())
    read: dict[str, Any] = {}
    found: dict[str, str] = {}
    labels: dict[str, str] = {}
    written: dict[str, object] = {}
    for variable, setting in _BY_VARIABLE.items():
        value, source = given.get(setting.name), "argument"
        if value is None:
            value, source = look(variable) or (None, "default")
        found[setting.name] = source
        labels[setting.name] = label = variable + look.place(variable, source)
        read[setting.name] = setting.default
        if value is not None:
            written[setting.name] = value
            is_relative = source != "argument" and setting.read in {_read_folder, _read_store}
            beside = (look.folder,) if is_relative else ()
            read[setting.name] = setting.read(label, value, *beside)
    for name in PRESETS:
        del read[name]
    account, key, found["api_key"] = _find_account(read.pop("provider"), key, look)
    if read["base_url"] and found["base_url"] != "argument" and account is not look.base_owner():
        if found["provider"] == "default":
            _note_address(found["base_url"], account)
        read["base_url"], found["base_url"] = None, "default"
    settings = Settings(
        account=account,
        base_url=read.pop("base_url") or account.base_url,
        key=key,
        home=read.pop("home") or _default_home(),
        budget=read.pop("max_spend") + read.pop("max_spend_user"),
        user=environ.get("JUPYTERHUB_USER") or _login_name(),
        sources=found,
        labels=labels,
        written=written,
        **read,
    )
    if key is not None:
        _check_place(key, account, settings.base_url, named=found["provider"] != "default")
    if need_key:
        check_key(settings)
    return settings


def check_key(settings: Settings) -> None:
    """Refuse to go on without a key.

    Raises:
        CredentialsError: The account needs a key and none was found.
    """
    account = settings.account
    if settings.key is None and account.key_variables:
        raise CredentialsError(
            f"There is no key for {account.title}.",
            remedy=f"Set {account.key_variables[0]} in the environment or a .env file, "
            "or call imagen_widget.login(); IMAGEN_PROVIDER=demo needs none.",
        )


def _find_account(
    named: Account | None, key: Secret | None, look: "Lookup"
) -> tuple[Account, Secret | None, str]:
    """Return the account that is named, or the first that has a key; its key; where that was."""
    candidates = list(ACCOUNTS.values())
    if named is not None:
        candidates = [named]
    elif key is not None:
        candidates = [FAL if _is_of_fal(key) else GATEWAY]
    for account in candidates:
        if account.key_variables:
            found = find_key(account, look) if key is None else (key, "argument")
            if found is not None:
                return account, *found
    return candidates[-1], None, "default"


def _default_home() -> Path:
    import platformdirs

    try:
        home = Path(platformdirs.user_data_dir("imagen_widget", appauthor=False))
    except RuntimeError:
        home = Path()
    if not home.is_absolute():  # without HOME, for a user without a name, it begins with ~
        raise InvalidRequest(
            "IMAGEN_HOME: this user has no home folder for history and pictures.",
            remedy="Set IMAGEN_HOME to a folder that can be written.",
            field="home",
        )
    return home


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a uid without a name, as in many containers
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


# --------------------------------------------------------------------------------- finding a key

_typed: dict[str, Secret] = {}  # what `login` was told, by variable
_kept: dict[str, tuple[Secret, str]] = {}  # what keyring and Colab said, with which of them


def find_key(account: Account, look: "Lookup") -> tuple[Secret, str] | None:
    """Return the key of an account and where it was found, or None.

    Raises:
        CredentialsError: What was found is not a key.
    """
    for names in account.key_variables:
        if names in _typed:
            return _typed[names], "login()"
    for names in account.key_variables:
        halves = [half for name in names.split(":") if (half := look(name)) is not None]
        if len(halves) == len(names.split(":")):
            whole = ":".join(str(value) for value, _ in halves)
            source = halves[0][1]
            place = look.place(names.partition(":")[0], source)
            return usable_key(whole, names.replace(":", " with "), place=place), source
    for names in account.key_variables:
        if names not in _kept and (found := _remembered(names)):
            _kept[names] = usable_key(found[0], names), found[1]
        if names in _kept:
            return _kept[names]
    return None


def login() -> None:
    """Ask for a key without showing it, use it in this process, and offer to remember it.

    The key is kept in this process's memory, out of the environment that child processes get, and
    in the system keyring if you say so and the `keyring` package is installed. It is never written
    into the notebook.

    Raises:
        CredentialsError: Nobody can be asked here, or what was typed is not a key.
    """
    account = Lookup(os.environ, _settings_folder()).account() or GATEWAY
    if not account.key_variables:
        raise CredentialsError(
            f"The provider {account.name} needs no key.",
            remedy="Set IMAGEN_PROVIDER to kkiai, fal or openai first.",
        )
    variable = account.key_variables[0]
    try:
        key = usable_key(getpass.getpass(f"Key for {account.title} ({variable}): "), variable)
    except Exception as error:
        # ipykernel's own class says that nobody can be asked; ipykernel is not imported here.
        deaf = isinstance(error, EOFError | NotImplementedError)
        if not deaf and type(error).__name__ != "StdinNotImplementedError":
            raise
        raise CredentialsError(
            "Nobody can be asked for a key here.",
            remedy=f"Set {variable} in the environment instead.",
        ) from None
    _check_place(key, account, account.base_url, named=True)
    _typed[variable] = key
    keyring = _keyring()
    if keyring is None:
        return
    if input("Remember it in the system keyring? [y/N] ").strip().lower() in {"y", "yes"}:
        keyring.set_password(_KEYRING_SERVICE, variable, key.reveal())


def _keyring() -> Any:
    if importlib.util.find_spec("keyring") is None:
        return None
    keyring = importlib.import_module("keyring")
    return keyring if (getattr(keyring.get_keyring(), "priority", 0) or 0) > 0 else None


def _remembered(name: str) -> tuple[str, str] | None:
    """Return what keyring or Colab keeps under a name, and which of them; broken ones keep none."""
    with suppress(Exception):  # a locked or broken keyring is the same as no keyring
        keyring = _keyring()
        if keyring and (text := keyring.get_password(_KEYRING_SERVICE, name)):
            return text, "system keyring"
    with suppress(Exception):  # there is no such secret, or access is not granted
        if "google.colab" in sys.modules:
            text = importlib.import_module("google.colab.userdata").get(name)
            return (text, "Colab secret") if text else None
    return None


# ---------------------------------------------------------------- what is never a field of a model

RESERVED = frozenset(
    {"api_key", "key", "token", "authorization", "provider", "base_url", "home", "journal", "store"}
)  # a key would be sent, kept and shown with them

_SECRET = re.compile(  # the names that keys, tokens and passwords have
    r"(.*[_\W])?(secret|password|passwd|bearer|auth(orization)?|credentials?)([_\W].*)?"
    r"|.*([_-]key|token|apikey)"
)
# All but those that models nobody knows may have as fields.
_NEVER_FIELDS = _NAMES - PRESETS - {"model", "quiet", "reuse", "timeout", "upload"}


def refuse_reserved(names: Iterable[str], *, taken: Iterable[str] | None = None) -> None:
    """Refuse the names of settings and of secrets as fields, before anything is written down.

    Args:
        names: What is given; of a mapping, the names inside its values are looked at too.
        taken: The model's own fields; if they are known, one of them may be called like a secret.

    Raises:
        InvalidRequest: One of them is reserved.
    """
    given = list(names)
    for inner in names.values() if isinstance(names, Mapping) else ():
        for name in inner if isinstance(inner, Mapping) else ():
            if isinstance(name, str) and _SECRET.fullmatch(name.lower()):  # as among headers
                given.append(name)
    for name in given:
        plain = name.lower().replace("-", "_")
        reserved = plain in RESERVED or plain.replace("_", "").endswith(("apikey", "falkey"))
        private = plain in _NEVER_FIELDS or plain.startswith(("imagen_", "fal_key"))
        private = private or _SECRET.fullmatch(plain) is not None
        if reserved or (private and taken is not None and name not in taken):
            raise InvalidRequest(
                f"{name[:60]} is a setting and not a field of a model; nothing was sent.",
                remedy="Set it in the environment, or give it to Studio, by its own name.",
                field=name,
            )


# ------------------------------------------------------------------- where a setting is found
# The folder of the two files is found once in a kernel and stays, so that `%cd` cannot lose a key
# or a cap. A file is read again only when it changes. If it vanishes, its settings stay in force
# and `notices` says so. If it cannot be understood, that is an error: a cap could stand in it.

_TABLE = "imagen-widget"
_PREFIX = "IMAGEN_"
_NEAR_MISS = 0.8  # of 1: IMAGEN_MAX_SPENT is taken for a typing error, IMAGEN_PROJECT is not

Values = Mapping[str, object]  # by environment variable
Lines = dict[str, int]  # in which they stand


@dataclass
class _File:
    """What was read of a file; None if it holds no settings of ours."""

    stamp: tuple[int, int, int]
    lines: Lines
    values: Values | None
    gone: bool = False


Parse = Callable[[Path, str, Lines], Values | None]  # fills in the lines

_NOTEBOOKS = ("__vsc_ipynb_file__", "PAPERMILL_INPUT_PATH")  # names that front ends give it
_lock = threading.RLock()
_files: dict[Path, _File] = {}
_notices: list[str] = []
_unused: set[str] = set()  # where an address stood that is not used, if that was said
# The package notes the folder of its import as a text; this module may be imported much later.
_imported_in: str = getattr(sys.modules["imagen_widget"], "_imported_in", "")
_start: Path | None = Path(_imported_in) if _imported_in else None
_folder: Path | None = None


def forget_settings() -> None:
    """Find folder, files and keys again at the next call, as a new kernel would."""
    global _start, _folder
    with _lock:
        _start = _folder = None
        for memory in (_files, _notices, _unused, _typed, _kept):
            memory.clear()


def _note_address(source: str, account: Account) -> None:
    """Have it said once that the gateway's address is not used, for want of its key."""
    with _lock:
        if source not in _unused:
            _unused.add(source)
            key = GATEWAY.key_variables[0]
            _notices.append(
                f"IMAGEN_BASE_URL ({source}) is not used: there is no {key}, so {account.title} "
                f"answers. Set {key} to the key of that address."
            )


def notices() -> list[str]:
    """Return what there is to say about files and settings; each line once."""
    with _lock:
        said, _notices[:] = list(_notices), []
        return said


def _settings_folder() -> Path | None:
    """Return the folder of the notebook if VS Code, papermill or Jupyter names it.

    Else it is the one where this process began; None if that was deleted.
    """
    global _start, _folder
    with _lock:
        if _start is None:
            with suppress(OSError):  # it was deleted
                _start = Path.cwd()
        if _folder is not None:
            return _folder
        _folder = _start
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython is not None else None
        told = [] if shell is None else [*map(shell.user_ns.get, _NOTEBOOKS)]
        if told:  # a script that a notebook started inherits the variable too
            told.append(os.environ.get("JPY_SESSION_NAME"))
        for name in told:
            if isinstance(name, str) and name:
                notebook = (_start or Path("/")) / name
                with suppress(OSError, ValueError):
                    here = Path(name).is_absolute() or notebook.is_file()
                    if here and notebook.parent.is_dir():
                        _folder = notebook.parent
                        break
        return _folder


class Lookup:
    """Finds settings in an environment and in the files of a folder, in this order.

    Raises:
        InvalidRequest: A file cannot be read, or something is set that is not a setting.
    """

    def __init__(self, environ: Mapping[str, str], folder: Path | None) -> None:
        self.folder = folder
        self._places: list[tuple[str, Values]] = [("environment", environ)]
        self._lines: dict[str, Lines] = {}
        for name in environ:
            if name.upper().startswith(_PREFIX) and name not in _VARIABLES and _near(name):
                raise _unknown(f"{name}, set in the environment", _near(name))
        if folder is None:
            return
        with _lock:
            self._add(folder / ".env", _parse_dotenv)
            for place in (folder, *folder.parents):
                if self._add(place / "pyproject.toml", _parse_pyproject):
                    return

    def _add(self, path: Path, parse: Parse) -> bool:
        """Look into a file too; return True if it is one of settings."""
        file = _current(path, parse)
        if file is None or file.values is None:
            return False
        self._places.append((str(path), file.values))
        self._lines[str(path)] = file.lines
        return True

    def __call__(self, variable: str) -> tuple[object, str] | None:
        """Return the value and its source, or None; an empty value counts as not set."""
        for source, values in self._places:
            value = values.get(variable)
            value = value.strip() if isinstance(value, str) else value
            if value is not None and value != "":
                return value, source
        return None

    def place(self, variable: str, source: str) -> str:
        """Return file and line in brackets, if a setting was found in a file, or ""."""
        line = self._lines.get(source, {}).get(variable)
        return f" ({source}, line {line})" if line else ""

    def account(self) -> Account | None:
        """Return the account that IMAGEN_PROVIDER names; None if it is not set."""
        name = "IMAGEN_PROVIDER"
        found = self(name)
        return find_account(name + self.place(name, found[1]), found[0]) if found else None

    def base_owner(self) -> Account:
        """Return the account that IMAGEN_BASE_URL is meant for; no other's key goes there.

        It is the one that IMAGEN_PROVIDER names. fal and the demo have one address each: beside
        their names the variable is left from, or meant for, the gateway.
        """
        account = self.account()
        return GATEWAY if account in {None, FAL, DEMO} else account


def _current(path: Path, parse: Parse) -> _File | None:
    """Return a file as it is now, or as it was before it vanished; None if there was none."""
    known, facts = _files.get(path), None
    with suppress(OSError):
        facts = path.stat()
    if facts is not None and not stat.S_ISREG(facts.st_mode):  # a folder may be called .env
        facts = None
    if facts is None or (facts.st_size == 0 and known is not None):  # it is being written
        if known is None:
            return None
        names = ", ".join(name for name in known.values or () if name in _VARIABLES)
        if names and not known.gone:
            what = "is empty" if facts else "is gone"
            stay = "stay" if ", " in names else "stays"
            _notices.append(f"{path} {what}; {names} from there {stay} in force in this kernel.")
        known.gone = True
        return known
    stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    if known is None or known.stamp != stamp:
        lines: Lines = {}
        known = _files[path] = _File(stamp, lines, parse(path, _text_of(path), lines))
    known.gone = False
    return known


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, 1, (error.strerror or "error").lower()) from None
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _unreadable(path, line, "a byte is not UTF-8") from None
    text = text.replace("\ufeff", "")  # also in the middle, where files were joined
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise _unreadable(path, line, "a character is NUL; save the file as UTF-8")
    return text


def _parse_dotenv(path: Path, text: str, lines: Lines) -> Values | None:
    import dotenv.parser

    for binding in dotenv.parser.parse_stream(io.StringIO(text)):
        string, name = binding.original.string, binding.key or ""
        line = binding.original.line + string[: len(string) - len(string.lstrip())].count("\n")
        if binding.error:
            raise _unreadable(path, line, "that is not NAME=value")
        if name.upper().startswith(_PREFIX) and name not in _VARIABLES:
            raise _unknown(f"{name} in {path}, line {line}", _near(name))
        if name in _VARIABLES and binding.value is None:
            raise _unreadable(path, line, f"{name} has no value")
        lines[name] = line  # of the last one, which counts
    return dotenv.dotenv_values(stream=io.StringIO(text))


def _parse_pyproject(path: Path, text: str, lines: Lines) -> Values | None:
    import tomllib

    try:
        tool = tomllib.loads(text).get("tool")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise _unreadable(path, line, "that is not TOML") from None
    tables = tool if isinstance(tool, dict) else {}
    table = tables.get(_TABLE)
    if table is None:
        for name in get_close_matches(_TABLE, tables, 1, _NEAR_MISS):
            line = _line_of(name, text)
            raise _unknown(f"[tool.{name}] in {path}, line {line}", f"[tool.{_TABLE}]")
        return None
    if not isinstance(table, dict):
        raise _unreadable(path, _line_of(_TABLE, text), f"tool.{_TABLE} is not a table")
    values: dict[str, object] = {}
    for name, value in table.items():
        line, variable = _line_of(name, text), _PREFIX + name.upper().replace("-", "_")
        if {variable, variable.removeprefix(_PREFIX)} & _KEYS:
            remedy = "Move it to the environment or a .env file; people commit this file."
            raise InvalidRequest(f"{name} in {path}, line {line}, is a key.", remedy=remedy)
        if variable not in _VARIABLES:
            near = _near(variable).removeprefix(_PREFIX).lower().replace("_", "-")
            raise _unknown(f"{name} in {path}, line {line}", near)
        if variable in values:
            raise _unreadable(path, line, f"{name} is set twice")
        values[variable], lines[variable] = value, line
    return values


def _near(name: str) -> str:
    """Return the setting that a name was probably meant to be, or ""."""
    bare = {known.removeprefix(_PREFIX).replace("_", ""): known for known in _VARIABLES}
    wanted = re.sub("[_-]", "", name.upper().removeprefix(_PREFIX))
    return "".join(bare[match] for match in get_close_matches(wanted, bare, 1, _NEAR_MISS))


def _line_of(name: str, text: str) -> int:
    """Return the line where a name of our table stands, as far as plain search can say."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if _TABLE in line), 0)
    key = re.compile(rf"(.*[.{{,\s])?[\"']?{re.escape(name)}[\"']?\s*[=.\]]")
    return next((i for i, line in enumerate(lines[start:], start) if key.match(line)), start) + 1


def _unknown(what: str, near: str) -> InvalidRequest:
    remedy = f"Did you mean {near}?" if near else "Correct the name or remove it."
    return InvalidRequest(f"{what}, is not a setting.", remedy=remedy)


def _unreadable(path: Path, line: int, why: str) -> InvalidRequest:
    remedy = "Correct it."
    if path.suffix:  # somebody else's pyproject.toml above the notebook
        remedy = f"Correct it, or put a pyproject.toml with [tool.{_TABLE}] beside the notebook."
    what = f"{path}, line {line}, cannot be read: {why}"
    return InvalidRequest(f"{what}. A cap or a key in it would be lost.", remedy=remedy)
