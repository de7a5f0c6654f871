"""Fal: drives fal's queue over HTTP; gateways and the demo are the same with other capabilities.

A job is followed by its event stream if there is one, else by polling. A stream that breaks off,
falls silent or only pings costs nothing: polling goes on where it left off. Where the status says
nothing of use, the result is asked. A job that nobody knows in its first hour may still turn up: it
is asked for until the deadline, and stays resumable.
"""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio
from anyio import to_thread

from imagen_widget import errors
from imagen_widget._inputs import Input
from imagen_widget._models import Catalogue, Model
from imagen_widget._providers import answers
from imagen_widget._providers.answers import Done, Finished, Queued, Running, Ticket, WireEvent
from imagen_widget._providers.fal import wire
from imagen_widget._providers.provider import Capabilities, Provider
from imagen_widget._request import ImageRequest
from imagen_widget._settings import Secret
from imagen_widget.errors import ImagenError

if TYPE_CHECKING:
    from imagen_widget._providers.http import Http

MAX_POLL_SECONDS = 2.0

_CANCEL_SECONDS = 5.0
_CALL_SECONDS = 30.0
_MAX_SILENCE_SECONDS = 20.0
_MIN_SILENCE_SECONDS = 1.0
_LEAVE_SECONDS = 0.25  # for a stream to end by itself, so that its connection is kept
_MAX_CANCELS = 3
_AGAIN = frozenset({408, 409, 429, *range(500, 600)})
_MAX_MISSES = 4  # at one address, before another is tried
_MIN_MISSES = 2  # where "not found" is to be expected
_MAX_LASTING = 3
_ASK_ANYWAY_SECONDS = 30.0
_ASK_ANYWAY_EACH_SECONDS = 5.0
_KEPT_SECONDS = 3600.0  # results are readable for an hour
_DESCRIBE_SECONDS = 2.0
_USUAL_SECONDS = 8.0
_QUEUE_POLL_SECONDS = 1.0  # the position should look current
_GROWTH = 0.018  # of the time that a job has run is waited between two polls
_EARLY_SHARE = 10  # one job in so many is quicker than when it is first expected
_OF_THE_REST = 0.75  # of the time until a job is expected is waited at once
_UNKNOWN_SHARE = 0.25  # of a guessed time, before which a job is not expected
_MIN_OBSERVATIONS = 5
_MAX_POLLS_A_SECOND = 400  # of all jobs together: about half of what one loop can do
_MAX_JOBS_AT_SHORTEST = 40  # more are each asked for less often: gateways count requests

_SITE = "https://fal.ai"
_SCHEMAS = "/api/openapi/queue/openapi.json?endpoint_id={endpoint}"
_SEARCH = "https://api.fal.ai/v1/models"
_STORAGE = "https://rest.fal.ai"
_FILES = "https://v3.fal.media"


