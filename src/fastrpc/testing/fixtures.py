"""Fixtures that pytest loads in every environment with fastrpc."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from fastrpc.testing.fixture_types import ConnectedFixture, Connecting, ServedAddress, ServingFixture
from fastrpc.testing.serving import serving

if TYPE_CHECKING:
    from fastrpc.testing.brokers import SteeredBroker
    from fastrpc.testing.stores import SteeredStore

__all__ = ["fastrpc_broker", "fastrpc_connected", "fastrpc_serving", "fastrpc_store"]


@pytest.fixture
def fastrpc_connected() -> Iterator[ConnectedFixture]:
    """`fastrpc.testing.connected`, which closes by itself at the end of the test.

    ::

        async def test_mul(fastrpc_connected: fastrpc.testing.ConnectedFixture) -> None:
            async with fastrpc_connected(Arith()) as client:
                assert await client.call(Arith.mul, 6, 7) == 42

    `client = await fastrpc_connected(Arith())` works too.
    """
    made: list[Connecting] = []

    def connect(*sources: Any, **options: Any) -> Connecting:
        made.append(Connecting(sources, options))
        return made[-1]

    yield connect
    for one in reversed(made):
        one.close()


@pytest.fixture
def fastrpc_serving() -> Iterator[ServingFixture]:
    """`fastrpc.testing.serving`, which ends by itself at the end of the test.

    ::

        def test_mul(fastrpc_serving: fastrpc.testing.ServingFixture) -> None:
            with fastrpc.SyncClient(fastrpc_serving(Arith())) as client:
                assert client.call(Arith.mul, 6, 7) == 42

    `with fastrpc_serving(Arith()) as address:` works too.
    """
    with ExitStack() as servers:

        def serve(*sources: Any, **options: Any) -> ServedAddress:
            with ExitStack() as stack:
                address = ServedAddress(stack.enter_context(serving(*sources, **options)), stack.pop_all())
            servers.callback(address.close)
            return address

        yield serve


@pytest.fixture
def fastrpc_store() -> "Callable[..., AbstractAsyncContextManager[SteeredStore]]":
    """`fastrpc.testing.store`.

    ::

        async def test_lock(fastrpc_store) -> None:
            async with fastrpc_store() as store, store.lock("jobs") as lock:
                await store.lose(lock)
    """
    # Imported on first use: most tests need no store.
    from fastrpc.testing.stores import store

    return store


@pytest.fixture
def fastrpc_broker() -> "Callable[..., AbstractAsyncContextManager[SteeredBroker]]":
    """`fastrpc.testing.broker`.

    ::

        async def test_bill(fastrpc_broker) -> None:
            async with fastrpc_broker() as broker, fastrpc.testing.connected(Billing(), broker=broker):
                await broker.publish("orders.new", {"id": "17"})
                await broker.settled()
    """
    # Imported on first use: most tests need no broker.
    from fastrpc.testing.brokers import broker

    return broker
