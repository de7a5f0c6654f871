"""Keys: held so that they show nowhere, found where people keep them, asked for without echo.

Order: what was typed at `login`, environment, `.env` file, the system keyring where `keyring` is
installed, Colab's secrets. One provider's key is never another's.
"""

from __future__ import annotations

import getpass
import importlib
import importlib.util
import json
import logging
import os
import sys
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakValueDictionary

from imagen_widget._catalog import Provider, find_provider
from imagen_widget._settings._sources import Lookup
from imagen_widget.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEYRING_SERVICE = "imagen_widget"

_typed: dict[str, Secret] = {}  # by the name of the variable: what `login` was told


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
        for form in self._forms():
            data = data.replace(form, b"***")
        return data

    def _forms(self) -> set[bytes]:
        text = self.reveal()
        quoted = json.dumps(text)[1:-1]
        forms = {text, quoted, quoted.replace("/", "\\/"), urllib.parse.quote(text, safe="")}
        return {form.encode() for form in forms}

    def __repr__(self) -> str:
        return "Secret('***')"

    def __format__(self, _: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        message = "a key cannot be pickled"
        raise TypeError(message)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())


class KeyFilter(logging.Filter):
    """Blanks out keys in log records: httpcore logs what a server echoes in its headers."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: WeakValueDictionary[int, Secret] = WeakValueDictionary()

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without the keys that are in use."""
        said = shown = record.getMessage().encode("utf-8", "surrogatepass")
        for key in list(self.keys.values()):
            shown = key.blank_out(shown)
        if shown != said:
            record.msg, record.args = shown.decode("utf-8", "surrogatepass"), ()
        return True


_mask = KeyFilter()


def mask_logs(key: Secret, names: Sequence[str]) -> None:
    """Keep a key out of what these loggers say for as long as the key is in use."""
    _mask.keys[id(key)] = key
    for name in names:
        logging.getLogger(name).addFilter(_mask)


def login() -> None:
    """Ask for a key without showing it, use it in this process, and offer to remember it.

    The key is kept in this process's memory, out of the environment that child processes get, and
    in the system keyring if you say so and the `keyring` package is installed. It is never written
    into the notebook.

    Raises:
        CredentialsError: Nobody can be asked here, or nothing was typed.
    """
    look = Lookup(os.environ, Path.cwd())
    provider = find_provider(look("IMAGEN_PROVIDER") or "kkiai")
    if not provider.key_variable:
        raise CredentialsError(
            "The demo provider needs no key.", remedy="Set IMAGEN_PROVIDER to kkiai or fal first."
        )
    key = _ask(provider)
    _typed[provider.key_variable] = key
    keyring = _keyring()
    if keyring is None:
        return
    answer = input("Remember it in the system keyring? [y/N] ")
    if answer.strip().lower() in {"y", "yes"}:
        keyring.set_password(KEYRING_SERVICE, provider.key_variable, key.reveal())


def _ask(provider: Provider) -> Secret:
    try:
        return usable_key(
            getpass.getpass(f"Key for {provider.title} ({provider.key_variable}): "),
            provider.key_variable,
        )
    except Exception as error:
        # ipykernel's own class says that nobody can be asked; ipykernel is not imported here.
        deaf = isinstance(error, EOFError | NotImplementedError)
        if not deaf and type(error).__name__ != "StdinNotImplementedError":
            raise
    raise CredentialsError(
        "Nobody can be asked for a key here.",
        remedy=f"Set {provider.key_variable} in the environment instead.",
    )


def find_key(provider: Provider, look: Callable[[str], str | None]) -> Secret | None:
    """Return the key of that provider, or None; one provider's key is never another's.

    Raises:
        CredentialsError: What was found is no key.
    """
    name = provider.key_variable
    if not name:
        return None
    if name in _typed:
        return _typed[name]
    for source in (look, _from_parts(provider, look), _from_keyring, _from_colab):
        if found := source(name):
            return usable_key(found, name)
    return None


def _from_parts(
    provider: Provider, look: Callable[[str], str | None]
) -> Callable[[str], str | None]:
    """Return the source that puts fal's key together from its two halves."""

    def find(_: str) -> str | None:
        if provider.name != "fal" or not (look("FAL_KEY_ID") and look("FAL_KEY_SECRET")):
            return None
        return f"{look('FAL_KEY_ID')}:{look('FAL_KEY_SECRET')}"

    return find


def _keyring() -> Any:  # noqa: ANN401 - an optional module without types of its own here
    if importlib.util.find_spec("keyring") is None:
        return None
    keyring = importlib.import_module("keyring")
    priority = getattr(keyring.get_keyring(), "priority", 0)
    return keyring if priority and priority > 0 else None


def _from_keyring(name: str) -> str | None:
    try:
        keyring = _keyring()
        return keyring.get_password(KEYRING_SERVICE, name) if keyring else None
    except Exception:  # noqa: BLE001 - a locked or broken keyring is the same as no keyring
        return None


def _from_colab(name: str) -> str | None:
    if "google.colab" not in sys.modules:
        return None
    try:
        return importlib.import_module("google.colab.userdata").get(name) or None
    except Exception:  # noqa: BLE001 - no such secret, or access not granted
        return None


def usable_key(key: str, variable: str) -> Secret:
    """Return the key, hidden.

    Raises:
        CredentialsError: It is empty, or holds what no key has.
    """
    if not key.strip():
        raise CredentialsError("The key is empty.", remedy=f"Set {variable} to your key.")
    if not all("!" <= c <= "~" for c in key.strip()):
        raise CredentialsError(
            f"{variable} holds a character that no key has (a blank, a quote mark, a line end).",
            remedy="Copy the key again, without anything around it.",
        )
    return Secret(key.strip())


def no_key(provider: Provider) -> CredentialsError:
    """Return the error for a provider without a key, which says where to put one."""
    return CredentialsError(
        f"There is no key for {provider.title}.",
        remedy=f"Set {provider.key_variable} in the environment or a .env file, "
        "or call imagen_widget.login(); IMAGEN_PROVIDER=demo needs none.",
    )
