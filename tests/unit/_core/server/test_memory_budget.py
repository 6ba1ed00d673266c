"""The memory that the connections of a server hold, whose engines are not the native one."""

import asyncio
import gc

import pytest

from fastrpc import Client, Limits, Memory, Server, ServerConfig
from fastrpc._core.base.buffer import Assembly, release_blocks
from fastrpc._core.server.memory_budget import Room, bytes_held
from fastrpc_harness import buffers
from tests.support.kept_connection import KeptConnection, LostSession, gate_for, joined
from tests.support.memory_growth import resident_bytes
from tests.support.shop import Shop
from tests.support.waiting import eventually
from tests.support.wire_layout import Reason

MIB = 1 << 20
SMALL = ServerConfig(memory=Memory(process_bytes=16 * MIB), limits=Limits(message_bytes=MIB, connections=2))


class Credited(KeptConnection):
    returned = 0

    def return_credit(self) -> int:
        self.returned += 1
        return 0


async def test_credit_is_returned_to_every_engine_once_memory_is_free() -> None:
    async with gate_for(Shop, config=SMALL) as gate:
        plain = joined(gate)
        credited = joined(gate, Credited(gate)).connection
        gate.weigh_output(plain.connection, 20 * MIB)
        assert (gate.memory.is_full, bytes_held(), credited.returned) == (True, 20 * MIB, 0)
        gate.weigh_output(plain.connection, 0)
        assert (gate.memory.is_full, bytes_held(), credited.returned) == (False, 0, 1)


async def test_an_engine_that_cannot_return_its_credit_harms_no_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(KeptConnection):
        def return_credit(self) -> int:
            raise ZeroDivisionError

    shop = Shop()
    async with gate_for(shop, config=SMALL) as gate:
        session = joined(gate, Broken(gate))
        other = joined(gate, Credited(gate)).connection
        connection = session.connection
        gate.weigh_output(other, 17 * MIB)
        gate.weigh_output(other, 17 * MIB - 1)
        connection.call("shop.price", "apple")
        gate.weigh_output(other, 0)
        connection.call("shop.pack", "apple")
        shop.go_on.set()
        await eventually(lambda: connection.answers == ["packed apple"])
        assert (bytes_held(), gate.memory.is_full, other.returned) == (0, False, 1)
        assert "cannot return its credit" in caplog.text


async def test_the_connection_that_holds_the_most_is_closed_if_memory_stays_short() -> None:
    async with gate_for(Shop, config=SMALL) as gate:
        gate.memory.full_wait_ns = 1_000_000
        small, large = joined(gate), joined(gate, kind=LostSession)
        gate.weigh_output(small.connection, 8 * MIB)
        gate.weigh_output(large.connection, 9 * MIB)
        await eventually(lambda: large.closed)
        reason, text = large.closed[0]
        assert (reason, small.closed) == (Reason.MEMORY, [])
        assert text.endswith(f"(Memory.process_bytes); this one holds the most, {9 * MIB}")
        await eventually(lambda: not gate.memory.is_full)


async def test_output_of_a_lost_connection_holds_nothing() -> None:
    async with gate_for(Shop) as gate:
        connection = KeptConnection(gate)
        gate.connection_lost(connection)
        gate.weigh_output(connection, MIB)
        assert (connection.held_bytes, bytes_held()) == (0, 0)


#: A quarter of it is 4 MiB: room for decompressions.
ROOMY = ServerConfig(
    memory=Memory(process_bytes=16 * MIB, request_bytes=2 * MIB), limits=Limits(message_bytes=MIB)
)
STATE = 64 * 1024
TAKEN, CONNECTION_FULL, PROCESS_FULL = 0, 1, 2


async def test_rooms_of_all_connections_take_a_quarter_of_the_memory() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        rooms = [Room(joined(gate).connection, 0, MIB) for _ in range(4)]
        assert [room.take() for room in rooms] == [TAKEN] * 3 + [PROCESS_FULL]
        assert "a quarter of Memory.process_bytes" in rooms[3].lack_text(PROCESS_FULL)
        small = Room(joined(gate).connection, 0, 500_000)
        assert small.take() == TAKEN
        rooms[0].close()
        assert rooms[3].take() == TAKEN
        for room in (*rooms, small):
            room.close()
            room.close()
        assert bytes_held() == 0


async def test_one_payload_of_any_size_has_room() -> None:
    limits = Limits(message_bytes=30 * MIB)
    async with gate_for(
        Shop, config=ServerConfig(memory=Memory(process_bytes=16 * MIB), limits=limits)
    ) as gate:
        large = Room(joined(gate).connection, 0, 20 * MIB)
        assert (large.take(), large.grow(20 * MIB), large.grow(30 * MIB)) == (TAKEN, None, None)
        assert bytes_held() == 30 * MIB + STATE
        assert Room(joined(gate).connection, 0, 1).take() == PROCESS_FULL
        assert large.finish(30 * MIB) is None
        assert bytes_held() == 0


