"""Many services followed by one lookup."""

import itertools
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from fastrpc import StoreError
from fastrpc.registries import AddressPolicy
from fastrpc.registries.base.accepting import ListAcceptor
from fastrpc.registries.base.backend import Listing
from fastrpc.registries.base.poller import LONGEST_REST_SECONDS, MOST_PAUSE_SECONDS, WAIT_SECONDS
from fastrpc.registries.base.rules import CONFIRM_SECONDS
from fastrpc.registries.base.shared import ALONE_SECONDS, SharedPoller, SingleLookup
from fastrpc.registries.base.watch import Channel
from fastrpc.testing import FakeClock
from tests.support.fake_registry import away, entries, refused


class FakeShared:
    """Returns the answers of the test, and records requests."""

    def __init__(self) -> None:
        self.answers: list[Mapping[str, Listing | StoreError] | Exception] = []
        self.followed: frozenset[str] = frozenset()
        self.again: list[set[str]] = []
        self.waits: list[float] = []
        self.wakes = 0
        self.is_closed = False

    def follow(self, services: frozenset[str], again: frozenset[str]) -> None:
        self.followed = services
        self.again.append(set(again))

    def fetch(self, wait_seconds: float) -> Mapping[str, Listing | StoreError]:
        self.waits.append(wait_seconds)
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wake(self) -> None:
        self.wakes += 1

    def close(self) -> None:
        self.is_closed = True


class Driven:
    """A poller that a test drives step by step."""

    def __init__(self, *services: str) -> None:
        self.clock = FakeClock()
        self.worked = 0.0
        self.lookup = FakeShared()
        self.refusals = 0
        self.channels: dict[str, Channel] = {}
        self.acceptors: dict[str, ListAcceptor] = {}
        self.poller = SharedPoller(
            "fake://registry",
            self.lookup,
            self._refuse,
            clock=self.clock,
            work_clock=lambda: self.worked,
            uniform=lambda low, high: (low + high) / 2,
        )
        for service in services:
            self.add(service)

    def _refuse(self) -> None:
        self.refusals += 1

    def add(self, service: str) -> None:
        channel = self.channels[service] = Channel(itertools.count(1))
        acceptor = ListAcceptor(service, channel, policy=AddressPolicy(), cache=None, clock=self.clock)
        self.acceptors[service] = acceptor
        self.poller.add(acceptor)

    def drop(self, service: str) -> None:
        self.poller.drop(self.acceptors[service])

    def step(self, answer: Any = None, seconds: float = 0.0) -> float:
        if answer is not None:
            self.lookup.answers.append(answer)
        self.clock.advance(seconds)
        return self.poller.step()

    def ports(self, service: str) -> list[int] | None:
        latest = self.channels[service].latest
        return None if latest is None else [one.address.port for one in latest.endpoints]


def lists(**ports: list[int]) -> dict[str, Listing]:
    return {service: Listing(entries(*some)) for service, some in ports.items()}


def test_each_service_gets_its_list_and_only_changed_ones_are_published() -> None:
    driven = Driven("a", "b")
    driven.step(lists(a=[1], b=[2]))
    before = driven.channels["a"].latest
    driven.step(lists(b=[2, 3]))
    assert (driven.ports("a"), driven.ports("b")) == ([1], [2, 3])
    assert driven.channels["a"].latest is before
    assert driven.lookup.followed == {"a", "b"}
    assert driven.lookup.waits == [WAIT_SECONDS, WAIT_SECONDS]


@pytest.mark.parametrize("instant", [2.0**power - 14.9 for power in range(11, 30)])
def test_the_wait_is_exact_at_every_instant(instant: float) -> None:
    driven = Driven("a")
    driven.clock.advance(instant - driven.clock())
    driven.step(lists(a=[1]))
    for _ in range(20):
        driven.step(seconds=0.07)
    assert set(driven.lookup.waits) == {WAIT_SECONDS}


