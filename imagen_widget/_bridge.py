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
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from imagen_widget.errors import ImagenError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

T = TypeVar("T")

_lock = threading.Lock()
_portal: BlockingPortal | None = None
_loop: asyncio.AbstractEventLoop | None = None
_context: AbstractContextManager[BlockingPortal] | None = None
_loop_thread = 0
_owner_pid = 0
_closers: list[Callable[[], Awaitable[None]]] = []


def spawn(function: Callable[..., Awaitable[T]], /, *args: Any) -> Future[T]:  # noqa: ANN401 - passed on
    """Start a coroutine function on the loop thread, from any thread, and return its future."""
    return _start().start_task_soon(function, *args)


def call_soon(function: Callable[..., object], /, *args: Any) -> None:  # noqa: ANN401 - passed on
    """Run a plain function on the loop thread soon, from any thread, the loop's own included."""
    _start()
    if _loop is not None:
        _loop.call_soon_threadsafe(function, *args)


def wait(future: Future[T], *, timeout: float | None = None) -> T:
    """Block until a future of the loop thread is done, and return its result.

    A loop that runs in the calling thread (a notebook's) goes on turning meanwhile. Kernel >
    Interrupt raises KeyboardInterrupt here; the work itself goes on until somebody cancels it.

    Args:
        future: What `spawn` returned.
        timeout: Seconds; None waits for as long as it takes.

    Raises:
        TimeoutError: The future is not done within `timeout`.
    """
    if threading.get_ident() == _loop_thread:
        message = "the loop thread cannot wait for itself; await the coroutine instead"
        raise RuntimeError(message)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return future.result(timeout)
    if not _nestable(loop):
        return future.result(timeout)
    waiter = loop.create_task(_shielded(future, timeout))
    try:
        return loop.run_until_complete(waiter)
    except KeyboardInterrupt:
        waiter.cancel()
        raise


async def _shielded(future: Future[T], timeout: float | None) -> T:  # noqa: ASYNC109 - None waits
    """Await a future without cancelling it when the wait is given up."""
    return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), timeout)


def run(function: Callable[..., Awaitable[T]], /, *args: Any) -> T:  # noqa: ANN401 - passed on
    """Run a coroutine function on the loop thread and block for its result.

    Raises:
        KeyboardInterrupt: The wait was interrupted; the coroutine was cancelled.
    """
    future = spawn(function, *args)
    try:
        return wait(future)
    except KeyboardInterrupt:
        future.cancel()
        raise


def on_close(closer: Callable[[], Awaitable[None]]) -> None:
    """Have a coroutine function run on the loop thread before it ends."""
    _closers.append(closer)


def close() -> None:
    """End the loop thread after its closers ran; the next call starts a new one."""
    global _portal, _context, _loop, _loop_thread  # noqa: PLW0603 - one loop thread
    with _lock:
        portal, context = _portal, _context
        _portal = _context = _loop = None
        _loop_thread = 0
        closers = list(_closers)
        _closers.clear()
    if portal is None or context is None or _owner_pid != os.getpid():
        return
    for closer in closers:
        with contextlib.suppress(Exception):  # what ends anyway may end badly
            portal.call(closer)
    with contextlib.suppress(Exception):
        portal.call(portal.stop, True)  # noqa: FBT003 - anyio's own signature
    with contextlib.suppress(Exception):
        context.__exit__(None, None, None)


def _start() -> BlockingPortal:
    global _portal, _context, _loop, _loop_thread, _owner_pid  # noqa: PLW0603 - one loop thread
    with _lock:
        if _portal is not None and _owner_pid == os.getpid():
            return _portal
        if sys.platform == "emscripten":
            raise ImagenError(
                "imagen_widget needs threads, and this kernel runs in the browser without any.",
                remedy="Use a kernel that runs on a server: JupyterLab, Colab or Binder.",
            )
        if _owner_pid not in {0, os.getpid()}:
            _closers.clear()  # a forked child has the parent's objects but not its thread
        _context = start_blocking_portal("asyncio", name="imagen_widget")
        _portal = _context.__enter__()
        _loop, _loop_thread = (
            _portal.call(asyncio.get_running_loop),
            _portal.call(threading.get_ident),
        )
        if _owner_pid == 0:
            atexit.register(close)
        _owner_pid = os.getpid()
        return _portal


def _nestable(loop: asyncio.AbstractEventLoop) -> bool:
    """Let a running loop be entered again; tell whether that is possible."""
    import nest_asyncio2

    try:
        nest_asyncio2.apply(loop)
    except ValueError:  # a loop that is not asyncio's own, such as uvloop: wait without turning it
        return False
    return True
