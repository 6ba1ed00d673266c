"""The fleet: polls of real admin pages under a fake clock, and addresses that lie."""

import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ConfigError
from fastrpc.console.allowed import LOOPBACK, AllowedServers
from fastrpc.console.fleet import Fleet, server_key
from fastrpc.console.servers import FleetServer
from fastrpc.endpoint import Address, Endpoint
from tests.support.admin_liar import admin_liar, answered
from tests.support.admin_pages import server_with_pages
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

RECORD = "tcp://127.0.0.1:1"


@fastrpc.service("counted")
class Counted:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    async def fail(self) -> None:
        raise fastrpc.CallError(fastrpc.Status.NOT_FOUND, "nothing here")


class Clock:
    now = 50_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def fleet_of(
    *endpoints: Endpoint, servers: tuple[str, ...] = LOOPBACK, token: Callable[[], str] | None = None
) -> AsyncIterator[tuple[Fleet, Clock]]:
    """Yield a fleet that polls when the test says so."""
    clock = Clock()
    fleet = Fleet(
        None, AllowedServers(servers), token=token, clock=clock, uniform=lambda low, high: (low + high) / 2
    )
    fleet.set_endpoints("counted", endpoints)
    try:
        yield fleet, clock
    finally:
        await fleet.__aexit__(None, None, None)


def endpoint(admin: str, address: str = RECORD, **options: Any) -> Endpoint:
    return Endpoint(address, labels={"admin": admin}, **options)


def only(fleet: Fleet) -> FleetServer:
    [server] = fleet.servers.values()
    return server


def page(**fields: Any) -> bytes:
    return json.dumps({"server": "a", "revision": 1, "started": 1.0, "methods": [], **fields}).encode()


async def test_calls_between_two_polls_are_in_the_history() -> None:
    async with server_with_pages(Counted()) as server, fleet_of() as (fleet, clock):
        address = await server.listen("tcp://127.0.0.1:0")
        fleet.set_endpoints("counted", [endpoint(str(server.admin.address), str(address))])
        async with Client(address) as client:
            await client.call("counted.mul", 2, 3)
            await fleet.poll()
            assert fleet.history.keys("service", "counted") == []
            for _ in range(30):
                await client.call("counted.mul", 2, 3)
            for _ in range(10):
                with pytest.raises(fastrpc.CallError):
                    await client.call("counted.fail")
            clock.now += 5
            await fleet.poll()
            assert fleet.polls == 1, "it is not due before ten seconds"
            clock.now += 5
            await fleet.poll()
            history = fleet.history
            key = str(server.admin.address)
            assert history.totals(("service", "counted"), 60)[:2] == pytest.approx((40, 10))
            assert history.totals(("method", "counted", "mul"), 60)[:2] == pytest.approx((30, 0))
            assert history.totals(("server", key), 60).calls == pytest.approx(40)
            assert sum(history.durations(60, ("method", "counted", "fail"))) == 10
            # The test is a client of the same process.
            assert history.totals(("link", "counted", "counted"), 60).calls == pytest.approx(40)
            assert (only(fleet).state, only(fleet).error) == ("ready", None)


async def test_a_server_that_a_view_shows_is_polled_every_two_seconds() -> None:
    async with server_with_pages(Counted()) as server:
        async with fleet_of(endpoint(str(server.admin.address))) as (fleet, clock):
            await fleet.poll()
            polls = []
            for _ in range(20):
                fleet.show(only(fleet))
                clock.now += 1
                await fleet.poll()
                polls.append(fleet.polls)
            assert polls[-1] == 11
            for _ in range(60):
                clock.now += 1
                await fleet.poll()
            assert 6 <= fleet.polls - polls[-1] <= 14


