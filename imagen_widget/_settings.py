"""Settings: which account, which key, where files go, what may be spent.

`Settings` is the one table: environment variables, keyword arguments, traits and the docs page are
made from it. A new setting is one field there.

The first source that names a setting wins: argument, environment, `.env` file,
`[tool.imagen-widget]` in a pyproject.toml beside or above the notebook, default. A value that
cannot be understood is an error that names its setting, never the default in silence: a cap that
cannot be read must not become no cap. A key is sent to its own provider only; after the argument
and what was typed at `login` it is looked for in the environment, `.env`, keyring and Colab.
"""

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
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NoReturn, cast
from weakref import WeakValueDictionary

from imagen_widget.errors import CredentialsError, InvalidRequest, shown

MAX_SECONDS = 366 * 86_400.0  # longer waits overflow the timers of some systems
MAX_DOLLARS = 10**9
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})  # what surely means this machine
_PREFIX = "IMAGEN_"

Period = Literal["day", "month"]
Scope = Literal["all", "user"]

_AMOUNT = re.compile(r"\$?\s*(\d+(?:\.\d+)?|\.\d+)", re.ASCII)
_MODEL_NAME = re.compile(r"[\w.:@/-]+")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
YES_OR_NO = {"1": True, "true": True, "yes": True, "on": True}
YES_OR_NO |= {"0": False, "false": False, "no": False, "off": False}
_KEYRING_SERVICE = "imagen_widget"
_PLACEHOLDER = re.compile(
    r"<.*>|\[.*\]|\(.*\)|\$?\{.*\}|\$\w+|%\w+%|(\w{2,4}-)?[x*.…-]+|change[-_ ]?me|to[-_ ]?do"
    r"|none|null|nil|undefined|n/a|true|false|0|placeholder|dummy|secret|api[-_ ]?token"
    r"|.*(\.\.\.|\*\*\*).*|.*\b(your|my)[-_ ]?\w*[-_ ]?(key|token|secret).*"
    r"|(put|paste|insert|enter|replace)[-_ ].*(key|token|me|this).*|(\w+_)?(api[-_ ]?)?key"
    r"|.*key[-_ ](goes[-_ ])?here|(\w+_)?key_id:(\w+_)?key_secret",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(r"(export\s+)?[A-Z][A-Z0-9_]*_(KEY|ID|SECRET)\s*=.*", re.DOTALL)
_OF_FAL = re.compile(r"[0-9a-f-]{32,36}:[0-9a-f]{8,}", re.IGNORECASE)


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
    by_model: tuple[tuple[str, Decimal], ...] = ()  # by ids and aliases in lower case

    def for_model(self, model_id: str, alias: str = "") -> Decimal | None:
        """Return the price set for a model under its id or its alias; None if not set."""
        named = dict(self.by_model)
        return named.get(model_id.lower(), named.get(alias.lower(), self.default))


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


def find_account(name: object) -> Account | None:
    """Return the account of that name: a built-in one, or one of an installed package's."""
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
    return None


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
        """Return the bytes with the key, plain or escaped as JSON or in an address, as `***`.

        JSON may be in UTF-16, too.
        """
        text = self.reveal()
        quoted = json.dumps(text)[1:-1]
        codings = ("utf-8", "utf-16-le", "utf-16-be") if b"\0" in data else ("utf-8",)
        for form in {text, quoted, quoted.replace("/", "\\/"), urllib.parse.quote(text, safe="")}:
            for coding in codings:
                data = data.replace(form.encode(coding), "***".encode(coding))
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


def usable_key(key: object, label: str) -> Secret:
    """Return a key, hidden; `label` says where it was found, if that is refused."""
    if isinstance(key, Secret):
        return key
    text = key.strip("\ufeff \t\r\n\xa0") if isinstance(key, str) else "\0"
    variable = label.partition(" (")[0]
    problem, remedy = "", "Copy the key again, without anything around it."
    if not text:
        problem, remedy = "is empty", f"Set {variable} to your key."
    elif _ASSIGNED.fullmatch(text):
        problem = "holds a whole line of a settings file, including its name"
    elif _PLACEHOLDER.fullmatch(text):
        problem, remedy = "holds a placeholder", f"Set {variable} to your own key."
    elif {text[0], text[-1]} & {*"\"'`,;"} or not all("!" <= c <= "~" for c in text):
        problem = "holds a character that no key has (a quote mark, a blank, a comma, a line end)"
    if problem:
        del key, text  # tracebacks that show variables must not have it
        raise CredentialsError(f"{label} {problem}; nothing was sent.", remedy=remedy)
    return Secret(text)


def _check_place(key: Secret, account: Account, base_url: str, *, named: bool) -> None:
    """Refuse to send a key to another's host, and one of fal's form to any but fal's.

    This machine counts as fal's if fal is `named`.
    """
    host, owner = urllib.parse.urlsplit(base_url).hostname or "", _owner_of(base_url)
    local = named and account is FAL and host in LOOPBACK
    if _OF_FAL.fullmatch(key.reveal()) and not local and owner is not FAL:
        raise CredentialsError(
            f"The key has the form of fal's keys, which are sent to fal only and never to {host}.",
            remedy=f"Set IMAGEN_PROVIDER=fal and FAL_KEY, or use a key for {host}.",
        )
    if owner not in {None, account, _owner_of(account.base_url)}:
        raise CredentialsError(
            f"The key is {account.title}'s, and {host} is {owner.title}'s host; nothing was sent.",
            remedy=f"Set IMAGEN_PROVIDER={owner.name}, or leave out IMAGEN_BASE_URL.",
        )


def _owner_of(base_url: str) -> Account | None:
    """Return the account whose own host this is, by its domain; None of any other host."""

    def domain(url: str) -> str:
        host = urllib.parse.urlsplit(url).hostname or ""
        return ".".join(host.split(".")[-2:]).replace("fal.ai", "fal.run")

    return next((a for a in ACCOUNTS.values() if domain(a.base_url) == domain(base_url)), None)


# --------------------------------------------------------------------- what a value may be


@dataclass(frozen=True)
class Found:
    """A value that is set somewhere."""

    value: object = field(repr=False)  # it may be a key
    source: str  # `argument`, `environment`, or a file
    label: str  # the variable, with file and line if it stands in a file


@dataclass(frozen=True)
class _Kind:
    """A kind of value: `convert` returns what a value means.

    It returns None, or raises what Python's own conversions raise, if that means nothing.
    """

    problem: str  # of a value that cannot be converted
    remedy: str
    private: bool = False  # the value may hold a password
    convert: Callable[..., Any] = str

    def __call__(self, convert: Callable[..., Any]) -> "_Kind":
        return replace(self, convert=convert)

    def variant(self, **options: Any) -> "_Kind":
        return self(partial(self.convert, **options))

    def read(self, found: Found, field: str) -> Any:
        try:
            read = self.convert(found.value)
            if isinstance(read, Path) and not read.is_absolute():
                kept = None if found.source == "argument" else _settings_folder()
                read = (kept or Path.cwd()) / read
        except InvalidRequest:
            raise
        except (ArithmeticError, AttributeError, OSError, RuntimeError, TypeError, ValueError):
            read = None
        if read is None:
            given = "that" if self.private else shown(found.value)
            what = f"{found.label}: {given} {self.problem}."
            raise InvalidRequest(what, remedy=self.remedy, field=field)
        return read


def _plain(value: object) -> str:
    """Return the text of a value; 1e-05 is an amount as a number, a typing error as a text."""
    number = isinstance(value, float | Decimal)
    return format(Decimal(str(value)), "f") if number else str(value).strip()


@_Kind("is not text", "Give it in quotes.")
def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


@_Kind("is not a number of seconds", "Give seconds, like 300.")
def _seconds(value: Any, *, least: float = 1e-300, texts: bool = True) -> float | None:
    is_number = isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool)
    seconds = float(value if is_number or (texts and isinstance(value, str)) else "nan")
    return min(seconds, MAX_SECONDS) if least <= seconds < float("inf") else None


