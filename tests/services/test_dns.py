"""Names in a DNS server that changes its mind."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Client, Endpoint
from fastrpc.registries import open_registry, split_target
from tests.support.cluster import until
from tests.support.dns_server import DnsServer
from tests.support.member import Member
from tests.support.noted import Noted
from tests.support.noted_calls import NotedCall, NotedCalls
from tests.support.open_loop import OpenLoop
from tests.support.ports import free_ports

#: The TTL of the records here, and so the time between two questions.
PERIOD_SECONDS = 1.0


#: Calls per second. Some of them are under way everywhere at any time; no number of endpoints here divides theirs, or
#: taking turns would send each endpoint calls of the same methods.
RATE = 500
METHODS = [Noted.lasting, Noted.again, Noted.lasting, Noted.once, Noted.lasting]


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer() as running:
        yield running


def opened(target: str) -> tuple[Any, str]:
    parts = split_target(target)
    assert parts is not None
    return open_registry(parts[0]), parts[1]


def called(calls: NotedCalls, address: str) -> list[NotedCall]:
    """Return the calls that an endpoint answered, in the order of their beginning."""
    return sorted((call for call in calls.ended if call.endpoint == address), key=lambda call: call.begun_at)


async def until_hosts(watch: Any, *hosts: str) -> float:
    started = time.monotonic()
    async with asyncio.timeout(20):
        async for snapshot in watch:
            if [one.address.host for one in snapshot.endpoints] == sorted(hosts):
                break
    return time.monotonic() - started


@pytest.mark.measures
async def test_clients_call_an_added_server_and_leave_a_removed_one(
    server: DnsServer, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    journal = tmp_path / "journal"
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    members = [Member(tmp_path, journal, address=f"tcp://{host}:{port}") for host in hosts]
    added, removed = members[2].address, members[1].address
    server.set("noted.test", "A", *hosts[:2])
    async with contextlib.AsyncExitStack() as stack:
        for member in members:
            stack.callback(member.kill)
        await asyncio.gather(*(asyncio.to_thread(member.start) for member in members))
        client = await stack.enter_async_context(Client(server.target("noted.test", port)))
        await client.ready()
        calls = NotedCalls(client, METHODS)
        async with OpenLoop(RATE, calls):
            await until(lambda: called(calls, removed))
            added_at = time.monotonic()
            server.set("noted.test", "A", *hosts)
            await until(lambda: called(calls, added))
            removed_at = time.monotonic()
            server.set("noted.test", "A", hosts[0], hosts[2])
            await asyncio.sleep(2.5 * PERIOD_SECONDS)
    assert calls.failures() == []
    assert calls.problems(journal) == []
    assert added_at < called(calls, added)[0].begun_at < added_at + 2 * PERIOD_SECONDS
    there = called(calls, removed)
    last = max(call.begun_at for call in there)
    assert removed_at < last < removed_at + 2 * PERIOD_SECONDS
    # Calls under way when the server was left ran to their end there.
    assert len([call for call in there if call.begun_at <= last < call.ended_at]) > 1


@pytest.mark.measures
async def test_record_that_comes_or_goes_is_seen_within_two_periods(server: DnsServer) -> None:
    server.set("arith.test", "A", "127.0.0.1", "127.0.0.2")
    registry, service = opened(f"{server.url}/arith.test:8972")
    async with registry, registry.watch(service) as watch:
        await until_hosts(watch, "127.0.0.1", "127.0.0.2")
        server.set("arith.test", "A", "127.0.0.1", "127.0.0.2", "127.0.0.3")
        assert await until_hosts(watch, "127.0.0.1", "127.0.0.2", "127.0.0.3") < 2 * PERIOD_SECONDS
        server.set("arith.test", "A", "127.0.0.1", "127.0.0.3")
        assert await until_hosts(watch, "127.0.0.1", "127.0.0.3") < 2 * PERIOD_SECONDS


async def test_headless_service_has_addresses_of_both_kinds(server: DnsServer) -> None:
    server.set("arith.test", "A", "127.0.0.1")
    server.set("arith.test", "AAAA", "::1")
    registry, service = opened(f"{server.url}/arith.test:8972")
    async with registry, registry.watch(service) as watch:
        await until_hosts(watch, "127.0.0.1", "::1")
        assert [str(one) for one in watch.latest.endpoints] == ["tcp://127.0.0.1:8972", "tcp://[::1]:8972"]


async def test_service_records_bring_ports_and_weights(server: DnsServer) -> None:
    server.set("_arith._tcp.test", "SRV", "0 5 8001 a.test.", "0 1 8002 b.test.", "9 1 8003 c.test.")
    for name, host in (("a", "127.0.0.1"), ("b", "127.0.0.2"), ("c", "127.0.0.3")):
        server.set(f"{name}.test", "A", host)
    registry, service = opened(f"{server.url}/_arith._tcp.test")
    async with registry, registry.watch(service) as watch:
        await until_hosts(watch, "127.0.0.1", "127.0.0.2")
        assert watch.latest.endpoints == (
            Endpoint("tcp://127.0.0.1:8001", weight=5),
            Endpoint("tcp://127.0.0.2:8002", weight=1),
        )


async def test_server_that_fails_or_goes_leaves_the_last_list(server: DnsServer) -> None:
    server.set("arith.test", "A", "127.0.0.1")
    registry, service = opened(f"{server.url}/arith.test:8972?timeout=0.5")
    async with registry, registry.watch(service) as watch:
        await until_hosts(watch, "127.0.0.1")
        server.is_failing = True
        async with asyncio.timeout(10):
            while watch.error is None:
                await asyncio.sleep(0.01)
        assert len(watch.latest.endpoints) == 1
        server.is_failing = False
        async with asyncio.timeout(10):
            while watch.error is not None:
                await asyncio.sleep(0.01)


async def test_name_that_is_registered_later_is_found_then(server: DnsServer) -> None:
    registry, service = opened(f"{server.url}/late.test:8972")
    async with registry, registry.watch(service) as watch:
        await until_hosts(watch)
        server.set("late.test", "A", "127.0.0.1")
        await until_hosts(watch, "127.0.0.1")


@pytest.mark.measures
@pytest.mark.parametrize("kind", ["A", "AAAA"])
async def test_question_that_gets_lost_is_asked_again_soon(server: DnsServer, kind: str) -> None:
    server.set("arith.test", "A", "127.0.0.1")
    registry, service = opened(f"{server.url}/arith.test:8972")
    async with registry, registry.watch(service) as watch:
        await until_hosts(watch, "127.0.0.1")
        server.loses.add(kind)
        server.set("arith.test", "A", "127.0.0.1", "127.0.0.2")
        assert await until_hosts(watch, "127.0.0.1", "127.0.0.2") < 2.5 * PERIOD_SECONDS
        assert watch.error is None
        assert server.loses == set()


async def test_metadata_address_in_a_record_is_not_dialled(
    server: DnsServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.set("arith.test", "A", "127.0.0.1", "169.254.169.254")
    registry, service = opened(f"{server.url}/arith.test:80")
    async with registry, registry.watch(service) as watch:
        await until_hosts(watch, "127.0.0.1")
    assert "'169.254.169.254:80' is ignored" in caplog.text


async def test_names_are_not_asked_for_more_often_than_their_ttl(server: DnsServer) -> None:
    server.set("arith.test", "A", "127.0.0.1", ttl=3600)
    registry, service = opened(f"{server.url}/arith.test:80")
    async with registry, registry.watch(service) as watch:
        await until_hosts(watch, "127.0.0.1")
        await asyncio.sleep(1.5)
    assert server.questions["A"] == 1
