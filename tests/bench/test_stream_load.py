"""The load of streams against streams made here, right and wrong ones."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

import pytest

from bench.compare.load import WrongAnswerError
from bench.compare.measurement import LoadOrder
from bench.compare.stream_load import (
    AsyncStreams,
    BlockingStreams,
    drive_blocking_stream,
    drive_stream,
)
from bench.compare.workloads import WORKLOADS


def order_for(workload: str) -> LoadOrder:
    return LoadOrder(
        address="", workload=workload, warm_seconds=0.01, seconds=0.1, server_processes=(os.getpid(),)
    )


class Streams(AsyncStreams):
    """Right streams, whose messages are boxed payloads; `faults` of a long stream make them wrong."""

    def __init__(self, workload: str, fault: str = "", *, is_checked: bool = False) -> None:
        self._payload = WORKLOADS[workload].payload
        self._fault = fault
        # The first stream is the checked one: with a fault in a later one the check passes.
        self._streams_before_fault = 0 if is_checked else 1
        self.left = 0
        self.batches = 0

    def build(self, payload: bytes) -> list[bytes]:
        return [payload]

    def plain(self, message: Any) -> Any:
        return message[0]

    def _takes_fault(self) -> str:
        self._streams_before_fault -= 1
        return self._fault if self._streams_before_fault < 0 else ""

    async def _produce(self, count: int) -> AsyncIterator[list[bytes]]:
        fault = self._takes_fault()
        for number in range(count):
            if number % 10 == 0:
                await asyncio.sleep(0)
            if fault == "late" and number == 0:
                await asyncio.sleep(0.2)  # Longer than the window.
            if fault == "short" and number == 50:
                return
            if fault == "fails" and number == 50:
                raise ConnectionError("cut")
            yield [b"wrong"] if fault == "wrong" and number == 50 else [self._payload]

    @asynccontextmanager
    async def receive(self, count: int) -> AsyncIterator[AsyncIterator[Any]]:
        yield self._produce(count)
        self.left += 1

    @asynccontextmanager
    async def receive_many(self, count: int) -> AsyncIterator[AsyncIterator[Sequence[Any]]]:
        async def batches() -> AsyncIterator[Sequence[Any]]:
            batch = []
            async for message in self._produce(count):
                batch.append(message)
                if len(batch) == 10:
                    self.batches += 1
                    yield batch
                    batch = []

        yield batches()
        self.left += 1

    async def send(self, messages: AsyncIterator[Any]) -> int:
        size, fault = 0, self._takes_fault()
        async for message in messages:
            await asyncio.sleep(0)
            size += len(self.plain(message))
            if fault == "short" and size >= 50 * len(self._payload):
                break
            if fault == "fails":
                raise ConnectionError("cut")
        return size - 1 if fault == "wrong" else size

    @asynccontextmanager
    async def exchange(self, messages: AsyncIterator[Any]) -> AsyncIterator[AsyncIterator[Any]]:
        async def echoes() -> AsyncIterator[Any]:
            number, fault = 0, self._takes_fault()
            async for message in messages:
                await asyncio.sleep(0)
                number += 1
                if fault == "fails":
                    raise ConnectionError("cut")
                if fault == "short" and number == 50:
                    return
                if fault != "wrong" or number != 50:
                    yield message

        yield echoes()


class InThread(BlockingStreams):
    """The same streams without a loop of the load's own."""

    def __init__(self, workload: str, fault: str = "", *, is_checked: bool = False) -> None:
        self._streams = Streams(workload, fault, is_checked=is_checked)
        self.build, self.plain = self._streams.build, self._streams.plain  # type: ignore[method-assign]

    @property
    def left(self) -> int:
        return self._streams.left

    @contextmanager
    def receive(self, count: int) -> Iterator[Iterator[Any]]:
        with asyncio.Runner() as runner:
            manager = self._streams.receive(count)
            yield _stepped(runner, runner.run(manager.__aenter__()))
            runner.run(manager.__aexit__(None, None, None))

    def send(self, messages: Iterable[Any]) -> int:
        return asyncio.run(self._streams.send(_unstepped(messages)))

    @contextmanager
    def exchange(self, messages: Iterable[Any]) -> Iterator[Iterator[Any]]:
        with asyncio.Runner() as runner:
            manager = self._streams.exchange(_unstepped(messages))
            yield _stepped(runner, runner.run(manager.__aenter__()))

    def send_many(self, batches: Iterator[Sequence[Any]]) -> int:
        return self.send(itertools.chain.from_iterable(batches))

    def exchange_many(self, batches: Iterator[Sequence[Any]]) -> AbstractContextManager[Iterator[Any]]:
        return self.exchange(itertools.chain.from_iterable(batches))


def _stepped(runner: asyncio.Runner, messages: AsyncIterator[Any]) -> Iterator[Any]:
    async def step() -> Any:
        return await anext(messages, None)

    while (message := runner.run(step())) is not None:
        yield message


async def _unstepped(messages: Iterable[Any]) -> AsyncIterator[Any]:
    for message in messages:
        yield message


