"""The loop thread: one, started late, from any thread, across forks, to a silent end."""

import asyncio
import concurrent.futures
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator

import anyio
import pytest
import trio

from imagen_widget import _loop
from imagen_widget.errors import ImagenError

PATIENCE_SECONDS = 60.0


@pytest.fixture(autouse=True)
def closed_afterwards() -> Iterator[None]:
    yield
    _loop.close()


def in_a_new_process(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def name_of_thread() -> str:
    return threading.current_thread().name


async def wait_forever() -> None:
    await anyio.sleep_forever()


# ------------------------------------------------------------------------------------ one thread


def test_everything_runs_on_one_thread() -> None:
    names = {_loop.run(name_of_thread) for _ in range(5)}

    assert names == {"imagen_widget"}
    assert [t.name for t in threading.enumerate()].count("imagen_widget") == 1


def test_many_threads_start_one_loop() -> None:
    idents: list[int] = []

    async def ident() -> None:
        idents.append(threading.get_ident())

    threads = [threading.Thread(target=_loop.run, args=(ident,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert len(idents) == 8
    assert len(set(idents)) == 1


@pytest.mark.slow
def test_importing_starts_nothing_and_patches_nothing() -> None:
    done = in_a_new_process(
        """
        import asyncio, os, socket, sys, threading
        names = ["run", "Task", "Future", "get_event_loop", "sleep", "wait_for"]
        before = [getattr(asyncio, name) for name in names]
        before += [asyncio.tasks.Task, asyncio.futures.Future, asyncio.events.get_event_loop]
        files = set(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else set()
        socket.socket = None

        import imagen_widget, imagen_widget._loop
        imagen_widget.generate, imagen_widget.History, imagen_widget.ImagenWidget

        after = [getattr(asyncio, name) for name in names]
        after += [asyncio.tasks.Task, asyncio.futures.Future, asyncio.events.get_event_loop]
        assert all(one is other for one, other in zip(before, after, strict=True))
        assert not hasattr(asyncio, "_nest_patched")
        assert "nest_asyncio2" not in sys.modules
        assert threading.active_count() == 1, threading.enumerate()
        assert not os.path.exists(os.environ["IMAGEN_HOME"])
        print("inert")
        """
    )

    assert (done.stdout.strip(), done.stderr) == ("inert", "")


@pytest.mark.slow
def test_a_blocking_call_without_a_loop_patches_nothing() -> None:
    done = in_a_new_process(
        """
        import asyncio
        from imagen_widget import _loop
        async def nothing(): pass
        _loop.run(nothing)
        print(hasattr(asyncio, "_nest_patched"))
        """
    )

    assert (done.stdout.strip(), done.stderr) == ("False", "")


# -------------------------------------------------------------------------------- spawn and wait


def test_a_result_and_an_error_come_back() -> None:
    async def fail() -> None:
        raise ValueError("no")

    assert _loop.run(name_of_thread) == "imagen_widget"
    with pytest.raises(ValueError, match="no"):
        _loop.run(fail)


def test_work_can_be_started_from_the_loop_thread_itself() -> None:
    started: list[concurrent.futures.Future[str]] = []

    async def start_another() -> None:
        started.append(_loop.spawn(name_of_thread))

    _loop.run(start_another)

    assert started[0].result(PATIENCE_SECONDS) == "imagen_widget"


def test_the_loop_thread_cannot_wait_for_itself_and_says_so() -> None:
    async def wait_for_another() -> None:
        _loop.wait(_loop.spawn(wait_forever))

    with pytest.raises(RuntimeError, match="await the job"):
        _loop.run(wait_for_another)


def test_what_is_done_can_be_read_on_the_loop_thread() -> None:
    done = _loop.spawn(name_of_thread)
    done.result(PATIENCE_SECONDS)

    async def read() -> str:
        return _loop.wait(done)

    assert _loop.run(read) == "imagen_widget"


def test_a_wait_that_times_out_leaves_the_work_alone() -> None:
    go_on = anyio.Event()

    async def work() -> str:
        await go_on.wait()
        return "done"

    future = _loop.spawn(work)
    with pytest.raises(TimeoutError):
        _loop.wait(future, timeout=0.01)
    _loop.call_soon(go_on.set)

    assert _loop.wait(future, timeout=PATIENCE_SECONDS) == "done"


def test_an_error_that_is_a_timeout_is_not_taken_for_one_of_the_wait() -> None:
    async def fail() -> None:
        raise TimeoutError("of the work")

    with pytest.raises(TimeoutError, match="of the work"):
        _loop.wait(_loop.spawn(fail), timeout=PATIENCE_SECONDS)


def test_cancelling_a_future_cancels_its_work_and_respects_its_shields() -> None:
    begun, cleaned = threading.Event(), threading.Event()

    async def work() -> None:
        try:
            begun.set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            cleaned.set()

    future = _loop.spawn(work)
    assert begun.wait(PATIENCE_SECONDS)
    future.cancel()

    assert cleaned.wait(PATIENCE_SECONDS)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(0)


def test_work_that_is_cancelled_before_it_begins_does_not_begin() -> None:
    ran: list[str] = []

    async def work() -> None:
        ran.append("work")

    async def cancel_at_once() -> None:
        _loop.spawn(work).cancel()

    _loop.run(cancel_at_once)
    _loop.run(name_of_thread)

    assert ran == []


def test_not_even_a_request_to_exit_ends_the_other_jobs() -> None:
    async def leave() -> None:
        sys.exit(3)

    other = _loop.spawn(wait_forever)
    with pytest.raises(SystemExit):
        _loop.run(leave)

    assert not other.done()
    assert _loop.run(name_of_thread) == "imagen_widget"


# ------------------------------------------------------------------------------- in a running loop


@pytest.mark.slow
def test_a_blocking_call_keeps_a_running_loop_turning() -> None:
    done = in_a_new_process(
        """
        import asyncio, anyio
        from imagen_widget import _loop
        async def main():
            enough = anyio.Event()
            async def tick():
                for _ in range(20):
                    await asyncio.sleep(0)
                _loop.call_soon(enough.set)  # only a loop that turns gets here
            ticker = asyncio.create_task(tick())
            _loop.run(enough.wait)
            await ticker
            print("turned")
        asyncio.run(main())
        """
    )

    assert (done.stdout.strip(), done.stderr) == ("turned", "")


@pytest.mark.slow
def test_a_loop_that_something_else_has_patched_is_not_entered_again() -> None:
    done = in_a_new_process(
        """
        import asyncio, anyio, nest_asyncio
        from imagen_widget import _loop
        nest_asyncio.apply(asyncio.new_event_loop())
        ticks = []
        async def main():
            asyncio.get_running_loop().call_soon(ticks.append, "turned")
            _loop.run(anyio.sleep, 0.05)
            print(ticks)
        asyncio.run(main())
        """,
        "-W",
        "ignore",  # it leaves loops open
    )

    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_trio_can_await_what_runs_on_the_loop_thread() -> None:
    async def wait_there(future: concurrent.futures.Future[str]) -> str:
        return await _loop.wait_async(future)

    assert trio.run(wait_there, _loop.spawn(name_of_thread)) == "imagen_widget"
    with pytest.raises(trio.TooSlowError):
        trio.run(wait_a_moment, forever := _loop.spawn(wait_forever))
    assert not forever.done()


async def wait_a_moment(future: concurrent.futures.Future[None]) -> None:
    with trio.fail_after(0.01):
        await _loop.wait_async(future)


def test_an_await_that_no_known_library_runs_is_refused_in_one_line() -> None:
    assert asyncio.run(async_library()) == "asyncio"
    assert trio.run(async_library) == "trio"
    with pytest.raises(ImagenError, match="nothing was sent"):
        async_library().send(None)


async def async_library() -> str:
    return _loop.check_async_library()


def test_an_awaited_future_can_be_given_up_without_harm() -> None:
    async def give_up() -> concurrent.futures.Future[str]:
        future = _loop.spawn(slowly)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_loop.wait_async(future), 0.01)
        return future

    go_on = anyio.Event()

    async def slowly() -> str:
        await go_on.wait()
        return "done"

    future = asyncio.run(give_up())  # and that loop is closed before the work ends
    _loop.call_soon(go_on.set)

    assert future.result(PATIENCE_SECONDS) == "done"


@pytest.mark.slow
def test_a_loop_that_ends_while_it_waits_makes_no_noise() -> None:
    done = in_a_new_process(
        """
        import asyncio, anyio
        from imagen_widget import _loop
        go_on = anyio.Event()
        future = _loop.spawn(go_on.wait)
        async def main():
            task = asyncio.create_task(_loop.wait_async(future))
            await asyncio.sleep(0)
        asyncio.run(main())
        _loop.call_soon(go_on.set)
        future.result(20)
        _loop.close()
        """,
        # Not -X dev: asyncio's debug mode also reports steps that a busy machine made slow.
        "-W",
        "always",
    )

    assert (done.returncode, done.stderr) == (0, "")


INTERRUPTED = """
import asyncio, os, signal, threading, anyio
from imagen_widget import _loop

async def work():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.05)
        print("cleaned up")

def block():
    try:
        _loop.run(work)
    except BaseException as error:
        print(type(error).__name__)
        raise

async def main():
    block()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        "block()",
        "asyncio.run(main())",  # takes Ctrl+C for a cancellation, but not in here
        "asyncio.new_event_loop().run_until_complete(main())",
    ],
)
def test_an_interrupt_comes_through_after_the_work_has_cleaned_up(call: str) -> None:
    end = f"try: {call}\nexcept KeyboardInterrupt: print('over')"
    done = in_a_new_process(INTERRUPTED + end)

    assert (done.stdout.split(), done.returncode) == (
        ["cleaned", "up", "KeyboardInterrupt", "over"],
        0,
    )
    assert "Traceback" not in done.stderr


BUSY = """
import asyncio, os, signal, threading, time, anyio
from imagen_widget import _loop

async def tick():
    while True:
        time.sleep(0.02)
        await asyncio.sleep(0)

def press():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)

async def main(calls):
    ticker = asyncio.create_task(tick())
    for _ in range(calls):
        threading.Thread(target=press).start()
        try:
            _loop.run(anyio.sleep_forever)
        except KeyboardInterrupt:
            print("interrupted", ticker.done())
    ticker.cancel()
"""


@pytest.mark.slow
def test_an_interrupt_ends_the_call_that_waits_and_not_the_tasks_that_run_meanwhile() -> None:
    done = in_a_new_process(BUSY + "asyncio.run(main(4))")

    assert done.stdout.splitlines() == ["interrupted False"] * 4
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.slow
def test_a_second_interrupt_reaches_what_does_not_come_to_an_end() -> None:
    done = in_a_new_process(
        """
        import asyncio, os, signal, threading, time, anyio
        from imagen_widget import _loop
        async def stuck():
            try:
                time.sleep(30)
            except KeyboardInterrupt:
                print("stuck")
        def press():
            for _ in range(2):
                time.sleep(1.2)
                os.kill(os.getpid(), signal.SIGINT)
        async def main():
            asyncio.create_task(stuck())
            threading.Thread(target=press).start()
            try:
                _loop.run(anyio.sleep_forever)
            except KeyboardInterrupt:
                print("over")
        asyncio.run(main())
        """
    )

    assert done.stdout.split() == ["stuck", "over"]


@pytest.mark.slow
def test_a_blocking_call_ends_when_its_task_is_cancelled() -> None:
    done = in_a_new_process(
        """
        import asyncio, anyio
        from imagen_widget import _loop
        async def block():
            _loop.run(anyio.sleep_forever)
        async def main():
            task = asyncio.create_task(block())
            asyncio.get_running_loop().call_later(0.1, task.cancel)
            await task
        try:
            asyncio.run(main())
        except asyncio.CancelledError:
            print("cancelled")
        """
    )

    assert (done.stdout.strip(), done.stderr) == ("cancelled", "")


@pytest.mark.slow
def test_the_users_own_handler_of_interrupts_is_left_alone() -> None:
    done = in_a_new_process(
        """
        import asyncio, os, signal, anyio
        from imagen_widget import _loop
        async def work():
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep(0.1)
        async def main():
            signal.signal(signal.SIGINT, lambda *_: print("mine"))
            _loop.run(work)
        asyncio.run(main())
        """
    )

    assert (done.stdout.strip(), done.stderr) == ("mine", "")


# ------------------------------------------------------------------------------------------ the end


def test_closing_ends_the_thread_and_the_next_call_starts_another() -> None:
    _loop.run(name_of_thread)
    _loop.close()

    assert "imagen_widget" not in {thread.name for thread in threading.enumerate()}
    assert _loop.run(name_of_thread) == "imagen_widget"


def test_closing_lets_running_work_clean_up_and_then_runs_the_closers() -> None:
    order: list[str] = []
    begun = threading.Event()

    async def work() -> None:
        try:
            begun.set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            order.append("cleaned up")

    async def closer() -> None:
        order.append("closed")

    async def bad_closer() -> None:
        order.append("failed")
        raise OSError

    future = _loop.spawn(work)
    assert begun.wait(PATIENCE_SECONDS)
    for function in (bad_closer, closer, closer):
        _loop.closers[function] = None
    _loop.close()

    assert order == ["cleaned up", "failed", "closed"]
    assert future.cancelled()


def test_closing_twice_or_before_anything_does_nothing() -> None:
    _loop.close()
    _loop.close()


def test_closing_gives_up_on_work_that_will_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_loop, "CLOSE_SECONDS", 0.05)
    begun, go_on = threading.Event(), anyio.Event()

    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            begun.set()
            await go_on.wait()

    _loop.spawn(stubborn)
    assert begun.wait(PATIENCE_SECONDS)
    thread = next(t for t in threading.enumerate() if t.name == "imagen_widget")
    current = _loop._current  # kept, to end it after all
    _loop.close()
    assert thread.is_alive()

    assert current is not None
    current.loop.call_soon_threadsafe(go_on.set)
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


@pytest.mark.slow
def test_the_interpreter_ends_at_once_and_without_noise_while_work_runs() -> None:
    done = in_a_new_process(
        """
        import threading, anyio
        from imagen_widget import _loop
        begun = threading.Event()
        async def work():
            begun.set()
            await anyio.sleep_forever()
        _loop.spawn(work)
        begun.wait()
        print("leaving")
        """,
        "-W",
        "always",
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "leaving\n", "")


@pytest.mark.slow
def test_a_callback_that_wants_a_thread_while_the_interpreter_ends_makes_no_noise() -> None:
    done = in_a_new_process(
        """
        import threading
        from imagen_widget import _loop
        begun = threading.Event()
        def want_a_thread():
            begun.set()
            threading.main_thread().join()
            raise RuntimeError("cannot schedule new futures after shutdown")
        _loop.call_soon(want_a_thread)
        begun.wait()
        """
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_nothing_starts_once_the_interpreter_has_ended_the_thread() -> None:
    done = in_a_new_process(
        """
        import atexit, anyio
        @atexit.register  # before ours, so it runs after ours
        def late():
            print(_loop.spawn(anyio.sleep, 0).cancelled())
            _loop.call_soon(print, "never")
            _loop.closers[anyio.sleep_forever] = None
        from imagen_widget import _loop
        _loop.run(anyio.sleep, 0)
        """
    )

    assert (done.stdout.strip(), done.stderr) == ("True", "")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork here")
def test_a_forked_child_gets_a_thread_of_its_own_and_leaves_the_parents_alone() -> None:
    done = in_a_new_process(
        """
        import os, sys, threading, anyio, gc, warnings
        from imagen_widget import _loop
        # Python 3.12 and later warn of a fork beside threads: that is what is tested here.
        warnings.filterwarnings("ignore", ".*multi-threaded.*", DeprecationWarning)
        async def pid():
            await anyio.sleep(0.01)
            return os.getpid()
        assert _loop.run(pid) == os.getpid()
        waiting = _loop.spawn(anyio.sleep, 0.3)
        child = os.fork()
        if child == 0:
            assert _loop.run(pid) == os.getpid()
            gc.collect()
            _loop.close()
            sys.exit(7)  # through the interpreter's own end
        _, status = os.waitpid(child, 0)
        waiting.result(10)
        assert _loop.run(pid) == os.getpid()
        print(os.waitstatus_to_exitcode(status))
        """
    )

    assert (done.stdout.strip(), done.stderr) == ("7", "")


def test_a_browser_kernel_without_threads_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "emscripten")

    with pytest.raises(ImagenError, match="threads"):
        _loop.spawn(wait_forever)
