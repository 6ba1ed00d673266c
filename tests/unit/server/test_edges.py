"""`Addresses` and `ConnectionRate`: the addresses that pass, and the records of refused ones."""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc._core.base.histogram import REFUSALS
from fastrpc.endpoint import Address
from fastrpc.handlers.method_limits import EDGE_REASONS, shared_limiters
from fastrpc.limits import Addresses, ConnectionRate, RateLimit
from fastrpc.peers.peer import Peer
from fastrpc.server.edges import Edges


class Edge(Edges):
    """An edge that keeps its log."""

    def __init__(
        self, *limits: Any, trusts: Any = None, shared: Any = None, proxies: Sequence[str] = ()
    ) -> None:
        self.told: list[str] = []
        super().__init__(
            limits,
            shared or [None] * len(limits),
            lambda host, text: self.told.append(f"{host}: {text}"),
            trusts=trusts,
            proxies=proxies,
        )

    def passes(self, host: str) -> bool:
        return self.admits_peer((host, 1, 0, 0) if ":" in host else (host, 1))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand still at a time; `clock.seconds` moves it."""
    found = SimpleNamespace(seconds=1_000.0)
    began = time.monotonic_ns()
    monkeypatch.setattr(time, "monotonic_ns", lambda: began + int(found.seconds * 1e9))
    return found


@pytest.mark.parametrize(
    ("allow", "deny", "host", "passes"),
    [
        ([], ["10.0.0.0/8"], "10.1.2.3", False),
        ([], ["10.0.0.0/8"], "::ffff:10.1.2.3", False),
        ([], ["10.0.0.0/8"], "11.0.0.1", True),
        ([], ["10.0.0.0/8"], "2001:db8::1", True),
        ([], ["0.0.0.0/0"], "11.0.0.1", False),
        ([], ["0.0.0.0/0"], "::1", True),
        ([], ["::/0"], "::1", False),
        ([], ["::/0"], "11.0.0.1", True),
        ([], ["fe80::/10"], "fe80::1%eth0", False),
        (["10.0.0.0/8"], [], "10.1.2.3", True),
        (["10.0.0.0/8"], [], "::ffff:10.1.2.3", True),
        (["10.0.0.0/8"], [], "11.0.0.1", False),
        (["10.0.0.0/8"], [], "::1", False),
        (["10.0.0.0/8"], ["10.1.0.0/16"], "10.0.0.1", True),
        (["10.0.0.0/8"], ["10.1.0.0/16"], "10.1.0.1", False),
        (["10.0.0.0/8"], ["10.1.0.0/16"], "11.0.0.1", False),
        (["10.0.0.0/8", "10.1.2.0/24"], ["10.1.0.0/16"], "10.1.2.3", True),
        (["10.0.0.0/8", "10.1.2.0/24"], ["10.1.0.0/16"], "10.1.3.3", False),
        (["10.1.2.3/32"], ["10.0.0.0/8"], "10.1.2.3", True),
        (["10.1.2.3/32"], ["10.0.0.0/8"], "10.1.2.4", False),
        # Equal: denied.
        (["10.0.0.0/8"], ["10.0.0.0/8"], "10.1.2.3", False),
        (["0.0.0.0/0"], ["0.0.0.0/0"], "10.1.2.3", False),
        (["2001:db8::/32"], ["2001:db8:1::/48"], "2001:db8:2::1", True),
        (["2001:db8::/32"], ["2001:db8:1::/48"], "2001:db8:1::1", False),
    ],
)
def test_longest_network_decides(allow: list[str], deny: list[str], host: str, passes: bool) -> None:
    edge = Edge(Addresses(allow=allow, deny=deny))
    before = REFUSALS["address"]
    assert edge.passes(host) is passes
    assert edge.told == ([] if passes else [f"{host}: it is not allowed (Addresses)"])
    assert REFUSALS["address"] - before == (not passes)


def test_each_reason_is_one_of_those_that_metrics_show() -> None:
    assert set(EDGE_REASONS) <= set(REFUSALS)


def test_an_address_that_comes_again_is_judged_again() -> None:
    edge = Edge(Addresses(allow=["10.0.0.0/8"]))
    hosts = [f"{first}.0.{number // 250}.{number % 250}" for number in range(2_000) for first in (10, 11)]
    for _ in range(2):
        assert [edge.passes(host) for host in hosts] == [host.startswith("10.") for host in hosts]
    assert len(edge.told) == len(hosts)


def test_an_address_has_to_pass_all_lists() -> None:
    edge = Edge(Addresses(allow=["10.0.0.0/8"]), RateLimit(1, 1), Addresses(deny=["10.1.0.0/16"]))
    assert [edge.passes(host) for host in ("10.0.0.1", "10.1.0.1", "11.0.0.1")] == [True, False, False]


@pytest.mark.parametrize("peer_name", ["", b"\x00abstract", None, "/run/a"])
def test_peers_without_an_ip_address_pass(peer_name: Any) -> None:
    assert Edge(Addresses(allow=["10.0.0.0/8"]), ConnectionRate(1, burst=1)).admits_peer(peer_name)


def test_each_address_has_its_rate(clock: Any) -> None:
    edge = Edge(ConnectionRate(2, burst=3))
    before = REFUSALS["connection_rate"]
    assert [edge.passes("10.0.0.1") for _ in range(5)] == [True, True, True, False, False]
    assert edge.passes("10.0.0.2")
    clock.seconds += 0.5
    assert [edge.passes("10.0.0.1") for _ in range(2)] == [True, False]
    assert REFUSALS["connection_rate"] - before == 3
    text = "over the rate of 2 connections/s per address with a burst of 3 (ConnectionRate)"
    assert edge.told == [f"10.0.0.1: {text}"] * 3


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
@pytest.mark.usefixtures("clock")
def test_neighbours_share_a_rate(first: str, second: str, is_one: bool) -> None:
    edge = Edge(ConnectionRate(1))
    assert [edge.passes(first), edge.passes(second)] == [True, not is_one]


@pytest.mark.usefixtures("clock")
def test_a_rate_of_the_server_is_for_all_addresses() -> None:
    edge = Edge(ConnectionRate(2, per="server"))
    assert [edge.passes(f"10.0.0.{host}") for host in range(3)] == [True, True, False]


@pytest.mark.usefixtures("clock")
def test_a_connection_that_one_rate_refuses_counts_on_no_other() -> None:
    edge = Edge(ConnectionRate(3, per="server"), ConnectionRate(1))
    assert [edge.passes("10.0.0.1") for _ in range(6)] == [True, *[False] * 5]
    assert [edge.passes(f"10.0.0.{host}") for host in (2, 3, 4)] == [True, True, False]


@pytest.mark.usefixtures("clock")
def test_a_denied_address_takes_nothing_of_a_rate() -> None:
    edge = Edge(ConnectionRate(1, per="server"), Addresses(deny=["10.0.0.0/8"]))
    assert [edge.passes("10.0.0.1"), edge.passes("11.0.0.1")] == [False, True]


@pytest.mark.usefixtures("clock")
def test_counters_of_several_processes_are_one() -> None:
    limits = (RateLimit(1, 1), ConnectionRate(1, burst=3), Addresses(deny=["11.0.0.0/8"]))
    shared = shared_limiters(limits)
    assert [counter is None for counter in shared] == [False, False, True]
    edges = [Edge(*limits, shared=shared) for _ in range(2)]
    assert [edges[number % 2].passes("10.0.0.1") for number in range(4)] == [True, True, True, False]


@pytest.mark.usefixtures("clock")
def test_trusted_proxies_pass_and_their_clients_are_judged() -> None:
    edge = Edge(Addresses(allow=["11.0.0.0/8"]), ConnectionRate(1), trusts=lambda host: host == "10.0.0.1")
    assert all(edge.passes("10.0.0.1") for _ in range(3))

    def status_of(place: str) -> int:
        refusal = edge.refusal_of(Peer(Address.parse(place)), False)
        return 0 if refusal is None else refusal[0]

    assert [status_of("tcp://11.0.0.1:0") for _ in range(2)] == [0, 429]
    assert [status_of(place) for place in ("tcp://12.0.0.1:0", "tcp://10.0.0.1:0", "unix:///run/a")] == [
        403,
        0,
        0,
    ]


def test_a_proxy_is_accepted_and_judged_by_the_peer_that_it_names() -> None:
    edge = Edge(Addresses(allow=["11.0.0.0/8"]), proxies=("10.0.0.0/8",))
    assert [edge.admits_connection((host, 1)) for host in ("10.0.0.1", "11.0.0.1", "12.0.0.1")] == [
        True,
        True,
        False,
    ]
    assert edge.admits_connection("")
    assert [edge.passes(host) for host in ("10.0.0.1", "11.0.0.1")] == [False, True]
