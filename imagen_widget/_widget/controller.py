"""Controller: the commands of the widget, which any thread may call; no ipywidgets, no IPython."""

import asyncio
import concurrent.futures
import io
import secrets
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from imagen_widget import _loop
from imagen_widget._inputs import Input, read_input
from imagen_widget._models import Model
from imagen_widget._request import ImageRequest
from imagen_widget._result import Generation
from imagen_widget._runs import Job, Progress
from imagen_widget._studio import Studio
from imagen_widget._widget.commands import PastCommands
from imagen_widget._widget.core import shown
from imagen_widget._widget.form import Form, stand_ins
from imagen_widget._widget.state import NO_PROMPT, Cancellation, Ending, Pictures, State, Tab
from imagen_widget.errors import ImagenError, InvalidRequest, JobCancelled

LOOP_ENDED = "Stopped before it ended; %imagen_resume fetches what was paid for."
NO_SEED = "No seed is known of this picture: a new one with the same settings."
VARIATIONS = 4
_MAX_SEED = 2**31


class Export(NamedTuple):
    """A file to hand out: a readable name, its media type and its bytes."""

    name: str
    media_type: str
    data: bytes


class Controller(PastCommands):
    """What the controls of the widget do."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._running: dict[int, tuple[Job, Future[Generation]]] = {}

    def open(self) -> None:
        """Find out where jobs go, what the form costs, and what waits to be fetched."""
        if self._connect():
            self._reprice()
            self._do(self._look_around)
            self._learn_model()

    def close(self) -> None:
        """Forget the view and the jobs; those go on, and their pictures land in history."""
        self._pump.close()
        self._running.clear()

    def _connect(self) -> bool:
        try:
            settings = self.studio.settings
        except Exception as error:  # noqa: BLE001 - it becomes state
            self._set(trouble=self._trouble_of(error))
            return False
        has_key = settings.account.free or settings.key is not None
        self._set(account=settings.account, budget=settings.budget, has_key=has_key)
        return True

    def _look_around(self) -> None:
        models = tuple(self.studio.models())
        self._set(models=models)
        self.count()

    # ---------------------------------------------------------------------------------- the form

    def set_field(self, name: str, value: object) -> None:
        """Take what a control holds now; None leaves the field to the model's default."""
        try:
            before, after = self._pump.change(
                lambda s: s.with_form(s.form.with_value(name, value), note=s.note)
            )
        except InvalidRequest as error:
            self._set(trouble=self._trouble_of(error))
            return
        if before.form != after.form and name != "prompt":
            self._reprice()

    def choose_model(self, name: str) -> None:
        """Change to a model, by an alias or any endpoint id; its schema is read in the background.

        The form keeps what the new model also takes.
        """
        try:
            self._use_model(self.studio.known(name))
        except ImagenError as error:
            self._set(trouble=self._trouble_of(error))
            return
        self._learn_model()

    def fill(self, changes: dict[str, Any]) -> None:
        """Put values into the form as a program gives them.

        Raises:
            InvalidRequest: A name or value is not allowed; nothing was changed.
        """
        form = filled(self.state.form, self.studio, changes)
        self._pump.change(lambda s: s.with_form(form))
        self._reprice()
        self._learn_model()

    def roll_seed(self) -> None:
        """Put a random seed into the form."""
        seed = self.state.form.model.role("seed")
        self.set_field(seed.name if seed else "seed", secrets.randbelow(_MAX_SEED))

    def reuse(self, request: ImageRequest, *, seed: int | None = None) -> None:
        """Bring the settings of a request back into the form, with this seed."""
        form = self._form_of(request, seed)
        left_out = form.without_control(request)
        self._pump.change(lambda s: s.reused(form, left_out))
        self._reprice()
        self._learn_model()

    def reuse_from(self, picture: bytes) -> None:
        """Bring the settings that a saved picture carries back into the form."""
        from imagen_widget._history import History

        def read() -> None:
            found = History.settings_from(picture)
            self.reuse(found.request, seed=found.seed)

        self._do(read)

    def use_settings(self, generation_id: str) -> None:
        """Bring the settings of a generation back into the form, without its seed."""
        self._with_generation(generation_id, lambda g: self.reuse(g.request))

    def same_again(self, generation_id: str) -> None:
        """Ask for a generation once more, with its seed if one is known."""

        def again(generation: Generation) -> None:
            self.reuse(generation.request, seed=generation.seed)
            form = self.state.form
            if self._press(form) and (form.model.role("seed") is None or generation.seed is None):
                self._set(note=NO_SEED)

        self._with_generation(generation_id, again)

    def vary(self, generation_id: str) -> None:
        """Ask for four more pictures with the settings of a generation and other seeds."""

        def ask(generation: Generation) -> None:
            form = self._form_of(generation.request, None)
            count = form.model.role("count")
            each = min(VARIATIONS, int(count.high or VARIATIONS)) if count is not None else 1
            form = form.with_value(count.name, each) if count is not None else form
            if self._press(form):
                for _ in range(VARIATIONS // each - 1):
                    self._press(form, deliberate=True)

        self._with_generation(generation_id, ask)

    def _form_of(self, request: ImageRequest, seed: int | None) -> Form:
        form = Form.of(request, self.studio.known(request.model))
        field = form.model.role("seed")
        return form if field is None or not form.model.fields else form.with_value(field.name, seed)

    def _use_model(self, model: Model) -> None:
        def change(state: State) -> State:
            form, note = state.form.with_model(model)
            return replace(state.with_form(form, note=note), trouble=None)

        if model != self.state.form.model:
            self._pump.change(change)
            self._reprice()

    def _learn_model(self) -> None:
        """Read the schema of the form's model if nothing is known of it, in the background."""
        model = self.state.form.model
        if model.source != "none":
            return

        def learn() -> None:
            learned = self.studio.model(model.id)
            if self.state.form.model == model:
                self._use_model(learned)

        self._do(learn)

    def _reprice(self) -> None:
        form = self.state.form
        try:
            missing = {k: v for k, v in stand_ins(form.model).items() if k not in form.given}
            if form.pictures:
                missing = {k: v for k, v in missing.items() if not form.model.field(k).role}  # type: ignore[union-attr]
            asked = {**missing, **form.arguments()}
            prompt = asked.pop("prompt", None) or form.prompt.strip() or "-"
            price = self.studio.price(self.studio.request(str(prompt), **asked))
        except Exception:  # noqa: BLE001 - an unknown price says so; Generate names the reason
            price = None
        self._set(price=price)

    # ---------------------------------------------------------------------------------- pictures in

    def add_pictures(self, values: Iterable[object], *, name: str = "") -> None:
        """Put pictures behind those that are there; they are read in the background."""
        chosen = list(values)
        self._do(lambda: self._add(chosen, name))

    def set_pictures(self, values: Iterable[object]) -> None:
        """Put pictures in place of those that are there.

        Raises:
            InvalidRequest: One of them cannot be used.
        """
        pictures = [read_picture(value, self.state.form, self.studio) for value in values]
        self._with_pictures(lambda _: pictures)

    def remove_picture(self, index: int) -> None:
        """Take an input picture away."""
        self._with_pictures(lambda there: [p for i, p in enumerate(there) if i != index])

    def move_picture(self, index: int, to: int) -> None:
        """Put an input picture at another place."""

        def moved(there: list[Input]) -> list[Input]:
            if 0 <= index < len(there) and 0 <= to < len(there):
                there.insert(to, there.pop(index))
            return there

        self._with_pictures(moved)
        self.ring_picture(to)

    def ring_picture(self, index: int) -> None:
        """Choose the input picture that the buttons below the strip mean."""
        last = max(0, len(self.state.form.pictures) - 1)
        self._set(active=min(max(0, index), last))

    def set_mask(self, data: bytes | None) -> None:
        """Take a painted mask, white where the first picture may change; None takes it away."""

        def take() -> None:
            form, studio = self.state.form, self.studio
            mask = None if data is None else read_picture(data, form, studio, mask=True)
            self._pump.change(lambda s: s.with_form(replace(s.form, mask=mask)))
            self._reprice()

        self._do(take)

    def edit(self, generation_id: str, index: int) -> None:
        """Make a picture the input, and choose the model that edits it."""

        def begin(generation: Generation) -> None:
            form = self.state.form
            made_by = self.studio.known(generation.model)
            sibling = made_by.id if made_by.role("picture") is not None else made_by.edits_with
            if sibling:
                form, _ = form.with_model(self.studio.known(sibling))
            picture = read_picture(generation[index], form, self.studio)
            form = replace(form, prompt="").with_pictures([picture])
            self._pump.change(
                lambda s: replace(s.with_form(form), tab=Tab.CREATE, trouble=None, active=0)
            )
            self._reprice()

        self._with_generation(generation_id, begin)

    def _add(self, values: list[object], name: str) -> None:
        form, studio = self.state.form, self.studio
        read = [read_picture(value, form, studio) for value in values]
        added = [replace(each, origin=name or each.origin) for each in read]
        self._with_pictures(lambda there: there + added if form.max_pictures != 1 else added[-1:])

    def _with_pictures(self, change: Callable[[list[Input]], Iterable[Input]]) -> None:
        def apply(state: State) -> State:
            form = state.form.with_pictures(change(list(state.form.pictures)))
            return replace(state.with_form(form), trouble=None)

        self._pump.change(apply)
        self._reprice()

    # ---------------------------------------------------------------------------------- the jobs

    def generate(self) -> None:
        """Start a job from the form, unless one is on its way out."""
        self._press(self.state.form)

    async def generated(self, changes: dict[str, Any]) -> Generation:
        """Put values into the form, start a job, and return its pictures.

        Raises:
            ImagenError: As `generate` raises it.
        """
        if isinstance(changes.get("model"), str):
            await asyncio.to_thread(self.studio.model, changes["model"])  # its schema
        self.fill(changes)
        request = await asyncio.to_thread(self._request, self.state.form)
        future = self._start(request, deliberate=True)
        if future is None:
            trouble = self.state.trouble
            assert trouble is not None
            raise InvalidRequest(trouble.happened, remedy=trouble.remedy)
        return await _loop.wait_async(future)

    def retry(self) -> None:
        """Do what the error box offers: send its request again, or change the model."""
        trouble = self.state.trouble
        if trouble is None:
            return
        if trouble.switch_to:
            self.choose_model(trouble.switch_to)
        elif trouble.again is not None:
            self._start(trouble.again)

    def cancel(self, number: int | None = None) -> None:
        """Cancel a job, by default the newest that runs; what it came to is told by its status."""
        meant = self.state.cancellable if number is None else self.state.job(number)
        if meant is not None:
            self._pump.change(lambda s: s.cancelling(meant.number))
            self._forward_cancel(meant.number)

    def _press(self, form: Form, *, deliberate: bool = False) -> bool:
        """Start a job from a form; what is wrong with it is shown."""
        if not deliberate and not self.state.accepts(self._timer.now()):
            return False
        try:
            request = self._request(form)
        except Exception as error:  # noqa: BLE001 - it becomes state
            blank = form.takes_prompt and not form.prompt.strip()
            is_that = blank and isinstance(error, InvalidRequest) and error.field == "prompt"
            self._set(trouble=NO_PROMPT if is_that else self._trouble_of(error))
            return False
        return self._start(request, deliberate=deliberate) is not None

    def _request(self, form: Form) -> ImageRequest:
        return self.studio.request(form.prompt if form.takes_prompt else None, **form.arguments())

    def _start(
        self, request: ImageRequest, *, deliberate: bool = False
    ) -> Future[Generation] | None:
        at = self._timer.now()
        before, after = self._pump.change(lambda s: s.pressed(at, request, deliberate=deliberate))
        number, future = after.last_number, Future[Generation]()
        if number == before.last_number:
            return None
        try:
            self._connect()
            job = self.studio.start(request)
            self._running[number] = (job, future)
            job.listen(partial(self._progressed, number))
            job.add_done_callback(partial(self._done, number))
        except Exception as error:  # noqa: BLE001 - it becomes state
            self._running.pop(number, None)
            self._end(number, self._trouble_of(error, request), "Failed")
            future.set_exception(error)
            return future
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
            self._pump.change_soon(lambda s: s.progressed(number, progress, status))

    def _done(self, number: int, job: Job) -> None:
        self._do(lambda: self._collect(number, job))

    def _collect(self, number: int, job: Job) -> None:
        """Bring a finished job's outcome into the state; decodes pictures, so not on the loop."""
        _, future = self._running.pop(number, (None, None))
        if future is None or self._pump.closed:
            return
        try:
            generation = job.result(0)
        except BaseException as error:  # noqa: BLE001 - it becomes state
            self._end(number, *self._failure(error, job))
            future.set_exception(error)
            return
        self._end(number, shown(generation), generation.summary)
        future.set_result(generation)

    def _failure(self, error: BaseException, job: Job) -> tuple[Ending, str]:
        if isinstance(error, JobCancelled):
            return Cancellation(str(error)), str(error)
        if isinstance(error, concurrent.futures.CancelledError):
            return Cancellation(LOOP_ENDED), LOOP_ENDED
        trouble = self._trouble_of(error, job.request)
        return trouble, f"Failed after {job.progress.elapsed:.1f} s"

    def _end(self, number: int, ending: Ending, status: str) -> None:
        self._pump.change(lambda s: s.ended(number, ending, status))
        self._pump.show_again()
        self._do(self.count)
        if isinstance(ending, Pictures):
            self._guarded(lambda: self.add_newest(ending.generation))

    # ------------------------------------------------------------------------------ the pictures

    def export(self, generation_id: str, index: int) -> Export | None:
        """Return a picture as a file to download; None, and an error box, if it is gone."""
        exports = self._exported([(generation_id, index)])
        if exports:
            words = f"Saved: {exports[0].name}"
            self._pump.change(lambda s: s.said(generation_id, index, words))
        return exports[0] if exports else None

    def export_zip(self) -> Export | None:
        """Return the ticked generations as one zip file."""
        ids = [e.id for e in self.state.past.entries if e.id in self.state.past.selected]
        found = [self.state.generation(each) for each in ids]
        files = self._exported([(g.id, i) for g in found if g is not None for i in range(len(g))])
        if not files:
            return None
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for number, file in enumerate(files, 1):
                archive.writestr(f"{number:03}-{file.name}", file.data)
        words = f"Saved {len(files)} picture{'' if len(files) == 1 else 's'} as a zip file."
        self._set_past(said=words)
        return Export("imagen-pictures.zip", "application/zip", packed.getvalue())

    def mark(self, generation_id: str, index: int) -> list[tuple[str, int]]:
        """Choose a picture to compare, or let it go; return both once there are two."""
        first, this = self.state.marked, (generation_id, index)
        self._set(marked=this if first is None else None)
        return [] if first is None or first == this else [first, this]

    def _exported(self, keys: list[tuple[str, int]]) -> list[Export]:
        images = [image for key in keys if (image := self.state.image(*key)) is not None]
        try:
            keep = self.studio.settings.provenance
            return [Export(i.file_name, i.media_type, i.marked(provenance=keep)) for i in images]
        except Exception as error:  # noqa: BLE001 - it becomes state
            self._set(trouble=self._trouble_of(error))
            return []


def filled(form: Form, studio: Studio, changes: dict[str, Any]) -> Form:
    """Return a form with values as a program gives them: names of fields, and pictures.

    Raises:
        InvalidRequest: A name or value is not allowed.
    """
    given = dict(changes)
    if (name := given.pop("model", None)) is not None:
        form, _ = form.with_model(studio.known(name))
    if "prompt" in given:
        form = replace(form, prompt=str(given.pop("prompt") or ""))
    image, images, mask = (given.pop(name, None) for name in ("image", "images", "mask"))
    pictures = [image] if image is not None else list(images or ())
    for name, value in {**(given.pop("extra", None) or {}), **given}.items():
        form = form.with_value(name, value)
    for name, problem in form.problems.items():
        raise InvalidRequest(f"{name}: {problem.why}", field=name)
    if pictures:
        form = form.with_pictures(read_picture(p, form, studio) for p in pictures)
    if mask is not None:
        form = replace(form, mask=read_picture(mask, form, studio, mask=True))
    return form


def read_picture(value: object, form: Form, studio: Studio, *, mask: bool = False) -> Input:
    """Return a picture as the form's model takes it.

    Raises:
        InvalidRequest: It cannot be sent as a picture, or not to this model.
    """
    into = form.model.role("mask" if mask else "picture")
    if into is None and form.model.fields:
        raise InvalidRequest(
            f"{form.model.title} takes {'no mask' if mask else 'no pictures'}.",
            remedy="Choose a model that does: look for “edit” in the list of models.",
        )
    limits = None if into is None else into.limits
    return read_input(value, limits=limits, mask=mask, base_url=studio.settings.base_url)
