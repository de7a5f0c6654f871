"""What status objects mean: every word and wrapper that fal and its gateways use."""

from __future__ import annotations

from typing import Any

import pytest

from imagen_widget._protocol._events import Done, LogLine, Queued, Running, find_outcome, read_event
from imagen_widget._protocol._ticket import Outcome
from tests.answers import RESULT, TICKET

LINE = {
    "message": "Generating 2 image(s)",
    "level": "INFO",
    "source": "USER",
    "timestamp": "2026-05-11T09:14:03.482913Z",
    "labels": {},
}
READ_LINE = LogLine("Generating 2 image(s)", "INFO", "2026-05-11T09:14:03.482913Z")
URL = RESULT["images"][0]["url"]

EVENTS: list[tuple[dict[str, Any], object]] = [
    (TICKET, Queued(0)),
    (TICKET | {"queue_position": 3}, Queued(3)),
    (TICKET | {"queue_position": None}, Queued(None)),
    (TICKET | {"queue_position": -1}, Queued(None)),
    (TICKET | {"queue_position": True}, Queued(None)),
    (TICKET | {"queue_position": "2"}, Queued(None)),
    ({"status": "PENDING"}, Queued()),
    ({"status": " queued "}, Queued()),
    ({"task_status": "SUBMITTED"}, Queued()),
    ({"status": "IN_PROGRESS"}, Running()),
    ({"status": "IN_PROGRESS", "logs": None}, Running()),
    ({"status": "IN_PROGRESS", "logs": []}, Running()),
    ({"status": "IN_PROGRESS", "logs": [LINE]}, Running((READ_LINE,), 1)),
    ({"status": "IN_PROGRESS", "logs": ["odd", 5, LINE]}, Running((READ_LINE,), 3)),
    ({"status": "IN_PROGRESS", "logs": {"0": "odd"}}, Running()),
    ({"status": "PROCESSING"}, Running()),
    ({"status": "IN_PROGRESS", "images": []}, Running()),
    ({"status": "IN_QUEUE", "output": {"images": []}}, Queued()),
    ({"status": "COMPLETED", "metrics": {"inference_time": 7.412}}, Done(7.412)),
    ({"status": "COMPLETED", "metrics": {"inference_time": None}}, Done()),
    ({"status": "COMPLETED", "metrics": None}, Done()),
    ({"status": "COMPLETED", "metrics": {"inference_time": float("nan")}}, Done()),
    ({"status": "COMPLETED", "metrics": {"inference_time": -4}}, Done()),
    ({"status": "SUCCEEDED"}, Done()),
    (
        {"status": "COMPLETED", "error": "timed out", "error_type": "request_timeout"},
        Done(trouble="timed out"),
    ),
    ({"status": "COMPLETED", "error_type": "request_timeout"}, Done(trouble="request_timeout")),
    ({"status": "FAILED"}, Done(trouble="FAILED")),
    ({"status": "CANCELLED"}, Done(trouble="CANCELLED")),
    ({"status": "ERROR", "error": {"message": "上游错误"}}, Done(trouble="上游错误")),
    ({"status": "FAILED", "error": "\ud800"}, Done(trouble="FAILED")),
    (RESULT, Done()),
    ({"status": "NOT_FOUND"}, None),
    ({"status": 200}, None),
    ({}, None),
]


@pytest.mark.parametrize(("body", "event"), EVENTS)
def test_each_status_object_means_one_event(body: dict[str, Any], event: object) -> None:
    assert read_event(body) == event


@pytest.mark.parametrize("wrapper", ["response", "result", "data", "output", "payload", "detail"])
def test_an_outcome_is_found_in_each_usual_wrapper(wrapper: str) -> None:
    assert find_outcome({"status": "COMPLETED", wrapper: RESULT}) == Outcome((URL,), 1234567)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"images": []}, Outcome(())),
        ({"images": [URL]}, Outcome((URL,))),
        ({"image": {"url": URL}}, Outcome((URL,))),
        ({"image": URL}, Outcome((URL,))),
        ({"images": [{"url": URL}, {"url": None}, {}, 7, ""]}, Outcome((URL,))),
        ({"images": [{"url": URL}], "seed": True}, Outcome((URL,))),
        ({"images": [{"url": URL}], "seed": 2**70}, Outcome((URL,))),
        ({"images": [{"url": URL}], "description": "a\nfox"}, Outcome((URL,), None, "a fox")),
        ({"images": None}, None),
        ({"images": {"url": URL}}, None),
    ],
)
def test_only_addresses_count_as_pictures(body: dict[str, Any], outcome: Outcome | None) -> None:
    assert find_outcome(body) == outcome


def test_no_more_pictures_are_taken_than_any_model_makes() -> None:
    outcome = find_outcome({"images": [{"url": f"https://x.test/{n}"} for n in range(10_000)]})

    assert outcome is not None
    assert len(outcome.urls) == 16


def test_a_hundred_thousand_lines_are_counted_and_the_last_are_kept() -> None:
    lines = [LINE | {"message": str(number)} for number in range(100_000)]

    event = read_event({"status": "IN_PROGRESS", "logs": lines})

    assert isinstance(event, Running)
    assert (event.count, len(event.logs)) == (100_000, 200)
    assert event.logs[-1].message == "99999"


def test_a_log_line_is_one_printable_line() -> None:
    lines = [{"message": "\x1b[2Jhi\n" + "x" * 10_000, "level": None, "timestamp": 5}]

    event = read_event({"status": "IN_PROGRESS", "logs": lines})

    assert isinstance(event, Running)
    (line,) = event.logs
    assert line.message.startswith("[2Jhi x")
    assert (len(line.message), line.level, line.timestamp) == (300, "", "")
