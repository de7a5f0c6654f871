"""fal's queue without a network: what each answer means, where calls go, and when to ask again."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from imagen_widget import Account, Done, LogLine, Queued, Running, Ticket
from imagen_widget._providers import Answer, answers, fal, http, provider

if TYPE_CHECKING:
    from collections.abc import Callable

FAL = "https://queue.fal.run"
BASE = "https://www.kkiai.com"
MODEL = "fal-ai/imagen4/preview"
ID = "7b1e6d0e-3d9c-4c0f-9a63-0d7a7f3c2d11"
PATH = f"/fal-ai/imagen4/requests/{ID}"
ACCOUNT = Account("kkiai", "kkiai", BASE, "Bearer", ("IMAGEN_API_KEY",), MODEL)
PROMPT = "a very private prompt"
URL = "https://v3b.fal.media/files/b/lion/one.png"
RESULT: dict[str, Any] = {"images": [{"url": URL, "content_type": "image/png"}], "seed": 5}
TICKET: dict[str, Any] = {
    "status": "IN_QUEUE",
    "request_id": ID,
    "response_url": f"{FAL}{PATH}",
    "status_url": f"{FAL}{PATH}/status",
    "cancel_url": f"{FAL}{PATH}/cancel",
    "logs": None,
    "metrics": {},
    "queue_position": 0,
}
PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head></html>"


def answer(status: int, body: object = b"", **headers: str) -> Answer:
    """Return an answer; what is not bytes becomes JSON, and `_` in header names a hyphen."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): v for name, v in headers.items()}, raw)


def ticket(model: str = MODEL, base_url: str = BASE, **addresses: str) -> Ticket:
    """Return the ticket of a job."""
    draft = Ticket(ACCOUNT.name, base_url, model, request_id="", created=1000.0)
    found = fal.read_submit(answer(200, {"request_id": ID, **addresses}), draft, ACCOUNT)
    assert isinstance(found, Ticket)
    return found


# -------------------------------------------------------------------------------- tickets and calls


def test_each_call_goes_to_the_app_on_the_configured_base_whatever_the_ticket_names() -> None:
    job = ticket(base_url="https://relay.example/fal", **{**TICKET, "logs": ""})
    base = f"https://relay.example/fal{PATH}"

    assert fal.status_call(job).url == f"{base}/status?logs=1"
    assert fal.status_call(job, logs=False).url == f"{base}/status"
    assert fal.status_call(job, stream=True).url == f"{base}/status/stream?logs=1"
    assert [job.get(f"{name}_path") for name in ("response", "cancel")] == [PATH, f"{PATH}/cancel"]


@pytest.mark.parametrize("name", ["body", "task", "job", "request", "input"])
def test_an_input_picture_that_a_ticket_repeats_is_not_a_result(name: str) -> None:
    body = {"request_id": ID, name: {"prompt": "make it snow", "image_url": URL}}
    draft = Ticket(ACCOUNT.name, BASE, MODEL, request_id="")

    sent = json.dumps(body).encode()

    assert isinstance(fal.read_submit(answer(200, body), draft, ACCOUNT, sent=sent), Ticket)


def test_a_query_of_the_tickets_address_is_kept() -> None:
    job = ticket(status_url=f"{FAL}{PATH}/status?_subdomain=queue")

    assert fal.status_call(job).url == f"{BASE}{PATH}/status?_subdomain=queue&logs=1"
    assert (
        fal.status_call(job, stream=True).url
        == f"{BASE}{PATH}/status/stream?_subdomain=queue&logs=1"
    )


@pytest.mark.parametrize("namespace", ["workflows", "comfy"])
def test_a_namespace_puts_one_more_segment_in_front(namespace: str) -> None:
    job = ticket(f"{namespace}/me/app/route")

    assert job.get("response_path") == f"/{namespace}/me/app/requests/{ID}"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (f"{FAL}{PATH}", PATH),
        (f"{FAL}{PATH}/response", f"{PATH}/response"),
        (f"{FAL}/fal-ai/imagen4/preview/requests/{ID}", f"/fal-ai/imagen4/preview/requests/{ID}"),
        (f"https://stranger.example:9{PATH}", PATH),
        (f"https://user:word@stranger.example{PATH}", PATH),
        (f"{BASE}/fal{PATH}", PATH),
        (PATH, PATH),
    ],
)
def test_of_an_address_only_the_path_counts(url: str, path: str) -> None:
    assert fal.rebase(url, f"{BASE}/fal", ID, "") == path


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
        f"{FAL}/fal-ai/imagen4/requests/..",
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
    assert fal.rebase(url, BASE, ID, "") is None


