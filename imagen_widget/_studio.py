"""Studio: one account with one home. The module's functions are those of a default studio.

Two studios in one notebook do not see each other's keys. The default one is made from the settings
in force; when these change, the next call makes another, and jobs of the one before go on. Its
series follow them too.
"""

import contextlib
import functools
import importlib
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from imagen_widget import _loop, _settings
from imagen_widget._display import JobView, StatusLine, Surface, surface_of_call
from imagen_widget._history import History
from imagen_widget._html import encodable
from imagen_widget._models import Model, Models, short_name
from imagen_widget._request import ImageRequest, read_extra
from imagen_widget._result import Generation
from imagen_widget._runs import Event, Job, Session, ending
from imagen_widget._series import Series, make_batch, make_sweep
from imagen_widget.errors import InvalidRequest, check_type, invalid, shown

log = logging.getLogger("imagen_widget")

P = ParamSpec("P")
T = TypeVar("T")

Listener = Callable[[Event], None]


def _like(shape: Callable[P, object]) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Give a function the arguments of another one, for readers, completion and type checkers."""

    def decorate(function: Callable[..., T]) -> Callable[P, T]:
        returned = inspect.signature(function).return_annotation
        shown: Any = function
        shown.__signature__ = inspect.signature(shape).replace(return_annotation=returned)
        return cast("Callable[P, T]", function)

    return decorate


@contextlib.contextmanager
def _shown(job: Job, surface: Surface) -> Iterator[JobView]:
    """Show a job's status as long as somebody waits for it, then how it ended if it failed."""
    view = JobView(job, surface)
    try:
        try:
            view.begin()
        except KeyboardInterrupt:  # before it is waited for
            job.request_cancel()
            raise
        yield view
    except Exception:
        view.end(StatusLine(ending(job)))
        raise
    except BaseException:  # an interrupt, or cancelled in the words of the caller's async library
        if surface.outlives_call and not job.done():
            view.follow()  # what comes of the cancellation
        else:
            view.end(StatusLine(job.status))
        raise