@_Kind("is neither yes nor no", "Use 1 or 0.")
def _switch(value: object) -> bool | None:
    return YES_OR_NO.get(str(value).strip().lower())


def read_dollars(value: object) -> Decimal:
    """Return an amount; raises ValueError if it is not one."""
    match = _AMOUNT.fullmatch(_plain(value))
    if match is None or Decimal(match[1]) >= MAX_DOLLARS:
        raise ValueError
    return Decimal(match[1])


@_Kind("is not an amount", "Give US dollars with a point, like 2.50, 2.50/day or 40/month.")
def _budget(value: object, scope: Scope = "all") -> Budget | None:
    limits: dict[str, Limit] = {}
    for part in _plain(value).split(","):
        amount, slash, period = part.partition("/")
        period = period.strip().lower() if slash else "day"
        if period not in {"day", "month"} or period in limits:
            return None
        limits[period] = Limit(read_dollars(amount), cast("Period", period), scope)
    return tuple(limits.values())


@_Kind(
    "does not give each model one price",
    "Give US dollars a picture, like 0.05, or by model: imagen4=0.05, fal-ai/flux/dev=0.03.",
)
def _prices(value: object) -> Prices | None:
    prices: dict[str, Decimal] = {}
    if isinstance(value, Mapping):  # a table in pyproject.toml
        parts = [f"{name}={_plain(amount)}" for name, amount in value.items()]
    else:
        parts = _plain(value).split(",")
    for part in parts:
        name, equals, amount = part.rpartition("=")
        name = name.strip().lower()
        if name in prices or (equals and not _MODEL_NAME.fullmatch(name)):
            return None
        prices[name] = read_dollars(amount)
    default = prices.pop("", None)
    return Prices(default, tuple(prices.items()))


