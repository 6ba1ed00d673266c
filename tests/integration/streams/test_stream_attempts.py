"""Attempts of streams: calls that are tried again, the choice of endpoints, records in endpoint set and counters."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, FastRPCError, Status, UnavailableError
from fastrpc.config import Breaker, ClientConfig, Pool
from fastrpc.failmodes import FailFast, FailOver
from tests.support.called_feed import idle
from tests.support.either_client import CLIENTS, either, nowhere, taken
from tests.support.served import served

pytestmark = pytest.mark.one_loop


@fastrpc.service("flaky")
class Flaky:
    """Fails a given number of times, before or after its first message."""

    def __init__(self, failures: int = 1) -> None:
        self.failures = failures
        self.started = 0

    def _fail(self) -> None:
        self.started += 1
        if self.started <= self.failures:
            raise CallError(Status.UNAVAILABLE, "not now", retry_after=0.001)

    @fastrpc.method(idempotent=True)
    async def before(self) -> AsyncIterator[int]:
        self._fail()
        yield 1

    @fastrpc.method(idempotent=True)
    async def behind(self) -> AsyncIterator[int]:
        yield 1
        self._fail()

    @fastrpc.method
    async def once(self) -> AsyncIterator[int]:
        self._fail()
        yield 1

    @fastrpc.method(idempotent=True)
    async def total(self, numbers: AsyncIterator[int]) -> int:
        self._fail()
        return sum([number async for number in numbers])


async def test_an_idempotent_stream_is_tried_again_before_its_first_message() -> None:
    flaky = Flaky(2)
    async with served(flaky) as address, Client(address) as client:
        await client.ready()
        async with client.stream(Flaky.before) as numbers:
            assert [number async for number in numbers] == [1]
            assert numbers.reply.attempts == 3
        assert client.stats()["totals"]["retries"] == 2
    assert flaky.started == 3


async def test_a_stream_is_not_tried_again_after_a_message() -> None:
    flaky = Flaky()
    async with served(flaky) as address, Client(address) as client:
        async with client.stream(Flaky.behind) as numbers:
            assert await numbers.receive() == 1
            with pytest.raises(CallError):
                await numbers.receive()
    assert flaky.started == 1


async def test_a_stream_that_is_not_idempotent_runs_once() -> None:
    flaky = Flaky()
    async with served(flaky) as address, Client(address) as client:
        with pytest.raises(CallError, match="not now"):
            await client.stream(Flaky.once).receive()
        assert flaky.started == 1
        flaky.started = 0
        idempotent = client.with_options(idempotent=True)
        assert await idempotent.stream(Flaky.once).receive() == 1


async def test_a_stream_with_input_is_never_tried_again() -> None:
    flaky = Flaky()
    async with served(flaky) as address, Client(address) as client:
        with pytest.raises(CallError, match="not now"):
            await client.call(Flaky.total, [1, 2])
    assert flaky.started == 1


async def test_a_fail_mode_that_tries_once_is_obeyed() -> None:
    flaky = Flaky()
    async with served(flaky) as address, Client(address, fail_mode=FailFast()) as client:
        with pytest.raises(CallError, match="not now"):
            await client.stream(Flaky.before).receive()
    assert flaky.started == 1


async def test_a_stream_goes_to_another_endpoint_where_the_first_fails() -> None:
    bad, good = Flaky(1_000), Flaky(0)
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(served(each)) for each in (bad, good)]
        client = await stack.enter_async_context(Client(addresses, fail_mode=FailOver(retries=3)))
        for _ in range(4):
            async with client.stream(Flaky.before) as numbers:
                assert [number async for number in numbers] == [1]
                assert str(numbers.reply.endpoint.address) == addresses[1]
    assert good.started == 4
    assert bad.started >= 1


async def test_streams_are_spread_over_endpoints_and_sent_input_too() -> None:
    servers = [Flaky(0), Flaky(0)]
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(served(each)) for each in servers]
        client = await stack.enter_async_context(Client(addresses))
        await client.ready()
        for _ in range(10):
            assert await client.call(Flaky.total, [1, 2]) == 3
            assert await client.stream(Flaky.before).receive() == 1
        await idle(client)
    assert all(each.started for each in servers)


async def test_an_endpoint_can_be_named_for_a_stream() -> None:
    servers = [Flaky(0), Flaky(0)]
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(served(each)) for each in servers]
        client = await stack.enter_async_context(Client(addresses))
        view = client.with_options(endpoint=addresses[1])
        for _ in range(3):
            assert await view.stream(Flaky.before).receive() == 1
            assert await view.call(Flaky.total, [1]) == 1
    assert [each.started for each in servers] == [0, 6]


class _AtOnce:
    """A fail mode of a user's that attempts everywhere at once."""

    needs_loop = True

    async def run(self, call: Any, pick: Any, attempt: Any) -> Any:
        running = [asyncio.ensure_future(attempt(pick())) for _ in range(2)]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)


async def test_the_first_sign_decides_between_concurrent_attempts() -> None:
    servers = [Flaky(0), Flaky(0)]
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(served(each)) for each in servers]
        client = await stack.enter_async_context(Client(addresses, fail_mode=_AtOnce()))
        await client.ready()
        for _ in range(5):
            async with client.stream(Flaky.before) as numbers:
                assert [number async for number in numbers] == [1]
        await idle(client)


class _Content:
    """A fail mode of a program that returns in every case."""

    def __init__(self, attempts: int) -> None:
        self.attempts = attempts

    async def run(self, call: Any, pick: Any, attempt: Any) -> Any:
        for _ in range(self.attempts):
            with suppress(FastRPCError):
                return await attempt(pick())
        return None


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_stream_ends_with_the_last_error_if_a_fail_mode_keeps_it(kind: str, attempts: int) -> None:
    flaky = Flaky(2)
    async with asyncio.timeout(30), either(kind, flaky, fail_mode=_Content(attempts)) as client:
        for _ in range(2):
            with pytest.raises(CallError, match="not now"):
                await client.stream(Flaky.before).receive()
            flaky.started = 0
    async with asyncio.timeout(30), nowhere(kind, fail_mode=_Content(attempts)) as client:
        with pytest.raises(UnavailableError):
            await client.stream(Flaky.before).receive()


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_stream_fails_where_a_fail_mode_makes_no_attempt(kind: str) -> None:
    flaky = Flaky(0)
    async with asyncio.timeout(30), either(kind, flaky, fail_mode=_Content(0)) as client:
        with pytest.raises(
            RuntimeError, match=r"_Content\.run returned for the stream flaky\.before without"
        ):
            await client.stream(Flaky.before).receive()
        assert await client.call(Flaky.total, [1, 2]) == 3
    assert flaky.started == 1


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_attempt_that_succeeds_at_last_is_the_stream(kind: str) -> None:
    flaky = Flaky(1)
    async with asyncio.timeout(30), either(kind, flaky, fail_mode=_Content(2)) as client:
        assert await taken(client.stream(Flaky.before)) == [1]
    assert flaky.started == 2


async def test_a_breaker_hears_of_streams() -> None:
    config = ClientConfig(pool=Pool(breaker=Breaker(consecutive=3)))
    flaky = Flaky(1_000)
    async with served(flaky) as address, Client([address], config=config, fail_mode="failfast") as client:
        errors = []
        for _ in range(20):
            try:
                await client.stream(Flaky.once).receive()
            except UnavailableError as error:
                errors.append(error)
            except CallError:
                pass
    assert errors, "the breaker opened"
