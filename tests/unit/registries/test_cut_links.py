"""A link to the registry that is cut every few seconds, at each way of following lists."""

import itertools
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc import StoreError
from fastrpc.registries import AddressPolicy
from fastrpc.registries.base.accepting import ListAcceptor
from fastrpc.registries.base.backend import Listing
from fastrpc.registries.base.poller import Poller
from fastrpc.registries.base.rules import LOOK_SECONDS, SETTLE_SECONDS
from fastrpc.registries.base.shared import SharedPoller, SingleLookup
from fastrpc.registries.base.turns import TURN_SECONDS, TurnPoller
from fastrpc.registries.base.watch import Channel
from fastrpc.testing import FakeClock
from tests.support.fake_registry import entries

#: Servers of the service at any time.
SERVERS = 5


class CutLink:
    """A registry whose lists are sent over a link that is cut every `period` seconds, and is back `away` later.

    It reports changes by a watch: a query without a change ends with its wait.
    """

    def __init__(self, clock: FakeClock, period: float, away: float = 0.05) -> None:
        self.clock, self._period, self._away = clock, period, away
        self.ports = list(range(1, SERVERS + 1))
        self._numbers = itertools.count(SERVERS + 1)
        self.is_restart = False
        self._told: list[int] | None = None
        self._again = True
        #: What happens at instants, in their order.
        self.events: list[tuple[float, Callable[[], None]]] = []

    def roll(self) -> None:
        """Replace the oldest server."""
        self.ports = [*self.ports[1:], next(self._numbers)]

    def listing(self, wait_seconds: float) -> Listing | None:
        """Return the list, once it has changed; None after the wait."""
        into = self.clock() % self._period
        if into < self._away:
            raise self._lost()
        until = min(self.clock() + wait_seconds, self.clock() - into + self._period)
        while self.events and self.events[0][0] <= until:
            at, event = self.events.pop(0)
            self.clock.advance(max(0.0, at - self.clock()))
            event()
        if not self._again and self._told == self.ports:
            is_cut = self.clock() + wait_seconds >= until < self.clock() + wait_seconds
            self.clock.advance(max(0.0, until - self.clock()))
            if is_cut:
                raise self._lost()
            return None
        self._told, self._again = self.ports, False
        is_restart, self.is_restart = self.is_restart, False
        return Listing(entries(*self.ports), is_restart=is_restart)

    def _lost(self) -> StoreError:
        self._again = True
        return StoreError("the connection is lost")

    # A lookup of many services.

    def follow(self, services: frozenset[str], again: frozenset[str]) -> None:
        self._again = self._again or bool(again)

    def fetch(self, wait_seconds: float) -> Mapping[str, Listing | StoreError]:
        found = self.listing(wait_seconds)
        return {} if found is None else {"arith": found}

    def wake(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


class HeldQueries:
    """A lookup of one service: the registry holds each query until a change or the end of its wait."""

    def __init__(self, link: CutLink) -> None:
        self._link = link

    def fetch(self, wait_seconds: float) -> Listing:
        if wait_seconds <= 0:
            self._link.follow(frozenset(["arith"]), frozenset(["arith"]))
        return self._link.listing(wait_seconds) or Listing(entries(*self._link.ports))

    def close(self) -> None:
        """Nothing is open."""


class Followed:
    """One service that is followed over a link in one of four ways."""

    def __init__(self, way: str, period: float) -> None:
        self.clock = FakeClock()
        self.link = CutLink(self.clock, period)
        self.channel = Channel(itertools.count(1))
        acceptor = ListAcceptor("arith", self.channel, policy=AddressPolicy(), cache=None, clock=self.clock)
        clocks: Any = {
            "clock": self.clock,
            "work_clock": lambda: 0.0,
            "uniform": lambda low, high: (low + high) / 2,
        }
        self._poller: Any
        if way == "shared":
            self._poller = SharedPoller("a registry", self.link, lambda: None, **clocks)
            self._poller.add(acceptor)
        elif way == "in turn":
            backend: Any = SimpleNamespace(open_lookup=lambda service: HeldQueries(self.link))
            self._poller = TurnPoller(backend, clock=self.clock)
            self._poller.add(acceptor)
        else:
            lookup = SingleLookup(self.link, "arith") if way == "single" else HeldQueries(self.link)
            self._poller = Poller(acceptor, lookup, **clocks)

    @property
    def ports(self) -> set[int]:
        assert self.channel.latest is not None
        return {endpoint.address.port for endpoint in self.channel.latest.endpoints}

    def run(self, seconds: float) -> None:
        """Follow the service for so long."""
        until = self.clock() + seconds
        while self.clock() < until:
            self.clock.advance(max(0.001, self._poller.step()))

    def seconds_until(self, condition: Callable[[], bool], most: float) -> float:
        """Follow the service until something holds; return the seconds that took."""
        began = self.clock()
        while not condition():
            assert self.clock() - began < most
            self.run(0.01)
        return self.clock() - began


ways = pytest.mark.parametrize("way", ["shared", "single", "held", "in turn"])
periods = pytest.mark.parametrize("period", [4.0, 8.0])


@ways
@periods
def test_servers_that_leave_over_a_link_that_is_cut_again_and_again_are_removed(
    way: str, period: float
) -> None:
    followed = Followed(way, period)
    followed.run(3 * period)
    followed.link.ports = [2, 3, 4, 5]
    # All seconds between two cuts count but for the last one, in which no answer comes.
    most = (SETTLE_SECONDS + 2 * TURN_SECONDS) / (1 - (0.3 + LOOK_SECONDS) / period)
    taken = followed.seconds_until(lambda: followed.ports == {2, 3, 4, 5}, most=most)
    # A query every few seconds notices no outage between two of them.
    assert taken >= SETTLE_SECONDS or way == "in turn"


@ways
@periods
def test_list_over_a_link_that_is_cut_again_and_again_does_not_grow(way: str, period: float) -> None:
    followed = Followed(way, period)
    began = followed.clock()
    followed.link.events = [(began + 7.0 * number, followed.link.roll) for number in range(1, 60)]
    followed.run(60.0)
    sizes = []
    for _ in range(300):
        followed.run(1.0)
        sizes.append(len(followed.ports))
    # Some have left in the last half minute.
    assert max(sizes) <= SERVERS + 5


@ways
@periods
def test_list_that_a_restart_has_emptied_empties_nobody_over_a_link_that_is_cut(
    way: str, period: float
) -> None:
    followed = Followed(way, period)
    followed.run(3 * period)
    everybody = followed.link.ports
    for _ in range(3):
        followed.link.ports, followed.link.is_restart = [], True
        followed.link._again = True
        # Servers register again within five seconds in which they reach the registry.
        followed.run(5.0)
        assert followed.ports == set(everybody)
        followed.link.ports = everybody
        followed.run(period)
        assert followed.ports == set(everybody)