@_Kind("is not a number of pictures", "Give a whole number, like 2.")
def _count(value: object) -> str | None:
    number = _plain(value)
    is_whole = number.isascii() and number.isdecimal()
    return number if is_whole and int(number[:10]) > 0 else None


@_Kind(
    "does not name hosts",
    "Use public, private, or host names with commas, like cdn.example, 10.0.0.7.",
)
def _hosts(value: Any) -> str | tuple[str, ...]:
    parts = value if isinstance(value, list | tuple) else value.split(",")
    hosts = tuple(str(part).strip().lower().removeprefix("*.") for part in parts)
    if len(hosts) == 1 and hosts[0] in {"public", "private"}:
        return hosts[0]
    for host in hosts:
        if not _HOST.fullmatch(host) or host in {"public", "private"}:
            ipaddress.ip_address(host)
    return hosts


@_Kind(
    "is not where schemas can be read",
    "Use auto, off, or an https:// address that contains {endpoint}.",
)
def _schemas(value: object) -> str | None:
    text = str(value).strip()
    if text.lower() in {"auto", "off"}:
        return text.lower()
    secure = _is_secure(urllib.parse.urlsplit(text))
    return text if secure and "{endpoint}" in text and text.isprintable() else None


@_Kind(
    "is not the address of a database",
    "Give it like postgresql://user@host/database, or leave it out for a file.",
    private=True,
)
def _database(value: object) -> str | None:
    text = str(value).strip()
    return text if text.startswith(("postgresql://", "postgres://")) else None


@_Kind("is not a folder", "Give the full path of a writable folder.")
def _folder(value: Any) -> Path | None:
    is_path = str(value) and "\0" not in str(value) and "://" not in str(value)
    return Path(value).expanduser() if is_path else None


@_Kind(
    "is not a gateway's address; a key is only sent over https (http to this machine excepted)",
    "Give it like https://host or https://host/prefix.",
    private=True,
)
def _address(value: object) -> str | None:
    """Return a base address without its trailing slash: https, or http to this machine."""
    url = str(value).strip()
    parts = urllib.parse.urlsplit(url)
    if not _HOST.fullmatch(host := parts.hostname or "") or "[" in parts.netloc:
        ipaddress.ip_address(host)
    usable = parts.port != 0 and ".." not in parts.path.split("/")
    if not usable or not _is_secure(parts) or any(c in url for c in "@?#\\ "):
        return None
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}" if url.isprintable() else None


def _is_secure(parts: urllib.parse.SplitResult) -> bool:
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


_provider = _Kind("is not a provider", f"Use one of {', '.join(ACCOUNTS)}.")(find_account)
_any_text = _text(str)  # the rest depends on the model


@_folder
def _store(value: object) -> str | Path | None:
    return str(value) if "://" in str(value) else _folder.convert(value)


def check_timeout(value: object) -> float:
    """Return a timeout given in Python: a finite number above 0, and neither a text nor a bool."""
    kind = _seconds.variant(texts=False)
    return float(kind.read(Found(value, "argument", "timeout"), "timeout"))


# ---------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    name: str  # the keyword argument, and the magic's trait
    kind: _Kind
    example: str  # a value as it stands in a file
    help: str  # what it means, in a few words of Markdown
    unset: str = ""  # what holds if nothing sets it, in words if `default` does not say it
    default: Any = None

    @property
    def variable(self) -> str:
        """The environment variable; pyproject.toml has the name with hyphens."""
        return f"{_PREFIX}{self.name.upper()}"


