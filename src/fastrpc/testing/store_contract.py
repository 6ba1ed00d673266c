"""The tests that every store must pass, to run with your own store. They need pytest with asynchronous tests.

::

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self):
            async with MyStore() as store:
                yield store
"""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from fastrpc.errors import ConfigError, StoreConflictError, StoreError
from fastrpc.status import Status
from fastrpc.stores.base import Deletion, Item, ItemChange, StoreBackend, Unchanged, Write

__all__ = ["StoreContract"]


class StoreContract:
    """The tests. A subclass has the fixture `store`: an entered `StoreBackend` without items."""

    async def pass_time(self, store: StoreBackend, seconds: float) -> None:
        """Let leases age. Override it if the store has a test clock to move."""
        await asyncio.sleep(seconds)

    async def test_item_knows_its_revisions(self, store: StoreBackend) -> None:
        created = await store.put("a/k", "\0é".encode() if store.limits.is_text else b"\x00\xff")
        revision = await store.put("a/k", b"2")
        assert 0 < created < revision
        assert await store.get("a/k") == Item("a/k", b"2", revision, None, created)
        assert await store.get("a/k", stale=True) is not None
        assert await store.delete("a/k")
        assert not await store.delete("a/k")
        assert await store.get("a/k") is None
        again = await store.put("a/k", b"3")
        item = await store.get("a/k")
        assert item is not None
        assert item.created == again > revision

    async def test_put_and_delete_require_the_expected_revision(self, store: StoreBackend) -> None:
        revision = await store.put("k", b"1", expect=0)
        for attempt in (store.put("k", b"2", expect=0), store.delete("k", expect=revision + 1)):
            with pytest.raises(StoreConflictError) as caught:
                await attempt
            assert caught.value.item == await store.get("k")
            assert (caught.value.status, caught.value.processed) == (Status.ABORTED, "no")
        revision = await store.put("k", b"3", expect=revision)
        assert await store.delete("k", expect=revision)
        with pytest.raises(StoreConflictError) as caught:
            await store.put("k", b"4", expect=revision)
        assert caught.value.item is None

    async def test_list_has_pages_in_the_order_of_keys(self, store: StoreBackend) -> None:
        keys = ["a/1", "b", "b/1", "b/2", "b/3", "bb/1"]
        if store.limits.is_tree:
            keys.remove("b")
        for key in reversed(keys):
            revision = await store.put(key, key.encode())
        assert await _keys(store) == keys
        first = await store.list("b/", limit=2)
        assert [(item.key, item.value) for item in first.items] == [("b/1", b"b/1"), ("b/2", b"b/2")]
        assert first.is_cut
        assert first.revision >= revision
        second = await store.list("b/", limit=2, after="b/2", stale=True)
        assert ([item.key for item in second.items], second.is_cut) == (["b/3"], False)

    async def test_long_values_are_listed_in_pages(self, store: StoreBackend) -> None:
        value = b"x" * store.limits.most_value
        for number in range(6):
            await store.put(f"a/{number}", value)
        found: list[str] = []
        is_cut = True
        while is_cut:
            page = await store.list("a/", after=found[-1] if found else "")
            assert all(item.value == value for item in page.items)
            found += [item.key for item in page.items]
            is_cut = page.is_cut
        assert found == [f"a/{number}" for number in range(6)]

    async def test_transaction_does_all_or_nothing(self, store: StoreBackend) -> None:
        if store.limits.most_keys < 3 or store.limits.most_transaction < 5:
            pytest.skip("this store has no transactions of several keys")
        revision = await store.put("a", b"1")
        steps: list[Write | Deletion] = [Write("a", b"2"), Write("b", b"2"), Deletion("c")]
        failed = await store.transact([Unchanged("a", revision), Unchanged("b", revision)], steps)
        assert not failed.succeeded
        assert [item and item.value for item in failed.items] == [b"1", None]
        assert await _keys(store) == ["a"]
        done = await store.transact([Unchanged("a", revision), Unchanged("b", 0)], steps)
        assert done.succeeded
        assert done.revision > revision
        assert {item.revision for item in (await store.list()).items} == {done.revision}

    async def test_condition_guards_the_change_of_its_key(self, store: StoreBackend) -> None:
        revision = await store.put("a", b"1")
        failed = await store.transact([Unchanged("a", revision + 1)], [Write("a", b"2")])
        assert not failed.succeeded
        assert [item and item.value for item in failed.items] == [b"1"]
        assert (await store.transact([Unchanged("a", revision)], [Write("a", b"2")])).succeeded
        assert not (await store.transact([Unchanged("a", 0)], [Deletion("a")])).succeeded
        item = await store.get("a")
        assert item is not None
        assert item.value == b"2"
        assert (await store.transact([Unchanged("a", item.revision)], [Deletion("a")])).succeeded
        assert (await store.transact([Unchanged("a", 0)], [Write("a", b"3")])).succeeded

    async def test_conditions_alone_tell_the_revision(self, store: StoreBackend) -> None:
        revision = await store.put("a", b"1")
        for expected in (0, revision):
            outcome = await store.transact([Unchanged("a", expected)], [])
            assert outcome.succeeded is (expected > 0)
            assert outcome.revision >= revision

    async def test_watch_yields_the_changes_after_a_revision(self, store: StoreBackend) -> None:
        first = await store.put("a/1", b"1")
        await store.put("b", b"")
        await store.put("a/1", b"2")
        await store.put("a/2", b"2")
        await store.delete("a/1")
        changes = store.watch("a/", after=first)
        found: list[ItemChange] = []
        while not {"a/2": b"2", "a/1": None}.items() <= _latest(found).items():
            found.append(await anext(changes))
        await changes.aclose()
        assert [change.revision for change in found] == sorted(change.revision for change in found)
        assert first < found[0].revision
        if store.limits.every_change:
            assert [change.key for change in found] == ["a/1", "a/2", "a/1"]

    async def test_watch_of_a_key_sees_its_changes_alone(self, store: StoreBackend) -> None:
        first = await store.put("a", b"before")
        changes = store.watch("a", after=first)
        waiting = asyncio.ensure_future(_taken(changes))
        if not store.limits.is_tree:
            await store.put("a/b", b"")
        await store.put("ab", b"")
        revision = await store.put("a", b"now")
        change = await waiting
        assert (change.key, change.revision, change.item and change.item.value) == ("a", revision, b"now")
        await changes.aclose()

    async def test_watch_of_everything_sees_every_key(self, store: StoreBackend) -> None:
        first = await store.put("a", b"")
        changes = store.watch("", after=first)
        keys = ["b", "c/d/e" if store.limits.is_tree else "b/c/d"]
        for key in keys:
            await store.put(key, b"")
        assert [(await anext(changes)).key for _ in range(2)] == keys
        await changes.aclose()

    async def test_items_end_with_their_lease(self, store: StoreBackend) -> None:
        seconds = store.limits.least_lease
        lease = await store.lease(seconds)
        revision = await store.put("a", b"1", lease=lease)
        if store.limits.lease_items is None:
            await store.put("b", b"1", lease=lease)
        await store.put("b", b"2")
        item = await store.get("a")
        assert item is not None
        assert item.lease == lease
        for _ in range(2):
            await self.pass_time(store, seconds * 0.7)
            assert await store.renew(lease)
        assert await _keys(store) == ["a", "b"]
        changes = store.watch("a", after=revision)
        await self.pass_time(store, seconds)
        assert (await anext(changes)).item is None
        await changes.aclose()
        assert await _keys(store) == ["b"]
        assert not await store.renew(lease)
        with pytest.raises(StoreError) as caught:
            await store.put("c", b"", lease=lease)
        assert (caught.value.status, caught.value.processed) == (Status.NOT_FOUND, "no")

    async def test_revoked_lease_ends_at_once(self, store: StoreBackend) -> None:
        lease = await store.lease(max(store.limits.least_lease, 10))
        await store.put("a", b"", lease=lease)
        assert await store.revoke(lease)
        assert await _keys(store) == []
        assert not await store.revoke(lease)
        assert not await store.renew(lease)

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "a/../b", ".", "a\n", "é" * 257, "\ud800"])
    async def test_key_has_printable_words(self, store: StoreBackend, key: str) -> None:
        for attempt in (store.get(key), store.put(key, b""), store.delete(key)):
            with pytest.raises(ConfigError, match="the key"):
                await attempt

    async def test_prefix_ends_in_a_slash(self, store: StoreBackend) -> None:
        with pytest.raises(ConfigError, match="the prefix 'a' does not end in '/'"):
            await store.list("a")

    async def test_longest_key_and_value_are_kept(self, store: StoreBackend) -> None:
        key, most = "é" * 256, store.limits.most_value
        await store.put(key, b"x" * most)
        item = await store.get(key)
        assert item is not None
        assert len(item.value) == most
        with pytest.raises(ConfigError, match=f"{most + 1} bytes, the limit is {most}"):
            await store.put("k", b"x" * (most + 1))

    async def test_transaction_has_bounds(self, store: StoreBackend) -> None:
        most = min(store.limits.most_transaction, store.limits.most_keys)
        writes = [Write(f"a/{number}", b"") for number in range(most + 1)]
        assert (await store.transact([], writes[:most])).succeeded
        with pytest.raises(ConfigError, match=f"{most + 1} (steps|keys), the limit is {most}"):
            await store.transact([], writes)

    async def test_lease_has_bounds(self, store: StoreBackend) -> None:
        least = store.limits.least_lease
        for seconds in (least * 0.99, 0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ConfigError, match="the lease has"):
                await store.lease(seconds)

    async def test_concurrent_calls_each_get_a_revision(self, store: StoreBackend) -> None:
        revisions = await asyncio.gather(*(store.put(f"k/{number}", b"") for number in range(16)))
        assert len(set(revisions)) == 16
        outcomes = await asyncio.gather(
            *(store.put("one", b"", expect=0) for _ in range(8)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes].count(int) == 1
        assert all(isinstance(outcome, int | StoreConflictError) for outcome in outcomes)


async def _keys(store: StoreBackend, prefix: str = "") -> list[str]:
    """Return the keys of a prefix."""
    return [item.key for item in (await store.list(prefix)).items]


def _latest(changes: list[ItemChange]) -> dict[str, bytes | None]:
    """Return the value of each key after some changes."""
    return {change.key: None if change.item is None else change.item.value for change in changes}


async def _taken(changes: AsyncGenerator[ItemChange, None]) -> ItemChange:
    """Return the next change. A coroutine, so that a task can run it."""
    return await anext(changes)
