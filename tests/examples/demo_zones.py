"""Three servers in two zones, and a canary: all called through one `fastrpc.Services`.

`fastrpc run demo_zones:stable --zone west` serves the stable version, `demo_zones:canary` the next one.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

from demo_process import Process, check, say

import fastrpc
from fastrpc.selectors import Canary, RoundRobin, version, zones

__all__ = ["canary", "show_zones", "stable"]

#: The zone of the demonstration itself.
HERE = fastrpc.Place(zone="west")

CALLERS = 8


@fastrpc.service("shop.stock")
class Stock:
    @fastrpc.method(idempotent=True)
    async def count(self, item: str) -> int:
        return len(item)


@fastrpc.service("shop.prices", version="1")
class Prices:
    @fastrpc.method(idempotent=True)
    async def price(self, item: str) -> int:
        return 1


@fastrpc.service("shop.prices", version="2")
class NextPrices:
    @fastrpc.method(idempotent=True)
    async def price(self, item: str) -> int:
        return 2


stable = fastrpc.App([Stock, Prices])
canary = fastrpc.App([Stock, NextPrices])


class Zoned:
    """The servers by address; each can be killed and started again."""

    def __init__(self, registry: str) -> None:
        self._registry = registry
        self._running: dict[str, Process] = {}

    def start(self, program: str, zone: str, address: str = "tcp://127.0.0.1:0") -> str:
        """Start a server; returns its address once it is registered."""
        process = Process(
            "run", f"demo_zones:{program}", "--zone", zone, "--address", address, "--registry", self._registry
        )
        where = process.wait_started("addresses")
        self._running[where] = process
        return where

    def kill(self, *addresses: str) -> None:
        """End servers without a goodbye."""
        for address in addresses:
            self._running.pop(address).close()

    def close(self) -> None:
        """End every process."""
        self.kill(*self._running)


def selector() -> Canary:
    """Return the selector of one service: the own zone, and a fifth of the calls for the next version."""
    return Canary(RoundRobin(filters=[zones(place=HERE)]), to=version(">=2"), percent=20)


async def show_zones(registry: str) -> None:
    """Call two services in the own zone, lose that zone, and get it back."""
    say("Three servers in two zones, two services, one client: fastrpc.Services(registry, selector=…)")
    servers = Zoned(registry)
    try:
        east = await asyncio.to_thread(servers.start, "stable", "east")
        west = [await asyncio.to_thread(servers.start, program, "west") for program in ("stable", "canary")]
        async with fastrpc.Services(registry, selector=selector) as services:
            await show_own_zone(services, west)
            await show_canary(services)
            async with calling(services) as places:
                await asyncio.to_thread(servers.kill, *west)
                places.clear()
                await until(lambda: places[east] >= 200)
                check(True, f"the zone west is killed (-9): {places[east]} calls went on in the zone east")
                for program, address in zip(("stable", "canary"), west, strict=True):
                    await asyncio.to_thread(servers.start, program, "west", address)
                await until(lambda: min(places[address] for address in west) >= 100)
                await until(lambda: has_all_calls(places, but=east))
            check(True, "it is back, and has all calls again; none has failed")
            live = services.stats()["live"]
            check(
                live["services"] == 2 and live["connections"] <= 3,
                f"2 services are called by {live['connections']} connections",
            )
    finally:
        servers.close()


async def show_own_zone(services: fastrpc.Services, west: list[str]) -> None:
    """Call until the servers of the own zone are connected, and see that they have all calls."""
    called: set[str] = set()
    while not called.issuperset(west):
        called.add(str((await services.request(Stock.count, "pear")).endpoint))
    replies = [await services.request(Stock.count, "pear") for _ in range(100)]
    places = Counter(str(reply.endpoint) for reply in replies)
    check(set(places) == set(west), "all calls stay in the zone west, that of the client")


async def show_canary(services: fastrpc.Services) -> None:
    """Count the calls that the next version gets."""
    versions = Counter(await services.call_many(Prices.price, [("pear",)]))
    for _ in range(2_000):
        versions[await services.call(Prices.price, "pear")] += 1
    share = versions[2] / versions.total()
    check(0.15 < share < 0.25, f"a canary of 20 %: version 2 has {share:.1%} of {versions.total():,} calls")


@contextlib.asynccontextmanager
async def calling(services: fastrpc.Services) -> AsyncIterator[Counter[str]]:
    """Keep calls running inside the block, none of which may fail; yield the number that each server answered."""
    places: Counter[str] = Counter()
    is_over = False

    async def caller() -> None:
        view = services.with_options(timeout=20)
        while not is_over:
            reply = await view.request(Stock.count, "pear")
            places[str(reply.endpoint)] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())
        try:
            yield places
        finally:
            is_over = True


def has_all_calls(places: Counter[str], but: str) -> bool:
    """Return whether 200 answers in succession came from other servers; a call may be under way there for a while."""
    if places[but]:
        places.clear()
    return places.total() >= 200


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that calls bring about."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)