OPERATIONS = ("server_stream", "server_stream_many", "server_stream_def", "client_stream", "both_ways")
#: One stream for the whole window, and streams of lists one after the other.
BLOCKING_ENDLESS = ("server_stream", "client_stream", "client_stream_many", "both_ways", "both_ways_many")
BLOCKING_LISTS = ("client_stream_list", "both_ways_list")
BLOCKING = BLOCKING_ENDLESS + BLOCKING_LISTS


@pytest.mark.parametrize("workload", OPERATIONS)
async def test_messages_of_one_stream_are_counted(workload: str) -> None:
    measurement = await drive_stream(Streams(workload), order_for(workload))
    assert measurement.calls > 0
    assert measurement.samples == 0
    assert measurement.seconds >= 0.1


async def test_a_window_lasts_until_a_message_has_come() -> None:
    measurement = await drive_stream(Streams("server_stream", "late"), order_for("server_stream"))
    assert measurement.calls > 0
    assert measurement.seconds > 0.1


def test_a_window_in_a_thread_lasts_until_a_message_has_come() -> None:
    measurement = drive_blocking_stream(InThread("server_stream", "late"), order_for("server_stream"))
    assert measurement.calls > 0
    assert measurement.seconds > 0.1


@pytest.mark.parametrize("workload", ["server_stream", "server_stream_many"])
async def test_a_server_stream_is_left_when_the_window_is_over(workload: str) -> None:
    streams = Streams(workload)
    await drive_stream(streams, order_for(workload))
    # The checked one, and the one without an end.
    assert streams.left == 2


async def test_batches_count_all_their_messages() -> None:
    streams = Streams("server_stream_many")
    measurement = await drive_stream(streams, order_for("server_stream_many"))
    assert measurement.calls % 10 == 0
    assert measurement.calls <= streams.batches * 10


@pytest.mark.parametrize("workload", OPERATIONS)
@pytest.mark.parametrize("fault", ["wrong", "short"])
async def test_a_wrong_answer_to_the_check_ends_the_load(workload: str, fault: str) -> None:
    with pytest.raises(WrongAnswerError, match=workload):
        await drive_stream(Streams(workload, fault, is_checked=True), order_for(workload))


@pytest.mark.parametrize("workload", OPERATIONS)
async def test_a_stream_that_ends_before_the_window_is_over_ends_the_load(workload: str) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await drive_stream(Streams(workload, "short"), order_for(workload))
    assert caught.group_contains(WrongAnswerError, match="before the window was over")


@pytest.mark.parametrize("workload", OPERATIONS)
async def test_a_failing_stream_ends_the_load(workload: str) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await drive_stream(Streams(workload, "fails"), order_for(workload))
    assert caught.group_contains(ConnectionError, match="cut")


@pytest.mark.parametrize("workload", ["client_stream", "both_ways"])
async def test_a_message_lost_under_load_ends_the_load(workload: str) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await drive_stream(Streams(workload, "wrong"), order_for(workload))
    assert caught.group_contains(WrongAnswerError, match=f"{workload}: expected")


@pytest.mark.parametrize("workload", BLOCKING)
def test_a_thread_counts_the_messages_of_a_blocking_stream(workload: str) -> None:
    measurement = drive_blocking_stream(InThread(workload), order_for(workload))
    assert measurement.calls > 0
    assert measurement.samples == 0


@pytest.mark.parametrize("workload", BLOCKING)
@pytest.mark.parametrize("fault", ["wrong", "short"])
def test_a_wrong_answer_to_the_blocking_check_ends_the_load(workload: str, fault: str) -> None:
    with pytest.raises(WrongAnswerError, match=workload):
        drive_blocking_stream(InThread(workload, fault, is_checked=True), order_for(workload))


@pytest.mark.parametrize("workload", BLOCKING_ENDLESS)
def test_a_blocking_stream_that_ends_early_ends_the_load(workload: str) -> None:
    with pytest.raises(WrongAnswerError, match="before the window was over"):
        drive_blocking_stream(InThread(workload, "short"), order_for(workload))


@pytest.mark.parametrize("workload", BLOCKING_LISTS)
@pytest.mark.parametrize("fault", ["wrong", "short"])
def test_a_list_of_lost_messages_ends_the_load(workload: str, fault: str) -> None:
    with pytest.raises(WrongAnswerError, match=f"{workload}: expected"):
        drive_blocking_stream(InThread(workload, fault), order_for(workload))


@pytest.mark.parametrize("workload", BLOCKING)
def test_a_failing_blocking_stream_ends_the_load(workload: str) -> None:
    with pytest.raises(ConnectionError, match="cut"):
        drive_blocking_stream(InThread(workload, "fails"), order_for(workload))


async def test_the_window_of_a_client_stream_closes_with_its_answer() -> None:
    class Slow(Streams):
        async def send(self, messages: AsyncIterator[Any]) -> int:
            size = await super().send(messages)
            # Buffered bytes take this long: the rate counts them.
            await asyncio.sleep(0.2)
            return size

    measurement = await drive_stream(Slow("client_stream"), order_for("client_stream"))
    assert measurement.seconds >= 0.3