async def test_a_failed_server_keeps_its_figures_and_is_asked_less_often() -> None:
    async with fleet_of() as (fleet, clock):
        async with server_with_pages(Counted()) as server:
            key = str(server.admin.address)
            fleet.set_endpoints("counted", [endpoint(key)])
            await fleet.poll()
            read_at = only(fleet).read_at
        failed = []
        for _ in range(200):
            clock.now += 1
            await fleet.poll()
            failed.append(fleet.failed_polls)
        found = only(fleet)
        assert found.page is not None
        assert found.read_at == read_at
        assert found.error is not None
        assert found.state == "unreadable"
        assert 3 < failed[-1] < 8
        assert [event.kind for event in fleet.events.last(9)] == ["unreadable", "appeared"]
        async with server_with_pages(Counted(), address=key) as again:
            assert str(again.admin.address) == key
            # A record that changes has it asked at once.
            fleet.set_endpoints("counted", [endpoint(key, weight=3)])
            await fleet.poll()
            assert only(fleet).error is None
            assert found.failures == 0
            kinds = [(event.kind, event.text) for event in fleet.events.last(3)]
            assert kinds == [("readable", "counted"), ("restarted", "counted"), ("changed", "weight 1 → 3")]


async def test_counts_of_a_server_that_started_again_begin_at_zero() -> None:
    def row(calls: int) -> dict[str, Any]:
        names = {"service": "counted", "method": "mul", "side": "server", "protocol": "native"}
        counts = {"in_flight": 0, "calls": {"OK": calls}, "received_bytes": 1, "sent_bytes": 1}
        return {**names, **counts, "sum_seconds": 1.0, "buckets": [[0.001, calls]]}

    pages = iter(
        [
            page(methods=[row(1_000)]),
            page(methods=[row(1_010)], revision=2),
            page(methods=[row(3)], server="b", revision=7),
            page(methods=[row(5)], server="b", revision=8),
        ]
    )
    with admin_liar(lambda peer: answered(next(pages), "200 OK", "Connection: close")(peer)) as liar:
        async with fleet_of(endpoint(liar.address)) as (fleet, clock):
            for calls in (0, 10, 13, 15):
                await fleet.poll()
                assert only(fleet).error is None
                assert fleet.history.totals(("service", "counted"), 600).calls == pytest.approx(calls)
                clock.now += 11
            asked = [re.match(r"GET (\S+)", one)[1] for one in liar.requests]  # type: ignore[index]
            assert asked == ["/figures", *(f"/figures?after={number}" for number in (1, 2, 7))]


