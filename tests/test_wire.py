"""Calls, answers, JSON, content coding and data: addresses."""

from __future__ import annotations

import base64
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_widget._protocol._wire import Answer, Lost, read_data_uri, read_json, unpack, write_json
from imagen_widget.errors import QueueError
from tests.answers import PAGE, answer

MB = 1024 * 1024


@pytest.mark.parametrize(("status", "ok"), [(199, False), (200, True), (299, True), (300, False)])
def test_only_two_hundreds_are_fine(status: int, ok: bool) -> None:  # noqa: FBT001 - a table
    assert Answer(status).ok is ok


@given(st.binary())
def test_reading_json_never_raises(body: bytes) -> None:
    Answer(200, {}, body).mapping()


@pytest.mark.parametrize("text", [b"[" * 100_000, b"9" * 5000, b"\xff\xfe\x00", b"", b'"\\ud8"'])
def test_json_that_cannot_be_held_is_none(text: bytes) -> None:
    assert read_json(text) is None


def test_what_is_sent_is_compact_utf8() -> None:
    assert write_json({"prompt": "ein Füchslein 狐", "num_images": 1}) == (
        '{"prompt":"ein Füchslein 狐","num_images":1}'.encode()
    )


@pytest.mark.parametrize(
    ("found", "page"),
    [
        (answer(200, PAGE), True),
        (answer(200, b"  \n<HTML lang=en>"), True),
        (answer(200, b"hello", content_type="text/HTML; charset=utf-8"), True),
        (answer(200, {"a": "<html>"}), False),
        (answer(200, b""), False),
    ],
)
def test_a_web_page_is_known_by_its_type_or_its_first_words(found: Answer, *, page: bool) -> None:
    assert found.is_page is page


@pytest.mark.parametrize("coding", ["", "identity", " IDENTITY "])
def test_what_is_not_packed_is_left_alone(coding: str) -> None:
    assert unpack(b"as it is", coding, most_bytes=1) == b"as it is"


@pytest.mark.parametrize(
    ("coding", "pack"),
    [("gzip", gzip.compress), ("X-Gzip", gzip.compress), ("deflate", zlib.compress)],
)
def test_what_is_packed_all_the_same_is_unpacked(coding: str, pack: object) -> None:
    assert callable(pack)
    assert unpack(pack(b"a fox" * 100), coding, most_bytes=MB) == b"a fox" * 100


@pytest.mark.parametrize(
    ("body", "coding", "reason"),
    [
        (gzip.compress(bytes(2 * MB)), "gzip", "larger than 1 MB"),
        (gzip.compress(b"a fox")[:-9], "gzip", "cut short"),
        (b"no gzip", "gzip", "broken"),
        (b"\x1b\x03", "br", "'br' was not asked for"),
        (b"x", "gzip, gzip", "'gzip, gzip' was not asked for"),
    ],
)
def test_a_bomb_and_a_broken_packing_are_refused(body: bytes, coding: str, reason: str) -> None:
    with pytest.raises(Lost, match=reason):
        unpack(body, coding, most_bytes=MB)


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64," + base64.b64encode(b"bytes").decode(),
        "DATA:image/png;BASE64,Ynl0ZXM%3D",
        "data:,bytes",
        "data:image/svg+xml,%62ytes",
    ],
)
def test_a_data_address_holds_its_bytes(url: str) -> None:
    assert read_data_uri(url) == b"bytes"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:image/png;base64", "malformed"),
        ("data:image/png;base64,####", "base64"),
        ("data:image/png;base64,YQ=", "base64"),
        ("data:image/png;base64,ä", "base64"),
        ("data:image/png;base64," + "A" * 2000, "too large"),
        ("data:," + "%41" * 2000, "too large"),
    ],
)
def test_a_data_address_is_refused_where_it_is_broken_or_too_large(url: str, reason: str) -> None:
    with pytest.raises(QueueError, match=reason):
        read_data_uri(url, most_bytes=1000)