class Fal(Provider):
    can = Capabilities(streams=True)
    max_submit_seconds = 120.0
    max_silence_seconds = 60.0  # some gateways answer with the pictures, and draw meanwhile
    shortest_poll_seconds = 0.1
    knows_auto = False  # whether any request is found under the app `auto`
    has_storage = True  # whether the key is one of fal's, and so opens its storage
    watching = 0  # jobs

    def usual_seconds(self, model_id: str) -> float:
        known = Catalogue(None).known(model_id)
        return _USUAL_SECONDS if known is None else known.typical_seconds

    # ---------------------------------------------------------------------------------- submit

    async def submit(self, request: ImageRequest, *, seconds: float) -> Ticket | Finished:
        end, model = self.clock() + seconds, request.model
        account, base_url = self.settings.account, self.settings.base_url
        draft = Ticket(account.name, base_url, model, request_id="", created=self.now())
        try:
            with anyio.fail_after(seconds):  # uploads take their time
                body = await self.body(request)
        except TimeoutError:
            raise answers.unreachable(base_url, "the pictures took all the time") from None
        named = partial(wire.read_broken_submit, draft=draft)
        left = end - self.clock()
        answer = await self.post(f"/{model}", body, model=model, seconds=left, named=named)
        return wire.read_submit(answer, draft, account)

    # ------------------------------------------------------------------------- watch and result

    async def watch(
        self,
        ticket: Ticket,
        *,
        seconds: float,
        service_times: Sequence[float] = (),
        expired: bool = False,
    ) -> AsyncGenerator[WireEvent, None]:
        if ticket.finished is not None:
            yield Done(finished=ticket.finished)
            return
        job = _Job(self, ticket, seconds, service_times, expired=expired)
        self.watching += 1
        try:
            while self.clock() < job.end:
                if job.streams:
                    async with aclosing(job.streamed()) as events:
                        async for event in events:
                            yield event
                            if isinstance(event, Done):
                                return
                asked = self.clock()
                found = await job.ask()
                if isinstance(found, Done):
                    yield found
                    return
                if isinstance(found, Queued | Running):
                    self.budget.succeeded()
                    if (news := job.news(found, whole=True)) is not None:
                        yield news
                await job.pause(found, took=self.clock() - asked)
        finally:
            self.watching -= 1
        if job.missing and job.is_page:
            raise job.behind_a_page(errors.QueueTimeout)
        title = self.settings.account.title
        state = f"not known at {title} yet" if job.missing else f"still running at {title}"
        raise errors.QueueTimeout(
            f"The job is {state} after {seconds:.0f} s "
            f"(request id {errors.short_id(ticket.request_id)}).",
            remedy="It goes on there and may be billed; fetch it later with %imagen_resume.",
            ticket=ticket,
        )

    async def result(self, ticket: Ticket, done: Done | None = None, *, seconds: float) -> Finished:
        done = done or Done()
        if known := done.finished or ticket.finished:
            return known
        job, said = _Job(self, ticket, seconds), done.trouble
        reason, attempt, lasting = "no answer", 0, 0
        while self.clock() < job.end:
            found = await job.ask_result()
            if isinstance(found, Done) and found.finished is not None:
                self.budget.succeeded()
                return found.finished
            reason = "it says that the job still runs"
            if isinstance(found, wire.Unclear):
                reason, lasting = found.reason, lasting + found.lasting
            if (said is not None and attempt >= 1) or lasting >= _MAX_LASTING:
                break  # the status has said enough, or the same comes each time
            left = max(job.end - self.clock(), 0.0)
            await self.sleep(min(self.budget.delay(attempt, chance=self.chance()), left))
            attempt += 1
        if said in {"CANCELLED", "CANCELED"}:
            raise answers.cancelled(ticket)
        if said is not None:
            raise answers.service_failed(answers.Trouble.of(said), ticket)
        if job.is_page:
            raise job.behind_a_page()
        raise errors.QueueError(
            f"The result could not be fetched from {self.settings.account.title}: {reason}",
            remedy="Fetch it later with %imagen_resume; nothing is paid again.",
            ticket=ticket,
        )

    async def cancel(self, ticket: Ticket) -> answers.CancelAnswer:
        for attempt in range(_MAX_CANCELS):
            try:
                answer = await self.http.call(wire.cancel_call(ticket), seconds=_CANCEL_SECONDS)
            except (answers.NotSent, answers.Lost):
                answer = answers.Answer(503)
            if answer.status not in _AGAIN:
                return wire.read_cancel(answer)
            await self.sleep(self.budget.delay(attempt, chance=self.chance()))
        return answers.CancelAnswer.UNKNOWN

    # ------------------------------------------------------------------------------- the models

    async def describe(self, model_id: str) -> bytes | None:
        address = self.settings.schemas
        if address == "off" or "/" not in model_id:
            return None
        if address == "auto":  # the demo's application has its own
            address = (self.settings.base_url if self.can.free else _SITE) + _SCHEMAS
        answer = await self._read(address.replace("{endpoint}", quote(model_id, safe="/")))
        return None if answer is None or answer.mapping is None else answer.body

    async def search(self, query: str) -> list[Model]:
        answer = await self._read(f"{_SEARCH}?{urlencode({'q': query, 'limit': 50})}")
        found = (answer.mapping or {}).get("models") if answer is not None else None
        listed = map(_listed, found if isinstance(found, list) else [])
        return [model for model in listed if model is not None]

    async def _read(self, url: str) -> answers.Answer | None:
        try:
            answer = await self.http.fetch(url, seconds=_DESCRIBE_SECONDS, document=True)
        except (answers.NotSent, answers.Lost, ImagenError):
            return None
        return answer if answer.ok else None

    async def encode(self, picture: Input) -> str:
        settings = self.settings
        direct = self.has_storage and settings.base_url == settings.account.base_url
        if settings.upload and direct:
            with suppress(answers.NotSent, answers.Lost, ImagenError):
                return await self._upload(picture)
        return await super().encode(picture)

    async def _upload(self, picture: Input) -> str:
        """Put an input picture into fal's storage, for an hour, and return its address.

        The address is public for anyone who has it. The key goes to fal's own storage and nowhere
        else; the picture goes with a token that storage gives out.
        """
        call = answers.Call("POST", f"{_STORAGE}/storage/auth/token?storage_type=fal-cdn-v3", b"{}")
        account = self.settings.account
        granted = await self._ask_storage(_STORAGE, account.scheme, self.settings.key, call)
        token, kind = granted.get("token"), granted.get("token_type")
        if not isinstance(token, str) or not token.isprintable():
            raise answers.Lost("the storage gave no token")
        call = answers.Call(
            "POST",
            f"{_FILES}/files/upload",
            await to_thread.run_sync(picture.data),
            content_type=picture.media_type,
            headers=(
                ("x-fal-file-name", f"input.{picture.media_type.rpartition('/')[2]}"),
                ("x-fal-object-lifecycle", json.dumps({"expiration_duration_seconds": 3600})),
            ),
        )
        scheme = kind if isinstance(kind, str) and kind.isalpha() else "Bearer"
        stored = await self._ask_storage(_FILES, scheme, Secret(token), call)
        found = stored.get("access_url")
        if not isinstance(found, str) or not found.startswith("https://"):
            raise answers.Lost("the storage gave no address")
        return found

    async def _ask_storage(
        self, base_url: str, scheme: str, key: Secret | None, call: answers.Call
    ) -> dict[str, Any]:
        from imagen_widget._providers.http import Http

        http = Http(base_url, scheme=scheme, key=key, transport=self.transport)
        try:
            answer = await http.call(call, seconds=_CALL_SECONDS)
        finally:
            await http.close()
        return (answer.mapping or {}) if answer.ok else {}


