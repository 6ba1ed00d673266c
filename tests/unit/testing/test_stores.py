"""The store for tests, whose time the test moves."""

import asyncio

import pytest

from fastrpc.errors import LockLostError
from fastrpc.testing import FakeClock, SteeredStore, store


async def test_renewed_locks_outlast_the_time_and_other_leases_end() -> None:
    clock = FakeClock()
    async with store(clock) as steered, steered.lock("jobs", ttl=15) as lock:
        lease = await steered.backend.lease(10)
        await steered.backend.put("unattended", b"", lease=lease)
        before = clock()
        await steered.advance(9)
        assert await steered.get("unattended") is not None
        await steered.advance(91)
        assert clock() - before == pytest.approx(100)
        assert lock.is_held
        assert await steered.get("unattended") is None


async def test_lock_that_is_taken_away_is_lost_at_once() -> None:
    async with store() as steered:
        with pytest.raises(LockLostError, match="the test took it away"):
            async with steered.lock("jobs") as lock:
                await steered.lose(lock)
                await asyncio.Event().wait()
        async with steered.lease(5) as lease:
            await steered.put("k", 1, lease=lease)
            with pytest.raises(LockLostError):
                async with steered.lease(5) as other:
                    await steered.lose(other)
                    await asyncio.Event().wait()
            assert await steered.get("k", int) is not None


async def test_fixture_gives_a_store(fastrpc_store: object) -> None:
    assert fastrpc_store is store
    async with store() as one, store() as other:
        await one.put("k", 1)
        assert await other.get("k") is None
        assert isinstance(one, SteeredStore)
