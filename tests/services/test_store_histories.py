"""Histories of stores whose servers are stopped or killed and whose links are cut: Porcupine judges them."""

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fastrpc.coordination import Item, Store
from tests.conftest import Scale
from tests.support.histories import Faults, History, run_clients, verdict
from tests.support.proxy import FaultProxy
from tests.support.registry_servers import ConsulAgent, EtcdServer
from tests.support.store_process import StoreProcess

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

CLIENTS = 8
OPERATIONS = 200

PLANTED = Path(__file__).parents[1] / "support" / "planted_store.py"


async def made(
    server: Any,
    chance: random.Random,
    *,
    base: str = "",
    can_restart: bool = True,
    is_exact: bool = True,
    wrap: Callable[[Store], Any] = lambda store: store,
) -> History:
    """Return a history of clients of a server that runs, each with a link of its own."""
    scheme, _, place = server.url.partition("://")
    history = History(is_exact=is_exact)
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(FaultProxy(f"tcp://{place}")) for _ in range(CLIENTS)]
        urls = [proxy.address.replace("tcp", scheme) + base for proxy in proxies]
        faults = Faults(server, proxies, chance, can_restart)
        # Consul does not tell later which of the unknown writes it did: few are left after the longest fault.
        patience = 0.5 if is_exact else 2.0
        await run_clients(
            urls,
            history,
            chance,
            operations=OPERATIONS,
            disturb=faults.once,
            patience=patience,
            wrap=wrap,
        )
    # Without refusals, and writes of which nobody knows, a history tells little.
    outcomes = history.outcomes()
    assert outcomes["refused"], outcomes
    assert outcomes["unknown"] or not is_exact, outcomes
    return history


async def test_store_is_linearizable(judge: Path, tmp_path: Path, scale: Scale) -> None:
    for number in range(scale(6)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with StoreProcess(folder).running() as server:
            history = await made(server, scale.random(number))
        assert await verdict(judge, history, folder) == "Ok"


async def test_etcd_is_linearizable(judge: Path, own_etcd: EtcdServer, tmp_path: Path, scale: Scale) -> None:
    for number in range(scale(2)):
        history = await made(own_etcd, scale.random(number), base=f"?base={number}")
        assert await verdict(judge, history, tmp_path) == "Ok"


async def test_consul_is_linearizable(
    judge: Path, own_consul: ConsulAgent, tmp_path: Path, scale: Scale
) -> None:
    for number in range(scale(1)):
        # It forgets everything when it is killed.
        history = await made(
            own_consul, scale.random(number), base=f"?base={number}", can_restart=False, is_exact=False
        )
        assert await verdict(judge, history, tmp_path) == "Ok"


async def test_read_before_the_commit_is_found(judge: Path, tmp_path: Path, scale: Scale) -> None:
    found = []
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        with StoreProcess(folder, command=[str(PLANTED)]).running() as server:
            history = await made(server, scale.random(number))
        found.append(await verdict(judge, history, folder))
        if found[-1] == "Illegal":
            return
    pytest.fail(f"no history shows the mistake: {found}")


class StaleReads:
    """A mistake: a store whose reads are now and then those of a member that is behind."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._chance = random.Random(5)
        self._behind: dict[str, Item[bytes] | None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def get(self, key: str) -> Item[bytes] | None:
        if key in self._behind and self._chance.random() < 0.1:
            return self._behind[key]
        found = self._behind[key] = await self._store.get(key)
        return found


async def test_stale_read_is_found(
    judge: Path, own_consul: ConsulAgent, tmp_path: Path, scale: Scale
) -> None:
    history = await made(own_consul, scale.random(1), can_restart=False, is_exact=False, wrap=StaleReads)
    assert await verdict(judge, history, tmp_path) == "Illegal"
