"""The monitor during an act for which a process takes its time."""

import asyncio

import pytest

pytest.importorskip("prometheus_client")

from fastrpc.config import ServerConfig
from fastrpc.workers.monitoring.monitor import Workers
from fastrpc.workers.monitoring.scoreboard import Role, Scoreboard

pytestmark = pytest.mark.one_loop


async def test_pages_do_not_wait_for_the_answer_to_an_act() -> None:
    board = Scoreboard(1)
    workers = Workers(ServerConfig(), board)
    [place] = board.places
    place.prepare(Role.WORKER)
    place.give(5)
    acting = asyncio.ensure_future(workers.answers("act slow", [place], 600))
    while not workers._questions:
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        # The process answers neither.
        assert await workers.answers("calls", [place]) == {}
    assert not acting.done()
    acting.cancel()
    await asyncio.gather(acting, return_exceptions=True)
    asyncio.get_running_loop().remove_reader(place.asking.fileno())
    board.close()