def _row(
    kind: _Kind,
    example: str,
    help: str,
    unset: str = "",
    default: Any = None,
    *,
    name: str = "",
    compare: bool = True,
    repr: bool = True,
) -> Any:
    row = Setting(name, kind, example, help, unset, default)
    return field(metadata={"row": row}, compare=compare, repr=repr)


def _preset(kind: _Kind, example: str, what: str) -> Any:
    about = f"{what} that the magic asks for"
    return _row(kind, example, about, "the model's own", compare=False)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a studio needs to know, found and checked; two are equal if they act alike.

    Each field is a row of the table, but for these:

    Attributes:
        key: The key for `base_url` and no other; None if missing or not needed.
        user: Who works here, as a label.
        found: Value, source and label of what is set of the rows and of `api_key`, by name.
    """

    account: Account = _row(
        _provider,
        "fal",
        "which account answers: `kkiai`, `fal`, `openai`, `demo` or an installed one, see below",
        "the first whose key is found, else `demo`",
        name="provider",
    )
    base_url: str = _row(
        _address,
        "https://gateway.example/fal",
        "another host with the same routes; `http://` to this machine only",
        "the provider's own",
    )
    key: Secret | None
    model: str | None = _row(
        *(_text, "nano-banana", "an alias of `%imagen_models`, or an endpoint id"),
        "the provider's, see below",
    )
    home: Path = _row(
        _folder, "/data/pictures", "where history and pictures are kept", "your user data folder"
    )
    journal: str | None = _row(
        *(_database, "postgresql://team@db.example/imagen"),
        *("a PostgreSQL database that a team shares", "a file in the home"),
        repr=False,  # it may hold a password
    )
    store: str | None = _row(
        *(_store, "s3://bucket/pictures"),
        *("another folder for the pictures, or an fsspec address", "`images` in the home"),
    )
    budget: Budget = _row(
        *(_budget, "2.50/day, 40/month"),
        "cap in US dollars a calendar day (`2.50` alone) or month, for all users of the journal",
        *("no cap", ()),
        name="max_spend",
    )
    max_spend_user: Budget = _row(  # these are in `budget` too
        *(_budget.variant(scope="user"), "1/day"),
        *("the same for each user of a shared journal", "no cap"),
        default=(),
    )
    price: Prices = _row(
        *(_prices, "imagen4=0.05, fal-ai/flux/dev=0.03"),
        "US dollars that a picture costs you: one amount, or by model",
        *("the list price", Prices()),
    )
    reuse: bool = _row(_switch, "0", "whether the magic may answer from history", default=True)
    timeout: float = _row(
        _seconds, "600", "seconds for a job, sending and waiting included", default=300.0
    )
    poll_seconds: float | None = _row(
        *(_seconds, "2", "shortest time in seconds between two status checks"),
        "`1` on gateways, `0.1` on fal",
    )
    schemas: str = _row(
        *(_schemas, "off"),
        "where fields of unknown models are read: `auto`, `off`, or an address with `{endpoint}`",
        default="auto",
    )
    media_hosts: str | tuple[str, ...] = _row(
        *(_hosts, "cdn.example, 10.0.0.7"),
        "where pictures may be fetched from: `public`, `private`, or host names",
        default="public",
    )
    upload: bool = _row(
        _switch, "1", "put input pictures at a public address of the provider", default=False
    )
    provenance: bool = _row(
        _switch, "0", "whether saved copies carry prompt and settings", default=True
    )
    demo_seconds: float = _row(
        _seconds.variant(least=0), "0", "how long a job takes on the demo", default=4.0
    )
    aspect_ratio: str | None = _preset(_any_text, "16:9", "aspect ratio")
    num_images: str | None = _preset(_count, "2", "number of pictures")
    resolution: str | None = _preset(_any_text, "2K", "resolution")
    output_format: str | None = _preset(_any_text, "jpeg", "file format")
    save_dir: Path | None = _row(
        _folder, "pictures", "the magic also saves copies there", "none", compare=False
    )
    quiet: bool = _row(
        *(_switch, "1", "the magic shows nothing and only returns its result"),
        default=False,
        compare=False,
    )
    user: str
    found: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def default_model(self) -> str:
        """The model of a call that names none: what was set, else the account's."""
        return self.model or self.account.default_model

    def blamed(self, name: str, error: InvalidRequest) -> InvalidRequest:
        """Return an error about a field as one about the setting that its value is from."""
        before, found, after = error.message.partition(f"{error.field}: ")
        message = f"{self.found[name].label}: {after if found else before}"
        return InvalidRequest(message, remedy=error.remedy, field=error.field)

    @property
    def sources(self) -> dict[str, str]:
        """Where each setting was found: `argument`, `environment`, a file, or `default`."""
        names = [*(setting.name for setting in SETTINGS), "api_key"]
        return {n: self.found[n].source if n in self.found else "default" for n in names}

    @property
    def presets(self) -> dict[str, str]:
        """The defaults of the magic, by field."""
        return {n: value for n in sorted(PRESETS) if (value := getattr(self, n)) is not None}


