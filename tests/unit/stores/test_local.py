"""A store of this process, in memory and with a journal of SQLite: the contract, and its own features."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from fastrpc import ConfigError, Status, StoreError
from fastrpc.errors import CompactedError
from fastrpc.stores.base import Deletion, ItemChange, StoreBackend, Unchanged, Write
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal
from fastrpc.testing import FakeClock
from fastrpc.testing.store_contract import StoreContract


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteJournal | None:
    return SqliteJournal(tmp_path / "store") if request.param == "sqlite" else None


@pytest.fixture
async def store(journal: SqliteJournal | None, clock: FakeClock) -> AsyncIterator[LocalStore]:
    async with LocalStore(journal, clock=clock, most_items=100, most_bytes=600_000) as store:
        yield store


class TestContract(StoreContract):
    """Both stores keep the contract."""

    @pytest.fixture
    async def store(self, journal: SqliteJournal | None, clock: FakeClock) -> AsyncIterator[StoreBackend]:
        self.clock = clock
        async with LocalStore(journal, clock=clock) as store:
            yield store

    async def pass_time(self, store: StoreBackend, seconds: float) -> None:
        assert isinstance(store, LocalStore)
        self.clock.advance(seconds)
        store.content.expire()


async def keys(store: LocalStore, prefix: str = "") -> list[str]:
    return [item.key for item in (await store.list(prefix)).items]


async def taken(changes: AsyncGenerator[ItemChange, None], count: int) -> list[tuple[str, int, bytes | None]]:
    """Return the next changes of a watch."""
    found = [await anext(changes) for _ in range(count)]
    return [(change.key, change.revision, change.item and change.item.value) for change in found]


async def test_watch_yields_each_change_after_a_revision(store: LocalStore) -> None:
    first = await store.put("a/1", b"1")
    await store.put("b", b"")
    await store.transact([], [Write("a/1", b"2"), Write("a/2", b"2")])
    await store.delete("a/1")
    changes = store.watch("a/", after=first)
    assert await taken(changes, 3) == [("a/1", 3, b"2"), ("a/2", 3, b"2"), ("a/1", 4, None)]
    await changes.aclose()


async def test_watch_of_a_key_waits_for_its_changes_alone(store: LocalStore) -> None:
    await store.put("a", b"before")
    changes = store.watch("a")
    waiting = asyncio.ensure_future(taken(changes, 1))
    await asyncio.sleep(0)
    await store.put("a/b", b"")
    await store.put("ab", b"")
    assert not waiting.done()
    await store.put("a", b"now")
    assert await waiting == [("a", 4, b"now")]
    await changes.aclose()
    assert not store._history._waiting


async def test_watch_begins_with_its_call(store: LocalStore) -> None:
    changes = store.watch("k")
    revision = await store.put("k", b"1")
    assert (await anext(changes)).revision == revision
    await changes.aclose()


async def test_watch_of_a_quiet_key_outlasts_the_history(store: LocalStore) -> None:
    watching = asyncio.ensure_future(anext(store.watch("quiet/")))
    await asyncio.sleep(0)
    for _ in range(240):
        await store.transact([], [Write(f"busy/{number}", b"") for number in range(50)])
    with pytest.raises(CompactedError):
        await anext(store.watch("quiet/", after=1))
    revision = await store.put("quiet/k", b"1")
    assert (await watching).revision == revision


async def test_watch_refuses_a_revision_that_has_no_history(store: LocalStore) -> None:
    for start in range(0, 12_000, 50):
        await store.transact([], [Write(f"k/{number}", bytes([start % 251])) for number in range(50)])
    latest = (await store.list()).revision
    for after in (1, latest + 1):
        with pytest.raises(CompactedError, match="history") as caught:
            await anext(store.watch("k/", after=after))
        assert 1 < caught.value.oldest <= latest - 10_000 // 50
    changes = store.watch("k/", after=latest - 10_000 // 50)
    assert len(await taken(changes, 10_000)) == 10_000
    await changes.aclose()


async def test_items_end_with_their_lease(store: LocalStore, clock: FakeClock) -> None:
    lease = await store.lease(10.0)
    revision = await store.put("a", b"1", lease=lease)
    await store.put("b", b"1", lease=lease)
    await store.put("b", b"2")
    for _ in range(3):
        clock.advance(9.0)
        assert await store.renew(lease)
        assert store.content.expire() is not None
    assert await keys(store) == ["a", "b"]
    clock.advance(10.0)
    assert not await store.renew(lease)
    with pytest.raises(StoreError, match="there is no lease") as caught:
        await store.put("c", b"", lease=lease)
    assert caught.value.status is Status.NOT_FOUND
    assert store.content.expire() is None
    assert await keys(store) == ["b"]
    changes = store.watch("a", after=revision)
    assert await taken(changes, 1) == [("a", revision + 3, None)]
    await changes.aclose()


async def test_transaction_has_at_most_64_steps(store: LocalStore) -> None:
    absent = [Unchanged(f"a/{number}", 0) for number in range(32)]
    writes = [Write(f"a/{number}", b"") for number in range(33)]
    assert (await store.transact(absent, writes[:32])).succeeded
    with pytest.raises(ConfigError, match="65 steps, the limit is 64"):
        await store.transact(absent, writes)
    with pytest.raises(ConfigError, match="two operations on one key"):
        await store.transact([], [Write("a", b""), Deletion("a")])


@pytest.mark.parametrize("seconds", [0.99, 0.0, -1.0, float("nan"), float("inf")])
async def test_lease_lasts_a_second_or_longer(store: LocalStore, seconds: float) -> None:
    with pytest.raises(ConfigError, match="it must be from 1 s"):
        await store.lease(seconds)


async def test_full_store_refuses_writes_but_no_deletions(store: LocalStore) -> None:
    for number in range(100):
        await store.put(f"k/{number}", b"")
    with pytest.raises(StoreError, match="100 items, the limit is 100") as caught:
        await store.put("more", b"")
    assert (caught.value.status, caught.value.processed) == (Status.RESOURCE_EXHAUSTED, "no")
    await store.delete("k/0")
    for key in ("k/0", "k/1"):
        await store.put(key, b"x" * 256 * 1024)
    with pytest.raises(StoreError, match="the limit is 600000"):
        await store.put("k/2", b"x" * 256 * 1024)
    assert (await store.get("k/2")) is not None


async def test_concurrent_calls_each_get_a_revision(store: LocalStore) -> None:
    revisions = await asyncio.gather(*(store.put(f"k/{number}", b"") for number in range(64)))
    assert sorted(revisions) == list(range(1, 65))
    outcomes = await asyncio.gather(
        *(store.put("lock", b"", expect=0) for _ in range(8)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(int) == 1


async def test_closed_store_ends_its_watches(clock: FakeClock) -> None:
    async with LocalStore(clock=clock) as store:
        waiting = asyncio.ensure_future(anext(store.watch("")))
        await asyncio.sleep(0)
    with pytest.raises(StoreError, match="the store is closed"):
        await waiting
    with pytest.raises(StoreError, match="the store is closed"):
        await store.put("k", b"")
