"""The store in memory: items, leases, watches, and what is written out."""

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


async def test_item_is_there_until_it_is_deleted(store: MemoryStore) -> None:
    revision = await store.put("a", "k", b"v")
    item = await store.get("a", "k")
    assert item is not None
    assert (item.key, item.value, item.revision, item.lease) == ("k", b"v", revision, None)
    assert await store.delete("a", "k")
    assert await store.get("a", "k") is None
    assert not await store.delete("a", "k")


async def test_folders_are_apart_and_in_order(store: MemoryStore) -> None:
    for folder, key in (("a", "2"), ("a", "1"), ("b", "3")):
        await store.put(folder, key, b"")
    assert await keys(store) == ["1", "2"]
    assert store.folders() == {"a": 2, "b": 1}


async def test_compare_and_set_writes_what_was_not_changed_meanwhile(store: MemoryStore) -> None:
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


async def test_lease_is_whole_while_all_that_was_written_under_it_is_there(
    store: MemoryStore, clock: FakeClock
) -> None:
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


async def test_watch_yields_what_is_there_and_each_change(store: MemoryStore) -> None:
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


async def test_watch_that_is_given_up_leaves_nothing(store: MemoryStore) -> None:
    waiting = asyncio.ensure_future(anext(store.watch("a", after=0)))
    await asyncio.sleep(0)
    assert store._waiting
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert store._waiting == {}


async def test_folder_that_is_gone_leaves_nothing(store: MemoryStore) -> None:
    await store.put("a", "k", b"")
    await store.delete("a", "k")
    assert store._folders == {}
    assert store._revisions == {}


async def test_revisions_are_not_given_twice(store: MemoryStore) -> None:
    revisions = []
    for _ in range(3):
        await store.put("a", "k", b"")
        revisions.append((await store.list("a")).revision)
        await store.delete("a", "k")
    assert len(set(revisions)) == 3


async def test_dump_is_read_in_by_another_store(store: MemoryStore) -> None:
    lease = await store.lease(10.0)
    await store.put("a", "leased", b"\x00\xff", lease=lease)
    await store.put("b", "stays", b"v")
    clock = FakeClock()
    restored = MemoryStore(clock=clock)
    restored.load(store.dump(), grace_seconds=15.0)
    assert restored.folders() == {"a": 1, "b": 1}
    assert restored.revision > store.revision
    item = await restored.get("a", "leased")
    assert item is not None
    assert item.value == b"\x00\xff"
    # Nobody could renew it while the store was away: it starts anew, and lasts for the grace.
    clock.advance(14.0)
    restored.expire()
    assert await keys(restored) == ["leased"]
    assert await restored.renew(lease)
    clock.advance(10.0)
    restored.expire()
    assert await keys(restored) == []
    assert await keys(restored, "b") == ["stays"]


async def test_lease_whose_item_was_taken_over_lives_on_in_a_dump(store: MemoryStore) -> None:
    first, second = await store.lease(10.0), await store.lease(10.0)
    for lease in (first, second):
        await store.put("a", "k", b"", lease=lease)
    restored = MemoryStore()
    restored.load(store.dump(), grace_seconds=15.0)
    assert await restored.revoke(first)
    assert await keys(restored) == ["k"]
    other = MemoryStore()
    other.load(store.dump(), grace_seconds=15.0)
    assert other.is_whole(first)
    assert await other.revoke(second)
    assert not other.is_whole(first)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"format": 2, "revision": 1, "leases": {}, "items": []}', b"\xff"]
)
def test_what_is_no_dump_is_refused(data: bytes, store: MemoryStore) -> None:
    with pytest.raises(StoreError):
        store.load(data, grace_seconds=1.0)


@pytest.mark.parametrize("most_items", [2, 100])
async def test_dump_that_cannot_be_held_changes_nothing(clock: FakeClock, most_items: int) -> None:
    whole = MemoryStore(clock=clock)
    for key in ("1", "2"):
        await whole.put("a", key, b"", lease=await whole.lease(10.0))
    await whole.put("a", "3", b"")
    data = whole.dump()
    if most_items > 2:
        # The last item ends with a lease that is not in the dump.
        data = data.replace(b",null]", b',"lost"]')
    store = MemoryStore(clock=clock, most_items=most_items)
    await store.put("b", "before", b"", lease=await store.lease(10.0))
    before, waiting = store.dump(), asyncio.ensure_future(anext(store.watch("a", after=0)))
    await asyncio.sleep(0)
    with pytest.raises(StoreError):
        store.load(data, grace_seconds=15.0)
    assert store.dump() == before
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_dump_takes_the_place_of_what_was_held_and_watches_see_it(
    store: MemoryStore, clock: FakeClock
) -> None:
    other = MemoryStore(clock=clock)
    await other.put("a", "new", b"")
    await store.put("a", "old", b"", lease=await store.lease(10.0))
    known = await store.list("a")
    waiting = asyncio.ensure_future(anext(store.watch("a", after=known.revision)))
    await asyncio.sleep(0)
    store.load(other.dump(), grace_seconds=15.0)
    found = await waiting
    assert [item.key for item in found.items] == ["new"]
    assert found.revision > known.revision
    assert store.expire() is None


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
