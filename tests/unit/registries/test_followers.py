"""The threads of a registry object with many services."""

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from fastrpc import ConfigError, Endpoint, StoreError
from fastrpc.registries import AddressPolicy
from fastrpc.registries.base.accepting import ListAcceptor
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.backend import Listing
from fastrpc.registries.base.followers import OWN_THREADS, TURN_THREADS
from fastrpc.registries.base.rules import CONFIRM_SECONDS
from fastrpc.registries.base.turns import TURN_SECONDS, TurnPoller
from fastrpc.registries.base.watch import Channel
from fastrpc.testing import FakeClock
from tests.support.fake_registry import away, entries, refused


class Lookup:
    """Has one endpoint at the port that its service names."""

    def __init__(self, backend: "Backend", service: str) -> None:
        self.backend = backend
        self.service = service
        self.woken = threading.Event()
        self.is_closed = False
        self.waits: list[float] = []

    def fetch(self, wait_seconds: float) -> Listing:
        self.waits.append(wait_seconds)
        if wait_seconds:
            self.woken.wait(wait_seconds)
        if self.service in self.backend.away:
            raise away()
        return Listing(self.backend.entries(self.service))

    def close(self) -> None:
        self.is_closed = True
        self.woken.set()


class Backend:
    """A registry of services that are named by ports."""

    def __init__(self) -> None:
        self.lookups: list[Lookup] = []
        self.away: set[str] = set()
        self.emptied: set[str] = set()
        self.is_closed = False

    def entries(self, service: str) -> Any:
        return [] if service in self.emptied else entries(int(service))

    def open_lookup(self, service: str) -> Lookup:
        if service == "invalid":
            raise ConfigError("it cannot be looked up here")
        self.lookups.append(Lookup(self, service))
        return self.lookups[-1]

    def open_lease(self, service: str, endpoint: Endpoint) -> Any:
        raise NotImplementedError

    def list_services(self) -> list[str]:
        return []

    def close(self) -> None:
        self.is_closed = True


class BesideBackend(Backend):
    """Its lookups share connections."""

    def __init__(self) -> None:
        super().__init__()
        self.beside: list[Lookup] = []

    def open_beside(self, service: str, lookup: Lookup) -> Lookup:
        self.beside.append(Lookup(self, service))
        return self.beside[-1]


class SharingBackend(Backend):
    """One lookup covers all services, unless it refuses more than one."""

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__()
        self.shared: list[Shared] = []
        self.refuses = refuses

    def open_shared(self) -> "Shared":
        self.shared.append(Shared(self))
        return self.shared[-1]


class Shared:
    """Tells of each service once."""

    def __init__(self, backend: SharingBackend) -> None:
        self.backend = backend
        self.told: set[str] = set()
        self.followed: frozenset[str] = frozenset()
        self.woken = threading.Event()
        self.is_closed = False

    def follow(self, services: frozenset[str], again: frozenset[str]) -> None:
        self.followed = services
        self.told -= again

    def fetch(self, wait_seconds: float) -> Mapping[str, Listing]:
        if len(self.followed) > 1 and self.backend.refuses:
            raise refused()
        new = self.followed - self.told
        if not new:
            self.woken.wait(wait_seconds)
            self.woken.clear()
        self.told |= new
        return {service: Listing(entries(int(service))) for service in new}

    def wake(self) -> None:
        self.woken.set()

    def close(self) -> None:
        self.is_closed = True
        self.woken.set()


def names(count: int, start: int = 1) -> list[str]:
    return [str(number) for number in range(start, start + count)]


def shown(watch: Any, service: str) -> bool:
    found = watch.wait(20)
    return found is not None and [one.address.port for one in found.endpoints] == [int(service)]


def threads_of(registry: BackedRegistry) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread in registry._followers.threads()]


def test_services_of_a_registry_that_shares_have_one_thread_and_one_lookup() -> None:
    backend = SharingBackend()
    with BackedRegistry(backend, "fake://registry") as registry:
        watches = {service: registry.watch(service) for service in names(100)}
        assert all(shown(watch, service) for service, watch in watches.items())
        [thread] = threads_of(registry)
        assert len(backend.shared) == 1
        for watch in watches.values():
            watch.close()
        thread.join(20)
        assert not thread.is_alive()
        assert backend.shared[0].is_closed
        # The next one begins again.
        with registry.watch("7") as watch:
            assert shown(watch, "7")
    assert not any(lookup.waits for lookup in backend.lookups)
    assert backend.is_closed


def test_a_name_that_cannot_be_looked_up_is_refused_where_one_thread_follows_all() -> None:
    with BackedRegistry(SharingBackend(), "fake://registry") as registry:
        with pytest.raises(ConfigError, match="cannot be looked up"):
            registry.watch("invalid")
        assert registry._followers.threads() == []


def test_services_that_may_not_be_listed_in_one_request_are_requested_one_by_one() -> None:
    backend = SharingBackend(refuses=True)
    with BackedRegistry(backend, "fake://registry") as registry:
        watches = {service: registry.watch(service) for service in names(3)}
        assert all(shown(watch, service) for service, watch in watches.items())
        assert sorted(lookup.service for lookup in backend.lookups if lookup.waits) == names(3)
        later = registry.watch("4")
        assert shown(later, "4")
        assert len(backend.shared) == 1