class Demo(Fal):
    """The built-in queue, which runs in this process: no account, no network."""

    can = Capabilities(free=True)
    shortest_poll_seconds = 0.05
    has_storage = False

    def usual_seconds(self, model_id: str) -> float:
        return self.settings.demo_seconds

    @cached_property
    def http(self) -> "Http":
        from imagen_widget._providers.demo.app import create_app
        from imagen_widget._providers.http import Http

        app = self.transport or create_app(seconds=self.settings.demo_seconds)
        return Http(self.settings.base_url, scheme="", key=None, transport=app)


# ---------------------------------------------------------------------------------------- one job


def expected_seconds(observed: Sequence[float], guess: float) -> tuple[float, float]:
    """Return the service time of a model before which hardly any job is done, and its usual one.

    They come from the `observed` times, all in seconds, or from a guess if there are too few.
    """
    times = sorted(seconds for seconds in observed if seconds > 0.0)
    if len(times) < _MIN_OBSERVATIONS:
        return guess * _UNKNOWN_SHARE, guess
    return times[len(times) // _EARLY_SHARE], times[len(times) // 2]


def poll_seconds(
    running: float | None,
    expected: tuple[float, float],
    *,
    shortest: float,
    chance: float,
    jobs: int = 1,
) -> float:
    """Return the seconds to wait before the next status request.

    Before a job can be expected the wait is most of the time until then; after that it is a small
    share of the time that it has run, so that a late job is asked for ever less often. So is each
    of many `jobs`. `running` is None while the job is queued.
    """
    earliest, usual = expected
    if running is None:
        ideal = min(usual / 2, _QUEUE_POLL_SECONDS)
    else:
        ideal = max((earliest - running) * _OF_THE_REST, _GROWTH * running)
    each = max(shortest / _MAX_JOBS_AT_SHORTEST, 1 / _MAX_POLLS_A_SECOND)
    return max(min(ideal, MAX_POLL_SECONDS), shortest, jobs * each) * (0.9 + 0.2 * chance)


class _Job:
    """One job that is watched or fetched: what was seen of it, and the questions about it."""

    def __init__(
        self,
        queue: Fal,
        ticket: Ticket,
        seconds: float,
        service_times: Sequence[float] = (),
        *,
        expired: bool = False,
    ) -> None:
        self._began = queue.clock()
        self.end = self._began + seconds
        self.streams, self.missing = queue.can.streams, False
        self.is_page = False  # where the result should be
        self._queue, self._ticket, self._service_times = queue, ticket, service_times
        self._account = queue.settings.account
        self._shortest = queue.settings.poll_seconds or queue.shortest_poll_seconds
        is_old = ticket.created > 0 and queue.now() - ticket.created > _KEPT_SECONDS
        self._forgotten = expired or is_old  # proof that "not found" is final
        self._ran_since: float | None = None
        self._last: WireEvent | None = None
        self._lines = self._hiccups = self._misses = 0
        self._with_logs, self._by_result, self._result_next = True, False, False
        self._ask_anyway_at = 0.0
        self._auto, self._may_be_auto = False, queue.knows_auto

    @cached_property
    def _expected(self) -> tuple[float, float]:
        guess = self._queue.usual_seconds(self._ticket.endpoint)
        return expected_seconds(self._service_times, guess)

    async def streamed(self) -> AsyncGenerator[WireEvent, None]:
        """Yield what the event stream says; it is tried once, and polls go on where it ends."""
        clock, call = self._queue.clock, wire.status_call(self._ticket, stream=True)
        silence = min(max(2 * self._expected[1], _MIN_SILENCE_SECONDS), _MAX_SILENCE_SECONDS)
        line, unended = bytearray(), bytearray()
        done: Done | None = None
        try:
            async with self._queue.http.stream(
                call, seconds=min(silence, self.end - clock())
            ) as chunks:
                self.streams, heard = False, clock()
                while (left := self.end - clock()) > 0:
                    try:
                        with anyio.fail_after(_LEAVE_SECONDS if done else min(silence, left)):
                            chunk = await anext(chunks)
                    except (StopAsyncIteration, TimeoutError):
                        break
                    for text in wire.take_events(chunk, line, unended):
                        body = answers.read_json(self._queue.http.without_key(text))
                        event = wire.read_event(body, self._ticket.base_url)
                        if isinstance(event, Done):
                            done = event
                        elif (news := self.news(event, whole=False)) is not None:
                            heard = clock()
                            yield news
                    if done is None and clock() - heard >= silence:  # keep-alives are no news
                        heard, found = clock(), await self.ask()
                        if isinstance(found, Done):
                            done = found
                            break
                if done is not None:  # read to its end, it leaves its connection to the next job
                    yield done
        except (answers.NotSent, answers.Lost, ValueError):
            self.streams = False

    # -------------------------------------------------------------------------------- the polls

    async def ask(self) -> WireEvent | wire.Unclear:
        if self._by_result or self._result_next:
            self._result_next = False
            return await self.ask_result()
        call = wire.status_call(self._ticket, logs=self._with_logs)
        seconds = min(_CALL_SECONDS, self.end - self._queue.clock())
        try:
            answer = await self._queue.http.call(call, seconds=seconds)
        except answers.Lost as error:
            self._with_logs = self._with_logs and "larger" not in str(error)
            self._result_next = True
            return wire.Unclear(str(error))
        except answers.NotSent as error:
            return wire.Unclear(str(error))
        found = wire.read_status(answer, self._ticket, self._account)
        if not isinstance(found, wire.Unclear):
            return found
        if found.kind == "word":  # now and then the result is asked
            now, first = self._queue.clock(), min(self._expected[1], _ASK_ANYWAY_SECONDS)
            if now < max(self._ask_anyway_at, self._began + first):
                return Running()
            self._ask_anyway_at = now + _ASK_ANYWAY_EACH_SECONDS
            asked = await self.ask_result()
            return Running() if isinstance(asked, wire.Unclear) else asked
        if found.kind:  # nothing is known there
            asked = await self.ask_result()
            self._by_result = isinstance(asked, Queued | Running)
            return asked
        self._result_next = True  # the status says nothing of use
        if found.error is None and not found.lasting:
            return found
        return await self.ask_result()  # not even a refused key there says anything of the job

    async def ask_result(self) -> WireEvent | wire.Unclear:
        """Ask for the result once; errors that are raised here are the job's end."""
        call = wire.result_call(self._ticket, auto=self._auto)
        seconds = min(_CALL_SECONDS, self.end - self._queue.clock())
        size = answers.MAX_RESULT_BYTES
        try:
            answer = await self._queue.http.call(call, seconds=seconds, max_bytes=size)
        except (answers.NotSent, answers.Lost) as error:
            return wire.Unclear(str(error))
        found = wire.read_result(answer, self._ticket, self._account)
        if isinstance(found, Finished):
            return Done(found.seconds, finished=found)
        if isinstance(found, wire.Unclear) and found.kind:
            self._miss(found)
        else:
            self.is_page = False
        return found

    def _miss(self, found: wire.Unclear) -> None:
        """Count that the result was not found, and look under another name in the end."""
        self._misses += 1
        if not self._auto:
            self.is_page = found.kind == "page"
        if self._misses < (_MIN_MISSES if self._forgotten else _MAX_MISSES):
            return
        if self._may_be_auto:  # once
            self._misses, self._auto, self._may_be_auto = 0, True, False
            return
        title, request_id = self._account.title, errors.short_id(self._ticket.request_id)
        if found.kind == "page":
            raise self.behind_a_page()
        if self._forgotten:
            raise errors.ResultExpired(
                f"{title} knows no job {request_id}.",
                remedy="Results are kept for about an hour; look at your usage there, "
                "then run it again.",
                ticket=self._ticket,
            )
        self._auto = False  # it may still turn up under its own name

    def behind_a_page(self, kind: type[errors.QueueError] = errors.QueueError) -> errors.QueueError:
        return kind(
            f"{self._account.title} answers with a web page where the job's result should be "
            f"(request id {self._ticket.request_id}).",
            remedy="Check IMAGEN_BASE_URL, then fetch the job with %imagen_resume.",
            ticket=self._ticket,
        )

    async def pause(self, found: WireEvent | wire.Unclear, *, took: float) -> None:
        queue, chance = self._queue, self._queue.chance()
        self.missing = isinstance(found, wire.Unclear) and bool(found.kind)
        if isinstance(found, wire.Unclear) and not self.missing:
            seconds = max(queue.budget.delay(self._hiccups, chance=chance), self._shortest)
            self._hiccups += 1
        else:
            self._hiccups = 0
            running = None if self._ran_since is None else queue.clock() - self._ran_since
            shortest = max(self._shortest, took)  # who answers slowly is asked less often
            seconds = poll_seconds(
                running, self._expected, shortest=shortest, chance=chance, jobs=queue.watching
            )
        await queue.sleep(min(seconds, max(self.end - queue.clock(), 0.0)))

    # ------------------------------------------------------------------------------ small parts

    def news(self, event: object, *, whole: bool) -> WireEvent | None:
        """Return the event if it says something new; `whole` if it repeats all log lines."""
        if not isinstance(event, Queued | Running):
            return None
        if isinstance(event, Running):
            if self._ran_since is None:
                self._ran_since = self._queue.clock()
            fresh = max(event.count - self._lines if whole else event.count, 0)
            self._lines += fresh
            event = Running(event.logs[-fresh:] if fresh else (), fresh)
            repeated = isinstance(self._last, Running) and not event.logs
        else:
            repeated = event == self._last
        self._last = event
        return None if repeated else event


def _listed(record: Any) -> Model | None:
    record = record if isinstance(record, dict) else {}
    model_id, data = record.get("endpoint_id"), record.get("metadata")
    if not isinstance(model_id, str) or not 0 < len(model_id) <= 200:
        return None
    catalogue, data = Catalogue(None), data if isinstance(data, dict) else {}
    title, ended = data.get("display_name"), data.get("status") == "deprecated"
    return catalogue.known(model_id) or replace(
        catalogue.unknown(model_id),
        title=title[:100] if isinstance(title, str) and title else model_id,
        provider="fal",
        status="deprecated" if ended else "active",
    )
