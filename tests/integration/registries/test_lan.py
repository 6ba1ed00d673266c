"""Servers announce themselves by multicast over loopback: found, left, restarted, with keys that change."""

import asyncio
import itertools
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ConfigError, Endpoint
from fastrpc.registries import open_registry
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.record import encode_record
from fastrpc.registries.lan import multicast
from fastrpc.registries.lan import node as nodes
from fastrpc.registries.lan.backend import LanBackend
from fastrpc.registries.lan.datagrams import ANNOUNCE, NO_NONCE, LanDatagram, bodies_of, signed_datagram
from fastrpc.registries.lan.keys import add_key, open_keys, read_keys, sign_with_last
from fastrpc.registries.lan.multicast import GROUP_4, PORT
from fastrpc.registries.lan.node import LanNode
from tests.support.program import Program
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ONE, TWO = Endpoint("tcp://10.0.0.1:80", zone="eu-1a"), Endpoint("tcp://[fd00::2]:80")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "lan.keys"
    add_key(path)
    return path


@pytest.fixture
def opened(key_file: Path) -> Iterator[Callable[..., Any]]:
    """Open registries of one program each."""
    found: list[Any] = []

    def open_one(path: Path = key_file) -> Any:
        found.append(open_registry(f"lan://?key_file={path}&interface=lo"))
        return found[-1]

    yield open_one
    for one in found:
        one.close()


async def until(watch: Any, *endpoints: Endpoint) -> None:
    await eventually(lambda: watch.latest is not None and set(watch.latest.endpoints) == set(endpoints))


async def test_servers_are_found_and_leave(opened: Any) -> None:
    servers, clients = opened(), opened()
    async with clients.watch("arith") as watch:
        async with servers.register("arith", ONE):
            await until(watch, ONE)
            async with opened().register("arith", TWO), servers.register("other", TWO):
                await until(watch, ONE, TWO)
                assert await asyncio.to_thread(clients.services) == ["arith", "other"]
            await until(watch, ONE)
        await until(watch)


async def test_client_that_comes_later_asks(opened: Any) -> None:
    async with opened().register("arith", ONE), opened().watch("arith") as watch:
        await until(watch, ONE)


async def test_calls_reach_a_server_that_announces_itself(key_file: Path) -> None:
    @fastrpc.service("arith")
    class Arith:
        @fastrpc.method
        async def mul(self, a: int, b: int) -> int:
            return a * b

    url = f"lan://?key_file={key_file}&interface=lo"
    async with fastrpc.Server(Arith, registry=url) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with Client(f"lan://arith?key_file={key_file}&interface=lo") as client:
            assert await client.call("arith.mul", 6, 7) == 42


async def test_many_records_of_a_program_arrive_in_several_packets(opened: Any) -> None:
    servers = opened()
    endpoints = [Endpoint(f"tcp://10.0.0.1:{port}", labels={"about": "x" * 400}) for port in range(1, 11)]
    registrations = [servers.register("arith", endpoint) for endpoint in endpoints]
    for one in registrations:
        await one.__aenter__()
    async with opened().watch("arith") as watch:
        await until(watch, *endpoints)
    for one in registrations:
        await one.__aexit__(None, None, None)


async def test_programs_with_another_key_do_not_see_each_other(opened: Any, tmp_path: Path) -> None:
    add_key(tmp_path / "other.keys")
    async with (
        opened().register("arith", ONE),
        opened(tmp_path / "other.keys").register("arith", TWO),
        opened().watch("arith") as watch,
        opened(tmp_path / "other.keys").watch("arith") as other,
    ):
        await until(watch, ONE)
        await until(other, TWO)


async def test_record_that_two_leases_hold_stays_until_both_have_left(opened: Any) -> None:
    servers = opened()
    async with servers.register("arith", ONE), opened().watch("arith") as watch:
        async with servers.register("arith", ONE), opened().register("arith", TWO):
            await until(watch, ONE, TWO)
        await until(watch, ONE)


async def test_program_that_leaves_and_returns_at_once_still_hears_other_members(opened: Any) -> None:
    servers, others = opened(), opened()
    async with servers.watch("other") as watch:
        async with servers.register("arith", ONE):
            pass
        async with servers.register("arith", ONE):
            # Longer than the goodbyes of the first block would have gone on.
            for _ in range(2):
                async with others.register("other", TWO):
                    await until(watch, TWO)
                await until(watch)


