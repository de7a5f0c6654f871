"""The package's event loop on a thread of its own: the only module that knows loops and threads.

All network work runs on that loop, never on the kernel's: a poller there would freeze while any
cell runs, and callbacks arrive on different threads with different loops. A blocking call from a
cell waits here while the kernel's own loop keeps turning. That takes nest_asyncio2, applied to the
calling thread's running loop, if there is one, and never at import. A loop that something else has
patched is not entered again: with the archived nest_asyncio, current kernels lose the cells that
are queued behind a blocking one.
"""

import asyncio
import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

import anyio
import sniffio

from imagen_widget.errors import ImagenError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

CLOSE_SECONDS = 5.0  # for running work to clean up; then the interpreter may end without it
INTERRUPTED_SECONDS = 5.0
STUCK_SECONDS = 1.0  # after an interrupt that has not come through
SLICE_SECONDS = 0.25

# Coroutine functions to run on the loop thread before it ends, once each.
closers: dict[Callable[[], Awaitable[None]], None] = {}


def spawn(
    function: Callable[[*Ts], Awaitable[T]], /, *args: *Ts, future: Future[T] | None = None
) -> Future[T]:
    """Start a coroutine function on the loop thread, from any thread, and return its future.

    Cancelling the future cancels the coroutine, which may shield its clean-up. A caller that passes
    a future can cancel it even if an interrupt arrives before this returns. At the interpreter's
    exit nothing starts any more, and the future is cancelled.
    """
    future = Future() if future is None else future
    thread = _started()
    if thread is None:
        future.cancel()
    else:
        thread.loop.call_soon_threadsafe(thread.begin, future, function, *args)
    return future


def call_soon(function: Callable[[*Ts], object], /, *args: *Ts) -> None:
    """Run a plain function on the loop thread soon, from any thread, the loop's own included."""
    thread = _started()
    if thread is not None:
        thread.loop.call_soon_threadsafe(function, *args)


def call_later(seconds: float, function: Callable[[], object]) -> None:
    call_soon(lambda: asyncio.get_running_loop().call_later(seconds, function))


def wait(future: Future[T], *, timeout: float | None = None) -> T:
    """Block until a future of the loop thread is done, and return its result.

    A loop that runs in the calling thread (a notebook's) keeps turning meanwhile. Kernel >
    Interrupt raises KeyboardInterrupt here, a cancellation of the calling task CancelledError, and
    `timeout` seconds TimeoutError; the work itself goes on until it is cancelled.
    """
    if future.done():
        return future.result()
    if _current is not None and threading.get_ident() == _current.ident:
        message = "the loop thread cannot wait for itself; await the job instead"
        raise RuntimeError(message)
    with interruptible():
        loop: asyncio.AbstractEventLoop | None = None
        with contextlib.suppress(RuntimeError):  # none runs in this thread
            loop = asyncio.get_running_loop()
        if loop is not None and _can_nest(loop):
            return _nest(loop, future, timeout)
        # In slices, because on Windows a wait without a limit cannot be interrupted.
        end = None if timeout is None else time.monotonic() + timeout
        while not future.done():
            left = SLICE_SECONDS if end is None else min(end - time.monotonic(), SLICE_SECONDS)
            if left <= 0:
                raise TimeoutError
            with contextlib.suppress(TimeoutError):  # also the job's own, which is raised below
                return future.result(left)
        return future.result()


async def wait_async(future: Future[T]) -> T:
    """Await a future of the loop thread in asyncio or trio; giving up leaves the work alone."""
    done = anyio.Event()
    call_there: Callable[[Callable[[], None]], object]
    if check_async_library() == "trio":
        import trio

        call_there = trio.lowlevel.current_trio_token().run_sync_soon
    else:
        call_there = asyncio.get_running_loop().call_soon_threadsafe

    def wake(_: Future[T]) -> None:
        with contextlib.suppress(RuntimeError):  # that loop ended meanwhile: nothing waits there
            call_there(done.set)

    future.add_done_callback(wake)
    try:
        await done.wait()
    except asyncio.CancelledError as interrupt:  # of a cell that awaits
        _show_in_one_line(interrupt)
        raise
    return future.result()


