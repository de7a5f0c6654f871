"""Whatever a gateway answers: paid once, nothing lost, one line for each error, no bare trace."""

from __future__ import annotations

from collections import Counter

import pytest

from imagen_widget import History, Studio, start
from imagen_widget.errors import ImagenError
from tests import books
from tests.chaos.counts import ODD_JOBS, show
from tests.chaos.mixture import LOST, MAX_LASTS, PAYS, REFUSED, Mixture
from tests.fakequeue import FakeQueue

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600), pytest.mark.usefixtures("quick")]

AT_ONCE = 100
TIMEOUT_SECONDS = 20
RESULT_SECONDS = 120.0


def test_a_gateway_that_answers_in_every_odd_shape_is_paid_once_and_loses_nothing(
    queue: FakeQueue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("imagen_widget._providers.provider._MAX_BACKOFF_SECONDS", 0.2)
    mixture = Mixture(queue, Studio().settings.base_url, seed=20261126)
    ends: Counter[str] = Counter()
    lines: list[str] = []
    for first in range(0, ODD_JOBS, AT_ONCE):
        prompts = [f"fox {n}" for n in range(first, min(first + AT_ONCE, ODD_JOBS))]
        for job in [start(prompt, timeout=TIMEOUT_SECONDS) for prompt in prompts]:
            try:
                job.result(RESULT_SECONDS)
                ends["done"] += 1
            except ImagenError as error:  # anything else fails the test
                ends[type(error).__name__] += 1
                lines.append(str(error))
            lines.append(job.status)
    for _ in range(MAX_LASTS):  # what is odd at first is over then
        outcomes = History().resume_all()
        lines += [str(outcome.error) for outcome in outcomes if outcome.error is not None]

    rows = {row.prompt: row for row in books.rows()}
    paid = {job.wish for job in queue.jobs.values()}
    lost = [
        f"{prompt}: {rows[prompt].state}, {rows[prompt].error}, {fate}"
        for prompt, fate in mixture.fates.items()
        if fate.ends_well and rows[prompt].state != "done"
    ]
    show(
        capsys,
        f"a gateway of all odd shapes, {ODD_JOBS} jobs: {queue.duplicates} paid twice, "
        f"{len(lost)} lost; " + ", ".join(f"{count} {name}" for name, count in ends.most_common()),
    )
    assert queue.duplicates == 0
    assert lost == []
    assert len(rows) == ODD_JOBS
    unpaid = [p for p, fate in mixture.fates.items() if (fate.submit in PAYS) != (p in paid)]
    assert [(mixture.fates[prompt], rows[prompt]) for prompt in unpaid] == []
    assert [line for line in lines if not line.isprintable() or len(line) > 1300] == []
    reserved = sum((row.price or 0) if row.cost is None else row.cost for row in rows.values())
    assert History().spend() == pytest.approx(reserved)
    for prompt, fate in mixture.fates.items():
        row = rows[prompt]
        if fate.submit in LOST:
            assert (row.state, row.cost) == ("unknown", None), fate
        elif fate.submit in REFUSED:
            assert (row.state, row.cost) == ("failed", 0), fate
        else:
            assert row.state in {"done", "failed"}, fate
