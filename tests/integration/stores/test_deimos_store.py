"""The store `deimos://` against our own dialect: the contract, and each refusal of its column."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fastrpc import CompactedError, ConfigError, Status, StoreError
from fastrpc.coordination import Delete, Put, absent, open_store, unchanged
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.deimos.node import DeimosAccess
from fastrpc.stores.base import Deletion, StoreBackend, Unchanged, Write
from fastrpc.stores.deimos import DeimosStore, watching
from fastrpc.stores.remote import KeyPrefix
from fastrpc.testing.store_contract import StoreContract
from tests.support.deimos_vectors import DeimosServer, deimos_server

pytestmark = pytest.mark.one_loop


def opened(server: DeimosServer, options: str = "") -> DeimosStore:
    url = RegistryURL(f"deimos://127.0.0.1:{server.address.port}{options}")
    return DeimosStore(DeimosAccess(url), KeyPrefix(url), clock=server.clock)


@pytest.fixture
async def server() -> AsyncIterator[DeimosServer]:
    async with deimos_server() as server:
        yield server


@pytest.fixture
async def store(server: DeimosServer) -> AsyncIterator[DeimosStore]:
    async with opened(server, "?base=shop") as store:
        yield store


class TestContract(StoreContract):
    """It keeps the contract, as far as its column goes."""

    @pytest.fixture
    async def store(self, server: DeimosServer) -> AsyncIterator[StoreBackend]:
        self.server = server
        async with opened(server) as store:
            yield store

    async def pass_time(self, store: StoreBackend, seconds: float) -> None:
        self.server.advance(seconds)


async def test_value_is_text(store: DeimosStore) -> None:
    with pytest.raises(ConfigError, match="'k' is not UTF-8"):
        await store.put("k", b"\xff")


async def test_no_key_lies_below_another_one(store: DeimosStore) -> None:
    await store.put("a", b"")
    with pytest.raises(StoreError, match="Not a directory /shop/a") as caught:
        await store.put("a/b", b"")
    assert (caught.value.status, caught.value.processed) == (Status.FAILED_PRECONDITION, "no")
    assert await store.get("a/b") is None
    assert not await store.delete("a/b")
    await store.put("x/y", b"")
    for expect in (None, 0):
        with pytest.raises(StoreError, match="'x' is a directory"):
            await store.put("x", b"", expect=expect)


async def test_hidden_word_is_refused(store: DeimosStore) -> None:
    for attempt in (store.get("a/_b"), store.put("_a", b""), store.list("_a/")):
        with pytest.raises(ConfigError, match="begins with '_'"):
            await attempt


async def test_transaction_has_one_key(store: DeimosStore) -> None:
    revision = await store.put("a", b"1")
    with pytest.raises(ConfigError, match="changes one key"):
        await store.transact([Unchanged("a", revision)], [Write("b", b"")])
    assert not (await store.transact([Unchanged("a", revision + 1)], [Deletion("a")])).succeeded
    assert (await store.transact([Unchanged("a", revision)], [Deletion("a")])).succeeded
    assert await store.get("a") is None


async def test_typed_transaction_guards_the_change_of_its_key(server: DeimosServer) -> None:
    async with open_store(f"deimos://127.0.0.1:{server.address.port}") as store:
        assert (await store.transact([absent("a")], [Put("a", 1)])).succeeded
        outcome = await store.transact([absent("a")], [Put("a", 2)])
        assert [item and item.value for item in outcome.items] == [b"1"]
        item = await store.get("a", int)
        assert item is not None
        assert (await store.transact([unchanged("a", item.revision)], [Delete("a")])).succeeded
        with pytest.raises(ConfigError, match="2 keys, the limit of this store is 1"):
            await store.transact([absent("a")], [Put("b", 1)])
        with pytest.raises(ConfigError, match="65 steps, the limit is 64"):
            await store.transact([absent("a")] * 65, [])


async def test_lease_has_one_item(store: DeimosStore) -> None:
    lease = await store.lease(2)
    await store.put("a", b"", lease=lease)
    with pytest.raises(ConfigError, match="one at most"):
        await store.put("b", b"", lease=lease)


async def test_every_change_is_refused(server: DeimosServer) -> None:
    async with open_store(f"deimos://127.0.0.1:{server.address.port}") as store:
        with pytest.raises(ConfigError, match="every_change"):
            async with store.watch("a/", every_change=True):
                pass


async def test_renewal_keeps_the_token(store: DeimosStore) -> None:
    lease = await store.lease(2)
    token = await store.put("a", b"", expect=0, lease=lease)
    assert await store.renew(lease)
    item = await store.get("a")
    assert item is not None
    assert (item.created, item.lease) == (token, lease)
    assert item.revision > token


async def test_renewal_that_arrived_unanswered_loses_no_lease(
    store: DeimosStore, server: DeimosServer
) -> None:
    lease = await store.lease(2)
    await store.put("a", b"1", lease=lease)
    await server.ask("PUT", "/keys/shop/a", "value=1&ttl=2&prevExists=true")
    assert await store.renew(lease)
    # One without a time leaves the lease, one after its end is another item.
    await server.ask("PUT", "/keys/shop/a", "value=1&prevExists=true")
    assert await store.renew(lease)
    await store.put("b", b"", lease=lease)
    await server.ask("DELETE", "/keys/shop/b")
    await server.ask("PUT", "/keys/shop/b", "value=&ttl=100")
    assert not await store.renew(lease)


async def test_lease_is_not_taken_away_by_another_holder(store: DeimosStore, server: DeimosServer) -> None:
    lease = await store.lease(2)
    await store.put("a", b"1", lease=lease)
    server.advance(3)
    await server.ask("PUT", "/keys/shop/a", "value=1&ttl=100")
    assert not await store.revoke(lease)
    assert await store.get("a") is not None


async def test_watch_rereads_keys_without_an_event(
    store: DeimosStore, server: DeimosServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory above goes with one event that no watch below it hears."""
    monkeypatch.setattr(watching, "READ_SECONDS", 0.0)
    await store.put("a/b/1", b"")
    changes = store.watch("a/b/", after=await store.put("a/b/2", b""))
    waiting = asyncio.ensure_future(anext(changes))
    # A write of the store waits until the watch has begun, and so knows the keys.
    await store.put("c", b"")
    await server.ask("DELETE", "/keys/shop/a?recursive=true")
    found = [await waiting, await anext(changes)]
    assert [(change.key, change.item) for change in found] == [("a/b/1", None), ("a/b/2", None)]
    await changes.aclose()


async def test_revisions_that_are_not_kept_are_reported(store: DeimosStore) -> None:
    for after in (1, 1000):
        changes = store.watch("a/", after=after)
        with pytest.raises(CompactedError):
            await anext(changes)


async def test_directory_that_went_before_the_watch_is_reported(
    store: DeimosStore, server: DeimosServer
) -> None:
    after = await store.put("a/1", b"")
    await server.ask("DELETE", "/keys/shop/a?recursive=true")
    changes = store.watch("a/", after=after)
    with pytest.raises(CompactedError, match="its keys are unknown"):
        await anext(changes)


async def test_lock_is_exclusive(server: DeimosServer) -> None:
    url = f"deimos://127.0.0.1:{server.address.port}?base=shop"
    async with open_store(url) as store, open_store(url) as other:
        async with store.lock("x", ttl=2, value="first") as lock:
            holder = await other.holder("x")
            assert holder is not None
            assert (holder.value, holder.token) == ("first", lock.token)
        assert await other.holder("x") is None
