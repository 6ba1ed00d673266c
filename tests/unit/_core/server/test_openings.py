"""Openings whose bytes wait for their turn; other cases are in tests/integration/connections/test_openings.py."""

import time

from fastrpc._core.server.openings import Openings
from fastrpc.config import Keepalive, Timeouts
from fastrpc_harness.watched_connection import WatchedConnection
from tests.support.kept_connection import gate_for
from tests.support.shop import Shop
from tests.support.waiting import eventually

#: Longer than an opening may be silent before it makes room for other openings.
SILENCE_SECONDS = 0.3


async def test_openings_that_all_wait_for_their_turn_are_neither_closed_nor_looked_at_for_ever() -> None:
    async with gate_for(Shop) as gate:
        openings = Openings(gate, 1)
        connections = [
            WatchedConnection(timeouts=Timeouts(), keepalive=Keepalive(), is_client=False) for _ in range(3)
        ]
        for connection in connections:
            connection.is_put_off = True
            openings.add_undecided(connection)
        ends = time.monotonic() + SILENCE_SECONDS
        await eventually(lambda: time.monotonic() >= ends)
        assert len(openings) == len(connections)
        for connection in connections:
            connection.is_put_off = False
        await eventually(lambda: len(openings) == 1)
