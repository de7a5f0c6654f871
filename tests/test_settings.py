"""Which account, which key, where files go, what may be spent: one table, one precedence."""

import copy
import errno
import gc
import getpass
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import tomllib
import types
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import keyring
import numpy as np
import pytest
from hypothesis import given, strategies as st

import imagen_widget
from imagen_widget import _settings
from imagen_widget.errors import CredentialsError, ImagenError, InvalidRequest
from tests.documents import ROOT, fences
from tests.jobs import in_a_child
from tests.tools.tables import settings_page

PACKAGE = Path(imagen_widget.__file__).parent
PAGE = ROOT / ".github" / "docs" / "settings.md"
KEY = "made-up:Key/4f1c"
KEYS = {"IMAGEN_API_KEY": "gateway-key", "FAL_KEY": "fal-key", "OPENAI_API_KEY": "openai-key"}
OF_FAL = "0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f:0123456789abcdef0123456789abcdef"
BY_NAME = {setting.name: setting for setting in _settings.SETTINGS}


@pytest.fixture(autouse=True)
def in_a_new_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Begin in an empty folder, with nothing remembered, as a new kernel does."""
    folder = tmp_path / "notebook"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    _settings.forget_settings()
    yield folder
    _settings.forget_settings()


def load(environ: dict[str, str] | None = None, **settings: Any) -> _settings.Settings:
    with mock.patch.dict(os.environ, environ or {}):
        if "IMAGEN_HOME" not in (environ or {}):
            del os.environ["IMAGEN_HOME"]
        return _settings.load_settings(**settings)


def in_files() -> _settings.Settings:
    """Return the settings of the remembered folder, without the environment."""
    return load()


def found_key(environ: dict[str, str], provider: str) -> str | None:
    key = load(environ, provider=provider).key
    return key.reveal() if key is not None else None


# -------------------------------------------------------------------------- the account and its key


@pytest.mark.parametrize(
    ("environ", "settings", "provider", "key"),
    [
        ({}, {}, "demo", None),
        (KEYS, {}, "kkiai", "gateway-key"),
        ({"FAL_KEY": "fal-key", "OPENAI_API_KEY": "k"}, {}, "fal", "fal-key"),
        ({"FAL_KEY_ID": "a", "FAL_KEY_SECRET": "b"}, {}, "fal", "a:b"),
        ({"FAL_KEY_ID": "a"}, {}, "demo", None),
        ({"OPENAI_API_KEY": "openai-key"}, {}, "openai", "openai-key"),
        (KEYS | {"IMAGEN_PROVIDER": "fal"}, {}, "fal", "fal-key"),
        (KEYS | {"IMAGEN_PROVIDER": "FAL"}, {"provider": "demo"}, "demo", None),
        ({}, {"api_key": "given"}, "kkiai", "given"),
        (KEYS, {"provider": "fal", "api_key": "given"}, "fal", "given"),
        (KEYS, {"api_key": _settings.Secret("hidden")}, "kkiai", "hidden"),
        (KEYS, {"provider": "demo", "api_key": "given"}, "demo", None),
        ({}, {"api_key": OF_FAL}, "fal", OF_FAL),
    ],
)
def test_the_provider_follows_the_key_unless_it_is_named(
    environ: dict[str, str], settings: dict[str, Any], provider: str, key: str | None
) -> None:
    loaded = load(environ, **settings)

    assert loaded.account.name == provider
    assert loaded.key == (None if key is None else _settings.Secret(key))


@pytest.mark.parametrize("account", [a for a in _settings.ACCOUNTS.values() if a.key_variables])
def test_a_missing_key_is_reported_at_once(account: _settings.Account) -> None:
    variable = account.key_variables[0]
    other = {name: key for name, key in KEYS.items() if name != variable}

    with pytest.raises(CredentialsError, match=f"{variable} .*IMAGEN_PROVIDER=demo"):
        _settings.check_key(load(other, provider=account.name))


def test_the_halves_of_a_key_in_the_environment_go_before_a_whole_one_in_a_file(
    in_a_new_kernel: Path,
) -> None:
    (in_a_new_kernel / ".env").write_text("FAL_KEY=old\nFAL_KEY_SECRET=old\n")

    assert found_key({"FAL_KEY_ID": "a", "FAL_KEY_SECRET": "b"}, "fal") == "a:b"
    assert found_key({"FAL_KEY_ID": "a"}, "fal") == "old"


def test_one_providers_key_is_never_anothers() -> None:
    for account in _settings.ACCOUNTS.values():
        own = KEYS.get("".join(account.key_variables[:1]))
        rest = {name: key for name, key in KEYS.items() if key != own}
        assert found_key(KEYS, account.name) == own
        assert found_key(rest, account.name) is None


@pytest.mark.parametrize(
    ("environ", "settings"),
    [
        ({"IMAGEN_API_KEY": OF_FAL}, {}),
        ({"OPENAI_API_KEY": OF_FAL}, {}),
        ({}, {"api_key": OF_FAL, "provider": "kkiai"}),
        ({"IMAGEN_PROVIDER": "openai"}, {"api_key": OF_FAL}),
        ({}, {"api_key": OF_FAL, "base_url": "https://relay.example"}),
        ({}, {"api_key": OF_FAL, "base_url": "http://127.0.0.1:8800"}),
        ({"FAL_KEY": OF_FAL}, {"provider": "fal", "base_url": "https://fal.run.evil.example"}),
        (
            {"FAL_KEY_ID": OF_FAL[:36], "FAL_KEY_SECRET": OF_FAL[37:]},
            {"provider": "fal", "base_url": "https://x.y"},
        ),
    ],
)
def test_a_key_of_fals_form_goes_to_no_other_host(
    environ: dict[str, str], settings: dict[str, str]
) -> None:
    with pytest.raises(CredentialsError, match="sent to fal only") as caught:
        load(environ, **settings)

    assert OF_FAL not in str(caught.value)


def test_a_fal_key_may_go_to_fal_and_to_a_server_of_ones_own_that_is_called_fal() -> None:
    assert load({"FAL_KEY": OF_FAL}).base_url == "https://queue.fal.run"
    local = load({"FAL_KEY": OF_FAL}, provider="fal", base_url="http://127.0.0.1:8800")
    assert local.base_url == "http://127.0.0.1:8800"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        *((text, "empty") for text in ("", "  ")),
        *((text, "placeholder") for text in ("<your_api_key>", "YOUR_API_KEY", "your key here")),
        *((text, "placeholder") for text in ("put-your-key-here", "${FAL_KEY}", "$KEY", "sk-...")),
        *((text, "placeholder") for text in ("xxxxxxxx", "changeme", "{{ fal_key }}", "****")),
        *((text, "quote") for text in ('"made-up"', "'made-up'", "`made-up`", '""', 'made-up"')),
        *((text, "character") for text in ("made up", "made\nup", "„made-up“", "made\x7fup")),
    ],
)
def test_what_cannot_be_a_key_is_refused_before_sending_and_not_shown(text: str, what: str) -> None:
    with pytest.raises(CredentialsError, match=f"api_key.*{what}.*nothing was sent") as caught:
        load(api_key=text)
    if what != "empty":
        with pytest.raises(CredentialsError, match=f"FAL_KEY .*{what}"):
            load({"FAL_KEY": text})

    assert "made" not in str(caught.value)


@pytest.mark.parametrize(
    "text", [" made-up\n", "\ufeffmade-up\r\n", "made-up", "sk-proj-a_B-9", "key-of-mine", KEY]
)
def test_blanks_around_a_key_are_not_part_of_it(text: str) -> None:
    assert load(api_key=text).key == _settings.Secret(text.strip("\ufeff\r\n "))


def test_an_installed_package_can_bring_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    account = _settings.Account("mine", "Mine", "https://mine.example", "Token", ("MY_KEY",), "m/1")

    class Entry:
        name = "mine"

        def load(self) -> object:
            return types.SimpleNamespace(account=account)

    class Broken(Entry):
        name = "broken"

        def load(self) -> object:
            raise ImportError("no module")

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry(), Broken()])

    environ = {"IMAGEN_PROVIDER": "mine", "MY_KEY": "k", "IMAGEN_BASE_URL": "https://relay.example"}
    settings = load(environ)
    assert (settings.account, settings.key) == (account, _settings.Secret("k"))
    assert (settings.base_url, settings.default_model) == ("https://relay.example", "m/1")
    with pytest.raises(InvalidRequest, match="broken cannot be loaded"):
        load(provider="broken")


@pytest.mark.parametrize("name", ["fa1", "nobody", "kkia"])
def test_an_unknown_provider_is_refused_with_the_names_that_there_are(name: str) -> None:
    beside = {"IMAGEN_PROVIDER": name, "IMAGEN_BASE_URL": "https://relay.example"}
    for environ, provider in (({}, name), (beside, None), (beside, "fal")):
        with pytest.raises(InvalidRequest, match=r"IMAGEN_PROVIDER.*(fal|kkiai)"):
            load(environ, provider=provider)


def test_a_provider_that_is_named_in_code_does_not_ask_the_environment() -> None:
    assert load({"IMAGEN_PROVIDER": "nobody"}, provider="demo").account.name == "demo"


# ----------------------------------------------------------------------------- keys stay hidden


def test_a_secret_shows_itself_in_no_form() -> None:
    secret = _settings.Secret(KEY)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!s:>40}", repr([secret]), dir(secret)]

    assert KEY not in repr(shown)
    assert not hasattr(secret, "__dict__")
    assert KEY not in repr([getattr(secret, name) for name in dir(secret) if "reveal" in name])
    assert KEY not in repr(load(api_key=KEY))


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_cannot_be_copied_out(copied: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        copied(_settings.Secret(KEY))


def test_secrets_are_equal_if_their_keys_are() -> None:
    first, second, other = (_settings.Secret(text) for text in ("a", "a", "b"))

    assert first == second != other
    assert first != "a"
    assert len({first, second}) == 1


@pytest.mark.parametrize("echo", ["made-up:Key/4f1c", "made-up:Key\\/4f1c", "made-up%3AKey%2F4f1c"])
def test_an_echo_is_blanked_out_however_it_is_escaped(echo: str) -> None:
    blanked = _settings.Secret(KEY).blank_out(f'{{"bad": "{echo}"}}'.encode())

    assert blanked == b'{"bad": "***"}'


class _Lines(logging.Handler):
    """Keeps messages itself: a report with half of a character cannot be sent to xdist."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def test_logs_are_masked_while_a_key_is_in_use() -> None:
    own = "xq-7f31/Zb9"  # part of no key that another test may have left alive
    logger, lines = logging.getLogger("tests.keys"), _Lines()
    logger.propagate = False
    logger.addHandler(lines)
    key = _settings.Secret(own)
    for _ in range(3):
        _settings.mask_logs(key, ["tests.keys"])
    logger.warning("got %s \ud800", f"Bearer {own}")
    logger.warning("got %s", "nothing")
    del key
    gc.collect()
    logger.warning("got %s", own)

    assert len(logger.filters) == 1
    assert lines.messages == ["got Bearer *** \ud800", "got nothing", f"got {own}"]