@given(st.text(max_size=40), st.sampled_from(["..", "%2e%2e", "\\", "//", "@", "#", "?", "\x00"]))
def test_a_path_of_a_request_has_no_way_out(text: str, trick: str) -> None:
    path = fal.rebase(f"{FAL}/fal-ai/{trick}{text}/requests/{ID}", BASE, ID, "") or "/"

    assert path.startswith("/")
    assert ".." not in path.split("/")
    assert "//" not in path
    assert "\\" not in path


@pytest.mark.parametrize(
    "text", ["", "a b", "../x", "a/b", "ä", "x" * 301, "a\n", "%2e", ".", "..", "...", "a?b", "a#b"]
)
def test_what_would_be_another_path_is_not_an_id(text: str) -> None:
    assert not fal.REQUEST_ID.fullmatch(text)


# --------------------------------------------------------------------------------- status objects

LINE = {"message": "Generating", "level": "INFO", "timestamp": "2026-05-11T09:14:03Z"}
READ_LINE = LogLine("Generating", "INFO", "2026-05-11T09:14:03Z")
EVENTS: list[tuple[dict[str, Any], object]] = [
    (TICKET, Queued(0)),
    (TICKET | {"queue_position": 3}, Queued(3)),
    (TICKET | {"queue_position": -1}, Queued()),
    (TICKET | {"queue_position": True}, Queued()),
    (TICKET | {"queue_position": "2"}, Queued()),
    ({"status": " queued "}, Queued()),
    ({"task_status": "SUBMITTED"}, Queued()),
    ({"code": 200, "status": "success", "data": {"status": "IN_QUEUE"}}, Queued()),
    ({"status": "IN_PROGRESS", "logs": None}, Running()),
    ({"status": "IN_PROGRESS", "logs": [LINE]}, Running((READ_LINE,), 1)),
    ({"status": "IN_PROGRESS", "logs": ["odd", 5, LINE]}, Running((READ_LINE,), 3)),
    ({"status": "IN_PROGRESS", "logs": {"0": "odd"}}, Running()),
    ({"status": "PROCESSING", "images": []}, Running()),
    ({"status": "COMPLETED", "metrics": {"inference_time": 7.412}}, Done(7.412)),
    ({"status": "COMPLETED", "metrics": {"inference_time": float("nan")}}, Done()),
    ({"status": "COMPLETED", "metrics": {"inference_time": -4}}, Done()),
    (
        {"status": "COMPLETED", "error": "timed out", "error_type": "request_timeout"},
        Done(trouble="timed out"),
    ),
    ({"status": "COMPLETED", "error_type": "request_timeout"}, Done(trouble="request_timeout")),
    ({"status": "CANCELLED"}, Done(trouble="CANCELLED")),
    ({"status": "ERROR", "error": {"message": "上游错误"}}, Done(trouble="上游错误")),
    ({"status": "FAILED", "error": "\ud800"}, Done(trouble="FAILED")),
    (RESULT, Done()),
    ({"images": []}, Done()),
    ({"status": "CONFUSED"}, answers.Unclear("CONFUSED", "word")),
    ({"status": "NOT_FOUND"}, None),
    ({"status": 200}, None),
    ({}, None),
]


@pytest.mark.parametrize(("body", "event"), EVENTS)
def test_each_status_object_means_one_event(body: dict[str, Any], event: object) -> None:
    assert fal.read_event(body, BASE) == event


def test_a_hundred_thousand_lines_are_counted_and_the_last_are_kept() -> None:
    lines = [LINE | {"message": str(number)} for number in range(100_000)]

    event = fal.read_event({"status": "IN_PROGRESS", "logs": lines}, BASE)

    assert isinstance(event, Running)
    assert (event.count, len(event.logs), event.logs[-1].message) == (100_000, 200, "99999")


def test_a_log_line_is_one_printable_line() -> None:
    lines = [{"message": "\x1b[2Jhi\n" + "x" * 10_000, "level": None, "timestamp": 5}]

    event = fal.read_event({"status": "IN_PROGRESS", "logs": lines}, BASE)

    assert isinstance(event, Running)
    (line,) = event.logs
    assert line.message.startswith("[2Jhi x")
    assert (len(line.message), line.level, line.timestamp) == (300, "", "")


