"""Controller: the commands of the widget, which any thread may call; no ipywidgets, no IPython.

An exception in a command becomes state: after the cell has returned there is nowhere else for it
to go. `Pump` brings the state to the view, from whatever thread it changes.
"""

import asyncio
import concurrent.futures
import contextvars
import io
import logging
import secrets
import threading
import time
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Concatenate, ParamSpec

from anyio import to_thread

from imagen_widget import _loop, errors
from imagen_widget._inputs import Input, read_input
from imagen_widget._journal import Filter, Record
from imagen_widget._models import ARGUMENTS, Model
from imagen_widget._request import ImageRequest, read_extra
from imagen_widget._result import GeneratedImage, Generation, small_copy
from imagen_widget._runs import Job, Progress
from imagen_widget._studio import Studio
from imagen_widget._widget.form import Form
from imagen_widget._widget.state import NOT_SENT, Ending, Entry, Look, Pictures, State, Tab, Trouble

RESEND_SECONDS = 1.0  # a front end that dropped the final state is sent it once more
THUMBNAIL_SECONDS = 0.1  # a page is shown after this, though some thumbnails are not made yet
PAGE_ENTRIES = 12
VARIATIONS = 4
NO_PROMPT = Trouble(
    "Write a prompt first.",
    "Say what the picture should show, then press Generate.",
    field="prompt",
)
NO_SEED = "The seed of this picture is not known: this is a new one with the same settings."
LOOP_ENDED = "Stopped before it finished; %imagen_resume fetches what was paid for."

log = logging.getLogger("imagen_widget")
P = ParamSpec("P")


def background(
    command: Callable[Concatenate["Controller", P], None],
) -> Callable[Concatenate["Controller", P], None]:
    """Have a command run on a worker thread; what it raises becomes the error box."""

    def begin(self: "Controller", /, *args: P.args, **kwargs: P.kwargs) -> None:
        guarded = partial(self._guarded, lambda: command(self, *args, **kwargs), self.state.tab)
        self._timer.background(guarded)

    return begin


class Timer:
    def later(self, seconds: float, action: Callable[[], None]) -> None:
        _loop.call_later(seconds, action)

    def background(self, action: Callable[[], None]) -> None:
        """Call `action` on a worker thread: it may decode pictures or wait for the disk.

        With the caller's context, which an executor drops: ipykernel 7.0 keeps there to which cell
        a message belongs, and refuses to send one without it.
        """
        run = partial(contextvars.copy_context().run, action)

        def begin() -> None:
            with suppress(RuntimeError):  # the interpreter is ending
                asyncio.get_running_loop().run_in_executor(None, run)

        _loop.call_soon(begin)


class Pump:
    """Holds the state and brings it to the view, never out of order.

    One lock guards the state. Rendering happens outside of it, by one thread at a time, and always
    with the newest state; a thread that finds another one rendering leaves the work to it.
    """

    def __init__(self, state: State, timer: Timer) -> None:
        self.state = state
        self.closed = False
        self._timer = timer
        self._lock = threading.RLock()
        self.render: Callable[[State], None] | None = None
        self.resend: Callable[[], None] | None = None  # sends the final state of a job once more
        self._shown: State | None = None
        self._rendering = False

    def change(self, change: Callable[[State], State]) -> tuple[State, State]:
        """Change the state and show it; return the states before and after."""
        with self._lock:
            before = self.state
            if not self.closed:
                self.state = change(before)
            changed = before, self.state
        while self._claims():
            try:
                self._call(self.render, self._shown)
            finally:  # an interrupt may come in here
                with self._lock:
                    self._rendering = False
        return changed

    def show_again(self) -> None:
        self._timer.later(RESEND_SECONDS, lambda: self._call(self.resend))

    def close(self) -> None:
        with self._lock:
            self.closed = True
            self.render = self.resend = None

    def _claims(self) -> bool:
        """Claim the rendering of a state that is not shown yet, if there is one to claim."""
        with self._lock:
            if self._rendering or self.render is None or self._shown is self.state:
                return False
            self._rendering, self._shown = True, self.state
            return True

    def _call(self, view: Callable[..., None] | None, *values: object) -> None:
        """Call the view; what it raises has no cell to go to, so it goes to the log."""
        try:
            if view is not None:
                view(*values)
        except Exception:
            log.exception("The widget could not be drawn; the jobs go on.")


