"""Leaders of a schedule that are killed around its instants: each instant starts at most once."""

import asyncio
import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastrpc.coordination import Store, open_store
from tests.conftest import Scale
from tests.support.cluster import in_thread
from tests.support.program import Program
from tests.support.scheduled_job import EVERY_SECONDS, NAME, RUN_SECONDS
from tests.support.store_process import StoreProcess
from tests.support.waiting import eventually

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

JOB = Path(__file__).parents[1] / "support" / "scheduled_job.py"

SERVERS = 3


class Servers:
    """Servers of one schedule, and the lines of its runs."""

    def __init__(self, url: str, folder: Path, stack: ExitStack, mistake: str) -> None:
        self._url = url
        self._mistake = mistake
        self._folder = folder
        self._lines = folder / "runs"
        self._lines.touch()
        self._running = [stack.enter_context(ExitStack()) for _ in range(SERVERS)]
        for number in range(SERVERS):
            self.start(number)

    def start(self, number: int) -> None:
        options = [str(JOB), self._url, str(self._lines), str(number), self._mistake]
        self._running[number].enter_context(Program(options, self._folder))

    def kill(self, number: int) -> None:
        self._running[number].close()

    def runs(self) -> list[tuple[int, float]]:
        """Return server and instant of each run."""
        lines = self._lines.read_text().splitlines()
        return [(int(server), float(instant)) for server, instant in map(str.split, lines)]


async def end_lead(store: Store) -> None:
    """End the leader's lease as the store does."""
    items = await store.list(f"leaders/schedules/{NAME}/")
    first = min(items, key=lambda item: item.created)
    assert first.lease is not None
    await store.backend.revoke(first.lease)


async def instants_of(
    folder: Path, chance: random.Random, kills: int, mistake: str = "none"
) -> tuple[int, list[float]]:
    """Kill leaders around instants; return how many were in the run of theirs, and the instants of all runs."""
    begun = 0
    with StoreProcess(folder).running() as server, ExitStack() as stack:
        async with open_store(server.url) as store:
            servers = Servers(server.url, folder, stack, mistake)
            await eventually(servers.runs)
            for _ in range(kills):
                due = servers.runs()[-1][1] + EVERY_SECONDS
                await asyncio.sleep(due + chance.uniform(-0.05, RUN_SECONDS) - time.time())
                leader = servers.runs()[-1][0]
                is_around = time.time() < due + RUN_SECONDS
                await in_thread(servers.kill, leader)
                begun += is_around and servers.runs()[-1][1] >= due
                # The next one leads around the same instant.
                await end_lead(store)
                servers.start(leader)
                await eventually(lambda leader=leader: servers.runs()[-1][0] != leader)
    instants = [instant for _, instant in servers.runs()]
    print(f"{kills} killed leaders: {begun} in the run of the instant, {len(instants)} runs in all")
    return begun, instants


async def test_instant_around_which_the_leader_is_killed_starts_at_most_once(
    tmp_path: Path, scale: Scale
) -> None:
    begun, instants = await instants_of(tmp_path, scale.random(1), scale(10))
    assert begun, "no leader was killed in a run"
    assert instants == sorted(set(instants))


async def test_instant_that_is_written_after_its_run_is_found(tmp_path: Path, scale: Scale) -> None:
    _, instants = await instants_of(tmp_path, scale.random(2), 10, mistake="late")
    assert len(set(instants)) < len(instants)
