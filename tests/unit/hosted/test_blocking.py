"""The thread of blocking twins: interrupts of the threads that wait for it."""

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc.errors import BrokerError
from fastrpc.hosted.blocking import BlockingLife, BlockingThread
from tests.support.interrupting import interrupt_waits


@pytest.fixture
def thread() -> Iterator[BlockingThread]:
    thread = BlockingThread("broker", BrokerError)
    yield thread
    if not thread.is_closed:
        thread.close()


def test_result_that_an_interrupt_keeps_from_its_receiver_is_given_back(
    thread: BlockingThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> int:
        return 17

    unwanted: list[int] = []
    interrupt_waits(monkeypatch, after_result=True)
    with pytest.raises(KeyboardInterrupt):
        thread.run(work(), unwanted=unwanted.append)
    assert unwanted == [17]
    with pytest.raises(KeyboardInterrupt):
        thread.run(work())


@pytest.mark.parametrize("has_result", [False, True])
def test_interrupt_waits_for_the_end_of_the_coroutine(
    thread: BlockingThread, monkeypatch: pytest.MonkeyPatch, has_result: bool
) -> None:
    steps: list[str] = []
    unwanted: list[str] = []

    async def work() -> str:
        steps.append("began")
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            for _ in range(1_000):
                await asyncio.sleep(0)
            steps.append("ended")
            if not has_result:
                raise
        return "result"

    interrupt_waits(monkeypatch, until=lambda: steps)
    with pytest.raises(KeyboardInterrupt):
        thread.run(work(), unwanted=unwanted.append)
    assert steps == ["began", "ended"]
    assert unwanted == ["result"] * has_result


def test_errors_and_ends_of_coroutines_reach_their_receiver(thread: BlockingThread) -> None:
    unwanted: list[Any] = []

    async def fail(error: BaseException) -> None:
        raise error

    for error in (LookupError("a fault"), StopAsyncIteration()):
        with pytest.raises(type(error)):
            thread.run(fail(error), unwanted=unwanted.append)
    with pytest.raises(BrokerError, match="the broker was closed during the call"):
        thread.run(fail(asyncio.CancelledError()), unwanted=unwanted.append)
    assert unwanted == []


def test_interrupt_of_a_closed_thread_waits_for_nothing(
    thread: BlockingThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None: ...

    result = concurrent.futures.Future.result

    def closed(self: Any, timeout: float | None = None) -> Any:
        monkeypatch.setattr(concurrent.futures.Future, "result", result)
        thread.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(concurrent.futures.Future, "result", closed)
    with pytest.raises(KeyboardInterrupt):
        thread.run(work())


def test_interrupt_of_the_entrance_leaves_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def original() -> AsyncIterator[None]:
        steps.append("entered")
        try:
            yield
        except KeyboardInterrupt:
            steps.append("left")
            raise

    life = BlockingLife(original(), "broker", BrokerError)
    interrupt_waits(monkeypatch, after_result=True)
    with pytest.raises(KeyboardInterrupt):
        life.enter()
    assert steps == ["entered", "left"]
    with pytest.raises(BrokerError, match="is closed"):
        _ = life.thread
