"""The memory that the connections of a server hold, whose engines are not the native one."""

import gc

import pytest

from fastrpc import Limits, Memory, ServerConfig
from fastrpc._core.serving.memory_budget import Room, bytes_held
from tests.support.kept_exchange import KeptExchange, LostSession, gate_for, joined
from tests.support.shop import Shop
from tests.support.waiting import eventually
from tests.support.wire_layout import Reason

MIB = 1 << 20
SMALL = ServerConfig(memory=Memory(process_bytes=16 * MIB), limits=Limits(message_bytes=MIB, connections=2))


class Credited(KeptExchange):
    returned = 0

    def return_credit(self) -> int:
        self.returned += 1
        return 0


async def test_credit_is_returned_to_every_engine_once_memory_is_free() -> None:
    async with gate_for(Shop, config=SMALL) as gate:
        plain = joined(gate)
        credited = joined(gate, Credited(gate)).exchange
        gate.weigh_output(plain.exchange, 20 * MIB)
        assert (gate.memory.is_full, bytes_held(), credited.returned) == (True, 20 * MIB, 0)
        gate.weigh_output(plain.exchange, 0)
        assert (gate.memory.is_full, bytes_held(), credited.returned) == (False, 0, 1)


async def test_an_engine_that_cannot_return_its_credit_harms_no_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(KeptExchange):
        def return_credit(self) -> int:
            raise ZeroDivisionError

    shop = Shop()
    async with gate_for(shop, config=SMALL) as gate:
        session = joined(gate, Broken(gate))
        other = joined(gate, Credited(gate)).exchange
        exchange = session.exchange
        gate.weigh_output(other, 17 * MIB)
        gate.weigh_output(other, 17 * MIB - 1)
        exchange.call("shop.price", "apple")
        gate.weigh_output(other, 0)
        exchange.call("shop.pack", "apple")
        shop.go_on.set()
        await eventually(lambda: exchange.answers == ["packed apple"])
        assert (bytes_held(), gate.memory.is_full, other.returned) == (0, False, 1)
        assert "cannot return its credit" in caplog.text


async def test_the_connection_that_holds_the_most_is_closed_if_memory_stays_short() -> None:
    async with gate_for(Shop, config=SMALL) as gate:
        gate.memory.full_wait_ns = 1_000_000
        small, large = joined(gate), joined(gate, kind=LostSession)
        gate.weigh_output(small.exchange, 8 * MIB)
        gate.weigh_output(large.exchange, 9 * MIB)
        await eventually(lambda: large.closed)
        reason, text = large.closed[0]
        assert (reason, small.closed) == (Reason.MEMORY, [])
        assert text.endswith(f"(Memory.process_bytes); this one holds the most, {9 * MIB}")
        await eventually(lambda: not gate.memory.is_full)


async def test_output_of_a_lost_connection_holds_nothing() -> None:
    async with gate_for(Shop) as gate:
        exchange = KeptExchange(gate)
        gate.connection_lost(exchange)
        gate.weigh_output(exchange, MIB)
        assert (exchange.held_bytes, bytes_held()) == (0, 0)


#: A quarter of it is 4 MiB: room for decompressions.
ROOMY = ServerConfig(
    memory=Memory(process_bytes=16 * MIB, request_bytes=2 * MIB), limits=Limits(message_bytes=MIB)
)
STATE = 64 * 1024
TAKEN, CONNECTION_FULL, PROCESS_FULL = 0, 1, 2


async def test_rooms_of_all_connections_take_a_quarter_of_the_memory() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        rooms = [Room(joined(gate).exchange, 0, MIB) for _ in range(4)]
        assert [room.take() for room in rooms] == [TAKEN] * 3 + [PROCESS_FULL]
        assert "a quarter of Memory.process_bytes" in rooms[3].lack_text(PROCESS_FULL)
        small = Room(joined(gate).exchange, 0, 500_000)
        assert small.take() == TAKEN
        rooms[0].close()
        assert rooms[3].take() == TAKEN
        for room in (*rooms, small):
            room.close()
            room.close()
        assert bytes_held() == 0