class Controller:
    """What the controls of the widget do; the studio is looked up each time it is needed."""

    def __init__(
        self, find_studio: Callable[[], Studio], form: Form, *, timer: Timer | None = None
    ) -> None:
        self._find_studio = find_studio
        self._timer = timer or Timer()
        self._pump = Pump(State(form, find_studio().settings.account), self._timer)
        self._running: dict[int, tuple[Job, Future[Generation]]] = {}
        self._given_up: set[str] = set()  # jobs that could not be fetched, and were said

    @property
    def state(self) -> State:
        return self._pump.state

    @property
    def studio(self) -> Studio:
        return self._find_studio()

    def open(self, render: Callable[[State], None], resend: Callable[[], None]) -> None:
        self._pump.render, self._pump.resend = render, resend
        render(self.state)
        self._guarded(self._connect)
        self.run(lambda: self._set(models=tuple(self.studio.models())))
        self._count()
        self._learn_model()

    def close(self) -> None:
        self._pump.close()

    def _connect(self) -> None:
        settings = self.studio.settings
        has_key = settings.account.free or settings.key is not None
        costs = {"budget": settings.budget, "prices": settings.price}
        self._set(account=settings.account, has_key=has_key, **costs)

    @background
    def _count(self) -> None:
        history, today, spent = self.studio.history, datetime.now().astimezone().date(), {}
        for period, since in (("day", today), ("month", today.replace(day=1))):
            by_user = history.spend_by("user", since)
            spent[period, "all"] = sum(by_user.values(), Decimal(0))
            spent[period, "user"] = by_user.get(self.studio.settings.user or "", Decimal(0))
        waiting = {record.id for record in history.pending()} - self._given_up
        self._set(spent=spent, pending=len(waiting))

    # ------------------------------------------------------------------------ how commands run

    def _set(self, **changes: Any) -> None:
        self._pump.change(lambda s: replace(s, **changes))

    def _set_past(self, **changes: Any) -> None:
        self._pump.change(lambda s: replace(s, past=replace(s.past, **changes)))

    def _set_entry(self, entry_id: str, **changes: Any) -> None:
        self._pump.change(lambda s: replace(s, past=s.past.changed(entry_id, **changes)))

    @background
    def run(self, action: Callable[[], object]) -> None:
        action()

    def at_once(self, action: Callable[[], object]) -> None:
        """Do something before the next click is heard, which may need it."""
        self._guarded(action, self.state.tab)

    def on(self, generation_id: str, action: Callable[[Generation], object]) -> None:
        self.run(lambda: action(self.find(generation_id)))

    def find(self, generation_id: str) -> Generation:
        """Return a generation that is in sight, or in the history."""
        known = self.state.generation(generation_id)
        return self.studio.history.get(generation_id) if known is None else known

    def _guarded(self, action: Callable[[], object], tab: Tab = Tab.CREATE) -> None:
        """Do something that was begun on this page; the box of errors is on the first one."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - every error is shown, whatever it is
            self._set(trouble=_trouble_of(error), resuming=False)
            self._set_past(loading=False)
            if tab is Tab.HISTORY:
                self._set(tab=Tab.CREATE)

    # ---------------------------------------------------------------------------------- the form

    def set_field(self, name: str, value: object) -> None:
        """Take what a control holds now; None leaves the field to the model's default."""

        def change(state: State) -> State:
            about_it = state.trouble is not None and state.trouble.field == name
            trouble = None if about_it else state.trouble
            return replace(state, form=state.form.with_value(name, value), trouble=trouble)

        try:
            self._pump.change(change)
        except errors.InvalidRequest as error:
            self._set(trouble=_trouble_of(error))

    def choose_model(self, name: str) -> None:
        """Change to a model, by an alias or any endpoint id; its schema is read in the background.

        The form keeps what the new model also takes.
        """
        self._guarded(lambda: self._use_model(self.studio.known(name)))
        self._learn_model()

    def roll_seed(self, name: str) -> None:
        self.set_field(name, secrets.randbelow(2**31))

    def reuse(self, request: ImageRequest, *, seed: int | None = None) -> bool:
        """Bring the settings of a request back into the form, with this seed; False if not all."""
        form, lost = self._form_of(self._at_hand(request), seed)
        what = f"The form has no control for {', '.join(lost)}: left out."
        trouble = Trouble(what, "Use generate() to send it too.") if lost else None
        self._set(form=form, note="", trouble=trouble, tab=Tab.CREATE)
        self._learn_model()
        return not lost

    def same_again(self, generation: Generation) -> None:
        is_same = self.reuse(generation.request, seed=generation.seed)
        form = self.state.form
        is_seeded = generation.seed is not None and form.offered.role("seed") is not None
        if is_same and self._press(form) and not is_seeded:
            self._set(note=NO_SEED)

    def vary(self, generation: Generation) -> None:
        """Ask for four more pictures with the settings of a generation and other seeds."""
        form, jobs = self._varied(self._at_hand(generation.request))
        if self._press(form):
            for _ in range(jobs - 1):
                self._press(form, deliberate=True)

    def price(self, wanted: Form | ImageRequest) -> Decimal | None:
        """Return what a job is expected to cost in US dollars; None if unknown."""
        with suppress(errors.ImagenError):  # the click names the reason
            request = wanted.draft() if isinstance(wanted, Form) else wanted
            return self.studio.price(request)
        return None

    def price_varied(self, request: ImageRequest) -> Decimal | None:
        with suppress(errors.ImagenError):
            form, jobs = self._varied(request)
            each = self.price(form)
            return each and jobs * each
        return None

    def _varied(self, request: ImageRequest) -> tuple[Form, int]:
        form, lost = self._form_of(request, None)
        if lost:
            what = f"The form has no control for {', '.join(lost)}, so nothing was sent."
            raise errors.InvalidRequest(what, remedy="Use generate() to send it.")
        if (count := form.model.role("count")) is None:
            one = form.with_value("num_images", 1) if "num_images" in form.given else form
            return one, VARIATIONS
        forms = {each: form.with_value(count.name, each) for each in (VARIATIONS, 2, 1)}
        each = next((each for each, varied in forms.items() if not varied.problems), 1)
        return forms[each], VARIATIONS // each

    def _form_of(self, request: ImageRequest, seed: int | None) -> tuple[Form, list[str]]:
        form, lost = Form.of(request, self.studio.known(request.model))
        known = form.offered.role("seed")
        return form if known is None else form.with_value(known.name, seed), lost

    def _at_hand(self, request: ImageRequest) -> ImageRequest:
        """Return a request with its pictures' bytes; one that is gone is missed when it is sent."""
        with suppress(errors.ImagenError):
            request = self.studio.session.with_bytes(request)
        return request

    def _use_model(self, model: Model) -> None:
        def change(state: State) -> State:
            form, note = state.form, state.note
            if model != form.model:
                form, note = form.with_model(model)
            return replace(state, form=form, note=note, trouble=None)

        self._pump.change(change)

    @background
    def _learn_model(self) -> None:
        """Read the schema of the form's model if nothing is known of it."""
        model = self.state.form.model
        if model.source == "none":
            learned = self.studio.model(model.id)
            if self.state.form.model == model != learned:
                self._use_model(learned)

    # ------------------------------------------------------------------------------- pictures in

    def add_picture(self, data: bytes, *, name: str, more: bool) -> None:
        """Take a file as an input; a model that takes none gives way to the one that edits.

        `more`: it is one of several that come together; those before it stay, and what was wrong
        with them stays said.
        """
        form = self.state.form
        editor = None if form.max_pictures else self._editor(form.model)
        try:
            read = read_picture(data, _with_editor(form, editor)[0], self.studio)
        except errors.InvalidRequest as error:
            what = error.message.replace("image: ", f"{name or 'the picture'}: ", 1)
            raise errors.InvalidRequest(what, remedy=error.remedy, field=error.field) from None
        added = replace(read, origin=name or read.origin)

        def change(state: State) -> State:
            before = state.form
            form, note = (before, "") if before.max_pictures else _with_editor(before, editor)
            there = form.pictures if form.max_pictures != 1 or more else ()
            form, note = form.with_pictures([*there, added]), note or state.note
            trouble = state.trouble if more else None
            return replace(state, form=form, note=note, trouble=trouble, tab=Tab.CREATE)

        self._pump.change(change)

    def set_pictures(self, value: object) -> None:
        pictures = read_pictures(value, self.state.form, self.studio)
        self._set_form(lambda form: form.with_pictures(pictures))

    def remove_picture(self, index: int, key: str) -> None:
        """Remove an input; nothing if it was removed by an earlier click, before it was drawn."""

        def without(form: Form) -> Form:
            there = enumerate(form.pictures)
            return form.with_pictures(p for i, p in there if (i, p.key) != (index, key))

        self._set_form(without)

    def move_picture(self, index: int, to: int) -> None:
        def moved(form: Form) -> Form:
            there = [*form.pictures]
            there.insert(to, there.pop(index))
            return form.with_pictures(there)

        self._set_form(moved, active=to)

    def ring_picture(self, index: int) -> None:
        self._set(active=index)

    def set_mask(self, data: bytes | None) -> None:
        """Take a painted mask, white where the first picture may change; None takes it away."""
        form, studio = self.state.form, self.studio
        mask = None
        if data is not None:
            mask = replace(read_picture(data, form, studio, mask=True), origin="a painted mask")
        self._set_form(lambda form: replace(form, mask=mask))

    def edit(self, picture: GeneratedImage) -> None:
        editor = self._editor(self.studio.known(picture.provenance.request.model))
        form, note = _with_editor(self.state.form, editor)
        given = read_picture(picture, form, self.studio)
        form = replace(form, prompt="").with_pictures([given])
        self._set(form=form, note=note, active=0, trouble=None, tab=Tab.CREATE)

    def _editor(self, made_by: Model) -> Model | None:
        """Return the model that edits the pictures of a model; None if unknown."""
        if made_by.role("picture") is not None:
            return made_by
        return self.studio.known(made_by.edits_with) if made_by.edits_with else None

    def _set_form(self, change: Callable[[Form], Form], **more: Any) -> None:
        self._pump.change(lambda s: replace(s, form=change(s.form), note="", trouble=None, **more))

    # ---------------------------------------------------------------------------------- the jobs

    def generate(self) -> None:
        self._press(self.state.form)

    async def generated(self, changes: dict[str, Any]) -> Generation:
        if isinstance(changes.get("model"), str):
            await to_thread.run_sync(self.studio.model, changes["model"])  # its schema
        form = filled(self.state.form, self.studio, changes)
        self._set(form=form, note="")
        self._learn_model()
        request = await to_thread.run_sync(self._request, form)
        future = self._start(request, deliberate=True)
        if future is None:
            trouble = self.state.trouble or Trouble("The form was closed: nothing was sent.")
            raise errors.InvalidRequest(trouble.happened, remedy=trouble.remedy)
        return await _loop.wait_async(future)

    def retry(self) -> None:
        trouble = self.state.trouble
        if trouble is not None and trouble.again is not None:
            self._start(trouble.again)

    def cancel(self, number: int | None = None) -> None:
        """Cancel a job, by default the newest that runs; what it came to is told by its status."""
        meant = self.state.cancellable if number is None else self.state.job(number)
        if meant is not None:
            self._pump.change(lambda s: s.cancelling(meant.number))
            self._forward_cancel(meant.number)

    def _press(self, form: Form, *, deliberate: bool = False) -> Future[Generation] | None:
        if not deliberate and self.state.submitting:
            return None
        try:
            request = self._request(form)
        except Exception as error:  # noqa: BLE001 - it becomes state
            trouble = _refusal(error, form)
            self._set(trouble=replace(trouble, refused=not self.state.running))
            return None
        return self._start(request, deliberate=deliberate)

    def _request(self, form: Form) -> ImageRequest:
        return self.studio.request(form.prompt if form.takes_prompt else None, **form.arguments())

    def _start(
        self, request: ImageRequest, *, deliberate: bool = False
    ) -> Future[Generation] | None:
        before, after = self._pump.change(lambda s: s.pressed(request, deliberate=deliberate))
        number, future = after.last_number, Future[Generation]()
        if number == before.last_number:
            return None
        try:
            self._connect()
            job = self.studio.start(request)
        except Exception as error:  # noqa: BLE001 - it becomes state
            self._end(number, _trouble_of(error, request), NOT_SENT)
            future.set_exception(error)
            return future
        self._running[number] = (job, future)
        job.listen(partial(self._progressed, number))
        job.add_done_callback(partial(self._collect, number))
        self._forward_cancel(number)
        return future

    def _forward_cancel(self, number: int) -> None:
        """Pass Cancel on, once the job is there; it may have been pressed while it was started."""
        state, running = self.state.job(number), self._running.get(number)
        if state is not None and state.cancelling and running is not None:
            running[0].request_cancel()

    def _progressed(self, number: int, progress: Progress) -> None:
        if (running := self._running.get(number)) is not None:
            status = running[0].status
            self._pump.change(lambda s: s.progressed(number, progress, status))

    @background
    def _collect(self, number: int, job: Job) -> None:
        """Bring a finished job's outcome into the state; decodes pictures, so not on the loop."""
        _, future = self._running.pop(number)
        try:
            generation = job.result(0)
        except BaseException as error:  # noqa: BLE001 - it becomes state
            self._end(number, *_failure(error, job))
            future.set_exception(error)
            return
        self._end(number, shown(generation), generation.summary)
        future.set_result(generation)

    def _end(self, number: int, ending: Ending, status: str) -> None:
        self._pump.change(lambda s: s.ended(number, ending, status))
        self._pump.show_again()
        self._count()
        if isinstance(ending, Pictures) and self.state.past.loaded:
            self.look()

    # ------------------------------------------------------------------------------ the pictures

    def saved(self, image: GeneratedImage) -> bytes:
        """Return a picture's file, with its settings if they may be told."""
        return image.marked(provenance=self.studio.settings.provenance)

    def zipped(self, images: Iterable[GeneratedImage]) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for number, image in enumerate(images, 1):
                archive.writestr(f"{number:03}-{image.file_name}", self.saved(image))
        return packed.getvalue()

    def mark(self, this: tuple[str, int]) -> list[tuple[str, int]]:
        """Choose a picture to compare, or let it go; return both once there are two."""
        before, _ = self._pump.change(
            lambda s: replace(s, marked=this if s.marked is None else None)
        )
        first = before.marked
        return [] if first is None or first == this else [first, this]

    # --------------------------------------------------------------------------- the History page

    def open_tab(self, tab: Tab, *, picking: bool = False) -> None:
        """Open a page of the widget; History is read from disk if it is not what is shown."""
        self._set(tab=tab, picking=picking)
        if tab is Tab.HISTORY and not self.state.past.loaded:
            self.look()
        elif tab is Tab.HISTORY:
            self._look_again()

    @background
    def _look_again(self) -> None:
        """Read the History page once more if there are others than when it was read."""
        if len(self.studio.history) != self.state.past.total:
            self.look()

    def look(self, **changes: Any) -> None:
        look = replace(self.state.past.look, **changes)
        self._set_past(look=look, loading=True)
        self._look(look)

    def unfilter(self, name: str) -> None:
        nothing = asdict(Look(sort=self.state.past.look.sort))
        self.look(**{n: value for n, value in nothing.items() if name in ("all", n)})

    def older(self) -> None:
        past = self.state.past
        if past.cursor is not None and not past.loading:
            self._set_past(loading=True)
            self._look(past.look, after=past.cursor)

    def rate(self, generation: Generation, stars: int) -> None:
        self.studio.history.rate(generation, stars)
        self._set_entry(generation.id, rating=stars)

    def tick(self, generation_id: str) -> None:
        self._pump.change(lambda s: replace(s, past=s.past.ticked(generation_id)))

    def untick(self) -> None:
        self._set_past(selected=frozenset(), deleted=())

    @background
    def delete(self) -> None:
        """Move the ticked generations to the trash; the bill stays."""
        before, _ = self._pump.change(
            lambda s: replace(s, past=replace(s.past, selected=frozenset()))
        )
        for entry in before.past.chosen:
            self.studio.history.delete(entry.generation)
            gone = entry.generation.id
            self._pump.change(lambda s, gone=gone: replace(s, past=s.past.without(gone)))  # type: ignore[misc]
        self.look()

    @background
    def undo(self) -> None:
        before, _ = self._pump.change(lambda s: replace(s, past=replace(s.past, deleted=())))
        for generation_id in before.past.deleted:
            self.studio.history.undelete(generation_id)
        self.look()

    def show(self, generation: Generation) -> None:
        self._pump.change(lambda s: s.arrived(shown(generation, earlier=True)))
        self._pump.show_again()

    @background
    def resume(self) -> None:
        before, _ = self._pump.change(lambda s: replace(s, resuming=True))
        if before.resuming:
            return
        trouble = None
        for outcome in self.studio.history.resume_all():
            if outcome.generation is not None:
                arrived = shown(outcome.generation)
                self._pump.change(lambda s, arrived=arrived: s.arrived(arrived))  # type: ignore[misc]
            elif outcome.error is not None:
                # It is said once; another form, or the magic, can try again.
                self._given_up.add(outcome.record.id)
                trouble = trouble or _trouble_of(outcome.error)
        self._set(pending=0, resuming=False, trouble=trouble)
        self._pump.show_again()

    @background
    def _look(self, look: Look, *, after: Record | None = None) -> None:
        history, until = self.studio.history, time.monotonic() + THUMBNAIL_SECONDS
        wanted = Filter(
            text=look.text,
            model=look.model or None,
            provider=look.provider or None,
            since=look.since,
            rating=look.rating or None,
            sort=look.sort,  # type: ignore[arg-type]  # one of those that the page offers
            has_pictures=True,
        )
        records = history.page(wanted, limit=PAGE_ENTRIES + 1, before=after)
        is_last = len(records) <= PAGE_ENTRIES
        facts: dict[str, Any] = {"cursor": None if is_last else records[PAGE_ENTRIES - 1]}
        if after is None:
            counts = {"total": len(history), "matched": history.count(wanted)}
            facts |= {"models": tuple(history.models()), **counts}
        entries = []
        for record in records[:PAGE_ENTRIES]:
            if (generation := history.recall(record)) is None:
                continue
            is_time = time.monotonic() < until  # the other thumbnails come when they are ready
            small = history.thumbnail(generation) if is_time else ""
            size = sum(kept.size for kept in record.images)
            entries.append(Entry(generation, small, record.rating, size))
        self._pump.change(
            lambda s: replace(s, past=s.past.found(look, entries, after=after, **facts))
        )
        for entry in entries:
            if not entry.thumbnail:
                made = entry.generation
                self._set_entry(made.id, thumbnail=history.thumbnail(made))


