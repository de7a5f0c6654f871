"""One job's way: written down before it is sent, kept before it is shown, never paid twice."""

from __future__ import annotations

import base64
import math
import pkgutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from imagen_widget import (
    Done,
    Fetching,
    History,
    ImageRequest,
    Job,
    Phase,
    Progress,
    Running,
    Studio,
    Submitted,
    Submitting,
    errors,
    generate,
    start,
)
from tests import books
from tests.clock import Clock
from tests.conftest import PATIENT_SECONDS, Expire, LeaveBehind
from tests.fakequeue import (
    TOOK_SECONDS,
    Break,
    FakeQueue,
    Received,
    Reply,
    Scripted,
    page,
    picture,
)

pytestmark = pytest.mark.usefixtures("quick")

WAIT_SECONDS = 60.0
LONG_SECONDS = 3600.0
REJECTED = Reply(
    422, {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "content_policy_violation"}]}
)
REQUESTED = Reply(202, {"status": "CANCELLATION_REQUESTED"})
TRACED = {"x-fal-request-id": "to be made by the queue"}
DIRECT = "gpt-image-1.5"


def begin(
    prompt: str = "a red fox",
    *,
    at: type | None = None,
    then: Callable[[Job], object] = lambda _: None,
    **options: Any,
) -> Job:
    """Start a job; when it comes to an event of this type, call something with its handle."""
    handle: Future[Job] = Future()

    def on_event(event: object) -> None:
        if at is not None and isinstance(event, at):
            then(handle.result(WAIT_SECONDS))

    job = start(prompt, on_event=on_event, **options)
    handle.set_result(job)
    return job


# ------------------------------------------------------------------------------- the order of steps


def test_a_request_becomes_pictures_on_disk(queue: FakeQueue) -> None:
    queue.polls = 2

    generation = generate("two red foxes", num_images=2)

    assert [image.path.exists() for image in generation] == [True, True]
    assert [image.data for image in generation] == [
        picture(f"/files/req-1/{number}.png") for number in range(2)
    ]
    assert (generation.request_id, generation.seed) == ("req-1", 7)
    assert generation.cost == pytest.approx(0.08)
    assert generation.cost_source == "list"
    assert books.states() == ["done"]
    assert queue.log == [
        *("POST submit", "GET status", "GET status", "GET status", "GET result"),
        *("GET media", "GET media"),
    ]


def test_each_step_is_reported_in_its_order(queue: FakeQueue) -> None:
    queue.polls = 1
    events: list[object] = []

    generate("a red fox", on_event=events.append)

    kinds = [type(event) for event in events]
    assert kinds == [Submitting, Submitted, Running, Done, Fetching]


def test_the_job_is_on_disk_with_its_price_when_the_first_byte_of_the_post_arrives(
    queue: FakeQueue,
) -> None:
    seen: list[books.Row] = []
    queue.first_byte = lambda: seen.extend(books.rows())

    generate("a red fox")

    assert [(row.state, row.prompt, row.price) for row in seen] == [
        ("submitting", "a red fox", 0.04)
    ]


@pytest.mark.parametrize(
    ("route", "state"), [("status", "submitted"), ("result", "submitted"), ("media", "completed")]
)
def test_the_ticket_is_on_disk_before_anything_is_asked_about_the_job(
    queue: FakeQueue, route: str, state: str
) -> None:
    seen: list[books.Row] = []
    queue.before[route] = lambda _: seen.append(books.rows()[0])

    generate("a red fox")

    assert [(row.state, row.request_id, "req-1" in row.ticket) for row in seen] == [
        (state, "req-1", True)
    ]


def test_the_pictures_are_on_disk_and_the_job_is_closed_before_anybody_is_told(
    queue: FakeQueue,
) -> None:
    seen: list[tuple[list[str], int]] = []

    def look(progress: Progress) -> None:
        if progress.phase is Phase.DONE:
            seen.append((books.states(), books.pictures()))

    job = begin(at=Submitted, then=lambda job: job.listen(look), num_images=2)
    job.result(WAIT_SECONDS)

    assert seen == [(["done"], 2)]
    assert queue.posts == 1


def test_pictures_that_did_not_come_are_not_charged(queue: FakeQueue) -> None:
    url = f"{_origin(queue)}/files/req-1/0.png"
    queue.script("result", Reply(200, {"images": [{"url": url}]}))

    generation = generate("two red foxes", num_images=2)

    assert (len(generation), generation.filtered) == (1, 1)
    assert generation.cost == pytest.approx(0.04)
    assert books.rows()[0].cost == 0.04


def test_pictures_that_were_not_asked_for_cost_no_more_than_was_reserved(queue: FakeQueue) -> None:
    urls = [f"{_origin(queue)}/files/req-1/{number}.png" for number in range(3)]
    queue.script("result", Reply(200, {"images": [{"url": url} for url in urls]}))

    generation = generate("a red fox")

    assert (len(generation), generation.filtered) == (3, 0)
    assert (generation.cost, books.rows()[0].cost) == (0.04, 0.04)


def _origin(queue: FakeQueue) -> str:
    """Return the queue's address, as its fixture has set it."""
    return Studio().settings.base_url


def test_a_picture_inside_the_answer_is_kept_in_the_store_only(queue: FakeQueue) -> None:
    data = "data:image/png;base64," + base64.b64encode(picture("x")).decode()
    queue.script("result", Reply(200, {"images": [{"url": data}]}))

    generation = generate("a red fox")

    assert generation[0].data == picture("x")
    assert (generation.urls, generation[0].url) == ([], None)
    files = books.home().glob(f"{books.FILE_NAME}*")  # the newest pages are in a file beside it
    assert data.encode() not in b"".join(path.read_bytes() for path in files)


