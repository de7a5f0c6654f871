"""History: what was made, what it cost, and the way back to what is paid and not yet fetched."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from imagen_widget import History, ImageRequest, _bridge, errors, generate
from imagen_widget._generate._recall import as_reused, recall
from imagen_widget._journal import Journal, State
from imagen_widget._settings import home_folder
from imagen_widget._store import Store
from tests.billing import Break, Provider, Reply
from tests.chaos.server import Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

FOX = ImageRequest.create("a red fox")


@pytest.fixture
def provider() -> Provider:
    return Provider(polls=0)


@pytest.fixture(autouse=True)
def server(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(provider) as server:
        monkeypatch.setenv("IMAGEN_PROVIDER", "kkiai")
        monkeypatch.setenv("IMAGEN_API_KEY", "made-up")
        monkeypatch.setenv("IMAGEN_BASE_URL", server.url)
        monkeypatch.setenv("IMAGEN_POLL_SECONDS", "0.02")
        yield server
        _bridge.close()


@pytest.fixture
def history() -> Iterator[History]:
    history = History()
    yield history
    history.close()


def leave_behind(provider: Provider, *prompts: str) -> None:
    """Leave jobs that are paid and not fetched, as a kernel that was restarted does."""
    provider.polls = float("inf")
    for prompt in prompts:
        with pytest.raises(errors.QueueTimeout):
            generate(prompt, timeout=0.05)
    provider.polls = 0
    provider.finish()


# ----------------------------------------------------------------------------------------- looking


def test_looking_makes_no_file() -> None:
    home = home_folder()

    History().close()

    assert not home.exists()


def test_the_newest_comes_first_and_all_are_counted(history: History) -> None:
    for prompt in ("one", "two", "three"):
        generate(prompt)

    assert [generation.request.prompt for generation in history] == ["three", "two", "one"]
    assert len(history) == 3


def test_all_words_of_a_search_are_in_the_prompt(history: History) -> None:
    for prompt in ("a red fox", "a red hen", "Ein Fuchs, ROT"):
        generate(prompt)

    assert [g.request.prompt for g in history.search("red a")] == ["a red hen", "a red fox"]
    assert [g.request.prompt for g in history.search("rot FUCHS")] == ["Ein Fuchs, ROT"]


def test_what_means_the_same_is_found_and_free(history: History) -> None:
    made = generate("a red fox")

    found = history.find(ImageRequest.create("a red fox", num_images=1, aspect_ratio="1:1"))

    assert found is not None
    assert (found.reused, found.cost, found.paths) == (True, 0, made.paths)
    assert history.find(ImageRequest.create("a red hen")) is None


def test_a_demo_picture_is_not_found_for_a_real_request(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_PROVIDER", "demo")
    monkeypatch.setenv("IMAGEN_DEMO_SECONDS", "0")
    generate("a red fox")
    found_by_the_demo = history.find(FOX)
    monkeypatch.setenv("IMAGEN_PROVIDER", "kkiai")

    assert found_by_the_demo is not None
    assert history.find(FOX) is None
    assert history.find(FOX, provider="demo") is not None


def test_a_picture_that_is_gone_or_changed_is_reported(history: History) -> None:
    gone, changed, _ = generate("one"), generate("two"), generate("three")
    gone[0].path.unlink()
    changed[0].path.write_bytes(b"something else")

    problems = history.verify()

    assert problems == ["req-2: picture 1 has changed", "req-1: picture 1 is gone"]
    assert [generation.request_id for generation in history] == ["req-3", "req-2"]


# ---------------------------------------------------------------------------------------- resuming


def test_what_was_paid_and_not_fetched_is_fetched_oldest_first(
    provider: Provider, history: History
) -> None:
    leave_behind(provider, "one", "two", "three")
    posts = provider.posts
    pending = [row.request.prompt for row in history.pending()]

    fetched = history.resume()

    assert pending == ["one", "two", "three"]
    assert [generation.request.prompt for generation in fetched] == pending
    assert [path.exists() for g in fetched for path in g.paths] == [True] * 3
    assert provider.posts == posts
    assert history.pending() == []
    assert history.resume() == []


def test_what_another_process_is_fetching_is_left_to_it(
    provider: Provider, history: History
) -> None:
    leave_behind(provider, "one", "two")
    other = Journal(home_folder())
    assert other.lease(history.pending()[0].id)

    fetched = history.resume()
    other.close()

    assert [generation.request.prompt for generation in fetched] == ["two"]


def test_what_another_process_fetched_meanwhile_is_not_fetched_again(
    provider: Provider, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(provider, "one")
    seen_before = history.pending()
    History().resume()
    results = provider.log.count("GET result")
    monkeypatch.setattr(history, "pending", lambda: seen_before)

    fetched = history.resume()

    assert [generation.request_id for generation in fetched] == ["req-1"]
    assert provider.log.count("GET result") == results


def test_one_that_fails_does_not_stop_the_others(provider: Provider, history: History) -> None:
    leave_behind(provider, "one", "two")
    provider.jobs["req-1"].cancelled = True

    outcomes = history.resume_all()

    assert [o.error is None for o in outcomes] == [False, True]
    assert [row.state for row in Journal(home_folder()).rows()] == [State.DONE, State.CANCELLED]


def test_where_nothing_can_be_fetched_the_reason_is_raised(
    provider: Provider, history: History
) -> None:
    leave_behind(provider, "one")
    provider.statuses.append(Reply(401, {"detail": "no"}))

    with pytest.raises(errors.CredentialsError, match="IMAGEN_API_KEY"):
        history.resume()

    assert [row.request_id for row in history.pending()] == ["req-1"]


def test_a_row_that_cannot_be_read_does_not_stop_the_others(
    provider: Provider, history: History
) -> None:
    leave_behind(provider, "one", "two")
    first, second = history.pending()
    odd = dataclasses.replace(first, ticket_json='{"of": "another version"}')
    journal = Journal(home_folder())
    with journal._writing() as db:  # noqa: SLF001 - no other way writes such a row
        db.execute("UPDATE jobs SET ticket = ? WHERE id = ?", (odd.ticket_json, odd.id))
    journal.close()

    outcomes = history.resume_all()

    assert [type(outcome.error).__name__ for outcome in outcomes] == ["QueueError", "NoneType"]
    assert outcomes[1].row.id == second.id


def test_a_key_for_another_place_is_not_sent_there(
    provider: Provider, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(provider, "one")
    asked = len(provider.log)
    monkeypatch.setenv("IMAGEN_BASE_URL", "https://elsewhere.test")

    with pytest.raises(errors.CredentialsError, match="IMAGEN_BASE_URL"):
        history.resume()

    assert len(provider.log) == asked


def test_an_uncertain_submit_is_listed_and_never_sent_again(
    provider: Provider, history: History
) -> None:
    provider.submits.append(Break.LOST_ANSWER)
    with pytest.raises(errors.SubmitUncertain):
        generate("a red fox")

    assert history.resume() == []
    assert [row.request.prompt for row in history.unknown()] == ["a red fox"]
    assert provider.posts == 1


@pytest.mark.parametrize(("billed", "left"), [(True, 0.04), (False, 0.0)])
def test_an_uncertain_submit_is_settled_by_the_users_word(
    provider: Provider, history: History, *, billed: bool, left: float
) -> None:
    provider.submits.append(Break.LOST_ANSWER)
    with pytest.raises(errors.SubmitUncertain):
        generate("a red fox")

    history.forget(history.unknown()[0].id, billed=billed)

    assert history.unknown() == []
    assert history.spend() == pytest.approx(left)


def test_resuming_sweeps_what_dead_processes_left_half_written(history: History) -> None:
    import os

    made = generate("a red fox")
    part = made[0].path.with_name(made[0].path.name + ".part-0123")
    part.touch()
    os.utime(part, (0, 0))

    history.resume()

    assert not part.exists()
    assert made[0].path.exists()


# ------------------------------------------------------------------------------------------- money


def test_spending_is_told_by_session_day_month_and_model(history: History) -> None:
    elsewhere = Journal(home_folder())
    elsewhere.intend(
        FOX, provider="kkiai", base_url="https://x.test", price=Decimal("0.50"), cap=None
    )
    elsewhere.close()
    generate("a red fox", num_images=2)

    spending = history.spending()

    assert spending.session == Decimal("0.08")
    assert spending.today == Decimal("0.58")
    assert spending.month == Decimal("0.58")
    assert spending.by_model == {"fal-ai/imagen4/preview": Decimal("0.58")}
    assert history.spend() == pytest.approx(0.58)
    assert history.spend(since=datetime.now().astimezone() + timedelta(hours=1)) == 0


def test_what_is_refused_or_answered_from_history_costs_the_session_nothing(
    provider: Provider, history: History
) -> None:
    before = history.session_spend()
    generate("a red fox")
    generate("a red fox", reuse=True)
    provider.submits.append(Reply(422, {"detail": "no"}))
    with pytest.raises(errors.InvalidRequest):
        generate("a red hen")

    assert history.session_spend() - before == Decimal("0.04")


# ------------------------------------------------------------------------------------------ recall


def test_a_row_without_pictures_recalls_nothing(provider: Provider, history: History) -> None:
    leave_behind(provider, "one")

    assert recall(history.pending()[0], Store(home_folder())) is None


def test_what_is_reused_costs_no_time_and_no_money() -> None:
    again = as_reused(generate("a red fox"))

    assert (again.reused, again.seconds, again.cost) == (True, 0, 0)
    assert "from history" in again.summary
