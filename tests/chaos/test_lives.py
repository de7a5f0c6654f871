"""Any life of any jobs, in two processes: paid once a wish, never forgotten, over when over."""

from __future__ import annotations

import platform
import sqlite3
import tempfile
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from imagen_widget import ImageRequest
from imagen_widget._generate._engine import Engine
from imagen_widget._journal import Journal, State
from imagen_widget._protocol._ticket import Ticket
from imagen_widget.errors import ImagenError
from tests.billing import Break, Fault, Provider, Reply
from tests.chaos.counts import EXAMPLES, show
from tests.chaos.crash_worker import CANCELLING, STEPS
from tests.jobs import dead_pid
from tests.paid_work import Workshop, noon, open_workshop

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagen_widget._client import ImagenClient
    from imagen_widget._generate._work import Work
    from imagen_widget._journal import JobRow
    from imagen_widget._store import Store

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

CAP = 0.60  # dollars: fifteen pictures, so that it is reached now and then
PRICE = 0.04
GONE = f"{platform.node()}:{dead_pid()}::gone"
OVER = frozenset({State.DONE, State.FAILED, State.CANCELLED, State.EXPIRED})
NOT_NAMED = frozenset({State.SUBMITTING, State.UNKNOWN})
FAULTS: tuple[Fault | None, ...] = (
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
CANCEL_ANSWERS: tuple[Fault | None, ...] = (
    None,
    Reply(202, {"status": "CANCELLATION_REQUESTED"}),
    Reply(503, {}),
)


class Dead(BaseException):
    """The process of this work does not exist any more."""


class Nothing:
    """What a dead process has in place of everything."""

    def __getattr__(self, name: str) -> NoReturn:
        raise Dead(name)


class MortalEngine(Engine):
    """An engine whose process can die: from then on nothing that it does has any effect."""

    def __init__(self, client: ImagenClient, journal: Journal, store: Store) -> None:
        super().__init__(client, journal, store)
        self._parts = (client, journal, store, self.record)
        self.dead = False

    def die(self) -> None:
        """Have no effect any more; who looks at the owner of its jobs sees that it is gone."""
        self.dead = True
        owner = self.journal._me()  # noqa: SLF001 - the process that says so lives on
        with closing(sqlite3.connect(self.journal.path)) as db, db:
            db.execute("UPDATE jobs SET owner = ? WHERE owner = ?", (GONE, owner))
        nothing: Any = Nothing()
        self.client = self.journal = self.store = nothing
        self.record = _no_record

    async def close(self) -> None:
        """Close what the process had open, as the system does when it has died."""
        self.client, self.journal, self.store, self.record = self._parts
        await super().close()


async def _no_record(*_: object, **__: object) -> NoReturn:
    raise Dead


def is_dead(shop: Workshop) -> bool:
    """Tell whether the process of a workshop has died."""
    return isinstance(shop.engine, MortalEngine) and shop.engine.dead


class Lives(RuleBasedStateMachine):
    """Two processes over one home and one provider."""

    wishes = Bundle("wishes")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.home = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.portal = self.stack.enter_context(start_blocking_portal())
        self.provider, self.wall = Provider(), noon()
        self.rooms = AsyncExitStack()
        self.shops: list[Workshop] = [self._open(), self._open()]
        self.reader = self.stack.enter_context(closing(Journal(self.home, clock=self.wall)))
        self.over: dict[str, State] = {}
        self.numbers = 0

    def teardown(self) -> None:
        self.portal.call(self.rooms.aclose)
        self.stack.close()

    def _open(self) -> Workshop:
        async def enter() -> Workshop:
            return await self.rooms.enter_async_context(
                open_workshop(
                    self.home,
                    provider=self.provider,
                    make_engine=MortalEngine,
                    wall=self.wall,
                    max_spend=CAP,
                    timeout=20,
                )
            )

        return self.portal.call(enter)

    # ----------------------------------------------------------------------------------- rules

    @rule(
        target=wishes,
        process=st.integers(0, 1),
        fault=st.sampled_from(FAULTS),
        crash_at=st.none() | st.sampled_from([*STEPS, CANCELLING]),
        cancel_at=st.none() | st.sampled_from(STEPS),
        polls=st.sampled_from([0, 1, 3, float("inf")]),
    )
    def wish(
        self,
        process: int,
        fault: Fault | None,
        crash_at: str | None,
        cancel_at: str | None,
        polls: float,
    ) -> ImageRequest:
        """Ask for a new picture; the line, the process and the user may do something on the way."""
        self.numbers += 1
        request = ImageRequest.create(f"fox {self.numbers}")
        self.provider.polls = polls
        self.provider.submits.append(fault)
        self._work(process, request, reuse=False, crash_at=crash_at, cancel_at=cancel_at)
        self.provider.submits.clear()
        return request

    @rule(
        process=st.integers(0, 1),
        request=wishes,
        crash_at=st.none() | st.sampled_from(STEPS),
        polls=st.sampled_from([0, float("inf")]),
    )
    def wish_again(
        self, process: int, request: ImageRequest, crash_at: str | None, polls: float
    ) -> None:
        """Run the cell again."""
        self.provider.polls = polls
        self._work(process, request, reuse=True, crash_at=crash_at)

    @rule(process=st.integers(0, 1))
    def resume(self, process: int) -> None:
        """Take up what is pending."""
        posts = self.provider.posts
        self.portal.call(self._resume, self.shops[process])
        assert self.provider.posts == posts

    @rule()
    def resume_in_both_at_once(self) -> None:
        """Take up what is pending, in both processes at the same time."""

        async def both() -> None:
            async with anyio.create_task_group() as group:
                for shop in self.shops:
                    group.start_soon(self._resume, shop)

        self.portal.call(both)

    @rule(seconds=st.sampled_from([1.0, 400.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        """Let leases end."""
        self.wall.now += seconds

    @rule()
    def jobs_finish(self) -> None:
        """Have the provider finish everything."""
        self.provider.finish()

    @rule(data=st.data())
    def a_result_expires(self, data: st.DataObject) -> None:
        """Have the provider forget a job."""
        if self.provider.jobs:
            job = data.draw(st.sampled_from(sorted(self.provider.jobs)))
            self.provider.jobs[job].forgotten = True

    @rule(answer=st.sampled_from(CANCEL_ANSWERS), obeys=st.booleans())
    def cancelling_works_otherwise(self, answer: Fault | None, *, obeys: bool) -> None:
        """Change how the provider takes cancellations."""
        self.provider.cancels = answer
        self.provider.obeys = obeys or answer is None

    # ------------------------------------------------------------------------------ invariants

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        living = [j for j in self.provider.jobs.values() if not (j.cancelled or j.forgotten)]
        twice = [prompt for prompt, count in Counter(j.prompt for j in living).items() if count > 1]
        assert not twice

    @invariant()
    def every_paid_job_is_in_the_journal(self) -> None:
        rows = self.reader.rows()
        named = {row.request_id for row in rows}
        unnamed = {row.request.prompt for row in rows if row.state in NOT_NAMED}
        for job in self.provider.jobs.values():
            assert job.request_id in named or job.prompt in unnamed

    @invariant()
    def what_is_over_stays_over(self) -> None:
        for row in self.reader.rows():
            assert self.over.setdefault(row.id, row.state) is row.state or row.id not in self.over
            if row.state not in OVER:
                del self.over[row.id]

    @invariant()
    def what_is_done_has_its_pictures(self) -> None:
        for row in self.reader.rows(state=State.DONE):
            assert row.images
            assert all(self.shops[0].engine.store.verify(image.digest) for image in row.images)

    @invariant()
    def the_cap_holds_and_no_bill_is_missed(self) -> None:
        spent = float(self.reader.spend())
        billed = sum(not job.cancelled for job in self.provider.jobs.values())
        assert billed * PRICE - 1e-9 <= spent <= CAP + 1e-9

    # ----------------------------------------------------------------------------------- inside

    def _work(
        self,
        process: int,
        request: ImageRequest,
        *,
        reuse: bool,
        crash_at: str | None = None,
        cancel_at: str | None = None,
    ) -> None:
        shop = self.shops[process]
        work = shop.work(request)
        if crash_at == CANCELLING:
            cancel_at = "promised"
        shop.at_step = _fate(shop, work, crash_at=crash_at, cancel_at=cancel_at)

        async def run() -> None:
            try:
                await work.run(reuse=reuse)
            except ImagenError:
                pass
            except BaseException:
                if not is_dead(shop):
                    raise

        self.portal.call(run)
        shop.at_step = lambda _: None
        if is_dead(shop):
            self.shops[process] = self._open()  # another process in its place

    async def _resume(self, shop: Workshop) -> None:
        await shop.engine.record(shop.journal.recover)
        for row in await shop.engine.record(shop.journal.pending):
            leased: bool = await shop.engine.record(shop.journal.lease, row.id)
            if leased:
                await _fetch(shop, row)


async def _fetch(shop: Workshop, row: JobRow) -> None:
    assert row.ticket_json is not None
    work = shop.work(row.request)
    try:
        await work.resume(row, Ticket.from_json(row.ticket_json))
    except ImagenError:
        await shop.engine.note_down(shop.journal.release, row.id)


def _fate(
    shop: Workshop, work: Work, *, crash_at: str | None, cancel_at: str | None
) -> Callable[[str], None]:
    def at_step(name: str) -> None:
        if name == cancel_at:
            work.cancel()
        if name == crash_at:
            assert isinstance(shop.engine, MortalEngine)
            shop.engine.die()
            raise Dead

    return at_step


def test_no_life_of_any_jobs_breaks_the_laws_of_money(capsys: pytest.CaptureFixture[str]) -> None:
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    show(capsys, f"lives of jobs in two processes: {EXAMPLES} tried, no law of money broken")
