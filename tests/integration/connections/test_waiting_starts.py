"""Calls that wait for their start, of several connections."""

import time

import msgspec
import pytest

import fastrpc
from fastrpc import Admission
from tests.integration.connections.test_lives import ENDLESS, PATIENT
from tests.support.lived import lived
from tests.support.waiting import eventually
from tests.support.wire_frames import Request

pytestmark = pytest.mark.one_loop


@pytest.mark.parametrize("count", [2, 3, 4])
async def test_connections_whose_calls_wait_start_them_by_turns(count: int) -> None:
    calls = 40
    starts: list[int] = []

    @fastrpc.service("busy")
    class Busy:
        @fastrpc.method
        async def work(self, who: int) -> None:
            starts.append(who)
            until = time.monotonic() + 0.001
            while time.monotonic() < until:
                # It holds the loop.
                pass

    settings = {"keepalive": PATIENT, "timeouts": ENDLESS, "admission": Admission(queue_age=300)}
    async with lived("native", count=count, shop=Busy(), **settings) as connections:
        for connection in connections:
            await connection.open()
        # Behind a stall they wait in the queue of the server.
        await connections[0].give(b"", blocks=0.1)
        for who, connection in enumerate(connections):
            arguments = msgspec.msgpack.encode([who])
            requests = [
                Request(1 + 2 * number, b"busy.work", arguments, codec=1).encode() for number in range(calls)
            ]
            connection._receive(b"".join(requests), 0.0)
        await eventually(lambda: len(starts) == count * calls)
    first = starts[: count * calls // 2]
    assert [first.count(who) >= calls // 4 for who in range(count)] == [True] * count
