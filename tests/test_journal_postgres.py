"""The journal in PostgreSQL: machines that share it, a server that restarts, and clear errors."""

import contextlib
import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import psycopg
import pytest

from imagen_widget import errors
from tests.jobs import EVENTS, FOX, PATHS, draft, in_a_child, intend, job_in, journal
from tests.postgres import PostgresServer

pytestmark = pytest.mark.slow

State = journal.State


@pytest.fixture
def address(postgres: PostgresServer) -> str:
    return postgres.make_database()


@pytest.fixture
def open_journal(address: str, tmp_path: Path) -> Iterator[Callable[[], journal.Journal]]:
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(
            contextlib.closing(journal.open_journal(tmp_path, address))
        )


@pytest.fixture
def verbs(open_journal: Callable[[], journal.Journal]) -> journal.Journal:
    return open_journal()


def run(address: str, *statements: str) -> None:
    with psycopg.connect(address, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_without_psycopg_the_error_names_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "imagen_widget._journal.postgres", raising=False)

    with pytest.raises(errors.InvalidRequest, match=r"psycopg is not installed\. pip install"):
        journal.open_journal(tmp_path, "postgresql://team@db.example/imagen")


def test_time_is_the_databases(
    verbs: journal.Journal, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = time.time() - 86400  # this machine's clock is a day late
    monkeypatch.setattr(time, "time", lambda: here)
    record = verbs.get(intend(verbs))

    with psycopg.connect(address) as connection:
        row = connection.execute("SELECT extract(epoch FROM now())::float8").fetchone()
    assert row is not None
    assert 0 <= row[0] - record.created_at < 60


def test_what_a_dead_worker_held_is_free_within_a_minute(
    open_journal: Callable[[], journal.Journal], address: str
) -> None:
    dead, living = open_journal(), open_journal()
    dead.plan("autumn", [draft(key="1"), draft("a hen", key="2")])
    [claimed] = dead.claim(series="autumn", count=1)
    submitted = job_in(dead, State.SUBMITTED)
    dead.renew(claimed.id, submitted)
    assert living.recover() == []
    assert living.pending() == []

    run(address, "UPDATE jobs SET lease_until = lease_until - 60")  # a minute later

    living.recover()
    assert living.states("autumn") == {"waiting": 2}
    assert [record.id for record in living.pending()] == [submitted]
    assert living.lease(submitted)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says which process a name meant")
def test_what_a_process_held_that_died_on_this_machine_is_free_at_once(
    open_journal: Callable[[], journal.Journal], address: str
) -> None:
    verbs = open_journal()
    verbs.count()

    assert in_a_child(lambda: job_in(verbs, State.SUBMITTED)) == (0, "")

    [left] = verbs.pending()
    elsewhere = "UPDATE jobs SET owner = replace(owner, split_part(owner, ':', 3), '{}')"
    for place in ("", "00000000-4026531836-123"):  # a container, another machine of that name
        run(address, elsewhere.format(place))
        assert verbs.pending() == []
    run(address, "UPDATE jobs SET lease_until = lease_until - 60")
    assert verbs.lease(left.id)


@pytest.mark.parametrize("racing", ["intend", "claim"])
def test_processes_that_race_for_the_last_dollar_do_not_pass_the_cap(
    open_journal: Callable[[], journal.Journal], racing: str
) -> None:
    limits = (Decimal(1), Decimal(5))  # a worker's own one, and the series'
    budget: Any = [SimpleNamespace(amount=amount, period="day", scope="all") for amount in limits]
    plan = [draft(f"fox {n}", key=str(n), ordinal=n, price="0.03") for n in range(60)]
    open_journal().plan("autumn", plan)

    def spend(verbs: journal.Journal) -> None:
        with contextlib.suppress(errors.BudgetExceeded):
            for _ in range(20):
                if racing == "claim":
                    verbs.claim(series="autumn", count=3, budget=budget)
                else:
                    intend(verbs, price="0.03", budget=budget)

    threads = [threading.Thread(target=spend, args=(open_journal(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    last = open_journal()
    assert last.spend() == Decimal("0.99")
    assert last.count(journal.Filter(states={State.INTENT})) == 33
    assert journal.check_journal(last) == []


def test_of_processes_that_take_over_or_settle_a_job_at_once_only_one_does(
    open_journal: Callable[[], journal.Journal],
) -> None:
    mine, other = open_journal(), open_journal()
    left, unsure = job_in(mine, State.SUBMITTED), job_in(mine, State.UNKNOWN)
    mine.release(left)
    begun = threading.Event()

    def linger() -> None:
        begun.set()
        time.sleep(0.5)

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(
            mine.together,
            lambda: mine.lease(left),
            lambda: mine.forget(unsure, billed=False),
            linger,
        )
        assert begun.wait(30)
        is_taken_twice = other.lease(left)
        with pytest.raises(journal.IllegalStep):
            other.forget(unsure, billed=False)

    assert (first.result(), is_taken_twice) == ([True, None, None], False)
    assert journal.check_journal(other) == []


def test_processes_that_plan_and_claim_the_same_series_take_each_row_once(
    open_journal: Callable[[], journal.Journal],
) -> None:
    plan = [draft("a fox", key=str(n), ordinal=n) for n in range(100)]
    claimed: list[str] = []

    def work(verbs: journal.Journal) -> None:
        verbs.plan("autumn", plan)
        while found := verbs.claim(series="autumn", count=4):
            claimed.extend(record.key for record in found)

    threads = [threading.Thread(target=work, args=(open_journal(),)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert sorted(claimed, key=int) == [str(n) for n in range(100)]


def test_threads_of_one_journal_work_side_by_side(verbs: journal.Journal) -> None:
    threads = [
        threading.Thread(target=lambda: [job_in(verbs, State.DONE) for _ in range(3)])
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert verbs.count(journal.Filter(states={State.DONE})) == 30
    assert journal.check_journal(verbs) == []


def test_a_forked_process_has_connections_and_a_name_of_its_own(verbs: journal.Journal) -> None:
    mine = intend(verbs)

    def child() -> None:
        assert not verbs.lease(job_in(verbs, State.SUBMITTED))
        with pytest.raises(journal.IllegalStep):
            verbs.apply(mine, journal.Submitting())

    assert in_a_child(child) == (0, "")
    verbs.apply(mine, journal.Submitting())


# ------------------------------------------------------------------------ a server that restarts


def test_a_server_that_is_restarted_is_waited_for(
    verbs: journal.Journal, postgres: PostgresServer
) -> None:
    job_id = intend(verbs)
    postgres.stop()
    timer = threading.Timer(0.3, postgres.start)
    timer.start()

    verbs.apply(job_id, journal.Submitting())

    timer.join()
    assert verbs.get(job_id).state is State.SUBMITTING


def test_a_server_that_stays_away_is_waited_for_once(
    verbs: journal.Journal, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RECONNECT_SECONDS", "CONNECT_SECONDS"):
        monkeypatch.setattr(f"imagen_widget._journal.postgres.{name}", 1.0)
    job_id = intend(verbs)
    postgres.stop()

    taken = []
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(errors.JournalError, match="nothing answers at that address"):
            verbs.apply(job_id, journal.Submitting())
        taken.append(time.monotonic() - began)
    postgres.start()

    assert taken[0] > 1
    assert max(taken[1:]) < 0.5
    assert verbs.apply(job_id, journal.Submitting()).state is State.SUBMITTING


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_transaction_whose_answer_is_lost_is_neither_lost_nor_made_twice(
    verbs: journal.Journal, address: str, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """The connection breaks just before or just after each commit, once for each verb."""
    execute = psycopg.Cursor.execute
    broken: list[int] = []

    def break_once(self: Any, query: Any, *values: Any, **options: Any) -> Any:
        breaks = query.endswith(b"COMMIT") and broken.pop()
        if breaks and lost == "before":
            run(address, f"SELECT pg_terminate_backend({self.connection.info.backend_pid})")
        cursor = execute(self, query, *values, **options)
        if breaks:
            raise psycopg.OperationalError("the connection is lost")
        return cursor

    verbs.count()  # the tables are there
    monkeypatch.setattr(psycopg.Cursor, "execute", break_once)

    def breaking(call: Callable[[], Any]) -> Any:
        broken[:] = [0, 0, 0, 0, 1]
        outcome = call()
        assert len(broken) < 4  # it was run twice
        return outcome

    job_id = breaking(lambda: intend(verbs))
    for state in PATHS[State.DONE]:
        record = breaking(functools.partial(verbs.apply, job_id, EVENTS[state]))
        assert record.state is state
    plan = [draft("a fox", key=str(n), ordinal=n) for n in range(4)]
    breaking(lambda: verbs.plan("autumn", plan))
    breaking(lambda: verbs.claim(series="autumn", count=2))
    breaking(lambda: verbs.renew(job_id))

    broken[:] = [0] * 99
    assert verbs.count() == 5
    assert verbs.get(job_id).state is State.DONE
    assert journal.check_journal(verbs) == []
    # Rows that were claimed without an answer are held by nobody who renews that:
    run(address, "UPDATE jobs SET lease_until = lease_until - 60")
    verbs.recover()
    assert verbs.states("autumn") == {"waiting": 4}


def test_calls_that_were_stored_without_an_answer_do_not_fail_for_another_one(
    verbs: journal.Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute, commits = psycopg.Cursor.execute, []
    job_id, turns = intend(verbs), iter([0, 1])

    def break_once(self: Any, query: Any, *values: Any, **options: Any) -> Any:
        cursor = execute(self, query, *values, **options)
        if query.endswith(b"COMMIT"):
            commits.append(query)
            if len(commits) == 1:
                raise psycopg.OperationalError("the connection is lost")
        return cursor

    def fail_later() -> int:
        return 1 // (1 - next(turns, 0))

    monkeypatch.setattr(psycopg.Cursor, "execute", break_once)
    send = functools.partial(verbs.apply, job_id, journal.Submitting())

    sent, other = verbs.together(send, fail_later)

    assert (sent.state, other) == (State.SUBMITTING, 1)
    assert len(commits) == 2


def test_only_a_result_that_a_ticket_brings_again_does_not_wait_for_the_disk(
    verbs: journal.Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = psycopg.Cursor.execute
    waited: list[bool] = []

    def noted(self: Any, query: Any, *values: Any, **options: Any) -> Any:
        if query.endswith(b"COMMIT"):
            waited.append(b"synchronous_commit TO off" not in query)
        return execute(self, query, *values, **options)

    queued, direct, grouped = (job_in(verbs, State.SUBMITTING) for _ in range(3))
    completed, done = EVENTS[State.COMPLETED], EVENTS[State.DONE]
    monkeypatch.setattr(psycopg.Cursor, "execute", noted)
    verbs.apply(queued, EVENTS[State.SUBMITTED])
    verbs.apply(queued, completed)
    verbs.apply(queued, completed, done)
    verbs.apply(direct, completed)
    verbs.apply(grouped, EVENTS[State.SUBMITTED])
    verbs.together(functools.partial(verbs.apply, grouped, completed))

    assert waited == [True, False, True, True, True, True]


# ------------------------------------------------------------------------------------- errors

SECRET = "s3cr3t-passw0rd"


def refusal(address: str, call: Callable[[journal.Journal], object] = intend) -> str:
    """Return the one line that says why a journal cannot be used."""
    with pytest.raises(errors.JournalError) as told:
        call(journal.open_journal(Path(), address))
    text = str(told.value)
    assert "IMAGEN_JOURNAL" in text
    assert "\n" not in text
    assert SECRET not in text
    assert "passw0rd" not in text
    return text


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (
            f"postgresql://ann:{SECRET}@127.0.0.1:1/x",
            "nothing answers at that address (127.0.0.1:1)",
        ),
        (f"postgresql://ann:{SECRET}@nowhere.invalid/x", "host name cannot be found"),
        (f"postgresql://ann:{SECRET}@x@host/x", "%40 for an @"),
        (f"postgresql://ann:{SECRET}/x@host/x", "cannot be read"),
        (f"postgresql://ann:{SECRET}@host:{SECRET}/x", "IMAGEN_JOURNAL"),
        (f"postgresql://ann@host/x?passwd={SECRET}", "address cannot be read"),
        (f"postgresql://ann:{SECRET}@127.0.0.1:1/x?sslmode=yes", "address cannot be read"),
    ],
)
def test_a_wrong_address_is_one_line_that_does_not_say_the_password(
    address: str, words: str
) -> None:
    assert words in refusal(address)


def test_an_address_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"IMAGEN_JOURNAL is not.*postgresql://"):
        journal.open_journal(tmp_path, "mysql://x/y")


def test_a_wrong_password_or_database_is_said(postgres: PostgresServer) -> None:
    assert "it does not have that user or database" in refusal(postgres.address("nowhere"))
    missing = postgres.address().replace("//postgres:", f"//ann:{SECRET}")
    assert "it does not have that user or database" in refusal(missing)


def test_a_password_that_the_server_refuses_is_said(postgres: PostgresServer, address: str) -> None:
    run(address, "DROP ROLE IF EXISTS eve", f"CREATE ROLE eve LOGIN PASSWORD '{SECRET}'")
    with postgres.asking_for_passwords():
        text = refusal(address.replace("//postgres:", "//eve:wrong"))

    assert "it refuses user or password" in text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("no pg_hba.conf entry for host, no encryption", "do not agree on TLS"),
        ('server certificate for "a" does not match host name "b"', "do not agree on TLS"),
        ('root certificate file "/nowhere" does not exist', "do not agree on TLS"),
        ("server does not support SSL, but SSL was required", "do not agree on TLS"),
        (
            "no pg_hba.conf entry, SSL encryption\nno pg_hba.conf entry, no encryption",
            "refuses user",
        ),
    ],
)
def test_a_server_with_other_rules_for_tls_is_said(
    address: str, monkeypatch: pytest.MonkeyPatch, answer: str, words: str
) -> None:
    refused = psycopg.OperationalError(f"connection to server at {SECRET} failed: {answer}")
    monkeypatch.setattr(psycopg, "connect", mock.Mock(side_effect=refused))

    assert words in refusal(address)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE imagen_schema SET version = 99", "newer imagen_widget (schema 99"),
        ("UPDATE imagen_schema SET version = 1", "old schema 1"),
        ("ALTER DATABASE {} SET default_transaction_read_only = on", "it is read-only"),
        ("ALTER TABLE jobs DROP COLUMN words", "its tables belong to another version"),
    ],
)
def test_a_database_that_cannot_be_used_is_said(
    verbs: journal.Journal, address: str, statement: str, words: str
) -> None:
    intend(verbs)
    verbs.close()
    database = address.partition("?")[0].rpartition("/")[2]

    run(address, statement.format(database))

    text = refusal(address)
    assert words in text
    assert "Nothing was sent" in text or "schema" in text


def test_a_user_without_rights_is_said(verbs: journal.Journal, address: str) -> None:
    intend(verbs)
    run(address, "DROP ROLE IF EXISTS bob", "CREATE ROLE bob LOGIN")

    text = refusal(address.replace("//postgres:", "//bob:"))

    assert "its user may not write there" in text
    assert "Nothing was sent" in text


def test_a_table_of_something_else_is_left_alone(address: str) -> None:
    run(address, "CREATE TABLE jobs (x integer)")

    assert "a table `jobs` of something else" in refusal(address)


def test_a_full_disk_is_said(verbs: journal.Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    intend(verbs)

    full = psycopg.errors.DiskFull(f"could not extend file: {SECRET}")
    monkeypatch.setattr("imagen_widget._journal.tables.book", mock.Mock(side_effect=full))

    with pytest.raises(errors.JournalError, match=r"its disk is full.*Nothing was sent") as told:
        intend(verbs)
    assert SECRET not in str(told.value)
    assert verbs.count() == 1
    assert verbs.find(FOX.fingerprint, "fal") is None
