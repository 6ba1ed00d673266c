"""Histories of locks whose holders are stopped and whose links are cut: Porcupine finds one holder at a time."""

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Scale
from tests.support.histories import Faults, History, verdict
from tests.support.program import Program
from tests.support.quorums import consul_quorum, etcd_quorum, linked
from tests.support.registry_servers import ConsulAgent, EtcdServer
from tests.support.store_process import StoreProcess

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

HOLDERS = 4
HOLDER = Path(__file__).parents[1] / "support" / "lock_holder.py"

#: Faults of a history.
FAULTS = 12

#: Most histories beyond the number of the scale.
MORE = 3

#: The steps of holders.
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
    """Return a history of holders in processes of their own, each with a separate link to a server or to a member."""
    files = [folder / f"holder-{number}" for number in range(HOLDERS)]
    async with linked(server, HOLDERS) as (urls, proxies):
        with ExitStack() as holders:
            programs = [
                holders.enter_context(Program([str(HOLDER), url, str(file), str(ttl), mistake], folder))
                for url, file in zip(urls, files, strict=True)
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


async def judge_some(
    server_of: Callable[[Path], AbstractContextManager[Any]],
    judge: Path,
    folder: Path,
    scale: Scale,
    count: int,
    **options: Any,
) -> None:
    """Judge `count` histories of locks of a server, and more until each kind of operation was in one.

    On a busy machine all holds of a history may be cut off.

    Args:
        server_of: yields the server of a history, which may use its folder.
    """
    kinds: set[str] = set()
    for number in range(scale(count) + MORE):
        own = folder / str(number)
        own.mkdir()
        with server_of(own) as server:
            history = await made(server, own, scale.random(number), **options)
        assert await verdict(judge, history, own) == "Ok"
        kinds |= history.kinds()
        if number + 1 >= scale(count) and kinds == KINDS:
            return
    pytest.fail(f"{scale(count) + MORE} histories have {sorted(kinds)}, expected {sorted(KINDS)}")


async def test_lock_of_a_store_has_one_holder(judge: Path, tmp_path: Path, scale: Scale) -> None:
    await judge_some(lambda folder: StoreProcess(folder).running(), judge, tmp_path, scale, 6, ttl=1)


async def test_lock_of_etcd_has_one_holder(
    judge: Path, own_etcd: EtcdServer, tmp_path: Path, scale: Scale
) -> None:
    await judge_some(lambda _: nullcontext(own_etcd), judge, tmp_path, scale, 2, ttl=2)


async def test_lock_of_consul_has_one_holder(
    judge: Path, own_consul: ConsulAgent, tmp_path: Path, scale: Scale
) -> None:
    # It forgets everything when it is killed.
    await judge_some(lambda _: nullcontext(own_consul), judge, tmp_path, scale, 1, ttl=10, can_restart=False)


async def test_lock_of_three_members_of_etcd_has_one_holder(
    judge: Path, etcd_path: str, tmp_path: Path, scale: Scale
) -> None:
    async with etcd_quorum(etcd_path, tmp_path, scale.random(3)) as quorum:
        await judge_some(lambda _: nullcontext(quorum), judge, tmp_path, scale, 5, ttl=2)


async def test_lock_of_three_servers_of_consul_has_one_holder(
    judge: Path, consul_path: str, tmp_path: Path, scale: Scale
) -> None:
    async with consul_quorum(consul_path, tmp_path, scale.random(4)) as quorum:
        await judge_some(lambda _: nullcontext(quorum), judge, tmp_path, scale, 1, ttl=10)


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
