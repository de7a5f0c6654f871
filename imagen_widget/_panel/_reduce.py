"""reduce(state, event): all that can happen to the panel, as one pure and total function.

The laws, which hold for every sequence of events:
- one press of Generate is one job: while a job is on its way out no other starts, nor within
  `DOUBLE_PRESS_SECONDS` of the press before it while that job runs;
- what arrives for a job that has ended, or that nobody knows, changes nothing;
- a job that was cancelled never shows a picture, unless the picture was there first;
- elapsed time never runs backwards;
- the number of jobs and of history entries has a bound.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from imagen_widget._panel._events import (
    PAGE_ENTRIES,
    Arrived,
    CancelPressed,
    Connected,
    Ended,
    Enhanced,
    Event,
    FieldSet,
    HistoryRead,
    PendingCounted,
    Pressed,
    Priced,
    Progressed,
    Resuming,
    Reused,
    Saved,
    Searched,
    TabOpened,
    Troubled,
)
from imagen_widget._panel._form import Form
from imagen_widget._panel._state import (
    Cancellation,
    HistoryPage,
    JobState,
    PanelState,
    Pictures,
    Tab,
    Trouble,
)
from imagen_widget.errors import InvalidRequest

if TYPE_CHECKING:
    from imagen_widget._request import ImageRequest

DOUBLE_PRESS_SECONDS = 0.3
MOST_ACTIVE = 8
MOST_ENDED = 6
MOST_ENTRIES = 60
NO_PROMPT = Trouble(
    "Write a prompt first.", "Say what the picture should show, then press Generate."
)
TOO_LATE = "Too late to cancel: the picture is here"


def reduce(state: PanelState, event: Event) -> PanelState:  # noqa: C901, PLR0911, PLR0912 - one line an event
    """Return the state after an event; never raises, whatever the order of events."""
    match event:
        case FieldSet(name, value):
            return replace(state, form=state.form.with_field(name, value))
        case Reused(request):
            return _reused(state, request)
        case Priced(price):
            return replace(state, price=price)
        case Connected(provider):
            return replace(state, provider=provider)
        case Pressed():
            return _pressed(state, event)
        case Progressed():
            return _progressed(state, event)
        case CancelPressed(number):
            return _cancelling(state, number)
        case Ended():
            return _ended(state, event)
        case Arrived(pictures):
            return _arrived(state, pictures)
        case Saved():
            return _saved(state, event)
        case Troubled(trouble):
            return replace(state, trouble=trouble, resuming=False)
        case TabOpened(tab):
            return replace(state, tab=tab)
        case Searched(text, limit):
            return _searched(state, text, limit)
        case HistoryRead():
            return _history_read(state, event)
        case PendingCounted(count):
            return replace(state, pending=max(0, count), resuming=False)
        case Resuming():
            return replace(state, resuming=True)
        case Enhanced():
            return replace(state, enhanced=True)
        case _:
            assert_never(event)


def _reused(state: PanelState, request: ImageRequest) -> PanelState:
    trouble = state.trouble
    if request.extra:
        names = ", ".join(str(name) for name in request.extra)
        trouble = Trouble(
            f"The form has no control for {names}: left out.", "Use generate() to send it too."
        )
    return replace(state, form=Form.of(request), tab=Tab.CREATE, trouble=trouble)


def _pressed(state: PanelState, press: Pressed) -> PanelState:
    same_press = press.at - state.clicked_at < DOUBLE_PRESS_SECONDS and bool(state.active)
    if not state.can_generate or same_press:
        return state
    if len(state.active) >= MOST_ACTIVE:
        return replace(
            state,
            trouble=Trouble(f"{MOST_ACTIVE} jobs are running.", "Wait for one, or cancel one."),
        )
    if press.again is None and not state.form.prompt.strip():
        return replace(state, trouble=NO_PROMPT)
    try:
        request = press.again or state.form.request()
    except InvalidRequest as error:
        return replace(state, trouble=Trouble(error.message, error.remedy))
    started = _with_job(state, JobState(state.last_number + 1, request))
    return replace(started, clicked_at=press.at, trouble=None, tab=Tab.CREATE)


def _with_job(state: PanelState, job: JobState) -> PanelState:
    """Put a job on top; those that brought nothing go, and so do the oldest beyond the bound."""
    active = [j for j in state.jobs if j.active]
    ended = [j for j in state.jobs if isinstance(j.ending, Pictures)]
    kept = {j.number for j in [*active, *ended[: MOST_ENDED - 1]]}
    jobs = (job, *(j for j in state.jobs if j.number in kept))
    return replace(state, jobs=jobs, last_number=job.number)


def _changed(state: PanelState, job: JobState) -> PanelState:
    return replace(state, jobs=tuple(job if j.number == job.number else j for j in state.jobs))


def _progressed(state: PanelState, event: Progressed) -> PanelState:
    job = state.job(event.number)
    if job is None or not job.active or event.progress.elapsed < job.elapsed:
        return state
    return _changed(state, replace(job, progress=event.progress, status=event.status))


def _cancelling(state: PanelState, number: int) -> PanelState:
    job = state.job(number)
    if job is None or not job.active:
        return state
    return _changed(state, replace(job, cancelling=True))


def _ended(state: PanelState, event: Ended) -> PanelState:
    job = state.job(event.number)
    if job is None or not job.active:
        return state
    ending, status = event.ending, event.status
    if isinstance(ending, Pictures) and job.cancelling:
        ending, status = replace(ending, too_late=True), f"{TOO_LATE} · {status}"
    ended = _bounded(_changed(state, replace(job, ending=ending, status=status)))
    match ending:
        case Pictures(generation=generation):
            return replace(ended, latest=generation)
        case Trouble():
            return replace(ended, trouble=ending)
        case Cancellation():
            return ended


def _bounded(state: PanelState) -> PanelState:
    ended = [job.number for job in state.jobs if not job.active]
    dropped = set(ended[MOST_ENDED:])
    return replace(state, jobs=tuple(job for job in state.jobs if job.number not in dropped))


def _arrived(state: PanelState, pictures: Pictures) -> PanelState:
    generation = pictures.generation
    job = JobState(
        state.last_number + 1, generation.request, status=generation.summary, ending=pictures
    )
    arrived = replace(_bounded(_with_job(state, job)), tab=Tab.CREATE)
    return arrived if pictures.earlier else replace(arrived, latest=generation)


def _saved(state: PanelState, event: Saved) -> PanelState:
    job = state.job(event.number)
    if job is None or not isinstance(job.ending, Pictures):
        return state
    cards = tuple(
        replace(card, saved=event.where) if index == event.index else card
        for index, card in enumerate(job.ending.cards)
    )
    return _changed(state, replace(job, ending=replace(job.ending, cards=cards)))


def _searched(state: PanelState, text: str, limit: int) -> PanelState:
    asked = replace(
        state.history, search=text, limit=min(max(limit, PAGE_ENTRIES), MOST_ENTRIES), loading=True
    )
    return replace(state, history=asked)


def _history_read(state: PanelState, event: HistoryRead) -> PanelState:
    asked = state.history
    if (event.search, event.limit) != (asked.search, asked.limit):
        return state  # the answer to an earlier search
    page = HistoryPage(
        search=event.search,
        limit=event.limit,
        entries=event.entries[: event.limit],
        more=event.more and event.limit < MOST_ENTRIES,
        loading=False,
        loaded=True,
    )
    return replace(state, history=page)
