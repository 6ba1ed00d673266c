"""Servers that announce themselves to other machines: found, called, left, killed, under a flood, with new keys."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Endpoint, SyncClient
from fastrpc.registries import open_registry
from fastrpc.registries.base.record import encode_record
from fastrpc.registries.lan.datagrams import ANNOUNCE, NO_NONCE, LanDatagram, bodies_of, signed_datagram
from fastrpc.registries.lan.keys import add_key, read_keys, sign_with_last
from fastrpc.registries.lan.multicast import GROUP_4, PORT
from tests.support.kept_process import KeptProcess, accepts
from tests.support.local_network import Machine, local_network
from tests.support.ports import free_ports

pytestmark = pytest.mark.one_loop

#: The name of the service: on a shared loopback other runs hear these announcements, and mDNS has no keys.
SERVICE = f"arith_{os.getpid()}"

#: Seconds in which a client has the servers that answer its query, and in which a killed server is gone.
FOUND_SECONDS, GONE_SECONDS = 0.5, 15.0

#: Sends the same bytes: at most the given number a second, for the given number of seconds, from an address.
FLOOD = """
import socket
import sys
import time

rate, seconds, host, group, port, data = sys.argv[1:]
place, data = (group, int(port)), bytes.fromhex(data)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
    sent, begun = 0, time.monotonic()
    while (passed := time.monotonic() - begun) < float(seconds):
        if (due := int(passed * float(rate)) - sent) <= 0:
            time.sleep(0.001)
        for _ in range(min(due, 250)):
            sender.sendto(data, place)
            sent += 1
    print(sent / passed)
