"""Code of a client in tasks of its calls: streams, batches, calls of all endpoints, hedged calls."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import fastrpc
from fastrpc.failmodes import FailBackup
from tests.support.failing.scenes import Fail, caught, scene

__all__ = ["Sums"]


class Odd:
    """A type of a user, whose functions raise."""


state: dict[str, Fail] = {}


def fail_to_encode(_odd: Odd) -> int:
    state["fail"]()


def fail_to_decode(_number: int) -> Odd:
    state["fail"]()


fastrpc.types.register(Odd, encode=fail_to_encode, decode=fail_to_decode)


@fastrpc.service("sums")
class Sums:
    @fastrpc.method(idempotent=True)
    async def double(self, number: int) -> int:
        return 2 * number

    @fastrpc.method(idempotent=True)
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method
    async def doubles(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield 2 * number

    @fastrpc.method(idempotent=True)
    async def take(self, odd: Odd) -> int:
        return 1

    @fastrpc.method(idempotent=True)
    async def take_slowly(self, odd: Odd) -> AsyncIterator[int]:
        yield 1


class Sources:
    """Iterables of messages that fail behind the first one."""

    def __init__(self, fail: Fail) -> None:
        self.fail = fail

    async def later(self) -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0)
        self.fail()

    async def at_once(self) -> AsyncIterator[int]:
        yield 1
        self.fail()

    def plain(self) -> Iterator[int]:
        yield 1
        self.fail()

    async def closed(self) -> AsyncIterator[int]:
        try:
            for number in range(1_000_000):
                yield number
        finally:
            self.fail()


@asynccontextmanager
async def client_of_two(**options: Any) -> AsyncIterator[fastrpc.Client]:
    """Yield a client of two endpoints."""
    async with fastrpc.Server(Sums) as server:
        addresses = [str(await server.listen("tcp://127.0.0.1:0")) for _ in range(2)]
        async with fastrpc.Client(addresses, **options) as client:
            yield client


async def read(client: fastrpc.Client, method: Callable[..., Any], *arguments: Any) -> list[Any]:
    stream: Any = client.stream(method, *arguments)
    async with stream:
        return [message async for message in stream]


def ways(client: fastrpc.Client) -> dict[str, Callable[[], Any]]:
    """Return calls whose interceptors and fail modes run in tasks of the client."""
    return {
        "stream": lambda: read(client, Sums.count, 3),
        "messages": lambda: read(client, Sums.doubles, [1, 2]),
        "answer": lambda: client.call(Sums.total, [1, 2]),
        "batch": lambda: client.call_many(Sums.double, [(1,), (2,)]),
        "broadcast": lambda: client.broadcast(Sums.double, 1),
        "fork": lambda: client.fork(Sums.double, 1),
    }


async def check_fails(name: str, work: Any) -> None:
    """Check that a caller gets an error; the cause is what its own code raised."""
    error = await caught(work)
    assert error is not None, name
    assert not isinstance(error, TimeoutError), name


async def check_goes_on(client: fastrpc.Client) -> None:
    for name, way in ways(client).items():
        assert await way(), name


@scene
async def interceptors_in_tasks_of_a_client(fail: Fail) -> None:
    where = "before"

    async def watch(call: Any, proceed: Any) -> Any:
        if where == "before":
            fail()
        result = await proceed(call)
        if where == "behind":
            fail()
        return result

    async with client_of_two(interceptors=[watch]) as client:
        for where in ("before", "behind"):
            for name, way in ways(client).items():
                await check_fails(f"{where} {name}", way())
        where = ""
        await check_goes_on(client)


@scene
async def fail_modes_in_tasks_of_a_client(fail: Fail) -> None:
    class Mode:
        is_bad = True

        async def run(self, call: Any, pick: Any, attempt: Any) -> Any:
            if self.is_bad:
                fail()
            return await attempt(pick())

    mode = Mode()
    async with client_of_two(fail_mode=mode) as client:
        await check_fails("stream", read(client, Sums.count, 3))
        await check_fails("broadcast", client.broadcast(Sums.double, 1))
        await check_fails("fork", client.fork(Sums.double, 1))
        mode.is_bad = False
        await check_goes_on(client)


@scene
async def iterables_of_messages(fail: Fail) -> None:
    sources = Sources(fail)
    async with client_of_two() as client:
        for source in (sources.later, sources.at_once, sources.plain):
            for work in (client.call(Sums.total, source()), read(client, Sums.doubles, source())):
                error = await caught(work)
                assert isinstance(error, Exception), (source.__name__, error)
        stream: Any = client.stream(Sums.doubles, sources.closed())
        async with stream:
            assert await stream.receive() == 0
        await check_goes_on(client)


@scene
async def functions_around_messages(fail: Fail) -> None:
    is_bad = True

    def wrap(message: Any) -> Any:
        if is_bad:
            fail()
        return message

    async def watch(call: Any, proceed: Any) -> Any:
        if call.kind != "unary":
            call.wrap_received(wrap)
            call.wrap_sent(wrap)
        return await proceed(call)

    async with client_of_two(interceptors=[watch]) as client:
        for name in ("stream", "messages"):
            await check_fails(name, ways(client)[name]())
        is_bad = False
        await check_goes_on(client)


@scene
async def types_in_hedged_calls(fail: Fail) -> None:
    state["fail"] = fail
    async with client_of_two(fail_mode=FailBackup(delay=60)) as client:
        await check_fails("call", client.call(Sums.take, Odd()))
        await check_fails("stream", read(client, Sums.take_slowly, Odd()))
        await check_goes_on(client)
    state.clear()
