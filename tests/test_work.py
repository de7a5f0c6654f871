"""The laws of work: written down before it is paid, kept before it is shown, never paid twice."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from imagen_widget._generate._progress import NOT_BILLED, TOO_LATE, Fetching, Submitted, Submitting
from imagen_widget._generate._work import NOTHING_SENT, Stopwatch
from imagen_widget._journal import ImageRow, Journal, State
from imagen_widget._protocol._events import Done, Running
from imagen_widget._request import ImageRequest
from imagen_widget.errors import (
    BudgetExceeded,
    ContentRejected,
    CredentialsError,
    GenerationFailed,
    ImagenError,
    InvalidRequest,
    JobCancelled,
    JournalError,
    QueueError,
    QueueTimeout,
    SubmitUncertain,
)
from tests.billing import Break, Clock, Fault, Provider, Reply
from tests.paid_work import FOX, Workshop, open_workshop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

FREE = Decimal(0)
TWO = ImageRequest.create("two red foxes", num_images=2)
REJECTED = Reply(
    422, {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "content_policy_violation"}]}
)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    async with open_workshop(tmp_path / "imagen") as workshop:
        yield workshop


def by_then(shop: Workshop, point: str, action: Callable[[], object]) -> None:
    """Do something when the work comes to a point."""

    def at_step(name: str) -> None:
        if name == point:
            action()

    shop.at_step = at_step


# ----------------------------------------------------------------------------------- the good way


async def test_a_request_becomes_pictures_on_disk(shop: Workshop) -> None:
    shop.provider.polls = 2

    generation = await shop.run(TWO)

    assert [image.path.exists() for image in generation] == [True, True]
    assert (generation.request_id, generation.seed) == ("req-1", 7)
    assert generation.cost == pytest.approx(0.08)
    assert shop.states() == [State.DONE]
    assert shop.provider.log == [
        *("POST submit", "GET status", "GET status", "GET status", "GET result"),
        *("GET media", "GET media"),
    ]


async def test_each_step_is_reported_in_its_order(shop: Workshop) -> None:
    await shop.run()

    kinds = [type(event) for event in shop.events]
    assert kinds == [Submitting, Submitted, Running, Done, Fetching]


async def test_work_goes_through_at_least_thirteen_points_where_it_could_crash(
    shop: Workshop,
) -> None:
    await shop.run()

    assert shop.steps == [
        *("start", "intent", "submitting", "answered", "promised", "watching", "watching"),
        *("watched", "result", "completed", "fetched", "kept", "downloaded", "done"),
    ]


async def test_the_row_is_committed_when_the_request_arrives(shop: Workshop) -> None:
    seen: list[State] = []

    def look() -> None:
        with_its_own_eyes = Journal(shop.home)
        seen.extend(row.state for row in with_its_own_eyes.rows())
        with_its_own_eyes.close()

    shop.provider.before_post = look
    await shop.run()

    assert seen == [State.SUBMITTING]


async def test_the_ticket_is_committed_before_the_first_poll(shop: Workshop) -> None:
    polled_before = shop.provider.log.count("GET status")
    tickets: list[str | None] = []
    by_then(shop, "promised", lambda: tickets.extend(row.ticket_json for row in shop.rows()))

    await shop.run()

    assert polled_before == 0
    assert "req-1" in str(tickets[0])


async def test_pictures_that_were_filtered_are_not_charged(shop: Workshop) -> None:
    one = {"images": [{"url": "https://media.test/files/req-1/0.png"}]}
    shop.provider.results.append(Reply(200, one))

    generation = await shop.run(TWO)

    assert len(generation) == 1
    assert generation.cost == pytest.approx(0.04)
    assert shop.rows()[0].cost == Decimal("0.04")


async def test_a_picture_inside_the_answer_is_kept_without_its_address(shop: Workshop) -> None:
    import base64

    from tests.billing import picture

    data = "data:image/png;base64," + base64.b64encode(picture("x")).decode()
    shop.provider.results.append(Reply(200, {"images": [{"url": data}]}))

    generation = await shop.run()

    assert generation[0].data == picture("x")
    assert shop.rows()[0].urls == ()
    assert generation.urls == []


# --------------------------------------------------------------------------------- before the bill


async def test_no_cap_is_passed_and_nothing_is_sent(tmp_path: Path) -> None:
    async with open_workshop(tmp_path, max_spend="0.06") as shop:
        await shop.run(FOX)

        with pytest.raises(BudgetExceeded, match=r"\$0\.06"):
            await shop.run(FOX)

        assert shop.provider.posts == 1


async def test_a_refused_submit_does_not_count_for_the_cap(tmp_path: Path) -> None:
    async with open_workshop(tmp_path, max_spend="0.04") as shop:
        shop.provider.submits.append(Reply(422, {"detail": "no"}))
        with pytest.raises(InvalidRequest):
            await shop.run()

        await shop.run()

        assert shop.states() == [State.FAILED, State.DONE]


async def test_an_unknown_price_under_a_cap_is_refused_before_sending(tmp_path: Path) -> None:
    request = ImageRequest.create("a red fox", model="somebody/some-model")
    async with open_workshop(tmp_path, max_spend="1") as shop:
        with pytest.raises(BudgetExceeded, match="IMAGEN_PRICE"):
            await shop.run(request)

        assert shop.provider.posts == 0


async def test_an_unknown_price_with_a_price_of_your_own_is_sent(tmp_path: Path) -> None:
    request = ImageRequest.create("a red fox", model="fal-ai/some-model")
    async with open_workshop(tmp_path, max_spend="1", price="0.25") as shop:
        generation = await shop.run(request)

        assert generation.cost == pytest.approx(0.25)


async def test_a_journal_that_cannot_be_written_sends_nothing(tmp_path: Path) -> None:
    home = tmp_path / "imagen"
    (home / "journal.sqlite3").mkdir(parents=True)
    async with open_workshop(home) as shop:
        with pytest.raises(JournalError, match="Nothing was sent"):
            await shop.run()

        assert shop.provider.posts == 0


# ------------------------------------------------------------------------------ what can go wrong


@pytest.mark.parametrize("fault", [Reply(422, {"detail": "no"}), Reply(401, {}), Reply(410, {})])
async def test_a_refusal_is_written_down_as_failed_and_free(shop: Workshop, fault: Fault) -> None:
    shop.provider.submits.append(fault)

    with pytest.raises(ImagenError):
        await shop.run()

    row = shop.rows()[0]
    assert (row.state, row.cost) == (State.FAILED, FREE)


@pytest.mark.parametrize("fault", [Break.LOST_ANSWER, Break.SILENCE, Reply(502, {}, accepts=True)])
async def test_an_uncertain_submit_is_written_down_as_unknown_with_its_price(
    shop: Workshop, fault: Fault
) -> None:
    shop.provider.submits.append(fault)

    with pytest.raises(SubmitUncertain):
        await shop.run()

    row = shop.rows()[0]
    assert (row.state, row.cost, row.price) == (State.UNKNOWN, None, Decimal("0.04"))


async def test_an_uncertain_submit_that_names_the_job_can_be_taken_up(shop: Workshop) -> None:
    traced = {"x-fal-request-id": "yes"}
    shop.provider.submits.append(Reply(503, {}, traced, accepts=True))
    with pytest.raises(SubmitUncertain):
        await shop.run()

    generation = await shop.resume(shop.journal.pending()[0])

    assert generation.request_id == "req-1"
    assert shop.provider.posts == 1


RECOVERABLE: dict[str, tuple[str, Fault]] = {
    "the key is refused while it runs": ("statuses", Reply(401, {"detail": "no"})),
    "the account is locked while it runs": ("statuses", Reply(403, {"detail": "User is locked"})),
    "the result cannot be had": ("results", Reply(403, {"detail": "no"})),
    "the picture is not there yet": ("media", Reply(403, b"")),
    "the picture is no picture": ("media", Reply(200, b"<svg>")),
    "the picture is cut short": ("media", Break.CUT_SHORT),
}


@pytest.mark.parametrize("where", RECOVERABLE)
async def test_a_paid_job_that_fails_on_the_way_can_be_taken_up_again(
    shop: Workshop, where: str
) -> None:
    faults, fault = RECOVERABLE[where]
    getattr(shop.provider, faults).extend([fault] * 6)
    with pytest.raises((QueueError, CredentialsError)) as caught:
        await shop.run()
    getattr(shop.provider, faults).clear()

    pending = shop.journal.pending()
    generation = await shop.resume(pending[0])

    assert caught.value.request_id == "req-1"
    assert generation.request_id == "req-1"
    assert (shop.states(), shop.provider.posts) == ([State.DONE], 1)


async def test_a_job_that_outlasts_the_deadline_can_be_taken_up_again(shop: Workshop) -> None:
    shop.provider.polls = float("inf")
    with pytest.raises(QueueTimeout):
        await shop.work(timeout=20).run(reuse=False)
    shop.provider.finish()

    generation = await shop.resume(shop.journal.pending()[0])

    assert generation.request_id == "req-1"


@pytest.mark.parametrize(
    ("fault", "kind", "billed"),
    [
        (REJECTED, ContentRejected, True),
        (Reply(503, {"detail": "x", "error_type": "runner_disconnected"}), GenerationFailed, False),
    ],
)
async def test_a_job_that_is_over_is_written_down_as_failed(
    shop: Workshop, fault: Reply, kind: type[ImagenError], *, billed: bool
) -> None:
    headers = {"x-fal-error-type": "any", "x-fal-request-id": "req-1"}
    final = Reply(fault.status, fault.body, headers)
    shop.provider.results.extend([final] * 20)

    with pytest.raises(kind):
        await shop.run()

    row = shop.rows()[0]
    assert row.state is State.FAILED
    assert (row.cost is None) == billed


@pytest.mark.parametrize(
    "fault", [Reply(400, {"detail": "bad request"}), Reply(422, {"detail": "?"}), Reply(410, {})]
)
async def test_a_status_that_says_the_job_is_over_does_not_decide_it(
    shop: Workshop, fault: Fault
) -> None:
    shop.provider.statuses.append(fault)
    shop.provider.polls = 0

    generation = await shop.run()

    assert generation.request_id == "req-1"
    assert shop.states() == [State.DONE]


async def test_a_result_that_is_gone_is_written_down_as_expired(shop: Workshop) -> None:
    by_then(shop, "watched", lambda: setattr(shop.provider.jobs["req-1"], "forgotten", True))

    with pytest.raises(QueueError, match="req-1"):
        await shop.run()

    assert shop.states() == [State.EXPIRED]


class Unreliable(Journal):
    """A journal whose disk is full for one of its methods."""

    fails = ""

    def _fail(self, name: str) -> None:
        if self.fails == name:
            raise JournalError("The disk is full.", remedy="Free some space and try again.")

    def submitting(self, job_id: str) -> None:
        self._fail("submitting")
        super().submitting(job_id)

    def promise(self, job_id: str, *facts: Any, **lease: Any) -> None:  # noqa: ANN401 - passed on
        self._fail("promise")
        super().promise(job_id, *facts, **lease)

    def completed(self, job_id: str, **facts: Any) -> None:  # noqa: ANN401 - passed on
        self._fail("completed")
        super().completed(job_id, **facts)

    def downloaded(self, job_id: str, images: Sequence[ImageRow]) -> None:
        self._fail("downloaded")
        super().downloaded(job_id, images)

    def done(self, job_id: str, cost: Decimal | None) -> None:
        self._fail("done")
        super().done(job_id, cost)

    def service_times(self, endpoint: str, provider: str, limit: int = 200) -> list[float]:
        self._fail("service_times")
        return super().service_times(endpoint, provider, limit)


def failing_at(name: str) -> Callable[..., Journal]:
    return type("FailingJournal", (Unreliable,), {"fails": name})


@pytest.mark.parametrize("name", ["completed", "downloaded"])
async def test_a_full_disk_after_the_bill_leaves_the_job_to_be_taken_up(
    tmp_path: Path, name: str
) -> None:
    async with open_workshop(tmp_path, make_journal=failing_at(name)) as shop:
        with pytest.raises(JournalError, match="disk is full"):
            await shop.run()
        provider = shop.provider

    async with open_workshop(tmp_path, provider=provider) as later:
        generation = await later.resume(later.journal.pending()[0])

    assert generation.request_id == "req-1"
    assert provider.posts == 1


async def test_a_full_disk_when_the_job_is_closed_leaves_its_pictures(tmp_path: Path) -> None:
    async with open_workshop(tmp_path, make_journal=failing_at("done")) as shop:
        with pytest.raises(JournalError):
            await shop.run()

    async with open_workshop(tmp_path) as later:
        later.wall.now += 100_000
        later.journal.recover()

        assert later.states() == [State.DONE]
        assert later.kept() == 1


async def test_a_full_disk_when_the_ticket_comes_never_counts_as_a_refusal(
    tmp_path: Path,
) -> None:
    async with open_workshop(tmp_path, make_journal=failing_at("promise")) as shop:
        with pytest.raises(JournalError, match="request id req-1") as caught:
            await shop.run()

        assert caught.value.request_id == "req-1"
        assert shop.states() == [State.SUBMITTING]
        shop.wall.now += 100_000
        assert [row.state for row in shop.journal.recover()] == [State.UNKNOWN]


async def test_a_journal_that_fails_just_before_the_post_sends_nothing(tmp_path: Path) -> None:
    async with open_workshop(tmp_path, make_journal=failing_at("submitting")) as shop:
        with pytest.raises(JournalError):
            await shop.run()

        assert shop.provider.posts == 0
        assert (shop.states(), shop.rows()[0].cost) == ([State.FAILED], FREE)


async def test_service_times_that_cannot_be_read_give_no_paid_job_up(tmp_path: Path) -> None:
    async with open_workshop(tmp_path, make_journal=failing_at("service_times")) as shop:
        generation = await shop.run()

    assert generation.request_id == "req-1"


async def test_a_picture_that_cannot_be_kept_leaves_the_others_and_the_job(
    shop: Workshop,
) -> None:
    blocked = shop.home / "images"
    by_then(shop, "completed", blocked.touch)
    with pytest.raises(JournalError, match="imagen_resume"):
        await shop.run(TWO)
    by_then(shop, "completed", blocked.unlink)

    generation = await shop.resume(shop.journal.pending()[0])

    assert len(generation) == 2
    assert shop.provider.posts == 1


async def test_one_lost_picture_takes_no_other_with_it(shop: Workshop) -> None:
    shop.provider.media.append(Reply(403, b""))

    with pytest.raises(QueueError, match="could not be fetched") as caught:
        await shop.run(TWO)

    assert shop.kept() == 1
    assert caught.value.request_id == "req-1"
    assert len(await shop.resume(shop.journal.pending()[0])) == 2


async def test_an_unforeseen_error_while_fetching_comes_alone(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(shop.engine.store, "keep", fail)

    with pytest.raises(MemoryError):
        await shop.run(TWO)

    assert shop.journal.pending()


async def test_an_unforeseen_error_during_the_post_counts_as_unknown(shop: Workshop) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    shop.provider.before_post = fail
    with pytest.raises(ZeroDivisionError):
        await shop.run()

    assert shop.states() == [State.UNKNOWN]


async def test_two_processes_that_fetch_the_same_job_both_have_its_pictures(
    shop: Workshop, tmp_path: Path
) -> None:
    async with open_workshop(tmp_path / "imagen", provider=shop.provider) as other:
        shop.provider.polls = 3

        async def take_it_over() -> None:
            row = shop.rows()[0]
            other.wall.now += 100_000  # as far as the other knows, ours is long gone
            await other.resume(row)

        async with anyio.create_task_group() as group:
            by_then(shop, "promised", lambda: group.start_soon(take_it_over))
            generation = await shop.run()

    assert generation.request_id == "req-1"
    assert shop.states() == [State.DONE]
    assert shop.provider.posts == 1


# -------------------------------------------------------------------------------------- cancelling


async def cancelled_at(shop: Workshop, point: str) -> JobCancelled:
    work = shop.work()
    by_then(shop, point, work.cancel)
    with pytest.raises(JobCancelled) as caught:
        await work.run(reuse=False)
    assert work.note == str(caught.value)
    return caught.value


@pytest.mark.parametrize("point", ["start", "intent", "submitting"])
async def test_a_cancel_before_the_post_sends_nothing(shop: Workshop, point: str) -> None:
    error = await cancelled_at(shop, point)

    assert str(error) == NOTHING_SENT
    assert (shop.provider.log, shop.states()) == ([], [State.CANCELLED])
    assert shop.rows()[0].cost == 0


@pytest.mark.parametrize("point", ["answered", "promised", "watching"])
async def test_a_cancel_after_the_post_is_one_put(shop: Workshop, point: str) -> None:
    shop.provider.polls = float("inf")

    error = await cancelled_at(shop, point)

    assert str(error) == NOT_BILLED
    assert error.request_id == "req-1"
    assert shop.provider.cancellations == 1
    assert (shop.states(), shop.rows()[0].cost) == ([State.CANCELLED], FREE)


async def test_a_cancel_during_the_post_waits_for_its_ticket_and_cancels_that(
    shop: Workshop,
) -> None:
    shop.provider.polls = float("inf")
    work = shop.work()
    shop.provider.before_post = work.cancel

    with pytest.raises(JobCancelled, match="not billed"):
        await work.run(reuse=False)

    assert (shop.provider.posts, shop.provider.cancellations) == (1, 1)
    assert shop.states() == [State.CANCELLED]


@pytest.mark.parametrize("point", ["watched", "result", "completed", "fetched", "kept"])
async def test_a_cancel_after_the_end_changes_nothing(shop: Workshop, point: str) -> None:
    work = shop.work()
    by_then(shop, point, work.cancel)

    generation = await work.run(reuse=False)

    assert generation.request_id == "req-1"
    assert shop.provider.cancellations == 0
    assert shop.states() == [State.DONE]


async def test_a_job_that_finished_meanwhile_is_fetched_and_kept(shop: Workshop) -> None:
    work = shop.work()
    shop.provider.polls = 5

    def cancel_too_late() -> None:
        shop.provider.finish()
        work.cancel()

    by_then(shop, "promised", cancel_too_late)
    generation = await work.run(reuse=False)

    assert work.note == TOO_LATE
    assert shop.provider.cancellations == 1
    assert (len(generation), shop.states()) == (1, [State.DONE])


async def test_a_requested_cancel_counts_only_when_the_job_says_so(shop: Workshop) -> None:
    shop.provider.polls = float("inf")
    shop.provider.cancels = Reply(202, {"status": "CANCELLATION_REQUESTED"})

    error = await cancelled_at(shop, "promised")

    assert str(error) == NOT_BILLED
    assert shop.states() == [State.CANCELLED]


async def test_a_requested_cancel_that_is_not_obeyed_is_not_called_cancelled(
    shop: Workshop,
) -> None:
    shop.provider.polls = float("inf")
    shop.provider.cancels = Reply(202, {"status": "CANCELLATION_REQUESTED"})
    shop.provider.obeys = False

    error = await cancelled_at(shop, "promised")

    assert "cancelled" not in str(error).lower().replace("cancel requested", "")
    assert "req-1" in str(error)
    assert "may still finish" in str(error)
    assert [row.state for row in shop.journal.pending()] == [State.SUBMITTED]


async def test_a_requested_cancel_that_comes_too_late_gives_the_pictures(shop: Workshop) -> None:
    shop.provider.polls = 1
    shop.provider.cancels = Reply(202, {"status": "CANCELLATION_REQUESTED"})
    shop.provider.obeys = False
    work = shop.work()
    by_then(shop, "promised", work.cancel)

    generation = await work.run(reuse=False)

    assert (work.note, len(generation)) == (TOO_LATE, 1)


@pytest.mark.parametrize("reply", [Reply(404, {"status": "NOT_FOUND"}), Reply(503, {})])
async def test_a_cancel_without_an_answer_leaves_the_job_to_be_taken_up(
    shop: Workshop, reply: Reply
) -> None:
    shop.provider.polls = float("inf")
    shop.provider.obeys = False
    shop.provider.cancels = reply

    error = await cancelled_at(shop, "promised")

    assert "not confirmed" in str(error)
    shop.provider.finish()
    assert len(await shop.resume(shop.journal.pending()[0])) == 1


async def test_a_job_cancelled_elsewhere_is_cancelled_here(shop: Workshop) -> None:
    shop.provider.polls = 3

    def cancel_elsewhere() -> None:
        shop.provider.jobs["req-1"].cancelled = True

    by_then(shop, "promised", cancel_elsewhere)
    with pytest.raises(JobCancelled, match="at the provider; not billed"):
        await shop.run()

    assert (shop.states(), shop.rows()[0].cost) == ([State.CANCELLED], FREE)


async def test_a_cancel_while_the_rate_limit_is_waited_for_is_free(shop: Workshop) -> None:
    shop.provider.submits.append(Reply(429, {"detail": "slow down"}))
    work = shop.work()
    shop.provider.before_post = work.cancel

    with pytest.raises(JobCancelled, match="not billed"):
        await work.run(reuse=False)

    assert (shop.provider.posts, len(shop.provider.jobs)) == (1, 0)
    assert shop.states() == [State.CANCELLED]


# ------------------------------------------------------------------------------- the loop is ending


@pytest.mark.parametrize("point", ["answered", "promised", "watching", "completed", "fetched"])
async def test_an_ending_loop_leaves_a_paid_job_to_be_taken_up(shop: Workshop, point: str) -> None:
    with anyio.CancelScope() as loop:
        by_then(shop, point, loop.cancel)
        await shop.run()

    assert loop.cancelled_caught
    assert [row.request_id for row in shop.journal.pending()] == ["req-1"]
    assert shop.provider.cancellations == 0


async def test_an_ending_loop_before_the_post_leaves_nothing_unknown(shop: Workshop) -> None:
    with anyio.CancelScope() as loop:
        by_then(shop, "submitting", loop.cancel)
        await shop.run()

    assert loop.cancelled_caught
    assert (shop.provider.posts, shop.states()) == (0, [State.CANCELLED])


async def test_an_ending_loop_still_sends_the_cancel_that_was_asked_for(shop: Workshop) -> None:
    shop.provider.polls = float("inf")
    work = shop.work()
    with anyio.CancelScope() as loop:

        def both() -> None:
            work.cancel()
            loop.cancel()

        by_then(shop, "promised", both)
        await work.run(reuse=False)

    assert loop.cancelled_caught
    assert shop.provider.cancellations == 1
    assert shop.states() == [State.CANCELLED]


# ------------------------------------------------------------------------------------------- reuse


async def test_the_same_request_is_answered_from_history(shop: Workshop) -> None:
    first = await shop.run()

    again = await shop.run(ImageRequest.create("a red fox", num_images=1), reuse=True)

    assert again.reused
    assert (again.cost, again.paths) == (0, first.paths)
    assert shop.provider.posts == 1


async def test_a_fresh_request_is_paid_anew(shop: Workshop) -> None:
    await shop.run()
    await shop.run(reuse=False)

    assert shop.provider.posts == 2


async def test_a_picture_that_is_gone_answers_nothing(shop: Workshop) -> None:
    first = await shop.run()
    first[0].path.unlink()

    again = await shop.run(reuse=True)

    assert not again.reused
    assert shop.provider.posts == 2


async def test_a_demo_picture_never_answers_a_real_request(shop: Workshop) -> None:
    demo = shop.journal.intend(
        FOX, provider="demo", base_url="https://demo.invalid", price=Decimal(0), cap=None
    )
    shop.journal.submitting(demo)
    shop.journal.promise(demo, "{}", "demo-1")
    shop.journal.completed(demo, seconds=1, seed=None, description="", urls=[])
    kept = shop.engine.store.keep(_png())
    shop.journal.downloaded(
        demo, [ImageRow(0, kept.digest, kept.media_type, kept.width, kept.height, kept.size, None)]
    )
    shop.journal.done(demo, Decimal(0))

    generation = await shop.run(reuse=True)

    assert (generation.provider, generation.reused) == ("kkiai", False)


def _png() -> bytes:
    from tests.billing import picture

    return picture("demo")


async def test_a_paid_job_that_is_still_out_is_taken_up_in_place_of_a_second_one(
    shop: Workshop,
) -> None:
    shop.provider.polls = float("inf")
    with pytest.raises(QueueTimeout):
        await shop.work(timeout=10).run(reuse=True)
    shop.provider.finish()

    generation = await shop.run(reuse=True)

    assert generation.request_id == "req-1"
    assert (shop.provider.posts, shop.states()) == (1, [State.DONE])


async def test_pictures_that_a_dead_process_had_on_disk_answer_the_request(
    shop: Workshop,
) -> None:
    with anyio.CancelScope() as process:
        by_then(shop, "downloaded", process.cancel)
        await shop.run()
    shop.at_step = lambda _: None
    assert shop.states() == [State.DOWNLOADED]

    again = await shop.run(reuse=True)

    assert (again.reused, again.request_id) == (True, "req-1")
    assert shop.provider.posts == 1


async def test_a_job_that_another_process_is_fetching_is_not_taken_up(
    shop: Workshop, tmp_path: Path
) -> None:
    async with open_workshop(tmp_path / "imagen", provider=shop.provider) as other:
        shop.provider.polls = 3
        ids: list[str] = []

        async def ask_for_the_same() -> None:
            ids.append((await other.run(reuse=True)).request_id)

        async with anyio.create_task_group() as group:
            by_then(shop, "promised", lambda: group.start_soon(ask_for_the_same))
            ids.append((await shop.run()).request_id)

    assert sorted(ids) == ["req-1", "req-2"]


async def test_a_job_that_expired_meanwhile_is_paid_anew(shop: Workshop) -> None:
    shop.provider.polls = float("inf")
    with pytest.raises(QueueTimeout):
        await shop.work(timeout=10).run(reuse=True)
    shop.provider.jobs["req-1"].forgotten = True
    shop.provider.polls = 0

    generation = await shop.run(reuse=True)

    assert generation.request_id == "req-2"
    assert shop.states() == [State.EXPIRED, State.DONE]


async def test_a_job_that_was_cancelled_meanwhile_is_paid_anew(shop: Workshop) -> None:
    shop.provider.polls = float("inf")
    with pytest.raises(QueueTimeout):
        await shop.work(timeout=10).run(reuse=True)
    shop.provider.jobs["req-1"].cancelled = True
    shop.provider.polls = 0

    generation = await shop.run(reuse=True)

    assert generation.request_id == "req-2"
    assert shop.states() == [State.CANCELLED, State.DONE]


async def test_a_cancel_while_a_job_is_taken_up_sends_nothing_new(shop: Workshop) -> None:
    shop.provider.polls = float("inf")
    with pytest.raises(QueueTimeout):
        await shop.work(timeout=10).run(reuse=True)
    work = shop.work()
    by_then(shop, "watching", work.cancel)

    with pytest.raises(JobCancelled):
        await work.run(reuse=True)

    assert (shop.provider.posts, shop.provider.cancellations) == (1, 1)


async def test_an_uncertain_submit_is_never_repeated_without_the_users_word(
    shop: Workshop,
) -> None:
    shop.provider.submits.append(Break.LOST_ANSWER)
    with pytest.raises(SubmitUncertain):
        await shop.run(reuse=True)

    with pytest.raises(SubmitUncertain, match="--fresh"):
        await shop.run(reuse=True)
    assert shop.provider.posts == 1

    await shop.run(reuse=False)
    assert shop.provider.posts == 2


async def test_an_uncertain_submit_that_the_user_settled_stands_in_no_way(shop: Workshop) -> None:
    shop.provider.submits.append(Break.LOST_ANSWER)
    with pytest.raises(SubmitUncertain):
        await shop.run(reuse=True)
    shop.journal.forget(shop.rows()[0].id, billed=False)

    generation = await shop.run(reuse=True)

    assert generation.request_id == "req-2"


# ------------------------------------------------------------------------------------- small parts


def test_the_service_time_is_what_the_provider_says() -> None:
    assert Stopwatch(Clock(), 1000.0).service(2.5) == 2.5


def test_the_service_time_is_counted_from_when_it_ran() -> None:
    clock = Clock()
    watch = Stopwatch(clock, clock(), ran_since=1003.0)
    clock.now += 10

    assert watch.service(None) == 7.0


def test_a_job_that_was_under_way_before_has_no_service_time() -> None:
    assert Stopwatch(Clock(), 900.0, resumed=True).service(None) is None


async def test_what_the_journal_has_against_a_note_is_logged_and_not_raised(
    shop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "imagen_widget"):
        await shop.engine.note_down(shop.journal.cancelled, "no-such-job")

    assert "no-such-job" in caplog.text


def test_a_provider_counts_what_it_took_and_not_what_it_refused() -> None:
    provider = Provider()
    provider.submits.extend([Break.REFUSED, Reply(422, {}), Break.LOST_ANSWER])
    for _ in range(4):
        provider.handle("POST", "/fal-ai/imagen4/preview", b'{"prompt": "a fox"}')

    assert provider.paid == {"a fox": 2}
    assert provider.duplicates == 1
