"""The metrics of a whole process: refusals, queues, connections, endpoints, breakers, retries, registries, loops."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    ConnectError,
    Endpoint,
    FastRPCError,
    Identity,
    Limits,
    OverloadedError,
    Server,
    ServerConfig,
    Status,
    SyncClient,
)
from fastrpc._core.base.histogram import CounterRegistry, count_refusal
from fastrpc.config import Admission, Breaker, Pool
from fastrpc.limits import ConcurrencyLimit, RateLimit
from fastrpc.metrics import collector
from fastrpc.peers.peer import Peer
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.backend import Backend, Lease, Lookup
from tests.support.certificates import Authority
from tests.support.fake_registry import FakeLease, FakeLookup, away, entries
from tests.support.peer_writing import write_to
from tests.support.rpcx_talk import rpcx_talk
from tests.support.rpcx_wire import call
from tests.support.scrapes import scraped
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

REASONS = {
    *("unauthenticated", "denied", "rate", "concurrency", "queue"),
    *("drain", "memory", "decode", "stranger", "handshake", "address", "connection_rate"),
}
CLIENT_REASONS = {
    *("unauthenticated", "denied", "overloaded", "unavailable"),
    *("deadline", "decode", "unimplemented", "other"),
}


@fastrpc.service("observed")
class Observed:
    def __init__(self) -> None:
        self.failures = 0
        self.entered = threading.Event()
        self.go = threading.Event()

    @fastrpc.method(idempotent=True)
    async def echo(self, number: int) -> int:
        if self.failures:
            self.failures -= 1
            raise CallError(Status.UNAVAILABLE, "not now", retry_after=0.001)
        return number

    @fastrpc.method
    def hold(self) -> None:
        self.entered.set()
        self.go.wait(10)

    @fastrpc.method(inline=True)
    def block(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass


def refused(reason: str, side: str = "server") -> float:
    return scraped(f"fastrpc_{side}_refused_total", reason=reason) or 0.0


@pytest.mark.parametrize(("side", "reasons"), [("server", REASONS), ("client", CLIENT_REASONS)])
def test_every_reason_of_a_refusal_has_a_series_from_the_start(side: str, reasons: set[str]) -> None:
    [refusals] = (metric for metric in collector().collect() if metric.name == f"fastrpc_{side}_refused")
    assert {sample.labels["reason"] for sample in refusals.samples} == reasons


@pytest.mark.parametrize(("token", "reason"), [(None, "unauthenticated"), ("ada's", "denied")])
async def test_an_unauthenticated_or_denied_call_is_counted(token: str | None, reason: str) -> None:
    async def known(peer: Peer) -> Identity | None:
        return None if peer.credentials is None else Identity("ada")

    server = Server(Observed(), authenticate=known, authorize=lambda identity, route: False)
    async with server, Client(str(await server.listen("memory://allowed")), credentials=token) as client:
        before = refused(reason)
        for _ in range(3):
            with pytest.raises(CallError):
                await client.call(Observed.echo, 1)
        assert refused(reason) == before + 3


@pytest.mark.parametrize(
    ("limit", "reason"), [(RateLimit(0.001, 1), "rate"), (ConcurrencyLimit(1), "concurrency")]
)
async def test_a_call_over_a_limit_is_counted(limit: Any, reason: str) -> None:
    service = Observed()
    async with (
        Server(service, limits=[limit]) as server,
        Client(str(await server.listen("memory://over")), fail_mode="failfast") as client,
    ):
        before, told = refused(reason), refused("overloaded", "client")
        holding = asyncio.ensure_future(client.call(Observed.hold))
        await asyncio.to_thread(service.entered.wait)
        with pytest.raises(OverloadedError):
            await client.call(Observed.echo, 1)
        service.go.set()
        await holding
        assert refused(reason) == before + 1
        assert refused("overloaded", "client") == told + 1


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_calls_that_no_server_started_are_counted(is_blocking: bool) -> None:
    async with Server(Observed()) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        for address, method, reason in (
            (target, "observed.nothing", "unimplemented"),
            ("tcp://127.0.0.1:1", "observed.echo", "unavailable"),
        ):
            before = refused(reason, "client")
            with pytest.raises(FastRPCError):
                if is_blocking:
                    with SyncClient(address, fail_mode="failfast") as blocking:
                        await asyncio.to_thread(blocking.call, method, 1)
                else:
                    async with Client(address, fail_mode="failfast") as client:
                        await client.call(method, 1)
            assert refused(reason, "client") == before + 1


async def test_calls_that_wait_for_a_place_at_their_server_are_counted_with_their_wait() -> None:
    def waits(kind: str) -> float:
        return scraped(f"fastrpc_client_queue_seconds_{kind}") or 0.0

    service = Observed()
    config = ServerConfig(limits=Limits(concurrent_calls=1))
    async with (
        Server(service, config=config) as server,
        Client(str(await server.listen("memory://one"))) as client,
    ):
        # By then it has heard of the limit.
        await client.call(Observed.echo, 1)
        count, seconds = waits("count"), waits("sum")
        running = [asyncio.ensure_future(client.call(Observed.hold))]
        await asyncio.to_thread(service.entered.wait)
        running.append(asyncio.ensure_future(client.call(Observed.echo, 1)))
        await asyncio.sleep(0.01)
        service.go.set()
        await asyncio.gather(*running)
        assert waits("count") == count + 1
        assert waits("sum") > seconds


async def test_calls_that_find_no_thread_are_counted_with_their_wait() -> None:
    service = Observed()
    config = ServerConfig(admission=Admission(handler_threads=1, queue_length=1, queue_age=30))
    async with (
        Server(service, config=config) as server,
        Client(str(await server.listen("memory://full")), fail_mode="failfast") as client,
    ):
        before, waits = refused("queue"), scraped("fastrpc_server_queue_seconds_count") or 0.0
        seconds = scraped("fastrpc_server_queue_seconds_sum") or 0.0
        running = [asyncio.ensure_future(client.call(Observed.hold)) for _ in range(2)]
        await asyncio.to_thread(service.entered.wait)
        with pytest.raises(OverloadedError):
            await client.call(Observed.hold)
        assert refused("queue") == before + 1
        service.go.set()
        await asyncio.gather(*running)
        assert (scraped("fastrpc_server_queue_seconds_count") or 0.0) >= waits + 2
        assert (scraped("fastrpc_server_queue_seconds_sum") or 0.0) > seconds
        assert scraped("fastrpc_server_queue_seconds_bucket", le="+Inf") == scraped(
            "fastrpc_server_queue_seconds_count"
        )


async def test_a_faulty_argument_is_counted() -> None:
    async with Server(Observed()) as server, Client(str(await server.listen("memory://faulty"))) as client:
        before = refused("decode")
        with pytest.raises(CallError):
            await client.call("observed.echo", "no number")
        assert refused("decode") == before + 1


async def test_a_stranger_is_counted() -> None:
    async with Server(Observed()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        before = refused("stranger")
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        write_to(writer, b"GET / HTTP/1.1\r\n\r\n")
        await reader.read()
        writer.close()
        assert refused("stranger") == before + 1


async def test_a_failed_handshake_of_tls_is_counted(tmp_path: Path) -> None:
    tls = Authority(tmp_path).certificate("DNS:localhost").tls()
    async with Server(Observed(), config=ServerConfig(tls=tls)) as server:
        address = await server.listen("tls://localhost:0")
        before = refused("handshake")
        with contextlib.closing(
            await asyncio.to_thread(socket.create_connection, ("localhost", address.port))
        ) as peer:
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await asyncio.to_thread(peer.recv, 100)
            await eventually(lambda: refused("handshake") == before + 1)
        assert refused("handshake") == before + 1


@pytest.mark.parametrize(
    ("address", "is_blocking"),
    [
        ("tcp://127.0.0.1:0", False),
        ("tcp://127.0.0.1:0", True),
        ("unix://{folder}/counted.sock", False),
        ("unix://{folder}/counted.sock", True),
        ("memory://counted", False),
    ],
)
async def test_connections_are_counted_by_transport_while_they_last(
    address: str, is_blocking: bool, tmp_path: Path
) -> None:
    labels = {"transport": address.partition(":")[0], "protocol": "native"}

    def counts() -> tuple[float, float]:
        return (
            scraped("fastrpc_server_connections", **labels) or 0.0,
            scraped("fastrpc_client_connections", **labels) or 0.0,
        )

    server_before, client_before = counts()
    async with Server(Observed()) as server:
        target = str(await server.listen(address.format(folder=tmp_path)))
        if is_blocking:
            with SyncClient(target) as blocking:
                await asyncio.to_thread(blocking.call, Observed.echo, 1)
                assert counts() == (server_before + 1, client_before + 1)
        else:
            async with Client(target) as one, Client(target) as other:
                await one.call(Observed.echo, 1)
                await other.call(Observed.echo, 1)
                assert counts() == (server_before + 2, client_before + 2)
    assert counts() == (server_before, client_before)


async def test_endpoints_are_shown_by_service_and_state() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        async with Server(Observed()) as server:
            here = str(await server.listen("tcp://127.0.0.1:0"))
            async with Client([here, away]) as client:
                await client.call(Observed.echo, 1)
                states = {"connected": 1, "connecting": 0, "failed": 1, "idle": 0, "ejected": 0, "down": 0}
                async with asyncio.timeout(10):
                    while scraped("fastrpc_client_endpoints", service=f"{here}, {away}", state="failed") != 1:
                        await asyncio.sleep(0.01)
                for state, count in states.items():
                    assert (
                        scraped("fastrpc_client_endpoints", service=f"{here}, {away}", state=state) == count
                    )
            assert scraped("fastrpc_client_endpoints", service=f"{here}, {away}", state="connected") is None


async def test_the_worst_breaker_of_an_endpoint_is_shown() -> None:
    service = Observed()
    config = ClientConfig(pool=Pool(breaker=Breaker(consecutive=2, open_seconds=30), outlier=None))
    async with Server(service) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with (
            Client(target, config=config, fail_mode="failfast") as client,
            Client(target, config=config) as calm,
        ):
            await client.call(Observed.echo, 1)
            await calm.call(Observed.echo, 1)
            assert scraped("fastrpc_client_breaker_state", endpoint=target) == 0
            service.failures = 2
            for _ in range(2):
                with pytest.raises(CallError):
                    await client.call(Observed.echo, 1)
            assert scraped("fastrpc_client_breaker_state", endpoint=target) == 2


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_retries_are_counted_by_the_status_before(is_blocking: bool) -> None:
    service = Observed()
    async with Server(service) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        before = scraped("fastrpc_client_retries_total", reason="UNAVAILABLE") or 0.0
        service.failures = 2
        if is_blocking:
            with SyncClient(target, fail_mode="failtry") as blocking:
                await asyncio.to_thread(blocking.call, Observed.echo, 1)
        else:
            async with Client(target, fail_mode="failtry") as client:
                await client.call(Observed.echo, 1)
        assert scraped("fastrpc_client_retries_total", reason="UNAVAILABLE") == before + 2


async def test_a_second_attempt_during_the_first_is_counted_as_a_hedge() -> None:
    @fastrpc.service("hedged")
    class Slow:
        @fastrpc.method(idempotent=True)
        async def wait(self) -> int:
            calls.append(1)
            if len(calls) == 1:
                await asyncio.sleep(10)
            return 1

    calls: list[int] = []
    async with Server(Slow()) as server:
        targets = [str(await server.listen("tcp://127.0.0.1:0")) for _ in range(2)]
        async with Client(targets, fail_mode=fastrpc.failmodes.FailBackup(delay=0.01)) as client:
            before = scraped("fastrpc_client_retries_total", reason="hedge") or 0.0
            assert await client.call(Slow.wait) == 1
            assert scraped("fastrpc_client_retries_total", reason="hedge") == before + 1


class FakeBackend(Backend):
    def __init__(self, lookup: FakeLookup, lease: FakeLease) -> None:
        self.lookup, self.lease = lookup, lease

    def open_lookup(self, service: str) -> Lookup:
        return self.lookup

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        return self.lease

    def list_services(self) -> Sequence[str]:
        return []

    def close(self) -> None:
        """Nothing is open."""


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    assert condition()


def test_a_registry_is_up_while_it_answers() -> None:
    name = "fake://registry:1"

    def state() -> float | None:
        return scraped("fastrpc_registry_up", registry=name)

    lookup, lease = FakeLookup(entries(1)), FakeLease()
    registry = BackedRegistry(FakeBackend(lookup, lease), name)
    assert state() is None
    with registry.watch("shop"):
        until(lambda: state() == 1)
        lookup.answers = [away()]
        until(lambda: state() == 0)
        lookup.answers = [entries(1)]
        until(lambda: state() == 1)
    registry.close()
    assert state() is None


def test_a_registry_is_up_while_it_takes_registrations() -> None:
    name, lease = "fake://registry:2", FakeLease()
    registry = BackedRegistry(FakeBackend(FakeLookup(entries(1)), lease), name)
    with registry.register("shop", Endpoint("tcp://10.0.0.1:1")):
        assert scraped("fastrpc_registry_up", registry=name) == 1
    lease.trouble = away()
    with registry.register("shop", Endpoint("tcp://10.0.0.1:2")):
        assert scraped("fastrpc_registry_up", registry=name) == 0
    registry.close()


async def test_a_handler_that_blocks_its_loop_is_seen() -> None:
    async with Server(Observed()) as server, Client(str(await server.listen("tcp://127.0.0.1:0"))) as client:
        before = scraped("fastrpc_loop_blocked_seconds_total")
        assert before is not None
        for _ in range(2):
            await client.call(Observed.block, 0.1)
            # The next tick shows how late it is.
            await asyncio.sleep(0.05)
        blocked = scraped("fastrpc_loop_blocked_seconds_total")
        assert blocked is not None
        assert blocked - before >= 0.15
        lag = scraped("fastrpc_loop_lag_seconds")
        assert lag is not None
        assert lag >= 0


def test_a_closed_client_leaves_no_series() -> None:
    client = SyncClient("tcp://127.0.0.1:1")
    with pytest.raises(ConnectError):
        client.call("observed.echo", 1)
    assert scraped("fastrpc_client_endpoints", service="tcp://127.0.0.1:1", state="failed") == 1
    client.close()
    assert scraped("fastrpc_client_endpoints", service="tcp://127.0.0.1:1", state="failed") is None


def test_a_collector_of_other_counters_shows_no_counters_of_the_process() -> None:
    names = {metric.name for metric in collector(CounterRegistry()).collect()}
    assert "fastrpc_server_refused" not in names
    assert {metric.name for metric in collector().describe()} == {
        metric.name for metric in collector().collect()
    }


def test_a_reason_that_has_no_series_is_refused() -> None:
    with pytest.raises(KeyError):
        count_refusal("bad luck")


async def test_entries_of_metadata_that_are_left_out_are_counted_by_protocol() -> None:
    @fastrpc.service("seen")
    class Seen:
        @fastrpc.method
        async def hello(self) -> None:
            return None

    async with Server(Seen(), config=ServerConfig(protocols=("rpcx", "phobos"))) as server:
        await server.listen("tcp://127.0.0.1:0")
        for protocol, magic in (("rpcx", 0x08), ("phobos", 0x42)):
            before = scraped("fastrpc_dropped_metadata_total", protocol=protocol) or 0.0
            async with rpcx_talk(server, magic=magic) as talk:
                answer = await talk.ask(call("seen", "hello", metadata={"a b": "", "": "", "kept": ""}))
                assert answer.error is None
            assert scraped("fastrpc_dropped_metadata_total", protocol=protocol) == before + 2