@pytest.mark.parametrize(
    ("body", "urls"),
    [
        ({"images": [{"url": URL}, {"url": None}, {}, 7, ""]}, (URL,)),
        ({"images": [{"url": f"https://x.test/{n}"} for n in range(10_000)]}, None),
        ({"images": {"url": URL}}, (URL,)),
        ({"images": None}, None),
        ({"image": {"url": {"url": {"url": {"url": {"url": URL}}}}}}, (URL,)),
        ({"request_id": "x", "url": URL}, None),
        ({"data": {"request_id": "x", "url": URL}}, None),
        ({"images": ["processing"]}, ()),
        ({"images": ["javascript:alert(1)", "file:///x"]}, ()),
        (
            {"images": ["out/one.png", "./two.webp?x"]},
            (f"{BASE}/out/one.png", f"{BASE}/two.webp?x"),
        ),
    ],
)
def test_only_addresses_count_as_pictures(body: object, urls: tuple[str, ...] | None) -> None:
    found = answers.find_pictures(body, BASE)

    if urls is None:
        assert found is None or len(found.pictures) == answers.MAX_PICTURES
    else:
        assert found is not None
        assert tuple(served.url for served in found.pictures) == urls


# ------------------------------------------------------------------------------------- the stream

STREAM = (
    b'data: {"status":"IN_QUEUE"}\n\n: ping\n\ndata: {"status":"IN_PROGRESS"}\r\n\r\n'
    b"event: odd\nid: 7\nretry: 5\n\ndata:first\ndata: second\n\n"
)


