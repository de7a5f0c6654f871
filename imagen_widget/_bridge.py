"""The one door to the one event-loop thread: the only file that knows loops, threads and nesting.

All network work runs on a loop that this package owns, never on the kernel's: a poller there would
freeze while any cell runs, and callbacks arrive on different threads with different loops. A
blocking call from a cell waits here while the kernel's own loop goes on turning. That takes
nest_asyncio2: with the archived nest_asyncio, current kernels lose the cells that are queued behind
a blocking one. It is applied to the calling thread's running loop, when there is one, never at
import.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from imagen_widget.errors import ImagenError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

CLOSE_SECONDS = 5.0  # for what runs to clean up; then the interpreter may end without it

_INTERRUPTED_SECONDS = 5.0
_SLICE_SECONDS = 0.25


def spawn(
    function: Callable[..., Awaitable[T]],
    /,
    *args: Any,  # noqa: ANN401 - passed on
    future: Future[T] | None = None,
) -> Future[T]:
    """Start a coroutine function on the loop thread, from any thread, and return its future.

    Cancelling the future cancels the coroutine, which may shield what it has to clean up. Who
    brings the future can do so even where an interrupt comes before this returns.
    """
    future = Future() if future is None else future
    _started().spawn(future, function, *args)
    return future


def call_soon(function: Callable[..., object], /, *args: Any) -> None:  # noqa: ANN401 - passed on
    """Run a plain function on the loop thread soon, from any thread, the loop's own included."""
    _started().call_soon(function, *args)


def wait(future: Future[T], *, timeout: float | None = None) -> T:
    """Block until a future of the loop thread is done, and return its result.

    A loop that runs in the calling thread (a notebook's) goes on turning meanwhile. Kernel >
    Interrupt raises KeyboardInterrupt here; the work itself goes on until somebody cancels it.

    Args:
        future: What `spawn` returned.
        timeout: Seconds; None waits for as long as it takes.

    Raises:
        TimeoutError: The future is not done within `timeout`.
        asyncio.CancelledError: The task that called was cancelled meanwhile.
    """
    if future.done():
        return future.result()
    if _current is not None and threading.get_ident() == _current.ident:
        message = "the loop thread cannot wait for itself; await the job instead"
        raise RuntimeError(message)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _block(future, timeout)
    with interruptible():
        return _nest(loop, future, timeout) if _nestable(loop) else _block(future, timeout)