@pytest.mark.parametrize(
    "settings",
    [{"max_spend": "much"}, {"base_url": "nonsense"}, {"apikey": "made-up-key"}],
)
def test_a_key_that_was_passed_is_hidden_at_once(settings: dict[str, Any]) -> None:
    """A traceback that shows variables must find no bare key in a frame of ours."""
    with pytest.raises((InvalidRequest, TypeError)) as caught:
        _settings.load_settings(api_key="made-up-key", **settings)
    del settings

    ours = [e for e in caught.traceback if Path(e.path).is_relative_to(PACKAGE)]
    assert ours
    assert "made-up-key" not in repr([entry.frame.f_locals for entry in ours])


@pytest.mark.parametrize("name", ["api_key", "API-KEY", "token", "home", "journal", "base_url"])
def test_a_setting_given_as_a_field_of_a_model_is_refused_without_its_value(name: str) -> None:
    with pytest.raises(InvalidRequest, match="nothing was sent") as caught:
        _settings.refuse_reserved({"guidance": 1, name: "made-up"})

    assert "made-up" not in str(caught.value)


# ------------------------------------------------------------------------------- finding a key


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 5

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


class StdinNotImplementedError(RuntimeError):
    """Named like what ipykernel raises where a front end cannot ask."""


@pytest.fixture
def ring() -> Iterator[Ring]:
    before = keyring.get_keyring()
    mine = Ring()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


def answer(monkeypatch: pytest.MonkeyPatch, typed: object, *, remember: str = "n") -> None:
    def ask(_: str) -> str:
        if isinstance(typed, BaseException):
            raise typed
        return str(typed)

    monkeypatch.setattr(getpass, "getpass", ask)
    monkeypatch.setattr("builtins.input", lambda _: remember)


def test_the_keyring_is_asked_after_the_environment(ring: Ring) -> None:
    ring.set_password("imagen_widget", "FAL_KEY", "from-ring")

    assert found_key({"FAL_KEY": "from-environment"}, "fal") == "from-environment"
    assert found_key({}, "fal") == "from-ring"
    assert found_key({}, "kkiai") is None
    assert load().sources["api_key"] == "system keyring"


def test_both_halves_of_a_key_are_found_in_the_keyring(ring: Ring) -> None:
    ring.set_password("imagen_widget", "FAL_KEY_ID", "half")
    assert load().account.name == "demo"

    ring.set_password("imagen_widget", "FAL_KEY_SECRET", "other")
    assert found_key({}, "fal") == "half:other"
    assert load().account.name == "fal"


@pytest.mark.parametrize("half", ["FAL_KEY_ID", "FAL_KEY_SECRET"])
def test_a_half_of_a_key_that_is_a_placeholder_is_told(half: str) -> None:
    with pytest.raises(CredentialsError, match=f"^{half} holds a placeholder"):
        load({"FAL_KEY_ID": "a", "FAL_KEY_SECRET": "b", half: "<your_key>"})