class Studio:
    """One account with one home: a provider, a key, a journal, a store and a cap.

    Args:
        provider: `kkiai`, `fal`, `openai`, `demo`, or another that is installed.
        base_url: Another address with the provider's routes; https, or http to this machine.
        api_key: The key for that address and no other.
        home: The folder of history and pictures.
        settings: Any other setting by its name: `journal`, `store`, `max_spend`, `price`,
            `model`, `timeout`, `reuse`, …; what is not given is found as the environment says.

    Attributes:
        settings: The settings that it was made with.
        session: What its jobs share: provider, journal, store and models.

    Raises:
        InvalidRequest: A setting has a value that is not valid.
    """

    def __init__(
        self,
        provider: str | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        home: str | Path | None = None,
        journal: str | None = None,
        store: str | None = None,
        max_spend: str | float | Decimal | None = None,
        **settings: Any,
    ) -> None:
        key = api_key if api_key is None else _settings.usable_key(api_key, "api_key")
        del api_key  # at once: tracebacks that show variables must not have it
        self.settings = _settings.load_settings(
            provider=provider,
            base_url=base_url,
            api_key=key,
            home=home,
            journal=journal,
            store=store,
            max_spend=max_spend,
            **settings,
        )
        self.session = Session(self.settings)

    # ---------------------------------------------------------------------------------- pictures

    def generate(
        self,
        /,
        prompt: str | ImageRequest | None = None,
        *,
        model: str | None = None,
        image: Any = None,
        images: Sequence[Any] | None = None,
        mask: Any = None,
        aspect_ratio: str | None = None,
        num_images: int | None = None,
        resolution: str | None = None,
        output_format: str | None = None,
        seed: int | None = None,
        safety_tolerance: str | None = None,
        reuse: bool = False,
        timeout: float | None = None,
        on_event: Listener | None = None,
        strict: bool = True,
        quiet: bool = False,
        extra: Mapping[str, object] | None = None,
        **fields: Any,
    ) -> Generation:
        """Generate pictures and return them, kept on disk; blocks, in scripts, cells and threads.

        In a notebook the kernel's loop goes on turning meanwhile. An interrupt cancels the job at
        the provider before KeyboardInterrupt is raised, with the outcome as its note.

        Args:
            prompt: What the pictures should show; may be missing only if the model needs none. Or
                an `ImageRequest`, which is sent as it is.
            model: An alias (`nano-banana-2`, `imagen4`, …) or an endpoint id; IMAGEN_MODEL or the
                provider's default if None.
            image: A picture as input: a path, bytes, a Pillow image, an https address, a
                `GeneratedImage` or a `Generation`.
            images: Several of them, for models that take several.
            mask: A picture that is white where `image` is to be changed.
            aspect_ratio: Width to height, like `16:9`; a model that takes sizes gets the nearest.
            num_images: How many pictures.
            resolution: `1K`, `2K` or `4K`, where the model takes it.
            output_format: `png`, `jpeg` or `webp`.
            seed: A whole number; the same seed tries to give the same picture.
            safety_tolerance: `1` (strict) to `6`, where the model takes it.
            reuse: Whether history may answer: an equal request then costs nothing.
            timeout: Seconds for everything; IMAGEN_TIMEOUT or 300 by default.
            on_event: Called on another thread with `Submitting`, `Submitted`, `Queued`, `Running`,
                `Done` and `Fetching`.
            strict: Whether fields and values that the model's schema excludes are refused.
            quiet: Whether to show no status line.
            extra: Fields whose names are taken, such as an input called `model`.
            fields: The model's other fields; `models("NAME")` lists them.

        Raises:
            InvalidRequest: A field or value that the model does not take; nothing was sent.
            CredentialsError: No key, a refused key, or an empty balance.
            BudgetExceeded: IMAGEN_MAX_SPEND would be passed; nothing was sent.
            ContentRejected: The content checker refused.
            SubmitUncertain: The request may have been accepted; it is not sent again.
            QueueTimeout: The job goes on at the provider; `History().resume()` fetches it later.
            ImagenError: Anything else that went wrong, in one line.
        """
        asked = {**locals()}
        del asked["self"], asked["fields"]
        surface = surface_of_call(quiet=quiet)
        with _loop.interruptible():
            job = self.start(**asked, **fields)
            with _shown(job, surface) as view:
                generation = job.result_or_cancel()
                view.end(StatusLine(generation.summary))
        return generation

    @_like(generate)
    async def agenerate(self, /, *prompt: Any, quiet: bool = False, **asked: Any) -> Generation:
        """Generate pictures and return them: `generate`, awaited.

        Cancelling the task that awaits it cancels the job at the provider. Arguments and errors
        are those of `generate`.
        """
        _loop.check_async_library()
        surface = surface_of_call(quiet=quiet)  # before the first wait: the cell is running now
        model_id = self._resolve(asked.get("model"))
        if self.session.models.known(model_id) is None:
            await _loop.wait_async(_loop.spawn(self.session.describe, model_id))
        job = self.start(*prompt, **asked)
        with _shown(job, surface) as view:
            try:
                generation = await job
            except BaseException:  # cancelled, if it is not the job's own
                job.request_cancel()
                raise
            view.end(StatusLine(generation.summary))
        return generation

    @_like(generate)
    def start(
        self,
        /,
        prompt: str | ImageRequest | None = None,
        *,
        reuse: bool = False,
        timeout: float | None = None,
        on_event: Listener | None = None,
        quiet: bool = False,
        **asked: Any,
    ) -> Job:
        """Start a job and return its handle at once; from any thread.

        Arguments and the errors of a bad request are those of `generate`; what goes wrong later is
        raised by `Job.result()`.
        """
        request = self.request(prompt, **asked)
        seconds = None if timeout is None else _settings.check_timeout(timeout)
        listener: Any = on_event
        if inspect.iscoroutinefunction(listener) or not (listener is None or callable(listener)):
            what = f"{shown(listener)} is not a plain function"
            remedy = "Give one of one argument, the event; an async one would not be awaited."
            raise invalid("on_event", what, remedy)
        _settings.check_key(self.settings)
        for notice in _settings.notices():
            log.warning("%s", notice)
        return Job(self.session, request, reuse=reuse, on_event=on_event, timeout=seconds)

    def request(
        self, /, prompt: str | ImageRequest | None = None, *, model: str | None = None, **asked: Any
    ) -> ImageRequest:
        """Return a checked request; its input pictures are in the store. Nothing is sent.

        The model's schema is read once if nothing is known of it, in at most two seconds.

        Raises:
            InvalidRequest: A field or value that the model does not take.
        """
        extra = dict(read_extra(asked.get("extra")))
        _settings.refuse_reserved([*asked, *extra])
        if isinstance(prompt, ImageRequest):
            for name, value in sorted({"model": model, **asked}.items()):
                if value is not None and not (name == "strict" and value is True):
                    remedy = "Make another with ImageRequest.create, or pass a prompt."
                    what = "the request is complete, so it takes no more fields"
                    raise invalid(name, what, remedy)
            return prompt
        if "known" in asked:  # a field that is called as an argument of `create`
            asked["extra"] = extra | {"known": asked.pop("known")}
        known, note = self.model(model), ""
        image, images, mask = map(asked.get, ("image", "images", "mask"))
        gives = image is not None or images is not None or mask is not None
        if model is None and gives and known.edits_with and not known.role("picture"):
            editor = self.model(known.edits_with)
            note = f"{known.name} takes no pictures, so {editor.name} edits it"
            known = editor
        request = ImageRequest.create(
            prompt, model=known.id, known=known, base_url=self.settings.base_url, **asked
        )
        if note:
            request = replace(request, notes=(note, *request.notes))
        return self.session.with_bytes(request) if request.inputs else request

    def price(self, request: ImageRequest) -> Decimal | None:
        """Return what a request is expected to cost in US dollars; None if unknown."""
        return self.session.price(request)

    # ---------------------------------------------------------------------------------- series

    def sweep(
        self,
        template: str,
        rows: Iterable[Mapping[str, object]] | None = None,
        /,
        *,
        axes: Mapping[str, Iterable[object]] | None = None,
        where: Any = None,
        sample: int | None = None,
        name: str | None = None,
        **more_axes: Any,
    ) -> Series:
        """Return a series over every combination of the axes, or over rows; nothing is sent.

        Args:
            template: The prompt; `{name}` stands for the value of a declared axis.
            rows: Dicts of values, in place of axes.
            axes: Axes whose names are taken by other arguments.
            where: A function of a combination that returns True to keep it, or partial dicts of
                which one must match.
            sample: How many combinations to take at random; the same ones each time.
            name: The series' name; one that exists is continued.
            more_axes: An iterable of values each: named in the template, or a field of the model.

        Raises:
            InvalidRequest: An axis is not used, or a combination is not a valid request.
        """
        given: Any = {} if axes is None else axes
        if not isinstance(given, Mapping):
            what = f"{type(axes).__name__} is not a mapping of names to values"
            raise invalid("axes", what, "Write axes={'animal': ['fox', 'hen']}.")
        _settings.refuse_reserved(more_axes)
        for both in more_axes.keys() & given.keys():
            raise invalid(both, "it is given twice", "Give it once: by its name, or in axes=.")
        axes = {**given, **more_axes}
        chosen = {"where": where, "sample": sample, "name": name}
        return make_sweep(self.session, self, template, rows, axes=axes, **chosen)

    def batch(
        self,
        table: Any,
        /,
        prompt: str,
        *,
        key: str | None = None,
        name: str | None = None,
        **fields: object,
    ) -> Series:
        """Return a series with a row for each row of a table; nothing is sent.

        Args:
            table: A pandas, polars or pyarrow table, a list of dicts, or the path of a CSV file.
            prompt: The prompt; `{column}` stands for the row's value.
            key: The column that identifies a row.
            name: The series' name; one that exists is continued.
            fields: Fields of the model; text in them may name columns too.

        Raises:
            InvalidRequest: A column is missing, a value is empty, or a row is not valid.
        """
        return make_batch(self.session, self, table, prompt, key=key, name=name, fields=fields)

    def series(self, name: str) -> Series:
        """Return a series that was begun before."""
        return Series.reopen(self.session, name)

    def all_series(self) -> list[str]:
        """Return the names of all series of this journal, newest first."""
        return self.session.journal.all_series()

    # ---------------------------------------------------------------------------------- looking

    @property
    def history(self) -> History:
        """The generations of this home."""
        return History(session=self.session)

    def models(self, /, query: str = "", *, live: bool = False) -> Models:
        """Return the models that match a query; they display as a table.

        Args:
            query: Words, or a whole endpoint id; its schema is then read, as when it is used.
            live: Whether to ask fal's public search too; no key is sent.
        """
        check_type("query", query, str, "text", "Give words, or an id.")
        text, account = query.strip(), self.settings.account.name
        if "/" in text and " " not in text:
            return Models((self.model(text),), settings=self.settings)
        found = {model.id: model for model in self.session.models.search(text, account=account)}
        searched = _loop.run(self._search, text) if live else []
        for model in searched or ():
            found.setdefault(model.id, model)
        note = "The public search gave no answer: only what is known here is listed."
        note = note if searched is None else ""
        return Models(found.values(), settings=self.settings, query=text, note=note)

    async def _search(self, query: str) -> Sequence[Model] | None:
        return await self.session.provider.search(query)

    def model(self, name: str | None = None) -> Model:
        """Return what is known of a model; its schema is read once, in at most two seconds."""
        model_id = self._resolve(name)
        known = self.session.models.known(model_id)
        return known or _loop.run(self.session.describe, model_id)

    def known(self, name: str | None = None) -> Model:
        """Return what is known of a model without asking the network."""
        return self.session.models.model(self._resolve(name))

    def refresh(self, name: str) -> Model:
        """Read a model's schema again and return what it says."""
        model_id = self._resolve(name)
        return _loop.run(functools.partial(self.session.describe, refresh=True), model_id)

    def _resolve(self, name: str | None) -> str:
        settings, account = self.settings, self.settings.account
        wanted = settings.model or account.default_model if name is None else name
        is_relay = settings.base_url != account.base_url
        try:
            return self.session.models.resolve(wanted, account.name, is_relay=is_relay)
        except InvalidRequest as error:
            if name is None and settings.model:
                raise settings.blamed("model", error) from None
            raise

    def widget(self, **defaults: Any) -> Any:
        """Return an `ImagenWidget` that works with this studio."""
        widgets = importlib.import_module("imagen_widget._widget")  # made above this layer
        return widgets.ImagenWidget(studio=self, **defaults)

    def close(self) -> None:
        """Close the connections and the journal, unless jobs are under way.

        The next call opens them again.
        """
        _loop.run(self.session.aclose)

    def __repr__(self) -> str:
        settings = self.settings
        model = short_name(self._resolve(None))
        return encodable(f"<Studio: {settings.account.name} {model}, home {settings.home}>")