def test_without_a_service_nothing_is_asked() -> None:
    driven = Driven()
    assert driven.step() == WAIT_SECONDS
    assert driven.lookup.waits == []
    driven.add("a")
    driven.drop("a")
    assert driven.step() == WAIT_SECONDS
    assert driven.lookup.waits == []


def test_a_service_that_is_added_interrupts_the_wait() -> None:
    driven = Driven("a")
    driven.step(lists(a=[1]))
    driven.add("b")
    assert driven.lookup.wakes == 2
    driven.step(lists(b=[2]))
    assert driven.lookup.followed == {"a", "b"}
    assert driven.ports("b") == [2]


def test_a_service_that_is_dropped_is_followed_no_more() -> None:
    driven = Driven("a", "b")
    driven.step(lists(a=[1], b=[1]))
    driven.drop("a")
    driven.step(lists(a=[2], b=[2, 1]))
    assert driven.lookup.followed == {"b"}
    assert (driven.ports("a"), driven.ports("b")) == ([1], [1, 2])


def test_a_service_that_is_left_and_followed_again_at_once_is_read_again() -> None:
    driven = Driven("a", "b")
    driven.step(lists(a=[1], b=[2]))
    driven.drop("a")
    driven.add("a")

    def ticking() -> float:
        driven.clock.advance(0.001)
        return driven.clock()

    driven.poller._clock = ticking
    driven.step(lists(a=[1]))
    assert driven.lookup.again[-1] == {"a"}
    assert driven.ports("a") == [1]
    driven.step()
    assert driven.lookup.waits[-1] == WAIT_SECONDS


def test_a_service_that_is_followed_again_is_read_again_even_if_no_other_was_followed_between() -> None:
    driven = Driven("a")
    driven.step(lists(a=[1]))
    driven.drop("a")
    driven.step()
    driven.add("a")
    driven.step(lists(a=[1]))
    assert driven.lookup.again[-1] == {"a"}
    assert driven.ports("a") == [1]


def test_a_late_end_of_a_service_ends_no_later_follower_of_it() -> None:
    driven = Driven("a", "b")
    driven.step(lists(a=[1], b=[2]))
    before = driven.acceptors["a"]
    driven.add("a")
    driven.poller.drop(before)
    driven.step(lists(a=[1]))
    assert driven.ports("a") == [1]
    assert driven.lookup.followed == {"a", "b"}


def test_a_list_that_lost_half_is_read_again_alone() -> None:
    driven = Driven("a", "b")
    driven.step(lists(a=[1, 2], b=[3]))
    pause = driven.step(lists(a=[1]))
    assert driven.ports("a") == [1, 2]
    driven.step(seconds=pause)
    assert driven.lookup.again[-1] == set()
    assert driven.lookup.waits[-1] == pytest.approx(CONFIRM_SECONDS - pause)
    driven.step(lists(a=[1]), seconds=CONFIRM_SECONDS - pause)
    assert driven.lookup.again[-1] == {"a"}
    assert (driven.ports("a"), driven.ports("b")) == ([1], [3])
    driven.step()
    assert driven.lookup.waits[-1] == WAIT_SECONDS


