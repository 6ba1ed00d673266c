"""A server behind address translation (nftables), in a network that no caller can dial, reached through a relay."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fastrpc import TLS, Backoff, ClientConfig, FastRPCError, SyncClient
from tests.conftest import SCALE
from tests.support.certificates import Authority
from tests.support.local_network import Machine, local_network
from tests.support.program import PACKAGE_ROOT

pytestmark = pytest.mark.one_loop

NFT = os.environ.get("FASTRPC_NFT") or shutil.which("nft")

CURL = shutil.which("curl")

RELAY = "relay.test"
TARGET = f"relay://{RELAY}:8443/edge-7"

#: For how long the router drops all packets between a server and its relay.
CUT_SECONDS = 60.0 if SCALE > 1 else 15.0

ENVIRONMENT = {"PYTHONPATH": str(PACKAGE_ROOT), "FASTRPC_PROTOCOLS": "native,http"}

CERTIFICATE = ("--tls-cert", "cert.pem", "--tls-key", "key.pem")

SECRET = "a-secret-that-no-relay-reads"

APP = """
import fastrpc


@fastrpc.service("place")
class Place:
    @fastrpc.method
    async def peer(self, word: str) -> str:
        return f"{fastrpc.current_call().peer.address.host} {word}"
"""

TOKENS = '[[token]]\ntoken = "token-of-edge"\nname = "edge"\n'
POLICY = '[[rule]]\nwho = ["edge"]\nrelay = ["edge-*"]\n'

#: All protocols of a packet socket (ETH_P_ALL of linux/if_ether.h).
EVERY_PROTOCOL = 3


class Inside:
    """A machine behind a router that translates addresses: it can dial out, and cannot be dialled."""

    def __init__(self, router: Machine, stack: ExitStack) -> None:
        assert router.namespace is not None
        self._router = router.namespace
        self.machine = Machine("10.73.0.2", f"{router.namespace}-in")
        inside, outside = str(self.machine.namespace), router.namespace
        run("ip", "netns", "add", inside)
        stack.callback(run, "ip", "netns", "delete", inside)
        peer = ("type", "veth", "peer", "name", "eth0", "netns", inside)
        run("ip", "-n", outside, "link", "add", "lan0", *peer)
        for name, host, interface in ((outside, "10.73.0.1", "lan0"), (inside, "10.73.0.2", "eth0")):
            run("ip", "-n", name, "address", "add", f"{host}/24", "dev", interface)
            run("ip", "-n", name, "link", "set", interface, "up")
        run("ip", "-n", inside, "link", "set", "lo", "up")
        run("ip", "-n", inside, "route", "add", "default", "via", "10.73.0.1")
        run("ip", "netns", "exec", outside, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        self._filter(
            "add table ip nat",
            "add chain ip nat out { type nat hook postrouting priority 100 ; }",
            'add rule ip nat out oifname "eth0" masquerade',
        )

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Let the router drop all packets that pass it."""
        self._filter(
            "add table ip cut",
            "add chain ip cut passing { type filter hook forward priority 0 ; policy drop ; }",
        )
        try:
            yield
        finally:
            self._filter("delete table ip cut")

    def _filter(self, *rules: str) -> None:
        for rule in rules:
            run("ip", "netns", "exec", self._router, str(NFT), rule)


def run(*arguments: str) -> None:
    subprocess.run(arguments, check=True)


@contextmanager
def names(machine: Machine, lines: str) -> Iterator[None]:
    """Let programs on a machine find hosts by name."""
    folder = Path("/etc/netns", str(machine.namespace))
    folder.mkdir(parents=True)
    (folder / "hosts").write_text(lines)
    try:
        yield
    finally:
        shutil.rmtree(folder)