def check_async_library() -> str:
    """Return "asyncio" or "trio"; call it before anything is sent whose end is to be awaited."""
    with contextlib.suppress(sniffio.AsyncLibraryNotFoundError):
        library = sniffio.current_async_library()
        if library in {"asyncio", "trio"}:
            return library
    raise ImagenError(
        "This can be awaited in asyncio and trio only; nothing was sent.",
        remedy="Call generate(), which blocks, instead of agenerate().",
    )


def run(function: Callable[[*Ts], Awaitable[T]], /, *args: *Ts) -> T:
    """Run a coroutine function on the loop thread and block for its result.

    An interrupt cancels it, and it has up to five seconds to clean up.
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
            ended.wait(INTERRUPTED_SECONDS)
        raise


def close() -> None:
    """End the loop thread: cancel what runs there, run the closers; later calls start another."""
    global _current
    with _lock:
        ending, _current = _current, None
    if ending is not None:
        ending.call_soon(ending.ending.set)
        ending.join(CLOSE_SECONDS)


class _LoopThread(threading.Thread):
    """An event loop on a daemon thread, and the coroutines that run on it."""

    def __init__(self) -> None:
        super().__init__(name="imagen_widget", daemon=True)
        self.loop, self.ending = asyncio.new_event_loop(), asyncio.Event()
        self.loop.set_exception_handler(_report)
        self._work: dict[asyncio.Task[None], anyio.CancelScope] = {}
        self.start()

    def run(self) -> None:
        with contextlib.closing(self.loop):
            self.loop.run_until_complete(self._main())

    async def _main(self) -> None:
        await self.ending.wait()
        for scope in self._work.values():
            scope.cancel()
        while self._work:
            await asyncio.wait(self._work)
        while closers:  # only now: nothing that they close is still in use
            closer = next(iter(closers))
            del closers[closer]
            with contextlib.suppress(Exception):  # nobody is left to be told
                await closer()
        await self.loop.shutdown_asyncgens()

    def begin(self, future: Future[T], function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> None:
        """Make the task: by asyncio, since anyio does not know its loop inside a callback."""
        sniffio.current_async_library_cvar.set("asyncio")  # the caller's may be trio
        scope = anyio.CancelScope()
        task = self.loop.create_task(_host(future, scope, partial(function, *args)))
        self._work[task] = scope
        task.add_done_callback(self._work.pop)
        future.add_done_callback(
            lambda _: self.call_soon(scope.cancel) if future.cancelled() else None
        )
        if self.ending.is_set():
            scope.cancel()

    def call_soon(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self.loop.call_soon_threadsafe(function)


async def _host(
    future: Future[T], scope: anyio.CancelScope, call: Callable[[], Awaitable[T]]
) -> None:
    """Run a coroutine function for a future, which gets whatever it raises."""
    if future.cancelled():
        return
    try:
        with scope:
            result = await call()
            if future.set_running_or_notify_cancel():
                future.set_result(result)
    except BaseException as error:  # noqa: BLE001 - even SystemExit must not end the other jobs
        if future.set_running_or_notify_cancel():
            future.set_exception(error)
    finally:
        future.cancel()  # if the thread is ending; nothing if it has a result


_lock = threading.Lock()
_current: _LoopThread | None = None
_inherited: list[_LoopThread] = []  # after a fork: collecting one would touch the parent's loop
_hooked = False
_exited = False  # set when the interpreter ends: no thread can be started any more


def _started() -> _LoopThread | None:
    """Return the loop thread, started if need be; None if the interpreter is ending."""
    global _current, _hooked
    with _lock:
        if _current is not None and _current.is_alive():
            return _current
        if _exited:
            return None
        if sys.platform == "emscripten":
            raise ImagenError(
                "imagen_widget needs threads, and this kernel runs in the browser without any.",
                remedy="Use a kernel that runs on a server: JupyterLab, Colab or Binder.",
            )
        if not _hooked:
            _hooked = True
            atexit.register(_exit)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_forget)
        _current = _LoopThread()
        return _current


def _forget() -> None:
    """Start over in a forked child: the thread does not exist there, the lock may be held."""
    global _current, _lock
    _lock = threading.Lock()
    closers.clear()
    if _current is not None:
        _inherited.append(_current)
        _current = None


def _exit() -> None:
    global _exited
    _exited = True
    close()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what a callback raised, as asyncio does, but not while the interpreter is ending.

    Then no thread can be started, and whatever wants one fails. Python runs exit handlers only
    after that, so this loop still turns.
    """
    if threading.main_thread().is_alive():
        loop.default_exception_handler(context)