def test_further_services_are_requested_by_turns_by_a_few_threads() -> None:
    backend = Backend()
    with BackedRegistry(backend, "fake://registry") as registry:
        watches = {service: registry.watch(service) for service in names(OWN_THREADS + 100)}
        assert all(shown(watch, service) for service, watch in watches.items())
        threads = threads_of(registry)
        assert len(threads) == OWN_THREADS + TURN_THREADS
    assert not any(thread.is_alive() for thread in threads)
    assert all(max(lookup.waits) == 0 for lookup in backend.lookups[OWN_THREADS:])


def test_a_thread_that_polls_services_ends_with_its_last_service() -> None:
    with BackedRegistry(Backend(), "fake://registry") as registry:
        held = [registry.watch(service) for service in names(OWN_THREADS)]
        with registry.watch("100") as watch:
            assert shown(watch, "100")
            [thread] = set(threads_of(registry)) - {one.thread for one in registry._followers._own.values()}
        thread.join(20)
        assert not thread.is_alive()
        held[0].close()
        # There is a thread for one more.
        with registry.watch("101") as watch:
            assert shown(watch, "101")
            assert len(registry._followers._own) == OWN_THREADS


def test_a_service_that_cannot_be_looked_up_leaves_no_thread_behind() -> None:
    with BackedRegistry(Backend(), "fake://registry") as registry:
        held = [registry.watch(service) for service in names(OWN_THREADS)]
        with pytest.raises(ConfigError, match="cannot be looked up"):
            registry.watch("invalid")
        assert len(registry._followers.threads()) <= OWN_THREADS + 1
        with registry.watch("50") as watch:
            assert shown(watch, "50")
        assert all(one.latest for one in held)


class Turns:
    """A thread that polls services by turns, driven step by step."""

    def __init__(self, backend: Backend, *services: str) -> None:
        self.clock = FakeClock()
        self.poller = TurnPoller(backend, self.clock)
        self.channels: dict[str, Channel] = {}
        self.acceptors: dict[str, ListAcceptor] = {}
        for service in services:
            self.add(service)

    def add(self, service: str) -> None:
        channel = self.channels[service] = Channel(iter(range(1, 100)))
        acceptor = ListAcceptor(service, channel, policy=AddressPolicy(), cache=None, clock=self.clock)
        self.acceptors[service] = acceptor
        self.poller.add(acceptor)

    def run(self, seconds: float) -> None:
        """Do all steps that are due within some time."""
        until = self.clock() + seconds
        while True:
            pause = self.poller.step()
            if self.clock() + pause > until:
                self.clock.advance(until - self.clock())
                return
            # The smallest differences of instants would be lost in their sum.
            self.clock.advance(max(pause, 1e-6) if pause else 0.0)


def test_each_service_has_its_turn_every_few_seconds() -> None:
    backend = Backend()
    turns = Turns(backend, *names(5))
    turns.run(3.5 * TURN_SECONDS)
    assert [len(lookup.waits) for lookup in backend.lookups] == [4] * 5
    assert all(channel.latest for channel in turns.channels.values())


def test_a_second_look_does_not_wait_for_the_turn() -> None:
    backend = Backend()
    turns = Turns(backend, "1", "2")
    turns.run(0.0)
    backend.emptied.add("1")
    turns.run(TURN_SECONDS)
    assert turns.channels["1"].latest is not None
    assert turns.channels["1"].latest.endpoints
    turns.run(CONFIRM_SECONDS + 0.01)
    assert turns.channels["1"].latest.endpoints == ()
    assert turns.channels["2"].latest is not None
    assert turns.channels["2"].latest.endpoints


def test_a_service_that_cannot_be_reached_delays_no_other() -> None:
    backend = Backend()
    backend.away.add("1")
    turns = Turns(backend, "1", "2")
    turns.run(2.5 * TURN_SECONDS)
    assert isinstance(turns.channels["1"].error, StoreError)
    assert turns.channels["2"].error is None
    assert len(backend.lookups[0].waits) == 3


def test_a_late_end_of_a_polled_service_ends_no_later_follower_of_it() -> None:
    backend = Backend()
    turns = Turns(backend, "1")
    turns.run(0.0)
    before = turns.acceptors["1"]
    turns.add("1")
    turns.poller.drop(before)
    turns.run(1.5 * TURN_SECONDS)
    assert turns.channels["1"].latest is not None
    assert [one.is_closed for one in backend.lookups] == [True, False]


def test_a_service_is_followed_on_when_an_earlier_follower_of_it_ends_late() -> None:
    backend = SharingBackend()
    with BackedRegistry(backend, "fake://registry") as registry:
        watch = registry.watch("1")
        assert shown(watch, "1")
        before = registry._followed.pop("1")
        later = registry.watch("1")
        before.stop()
        assert shown(later, "1")


def test_lookups_of_a_thread_share_a_connection_until_it_ends() -> None:
    backend = BesideBackend()
    turns = Turns(backend, *names(4))
    turns.run(0.0)
    [first] = backend.lookups
    assert len(backend.beside) == 3
    turns.poller.drop(turns.acceptors["1"])
    turns.poller.drop(turns.acceptors["2"])
    turns.run(TURN_SECONDS)
    assert not any(one.is_closed for one in (first, *backend.beside))
    assert [len(lookup.waits) for lookup in backend.beside] == [1, 2, 2]
    turns.poller.stop()
    assert first.is_closed
