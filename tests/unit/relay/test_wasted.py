"""Addresses whose connections to a relay come to nothing, by a clock that the tests set."""

import pytest

from fastrpc.relay.wasted import WastedOpenings
from fastrpc.testing import FakeClock

ADDRESS, CALLER = "192.0.2.1", bytes([192, 0, 2, 1])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def wasted(clock: FakeClock) -> WastedOpenings:
    return WastedOpenings(3, clock)


def test_an_address_is_refused_once_its_openings_of_a_second_are_wasted(
    wasted: WastedOpenings, clock: FakeClock
) -> None:
    for _ in range(3):
        assert wasted.admits(ADDRESS)
        wasted.add(CALLER)
    assert not wasted.admits(ADDRESS)
    clock.advance(0.9)
    assert not wasted.admits(ADDRESS)
    clock.advance(0.2)
    assert wasted.admits(ADDRESS)


def test_other_addresses_are_admitted_despite_a_wasteful_one(wasted: WastedOpenings) -> None:
    for _ in range(10):
        wasted.add(CALLER)
    assert not wasted.admits(ADDRESS)
    assert wasted.admits("192.0.2.2")


def test_an_opening_that_says_where_it_goes_is_not_wasted(wasted: WastedOpenings) -> None:
    for _ in range(1_000):
        assert wasted.admits(ADDRESS)
        wasted.remove(CALLER, wasted.add(CALLER))


def test_an_opening_of_an_earlier_second_makes_no_room_in_this_one(
    wasted: WastedOpenings, clock: FakeClock
) -> None:
    earlier = wasted.add(CALLER)
    clock.advance(2.0)
    for _ in range(3):
        wasted.add(CALLER)
    wasted.remove(CALLER, earlier)
    assert not wasted.admits(ADDRESS)


def test_addresses_of_one_ipv6_network_share_a_count(wasted: WastedOpenings) -> None:
    network = bytes.fromhex("20010db800000000")
    for number in range(3):
        assert wasted.admits(f"2001:db8::{number}")
        wasted.add(network)
    assert not wasted.admits("2001:db8::ffff")
    assert wasted.admits("2001:db8:1::1")