_ROWS = {f.name: f.metadata["row"] for f in fields(Settings) if f.metadata}
SETTINGS = tuple(replace(row, name=row.name or name) for name, row in _ROWS.items())
PRESETS = frozenset({"aspect_ratio", "num_images", "resolution", "output_format"})
_BY_VARIABLE = {setting.variable: setting for setting in SETTINGS}
_NAMES = frozenset(setting.name for setting in SETTINGS)
_KEYS = {n for a in ACCOUNTS.values() for names in a.key_variables for n in names.split(":")}
_VARIABLES = _KEYS | _BY_VARIABLE.keys()


# ----------------------------------------------------------------------- the settings in force


def load_settings(**given: Any) -> Settings:
    """Return the settings in force now; what is not given, or None, is looked up.

    They go by the names in `SETTINGS`, and `api_key`. A key that is not usable, or not one for this
    host, is an error; a missing one passes.
    """
    key = None  # hidden at once: tracebacks that show variables must not have it
    if given.get("api_key") is not None:
        key = usable_key(given.pop("api_key"), "api_key")
    given.pop("api_key", None)
    if unknown := given.keys() - _NAMES:
        given.clear()  # one of them may be a key by a wrong name
        near = _near(min(unknown)).removeprefix(_PREFIX).lower()
        raise _refused(f"{min(unknown)!r} is not the name of a setting", near)
    kept = _look_up()
    found: dict[str, Found] = {}
    values: dict[str, Any] = {}
    for variable, setting in _BY_VARIABLE.items():
        name = setting.name
        if given.get(name) is not None:
            found[name] = Found(given[name], "argument", variable)
        elif variable in kept:
            found[name] = kept[variable]
        values[name] = setting.kind.read(found[name], name) if name in found else setting.default
    named = values.pop("provider")
    if named is None and given.get("base_url") is not None:
        named = _owner_of(values["base_url"]) or GATEWAY  # no other key goes there
    account, key, source = _choose_account(named, key, kept)
    if source:
        found["api_key"] = Found("", source, "api_key")
    # IMAGEN_BASE_URL is for the account that IMAGEN_PROVIDER names, and no other's key goes there.
    # fal and the demo have one address each: beside their names it is meant for the gateway.
    base = found.get("base_url")
    if base and base.source != "argument":
        owner = _named_account(kept)
        owner = GATEWAY if owner in {None, FAL, DEMO} else owner
        if account is not owner:
            del found["base_url"], values["base_url"]
            if "provider" not in found:
                what = f"IMAGEN_BASE_URL ({base.source}) is not used: there is no IMAGEN_API_KEY"
                remedy = "Set IMAGEN_API_KEY to the key of that address."
                _notices.setdefault(base.label, f"{what}, so {account.title} answers. {remedy}")
    try:
        user = os.environ.get("JUPYTERHUB_USER") or getpass.getuser()
    except (ImportError, KeyError, OSError):  # a uid without a name, as in many containers
        user = f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"
    store = values.pop("store")
    settings = Settings(
        account=account,
        base_url=values.pop("base_url", None) or account.base_url,
        key=key,
        home=values.pop("home") or _default_home(),
        store=None if store is None else str(store),
        budget=values.pop("max_spend") + values["max_spend_user"],
        user=user,
        found=found,
        **values,
    )
    if key is not None:
        _check_place(key, account, settings.base_url, named="provider" in found)
    return settings


def check_key(settings: Settings) -> None:
    """Refuse to go on without the key that the account needs."""
    account = settings.account
    if settings.key is None and account.key_variables:
        raise CredentialsError(
            f"There is no key for {account.title}.",
            remedy=f"Set {account.key_variables[0]} in the environment or a .env file, "
            "or call imagen_widget.login(); IMAGEN_PROVIDER=demo needs none.",
        )


