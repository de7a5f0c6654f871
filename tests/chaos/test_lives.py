"""Any history of any jobs in two processes: each paid once, none forgotten, what is over stays so.

Both "processes" are studios of this one, on the loop thread and an injected time. One that dies has
no more effect: its journal, store and provider raise from then on, and its owner counts as gone.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from imagen_widget import (
    Done,
    Fetching,
    ImagenClient,
    Job,
    Running,
    Studio,
    Submitted,
    Submitting,
)
from imagen_widget.errors import ImagenError
from tests import books
from tests.chaos.counts import EXAMPLES, show
from tests.clock import Clock
from tests.fakequeue import GATEWAY, Answer, Break, FakeQueue, Reply
from tests.jobs import journal

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

PARTS: Any = importlib.import_module("imagen_widget._runs.run")  # where a studio gets its parts
open_journal = journal.open_journal  # the real one: a world puts its own in its place
CAP = 0.60  # dollars: fifteen pictures, so that it is reached now and then
PRICE = 0.04
WAIT_SECONDS = 60.0
TIMEOUT_SECONDS = 20
OVER = frozenset({"done", "failed", "cancelled", "expired"})
NOT_NAMED = frozenset({"submitting", "unknown"})
FAULTS: tuple[Answer | None, ...] = (
    None,
    None,
    Break.REFUSED,
    Break.LOST_REQUEST,
    Break.LOST_ANSWER,
    Reply(422, {"detail": "no"}),
    Reply(503, {}, {"x-fal-request-id": "traced"}, accepts=True),
    Reply(502, {}, accepts=True),
    Reply(429, {"detail": "slow down"}),
)
CANCEL_ANSWERS: tuple[Answer | None, ...] = (
    None,
    Reply(202, {"status": "CANCELLATION_REQUESTED"}),
    Reply(503, {}),
)
CANCEL_AT = (Submitting, Submitted, Running, Done, Fetching)
VERBS = ("intend", "Submitting", "Submitted", "Completed", "Kept", "keep")
ROUTES = ("submit", "status", "result", "media", "cancel")
CRASH_AT = tuple(f"{when} {what}" for what in (*VERBS, *ROUTES) for when in ("before", "after"))


class Dead(BaseException):
    """The process that does this does not exist any more."""


class Process:
    """A studio that can die; `crash_at` is the point at which it does."""

    def __init__(self, world: Lives, name: str) -> None:
        self.name, self.dead, self.crash_at = name, False, ""
        self._world = world
        self.journal = open_journal(world.home)
        self.journal.clock = world.wall
        world.making = self
        self.studio = Studio(
            "kkiai",
            base_url=GATEWAY,
            api_key=name,
            home=world.home,
            max_spend=str(CAP),
            timeout=TIMEOUT_SECONDS,
            schemas="off",
        )

    def pass_by(self, point: str) -> None:
        """Die if this is the point; do nothing more once dead."""
        if point == self.crash_at:
            self.dead = True
        if self.dead:
            raise Dead(point)

    def provider(self, given: Any) -> Any:
        """Return the provider of this process, in the world's time."""
        clock = self._world.clock
        client = ImagenClient(
            settings=given,
            transport=Line(self, self._world.queue.transport()),
            clock=clock,
            sleep=clock.sleep,
            now=self._world.wall,
            chance=lambda: 0.5,
        )
        return client.provider

    def bury(self) -> None:
        """Have everybody see that the owner of its jobs is gone."""
        gone = (books.dead_owner(), self.journal.owner)
        if not books.rows(self._world.home):
            return  # it died before it had written anything
        books.write("UPDATE jobs SET owner = ? WHERE owner = ?", *gone, folder=self._world.home)


class Mortal:
    """A journal or a store whose verbs have no effect once the process is dead."""

    def __init__(self, real: Any, process: Process) -> None:
        self._real, self._process = real, process

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if not callable(found) or name == "close":
            return found

        def verb(*args: Any, **kwargs: Any) -> Any:
            point = type(args[1]).__name__ if name == "apply" else name
            self._process.pass_by(f"before {point}")
            value = found(*args, **kwargs)
            self._process.pass_by(f"after {point}")
            return value

        return verb


class Line(httpx.AsyncBaseTransport):
    """The way from a process to the queue."""

    def __init__(self, process: Process, real: httpx.AsyncBaseTransport) -> None:
        self._real, self._process = real, process

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        route = _route(request)
        self._process.pass_by(f"before {route}")
        answer = await self._real.handle_async_request(request)
        self._process.pass_by(f"after {route}")
        return answer


def _route(request: httpx.Request) -> str:
    if request.method == "POST":
        return "submit"
    if "/requests/" not in request.url.path:
        return "media"
    last = request.url.path.rpartition("/")[2]
    return last if last in {"status", "cancel"} else "result"


