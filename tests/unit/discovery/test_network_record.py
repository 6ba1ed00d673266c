"""The record of a server on a network that comes, changes and goes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import ConfigError, Endpoint
from fastrpc.discovery import network_record
from fastrpc.discovery.network_record import NetworkRecord
from fastrpc.endpoint import copied
from tests.support.waiting import eventually

ENDPOINT = Endpoint("tls://0.0.0.0:4433", labels={"scope": "lan"}, weight=3)


class Marked:
    is_registered = False

    async def retire(self) -> bool:
        return True


class Listing:
    """A registry that notes its records."""

    def __init__(self) -> None:
        self.present: list[Endpoint] = []
        self.refuses: set[str] = set()

    def register(self, service: str, endpoint: Endpoint) -> Any:
        return self._registered(endpoint)

    @asynccontextmanager
    async def _registered(self, endpoint: Endpoint) -> AsyncIterator[Marked]:
        if endpoint.address.host in self.refuses:
            raise ConfigError(f"{endpoint.address.host} is refused")
        self.present.append(endpoint)
        yield Marked()
        self.present.remove(endpoint)

    @property
    def hosts(self) -> list[str]:
        return [endpoint.address.host for endpoint in self.present]


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of the machine."""
    present: list[str] = []
    monkeypatch.setattr(network_record, "own_hosts", lambda: list(present))
    monkeypatch.setattr(network_record, "_LOOK_SECONDS", 0.001)
    return present


def record(listing: Any) -> NetworkRecord:
    return NetworkRecord(listing, "shop", ENDPOINT)


async def test_a_record_follows_the_address_of_its_machine(hosts: list[str]) -> None:
    listing = Listing()
    async with record(listing):
        assert listing.hosts == []
        for change in (["10.0.0.7"], ["10.0.0.9"], [], ["10.0.0.7"]):
            hosts[:] = change
            await eventually(lambda change=change: listing.hosts == change)
        [endpoint] = listing.present
        assert (endpoint.address.port, endpoint.weight, endpoint.labels["scope"]) == (4433, 3, "lan")
    assert listing.hosts == []


async def test_a_changed_record_is_listed_under_the_present_and_every_later_address(hosts: list[str]) -> None:
    listing = Listing()
    hosts[:] = ["10.0.0.7"]
    async with record(listing) as entered:
        await entered.change(copied(ENDPOINT, weight=0))
        assert [(one.address.host, one.weight) for one in listing.present] == [("10.0.0.7", 0)]
        hosts[:] = []
        await eventually(lambda: listing.hosts == [])
        await entered.change(copied(ENDPOINT, weight=5))
        hosts[:] = ["10.0.0.9"]
        await eventually(lambda: listing.hosts == ["10.0.0.9"])
        assert [(one.address.port, one.weight) for one in listing.present] == [(4433, 5)]
    assert listing.hosts == []


async def test_a_further_network_changes_nothing(hosts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    listing = Listing()
    looks: list[list[str]] = []
    monkeypatch.setattr(network_record, "own_hosts", lambda: looks.append(list(hosts)) or looks[-1])
    hosts[:] = ["10.0.0.7"]
    async with record(listing):
        [before] = listing.present
        hosts[:] = ["172.17.0.1", "10.0.0.7"]
        await eventually(lambda: len(looks) > 5)
        assert listing.present == [before]


async def test_a_record_that_is_refused_fails_its_start_and_is_tried_with_the_next_address(
    hosts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    listing = Listing()
    listing.refuses = {"10.0.0.7"}
    hosts[:] = ["10.0.0.7"]
    with pytest.raises(ConfigError, match=r"10\.0\.0\.7 is refused"):
        async with record(listing):
            pass
    hosts.clear()
    async with record(listing):
        hosts[:] = ["10.0.0.7"]
        await eventually(lambda: "is refused" in caplog.text)
        hosts[:] = ["10.0.0.9"]
        await eventually(lambda: listing.hosts == ["10.0.0.9"])
    assert caplog.text.count("10.0.0.7 is refused") == 1


async def test_the_state_of_a_record_is_the_state_of_the_registry(hosts: list[str]) -> None:
    listing = Listing()
    async with record(listing) as held:
        assert held.is_registered
        assert not await held.retire()
    hosts[:] = ["10.0.0.7"]
    async with record(listing) as held:
        assert not held.is_registered
        assert await held.retire()
        # It stays as it is.
        hosts[:] = ["10.0.0.9"]
        assert listing.hosts == ["10.0.0.7"]
