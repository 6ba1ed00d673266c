"""The store in memory: items, leases, watches, and written state."""

import asyncio

import pytest

from fastrpc import Status, StoreError
from fastrpc.stores.memory import MemoryStore
from fastrpc.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock=clock)


async def keys(store: MemoryStore, folder: str = "a") -> list[str]:
    return [item.key for item in (await store.list(folder)).items]


async def test_item_exists_until_it_is_deleted(store: MemoryStore) -> None:
    revision = await store.put("a", "k", b"v")
    item = await store.get("a", "k")
    assert item is not None
    assert (item.key, item.value, item.revision, item.lease) == ("k", b"v", revision, None)
    assert await store.delete("a", "k")
    assert await store.get("a", "k") is None
    assert not await store.delete("a", "k")


async def test_folders_are_separate_and_in_order(store: MemoryStore) -> None:
    for folder, key in (("a", "2"), ("a", "1"), ("b", "3")):
        await store.put(folder, key, b"")
    assert await keys(store) == ["1", "2"]
    assert store.folders() == {"a": 2, "b": 1}


async def test_compare_and_set_writes_an_unchanged_entry(store: MemoryStore) -> None:
    assert await store.compare_and_set("a", "k", b"1", 0)
    assert not await store.compare_and_set("a", "k", b"2", 0)
    item = await store.get("a", "k")
    assert item is not None
    assert await store.compare_and_set("a", "k", b"3", item.revision)
    assert not await store.compare_and_set("a", "k", b"4", item.revision)


async def test_items_end_with_their_lease(store: MemoryStore, clock: FakeClock) -> None:
    lease = await store.lease(10.0)
    await store.put("a", "k", b"", lease=lease)
    await store.put("a", "stays", b"")
    clock.advance(9.0)
    assert store.expire() == pytest.approx(1.0)
    clock.advance(1.0)
    assert store.expire() is None
    assert await keys(store) == ["stays"]


async def test_renewed_lease_lasts(store: MemoryStore, clock: FakeClock) -> None:
    lease = await store.lease(10.0)
    await store.put("a", "k", b"", lease=lease)
    for _ in range(5):
        clock.advance(9.0)
        assert await store.renew(lease)
        store.expire()
    assert await keys(store) == ["k"]


async def test_lease_that_has_ended_cannot_be_renewed_even_before_it_is_swept(
    store: MemoryStore, clock: FakeClock
) -> None:
    lease = await store.lease(10.0)
    clock.advance(10.0)
    assert not await store.renew(lease)
    with pytest.raises(StoreError) as caught:
        await store.put("a", "k", b"", lease=lease)
    assert caught.value.status is Status.NOT_FOUND


async def test_revoking_ends_a_lease_at_once(store: MemoryStore) -> None:
    lease = await store.lease(10.0)
    await store.put("a", "k", b"", lease=lease)
    assert await store.revoke(lease)
    assert await keys(store) == []
    assert not await store.revoke(lease)


async def test_item_that_another_lease_took_over_does_not_end_with_the_first(store: MemoryStore) -> None:
    first, second = await store.lease(10.0), await store.lease(10.0)
    await store.put("a", "k", b"old", lease=first)
    await store.put("a", "k", b"new", lease=second)
    await store.revoke(first)
    item = await store.get("a", "k")
    assert item is not None
    assert item.value == b"new"
    await store.revoke(second)
    assert await keys(store) == []


async def test_lease_is_complete_while_all_of_its_items_exist(store: MemoryStore, clock: FakeClock) -> None:
    first, second = await store.lease(10.0), await store.lease(5.0)
    await store.put("a", "k", b"old", lease=first)
    await store.put("a", "k", b"new", lease=second)
    assert store.is_whole(first)
    clock.advance(5.0)
    store.expire()
    assert not store.is_whole(first)
    assert not store.is_whole(second)
    await store.put("a", "k", b"again", lease=first)
    assert store.is_whole(first)
    clock.advance(5.0)
    assert not store.is_whole(first)


