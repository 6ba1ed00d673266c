"""A zone that fails under load, and comes back: no call fails, and all of them return."""

import asyncio

import pytest

from fastrpc import Backoff, Client, ClientConfig, Endpoint, Timeouts
from fastrpc import Place as Site
from fastrpc.selectors import LeastLoaded, RoundRobin, zones
from tests.support.keyed import Place, key_servers
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

QUICK = ClientConfig(backoff=Backoff(first=0.01, longest=0.05), timeouts=Timeouts(connect=20.0, call=40.0))


@pytest.mark.parametrize("make", [RoundRobin, LeastLoaded])
async def test_a_zone_is_lost_and_comes_back_without_a_failed_call(make: type) -> None:
    async with key_servers(6) as servers:
        near, far = servers.targets[:3], servers.targets[3:]
        endpoints = [
            *(Endpoint(each, zone="a") for each in near),
            *(Endpoint(each, zone="b") for each in far),
        ]
        selector = make(filters=[zones(place=Site(zone="a"))])
        async with Client(endpoints, selector=selector, config=QUICK) as client:
            recent: list[str] = []
            stopping = asyncio.Event()

            async def load() -> None:
                while not stopping.is_set():
                    recent.append(await client.call(Place.name_of))
                    await asyncio.sleep(0)

            callers = [asyncio.ensure_future(load()) for _ in range(10)]
            await eventually(lambda: len(recent) > 100)
            assert set(recent) <= set(near)
            for target in near:
                await servers.stop(target)
            recent.clear()
            await eventually(lambda: len(recent) > 100)
            assert set(recent) <= set(far)
            for target in near:
                await servers.start(target)
            await eventually(lambda: set(recent[-200:]) == set(near))
            stopping.set()
            await asyncio.gather(*callers)
