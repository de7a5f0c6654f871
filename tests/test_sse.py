"""The event stream is decoded the same however it is cut into chunks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_widget._protocol._sse import EventDecoder

STREAM = (
    b'data: {"status":"IN_QUEUE"}\n\n: ping\n\ndata: {"status":"IN_PROGRESS"}\r\n\r\n'
    b"event: odd\nid: 7\nretry: 5\n\ndata:first\ndata: second\n\n"
)
EVENTS = [b'{"status":"IN_QUEUE"}', b'{"status":"IN_PROGRESS"}', b"first\nsecond"]


def test_events_are_the_data_between_blank_lines() -> None:
    assert EventDecoder().feed(STREAM) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_chunks_may_end_anywhere(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    decoder = EventDecoder()

    chunks = [STREAM[a:b] for a, b in itertools.pairwise(places)]
    events = [event for chunk in chunks for event in decoder.feed(chunk)]

    assert events == EVENTS


def test_an_event_without_its_blank_line_is_not_whole() -> None:
    assert EventDecoder().feed(b"data: half\n") == []


def test_comments_are_not_kept() -> None:
    decoder = EventDecoder()

    assert decoder.feed(b": keep-alive\n" * 1_000_000) == []
    assert decoder.feed(b"data: x\n\n") == [b"x"]


@pytest.mark.parametrize("chunk", [b"data: " + b"x" * 65536, b"data: " + b"x" * 65530 + b"\n"])
def test_an_event_without_end_is_refused(chunk: bytes) -> None:
    decoder = EventDecoder()

    def feed_on() -> None:
        for _ in range(100):
            decoder.feed(chunk)

    with pytest.raises(ValueError, match="too large"):
        feed_on()


def test_a_long_line_in_tiny_chunks_costs_no_more_than_it_must() -> None:
    """Quadratic work here would let a server stop the loop thread."""
    decoder = EventDecoder()

    for _ in range(1_000_000):
        decoder.feed(b"x")

    assert decoder.feed(b"\n") == []
