"""Leases of `deimos://` during writes that are under way, refused, cancelled, or without an answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastrpc import ConfigError, StoreConflictError, StoreError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.deimos.node import DeimosAccess
from fastrpc.stores.deimos import DeimosStore
from fastrpc.stores.remote import KeyPrefix
from tests.support.deimos_vectors import DeimosServer, deimos_server

pytestmark = pytest.mark.one_loop


class Holding:
    """An application that holds back one PUT, does one without an answer, or refuses all of a verb with a 500."""

    def __init__(self) -> None:
        self.is_held = self.is_unanswered = False
        self.received, self.released = asyncio.Event(), asyncio.Event()
        self.lost: str | None = None
        self._app: Any = None

    def __call__(self, app: Any) -> Any:
        self._app = app
        return self._handle

    async def _handle(self, scope: Any, receive: Any, send: Any) -> None:
        if self.lost is not None and scope.get("method") == self.lost:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        if self.is_held and scope.get("method") == "PUT":
            self.is_held = False
            self.received.set()
            await self.released.wait()
        if self.is_unanswered and scope.get("method") == "PUT":
            self.is_unanswered = False

            async def send_nothing(event: Any) -> None:
                if event["type"] == "http.response.start":
                    await send({**event, "status": 500, "headers": []})
                else:
                    await send({**event, "body": b""})

            await self._app(scope, receive, send_nothing)
            return
        await self._app(scope, receive, send)


@pytest.fixture
def holding() -> Holding:
    return Holding()


@pytest.fixture
async def server(holding: Holding) -> AsyncIterator[DeimosServer]:
    async with deimos_server(around=holding) as server:
        yield server


@pytest.fixture
async def store(server: DeimosServer) -> AsyncIterator[DeimosStore]:
    url = RegistryURL(f"deimos://127.0.0.1:{server.address.port}")
    async with DeimosStore(DeimosAccess(url), KeyPrefix(url), clock=server.clock) as store:
        yield store


async def held_put(store: DeimosStore, holding: Holding, key: str, lease: str) -> "asyncio.Task[int]":
    """Return a put whose request has arrived and is held back."""
    holding.is_held = True
    put = asyncio.create_task(store.put(key, b"held", lease=lease))
    await holding.received.wait()
    return put


async def begun(store: DeimosStore, lease: str) -> "asyncio.Task[bool]":
    """Return a renewal that has begun."""
    renewal = asyncio.create_task(store.renew(lease))
    await asyncio.sleep(0)
    return renewal


async def lease_of(store: DeimosStore, key: str) -> str | None:
    item = await store.get(key)
    assert item is not None
    return item.lease


@pytest.mark.parametrize("has_item", [False, True])
async def test_renewal_during_a_write_keeps_the_lease(store: DeimosStore, has_item: bool) -> None:
    lease = await store.lease(10)
    if has_item:
        await store.put("a", b"0", lease=lease)
    _, is_renewed = await asyncio.gather(store.put("a", b"1", lease=lease), store.renew(lease))
    assert is_renewed
    assert await lease_of(store, "a") == lease
    assert await store.renew(lease)


async def test_renewal_waits_for_the_first_write(store: DeimosStore, holding: Holding) -> None:
    lease = await store.lease(10)
    put = await held_put(store, holding, "a", lease)
    renewal = await begun(store, lease)
    holding.released.set()
    assert await renewal
    item = await store.get("a")
    assert item is not None
    assert (item.created, item.lease) == (await put, lease)
    assert item.revision > item.created


async def test_renewal_waits_for_an_item_that_is_made_again(
    store: DeimosStore, server: DeimosServer, holding: Holding
) -> None:
    lease = await store.lease(10)
    await store.put("a", b"0", lease=lease)
    server.advance(9)
    assert await store.renew(lease)
    server.advance(9)
    await server.ask("DELETE", "/keys/a")
    put = await held_put(store, holding, "a", lease)
    renewal = await begun(store, lease)
    holding.released.set()
    assert await put
    assert await renewal
    assert await lease_of(store, "a") == lease


async def test_renewal_of_an_item_does_not_wait_for_a_write(store: DeimosStore, holding: Holding) -> None:
    lease = await store.lease(10)
    await store.put("a", b"0", lease=lease)
    put = await held_put(store, holding, "a", lease)
    assert await store.renew(lease)
    holding.released.set()
    assert await put
    assert await store.renew(lease)
    item = await store.get("a")
    assert item is not None
    assert (item.value, item.lease) == (b"held", lease)


@pytest.mark.parametrize("has_item", [False, True])
async def test_cancelled_write_loses_no_lease(store: DeimosStore, holding: Holding, has_item: bool) -> None:
    lease = await store.lease(10)
    key = f"x/{lease}"
    if has_item:
        await store.put(key, b"0", lease=lease)
    put = await held_put(store, holding, key, lease)
    renewal = await begun(store, lease)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    holding.released.set()
    assert await renewal
    assert await store.renew(lease)


async def test_cancelled_renewal_delays_no_write(store: DeimosStore, holding: Holding) -> None:
    lease = await store.lease(10)
    put = await held_put(store, holding, "a", lease)
    renewal = await begun(store, lease)
    renewal.cancel()
    with pytest.raises(asyncio.CancelledError):
        await renewal
    holding.released.set()
    await put
    await store.put("a", b"1", lease=lease)
    assert await store.renew(lease)


async def test_revocation_waits_for_a_write(store: DeimosStore, holding: Holding) -> None:
    lease = await store.lease(10)
    put = await held_put(store, holding, "a", lease)
    revocation = asyncio.create_task(store.revoke(lease))
    await asyncio.sleep(0)
    holding.released.set()
    assert await revocation
    assert await put
    assert await store.get("a") is None


async def test_first_writes_at_once_give_one_item(store: DeimosStore) -> None:
    lease = await store.lease(10)
    puts = (store.put(key, b"", lease=lease) for key in ("a", "b"))
    outcomes = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(one) for one in outcomes if isinstance(one, Exception)] == [ConfigError]


async def test_refused_write_leaves_the_item_in_its_lease(store: DeimosStore) -> None:
    lease = await store.lease(10)
    revision = await store.put("a", b"1", lease=lease)
    with pytest.raises(StoreConflictError):
        await store.put("a", b"2", expect=revision + 100, lease=lease)
    assert await store.renew(lease)
    item = await store.get("a")
    assert item is not None
    assert (item.value, item.lease) == (b"1", lease)
    assert item.revision > revision


async def test_refused_write_takes_no_item_from_another_lease(store: DeimosStore) -> None:
    first, second = await store.lease(10), await store.lease(10)
    await store.put("a", b"1", lease=first)
    with pytest.raises(StoreConflictError):
        await store.put("a", b"2", expect=0, lease=second)
    assert await lease_of(store, "a") == first
    assert await store.put("b", b"", lease=second)
    assert await store.revoke(first)
    assert await store.get("a") is None


async def test_write_takes_the_item_of_another_lease(store: DeimosStore) -> None:
    first, second = await store.lease(10), await store.lease(10)
    await store.put("a", b"1", lease=first)
    await store.put("a", b"2", lease=second)
    assert await store.revoke(first)
    assert await lease_of(store, "a") == second


async def test_first_write_without_an_answer_loses_no_lease(
    store: DeimosStore, server: DeimosServer, holding: Holding
) -> None:
    lease = await store.lease(10)
    holding.is_unanswered = True
    with pytest.raises(StoreError) as caught:
        await store.put("a", b"1", lease=lease)
    assert caught.value.processed == "unknown"
    assert await store.renew(lease)
    assert await lease_of(store, "a") != lease
    # The item has the time of its write, and the lease continues without it.
    server.advance(9)
    assert await store.renew(lease)
    server.advance(9)
    assert await store.get("a") is None
    await store.put("a", b"2", lease=lease)
    assert await lease_of(store, "a") == lease
    assert await store.revoke(lease)
    assert await store.get("a") is None


async def test_first_write_without_an_answer_takes_no_item_of_another_program(
    store: DeimosStore, server: DeimosServer, holding: Holding
) -> None:
    lease = await store.lease(10)
    holding.lost = "PUT"
    with pytest.raises(StoreError):
        await store.put("a", b"1", lease=lease)
    holding.lost = None
    await server.ask("PUT", "/keys/a", "value=1&ttl=100")
    assert await store.renew(lease)
    assert await store.revoke(lease)
    assert await store.get("a") is not None


@pytest.mark.parametrize("lost", ["GET", "PUT"])
async def test_write_that_did_not_arrive_loses_no_lease(
    store: DeimosStore, holding: Holding, lost: str
) -> None:
    lease = await store.lease(10)
    for _ in range(2):
        holding.lost = lost
        with pytest.raises(StoreError):
            await store.put("a", b"1", lease=lease)
        holding.lost = None
        assert await store.renew(lease)
        await store.put("a", b"0", lease=lease)
    assert await lease_of(store, "a") == lease
