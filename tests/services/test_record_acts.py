"""Acts on the records of a server in Consul, both layouts, and on the LAN: calls follow without a failure."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fastrpc.registries.lan.keys import add_key
from tests.support.acted_records import acted_server, acted_workers, change_records, roll_and_drain
from tests.support.paced_calls import paced_calls
from tests.support.registry_servers import ConsulAgent

pytestmark = pytest.mark.one_loop


@pytest.fixture(params=["consul", "consul?layout=rpcx", "lan"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    name, _, options = request.param.partition("?")
    if name == "lan":
        add_key(tmp_path / "lan.keys")
        yield f"lan://?interface=lo&key_file={tmp_path / 'lan.keys'}"
        return
    agent = ConsulAgent(request.getfixturevalue("consul_path"), tmp_path)
    with agent.running():
        yield f"{agent.url}?{options}" if options else agent.url


@pytest.mark.parametrize("processes", ["one process", "workers"])
async def test_calls_follow_the_acts_without_a_failure(processes: str, registry: str, tmp_path: Path) -> None:
    if processes == "workers":
        pytest.importorskip("prometheus_client")
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    async with AsyncExitStack() as stack:
        if processes == "workers":
            a = await stack.enter_async_context(acted_workers(registry, folders[0]))
        else:
            _, a = await stack.enter_async_context(acted_server("a", registry, folders[0]))
        await stack.enter_async_context(acted_server("b", registry, folders[1]))
        calls = await stack.enter_async_context(paced_calls(registry))
        await change_records(a, calls)
        await roll_and_drain(a, calls, has_workers=processes == "workers")
