"""Histories of stores whose servers are stopped or killed and whose links are cut: Porcupine judges them."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from fastrpc.coordination import Item, Store
from tests.conftest import Scale
from tests.support.histories import Faults, History, run_clients, verdict
from tests.support.quorums import consul_quorum, etcd_quorum, linked
from tests.support.registry_servers import ConsulAgent, EtcdServer
from tests.support.store_process import StoreProcess

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

CLIENTS = 8
OPERATIONS = 200

#: Consul does not tell later which of the unknown writes it did: few are left after the longest fault.
OF_CONSUL: Final[dict[str, Any]] = {"is_exact": False, "patience": 10.0}

PLANTED = Path(__file__).parents[1] / "support" / "planted_store.py"


async def made(
    server: Any,
    chance: random.Random,
    *,
    base: str = "",
    can_restart: bool = True,
    is_exact: bool = True,
    patience: float = 0.5,
    wrap: Callable[[Store], Any] = lambda store: store,
) -> History:
    """Return a history of clients of a server, or of the members of a cluster, each with a separate link."""
    history = History(is_exact=is_exact)
    async with linked(server, CLIENTS) as (urls, proxies):
        faults = Faults(server, proxies, chance, can_restart)
        await run_clients(
            [url + base for url in urls],
            history,
            chance,
            operations=OPERATIONS,
            disturb=faults.once,
            patience=patience,
            wrap=wrap,
        )
    # Without refusals, and writes with an unknown outcome, a history shows little.
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
            own_consul, scale.random(number), base=f"?base={number}", can_restart=False, **OF_CONSUL
        )
        assert await verdict(judge, history, tmp_path) == "Ok"


async def test_three_members_of_etcd_are_linearizable(
    judge: Path, etcd_path: str, tmp_path: Path, scale: Scale
) -> None:
    async with etcd_quorum(etcd_path, tmp_path, scale.random(3)) as quorum:
        for number in range(scale(2)):
            history = await made(quorum, scale.random(number), base=f"?base={number}")
            assert await verdict(judge, history, tmp_path) == "Ok"


async def test_three_servers_of_consul_are_linearizable(
    judge: Path, consul_path: str, tmp_path: Path, scale: Scale
) -> None:
    async with consul_quorum(consul_path, tmp_path, scale.random(4)) as quorum:
        for number in range(scale(1)):
            history = await made(quorum, scale.random(number), base=f"?base={number}", **OF_CONSUL)
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
    """A mistake: a store whose reads are sometimes answered by a member that lags."""

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
    history = await made(own_consul, scale.random(1), can_restart=False, wrap=StaleReads, **OF_CONSUL)
    assert await verdict(judge, history, tmp_path) == "Illegal"
