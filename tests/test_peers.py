"""Pictures come from public hosts over https, or from the configured host itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_widget._client._peers import PeerRule, is_public, join
from imagen_widget.errors import QueueError

pytestmark = pytest.mark.anyio

PUBLIC, PRIVATE = "93.184.216.34", "10.0.0.7"
BASE = "https://gateway.example/fal"
LOOPBACK = "http://127.0.0.1:8800"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTP_PROXY",
        "http_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


def _rule(base: str = BASE, *addresses: str, checks: bool = True) -> PeerRule:
    async def resolve(host: str, port: int) -> list[str]:
        assert host
        assert port
        return list(addresses or [PUBLIC])

    return PeerRule(base, checks=checks, resolve=resolve)


@pytest.mark.parametrize(
    "url",
    [
        "https://v3b.fal.media/files/b/lion/one.png",
        "https://v3b.fal.media:8443/one.png?x=y#z",
        "https://xn--bcher-kva.example/a b.png",
        f"https://{PUBLIC}/one.png",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/one.png",
        "https://gateway.example/any/where.png",
        "https://GATEWAY.example:443/one.png",
        "https://gateway.example./one.png",
    ],
)
async def test_a_public_address_may_be_fetched(url: str) -> None:
    await _rule().check_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "one.png",
        "file:///etc/passwd",
        "ftp://v3.fal.media/one.png",
        "http://v3.fal.media/one.png",
        "http://gateway.example/one.png",
        "https:///one.png",
        "https://[",
        "https://[::1",
        "https://host:port/one.png",
        "https://user:word@v3.fal.media/one.png",
        "https://gateway.example@evil.example/one.png",
        "https://gateway.example\\@evil.example/one.png",
        "https://gateway.example\\.evil.example/one.png",
        "https://v3.fal.media/one.png\r\nX-Evil: 1",
        "https://v3.fal\tmedia/one.png",
        "https://v3.fal.media/\ud800.png",
        "https://v3%2efal.media/one.png",
        "https://127.0.0.1/one.png",
        "https://127.1/one.png",
        "https://2130706433/one.png",
        "https://0x7f000001/one.png",
        "https://0x7f.1/one.png",
        "https://0177.0.0.1/one.png",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/one.png",
        "https://100.64.0.1/one.png",
        "https://0.0.0.0/one.png",
        "https://224.0.0.1/one.png",
        "https://255.255.255.255/one.png",
        "https://[::1]/one.png",
        "https://[::]/one.png",
        "https://[fe80::1%25eth0]/one.png",
        "https://[fd00::1]/one.png",
        "https://[::ffff:10.0.0.1]/one.png",
        "https://[::ffff:127.0.0.1]/one.png",
        "https://[::127.0.0.1]/one.png",
        "https://[64:ff9b::10.0.0.1]/one.png",
        "https://[2002:7f00:1::]/one.png",
        "http://127.0.0.1:8800/one.png",
    ],
)
async def test_anything_else_is_refused_before_a_connection(url: str) -> None:
    with pytest.raises(QueueError, match="it was not fetched"):
        await _rule(checks=False).check_address(url)


@pytest.mark.parametrize("addresses", [(PRIVATE,), (PUBLIC, PRIVATE), ("::1",), ("no address",)])
async def test_a_name_that_leads_inside_is_refused(addresses: tuple[str, ...]) -> None:
    with pytest.raises(QueueError, match="not public"):
        await _rule(BASE, *addresses).check_address("https://rebound.example/one.png")


@pytest.mark.parametrize(
    "peer", [(PRIVATE, 443), ("::1", 443, 0, 0), None, (), "10.0.0.1", (None,)]
)
def test_the_connected_address_is_checked_once_more(peer: object) -> None:
    """The name may have changed its mind since it was looked up."""
    with pytest.raises(QueueError, match="not public"):
        _rule().check_connected(peer, "https://rebound.example/one.png")


def test_a_public_connection_passes() -> None:
    _rule().check_connected((PUBLIC, 443), "https://v3.fal.media/one.png")


def test_the_configured_host_may_be_inside() -> None:
    _rule().check_connected((PRIVATE, 443), "https://gateway.example/one.png")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8800/a", "http://localhost:9/a", "https://127.0.0.1:9/a", "http://[::1]/a"],
)
async def test_a_base_on_this_machine_may_name_this_machine(url: str) -> None:
    await _rule(LOOPBACK, PRIVATE).check_address(url)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/a", "https://169.254.169.254/a", "http://evil.example/a"]
)
async def test_a_base_on_this_machine_opens_no_other(url: str) -> None:
    with pytest.raises(QueueError):
        await _rule(LOOPBACK).check_address(url)


@pytest.mark.parametrize(
    "url", ["https://a..b/x", f"https://{'a' * 70}.example/x", "https://ä-.-ö/x"]
)
async def test_a_host_that_is_no_name_fails_at_the_connection_only(url: str) -> None:
    await PeerRule(BASE).check_address(url)


async def test_where_a_proxy_connects_names_are_left_to_it_but_numbers_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    rule = _rule(BASE, PRIVATE)

    await rule.check_address("https://v3.fal.media/one.png")
    rule.check_connected((PRIVATE, 3128), "https://v3.fal.media/one.png")

    with pytest.raises(QueueError, match="not public"):
        await rule.check_address("https://0xa000001/one.png")


@given(st.text())
async def test_any_address_is_judged_in_our_words(url: str) -> None:
    for candidate in (url, f"https://{url}", f"https://v3.fal.media/{url}"):
        try:
            await _rule().check_address(candidate)
        except QueueError:
            continue
        assert candidate.lower().startswith("https://")


@pytest.mark.parametrize(
    "address", ["", "here", "1.2.3", "10.0.0.1", "fe80::1%eth0", "::", "2001::1"]
)
def test_what_is_not_surely_public_is_not(address: str) -> None:
    assert not is_public(address)


def test_a_redirect_is_read_against_where_it_came_from() -> None:
    assert join("https://a.example/x/y", "../z") == "https://a.example/z"
    assert join("https://a.example/x", "//b.example/z") == "https://b.example/z"
    with pytest.raises(QueueError, match="malformed"):
        join("https://a.example/x", "https://[")
