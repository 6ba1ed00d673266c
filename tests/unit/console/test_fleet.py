"""The fleet: polls of real admin pages under a fake clock, and addresses that lie."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

import fastrpc
from fastrpc import Client, ConfigError
from fastrpc.config import TLS
from fastrpc.console import fleet as fleets
from fastrpc.console import reading
from fastrpc.console.admin_labels import server_key
from fastrpc.console.allowed import LOOPBACK, AllowedServers
from fastrpc.console.events import FleetEvents
from fastrpc.console.fleet import Fleet
from fastrpc.console.following import RegistryFollower
from fastrpc.console.pages import ProcessFigures
from fastrpc.console.servers import FleetServer
from fastrpc.endpoint import Address, Endpoint
from fastrpc.registries.base.registry import WatchedRegistry
from fastrpc.registries.base.watch import ServicesWatch
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


async def test_the_loop_awaits_the_pages_of_a_real_server() -> None:
    async with server_with_pages(Counted()) as server:
        async with fleet_of(endpoint(str(server.admin.address))) as (fleet, _):
            await fleet.poll()
            reader = only(fleet).reader
            assert reader is not None
            for path in ("/figures", only(fleet).figures_path, "/endpoints"):
                assert isinstance(await reader.begin(path), bytes), path


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
            # A record that changes has it asked soon, but not more often than other servers.
            polls, found.due = fleet.polls, clock.now + 60
            for weight in (5, 4, 3):
                fleet.set_endpoints("counted", [endpoint(key, weight=weight)])
                clock.now = found.asked_at + 9
                await fleet.poll()
            assert fleet.polls == polls
            assert found.failures
            clock.now += 1
            await fleet.poll()
            assert only(fleet).error is None
            assert found.failures == 0
            kinds = [(event.kind, event.text) for event in fleet.events.last(3)]
            assert kinds == [("readable", "counted"), ("restarted", "counted"), ("changed", "weight 4 → 3")]


async def test_counts_of_a_server_that_started_again_begin_at_zero() -> None:
    def row(calls: int) -> dict[str, Any]:
        names = {"service": "counted", "method": "mul", "side": "server", "protocol": "native"}
        counts = {"in_flight": 0, "calls": {"OK": calls}, "received_bytes": 1, "sent_bytes": 1}
        return {**names, **counts, "sum_seconds": 1.0, "buckets": [[0.001, calls]]}

    pages = iter(
        [
            page(methods=[row(1_000)]),
            page(methods=[row(1_010)], revision=2),
            # Its clock is years late.
            page(methods=[row(3)], server="b", revision=7, started=1e9, time=1e9 + 10),
            page(methods=[row(5)], server="b", revision=8, started=1e9, time=1e9 + 21),
            # An existing one: its calls do not belong to the last ten seconds.
            page(methods=[row(1_012)], revision=3, started=1e10, time=1e10 + 60),
            page(methods=[row(1_013)], revision=4),
        ]
    )
    with admin_liar(lambda peer: answered(next(pages), "200 OK", "Connection: close")(peer)) as liar:
        async with fleet_of(endpoint(liar.address)) as (fleet, clock):
            for calls in (0, 10, 13, 15, 15, 16):
                await fleet.poll()
                assert only(fleet).error is None
                assert fleet.history.totals(("service", "counted"), 600).calls == pytest.approx(calls)
                clock.now += 11
            asked = [re.match(r"GET (\S+)", one)[1] for one in liar.requests]  # type: ignore[index]
            assert asked == ["/figures", *(f"/figures?after={number}" for number in (1, 2, 7, 8, 3))]


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


def counts(statuses: int) -> dict[str, Any]:
    names = {"service": "counted", "method": "mul", "side": "server", "protocol": "native"}
    calls = {"in_flight": 0, "calls": {str(number): 1 for number in range(statuses)}}
    return {**names, **calls, "received_bytes": 1, "sent_bytes": 1, "sum_seconds": 1.0, "buckets": []}


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
    "many statuses": (answered(page(methods=[counts(33)])), "does not fit"),
    "many processes": (answered(page(processes=[{}] * 1_025)), "does not fit"),
    "a process of another shape": (answered(page(processes=[{"descriptors": {}}])), "does not fit"),
    "many services": (answered(page(services=[{"name": "a"}] * 4_097)), "does not fit"),
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


async def test_of_a_process_only_the_known_facts_are_kept() -> None:
    process = {"process_id": 7, "role": "worker", "descriptors": 3, "more": [{"a": 1}] * 100_000}
    with admin_liar(answered(page(methods=[counts(32)], processes=[process]))) as liar:
        async with fleet_of(endpoint(liar.address)) as (fleet, _):
            await fleet.poll()
            kept = only(fleet).page
            assert kept is not None
            assert kept.processes == [ProcessFigures(7, "worker", descriptors=3)]


async def test_views_of_a_hung_server_do_not_delay_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HELD_SECONDS", 60.0)
    with admin_liar(silent) as liar, admin_liar(answered(page())) as honest:
        two = endpoint(liar.address), endpoint(honest.address, "tcp://127.0.0.1:2")
        async with fleet_of(*two) as (fleet, _):
            hung = fleet.servers[liar.address]
            views = [asyncio.ensure_future(fleet.page(hung, "/ended", dict)) for _ in range(20)]
            await eventually(lambda: len(liar.requests) == 1)
            hung.is_read_now = True
            async with asyncio.timeout(30):
                await fleet.poll()
            assert fleet.servers[honest.address].page is not None
            assert [view.done() for view in views] == [False] * 4 + [True] * 16
            assert "4 views wait" in str(views[4].exception())
            # A view that is cancelled leaves its thread to the server until the page has come.
            for view in views[:4]:
                view.cancel()
            await asyncio.wait(views)
            assert {str(view.exception()) for view in views[4:]} == {"4 views wait for its pages, the most"}
            assert hung.reading.locked()
            assert hung.views == 0
        await eventually(lambda: not hung.reading.locked())


async def test_a_silent_address_does_not_delay_other_addresses() -> None:
    with admin_liar(silent) as liar, admin_liar(answered(page())) as honest:
        two = endpoint(liar.address), endpoint(honest.address, "tcp://127.0.0.1:2")
        async with fleet_of(*two) as (fleet, _):
            await fleet.poll()
            assert "timed out" in (fleet.servers[liar.address].error or "") or fleet.failed_polls == 1
            assert fleet.servers[honest.address].page is not None


async def test_an_address_that_was_read_is_judged_again_once_its_records_change() -> None:
    with admin_liar(answered(page())) as honest:
        async with fleet_of(endpoint(honest.address)) as (fleet, clock):
            await fleet.poll()
            server = only(fleet)
            assert (server.error, fleet.polls) == (None, 1)
            # Its server moves to another machine, with an address of this one in its label.
            fleet.set_endpoints("counted", [endpoint(honest.address, "tcp://10.0.0.7:1")])
            clock.now += 10
            await fleet.poll()
            assert fleet.servers[honest.address] is server
            assert "its server is on another" in (server.error or "")


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


async def test_a_record_without_a_label_does_not_hide_the_server_at_its_address() -> None:
    with admin_liar(answered(page())) as honest:
        async with fleet_of(Endpoint(honest.address)) as (fleet, _):
            assert only(fleet).admin is None
            fleet.set_endpoints("other", [endpoint(honest.address, "tcp://127.0.0.1:2")])
            await fleet.poll()
            assert only(fleet).page is not None
            assert only(fleet).error is None


async def test_records_over_the_most_servers_enter_once_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleets, "MOST_SERVERS", 1)
    first, second = Endpoint("tcp://127.0.0.1:3"), Endpoint("tcp://127.0.0.1:4")
    async with fleet_of(first) as (fleet, clock):
        for weight in (1, 2):
            fleet.set_endpoints("other", [Endpoint("tcp://127.0.0.1:4", weight=weight)])
            assert (only(fleet).key, len(fleet.left_out)) == ("tcp://127.0.0.1:3", 1)
        fleet.set_endpoints("counted", [])
        clock.now += 700
        await fleet.poll()
        assert (only(fleet).key, len(fleet.left_out)) == ("tcp://127.0.0.1:4", 0)
        assert only(fleet).records["other", "tcp://127.0.0.1:4"].weight == 2
        fleet.set_endpoints("counted", [first])
        fleet.set_endpoints("counted", [])
        assert (set(only(fleet).records), len(fleet.left_out)) == ({("other", str(second.address))}, 0)


async def test_certificates_that_are_missing_are_an_error_of_the_server(tmp_path: Path) -> None:
    fleet = Fleet(
        None,
        AllowedServers(),
        targets=[Address.parse("tls://127.0.0.1:1")],
        tls=TLS(ca_file=str(tmp_path / "missing")),
    )
    async with asyncio.timeout(30):
        await fleet.poll()
    assert "missing" in (only(fleet).error or "")
    await fleet.__aexit__(None, None, None)


async def test_a_target_is_read_whether_or_not_it_has_records() -> None:
    with admin_liar(answered(page())) as honest:
        fleet = Fleet(None, AllowedServers(), targets=[Address.parse(honest.address)])
        fleet.set_endpoints("counted", [endpoint(honest.address)])
        fleet.set_endpoints("counted", [])
        await fleet.poll()
        assert only(fleet).state == "not ready"
        await fleet.__aexit__(None, None, None)


async def test_a_server_reports_figures_of_services_for_which_it_has_records() -> None:
    told = [{"name": "counted"}, {"name": "other"}]
    with admin_liar(answered(page(services=told))) as liar:
        async with fleet_of(endpoint(liar.address)) as (fleet, _):
            await fleet.poll()
            assert [fleet.has_figures(one) for one in ("counted", "other")] == [True, False]


async def test_a_registry_that_lists_no_services_is_lost_once() -> None:
    class Unlisted:
        def watch_services(self) -> ServicesWatch:
            raise ConfigError("this registry lists no services")

    events = FleetEvents()
    follower = RegistryFollower(cast(WatchedRegistry, Unlisted()), lambda name, endpoints: None, events)
    async with asyncio.timeout(5):
        await follower.run()
    assert follower.completed.is_set()
    assert follower.error == "this registry lists no services"
    assert [event.kind for event in events.last(9)] == ["registry lost"]


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
        assert fleet.servers["tcp://127.0.0.1:4"].error == "its label admin is not an address of admin pages"
        fleet.set_endpoints("counted", [])
        fleet.set_endpoints("other", [])
        assert {one.state for one in fleet.servers.values()} == {"gone"}
        assert fleet.services == {}
        clock.now += 700
        await fleet.poll()
        assert fleet.servers == {}


@pytest.mark.usefixtures("patient")
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