def _nest(loop: asyncio.AbstractEventLoop, future: Future[T], timeout: float | None) -> T:
    """Turn a running loop until the future is done or the task that waits here is cancelled.

    An interrupt is raised when the loop has stopped. Raised where it comes, it may end a task of
    somebody else, or leave a context manager of nest_asyncio2 half open, which sets the running
    loop of the thread in which it is collected: perhaps that of another loop. One that comes a
    second after another is for what the loop is busy with.
    """
    caller = asyncio.current_task()
    waiter = loop.create_task(asyncio.wait_for(wait_async(future), timeout))
    waiter.add_done_callback(lambda w: w.cancelled() or w.exception())  # or asyncio complains
    interrupts: list[float] = []
    is_over = False

    def interrupt(_number: int, _frame: object) -> None:
        interrupts.append(time.monotonic())
        # What ran meanwhile may have set another handler, and set this one again later.
        if is_over or interrupts[-1] - interrupts[0] > STUCK_SECONDS:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(waiter.cancel)

    def look() -> None:
        if caller is not None and caller.cancelling():
            waiter.cancel()
        timer[0] = loop.call_later(SLICE_SECONDS, look)

    timer = [loop.call_later(SLICE_SECONDS, look)]
    ready: Any = getattr(loop, "_ready", ())
    due = len(ready)
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    try:
        if handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, interrupt)
        return loop.run_until_complete(waiter)
    finally:
        if handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, handler)
        is_over = True
        waiter.cancel()
        timer[0].cancel()
        # A loop that was not patched when this turn of it began has counted its callbacks, and
        # fails if there are fewer now: the kernel would die.
        for _ in range(due - len(ready)):
            loop.call_soon(lambda: None)
        if interrupts:
            raise KeyboardInterrupt from None


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl+C raise KeyboardInterrupt, as in any blocking call.

    asyncio and ipykernel (in cells that await) make it a cancellation of the task instead. A call
    that blocks inside the task would not notice, and the kernel would never see the cell's end.
    """
    replaced = False
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
        module = getattr(getattr(handler, "func", handler), "__module__", None) or ""
        replaced = module.partition(".")[0] in {"asyncio", "ipykernel", "imagen_widget"}
    if replaced:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:
        _show_in_one_line(interrupt)
        raise
    finally:
        if replaced:
            signal.signal(signal.SIGINT, handler)


def _show_in_one_line(interrupt: Any) -> None:
    """Have IPython show an interrupt with its notes and without our stack, which says nothing."""
    line = ": ".join(("KeyboardInterrupt", *getattr(interrupt, "__notes__", ())))
    interrupt._render_traceback_ = lambda: [line]


def _can_nest(loop: asyncio.AbstractEventLoop) -> bool:
    """Let a running loop be entered again; return False if it cannot be, or not safely."""
    method = getattr(type(loop), "run_until_complete", None)
    origin = str(getattr(method, "__module__", "")).partition(".")[0]
    foreign = hasattr(asyncio, "_nest_patched") and not hasattr(asyncio, "_nest_asyncio2")
    if foreign or origin not in {"asyncio", "nest_asyncio2"}:
        return False
    import nest_asyncio2

    try:
        nest_asyncio2.apply(loop, run_close_loop=True)  # asyncio.run keeps closing its loops
    except ValueError:  # not a loop of asyncio's own
        return False
    return True
