"""A key shows itself nowhere, and is found where people keep it."""

from __future__ import annotations

import copy
import gc
import getpass
import logging
import os
import pickle
import sys
import types
from typing import TYPE_CHECKING

import keyring
import pytest

from imagen_widget._catalog import find_provider
from imagen_widget._settings import _keys, load_settings
from imagen_widget._settings._keys import (
    KeyFilter,
    Secret,
    find_key,
    login,
    mask_logs,
    no_key,
    usable_key,
)
from imagen_widget.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "made-up:Key/4f1c"
GATEWAY, FAL, DEMO = (find_provider(name) for name in ("kkiai", "fal", "demo"))


class StdinNotImplementedError(RuntimeError):
    """Named like what ipykernel raises where a front end cannot ask."""


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 5

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


@pytest.fixture
def ring() -> Iterator[Ring]:
    before = keyring.get_keyring()
    mine = Ring()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no key that one test typed reach another."""
    monkeypatch.setattr(_keys, "_typed", {})


def _type(monkeypatch: pytest.MonkeyPatch, answer: object, *, remember: str = "n") -> None:
    def ask(_: str) -> str:
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)

    monkeypatch.setattr(getpass, "getpass", ask)
    monkeypatch.setattr("builtins.input", lambda _: remember)


def _lookup(**values: str) -> Callable[[str], str | None]:
    return values.get


# ------------------------------------------------------------------------------------ the secret


def test_a_secret_shows_itself_in_no_form() -> None:
    secret = Secret(KEY)

    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!s:>40}",
        repr([secret]),
        repr(dir(secret)),
    ]

    assert KEY not in "".join(shown)
    assert not hasattr(secret, "__dict__")
    assert KEY not in repr([getattr(secret, name) for name in dir(secret) if "reveal" in name])


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_cannot_be_copied_out(copied: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        copied(Secret(KEY))


def test_secrets_are_equal_where_their_keys_are() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


@pytest.mark.parametrize("echo", ["made-up:Key/4f1c", "made-up:Key\\/4f1c", "made-up%3AKey%2F4f1c"])
def test_an_echo_is_blanked_out_however_it_is_escaped(echo: str) -> None:
    assert Secret(KEY).blank_out(f'{{"bad": "{echo}"}}'.encode()) == b'{"bad": "***"}'


def test_a_log_record_passes_without_the_key() -> None:
    record = logging.LogRecord("x", 10, "p", 1, "got %s \ud800", (f"Bearer {KEY}",), None)
    other = logging.LogRecord("x", 10, "p", 1, "got %s", ("nothing",), None)

    mask, key = KeyFilter(), Secret(KEY)
    mask.keys[1] = key

    passed = [mask.filter(each) for each in (record, other)]

    assert passed == [True, True]
    assert record.getMessage() == "got Bearer *** \ud800"
    assert other.args == ("nothing",)


def test_logs_are_watched_only_while_a_key_is_in_use() -> None:
    logger = logging.getLogger("tests.keys")
    key = Secret(KEY)
    for _ in range(3):
        mask_logs(key, ["tests.keys"])

    (mask,) = logger.filters
    assert isinstance(mask, KeyFilter)
    place = id(key)
    assert place in mask.keys
    del key
    gc.collect()

    assert place not in mask.keys


@pytest.mark.parametrize("text", [" made-up\n", "made-up"])
def test_blanks_around_a_key_are_no_part_of_it(text: str) -> None:
    assert usable_key(text, "FAL_KEY") == Secret("made-up")


@pytest.mark.parametrize("text", ["", "  ", "made up", "made\nup", "„made-up“", "made\x00up"])
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        usable_key(text, "FAL_KEY")

    assert "FAL_KEY" in str(caught.value)
    assert "made" not in str(caught.value)


# ----------------------------------------------------------------------------------- the sources


def test_one_providers_key_is_never_anothers() -> None:
    assert find_key(GATEWAY, _lookup(FAL_KEY=KEY)) is None
    assert find_key(FAL, _lookup(IMAGEN_API_KEY=KEY)) is None
    assert find_key(DEMO, _lookup(IMAGEN_API_KEY=KEY, FAL_KEY=KEY)) is None
    assert find_key(GATEWAY, _lookup(IMAGEN_API_KEY=KEY)) == Secret(KEY)


def test_fals_key_may_come_in_two_halves() -> None:
    assert find_key(FAL, _lookup(FAL_KEY_ID="id", FAL_KEY_SECRET="word")) == Secret("id:word")
    assert find_key(FAL, _lookup(FAL_KEY_ID="id")) is None
    assert find_key(GATEWAY, _lookup(FAL_KEY_ID="id", FAL_KEY_SECRET="word")) is None


def test_the_keyring_is_asked_after_the_environment(ring: Ring) -> None:
    ring.set_password("imagen_widget", "FAL_KEY", "from-ring")

    assert find_key(FAL, _lookup()) == Secret("from-ring")
    assert find_key(FAL, _lookup(FAL_KEY="from-environment")) == Secret("from-environment")
    assert find_key(GATEWAY, _lookup()) is None


def test_a_broken_keyring_is_no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError

    monkeypatch.setattr(keyring, "get_keyring", broken)

    assert find_key(FAL, _lookup()) is None


def test_colabs_secrets_are_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    userdata = types.ModuleType("google.colab.userdata")
    userdata.get = {"FAL_KEY": "from-colab"}.get  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setitem(sys.modules, "google.colab.userdata", userdata)

    assert find_key(FAL, _lookup()) == Secret("from-colab")
    assert find_key(GATEWAY, _lookup()) is None


def test_a_missing_key_says_where_to_put_one() -> None:
    assert "IMAGEN_API_KEY" in str(no_key(GATEWAY))
    assert "IMAGEN_PROVIDER=demo" in str(no_key(FAL))


# --------------------------------------------------------------------------------------- login


def test_login_keeps_the_key_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes get the environment, and `%env` prints it."""
    _type(monkeypatch, f" {KEY} ")

    login()

    assert KEY not in repr(os.environ)
    assert load_settings().key == Secret(KEY)
    assert load_settings().provider.name == "kkiai"


