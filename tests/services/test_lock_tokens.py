"""A table that keeps the highest token, written by holders that are paused and cut off: no old token is accepted."""

import asyncio
import itertools
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Scale
from tests.support.fenced_job import FencedTable
from tests.support.program import Program
from tests.support.proxy import FaultProxy
from tests.support.registry_servers import ConsulAgent, EtcdServer
from tests.support.store_process import StoreProcess
from tests.support.waiting import eventually

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

JOB = Path(__file__).parents[1] / "support" / "fenced_job.py"

#: Locks and elections that are disturbed at the same time, and the processes that contend for each.
CONTESTS = 6
HOLDERS = 3

#: Seconds for each disturbance, after which two holders have to have acted at once.
LONGEST_SECONDS = 20.0


class Contest:
    """Processes that hold one lock by turns, each with a separate link."""

    def __init__(
        self, table: FencedTable, name: str, programs: Sequence[Program], proxies: Sequence[FaultProxy]
    ) -> None:
        self._table = table
        self._name = name
        self._programs = programs
        self._proxies = proxies

    async def disturb(self, count: int, chance: random.Random, longest: float) -> None:
        """Pause the holder, or cut its link, so many times, up to so many seconds, until there is another hold."""
        token = 0
        for _ in range(count):
            await eventually(lambda token=token: self._table.latest(self._name)[0] > token)
            await asyncio.sleep(chance.random() * 0.2)
            token, holder = self._table.latest(self._name)
            seconds = chance.uniform(0.8, 1.0) * longest
            if chance.random() < 0.5:
                self._programs[holder].signal(signal.SIGSTOP)
                await asyncio.sleep(seconds)
                self._programs[holder].signal(signal.SIGCONT)
            else:
                self._proxies[holder].hold()
                await asyncio.sleep(seconds)
                self._proxies[holder].resume()
        await eventually(lambda: self._table.latest(self._name)[0] > token)

    def overlaps(self) -> int:
        """Return how many late writes the table refused, after a look at those that it accepted."""
        attempts = self._table.attempts(self._name)
        accepted = [token for token, _, is_accepted in attempts if is_accepted]
        assert all(one <= other for one, other in pairwise(accepted))
        # Holds of two processes never have one token.
        holders = {(token, process) for token, process, _ in attempts}
        assert len(holders) == len({token for token, _ in holders}) > 1
        return len(attempts) - len(accepted)


@asynccontextmanager
async def contest(url: str, folder: Path, kind: str, ttl: int, number: int) -> AsyncIterator[Contest]:
    scheme, _, place = url.partition("://")
    name, path = f"{kind}-{number}", folder / "table"
    async with AsyncExitStack() as stack:
        table = stack.enter_context(closing(FencedTable(path)))
        proxies = [await stack.enter_async_context(FaultProxy(f"tcp://{place}")) for _ in range(HOLDERS)]
        programs = []
        for process, proxy in enumerate(proxies):
            options = [proxy.address.replace("tcp", scheme), str(path), kind, name, str(ttl), str(process)]
            programs.append(stack.enter_context(Program([str(JOB), *options], folder)))
        yield Contest(table, name, programs, proxies)


async def overlaps(
    server: Any, folder: Path, chance: random.Random, *, count: int, ttl: int, longest: float
) -> int:
    """Disturb holders so many times in all; return how often two acted at once."""
    async with AsyncExitStack() as stack:
        contests = [
            await stack.enter_async_context(
                contest(server.url, folder, "lead" if number % 3 == 0 else "lock", ttl, number)
            )
            for number in range(min(CONTESTS, count))
        ]
        shares = [
            count // len(contests) + (number < count % len(contests)) for number in range(len(contests))
        ]
        async with asyncio.TaskGroup() as group:
            for one, share in zip(contests, shares, strict=True):
                group.create_task(one.disturb(share, random.Random(chance.random()), longest))
        found = sum(one.overlaps() for one in contests)
    print(f"{count} pauses and cuts of holders of {server.url}: {found} late writes were refused")
    return found


async def test_table_refuses_late_writes_of_holders_of_a_store(tmp_path: Path, scale: Scale) -> None:
    with StoreProcess(tmp_path).running() as server:
        assert await overlaps(server, tmp_path, scale.random(1), count=scale(30), ttl=1, longest=2.0)


async def test_table_refuses_late_writes_of_holders_of_etcd(
    own_etcd: EtcdServer, tmp_path: Path, scale: Scale
) -> None:
    chance, count = scale.random(2), scale(6)
    async with asyncio.timeout(LONGEST_SECONDS * count):
        # A holder writes late only if it is stopped after it has looked at its hold.
        for number in itertools.count():
            folder = tmp_path / str(number)
            folder.mkdir()
            if await overlaps(own_etcd, folder, chance, count=count, ttl=2, longest=5.0):
                break


async def test_table_refuses_late_writes_of_holders_of_consul(
    own_consul: ConsulAgent, tmp_path: Path, scale: Scale
) -> None:
    # A lease ends within twice its time.
    await overlaps(own_consul, tmp_path, scale.random(3), count=scale(2), ttl=10, longest=25.0)
