"""Settings: which account, which key, where files go, what may be spent.

The first source that names a setting wins: argument, environment, `.env` file,
`[tool.imagen-widget]` in a pyproject.toml beside or above the notebook, default. A key is sent to
its own provider only.
"""

import getpass
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagen_widget._settings import accounts, sources
from imagen_widget._settings.accounts import (
    ACCOUNTS,
    GATEWAY,
    Account,
    Secret,
    find_account,
    is_loopback,
    mask_logs,
    usable_key,
)
from imagen_widget._settings.sources import Lookup, notices, remember_folder
from imagen_widget._settings.table import (
    READERS,
    SETTINGS,
    Budget,
    Limit,
    Prices,
    Setting,
    check_base_url,
    check_network_environment,
    check_timeout,
    read_folder,
    read_place,
    settings_page,
)
from imagen_widget.errors import InvalidRequest

__all__ = [
    "ACCOUNTS",
    "READERS",
    "RESERVED",
    "SETTINGS",
    "Account",
    "Budget",
    "Limit",
    "Prices",
    "Secret",
    "Setting",
    "Settings",
    "check_base_url",
    "check_key",
    "check_network_environment",
    "check_timeout",
    "find_account",
    "forget_settings",
    "is_loopback",
    "load_settings",
    "login",
    "mask_logs",
    "notices",
    "refuse_reserved",
    "remember_folder",
    "settings_page",
    "usable_key",
]

RESERVED = frozenset(
    {"api_key", "key", "token", "authorization", "provider", "base_url", "home", "journal", "store"}
)  # never fields of a model: a key would be sent, kept and shown with them

_SECRET_WORDS = frozenset({"secret", "password", "passwd", "bearer", "authorization", "auth"})
_SECRET_WORDS |= {"credential", "credentials"}
_NEVER_FIELDS = frozenset(s.name for s in SETTINGS if s.kind != "preset")
_NEVER_FIELDS -= {"model", "quiet", "reuse", "timeout", "upload"}  # of models that nobody knows


@dataclass(frozen=True)
class Settings:
    """Everything that a studio needs to know, found and checked; two are equal if they act alike.

    Attributes:
        account: The provider's account.
        base_url: Where it answers, without a trailing slash; may carry a path.
        key: The key for that host and no other; None if there is none, or none is needed.
        model: The model that was set, as it was written; see `default_model`.
        home: The folder of history and pictures.
        journal: The address of a PostgreSQL journal; None for the file in the home.
        store: A folder or fsspec address for pictures; None for the one in the home.
        budget: The caps.
        price: What pictures cost you.
        poll_seconds: The status is never asked for more often; None for the provider's own pace.
        user: Who works here, as a label.
        presets: Defaults of the magic, by field.
        sources: Where each setting was found: `argument`, `environment`, a file, or `default`.
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
    presets: Mapping[str, str] = field(compare=False)
    sources: Mapping[str, str] = field(compare=False, repr=False)

    @property
    def default_model(self) -> str:
        """The model of a call that names none: what was set, else the account's."""
        return self.model or self.account.default_model


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
    if unknown := given.keys() - {setting.name for setting in SETTINGS}:
        raise TypeError(f"{min(unknown)!r} is not the name of a setting")
    environ = os.environ if environ is None else environ
    folder = folder or sources.settings_folder()
    look = Lookup(environ, folder)
    read: dict[str, Any] = {}
    found: dict[str, str] = {}
    for setting in SETTINGS:
        read[setting.name], found[setting.name] = _read(setting, given, look, folder)
    presets = {s.name: read.pop(s.name) for s in SETTINGS if s.kind == "preset"}
    account, key, found["api_key"] = _find_account(read.pop("provider"), key, look)
    base_url = read.pop("base_url")
    if found["base_url"] != "argument" and account is not _owner_of_base_url(look):
        base_url, found["base_url"] = None, "default"
    settings = Settings(
        account=account,
        base_url=base_url or account.base_url,
        key=key,
        home=read.pop("home") or _default_home(),
        budget=read.pop("max_spend") + read.pop("max_spend_user"),
        user=environ.get("JUPYTERHUB_USER") or _login_name(),
        presets={name: value for name, value in presets.items() if value is not None},
        sources=found,
        **read,
    )
    if key is not None:
        accounts.check_place(key, account, settings.base_url, named=found["provider"] != "default")
    if need_key:
        check_key(settings)
    return settings


