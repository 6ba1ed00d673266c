"""The scope `lan` of `any://`: only with a LAN pass."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastrpc import TLS, ConfigError, Server
from fastrpc.cli.listening import check_encrypts
from fastrpc.discovery import any_registry, network_record
from fastrpc.discovery.any_registry import AnyRegistry
from fastrpc.discovery.process import process_table
from fastrpc.endpoint import Address
from fastrpc.place import Place
from fastrpc.registries.base.scoped import ScopedPlace
from tests.support.arith import Arith
from tests.support.host_folder import host_folder, names_in
from tests.support.lan_passes import made_pass, put_passes

pytestmark = pytest.mark.one_loop

OWN = TLS(cert_file="own.pem", key_file="own.key", ca_file="own-authority.pem")


@pytest.fixture
def lan_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = put_passes(tmp_path / "lan.pass", made_pass(1))
    monkeypatch.setenv("FASTRPC_LAN_PASS", str(path))
    return path


def test_the_scope_needs_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTRPC_LAN_PASS", raising=False)
    with pytest.raises(ConfigError, match="needs a LAN pass"):
        AnyRegistry(("lan",))


@pytest.mark.usefixtures("lan_pass")
@pytest.mark.parametrize(("scopes", "found"), [((), ["host", "lan"]), (("process", "lan"), ["lan"])])
def test_several_processes_share_each_scope_except_the_scope_of_one(
    scopes: tuple[str, ...], found: list[str]
) -> None:
    with host_folder(), AnyRegistry(scopes) as registry:
        assert [place.scope for place in registry.places(is_one_process=False)] == found


@pytest.mark.usefixtures("lan_pass")
def test_certificates_of_a_command_encrypt_the_scope_of_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    check_encrypts({"--tls-cert": "own.pem"}, [Address.parse("any://")])
    with pytest.raises(ConfigError, match="--tls-cert encrypts nothing"):
        check_encrypts({"--tls-cert": "own.pem"}, [Address.parse("any://?scopes=process,host")])
    monkeypatch.delenv("FASTRPC_LAN_PASS")
    with pytest.raises(ConfigError, match="--tls-cert encrypts nothing"):
        check_encrypts({"--tls-cert": "own.pem"}, [Address.parse("any://")])


@pytest.mark.parametrize("own", [None, OWN])
def test_clients_present_the_pass_to_servers_that_hold_it(lan_pass: Path, own: TLS | None) -> None:
    with AnyRegistry(("lan",), tls=own) as of_server, AnyRegistry(("lan",)) as of_client:
        [listed] = of_server.places()
        endpoint = listed.advertised(Place(zone="a", weight=3))
        assert endpoint is not None
        assert (endpoint.zone, endpoint.weight, endpoint.labels["scope"]) == ("a", 3, "lan")
        shown, presented = listed.tls, of_client.tls_for(endpoint, OWN)
    if own is None:
        assert shown is not None
        assert presented is not None
        assert (shown.cert_file, shown.require_client_cert) == (str(lan_pass), True)
        assert (presented.cert_file, presented.server_name) == (str(lan_pass), "lan")
    else:
        # Its listener has the certificates of the server.
        assert shown is None
        assert presented is OWN


def network(name: str, address: str) -> str:
    """Return the step that adds a network to a machine, which ends with its program."""
    return (
        f"ip link add {name} type veth peer name p-{name} && ip addr add {address} dev {name}"
        f" && ip link set {name} up && ip link set p-{name} up"
    )


#: The network of containers, and the network with other machines.
BRIDGE, CARD = network("docker0", "172.17.0.1/16"), network("card0", "10.9.8.7/24")
ROUTE = "ip route add default via 10.9.8.1"

#: A server at `any://` and its own client.
SERVER = """
import asyncio
import logging

import fastrpc
from fastrpc.registries.lan.multicast import own_hosts
from tests.support.arith import Arith

async def main():
    async with fastrpc.Server(Arith) as server:
        await server.listen("any://")
        async with fastrpc.Client("any://arith") as client:
            assert await client.call(Arith.mul, 6, 7) == 42
        print(*own_hosts())
        print(*sorted(one.address.scheme for one in server._listening.listeners))

logging.basicConfig()
asyncio.run(main())
"""


def on_a_machine(*steps: str, program: str) -> str:
    """Return the output of a Python program on a machine whose networks are made by steps."""
    unshare, sh = shutil.which("unshare"), shutil.which("sh")
    probe = [unshare or "", "-rn", sh or "", "-c", "ip link set lo up"]
    if not unshare or not sh or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("the system lets this user make no networks")
    script = " && ".join([*steps, 'exec "$0" -c "$1"'])
    done = subprocess.run(
        [unshare, "-rn", sh, "-c", script, sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.usefixtures("lan_pass")
@pytest.mark.parametrize("steps", [(), ("ip link set lo up",)])
def test_a_machine_without_a_network_serves_in_the_other_scopes(steps: tuple[str, ...]) -> None:
    with host_folder():
        said = on_a_machine(*steps, program=SERVER)
    assert said.splitlines()[:2] == ["", "memory tls unix"]
    assert said.count("this machine has no network: the server is in the scope lan once there is one") == 1


#: A server and a client of the scope that begin before their machine has a network, which changes its address later.
LATE = """
import asyncio
import subprocess