@contextmanager
def started(machine: Machine, folder: Path, *arguments: str) -> Iterator[tuple[int, str]]:
    """Run a command of fastrpc on a machine until the end; yield its process and its first output."""
    program = subprocess.Popen(
        [
            "ip",
            "netns",
            "exec",
            str(machine.namespace),
            sys.executable,
            "-m",
            "fastrpc",
            *arguments,
            "--json",
        ],
        cwd=folder,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        line = program.stdout.readline()
        assert line, f"{arguments} ended"
        yield program.pid, line
    finally:
        program.kill()
        program.communicate()


def listening(process: int) -> list[str]:
    """Return the listening sockets in the network of a process."""
    lines = [
        line
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{process}/net/{name}").read_text().splitlines()[1:]
    ]
    return [line for line in lines if line.split()[3] == "0A"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    authority = Authority(tmp_path)
    made = authority.certificate(f"DNS:{RELAY},DNS:edge-7.{RELAY}")
    texts = {"placed.py": APP, "tokens.toml": TOKENS, "policy.toml": POLICY, "token": "token-of-edge"}
    texts |= {"ca.pem": authority.cert_file.read_text()}
    texts |= {"cert.pem": made.cert_file.read_text(), "key.pem": made.key_file.read_text()}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return tmp_path


class Network:
    """A relay, a caller, and a machine behind a router."""

    def __init__(self, folder: Path, machines: list[Machine], stack: ExitStack) -> None:
        self.folder = folder
        self.relay, self.caller, router = machines
        behind = Inside(router, stack)
        self.inside = behind.machine
        self.cut = behind.cut
        hosts = f"127.0.0.1 localhost\n{self.relay.host} {RELAY} edge-7.{RELAY}\n"
        for machine in (self.inside, self.caller):
            stack.enter_context(names(machine, hosts))
        with self.relay.entered():
            self.captured = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
        stack.callback(self.captured.close)

    def answer(self, *command: str) -> str:
        """Return the result that a command on the machine of the caller prints."""
        found = subprocess.run(
            ["ip", "netns", "exec", str(self.caller.namespace), *command],
            cwd=self.folder,
            env=os.environ | ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        assert found.returncode == 0, found.stderr
        answer = json.loads(found.stdout)
        return str(answer["value"] if isinstance(answer, dict) else answer)


@pytest.fixture
def network(folder: Path) -> Iterator[Network]:
    """Run a relay in a network with a router; skip the test if this machine cannot make one."""
    if NFT is None:
        pytest.skip("needs nft of Debian's package nftables (FASTRPC_NFT)")
    with local_network(3) as machines, ExitStack() as stack:
        if machines[0].namespace is None:
            pytest.skip("this machine allows no network namespaces")
        network = Network(folder, machines, stack)
        address = ("--address", f"tls://{network.relay.host}:8443", "--name", RELAY)
        access = ("--tokens", "tokens.toml", "--policy", "policy.toml")
        _, told = stack.enter_context(
            started(network.relay, folder, "relay", *address, *CERTIFICATE, *access)
        )
        assert json.loads(told)["urls"] == [f"relay://{RELAY}:8443"]
        yield network


@contextmanager
def serving(network: Network) -> Iterator[int]:
    """Run a server behind the router; yield its process."""
    served = ("run", "placed:Place", "--address", f"{TARGET}?ca_file=ca.pem&token_file=token")
    with started(network.inside, network.folder, *served, *CERTIFICATE) as (process, _):
        yield process


def test_a_server_behind_address_translation_is_reached(network: Network) -> None:
    with serving(network) as process:
        assert listening(process) == []
        expected = f"{network.caller.host} {SECRET}"
        for dialled in (TARGET, f"tls://edge-7.{RELAY}:8443"):
            call = ("call", dialled, "place.peer", SECRET, "--ca", "ca.pem", "--json")
            assert network.answer(sys.executable, "-m", "fastrpc", *call) == expected
        if CURL is not None:
            form = ("-H", "Content-Type: application/json", "-d", json.dumps({"word": SECRET}))
            url = f"https://edge-7.{RELAY}:8443/place/peer"
            assert network.answer(CURL, "-s", "--cacert", "ca.pem", url, *form) == expected
        packets = taken(network.captured)
        assert b"edge-7" in packets
        assert SECRET.encode() not in packets
        assert b"token-of-edge" not in packets


def seconds_until_answered(network: Network) -> float:
    """Call from the machine of the caller until there is an answer; return the seconds."""
    tls = TLS(ca_file=network.folder / "ca.pem", server_name=f"edge-7.{RELAY}")
    config = ClientConfig(tls=tls, backoff=Backoff(first=0.05, longest=0.2))
    began = time.monotonic()
    with network.caller.entered(), SyncClient(f"tls://{network.relay.host}:8443", config=config) as client:
        call = client.with_options(timeout=1.0, idempotent=True)
        while time.monotonic() < began + 60:
            try:
                assert call.call("place.peer", "again") == f"{network.caller.host} again"
            except FastRPCError:
                time.sleep(0.05)
                continue
            return time.monotonic() - began
    raise AssertionError("no answer within a minute")


@pytest.mark.measures
def test_a_server_whose_line_was_cut_is_back_after_six_seconds(network: Network) -> None:
    with serving(network):
        seconds_until_answered(network)
        with network.cut():
            time.sleep(CUT_SECONDS)
        seconds = seconds_until_answered(network)
    print(f"a line that was cut for {CUT_SECONDS:.0f} s: calls are back after {seconds:.1f} s")
    assert seconds <= 6.0


def taken(captured: socket.socket) -> bytes:
    """Return all packets so far."""
    captured.setblocking(False)
    packets = b""
    while True:
        try:
            packets += captured.recv(65_536)
        except BlockingIOError:
            return packets