def test_what_was_typed_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_API_KEY", "old")
    _type(monkeypatch, KEY)

    login()

    assert load_settings().key == Secret(KEY)
    assert load_settings(api_key="given").key == Secret("given")


def test_login_is_for_the_chosen_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_PROVIDER", "fal")
    _type(monkeypatch, KEY)

    login()

    assert load_settings().key == Secret(KEY)
    assert find_key(GATEWAY, _lookup()) is None


@pytest.mark.parametrize(("said", "kept"), [("y", KEY), ("Yes", KEY), ("", None), ("n", None)])
def test_the_keyring_remembers_only_on_a_yes(
    monkeypatch: pytest.MonkeyPatch, ring: Ring, said: str, kept: str | None
) -> None:
    _type(monkeypatch, KEY, remember=said)

    login()

    assert ring.get_password("imagen_widget", "IMAGEN_API_KEY") == kept


@pytest.mark.parametrize("error", [EOFError(), NotImplementedError(), StdinNotImplementedError()])
def test_where_nobody_can_be_asked_login_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    _type(monkeypatch, error)

    with pytest.raises(CredentialsError, match="IMAGEN_API_KEY in the environment"):
        login()


def test_an_interrupt_at_the_prompt_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _type(monkeypatch, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        login()


def test_nothing_typed_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    _type(monkeypatch, "")

    with pytest.raises(CredentialsError, match="empty"):
        login()

    assert find_key(GATEWAY, _lookup()) is None


def test_the_demo_needs_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")

    with pytest.raises(CredentialsError, match="needs no key"):
        login()
