"""Accounts and their keys: which there are, where a key is found, and how it stays hidden.

Order for a key: explicit argument, what was typed at `login`, environment, `.env` file, the system
keyring if `keyring` is installed, Colab's secrets. A key is sent to its own provider only.
"""

import getpass
import importlib
import json
import logging
import re
import sys
import urllib.parse
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, NoReturn
from weakref import WeakValueDictionary

from imagen_widget.errors import CredentialsError, InvalidRequest, shown

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

    def __format__(self, _: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key cannot be pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())


class _KeyFilter(logging.Filter):
    """Blanks out keys in log records: httpcore logs what a server echoes in its headers."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: WeakValueDictionary[int, Secret] = WeakValueDictionary()

    def filter(self, record: logging.LogRecord) -> bool:
        said = shown = record.getMessage().encode("utf-8", "surrogatepass")
        # The longest first: a key that begins another one would leave the rest of that readable.
        for key in sorted(self.keys.values(), key=lambda key: -len(key.reveal())):
            shown = key.blank_out(shown)
        if shown != said:
            record.msg, record.args = shown.decode("utf-8", "surrogatepass"), ()
        return True


_mask = _KeyFilter()


def mask_logs(key: Secret, names: Sequence[str]) -> None:
    """Keep a key out of what these loggers write for as long as the key is in use."""
    _mask.keys[id(key)] = key
    for name in names:
        logging.getLogger(name).addFilter(_mask)


def usable_key(key: object, variable: str) -> Secret:
    """Return a key, hidden.

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
        raise CredentialsError(f"{variable} {problem}; nothing was sent.", remedy=remedy)
    return Secret(text)


def is_of_fal(key: Secret) -> bool:
    return _OF_FAL.fullmatch(key.reveal()) is not None


def is_loopback(host: str | None) -> bool:
    """Return True if a host name or address surely means this machine."""
    return host in {"localhost", "127.0.0.1", "::1"}


def check_place(key: Secret, account: Account, base_url: str, *, named: bool) -> None:
    """Refuse to send a key of fal's form anywhere else, whatever the settings say.

    Raises:
        CredentialsError: The address is not fal's; one of this machine is enough if fal is `named`.
    """
    host = urllib.parse.urlsplit(base_url).hostname or ""
    local = named and account is FAL and is_loopback(host)
    if is_of_fal(key) and not local and not _FAL_HOSTS.fullmatch(host):
        raise CredentialsError(
            f"The key has the form of fal's keys, which are sent to fal only and never to {host}.",
            remedy=f"Set IMAGEN_PROVIDER=fal and FAL_KEY, or use a key for {host}.",
        )


# --------------------------------------------------------------------------------- finding a key

_typed: dict[str, Secret] = {}  # what `login` was told, by variable
_kept: dict[str, tuple[Secret, str]] = {}  # what keyring and Colab said, with which of them


def find_key(
    account: Account, look: Callable[[str], tuple[object, str] | None]
) -> tuple[Secret, str] | None:
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
            return usable_key(whole, names.replace(":", " with ")), halves[0][1]
    for names in account.key_variables:
        if names not in _kept and (found := _remembered(names)):
            _kept[names] = usable_key(found[0], names), found[1]
        if names in _kept:
            return _kept[names]
    return None


def forget_keys() -> None:
    """Forget the keys that were typed or asked for in this process."""
    _typed.clear()
    _kept.clear()


def missing_key(account: Account) -> CredentialsError:
    """Return the error for an account without a key, which says where to put one."""
    return CredentialsError(
        f"There is no key for {account.title}.",
        remedy=f"Set {account.key_variables[0]} in the environment or a .env file, "
        "or call imagen_widget.login(); IMAGEN_PROVIDER=demo needs none.",
    )


def ask_key(account: Account) -> None:
    """Ask for an account's key without showing it, use it, and offer to remember it.

    Raises:
        CredentialsError: Nobody can be asked here, or what was typed is not a key.
    """
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
    check_place(key, account, account.base_url, named=True)
    _typed[variable] = key
    keyring = _keyring()
    if keyring is None:
        return
    if input("Remember it in the system keyring? [y/N] ").strip().lower() in {"y", "yes"}:
        keyring.set_password(_KEYRING_SERVICE, variable, key.reveal())


def _keyring() -> Any:
    if find_spec("keyring") is None:
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