def filled(form: Form, studio: Studio, changes: dict[str, Any]) -> Form:
    """Return a form with values as a program gives them: names of fields, and pictures."""
    given = dict(changes)
    if (name := given.pop("model", None)) is not None:
        form, _ = form.with_model(studio.known(name))
    extra = read_extra(given.pop("extra", None))
    if others := given.keys() & set(ARGUMENTS) - {"prompt", "image", "images", "mask"}:
        raise errors.invalid(min(others), "the form has no such field", "Give it to generate().")
    given = {**extra, **given}
    roles = {f.name: f.role for f in form.offered.fields if f.role in ("picture", "mask")}
    given = {roles.get(name, name): value for name, value in given.items()}
    image, images, own, mask = map(given.pop, ("image", "images", "picture", "mask"), [None] * 4)
    for name, value in given.items():
        form = form.with_value(name, value)
    form.arguments()  # raises what is not allowed
    for several in (image, images, own):
        if several is not None:
            form = form.with_pictures(read_pictures(several, form, studio))
    if mask is not None:
        form = replace(form, mask=read_picture(mask, form, studio, mask=True))
    return form


def _with_editor(form: Form, editor: Model | None) -> tuple[Form, str]:
    """Return the form of a model that takes pictures, and what is said of the change."""
    if editor is None or editor.id == form.model.id:
        return form, ""
    form, lost = form.with_model(editor)
    return form, f"{editor.title} is the model now, since it takes pictures. {lost}".strip()


