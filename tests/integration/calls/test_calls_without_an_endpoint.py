"""Calls that fail at once for want of an endpoint: the loop turns before each error, so that this may change."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import Address, CircuitOpenError, Client, ClientConfig, Endpoint, NoEndpointError, Server
from fastrpc.config import Backoff, Breaker, Pool
from fastrpc.selectors import RoundRobin
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.who import Who

NOWHERE = "tcp://127.0.0.1:9"

#: The next dial is far away.
PATIENT = ClientConfig(backoff=Backoff(first=30, longest=30))


@fastrpc.service("many")
class Many:
    @fastrpc.method
    async def double(self, number: int) -> int:
        return 2 * number

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])


async def send(client: Client) -> None:
    async with client.open(Many.total) as stream:
        await stream.send(1)


#: The ways to make calls, one after the other.
VERBS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "call": lambda client: client.call(Many.double, 1),
    "request": lambda client: client.request(Many.double, 1),
    "notify": lambda client: client.notify(Many.double, 1),
    "batch": lambda client: client.call_many(Many.double, [(1,)]),
    "received": lambda client: client.stream(Many.count, 3).receive(),
    "sent": send,
    "argument": lambda client: client.call(Many.total, [1]),
    "broadcast": lambda client: client.broadcast(Many.double, 1),
    "fork": lambda client: client.fork(Many.double, 1),
}


async def fails_after_a_turn(made: Awaitable[Any], kind: type[fastrpc.UnavailableError]) -> None:
    """Check that the loop turned before the error of a call."""
    turned: list[bool] = []
    asyncio.get_running_loop().call_soon(turned.append, True)
    with pytest.raises(kind):
        await made
    assert turned == [True]


def none_of(endpoints: Any, _is_sound: Callable[[Endpoint], bool]) -> list[Endpoint]:
    """Leave out all endpoints."""
    return []


@pytest.mark.parametrize("verb", VERBS)
async def test_the_loop_turns_before_a_call_without_an_endpoint_fails(verb: str) -> None:
    async with Client([NOWHERE, "tcp://127.0.0.1:10"], selector=RoundRobin(filters=[none_of])) as client:
        for _ in range(2):
            kind = fastrpc.UnavailableError if verb in ("broadcast", "fork") else NoEndpointError
            await fails_after_a_turn(VERBS[verb](client), kind)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("target", [NOWHERE, [NOWHERE, "tcp://127.0.0.1:10"]], ids=["one", "several"])
async def test_the_loop_turns_before_a_call_that_reaches_no_server_fails(target: Any, verb: str) -> None:
    async with Client(target, config=PATIENT) as client:
        with pytest.raises(fastrpc.UnavailableError):
            await client.call(Many.double, 1)
        made = VERBS[verb](client)
        if verb != "broadcast":
            await fails_after_a_turn(made, fastrpc.UnavailableError)
            return
        assert all(isinstance(error, fastrpc.UnavailableError) for error in (await made).values())


@pytest.mark.parametrize("fail_mode", ["failfast", "failover", "failtry", "failbackup"])
async def test_the_loop_turns_before_a_call_that_a_breaker_holds_fails(fail_mode: str) -> None:
    who = Who("a")
    who.is_failing = True
    config = ClientConfig(pool=Pool(breaker=Breaker(consecutive=1, open_seconds=30)))
    async with (
        served(who, scheme="tcp") as target,
        Client(target, config=config, fail_mode=fail_mode) as client,
    ):
        with pytest.raises(fastrpc.CallError):
            await client.call(Who.name_of)
        await fails_after_a_turn(client.call(Who.name_of), CircuitOpenError)
        await fails_after_a_turn(client.call_many(Who.name_of, [()]), CircuitOpenError)


async def test_a_task_that_calls_again_after_each_error_finds_the_server_that_comes() -> None:
    config = ClientConfig(backoff=Backoff(first=0.01, longest=0.05))
    async with Server(Many()) as former:
        address = await former.listen("tcp://127.0.0.1:0")
    async with Server(Many()) as server, Client(str(address), config=config) as client:
        with pytest.raises(fastrpc.UnavailableError):
            await client.call(Many.double, 1)
        listening = asyncio.ensure_future(server.listen(Address.parse(str(address))))
        until = time.monotonic() + 20
        answer = None
        while answer is None and time.monotonic() < until:
            with contextlib.suppress(fastrpc.UnavailableError):
                answer = await client.call(Many.double, 21)
        assert answer == 42
        await listening


async def test_a_task_that_calls_again_after_each_error_can_be_cancelled() -> None:
    async with Client(NOWHERE, config=PATIENT) as client:
        calls = 0

        async def call_for_ever() -> None:
            nonlocal calls
            until = time.monotonic() + 20
            while time.monotonic() < until:
                calls += 1
                with contextlib.suppress(fastrpc.UnavailableError):
                    await client.call(Many.double, 1)

        calling = asyncio.ensure_future(call_for_ever())
        await eventually(lambda: calls > 10)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