def _choose_account(
    named: Account | None, key: Secret | None, kept: Mapping[str, Found]
) -> tuple[Account, Secret | None, str]:
    """Return the account that is named, or the first that has a key; its key; where that was."""
    candidates = list(ACCOUNTS.values())
    if named is not None:
        candidates = [named]
    elif key is not None:
        candidates = [FAL if _OF_FAL.fullmatch(key.reveal()) else GATEWAY]
    for account in candidates:
        if account.key_variables:
            found = _find_key(account, kept) if key is None else (key, "argument")
            if found is not None:
                return account, *found
    return candidates[-1], None, ""


def _named_account(kept: Mapping[str, Found]) -> Any:
    found = kept.get("IMAGEN_PROVIDER")
    return _provider.read(found, "provider") if found else None


def _default_home() -> Path:
    import platformdirs

    home = Path(platformdirs.user_data_dir("imagen_widget", appauthor=False))
    if not home.is_absolute():  # without HOME, for a user without a name, it begins with ~
        raise InvalidRequest(
            "IMAGEN_HOME: this user has no home folder for history and pictures.",
            remedy="Set IMAGEN_HOME to a writable folder.",
            field="home",
        )
    return home


# --------------------------------------------------------------------------------- finding a key

_typed: dict[str, Secret] = {}  # what `login` was told, by variable
_remembered: dict[str, Found] = {}  # what keyring and Colab said


def _find_key(account: Account, kept: Mapping[str, Found]) -> tuple[Secret, str] | None:
    if account.key_variables[0] in _typed:
        return _typed[account.key_variables[0]], "login()"
    inherited = {name: found for name, found in kept.items() if found.source == "environment"}
    for look in (inherited.get, kept.get, _recall):
        for names in account.key_variables:
            parts = list(map(look, names.split(":")))
            found = [part for part in parts if part is not None]
            if len(found) == len(parts):
                key = [usable_key(part.value, part.label).reveal() for part in found]
                return Secret(":".join(key)), found[0].source
    return None


def login() -> None:
    """Ask for a key without showing it, use it in this process, and offer to remember it.

    The key is kept in this process's memory, out of the environment that child processes get, and
    in the system keyring if you say so and the `keyring` package is installed. It is never written
    into the notebook.

    Raises:
        CredentialsError: Nobody can be asked here, or what was typed is not a key.
    """
    account: Account = _named_account(_look_up()) or GATEWAY
    if not account.key_variables:
        what = f"The provider {account.name} needs no key."
        raise CredentialsError(what, remedy="Set IMAGEN_PROVIDER to kkiai, fal or openai first.")
    variable = account.key_variables[0]
    try:
        key = usable_key(getpass.getpass(f"Key for {account.title} ({variable}): "), variable)
    except CredentialsError:
        raise
    except Exception as error:  # front ends have errors of their own for it
        remedy = f"Set {variable} in the environment instead."
        raise CredentialsError("There is nobody here to ask for a key.", remedy=remedy) from error
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


def _recall(name: str) -> Found | None:
    """Return what keyring or Colab keeps under a name; broken ones keep nothing."""
    text, source = "", "system keyring"
    if name in _remembered:
        return _remembered[name]
    with suppress(Exception):  # a locked or broken keyring is the same as no keyring
        text = _keyring().get_password(_KEYRING_SERVICE, name)
    if not text and "google.colab" in sys.modules:
        with suppress(Exception):  # there is no such secret, or access is not granted
            text = importlib.import_module("google.colab.userdata").get(name)
            source = "Colab secret"
    if text:
        _remembered[name] = Found(usable_key(text, name), source, name)
    return _remembered.get(name)


# ---------------------------------------------------------------- what is never a field of a model

RESERVED = frozenset(
    {"api_key", "key", "token", "authorization", "provider", "base_url", "home", "journal", "store"}
)  # a key would be sent, kept and shown with them

_SECRET = re.compile(  # the names that keys, tokens and passwords have
    r"(.*[_\W])?(secret|password|passwd|bearer|auth(orization)?|credentials?)([_\W].*)?"
    r"|.*([_-]key|token|apikey)"
)
_CAPITAL = re.compile("(?<=[a-z0-9])(?=[A-Z])")  # that begins a word, as in clientSecret
# All but those that models nobody knows may have as fields.
_NEVER_FIELDS = _NAMES - PRESETS - {"model", "quiet", "reuse", "timeout", "upload"}


