"""Calls of a batch that failed are tried again by the rules of all calls."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import Call, CallError, Client, ClientConfig, OverloadedError, Server, Status, SyncClient
from fastrpc.config import Pool, Retries
from fastrpc.testing import connected

pytestmark = pytest.mark.one_loop

#: Two retries in any second, for any number of calls.
TWO_A_SECOND = ClientConfig(pool=Pool(retries=Retries(budget_share=0.0, budget_per_second=2.0)))

CALLS = [(number,) for number in range(12)]


@fastrpc.service("desk")
class Desk:
    """Runs calls as long as it has room."""

    @fastrpc.method(idempotent=True)
    async def double(self, number: int) -> int:
        return 2 * number


@fastrpc.service("front")
class Front:
    """Asks the desk for many at once."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @fastrpc.method(idempotent=True)
    async def ask(self) -> int:
        outcomes = await self._client.call_many(Desk.double, CALLS, return_exceptions=True)
        assert all(isinstance(each, OverloadedError) for each in outcomes)
        if fastrpc.current_call().attempt == 0:
            raise CallError(Status.UNAVAILABLE, "once more", retry_after=0.01)
        return len(outcomes)


class Refusing:
    """A server's interceptor: has no room for some of the attempts, and keeps the numbers of all of them."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.first_accepted = 100
        self.retry_after: float | None = None

    async def __call__(self, call: Call, proceed: Callable[[Call], Awaitable[Any]]) -> Any:
        self.attempts.append(call.attempt)
        if call.attempt < self.first_accepted:
            if self.retry_after is None:
                raise OverloadedError("full")
            raise CallError(Status.RESOURCE_EXHAUSTED, "full", retry_after=self.retry_after)
        return await proceed(call)


@pytest.fixture
def refusing() -> Refusing:
    return Refusing()


@pytest.fixture
async def address(refusing: Refusing) -> AsyncIterator[str]:
    async with Server(Desk(), interceptors=[refusing]) as server:
        yield str(await server.listen("tcp://127.0.0.1:0"))


@pytest.fixture(params=[Client, SyncClient])
async def client(request: pytest.FixtureRequest, address: str) -> AsyncIterator[Client | SyncClient]:
    client = request.param(address, config=TWO_A_SECOND)
    yield client
    if isinstance(client, Client):
        await client.close()
    else:
        await asyncio.to_thread(client.close)


async def connect(client: Client | SyncClient) -> None:
    await (client.ready(5) if isinstance(client, Client) else asyncio.to_thread(client.ready, 5))


async def outcomes_of(client: Client | SyncClient) -> list[Any]:
    if isinstance(client, Client):
        return await client.call_many(Desk.double, CALLS, return_exceptions=True)
    return await asyncio.to_thread(client.call_many, Desk.double, CALLS, return_exceptions=True)


@pytest.mark.parametrize("is_connected", [True, False])
async def test_retries_of_a_batch_take_the_budget_and_have_numbers(
    client: Client | SyncClient, refusing: Refusing, *, is_connected: bool
) -> None:
    if is_connected:
        await connect(client)
    outcomes = await outcomes_of(client)
    assert all(isinstance(each, OverloadedError) and each.processed == "no" for each in outcomes)
    # An early refusal is no attempt: it could be due to limits that the client did not know yet.
    first = len(CALLS) if is_connected else 2 * len(CALLS)
    assert sorted(refusing.attempts)[:first] == [0] * first
    # Two, unless the machine is so slow that their second is over in between.
    assert first + 2 <= len(refusing.attempts) < first + len(CALLS)
    assert 0 not in sorted(refusing.attempts)[first:]
    assert client._state.budget.calls <= len(CALLS)


@pytest.mark.measures
async def test_a_retried_item_keeps_its_place_in_the_batch(address: str, refusing: Refusing) -> None:
    refusing.first_accepted, refusing.retry_after = 1, 0.2
    async with Client(address) as client:
        begun_at = time.monotonic()
        # The budget allows ten a second and a fifth of the calls.
        assert await outcomes_of(client) == [2 * number for (number,) in CALLS]
        # As long as the server asked, and not once for each call.
        assert 0.2 <= time.monotonic() - begun_at < 0.2 * len(CALLS)
        assert refusing.attempts == [0] * len(CALLS) + [1] * len(CALLS)


async def test_fail_mode_without_retries_holds_for_batches(
    client: Client | SyncClient, refusing: Refusing
) -> None:
    await connect(client)
    await outcomes_of(client.with_options(fail_mode="failfast"))
    assert refusing.attempts == [0] * len(CALLS)


async def test_batch_of_a_handler_that_serves_a_retry_is_not_tried_again(
    address: str, refusing: Refusing
) -> None:
    async with Client(address, config=TWO_A_SECOND) as client:
        await client.ready(5)
        async with connected(Front(client)) as front:
            assert await front.call(Front.ask) == len(CALLS)
    # The batch of the first attempt comes with retries, the batch of the second one does not.
    assert refusing.attempts[-len(CALLS) :] == [0] * len(CALLS)
    assert 2 * len(CALLS) + 2 <= len(refusing.attempts) < 3 * len(CALLS)


async def test_calls_of_a_blocking_batch_are_counted_once(address: str, refusing: Refusing) -> None:
    refusing.first_accepted = 0

    async def through(call: Call, proceed: Callable[[Call], Awaitable[Any]]) -> Any:
        return await proceed(call)

    for interceptors in ([], [through]):
        client = SyncClient(address, interceptors=interceptors)
        assert await outcomes_of(client) == [2 * number for (number,) in CALLS]
        assert client._state.budget.calls == len(CALLS)
        await asyncio.to_thread(client.close)
