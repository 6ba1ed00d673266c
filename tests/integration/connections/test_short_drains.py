"""Drains that are shorter than the second for which connections wait for a last request."""

import pytest

from fastrpc import Keepalive, Timeouts
from tests.support.lived import lived
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

PATIENT = Keepalive(interval=None, timeout=80_000)
ENDLESS = Timeouts(handshake=None, idle=None, call=None)


@pytest.mark.parametrize("column", ["http", "rpcx", "toy", "lines"])
async def test_a_connection_at_rest_ends_no_call_in_a_short_drain(column: str) -> None:
    """HTTP and rpcx wait a second for a last request, which other protocols need not."""
    async with lived(column, keepalive=PATIENT, timeouts=ENDLESS) as connection:
        await connection.answered()
        await eventually(lambda: connection.gate.running == 0)
        assert await connection.server.drain(0)


@pytest.mark.parametrize("column", ["native", "http", "rpcx", "grpc", "toy", "lines"])
@pytest.mark.parametrize("size", [1, 40, -9, -1])
async def test_a_message_in_part_is_cut_off_by_a_short_drain(column: str, size: int) -> None:
    async with lived(column, keepalive=PATIENT, timeouts=ENDLESS) as connection:
        await connection.answered()
        await eventually(lambda: connection.gate.running == 0)
        await connection.give(connection.way.held[:size])
        assert not await connection.server.drain(0)
