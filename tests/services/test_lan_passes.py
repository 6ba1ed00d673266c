"""A pass on several machines: calls continue while it is changed, strangers stay out, packets hold no plain text."""

import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, FastRPCError, ServerConfig, SyncClient
from fastrpc.config import Keepalive
from fastrpc.discovery.lan_pass import load_lan_pass
from fastrpc.registries import open_registry
from tests.support.kept_process import KeptProcess, accepts
from tests.support.lan_passes import made_pass, put_passes
from tests.support.local_network import Machine, local_network
from tests.support.open_loop import OpenLoop
from tests.support.ports import free_ports
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

#: Other runs may share this loopback.
SERVICE = f"arith_{os.getpid()}"

RATE = 500

OLD, NEW = 1, 2

#: A constant of Linux: packets of every protocol, to this machine and from it (packet(7)).
ETH_P_ALL = 3

SECRET = "the-combination-is-17-4-23"


@pytest.fixture(scope="module")
def machines() -> Iterator[list[Machine]]:
    with local_network(3) as found:
        yield found


@pytest.fixture(autouse=True)
def own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARITH_NAME", SERVICE)


def lan(machine: Machine, path: Path) -> str:
    return f"lan://?pass={path}{machine.option and '&'}{machine.option}"


class Holder(KeptProcess):
    """A server on a machine with its own copy of the pass, as people start it."""

    def __init__(self, machine: Machine, path: Path) -> None:
        super().__init__(path.with_suffix(".log"))
        self._machine, self.path = machine, path
        self._place = machine.host, free_ports(1)[0]
        self.address = "tls://{}:{}".format(*self._place)

    def command(self) -> list[str]:
        options = ["--address", self.address, "--registry", lan(self._machine, self.path)]
        options += ["--tls-cert", str(self.path), "--tls-ca", str(self.path)]
        return [sys.executable, "-m", "fastrpc", "run", "tests.support.arith:Arith", *options]

    def start(self) -> None:
        with self._machine.entered():
            super().start()

    def is_ready(self) -> bool:
        return accepts(*self._place)


def copies(machines: list[Machine], folder: Path, *numbers: int) -> list[Path]:
    """Return the file of each machine."""
    return [put_passes(folder / f"{each.host}.pass", *map(made_pass, numbers)) for each in machines]


@contextlib.contextmanager
def two_holders(machines: list[Machine], paths: list[Path]) -> Iterator[list[Holder]]:
    """Yield servers on the first two machines, and be on the third."""
    with contextlib.ExitStack() as stack:
        made = [Holder(machine, path) for machine, path in zip(machines[:2], paths[:2], strict=True)]
        for server in made:
            stack.enter_context(server.running())
        stack.enter_context(machines[2].entered())
        yield made


class Caller:
    """Calls the servers of a registry, and notes failures."""

    def __init__(self, client: Client, watch: Any) -> None:
        self._client, self._watch = client, watch
        self.failures: list[FastRPCError] = []
        #: The changes of the list of servers.
        self.lists: list[set[str]] = []

    async def find(self, addresses: set[str]) -> None:
        """Wait until these servers are listed; later changes of the list are noted."""
        await eventually(lambda: self.listed() == addresses)
        self._watch.listen(lambda: self.lists.append(self.listed()))

    def listed(self) -> set[str]:
        latest = self._watch.latest
        return {str(one.address) for one in (latest.endpoints if latest else ())}

    def connections(self) -> int:
        """Return how many connections were made so far."""
        return int(self._client.stats()["totals"]["connections"])

    async def call(self, number: int) -> None:
        try:
            assert await self._client.call(f"{SERVICE}.mul", number, 2) == 2 * number
        except FastRPCError as error:
            self.failures.append(error)


async def change(path: Path, numbers: tuple[int, ...], text: Callable[[], str], caller: Caller) -> None:
    """Replace the file of one machine, and return once keys and certificates were read and used again."""
    before = text()
    put_passes(path, *map(made_pass, numbers))
    for sign in ("the LAN pass was read again", "certificate files were read again"):
        count = before.count(sign)
        await eventually(lambda sign=sign, count=count: text().count(sign) > count)
    made = caller.connections()
    await eventually(lambda: caller.connections() >= made + 4)