async def test_one_payload_has_room_whatever_its_size() -> None:
    limits = Limits(message_bytes=30 * MIB)
    async with gate_for(
        Shop, config=ServerConfig(memory=Memory(process_bytes=16 * MIB), limits=limits)
    ) as gate:
        large = Room(joined(gate).exchange, 0, 20 * MIB)
        assert (large.take(), large.grow(20 * MIB), large.grow(30 * MIB)) == (TAKEN, None, None)
        assert bytes_held() == 30 * MIB + STATE
        assert Room(joined(gate).exchange, 0, 1).take() == PROCESS_FULL
        assert large.finish(30 * MIB) is None
        assert bytes_held() == 0


async def test_the_only_payload_has_no_room_while_all_else_holds_the_memory() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        other, alone = joined(gate).exchange, Room(joined(gate).exchange, 0, MIB)
        gate.weigh_output(other, 14 * MIB)
        assert alone.take() == PROCESS_FULL
        gate.weigh_output(other, 13 * MIB)
        assert (alone.take(), alone.grow(MIB)) == (TAKEN, None)
        alone.close()
        gate.weigh_output(other, 0)


async def test_requests_of_one_connection_have_room_within_its_own_bound() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        exchange = joined(gate).exchange
        first, second = Room(exchange, 0, MIB), Room(exchange, 0, MIB + 1)
        assert (first.take(), second.take()) == (TAKEN, CONNECTION_FULL)
        assert "Memory.request_bytes" in second.lack_text(CONNECTION_FULL)
        first.grow(500_000)
        assert exchange.request_held == bytes_held() == 500_000 + STATE
        assert second.take() == CONNECTION_FULL
        first.close()
        assert (second.take(), exchange.request_held) == (TAKEN, 0)
        second.close()


async def test_output_beyond_the_stated_size_needs_room() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        others = [Room(joined(gate).exchange, 0, MIB) for _ in range(3)]
        liar = Room(joined(gate).exchange, 0, 10)
        assert {room.take() for room in (*others, liar)} == {TAKEN}
        assert liar.grow(500_000) is None
        problem = liar.grow(MIB)
        assert "Memory.process_bytes" in str(problem)
        # What it stated, the others have.
        assert [room.grow(MIB) for room in others] == [None] * 3
        liar.close()
        for room in others:
            assert room.finish(MIB) is None
        assert bytes_held() == 0


async def test_room_of_a_message_stays_until_it_is_closed() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        exchanges = [joined(gate).exchange for _ in range(5)]
        messages = [Room(exchange, 0, MIB, is_message=True) for exchange in exchanges]
        for room in messages[:4]:
            assert (room.take(), room.finish(MIB)) == (TAKEN, None)
        assert bytes_held() == sum(exchange.held_bytes for exchange in exchanges) == 4 * MIB
        # Handlers have them: no other message has room, requests do.
        assert messages[4].take() == PROCESS_FULL
        request = Room(exchanges[0], 0, MIB)
        assert request.take() == TAKEN
        messages[0].close()
        assert messages[4].take() == TAKEN
        for room in (*messages, request):
            room.close()
        assert bytes_held() == 0


async def test_room_that_was_never_closed_is_given_back_with_its_connection() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        exchange = KeptExchange(gate)
        lost = Room(exchange, 0, 2 * MIB)
        assert (lost.take(), lost.grow(MIB)) == (TAKEN, None)
        del lost, exchange
        gc.collect()
        again = Room(KeptExchange(gate), 0, 2 * MIB)
        other = Room(KeptExchange(gate), 0, 500_000)
        assert (bytes_held(), again.take(), other.take()) == (0, TAKEN, TAKEN)
        again.close()
        other.close()


async def test_memory_that_others_hold_leaves_no_room_beside_another_payload() -> None:
    async with gate_for(Shop, config=ROOMY) as gate:
        plain = joined(gate).exchange
        gate.weigh_output(plain, 13 * MIB)
        first, second = (Room(joined(gate).exchange, 0, MIB) for _ in range(2))
        assert (first.take(), second.take()) == (TAKEN, PROCESS_FULL)
        gate.weigh_output(plain, 0)
        assert second.take() == TAKEN
        first.close()
        second.close()