@pytest.mark.parametrize(
    "line",
    [
        '"IMAGEN_MAX_SPEND"=2',
        "IMAGEN-MAX-SPEND=2",
        "$env:IMAGEN_MAX_SPEND=2",
        "imagen.max.spend=2",
        '"FAL_KEY"=k',
        "fal-key=k",
    ],
)
def test_a_name_in_quotes_or_with_other_signs_is_not_passed_over(
    in_a_new_kernel: Path, line: str
) -> None:
    (in_a_new_kernel / ".env").write_text(f"{line}\n")

    with pytest.raises(InvalidRequest, match=r"line 1, is not a setting\. Did you mean (I|F)"):
        in_files()


@pytest.mark.parametrize("name", [".env", "pyproject.toml"])
def test_a_link_whose_file_is_not_there_is_not_passed_over(
    in_a_new_kernel: Path, name: str
) -> None:
    """A folder that is not mounted: the cap would be lost with it."""
    target = in_a_new_kernel / "elsewhere"
    (in_a_new_kernel / name).symlink_to(target)

    with pytest.raises(InvalidRequest, match="line 1, cannot be read: it is a broken link"):
        in_files()

    target.write_text("")
    assert in_files().budget == ()
    target.unlink()
    assert in_files().budget == ()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_a_file_is_not_passed_over(in_a_new_kernel: Path) -> None:
    """Password managers put one there, to be read once."""
    os.mkfifo(in_a_new_kernel / ".env")

    with pytest.raises(InvalidRequest, match=r"\.env, line 1, cannot be read: it is a pipe"):
        in_files()


def test_a_cap_whose_variable_is_empty_is_not_no_cap(in_a_new_kernel: Path) -> None:
    (in_a_new_kernel / ".env").write_text("A=1\nIMAGEN_MAX_SPEND=${MY_CAP}\n")

    with pytest.raises(InvalidRequest, match="line 2, cannot be read: the variable"):
        in_files()


def test_a_broken_keyring_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError

    monkeypatch.setattr(keyring, "get_keyring", broken)

    assert load().account.name == "demo"


def test_colabs_secrets_are_asked_last_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"FAL_KEY": "from-colab"}
    userdata = types.ModuleType("google.colab.userdata")
    userdata.get = secrets.get  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setitem(sys.modules, "google.colab.userdata", userdata)

    assert load().account.name == "fal"
    secrets.clear()
    assert found_key({}, "fal") == "from-colab"
    assert found_key({"FAL_KEY": "later"}, "fal") == "later"