def refuse_reserved(names: Iterable[str], *, taken: Iterable[str] | None = None) -> None:
    """Refuse the names of settings and of secrets as fields, before anything is written down.

    Of a mapping, the names inside its values are looked at too. `taken` are the model's own fields:
    one of them may be called like a secret.
    """
    own = list(names)
    for given in (own, *(names.values() if isinstance(names, Mapping) else ())):
        for name in map(str, given if given is own or isinstance(given, Mapping) else ()):
            plain = _CAPITAL.sub("_", name.strip()).lower().replace("-", "_")
            is_secret = _SECRET.fullmatch(plain) is not None
            if given is not own and not is_secret:  # only names like those of secrets count there
                continue
            reserved = plain in RESERVED or plain.replace("_", "").endswith(("apikey", "falkey"))
            private = plain in _NEVER_FIELDS or plain.startswith(("imagen_", "fal_key"))
            if reserved or ((private or is_secret) and taken is not None and name not in taken):
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
_NEAR_MISS = 0.8  # of 1: IMAGEN_MAX_SPENT is taken for a typing error, IMAGEN_PROJECT is not
_NOTEBOOKS = ("__vsc_ipynb_file__", "PAPERMILL_INPUT_PATH")  # names that front ends give it

Values = dict[str, Found]  # by environment variable
Stamp = tuple[int, int, int]

# Threads share these without a lock: one that is held while the process forks would stay held.
_files: dict[Path, tuple[Stamp, Values | None]] = {}  # None: without settings of ours
_notices: dict[str, str] = {}  # by their cause; "" once it was said
# The package notes the folder of its import as a text; this module may be imported much later.
_start: str | None = sys.modules["imagen_widget"]._imported_in


def forget_settings() -> None:
    """Find folder, files and keys again at the next call, as a new kernel would."""
    global _start
    _start = None
    _settings_folder.cache_clear()
    for memory in (_files, _notices, _typed, _remembered):
        memory.clear()


def notices() -> list[str]:
    """Return what there is to say about files and settings; each line once."""
    noted = dict(_notices)
    _notices.update(dict.fromkeys(noted, ""))
    return list(filter(None, noted.values()))


@cache
def _settings_folder() -> Path | None:
    """Return the folder of the notebook if VS Code, papermill or Jupyter names it.

    Else it is the one where this process began; None if that was deleted.
    """
    start = None
    with suppress(OSError):  # it was deleted
        start = Path(_start or Path.cwd())
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:  # a script that a notebook started inherits the variable too
        return start
    for name in (*map(shell.user_ns.get, _NOTEBOOKS), os.environ.get("JPY_SESSION_NAME")):
        with suppress(OSError, TypeError, ValueError):
            notebook = Path(start or "/", name)
            is_here = Path(name).is_absolute() or notebook.is_file()
            if is_here and notebook.parent.is_dir():
                return notebook.parent
    return start


def _look_up() -> Values:
    """Return what environment and files set, by variable; refuse what is not a setting."""
    found: Values = {}
    for name, value in os.environ.items():
        if name.upper().startswith(_PREFIX) and name not in _VARIABLES and (near := _near(name)):
            raise _refused(f"{name}, set in the environment, is not a setting", near)
        _note(found, name, value, "environment")
    folder = _settings_folder()
    if folder is not None:
        found = {**(_current(folder / ".env", _parse_dotenv) or {}), **found}
        for place in (folder, *folder.parents):
            table = _current(place / "pyproject.toml", _parse_pyproject)
            if table is not None:
                return {**table, **found}
    return found


def _note(found: Values, name: str, value: object, source: str, line: int = 0) -> None:
    """Note what one line sets; an empty value counts as not set."""
    value = value.strip() if isinstance(value, str) else value
    if value is not None and value != "":
        label = f"{name} ({source}, line {line})" if line else name
        found[name] = Found(value, source, label)