import fastrpc
from fastrpc.discovery import network_record
from tests.support.arith import Arith

network_record._LOOK_SECONDS = 0.01

def run(step):
    subprocess.run(["sh", "-c", step], check=True)

async def listed(client, host):
    while True:
        try:
            found = (await client.request(Arith.mul, 6, 7)).endpoint.address.host
        except fastrpc.FastRPCError:
            found = None
        if found == host:
            return
        await asyncio.sleep(0.05)

async def main():
    async with fastrpc.Server(Arith) as server, fastrpc.Client("any://arith?scopes=lan") as client:
        await server.listen("any://")
        print(server.scopes["lan"][0].rpartition(":")[0])
        for step, host in STEPS:
            run(step)
            await listed(client, host)
            print(host)

asyncio.run(main())
"""


@pytest.mark.usefixtures("lan_pass")
def test_a_server_is_found_once_its_machine_has_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = "ip addr del 10.9.8.7/24 dev card0 && ip addr add 10.9.8.9/24 dev card0"
    steps = [(CARD, "10.9.8.7"), (moved, "10.9.8.9")]
    with host_folder():
        said = on_a_machine("ip link set lo up", program=f"STEPS = {steps!r}\n{LATE}")
    assert said.splitlines()[:3] == ["tls://0.0.0.0", "10.9.8.7", "10.9.8.9"]


@pytest.mark.parametrize(
    ("steps", "hosts"),
    [
        ((BRIDGE, CARD, ROUTE), "10.9.8.7 172.17.0.1"),
        (("ip link set lo up", BRIDGE, CARD), "172.17.0.1 10.9.8.7"),
    ],
)
def test_a_server_registers_the_address_of_the_default_route(steps: tuple[str, ...], hosts: str) -> None:
    program = "from fastrpc.registries.lan.multicast import own_hosts; print(*own_hosts())"
    assert on_a_machine(*steps, program=program).strip() == hosts


#: Workers at `any://`, another program that takes their place, callers by the network, and one without the pass.
WORKERS = """
import asyncio
import os
import signal
import sys
from pathlib import Path

import fastrpc
from tests.support.running_workers import Callers
from tests.support.successors import Successors, started

async def main(folder):
    programs = Successors(Path(folder), ["-a", "any://", "-w", "2"])
    own = {name: value for name, value in os.environ.items() if name.startswith("FASTRPC_")}
    with programs.program(environment=own) as old:
        first = await asyncio.to_thread(started, old)
        [found] = await fastrpc.discover("work", registry="any://?scopes=lan", timeout=None)
        callers = Callers("any://work?scopes=lan", clients=4)
        assert (await callers.shares()).keys() == set(first["process_ids"])
        with programs.program("--takeover", environment=own) as new:
            second = await asyncio.to_thread(started, new)
            assert second["addresses"] == first["addresses"]
            assert (await asyncio.to_thread(old.wait)).code == 0
            assert (await callers.shares()).keys() == set(second["process_ids"])
            await callers.close()
            assert callers.failures == []
            print(*sorted(first["scopes"]), found.endpoint.address.host)
            async with fastrpc.Client("any://work") as near:
                print((await near.request("work.where")).endpoint.labels["scope"])
            for tls in (None, fastrpc.TLS(ca_file=os.environ["FASTRPC_LAN_PASS"], server_name="lan")):
                async with fastrpc.Client(found.endpoint, config=fastrpc.ClientConfig(tls=tls)) as stranger:
                    try:
                        await stranger.call("work.where")
                    except fastrpc.FastRPCError as error:
                        print(type(error).__name__)
            new.signal(signal.SIGTERM)
            assert (await asyncio.to_thread(new.wait)).code == 0

asyncio.run(main(FOLDER))
"""


@pytest.mark.usefixtures("lan_pass")
def test_workers_are_found_in_the_network_and_demand_the_pass(tmp_path: Path) -> None:
    with host_folder() as folder:
        said = on_a_machine(
            "ip link set lo up", CARD, ROUTE, program=f"FOLDER = {str(tmp_path)!r}\n{WORKERS}"
        )
        assert names_in(folder) == []
    assert said.splitlines()[:4] == ["host lan 10.9.8.7", "host", "ConnectError", "ConnectError"]


@pytest.mark.usefixtures("lan_pass")
async def test_a_server_opens_all_of_its_scopes_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # An address of another machine: the system does not allow binding it here.
    unbindable = Address.parse("tcp://192.0.2.1:1")
    with monkeypatch.context() as patch, host_folder() as folder:
        patch.setattr(AnyRegistry, "_lan_place", lambda *_: ScopedPlace("lan", unbindable))
        async with Server(Arith) as server:
            with pytest.raises(OSError, match=r"192\.0\.2\.1"):
                await server.listen("any://")
            assert names_in(folder) == []
            assert process_table().services() == []
            patch.undo()
            patch.setattr(any_registry, "own_hosts", list)
            patch.setattr(network_record, "own_hosts", list)
            await server.listen("any://")
            assert len(names_in(folder)) == 2