async def wait_async(future: Future[T]) -> T:
    """Await a future of the loop thread on any asyncio loop; giving up leaves the work alone."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def wake(_: Future[T]) -> None:
        with contextlib.suppress(RuntimeError):  # that loop ended meanwhile: nobody waits there
            loop.call_soon_threadsafe(over.set)

    future.add_done_callback(wake)
    await over.wait()
    return future.result()


def run(function: Callable[..., Awaitable[T]], /, *args: Any) -> T:  # noqa: ANN401 - passed on
    """Run a coroutine function on the loop thread and block for its result.

    Raises:
        KeyboardInterrupt: The wait was interrupted; the coroutine was cancelled, and had up to
            five seconds to clean up.
    """
    begun, ended = threading.Event(), threading.Event()
    future: Future[T] = Future()

    async def call() -> T:
        begun.set()
        try:
            return await function(*args)
        finally:
            ended.set()

    try:
        with interruptible():
            return wait(spawn(call, future=future))
    except (KeyboardInterrupt, asyncio.CancelledError):
        future.cancel()
        if begun.is_set():
            ended.wait(_INTERRUPTED_SECONDS)
        raise


def on_close(closer: Callable[[], Awaitable[None]]) -> None:
    """Have a coroutine function run on the loop thread before that ends; once, however often."""
    _started().closers[closer] = None


def close() -> None:
    """End the loop thread: cancel what runs there, run the closers; the next call starts anew."""
    global _current
    with _lock:
        ending, _current = _current, None
    if ending is not None:
        ending.close()


class _LoopThread:
    """An event loop on a daemon thread, and the coroutines that it hosts."""

    def __init__(self) -> None:
        self.closers: dict[Callable[[], Awaitable[None]], None] = {}
        self.ident = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._scopes: set[anyio.CancelScope] = set()
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(ready,), name="imagen_widget", daemon=True
        )
        self._thread.start()
        ready.result()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def call_soon(self, function: Callable[..., object], /, *args: Any) -> None:  # noqa: ANN401 - passed on
        self._loop.call_soon_threadsafe(function, *args)

    def spawn(
        self,
        future: Future[T],
        function: Callable[..., Awaitable[T]],
        *args: Any,  # noqa: ANN401 - passed on
    ) -> None:
        self.call_soon(self._begin, future, function, *args)

    def close(self) -> None:
        if threading.get_ident() == self.ident:
            message = "the loop thread cannot end itself"
            raise RuntimeError(message)
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self.call_soon(self._stop.set)
        self._thread.join(CLOSE_SECONDS)

    def _serve(self, ready: Future[None]) -> None:
        try:
            anyio.run(self._main, ready, backend="asyncio")
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _main(self, ready: Future[None]) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.ident = threading.get_ident()
        ready.set_result(None)
        await self._stop.wait()
        for scope in self._scopes:
            scope.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        for closer in self.closers:  # only now: nothing that it closes is in use any more
            with contextlib.suppress(Exception):  # what ends anyway may end badly
                await closer()

    def _begin(self, future: Future[T], *args: Any) -> None:  # noqa: ANN401 - passed on
        """Make the task: by asyncio, since anyio does not know its loop inside a callback."""
        task = self._loop.create_task(self._host(future, *args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _host(
        self,
        future: Future[T],
        function: Callable[..., Awaitable[T]],
        *args: Any,  # noqa: ANN401 - passed on
    ) -> None:
        """Run a coroutine function for a future; whatever it raises lands there, not here."""
        if future.cancelled():
            return
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        if self._stop.is_set():
            scope.cancel()
        future.add_done_callback(lambda _: self._cancel(scope) if future.cancelled() else None)
        try:
            with scope:
                result = await function(*args)
                if future.set_running_or_notify_cancel():
                    future.set_result(result)
        except BaseException as error:  # noqa: BLE001 - even SystemExit must not end the other jobs
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        finally:
            self._scopes.discard(scope)
            future.cancel()  # where the thread is ending; nothing where it has a result

    def _cancel(self, scope: anyio.CancelScope) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self.call_soon(scope.cancel)


_lock = threading.Lock()
_current: _LoopThread | None = None
_inherited: list[_LoopThread] = []  # after a fork: collecting one would touch the parent's loop
_hooks = False


def _started() -> _LoopThread:
    global _current, _hooks  # noqa: PLW0603 - there is one loop thread
    with _lock:
        if _current is not None and _current.is_alive():
            return _current
        if sys.platform == "emscripten":
            raise ImagenError(
                "imagen_widget needs threads, and this kernel runs in the browser without any.",
                remedy="Use a kernel that runs on a server: JupyterLab, Colab or Binder.",
            )
        if not _hooks:
            _hooks = True
            atexit.register(close)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_forget)
        _current = _LoopThread()
        return _current


def _forget() -> None:
    """In a forked child: its thread does not exist, and its lock may be held by nobody."""
    global _current, _lock  # noqa: PLW0603 - there is one loop thread
    _lock = threading.Lock()
    if _current is not None:
        _inherited.append(_current)
        _current = None


def _block(future: Future[T], timeout: float | None) -> T:
    """Wait in slices, because Windows lets no interrupt into a wait without end."""
    end = None if timeout is None else time.monotonic() + timeout
    while not future.done():
        left = _SLICE_SECONDS if end is None else min(end - time.monotonic(), _SLICE_SECONDS)
        if left <= 0:
            raise TimeoutError
        with contextlib.suppress(TimeoutError):  # also the job's own, which is raised below
            return future.result(left)
    return future.result()


def _nest(loop: asyncio.AbstractEventLoop, future: Future[T], timeout: float | None) -> T:
    """Turn a running loop until the future is done, or the task that waits here is cancelled."""
    caller = asyncio.current_task()
    waiter = loop.create_task(asyncio.wait_for(wait_async(future), timeout))
    waiter.add_done_callback(_mark_retrieved)

    def look() -> None:
        if caller is not None and caller.cancelling():
            waiter.cancel()
        timer[0] = loop.call_later(_SLICE_SECONDS, look)

    timer = [loop.call_later(_SLICE_SECONDS, look)]
    try:
        return loop.run_until_complete(waiter)
    except KeyboardInterrupt:
        waiter.cancel()
        raise
    finally:
        timer[0].cancel()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl+C raise KeyboardInterrupt, as in any blocking call.

    asyncio and ipykernel (in cells that await) take it for a cancellation of the task instead. Who
    blocks inside of the task would not notice, and the kernel would never see the cell's end.
    """
    taken_over = False
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
        module = getattr(getattr(handler, "func", handler), "__module__", None) or ""
        taken_over = module.partition(".")[0] in {"asyncio", "ipykernel"}
    if not taken_over:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _mark_retrieved(waiter: asyncio.Task[Any]) -> None:
    """Keep asyncio from complaining that nobody looked at an interrupted wait's outcome."""
    if not waiter.cancelled():
        waiter.exception()


def _nestable(loop: asyncio.AbstractEventLoop) -> bool:
    """Let a running loop be entered again; tell whether that is possible."""
    import nest_asyncio2

    try:
        nest_asyncio2.apply(loop, run_close_loop=True)  # asyncio.run goes on closing its loops
    except ValueError:  # a loop that is not asyncio's own, such as uvloop: wait without turning it
        return False
    return True
