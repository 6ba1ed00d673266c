"""The room for outputs, whose sum other connections of the process share."""

from fastrpc import Memory, ServerConfig
from tests.support.kept_connection import gate_for, joined
from tests.support.shop import Shop

MIB = 1 << 20
CONFIG = ServerConfig(memory=Memory(process_bytes=16 * MIB))


async def test_there_is_room_while_the_sum_is_within_its_bound() -> None:
    async with gate_for(Shop, config=CONFIG) as gate:
        connection = joined(gate).connection
        room = gate.runner.room
        assert room.memory is gate.memory
        found = [room.has_room]
        for size in (16 * MIB, 16 * MIB + 1, 0):
            gate.weigh_output(connection, size)
            found.append(room.has_room)
        assert found == [True, True, False, True]
