"""Keys: held so that they show nowhere, found where people keep them, asked for without echo.

Order: environment, `.env` file, the system keyring where `keyring` is installed, Colab's secrets.
One provider's key is never another's.
"""

from __future__ import annotations

import getpass
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from imagen_widget._catalog import Provider, find_provider
from imagen_widget._sources import Lookup
from imagen_widget.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable

KEYRING_SERVICE = "imagen_widget"


class Secret:
    """A key that shows itself nowhere: not in repr, str, format, vars or pickle."""

    __slots__ = ("__reveal",)

    def __init__(self, value: str) -> None:
        # A closure, not an attribute: tracebacks with variables and debuggers show `<function>`.
        self.__reveal = lambda: value

    def reveal(self) -> str:
        """Return the key; called only where the Authorization header is made."""
        return self.__reveal()

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


def login() -> None:
    """Ask for a key without showing it, use it in this process, and offer to remember it.

    The key is kept in this process's environment, and in the system keyring if you say so and
    the `keyring` package is installed. It is never written into the notebook.

    Raises:
        CredentialsError: Nobody can be asked here, or nothing was typed.
    """
    look = Lookup(os.environ, Path.cwd())
    name = look("IMAGEN_PROVIDER") or "kkiai"
    provider = find_provider(name)
    if not provider.key_variable:
        raise CredentialsError(
            "The demo provider needs no key.", remedy="Set IMAGEN_PROVIDER to kkiai or fal first."
        )
    try:
        typed = getpass.getpass(f"Key for {provider.title} ({provider.key_variable}): ")
    except (EOFError, NotImplementedError, RuntimeError):
        raise CredentialsError(
            "Nobody can be asked for a key here.",
            remedy=f"Set {provider.key_variable} in the environment instead.",
        ) from None
    except Exception as error:  # StdinNotImplementedError of ipykernel, which is not imported here
        if type(error).__name__ != "StdinNotImplementedError":
            raise
        raise CredentialsError(
            "Nobody can be asked for a key here.",
            remedy=f"Set {provider.key_variable} in the environment instead.",
        ) from None
    os.environ[provider.key_variable] = usable_key(typed, provider.key_variable)
    keyring = _keyring()
    if keyring is None:
        return
    answer = input("Remember it in the system keyring? [y/N] ")
    if answer.strip().lower() in {"y", "yes"}:
        keyring.set_password(
            KEYRING_SERVICE, provider.key_variable, os.environ[provider.key_variable]
        )


def find_key(provider: Provider, look: Callable[[str], str | None]) -> str | None:
    """Return the key of that provider, or None; one provider's key is never another's."""
    if not provider.key_variable:
        return None
    found = look(provider.key_variable)
    if not found and provider.name == "fal":
        key_id, key_secret = look("FAL_KEY_ID"), look("FAL_KEY_SECRET")
        found = f"{key_id}:{key_secret}" if key_id and key_secret else None
    return found or _from_keyring(provider.key_variable) or _from_colab(provider.key_variable)


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


def usable_key(key: str, variable: str) -> str:
    text = key.strip()
    if not text:
        raise CredentialsError("The key is empty.", remedy=f"Set {variable} to your key.")
    if not all("!" <= c <= "~" for c in text):
        raise CredentialsError(
            f"{variable} holds a character that no key has (a blank, a quote mark, a line end).",
            remedy="Copy the key again, without anything around it.",
        )
    return text


def no_key(provider: Provider) -> CredentialsError:
    return CredentialsError(
        f"There is no key for {provider.title}.",
        remedy=f"Set {provider.key_variable} in the environment or a .env file, "
        "or call imagen_widget.login(); IMAGEN_PROVIDER=demo needs none.",
    )
