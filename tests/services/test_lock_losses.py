"""Links between holders and their store that are cut at any instant: each loss is reported before another may hold."""

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from fastrpc import LockLostError
from fastrpc.coordination import Store, open_store
from fastrpc.coordination.locks import Lock
from tests.conftest import Scale
from tests.support.proxy import FaultProxy
from tests.support.registry_servers import EtcdServer
from tests.support.store_process import StoreProcess

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance, pytest.mark.measures]

#: Locks that are held, and lost, at the same time.
HOLDERS = 10

#: Seconds of a lease: its remainder after the loss is a tenth, more than a machine stalls.
TTL = 5


async def given_away(store: Store, lock: Lock) -> float:
    """Return the instant at which the store has ended the item of a holder."""
    key = f"locks/{lock.name}/{lock.lease.id}"
    async with store.watch(key, after=lock.token) as changes:
        async for change in changes:
            if change.kind == "deleted":
                return time.monotonic()
    raise AssertionError("a watch has no end")


async def margins(server: Any, name: str, count: int, chance: random.Random) -> list[float]:
    """Cut the link of a holder so many times; return the seconds between its cancellation and the end of its item."""
    scheme, _, place = server.url.partition("://")
    found = []
    async with FaultProxy(f"tcp://{place}") as proxy, open_store(server.url) as near:
        async with open_store(proxy.address.replace("tcp", scheme)) as far:
            for _ in range(count):
                with pytest.raises(LockLostError):
                    async with far.lock(name, ttl=TTL) as lock:
                        ending = asyncio.create_task(given_away(near, lock))
                        await asyncio.sleep(chance.random() * TTL)
                        proxy.hold()
                        await asyncio.Event().wait()
                told = time.monotonic()
                found.append(await ending - told)
                proxy.reset_all()
                proxy.resume()
    return found


async def check(server: Any, count: int, chance: random.Random) -> None:
    shares = [count // HOLDERS + (number < count % HOLDERS) for number in range(HOLDERS)]
    told = await asyncio.gather(
        *(
            margins(server, f"job-{number}", share, random.Random(chance.random()))
            for number, share in enumerate(shares)
        )
    )
    found = sorted(seconds for one in told for seconds in one)
    print(
        f"{count} cut links to {server.url}: told {found[0]:.3f} s before, median {found[count // 2]:.3f} s"
    )
    assert len(found) == count
    assert found[0] > 0


async def test_holder_cut_off_from_a_store_learns_of_the_loss_before_its_lock_is_given_away(
    tmp_path: Path, scale: Scale
) -> None:
    with StoreProcess(tmp_path).running() as server:
        await check(server, scale(30), scale.random(1))


async def test_holder_cut_off_from_etcd_learns_of_the_loss_before_its_lock_is_given_away(
    own_etcd: EtcdServer, scale: Scale
) -> None:
    await check(own_etcd, scale(3), scale.random(2))
