"""`any://` between two machines with a LAN pass: calls go to the nearest server, strangers find nobody."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrpc import Client, ClientConfig, FastRPCError, discover
from fastrpc.discovery.lan_pass import load_lan_pass
from tests.support.host_folder import host_folder
from tests.support.kept_process import KeptProcess
from tests.support.lan_passes import made_pass, put_passes
from tests.support.local_network import Machine, local_network

pytestmark = pytest.mark.one_loop


@pytest.fixture(scope="module")
def machines() -> Iterator[list[Machine]]:
    with local_network(2) as found:
        if found[0].namespace is None:
            pytest.skip("no network of namespaces can be made: on one machine all servers are on the host")
        yield found


@pytest.fixture
def folders() -> Iterator[list[Path]]:
    """The host folders of both machines, which share a file system; the second one's is in the environment."""
    with tempfile.TemporaryDirectory(prefix="fr") as parent, host_folder() as here:
        yield [Path(parent, "host"), here]


@pytest.fixture(autouse=True)
def no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTRPC_REGISTRY", raising=False)


class AnyServer(KeptProcess):
    """A server at `any://` on a machine, as people start it there."""

    def __init__(self, machine: Machine, folder: Path, lan_pass: Path, provider: str) -> None:
        super().__init__(lan_pass.with_suffix(".log"))
        self._machine = machine
        self._variables = [
            f"FASTRPC_HOST_FOLDER={folder}",
            f"FASTRPC_LAN_PASS={lan_pass}",
            f"FASTRPC_PROVIDER={provider}",
        ]

    def command(self) -> list[str]:
        run = ["-m", "fastrpc", "run", "tests.support.arith:Arith", "--address", "any://"]
        return ["env", *self._variables, sys.executable, *run]

    def start(self) -> None:
        with self._machine.entered():
            super().start()

    def is_ready(self) -> bool:
        return "serving at" in self.written()


async def answering(client: Client, scope: str) -> None:
    """Make calls until a server of this scope answers."""
    async with asyncio.timeout(20):
        while True:
            reply = await client.with_options(idempotent=True).request("arith.mul", 6, 7)
            assert reply.value == 42
            if reply.endpoint.labels["scope"] == scope:
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("presented", [(1,), (2, 1)])
async def test_calls_reach_another_machine_unless_a_server_is_here(
    machines: list[Machine],
    folders: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    presented: tuple[int, ...],
) -> None:
    both = sorted({1, *presented})
    there = put_passes(tmp_path / "there.pass", *map(made_pass, both))
    here = put_passes(tmp_path / "here.pass", *map(made_pass, presented))
    monkeypatch.setenv("FASTRPC_LAN_PASS", str(here))
    far = AnyServer(machines[0], folders[0], there, "there")
    near = AnyServer(machines[1], folders[1], here, "here")
    with far.running(), machines[1].entered():
        async with Client("any://arith") as client:
            await client.ready(timeout=20)
            await answering(client, "lan")
            with near.running():
                await answering(client, "host")
            await answering(client, "lan")
        found = await discover("arith", provider="there", timeout=None)
    assert [(one.provider, one.scope) for one in found] == [("there", "lan")]


async def test_a_machine_without_the_pass_finds_and_calls_nobody(
    machines: list[Machine], folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = put_passes(tmp_path / "there.pass", made_pass(1))
    other = put_passes(tmp_path / "other.pass", made_pass(2))
    far = AnyServer(machines[0], folders[0], served, "there")
    with far.running(), machines[1].entered():
        monkeypatch.setenv("FASTRPC_LAN_PASS", str(served))
        [found] = await discover("arith", timeout=None)
        assert (found.provider, found.scope, found.endpoint.address.scheme) == ("there", "lan", "tls")
        monkeypatch.setenv("FASTRPC_LAN_PASS", str(other))
        assert await discover("arith", timeout=0) == []
        monkeypatch.delenv("FASTRPC_LAN_PASS")
        assert await discover("arith", timeout=0) == []
        for config in (ClientConfig(), ClientConfig(tls=load_lan_pass(other).client_tls())):
            async with Client(found.endpoint, config=config) as client:
                with pytest.raises(FastRPCError):
                    await client.call("arith.mul", 6, 7)
