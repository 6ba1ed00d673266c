"""How streams end: messages sent before an error arrives, and abandoned waits that end nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    DeadlineExceededError,
    Limits,
    Server,
    ServerConfig,
    Status,
    Timeouts,
    current_call,
    method,
    service,
)
from fastrpc.testing import connected
from tests.support.waiting import eventually

LARGE = 70_000

#: The outcomes of the cleanup of `Ends.tidy`.
TIDIED: list[str] = []


@service("ends")
class Ends:
    @method
    async def coroutine(self, count: int, size: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield bytes(size)
        raise CallError(Status.NOT_FOUND, "no more")

    @method
    def thread(self, count: int, size: int) -> Iterator[bytes]:
        for _ in range(count):
            yield bytes(size)
        raise CallError(Status.NOT_FOUND, "no more")

    @method(inline=True)
    def inline(self, count: int, size: int) -> Iterator[bytes]:
        for _ in range(count):
            yield bytes(size)
        raise CallError(Status.NOT_FOUND, "no more")

    @method
    async def listen(self, messages: AsyncIterator[bytes]) -> AsyncIterator[int]:
        await current_call().draining
        yield 0

    @method
    async def tidy(self) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            try:
                for _ in range(20):
                    await asyncio.sleep(0.01)
                TIDIED.append("done")
            except asyncio.CancelledError:
                TIDIED.append("cut off")
                raise

    @method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])


@pytest.mark.parametrize(
    "handler", [Ends.coroutine, Ends.thread, Ends.inline], ids=["async", "def", "inline"]
)
@pytest.mark.parametrize(("count", "size"), [(1, LARGE), (30, 20_000), (3, 4)])
async def test_messages_before_an_error_arrive(handler: Any, count: int, size: int) -> None:
    async with Server(Ends()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address)) as client:
            for _ in range(10):
                received = 0
                with pytest.raises(CallError, match="no more"):
                    async with client.stream(handler, count, size) as messages:
                        async for _ in messages:
                            received += 1
                assert received == count


@pytest.mark.parametrize(
    "handler", [Ends.coroutine, Ends.thread, Ends.inline], ids=["async", "def", "inline"]
)
@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_message_over_a_limit_is_told_with_its_size(
    handler: Any, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    limits, name = Limits(message_bytes=5_000), handler.__name__
    who = "the client takes" if side == "client" else "the server sends"
    async with Server(Ends(), config=ServerConfig(limits=limits) if side == "server" else None) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        config = ClientConfig(limits=limits) if side == "client" else None
        async with Client(str(address), config=config) as client:
            with pytest.raises(CallError) as refused:
                await client.stream(handler, 1, 6_000).receive()
            assert refused.value.status is Status.RESOURCE_EXHAUSTED
            told = f"a message of ends.{name} has 6003 bytes, {who} at most 5000 (Limits.message_bytes)"
            assert refused.value.message == told
            assert await client.stream(handler, 1, 4_000).receive() == bytes(4_000)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_send_that_was_abandoned_is_no_idle_wait() -> None:
    config = ClientConfig(timeouts=Timeouts(stream_idle=0.3))
    async with Server(Ends()) as server:
        address = await server.listen("memory://ends-idle")
        async with Client(str(address), config=config) as client, client.open(Ends.listen) as stream:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    while True:
                        await stream.send(bytes(10_000))
            await asyncio.sleep(1)
            assert stream.is_open
            await server.drain(0)


async def test_a_server_interceptor_proceeds_once_with_a_stream() -> None:
    async def twice(call: Any, proceed: Any) -> Any:
        await proceed(call)
        return await proceed(call)

    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    async with connected(Ends, interceptors=[twice]) as client:
        with pytest.raises(CallError) as refused:
            await client.call(Ends.total, numbers())
        assert refused.value.status is Status.INTERNAL


@pytest.mark.parametrize("way", ["deadline", "left, then closed"])
async def test_cleanup_of_a_cancelled_handler_is_not_cut_off(way: str) -> None:
    TIDIED.clear()
    async with Server(Ends()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address)) as client:
            view = client.with_options(timeout=0.5 if way == "deadline" else None)
            with contextlib.suppress(DeadlineExceededError):
                async with view.stream(Ends.tidy) as numbers:
                    assert await numbers.receive() == 1
                    if way == "deadline":
                        await numbers.receive()
            if way == "deadline":
                # The connection lives on: the CANCEL for the deadline comes after the server's own timer.
                await eventually(lambda: bool(TIDIED))
        await eventually(lambda: bool(TIDIED))
    assert TIDIED == ["done"]


@pytest.mark.parametrize(
    "handler", [Ends.coroutine, Ends.thread, Ends.inline], ids=["async", "def", "inline"]
)
async def test_a_server_interceptor_that_tries_a_stream_again_doubles_no_messages(handler: Any) -> None:
    async def again(call: Any, proceed: Any) -> Any:
        try:
            return await proceed(call)
        except CallError:
            return await proceed(call)

    received = []
    async with connected(Ends, interceptors=[again]) as client:
        with pytest.raises(CallError) as refused:
            async with client.stream(handler, 3, 4) as messages:
                async for message in messages:
                    received.append(message)
    assert refused.value.status is Status.INTERNAL
    assert received == [bytes(4)] * 3
