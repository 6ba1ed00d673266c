"""`stats()["totals"]` of the clients: the counts since the client was made."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Backoff, CallError, Client, ClientConfig, FastRPCError, Limits, Status, SyncClient
from tests.support.served import Served, served

pytestmark = pytest.mark.one_loop

EAGER = ClientConfig(backoff=Backoff(first=0.001, longest=0.001))


@fastrpc.service("count")
class Count:
    def __init__(self) -> None:
        self.failures = 0

    @fastrpc.method(codec="raw")
    async def same(self, payload: bytes) -> bytes:
        return payload

    @fastrpc.method
    async def refuse(self) -> None:
        raise CallError(Status.NOT_FOUND, "nothing there")

    @fastrpc.method(idempotent=True)
    async def lose_twice(self) -> str:
        if self.failures < 2:
            self.failures += 1
            fastrpc.current_call().connection.engine.abort()
        return "third time"

    @fastrpc.method
    async def wait(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
async def target() -> AsyncIterator[Served]:
    async with served(Count, scheme="tcp") as target:
        yield target


def totals(client: Client | SyncClient, *names: str) -> Any:
    found = client.stats()["totals"]
    return [found[name] for name in names]


async def test_a_new_client_did_nothing(target: Served) -> None:
    nothing = {
        "calls": 0,
        "retries": 0,
        "succeeded": 0,
        "failed": {},
        "sent_bytes": 0,
        "received_bytes": 0,
        "connections": 0,
    }
    async with Client(target) as client:
        assert client.stats()["totals"] == nothing
    with SyncClient(target) as blocking:
        assert blocking.stats()["totals"] == nothing


async def test_calls_are_counted_by_how_they_ended_with_their_bytes(target: Served) -> None:
    async with Client(target) as client:
        for _ in range(3):
            await client.call(Count.same, bytes(100))
        await client.notify(Count.same, bytes(10))
        await client.call_many(Count.same, [(bytes(7),), (bytes(8),)])
        with pytest.raises(CallError):
            await client.call(Count.refuse)
        with pytest.raises(fastrpc.DeadlineExceededError):
            await client.with_options(timeout=0.02).call(Count.wait)
        waiting = asyncio.create_task(client.call(Count.wait))
        await asyncio.sleep(0)
        assert totals(client, "calls", "retries", "succeeded") == [9, 0, 6]
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert totals(client, "calls", "succeeded", "connections") == [9, 6, 1]
        assert totals(client, "failed") == [{"NOT_FOUND": 1, "DEADLINE_EXCEEDED": 1, "CANCELLED": 1}]
        # The arguments of the last three are an empty array of one byte each.
        assert totals(client, "sent_bytes", "received_bytes") == [325 + 3, 315]
        # Another view, the same client.
        assert client.with_options(timeout=1).stats()["totals"] == client.stats()["totals"]


async def test_each_attempt_is_counted(target: Served) -> None:
    async with Client(target, config=EAGER) as client:
        assert await client.with_options(wait_for_ready=True).call(Count.lose_twice) == "third time"
        assert totals(client, "calls", "retries", "succeeded", "connections") == [1, 2, 1, 3]
        assert totals(client, "failed") == [{"UNAVAILABLE": 2}]


async def test_calls_that_cannot_be_sent_are_counted_too(target: Served) -> None:
    async with Client("memory://nobody", config=EAGER) as client:
        for unsent in (client.call(Count.wait), client.call_many(Count.wait, [(), ()])):
            with pytest.raises(FastRPCError):
                await unsent
        assert totals(client, "calls", "succeeded", "failed", "connections") == [3, 0, {"UNAVAILABLE": 3}, 0]
    async with Client(target, config=ClientConfig(limits=Limits(message_bytes=4096))) as client:
        await client.ready()
        with pytest.raises(fastrpc.EncodeError):
            await client.call(Count.same, bytes(5000))
        assert totals(client, "calls", "failed") == [1, {"INVALID_ARGUMENT": 1}]


async def test_a_blocking_client_counts_as_well(target: Served) -> None:
    def use() -> None:
        with SyncClient(target, config=EAGER) as client:
            client.call(Count.same, bytes(100))
            client.call_many(Count.same, [(bytes(7),), (bytes(8),)])
            with pytest.raises(CallError):
                client.call(Count.refuse)
            assert client.with_options(wait_for_ready=True).call(Count.lose_twice) == "third time"
            assert totals(client, "calls", "retries", "succeeded", "connections") == [5, 2, 4, 3]
            assert totals(client, "failed") == [{"NOT_FOUND": 1, "UNAVAILABLE": 2}]
            assert totals(client, "sent_bytes") == [115 + 4]
        with SyncClient("memory://nobody", config=EAGER) as client:
            with pytest.raises(FastRPCError):
                client.call(Count.wait)
            with pytest.raises(FastRPCError):
                client.call_many(Count.wait, [(), ()])
            assert totals(client, "calls", "failed", "connections") == [3, {"UNAVAILABLE": 3}, 0]

    await asyncio.to_thread(use)
