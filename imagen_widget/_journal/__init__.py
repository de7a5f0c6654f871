"""The journal of paid jobs: each step is on disk before the next one is taken.

The law of the steps stands at the top of `_journal_rows`. Every method is one transaction, may be
called from any thread, and writes under BEGIN IMMEDIATE: processes queue instead of failing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, overload

from imagen_widget._journal import _table as table
from imagen_widget._journal._file import JournalFile, explain
from imagen_widget._journal._lease import is_dead, new_owner
from imagen_widget._journal._rows import (
    STEPS,
    IllegalStep,
    ImageRow,
    JobRow,
    State,
    check_cap,
    read_job,
    to_dollars,
    to_micros,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal
    from pathlib import Path

    from imagen_widget._request import ImageRequest

__all__ = ["LEASE_SECONDS", "IllegalStep", "ImageRow", "JobRow", "Journal", "State"]

FILE_NAME = "journal.sqlite3"
LEASE_SECONDS = 300.0  # long: a dead process on the same host is noticed at once anyway
SUBMIT_LEASE_SECONDS = 900.0  # a submit may be told five times to wait two minutes
MOST_LEASE_SECONDS = 3600.0  # a lease that ends later was written under another clock

_UNSENT = "Nothing was sent."


class Journal:
    """The jobs of one home folder, shared with all processes that use it.

    Nothing is opened or made before the first call. All methods raise `JournalError` where the
    file cannot be used, and `IllegalStep` where the law forbids a step or there is no such job.
    """

    def __init__(
        self, home: Path, *, clock: Callable[[], float] = time.time, owner: str | None = None
    ) -> None:
        self._file = JournalFile(home.expanduser().absolute() / FILE_NAME)
        self._clock = clock
        self._owner = owner
        self._lock = threading.RLock()  # `together` holds it around calls that take it too
        self._pid = os.getpid()

    @property
    def path(self) -> Path:
        """Where the journal's file is, or will be."""
        return self._file.path

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._locked():
            self._file.close()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Make the block's calls one transaction, with one write to the disk for all of them.

        A call that fails is undone alone. What the others return counts only when the block has
        ended: where it raises, none of them was written.
        """
        with self._locked(), self._explained(""), self._file.group():
            yield

    # ------------------------------------------------------------------ steps, in their order

    def intend(
        self,
        request: ImageRequest,
        *,
        provider: str,
        base_url: str,
        price: Decimal | None,
        cap: Decimal | None,
    ) -> str:
        """Write a job down before it is sent, reserve its price, and return its id.

        Args:
            request: What will be asked.
            provider: `kkiai`, `fal` or `demo`; the demo is free whatever the price says.
            base_url: Where it will be sent.
            price: US dollars for the whole job, or None where unknown.
            cap: The most US dollars that a local calendar day may cost, or None.

        Raises:
            BudgetExceeded: The day's spend would pass the cap, or cannot be known to stay below.
        """
        now, micros = self._clock(), 0 if provider == "demo" else to_micros(price)
        with self._writing(after=_UNSENT) as db:
            if cap is not None:
                check_cap(micros, cap=to_micros(cap), spent=table.spent(db, _midnight(now)))
            return table.insert(
                db,
                request,
                provider=provider,
                base_url=base_url,
                price=micros,
                created=now,
                owner=self._me(),
                lease_until=now + LEASE_SECONDS,
            )

    def submitting(self, job_id: str) -> None:
        """Note that the POST goes out next; only the journal that wrote the job may do that."""
        with self._writing(after=_UNSENT) as db:
            if table.row_of(db, job_id)["owner"] != self._me():
                raise IllegalStep(
                    "The job was written down by another process.",
                    remedy="Nothing was sent; send the request anew.",
                )
            self._step(db, job_id, State.SUBMITTING, seconds=SUBMIT_LEASE_SECONDS)

    def promise(
        self, job_id: str, ticket_json: str, request_id: str, *, seconds: float = LEASE_SECONDS
    ) -> None:
        """Keep the provider's ticket: from here on the pictures can be fetched by anybody."""
        with self._writing() as db:
            self._step(db, job_id, State.SUBMITTED, seconds=seconds)
            table.keep_ticket(db, job_id, ticket_json=ticket_json, request_id=request_id)

    @overload
    def unknown(self) -> list[JobRow]: ...
    @overload
    def unknown(self, job_id: str, why: str) -> None: ...
    def unknown(self, job_id: str | None = None, why: str = "") -> list[JobRow] | None:
        """Note that the POST may have been accepted; without arguments, list such jobs.

        Returns:
            The unknown jobs, oldest first, when called without arguments.
        """
        if job_id is None:
            return self.rows(state=State.UNKNOWN)[::-1]
        self._give_up(job_id, State.UNKNOWN, why=why, billed=True)
        return None

    def refuse(self, job_id: str, why: str) -> None:
        """Note that the provider refused the submit: failed, and not billed."""
        self._give_up(job_id, State.FAILED, why=why, billed=False)

    def completed(
        self,
        job_id: str,
        *,
        seconds: float | None,
        seed: int | None,
        description: str,
        urls: Sequence[str],
    ) -> None:
        """Keep what the provider told of the finished job."""
        with self._writing() as db:
            self._step(db, job_id, State.COMPLETED)
            table.keep_outcome(
                db, job_id, seconds=seconds, seed=seed, description=description, urls=urls
            )

    def downloaded(self, job_id: str, images: Sequence[ImageRow]) -> None:
        """Note that the pictures are on disk."""
        with self._writing() as db:
            self._step(db, job_id, State.DOWNLOADED)
            table.keep_images(db, job_id, images)

    def done(self, job_id: str, cost: Decimal | None) -> None:
        """Close the job with what it came to in US dollars; None means the reserved price."""
        with self._writing() as db:
            table.finish(db, job_id, cost=to_micros(cost))

    def failed(self, job_id: str, why: str, *, billed: bool) -> None:
        """Close the job without pictures; where it may be billed, the reserved price stays."""
        self._give_up(job_id, State.FAILED, why=why, billed=billed)

    def cancelled(self, job_id: str) -> None:
        """Close the job as cancelled and free: nothing was sent, or the provider confirmed it."""
        self._give_up(job_id, State.CANCELLED, why=None, billed=False)

    def expired(self, job_id: str) -> None:
        """Close the job whose result the provider no longer has; its reserved price stays."""
        why = "The provider no longer has the result."
        self._give_up(job_id, State.EXPIRED, why=why, billed=True)

    def forget(self, job_id: str, *, billed: bool = True) -> None:
        """Settle an unknown job by the user's word; the price stays unless it was not billed."""
        with self._writing() as db:
            if table.row_of(db, job_id)["state"] != State.UNKNOWN:
                raise IllegalStep(
                    "Only a job whose submit is uncertain can be forgotten.",
                    remedy="See how it stands with %imagen_history.",
                )
            why = "Settled by the user's word."
            table.give_up(db, job_id, State.FAILED, why=why, billed=billed)

    # ------------------------------------------------------------------ who works on a job

    def lease(self, job_id: str, seconds: float = LEASE_SECONDS) -> bool:
        """Take a job that is not over and that nobody works on, not even another thread."""
        with self._writing() as db:
            row = table.row_of(db, job_id)
            if not STEPS[State(row["state"])] or not self._is_free(row):
                return False
            table.hold(db, job_id, owner=self._me(), until=self._until(seconds))
            return True

    def renew(self, job_id: str, seconds: float = LEASE_SECONDS) -> bool:
        """Hold on to a job for `seconds` from now; False where another process has taken it."""
        with self._writing() as db:
            if table.row_of(db, job_id)["owner"] != self._me():
                return False
            table.hold(db, job_id, owner=self._me(), until=self._until(seconds))
            return True

    def release(self, job_id: str) -> None:
        """Let go of a job, so that anybody can take it at once."""
        with self._writing() as db:
            table.let_go(db, job_id, owner=self._me())

    def recover(self) -> list[JobRow]:
        """Settle what dead processes left between two steps, and return the jobs now unknown.

        An intent was never sent: failed, free. A submit may be out: unknown. Downloaded pictures
        are whole: done, at the reserved price.
        """
        with self._writing() as db:
            for row in filter(self._is_free, table.rows_in(db, State.INTENT)):
                why = "The process ended before anything was sent."
                table.give_up(db, row["id"], State.FAILED, why=why, billed=False)
            for row in filter(self._is_free, table.rows_in(db, State.DOWNLOADED)):
                table.finish(db, row["id"], cost=None)
            lost = [*filter(self._is_free, table.rows_in(db, State.SUBMITTING))]
            for row in lost:
                why = "The process ended during the submit; a job may exist and be billed."
                table.give_up(db, row["id"], State.UNKNOWN, why=why, billed=True)
            return [table.job(db, row["id"]) for row in lost]

    # ------------------------------------------------------------------ reading

    def get(self, job_id: str) -> JobRow:
        """Return one job."""
        with self._reading() as db:
            return table.job(db, job_id)

    def rows(
        self,
        *,
        state: State | None = None,
        provider: str | None = None,
        contains: str | None = None,
        limit: int | None = None,
    ) -> list[JobRow]:
        """Return jobs, newest first; `contains` asks for all of its words in the prompt."""
        with self._reading() as db:
            return table.jobs(db, state=state, provider=provider, contains=contains, limit=limit)

    def search(self, text: str, *, limit: int | None = None) -> list[JobRow]:
        """Return the jobs whose prompt has all the words, newest first, letter case aside."""
        return self.rows(contains=text, limit=limit)

    def find(self, fingerprint: str, *, provider: str) -> JobRow | None:
        """Return the newest done job that meant the same at the same provider, or None."""
        with self._reading() as db:
            return table.newest_done(db, fingerprint, provider=provider)

    def pending(self) -> list[JobRow]:
        """Return paid jobs whose pictures nobody is fetching, oldest first: those expire first."""
        with self._reading() as db:
            rows = table.rows_in(db, State.SUBMITTED, State.COMPLETED)
            return [read_job(row, ()) for row in rows if self._is_free(row)]

    @overload
    def spend(self, since: datetime | None = None) -> Decimal: ...
    @overload
    def spend(
        self, since: datetime | None = None, *, by_model: Literal[True]
    ) -> dict[str, Decimal]: ...
    def spend(
        self, since: datetime | None = None, *, by_model: bool = False
    ) -> Decimal | dict[str, Decimal]:
        """Return US dollars spent or reserved since a moment, or ever; by endpoint id if asked."""
        start = float("-inf") if since is None else since.timestamp()
        with self._reading() as db:
            if by_model:
                return {m: to_dollars(s) for m, s in table.spent_by_model(db, start).items()}
            return to_dollars(table.spent(db, start))

    def service_times(self, endpoint: str, provider: str, limit: int = 200) -> list[float]:
        """Return how many seconds the latest done jobs of a model took, newest first."""
        with self._reading() as db:
            return table.service_times(db, endpoint, provider=provider, limit=limit)

    # ------------------------------------------------------------------ inside

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if os.getpid() != self._pid:  # a fork: the parent's connection, lock and name are not ours
            self._pid = os.getpid()
            self._lock = threading.RLock()
            self._owner = None
            self._file.abandon()
        with self._lock:
            yield

    @contextlib.contextmanager
    def _writing(self, *, after: str = "") -> Iterator[sqlite3.Connection]:
        with self._locked(), self._explained(after), self._file.transaction("IMMEDIATE") as db:
            yield db

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._locked(), self._explained(""), self._file.transaction("DEFERRED") as db:
            yield db

    @contextlib.contextmanager
    def _explained(self, after: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise explain(error, self._file.path, after=after) from None

    def _step(
        self, db: sqlite3.Connection, job_id: str, state: State, *, seconds: float = LEASE_SECONDS
    ) -> None:
        """Take a step and, where the job is ours, hold on to it at least as long as before."""
        row = table.step(db, job_id, state)
        if row["owner"] == self._me():
            submit_is_over = state is State.SUBMITTED  # and with it the reason for a long lease
            held = 0 if submit_is_over else min(row["lease_until"], self._until(MOST_LEASE_SECONDS))
            table.hold(db, job_id, owner=self._me(), until=max(held, self._until(seconds)))

    def _give_up(self, job_id: str, state: State, *, why: str | None, billed: bool) -> None:
        with self._writing() as db:
            table.give_up(db, job_id, state, why=why, billed=billed)

    def _me(self) -> str:
        self._owner = self._owner or new_owner()
        return self._owner

    def _until(self, seconds: float) -> float:
        return self._clock() + min(seconds, MOST_LEASE_SECONDS)

    def _is_free(self, row: sqlite3.Row) -> bool:
        left = row["lease_until"] - self._clock()
        return not 0 < left <= MOST_LEASE_SECONDS or is_dead(row["owner"])


def _midnight(now: float) -> float:
    """Return when the local calendar day of a moment began, both in Unix seconds."""
    today = datetime.fromtimestamp(now, tz=UTC).astimezone().date()
    return datetime.combine(today, datetime.min.time()).timestamp()  # naive means local
