"""The announcer: what an operator ordered outlives it, wherever it is killed."""

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
from fastrpc.server.override import CONFIGURED, Override
from fastrpc.server.registrar import Record, Registrar
from fastrpc.workers.announcer import announce, set_override
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


def killed_between_two_records(url: str, place: ProcessPlace) -> int:
    """Take the server out in another process, which is killed when the first record is written."""
    child = fork()
    if child == 0:
        changes = 0
        change = HeldRecord.change

        async def change_once(self: HeldRecord, endpoint: Endpoint) -> None:
            nonlocal changes
            changes += 1
            if changes > 1:
                # The first change is under way: it is there once it was answered.
                await asyncio.Event().wait()
            await change(self, endpoint)
            os.kill(os.getpid(), signal.SIGKILL)

        async def take_out() -> None:
            registrar = Registrar(url)
            registrar.want(RECORDS)
            await registrar.settle()
            HeldRecord.change = change_once  # type: ignore[method-assign]
            await set_override(registrar, place, Override(True))

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
    async with RegistryServer("tcp://127.0.0.1:0") as server:
        code = await asyncio.to_thread(killed_between_two_records, server.url, place)
        assert code == -signal.SIGKILL
        await weights_are(server.url, 0, 3)
        # The next one may have another place.
        async with announced(server.url, later):
            await weights_are(server.url, 0, 0)


async def test_the_records_are_made_from_the_override_in_shared_memory(board: Scoreboard) -> None:
    place: Any = board.places[0]
    async with RegistryServer("tcp://127.0.0.1:0") as server:
        for override, weight in ((CONFIGURED, 3), (Override(weight=7), 7), (Override(True), 0)):
            place.keep_override(override.packed())
            async with announced(server.url, place):
                await weights_are(server.url, weight, weight)


def test_a_new_scoreboard_has_no_override(board: Scoreboard) -> None:
    assert [Override.unpacked(place.override) for place in board.places] == [CONFIGURED, CONFIGURED]
    board.places[0].keep_override(Override(True, 5).packed())
    assert Override.unpacked(board.places[1].override) == Override(True, 5)
    assert board.refused() == dict.fromkeys(board.refused(), 0)