def endless(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        peer.sendall(b"10000\r\n" + bytes(65_536) + b"\r\n")


def endless_head(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        peer.sendall(b"X-A: " + b"a" * 60_000 + b"\r\n")


def one_gibibyte(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    peer.recv(1)


def silent(peer: socket.socket) -> None:
    peer.recv(1)


LIES: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "endless": (endless, "more bytes than the limit"),
    "endless head": (endless_head, ""),
    "one GiB": (one_gibibyte, "1,073,741,824 bytes"),
    "no JSON": (answered(b"<html>"), "does not fit"),
    "another JSON": (answered(b"[]"), "does not fit"),
    "no count": (answered(page(revision=-1)), "does not fit"),
    "a large count": (answered(page(revision=1 << 60)), "does not fit"),
    "a long name": (answered(page(server="a" * 300)), "does not fit"),
    "many values": (answered(page(without=[1] * 3_000_000)), ""),
    "many services": (answered(page(services=[{"name": "a"}] * 1_001)), "does not fit"),
    "deep": (answered(b"[" * 100_000), "does not fit"),
    "redirect": (answered(b"", "302 Found", "Location: http://127.0.0.1:1/"), "redirects are not followed"),
    "no token": (answered(b"", "401 Unauthorized"), "token is missing or wrong"),
    "error": (answered(b"", "500 Internal Server Error"), "it answered 500"),
    "no HTTP": (lambda peer: peer.sendall(b"SSH-2.0\r\n\r\n"), ""),
    "closed": (lambda peer: None, ""),
    "compressed": (answered(page(), "200 OK", "Content-Encoding: gzip"), "Content-Encoding"),
}


@pytest.mark.parametrize("name", LIES)
async def test_an_address_that_lies_is_bounded_and_named(name: str) -> None:
    lie, reason = LIES[name]
    with admin_liar(lie) as liar:
        async with fleet_of(endpoint(liar.address)) as (fleet, _):
            await fleet.poll()
            assert only(fleet).page is None
            assert reason in (only(fleet).error or "")
            [unreadable, _] = fleet.events.last(2)
            assert (unreadable.kind, unreadable.place) == ("unreadable", liar.address)


async def test_a_silent_address_does_not_hold_up_others() -> None:
    with admin_liar(silent) as liar, admin_liar(answered(page())) as honest:
        two = endpoint(liar.address), endpoint(honest.address, "tcp://127.0.0.1:2")
        async with fleet_of(*two) as (fleet, _):
            await fleet.poll()
            assert "timed out" in (fleet.servers[liar.address].error or "") or fleet.failed_polls == 1
            assert fleet.servers[honest.address].page is not None


@pytest.mark.parametrize(
    ("record", "servers", "reason"),
    [
        ("tcp://10.0.0.7:1", LOOPBACK, "its server is on another"),
        (RECORD, ("10.0.0.0/8",), "matches no pattern"),
        (RECORD, ("*.shop.example",), "matches no pattern"),
    ],
)
async def test_a_label_that_opens_nothing_gets_no_request(
    record: str, servers: tuple[str, ...], reason: str
) -> None:
    with admin_liar(answered(page())) as liar:
        async with fleet_of(endpoint(liar.address, record), servers=servers, token=lambda: "planted") as (
            fleet,
            _,
        ):
            await fleet.poll()
            assert reason in (only(fleet).error or "")
            assert liar.connections == 0


async def test_the_reading_token_is_shown_to_servers_that_match() -> None:
    with admin_liar(answered(page())) as liar:
        async with fleet_of(endpoint(liar.address), token=lambda: "reading") as (fleet, _):
            await fleet.poll()
            assert only(fleet).error is None
            assert "\r\nAuthorization: Bearer reading\r\n" in liar.requests[0]


async def test_records_with_one_label_are_one_server() -> None:
    async with fleet_of() as (fleet, clock):
        first, second = (
            endpoint("tcp://127.0.0.1:9", "tcp://127.0.0.1:1"),
            endpoint("tcp://127.0.0.1:9", "tcp://127.0.0.1:2"),
        )
        plain = Endpoint("tcp://127.0.0.1:3")
        wrong = endpoint("<script>", "tcp://127.0.0.1:4")
        fleet.set_endpoints("counted", [first, second, plain, wrong])
        fleet.set_endpoints("other", [first])
        assert set(fleet.servers) == {"tcp://127.0.0.1:9", "tcp://127.0.0.1:3", "tcp://127.0.0.1:4"}
        assert len(fleet.servers[server_key(first)].records) == 3
        assert fleet.servers["tcp://127.0.0.1:4"].error == "its label admin is no address of admin pages"
        fleet.set_endpoints("counted", [])
        fleet.set_endpoints("other", [])
        assert {one.state for one in fleet.servers.values()} == {"gone"}
        assert fleet.services == {}
        clock.now += 700
        await fleet.poll()
        assert fleet.servers == {}


async def test_a_fleet_without_a_registry_reads_its_targets() -> None:
    async with server_with_pages(Counted()) as server:
        address = server.admin.address
        assert address is not None
        async with Fleet(None, AllowedServers(["10.0.0.0/8"]), targets=[address]) as fleet:
            await eventually(lambda: only(fleet).page is not None)
            assert only(fleet).services == ["counted"]


def test_a_target_in_the_clear_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither encrypted nor on this machine"):
        Fleet(None, AllowedServers(), targets=[Address.parse("tcp://10.0.0.7:9099")])