def test_login_keeps_the_key_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes get the environment, and `%env` prints it."""
    monkeypatch.setenv("IMAGEN_API_KEY", "old")
    answer(monkeypatch, f" {KEY} ")

    imagen_widget.login()

    assert KEY not in repr(os.environ)
    assert _settings.load_settings().key == _settings.Secret(KEY)
    assert _settings.load_settings(api_key="given").key == _settings.Secret("given")


def test_login_is_for_the_chosen_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_PROVIDER", "fal")
    answer(monkeypatch, KEY)

    imagen_widget.login()

    assert _settings.load_settings().key == _settings.Secret(KEY)
    assert found_key({}, "kkiai") is None


@pytest.mark.parametrize(("said", "kept"), [("y", KEY), ("Yes", KEY), ("", None), ("n", None)])
def test_the_keyring_remembers_only_on_a_yes(
    monkeypatch: pytest.MonkeyPatch, ring: Ring, said: str, kept: str | None
) -> None:
    answer(monkeypatch, KEY, remember=said)

    imagen_widget.login()

    assert ring.get_password("imagen_widget", "IMAGEN_API_KEY") == kept


@pytest.mark.parametrize("error", [EOFError(), NotImplementedError(), StdinNotImplementedError()])
def test_login_says_what_to_do_if_nobody_can_be_asked(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    answer(monkeypatch, error)

    with pytest.raises(CredentialsError, match="IMAGEN_API_KEY in the environment"):
        imagen_widget.login()


def test_an_interrupt_at_the_prompt_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        imagen_widget.login()


@pytest.mark.parametrize("typed", ["", "<your key>", OF_FAL])
def test_login_refuses_what_cannot_be_the_key_that_it_asks_for(
    monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    answer(monkeypatch, typed)

    with pytest.raises(CredentialsError):
        imagen_widget.login()
    assert found_key({}, "kkiai") is None


def test_the_demo_needs_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")

    with pytest.raises(CredentialsError, match="needs no key"):
        imagen_widget.login()


# --------------------------------------------------------------------------------- the base url


def test_a_base_url_belongs_to_the_provider_that_the_settings_name() -> None:
    base = KEYS | {"IMAGEN_BASE_URL": "https://relay.example/fal/"}

    assert load(base).base_url == "https://relay.example/fal"
    assert load(base, provider="fal").base_url == "https://queue.fal.run"
    assert load(base, provider="openai").base_url == "https://api.openai.com"
    assert load(base, provider="demo").base_url == "https://demo.invalid"

    base["IMAGEN_PROVIDER"] = "openai"
    assert load(base).base_url == "https://relay.example/fal"
    assert load(base, provider="kkiai").base_url == "https://www.kkiai.com"

    base["IMAGEN_PROVIDER"] = "fal"
    assert load(base).base_url == "https://queue.fal.run"
    assert load(base, provider="kkiai").base_url == "https://relay.example/fal"


@pytest.mark.parametrize("name", ["FAL_KEY", "OPENAI_API_KEY"])
def test_an_address_that_is_given_alone_gets_the_gateways_key_and_no_other(name: str) -> None:
    base = "https://gateway.example/fal"

    assert load(KEYS, base_url=base).key == _settings.Secret("gateway-key")
    settings = load({name: "not-for-a-gateway"}, base_url=base)
    assert (settings.account.name, settings.base_url, settings.key) == ("kkiai", base, None)
    with mock.patch.dict(os.environ, {name: "not-for-a-gateway"}):
        start = imagen_widget.Studio(base_url=base).start
        for call in (lambda: imagen_widget.ImagenClient(base_url=base), lambda: start("a fox")):
            with pytest.raises(CredentialsError, match="IMAGEN_API_KEY"):
                call()


@pytest.mark.parametrize(
    ("base", "name", "key"),
    [
        ("https://queue.fal.run", "fal", "fal-key"),
        ("https://api.openai.com/v1", "openai", "openai-key"),
        ("https://www.kkiai.com", "kkiai", "gateway-key"),
    ],
)
def test_an_accounts_own_address_gets_its_key_and_never_the_gateways(
    base: str, name: str, key: str
) -> None:
    settings = load(KEYS, base_url=base)
    assert (settings.account.name, settings.key) == (name, _settings.Secret(key))
    assert load({}, base_url="https://queue.fal.run", api_key=OF_FAL).account.name == "fal"

    for named in ({"base_url": base, "provider": "kkiai"}, {}):
        variables = KEYS if named else {**KEYS, "IMAGEN_BASE_URL": base}
        if name == "kkiai":
            assert load(variables, **named).base_url == base
        else:
            with pytest.raises(CredentialsError, match=rf"host; .* IMAGEN_PROVIDER={name}"):
                load(variables, **named)


@pytest.mark.parametrize("variable", KEYS)
@pytest.mark.parametrize(
    ("base", "owner"),
    [
        ("https://fal.run", "fal"),
        ("https://QUEUE.fal.run:443/x", "fal"),
        ("https://rest.alpha.fal.ai", "fal"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://www.kkiai.com", "kkiai"),
        ("https://kkiai.com:8443/fal", "kkiai"),
        ("https://fal.run.kkiai.com", "kkiai"),
    ],
)
def test_no_key_goes_to_a_host_of_another_account_however_it_is_named(
    variable: str, base: str, owner: str
) -> None:
    environ = {variable: KEYS[variable]}
    provider = load(environ).account.name
    alone = load(environ, base_url=base)
    assert (alone.account.name, alone.key is not None) == (owner, provider == owner)

    set_there = {**environ, "IMAGEN_PROVIDER": provider, "IMAGEN_BASE_URL": base}
    for variables, named in ((set_there, {}), (environ, {"provider": provider, "base_url": base})):
        if provider == owner:
            assert load(variables, **named).key == alone.key
        elif named or provider != "fal":  # that has one address: IMAGEN_BASE_URL is not for it
            with pytest.raises(CredentialsError, match=f"host; .* IMAGEN_PROVIDER={owner}"):
                load(variables, **named)
        else:
            assert load(variables).base_url == "https://queue.fal.run"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://relay.example", "https://relay.example"),
        (" https://relay.example:8443/a/b/ ", "https://relay.example:8443/a/b"),
        ("http://localhost:8800", "http://localhost:8800"),
        ("http://127.0.0.1:8800/", "http://127.0.0.1:8800"),
        ("http://[::1]:8800", "http://[::1]:8800"),
        ("https://[fe80::1%25eth0]:8443", "https://[fe80::1%25eth0]:8443"),
        ("https://10.0.0.7", "https://10.0.0.7"),
        ("https://XN--MNCHEN-3YA.example/\u00f6", "https://XN--MNCHEN-3YA.example/\u00f6"),
    ],
)
def test_a_base_is_https_or_this_machine(url: str, base: str) -> None:
    assert load(KEYS, base_url=url).base_url == base


@pytest.mark.parametrize(
    "url",
    [
        *("http://relay.example", "http://localhost.evil.example", "http://127.0.0.1.evil.example"),
        *("http://127.0.0.1@evil.example", "http://localhost\\@evil.example", "http://0.0.0.0"),
        *("http://127.0.0.2", "http://localhost.localdomain", "http://", "http://[::]"),
        *("http://127.1", "http://2130706433", "http://10.0.0.1", "ftp://relay.example"),
        *("//relay.example", "relay.example", "", "https://", "https://[", "https://a.example:b"),
        *("https://relay.example:0", "https://user:word@relay.example", "https://a.example/?x=1"),
        *("https://relay.example/#x", "https://relay.example/a/../b", "https://relay example"),
        *("https://relay.example/\r\nX-Evil: 1", "https://relay.example\x00"),
        *(
            "https://\uff57\uff57\uff57.kkiai.com",
            "https://kki\u0430i.com",
            "https://\u2167.example",
        ),
        *("https://a..b", "https://a;b", "https://a%2f.example", "https://.", "https://[v1.x]/a"),
    ],
)
def test_no_key_goes_in_cleartext_or_to_an_odd_address(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load(KEYS, base_url=url)

    assert caught.value.field == "base_url"


@given(st.text())
def test_any_text_is_a_base_or_refused_in_one_line(url: str) -> None:
    try:
        base = load(KEYS, base_url=url).base_url
    except InvalidRequest:
        return

    assert base.startswith(("https://", "http://localhost", "http://127.0.0.1", "http://[::1]"))


# ------------------------------------------------------------------------------------ the values


def test_the_defaults_need_no_setting_at_all() -> None:
    settings = load()

    assert (settings.model, settings.default_model) == (None, "fal-ai/imagen4/preview")
    assert (settings.budget, settings.price, settings.poll_seconds) == (
        (),
        _settings.Prices(),
        None,
    )
    assert (settings.reuse, settings.provenance, settings.upload) == (True, True, False)
    assert (settings.timeout, settings.demo_seconds) == (300.0, 4.0)
    assert (settings.schemas, settings.media_hosts) == ("auto", "public")
    assert (settings.journal, settings.store, settings.presets) == (None, None, {})
    assert set(settings.sources.values()) == {"default"}
    assert settings.home.name == "imagen_widget"
    assert load({"FAL_KEY": "k"}).default_model == "fal-ai/nano-banana-2"
    assert load({"OPENAI_API_KEY": "k"}).default_model == "gpt-image-1.5"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("reuse", "no", False),
        ("reuse", "TRUE", True),
        ("provenance", "0", False),
        ("timeout", "12.5", 12.5),
        ("poll_seconds", "0.5", 0.5),
        ("demo_seconds", "0", 0.0),
        ("model", "imagen4-fast", "imagen4-fast"),
        ("schemas", "OFF", "off"),
        ("schemas", "https://x.y/{endpoint}.json", "https://x.y/{endpoint}.json"),
        ("media_hosts", "private", "private"),
        ("media_hosts", "cdn.example, 10.0.0.7,::1", ("cdn.example", "10.0.0.7", "::1")),
        ("journal", "postgresql://me:word@db/x", "postgresql://me:word@db/x"),
        ("store", "s3://bucket/x", "s3://bucket/x"),
        ("store", "/data", "/data"),
        ("upload", "1", True),
    ],
)
def test_each_setting_is_read_from_the_environment_and_from_the_argument(
    name: str, text: str, value: object
) -> None:
    from_environment = load({f"IMAGEN_{name.upper()}": text})
    from_argument = load({f"IMAGEN_{name.upper()}": "nonsense"}, **{name: text})

    assert getattr(from_environment, name) == getattr(from_argument, name) == value
    assert from_environment == from_argument
    assert (from_environment.sources[name], from_argument.sources[name]) == (
        "environment",
        "argument",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("PRICE", text) for text in ("4 cents", "cheap", "imagen4=", "=0.05", "a=1,a=2", "0,05")),
        *((name, "maybe") for name in ("REUSE", "PROVENANCE", "UPLOAD", "QUIET")),
        *(("TIMEOUT", text) for text in ("0", "-5", "soon", "inf", "nan", "True")),
        *(("POLL_SECONDS", "0"), ("DEMO_SECONDS", "-1"), ("POLL_SECONDS", "often")),
        *(("SCHEMAS", text) for text in ("maybe", "https://x.y", "http://x.y/{endpoint}")),
        *(("MEDIA_HOSTS", text) for text in ("https://cdn.example", "a,,b", "a, public", "*")),
        *(
            ("JOURNAL", "sqlite:///x"),
            ("BASE_URL", "ftp://gateway.example"),
            *(("HOME", "~nobody-here/x"), ("HOME", "s3://bucket/x"), ("SAVE_DIR", "https://x.y")),
        ),
    ],
)
def test_a_value_that_means_nothing_is_an_error_that_names_its_setting(
    name: str, text: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"IMAGEN_{name}") as caught:
        load({f"IMAGEN_{name}": text})

    assert caught.value.field == name.lower()
    assert caught.value.remedy


def limits(*caps: tuple[str, str], scope: str = "all") -> _settings.Budget:
    return tuple(_settings.Limit(Decimal(amount), period, scope) for amount, period in caps)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "caps"),
    [
        ("2.50", [("2.50", "day")]),
        ("$2", [("2", "day")]),
        ("0", [("0", "day")]),
        (".5/day", [(".5", "day")]),
        ("40 / Month", [("40", "month")]),
        ("2.50/day, 40/month", [("2.50", "day"), ("40", "month")]),
        (2.5, [("2.5", "day")]),
        (1e-5, [("0.00001", "day")]),
        (3, [("3", "day")]),
        (Decimal(100).normalize(), [("100", "day")]),
    ],
)
def test_a_cap_is_an_amount_a_day_or_month(text: object, caps: list[tuple[str, str]]) -> None:
    assert load(max_spend=text).budget == limits(*caps)
    assert load(max_spend_user=text).budget == limits(*caps, scope="user")


@pytest.mark.parametrize(
    "text",
    [
        *("much", "-1", "nan", "inf", "2,50", "1,000", "1e3", "2/week", "2/", "/day", "2/day/day"),
        *("2,", "3/month,4/month", "2.50 EUR", "", " ", "٢", "1_0", "9" * 12),
        *(True, float("nan"), float("inf"), -1.0, [2], Fraction(1, 3)),
    ],
)
def test_a_cap_that_cannot_be_read_is_never_no_cap(text: object) -> None:
    for name in ("max_spend", "max_spend_user"):
        with pytest.raises(InvalidRequest, match=f"IMAGEN_{name.upper()}"):
            load(None, **{name: text})


@given(st.text())
def test_any_text_is_a_cap_or_refused_in_one_line(text: str) -> None:
    try:
        understood = bool(load(max_spend=text).budget)
    except InvalidRequest as error:
        understood = str(error).isprintable()

    assert understood


def test_prices_are_by_model_or_for_all() -> None:
    some = load({"IMAGEN_PRICE": "imagen4=0.05, fal-ai/flux/dev=0.03"}).price
    both = load(price="0.1, imagen4=$0.05").price

    assert load(price=0.05).price.for_model("any/model") == Decimal("0.05")
    assert some.for_model("fal-ai/imagen4/preview", "imagen4") == Decimal("0.05")
    assert some.for_model("fal-ai/flux/dev") == Decimal("0.03")
    assert some.for_model("other", "o") is None
    assert both.for_model("other") == Decimal("0.1")
    assert both.for_model("imagen4") == Decimal("0.05")
    assert load(price="Imagen4=0.05").price == load(price="imagen4=0.05").price
    assert load(price="a/B=0.5").price.for_model("A/b") == Decimal("0.5")


@pytest.mark.parametrize("apart", [";", " ", "\n", "; ", "|"])
def test_prices_without_commas_are_refused_and_not_the_price_of_one_odd_name(apart: str) -> None:
    with pytest.raises(InvalidRequest, match=r"IMAGEN_PRICE: .* not give each model one price"):
        load(price=f"imagen4=0.50{apart}flux-dev=0.30")


@pytest.mark.parametrize("value", [5, 0.25, Decimal("1.5"), Fraction(1, 2)])
def test_a_timeout_is_a_finite_number_of_seconds(value: Any) -> None:
    assert _settings.check_timeout(value) == float(value)


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, True, False, float("nan"), float("inf"), "60", "soon", None, [5], 1j, 10**400),
        *(b"5", np.True_, np.float64("nan"), np.array([5])),
    ],
)
def test_any_other_timeout_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _settings.check_timeout(value)

    assert caught.value.field == "timeout"


@pytest.mark.parametrize("value", [0, True, np.True_, b"5", "soon", [5]])
def test_a_timeout_that_is_set_is_refused_likewise(value: object) -> None:
    with pytest.raises(InvalidRequest, match=r"timeout|IMAGEN_TIMEOUT"):
        load(timeout=value)


@pytest.mark.parametrize("value", [True, 5, 0.5, {"cdn.example": 1}])
def test_what_is_neither_text_nor_list_names_no_hosts(value: object) -> None:
    with pytest.raises(InvalidRequest, match="IMAGEN_MEDIA_HOSTS"):
        load(media_hosts=value)


def test_an_argument_that_is_not_a_setting_is_an_error() -> None:
    with pytest.raises(InvalidRequest, match=r"'max_spent' is not .* Did you mean max_spend\?$"):
        load(max_spent=2)


def test_the_user_is_the_one_of_the_hub_else_the_login_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nameless() -> str:
        raise OSError

    assert load({"JUPYTERHUB_USER": "ada"}).user == "ada"
    monkeypatch.setattr(getpass, "getuser", lambda: "grace")
    assert load().user == "grace"
    monkeypatch.setattr(getpass, "getuser", nameless)
    assert load().user


# -------------------------------------------------------------------------------------- the home


def test_the_home_is_where_it_is_set(in_a_new_kernel: Path, tmp_path: Path) -> None:
    assert load({"IMAGEN_HOME": str(tmp_path / "here")}).home == tmp_path / "here"
    assert load(home="~/there").home == Path.home() / "there"
    assert load(home=tmp_path).home == tmp_path
    assert load(home="given").home == in_a_new_kernel / "given"
    assert not (tmp_path / "here").exists()


def test_a_relative_home_stays_where_it_is_when_the_working_folder_changes(
    in_a_new_kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_HOME", "kept")
    before = _settings.load_settings()
    (in_a_new_kernel / "sub").mkdir()
    monkeypatch.chdir("sub")

    assert _settings.load_settings().home == before.home == in_a_new_kernel / "kept"


def test_a_user_without_a_home_folder_is_told_to_set_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *_, **__: "~/.local/share/x")

    with pytest.raises(InvalidRequest, match="IMAGEN_HOME"):
        load()
    assert load({"IMAGEN_HOME": "/x"}).home == Path("/x")


@pytest.mark.slow
def test_a_working_folder_that_was_deleted_is_not_an_obstacle(tmp_path: Path) -> None:
    code = """
        import os, pathlib, sys
        os.chdir(sys.argv[1])
        pathlib.Path(sys.argv[1]).rmdir()
        from imagen_widget import _settings, errors
        print(_settings.load_settings().account.name)
        os.environ["IMAGEN_HOME"] = "relative"
        try:
            _settings.load_settings()
        except errors.InvalidRequest as error:
            print(error)
    """
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "gone")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.startswith("demo\nIMAGEN_HOME: 'relative' is not a folder.")


# -------------------------------------------------------------------------------------- the files


def test_the_environment_comes_first_then_the_file_beside_the_notebook_then_pyproject(
    in_a_new_kernel: Path,
) -> None:
    (in_a_new_kernel / ".env").write_text("IMAGEN_MODEL=from-file\nIMAGEN_SCHEMAS=off\n")
    (in_a_new_kernel / "pyproject.toml").write_text(
        '[tool.imagen-widget]\nmodel = "from-table"\nschemas = "auto"\nmax-spend = 2.5\n'
    )

    settings = load({"IMAGEN_MODEL": "from-environment"})

    assert (settings.model, settings.schemas) == ("from-environment", "off")
    assert settings.budget == limits(("2.5", "day"))
    assert {name: settings.sources[name] for name in ("model", "schemas", "max_spend")} == {
        "model": "environment",
        "schemas": str(in_a_new_kernel / ".env"),
        "max_spend": str(in_a_new_kernel / "pyproject.toml"),
    }


@pytest.mark.parametrize(
    "line", ["FAL_KEY=made-up", "export FAL_KEY='made-up'", 'FAL_KEY = "made-up" # mine']
)
def test_the_env_file_is_read_as_python_dotenv_reads_it(in_a_new_kernel: Path, line: str) -> None:
    (in_a_new_kernel / ".env").write_text(f"# keys\n{line}\nOTHER=1\n")

    assert in_files().key == _settings.Secret("made-up")


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_value_counts_as_not_set(in_a_new_kernel: Path, value: str) -> None:
    (in_a_new_kernel / "pyproject.toml").write_text('[tool.imagen-widget]\nmodel = "from-table"\n')
    settings = load({"IMAGEN_MODEL": value, "FAL_KEY": value})

    assert (settings.model, settings.account.name) == ("from-table", "demo")


@pytest.mark.parametrize("name", ["api-key", "fal-key", "FAL_KEY", "fal-key-secret"])
def test_a_key_in_a_file_that_people_commit_is_refused(in_a_new_kernel: Path, name: str) -> None:
    (in_a_new_kernel / "pyproject.toml").write_text(f'\n[tool.imagen-widget]\n{name} = "made-up"\n')

    with pytest.raises(InvalidRequest, match=r"line 3, is a key.*people commit") as caught:
        in_files()
    assert "made-up" not in str(caught.value)


def test_the_nearest_table_counts(in_a_new_kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (in_a_new_kernel / "pyproject.toml").write_text('[tool.imagen-widget]\nmodel = "outer"\n')
    inner = in_a_new_kernel / "a" / "b"
    inner.mkdir(parents=True)
    (in_a_new_kernel / "a" / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    monkeypatch.chdir(inner)

    assert in_files().model == "outer"


def test_underscores_and_hyphens_mean_the_same(in_a_new_kernel: Path) -> None:
    (in_a_new_kernel / "pyproject.toml").write_text(
        "[tool.imagen-widget]\nmax_spend = 3\nreuse = false\nnum-images = 2\n"
        'media-hosts = ["a.example", "b.example"]\nprice = { imagen4 = 0.05 }\n'
    )
    settings = in_files()

    assert (settings.budget, settings.reuse) == (limits(("3", "day")), False)
    assert (settings.presets, settings.media_hosts) == (
        {"num_images": "2"},
        ("a.example", "b.example"),
    )
    assert settings.price.for_model("imagen4") == Decimal("0.05")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_files_are_read_with_any_byte_order_mark(in_a_new_kernel: Path, encoding: str) -> None:
    (in_a_new_kernel / ".env").write_bytes("IMAGEN_MAX_SPEND=2 # größer\n".encode(encoding))
    table = '[tool.imagen-widget]\nmodel = "größer"\n'
    (in_a_new_kernel / "pyproject.toml").write_bytes(table.encode(encoding))

    assert (in_files().budget, in_files().model) == (limits(("2", "day")), "größer")


@pytest.mark.parametrize(
    ("file", "data", "line"),
    [
        (".env", b"A=1\nIMAGEN_MAX_SPEND=2\xff\n", 2),
        (".env", b"A=1\n\n\nIMAGEN_MAX_SPEND: 2\n", 4),
        (".env", b"A='1\n2'\nIMAGEN_MAX_SPEND 2\n", 3),
        (".env", b"IMAGEN_MAX_SPEND\n", 1),
        (".env", b"A=1\nIMAGEN_MAX_SPEND=2\0\n", 2),
        (".env", b"\n\nIMAGEN_MAXSPEND=2\n", 3),
        (".env", b"A=1\nIMAGEN_SOMETHING=2\n", 2),
        ("pyproject.toml", b"[tool.imagen-widget]\nmax-spend = 2,5\n", 2),
        ("pyproject.toml", b"[tool.imagen-widget\n", 1),
        ("pyproject.toml", b"x = 1\n[tool.imagen-widget]\nmax-spend = '\xff'\n", 3),
        ("pyproject.toml", b"[tool.imagen-widget]\nmodel = 'm'\nmax-spent = 2\n", 3),
        ("pyproject.toml", b"[tool]\nimagen-widget = 5\n", 2),
        ("pyproject.toml", b"\n[tool]\nimagen-widget.nonsense = 1\n", 3),
        ("pyproject.toml", b"[tool.imagen-widget]\nmax-spend = 1\nmax_spend = 2\n", 3),
        ("pyproject.toml", b"a = " + b"[" * 5000, 1),
        ("../pyproject.toml", b"somebody = else's\n", 1),
    ],
)
def test_a_file_that_may_hold_a_cap_and_cannot_be_understood_is_an_error_with_its_line(
    in_a_new_kernel: Path, file: str, data: bytes, line: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = (in_a_new_kernel / file).resolve()
    path.write_bytes(data)

    with pytest.raises(InvalidRequest, match=rf"{path}, line {line}, ") as caught:
        in_files()
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    assert not caplog.records  # the error says it, and nothing is printed beside it


@pytest.mark.parametrize("name", [".env", "pyproject.toml"])
def test_a_file_that_may_hold_a_cap_and_may_not_be_read_is_an_error(
    in_a_new_kernel: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_a_new_kernel / name).write_text("IMAGEN_MAX_SPEND=2\n")
    denied = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(Path, "read_bytes", mock.Mock(side_effect=denied))

    with pytest.raises(InvalidRequest, match=f"{name}, line 1, cannot be read: permission denied"):
        in_files()


@given(st.binary(max_size=60), st.sampled_from([".env", "pyproject.toml"]))
def test_any_bytes_are_settings_or_refused_in_one_line(data: bytes, file: str) -> None:
    _settings.forget_settings()
    Path(file).write_bytes(data)
    said = ""
    try:
        in_files()
    except ImagenError as error:
        said = str(error)
    Path(file).unlink()

    assert said.isprintable()


def test_a_broken_file_above_a_table_of_ours_stops_nothing(in_a_new_kernel: Path) -> None:
    (in_a_new_kernel.parent / "pyproject.toml").write_bytes(b"broken =")
    (in_a_new_kernel / "pyproject.toml").write_text('[tool.imagen-widget]\nmodel = "near"\n')

    assert in_files().model == "near"


@pytest.mark.parametrize("text", ["tool = 5", "[tool]\nother = 1", ""])
def test_a_pyproject_without_a_table_of_ours_says_nothing(in_a_new_kernel: Path, text: str) -> None:
    (in_a_new_kernel / "pyproject.toml").write_text(text)
    (in_a_new_kernel / ".env").mkdir()  # a virtual environment may be called so

    assert set(in_files().sources.values()) == {"default"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("IMAGEN_MAXSPEND", "IMAGEN_MAX_SPEND"),
        ("IMAGEN_MAX_SPENT", "IMAGEN_MAX_SPEND"),
        ("imagen_max_spend", "IMAGEN_MAX_SPEND"),
        ("IMAGEN_PRICES", "IMAGEN_PRICE"),
        ("IMAGEN_APIKEY", "IMAGEN_API_KEY"),
    ],
)
def test_a_near_miss_in_the_environment_is_an_error_that_names_the_right_one(
    name: str, meant: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"{name}.*mean {meant}"):
        load({name: "2"})


@pytest.mark.parametrize("name", ["IMAGEN_PROJECT", "IMAGEN_STRICT", "IMAGEN_USER", "IMAGENET_DIR"])
def test_other_programs_variables_are_left_alone(name: str) -> None:
    assert load({name: "2"}).account.name == "demo"


def test_a_file_is_read_again_when_it_has_changed(in_a_new_kernel: Path) -> None:
    file = in_a_new_kernel / "pyproject.toml"
    file.write_text('[tool.imagen-widget]\nmodel = "imagen4"\n', encoding="utf-8")
    before = in_files().model
    file.write_text('[tool.imagen-widget]\nmodel = "imagen4-fast"\n', encoding="utf-8")

    assert (before, in_files().model) == ("imagen4", "imagen4-fast")


# ----------------------------------------------------------------------- found once in a kernel


def test_settings_stay_when_the_working_folder_changes(
    in_a_new_kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_a_new_kernel / ".env").write_text("FAL_KEY=made-up\nIMAGEN_MAX_SPEND=2\n")
    before = in_files()
    (in_a_new_kernel / "sub").mkdir()
    monkeypatch.chdir("sub")

    assert in_files() == before
    assert before.account.name == "fal"
    assert _settings.notices() == []


@pytest.mark.parametrize("file", [".env", "pyproject.toml"])
def test_settings_whose_file_has_vanished_stay_in_force_and_it_is_said_once(
    in_a_new_kernel: Path, file: str
) -> None:
    texts = {".env": "IMAGEN_MAX_SPEND=2\n", "pyproject.toml": "[tool.imagen-widget]\nmax-spend=2"}
    (in_a_new_kernel / file).write_text(texts[file])
    before = in_files()
    (in_a_new_kernel / file).unlink()

    assert in_files() == before
    (line,) = _settings.notices()
    assert line.startswith(f"{in_a_new_kernel / file} is gone; IMAGEN_MAX_SPEND from there stays")
    assert in_files() == before
    assert _settings.notices() == []

    (in_a_new_kernel / file).write_text(texts[file].replace("2", "3"))
    assert in_files().budget == limits(("3", "day"))
    (in_a_new_kernel / file).unlink()
    assert in_files().budget == limits(("3", "day"))
    assert len(_settings.notices()) == 1


def test_an_address_whose_key_is_missing_is_said_once() -> None:
    address = {"IMAGEN_BASE_URL": "https://gateway.example"}
    with_key = {**address, "IMAGEN_API_KEY": "made-up"}
    of_fal = {**address, "IMAGEN_PROVIDER": "fal", "FAL_KEY": "made-up"}

    assert [load(each).account.name for each in (with_key, of_fal)] == [
        "kkiai",
        "fal",
    ]
    assert _settings.notices() == []
    assert load(address).account.name == load(address).account.name == "demo"
    (line,) = _settings.notices()
    assert line.startswith("IMAGEN_BASE_URL (environment) is not used: there is no IMAGEN_API_KEY")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # that is what is tested here
def test_a_process_that_is_forked_while_a_thread_reads_settings_reads_them_too(
    in_a_new_kernel: Path,
) -> None:
    (in_a_new_kernel / ".env").write_text("IMAGEN_MAX_SPEND=2\n")
    begun, go_on, read = threading.Event(), threading.Event(), Path.read_bytes
    parent = os.getpid()

    def slowly(path: Path) -> bytes:
        begun.set()
        assert os.getpid() != parent or go_on.wait(60)
        return read(path)

    def work() -> None:
        signal.alarm(60)  # what hangs is killed
        assert _settings.load_settings().budget

    with mock.patch.object(Path, "read_bytes", slowly):
        reader = threading.Thread(target=_settings.load_settings)
        reader.start()
        try:
            assert begun.wait(60)
            assert in_a_child(work) == (0, "")
        finally:
            go_on.set()
            reader.join(60)


def test_a_vanished_file_of_other_programs_is_not_worth_a_word(in_a_new_kernel: Path) -> None:
    (in_a_new_kernel / ".env").write_text("OTHER_PROGRAM=1\n")
    before = in_files()
    (in_a_new_kernel / ".env").unlink()

    assert in_files() == before
    assert _settings.notices() == []


@pytest.mark.parametrize("told", ["__vsc_ipynb_file__", "PAPERMILL_INPUT_PATH", "JPY_SESSION_NAME"])
def test_the_notebooks_folder_is_the_one_that_the_front_end_names(
    in_a_new_kernel: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    names: dict[str, object] = {}
    monkeypatch.setattr("IPython.get_ipython", lambda: types.SimpleNamespace(user_ns=names))
    (in_a_new_kernel / ".env").write_text("IMAGEN_MAX_SPEND=2\n")
    elsewhere = in_a_new_kernel / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    if told.isupper() and told.startswith("JPY"):
        monkeypatch.setenv(told, str(in_a_new_kernel / "fox.ipynb"))
    else:
        names[told] = str(in_a_new_kernel / "fox.ipynb")

    assert in_files().budget == limits(("2", "day"))


@pytest.mark.parametrize("name", ["s3://bucket/fox.ipynb", "sub/fox.ipynb", "/no/such/x.ipynb", 5])
def test_a_notebook_that_is_not_on_this_machine_leaves_the_working_folder(
    in_a_new_kernel: Path, monkeypatch: pytest.MonkeyPatch, name: object
) -> None:
    shell = types.SimpleNamespace(user_ns={"PAPERMILL_INPUT_PATH": name})
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    (in_a_new_kernel / "sub").mkdir()
    (in_a_new_kernel / ".env").write_text("IMAGEN_MAX_SPEND=2\n")

    assert in_files().budget == limits(("2", "day"))


def test_a_script_that_a_notebook_starts_has_settings_of_its_own(
    in_a_new_kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_a_new_kernel / ".env").write_text("IMAGEN_MAX_SPEND=2\n")
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    monkeypatch.setenv("JPY_SESSION_NAME", "/tmp/fox.ipynb")

    assert in_files().budget == limits(("2", "day"))


# ------------------------------------------------------------------------------------ the network


NO_PROXIES = {name: "" for name in os.environ if name.lower().endswith("_proxy")}
FINE = [
    {},
    {"HTTPS_PROXY": "http://proxy.example:3128", "no_proxy": "localhost,::1,.example,10.0.0.0/8"},
    {"ALL_PROXY": "proxy.example:3128", "NO_PROXY": "*.example:80, http://[::1], 127.0.0.1"},
    {"ALL_PROXY": "socks5://proxy.example:1", "NO_PROXY": "*"},
    {"ALL_PROXY": "nonsense://", "all_proxy": "http://proxy.example"},
    {"HTTP_PROXY": "", "NO_PROXY": " ", "SSL_CERT_FILE": ""},
]
BROKEN = [
    ("ALL_PROXY", "socks5://127.0.0.1:1080"),
    ("all_proxy", "socks4://127.0.0.1:1080"),
    ("HTTPS_PROXY", "http://proxy.example:port"),
    ("http_proxy", "ftp://proxy.example"),
    ("NO_PROXY", "localhost,[::1]"),
    ("NO_PROXY", "fd00::/8"),
    ("no_proxy", "bücher.example"),
    ("SSL_CERT_FILE", "/no/such/file.pem"),
    ("SSL_CERT_FILE", __file__),
    ("SSLKEYLOGFILE", "/no/such/folder/keys"),
]


def clients_can_be_made(environ: dict[str, str]) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", "import httpx; httpx.AsyncClient()"],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def connect() -> object:
    return imagen_widget.ImagenClient("kkiai", api_key="made-up").provider.http


@pytest.mark.slow
@pytest.mark.parametrize("environ", FINE)
def test_an_environment_that_http_clients_understand_passes(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    connect()

    assert clients_can_be_made(environ)


@pytest.mark.slow
@pytest.mark.parametrize(("variable", "value"), BROKEN)
def test_an_environment_that_breaks_http_clients_is_told_by_its_variable(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidRequest, match=f"^{variable}: "):
        connect()

    assert not clients_can_be_made({variable: value})


# --------------------------------------------------------------------------------- the docs page


NONSENSE = {
    "provider": "nobody",
    "base_url": "ftp://x.example",
    "model": "",
    "home": "~nobody-here/x",
    "journal": "mysql://x",
    "store": "~nobody-here/x",
    "max_spend": "a lot",
    "max_spend_user": "some",
    "price": "cheap",
    "reuse": "maybe",
    "timeout": "soon",
    "poll_seconds": "0",
    "schemas": "maybe",
    "media_hosts": "http://x",
    "upload": "maybe",
    "provenance": "maybe",
    "demo_seconds": "-1",
    "save_dir": "",
    "num_images": "some",
    "quiet": "maybe",
}


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")

    for table in settings_page().split("\n\n"):
        assert table in page


@pytest.mark.parametrize("name", BY_NAME)
def test_an_example_has_an_effect_in_each_place(name: str, in_a_new_kernel: Path) -> None:
    setting = BY_NAME[name]
    environ = dict(KEYS)

    def in_force() -> tuple[object, ...]:
        settings = load(environ)
        return settings, settings.presets, settings.save_dir, settings.quiet

    unset = in_force()
    (in_a_new_kernel / "pyproject.toml").write_text(
        f'[tool.imagen-widget]\n{name.replace("_", "-")} = "{setting.example}"\n'
    )
    from_pyproject = in_force()
    (in_a_new_kernel / ".env").write_text(f'{setting.variable}="{setting.example}"\n')
    (in_a_new_kernel / "pyproject.toml").write_text("")
    from_dotenv = in_force()
    (in_a_new_kernel / ".env").write_text("")
    environ[setting.variable] = setting.example

    assert in_force() == from_dotenv == from_pyproject != unset


@pytest.mark.parametrize("name", sorted(NONSENSE))
def test_nonsense_is_an_error_that_names_the_setting(name: str) -> None:
    with pytest.raises(InvalidRequest, match=BY_NAME[name].variable):
        load(None, **{name: NONSENSE[name]})


@pytest.mark.parametrize("name", sorted({*NONSENSE} - {"model", "save_dir"}))
def test_nonsense_in_a_file_is_told_with_file_and_line(name: str, in_a_new_kernel: Path) -> None:
    variable, nonsense = BY_NAME[name].variable, NONSENSE[name]
    path = in_a_new_kernel / "pyproject.toml"
    path.write_text(
        f'[tool.other]\n{name} = 1\n[tool.imagen-widget]\n{name.replace("_", "-")} = "{nonsense}"\n'
    )
    with pytest.raises(InvalidRequest) as caught:
        in_files()
    assert str(caught.value).startswith(f"{variable} ({path}, line 4): ")

    path = in_a_new_kernel / ".env"
    path.write_text(f"# {variable}=1\n{variable}=\n\nexport {variable}='{nonsense}'\n")
    with pytest.raises(InvalidRequest) as caught:
        in_files()
    assert str(caught.value).startswith(f"{variable} ({path}, line 4): ")

    path.unlink()  # what stood there stays in force, and so does where it stood
    with pytest.raises(InvalidRequest, match=f"{re.escape(str(path))}, line 4"):
        in_files()


@pytest.mark.parametrize("count", ["0", "-1", "2.5", "two", "٢", "", " "])
def test_a_number_of_pictures_is_a_whole_number(count: str) -> None:
    if not count.strip():
        assert load({"IMAGEN_NUM_IMAGES": count}).presets == {}
        return
    with pytest.raises(InvalidRequest, match=r"IMAGEN_NUM_IMAGES: .* is not a number of pictures"):
        load({"IMAGEN_NUM_IMAGES": count})


def test_a_key_in_a_file_that_is_not_one_is_told_with_file_and_line(in_a_new_kernel: Path) -> None:
    path = in_a_new_kernel / ".env"
    for text, name in (
        ("A=1\nIMAGEN_API_KEY=your-key-here\n", "IMAGEN_API_KEY"),
        ("A=1\nFAL_KEY_ID=your-key-here\nFAL_KEY_SECRET=x\n", "FAL_KEY_ID"),
    ):
        path.write_text(text)
        with pytest.raises(CredentialsError) as caught:
            in_files()
        assert str(caught.value).startswith(f"{name} ({path}, line 2) holds")


def test_a_default_model_that_cannot_be_one_is_told_by_its_setting(
    in_a_new_kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = in_a_new_kernel / ".env"
    path.write_text("\nIMAGEN_MODEL=no such model\n")
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")

    for call in (imagen_widget.generate, imagen_widget.Studio().generate):
        with pytest.raises(InvalidRequest) as caught:
            call("a fox")
        says = f"IMAGEN_MODEL ({path}, line 2): there is no model 'no such model' here. Use "
        assert str(caught.value).startswith(says)
    with pytest.raises(InvalidRequest, match=r"^model: there is no model 'nor this'"):
        imagen_widget.generate("a fox", model="nor this")


def test_the_pyproject_example_of_the_page_is_read(in_a_new_kernel: Path) -> None:
    example = next(fence.text for fence in fences(PAGE) if fence.language == "toml")
    (in_a_new_kernel / "pyproject.toml").write_text(example)

    assert set(tomllib.loads(example)["tool"]["imagen-widget"]) >= {"model", "max-spend"}
    assert in_files().budget == limits(("2.50", "day"), ("40", "month"))
