"""How far a job is, as a value and as a line."""

from __future__ import annotations

from decimal import Decimal

import pytest

from imagen_widget._generate._progress import (
    Event,
    Fetching,
    Phase,
    Progress,
    Submitted,
    Submitting,
    advance,
    price_text,
    status_text,
)
from imagen_widget._protocol._events import Done, LogLine, Queued, Running
from imagen_widget._protocol._ticket import make_ticket

START = Progress(
    phase=Phase.PREPARING,
    provider="fal",
    model="fal-ai/imagen4/preview",
    price=Decimal("0.04"),
    elapsed=3.44,
)
TICKET = make_ticket(
    "fal-ai/imagen4/preview", "req-1", provider="fal", base_url="https://queue.test"
)
LINE = LogLine("Image 1 of 2")


@pytest.mark.parametrize(
    ("events", "line"),
    [
        ([], "Preparing · 3.4 s · fal imagen4 · ≈ $0.04"),
        ([Submitting()], "Sending the request · 3.4 s · fal imagen4 · ≈ $0.04"),
        ([Submitted(TICKET)], "In the queue · 3.4 s · fal imagen4 · ≈ $0.04"),
        ([Queued(2)], "In the queue, 2 ahead · 3.4 s · fal imagen4 · ≈ $0.04"),
        ([Queued(0)], "In the queue, next · 3.4 s · fal imagen4 · ≈ $0.04"),
        ([Queued(2), Running()], "Drawing · 3.4 s · fal imagen4 · ≈ $0.04"),
        ([Running((LINE,), 1)], "Image 1 of 2 · 3.4 s · fal imagen4 · ≈ $0.04"),
        ([Running((LINE,), 1), Running()], "Image 1 of 2 · 3.4 s · fal imagen4 · ≈ $0.04"),
        ([Done(2.5)], "Fetching the pictures · 3.4 s · fal imagen4 · ≈ $0.04"),
        ([Fetching(2)], "Fetching the pictures · 3.4 s · fal imagen4 · ≈ $0.04"),
    ],
)
def test_each_event_is_a_line(events: list[Event], line: str) -> None:
    progress = START
    for event in events:
        progress = advance(progress, event)

    assert status_text(progress) == line


def test_the_ticket_brings_the_request_id() -> None:
    assert advance(START, Submitted(TICKET)).request_id == "req-1"


def test_only_the_last_three_phases_are_an_end() -> None:
    assert [phase for phase in Phase if phase.over] == [Phase.DONE, Phase.FAILED, Phase.CANCELLED]


def test_what_is_over_says_how_it_ended() -> None:
    over = Progress(Phase.FAILED, "fal", "x/y", None, note="The balance is spent.")

    assert status_text(over) == "The balance is spent."


@pytest.mark.parametrize(
    ("price", "provider", "text"),
    [
        (Decimal("0.04"), "fal", "≈ $0.04"),
        (Decimal("0.5"), "fal", "≈ $0.50"),
        (Decimal("0.0035"), "fal", "≈ $0.0035"),
        (None, "fal", "price unknown"),
        (Decimal(0), "demo", "free (demo)"),
    ],
)
def test_an_expected_price_in_words(price: Decimal | None, provider: str, text: str) -> None:
    assert price_text(price, provider=provider) == text