async def test_items_have_a_limit(clock: FakeClock) -> None:
    store = MemoryStore(clock=clock, most_items=2)
    await store.put("a", "1", b"")
    await store.put("b", "2", b"")
    with pytest.raises(StoreError, match="the limit is 2") as caught:
        await store.put("c", "3", b"")
    assert caught.value.status is Status.RESOURCE_EXHAUSTED
    await store.put("a", "1", b"again")
    await store.delete("b", "2")
    await store.put("c", "3", b"")


async def test_watch_yields_the_current_list_and_each_change(store: MemoryStore) -> None:
    changes = store.watch("a")
    assert (await anext(changes)).items == ()
    for expected in (["1"], ["1", "2"]):
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        assert not waiting.done()
        await store.put("a", expected[-1], b"")
        assert [item.key for item in (await waiting).items] == expected


async def test_watch_is_not_woken_by_other_folders(store: MemoryStore) -> None:
    known = await store.list("a")
    waiting = asyncio.ensure_future(anext(store.watch("a", after=known.revision)))
    await store.put("b", "1", b"")
    await asyncio.sleep(0)
    assert not waiting.done()
    await store.put("a", "1", b"")
    assert len((await waiting).items) == 1


async def test_watch_sees_leases_end(store: MemoryStore, clock: FakeClock) -> None:
    await store.put("a", "k", b"", lease=await store.lease(1.0))
    waiting = asyncio.ensure_future(anext(store.watch("a", after=(await store.list("a")).revision)))
    await asyncio.sleep(0)
    clock.advance(1.0)
    store.expire()
    assert (await waiting).items == ()


async def test_abandoned_watch_leaves_no_state(store: MemoryStore) -> None:
    waiting = asyncio.ensure_future(anext(store.watch("a", after=0)))
    await asyncio.sleep(0)
    assert store._waiting
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert store._waiting == {}


async def test_emptied_folder_leaves_no_state(store: MemoryStore) -> None:
    await store.put("a", "k", b"")
    await store.delete("a", "k")
    await store.list("a")
    assert (store._items, store._folders, store._lists, store._revisions) == ({}, {}, {}, {})


async def test_revisions_are_not_given_twice(store: MemoryStore) -> None:
    revisions = []
    for _ in range(3):
        await store.put("a", "k", b"")
        revisions.append((await store.list("a")).revision)
        await store.delete("a", "k")
    assert len(set(revisions)) == 3


def restored(store: MemoryStore, clock: FakeClock) -> MemoryStore:
    """Return another store with the saved state of this one."""
    other = MemoryStore(clock=clock)
    for item in store.save():
        other.restore(item, grace_seconds=15.0)
    return other


async def test_another_store_restores_the_saved_records(store: MemoryStore) -> None:
    lease = await store.lease(10.0)
    await store.put("a", "leased", b"\x00\xff", lease=lease)
    await store.put("b", "stays", b"v")
    clock = FakeClock()
    other = restored(store, clock)
    assert other.folders() == {"a": 1, "b": 1}
    item = await other.get("a", "leased")
    assert item is not None
    assert item.value == b"\x00\xff"
    # Nobody could renew it while the store was away: it starts anew, and lasts for the grace.
    clock.advance(14.0)
    other.expire()
    assert await keys(other) == ["leased"]
    assert await other.renew(lease)
    clock.advance(10.0)
    other.expire()
    assert await keys(other) == []
    assert await keys(other, "b") == ["stays"]


async def test_lease_whose_item_was_taken_over_is_saved_as_well(store: MemoryStore, clock: FakeClock) -> None:
    first, second = await store.lease(10.0), await store.lease(10.0)
    for lease in (first, second):
        await store.put("a", "k", b"", lease=lease)
    other = restored(store, clock)
    assert await other.revoke(first)
    assert await keys(other) == ["k"]
    other = restored(store, clock)
    assert other.is_whole(first)
    assert await other.revoke(second)
    assert not other.is_whole(first)


