"""Work of a leader, in virtual time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

import fastrpc
from fastrpc.coordination.locks import LEADERS, Lock, run_as_leader
from fastrpc.errors import LockLostError, Status, StoreError
from fastrpc.stores.local import LocalStore
from tests.support.virtual_time import pass_time

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def store() -> AsyncIterator[LocalStore]:
    async with LocalStore(clock=asyncio.get_running_loop().time) as store:
        yield store


def candidate(store: LocalStore, value: str = "") -> Lock:
    return Lock(store, "shop", folder=LEADERS, value=value, clock=asyncio.get_running_loop().time)


async def test_function_runs_at_each_election_until_it_returns(store: LocalStore) -> None:
    tokens: list[int] = []
    cancelled: list[int] = []

    async def lead(lock: Lock) -> str:
        tokens.append(lock.token)
        if len(tokens) == 3:
            return "done"
        try:
            lock.lease.lose("by the test")
            await pass_time(3_600)
        finally:
            cancelled.append(lock.token)
        return "never"

    assert await run_as_leader(lambda: candidate(store), lead) == "done"
    assert tokens == sorted(set(tokens))
    assert cancelled == tokens[:2]
    await pass_time(16)
    assert (await store.list()).items == ()


async def test_one_of_many_leads_at_a_time(store: LocalStore) -> None:
    leading: list[str] = []

    async def lead(lock: Lock, name: str) -> None:
        assert not leading
        leading.append(name)
        await pass_time(1)
        leading.remove(name)

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(
                run_as_leader(
                    lambda name=name: candidate(store, name), lambda lock, name=name: lead(lock, name)
                )  # type: ignore[misc]
            )


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), LockLostError("another lock"), StoreError("away", retryable=True)]
)
async def test_error_of_the_function_comes_out(store: LocalStore, error: Exception) -> None:
    async def lead(lock: Lock) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await run_as_leader(lambda: candidate(store), lead)
    assert caught.value is error


async def test_candidacy_is_repeated_while_the_store_is_away_and_not_if_it_refuses() -> None:
    class AwayStore(LocalStore):
        errors = (
            StoreError("away", retryable=True),
            StoreError("slow", retryable=True),
            StoreError("no right", status=Status.PERMISSION_DENIED),
        )
        asked = 0

        async def lease(self, seconds: float) -> str:
            self.asked += 1
            raise self.errors[self.asked - 1]

    async def lead(lock: Lock) -> None:
        raise AssertionError("elected without a store")

    async with AwayStore() as store:
        with pytest.raises(StoreError, match="no right"):
            await run_as_leader(lambda: candidate(store), lead)
        assert store.asked == 3


async def test_candidacy_ends_at_the_deadline_of_the_caller(store: LocalStore) -> None:
    async with candidate(store):
        with fastrpc.timeout(1e-9), pytest.raises(StoreError) as caught:
            async with asyncio.timeout(600):
                await run_as_leader(lambda: candidate(store), lambda lock: pass_time(1))
    assert caught.value.status is Status.DEADLINE_EXCEEDED