"""


class ArithServer(KeptProcess):
    """A server on a machine, as people start it.

    Args:
        url: its registry.
    """

    def __init__(self, machine: Machine, folder: Path, url: str) -> None:
        super().__init__(folder / f"{machine.host}.log")
        self._machine, self._url = machine, url
        self._place = machine.host, free_ports(1)[0]
        self.address = "tcp://{}:{}".format(*self._place)

    def command(self) -> list[str]:
        options = ["--address", self.address, "--registry", self._url]
        return [sys.executable, "-m", "fastrpc", "run", "tests.support.arith:Arith", *options]

    def start(self) -> None:
        with self._machine.entered():
            super().start()

    def is_ready(self) -> bool:
        return accepts(*self._place)


@pytest.fixture(scope="module")
def machines() -> Iterator[list[Machine]]:
    with local_network(3) as found:
        yield found


@pytest.fixture(autouse=True)
def own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARITH_NAME", SERVICE)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "lan.keys"
    add_key(path)
    return path


def lan(machine: Machine, key_file: Path) -> str:
    return f"lan://?key_file={key_file}{machine.option and '&'}{machine.option}"


def mdns(machine: Machine, key_file: Path) -> str:
    pytest.importorskip("zeroconf", reason="zeroconf is not installed")
    return f"mdns://{machine.option and '?'}{machine.option}"


@contextlib.contextmanager
def two_servers(
    machines: list[Machine], folder: Path, url: Callable[[Machine], str]
) -> Iterator[list[ArithServer]]:
    """Yield servers on the first two machines, and be on the third."""
    with contextlib.ExitStack() as stack:
        made = [ArithServer(machine, folder, url(machine)) for machine in machines[:2]]
        for server in made:
            stack.enter_context(server.running())
        stack.enter_context(machines[2].entered())
        yield made


def until(watch: Any, *servers: ArithServer) -> None:
    """Read a watch until it shows these servers."""
    expected = {server.address for server in servers}
    while {str(one.address) for one in (watch.latest.endpoints if watch.latest else ())} != expected:
        assert watch.wait(30) is not None, watch.latest


def find(url: str, *servers: ArithServer) -> float:
    """Find these servers as a client that has just started; return the seconds that it took."""
    started = time.monotonic()
    with open_registry(url) as registry, registry.watch(SERVICE) as watch:  # type: ignore[attr-defined]
        until(watch, *servers)
        return time.monotonic() - started


@pytest.mark.parametrize("url_of", [lan, mdns])
def test_servers_of_other_machines_are_called_and_leave(
    machines: list[Machine], tmp_path: Path, key_file: Path, url_of: Callable[[Machine, Path], str]
) -> None:
    def url(machine: Machine) -> str:
        return url_of(machine, key_file)

    with two_servers(machines, tmp_path, url) as (one, two), open_registry(url(machines[2])) as registry:  # type: ignore[attr-defined]
        with registry.watch(SERVICE) as watch, SyncClient(SERVICE, registry=registry) as client:
            until(watch, one, two)
            answers = client.broadcast(f"{SERVICE}.mul", 6, 7)
            assert {str(each): reply.value for each, reply in answers.items()} == dict.fromkeys(
                (one.address, two.address), 42
            )
            one.stop()
            until(watch, two)
            assert client.call(f"{SERVICE}.mul", 6, 7) == 42


def test_keys_change_on_one_machine_after_the_other(
    machines: list[Machine], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fastrpc.audit")
    files = {machine: tmp_path / f"{machine.host}.keys" for machine in machines}
    add_key(files[machines[0]])
    for machine in machines[1:]:
        files[machine].write_bytes(files[machines[0]].read_bytes())
    here = lan(machines[2], files[machines[2]])
    lost: list[tuple[Endpoint, ...]] = []
    with (
        two_servers(machines, tmp_path, lambda machine: lan(machine, files[machine])) as servers,
        open_registry(here) as registry,  # type: ignore[attr-defined]
        registry.watch(SERVICE) as watch,
    ):
        until(watch, *servers)
        watch.listen(lambda: lost.append(watch.latest.endpoints))
        texts = [lambda server=server: server.written() for server in servers] + [lambda: caplog.text]

        def change(step: Callable[[Path], object]) -> None:
            """Change the key file of one machine after the other; each time a new client finds all servers."""
            for path, text in zip(files.values(), texts, strict=True):
                before = text().count("was read again")
                step(path)
                while text().count("was read again") == before:
                    assert watch.wait(0.05) is None
                find(here, *servers)

        add_key(tmp_path / "new.keys")
        new = (tmp_path / "new.keys").read_text()
        change(lambda path: path.write_text(path.read_text() + new))
        change(sign_with_last)
        change(lambda path: path.write_text(new))
    assert not lost


@pytest.mark.measures
def test_a_client_finds_the_servers_that_answer_at_once(
    machines: list[Machine], tmp_path: Path, key_file: Path
) -> None:
    with two_servers(machines, tmp_path, lambda machine: lan(machine, key_file)) as servers:
        here = lan(machines[2], key_file)
        find(here, *servers)
        took = [find(here, *servers) for _ in range(10)]
    print(f"found after {min(took):.3f} to {max(took):.3f} s")
    assert max(took) <= FOUND_SECONDS


@pytest.mark.measures
def test_a_killed_server_is_gone_in_time(machines: list[Machine], tmp_path: Path, key_file: Path) -> None:
    with two_servers(machines, tmp_path, lambda machine: lan(machine, key_file)) as (one, two):
        here = lan(machines[2], key_file)
        with open_registry(here) as registry, registry.watch(SERVICE) as watch:  # type: ignore[attr-defined]
            until(watch, one, two)
            # It has just answered the query of another client, for all to hear.
            find(here, one, two)
            one.kill()
            killed = time.monotonic()
            until(watch, two)
            took = time.monotonic() - killed
    print(f"gone after {took:.2f} s")
    assert took <= GONE_SECONDS


def forged(key_file: Path) -> bytes:
    """Return an announcement whose signature has to be computed before it is refused."""
    name = next(iter(read_keys(key_file.read_text())))
    [body] = bodies_of([(SERVICE, encode_record(Endpoint("tcp://192.0.2.1:80")))])
    now = int(time.time() * 1000)
    return signed_datagram(LanDatagram(ANNOUNCE, now, b"f" * 16, 1, NO_NONCE, body), {name: b"other" * 8})


@pytest.mark.measures
@pytest.mark.parametrize(
    ("rate", "seconds"), [(20_000, 5.0), pytest.param(100_000, 20.0, marks=pytest.mark.conformance)]
)
def test_a_flood_of_forged_datagrams_loses_no_server(
    machines: list[Machine], tmp_path: Path, key_file: Path, rate: int, seconds: float
) -> None:
    lists: list[tuple[Endpoint, ...]] = []
    with two_servers(machines, tmp_path, lambda machine: lan(machine, key_file)) as servers:
        here = lan(machines[2], key_file)
        with open_registry(here) as registry, registry.watch(SERVICE) as watch:  # type: ignore[attr-defined]
            until(watch, *servers)
            watch.listen(lambda: lists.append(watch.latest.endpoints))
            [thread] = [one for one in threading.enumerate() if one.name == "fastrpc registry lan"]
            used, begun = seconds_of(thread), time.monotonic()
            with machines[1].entered():
                told = flood(rate, seconds, machines[1].host, forged(key_file))
            share = (seconds_of(thread) - used) / (time.monotonic() - begun)
    print(f"{share:.3f} of a core at {told:.0f} datagrams/s")
    assert not lists
    assert rate > 20_000 or share <= 0.25


def flood(rate: float, seconds: float, host: str, data: bytes) -> float:
    """Send bytes to the group; return how often a second they were sent."""
    arguments = [str(rate), str(seconds), host, GROUP_4, str(PORT), data.hex()]
    ended = subprocess.run(
        [sys.executable, "-c", FLOOD, *arguments], check=True, capture_output=True, text=True
    )
    return float(ended.stdout)


def seconds_of(thread: threading.Thread) -> float:
    """Return the processor time of a thread."""
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