def check_key(settings: Settings) -> None:
    """Refuse to go on without a key.

    Raises:
        CredentialsError: The account needs a key and none was found.
    """
    if settings.key is None and settings.account.key_variables:
        raise accounts.missing_key(settings.account)


def refuse_reserved(names: Iterable[str], *, taken: Iterable[str] | None = None) -> None:
    """Refuse the names of settings and of secrets as fields, before anything is written down.

    Args:
        names: What is given; of a mapping, the names inside its values are looked at too.
        taken: The model's own fields; if they are known, one of them may be called like a secret.

    Raises:
        InvalidRequest: One of them is reserved.
    """
    for name in _names_in(names):
        plain = name.lower().replace("-", "_")
        reserved = plain in RESERVED or plain.replace("_", "").endswith(("apikey", "falkey"))
        if reserved or (taken is not None and name not in taken and _is_private(plain)):
            raise InvalidRequest(
                f"{name[:60]} is a setting and not a field of a model; nothing was sent.",
                remedy="Set it in the environment, or give it to Studio, by its own name.",
                field=name,
            )


def _names_in(names: Iterable[str]) -> Iterator[str]:
    """Yield names, and below a mapping's names those of keys for headers and accounts."""
    yield from names
    for value in names.values() if isinstance(names, Mapping) else ():
        inner = value if isinstance(value, Mapping) else {}
        yield from (name for name in inner if isinstance(name, str) and _is_secret(name.lower()))


def _is_secret(name: str) -> bool:
    """Return True if a name is one that keys, tokens and passwords have."""
    words = set(re.split(r"[_\W]+", name))
    return bool(words & _SECRET_WORDS) or name.endswith(("_key", "-key", "token", "apikey"))


def _is_private(name: str) -> bool:
    """Return True for the name of a secret, and of a setting that no model has as a field."""
    return _is_secret(name) or name in _NEVER_FIELDS or name.startswith(("imagen_", "fal_key"))


def login() -> None:
    """Ask for a key without showing it, use it in this process, and offer to remember it.

    The key is kept in this process's memory, out of the environment that child processes get, and
    in the system keyring if you say so and the `keyring` package is installed. It is never written
    into the notebook.

    Raises:
        CredentialsError: Nobody can be asked here, or what was typed is not a key.
    """
    named = Lookup(os.environ, sources.settings_folder())("IMAGEN_PROVIDER")
    accounts.ask_key(find_account(str(named[0])) if named else GATEWAY)


def forget_settings() -> None:
    """Find folder, files and keys again at the next call, as a new kernel would."""
    sources.forget_files()
    accounts.forget_keys()


# --------------------------------------------------------------------------------------- helpers


def _read(
    setting: Setting, given: Mapping[str, Any], look: Lookup, folder: Path | None
) -> tuple[Any, str]:
    """Return a setting's value and where it was found."""
    value, source = given.get(setting.name), "argument"
    if value is None:
        value, source = look(setting.variable) or (None, "default")
    if value is None:
        return setting.default, source
    named = source in {"argument", "environment"}
    label = setting.variable if named else f"{setting.variable} ({source})"
    if setting.kind == "folder":
        beside = None if source == "argument" else folder  # a file or variable outlives %cd
        read = read_place if setting.name == "store" else read_folder
        return read(label, value, beside), source
    return READERS[setting.kind](label, value), source


def _find_account(
    name: str | None, key: Secret | None, look: Lookup
) -> tuple[Account, Secret | None, str]:
    """Return the account that is named, or the first that has a key; its key; where that was."""
    if name is not None:
        candidates = [find_account(name)]
    elif key is not None:
        candidates = [accounts.FAL if accounts.is_of_fal(key) else GATEWAY]
    else:
        candidates = list(ACCOUNTS.values())
    for account in candidates:
        if key is not None and account.key_variables:
            return account, key, "argument"
        if found := accounts.find_key(account, look):
            return account, *found
    return candidates[-1], None, "default"  # the last of all is the demo


def _owner_of_base_url(look: Lookup) -> Account:
    """Return the account that IMAGEN_BASE_URL is meant for; no other's key goes there.

    It is the one that IMAGEN_PROVIDER names. fal and the demo have one address each: beside their
    names the variable is left from, or meant for, the gateway.
    """
    named = look("IMAGEN_PROVIDER")
    account = find_account(str(named[0])) if named else GATEWAY
    return GATEWAY if account in {accounts.FAL, ACCOUNTS["demo"]} else account


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