def decoder() -> Callable[[bytes], list[bytes]]:
    """Return what takes the chunks of one stream."""
    return partial(fal.take_events, line=bytearray(), event=bytearray())


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_the_chunks_of_a_stream_may_end_anywhere(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    feed = decoder()

    found = [data for a, b in itertools.pairwise(places) for data in feed(STREAM[a:b])]

    assert found == [b'{"status":"IN_QUEUE"}', b'{"status":"IN_PROGRESS"}', b"first\nsecond"]


def test_comments_of_a_stream_are_not_kept() -> None:
    feed = decoder()

    assert feed(b": keep-alive\n" * 1_000_000 + b"data: half\n") == []
    assert feed(b"\n") == [b"half"]


@pytest.mark.parametrize("chunk", [b"data: " + b"x" * 65536, b"data: " + b"x" * 65530 + b"\n"])
def test_an_event_without_end_is_refused(chunk: bytes) -> None:
    feed = decoder()

    def feed_on() -> None:
        for _ in range(100):
            feed(chunk)

    with pytest.raises(ValueError, match="too large"):
        feed_on()


def test_a_long_line_in_tiny_chunks_costs_no_more_than_it_must() -> None:
    """Quadratic work here would let a server stop the loop thread."""
    feed = decoder()

    for _ in range(1_000_000):
        feed(b"x")

    assert feed(b"\n") == []


# ------------------------------------------------------------------- what a failing answer says

DETAIL = {
    "loc": ["body", "prompt"],
    "msg": "The content could not be processed.",
    "type": "content_policy_violation",
    "ctx": {},
    "input": {"prompt": PROMPT},
}
ECHOING = {"detail": [DETAIL]}
SAID: list[tuple[object, str, str]] = [
    ({"detail": "Request is still in progress"}, "Request is still in progress", ""),
    (ECHOING, "The content could not be processed.", "content_policy_violation"),
    (
        {"detail": {"error": "EndpointDeprecated", "message": "Not supported."}},
        "Not supported.",
        "EndpointDeprecated",
    ),
    ({"detail": "Gone", "error_type": "runner_disconnected"}, "Gone", "runner_disconnected"),
    (
        {
            "error": {
                "message": "无效的令牌 (id: 2026)",
                "type": "new_api_error",
                "code": "",
            }
        },
        "无效的令牌 (id: 2026)",
        "new_api_error",
    ),
    (
        {"error": {"message": "", "localized_message": "余额不足", "code": "quota"}},
        "余额不足",
        "quota",
    ),
    ({"code": 401, "message": "no such token", "data": None}, "no such token", ""),
    ({"description": "busy", "type": "x", "code": 4}, "busy", ""),
    ({"detail": None, "error": "broken"}, "broken", ""),
    ({"detail": [], "message": "empty"}, "empty", ""),
    (
        {"error": {"message": f"status 422: {json.dumps(ECHOING)}", "type": "one_api_error"}},
        "The content could not be processed.",
        "content_policy_violation",
    ),
    ({"a": 1, "b": 2}, "an object with a, b", ""),
    ([1], "JSON that is not an object", ""),
    (PAGE, "a web page instead of an answer", ""),
    (b"\x1b[31mred\x1b[0m\n", "[31mred [0m", ""),
]


@pytest.mark.parametrize(("body", "text", "kind"), SAID)
def test_each_shape_of_a_failure_gives_its_words_and_its_kind(
    body: object, text: str, kind: str
) -> None:
    trouble = answers.read_trouble(answer(422, body))

    assert (trouble.text, trouble.kind) == (text, kind)


def test_the_field_and_what_it_may_be_are_read() -> None:
    detail = {"loc": ["body", "aspect_ratio"], "msg": "wrong", "ctx": {"expected": ["1:1", "4:3"]}}

    error = answers.failure(answer(422, {"detail": [detail]}), model=MODEL, account=ACCOUNT)

    assert "aspect_ratio: fal-ai/imagen4/preview refused the request: wrong" in str(error)
    assert "(allowed: 1:1, 4:3)" in str(error)
    assert getattr(error, "field", "") == "aspect_ratio"


@pytest.mark.parametrize(
    "body",
    [
        ECHOING,
        {"error": {"message": json.dumps(ECHOING)}},
        {"error": {"message": f"upstream said: 422 {json.dumps(ECHOING)}"}},
        {"message": json.dumps({"error": json.dumps(ECHOING)})},
        {"message": f"bad answer {json.dumps(ECHOING)[:-4]}"},
        {"unheard_of": {"prompt": PROMPT}, "input": PROMPT},
        {"detail": [PROMPT]},
        {"detail": {"message": {"prompt": PROMPT}}},
        {"detail": [{"msg": {"prompt": PROMPT}, "ctx": {"expected": [{"prompt": PROMPT}]}}]},
    ],
)
def test_no_failure_echoes_the_prompt(body: object) -> None:
    found = answer(422, body)

    assert PROMPT not in repr(answers.read_trouble(found))
    assert PROMPT not in str(answers.failure(found, model=MODEL, account=ACCOUNT))


# ------------------------------------------------------------------------- retired models' names


@pytest.mark.parametrize("name", ["kkiai", "fal"])
def test_a_retired_model_names_a_successor_that_this_provider_serves(name: str) -> None:
    account = Account(name, name, BASE, "", (), "fal-ai/nano-banana")

    known = str(answers.retired(MODEL, "", account))
    unknown = str(answers.retired("somebody/unheard-of", "gone", account))

    assert f"{MODEL} is not served here." in known
    assert "instead: -m nano-banana" in known
    assert "is not served here: gone" in unknown
    assert "Use nano-banana instead: -m nano-banana (model='nano-banana')." in unknown


# ------------------------------------------------------------------------------ answers and bytes


@given(st.binary())
def test_reading_json_never_raises(body: bytes) -> None:
    _ = Answer(200, {}, body).mapping


@pytest.mark.parametrize("text", [b"[" * 100_000, b"9" * 5000, b"\xff\xfe\x00", b"", b'"\\ud8"'])
def test_json_that_cannot_be_held_is_not_read(text: bytes) -> None:
    assert answers.read_json(text) is None
    assert Answer(200, {}, text).mapping is None


def test_what_is_sent_is_compact_utf8() -> None:
    assert (
        answers.write_json({"prompt": "ein Füchslein 狐"})
        == '{"prompt":"ein Füchslein 狐"}'.encode()
    )


@pytest.mark.parametrize(
    ("body", "coding", "reason"),
    [
        (gzip.compress(bytes(2 << 20), mtime=0), "gzip", "larger than 1 MB"),
        (gzip.compress(b"a fox", mtime=0)[:-9], "gzip", "cut short"),
        (b"\x1f\x8bno gzip", "gzip", "broken"),
        (zlib.compress(bytes(2 << 20)), "deflate", "larger than 1 MB"),
    ],
)
def test_a_bomb_and_a_broken_packing_are_refused(body: bytes, coding: str, reason: str) -> None:
    with pytest.raises(answers.Lost, match=reason):
        http.unpack(body, coding, max_bytes=1 << 20)


# ------------------------------------------------------------------------------ when to ask again

NOON = 1_790_251_200.0  # Thu, 24 Sep 2026 12:00:00 GMT, in Unix seconds
CHANCES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Thu, 24 Sep 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Thu, 24 Sep 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "inf"}, provider.MAX_RETRY_AFTER_SECONDS),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Thu, 99 Sep 2026"}, None),
    ],
)
def test_retry_after_is_read_in_each_form_and_bounded(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert provider.retry_after(headers, now=NOON) == seconds


@given(st.text(max_size=40))
def test_no_text_of_a_server_breaks_retry_after_or_its_bounds(text: str) -> None:
    seconds = provider.retry_after({"retry-after": text, "retry-after-ms": text}, now=NOON)

    assert seconds is None or 0 <= seconds <= provider.MAX_RETRY_AFTER_SECONDS


@given(st.integers(0, 10_000), CHANCES)
def test_a_backoff_is_never_nothing_and_never_long(attempt: int, chance: float) -> None:
    assert 0.1 < provider.RetryBudget(lambda: chance).delay(attempt) <= 8.0


def test_an_empty_budget_slows_every_retry_down_and_successes_fill_it_again() -> None:
    budget = provider.RetryBudget(lambda: 0.0)

    empty = [budget.delay(0) for _ in range(13)]
    for _ in range(100):
        budget.tokens += 1
    full = [budget.delay(0) for _ in range(13)]

    assert empty == full == [0.125] * 12 + [8.0]


def simulate(wait: Callable[[float], float], service: Callable[[], float]) -> tuple[float, float]:
    """Return requests a job and mean delay in seconds, where a round trip takes 50 ms."""
    requests, delay, jobs, trip = 0, 0.0, 600, 0.05
    for _ in range(jobs):
        ready, now = service(), trip / 2
        requests += 1
        while now < ready:
            now += wait(now) + trip
            requests += 1
        delay += now + trip / 2 - ready
    return requests / jobs, delay / jobs


@given(
    st.lists(st.floats(0.05, 600), max_size=50),
    st.floats(0.02, 5),
    st.none() | st.floats(0, 1e6),
    CHANCES,
    st.integers(1, 50),
)
def test_a_wait_keeps_its_bounds_whatever_is_known(
    times: list[float], shortest: float, running: float | None, chance: float, jobs: int
) -> None:
    expected = fal.expected_seconds(times, guess=8.0)

    seconds = fal.poll_seconds(running, expected, shortest=shortest, chance=chance, jobs=jobs)

    assert seconds >= shortest * 0.9
    assert seconds <= max(fal.MAX_POLL_SECONDS, 2 * shortest) * 1.1


@pytest.mark.parametrize(
    ("shortest", "median", "sigma", "share", "delay"),
    [  # of the requests that fal-client makes by asking each 0.1 s, and seconds
        (0.1, 8.0, 0.35, 0.48, 0.16),
        (0.1, 4.8, 0.11, 0.32, 0.11),
        (0.05, 4.8, 0.11, 0.35, 0.11),
        (1.0, 8.0, 0.35, 0.15, 0.60),
    ],
)
def test_a_known_model_takes_a_part_of_fal_clients_requests_for_little_delay(
    shortest: float, median: float, sigma: float, share: float, delay: float
) -> None:
    chance = random.Random(7)

    def service() -> float:
        return median * chance.lognormvariate(0, sigma)

    expected = fal.expected_seconds([service() for _ in range(60)], guess=8.0)
    theirs = simulate(lambda _: 0.1, service)
    ours = simulate(
        lambda t: fal.poll_seconds(t, expected, shortest=shortest, chance=chance.random()),
        service,
    )

    assert ours[0] <= theirs[0] * share
    assert ours[1] <= delay


def test_a_late_job_is_asked_for_ever_less_often_and_each_of_many_too() -> None:
    expected = fal.expected_seconds([4.5, 4.6, 4.7, 4.8, 4.9, 5.0], guess=8.0)
    wait = partial(fal.poll_seconds, expected=expected, shortest=0.02, chance=0.5)

    late = [wait(t) for t in (8, 12, 20, 40, 80)]
    many = [wait(4.8, jobs=jobs) for jobs in (25, 100, 1000)]

    assert all(a < b for a, b in itertools.pairwise(late))
    assert many[0] == 4.8 * 0.018 < many[1] < many[2] == 2.5
    assert wait(None) == 1.0
    assert wait(0.5) > 1.0