def test_an_outage_keeps_all_lists_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastrpc.registry")
    driven = Driven("a", "b")
    driven.step(lists(a=[1], b=[2]))
    pauses = [driven.step(away()) for _ in range(10)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(2.0, rel=0.3)
    assert (driven.ports("a"), driven.ports("b")) == ([1], [2])
    assert all(isinstance(one.error, StoreError) for one in driven.channels.values())
    driven.step(lists(a=[1], b=[]))
    assert all(one.error is None for one in driven.channels.values())
    # Nothing is removed before the registry has settled.
    assert driven.ports("b") == [2]
    assert [record.getMessage() for record in caplog.records] == [
        "fake://registry: the registry is unreachable, the last lists of 2 services are used: connection refused",
        "fake://registry: the registry answers again after 0.0 s",
    ]


def test_a_list_that_cannot_be_read_keeps_the_last_one_and_delays_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "fastrpc.registry")
    driven = Driven("a", "b")
    driven.step(lists(a=[1], b=[2]))
    for port in (3, 4):
        driven.step({"a": away(), **lists(b=[2, port])})
        driven.step(lists(b=[2, 3, port]))
    assert (driven.ports("a"), driven.ports("b")) == ([1], [2, 3, 4])
    assert driven.lookup.again[-1] == set()
    driven.step(seconds=ALONE_SECONDS)
    assert driven.lookup.again[-1] == {"a"}
    assert [type(one.error) for one in driven.channels.values()] == [StoreError, type(None)]
    driven.step(lists(a=[1, 5]))
    assert driven.ports("a") == [1, 5]
    assert [one.error for one in driven.channels.values()] == [None, None]
    assert [record.getMessage() for record in caplog.records] == [
        "a: the registry is unreachable, the last list (1 endpoints) is used: connection refused",
        "a: the registry answers again after 5.0 s",
    ]


def test_a_missing_right_to_all_services_is_reported_and_ends_the_thread() -> None:
    driven = Driven("a", "b")
    driven.lookup.answers.append(refused())
    driven.poller.run()
    assert driven.refusals == 1
    assert driven.lookup.is_closed
    assert driven.channels["a"].error is None


def test_a_missing_right_to_the_only_service_is_an_outage() -> None:
    driven = Driven("a")
    assert driven.step(refused()) > 0
    assert driven.refusals == 0
    assert isinstance(driven.channels["a"].error, StoreError)


def test_a_defect_of_a_backend_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    driven = Driven("a")
    assert driven.step(ZeroDivisionError("oops")) > 0
    assert caplog.records[0].exc_info is not None
    driven.step(lists(a=[1]))
    assert driven.ports("a") == [1]


def test_lists_that_took_long_are_followed_by_a_rest() -> None:
    driven = Driven("a")

    def fetch(wait_seconds: float) -> Mapping[str, Listing]:
        driven.worked += 1.0
        return lists(a=[1])

    driven.lookup.fetch = fetch  # type: ignore[method-assign]
    assert driven.step() == LONGEST_REST_SECONDS


def test_answers_without_a_change_are_asked_for_less_and_less_often() -> None:
    driven = Driven("a")
    assert driven.step(lists(a=[1])) <= MOST_PAUSE_SECONDS
    pauses = [driven.step() for _ in range(6)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(0.5, rel=0.3)


def test_the_longest_pause_of_the_lists_is_kept() -> None:
    driven = Driven("a", "b")
    assert driven.step({"a": Listing(entries(1), pause_seconds=5.0), "b": Listing(entries(2))}) == 5.0


def test_a_stopped_poller_publishes_no_more_lists() -> None:
    driven = Driven("a")

    def fetch(wait_seconds: float) -> Mapping[str, Listing]:
        driven.poller.stop()
        raise away()

    driven.lookup.fetch = fetch  # type: ignore[method-assign]
    driven.poller.run()
    assert driven.channels["a"].error is None
    assert driven.lookup.is_closed


def test_a_single_lookup_reads_its_list_again_for_a_fetch_without_a_wait() -> None:
    shared = FakeShared()
    lookup = SingleLookup(shared, "a")
    restarted = Listing(entries(1), is_restart=True)
    shared.answers += [{"a": restarted}, {}, lists(a=[2])]
    assert lookup.fetch(0.0) is restarted
    assert lookup.fetch(5.0) == Listing(entries(1), is_repeated=True)
    assert lookup.fetch(0.0) == Listing(entries(2))
    assert shared.again == [{"a"}, set(), {"a"}]
    shared.answers.append({"a": away()})
    with pytest.raises(StoreError):
        lookup.fetch(5.0)
    lookup.close()
    assert shared.is_closed
