"""Histories of locks whose holders are stopped and whose links are cut: Porcupine finds one holder at a time."""

import asyncio
import json
import random
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Scale
from tests.support.histories import Faults, History, verdict
from tests.support.program import Program
from tests.support.proxy import FaultProxy
from tests.support.registry_servers import ConsulAgent, EtcdServer
from tests.support.store_process import StoreProcess

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

HOLDERS = 4
HOLDER = Path(__file__).parents[1] / "support" / "lock_holder.py"

#: Faults of a history.
FAULTS = 12

#: What holders do.
KINDS = {"hold", "look", "write", "release"}


async def made(
    server: Any,
    folder: Path,
    chance: random.Random,
    ttl: int,
    mistake: str = "none",
    *,
    can_restart: bool = True,
) -> History:
    """Return a history of holders in processes of their own, each with a link of its own."""
    scheme, _, place = server.url.partition("://")
    files = [folder / f"holder-{number}" for number in range(HOLDERS)]
    async with AsyncExitStack() as links:
        proxies = [await links.enter_async_context(FaultProxy(f"tcp://{place}")) for _ in range(HOLDERS)]
        with ExitStack() as holders:
            programs = [
                holders.enter_context(
                    Program(
                        [str(HOLDER), proxy.address.replace("tcp", scheme), str(file), str(ttl), mistake],
                        folder,
                    )
                )
                for proxy, file in zip(proxies, files, strict=True)
            ]
            faults = Faults(server, proxies, chance, can_restart, programs, ttl)
            for _ in range(FAULTS):
                await faults.once()
            await asyncio.sleep(ttl)
    lines = [
        json.loads(line) | {"client": number}
        for number, file in enumerate(files)
        for line in file.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]
    return History(model="lock", operations=lines)


async def test_lock_of_a_store_has_one_holder(judge: Path, tmp_path: Path, scale: Scale) -> None:
    kinds = set()
    for number in range(scale(6)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with StoreProcess(folder).running() as server:
            history = await made(server, folder, scale.random(number), ttl=1)
        assert await verdict(judge, history, folder) == "Ok"
        kinds |= history.kinds()
    # On a busy machine all holds of one history may be cut off.
    assert kinds == KINDS


async def test_lock_of_etcd_has_one_holder(
    judge: Path, own_etcd: EtcdServer, tmp_path: Path, scale: Scale
) -> None:
    kinds = set()
    for number in range(scale(2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        history = await made(own_etcd, folder, scale.random(number), ttl=2)
        assert await verdict(judge, history, folder) == "Ok"
        kinds |= history.kinds()
    assert kinds == KINDS


async def test_lock_of_consul_has_one_holder(
    judge: Path, own_consul: ConsulAgent, tmp_path: Path, scale: Scale
) -> None:
    kinds = set()
    for number in range(scale(1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        # It forgets everything when it is killed.
        history = await made(own_consul, folder, scale.random(number), ttl=10, can_restart=False)
        assert await verdict(judge, history, folder) == "Ok"
        kinds |= history.kinds()
    assert kinds == KINDS


@pytest.mark.parametrize("mistake", ["no second look", "same token", "late lease"])
async def test_mistake_of_a_lock_is_found(judge: Path, tmp_path: Path, scale: Scale, mistake: str) -> None:
    found = []
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        with StoreProcess(folder).running() as server:
            history = await made(server, folder, scale.random(number), ttl=1, mistake=mistake)
        found.append(await verdict(judge, history, folder))
        if found[-1] == "Illegal":
            return
    pytest.fail(f"no history shows the mistake: {found}")