def test_billed_units_replace_the_estimate_unless_a_price_of_your_own_is_set(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.units = "2"
    told = generate("a red fox", model="fal-ai/flux/dev")
    monkeypatch.setenv("IMAGEN_PRICE", "0.50")
    yours = generate("a red fox", model="fal-ai/flux/dev")

    assert told.cost == pytest.approx(0.05)
    assert told.cost_source == "billed"
    assert (yours.cost, yours.cost_source) == (0.50, "yours")
    assert History().spend() == pytest.approx(0.55)


@pytest.mark.parametrize("units", ["-2", "nan", "1e400", "many", ""])
def test_a_bill_that_is_none_leaves_the_estimate(queue: FakeQueue, units: str) -> None:
    queue.units = units

    generation = generate("a red fox", model="fal-ai/flux/dev")

    assert (generation.cost, generation.cost_source) == (0.025, "list")
    assert books.rows()[0].cost == 0.025


# ---------------------------------------------------------------------------------- before the bill


def test_the_cap_is_never_passed_and_nothing_is_sent(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.06")
    generate("a red fox")

    with pytest.raises(errors.BudgetExceeded, match=r"\$0\.06"):
        generate("a red fox")

    assert queue.posts == 1


def test_the_cap_counts_what_is_under_way(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.10")
    queue.polls = math.inf

    jobs = [start(f"fox {number}") for number in range(5)]
    refused = [job for job in jobs if _is_refused(job, queue)]
    queue.finish()

    assert len(refused) == 3
    assert queue.posts == 2
    assert sum(len(job.result(WAIT_SECONDS)) for job in jobs if job not in refused) == 2
    assert History().spend() == pytest.approx(0.08)


def _is_refused(job: Job, queue: FakeQueue) -> bool:
    """Wait until a job is refused by the cap, or is at the provider."""
    known = Event()
    job.listen(lambda progress: known.set() if progress.request_id else None)
    job.add_done_callback(lambda _: known.set())
    assert known.wait(WAIT_SECONDS), queue.log
    if not job.done():
        return False
    with pytest.raises(errors.BudgetExceeded):
        job.result()
    return True


def test_a_refused_submit_does_not_count_for_the_cap(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.04")
    queue.script("submit", Reply(422, {"detail": "no"}))
    with pytest.raises(errors.InvalidRequest):
        generate("a red fox")

    generate("a red fox")

    assert books.states() == ["failed", "done"]


def test_an_unknown_price_under_a_cap_is_refused_and_the_line_says_how_to_set_it(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "1")
    with pytest.raises(errors.BudgetExceeded, match="IMAGEN_PRICE"):
        generate("a red fox", model="somebody/some-model")
    assert (queue.posts, books.rows()) == (0, [])

    monkeypatch.setenv("IMAGEN_PRICE", "0.25")
    assert generate("a red fox", model="somebody/some-model").cost == pytest.approx(0.25)


def test_a_price_of_your_own_is_what_is_reserved_and_what_the_cap_counts(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.60")
    monkeypatch.setenv("IMAGEN_PRICE", "0.25")  # more than the list says
    reserved: list[float | None] = []
    queue.first_byte = lambda: reserved.extend(row.price for row in books.rows())

    generate("two red foxes", num_images=2)
    with pytest.raises(errors.BudgetExceeded, match=r"costs \$0\.25"):
        generate("a red fox")

    assert (reserved, queue.posts) == ([0.5], 1)


def test_a_price_of_your_own_is_that_of_the_model_by_its_id_or_its_alias(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_PRICE", "imagen4=0.07, fal-ai/flux/dev=0.50, 0.01")

    for model in ("fal-ai/imagen4/preview", "fal-ai/flux/dev", "fal-ai/nano-banana-2"):
        generate("a red fox", model=model)

    assert [(row.price, row.cost) for row in books.rows()] == [
        *((0.07, 0.07), (0.5, 0.5), (0.01, 0.01))
    ]


@pytest.mark.parametrize("model", ["seedream-4", "somebody/some-model"])
def test_the_cap_counts_the_most_pictures_that_a_request_may_bring(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setenv("IMAGEN_MAX_SPEND", "0.60")
    monkeypatch.setenv("IMAGEN_PRICE", "0.05")

    with pytest.raises(errors.BudgetExceeded, match=r"costs \$0\.90"):
        generate("a red fox", model=model, num_images=3, max_images=6)
    assert queue.posts == 0

    made = generate("a red fox", model=model, max_images=6)
    assert (len(made), made.cost, made.cost_source) == (1, 0.05, "yours")


@pytest.mark.parametrize("what", ["journal.sqlite3", "images"])
def test_nothing_is_sent_if_the_journal_or_the_pictures_cannot_be_written(
    queue: FakeQueue, what: str
) -> None:
    books.home().mkdir()
    if what == "images":
        (books.home() / what).touch()
    else:
        (books.home() / what).mkdir()

    with pytest.raises(errors.JournalError) as caught:
        generate("a red fox")

    assert (queue.posts, caught.value.billed) == (0, False)
    assert "sent" in str(caught.value) or books.rows() == []


@pytest.mark.parametrize("timeout", [-1, 0, math.nan, math.inf, True, "soon", "", [5]])
def test_a_timeout_that_is_not_a_time_is_refused_before_anything_is_written(
    queue: FakeQueue, timeout: Any
) -> None:
    with pytest.raises(errors.InvalidRequest, match="timeout"):
        generate("a red fox", timeout=timeout)

    assert (queue.log, books.rows()) == ([], [])


# ------------------------------------------------------------------------------------ the one POST


@pytest.mark.parametrize(
    "answer", [Reply(422, {"detail": "no"}), Reply(401, {}), Reply(410, {}), REJECTED]
)
def test_a_refusal_is_written_down_as_failed_and_free(queue: FakeQueue, answer: Reply) -> None:
    queue.script("submit", answer)

    with pytest.raises(errors.ImagenError) as caught:
        generate("a red fox")

    row = books.rows()[0]
    assert (row.state, row.cost, caught.value.billed) == ("failed", 0, False)
    assert (queue.posts, History().spend()) == (1, 0)


@pytest.mark.parametrize(
    "answer",
    [
        *(Break.LOST_REQUEST, Break.LOST_ANSWER, Break.SILENCE, Break.CUT_SHORT),
        *(Reply(status, {}, accepts=True) for status in (500, 502, 503)),
        page(),
    ],
    ids=lambda answer: answer.name if isinstance(answer, Break) else f"HTTP {answer.status}",
)
def test_a_lost_answer_is_written_down_as_unknown_with_its_price_and_never_sent_again(
    queue: FakeQueue, answer: Reply | Break
) -> None:
    queue.script("submit", answer)

    with pytest.raises(errors.SubmitUncertain) as caught:
        generate("a red fox")

    row = books.rows()[0]
    assert (row.state, row.cost, row.price) == ("unknown", None, 0.04)
    assert (queue.posts, caught.value.billed) == (1, True)
    assert History().spend() == pytest.approx(0.04)


def test_a_submit_that_surely_never_arrived_is_sent_again(queue: FakeQueue) -> None:
    queue.script("submit", Reply(429, {"detail": "slow down"}, {"retry-after-ms": "1"}))

    generation = generate("a red fox")

    assert generation.request_id == "req-1"
    assert (queue.posts, queue.paid.total()) == (2, 1)


def test_a_rate_limit_is_waited_for_by_the_deadline_and_no_longer(queue: FakeQueue) -> None:
    queue.always("submit", Reply(429, {"detail": "slow down"}, {"retry-after": "86400"}))
    began = time.monotonic()

    with pytest.raises(errors.QueueError) as caught:
        generate("a red fox", timeout=60)

    assert time.monotonic() - began < 30
    assert (queue.posts, caught.value.billed, books.rows()[0].cost) == (1, False, 0)


def test_an_uncertain_submit_that_names_its_job_can_be_fetched(queue: FakeQueue) -> None:
    queue.script("submit", Reply(503, {}, TRACED, accepts=True))
    with pytest.raises(errors.SubmitUncertain) as caught:
        generate("a red fox")

    fetched = History().resume()

    assert [generation.request_id for generation in fetched] == ["req-1"]
    assert (caught.value.request_id, queue.posts) == ("req-1", 1)


def test_an_error_of_our_own_during_the_post_counts_as_unknown(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_widget._providers.fal.read_submit", lambda *_, **__: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        generate("a red fox")

    assert (queue.paid.total(), books.states()) == (1, ["unknown"])


# -------------------------------------------------------------------------- after it is paid for

RECOVERABLE: dict[str, tuple[str, Scripted]] = {
    "the key is refused while it runs": ("status result", Reply(401, {"detail": "no"})),
    "the account is locked meanwhile": ("status result", Reply(403, {"detail": "User is locked"})),
    "a redirect leads elsewhere": ("status result", Reply(307, b"", {"location": "http://a.test"})),
    "the gateway is down": ("status result", Reply(502, "<html>nginx</html>")),
    "the result is refused": ("result", Reply(401, {"detail": "no"})),
    "the result is not understood": ("result", Reply(200, {"hello": 1})),
    "the result hangs": ("result", Break.SILENCE),
    "the result drips": ("result", Reply(200, b" ", every=0.02)),
    "the result is a web page": ("result", page()),
    "the picture is forbidden": ("media", Reply(403, b"")),
    "the picture is a web page": ("media", page()),
    "the picture is cut short": ("media", Break.CUT_SHORT),
    "the picture hangs": ("media", Break.SILENCE),
    "the picture drips": ("media", Reply(200, b"\x89PNG", every=0.02)),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", RECOVERABLE)
def test_a_paid_job_that_fails_on_the_way_ends_by_the_deadline_and_is_fetched_later(
    queue: FakeQueue, expire: Expire, what: str
) -> None:
    routes, answer = RECOVERABLE[what]
    queue.silence_seconds = LONG_SECONDS
    for route in routes.split():
        queue.always(route, answer)
    expire("submit", left=0.5)
    with pytest.raises((errors.QueueError, errors.CredentialsError)) as caught:
        generate("a red fox", timeout=PATIENT_SECONDS)
    queue.heal()

    pending = History().pending()
    fetched = History().resume()

    assert caught.value.request_id == "req-1"
    assert "\n" not in str(caught.value)
    assert [record.request_id for record in pending] == ["req-1"]
    assert [generation.request_id for generation in fetched] == ["req-1"]
    assert (books.states(), queue.posts) == (["done"], 1)


def test_each_step_has_what_the_steps_before_it_have_left_of_the_time(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, given = Clock(), list[tuple[str, float]]()
    monkeypatch.setattr("imagen_widget._runs.run.time", SimpleNamespace(monotonic=clock))
    provider = "imagen_widget._providers.openai.Gateway"
    for name in ("submit", "watch", "result", "fetch"):
        monkeypatch.setattr(f"{provider}.{name}", _noted(provider, name, given))
    took = {Submitting: 10, Submitted: 20, Done: 30, Fetching: 15}

    def on_event(event: object) -> None:
        clock.now += took.get(type(event), 0)

    generate("a red fox", timeout=100, on_event=on_event)

    assert given == [("submit", 90), ("watch", 70), ("result", 40), ("fetch", 25)]


def _noted(provider: str, name: str, given: list[tuple[str, float]]) -> Callable[..., Any]:
    """Return a provider's step that notes how many seconds it is given."""
    step = getattr(pkgutil.resolve_name(provider), name)

    def noted(self: object, *args: object, seconds: float, **options: object) -> Any:
        given.append((name, seconds))
        return step(self, *args, seconds=seconds, **options)

    return noted


@pytest.mark.slow
@pytest.mark.parametrize("answer", [Break.SILENCE, Reply(200, b" ", every=0.02, accepts=True)])
def test_an_answer_to_the_submit_that_hangs_or_drips_ends_by_the_deadline(
    queue: FakeQueue, answer: Reply | Break
) -> None:
    queue.silence_seconds = LONG_SECONDS
    queue.script("submit", answer)
    began = time.monotonic()

    with pytest.raises(errors.SubmitUncertain):
        generate("a red fox", timeout=1.0)

    assert time.monotonic() - began < 10
    assert (books.states(), queue.posts) == (["unknown"], 1)


@pytest.mark.slow
def test_a_job_that_waits_for_its_turn_to_be_sent_ends_by_its_own_deadline(
    queue: FakeQueue,
) -> None:
    queue.silence_seconds = LONG_SECONDS
    queue.always("submit", Break.SILENCE)
    before = [start(f"fox {number}", timeout=PATIENT_SECONDS) for number in range(20)]
    queue.wait_for("submit", 20)

    with pytest.raises(errors.QueueError, match=r"not sent within 0\.5 s; nothing is billed"):
        generate("a red fox", timeout=0.5)

    assert not any(job.done() for job in before)
    assert books.rows()[-1].cost == 0
    queue.heal()
    for job in before:
        with pytest.raises(errors.SubmitUncertain):
            job.result(WAIT_SECONDS)
    assert queue.posts == 20


@pytest.mark.slow
def test_a_direct_answer_that_waits_to_be_fetched_is_not_told_as_unsent(
    queue: FakeQueue, expire: Expire
) -> None:
    queue.silence_seconds = LONG_SECONDS
    queue.always("media", Break.SILENCE)
    many = start("foxes", model="dall-e-3", num_images=16, timeout=PATIENT_SECONDS)
    queue.wait_for("media", 16)
    expire("generations", left=0.5)

    with pytest.raises(errors.QueueTimeout, match="may be billed"):
        generate("a red fox", model="dall-e-3", timeout=PATIENT_SECONDS)

    assert not many.done()
    queue.heal()
    with pytest.raises(errors.QueueError):
        many.result(WAIT_SECONDS)
    assert len(History().resume()) == 2


def test_a_job_that_outlasts_the_deadline_is_fetched_later(
    queue: FakeQueue, expire: Expire
) -> None:
    queue.polls = math.inf
    expire("status", 3)
    with pytest.raises(errors.QueueTimeout, match="imagen_resume") as caught:
        generate("a red fox", timeout=PATIENT_SECONDS)
    queue.finish()

    fetched = History().resume()

    assert caught.value.request_id == "req-1"
    assert [generation.request_id for generation in fetched] == ["req-1"]
    assert queue.posts == 1


@pytest.mark.parametrize(
    ("answer", "kind", "billed"),
    [
        (REJECTED, errors.ContentRejected, True),
        (
            Reply(503, {"detail": "x", "error_type": "runner_disconnected"}),
            errors.GenerationFailed,
            False,
        ),
    ],
)
def test_a_job_that_is_over_is_written_down_as_failed_and_bills_what_the_error_says(
    queue: FakeQueue, answer: Reply, kind: type[errors.ImagenError], billed: bool
) -> None:
    headers = {"x-fal-error-type": "any", "x-fal-request-id": "req-1"}
    queue.always("result", Reply(answer.status, answer.body, headers))

    with pytest.raises(kind) as caught:
        generate("a red fox")

    assert caught.value.billed == billed
    assert books.states() == ["failed"]
    assert History().spend() == pytest.approx(0.04 if billed else 0)
    assert History().pending() == []


@pytest.mark.parametrize(
    "answer",
    [
        *(Reply(400, {"detail": "bad request"}), Reply(422, {"detail": "?"}), Reply(410, {})),
        *(Reply(200, {"status": word, "error": "no"}) for word in ("COMPLETED", "FAILED")),
    ],
)
def test_a_status_that_says_the_job_is_over_does_not_decide_it(
    queue: FakeQueue, answer: Reply
) -> None:
    queue.script("status", answer)

    assert generate("a red fox").request_id == "req-1"
    assert books.states() == ["done"]


def test_a_withheld_picture_is_kept_and_named_and_not_shown(queue: FakeQueue) -> None:
    queue.filtered = (True, False)

    generation = generate("two red foxes", num_images=2)

    assert (len(generation), generation.filtered) == (1, 1)
    assert books.pictures() == 2
    assert generation[0].data == picture("/files/req-1/1.png")


def test_a_job_of_which_all_is_withheld_is_rejected_billed_and_answers_nothing_later(
    queue: FakeQueue,
) -> None:
    queue.filtered = (True,)
    with pytest.raises(errors.ContentRejected) as caught:
        generate("a red fox")
    spent = History().spend()
    queue.filtered = ()

    again = generate("a red fox", reuse=True)

    assert spent == pytest.approx(0.04)
    assert (caught.value.billed, books.pictures()) == (True, 2)
    assert (again.reused, queue.posts) == (False, 2)


# ------------------------------------------------------------------------------------- a full disk


def test_a_disk_that_is_full_just_before_the_post_sends_nothing(queue: FakeQueue) -> None:
    generate("make the journal")
    books.fail_at("submitting")

    with pytest.raises(errors.JournalError):
        generate("a red fox")

    assert (queue.posts, books.states()) == (1, ["done", "failed"])
    assert books.rows()[1].cost == 0


@pytest.mark.slow
def test_a_disk_that_is_full_when_the_ticket_comes_never_counts_as_a_refusal(
    queue: FakeQueue,
) -> None:
    generate("make the journal")
    books.fail_at("submitted")

    with pytest.raises(errors.JournalError, match="request id req-2") as caught:
        generate("a red fox")
    books.heal()
    books.bury()

    assert (caught.value.request_id, caught.value.billed) == ("req-2", True)
    assert [record.prompt for record in books.rows() if record.state == "submitting"]
    assert [record.request.prompt for record in History().unknown()] == ["a red fox"]
    assert History().spend() == pytest.approx(0.08)


def test_a_disk_that_is_full_after_the_bill_leaves_the_job_to_be_fetched(queue: FakeQueue) -> None:
    generate("make the journal")
    books.fail_at("done")
    with pytest.raises(errors.JournalError, match="disk is full"):
        generate("a red fox")
    books.heal()
    books.bury()

    History().resume()

    assert books.states() == ["done", "done"]
    assert next(iter(History())).request.prompt == "a red fox"
    assert queue.posts == 2


def test_a_picture_that_cannot_be_written_leaves_the_job_to_be_fetched(queue: FakeQueue) -> None:
    images = books.home() / "images"

    def block(_: Received) -> None:
        images.rmdir()
        images.touch()

    queue.before["result"] = block
    with pytest.raises(errors.JournalError, match="imagen_resume"):
        generate("two red foxes", num_images=2)
    queue.before.clear()
    images.unlink()

    [generation] = History().resume()

    assert (len(generation), queue.posts) == (2, 1)


def test_one_lost_picture_takes_no_other_with_it(queue: FakeQueue) -> None:
    queue.script("media", Reply(403, b""))

    with pytest.raises(errors.QueueError, match="could not be fetched"):
        generate("two red foxes", num_images=2)

    assert books.pictures() == 1
    assert [len(generation) for generation in History().resume()] == [2]


def test_a_finished_job_is_fetched_by_its_addresses_if_its_result_is_gone(queue: FakeQueue) -> None:
    queue.always("media", Reply(403, b""))
    with pytest.raises(errors.QueueError, match="could not be fetched"):
        generate("two red foxes", num_images=2)
    queue.heal()
    for route in ("status", "result"):
        queue.always(route, Reply(404, {"status": "NOT_FOUND"}))

    [generation] = History().resume()

    assert (len(generation), generation.seed, queue.posts) == (2, 7, 1)


def test_the_result_is_asked_once_more_for_which_pictures_are_flagged(queue: FakeQueue) -> None:
    urls = [f"{_origin(queue)}/files/req-1/{number}.png" for number in range(2)]
    body = {"images": [{"url": url} for url in urls], "has_nsfw_concepts": [True, False]}
    queue.always("result", Reply(200, body))
    queue.script("media", Reply(403, b""))
    with pytest.raises(errors.QueueError, match="could not be fetched"):
        generate("two red foxes", num_images=2)

    [generation] = History().resume()

    assert (generation.urls, generation.filtered) == ([urls[1]], 1)
    assert queue.count("result") == 2


def test_a_picture_that_is_damaged_on_its_way_is_fetched_again(queue: FakeQueue) -> None:
    whole = picture("/files/req-1/0.png")
    queue.script("media", Reply(200, whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]))

    generation = generate("a red fox")

    assert generation[0].data == whole
    assert queue.count("media") == 2


# ---------------------------------------------------------------------------------- two processes


def test_two_processes_that_fetch_the_same_job_both_have_its_pictures(queue: FakeQueue) -> None:
    queue.polls = math.inf
    job = begin()
    queue.wait_for("status")
    books.bury()  # as far as the other knows, our process is dead
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(Studio().history.resume)
        queue.wait_for("status", queue.count("status") + 4)
        queue.finish()

        assert [made.request_id for made in other.result(WAIT_SECONDS)] == ["req-1"]
    assert job.result(WAIT_SECONDS).request_id == "req-1"
    assert (books.states(), queue.posts) == (["done"], 1)


def test_a_job_that_another_process_is_fetching_is_waited_for_and_not_taken_over(
    queue: FakeQueue,
) -> None:
    queue.polls = math.inf
    job = begin()
    queue.wait_for("status")
    other = Studio().start("a red fox", reuse=True)
    queue.wait_for("status", queue.count("status") + 20)
    queue.finish()

    assert (job.result(WAIT_SECONDS).reused, other.result(WAIT_SECONDS).reused) == (False, True)
    assert (queue.posts, queue.count("result")) == (1, 1)


def test_a_job_that_another_process_takes_at_the_same_moment_is_left_to_it(
    queue: FakeQueue, leave_behind: LeaveBehind, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind("a red fox")
    monkeypatch.setattr("imagen_widget._runs.run.Session.lease", _taken)

    with pytest.raises(errors.QueueError, match="An identical one was under way; run it again"):
        generate("a red fox", reuse=True, timeout=0.5)

    assert (queue.posts, books.states()) == (1, ["submitted"])


async def _taken(*_: object) -> bool:
    """Answer as the journal does if another process has taken the job since it was found."""
    return False


@pytest.mark.parametrize("is_earlier", [False, True], ids=["new", "left by an earlier process"])
def test_the_lease_of_a_job_is_renewed_as_long_as_somebody_works_on_it(
    queue: FakeQueue,
    end_loop: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    is_earlier: bool,
) -> None:
    monkeypatch.setattr("imagen_widget._runs.run._HEARTBEAT_SECONDS", 0.02)
    queue.polls = math.inf
    if is_earlier:
        begin()
        queue.wait_for("status")
        end_loop()
    before = queue.count("status")
    job = begin(reuse=is_earlier)
    queue.wait_for("status", before + 1)
    books.write("UPDATE jobs SET lease_until = lease_until - 1000 WHERE lease_until > 0")
    ended = books.rows()[0].lease_until

    for asked in range(before + 2, before + 200):
        queue.wait_for("status", asked)
        if books.rows()[0].lease_until > ended:
            break
    pending = Studio().history.pending()
    queue.finish()

    assert pending == []
    assert job.result(WAIT_SECONDS).request_id == "req-1"
    assert books.rows()[0].lease_until == 0


# -------------------------------------------------------------------------------------- cancelling


def cancelled(job: Job) -> errors.JobCancelled:
    with pytest.raises(errors.JobCancelled) as caught:
        job.result(WAIT_SECONDS)
    assert job.progress.phase is Phase.CANCELLED
    assert job.status == str(caught.value)
    return caught.value


def test_a_cancel_before_the_post_sends_nothing(queue: FakeQueue) -> None:
    error = cancelled(begin(at=Submitting, then=Job.request_cancel))

    assert str(error) == "Cancelled before anything was sent; not billed."
    assert (queue.log, books.states(), books.rows()[0].cost) == ([], ["cancelled"], 0)


@pytest.mark.parametrize("event", [Submitted, Running])
def test_a_cancel_after_the_post_is_one_put(queue: FakeQueue, event: type) -> None:
    queue.polls = math.inf

    error = cancelled(begin(at=event, then=Job.request_cancel))

    assert (str(error), error.request_id) == ("Cancelled, not billed.", "req-1")
    assert queue.count("cancel") == 1
    assert (books.states(), books.rows()[0].cost) == (["cancelled"], 0)


def test_a_cancel_during_the_post_waits_for_its_ticket_and_cancels_that(queue: FakeQueue) -> None:
    queue.polls = math.inf
    handle: Future[Job] = Future()
    queue.before["submit"] = lambda _: handle.result(WAIT_SECONDS).request_cancel()
    job = begin()
    handle.set_result(job)

    error = cancelled(job)

    assert (error.request_id, queue.posts, queue.count("cancel")) == ("req-1", 1, 1)
    assert (books.states(), queue.paid.total()) == (["cancelled"], 0)


def test_a_cancel_while_a_rate_limit_is_waited_for_is_free(queue: FakeQueue) -> None:
    queue.always("submit", Reply(429, {"detail": "slow down"}))
    job = begin(at=Submitting)
    queue.wait_for("submit")

    job.request_cancel()

    assert "not billed" in str(cancelled(job))
    assert (queue.jobs, books.states(), books.rows()[0].cost) == ({}, ["cancelled"], 0)


@pytest.mark.parametrize("event", [Done, Fetching])
def test_a_cancel_after_the_end_changes_nothing(queue: FakeQueue, event: type) -> None:
    job = begin(at=event, then=Job.request_cancel)

    assert job.result(WAIT_SECONDS).request_id == "req-1"
    assert (queue.count("cancel"), books.states()) == (0, ["done"])


def test_a_job_that_finished_meanwhile_is_fetched_and_says_that_it_was_too_late(
    queue: FakeQueue,
) -> None:
    queue.polls = math.inf
    job = begin()
    queue.wait_for("status")
    queue.before["cancel"] = lambda _: queue.finish()

    outcome = job.cancel()

    assert outcome.startswith("Too late to cancel: the pictures are here, and paid for")
    assert len(job.result(WAIT_SECONDS)) == 1
    assert job.status.startswith("Too late to cancel")
    assert (queue.count("cancel"), books.states()) == (1, ["done"])


def test_a_requested_cancel_counts_only_when_the_job_says_so(queue: FakeQueue) -> None:
    queue.polls = math.inf
    queue.cancels = REQUESTED

    error = cancelled(begin(at=Submitted, then=Job.request_cancel))

    assert str(error) == "Cancelled, not billed."
    assert books.states() == ["cancelled"]
    assert "GET status" in queue.log[queue.log.index("PUT cancel") :]


@pytest.mark.slow
def test_a_job_that_finishes_after_a_requested_cancel_has_time_to_be_fetched(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_widget._runs.run._SETTLE_SECONDS", 1.5)
    queue.polls = math.inf
    queue.cancels, queue.obeys = REQUESTED, False
    queue.before["cancel"] = lambda _: queue.finish()
    queue.before["media"] = lambda _: time.sleep(2)

    job = begin(at=Submitted, then=Job.request_cancel)

    assert len(job.result(WAIT_SECONDS)) == 1
    assert job.status.startswith("Too late to cancel")
    assert books.states() == ["done"]


def test_a_second_cancel_does_not_prolong_the_first(queue: FakeQueue) -> None:
    queue.polls = math.inf
    queue.cancels, queue.obeys = REQUESTED, False
    job = begin(at=Submitted, then=Job.request_cancel)
    queue.wait_for("cancel")
    queue.wait_for("status", queue.count("status") + 1)
    job.request_cancel()

    error = cancelled(job)

    assert str(error).startswith("Cancel requested; the job (request id req-1) may still finish")
    assert (queue.count("cancel"), queue.count("result")) == (1, 0)


def test_a_second_cancel_just_after_the_first_was_asked_changes_nothing(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.polls = math.inf
    queue.cancels, queue.obeys = REQUESTED, False
    asked = []

    def again(*_: object) -> list[float]:
        asked.append(1)
        if len(asked) == 2:  # the job is watched again, since the first may come too late
            job.request_cancel()
        return []

    monkeypatch.setattr("imagen_widget._journal.Journal.service_times", again)
    job = begin(at=Submitted, then=Job.request_cancel)

    error = cancelled(job)

    assert str(error).startswith("Cancel requested; the job (request id req-1) may still finish")
    assert (queue.count("result"), len(asked)) == (0, 2)


def test_a_requested_cancel_that_is_not_obeyed_is_not_called_cancelled(queue: FakeQueue) -> None:
    queue.polls = math.inf
    queue.cancels, queue.obeys = REQUESTED, False

    error = cancelled(begin(at=Submitted, then=Job.request_cancel))

    assert str(error).startswith("Cancel requested; the job (request id req-1) may still finish")
    assert books.states() == ["submitted"]
    assert History().spend() == pytest.approx(0.04)
    assert [record.request_id for record in History().pending()] == ["req-1"]


@pytest.mark.parametrize("answer", [Reply(404, {"status": "NOT_FOUND"}), Reply(503, {})])
def test_a_cancel_without_a_clear_answer_leaves_the_job_to_be_fetched(
    queue: FakeQueue, answer: Reply
) -> None:
    queue.polls = math.inf
    queue.cancels, queue.obeys = answer, False

    error = cancelled(begin(at=Submitted, then=Job.request_cancel))
    queue.finish()

    assert "not confirmed" in str(error)
    assert [len(generation) for generation in History().resume()] == [1]
    assert books.states() == ["done"]


def test_a_job_cancelled_elsewhere_is_cancelled_here_and_free(queue: FakeQueue) -> None:
    queue.polls = math.inf
    job = begin()
    queue.wait_for("status")
    queue.jobs["req-1"].cancelled = True

    assert "at the provider; not billed" in str(cancelled(job))
    assert (books.states(), books.rows()[0].cost) == (["cancelled"], 0)


# ------------------------------------------------------------------------- the process is ending


@pytest.mark.parametrize("route", ["status", "result", "media"])
def test_the_end_of_the_process_leaves_a_paid_job_to_be_fetched(
    queue: FakeQueue, end_loop: Callable[[], None], route: str
) -> None:
    queue.silence_seconds = LONG_SECONDS
    queue.always(route, Break.SILENCE)
    job = begin()
    queue.wait_for(route)
    before = books.states()

    end_loop()
    queue.heal()
    fetched = History().resume()

    assert (job.done(), "imagen_resume" in job.status) == (True, True)
    assert before == ["completed" if route == "media" else "submitted"]
    assert [generation.request_id for generation in fetched] == ["req-1"]
    assert (queue.posts, queue.count("cancel")) == (1, 0)


def test_the_end_of_the_process_waits_for_the_answer_to_a_post_that_is_out(
    queue: FakeQueue, end_loop: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_some_time(_: Received) -> None:
        time.sleep(0.2)

    monkeypatch.setattr("imagen_widget._loop.CLOSE_SECONDS", PATIENT_SECONDS)
    queue.before["submit"] = take_some_time
    begin()
    queue.wait_for("submit")

    end_loop()

    assert books.states() == ["submitted"]
    assert [record.request_id for record in History().pending()] == ["req-1"]


def test_the_end_of_the_process_before_the_post_leaves_nothing_unknown(
    queue: FakeQueue, end_loop: Callable[[], None]
) -> None:
    queue.always("submit", Reply(429, {"detail": "slow down"}))
    begin()
    queue.wait_for("submit")

    end_loop()

    assert (queue.jobs, books.states(), books.rows()[0].cost) == ({}, ["cancelled"], 0)


def test_the_end_of_the_process_still_sends_the_cancel_that_was_asked_for(
    queue: FakeQueue, end_loop: Callable[[], None]
) -> None:
    queue.polls = math.inf
    job = begin()
    queue.wait_for("status")

    job.request_cancel()
    end_loop()

    assert queue.count("cancel") == 1
    assert (books.states(), queue.paid.total()) == (["cancelled"], 0)


# ------------------------------------------------------------------------------------------- reuse


def test_an_equal_request_is_answered_from_history_and_costs_nothing(queue: FakeQueue) -> None:
    first = generate("a red fox")

    again = generate("a red fox", reuse=True)

    assert again.reused
    assert (again.cost, again.paths, again.id) == (0, first.paths, first.id)
    assert queue.posts == 1


@pytest.mark.parametrize("more", [{"num_images": 1}, {"aspect_ratio": "1:1"}, {"seed": 7}])
def test_a_default_that_is_given_is_another_request(queue: FakeQueue, more: Any) -> None:
    """What is sent decides: the server's defaults may change."""
    generate("a red fox")

    assert not generate("a red fox", reuse=True, **more).reused
    assert queue.posts == 2


def test_a_relay_of_openai_may_have_a_model_that_is_called_like_an_alias(queue: FakeQueue) -> None:
    relay = Studio("openai", base_url=Studio().settings.base_url, api_key="made-up")

    generation = relay.generate("a red fox", model="nano-banana")

    assert queue.log[0] == "POST generations"
    assert generation.model == "nano-banana"
    with pytest.raises(errors.InvalidRequest, match="no model 'nano-banana' here"):
        Studio("openai", api_key="made-up").start("a red fox", model="nano-banana")


def test_the_same_of_another_model_is_another_request(queue: FakeQueue) -> None:
    generate("a red fox", model="fal-ai/nano-banana")

    assert not generate("a red fox", model="fal-ai/nano-banana-2", reuse=True).reused
    assert queue.posts == 2


def test_a_fresh_request_is_sent_again(queue: FakeQueue) -> None:
    generate("a red fox")
    generate("a red fox")

    assert queue.posts == 2


@pytest.mark.parametrize("count", [1, 2])
def test_a_picture_that_is_gone_answers_nothing(queue: FakeQueue, count: int) -> None:
    generate("a red fox", num_images=count)[-1].path.unlink()

    assert not generate("a red fox", num_images=count, reuse=True).reused
    assert queue.posts == 2


def test_a_demo_picture_never_answers_a_real_request(queue: FakeQueue) -> None:
    drawn = Studio("demo", demo_seconds=0).generate("a red fox")

    made = generate("a red fox", reuse=True)

    assert (drawn.provider, made.provider, made.reused) == ("demo", "kkiai", False)


def test_a_paid_job_that_is_still_out_is_fetched_in_place_of_a_second_one(
    queue: FakeQueue, leave_behind: LeaveBehind
) -> None:
    leave_behind("a red fox")

    generation = generate("a red fox", reuse=True)

    assert generation.request_id == "req-1"
    assert (queue.posts, books.states()) == (1, ["done"])


@pytest.mark.parametrize("reuse", [True, False])
def test_equal_requests_that_come_at_once_are_paid_once_if_history_may_answer(
    queue: FakeQueue, reuse: bool
) -> None:
    queue.polls = math.inf
    jobs = [start("a red fox", reuse=reuse)]
    if not reuse:
        queue.wait_for("submit")
    jobs += [start("a red fox", reuse=True) for _ in range(3)]
    queue.wait_for("status")
    queue.finish()

    assert sorted(job.result(WAIT_SECONDS).reused for job in jobs) == [False, True, True, True]
    assert (queue.posts, books.states()) == (1, ["done"])


def test_equal_requests_of_several_studios_are_paid_once_if_history_may_answer(
    queue: FakeQueue,
) -> None:
    """Each has a journal object of its own, as processes have."""
    queue.polls = math.inf
    jobs = [Studio().start("a red fox", reuse=True) for _ in range(3)]
    queue.wait_for("status")
    queue.finish()

    assert sorted(job.result(WAIT_SECONDS).reused for job in jobs) == [False, True, True]
    assert (queue.posts, books.states()) == (1, ["done"])


def test_an_equal_request_under_way_is_not_waited_for_if_history_has_pictures(
    queue: FakeQueue,
) -> None:
    generate("a red fox")
    queue.polls = math.inf
    start("a red fox")
    queue.wait_for("submit", 2)

    assert generate("a red fox", reuse=True).request_id == "req-1"
    queue.finish()


def test_a_job_that_waits_for_an_equal_one_can_be_cancelled_and_ends_by_its_own_deadline(
    queue: FakeQueue,
) -> None:
    queue.polls = math.inf
    first = start("a red fox")
    queue.wait_for("status")
    late = start("a red fox", reuse=True, timeout=0.1)
    given_up = start("a red fox", reuse=True)
    waits = Event()

    def listen(_: Progress) -> None:
        if given_up.status.startswith("Waiting for an identical request"):
            waits.set()

    given_up.listen(listen)
    assert waits.wait(WAIT_SECONDS)
    assert given_up.cancel() == "Cancelled before anything was sent; not billed."
    with pytest.raises(errors.QueueError, match=r"not sent within 0.1 s; nothing is billed"):
        late.result(WAIT_SECONDS)
    queue.finish()
    assert not first.result(WAIT_SECONDS).reused
    assert (queue.posts, books.states()) == (1, ["done"])


def test_a_job_whose_equal_was_cancelled_is_sent_itself(queue: FakeQueue) -> None:
    queue.polls = math.inf
    first = start("a red fox", reuse=True)
    queue.wait_for("status")
    second = start("a red fox", reuse=True)

    assert first.cancel() == "Cancelled, not billed (request id req-1)."
    queue.wait_for("submit", 2)
    queue.finish()
    assert second.result(WAIT_SECONDS).request_id == "req-2"


@pytest.mark.parametrize("what", ["forgotten", "cancelled"])
def test_a_job_that_is_gone_at_the_provider_makes_way_for_another(
    queue: FakeQueue, leave_behind: LeaveBehind, what: str
) -> None:
    leave_behind("a red fox")
    books.write("UPDATE jobs SET ticket = json_set(ticket, '$.created', 1000000000.0)")
    setattr(queue.jobs["req-1"], what, True)

    generation = generate("a red fox", reuse=True)

    assert generation.request_id == "req-2"
    assert books.states() == ["expired" if what == "forgotten" else "cancelled", "done"]


@pytest.mark.parametrize("what", ["forgotten", "cancelled", "expired"])
def test_a_job_that_makes_way_leaves_no_trace_on_the_next_one(
    queue: FakeQueue, leave_behind: LeaveBehind, what: str
) -> None:
    leave_behind("a red fox")
    books.write("UPDATE jobs SET ticket = json_set(ticket, '$.created', 1000000000.0)")
    setattr(queue.jobs["req-1"], what, True)
    if what == "expired":  # its status is still served, its result is not
        queue.always("result", Reply(404, {"detail": "gone"}))
    queue.polls = math.inf
    job = begin(reuse=True)
    queue.wait_for("submit", 2)
    queue.wait_for("status", queue.count("status") + 2)
    job.request_cancel()
    error = cancelled(job)

    assert (str(error), error.request_id) == ("Cancelled, not billed.", "req-2")


def test_the_end_of_a_job_does_not_speak_of_the_one_that_made_way(
    queue: FakeQueue, leave_behind: LeaveBehind
) -> None:
    leave_behind("a red fox")
    queue.jobs["req-1"].cancelled = True
    job = begin(reuse=True)

    assert job.result(WAIT_SECONDS).request_id == "req-2"
    assert job.status == job.result().summary


def test_a_job_that_nobody_knows_in_its_first_hour_stays_to_be_fetched(
    queue: FakeQueue, leave_behind: LeaveBehind, expire: Expire
) -> None:
    leave_behind("a red fox")
    queue.jobs["req-1"].forgotten = True
    expire("result", 3)

    with pytest.raises(errors.QueueTimeout):
        generate("a red fox", reuse=True, timeout=PATIENT_SECONDS)
    queue.jobs["req-1"].forgotten = False

    assert generate("a red fox", reuse=True).request_id == "req-1"
    assert queue.posts == 1


@pytest.mark.parametrize("answer", [None, REQUESTED], ids=["confirmed", "requested"])
def test_a_cancel_while_an_earlier_job_is_fetched_sends_nothing_new(
    queue: FakeQueue, leave_behind: LeaveBehind, answer: Reply | None
) -> None:
    leave_behind("a red fox")
    queue.cancels = answer
    queue.jobs["req-1"].polls_left = math.inf

    error = cancelled(begin(reuse=True, at=Running, then=Job.request_cancel))

    assert (queue.posts, queue.count("cancel")) == (1, 1)
    assert (str(error), books.states()) == ("Cancelled, not billed.", ["cancelled"])


def test_an_uncertain_submit_is_repeated_only_if_the_user_says_so(queue: FakeQueue) -> None:
    queue.script("submit", Break.LOST_ANSWER)
    with pytest.raises(errors.SubmitUncertain):
        generate("a red fox", reuse=True)

    with pytest.raises(errors.SubmitUncertain, match="--fresh"):
        generate("a red fox", reuse=True)
    assert queue.posts == 1

    generate("a red fox", reuse=False)
    assert queue.posts == 2


def test_what_a_dead_process_was_sending_is_not_sent_again(queue: FakeQueue) -> None:
    queue.script("submit", Break.LOST_ANSWER)
    with pytest.raises(errors.SubmitUncertain):
        generate("a red fox")
    books.write("UPDATE jobs SET state = 'submitting', error = NULL, trouble = ''")

    with pytest.raises(errors.SubmitUncertain, match="--fresh"):
        generate("a red fox", reuse=True)

    assert (books.states(), queue.posts) == (["unknown"], 1)


def test_an_uncertain_submit_that_the_user_settled_stands_in_no_way(queue: FakeQueue) -> None:
    queue.script("submit", Break.LOST_ANSWER)
    with pytest.raises(errors.SubmitUncertain):
        generate("a red fox", reuse=True)
    History().forget(History().unknown()[0].id, billed=False)

    assert generate("a red fox", reuse=True).request_id == "req-2"


# ----------------------------------------------------------------------------------- direct answers


def test_jobs_answered_directly_have_ids_of_their_own_and_are_told_apart(queue: FakeQueue) -> None:
    made = [generate(prompt, model=DIRECT) for prompt in ("a red fox", "a blue fox")]

    kept = {generation.id: generation for generation in History()}

    assert len({generation.id for generation in made}) == 2
    for generation in made:
        assert kept[generation.id].request.prompt == generation.request.prompt
        assert kept[generation.id][0].data == generation[0].data
    assert made[0].revised_prompt == "a red fox, revised"
    assert queue.log == ["POST generations"] * 2


@pytest.mark.parametrize("told", [{}, {"revised_prompt": ""}, {"prompt": "a red fox"}])
def test_a_prompt_that_is_only_repeated_is_not_revised(
    queue: FakeQueue, told: dict[str, str]
) -> None:
    (picture,) = generate("a red fox")
    queue.script("result", Reply(200, {"images": [{"url": picture.url}], **told}))

    assert generate("a red fox").revised_prompt is None


def test_a_direct_answer_that_is_lost_is_unknown_and_never_sent_again(queue: FakeQueue) -> None:
    queue.script("generations", Break.LOST_ANSWER)
    with pytest.raises(errors.SubmitUncertain):
        generate("a red fox", model=DIRECT)

    with pytest.raises(errors.SubmitUncertain):
        generate("a red fox", model=DIRECT, reuse=True)

    assert (queue.posts, books.states()) == (1, ["unknown"])


def test_a_direct_answer_that_is_cancelled_meanwhile_gives_the_pictures_all_the_same(
    queue: FakeQueue,
) -> None:
    handle: Future[Job] = Future()
    queue.before["generations"] = lambda _: handle.result(WAIT_SECONDS).request_cancel()
    job = begin(model=DIRECT)
    handle.set_result(job)

    assert len(job.result(WAIT_SECONDS)) == 1
    assert job.status.startswith("Too late to cancel")
    assert (books.states(), queue.posts) == (["done"], 1)


def test_a_direct_answer_whose_bytes_cannot_be_kept_is_failed_and_billed(queue: FakeQueue) -> None:
    images = books.home() / "images"

    def block(_: Received) -> None:
        images.rmdir()
        images.touch()

    queue.before["generations"] = block
    with pytest.raises(errors.JournalError):
        generate("a red fox", model=DIRECT)

    assert books.states() == ["failed"]
    assert books.rows()[0].cost is None  # the reserved price stays
    assert History().pending() == []


@pytest.mark.parametrize(("model", "route"), [(DIRECT, "generations"), (None, "status")])
def test_a_journal_that_fails_for_a_moment_loses_no_picture(
    queue: FakeQueue, model: str | None, route: str
) -> None:
    queue.before[route] = lambda _: books.fail_at("completed")

    generation = generate("a red fox", model=model)

    assert len(generation) == 1
    assert (books.states(), queue.posts) == (["done"], 1)


def test_a_direct_answer_with_addresses_can_be_fetched_later(queue: FakeQueue) -> None:
    urls = [f"{_origin(queue)}/files/direct/{number}.png" for number in range(2)]
    body = {"data": [{"url": url} for url in urls]}
    queue.script("generations", Reply(200, body, accepts=True))
    queue.script("media", Reply(403, b""))
    with pytest.raises(errors.QueueError):
        generate("a red fox", model="dall-e-3")

    [generation] = History().resume()

    assert (generation.request.prompt, generation.urls) == ("a red fox", urls)
    assert (books.states(), queue.posts) == (["done"], 1)


# ------------------------------------------------------------------------------------- small parts


@pytest.mark.parametrize("route", ["submit", "status", "media"])
def test_a_paid_job_whose_journal_is_deleted_meanwhile_is_told_with_its_id(
    queue: FakeQueue, route: str
) -> None:
    def delete(_: Received) -> None:
        for path in books.home().glob("journal*"):
            path.unlink()

    queue.before[route] = delete

    with pytest.raises(
        errors.JournalError, match=r"\(request id req-1\), and it may be b"
    ) as caught:
        generate("a red fox")

    assert (caught.value.request_id, caught.value.billed) == ("req-1", True)


def test_a_studio_that_is_closed_while_a_job_is_under_way_ends_the_job(queue: FakeQueue) -> None:
    studio, queue.polls = Studio(), math.inf
    job = studio.start("a red fox")
    queue.wait_for("status")

    studio.close()
    queue.finish()

    assert len(job.result(WAIT_SECONDS)) == 1
    studio.close()
    assert len(studio.generate("a red hen")) == 1


def test_a_studio_that_only_looked_closes_its_journal_too() -> None:
    studio = Studio("demo")
    assert len(studio.history) == 0

    studio.close()

    assert not books.home().joinpath("journal.sqlite3-wal").exists()


def test_the_service_time_is_what_the_provider_says(queue: FakeQueue) -> None:
    generate("a red fox")

    assert [record.seconds for record in History().page()] == [TOOK_SECONDS]


def test_what_an_earlier_process_began_has_no_service_time_unless_the_provider_says_it(
    queue: FakeQueue, leave_behind: LeaveBehind
) -> None:
    leave_behind("a red fox")
    queue.always("status", Reply(200, {"status": "COMPLETED"}))
    url = f"{_origin(queue)}/files/req-1/0.png"
    queue.always("result", Reply(200, {"images": [{"url": url}]}))

    assert len(History().resume()) == 1
    assert [record.seconds for record in History().page()] == [None]


def test_a_request_is_started_as_it_is_and_takes_no_more_fields(queue: FakeQueue) -> None:
    request = ImageRequest.create("a red fox", num_images=2)

    with pytest.raises(errors.InvalidRequest, match="seed"):
        start(request, seed=1)

    assert len(start(request).result(WAIT_SECONDS)) == 2