def test_record_that_no_packet_holds_is_refused(opened: Any) -> None:
    labels = {f"label-{number}": "x" * 300 for number in range(4)}
    with pytest.raises(ConfigError, match="a datagram holds 1000"):
        opened().register("arith", Endpoint("tcp://10.0.0.1:80", labels=labels))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("lan://", "needs a key file"),
        ("lan://host?key_file={}", "lan:// takes no host"),
        ("lan://?key_file=/nowhere", "cannot be read"),
        ("lan://?key_file={}&colour=red", "has no option colour"),
    ],
)
def test_url_that_cannot_work_is_refused(
    url: str, message: str, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FASTRPC_LAN_KEY_FILE", raising=False)
    with pytest.raises(ConfigError, match=message):
        open_registry(url.format(key_file))


def test_key_file_may_be_in_the_environment(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTRPC_LAN_KEY_FILE", str(key_file))
    with open_registry("lan://?interface=lo") as registry:
        assert registry.services() == []


async def test_missing_interface_is_an_outage(key_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry = open_registry(f"lan://?key_file={key_file}&interface=none0")
    async with registry.register("arith", ONE) as registration:
        await eventually(lambda: "announcements cannot be sent" in str(registration.error or caplog.text))
    await registry.aclose()


async def test_clocks_an_hour_apart_work(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def an_hour_ago(kind: int, milliseconds: int, *rest: Any) -> LanDatagram:
        return LanDatagram(kind, milliseconds - 3_600_000, *rest)

    async with opened().watch("arith") as watch:
        await eventually(lambda: watch.latest is not None)
        monkeypatch.setattr(nodes, "LanDatagram", an_hour_ago)
        async with opened().register("arith", ONE):
            await until(watch, ONE)


async def test_keys_change_on_one_machine_after_the_other(
    tmp_path: Path, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastrpc.watched_file.LOOK_SECONDS", 0.05)
    paths = [key_file, tmp_path / "other.keys"]
    paths[1].write_bytes(key_file.read_bytes())
    machines = [LanNode(open_keys(path), "lo") for path in paths]
    one, two = (BackedRegistry(LanBackend(each), "lan://") for each in machines)
    seen: set[tuple[Endpoint, ...]] = set()

    def heard() -> int:
        return max(each.sequence for each in machines[1].members._instances.values())

    async with one, two, one.register("arith", ONE), two.watch("arith") as watch:
        await until(watch, ONE)

        async def take(step: Callable[[Path], object], number: int) -> None:
            keys = machines[number]._keys
            version = keys.version
            step(paths[number])
            await eventually(lambda: keys.version > version)
            before = heard()
            machines[0].publish("arith", b"{}")
            machines[0].withdraw("arith", b"{}")
            await eventually(lambda: heard() > before)
            seen.add(watch.latest.endpoints)

        await take(add_key, 0)
        await take(lambda path: path.write_bytes(key_file.read_bytes()), 1)
        await take(sign_with_last, 0)
        await take(sign_with_last, 1)
        for number in (0, 1):
            await take(lambda path: path.write_text(path.read_text().splitlines()[0] + "\n"), number)
    assert seen == {(ONE,)}


class Sender:
    """Sends datagrams over loopback as another program does."""

    def __init__(self, keys: dict[bytes, bytes]) -> None:
        self._keys = keys
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        self._sequence = itertools.count(1)

    def datagram(self) -> bytes:
        [body] = bodies_of([("arith", encode_record(TWO))])
        now = int(time.time() * 1000)
        return signed_datagram(
            LanDatagram(ANNOUNCE, now, b"f" * 16, next(self._sequence), NO_NONCE, body), self._keys
        )

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, (GROUP_4, PORT))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def sender(key_file: Path) -> Iterator[Sender]:
    made = Sender(read_keys(key_file.read_text()))
    yield made
    made.close()


async def test_packets_that_are_not_whole_are_not_listed(opened: Any, sender: Sender, tmp_path: Path) -> None:
    async with opened().watch("arith") as watch, opened().register("arith", ONE):
        await until(watch, ONE)
        whole = sender.datagram()
        forged = Sender({b"other": b"x" * 32})
        for data in (whole[:-1], whole + b"x", whole[::-1], b"", b"x" * 2_000, forged.datagram()):
            sender.send(data)
        forged.close()
        # Datagrams come in their order: once this one counts, those before it did not.
        async with opened().register("arith", Endpoint("tcp://10.0.0.3:80")):
            await eventually(lambda: len(watch.latest.endpoints) > 1)
        assert TWO not in watch.latest.endpoints
        sender.send(whole)
        await until(watch, ONE, TWO)


async def test_a_flood_expires_no_record(
    opened: Any, sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nodes, "TURN_DATAGRAMS", 20)
    async with opened().watch("arith") as watch, opened().register("arith", ONE):
        await until(watch, ONE)
        while "others are dropped" not in caplog.text:
            for _ in range(100):
                sender.send(b"forged")
            await asyncio.sleep(0)
        assert watch.latest.endpoints == (ONE,)


async def test_interface_that_gets_its_address_later_is_joined(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined = multicast._has_joined
    tries: list[int] = []

    def fails_at_first(one: socket.socket, index: int) -> bool:
        tries.append(index)
        return len(tries) > 4 and joined(one, index)

    monkeypatch.setattr(multicast, "_has_joined", fails_at_first)
    monkeypatch.setattr(nodes, "ANNOUNCE_SECONDS", 0.05)
    async with opened().register("arith", ONE), opened().watch("arith") as watch:
        await until(watch, ONE)


PROGRAM = """
import signal

import fastrpc
from fastrpc.registries import open_registry
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.record import encode_record

with open_registry("lan://?key_file=lan.keys&interface=lo") as registry:
    with registry.register("arith", fastrpc.Endpoint("tcp://10.0.0.1:80", zone="eu-1a")):
        print("registered", flush=True)
        signal.pause()
"""


@pytest.mark.measures
async def test_server_that_is_killed_is_gone_in_time(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "announcing.py").write_text(PROGRAM)
    with Program(["announcing.py"], tmp_path) as program:
        program.wait_output("registered")
        started = time.monotonic()
        async with opened().watch("arith") as watch:
            await until(watch, ONE)
            assert time.monotonic() - started < 2.0
            program.signal(signal.SIGKILL)
            killed = time.monotonic()
            async with asyncio.timeout(20):
                while watch.latest.endpoints:
                    await anext(watch)
            assert time.monotonic() - killed <= 15.0


async def test_a_datagram_that_the_system_drops_counts_as_a_flood(
    opened: Any, sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dropped = 0
    monkeypatch.setattr(multicast.Multicast, "dropped", lambda one: dropped)
    async with opened().watch("arith") as watch, opened().register("arith", ONE):
        await until(watch, ONE)
        assert "others are dropped" not in caplog.text
        dropped = 1
        await eventually(lambda: "others are dropped" in caplog.text)


async def test_dropped_datagrams_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multicast, "_WAITING_BYTES", 4_096)
    receiving = multicast.Multicast("lo")
    try:
        assert receiving.dropped() == 0
        for _ in range(100):
            receiving.send(bytes(1_000))
        assert receiving.dropped() > 0
    finally:
        receiving.close()


async def test_registry_closes_at_once_while_it_waits_for_more_datagrams(
    opened: Any, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    pause = nodes.LanNode._pause

    def noted(node: Any, seconds: float) -> None:
        pauses.append(seconds)
        pause(node, seconds)

    monkeypatch.setattr(nodes.LanNode, "_pause", noted)
    async with asyncio.timeout(60), opened().watch("arith"):
        monkeypatch.setattr(nodes, "BUSY_DATAGRAMS", 0)
        monkeypatch.setattr(nodes, "TURN_SECONDS", 1_000.0)
        monkeypatch.setattr(nodes, "PAUSE_SECONDS", 1_000.0)
        monkeypatch.setattr(nodes.LanNode, "_due", lambda node: float("inf"))
        while not any(seconds > 900 for seconds in pauses):
            sender.send(b"forged")
            await asyncio.sleep(0.01)


@pytest.mark.measures
@pytest.mark.parametrize(("rate", "size"), [(20_000, 0), (15_000, 1_200)])
async def test_a_flood_of_forged_datagrams_costs_a_quarter_of_a_core_and_loses_no_record(
    opened: Any,
    sender: Sender,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    rate: int,
    size: int,
) -> None:
    received: Counter[threading.Thread] = Counter()
    receive = nodes.LanNode._receive

    def receive_counted(node: Any, one: Any, keys: Any) -> int:
        count = receive(node, one, keys)
        received[threading.current_thread()] += count
        return count

    monkeypatch.setattr(nodes.LanNode, "_receive", receive_counted)
    forged = bytearray(sender.datagram())
    forged[-1] ^= 1
    forged += bytes(max(0, size - len(forged)))
    async with opened().watch("arith") as watch, opened().register("arith", ONE):
        await until(watch, ONE)
        [thread] = [one for one in threading.enumerate() if one.name == "fastrpc registry lan"][:1]
        used = _thread_seconds(thread)
        started = time.monotonic()
        sent = 0
        while (passed := time.monotonic() - started) < 3.0:
            while sent < passed * rate:
                sender.send(forged)
                sent += 1
            await asyncio.sleep(0.002)
        share = (_thread_seconds(thread) - used) / passed
        assert watch.latest.endpoints == (ONE,)
        await eventually(lambda: received[thread] >= 0.99 * sent)
    if rate < nodes.TURN_DATAGRAMS / nodes.TURN_SECONDS:
        assert "others are dropped" not in caplog.text
    assert share < 0.25, f"{share:.3f} of a core at {sent / passed:.0f} datagrams/s"


def _thread_seconds(thread: threading.Thread) -> float:
    clock = time.pthread_getcpuclockid(thread.ident)  # type: ignore[arg-type]
    return time.clock_gettime(clock)
