"""A ticket's addresses are paths on the configured base, whatever host the server names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_widget._protocol._ticket import (
    REQUEST_ID,
    Outcome,
    Ticket,
    make_ticket,
    rebase,
    with_query,
)
from tests.answers import FAL, GATEWAY, ID, IMAGEN, TICKET

PATH = f"/fal-ai/imagen4/requests/{ID}"


def test_the_hosts_of_the_addresses_are_left_behind() -> None:
    ticket = make_ticket(IMAGEN, ID, provider="kkiai", base_url=GATEWAY, addresses=TICKET)

    assert ticket.base_url == GATEWAY
    assert ticket.status_path == f"{PATH}/status"
    assert ticket.response_path == PATH
    assert ticket.cancel_path == f"{PATH}/cancel"


def test_addresses_that_are_missing_are_built_from_the_app_not_the_route() -> None:
    ticket = make_ticket(IMAGEN, ID, provider="fal", base_url=FAL)

    assert ticket.status_path == f"{PATH}/status"
    assert ticket.response_path == PATH
    assert ticket.cancel_path == f"{PATH}/cancel"


@pytest.mark.parametrize("namespace", ["workflows", "comfy"])
def test_a_namespace_puts_one_more_segment_in_front(namespace: str) -> None:
    ticket = make_ticket(f"{namespace}/me/app/route", "r1", provider="fal", base_url=FAL)

    assert ticket.response_path == f"/{namespace}/me/app/requests/r1"


def test_a_prefix_of_the_base_is_not_doubled() -> None:
    url = f"https://relay.example/fal{PATH}/status"

    assert rebase(url, "https://relay.example/fal", ID, "/status") == f"{PATH}/status"
    assert rebase(f"{FAL}{PATH}/status", "https://relay.example/fal", ID, "/status") == (
        f"{PATH}/status"
    )


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (f"{FAL}{PATH}", PATH),
        (f"{FAL}{PATH}/response", f"{PATH}/response"),
        (f"{FAL}/fal-ai/imagen4/preview/requests/{ID}", f"/fal-ai/imagen4/preview/requests/{ID}"),
        (f"{FAL}{PATH}?_subdomain=queue", f"{PATH}?_subdomain=queue"),
        (f"https://stranger.example:9{PATH}", PATH),
        (f"https://user:word@stranger.example{PATH}", PATH),
        (PATH, PATH),
    ],
)
def test_the_path_is_all_that_counts(url: str, path: str) -> None:
    assert rebase(url, GATEWAY, ID, "") == path


@pytest.mark.parametrize(
    "url",
    [
        None,
        5,
        "",
        "https://[",
        f"{FAL}{PATH}/../../../admin",
        f"{FAL}/fal-ai/../requests/{ID}",
        f"{FAL}/fal-ai/./requests/{ID}",
        f"{FAL}/fal-ai/imagen4/requests/another",
        f"{FAL}{PATH}/status",
        f"{FAL}{PATH}/delete",
        f"{FAL}\\@evil.example{PATH}",
        f"{FAL}//evil.example{PATH}",
        f"{FAL}/requests/{ID}",
        f"{FAL}{PATH}?to=https://evil.example",
        f"{FAL}{PATH}%2f..%2fadmin",
        f"{FAL}/{'x' * 3000}{PATH}",
        f"javascript:{PATH}x",
    ],
)
def test_an_odd_address_is_not_used(url: object) -> None:
    assert rebase(url, GATEWAY, ID, "") is None


@given(st.text())
def test_whatever_the_address_the_path_stays_on_the_base(url: str) -> None:
    path = rebase(url, GATEWAY, ID, "")

    assert path is None or path.startswith("/")


@given(st.text(max_size=40), st.sampled_from(["..", "%2e%2e", "\\", "//", "@", "#", "?", "\x00"]))
def test_a_path_of_a_request_has_no_way_out(text: str, trick: str) -> None:
    url = f"{FAL}/fal-ai/{trick}{text}/requests/{ID}"

    path = rebase(url, GATEWAY, ID, "") or ""

    assert ".." not in path.split("/")
    assert "//" not in path
    assert "\\" not in path


def test_a_ticket_survives_the_journal() -> None:
    plain = make_ticket(IMAGEN, ID, provider="kkiai", base_url=GATEWAY, addresses=TICKET)
    early = make_ticket(
        IMAGEN, "direct", provider="kkiai", base_url=GATEWAY, outcome=Outcome(("u",), 5, "d")
    )

    assert [Ticket.from_json(t.to_json()) for t in (plain, early)] == [plain, early]


@pytest.mark.parametrize("text", ["", "a b", "../x", "a/b", "ä", "x" * 129, "a\n", "%2e"])
def test_what_is_no_request_id_is_told_apart(text: str) -> None:
    assert REQUEST_ID.fullmatch(text) is None


def test_a_query_is_added_to_what_there_is() -> None:
    assert with_query("/a", "logs=1") == "/a?logs=1"
    assert with_query("/a?b=2", "logs=1") == "/a?b=2&logs=1"
    assert with_query("/a", "") == "/a"
