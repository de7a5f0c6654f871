"""Session: what the jobs of one studio share.

The journal and the store block on the disk, so they run in worker threads. A forked process makes
its own connections: those of its parent belong to the parent's loop.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

import anyio
from anyio import to_thread

from imagen_widget import _loop
from imagen_widget._journal import Draft, Record, Recorder, open_journal
from imagen_widget._models import Catalogue, Model, short_name
from imagen_widget._picture import Provenance
from imagen_widget._providers import Provider, make_provider
from imagen_widget._request import ImageRequest
from imagen_widget._result import GeneratedImage, Generation
from imagen_widget._settings import Settings, load_settings
from imagen_widget._store import open_store
from imagen_widget.errors import CredentialsError, JournalError

T = TypeVar("T")

LEASE_SECONDS = 120.0
MAX_DOWNLOADS = 16
MAX_SUBMITS = 20

_HEARTBEAT_SECONDS = 20.0

log = logging.getLogger("imagen_widget")


class Session:
    """What jobs with the same settings share; nothing is opened before it is needed.

    In async code the journal's verbs are called through `record`.
    """

    submits: anyio.CapacityLimiter  # how many may be under way at once
    downloads: anyio.CapacityLimiter

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.journal = open_journal(settings.home, settings.journal)
        self.store = open_store(settings.home, settings.store)
        self.models = Catalogue(settings.home / "models")
        self.sent: set[str] = set()  # ids of the jobs that this process sent
        self._siblings: dict[str, Session] = {}
        self._described: set[str] = set()
        self._active: set[str] = set()
        self._pid = 0
        self._beating = False

    # ------------------------------------------------------------------------ on the loop thread

    @property
    def provider(self) -> Provider:
        """The provider with its connections, made on first use; on the loop thread only."""
        self._open()
        return self._provider

    async def record(self, verb: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Run a verb of the journal in a worker thread; its result counts once it is on disk."""
        self._open()
        return await self._recorder.record(verb, *args, **kwargs)

    async def note(self, verb: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Record what became of a job, even while the loop is being cancelled.

        An error of the journal is only logged: the caller is about to report something worse.
        """
        with anyio.CancelScope(shield=True):
            try:
                await self.record(verb, *args, **kwargs)
            except JournalError as error:
                log.warning("%s", error)

    @contextmanager
    def holding(self, job_id: str) -> Iterator[None]:
        """Renew the job's lease until the end of the block."""
        self._active.add(job_id)
        if not self._beating:
            self._beating = True
            _loop.spawn(self._beat)
        try:
            yield
        finally:
            self._active.discard(job_id)

    async def _beat(self) -> None:
        try:
            while self._active:
                await anyio.sleep(_HEARTBEAT_SECONDS)
                if self._active:
                    await self.note(self.journal.renew, *self._active, seconds=LEASE_SECONDS)
        finally:
            self._beating = False

    async def describe(self, model_id: str, *, refresh: bool = False) -> Model:
        """Return what is known of a model; its schema is fetched once if nothing is."""
        if not refresh and (known := self.described(model_id)) is not None:
            return known
        self._described.add(model_id)
        document = await self.provider.describe(model_id)
        if document is None:
            return self.known(model_id)
        return await to_thread.run_sync(self.models.learn, model_id, document)

    def _open(self) -> None:
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._provider = make_provider(self.settings)
        self._recorder = Recorder(self.journal)
        self.submits = anyio.CapacityLimiter(MAX_SUBMITS)
        self.downloads = anyio.CapacityLimiter(MAX_DOWNLOADS)
        self._active, self._beating = set(), False
        _loop.on_close(self.aclose)

    async def aclose(self) -> None:
        """Close the provider's connections and the journal."""
        for sibling in self._siblings.values():
            await sibling.aclose()
        if self._pid == os.getpid():
            self._pid = 0
            await self._provider.aclose()
            await self._recorder.close()

    # ----------------------------------------------------------------------------- on any thread

    def described(self, model_id: str) -> Model | None:
        """Return what `describe` returns without asking the network; None if it would ask."""
        known = self.models.known(model_id)
        return self.models.unknown(model_id) if not known and model_id in self._described else known

    def known(self, model_id: str) -> Model:
        """Return what is known of a model without asking the network."""
        return self.models.known(model_id) or self.models.unknown(model_id)

    def price(self, request: ImageRequest) -> Decimal | None:
        """Return what a request is expected to cost in US dollars; None if unknown.

        A price of your own (IMAGEN_PRICE) counts for each picture as it is.
        """
        settings = self.settings
        if settings.account.free:
            return Decimal(0)
        yours = settings.price.for_model(request.model, short_name(request.model))
        if yours is not None:
            return yours * request.count
        pixels = request.inputs[0].width * request.inputs[0].height if request.inputs else None
        known = self.known(request.model)
        return known.price_of(request.arguments(), request.count, pixels=pixels)

    def draft(self, request: ImageRequest, **series: Any) -> Draft:
        """Return what the journal writes down of a request before it is sent."""
        return Draft(
            request=request,
            provider=self.settings.account.name,
            base_url=self.settings.base_url,
            price=self.price(request),
            **series,
        )

    def with_bytes(self, request: ImageRequest) -> ImageRequest:
        """Return a request that was read from the journal, with its pictures' bytes at hand."""
        if not request.inputs:
            return request
        inputs = tuple(i.kept_in(self.store) if i.digest else i for i in request.inputs)
        return replace(request, inputs=inputs)

    def recall(self, record: Record) -> Generation | None:
        """Return what a job brought; None if one of its pictures is no longer kept."""
        request, request_id, created = record.request, record.request_id or "", record.created
        seed = request.seed if record.seed is None else record.seed
        images = []
        for kept in record.images:
            if kept.filtered:
                continue
            path = self.store.path(kept.digest)
            if path is None:
                return None
            images.append(
                GeneratedImage(
                    path=path,
                    media_type=kept.media_type,
                    width=kept.width,
                    height=kept.height,
                    url=kept.url,
                    provenance=Provenance(
                        request=request,
                        request_id=request_id,
                        provider=record.provider,
                        created=created,
                        seed=seed,
                        id=record.id,
                        index=kept.index,
                    ),
                )
            )
        if not images:
            return None
        cost = record.cost if record.cost is not None else record.price
        return Generation(
            images=tuple(images),
            request=request,
            request_id=request_id,
            provider=record.provider,
            seconds=record.elapsed or record.seconds or 0.0,
            cost=None if cost is None else float(cost),
            cost_source=record.cost_source,
            created=created,
            seed=seed,
            filtered=record.filtered,
            revised_prompt=record.revised_prompt,
            id=record.id,
        )

    def sibling(self, record: Record) -> "Session":
        """Return a session that reaches the place where a job was submitted, and no other."""
        settings = self.settings
        if (settings.account.name, settings.base_url) == (record.provider, record.base_url):
            return self
        if record.provider not in self._siblings:
            found = load_settings(
                provider=record.provider,
                home=settings.home,
                journal=settings.journal,
                store=settings.store,
            )
            self._siblings[record.provider] = Session(found)
        sibling = self._siblings[record.provider]
        if sibling.settings.base_url != record.base_url:
            raise CredentialsError(
                f"The job {record.request_id} was submitted to {record.base_url}, and the key now "
                f"set is for {sibling.settings.base_url}.",
                remedy=f"Set IMAGEN_BASE_URL={record.base_url} and its key, then resume again.",
            )
        return sibling