def read_pictures(value: object, form: Form, studio: Studio) -> list[Input]:
    several = value if isinstance(value, list | tuple) else [value]
    return [read_picture(each, form, studio) for each in several if each is not None]


def read_picture(value: object, form: Form, studio: Studio, *, mask: bool = False) -> Input:
    into = form.model.role("mask" if mask else "picture")
    if into is None and form.model.fields:
        raise errors.InvalidRequest(
            f"{form.model.title} takes {'no mask' if mask else 'no pictures'}.",
            remedy="Choose a model that does: look for “edit” in the list of models.",
        )
    limits = None if into is None else into.limits
    return read_input(value, limits=limits, mask=mask, base_url=studio.settings.base_url)


def shown(generation: Generation, *, earlier: bool = False) -> Pictures:
    """Return a generation with the copies that its cards show."""
    copies = tuple(small_copy(image, 480, 30_000) for image in generation)
    return Pictures(generation, copies, earlier=earlier)


def _failure(error: BaseException, job: Job) -> tuple[Ending, str]:
    if isinstance(error, errors.JobCancelled):
        return None, str(error)
    if isinstance(error, concurrent.futures.CancelledError):
        return None, LOOP_ENDED
    unsent = isinstance(error, errors.BudgetExceeded)
    status = NOT_SENT if unsent else f"Failed after {job.progress.elapsed:.1f} s"
    return _trouble_of(error, job.request), status