async def test_a_pass_changes_on_one_machine_after_the_other_and_no_call_fails(
    machines: list[Machine], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fastrpc.audit")
    paths = copies(machines, tmp_path, OLD)
    # Connections live shortly, so that every step has handshakes.
    config = ClientConfig(keepalive=Keepalive(max_age=0.5))
    with two_holders(machines, paths) as servers:
        addresses = {server.address for server in servers}
        texts: list[Callable[[], str]] = [*(server.written for server in servers), lambda: caplog.text]
        async with (
            open_registry(lan(machines[2], paths[2])) as registry,  # type: ignore[attr-defined]
            registry.watch(SERVICE) as watch,
            Client(SERVICE, registry=registry, config=config) as client,
        ):
            caller = Caller(client, watch)
            await caller.find(addresses)
            async with OpenLoop(RATE, caller.call):
                for numbers in ((OLD, NEW), (NEW, OLD), (NEW,)):
                    for path, text in zip(paths, texts, strict=True):
                        await change(path, numbers, text, caller)
    assert caller.failures == []
    assert all(each == addresses for each in caller.lists)


def test_a_machine_without_the_right_pass_finds_and_calls_no_server(
    machines: list[Machine], tmp_path: Path
) -> None:
    paths = copies(machines, tmp_path, OLD)
    other = put_passes(tmp_path / "other.pass", made_pass(NEW))
    with two_holders(machines, paths) as servers:
        holder = ClientConfig(tls=load_lan_pass(paths[2]).client_tls())
        with open_registry(lan(machines[2], other)) as registry:  # type: ignore[attr-defined]
            assert SERVICE not in registry.services()
        for server in servers:
            with SyncClient(server.address, config=holder) as client:
                assert client.call(f"{SERVICE}.mul", 6, 7) == 42
            for config in (ClientConfig(tls=load_lan_pass(other).client_tls()), ClientConfig()):
                with SyncClient(server.address, config=config) as client, pytest.raises(FastRPCError):
                    client.call(f"{SERVICE}.mul", 6, 7)


@fastrpc.service("vault")
class Vault:
    @fastrpc.method
    async def keep(self, text: str) -> str:
        return text[::-1]

    @fastrpc.method
    async def repeat(self, text: str) -> AsyncIterator[str]:
        for _ in range(3):
            yield text


class Capture:
    """The packets that pass a machine."""

    def __init__(self, machine: Machine) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind(("eth0" if machine.namespace else "lo", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self._socket.settimeout(0.05)
        self._is_over = False
        self.data = b""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self.data += self._socket.recv(65_536)
            except TimeoutError:
                if self._is_over:
                    return

    def end(self) -> bytes:
        """Return all bytes of the packets."""
        self._is_over = True
        self._thread.join()
        self._socket.close()
        return self.data


def talk(target: str, config: ClientConfig) -> None:
    """Call with secrets in every place: arguments, results, streams, metadata, errors."""
    with SyncClient(target, config=config) as client:
        assert client.call(Vault.keep, SECRET) == SECRET[::-1]
        assert client.with_options(metadata={"note": SECRET}).call(Vault.keep, "a") == "a"
        assert list(client.stream(Vault.repeat, SECRET)) == [SECRET] * 3
        with pytest.raises(FastRPCError):
            client.call(f"vault.{SECRET}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root captures packets")
def test_captured_packets_hold_no_plain_text(machines: list[Machine], tmp_path: Path) -> None:
    path = put_passes(tmp_path / "lan.pass", made_pass(OLD), made_pass(NEW))
    lan_pass = load_lan_pass(path)
    seen = {}
    for scheme, server_tls, client_tls in (
        ("tcp", None, None),
        ("tls", lan_pass.server_tls(), lan_pass.client_tls()),
    ):
        with machines[0].entered():
            capture = Capture(machines[0])
            listen = f"{scheme}://{machines[0].host}:0"
            server = ThreadedServer(Vault, config=ServerConfig(tls=server_tls), listen=listen)
            with server, machines[1].entered():
                talk(server.address, ClientConfig(tls=client_tls))
            seen[scheme] = capture.end()
    secrets = [SECRET.encode(), SECRET[::-1].encode(), b"vault"]
    # The capture shows the plain text.
    assert all(secret in seen["tcp"] for secret in secrets)
    assert len(seen["tls"]) > len(seen["tcp"])
    assert not [secret for secret in secrets if secret in seen["tls"]]
    for one in (made_pass(OLD), made_pass(NEW)):
        assert one.lan_key not in seen["tls"]