def _current(path: Path, parse: Callable[[Path, str], Values | None]) -> Values | None:
    """Return what a file sets, or did before it vanished; None if it has no settings of ours."""
    stamp = None
    with suppress(OSError):
        facts = path.stat()
        if stat.S_ISREG(facts.st_mode):  # a folder may be called .env
            stamp = facts.st_size, facts.st_mtime_ns, facts.st_ino
        elif stat.S_ISFIFO(facts.st_mode):
            raise _unreadable(path, 1, "it is a pipe and not a file")
    before, found = _files.get(path, (None, None))
    if stamp is None and before is None and path.is_symlink():
        raise _unreadable(path, 1, "it is a broken link")
    if stamp is None or (before and stamp[0] == 0):  # an empty one is being written
        if names := sorted(_VARIABLES & (found or {}).keys()):
            stay = "stay" if len(names) > 1 else "stays"
            line = f"{', '.join(names)} from there {stay} in force in this kernel."
            _notices.setdefault(str(path), f"{path} is {'empty' if stamp else 'gone'}; {line}")
        return found
    if stamp != before:
        found = parse(path, _text_of(path))
        _files[path] = stamp, found
    _notices.pop(str(path), None)
    return found


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, 1, (error.strerror or "error").lower()) from None
    try:
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _unreadable(path, line, f"a byte is not {error.encoding}") from None
    before, nul, _ = text.partition("\0")
    if nul:
        raise _unreadable(path, before.count("\n") + 1, "a character is NUL")
    return text.replace("\ufeff", "")  # also in the middle, where files were joined


def _parse_dotenv(path: Path, text: str) -> Values:
    import dotenv.parser

    lines: dict[str, tuple[int, str | None]] = {}  # with what was typed; the last one counts
    for binding in dotenv.parser.parse_stream(io.StringIO(text)):
        string, name = binding.original.string, binding.key or ""
        line = binding.original.line + string[: len(string) - len(string.lstrip())].count("\n")
        ours = name in _VARIABLES
        if binding.error or (ours and binding.value is None):
            raise _unreadable(path, line, "that is not NAME=value")
        # As PowerShell sets it, in quotes, or with other signs.
        plain = re.sub(r"\W", "_", name.upper().removeprefix("$ENV:")).strip("_")
        if not ours and (plain.startswith(_PREFIX) or plain in _VARIABLES):
            raise _refused(f"{name} in {path}, line {line}, is not a setting", _near(plain))
        lines[name] = line, binding.value
    found: Values = {}
    for name, value in dotenv.dotenv_values(stream=io.StringIO(text)).items():
        line, typed = lines[name]
        if name in _VARIABLES and typed and not value:
            raise _unreadable(path, line, f"the variable that {name} takes its value from is empty")
        _note(found, name, value, str(path), line)
    return found


def _parse_pyproject(path: Path, text: str) -> Values | None:
    import tomllib

    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        told = re.search(r"line (\d+)", str(error))
        line = int(told[1]) if told else text.count("\n") + 1
        raise _unreadable(path, line, "that is not TOML") from None
    tables = {name: inner for name, inner in document.items() if isinstance(inner, dict)}
    table = tables.get("tool", {}).get(_TABLE)
    if table is None:
        names = [*tables, *(f"{name}.{under}" for name in tables for under in tables[name])]
        for name in get_close_matches(f"tool.{_TABLE}", names, 1, _NEAR_MISS):
            line = _line_of(name.rpartition(".")[2], text)
            what = f"[{name}] in {path}, line {line}, is not a setting"
            raise _refused(what, f"[tool.{_TABLE}]")
        return None
    if not isinstance(table, dict):
        raise _unreadable(path, _line_of(_TABLE, text), f"tool.{_TABLE} is not a table")
    found: Values = {}
    for name, value in table.items():
        line, bare = _line_of(name, text), name.upper().replace("-", "_")
        variable, where = _PREFIX + bare, f"{name} in {path}, line {line}"
        if {variable, bare} & _KEYS:
            remedy = "Move it to the environment or a .env file; people commit this file."
            raise InvalidRequest(f"{where}, is a key.", remedy=remedy)
        if variable not in _VARIABLES:
            near = _near(variable).removeprefix(_PREFIX).lower().replace("_", "-")
            raise _refused(f"{where}, is not a setting", near)
        if variable in found:
            raise _refused(f"{where}, is set twice")
        _note(found, variable, value, str(path), line)
    return found


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


def _refused(what: str, near: str = "") -> InvalidRequest:
    remedy = f"Did you mean {near}?" if near else "Correct the name or remove it."
    return InvalidRequest(f"{what}.", remedy=remedy)


def _unreadable(path: Path, line: int, why: str) -> InvalidRequest:
    remedy = "Correct it."
    if path.suffix:  # somebody else's pyproject.toml above the notebook
        remedy = f"Correct it, or put a pyproject.toml with [tool.{_TABLE}] beside the notebook."
    what = f"{path}, line {line}, cannot be read: {why}"
    return InvalidRequest(f"{what}. A cap or a key in it would be lost.", remedy=remedy)
