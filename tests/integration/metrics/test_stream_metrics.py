"""The counters of streams: each is one call, in flight until its end, with the bytes of all its messages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    FastRPCError,
    Server,
    ServerConfig,
    Status,
    SyncClient,
    Timeouts,
)
from fastrpc._core.base.histogram import default_registry
from fastrpc.testing import FaultyTransport
from tests.support.served import served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

SIDES = ("client", "server")


@fastrpc.service("metered")
class Metered:
    @fastrpc.method
    async def numbers(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @fastrpc.method
    def lines(self, limit: int) -> Iterator[int]:
        yield from range(limit)

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method
    async def mirror(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield number

    @fastrpc.method
    async def fail(self, after: int) -> AsyncIterator[int]:
        for number in range(after):
            yield number
        raise CallError(Status.NOT_FOUND, "no more")

    @fastrpc.method
    async def early(self, numbers: AsyncIterator[int]) -> int:
        raise CallError(Status.ABORTED, "enough")

    @fastrpc.method(idempotent=True)
    async def endless(self) -> AsyncIterator[int]:
        number = 0
        while True:
            yield number
            number = (number + 1) % 100
            await asyncio.sleep(0.001)


class Counted:
    """The counts that were added for one method since this was made."""

    def __init__(self, method: str) -> None:
        self._counters = {side: default_registry.counters(f"metered.{method}", side) for side in SIDES}
        self._before = {side: self._read(side) for side in SIDES}

    def _read(self, side: str) -> dict[str, Any]:
        return dict(self._counters[side].snapshot())

    def calls(self, side: str) -> dict[str, int]:
        before = self._before[side]["calls"]
        now = self._read(side)["calls"]
        changed = {status: count - before.get(status, 0) for status, count in now.items()}
        return {status: count for status, count in changed.items() if count}

    def in_flight(self, side: str) -> int:
        return int(self._read(side)["in_flight"] - self._before[side]["in_flight"])

    def in_histogram(self, side: str) -> int:
        def count(snapshot: dict[str, Any]) -> int:
            return sum(number for _, number in snapshot["buckets"])

        return count(self._read(side)) - count(self._before[side])

    def moved(self, side: str) -> tuple[int, int]:
        """Return the bytes that were sent and received."""
        now, before = self._read(side), self._before[side]
        return tuple(now[name] - before[name] for name in ("sent_bytes", "received_bytes"))  # type: ignore[return-value]

    async def ended(self, status: str, *, client: str | None = None) -> None:
        """Check that one call ended on both sides, once."""
        for side, wanted in (("client", client or status), ("server", status)):
            await eventually(lambda side=side: self.in_flight(side) == 0 and self.calls(side))
            assert self.calls(side) == {wanted: 1}, side
            assert self.in_histogram(side) == 1, side


async def of_loop(address: str, use: Callable[[Any], Any]) -> Any:
    """Use a stream of a Client, in the same words as one of a SyncClient."""

    def blocking(loop: asyncio.AbstractEventLoop, client: Client) -> Any:
        return use(_Blocking(client, loop))

    async with Client(address) as client:
        return await asyncio.to_thread(blocking, asyncio.get_running_loop(), client)


async def of_threads(address: str, use: Callable[[Any], Any]) -> Any:
    def blocking() -> Any:
        with SyncClient(address) as client:
            return use(client)

    return await asyncio.to_thread(blocking)


class _Blocking:
    """A client for a thread: it waits there for calls that run on a loop."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop

    def _wait(self, awaitable: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result(20)

    def with_options(self, **options: Any) -> "_Blocking":
        return _Blocking(self._inner.with_options(**options), self._loop)

    def call(self, *arguments: Any) -> Any:
        async def call() -> Any:
            return await self._inner.call(*arguments)

        return self._wait(call())

    def stream(self, *arguments: Any) -> "_Blocking":
        return _Blocking(self._inner.stream(*arguments), self._loop)

    def open(self, *arguments: Any) -> "_Blocking":
        return _Blocking(self._inner.open(*arguments), self._loop)

    def __enter__(self) -> "_Blocking":
        self._wait(self._inner.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._wait(self._inner.__aexit__(*error))

    def __iter__(self) -> Iterator[Any]:
        with contextlib.suppress(fastrpc.StreamEndedError):
            while True:
                yield self._wait(self._inner.receive())

    def receive(self) -> Any:
        return self._wait(self._inner.receive())

    def send(self, message: Any) -> None:
        self._wait(self._inner.send(message))

    def end(self) -> None:
        self._wait(self._inner.end())


every_client = pytest.mark.parametrize("using", [of_loop, of_threads], ids=["Client", "SyncClient"])


@every_client
@pytest.mark.parametrize("name", ["numbers", "lines"])
@pytest.mark.parametrize("by_name", [False, True], ids=["class", "string"])
async def test_server_stream_is_one_call(using: Any, name: str, by_name: bool) -> None:
    method: Any = f"metered.{name}" if by_name else getattr(Metered, name)

    def read(client: Any) -> None:
        with client.stream(method, 100) as numbers:
            assert list(numbers) == list(range(100))

    counted = Counted(name)
    async with served(Metered, scheme="tcp") as target:
        await using(str(target), read)
    await counted.ended("OK")
    # An array of one number there, a hundred messages of a byte back.
    assert counted.moved("client") == (2, 100)
    assert counted.moved("server") == (100, 2)


@every_client
async def test_client_stream_is_one_call(using: Any) -> None:
    def feed(client: Any) -> None:
        assert client.call(Metered.total, list(range(100))) == 4950

    counted = Counted("total")
    async with served(Metered, scheme="tcp") as target:
        await using(str(target), feed)
    await counted.ended("OK")
    assert counted.moved("client") == (1 + 100, 3)
    assert counted.moved("server") == (3, 1 + 100)


@every_client
async def test_bidirectional_stream_is_one_call(using: Any) -> None:
    def talk(client: Any) -> None:
        with client.open(Metered.mirror) as stream:
            for number in range(10):
                stream.send(number)
                assert stream.receive() == number
            stream.end()
            assert list(stream) == []

    counted = Counted("mirror")
    async with served(Metered, scheme="tcp") as target:
        await using(str(target), talk)
    await counted.ended("OK")
    assert counted.moved("client") == (1 + 10, 10)
    assert counted.moved("server") == (10, 1 + 10)


@every_client
@pytest.mark.parametrize("after", [0, 5])
async def test_stream_that_fails_counts_its_status(using: Any, after: int) -> None:
    def read(client: Any) -> None:
        with pytest.raises(CallError, match="no more"):
            with client.stream(Metered.fail, after) as numbers:
                list(numbers)

    counted = Counted("fail")
    async with served(Metered, scheme="tcp") as target:
        await using(str(target), read)
    await counted.ended("NOT_FOUND")
    assert counted.moved("server")[0] == after


@every_client
async def test_early_answer_counts_its_status(using: Any) -> None:
    def feed(client: Any) -> None:
        with client.open(Metered.early) as stream:
            with pytest.raises(CallError, match="enough"):
                stream.receive()

    counted = Counted("early")
    async with served(Metered, scheme="tcp") as target:
        await using(str(target), feed)
    await counted.ended("ABORTED")


@every_client
async def test_stream_is_in_flight_until_its_caller_leaves(using: Any) -> None:
    def look(client: Any) -> None:
        with client.stream(Metered.endless) as numbers:
            numbers.receive()
            assert [counted.in_flight(side) for side in SIDES] == [1, 1]
            assert [counted.calls(side) for side in SIDES] == [{}, {}]

    counted = Counted("endless")
    async with served(Metered, scheme="tcp") as target:
        await using(str(target), look)
        await counted.ended("CANCELLED")


@every_client
async def test_deadline_is_counted_as_deadline_exceeded(using: Any) -> None:
    def read(client: Any) -> None:
        with pytest.raises(fastrpc.DeadlineExceededError):
            with client.with_options(timeout=0.5).stream(Metered.endless) as numbers:
                list(numbers)

    counted = Counted("endless")
    async with served(Metered, scheme="tcp") as target:
        await using(str(target), read)
        await counted.ended("DEADLINE_EXCEEDED")


@every_client
async def test_expired_drain_is_counted_as_unavailable(using: Any) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read(client: Any) -> None:
        with pytest.raises(fastrpc.UnavailableError):
            with client.stream(Metered.endless) as numbers:
                numbers.receive()
                loop.call_soon_threadsafe(started.set)
                list(numbers)

    counted = Counted("endless")
    async with Server(Metered) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        reading = asyncio.create_task(using(address, read))
        await started.wait()
        assert await server.drain(0.05) is False
        await reading
    await counted.ended("UNAVAILABLE")


async def test_lost_connection_is_counted_on_both_sides() -> None:
    counted = Counted("endless")
    async with served(Metered, scheme="tcp") as target:
        with FaultyTransport(delay=0.0, cut_after=None) as faulty:
            async with Client(faulty.address(target)) as client:
                with pytest.raises(fastrpc.ConnectionLostError):
                    async with client.stream(Metered.endless) as numbers:
                        await numbers.receive()
                        faulty.cut()
                        async for _ in numbers:
                            pass
                await counted.ended("CANCELLED", client="UNAVAILABLE")


@every_client
async def test_refused_shape_and_arguments_are_counted_and_move_no_message(using: Any) -> None:
    def misuse(client: Any) -> None:
        with pytest.raises(FastRPCError):
            client.call("metered.numbers", 3)
        with pytest.raises(FastRPCError):
            with client.stream("metered.numbers", "x") as numbers:
                list(numbers)

    counted = Counted("numbers")
    async with served(Metered, scheme="tcp") as target:
        await using(str(target), misuse)
    assert counted.calls("client") == {"INVALID_ARGUMENT": 2}
    assert [counted.in_flight(side) for side in SIDES] == [0, 0]
    assert counted.moved("server")[0] == 0


async def test_idle_limit_of_the_client_is_counted() -> None:
    @fastrpc.service("metered")
    class Silent:
        @fastrpc.method
        async def silent(self) -> AsyncIterator[int]:
            yield 1
            await asyncio.Event().wait()

    counted = Counted("silent")
    config = ClientConfig(timeouts=Timeouts(stream_idle=0.1))
    async with served(Silent, scheme="tcp") as target, Client(target, config=config) as client:
        with pytest.raises(fastrpc.DeadlineExceededError):
            async with client.stream(Silent.silent) as numbers:
                async for _ in numbers:
                    pass
        await counted.ended("DEADLINE_EXCEEDED")


async def test_thousand_streams_are_a_thousand_calls() -> None:
    async def read(client: Client) -> None:
        async with client.stream(Metered.numbers, 3) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]

    counted = Counted("numbers")
    # However long a busy machine takes, no stream waits too long to be started.
    config = ServerConfig(limits=fastrpc.Limits(streams=2_000), admission=fastrpc.Admission(queue_age=60))
    async with served(Metered, scheme="tcp", config=config) as target, Client(target) as client:
        await asyncio.gather(*(read(client) for _ in range(1_000)))
        assert [counted.calls(side) for side in SIDES] == [{"OK": 1_000}, {"OK": 1_000}]
        assert [counted.in_flight(side) for side in SIDES] == [0, 0]