async def test_saving_continues_while_the_store_changes(store: MemoryStore) -> None:
    leases = [await store.lease(10.0) for _ in range(3)]
    for number, lease in enumerate(leases):
        await store.put("a", str(number), b"before", lease=lease)
    saving = store.save()
    assert next(saving).key == "0"
    revision = store.revision
    await store.put("a", "1", b"after", lease=leases[1])
    await store.put("a", "3", b"after")
    await store.revoke(leases[2])
    # Each item is reported in its old or its new state; the revision shows that there were changes.
    assert [(item.key, item.value) for item in saving] == [("1", b"after")]
    assert store.revision != revision


async def test_released_leases_leave_no_state(store: MemoryStore) -> None:
    for _ in range(5_000):
        lease = await store.lease(3_600.0)
        await store.put("a", "k", b"", lease=lease)
        await store.put("a", "k", b"", lease=lease)
        await store.revoke(lease)
    assert len(store._dues) < 2_000
    assert store._overtaken == set()


async def test_leases_end_in_the_order_of_their_time_for_any_number_of_renewals(
    store: MemoryStore, clock: FakeClock
) -> None:
    leases = [await store.lease(float(seconds)) for seconds in (4, 2, 3)]
    for number, lease in enumerate(leases):
        await store.put("a", str(number), b"", lease=lease)
    clock.advance(1.0)
    assert await store.renew(leases[1])
    clock.advance(1.5)
    store.expire()
    assert await keys(store) == ["0", "1", "2"]
    clock.advance(0.5)
    assert store.expire() == pytest.approx(1.0)
    assert await keys(store) == ["0"]


async def test_bytes_have_a_limit(clock: FakeClock) -> None:
    store = MemoryStore(clock=clock, most_bytes=20)
    await store.put("a", "1", b"x" * 8)
    await store.put("b", "2", b"x" * 8)
    with pytest.raises(StoreError, match="have 20 bytes and this one 2 more, the limit is 20") as caught:
        await store.put("c", "3", b"")
    assert caught.value.status is Status.RESOURCE_EXHAUSTED
    with pytest.raises(StoreError, match="1 more"):
        await store.put("a", "1", b"x" * 9)
    # A refusal changes nothing; a value of the same size, or smaller, is accepted.
    assert await keys(store) == ["1"]
    await store.put("a", "1", b"y" * 8)
    await store.put("a", "1", b"y" * 5)
    await store.put("a", "1", b"y" * 8)
    await store.delete("b", "2")
    await store.put("c", "3", b"x" * 8)


async def test_bytes_are_given_back_with_a_lease(clock: FakeClock) -> None:
    store = MemoryStore(clock=clock, most_bytes=10)
    for _ in range(5):
        lease = await store.lease(1.0)
        await store.put("a", "1", b"x" * 8, lease=lease)
        clock.advance(1.0)
        store.expire()
    assert store._bytes == 0


async def test_list_knows_its_bytes_and_is_made_once_for_each_change(store: MemoryStore) -> None:
    await store.put("a", "1", b"xx")
    await store.put("a", "0", b"x")
    found = await store.list("a")
    assert found.size == 3
    assert await store.list("a") is found
    await store.delete("a", "1")
    assert (await store.list("a")).size == 1


async def test_leases_are_bounded(clock: FakeClock) -> None:
    store = MemoryStore(clock=clock, most_items=2)
    first, _ = await store.lease(10.0), await store.lease(5.0)
    with pytest.raises(StoreError, match="2 leases, the limit is 2") as caught:
        await store.lease(10.0)
    assert caught.value.status is Status.RESOURCE_EXHAUSTED
    clock.advance(6.0)
    store.expire()
    await store.lease(10.0)
    assert await store.renew(first)
