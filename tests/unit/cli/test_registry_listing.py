"""What `fastrpc list` asks a registry of many services."""

import asyncio
import itertools

import pytest

from fastrpc.cli import registry_listing
from fastrpc.endpoint import Endpoint
from fastrpc.errors import StoreError
from fastrpc.registries import StaticRegistry
from fastrpc.registries.base.watch import Channel, Watch

WATCHED_AT_ONCE = registry_listing.WATCHED_AT_ONCE


class ManyServices:
    """A registry of services without endpoints.

    Args:
        answers: how many watches get their lists, each a turn of the loop later.
        refuses: the number of the watch that is refused, 0 for no watch.
    """

    def __init__(self, count: int, *, answers: int, refuses: int = 0) -> None:
        self._count = count
        self._answers = answers
        self._refuses = refuses
        self._open = 0
        #: The watches that were ever opened, and the most that were open at the same time.
        self.opened = 0
        self.most = 0

    def __repr__(self) -> str:
        return "ManyServices()"

    def services(self) -> list[str]:
        return [f"s{number}" for number in range(self._count)]

    def watch(self, service: str) -> Watch:
        self._open += 1
        self.opened += 1
        self.most = max(self.most, self._open)
        channel = Channel(itertools.count(1))
        if self.opened == self._refuses:
            raise StoreError("no right to read")
        if self.opened <= self._answers:
            asyncio.get_running_loop().call_soon(channel.publish, [])
        return Watch(channel, self._release)

    def _release(self) -> None:
        self._open -= 1


async def look(registry: ManyServices, *, timeout: float) -> registry_listing.Found:
    wanted = registry_listing._Wanted(service=None, timeout=timeout, overall=False, tls=None)
    return await registry_listing._look(registry, wanted)  # type: ignore[arg-type]


async def test_services_are_looked_up_some_at_a_time() -> None:
    registry = ManyServices(3 * WATCHED_AT_ONCE, answers=3 * WATCHED_AT_ONCE)
    assert await look(registry, timeout=30.0) == {name: [] for name in registry.services()}
    assert registry.most == WATCHED_AT_ONCE


async def test_time_for_all_services_is_limited_as_a_whole() -> None:
    registry = ManyServices(200, answers=0)
    with pytest.raises(StoreError, match=r"^ManyServices\(\) did not answer for 0\.1 s$"):
        await look(registry, timeout=0.1)
    # On a busy machine not even the first ones are all asked in that time.
    assert registry.opened <= WATCHED_AT_ONCE


async def test_the_number_of_services_listed_before_the_timeout_is_named() -> None:
    registry = ManyServices(200, answers=5)
    text = r"^ManyServices\(\) reported the endpoints of 5 of 200 services in 2 s \(--timeout "
    with pytest.raises(StoreError, match=text):
        await look(registry, timeout=2.0)
    # Nothing is asked once the time is over.
    assert registry.opened == WATCHED_AT_ONCE + 5


async def test_no_service_is_asked_after_a_refusal() -> None:
    registry = ManyServices(200, answers=100, refuses=40)
    with pytest.raises(StoreError, match="no right"):
        await look(registry, timeout=30.0)
    opened = registry.opened
    assert opened < 40 + WATCHED_AT_ONCE
    await asyncio.sleep(0)
    assert registry.opened == opened


class TwoScopes(StaticRegistry):
    """A registry whose farther scope answers after the nearer one."""

    members = ("near", "far")

    def watch(self, service: str) -> Watch:
        later = [Endpoint("tcp://127.0.0.1:1"), Endpoint("tcp://127.0.0.1:2")]
        asyncio.get_running_loop().call_later(0.001, self.update, service, later)
        return super().watch(service)


async def test_the_endpoints_of_all_scopes_are_listed() -> None:
    registry = TwoScopes({"shop": [Endpoint("tcp://127.0.0.1:1")]})
    found = await registry_listing.listed(registry, "shop", 30.0)
    assert len(found["shop"]) == 2