# ------------------------------------------------------------------------------ the default studio

_defaults: deque[Studio] = deque(maxlen=4)  # the last ones made
_making = threading.Lock()


def default_studio(settings: _settings.Settings | None = None) -> Studio:
    """Return the studio of these settings, by default of those in force now.

    Equal settings have one studio: the magics may have others in force than the functions, by
    their traits, and calls of both take turns.
    """
    settings = _settings.load_settings() if settings is None else settings
    with _making:  # threads that begin at once share one
        for made in _defaults:
            if made.settings == settings:
                made.settings = settings  # the same values may stand in another place by now
                return made
        made = Studio.__new__(Studio)  # not Studio(): its settings are loaded already
        made.settings, made.session = settings, Session(settings)
        _defaults.append(made)
    return made


def _of_default(method: Callable[Concatenate[Studio, P], T]) -> Callable[P, T]:
    """Return a method of Studio as a function that works with the default studio."""

    @functools.wraps(method)
    def function(*args: P.args, **kwargs: P.kwargs) -> T:
        made = method(default_studio(), *args, **kwargs)
        if isinstance(made, Series):
            made.in_force = _settings.load_settings
        return made

    shown: Any = function
    shown.__signature__ = inspect.signature(functools.partial(cast("Any", method), None))
    function.__qualname__ = method.__name__
    return function


generate = _of_default(Studio.generate)
agenerate = _of_default(Studio.agenerate)
start = _of_default(Studio.start)
sweep = _of_default(Studio.sweep)
batch = _of_default(Studio.batch)
models = _of_default(Studio.models)