def _refusal(error: Exception, form: Form) -> Trouble:
    """Return why a request was not sent; what is missing is asked for in the form's words."""
    trouble, title = _trouble_of(error), form.model.title
    known = form.model.field(trouble.field)
    match trouble.field if known is None else known.role:
        case "prompt" if not form.prompt.strip():
            return NO_PROMPT
        case "picture" if not form.pictures:
            return Trouble(f"{title} needs a picture.", "Drop or choose a picture above.")
        case "mask" if form.mask is None:
            return Trouble(f"{title} needs a mask.", "Paint a mask on picture 1.")
    if known is not None and known.required and known.name not in form.given:
        missing = f"{title} needs {known.title or known.name}."
        return Trouble(missing, "Fill it in above.", field=known.name)
    return trouble


def _trouble_of(error: BaseException, request: ImageRequest | None = None) -> Trouble:
    """Return what the error box says.

    Retry is offered only where nothing can have been paid for: not when the submit may have been
    accepted, nor when the work can still be fetched.
    """
    if not isinstance(error, errors.ImagenError):
        log.error("Something failed inside imagen_widget.", exc_info=error)
        return Trouble(
            f"Something failed inside imagen_widget ({type(error).__name__}).",
            "The log has the details; what was paid for stays in the history.",
        )
    helps = isinstance(
        error, errors.CredentialsError | errors.GenerationFailed | errors.JournalError
    ) or (isinstance(error, errors.QueueError) and error.ticket is None)
    again = request if helps and not error.billed else None
    field = error.field or "" if isinstance(error, errors.InvalidRequest) else ""
    trouble = Trouble(error.message, error.remedy, again, field)
    if isinstance(error, errors.ModelRetired) and request is not None:
        trouble = replace(trouble, gone=(request.model, error.successor))
    return trouble
