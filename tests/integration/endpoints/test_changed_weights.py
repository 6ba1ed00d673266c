"""Calls follow a record whose weight or labels alone change, with every selector and in both clients."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import Endpoint, Server
from fastrpc.registries import StaticRegistry, changes
from fastrpc.selectors import Sticky, closest, labels, zones
from tests.support.either_client import CLIENTS, connected
from tests.support.who import Who

pytestmark = pytest.mark.one_loop

PLACE = fastrpc.Place(zone="a", latitude=1.0, longitude=1.0)

SELECTORS: dict[str, Any] = {
    **dict.fromkeys(
        ["round_robin", "random", "least_loaded", "weighted", "consistent_hash", "jump_hash"], None
    ),
    "sticky": lambda: Sticky(),
    "zones": lambda: fastrpc.selectors.RoundRobin(filters=[zones(place=PLACE)]),
    "closest": lambda: fastrpc.selectors.RoundRobin(filters=[closest(2, place=PLACE)]),
}


@asynccontextmanager
async def two_servers(registry: StaticRegistry) -> AsyncIterator[dict[str, Any]]:
    """Serve `a` and `b` in a registry; yield their registrations by name."""
    async with Server(Who("a")) as a, Server(Who("b")) as b:
        found = {}
        for name, server in (("a", a), ("b", b)):
            address = await server.listen("tcp://127.0.0.1:0")
            at = {"latitude": "1", "longitude": "1"}
            found[name] = registry.register("who", Endpoint(address, zone="a", labels=at))
        async with found["a"], found["b"]:
            yield found


async def changed(registration: Any, **fields: Any) -> None:
    """Change the record of a registration."""
    await registration.change(fastrpc.endpoint.copied(registration.endpoint, **fields))


async def answers(client: Any, count: int) -> set[str]:
    """Return the names of the servers that answer calls with many keys."""
    return {await client.with_options(hash_key=f"key-{number}").call(Who.name_of) for number in range(count)}


async def answered_by(client: Any, *names: str) -> None:
    """Make calls until the last 40 of them were answered by exactly these servers."""
    async with asyncio.timeout(30):
        while await answers(client, 40) != set(names):
            pass


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("selector", SELECTORS)
async def test_calls_leave_a_server_of_weight_0_and_return(kind: str, selector: str) -> None:
    registry = StaticRegistry()
    make = SELECTORS[selector]
    async with (
        two_servers(registry) as servers,
        connected(kind, "who", registry=registry, selector=make() if make else selector) as client,
    ):
        await answered_by(client, "a", "b")
        await changed(servers["a"], weight=0)
        await answered_by(client, "b")
        await changed(servers["a"], weight=1)
        if selector == "sticky":
            # Moved keys stay at their new endpoints.
            await changed(servers["b"], weight=0)
            await answered_by(client, "a")
        else:
            await answered_by(client, "a", "b")


@pytest.mark.parametrize("kind", CLIENTS)
async def test_shares_follow_a_weight(kind: str) -> None:
    registry = StaticRegistry()
    async with (
        two_servers(registry) as servers,
        connected(kind, "who", registry=registry, selector="weighted") as client,
    ):
        await answered_by(client, "a", "b")
        await changed(servers["a"], weight=4)
        async with asyncio.timeout(30):
            while [await client.call(Who.name_of) for _ in range(50)].count("a") != 40:
                pass


@pytest.mark.parametrize("kind", CLIENTS)
async def test_filters_follow_a_label(kind: str) -> None:
    registry = StaticRegistry()
    selector = fastrpc.selectors.RoundRobin(filters=[labels(tier="fast")])
    async with two_servers(registry) as servers:
        await changed(servers["a"], labels={"tier": "fast"})
        async with connected(kind, "who", registry=registry, selector=selector) as client:
            await answered_by(client, "a")
            await changed(servers["b"], labels={"tier": "fast"})
            await answered_by(client, "a", "b")
            await changed(servers["a"], labels={})
            await answered_by(client, "b")


async def test_a_changed_weight_is_reported_as_a_change() -> None:
    registry = StaticRegistry()
    endpoint = Endpoint("tcp://127.0.0.1:1")
    async with registry.register("who", endpoint) as registration:
        told = changes(registry, "who")
        assert (await anext(told)).kind == "added"
        await changed(registration, weight=0)
        change = await anext(told)
        assert (change.kind, change.endpoint.weight) == ("changed", 0)
        await told.aclose()