async def test_the_only_payload_has_no_room_while_all_else_holds_the_memory() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        other, alone = joined(gate).connection, Room(joined(gate).connection, 0, MIB)
        gate.weigh_output(other, 14 * MIB)
        assert alone.take() == PROCESS_FULL
        gate.weigh_output(other, 13 * MIB)
        assert (alone.take(), alone.grow(MIB)) == (TAKEN, None)
        alone.close()
        gate.weigh_output(other, 0)


async def test_requests_of_one_connection_have_room_within_its_own_bound() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        connection = joined(gate).connection
        first, second = Room(connection, 0, MIB), Room(connection, 0, MIB + 1)
        assert (first.take(), second.take()) == (TAKEN, CONNECTION_FULL)
        assert "Memory.request_bytes" in second.lack_text(CONNECTION_FULL)
        first.grow(500_000)
        assert connection.request_held == bytes_held() == 500_000 + STATE
        assert second.take() == CONNECTION_FULL
        first.close()
        assert (second.take(), connection.request_held) == (TAKEN, 0)
        second.close()


async def test_output_beyond_the_stated_size_needs_room() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        others = [Room(joined(gate).connection, 0, MIB) for _ in range(3)]
        liar = Room(joined(gate).connection, 0, 10)
        assert {room.take() for room in (*others, liar)} == {TAKEN}
        assert liar.grow(500_000) is None
        problem = liar.grow(MIB)
        assert "Memory.process_bytes" in str(problem)
        # The other requests have its stated bytes.
        assert [room.grow(MIB) for room in others] == [None] * 3
        liar.close()
        for room in others:
            assert room.finish(MIB) is None
        assert bytes_held() == 0


async def test_room_of_a_message_stays_until_it_is_closed() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        connections = [joined(gate).connection for _ in range(5)]
        messages = [Room(connection, 0, MIB, is_message=True) for connection in connections]
        for room in messages[:4]:
            assert (room.take(), room.finish(MIB)) == (TAKEN, None)
        assert bytes_held() == sum(connection.held_bytes for connection in connections) == 4 * MIB
        # Handlers have them: no other message has room, requests do.
        assert messages[4].take() == PROCESS_FULL
        request = Room(connections[0], 0, MIB)
        assert request.take() == TAKEN
        messages[0].close()
        assert messages[4].take() == TAKEN
        for room in (*messages, request):
            room.close()
        assert bytes_held() == 0


async def test_room_that_was_never_closed_is_given_back_with_its_connection() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        connection = KeptConnection(gate)
        lost = Room(connection, 0, 2 * MIB)
        assert (lost.take(), lost.grow(MIB)) == (TAKEN, None)
        del lost, connection
        gc.collect()
        again = Room(KeptConnection(gate), 0, 2 * MIB)
        other = Room(KeptConnection(gate), 0, 500_000)
        assert (bytes_held(), again.take(), other.take()) == (0, TAKEN, TAKEN)
        again.close()
        other.close()


async def test_memory_that_others_hold_leaves_no_room_for_another_payload() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        plain = joined(gate).connection
        gate.weigh_output(plain, 13 * MIB)
        first, second = (Room(joined(gate).connection, 0, MIB) for _ in range(2))
        assert (first.take(), second.take()) == (TAKEN, PROCESS_FULL)
        gate.weigh_output(plain, 0)
        assert second.take() == TAKEN
        first.close()
        second.close()


async def test_metadata_of_a_call_counts_with_its_record() -> None:
    shop = Shop()
    async with Server(shop) as server:
        await server.listen("memory://metadata")
        async with Client("memory://metadata") as client:
            held = []
            for text in ("", "x" * 5_000):
                shop.go_on.clear()
                view = client.with_options(metadata={"note": text})
                call = asyncio.ensure_future(view.call("shop.pack", "apple"))
                await eventually(lambda: bytes_held() > 0)
                held.append(bytes_held())
                shop.go_on.set()
                assert await call == "packed apple"
                await eventually(lambda: bytes_held() == 0)
            assert held[1] - held[0] == 5_000


async def test_payloads_grow_slowly_while_memory_is_short() -> None:
    def room() -> int:
        release_blocks()
        assembly = Assembly(8 * MIB)
        buffers.append(assembly, bytes(MIB))
        return buffers.place(assembly, 4 * MIB)

    async with gate_for(Shop, config=SMALL) as gate:
        connection = joined(gate).connection
        rooms = [room()]
        for held in (9 * MIB, 7 * MIB, 20 * MIB, 0):
            gate.weigh_output(connection, held)
            rooms.append(room())
        assert rooms == [MIB, MIB // 8, MIB, MIB // 8, MIB]


@pytest.mark.measures
async def test_freed_memory_goes_back_to_the_system_though_blocks_between_it_live() -> None:
    async with gate_for(Shop, config=ServerConfig(memory=Memory(process_bytes=64 * MIB))) as gate:
        connection = joined(gate).connection
        blocks = [bytes([1]) * 100_000 for _ in range(1_000)]
        gate.weigh_output(connection, 100 * MIB)
        blocks = blocks[::10]
        before = resident_bytes()
        gate.weigh_output(connection, 40 * MIB)
        after = resident_bytes()
        assert before - after > 80_000_000, (before, after)
        gate.weigh_output(connection, 0)
        assert len(blocks) == 100
