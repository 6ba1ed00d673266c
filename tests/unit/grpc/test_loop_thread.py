"""A loop in a separate thread, and the thread of its callbacks."""

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue
from typing import Any

import pytest

from fastrpc.grpc.callback_thread import CallbackThread
from fastrpc.grpc.loop_thread import LoopThread, ThreadEndedError

WAIT = 20


async def seven() -> int:
    return 7


async def for_ever() -> None:
    await asyncio.Event().wait()


def on_loop(thread: LoopThread, function: Callable[[], Any]) -> Any:
    """Return the result of a function in the thread of the loop."""

    async def call() -> Any:
        return function()

    return thread.submit(call()).result(WAIT)


def ended(name: str) -> LoopThread:
    """Return a thread that has run and ended."""
    thread = LoopThread(name)
    thread.run(seven())
    thread.stop()
    return thread


class TestAsking:
    def test_the_thread_of_the_loop_does_not_wait_for_itself(self) -> None:
        thread = LoopThread("asked")
        assert on_loop(thread, lambda: thread.ask(seven)) == 7
        for wait in (lambda: thread.ask(for_ever), lambda: thread.run(seven())):
            with pytest.raises(RuntimeError, match="'asked' would wait for itself"):
                on_loop(thread, wait)
        assert thread.run(seven()) == 7
        thread.stop()

    def test_a_thread_that_ends_during_the_question_answers_it(self) -> None:
        thread = LoopThread("stopped")
        thread.run(seven())

        def work() -> Coroutine[Any, Any, int]:
            thread.stop()
            return seven()

        assert thread.ask(work) == 7

    def test_a_question_that_the_end_cancels_is_asked_again(self) -> None:
        thread = LoopThread("cancelled")
        runs: list[str] = []

        async def work() -> int:
            runs.append(threading.current_thread().name)
            if len(runs) == 1:
                thread.stop()
                await for_ever()
            return 7

        assert thread.ask(work) == 7
        assert runs == ["cancelled", threading.current_thread().name]

    def test_a_question_waits_for_the_last_steps_of_the_loop(self) -> None:
        thread = LoopThread("last steps")
        busy, goes_on = threading.Event(), threading.Event()
        steps: list[str] = []

        async def last_step() -> None:
            busy.set()
            goes_on.wait(WAIT)
            steps.append("last")

        async def look() -> list[str]:
            return list(steps)

        thread.submit(last_step())
        assert busy.wait(WAIT)
        thread.stop()
        joined = next(one for one in threading.enumerate() if one.name == "last steps")
        join = joined.join

        def release_and_join() -> None:
            goes_on.set()
            join()

        joined.join = release_and_join  # type: ignore[method-assign]
        try:
            assert thread.ask(look) == ["last"]
        finally:
            goes_on.set()

    def test_an_ended_thread_runs_nothing_and_answers(self) -> None:
        thread = ended("over")
        for refused in (lambda: thread.run(seven()), lambda: thread.call_soon(seven)):
            with pytest.raises(ThreadEndedError):
                refused()
        assert thread.ask(seven) == 7

    def test_work_begun_after_the_end_is_done(self) -> None:
        async def fail() -> None:
            raise ValueError("a mistake")

        async def cancel() -> None:
            raise asyncio.CancelledError

        thread = ended("over")
        assert thread.begin(seven).result(0) == 7
        failed: list[tuple[Callable[[], Coroutine[Any, Any, None]], type[Exception]]] = [
            (fail, ValueError),
            (cancel, CancelledError),
        ]
        for work, error in failed:
            future: Future[None] = thread.begin(work)
            with pytest.raises(error):
                future.result(0)


class TestDrops:
    @pytest.mark.filterwarnings("error::ResourceWarning")
    def test_a_thread_ends_although_its_warning_is_raised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        raised: list[object] = []
        monkeypatch.setattr("sys.unraisablehook", lambda failed: raised.append(failed.exc_value))
        thread = LoopThread("dropped", close=seven, owner="<owner>")
        thread.run(seven())
        runner = next(one for one in threading.enumerate() if one.name == "dropped")
        del thread
        gc.collect()
        runner.join(WAIT)
        assert not runner.is_alive()
        assert [str(error) for error in raised] == ["unclosed <owner>"]


class TestCallbacks:
    def test_callbacks_run_one_after_another_in_their_thread(self) -> None:
        callbacks = CallbackThread("callbacks")
        told: SimpleQueue[tuple[int, str]] = SimpleQueue()
        for number in range(3):
            callbacks.call(lambda of: told.put((of, threading.current_thread().name)), number)
        assert [told.get(timeout=WAIT) for _ in range(3)] == [(number, "callbacks") for number in range(3)]
        callbacks.end()

    def test_the_thread_of_callbacks_ends_after_the_last_one_and_with_the_loop(self) -> None:
        thread = LoopThread("loop")
        told: SimpleQueue[threading.Thread] = SimpleQueue()
        on_loop(thread, lambda: thread.callbacks.call(lambda: told.put(threading.current_thread())))
        runner = told.get(timeout=WAIT)
        thread.callbacks.call(lambda: told.put(threading.current_thread()))
        thread.stop()
        runner.join(WAIT)
        assert not runner.is_alive()
        assert told.get(timeout=WAIT) is runner

    def test_after_the_end_the_caller_calls(self) -> None:
        callbacks = CallbackThread("callbacks")
        callbacks.end()
        told: list[threading.Thread] = []
        callbacks.call(lambda: told.append(threading.current_thread()))
        assert told == [threading.current_thread()]

    def test_a_failing_callback_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        callbacks = CallbackThread("callbacks")
        callbacks.call(lambda: 1 / 0)
        told: SimpleQueue[int] = SimpleQueue()
        callbacks.call(told.put, 1)
        assert told.get(timeout=WAIT) == 1
        assert "a callback failed" in caplog.text
        callbacks.end()
