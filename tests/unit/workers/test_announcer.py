"""The announcer: the orders of an operator outlive it, killed at any point."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fastrpc import Endpoint
from fastrpc.coordination import RegistryServer
from fastrpc.endpoint import Address
from fastrpc.registries import open_registry
from fastrpc.registries.base.held import HeldRecord
from fastrpc.server.admin.acts import Parts
from fastrpc.server.registrar import Record, Registrar
from fastrpc.workers.announcer import announce
from fastrpc.workers.monitoring.kept_settings import KeptSettings
from fastrpc.workers.monitoring.scoreboard import ProcessPlace, Role, Scoreboard
from fastrpc.workers.plan import Plan
from fastrpc.workers.worker_channel import DRAIN, SupervisorEnd, WorkerEnd
from tests.support.forking import fork

pytestmark = pytest.mark.one_loop

ENDPOINT = Endpoint("tcp://127.0.0.1:1", weight=3)
RECORDS: dict[Record, Endpoint] = {(service, ENDPOINT.address): ENDPOINT for service in ("arith", "users")}


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = Scoreboard(2)
    yield board
    board.close()


@contextlib.asynccontextmanager
async def announced(url: str, place: ProcessPlace) -> AsyncIterator[None]:
    """Run an announcer, until a supervisor orders its end."""
    ours, theirs = socket.socketpair()
    channel, worker_end = SupervisorEnd(ours), WorkerEnd(theirs)
    plan = Plan(load=list, addresses=(Address.parse("tcp://127.0.0.1:1"),), workers=2, registry=url)
    running = asyncio.ensure_future(announce(plan, worker_end, RECORDS, place))
    try:
        yield
        channel.tell(DRAIN)
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        asyncio.get_running_loop().remove_reader(worker_end.fileno())
        channel.close()
        worker_end.close()


async def weights_are(url: str, *weights: int) -> None:
    """Wait until each service has one record of its weight."""
    async with open_registry(url) as registry:  # type: ignore[attr-defined]
        for (service, _), weight in zip(RECORDS, weights, strict=True):
            async with asyncio.timeout(20), registry.watch(service) as watch:
                async for snapshot in watch:
                    if [one.weight for one in snapshot.endpoints] == [weight]:
                        break


def keep(board: Scoreboard, act: str, value: Any) -> None:
    """Keep an act, as the monitor does."""
    board.keep(KeptSettings(board, Parts()).with_further(act, "", value))


def killed_between_two_records(url: str, place: ProcessPlace) -> int:
    """Take the server out as kept in another process, which is killed when the first record is written."""
    child = fork()
    if child == 0:
        changes = 0
        change = HeldRecord.change

        async def change_once(self: HeldRecord, endpoint: Endpoint) -> None:
            nonlocal changes
            changes += 1
            if changes > 1:
                # The first change is under way: it is made once it was answered.
                await asyncio.Event().wait()
            await change(self, endpoint)
            os.kill(os.getpid(), signal.SIGKILL)

        async def take_out() -> None:
            registrar = Registrar(url)
            registrar.want(RECORDS)
            await registrar.settle()
            HeldRecord.change = change_once  # type: ignore[method-assign]
            KeptSettings(place, Parts(records=registrar)).catch_up()
            await asyncio.Event().wait()

        try:
            asyncio.run(take_out())
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def test_an_announcer_that_is_killed_between_two_records_is_repaired_by_the_next_one(
    board: Scoreboard,
) -> None:
    place, later = board.places
    place.prepare(Role.ANNOUNCER)
    keep(board, "out", True)
    async with RegistryServer("tcp://127.0.0.1:0") as server:
        code = await asyncio.to_thread(killed_between_two_records, server.url, place)
        assert code == -signal.SIGKILL
        await weights_are(server.url, 0, 3)
        # The next one may have another place.
        async with announced(server.url, later):
            await weights_are(server.url, 0, 0)


async def test_the_first_records_are_made_from_the_kept_acts(board: Scoreboard) -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server:
        for act, value, weight in (("weight", 7, 7), ("out", True, 0), ("in", False, 3), ("weight", 0, 0)):
            keep(board, act, value)
            # A client that watches from the start sees no other weight.
            async with open_registry(server.url) as registry, registry.watch("arith") as watch:  # type: ignore[attr-defined]
                async with announced(server.url, board.places[0]), asyncio.timeout(20):
                    while not (latest := await anext(watch)).endpoints:
                        pass
                    assert [one.weight for one in latest.endpoints] == [weight]


async def test_a_running_announcer_finds_a_kept_act_at_its_beat(board: Scoreboard) -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as server, announced(server.url, board.places[0]):
        await weights_are(server.url, 3, 3)
        # As if the monitor had been killed before its question.
        keep(board, "weight", 9)
        await weights_are(server.url, 9, 9)