class Lives(RuleBasedStateMachine):
    """Two processes over one home and one provider."""

    wishes = Bundle("wishes")
    folders: Callable[[], Path]

    def __init__(self) -> None:
        super().__init__()
        self.home = type(self).folders()
        self.clock, self.wall = Clock(), Clock()
        midnight = datetime.now().astimezone().replace(hour=0, minute=1)
        self.wall.now = midnight.timestamp()  # the cap is one of a day
        self.queue = FakeQueue(clock=self.clock)
        self.making: Process
        real = PARTS.open_store
        self.patches: list[Any] = [
            mock.patch.object(PARTS.providers, "make_provider", self._make_provider),
            mock.patch.object(PARTS.journal, "open_journal", self._open_journal),
            mock.patch.object(PARTS, "open_store", lambda *at: Mortal(real(*at), self.making)),
        ]
        for patch in self.patches:
            patch.start()
        self.all: dict[str, Process] = {}
        self.processes = [self._process(), self._process()]
        self.over: dict[str, str] = {}
        self.numbers = 0

    def teardown(self) -> None:
        for process in self.all.values():
            process.dead = False
            process.studio.close()
        for patch in self.patches:
            patch.stop()

    def _process(self) -> Process:
        name = f"process-{len(self.all)}"
        self.all[name] = Process(self, name)
        return self.all[name]

    def _make_provider(self, given: Any) -> Any:
        return self.all[given.key.reveal()].provider(given)

    def _open_journal(self, *_: object) -> Any:
        return Mortal(self.making.journal, self.making)

    # ----------------------------------------------------------------------------------- rules

    @rule(
        target=wishes,
        process=st.integers(0, 1),
        fault=st.sampled_from(FAULTS),
        crash_at=st.just("") | st.sampled_from(CRASH_AT),
        cancel_at=st.none() | st.sampled_from(CANCEL_AT),
        polls=st.sampled_from([0, 1, 3, float("inf")]),
    )
    def wish(
        self,
        process: int,
        fault: Answer | None,
        crash_at: str,
        cancel_at: type | None,
        polls: float,
    ) -> str:
        """Ask for a new picture; the line, the process and the user may do something on the way."""
        self.numbers += 1
        prompt = f"fox {self.numbers}"
        self.queue.polls = polls
        self.queue.script("submit", fault)
        self._work(process, prompt, reuse=False, crash_at=crash_at, cancel_at=cancel_at)
        self.queue.heal()
        return prompt

    @rule(
        process=st.integers(0, 1),
        prompt=wishes,
        crash_at=st.just("") | st.sampled_from(CRASH_AT),
        polls=st.sampled_from([0, float("inf")]),
    )
    def wish_again(self, process: int, prompt: str, crash_at: str, polls: float) -> None:
        """Run the cell again."""
        self.queue.polls = polls
        self._work(process, prompt, reuse=True, crash_at=crash_at)

    @rule(process=st.integers(0, 1))
    def resume(self, process: int) -> None:
        """Fetch what is pending."""
        posts = self.queue.posts
        self.processes[process].studio.history.resume_all()
        assert self.queue.posts == posts

    @rule()
    def resume_in_both_at_once(self) -> None:
        """Fetch what is pending, in both processes at the same time."""
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda p: p.studio.history.resume_all(), self.processes))

    @rule(seconds=st.sampled_from([1.0, 400.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        """Let leases end."""
        self.wall.now += seconds

    @rule()
    def jobs_finish(self) -> None:
        """Have the provider finish everything."""
        self.queue.finish()

    @rule(data=st.data())
    def a_result_expires(self, data: st.DataObject) -> None:
        """Have the provider forget a job."""
        if self.queue.jobs:
            job = data.draw(st.sampled_from(sorted(self.queue.jobs)))
            self.queue.jobs[job].forgotten = True

    @rule(answer=st.sampled_from(CANCEL_ANSWERS), obeys=st.booleans())
    def cancelling_works_otherwise(self, answer: Answer | None, obeys: bool) -> None:
        """Change what the provider does with cancellations."""
        self.queue.cancels = answer
        self.queue.obeys = obeys or answer is None

    # ------------------------------------------------------------------------------ invariants

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        living = [job for job in self.queue.jobs.values() if not (job.cancelled or job.forgotten)]
        twice = [wish for wish, count in Counter(job.wish for job in living).items() if count > 1]
        assert not twice

    @invariant()
    def every_paid_job_is_in_the_journal(self) -> None:
        rows = books.rows(self.home)
        named = {row.request_id for row in rows}
        unnamed = {row.prompt for row in rows if row.state in NOT_NAMED}
        for job in self.queue.jobs.values():
            assert job.request_id in named or job.wish in unnamed

    @invariant()
    def what_is_over_stays_over(self) -> None:
        for row in books.rows(self.home):
            assert self.over.get(row.id, row.state) == row.state
            if row.state in OVER:
                self.over[row.id] = row.state

    @invariant()
    def what_is_done_has_its_pictures(self) -> None:
        if "done" in books.states(self.home):
            assert self.processes[0].studio.history.verify() == []

    @invariant()
    def the_cap_holds_and_no_bill_is_missed(self) -> None:
        spent = sum(
            amount
            for row in books.rows(self.home)
            if (amount := row.price if row.cost is None else row.cost)
        )
        billed = sum(not job.cancelled for job in self.queue.jobs.values())
        assert billed * PRICE - 1e-9 <= spent <= CAP + 1e-9

    # ----------------------------------------------------------------------------------- inside

    def _work(
        self,
        number: int,
        prompt: str,
        *,
        reuse: bool,
        crash_at: str,
        cancel_at: type | None = None,
    ) -> None:
        process = self.processes[number]
        process.crash_at = crash_at
        handle: Future[Job] = Future()

        def on_event(event: object) -> None:
            if cancel_at is not None and isinstance(event, cancel_at):
                handle.result(WAIT_SECONDS).request_cancel()

        job = process.studio.start(prompt, reuse=reuse, on_event=on_event)
        handle.set_result(job)
        try:
            job.result(WAIT_SECONDS)
        except ImagenError:
            pass
        except BaseException:
            if not process.dead:
                raise
        process.crash_at = ""
        if process.dead:
            process.bury()
            self.processes[number] = self._process()


def test_no_lives_of_any_jobs_pay_twice_or_lose_anything(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    Lives.folders = staticmethod(lambda: tmp_path_factory.mktemp("home"))
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    show(capsys, f"histories of jobs in two processes: {EXAMPLES} tried; paid twice 0, lost 0")
