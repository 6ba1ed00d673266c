"""A registry of the user's own, with no more than the interface asks for."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ConfigError, Endpoint, NoEndpointError, SyncClient
from fastrpc.registries import Registry, Snapshot, Watch
from fastrpc.registries.base.watch import Channel
from fastrpc.testing import serving
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.who import Who

pytestmark = pytest.mark.one_loop


class Shelf:
    """Keeps one list, and gives it by an async generator."""

    def __init__(self, *addresses: str) -> None:
        self.endpoints = [Endpoint(address) for address in addresses]
        self.changed = asyncio.Event()
        self.trouble: Exception | None = None
        self.watches = 0

    @asynccontextmanager
    async def register(self, service: str, endpoint: Endpoint) -> AsyncIterator[None]:
        self.endpoints.append(endpoint)
        try:
            yield
        finally:
            self.endpoints.remove(endpoint)

    async def watch(self, service: str) -> AsyncIterator[Snapshot]:
        self.watches += 1
        version = 0
        try:
            while True:
                if self.trouble is not None:
                    raise self.trouble
                version += 1
                yield Snapshot(version, tuple(self.endpoints))
                await self.changed.wait()
                self.changed.clear()
        finally:
            self.watches -= 1

    def close(self) -> None:
        """Nothing is to be let go of."""

    async def aclose(self) -> None:
        """Nothing is to be let go of."""


@pytest.mark.asyncio
async def test_client_follows_it_and_closes_its_watch() -> None:
    async with served(Who("a"), scheme="tcp") as a, served(Who("b"), scheme="tcp") as b:
        shelf = Shelf(a)
        registry: Registry = shelf
        async with Client("who", registry=registry) as client:
            assert await client.call(Who.once) == "a"
            shelf.endpoints = [Endpoint(b)]
            shelf.changed.set()
            async with asyncio.timeout(20):
                while await client.call(Who.once) != "b":
                    pass
        assert shelf.watches == 0


@pytest.mark.asyncio
async def test_server_registers_at_a_registry_of_the_program() -> None:
    shelf = Shelf()
    async with fastrpc.Server(Who("a"), registry=shelf) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        assert [endpoint.address for endpoint in shelf.endpoints] == [address]
    assert shelf.endpoints == []


@pytest.mark.asyncio
async def test_watch_that_raises_leaves_the_last_list(caplog: pytest.LogCaptureFixture) -> None:
    async with served(Who("a"), scheme="tcp") as a:
        shelf = Shelf(a)
        async with Client("who", registry=shelf) as client:
            await client.call(Who.once)
            shelf.trouble = OSError("the shelf fell over")
            shelf.changed.set()
            await eventually(lambda: "the shelf fell over" in caplog.text)
            assert await client.call(Who.once) == "a"


@pytest.mark.asyncio
async def test_watch_that_raises_at_once_is_why_nobody_is_known() -> None:
    shelf = Shelf()
    shelf.trouble = OSError("the shelf fell over")
    async with Client("who", registry=shelf) as client:
        with pytest.raises(NoEndpointError, match="the shelf fell over"):
            await client.call(Who.once)


@pytest.mark.asyncio
async def test_invalid_watch_is_refused_by_name() -> None:
    class Silent(Shelf):
        def watch(self, service: str) -> None:  # type: ignore[override]
            return None

    client = Client("who", registry=Silent())  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"Silent.watch returned None"):
            await client.call(Who.once)
    with pytest.raises(ConfigError, match=r"Silent.watch returned None"):
        await client.__aenter__()
    await client.close()


@pytest.mark.asyncio
async def test_list_with_an_item_that_is_no_endpoint_is_refused_by_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mistake = "Shelf.watch lists None for 'who', which is not an Endpoint"
    async with served(Who("a"), scheme="tcp") as a, served(Who("b"), scheme="tcp") as b:
        shelf = Shelf()
        shelf.endpoints = [None]  # type: ignore[list-item]
        async with Client("who", registry=shelf) as client:
            with pytest.raises(NoEndpointError, match=f"the endpoints of who are unknown: {mistake}"):
                await client.call(Who.once)
            assert "selector" not in caplog.text
            shelf.endpoints = [Endpoint(a)]
            shelf.changed.set()
            assert await client.with_options(wait_for_ready=True).call(Who.once) == "a"
            caplog.clear()
            shelf.endpoints = [Endpoint(b), None]  # type: ignore[list-item]
            shelf.changed.set()
            await eventually(lambda: f"who: the last list stays: {mistake}" in caplog.text)
            assert await client.call(Who.once) == "a"


@pytest.mark.asyncio
@pytest.mark.parametrize("wrong", [None, 7, iter([Endpoint("tcp://127.0.0.1:1")])])
async def test_snapshot_without_a_list_is_refused_by_name_and_the_watch_goes_on(wrong: Any) -> None:
    class Loose(Shelf):
        async def watch(self, service: str) -> AsyncIterator[Snapshot]:
            yield Snapshot(1, wrong)
            await self.changed.wait()
            yield Snapshot(2, tuple(self.endpoints))
            await asyncio.Event().wait()

    async with served(Who("a"), scheme="tcp") as a:
        shelf = Loose(a)
        async with Client("who", registry=shelf) as client:
            with pytest.raises(
                NoEndpointError, match=r"Loose\.watch lists .* for 'who', which is not a list"
            ):
                await client.call(Who.once)
            shelf.changed.set()
            assert await client.with_options(wait_for_ready=True).call(Who.once) == "a"


def test_blocking_client_refuses_a_list_with_an_item_that_is_no_endpoint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Pile(Shelf):
        def watch(self, service: str) -> Watch:  # type: ignore[override]
            return Watch(channel, lambda: None)

    channel = Channel(itertools.count(1))
    channel.publish([None])  # type: ignore[list-item]
    mistake = "Pile.watch lists None for 'who', which is not an Endpoint"
    with serving(Who("a")) as address, SyncClient("who", registry=Pile()) as client:
        for _ in range(2):
            with pytest.raises(NoEndpointError, match=f"the endpoints of who are unknown: {mistake}"):
                client.call(Who.once)
        channel.publish([Endpoint(address)])
        assert client.call(Who.once) == "a"
        channel.publish([None])  # type: ignore[list-item]
        assert client.call(Who.once) == "a"
    assert caplog.text.count(mistake) == 2


def test_blocking_client_names_the_missing_feature() -> None:
    with (
        SyncClient("who", registry=Shelf()) as client,
        pytest.raises(ConfigError, match=r"Shelf cannot be watched without an event loop.*latest and wait"),
    ):
        client.call(Who.once)
