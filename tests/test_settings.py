"""Which provider, which key, where files go: one precedence, and no value that means nothing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import imagen_widget
from imagen_widget._client import ImagenClient
from imagen_widget._settings import (
    Settings,
    check_base_url,
    home_folder,
    is_loopback,
    load_settings,
)
from imagen_widget._settings._keys import Secret
from imagen_widget.errors import CredentialsError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(imagen_widget.__file__).parent
KEYS = {"IMAGEN_API_KEY": "gateway-key", "FAL_KEY": "fal-key"}


def _load(environ: dict[str, str] | None = None, **given: Any) -> Settings:  # noqa: ANN401 - any setting
    return load_settings(environ=environ or {}, folder=Path("/nowhere"), **given)


# ---------------------------------------------------------------------------------- the provider


@pytest.mark.parametrize(
    ("environ", "given", "provider", "key"),
    [
        ({}, {}, "demo", None),
        (KEYS, {}, "kkiai", "gateway-key"),
        ({"FAL_KEY": "fal-key"}, {}, "fal", "fal-key"),
        ({"FAL_KEY_ID": "a", "FAL_KEY_SECRET": "b"}, {}, "fal", "a:b"),
        (KEYS | {"IMAGEN_PROVIDER": "fal"}, {}, "fal", "fal-key"),
        (KEYS | {"IMAGEN_PROVIDER": "FAL"}, {"provider": "demo"}, "demo", None),
        ({}, {"api_key": "given"}, "kkiai", "given"),
        (KEYS, {"provider": "fal", "api_key": "given"}, "fal", "given"),
        (KEYS, {"api_key": Secret("hidden")}, "kkiai", "hidden"),
        (KEYS, {"provider": "demo", "api_key": "given"}, "demo", None),
    ],
)
def test_the_provider_follows_the_key_unless_it_is_named(
    environ: dict[str, str], given: dict[str, Any], provider: str, key: str | None
) -> None:
    settings = _load(environ, **given)

    assert settings.provider.name == provider
    assert settings.key == (None if key is None else Secret(key))


@pytest.mark.parametrize(
    ("provider", "variable"), [("kkiai", "IMAGEN_API_KEY"), ("fal", "FAL_KEY")]
)
def test_a_missing_key_is_said_at_once(provider: str, variable: str) -> None:
    other = {name: key for name, key in KEYS.items() if name != variable}

    with pytest.raises(CredentialsError, match=variable):
        _load(other, provider=provider)

    assert _load(other, provider=provider, need_key=False).key is None


def test_settings_never_show_the_key() -> None:
    assert "gateway-key" not in repr(_load(KEYS))


@pytest.mark.parametrize(
    "refuse",
    [
        lambda: load_settings(max_spend="much", api_key="made-up-key"),
        lambda: ImagenClient(base_url="nonsense", api_key="made-up-key"),
    ],
)
def test_a_key_that_was_passed_is_hidden_at_once(refuse: Callable[[], object]) -> None:
    """A traceback that shows variables must find no bare key in a frame of ours."""
    with pytest.raises(InvalidRequest) as caught:
        refuse()

    ours = [e for e in caught.traceback if Path(e.path).is_relative_to(PACKAGE)]
    assert ours
    assert "made-up-key" not in repr([entry.frame.f_locals for entry in ours])


def test_the_base_url_is_the_gateways_alone() -> None:
    environ = KEYS | {"IMAGEN_BASE_URL": "https://relay.example/fal/"}

    assert _load(environ).base_url == "https://relay.example/fal"
    assert _load(environ, provider="fal").base_url == "https://queue.fal.run"
    assert _load(environ, provider="demo").base_url == "https://demo.invalid"


# ---------------------------------------------------------------------------------- the base url


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://relay.example", "https://relay.example"),
        (" https://relay.example:8443/a/b/ ", "https://relay.example:8443/a/b"),
        ("http://localhost:8800", "http://localhost:8800"),
        ("http://127.0.0.1:8800/", "http://127.0.0.1:8800"),
        ("http://[::1]:8800", "http://[::1]:8800"),
    ],
)
def test_a_base_is_https_or_this_machine(url: str, base: str) -> None:
    assert check_base_url(url) == base


@pytest.mark.parametrize(
    "url",
    [
        "http://relay.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1@evil.example",
        "http://localhost\\@evil.example",
        "http://0.0.0.0",
        "http://127.1",
        "http://2130706433",
        "http://10.0.0.1",
        "ftp://relay.example",
        "//relay.example",
        "relay.example",
        "",
        "https://",
        "https://[",
        "https://relay.example:port",
        "https://relay.example:0",
        "https://user:word@relay.example",
        "https://relay.example/?x=1",
        "https://relay.example/#x",
        "https://relay.example/a/../b",
        "https://relay example",
        "https://relay.example/\r\nX-Evil: 1",
        "https://relay.example\x00",
    ],
)
def test_no_key_goes_in_cleartext_or_to_an_odd_address(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_base_url(url)

    assert caught.value.field == "base_url"


@given(st.text())
def test_any_text_is_a_base_or_refused_in_our_words(url: str) -> None:
    try:
        base = check_base_url(url)
    except InvalidRequest:
        return

    assert base.startswith(("https://", "http://localhost", "http://127.0.0.1", "http://[::1]"))


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost.localdomain", "0.0.0.0", "", "::"])  # noqa: S104 - hosts that are refused
def test_only_names_that_surely_mean_this_machine_are_loopback(host: str) -> None:
    assert not is_loopback(host)


# -------------------------------------------------------------------------------- the other ones


def test_the_defaults_need_no_setting_at_all() -> None:
    settings = _load()

    assert settings.model == "fal-ai/imagen4/preview"
    assert (settings.max_spend, settings.price, settings.poll_seconds) == (None, None, None)
    assert (settings.reuse, settings.provenance) == (True, True)
    assert (settings.timeout, settings.demo_seconds) == (300.0, 4.0)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_spend", "2.50", Decimal("2.50")),
        ("max_spend", "$2", Decimal(2)),
        ("max_spend", "0", Decimal(0)),
        ("price", "0.031", Decimal("0.031")),
        ("reuse", "no", False),
        ("reuse", "TRUE", True),
        ("provenance", "0", False),
        ("timeout", "12.5", 12.5),
        ("poll_seconds", "0.5", 0.5),
        ("demo_seconds", "0", 0.0),
        ("model", "imagen4-fast", "fal-ai/imagen4/preview/fast"),
    ],
)
def test_each_setting_is_read_from_the_environment_and_from_the_argument(
    name: str, text: str, value: object
) -> None:
    from_environment = _load({f"IMAGEN_{name.upper()}": text})
    from_argument = _load({f"IMAGEN_{name.upper()}": "nonsense"}, **{name: text})

    assert getattr(from_environment, name) == value
    assert getattr(from_argument, name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MAX_SPEND", "much"),
        ("MAX_SPEND", "-1"),
        ("MAX_SPEND", "nan"),
        ("MAX_SPEND", "inf"),
        ("PRICE", "4 cents"),
        ("REUSE", "maybe"),
        ("PROVENANCE", "2"),
        ("TIMEOUT", "0"),
        ("TIMEOUT", "-5"),
        ("TIMEOUT", "soon"),
        ("TIMEOUT", "inf"),
        ("POLL_SECONDS", "0"),
        ("DEMO_SECONDS", "-1"),
    ],
)
def test_a_value_that_means_nothing_is_an_error_that_names_its_setting(
    name: str, text: str
) -> None:
    """A cap that cannot be read must not become no cap."""
    with pytest.raises(InvalidRequest, match=f"IMAGEN_{name}"):
        _load({f"IMAGEN_{name}": text})


def test_the_home_is_where_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMAGEN_HOME", str(tmp_path / "here"))

    assert home_folder() == tmp_path / "here"
    assert home_folder("~/there") == Path.home() / "there"
    assert home_folder(tmp_path) == tmp_path
    assert not (tmp_path / "here").exists()


def test_a_home_of_nobody_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="IMAGEN_HOME"):
        home_folder("~no-such-user-here/x")


def test_without_a_word_the_home_is_the_users_data_folder() -> None:
    assert _load().home.name == "imagen_widget"
